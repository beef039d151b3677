package e2e

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

const coin util.Shannon = util.ShannonPerCoin

// TestNobodyIsPaidTwiceWhereverItDies ends the real binary, or cuts its
// connection, at each message between it and Redis and between it and the node,
// before the message is delivered and after it took effect; starts it again; and
// counts on the chain.
func TestNobodyIsPaidTwiceWhereverItDies(t *testing.T) {
	for _, side := range []string{"redis", "node"} {
		t.Run(side, func(t *testing.T) {
			t.Parallel()
			for _, fails := range []string{"kill", "cut"} {
				for _, phase := range []fault.Phase{fault.BeforeDelivery, fault.AfterEffect} {
					t.Run(fmt.Sprintf("%s %s", fails, phase), func(t *testing.T) { sweep(t, side, fails, phase) })
				}
			}
		})
	}
}

// sweep runs one payout session, to its last message, once for every message.
func sweep(t *testing.T, side, fails string, phase fault.Phase) {
	// Three blocks to a poll keep the waiting, and so the messages that only
	// repeat themselves, short.
	c := startChain(t, "--block-interval", "100ms")
	w := newWorld(t, storagetest.Start(t), c)
	w.payouts["pollInterval"] = "300ms"
	redis, node := fault.Redis(t, w.redis.Addr()), fault.HTTP(t, c.URL)
	w.redisAddr, w.nodeURL = redis.Addr(), node.URL()
	broken := redis
	if side == "node" {
		broken = node
	}
	credited := map[string]util.Shannon{}
	points := 0
	every := 1
	if testing.Short() {
		every = 3
	}
	for n := 1; ; n += every {
		// Every life begins with an empty ledger, so that it has the same messages.
		w.redis.Do(t, "FLUSHALL")
		if err := os.Remove(filepath.Join(w.dir, "payouts.journal")); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		c.mine(3) // what the last life did is so deep that a ledger may begin
		logins := []string{w.miner(coin), w.miner(coin / 2)}
		credited[logins[0]], credited[logins[1]] = coin, coin/2

		begun := broken.Count()
		var p *process
		started := make(chan struct{})
		do := func() {}
		if fails == "kill" {
			do = func() { <-started; p.kill() }
		}
		fired := broken.At(begun+n, phase, do)
		p = w.pool()
		close(started)
		done := func() bool { return w.settled() && w.paid(logins[0], coin) && w.paid(logins[1], coin/2) }
		w.until("the session ends", p, func() bool { return p.ended() || done() })
		if p.ended() { // by the kill, which says so a moment later
			select {
			case <-fired:
			case <-time.After(patience):
				t.Fatalf("the pool ended by itself:\n%s", p.out)
			}
		}
		hit := true
		select {
		case <-fired:
			points++
		default:
			hit = false
		}
		if p.ended() {
			p = w.pool()
			w.until(fmt.Sprintf("it heals after message %d", n), p, done)
		}
		if took := p.terminate(t); took > 5*time.Second {
			t.Errorf("message %d: SIGTERM took %s", n, took)
		}
		w.audit()
		if t.Failed() || !hit {
			break
		}
	}
	received := c.received()
	for login, amount := range credited {
		w.wantReceived(received, login, amount)
	}
	t.Logf("%s: %s %s at %d messages, %d miners paid once each", side, fails, phase, points, len(credited))
	if points < 20/every {
		t.Errorf("only %d messages were tried; a session has more", points)
	}
}
