package payouts

import (
	"context"
	"errors"
	"hash/maphash"
	"io/fs"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// index is what the ledger had of each of its payments a moment ago, by nonce and in a
// few bytes. What does not agree with it is read from the ledger again.
type index struct {
	seed    maphash.Seed
	first   uint64 // nonce of the first entry
	entries []entry
	void    []string // payments that were credited back, and are still bound to their nonce
}

// entry is one payment in prints; the zero entry is none.
type entry struct{ payment, tx uint64 }

func newIndex() *index { return &index{seed: maphash.MakeSeed()} }

func (x *index) entry(id string, kind storage.Kind, login string, amount util.Shannon, tx common.Hash) entry {
	return entry{maphash.String(x.seed, id+" "+string(kind)+" "+login+" "+amount.String()) | 1, maphash.Bytes(x.seed, tx[:])}
}

// add is called with payments in the order of their nonces.
func (x *index) add(b *storage.Brief) {
	if len(x.entries) == 0 {
		x.first = b.Nonce
	}
	for x.first+uint64(len(x.entries)) < b.Nonce {
		x.entries = append(x.entries, entry{})
	}
	var tx common.Hash
	if len(b.Hashes) > 0 {
		tx = b.Hashes[0]
	}
	x.entries = append(x.entries, x.entry(b.ID, b.Kind, b.Login, b.Amount, tx))
	if b.State == storage.Void {
		x.void = append(x.void, b.ID)
	}
}

// at finds the entry of a nonce.
func (x *index) at(nonce uint64) (i int, ok bool) {
	return int(nonce - x.first), nonce >= x.first && nonce-x.first < uint64(len(x.entries))
}

// journalAudit holds the journal against the ledger.
type journalAudit struct {
	storage.Report
	*Auditor
	meta   storage.Meta
	ledger *index
	seen   []bool         // entries of the ledger that the journal has
	made   []storage.Paid // rows of the history that people wrote
	header Header
	doubts []Record
	void   map[string]bool  // by payment: the journal gave it up, and did not take it back
	given  map[string]int64 // payments that the ledger gave up, and when they were opened
}

const (
	equationJournalled = "what is in the journal is in the ledger"
	equationLedger     = "every payment of the ledger is in the journal"
	doJournal          = "is payouts.journal the file that payouts write? Bring back the newest copy; without it nothing can be put back that Redis forgets. " +
		"When it is lost for good, set payouts.journal to a new file"
)

// auditJournal reads the journal without its lock: payouts may be appending to it, and
// a last line that is torn, or just being written, is none.
func (a *Auditor) auditJournal(ctx context.Context, meta storage.Meta, ledger *index, made []storage.Paid) (storage.Report, error) {
	j := &journalAudit{Auditor: a, meta: meta, ledger: ledger, seen: make([]bool, len(ledger.entries)), made: made, void: map[string]bool{}, given: map[string]int64{}}
	err := j.read(ctx)
	return j.Report, looked(ctx, &j.Report, storage.LookedJournal, err)
}

func (j *journalAudit) read(ctx context.Context) error {
	path := j.cfg.Journal
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) && j.meta.ChainID == 0 {
		return nil // nothing has begun
	}
	if errors.Is(err, fs.ErrNotExist) {
		return cannotLook("there is no %s on this machine; run the audit where payouts run", path)
	}
	if err != nil {
		return cannotLook("%w", err)
	}
	defer file.Close()
	var byHand []*ByHandRecord
	_, err = scanJournal(file, path, func(r Record) error {
		switch {
		case r.Header != nil && j.header.ID == "":
			j.header = *r.Header
			return j.belongs()
		case r.Payment != nil && j.known(r.Payment):
		case r.Payment != nil, r.Attempt != nil:
			if r.Attempt != nil {
				delete(j.void, r.Attempt.ID) // somebody paid it by hand after all
			}
			j.doubts = append(j.doubts, r)
		case r.Void != nil:
			j.void[r.Void.ID] = true
		case r.ByHand != nil:
			byHand = append(byHand, r.ByHand)
		}
		if len(j.doubts) < replayChunk {
			return ctx.Err()
		}
		return j.compare(ctx)
	})
	if errors.Is(err, ErrJournal) {
		j.Wrong(path, "every line of the journal can be read", "payouts do not start with it; bring back a good copy", "%v", err)
		return nil
	}
	var unread *fs.PathError
	if errors.As(err, &unread) {
		return blind{err}
	}
	if err == nil && j.header.ID == "" {
		err = cannotLook("%s is empty", path)
	}
	for _, then := range []func(context.Context) error{j.compare, j.voids, func(ctx context.Context) error { return j.byHand(ctx, byHand) }, j.unseen} {
		if err == nil {
			err = then(ctx)
		}
	}
	return err
}

// belongs says whether the journal is the ledger's.
func (j *journalAudit) belongs() error {
	h, m := j.header, j.meta
	if m.ChainID != 0 && (h.ChainID != m.ChainID || h.Genesis != m.Genesis || h.Account != m.Account) {
		return cannotLook("%s is of account %s on chain id %d, the ledger is of account %s on chain id %d", j.cfg.Journal, h.Account, h.ChainID, m.Account, m.ChainID)
	}
	return nil
}

// known says whether the ledger had just that payment when it was read.
func (j *journalAudit) known(p *storage.Payment) bool {
	i, ok := j.ledger.at(p.Nonce)
	if !ok {
		return false
	}
	want := j.ledger.entry(p.ID, p.Kind, p.Login, p.Amount, p.Attempts[0].Hash)
	if p.Attempts[0].Hash == (common.Hash{}) { // only the node knew it then
		want.tx = j.ledger.entries[i].tx
	}
	if j.ledger.entries[i] != want {
		return false
	}
	j.seen[i] = true
	return true
}

// compare holds records of payments and attempts against the ledger, one by one.
func (j *journalAudit) compare(ctx context.Context) error {
	ids := make([]string, len(j.doubts))
	for i, r := range j.doubts {
		ids[i] = r.payment()
	}
	briefs, err := j.briefs(ctx, ids)
	if err != nil {
		return err
	}
	for i, r := range j.doubts {
		key, b := j.db.Keys.Payment(ids[i]), briefs[i]
		switch {
		case b == nil && r.Payment == nil: // said of the payment itself
		case b == nil:
			p := r.Payment
			j.Wrong(key, equationJournalled, doForgotten, "the journal has it, of %s Shannon to %s at nonce %d in transaction %s; the ledger has not", p.Amount, p.Login, p.Nonce, p.Attempts[0].Hash)
		case r.Payment != nil:
			j.payment(key, r.Payment, b)
		default:
			j.attempt(key, r.Attempt, b)
		}
	}
	j.doubts = j.doubts[:0]
	return nil
}

// doForgotten is as in storage.
const doForgotten = "start payouts, or run once: it puts back from its journal what Redis forgot"

// briefs reads what the ledger has of payments; nil where it has nothing, or nothing
// that can be read, which the audit of Redis names.
func (j *journalAudit) briefs(ctx context.Context, ids []string) ([]*storage.Brief, error) {
	briefs, errs := j.db.Briefs(ctx, ids...)
	for i, err := range errs {
		switch {
		case err == nil:
			if b := briefs[i]; b.State == storage.Void {
				j.given[b.ID] = b.Time
			}
		case errors.Is(err, storage.ErrNotFound), errors.Is(err, storage.ErrMalformed):
			briefs[i] = nil
		default:
			return nil, err
		}
	}
	return briefs, nil
}

func (j *journalAudit) payment(key string, p *storage.Payment, b *storage.Brief) {
	if i, ok := j.ledger.at(b.Nonce); ok {
		var tx common.Hash
		if len(b.Hashes) > 0 {
			tx = b.Hashes[0]
		}
		if j.ledger.entries[i] == j.ledger.entry(b.ID, b.Kind, b.Login, b.Amount, tx) {
			j.seen[i] = true
		}
	}
	type words struct {
		kind   storage.Kind
		login  string
		amount util.Shannon
		nonce  uint64
	}
	said, is := words{p.Kind, p.Login, p.Amount, p.Nonce}, words{b.Kind, b.Login, b.Amount, b.Nonce}
	if said != is {
		j.Wrong(key, equationJournalled, doExplain, "the journal has a %s of %s Shannon to %s at nonce %d, the ledger a %s of %s to %s at %d",
			said.kind, said.amount, said.login, said.nonce, is.kind, is.amount, is.login, is.nonce)
	}
	j.tx(key, 1, p.Attempts[0].Hash, b)
}

func (j *journalAudit) attempt(key string, r *AttemptRecord, b *storage.Brief) {
	j.tx(key, r.Count, r.Attempt.Hash, b)
}

// tx compares the transaction of the n-th attempt, from 1. Where only the node knew
// it, the journal does not.
func (j *journalAudit) tx(key string, n int, tx common.Hash, b *storage.Brief) {
	switch {
	case len(b.Hashes) < n:
		j.Wrong(key, equationJournalled, doForgotten, "the journal has attempt %d, transaction %s; the ledger has %d", n, tx, len(b.Hashes))
	case tx != (common.Hash{}) && b.Hashes[n-1] != tx:
		j.Wrong(key, equationJournalled, doExplain, "attempt %d is transaction %s in the journal, %s in the ledger", n, tx, b.Hashes[n-1])
	}
}

// voids holds what was credited back against the ledger. One whose row was removed by
// hand is held there, and waits for its person.
func (j *journalAudit) voids(ctx context.Context) error {
	for part := range slices.Chunk(slices.Sorted(maps.Keys(j.void)), replayChunk) {
		briefs, err := j.briefs(ctx, part)
		if err != nil {
			return err
		}
		for i, b := range briefs {
			if b == nil {
				j.Wrong(j.db.Keys.Payment(part[i]), equationJournalled, doForgotten, "the journal gave it up; the ledger does not have it")
			} else if b.State != storage.Void && b.State != storage.Held {
				j.Wrong(j.db.Keys.Payment(b.ID), equationJournalled, doForgotten, "the journal gave it up; in the ledger it is %s", b.State)
			}
		}
	}
	if _, err := j.briefs(ctx, j.ledger.void); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(j.given)) {
		if !j.void[id] && j.given[id] >= j.header.Time {
			j.Wrong(j.db.Keys.Payment(id), equationLedger, doExplain, "the ledger gave it up; the journal does not say so")
		}
	}
	return nil
}

// byHand holds payments that people made against the history, where the one row or the
// other may be typed.
func (j *journalAudit) byHand(ctx context.Context, records []*ByHandRecord) error {
	for _, r := range records {
		row := storage.Paid{Hash: r.Hash, Login: r.Login, Amount: r.Amount, Time: r.Time}
		if slices.ContainsFunc(j.made, func(p storage.Paid) bool {
			return p.Hash == r.Hash && util.SameLogin(p.Login, r.Login) && p.Amount == r.Amount
		}) {
			continue
		}
		there, err := j.db.InHistory(ctx, row)
		if err != nil {
			return err
		}
		owner, err := j.db.PaymentByHash(ctx, r.Hash)
		if err != nil {
			return err
		}
		if there || owner != "" && owner != storage.Recorded && owner != storage.Ignored { // a payment has it by now
			continue
		}
		j.Wrong(j.db.Keys.PaymentsAll(), equationJournalled, doForgotten, "transaction %s of %s Shannon to %s, made by hand, is missing", r.Hash, r.Amount, r.Login)
	}
	return nil
}

// unseen names the payments of the ledger that the journal does not have.
func (j *journalAudit) unseen(ctx context.Context) error {
	older := 0
	var at []int
	for i, e := range j.ledger.entries {
		if e != (entry{}) && !j.seen[i] {
			at = append(at, i)
		}
	}
	for part := range slices.Chunk(at, replayChunk) {
		first, last := j.ledger.first+uint64(part[0]), j.ledger.first+uint64(part[len(part)-1])
		bound, err := j.db.NoncesFrom(ctx, j.meta.Account, first, last+1)
		if err != nil {
			return err
		}
		var ids []string
		for _, i := range part {
			ids = append(ids, bound[j.ledger.first+uint64(i)])
		}
		briefs, errs := j.db.Briefs(ctx, ids...)
		for i, b := range briefs {
			switch {
			case errs[i] != nil && !errors.Is(errs[i], storage.ErrNotFound) && !errors.Is(errs[i], storage.ErrMalformed):
				return errs[i]
			case errs[i] != nil: // it was given up since, or the audit of Redis names it
			case b.State == storage.Signed: // about to be written, and not sent before that
			case b.Time < j.header.Time:
				older++
			default:
				j.Wrong(j.db.Keys.Payment(b.ID), equationLedger, doJournal, "it is not, of %s Shannon to %s at nonce %d in transaction %s", b.Amount, b.Login, b.Nonce, b.Hash)
			}
		}
	}
	if older > 0 {
		j.Note("%d payments are older than %s, which begins on %s; they could not be put back", older, j.cfg.Journal, time.Unix(j.header.Time, 0).UTC().Format(time.DateOnly))
	}
	return nil
}
