package proxy

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

const (
	// gather is how long a share waits for others to be counted with it, when so
	// many came together the last time. Else none is waited for: whoever comes
	// while Redis counts makes the next batch.
	gather     = 2 * time.Millisecond
	gatherFrom = 4
	// batchMost bounds a batch: Redis does nothing else while it counts one.
	batchMost  = 200
	retryFirst = 50 * time.Millisecond
	retryMost  = 2 * time.Second
)

// errNotCounted reports a share of which it is unknown whether it counts: the
// process ends, or Redis does not answer.
var errNotCounted = errors.New("it is unknown whether the share counts")

// counter takes shares to Redis in batches, one batch after the other. A batch
// whose fate is unknown is sent again, unchanged, until there is an answer.
type counter struct {
	ledger Ledger
	proxy  string
	keep   time.Duration
	oldest func() uint64 // height below which no share is accepted
	log    *slog.Logger
	in     chan *counting
	last   int // shares in the last batch
	health *health
}

// counting is a share on its way to Redis.
type counting struct {
	share   storage.Share
	counted chan bool // gets one verdict, or is closed without when the process ends
}

func newCounter(ledger Ledger, proxy string, keep time.Duration, oldest func() uint64, h *health, log *slog.Logger) *counter {
	return &counter{ledger: ledger, proxy: proxy, keep: keep, oldest: oldest, log: log, health: h, in: make(chan *counting, 4*batchMost)}
}

// count returns when the share is in Redis, and says whether it is new there.
func (c *counter) count(ctx context.Context, s storage.Share) (fresh bool, err error) {
	one := &counting{share: s, counted: make(chan bool, 1)}
	select {
	case c.in <- one:
	case <-ctx.Done():
		return false, errNotCounted
	}
	select {
	case fresh, ok := <-one.counted:
		if !ok {
			return false, errNotCounted
		}
		return fresh, nil
	case <-ctx.Done():
		return false, errNotCounted
	}
}

// run counts until ctx ends.
func (c *counter) run(ctx context.Context) {
	number := uint64(0)
	for {
		waiting := c.gather(ctx)
		if waiting == nil {
			return
		}
		number++
		b := storage.Batch{Proxy: c.proxy, Number: number, Time: time.Now(), Oldest: c.oldest(), Keep: c.keep}
		for _, w := range waiting {
			b.Shares = append(b.Shares, w.share)
		}
		fresh, err := c.insist(ctx, b)
		for i, w := range waiting {
			if err != nil {
				close(w.counted)
				continue
			}
			w.counted <- fresh[i]
		}
	}
}

// gather waits for a share and collects what comes with it; nil when ctx ends.
func (c *counter) gather(ctx context.Context) []*counting {
	var waiting []*counting
	select {
	case <-ctx.Done():
		return nil
	case one := <-c.in:
		waiting = append(waiting, one)
	}
	var full <-chan time.Time // never, or when it is time
	if c.last >= gatherFrom {
		full = time.After(gather)
	}
	for more := true; more && len(waiting) < batchMost; {
		select {
		case one := <-c.in:
			waiting = append(waiting, one)
			continue
		default:
		}
		if more = full != nil; more {
			select {
			case one := <-c.in:
				waiting = append(waiting, one)
			case <-full:
				more = false
			}
		}
	}
	c.last = len(waiting)
	return waiting
}

// insist counts the batch, however often it takes.
func (c *counter) insist(ctx context.Context, b storage.Batch) ([]bool, error) {
	nap := retryFirst
	for {
		fresh, err := c.ledger.Count(ctx, b)
		c.health.redis(err)
		if err == nil {
			return fresh, nil
		}
		if ctx.Err() != nil {
			return nil, err
		}
		c.log.Warn("shares wait for redis", "shares", len(b.Shares), "err", err)
		select {
		case <-ctx.Done():
			return nil, err
		case <-time.After(nap):
		}
		nap = min(2*nap, retryMost)
	}
}
