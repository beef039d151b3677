package proxy

import (
	"sync"
	"sync/atomic"
	"time"
)

const (
	handsIdle = 64          // how many may wait for something to do
	handsRest = time.Second // and for how long
)

// hands are goroutines that do for all connections what takes a deep stack, which
// a goroutine seldom gives back. The one that waits for a miner, mostly in vain,
// leaves everything else to them, and keeps to two KiB.
type hands struct {
	errands chan *errand // taken by one who is idle
	idle    atomic.Int32
	all     sync.WaitGroup
}

type errand struct {
	do   func()
	done sync.WaitGroup
}

func newHands() *hands { return &hands{errands: make(chan *errand)} }

// do has something done and returns when it is. There are as many hands as there
// are errands at the same time.
func (h *hands) do(f func()) {
	e := &errand{do: f}
	e.done.Add(1)
	select {
	case h.errands <- e:
	default:
		h.all.Go(func() { h.run(e) })
	}
	e.done.Wait()
}

// run does one errand after the other, as long as few others are idle.
func (h *hands) run(e *errand) {
	rest := time.NewTimer(handsRest)
	defer rest.Stop()
	for more := true; more; {
		e.do()
		e.done.Done()
		if h.idle.Add(1) <= handsIdle {
			rest.Reset(handsRest)
			select {
			case e, more = <-h.errands:
			case <-rest.C:
				more = false
			}
		} else {
			more = false
		}
		h.idle.Add(-1)
	}
}

// end sends the idle home. No errand may come after it.
func (h *hands) end() {
	close(h.errands)
	h.all.Wait()
}
