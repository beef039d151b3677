package storage

import (
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

// What a voided payment leaves behind at its nonce decides what may be sent there.
func TestVoidLeavesTheNonceAsItsFateSays(t *testing.T) {
	b := newBooks(t)
	first, second := pay(7, alice, 300), pay(8, bob, 100)
	for _, tc := range []struct {
		name  string
		given func()
		p     *Payment
		fate  NonceFate
		bound string // at the payment's nonce
		next  uint64
		owner string // of the payment's transaction
	}{
		{"the last one, free, is used again", func() {}, second, NonceFree, "", 8, ""},
		{"one before it, free, is dead", func() {}, first, NonceFree, "dead:7-id", 9, ""},
		{"used up by our own transaction", func() {}, second, NonceOwn, "8-id", 9, "8-id"},
		{"used up by somebody else's", func() {}, first, NonceForeign(byHand), "foreign:" + byHand.Hex(), 9, "7-id"},
		{"taken over by a filler, it stays the filler's", func() { b.ok(b.lease.Open(ctx, "7-id", fill(7, replaces("7-id")))...) },
			first, NonceForeign(hash(7, 9)), "7-fill", 9, "7-id"},
		{"taken over by a filler, it is not free", func() { b.ok(b.lease.Open(ctx, "8-id", fill(8, replaces("8-id")))...) },
			second, NonceFree, "8-fill", 9, "8-id"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.t = t
			b.begin()
			b.open(first, second)
			tc.given()
			b.ok(b.lease.Void(ctx, tc.p, tc.fate, "why", ""))
			bound, err := b.db.Nonce(ctx, account, tc.p.Nonce)
			b.ok(err)
			m, err := b.db.Meta(ctx)
			b.ok(err)
			owner, err := b.db.PaymentByHash(ctx, tc.p.Last().Hash)
			b.ok(err)
			if bound != tc.bound || m.NextNonce != tc.next || owner != tc.owner {
				t.Errorf("nonce %d is bound to %q, the next is %d, its transaction is of %q; want %q, %d, %q",
					tc.p.Nonce, bound, m.NextNonce, owner, tc.bound, tc.next, tc.owner)
			}
			b.clean()
		})
	}
}

// Nothing of a refused payment is out: the very same bytes may be the next one.
func TestARefusedPaymentIsMadeAnewWithTheSameBytes(t *testing.T) {
	b := newBooks(t)
	b.open(pay(7, alice, 300))
	b.ok(b.lease.Void(ctx, pay(7, alice, 300), NonceFree, "refused", ""))
	anew := pay(7, alice, 300, func(p *Payment) { p.ID = "7-anew" })
	b.openAndSend(anew)
	if id, err := b.db.PaymentByHash(ctx, hash(7, 1)); id != "7-anew" || err != nil {
		t.Errorf("the transaction is of %q, %v", id, err)
	}
	b.owns(alice, 700, 0, 300)
	b.clean()
}

// A sent payment that fails takes nothing from one of the same amount after it.
func TestVoidLeavesThePendingRowOfTheNextPaymentAlone(t *testing.T) {
	b := newBooks(t)
	b.openAndSend(pay(7, alice, 300))
	b.open(pay(8, alice, 300))
	b.ok(b.lease.Void(ctx, pay(7, alice, 300, is(Sent)), NonceOwn, "failed", "rejects"))
	b.sent(pay(8, alice, 300))
	b.owns(alice, 700, 0, 300)
	b.clean()
}

func TestForeignMayUseADeadNonce(t *testing.T) {
	b := newBooks(t)
	b.open(pay(7, alice, 300), pay(8, bob, 100))
	b.ok(b.lease.Void(ctx, pay(7, alice, 300), NonceFree, "refused", ""))
	b.ok(b.lease.Foreign(ctx, account, 7, byHand, "", nil))
	if bound, err := b.db.Nonce(ctx, account, 7); bound != "foreign:"+byHand.Hex() || err != nil {
		t.Errorf("nonce 7 is bound to %q, %v", bound, err)
	}
	b.clean()
}

// The winner takes the place of the attempt that was shown, at its time, and
// the recipient is known to accept payments.
func TestFinalShowsTheWinner(t *testing.T) {
	b := newBooks(t)
	b.open(pay(7, alice, 300))
	b.ok(b.lease.Attempts(ctx, pay(7, alice, 300, withAttempts(2)), 1))
	b.sent(pay(7, alice, 300, withAttempts(2)))
	b.ok(b.lease.Reject(ctx, alice, "rejected before"))
	b.ok(b.lease.Final(ctx, later+60, 0, pay(7, alice, 300, withAttempts(2), is(Sent), mined(hash(7, 1))))...)
	got, err := b.db.History(ctx, alice, 0)
	b.ok(err)
	if want := (Paid{hash(7, 1), alice, 300, later}); len(got) != 1 || got[0] != want {
		t.Errorf("history is %v, want %v", got, want)
	}
	for _, key := range []string{b.db.Keys.PaymentsAll(), b.db.Keys.Payments(alice)} {
		if n := b.do("ZCARD", key); n != int64(1) {
			t.Errorf("%s has %v rows", key, n)
		}
	}
	if r, err := b.db.Rejects(ctx); len(r) != 0 || err != nil {
		t.Errorf("rejects are %v, %v", r, err)
	}
}

// What open-etc-pool wrote beside an old row goes with it, and no more.
func TestAnOldRowIsSettledWithWhatWasBesideIt(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	b.oldDebit(alice, 300)
	b.do("HSET", k.PendingNonces(), pendingRow(alice, 300), "6", pendingRow(bob, 1), "5")
	b.do("HSET", k.PendingHashes(), pendingRow(alice, 300), old.Hex(), pendingRow(bob, 1), old.Hex())
	b.ok(b.lease.PaidOld(ctx, PendingRow{alice, 300, opened}, old, later))
	for _, r := range []struct {
		row  PendingRow
		want bool
	}{{PendingRow{Login: alice, Amount: 300}, false}, {PendingRow{Login: bob, Amount: 1}, true}} {
		_, ok1, err1 := b.db.OldNonce(ctx, r.row)
		_, ok2, err2 := b.db.OldHash(ctx, r.row)
		b.ok(err1, err2)
		if ok1 != r.want || ok2 != r.want {
			t.Errorf("%s: nonce %v, hash %v; want %v", r.row.Row(), ok1, ok2, r.want)
		}
	}
	got, err := b.db.History(ctx, alice, 0)
	b.ok(err)
	if want := (Paid{common.HexToHash("0x01d"), alice, 300, later}); len(got) != 1 || got[0] != want {
		t.Errorf("history is %v, want %v", got, want)
	}
}
