package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/proxy/ethash"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// submission is what a miner claims to have found.
type submission struct {
	Login, Worker string
	IP            string
	Work          *work        // nil when it is too old, or none of ours
	Difficulty    int64        // that the miner was asked for
	Nonce         uint64       // all eight bytes
	Mix           *common.Hash // nil in dialects that do not carry it
}

// verdict is what became of a share.
type verdict int

const (
	valid         verdict = iota // it counts
	stale                        // its work is too old, or none of ours
	duplicate                    // it was counted before
	lowDifficulty                // it does not meet the difficulty, or its mix is wrong
	unavailable                  // the pool could not tell; the miner may send it again
	idle                         // no node gives work: it is of no use
	verdicts                     // how many there are
)

func (v verdict) String() string {
	return [...]string{"valid", "stale", "duplicate", "low difficulty", "unavailable", "without a node"}[v]
}

// judge verifies a share and counts it. It returns when the share is in Redis.
func (p *Proxy) judge(ctx context.Context, s submission) verdict {
	v := p.verify(ctx, s)
	if v == unavailable || v == idle {
		s.Work.seen.remove(s.Nonce)
	}
	p.tally[v].Add(1)
	return v
}

func (p *Proxy) verify(ctx context.Context, s submission) verdict {
	if s.Work == nil {
		return stale
	}
	difficulty := s.Work.share(s.Difficulty)
	target := targetOf(difficulty)
	job := ethash.Work{Header: s.Work.Header, Nonce: s.Nonce}
	if s.Mix != nil && !meets(ethash.Quick(job, *s.Mix), target) {
		return lowDifficulty
	}
	if !s.Work.seen.add(s.Nonce) {
		return duplicate
	}
	digest, err := p.verifier.Hash(p.lasting, s.Work.Height, job)
	if err != nil {
		p.log.Warn("a share was not verified", "height", s.Work.Height, "err", err)
		return unavailable
	}
	if s.Mix != nil && digest.Mix != *s.Mix || !meets(digest.Final, target) {
		s.Work.seen.remove(s.Nonce)
		return lowDifficulty
	}
	share := storage.Share{Login: s.Login, Worker: s.Worker, Difficulty: difficulty, Height: s.Work.Height,
		Nonce: fmt.Sprintf("0x%016x", s.Nonce), Header: s.Work.Header.Hex(), Mix: digest.Mix.Hex()}
	if meets(digest.Final, s.Work.Target) {
		return p.found(ctx, s, share)
	}
	if p.upstreams.dead.Load() {
		return idle
	}
	ctx, cancel := context.WithTimeout(ctx, p.countTime)
	defer cancel()
	return p.count(ctx, share)
}

// countTime is how long a miner waits for Redis until he is told that his share is
// not known to count: longer than one command may take, and hardly longer than a
// miner waits before he connects again, and again, until there is room for nobody.
// It may count all the same.
const countTime = 15 * time.Second

func (p *Proxy) count(ctx context.Context, share storage.Share) verdict {
	fresh, err := p.counter.count(ctx, share)
	switch {
	case err != nil:
		return unavailable
	case !fresh:
		return duplicate
	}
	return valid
}

// found brings a block to every node and to the ledger. On disk first: then it
// waits neither for Redis nor for a node, and a crash forgets nothing.
func (p *Proxy) found(ctx context.Context, s submission, share storage.Share) verdict {
	b := storage.FoundBlock{Share: share, Time: time.Now().Unix(), Difficulty: s.Work.Difficulty}
	log := p.log.With("height", b.Height, "nonce", b.Nonce, "login", b.Login, "worker", b.Worker)
	if err := p.spool.add(b); err != nil {
		log.Error("a block was found, but its file cannot be written; it goes on without", "err", err)
	}
	log.Info("block found", "difficulty", b.Difficulty, "header", b.Header)
	p.deliveries.Go(func() { p.upstreams.submit(p.lasting, b, log) })
	v := p.count(ctx, share) // however long it takes
	// The block's own share belongs into its round, so that this comes after it.
	p.deliveries.Go(func() { p.record(p.lasting, b, log) })
	return v
}

// record writes a block down in the ledger, however often it takes.
func (p *Proxy) record(ctx context.Context, b storage.FoundBlock, log *slog.Logger) {
	nap := retryFirst
	for {
		fresh, err := p.ledger.Found(ctx, b)
		if err == nil {
			if !fresh {
				log.Info("the block was written down before")
			}
			if err := p.spool.done(b); err != nil {
				log.Warn("the block stays in its file; it is written down once all the same", "err", err)
			}
			return
		}
		if ctx.Err() != nil {
			log.Warn("the block is not in redis yet; it will be at the next start")
			return
		}
		log.Error("the block waits for redis", "err", err)
		select {
		case <-ctx.Done():
		case <-time.After(nap):
		}
		nap = min(2*nap, retryMost)
	}
}

// remindEvery is how soon Redis hears again of a block that it forgot.
const remindEvery = time.Minute

// remind writes down again and again what Redis should know, until ctx ends.
func (p *Proxy) remind(ctx context.Context) {
	for {
		p.remindOnce(ctx)
		select {
		case <-ctx.Done():
			return
		case <-time.After(remindEvery):
		}
	}
}

// remindOnce stops at the first failure: whoever counts shares tells of it.
func (p *Proxy) remindOnce(ctx context.Context) {
	for _, b := range p.spool.kept() {
		fresh, err := p.ledger.Found(ctx, b)
		if err != nil {
			return
		}
		if fresh {
			p.log.Error("redis had forgotten a block; it is written down again", "height", b.Height, "nonce", b.Nonce, "login", b.Login)
		}
	}
	if err := p.spool.forget(time.Now().Add(-spoolKeep)); err != nil {
		p.log.Warn("old blocks stay in their file", "err", err)
	}
}
