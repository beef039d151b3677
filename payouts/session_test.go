package payouts

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

const coin util.Shannon = util.ShannonPerCoin

func TestSessionPaysEverybodyWhoIsDue(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin/2)   // exactly at the threshold
	p.credit(login(2), coin/2-1) // one Shannon below
	for i := 3; i < 200; i++ {
		p.credit(login(i), coin+util.Shannon(i))
	}
	r := p.mustSession()
	if r.Due != 198 || r.Paid != 198 || r.InFlight != 0 {
		t.Errorf("result %+v, want 198 due and paid", r)
	}
	p.settle()
	p.wantReceived(login(1), coin/2)
	p.wantReceived(login(2), 0)
	p.wantBooks(login(1), 0, 0, coin/2)
	p.wantBooks(login(2), coin/2-1, 0, 0)
	for i := 3; i < 200; i++ {
		p.wantReceived(login(i), coin+util.Shannon(i))
	}
	p.audit()
	if r := p.mustSession(); r.Due != 0 {
		t.Errorf("a second session finds %d due, want none", r.Due)
	}
}

// TestLimitsBoundWhatIsSpent: in a session, and in a day, over restarts.
func TestLimitsBoundWhatIsSpent(t *testing.T) {
	p := newPool(t)
	for i := 1; i <= 6; i++ {
		p.credit(login(i), coin)
	}
	p.cfg.MaxPerSession, p.cfg.MaxPerDay = 2*coin, 5*coin
	for _, want := range []struct {
		paid   int
		reason string
	}{{2, HaltSession}, {2, HaltSession}, {1, HaltDay}, {0, HaltDay}} {
		payer, stop := p.start()
		pl, err := payer.Plan(context.Background())
		if err != nil || len(pl.Pay) != want.paid || haltReason(pl.Stopped) != want.reason || len(pl.Blocked) == 0 || pl.Blocked[0].Reason != want.reason {
			t.Errorf("plan pays %d, stops for %v, blocks %v; want %d and %s (%v)", len(pl.Pay), pl.Stopped, pl.Blocked, want.paid, want.reason, err)
		}
		stop()
		r, err := p.session()
		if wantHalt(t, err, want.reason); r.Paid != want.paid {
			t.Errorf("paid %d, want %d", r.Paid, want.paid)
		}
	}
	p.settle()
	p.clock.jump(25 * time.Hour)
	if r := p.mustSession(); r.Paid != 1 {
		t.Errorf("a day later: paid %d, want 1", r.Paid)
	}
	p.settle()
	p.credit(login(7), 3*coin)
	_, err := p.session()
	if wantHalt(t, err, HaltSession); !strings.Contains(err.Error(), "this payment alone is above it") {
		t.Errorf("%v does not say that waiting does not help", err)
	}
	p.audit()
}

// TestAClockThatJumpsAheadLiftsNoLimit: the chain has not gone on with it.
func TestAClockThatJumpsAheadLiftsNoLimit(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.cfg.MaxPerDay = coin
	p.clock.jump(100_000_000 * time.Second) // to about where the chain is
	p.mustSession()
	p.credit(login(2), coin)
	p.clock.jump(48 * time.Hour)
	_, err := p.session()
	wantHalt(t, err, HaltDay)
	p.wantReceived(login(2), 0)
}
