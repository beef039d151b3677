package payouts

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// sayLost says once that a transaction which somebody made by hand is in no block
// after all that time. Whether it still can be, only he can know: the books have
// its name, not its nonce.
func (t *turn) sayLost(p *storage.Payment) {
	a := p.Last()
	if p.State == storage.Held || !a.Elsewhere() || t.lostSaid[p.ID] || !deep(a.AtBlock, t.cfg.VoidDepth, t.view.Head.Number) {
		return
	}
	t.lostSaid[p.ID] = true
	t.log.Error("a transaction made by hand is in no block; send it again, or, if that can never be: open-ethereum-pool payouts.json forget "+p.ID,
		"payment", p.ID, "login", p.Login, "amountShannon", int64(p.Amount), "tx", a.Hash)
}

// Forget credits a payment back that was made by hand with a transaction that was
// never mined, and never can be, as the operator knows. Nothing is given up that
// the chain or the node still know, or while the payment's own transaction could
// be mined.
func (p *Payer) Forget(ctx context.Context, id string) error {
	return p.about(ctx, id, func(t *turn, lost *storage.Payment) error {
		instead, err := t.neverMined(ctx, lost)
		if err != nil {
			return err
		}
		if err := t.accountFor(ctx, instead, lost); err != nil {
			return err
		}
		return t.void(ctx, lost, storage.NonceForeign(instead.Hash), fmt.Sprintf("transaction %s, which was made by hand, was never mined", lost.Last().Hash), "")
	})
}

// neverMined returns what used the nonce of a payment made by hand, or an error
// that says why the payment may still happen.
func (t *turn) neverMined(ctx context.Context, p *storage.Payment) (*rpc.Transaction, error) {
	if p.State == storage.Held || !p.Last().Elsewhere() {
		return nil, fmt.Errorf("payment %s was not made by hand; payouts look after it themselves", p.ID)
	}
	var hashes []common.Hash
	for _, a := range p.Attempts {
		hashes = append(hashes, a.Hash)
	}
	receipts, errs := t.chain.Receipts(ctx, hashes)
	for i, err := range errs {
		if err == nil {
			return nil, fmt.Errorf("payment %s is made: transaction %s is in block %d", p.ID, hashes[i], receipts[i].BlockNumber)
		}
		if !errors.Is(err, rpc.ErrNotFound) {
			return nil, fmt.Errorf("read the receipt of transaction %s: %w", hashes[i], err)
		}
	}
	switch _, err := t.chain.TransactionByHash(ctx, p.Last().Hash); {
	case err == nil:
		return nil, fmt.Errorf("the node still has transaction %s in its pool; it may be mined", p.Last().Hash)
	case !errors.Is(err, rpc.ErrNotFound):
		return nil, fmt.Errorf("look up transaction %s: %w", p.Last().Hash, err)
	}
	if p.Nonce < t.view.Nonce {
		tx, b, err := t.locate(ctx, p.Nonce, t.searchFrom(p))
		if err != nil {
			return nil, err
		}
		if tx != nil && !slices.Contains(hashes, tx.Hash) && deep(b.Number, t.cfg.VoidDepth, t.view.Head.Number) {
			return tx, nil
		}
	}
	return nil, fmt.Errorf("payment %s has a transaction of its own at nonce %d, which could be mined until another one has used that nonce, payouts.voidDepth = %d blocks deep; try again then",
		p.ID, p.Nonce, t.cfg.VoidDepth)
}
