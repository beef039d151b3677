package e2e

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
)

const (
	loadProxies = 2
	loadRigs    = 4 // of each proxy
	loadRound   = 60
)

// herd is a load of shares for two proxies of one Redis, and what became of
// every one of them. At a share difficulty of 1 every nonce is a valid share, and
// the chain is so difficult that none is a block.
type herd struct {
	*world
	proxies [loadProxies]*process
	addrs   [loadProxies]atomic.Value // where the proxy takes shares at present
	rigs    []*loadRig

	mu          sync.Mutex
	extranonces map[string]string // of the connections at present; guarded by mu
}

// loadRig is a login of its own, on one connection after the other.
type loadRig struct {
	login   string
	proxy   int
	next    uint64       // part of a nonce; no rig has another's, whatever its extranonce
	acked   atomic.Int64 // shares that the pool said it counted
	unknown atomic.Int64 // shares whose answer was lost: counted or not
}

// startProxy starts one of the proxies, or starts it again.
func (h *herd) startProxy(i int) {
	h.t.Helper()
	name := fmt.Sprintf("proxy%d", i)
	p := start(h.t, command(h.write(name+".json", h.proxySections(name, 1))))
	h.proxies[i] = p
	h.addrs[i].Store(h.stratum(p, 1))
}

// mine submits shares for a rig until stop is closed.
func (h *herd) mine(l *loadRig, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(10 * time.Millisecond): // between connections
		}
		r, err := dialRig(h.addrs[l.proxy].Load().(string), l.login)
		if err != nil {
			continue // the proxy is dead, or has no work yet
		}
		h.connected(r)
		err = h.submit(l, r, stop)
		h.disconnects(r)
		r.conn.Close()
		if _, refused := errors.AsType[refusal](err); refused {
			h.t.Errorf("a share of %s: %v", l.login, err)
			return
		}
	}
}

// submit submits one share after the other, and each eighth once more, which
// must not count.
func (h *herd) submit(l *loadRig, r *rig, stop <-chan struct{}) error {
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		l.next++
		err := r.submit(r.job, l.next)
		_, refused := errors.AsType[refusal](err)
		switch {
		case err == nil:
			l.acked.Add(1)
		case refused:
			return err
		default:
			l.unknown.Add(1)
			return err
		}
		if l.next%8 > 0 {
			continue
		}
		err = r.submit(r.job, l.next)
		if _, refused := errors.AsType[refusal](err); !refused && err != nil {
			return err
		}
		if err == nil || !strings.Contains(err.Error(), "Duplicate share") {
			h.t.Errorf("a share of %s was submitted twice, and the pool says %v", l.login, err)
		}
	}
}

func (h *herd) connected(r *rig) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if other := h.extranonces[r.extranonce]; other != "" {
		h.t.Errorf("%s and %s have the extranonce %s at once", other, r.login, r.extranonce)
	}
	h.extranonces[r.extranonce] = r.login
}

// disconnects comes before the connection is closed: then the pool may give its
// extranonce to another one.
func (h *herd) disconnects(r *rig) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.extranonces, r.extranonce)
}

// load has all rigs mine while something is done, and ends when all shares on
// their way are answered.
func (h *herd) load(do func()) {
	h.t.Helper()
	stop := make(chan struct{})
	var mining sync.WaitGroup
	defer mining.Wait()
	defer close(stop)
	for _, l := range h.rigs {
		mining.Go(func() { h.mine(l, stop) })
	}
	do()
}

// round waits until every rig, or every one of one proxy, has that many more
// shares.
func (h *herd) round(proxy int) {
	h.t.Helper()
	goals := map[*loadRig]int64{}
	for _, l := range h.rigs {
		if l.proxy == proxy || proxy < 0 {
			goals[l] = l.acked.Load() + loadRound
		}
	}
	for l, goal := range goals {
		h.until("shares are accepted", h.proxies[l.proxy], func() bool { return l.acked.Load() >= goal })
	}
}

// reconcile compares what the rigs were told with what Redis has, and says how
// many shares it has and how many answers were lost.
func (h *herd) reconcile() (counted, unknown int64) {
	h.t.Helper()
	round, worked := h.numbers("eth:shares:roundCurrent"), h.worked()
	for _, l := range h.rigs {
		got, least := round[l.login], l.acked.Load()
		if most := least + l.unknown.Load(); got < least || got > most {
			h.t.Errorf("%s has %d shares in the round, want %d acknowledged to %d submitted", l.login, got, least, most)
		}
		if worked[l.login] != got {
			h.t.Errorf("%s has %d shares in the round and %d in the minutes", l.login, got, worked[l.login])
		}
		counted += got
		unknown += l.unknown.Load()
	}
	if rounds := h.keys("eth:shares:round?*"); len(rounds) != 1 {
		h.t.Errorf("rounds %v, want the present one alone: no block was found", rounds)
	}
	var others int64
	for _, n := range round {
		others += n
	}
	if pow := h.redis.Do(h.t, "ZCARD", "eth:pow"); others != counted || pow != counted {
		h.t.Errorf("the rigs have %d shares, the round %d, and %d different ones were counted", counted, others, pow)
	}
	return counted, unknown
}

// TestEveryAcknowledgedShareIsInRedisOnce reconciles shares acknowledged with
// shares counted, after each kind of accident. Redis forces its file to disk
// before it answers (appendfsync always): what it loses otherwise when it is
// killed is the operator's choice and not the pool's.
func TestEveryAcknowledgedShareIsInRedisOnce(t *testing.T) {
	c := startChain(t, "--difficulty", "1000000000000000")
	h := &herd{world: newWorld(t, storagetest.Start(t, storagetest.AOF(storagetest.Always)), c), extranonces: map[string]string{}}
	redis := fault.Redis(t, h.redis.Addr())
	h.redisAddr = redis.Addr()
	for i := range loadProxies {
		h.startProxy(i)
		for range loadRigs {
			h.next++
			h.rigs = append(h.rigs, &loadRig{login: fmt.Sprintf("0x%040x", h.next), proxy: i, next: uint64(h.next) << 32})
		}
	}

	// Messages to Redis are lost, or their answers are, and Redis is killed: the
	// proxies live, so that every share is answered.
	var batches, broken atomic.Int64
	redis.Every(func(m fault.Message) fault.Action {
		if !strings.Contains(m.Name, " shares:") {
			return fault.Pass
		}
		switch batches.Add(1) % 32 {
		case 11:
			broken.Add(1)
			return fault.LoseReply
		case 22:
			broken.Add(1)
			return fault.Drop
		}
		return fault.Pass
	})
	h.load(func() {
		h.round(-1)
		h.redis.Kill()
		h.redis.Restart()
		h.round(-1)
	})
	counted, unknown := h.reconcile()
	if unknown != 0 || broken.Load() == 0 {
		t.Errorf("%d answers were lost with %d batches broken, want none with some", unknown, broken.Load())
	}
	t.Logf("%d shares, each counted once; Redis killed, %d of %d batches to it broken", counted, broken.Load(), batches.Load())

	// Proxies are killed, too.
	h.load(func() {
		h.round(-1)
		h.proxies[0].kill()
		h.round(1) // goes on
		h.startProxy(0)
		h.round(-1)
		h.proxies[1].kill()
		h.redis.Kill()
		h.redis.Restart()
		h.startProxy(1)
		h.round(-1)
	})
	redis.Every(nil)
	counted, unknown = h.reconcile()
	t.Logf("%d shares, each counted once; proxies and Redis killed, %d answers lost", counted, unknown)
	h.shareAtBoth()
}

// shareAtBoth brings the same shares to both proxies at once, in the dialect
// that leaves the whole nonce to the miner: each counts at one of them.
func (h *herd) shareAtBoth() {
	h.t.Helper()
	const shares, first = 20, uint64(0xffffffffffff0000)
	login := fmt.Sprintf("0x%040x", 0xb07)
	var addrs [loadProxies]string
	var works [loadProxies][]string
	for i, p := range h.proxies {
		addrs[i] = h.httpPort(p)
		h.until("there is work", p, func() bool {
			return getwork(addrs[i], login, &works[i], "eth_getWork") == nil && works[i][0] == works[0][0]
		})
	}
	header := works[0][0]
	prover := newProver(h.t)
	var accepted, duplicates atomic.Int64
	var all sync.WaitGroup
	for n := range uint64(shares) {
		mix := prover.hash(common.HexToHash(header), first+n).Mix.Hex()
		for _, addr := range addrs {
			all.Go(func() {
				var ok bool
				err := getwork(addr, login, &ok, "eth_submitWork", hexutil.EncodeUint64(first+n), header, mix)
				switch {
				case err == nil && ok:
					accepted.Add(1)
				case err != nil && strings.Contains(err.Error(), "Duplicate share"):
					duplicates.Add(1)
				default:
					h.t.Errorf("nonce %x at %s: %v, %v", first+n, addr, ok, err)
				}
			})
		}
	}
	all.Wait()
	if counted := h.worked()[login]; accepted.Load() != shares || duplicates.Load() != shares || counted != shares {
		h.t.Errorf("of %d shares at both proxies %d were accepted and %d refused, and Redis has %d", shares, accepted.Load(), duplicates.Load(), counted)
	}
}
