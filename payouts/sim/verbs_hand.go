package sim

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

func byHand(row string) (code, error) { return 0, fmt.Errorf("%w: %s", storage.ErrByHand, row) }

func (l *lease) Adopt(_ context.Context, p *storage.Payment, now int64, held util.Shannon, why string) error {
	return l.adopt(p, now, held, why, false)
}

func (l *lease) AdoptWithRow(_ context.Context, p *storage.Payment, now int64, held util.Shannon, why string) error {
	return l.adopt(p, now, held, why, true)
}

func (l *lease) adopt(p *storage.Payment, now int64, held util.Shannon, why string, row bool) error {
	if p.State == storage.Held {
		held -= p.Amount
	}
	return l.run("adopt a payment made by hand for "+p.ID, func(b *books) (code, error) {
		r := b.payments[p.ID]
		if r == nil || r.Kind != storage.ToMiner || r.Login != p.Login || r.Amount != p.Amount {
			return conflict("payment %s is something else", p.ID)
		}
		if err := b.taken(p.Hash, p.ID); err != nil {
			return 0, err
		}
		if r.State == storage.Sent && r.Hash == p.Hash {
			return already, nil
		}
		if r.State != storage.Signed && r.State != storage.Held {
			return conflict("payment %s is %s", p.ID, r.State)
		}
		if _, there := b.pending[p.PendingRow()]; there && !row {
			return conflict("pending row %s exists", p.PendingRow())
		}
		if err := b.movable(p.Login, p.Amount, pending, paid); err != nil {
			return 0, err
		}
		delete(b.pending, p.PendingRow())
		b.settleByHand(p.Login, p.Amount, held)
		if b.own[p.Login] == nil {
			b.own[p.Login] = map[string]int64{}
		}
		replaceTyped(b.all, p.Hash.Hex()+":"+p.PendingRow(), p.Time, now)
		replaceTyped(b.own[p.Login], p.Hash.Hex()+":"+p.Amount.String(), p.Time, now)
		b.change(p.ID, func(r *storage.Payment) {
			r.State, r.Hash, r.Attempts, r.Why = storage.Sent, p.Hash, slices.Clone(p.Attempts), why
		})
		b.hashes[p.Hash] = p.ID
		return ok, nil
	})
}

// replaceTyped lets a row that a person typed give way to ours, at its time.
func replaceTyped(rows map[string]int64, ours string, since, now int64) {
	plain := func(s string) string { return strings.TrimLeft(strings.TrimPrefix(strings.ToLower(s), "0x"), "0") }
	at := now
	for _, typed := range slices.SortedFunc(maps.Keys(rows), func(x, y string) int {
		if rows[x] != rows[y] {
			return int(rows[x] - rows[y])
		}
		return strings.Compare(x, y)
	}) {
		if rows[typed] >= since && plain(typed) == plain(ours) {
			at = rows[typed]
			delete(rows, typed)
		}
	}
	rows[ours] = at
}

func (l *lease) Hold(_ context.Context, p *storage.Payment, why string) error {
	return l.hold(p, storage.Held, why)
}

func (l *lease) Unhold(_ context.Context, p *storage.Payment) error {
	return l.hold(p, storage.Signed, "")
}

func (l *lease) hold(p *storage.Payment, to storage.State, why string) error {
	return l.run("mark payment "+p.ID, func(b *books) (code, error) {
		r := b.payments[p.ID]
		if r == nil || r.Kind != storage.ToMiner || r.Login != p.Login || r.Amount != p.Amount {
			return conflict("payment %s is something else", p.ID)
		}
		if r.State == to {
			return already, nil
		}
		if r.State != storage.Signed && r.State != storage.Held {
			return conflict("payment %s is %s", p.ID, r.State)
		}
		if _, there := b.pending[p.PendingRow()]; (to == storage.Held) == there {
			return conflict("pending row %s changed meanwhile", p.PendingRow())
		}
		if to == storage.Signed && !p.AllRefused() && !b.backed(p.Login, p.Amount) {
			return conflict("pending row %s was put back, and its amount not", p.PendingRow())
		}
		b.change(p.ID, func(r *storage.Payment) { r.State, r.Why = to, why })
		return ok, nil
	})
}

func (l *lease) PutBack(_ context.Context, p *storage.Payment) error {
	return l.run("put back the pending row of payment "+p.ID, func(b *books) (code, error) {
		r := b.payments[p.ID]
		if r == nil || r.Kind != storage.ToMiner || r.Login != p.Login || r.Amount != p.Amount {
			return conflict("payment %s is something else", p.ID)
		}
		if _, there := b.pending[p.PendingRow()]; there && (r.State == storage.Held || r.State == storage.Signed) {
			return already, nil
		}
		if r.State != storage.Held {
			return conflict("payment %s is %s", p.ID, r.State)
		}
		if !b.backed(p.Login, p.Amount) {
			return conflict("the amount of payment %s is pending no more", p.ID)
		}
		b.pending[p.PendingRow()] = p.Time
		return ok, nil
	})
}

func (l *lease) Ignore(_ context.Context, tx common.Hash) error {
	return l.run("ignore a transaction", func(b *books) (code, error) {
		switch owner := b.hashes[tx]; owner {
		case storage.Ignored:
			return already, nil
		case "":
			b.hashes[tx] = storage.Ignored
			return ok, nil
		default:
			return conflict("transaction %s is payment %s", tx, owner)
		}
	})
}

func (l *lease) Foreign(_ context.Context, account common.Address, nonce uint64, tx common.Hash, was string, to *common.Address) error {
	return l.run("record a foreign transaction", func(b *books) (code, error) {
		if b.meta["nextNonce"] == "" {
			return conflict("there is no next nonce")
		}
		next, is := b.number("nextNonce"), b.nonces[account][nonce]
		value := "foreign:" + tx.Hex()
		switch {
		case is == value && b.suspected(tx, to):
			return already, nil
		case is == value:
			b.suspect(tx, to)
			return ok, nil
		case is != "" && is != was && !strings.HasPrefix(is, "foreign:") && !strings.HasPrefix(is, "dead:"):
			return conflict("nonce %d is bound to %s", nonce, is)
		case is == "" && nonce > next:
			return conflict("nonce %d is beyond the next one", nonce)
		}
		b.bind(account, nonce, value)
		b.suspect(tx, to)
		if is == "" && next == nonce {
			b.meta["nextNonce"] = strconv.FormatUint(next+1, 10)
		}
		return ok, nil
	})
}

func (l *lease) Reject(_ context.Context, login, why string) error {
	return l.run("mark a recipient", func(b *books) (code, error) {
		if why == "" {
			delete(b.rejects, login)
		} else {
			b.rejects[login] = why
		}
		return noted, nil
	})
}

func (l *lease) CreditBackOld(_ context.Context, r storage.PendingRow) error {
	return l.oldRow(r, "", 0, balance)
}

func (l *lease) PaidOld(_ context.Context, r storage.PendingRow, tx common.Hash, now int64) error {
	return l.oldRow(r, tx.Hex(), now, paid)
}

func (l *lease) oldRow(r storage.PendingRow, tx string, now int64, to field) error {
	return l.run("settle an old row", func(b *books) (code, error) {
		if _, there := b.pending[r.Row()]; !there {
			if _, done := b.all[tx+":"+r.Row()]; tx != "" && !done {
				return byHand(r.Row())
			}
			return already, nil
		}
		if err := b.movable(r.Login, r.Amount, pending, to); err != nil {
			return 0, err
		}
		delete(b.pending, r.Row())
		delete(b.oldTx, r.Row())
		if b.backed(r.Login, r.Amount) {
			b.move(r.Login, r.Amount, pending, to)
		}
		if tx != "" {
			b.addHistory(tx, r.Login, r.Amount, now)
			if h := common.HexToHash(tx); b.hashes[h] == "" {
				b.hashes[h] = storage.Recorded
			}
		}
		return ok, nil
	})
}

func (l *lease) Record(_ context.Context, login string, amount util.Shannon, tx common.Hash, now int64) error {
	return l.record(login, amount, tx, now, false)
}

func (l *lease) Recordable(_ context.Context, login string, amount util.Shannon, tx common.Hash, now int64) error {
	return l.record(login, amount, tx, now, true)
}

func (l *lease) record(login string, amount util.Shannon, tx common.Hash, now int64, ask bool) error {
	return l.run("record a transaction", func(b *books) (code, error) {
		if _, there := b.all[tx.Hex()+":"+login+":"+amount.String()]; there {
			return already, nil
		}
		if p := b.payments[b.hashes[tx]]; p == nil || !p.NotBy(tx) {
			if err := b.taken(tx, storage.Recorded); err != nil {
				return 0, err
			}
		}
		if err := b.movable(login, amount, balance, paid); err != nil {
			return 0, err
		}
		for row := range b.all {
			if strings.HasPrefix(row, tx.Hex()+":") {
				return conflict("%s is in the history", tx)
			}
		}
		if ask {
			return noted, nil
		}
		b.move(login, amount, balance, paid)
		b.addHistory(tx.Hex(), login, amount, now)
		b.hashes[tx] = storage.Recorded
		return ok, nil
	})
}
