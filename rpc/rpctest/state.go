package rpctest

import (
	"errors"
	"fmt"
	"maps"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
)

// Code is what a contract does with coins sent to it.
type Code int

// The contracts there are.
const (
	None   Code = iota // no contract
	Accept             // takes them, for AcceptGas in all
	Reject             // reverts: the transaction is mined with status 0
)

// Gas of the transactions that reach a contract, in all.
const (
	AcceptGas = 30_000 // with less the transaction is mined with status 0
	rejectGas = 24_000
)

// state is balances and nonces after some block.
type state struct {
	balances map[common.Address]*big.Int // Wei; a value is never changed in place
	nonces   map[common.Address]uint64
}

func newState() *state {
	return &state{balances: make(map[common.Address]*big.Int), nonces: make(map[common.Address]uint64)}
}

func (s *state) copy() *state {
	return &state{balances: maps.Clone(s.balances), nonces: maps.Clone(s.nonces)}
}

func (s *state) balance(a common.Address) *big.Int {
	if b := s.balances[a]; b != nil {
		return new(big.Int).Set(b)
	}
	return new(big.Int)
}

func (s *state) add(a common.Address, wei *big.Int) {
	s.balances[a] = new(big.Int).Add(s.balance(a), wei)
}

// outcome is what became of a mined transaction.
type outcome struct {
	from    common.Address
	status  uint64
	gasUsed uint64
	price   *big.Int // Wei per gas
}

func (o outcome) fee() *big.Int {
	return new(big.Int).Mul(new(big.Int).SetUint64(o.gasUsed), o.price)
}

// builder is a block in the making.
type builder struct {
	chain    *Chain
	header   *types.Header
	state    *state // the parent's until the first transaction
	txs      []*types.Transaction
	outcomes []outcome
}

// add executes tx and puts it into the block, or says why it cannot be there.
func (b *builder) add(tx *types.Transaction) error {
	from, err := types.Sender(b.chain.signer, tx)
	if err != nil {
		return err
	}
	switch next := b.state.nonces[from]; {
	case tx.Nonce() < next:
		return fmt.Errorf("nonce too low: next nonce %d, tx nonce %d", next, tx.Nonce())
	case tx.Nonce() > next:
		return fmt.Errorf("nonce too high: next nonce %d, tx nonce %d", next, tx.Nonce())
	case b.state.balance(from).Cmp(tx.Cost()) < 0:
		return errors.New("insufficient funds for gas * price + value")
	case tx.Gas() > b.header.GasLimit-b.header.GasUsed:
		return errors.New("gas limit reached")
	case tx.Gas() < intrinsicGas(tx):
		return errors.New("intrinsic gas too low")
	}
	tip, err := tx.EffectiveGasTip(b.header.BaseFee)
	if err != nil {
		return err
	}
	if len(b.txs) == 0 {
		b.state = b.state.copy()
	}
	o := outcome{from: from, price: tip}
	if b.header.BaseFee != nil {
		o.price = new(big.Int).Add(tip, b.header.BaseFee)
	}
	o.gasUsed, o.status = b.chain.run(tx.To(), tx.Gas(), intrinsicGas(tx))
	if o.status == types.ReceiptStatusSuccessful {
		b.state.add(from, new(big.Int).Neg(tx.Value()))
		to := tx.To()
		if to == nil {
			to = new(common.Address)
		}
		b.state.add(*to, tx.Value())
	}
	b.state.add(from, new(big.Int).Neg(o.fee()))
	b.state.add(b.header.Coinbase, new(big.Int).Mul(tip, new(big.Int).SetUint64(o.gasUsed)))
	b.state.nonces[from]++
	b.header.GasUsed += o.gasUsed
	b.txs, b.outcomes = append(b.txs, tx), append(b.outcomes, o)
	return nil
}

// run returns the gas used by a transfer to an account and how it ends.
func (c *Chain) run(to *common.Address, gas, intrinsic uint64) (used, status uint64) {
	code := None
	if to != nil {
		code = c.code[*to]
	}
	switch {
	case code == Reject:
		return max(intrinsic, min(gas, rejectGas)), types.ReceiptStatusFailed
	case code == Accept && gas < AcceptGas:
		return gas, types.ReceiptStatusFailed
	case code == Accept:
		return AcceptGas, types.ReceiptStatusSuccessful
	}
	return intrinsic, types.ReceiptStatusSuccessful
}

// intrinsicGas is the gas of the bare transaction and its data (EIP-2028), with the
// extra of making a contract (EIP-2).
func intrinsicGas(tx *types.Transaction) uint64 { return bareGas(tx.To(), tx.Data()) }

func bareGas(to *common.Address, data []byte) uint64 {
	gas := uint64(21_000)
	if to == nil {
		gas += 32_000
	}
	for _, b := range data {
		if b == 0 {
			gas += 4
		} else {
			gas += 16
		}
	}
	return gas
}
