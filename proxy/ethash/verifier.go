package ethash

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
)

const (
	// ahead is how many blocks before an epoch its cache is built: hours on any
	// network, and the building takes seconds.
	ahead = 1000
	// behind is how many blocks an epoch is kept after its last: as long as a
	// share for one of them may still come.
	behind = 16
)

// ErrEpoch reports a height whose cache is not there: nobody prepared it, or it
// is too old.
var ErrEpoch = errors.New("no cache for this epoch")

// Verifier hashes shares. It is safe for concurrent use.
type Verifier struct {
	rules   Rules
	workers int
	log     *slog.Logger
	queue   chan *request
	build   chan *slot
	idle    sync.Pool // of *request

	mu     sync.Mutex
	caches map[Epoch]*slot // guarded by mu
}

// slot is a cache that is there or on its way.
type slot struct {
	epoch Epoch
	ready chan struct{} // closed when cache is set
	cache *cache
}

// request is one share on its way through a worker.
type request struct {
	work   Work
	cache  *cache
	digest Digest
	done   chan struct{} // gets one token
}

// New makes a Verifier with one worker for each processor that Go uses now. It
// starts nothing.
func New(rules Rules, log *slog.Logger) *Verifier {
	return &Verifier{
		rules:   rules,
		workers: runtime.GOMAXPROCS(0),
		log:     log,
		queue:   make(chan *request, 64*Batch),
		build:   make(chan *slot, 8),
		idle:    sync.Pool{New: func() any { return &request{done: make(chan struct{}, 1)} }},
		caches:  make(map[Epoch]*slot),
	}
}

// Run does the work until ctx ends.
func (v *Verifier) Run(ctx context.Context) error {
	// A worker holds its processor for milliseconds. Were all of Go's held, nobody
	// would look at the network: so there is one more, and Linux divides them.
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(v.workers + 1))
	g, ctx := errgroup.WithContext(ctx)
	for range v.workers {
		g.Go(func() error {
			v.work(ctx)
			return nil
		})
	}
	g.Go(func() error {
		v.builds(ctx)
		return nil
	})
	return g.Wait()
}

// Prepare makes the cache for blocks of this height ready and returns when it
// is. That of the next epoch is built in the background when it comes near, and
// those that no share can need any more are let go.
func (v *Verifier) Prepare(ctx context.Context, height uint64) error {
	now := v.rules.Epoch(height)
	wanted := []Epoch{now, v.rules.Epoch(height + ahead), v.rules.Epoch(height - min(height, behind))}
	var s *slot
	for _, e := range wanted[:2] {
		got, err := v.slot(ctx, e)
		if err != nil {
			return err
		}
		if e == now {
			s = got
		}
	}
	v.forgetBut(wanted)
	select {
	case <-s.ready:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// slot finds the epoch's cache, or orders it.
func (v *Verifier) slot(ctx context.Context, e Epoch) (*slot, error) {
	v.mu.Lock()
	s := v.caches[e]
	if s != nil {
		v.mu.Unlock()
		return s, nil
	}
	s = &slot{epoch: e, ready: make(chan struct{})}
	v.caches[e] = s
	v.mu.Unlock()
	select {
	case v.build <- s:
		return s, nil
	case <-ctx.Done():
		v.mu.Lock()
		delete(v.caches, e)
		v.mu.Unlock()
		return nil, context.Cause(ctx)
	}
}

func (v *Verifier) forgetBut(wanted []Epoch) {
	v.mu.Lock()
	defer v.mu.Unlock()
	for e := range v.caches {
		if e != wanted[0] && e != wanted[1] && e != wanted[2] {
			delete(v.caches, e)
		}
	}
}

// builds makes the caches that were ordered, one at a time.
func (v *Verifier) builds(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case s := <-v.build:
			began := time.Now()
			c, err := newCache(ctx, s.epoch)
			if err != nil {
				return // ctx has ended
			}
			s.cache = c
			close(s.ready)
			v.log.Info("verification cache is ready", "epoch", s.epoch.Number, "cacheMiB", s.epoch.CacheBytes()>>20,
				"took", time.Since(began).Round(time.Millisecond))
		}
	}
}

// Hash is what the work on a block of this height comes to. It waits for a
// worker. Errors: [ErrEpoch], or the context's.
func (v *Verifier) Hash(ctx context.Context, height uint64, w Work) (Digest, error) {
	v.mu.Lock()
	s := v.caches[v.rules.Epoch(height)]
	v.mu.Unlock()
	if s == nil {
		return Digest{}, ErrEpoch
	}
	select {
	case <-s.ready:
	case <-ctx.Done():
		return Digest{}, context.Cause(ctx)
	}
	r := v.idle.Get().(*request)
	r.work, r.cache = w, s.cache
	select {
	case v.queue <- r:
	case <-ctx.Done():
		return Digest{}, context.Cause(ctx)
	}
	select {
	case <-r.done:
	case <-ctx.Done(): // r still belongs to a worker
		return Digest{}, context.Cause(ctx)
	}
	d := r.digest
	r.cache = nil
	v.idle.Put(r)
	return d, nil
}

// work hashes what comes, until ctx ends. A share that comes while others are
// under way joins them: it need not wait until they are done.
func (v *Verifier) work(ctx context.Context) {
	runtime.LockOSThread() // which ends with the worker
	unhurried()
	h := newHasher()
	var next *request // of another cache than those under way, which end before
	for {
		if next != nil && h.n == 0 {
			h.add(next)
			next = nil
		}
		if h.n == 0 {
			select {
			case <-ctx.Done():
				return
			case r := <-v.queue:
				h.add(r)
			}
		}
	joining:
		for h.n < Batch && next == nil {
			select {
			case <-ctx.Done():
				return
			case r := <-v.queue:
				if r.cache == h.requests[0].cache {
					h.add(r)
				} else {
					next = r
				}
			default:
				break joining
			}
		}
		h.step()
	}
}
