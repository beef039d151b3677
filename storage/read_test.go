package storage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/google/go-cmp/cmp"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// logins of the readers' tests: the same account in two letter cases are two rows.
const (
	upper = "0xABCDEFABCDEFABCDEFABCDEFABCDEFABCDEFABCD"
	lower = "0xabcdefabcdefabcdefabcdefabcdefabcdefabcd"
)

func TestAPaymentIsReadAsItWasWritten(t *testing.T) {
	b := newBooks(t)
	p := pay(7, alice, 300, func(p *Payment) {
		p.Attempts = []Attempt{{Hash: hash(7, 1), Raw: []byte{1, 2}, FeeCap: util.Shannon(3).Wei(), TipCap: util.Shannon(1).Wei(), AtBlock: 9}}
	})
	b.open(p)
	final := *p
	mined(hash(7, 1))(&final)
	b.ok(b.lease.Final(ctx, later, 0, &final)...)
	ps, err := b.db.Payments(ctx, "7-id")
	b.ok(err)
	final.State = Final
	if got, want := fmt.Sprintf("%+v", *ps[0]), fmt.Sprintf("%+v", final); got != want {
		t.Errorf("read    %s\nwritten %s", got, want)
	}
	if _, err := b.db.Payments(ctx, "7-id", "8-id"); !errors.Is(err, ErrNotFound) || !strings.Contains(err.Error(), "8-id") {
		t.Errorf("error is %v, want ErrNotFound naming the payment", err)
	}
	if finals, err := b.db.Finals(ctx, 1000, 1000); len(finals) != 1 || err != nil {
		t.Errorf("finals in block 1000: %v, %v", finals, err)
	}
	if finals, err := b.db.Finals(ctx, 1001, 1<<62); len(finals) != 0 || err != nil {
		t.Errorf("finals from block 1001: %v, %v", finals, err)
	}
	if id, err := b.db.PaymentByHash(ctx, hash(7, 1)); id != "7-id" || err != nil {
		t.Errorf("payment by hash: %q, %v", id, err)
	}
	if id, err := b.db.PaymentByHash(ctx, byHand); id != "" || err != nil {
		t.Errorf("payment by an unknown hash: %q, %v", id, err)
	}
}

func TestInflightIsInNonceOrder(t *testing.T) {
	b := newBooks(t)
	b.ok(b.lease.Reinstate(ctx, pay(11, alice, 1), pay(9, bob, 1), pay(10, alice, 2))...)
	ps, _, err := b.db.Inflight(ctx)
	b.ok(err)
	var nonces []uint64
	for _, p := range ps {
		nonces = append(nonces, p.Nonce)
	}
	if !slices.Equal(nonces, []uint64{9, 10, 11}) {
		t.Errorf("nonces are %v", nonces)
	}
}

func TestARecordThatCannotBeReadIsAnErrorThatNamesIt(t *testing.T) {
	b := newBooks(t)
	key := b.db.Keys.Payment("7-id")
	for field, values := range map[string][]string{
		"kind": {"", "gift"}, "amount": {"", "a lot", "1.5", "9007199254740992"}, "time": {"", "now"}, "state": {"", "paid"},
		"account": {"", "0x1", "1000000000000000000000000000000000000001"}, "nonce": {"", "-1", "0x7"}, "to": {"", "bob"},
		"value": {"", "-1", "0x1", "<nil>"}, "gas": {"", "-1"}, "hash": {"0x1", "abc"}, "block": {"-1", "x"}, "blockHash": {"0x"},
		"fee": {"", "-1"}, "attempts": {"", "{}", "[]", "[{\"hash\":\"0x1\"}]", "[{\"raw\":1}]", "null"},
	} {
		for _, value := range values {
			b.begin()
			b.open(pay(7, alice, 300))
			b.do("HSET", key, field, value)
			_, unread, err := b.db.Inflight(ctx)
			b.ok(err)
			if len(unread) != 1 || unread[0].Nonce != 7 || unread[0].ID != "7-id" {
				t.Fatalf("%s = %q: unreadable are %+v", field, value, unread)
			}
			err = unread[0].Err
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), key+" field "+field) {
				t.Errorf("%s = %q: error is %v, want ErrMalformed naming the field", field, value, err)
			}
		}
	}
}

func TestTheLedgersOwnRow(t *testing.T) {
	b := newBooks(t)
	key := b.db.Keys.Meta()
	b.ok(b.lease.Note(ctx, "heartbeat", later, "halt", "why", "settledNonce", 7, "anchorBlock", 5, "anchorHash", block.Hex(), "sessionAmount", 12,
		"nextSession", later+60, "threshold", 500, "confirmations", 9, "wallet", 77, "paused", "holiday", "auditTime", later, "auditFindings", 2))
	m, err := b.db.Meta(ctx)
	b.ok(err)
	want := Meta{ChainID: 61, Genesis: genesis, Account: account, FirstNonce: first, NextNonce: first, SettledNonce: 7, Step: 1, Since: opened,
		AnchorBlock: 5, AnchorHash: block, Halt: "why", Heartbeat: later, Session: Session{Amount: 12},
		NextSession: later + 60, Threshold: 500, Confirmations: 9, Wallet: 77, Paused: "holiday", AuditTime: later, AuditFindings: 2}
	if m != want {
		t.Errorf("%+v, want %+v", m, want)
	}
	for field, value := range map[string]string{"step": "x", "chainId": "-1", "genesis": "0x1", "account": "me", "firstNonce": "", "nextNonce": "1.5", "settledNonce": "x",
		"since": "today", "anchorBlock": "x", "anchorHash": "0xgg", "heartbeat": "x", "sessionStarted": "x", "sessionPaid": "-1", "sessionAmount": "1e9",
		"nextSession": "soon", "threshold": "x", "confirmations": "x", "wallet": "1.5", "auditTime": "x", "auditFindings": "-1"} {
		b.begin()
		b.ok(b.lease.Note(ctx, "anchorBlock", 5, "anchorHash", block.Hex()))
		b.do("HSET", key, field, value)
		if _, err := b.db.Meta(ctx); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), key+" field "+field) {
			t.Errorf("%s = %q: error is %v, want ErrMalformed naming the field", field, value, err)
		}
	}
	b.do("DEL", key)
	if m, err := b.db.Meta(ctx); err != nil || m != (Meta{Wallet: -1}) {
		t.Errorf("of a new ledger: %+v, %v", m, err)
	}
}

func TestPendingRowsThatCannotBeReadComeBesideTheRest(t *testing.T) {
	b := newBooks(t)
	key := b.db.Keys.PaymentsPending()
	b.do("ZADD", key, 1462920526, "0x34AE12692BD4567A27e3E86411b58Ea6954BA773:25000000", 1462920600, lower+":1", 1462920700, upper+":2")
	bad := []string{"", "x", lower, lower + ":", lower + ":0", lower + ":-5", lower + ":1.5", lower + ":9007199254740992", ":5", "0X34AE12692BD4567A27e3E86411b58Ea6954BA773:5", lower + ":5:6"}
	for _, row := range bad {
		b.do("ZADD", key, 1, row)
	}
	rows, errs, err := b.db.Pending(ctx)
	b.ok(err)
	want := []PendingRow{{upper, 2, 1462920700}, {lower, 1, 1462920600}, {"0x34AE12692BD4567A27e3E86411b58Ea6954BA773", 25000000, 1462920526}}
	if !slices.Equal(rows, want) {
		t.Errorf("rows are %v, want %v", rows, want)
	}
	if rows[2].Row() != "0x34AE12692BD4567A27e3E86411b58Ea6954BA773:25000000" {
		t.Errorf("the row is %q", rows[2].Row())
	}
	if len(errs) != len(bad) {
		t.Errorf("%d errors, want %d: %v", len(errs), len(bad), errs)
	}
	for _, err := range errs {
		if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), key) {
			t.Errorf("error is %v, want ErrMalformed naming the key", err)
		}
	}
}

func TestMinersAreFoundUnderEveryPrefix(t *testing.T) {
	b := newBooks(t)
	for _, coin := range []string{"eth", "etc", "{eth}", "e*h", "e?h", "e[tx]h", `e\th`, "*", "[^x]th", "e-h"} {
		b.do("HSET", coin+":miners:"+lower, "balance", len(coin))
		b.do("HSET", coin+":miners:"+upper, "balance", 100)
	}
	watch := &spy{keys: map[string]bool{}}
	for _, coin := range []string{"{eth}", "e*h", "e?h", "e[tx]h", `e\th`, "*", "[^x]th", "e-h"} {
		db := b.connect(b.srv.Addr(), coin)
		due, bad, err := db.Due(ctx, 1)
		b.ok(err)
		if want := []Account{{lower, util.Shannon(len(coin))}, {upper, 100}}; !slices.Equal(due, want) || len(bad) != 0 {
			t.Errorf("coin %q: due is %v, bad is %v; want %v", coin, due, bad, want)
		}

		// All of a verb's keys have the prefix, and with it the hash tag.
		db.rdb.AddHook(watch)
		l, err := db.Acquire(ctx, token, "", 0)
		b.ok(err, l.Init(ctx, 61, genesis, account, first, first, opened))
		b.ok(l.Open(ctx, "", pay(7, upper, 50))...)
		b.ok(l.Sent(ctx, later, pay(7, upper, 50))...)
		for _, key := range watch.seen() {
			if !strings.HasPrefix(key, coin+":") {
				t.Errorf("coin %q: key %q", coin, key)
			}
		}
		if m, err := db.Miner(ctx, upper); err != nil || m.Paid != 50 {
			t.Errorf("coin %q: %+v, %v", coin, m, err)
		}
	}
}

func TestLoginsAreListedOnceInOrder(t *testing.T) {
	b := newBooks(t)
	b.do("FLUSHALL")
	k := b.db.Keys
	for i := range 5000 {
		b.do("HSET", k.Miner(fmt.Sprintf("0x%040x", i)), "balance", 1)
	}
	for _, login := range []string{upper, lower} {
		b.do("HSET", k.Miner(login), "balance", 1)
	}
	junk := []string{"", "me", lower + ":x", "0X" + lower[2:], lower[:41], lower + "0"}
	for _, login := range junk {
		b.do("HSET", k.Miner(login), "balance", 1)
	}
	logins, bad, err := b.db.Logins(ctx)
	b.ok(err)
	if len(logins) != 5002 || !slices.IsSorted(logins) || !slices.Contains(logins, upper) || !slices.Contains(logins, lower) {
		t.Errorf("%d logins", len(logins))
	}
	if len(bad) != len(junk) {
		t.Errorf("%d errors: %v", len(bad), bad)
	}
	for _, err := range bad {
		if !errors.Is(err, ErrMalformed) || !errors.Is(err, util.ErrLogin) || !strings.Contains(err.Error(), k.Miner("")) {
			t.Errorf("error is %v, want ErrMalformed naming the key", err)
		}
	}
}

func TestDueIsWhoHasEnoughTheSmallestFirst(t *testing.T) {
	b := newBooks(t)
	b.do("FLUSHALL")
	k := b.db.Keys
	for login, value := range map[string]string{alice: "500", bob: "100", carol: "99", lower: "100", upper: "9007199254740991"} {
		b.do("HSET", k.Miner(login), "balance", value)
	}
	login := func(n int) string { return fmt.Sprintf("0x%040x", n) }
	b.do("HSET", k.Miner(login(1)), "lastShare", "1")
	b.do("HSET", k.Miner(login(2)), "balance", "-5")
	b.do("HSET", k.Miner(login(3)), "balance", "a lot")
	b.do("HSET", k.Miner(login(4)), "balance", "500", "paid", "9007199254740992")
	b.do("SET", k.Miner(login(5)), "500")
	due, bad, err := b.db.Due(ctx, 100)
	b.ok(err)
	want := []Account{{lower, 100}, {bob, 100}, {alice, 500}, {upper, util.MaxShannon}}
	if !slices.Equal(due, want) {
		t.Errorf("due is %v, want %v", due, want)
	}
	for i, n := range []int{3, 4, 5} {
		if len(bad) != 3 || !errors.Is(bad[i], ErrMalformed) || !strings.Contains(bad[i].Error(), k.Miner(login(n))) {
			t.Fatalf("errors are %v", bad)
		}
	}
	if due, _, err := b.db.Due(ctx, 0); err != nil || len(due) != 5 {
		t.Errorf("above nothing: due is %v, %v; a balance of nothing is never due", due, err)
	}
}

func TestAMinersRow(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	b.do("HSET", k.Miner(upper), "balance", 1, "pending", 2, "paid", -3, "immature", 4)
	if m, err := b.db.Miner(ctx, upper); err != nil || m != (Miner{upper, 1, 2, -3, 4}) {
		t.Errorf("%+v, %v", m, err)
	}
	if _, err := b.db.Miner(ctx, lower); !errors.Is(err, ErrNotFound) {
		t.Errorf("error is %v, want ErrNotFound", err)
	}
	b.do("HSET", k.Miner(lower), "immature", "1e3")
	b.do("SET", k.Miner(carol), "x")
	for _, login := range []string{lower, carol} {
		if _, err := b.db.Miner(ctx, login); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), k.Miner(login)) {
			t.Errorf("error is %v, want ErrMalformed naming the key", err)
		}
	}
	b.do("HSET", k.Finances(), "paid", "much")
	if _, err := b.db.Finances(ctx); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), k.Finances()) {
		t.Errorf("error is %v, want ErrMalformed naming the key", err)
	}
}

func TestHistoryFindsRowsUnderEveryLetterCaseOldestFirst(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	tx := func(n int) string { return fmt.Sprintf("0x%064x", n) }
	b.do("ZADD", k.PaymentsAll(), 10, tx(1)+":"+upper+":1", 20, tx(2)+":"+lower+":2", 30, tx(3)+":"+bob+":3", 40, tx(4)+":"+upper+":4",
		15, strings.ToUpper(tx(0xabc))[2:]+":"+upper+":9", 16, "nonsense", 17, "0x1:"+upper+":much", 18, "x:y:z:1")
	// the manual's own example has 63 digits
	b.do("ZADD", k.Payments(upper), 10, tx(1)+":1", 40, tx(4)+":4", 25, "0xe670ec64341771606e55d6b4ca35a1a6b75ee3d5145a99d05921026d1527331:25", 26, "x")
	got, err := b.db.History(ctx, upper, 0)
	b.ok(err)
	want := []Paid{
		{common.HexToHash("0x1"), upper, 1, 10},
		{common.HexToHash("0x2"), upper, 2, 20},
		{common.HexToHash("0x0e670ec64341771606e55d6b4ca35a1a6b75ee3d5145a99d05921026d1527331"), upper, 25, 25},
		{common.HexToHash("0x4"), upper, 4, 40},
	}
	if !slices.Equal(got, want) {
		t.Errorf("history is %v, want %v", got, want)
	}
	if got, err := b.db.History(ctx, lower, 20); err != nil || len(got) != 2 {
		t.Errorf("since 20: %v, %v", got, err)
	}
}

func TestWhatOlderPoolsWroteBesideAPendingRow(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	r := PendingRow{Login: alice, Amount: 300}
	read := func() (uint64, bool, common.Hash, bool, error) {
		n, ok1, err1 := b.db.OldNonce(ctx, r)
		h, ok2, err2 := b.db.OldHash(ctx, r)
		return n, ok1, h, ok2, errors.Join(err1, err2)
	}
	if _, ok1, _, ok2, err := read(); ok1 || ok2 || err != nil {
		t.Errorf("nothing written: %v, %v, %v", ok1, ok2, err)
	}
	for _, nonce := range []string{"12", "0xc"} {
		b.do("HSET", k.PendingNonces(), r.Row(), nonce)
		b.do("HSET", k.PendingHashes(), r.Row(), byHand.Hex())
		if n, ok1, h, ok2, err := read(); n != 12 || !ok1 || h != byHand || !ok2 || err != nil {
			t.Errorf("%d %v, %s %v, %v", n, ok1, h, ok2, err)
		}
	}
	b.do("HSET", k.PendingHashes(), r.Row(), "")
	if _, ok, err := b.db.OldHash(ctx, r); ok || err != nil {
		t.Errorf("an empty hash: %v, %v", ok, err)
	}
	for _, nonce := range []string{"", "-1", "x", "18446744073709551616"} {
		b.do("HSET", k.PendingNonces(), r.Row(), nonce)
		if _, _, err := b.db.OldNonce(ctx, r); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), k.PendingNonces()) {
			t.Errorf("nonce %q: error is %v, want ErrMalformed naming the key", nonce, err)
		}
	}
	for _, hash := range []string{"abc", "0x", "0xgg", byHand.Hex() + "00"} {
		b.do("HSET", k.PendingHashes(), r.Row(), hash)
		if _, _, err := b.db.OldHash(ctx, r); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), k.PendingHashes()) {
			t.Errorf("hash %q: error is %v, want ErrMalformed naming the key", hash, err)
		}
	}
}

func TestNoncesAreReadInPieces(t *testing.T) {
	b := newBooks(t)
	for _, n := range []int{0, 999, 1000, 1001, 2500} {
		b.do("HSET", b.db.Keys.Nonces(account), n, fmt.Sprint("id", n))
	}
	bound, err := b.db.NoncesFrom(ctx, account, 1, 2500)
	b.ok(err)
	if len(bound) != 3 || bound[999] != "id999" || bound[1000] != "id1000" || bound[1001] != "id1001" {
		t.Errorf("bound are %v", bound)
	}
	if bound, err := b.db.NoncesFrom(ctx, account, 5, 5); len(bound) != 0 || err != nil {
		t.Errorf("of no nonces: %v, %v", bound, err)
	}
	if v, err := b.db.Nonce(ctx, account, 2500); v != "id2500" || err != nil {
		t.Errorf("nonce 2500: %q, %v", v, err)
	}
	if v, err := b.db.Nonce(ctx, account, 2501); v != "" || err != nil {
		t.Errorf("nonce 2501: %q, %v", v, err)
	}
}

func TestKnownSaysWhatTheLedgerHolds(t *testing.T) {
	b := newBooks(t)
	b.openAndSend(pay(7, alice, 300))
	b.ok(b.lease.Attempts(ctx, pay(7, alice, 300, withAttempts(2)), 1))
	known, err := b.db.Known(ctx, "6-id", "7-id")
	b.ok(err)
	if want := []Known{{}, {Exists: true, State: Sent, Tries: 2}}; !slices.Equal(known, want) {
		t.Errorf("known are %v, want %v", known, want)
	}
	if known, err := b.db.Known(ctx); len(known) != 0 || err != nil {
		t.Errorf("of nothing: %v, %v", known, err)
	}
}

func TestKnownTellsTheUnreadableFromTheAbsent(t *testing.T) {
	for _, harm := range [][]any{{"HSET", "tries", "few"}, {"HDEL", "tries"}, {"HDEL", "state"}, {"HSET", "state", ""}, {"SET", "x"}} {
		b := newBooks(t)
		b.openAndSend(pay(7, alice, 300))
		b.openAndSend(pay(8, bob, 300))
		key := b.db.Keys.Payment("7-id")
		if harm[0] == "SET" {
			b.do("DEL", key)
		}
		b.do(slices.Insert(slices.Clone(harm), 1, any(key))...)
		known, err := b.db.Known(ctx, "6-id", "7-id", "8-id")
		b.ok(err)
		if k := known[1]; !k.Exists || !errors.Is(k.Err, ErrMalformed) || !strings.Contains(k.Err.Error(), key) {
			t.Errorf("%v: known is %+v, want it to exist with an ErrMalformed naming the key", harm, k)
		}
		if known[0] != (Known{}) || known[2] != (Known{Exists: true, State: Sent, Tries: 1}) {
			t.Errorf("%v: beside it are %+v", harm, known)
		}
	}
}

func TestRejectsAreReadAndBgSaveMayRunAlready(t *testing.T) {
	b := newBooks(t)
	b.ok(b.lease.Reject(ctx, alice, "reverts"))
	if r, err := b.db.Rejects(ctx); err != nil || len(r) != 1 || r[alice] != "reverts" {
		t.Errorf("rejects are %v, %v", r, err)
	}
	b.ok(b.db.BgSave(ctx))
	proxy := fault.Redis(t, b.srv.Addr())
	through := b.connect(proxy.Addr(), "eth")
	proxy.Every(func(fault.Message) fault.Action {
		return fault.Reply([]byte("-ERR Background save already in progress\r\n"))
	})
	b.ok(through.BgSave(ctx))
}

func TestAMinerThatScanShowsTwiceIsDueOnceWithTheLaterBalance(t *testing.T) {
	b := newBooks(t)
	proxy := fault.Redis(t, b.srv.Addr())
	through := b.connect(proxy.Addr(), "eth")
	key := func(login string) string { k := b.db.Keys.Miner(login); return fmt.Sprintf("$%d\r\n%s\r\n", len(k), k) }
	pages := []string{
		"*3\r\n$1\r\n7\r\n*4\r\n" + key(alice) + "$3\r\n100\r\n" + key(bob) + "$3\r\n150\r\n*0\r\n",
		"*3\r\n$1\r\n0\r\n*2\r\n" + key(alice) + "$3\r\n200\r\n*0\r\n", // credited in between
	}
	proxy.Every(func(m fault.Message) fault.Action {
		if !strings.EqualFold(m.Args[0], "eval") {
			return fault.Pass
		}
		page := pages[0]
		pages = pages[1:]
		return fault.Reply([]byte(page))
	})
	due, bad, err := through.Due(ctx, 100)
	b.ok(err)
	if want := []Account{{bob, 150}, {alice, 200}}; len(bad) != 0 || !slices.Equal(due, want) {
		t.Errorf("due are %v, set aside %v, want %v", due, bad, want)
	}
}

// readers are all reads, each of something that is there.
var readers = map[string]func(db *DB) error{
	"LockValue":     func(db *DB) error { _, err := db.LockValue(ctx); return err },
	"Meta":          func(db *DB) error { _, err := db.Meta(ctx); return err },
	"Pending":       func(db *DB) error { _, _, err := db.Pending(ctx); return err },
	"Inflight":      func(db *DB) error { _, _, err := db.Inflight(ctx); return err },
	"Finals":        func(db *DB) error { _, err := db.Finals(ctx, 0, 9); return err },
	"Payments":      func(db *DB) error { _, err := db.Payments(ctx, "7-id"); return err },
	"Known":         func(db *DB) error { _, err := db.Known(ctx, "7-id"); return err },
	"Nonce":         func(db *DB) error { _, err := db.Nonce(ctx, account, 7); return err },
	"NoncesFrom":    func(db *DB) error { _, err := db.NoncesFrom(ctx, account, 7, 8); return err },
	"PaymentByHash": func(db *DB) error { _, err := db.PaymentByHash(ctx, hash(7, 1)); return err },
	"History":       func(db *DB) error { _, err := db.History(ctx, alice, 0); return err },
	"Rejects":       func(db *DB) error { _, err := db.Rejects(ctx); return err },
	"Due":           func(db *DB) error { _, _, err := db.Due(ctx, 1); return err },
	"Miner":         func(db *DB) error { _, err := db.Miner(ctx, alice); return err },
	"Logins":        func(db *DB) error { _, _, err := db.Logins(ctx); return err },
	"Finances":      func(db *DB) error { _, err := db.Finances(ctx); return err },
	"OldNonce":      func(db *DB) error { _, _, err := db.OldNonce(ctx, PendingRow{Login: alice, Amount: 300}); return err },
	"OldHash":       func(db *DB) error { _, _, err := db.OldHash(ctx, PendingRow{Login: alice, Amount: 300}); return err },
	"Audit":         func(db *DB) error { _, err := db.Audit(ctx); return err },
	"Audited":       func(db *DB) error { _, err := db.Audited(ctx); return err },
	"Briefs":        func(db *DB) error { _, errs := db.Briefs(ctx, "7-id"); return errs[0] },
	"InHistory":     func(db *DB) error { _, err := db.InHistory(ctx, Paid{Login: alice}); return err },
	"BlocksBetween": func(db *DB) error { _, err := db.BlocksBetween(ctx, 1, 2); return err },
	"BgSave":        func(db *DB) error { return db.BgSave(ctx) },
}

// "Could not read" is never an empty list, nor a miner who is not there: not
// when the connection breaks, and not when Redis answers that it is loading.
func TestWhatCouldNotBeReadIsAnError(t *testing.T) {
	b := newBooks(t)
	b.open(pay(7, alice, 300))
	proxy := fault.Redis(t, b.srv.Addr())
	for what, a := range map[string]fault.Action{
		"the connection breaks": fault.Drop,
		"redis is loading":      fault.Reply([]byte("-LOADING Redis is loading the dataset in memory\r\n")),
	} {
		for name, read := range readers {
			db := b.connect(proxy.Addr(), "eth")
			var asked, fails atomic.Int64 // messages so far, and the one that fails
			proxy.Every(func(m fault.Message) fault.Action {
				if strings.HasPrefix(m.Name, "HELLO") { // a new connection
					return fault.Pass
				}
				if asked.Add(1) == fails.Load() {
					return a
				}
				return fault.Pass
			})
			b.ok(read(db))
			for n := range asked.Load() {
				asked.Store(0)
				fails.Store(n + 1)
				if err := read(db); err == nil || errors.Is(err, ErrNotFound) || errors.Is(err, ErrMalformed) {
					t.Errorf("%s, at message %d of %s: error is %v", what, n+1, name, err)
				}
			}
			proxy.Every(nil)
		}
	}
}

func TestOpenSaysThatRedisIsNotThere(t *testing.T) {
	b := newBooks(t)
	b.srv.Kill()
	if _, err := Open(ctx, Config{Endpoint: b.srv.Addr(), PoolSize: 1, Mode: ModeSingle}, "eth"); err == nil || !strings.Contains(err.Error(), b.srv.Addr()) {
		t.Errorf("error is %v, want one naming the address", err)
	}
}

func TestWhomTheLastSessionDidNotPay(t *testing.T) {
	b := newBooks(t)
	b.begin()
	b.ok(b.lease.Skipped(ctx, map[string]Skip{alice: {Reason: "held", Why: "x"}}))
	b.ok(b.lease.Skipped(ctx, map[string]Skip{bob: {Reason: "recipient_rejects", Why: `"code"`}}))
	got, err := b.db.Skipped(ctx)
	b.ok(err)
	if diff := cmp.Diff(map[string]Skip{bob: {Reason: "recipient_rejects", Why: `"code"`}}, got); diff != "" {
		t.Error(diff)
	}
	b.do("HSET", b.db.Keys.Skipped(), alice, "held")
	if _, err := b.db.Skipped(ctx); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), alice) {
		t.Errorf("error is %v, want ErrMalformed naming the field", err)
	}
}
