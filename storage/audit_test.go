package storage

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// everyState is a ledger with payments in every state, and a clean one.
func everyState(b *books) {
	b.t.Helper()
	b.begin()
	b.credit(carol, 500)
	b.ok(b.lease.OpenBooks(ctx))
	b.openAndSend(pay(7, alice, 100))
	b.ok(b.lease.Final(ctx, later, 0, pay(7, alice, 100, is(Sent), mined(hash(7, 1))))...)
	b.openAndSend(pay(8, alice, 110), pay(9, bob, 50), fill(10))
	b.ok(b.lease.Void(ctx, pay(9, bob, 50, is(Sent)), NonceForeign(byHand), "foreign", ""))
	b.open(pay(11, bob, 60), pay(12, carol, 70))
	b.removeRow(pay(12, carol, 70))
	b.ok(b.lease.Hold(ctx, pay(12, carol, 70), "gone"))
	b.ok(b.lease.Foreign(ctx, account, 13, old, "", nil))
	b.ok(b.lease.Record(ctx, carol, 30, common.HexToHash("0x4a9e"), later))
	b.oldDebit(alice, 20)
	c := b.foundBlock(twoMiners)
	b.ok(b.db.Immature(ctx, c, onChain(c, 100, hex64(7), 91), splitOf(91, map[string]util.Shannon{alice: 60, bob: 30})))
	b.do("ZADD", b.db.Keys.Matured(), 90, "0:0:0x0000000000000090:"+hex64(9)+":1:1:1:7000000000")
	b.do("HSET", b.db.Keys.Credits(90, hex64(9)), alice, 5, bob, 2)
	b.do("HSET", b.db.Keys.Splits(), "90:"+hex64(9), "7000000000:7:0:0:2:")
	b.credit(alice, 5)
	b.credit(bob, 2)
}

func TestAuditNamesTheRowThatBreaksAnEquation(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	for _, tc := range []struct {
		name                     string
		harm                     func()
		key, equation, got, also string // parts of the finding; also: another equation that may break with it
	}{
		{"a pending row that cannot be read", func() { b.do("ZADD", k.PaymentsPending(), 1, "alice:much") },
			k.PaymentsPending(), "every row is LOGIN:AMOUNT", `"alice:much"`, ""},
		{"a history row that cannot be read", func() { b.do("ZADD", k.PaymentsAll(), 1, "0x1:"+alice) },
			k.PaymentsAll(), "every row is HASH:LOGIN:AMOUNT", "0x1:" + alice, ""},
		{"a history row whose amount cannot be read", func() { b.do("ZADD", k.PaymentsAll(), 1, "0x1:"+alice+":much") },
			k.PaymentsAll(), "every row is HASH:LOGIN:AMOUNT", alice + ":much", ""},
		{"a history row whose hash cannot be read", func() { b.do("ZADD", k.PaymentsAll(), 1, "pending:"+alice+":0") },
			k.PaymentsAll(), "every row is HASH:LOGIN:AMOUNT", "pending:" + alice, ""},
		{"a transaction that is there for two miners", func() { b.do("ZADD", k.PaymentsAll(), 1, hash(7, 1).Hex()+":"+bob+":0") },
			k.PaymentsAll(), "a transaction is in the history once", hash(7, 1).Hex(), ""},
		{"a signed payment without its pending row", func() { b.removeRow(pay(11, bob, 60)) },
			k.Payment("11-id"), "a signed payment has its pending row", pendingRow(bob, 60), "pending = its pending rows"},
		{"a sent payment that is not in the history", func() { b.do("ZREM", k.PaymentsAll(), hash(8, 1).Hex()+":"+pendingRow(alice, 110)) },
			k.Payment("8-id"), "a payment that was sent is in the history", pendingRow(alice, 110), "paid = its history"},
		{"a final payment that is not in the history", func() { b.do("ZREM", k.PaymentsAll(), hash(7, 1).Hex()+":"+pendingRow(alice, 100)) },
			k.Payment("7-id"), "a payment that was sent is in the history", pendingRow(alice, 100), "paid = its history"},
		{"a buried payment that is not in the history", func() {
			b.do("ZREM", k.Finals(), "7-id")
			b.do("ZREM", k.PaymentsAll(), hash(7, 1).Hex()+":"+pendingRow(alice, 100))
		},
			k.Payment("7-id"), "a payment that was sent is in the history", pendingRow(alice, 100), "paid = its history"},
		{"a buried payment whose row says another amount", func() {
			b.do("ZREM", k.Finals(), "7-id")
			b.do("HSET", k.Payment("7-id"), "amount", 99)
		},
			k.Payment("7-id"), "a payment that was sent is in the history", pendingRow(alice, 99), ""},
		{"a buried payment without a record", func() { b.do("ZREM", k.Finals(), "7-id"); b.do("DEL", k.Payment("7-id")) },
			k.Payment("7-id"), "every payment can be read", "not found", ""},
		{"a buried payment whose attempts cannot be read", func() { b.do("ZREM", k.Finals(), "7-id"); b.do("HSET", k.Payment("7-id"), "attempts", "x") },
			k.Payment("7-id"), "every payment can be read", "attempts", ""},
		{"a payment at another's nonce", func() { b.do("HSET", k.Nonces(account), 8, "7-id") },
			k.Payment("7-id"), "a payment is bound to its own nonce", "nonce 7, and nonce 8 is bound to it", ""},
		{"a payment that nobody follows", func() { b.do("ZREM", k.Inflight(), "8-id") },
			k.Payment("8-id"), "a payment that is not final is in flight", "it is sent", ""},
		{"a nonce bound to nothing", func() { b.do("HDEL", k.Nonces(account), 9) },
			k.Nonces(account), "every nonce from the first to the next is bound", "nonce 9 is bound to nothing", ""},
		{"a nonce bound that was never given out", func() { b.do("HSET", k.Nonces(account), 14, "x") },
			k.Nonces(account), "nothing is bound from the next nonce on", `nonce "14"`, ""},
		{"a nonce that is no number", func() { b.do("HSET", k.Nonces(account), "last", "x") },
			k.Nonces(account), "nothing is bound from the next nonce on", `nonce "last"`, ""},
		{"a miner's row that cannot be read", func() { b.do("HSET", k.Miner("0x0000000000000000000000000000000000000009"), "balance", "a lot") },
			k.Miner("*"), "every miner's row is readable", `"a lot"`, ""},
		{"a negative balance", func() {
			b.do("HINCRBY", k.Miner(alice), "balance", -2000)
			b.do("HINCRBY", k.Finances(), "balance", -2000)
		},
			k.Miner(alice), "nothing is negative", "balance -1225", ""},
		{"pending without a row", func() {
			b.do("HINCRBY", k.Miner(bob), "pending", 5)
			b.do("HINCRBY", k.Finances(), "pending", 5)
		},
			k.Miner(bob), "pending = its pending rows and held payments", "65, the rows sum up to 60", ""},
		{"a held payment that is not pending", func() {
			b.do("HINCRBY", k.Miner(carol), "pending", -70)
			b.do("HINCRBY", k.Finances(), "pending", -70)
		},
			k.Miner(carol), "pending = its pending rows and held payments", "0, the rows sum up to 70", ""},
		{"a pending row of nobody", func() { b.putRow("0x0000000000000000000000000000000000000009", 5) },
			k.Miner("0x0000000000000000000000000000000000000009"), "pending = its pending rows", "0, the rows sum up to 5", ""},
		{"paid without a row", func() {
			b.do("HINCRBY", k.Miner(alice), "paid", 1)
			b.do("HINCRBY", k.Finances(), "paid", 1)
		},
			k.Miner(alice), "paid = its history", "211, the history sums up to 210", ""},
		{"a row twice", func() { b.do("ZADD", k.PaymentsAll(), 1, common.HexToHash("0x99").Hex()+":"+pendingRow(alice, 100)) },
			k.Miner(alice), "paid = its history", "210, the history sums up to 310", ""},
		{"a balance that no block brought", func() { b.credit(bob, 1) },
			k.Miner(bob), "balance + pending + paid = what blocks brought and 500 from before", "503, the credits sum up to 2", ""},
		{"a credit of a matured block that went away", func() { b.do("HDEL", k.Credits(90, hex64(9)), bob) },
			k.Credits(90, hex64(9)), "a block's credits are its split", "sum up to 5", "balance + pending + paid"},
		{"a matured row that cannot be read", func() { b.do("ZADD", k.Matured(), 99, "a block") },
			k.Matured(), "every row can be read", "a block", ""},
		{"a balance beside the totals", func() { b.do("HINCRBY", k.Miner(alice), "balance", 1) },
			k.Finances(), "balance = the sum over all miners", "1617, the sum is 1618", "balance + pending + paid"},
		{"pending totals", func() { b.do("HINCRBY", k.Finances(), "pending", 1) },
			k.Finances(), "pending = the sum over all miners", "151, the sum is 150", ""},
		{"paid totals", func() { b.do("HINCRBY", k.Finances(), "paid", -1) },
			k.Finances(), "paid = the sum over all miners", "239, the sum is 240", ""},
		{"immature totals", func() { b.do("HINCRBY", k.Finances(), "immature", 1) },
			k.Finances(), "immature = the sum over all miners", "91, the sum is 90", ""},
		{"immature without a block", func() {
			b.do("HINCRBY", k.Miner(bob), "immature", 5)
			b.do("HINCRBY", k.Finances(), "immature", 5)
		},
			k.Miner(bob), "immature = its credits of immature blocks", "35, the credits sum up to 30", ""},
		{"a credit that its block does not give", func() {
			b.do("HSET", k.CreditsImmature(100, hex64(7)), bob, 31)
			b.do("HINCRBY", k.Miner(bob), "immature", 1)
			b.do("HINCRBY", k.Finances(), "immature", 1)
		},
			k.CreditsImmature(100, hex64(7)), "a block's credits are its split", "sum up to 91", ""},
		{"a credit that cannot be read", func() { b.do("HSET", k.CreditsImmature(100, hex64(7)), "bob", 0) },
			k.CreditsImmature(100, hex64(7)), "every field is LOGIN and Shannon", `bob is "0"`, ""},
		{"a split that does not add up", func() { b.do("HSET", k.Splits(), "99:"+hex64(6), "91000000000:90:0:0:2:") },
			k.Splits(), "miners + fee + dust = reward", "99:" + hex64(6), ""},
		{"a split that cannot be read", func() { b.do("HSET", k.Splits(), "99:"+hex64(6), "91000000000:90:0:0:2") },
			k.Splits(), "every field is REWARD:", "99:" + hex64(6), ""},
		{"an immature row that cannot be read", func() { b.do("ZADD", k.Immature(), 99, "a block") },
			k.Immature(), "every row can be read", "a block", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.t = t
			everyState(b)
			b.clean()
			tc.harm()
			before := b.dump()
			r, err := b.db.Audit(ctx)
			b.ok(err)
			found := false
			for _, f := range r.Findings {
				switch {
				case f.Key == tc.key && strings.HasPrefix(f.Equation, tc.equation) && strings.Contains(f.Got, tc.got):
					found = true
				case strings.HasPrefix(tc.key, k.Miner("0x")) && f.Key == tc.key && strings.HasPrefix(f.Equation, "balance + pending + paid"):
					// and so it must be: these are parts of it
				case tc.also == "" || !strings.HasPrefix(f.Equation, tc.also):
					t.Errorf("found as well: %+v", f)
				}
			}
			if !found || r.Clean() {
				t.Errorf("found %+v, want %s: %s: %s", r.Findings, tc.key, tc.equation, tc.got)
			}
			b.same("the audit", before)
		})
	}
}

func TestAuditCounts(t *testing.T) {
	b := newBooks(t)
	everyState(b)
	r, err := b.db.Audit(ctx)
	b.ok(err)
	if r.Miners != 3 || r.Payments != 5 || r.Open != 4 || r.History != 3 || r.Totals.Balance != 1617 || r.Totals.Pending != 150 || r.Totals.Paid != 240 {
		t.Errorf("%+v", r)
	}
	var out strings.Builder
	r.Print(&out)
	want := "audited 3 miners, 5 payments of this ledger (4 open), 3 rows of history, 2 rewards\n" +
		"totals: immature 0.00000009, balance 0.000001617, pending 0.00000015, paid 0.00000024 coins\n"
	for i, login := range []string{alice, bob, carol} {
		want += fmt.Sprintf("note: eth:miners:%s differed by %d credited, 0 paid, 0 pending and 0 immature Shannon before this ledger began, or as accepted since\n", login, []int{1000, 500, 500}[i])
	}
	want += "looked at: redis\nthe books add up\n"
	if out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
	b.do("HINCRBY", b.db.Keys.Finances(), "paid", 1)
	r, err = b.db.Audit(ctx)
	b.ok(err)
	out.Reset()
	r.Print(&out)
	if !strings.Contains(out.String(), "WRONG eth:finances: paid = the sum over all miners, but 241, the sum is 240\n      was a miner's row edited without this one? Say HINCRBY here for the same amount\nlooked at: redis\n1 rows are wrong; --json has all of them\n") {
		t.Errorf("printed %q", out.String())
	}
}

// TestAuditTellsRowsThatNoPaymentMade: what the history says beside payments, only the
// chain can bear out.
func TestAuditTellsRowsThatNoPaymentMade(t *testing.T) {
	b := newBooks(t)
	everyState(b)
	b.do("ZADD", b.db.Keys.PaymentsAll(), opened-1, hash(1, 1).Hex()+":"+bob+":0", opened, hash(2, 1).Hex()+":"+bob+":0")
	b.do("ZREM", b.db.Keys.Finals(), "7-id") // buried
	var nonces []uint64
	r, err := b.db.AuditOnce(ctx, func(p *Brief) { nonces = append(nonces, p.Nonce) })
	b.ok(err)
	var got []common.Hash
	for _, row := range r.ByHand {
		got = append(got, row.Hash)
	}
	if want := []common.Hash{common.HexToHash("0x4a9e"), hash(2, 1)}; !slices.Equal(got, want) {
		t.Errorf("rows by hand are %v, want %v", got, want)
	}
	if !slices.Equal(nonces, []uint64{7, 8, 10, 11, 12}) || r.Payments != 5 || !r.Clean() {
		t.Errorf("payments %v, %+v", nonces, r)
	}
}

// A payment whose row was put back counts once until it is taken up again.
func TestAuditCountsARowThatWasPutBackOnce(t *testing.T) {
	b := newBooks(t)
	held(b)
	b.clean()
	b.putRow(alice, 300)
	b.clean()
}

// An account may be given up for another and be taken again.
func TestAuditAllowsNoncesOfATimeBefore(t *testing.T) {
	b := newBooks(t)
	final(b)
	b.ok(b.lease.Init(ctx, 61, genesis, common.HexToAddress("0x02"), 0, 0, later))
	b.clean()
	b.ok(b.lease.Init(ctx, 61, genesis, account, 20, 20, later))
	b.clean()
	b.open(pay(20, bob, 1))
	b.clean()
}

// A pool at work moves money between two reads of the audit.
func TestAuditDoesNotMistakeWorkForLoss(t *testing.T) {
	b := newBooks(t)
	everyState(b)
	watch := b.spy()
	n := uint64(0)
	watch.after = func() {
		// credits one miner after every single read
		if n++; n < 200 {
			c := b.srv.Client()
			b.ok(c.HIncrBy(ctx, b.db.Keys.Miner(bob), "balance", 1).Err(), c.HIncrBy(ctx, b.db.Keys.Finances(), "balance", 1).Err())
		}
	}
	b.clean()
	if n == 0 {
		t.Error("nothing was credited")
	}
}

func TestAuditReportsWhatCannotBeRead(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	for _, key := range []string{k.PaymentsPending(), k.PaymentsAll(), k.Inflight(), k.Finals(), k.Meta(), k.Nonces(account), k.Opening(), k.Finances(), k.Immature(), k.Splits(), k.Plans(), k.CreditsImmature(100, hex64(7))} {
		everyState(b)
		b.putType(key, "list")
		if _, err := b.db.Audit(ctx); err == nil || !strings.Contains(err.Error(), key) {
			t.Errorf("%s is a list: error is %v, want one naming the key", key, err)
		}
	}
	everyState(b)
	b.putType(k.Payment("8-id"), "list")
	r, err := b.db.Audit(ctx)
	b.ok(err)
	if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return f.Key == k.Payment("8-id") && strings.Contains(f.Got, "is no hash") }) {
		t.Errorf("findings are %+v, want the payment's record", r.Findings)
	}
	everyState(b)
	b.do("HSET", k.Opening(), "*", "1:2")
	if _, err := b.db.Audit(ctx); err == nil || !strings.Contains(err.Error(), k.Opening()) {
		t.Errorf("error is %v, want one naming the key", err)
	}
	over, cancel := context.WithCancel(ctx)
	cancel()
	if r, err := b.db.Audit(over); err == nil {
		t.Errorf("after its context the audit says %+v", r)
	}
}

// What an older pool lost is told from what this one loses.
func TestOpenBooksKeepsWhatWasWrongBefore(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	b.begin()
	b.do("ZADD", k.PaymentsAll(), opened, old.Hex()+":"+pendingRow(alice, 60), opened, byHand.Hex()+":"+pendingRow(carol, 5))
	b.do("HINCRBY", k.Miner(alice), "paid", 100)
	b.do("HINCRBY", k.Miner(bob), "pending", 10)
	b.do("HINCRBY", k.Miner(alice), "immature", 3)
	b.do("HMSET", k.Finances(), "balance", 1497, "pending", 12, "paid", 90, "immature", 4)
	if r, err := b.db.Audit(ctx); err != nil || len(r.Findings) != 8 {
		t.Fatalf("before: %+v, %v", r.Findings, err)
	}

	b.ok(b.lease.OpenBooks(ctx))
	b.clean()
	r, err := b.db.Audit(ctx)
	b.ok(err)
	notes := strings.Join(r.Notes, "\n")
	for _, want := range []string{alice + " differed by 1100 credited, 40 paid, 0 pending and 3 immature", bob + " differed by 510 credited, 0 paid, 10 pending and 0 immature", carol + " differed by 0 credited, -5 paid, 0 pending"} {
		if !strings.Contains(notes, want) {
			t.Errorf("notes are %q, want %q", notes, want)
		}
	}

	b.openAndSend(pay(7, alice, 300))
	b.open(pay(8, bob, 20))
	b.clean()
	b.do("HINCRBY", k.Miner(alice), "paid", -1)
	b.ok(b.lease.OpenBooks(ctx)) // once is once
	r, err = b.db.Audit(ctx)
	b.ok(err)
	var got []string
	for _, f := range r.Findings {
		got = append(got, f.Key+": "+f.Equation)
	}
	if want := []string{k.Miner(alice) + ": balance + pending + paid = what blocks brought and 1100 from before", k.Miner(alice) + ": paid = its history and 40 from before",
		k.Finances() + ": paid = the sum over all miners and -10 from before"}; !slices.Equal(got, want) {
		t.Errorf("found %q, want %q", got, want)
	}
}

// A credit between two reads is no difference.
func TestOpenBooksReadsBooksThatHoldStill(t *testing.T) {
	b := newBooks(t)
	watch := b.spy()
	n := 0
	watch.after = func() {
		if n++; n < 15 {
			b.credit(bob, 7)
		}
	}
	b.ok(b.lease.OpenBooks(ctx))
	watch.after = nil
	if got := b.do("HGET", b.db.Keys.Opening(), "*"); got != "0:0:0:0" || n < 15 {
		t.Errorf("the totals differ by %v", got)
	}

	b.begin()
	n = -1 << 30
	amount := 0
	watch.after = func() { // it never holds still
		amount++
		b.do("HINCRBY", b.db.Keys.Finances(), "balance", amount)
	}
	err := b.lease.OpenBooks(ctx)
	watch.after = nil
	if err == nil {
		t.Error("the books changed at every reading, without an error")
	}
	if b.do("EXISTS", b.db.Keys.Opening()) != int64(0) {
		t.Error("differences were written down all the same")
	}
}

// A block whose credits are half made is no loss, wherever the unlocker stopped.
func TestAuditUnderstandsHalfCreditedBlocks(t *testing.T) {
	b := newBooks(t)
	hook := &knife{}
	b.db.rdb.AddHook(hook)
	for cut := 1; ; cut++ {
		b.begin()
		c := b.foundBlock(twoMiners)
		*hook = knife{cut: cut}
		err := b.db.Immature(ctx, c, onChain(c, 102, hex64(7), 91), splitOf(91, map[string]util.Shannon{alice: 60, bob: 30}))
		if err == nil {
			err = b.db.Mature(ctx, b.theBlockPast(hook), creditedAt)
		}
		*hook = knife{}
		b.clean()
		if err == nil {
			return
		}
	}
}

func TestADifferenceThatIsMeantIsAccepted(t *testing.T) {
	b := newBooks(t)
	if err := b.db.Accept(ctx, alice, 5); !errors.Is(err, ErrNotFound) {
		t.Errorf("before payouts have begun: %v", err)
	}
	everyState(b)
	b.credit(alice, 40)
	r, err := b.db.Audit(ctx)
	b.ok(err)
	if len(r.Findings) != 1 || r.Findings[0].Off != 40 {
		t.Fatalf("found %+v, want that alice has 40 more", r.Findings)
	}
	b.ok(b.db.Accept(ctx, alice, r.Findings[0].Off))
	b.clean()
	b.credit(alice, -10)
	if r, err := b.db.Audit(ctx); err != nil || len(r.Findings) != 1 || r.Findings[0].Off != -10 {
		t.Errorf("found %+v, %v, want that alice has 10 less", r.Findings, err)
	}
	b.do("HSET", b.db.Keys.Opening(), bob, "x")
	if err := b.db.Accept(ctx, bob, 1); err == nil || !strings.Contains(err.Error(), bob) {
		t.Errorf("a field that cannot be read: %v", err)
	}
}

func TestAnAuditIsWrittenDown(t *testing.T) {
	b := newBooks(t)
	if seen, err := b.db.Audited(ctx); seen != nil || err != nil {
		t.Errorf("before: %+v, %v", seen, err)
	}
	want := Audited{Account: account, Block: 90, Hash: block, Nonce: 8, Settled: 7, BalanceWei: util.Shannon(5).Wei()}
	b.ok(b.db.SaveAudit(ctx, later, Report{Looked: []string{LookedRedis, LookedChain}, Findings: make([]Finding, 3)}, &want))
	b.ok(b.db.SaveAudit(ctx, later+1, Report{Looked: []string{LookedRedis}, Findings: make([]Finding, 2)}, nil))
	m, err := b.db.Meta(ctx)
	b.ok(err)
	if m.AuditTime != later+1 || m.AuditFindings != 2 || m.AuditLooked != "redis" {
		t.Errorf("the last audit is %d, %d, %q", m.AuditTime, m.AuditFindings, m.AuditLooked)
	}
	if seen, err := b.db.Audited(ctx); err != nil || !reflect.DeepEqual(*seen, want) {
		t.Errorf("seen %+v, %v, want %+v", seen, err, want)
	}
	b.do("HSET", b.db.Keys.Meta(), "auditChain", "far")
	if _, err := b.db.Audited(ctx); !errors.Is(err, ErrMalformed) {
		t.Errorf("error is %v", err)
	}
	b.putType(b.db.Keys.Meta(), "list")
	if err := b.db.SaveAudit(ctx, later, Report{}, nil); err == nil {
		t.Error("it was written into a list")
	}
}
