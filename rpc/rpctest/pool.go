package rpctest

import (
	"cmp"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
)

const (
	accountQueue = 64 // transactions behind a gap that an account may keep, as in geth
	priceBump    = 10 // percent more that a replacement must pay, as in geth
)

// feeCapWei is the highest fee a node sends: 1 ether, geth's --rpc.txfeecap.
var feeCapWei = big.NewInt(1_000_000_000 * gwei)

// pool is the mempool.
type pool struct {
	entries map[common.Address]map[uint64]entry // by sender and nonce
	seq     int
	minTip  *big.Int // Wei per gas
}

type entry struct {
	tx   *types.Transaction
	from common.Address
	seq  int // order of arrival
}

func newPool() *pool {
	return &pool{entries: make(map[common.Address]map[uint64]entry), minTip: big.NewInt(1)}
}

// accept is eth_sendRawTransaction: it takes tx into the pool by geth's rules, seen
// from the given block, or returns geth's words.
func (c *Chain) accept(tx *types.Transaction, view *block) error {
	if fee := new(big.Int).Mul(tx.GasFeeCap(), new(big.Int).SetUint64(tx.Gas())); fee.Cmp(feeCapWei) > 0 {
		ether, _ := new(big.Rat).SetFrac(fee, feeCapWei).Float64()
		return fmt.Errorf("tx fee (%.2f ether) exceeds the configured cap (1.00 ether)", ether)
	}
	if !tx.Protected() {
		return errors.New("only replay-protected (EIP-155) transactions allowed over RPC")
	}
	if tx.Type() > types.DynamicFeeTxType || tx.Type() != types.LegacyTxType && c.baseFee == nil {
		return errors.New("transaction type not supported")
	}
	if tx.ChainId().Cmp(c.chainID) != 0 {
		return fmt.Errorf("invalid chain id for signer: have %d want %d", tx.ChainId(), c.chainID)
	}
	from, err := types.Sender(c.signer, tx)
	if err != nil {
		return errors.New("invalid sender")
	}
	known, slot := c.pool.entries[from][tx.Nonce()]
	if slot && known.tx.Hash() == tx.Hash() {
		return errors.New("already known")
	}
	if tx.Gas() > c.gasLimit {
		return errors.New("exceeds block gas limit")
	}
	if need := intrinsicGas(tx); tx.Gas() < need {
		return fmt.Errorf("intrinsic gas too low: gas %d, minimum needed %d", tx.Gas(), need)
	}
	if tx.GasTipCap().Cmp(c.pool.minTip) < 0 {
		return fmt.Errorf("transaction underpriced: tip needed %d, tip permitted %d", c.pool.minTip, tx.GasTipCap())
	}
	if next := view.state.nonces[from]; tx.Nonce() < next {
		return fmt.Errorf("nonce too low: next nonce %d, tx nonce %d", next, tx.Nonce())
	}
	if err := c.pool.affordable(from, tx, view.state.balance(from)); err != nil {
		return err
	}
	if slot && !outbids(tx, known.tx) {
		return errors.New("replacement transaction underpriced")
	}
	raw, err := tx.MarshalBinary()
	if err != nil {
		return err
	}
	c.broadcast = append(c.broadcast, raw)
	c.pool.put(from, tx)
	c.pool.trim(from, view.state.nonces[from])
	return nil
}

// affordable checks the balance against all that the account would have in the pool.
func (p *pool) affordable(from common.Address, tx *types.Transaction, balance *big.Int) error {
	if balance.Cmp(tx.Cost()) < 0 {
		return fmt.Errorf("insufficient funds for gas * price + value: balance %d, tx cost %d, overshot %d",
			balance, tx.Cost(), new(big.Int).Sub(tx.Cost(), balance))
	}
	need := new(big.Int).Set(tx.Cost())
	for nonce, e := range p.entries[from] {
		if nonce != tx.Nonce() {
			need.Add(need, e.tx.Cost())
		}
	}
	if balance.Cmp(need) < 0 {
		return fmt.Errorf("insufficient funds for gas * price + value: balance %d, queued cost %d, tx cost %d, overshot %d",
			balance, new(big.Int).Sub(need, tx.Cost()), tx.Cost(), new(big.Int).Sub(need, balance))
	}
	return nil
}

// outbids reports whether a pays enough more than b to take its place.
func outbids(a, b *types.Transaction) bool {
	more := func(x, y *big.Int) bool {
		least := new(big.Int).Mul(y, big.NewInt(100+priceBump))
		return new(big.Int).Mul(x, big.NewInt(100)).Cmp(least) >= 0 && x.Cmp(y) > 0
	}
	return more(a.GasFeeCap(), b.GasFeeCap()) && more(a.GasTipCap(), b.GasTipCap())
}

func (p *pool) put(from common.Address, tx *types.Transaction) {
	if p.entries[from] == nil {
		p.entries[from] = make(map[uint64]entry)
	}
	p.seq++
	p.entries[from][tx.Nonce()] = entry{tx, from, p.seq}
}

// restore puts back a transaction whose block is gone, unless its place is taken.
func (p *pool) restore(signer types.Signer, tx *types.Transaction) {
	from, err := types.Sender(signer, tx)
	if _, taken := p.entries[from][tx.Nonce()]; err == nil && !taken {
		p.put(from, tx)
	}
}

// split returns the account's entries in nonce order: those that can be executed on
// next, and those behind a gap.
func (p *pool) split(from common.Address, next uint64) (pending, queued []entry) {
	for _, e := range p.entries[from] {
		queued = append(queued, e)
	}
	slices.SortFunc(queued, func(a, b entry) int { return cmp.Compare(a.tx.Nonce(), b.tx.Nonce()) })
	for len(queued) > 0 && queued[0].tx.Nonce() == next {
		pending, queued, next = append(pending, queued[0]), queued[1:], next+1
	}
	return pending, queued
}

// trim drops, without a word to anybody, what an account has too much of behind a gap.
func (p *pool) trim(from common.Address, next uint64) {
	_, queued := p.split(from, next)
	for len(queued) > accountQueue {
		delete(p.entries[from], queued[len(queued)-1].tx.Nonce())
		queued = queued[:len(queued)-1]
	}
}

// clean drops what the state has left behind.
func (p *pool) clean(s *state) {
	for from, byNonce := range p.entries {
		for nonce := range byNonce {
			if nonce < s.nonces[from] {
				delete(byNonce, nonce)
			}
		}
	}
}

// arrived returns all entries in the order of arrival.
func (p *pool) arrived() []entry {
	var all []entry
	for _, byNonce := range p.entries {
		for _, e := range byNonce {
			all = append(all, e)
		}
	}
	slices.SortFunc(all, func(a, b entry) int { return cmp.Compare(a.seq, b.seq) })
	return all
}

// fill puts into a block what can be executed: account after account in the order of
// arrival, each in nonce order until one does not fit.
func (p *pool) fill(b *builder) {
	done := make(map[common.Address]bool)
	for _, e := range p.arrived() {
		if done[e.from] {
			continue
		}
		done[e.from] = true
		pending, _ := p.split(e.from, b.state.nonces[e.from])
		for _, next := range pending {
			if b.add(next.tx) != nil {
				break
			}
		}
	}
}
