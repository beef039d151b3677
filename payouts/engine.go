package payouts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/robfig/cron/v3"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

const (
	// releaseTimeout bounds the giving back of the lock when the process ends.
	releaseTimeout = 2 * time.Second
	// retryFirst and retryMost space out the tries after something failed.
	retryFirst = 250 * time.Millisecond
	retryMost  = 30 * time.Second
)

// Parts are what a Payer works with. They are Redis, a node, a signer and a
// file in production, and simulated ones in the simulation.
type Parts struct {
	Ledger  Ledger
	Orders  Orders // nil: nobody says anything
	Chain   Chain
	Signer  Signer
	Journal Journal
	Clock   Clock // nil: the wall clock
	Log     *slog.Logger
	Owner   Owner
	Coin    string // the keys' prefix, for messages that name keys
}

// Payer pays miners. It belongs to one goroutine.
type Payer struct {
	cfg      Config
	account  common.Address
	schedule cron.Schedule

	ledger  Ledger
	orders  Orders
	chain   Chain
	signer  Signer
	journal Journal
	clock   Clock
	log     *slog.Logger
	owner   Owner
	coin    string

	// What is remembered from turn to turn saves questions. Losing it costs
	// messages, never money.
	known       uint64               // the ledger's last step
	replayed    bool                 // the journal was compared with the ledger
	ours        map[string]bool      // payments that were in flight and not made by hand
	view        view                 // the last look at the chain
	seen        map[string]*mined    // by payment
	strangers   map[string]*stranger // by payment
	fresh       map[string]bool      // payments of which every offer so far was answered
	deadSince   map[uint64]uint64    // nonce → head when nothing was seen to use it
	scanned     map[uint64]uint64    // nonce → the block where the search for its transaction goes on, downwards
	located     map[uint64]located   // by nonce
	resentAt    common.Hash
	resentBlock uint64
	window      int
	resolving   bool                  // RESOLVE_PAYOUT=1
	patience    time.Duration         // of a session; 0 has no end
	said        string                // the last complaint, so that it is made once
	lockFree    bool                  // when the present turn began
	blocked     map[string]string     // logins whose payment the journal knows and the ledger refuses
	givenUp     map[string]VoidRecord // by payment: journalled, but not in the ledger yet
	asideSaid   map[string]string     // by payment: why it is set aside
	acts        []storage.Act         // what operators said, as journalled
	actsRead    bool                  // acts was compared with Redis
	lostSaid    map[string]bool       // by payment: that its transaction, made by hand, is in no block
	saidDear    string                // what the last warning of a fee above the limit was about
}

// New makes a Payer of its parts. It starts nothing.
func New(cfg Config, parts Parts) (*Payer, error) {
	account, err := util.ParseLogin(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("payouts.address: %w", err)
	}
	schedule, err := cfg.Sessions()
	if err != nil {
		return nil, err
	}
	p := &Payer{cfg: cfg, account: account, schedule: schedule,
		ledger: parts.Ledger, orders: parts.Orders, chain: parts.Chain, signer: parts.Signer, journal: parts.Journal,
		clock: parts.Clock, log: parts.Log, owner: parts.Owner, coin: parts.Coin,
		seen: map[string]*mined{}, strangers: map[string]*stranger{}, fresh: map[string]bool{}, deadSince: map[uint64]uint64{}, scanned: map[uint64]uint64{}, located: map[uint64]located{}, asideSaid: map[string]string{}, givenUp: map[string]VoidRecord{}, blocked: map[string]string{},
		window: cfg.Window, ours: map[string]bool{}, lostSaid: map[string]bool{}}
	if p.clock == nil {
		p.clock = wallClock{}
	}
	h := parts.Journal.Header()
	p.chain.Pin(h.ChainID, h.Genesis)
	return p, nil
}

// Open makes a Payer of the real parts: it asks the node which chain it is on,
// and opens the journal and the signer. close gives the journal back.
func Open(ctx context.Context, cfg Config, db *storage.DB, node *rpc.Client, log *slog.Logger) (p *Payer, close func() error, err error) {
	account, err := util.ParseLogin(cfg.Address)
	if err != nil {
		return nil, nil, fmt.Errorf("payouts.address: %w", err)
	}
	chainID, genesis, err := node.Identity(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("ask the node which chain it is on: %w", err)
	}
	journal, err := OpenJournal(cfg.Journal, Header{ChainID: chainID, Genesis: genesis, Account: account, Time: time.Now().Unix()})
	if errors.Is(err, ErrJournalLocked) {
		if holder, lockErr := db.LockValue(ctx); lockErr == nil && holder != "" {
			err = fmt.Errorf("%w (%s)", err, holder)
		}
	}
	if err != nil {
		return nil, nil, err
	}
	signer, err := NewSigner(cfg.Signer, node, account)
	if err == nil {
		p, err = New(cfg, Parts{Ledger: Redis(db), Orders: db, Chain: node, Signer: signer, Journal: journal, Log: log,
			Owner: NewOwner(journal.Header().ID), Coin: db.Keys.Coin()})
	}
	if err != nil {
		return nil, nil, errors.Join(err, journal.Close())
	}
	return p, journal.Close, nil
}

// Run pays on schedule until ctx ends: one session now, then one after the
// other, never two at once. Between sessions it follows what is in flight.
func (p *Payer) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		p.runSession(ctx)
		next := p.schedule.Next(p.clock.Now())
		if err := p.hold(ctx, func(t *turn) error { return t.lease.Note(ctx, "nextSession", next.Unix()) }); err != nil {
			p.log.Debug("the next session's time was not written down", "err", err)
		}
		p.log.Info("next session", "at", next.Format(time.DateTime+" MST"))
		if err := p.follow(ctx, next); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

func (p *Payer) runSession(ctx context.Context) {
	r, err := p.Session(ctx)
	switch {
	case ctx.Err() != nil:
		p.log.Info("session interrupted; what is in flight goes on at the next start", "paid", r.Paid, "due", r.Due)
	case err != nil:
		p.log.Error("payouts halted", "reason", haltReason(err), "err", err)
	}
}

func haltReason(err error) string {
	var h *Halt
	if errors.As(err, &h) {
		return h.Reason
	}
	return "error"
}

// idleNaps is how many times slower the chain is watched while nothing is in
// flight: only a reorg deeper than finality could make work then.
const idleNaps = 10

// follow advances what is in flight until the time comes.
func (p *Payer) follow(ctx context.Context, until time.Time) error {
	idle := false
	for {
		left := until.Sub(p.clock.Now())
		if left <= 0 {
			return nil
		}
		nap := p.cfg.PollInterval.Std()
		if idle {
			nap *= idleNaps
		}
		if err := p.clock.Sleep(ctx, min(left, nap)); err != nil {
			return err
		}
		err := p.hold(ctx, func(t *turn) error {
			err := t.advance(ctx)
			idle = err == nil && len(t.open) == 0
			return err
		})
		p.complain(ctx, err)
	}
}

// complain logs what went wrong, once until it changes.
func (p *Payer) complain(ctx context.Context, err error) {
	switch {
	case err == nil:
		if p.said != "" {
			p.log.Info("all is well again")
		}
		p.said = ""
	case ctx.Err() != nil:
	case err.Error() != p.said:
		p.said = err.Error()
		p.log.Warn("trying again", "err", err)
	}
}

// hold takes the payments lock for one piece of work. After any failure but a
// halt the journal is compared with the ledger again, because it is not known
// how far the work came.
func (p *Payer) hold(ctx context.Context, work func(*turn) error) error {
	t, err := p.begin(ctx)
	if err != nil {
		return p.failed(err)
	}
	err = p.failed(work(t))
	return errors.Join(err, t.end(ctx))
}

func (p *Payer) failed(err error) error {
	var h *Halt
	if err == nil || errors.As(err, &h) {
		return err
	}
	p.replayed = false
	clear(p.ours) // what was learned of a nonce may not have been acted on
	return err
}

// OpenToRead makes a Payer that can only [Payer.Plan]: it opens no journal and
// takes no lock, so that it works beside a running one.
func OpenToRead(ctx context.Context, cfg Config, db *storage.DB, node *rpc.Client, log *slog.Logger) (*Payer, error) {
	account, err := util.ParseLogin(cfg.Address)
	if err != nil {
		return nil, fmt.Errorf("payouts.address: %w", err)
	}
	chainID, genesis, err := node.Identity(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the node which chain it is on: %w", err)
	}
	signer, err := NewSigner(cfg.Signer, node, account)
	if err != nil {
		return nil, err
	}
	return New(cfg, Parts{Ledger: Redis(db), Orders: db, Chain: node, Signer: signer, Journal: noJournal{chainID, genesis, account}, Log: log, Coin: db.Keys.Coin()})
}

// noJournal stands where a journal would; nothing can be written to it.
type noJournal struct {
	chainID uint64
	genesis common.Hash
	account common.Address
}

func (j noJournal) Header() Header {
	return Header{ChainID: j.chainID, Genesis: j.genesis, Account: j.account}
}

func (noJournal) Replay(func(Record) error) error { return nil }

func (noJournal) Append(...Record) error { return errors.New("opened to read only") }
