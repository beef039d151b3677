package payouts

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// oldClock is by how much an older pool's clock may have been ahead of the chain's, in
// seconds.
const oldClock = 24 * 3600

// oldRow is a pending row of an older pool, and what became of its money.
type oldRow struct {
	storage.PendingRow
	found  *common.Hash // the transaction that paid it, in a block
	inPool bool         // it may still be mined
	why    string
}

// settleOldRows books those rows of an older pool that the chain shows as paid.
// The others want an operator, because the older pool may still be running.
func (t *turn) settleOldRows(ctx context.Context) error {
	if err := t.read(ctx); err != nil {
		return err
	}
	if len(t.oldRows()) == 0 {
		return nil
	}
	if err := t.look(ctx); err != nil {
		return err
	}
	old, err := t.searchOldRows(ctx)
	if err != nil {
		return err
	}
	if err := t.bookOldRows(ctx, old); err != nil {
		return err
	}
	left, waiting := 0, ""
	for _, r := range old {
		switch {
		case r.found != nil:
		case r.inPool:
			waiting = r.why
		default:
			left++
			t.log.Error("Previous payout failed, you have to resolve it", "row", r.Row(), "since", time.Unix(r.Time, 0).Format(rowTime))
		}
	}
	if left > 0 {
		return halt(HaltOldRows, "%d pending payments of an older pool are not resolved; stop that pool, then run once with RESOLVE_PAYOUT=1", left)
	}
	if waiting != "" {
		return halt(HaltOldRows, "a payment of an older pool is not settled yet: %s; sessions go on by themselves when it is", waiting)
	}
	return nil
}

func (t *turn) bookOldRows(ctx context.Context, old []oldRow) error {
	for _, r := range old {
		switch {
		case r.found != nil:
			if err := t.lease.PaidOld(ctx, r.PendingRow, *r.found, t.clock.Now().Unix()); err != nil {
				return err
			}
			t.log.Info("a payment of an older pool is on the chain; booked as paid", "login", r.Login, "amountShannon", int64(r.Amount), "tx", *r.found)
		case r.inPool:
			t.log.Warn(fmt.Sprintf("Payment to %s is already broadcast; completing it, not crediting back", r.Login), "why", r.why)
		}
	}
	return nil
}

// searchOldRows looks for the money of every pending row without a record:
// first where open-etc-pool wrote its hash, then on the chain from a day before the
// row's time, then in the node's pool. Whatever else its miner was sent meanwhile is in
// a book, or a person decides.
func (t *turn) searchOldRows(ctx context.Context) ([]oldRow, error) {
	rows := t.oldRows()
	if len(rows) == 0 {
		return nil, nil
	}
	if newest := time.Unix(rows[len(rows)-1].Time, 0); t.view.Head.Time < uint64(newest.Unix()) {
		return nil, halt(HaltBehind, "the node's newest block %d is of %s, a pending row of an older pool is of %s; whether that was paid shows when the node has later blocks",
			t.view.Head.Number, time.Unix(int64(t.view.Head.Time), 0).Format(rowTime), newest.Format(rowTime))
	}
	used := map[common.Hash]bool{}
	// The pool first: what leaves it meanwhile is in a block of the look after it.
	pool, shown, err := t.poolTransactions(ctx)
	if err != nil {
		return nil, err
	}
	if err := t.look(ctx); err != nil {
		return nil, err
	}
	if !shown {
		pending, err := t.chain.PendingNonce(ctx, t.account)
		if err != nil {
			return nil, fmt.Errorf("read the pending nonce: %w", err)
		}
		shown = pending <= t.view.Nonce
	}
	mined, err := t.minedSince(ctx, rows[0].Time-oldClock)
	if err != nil {
		return nil, err
	}
	var out []oldRow
	for _, r := range rows {
		o := oldRow{PendingRow: r}
		hash, written, err := t.ledger.OldHash(ctx, r)
		if err != nil {
			return nil, err
		}
		pays := func(tx rpc.Transaction) bool {
			return !used[tx.Hash] && (written && tx.Hash == hash || pays(tx, r))
		}
		for _, tx := range mined {
			if !pays(tx) {
				continue
			}
			booked, err := t.booked(ctx, r.Login, tx.Hash)
			if err != nil {
				return nil, err
			}
			if booked {
				continue
			}
			settled, err := t.judgeOld(ctx, &o, tx)
			if err != nil {
				return nil, err
			}
			used[tx.Hash] = true
			if settled {
				break
			}
		}
		if o.found == nil && !o.inPool {
			switch i := slices.IndexFunc(pool, pays); {
			case i >= 0:
				o.inPool, o.why, used[pool[i].Hash] = true, "transaction "+pool[i].Hash.Hex()+" waits in the node's pool", true
			case !shown:
				o.inPool, o.why = true, "the node's pool holds transactions of the account and does not show them"
			}
		}
		out = append(out, o)
	}
	if err := t.doubt(ctx, out, slices.Concat(mined, pool), used); err != nil {
		return nil, err
	}
	return out, t.stillThere(ctx, mined)
}

// pays says whether a transaction is what a pool made of a row: the row's amount, or
// what is left of it where the miner paid the fee of the network.
func pays(tx rpc.Transaction, r storage.PendingRow) bool {
	if tx.To == nil || !util.SameLogin(tx.To.Hex(), r.Login) {
		return false
	}
	short := new(big.Int).Sub(r.Amount.Wei(), tx.Value)
	if short.Sign() == 0 || tx.GasPrice == nil {
		return short.Sign() == 0
	}
	for _, gas := range []uint64{tx.Gas, gasTransfer} {
		if fee := new(big.Int).SetUint64(gas); short.Cmp(fee.Mul(fee, tx.GasPrice)) == 0 {
			return true
		}
	}
	return false
}

// doubt keeps rows from being credited back whose miner was sent something else that
// no book has: it may have been this.
func (t *turn) doubt(ctx context.Context, rows []oldRow, txs []rpc.Transaction, used map[common.Hash]bool) error {
	for i := range rows {
		o := &rows[i]
		if o.found != nil || o.inPool {
			continue
		}
		for _, tx := range txs {
			if used[tx.Hash] || tx.To == nil || !util.SameLogin(tx.To.Hex(), o.Login) || tx.Value.Sign() == 0 {
				continue
			}
			if known, err := t.accounted(ctx, o.Login, tx); err != nil {
				return err
			} else if known {
				continue
			}
			o.inPool, o.why = true, fmt.Sprintf("transaction %s sent %s to him, which is another amount and in no book; "+
				"whether it was this payment a person has to say: complete the row, or credit it back, as the manual says, and write the transaction into his history if it paid him", tx.Hash, coins(tx.Value))
			break
		}
	}
	return nil
}

// accounted says whether a transaction to a miner is in a book, or moved nothing.
func (t *turn) accounted(ctx context.Context, login string, tx rpc.Transaction) (bool, error) {
	if booked, err := t.booked(ctx, login, tx.Hash); err != nil || booked {
		return booked, err
	}
	owner, err := t.ledger.PaymentByHash(ctx, tx.Hash)
	if err != nil || owner != "" || tx.BlockNumber == nil {
		return owner != "", err
	}
	return t.failed(ctx, tx.Hash)
}

// stillThere makes sure that a search saw one chain: the blocks that it found
// transactions in, and the head, are still the chain's.
func (t *turn) stillThere(ctx context.Context, txs []rpc.Transaction) error {
	blocks := map[uint64]common.Hash{t.view.Head.Number: t.view.Head.Hash}
	for _, tx := range txs {
		if hash, ok := blocks[*tx.BlockNumber]; ok && hash != *tx.BlockHash {
			return fmt.Errorf("the chain changed at block %d while it was searched: %w", *tx.BlockNumber, rpc.ErrUnknown)
		}
		blocks[*tx.BlockNumber] = *tx.BlockHash
	}
	for _, n := range slices.Sorted(maps.Keys(blocks)) {
		b, err := t.chain.BlockByNumber(ctx, n)
		if err == nil && b.Hash != blocks[n] || errors.Is(err, rpc.ErrNotFound) {
			err = fmt.Errorf("the chain changed while it was searched: %w", rpc.ErrUnknown)
		}
		if err != nil {
			return fmt.Errorf("read block %d: %w", n, err)
		}
	}
	return nil
}

// judgeOld says whether a mined transaction settles an old row: it paid, or what
// it did is not deep enough to be sure. One that failed, deep, settles nothing.
func (t *turn) judgeOld(ctx context.Context, o *oldRow, tx rpc.Transaction) (bool, error) {
	failed, err := t.failed(ctx, tx.Hash)
	if err != nil {
		return false, err
	}
	depth := t.cfg.Confirmations
	if failed {
		depth = t.cfg.VoidDepth
	}
	switch block := *tx.BlockNumber; {
	case !deep(block, depth, t.view.Head.Number):
		o.inPool, o.why = true, fmt.Sprintf("transaction %s is in block %d, which is %d blocks deep; %d are wanted to be sure",
			tx.Hash, block, t.view.Head.Number+1-block, depth)
		return true, nil
	case failed:
		return false, nil
	}
	o.found = &tx.Hash
	return true, nil
}

// booked says whether a transaction is in the miner's history already.
func (t *turn) booked(ctx context.Context, login string, tx common.Hash) (bool, error) {
	rows, err := t.ledger.History(ctx, login, 0)
	if err != nil {
		return false, err
	}
	return slices.ContainsFunc(rows, func(r storage.Paid) bool { return r.Hash == tx }), nil
}

// poolTransactions reads what the node's pool holds of the account; shown is false
// when the node does not show all of it.
func (t *turn) poolTransactions(ctx context.Context) (txs []rpc.Transaction, shown bool, err error) {
	shown, hashes, err := t.chain.PoolHas(ctx, t.account)
	if err != nil {
		return nil, false, fmt.Errorf("read the node's pool: %w", err)
	}
	for _, h := range hashes {
		tx, err := t.chain.TransactionByHash(ctx, h)
		if errors.Is(err, rpc.ErrNotFound) { // dropped just now, here at least
			shown = false
			continue
		}
		if err != nil {
			return nil, false, fmt.Errorf("read transaction %s: %w", h, err)
		}
		txs = append(txs, tx)
	}
	return txs, shown, nil
}

// minedSince reads the account's transactions from the time on. Where the node
// keeps old state, only blocks that hold one of them are read.
func (t *turn) minedSince(ctx context.Context, since int64) ([]rpc.Transaction, error) {
	first, err := t.blockAt(ctx, since)
	if err != nil {
		return nil, err
	}
	start := uint64(0)
	if first > 0 {
		start, err = t.chain.NonceAt(ctx, t.account, first-1)
	}
	if err != nil {
		if errors.Is(err, rpc.ErrUnknown) {
			return nil, fmt.Errorf("read the account's nonce at block %d: %w", first, err)
		}
		return t.scanFrom(ctx, first)
	}
	var txs []rpc.Transaction
	for n := start; n < t.view.Nonce; n++ {
		tx, _, err := t.locate(ctx, n, first)
		if err != nil {
			return nil, err
		}
		if tx == nil {
			return nil, fmt.Errorf("nonce %d of account %s is used, but the node shows no transaction with it: %w", n, t.account, rpc.ErrUnknown)
		}
		txs = append(txs, *tx)
	}
	return txs, nil
}

// scanFrom reads every block, because the node keeps no old state.
func (t *turn) scanFrom(ctx context.Context, first uint64) ([]rpc.Transaction, error) {
	t.log.Warn("the node keeps no old state; reading every block", "from", first, "to", t.view.Head.Number)
	var txs []rpc.Transaction
	var parent common.Hash
	for n := first; n <= t.view.Head.Number; n++ {
		b, err := t.chain.BlockWithTransactions(ctx, n)
		if err != nil {
			return nil, fmt.Errorf("read block %d: %w", n, err)
		}
		if n > first && b.ParentHash != parent || n == t.view.Head.Number && b.Hash != t.view.Head.Hash {
			return nil, fmt.Errorf("the chain changed at block %d while it was read: %w", n, rpc.ErrUnknown)
		}
		parent = b.Hash
		for _, tx := range b.Transactions {
			if tx.From == t.account {
				txs = append(txs, tx)
			}
		}
		if (n-first)%5000 == 4999 {
			t.log.Info("reading blocks", "block", n, "to", t.view.Head.Number)
		}
	}
	return txs, nil
}

// blockAt is the first block not older than the time.
func (t *turn) blockAt(ctx context.Context, since int64) (uint64, error) {
	lo, hi := uint64(0), t.view.Head.Number
	for lo < hi {
		mid := lo + (hi-lo)/2
		b, err := t.chain.BlockByNumber(ctx, mid)
		if err != nil {
			return 0, fmt.Errorf("read block %d: %w", mid, err)
		}
		if int64(b.Time) >= since {
			hi = mid
		} else {
			lo = mid + 1
		}
	}
	return lo, nil
}
