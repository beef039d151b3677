package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

const (
	// extranonceBytes are the first bytes of a nonce, which the pool chooses: the
	// first of them is leased from Redis, the second counts connections. Six
	// bytes are left to the miner: enough for 20 TH/s and a block's time.
	extranonceBytes = 2
	prefixTTL       = 3 * time.Minute
	prefixRenewal   = time.Minute
)

// errNoExtranonce reports that no extranonce is free, here or in Redis.
var errNoExtranonce = errors.New("no extranonce is free")

// errUnasked reports that Redis did not answer another one, who asked first.
var errUnasked = errors.New("redis does not give extranonces at present")

// extranonces gives every connection that wants one nonces of its own, across all
// proxies of one Redis.
type extranonces struct {
	ledger  Ledger
	proxy   string
	renewal time.Duration
	log     *slog.Logger

	leasing sync.Mutex   // held while Redis is asked
	failed  atomic.Int64 // how often it did not answer

	mu sync.Mutex // guards all below
	// holders of our prefixes' extranonces, by first and second byte.
	holders [256]*[256]*session
	last    uint16 // that was given to anybody
}

func newExtranonces(ledger Ledger, proxy string, log *slog.Logger) *extranonces {
	return &extranonces{ledger: ledger, proxy: proxy, renewal: prefixRenewal, log: log}
}

// take finds a free extranonce for s; one more prefix is leased when all are in use.
func (e *extranonces) take(ctx context.Context, s *session) ([extranonceBytes]byte, error) {
	if x, ok := e.free(s); ok {
		return x, nil
	}
	failed := e.failed.Load()
	e.leasing.Lock()
	defer e.leasing.Unlock()
	for { // others may take all of a prefix before we do
		if x, ok := e.free(s); ok {
			return x, nil
		}
		if e.failed.Load() != failed { // who asks a Redis that hangs one after the other waits for ever
			return [extranonceBytes]byte{}, errUnasked
		}
		if err := e.lease(ctx, true); err != nil {
			return [extranonceBytes]byte{}, err
		}
	}
}

// free goes round: who takes what another one has just given back, and begins at
// the same nonce, repeats his work.
func (e *extranonces) free(s *session) (x [extranonceBytes]byte, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range 1 << 16 {
		n := e.last + 1 + uint16(i)
		if held := e.holders[n>>8]; held != nil && held[n&0xff] == nil {
			held[n&0xff], e.last = s, n
			return [extranonceBytes]byte{byte(n >> 8), byte(n)}, true
		}
	}
	return x, false
}

// put gives an extranonce back.
func (e *extranonces) put(x [extranonceBytes]byte, s *session) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if held := e.holders[x[0]]; held != nil && held[x[1]] == s { // else it was lost meanwhile
		held[x[1]] = nil
	}
}

// lease keeps our prefixes, and takes one more if asked to. e.leasing must be held.
func (e *extranonces) lease(ctx context.Context, more bool) error {
	e.mu.Lock()
	var have []byte
	for prefix, held := range e.holders {
		if held != nil {
			have = append(have, byte(prefix))
		}
	}
	e.mu.Unlock()
	var begin [1]byte
	_, _ = rand.Read(begin[:]) // never fails, says crypto/rand
	taken, lost, err := e.ledger.Extranonces(ctx, e.proxy, prefixTTL, have, more, begin[0])
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, prefix := range lost {
		e.lose(prefix)
	}
	switch {
	case errors.Is(err, storage.ErrNoExtranonce):
		return errNoExtranonce
	case err != nil:
		e.failed.Add(1)
		return err
	case more && e.holders[taken] == nil:
		e.holders[taken] = new([256]*session)
	}
	return nil
}

// lose hangs up on whoever has an extranonce that another proxy gives to its
// miners by now: he gets another one when he connects again. Few miners would hear
// of it in any other way. e.mu must be held.
func (e *extranonces) lose(prefix byte) {
	miners := 0
	for _, s := range e.holders[prefix] {
		if s != nil {
			s.conn.Close() // which wakes the reader
			miners++
		}
	}
	e.holders[prefix] = nil
	e.log.Warn("another proxy took over extranonces that were not renewed in time; their miners have to connect again", "prefix", prefix, "miners", miners)
}

// run renews the leases until ctx ends. While Redis is away it asks again and
// again, so that they are ours again before anybody else asks.
func (e *extranonces) run(ctx context.Context) {
	said := false
	for nap := e.renewal; ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(nap):
		}
		e.leasing.Lock()
		err := e.lease(ctx, false)
		e.leasing.Unlock()
		if nap = e.renewal; err != nil && ctx.Err() == nil {
			if nap = min(nap, retryMost); !said {
				e.log.Warn("extranonces were not renewed; trying again", "err", err)
			}
		}
		said = err != nil
	}
}
