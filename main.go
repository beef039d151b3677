// Command open-ethereum-pool is a mining pool for Ethereum-style proof-of-work
// coins. Which of its modules run is said by the configuration:
//
//	open-ethereum-pool [config.json] [verb] [arguments]
//
// main.go reads the command line and starts what is enabled; verbs.go are the
// commands an operator types; config.go is the whole configuration.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
	_ "time/tzdata" // payouts.timeZone works on machines without zone files

	"github.com/lmittmann/tint"
	"golang.org/x/sync/errgroup"

	"github.com/open-ethereum-pool/open-ethereum-pool/api"
	"github.com/open-ethereum-pool/open-ethereum-pool/notify"
	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/proxy"
	"github.com/open-ethereum-pool/open-ethereum-pool/proxy/ethash"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
	"github.com/open-ethereum-pool/open-ethereum-pool/www"
)

// Exit statuses, for scripts and monitoring.
const (
	exitOK          = 0
	exitError       = 1 // something failed; the log says what
	exitUsage       = 2 // wrong command line or configuration
	exitHalted      = 3 // payouts are halted; nothing was lost, the reason is said
	exitPartly      = 4 // some who were due could not be paid, or not everything could be looked at
	exitInterrupted = 5 // ended by a signal before the session was done
)

// shutdownTimeout is how long modules have to end after SIGTERM or SIGINT.
const shutdownTimeout = 4 * time.Second

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	context.AfterFunc(ctx, func() {
		stop() // a second signal ends the process at once
	})
	os.Exit(command(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// command carries out one command line and returns the exit status.
func command(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	l, err := parseArgs(args)
	if errors.Is(err, errHelp) {
		fmt.Fprint(stdout, usage())
		return exitOK
	}
	if err == nil {
		l, err = withResolve(l)
	}
	if err != nil {
		fmt.Fprintf(stderr, "%v\ntry: open-ethereum-pool --help\n", err)
		return exitUsage
	}
	cfg, src, err := LoadConfig(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		err = fmt.Errorf("%w\ntry: open-ethereum-pool --help", err)
	}
	if err != nil {
		fmt.Fprintln(stderr, err)
		if l.json {
			_ = json.NewEncoder(stdout).Encode(errorOf(err))
		}
		return exitUsage
	}
	log := newLogger(cfg.Log, stderr)
	storage.LogTo(log)
	for _, w := range src.Warnings {
		log.Warn(w)
	}
	if cfg.Threads > 0 {
		runtime.GOMAXPROCS(cfg.Threads)
	}
	a := &app{cfg: cfg, src: src, path: l.path, log: log, out: stdout, in: stdin, args: l.args, options: l.options}
	done := a.endInTime(ctx, shutdownTimeout, os.Exit)
	defer done()
	err = verbs[l.verb].run(ctx, a)
	if l.json && err != nil && !errors.Is(err, errPartly) {
		_ = a.print(errorOf(located(src, err))) // the exit status says it as well
	}
	return status(ctx, log, src, err)
}

// endInTime ends the process by force when the work goes on for too long after
// ctx ended, and says what did not answer. The work calls done when it is over.
func (a *app) endInTime(ctx context.Context, limit time.Duration, exit func(int)) (done func()) {
	over := make(chan struct{})
	go func() {
		select {
		case <-ctx.Done():
		case <-over:
			return
		}
		select {
		case <-time.After(limit):
		case <-over:
			return
		}
		said := make(chan struct{})
		go func() {
			a.log.Error("not ended in time after a signal; ending now, the next start goes on", "noAnswerFrom", a.busy.String(), "limit", limit)
			close(said)
		}()
		select { // a log that nobody reads may be what all wait for
		case <-said:
		case <-time.After(time.Second):
		}
		exit(exitInterrupted)
	}()
	return func() { close(over) }
}

// activities are what is going on, in words for the operator.
type activities struct {
	mu   sync.Mutex
	list []string
}

// begin notes that something is going on until end is called.
func (b *activities) begin(what string) (end func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.list = append(b.list, what)
	return func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		if i := slices.Index(b.list, what); i >= 0 {
			b.list = slices.Delete(b.list, i, i+1)
		}
	}
}

func (b *activities) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return strings.Join(b.list, ", ")
}

// located says where the configuration is at fault, if it is.
func located(src *util.Source, err error) error {
	var key *util.KeyError
	if errors.As(err, &key) {
		return cmp.Or(src.Locate(err), err)
	}
	return err
}

// status turns what a verb returned into an exit status, and says it once.
func status(ctx context.Context, log *slog.Logger, src *util.Source, err error) int {
	var h *payouts.Halt
	var key *util.KeyError
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errPartly):
		return exitPartly
	case errors.As(err, &h):
		log.Error("payouts halted", "reason", h.Reason, "err", err)
		return exitHalted
	case errors.As(err, &key):
		for line := range strings.SplitSeq(src.Locate(err).Error(), "\n") {
			log.Error(line)
		}
		return exitUsage
	case ctx.Err() != nil:
		return exitInterrupted
	}
	log.Error("stopped", "err", err)
	return exitError
}

// serve runs every module that the configuration enables until ctx ends.
func serve(ctx context.Context, a *app) error {
	var modules []func(context.Context, *storage.DB) error
	if a.cfg.Payouts.Enabled {
		modules = append(modules, a.runPayouts, a.runAudit)
	}
	if a.cfg.Proxy.Enabled {
		modules = append(modules, a.runProxy)
	}
	if a.cfg.Unlocker.Enabled {
		modules = append(modules, a.runUnlocker)
	}
	if a.cfg.API.Enabled {
		modules = append(modules, a.runAPI)
	}
	if a.cfg.Notify.Enabled {
		modules = append(modules, a.runNotify)
	}
	if len(modules) == 0 {
		return &util.KeyError{Key: "payouts.enabled", Problem: "is false, want true, or proxy.enabled, api.enabled or unlocker.enabled: there is nothing to run"}
	}
	if a.cfg.Metrics.Enabled {
		a.monitor = api.NewMonitor(a.cfg.Metrics.Listen, a.log)
		modules = append(modules, a.runMonitor)
	}
	db, err := a.awaitRedis(ctx)
	if err != nil && ctx.Err() != nil {
		a.log.Info("stopped cleanly")
		return nil
	}
	if err != nil {
		return err
	}
	defer db.Close()
	g, ctx := errgroup.WithContext(ctx)
	for _, run := range modules {
		g.Go(func() error { return run(ctx, db) })
	}
	if err := g.Wait(); err != nil && ctx.Err() == nil {
		return err
	} else if err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	a.log.Info("stopped cleanly")
	return nil
}

// awaitRedis is openRedis for what runs on: a Redis that does not answer, or is
// still loading its data, is waited for, because it may be starting as well.
func (a *app) awaitRedis(ctx context.Context) (*storage.DB, error) {
	said := ""
	for {
		db, err := a.openRedis(ctx)
		if err == nil || !storage.MayCome(err) {
			return db, err
		}
		if err.Error() != said {
			said = err.Error()
			a.log.Warn("redis does not answer; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(nodeRetry):
		}
	}
}

// runPayouts runs the payouts module. A node that does not answer at the start
// is waited for: it may be starting as well.
func (a *app) runPayouts(ctx context.Context, db *storage.DB) error {
	a.log.Info("payouts", "account", a.cfg.Payouts.Address, "signer", a.cfg.Payouts.Signer.Type, "thresholdShannon", int64(a.cfg.Payouts.Threshold),
		"window", a.cfg.Payouts.Window, "confirmations", a.cfg.Payouts.Confirmations, "journal", a.cfg.Payouts.Journal)
	node, err := a.openNode()
	if err != nil {
		return err
	}
	defer node.Close()
	said := ""
	for {
		p, closeAll, err := a.openPayer(ctx, db, node)
		switch {
		case err == nil:
			defer closeAll()
			defer a.busy.begin("payouts (Redis, node, signer or journal)")()
			return p.Run(ctx)
		case ctx.Err() != nil: // which is why the node did not answer
			return ctx.Err()
		case !errors.Is(err, rpc.ErrUnknown):
			return err
		}
		if err.Error() != said {
			said = err.Error()
			a.log.Warn("the node does not answer; trying again", "err", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(nodeRetry):
		}
	}
}

const nodeRetry = time.Second

// runUnlocker turns blocks into balances.
func (a *app) runUnlocker(ctx context.Context, db *storage.DB) error {
	// A client of its own, which the unlocker pins to the chain.
	node, err := rpc.New(a.cfg.Unlocker.Daemon, a.cfg.Unlocker.Timeout.Std(), rpc.WithLogger(a.log))
	if err != nil {
		return &util.KeyError{Key: "unlocker.daemon", Problem: err.Error()}
	}
	defer node.Close()
	u, err := payouts.NewUnlocker(a.cfg.Unlocker, payouts.UnlockerParts{Blocks: node, Credits: db, Log: a.log})
	if err != nil {
		return err
	}
	defer a.busy.begin("unlocker (Redis or a node)")()
	return u.Run(ctx)
}

// runProxy serves miners.
func (a *app) runProxy(ctx context.Context, db *storage.DB) error {
	rules := ethash.Ethereum
	switch a.cfg.Network {
	case networkClassic:
		rules = ethash.Classic
	case networkMordor:
		rules = ethash.Mordor
	}
	verifier := ethash.New(rules, a.log)
	parts := proxy.Parts{Ledger: db, Rules: rules, Verifier: verifier, Log: a.log, Name: a.cfg.Name}
	for i, u := range a.cfg.Upstream {
		node, err := rpc.New([]string{u.URL}, u.Timeout.Std())
		if err != nil {
			return &util.KeyError{Key: fmt.Sprintf("upstream[%d].url", i), Problem: err.Error()}
		}
		defer node.Close()
		parts.Nodes = append(parts.Nodes, node)
	}
	p, err := proxy.New(a.cfg.Proxy, a.cfg.Upstream, a.cfg.UpstreamCheckInterval.Std(), parts)
	if err != nil {
		return err
	}
	defer a.busy.begin("proxy (Redis, a node, or a miner's connection)")()
	// A share that waits to be hashed may be a block, so that the verifier ends last.
	verifying, end := context.WithCancel(context.WithoutCancel(ctx))
	var g errgroup.Group
	g.Go(func() error { return verifier.Run(verifying) })
	g.Go(func() error { defer end(); return p.Run(ctx) })
	return g.Wait()
}

// runAPI serves browsers and phones.
func (a *app) runAPI(ctx context.Context, db *storage.DB) error {
	parts := api.Parts{DB: db, Log: a.log, Settings: a.cfg.settings(), Threshold: a.cfg.Payouts.Threshold}
	if files, ok := www.Files(); ok {
		parts.Pages = files
	} else {
		a.log.Warn("this binary was built without the pages; the API is served alone")
	}
	if a.monitor != nil {
		parts.Metrics = a.monitor.Registry
	}
	s, err := api.New(a.cfg.API, parts)
	if err != nil {
		return err
	}
	if a.monitor != nil {
		a.monitor.Check("statistics", func(context.Context) error { return s.Ready() })
	}
	defer a.busy.begin("api (Redis or a browser's connection)")()
	return s.Run(ctx)
}

// runNotify tells people what happens. It reads Redis only, whichever modules run
// beside it.
func (a *app) runNotify(ctx context.Context, db *storage.DB) error {
	n, err := a.newNotifier(db)
	if err != nil {
		return err
	}
	a.log.Info("notify", "hooks", len(a.cfg.Notify.Hooks), "interval", a.cfg.Notify.Interval)
	defer a.busy.begin("notify (Redis or a hook)")()
	return n.Run(ctx)
}

func (a *app) newNotifier(db *storage.DB) (*notify.Notifier, error) {
	s := a.cfg.settings()
	return notify.New(a.cfg.Notify, notify.Parts{Books: db, Log: a.log, Pool: s.Name, Coin: s.Coin, Symbol: s.Symbol})
}

// runMonitor serves Prometheus, and says whether Redis answers.
func (a *app) runMonitor(ctx context.Context, db *storage.DB) error {
	a.monitor.Check("redis", db.Ping)
	defer a.busy.begin("metrics (a connection)")()
	return a.monitor.Run(ctx)
}

func newLogger(cfg LogConfig, w io.Writer) *slog.Logger {
	var level slog.Level
	_ = level.UnmarshalText([]byte(cfg.Level)) // validated with the configuration
	if cfg.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, &slog.HandlerOptions{Level: level}))
	}
	return slog.New(tint.NewTextHandler(w, &tint.Options{Level: level, TimeFormat: time.DateTime, NoColor: !isTerminal(w)}))
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
