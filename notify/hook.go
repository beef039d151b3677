package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// How long a hook waits after something failed.
const (
	retryFirst  = 5 * time.Second
	retryMost   = 5 * time.Minute
	refusedWait = time.Hour      // after an answer that a repetition does not change
	longest     = 24 * time.Hour // whatever the hook asks for
	// saveTimeout bounds the writing down of what was delivered when the process ends.
	saveTimeout = time.Second
)

// hook is one who is told. It belongs to one goroutine.
type hook struct {
	name string
	policy
	books    Books
	poster   *poster
	interval time.Duration
	log      *slog.Logger
	now      func() time.Time
	sleep    func(context.Context, time.Duration)

	unsaved *storage.Notices // was delivered and not written down
	fails   int              // in a row
	said    string           // the kind of the last complaint, so that it is made once
}

func (h *hook) run(ctx context.Context) {
	for ctx.Err() == nil {
		h.sleep(ctx, h.turn(ctx))
	}
}

// turn tells all there is to tell and says how long to wait then.
func (h *hook) turn(ctx context.Context) time.Duration {
	err := h.tell(ctx)
	switch {
	case err == nil:
		if h.said != "" {
			h.log.Info("the hook is told again")
		}
		h.said, h.fails = "", 0
		return h.interval
	case ctx.Err() != nil:
		return 0
	}
	h.fails++
	wait := pause(err, h.fails)
	h.complain(err, wait)
	return wait
}

// tell goes over the line until there is nothing to tell. Everything is read anew
// for each message, so that each is what is true.
func (h *hook) tell(ctx context.Context) error {
	for {
		if err := h.save(ctx); err != nil {
			return err
		}
		news, err := h.books.News(ctx)
		if err != nil {
			return err
		}
		told, err := h.books.Notices(ctx, h.name)
		if err != nil {
			return err
		}
		s := h.decide(news, told, h.now().Unix())
		if !s.before.Equal(told) {
			if err := h.books.SetNotices(ctx, h.name, s.before); err != nil {
				return err
			}
		}
		if s.event == nil {
			return nil
		}
		if err := h.poster.post(ctx, s.event); err != nil {
			return fmt.Errorf("tell %s: %w", s.event.ID, err)
		}
		h.log.Info("told", "event", s.event.Event, "id", s.event.ID)
		h.unsaved, h.fails = &s.after, 0
	}
}

// save writes down what was delivered, also when the process is asked to end. Until
// it is, nothing more is told: while Redis takes no writes, the same would be told
// for ever.
func (h *hook) save(ctx context.Context) error {
	if h.unsaved == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), saveTimeout)
	defer cancel()
	if err := h.books.SetNotices(ctx, h.name, *h.unsaved); err != nil {
		return err
	}
	h.unsaved = nil
	return nil
}

// pause is how long to wait after so many failures in a row, at least one.
func pause(err error, fails int) time.Duration {
	wait := min(retryFirst<<min(fails-1, 10), retryMost)
	var p *postError
	if !errors.As(err, &p) {
		return wait
	}
	if p.refused() {
		wait = refusedWait
	}
	return min(max(wait, p.after), longest)
}

// complain logs what went wrong, once until it is something else.
func (h *hook) complain(err error, wait time.Duration) {
	kind, say, level := "redis", "Redis does not answer, or not as it should; trying again", slog.LevelWarn
	var p *postError
	if errors.As(err, &p) {
		kind, say = fmt.Sprint("status ", p.status), "the hook was not told; trying again"
		if p.refused() {
			say, level = "the hook refuses what it is told; look at its url, token and chat in the configuration", slog.LevelError
		}
	}
	if kind == h.said {
		return
	}
	h.said = kind
	h.log.Log(context.Background(), level, say, "err", err, "again", wait)
}
