package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

const coin util.Shannon = util.ShannonPerCoin

// paying is the life of a pool with two miners to pay: from an empty ledger until
// both payments are final. A block is mined whenever the pool looks at the chain,
// so that every life has the same messages.
type paying struct {
	*stage
	due   map[string]util.Shannon
	since uint64 // the first block of this life

	hold int // no block has transactions before so many were offered

	offering sync.Mutex
	offered  []hexutil.Bytes // all bytes that were ever on their way in this life; guarded by offering

	keeps *keeping // nil: Redis keeps nothing
}

func newPaying(t testing.TB, redis *storagetest.Server, c *chain) *paying {
	g := &paying{stage: newStage(newWorld(t, redis, c))}
	g.payouts["pollInterval"] = "20ms"
	g.connect()
	c.mine(3)
	return g
}

// connect puts proxies between the pool and both sides.
func (g *paying) connect() {
	redis, node := fault.Redis(g.t, g.redis.Addr()), fault.HTTP(g.t, g.chain.URL)
	g.redisAddr, g.nodeURL = redis.Addr(), node.URL()
	g.side("redis", redis, nil)
	g.side("node", node, g.look)
}

// look mines a block when the pool asks for the newest, and keeps what it sends.
func (g *paying) look(m fault.Message) fault.Action {
	g.offering.Lock()
	defer g.offering.Unlock()
	switch {
	case strings.Contains(m.Name, "eth_sendRawTransaction"):
		g.offered = append(g.offered, rawsOf(m.Body)...)
	case strings.Contains(m.Name, "eth_getBlockByNumber") && bytes.Contains(m.Body, []byte(`"latest"`)):
		if len(g.offered) < g.hold {
			return fault.Pass.Do(func() { g.chain.call(nil, "devnet_mineEmpty", 1) })
		}
		return fault.Pass.Do(func() { g.chain.mine(1) })
	}
	return fault.Pass
}

// rawsOf are the transactions in a request or a batch of them.
func rawsOf(body []byte) (raws []hexutil.Bytes) {
	type send struct {
		Method string
		Params []json.RawMessage
	}
	var batch []send
	if json.Unmarshal(body, &batch) != nil {
		batch = make([]send, 1)
		if json.Unmarshal(body, &batch[0]) != nil {
			return nil
		}
	}
	for _, s := range batch {
		var raw hexutil.Bytes
		if s.Method == "eth_sendRawTransaction" && len(s.Params) == 1 && json.Unmarshal(s.Params[0], &raw) == nil {
			raws = append(raws, raw)
		}
	}
	return raws
}

func (g *paying) begin() {
	g.t.Helper()
	g.redis.Do(g.t, "FLUSHALL")
	if err := os.Remove(filepath.Join(g.dir, "payouts.journal")); err != nil && !errors.Is(err, fs.ErrNotExist) {
		g.t.Fatal(err)
	}
	g.offering.Lock()
	g.offered = nil
	g.offering.Unlock()
	g.since = uint64(g.chain.header("latest").Number) + 1
	g.due = map[string]util.Shannon{g.miner(coin): coin, g.miner(coin / 2): coin / 2}
	if g.keeps != nil {
		g.keeps.begin()
	}
}

func (g *paying) start() { g.pool = g.run(g.config()) }

func (g *paying) rest() bool {
	if !g.settled() {
		return false
	}
	for login, amount := range g.due {
		if !g.paid(login, amount) {
			return false
		}
	}
	return true
}

// verdict counts on the chain, after everything that was ever sent was sent once
// more: the network may mine any of it.
func (g *paying) verdict() (v verdict) {
	g.offering.Lock()
	for _, raw := range g.offered {
		_ = g.chain.tryCall(nil, "eth_sendRawTransaction", raw) // most are known, and refused
	}
	g.offering.Unlock()
	g.chain.mine(3) // so deep that the next ledger may begin
	received := g.chain.receivedSince(g.since)
	for login, amount := range g.due {
		to := common.HexToAddress(login)
		got := received[to]
		delete(received, to)
		switch {
		case got == nil:
			v.lost++
			v.add("%s received nothing on the chain, want %s Wei", login, amount.Wei())
		case got.Cmp(amount.Wei()) < 0:
			v.lost++
			v.add("%s received %s Wei on the chain, want %s", login, got, amount.Wei())
		case got.Cmp(amount.Wei()) > 0:
			v.double++
			v.add("%s received %s Wei on the chain, want %s", login, got, amount.Wei())
		}
	}
	for to, got := range received {
		if got.Sign() > 0 && to != g.chain.Account {
			v.double++
			v.add("%s received %s Wei on the chain, and is owed nothing", to, got)
		}
	}
	if !g.rest() {
		v.add("not everything is booked as final and paid")
	}
	if wrong := g.audited(); wrong != "" {
		v.add("audit:\n%s", wrong)
	}
	return v
}

// What goes wrong with the pool and its connections.
var (
	killed    = mishap{name: "kill", does: func(s *stage, _ int) { s.pool.kill() }}
	killedAll = mishap{name: "kill, mempool lost", does: func(s *stage, _ int) { s.pool.kill(); s.chain.call(nil, "devnet_forget") }}
	cut       = mishap{name: "cut"}
)

// What goes wrong with the node: it dies, and comes back with an empty mempool.
var nodeRestarted = mishap{name: "node restarted", does: func(s *stage, _ int) { s.chain.restart() }}

// What goes wrong with the clock on the wall, of the pool's process alone. One that
// is started again has the right time.
var jumps = []mishap{
	{name: "clock a year ahead", passes: true, does: func(s *stage, _ int) { s.setClock(year) }},
	{name: "clock a year back", passes: true, does: func(s *stage, _ int) { s.setClock(-year) }},
	{name: "clock a year ahead until a kill", clock: year, does: killed.does},
	{name: "clock a year back until a kill", clock: -year, does: killed.does},
}

const year = 365 * 24 * time.Hour

func (s *stage) setClock(ahead time.Duration) {
	if err := s.clock.set(ahead); err != nil && !s.pool.ended() {
		s.t.Errorf("set the clock: %v", err)
	}
}

// What goes wrong with Redis: it dies and comes back with less. A machine without
// power has lost the end of the append-only file, which everysec writes once a
// second: one byte, so that the last write is torn, or more, up to everything since
// the life began. An operator restores a snapshot of that moment.
func (k *keeping) losses() []mishap {
	tail := func(_ *stage, n int) {
		written := k.aofSize() - k.since
		k.redis.TruncateAOF([]int64{min(1, written), written / 8, written / 2, written}[n%4])
		k.redis.Restart()
	}
	snapshot := func(*stage, int) { k.redis.Restore(k.snapshot) }
	also := func(first func(*stage, int)) func(*stage, int) {
		return func(s *stage, n int) { first(s, n); s.pool.kill() }
	}
	return []mishap{
		{name: "AOF tail lost", does: tail},
		{name: "AOF tail lost, kill", does: also(tail)},
		{name: "snapshot restored", does: snapshot},
		{name: "snapshot restored, kill", does: also(snapshot)},
	}
}

// keeping is a Redis that keeps a file, as it was when a life began.
type keeping struct {
	t        *testing.T
	redis    *storagetest.Server
	since    int64 // how long its file was
	snapshot storagetest.Snapshot
}

func newKeeping(t *testing.T) *keeping {
	return &keeping{t: t, redis: storagetest.Start(t, storagetest.AOF(storagetest.EverySec))}
}

// begin remembers the present moment.
func (k *keeping) begin() { k.since, k.snapshot = k.aofSize(), k.redis.Snapshot() }

// aofSize is how long the append-only file is with all that Redis was told.
func (k *keeping) aofSize() (sum int64) {
	k.t.Helper()
	for line := range strings.Lines(k.redis.Do(k.t, "INFO", "persistence").(string)) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), ":")
		if key == "aof_current_size" || key == "aof_buffer_length" {
			n, err := strconv.ParseInt(value, 10, 64)
			if err != nil {
				k.t.Fatal(err)
			}
			sum += n
		}
	}
	return sum
}

// TestSweepOfPayouts ends the real binary, or cuts its connection, at each message
// between it and Redis, the node and the signer.
func TestSweepOfPayouts(t *testing.T) {
	rough := []mishap{killed, killedAll, cut}
	both := []trouble{{"redis", rough}, {"node", rough}}
	for _, tc := range []struct {
		name     string
		set      func(*paying)
		troubles []trouble
	}{
		{"keystore", func(g *paying) { g.payouts["signer"] = keystoreSigner(t, g.dir, g.chain.Account) }, both},
		{"external", func(g *paying) {
			signer := fault.HTTP(g.t, externalSigner(t, g.chain.ChainID, "account_signTransaction"))
			g.side("signer", signer, nil)
			g.payouts["signer"] = map[string]any{"type": "external", "url": signer.URL(), "method": "account_signTransaction"}
		}, append(both[:2:2], trouble{"signer", rough})},
		{"node signs", func(*paying) {}, both},
		{"node sends", (*paying).nodeThatSends, both},
		{"raised price", func(g *paying) {
			g.payouts["signer"] = keystoreSigner(t, g.dir, g.chain.Account)
			g.payouts["bumpAfter"] = 1
			g.hold = len(g.due) + 3 // two, and one of them dearer
		}, both},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			g := newPaying(t, storagetest.Start(t), startChain(t))
			tc.set(g)
			sweep(t, "payouts, "+tc.name, g, tc.troubles...)
		})
	}
}

// TestSweepAroundPayouts has things go wrong around the pool, at each of its
// messages: Redis forgets, the node forgets, the clock jumps.
func TestSweepAroundPayouts(t *testing.T) {
	for _, tc := range []struct {
		name string
		set  func(*paying)
	}{
		{"keystore", func(g *paying) { g.payouts["signer"] = keystoreSigner(t, g.dir, g.chain.Account) }},
		{"node sends", (*paying).nodeThatSends},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			k := newKeeping(t)
			g := newPaying(t, k.redis, startKeptChain(t))
			g.keeps, g.clocked = k, true
			tc.set(g)
			sweep(t, "payouts, "+tc.name, g, trouble{"redis", append(k.losses(), jumps...)}, trouble{"node", append(jumps[:4:4], nodeRestarted)})
		})
	}
}

// nodeThatSends makes the node one without eth_signTransaction.
func (g *paying) nodeThatSends() {
	g.side("node", g.sides["node"], func(m fault.Message) fault.Action {
		if strings.Contains(m.Name, "eth_signTransaction") {
			return fault.ReplyError(-32601, "the method eth_signTransaction does not exist/is not available")
		}
		return g.look(m)
	})
}
