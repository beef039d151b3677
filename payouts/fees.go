package payouts

import (
	"context"
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// gasTransfer is the gas of a plain transfer to an account without code
// (yellow paper, G_transaction).
const gasTransfer = 21000

// price is what a transaction offers per gas, in Wei: one price, or EIP-1559's
// cap and tip.
type price struct{ GasPrice, FeeCap, TipCap *big.Int }

// max is the most that is paid per gas.
func (p price) max() *big.Int {
	if p.FeeCap != nil {
		return p.FeeCap
	}
	return p.GasPrice
}

// price chooses what to offer now: the configured price, or the node's advice.
// It is dynamic only where the head block has a base fee.
func (t *turn) price(ctx context.Context) (price, error) {
	base := t.view.Head.BaseFee
	dynamic := base != nil && t.cfg.TxType != "legacy"
	if !t.cfg.AutoGas && !dynamic {
		return price{GasPrice: t.cfg.GasPrice.Big()}, nil
	}
	if !dynamic {
		wei, err := t.chain.GasPrice(ctx)
		if err != nil {
			return price{}, fmt.Errorf("ask the node for a gas price: %w", err)
		}
		return t.capped(price{GasPrice: wei})
	}
	if !t.cfg.AutoGas {
		return price{FeeCap: t.cfg.GasPrice.Big(), TipCap: t.cfg.GasPrice.Big()}, nil
	}
	tip, err := t.chain.MaxPriorityFee(ctx)
	if err != nil {
		return price{}, fmt.Errorf("ask the node for a priority fee: %w", err)
	}
	// Twice the base fee outlasts six full blocks (EIP-1559: +1/8 a block).
	feeCap := new(big.Int).Add(new(big.Int).Lsh(base, 1), tip)
	if limit := t.cfg.MaxGasPrice.Big(); feeCap.Cmp(limit) > 0 && new(big.Int).Add(base, tip).Cmp(limit) <= 0 {
		feeCap = limit
	}
	return t.capped(price{FeeCap: feeCap, TipCap: tip})
}

func (t *turn) capped(p price) (price, error) {
	if limit := t.cfg.MaxGasPrice.Big(); p.max().Cmp(limit) > 0 {
		return price{}, halt(HaltGasPrice, "gas costs %s Wei, payouts.maxGasPrice is %s Wei; waiting for it to fall", p.max(), limit)
	}
	return p, nil
}

// raised is an eighth and one Wei above the attempt: more than the tenth that
// nodes ask for a replacement.
func raised(wei *big.Int) *big.Int {
	up := new(big.Int).Add(wei, new(big.Int).Rsh(wei, 3))
	return up.Add(up, common.Big1)
}

func atLeast(wei, floor *big.Int) *big.Int {
	if wei == nil || wei.Cmp(floor) < 0 {
		return floor
	}
	return wei
}

// above lifts the price over every attempt of the payment it is to replace.
func (p price) above(replaced *storage.Payment) price {
	for _, a := range replaced.Attempts {
		if p.FeeCap == nil {
			p.GasPrice = atLeast(p.GasPrice, raised(a.PriceWei()))
			continue
		}
		tip := a.TipCap
		if tip == nil {
			tip = a.PriceWei()
		}
		p.FeeCap = atLeast(p.FeeCap, raised(a.PriceWei()))
		p.TipCap = atLeast(p.TipCap, raised(tip))
	}
	return p
}

// bump offers more for the lowest nonce when it has waited too long: what is
// behind it cannot be mined before it.
func (t *turn) bump(ctx context.Context) error {
	if t.cfg.BumpAfter == 0 {
		return nil
	}
	for _, p := range t.open {
		if p.Nonce != t.view.Nonce || p.State == storage.Held || p.Last().ByHand || p.AllRefused() || p.Last().AtBlock+t.cfg.BumpAfter > t.view.Head.Number {
			continue
		}
		now, err := t.price(ctx)
		var tooHigh *Halt
		if errors.As(err, &tooHigh) {
			return nil
		}
		if err != nil {
			return err
		}
		now = now.above(p)
		if now.max().Cmp(t.cfg.MaxGasPrice.Big()) > 0 {
			t.sayDear(p.ID, "a payment waits long, but its fee is at payouts.maxGasPrice", "payment", p.ID, "nonce", p.Nonce)
			return nil
		}
		return t.raise(ctx, p, now)
	}
	return nil
}

// sayDear warns of a fee that payouts.maxGasPrice forbids, once for each matter.
func (t *turn) sayDear(matter, text string, args ...any) {
	if t.saidDear != matter {
		t.saidDear = matter
		t.log.Warn(text, append(args, "maxGasPriceWei", t.cfg.MaxGasPrice.Big())...)
	}
}

// raise makes one more attempt at a payment: recorded, journalled, verified,
// then sent.
func (t *turn) raise(ctx context.Context, p *storage.Payment, now price) error {
	before := len(p.Attempts)
	if err := t.sign(ctx, p, now); err != nil {
		return err
	}
	if err := t.lease.Attempts(ctx, p, before); err != nil {
		return err
	}
	if err := t.journal.Append(Record{Attempt: &AttemptRecord{ID: p.ID, Count: len(p.Attempts), Attempt: *p.Last()}}); err != nil {
		return err
	}
	if err := t.lease.Verify(ctx, p); err != nil {
		return err
	}
	t.log.Info("offering a higher fee", "payment", p.ID, "nonce", p.Nonce, "gasPriceWei", now.max(), "tx", p.Last().Hash)
	return t.deliver(ctx, p)
}

// codeProbe is EVM code that returns one byte for each 20-byte address behind
// it: 1 when the address has code. It is run by eth_call without a recipient,
// so that one call asks about all recipients of a batch, on any node.
//
//	for (i = codeProbeSize, o = 0; i < codesize; i += 20, o++)
//	    codecopy(0x0c, i, 20)  → the address in the low bytes of word 0
//	    mstore8(0x20 + o, extcodesize(mload(0)) != 0)
//	return(0x20, o)
var codeProbe = common.FromHex("" +
	"6000" + // PUSH1 0           o
	"602c" + // PUSH1 size        i o
	"5b" + //   JUMPDEST (4)
	"38" + //   CODESIZE          n i o
	"81" + //   DUP2              i n i o
	"10" + //   LT                i<n i o
	"600f" + // PUSH1 15
	"57" + //   JUMPI
	"50" + //   POP               o
	"6020" + // PUSH1 32          32 o
	"f3" + //   RETURN
	"5b" + //   JUMPDEST (15)     i o
	"6014" + // PUSH1 20
	"81" + //   DUP2              i 20 i o
	"600c" + // PUSH1 12          12 i 20 i o
	"39" + //   CODECOPY          i o
	"6000" + // PUSH1 0
	"51" + //   MLOAD             a i o
	"3b" + //   EXTCODESIZE       s i o
	"1515" + // ISZERO ISZERO     b i o
	"82" + //   DUP3              o b i o
	"6020" + // PUSH1 32
	"01" + //   ADD               32+o b i o
	"53" + //   MSTORE8           i o
	"6014" + // PUSH1 20
	"01" + //   ADD               i' o
	"90" + //   SWAP1             o i'
	"6001" + // PUSH1 1
	"01" + //   ADD               o' i'
	"90" + //   SWAP1             i' o'
	"6004" + // PUSH1 4
	"56") //    JUMP

// codeProbeSize is where the addresses begin in the probe's data.
const codeProbeSize = 0x2c

// contracts says which of the recipients have code, in one call for all.
func (p *Payer) contracts(ctx context.Context, recipients []common.Address, block uint64) ([]bool, error) {
	data := append([]byte{}, codeProbe...)
	for _, a := range recipients {
		data = append(data, a[:]...)
	}
	out, err := p.chain.CallContract(ctx, rpc.TxArgs{Data: data}, block)
	if err != nil {
		return nil, fmt.Errorf("ask which recipients are contracts: %w", err)
	}
	if len(out) != len(recipients) {
		return nil, fmt.Errorf("ask which recipients are contracts: the node answered %d bytes, want %d: %w", len(out), len(recipients), rpc.ErrUnknown)
	}
	has := make([]bool, len(out))
	for i, b := range out {
		has[i] = b != 0
	}
	return has, nil
}

// gasFor is the gas that a payment to a recipient with code needs; reject says
// in words why he cannot be paid.
func (t *turn) gasFor(ctx context.Context, to common.Address, value *big.Int) (gas uint64, reject string, err error) {
	limit := t.cfg.MaxGas
	if !t.cfg.AutoGas {
		limit = t.cfg.Gas
	}
	gas, err = t.chain.EstimateGas(ctx, rpc.TxArgs{From: t.account, To: &to, Value: value})
	var refused *rpc.Error
	switch {
	case rpc.Classify(err) == rpc.InsufficientFunds:
		return limit, "", nil // that is our account's fault, and affordable says so
	case errors.As(err, &refused):
		return 0, "the recipient is a contract, and the node says that a payment to it fails: " + refused.Message, nil
	case err != nil:
		return 0, "", fmt.Errorf("estimate the gas of a payment to %s: %w", to, err)
	}
	if gas > limit {
		return 0, fmt.Sprintf("the recipient is a contract that needs %d gas, the limit is %d", gas, limit), nil
	}
	if !t.cfg.AutoGas {
		return limit, "", nil
	}
	return min(gas+gas/10, limit), "", nil
}

// payable is what moves on the chain for an amount of the books: all of it, or
// what is left after the highest fee when the miner pays that.
func (t *turn) payable(amount util.Shannon, gas uint64, p price) *big.Int {
	value := amount.Wei()
	if t.cfg.FeeFromMiner {
		value.Sub(value, new(big.Int).Mul(p.max(), new(big.Int).SetUint64(gas)))
	}
	return value
}
