// Package bench compares this pool with what the existing ones use. It is a
// module of its own, so that their code does not weigh on the pool's.
package bench

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/etclabscore/go-etchash"
	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/proxy/ethash"
)

// cpu is the processor time that this process has used so far.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkVerify is the processor time of one verified share, at epoch 0 and at
// Ethereum Classic's of today. Both verifiers hash the same nonces, and the
// first of them must come to the same.
func BenchmarkVerify(b *testing.B) {
	for _, epoch := range []uint64{0, 390} {
		height := epoch*60_000 + 1
		ours := ethash.New(ethash.Rules{Etchash: 0}, slog.New(slog.DiscardHandler))
		ctx, cancel := context.WithCancel(context.Background())
		ended := make(chan error, 1)
		go func() { ended <- ours.Run(ctx) }()
		if err := ours.Prepare(ctx, height); err != nil {
			b.Fatal(err)
		}
		always := uint64(0)
		theirs := etchash.New(&always, nil)
		first, err := ours.Hash(ctx, height, ethash.Work{})
		if err != nil {
			b.Fatal(err)
		}
		if mix, final := theirs.Compute(height, common.Hash{}, 0); mix != first.Mix || final != first.Final {
			b.Fatalf("epoch %d: ours comes to %s, go-etchash to %s", epoch, first.Final, final)
		}
		b.Run(fmt.Sprintf("epoch=%d/verifier=ours", epoch), func(b *testing.B) {
			const at = 32 // connections that have a share at the same time
			before := cpu(b)
			var wg sync.WaitGroup
			for c := range at {
				wg.Go(func() {
					for n := c; n < b.N; n += at {
						if _, err := ours.Hash(ctx, height, ethash.Work{Nonce: uint64(n)}); err != nil {
							b.Error(err)
						}
					}
				})
			}
			wg.Wait()
			report(b, before)
		})
		b.Run(fmt.Sprintf("epoch=%d/verifier=go-etchash", epoch), func(b *testing.B) {
			before := cpu(b)
			for n := range b.N {
				theirs.Compute(height, common.Hash{}, uint64(n))
			}
			report(b, before)
		})
		cancel()
		<-ended
	}
}

func report(b *testing.B, before time.Duration) {
	b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(b.N), "cpu-µs/share")
	b.ReportMetric(0, "ns/op")
}
