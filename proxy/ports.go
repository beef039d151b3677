package proxy

import (
	"context"
	"math/big"
	"sync/atomic"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/proxy/ethash"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// Ledger is where shares and blocks are written down. It is Redis in production.
// Every method may be repeated after an error without counting anything twice.
type Ledger interface {
	Lists(ctx context.Context) (blacklist, whitelist []string, err error)
	Extranonces(ctx context.Context, proxy string, ttl time.Duration, have []byte, more bool, begin byte) (taken byte, lost []byte, err error)
	Count(ctx context.Context, b storage.Batch) ([]bool, error)
	Found(ctx context.Context, b storage.FoundBlock) (fresh bool, err error)
	ReportNode(ctx context.Context, s storage.NodeState) error
}

// Verifier hashes shares. It is [ethash.Verifier] in production.
type Verifier interface {
	Prepare(ctx context.Context, height uint64) error
	Hash(ctx context.Context, height uint64, w ethash.Work) (ethash.Digest, error)
}

// Node gives work and takes blocks. It is [rpc.Client] in production.
type Node interface {
	Syncing(ctx context.Context) (bool, error)
	GetWork(ctx context.Context) ([]string, error)
	PendingBlock(ctx context.Context) (number uint64, difficulty *big.Int, err error)
	SubmitWork(ctx context.Context, nonce, header, mix string) (bool, error)
}

// health knows whether Redis answers. Miners get no work while it does not, when
// proxy.healthCheck says so.
type health struct {
	check bool
	most  int64
	fails atomic.Int64
}

// redis counts a failure, or forgets those before a success.
func (h *health) redis(err error) {
	if err == nil {
		h.fails.Store(0)
		return
	}
	h.fails.Add(1)
}

// sick says whether no work should be handed out.
func (h *health) sick() bool { return h.check && h.fails.Load() >= h.most }
