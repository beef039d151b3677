package storage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// verb is one money verb in one situation.
type verb struct {
	name  string
	given func(b *books) // from begin to the situation
	do    func(b *books, l *Lease) error
	// others are the same verb, done already, with something else in its fields.
	others map[string]func(l *Lease) error
	// moves are the fields of the books that alice's money leaves and enters.
	moves [2]string
	// then is alice's row afterwards: balance, pending, paid.
	then [3]util.Shannon
}

func nothing(*books) {}

// one is a verb over one payment.
func one(errs []error) error { return errs[0] }

// held brings a payment of alice into the state held.
func held(b *books) {
	p := pay(7, alice, 300)
	b.open(p)
	b.removeRow(p)
	b.ok(b.lease.Hold(ctx, p, "gone"))
}

// final brings a payment of alice into the state final.
func final(b *books) {
	b.openAndSend(pay(7, alice, 300))
	b.ok(b.lease.Final(ctx, later, 0, pay(7, alice, 300, is(Sent), mined(hash(7, 1))))...)
}

// verbs are all money verbs, in every situation in which they do something.
var verbs = []verb{
	{
		name: "open", given: nothing, moves: [2]string{"balance", "pending"}, then: [3]util.Shannon{700, 300, 0},
		do: func(b *books, l *Lease) error { return one(l.Open(ctx, "", pay(7, alice, 300))) },
		others: map[string]func(*Lease) error{
			"amount": func(l *Lease) error { return one(l.Open(ctx, "", pay(7, alice, 301))) },
			"login":  func(l *Lease) error { return one(l.Open(ctx, "", pay(7, alice, 300, to(bob)))) },
			"recipient": func(l *Lease) error {
				return one(l.Open(ctx, "", pay(7, alice, 300, func(p *Payment) { p.To = account })))
			},
			"nonce": func(l *Lease) error { return one(l.Open(ctx, "", pay(7, alice, 300, at(8)))) },
			"bytes": func(l *Lease) error { return one(l.Open(ctx, "", pay(7, alice, 300, signedAs(hash(7, 2))))) },
		},
	},
	{
		name: "open, the node signs", given: nothing, moves: [2]string{"balance", "pending"}, then: [3]util.Shannon{700, 300, 0},
		do: func(b *books, l *Lease) error {
			return one(l.Open(ctx, "", pay(7, alice, 300, signedAs(common.Hash{}))))
		},
		others: map[string]func(*Lease) error{
			"gas": func(l *Lease) error {
				return one(l.Open(ctx, "", pay(7, alice, 300, signedAs(common.Hash{}), func(p *Payment) { p.Gas++ })))
			},
		},
	},
	{
		name: "open a filler at the next nonce", given: nothing, then: [3]util.Shannon{1000, 0, 0},
		do:     func(b *books, l *Lease) error { return one(l.Open(ctx, "", fill(7))) },
		others: map[string]func(*Lease) error{"kind": func(l *Lease) error { return one(l.Open(ctx, "", fill(7, func(p *Payment) { p.Kind = ToMiner }))) }},
	},
	{
		name: "open a filler at a dead nonce", then: [3]util.Shannon{1000, 0, 0},
		given: func(b *books) {
			b.open(pay(7, alice, 300), pay(8, bob, 100))
			b.ok(b.lease.Void(ctx, pay(7, alice, 300), NonceFree, "refused", ""))
		},
		do: func(b *books, l *Lease) error { return one(l.Open(ctx, "dead:7-id", fill(7))) },
	},
	{
		name: "open a filler at a nonce that nothing is bound to", then: [3]util.Shannon{1000, 0, 0},
		given: func(b *books) { b.ok(b.lease.Reinstate(ctx, pay(8, bob, 300))...) },
		do:    func(b *books, l *Lease) error { return one(l.Open(ctx, "", fill(7))) },
	},
	{
		name: "open a filler in the place of a payment", given: held, then: [3]util.Shannon{700, 300, 0},
		do: func(b *books, l *Lease) error { return one(l.Open(ctx, "7-id", fill(7, replaces("7-id")))) },
		others: map[string]func(*Lease) error{
			"replaced": func(l *Lease) error { return one(l.Open(ctx, "7-id", fill(7))) },
		},
	},
	{
		name: "reinstate", given: nothing, moves: [2]string{"balance", "paid"}, then: [3]util.Shannon{700, 0, 300},
		do: func(b *books, l *Lease) error { return one(l.Reinstate(ctx, pay(7, alice, 300))) },
		others: map[string]func(*Lease) error{
			"amount": func(l *Lease) error { return one(l.Reinstate(ctx, pay(7, alice, 301))) },
			"nonce":  func(l *Lease) error { return one(l.Reinstate(ctx, pay(7, alice, 300, at(8)))) },
		},
	},
	{
		name: "reinstate beyond the balance", given: nothing, moves: [2]string{"balance", "paid"}, then: [3]util.Shannon{-200, 0, 1200},
		do: func(b *books, l *Lease) error { return one(l.Reinstate(ctx, pay(7, alice, 1200))) },
	},
	{
		name: "reinstate a filler", then: [3]util.Shannon{700, 300, 0}, given: held,
		do: func(b *books, l *Lease) error { return one(l.Reinstate(ctx, fill(7, replaces("7-id")))) },
	},
	{
		name: "one more attempt", then: [3]util.Shannon{700, 300, 0}, given: func(b *books) { b.open(pay(7, alice, 300)) },
		do: func(b *books, l *Lease) error { return l.Attempts(ctx, pay(7, alice, 300, withAttempts(2)), 1) },
		others: map[string]func(*Lease) error{
			"attempt": func(l *Lease) error {
				p := pay(7, alice, 300, withAttempts(2))
				p.Last().Hash = hash(7, 5)
				return l.Attempts(ctx, p, 1)
			},
			"fewer attempts": func(l *Lease) error { return l.Attempts(ctx, pay(7, alice, 300), 2) },
		},
	},
	{
		name: "an attempt refused", then: [3]util.Shannon{700, 300, 0}, given: func(b *books) { b.open(pay(7, alice, 300)) },
		do: func(b *books, l *Lease) error {
			return l.Attempts(ctx, pay(7, alice, 300, func(p *Payment) { p.Last().Refused = "insufficient funds" }), 1)
		},
	},
	{
		name: "sent", given: func(b *books) { b.open(pay(7, alice, 300)) }, moves: [2]string{"pending", "paid"}, then: [3]util.Shannon{700, 0, 300},
		do: func(b *books, l *Lease) error { return one(l.Sent(ctx, later, pay(7, alice, 300))) },
		others: map[string]func(*Lease) error{
			"amount": func(l *Lease) error { return one(l.Sent(ctx, later, pay(7, alice, 301))) },
			"login":  func(l *Lease) error { return one(l.Sent(ctx, later, pay(7, alice, 300, to(bob)))) },
			"hash":   func(l *Lease) error { return one(l.Sent(ctx, later, pay(7, alice, 300, signedAs(hash(7, 2))))) },
		},
	},
	{
		name: "a filler sent", given: func(b *books) { b.open(fill(7)) }, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error { return one(l.Sent(ctx, later, fill(7))) },
	},
	{
		name: "final", given: func(b *books) { b.openAndSend(pay(7, alice, 300)) }, then: [3]util.Shannon{700, 0, 300},
		do: func(b *books, l *Lease) error {
			return one(l.Final(ctx, later, 0, pay(7, alice, 300, is(Sent), mined(hash(7, 1)))))
		},
		others: map[string]func(*Lease) error{
			"hash": func(l *Lease) error {
				return one(l.Final(ctx, later, 0, pay(7, alice, 300, is(Sent), mined(hash(7, 2)))))
			},
			"block": func(l *Lease) error {
				return one(l.Final(ctx, later, 0, pay(7, alice, 300, minedIn(hash(7, 1), 1001))))
			},
			"amount": func(l *Lease) error { return one(l.Final(ctx, later, 0, pay(7, alice, 301, mined(hash(7, 1))))) },
			"login": func(l *Lease) error {
				return one(l.Final(ctx, later, 0, pay(7, alice, 300, to(bob), mined(hash(7, 1)))))
			},
			"block hash": func(l *Lease) error {
				return one(l.Final(ctx, later, 0, pay(7, alice, 300, mined(hash(7, 1)), func(p *Payment) { p.BlockHash = byHand })))
			},
		},
	},
	{
		name: "final by another attempt than the one shown", then: [3]util.Shannon{700, 0, 300},
		given: func(b *books) {
			b.open(pay(7, alice, 300))
			b.ok(b.lease.Attempts(ctx, pay(7, alice, 300, withAttempts(2)), 1))
			b.sent(pay(7, alice, 300, withAttempts(2)))
			b.ok(b.lease.Reject(ctx, alice, "rejected before"))
		},
		do: func(b *books, l *Lease) error {
			return one(l.Final(ctx, later+60, 0, pay(7, alice, 300, withAttempts(2), is(Sent), mined(hash(7, 1)))))
		},
	},
	{
		name: "final before it was booked as sent", given: func(b *books) { b.open(pay(7, alice, 300)) },
		moves: [2]string{"pending", "paid"}, then: [3]util.Shannon{700, 0, 300},
		do: func(b *books, l *Lease) error {
			return one(l.Final(ctx, later, 0, pay(7, alice, 300, mined(hash(7, 1)))))
		},
	},
	{
		name: "final of a held payment", given: held, moves: [2]string{"pending", "paid"}, then: [3]util.Shannon{700, 0, 300},
		do: func(b *books, l *Lease) error {
			return one(l.Final(ctx, later, 300, pay(7, alice, 300, is(Held), mined(hash(7, 1)))))
		},
	},
	{
		name: "final of a held payment whose stats were updated by hand", moves: [2]string{"pending", "paid"}, then: [3]util.Shannon{700, 0, 300},
		given: func(b *books) { held(b); b.updateStats(300) },
		do: func(b *books, l *Lease) error {
			return one(l.Final(ctx, later, 300, pay(7, alice, 300, is(Held), mined(hash(7, 1)))))
		},
	},
	{
		name: "a filler final", given: func(b *books) { b.openAndSend(fill(7)) }, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error {
			return one(l.Final(ctx, later, 0, fill(7, is(Sent), mined(hash(7, 9)))))
		},
	},
	{
		name: "mined", given: func(b *books) { b.openAndSend(pay(7, alice, 300)) }, then: [3]util.Shannon{700, 0, 300},
		do: func(b *books, l *Lease) error {
			return one(l.Mined(ctx, pay(7, alice, 300, is(Sent), mined(hash(7, 1)))))
		},
	},
	{
		name: "unfinal", given: final, then: [3]util.Shannon{700, 0, 300},
		do:     func(b *books, l *Lease) error { return l.Unfinal(ctx, pay(7, alice, 300, is(Final)), "a reorg") },
		others: map[string]func(*Lease) error{"nonce": func(l *Lease) error { return l.Unfinal(ctx, pay(7, alice, 300, is(Final), at(8)), "a reorg") }},
	},
	{
		name: "void a refused one at the last nonce", given: func(b *books) { b.open(pay(7, alice, 300)) },
		moves: [2]string{"pending", "balance"}, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error { return l.Void(ctx, pay(7, alice, 300), NonceFree, "refused", "") },
		others: map[string]func(*Lease) error{
			"amount":     func(l *Lease) error { return l.Void(ctx, pay(7, alice, 301), NonceFree, "refused", "") },
			"login":      func(l *Lease) error { return l.Void(ctx, pay(7, alice, 300, to(bob)), NonceFree, "refused", "") },
			"nonce":      func(l *Lease) error { return l.Void(ctx, pay(7, alice, 300, at(8)), NonceFree, "refused", "") },
			"open again": func(l *Lease) error { return one(l.Open(ctx, "", pay(7, alice, 300))) },
		},
	},
	{
		name: "void a refused one before the last nonce", given: func(b *books) { b.open(pay(7, alice, 300), pay(8, bob, 100)) },
		moves: [2]string{"pending", "balance"}, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error { return l.Void(ctx, pay(7, alice, 300), NonceFree, "refused", "") },
	},
	{
		name: "void one that the node had to sign", moves: [2]string{"pending", "balance"}, then: [3]util.Shannon{1000, 0, 0},
		given: func(b *books) { b.open(pay(7, alice, 300, signedAs(common.Hash{}))) },
		do: func(b *books, l *Lease) error {
			return l.Void(ctx, pay(7, alice, 300, signedAs(common.Hash{})), NonceFree, "refused", "")
		},
		others: map[string]func(*Lease) error{
			"open again": func(l *Lease) error { return one(l.Open(ctx, "", pay(7, alice, 300, signedAs(common.Hash{})))) },
		},
	},
	{
		name: "void one whose nonce somebody else used", given: func(b *books) { b.open(pay(7, alice, 300)) },
		moves: [2]string{"pending", "balance"}, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error {
			return l.Void(ctx, pay(7, alice, 300), NonceForeign(byHand), "foreign", "")
		},
	},
	{
		name: "void one that failed", given: func(b *books) { b.openAndSend(pay(7, alice, 300)) },
		moves: [2]string{"paid", "balance"}, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error {
			return l.Void(ctx, pay(7, alice, 300, is(Sent)), NonceOwn, "failed", "rejects payments")
		},
	},
	{
		name: "void one that was sent and whose nonce somebody else used", given: func(b *books) { b.openAndSend(pay(7, alice, 300)) },
		moves: [2]string{"paid", "balance"}, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error {
			return l.Void(ctx, pay(7, alice, 300, is(Sent)), NonceForeign(byHand), "foreign", "")
		},
	},
	{
		name: "void a filler", given: func(b *books) { b.openAndSend(fill(7)) }, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error {
			return l.Void(ctx, fill(7, is(Sent)), NonceForeign(byHand), "foreign", "")
		},
	},
	{
		name: "adopt", moves: [2]string{"pending", "paid"}, then: [3]util.Shannon{700, 0, 300},
		given: func(b *books) {
			p := pay(7, alice, 300)
			b.open(p)
			b.storeByHand(byHand, p)
			b.removeRow(p)
			b.updateStats(300)
		},
		do: func(b *books, l *Lease) error { return l.Adopt(ctx, adopted(Signed), later, 0, "paid by hand") },
		others: map[string]func(*Lease) error{
			"hash": func(l *Lease) error {
				return l.Adopt(ctx, pay(7, alice, 300, shows(hash(7, 1))), later, 0, "paid by hand")
			},
			"amount": func(l *Lease) error { return l.Adopt(ctx, pay(7, alice, 301, shows(byHand)), later, 0, "paid by hand") },
			"login": func(l *Lease) error {
				return l.Adopt(ctx, pay(7, alice, 300, to(bob), shows(byHand)), later, 0, "paid by hand")
			},
		},
	},
	{
		name: "adopt what was held", moves: [2]string{"pending", "paid"}, then: [3]util.Shannon{700, 0, 300},
		given: func(b *books) { held(b); b.do("ZADD", b.db.Keys.Payments(alice), opened, byHand.Hex()+":300") },
		do:    func(b *books, l *Lease) error { return l.Adopt(ctx, adopted(Held), later, 300, "paid by hand") },
	},
	{
		name: "adopt, all books updated by hand", moves: [2]string{"pending", "paid"}, then: [3]util.Shannon{700, 0, 300},
		given: func(b *books) {
			held(b)
			b.updateStats(300)
			b.do("HINCRBY", b.db.Keys.Miner(alice), "pending", -300)
			b.do("HINCRBY", b.db.Keys.Miner(alice), "paid", 300)
		},
		do: func(b *books, l *Lease) error { return l.Adopt(ctx, adopted(Held), later, 300, "paid by hand") },
	},
	{
		name: "adopt with the pending row", moves: [2]string{"pending", "paid"}, then: [3]util.Shannon{700, 0, 300},
		given: func(b *books) { b.open(pay(7, alice, 300)) },
		do:    func(b *books, l *Lease) error { return l.AdoptWithRow(ctx, adopted(Signed), later, 0, "paid by hand") },
	},
	{
		name: "hold", then: [3]util.Shannon{700, 300, 0},
		given: func(b *books) { b.open(pay(7, alice, 300)); b.removeRow(pay(7, alice, 300)) },
		do:    func(b *books, l *Lease) error { return l.Hold(ctx, pay(7, alice, 300), "gone") },
		others: map[string]func(*Lease) error{
			"amount": func(l *Lease) error { return l.Hold(ctx, pay(7, alice, 301), "gone") },
			"login":  func(l *Lease) error { return l.Hold(ctx, pay(7, alice, 300, to(bob)), "gone") },
		},
	},
	{
		name: "unhold", given: func(b *books) { held(b); b.putRow(alice, 300) }, then: [3]util.Shannon{700, 300, 0},
		do: func(b *books, l *Lease) error { return l.Unhold(ctx, pay(7, alice, 300, is(Held))) },
		others: map[string]func(*Lease) error{
			"amount": func(l *Lease) error { return l.Unhold(ctx, pay(7, alice, 301, is(Held))) },
		},
	},
	{
		name: "put back", given: func(b *books) { held(b) }, then: [3]util.Shannon{700, 300, 0},
		do: func(b *books, l *Lease) error { return l.PutBack(ctx, pay(7, alice, 300, is(Held))) },
		others: map[string]func(*Lease) error{
			"amount": func(l *Lease) error { return l.PutBack(ctx, pay(7, alice, 301, is(Held))) },
			"login":  func(l *Lease) error { return l.PutBack(ctx, pay(7, alice, 300, to(bob), is(Held))) },
		},
	},
	{
		name: "foreign at the next nonce", given: nothing, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error { return l.Foreign(ctx, account, first, byHand, "", nil) },
	},
	{
		name: "foreign in the place of another", then: [3]util.Shannon{1000, 0, 0},
		given: func(b *books) { b.ok(b.lease.Foreign(ctx, account, first, old, "", nil)) },
		do:    func(b *books, l *Lease) error { return l.Foreign(ctx, account, first, byHand, "", nil) },
	},
	{
		name: "reject", given: nothing, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error { return l.Reject(ctx, alice, "reverts") },
	},
	{
		name: "accept again", given: func(b *books) { b.ok(b.lease.Reject(ctx, alice, "reverts")) }, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error { return l.Reject(ctx, alice, "") },
	},
	{
		name: "bury", given: final, then: [3]util.Shannon{700, 0, 300},
		do: func(b *books, l *Lease) error { return l.Bury(ctx, pay(7, alice, 300, is(Final))) },
		others: map[string]func(*Lease) error{
			"attempts": func(l *Lease) error { return l.Bury(ctx, pay(7, alice, 300, is(Final), withAttempts(2))) },
		},
	},
	{
		name: "credit back an old row", given: func(b *books) { b.oldDebit(alice, 300) },
		moves: [2]string{"pending", "balance"}, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error {
			return l.CreditBackOld(ctx, PendingRow{Login: alice, Amount: 300, Time: opened})
		},
	},
	{
		name: "an old row was paid", moves: [2]string{"pending", "paid"}, then: [3]util.Shannon{700, 0, 300},
		given: func(b *books) {
			b.oldDebit(alice, 300)
			b.do("HSET", b.db.Keys.PendingNonces(), pendingRow(alice, 300), "6", pendingRow(bob, 1), "5")
			b.do("HSET", b.db.Keys.PendingHashes(), pendingRow(alice, 300), old.Hex(), pendingRow(bob, 1), old.Hex())
		},
		do: func(b *books, l *Lease) error {
			return l.PaidOld(ctx, PendingRow{Login: alice, Amount: 300, Time: opened}, old, later)
		},
	},
	{
		name: "record", given: nothing, moves: [2]string{"balance", "paid"}, then: [3]util.Shannon{700, 0, 300},
		do: func(b *books, l *Lease) error { return l.Record(ctx, alice, 300, byHand, later) },
		others: map[string]func(*Lease) error{
			"amount": func(l *Lease) error { return l.Record(ctx, alice, 301, byHand, later) },
			"login":  func(l *Lease) error { return l.Record(ctx, bob, 300, byHand, later) },
		},
	},
	{
		name: "note", given: func(b *books) { b.ok(b.lease.Note(ctx, "halt", "refused")) }, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error { return l.Note(ctx, "heartbeat", later, "halt", "") },
	},
	{
		name: "skipped", given: func(b *books) { b.ok(b.lease.Skipped(ctx, map[string]Skip{bob: {Reason: "held"}})) }, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error {
			return l.Skipped(ctx, map[string]Skip{alice: {Reason: "recipient_rejects", Why: "it is \"code\""}, carol: {Reason: "held"}})
		},
	},
	{
		name: "init", given: func(b *books) { b.do("DEL", b.db.Keys.Meta()); b.lease = b.acquire(0) }, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error { return l.Init(ctx, 61, genesis, account, first, first, opened) },
		others: map[string]func(*Lease) error{
			"chain":   func(l *Lease) error { return l.Init(ctx, 1, genesis, account, first, first, opened) },
			"genesis": func(l *Lease) error { return l.Init(ctx, 61, block, account, first, first, opened) },
		},
	},
	{
		name: "init with another account", given: nothing, then: [3]util.Shannon{1000, 0, 0},
		do: func(b *books, l *Lease) error {
			return l.Init(ctx, 61, genesis, common.HexToAddress("0x02"), 0, 0, later)
		},
	},
	{
		name: "open the books", then: [3]util.Shannon{1000, 0, 40},
		given: func(b *books) { b.do("HINCRBY", b.db.Keys.Miner(alice), "paid", 40) },
		do:    func(b *books, l *Lease) error { return l.OpenBooks(ctx) },
	},
}

// adopted is alice's payment with the transaction that the operator made.
func adopted(s State) *Payment {
	return pay(7, alice, 300, is(s), shows(byHand), func(p *Payment) {
		p.Attempts = append(p.Attempts, Attempt{Hash: byHand, ByHand: true, AtBlock: 120})
	})
}

func TestVerbsMoveMoneyOnce(t *testing.T) {
	b := newBooks(t)
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			b.t = t
			b.begin()
			v.given(b)
			before := b.dump()
			b.ok(v.do(b, b.lease))
			after := b.dump()
			if before.diff(after) == "" {
				t.Fatal("nothing was written")
			}
			b.owns(alice, v.then[0], v.then[1], v.then[2])
			if v.then[0] >= 0 { // the audit says so else
				b.clean()
			}

			b.ok(v.do(b, b.lease))
			b.same("the same again", after)
			b.ok(v.do(b, b.acquire(0)))
			b.same("the same again, by another process", after)
			for field, other := range v.others {
				if err := other(b.lease); !errors.Is(err, ErrConflict) {
					t.Errorf("another %s: error is %v, want ErrConflict", field, err)
				}
				b.same("another "+field, after)
			}
		})
	}
}

func TestVerbsWriteNothingWithoutTheLock(t *testing.T) {
	b := newBooks(t)
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			b.t = t
			for _, lock := range []string{"", "0x34AE12692BD4567A27e3E86411b58Ea6954BA773:25000000", token + "2"} {
				b.begin()
				v.given(b)
				b.do("DEL", b.db.Keys.PaymentsLock())
				if lock != "" {
					b.do("SET", b.db.Keys.PaymentsLock(), lock)
				}
				before := b.dump()
				if err := v.do(b, b.lease); !errors.Is(err, ErrLost) {
					t.Errorf("lock %q: error is %v, want ErrLost", lock, err)
				}
				b.same("lock "+lock, before)
			}
		})
	}
}

func TestVerbsWriteNothingAfterRedisWentBackInTime(t *testing.T) {
	b := newBooks(t)
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			b.t = t
			b.begin()
			v.given(b)
			older := b.srv.Snapshot()
			b.ok(b.lease.Record(ctx, bob, 1, common.HexToHash("0xf00"), later))
			b.srv.Restore(older)
			before := b.dump()
			if err := v.do(b, b.lease); !errors.Is(err, ErrRolledBack) {
				t.Fatalf("error is %v, want ErrRolledBack", err)
			}
			b.same("went back in time", before)

			// Known to the caller, and put right, it goes on.
			b.ok(b.lease.Resync(ctx), v.do(b, b.lease))
			b.owns(alice, v.then[0], v.then[1], v.then[2])
		})
	}
}

func TestAskingWhetherATransactionCouldBeRecordedChangesNothing(t *testing.T) {
	b := newBooks(t)
	b.begin()
	before := b.dump()
	b.ok(b.lease.Recordable(ctx, alice, 300, byHand, later))
	b.same("asked", before)
	b.ok(b.lease.Record(ctx, alice, 300, byHand, later))
	b.ok(b.lease.Recordable(ctx, alice, 300, byHand, later))
	if err := b.lease.Recordable(ctx, alice, 301, byHand, later); !errors.Is(err, ErrConflict) {
		t.Errorf("recordable with another amount: error is %v, want ErrConflict", err)
	}
}

// Of a history of any length one command reads little, so that nobody waits for it.
func TestALongHistoryIsReadInParts(t *testing.T) {
	b := newBooks(t)
	b.begin()
	all, tx := b.db.Keys.PaymentsAll(), common.HexToHash("0xbee")
	for i := range 3 * scanCount {
		b.do("ZADD", all, later+i/2, fmt.Sprintf("0x%064x:%s:7", i+1, bob))
	}
	b.do("ZADD", all, later+scanCount, tx.Hex()+":"+strings.ToLower(alice)+":300")
	proxy := fault.Redis(t, b.srv.Addr())
	lease := &Lease{db: b.connect(proxy.Addr(), "eth"), token: token, step: b.lease.step}
	proxy.Every(func(m fault.Message) fault.Action {
		if strings.HasPrefix(m.Name, "ZRANGEBYSCORE") && !slices.Contains(m.Args, "limit") {
			t.Errorf("all is asked for at once: %v", m.Args)
		}
		return fault.Pass
	})
	b.do("CONFIG", "RESETSTAT")
	if err := lease.Record(ctx, alice, 300, tx, later); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "is in the history") {
		t.Errorf("a transaction that is in the history: error is %v, want ErrConflict", err)
	}
	b.ok(lease.Record(ctx, alice, 300, byHand, later))
	if stats := fmt.Sprint(b.do("INFO", "commandstats")); strings.Contains(stats, "cmdstat_zrange:") || !strings.Contains(stats, "cmdstat_zscan:") {
		t.Errorf("the script walks through the history:\n%s", stats)
	}
	rows, err := lease.db.History(ctx, alice, 0)
	b.ok(err)
	if want := []Paid{{byHand, alice, 300, later}, {tx, alice, 300, later + scanCount}}; !slices.Equal(rows, want) {
		t.Errorf("history is %v, want %v", rows, want)
	}
}

func TestARowTypedWhileTheHistoryIsLookedThroughIsNotMissed(t *testing.T) {
	b := newBooks(t)
	b.begin()
	proxy := fault.Redis(t, b.srv.Addr())
	lease := &Lease{db: b.connect(proxy.Addr(), "eth"), token: token, step: b.lease.step}
	proxy.Every(func(m fault.Message) fault.Action {
		if strings.HasPrefix(m.Name, "EVAL") {
			b.do("ZADD", b.db.Keys.PaymentsAll(), later, byHand.Hex()+":"+bob+":300")
		}
		return fault.Pass
	})
	if err := lease.Record(ctx, alice, 300, byHand, later); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), "changed meanwhile") {
		t.Errorf("error is %v, want ErrConflict", err)
	}
}
