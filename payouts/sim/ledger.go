package sim

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// ledger is the books as payouts reads them, with the semantics of storage.DB.
type ledger struct {
	books     *books
	fenceless bool // a mistake: whoever holds the lock, everybody may write
}

var _ payouts.Ledger = (*ledger)(nil)

func (l *ledger) Acquire(_ context.Context, token, gone string, known uint64) (payouts.Lease, error) {
	b := l.books
	if b.lock != "" && b.lock != token && (gone == "" || b.lock != gone) {
		return nil, &storage.HeldError{Value: b.lock}
	}
	b.lock = token
	return &lease{ledger: l, token: token, step: known}, nil
}

func (l *ledger) LockValue(context.Context) (string, error) { return l.books.lock, nil }

func (l *ledger) Meta(context.Context) (storage.Meta, error) {
	m := l.books.meta
	num := func(f string) uint64 { return l.books.number(f) }
	meta := storage.Meta{Step: num("step"), Halt: m["halt"], HaltID: m["haltId"], Heartbeat: int64(num("heartbeat")), Wallet: -1}
	if m["chainId"] != "" {
		meta.ChainID, meta.Genesis, meta.Account = num("chainId"), common.HexToHash(m["genesis"]), common.HexToAddress(m["account"])
		meta.FirstNonce, meta.NextNonce, meta.Since = num("firstNonce"), num("nextNonce"), int64(num("since"))
		meta.SettledNonce = num("settledNonce")
	}
	if m["anchorBlock"] != "" {
		meta.AnchorBlock, meta.AnchorHash = num("anchorBlock"), common.HexToHash(m["anchorHash"])
	}
	meta.Session = storage.Session{Started: int64(num("sessionStarted")), Ended: int64(num("sessionEnded")), Due: int(num("sessionDue")),
		Paid: int(num("sessionPaid")), Amount: util.Shannon(num("sessionAmount")), Result: m["sessionResult"]}
	meta.NextSession, meta.Threshold, meta.Confirmations = int64(num("nextSession")), util.Shannon(num("threshold")), num("confirmations")
	meta.Paused, meta.AuditTime, meta.AuditFindings = m["paused"], int64(num("auditTime")), int(num("auditFindings"))
	if m["wallet"] != "" {
		meta.Wallet = util.Shannon(num("wallet"))
	}
	return meta, nil
}

func (l *ledger) Known(_ context.Context, ids ...string) ([]storage.Known, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	known := make([]storage.Known, len(ids))
	for i, id := range ids {
		if p := l.books.payments[id]; p != nil {
			known[i] = storage.Known{Exists: true, State: p.State, Tries: len(p.Attempts)}
		}
	}
	return known, nil
}

// copies hands out payments that the caller may change.
func (l *ledger) copies(ids []string) ([]*storage.Payment, error) {
	var ps []*storage.Payment
	for _, id := range ids {
		r := l.books.payments[id]
		if r == nil {
			return nil, fmt.Errorf("read payment %s: %w", id, storage.ErrNotFound)
		}
		p := *r
		p.Attempts = slices.Clone(r.Attempts)
		ps = append(ps, &p)
	}
	return ps, nil
}

func (l *ledger) Inflight(context.Context) ([]*storage.Payment, []storage.Unreadable, error) {
	ps, err := l.copies(l.books.openIDs())
	return ps, nil, err
}

func (l *ledger) Finals(_ context.Context, from, to uint64) ([]*storage.Payment, error) {
	finals := l.books.finals
	var ids []string
	for id, n := range finals {
		if from <= n && n <= to {
			ids = append(ids, id)
		}
	}
	slices.SortFunc(ids, func(x, y string) int { return cmp.Or(cmp.Compare(finals[x], finals[y]), strings.Compare(x, y)) })
	return l.copies(ids)
}

func (l *ledger) Payments(_ context.Context, ids ...string) ([]*storage.Payment, error) {
	return l.copies(ids)
}

func (l *ledger) Pending(context.Context) ([]storage.PendingRow, []error, error) {
	at := l.books.pending
	names := slices.SortedFunc(maps.Keys(at), func(x, y string) int { return cmp.Or(cmp.Compare(at[y], at[x]), strings.Compare(y, x)) })
	var rows []storage.PendingRow
	for _, name := range names {
		login, amount, _ := strings.Cut(name, ":")
		n, err := util.ParseShannon(amount)
		if err != nil {
			return nil, nil, err
		}
		rows = append(rows, storage.PendingRow{Login: login, Amount: n, Time: at[name]})
	}
	return rows, nil, nil
}

func (l *ledger) PaidSince(_ context.Context, since int64) (sum util.Shannon, err error) {
	for row, at := range l.books.all {
		if parts := strings.Split(row, ":"); at >= since && len(parts) == 3 {
			a, _ := util.ParseShannon(parts[2])
			sum += a
		}
	}
	return sum, nil
}

func (l *ledger) History(_ context.Context, login string, since int64) ([]storage.Paid, error) {
	var rows []storage.Paid
	seen := map[common.Hash]bool{}
	add := func(hash, amount string, at int64) {
		h, okay := typedHash(hash)
		a, err := util.ParseShannon(amount)
		if okay && err == nil && !seen[h] {
			seen[h] = true
			rows = append(rows, storage.Paid{Hash: h, Login: login, Amount: a, Time: at})
		}
	}
	for _, row := range byScore(l.books.own[login], since) {
		hash, amount, _ := strings.Cut(row, ":")
		add(hash, amount, l.books.own[login][row])
	}
	for _, row := range byScore(l.books.all, since) {
		if parts := strings.Split(row, ":"); len(parts) == 3 && strings.EqualFold(parts[1], login) {
			add(parts[0], parts[2], l.books.all[row])
		}
	}
	slices.SortStableFunc(rows, func(a, b storage.Paid) int { return cmp.Compare(a.Time, b.Time) })
	return rows, nil
}

// byScore lists members of a zset in Redis' order.
func byScore(m map[string]int64, since int64) []string {
	var names []string
	for name, at := range m {
		if at >= since {
			names = append(names, name)
		}
	}
	slices.SortFunc(names, func(x, y string) int { return cmp.Or(cmp.Compare(m[x], m[y]), strings.Compare(x, y)) })
	return names
}

// typedHash reads a hash as a person may have typed it, without leading zeros.
func typedHash(s string) (common.Hash, bool) {
	digits, prefixed := strings.CutPrefix(s, "0x")
	if !prefixed || digits == "" || len(digits) > 64 {
		return common.Hash{}, false
	}
	b, err := hexutil.Decode("0x" + strings.Repeat("0", len(digits)%2) + digits)
	return common.BytesToHash(b), err == nil
}

func (l *ledger) NoncesFrom(_ context.Context, account common.Address, first, last uint64) (map[uint64]string, error) {
	bound := map[uint64]string{}
	for n := first; n < last; n++ {
		if v, there := l.books.nonces[account][n]; there {
			bound[n] = v
		}
	}
	return bound, nil
}

func (l *ledger) Strays(context.Context) (map[common.Hash]common.Address, error) {
	return maps.Clone(l.books.strays), nil
}

func (l *ledger) PaymentByHash(_ context.Context, tx common.Hash) (string, error) {
	return l.books.hashes[tx], nil
}

func (l *ledger) Miner(_ context.Context, login string) (storage.Miner, error) {
	m, there := l.books.miners[login]
	if !there {
		return storage.Miner{}, fmt.Errorf("miner %s: %w", login, storage.ErrNotFound)
	}
	return storage.Miner{Login: login, Balance: m.balance, Pending: m.pending, Paid: m.paid}, nil
}

func (l *ledger) Due(_ context.Context, least util.Shannon) ([]storage.Account, []error, error) {
	var due []storage.Account
	for login, m := range l.books.miners {
		if m.balance >= least && m.balance > 0 {
			due = append(due, storage.Account{Login: login, Balance: m.balance})
		}
	}
	slices.SortFunc(due, func(a, b storage.Account) int {
		return cmp.Or(cmp.Compare(a.Balance, b.Balance), strings.Compare(a.Login, b.Login))
	})
	return due, nil, nil
}

func (l *ledger) Rejects(context.Context) (map[string]string, error) {
	return maps.Clone(l.books.rejects), nil
}

func (l *ledger) Logins(context.Context) ([]string, []error, error) {
	return slices.Sorted(maps.Keys(l.books.miners)), nil, nil
}

func (l *ledger) OldNonce(context.Context, storage.PendingRow) (uint64, bool, error) {
	return 0, false, nil
}

func (l *ledger) OldHash(_ context.Context, r storage.PendingRow) (common.Hash, bool, error) {
	h, there := l.books.oldTx[r.Row()]
	return common.HexToHash(h), there, nil
}

func (l *ledger) BgSave(context.Context) error { return nil }

// OpenBooks writes down by how much the books of an older pool do not add up.
func (l *lease) OpenBooks(context.Context) error {
	return l.run("open the books", func(b *books) (code, error) {
		if len(b.opening) > 0 {
			return already, nil
		}
		a := auditor{books: b, miners: map[string]*sums{}}
		a.rows()
		total := money{}
		for login, m := range b.miners {
			s := a.of(login)
			total.balance, total.pending, total.paid = total.balance+m.balance, total.pending+m.pending, total.paid+m.paid
			if d := [3]util.Shannon{m.balance + m.pending + m.paid - b.brought[login], m.pending - s.rows - s.held, m.paid - s.history}; d != [3]util.Shannon{} {
				b.opening[login] = fmt.Sprintf("%d:%d:%d:0", d[0], d[1], d[2])
			}
		}
		for login, s := range a.miners {
			if _, visited := b.miners[login]; !visited && s.rows+s.held+s.history != 0 {
				b.opening[login] = fmt.Sprintf("0:%d:%d:0", -s.rows-s.held, -s.history)
			}
		}
		f := b.finances
		b.opening["*"] = fmt.Sprintf("%d:%d:%d:0", f.balance-total.balance, f.pending-total.pending, f.paid-total.paid)
		return noted, nil
	})
}

// openingOf is what was wrong with a row before this ledger began.
func (b *books) openingOf(login string) (d money) {
	parts := strings.Split(b.opening[login], ":")
	if len(parts) != 4 {
		return d
	}
	for i, to := range []*util.Shannon{&d.balance, &d.pending, &d.paid} {
		n, _ := strconv.ParseInt(parts[i], 10, 64) // written by OpenBooks
		*to = util.Shannon(n)
	}
	return d
}
