package payouts

import (
	"context"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
)

// spend adds up what a transaction took since the last audit.
func (c *chainAudit) spend(s *sight) {
	if c.since != nil && s.Nonce < c.since.Nonce {
		return
	}
	if s.receipt == nil {
		c.blindFees++
		return
	}
	price := s.receipt.EffectiveGasPrice
	if price == nil {
		price = s.GasPrice
	}
	c.tookWei.Add(c.tookWei, new(big.Int).Mul(price, new(big.Int).SetUint64(s.receipt.GasUsed)))
	if s.worked() && addressOf(s.To) != c.meta.Account {
		c.tookWei.Add(c.tookWei, s.Value)
	}
}

// wei holds the account's balance against that of the last audit. What came in from
// elsewhere is nobody's mistake; what went out otherwise is.
func (c *chainAudit) wei(ctx context.Context) error {
	switch {
	case c.balance == nil:
		c.Note("the node keeps no state of block %d, so that the account's balance was not looked at", c.deep.Number)
		return nil
	case c.since == nil || c.since.BalanceWei == nil:
		c.Note("the account's balance is looked at from block %d on", c.deep.Number)
		return nil
	case c.blindFees > 0:
		c.Note("the node does not know what became of %d transactions, so that the account's balance was not looked at", c.blindFees)
		return nil
	}
	rewards, blocks, err := c.rewards(ctx)
	if err != nil {
		return err
	}
	want := new(big.Int).Add(c.since.BalanceWei, rewards)
	want.Sub(want, c.tookWei)
	switch diff := new(big.Int).Sub(c.balance, want); diff.Sign() {
	case -1:
		c.Wrong("account "+c.meta.Account.Hex(), equationWei, "did blocks bring less than the unlocker believes, or did money leave it otherwise than by its transactions? When you know: "+program+"audit --full",
			"%s Wei are missing: after block %d it had %s, %d blocks brought %s, its transactions took %s, and after block %d it has %s",
			new(big.Int).Neg(diff), c.since.Block, c.since.BalanceWei, blocks, rewards, c.tookWei, c.deep.Number, c.balance)
	case 1:
		c.Note("%s coins came to the account from elsewhere since block %d", coins(diff), c.since.Block)
	}
	return nil
}

// rewards adds up what blocks of the pool brought the account since the last audit, as
// the unlocker has divided it. What uncles brought counts as from elsewhere.
func (c *chainAudit) rewards(ctx context.Context) (sum *big.Int, count int, err error) {
	sum = new(big.Int)
	if c.since.Block >= c.deep.Number {
		return sum, 0, nil
	}
	blocks, err := c.db.BlocksBetween(ctx, c.since.Block+1, c.deep.Number)
	if err != nil {
		return nil, 0, err
	}
	counted := map[string]bool{}
	for _, b := range blocks {
		if b.Orphan || b.UncleHeight != 0 || counted[b.Hash] || b.RewardWei == nil || b.RewardWei.Sign() == 0 {
			continue
		}
		mined, err := c.node.BlockByNumber(ctx, b.Height)
		if err != nil {
			return nil, 0, blind{err}
		}
		if mined.Miner == c.meta.Account && mined.Hash == common.HexToHash(b.Hash) {
			counted[b.Hash] = true
			sum.Add(sum, b.RewardWei)
			count++
		}
	}
	return sum, count, nil
}
