package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// snapshot is what one cycle found, with the answers made of it. Nobody changes it.
type snapshot struct {
	number uint64 // of the cycle
	moved  uint64 // the number of the first cycle that found all money where it is now
	now    int64  // unix seconds
	head   uint64
	meta   storage.Meta

	stats, miners, blocks, payments, finders *answer

	pool       poolView
	blockLists blocksView
	list       []listedMiner // by hashrate

	hashrate, average int64 // over the small and the large window
	workers           int

	paid      []paymentView
	days      []dayView
	pending   []paymentView
	rejects   map[string]string
	holds     map[string]storage.Act
	skipped   map[string]storage.Skip
	credited  []storage.Block // since the running session began
	threshold util.Shannon
}

// money is what changes whenever something about anybody's money does.
type money struct {
	totals                                             storage.Miner
	payments, candidates, immature, matured, inflight  int64
	pending, rejects, holds                            int
	newestPaid, newestMatured, halt, paused, lastBlock string
	state, reason                                      string // of payouts
	session                                            storage.Session
	nextSession                                        int64
	threshold                                          util.Shannon
}

func moneyOf(s *snapshot, o storage.Overview) money {
	m := money{totals: o.Finances, payments: o.PaymentsTotal, candidates: o.CandidatesTotal, immature: o.ImmatureTotal, matured: o.MaturedTotal,
		inflight: o.Inflight, pending: len(o.Pending), rejects: len(s.rejects), holds: len(s.holds), newestMatured: o.NewestMatured, halt: s.meta.Halt, paused: s.meta.Paused, state: s.pool.Payouts.State, reason: s.pool.Payouts.Reason,
		lastBlock: strconv.FormatInt(o.Stats["lastBlockFound"], 10), session: s.meta.Session, nextSession: s.meta.NextSession, threshold: s.threshold}
	if len(o.Payments) > 0 {
		m.newestPaid = o.Payments[0].Tx
	}
	return m
}

// collector reads the books once each cycle and makes a snapshot. All but rates
// belong to the goroutine that runs the cycle.
type collector struct {
	cfg   Config
	parts Parts
	db    *storage.DB
	log   *slog.Logger

	mu    sync.RWMutex // of rates and tallied
	rates *hashrates
	// tallied is when, in unix seconds.
	tallied int64

	readAt map[int64]int64 // minute → unix seconds of its last reading
	oldTo  int64           // unix seconds up to which shares of the existing pools are read
	read   []reading       // of the present minute; its memory is used again

	number, moved uint64 // of the last snapshot
	money         money

	matured      []storage.Block // newest first
	maturedTotal int64
	newest       string
	rewards      *rewards
	days         paidDays
	skipped      map[string]storage.Skip
	skippedOf    storage.Session // that they are of
	ticks        []tick

	charts     []poolPoint // nil until read
	keptTo     int64       // the end of the last span of workers' charts that is in Redis, unix seconds
	schedules  [3]schedule // pool, miners, network
	odd        oddLogins
	said       map[string]bool // rows that cannot be read, told once
	firstCycle bool
}

// schedule is when a chart gets its points.
type schedule struct {
	cron.Schedule
	next time.Time
}

// due says whether a point is due, and for when.
func (s *schedule) due(now time.Time) (at int64, due bool) {
	if s.next.IsZero() {
		s.next = s.Next(now)
	}
	if now.Before(s.next) {
		return 0, false
	}
	at = s.next.Unix()
	s.next = s.Next(now)
	return at, true
}

func newCollector(cfg Config, parts Parts) (*collector, error) {
	c := &collector{cfg: cfg, parts: parts, db: parts.DB, log: parts.Log, readAt: map[int64]int64{}, rewards: newRewards(),
		rates:      newHashrates(seconds(cfg.HashrateWindow), seconds(cfg.HashrateLargeWindow)),
		said:       map[string]bool{},
		firstCycle: true,
	}
	for i, spec := range []string{cfg.PoolCharts, cfg.MinerCharts, cfg.NetCharts} {
		s, err := ParseChartSchedule(spec)
		if err != nil {
			return nil, fmt.Errorf("a chart's schedule %w", err)
		}
		c.schedules[i] = schedule{Schedule: s}
	}
	return c, nil
}

func seconds(d util.Duration) int64 { return int64(d.Std() / time.Second) }

// cycle makes a snapshot of what the books say now. After an error what was read
// is not read again, and nothing is shown.
func (c *collector) cycle(ctx context.Context) (*snapshot, error) {
	now := c.parts.Now()
	s := &snapshot{now: now.Unix(), pending: []paymentView{}, threshold: c.parts.Threshold}
	if err := c.measure(ctx, s); err != nil {
		return nil, err
	}
	age := maxAge(c.age())
	// The largest answer is made while Redis is asked for the rest.
	miners := make(chan *answer, 1)
	go func() {
		miners <- newAnswer(kindJSON, age, appendMiners(make([]byte, 0, 100*len(s.list)+100), now.UnixMilli(), s.hashrate, s.list))
	}()
	err := c.look(ctx, s, now)
	if s.miners = <-miners; err != nil {
		return nil, err
	}
	return s, nil
}

// look reads everything but the miners' hashrates, which are in already.
func (c *collector) look(ctx context.Context, s *snapshot, now time.Time) error {
	o, err := c.db.Overview(ctx, c.cfg.Payments)
	if err != nil {
		return err
	}
	meta, err := c.db.Meta(ctx)
	if err := c.without(err); err != nil {
		return err
	}
	c.tell(o.Bad)
	if err := c.without(o.FinancesErr); err != nil {
		return err
	}
	s.meta = meta
	if meta.Threshold > 0 {
		s.threshold = meta.Threshold
	}
	for _, row := range o.Pending {
		s.pending = append(s.pending, pendingView(row, row.Login))
	}
	if s.rejects, err = c.db.Rejects(ctx); err != nil {
		return err
	}
	s.holds, err = c.db.Holds(ctx)
	if err := c.without(err); err != nil {
		return err
	}
	if s.skipped, err = c.readSkipped(ctx, meta); err != nil {
		return err
	}
	if err := c.readMatured(ctx, o); err != nil {
		return err
	}
	if s.days, err = c.days.read(ctx, c.db, s.now); err != nil {
		return err
	}
	known, err := c.statuses(ctx, meta, o.Payments)
	if err != nil {
		return err
	}
	s.pool = c.poolView(s, o, now)
	if s.pool.Payouts.State == payoutsRunning {
		if s.credited, err = c.db.CreditedSince(ctx, meta.Session.Started); err != nil {
			return err
		}
	}
	if err := c.addPoints(ctx, s, now); err != nil {
		return err
	}
	s.pool.PoolCharts = c.charts
	c.viewBlocks(s, o)
	for _, row := range o.Payments {
		s.paid = append(s.paid, paidView(row, known, s.head))
	}
	if err := c.encode(s, o); err != nil {
		return err
	}
	c.number++
	if m := moneyOf(s, o); m != c.money {
		c.money, c.moved = m, c.number
	}
	s.number, s.moved = c.number, c.moved
	return nil
}

// tell logs rows that cannot be read, each once.
func (c *collector) tell(bad []error) {
	for _, err := range bad {
		if text := err.Error(); !c.said[text] && len(c.said) < 1000 {
			c.said[text] = true
			c.log.Warn("a row of the statistics is left out", "err", err)
		}
	}
}

// without logs what could not be read when the rest was, and returns what is worse.
func (c *collector) without(err error) error {
	if errors.Is(err, storage.ErrMalformed) {
		c.tell([]error{err})
		return nil
	}
	return err
}

// statuses asks the ledger about payments, if there is one.
func (c *collector) statuses(ctx context.Context, meta storage.Meta, rows []storage.PaidRow) (map[string]storage.PaymentStatus, error) {
	if meta.ChainID == 0 && meta.Step == 0 {
		return nil, nil
	}
	return c.db.PaymentStatuses(ctx, txsOf(rows))
}

// readSkipped reads whom the last session did not pay when there is a new one.
func (c *collector) readSkipped(ctx context.Context, meta storage.Meta) (map[string]storage.Skip, error) {
	session := meta.Session
	session.Paid, session.Amount = 0, 0 // these change while it runs
	if c.skipped != nil && session == c.skippedOf {
		return c.skipped, nil
	}
	skipped, err := c.db.Skipped(ctx)
	if err := c.without(err); err != nil {
		return nil, err
	}
	c.skipped, c.skippedOf = skipped, session
	return skipped, nil
}

// readMatured reads the newest matured blocks when there are new ones, and the
// credits of all.
func (c *collector) readMatured(ctx context.Context, o storage.Overview) error {
	if o.MaturedTotal != c.maturedTotal || o.NewestMatured != c.newest {
		blocks, bad, err := c.db.MaturedBlocks(ctx, 0, max(rewardBlocks, c.cfg.Blocks, int64(slices.Max(append([]int{0}, c.cfg.LuckWindow...)))))
		if err != nil {
			return err
		}
		c.tell(bad)
		c.matured, c.maturedTotal, c.newest = blocks, o.MaturedTotal, o.NewestMatured
	}
	budget := rewardBudget
	if c.firstCycle {
		budget = rewardBudgetFirst
	}
	if err := c.without(c.rewards.sync(ctx, c.db, o.Immature, c.matured, int64(len(c.matured)) < o.MaturedTotal, budget)); err != nil {
		return err
	}
	c.firstCycle = false
	return nil
}

// oldLag is how late proxies of the existing pools may write a share, in seconds.
const oldLag = 10

// Seconds after the end of a minute when it is read once more: proxies send
// shares in batches, and repeat those whose reply was lost.
const (
	minuteSoon = 20
	minuteLate = 100
)

// stale says whether a minute must be read (again).
func (c *collector) stale(minute, now int64) bool {
	at, end := c.readAt[minute], (minute+1)*60
	return at < end+minuteSoon || now >= end+minuteLate && at < end+minuteLate
}

// measure reads what workers did since the last time and computes hashrates.
func (c *collector) measure(ctx context.Context, s *snapshot) error {
	now := s.now
	c.mu.Lock()
	c.rates.advance(now)
	c.mu.Unlock()
	for minute := first(now, c.rates.windows[1]); minute <= now/60; minute++ {
		if !c.stale(minute, now) {
			continue
		}
		read := c.read[:0]
		bad, err := c.db.Work(ctx, minute, func(name string, sum int64) {
			read = append(read, reading{name: name, minute: minute, sum: sum, at: min(now, minute*60+59)})
		})
		if err != nil {
			return err
		}
		c.tell(bad)
		c.take(now, read)
		c.readAt[minute] = now
	}
	// Old shares are taken minute by minute as well: what was taken is taken,
	// whatever comes after.
	for from := max(c.oldTo+1, first(now, c.rates.windows[1])*60); from <= now-oldLag; from = c.oldTo + 1 {
		to := min(from+59, now-oldLag)
		read := c.read[:0]
		bad, err := c.db.OldShares(ctx, from, to, func(name string, difficulty, at int64) {
			read = append(read, reading{name: name, minute: at / 60, sum: difficulty, at: at, add: true})
		})
		if err != nil {
			return err
		}
		c.tell(bad)
		c.take(now, read)
		c.oldTo = to
	}
	maps.DeleteFunc(c.readAt, func(minute, _ int64) bool { return minute < first(now, c.rates.windows[1]) })
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tallied = now
	s.hashrate, s.average, s.workers = c.rates.tally(now)
	s.list = make([]listedMiner, 0, len(c.rates.miners))
	for _, m := range c.rates.sorted() {
		s.list = append(s.list, listedMiner{Login: m.login, Workers: len(m.workers), minerView: minerView{LastBeat: m.beat, HR: m.hr, Offline: m.offline}})
	}
	return nil
}

// take books readings and keeps their memory for the next ones.
func (c *collector) take(now int64, read []reading) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rates.take(now, read)
	clear(read)
	c.read = read[:0]
}

// ticksSpan is how long heights are remembered, in seconds.
const ticksSpan = 2 * 60 * 60

func (c *collector) poolView(s *snapshot, o storage.Overview, now time.Time) poolView {
	net := network(o.Nodes)
	if n := len(c.ticks); net.Height > 0 && (n == 0 || c.ticks[n-1].height < net.Height) {
		c.ticks = append(c.ticks, tick{net.Height, s.now})
	}
	c.ticks = slices.DeleteFunc(c.ticks, func(t tick) bool { return t.time < s.now-ticksSpan })
	s.head = net.Height
	net.Hashrate = int64(float64(net.Difficulty) / blockTime(c.ticks, slices.Concat(o.Immature, c.matured)))
	v := poolView{Hashrate: s.hashrate, HashrateAverage: s.average, WorkersTotal: s.workers, MinersTotal: len(s.list), Now: now.UnixMilli(), Nodes: []nodeView{}, Stats: o.Stats, MaturedTotal: o.MaturedTotal, ImmatureTotal: o.ImmatureTotal,
		CandidatesTotal: o.CandidatesTotal, PaymentsTotal: o.PaymentsTotal, Network: net,
		Round:    roundView{Shares: o.Stats["roundShares"], Progress: ratio(o.Stats["roundShares"], net.Difficulty)},
		Payouts:  payoutsOf(s.meta, o, s.threshold, s.now),
		Settings: c.parts.Settings}
	if s.meta.Confirmations > 0 { // payouts know better than this process's configuration
		v.Settings.Confirmations, v.Settings.FeeFromMiner = s.meta.Confirmations, s.meta.FeeFromMiner
	}
	if o.HasTerms { // and the unlocker
		v.Settings.Fee = float64(o.Terms.Fee) / float64(util.OnePercent)
		v.Settings.Depth, v.Settings.ImmatureDepth = o.Terms.Depth, o.Terms.ImmatureDepth
	}
	v.Settings.Interval = c.age()
	v.Settings.HashrateWindow = int(c.cfg.HashrateWindow.Std() / time.Second)
	if v.Settings.Ports == nil {
		v.Settings.Ports = []Port{}
	}
	for _, n := range o.Nodes {
		v.Nodes = append(v.Nodes, nodeView(n))
	}
	return v
}

func (c *collector) viewBlocks(s *snapshot, o storage.Overview) {
	v := blocksView{Matured: []blockView{}, Immature: []blockView{}, Candidates: []blockView{},
		MaturedTotal: o.MaturedTotal, ImmatureTotal: o.ImmatureTotal, CandidatesTotal: o.CandidatesTotal,
		Luck: luckOf(c.cfg.LuckWindow, o.Immature, c.matured)}
	for _, b := range o.Candidates {
		v.Candidates = append(v.Candidates, candidateView(b))
	}
	for _, b := range o.Immature {
		v.Immature = append(v.Immature, foundView(b, stateImmature, s.head))
	}
	for _, b := range c.matured {
		v.Matured = append(v.Matured, foundView(b, stateMatured, s.head))
	}
	s.blockLists = v
}

// addPoints adds to the charts what is due. The miners' charts are many, and
// written after the snapshot is out, see [collector.addMinerPoints].
func (c *collector) addPoints(ctx context.Context, s *snapshot, now time.Time) error {
	added := c.charts == nil
	if at, due := c.schedules[0].due(now); due {
		_, err := c.db.AddPoolPoint(ctx, at, s.pool.Hashrate, int64(s.pool.MinersTotal), c.cfg.PoolChartsNum)
		c.complain("the pool's chart lacks a point", err)
		added = true
	}
	if at, due := c.schedules[2].due(now); due && s.pool.Network.Difficulty > 0 {
		_, err := c.db.AddDifficultyPoint(ctx, at, s.pool.Network.Difficulty, c.cfg.NetChartsNum)
		c.complain("the network's chart lacks a point", err)
		added = true
	}
	if !added {
		return nil
	}
	pool, difficulty, err := c.db.Charts(ctx, c.cfg.PoolChartsNum, c.cfg.NetChartsNum)
	if err != nil {
		return err
	}
	c.charts = poolPoints(pool, difficulty)
	return nil
}

// complain logs what is no reason to show nothing.
func (c *collector) complain(what string, err error) {
	if err != nil {
		c.log.Warn(what, "err", err)
	}
}

// addMinerPoints adds to the charts of all who mine.
func (c *collector) addMinerPoints(ctx context.Context, s *snapshot) error {
	at, due := c.schedules[1].due(time.Unix(s.now, 0))
	if !due {
		return nil
	}
	points := make([]storage.MinerHashrate, 0, len(s.list))
	for _, m := range s.list {
		points = append(points, storage.MinerHashrate{Login: m.Login, Hashrate: m.HR})
	}
	return c.db.AddMinerPoints(ctx, at, c.cfg.MinerChartsNum, points)
}

// chartsAtOnce is how many workers' charts are made in one piece.
const chartsAtOnce = 1000

// keepWorkerCharts writes what all workers did in the large window whenever another
// span of their charts has ended. Each span is written many times, so that none is
// lost to a pause, and late shares count.
func (c *collector) keepWorkerCharts(ctx context.Context, now int64) error {
	c.mu.RLock()
	from, to := c.rates.charted(now)
	var workers []*worker
	if to > c.keptTo && from <= to {
		for _, m := range c.rates.miners {
			workers = append(workers, m.charted()...)
		}
	}
	c.mu.RUnlock()
	for part := range slices.Chunk(workers, chartsAtOnce) {
		charts := make([]storage.WorkerChart, 0, len(part))
		c.mu.RLock()
		for _, w := range part {
			charts = append(charts, storage.WorkerChart{Login: w.miner.login, Worker: w.name, Points: c.rates.chart(w, now)})
		}
		c.mu.RUnlock()
		if err := c.db.KeepWorkerCharts(ctx, charts); err != nil {
			return err
		}
	}
	c.keptTo = to
	return nil
}

// encode makes the answers that everybody gets.
func (c *collector) encode(s *snapshot, o storage.Overview) error {
	age := maxAge(c.age())
	ms := s.pool.Now
	payments := paymentsView{Payments: orEmpty(s.paid), PaymentsTotal: o.PaymentsTotal, Pending: s.pending, Days: s.days}
	finders := findersView{Now: ms, Finders: make([]finderView, 0, len(o.Finders))}
	for _, f := range o.Finders {
		finders.Finders = append(finders.Finders, finderView{Address: f.Login, Blocks: f.Blocks})
	}
	blocks := s.blockLists
	blocks.Matured = blocks.Matured[:min(int64(len(blocks.Matured)), c.cfg.Blocks)]
	for _, e := range []struct {
		to   **answer
		view any
	}{{&s.stats, s.pool}, {&s.blocks, blocks}, {&s.payments, payments}, {&s.finders, finders}} {
		body, err := json.Marshal(e.view)
		if err != nil {
			return fmt.Errorf("encode an answer: %w", err)
		}
		*e.to = newAnswer(kindJSON, age, body)
	}
	return nil
}

// age is how long an answer is good for, in seconds.
func (c *collector) age() int { return max(1, int(seconds(c.cfg.StatsCollectInterval))) }

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// liveView is the pool as the event "stats" has it: without what is long and
// rarely changes.
type liveView struct {
	poolView
	PoolCharts []poolPoint `json:"poolCharts,omitempty"`
	Settings   *Settings   `json:"settings,omitempty"`
}

func live(p poolView) ([]byte, error) { return json.Marshal(liveView{poolView: p}) }

// oddLogins are miners whose login is stored neither in lower case nor with a
// checksum, by lower case. Others are found without.
type oddLogins struct {
	mu sync.RWMutex // of by
	by map[string]string
}

// learn takes in who has a row.
func (o *oddLogins) learn(logins []string) {
	by := map[string]string{}
	for _, login := range logins {
		if isOdd(login) {
			by[strings.ToLower(login)] = login
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.by = by
}

func (o *oddLogins) find(lower string) string {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return o.by[lower]
}
