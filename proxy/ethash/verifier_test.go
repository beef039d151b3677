package ethash

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// tiny is a Verifier whose caches are of a few lines, running until the test
// ends.
func tiny(t testing.TB, epochs ...Epoch) *Verifier {
	t.Helper()
	v := New(Classic, slog.New(slog.DiscardHandler))
	for _, e := range epochs {
		c, err := newCacheOf(t.Context(), 101, 1009, e)
		if err != nil {
			t.Fatal(err)
		}
		s := &slot{epoch: e, ready: make(chan struct{}), cache: c}
		close(s.ready)
		v.caches[e] = s
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error)
	go func() { ended <- v.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return v
}

func TestManySharesOfTwoEpochsAtOnce(t *testing.T) {
	const before, after = 11_699_999, 11_700_000
	v := tiny(t, Classic.Epoch(before), Classic.Epoch(after))
	var wg sync.WaitGroup
	for n := range uint64(200) {
		wg.Go(func() {
			height := before + n%2
			w := Work{common.Hash{byte(n)}, n}
			got, err := v.Hash(t.Context(), height, w)
			if err != nil {
				t.Error(err)
				return
			}
			var want [1]Digest
			newHasher().hash(v.caches[Classic.Epoch(height)].cache, []Work{w}, want[:], 0)
			if got != want[0] {
				t.Errorf("share %d: %+v, want %+v", n, got, want[0])
			}
		})
	}
	wg.Wait()
}

func TestAHeightNobodyPreparedIsAnError(t *testing.T) {
	v := tiny(t)
	if _, err := v.Hash(t.Context(), 1, Work{}); !errors.Is(err, ErrEpoch) {
		t.Errorf("error %v, want ErrEpoch", err)
	}
}

func TestPrepareBuildsAheadAndForgetsWhatIsOver(t *testing.T) {
	has := func(v *Verifier) (list string) {
		v.mu.Lock()
		defer v.mu.Unlock()
		for e := range uint64(5) {
			if s := v.caches[Ethereum.Epoch(e*epochBlocks)]; s != nil {
				list += fmt.Sprint(e)
			}
		}
		return list
	}
	v := New(Ethereum, slog.New(slog.DiscardHandler))
	for e := range uint64(4) {
		s := &slot{epoch: Ethereum.Epoch(e * epochBlocks), ready: make(chan struct{})}
		close(s.ready)
		v.caches[s.epoch] = s
	}
	for _, tc := range []struct {
		height uint64
		want   string
	}{
		{15_000, "0"},             // 1, 2 and 3 are nobody's yet
		{30_000 - ahead - 1, "0"}, // not near
		{30_000 - ahead, "01"},    // the next one is ordered
	} {
		if err := v.Prepare(t.Context(), tc.height); err != nil {
			t.Fatal(err)
		}
		if got := has(v); got != tc.want {
			t.Errorf("at block %d there are caches %s, want %s", tc.height, got, tc.want)
		}
	}
	next := <-v.build
	close(next.ready)
	for _, tc := range []struct {
		height uint64
		want   string
	}{
		{30_000, "01"},
		{30_000 + behind - 1, "01"}, // a share of block 29,999 may still come
		{30_000 + behind, "1"},
	} {
		if err := v.Prepare(t.Context(), tc.height); err != nil {
			t.Fatal(err)
		}
		if got := has(v); got != tc.want {
			t.Errorf("at block %d there are caches %s, want %s", tc.height, got, tc.want)
		}
	}
}

func TestTheFirstCacheIsBuiltOnDemand(t *testing.T) {
	v := tiny(t)
	if err := v.Prepare(t.Context(), 1); err != nil {
		t.Fatal(err)
	}
	spec := vectors(t)[0]
	d, err := v.Hash(t.Context(), 1, spec.work)
	if err != nil {
		t.Fatal(err)
	}
	spec.check(t, d)
}

func TestWaitersEndWithTheirContext(t *testing.T) {
	v := New(Ethereum, slog.New(slog.DiscardHandler)) // nobody works
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := v.Prepare(ctx, 1); !errors.Is(err, context.Canceled) {
		t.Errorf("Prepare: %v, want Canceled", err)
	}
	v.caches[Ethereum.Epoch(1)] = &slot{ready: make(chan struct{})}
	if _, err := v.Hash(ctx, 1, Work{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Hash: %v, want Canceled", err)
	}
	if _, err := newCache(ctx, Ethereum.Epoch(1)); !errors.Is(err, context.Canceled) {
		t.Errorf("newCache: %v, want Canceled", err)
	}
}

// hash computes out[i] of work[i]. Each begins so many accesses after the one
// before, at most a whole share's.
func (h *hasher) hash(c *cache, work []Work, out []Digest, gap int) {
	requests := make([]*request, len(work))
	for i, w := range work {
		requests[i] = &request{work: w, cache: c, done: make(chan struct{}, 1)}
	}
	h.run(requests, gap)
	for i, r := range requests {
		out[i] = r.digest
	}
}

func (h *hasher) run(requests []*request, gap int) {
	for i, r := range requests {
		for range gap * min(i, 1) {
			h.step()
		}
		h.add(r)
	}
	for h.n > 0 {
		h.step()
	}
	for _, r := range requests {
		<-r.done
	}
}

func TestAShareCostsNoAllocation(t *testing.T) {
	c, err := newCacheOf(t.Context(), 101, 1009, Epoch{})
	if err != nil {
		t.Fatal(err)
	}
	h, requests := newHasher(), make([]*request, Batch)
	for i := range requests {
		requests[i] = &request{cache: c, done: make(chan struct{}, 1)}
	}
	if n := testing.AllocsPerRun(10, func() { h.run(requests, 7) }); n != 0 {
		t.Errorf("a batch makes %v allocations", n)
	}
}

func BenchmarkHash(b *testing.B) {
	for _, epoch := range []uint64{0, 390} {
		c, err := newCache(b.Context(), Epoch{epoch, 2 * epoch})
		if err != nil {
			b.Fatal(err)
		}
		for _, size := range []int{1, Batch} {
			b.Run(fmt.Sprintf("epoch=%d/batch=%d", epoch, size), func(b *testing.B) {
				h, work, out := newHasher(), make([]Work, size), make([]Digest, size)
				for b.Loop() {
					for i := range work {
						work[i].Nonce += Batch
					}
					h.hash(c, work, out, 0)
				}
				b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*size), "µs/share")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}
