package payouts

import (
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// What a block is worth, and who gets how much of it: pure functions of exact
// numbers. Wei are computed as the protocol does, the pool's division rounds
// down, and what it leaves is the split's dust.

// Networks whose rules are known (network).
const (
	NetworkEthereum = "ethereum" // 5, 3 and 2 coins
	NetworkClassic  = "classic"  // 5 coins, a fifth less each era (ECIP-1017)
	NetworkMordor   = "mordor"   // Classic's test network, with shorter eras
	NetworkPrivate  = "private"  // Ethereum's 2 coins from the first block on
)

// publicChains are the chain ids (EIP-155) that leave no doubt about the network.
var publicChains = map[uint64]string{1: NetworkEthereum, 61: NetworkClassic, 63: NetworkMordor}

// Rewards is what a network pays for blocks and uncles.
type Rewards struct {
	network                   string
	byzantium, constantinople uint64 // first blocks worth 3 and 2 coins
	eraStart, eraRounds       uint64 // first block with eras, blocks in an era; 0 rounds: no eras
	spelled                   bool   // written for a chain of one's own
}

// NewRewards returns the schedule of the configured network, moved to the heights
// that the configuration has for a private chain.
func NewRewards(cfg UnlockerConfig) (Rewards, error) {
	r := Rewards{network: cfg.Network}
	r.spelled = cfg.Network == NetworkPrivate
	set := func(to *uint64, own uint64, configured *uint64) {
		if *to = own; configured != nil {
			*to, r.spelled = *configured, true
		}
	}
	switch cfg.Network {
	case NetworkEthereum:
		set(&r.byzantium, 4_370_000, cfg.ByzantiumFBlock)
		set(&r.constantinople, 7_280_000, cfg.ConstantinopleFBlock)
	case NetworkPrivate:
		set(&r.byzantium, 0, cfg.ByzantiumFBlock)
		set(&r.constantinople, 0, cfg.ConstantinopleFBlock)
	case NetworkClassic:
		set(&r.eraStart, 5_000_000, cfg.ECIP1017FBlock)
		set(&r.eraRounds, 5_000_000, cfg.ECIP1017EraRounds)
	case NetworkMordor:
		set(&r.eraStart, 0, cfg.ECIP1017FBlock)
		set(&r.eraRounds, 2_000_000, cfg.ECIP1017EraRounds)
	default:
		return Rewards{}, fmt.Errorf("network is %q, want %q, %q, %q or %q", cfg.Network, NetworkEthereum, NetworkClassic, NetworkMordor, NetworkPrivate)
	}
	if r.hasEras() && r.eraRounds == 0 {
		return Rewards{}, errors.New("unlocker.ecip1017EraRounds is 0, want the blocks in an era")
	}
	return r, nil
}

// CheckChain is an error when the node's chain is a public one of another network, or
// one of its own whose schedule was not spelled out: what it does not bring must not
// be paid out.
func (r Rewards) CheckChain(chainID uint64) error {
	switch own, public := publicChains[chainID]; {
	case public && own != r.network:
		return fmt.Errorf("the node is on chain %d, which is %s, but network is %q", chainID, own, r.network)
	case !public && !r.spelled && r.hasEras():
		return fmt.Errorf(`the node is on chain %d, which is not network %q: write unlocker.ecip1017FBlock and ecip1017EraRounds, or network "private" (2 coins a block)`, chainID, r.network)
	case !public && !r.spelled:
		return fmt.Errorf(`the node is on chain %d, which is not network %q: write unlocker.byzantiumFBlock and constantinopleFBlock, or network "private" (2 coins a block)`, chainID, r.network)
	}
	return nil
}

// hasEras says whether a fifth less is paid each era (ECIP-1017).
func (r Rewards) hasEras() bool { return r.network == NetworkClassic || r.network == NetworkMordor }

// era counts from 0 (ECIP-1017: block 0 is in the first era as well).
func (r Rewards) era(height uint64) uint64 {
	if r.eraRounds == 0 || height == 0 || height < r.eraStart {
		return 0
	}
	return (height - 1) / r.eraRounds
}

// lastEra is the one from which on the reward is less than a Wei.
const lastEra = 200

func wholeCoins(n int64) *big.Int { return new(big.Int).Mul(big.NewInt(n), big.NewInt(1e18)) }

// base is what the block at a height is worth by itself, in Wei.
func (r Rewards) base(height uint64) *big.Int {
	switch {
	case r.hasEras():
		era := r.era(height)
		if era >= lastEra {
			return new(big.Int)
		}
		n := new(big.Int).SetUint64(era)
		wei := new(big.Int).Mul(wholeCoins(5), new(big.Int).Exp(big.NewInt(4), n, nil))
		return wei.Div(wei, new(big.Int).Exp(big.NewInt(5), n, nil))
	case height >= r.constantinople:
		return wholeCoins(2)
	case height >= r.byzantium:
		return wholeCoins(3)
	default:
		return wholeCoins(5)
	}
}

// Block is the reward in Wei of the block at a height that includes so many
// uncles, without transaction fees.
func (r Rewards) Block(height uint64, uncles int) *big.Int {
	wei := r.base(height)
	each := new(big.Int).Div(wei, big.NewInt(32))
	return wei.Add(wei, each.Mul(each, big.NewInt(int64(uncles))))
}

// Uncle is the reward in Wei of an uncle of height uncle in the block at a height.
func (r Rewards) Uncle(uncle, height uint64) (*big.Int, error) {
	if uncle >= height || height-uncle > 7 {
		return nil, fmt.Errorf("uncle of height %d in block %d: want a distance of 1 to 7", uncle, height)
	}
	wei := r.base(height)
	if r.era(height) > 0 {
		return wei.Div(wei, big.NewInt(32)), nil
	}
	wei.Mul(wei, new(big.Int).SetUint64(8-(height-uncle)))
	return wei.Div(wei, big.NewInt(8)), nil
}

// blockFees is what a block's transactions paid to its miner, in Wei: the base
// fee (EIP-1559) is burnt or the network's. The receipts are of b.Transactions, in
// order.
func blockFees(b rpc.Block, receipts []*rpc.Receipt) (*big.Int, error) {
	sum := new(big.Int)
	for i, r := range receipts {
		tx := b.Transactions[i]
		if r == nil || r.TxHash != tx.Hash || r.BlockHash != b.Hash {
			return nil, fmt.Errorf("transaction %s: its receipt is not of block %s: %w", tx.Hash, b.Hash, rpc.ErrUnknown)
		}
		price := r.EffectiveGasPrice
		if price == nil {
			price = tx.GasPrice // what was paid, once it is mined
		}
		tip := new(big.Int).Set(price)
		if b.BaseFee != nil {
			tip.Sub(tip, b.BaseFee)
		}
		if tip.Sign() < 0 {
			return nil, fmt.Errorf("transaction %s paid %s Wei per gas, less than the base fee %s: %w", tx.Hash, price, b.BaseFee, rpc.ErrUnknown)
		}
		sum.Add(sum, tip.Mul(tip, new(big.Int).SetUint64(r.GasUsed)))
	}
	return sum, nil
}

// divide splits a reward by shares: first the pool's fee, then each login's part
// of the rest, both rounded down to a Shannon; what is left is dust, less than
// a Shannon for each division and one more. Without shares everything is dust. The
// fee goes to feeLogin, or to nobody when that is empty; so does what the pool
// keeps of the reward before anything is divided.
func divide(rewardWei, keptWei *big.Int, fee util.Percent, feeLogin string, shares map[string]int64) (storage.Split, error) {
	s := storage.Split{RewardWei: new(big.Int).Set(rewardWei), DustWei: new(big.Int).Set(rewardWei), Credits: map[string]util.Shannon{}}
	total := new(big.Int)
	for login, n := range shares {
		if n < 0 {
			return s, fmt.Errorf("divide a reward: %s has %d shares", login, n)
		}
		total.Add(total, big.NewInt(n))
	}
	rest := new(big.Int).Sub(rewardWei, keptWei)
	if keptWei.Sign() < 0 || rest.Sign() < 0 {
		return s, fmt.Errorf("divide a reward of %s Wei, of which %s are kept", rewardWei, keptWei)
	}
	if total.Sign() == 0 {
		return s, nil
	}
	charged, err := part(rest, fee.Rat().Num(), fee.Rat().Denom())
	if err != nil {
		return s, fmt.Errorf("divide a reward: %w", err)
	}
	kept, _, err := util.ShannonFromWei(keptWei)
	if err != nil {
		return s, fmt.Errorf("divide a reward: %w", err)
	}
	s.Fee = charged + kept
	rest.Sub(rewardWei, s.Fee.Wei())
	for login, n := range shares {
		amount, err := part(rest, big.NewInt(n), total)
		if err != nil {
			return s, fmt.Errorf("divide a reward: %w", err)
		}
		if amount > 0 {
			s.Credits[login] = amount
			s.Miners += amount
		}
	}
	if s.Fee > 0 && feeLogin != "" {
		s.FeeLogin = sameLogin(feeLogin, shares)
		s.Credits[s.FeeLogin] += s.Fee
	}
	s.DustWei.Sub(rewardWei, (s.Miners + s.Fee).Wei())
	return s, nil
}

// part is wei × num / denom in whole Shannon, rounded down.
func part(wei, num, denom *big.Int) (util.Shannon, error) {
	n := new(big.Int).Mul(wei, num)
	amount, _, err := util.ShannonFromWei(n.Div(n, denom))
	return amount, err
}

// sameLogin is the login as the round writes it, if it is there, or else in lower
// case, as the existing pools write the fee's.
func sameLogin(login string, shares map[string]int64) string {
	found := ""
	for other := range shares {
		if util.SameLogin(other, login) && (found == "" || other < found) {
			found = other
		}
	}
	if found == "" {
		found = strings.ToLower(login)
	}
	return found
}
