package chain

import (
	"cmp"
	"context"
	"fmt"
	"reflect"
	"slices"
	"sync"
	"time"
	"unsafe" // for what geth keeps private; the version is pinned in go.mod

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/core/state"
	"github.com/ethereum/go-ethereum/core/types"
)

// removeTx takes one transaction out of a mempool; those behind it by nonce
// wait as before a gap. The pool's lock must be held. Geth offers no public
// way, and a mempool that forgets is the mishap most worth testing.
//
//go:linkname removeTx github.com/ethereum/go-ethereum/core.(*TxPool).removeTx
func removeTx(pool *core.TxPool, hash common.Hash, outOfBound bool)

// mempool is geth's, with its lock and the state it last looked at.
type mempool struct {
	*core.TxPool
	mu   *sync.RWMutex   // the pool's own
	seen **state.StateDB // the pool's currentState, guarded by mu
}

func newMempool(pool *core.TxPool) mempool {
	field := func(name string) unsafe.Pointer {
		return unsafe.Pointer(reflect.ValueOf(pool).Elem().FieldByName(name).UnsafeAddr())
	}
	return mempool{
		TxPool: pool,
		mu:     (*sync.RWMutex)(field("mu")),
		seen:   (**state.StateDB)(field("currentState")),
	}
}

// settle waits until the mempool has taken notice of the head block, which it
// does in the background: what the block mined is out, what a reorganisation
// freed is back.
func (m mempool) settle(ctx context.Context, head func() *types.Block) error {
	for !m.at(head().Root()) {
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for the mempool to see block %d: %w", head().NumberU64(), context.Cause(ctx))
		case <-time.After(100 * time.Microsecond):
		}
	}
	return nil
}

// at reports whether the mempool last looked at the state with this root. A
// block's reward makes each root unlike the one before. The lock is exclusive
// because a StateDB changes its caches even when read.
func (m mempool) at(root common.Hash) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return (*m.seen).IntermediateRoot(false) == root
}

// forgetAll empties the mempool and returns how many transactions it held.
func (m mempool) forgetAll() int {
	var all types.Transactions
	pending, queued := m.Content()
	for _, txs := range pending {
		all = append(all, txs...)
	}
	for _, txs := range queued {
		all = append(all, txs...)
	}
	m.forget(all)
	return len(all)
}

// forget removes those of txs that the mempool holds. The highest nonce goes
// first, so that nothing has to be moved behind a gap only to be removed next.
func (m mempool) forget(txs types.Transactions) {
	txs = slices.Clone(txs)
	slices.SortFunc(txs, func(a, b *types.Transaction) int {
		return cmp.Compare(b.Nonce(), a.Nonce())
	})
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, tx := range txs {
		removeTx(m.TxPool, tx.Hash(), true)
	}
}
