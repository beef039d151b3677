package payouts

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// diary notes when sessions begin and end, by what they write down.
type diary struct {
	Ledger
	p     *pool
	begun []time.Time
	ended []time.Time
	open  int // sessions that have begun and not ended
	most  int
}

type diaryLease struct {
	Lease
	d *diary
}

func (d *diary) Acquire(ctx context.Context, token, gone string, known uint64) (Lease, error) {
	l, err := d.Ledger.Acquire(ctx, token, gone, known)
	return diaryLease{l, d}, err
}

func (l diaryLease) Note(ctx context.Context, fieldValues ...any) error {
	now := l.d.p.clock.Now()
	switch fieldValues[0] {
	case "sessionStarted":
		l.d.begun = append(l.d.begun, now)
		l.d.open++
		l.d.most = max(l.d.most, l.d.open)
	case "sessionEnded":
		l.d.ended = append(l.d.ended, now)
		l.d.open--
	}
	return l.Lease.Note(ctx, fieldValues...)
}

// keepDiary wraps the pool's ledger.
func (p *pool) keepDiary() *diary {
	d := &diary{p: p}
	p.wrap = func(parts Parts) Parts {
		d.Ledger = parts.Ledger
		parts.Ledger = d
		return parts
	}
	return d
}

// runUntil runs a Payer until stop says so, asked at each sleep, and returns
// what Run did.
func (p *pool) runUntil(stop func() bool) error {
	p.t.Helper()
	payer, closeAll := p.start()
	defer closeAll()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	mine := p.clock.onSleep
	p.clock.onSleep = func() {
		mine()
		if stop() {
			cancel()
		}
	}
	defer func() { p.clock.onSleep = mine }()
	return payer.Run(ctx)
}

func wantTimes(t testing.TB, got []time.Time, want ...time.Time) {
	t.Helper()
	same := len(got) == len(want)
	for i := 0; same && i < len(got); i++ {
		same = got[i].Equal(want[i])
	}
	if !same {
		t.Errorf("sessions began at %v, want %v", got, want)
	}
}

func TestRunStartsASessionAtOnceAndThenOnSchedule(t *testing.T) {
	p := newPool(t)
	p.cfg.Interval = util.Duration(time.Hour)
	d := p.keepDiary()
	start := p.clock.Now()
	if err := p.runUntil(func() bool { return len(d.ended) == 3 }); err != nil {
		t.Fatal(err)
	}
	wantTimes(t, d.begun, start, start.Add(time.Hour), start.Add(2*time.Hour))
	if p.redis.Do(t, "EXISTS", "eth:payments:lock") != int64(0) {
		t.Error("payouts stay locked")
	}
}

// The API reads what payouts tell about themselves.
func TestWhatASessionTellsOthers(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.credit(login(2), coin)
	p.chain.SetCode(address(login(2)), rpctest.Reject)
	d := p.keepDiary()
	next := p.clock.Now().Add(p.cfg.Interval.Std())
	if err := p.runUntil(func() bool { return len(d.ended) == 1 && p.clock.Now().After(d.ended[0]) }); err != nil {
		t.Fatal(err)
	}
	skipped, err := p.db().Skipped(context.Background())
	if err != nil || len(skipped) != 1 || skipped[login(2)].Reason != ReasonRejects || skipped[login(2)].Why == "" {
		t.Errorf("skipped are %+v, %v", skipped, err)
	}
	m, err := p.db().Meta(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if m.Threshold != p.cfg.Threshold || m.Confirmations != p.cfg.Confirmations || m.Wallet <= 0 || m.NextSession < next.Unix() {
		t.Errorf("told: %+v", m)
	}
}

func TestRunFollowsACronScheduleInItsTimeZone(t *testing.T) {
	p := newPool(t)
	// Twice a day in Berlin, over the night in which its clocks go back.
	p.cfg.Schedule, p.cfg.TimeZone = "0 6,18 * * *", "Europe/Berlin"
	p.cfg.PollInterval = util.Duration(time.Hour) // nothing is in flight
	start := time.Date(2026, 10, 24, 12, 0, 0, 0, time.UTC)
	p.clock.now = start
	d := p.keepDiary()
	if err := p.runUntil(func() bool { return len(d.ended) == 4 }); err != nil {
		t.Fatal(err)
	}
	wantTimes(t, d.begun, start,
		time.Date(2026, 10, 24, 16, 0, 0, 0, time.UTC), // 18:00, UTC+2
		time.Date(2026, 10, 25, 5, 0, 0, 0, time.UTC),  // 06:00, UTC+1
		time.Date(2026, 10, 25, 17, 0, 0, 0, time.UTC))
}

func TestRunNeverHasTwoSessionsAtOnce(t *testing.T) {
	p := newPool(t)
	p.cfg.Interval, p.cfg.BumpAfter = util.Duration(10*time.Second), 0
	p.due()
	d := p.keepDiary()
	// Blocks stay empty for much longer than the interval.
	naps := 0
	p.clock.onSleep = func() {
		if naps++; naps < 30 {
			p.chain.MineEmpty(1)
			return
		}
		p.chain.Mine(1)
	}
	start := p.clock.Now()
	if err := p.runUntil(func() bool { return len(d.ended) == 3 }); err != nil {
		t.Fatal(err)
	}
	if d.most != 1 {
		t.Errorf("%d sessions at once", d.most)
	}
	if d.ended[0].Sub(start) < 30*time.Second {
		t.Errorf("the first session ended after %s; it was to be longer than three intervals", d.ended[0].Sub(start))
	}
	// The sessions that it missed are not made up for.
	wantTimes(t, d.begun, start, d.ended[0].Add(10*time.Second), d.ended[1].Add(10*time.Second))
	p.settle()
	p.wantPaidOnce()
}

func TestRunMakesPaymentsFinalBetweenSessions(t *testing.T) {
	p := newPool(t)
	p.cfg.Interval = util.Duration(time.Hour)
	p.due()
	d := p.keepDiary()
	if err := p.runUntil(func() bool {
		return len(d.begun) == 1 && len(d.ended) == 1 && p.clock.Now().Sub(d.begun[0]) > 30*time.Minute
	}); err != nil {
		t.Fatal(err)
	}
	if n := p.redis.Do(t, "ZCARD", "eth:payments:inflight"); n != int64(0) {
		t.Errorf("%v payments are not final half an hour after the session", n)
	}
	p.wantPaidOnce()
}

func TestRunEndsWithItsContextWhereverItIs(t *testing.T) {
	for _, tc := range []struct {
		name string
		stop func(p *pool, d *diary) bool
	}{
		{"while payments are in flight", func(p *pool, d *diary) bool { return len(p.chain.Broadcast()) > 0 }},
		{"between sessions, payments not final", func(p *pool, d *diary) bool { return len(d.ended) > 0 }},
		{"between sessions, at rest", func(p *pool, d *diary) bool {
			return len(d.ended) > 0 && p.redis.Do(p.t, "ZCARD", "eth:payments:inflight") == int64(0)
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPool(t)
			p.due()
			d := p.keepDiary()
			if err := p.runUntil(func() bool { return tc.stop(p, d) }); err != nil {
				t.Errorf("run = %v, want nil", err)
			}
			if p.redis.Do(t, "EXISTS", "eth:payments:lock") != int64(0) {
				t.Error("payouts stay locked")
			}
			// The next start goes on from there.
			p.mustSession()
			p.settle()
			p.wantPaidOnce()
		})
	}
	t.Run("before it began", func(t *testing.T) {
		p := newPool(t)
		payer, stop := p.start()
		defer stop()
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		if err := payer.Run(ctx); err != nil {
			t.Errorf("run = %v, want nil", err)
		}
	})
}

func TestRunGoesOnAfterAHalt(t *testing.T) {
	p := newPool(t)
	p.cfg.Interval = util.Duration(time.Hour)
	p.mustSession() // which begins the ledger
	p.due()
	p.node.SetPeers(3)
	d := p.keepDiary()
	if err := p.runUntil(func() bool {
		if len(d.begun) == 1 {
			p.node.SetPeers(25)
		}
		return len(d.ended) == 2
	}); err != nil {
		t.Fatal(err)
	}
	p.wantLog("the node has 3 peers, payouts.requirePeers is 25")
	p.settle()
	p.wantPaidOnce()
}

func TestASleeperWakesWhenHisContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(cancel)
	if err := (wallClock{}).Sleep(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("sleep = %v, want context.Canceled", err)
	}
	wg.Wait()
	if err := (wallClock{}).Sleep(context.Background(), time.Nanosecond); err != nil {
		t.Errorf("sleep = %v", err)
	}
}

func TestRedisSavesAfterASessionThatPaid(t *testing.T) {
	for _, tc := range []struct {
		name       string
		bgsave     bool
		due, saves bool
	}{
		{"asked for, and somebody was paid", true, true, true},
		{"asked for, and nobody was paid", true, false, false},
		{"not asked for", false, true, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPool(t)
			p.cfg.BgSave = tc.bgsave
			if tc.due {
				p.due()
			}
			p.mustSession()
			if got := strings.Contains(fmt.Sprint(p.redis.Do(t, "INFO", "commandstats")), "cmdstat_bgsave:"); got != tc.saves {
				t.Errorf("BGSAVE was sent: %v, want %v", got, tc.saves)
			}
			if tc.saves {
				p.wantLog("redis saves in the background")
			}
		})
	}
	t.Run("a session that was halted after it paid", func(t *testing.T) {
		p := newPool(t)
		p.cfg.BgSave = true
		p.credit(login(1), coin)
		p.credit(login(2), 5000*coin)
		_, err := p.session()
		wantHalt(t, err, HaltWallet)
		p.wantReceived(login(1), coin)
		if !strings.Contains(fmt.Sprint(p.redis.Do(t, "INFO", "commandstats")), "cmdstat_bgsave:") {
			t.Error("BGSAVE was not sent")
		}
	})
}
