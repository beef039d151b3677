package payouts

import (
	"context"
	"flag"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
)

// story is a short life of a pool: what its chain and its node do while three
// miners are paid, two at a time.
type story struct {
	name string
	// tell sets the pool up; it returns what happens at each rest.
	tell func(p *pool) func(nap int)
	says []string // what the log says when nothing is cut
}

// turncoat is the miner who is a contract that takes coins, then does not, and
// then does again: his first payment is mined with status 0.
var turncoat = login(1)

var stories = []story{
	{"a fee is raised, and a recipient changes his mind", func(p *pool) func(int) {
		p.cfg.BumpAfter = 1
		p.chain.SetCode(address(turncoat), rpctest.Accept)
		return func(nap int) {
			if nap == 1 {
				p.chain.SetCode(address(turncoat), rpctest.Reject)
			}
			if nap == 1 { // nobody is mined, so that the first fee is raised
				p.chain.MineEmpty(1)
				return
			}
			p.chain.Mine(1)
		}
	}, []string{"offering a higher fee", "credited back", "failed in block"}},
	{"a node refuses a payment", func(p *pool) func(int) {
		p.cfg.BumpAfter = 0 // what is lost is sent again, at the same price
		p.node.Fail(sendRaw, 1, notEnough)
		return func(int) { p.chain.Mine(1) }
	}, []string{"the node refused a payment", "credited back", "refused by the node"}},
}

var everyPoint = flag.Bool("every", false, "cut at every point, not only at some")

// sweepers is how many lives are told side by side: each of them mostly waits.
const sweepers = 6

// TestPayerPaysOnceWhereverItDies cuts the line at the calls that a Payer makes
// of its parts, in each way, and lets it go on: a process that died by a new
// one. However it goes, every miner receives exactly what he was credited, the
// audit is clean, and nobody had to help.
func TestPayerPaysOnceWhereverItDies(t *testing.T) {
	total := 0
	servers := make(chan *storagetest.Server, sweepers)
	for range sweepers {
		servers <- storagetest.Start(t)
	}
	for _, s := range stories {
		for _, c := range []struct {
			wound   wound
			mempool string
			stride  int
		}{{killed, "kept", 1}, {killed, "lost", 1}, {halved, "kept", 1}, {halved, "lost", 1}, {unheard, "kept", 3}, {undone, "kept", 11}} {
			switch {
			case *everyPoint:
				c.stride = 1
			case testing.Short():
				c.stride *= 16
			}
			t.Run(fmt.Sprintf("%s, %s, mempool %s", s.name, c.wound, c.mempool), func(t *testing.T) {
				redis := <-servers
				points := s.live(t, redis, &knife{wound: c.wound}, false)
				servers <- redis
				if points == 0 {
					t.Fatal("there is nothing to cut")
				}
				tried := points / c.stride
				total += tried
				t.Logf("%d of %d points tried", tried, points)
				var next atomic.Int64
				var wg sync.WaitGroup
				for range sweepers {
					wg.Go(func() {
						redis := <-servers
						defer func() { servers <- redis }()
						for !t.Failed() {
							at := int(next.Add(1)) * c.stride
							if at > points {
								return
							}
							t.Run(fmt.Sprint(at), func(t *testing.T) { s.live(t, redis, &knife{wound: c.wound, at: at}, c.mempool == "lost") })
						}
					})
				}
				wg.Wait()
			})
		}
	}
	t.Logf("%d points tried in all", total)
}

// live tells the story once, cut by the knife, and returns how many calls were
// counted.
func (s story) live(t *testing.T, redis *storagetest.Server, k *knife, lost bool) int {
	redis.Do(t, "FLUSHALL")
	p := newPoolOn(t, redis, rpctest.Options{ChainID: 61})
	p.cfg.Window, p.cfg.Confirmations, p.cfg.VoidDepth = 2, 1, 2
	event, naps := s.tell(p), 0
	p.clock.onSleep = func() { naps++; event(naps) }
	p.due()

	l := life{p: p, k: k}
	k.then = func() {
		if lost {
			p.chain.Forget()
		}
		if k.dead {
			l.end()
		}
	}
	p.wrap = k.parts
	if !l.goesOn() {
		t.Errorf("payments do not come to rest\n%s", p.logs)
	}
	l.stop()
	for i := 1; i <= miners; i++ {
		p.wantReceived(login(i), coin)
		p.wantBooks(login(i), 0, 0, coin)
	}
	p.audit()
	if k.at > 0 && k.cut == "" {
		t.Error("nothing was cut")
	}
	if k.at == 0 {
		for _, text := range s.says {
			p.wantLog(text)
		}
	}
	if t.Failed() {
		t.Logf("%s at call %d, %s", k.wound, k.at, k.cut)
	}
	return k.calls
}

// life is a row of processes, each of which begins when the one before died.
type life struct {
	p     *pool
	k     *knife
	payer *Payer
	ctx   context.Context
	end   context.CancelFunc
	close func()
}

func (l *life) stop() {
	if l.payer != nil {
		l.end()
		l.close()
		l.payer = nil
	}
}

// process is the one that lives.
func (l *life) process() *Payer {
	if l.k.dead {
		l.stop()
		l.k.dead = false
	}
	if l.payer == nil {
		l.ctx, l.end = context.WithTimeout(context.Background(), 5*time.Minute) // as long as the slowest machine needs
		l.payer, l.close = l.p.start()
	}
	return l.payer
}

// goesOn holds sessions, and follows what is in flight, until everybody is paid.
func (l *life) goesOn() bool {
	for range 6 {
		_, _ = l.process().Session(l.ctx) // its halts are part of the story
		for range 12 {
			err := l.process().hold(l.ctx, func(t *turn) error { return t.advance(l.ctx) })
			if err == nil && l.p.redis.Do(l.p.t, "ZCARD", "eth:payments:inflight") == int64(0) {
				break
			}
			l.p.chain.Mine(1)
		}
		if f, err := l.p.db().Finances(context.Background()); err == nil && f.Balance == 0 && f.Pending == 0 {
			return true
		}
		l.p.chain.SetCode(address(turncoat), rpctest.None)
	}
	return false
}
