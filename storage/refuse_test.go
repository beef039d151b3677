package storage

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

func TestVerbsRefuseWhatContradictsTheLedger(t *testing.T) {
	b := newBooks(t)
	elsewhere := common.HexToAddress("0x02")
	open := func() { b.open(pay(7, alice, 300)) }
	asFiller := func(p *Payment) { p.Kind = Filler }
	for _, tc := range []struct {
		name  string
		given func()
		do    func(l *Lease) error
		want  string // part of the error
	}{
		{"open beyond the balance", func() {}, func(l *Lease) error { return one(l.Open(ctx, "", pay(7, alice, 1001))) }, "the balance is below 1001"},
		{"open without a balance", func() {}, func(l *Lease) error { return one(l.Open(ctx, "", pay(7, carol, 1))) }, "the balance is below 1"},
		{"open from a negative balance", func() { b.do("HSET", b.db.Keys.Miner(carol), "balance", "-5") }, func(l *Lease) error { return one(l.Open(ctx, "", pay(7, carol, 1))) }, "the balance is below 1"},
		{"open nothing", func() {}, func(l *Lease) error { return one(l.Open(ctx, "", pay(7, alice, 0))) }, "amount 0 is not above zero"},
		{"open less than nothing", func() {}, func(l *Lease) error {
			return one(l.Open(ctx, "", pay(7, alice, -5, func(p *Payment) { p.Value.SetInt64(0) })))
		}, "amount -5 is not above zero"},
		{"open an amount of 2^53", func() {}, func(l *Lease) error { return one(l.Open(ctx, "", pay(7, alice, util.MaxShannon+1))) }, "is not above zero"},
		{"open after a gap", func() {}, func(l *Lease) error { return one(l.Open(ctx, "", pay(8, alice, 300))) }, "nonce 8 is not the next one"},
		{"open before the first", func() {}, func(l *Lease) error { return one(l.Open(ctx, "", pay(6, alice, 300))) }, "nonce 6 is not the next one"},
		{"open at a nonce that is bound", open, func(l *Lease) error {
			return one(l.Open(ctx, "", pay(7, bob, 300, func(p *Payment) { p.ID = "x" }, signedAs(byHand))))
		}, "nonce 7 is bound to 7-id"},
		{"open a payment in the place of another", open, func(l *Lease) error {
			return one(l.Open(ctx, "7-id", pay(7, bob, 300, func(p *Payment) { p.ID = "x" }, signedAs(byHand))))
		}, "nonce 7 is bound to 7-id"},
		{"open in the place of what is not there", open, func(l *Lease) error { return one(l.Open(ctx, "dead:7-id", fill(7))) }, "nonce 7 is bound to 7-id"},
		{"open a filler beyond the next nonce", func() {}, func(l *Lease) error { return one(l.Open(ctx, "", fill(8))) }, "nonce 8 is not the next one"},
		{"open with a pending row there", open, func(l *Lease) error { return one(l.Open(ctx, "", pay(8, alice, 1))) }, "pending row " + pendingRow(alice, 300) + " exists"},
		{"open with an older pool's row there", func() { b.oldDebit(alice, 5) }, func(l *Lease) error { return one(l.Open(ctx, "", pay(7, alice, 1))) }, "pending row " + pendingRow(alice, 5) + " exists"},
		{"open with a known transaction", open, func(l *Lease) error { return one(l.Open(ctx, "", pay(8, bob, 1, signedAs(hash(7, 1))))) }, "is recorded already"},
		{"open what could be sent and never be booked", func() { b.do("HSET", b.db.Keys.Finances(), "paid", int64(util.MaxShannon)) }, func(l *Lease) error { return one(l.Open(ctx, "", pay(7, alice, 1))) }, "field paid = 9007199254740991 cannot change by 1"},
		{"open with what is no amount in the way of booking it", func() { b.do("HSET", b.db.Keys.Miner(alice), "paid", "a lot") }, func(l *Lease) error { return one(l.Open(ctx, "", pay(7, alice, 1))) }, "field paid = a lot cannot change by 1"},
		{"open in a ledger that has not begun", func() { b.do("HDEL", b.db.Keys.Meta(), "nextNonce") }, func(l *Lease) error { return one(l.Open(ctx, "", pay(7, alice, 1))) }, "nonce 7 is not the next one"},

		{"reinstate at a nonce that is bound", open, func(l *Lease) error {
			return one(l.Reinstate(ctx, pay(7, bob, 1, func(p *Payment) { p.ID = "x" }, signedAs(byHand))))
		}, "nonce 7 is bound to 7-id"},
		{"reinstate with another's transaction", open, func(l *Lease) error { return one(l.Reinstate(ctx, pay(8, bob, 1, signedAs(hash(7, 1))))) }, "belongs to payment 7-id"},
		{"reinstate nothing", func() {}, func(l *Lease) error { return one(l.Reinstate(ctx, pay(7, alice, 0))) }, "amount 0 is not above zero"},

		{"an attempt at a payment that is unknown", func() {}, func(l *Lease) error { return l.Attempts(ctx, pay(7, alice, 300, withAttempts(2)), 1) }, "payment 7-id is unknown"},
		{"an attempt with another's transaction", func() { b.open(pay(7, alice, 300), pay(8, bob, 1)) }, func(l *Lease) error {
			p := pay(8, bob, 1, withAttempts(2))
			p.Last().Hash = hash(7, 1)
			return l.Attempts(ctx, p, 1)
		}, "belongs to payment 7-id"},
		{"an attempt that was not written down before", open, func(l *Lease) error { return l.Attempts(ctx, pay(7, alice, 300, withAttempts(3)), 2) }, "has 1 attempts, want 2"},
		{"attempts forgotten", func() { open(); b.ok(b.lease.Attempts(ctx, pay(7, alice, 300, withAttempts(2)), 1)) }, func(l *Lease) error { return l.Attempts(ctx, pay(7, alice, 300), 2) }, "has 2 attempts"},

		{"sent although unknown", func() {}, func(l *Lease) error { return one(l.Sent(ctx, later, pay(7, alice, 300))) }, "payment 7-id is unknown"},
		{"sent although held", func() { held(b) }, func(l *Lease) error { return one(l.Sent(ctx, later, pay(7, alice, 300))) }, "payment 7-id is held"},
		{"sent although void", func() { open(); b.ok(b.lease.Void(ctx, pay(7, alice, 300), NonceFree, "refused", "")) }, func(l *Lease) error { return one(l.Sent(ctx, later, pay(7, alice, 300))) }, "payment 7-id is void"},

		{"final although void", func() { open(); b.ok(b.lease.Void(ctx, pay(7, alice, 300), NonceOwn, "failed", "")) }, func(l *Lease) error { return one(l.Final(ctx, later, 0, pay(7, alice, 300, mined(hash(7, 1))))) }, "payment 7-id is void"},
		{"final by another's transaction", func() { b.openAndSend(pay(7, alice, 300), pay(8, bob, 1)) }, func(l *Lease) error { return one(l.Final(ctx, later, 0, pay(8, bob, 1, mined(hash(7, 1))))) }, "belongs to payment 7-id"},
		{"final of a held payment whose row was put back", func() { held(b); b.putRow(alice, 300) }, func(l *Lease) error {
			return one(l.Final(ctx, later, 300, pay(7, alice, 300, is(Held), mined(hash(7, 1)))))
		}, "pending row " + pendingRow(alice, 300) + " exists"},

		{"unfinal although signed", open, func(l *Lease) error { return l.Unfinal(ctx, pay(7, alice, 300), "a reorg") }, "payment 7-id is signed"},
		{"void although final", func() { final(b) }, func(l *Lease) error { return l.Void(ctx, pay(7, alice, 300), NonceOwn, "failed", "") }, "payment 7-id is final"},
		{"void although held", func() { held(b) }, func(l *Lease) error { return l.Void(ctx, pay(7, alice, 300), NonceFree, "refused", "") }, "payment 7-id is held"},

		{"adopt with the pending row there", open, func(l *Lease) error { return l.Adopt(ctx, adopted(Signed), later, 0, "by hand") }, "pending row " + pendingRow(alice, 300) + " exists"},
		{"adopt another's transaction", func() { held(b); b.openAndSend(pay(8, bob, 1)) }, func(l *Lease) error {
			return l.Adopt(ctx, pay(7, alice, 300, is(Held), shows(hash(8, 1))), later, 300, "by hand")
		}, "belongs to payment 8-id"},
		{"adopt although sent", func() { b.openAndSend(pay(7, alice, 300)) }, func(l *Lease) error { return l.Adopt(ctx, adopted(Signed), later, 0, "by hand") }, "payment 7-id is sent"},

		{"adopt a filler", func() { b.open(fill(7)) }, func(l *Lease) error { return l.Adopt(ctx, fill(7, shows(byHand)), later, 0, "by hand") }, "7-fill has kind filler, not payment"},
		{"hold a filler", func() { b.open(fill(7)) }, func(l *Lease) error { return l.Hold(ctx, fill(7), "gone") }, "7-fill has kind filler, not payment"},
		{"sent as a filler", open, func(l *Lease) error { return one(l.Sent(ctx, later, pay(7, alice, 300, asFiller))) }, "7-id has kind payment, not filler"},
		{"final as a filler", open, func(l *Lease) error {
			return one(l.Final(ctx, later, 0, pay(7, alice, 300, asFiller, mined(hash(7, 1)))))
		}, "7-id has kind payment, not filler"},
		{"void as a filler", open, func(l *Lease) error { return l.Void(ctx, pay(7, alice, 300, asFiller), NonceFree, "refused", "") }, "7-id has kind payment, not filler"},
		{"hold with the pending row there", open, func(l *Lease) error { return l.Hold(ctx, pay(7, alice, 300), "gone") }, "changed meanwhile"},
		{"hold although sent", func() { b.openAndSend(pay(7, alice, 300)) }, func(l *Lease) error { return l.Hold(ctx, pay(7, alice, 300), "gone") }, "payment 7-id is sent"},
		{"unhold without the pending row", func() { held(b) }, func(l *Lease) error { return l.Unhold(ctx, pay(7, alice, 300, is(Held))) }, "changed meanwhile"},

		{"put back although sent", func() { b.openAndSend(pay(7, alice, 300)) }, func(l *Lease) error { return l.PutBack(ctx, pay(7, alice, 300)) }, "payment 7-id is sent"},
		{"put back what was credited back by hand", func() { held(b); b.do("HINCRBY", b.db.Keys.Miner(alice), "pending", -300) }, func(l *Lease) error { return l.PutBack(ctx, pay(7, alice, 300, is(Held))) }, "less pending"},

		{"foreign at a payment's nonce", open, func(l *Lease) error { return l.Foreign(ctx, account, 7, byHand, "", nil) }, "nonce 7 is bound to 7-id"},
		{"foreign beyond the next nonce", open, func(l *Lease) error { return l.Foreign(ctx, account, 9, byHand, "", nil) }, "nonce 9 is beyond the next one"},
		{"foreign before the ledger began", func() { b.do("HDEL", b.db.Keys.Meta(), "nextNonce") }, func(l *Lease) error { return l.Foreign(ctx, account, 7, byHand, "", nil) }, "nextNonce is not a nonce"},

		{"bury what is not final", open, func(l *Lease) error { return l.Bury(ctx, pay(7, alice, 300)) }, "payment 7-id is signed"},
		{"bury, and one of them is not final", func() { final(b); b.openAndSend(pay(8, bob, 1)) }, func(l *Lease) error { return l.Bury(ctx, pay(7, alice, 300), pay(8, bob, 1)) }, "payment 8-id is sent"},
		{"record our own transaction", open, func(l *Lease) error { return l.Record(ctx, bob, 300, hash(7, 1), later) }, "belongs to payment 7-id"},
		{"record nothing", func() {}, func(l *Lease) error { return l.Record(ctx, bob, 0, byHand, later) }, "amount 0 is not above zero"},
		{"record what an old row was paid by", func() { b.oldDebit(alice, 5); b.ok(b.lease.PaidOld(ctx, PendingRow{alice, 5, opened}, old, later)) }, func(l *Lease) error { return l.Record(ctx, alice, 7, old, later) }, "is in the history"},
		{"another account while payments are open", open, func(l *Lease) error { return l.Init(ctx, 61, genesis, elsewhere, 0, 0, later) }, "still has open payments"},
		{"open the books over something else", func() { b.putType(b.db.Keys.Opening(), "string") }, func(l *Lease) error { return l.OpenBooks(ctx) }, "eth:payments:opening is a string"},
		{"a note of half a pair", func() {}, func(l *Lease) error { return l.Note(ctx, "halt", "x", "heartbeat") }, "field heartbeat has no value"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.t = t
			b.begin()
			tc.given()
			before := b.dump()
			if err := tc.do(b.lease); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is %v, want ErrConflict with %q", err, tc.want)
			}
			b.same("refused", before)
		})
	}
}

func TestPaymentsThatCannotBeWrittenDownAreRefused(t *testing.T) {
	b := newBooks(t)
	before := b.dump()
	none := pay(7, alice, 300, func(p *Payment) { p.Attempts = nil })
	for name, p := range map[string]*Payment{
		"no attempt": none,
		"no value":   pay(7, alice, 300, func(p *Payment) { p.Value = nil }),
		"less value": pay(7, alice, 300, func(p *Payment) { p.Value = util.Shannon(-1).Wei() }),
	} {
		for verb, errs := range map[string][]error{
			"open":      b.lease.Open(ctx, "", pay(7, alice, 1), p),
			"reinstate": b.lease.Reinstate(ctx, pay(7, alice, 1), p),
			"sent":      b.lease.Sent(ctx, later, p),
			"attempts":  {b.lease.Attempts(ctx, p, 1)},
		} {
			for _, err := range errs {
				if err == nil || !strings.Contains(err.Error(), "7-id") {
					t.Errorf("%s with %s: error is %v, want one that names the payment", verb, name, err)
				}
			}
		}
	}
	b.same("refused", before)
}

// What a payment that is out may take over at its nonce when Redis forgot it.
func TestReinstateTakesANonceThatOnlySeemedUsed(t *testing.T) {
	b := newBooks(t)
	for name, given := range map[string]func(){
		"a foreign transaction": func() { b.ok(b.lease.Foreign(ctx, account, 7, byHand, "", nil)) },
		"a dead nonce": func() {
			b.open(pay(7, bob, 1, func(p *Payment) { p.ID = "x" }, signedAs(byHand)), pay(8, carol, 1))
			b.ok(b.lease.Void(ctx, pay(7, bob, 1, func(p *Payment) { p.ID = "x" }, signedAs(byHand)), NonceFree, "refused", ""))
		},
		"what comes after it": func() { b.ok(b.lease.Reinstate(ctx, pay(8, bob, 1))...) },
	} {
		b.begin()
		b.credit(carol, 1)
		given()
		b.ok(b.lease.Reinstate(ctx, pay(7, alice, 300))...)
		m, err := b.db.Meta(ctx)
		b.ok(err)
		bound, err := b.db.Nonce(ctx, account, 7)
		b.ok(err)
		if bound != "7-id" || m.NextNonce < 8 {
			t.Errorf("%s: nonce 7 is bound to %q and the next is %d", name, bound, m.NextNonce)
		}
		b.owns(alice, 700, 0, 300)
		b.clean()
	}
}

// The operator may have updated the totals for all of them, for none, or for
// those that come first.
func TestHeldPaymentsBecomeFinalTogether(t *testing.T) {
	for _, stats := range []util.Shannon{0, 200, 300, 500} {
		b := newBooks(t)
		a, c := pay(7, alice, 200), pay(8, bob, 300)
		b.open(a, c)
		for _, p := range []*Payment{a, c} {
			b.removeRow(p)
			b.ok(b.lease.Hold(ctx, p, "gone"))
			p.State = Held
			mined(p.Attempts[0].Hash)(p)
		}
		if stats > 0 {
			b.updateStats(stats)
		}
		b.ok(b.lease.Final(ctx, later, 500, a, c)...)
		b.owns(alice, 800, 0, 200)
		b.owns(bob, 200, 0, 300)
		if stats != 300 { // the totals do not say that these were bob's
			b.clean()
		}
	}
}

func TestTheLockHasOneOwner(t *testing.T) {
	b := newBooks(t)
	key := b.db.Keys.PaymentsLock()
	wantHeld := func(gone string) {
		t.Helper()
		_, err := b.db.Acquire(ctx, "other", gone, 0)
		var held *HeldError
		if !errors.As(err, &held) || held.Value != token {
			t.Errorf("gone %q: error is %v, want HeldError of %q", gone, err, token)
		}
		if v := b.do("GET", key); v != token {
			t.Errorf("gone %q: the lock holds %q", gone, v)
		}
	}
	wantHeld("")
	wantHeld("somebody else")

	other, err := b.db.Acquire(ctx, "other", token, 0)
	b.ok(err, b.lease.Release(ctx)) // it is not ours any more
	if v, err := b.db.LockValue(ctx); v != "other" || err != nil {
		t.Errorf("the lock holds %q, %v", v, err)
	}
	if ttl := b.do("TTL", key); ttl != int64(-1) {
		t.Errorf("the lock ends in %v s", ttl)
	}
	b.ok(other.Release(ctx), other.Release(ctx))
	if v, err := b.db.LockValue(ctx); v != "" || err != nil {
		t.Errorf("the lock holds %q, %v", v, err)
	}
	if err := other.Note(ctx, "halt", "x"); !errors.Is(err, ErrLost) {
		t.Errorf("after the release: error is %v, want ErrLost", err)
	}

	// No lock is not the lock of nobody, and an empty one is somebody's.
	nobody := &Lease{db: b.db}
	if err := nobody.Note(ctx, "halt", "x"); !errors.Is(err, ErrLost) {
		t.Errorf("a lease of nobody: error is %v, want ErrLost", err)
	}
	b.do("SET", key, "")
	if _, err := b.db.Acquire(ctx, token, "", 0); !errors.As(err, new(*HeldError)) {
		t.Errorf("a lock that is empty: error is %v, want HeldError", err)
	}
}

func TestTheLockIsTakenAlthoughTheReplyWasLost(t *testing.T) {
	b := newBooks(t)
	b.ok(b.lease.Release(ctx))
	proxy := fault.Redis(t, b.srv.Addr())
	through := b.connect(proxy.Addr(), "eth")
	proxy.At(proxy.Count()+1, fault.AfterEffect, nil)
	if _, err := through.Acquire(ctx, token, "", 0); err == nil {
		t.Error("the reply was lost without an error")
	}
	if _, err := through.Acquire(ctx, token, "", 0); err != nil {
		t.Error(err)
	}
}

func TestVerifySeesWhatIsNotAsItShouldBe(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	for _, tc := range []struct {
		name  string
		given func()
		want  error
	}{
		{"all is well", func() {}, nil},
		{"the lock was removed", func() { b.do("DEL", k.PaymentsLock()) }, ErrLost},
		{"the lock is another's", func() { b.do("SET", k.PaymentsLock(), "x") }, ErrLost},
		{"a step was forgotten", func() { b.do("HINCRBY", k.Meta(), "step", -1) }, ErrRolledBack},
		{"all steps were forgotten", func() { b.do("DEL", k.Meta()) }, ErrRolledBack},
		{"the payment was forgotten", func() { b.do("DEL", k.Payment("8-id")) }, ErrRolledBack},
		{"an attempt was forgotten", func() { b.do("HSET", k.Payment("7-id"), "tries", 1) }, ErrRolledBack},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.t = t
			b.begin()
			b.open(pay(7, alice, 300), pay(8, bob, 1))
			b.ok(b.lease.Attempts(ctx, pay(7, alice, 300, withAttempts(2)), 1))
			tc.given()
			before := b.dump()
			err := b.lease.Verify(ctx, pay(7, alice, 300, withAttempts(2)), pay(8, bob, 1))
			if !errors.Is(err, tc.want) || (tc.want == nil) != (err == nil) {
				t.Errorf("error is %v, want %v", err, tc.want)
			}
			b.same("verify", before)
		})
	}
	b.srv.Kill()
	if err := b.lease.Verify(ctx, pay(8, bob, 1)); err == nil || errors.Is(err, ErrLost) || errors.Is(err, ErrRolledBack) {
		t.Errorf("without Redis the error is %v, want that of the connection", err)
	}
}

func TestVerbsEndWithTheirContext(t *testing.T) {
	b := newBooks(t)
	before := b.dump()
	over, cancel := context.WithCancel(ctx)
	cancel()
	for i, err := range b.lease.Open(over, "", pay(7, alice, 300), pay(8, bob, 1)) {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("error %d is %v, want that of the context", i, err)
		}
	}
	b.same("cancelled", before)
}

// What is no answer of ours is never taken for success.
func TestAnAnswerOfTheWrongShapeIsAnError(t *testing.T) {
	b := newBooks(t)
	proxy := fault.Redis(t, b.srv.Addr())
	through := b.connect(proxy.Addr(), "eth")
	before := b.dump()
	for _, reply := range []string{
		"+OK\r\n", "*0\r\n", "*1\r\n+OK\r\n", "*2\r\n+OK\r\n:1\r\n", "*4\r\n+OK\r\n:1\r\n+\r\n+\r\n",
		"*3\r\n:1\r\n:1\r\n+\r\n", "*3\r\n+OK\r\n+1\r\n+\r\n", "*3\r\n+OK\r\n:-1\r\n+\r\n", "*3\r\n+OK\r\n:1\r\n:1\r\n",
		"*3\r\n+YES\r\n:1\r\n+\r\n", "$-1\r\n", "-ERR no such script\r\n",
	} {
		proxy.Every(func(m fault.Message) fault.Action {
			if strings.HasPrefix(m.Name, "EVAL") {
				return fault.Reply([]byte(reply))
			}
			return fault.Pass
		})
		l := &Lease{db: through, token: token, step: 1}
		if err := l.Note(ctx, "halt", "x"); err == nil || errors.Is(err, ErrConflict) || errors.Is(err, ErrLost) || l.Step() != 1 {
			t.Errorf("%q: error is %v, the step is %d", reply, err, l.Step())
		}
		if _, err := through.Acquire(ctx, token, "", 0); err == nil && reply != "*2\r\n+OK\r\n:1\r\n" {
			t.Errorf("%q: the lock was taken", reply)
		}
		if _, _, err := through.Due(ctx, 1); err == nil {
			t.Errorf("%q: nobody is due, without an error", reply)
		}
	}
	b.same("no verb arrived", before)
}
