package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
)

// node is one node: its view of the chain, which may be late or of a branch that
// was given up, and its mempool, which it may lose.
type node struct {
	name  string
	chain *chain
	view  []*block
	lag   int  // blocks it is behind
	stuck bool // it does not follow at all
	pool  map[uint64]*tx

	showsPool bool // it offers txpool_content
	pruned    bool // it keeps no old state
}

// pruneDepth is how many blocks a pruned node keeps the state of.
const pruneDepth = 8

func (n *node) head() *block { return n.view[len(n.view)-1] }

// follow looks at the chain, as far as the node does.
func (n *node) follow() {
	if n.stuck {
		return
	}
	n.view = n.chain.canonical[:max(1, len(n.chain.canonical)-n.lag)]
	maps.DeleteFunc(n.pool, func(nonce uint64, _ *tx) bool { return nonce < n.head().nonce })
}

// next is the account's next nonce with the pool counted in.
func (n *node) next() uint64 {
	next := n.head().nonce
	for n.pool[next] != nil {
		next++
	}
	return next
}

// verdict makes the node's words an error as the client returns it.
func verdict(words string) error { return &rpc.Error{Code: -32000, Message: words, Node: "node"} }

// offer is eth_sendRawTransaction. The second result says that the bytes are
// certainly not kept.
func (n *node) offer(t *tx, takes bool) (error, bool) {
	had := n.pool[t.nonce]
	switch {
	case had == t:
		return nil, false // already known
	case t.nonce < n.head().nonce:
		return verdict("nonce too low"), false
	case t.price < n.chain.market:
		return verdict("transaction underpriced"), true
	case n.head().balance < t.cost():
		return verdict("insufficient funds for gas * price + value"), true
	case had != nil && t.price*10 < had.price*11:
		return verdict("replacement transaction underpriced"), false
	}
	if takes {
		n.pool[t.nonce] = t
	}
	return nil, false
}

// client is what payouts asks: two nodes, of which another may answer every
// time. It keeps to the contract of rpc.Client.
type client struct {
	w *World
}

var _ payouts.Chain = (*client)(nil)

// node is who answers this time.
func (c *client) node() *node {
	w := c.w
	if w.chance(w.d.failover) {
		w.answers = w.rng.IntN(len(w.nodes))
		w.say("node %s answers now, at block %d", w.nodes[w.answers].name, w.nodes[w.answers].head().number)
	}
	return w.nodes[w.answers]
}

func (c *client) Identity(context.Context) (uint64, common.Hash, error) {
	return chainID, c.w.chain.genesis, nil
}

func (c *client) Pin(uint64, common.Hash) {}

func (c *client) Syncing(context.Context) (bool, error) { return c.w.chance(c.w.d.unfit), nil }

func (c *client) PeerCount(context.Context) (uint64, error) {
	if c.w.chance(c.w.d.unfit) {
		return 1, nil
	}
	return 30, nil
}

func (c *client) show(b *block) rpc.Block {
	out := rpc.Block{Number: b.number, Hash: b.hash, ParentHash: b.parent, Time: b.time}
	if b.baseFee > 0 {
		out.BaseFee = big.NewInt(b.baseFee)
	}
	return out
}

func (c *client) Head(context.Context) (rpc.Block, error) { return c.show(c.node().head()), nil }

func (c *client) blockAt(n *node, number uint64) (*block, error) {
	if number >= uint64(len(n.view)) {
		return nil, fmt.Errorf("block %d: %w", number, rpc.ErrNotFound)
	}
	return n.view[number], nil
}

func (c *client) BlockByNumber(_ context.Context, number uint64) (rpc.Block, error) {
	b, err := c.blockAt(c.node(), number)
	if err != nil {
		return rpc.Block{}, err
	}
	return c.show(b), nil
}

func (c *client) BlockWithTransactions(_ context.Context, number uint64) (rpc.Block, error) {
	b, err := c.blockAt(c.node(), number)
	if err != nil {
		return rpc.Block{}, err
	}
	out := c.show(b)
	for _, o := range b.txs {
		out.Transactions = append(out.Transactions, c.showTx(o.tx, b))
	}
	return out, nil
}

func (c *client) showTx(t *tx, b *block) rpc.Transaction {
	to := t.to
	out := rpc.Transaction{Hash: t.hash, From: c.w.chain.account, To: &to, Nonce: t.nonce, Value: big.NewInt(t.value), Gas: t.gas,
		GasPrice: big.NewInt(t.price)}
	if b != nil {
		number, hash := b.number, b.hash
		out.BlockNumber, out.BlockHash = &number, &hash
	}
	return out
}

// state is a block whose state the node still has.
func (c *client) state(number uint64) (*block, error) {
	n := c.node()
	b, err := c.blockAt(n, number)
	if err != nil {
		return nil, verdict("header not found")
	}
	if n.pruned && number+pruneDepth < n.head().number {
		return nil, verdict("missing trie node")
	}
	return b, nil
}

func (c *client) AccountAt(_ context.Context, _ common.Address, number uint64) (uint64, *big.Int, error) {
	b, err := c.state(number)
	if err != nil {
		return 0, nil, err
	}
	return b.nonce, big.NewInt(b.balance), nil
}

func (c *client) NonceAt(_ context.Context, _ common.Address, number uint64) (uint64, error) {
	b, err := c.state(number)
	if err != nil {
		return 0, err
	}
	return b.nonce, nil
}

// PendingNonce may say anything: nothing may be decided on it.
func (c *client) PendingNonce(context.Context, common.Address) (uint64, error) {
	n := c.node()
	if c.w.chance(c.w.d.nonsense) {
		return n.head().nonce + uint64(c.w.rng.IntN(8)), nil
	}
	return n.next(), nil
}

func (c *client) PoolHas(context.Context, common.Address) (bool, []common.Hash, error) {
	n := c.node()
	if !n.showsPool {
		return false, nil, nil
	}
	var hashes []common.Hash
	for _, nonce := range slices.Sorted(maps.Keys(n.pool)) {
		hashes = append(hashes, n.pool[nonce].hash)
	}
	return true, hashes, nil
}

func (c *client) GasPrice(context.Context) (*big.Int, error) {
	return big.NewInt(c.w.chain.market * 5 / 4), nil
}

func (c *client) MaxPriorityFee(context.Context) (*big.Int, error) { return big.NewInt(gwei), nil }

// probeSize is where the addresses begin in the engine's question which
// recipients are contracts.
const probeSize = 0x2c

func (c *client) CallContract(_ context.Context, call rpc.TxArgs, _ uint64) ([]byte, error) {
	var has []byte
	for rest := call.Data[probeSize:]; len(rest) > 0; rest = rest[common.AddressLength:] {
		var bit byte
		if c.w.chain.code[common.BytesToAddress(rest[:common.AddressLength])] != plain {
			bit = 1
		}
		has = append(has, bit)
	}
	return has, nil
}

func (c *client) EstimateGas(_ context.Context, call rpc.TxArgs) (uint64, error) {
	switch c.w.chain.code[*call.To] {
	case accepts:
		return contractGas, nil
	case rejects:
		return 0, verdict("execution reverted")
	}
	return plainGas, nil
}

// SendRawTransactions goes from node to node while the outcome is unknown.
func (c *client) SendRawTransactions(_ context.Context, raws [][]byte) []error {
	errs := make([]error, len(raws))
	for i, raw := range raws {
		errs[i] = c.send(raw)
	}
	return errs
}

func (c *client) send(raw []byte) error {
	w := c.w
	t := w.chain.known[hashOf(raw)]
	if t == nil {
		return verdict("rlp: unknown transaction") // nobody signed it
	}
	if len(w.promises) == 0 && !w.journalled(t) {
		w.say("PROMISE BROKEN by %s", short(t.hash))
		w.promises = append(w.promises, fmt.Sprintf("transaction %s was sent, and no journal has it", short(t.hash)))
	}
	n := c.node()
	if w.chance(w.d.lostReply) { // this node's answer is lost, and the next one is asked
		w.chain.release(t)
		err, _ := n.offer(t, true)
		other := w.nodes[1-slices.Index(w.nodes, n)]
		again, _ := other.offer(t, true)
		w.say("the reply of node %s about %s is lost (%v), node %s says %v", n.name, short(t.hash), err, other.name, again)
		if again == nil {
			return nil
		}
		return fmt.Errorf("%w: no reply, then %w", rpc.ErrUnknown, errors.New(again.Error()))
	}
	if n.pool[t.nonce] != t && w.chance(w.d.refusals) {
		w.say("node %s refuses %s of nonce %d", n.name, short(t.hash), t.nonce)
		return &rpc.Refusal{Kind: rpc.FeeCap, Err: verdict("tx fee exceeds the configured cap")}
	}
	err, gone := n.offer(t, !w.chance(w.d.forgets)) // an acknowledgement is no promise
	if !gone {
		w.chain.release(t)
	}
	w.say("node %s says %v to %s of nonce %d", n.name, err, short(t.hash), t.nonce)
	if err == nil {
		return nil
	}
	return &rpc.Refusal{Kind: rpc.Classify(err), Err: err}
}

// SendTransaction is for a node that signs only what it sends.
func (c *client) SendTransaction(_ context.Context, args rpc.TxArgs) (common.Hash, error) {
	t, err := c.w.chain.sign(&types.LegacyTx{Nonce: *args.Nonce, GasPrice: args.GasPrice, Gas: args.Gas, To: args.To, Value: args.Value})
	if err != nil {
		return common.Hash{}, err
	}
	err, gone := c.node().offer(t, !c.w.chance(c.w.d.forgets))
	if !gone {
		c.w.chain.release(t)
	}
	if err != nil {
		return common.Hash{}, err
	}
	return t.hash, nil
}

func (c *client) find(n *node, hash common.Hash) (*block, outcome) {
	t := c.w.chain.known[hash]
	if t == nil {
		return nil, outcome{}
	}
	for _, b := range slices.Backward(n.view) {
		if b.nonce <= t.nonce {
			break // it comes later, if at all
		}
		for _, o := range b.txs {
			if o.hash == hash {
				return b, o
			}
		}
	}
	return nil, outcome{}
}

func (c *client) TransactionByHash(_ context.Context, hash common.Hash) (rpc.Transaction, error) {
	n := c.node()
	if b, o := c.find(n, hash); b != nil {
		return c.showTx(o.tx, b), nil
	}
	for _, t := range n.pool {
		if t.hash == hash {
			return c.showTx(t, nil), nil
		}
	}
	return rpc.Transaction{}, fmt.Errorf("transaction %s: %w", hash, rpc.ErrNotFound)
}

// Receipts may be missing for a while, or be of a block that was given up.
func (c *client) Receipts(_ context.Context, hashes []common.Hash) ([]*rpc.Receipt, []error) {
	receipts, errs := make([]*rpc.Receipt, len(hashes)), make([]error, len(hashes))
	n := c.node()
	for i, hash := range hashes {
		b, o := c.find(n, hash)
		if gone := c.w.orphaned[hash]; b == nil && gone != nil && c.w.chance(c.w.d.nonsense) {
			b, o = gone.block, gone.outcome
		}
		switch {
		case b == nil || c.w.chance(c.w.d.nonsense):
			errs[i] = fmt.Errorf("receipt of %s: %w", hash, rpc.ErrNotFound)
		case c.w.chance(c.w.d.nonsense):
			errs[i] = verdict("transaction indexing is in progress")
		default:
			receipts[i] = &rpc.Receipt{TxHash: hash, BlockNumber: b.number, BlockHash: b.hash, GasUsed: o.gasUsed,
				EffectiveGasPrice: big.NewInt(o.paid)}
			if o.okay {
				receipts[i].Status = 1
			}
		}
	}
	return receipts, errs
}

// hashOf is the name of a signed transaction.
func hashOf(raw []byte) common.Hash { return crypto.Keccak256Hash(raw) }

func short(h common.Hash) string { return h.Hex()[:8] + h.Hex()[60:] }
