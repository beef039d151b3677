package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Report is what an audit found. The books add up when Findings is empty.
type Report struct {
	Miners   int       `json:"miners"`
	Payments int       `json:"payments"` // of this ledger
	Open     int       `json:"open"`
	History  int       `json:"history"` // rows
	Blocks   int       `json:"blocks"`  // whose reward was divided
	Totals   Miner     `json:"totals"`  // sums over the miners
	Findings []Finding `json:"findings"`
	// Notes are differences that were there before this ledger began; they are
	// printed always and break nothing.
	Notes []string `json:"notes"`
}

// Finding is one row that breaks one equation.
type Finding struct {
	Key      string `json:"key"`      // the row
	Equation string `json:"equation"` // what should hold
	Got      string `json:"got"`      // what is there
	Do       string `json:"do"`       // what the operator does about it
	// Off is by how much a miner has more than blocks brought him; of other findings 0.
	Off util.Shannon `json:"off,omitempty"`
}

// Clean says whether everything adds up.
func (r Report) Clean() bool { return len(r.Findings) == 0 }

// Print writes the report for people.
func (r Report) Print(out io.Writer) {
	fmt.Fprintf(out, "audited %d miners, %d payments of this ledger (%d open), %d rows of history, %d rewards\n", r.Miners, r.Payments, r.Open, r.History, r.Blocks)
	fmt.Fprintf(out, "totals: immature %s, balance %s, pending %s, paid %s coins\n", r.Totals.Immature.Coins(), r.Totals.Balance.Coins(), r.Totals.Pending.Coins(), r.Totals.Paid.Coins())
	const most = 50
	for _, n := range r.Notes[:min(len(r.Notes), most)] {
		fmt.Fprintf(out, "note: %s\n", n)
	}
	if len(r.Notes) > most {
		fmt.Fprintf(out, "note: and %d more, which --json has\n", len(r.Notes)-most)
	}
	for _, f := range r.Findings[:min(len(r.Findings), most)] {
		fmt.Fprintf(out, "WRONG %s: %s, but %s\n      %s\n", f.Key, f.Equation, f.Got, f.Do)
	}
	if r.Clean() {
		fmt.Fprintln(out, "the books add up")
	} else {
		fmt.Fprintf(out, "%d rows are wrong; --json has all of them\n", len(r.Findings))
	}
}

// sums are one miner's money by what the rows say, beside what the miner's own
// row says.
type sums struct{ rows, history, held, immature, credited util.Shannon }

// Audit adds the books up: per miner, in total, and nonce by nonce. It writes
// nothing and may run beside a working pool, whose unfinished steps it does not
// see because each is one script; see [Twice].
func (db *DB) Audit(ctx context.Context) (Report, error) { return Twice(ctx, db.auditOnce) }

// Twice audits once more when there are findings: a pool at work may have moved
// money between two readings. What is really wrong is wrong twice, in the same words.
func Twice(ctx context.Context, audit func(context.Context) (Report, error)) (Report, error) {
	first, err := audit(ctx)
	if err != nil || first.Clean() {
		return first, err
	}
	again, err := audit(ctx)
	if err != nil {
		return again, err
	}
	again.Findings = slices.DeleteFunc(again.Findings, func(f Finding) bool { return !slices.Contains(first.Findings, f) })
	return again, nil
}

func (db *DB) auditOnce(ctx context.Context) (Report, error) {
	a := auditor{db: db, miners: map[string]*sums{}}
	for _, part := range []func(context.Context) error{a.pendingRows, a.historyRows, a.records, a.nonces, a.rewards, a.credits, a.minerRows} {
		if err := part(ctx); err != nil {
			return a.Report, fmt.Errorf("audit: %w", err)
		}
	}
	return a.Report, nil
}

type auditor struct {
	Report
	db      *DB
	miners  map[string]*sums
	opening map[string]openingDiff
	splits  map[string]Split
}

func (a *auditor) wrong(key, equation, do, format string, args ...any) {
	a.Findings = append(a.Findings, Finding{Key: key, Equation: equation, Got: fmt.Sprintf(format, args...), Do: do})
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
		a.wrong(a.db.Keys.PaymentsPending(), "every row is LOGIN:AMOUNT", doMalformed, "%v", b)
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
	type half [16]byte // of a hash: a million of them are in memory
	seen := map[half]struct{}{}
	for from := int64(0); ; from += auditChunk {
		rows, err := a.db.rdb.ZRange(ctx, key, from, from+auditChunk-1).Result()
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		for _, row := range rows {
			parts := strings.Split(row, ":")
			if len(parts) != 3 || !util.IsLogin(parts[1]) {
				a.wrong(key, "every row is HASH:LOGIN:AMOUNT", doMalformed, "there is %q", row)
				continue
			}
			amount, err1 := util.ParseShannon(parts[2])
			hash, err2 := parseTxHash(parts[0])
			if err1 != nil || err2 != nil {
				a.wrong(key, "every row is HASH:LOGIN:AMOUNT", doMalformed, "there is %q", row)
				continue
			}
			if _, again := seen[half(hash[16:])]; again {
				a.wrong(key, "a transaction is in the history once", doTwice, "%s is there again", hash)
			}
			seen[half(hash[16:])] = struct{}{}
			a.of(parts[1]).history += amount
			a.History++
		}
		if len(rows) < auditChunk {
			return nil
		}
	}
}

// records checks every payment that is not buried against its rows.
func (a *auditor) records(ctx context.Context) error {
	open, bad, err := a.db.Inflight(ctx)
	if err != nil {
		return err
	}
	for _, u := range bad {
		a.wrong(a.db.Keys.Payment(u.ID), "every open payment can be read", doForgotten, "%v", u.Err)
	}
	finals, err := a.db.Finals(ctx, 0, 1<<62)
	if err != nil {
		return err
	}
	a.Open, a.Payments = len(open), len(open)+len(finals)
	for part := range slices.Chunk(slices.Concat(open, finals), 500) {
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
				a.wrong(a.db.Keys.Payment(p.ID), "a signed payment has its pending row", "start payouts, which respect a row removed by hand as the manual says and put back one that Redis forgot", "%s is missing", p.PendingRow())
			case p.State != Signed && missing:
				a.wrong(a.db.Keys.Payment(p.ID), "a payment that was sent is in the history", doRestored, "%s:%s is missing", p.Hash, p.PendingRow())
			}
		}
	}
	return nil
}

func (a *auditor) nonces(ctx context.Context) error {
	m, err := a.db.Meta(ctx)
	if err != nil || m.ChainID == 0 {
		return err
	}
	key := a.db.Keys.Nonces(m.Account)
	for from := m.FirstNonce; from < m.NextNonce; from += auditChunk {
		to := min(from+auditChunk, m.NextNonce)
		bound, err := a.db.NoncesFrom(ctx, m.Account, from, to)
		if err != nil {
			return err
		}
		for n := from; n < to; n++ {
			if bound[n] == "" {
				a.wrong(key, "every nonce from the first to the next is bound", doForgotten, "nonce %d is bound to nothing", n)
			}
		}
	}
	// Below the first one there may be some: of a time before, when the account
	// was ours already.
	return a.db.eachField(ctx, key, func(name, _ string) {
		if n, err := strconv.ParseUint(name, 10, 64); err != nil || n >= m.NextNonce {
			a.wrong(key, "nothing is bound from the next nonce on", doRestored, "nonce %q is bound, the next is %d", name, m.NextNonce)
		}
	})
}

// rewards adds up what blocks brought, and are going to bring.
func (a *auditor) rewards(ctx context.Context) error {
	if err := a.readSplits(ctx); err != nil {
		return err
	}
	blocks, bad, err := a.db.ImmatureBlocks(ctx, math.MaxUint64)
	if err != nil {
		return err
	}
	for _, b := range bad {
		a.wrong(a.db.Keys.Immature(), "every row can be read", doMalformed, "%v", b)
	}
	plans, err := a.db.rdb.HGetAll(ctx, a.db.Keys.Plans()).Result()
	if err != nil {
		return fmt.Errorf("read %s: %w", a.db.Keys.Plans(), err)
	}
	credits := map[string]string{} // immature credits, and the split they should be
	for _, b := range blocks {
		credits[a.db.Keys.CreditsImmature(b.Height, b.Hash)] = ""
		if b.Begun == "" {
			credits[a.db.Keys.CreditsImmature(b.Height, b.Hash)] = b.split()
		}
	}
	for id, plan := range plans {
		// What is half credited is so until the unlocker's next pass.
		parts := strings.Split(strings.TrimPrefix(plan, planCredit), ":")
		if height, err := strconv.ParseUint(parts[0], 10, 64); err == nil && len(parts) == 3 {
			credits[a.db.Keys.CreditsImmature(height, parts[1])] = ""
		}
		a.Notes = append(a.Notes, fmt.Sprintf("block %s is half done (%s); the unlocker's next pass ends it", id, plan))
	}
	slices.Sort(a.Notes)
	for _, key := range slices.Sorted(maps.Keys(credits)) {
		if err := a.add(ctx, key, credits[key], func(s *sums) *util.Shannon { return &s.immature }); err != nil {
			return err
		}
	}
	// What is half matured is in no row yet.
	for _, b := range blocks {
		if b.Begun == BegunMature {
			if err := a.matured(ctx, b, ""); err != nil {
				return err
			}
		}
	}
	return nil
}

// credits adds up what matured blocks brought, all since the first.
func (a *auditor) credits(ctx context.Context) error {
	key := a.db.Keys.Matured()
	for from := int64(0); ; from += statsChunk {
		zs, err := a.db.rdb.ZRangeWithScores(ctx, key, from, from+statsChunk-1).Result()
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		var bad []error
		for _, b := range parseRows(&bad, key, zs, parseBlock) {
			if b.Orphan {
				continue
			}
			if err := a.matured(ctx, b, b.split()); err != nil {
				return err
			}
		}
		for _, err := range bad {
			a.wrong(key, "every row can be read", doMalformed, "%v", err)
		}
		if len(zs) < statsChunk {
			return nil
		}
	}
}

func (a *auditor) matured(ctx context.Context, b Block, split string) error {
	return a.add(ctx, a.db.Keys.Credits(b.Height, b.Hash), split, func(s *sums) *util.Shannon { return &s.credited })
}

// readSplits reads how rewards were divided, by HEIGHT:HASH.
func (a *auditor) readSplits(ctx context.Context) error {
	key := a.db.Keys.Splits()
	texts, err := a.db.fields(ctx, key)
	if err != nil {
		return err
	}
	a.Blocks, a.splits = len(texts), make(map[string]Split, len(texts))
	for _, block := range slices.Sorted(maps.Keys(texts)) {
		s, _, ok := parseSplit(texts[block])
		switch {
		case !ok:
			a.wrong(key, "every field is REWARD:MINERS:FEE:DUST:LOGINS:FEELOGIN", doMalformed, "%s is %q", block, texts[block])
			continue
		case !s.whole():
			a.wrong(key, "miners + fee + dust = reward", doMalformed, "%s is %q", block, texts[block])
		}
		a.splits[block] = s
	}
	return nil
}

// add adds up the credits of one block, which must be its split where there is one.
func (a *auditor) add(ctx context.Context, key, block string, to func(*sums) *util.Shannon) error {
	fields, err := a.db.fields(ctx, key)
	if err != nil {
		return err
	}
	var sum util.Shannon
	for login, text := range fields {
		amount, err := util.ParseShannon(text)
		if err != nil || !util.IsLogin(login) {
			a.wrong(key, "every field is LOGIN and Shannon", doMalformed, "%s is %q", login, text)
			continue
		}
		*to(a.of(login)) += amount
		sum += amount
	}
	if s, ok := a.splits[block]; ok && sum != s.credited() {
		a.wrong(key, "a block's credits are its split", doRestored, "they sum up to %s, the split is %s", sum, s)
	}
	return nil
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
		a.wrong(a.db.Keys.Miner("*"), "every miner's row is readable", doMalformed, "%v", b)
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
			a.wrong(key, e.field+" = the sum over all miners"+plus(e.from), "was a miner's row edited without this one? Say HINCRBY here for the same amount", "%s, the sum is %s", e.total, e.sum)
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
		a.wrong(key, "nothing is negative", doRestored, "balance %s, pending %s, paid %s, immature %s", m.Balance, m.Pending, m.Paid, m.Immature)
	}
	if m.Immature != s.immature+o.immature {
		a.wrong(key, "immature = its credits of immature blocks"+plus(o.immature), doUnlocker, "%s, the credits sum up to %s", m.Immature, s.immature)
	}
	_, open := a.opening["*"]
	if got := m.Balance + m.Pending + m.Paid; open && got != s.credited+o.balance {
		a.wrong(key, "balance + pending + paid = what blocks brought"+plus(o.balance), doCredit, "%s, the credits sum up to %s", got, s.credited)
		a.Findings[len(a.Findings)-1].Off = got - s.credited - o.balance
	}
	if m.Pending != s.rows+s.held+o.pending {
		a.wrong(key, "pending = its pending rows and held payments"+plus(o.pending), doRestored, "%s, the rows sum up to %s", m.Pending, s.rows+s.held)
	}
	if m.Paid != s.history+o.paid {
		a.wrong(key, "paid = its history"+plus(o.paid), doRestored, "%s, the history sums up to %s", m.Paid, s.history)
	}
}

func plus(opening util.Shannon) string {
	if opening == 0 {
		return ""
	}
	return fmt.Sprintf(" and %s from before", opening)
}

// openingDiff is by how much a row broke its equations when this ledger began:
// balance of a miner is balance, pending and paid against what blocks brought.
type openingDiff struct{ balance, pending, paid, immature util.Shannon }

func (db *DB) openings(ctx context.Context) (map[string]openingDiff, error) {
	key := db.Keys.Opening()
	m, err := db.rdb.HGetAll(ctx, key).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	out := make(map[string]openingDiff, len(m))
	for login, text := range m {
		parts := strings.Split(text, ":")
		var d openingDiff
		if len(parts) != 4 {
			return nil, fmt.Errorf("%w: %s field %s = %q: want BALANCE:PENDING:PAID:IMMATURE", ErrMalformed, key, login, text)
		}
		for i, to := range []*util.Shannon{&d.balance, &d.pending, &d.paid, &d.immature} {
			n, err := strconv.ParseInt(parts[i], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("%w: %s field %s = %q: want BALANCE:PENDING:PAID:IMMATURE", ErrMalformed, key, login, text)
			}
			*to = util.Shannon(n)
		}
		out[login] = d
	}
	return out, nil
}

// acceptLua adds to the first number of what was different before.
// KEYS[1] opening   ARGV[1] login   ARGV[2] Shannon
var acceptLua = redis.NewScript(`
if redis.call('HEXISTS', KEYS[1], '*') == 0 then return 0 end
local a, b, c, d = string.match(redis.call('HGET', KEYS[1], ARGV[1]) or '0:0:0:0', '^(%-?%d+):(%-?%d+):(%-?%d+):(%-?%d+)$')
if not a then return redis.error_reply('the field of ' .. ARGV[1] .. ' is no BALANCE:PENDING:PAID:IMMATURE') end
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d', tonumber(a) + tonumber(ARGV[2])) .. ':' .. b .. ':' .. c .. ':' .. d)
return 1`)

// Accept takes a difference between what a miner has and what blocks brought him, see
// [Finding.Off], for meant: the audit notes it from now on. No money moves.
func (db *DB) Accept(ctx context.Context, login string, off util.Shannon) error {
	key := db.Keys.Opening()
	done, err := acceptLua.Run(ctx, db.rdb, []string{key}, login, int64(off)).Int()
	if err != nil {
		return fmt.Errorf("accept a difference in %s: %w", key, err)
	}
	if done == 0 {
		return fmt.Errorf("accept a difference in %s: %w: payouts have not begun", key, ErrNotFound)
	}
	return nil
}

// openTries is how often the books are read until they hold still.
const openTries = 10

// OpenBooks writes down, once, by how much the books of an older pool do not
// add up, so that the audit can tell later losses from earlier ones.
func (l *Lease) OpenBooks(ctx context.Context) error {
	// Whoever credits a miner meanwhile, perhaps between our reads of two rows,
	// changes the totals as well.
	for range openTries {
		before, err := l.db.Finances(ctx)
		if err != nil {
			return fmt.Errorf("open the books: %w", err)
		}
		fields, after, err := l.differences(ctx)
		if err != nil {
			return fmt.Errorf("open the books: %w", err)
		}
		if before == after {
			return l.one(ctx, call{"open the books", openBooksScript, []string{l.db.Keys.Opening()}, fields})
		}
	}
	return fmt.Errorf("open the books: they changed during each of %d readings", openTries)
}

// differences lists by how much the books do not add up: login and
// BALANCE:PENDING:PAID:IMMATURE, in pairs. It returns the totals they were compared with.
func (l *Lease) differences(ctx context.Context) ([]any, Miner, error) {
	a := auditor{db: l.db, miners: map[string]*sums{}}
	for _, part := range []func(context.Context) error{a.pendingRows, a.historyRows, a.records, a.rewards, a.credits} {
		if err := part(ctx); err != nil {
			return nil, Miner{}, err
		}
	}
	var total Miner
	var fields []any
	visited := map[string]bool{}
	note := func(m Miner) {
		s := a.of(m.Login)
		visited[m.Login] = true
		if d := (openingDiff{balance: m.Balance + m.Pending + m.Paid - s.credited, pending: m.Pending - s.rows - s.held, paid: m.Paid - s.history, immature: m.Immature - s.immature}); d != (openingDiff{}) {
			fields = append(fields, m.Login, fmt.Sprintf("%s:%s:%s:%s", d.balance, d.pending, d.paid, d.immature))
		}
	}
	if _, err := l.db.Balances(ctx, func(m Miner) {
		total.Balance += m.Balance
		total.Pending += m.Pending
		total.Paid += m.Paid
		total.Immature += m.Immature
		note(m)
	}); err != nil {
		return nil, Miner{}, err
	}
	for _, login := range slices.Sorted(maps.Keys(a.miners)) {
		if !visited[login] {
			note(Miner{Login: login})
		}
	}
	f, err := l.db.Finances(ctx)
	if err != nil {
		return nil, Miner{}, err
	}
	return append(fields, "*", fmt.Sprintf("%s:%s:%s:%s", f.Balance-total.Balance, f.Pending-total.Pending, f.Paid-total.Paid, f.Immature-total.Immature)), f, nil
}
