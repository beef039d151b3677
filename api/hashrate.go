package api

import (
	"cmp"
	"slices"
	"strings"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// reading is the sum of share difficulties that one worker had in one minute, or
// a share of a proxy of the existing pools, which is added to what is known.
type reading struct {
	name   string // LOGIN:WORKER
	minute int64  // unix seconds / 60
	sum    int64
	at     int64 // unix seconds of the latest share in it, as far as that is known
	add    bool
}

// hashrates knows how much every worker did in each minute of the large window.
// It has one owner.
type hashrates struct {
	windows [2]int64 // seconds: the small and the large window
	ring    int      // minutes that are remembered
	workers map[string]*worker
	miners  map[string]*miner // by login as stored
	odd     map[string]string // by lower case: logins that are neither so nor with a checksum

	from [2]int64 // the first minutes of the windows
	top  int64    // the last minute that has a slot

	order []ranked // of the last tally: the next one is much the same
}

// ranked is a miner with what he is sorted by, side by side in memory.
type ranked struct {
	hr int64
	*miner
}

// ring holds a sum of difficulties for each minute; the slot of a minute is its
// number modulo the length. They are whole numbers of 24 significant bits: half
// the memory, and all sums of them are exact.
type ring []float32

// worker is one rig.
type worker struct {
	name  string
	miner *miner
	work  ring  // as proxies sum up
	old   ring  // of proxies of the existing pools; nil without any
	beat  int64 // unix seconds of the latest share

	sums  [2]int64 // over the windows
	began [2]int64 // the first minutes with shares in them

	// Of the last tally.
	hr, hr2 int64 // hashes per second, over the small and the large window
	offline bool
}

// in is what the worker did in the minute of a slot.
func (w *worker) in(slot int64) int64 {
	if w.old != nil {
		return int64(w.work[slot]) + int64(w.old[slot])
	}
	return int64(w.work[slot])
}

// miner is the sum of his workers.
type miner struct {
	login   string
	workers []*worker // by name
	beat    int64
	hr, hr2 int64
	offline bool
	listed  bool // has a place in the order
}

func newHashrates(small, large int64) *hashrates {
	return &hashrates{windows: [2]int64{small, large}, ring: int(large/60) + 4, workers: map[string]*worker{}, miners: map[string]*miner{}, odd: map[string]string{}}
}

// first is the first minute of a window that ends now. It is counted whole, so
// that a window of a minute is never empty.
func first(now, window int64) int64 { return (now - window) / 60 }

// advance moves the windows to now. What leaves them is forgotten.
func (h *hashrates) advance(now int64) {
	from := [2]int64{first(now, h.windows[0]), first(now, h.windows[1])}
	top := now/60 + 1
	if top > h.top {
		fresh := min(top-h.top, int64(h.ring))
		for _, w := range h.workers {
			for i := range from {
				h.leave(w, i, from[i])
			}
			for m := top - fresh + 1; m <= top; m++ {
				slot := m % int64(h.ring)
				w.work[slot] = 0
				if w.old != nil {
					w.old[slot] = 0
				}
			}
		}
		h.from, h.top = from, top
	}
}

// leave takes the minutes before another first one out of a window.
func (h *hashrates) leave(w *worker, window int, from int64) {
	if w.began[window] == 0 || w.began[window] >= from {
		return
	}
	m := w.began[window]
	for ; m <= h.top; m++ {
		sum := w.in(m % int64(h.ring))
		if m >= from && sum > 0 {
			w.began[window] = m
			return
		}
		w.sums[window] -= sum
	}
	w.sums[window], w.began[window] = 0, 0
}

// take books readings. Those outside of the large window are left out.
func (h *hashrates) take(now int64, readings []reading) {
	for _, r := range readings {
		if r.minute < h.from[1] || r.minute > h.top || r.sum <= 0 {
			continue
		}
		w := h.workers[r.name]
		if w == nil {
			if w = h.meet(r.name); w == nil {
				continue
			}
		}
		sums := w.work
		if r.add {
			if w.old == nil {
				w.old = make(ring, h.ring)
			}
			sums = w.old
		}
		slot := r.minute % int64(h.ring)
		was := int64(sums[slot])
		if sums[slot] = float32(r.sum); r.add {
			sums[slot] = float32(was + r.sum)
		}
		more := int64(sums[slot]) - was
		if more == 0 {
			continue
		}
		for i, from := range h.from {
			if r.minute >= from {
				w.sums[i] += more
				if w.began[i] == 0 || r.minute < w.began[i] {
					w.began[i] = r.minute
				}
			}
		}
		w.beat = max(w.beat, min(r.at, now))
	}
}

// meet makes a worker's record; nil when the name is none.
func (h *hashrates) meet(name string) *worker {
	login, rig, ok := strings.Cut(name, ":")
	if !ok || !util.IsLogin(login) {
		return nil
	}
	m := h.miners[login]
	if m == nil {
		m = &miner{login: login}
		h.miners[login] = m
		if isOdd(login) {
			h.odd[strings.ToLower(login)] = login
		}
	}
	w := &worker{name: rig, miner: m, work: make(ring, h.ring)}
	h.workers[name] = w
	i, _ := slices.BinarySearchFunc(m.workers, rig, func(w *worker, name string) int { return strings.Compare(w.name, name) })
	m.workers = slices.Insert(m.workers, i, w)
	return w
}

// isOdd says whether a login is written in neither of the two usual ways.
func isOdd(login string) bool { return login != strings.ToLower(login) && login != checksummed(login) }

// freshest is the least time that a hashrate is taken over: whoever began a
// moment ago has no high one because of his first share.
const freshest = 600

// tally computes all hashrates, forgets who did nothing in the large window, and
// returns the pool's sums.
func (h *hashrates) tally(now int64) (small, large int64, workers int) {
	for _, m := range h.miners {
		m.hr, m.hr2, m.beat, m.offline = 0, 0, 0, true
		m.workers = slices.DeleteFunc(m.workers, func(w *worker) bool {
			if h.measure(w, now) {
				return false
			}
			delete(h.workers, m.login+":"+w.name)
			return true
		})
		if len(m.workers) == 0 {
			delete(h.miners, m.login)
			continue
		}
		for _, w := range m.workers {
			m.hr, m.hr2, m.beat = m.hr+w.hr, m.hr2+w.hr2, max(m.beat, w.beat)
			m.offline = m.offline && w.offline
		}
		small, large, workers = small+m.hr, large+m.hr2, workers+len(m.workers)
	}
	return small, large, workers
}

// sorted are all miners, the highest hashrate first.
func (h *hashrates) sorted() []ranked {
	kept, known := h.order[:0], len(h.order)
	for _, r := range h.order {
		if h.miners[r.login] == r.miner {
			kept = append(kept, ranked{r.miner.hr, r.miner}) // r.hr is of the last time
			r.listed = true
		}
	}
	clear(h.order[len(kept):known])
	for _, m := range h.miners {
		if !m.listed {
			kept = append(kept, ranked{m.hr, m})
			m.listed = true
		}
	}
	slices.SortFunc(kept, func(a, b ranked) int {
		if by := cmp.Compare(b.hr, a.hr); by != 0 {
			return by // most of the time; logins are elsewhere in memory
		}
		return strings.Compare(a.login, b.login)
	})
	h.order = kept
	return kept
}

// measure computes one worker's hashrates; false when it did nothing.
func (h *hashrates) measure(w *worker, now int64) bool {
	w.hr = rate(w.sums[0], now, w.began[0], h.from[0])
	w.hr2 = rate(w.sums[1], now, w.began[1], h.from[1])
	w.offline = w.beat < now-h.windows[0]/2
	return w.sums[1] > 0
}

// rate divides by the window's seconds, or by those since the worker began in it.
func rate(sum, now, began, from int64) int64 {
	if sum <= 0 {
		return 0
	}
	seconds := min(now-60*from, max(freshest, now-60*began))
	return sum / max(seconds, 1)
}

// spanMinutes are in the span of each point of a worker's chart.
const spanMinutes = storage.WorkerSpan / 60

// charted are the ends of the first and the last span that the large window has
// all of, in unix seconds. There is none where the first is after the last.
func (h *hashrates) charted(now int64) (from, to int64) {
	return storage.WorkerSpan * ((h.from[1]+spanMinutes-1)/spanMinutes + 1), now / storage.WorkerSpan * storage.WorkerSpan
}

// chart is what one worker did in these spans, oldest first.
func (h *hashrates) chart(w *worker, now int64) []storage.ChartPoint {
	from, to := h.charted(now)
	var out []storage.ChartPoint
	for at := from; at <= to; at += storage.WorkerSpan {
		var sum int64
		for m := at/60 - spanMinutes; m < at/60; m++ {
			sum += w.in(m % int64(h.ring))
		}
		out = append(out, storage.ChartPoint{Time: at, Values: [2]int64{sum / storage.WorkerSpan}})
	}
	return out
}
