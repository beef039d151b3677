package chain

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"time"
	_ "unsafe" // for go:linkname

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/consensus/misc"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/core/state"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/core/vm"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/eth"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/params"
)

// allowedFuture is how many seconds ahead of the clock geth's engine lets a
// block be, 15 by its own choice. Blocks are at least a second apart, so a
// hundred of them mined at once would be held back as blocks from the future.
//
//go:linkname allowedFuture github.com/ethereum/go-ethereum/consensus/ethash.allowedFutureBlockTimeSeconds
var allowedFuture int64

func init() { allowedFuture = 1 << 32 }

// miner makes blocks on demand. Geth's own worker, which serves eth_getWork to
// miners outside, picks transactions in the background and whenever it likes;
// this one includes what the mempool holds when it is asked, before it answers.
// Its blocks enter the chain like a stranger's, verified by geth's engine.
type miner struct {
	eth       *eth.Ethereum
	chain     *core.BlockChain
	pool      mempool
	pow       *pow
	signer    types.Signer
	coinbase  common.Address
	now       func() time.Time
	intervals chan time.Duration // from setInterval to run

	// turn holds one token; whoever has it owns the fields below and may
	// extend the chain.
	turn   chan struct{}
	sealed uint64             // blocks so far, which makes each unlike the others
	forced types.Transactions // for the next block, whether in the mempool or not
}

func newMiner(backend *eth.Ethereum, cfg Config) *miner {
	m := &miner{
		eth:       backend,
		chain:     backend.BlockChain(),
		pool:      newMempool(backend.TxPool()),
		pow:       powOf(cfg),
		signer:    cfg.signer(),
		coinbase:  cfg.coinbase(),
		now:       time.Now,
		intervals: make(chan time.Duration),
		turn:      make(chan struct{}, 1),
	}
	m.turn <- struct{}{}
	return m
}

// run seals a block every interval until ctx ends; an interval of 0 rests.
func (m *miner) run(ctx context.Context, interval time.Duration) {
	for {
		var due <-chan time.Time
		if interval > 0 {
			due = time.After(interval)
		}
		select {
		case <-ctx.Done():
			return
		case interval = <-m.intervals:
		case <-due:
			if _, err := m.mine(ctx, 1, m.fill); err != nil && ctx.Err() == nil {
				log.Error("Block not mined", "err", err)
			}
		}
	}
}

// take waits for the turn; the caller puts it back with done.
func (m *miner) take(ctx context.Context) (done func(), err error) {
	select {
	case <-m.turn:
		return func() { m.turn <- struct{}{} }, nil
	case <-ctx.Done():
		return nil, fmt.Errorf("wait for another block: %w", context.Cause(ctx))
	}
}

// content puts transactions into a block being made.
type content func(*draft) error

// empty leaves the block without transactions.
func empty(*draft) error { return nil }

// mine extends the chain by n blocks and returns the number of the head.
func (m *miner) mine(ctx context.Context, n uint64, with content) (uint64, error) {
	done, err := m.take(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	for range n {
		if err := m.extend(ctx, with); err != nil {
			return 0, err
		}
	}
	return m.chain.CurrentBlock().NumberU64(), nil
}

// extend adds one block to the head. When somebody's submitted work was faster
// by a moment, ours stays a sibling and the next attempt builds on theirs.
func (m *miner) extend(ctx context.Context, with content) error {
	for {
		parent := m.chain.CurrentBlock()
		d, err := m.draft(parent)
		if err != nil {
			return err
		}
		if err := with(d); err != nil {
			return err
		}
		block, err := m.insert(ctx, d)
		if err != nil {
			return err
		}
		if m.chain.GetCanonicalHash(block.NumberU64()) == block.Hash() {
			return m.pool.settle(ctx, m.chain.CurrentBlock)
		}
		if m.chain.CurrentBlock().Hash() == parent.Hash() {
			return fmt.Errorf("mine block %d: geth took it but did not make it the head", block.NumberU64())
		}
	}
}

// fill includes what include was given, then what the mempool offers.
func (m *miner) fill(d *draft) error {
	forced := m.forced
	m.forced = nil // one that does not fit must not block the chain for ever
	for _, tx := range forced {
		if err := d.add(tx); err != nil {
			return fmt.Errorf("include transaction %s: %w", tx.Hash(), err)
		}
	}
	offered := types.NewTransactionsByPriceAndNonce(m.signer, m.pool.Pending(true), d.header.BaseFee)
	for tx := offered.Peek(); tx != nil && d.gas.Gas() >= params.TxGas; tx = offered.Peek() {
		switch err := d.add(tx); {
		case err == nil, errors.Is(err, core.ErrNonceTooLow):
			offered.Shift() // on to the sender's next
		default:
			offered.Pop() // whatever follows by nonce cannot fit either
		}
	}
	return nil
}

// exactly puts these transactions into a block and nothing else.
func exactly(txs ...*types.Transaction) content {
	return func(d *draft) error {
		for _, tx := range txs {
			if err := d.add(tx); err != nil {
				return fmt.Errorf("mine transaction %s: %w", tx.Hash(), err)
			}
		}
		return nil
	}
}

// include keeps a transaction for the next block that carries any.
func (m *miner) include(ctx context.Context, tx *types.Transaction) error {
	if _, err := types.Sender(m.signer, tx); err != nil {
		return fmt.Errorf("include transaction %s: %w", tx.Hash(), err)
	}
	done, err := m.take(ctx)
	if err != nil {
		return err
	}
	defer done()
	m.forced = append(m.forced, tx)
	return nil
}

// faucet mines one transaction of the faucet, alone in its block: to nil
// creates a contract.
func (m *miner) faucet(ctx context.Context, to *common.Address, wei *big.Int, data []byte) (*types.Transaction, error) {
	var signed *types.Transaction
	_, err := m.mine(ctx, 1, func(d *draft) error {
		price := big.NewInt(params.GWei)
		if d.header.BaseFee != nil {
			price.Add(price, d.header.BaseFee)
		}
		var err error
		signed, err = types.SignNewTx(faucetKey, m.signer, &types.LegacyTx{
			Nonce:    d.state.GetNonce(faucetAddress),
			GasPrice: price,
			Gas:      200_000,
			To:       to,
			Value:    wei,
			Data:     data,
		})
		if err != nil {
			return fmt.Errorf("sign for the faucet: %w", err)
		}
		return exactly(signed)(d)
	})
	return signed, err
}

// deploy mines a contract of the kind and returns its address.
func (m *miner) deploy(ctx context.Context, kind string) (common.Address, error) {
	code, err := initCode(kind)
	if err != nil {
		return common.Address{}, err
	}
	tx, err := m.faucet(ctx, nil, new(big.Int), code)
	if err != nil {
		return common.Address{}, err
	}
	return crypto.CreateAddress(faucetAddress, tx.Nonce()), nil
}

// forget empties the mempool, as a restart without a journal does.
func (m *miner) forget(ctx context.Context) (int, error) {
	done, err := m.take(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	if err := m.pool.settle(ctx, m.chain.CurrentBlock); err != nil {
		return 0, err
	}
	n := m.pool.forgetAll()
	m.renewWork()
	return n, nil
}

// renewWork has geth's worker start its block over, which until its next round
// would still carry transactions the mempool has lost.
func (m *miner) renewWork() {
	m.eth.Miner().Stop()
	m.eth.Miner().Start(m.coinbase)
}

// reorg replaces the last depth blocks by one more, all empty. What the old
// ones carried returns to the mempool, or with keep false is forgotten.
func (m *miner) reorg(ctx context.Context, depth uint64, keep bool) (uint64, error) {
	done, err := m.take(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	head := m.chain.CurrentBlock().NumberU64()
	if depth == 0 || depth > head {
		return 0, fmt.Errorf("reorganise %d blocks of %d: want 1 to %d", depth, head, head)
	}
	parent := m.chain.GetBlockByNumber(head - depth)
	var freed types.Transactions
	for n := parent.NumberU64() + 1; n <= head; n++ {
		freed = append(freed, m.chain.GetBlockByNumber(n).Transactions()...)
	}
	// One block more is heavier unless the difficulty is of the moving kind and
	// fell meanwhile; then it takes a few more than that.
	for n := uint64(0); n <= depth || m.chain.CurrentBlock().Hash() != parent.Hash(); n++ {
		d, err := m.draft(parent)
		if err != nil {
			return 0, err
		}
		if parent, err = m.insert(ctx, d); err != nil {
			return 0, err
		}
	}
	if err := m.pool.settle(ctx, m.chain.CurrentBlock); err != nil {
		return 0, err
	}
	if !keep { // geth has put them back
		m.pool.forget(freed)
	}
	m.renewWork()
	return parent.NumberU64(), nil
}

// draft is a block being made.
type draft struct {
	chain    *core.BlockChain
	header   *types.Header
	state    *state.StateDB
	gas      *core.GasPool
	txs      types.Transactions
	receipts []*types.Receipt
}

// draft begins a block on parent.
func (m *miner) draft(parent *types.Block) (*draft, error) {
	number := parent.NumberU64() + 1
	m.sealed++
	header := &types.Header{
		ParentHash: parent.Hash(),
		Number:     new(big.Int).SetUint64(number),
		GasLimit:   parent.GasLimit(),
		Time:       max(parent.Time()+1, uint64(m.now().Unix())),
		Coinbase:   m.coinbase,
		Extra:      fmt.Appendf(nil, "devnet %d", m.sealed),
	}
	if m.chain.Config().IsLondon(header.Number) {
		header.BaseFee = misc.CalcBaseFee(m.chain.Config(), parent.Header())
	}
	if err := m.eth.Engine().Prepare(m.chain, header); err != nil {
		return nil, fmt.Errorf("prepare block %d: %w", number, err)
	}
	before, err := m.chain.StateAt(parent.Root())
	if err != nil {
		return nil, fmt.Errorf("open the state of block %d: %w", number-1, err)
	}
	gas := new(core.GasPool).AddGas(header.GasLimit)
	return &draft{chain: m.chain, header: header, state: before, gas: gas}, nil
}

// add executes a transaction at the end of the block, or leaves the block's
// state as it was.
func (d *draft) add(tx *types.Transaction) error {
	d.state.Prepare(tx.Hash(), len(d.txs))
	snapshot := d.state.Snapshot()
	receipt, err := core.ApplyTransaction(d.chain.Config(), d.chain, &d.header.Coinbase, d.gas, d.state,
		d.header, tx, &d.header.GasUsed, vm.Config{})
	if err != nil {
		d.state.RevertToSnapshot(snapshot)
		return err
	}
	d.txs = append(d.txs, tx)
	d.receipts = append(d.receipts, receipt)
	return nil
}

// insert seals the block, adds it to the chain and tells the peers.
func (m *miner) insert(ctx context.Context, d *draft) (*types.Block, error) {
	number := d.header.Number.Uint64()
	engine := m.eth.Engine()
	block, err := engine.FinalizeAndAssemble(m.chain, d.header, d.state, d.txs, nil, d.receipts)
	if err != nil {
		return nil, fmt.Errorf("assemble block %d: %w", number, err)
	}
	header := block.Header()
	nonce, mix, err := m.pow.search(ctx, number, engine.SealHash(header), header.Difficulty)
	if err != nil {
		return nil, err
	}
	header.Nonce, header.MixDigest = types.EncodeNonce(nonce), mix
	block = block.WithSeal(header)
	if _, err := m.chain.InsertChain(types.Blocks{block}); err != nil {
		return nil, fmt.Errorf("insert block %d: %w", number, err)
	}
	if err := m.eth.EventMux().Post(core.NewMinedBlockEvent{Block: block}); err != nil {
		return nil, fmt.Errorf("announce block %d: %w", number, err)
	}
	return block, nil
}
