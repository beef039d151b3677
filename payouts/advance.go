package payouts

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// advance moves every open payment on as far as the chain proves. It is what a
// payout session does between two batches, what the process does between two
// sessions, and what it does after a crash.
func (t *turn) advance(ctx context.Context) error {
	if err := t.look(ctx); err != nil {
		return err
	}
	if err := t.read(ctx); err != nil {
		return err
	}
	if err := t.heed(ctx); err != nil {
		return err
	}
	if err := t.checkAnchor(ctx); err != nil {
		return err
	}
	if err := t.findMined(ctx); err != nil {
		return err
	}
	if err := t.act(ctx); err != nil {
		return err
	}
	// What follows works on what is open now.
	if err := t.read(ctx); err != nil {
		return err
	}
	stop := t.findForeign(ctx)
	var halted *Halt
	if stop != nil && !errors.As(stop, &halted) {
		return stop
	}
	if err := t.fillDeadNonces(ctx); err != nil {
		return err
	}
	if err := t.bump(ctx); err != nil {
		return err
	}
	if err := t.resend(ctx); err != nil {
		return err
	}
	if err := t.bury(ctx); err != nil {
		t.log.Warn("old payments keep their bytes for now", "err", err)
	}
	if err := t.lease.Note(ctx, t.signs()...); err != nil {
		return err
	}
	return stop
}

// signs are what the rest of the pool is told at every look at the chain.
func (t *turn) signs() []any {
	wallet, _, err := util.ShannonFromWei(t.view.BalanceWei)
	if err != nil {
		wallet = util.MaxShannon
	}
	fee := "" // of the network: the pool pays it
	if t.cfg.FeeFromMiner {
		fee = "1"
	}
	var outgoing util.Shannon // sent, and still in the wallet
	for _, p := range t.open {
		if p.Kind == storage.ToMiner && p.State == storage.Sent && p.Nonce >= t.view.Nonce {
			outgoing += p.Amount
		}
	}
	return []any{"heartbeat", t.clock.Now().Unix(), "wallet", int64(wallet), "outgoing", int64(outgoing), "threshold", int64(t.cfg.Threshold), "confirmations", t.cfg.Confirmations,
		"feeFromMiner", fee, "settledNonce", t.meta.SettledNonce}
}

func (p *Payer) depths() depths {
	return depths{Confirmations: p.cfg.Confirmations, Void: p.cfg.VoidDepth}
}

// act decides and acts for each open payment, highest nonce first so that
// several refused ones hand their nonces back one after the other.
func (t *turn) act(ctx context.Context) error {
	var sent, final, moved []*storage.Payment
	for _, p := range slices.Backward(t.open) {
		f, err := t.factsOf(ctx, p)
		if err != nil {
			return err
		}
		step := decide(p, f, t.depths())
		if block := f.block(); (step == wait || step == send) && p.State == storage.Sent && p.Block != block {
			p.Block = block
			moved = append(moved, p)
		}
		switch step {
		case wait:
			t.sayLost(p)
		case bookSent:
			sent = append(sent, p)
		case bookFinal:
			p.Hash, p.Block, p.BlockHash, p.FeeWei = f.Mined.Hash, f.Mined.Block, f.Mined.BlockHash, f.Mined.FeeWei
			final = append(final, p)
		case voidFailed:
			err = t.void(ctx, p, storage.NonceOwn, fmt.Sprintf("transaction %s failed in block %d", f.Mined.Hash, f.Mined.Block),
				"the recipient rejected transaction "+f.Mined.Hash.Hex())
		case voidForeign:
			// The miner may have been paid by it.
			var owed *Halt
			if err = t.accountFor(ctx, &f.Stranger.Transaction, p); err == nil {
				err = t.void(ctx, p, storage.NonceForeign(f.Stranger.Hash),
					fmt.Sprintf("nonce %d was used by transaction %s, which is not ours", p.Nonce, f.Stranger.Hash), "")
				if err == nil && t.put == nil {
					err = t.remember(ctx, p.Nonce, &f.Stranger.Transaction)
				}
			} else if errors.As(err, &owed) {
				err = nil // findForeign says it, when the others have had their turn
			}
		case voidRefused:
			err = t.voidRefused(ctx, p)
		case adopt:
			err = t.adopt(ctx, p, *f.ByHand, t.lease.Adopt)
		case hold:
			err = t.hold(ctx, p)
		case unhold:
			t.log.Info("the pending row was put back; the payment goes on", "payment", p.ID, "login", p.Login)
			err = t.lease.Unhold(ctx, p)
		}
		if err = t.setAside(p, err); err != nil {
			return err
		}
	}
	slices.Reverse(sent)
	slices.Reverse(final)
	if err := t.book(ctx, sent); err != nil {
		return err
	}
	for i, err := range t.lease.Mined(ctx, moved...) {
		if err = t.setAside(moved[i], err); err != nil {
			return err
		}
	}
	return t.finish(ctx, final)
}

// setAside takes an error that is one payment's own for said, so that the others
// go on; any other error is returned.
func (t *turn) setAside(p *storage.Payment, err error) error {
	if !errors.Is(err, storage.ErrConflict) {
		return err
	}
	if t.asideSaid[p.ID] != err.Error() {
		t.asideSaid[p.ID] = err.Error()
		t.log.Error("a payment is set aside until its rows are mended", "payment", p.ID, "login", p.Login, "err", err)
	}
	return nil
}

// book writes down what a node has taken: the manual's "write this TX hash to a
// database". A row that went missing by hand is looked at by the next advance.
func (t *turn) book(ctx context.Context, ps []*storage.Payment) error {
	for _, p := range ps {
		p.Hash = t.hashOf(p)
	}
	for i, err := range t.lease.Sent(ctx, t.clock.Now().Unix(), ps...) {
		p := ps[i]
		if errors.Is(err, storage.ErrByHand) {
			continue
		}
		if errors.Is(err, storage.ErrConflict) {
			_ = t.setAside(p, err)
			continue
		}
		if err != nil {
			return err
		}
		p.State = storage.Sent
		t.log.Info("sent", "payment", p.ID, "login", p.Login, "amountShannon", int64(p.Amount), "nonce", p.Nonce, "tx", p.Hash)
	}
	return nil
}

// hashOf is the attempt to show: the one in a block, else the newest with a name.
func (t *turn) hashOf(p *storage.Payment) common.Hash {
	if m := t.seen[p.ID]; m != nil {
		return m.Hash
	}
	for _, a := range slices.Backward(p.Attempts) {
		if a.Hash != (common.Hash{}) {
			return a.Hash
		}
	}
	return common.Hash{}
}

func (t *turn) finish(ctx context.Context, ps []*storage.Payment) error {
	if len(ps) == 0 {
		return nil
	}
	held, err := t.heldAmount(ctx, nil)
	if err != nil {
		return err
	}
	top := slices.MaxFunc(ps, func(a, b *storage.Payment) int { return int(int64(a.Block) - int64(b.Block)) })
	if top.Block > t.meta.AnchorBlock { // known before it counts, lest nobody look for a reorg
		if err := t.lease.Note(ctx, "anchorBlock", top.Block, "anchorHash", top.BlockHash.Hex()); err != nil {
			return err
		}
	}
	for i, err := range t.lease.Final(ctx, t.clock.Now().Unix(), held, ps...) {
		p := ps[i]
		if errors.Is(err, storage.ErrByHand) {
			continue
		}
		if errors.Is(err, storage.ErrConflict) {
			_ = t.setAside(p, err)
			continue
		}
		if err != nil {
			return err
		}
		delete(t.seen, p.ID)
		delete(t.fresh, p.ID)
		t.log.Info("final", "payment", p.ID, "login", p.Login, "amountShannon", int64(p.Amount), "tx", p.Hash, "block", p.Block)
	}
	return nil
}

// heldAmount is what stays pending in the totals without a pending row: of held
// payments, and of those that will be, because their rows were removed by hand;
// but not where the operator has moved the money already. A held payment of one's
// own counts as well.
func (t *turn) heldAmount(ctx context.Context, own *storage.Payment) (util.Shannon, error) {
	rowless := func(p *storage.Payment) bool {
		_, row := t.rows[p.PendingRow()]
		return !row && p.Kind == storage.ToMiner && (p.State == storage.Held || p.State == storage.Signed)
	}
	if !slices.ContainsFunc(t.open, rowless) {
		return 0, nil
	}
	if err := t.readRows(ctx); err != nil { // somebody works on them
		return 0, err
	}
	var sum util.Shannon
	for _, p := range t.open {
		switch {
		case p == own && p.State == storage.Held:
			sum += p.Amount
		case p != own && rowless(p):
			m, err := t.ledger.Miner(ctx, p.Login)
			if err != nil {
				return 0, err
			}
			if m.Pending >= p.Amount {
				sum += p.Amount
			}
		}
	}
	return sum, nil
}

// void credits a payment back that provably can never happen. The journal
// knows first: if the ledger forgot the credit, the bytes must not go out again.
func (t *turn) void(ctx context.Context, p *storage.Payment, fate storage.NonceFate, why, reject string) error {
	if t.put != nil {
		row := storage.PendingRow{Login: p.Login, Amount: p.Amount, Time: p.Time}
		t.put.voids = append(t.put.voids, voiding{row: row, payment: p, fate: fate, why: why, reject: reject})
		return nil
	}
	record := VoidRecord{ID: p.ID, Fate: fate, Why: why, Reject: reject}
	if t.givenUp[p.ID] != record { // else it is in the journal, and the ledger refused it
		if err := t.journal.Append(Record{Void: &record}); err != nil {
			return err
		}
		t.givenUp[p.ID] = record
	}
	if err := t.lease.Void(ctx, p, fate, why, reject); err != nil {
		return err
	}
	delete(t.givenUp, p.ID)
	delete(t.fresh, p.ID)
	delete(t.seen, p.ID)
	delete(t.strangers, p.ID)
	t.voided = append(t.voided, p)
	t.log.Warn("credited back", "payment", p.ID, "login", p.Login, "amountShannon", int64(p.Amount), "nonce", p.Nonce, "why", why)
	return nil
}

// voidRefused gives up a payment of which nothing is out. While payouts are
// halted for it, it stays, and with autoResolve false until RESOLVE_PAYOUT=1.
func (t *turn) voidRefused(ctx context.Context, p *storage.Payment) error {
	switch {
	case t.mayResolve || t.put != nil:
	case t.halted:
		return nil
	case !t.cfg.AutoResolve:
		// The process died between the refusal and the halt.
		if err := t.haltFor(ctx, p); err != nil {
			return err
		}
		return halt(HaltRefused, "payment %s of %s to %s was refused: %s; payouts stay locked; run once with RESOLVE_PAYOUT=1",
			p.ID, p.Amount.Coins(), p.Login, p.Last().Refused)
	}
	return t.void(ctx, p, storage.NonceFree, "refused by the node: "+p.Last().Refused, "")
}

// adopt takes a transaction that the operator made by hand in place of ours, and
// books it.
func (t *turn) adopt(ctx context.Context, p *storage.Payment, tx common.Hash,
	book func(ctx context.Context, p *storage.Payment, now int64, held util.Shannon, why string) error) error {
	why := "paid by hand"
	if i := slices.IndexFunc(p.Attempts, func(a storage.Attempt) bool { return a.Hash == tx }); i < 0 {
		p.Attempts = append(p.Attempts, storage.Attempt{Hash: tx, ByHand: true, AtBlock: t.view.Head.Number})
		if err := t.journal.Append(Record{Attempt: &AttemptRecord{ID: p.ID, Count: len(p.Attempts), Attempt: *p.Last()}}); err != nil {
			return err
		}
	} else {
		why = "booked by hand"
	}
	p.Hash = tx
	delete(t.strangers, p.ID) // it may have been this one
	delete(t.ours, p.ID)      // its nonce may be another's
	held, err := t.heldAmount(ctx, p)
	if err != nil {
		return err
	}
	if err := book(ctx, p, t.clock.Now().Unix(), held, why); err != nil {
		return err
	}
	t.log.Warn("adopted a payment made by hand", "payment", p.ID, "login", p.Login, "amountShannon", int64(p.Amount), "tx", tx)
	return nil
}

// hold sets a payment aside and says what settles it.
func (t *turn) hold(ctx context.Context, p *storage.Payment) error {
	k := storage.NewKeys(t.coin)
	why := fmt.Sprintf("its pending row was removed by hand. If it was paid by hand: open-ethereum-pool payouts.json adopt %s TXHASH (or ZADD %q %d TXHASH:%s) -- "+
		"if it was not: open-ethereum-pool payouts.json retry %s (or ZADD %q %d %s)",
		p.ID, k.Payments(p.Login), p.Time, p.Amount, p.ID, k.PaymentsPending(), p.Time, p.PendingRow())
	if err := t.lease.Hold(ctx, p, why); err != nil {
		return err
	}
	t.log.Error("payment held until you decide", "payment", p.ID, "login", p.Login, "amountShannon", int64(p.Amount), "why", why)
	return nil
}

// checkAnchor compares the highest block that ever made a payment final with
// the chain. A node that does not have it yet is behind; another block in its
// place is a reorg deeper than finality.
func (t *turn) checkAnchor(ctx context.Context) error {
	if t.meta.AnchorBlock == 0 {
		return nil
	}
	if t.view.Head.Number < t.meta.AnchorBlock {
		return halt(HaltBehind, "the node is at block %d, a payment is final in block %d; waiting for the node", t.view.Head.Number, t.meta.AnchorBlock)
	}
	ok, err := t.canonical(ctx, t.meta.AnchorBlock, t.meta.AnchorHash)
	if err != nil || ok {
		return err
	}
	finals, err := t.ledger.Finals(ctx, 0, t.meta.AnchorBlock)
	if err != nil {
		return err
	}
	var anchor uint64
	var anchorHash string
	reopened := 0
	for _, p := range finals {
		ok, err := t.canonical(ctx, p.Block, p.BlockHash)
		if err != nil {
			return err
		}
		if ok {
			if p.Block >= anchor {
				anchor, anchorHash = p.Block, p.BlockHash.Hex()
			}
			continue
		}
		if err := t.lease.Unfinal(ctx, p, fmt.Sprintf("block %d was reorganised away", p.Block)); err != nil {
			return err
		}
		reopened++
		t.log.Error("a reorg deeper than payouts.confirmations took a final payment; its bytes go out again",
			"payment", p.ID, "login", p.Login, "block", p.Block, "tx", p.Hash)
	}
	if anchorHash == "" {
		err = t.lease.Note(ctx, "anchorBlock", "", "anchorHash", "")
	} else {
		err = t.lease.Note(ctx, "anchorBlock", anchor, "anchorHash", anchorHash)
	}
	if err != nil {
		return err
	}
	return halt(HaltReorg, "the chain was reorganised below block %d; %d payments are open again, sessions go on when the chain has settled", t.meta.AnchorBlock, reopened)
}

// reopen takes up a payment again whose nonce the chain does not show as used
// any more, however deep it was. The journal still has bytes that were buried.
// One that was credited back cannot be taken up, and one that was paid by hand at
// another nonce does not need its own; they are returned.
func (t *turn) reopen(ctx context.Context, id string) (done *storage.Payment, err error) {
	ps, err := t.ledger.Payments(ctx, id)
	if err != nil {
		return nil, err
	}
	p := ps[0]
	switch p.State {
	case storage.Void:
		return p, nil
	case storage.Final:
	default:
		return nil, nil
	}
	if i := slices.IndexFunc(p.Attempts, func(a storage.Attempt) bool { return a.Hash == p.Hash }); i >= 0 && p.Attempts[i].Elsewhere() {
		tx, err := t.chain.TransactionByHash(ctx, p.Hash)
		switch {
		case errors.Is(err, rpc.ErrNotFound): // gone with its block
		case err != nil:
			return nil, fmt.Errorf("look up transaction %s: %w", p.Hash, err)
		case tx.From != p.Account || tx.Nonce != p.Nonce:
			return p, nil
		}
	}
	raws := map[common.Hash][]byte{}
	if err := t.journal.Replay(func(r Record) error {
		switch {
		case r.Payment != nil && r.Payment.ID == id:
			raws[r.Payment.Last().Hash] = r.Payment.Last().Raw
		case r.Attempt != nil && r.Attempt.ID == id:
			raws[r.Attempt.Attempt.Hash] = r.Attempt.Attempt.Raw
		}
		return nil
	}); err != nil {
		return nil, err
	}
	for i, a := range p.Attempts {
		if len(a.Raw) == 0 {
			p.Attempts[i].Raw = raws[a.Hash]
		}
	}
	if err := t.lease.Unfinal(ctx, p, fmt.Sprintf("nonce %d is not used any more", p.Nonce)); err != nil {
		return nil, err
	}
	if err := t.lease.Attempts(ctx, p, len(p.Attempts)); err != nil {
		return nil, err
	}
	t.log.Error("the chain forgot a final payment; its bytes go out again", "payment", p.ID, "login", p.Login, "nonce", p.Nonce, "tx", p.Hash)
	return nil, nil
}

// buryChunk bounds one look at what can be buried.
const buryChunk = 200

func (t *turn) bury(ctx context.Context) error {
	head := t.view.Head.Number
	if head < t.cfg.VoidDepth || t.meta.AnchorBlock == 0 {
		return nil
	}
	old, err := t.ledger.Finals(ctx, 0, head-t.cfg.VoidDepth)
	if err != nil || len(old) == 0 {
		return err
	}
	return t.lease.Bury(ctx, old[:min(len(old), buryChunk)]...)
}
