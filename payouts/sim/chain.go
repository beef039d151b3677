package sim

import (
	"encoding/binary"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

const (
	chainID     = 61
	genesisTime = 1_800_000_000 // unix seconds
	gwei        = 1_000_000_000 // Wei
	plainGas    = 21_000
	contractGas = 30_000
	maxGasPrice = 200 * gwei // of the configuration; the market's price is below mostly
)

// tx is a transaction of the pool's account, by payouts or by an operator.
// Amounts are Wei.
type tx struct {
	hash       common.Hash
	raw        []byte // empty when an operator made it
	nonce, gas uint64
	to         common.Address
	value      int64
	price, tip int64 // per gas: the cap, and the tip where it is dynamic
	dynamic    bool
	why        string // an operator's reason; empty for ours
}

func (t *tx) cost() int64 { return t.value + t.price*int64(t.gas) }

// outcome is a transaction in a block.
type outcome struct {
	*tx
	okay    bool // it moved its value
	gasUsed uint64
	paid    int64 // Wei per gas
}

// block is a block and the pool's account after it. It never changes.
type block struct {
	number       uint64
	hash, parent common.Hash
	time         uint64
	baseFee      int64 // 0 without EIP-1559
	txs          []outcome
	nonce        uint64
	balance      int64 // Wei
}

// recipient is what an address does with coins sent to it.
type recipient int

const (
	plain   recipient = iota // no code
	accepts                  // a contract that takes them
	rejects                  // a contract that reverts
)

// chain is the blockchain as it really is. What an adversary may do with it is
// world.go's; nodes show it, each in its own way.
type chain struct {
	account   common.Address
	genesis   common.Hash
	canonical []*block
	where     map[common.Hash]uint64 // of canonical transactions
	sealed    uint64
	reward    int64 // Wei that the account earns with every block
	market    int64 // Wei per gas that gets into blocks
	dynamic   bool  // blocks have a base fee

	known map[common.Hash]*tx // everything that was ever signed
	loose []*tx               // what ever left for a node: it may be mined one day
	code  map[common.Address]recipient

	// received and failed are what the canonical chain holds, by recipient.
	received map[common.Address]int64
}

func newChain(account common.Address, seed uint64) *chain {
	c := &chain{account: account, where: map[common.Hash]uint64{}, known: map[common.Hash]*tx{}, code: map[common.Address]recipient{},
		received: map[common.Address]int64{}, market: gwei}
	c.genesis = c.name("genesis", seed)
	c.canonical = []*block{{hash: c.genesis, time: genesisTime}}
	return c
}

// name makes a hash that nothing else has.
func (c *chain) name(what string, n uint64) common.Hash {
	var h common.Hash
	copy(h[:], what)
	binary.BigEndian.PutUint64(h[24:], n)
	return h
}

func (c *chain) head() *block { return c.canonical[len(c.canonical)-1] }

// release lets a transaction loose.
func (c *chain) release(t *tx) {
	if !slices.Contains(c.loose, t) {
		c.loose = append(c.loose, t)
	}
}

// valid says whether a transaction may come next after the state.
func (b *block) valid(t *tx, baseFee int64) bool {
	return t.nonce == b.nonce && b.balance >= t.cost() && t.price >= baseFee
}

// mine makes the next block, of those transactions that are valid, in order.
func (c *chain) mine(seconds uint64, txs ...*tx) *block {
	parent := c.head()
	c.sealed++
	b := &block{number: parent.number + 1, hash: c.name("block", c.sealed), parent: parent.hash, time: parent.time + seconds,
		nonce: parent.nonce, balance: parent.balance + c.reward}
	if c.dynamic {
		b.baseFee = c.market
	}
	for _, t := range txs {
		if !b.valid(t, b.baseFee) {
			continue
		}
		o := outcome{tx: t, okay: true, gasUsed: plainGas, paid: t.price}
		if t.dynamic {
			o.paid = min(t.price, b.baseFee+t.tip)
		}
		switch c.code[t.to] {
		case accepts:
			o.gasUsed, o.okay = min(t.gas, contractGas), t.gas >= contractGas
		case rejects:
			o.gasUsed, o.okay = min(t.gas, contractGas-1), false
		}
		if o.okay {
			b.balance -= t.value
			c.received[t.to] += t.value
		}
		b.balance -= o.paid * int64(o.gasUsed)
		b.nonce++
		b.txs = append(b.txs, o)
		c.where[t.hash] = b.number
	}
	c.canonical = append(c.canonical, b)
	return b
}

// undo takes the last blocks away, from a copy, because nodes may still show them.
func (c *chain) undo(depth int) []*block {
	cut := len(c.canonical) - depth
	gone := c.canonical[cut:]
	for _, b := range gone {
		for _, o := range b.txs {
			delete(c.where, o.hash)
			if o.okay {
				c.received[o.to] -= o.value
			}
		}
	}
	c.canonical = slices.Clone(c.canonical[:cut])
	return gone
}

// outcomeOf finds a transaction on the canonical chain.
func (c *chain) outcomeOf(hash common.Hash) (outcome, uint64, bool) {
	n, there := c.where[hash]
	if !there {
		return outcome{}, 0, false
	}
	for _, o := range c.canonical[n].txs {
		if o.hash == hash {
			return o, n, true
		}
	}
	return outcome{}, 0, false
}

// poolKey signs for the pool's account, in every world.
var poolKey, _ = crypto.ToECDSA(crypto.Keccak256([]byte("the pool's account")))

var poolAccount = crypto.PubkeyToAddress(poolKey.PublicKey)

// sign makes the real transaction, so that the engine's own checks of it run.
func (c *chain) sign(data types.TxData) (*tx, error) {
	signed, err := types.SignNewTx(poolKey, types.LatestSignerForChainID(big.NewInt(chainID)), data)
	if err != nil {
		return nil, err
	}
	if t := c.known[signed.Hash()]; t != nil {
		return t, nil
	}
	raw, err := signed.MarshalBinary()
	if err != nil {
		return nil, err
	}
	t := &tx{hash: signed.Hash(), raw: raw, nonce: signed.Nonce(), gas: signed.Gas(), to: *signed.To(), value: signed.Value().Int64(),
		price: signed.GasFeeCap().Int64(), tip: signed.GasTipCap().Int64(), dynamic: signed.Type() == types.DynamicFeeTxType}
	c.known[t.hash] = t
	return t, nil
}

// byHand makes a transaction of an operator, who uses the node's own console.
func (c *chain) byHand(nonce uint64, to common.Address, value, price int64, why string) *tx {
	c.sealed++
	t := &tx{hash: c.name("by hand", c.sealed), nonce: nonce, gas: plainGas, to: to, value: value, price: price, why: why}
	if c.code[to] != plain {
		t.gas = contractGas
	}
	c.known[t.hash] = t
	return t
}
