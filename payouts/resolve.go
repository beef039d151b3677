package payouts

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// rowTime is how the manual prints the time of a pending row, in local time.
const rowTime = "2006-01-02 15:04:05"

// Resolve is the maintenance run of RESOLVE_PAYOUT=1: the same advance as
// always, with an operator's authority to take the lock and to credit back what
// provably never left. It prints the manual's lines.
func (p *Payer) Resolve(ctx context.Context) error {
	if err := p.takeLock(ctx); err != nil {
		return err
	}
	p.resolving = true
	defer func() { p.resolving = false }()
	return p.hold(ctx, func(t *turn) error {
		if err := t.resolve(ctx); err != nil {
			return err
		}
		if err := t.lease.Note(ctx, "halt", ""); err != nil {
			return err
		}
		t.halted = false
		t.log.Info("Payouts unlocked")
		t.log.Info("Now you have to restart payouts module with RESOLVE_PAYOUT=0 for normal run")
		return nil
	})
}

// takeLock takes the lock from whoever holds it, by the operator's word.
func (p *Payer) takeLock(ctx context.Context) error {
	holder, err := p.ledger.LockValue(ctx)
	if err != nil || holder == "" {
		return err
	}
	lease, err := p.ledger.Acquire(ctx, p.owner.String(), holder, 0)
	if err != nil {
		return err
	}
	p.log.Warn("the payments lock was taken from its holder", "holder", holder)
	p.known = lease.Step()
	return nil
}

func (t *turn) resolve(ctx context.Context) error {
	// What a node that is cut off does not show proves nothing.
	if err := t.checkNode(ctx); err != nil {
		return err
	}
	if err := t.read(ctx); err != nil {
		return err
	}
	if len(t.rows) == 0 {
		t.log.Info("No pending payments to resolve")
	}
	for _, err := range t.bad {
		t.log.Error("a row is set aside", "err", err)
	}
	t.put = &putOff{}
	begun := t.meta.ChainID != 0
	if begun {
		if err := t.advance(ctx); err != nil {
			return err
		}
	} else if err := t.look(ctx); err != nil {
		return err
	}
	old, err := t.searchOldRows(ctx)
	if err != nil {
		return err
	}
	credit := t.put.voids
	t.put = nil
	for _, r := range old {
		if r.found == nil && !r.inPool {
			credit = append(credit, voiding{row: r.PendingRow})
		}
	}
	if len(credit) > 0 {
		t.log.Info("Will credit back following balances:")
		for _, c := range credit {
			t.log.Info(fmt.Sprintf("Address: %s, Amount: %d Shannon, %s", c.row.Login, int64(c.row.Amount), time.Unix(c.row.Time, 0).Format(rowTime)))
		}
	}
	for _, c := range credit {
		if c.payment != nil {
			err = t.void(ctx, c.payment, c.fate, c.why, c.reject)
		} else {
			err = t.lease.CreditBackOld(ctx, c.row)
		}
		if err != nil {
			return err
		}
		t.log.Info(fmt.Sprintf("Credited %d Shannon back to %s", int64(c.row.Amount), c.row.Login))
	}
	if err := t.bookOldRows(ctx, old); err != nil {
		return err
	}
	if err := t.read(ctx); err != nil {
		return err
	}
	for _, p := range t.open {
		if p.Kind == storage.ToMiner && p.State == storage.Signed {
			t.log.Info(fmt.Sprintf("Payment to %s (nonce %d, tx %s) is already broadcast; completing it, not crediting back", p.Login, p.Nonce, p.Last().Hash))
		}
	}
	if !begun {
		return nil
	}
	// Giving a payment up may have left a nonce that others wait behind.
	return t.fillDeadNonces(ctx)
}

// putOff collects what advance would give up, so that it is announced first.
type putOff struct{ voids []voiding }

// voiding is one credit back: of a payment of ours, or of an old row alone.
type voiding struct {
	row         storage.PendingRow
	payment     *storage.Payment
	fate        storage.NonceFate
	why, reject string
}

// RecordByHand books a transaction that the operator made to a miner by hand
// and that the books do not know, after a look at the chain.
func (p *Payer) RecordByHand(ctx context.Context, tx common.Hash) error {
	return p.hold(ctx, func(t *turn) error {
		found, err := t.ownTransaction(ctx, tx)
		if err != nil {
			return err
		}
		logins, err := t.loginsOf(ctx, addressOf(found.To))
		if err != nil {
			return err
		}
		if len(logins) == 0 {
			return fmt.Errorf("transaction %s pays %s, which is no miner of this pool", tx, addressOf(found.To))
		}
		amount, dust, err := util.ShannonFromWei(found.Value)
		if err != nil {
			return err
		}
		if dust.Sign() > 0 {
			amount++ // never book less than was paid
		}
		if amount == 0 {
			return fmt.Errorf("transaction %s moved nothing", tx)
		}
		switch owner, err := t.ledger.PaymentByHash(ctx, tx); {
		case err != nil:
			return err
		case owner == storage.Ignored:
			return fmt.Errorf("transaction %s was said to be no payout before", tx)
		case owner != "" && owner != storage.Recorded:
			ps, err := t.ledger.Payments(ctx, owner)
			if err != nil {
				return err
			}
			if !ps[0].NotBy(tx) {
				return fmt.Errorf("transaction %s is payment %s of the pool, which is booked already", tx, owner)
			}
		}
		if err := t.deepAndGood(ctx, found); err != nil {
			return err
		}
		login := logins[0].Login
		r := ByHandRecord{Login: login, Amount: amount, Hash: tx, Time: t.clock.Now().Unix()}
		// What the journal knows is put back for ever, so it learns of nothing
		// that the ledger refuses.
		if err := t.lease.Recordable(ctx, r.Login, r.Amount, r.Hash, r.Time); err != nil {
			return err
		}
		if err := t.journal.Append(Record{ByHand: &r}); err != nil {
			return err
		}
		if err := t.lease.Record(ctx, r.Login, r.Amount, r.Hash, r.Time); err != nil {
			return err
		}
		t.log.Info("recorded a payment made by hand", "login", login, "amountShannon", int64(amount), "tx", tx)
		return nil
	})
}

// deepAndGood says why a mined transaction cannot be booked yet, or ever, or nil.
func (t *turn) deepAndGood(ctx context.Context, tx rpc.Transaction) error {
	block := *tx.BlockNumber
	if !deep(block, t.cfg.Confirmations, t.view.Head.Number) {
		return fmt.Errorf("transaction %s is in block %d, which is %d blocks deep; %d are wanted, lest a reorganisation undo it; try again then",
			tx.Hash, block, t.view.Head.Number+1-block, t.cfg.Confirmations)
	}
	failed, err := t.failed(ctx, tx.Hash)
	if err == nil && failed {
		err = fmt.Errorf("transaction %s failed in block %d; it moved nothing", tx.Hash, block)
	}
	return err
}

// Ignore writes down that a transaction of the account was no payout.
func (p *Payer) Ignore(ctx context.Context, tx common.Hash) error {
	return p.hold(ctx, func(t *turn) error {
		strays, err := t.ledger.Strays(ctx)
		if err != nil {
			return err
		}
		if _, is := strays[tx]; is { // whoever made it, and whether the node shows it or not
			if err := t.lease.Ignore(ctx, tx); err != nil {
				return err
			}
			t.log.Info("the transaction is no payout", "tx", tx)
			return nil
		}
		found, err := t.ownTransaction(ctx, tx)
		if err != nil {
			return err
		}
		bound, err := t.ledger.NoncesFrom(ctx, t.account, found.Nonce, found.Nonce+1)
		if err != nil {
			return err
		}
		if b := bound[found.Nonce]; b == "" || strings.Contains(b, ":") {
			if err := t.lease.Foreign(ctx, t.account, found.Nonce, tx, "", nil); err != nil {
				return err
			}
		}
		if err := t.lease.Ignore(ctx, tx); err != nil {
			return err
		}
		t.log.Info("the transaction is no payout", "nonce", found.Nonce, "tx", tx)
		return nil
	})
}

// ownTransaction reads a transaction that the account made and that is in a
// block.
func (t *turn) ownTransaction(ctx context.Context, tx common.Hash) (rpc.Transaction, error) {
	found, err := t.chain.TransactionByHash(ctx, tx)
	if err != nil {
		return rpc.Transaction{}, fmt.Errorf("look up transaction %s: %w", tx, err)
	}
	if found.From != t.account {
		strays, err := t.ledger.Strays(ctx)
		if err != nil {
			return rpc.Transaction{}, err
		}
		if _, is := strays[tx]; !is { // else it is of an account that paid before this one
			return rpc.Transaction{}, fmt.Errorf("transaction %s was made by %s, not by %s", tx, found.From, t.account)
		}
	}
	if found.BlockNumber == nil {
		return rpc.Transaction{}, fmt.Errorf("transaction %s is not in a block yet", tx)
	}
	if err := t.look(ctx); err != nil {
		return rpc.Transaction{}, err
	}
	open, _, err := t.ledger.Inflight(ctx)
	if err != nil {
		return rpc.Transaction{}, err
	}
	for _, p := range open {
		if p.Kind == storage.ToMiner && p.Account == found.From && p.Nonce == found.Nonce && p.To == addressOf(found.To) && p.Value.Cmp(found.Value) == 0 {
			return rpc.Transaction{}, fmt.Errorf("transaction %s makes payment %s, at its own nonce: start payouts, which take it for theirs", tx, p.ID)
		}
	}
	return found, nil
}
