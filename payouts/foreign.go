package payouts

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// scanLimit bounds how many blocks are read at once in search of one transaction
// when the node keeps no old state to narrow it down.
const scanLimit = 5000

// located is where a search ended, so that it need not be made again.
type located struct {
	tx    *rpc.Transaction
	block *rpc.Block
}

// locate finds the transaction of our account with the nonce, which the chain
// has consumed, in the blocks from low on. It returns nil when it is not there,
// and a [Halt] when the search goes on another time.
func (t *turn) locate(ctx context.Context, nonce, low uint64) (*rpc.Transaction, *rpc.Block, error) {
	if l, ok := t.located[nonce]; ok {
		if there, err := t.canonical(ctx, l.block.Number, l.block.Hash); err != nil || there {
			return l.tx, l.block, err
		}
		delete(t.located, nonce)
	}
	low, high, err := bracket(ctx, t.chain, t.account, nonce, low, t.view.Head.Number)
	if err != nil {
		return nil, nil, fmt.Errorf("search the transaction with nonce %d: %w", nonce, err)
	}
	from := high
	if seen, ok := t.scanned[nonce]; ok && low <= seen && seen <= high {
		from = seen
	}
	for n, read := from, 0; n >= low; n, read = n-1, read+1 {
		if read == scanLimit {
			t.scanned[nonce] = n
			return nil, nil, halt(HaltUnaccounted, "nonce %d of account %s was used by a transaction that is in none of blocks %d to %d; "+
				"the node keeps no old state, so that older blocks are read one by one; the search goes on at the next try", nonce, t.account.Hex(), n+1, high)
		}
		b, err := t.chain.BlockWithTransactions(ctx, n)
		if err != nil {
			return nil, nil, fmt.Errorf("search the transaction with nonce %d in block %d: %w", nonce, n, err)
		}
		for i := range b.Transactions {
			if tx := b.Transactions[i]; tx.From == t.account && tx.Nonce == nonce {
				delete(t.scanned, nonce)
				b.Transactions = nil
				t.located[nonce] = located{&tx, &b}
				return &tx, &b, nil
			}
		}
		if n == 0 {
			break
		}
	}
	delete(t.scanned, nonce)
	return nil, nil, nil
}

// bracket narrows down in which blocks a nonce was used, as far as the node keeps
// old state: back from high in steps that double, then by halves.
func bracket(ctx context.Context, chain interface {
	NonceAt(ctx context.Context, account common.Address, block uint64) (uint64, error)
}, account common.Address, nonce, low, high uint64) (lo, hi uint64, err error) {
	lo, hi = low, high
	after := func(block uint64) (used, known bool, err error) {
		n, err := chain.NonceAt(ctx, account, block)
		var noState *rpc.Error
		if errors.As(err, &noState) {
			return false, false, nil
		}
		return n > nonce, err == nil, err
	}
	step := uint64(1)
	for ; hi > low && hi-low >= step; step *= 2 {
		used, known, err := after(hi - step)
		if err != nil || !known {
			return low, hi, err
		}
		if !used {
			lo = hi - step + 1
			break
		}
		hi -= step
	}
	for lo < hi {
		mid := lo + (hi-lo)/2
		used, known, err := after(mid)
		switch {
		case err != nil || !known:
			return lo, hi, err
		case used:
			hi = mid
		default:
			lo = mid + 1
		}
	}
	return lo, hi, nil
}

// findStranger finds out who used a payment's nonce, when none of its recorded
// transactions has a receipt.
func (t *turn) findStranger(ctx context.Context, p *storage.Payment) error {
	if t.strangers[p.ID] != nil {
		return nil
	}
	tx, b, err := t.locate(ctx, p.Nonce, t.searchFrom(p))
	if err != nil || tx == nil {
		return err
	}
	if slices.ContainsFunc(p.Attempts, func(a storage.Attempt) bool { return a.Hash == tx.Hash }) {
		return nil // ours; the node has no receipt of it yet
	}
	owner, err := t.ledger.PaymentByHash(ctx, tx.Hash)
	if err != nil {
		return err
	}
	// Nothing is believed of a ledger that has gone back since it was read.
	if err := t.lease.Verify(ctx); err != nil {
		return err
	}
	last := p.Last()
	switch {
	case owner != "" && owner != p.ID: // an operator has said what it is
	case last.Hash == (common.Hash{}) && matches(p, tx):
		// The node signed and sent it, and its reply was lost.
		last.Hash = tx.Hash
		return t.lease.Attempts(ctx, p, len(p.Attempts))
	case p.Kind == storage.ToMiner && addressOf(tx.To) == p.To && tx.Value.Cmp(p.Value) == 0 && len(tx.Input) == 0:
		// The operator repeated our payment by hand with our nonce.
		t.log.Warn("a payment was repeated by hand with its own nonce; taking it for ours", "payment", p.ID, "login", p.Login, "tx", tx.Hash)
		p.Attempts = append(p.Attempts, storage.Attempt{Hash: tx.Hash, ByHand: true, OwnNonce: true, AtBlock: b.Number})
		if err := t.journal.Append(Record{Attempt: &AttemptRecord{ID: p.ID, Count: len(p.Attempts), Attempt: *p.Last()}}); err != nil {
			return err
		}
		return t.lease.Attempts(ctx, p, len(p.Attempts)-1)
	}
	t.strangers[p.ID] = &stranger{Transaction: *tx, Block: b.Number, BlockHash: b.Hash}
	t.log.Warn("a transaction that is not ours used a payment's nonce; the payment is made anew when that is deep enough to be sure",
		"payment", p.ID, "login", p.Login, "nonce", p.Nonce, "tx", tx.Hash, "block", b.Number, "voidDepth", t.cfg.VoidDepth)
	return nil
}

// matches says whether a transaction moves what the payment does, at whatever price.
func matches(p *storage.Payment, tx *rpc.Transaction) bool {
	return addressOf(tx.To) == p.To && tx.Value.Cmp(p.Value) == 0 && tx.Gas == p.Gas && len(tx.Input) == 0
}

// searchFrom is a block before which the payment's nonce cannot have been used.
func (t *turn) searchFrom(p *storage.Payment) uint64 {
	at, margin := p.Attempts[0].AtBlock, t.cfg.VoidDepth
	return at - min(at, margin)
}

// findForeign writes down transactions of the account that the ledger does not
// know. One that paid a miner whom we owe stops the session, because paying
// him again would be paying twice.
func (t *turn) findForeign(ctx context.Context) error {
	for _, p := range t.open {
		if s := t.strangers[p.ID]; s != nil {
			if err := t.accountFor(ctx, &s.Transaction, p); err != nil {
				return err
			}
		}
	}
	if t.view.Nonce < t.meta.FirstNonce {
		return halt(HaltReorg, "the chain was reorganised below the first nonce of this ledger: account %s has used %d nonces, the ledger begins at %d; "+
			"send the transactions again that are gone, from nonce %d on", t.account.Hex(), t.view.Nonce, t.meta.FirstNonce, t.view.Nonce)
	}
	strays, err := t.strays(ctx)
	if err != nil {
		return err
	}
	for _, s := range strays {
		if err := t.claim(ctx, s); err != nil {
			return err
		}
	}
	return nil
}

// accountFor makes sure that a transaction which is not ours paid nobody whom
// we still owe. What instead, if any, is credited back with because of it, is owed.
func (t *turn) accountFor(ctx context.Context, tx *rpc.Transaction, instead *storage.Payment) error {
	if tx.To == nil || tx.Value.Sign() == 0 {
		return nil
	}
	logins, err := t.loginsOf(ctx, *tx.To)
	if err != nil || len(logins) == 0 {
		return err
	}
	owner, err := t.ledger.PaymentByHash(ctx, tx.Hash)
	if err != nil || owner == storage.Ignored || owner == storage.Recorded {
		return err
	}
	if owner != "" {
		ps, err := t.ledger.Payments(ctx, owner)
		if err != nil || !ps[0].NotBy(tx.Hash) {
			return err // it is booked as what it is
		}
	}
	var owed util.Shannon
	if instead != nil && instead.State == storage.Sent && instead.To == *tx.To {
		owed = instead.Amount // which is in paid now
	}
	for _, m := range logins {
		if booked, err := t.booked(ctx, m.Login, tx.Hash); err != nil || booked {
			return err
		}
		owed += max(0, m.Balance+m.Pending)
	}
	if owed <= 0 {
		return nil
	}
	if failed, err := t.failed(ctx, tx.Hash); err != nil || failed {
		return err // it moved nothing
	}
	login := logins[0].Login
	amount, dust, err := util.ShannonFromWei(tx.Value)
	if err != nil {
		return err
	}
	if dust.Sign() > 0 {
		amount++ // never book less than was paid
	}
	adopt := ""
	for _, p := range t.open {
		if p.Kind == storage.ToMiner && (p.State == storage.Held || p.State == storage.Signed) && p.To == *tx.To && (p.Amount == amount || p.Value.Cmp(tx.Value) == 0) {
			adopt = fmt.Sprintf("if it was payment %s made by hand: open-ethereum-pool payouts.json adopt %s %s; ", p.ID, p.ID, tx.Hash)
		}
	}
	return halt(HaltUnaccounted, "unaccounted transaction %s at nonce %d sent %s to miner %s (%d Shannon); %s"+
		"if it was a payout: open-ethereum-pool payouts.json record %s; if it was not: open-ethereum-pool payouts.json ignore %s",
		tx.Hash, tx.Nonce, amount.Coins(), login, amount, adopt, tx.Hash, tx.Hash)
}

// minerRow is a miner under one spelling of his login.
type minerRow struct {
	Login string
	storage.Miner
}

// loginsOf finds the rows of an address, one for each letter case that it is
// stored in, the one with the highest balance first.
func (t *turn) loginsOf(ctx context.Context, a common.Address) ([]minerRow, error) {
	logins, _, err := t.ledger.Logins(ctx)
	if err != nil {
		return nil, err
	}
	var rows []minerRow
	for _, login := range logins {
		if !util.SameLogin(login, a.Hex()) {
			continue
		}
		m, err := t.ledger.Miner(ctx, login)
		if err != nil {
			return nil, err
		}
		rows = append(rows, minerRow{login, m})
	}
	slices.SortStableFunc(rows, func(a, b minerRow) int { return cmp.Compare(b.Balance+b.Pending, a.Balance+a.Pending) })
	return rows, nil
}

// failed says whether a transaction is in a block and did nothing.
func (t *turn) failed(ctx context.Context, tx common.Hash) (bool, error) {
	receipts, errs := t.chain.Receipts(ctx, []common.Hash{tx})
	if errs[0] != nil {
		return false, fmt.Errorf("read the receipt of transaction %s: %w", tx, errs[0])
	}
	return receipts[0].Status != 1, nil
}

// fillDeadNonces opens a transaction that moves nothing at every nonce that
// nothing of ours will ever use, so that what is behind it is not stuck. A
// foreign transaction that a reorg took away mostly comes back by itself, so it
// is given time first.
func (t *turn) fillDeadNonces(ctx context.Context) error {
	from, next := max(t.view.Nonce, t.meta.FirstNonce), t.meta.NextNonce
	live := map[uint64]bool{}
	at := map[uint64]*storage.Payment{}
	for _, p := range t.open {
		at[p.Nonce] = p
		_, givenUp := t.givenUp[p.ID]
		if p.State != storage.Held && !p.Last().ByHand && !givenUp {
			live[p.Nonce] = true
		}
	}
	for _, u := range t.unread {
		live[u.Nonce] = true // as far as anybody knows
	}
	var dead []uint64
	for n := from; n < next; n++ {
		if !live[n] {
			dead = append(dead, n)
		} else {
			delete(t.deadSince, n)
		}
	}
	if len(dead) == 0 {
		return nil
	}
	bound, err := t.ledger.NoncesFrom(ctx, t.account, from, next)
	if err != nil {
		return err
	}
	for _, n := range dead {
		if t.deadSince[n] == 0 {
			t.deadSince[n] = t.view.Head.Number
		}
		if waiting, err := t.waitsAt(ctx, n, at[n]); err != nil || waiting {
			if err != nil {
				return err
			}
			continue
		}
		if strings.HasPrefix(bound[n], "foreign:") && !deep(t.deadSince[n], t.cfg.Confirmations, t.view.Head.Number) {
			continue
		}
		if id := bound[n]; at[n] == nil && id != "" && !strings.Contains(id, ":") {
			// A payment that was final is not in flight; its own bytes go out again.
			done, err := t.reopen(ctx, id)
			if err != nil {
				return err
			}
			if done != nil {
				// It was given up because it failed in a block that is gone now, or
				// paid by hand.
				err = t.fill(ctx, n, id, done)
			}
			if err != nil {
				return err
			}
			continue
		}
		if err := t.fill(ctx, n, bound[n], at[n]); err != nil {
			return err
		}
	}
	return nil
}

// waitsAt says whether the transaction by which somebody made a payment by hand has
// the payment's own nonce, and waits in the node's pool.
func (t *turn) waitsAt(ctx context.Context, nonce uint64, p *storage.Payment) (bool, error) {
	if p == nil || !p.Last().ByHand {
		return false, nil
	}
	tx, err := t.chain.TransactionByHash(ctx, p.Last().Hash)
	if errors.Is(err, rpc.ErrNotFound) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look up transaction %s: %w", p.Last().Hash, err)
	}
	return tx.From == t.account && tx.Nonce == nonce, nil
}

func (t *turn) fill(ctx context.Context, nonce uint64, bound string, replaces *storage.Payment) error {
	price, err := t.price(ctx)
	var tooHigh *Halt
	if errors.As(err, &tooHigh) {
		t.sayDear(fmt.Sprint("nonce ", nonce), "a dead nonce waits for a lower gas price", "nonce", nonce, "err", err)
		return nil
	}
	if err != nil {
		return err
	}
	f := &storage.Payment{ID: newID(nonce), Kind: storage.Filler, Time: t.clock.Now().Unix(), State: storage.Signed,
		Account: t.account, Nonce: nonce, To: t.account, Value: new(big.Int), Gas: gasTransfer}
	if bound != "" && !strings.Contains(bound, ":") {
		f.Replaces = bound
	}
	if replaces != nil {
		price = price.above(replaces)
		if price.max().Cmp(t.cfg.MaxGasPrice.Big()) > 0 {
			t.sayDear(replaces.ID, "a dead nonce stays, for its filler would have to offer more than payouts.maxGasPrice", "nonce", nonce, "was", replaces.ID)
			return nil
		}
	}
	if err := t.sign(ctx, f, price); err != nil {
		return err
	}
	if err := t.lease.Open(ctx, bound, f)[0]; err != nil {
		return err
	}
	t.log.Warn("using up a nonce with a transaction that moves nothing", "nonce", nonce, "was", bound, "tx", f.Last().Hash)
	return t.commit(ctx, f)
}
