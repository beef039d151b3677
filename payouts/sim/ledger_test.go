package sim

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

var ctx = context.Background()

const opened = 1_462_920_526 // unix seconds of every debit

// twins are the simulated ledger and the real one, which must not drift apart:
// whatever is done to one is done to the other, and they are compared.
type twins struct {
	sim    *ledger
	real   payouts.Ledger
	db     *storage.DB
	redis  *redis.Client
	leases [2]payouts.Lease // of the two, in that order
	serial int
	older  []both
}

// both is both ledgers at one time.
type both struct {
	books *books
	keys  map[string]string
}

func newTwins(t testing.TB) *twins {
	srv := storagetest.Start(t)
	db, err := storage.Open(ctx, storage.Config{Endpoint: srv.Addr(), PoolSize: 4, Mode: storage.ModeSingle}, "eth")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return &twins{real: payouts.Redis(db), db: db, redis: srv.Client()}
}

func (w *twins) begin(t *rapid.T) {
	w.sim, w.older, w.serial = &ledger{books: newBooks()}, nil, 0
	w.do(t, "FLUSHALL")
	w.acquire(t, "token 1", "", 0)
	if !seldom(t, "unused") {
		w.actions()["init"](t)
	}
	for range 3 {
		w.actions()["credit"](t)
	}
}

func (w *twins) do(t *rapid.T, args ...any) {
	t.Helper()
	if err := w.redis.Do(ctx, args...).Err(); err != nil && !errors.Is(err, redis.Nil) {
		t.Fatalf("%v: %v", args, err)
	}
}

// kind is what callers tell errors apart by.
func kind(err error) string {
	var held *storage.HeldError
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &held):
		return "held by " + held.Value
	case errors.Is(err, storage.ErrLost):
		return "lost"
	case errors.Is(err, storage.ErrRolledBack):
		return "rolled back"
	case errors.Is(err, storage.ErrByHand):
		return "by hand"
	case errors.Is(err, storage.ErrConflict):
		return "conflict"
	case errors.Is(err, storage.ErrNotFound):
		return "not found"
	}
	return "other"
}

func (w *twins) acquire(t *rapid.T, token, gone string, known uint64) {
	sim, err1 := w.sim.Acquire(ctx, token, gone, known)
	real, err2 := w.real.Acquire(ctx, token, gone, known)
	if kind(err1) != kind(err2) {
		t.Fatalf("acquire: %v, really %v", err1, err2)
	}
	if err1 == nil {
		w.leases = [2]payouts.Lease{sim, real}
	}
}

// both does the same with each lease and compares the verdicts.
func (w *twins) both(t *rapid.T, verb string, do func(payouts.Lease) []error) {
	t.Helper()
	sim, real := do(w.leases[0]), do(w.leases[1])
	for i := range sim {
		if kind(sim[i]) != kind(real[i]) {
			t.Fatalf("%s: item %d: %v, really %v", verb, i, sim[i], real[i])
		}
	}
	if a, b := w.leases[0].Step(), w.leases[1].Step(); a != b {
		t.Fatalf("%s: step %d, really %d", verb, a, b)
	}
}

func (w *twins) one(t *rapid.T, verb string, do func(payouts.Lease) error) {
	t.Helper()
	w.both(t, verb, func(l payouts.Lease) []error { return []error{do(l)} })
}

var logins = []string{
	"0xAAAAaaaaAAAAaaaaAAAAaaaaAAAAaaaaAAAA0001", "0xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb0002", "0xcCcccccccccccccccccccccccccccccccccc0003"}

var testAccount = common.HexToAddress("0x1000000000000000000000000000000000000001")

func login(t *rapid.T) string { return rapid.SampledFrom(logins).Draw(t, "login") }

func amount(t *rapid.T) util.Shannon { return util.Shannon(rapid.IntRange(1, 400).Draw(t, "amount")) }

// seldom is true once in a while.
func seldom(t *rapid.T, what string) bool { return rapid.IntRange(0, 9).Draw(t, what) == 0 }

func (w *twins) hash(t *rapid.T) common.Hash {
	if len(w.sim.books.hashes) > 0 && seldom(t, "known hash") {
		return rapid.SampledFrom(slices.SortedFunc(maps.Keys(w.sim.books.hashes), common.Hash.Cmp)).Draw(t, "hash")
	}
	w.serial++
	return common.HexToHash(fmt.Sprintf("0x%x", 0xfeed0000+w.serial))
}

// draft is a payment as it is opened, at the next nonce mostly.
func (w *twins) draft(t *rapid.T) *storage.Payment {
	nonce := w.sim.books.number("nextNonce")
	if seldom(t, "another nonce") {
		nonce = uint64(rapid.IntRange(0, 12).Draw(t, "nonce"))
	}
	w.serial++
	p := &storage.Payment{ID: fmt.Sprintf("%d-%d", nonce, w.serial), Kind: storage.ToMiner, Login: login(t), Amount: amount(t), Time: opened,
		State: storage.Signed, Account: testAccount, Nonce: nonce, Gas: 21000}
	if rapid.IntRange(0, 3).Draw(t, "filler") == 0 {
		p.Kind, p.Login, p.Amount, p.ID = storage.Filler, "", 0, p.ID+"f"
		p.Replaces = w.sim.books.nonces[testAccount][nonce]
	}
	p.Value = p.Amount.Wei()
	p.Attempts = []storage.Attempt{{Hash: w.hash(t), Raw: []byte{byte(w.serial)}, GasPrice: util.Shannon(2).Wei(), AtBlock: 100}}
	if seldom(t, "the node signs") {
		p.Attempts[0].Hash, p.Attempts[0].Raw = common.Hash{}, nil
	}
	return p
}

// any is one of the payments there are, as it is or a little changed.
func (w *twins) any(t *rapid.T) *storage.Payment {
	ids := slices.Sorted(maps.Keys(w.sim.books.payments))
	if len(ids) == 0 || seldom(t, "unknown payment") {
		return w.draft(t)
	}
	ps, err := w.sim.copies([]string{rapid.SampledFrom(ids).Draw(t, "payment")})
	if err != nil {
		t.Fatal(err)
	}
	p := ps[0]
	if seldom(t, "changed") {
		switch rapid.IntRange(0, 5).Draw(t, "change") {
		case 0:
			p.Amount++
		case 1:
			p.Login = login(t)
		case 2:
			p.Nonce++
		case 3:
			p.Attempts = append(p.Attempts, storage.Attempt{Hash: w.hash(t)})
		case 4:
			p.State = rapid.SampledFrom([]storage.State{storage.Signed, storage.Held, storage.Sent}).Draw(t, "state")
		case 5:
			p.Gas++
		}
	}
	return p
}

func (w *twins) some(t *rapid.T, one func(*rapid.T) *storage.Payment) []*storage.Payment {
	ps := []*storage.Payment{one(t)}
	for len(ps) < 3 && seldom(t, "one more") {
		ps = append(ps, one(t))
	}
	return ps
}

// each hands every lease copies of its own, because a verb's caller may keep them.
func each(ps []*storage.Payment) []*storage.Payment {
	out := make([]*storage.Payment, len(ps))
	for i, p := range ps {
		q := *p
		out[i] = &q
	}
	return out
}

func (w *twins) actions() map[string]func(*rapid.T) {
	genesis := common.HexToHash("0x9e")
	held := func(t *rapid.T) util.Shannon { return util.Shannon(rapid.IntRange(0, 300).Draw(t, "held")) }
	return map[string]func(*rapid.T){
		"credit": func(t *rapid.T) {
			l, a := login(t), amount(t)
			w.serial++
			w.sim.books.credit(w.serial, l, a)
			w.do(t, "HINCRBY", w.db.Keys.Miner(l), "balance", int64(a))
			w.do(t, "HINCRBY", w.db.Keys.Finances(), "balance", int64(a))
			w.do(t, "ZADD", w.db.Keys.Matured(), 1, oneBlock)
			w.do(t, "HINCRBY", w.db.Keys.Credits(1, oneBlockHash), l, int64(a))
		},
		"init": func(t *rapid.T) {
			chain, account := uint64(61), testAccount
			if seldom(t, "another chain") {
				chain = 1
			}
			if seldom(t, "another account") {
				account[0]++
			}
			w.one(t, "init", func(l payouts.Lease) error { return l.Init(ctx, chain, genesis, account, 7, 7, opened) })
		},
		"open the books": func(t *rapid.T) { w.one(t, "openbooks", func(l payouts.Lease) error { return l.OpenBooks(ctx) }) },
		"open": func(t *rapid.T) {
			ps := w.some(t, w.draft)
			if len(ps) > 1 && rapid.Bool().Draw(t, "in a row") {
				for i, p := range ps {
					p.Nonce = ps[0].Nonce + uint64(i)
				}
			}
			if seldom(t, "again") {
				ps = w.some(t, w.any)
			}
			bound := ""
			if ps[0].Kind == storage.Filler || seldom(t, "bound") {
				bound = w.sim.books.nonces[testAccount][ps[0].Nonce]
			}
			w.both(t, "open", func(l payouts.Lease) []error { return l.Open(ctx, bound, each(ps)...) })
		},
		"fill a dead nonce": func(t *rapid.T) {
			for n := range w.sim.books.number("nextNonce") {
				if bound := w.sim.books.nonces[testAccount][n]; bound == "" || strings.Contains(bound, ":") {
					p := w.draft(t)
					p.Kind, p.Login, p.Amount, p.Nonce = storage.Filler, "", 0, n
					w.both(t, "fill", func(l payouts.Lease) []error { return l.Open(ctx, bound, each([]*storage.Payment{p})...) })
					return
				}
			}
		},
		"reinstate": func(t *rapid.T) {
			ps := w.some(t, w.draft)
			if seldom(t, "again") {
				ps = w.some(t, w.any)
			}
			w.both(t, "reinstate", func(l payouts.Lease) []error { return l.Reinstate(ctx, each(ps)...) })
		},
		"attempt": func(t *rapid.T) {
			p := w.any(t)
			before := len(p.Attempts)
			switch rapid.IntRange(0, 3).Draw(t, "attempt") {
			case 0:
				p.Last().Refused = "insufficient funds"
			case 1:
				before++
			default:
				p.Attempts = append(p.Attempts, storage.Attempt{Hash: w.hash(t), AtBlock: 200})
			}
			w.one(t, "attempts", func(l payouts.Lease) error { return l.Attempts(ctx, p, before) })
		},
		"sent": func(t *rapid.T) {
			ps := w.some(t, w.any)
			w.both(t, "sent", func(l payouts.Lease) []error { return l.Sent(ctx, opened+60, each(ps)...) })
		},
		"final": func(t *rapid.T) {
			ps, h := w.some(t, w.any), held(t)
			for _, p := range ps {
				if p.FeeWei == nil || seldom(t, "another block") {
					p.Block, p.BlockHash, p.FeeWei = uint64(rapid.IntRange(1, 9).Draw(t, "block")), common.HexToHash("0xb10c"), util.Shannon(21000).Wei()
				}
				if p.Hash == (common.Hash{}) || rapid.Bool().Draw(t, "winner") {
					p.Hash = rapid.SampledFrom(p.Attempts).Draw(t, "attempt").Hash
				}
				if p.Hash == (common.Hash{}) {
					p.Hash = w.hash(t)
				}
			}
			w.both(t, "final", func(l payouts.Lease) []error { return l.Final(ctx, opened+90, h, each(ps)...) })
		},
		"mined": func(t *rapid.T) {
			ps := w.some(t, w.any)
			for _, p := range ps {
				p.Block = uint64(rapid.IntRange(0, 9).Draw(t, "block"))
			}
			w.both(t, "mined", func(l payouts.Lease) []error { return l.Mined(ctx, each(ps)...) })
		},
		"unfinal": func(t *rapid.T) {
			p := w.any(t)
			w.one(t, "unfinal", func(l payouts.Lease) error { return l.Unfinal(ctx, p, "a reorg") })
		},
		"void": func(t *rapid.T) {
			p := w.any(t)
			fate := rapid.SampledFrom([]storage.NonceFate{storage.NonceFree, storage.NonceOwn, storage.NonceForeign(common.HexToHash("0xf0"))}).Draw(t, "fate")
			reject := rapid.SampledFrom([]string{"", "it reverts"}).Draw(t, "reject")
			w.one(t, "void", func(l payouts.Lease) error { return l.Void(ctx, p, fate, "why", reject) })
		},
		"adopt": func(t *rapid.T) {
			p, h := w.any(t), held(t)
			if p.Kind != storage.ToMiner {
				return // nobody writes down a filler
			}
			p.Hash = w.hash(t)
			p.Attempts = append(p.Attempts, storage.Attempt{Hash: p.Hash, ByHand: true})
			if rapid.Bool().Draw(t, "remove") {
				w.zrem(t, p.PendingRow())
			}
			if rapid.Bool().Draw(t, "store") {
				w.store(t, p)
			}
			adopt := payouts.Lease.Adopt
			if rapid.Bool().Draw(t, "with its row") {
				adopt = payouts.Lease.AdoptWithRow
			}
			w.one(t, "adopt", func(l payouts.Lease) error { return adopt(l, ctx, p, opened+60, h, "by hand") })
		},
		"hold": func(t *rapid.T) {
			p := w.any(t)
			w.one(t, "hold", func(l payouts.Lease) error { return l.Hold(ctx, p, "gone") })
		},
		"unhold": func(t *rapid.T) {
			p := w.any(t)
			w.one(t, "unhold", func(l payouts.Lease) error { return l.Unhold(ctx, p) })
		},
		"put back": func(t *rapid.T) {
			p := w.any(t)
			w.one(t, "put back", func(l payouts.Lease) error { return l.PutBack(ctx, p) })
		},
		"remove a row": func(t *rapid.T) {
			if rows := slices.Sorted(maps.Keys(w.sim.books.pending)); len(rows) > 0 {
				w.zrem(t, rapid.SampledFrom(rows).Draw(t, "row"))
			}
		},
		"put a row": func(t *rapid.T) {
			p := w.any(t)
			if p.Kind == storage.ToMiner {
				w.sim.books.pending[p.PendingRow()] = p.Time
				w.do(t, "ZADD", w.db.Keys.PaymentsPending(), p.Time, p.PendingRow())
			}
		},
		"an older pool debits": func(t *rapid.T) {
			l, a := login(t), amount(t)
			w.sim.books.move(l, a, balance, pending)
			for _, key := range []string{w.db.Keys.Miner(l), w.db.Keys.Finances()} {
				w.do(t, "HINCRBY", key, "balance", -int64(a))
				w.do(t, "HINCRBY", key, "pending", int64(a))
			}
			row := storage.PendingRow{Login: l, Amount: a}.Row()
			w.sim.books.pending[row], w.sim.books.oldTx[row] = opened, common.HexToHash("0x01d").Hex()
			w.do(t, "ZADD", w.db.Keys.PaymentsPending(), opened, row)
			w.do(t, "HSET", w.db.Keys.PendingHashes(), row, common.HexToHash("0x01d").Hex())
		},
		"settle an old row": func(t *rapid.T) {
			rows, _, _ := w.sim.Pending(ctx)
			r := storage.PendingRow{Login: login(t), Amount: amount(t), Time: opened}
			if len(rows) > 0 {
				r = rapid.SampledFrom(rows).Draw(t, "row")
			}
			if tx := w.hash(t); rapid.Bool().Draw(t, "paid") {
				w.one(t, "paid old", func(l payouts.Lease) error { return l.PaidOld(ctx, r, tx, opened+5) })
			} else {
				w.one(t, "credit back old", func(l payouts.Lease) error { return l.CreditBackOld(ctx, r) })
			}
		},
		"ignore": func(t *rapid.T) {
			tx := w.hash(t)
			w.one(t, "ignore", func(l payouts.Lease) error { return l.Ignore(ctx, tx) })
		},
		"foreign": func(t *rapid.T) {
			nonce, tx := w.draft(t).Nonce, w.hash(t)
			var to *common.Address
			if rapid.Bool().Draw(t, "moved something") {
				to = &testAccount
			}
			w.one(t, "foreign", func(l payouts.Lease) error { return l.Foreign(ctx, testAccount, nonce, tx, "", to) })
		},
		"reject": func(t *rapid.T) {
			who, why := login(t), rapid.SampledFrom([]string{"", "reverts"}).Draw(t, "why")
			w.one(t, "reject", func(l payouts.Lease) error { return l.Reject(ctx, who, why) })
		},
		"bury": func(t *rapid.T) {
			ps := w.some(t, w.any)
			w.one(t, "bury", func(l payouts.Lease) error { return l.Bury(ctx, each(ps)...) })
		},
		"record": func(t *rapid.T) {
			p := w.any(t)
			if p.Kind != storage.ToMiner {
				return // nobody records a filler
			}
			tx := p.Hash
			if tx == (common.Hash{}) || rapid.Bool().Draw(t, "another") {
				tx = w.hash(t)
			}
			if rapid.Bool().Draw(t, "ask") {
				w.one(t, "recordable", func(l payouts.Lease) error { return l.Recordable(ctx, p.Login, p.Amount, tx, opened+9) })
			}
			w.one(t, "record", func(l payouts.Lease) error { return l.Record(ctx, p.Login, p.Amount, tx, opened+9) })
		},
		"note": func(t *rapid.T) {
			halt := rapid.SampledFrom([]string{"", "refused"}).Draw(t, "halt")
			w.one(t, "note", func(l payouts.Lease) error {
				return l.Note(ctx, "halt", halt, "heartbeat", opened, "wallet", int64(5), "anchorBlock", uint64(9), "anchorHash", genesis.Hex())
			})
		},
		"skipped": func(t *rapid.T) {
			who := login(t)
			w.one(t, "skipped", func(l payouts.Lease) error {
				return l.Skipped(ctx, map[string]storage.Skip{who: {Reason: "held", Why: "it is \"so\""}})
			})
		},
		"verify": func(t *rapid.T) {
			ps := w.some(t, w.any)
			w.one(t, "verify", func(l payouts.Lease) error { return l.Verify(ctx, ps...) })
		},
		"take the lock": func(t *rapid.T) {
			token := rapid.SampledFrom([]string{"token 1", "token 1", "token 2"}).Draw(t, "token")
			gone := rapid.SampledFrom([]string{"", "token 1", "token 2"}).Draw(t, "gone")
			w.acquire(t, token, gone, w.leases[0].Step())
		},
		"release": func(t *rapid.T) {
			w.one(t, "release", func(l payouts.Lease) error { return l.Release(ctx) })
			if rapid.Bool().Draw(t, "and go on") {
				w.acquire(t, "token 1", "", w.leases[0].Step())
			}
		},
		"resync":   func(t *rapid.T) { w.one(t, "resync", func(l payouts.Lease) error { return l.Resync(ctx) }) },
		"snapshot": func(t *rapid.T) { w.older = append(w.older, w.snapshot(t)) },
		"restore": func(t *rapid.T) {
			if len(w.older) > 0 {
				w.restore(t, rapid.SampledFrom(w.older).Draw(t, "snapshot"))
			}
		},
		"read": w.reads,
		"":     w.compare,
	}
}

func (w *twins) zrem(t *rapid.T, row string) {
	delete(w.sim.books.pending, row)
	w.do(t, "ZREM", w.db.Keys.PaymentsPending(), row)
}

// store types a payment into the history, as a person does.
func (w *twins) store(t *rapid.T, p *storage.Payment) {
	typed := rapid.SampledFrom([]string{p.Hash.Hex(), "0x" + strings.TrimLeft(p.Hash.Hex()[2:], "0")}).Draw(t, "typed")
	w.sim.books.addHistory(typed, p.Login, p.Amount, p.Time)
	w.do(t, "ZADD", w.db.Keys.PaymentsAll(), p.Time, typed+":"+p.PendingRow())
	w.do(t, "ZADD", w.db.Keys.Payments(p.Login), p.Time, typed+":"+p.Amount.String())
}

func (w *twins) snapshot(t *rapid.T) both {
	s := both{w.sim.books.clone(), map[string]string{}}
	keys, err := w.redis.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range keys {
		if s.keys[key], err = w.redis.Dump(ctx, key).Result(); err != nil {
			t.Fatal(err)
		}
	}
	return s
}

func (w *twins) restore(t *rapid.T, s both) {
	w.sim.books = s.books.clone()
	w.do(t, "FLUSHALL")
	for key, value := range s.keys {
		if err := w.redis.Restore(ctx, key, 0, value).Err(); err != nil {
			t.Fatal(err)
		}
	}
}

// dump is what Redis holds, in the words of books.dump.
func (w *twins) dump(t *rapid.T) map[string]map[string]string {
	keys, err := w.redis.Keys(ctx, "*").Result()
	if err != nil {
		t.Fatal(err)
	}
	hashes, sets := map[string]*redis.MapStringStringCmd{}, map[string]*redis.ZSliceCmd{}
	types := map[string]*redis.StatusCmd{}
	if _, err := w.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			types[key] = p.Type(ctx, key)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	out := map[string]map[string]string{}
	if _, err := w.redis.Pipelined(ctx, func(p redis.Pipeliner) error {
		for _, key := range keys {
			switch types[key].Val() {
			case "hash":
				hashes[key] = p.HGetAll(ctx, key)
			case "zset":
				sets[key] = p.ZRangeWithScores(ctx, key, 0, -1)
			default:
				out[key] = map[string]string{"": w.redis.Get(ctx, key).Val()}
			}
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for key, cmd := range hashes {
		m := cmd.Val()
		money := key == w.db.Keys.Finances() || strings.HasPrefix(key, w.db.Keys.Miner(""))
		maps.DeleteFunc(m, func(_, v string) bool { return v == "" || money && v == "0" })
		if len(m) > 0 {
			out[key] = m
		}
	}
	for key, cmd := range sets {
		out[key] = map[string]string{}
		for _, z := range cmd.Val() {
			out[key][fmt.Sprint(z.Member)] = strconv.FormatInt(int64(z.Score), 10)
		}
	}
	return out
}

// compare runs after every action: the books are the same to the last field.
func (w *twins) compare(t *rapid.T) {
	if d := cmp.Diff(w.dump(t), w.sim.books.dump(w.db.Keys)); d != "" {
		t.Fatalf("the books differ (- really, + simulated):\n%s", d)
	}
}

// reads compares what every read gives, and the audits.
func (w *twins) reads(t *rapid.T) {
	ids := slices.Sorted(maps.Keys(w.sim.books.payments))
	for what, read := range map[string]func(payouts.Ledger) (any, error){
		"LockValue":     func(l payouts.Ledger) (any, error) { return l.LockValue(ctx) },
		"Meta":          func(l payouts.Ledger) (any, error) { return l.Meta(ctx) },
		"Known":         func(l payouts.Ledger) (any, error) { return l.Known(ctx, append(ids, "unknown")...) },
		"Inflight":      func(l payouts.Ledger) (any, error) { ps, _, err := l.Inflight(ctx); return ps, err },
		"Finals":        func(l payouts.Ledger) (any, error) { return l.Finals(ctx, 2, 7) },
		"Payments":      func(l payouts.Ledger) (any, error) { return l.Payments(ctx, ids...) },
		"Pending":       func(l payouts.Ledger) (any, error) { rows, _, err := l.Pending(ctx); return rows, err },
		"History":       func(l payouts.Ledger) (any, error) { return l.History(ctx, logins[0], opened) },
		"NoncesFrom":    func(l payouts.Ledger) (any, error) { return l.NoncesFrom(ctx, testAccount, 0, 20) },
		"Strays":        func(l payouts.Ledger) (any, error) { return l.Strays(ctx) },
		"PaymentByHash": func(l payouts.Ledger) (any, error) { return l.PaymentByHash(ctx, common.HexToHash("0xfeed0001")) },
		"Miner":         func(l payouts.Ledger) (any, error) { return l.Miner(ctx, logins[1]) },
		"Due":           func(l payouts.Ledger) (any, error) { due, _, err := l.Due(ctx, 100); return due, err },
		"Rejects":       func(l payouts.Ledger) (any, error) { return l.Rejects(ctx) },
		"Logins":        func(l payouts.Ledger) (any, error) { ls, _, err := l.Logins(ctx); return ls, err },
	} {
		sim, err1 := read(w.sim)
		real, err2 := read(w.real)
		if kind(err1) != kind(err2) {
			t.Fatalf("%s: %v, really %v", what, err1, err2)
		}
		if d := cmp.Diff(real, sim, cmpopts.EquateEmpty(), cmp.Comparer(sameWei)); d != "" {
			t.Fatalf("%s differs (- really, + simulated):\n%s", what, d)
		}
	}
	r, err := w.db.Audit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if found := audit(w.sim.books, nil); (len(found) == 0) != r.Clean() {
		t.Fatalf("the audit finds %v, really %v", found, r.Findings)
	}
}

func TestTheSimulatedLedgerIsTheRealOne(t *testing.T) {
	w := newTwins(t)
	rapid.Check(t, func(t *rapid.T) {
		w.begin(t)
		t.Repeat(w.actions())
		w.reads(t)
	})
}

func sameWei(a, b *big.Int) bool { return a == b || a != nil && b != nil && a.Cmp(b) == 0 }
