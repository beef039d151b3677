package rpctest

import (
	"encoding/binary"
	"fmt"
	"math/big"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

// Options say which chain it is. The zero value is a chain with id 61, without base
// fee, of 8,000,000 gas a block.
type Options struct {
	ChainID     uint64 // EIP-155; 0 means 61
	GenesisSeed uint64 // another seed gives another genesis hash, and so another chain
	BaseFee     bool   // blocks have a base fee (EIP-1559), of 1 gwei until SetBaseFee
	GasLimit    uint64 // gas of a block; 0 means 8,000,000
}

const (
	genesisTime = 1_800_000_000 // seconds since 1970
	blockTime   = 13            // seconds
	difficulty  = 131_072
	gwei        = 1_000_000_000
)

// Chain is a blockchain and the one mempool that its nodes share. It is safe for
// concurrent use.
type Chain struct {
	signer  types.Signer
	chainID *big.Int

	mu        sync.Mutex // guards all below
	canonical []*block   // by height
	byHash    map[common.Hash]*block
	mined     map[common.Hash]place // canonical transactions
	states    []*state              // every distinct one, so that Fund reaches all
	code      map[common.Address]Code
	pool      *pool
	broadcast [][]byte // every transaction a node ever took, in order
	uncles    []*types.Header
	coinbase  common.Address
	gasLimit  uint64
	gasPrice  *big.Int // what nodes suggest, Wei per gas
	baseFee   *big.Int // of the next block, Wei per gas; nil without EIP-1559
	sealed    uint64   // blocks ever made: no two are alike
	call      func(data []byte) ([]byte, error)
}

// block is a block and the state after it. It never changes, save for Fund.
type block struct {
	header   *types.Header
	hash     common.Hash
	txs      []*types.Transaction
	outcomes []outcome
	uncles   []*types.Header
	state    *state
}

func (b *block) number() uint64 { return b.header.Number.Uint64() }

// place is where a transaction is on the canonical chain.
type place struct {
	block *block
	index int
}

// NewChain returns a chain that has only its genesis block.
func NewChain(o Options) *Chain {
	if o.ChainID == 0 {
		o.ChainID = 61
	}
	if o.GasLimit == 0 {
		o.GasLimit = 8_000_000
	}
	c := &Chain{
		chainID:  new(big.Int).SetUint64(o.ChainID),
		byHash:   make(map[common.Hash]*block),
		mined:    make(map[common.Hash]place),
		code:     make(map[common.Address]Code),
		pool:     newPool(),
		coinbase: common.HexToAddress("0xc01bba5e00000000000000000000000000000001"),
		gasLimit: o.GasLimit,
		gasPrice: big.NewInt(gwei),
	}
	c.signer = types.LatestSignerForChainID(c.chainID)
	if o.BaseFee {
		c.baseFee = big.NewInt(gwei)
		c.gasPrice = big.NewInt(2 * gwei)
	}
	genesis := &types.Header{
		UncleHash: types.EmptyUncleHash, TxHash: types.EmptyTxsHash, ReceiptHash: types.EmptyReceiptsHash,
		Difficulty: big.NewInt(difficulty), Number: new(big.Int), GasLimit: o.GasLimit, Time: genesisTime,
		BaseFee: c.baseFee, Extra: binary.BigEndian.AppendUint64([]byte("seed"), o.GenesisSeed),
	}
	c.states = []*state{newState()}
	c.append(&block{header: genesis, state: c.states[0]})
	return c
}

// append makes b the head.
func (c *Chain) append(b *block) {
	b.hash = b.header.Hash()
	c.canonical = append(c.canonical, b)
	c.byHash[b.hash] = b
	for i, tx := range b.txs {
		c.mined[tx.Hash()] = place{b, i}
	}
}

func (c *Chain) head() *block { return c.canonical[len(c.canonical)-1] }

// seal mines one block with the transactions that choose adds.
func (c *Chain) seal(choose func(*builder)) {
	parent := c.head()
	c.sealed++
	b := &builder{chain: c, state: parent.state, header: &types.Header{
		ParentHash: parent.hash, UncleHash: types.CalcUncleHash(c.uncles), Coinbase: c.coinbase,
		TxHash: types.EmptyTxsHash, ReceiptHash: types.EmptyReceiptsHash,
		Difficulty: big.NewInt(difficulty), Number: new(big.Int).Add(parent.header.Number, common.Big1),
		GasLimit: c.gasLimit, Time: parent.header.Time + blockTime, BaseFee: c.baseFee,
		Nonce: types.EncodeNonce(c.sealed), MixDigest: crypto.Keccak256Hash(binary.BigEndian.AppendUint64(nil, c.sealed)),
	}}
	choose(b)
	if len(b.txs) > 0 {
		c.states = append(c.states, b.state)
	}
	var hashes []byte
	for _, tx := range b.txs {
		hashes = append(hashes, tx.Hash().Bytes()...)
	}
	if len(hashes) > 0 { // stands in for the tries' roots
		b.header.TxHash = crypto.Keccak256Hash(hashes)
		b.header.ReceiptHash = crypto.Keccak256Hash(b.header.TxHash.Bytes())
	}
	c.append(&block{header: b.header, txs: b.txs, outcomes: b.outcomes, uncles: c.uncles, state: b.state})
	c.uncles = nil
	c.pool.clean(b.state)
}

// Mine mines n blocks, each with what the mempool has and the gas limit lets in.
func (c *Chain) Mine(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range n {
		c.seal(func(b *builder) { c.pool.fill(b) })
	}
}

// MineEmpty mines n blocks without transactions.
func (c *Chain) MineEmpty(n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for range n {
		c.seal(func(*builder) {})
	}
}

// MineUncle makes a rival of the head, by the present coinbase, which the next block
// includes as an uncle, and returns its hash. At the genesis there is none and the
// hash is zero.
func (c *Chain) MineUncle() common.Hash {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.canonical) < 2 {
		return common.Hash{}
	}
	c.sealed++
	rival := types.CopyHeader(c.head().header)
	rival.Coinbase, rival.Nonce = c.coinbase, types.EncodeNonce(c.sealed)
	rival.TxHash, rival.ReceiptHash, rival.UncleHash, rival.GasUsed = types.EmptyTxsHash, types.EmptyReceiptsHash, types.EmptyUncleHash, 0
	c.uncles = append(c.uncles, rival)
	return rival.Hash()
}

// Include mines one block with one transaction that any mempool need not have seen:
// whatever was signed and handed out may be mined one day. A transaction that is not
// valid on the head is an error, and nothing is mined.
func (c *Chain) Include(raw []byte) (common.Hash, error) {
	tx := new(types.Transaction)
	if err := tx.UnmarshalBinary(raw); err != nil {
		return common.Hash{}, fmt.Errorf("include transaction: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	// Tried on a copy of the next block first.
	trial := &builder{chain: c, state: c.head().state, header: &types.Header{GasLimit: c.gasLimit, BaseFee: c.baseFee, Coinbase: c.coinbase}}
	if err := trial.add(tx); err != nil {
		return common.Hash{}, fmt.Errorf("include transaction %s: %w", tx.Hash(), err)
	}
	c.seal(func(b *builder) { _ = b.add(tx) }) // the same as the trial
	return tx.Hash(), nil
}

// Reorg replaces the last depth blocks by depth+1 empty ones. keep returns their
// transactions to the mempool; otherwise they are forgotten. A depth beyond the
// genesis stops there.
func (c *Chain) Reorg(depth int, keep bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	depth = max(0, min(depth, len(c.canonical)-1))
	cut := len(c.canonical) - depth
	dropped := c.canonical[cut:]
	c.canonical = c.canonical[:cut:cut]
	c.uncles = nil
	for _, b := range dropped {
		for _, tx := range b.txs {
			delete(c.mined, tx.Hash())
			if keep {
				c.pool.restore(c.signer, tx)
			}
		}
	}
	for range depth + 1 {
		c.seal(func(*builder) {})
	}
}

// Forget empties the mempool, as a restart of every node would.
func (c *Chain) Forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	minTip := c.pool.minTip
	c.pool = newPool()
	c.pool.minTip = minTip
}

// Fund adds wei to the account's balance as if it had it from the genesis on.
func (c *Chain) Fund(account common.Address, wei *big.Int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.states {
		s.add(account, wei)
	}
}

// SetCode makes the account a contract that behaves so, or with None no contract.
func (c *Chain) SetCode(account common.Address, code Code) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.code[account] = code
}

// SetCoinbase makes the account the miner of the blocks to come.
func (c *Chain) SetCoinbase(account common.Address) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.coinbase = account
}

// SetGasPrice sets what eth_gasPrice suggests, in Wei per gas.
func (c *Chain) SetGasPrice(wei *big.Int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gasPrice = new(big.Int).Set(wei)
}

// SetMinGasPrice sets the least tip, in Wei per gas, that the mempool takes; 1 until
// then.
func (c *Chain) SetMinGasPrice(wei *big.Int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pool.minTip = new(big.Int).Set(wei)
}

// SetBaseFee sets the base fee, in Wei per gas, of the blocks to come. Without
// Options.BaseFee it changes nothing.
func (c *Chain) SetBaseFee(wei *big.Int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.baseFee != nil {
		c.baseFee = new(big.Int).Set(wei)
	}
}

// HandleCall makes f answer each eth_call that names no recipient. Its error becomes
// the node's error.
func (c *Chain) HandleCall(f func(data []byte) ([]byte, error)) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.call = f
}

// CodeSizes is a handler for HandleCall: after prefix bytes, data is a row of 20-byte
// addresses, and the result has one byte for each, 1 for a contract and 0 otherwise.
func (c *Chain) CodeSizes(prefix int) func(data []byte) ([]byte, error) {
	return func(data []byte) ([]byte, error) {
		if prefix < 0 || len(data) < prefix || (len(data)-prefix)%common.AddressLength != 0 {
			return nil, fmt.Errorf("code sizes: %d bytes after a prefix of %d are no addresses", len(data), prefix)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		var has []byte
		for rest := data[prefix:]; len(rest) > 0; rest = rest[common.AddressLength:] {
			var bit byte
			if c.code[common.BytesToAddress(rest[:common.AddressLength])] != None {
				bit = 1
			}
			has = append(has, bit)
		}
		return has, nil
	}
}

// ChainID returns the chain id (EIP-155).
func (c *Chain) ChainID() *big.Int { return new(big.Int).Set(c.chainID) }

// Genesis returns the hash of block 0.
func (c *Chain) Genesis() common.Hash {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.canonical[0].hash
}

// Height returns the number of the head.
func (c *Chain) Height() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head().number()
}

// Balance returns the account's balance at the head, in Wei.
func (c *Chain) Balance(account common.Address) *big.Int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head().state.balance(account)
}

// Nonce returns the account's next nonce at the head.
func (c *Chain) Nonce(account common.Address) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head().state.nonces[account]
}

// Pool returns the hashes in the mempool, in the order of arrival.
func (c *Chain) Pool() []common.Hash {
	c.mu.Lock()
	defer c.mu.Unlock()
	var hashes []common.Hash
	for _, e := range c.pool.arrived() {
		hashes = append(hashes, e.tx.Hash())
	}
	return hashes
}

// Broadcast returns every transaction that any node ever took, in order. An
// adversary may Include each of them for ever.
func (c *Chain) Broadcast() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([][]byte(nil), c.broadcast...)
}

// Transfer is a transaction on the canonical chain.
type Transfer struct {
	Block   uint64
	Hash    common.Hash
	From    common.Address
	To      common.Address // zero where a contract was made
	Nonce   uint64
	Value   *big.Int // Wei; moved only if Success
	FeeWei  *big.Int // paid in either case
	Success bool
}

// TransfersFrom returns the account's transactions on the canonical chain, in order.
func (c *Chain) TransfersFrom(account common.Address) []Transfer {
	return c.transfers(func(t Transfer) bool { return t.From == account })
}

// Received returns the sum, in Wei, of the transfers to the account that succeeded on
// the canonical chain. Fund and fees are not among them.
func (c *Chain) Received(account common.Address) *big.Int {
	sum := new(big.Int)
	for _, t := range c.transfers(func(t Transfer) bool { return t.Success && t.To == account }) {
		sum.Add(sum, t.Value)
	}
	return sum
}

func (c *Chain) transfers(wanted func(Transfer) bool) []Transfer {
	c.mu.Lock()
	defer c.mu.Unlock()
	var found []Transfer
	for _, b := range c.canonical {
		for i, tx := range b.txs {
			t := Transfer{
				Block: b.number(), Hash: tx.Hash(), From: b.outcomes[i].from, Nonce: tx.Nonce(), Value: tx.Value(),
				FeeWei: b.outcomes[i].fee(), Success: b.outcomes[i].status == types.ReceiptStatusSuccessful,
			}
			if tx.To() != nil {
				t.To = *tx.To()
			}
			if wanted(t) {
				found = append(found, t)
			}
		}
	}
	return found
}
