package main

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/notify"
	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// How a line of the doctor's is meant.
const (
	healthy = "ok"
	doubt   = "warning" // money is safe, for now
	sick    = "error"   // money is in danger, or nothing can be paid
)

// finding is one line of the doctor's.
type finding struct {
	Level string `json:"level"`
	What  string `json:"what"`
	Fix   string `json:"fix,omitempty"`
}

// patient collects what the doctor finds.
type patient struct {
	app      *app
	Findings []finding `json:"findings"`
}

func (p *patient) ok(format string, args ...any) {
	p.Findings = append(p.Findings, finding{Level: healthy, What: fmt.Sprintf(format, args...)})
}

func (p *patient) note(level, fix, format string, args ...any) {
	p.Findings = append(p.Findings, finding{Level: level, What: fmt.Sprintf(format, args...), Fix: fix})
}

// errSick ends the doctor's verb when there is an error among the findings.
var errSick = errors.New("the doctor found errors")

// doctor looks at everything that payouts stand on, and says how to mend what is
// wrong. The first question is the manual's first sentence.
func doctor(ctx context.Context, a *app) error {
	p := &patient{app: a}
	db := p.redis(ctx)
	if db != nil {
		defer db.Close()
	}
	if a.cfg.Payouts.Enabled {
		p.payouts(ctx, db)
	}
	p.others(ctx)
	p.files()
	if a.json {
		if err := a.print(p); err != nil {
			return err
		}
	} else if err := p.print(); err != nil {
		return err
	}
	for _, f := range p.Findings {
		if f.Level == sick {
			return errSick
		}
	}
	return nil
}

func (p *patient) print() error {
	w := tabwriter.NewWriter(p.app.out, 0, 8, 2, ' ', 0)
	for _, f := range p.Findings {
		fmt.Fprintf(w, "%s\t%s\n", f.Level, f.What)
		if f.Fix != "" {
			fmt.Fprintf(w, "\t  fix: %s\n", f.Fix)
		}
	}
	return w.Flush()
}

const clockSkew = 5 * time.Second // between two machines, before somebody should look

func (p *patient) redis(ctx context.Context) *storage.DB {
	db, err := p.app.openRedis(ctx)
	if err != nil {
		p.note(sick, "start Redis, or mend the section redis", "Redis: %v", err)
		return nil
	}
	s, err := db.Server(ctx)
	if err != nil {
		p.note(sick, "let the pool's user ask INFO (ACL SETUSER NAME +info +config|get +time)", "Redis: %v", err)
		return db
	}
	p.persistence(s)
	switch {
	case s.Role != "master":
		p.note(sick, "let redis.endpoint name the master, or use redis.mode sentinel", "Redis is a %s: nothing can be written", s.Role)
	case s.MaxMemory > 0 && s.Eviction != "noeviction":
		p.note(sick, "CONFIG SET maxmemory-policy noeviction, then CONFIG REWRITE", "Redis forgets rows when its memory is full (maxmemory-policy %s)", s.Eviction)
	case s.MaxMemory > 0 && s.UsedMemory > s.MaxMemory/10*8:
		p.note(doubt, "raise maxmemory before Redis refuses to write", "Redis uses %d of %d MiB", s.UsedMemory>>20, s.MaxMemory>>20)
	default:
		p.ok("Redis %s is a master with %d replicas, uses %d MiB and forgets nothing when it is full", s.Version, s.Replicas, s.UsedMemory>>20)
	}
	if off := time.Since(s.Time).Abs(); off > clockSkew {
		p.note(doubt, "let both machines follow a time server", "the clocks of Redis and of this machine are %s apart", off.Round(time.Second))
	} else {
		p.ok("the clocks of Redis and of this machine agree")
	}
	return db
}

// persistence is the manual's first sentence.
func (p *patient) persistence(s storage.Server) {
	const appendOnly = "CONFIG SET appendonly yes, CONFIG SET appendfsync everysec, then CONFIG REWRITE; see https://redis.io/topics/persistence"
	switch {
	case !s.WriteOK:
		p.note(sick, "look at Redis' log and at its disk", "Redis cannot write its append-only file")
	case !s.SaveOK:
		p.note(sick, "look at Redis' log and at its disk", "Redis' last snapshot failed")
	case s.AppendOnly && s.Fsync == "no":
		p.note(doubt, "CONFIG SET appendfsync everysec, then CONFIG REWRITE", "Redis leaves it to the system when its append-only file reaches the disk")
	case s.AppendOnly:
		p.ok("Redis keeps every write in its append-only file (appendfsync %s)", orUnknown(s.Fsync))
	case !s.ConfigOK:
		p.note(doubt, "ask the provider whether every write reaches a disk", "Redis has no append-only file and does not tell about snapshots")
	case s.Snapshots == "":
		p.note(sick, appendOnly, "Redis keeps nothing: after a restart all balances are gone")
	default:
		p.note(doubt, appendOnly, "Redis keeps snapshots only (save %q): shares and rewards since the last one are gone after a crash", s.Snapshots)
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

func (p *patient) payouts(ctx context.Context, db *storage.DB) {
	cfg := p.app.cfg.Payouts
	for _, u := range cfg.Daemon {
		p.node(ctx, "payouts.daemon", u, cfg.RequirePeers, cfg.Signer.Type == payouts.SignerNode)
	}
	if db == nil {
		return
	}
	node, err := p.app.openNode()
	if err != nil {
		p.note(sick, "mend payouts.daemon", "%v", err)
		return
	}
	defer node.Close()
	payer, err := payouts.OpenToRead(ctx, cfg, db, node, p.app.log)
	if err != nil {
		p.note(sick, "mend what the line names in the section payouts", "payouts: %v", err)
		return
	}
	plan, err := payer.Plan(ctx)
	var halted *payouts.Halt
	switch {
	case err != nil:
		p.note(sick, "mend what the line names: Redis, the node or the signer", "a session cannot be planned: %v", err)
	case errors.As(plan.Stopped, &halted):
		p.note(sick, "docs/halts.md, "+halted.Reason, "a session would not pay everybody: %v", halted)
	default:
		p.ok("a session would pay %s coins, payments: %d; the account %s has %s", plan.Total.Coins(), len(plan.Pay), plan.Account, weiCoins(plan.Balance))
	}
	p.wallet(ctx, db, plan.Balance)
}

// wallet compares what the account has with what the pool owes.
func (p *patient) wallet(ctx context.Context, db *storage.DB, balance *big.Int) {
	f, err := db.Finances(ctx)
	if err != nil || balance == nil {
		return // it was said above why the account cannot be read
	}
	if owed := f.Balance + f.Pending; owed.Wei().Cmp(balance) > 0 {
		p.note(doubt, "send coins to the account before the next session", "miners have %s coins on their balances, the account has %s", owed.Coins(), weiCoins(balance))
	}
}

const oldHead = 5 * time.Minute // since the head block, before somebody should look

// node looks at one node. unlocked says that it holds the pool's key.
func (p *patient) node(ctx context.Context, key, at string, peersWanted uint64, unlocked bool) {
	c, err := rpc.New([]string{at}, p.app.cfg.Payouts.Timeout.Std())
	if err != nil {
		p.note(sick, "mend "+key, "%s: %v", key, err)
		return
	}
	defer c.Close()
	name := fmt.Sprintf("the node %s of %s", hostOf(at), key)
	chainID, _, err := c.Identity(ctx)
	if err != nil {
		p.note(sick, "start the node, or mend "+key, "%s does not answer: %v", name, err)
		return
	}
	var version string
	if err := c.Call(ctx, &version, "web3_clientVersion"); err != nil {
		version = "a client that does not tell its version"
	}
	head, err := c.Head(ctx)
	if err != nil {
		p.note(sick, "look at the node's log, and whether it offers the namespaces eth, net and web3", "%s: %v", name, err)
		return
	}
	syncing, err1 := c.Syncing(ctx)
	peers, err2 := c.PeerCount(ctx)
	age := time.Since(time.Unix(int64(head.Time), 0))
	switch err := errors.Join(err1, err2); {
	case err != nil:
		p.note(sick, "look at the node's log, and whether it offers the namespaces eth, net and web3", "%s: %v", name, err)
	case syncing:
		p.note(sick, "wait until it has caught up", "%s is still syncing", name)
	case peers < peersWanted:
		p.note(sick, "look at its network, or lower payouts.requirePeers", "%s has %d peers, payouts.requirePeers is %d", name, peers, peersWanted)
	case age > oldHead:
		p.note(doubt, "look at its log", "%s has had no block for %s (its head is %d)", name, age.Round(time.Second), head.Number)
	case -age > clockSkew*3:
		p.note(doubt, "let both machines follow a time server", "the head block of %s is %s in the future", name, (-age).Round(time.Second))
	default:
		p.ok("%s (%s) is on chain %d at block %d with %d peers", name, version, chainID, head.Number, peers)
	}
	p.exposed(ctx, c, name, at, unlocked)
}

// exposed warns of a node that signs for whoever reaches it.
func (p *patient) exposed(ctx context.Context, c *rpc.Client, name, at string, unlocked bool) {
	var accounts []string
	if err := c.Call(ctx, &accounts, "eth_accounts"); err != nil || len(accounts) == 0 {
		return // it signs for nobody
	}
	switch {
	case !unlocked:
		p.note(doubt, "remove the accounts from the node, which needs none", "%s holds %d accounts though payouts.signer does not use them", name, len(accounts))
	case !isLoopback(at):
		p.note(doubt, "use payouts.signer keystore, or let nobody else reach the node's port", "%s signs for whoever reaches it: the pool's account is unlocked there", name)
	}
}

func isLoopback(at string) bool {
	u, err := url.Parse(at)
	if err != nil {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Hostname() == "localhost" || ip != nil && ip.IsLoopback()
}

// hostOf leaves out what in a URL may be a secret.
func hostOf(at string) string {
	u, err := url.Parse(at)
	if err != nil || u.Host == "" {
		return "(no URL)"
	}
	return u.Host
}

// others looks at the nodes of the other modules.
func (p *patient) others(ctx context.Context) {
	if p.app.cfg.Unlocker.Enabled {
		for _, u := range p.app.cfg.Unlocker.Daemon {
			p.node(ctx, "unlocker.daemon", u, 0, true)
		}
	}
	if p.app.cfg.Proxy.Enabled {
		for _, u := range p.app.cfg.Upstream {
			p.node(ctx, "upstream "+u.Name, u.URL, 0, true)
		}
	}
}

const scarce = 256 << 20 // bytes free on the journal's disk

// files looks at the journal's disk and at who may read what is secret.
func (p *patient) files() {
	cfg := p.app.cfg
	hooked := slices.ContainsFunc(cfg.Notify.Hooks, func(h notify.HookConfig) bool { return h.URL != "" || h.Token != "" })
	if cfg.Redis.Password != "" || cfg.Redis.SentinelPassword != "" || hooked {
		p.private(p.app.path, "the configuration, which holds a password or a hook's secret")
	}
	if cfg.Payouts.Enabled {
		p.disk(filepath.Dir(cfg.Payouts.Journal))
		p.private(cfg.Payouts.Journal, "the journal, which holds signed transactions")
		if cfg.Payouts.Signer.Type == payouts.SignerKeystore {
			p.private(cfg.Payouts.Signer.Keystore, "the key file")
			p.private(cfg.Payouts.Signer.PasswordFile, "the key file's password")
		}
	}
	for _, h := range cfg.Notify.Hooks {
		if cfg.Notify.Enabled && h.TokenFile != "" {
			p.private(h.TokenFile, "the token of hook "+h.Name)
		}
	}
	if s := cfg.Proxy.Stratum; cfg.Proxy.Enabled && s.KeyFile != "" {
		p.private(s.KeyFile, "the TLS key")
	}
}

func (p *patient) private(path, what string) {
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, os.ErrNotExist): // not made yet, or the verb check says so
	case err != nil:
		p.note(doubt, "let the pool's user look at "+path, "%s: %v", what, err)
	case info.Mode().Perm()&0o077 != 0:
		p.note(doubt, fmt.Sprintf("chmod go= %s", path), "%s, %s, can be read or changed by others (%s)", path, what, info.Mode().Perm())
	default:
		p.ok("%s can be read by its owner only", path)
	}
}

// disk tries what the journal does before every payment.
func (p *patient) disk(dir string) {
	var fs syscall.Statfs_t
	if err := syscall.Statfs(dir, &fs); err != nil {
		p.note(sick, "mend payouts.journal, or make its folder", "the journal's disk: %v", err)
		return
	}
	if free := fs.Bavail * uint64(fs.Bsize); free < scarce {
		p.note(sick, "make room: without the journal nothing is paid", "the journal's disk has %d MiB left", free>>20)
		return
	}
	took, err := syncTime(dir)
	if err != nil {
		p.note(sick, "let the pool's user write to "+dir, "the journal's folder: %v", err)
		return
	}
	p.ok("the journal's disk has room, and a synced write took %s", took.Round(10*time.Microsecond))
}

// syncTime is how long a write takes until it is on the disk.
func syncTime(dir string) (time.Duration, error) {
	f, err := os.CreateTemp(dir, ".doctor-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.Remove(f.Name()) }()
	defer f.Close()
	begin := time.Now()
	if _, err := f.WriteString("x\n"); err != nil {
		return 0, err
	}
	if err := f.Sync(); err != nil {
		return 0, err
	}
	return time.Since(begin), nil
}
