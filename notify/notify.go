package notify

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Books is all that a Notifier may do to Redis, in the order in which it does.
// SetNotices may be repeated.
type Books interface {
	News(ctx context.Context) (storage.News, error)
	Notices(ctx context.Context, hook string) (storage.Notices, error)
	SetNotices(ctx context.Context, hook string, n storage.Notices) error
}

// Parts are what a Notifier works with.
type Parts struct {
	Books  Books
	Log    *slog.Logger
	Pool   string // the instance's name
	Coin   string
	Symbol string           // of amounts in texts
	Now    func() time.Time // nil: the wall clock
}

// Notifier tells every hook of the configuration what is new.
type Notifier struct{ hooks []*hook }

// New makes a Notifier and reads the hooks' tokens; what is wrong with one is a
// util.KeyError. It starts nothing.
func New(cfg Config, parts Parts) (*Notifier, error) {
	if parts.Now == nil {
		parts.Now = time.Now
	}
	var f util.Faults
	n := &Notifier{}
	for i, h := range cfg.Hooks {
		token, err := h.token()
		f.Check(hookKey(i)+".tokenFile", err)
		kinds := h.Events
		if kinds == nil {
			kinds = allKinds
		}
		n.hooks = append(n.hooks, &hook{
			name:     h.Name,
			policy:   policy{who: who{parts.Pool, parts.Coin, parts.Symbol}, kinds: kinds, walletLow: cfg.WalletLow},
			books:    parts.Books,
			poster:   newPoster(h, token, cfg.Timeout.Std(), parts.Now),
			interval: cfg.Interval.Std(),
			log:      parts.Log.With("hook", h.Name),
			now:      parts.Now,
			sleep:    sleep,
		})
	}
	if err := f.Err(); err != nil {
		return nil, err
	}
	return n, nil
}

// Run tells every hook what is new until ctx ends. Nothing that happens to a hook,
// or to Redis, ends it.
func (n *Notifier) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, h := range n.hooks {
		all.Go(func() { h.run(ctx) })
	}
	all.Wait()
	return ctx.Err()
}

// Tried is what became of a message to one hook.
type Tried struct {
	Hook string
	Err  error // nil: the hook took it
}

// Test sends every hook a message that says it is a test, once.
func (n *Notifier) Test(ctx context.Context) []Tried {
	tried := make([]Tried, len(n.hooks))
	var all sync.WaitGroup
	for i, h := range n.hooks {
		all.Go(func() { tried[i] = Tried{Hook: h.name, Err: h.poster.post(ctx, h.test(h.now().Unix()))} })
	}
	all.Wait()
	return tried
}

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
