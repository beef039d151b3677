package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// sums are one miner's money by what the rows say, beside what the miner's own
// row says.
type sums struct{ rows, history, held, immature, credited util.Shannon }

// Audit adds the books up: per miner, in total, and nonce by nonce. It writes
// nothing and may run beside a working pool, whose unfinished steps it does not
// see because each is one script; see [Twice].
func (db *DB) Audit(ctx context.Context) (Report, error) {
	return Twice(ctx, func(ctx context.Context) (Report, error) { return db.AuditOnce(ctx, nil) })
}

// AuditOnce is one reading of [DB.Audit]. each, unless nil, is called with every
// payment of the ledger's account, by nonce.
func (db *DB) AuditOnce(ctx context.Context, each func(*Brief)) (Report, error) {
	a := auditor{db: db, miners: map[string]*sums{}, each: each, seed: maphash.MakeSeed(), rows: map[uint64]uint64{}}
	var err error
	if a.meta, err = db.Meta(ctx); err != nil {
		return a.Report, fmt.Errorf("audit: %w", err)
	}
	for _, part := range []func(context.Context) error{a.pendingRows, a.historyRows, a.records, a.nonces, a.byHand, a.rewards, a.credits, a.minerRows} {
		if err := part(ctx); err != nil {
			return a.Report, fmt.Errorf("audit: %w", err)
		}
	}
	a.Looked = []string{LookedRedis}
	return a.Report, nil
}

type auditor struct {
	Report
	db      *DB
	meta    Meta
	each    func(*Brief)
	miners  map[string]*sums
	opening map[string]openingDiff
	splits  map[string]Split

	// rows is the history, print of the hash → print of the row, without the rows that
	// a payment was found for. Prints are what a million rows fit into memory by.
	seed   maphash.Seed
	rows   map[uint64]uint64
	open   map[string]bool     // payments in flight, by id
	finals map[string]struct{} // and final ones that a reorg could undo
}

// What an operator does about a finding. A difference is never mended by the pool
// itself: only a person knows which side of it is true.
const (
	doMalformed = "look where it comes from; mend or remove it by hand, with payouts stopped"
	doForgotten = "start payouts, or run once: it puts back from its journal what Redis forgot"
	doRestored  = "was Redis restored from a snapshot, or the row edited? Start payouts, which put back what their journal knows; " +
		"what is still wrong then is mended by hand (HINCRBY), with payouts stopped"
	doCredit   = "was the balance edited by hand, or Redis restored? A bonus that you gave, or took, stays a finding until you say so: open-ethereum-pool FILE accept LOGIN"
	doTwice    = "explain its login; remove the row that the chain does not bear out (ZREM), and its amount from paid (HINCRBY)"
	doFollow   = "payouts do not follow it: ZADD it to %s with its nonce as the score, with payouts stopped"
	doUnlocker = "see that the unlocker runs: its next pass ends what was begun"
)

func (a *auditor) of(login string) *sums {
	s := a.miners[login]
	if s == nil {
		s = new(sums)
		a.miners[login] = s
	}
	return s
}

func (a *auditor) pendingRows(ctx context.Context) error {
	rows, bad, err := a.db.Pending(ctx)
	if err != nil {
		return err
	}
	for _, b := range bad {
		a.Wrong(a.db.Keys.PaymentsPending(), "every row is LOGIN:AMOUNT", doMalformed, "%v", b)
	}
	for _, r := range rows {
		a.of(r.Login).rows += r.Amount
	}
	return nil
}

// auditChunk is how many rows of a large set are read at once.
const auditChunk = 5000

func (a *auditor) historyRows(ctx context.Context) error {
	key := a.db.Keys.PaymentsAll()
	for from := int64(0); ; from += auditChunk {
		zs, err := a.db.rdb.ZRangeWithScores(ctx, key, from, from+auditChunk-1).Result()
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		for _, z := range zs {
			row := member(z)
			paid, err := historyRow(row, z.Score)
			if err != nil {
				a.Wrong(key, "every row is HASH:LOGIN:AMOUNT", doMalformed, "there is %q", row)
				continue
			}
			name := maphash.Bytes(a.seed, paid.Hash[:])
			if _, again := a.rows[name]; again {
				a.Wrong(key, "a transaction is in the history once", doTwice, "%s is there again", paid.Hash)
			}
			a.rows[name] = a.print(row, a.recent(z.Score))
			a.of(paid.Login).history += paid.Amount
			a.History++
		}
		if len(zs) < auditChunk {
			return nil
		}
	}
}

// recent says whether a row is of this ledger's time.
func (a *auditor) recent(score float64) bool {
	return a.meta.ChainID != 0 && score >= float64(a.meta.Since)
}

// print tells a row from all others; its last bit says whether it is recent.
func (a *auditor) print(row string, recent bool) uint64 {
	print := maphash.String(a.seed, row) &^ 1
	if recent {
		print |= 1
	}
	return print
}

// take takes the row of a payment's transaction from the history, if it is there.
func (a *auditor) take(tx common.Hash, row string) bool {
	name := maphash.Bytes(a.seed, tx[:])
	print, ok := a.rows[name]
	if ok = ok && print&^1 == a.print(row, false); ok {
		delete(a.rows, name)
	}
	return ok
}

// historyRow reads a row of the whole history.
func historyRow(row string, score float64) (Paid, error) {
	parts := strings.Split(row, ":")
	if len(parts) != 3 || !util.IsLogin(parts[1]) {
		return Paid{}, fmt.Errorf("%w: %q, want HASH:LOGIN:AMOUNT", ErrMalformed, row)
	}
	hash, err := parseTxHash(parts[0])
	if err != nil {
		return Paid{}, err
	}
	amount, err := util.ParseShannon(parts[2])
	return Paid{Hash: hash, Login: parts[1], Amount: amount, Time: int64(score)}, err
}

// records checks what is in flight against its rows, and remembers which payments are
// not buried.
func (a *auditor) records(ctx context.Context) error {
	open, bad, err := a.db.Inflight(ctx)
	if err != nil {
		return err
	}
	a.open, a.finals = map[string]bool{}, map[string]struct{}{}
	for _, u := range bad {
		a.open[u.ID] = true
		a.Wrong(a.db.Keys.Payment(u.ID), "every open payment can be read", doForgotten, "%v", u.Err)
	}
	finals, err := a.db.rdb.ZRange(ctx, a.db.Keys.Finals(), 0, -1).Result()
	if err != nil {
		return fmt.Errorf("read %s: %w", a.db.Keys.Finals(), err)
	}
	for _, id := range finals {
		a.finals[id] = struct{}{}
	}
	a.Open, a.Payments = len(open), len(open)
	for _, p := range open {
		a.open[p.ID] = true
	}
	for part := range slices.Chunk(open, 500) {
		rows := make([]*redis.FloatCmd, len(part))
		// The pipeline's own error is the first of its commands' errors.
		_, _ = a.db.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
			for i, p := range part {
				if p.State == Signed || p.State == Held {
					rows[i] = pipe.ZScore(ctx, a.db.Keys.PaymentsPending(), p.PendingRow())
				} else {
					rows[i] = pipe.ZScore(ctx, a.db.Keys.PaymentsAll(), p.Hash.Hex()+":"+p.PendingRow())
				}
			}
			return nil
		})
		for i, p := range part {
			if p.Kind != ToMiner {
				continue
			}
			missing := errors.Is(rows[i].Err(), redis.Nil)
			if err := rows[i].Err(); err != nil && !missing {
				return fmt.Errorf("read the row of payment %s: %w", p.ID, err)
			}
			switch {
			case p.State == Held && missing:
				a.of(p.Login).held += p.Amount
			case p.State == Held: // its row was put back, and counts
			case p.State == Signed && missing:
				a.Wrong(a.db.Keys.Payment(p.ID), "a signed payment has its pending row", "start payouts, which respect a row removed by hand as the manual says and put back one that Redis forgot", "%s is missing", p.PendingRow())
			case p.State != Signed && missing:
				a.Wrong(a.db.Keys.Payment(p.ID), equationSent, doRestored, "%s:%s is missing", p.Hash, p.PendingRow())
			default:
				a.take(p.Hash, p.Hash.Hex()+":"+p.PendingRow())
			}
		}
	}
	return nil
}

const equationSent = "a payment that was sent is in the history"

// nonces goes through every nonce that is ours and the payments bound to them,
// buried ones as well.
func (a *auditor) nonces(ctx context.Context) error {
	m := a.meta
	if m.ChainID == 0 {
		return nil
	}
	key := a.db.Keys.Nonces(m.Account)
	for from := m.FirstNonce; from < m.NextNonce; from += briefChunk {
		to := min(from+briefChunk, m.NextNonce)
		bound, err := a.db.NoncesFrom(ctx, m.Account, from, to)
		if err != nil {
			return err
		}
		var ids []string
		var at []uint64
		for n := from; n < to; n++ {
			switch b := bound[n]; {
			case b == "":
				a.Wrong(key, "every nonce from the first to the next is bound", doForgotten, "nonce %d is bound to nothing", n)
			case !strings.Contains(b, ":"):
				ids, at = append(ids, b), append(at, n)
			}
		}
		if err := a.payments(ctx, ids, at); err != nil {
			return err
		}
	}
	// Those that were made by hand, whose nonce a filler has used up, and those of an
	// account before.
	for part := range slices.Chunk(slices.Sorted(maps.Keys(a.finals)), briefChunk) {
		if err := a.payments(ctx, part, nil); err != nil {
			return err
		}
	}
	// Below the first one there may be some: of a time before, when the account
	// was ours already.
	return a.db.eachField(ctx, key, func(name, _ string) {
		if n, err := strconv.ParseUint(name, 10, 64); err != nil || n >= m.NextNonce {
			a.Wrong(key, "nothing is bound from the next nonce on", doRestored, "nonce %q is bound, the next is %d", name, m.NextNonce)
		}
	})
}

// payments checks records against the history; at, unless nil, are the nonces that
// they are bound to.
func (a *auditor) payments(ctx context.Context, ids []string, at []uint64) error {
	briefs, errs := a.db.Briefs(ctx, ids...)
	var doubts []*Brief
	for i, b := range briefs {
		open, err := a.open[ids[i]], errs[i]
		delete(a.finals, ids[i])
		if !open {
			a.Payments++
		}
		switch {
		case err == nil:
		case !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrNotFound):
			return err
		case open: // it was said
			continue
		default:
			a.Wrong(a.db.Keys.Payment(ids[i]), "every payment can be read", doForgotten, "%v", err)
			continue
		}
		if at != nil && b.Nonce != at[i] {
			a.Wrong(a.db.Keys.Payment(b.ID), "a payment is bound to its own nonce", doRestored, "it has nonce %d, and nonce %d is bound to it", b.Nonce, at[i])
			continue
		}
		if at != nil && a.each != nil {
			a.each(b)
		}
		final := b.State == Final || b.State == Void
		if !open && (!final || b.Kind == ToMiner && b.State == Final && !a.take(b.Hash, b.Row())) {
			doubts = append(doubts, b)
		}
	}
	return a.doubts(ctx, doubts)
}

// doubts looks once more, for payments may have gone on since the history, or what is
// in flight, was read.
func (a *auditor) doubts(ctx context.Context, briefs []*Brief) error {
	if len(briefs) == 0 {
		return nil
	}
	cmds := make([]*redis.FloatCmd, len(briefs))
	_, _ = a.db.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		for i, b := range briefs {
			if b.State == Final {
				cmds[i] = pipe.ZScore(ctx, a.db.Keys.PaymentsAll(), b.Row())
			} else {
				cmds[i] = pipe.ZScore(ctx, a.db.Keys.Inflight(), b.ID)
			}
		}
		return nil
	})
	for i, b := range briefs {
		err := cmds[i].Err()
		switch {
		case err == nil:
		case !errors.Is(err, redis.Nil):
			return fmt.Errorf("read the row of payment %s: %w", b.ID, err)
		case b.State == Final:
			a.Wrong(a.db.Keys.Payment(b.ID), equationSent, doRestored, "%s is missing", b.Row())
		default:
			a.Wrong(a.db.Keys.Payment(b.ID), "a payment that is not final is in flight", fmt.Sprintf(doFollow, a.db.Keys.Inflight()), "it is %s", b.State)
		}
	}
	return nil
}

// byHand finds the rows of this ledger's time that no payment made.
func (a *auditor) byHand(ctx context.Context) error {
	left := 0
	for _, print := range a.rows {
		if print&1 == 1 {
			left++
		}
	}
	key := a.db.Keys.PaymentsAll()
	for from := int64(0); left > 0; from += auditChunk {
		zs, err := a.db.rdb.ZRevRangeByScoreWithScores(ctx, key, &redis.ZRangeBy{Max: "+inf", Min: strconv.FormatInt(a.meta.Since, 10), Offset: from, Count: auditChunk}).Result()
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		for _, z := range zs {
			if paid, err := historyRow(member(z), z.Score); err == nil && a.take(paid.Hash, member(z)) {
				a.ByHand = append(a.ByHand, paid)
				left--
			}
		}
		if len(zs) < auditChunk {
			break
		}
	}
	a.rows = nil // so that the rest has the memory
	return nil
}

// briefChunk is how many records are read at once.
const briefChunk = 1000

// Brief is what an audit reads of a payment's record.
type Brief struct {
	ID     string
	Kind   Kind
	Login  string
	Amount util.Shannon
	Time   int64 // unix seconds of the debit
	Nonce  uint64
	State  State
	Hash   common.Hash   // shown in the history
	Hashes []common.Hash // of its attempts
}

// Row is the payment's row in the whole history.
func (b *Brief) Row() string { return b.Hash.Hex() + ":" + pendingRow(b.Login, b.Amount) }

// Briefs reads records by id, each with its own error.
func (db *DB) Briefs(ctx context.Context, ids ...string) ([]*Brief, []error) {
	fields := []string{"kind", "login", "amount", "time", "nonce", "state", "hash", "attempts"}
	if len(ids) == 0 {
		return nil, nil
	}
	cmds := make([]*redis.SliceCmd, len(ids))
	// The pipeline's own error is the first of its commands' errors.
	_, _ = db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			cmds[i] = p.HMGet(ctx, db.Keys.Payment(id), fields...)
		}
		return nil
	})
	briefs, errs := make([]*Brief, len(ids)), make([]error, len(ids))
	for i, id := range ids {
		values, err := cmds[i].Result()
		if err != nil && !isWrongType(err) {
			errs[i] = fmt.Errorf("read %s: %w", db.Keys.Payment(id), err)
			continue
		}
		r := row{key: db.Keys.Payment(id), m: make(map[string]string, len(fields))}
		for j, v := range values {
			if text, ok := v.(string); ok {
				r.m[fields[j]] = text
			}
		}
		if len(r.m) == 0 {
			errs[i] = fmt.Errorf("read payment %s: %w", id, ErrNotFound)
			continue
		}
		b := &Brief{ID: id, Kind: Kind(r.m["kind"]), Login: r.m["login"], Amount: r.shannon("amount"), Time: r.int("time"), Nonce: r.uint("nonce"),
			State: State(r.m["state"]), Hash: r.hash("hash")}
		var attempts []struct {
			Hash common.Hash `json:"hash"`
		}
		if err := json.Unmarshal([]byte(r.m["attempts"]), &attempts); err != nil {
			r.fail("attempts", "", err.Error())
		}
		for _, a := range attempts {
			b.Hashes = append(b.Hashes, a.Hash)
		}
		briefs[i], errs[i] = b, r.err
	}
	return briefs, errs
}

func (a *auditor) minerRows(ctx context.Context) error {
	opening, err := a.db.openings(ctx)
	if err != nil {
		return err
	}
	a.opening = opening
	visited := map[string]bool{}
	bad, err := a.db.Balances(ctx, func(m Miner) {
		a.Miners++
		visited[m.Login] = true
		a.Totals.Balance += m.Balance
		a.Totals.Pending += m.Pending
		a.Totals.Paid += m.Paid
		a.Totals.Immature += m.Immature
		a.miner(m)
	})
	if err != nil {
		return err
	}
	for _, b := range bad {
		a.Wrong(a.db.Keys.Miner("*"), "every miner's row is readable", doMalformed, "%v", b)
	}
	for _, login := range slices.Sorted(maps.Keys(a.miners)) {
		if !visited[login] {
			a.miner(Miner{Login: login})
		}
	}
	f, err := a.db.Finances(ctx)
	if err != nil {
		return err
	}
	key, o := a.db.Keys.Finances(), a.opening["*"]
	for _, e := range []struct {
		field            string
		total, sum, from util.Shannon
	}{
		{"balance", f.Balance, a.Totals.Balance, o.balance},
		{"pending", f.Pending, a.Totals.Pending, o.pending},
		{"paid", f.Paid, a.Totals.Paid, o.paid},
		{"immature", f.Immature, a.Totals.Immature, o.immature},
	} {
		if e.total != e.sum+e.from {
			a.Wrong(key, e.field+" = the sum over all miners"+plus(e.from), "was a miner's row edited without this one? Say HINCRBY here for the same amount", "%s, the sum is %s", e.total, e.sum)
		}
	}
	return nil
}

func (a *auditor) miner(m Miner) {
	key, s, o := a.db.Keys.Miner(m.Login), a.of(m.Login), a.opening[m.Login]
	if o != (openingDiff{}) {
		a.Notes = append(a.Notes, fmt.Sprintf("%s differed by %s credited, %s paid, %s pending and %s immature Shannon before this ledger began, or as accepted since", key, o.balance, o.paid, o.pending, o.immature))
	}
	if m.Balance < 0 || m.Pending < 0 || m.Paid < 0 || m.Immature < 0 {
		a.Wrong(key, "nothing is negative", doRestored, "balance %s, pending %s, paid %s, immature %s", m.Balance, m.Pending, m.Paid, m.Immature)
	}
	if m.Immature != s.immature+o.immature {
		a.Wrong(key, "immature = its credits of immature blocks"+plus(o.immature), doUnlocker, "%s, the credits sum up to %s", m.Immature, s.immature)
	}
	_, open := a.opening["*"]
	if got := m.Balance + m.Pending + m.Paid; open && got != s.credited+o.balance {
		a.Wrong(key, "balance + pending + paid = what blocks brought"+plus(o.balance), doCredit, "%s, the credits sum up to %s", got, s.credited)
		a.Findings[len(a.Findings)-1].Off = got - s.credited - o.balance
	}
	if m.Pending != s.rows+s.held+o.pending {
		a.Wrong(key, "pending = its pending rows and held payments"+plus(o.pending), doRestored, "%s, the rows sum up to %s", m.Pending, s.rows+s.held)
	}
	if m.Paid != s.history+o.paid {
		a.Wrong(key, "paid = its history"+plus(o.paid), doRestored, "%s, the history sums up to %s", m.Paid, s.history)
	}
}

// acceptLua adds to the first number of what was different before.
// KEYS[1] opening   ARGV[1] login   ARGV[2] Shannon
var acceptLua = redis.NewScript(`
if redis.call('HEXISTS', KEYS[1], '*') == 0 then return 0 end
local a, b, c, d = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '0:0:0:0', '^(%-?%d+):(%-?%d+):(%-?%d+):(%-?%d+)$')
if not a then return redis.error_reply('the field of ' .. ARGV[1] .. ' is no BALANCE:PENDING:PAID:IMMATURE') end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', tonumber(a) + tonumber(ARGV[2])) .. ':' .. b .. ':' .. c .. ':' .. d)
return 1`)

// openTries is how often the books are read until they hold still.
const openTries = 10
