package storage

import (
	"context"
	"embed"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

//go:embed lua/*.lua
var luaFiles embed.FS

// script returns a verb's source, with the prelude in front of all but those
// that handle the lock itself or only read.
func script(name string) string {
	src, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err) // the file is part of the binary
	}
	if name == "lock" || name == "unlock" || name == "due" {
		return string(src)
	}
	prelude, err := luaFiles.ReadFile("lua/prelude.lua")
	if err != nil {
		panic(err)
	}
	return "-- " + name + "\n" + string(prelude) + string(src)
}

var (
	lockScript, unlockScript, initScript, noteScript   = script("lock"), script("unlock"), script("init"), script("note")
	openScript, reinstateScript, attemptsScript        = script("open"), script("reinstate"), script("attempts")
	sentScript, finalScript, unfinalScript, voidScript = script("sent"), script("final"), script("unfinal"), script("void")
	adoptScript, holdScript, foreignScript, buryScript = script("adopt"), script("hold"), script("foreign"), script("bury")
	oldRowScript, recordScript, ignoreScript           = script("oldrow"), script("record"), script("ignore")
	rejectScript, openBooksScript, dueScript           = script("reject"), script("openbooks"), script("due")
	skippedScript, minedScript                         = script("skipped"), script("mined")
	putBackScript                                      = script("putback")
)

var (
	// ErrLost reports that the lock is not ours any more: somebody removed it or
	// took it. Nothing was written; the caller starts over.
	ErrLost = errors.New("the payments lock is not ours any more")
	// ErrRolledBack reports that Redis is older than what we have seen of it.
	// Nothing was written; the journal has to put back what was forgotten.
	ErrRolledBack = errors.New("redis went back in time")
	// ErrByHand reports that a payment's pending row was removed by hand.
	ErrByHand = errors.New("the pending row was removed by hand")
	// ErrConflict reports that the ledger holds something else than the caller
	// believed. Nothing was written.
	ErrConflict = errors.New("conflict in the ledger")
)

// HeldError reports that somebody else holds the payments lock.
type HeldError struct{ Value string }

func (e *HeldError) Error() string { return fmt.Sprintf("payments are locked by %q", e.Value) }

// Lease is the right to change payments: proof against a second process, and
// against a Redis that went back in time. It belongs to one goroutine.
type Lease struct {
	db    *DB
	token string
	step  uint64
}

// Acquire takes the payments lock. gone is the value of an owner that is proved
// to be dead, or "". known is the last step of the ledger the caller has seen.
func (db *DB) Acquire(ctx context.Context, token, gone string, known uint64) (*Lease, error) {
	reply, err := db.rdb.Eval(ctx, lockScript, []string{db.Keys.PaymentsLock()}, token, gone).StringSlice()
	if err != nil {
		return nil, fmt.Errorf("take the payments lock: %w", err)
	}
	if len(reply) != 2 {
		return nil, fmt.Errorf("take the payments lock: %w: reply %q", ErrMalformed, reply)
	}
	if reply[0] != "OK" {
		return nil, &HeldError{Value: reply[1]}
	}
	return &Lease{db: db, token: token, step: known}, nil
}

// Release gives the lock back if it is still ours.
func (l *Lease) Release(ctx context.Context) error {
	if err := l.db.rdb.Eval(ctx, unlockScript, []string{l.db.Keys.PaymentsLock()}, l.token).Err(); err != nil {
		return fmt.Errorf("release the payments lock: %w", err)
	}
	return nil
}

// Step is the last step of the ledger this lease has seen.
func (l *Lease) Step() uint64 { return l.step }

// call is one verb on its way to Redis.
type call struct {
	what   string
	script string
	keys   []string
	args   []any
}

// run carries out verbs in order, in one round trip, and returns what became of
// each. A lost reply is an error too: the verb may or may not have happened,
// and may be repeated.
func (l *Lease) run(ctx context.Context, calls ...call) []error {
	k := l.db.Keys
	cmds := make([]*redis.Cmd, len(calls))
	// The pipeline's own error is the first of its commands' errors.
	_, _ = l.db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, c := range calls {
			keys := append([]string{k.PaymentsLock(), k.Meta()}, c.keys...)
			args := append([]any{l.token, l.step}, c.args...)
			cmds[i] = p.Eval(ctx, c.script, keys, args...)
		}
		return nil
	})
	errs := make([]error, len(calls))
	for i, cmd := range cmds {
		if err := l.result(cmd); err != nil {
			errs[i] = fmt.Errorf("%s: %w", calls[i].what, err)
		}
	}
	return errs
}

func (l *Lease) one(ctx context.Context, c call) error { return l.run(ctx, c)[0] }

// result reads { code, step, detail }.
func (l *Lease) result(cmd *redis.Cmd) error {
	reply, err := cmd.Slice()
	if err != nil {
		return err
	}
	if len(reply) != 3 {
		return fmt.Errorf("%w: reply of %d parts, want 3", ErrMalformed, len(reply))
	}
	code, ok1 := reply[0].(string)
	step, ok2 := reply[1].(int64)
	detail, ok3 := reply[2].(string)
	if !ok1 || !ok2 || !ok3 || step < 0 {
		return fmt.Errorf("%w: reply of the wrong shape", ErrMalformed)
	}
	switch code {
	case "OK", "ALREADY":
		l.step = max(l.step, uint64(step))
		return nil
	case "LOST":
		return fmt.Errorf("%w: it holds %q", ErrLost, detail)
	case "ROLLBACK":
		return fmt.Errorf("%w: step %d, want at least %d", ErrRolledBack, step, l.step)
	case "HAND":
		return fmt.Errorf("%w: %s", ErrByHand, detail)
	case "CONFLICT":
		return fmt.Errorf("%w: %s", ErrConflict, detail)
	default:
		return fmt.Errorf("%w: reply %q", ErrMalformed, code)
	}
}

// Resync accepts that Redis went back in time: steps from now on count from
// where Redis stands. Only for a caller that then replays its journal.
func (l *Lease) Resync(ctx context.Context) error {
	m, err := l.db.Meta(ctx)
	if err != nil {
		return err
	}
	l.step = m.Step
	return nil
}

// Init binds the ledger to a chain and an account when it is first used, or to
// another account when nothing of the old one is open. first is the account's
// next nonce, next the one to bind next, which is higher for an account that comes
// back; now is in unix seconds.
func (l *Lease) Init(ctx context.Context, chainID uint64, genesis common.Hash, account common.Address, first, next uint64, now int64) error {
	return l.one(ctx, call{"initialise the ledger", initScript, []string{l.db.Keys.Inflight()},
		[]any{chainID, genesis.Hex(), account.Hex(), first, next, now}})
}

// Note writes fields of the ledger's own row, in pairs; an empty value removes
// the field. No money moves.
func (l *Lease) Note(ctx context.Context, fieldValues ...any) error {
	return l.one(ctx, call{"note", noteScript, nil, fieldValues})
}

// Skipped writes down whom a session did not pay though he was due, by login,
// instead of those of the session before. No money moves.
func (l *Lease) Skipped(ctx context.Context, skipped map[string]Skip) error {
	var args []any
	for _, login := range slices.Sorted(maps.Keys(skipped)) {
		text, err := json.Marshal(skipped[login])
		if err != nil {
			return fmt.Errorf("write down who was not paid: %w", err)
		}
		args = append(args, login, text)
	}
	return l.one(ctx, call{"write down who was not paid", skippedScript, []string{l.db.Keys.Skipped()}, args})
}

// Open debits each miner, writes the pending row and binds the payment to its
// nonce. A payment whose id is open already, with the same fields, stays as it
// is. bound is what the nonce was bound to before: "" for the next nonce,
// else the entry that a filler takes over.
func (l *Lease) Open(ctx context.Context, bound string, ps ...*Payment) []error {
	k := l.db.Keys
	return l.runPayments(ctx, ps, func(p *Payment) (call, error) {
		fields, err := p.fields()
		if err != nil {
			return call{}, err
		}
		keys := []string{k.Payment(p.ID), k.Nonces(p.Account), k.Hashes(), k.Inflight(), k.Miner(p.Login), k.Finances(), k.PaymentsPending()}
		args := []any{p.ID, p.Nonce, string(p.Kind), p.Login, p.Amount.String(), p.Time, hexOrEmpty(p.Last().Hash), bound}
		return call{"open payment " + p.ID, openScript, keys, append(args, fields...)}, nil
	})
}

// Reinstate puts back journalled payments that Redis forgot, as sent and
// without a look at the balance. The hash shown is the first attempt's.
func (l *Lease) Reinstate(ctx context.Context, ps ...*Payment) []error {
	k := l.db.Keys
	return l.runPayments(ctx, ps, func(p *Payment) (call, error) {
		fields, err := p.fields()
		if err != nil {
			return call{}, err
		}
		keys := []string{k.Payment(p.ID), k.Nonces(p.Account), k.Hashes(), k.Inflight(), k.Miner(p.Login), k.Finances(), k.PaymentsAll(), k.Payments(p.Login)}
		args := []any{p.ID, p.Nonce, string(p.Kind), p.Login, p.Amount.String(), p.Time, hexOrEmpty(p.Last().Hash), p.Replaces}
		return call{"reinstate payment " + p.ID, reinstateScript, keys, append(args, fields...)}, nil
	})
}

// Attempts writes down the payment's attempts; before is how many the ledger
// has so far.
func (l *Lease) Attempts(ctx context.Context, p *Payment, before int) error {
	if err := p.valid(); err != nil {
		return err
	}
	raw, err := json.Marshal(p.Attempts)
	if err != nil {
		return fmt.Errorf("encode attempts of payment %s: %w", p.ID, err)
	}
	return l.one(ctx, call{"record attempt of payment " + p.ID, attemptsScript, []string{l.db.Keys.Payment(p.ID), l.db.Keys.Hashes()},
		[]any{p.ID, before, len(p.Attempts), string(raw), hexOrEmpty(p.Last().Hash)}})
}

// Sent books payments that a node has taken, under p.Hash, or their newest
// attempt's hash when that is not set. now is in unix seconds.
func (l *Lease) Sent(ctx context.Context, now int64, ps ...*Payment) []error {
	return l.runPayments(ctx, ps, func(p *Payment) (call, error) {
		shown := p.Hash
		if shown == (common.Hash{}) {
			shown = p.Last().Hash
		}
		if shown == (common.Hash{}) {
			return call{}, fmt.Errorf("book payment %s as sent: its transaction has no hash yet: %w", p.ID, ErrConflict)
		}
		return call{"book payment " + p.ID + " as sent", sentScript, l.moneyKeys(p),
			[]any{p.ID, string(p.Kind), p.Login, p.Amount.String(), shown.Hex(), now}}, nil
	})
}

// moneyKeys are the record and the rows that change when money moves.
func (l *Lease) moneyKeys(p *Payment) []string {
	k := l.db.Keys
	return []string{k.Payment(p.ID), k.Miner(p.Login), k.Finances(), k.PaymentsPending(), k.PaymentsAll(), k.Payments(p.Login)}
}

// Final books payments as final; each carries the winning Hash, Block,
// BlockHash and FeeWei. held is what stays pending in the totals for payments
// that are held, those of ps included.
func (l *Lease) Final(ctx context.Context, now int64, held util.Shannon, ps ...*Payment) []error {
	k := l.db.Keys
	return l.runPayments(ctx, ps, func(p *Payment) (call, error) {
		fee := p.FeeWei
		if fee == nil {
			fee = new(big.Int)
		}
		keys := append(l.moneyKeys(p), k.Inflight(), k.Finals(), k.Rejects(), k.Hashes(), k.Opening())
		if p.State == Held {
			held -= p.Amount // for this one, and for those after it
		}
		return call{"book payment " + p.ID + " as final", finalScript, keys,
			[]any{p.ID, string(p.Kind), p.Login, p.Amount.String(), p.Hash.Hex(), now, p.Block, p.BlockHash.Hex(), fee.String(), held.String()}}, nil
	})
}

// Mined notes in which block each sent payment is by p.Block, 0 for none, for
// those who look on.
func (l *Lease) Mined(ctx context.Context, ps ...*Payment) []error {
	return l.runPayments(ctx, ps, func(p *Payment) (call, error) {
		block := ""
		if p.Block > 0 {
			block = strconv.FormatUint(p.Block, 10)
		}
		return call{"note the block of payment " + p.ID, minedScript, []string{l.db.Keys.Payment(p.ID)}, []any{p.ID, block}}, nil
	})
}

// Unfinal opens a final payment again, because its block is gone.
func (l *Lease) Unfinal(ctx context.Context, p *Payment, why string) error {
	k := l.db.Keys
	return l.one(ctx, call{"reopen payment " + p.ID, unfinalScript, []string{k.Payment(p.ID), k.Inflight(), k.Finals()},
		[]any{p.ID, p.Nonce, why}})
}

// NonceFate is what a voided payment leaves at its nonce.
type NonceFate string

const (
	// NonceFree: nothing of the payment is out; the nonce can be used again.
	NonceFree NonceFate = "free"
	// NonceOwn: our own failed transaction used it up.
	NonceOwn NonceFate = "own"
)

// NonceForeign is the fate of a nonce that a transaction not ours used up.
func NonceForeign(tx common.Hash) NonceFate { return NonceFate("foreign:" + tx.Hex()) }

// Void credits the miner back, once. reject, when not empty, marks the
// recipient as one that does not accept payments.
func (l *Lease) Void(ctx context.Context, p *Payment, fate NonceFate, why, reject string) error {
	k := l.db.Keys
	keys := append(l.moneyKeys(p), k.Inflight(), k.Nonces(p.Account), k.Rejects(), k.Hashes())
	args := []any{p.ID, string(p.Kind), p.Login, p.Amount.String(), p.Nonce, why, string(fate), reject}
	for _, a := range p.Attempts {
		args = append(args, hexOrEmpty(a.Hash))
	}
	return l.one(ctx, call{"void payment " + p.ID, voidScript, keys, args})
}

// Adopt books the transaction p.Hash, which the operator wrote down by hand, as
// what paid; it is one of the payment's attempts. held is what stays pending
// in the totals for payments that are held, this one included.
func (l *Lease) Adopt(ctx context.Context, p *Payment, now int64, held util.Shannon, why string) error {
	return l.adopt(ctx, p, now, held, why, false)
}

// AdoptWithRow is Adopt of a payment whose pending row is still there, and goes.
func (l *Lease) AdoptWithRow(ctx context.Context, p *Payment, now int64, held util.Shannon, why string) error {
	return l.adopt(ctx, p, now, held, why, true)
}

func (l *Lease) adopt(ctx context.Context, p *Payment, now int64, held util.Shannon, why string, row bool) error {
	attempts, err := json.Marshal(p.Attempts)
	if err != nil {
		return fmt.Errorf("encode attempts of payment %s: %w", p.ID, err)
	}
	if p.State == Held {
		held -= p.Amount
	}
	return l.one(ctx, call{"adopt a payment made by hand for " + p.ID, adoptScript, append(l.moneyKeys(p), l.db.Keys.Hashes(), l.db.Keys.Opening()),
		[]any{p.ID, p.Login, p.Amount.String(), p.Hash.Hex(), now, len(p.Attempts), string(attempts), why, held.String(), p.Time, row}})
}

// Hold sets a payment aside whose pending row was removed by hand.
func (l *Lease) Hold(ctx context.Context, p *Payment, why string) error {
	return l.hold(ctx, p, Held, why)
}

// Unhold takes it up again, because the pending row was put back. It is [ErrConflict]
// when the amount is pending no more, unless nothing of the payment is out.
func (l *Lease) Unhold(ctx context.Context, p *Payment) error { return l.hold(ctx, p, Signed, "") }

func (l *Lease) hold(ctx context.Context, p *Payment, to State, why string) error {
	return l.one(ctx, call{"mark payment " + p.ID + " as " + string(to), holdScript,
		[]string{l.db.Keys.Payment(p.ID), l.db.Keys.PaymentsPending(), l.db.Keys.Miner(p.Login)},
		[]any{p.ID, string(to), p.Login, p.Amount.String(), why, p.AllRefused()}})
}

// PutBack writes the pending row of a held payment again, as the manual has it typed.
// It is [ErrConflict] when the amount is pending no more.
func (l *Lease) PutBack(ctx context.Context, p *Payment) error {
	k := l.db.Keys
	return l.one(ctx, call{"put back the pending row of payment " + p.ID, putBackScript,
		[]string{k.Payment(p.ID), k.PaymentsPending(), k.Miner(p.Login)}, []any{p.ID, p.Login, p.Amount.String(), p.Time}})
}

// Foreign writes down a transaction of the account that is not ours. was is the
// payment that has the nonce but was made by hand with another one, or "". to is whom
// it moved something to, for [DB.Strays]; nil says that it is no payout.
func (l *Lease) Foreign(ctx context.Context, account common.Address, nonce uint64, tx common.Hash, was string, to *common.Address) error {
	recipient := ""
	if to != nil {
		recipient = to.Hex()
	}
	return l.one(ctx, call{fmt.Sprintf("record foreign transaction at nonce %d", nonce), foreignScript,
		[]string{l.db.Keys.Nonces(account), l.db.Keys.Strays()}, []any{nonce, tx.Hex(), was, recipient}})
}

// Reject marks a recipient that does not accept payments; an empty why clears
// the mark.
func (l *Lease) Reject(ctx context.Context, login, why string) error {
	return l.one(ctx, call{"mark recipient " + login, rejectScript, []string{l.db.Keys.Rejects()}, []any{login, why}})
}

// Bury drops the bytes of final payments that no reorg can undo any more.
func (l *Lease) Bury(ctx context.Context, ps ...*Payment) error {
	k := l.db.Keys
	keys, args := []string{k.Finals()}, []any{}
	for _, p := range ps {
		bare := make([]Attempt, len(p.Attempts))
		for i, a := range p.Attempts {
			a.Raw = nil
			bare[i] = a
		}
		attempts, err := json.Marshal(bare)
		if err != nil {
			return fmt.Errorf("encode attempts of payment %s: %w", p.ID, err)
		}
		keys, args = append(keys, k.Payment(p.ID)), append(args, p.ID, len(bare), string(attempts))
	}
	return l.one(ctx, call{"bury final payments", buryScript, keys, args})
}

// CreditBackOld credits back a pending row of an older pool. A row that is gone
// was settled before.
func (l *Lease) CreditBackOld(ctx context.Context, r PendingRow) error {
	return l.oldRow(ctx, r, "", 0)
}

// PaidOld books a pending row of an older pool as paid by the transaction. It is
// [ErrByHand] when the row is gone and the history does not show the
// transaction for it. now is in unix seconds.
func (l *Lease) PaidOld(ctx context.Context, r PendingRow, tx common.Hash, now int64) error {
	return l.oldRow(ctx, r, tx.Hex(), now)
}

func (l *Lease) oldRow(ctx context.Context, r PendingRow, hash string, now int64) error {
	k := l.db.Keys
	return l.one(ctx, call{"settle pending row " + r.Row(), oldRowScript,
		[]string{k.Miner(r.Login), k.Finances(), k.PaymentsPending(), k.PaymentsAll(), k.Payments(r.Login), k.PendingNonces(), k.PendingHashes(), k.Hashes()},
		[]any{r.Login, r.Amount.String(), hash, now}})
}

// Record books a payment that was made by hand and that the books do not know:
// the amount leaves the balance and the row enters the history. A transaction
// is recorded once: for one miner, with one amount above zero.
func (l *Lease) Record(ctx context.Context, login string, amount util.Shannon, tx common.Hash, now int64) error {
	return l.record(ctx, login, amount, tx, now, false)
}

// Recordable returns the error that [Lease.Record] would, and changes nothing.
func (l *Lease) Recordable(ctx context.Context, login string, amount util.Shannon, tx common.Hash, now int64) error {
	return l.record(ctx, login, amount, tx, now, true)
}

func (l *Lease) record(ctx context.Context, login string, amount util.Shannon, tx common.Hash, now int64, ask bool) error {
	k := l.db.Keys
	owner, err := l.db.PaymentByHash(ctx, tx)
	if err != nil {
		return err
	}
	given := "" // up, so that the transaction is not what made it
	if owner != "" && owner != Recorded && owner != Ignored {
		ps, err := l.db.Payments(ctx, owner)
		if err != nil {
			return err
		}
		if ps[0].NotBy(tx) {
			given = owner
		}
	}
	there, err := l.db.InHistory(ctx, Paid{Hash: tx, Login: login, Amount: amount})
	other, of := "", int64(0)
	if err == nil && !there {
		// Not in the script, for which everybody else would have to wait.
		other, of, err = l.db.rowOf(ctx, tx)
	}
	if err != nil && !isWrongType(err) { // of which the script knows more
		return err
	}
	return l.one(ctx, call{"record transaction " + tx.Hex(), recordScript,
		[]string{k.Miner(login), k.Finances(), k.PaymentsAll(), k.Payments(login), k.Hashes()},
		[]any{login, amount.String(), tx.Hex(), now, ask, given, other, of}})
}

// Ignored is what a transaction belongs to that the operator knows for no payout.
const Ignored = "ignored"

// Recorded is what a transaction belongs to that was recorded as made by hand: it
// is no evidence that another payment was.
const Recorded = "recorded"

// Ignore writes down that a transaction which used a payment's nonce was no
// payout, see [DB.PaymentByHash].
func (l *Lease) Ignore(ctx context.Context, tx common.Hash) error {
	return l.one(ctx, call{"ignore transaction " + tx.Hex(), ignoreScript, []string{l.db.Keys.Hashes()}, []any{tx.Hex()}})
}

// Verify reads back, after the journal was written and before anything is sent,
// that the lock is ours and that the payments are recorded with the attempts we
// are about to send.
func (l *Lease) Verify(ctx context.Context, ps ...*Payment) error {
	k := l.db.Keys
	var lock, step *redis.StringCmd
	tries := make([]*redis.StringCmd, len(ps))
	_, err := l.db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		lock = p.Get(ctx, k.PaymentsLock())
		step = p.HGet(ctx, k.Meta(), "step")
		for i, payment := range ps {
			tries[i] = p.HGet(ctx, k.Payment(payment.ID), "tries")
		}
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return fmt.Errorf("verify payments: %w", err)
	}
	if lock.Val() != l.token {
		return fmt.Errorf("verify payments: %w: it holds %q", ErrLost, lock.Val())
	}
	if n, _ := strconv.ParseUint(step.Val(), 10, 64); n < l.step {
		return fmt.Errorf("verify payments: %w: step %d, want at least %d", ErrRolledBack, n, l.step)
	}
	for i, payment := range ps {
		if tries[i].Val() != strconv.Itoa(len(payment.Attempts)) {
			return fmt.Errorf("verify payment %s: %w: it has %q attempts recorded, want %d", payment.ID, ErrRolledBack, tries[i].Val(), len(payment.Attempts))
		}
	}
	return nil
}

// runPayments runs one verb for each payment in one round trip.
func (l *Lease) runPayments(ctx context.Context, ps []*Payment, verb func(*Payment) (call, error)) []error {
	calls := make([]call, len(ps))
	for i, p := range ps {
		c, err := call{}, p.valid()
		if err == nil {
			c, err = verb(p)
		}
		if err != nil {
			errs := make([]error, len(ps))
			for j := range errs {
				errs[j] = err
			}
			return errs
		}
		calls[i] = c
	}
	return l.run(ctx, calls...)
}

func hexOrEmpty(h common.Hash) string {
	if h == (common.Hash{}) {
		return ""
	}
	return h.Hex()
}
