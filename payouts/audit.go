package payouts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/robfig/cron/v3"
	"golang.org/x/sync/errgroup"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// Auditor holds Redis, the journal and the chain against each other. It takes no
// lock, moves no money and may work beside a running pool: what it writes down is
// its result, and how far it saw the chain.
type Auditor struct {
	cfg      Config
	schedule cron.Schedule // nil: never
	db       *storage.DB
	node     *rpc.Client
	clock    Clock
	log      *slog.Logger
}

// NewAuditor makes one. The node is its own, which it pins to the ledger's chain; nil
// leaves the journal and the chain alone.
func NewAuditor(cfg Config, db *storage.DB, node *rpc.Client, log *slog.Logger) (*Auditor, error) {
	schedule, err := cfg.Audits()
	if err != nil {
		return nil, err
	}
	return &Auditor{cfg: cfg, schedule: schedule, db: db, node: node, clock: wallClock{}, log: log}, nil
}

// auditRetry is after how long an audit that failed is made again.
const auditRetry = 10 * time.Minute

// Run audits on schedule until ctx ends.
func (a *Auditor) Run(ctx context.Context) error {
	failed := false
	for {
		if a.schedule == nil {
			<-ctx.Done()
			return ctx.Err()
		}
		now := a.clock.Now()
		next := a.schedule.Next(now)
		if again := now.Add(auditRetry); failed && again.Before(next) {
			next = again
		}
		if err := a.clock.Sleep(ctx, next.Sub(now)); err != nil {
			return err
		}
		r, err := a.Audit(ctx, false)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failed = err != nil; failed {
			a.log.Error("the books were not audited", "err", err)
			continue
		}
		a.say(r)
	}
}

// mostSaid is how many findings of an audit are logged.
const mostSaid = 20

func (a *Auditor) say(r storage.Report) {
	for _, f := range r.Findings[:min(len(r.Findings), mostSaid)] {
		a.log.Error("the audit found a row that is wrong", "row", f.Key, "equation", f.Equation, "but", f.Got, "do", f.Do)
	}
	for _, note := range r.Notes[:min(len(r.Notes), mostSaid)] {
		a.log.Debug("the audit notes", "note", note)
	}
	if len(r.Missed) > 0 {
		a.log.Warn("the audit could not look at everything; the verb audit says why", "missed", r.Missed)
	}
	a.log.Info("the books were audited", "findings", len(r.Findings), "looked", r.Looked, "miners", r.Miners, "payments", r.Payments)
}

// Audit looks at everything once, and once more at what seems wrong: a pool at work
// moves money between two readings. full begins with the ledger's first payment,
// instead of where the last audit of the chain ended.
func (a *Auditor) Audit(ctx context.Context, full bool) (storage.Report, error) {
	var ledger *index
	var made []storage.Paid // by hand
	report, err := storage.Twice(ctx, func(ctx context.Context) (storage.Report, error) {
		ledger = newIndex()
		r, err := a.db.AuditOnce(ctx, ledger.add)
		made, r.ByHand = r.ByHand, nil
		return r, err
	})
	if err != nil {
		return report, err
	}
	meta, err := a.db.Meta(ctx)
	if err != nil {
		return report, err
	}
	if a.node == nil {
		report.Note("the journal and the chain were not looked at: payouts.enabled is false in this configuration")
		return report, a.save(ctx, &report, nil)
	}
	var journal, chain storage.Report
	var seen *storage.Audited
	g, both := errgroup.WithContext(ctx) // the one takes the processor, the other waits for the node
	g.Go(func() (err error) {
		journal, err = storage.Twice(both, func(ctx context.Context) (storage.Report, error) { return a.auditJournal(ctx, meta, ledger, made) })
		return err
	})
	if meta.ChainID != 0 {
		g.Go(func() (err error) {
			chain, seen, err = a.auditChain(both, meta, full, made)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return report, err
	}
	report.Add(journal)
	report.Add(chain)
	if meta.ChainID == 0 {
		report.Note("the chain was not looked at: payouts have not begun")
	}
	return report, a.save(ctx, &report, seen)
}

// save writes down the result. Who may only read gets it all the same.
func (a *Auditor) save(ctx context.Context, r *storage.Report, seen *storage.Audited) error {
	err := a.db.SaveAudit(ctx, a.clock.Now().Unix(), *r, seen)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		r.Note("the result of this audit was not written down: %v", err)
	}
	return nil
}

// blind is why something could not be looked at. It is no finding.
type blind struct{ error }

func (b blind) Unwrap() error { return b.error }

func cannotLook(format string, args ...any) error { return blind{fmt.Errorf(format, args...)} }

// looked says in the report whether a part was looked at, or why not. It returns errors
// that are about neither.
func looked(ctx context.Context, r *storage.Report, part string, err error) error {
	var b blind
	switch {
	case err == nil:
		r.Looked = append(r.Looked, part)
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &b):
		r.Findings, r.Missed = nil, append(r.Missed, part)
		r.Note("the %s was not looked at: %v", part, b.error)
		return nil
	}
	return fmt.Errorf("audit the %s: %w", part, err)
}

// doExplain is what to do about a difference of which only a person can know the cause.
const doExplain = "explain its login; was the record edited by hand? Mend it with payouts stopped"

// doAgain is what to do about a payment that the chain may have lost.
const doAgain = "start payouts, which look again; if it stays: " + doExplain

// program is what an operator types before a verb.
const program = "open-ethereum-pool payouts.json "
