package payouts

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// replayChunk is how many journal records are compared with the ledger at once.
const replayChunk = 1000

// journalStride is after how many records of a long journal its reader says so.
const journalStride = 100_000

// replay compares the journal with the ledger, oldest record first, and puts
// back what the ledger forgot. Then it writes into the journal what a crash
// kept out of it.
func (t *turn) replay(ctx context.Context, meta storage.Meta) error {
	t.actsRead = false
	open, _, err := t.ledger.Inflight(ctx)
	if err != nil {
		return err
	}
	written := map[string]int{} // attempts that the journal knows, of open payments
	for _, p := range open {
		written[p.ID] = 0
	}
	superseded, err := t.supersededVoids(ctx)
	if err != nil {
		return fmt.Errorf("replay the journal: %w", err)
	}
	var chunk []Record
	put, known, read := 0, 0, 0
	clear(t.blocked)
	flush := func() error {
		n, err := t.putBack(ctx, chunk)
		put += n
		chunk = chunk[:0]
		return err
	}
	err = t.journal.Replay(func(r Record) error {
		if read++; read%journalStride == 0 {
			t.log.Info("comparing the journal with the ledger", "records", read)
		}
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case r.Payment != nil:
			known++
			if _, ok := written[r.Payment.ID]; ok {
				written[r.Payment.ID] = len(r.Payment.Attempts)
			}
		case r.Attempt != nil:
			if n, ok := written[r.Attempt.ID]; ok {
				written[r.Attempt.ID] = max(n, r.Attempt.Count)
			}
		}
		if r.Void != nil && superseded[r.Void.ID] {
			return nil
		}
		if chunk = append(chunk, r); len(chunk) < replayChunk {
			return nil
		}
		return flush()
	})
	if err == nil {
		err = flush()
	}
	if err != nil {
		return fmt.Errorf("replay the journal: %w", err)
	}
	if known == 0 && meta.NextNonce > meta.FirstNonce {
		t.log.Warn("the journal is new, but the ledger has made payments: if payouts moved to another host, bring the journal along; "+
			"without it nothing can be put back that redis forgets", "firstNonce", meta.FirstNonce, "nextNonce", meta.NextNonce)
	}
	if put > 0 {
		t.log.Warn("redis had forgotten what the journal knows; it was put back", "records", put)
	}
	var missing []Record
	for _, p := range open {
		n := written[p.ID]
		if n == 0 {
			first := *p
			first.Attempts = p.Attempts[:1]
			missing, n = append(missing, Record{Payment: &first}), 1
		}
		for ; n < len(p.Attempts); n++ {
			missing = append(missing, Record{Attempt: &AttemptRecord{ID: p.ID, Count: n + 1, Attempt: p.Attempts[n]}})
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return t.journal.Append(missing...)
}

// supersededVoids are payments that were to be credited back, which a crash kept
// out of the ledger, and that somebody paid by hand then: the journal has another
// attempt after the end.
func (t *turn) supersededVoids(ctx context.Context) (map[string]bool, error) {
	superseded := map[string]bool{}
	err := t.journal.Replay(func(r Record) error {
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case r.Void != nil:
			superseded[r.Void.ID] = false
		case r.Attempt != nil:
			if _, ended := superseded[r.Attempt.ID]; ended {
				superseded[r.Attempt.ID] = true
			}
		}
		return nil
	})
	return superseded, err
}

// putBack repeats in the ledger those records that it does not hold, and
// returns how many there were.
func (t *turn) putBack(ctx context.Context, records []Record) (int, error) {
	ids := make([]string, 0, len(records))
	for _, r := range records {
		if id := r.payment(); id != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	ids = slices.Compact(ids)
	known := make(map[string]storage.Known, len(ids))
	if len(ids) > 0 {
		ks, err := t.ledger.Known(ctx, ids...)
		if err != nil {
			return 0, err
		}
		for i, id := range ids {
			known[id] = ks[i]
		}
	}
	put := 0
	for _, r := range records {
		id := r.payment()
		k := known[id]
		var err error
		switch {
		case k.Err != nil:
			err = k.Err
		case r.Payment != nil && !k.Exists:
			t.log.Warn("reinstating a payment that redis forgot", "payment", id, "login", r.Payment.Login,
				"amountShannon", int64(r.Payment.Amount), "nonce", r.Payment.Nonce, "tx", r.Payment.Last().Hash)
			err = t.lease.Reinstate(ctx, r.Payment)[0]
			known[id] = storage.Known{Exists: err == nil, State: storage.Sent, Tries: len(r.Payment.Attempts)}
		case r.Attempt != nil && k.Exists && k.Tries < r.Attempt.Count:
			err = t.putBackAttempt(ctx, r.Attempt)
			k.Tries = r.Attempt.Count
			known[id] = k
		case r.Void != nil && (k.State == storage.Signed || k.State == storage.Sent):
			err = t.putBackVoid(ctx, r.Void)
			k.State = storage.Void
			known[id] = k
		case r.ByHand != nil:
			b := r.ByHand
			if b.Typed {
				if there, err := t.booked(ctx, b.Login, b.Hash); err != nil {
					return put, err
				} else if there {
					continue
				}
			}
			err = t.lease.Record(ctx, b.Login, b.Amount, b.Hash, b.Time)
			if errors.Is(err, storage.ErrConflict) {
				t.log.Error("a payment made by hand cannot be put back", "login", b.Login, "tx", b.Hash, "err", err)
				err = nil
			}
			put-- // it is repeated every time; storage knows whether it is there
		default:
			continue
		}
		if errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrMalformed) {
			t.log.Error("a record of the journal cannot be put back until its rows are mended", "payment", id, "err", err)
			if r.Payment != nil && r.Payment.Kind == storage.ToMiner {
				t.blocked[r.Payment.Login] = err.Error() // his balance may still hold what was paid
			}
			continue
		}
		if err != nil {
			return put, err
		}
		put++
	}
	return put, nil
}

func (r Record) payment() string {
	switch {
	case r.Payment != nil:
		return r.Payment.ID
	case r.Attempt != nil:
		return r.Attempt.ID
	case r.Void != nil:
		return r.Void.ID
	}
	return ""
}

func (t *turn) putBackAttempt(ctx context.Context, r *AttemptRecord) error {
	ps, err := t.ledger.Payments(ctx, r.ID)
	if err != nil {
		return err
	}
	p := ps[0]
	before := len(p.Attempts)
	if before != r.Count-1 {
		return fmt.Errorf("%w: payment %s has %d attempts, the journal's next is number %d", ErrJournal, r.ID, before, r.Count)
	}
	p.Attempts = append(p.Attempts, r.Attempt)
	return t.lease.Attempts(ctx, p, before)
}

func (t *turn) putBackVoid(ctx context.Context, r *VoidRecord) error {
	ps, err := t.ledger.Payments(ctx, r.ID)
	if err != nil {
		return err
	}
	err = t.lease.Void(ctx, ps[0], r.Fate, r.Why, r.Reject)
	if errors.Is(err, storage.ErrByHand) {
		t.log.Warn("a payment that was given up has lost its pending row by hand; the balance is left alone", "payment", r.ID)
		return nil
	}
	return err
}

// nonces are the lowest and the highest of some.
type nonces struct{ first, last uint64 }

// journalledNonces are those that the journal knows of.
func (p *Payer) journalledNonces() (n nonces, found bool, err error) {
	err = p.journal.Replay(func(r Record) error {
		switch {
		case r.Payment == nil:
		case !found:
			n, found = nonces{r.Payment.Nonce, r.Payment.Nonce}, true
		default:
			n = nonces{min(n.first, r.Payment.Nonce), max(n.last, r.Payment.Nonce)}
		}
		return nil
	})
	return n, found, err
}
