package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// The verbs with which an operator steers payouts. What is said is written down
// in Redis, and by payouts into their journal, with who said it and why.

func hold(ctx context.Context, a *app) error    { return a.sayAbout(ctx, storage.ActHold) }
func release(ctx context.Context, a *app) error { return a.sayAbout(ctx, storage.ActRelease) }
func pause(ctx context.Context, a *app) error   { return a.say(ctx, storage.Act{Verb: storage.ActPause}) }
func resume(ctx context.Context, a *app) error {
	return a.say(ctx, storage.Act{Verb: storage.ActResume})
}

// sayAbout says something about a miner, under every spelling that he has a row of.
func (a *app) sayAbout(ctx context.Context, verb string) error {
	db, err := a.openRedis(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := a.rowsOf(ctx, db)
	if err != nil {
		return err
	}
	for _, login := range rows {
		if err := a.write(ctx, db, storage.Act{Verb: verb, Login: login}); err != nil {
			return err
		}
	}
	return nil
}

func (a *app) say(ctx context.Context, act storage.Act) error {
	db, err := a.openRedis(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	return a.write(ctx, db, act)
}

func (a *app) write(ctx context.Context, db *storage.DB, act storage.Act) error {
	act.User, act.Reason, act.Time = operator(), a.reason, time.Now().Unix()
	if err := db.Control(ctx, act); err != nil {
		return err
	}
	if a.json {
		return a.print(act)
	}
	fmt.Fprintln(a.out, strings.TrimSpace(act.Verb+" "+act.Login+act.What)+" is written down")
	return nil
}

// operator is who sits at the keyboard.
func operator() string {
	if name := os.Getenv("SUDO_USER"); name != "" {
		return name
	}
	if u, err := user.Current(); err == nil {
		return u.Username
	}
	return "uid " + strconv.Itoa(os.Getuid())
}

// rowsOf finds the miner of the command line, whatever the letters' case.
func (a *app) rowsOf(ctx context.Context, db *storage.DB) ([]string, error) {
	logins, _, err := db.Logins(ctx)
	if err != nil {
		return nil, err
	}
	rows := slices.DeleteFunc(logins, func(l string) bool { return !util.SameLogin(l, a.args[0]) })
	if len(rows) == 0 {
		return nil, fmt.Errorf("there is no miner %s", a.args[0])
	}
	slices.Sort(rows)
	return rows, nil
}

// errRefused ends a verb that the operator took back.
var errRefused = errors.New("nothing was done")

// sure asks, unless --yes was given.
func (a *app) sure(what string) error {
	if a.yes {
		return nil
	}
	if a.json {
		return errors.New(what + ": say --yes, for a program is not asked")
	}
	fmt.Fprintf(a.out, "%s. Go on? [y/N] ", what)
	answer, _ := bufio.NewReader(a.in).ReadString('\n') // no answer is a no
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	fmt.Fprintln(a.out)
	return errRefused
}

// steer runs a verb that changes the books, and writes down that it was used.
func (a *app) steer(ctx context.Context, warning, what string, work func(*payouts.Payer) error) error {
	if err := a.needPayouts(); err != nil {
		return err
	}
	if warning != "" {
		if err := a.sure(warning); err != nil {
			return err
		}
	}
	if err := a.withPayer(ctx, work); err != nil {
		return err
	}
	return a.say(ctx, storage.Act{Verb: storage.ActNote, What: what})
}

// accept takes what the audit finds of a miner's balance for meant: a bonus, say.
func accept(ctx context.Context, a *app) error {
	db, err := a.openRedis(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := a.rowsOf(ctx, db)
	if err != nil {
		return err
	}
	report, err := db.Audit(ctx)
	if err != nil {
		return err
	}
	done := false
	for _, login := range rows {
		i := slices.IndexFunc(report.Findings, func(f storage.Finding) bool { return f.Key == db.Keys.Miner(login) && f.Off != 0 })
		if i < 0 {
			continue
		}
		off := report.Findings[i].Off
		if err := a.sure(fmt.Sprintf("%s has %s coins beyond what blocks brought; the audit will take that for meant", login, off.Coins())); err != nil {
			return err
		}
		if err := db.Accept(ctx, login, off); err != nil {
			return err
		}
		if err := a.write(ctx, db, storage.Act{Verb: storage.ActNote, What: fmt.Sprintf("accept %s, %s Shannon", login, off)}); err != nil {
			return err
		}
		done = true
	}
	if !done {
		return fmt.Errorf("the audit finds nothing wrong with what blocks brought %s", a.args[0])
	}
	return nil
}

func record(ctx context.Context, a *app) error {
	tx, err := parseHash(a.args[0])
	if err != nil {
		return err
	}
	return a.steer(ctx, "", "record "+tx.Hex(), func(p *payouts.Payer) error { return p.RecordByHand(ctx, tx) })
}

func ignore(ctx context.Context, a *app) error {
	tx, err := parseHash(a.args[0])
	if err != nil {
		return err
	}
	return a.steer(ctx, "Transaction "+tx.Hex()+" will count as no payout: whom it paid is paid by the pool as well", "ignore "+tx.Hex(),
		func(p *payouts.Payer) error { return p.Ignore(ctx, tx) })
}

func adopt(ctx context.Context, a *app) error {
	id := a.args[0]
	tx, err := parseHash(a.args[1])
	if err != nil {
		return err
	}
	return a.steer(ctx, "Payment "+id+" will count as made by transaction "+tx.Hex(), "adopt "+id+" "+tx.Hex(),
		func(p *payouts.Payer) error { return p.Adopt(ctx, id, tx) })
}

func retry(ctx context.Context, a *app) error {
	id := a.args[0]
	return a.steer(ctx, "Payment "+id+" will be made by its own transaction. If it was made by hand already, its miner is paid twice", "retry "+id,
		func(p *payouts.Payer) error { return p.Retry(ctx, id) })
}

func forget(ctx context.Context, a *app) error {
	id := a.args[0]
	return a.steer(ctx, "Payment "+id+" will be credited back and paid anew. If its transaction, made by hand, is mined later, its miner is paid twice",
		"forget "+id, func(p *payouts.Payer) error { return p.Forget(ctx, id) })
}

// explained is what is known about one row of a miner. Amounts are in Shannon.
type explained struct {
	Login       string       `json:"login"`
	Immature    util.Shannon `json:"immature"`
	Balance     util.Shannon `json:"balance"`
	Pending     util.Shannon `json:"pending"`
	Paid        util.Shannon `json:"paid"`
	Threshold   util.Shannon `json:"threshold"`
	RoundShares int64        `json:"roundShares"`
	LastShare   int64        `json:"lastShare"` // unix seconds

	Open     []openPayment `json:"inFlight"`
	Payments []paid        `json:"lastPayments"` // newest first

	Reason string     `json:"reason,omitempty"` // why nothing is paid; empty when the next session pays
	Why    string     `json:"why,omitempty"`
	Next   *time.Time `json:"nextSession,omitempty"`
}

type paid struct {
	Tx     string       `json:"tx"`
	Amount util.Shannon `json:"amount"`
	Time   int64        `json:"time"` // unix seconds
	State  string       `json:"state,omitempty"`
	Block  uint64       `json:"block,omitempty"`
}

// openPayment is a payment on its way, without the bytes that make it.
type openPayment struct {
	ID     string        `json:"id"`
	State  storage.State `json:"state"`
	Login  string        `json:"login"`
	Amount util.Shannon  `json:"amount"`
	Nonce  uint64        `json:"nonce"`
	Tx     string        `json:"tx"`
	Why    string        `json:"why,omitempty"`
}

func openOf(p *storage.Payment) openPayment {
	return openPayment{p.ID, p.State, p.Login, p.Amount, p.Nonce, p.Last().Hash.Hex(), p.Why}
}

// explain says why and when a miner is paid.
func explain(ctx context.Context, a *app) error {
	if err := a.needPayouts(); err != nil {
		return err
	}
	db, err := a.openRedis(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	rows, err := a.rowsOf(ctx, db)
	if err != nil {
		return err
	}
	pl, silent := a.readPlan(ctx, db)
	if silent != nil && !errors.Is(silent, rpc.ErrUnknown) {
		return silent
	}
	var all []explained
	for _, login := range rows {
		e, err := a.explain(ctx, db, login)
		if err != nil {
			return err
		}
		e.judge(pl, silent)
		all = append(all, e)
	}
	if a.json {
		err = a.print(all)
	} else {
		for _, e := range all {
			err = cmp.Or(err, e.print(a))
		}
	}
	if err == nil && silent != nil {
		err = errPartly
	}
	return err
}

// reasonNode is why explain does not know what the next session does.
const reasonNode = "no_node"

const lastPayments = 5

func (a *app) explain(ctx context.Context, db *storage.DB, login string) (explained, error) {
	book, err := db.MinerBook(ctx, login, lastPayments, 0)
	if err != nil {
		return explained{}, err
	}
	amount := func(field string) util.Shannon { return util.Shannon(book.Stats[field]) }
	e := explained{Login: login, Immature: amount("immature"), Balance: amount("balance"), Pending: amount("pending"), Paid: amount("paid"),
		Threshold: a.cfg.Payouts.Threshold, RoundShares: book.RoundShares, LastShare: book.Stats["lastShare"],
		Open: []openPayment{}, Payments: []paid{}}
	open, _, err := db.Inflight(ctx)
	if err != nil {
		return explained{}, err
	}
	for _, p := range open {
		if p.Login == login {
			e.Open = append(e.Open, openOf(p))
		}
	}
	var txs []string
	for _, row := range book.Payments {
		txs = append(txs, row.Tx)
	}
	states, err := db.PaymentStatuses(ctx, txs)
	if err != nil {
		return explained{}, err
	}
	for _, row := range book.Payments {
		s := states[row.Tx]
		e.Payments = append(e.Payments, paid{row.Tx, row.Amount, row.Time, string(s.State), s.Block})
	}
	return e, nil
}

// judge says what the next session does with the miner. silent is why there is no
// plan, or nil.
func (e *explained) judge(pl payouts.Plan, silent error) {
	if silent == nil {
		e.Next = &pl.Next
	}
	var halted *payouts.Halt
	blocked := slices.IndexFunc(pl.Blocked, func(s payouts.Skip) bool { return s.Login == e.Login })
	switch pays := slices.ContainsFunc(pl.Pay, func(p payouts.Planned) bool { return p.Login == e.Login }); {
	case blocked >= 0:
		e.Reason, e.Why = pl.Blocked[blocked].Reason, pl.Blocked[blocked].Why
	case e.Balance < e.Threshold:
		e.Reason, e.Why = payouts.ReasonBelow, fmt.Sprintf("%s coins are missing to the threshold of %s", (e.Threshold-e.Balance).Coins(), e.Threshold.Coins())
	case silent != nil:
		e.Reason, e.Why = reasonNode, "the node did not answer, so that nobody knows what the next session does: "+silent.Error()
	case errors.As(pl.Stopped, &halted):
		e.Reason, e.Why = halted.Reason, pl.Stopped.Error()
	case pays:
		e.Why = "the next session pays " + e.Balance.Coins() + " coins"
	}
}

func (e *explained) print(a *app) error {
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	fmt.Fprintf(w, "miner\t%s\n", e.Login)
	fmt.Fprintf(w, "present round\t%d shares, the last one %s\n", e.RoundShares, when(e.LastShare))
	fmt.Fprintf(w, "immature\t%s coins, in blocks that are not deep enough\n", e.Immature.Coins())
	fmt.Fprintf(w, "balance\t%s coins, paid from %s on\n", e.Balance.Coins(), e.Threshold.Coins())
	fmt.Fprintf(w, "pending\t%s coins\npaid\t%s coins\n", e.Pending.Coins(), e.Paid.Coins())
	for _, p := range e.Open {
		fmt.Fprintf(w, "in flight\t%s coins, %s, payment %s, nonce %d, transaction %s %s\n", p.Amount.Coins(), p.State, p.ID, p.Nonce, p.Tx, p.Why)
	}
	for _, p := range e.Payments {
		fmt.Fprintf(w, "paid\t%s coins %s, transaction %s %s\n", p.Amount.Coins(), when(p.Time), p.Tx, p.State)
	}
	if e.Next != nil {
		fmt.Fprintf(w, "next session\t%s\n", e.Next.Format(time.DateTime+" MST"))
	}
	fmt.Fprintf(w, "then\t%s\n", strings.Trim(e.Reason+": "+e.Why, ": "))
	return w.Flush()
}
