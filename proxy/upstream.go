package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/proxy/ethash"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

const (
	// settle is how long a node may take, after it told of a new block, until it
	// has work on top of it.
	settle     = 500 * time.Millisecond
	settleLook = 2 * time.Millisecond
	// headsFactor is how many times rarer a node is polled that tells of new
	// blocks itself: then only new transactions change its work.
	headsFactor = 8
	// submitTries bounds how often a block is offered to a node that does not
	// answer.
	submitTries = 5
	submitNap   = 200 * time.Millisecond
	// patience is how long miners go on with the last work when no node gives any: a
	// node that starts again is back by then. After several blocks' time what they
	// find is of no use to anybody, and would be paid all the same.
	patience = time.Minute
)

// upstream is one node.
type upstream struct {
	Upstream
	node Node

	healthy atomic.Bool
	height  atomic.Uint64 // of its last work
	heads   atomic.Bool   // it tells of new blocks
}

// upstreams are the nodes in the operator's order. The first healthy one gives
// work; all of them take blocks.
type upstreams struct {
	list     []*upstream
	rules    ethash.Rules
	verifier Verifier
	board    *board
	announce func() // called when the node was asked for its work
	poll     time.Duration
	check    time.Duration
	log      *slog.Logger
	kick     chan *upstream // a node has told of a new block
	worked   atomic.Int64   // when a node last gave work, unix nanoseconds
	dead     atomic.Bool    // none has for longer than patience
	current  atomic.Pointer[upstream]
}

// run keeps the board up to date until ctx ends.
func (u *upstreams) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { u.watch(ctx) })
	for _, up := range u.list {
		if up.WS != "" {
			wg.Go(func() { u.listen(ctx, up) })
		}
	}
	u.worked.Store(time.Now().UnixNano())
	u.choose(ctx)
	for ctx.Err() == nil {
		up := u.current.Load()
		nap := u.poll
		if up.heads.Load() {
			nap *= headsFactor
		}
		if err := u.refresh(ctx, up); err != nil {
			u.failed(ctx, up, err)
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(nap):
		case told := <-u.kick:
			if told == up {
				u.chase(ctx, up)
			}
		}
	}
}

// refresh asks the node for its work and posts what is new.
func (u *upstreams) refresh(ctx context.Context, up *upstream) error {
	parts, err := up.node.GetWork(ctx)
	if err != nil {
		return fmt.Errorf("get work: %w", err)
	}
	w, height, err := parseWork(parts)
	if err != nil {
		return err
	}
	if known := u.board.header(w.Header); known != nil {
		if known != u.board.now.Load() { // the node went back to it
			u.board.post(known.again())
		}
		u.alive()
		return nil
	}
	if !height {
		if w.Height, _, err = up.node.PendingBlock(ctx); err != nil {
			return fmt.Errorf("ask for the height of the work: %w", err)
		}
	}
	if err := u.verifier.Prepare(ctx, w.Height); err != nil {
		return fmt.Errorf("prepare to verify shares of height %d: %w", w.Height, err)
	}
	w.Node, w.Since = up.Name, time.Now()
	if w.Epoch, err = u.epochOf(w.Seed); err != nil {
		return err
	}
	if want := u.rules.Epoch(w.Height).Seeds; w.Epoch != want {
		return fmt.Errorf("the seed hash of the work at height %d was hashed %d times, by network it would be %d: does network fit the node", w.Height, w.Epoch, want)
	}
	up.height.Store(w.Height)
	u.board.post(w)
	u.alive()
	return nil
}

// alive notes that a node gave the present work, and tells everybody of it.
func (u *upstreams) alive() {
	u.worked.Store(time.Now().UnixNano())
	if u.dead.Swap(false) {
		u.log.Info("a node gives work again")
	}
	u.announce()
}

// chase asks again and again until the node has work on top of the block that it
// told of.
func (u *upstreams) chase(ctx context.Context, up *upstream) {
	before := u.board.now.Load()
	for began := time.Now(); time.Since(began) < settle; {
		if err := u.refresh(ctx, up); err != nil {
			return // the next round meets it as well
		}
		if now := u.board.now.Load(); before == nil || now.Height > before.Height {
			return
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(settleLook):
		}
	}
}

// failed turns to another node, or waits when there is none.
func (u *upstreams) failed(ctx context.Context, up *upstream, err error) {
	if ctx.Err() != nil {
		return
	}
	if up.healthy.Swap(false) {
		u.log.Warn("node does not give work", "node", up.Name, "err", err)
	}
	if since := time.Unix(0, u.worked.Load()); time.Since(since) > patience && !u.dead.Swap(true) {
		u.log.Error("no node gives work; miners get none until one does", "since", since.Format(time.TimeOnly))
		u.announce()
	}
	u.choose(ctx)
	if u.current.Load() != up {
		return
	}
	select {
	case <-ctx.Done():
	case <-time.After(u.check):
		u.probe(ctx, up)
	case <-u.kick:
	}
}

// watch looks at every node from time to time, and returns to a better one.
func (u *upstreams) watch(ctx context.Context) {
	tick := time.NewTicker(u.check)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			for _, up := range u.list {
				if up != u.current.Load() || !up.healthy.Load() {
					u.probe(ctx, up)
				}
			}
			u.choose(ctx)
		}
	}
}

// probe finds out whether a node could give work.
func (u *upstreams) probe(ctx context.Context, up *upstream) {
	err := func() error {
		if syncing, err := up.node.Syncing(ctx); err != nil || syncing {
			return errors.Join(err, map[bool]error{true: errors.New("the node is still syncing")}[syncing])
		}
		parts, err := up.node.GetWork(ctx)
		if err != nil {
			return err
		}
		w, height, err := parseWork(parts)
		if err != nil {
			return err
		}
		if !height {
			if w.Height, _, err = up.node.PendingBlock(ctx); err != nil {
				return err
			}
		}
		up.height.Store(w.Height)
		return nil
	}()
	if ctx.Err() != nil {
		return
	}
	if was := up.healthy.Swap(err == nil); was != (err == nil) {
		if err != nil {
			u.log.Warn("node does not give work", "node", up.Name, "err", err)
		} else {
			u.log.Info("node gives work", "node", up.Name)
		}
	}
}

// choose takes the first node that is healthy and not behind the others; with
// none the first is tried on.
func (u *upstreams) choose(context.Context) {
	var top uint64
	for _, up := range u.list {
		if up.healthy.Load() {
			top = max(top, up.height.Load())
		}
	}
	best := u.list[0]
	for _, up := range u.list {
		if up.healthy.Load() && up.height.Load()+backlog >= top {
			best = up
			break
		}
	}
	if old := u.current.Swap(best); old != nil && old != best {
		u.log.Warn("taking work from another node", "node", best.Name, "before", old.Name)
	}
}

// epochOf is how EthereumStratum/2.0.0 calls the seed hash.
func (u *upstreams) epochOf(seed common.Hash) (uint64, error) {
	if last := u.board.now.Load(); last != nil && last.Seed == seed {
		return last.Epoch, nil
	}
	n, ok := ethash.SeedRounds(seed)
	if !ok {
		return 0, fmt.Errorf("the node's seed hash %s is none of any epoch", seed)
	}
	return n, nil
}

// listen has the node tell of new blocks; polling goes on meanwhile, so that a
// subscription that dies quietly costs little.
func (u *upstreams) listen(ctx context.Context, up *upstream) {
	said := false
	for ctx.Err() == nil {
		err := rpc.Heads(ctx, up.WS, func() {
			if !up.heads.Swap(true) {
				u.log.Info("node tells of new blocks", "node", up.Name)
				said = false
			}
			if u.current.Load() != up {
				return // it would keep out the word of the one that is asked
			}
			select {
			case u.kick <- up:
			default: // it is being asked already
			}
		})
		up.heads.Store(false)
		if ctx.Err() == nil && !said {
			u.log.Warn("node does not tell of new blocks; it is asked for them", "node", up.Name, "err", err)
			said = true
		}
		select {
		case <-ctx.Done():
		case <-time.After(u.check):
		}
	}
}

// submit offers the block to every node at once. Their answers are for the log:
// what became of the block is on the chain.
func (u *upstreams) submit(ctx context.Context, b storage.FoundBlock, log *slog.Logger) {
	var wg sync.WaitGroup
	for _, up := range u.list {
		wg.Go(func() {
			log := log.With("node", up.Name)
			for try := range submitTries {
				took, err := up.node.SubmitWork(ctx, b.Nonce, b.Header, b.Mix)
				switch {
				case err == nil && took:
					log.Info("node took the block")
					return
				case err == nil:
					// A node that does not have this work refuses it, too.
					log.Warn("node refused the block")
					return
				case try == submitTries-1 || ctx.Err() != nil:
					log.Error("it is unknown whether the node took the block; the unlocker will find out", "err", err)
					return
				}
				select {
				case <-ctx.Done():
				case <-time.After(submitNap):
				}
			}
		})
	}
	wg.Wait()
}
