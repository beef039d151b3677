package api

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

func TestWhyUnpaid(t *testing.T) {
	due := owed{balance: 500, threshold: 500}
	with := func(change func(*owed)) owed { o := due; change(&o); return o }
	for _, tc := range []struct {
		name        string
		owed        owed
		reason, why string
	}{
		{"who has enough is paid next", due, "next_session", ""},
		{"one Shannon is missing", with(func(o *owed) { o.balance = 499 }), "below_threshold", ""},
		{"nothing is nothing whatever the threshold", owed{}, "below_threshold", ""},
		{"a payment is on its way", with(func(o *owed) { o.rows, o.pending = 1, 500 }), "in_flight", ""},
		{"also when the rest is little", owed{rows: 1, threshold: 500}, "in_flight", ""},
		{"a debit without a row is held", with(func(o *owed) { o.pending = 500 }), "held", "a payment is looked at by the operator"},
		{"a contract that rejects is told before it is due", with(func(o *owed) { o.balance, o.rejects = 1, "reverts" }), "recipient_rejects", "reverts"},
		{"an operator's hold, told before it is due", with(func(o *owed) { o.balance, o.hold = 1, &storage.Act{User: "root", Reason: "stolen address"} }), "held", "stolen address"},
		{"an older pool holds the lock", with(func(o *owed) { o.payouts.Reason = "locked" }), "locked", ""},
		{"nobody pays", with(func(o *owed) { o.payouts.State = "unknown" }), "unknown", ""},
		{"an operator's pause", with(func(o *owed) { o.meta.Paused = "moving house" }), "payouts_paused", "moving house"},
		{"a pause is nothing to who is not due", with(func(o *owed) { o.balance, o.meta.Paused = 1, "x" }), "below_threshold", ""},
		{"a refused payment", with(func(o *owed) { o.meta.Halt = "payment 7 of 0x… was refused" }), "refused", "payouts wait until a refused payment is settled"},
		{"what the last session said of him", with(func(o *owed) { o.skipped = storage.Skip{Reason: "fee_above_amount", Why: "the fee"} }), "fee_above_amount", "the fee"},
		{"what stopped the last session", with(func(o *owed) { o.meta.Session = storage.Session{Ended: 1, Result: "wallet_low"} }), "wallet_low", ""},
		{"a session that ended well", with(func(o *owed) { o.meta.Session = storage.Session{Ended: 1, Result: "done"} }), "next_session", ""},
		{"a session that runs", with(func(o *owed) { o.meta.Session = storage.Session{Started: 1, Result: "wallet_low"} }), "next_session", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if reason, why := whyUnpaid(tc.owed); reason != tc.reason || why != tc.why {
				t.Errorf("%s (%s), want %s (%s)", reason, why, tc.reason, tc.why)
			}
		})
	}
}

func TestHowPayoutsAreDoing(t *testing.T) {
	const now = 1_000_000
	fine := storage.Meta{Heartbeat: now - 10, NextSession: now + 100, Wallet: 7, Session: storage.Session{Started: 1, Ended: 2, Due: 3, Paid: 3, Result: "done"}}
	with := func(change func(*storage.Meta)) storage.Meta { m := fine; change(&m); return m }
	for _, tc := range []struct {
		name          string
		meta          storage.Meta
		state, reason string
		inFlight      int
	}{
		{"between sessions", fine, "idle", "", 0},
		{"a ledger that was never used", storage.Meta{Wallet: -1}, "unknown", "", 0},
		{"a session runs", with(func(m *storage.Meta) { m.Session = storage.Session{Started: now - 5, Due: 9, Paid: 2} }), "running", "", 4},
		{"what is in flight is of the session", with(func(m *storage.Meta) { m.Session = storage.Session{Started: now - 5, Due: 3, Paid: 2} }), "running", "", 1},
		{"a session whose process is silent", with(func(m *storage.Meta) { m.Session, m.Heartbeat = storage.Session{Started: 5}, now-601 }), "unknown", "", 0},
		{"a process that missed its session", with(func(m *storage.Meta) { m.NextSession, m.Heartbeat = now-700, now-700 }), "unknown", "", 0},
		{"a quiet process between sessions", with(func(m *storage.Meta) { m.Heartbeat = now - 7000 }), "idle", "", 0},
		{"the last session stopped", with(func(m *storage.Meta) { m.Session.Result = "gas_too_high" }), "idle", "gas_too_high", 0},
		{"refused", with(func(m *storage.Meta) { m.Halt = "payment 7" }), "halted", "refused", 0},
		{"paused", with(func(m *storage.Meta) { m.Paused = "x" }), "halted", "payouts_paused", 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := payoutsOf(tc.meta, storage.Overview{Finances: storage.Miner{Balance: 5, Pending: 6, Immature: 7}, Inflight: 4}, 500, now)
			if v.State != tc.state || v.Reason != tc.reason || v.Session.InFlight != tc.inFlight || v.Liabilities != 11 || v.Audit != nil {
				t.Errorf("%+v, want %s %q with %d in flight", v, tc.state, tc.reason, tc.inFlight)
			}
		})
	}
	v := payoutsOf(with(func(m *storage.Meta) { m.AuditTime, m.AuditFindings, m.AuditLooked = 9, 2, "redis chain" }), storage.Overview{}, 1, now)
	if v.Audit == nil || *v.Audit != (auditView{Time: 9, Clean: false, Findings: 2, Chain: true}) {
		t.Errorf("audit is %+v", v.Audit)
	}
	for lock, reason := range map[string]string{"0xabc:500000000": "locked", storage.LockPrefix + "host=a pid=1": ""} {
		v := payoutsOf(fine, storage.Overview{Lock: lock}, 1, now)
		if v.Reason != reason || (v.Wallet == -1) != (reason != "") || (v.NextSession == 0) != (reason != "") {
			t.Errorf("locked by %q: %+v, want reason %q", lock, v, reason)
		}
	}
	if v := payoutsOf(with(func(m *storage.Meta) { m.NextSession, m.Heartbeat = now-700, now-700 }), storage.Overview{FinancesErr: storage.ErrMalformed}, 1, now); v.Wallet != -1 || v.Liabilities != -1 || v.NextSession != 0 {
		t.Errorf("of a silent process %+v, want nothing that it said long ago", v)
	}
}

func TestLuck(t *testing.T) {
	b := func(shares, difficulty int64) storage.Block {
		return storage.Block{Shares: shares, Difficulty: difficulty}
	}
	uncle, orphan := b(4, 2), b(1, 1)
	uncle.UncleHeight, orphan.Orphan = 9, true
	immature, matured := []storage.Block{b(1, 2)}, []storage.Block{uncle, orphan, b(0, 0)}
	for _, tc := range []struct {
		name    string
		windows []int
		matured []storage.Block
		want    map[string]luckView
	}{
		{"no blocks", []int{64}, nil, map[string]luckView{"1": {Luck: .5}}},
		{"windows in any order", []int{4, 2}, matured, map[string]luckView{"2": {Luck: 1.25, UncleRate: .5}, "4": {Luck: 3.5 / 4, UncleRate: .25, OrphanRate: .25}}},
		{"the first that is not full is the last", []int{2, 64, 128}, matured, map[string]luckView{"2": {Luck: 1.25, UncleRate: .5}, "4": {Luck: 3.5 / 4, UncleRate: .25, OrphanRate: .25}}},
		{"none asked for", nil, matured, map[string]luckView{}},
	} {
		if diff := cmp.Diff(tc.want, luckOf(tc.windows, immature, tc.matured)); diff != "" {
			t.Errorf("%s: %s", tc.name, diff)
		}
	}
	if got := luckOf([]int{64}, nil, nil); len(got) != 0 {
		t.Errorf("without blocks: %v", got)
	}
}

func TestWhenTheThresholdIsReached(t *testing.T) {
	const now = 10_000_000
	day := func(age int64, amount util.Shannon) rewardView {
		return rewardView{Timestamp: now - age, Amount: amount}
	}
	for _, tc := range []struct {
		name      string
		balance   util.Shannon
		list      []rewardView
		want      int64
		threshold util.Shannon
	}{
		{"nothing earned", 1, nil, 0, 100},
		{"reached", 100, []rewardView{day(1, 5)}, 0, 100},
		{"no threshold", 1, []rewardView{day(1, 5)}, 0, 0},
		{"half in two days, half in two more", 50, []rewardView{day(2*daySeconds, 25), day(100, 25)}, now + 2*daySeconds + 1, 100},
		{"a first reward counts as an hour's", 0, []rewardView{day(10, 100)}, now + 3600 + 1, 100},
		{"what is older than a week says nothing", 0, []rewardView{day(8*daySeconds, 100)}, 0, 100},
		{"in a thousand years is never", 0, []rewardView{day(10, 1)}, 0, 1_000_000_000},
	} {
		if got := thresholdAt(tc.balance, tc.threshold, tc.list, now); got != tc.want {
			t.Errorf("%s: %d, want %d", tc.name, got, tc.want)
		}
	}
}

func TestEarningsByDay(t *testing.T) {
	const today = 19_675
	now := int64(today*daySeconds + 100)
	list := []rewardView{{Timestamp: now, Amount: 1}, {Timestamp: now - 100, Amount: 2}, {Timestamp: now - 101, Amount: 4}, {Timestamp: now - 3*daySeconds, Amount: 8}}
	want := []dayView{{dayName(today), 3, 2}, {dayName(today - 1), 4, 1}, {Day: dayName(today - 2)}, {dayName(today - 3), 8, 1}}
	if diff := cmp.Diff(want, earnings(list, now, 0, 30)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(want[:2], earnings(list, now, now-3*daySeconds+1, 30)); diff != "" {
		t.Errorf("a day that may lack some is shown: %s", diff)
	}
	if diff := cmp.Diff(want[:2], earnings(list, now, 0, 2)); diff != "" {
		t.Errorf("more days than asked for: %s", diff)
	}
	if got := earnings(nil, now, 0, 30); got == nil || len(got) != 0 {
		t.Errorf("nothing is %v", got)
	}
}

func TestTheMeanTimeBetweenBlocks(t *testing.T) {
	own := []storage.Block{{Height: 100, Time: 1500}, {Height: 150, Time: 2000}, {Height: 50, Time: 1000}}
	for _, tc := range []struct {
		name   string
		seen   []tick
		blocks []storage.Block
		want   float64
	}{
		{"nothing is known", nil, nil, 13},
		{"what was seen", []tick{{1000, 5}, {1010, 100}, {1020, 305}}, own, 15},
		{"too little was seen", []tick{{1000, 5}, {1019, 305}}, own, 10},
		{"too few blocks", nil, own[:1], 13},
		{"blocks at once", nil, []storage.Block{{Height: 1, Time: 5}, {Height: 100, Time: 5}}, 13},
	} {
		if got := blockTime(tc.seen, tc.blocks); got != tc.want {
			t.Errorf("%s: %v, want %v", tc.name, got, tc.want)
		}
	}
}

func TestConfirmations(t *testing.T) {
	for _, tc := range [][3]uint64{{10, 10, 1}, {10, 12, 3}, {10, 9, 0}, {0, 12, 0}} {
		if got := confirmations(tc[0], tc[1]); got != tc[2] {
			t.Errorf("block %d, head %d: %d, want %d", tc[0], tc[1], got, tc[2])
		}
	}
}

// TestWhatIsOnItsWayIsOwed: the wallet still has it.
func TestWhatIsOnItsWayIsOwed(t *testing.T) {
	o := storage.Overview{Finances: storage.Miner{Balance: 1, Pending: 2}}
	if v := payoutsOf(storage.Meta{Wallet: 10, Outgoing: 4, Heartbeat: 1000}, o, 1, 1000); v.Wallet != 10 || v.Liabilities != 7 {
		t.Errorf("wallet %d against %d, want 10 against 7", v.Wallet, v.Liabilities)
	}
}

func TestAChartsHashrateHasFourDigits(t *testing.T) {
	for n, want := range map[int64]int64{0: 0, 9999: 9999, 10_004: 10_000, 10_005: 10_010, 123_456_789: 123_500_000, 99_995: 100_000, 1 << 62: 4_612_000_000_000_000_000} {
		if got := fourDigits(n); got != want {
			t.Errorf("%d is shown as %d, want %d", n, got, want)
		}
	}
}

func TestPathsAreRightOrAnError(t *testing.T) {
	p := newPool(t)
	world(p)
	p.cycle()
	for path, want := range map[string]int{
		"/api/stats": 200, "/api/stats/": 404, "/api//stats": 404, "/api/accounts/": 404, "/api/accounts//payments": 404,
		"/api/accounts/" + alice: 200, "/api/accounts/" + alice + "/": 404, "/api/accounts/" + alice + "/charts": 200, "/api/accounts/" + alice + "/charts/": 404,
		"/api/accounts/x/" + alice + "/charts": 404, "/api/accounts/" + alice + "%2Fcharts": 400, "/api/accounts/charts": 400,
	} {
		if got := p.get(path).Code; got != want {
			t.Errorf("%s: status %d, want %d", path, got, want)
		}
	}
}
