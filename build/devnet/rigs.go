package main

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/devnet/miner"
)

const (
	demoMiners = 8 // addresses
	demoRigs   = 12
	demoRest   = 700 * time.Millisecond // between a rig's tries of a few nonces
)

// rigs are the miners of the demo: CPU miners of several addresses, in all
// dialects.
type rigs struct {
	running           sync.WaitGroup
	accepted, refused atomic.Int64
}

// start lets them mine until ctx ends. Until the pool listens, and whenever it
// does not, they try again, as miners do.
func (r *rigs) start(ctx context.Context, pool string) {
	for n := range demoRigs {
		r.running.Go(func() {
			cfg := miner.Config{
				Pool: pool, Login: login(n % demoMiners), Rig: fmt.Sprintf("rig%d", n+1),
				Dialect: miner.Dialects[n%len(miner.Dialects)], Rest: demoRest, Answered: r.answered,
			}
			for ctx.Err() == nil {
				_ = miner.Run(ctx, cfg) // the pool's log says why
				select {
				case <-ctx.Done():
				case <-time.After(time.Second):
				}
			}
		})
	}
}

func (r *rigs) wait() { r.running.Wait() }

func (r *rigs) answered(err error) {
	if err != nil {
		r.refused.Add(1)
		return
	}
	r.accepted.Add(1)
}

func (r *rigs) count() string {
	return fmt.Sprintf("%d shares accepted, %d refused", r.accepted.Load(), r.refused.Load())
}

// login is the n-th demo miner's.
func login(n int) string {
	return strings.ToLower(crypto.PubkeyToAddress(crypto.ToECDSAUnsafe(crypto.Keccak256(fmt.Appendf(nil, "demo miner %d", n))).PublicKey).Hex())
}
