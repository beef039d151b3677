package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/open-ethereum-pool/open-ethereum-pool/api"
	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// app is one command line: its configuration, log, output and arguments.
type app struct {
	cfg  Config
	src  *util.Source // where the configuration's keys stand
	path string
	log  *slog.Logger
	in   io.Reader // where an operator answers
	out  io.Writer
	args []string
	options
	busy activities // for the word on what did not end in time

	monitor *api.Monitor // nil unless metrics.enabled
}

// verb is one thing an operator can ask for.
type verb struct {
	args, help string
	run        func(context.Context, *app) error
	takes      string // the options, beside --reason, which all verbs take that change something
}

// Arguments that are looked at before anything is opened.
const (
	hashArg  = "HASH" // of a transaction
	loginArg = "LOGIN"
)

var verbs map[string]verb

// verbOrder is the order of --help.
var verbOrder = []string{"", "check", "doctor", "run", "plan", "status", "explain", "audit", "export",
	"notify", "hold", "release", "pause", "resume", "resolve", "retry", "adopt", "record", "ignore", "forget", "accept"}

func init() {
	verbs = map[string]verb{
		"":        {"", "run every module that the configuration enables, until SIGTERM", serve, ""},
		"check":   {"", "validate the configuration and exit", check, "json"},
		"doctor":  {"", "look at Redis, nodes, signer, clocks, disk and secrets, and say how to mend what is wrong", doctor, "json"},
		"run":     {"", "one payout session, then exit with a telling status", runOnce, "json"},
		"plan":    {"", "what a session would pay and what blocks whom; writes nothing", plan, "json"},
		"status":  {"", "lock, session, payments in flight, totals; writes nothing", showStatus, "json"},
		"explain": {loginArg, "why and when a miner is paid, from shares to payments; writes nothing", explain, "json"},
		"audit":   {"", "hold Redis, journal and chain against each other and name every row that is wrong; writes down its result only", audit, "json full"},
		"export":  {"FROM TO [WHAT]", "payments, rewards or days, from one day to before another (2026-01-31), as CSV", export, "json"},
		"notify":  {"", "send every hook a test message and say which took it", testHooks, "json"},
		"hold":    {loginArg, "do not pay a miner until release", hold, "json reason"},
		"release": {loginArg, "pay a miner again", release, "json reason"},
		"pause":   {"", "pay nobody until resume; what is in flight goes on", pause, "json reason"},
		"resume":  {"", "pay again", resume, "json reason"},
		"resolve": {"", "the maintenance run of RESOLVE_PAYOUT=1, then exit", resolve, "json reason yes"},
		"retry":   {"PAYMENT", "let a payment go on that is held, or that the node refused", retry, "json reason yes"},
		"adopt":   {"PAYMENT HASH", "take a transaction made by hand for a payment's own, after a look at the chain", adopt, "json reason yes"},
		"record":  {hashArg, "book a payment that was made by hand, after a look at the chain", record, "json reason"},
		"ignore":  {hashArg, "say that a transaction of the pool's account was no payout", ignore, "json reason yes"},
		"forget":  {"PAYMENT", "credit a payment back that was made by hand and can never be mined", forget, "json reason yes"},
		"accept":  {loginArg, "say that what a miner has beyond what blocks brought him is meant, so that the audit is clean", accept, "json reason yes"},
	}
}

var (
	errHelp   = errors.New("help")
	errPartly = errors.New("something was left out, as was said")
)

func usage() string {
	var b strings.Builder
	b.WriteString("usage: open-ethereum-pool [config.json] [verb] [arguments] [options]\n\n")
	w := tabwriter.NewWriter(&b, 0, 8, 2, ' ', 0)
	for _, name := range verbOrder {
		v := verbs[name]
		if name == "" {
			name = "(no verb)"
		}
		fmt.Fprintf(w, "  %s\t%s\n", strings.TrimSpace(name+" "+v.args), v.help)
	}
	_ = w.Flush() // a Builder takes everything
	b.WriteString(`
--json        print for programs; an error is {"error": …} as well
--reason TEXT why; it is written down with your name (hold to accept), and
              miners are shown it, without the name (hold, pause)
--yes         do not ask (resolve to accept)
--full        begin with the first payment, not where the last audit ended (audit)

The configuration is config.json when none is named. RESOLVE_PAYOUT=1 (or True)
in the environment is the verb resolve.

exit status: 0 done, 1 failed, 2 wrong command line or configuration, 3 payouts
are halted, 4 some who were due could not be paid, or audit or explain could not
look at everything, 5 interrupted
`)
	return b.String()
}

// line is a command line.
type line struct {
	path, verb string
	args       []string
	options
}

// options are what may stand anywhere on a command line.
type options struct {
	json   bool
	yes    bool
	full   bool
	reason string
}

// parseArgs reads [config.json] [verb] [arguments] [options].
func parseArgs(args []string) (line, error) {
	l := line{path: "config.json"}
	args, given, err := l.take(args)
	if err != nil {
		return line{}, err
	}
	if len(args) > 0 {
		if _, isVerb := verbs[args[0]]; !isVerb || args[0] == "" {
			l.path, args = args[0], args[1:]
		}
	}
	if len(args) > 0 {
		l.verb, l.args = args[0], args[1:]
	}
	v, ok := verbs[l.verb]
	if !ok {
		return line{}, fmt.Errorf("unknown verb %q, want one of %s", l.verb, strings.Join(verbOrder[1:], ", "))
	}
	for _, option := range given {
		if !slices.Contains(strings.Fields(v.takes), option) {
			return line{}, fmt.Errorf("%s takes no --%s", cmp.Or(l.verb, "the pool"), option)
		}
	}
	want := strings.Fields(v.args)
	least := len(slices.DeleteFunc(slices.Clone(want), func(a string) bool { return strings.HasPrefix(a, "[") }))
	if len(l.args) < least || len(l.args) > len(want) {
		return line{}, fmt.Errorf("%s takes %s, got %d", l.verb, argumentsOf(want), len(l.args))
	}
	if err := checkArgs(l.verb, want, l.args); err != nil {
		return line{}, fmt.Errorf("%s: %w", l.verb, err)
	}
	return l, nil
}

func checkArgs(verb string, want, args []string) (err error) {
	if verb == "export" {
		_, _, err = parseExport(args)
	}
	for i, arg := range args {
		switch want[i] {
		case hashArg:
			_, err = parseHash(arg)
		case loginArg:
			_, err = util.ParseLogin(arg)
		}
		if err != nil {
			return err
		}
	}
	return err
}

// take reads the options and returns what is left.
func (o *options) take(args []string) (rest, given []string, err error) {
	for i := 0; i < len(args); i++ {
		name, value, has := strings.Cut(args[i], "=")
		switch {
		case name == "-h" || name == "--help" || name == "-help" || name == "help":
			return nil, nil, errHelp
		case args[i] == "--json":
			o.json = true
		case args[i] == "--yes":
			o.yes = true
		case args[i] == "--full":
			o.full = true
		case name == "--reason":
			if !has && i+1 < len(args) {
				i++
				value, has = args[i], true
			}
			if !has || value == "" {
				return nil, nil, errors.New("--reason wants a text")
			}
			o.reason = value
		case strings.HasPrefix(args[i], "-"):
			return nil, nil, fmt.Errorf("unknown option %q", args[i])
		default:
			rest = append(rest, args[i])
			continue
		}
		given = append(given, strings.TrimPrefix(name, "--"))
	}
	return rest, given, nil
}

func argumentsOf(want []string) string {
	switch len(want) {
	case 0:
		return "no argument"
	case 1:
		return "1 argument (" + want[0] + ")"
	}
	return fmt.Sprintf("%d arguments (%s)", len(want), strings.Join(want, " "))
}

// withResolve turns the start into the maintenance run when the environment
// asks for it, as the manual says.
func withResolve(l line) (line, error) {
	text, set := os.LookupEnv("RESOLVE_PAYOUT")
	if !set || text == "" {
		return l, nil
	}
	on, err := strconv.ParseBool(text)
	if err != nil {
		return line{}, fmt.Errorf("RESOLVE_PAYOUT is %q, want 1, 0, True or False", text)
	}
	if on && (l.verb == "" || l.verb == "run") {
		l.verb, l.yes = "resolve", true
	}
	return l, nil
}

// needPayouts is for verbs that work with the section payouts: unless it is
// enabled, nothing in it was checked.
func (a *app) needPayouts() error {
	var f util.Faults
	f.Unless(a.cfg.Payouts.Enabled, "payouts.enabled", "is false, want true")
	return f.Err()
}

func (a *app) openRedis(ctx context.Context) (*storage.DB, error) {
	defer a.busy.begin("Redis")()
	return storage.Open(ctx, a.cfg.Redis, a.cfg.Coin)
}

// openNode makes the client of the payouts' node, which is asked nothing yet.
func (a *app) openNode() (*rpc.Client, error) {
	node, err := rpc.New(a.cfg.Payouts.Daemon, a.cfg.Payouts.Timeout.Std(), rpc.WithLogger(a.log))
	if err != nil {
		return nil, fmt.Errorf("payouts.daemon: %w", err)
	}
	return node, nil
}

// openPayer opens journal and signer; closeAll gives them back.
func (a *app) openPayer(ctx context.Context, db *storage.DB, node *rpc.Client) (p *payouts.Payer, closeAll func(), err error) {
	defer a.busy.begin("the node, the journal or the signer")()
	p, closeJournal, err := payouts.Open(ctx, a.cfg.Payouts, db, node, a.log)
	if err != nil {
		return nil, nil, err
	}
	return p, func() {
		defer a.busy.begin("the journal")()
		if err := closeJournal(); err != nil {
			a.log.Error("the journal was not closed", "err", err)
		}
	}, nil
}

// withPayer runs one piece of work with an open Payer.
func (a *app) withPayer(ctx context.Context, work func(*payouts.Payer) error) error {
	if err := a.needPayouts(); err != nil {
		return err
	}
	db, err := a.openRedis(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	node, err := a.openNode()
	if err != nil {
		return err
	}
	defer node.Close()
	p, closeAll, err := a.openPayer(ctx, db, node)
	if err != nil {
		return err
	}
	defer closeAll()
	defer a.busy.begin("payouts (Redis, node, signer or journal)")()
	return work(p)
}

// check also looks whether the files that the configuration names are there. It
// opens none: a password may come through a pipe.
func check(_ context.Context, a *app) error {
	if err := a.cfg.checkFiles(); err != nil {
		return err
	}
	if a.json {
		return a.print(map[string]any{"valid": true, "file": a.path})
	}
	fmt.Fprintf(a.out, "%s is valid\n", a.path)
	return nil
}

// patience is how long run waits for a node, a signer or Redis that fails.
const patience = 2 * time.Minute

func runOnce(ctx context.Context, a *app) error {
	return a.withPayer(ctx, func(p *payouts.Payer) error {
		p.GiveUpAfter(patience)
		r, err := p.Session(ctx)
		if a.json {
			if err := a.print(runOf(r)); err != nil {
				return err
			}
			return partly(r, err)
		}
		fmt.Fprintf(a.out, "paid %d of %d, %d in flight, %s coins\n", r.Paid, r.Due, r.InFlight, r.Amount.Coins())
		for _, s := range r.Skipped {
			fmt.Fprintf(a.out, "not paid: %s %s (%s)\n", s.Login, s.Reason, s.Why)
		}
		for _, bad := range r.SetAside {
			fmt.Fprintf(a.out, "set aside: %v\n", bad)
		}
		return partly(r, err)
	})
}

// partly is the end of a session that ended well and did not pay all who were due.
func partly(r payouts.Result, err error) error {
	if err == nil && r.Partly() {
		return errPartly
	}
	return err
}

func resolve(ctx context.Context, a *app) error {
	return a.steer(ctx, "Payments that provably never left will be credited back, and the lock is taken whoever holds it: make sure that no other payouts process runs",
		"resolve", func(p *payouts.Payer) error { return p.Resolve(ctx) })
}

func parseHash(s string) (common.Hash, error) {
	b, err := hexutil.Decode(s)
	if err != nil || len(b) != common.HashLength {
		return common.Hash{}, fmt.Errorf("%q is no transaction hash, want 0x and 64 hex digits", s)
	}
	return common.BytesToHash(b), nil
}

// plan opens no journal and takes no lock, so that it works beside a running
// payouts process.
func plan(ctx context.Context, a *app) error {
	if err := a.needPayouts(); err != nil {
		return err
	}
	db, err := a.openRedis(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	pl, err := a.readPlan(ctx, db)
	if err != nil {
		return err
	}
	if a.json {
		return a.print(planOf(pl))
	}
	return printPlan(a.out, pl)
}

func (a *app) readPlan(ctx context.Context, db *storage.DB) (payouts.Plan, error) {
	node, err := a.openNode()
	if err != nil {
		return payouts.Plan{}, err
	}
	defer node.Close()
	defer a.busy.begin("Redis, the node or the signer")()
	p, err := payouts.OpenToRead(ctx, a.cfg.Payouts, db, node, a.log)
	if err != nil {
		return payouts.Plan{}, err
	}
	return p.Plan(ctx)
}

func printPlan(out io.Writer, pl payouts.Plan) error {
	w := tabwriter.NewWriter(out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "account\t%s\nbalance\t%s coins\nhead\tblock %d\nnext nonce\t%d\nin flight\t%d\n", pl.Account, weiCoins(pl.Balance), pl.Head, pl.Nonce, pl.InFlight)
	fmt.Fprintf(w, "would pay\t%d miners, %s coins, fees at most %s coins\n", len(pl.Pay), pl.Total.Coins(), weiCoins(pl.FeesWei))
	fmt.Fprintf(w, "next session\t%s\n", pl.Next.Format(time.DateTime+" MST"))
	if pl.Stopped != nil {
		fmt.Fprintf(w, "halted\t%s\n", pl.Stopped)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range pl.Pay {
		fmt.Fprintf(w, "pay\t%s\t%d Shannon\tgas %d\tfee at most %s coins\n", p.Login, int64(p.Amount), p.Gas, weiCoins(p.FeeWei))
	}
	for _, s := range pl.Blocked {
		fmt.Fprintf(w, "blocked\t%s\t%s\t%s\n", s.Login, s.Reason, s.Why)
	}
	for _, err := range pl.Problems {
		fmt.Fprintf(w, "set aside\t%v\n", err)
	}
	return w.Flush()
}

func weiCoins(wei *big.Int) string {
	if wei == nil {
		return "0"
	}
	s, dust, err := util.ShannonFromWei(wei)
	if err != nil || dust.Sign() != 0 {
		whole, frac := new(big.Int).QuoRem(wei, big.NewInt(1e18), new(big.Int))
		return strings.TrimRight(fmt.Sprintf("%s.%018d", whole, frac), "0")
	}
	return s.Coins()
}

func showStatus(ctx context.Context, a *app) error {
	db, err := a.openRedis(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	s, err := payouts.ReadStatus(ctx, db)
	if err != nil {
		return err
	}
	if a.json {
		return a.print(statusOf(s))
	}
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	m := s.Meta
	lock := s.Lock
	if lock == "" {
		lock = "free"
	}
	fmt.Fprintf(w, "lock\t%s\n", lock)
	if m.Halt != "" {
		fmt.Fprintf(w, "halted\t%s\n", m.Halt)
	}
	if m.Paused != "" {
		fmt.Fprintf(w, "paused\t%s\n", m.Paused)
	}
	for _, h := range sortedHolds(s.Holds) {
		fmt.Fprintf(w, "held\t%s by %s: %s\n", h.Login, h.User, h.Reason)
	}
	if m.AuditTime > 0 {
		fmt.Fprintf(w, "audit\t%s, %d findings, looked at %s\n", when(m.AuditTime), m.AuditFindings, strings.Join(strings.Fields(m.AuditLooked), ", "))
	}
	if m.ChainID == 0 {
		fmt.Fprintf(w, "ledger\tnot used yet\n")
	} else {
		fmt.Fprintf(w, "account\t%s on chain id %d\nnonces\tfirst %d, next %d\nheartbeat\t%s\n", m.Account, m.ChainID, m.FirstNonce, m.NextNonce, when(m.Heartbeat))
		fmt.Fprintf(w, "session\tbegun %s, ended %s, paid %d of %d, %s coins %s\n", when(m.Session.Started), when(m.Session.Ended), m.Session.Paid, m.Session.Due, m.Session.Amount.Coins(), m.Session.Result)
	}
	fmt.Fprintf(w, "totals\tbalance %s, pending %s, paid %s coins\n", s.Totals.Balance.Coins(), s.Totals.Pending.Coins(), s.Totals.Paid.Coins())
	if err := w.Flush(); err != nil {
		return err
	}
	for _, p := range s.Open {
		fmt.Fprintf(w, "%s\t%s\t%s\t%d Shannon\tnonce %d\t%s\t%s\n", p.State, p.ID, p.Login, int64(p.Amount), p.Nonce, p.Last().Hash, p.Why)
	}
	for _, r := range s.Pending {
		fmt.Fprintf(w, "pending row\t%s\t%s\n", r.Row(), when(r.Time))
	}
	for _, err := range s.Bad {
		fmt.Fprintf(w, "set aside\t%v\n", err)
	}
	for login, why := range s.Rejects {
		fmt.Fprintf(w, "rejects\t%s\t%s\n", login, why)
	}
	return w.Flush()
}

func when(unix int64) string {
	if unix == 0 {
		return "-"
	}
	return time.Unix(unix, 0).Format(time.DateTime)
}
