package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// scanCount is how many keys Redis looks at per SCAN: about half a millisecond.
const scanCount = 2000

// Meta is what the ledger knows about itself.
type Meta struct {
	ChainID    uint64 // 0 while the ledger was never used
	Genesis    common.Hash
	Account    common.Address
	FirstNonce uint64 // the first one that is ours
	NextNonce  uint64 // the next one to bind
	// SettledNonce is the first one of which it may still change what used it.
	SettledNonce uint64
	Step         uint64 // counts every change of the ledger
	Since        int64  // unix seconds of the first use

	AnchorBlock uint64 // the highest block that made a payment final
	AnchorHash  common.Hash

	Halt      string // why sessions are halted; empty when they are not
	HaltID    string // the refused payment, if one is the reason
	Heartbeat int64  // unix seconds of the last sign of life
	Session   Session

	// What the payouts process tells others; zero while it has not, and Wallet -1.
	NextSession   int64        // unix seconds
	Threshold     util.Shannon // of its configuration
	Confirmations uint64       // likewise
	FeeFromMiner  bool         // likewise
	Wallet        util.Shannon // on the account, rounded down
	Outgoing      util.Shannon // of that, in payments that a node has taken and no block holds
	Paused        string       // why an operator paused payouts
	AuditTime     int64        // unix seconds of the last audit
	AuditFindings int          // that it had
	AuditLooked   string       // what it looked at, such as "redis journal chain"
}

// Skip is why a miner who was due was not paid by the last session.
type Skip struct {
	Reason string `json:"reason"` // a word, the same everywhere
	Why    string `json:"why"`    // a sentence
}

// Skipped reads whom the last session did not pay, by login. What cannot be read is
// an ErrMalformed beside the rest.
func (db *DB) Skipped(ctx context.Context) (map[string]Skip, error) {
	key := db.Keys.Skipped()
	m, err := db.rdb.HGetAll(ctx, key).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	return jsonFields[Skip](key, m)
}

// jsonFields reads what is JSON in each field of a hash. What cannot be read is an
// ErrMalformed beside the rest.
func jsonFields[T any](key string, fields map[string]string) (map[string]T, error) {
	out := make(map[string]T, len(fields))
	var bad []error
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		var v T
		if err := json.Unmarshal([]byte(fields[field]), &v); err != nil {
			bad = append(bad, fmt.Errorf("%w: %s field %s = %q: %w", ErrMalformed, key, field, fields[field], err))
			continue
		}
		out[field] = v
	}
	return out, errors.Join(bad...)
}

// Session is the progress of the newest session.
type Session struct {
	Started, Ended int64 // unix seconds; Ended is 0 while it runs
	Due, Paid      int
	Amount         util.Shannon // paid so far
	Result         string
}

// PendingRow is one row of the pending zset.
type PendingRow struct {
	Login  string
	Amount util.Shannon
	Time   int64 // unix seconds
}

// Row is the member as Redis keeps it.
func (r PendingRow) Row() string { return pendingRow(r.Login, r.Amount) }

// Paid is one row of a miner's history.
type Paid struct {
	Hash   common.Hash
	Login  string
	Amount util.Shannon
	Time   int64 // unix seconds
}

// Meta reads the ledger's own row; the zero Meta when there is none. What cannot
// be read is zero, with an ErrMalformed beside the rest.
func (db *DB) Meta(ctx context.Context) (Meta, error) {
	key := db.Keys.Meta()
	m, err := db.rdb.HGetAll(ctx, key).Result()
	if err != nil {
		return Meta{}, fmt.Errorf("read %s: %w", key, err)
	}
	r := row{key: key, m: m}
	meta := Meta{Step: r.uintOr0("step"), Halt: m["halt"], HaltID: m["haltId"]}
	if m["chainId"] != "" {
		meta.ChainID, meta.Genesis, meta.Account = r.uint("chainId"), r.hash("genesis"), r.address("account")
		meta.FirstNonce, meta.NextNonce, meta.Since = r.uint("firstNonce"), r.uint("nextNonce"), r.int("since")
		meta.SettledNonce = r.uintOr0("settledNonce")
	}
	if m["anchorBlock"] != "" {
		meta.AnchorBlock, meta.AnchorHash = r.uint("anchorBlock"), r.hash("anchorHash")
	}
	meta.Heartbeat = int64(r.uintOr0("heartbeat"))
	meta.Session = Session{
		Started: int64(r.uintOr0("sessionStarted")), Ended: int64(r.uintOr0("sessionEnded")),
		Due: int(r.uintOr0("sessionDue")), Paid: int(r.uintOr0("sessionPaid")), Amount: r.shannonOr0("sessionAmount"),
		Result: m["sessionResult"],
	}
	meta.NextSession, meta.Threshold, meta.Confirmations = int64(r.uintOr0("nextSession")), r.shannonOr0("threshold"), r.uintOr0("confirmations")
	meta.FeeFromMiner = m["feeFromMiner"] != ""
	meta.Paused, meta.AuditTime, meta.AuditFindings = m["paused"], int64(r.uintOr0("auditTime")), int(r.uintOr0("auditFindings"))
	meta.AuditLooked = m["auditLooked"]
	meta.Wallet = -1
	if m["wallet"] != "" {
		meta.Wallet, meta.Outgoing = r.shannonOr0("wallet"), r.shannonOr0("outgoing")
	}
	return meta, r.err
}

// LockValue is the value of the payments lock, "" when nobody holds it.
func (db *DB) LockValue(ctx context.Context) (string, error) {
	v, err := db.rdb.Get(ctx, db.Keys.PaymentsLock()).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("read %s: %w", db.Keys.PaymentsLock(), err)
	}
	return v, nil
}

// Pending reads the pending rows, newest first, as the manual's
// ZREVRANGE does. Rows that do not parse come back as errors beside the rest.
func (db *DB) Pending(ctx context.Context) ([]PendingRow, []error, error) {
	key := db.Keys.PaymentsPending()
	zs, err := db.rdb.ZRevRangeWithScores(ctx, key, 0, -1).Result()
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", key, err)
	}
	rows, bad := pendingRows(key, zs)
	return rows, bad, nil
}

func pendingRows(key string, zs []redis.Z) (rows []PendingRow, bad []error) {
	for _, z := range zs {
		login, amount, ok := strings.Cut(member(z), ":")
		a, err := util.ParseShannon(amount)
		if !ok || err != nil || a <= 0 || !util.IsLogin(login) {
			bad = append(bad, fmt.Errorf("%w: %s row %q: want LOGIN:AMOUNT", ErrMalformed, key, member(z)))
			continue
		}
		rows = append(rows, PendingRow{Login: login, Amount: a, Time: int64(z.Score)})
	}
	return rows, bad
}

// Unreadable is a payment whose record is missing or malformed. Its nonce must
// be left alone.
type Unreadable struct {
	ID    string
	Nonce uint64
	Err   error
}

// Inflight reads every payment that is not final, by nonce, and tells apart those
// that cannot be read.
func (db *DB) Inflight(ctx context.Context) ([]*Payment, []Unreadable, error) {
	rows, err := db.rdb.ZRangeWithScores(ctx, db.Keys.Inflight(), 0, -1).Result()
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", db.Keys.Inflight(), err)
	}
	ids := make([]string, len(rows))
	for i, z := range rows {
		ids[i] = fmt.Sprint(z.Member)
	}
	all, errs := db.Records(ctx, ids)
	var ps []*Payment
	var bad []Unreadable
	for i, err := range errs {
		switch {
		case err == nil:
			ps = append(ps, all[i])
		case errors.Is(err, ErrMalformed), errors.Is(err, ErrNotFound):
			bad = append(bad, Unreadable{ID: ids[i], Nonce: uint64(max(0, rows[i].Score)), Err: err})
		default:
			return nil, nil, err
		}
	}
	slices.SortStableFunc(ps, func(a, b *Payment) int {
		if a.Nonce != b.Nonce {
			return int(int64(a.Nonce) - int64(b.Nonce))
		}
		return strings.Compare(a.ID, b.ID)
	})
	return ps, bad, nil
}

// Finals reads the final payments from the block on that a deep reorg could
// still undo.
func (db *DB) Finals(ctx context.Context, fromBlock, toBlock uint64) ([]*Payment, error) {
	ids, err := db.rdb.ZRangeByScore(ctx, db.Keys.Finals(), &redis.ZRangeBy{
		Min: strconv.FormatUint(fromBlock, 10), Max: strconv.FormatUint(toBlock, 10)}).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", db.Keys.Finals(), err)
	}
	return db.Payments(ctx, ids...)
}

// Payments reads records by id; one that is missing is ErrNotFound.
func (db *DB) Payments(ctx context.Context, ids ...string) ([]*Payment, error) {
	ps, errs := db.Records(ctx, ids)
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return ps, nil
}

// Records reads records by id, each with its own error.
func (db *DB) Records(ctx context.Context, ids []string) ([]*Payment, []error) {
	if len(ids) == 0 {
		return nil, nil
	}
	cmds := make([]*redis.MapStringStringCmd, len(ids))
	// The pipeline's own error is the first of its commands' errors.
	_, _ = db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			cmds[i] = p.HGetAll(ctx, db.Keys.Payment(id))
		}
		return nil
	})
	ps, errs := make([]*Payment, len(ids)), make([]error, len(ids))
	for i, id := range ids {
		m, err := cmds[i].Result()
		switch {
		case redis.HasErrorPrefix(err, "WRONGTYPE"):
			errs[i] = fmt.Errorf("%w: %s is no hash", ErrMalformed, db.Keys.Payment(id))
		case err != nil:
			errs[i] = fmt.Errorf("read %s: %w", db.Keys.Payment(id), err)
		case len(m) == 0:
			errs[i] = fmt.Errorf("read payment %s: %w", id, ErrNotFound)
		default:
			var p Payment
			p, errs[i] = parsePayment(db.Keys.Payment(id), id, m)
			ps[i] = &p
		}
	}
	return ps, errs
}

// Known is what the ledger holds of a journalled payment.
type Known struct {
	Exists bool // also when it cannot be read: what is there must not be put back
	State  State
	Tries  int
	Err    error // ErrMalformed: State and Tries cannot be told
}

// Known says for each id what the ledger holds. The error is of a Redis that did not
// answer; a record that cannot be read has its own.
func (db *DB) Known(ctx context.Context, ids ...string) ([]Known, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	cmds := make([]*redis.SliceCmd, len(ids))
	// The pipeline's own error is the first of its commands' errors.
	_, _ = db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			cmds[i] = p.HMGet(ctx, db.Keys.Payment(id), "state", "tries")
		}
		return nil
	})
	known := make([]Known, len(ids))
	for i, cmd := range cmds {
		if err := cmd.Err(); err != nil && !isWrongType(err) {
			return nil, fmt.Errorf("read %s: %w", db.Keys.Payment(ids[i]), err)
		}
		known[i] = parseKnown(db.Keys.Payment(ids[i]), cmd)
	}
	return known, nil
}

func parseKnown(key string, cmd *redis.SliceCmd) Known {
	v, err := cmd.Result()
	if err != nil {
		return Known{Exists: true, Err: fmt.Errorf("%w: read %s: %w", ErrMalformed, key, err)}
	}
	if v[0] == nil && v[1] == nil {
		return Known{}
	}
	state, _ := v[0].(string)
	tries, _ := v[1].(string)
	n, err := strconv.Atoi(tries)
	switch {
	case state == "":
		return Known{Exists: true, Err: fmt.Errorf("%w: %s has no state", ErrMalformed, key)}
	case err != nil:
		return Known{Exists: true, Err: fmt.Errorf("%w: %s field tries = %q: want a whole number", ErrMalformed, key, tries)}
	}
	return Known{Exists: true, State: State(state), Tries: n}
}

// Nonce says what a nonce of the account is bound to, "" when nothing is.
func (db *DB) Nonce(ctx context.Context, account common.Address, nonce uint64) (string, error) {
	v, err := db.rdb.HGet(ctx, db.Keys.Nonces(account), strconv.FormatUint(nonce, 10)).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("read %s: %w", db.Keys.Nonces(account), err)
	}
	return v, nil
}

// NoncesFrom says what the account's nonces from the first to before the last
// are bound to; those bound to nothing are absent.
func (db *DB) NoncesFrom(ctx context.Context, account common.Address, first, last uint64) (map[uint64]string, error) {
	bound := map[uint64]string{}
	for from := first; from < last; from += 1000 {
		to := min(from+1000, last)
		names := make([]string, 0, to-from)
		for n := from; n < to; n++ {
			names = append(names, strconv.FormatUint(n, 10))
		}
		vs, err := db.rdb.HMGet(ctx, db.Keys.Nonces(account), names...).Result()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", db.Keys.Nonces(account), err)
		}
		for i, v := range vs {
			if s, ok := v.(string); ok {
				bound[from+uint64(i)] = s
			}
		}
	}
	return bound, nil
}

// PaymentByHash returns the id of the payment that a transaction belongs to, or "".
func (db *DB) PaymentByHash(ctx context.Context, tx common.Hash) (string, error) {
	id, err := db.rdb.HGet(ctx, db.Keys.Hashes(), tx.Hex()).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		return "", fmt.Errorf("read %s: %w", db.Keys.Hashes(), err)
	}
	return id, nil
}

// History reads the payments of a miner since a time, oldest first, under the
// login as stored and in every letter case the history knows it by.
func (db *DB) History(ctx context.Context, login string, since int64) ([]Paid, error) {
	var rows []Paid
	seen := map[common.Hash]bool{}
	add := func(hash, amount string, at int64) {
		h, err1 := parseTxHash(hash)
		a, err2 := util.ParseShannon(amount)
		if err1 == nil && err2 == nil && !seen[h] {
			seen[h] = true
			rows = append(rows, Paid{Hash: h, Login: login, Amount: a, Time: at})
		}
	}
	if err := db.byScore(ctx, db.Keys.Payments(login), since, math.MaxInt64, func(row string, at int64) {
		if parts := strings.Split(row, ":"); len(parts) == 2 {
			add(parts[0], parts[1], at)
		}
	}); err != nil {
		return nil, err
	}
	if err := db.byScore(ctx, db.Keys.PaymentsAll(), since, math.MaxInt64, func(row string, at int64) {
		if parts := strings.Split(row, ":"); len(parts) == 3 && util.SameLogin(parts[1], login) {
			add(parts[0], parts[2], at)
		}
	}); err != nil {
		return nil, err
	}
	slices.SortStableFunc(rows, func(a, b Paid) int { return cmp.Compare(a.Time, b.Time) })
	return rows, nil
}

// parseTxHash reads a transaction hash as a person may have typed it: the
// manual's own example has 63 digits.
func parseTxHash(s string) (common.Hash, error) {
	digits, ok := strings.CutPrefix(s, "0x")
	if !ok || digits == "" || len(digits) > 64 {
		return common.Hash{}, fmt.Errorf("%q: want 0x and 64 hex digits", s)
	}
	if len(digits)%2 == 1 {
		digits = "0" + digits
	}
	b, err := hexutil.Decode("0x" + digits)
	if err != nil {
		return common.Hash{}, fmt.Errorf("%q: %w", s, err)
	}
	return common.BytesToHash(b), nil
}

// PaidSince adds up the history from a moment in unix seconds on, without rows that
// cannot be read.
func (db *DB) PaidSince(ctx context.Context, since int64) (sum util.Shannon, err error) {
	err = db.PaidBetween(ctx, since, math.MaxInt64, func(r PaidRow) { sum += r.Amount })
	return sum, err
}

// Rejects reads which recipients do not accept payments, and why.
func (db *DB) Rejects(ctx context.Context) (map[string]string, error) {
	m, err := db.rdb.HGetAll(ctx, db.Keys.Rejects()).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", db.Keys.Rejects(), err)
	}
	return m, nil
}

// OldNonce and OldHash read what open-etc-pool wrote beside a pending row; ok
// is false when it did not.
func (db *DB) OldNonce(ctx context.Context, r PendingRow) (nonce uint64, ok bool, err error) {
	v, err := db.rdb.HGet(ctx, db.Keys.PendingNonces(), r.Row()).Result()
	if errors.Is(err, redis.Nil) {
		return 0, false, nil
	}
	if err != nil {
		return 0, false, fmt.Errorf("read %s: %w", db.Keys.PendingNonces(), err)
	}
	n, good := new(big.Int).SetString(v, 0)
	if !good || !n.IsUint64() {
		return 0, false, fmt.Errorf("%w: %s field %s = %q: want a nonce", ErrMalformed, db.Keys.PendingNonces(), r.Row(), v)
	}
	return n.Uint64(), true, nil
}

// OldHash reads the transaction hash that open-etc-pool wrote beside a pending row.
func (db *DB) OldHash(ctx context.Context, r PendingRow) (tx common.Hash, ok bool, err error) {
	v, err := db.rdb.HGet(ctx, db.Keys.PendingHashes(), r.Row()).Result()
	if errors.Is(err, redis.Nil) || err == nil && v == "" {
		return common.Hash{}, false, nil
	}
	if err != nil {
		return common.Hash{}, false, fmt.Errorf("read %s: %w", db.Keys.PendingHashes(), err)
	}
	h, err := parseTxHash(v)
	if err != nil {
		return common.Hash{}, false, fmt.Errorf("%w: %s field %s: %w", ErrMalformed, db.Keys.PendingHashes(), r.Row(), err)
	}
	return h, true, nil
}
