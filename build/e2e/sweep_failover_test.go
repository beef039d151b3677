package e2e

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
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
	p.follow()
	addr := fmt.Sprintf("127.0.0.1:%d", freePort(s.t))
	p.startSentinel(addr)
	p.sentinel = redis.NewSentinelClient(&redis.Options{Addr: addr, MaxRetries: -1})
	s.t.Cleanup(func() { p.sentinel.Close() })
	s.until("the Sentinel knows both", s.chain.proc, func() bool { return p.ready() })

	front := fault.Redis(s.t, addr)
	front.Every(func(m fault.Message) fault.Action {
		if len(m.Args) < 2 || !strings.EqualFold(m.Args[1], "get-master-addr-by-name") {
			return fault.Pass
		}
		for i := range p.servers {
			if p.servers[i].Addr() == p.named() {
				host, port, _ := net.SplitHostPort(p.proxies[i].Addr())
				return fault.Reply(fmt.Appendf(nil, "*2\r\n$%d\r\n%s\r\n$%d\r\n%s\r\n", len(host), host, len(port), port))
			}
		}
		return fault.Drop
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

// follow makes the server that is not the master its replica, and waits until it
// has all.
func (p *pair) follow() {
	p.t.Helper()
	master, replica := p.servers[p.master], p.servers[1-p.master]
	host, port, _ := net.SplitHostPort(master.Addr())
	replica.Do(p.t, "REPLICAOF", host, port)
	p.until("the replica follows", p.chain.proc, func() bool {
		return strings.Contains(replica.Do(p.t, "INFO", "replication").(string), "master_link_status:up")
	})
}

func (p *pair) startSentinel(addr string) {
	p.t.Helper()
	_, port, _ := net.SplitHostPort(addr)
	host, master, _ := net.SplitHostPort(p.servers[0].Addr())
	dir := p.t.TempDir()
	conf := filepath.Join(dir, "sentinel.conf")
	text := fmt.Sprintf("bind 127.0.0.1\nport %s\ndir %q\nsentinel monitor %s %s %s 1\nsentinel down-after-milliseconds %s 300\nsentinel failover-timeout %s 1000\n",
		port, dir, masterName, host, master, masterName, masterName)
	if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
		p.t.Fatal(err)
	}
	start(p.t, exec.Command("redis-server", conf, "--sentinel"))
}

// named is who the Sentinel says is the master.
func (p *pair) named() string {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	addr, err := p.sentinel.GetMasterAddrByName(ctx, masterName).Result()
	if err != nil || len(addr) != 2 {
		return ""
	}
	return net.JoinHostPort(addr[0], addr[1])
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

// heal makes the server that died the replica of the one that is the master now.
func (p *pair) heal() {
	p.t.Helper()
	for i := range p.servers {
		if p.servers[i].Pid() == 0 {
			p.servers[i].Restart()
		}
		if p.named() == p.servers[i].Addr() {
			p.master = i
		}
		p.join(i)
	}
	p.redis, p.sides["redis"] = p.servers[p.master], p.proxies[p.master]
	p.follow()
	p.until("the Sentinel sees both", p.chain.proc, p.ready)
}

// begin is called when the books are as they are before a life: the replica has
// them. It is going to be cut off some messages before the master dies.
func (p *pair) begin() {
	p.t.Helper()
	p.redis.Do(p.t, "WAIT", 1, patience.Milliseconds())
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
	for i := range p.servers {
		if p.servers[i].Addr() == p.named() && p.servers[i].Pid() != 0 {
			p.redis = p.servers[i]
			return strings.Contains(p.redis.Do(p.t, "INFO", "replication").(string), "role:master")
		}
	}
	return false
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
