package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/ethereum/go-ethereum/log"
	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/devnet/chain"
)

const (
	demoDifficulty = 120              // hashes a block: less than a second's work of all rigs
	demoShares     = 8                // shares a block, on average
	demoDepth      = 32               // blocks until a reward is paid out, the least a pool may have
	demoThresh     = 500_000_000      // Shannon
	demoSession    = 10 * time.Second // between payout sessions
	demoTable      = 10 * time.Second // between looks at Redis
	demoShutdown   = 6 * time.Second  // for the pool to end
)

// runDemo is the verb "demo": the whole life of a reward, from an empty database
// on. A chain, rigs that mine through the pool, and the unmodified pool binary
// that counts their shares, credits their blocks and pays them.
func runDemo(ctx context.Context, args []string, _ func(any)) error {
	f := flag.NewFlagSet("demo", flag.ContinueOnError)
	pool := f.String("pool", "build/bin/open-ethereum-pool", "the pool's `binary`")
	real := f.String("redis", "", "use the real Redis at `host:port`, database 0, keys under the prefix demo; without it an embedded one that keeps nothing")
	if err := parse(f, args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if _, err := os.Stat(*pool); err != nil {
		return fmt.Errorf("the pool's binary: %w; make builds it", err)
	}
	dir, err := os.MkdirTemp("", "open-ethereum-pool-demo-")
	if err != nil {
		return fmt.Errorf("make a folder for the demo: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	d := &demo{dir: dir, pool: *pool, redisAddr: *real}
	return d.run(ctx)
}

type demo struct {
	dir, pool string
	redisAddr string
	stratum   string // where the pool's miners connect
	pages     string // HOST:PORT, for a browser
	chain     chain.Ready
	rdb       *redis.Client
	rigs      rigs
}

func (d *demo) run(ctx context.Context) (err error) {
	// The chain goes on until the pool has ended, so that nothing the pool says
	// while it ends is about a node that went away.
	chainCtx, stopChain := context.WithCancel(context.WithoutCancel(ctx))
	defer stopChain()
	chainDone, err := d.startChain(chainCtx)
	if err != nil {
		return err
	}
	defer func() { stopChain(); err = errors.Join(err, <-chainDone) }()
	if err := d.startRedis(); err != nil {
		return err
	}
	defer d.rdb.Close()
	if err := d.empty(ctx); err != nil {
		return err
	}
	configs, err := d.writeConfigs()
	if err != nil {
		return err
	}
	d.introduce(configs)
	mining, stopRigs := context.WithCancel(ctx)
	d.rigs.start(mining, d.stratum)
	defer d.rigs.wait()
	defer stopRigs()
	return d.runPool(ctx, configs)
}

// startChain runs the chain beside us and returns when it serves.
func (d *demo) startChain(ctx context.Context) (<-chan error, error) {
	log.Root().SetHandler(log.LvlFilterHandler(log.LvlError, log.StreamHandler(os.Stderr, log.LogfmtFormat())))
	cfg := chain.DefaultConfig()
	cfg.RealPow, cfg.Difficulty = true, demoDifficulty
	node, err := chain.New(cfg)
	if err != nil {
		return nil, fmt.Errorf("chain: %w", err)
	}
	ready, done := make(chan chain.Ready, 1), make(chan error, 1)
	go func() { done <- node.Run(ctx, func(r chain.Ready) { ready <- r }) }()
	select {
	case d.chain = <-ready:
		return done, nil
	case err := <-done:
		return nil, fmt.Errorf("chain: %w", err)
	}
}

func (d *demo) startRedis() error {
	if d.redisAddr == "" {
		db := miniredis.NewMiniRedis()
		if err := db.StartAddr("127.0.0.1:0"); err != nil {
			return fmt.Errorf("serve an embedded Redis: %w", err)
		}
		d.redisAddr = db.Addr()
		fmt.Println("demo: Redis is embedded and KEEPS NOTHING: when this ends, all balances are gone. Never use it for money.")
	}
	d.rdb = redis.NewClient(&redis.Options{Addr: d.redisAddr, Protocol: 2, DisableIdentity: true})
	return nil
}

// empty fails when an earlier demo left its books behind: they are another
// chain's.
func (d *demo) empty(ctx context.Context) error {
	keys, _, err := d.rdb.Scan(ctx, 0, "demo:*", 1000).Result()
	if err != nil {
		return fmt.Errorf("connect to redis at %s: %w", d.redisAddr, err)
	}
	if len(keys) > 0 {
		return fmt.Errorf("redis at %s holds a demo already; remove its keys demo:* first, because this chain is a new one", d.redisAddr)
	}
	return nil
}

// writeConfigs writes one configuration for each process: payouts must have one
// of their own, says the manual.
func (d *demo) writeConfigs() ([]string, error) {
	ports, err := freePorts(3)
	if err != nil {
		return nil, err
	}
	d.stratum, d.pages = ports[0], ports[1]
	var paths []string
	for name, sections := range map[string]map[string]any{
		"pool.json": {
			"upstream": []any{map[string]any{"name": "devnet", "url": d.chain.HTTP, "ws": d.chain.WS}},
			"proxy": map[string]any{
				"enabled": true, "listen": ports[2], "difficulty": demoDifficulty / demoShares,
				"stratum": map[string]any{"enabled": true, "listen": d.stratum},
			},
			"api": map[string]any{
				"enabled": true, "listen": d.pages, "statsCollectInterval": "2s", "hashrateWindow": "1m", "hashrateLargeWindow": "1h",
				"poolCharts": "*/10 * * * * *", "netCharts": "*/10 * * * * *", "minerCharts": "*/10 * * * * *", // seconds first
			},
			"unlocker": map[string]any{
				"enabled": true, "daemon": d.chain.HTTP, "interval": "1s",
				"depth": demoDepth, "immatureDepth": demoDepth / 2,
			},
		},
		"payouts.json": {
			"payouts": map[string]any{
				"enabled": true, "address": d.chain.Account.Hex(), "daemon": d.chain.HTTP, "requirePeers": 0,
				"interval": demoSession.String(), "pollInterval": "500ms", "threshold": demoThresh,
				"window": 6, "confirmations": 4, "voidDepth": 40,
			},
		},
	} {
		sections["coin"], sections["name"], sections["network"] = "demo", "demo", "private"
		sections["redis"] = map[string]any{"endpoint": d.redisAddr}
		sections["log"] = map[string]any{"level": "info"} // debug adds every share and the steps of each payment
		text, err := json.MarshalIndent(sections, "", "  ")
		if err != nil {
			return nil, fmt.Errorf("encode %s: %w", name, err)
		}
		path := filepath.Join(d.dir, name)
		if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
			return nil, fmt.Errorf("write %s: %w", name, err)
		}
		paths = append(paths, path)
	}
	slices.Sort(paths)
	slices.Reverse(paths) // the pool first
	return paths, nil
}

// freePorts are addresses that nobody listens on.
func freePorts(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		defer l.Close()
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

func (d *demo) introduce(configs []string) {
	fmt.Printf(`
A proof-of-work chain of its own (chain id %d), nothing on it yet: %s
%d rigs of %d addresses will mine on it through the pool's port, %s,
with this machine's processor: a block every second or two.
A block matures when it is %d blocks deep; then the rigs are paid, from a threshold
of 0.5 coins, out of what the pool earned: %s
THE PAGES: http://%s/  (open them in a browser and watch)
Redis is empty, at %s; every key will begin with "demo:".
Running: %s
Ctrl-C ends everything.

`, d.chain.ChainID, d.chain.HTTP, demoRigs, demoMiners, d.stratum, demoDepth, d.chain.Account.Hex(), d.pages, d.redisAddr, d.pool+" "+strings.Join(configs, "\n         "+d.pool+" "))
}

// runPool runs the unmodified binary with each configuration, and looks at Redis
// now and then.
func (d *demo) runPool(ctx context.Context, configs []string) (err error) {
	exited := make(chan error, len(configs))
	var running []*exec.Cmd
	defer func() { err = errors.Join(err, stopPool(running, exited)) }()
	for _, config := range configs {
		cmd := exec.Command(d.pool, config)
		cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
		// Ctrl-C at a terminal reaches the whole group; the pool is told once, by us.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
		if err := cmd.Start(); err != nil {
			return fmt.Errorf("start the pool: %w", err)
		}
		running = append(running, cmd)
		go func() { exited <- cmd.Wait() }()
	}
	table := time.NewTicker(demoTable)
	defer table.Stop()
	for {
		select {
		case <-ctx.Done():
			fmt.Println("\ndemo: ending; the pool is asked to stop")
			return nil
		case err := <-exited:
			exited <- nil // it is told already
			return fmt.Errorf("the pool ended: %w", errors.Join(err, errors.New("see its log above")))
		case <-table.C:
			d.look(ctx)
		}
	}
}

// stopPool asks all processes to end, and waits.
func stopPool(running []*exec.Cmd, exited <-chan error) error {
	var errs []error
	for _, cmd := range running {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			errs = append(errs, fmt.Errorf("stop the pool: %w", err))
		}
	}
	late := time.After(demoShutdown)
	for range running {
		select {
		case err := <-exited:
			if err != nil {
				errs = append(errs, fmt.Errorf("the pool ended: %w", err))
			}
		case <-late:
			for _, cmd := range running {
				_ = cmd.Process.Kill()
			}
			return errors.Join(append(errs, errors.New("the pool did not end in time and was killed"))...)
		}
	}
	if len(errs) == 0 {
		fmt.Println("demo: ended")
	}
	return errors.Join(errs...)
}

// look prints the rows that the manual speaks of.
func (d *demo) look(ctx context.Context) {
	p := d.rdb.Pipeline()
	round := p.HLen(ctx, "demo:shares:roundCurrent")
	candidates, immature, matured := p.ZCard(ctx, "demo:blocks:candidates"), p.ZCard(ctx, "demo:blocks:immature"), p.ZCard(ctx, "demo:blocks:matured")
	lock := p.Get(ctx, "demo:payments:lock")
	pending := p.ZRevRangeWithScores(ctx, "demo:payments:pending", 0, 0)
	pendings := p.ZCard(ctx, "demo:payments:pending")
	all := p.ZRevRangeWithScores(ctx, "demo:payments:all", 0, 0)
	alls := p.ZCard(ctx, "demo:payments:all")
	finances := p.HMGet(ctx, "demo:finances", "immature", "balance", "pending", "paid")
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n  rigs   %s; %d addresses in this round\n", d.rigs.count(), round.Val())
	fmt.Fprintf(&b, "  redis  demo:blocks            %d candidates, %d immature, %d matured\n", candidates.Val(), immature.Val(), matured.Val())
	fmt.Fprintf(&b, "         demo:payments:lock     %s\n", orElse(lock.Val(), "(free)"))
	fmt.Fprintf(&b, "         demo:payments:pending  %d rows%s\n", pendings.Val(), newest(pending.Val()))
	fmt.Fprintf(&b, "         demo:payments:all      %d rows%s\n", alls.Val(), newest(all.Val()))
	f := finances.Val()
	fmt.Fprintf(&b, "         demo:finances          immature %v, balance %v, pending %v, paid %v Shannon\n\n", orZero(f, 0), orZero(f, 1), orZero(f, 2), orZero(f, 3))
	fmt.Print(b.String())
}

func newest(zs []redis.Z) string {
	if len(zs) == 0 {
		return ""
	}
	return fmt.Sprintf(", newest %v at %.0f", zs[0].Member, zs[0].Score)
}

func orElse(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

func orZero(vs []any, i int) any {
	if i >= len(vs) || vs[i] == nil {
		return 0
	}
	return vs[i]
}
