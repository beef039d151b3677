package sim

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// Enough is how many seeds each mistake must be caught in.
const Enough = 5000

// Mutation is a deliberate mistake, made where the engine meets the world: the
// engine's code stays as it is, and one of its parts does what the mistake
// would.
type Mutation struct {
	Name string

	config    func(*payouts.Config)
	owner     func(*World, *payouts.Owner)
	wrap      func(*process, *payouts.Parts)
	fenceless bool // the lock's token is not checked
	blind     bool // a call whose reply was lost is made again, and moves money again
}

// Mutations are all mistakes: those of the design's list first.
var Mutations = []*Mutation{
	{Name: "no journal", wrap: journals(func(j journal) payouts.Journal { return noJournal{j} })},
	{Name: "credit back when not in the mempool", wrap: ledgers(func(l tiredLedger) payouts.Ledger { return impatient{l} })},
	{Name: "look up only the last hash", wrap: chains(func(c tiredChain) payouts.Chain { return lastHash{c} })},
	{Name: "send before record", wrap: func(p *process, parts *payouts.Parts) { parts.Signer = hastySigner{tiredSigner{p}} }},
	{Name: "no REINSTATE", wrap: leases(func(l tiredLease) payouts.Lease { return noReinstate{l} })},
	{Name: "no VERIFY", wrap: leases(func(l tiredLease) payouts.Lease { return noVerify{l} })},
	{Name: "bump recorded after sending", wrap: leases(func(l tiredLease) payouts.Lease { return lateBump{l} })},
	{Name: "no rebroadcast", wrap: chains(func(c tiredChain) payouts.Chain { return sendOnce{c, map[string]bool{}} })},
	{Name: "no fencing", fenceless: true},
	{Name: "final at 1 block", config: func(c *payouts.Config) { c.Confirmations = 1 }},
	{Name: "credit back at depth 0", config: func(c *payouts.Config) { c.VoidDepth = 0 }},
	{Name: "no UNFINAL", wrap: leases(func(l tiredLease) payouts.Lease { return noUnfinal{l} })},
	{Name: "no FILLER", wrap: noFillers},
	{Name: "counter token", owner: func(w *World, o *payouts.Owner) {
		w.ledger.books.counter++
		*o = payouts.Owner{Host: "pool", PID: "1", Journal: o.Journal, Token: fmt.Sprint(w.ledger.books.counter)}
	}},
	{Name: "blind retry of a step", blind: true},
	{Name: "foreign nonces ignored", wrap: ledgers(func(l tiredLedger) payouts.Ledger { return nobody{l} })},
	{Name: "status 0 counted as paid", wrap: chains(func(c tiredChain) payouts.Chain { return allGood{c} })},

	{Name: "a lost reply taken for a refusal", wrap: chains(func(c tiredChain) payouts.Chain { return pessimist{c} })},
	{Name: "a receipt's block not held against the chain", wrap: chains(func(c tiredChain) payouts.Chain { return gullible{c, map[uint64]common.Hash{}} })},
	{Name: "journal not synced", wrap: journals(func(j journal) payouts.Journal { return lazyJournal{j} })},
	{Name: "credits back not journalled", wrap: journals(func(j journal) payouts.Journal { return noVoids{j} })},
	{Name: "attempts not journalled", wrap: journals(func(j journal) payouts.Journal { return noAttempts{j} })},
	{Name: "steps not counted", wrap: ledgers(func(l tiredLedger) payouts.Ledger { return noSteps{l, new(uint64)} })},
	{Name: "last final block not checked", wrap: ledgers(func(l tiredLedger) payouts.Ledger { return noAnchor{l} })},
}

func journals(f func(journal) payouts.Journal) func(*process, *payouts.Parts) {
	return func(p *process, parts *payouts.Parts) { parts.Journal = f(journal{p.file, p}) }
}

func ledgers(f func(tiredLedger) payouts.Ledger) func(*process, *payouts.Parts) {
	return func(p *process, parts *payouts.Parts) { parts.Ledger = f(tiredLedger{p}) }
}

func chains(f func(tiredChain) payouts.Chain) func(*process, *payouts.Parts) {
	return func(p *process, parts *payouts.Parts) { parts.Chain = f(tiredChain{p, &client{p.w}}) }
}

// leases puts a mistake into every lease.
func leases(f func(tiredLease) payouts.Lease) func(*process, *payouts.Parts) {
	return ledgers(func(l tiredLedger) payouts.Ledger { return leasing{l, f} })
}

type leasing struct {
	tiredLedger
	f func(tiredLease) payouts.Lease
}

func (l leasing) Acquire(ctx context.Context, token, gone string, known uint64) (payouts.Lease, error) {
	lease, err := l.tiredLedger.Acquire(ctx, token, gone, known)
	if err != nil {
		return nil, err
	}
	return l.f(lease.(tiredLease)), nil
}

// noJournal keeps nothing.
type noJournal struct{ journal }

func (noJournal) Replay(func(payouts.Record) error) error { return nil }
func (noJournal) Append(...payouts.Record) error          { return nil }

// lazyJournal says that it is synced when it is not: a kill loses the last line.
type lazyJournal struct{ journal }

func (j lazyJournal) Append(records ...payouts.Record) error {
	line := make([]payouts.Record, 0, len(records))
	for _, r := range records {
		line = append(line, copyRecord(r))
	}
	j.records, j.torn = append(j.records, j.torn...), line
	return nil
}

func (j lazyJournal) Replay(each func(payouts.Record) error) error {
	for _, r := range slices.Concat(j.records, j.torn) {
		if err := each(copyRecord(r)); err != nil {
			return err
		}
	}
	return nil
}

// noVoids and noAttempts forget one kind of record.
type noVoids struct{ journal }

func (j noVoids) Append(records ...payouts.Record) error {
	return j.without(func(r payouts.Record) bool { return r.Void != nil }, records)
}

type noAttempts struct{ journal }

func (j noAttempts) Append(records ...payouts.Record) error {
	return j.without(func(r payouts.Record) bool { return r.Attempt != nil }, records)
}

func (j journal) without(drop func(payouts.Record) bool, records []payouts.Record) error {
	var kept []payouts.Record
	for _, r := range records {
		if !drop(r) {
			kept = append(kept, r)
		}
	}
	return j.Append(kept...)
}

// impatient credits back what the node does not show.
type impatient struct{ tiredLedger }

func (l impatient) Acquire(ctx context.Context, token, gone string, known uint64) (payouts.Lease, error) {
	lease, err := l.tiredLedger.Acquire(ctx, token, gone, known)
	if err != nil {
		return nil, err
	}
	w := l.p.w
	ps, _, _ := w.ledger.Inflight(ctx)
	node := w.nodes[w.answers]
	for _, p := range ps {
		if p.State == storage.Sent && p.Nonce >= node.head().nonce && node.pool[p.Nonce] == nil {
			w.say("%s: payment %s is not in the mempool", l.p.name, p.ID)
			_ = lease.Void(ctx, p, storage.NonceFree, "not in the mempool", "")
		}
	}
	return lease, nil
}

// lastHash hides the receipts of all but the newest attempt.
type lastHash struct{ tiredChain }

func (c lastHash) Receipts(ctx context.Context, hashes []common.Hash) ([]*rpc.Receipt, []error) {
	receipts, errs := c.tiredChain.Receipts(ctx, hashes)
	for i, h := range hashes {
		b := c.p.w.ledger.books
		if p := b.payments[b.hashes[h]]; p != nil && p.Last().Hash != h {
			receipts[i], errs[i] = nil, rpc.ErrNotFound
		}
	}
	return receipts, errs
}

// hastySigner sends what it signs.
type hastySigner struct{ tiredSigner }

func (s hastySigner) Sign(ctx context.Context, u payouts.Unsigned) ([]byte, error) {
	raw, err := s.tiredSigner.Sign(ctx, u)
	if err == nil {
		tiredChain{s.p, &client{s.p.w}}.SendRawTransactions(ctx, [][]byte{raw})
	}
	return raw, err
}

type noReinstate struct{ tiredLease }

func (noReinstate) Reinstate(_ context.Context, ps ...*storage.Payment) []error {
	return make([]error, len(ps))
}

type noVerify struct{ tiredLease }

func (noVerify) Verify(context.Context, ...*storage.Payment) error { return nil }

type noUnfinal struct{ tiredLease }

func (noUnfinal) Unfinal(context.Context, *storage.Payment, string) error { return nil }

// lateBump sends a new attempt, and then writes it down.
type lateBump struct{ tiredLease }

func (l lateBump) Attempts(ctx context.Context, p *storage.Payment, before int) error {
	if len(p.Attempts) > before && len(p.Last().Raw) > 0 {
		tiredChain{l.p, &client{l.p.w}}.SendRawTransactions(ctx, [][]byte{p.Last().Raw})
	}
	return l.tiredLease.Attempts(ctx, p, before)
}

// sendOnce takes a transaction for sent, for ever.
type sendOnce struct {
	tiredChain
	sent map[string]bool
}

func (c sendOnce) SendRawTransactions(ctx context.Context, raws [][]byte) []error {
	errs := make([]error, len(raws))
	for i, raw := range raws {
		b := c.p.w.ledger.books
		t := c.p.w.chain.known[hashOf(raw)]
		if p := b.payments[b.hashes[t.hash]]; c.sent[string(raw)] || p != nil && p.State == storage.Sent {
			continue
		}
		errs[i] = c.tiredChain.SendRawTransactions(ctx, [][]byte{raw})[0]
		c.sent[string(raw)] = true
	}
	return errs
}

// noFillers neither opens, journals nor sends what only uses up a nonce.
func noFillers(p *process, parts *payouts.Parts) {
	leases(func(l tiredLease) payouts.Lease { return noFillerLease{l} })(p, parts)
	parts.Journal = noFillerJournal{journal{p.file, p}}
	parts.Chain = noFillerChain{tiredChain{p, &client{p.w}}}
}

type noFillerLease struct{ tiredLease }

func isFiller(ps []*storage.Payment) bool { return len(ps) > 0 && ps[0].Kind == storage.Filler }

func (l noFillerLease) Open(ctx context.Context, bound string, ps ...*storage.Payment) []error {
	if isFiller(ps) {
		return make([]error, len(ps))
	}
	return l.tiredLease.Open(ctx, bound, ps...)
}

func (l noFillerLease) Verify(ctx context.Context, ps ...*storage.Payment) error {
	if isFiller(ps) {
		return nil
	}
	return l.tiredLease.Verify(ctx, ps...)
}

func (l noFillerLease) Sent(ctx context.Context, now int64, ps ...*storage.Payment) []error {
	if isFiller(ps) {
		return make([]error, len(ps))
	}
	return l.tiredLease.Sent(ctx, now, ps...)
}

type noFillerJournal struct{ journal }

func (j noFillerJournal) Append(records ...payouts.Record) error {
	return j.without(func(r payouts.Record) bool { return r.Payment != nil && r.Payment.Kind == storage.Filler }, records)
}

type noFillerChain struct{ tiredChain }

func (c noFillerChain) SendRawTransactions(ctx context.Context, raws [][]byte) []error {
	if t := c.p.w.chain.known[hashOf(raws[0])]; t.value == 0 {
		return make([]error, len(raws))
	}
	return c.tiredChain.SendRawTransactions(ctx, raws)
}

// nobody knows no miner whom a foreign transaction could have paid.
type nobody struct{ tiredLedger }

func (nobody) Logins(context.Context) ([]string, []error, error) { return nil, nil, nil }

// allGood takes every receipt for a success.
type allGood struct{ tiredChain }

func (c allGood) Receipts(ctx context.Context, hashes []common.Hash) ([]*rpc.Receipt, []error) {
	receipts, errs := c.tiredChain.Receipts(ctx, hashes)
	for _, r := range receipts {
		if r != nil {
			r.Status = 1
		}
	}
	return receipts, errs
}

// pessimist takes a send without a reply for refused.
type pessimist struct{ tiredChain }

func (c pessimist) SendRawTransactions(ctx context.Context, raws [][]byte) []error {
	errs := c.tiredChain.SendRawTransactions(ctx, raws)
	for i, err := range errs {
		var refusal *rpc.Refusal
		if err != nil && !errors.As(err, &refusal) {
			errs[i] = &rpc.Refusal{Kind: rpc.InsufficientFunds, Err: err}
		}
	}
	return errs
}

// gullible believes that a receipt's block is on the chain.
type gullible struct {
	tiredChain
	blocks map[uint64]common.Hash
}

func (c gullible) Receipts(ctx context.Context, hashes []common.Hash) ([]*rpc.Receipt, []error) {
	receipts, errs := c.tiredChain.Receipts(ctx, hashes)
	for _, r := range receipts {
		if r != nil {
			c.blocks[r.BlockNumber] = r.BlockHash
		}
	}
	return receipts, errs
}

func (c gullible) BlockByNumber(ctx context.Context, n uint64) (rpc.Block, error) {
	b, err := c.tiredChain.BlockByNumber(ctx, n)
	if hash, told := c.blocks[n]; told && err == nil {
		b.Hash = hash
	}
	return b, err
}

// noSteps never sees that Redis went back.
type noSteps struct {
	tiredLedger
	most *uint64
}

func (l noSteps) Acquire(ctx context.Context, token, gone string, _ uint64) (payouts.Lease, error) {
	lease, err := l.tiredLedger.Acquire(ctx, token, gone, 0)
	if err != nil {
		return nil, err
	}
	return stepless{lease.(tiredLease)}, nil
}

func (l noSteps) Meta(ctx context.Context) (storage.Meta, error) {
	m, err := l.tiredLedger.Meta(ctx)
	*l.most = max(*l.most, m.Step)
	m.Step = *l.most
	return m, err
}

type stepless struct{ tiredLease }

func (stepless) Step() uint64 { return 0 }

// noAnchor does not see that the last final block is gone.
type noAnchor struct{ tiredLedger }

func (l noAnchor) Meta(ctx context.Context) (storage.Meta, error) {
	m, err := l.tiredLedger.Meta(ctx)
	m.AnchorBlock = 0
	return m, err
}

// Find returns the mistake with the name.
func Find(name string) *Mutation {
	for _, m := range Mutations {
		if strings.EqualFold(m.Name, name) {
			return m
		}
	}
	return nil
}
