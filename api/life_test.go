package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// listen opens /api/events and returns a function that reads the next event.
func (p *pool) listen(query string) (next func() (name, data string)) {
	p.t.Helper()
	srv := httptest.NewServer(p.api)
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/api/events"+query, nil)
	p.ok(err)
	res, err := srv.Client().Do(req)
	p.ok(err)
	p.t.Cleanup(func() { cancel(); res.Body.Close(); srv.Client().CloseIdleConnections(); srv.Close() })
	if res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Cache-Control") != "no-store" {
		p.t.Fatalf("headers %v", res.Header)
	}
	lines := bufio.NewReader(res.Body)
	return func() (name, data string) {
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				p.t.Fatalf("the stream ended: %v", err)
			}
			line = strings.TrimSuffix(line, "\n")
			if v, ok := strings.CutPrefix(line, "event: "); ok {
				name = v
			}
			if v, ok := strings.CutPrefix(line, "data: "); ok {
				data = v
			}
			if line == "" && name != "" {
				return name, data
			}
		}
	}
}

func TestListenersHearOfEverything(t *testing.T) {
	p := newPool(t)
	world(p)
	p.cycle()
	next := p.listen("?login=" + checksummed(alice))
	want := func(name string, to any) {
		t.Helper()
		got, data := next()
		if got != name {
			t.Fatalf("event %s, want %s: %s", got, name, data)
		}
		p.ok(json.Unmarshal([]byte(data), to))
	}
	var stats map[string]any
	var payouts payoutsView
	var account accountView
	want("stats", &stats)
	want("session", &payouts)
	want("account", &account)
	if stats["poolCharts"] != nil || stats["settings"] != nil || stats["hashrate"] == nil || account.Login != alice || payouts.Session.Due != 4 {
		t.Errorf("began with %v, %+v, %+v", stats, payouts, account)
	}

	p.after(5 * time.Second)
	want("stats", &stats)
	p.after(5 * time.Second)
	want("stats", &stats) // and nothing of the account, which is as it was

	l, err := p.db.Acquire(ctx, "payouts token", "payouts token", 0)
	p.ok(err, l.Note(ctx, "sessionPaid", 2))
	_, err = p.db.Found(ctx, storage.FoundBlock{Share: storage.Share{Login: bob, Worker: "0", Difficulty: 1000, Height: 20_002, Nonce: "0x00000000000000bb", Header: hash(5), Mix: hash(6)}, Time: p.now.Unix(), Difficulty: 1})
	p.ok(err)
	dave, err := p.db.Payments(ctx, "9-id")
	p.ok(err)
	p.ok(l.Sent(ctx, p.now.Unix(), dave...)...)
	p.after(5 * time.Second)
	var block blockView
	var paid paymentView
	want("stats", &stats)
	want("session", &payouts)
	want("block", &block)
	want("payment", &paid)
	want("account", &account)
	if account.Now != p.now.UnixMilli() {
		t.Error("an old account")
	}
	if payouts.Session.Paid != 2 || block.Height != 20_002 || block.Kind != kindCandidate || paid.Address != dave[0].Login || paid.Status != paymentSent {
		t.Errorf("heard %+v, %+v, %+v", payouts, block, paid)
	}

	dave[0].Hash, dave[0].Block, dave[0].BlockHash, dave[0].FeeWei = dave[0].Attempts[0].Hash, 19_990, dave[0].Attempts[0].Hash, util.Shannon(1).Wei()
	p.ok(l.Final(ctx, p.now.Unix(), 0, dave...)...)
	p.after(5 * time.Second)
	want("stats", &stats)
	want("payment", &paid)
	if paid.Status != paymentFinal || paid.Confirmations != 11 {
		t.Errorf("heard %+v", paid)
	}
}

func TestASlowListenerIsCutOffAndTheNumberIsBounded(t *testing.T) {
	h := newHub()
	slow, quick := h.join(), h.join()
	for range listenerRoom + 1 {
		h.publish([]event{{"stats", []byte("{}")}})
		<-quick.frames
	}
	n := 0
	for range slow.frames {
		n++
	}
	if n != listenerRoom || h.size() != 1 {
		t.Errorf("the slow one got %d frames, %d are left", n, h.size())
	}
	h.leave(slow) // a second time does no harm
	for h.size() < listenersMost {
		h.join()
	}
	if h.join() != nil {
		t.Error("one too many")
	}
	h.close()
	if _, open := <-quick.frames; open || h.size() != 0 || h.join() != nil {
		t.Error("not closed")
	}
}

func TestChartsGetAPointOnScheduleOnce(t *testing.T) {
	p := newPool(t, func(c *Config, _ *Parts) { c.PoolChartsNum, c.MinerChartsNum, c.NetChartsNum = 3, 3, 3 })
	world(p)
	k := p.db.Keys
	p.cycle()
	other := p.api // another server on the same books
	p.restart(func(c *Config, _ *Parts) { c.PoolChartsNum, c.MinerChartsNum, c.NetChartsNum = 3, 3, 3 })
	p.cycle()
	next := p.now.Truncate(10 * time.Minute).Add(10 * time.Minute)
	for range 2 {
		p.now = next.Add(3 * time.Second)
		other.cycle(ctx)
		p.do("HINCRBY", k.Work(p.now.Unix()/60), alice+":rig", 1_000_000_000) // the second one sees more
		p.cycle()
		p.after(5 * time.Second)
		for _, key := range []string{k.ChartPool(), k.ChartDifficulty(), k.ChartMiner(alice)} {
			if got := p.do("ZCOUNT", key, next.Unix(), next.Unix()); got != int64(1) {
				t.Errorf("%s has %v points at %s", key, got, next)
			}
			if got := p.do("ZCARD", key); got != int64(3) {
				t.Errorf("%s has %v points, want 3", key, got)
			}
		}
		next = next.Add(10 * time.Minute)
	}
	if ttl, _ := p.do("TTL", k.ChartMiner(alice)).(int64); ttl < 47*3600 || ttl > 48*3600 {
		t.Errorf("a miner's chart expires in %d s", ttl)
	}
	var v poolView
	p.ok(json.Unmarshal(p.get("/api/stats").Body.Bytes(), &v))
	last := v.PoolCharts[len(v.PoolCharts)-1]
	if len(v.PoolCharts) != 3 || last.X != next.Unix()-600 || last.Difficulty != 1_300_000 || last.MinersOnline != 3 {
		t.Errorf("charts %+v", v.PoolCharts)
	}
	if got := p.do("ZRANGE", k.ChartPool(), -1, -1); fmt.Sprint(got) != fmt.Sprintf("[%d:%d:3]", last.X, last.Hashrate) {
		t.Errorf("the last point is %v", got)
	}
}

func TestDaysAreRightWhateverChanges(t *testing.T) {
	p := newPool(t)
	k := p.db.Keys
	now := p.now.Unix()
	add := func(n int, at int64, amount int) {
		p.do("ZADD", k.PaymentsAll(), at, fmt.Sprintf("%s:%s:%d", hash(n), alice, amount))
	}
	wantDays := func(want ...int64) {
		t.Helper()
		days, err := p.api.c.days.read(ctx, p.db, p.now.Unix())
		p.ok(err)
		for i, w := range want {
			if int64(days[i].Amount) != w {
				t.Errorf("%s: %d, want %d", days[i].Day, days[i].Amount, w)
			}
		}
		anew, err := new(paidDays).read(ctx, p.db, p.now.Unix())
		p.ok(err)
		for i := range anew {
			if anew[i] != days[i] {
				t.Errorf("%+v, read anew %+v", days[i], anew[i])
			}
		}
	}
	add(1, now-daySeconds, 10)
	add(2, now-100, 1)
	add(3, now, 2)
	wantDays(3, 10)
	add(4, now, 4)
	wantDays(7, 10)
	p.now = p.now.Add(time.Minute)
	wantDays(7, 10)
	add(5, now+30, 8)
	wantDays(15, 10)
	add(6, now-daySeconds+5, 20) // written late
	wantDays(15, 30)
	p.do("ZREM", k.PaymentsAll(), fmt.Sprintf("%s:%s:%d", hash(2), alice, 1)) // credited back
	wantDays(14, 30)
	for i := range 2500 {
		add(100+i, now+31, 1)
	}
	wantDays(2514, 30)
	p.now = p.now.Add(24 * time.Hour)
	wantDays(0, 2514, 30)
}

func TestTheCacheIsBoundedAndAsksOnce(t *testing.T) {
	s := &snapshot{number: 7, moved: 5}
	c := newCache(func() *snapshot { return s })
	defer c.close()
	c.bytes = 10_000
	var made atomic.Int32
	gate := make(chan struct{})
	build := func(context.Context, *snapshot) (*answer, error) {
		<-gate
		made.Add(1)
		return newAnswer(kindJSON, noStore, []byte(strings.Repeat("x", 400))), nil
	}
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if _, err := c.get(ctx, "one", 1, build); err != nil {
				t.Error(err)
			}
		})
	}
	close(gate)
	wg.Wait()
	if n := made.Load(); n != 1 {
		t.Errorf("made %d times", n)
	}
	for i := range 100 {
		if _, err := c.get(ctx, fmt.Sprint(i), 1, build); err != nil {
			t.Fatal(err)
		}
	}
	if entries, bytes := c.stats(); bytes > c.bytes || entries > 14 || entries < 10 {
		t.Errorf("%d entries, %d bytes", entries, bytes)
	}
	before := made.Load()
	for _, tc := range []struct {
		number, moved, cycles uint64
		again                 int32
	}{{7, 5, 1, 0}, {8, 5, 2, 0}, {9, 5, 3, 0}, {9, 5, 1, 1}, {10, 5, 2, 0}, {11, 5, 2, 1}, {11, 5, 2, 0}, {12, 12, 2, 1}} {
		s = &snapshot{number: tc.number, moved: tc.moved}
		_, _ = c.get(ctx, "99", tc.cycles, build)
		_, _, _ = c.flight.Do("99", func() (any, error) { return nil, nil }) // what is made in the background is made then
		if n := made.Load() - before; n != tc.again {
			t.Errorf("in cycle %d, money moved in %d: made %d times", tc.number, tc.moved, n)
		}
		before = made.Load()
	}
	// Nobody waits for what is only old.
	s = &snapshot{number: 14, moved: 12}
	never := make(chan struct{})
	if a, err := c.get(ctx, "99", 2, func(context.Context, *snapshot) (*answer, error) { <-never; return nil, errors.New("away") }); a == nil || err != nil {
		t.Errorf("an old answer is not shown: %v", err)
	}
	close(never)
	s = &snapshot{number: 100, moved: 100}
	old, err := c.get(ctx, "99", 1, func(context.Context, *snapshot) (*answer, error) { return nil, errors.New("away") })
	if err != nil || old == nil {
		t.Errorf("no old answer: %v", err)
	}
	if _, err := c.get(ctx, "unknown", 1, func(context.Context, *snapshot) (*answer, error) { return nil, errors.New("away") }); err == nil {
		t.Error("no error")
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	hang := make(chan struct{})
	defer close(hang)
	if _, err := c.get(ended, "slow", 1, func(ctx context.Context, _ *snapshot) (*answer, error) { <-ctx.Done(); return nil, ctx.Err() }); !errors.Is(err, context.Canceled) {
		t.Errorf("whoever went away waits: %v", err)
	}
}

// lines are those of a log.
type lines chan string

func (l lines) Write(line []byte) (int, error) {
	l <- string(line)
	return len(line), nil
}

func TestRunServesUntilItsContextEnds(t *testing.T) {
	p := newPool(t)
	world(p)
	log := make(lines, 100)
	p.log = log
	monitor := NewMonitor("127.0.0.1:0", slog.New(slog.DiscardHandler))
	p.restart(func(_ *Config, parts *Parts) { parts.Metrics = monitor.Registry })
	monitor.Check("statistics", func(context.Context) error { return p.api.Ready() })
	read := func(path string) (int, string) {
		w := httptest.NewRecorder()
		monitor.ServeHTTP(w, httpRequest(path))
		return w.Code, w.Body.String()
	}
	if status, text := read("/readyz"); status != 503 || !strings.Contains(text, "statistics: the statistics are not there yet") {
		t.Errorf("ready: %d %s", status, text)
	}
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 2)
	go func() { ended <- p.api.Run(running) }()
	go func() { ended <- monitor.Run(running) }()
	var addr string
	for addr == "" {
		_, rest, _ := strings.Cut(<-log, "msg=api listen=")
		addr, _, _ = strings.Cut(rest, " ")
	}
	for p.api.snap.Load() == nil {
		time.Sleep(time.Millisecond)
	}
	client := &http.Client{}
	defer client.CloseIdleConnections()
	res, err := client.Get("http://" + addr + "/api/stats")
	p.ok(err)
	res.Body.Close()
	if res.StatusCode != 200 {
		t.Errorf("status %d", res.StatusCode)
	}
	stream, err := client.Get("http://" + addr + "/api/events")
	p.ok(err)
	defer stream.Body.Close()
	if status, text := read("/readyz"); status != 200 || text != "ok\n" {
		t.Errorf("ready: %d %s", status, text)
	}
	if status, _ := read("/healthz"); status != 200 {
		t.Errorf("health: %d", status)
	}
	if status, _ := read("/other"); status != 404 {
		t.Errorf("other: %d", status)
	}
	_, text := read("/metrics")
	for !strings.Contains(text, `pool_api_requests_total{route="/api/stats",status="200"} 1`) { // it is counted after it is answered
		_, text = read("/metrics")
	}
	for _, want := range []string{"pool_miners 3", "pool_payments 5", "pool_wallet_shannon 5e+09", "go_goroutines", "pool_api_cycle_seconds_count"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in the metrics", want)
		}
	}
	stop()
	for range 2 {
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("ended with %v", err)
		}
	}
}

func TestAnAddressInUseEndsTheStart(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	p := newPool(t, func(c *Config, _ *Parts) { c.Listen = l.Addr().String() })
	if err := p.api.Run(ctx); err == nil || !strings.Contains(err.Error(), "api.listen") {
		t.Errorf("error %v", err)
	}
	if err := NewMonitor(l.Addr().String(), slog.New(slog.DiscardHandler)).Run(ctx); err == nil || !strings.Contains(err.Error(), "metrics.listen") {
		t.Errorf("error %v", err)
	}
}

func TestWhoOnlyPurgesServesNothing(t *testing.T) {
	p := newPool(t, func(c *Config, _ *Parts) {
		c.PurgeOnly, c.Listen, c.PurgeInterval = true, "", util.Duration(time.Millisecond)
	})
	k := p.db.Keys
	p.do("ZADD", k.Hashrate(), 1, "1:"+alice+":rig:1000")
	running, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- p.api.Run(running) }()
	for p.do("EXISTS", k.Hashrate()) == int64(1) {
		time.Sleep(time.Millisecond)
	}
	stop()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func TestRewardsAreReadOnceAndFollowTheBlocks(t *testing.T) {
	p := newPool(t)
	world(p)
	p.cycle()
	before, complete := p.api.c.rewards.of(alice)
	if len(before) != 3 || !before[0].Immature || complete != 0 {
		t.Fatalf("rewards %+v, complete from %d", before, complete)
	}
	blocks, _, err := p.db.ImmatureBlocks(ctx, 1<<40)
	p.ok(err, p.db.Mature(ctx, blocks[0], p.now.Unix()))
	p.after(5 * time.Second)
	after, _ := p.api.c.rewards.of(alice)
	if len(after) != 3 || after[0].Immature || after[0].Amount != before[0].Amount {
		t.Errorf("rewards %+v", after)
	}
	// A budget that is too small is spent on the newest, and what is left out is
	// told.
	r := newRewards()
	p.ok(r.sync(ctx, p.db, nil, p.api.c.matured, false, 1))
	list, complete := r.of(alice)
	if len(list) != 1 || list[0] != after[0] || complete <= p.api.c.matured[2].Time {
		t.Errorf("rewards %+v, complete from %d", list, complete)
	}
	p.ok(r.sync(ctx, p.db, nil, p.api.c.matured, true, 100))
	if list, complete := r.of(alice); len(list) != 3 || complete != p.api.c.matured[len(p.api.c.matured)-1].Time+1 {
		t.Errorf("rewards %+v, complete from %d", list, complete)
	}
}

func TestAnAccountHasItsNewestRewardsAndPagesOfAll(t *testing.T) {
	p := newPool(t)
	const blocks = rewardsShown + 5
	for i := range uint64(blocks) {
		p.block(1000+i, 0, int64(10_000-i), 1000, i+2 < blocks) // the last two are immature
	}
	p.cycle()
	var a accountView
	p.ok(json.Unmarshal(p.get("/api/accounts/"+alice).Body.Bytes(), &a))
	var rest accountRewardsView
	p.ok(json.Unmarshal(p.get(fmt.Sprintf("/api/accounts/%s/rewards?offset=%d", alice, rewardsShown)).Body.Bytes(), &rest))
	if len(a.Rewards) != rewardsShown || a.RewardsTotal != blocks || rest.RewardsTotal != blocks {
		t.Errorf("%d of %d rewards, and pages of %d", len(a.Rewards), a.RewardsTotal, rest.RewardsTotal)
	}
	all := slices.Concat(a.Rewards, rest.Rewards)
	for i, r := range all {
		if want := uint64(1000 + blocks - 1 - i); r.Height != want || r.Immature != (i < 2) {
			t.Errorf("reward %d is of block %d, want %d", i, r.Height, want)
		}
	}
	if len(all) != blocks {
		t.Errorf("%d rewards in all", len(all))
	}
}
