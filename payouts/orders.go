package payouts

import (
	"context"
	"errors"
	"slices"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// Orders is what operators say about payouts while they run: whom not to pay, and
// when to pay nobody.
type Orders interface {
	Acts(ctx context.Context, n int64) ([]storage.Act, error)
	ControlAgain(ctx context.Context, n int64, a storage.Act) error
	Holds(ctx context.Context) (map[string]storage.Act, error)
}

// heed learns what operators have said since the last look, and writes it into the
// journal. What Redis has forgotten of it is said again.
func (t *turn) heed(ctx context.Context) error {
	if t.orders == nil {
		return nil
	}
	if !t.actsRead {
		var err error
		if t.acts, err = t.journalledActs(); err != nil {
			return err
		}
	}
	news, err := t.news(ctx)
	if err != nil {
		return err
	}
	if !t.actsRead || news {
		if err := t.hear(ctx); err != nil {
			return err
		}
		t.actsRead = true
	}
	if err := t.readHolds(ctx); err != nil {
		return err
	}
	t.meta, err = t.ledger.Meta(ctx)
	return err
}

// news says whether Redis has another list than we: its end is not ours.
func (t *turn) news(ctx context.Context) (bool, error) {
	last := max(0, len(t.acts)-1)
	said, err := t.orders.Acts(ctx, int64(last))
	return !slices.Equal(said, t.acts[last:]), err
}

// readHolds reads whom not to pay. Who is held by what cannot be read is held.
func (t *turn) readHolds(ctx context.Context) error {
	holds, err := t.orders.Holds(ctx)
	if errors.Is(err, storage.ErrMalformed) {
		if t.asideSaid["holds"] != err.Error() {
			t.asideSaid["holds"] = err.Error()
			t.log.Error("a hold cannot be read; release the miner, and hold him again if he is not to be paid", "err", err)
		}
		err = nil
	}
	t.holds = holds
	return err
}

// hear brings journal and Redis to the same list.
func (t *turn) hear(ctx context.Context) error {
	said, err := t.orders.Acts(ctx, 0)
	if err != nil {
		return err
	}
	same := 0
	for same < min(len(said), len(t.acts)) && said[same] == t.acts[same] {
		same++
	}
	if same == len(said) {
		for i, a := range t.acts[same:] {
			t.log.Warn("redis had forgotten what an operator said", "verb", a.Verb, "login", a.Login, "user", a.User, "reason", a.Reason)
			if err := t.orders.ControlAgain(ctx, int64(same+i), a); err != nil {
				return err
			}
		}
		return nil
	}
	if same < len(t.acts) {
		// Somebody spoke after Redis went back and before payouts looked. What he
		// said is newer.
		newer := said[same:]
		for _, a := range t.acts[same:] {
			if slices.ContainsFunc(newer, func(b storage.Act) bool { return b.Login == a.Login && b.Verb != storage.ActNote }) || a.Verb == storage.ActNote {
				t.log.Error("redis has forgotten what an operator said, and others have spoken since; say it again if it still holds",
					"verb", a.Verb, "login", a.Login, "user", a.User, "reason", a.Reason)
				continue
			}
			t.log.Warn("redis had forgotten what an operator said", "verb", a.Verb, "login", a.Login, "user", a.User, "reason", a.Reason)
			if err := t.orders.ControlAgain(ctx, int64(len(said)), a); err != nil {
				return err
			}
			said = append(said, a)
		}
	}
	var records []Record
	for _, a := range said[same:] {
		records = append(records, Record{Act: &ActRecord{Number: same + len(records), Act: a}})
	}
	if err := t.journal.Append(records...); err != nil {
		return err
	}
	t.acts = said
	return nil
}

// journalledActs are what operators said as the journal has it. A number that
// comes again begins anew from there.
func (t *turn) journalledActs() (acts []storage.Act, err error) {
	err = t.journal.Replay(func(r Record) error {
		if r.Act != nil {
			acts = append(acts[:min(r.Act.Number, len(acts))], r.Act.Act)
		}
		return nil
	})
	return acts, err
}

// paused is why an operator wants nobody paid, or nil.
func (t *turn) paused() error {
	if t.meta.Paused == "" {
		return nil
	}
	return halt(HaltPaused, "payouts are paused: %s; open-ethereum-pool payouts.json resume", t.meta.Paused)
}

// unheld are those of the queue whom no operator holds; the others are skipped.
func (t *turn) unheld(s *session, queue []storage.Account) []storage.Account {
	return slices.DeleteFunc(queue, func(a storage.Account) bool {
		act, held := t.holds[a.Login]
		if held {
			s.leaveOut(Skip{a.Login, ReasonHeld, act.Reason, true}) // not by whom: miners read it
		}
		return held
	})
}
