package payouts

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// stray is a nonce that the chain has consumed, and of which the ledger does not
// know what used it.
type stray struct {
	nonce uint64
	was   string            // what the nonce is bound to
	made  []storage.Attempt // of the payment whose nonce it was, which somebody made by hand
}

// strays finds the nonces that were used by what the ledger does not have there:
// bound to nothing, to nothing alive, to a payment that was made with another
// nonce, or to a transaction that a reorg took away. Payments in flight find out
// themselves who took theirs. Below the ledger's settled nonce, which moves up
// here, nothing can change any more.
func (t *turn) strays(ctx context.Context) ([]stray, error) {
	for _, p := range t.open {
		if p.Last().Elsewhere() {
			delete(t.ours, p.ID)
		} else {
			t.ours[p.ID] = true
		}
	}
	from := min(max(t.meta.SettledNonce, t.meta.FirstNonce), t.view.Nonce)
	bound, err := t.ledger.NoncesFrom(ctx, t.account, from, t.view.Nonce)
	if err != nil {
		return nil, err
	}
	nonces := slices.Sorted(maps.Keys(bound))
	unsettled := map[uint64]bool{}
	byHand, err := t.madeElsewhere(ctx, nonces, bound, unsettled)
	if err != nil {
		return nil, err
	}
	gone, err := t.gone(ctx, nonces, bound, unsettled)
	if err != nil {
		return nil, err
	}
	var strays []stray
	settled := t.view.Nonce
	for n := from; n < t.view.Nonce; n++ {
		b := bound[n]
		switch p := byHand[n]; {
		case p != nil:
			strays = append(strays, stray{n, b, p.Attempts})
		case b == "" || strings.HasPrefix(b, "dead:") || gone[n]:
			strays = append(strays, stray{nonce: n, was: b})
		case !unsettled[n]:
			continue
		}
		settled = min(settled, n)
	}
	for n := from; n < settled; n++ {
		delete(t.ours, bound[n])
		delete(t.located, n)
	}
	t.meta.SettledNonce = settled
	return strays, nil
}

// madeElsewhere are, by the nonce that is theirs, payments which somebody made by
// hand with another one.
func (t *turn) madeElsewhere(ctx context.Context, nonces []uint64, bound map[uint64]string, unsettled map[uint64]bool) (map[uint64]*storage.Payment, error) {
	open := map[string]*storage.Payment{}
	for _, p := range t.open {
		open[p.ID] = p
	}
	for _, u := range t.unread {
		unsettled[u.Nonce] = true
	}
	elsewhere := map[uint64]*storage.Payment{}
	for _, n := range nonces {
		b := bound[n]
		p := open[b]
		switch {
		case p != nil:
			unsettled[n] = true
		case b == "" || strings.Contains(b, ":") || t.ours[b] || unsettled[n]:
			continue
		default:
			ps, err := t.ledger.Payments(ctx, b)
			if errors.Is(err, storage.ErrMalformed) {
				continue // the audit names it
			}
			if err != nil {
				return nil, err
			}
			p = ps[0]
		}
		if p.State == storage.Void || !p.Last().Elsewhere() {
			t.ours[b] = true
			continue
		}
		tx, err := t.chain.TransactionByHash(ctx, p.Last().Hash)
		switch {
		case errors.Is(err, rpc.ErrNotFound):
			unsettled[p.Nonce] = true
		case err != nil:
			return nil, fmt.Errorf("look up transaction %s: %w", p.Last().Hash, err)
		case tx.From != t.account || tx.Nonce != p.Nonce: // another wallet's nonces are its own
			elsewhere[p.Nonce] = p
		}
	}
	return elsewhere, nil
}

// gone are the nonces at which the chain does not show the foreign transaction
// that the ledger has there. Those that it shows are not settled while a reorg may
// still take them away.
func (t *turn) gone(ctx context.Context, nonces []uint64, bound map[uint64]string, unsettled map[uint64]bool) (map[uint64]bool, error) {
	var at []uint64
	var hashes []common.Hash
	for _, n := range nonces {
		if hash, is := strings.CutPrefix(bound[n], "foreign:"); is {
			at, hashes = append(at, n), append(hashes, common.HexToHash(hash))
		}
	}
	receipts, errs := t.chain.Receipts(ctx, hashes)
	gone := map[uint64]bool{}
	for i, n := range at {
		switch {
		case errors.Is(errs[i], rpc.ErrNotFound):
			gone[n] = true
		case errors.Is(errs[i], rpc.ErrNotYet):
			unsettled[n] = true
		case errs[i] != nil:
			return nil, fmt.Errorf("read the receipt of transaction %s: %w", hashes[i], errs[i])
		default:
			unsettled[n] = !deep(receipts[i].BlockNumber, t.cfg.VoidDepth, t.view.Head.Number)
		}
	}
	return gone, nil
}

// claim finds the transaction that used a nonce, makes sure that it paid nobody
// whom we still owe, and writes it down.
func (t *turn) claim(ctx context.Context, s stray) error {
	tx, b, err := t.locate(ctx, s.nonce, 0)
	if err != nil {
		return err
	}
	if tx == nil {
		return fmt.Errorf("nonce %d of account %s is used, but the node shows no transaction with it: %w", s.nonce, t.account, rpc.ErrUnknown)
	}
	for _, a := range s.made {
		if a.Hash == tx.Hash {
			t.log.Error("a payment that was made by hand was made by its own transaction as well", "payment", s.was, "tx", tx.Hash, "byHand", s.made[len(s.made)-1].Hash)
		}
	}
	if err := t.accountFor(ctx, tx, nil); err != nil {
		return err
	}
	if err := t.keepTyped(ctx, tx); err != nil {
		return err
	}
	was := ""
	if s.made != nil {
		was = s.was
	}
	if err := t.lease.Foreign(ctx, t.account, s.nonce, tx.Hash, was, mover(tx)); err != nil {
		return err
	}
	if s.was != "foreign:"+tx.Hash.Hex() {
		t.log.Warn("a transaction of the account is not ours; it is written down", "nonce", s.nonce, "tx", tx.Hash, "block", b.Number,
			"to", addressOf(tx.To), "valueWei", tx.Value)
	}
	t.meta.NextNonce = max(t.meta.NextNonce, s.nonce+1)
	return nil
}

// mover is to whom a transaction moved something; nil is nobody.
func mover(tx *rpc.Transaction) *common.Address {
	if tx.Value.Sign() == 0 {
		return nil
	}
	return tx.To
}

// remember writes down whom a transaction that took a payment's nonce moved something
// to.
func (t *turn) remember(ctx context.Context, nonce uint64, tx *rpc.Transaction) error {
	if owner, err := t.ledger.PaymentByHash(ctx, tx.Hash); err != nil || owner != "" {
		return err
	}
	return t.lease.Foreign(ctx, t.account, nonce, tx.Hash, "", mover(tx))
}

// mindStrays looks once more at transactions that were nobody's when they were written
// down, now that their recipients are due: a Redis that went back may have forgotten a
// miner together with his payment, and the unlocker credits his reward again.
func (t *turn) mindStrays(ctx context.Context, due []storage.Account) error {
	strays, err := t.ledger.Strays(ctx)
	if err != nil || len(strays) == 0 {
		return err
	}
	suspects := map[common.Address][]common.Hash{}
	for _, hash := range slices.SortedFunc(maps.Keys(strays), common.Hash.Cmp) {
		suspects[strays[hash]] = append(suspects[strays[hash]], hash)
	}
	for _, a := range due {
		if !common.IsHexAddress(a.Login) {
			continue
		}
		hashes := suspects[common.HexToAddress(a.Login)]
		if len(hashes) == 0 {
			continue
		}
		history, err := t.ledger.History(ctx, a.Login, 0)
		if err != nil {
			return err
		}
		for _, hash := range hashes {
			if slices.ContainsFunc(history, func(r storage.Paid) bool { return r.Hash == hash }) {
				continue
			}
			if err := t.mindStray(ctx, a, hash); err != nil {
				return err
			}
		}
	}
	return nil
}

// mindStray halts for one that is in no book. One that the node does not show, or has
// in its pool, may be mined yet, as long as the ledger has it at its nonce.
func (t *turn) mindStray(ctx context.Context, a storage.Account, hash common.Hash) error {
	owner, err := t.ledger.PaymentByHash(ctx, hash)
	if err != nil || owner == storage.Ignored || owner == storage.Recorded {
		return err
	}
	tx, err := t.chain.TransactionByHash(ctx, hash)
	if err == nil && tx.BlockNumber != nil {
		return t.accountFor(ctx, &tx, nil)
	}
	if err != nil && !errors.Is(err, rpc.ErrNotFound) {
		return fmt.Errorf("look up transaction %s: %w", hash, err)
	}
	bound, err := t.ledger.NoncesFrom(ctx, t.account, t.meta.FirstNonce, t.meta.NextNonce)
	if err != nil {
		return err
	}
	for _, b := range bound {
		if b == "foreign:"+hash.Hex() {
			return halt(HaltUnaccounted, "unaccounted transaction %s sent something to miner %s, and is in no book; the node does not show it in a block now; "+
				"if it is gone for good, or was no payout: open-ethereum-pool payouts.json ignore %s", hash, a.Login, hash)
		}
	}
	return nil // another one has its nonce
}

// keepTyped writes a payment that somebody made by hand, and typed into the history
// as the manual says, into the journal: from there it comes back when Redis forgets
// it.
func (t *turn) keepTyped(ctx context.Context, tx *rpc.Transaction) error {
	if tx.To == nil {
		return nil
	}
	logins, err := t.loginsOf(ctx, *tx.To)
	if err != nil {
		return err
	}
	for _, m := range logins {
		rows, err := t.ledger.History(ctx, m.Login, 0)
		if err != nil {
			return err
		}
		i := slices.IndexFunc(rows, func(r storage.Paid) bool { return r.Hash == tx.Hash })
		if i < 0 {
			continue
		}
		owner, err := t.ledger.PaymentByHash(ctx, tx.Hash)
		if err != nil || owner != "" || rows[i].Amount <= 0 { // the journal has it
			return err
		}
		return t.journal.Append(Record{ByHand: &ByHandRecord{Login: m.Login, Amount: rows[i].Amount, Hash: tx.Hash, Time: rows[i].Time, Typed: true}})
	}
	return nil
}
