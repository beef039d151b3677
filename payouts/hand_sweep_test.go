package payouts

import (
	"context"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
)

// handStory is one thing that an operator does to a payment.
type handStory struct {
	name string
	// before sets up uncut; step is cut, and repeated until it works.
	before func(p *pool) any
	step   func(p *pool, payer *Payer, ctx context.Context, v any) error
}

var handStories = []handStory{
	{"adopt, then final", func(p *pool) any {
		p.stuck()
		o := p.open1()
		h, err := p.chain.Include(p.transfer(0, address(login(1)), coin.Wei(), big.NewInt(7e9)))
		if err != nil {
			p.t.Fatal(err)
		}
		p.writeDown(o.Time, h.Hex(), login(1))
		return nil
	}, func(p *pool, payer *Payer, ctx context.Context, _ any) error {
		_, err := payer.Session(ctx)
		return err
	}},
	{"adopt of a later nonce", func(p *pool) any {
		p.stuck()
		o := p.open1()
		p.include(0, common.HexToAddress("0x99"), 5)
		h := p.include(1, address(login(1)), coin)
		p.writeDown(o.Time, h.Hex(), login(1))
		return nil
	}, func(p *pool, payer *Payer, ctx context.Context, _ any) error {
		_, err := payer.Session(ctx)
		return err
	}},
	{"held and put back", func(p *pool) any {
		p.stuck()
		o := p.open1()
		p.redis.CLI(p.t, fmt.Sprintf(`ZREM "eth:payments:pending" "%s:%d"`, login(1), coin))
		return o.Time
	}, func(p *pool, payer *Payer, ctx context.Context, v any) error {
		if _, err := payer.Session(ctx); err != nil {
			return err
		}
		if p.redis.Do(p.t, "HGET", "eth:payments:p:"+p.firstOpen(), "state") == "held" {
			p.redis.CLI(p.t, fmt.Sprintf(`ZADD "eth:payments:pending" %d %s:%d`, v, login(1), coin))
		}
		_, err := payer.Session(ctx)
		return err
	}},
	{"record", func(p *pool) any {
		p.mustSession()
		p.credit(login(1), coin)
		tx := p.include(0, address(login(1)), coin)
		p.chain.Mine(3)
		return tx
	}, func(p *pool, payer *Payer, ctx context.Context, v any) error {
		if _, err := payer.Session(ctx); haltReason(err) != HaltUnaccounted && err != nil {
			return err
		}
		if err := payer.RecordByHand(ctx, v.(common.Hash)); err != nil {
			return err
		}
		_, err := payer.Session(ctx)
		return err
	}},
	{"forget", func(p *pool) any {
		p.stuck()
		o := p.open1()
		p.writeDown(o.Time, crypto.Keccak256Hash([]byte("x")).Hex(), login(1))
		for range 12 {
			p.mustSession()
			p.chain.Mine(1)
		}
		return o.ID
	}, func(p *pool, payer *Payer, ctx context.Context, v any) error {
		if err := payer.Forget(ctx, v.(string)); err != nil && !strings.Contains(err.Error(), "is not in flight") {
			return err
		}
		_, err := payer.Session(ctx)
		return err
	}},
	{"an old row is credited back", func(p *pool) any {
		p.oldRow(login(1))
		p.chain.Mine(30)
		return nil
	}, func(p *pool, payer *Payer, ctx context.Context, v any) error {
		if err := payer.Resolve(ctx); err != nil {
			return err
		}
		_, err := payer.Session(ctx)
		return err
	}},
	{"an old row is booked", func(p *pool) any {
		p.chain.Mine(5)
		p.oldRow(login(1))
		p.include(0, address(login(1)), coin)
		p.chain.Mine(30)
		return nil
	}, func(p *pool, payer *Payer, ctx context.Context, v any) error {
		if err := payer.Resolve(ctx); err != nil {
			return err
		}
		_, err := payer.Session(ctx)
		return err
	}},
	{"held, made by hand, adopted", func(p *pool) any {
		p.stuck()
		o := p.open1()
		p.redis.CLI(p.t, fmt.Sprintf(`ZREM "eth:payments:pending" "%s:%d"`, login(1), coin))
		p.include(0, common.HexToAddress("0x99"), 5)
		h := p.include(1, address(login(1)), coin)
		p.chain.Mine(1) // the stranger is not so deep that the payment is given up
		return [2]any{o.ID, h}
	}, adoptIt},
	{"refused, made by hand, adopted", func(p *pool) any {
		p.refusedOne()
		id := p.firstOpen()
		p.include(0, common.HexToAddress("0x99"), 5)
		h := p.include(1, address(login(1)), coin)
		p.chain.Mine(1) // the stranger is not so deep that the payment is given up
		return [2]any{id, h}
	}, adoptIt},
	{"held, retried", func(p *pool) any {
		p.stuck()
		id := p.open1().ID
		p.redis.CLI(p.t, fmt.Sprintf(`ZREM "eth:payments:pending" "%s:%d"`, login(1), coin))
		return id
	}, retryIt},
	{"refused, retried", func(p *pool) any {
		p.refusedOne()
		return p.firstOpen()
	}, retryIt},
	{"refused, resolved", func(p *pool) any {
		p.refusedOne()
		return nil
	}, func(p *pool, payer *Payer, ctx context.Context, v any) error {
		if err := payer.Resolve(ctx); err != nil {
			return err
		}
		_, err := payer.Session(ctx)
		return err
	}},
}

// refusedOne is a payment that the node refused.
func (p *pool) refusedOne() {
	p.t.Helper()
	p.credit(login(1), coin)
	p.node.Fail(sendRaw, 1, notEnough)
	_, err := p.session()
	wantHalt(p.t, err, HaltRefused)
}

// adoptIt and retryIt are said once more after a crash, when they may have worked.
func adoptIt(p *pool, payer *Payer, ctx context.Context, v any) error {
	a := v.([2]any)
	id, tx := a[0].(string), a[1].(common.Hash)
	if err := payer.Adopt(ctx, id, tx); err != nil && !strings.Contains(err.Error(), "is not in flight") {
		return err
	}
	_, err := payer.Session(ctx)
	return err
}

func retryIt(p *pool, payer *Payer, ctx context.Context, v any) error {
	if err := payer.Retry(ctx, v.(string)); err != nil && !strings.Contains(err.Error(), "is not in flight") && !strings.Contains(err.Error(), "waits for nobody") {
		return err
	}
	_, err := payer.Session(ctx)
	return err
}

func (p *pool) firstOpen() string {
	open, _, err := p.db().Inflight(context.Background())
	if err == nil {
		for _, o := range open {
			if o.Kind == storage.ToMiner {
				return o.ID
			}
		}
	}
	return "none"
}

func (s handStory) live(t *testing.T, redis *storagetest.Server, k *knife, restore bool) int {
	redis.Do(t, "FLUSHALL")
	p := newPoolOn(t, redis, rpctest.Options{ChainID: 61})
	p.cfg.Confirmations, p.cfg.VoidDepth = 2, 4
	v := s.before(p)
	snap := p.redis.Snapshot()
	p.wrap = k.parts
	k.then = func() {}
	ok := false
	for range 8 {
		k.dead = false
		payer, stop := p.start()
		payer.GiveUpAfter(time.Minute)
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		if k.at > 0 && k.cut == "" {
			old := k.then
			k.then = func() {
				old()
				if k.dead {
					cancel()
				}
			}
		}
		err := s.step(p, payer, ctx, v)
		cancel()
		stop()
		if err == nil && !k.dead {
			ok = true
			break
		}
	}
	if !ok {
		t.Errorf("the step never works\n%s", p.logs)
	}
	k.dead = false
	p.wrap = nil
	if restore {
		p.settle()
		p.redis.Restore(snap)
		for range 3 {
			payer, stop := p.start()
			_ = s.step(p, payer, context.Background(), v)
			stop()
		}
	}
	for range 12 {
		_, _ = p.session()
		p.chain.Mine(1)
	}
	p.wantReceived(login(1), coin)
	p.wantBooks(login(1), 0, 0, coin)
	p.audit()
	if t.Failed() {
		t.Logf("%s at %d: %s", k.wound, k.at, k.cut)
	}
	return k.calls
}

// TestWhatIsDoneByHandMayDieAnywhere cuts the line at every call while payouts heed
// what an operator did or typed, and repeats it; also when Redis goes back to before.
func TestWhatIsDoneByHandMayDieAnywhere(t *testing.T) {
	redis := storagetest.Start(t)
	for _, s := range handStories {
		for _, w := range []wound{killed, unheard} {
			for _, restore := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s, %s, restore %v", s.name, w, restore), func(t *testing.T) {
					points := s.live(t, redis, &knife{wound: w}, restore)
					t.Logf("%d points", points)
					for at := 1; at <= points && !t.Failed(); at += sometimes(17) {
						t.Run(fmt.Sprint(at), func(t *testing.T) { s.live(t, redis, &knife{wound: w, at: at}, restore) })
					}
				})
			}
		}
	}
}
