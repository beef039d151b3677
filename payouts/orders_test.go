package payouts

import (
	"context"
	"testing"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// say says something as the verbs do, beside whatever payouts do.
func (p *pool) say(a storage.Act) {
	p.t.Helper()
	a.User, a.Time = "maria", 1_700_000_000
	if err := p.db().Control(context.Background(), a); err != nil {
		p.t.Fatal(err)
	}
}

func TestAHeldMinerIsNotPaidUntilReleased(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.credit(login(2), coin)
	p.say(storage.Act{Verb: storage.ActHold, Login: login(1), Reason: "stolen address"})
	r := p.mustSession()
	if want := (Skip{login(1), ReasonHeld, "stolen address", true}); len(r.Skipped) != 1 || r.Skipped[0] != want || r.Due != 1 {
		t.Errorf("due %d, skipped %v, want only %v", r.Due, r.Skipped, want)
	}
	p.settle()
	p.wantReceived(login(1), 0)
	p.wantReceived(login(2), coin)
	p.say(storage.Act{Verb: storage.ActRelease, Login: login(1)})
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), coin)
	p.audit()
}

func TestPausedPayoutsPayNobodyButFinishWhatIsInFlight(t *testing.T) {
	p := newPool(t)
	p.cfg.Window = 1
	p.credit(login(1), coin)
	p.credit(login(2), coin)
	first := true
	p.clock.onSleep = func() {
		if first {
			p.say(storage.Act{Verb: storage.ActPause, Reason: "moving house"})
			first = false
		}
		p.chain.Mine(1)
	}
	_, err := p.session()
	wantHalt(t, err, HaltPaused)
	p.settle()
	if a, b := p.chain.Received(address(login(1))), p.chain.Received(address(login(2))); a.Sign() == b.Sign() {
		t.Errorf("they received %s and %s, want one of them paid", a, b)
	}
	_, err = p.session()
	wantHalt(t, err, HaltPaused)
	p.say(storage.Act{Verb: storage.ActResume})
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), coin)
	p.wantReceived(login(2), coin)
	p.audit()
}

func TestWhatAnOperatorSaidSurvivesAnOlderSnapshot(t *testing.T) {
	p := newPool(t)
	p.mustSession()
	before := p.redis.Snapshot()
	p.credit(login(1), coin)
	p.say(storage.Act{Verb: storage.ActHold, Login: login(1), Reason: "stolen address"})
	p.mustSession()
	p.redis.Restore(before)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), 0)
	p.wantLog("redis had forgotten what an operator said")
	acts, err := p.db().Acts(context.Background(), 0)
	if err != nil || len(acts) != 1 || acts[0].Reason != "stolen address" {
		t.Errorf("acts %v, error %v", acts, err)
	}
	p.audit()
}

// TestWhoSpeaksAfterARestoreIsHeard: what he says is newer, and of what he does not
// speak is as it was.
func TestWhoSpeaksAfterARestoreIsHeard(t *testing.T) {
	p := newPool(t)
	p.mustSession()
	before := p.redis.Snapshot()
	p.say(storage.Act{Verb: storage.ActHold, Login: login(2), Reason: "a doubt"})
	p.say(storage.Act{Verb: storage.ActPause, Reason: "moving house"})
	_, err := p.session()
	wantHalt(t, err, HaltPaused)
	p.redis.Restore(before)
	p.say(storage.Act{Verb: storage.ActHold, Login: login(1), Reason: "stolen address"})
	p.say(storage.Act{Verb: storage.ActRelease, Login: login(2)})
	p.credit(login(1), coin)
	p.credit(login(2), coin)
	_, err = p.session()
	wantHalt(t, err, HaltPaused)
	p.wantLog("others have spoken since")
	p.say(storage.Act{Verb: storage.ActResume})
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), 0)
	p.wantReceived(login(2), coin)
}
