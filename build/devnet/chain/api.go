package chain

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/common/math"
	"github.com/ethereum/go-ethereum/consensus/ethash"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/node"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/rpc"
)

// API is the devnet namespace: devnet_mine, devnet_reorg and so on. Numbers are
// plain JSON numbers, in both directions. When a method has answered, its
// effect can be read through every other one.
type API struct {
	ctx   context.Context // the node's, so that its end ends long calls
	miner *miner
	says  *pretence
}

// call returns a context that ends with the caller's or the node's.
func (a *API) call(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(a.ctx, func() { cancel(errors.New("the devnet ends")) })
	return ctx, func() { stop(); cancel(nil) }
}

// Mine seals n blocks now, 1 if it is not said, each with what the mempool can
// give it up to the gas limit, and returns the number of the head.
func (a *API) Mine(ctx context.Context, n *uint64) (uint64, error) {
	return a.mine(ctx, n, a.miner.fill)
}

// MineEmpty is Mine for blocks without transactions.
func (a *API) MineEmpty(ctx context.Context, n *uint64) (uint64, error) {
	return a.mine(ctx, n, empty)
}

func (a *API) mine(ctx context.Context, n *uint64, with content) (uint64, error) {
	ctx, cancel := a.call(ctx)
	defer cancel()
	if n == nil {
		n = new(uint64(1))
	}
	return a.miner.mine(ctx, *n, with)
}

// SetInterval has a block sealed every so many milliseconds from now on; 0 stops it.
func (a *API) SetInterval(ctx context.Context, ms uint32) error {
	ctx, cancel := a.call(ctx)
	defer cancel()
	select {
	case a.miner.intervals <- time.Duration(ms) * time.Millisecond:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("set the block interval: %w", context.Cause(ctx))
	}
}

// Forget empties the mempool, as a restart without a journal does, and returns
// how many transactions it held. The same bytes may be sent again.
func (a *API) Forget(ctx context.Context) (int, error) {
	ctx, cancel := a.call(ctx)
	defer cancel()
	return a.miner.forget(ctx)
}

// Reorg replaces the last depth blocks by depth+1 empty ones and returns the
// number of the head. With keep, what the old ones carried is back in the
// mempool; without, it is forgotten.
func (a *API) Reorg(ctx context.Context, depth uint64, keep bool) (uint64, error) {
	ctx, cancel := a.call(ctx)
	defer cancel()
	return a.miner.reorg(ctx, depth, keep)
}

// Include puts a signed transaction into the next block that carries any,
// whether the mempool knows it or not, and returns its hash. If it cannot be
// executed there, the call that mines fails and the transaction is dropped.
func (a *API) Include(ctx context.Context, raw hexutil.Bytes) (common.Hash, error) {
	ctx, cancel := a.call(ctx)
	defer cancel()
	tx := new(types.Transaction)
	if err := tx.UnmarshalBinary(raw); err != nil {
		return common.Hash{}, fmt.Errorf("decode a raw transaction of %d bytes: %w", len(raw), err)
	}
	return tx.Hash(), a.miner.include(ctx, tx)
}

// Fund mines a transfer of Wei, decimal or 0x-hexadecimal, from the faucet and
// returns its hash. The block carries nothing else.
func (a *API) Fund(ctx context.Context, to common.Address, wei string) (common.Hash, error) {
	ctx, cancel := a.call(ctx)
	defer cancel()
	value, ok := math.ParseBig256(wei)
	if wei == "" || !ok || value.Sign() < 0 {
		return common.Hash{}, fmt.Errorf("fund %s: amount is %q, want Wei as a decimal or 0x-hexadecimal string", to, wei)
	}
	tx, err := a.miner.faucet(ctx, &to, value, nil)
	if err != nil {
		return common.Hash{}, err
	}
	return tx.Hash(), nil
}

// Deploy mines a contract and returns its address. The kind is "reject", which
// reverts plain transfers; "accept", which takes them for 21,000 gas; or
// "burn", which needs more gas than that. The block carries nothing else.
func (a *API) Deploy(ctx context.Context, kind string) (common.Address, error) {
	ctx, cancel := a.call(ctx)
	defer cancel()
	return a.miner.deploy(ctx, kind)
}

// Transfer is one transaction on the canonical chain.
type Transfer struct {
	Block    uint64          `json:"block"`
	Hash     common.Hash     `json:"hash"`
	Nonce    uint64          `json:"nonce"`
	To       *common.Address `json:"to"`       // null when it created a contract
	ValueWei string          `json:"valueWei"` // decimal
	Status   uint64          `json:"status"`   // 1 when executed, 0 when reverted
}

// Transfers lists what an account sent in the canonical blocks from fromBlock
// to toBlock, both included; by default from the first to the head.
func (a *API) Transfers(from common.Address, fromBlock, toBlock *uint64) ([]Transfer, error) {
	chain := a.miner.chain
	first, last := uint64(0), chain.CurrentBlock().NumberU64()
	if fromBlock != nil {
		first = *fromBlock
	}
	if toBlock != nil {
		last = min(last, *toBlock)
	}
	sent := []Transfer{}
	for n := first; n <= last; n++ {
		block := chain.GetBlockByNumber(n)
		if block == nil {
			return nil, fmt.Errorf("list transfers: block %d went away", n)
		}
		receipts := chain.GetReceiptsByHash(block.Hash())
		if len(receipts) != len(block.Transactions()) {
			return nil, fmt.Errorf("list transfers: block %d has %d receipts for %d transactions", n, len(receipts), len(block.Transactions()))
		}
		for i, tx := range block.Transactions() {
			if sender, err := types.Sender(a.miner.signer, tx); err != nil || sender != from {
				continue
			}
			sent = append(sent, Transfer{
				Block: n, Hash: tx.Hash(), Nonce: tx.Nonce(), To: tx.To(),
				ValueWei: tx.Value().String(), Status: receipts[i].Status,
			})
		}
	}
	return sent, nil
}

// SetPeers makes net_peerCount answer n; null or nothing restores the truth.
func (a *API) SetPeers(n *uint32) {
	a.says.peers.Store(n)
}

// SetSyncing makes eth_syncing answer as a node does that is 100 blocks behind
// (true) or as one that is not (false); null or nothing restores the truth.
func (a *API) SetSyncing(syncing *bool) {
	a.says.syncing.Store(syncing)
}

// pretence is what the node says of itself against the truth; nil is the truth.
type pretence struct {
	peers   atomic.Pointer[uint32]
	syncing atomic.Pointer[bool]
}

// netAPI answers net_peerCount in geth's place.
type netAPI struct {
	says   *pretence
	server *p2p.Server
}

// PeerCount is the number of connected peers, or what SetPeers said.
func (a *netAPI) PeerCount() hexutil.Uint {
	if n := a.says.peers.Load(); n != nil {
		return hexutil.Uint(*n)
	}
	return hexutil.Uint(a.server.PeerCount())
}

// ethAPI answers eth_syncing, eth_getWork and eth_submitWork in geth's place, and
// eth_getBlockReceipts, which this version of it does not have yet.
//
// Geth checks submitted work against the whole dataset and would spend minutes
// and a gigabyte on that; here the cache does. The work itself is geth's.
type ethAPI struct {
	says  *pretence
	miner *miner
	work  *ethash.API
	self  func() (*rpc.Client, error) // of this very node

	mu    sync.Mutex
	given map[common.Hash]job // by header hash; guarded by mu
}

// job is work that was handed out.
type job struct {
	block  uint64
	target *big.Int
}

// staleJobs is how many blocks work stays acceptable; geth's remote sealer
// has the same limit.
const staleJobs = 7

// syncProgress is the answer of eth_syncing while a node is behind.
type syncProgress struct {
	StartingBlock hexutil.Uint64 `json:"startingBlock"`
	CurrentBlock  hexutil.Uint64 `json:"currentBlock"`
	HighestBlock  hexutil.Uint64 `json:"highestBlock"`
}

// Syncing is false, or how far the node has come, or what SetSyncing said.
func (a *ethAPI) Syncing() any {
	real := a.miner.eth.Downloader().Progress()
	at := syncProgress{
		StartingBlock: hexutil.Uint64(real.StartingBlock),
		CurrentBlock:  hexutil.Uint64(real.CurrentBlock),
		HighestBlock:  hexutil.Uint64(real.HighestBlock),
	}
	if pretended := a.says.syncing.Load(); pretended != nil {
		at.HighestBlock = at.CurrentBlock
		if *pretended {
			at.HighestBlock += 100
		}
	}
	if at.CurrentBlock >= at.HighestBlock {
		return false
	}
	return at
}

// GetWork returns the header hash, the seed hash, the target and the block
// number, hexadecimal.
func (a *ethAPI) GetWork() ([4]string, error) {
	work, err := a.work.GetWork()
	if err != nil {
		return work, err
	}
	target, _ := new(big.Int).SetString(work[2], 0)
	block, err := hexutil.DecodeUint64(work[3])
	if err != nil || target == nil {
		return work, fmt.Errorf("read geth's work %v: %w", work, errors.Join(err, errBadWork))
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for hash, j := range a.given {
		if j.block+staleJobs <= block {
			delete(a.given, hash)
		}
	}
	a.given[common.HexToHash(work[0])] = job{block: block, target: target}
	return work, nil
}

var errBadWork = errors.New("malformed work")

// SubmitWork reports whether the nonce seals work that GetWork gave, which then
// is a block of the chain or soon an uncle.
func (a *ethAPI) SubmitWork(nonce types.BlockNonce, header, mix common.Hash) bool {
	a.mu.Lock()
	j, ok := a.given[header]
	a.mu.Unlock()
	return ok && a.miner.pow.verify(j.block, header, nonce.Uint64(), mix, j.target) &&
		a.work.SubmitWork(nonce, header, mix)
}

// GetBlockReceipts is the receipts of a block, each as eth_getTransactionReceipt has it;
// null when there is no such block.
func (a *ethAPI) GetBlockReceipts(ctx context.Context, at rpc.BlockNumber) ([]json.RawMessage, error) {
	node, err := a.self()
	if err != nil {
		return nil, err
	}
	defer node.Close()
	var block *struct {
		Transactions []common.Hash `json:"transactions"`
	}
	if err := node.CallContext(ctx, &block, "eth_getBlockByNumber", at, false); err != nil || block == nil {
		return nil, err
	}
	receipts := make([]json.RawMessage, len(block.Transactions))
	asked := make([]rpc.BatchElem, len(receipts))
	for i, tx := range block.Transactions {
		asked[i] = rpc.BatchElem{Method: "eth_getTransactionReceipt", Args: []any{tx}, Result: &receipts[i]}
	}
	err = node.BatchCallContext(ctx, asked)
	for _, elem := range asked {
		err = errors.Join(err, elem.Error)
	}
	return receipts, err
}

// apis lists our services. They have to be registered after geth's own: of two
// methods with one name the later one answers.
func apis(ctx context.Context, m *miner, stack *node.Node, work *ethash.API) []rpc.API {
	says := new(pretence)
	return []rpc.API{
		{Namespace: "devnet", Service: &API{ctx: ctx, miner: m, says: says}},
		{Namespace: "net", Service: &netAPI{says: says, server: stack.Server()}},
		{Namespace: "eth", Service: &ethAPI{says: says, miner: m, work: work, self: stack.Attach, given: make(map[common.Hash]job)}},
	}
}
