package payouts

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// view is one look at the chain: everything in it is of the same block.
type view struct {
	Head       rpc.Block
	Nonce      uint64   // the account's next nonce
	BalanceWei *big.Int // the account's balance

	blocks map[uint64]common.Hash // what else was seen of the chain, by number
}

// look reads the account at the node's head.
func (t *turn) look(ctx context.Context) error {
	head, err := t.chain.Head(ctx)
	if err != nil {
		return fmt.Errorf("read the head of the chain: %w", err)
	}
	if head.Hash == t.view.Head.Hash {
		return nil
	}
	nonce, balance, err := t.chain.AccountAt(ctx, t.account, head.Number)
	if err != nil {
		return fmt.Errorf("read account %s at block %d: %w", t.account, head.Number, err)
	}
	t.view = view{Head: head, Nonce: nonce, BalanceWei: balance, blocks: map[uint64]common.Hash{head.Number: head.Hash}}
	return nil
}

// canonical says whether the chain, as this look sees it, has that block.
func (t *turn) canonical(ctx context.Context, number uint64, hash common.Hash) (bool, error) {
	known, ok := t.view.blocks[number]
	if !ok {
		b, err := t.chain.BlockByNumber(ctx, number)
		switch {
		case errors.Is(err, rpc.ErrNotFound): // a shorter chain does not have it
		case err != nil:
			return false, fmt.Errorf("read block %d: %w", number, err)
		}
		known = b.Hash
		t.view.blocks[number] = known
	}
	return known == hash, nil
}

// still is canonical, asked only once the block is deep enough to act on, or
// now. Before that nothing rests on it, and asking would cost a call a block.
func (t *turn) still(ctx context.Context, number uint64, hash common.Hash, now bool) (bool, error) {
	if !now && !deep(number, t.depths().Confirmations, t.view.Head.Number) {
		return true, nil
	}
	return t.canonical(ctx, number, hash)
}

// findMined asks for the receipts of every open payment whose nonce the chain
// has consumed. What was found is remembered until its block is gone; where it
// was read from is checked again before anything is booked on it.
func (t *turn) findMined(ctx context.Context) error {
	var hashes []common.Hash
	var owners []*storage.Payment
	for _, p := range t.open {
		if p.Nonce >= t.view.Nonce && !p.Last().Elsewhere() {
			delete(t.seen, p.ID)
			delete(t.strangers, p.ID)
			continue
		}
		if t.seen[p.ID] != nil {
			continue
		}
		for _, a := range p.Attempts {
			if a.Hash != (common.Hash{}) {
				hashes, owners = append(hashes, a.Hash), append(owners, p)
			}
		}
	}
	receipts, errs := t.chain.Receipts(ctx, hashes)
	unsure := map[string]bool{}
	for i, p := range owners {
		switch {
		case errs[i] == nil:
			r := receipts[i]
			t.seen[p.ID] = &mined{Hash: r.TxHash, Block: r.BlockNumber, BlockHash: r.BlockHash, Success: r.Status == 1, FeeWei: feeOf(r, p)}
		case errors.Is(errs[i], rpc.ErrNotFound):
		case errors.Is(errs[i], rpc.ErrNotYet):
			unsure[p.ID] = true
		default:
			return fmt.Errorf("read the receipts of payment %s: %w", p.ID, errs[i])
		}
	}
	for _, p := range t.open {
		if p.Nonce < t.view.Nonce && t.seen[p.ID] == nil && !unsure[p.ID] && !p.Last().Elsewhere() {
			if err := t.findStranger(ctx, p); err != nil {
				return err
			}
		}
	}
	return nil
}

// feeOf is what a mined transaction cost. Nodes older than London do not say
// the price; then it is the attempt's own.
func feeOf(r *rpc.Receipt, p *storage.Payment) *big.Int {
	price := r.EffectiveGasPrice
	if price == nil {
		price = new(big.Int)
		for _, a := range p.Attempts {
			if a.Hash == r.TxHash {
				price = a.PriceWei()
			}
		}
	}
	return new(big.Int).Mul(price, new(big.Int).SetUint64(r.GasUsed))
}

// factsOf gathers what decide needs. A block is looked at once more before
// anything is booked on it.
func (t *turn) factsOf(ctx context.Context, p *storage.Payment) (facts, error) {
	f := facts{Consumed: p.Nonce < t.view.Nonce, Head: t.view.Head.Number}
	if m := t.seen[p.ID]; m != nil {
		ok, err := t.still(ctx, m.Block, m.BlockHash, p.State != storage.Sent)
		if err != nil {
			return f, err
		}
		if ok {
			f.Mined = m
		} else {
			delete(t.seen, p.ID)
		}
	}
	if s := t.strangers[p.ID]; s != nil && slices.ContainsFunc(p.Attempts, func(a storage.Attempt) bool { return a.Hash == s.Hash }) {
		delete(t.strangers, p.ID) // it was adopted since
	}
	if s := t.strangers[p.ID]; s != nil && f.Mined == nil {
		ok, err := t.still(ctx, s.Block, s.BlockHash, false)
		if err != nil {
			return f, err
		}
		if ok {
			f.Stranger = s
		} else {
			delete(t.strangers, p.ID)
		}
	}
	if p.Kind == storage.ToMiner {
		_, f.Pending = t.rows[p.PendingRow()]
		if !f.Pending && (p.State == storage.Signed || p.State == storage.Held) {
			h, err := t.paidByHand(ctx, p)
			if err != nil {
				return f, err
			}
			f.ByHand = h
		}
	}
	return f, nil
}

// paidByHand looks in the miner's history for the row that an operator writes
// as the manual says: the same amount, not older than the payment, and of no
// other payment of ours.
func (t *turn) paidByHand(ctx context.Context, p *storage.Payment) (*common.Hash, error) {
	rows, err := t.ledger.History(ctx, p.Login, p.Time)
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if r.Amount != p.Amount {
			continue
		}
		owner, err := t.ledger.PaymentByHash(ctx, r.Hash)
		if err != nil {
			return nil, err
		}
		if owner == "" || owner == p.ID {
			return &r.Hash, nil
		}
	}
	return nil, nil
}
