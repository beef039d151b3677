package payouts

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// newID names a payment: its nonce, for people, and chance, so that no roll-back
// ever issues it again.
func newID(nonce uint64) string {
	var b [4]byte
	_, _ = rand.Read(b[:]) // never fails, says crypto/rand
	return fmt.Sprintf("%d-%s", nonce, hex.EncodeToString(b[:]))
}

// sign makes one more attempt at the payment. Nothing leaves the process but to
// the signer, and what comes back is checked to the last field.
func (t *turn) sign(ctx context.Context, p *storage.Payment, at price) error {
	u := t.unsigned(p, at)
	a := storage.Attempt{GasPrice: at.GasPrice, FeeCap: at.FeeCap, TipCap: at.TipCap, AtBlock: t.view.Head.Number}
	raw, err := t.signer.Sign(ctx, u)
	switch {
	case errors.Is(err, ErrCannotSign):
		// The node signs what it sends: the fields alone are recorded.
	case errors.Is(err, ErrSigner):
		return &Halt{Reason: HaltSigner, Err: err}
	case err != nil:
		return err
	default:
		tx, err := checkSigned(u, raw)
		if err != nil {
			return &Halt{Reason: HaltSigner, Err: err}
		}
		a.Hash, a.Raw = tx.Hash(), raw
	}
	p.Attempts = append(p.Attempts, a)
	return nil
}

func (t *turn) unsigned(p *storage.Payment, at price) Unsigned {
	return Unsigned{ChainID: t.journal.Header().ChainID, From: t.account, To: p.To, Nonce: p.Nonce, Value: p.Value, Gas: p.Gas,
		GasPrice: at.GasPrice, FeeCap: at.FeeCap, TipCap: at.TipCap}
}

// commit takes freshly opened payments over the line: journal, verify, send.
func (t *turn) commit(ctx context.Context, ps ...*storage.Payment) error {
	records := make([]Record, len(ps))
	for i, p := range ps {
		records[i] = Record{Payment: p}
		t.fresh[p.ID] = true
	}
	if err := t.journal.Append(records...); err != nil {
		t.replayed = false // which writes down what the ledger has and the journal has not
		return &Halt{Reason: HaltJournal, Err: err}
	}
	if err := t.lease.Verify(ctx, ps...); err != nil {
		return err
	}
	return t.deliver(ctx, ps...)
}

// deliver offers the newest attempts to the node, in nonce order, and books
// what it took. A lost reply proves nothing: the payment stays as it is and its
// bytes go out again.
func (t *turn) deliver(ctx context.Context, ps ...*storage.Payment) error {
	errs := t.offer(ctx, ps)
	var sent []*storage.Payment
	refusals := map[*storage.Payment]*rpc.Refusal{}
	// All answers count before the first of them is written down, which may fail.
	for i, p := range ps {
		var r *rpc.Refusal
		switch err := errs[i]; {
		case err == nil:
			delete(t.fresh, p.ID)
			if p.State == storage.Signed {
				sent = append(sent, p)
			}
		case errors.As(err, &r) && r.Definitive() && t.fresh[p.ID] && p.Kind == storage.ToMiner:
			refusals[p] = r
		case errors.As(err, &r):
			delete(t.fresh, p.ID)
			t.refusal(p, r)
		default:
			delete(t.fresh, p.ID)
			t.log.Warn("it is unknown whether the node took the transaction; its bytes go out again", "payment", p.ID, "nonce", p.Nonce, "tx", p.Last().Hash, "err", err)
		}
	}
	var refused error
	for _, p := range ps {
		r := refusals[p]
		if r == nil {
			continue
		}
		if err := t.refuse(ctx, p, r); err != nil {
			return err
		}
		refused = halt(HaltRefused, "payment %s of %s to %s was refused: %w; payouts stay locked; "+
			"the next session credits it back and pays it anew (with payouts.autoResolve false: run with RESOLVE_PAYOUT=1)",
			p.ID, p.Amount.Coins(), p.Login, r)
	}
	if err := t.book(ctx, sent); err != nil {
		return err
	}
	return refused
}

// offer sends bytes where we have them, and has the node sign and send where it
// is the only one that can. The newest attempt goes first; where the node does
// not want that one, it may have lost an older one, and takes it again.
func (t *turn) offer(ctx context.Context, ps []*storage.Payment) []error {
	errs := make([]error, len(ps))
	var raws [][]byte
	var at []int
	for i, p := range ps {
		if len(p.Last().Raw) == 0 {
			errs[i] = t.offerByNode(ctx, p)
			continue
		}
		for _, a := range slices.Backward(p.Attempts) {
			if len(a.Raw) > 0 {
				raws, at = append(raws, a.Raw), append(at, i)
			}
		}
	}
	if len(raws) == 0 {
		return errs
	}
	for j, err := range t.chain.SendRawTransactions(ctx, raws) {
		if newest := j == 0 || at[j-1] != at[j]; newest || err == nil {
			errs[at[j]] = err
		}
	}
	return errs
}

// offerByNode is offer for a node that signs only what it sends.
func (t *turn) offerByNode(ctx context.Context, p *storage.Payment) error {
	var newest error
	for i := range slices.Backward(p.Attempts) {
		err := t.sendByNode(ctx, p, &p.Attempts[i])
		var refused *rpc.Refusal
		if !errors.As(err, &refused) {
			return err
		}
		if newest == nil {
			newest = err
		}
	}
	return newest
}

// sendByNode repeats one and the same eth_sendTransaction, nonce included, while
// the node does not have the transaction. Its reply names it. Should a node sign
// the same fields differently the next time, the chain still takes one of the
// two, and [turn.findStranger] knows either for ours.
func (t *turn) sendByNode(ctx context.Context, p *storage.Payment, a *storage.Attempt) error {
	has, err := t.nodeHas(ctx, p, a)
	if err != nil {
		return err
	}
	if !has {
		hash, err := t.chain.SendTransaction(ctx, t.unsigned(p, price{a.GasPrice, a.FeeCap, a.TipCap}).args())
		if err != nil {
			return asRefusal(err)
		}
		a.Hash = hash
	}
	return t.lease.Attempts(ctx, p, len(p.Attempts))
}

// asRefusal is what the node's verdict on eth_sendTransaction proves.
func asRefusal(err error) error {
	var answer *rpc.Error
	if errors.As(err, &answer) {
		return &rpc.Refusal{Kind: rpc.Classify(err), Err: err}
	}
	return err
}

// nodeHas says whether the node shows an attempt that it was to sign and send,
// and finds out its hash when the reply was lost.
func (t *turn) nodeHas(ctx context.Context, p *storage.Payment, a *storage.Attempt) (bool, error) {
	if t.fresh[p.ID] {
		return false, nil
	}
	hashes := []common.Hash{a.Hash}
	if a.Hash == (common.Hash{}) {
		var err error
		if _, hashes, err = t.chain.PoolHas(ctx, t.account); err != nil {
			return false, err
		}
	}
	for _, h := range hashes {
		tx, err := t.chain.TransactionByHash(ctx, h)
		if errors.Is(err, rpc.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		if tx.From == t.account && tx.Nonce == p.Nonce && matches(p, &tx) {
			a.Hash = h
			return true, nil
		}
	}
	return false, nil
}

// refuse writes down that nothing of the payment is out, and halts payouts.
func (t *turn) refuse(ctx context.Context, p *storage.Payment, r *rpc.Refusal) error {
	p.Last().Refused = r.Kind.String()
	if err := t.lease.Attempts(ctx, p, len(p.Attempts)); err != nil {
		return err
	}
	t.log.Error("the node refused a payment; payouts stay locked", "payment", p.ID, "login", p.Login, "amountShannon", int64(p.Amount), "nonce", p.Nonce, "err", r)
	return t.haltFor(ctx, p)
}

// haltFor keeps payouts locked, over restarts, for a payment that was refused.
func (t *turn) haltFor(ctx context.Context, p *storage.Payment) error {
	t.halted = true
	return t.lease.Note(ctx, "halt", fmt.Sprintf("payment %s to %s was refused: %s", p.ID, p.Login, p.Last().Refused))
}

// refusal is a refusal that proves nothing, of bytes that may be out.
func (t *turn) refusal(p *storage.Payment, r *rpc.Refusal) {
	switch r.Kind {
	case rpc.NonceTooLow, rpc.ReplacementUnderpriced:
		// It, or another with its nonce, is there already; the chain will tell.
		return
	case rpc.PoolFull:
		t.window = max(1, t.window/2)
		t.log.Warn("the node's pool is full; fewer payments at a time", "window", t.window)
	default:
		t.log.Warn("the node does not take the transaction now; its bytes go out again", "payment", p.ID, "nonce", p.Nonce, "err", r)
	}
}

// fullResend is after how many blocks everything open is sent again, whatever
// the node says it has.
const fullResend = 10

// resend sends again what the node may not have. What it answers about its pool
// is a hint that saves messages, never a reason to stop.
func (t *turn) resend(ctx context.Context) error {
	var again, rest []*storage.Payment
	for _, p := range t.open {
		f, err := t.factsOf(ctx, p)
		if err != nil {
			return err
		}
		switch {
		case decide(p, f, t.depths()) != send:
		case p.State == storage.Signed:
			again = append(again, p)
		default:
			rest = append(rest, p)
		}
	}
	if len(rest) > 0 && t.view.Head.Hash != t.resentAt {
		full := t.view.Head.Number >= t.resentBlock+fullResend || t.view.Head.Number < t.resentBlock
		if !full {
			pending, err := t.chain.PendingNonce(ctx, t.account)
			if err != nil {
				return fmt.Errorf("read the pending nonce: %w", err)
			}
			full = pending <= rest[len(rest)-1].Nonce
		}
		if full {
			again = append(again, rest...)
			t.resentBlock = t.view.Head.Number
		}
		t.resentAt = t.view.Head.Hash
	}
	if len(again) == 0 {
		return nil
	}
	slices.SortStableFunc(again, func(a, b *storage.Payment) int { return int(int64(a.Nonce) - int64(b.Nonce)) })
	// Another process may have the lock by now, and be about to give one of them up.
	if err := t.lease.Verify(ctx, again...); err != nil {
		return err
	}
	return t.deliver(ctx, again...)
}

// sortedRows lists pending rows oldest first, so that every run sees one order.
func sortedRows(rows map[string]storage.PendingRow, keep func(storage.PendingRow) bool) []storage.PendingRow {
	var out []storage.PendingRow
	for _, r := range rows {
		if keep(r) {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b storage.PendingRow) int {
		if a.Time != b.Time {
			return int(a.Time - b.Time)
		}
		return strings.Compare(a.Row(), b.Row())
	})
	return out
}
