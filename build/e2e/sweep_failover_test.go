package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
)

// pair are two Redis servers, one the replica of the other, and a Sentinel that
// makes the replica the master when that dies. The pool is told by Sentinel where
// the master is, and finds a proxy there.
type pair struct {
	*stage
	servers  [2]*storagetest.Server
	proxies  [2]*fault.Proxy
	sentinel *redis.SentinelClient
	master   int // of the two, when the life began
	cutAt    int // the message to the master at which the replica is cut off; 0: none
}

const masterName, replicaUser, replicaPassword = "pool", "replica", "replica"

// newPair lets a stage's Redis be a pair.
func newPair(s *stage) *pair {
	p := &pair{stage: s, servers: [2]*storagetest.Server{s.redis, storagetest.Start(s.t)}}
	for i := range p.servers {
		p.join(i)
		p.proxies[i] = fault.Redis(s.t, p.servers[i].Addr())
		s.side("redis", p.proxies[i], func(m fault.Message) fault.Action { return p.usual(i, m) })
	}
	// A Sentinel asks a master for its replicas when it first sees it, and then every
	// ten seconds.
	p.follow(0)
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(s.t))
	p.startSentinel(addr)
	p.sentinel = redis.NewSentinelClient(&redis.Options{Addr: addr, MaxRetries: -1})
	s.t.Cleanup(func() { p.sentinel.Close() })
	p.heal()

	front := fault.Redis(s.t, addr)
	front.Every(func(m fault.Message) fault.Action {
		if len(m.Args) < 2 || !strings.EqualFold(m.Args[1], "get-master-addr-by-name") {
			return fault.Pass
		}
		master := p.named()
		if master < 0 {
			return fault.Drop
		}
		host, port, _ := net.SplitHostPort(p.proxies[master].Addr())
		return fault.Reply(fmt.Appendf(nil, "*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(host), host, len(port), port))
	})
	s.redisSection = map[string]any{"mode": "sentinel", "masterName": masterName, "sentinelAddrs": []string{front.Addr()}}
	return p
}

// join lets the other server follow this one, and this one the other.
func (p *pair) join(i int) {
	p.t.Helper()
	p.servers[i].Do(p.t, "ACL", "SETUSER", replicaUser, "on", ">"+replicaPassword, "~*", "&*", "+psync", "+replconf", "+ping")
	p.servers[i].Do(p.t, "CONFIG", "SET", "masteruser", replicaUser, "masterauth", replicaPassword, "repl-diskless-sync-delay", 0)
}

func (p *pair) startSentinel(addr string) {
	p.t.Helper()
	_, port, _ := net.SplitHostPort(addr)
	host, master, _ := net.SplitHostPort(p.servers[0].Addr())
	dir := p.t.TempDir()
	conf := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %q\nsentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %s 1000\nsentinel failover-timeout %s 1000\n",
		port, dir, masterName, host, master, masterName, masterName)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	start(p.t, exec.Command("redis-server", conf, "--sentinel"))
}

// named is which of the two the Sentinel says is the master; -1 while it says nothing.
func (p *pair) named() int {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	addr, err := p.sentinel.GetMasterAddrByName(ctx, masterName).Result()
	if err != nil || len(addr) != 2 {
		return -1
	}
	return slices.IndexFunc(p.servers[:], func(s *storagetest.Server) bool { return s.Addr() == net.JoinHostPort(addr[0], addr[1]) })
}

// ready says whether the Sentinel sees a master in health and a replica that could
// take its place.
func (p *pair) ready() bool {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	master, err := p.sentinel.Master(ctx, masterName).Result()
	if err != nil || master["flags"] != "master" {
		return false
	}
	replicas, err := p.sentinel.Replicas(ctx, masterName).Result()
	if err != nil {
		return false
	}
	for _, r := range replicas {
		if r["flags"] == "slave" && net.JoinHostPort(r["ip"], r["port"]) == p.servers[1-p.master].Addr() {
			return true
		}
	}
	return false
}

// heal starts the server that died and makes the one that is not the master the
// other's replica, until the Sentinel sees both in health.
func (p *pair) heal() {
	p.t.Helper()
	for i, s := range p.servers {
		if s.Pid() == 0 {
			s.Restart()
		}
		p.join(i)
	}
	following := -1 // a Sentinel that was kept waiting may change its mind
	p.until("the Sentinel sees both in health", p.chain.proc, func() bool {
		if master := p.named(); master >= 0 && master != following {
			following, p.master = master, master
			p.follow(master)
		}
		return following >= 0 && p.ready() &&
			strings.Contains(p.replication(1-following), "master_link_status:up")
	})
	p.redis, p.sides["redis"] = p.servers[p.master], p.proxies[p.master]
}

// follow makes one server the master and the other its replica.
func (p *pair) follow(master int) {
	p.t.Helper()
	p.servers[master].Do(p.t, "REPLICAOF", "NO", "ONE")
	host, port, _ := net.SplitHostPort(p.servers[master].Addr())
	p.servers[1-master].Do(p.t, "REPLICAOF", host, port)
}

// begin is called when the books are as they are before a life: the replica has
// them. It is going to be cut off some messages before the master dies.
func (p *pair) begin() {
	p.t.Helper()
	p.until("the replica has all", p.chain.proc, func() bool { return p.redis.Do(p.t, "WAIT", 1, 200) == int64(1) })
	p.cutAt = 0
	if p.point > 0 {
		lag := []int{p.point, 1, 4, 16}[p.point%4]
		p.cutAt = p.sides["redis"].Count() + max(1, p.point-lag)
	}
}

// usual cuts the replica off at its message to the master.
func (p *pair) usual(server int, m fault.Message) fault.Action {
	if server != p.master || m.N != p.cutAt {
		return fault.Pass
	}
	return fault.Pass.Do(func() {
		p.servers[p.master].Do(p.t, "ACL", "SETUSER", replicaUser, "off")
		p.servers[p.master].Do(p.t, "CLIENT", "KILL", "TYPE", "replica")
	})
}

// here says whether there is a master, and takes the new one for it.
func (p *pair) here() bool {
	master := p.named()
	if master < 0 || p.servers[master].Pid() == 0 {
		return false
	}
	p.redis = p.servers[master]
	return strings.Contains(p.replication(master), "role:master")
}

// replication is what a server says of its part; nothing while the Sentinel gives it
// another, which ends all connections to it.
func (p *pair) replication(server int) string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	client := redis.NewClient(&redis.Options{Addr: p.servers[server].Addr(), MaxRetries: -1})
	defer func() { _ = client.Close() }() // nothing of it is needed
	return client.Info(ctx, "replication").Val()
}

// died is the death of the master, whose last writes the replica does not have.
var died = mishap{name: "Sentinel fails over to a replica that lags",
	action: func(s *stage, do func()) fault.Action { return fault.LoseReply.Do(do) },
	does:   func(s *stage, _ int) { s.redis.Kill() }}

// payingPair is paying with a pair.
type payingPair struct {
	*paying
	pair *pair
}

func (g *payingPair) begin() {
	g.pair.heal()
	g.paying.begin()
	g.pair.begin()
}

func (g *payingPair) rest() bool { return g.pair.here() && g.paying.rest() }

// TestSweepOfFailover has the master die at every message, and the last writes that
// it acknowledged with it.
func TestSweepOfFailover(t *testing.T) {
	t.Parallel()
	g := newPaying(t, storagetest.Start(t), startChain(t))
	g.payouts["signer"] = keystoreSigner(t, g.dir, g.chain.Account)
	sweep(t, "payouts, keystore", &payingPair{g, newPair(g.stage)}, trouble{"redis", []mishap{died}})
}
