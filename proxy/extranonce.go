package proxy

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"sync"
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

// extranonces gives every connection that wants one nonces of its own, across all
// proxies of one Redis.
type extranonces struct {
	ledger Ledger
	proxy  string
	log    *slog.Logger

	leasing sync.Mutex // held while Redis is asked for more

	mu       sync.Mutex
	prefixes map[byte]*[256]bool // in use, by second byte; guarded by mu
}

func newExtranonces(ledger Ledger, proxy string, log *slog.Logger) *extranonces {
	return &extranonces{ledger: ledger, proxy: proxy, log: log, prefixes: map[byte]*[256]bool{}}
}

// take finds a free extranonce; one more prefix is leased when all are in use.
func (e *extranonces) take(ctx context.Context) ([extranonceBytes]byte, error) {
	if x, ok := e.free(); ok {
		return x, nil
	}
	e.leasing.Lock()
	defer e.leasing.Unlock()
	if x, ok := e.free(); ok { // somebody else leased one meanwhile
		return x, nil
	}
	if err := e.lease(ctx, true); err != nil {
		return [extranonceBytes]byte{}, err
	}
	if x, ok := e.free(); ok {
		return x, nil
	}
	return [extranonceBytes]byte{}, errNoExtranonce
}

func (e *extranonces) free() ([extranonceBytes]byte, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for prefix, used := range e.prefixes {
		for i := range used {
			if !used[i] {
				used[i] = true
				return [extranonceBytes]byte{prefix, byte(i)}, true
			}
		}
	}
	return [extranonceBytes]byte{}, false
}

// put gives an extranonce back.
func (e *extranonces) put(x [extranonceBytes]byte) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if used := e.prefixes[x[0]]; used != nil {
		used[x[1]] = false
	}
}

// lease keeps our prefixes, and takes one more if asked to.
func (e *extranonces) lease(ctx context.Context, more bool) error {
	e.mu.Lock()
	have := make([]byte, 0, len(e.prefixes))
	for prefix := range e.prefixes {
		have = append(have, prefix)
	}
	e.mu.Unlock()
	var begin [1]byte
	_, _ = rand.Read(begin[:]) // never fails, says crypto/rand
	taken, lost, err := e.ledger.Extranonces(ctx, e.proxy, prefixTTL, have, more, begin[0])
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, prefix := range lost {
		// Connections that have one keep it; the worst that comes of it is a
		// duplicate share.
		e.log.Warn("another proxy took over extranonces that were not renewed in time", "prefix", prefix)
		delete(e.prefixes, prefix)
	}
	switch {
	case errors.Is(err, storage.ErrNoExtranonce):
		return errNoExtranonce
	case err != nil:
		return err
	case more && e.prefixes[taken] == nil:
		e.prefixes[taken] = new([256]bool)
	}
	return nil
}

// run renews the leases until ctx ends.
func (e *extranonces) run(ctx context.Context) {
	tick := time.NewTicker(prefixRenewal)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := e.lease(ctx, false); err != nil && ctx.Err() == nil {
				e.log.Warn("extranonces were not renewed; trying again", "err", err)
			}
		}
	}
}
