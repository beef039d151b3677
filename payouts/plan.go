package payouts

import (
	"cmp"
	"context"
	"errors"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Plan is what a session would do now. Nothing is written to make it.
type Plan struct {
	Account  common.Address
	Head     uint64
	Nonce    uint64   // the next one to bind
	Balance  *big.Int // Wei on the account
	InFlight int      // transactions not in a block
	Pay      []Planned
	Blocked  []Skip
	Total    util.Shannon // of all in Pay
	FeesWei  *big.Int     // the most that Pay can cost beside the amounts
	Stopped  error        // a [Halt] when a session would pay nobody, or stop early
	Problems []error      // rows that are set aside
	Next     time.Time    // the next session by the schedule, from now
}

// Planned is one payment that a session would make.
type Planned struct {
	Login  string
	Amount util.Shannon
	Gas    uint64
	FeeWei *big.Int // at most
}

// Plan looks at everything a session looks at and says whom it would pay and
// what blocks whom.
func (p *Payer) Plan(ctx context.Context) (Plan, error) {
	t := &turn{Payer: p}
	pl := Plan{Account: p.account, FeesWei: new(big.Int), Next: p.schedule.Next(p.clock.Now())}
	if err := t.look(ctx); err != nil {
		return pl, err
	}
	if err := t.read(ctx); err != nil {
		return pl, err
	}
	pl.Head, pl.Balance, pl.Nonce = t.view.Head.Number, t.view.BalanceWei, t.meta.NextNonce
	if t.meta.ChainID == 0 {
		t.meta.NextNonce, pl.Nonce = t.view.Nonce, t.view.Nonce
	}
	pl.InFlight = t.unmined()
	if t.orders != nil {
		if err := t.readHolds(ctx); err != nil {
			return pl, err
		}
	}
	if err := t.wouldStop(ctx, &pl); err != nil {
		return pl, err
	}
	return pl, t.wouldPay(ctx, &pl)
}

// wouldStop asks what would keep a session from paying anybody.
func (t *turn) wouldStop(ctx context.Context, pl *Plan) error {
	var h *Halt
	for _, check := range []func(context.Context) error{t.wouldBelong, t.wouldLock, t.checkNode, t.wouldAccount, func(context.Context) error { return t.paused() }, func(ctx context.Context) error { return t.signer.Ready(ctx, t.account) }} {
		err := check(ctx)
		switch {
		case errors.As(err, &h):
			pl.Stopped = err
			return nil
		case errors.Is(err, ErrSigner):
			pl.Stopped = &Halt{Reason: HaltSigner, Err: err}
			return nil
		case err != nil:
			return err
		}
	}
	return nil
}

func (t *turn) wouldBelong(context.Context) error {
	if h := t.journal.Header(); t.meta.ChainID != 0 && (t.meta.ChainID != h.ChainID || t.meta.Genesis != h.Genesis) {
		return halt(HaltChain, "the ledger belongs to chain id %d with genesis %s, the node is on chain id %d with genesis %s",
			t.meta.ChainID, t.meta.Genesis, h.ChainID, h.Genesis)
	}
	return nil
}

// wouldAccount looks at transactions of the account that the ledger does not
// know yet.
func (t *turn) wouldAccount(ctx context.Context) error {
	for n := t.meta.NextNonce; n < t.view.Nonce; n++ {
		tx, _, err := t.locate(ctx, n, 0)
		if err != nil || tx == nil {
			return err
		}
		if err := t.accountFor(ctx, tx, nil); err != nil {
			return err
		}
	}
	return nil
}

func (t *turn) wouldLock(ctx context.Context) error {
	if t.meta.Halt != "" {
		return halt(HaltRefused, "%s", t.meta.Halt)
	}
	if rows := t.oldRows(); len(rows) > 0 {
		return halt(HaltOldRows, "%d pending payments of an older pool are not resolved", len(rows))
	}
	value, err := t.ledger.LockValue(ctx)
	if err != nil || value == "" {
		return err
	}
	if _, ok := parseOwner(value); !ok {
		return halt(HaltLocked, "payouts are locked by %q", value)
	}
	return nil
}

// wouldPay drafts the payments of a session in batches, as the session does.
func (t *turn) wouldPay(ctx context.Context, pl *Plan) error {
	at, err := t.price(ctx)
	var h *Halt
	if errors.As(err, &h) {
		pl.Stopped, err = h, nil
		at = price{GasPrice: t.cfg.MaxGasPrice.Big()}
	}
	if err != nil {
		return err
	}
	due, bad, err := t.ledger.Due(ctx, t.cfg.Threshold)
	if err != nil {
		return err
	}
	switch err := t.mindStrays(ctx, due); {
	case errors.As(err, &h):
		pl.Stopped = cmp.Or(pl.Stopped, err)
	case err != nil:
		return err
	}
	pl.Problems = append(bad, t.bad...)
	s := &session{}
	t.lease = readOnly{}
	open := map[string]*storage.Payment{}
	for _, p := range t.open {
		open[p.Login] = p
	}
	for _, a := range due {
		switch p := open[a.Login]; {
		case p != nil && p.State == storage.Held:
			s.skip(a.Login, ReasonHeld, p.Why)
		case p != nil && p.State == storage.Signed:
			s.skip(a.Login, ReasonFlight, "payment "+p.ID+" is not settled yet")
		default:
			s.queue = append(s.queue, a)
		}
	}
	s.queue = t.unheld(s, s.queue)
	if err := t.countSpent(ctx, s); err != nil {
		return err
	}
	for len(s.queue) > 0 {
		n := min(planBatch, len(s.queue))
		batch := s.queue[:n]
		s.queue = s.queue[n:]
		ps, err := t.draft(ctx, s, batch, at)
		if err != nil {
			return err
		}
		ps, low := t.affordable(ps, at)
		ps, over := t.within(s, ps)
		if over != nil {
			low = over
		}
		if low != nil && pl.Stopped == nil {
			pl.Stopped = low
		}
		for _, p := range ps {
			fee := new(big.Int).Mul(at.max(), new(big.Int).SetUint64(p.Gas))
			pl.Pay = append(pl.Pay, Planned{Login: p.Login, Amount: p.Amount, Gas: p.Gas, FeeWei: fee})
			pl.Total += p.Amount
			s.spent, s.today = s.spent+p.Amount, s.today+p.Amount
			pl.FeesWei.Add(pl.FeesWei, fee)
			p.Attempts = []storage.Attempt{{GasPrice: at.max()}}
			t.open = append(t.open, p)
			t.meta.NextNonce++
		}
		var h *Halt
		if errors.As(low, &h) {
			why := "the hot wallet does not hold enough"
			if over != nil {
				why = "the limit of what may be spent is reached"
			}
			for _, a := range append(batch[len(ps):], s.queue...) {
				s.skip(a.Login, h.Reason, why)
			}
			break
		}
	}
	pl.Blocked = s.Skipped
	return nil
}

// planBatch is how many recipients are looked at in one call.
const planBatch = 500

// readOnly is the lease of somebody who may change nothing: marking a recipient
// is left to the session, and everything else must not be called.
type readOnly struct{ Lease }

func (readOnly) Reject(context.Context, string, string) error { return nil }

// Status is what the ledger says of itself, for people.
type Status struct {
	Meta    storage.Meta
	Lock    string // the lock's value, "" when free
	Open    []*storage.Payment
	Pending []storage.PendingRow
	Rejects map[string]string
	Holds   map[string]storage.Act // whom operators do not want paid
	Totals  storage.Miner
	Bad     []error // rows that cannot be read
}

// ReadStatus reads it. Nothing is written, and the node is not asked.
func ReadStatus(ctx context.Context, db *storage.DB) (Status, error) {
	var s Status
	var err error
	if s.Meta, err = db.Meta(ctx); err != nil {
		return s, err
	}
	if s.Lock, err = db.LockValue(ctx); err != nil {
		return s, err
	}
	var unread []storage.Unreadable
	if s.Open, unread, err = db.Inflight(ctx); err != nil {
		return s, err
	}
	if s.Pending, s.Bad, err = db.Pending(ctx); err != nil {
		return s, err
	}
	for _, u := range unread {
		s.Bad = append(s.Bad, u.Err)
	}
	if s.Rejects, err = db.Rejects(ctx); err != nil {
		return s, err
	}
	if s.Holds, err = db.Holds(ctx); errors.Is(err, storage.ErrMalformed) {
		s.Bad = append(s.Bad, err)
	} else if err != nil {
		return s, err
	}
	s.Totals, err = db.Finances(ctx)
	return s, err
}
