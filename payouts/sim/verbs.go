package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// lease is the right to change the books, as storage.Lease: each method is one
// script of storage/lua, and the words in it are the script's.
type lease struct {
	*ledger
	token string
	step  uint64
}

var _ payouts.Lease = (*lease)(nil)

// code is how a script ends.
type code int

const (
	ok      code = iota // done; the step counts
	noted               // done; no money moved and the step stays
	already             // it had been done before
)

// conflict and byHand are the scripts' refusals.
func conflict(format string, args ...any) (code, error) {
	return 0, fmt.Errorf("%w: %s", storage.ErrConflict, fmt.Sprintf(format, args...))
}

// run carries out one script behind the prelude's checks.
func (l *lease) run(what string, script func(b *books) (code, error)) error {
	b := l.books
	if b.lock != l.token && !l.fenceless {
		return fmt.Errorf("%s: %w: it holds %q", what, storage.ErrLost, b.lock)
	}
	if s := b.step(); s < l.step {
		return fmt.Errorf("%s: %w: step %d, want at least %d", what, storage.ErrRolledBack, s, l.step)
	}
	c, err := script(b)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	if c == ok {
		b.meta["step"] = strconv.FormatUint(b.step()+1, 10)
	}
	l.step = max(l.step, b.step())
	return nil
}

// each runs a script for each payment, unless one of them cannot be written down.
func (l *lease) each(what string, ps []*storage.Payment, check func(*storage.Payment) error, script func(*books, *storage.Payment) (code, error)) []error {
	errs := make([]error, len(ps))
	for _, p := range ps {
		err := valid(p)
		if err == nil && check != nil {
			err = check(p)
		}
		if err != nil {
			for i := range errs {
				errs[i] = err
			}
			return errs
		}
	}
	for i, p := range ps {
		errs[i] = l.run(what, func(b *books) (code, error) { return script(b, p) })
	}
	return errs
}

func valid(p *storage.Payment) error {
	if len(p.Attempts) == 0 || p.Value == nil || p.Value.Sign() < 0 {
		return fmt.Errorf("payment %s cannot be written down", p.ID)
	}
	return nil
}

// payment finds a record and says why it is not the payment that is meant.
func (b *books) payment(p *storage.Payment, kind bool) (*storage.Payment, error) {
	r := b.payments[p.ID]
	switch {
	case r == nil:
		return nil, fmt.Errorf("%w: payment %s is unknown", storage.ErrConflict, p.ID)
	case kind && (r.Kind != p.Kind || r.Login != p.Login || r.Amount != p.Amount):
		return nil, fmt.Errorf("%w: payment %s has other fields", storage.ErrConflict, p.ID)
	}
	return r, nil
}

// change replaces a record by a changed copy.
func (b *books) change(id string, f func(p *storage.Payment)) {
	p := *b.payments[id]
	f(&p)
	b.payments[id] = &p
}

// taken says that a transaction is another payment's.
func (b *books) taken(tx common.Hash, id string) error {
	if owner, ok := b.hashes[tx]; ok && owner != id && tx != (common.Hash{}) {
		return fmt.Errorf("%w: transaction %s belongs to payment %s", storage.ErrConflict, tx, owner)
	}
	return nil
}

func sameAttempts(a, b []storage.Attempt) bool {
	x, _ := json.Marshal(a) // they were written so
	y, _ := json.Marshal(b)
	return string(x) == string(y)
}

// sameRecord compares what OPEN and REINSTATE write and nothing changes later.
func sameRecord(a, b *storage.Payment) bool {
	return a.Kind == b.Kind && a.Login == b.Login && a.Amount == b.Amount && a.Time == b.Time && a.Account == b.Account &&
		a.Nonce == b.Nonce && a.To == b.To && a.Value.Cmp(b.Value) == 0 && a.Gas == b.Gas && a.Replaces == b.Replaces
}

// fresh is the record that OPEN and REINSTATE write.
func fresh(p *storage.Payment, state storage.State, shown common.Hash) *storage.Payment {
	return &storage.Payment{ID: p.ID, Kind: p.Kind, Login: p.Login, Amount: p.Amount, Time: p.Time, State: state, Account: p.Account,
		Nonce: p.Nonce, To: p.To, Value: p.Value, Gas: p.Gas, Replaces: p.Replaces, Attempts: slices.Clone(p.Attempts), Hash: shown}
}

func (l *lease) Step() uint64 { return l.step }

func (l *lease) Resync(context.Context) error {
	l.step = l.books.step()
	return nil
}

func (l *lease) Init(_ context.Context, chainID uint64, genesis common.Hash, account common.Address, first, next uint64, now int64) error {
	return l.run("initialise the ledger", func(b *books) (code, error) {
		chain, before := b.meta["chainId"], b.meta["account"]
		if chain != "" && (chain != strconv.FormatUint(chainID, 10) || b.meta["genesis"] != genesis.Hex()) {
			return conflict("the ledger belongs to chain %s", chain)
		}
		if before == account.Hex() {
			return already, nil
		}
		if before != "" && len(b.inflight) > 0 {
			return conflict("account %s still has open payments", before)
		}
		maps.Copy(b.meta, map[string]string{"chainId": strconv.FormatUint(chainID, 10), "genesis": genesis.Hex(), "account": account.Hex(),
			"firstNonce": strconv.FormatUint(first, 10), "nextNonce": strconv.FormatUint(next, 10), "since": strconv.FormatInt(now, 10)})
		delete(b.meta, "settledNonce")
		return ok, nil
	})
}

func (l *lease) Open(_ context.Context, bound string, ps ...*storage.Payment) []error {
	return l.each("open a payment", ps, nil, func(b *books, p *storage.Payment) (code, error) {
		tx := p.Last().Hash
		if r := b.payments[p.ID]; r != nil {
			if !sameRecord(r, p) || r.State == storage.Void || tx != (common.Hash{}) && b.hashes[tx] != p.ID {
				return conflict("payment %s is something else", p.ID)
			}
			return already, nil
		}
		filler := p.Kind == storage.Filler
		is := b.nonces[p.Account][p.Nonce]
		if is != bound || is != "" && !filler {
			return conflict("nonce %d is bound to %s", p.Nonce, is)
		}
		next := b.number("nextNonce")
		isNext, gap := b.meta["nextNonce"] != "" && next == p.Nonce, filler && p.Nonce < next
		if !isNext && !gap {
			return conflict("nonce %d is not the next one", p.Nonce)
		}
		if _, known := b.hashes[tx]; known && tx != (common.Hash{}) {
			return conflict("transaction %s is recorded already", tx)
		}
		if p.Kind == storage.ToMiner {
			if err := b.movable(p.Login, p.Amount, balance, pending); err != nil {
				return 0, err
			}
			if err := b.movable(p.Login, p.Amount, pending, paid); err != nil {
				return 0, err
			}
			if b.miners[p.Login].balance < p.Amount {
				return conflict("the balance is below %d", p.Amount)
			}
			for row := range b.pending {
				if strings.HasPrefix(row, p.Login+":") {
					return conflict("pending row of %s exists", p.Login)
				}
			}
			b.move(p.Login, p.Amount, balance, pending)
			b.pending[p.PendingRow()] = p.Time
		}
		b.payments[p.ID] = fresh(p, storage.Signed, common.Hash{})
		b.bindNew(p, next)
		return ok, nil
	})
}

// bindNew binds a new record's nonce and names its transaction.
func (b *books) bindNew(p *storage.Payment, next uint64) {
	b.bind(p.Account, p.Nonce, p.ID)
	if next <= p.Nonce {
		b.meta["nextNonce"] = strconv.FormatUint(p.Nonce+1, 10)
	}
	if tx := p.Last().Hash; tx != (common.Hash{}) {
		b.hashes[tx] = p.ID
	}
	b.inflight[p.ID] = p.Nonce
}

func (l *lease) Reinstate(_ context.Context, ps ...*storage.Payment) []error {
	return l.each("reinstate a payment", ps, nil, func(b *books, p *storage.Payment) (code, error) {
		tx := p.Last().Hash
		if r := b.payments[p.ID]; r != nil {
			if !sameRecord(r, p) {
				return conflict("payment %s is something else", p.ID)
			}
			return already, nil
		}
		is := b.nonces[p.Account][p.Nonce]
		if is != "" && is != p.Replaces && !strings.HasPrefix(is, "dead:") && !strings.HasPrefix(is, "foreign:") {
			return conflict("nonce %d is bound to %s", p.Nonce, is)
		}
		if err := b.taken(tx, p.ID); err != nil {
			return 0, err
		}
		if p.Kind == storage.ToMiner {
			if err := b.movable(p.Login, p.Amount, balance, paid); err != nil {
				return 0, err
			}
			b.move(p.Login, p.Amount, balance, paid)
			if tx != (common.Hash{}) {
				b.addHistory(tx.Hex(), p.Login, p.Amount, p.Time)
			}
		}
		b.payments[p.ID] = fresh(p, storage.Sent, tx)
		b.bindNew(p, b.number("nextNonce"))
		return ok, nil
	})
}

func (l *lease) Attempts(_ context.Context, p *storage.Payment, before int) error {
	if err := valid(p); err != nil {
		return err
	}
	return l.run("record an attempt of payment "+p.ID, func(b *books) (code, error) {
		r, err := b.payment(p, false)
		if err == nil {
			err = b.taken(p.Last().Hash, p.ID)
		}
		if err != nil {
			return 0, err
		}
		if len(r.Attempts) == len(p.Attempts) && sameAttempts(r.Attempts, p.Attempts) {
			return already, nil
		}
		if len(r.Attempts) != before || len(p.Attempts) < before {
			return conflict("payment %s has %d attempts, want %d", p.ID, len(r.Attempts), before)
		}
		b.change(p.ID, func(r *storage.Payment) { r.Attempts = slices.Clone(p.Attempts) })
		if tx := p.Last().Hash; tx != (common.Hash{}) {
			b.hashes[tx] = p.ID
		}
		return ok, nil
	})
}

func (l *lease) Sent(_ context.Context, now int64, ps ...*storage.Payment) []error {
	shown := func(p *storage.Payment) common.Hash {
		if p.Hash != (common.Hash{}) {
			return p.Hash
		}
		return p.Last().Hash
	}
	hasHash := func(p *storage.Payment) error {
		if shown(p) == (common.Hash{}) {
			return fmt.Errorf("payment %s has no hash: %w", p.ID, storage.ErrConflict)
		}
		return nil
	}
	return l.each("book a payment as sent", ps, hasHash, func(b *books, p *storage.Payment) (code, error) {
		r, err := b.payment(p, true)
		if err != nil {
			return 0, err
		}
		tx := shown(p)
		if (r.State == storage.Sent || r.State == storage.Final) && r.Hash == tx {
			return already, nil
		}
		if r.State != storage.Signed {
			return conflict("payment %s is %s", p.ID, r.State)
		}
		if p.Kind == storage.ToMiner {
			if err := b.movable(p.Login, p.Amount, pending, paid); err != nil {
				return 0, err
			}
			if _, there := b.pending[p.PendingRow()]; !there {
				return byHand(p.PendingRow())
			}
			delete(b.pending, p.PendingRow())
			b.move(p.Login, p.Amount, pending, paid)
			b.addHistory(tx.Hex(), p.Login, p.Amount, now)
		}
		b.change(p.ID, func(r *storage.Payment) { r.State, r.Hash, r.Why = storage.Sent, tx, "" })
		return ok, nil
	})
}

func (l *lease) Final(_ context.Context, now int64, held util.Shannon, ps ...*storage.Payment) []error {
	rest := make(map[*storage.Payment]util.Shannon, len(ps))
	for _, p := range ps {
		if p.State == storage.Held {
			held -= p.Amount
		}
		rest[p] = held
	}
	return l.each("book a payment as final", ps, nil, func(b *books, p *storage.Payment) (code, error) {
		r, err := b.payment(p, true)
		if err != nil {
			return 0, err
		}
		if r.State == storage.Final {
			if r.Hash != p.Hash || r.Block != p.Block || r.BlockHash != p.BlockHash {
				return conflict("payment %s is final otherwise", p.ID)
			}
			return already, nil
		}
		if err := b.taken(p.Hash, p.ID); err != nil {
			return 0, err
		}
		if r.State != storage.Signed && r.State != storage.Sent && r.State != storage.Held {
			return conflict("payment %s is %s", p.ID, r.State)
		}
		pays, row := p.Kind == storage.ToMiner, p.PendingRow()
		if pays && r.State != storage.Sent {
			if err := b.movable(p.Login, p.Amount, pending, paid); err != nil {
				return 0, err
			}
			_, there := b.pending[row]
			if r.State == storage.Signed && !there {
				return byHand(row)
			}
			if r.State == storage.Held && there {
				return conflict("pending row %s exists", row)
			}
		}
		if pays {
			when := now
			switch {
			case r.State == storage.Signed:
				delete(b.pending, row)
				b.move(p.Login, p.Amount, pending, paid)
			case r.State == storage.Held:
				b.settleByHand(p.Login, p.Amount, rest[p])
			case r.Hash != p.Hash:
				was := hexOrEmpty(r.Hash)
				if at, there := b.all[was+":"+row]; there {
					when = at
				}
				b.dropHistory(was, p.Login, p.Amount)
			}
			if r.State != storage.Sent || r.Hash != p.Hash {
				b.addHistory(p.Hash.Hex(), p.Login, p.Amount, when)
			}
			delete(b.rejects, p.Login)
		}
		fee := p.FeeWei
		if fee == nil {
			fee = new(big.Int)
		}
		b.change(p.ID, func(r *storage.Payment) {
			r.State, r.Hash, r.Block, r.BlockHash, r.FeeWei, r.Why = storage.Final, p.Hash, p.Block, p.BlockHash, fee, ""
		})
		b.hashes[p.Hash] = p.ID
		delete(b.inflight, p.ID)
		b.finals[p.ID] = p.Block
		return ok, nil
	})
}

func (l *lease) Mined(_ context.Context, ps ...*storage.Payment) []error {
	return l.each("note a payment's block", ps, nil, func(b *books, p *storage.Payment) (code, error) {
		r, err := b.payment(p, false)
		switch {
		case err != nil:
			return 0, err
		case r.State != storage.Sent || r.Block == p.Block:
			return already, nil
		}
		b.change(p.ID, func(r *storage.Payment) { r.Block = p.Block })
		return ok, nil
	})
}

func (l *lease) Unfinal(_ context.Context, p *storage.Payment, why string) error {
	return l.run("reopen payment "+p.ID, func(b *books) (code, error) {
		r, err := b.payment(p, false)
		switch {
		case err != nil:
			return 0, err
		case r.Nonce != p.Nonce:
			return conflict("payment %s has nonce %d", p.ID, r.Nonce)
		case r.State == storage.Sent:
			return already, nil
		case r.State != storage.Final:
			return conflict("payment %s is %s", p.ID, r.State)
		}
		b.change(p.ID, func(r *storage.Payment) {
			r.State, r.Why, r.Block, r.BlockHash, r.FeeWei = storage.Sent, why, 0, common.Hash{}, nil
		})
		delete(b.finals, p.ID)
		b.inflight[p.ID] = p.Nonce
		return ok, nil
	})
}

func (l *lease) Void(_ context.Context, p *storage.Payment, fate storage.NonceFate, why, reject string) error {
	return l.run("void payment "+p.ID, func(b *books) (code, error) {
		r, err := b.payment(p, true)
		switch {
		case err != nil:
			return 0, err
		case r.Nonce != p.Nonce:
			return conflict("payment %s has nonce %d", p.ID, r.Nonce)
		case r.State == storage.Void:
			return already, nil
		case r.State != storage.Signed && r.State != storage.Sent:
			return conflict("payment %s is %s", p.ID, r.State)
		}
		from := pending
		if r.State == storage.Sent {
			from = paid
		}
		if p.Kind == storage.ToMiner {
			if err := b.movable(p.Login, p.Amount, from, balance); err != nil {
				return 0, err
			}
			if _, there := b.pending[p.PendingRow()]; r.State == storage.Signed && !there {
				return byHand(p.PendingRow())
			}
			if r.State == storage.Signed {
				delete(b.pending, p.PendingRow())
			}
			b.dropHistory(hexOrEmpty(r.Hash), p.Login, p.Amount)
			if r.State == storage.Sent || b.backed(p.Login, p.Amount) {
				b.move(p.Login, p.Amount, from, balance)
			}
			if reject != "" {
				b.rejects[p.Login] = reject
			}
		}
		b.change(p.ID, func(r *storage.Payment) { r.State, r.Why = storage.Void, why })
		delete(b.inflight, p.ID)
		b.leaveNonce(p, fate)
		return ok, nil
	})
}

func (l *lease) Bury(_ context.Context, ps ...*storage.Payment) error {
	return l.run("bury final payments", func(b *books) (code, error) {
		left := 0
		for _, p := range ps {
			r := b.payments[p.ID]
			if r == nil || len(r.Attempts) != len(p.Attempts) || r.State != storage.Final {
				return conflict("payment %s is something else", p.ID)
			}
			if _, there := b.finals[p.ID]; there {
				left++
			}
		}
		if left == 0 {
			return already, nil
		}
		for _, p := range ps {
			b.change(p.ID, func(r *storage.Payment) {
				r.Attempts = slices.Clone(p.Attempts)
				for i := range r.Attempts {
					r.Attempts[i].Raw = nil
				}
			})
			delete(b.finals, p.ID)
		}
		return ok, nil
	})
}

func (l *lease) Note(_ context.Context, fieldValues ...any) error {
	return l.run("note", func(b *books) (code, error) {
		if len(fieldValues)%2 == 1 {
			return conflict("a field has no value")
		}
		for i := 0; i < len(fieldValues); i += 2 {
			name, value := fmt.Sprint(fieldValues[i]), fmt.Sprint(fieldValues[i+1])
			if value == "" {
				delete(b.meta, name)
			} else {
				b.meta[name] = value
			}
		}
		return noted, nil
	})
}

func (l *lease) Skipped(_ context.Context, skipped map[string]storage.Skip) error {
	return l.run("write down who was not paid", func(b *books) (code, error) {
		b.skipped = make(map[string]string, len(skipped))
		for login, s := range skipped {
			text, _ := json.Marshal(s) // two strings
			b.skipped[login] = string(text)
		}
		return noted, nil
	})
}

func (l *lease) Release(context.Context) error {
	if l.books.lock == l.token {
		l.books.lock = ""
	}
	return nil
}

func (l *lease) Verify(_ context.Context, ps ...*storage.Payment) error {
	b := l.books
	if b.lock != l.token && !l.fenceless {
		return fmt.Errorf("verify payments: %w: it holds %q", storage.ErrLost, b.lock)
	}
	if s := b.step(); s < l.step {
		return fmt.Errorf("verify payments: %w: step %d, want at least %d", storage.ErrRolledBack, s, l.step)
	}
	for _, p := range ps {
		if r := b.payments[p.ID]; r == nil || len(r.Attempts) != len(p.Attempts) {
			return fmt.Errorf("verify payment %s: %w", p.ID, storage.ErrRolledBack)
		}
	}
	return nil
}

// leaveNonce is what VOID leaves at a nonce, and of the transactions' names.
func (b *books) leaveNonce(p *storage.Payment, fate storage.NonceFate) {
	if fate == storage.NonceOwn || b.nonces[p.Account][p.Nonce] != p.ID {
		return
	}
	if fate != storage.NonceFree {
		b.bind(p.Account, p.Nonce, string(fate))
		return
	}
	for _, a := range p.Attempts {
		delete(b.hashes, a.Hash)
	}
	if b.number("nextNonce") == p.Nonce+1 {
		delete(b.nonces[p.Account], p.Nonce)
		b.meta["nextNonce"] = strconv.FormatUint(p.Nonce, 10)
		return
	}
	b.bind(p.Account, p.Nonce, "dead:"+p.ID)
}
