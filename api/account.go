package api

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/hashicorp/golang-lru/v2/simplelru"
	"golang.org/x/sync/singleflight"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// checksummed is a login as people are shown it (EIP-55).
func checksummed(login string) string { return common.HexToAddress(login).Hex() }

// cache keeps answers that are made on demand, in a bounded part of memory. The
// same answer is made once, however many ask for it.
type cache struct {
	bytes  int // at most
	wait   time.Duration
	cycle  func() *snapshot
	flight singleflight.Group
	base   context.Context // of what is being made; ended by close
	stop   context.CancelFunc
	making sync.WaitGroup
	room   chan struct{} // for answers that are being made

	mu   sync.Mutex // of all below
	used int
	list *simplelru.LRU[string, cached]
}

type cached struct {
	answer *answer
	number uint64    // of the cycle it was made in
	until  time.Time // a failure to make it anew lets it live on until then
}

// accountCycles is how many cycles an answer about one miner is good for while
// nobody's money moves: his hashrate is a mean of half an hour. For as many again
// nobody waits for a new one: who asks gets the old one, and lets it be made.
const accountCycles = 4

const (
	cacheBytes   = 64 << 20
	cacheEntries = 1 << 20
	cacheMaking  = 8 // answers at once
	// cacheWait is how long one may take.
	cacheWait = 3 * time.Second
	// cacheRetry is how soon a failure is tried again while there is an old answer.
	cacheRetry = time.Second
)

func newCache(cycle func() *snapshot) *cache {
	c := &cache{bytes: cacheBytes, wait: cacheWait, cycle: cycle, room: make(chan struct{}, cacheMaking)}
	c.base, c.stop = context.WithCancel(context.Background())
	c.list, _ = simplelru.NewLRU(cacheEntries, func(key string, e cached) { c.used -= len(key) + e.answer.size() }) // the size is valid
	return c
}

// close ends what is being made, and waits for it.
func (c *cache) close() {
	c.stop()
	c.making.Wait()
}

// get returns the answer under the key and makes it where it is missing, so many
// cycles old (see [accountCycles]), or of a time before money moved. When that fails, an old answer is
// better than none.
func (c *cache) get(ctx context.Context, key string, cycles uint64, build func(context.Context, *snapshot) (*answer, error)) (*answer, error) {
	s := c.cycle()
	if s == nil {
		return nil, errNoSnapshot
	}
	old, how := c.look(key, s, cycles)
	if how == fresh || how == usable && len(c.room) == cap(c.room) {
		return old, nil
	}
	done := c.flight.DoChan(key, func() (any, error) {
		c.making.Add(1)
		defer c.making.Done()
		// Who asked first may go away; others wait for it as well.
		ctx, cancel := context.WithTimeout(c.base, c.wait)
		defer cancel()
		select {
		case c.room <- struct{}{}:
			defer func() { <-c.room }()
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if a, how := c.look(key, s, cycles); how == fresh { // made since we looked
			return a, nil
		}
		a, err := build(ctx, s)
		if err != nil {
			if old != nil {
				c.keep(key, cached{answer: old, until: time.Now().Add(cacheRetry)})
			}
			return nil, err
		}
		c.keep(key, cached{answer: a, number: s.number})
		return a, nil
	})
	if how == usable {
		return old, nil
	}
	select {
	case r := <-done:
		if r.Err != nil {
			if old != nil {
				return old, nil //nolint:nilerr // it is old, and says so by its "now"
			}
			return nil, r.Err
		}
		a, _ := r.Val.(*answer)
		return a, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// How old an answer is.
type age int

const (
	stale  age = iota // or there is none
	usable            // while a new one is made
	fresh
)

func (c *cache) look(key string, s *snapshot, cycles uint64) (*answer, age) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.list.Get(key)
	switch {
	case !ok:
		return nil, stale
	case !e.until.IsZero() && time.Now().Before(e.until), e.number >= s.moved && e.number+cycles > s.number:
		return e.answer, fresh
	case e.number >= s.moved && e.number+2*cycles > s.number:
		return e.answer, usable
	}
	return e.answer, stale
}

func (c *cache) keep(key string, e cached) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.list.Remove(key)
	c.list.Add(key, e)
	c.used += len(key) + e.answer.size()
	for c.used > c.bytes {
		c.list.RemoveOldest()
	}
}

// stats says how much is in the cache.
func (c *cache) stats() (entries, bytes int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.list.Len(), c.used
}

// stored finds how a login is written in the books. Who mines has a row there.
func (a *API) stored(ctx context.Context, login string) (string, error) {
	lower, sum := strings.ToLower(login), checksummed(login)
	for _, form := range []string{sum, lower} {
		if a.c.mines(form) {
			return form, nil
		}
	}
	forms := []string{lower, sum}
	if login != lower && login != sum {
		forms = append(forms, login)
	}
	for _, odd := range []string{a.c.odd.find(lower), a.c.minesAs(lower)} {
		if odd != "" {
			forms = append(forms, odd)
		}
	}
	return a.db.Stored(ctx, forms...)
}

// book reads a miner's row, whatever the case of the login, and how it is stored.
// Most are found at the first try.
func (a *API) book(ctx context.Context, login string) (string, storage.MinerBook, error) {
	guess := strings.ToLower(login)
	if sum := checksummed(login); a.c.mines(sum) {
		guess = sum
	}
	book, err := a.db.MinerBook(ctx, guess, a.cfg.Payments, a.cfg.MinerChartsNum)
	if !errors.Is(err, storage.ErrNotFound) {
		return guess, book, err
	}
	stored, err := a.stored(ctx, login)
	if err != nil {
		return login, storage.MinerBook{}, err
	}
	book, err = a.db.MinerBook(ctx, stored, a.cfg.Payments, a.cfg.MinerChartsNum)
	return stored, book, err
}

// mines says whether the login, written so, has shares in the large window.
func (c *collector) mines(login string) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.rates.miners[login] != nil
}

// minesAs is how the login of a miner is written who writes it oddly, "" for others.
func (c *collector) minesAs(lower string) string {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.rates.odd[lower]
}

// errNoSnapshot says that there is nothing to show yet.
var errNoSnapshot = errors.New("the statistics are not there yet")

// account makes the answer to /api/accounts/LOGIN.
func (a *API) account(ctx context.Context, s *snapshot, login string) (*answer, error) {
	login, book, err := a.book(ctx, login)
	if errors.Is(err, storage.ErrNotFound) {
		return notFound("no miner %s", checksummed(login)), nil
	}
	if err != nil {
		return nil, err
	}
	known, err := a.c.statuses(ctx, s.meta, book.Payments)
	if err != nil {
		return nil, err
	}
	v := accountView{Stats: book.Stats, PaymentsTotal: book.PaymentsTotal, RoundShares: book.RoundShares, RoundShare: min(1, ratio(book.RoundShares, book.RoundTotal)), PageSize: a.cfg.Payments,
		Login: login, Now: s.pool.Now, Payments: make([]paymentView, 0, len(book.Payments)), Pending: []paymentView{}, Charts: make([]minerPoint, 0, len(book.Chart))}
	for _, field := range []string{"balance", "pending", "paid", "immature", "lastShare", "blocksFound"} {
		v.Stats[field] += 0 // there, if only as zero
	}
	for _, row := range book.Payments {
		v.Payments = append(v.Payments, paidView(row, known, s.head))
	}
	for _, row := range book.Pending {
		v.Pending = append(v.Pending, pendingView(row, ""))
	}
	for _, p := range book.Chart {
		v.Charts = append(v.Charts, minerPoint{X: p.Time, Hashrate: fourDigits(p.Values[0])})
	}
	a.c.workersOf(&v, login, book.Workers)
	all, complete := a.c.rewards.of(login)
	v.Rewards, v.RewardsTotal = all[:min(len(all), rewardsShown)], len(all)
	v.Earnings = earnings(all, s.now, complete, daysShown)
	v.Payout = payoutOf(s, login, book, all)
	if s.pool.Payouts.State == payoutsRunning {
		due, err := a.due(ctx, s, login, v.Payout, util.Shannon(book.Stats["balance"]))
		if err != nil {
			return nil, err
		}
		v.Payout.Due = &due
	}
	return encode(a.age, v)
}

// due says whether the running session pays a balance: whether it had reached the
// threshold before what was credited since the session began. The books do not
// list whom a session pays, but when each block was credited.
func (a *API) due(ctx context.Context, s *snapshot, login string, p accountPayout, balance util.Shannon) (bool, error) {
	if p.Reason != reasonNext {
		return false, nil
	}
	since, err := a.db.CreditsOf(ctx, login, s.credited)
	for _, amount := range since {
		balance -= amount
	}
	return balance >= p.Threshold, err
}

func payoutOf(s *snapshot, login string, book storage.MinerBook, rewards []rewardView) accountPayout {
	balance := util.Shannon(book.Stats["balance"])
	p := accountPayout{Threshold: s.threshold, NextSession: s.pool.Payouts.NextSession}
	if s.threshold > 0 {
		p.Progress = min(1, max(0, float64(balance)/float64(s.threshold)))
	}
	p.Reason, p.Why = whyUnpaid(owed{balance: balance, pending: util.Shannon(book.Stats["pending"]), threshold: s.threshold,
		rows: len(book.Pending), rejects: s.rejects[login], hold: holdOf(s.holds, login), skipped: s.skipped[login], meta: s.meta, payouts: s.pool.Payouts})
	p.ThresholdAt = thresholdAt(balance, s.threshold, rewards, s.now)
	return p
}

// seenLag is by how much the last share that proxies wrote down may be older than
// the one that was counted, in seconds; a proxy of the existing pools writes none.
const seenLag = 60

// workersOf fills in what is known of the miner's workers: from shares, and from
// when they were last seen.
func (c *collector) workersOf(v *accountView, login string, seen map[string]int64) {
	v.Workers = map[string]workerView{}
	c.mu.RLock()
	defer c.mu.RUnlock()
	m := c.rates.miners[login]
	if m == nil {
		return
	}
	v.CurrentHashrate, v.Hashrate, v.WorkersTotal = m.hr, m.hr2, len(m.workers)
	for _, w := range m.workers {
		beat := max(w.beat, seen[w.name])
		if at := seen[w.name]; at > 0 && at > w.beat-seenLag {
			beat = at // to the second; ours is to the cycle
		}
		v.Workers[w.name] = workerView{minerView: minerView{LastBeat: beat, HR: w.hr, Offline: w.offline}, HR2: w.hr2}
		if w.offline {
			v.WorkersOffline++
		} else {
			v.WorkersOnline++
		}
	}
}

// chartsMost is of how many workers of a miner there are charts: the first by name.
const chartsMost = 100

// charted are those workers.
func (m *miner) charted() []*worker { return m.workers[:min(len(m.workers), chartsMost)] }

// accountCharts makes the answer to /api/accounts/LOGIN/charts: the large window as
// it is remembered, and the rest of the day as Redis has it.
func (a *API) accountCharts(ctx context.Context, s *snapshot, login string) (*answer, error) {
	login, err := a.stored(ctx, login)
	if errors.Is(err, storage.ErrNotFound) {
		return notFound("no such miner"), nil
	}
	if err != nil {
		return nil, err
	}
	names, late, from := a.c.chartsOf(login)
	early, err := a.db.WorkerCharts(ctx, login, names, s.now-daySeconds+1, from-1)
	if err != nil {
		return nil, err
	}
	v := accountChartsView{Now: s.pool.Now, Charts: make(map[string][]minerPoint, len(names))}
	for i, name := range names {
		points := make([]minerPoint, 0, len(early[i])+len(late[i]))
		for _, p := range slices.Concat(early[i], late[i]) {
			points = append(points, minerPoint{X: p.Time, Hashrate: fourDigits(p.Values[0])})
		}
		v.Charts[name] = points
	}
	return encode(a.age, v)
}

// chartsOf is what is remembered of a miner's workers, and from when on.
func (c *collector) chartsOf(login string) (names []string, charts [][]storage.ChartPoint, from int64) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if m := c.rates.miners[login]; m != nil {
		for _, w := range m.charted() {
			names, charts = append(names, w.name), append(charts, c.rates.chart(w, c.tallied))
		}
	}
	from, _ = c.rates.charted(c.tallied)
	return names, charts, from
}

// notFound is an answer that is kept like any other, so that asking again and
// again costs nothing.
func notFound(format string, args ...any) *answer {
	a, _ := encode(noStore, errorView{Error: fmt.Sprintf(format, args...)}) // a string is always encoded
	a.status, a.tagged = http.StatusNotFound, false
	return a
}

// accountPayments makes a page of /api/accounts/LOGIN/payments.
func (a *API) accountPayments(ctx context.Context, s *snapshot, login string, page page) (*answer, error) {
	login, err := a.stored(ctx, login)
	if errors.Is(err, storage.ErrNotFound) {
		return notFound("no such miner"), nil
	}
	if err != nil {
		return nil, err
	}
	rows, total, err := a.db.PaidPage(ctx, login, page.offset, page.limit)
	if err != nil {
		return nil, err
	}
	known, err := a.c.statuses(ctx, s.meta, rows)
	if err != nil {
		return nil, err
	}
	v := accountPaymentsView{Now: s.pool.Now, Payments: make([]paymentView, 0, len(rows)), PaymentsTotal: total}
	for _, row := range rows {
		v.Payments = append(v.Payments, paidView(row, known, s.head))
	}
	return encode(a.age, v)
}

// accountRewards makes a page of /api/accounts/LOGIN/rewards.
func (a *API) accountRewards(ctx context.Context, s *snapshot, login string, page page) (*answer, error) {
	login, err := a.stored(ctx, login)
	if errors.Is(err, storage.ErrNotFound) {
		return notFound("no such miner"), nil
	}
	if err != nil {
		return nil, err
	}
	all, _ := a.c.rewards.of(login)
	return encode(a.age, accountRewardsView{Now: s.pool.Now, Rewards: cut(all, page), RewardsTotal: len(all)})
}
