package storage

import (
	"context"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

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
	a := auditor{db: l.db, miners: map[string]*sums{}, seed: maphash.MakeSeed(), rows: map[uint64]uint64{}}
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
