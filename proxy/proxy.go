package proxy

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/open-ethereum-pool/open-ethereum-pool/proxy/ethash"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// Parts are what a Proxy works with.
type Parts struct {
	Ledger   Ledger
	Rules    ethash.Rules
	Verifier Verifier // by those rules
	Nodes    []Node   // one for each of the configured upstreams
	Log      *slog.Logger
	Name     string // of this instance, shown beside its node
}

// Proxy serves miners.
type Proxy struct {
	cfg      Config
	name     string
	algo     string // as EthereumStratum/2.0.0 calls it
	ledger   Ledger
	verifier Verifier
	log      *slog.Logger

	board       *board
	upstreams   *upstreams
	policy      *policy
	trusted     hops
	extranonces *extranonces
	counter     *counter
	health      *health
	spool       *spool

	listeners []listening
	http      net.Listener
	sessions  sessions
	told      *work // that all sessions know, nil while there is none for them; the upstreams' own
	hands     *hands
	countTime time.Duration

	// lasting outlives the miners' connections: a block on its way to the nodes
	// is not dropped because its finder hung up.
	lasting    context.Context
	stopping   atomic.Bool // no connection is taken any more
	deliveries sync.WaitGroup
	miners     sync.WaitGroup

	tally           [verdicts]atomic.Int64
	malformedShares atomic.Int64
	refused         atomic.Int64 // connections above maxConn
}

// New makes a Proxy and opens its ports and its file, so that what is wrong with
// them shows at once. It serves nobody before [Proxy.Run].
func New(cfg Config, list []Upstream, check time.Duration, parts Parts) (*Proxy, error) {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails, says crypto/rand
	p := &Proxy{cfg: cfg, name: parts.Name, algo: "ethash", ledger: parts.Ledger, verifier: parts.Verifier, log: parts.Log, board: newBoard(), hands: newHands(), countTime: countTime,
		health: &health{check: cfg.HealthCheck, most: cfg.MaxFails}}
	if parts.Rules.Etchash != ethash.Never {
		p.algo = "etchash"
	}
	self := hex.EncodeToString(id[:])
	p.policy = newPolicy(cfg.Policy, parts.Ledger, parts.Log)
	p.extranonces = newExtranonces(parts.Ledger, self, parts.Log)
	p.counter = newCounter(parts.Ledger, self, cfg.HashrateExpiration.Std(), p.oldest, p.health, parts.Log)
	p.upstreams = &upstreams{rules: parts.Rules, verifier: parts.Verifier, board: p.board, announce: p.announce, poll: cfg.BlockRefreshInterval.Std(),
		check: check, log: parts.Log, kick: make(chan *upstream, 1)}
	for i, u := range list {
		up := &upstream{Upstream: u, node: parts.Nodes[i]}
		up.healthy.Store(true) // until it proves otherwise
		p.upstreams.list = append(p.upstreams.list, up)
	}
	var err error
	if p.trusted, err = parseHops(cfg.TrustedProxies); err != nil {
		return nil, err
	}
	if p.spool, err = openSpool(cfg.Candidates, parts.Log); err != nil {
		return nil, err
	}
	if err = p.listen(); err == nil && cfg.Listen != "" {
		p.http, err = net.Listen("tcp", cfg.Listen)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	return p, nil
}

// Addrs are where miners connect to: HTTP first, then stratum.
func (p *Proxy) Addrs() (addrs []net.Addr) {
	if p.http != nil {
		addrs = append(addrs, p.http.Addr())
	}
	for _, l := range p.listeners {
		addrs = append(addrs, l.Addr())
	}
	return addrs
}

// endTime is how long blocks on their way may take when the process ends.
const endTime = 3 * time.Second

// Run serves miners until ctx ends.
func (p *Proxy) Run(ctx context.Context) error {
	defer p.close()
	lasting, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	p.lasting = lasting
	for _, b := range p.spool.left() {
		log := p.log.With("height", b.Height, "nonce", b.Nonce)
		log.Warn("a block of an earlier start is not in redis yet")
		p.deliveries.Go(func() { p.upstreams.submit(lasting, b, log) })
		p.deliveries.Go(func() { p.record(lasting, b, log) })
	}
	g, serving := errgroup.WithContext(ctx)
	for _, part := range []func(context.Context){p.counter.run, p.policy.run, p.extranonces.run, p.upstreams.run, p.report, p.remind} {
		g.Go(func() error { part(serving); return nil })
	}
	for _, l := range p.listeners {
		g.Go(func() error { p.accept(serving, l); return nil })
	}
	if p.http != nil {
		g.Go(func() error { return p.serveGetwork(serving, p.http) })
	}
	g.Go(func() error {
		<-serving.Done()
		p.stopping.Store(true)
		for _, l := range p.listeners {
			l.Close()
		}
		for _, s := range p.sessions.list() {
			s.conn.Close()
		}
		return nil
	})
	err := g.Wait()
	p.miners.Wait()
	p.hands.end()
	last := time.AfterFunc(endTime, end)
	defer last.Stop()
	p.deliveries.Wait()
	return err
}

func (p *Proxy) close() {
	for _, l := range p.listeners {
		l.Close()
	}
	if p.http != nil {
		p.http.Close()
	}
	if err := p.spool.close(); err != nil {
		p.log.Warn("the file of found blocks was not closed", "err", err)
	}
}

// oldest is the height below which shares are too old.
func (p *Proxy) oldest() uint64 {
	w := p.board.now.Load()
	if w == nil {
		return 0
	}
	return w.Height - min(w.Height, backlog+5) // the existing pools keep eight heights
}

// present is the work to hand out now, or nil while there is none, or Redis or
// all nodes are away.
func (p *Proxy) present() *work {
	if p.health.sick() || p.upstreams.dead.Load() {
		return nil
	}
	return p.board.now.Load()
}

// announce tells everybody of the present work, once; when Redis or the nodes are
// back after they were away, once more.
func (p *Proxy) announce() {
	w := p.present()
	if w == p.told {
		return
	}
	p.told = w
	if w != nil {
		p.broadcast(w)
	}
}

// report shows the node's state to the statistics, and says from time to time how
// the miners are doing.
func (p *Proxy) report(ctx context.Context) {
	tick := time.NewTicker(p.cfg.StateUpdateInterval.Std())
	defer tick.Stop()
	minute := time.NewTicker(time.Minute)
	defer minute.Stop()
	var before string
	for {
		select {
		case <-ctx.Done():
			return
		case <-minute.C:
			if now := p.shares(); now != before {
				p.log.Info("shares", "miners", len(p.sessions.list()), "since the start", now)
				before = now
			}
		case <-tick.C:
			w := p.board.now.Load()
			if w == nil {
				continue
			}
			beat := time.Unix(0, p.upstreams.worked.Load()) // of a node, not of this process: readers take it for the node's
			err := p.ledger.ReportNode(ctx, storage.NodeState{Name: p.name, Height: w.Height, Difficulty: w.Difficulty, LastBeat: beat.Unix()})
			p.health.redis(err)
			if err != nil && ctx.Err() == nil {
				p.log.Warn("the node's state is not in redis", "err", err)
			}
		}
	}
}

// shares counts them by what became of them, and who could not send any.
func (p *Proxy) shares() string {
	text := ""
	for v := range verdicts {
		text += fmt.Sprintf("%d %s, ", p.tally[v].Load(), v)
	}
	return text + fmt.Sprintf("%d malformed; %d connections refused", p.malformedShares.Load(), p.refused.Load())
}
