package main

import (
	"context"
	"fmt"
	"log/slog"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/etclabscore/go-etchash"
	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/proxy/ethash"
)

// verification is the processor time of one hash in µs, by our verifier and by
// go-etchash, which the existing pools call twice a share. Both hash the same
// nonces with all processors, in turn; the first must come to the same.
func verification(ctx context.Context, epoch uint64) (ours, theirs float64, err error) {
	height := epoch*60_000 + 1
	v := ethash.New(ethash.Rules{Etchash: 0}, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(ctx)
	var running sync.WaitGroup
	running.Go(func() { _ = v.Run(ctx) }) // until ctx ends
	defer func() { cancel(); running.Wait() }()
	if err := v.Prepare(ctx, height); err != nil {
		return 0, 0, err
	}
	always := uint64(0)
	e := etchash.New(&always, nil)
	first, err := v.Hash(ctx, height, ethash.Work{})
	if err != nil {
		return 0, 0, err
	}
	if mix, final := e.Compute(height, common.Hash{}, 0); mix != first.Mix || final != first.Final {
		return 0, 0, fmt.Errorf("epoch %d: ours comes to %s, go-etchash to %s", epoch, first.Final, final)
	}
	var mine, others []float64
	for range rounds {
		mine = append(mine, each(800, busy, func(nonce uint64) {
			_, _ = v.Hash(ctx, height, ethash.Work{Nonce: nonce}) // only ctx can end it
		}))
		others = append(others, each(160, runtime.NumCPU(), func(nonce uint64) {
			e.Compute(height, common.Hash{}, nonce)
		}))
	}
	return median(mine), median(others), context.Cause(ctx)
}

// each is the processor time in µs of one call of f, of n with so many at a time.
func each(n uint64, at int, f func(nonce uint64)) float64 {
	var next atomic.Uint64
	var wg sync.WaitGroup
	before := spent()
	for range at {
		wg.Go(func() {
			for nonce := next.Add(1); nonce <= n; nonce = next.Add(1) {
				f(nonce)
			}
		})
	}
	wg.Wait()
	return (spent() - before).Seconds() * 1e6 / float64(n)
}

// spent is the processor time of this process so far.
func spent() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u) // it cannot fail for oneself
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
