package payouts

import (
	"context"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// What an operator decides about one open payment. Each is what the manual has
// typed with redis-cli, in one step and after a look at the chain; the next advance
// goes on from there, as it does from rows that were typed.

// about does one thing to one open payment, when every other has had its turn.
func (p *Payer) about(ctx context.Context, id string, do func(*turn, *storage.Payment) error) error {
	return p.hold(ctx, func(t *turn) error {
		// What a node that is cut off does not show proves nothing.
		if err := t.checkNode(ctx); err != nil {
			return err
		}
		if err := t.advance(ctx); err != nil && haltReason(err) != HaltUnaccounted && haltReason(err) != HaltRefused {
			return err // it has not looked at all that there is
		}
		i := slices.IndexFunc(t.open, func(p *storage.Payment) bool { return p.ID == id })
		if i < 0 {
			return fmt.Errorf("payment %s is not in flight: see explain of its login", id)
		}
		return do(t, t.open[i])
	})
}

// Adopt takes a transaction that the operator made by hand for the making of a
// payment. Its own bytes are not sent any more, and its nonce is used up by a
// transaction that moves nothing.
func (p *Payer) Adopt(ctx context.Context, id string, tx common.Hash) error {
	return p.about(ctx, id, func(t *turn, q *storage.Payment) error {
		if q.State == storage.Sent && q.Hash == tx {
			return nil // the advance has done it
		}
		if err := t.adoptable(ctx, q, tx); err != nil {
			return err
		}
		if err := t.adopt(ctx, q, tx, t.lease.AdoptWithRow); err != nil {
			return err
		}
		return t.goOn(ctx)
	})
}

// adoptable says why a transaction cannot be taken for a payment, or nil.
func (t *turn) adoptable(ctx context.Context, p *storage.Payment, tx common.Hash) error {
	if p.Kind != storage.ToMiner || p.State != storage.Signed && p.State != storage.Held {
		return fmt.Errorf("payment %s is %s: its own transaction %s was taken by a node; a transaction made by hand beside it is a payment of its own, see record", p.ID, p.State, p.Hash)
	}
	if slices.ContainsFunc(p.Attempts, func(a storage.Attempt) bool { return a.Hash == tx && !a.ByHand }) {
		return fmt.Errorf("transaction %s is payment %s's own; payouts look after it themselves", tx, p.ID)
	}
	if m := t.seen[p.ID]; m != nil {
		return fmt.Errorf("payment %s is made: its own transaction %s is in block %d; a transaction made by hand beside it is a payment of its own, see record", p.ID, m.Hash, m.Block)
	}
	found, err := t.ownTransaction(ctx, tx)
	if err != nil {
		return err
	}
	if to := addressOf(found.To); to != p.To {
		return fmt.Errorf("transaction %s pays %s, payment %s is to %s", tx, to, p.ID, p.To)
	}
	if found.Value.Cmp(p.Value) != 0 && found.Value.Cmp(p.Amount.Wei()) != 0 {
		return fmt.Errorf("transaction %s moves %s coins, payment %s is of %s", tx, coins(found.Value), p.ID, p.Amount.Coins())
	}
	switch owner, err := t.ledger.PaymentByHash(ctx, tx); {
	case err != nil:
		return err
	case owner != "" && owner != p.ID:
		return fmt.Errorf("transaction %s is booked already: it is %s", tx, owner)
	}
	return t.deepAndGood(ctx, found)
}

// Retry lets a payment go on that waits for a person: one that is held, because its
// pending row was removed, or one that the node refused, whose bytes are offered
// once more.
func (p *Payer) Retry(ctx context.Context, id string) error {
	return p.about(ctx, id, func(t *turn, q *storage.Payment) error {
		refused := q.Kind == storage.ToMiner && q.AllRefused()
		if q.State != storage.Held && (q.State != storage.Signed || !refused) {
			return fmt.Errorf("payment %s is %s and waits for nobody: its bytes go out again until it is in a block", q.ID, q.State)
		}
		// Another attempt with the same bytes, because the journal must know before
		// they go out that they may be out: it makes void what was journalled of an
		// end, and a Redis that forgets must not say any more that all was refused.
		again, before := *q.Last(), len(q.Attempts)
		again.Refused, again.AtBlock = "", t.view.Head.Number
		q.Attempts = append(q.Attempts, again)
		if err := t.journal.Append(Record{Attempt: &AttemptRecord{ID: q.ID, Count: len(q.Attempts), Attempt: again}}); err != nil {
			return &Halt{Reason: HaltJournal, Err: err}
		}
		if err := t.lease.Attempts(ctx, q, before); err != nil {
			return err
		}
		delete(t.givenUp, q.ID)
		t.fresh[q.ID] = refused // nothing was out, so that the next answer proves as much as the last
		if q.State == storage.Held {
			if err := t.lease.PutBack(ctx, q); err != nil {
				return err
			}
		}
		return t.goOn(ctx)
	})
}

// goOn takes the next step after an operator's. Payouts that were halted by a
// payment go on when no refused one is left.
func (t *turn) goOn(ctx context.Context) error {
	if err := t.advance(ctx); err != nil {
		return err
	}
	if t.meta.Halt == "" || slices.ContainsFunc(t.open, func(p *storage.Payment) bool { return p.Kind == storage.ToMiner && p.AllRefused() }) {
		return nil
	}
	t.halted, t.meta.Halt = false, ""
	t.log.Info("Payouts unlocked")
	return t.lease.Note(ctx, "halt", "")
}
