package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/params"
	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/devnet/chain"
)

const (
	// So few that a line of progress comes at every block, between the payments'.
	demoMiners   = 60
	demoWindow   = 6                // payments under way at once
	demoFunds    = 10_000           // coins on the pool's account
	demoInterval = 3 * time.Second  // between blocks, at least
	demoSession  = 30 * time.Second // between payout sessions
	demoEarnings = 5 * time.Second  // between credits to miners
	demoTable    = 10 * time.Second // between looks at Redis
	demoThresh   = 500_000_000      // Shannon
	demoShutdown = 6 * time.Second  // for the pool to end
)

// runDemo is the verb "demo": a chain, a database, miners with money, and the
// unmodified pool binary that pays them.
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
	chain     chain.Ready
	rdb       *redis.Client
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
	if err := d.seed(ctx); err != nil {
		return err
	}
	config, err := d.writeConfig()
	if err != nil {
		return err
	}
	d.introduce(config)
	return d.runPool(ctx, config)
}

// startChain runs the chain beside us and returns when it serves.
func (d *demo) startChain(ctx context.Context) (<-chan error, error) {
	log.Root().SetHandler(log.LvlFilterHandler(log.LvlError, log.StreamHandler(os.Stderr, log.LogfmtFormat())))
	cfg := chain.DefaultConfig()
	cfg.RealPow, cfg.Difficulty, cfg.BlockInterval = true, 150, demoInterval
	// The miners earned their balances before this chain began, so the account
	// begins with the money for them; what they earn now, its blocks earn.
	cfg.Fund = map[common.Address]*big.Int{cfg.Account(): new(big.Int).Mul(big.NewInt(demoFunds), big.NewInt(params.Ether))}
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

// login is the n-th demo miner's.
func login(n int) string {
	return strings.ToLower(crypto.PubkeyToAddress(crypto.ToECDSAUnsafe(crypto.Keccak256(fmt.Appendf(nil, "demo miner %d", n))).PublicKey).Hex())
}

// seed gives every miner a balance, as the unlocker would.
func (d *demo) seed(ctx context.Context) error {
	if n, err := d.rdb.Exists(ctx, "demo:finances").Result(); err != nil {
		return fmt.Errorf("connect to redis at %s: %w", d.redisAddr, err)
	} else if n > 0 {
		return fmt.Errorf("redis at %s holds a demo already; remove its keys demo:* first, because this chain is a new one", d.redisAddr)
	}
	for n := range demoMiners {
		if err := d.credit(ctx, n, demoThresh+int64(n)*40_000_000); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) credit(ctx context.Context, n int, shannon int64) error {
	_, err := d.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.HIncrBy(ctx, "demo:miners:"+login(n), "balance", shannon)
		p.HIncrBy(ctx, "demo:finances", "balance", shannon)
		return nil
	})
	if err != nil {
		return fmt.Errorf("credit a miner: %w", err)
	}
	return nil
}

func (d *demo) writeConfig() (string, error) {
	config := map[string]any{
		"coin":  "demo",
		"name":  "demo",
		"redis": map[string]any{"endpoint": d.redisAddr},
		"payouts": map[string]any{
			"enabled": true, "address": d.chain.Account.Hex(), "daemon": d.chain.HTTP, "requirePeers": 0,
			"interval": demoSession.String(), "pollInterval": "500ms", "threshold": demoThresh,
			"window": demoWindow, "confirmations": 4, "voidDepth": 40,
		},
		"log": map[string]any{"level": "info"}, // debug adds the steps of each payment
	}
	text, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		return "", fmt.Errorf("encode the demo's configuration: %w", err)
	}
	path := filepath.Join(d.dir, "payouts.json")
	if err := os.WriteFile(path, append(text, '\n'), 0o600); err != nil {
		return "", fmt.Errorf("write the demo's configuration: %w", err)
	}
	return path, nil
}

func (d *demo) introduce(config string) {
	fmt.Printf(`
A proof-of-work chain of its own (chain id %d) seals a block every few seconds: %s
The pool's account %s is unlocked in that node.
%d miners have between 0.5 and 2.9 coins each; the threshold is 0.5.
Redis is at %s, every key begins with "demo:".
Running: %s %s
Ctrl-C ends everything.

`, d.chain.ChainID, d.chain.HTTP, d.chain.Account.Hex(), demoMiners, d.redisAddr, d.pool, config)
}

// runPool runs the unmodified binary and, beside it, the miners' earnings and a
// look at Redis now and then.
func (d *demo) runPool(ctx context.Context, config string) error {
	cmd := exec.Command(d.pool, config)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	// Ctrl-C at a terminal reaches the whole group; the pool is told once, by us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the pool: %w", err)
	}
	exited := make(chan error, 1)
	go func() { exited <- cmd.Wait() }()
	earn, table := time.NewTicker(demoEarnings), time.NewTicker(demoTable)
	defer earn.Stop()
	defer table.Stop()
	for {
		select {
		case <-ctx.Done():
			return d.stopPool(cmd, exited)
		case err := <-exited:
			return fmt.Errorf("the pool ended: %w", errors.Join(err, errors.New("see its log above")))
		case <-earn.C:
			for range 5 {
				if err := d.credit(ctx, rand.IntN(demoMiners), 100_000_000+rand.Int64N(500_000_000)); err != nil && ctx.Err() == nil {
					return err
				}
			}
		case <-table.C:
			d.look(ctx)
		}
	}
}

func (d *demo) stopPool(cmd *exec.Cmd, exited <-chan error) error {
	fmt.Println("\ndemo: ending; the pool is asked to stop")
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return fmt.Errorf("stop the pool: %w", err)
	}
	select {
	case err := <-exited:
		if err != nil {
			return fmt.Errorf("the pool ended: %w", err)
		}
		fmt.Println("demo: ended")
		return nil
	case <-time.After(demoShutdown):
		_ = cmd.Process.Kill()
		return errors.Join(errors.New("the pool did not end in time and was killed"), <-exited)
	}
}

// look prints the rows that the manual speaks of.
func (d *demo) look(ctx context.Context) {
	p := d.rdb.Pipeline()
	lock := p.Get(ctx, "demo:payments:lock")
	pending := p.ZRevRangeWithScores(ctx, "demo:payments:pending", 0, 0)
	pendings := p.ZCard(ctx, "demo:payments:pending")
	all := p.ZRevRangeWithScores(ctx, "demo:payments:all", 0, 0)
	alls := p.ZCard(ctx, "demo:payments:all")
	finances := p.HMGet(ctx, "demo:finances", "balance", "pending", "paid")
	if _, err := p.Exec(ctx); err != nil && !errors.Is(err, redis.Nil) {
		return
	}
	var b strings.Builder
	fmt.Fprintf(&b, "\n  redis  demo:payments:lock     %s\n", orElse(lock.Val(), "(free)"))
	fmt.Fprintf(&b, "         demo:payments:pending  %d rows%s\n", pendings.Val(), newest(pending.Val()))
	fmt.Fprintf(&b, "         demo:payments:all      %d rows%s\n", alls.Val(), newest(all.Val()))
	f := finances.Val()
	fmt.Fprintf(&b, "         demo:finances          balance %v, pending %v, paid %v Shannon\n\n", orZero(f, 0), orZero(f, 1), orZero(f, 2))
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
