package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// subscribe gives the connection an extranonce and returns it.
func (c *client) subscribe() string {
	c.t.Helper()
	var sub struct{ Result []any }
	if err := json.Unmarshal([]byte(c.ask(`{"id":1,"method":"mining.subscribe","params":["miner/1","EthereumStratum/1.0.0"]}`)), &sub); err != nil || len(sub.Result) != 2 {
		c.t.Fatalf("subscribed to %+v, %v", sub, err)
	}
	return sub.Result[1].(string)
}

// When another proxy has our prefix no miner of ours mines on with it.
func TestALostExtranonceIsUsedNoMore(t *testing.T) {
	p := newPool(t, 1).start()
	nice, second, eth := p.dial(), p.dial(), p.login()
	before := nice.subscribe()
	second.ask(`{"id":1,"method":"mining.hello","params":{"proto":"EthereumStratum/2.0.0"}}`)
	second.ask(`{"id":2,"method":"mining.subscribe"}`)
	var prefix byte
	if _, err := fmt.Sscanf(before[:2], "%x", &prefix); err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(time.Hour).Unix()
	p.redis.Do(t, "HSET", "eth:extranonces", fmt.Sprint(prefix), fmt.Sprintf("another:%d", until))
	p.extranonces.leasing.Lock()
	err := p.extranonces.lease(t.Context(), false)
	p.extranonces.leasing.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	nice.closed()
	second.closed()
	eth.want(`{"id":2,"method":"eth_submitHashrate"}`, `{"id":2,"jsonrpc":"2.0","result":true}`)
	if after := p.dial().subscribe(); after[:2] == before[:2] {
		t.Errorf("he is given %s again", after)
	}
}

// Who comes right after another one left does not repeat his work.
func TestAFreedExtranonceRests(t *testing.T) {
	p := newPool(t, 1).start()
	var given [][extranonceBytes]byte
	for range 256 {
		s := new(session)
		x, err := p.extranonces.take(t.Context(), s)
		if err != nil {
			t.Fatal(err)
		}
		if slices.Contains(given, x) {
			t.Fatalf("%x was given before, %d ago", x, len(given))
		}
		given = append(given, x)
		p.extranonces.put(x, s)
	}
	if len(slices.DeleteFunc(slices.Clone(p.extranonces.holders[:]), func(h *[256]*session) bool { return h == nil })) != 1 {
		t.Error("more than one prefix is leased for one connection at a time")
	}
}

// greedy is a ledger whose first prefix is all taken before the one who asked for
// it looks.
type greedy struct {
	Ledger
	*extranonces
	left int
}

func (g *greedy) Extranonces(ctx context.Context, proxy string, ttl time.Duration, have []byte, more bool, begin byte) (byte, []byte, error) {
	taken, lost, err := g.Ledger.Extranonces(ctx, proxy, ttl, have, more, begin)
	if g.left--; g.left >= 0 {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.holders[taken] = new([256]*session)
		for i := range g.holders[taken] {
			g.holders[taken][i] = new(session)
		}
	}
	return taken, lost, err
}

// Nobody is turned away while a prefix is free, however many come at once.
func TestManyComeAtOnce(t *testing.T) {
	p := newPool(t, 1)
	p.before = func() { p.extranonces.ledger = &greedy{p.db, p.extranonces, 3} }
	p.start()
	if x := p.dial().subscribe(); len(x) != 4 {
		t.Errorf("extranonce %q", x)
	}
	p.extranonces.mu.Lock()
	defer p.extranonces.mu.Unlock()
	if n := len(slices.DeleteFunc(slices.Clone(p.extranonces.holders[:]), func(h *[256]*session) bool { return h == nil })); n != 4 {
		t.Errorf("%d prefixes are leased, want 4", n)
	}
}

// hung is a ledger that answers nobody, and the first one not before it is let.
type hung struct {
	Ledger
	let   chan struct{}
	asked atomic.Int64
}

func (h *hung) Extranonces(context.Context, string, time.Duration, []byte, bool, byte) (byte, []byte, error) {
	h.asked.Add(1)
	<-h.let
	return 0, nil, context.DeadlineExceeded
}

// Those who wait for a Redis that does not answer do not ask it in turn.
func TestManyComeWhileRedisHangs(t *testing.T) {
	const many = 50
	h := &hung{let: make(chan struct{})}
	e := newExtranonces(h, "a proxy", discard)
	all := make(chan error, many)
	var come sync.WaitGroup
	come.Add(many)
	for range many {
		go func() {
			come.Done()
			_, err := e.take(t.Context(), new(session))
			all <- err
		}()
	}
	come.Wait()
	time.Sleep(10 * time.Millisecond) // most of them wait by now; all but one would do
	close(h.let)
	for range many {
		if err := <-all; err == nil {
			t.Error("an extranonce of nobody's")
		}
	}
	if n := h.asked.Load(); n == many {
		t.Errorf("redis was asked %d times", n)
	}
}

// away is a ledger without extranonces for some calls. It is told what is renewed.
type away struct {
	Ledger
	fails int
	have  chan []byte
}

func (a *away) Extranonces(ctx context.Context, proxy string, ttl time.Duration, have []byte, more bool, begin byte) (byte, []byte, error) {
	if len(have) > 0 {
		select {
		case a.have <- have:
		case <-ctx.Done():
		}
		if a.fails--; a.fails >= 0 {
			return 0, nil, context.DeadlineExceeded
		}
	}
	return a.Ledger.Extranonces(ctx, proxy, ttl, have, more, begin)
}

func TestExtranoncesAreRenewed(t *testing.T) {
	p := newPool(t, 1)
	ledger := &away{p.db, 2, make(chan []byte)}
	p.before = func() { p.extranonces.ledger, p.extranonces.renewal = ledger, time.Millisecond }
	p.start()
	x := p.dial().subscribe()
	for range 4 {
		if have := <-ledger.have; fmt.Sprintf("%x", have) != x[:2] {
			t.Errorf("renewed %x, want %s", have, x[:2])
		}
	}
	p.stop()
}
