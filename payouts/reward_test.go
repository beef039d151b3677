package payouts

import (
	"errors"
	"fmt"
	"maps"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

func height(n uint64) *uint64 { return &n }

func rewardsOf(t testing.TB, cfg UnlockerConfig) Rewards {
	t.Helper()
	r, err := NewRewards(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func wantWei(t testing.TB, what string, got *big.Int, want string) {
	t.Helper()
	if got.String() != want {
		t.Errorf("%s: %s Wei, want %s", what, got, want)
	}
}

func TestRewardsFollowTheNetwork(t *testing.T) {
	for _, tc := range []struct {
		name   string
		cfg    UnlockerConfig
		height uint64
		want   string
	}{
		{"ethereum begins with five", UnlockerConfig{Network: "ethereum"}, 1, "5000000000000000000"},
		{"the block before Byzantium", UnlockerConfig{Network: "ethereum"}, 4_369_999, "5000000000000000000"},
		{"Byzantium", UnlockerConfig{Network: "ethereum"}, 4_370_000, "3000000000000000000"},
		{"the block before Constantinople", UnlockerConfig{Network: "ethereum"}, 7_279_999, "3000000000000000000"},
		{"Constantinople", UnlockerConfig{Network: "ethereum"}, 7_280_000, "2000000000000000000"},
		{"a private chain with two coins from the start", UnlockerConfig{Network: "ethereum", ByzantiumFBlock: height(0), ConstantinopleFBlock: height(0)}, 1, "2000000000000000000"},
		{"a private chain by its network", UnlockerConfig{Network: "private"}, 1, "2000000000000000000"},
		{"a private chain with a history", UnlockerConfig{Network: "private", ConstantinopleFBlock: height(10)}, 9, "3000000000000000000"},
		{"a private chain that never gets there", UnlockerConfig{Network: "ethereum", ByzantiumFBlock: height(10), ConstantinopleFBlock: height(1 << 60)}, 20_000_000, "3000000000000000000"},
		{"eras are not of ethereum", UnlockerConfig{Network: "ethereum", ECIP1017EraRounds: height(10), ECIP1017FBlock: height(0)}, 100, "5000000000000000000"},
		{"classic's first era", UnlockerConfig{Network: "classic"}, 1, "5000000000000000000"},
		{"its last block", UnlockerConfig{Network: "classic"}, 5_000_000, "5000000000000000000"},
		{"the second era", UnlockerConfig{Network: "classic"}, 5_000_001, "4000000000000000000"},
		{"its last block as well", UnlockerConfig{Network: "classic"}, 10_000_000, "4000000000000000000"},
		{"the third", UnlockerConfig{Network: "classic"}, 10_000_001, "3200000000000000000"},
		{"the fourth", UnlockerConfig{Network: "classic"}, 15_000_001, "2560000000000000000"},
		{"the fifth", UnlockerConfig{Network: "classic"}, 20_000_001, "2048000000000000000"},
		{"the sixth", UnlockerConfig{Network: "classic"}, 25_000_001, "1638400000000000000"},
		{"one that does not come out even", UnlockerConfig{Network: "classic"}, 100_000_001, "57646075230342348"},
		{"the last ones", UnlockerConfig{Network: "classic", ECIP1017EraRounds: height(1), ECIP1017FBlock: height(0)}, 194, "0"},
		{"long after", UnlockerConfig{Network: "classic", ECIP1017EraRounds: height(1), ECIP1017FBlock: height(0)}, 1 << 62, "0"},
		{"mordor's first era", UnlockerConfig{Network: "mordor"}, 2_000_000, "5000000000000000000"},
		{"mordor's second", UnlockerConfig{Network: "mordor"}, 2_000_001, "4000000000000000000"},
		{"mordor's sixth", UnlockerConfig{Network: "mordor"}, 10_000_001, "1638400000000000000"},
		{"a private chain with short eras", UnlockerConfig{Network: "classic", ECIP1017EraRounds: height(100), ECIP1017FBlock: height(0)}, 101, "4000000000000000000"},
		{"which begin later", UnlockerConfig{Network: "classic", ECIP1017EraRounds: height(100), ECIP1017FBlock: height(300)}, 299, "5000000000000000000"},
		{"and have gone on meanwhile", UnlockerConfig{Network: "classic", ECIP1017EraRounds: height(100), ECIP1017FBlock: height(300)}, 301, "2560000000000000000"},
		{"the genesis", UnlockerConfig{Network: "mordor"}, 0, "5000000000000000000"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wantWei(t, fmt.Sprint("block ", tc.height), rewardsOf(t, tc.cfg).Block(tc.height, 0), tc.want)
		})
	}
}

func TestUnclesFollowTheNetwork(t *testing.T) {
	for _, tc := range []struct {
		network         string
		uncle, nephew   uint64
		miner, includer string // Wei; the including block has two uncles
	}{
		{"ethereum", 99, 100, "4375000000000000000", "5312500000000000000"},
		{"ethereum", 94, 100, "1250000000000000000", "5312500000000000000"},
		{"ethereum", 7_999_999, 8_000_000, "1750000000000000000", "2125000000000000000"},
		{"classic", 99, 100, "4375000000000000000", "5312500000000000000"},
		{"classic", 4_999_999, 5_000_000, "4375000000000000000", "5312500000000000000"},
		{"classic", 5_000_000, 5_000_001, "125000000000000000", "4250000000000000000"},
		{"classic", 20_000_000, 20_000_005, "64000000000000000", "2176000000000000000"},
		{"mordor", 2_000_000, 2_000_002, "125000000000000000", "4250000000000000000"},
	} {
		r := rewardsOf(t, UnlockerConfig{Network: tc.network})
		miner, err := r.Uncle(tc.uncle, tc.nephew)
		if err != nil {
			t.Fatal(err)
		}
		what := fmt.Sprintf("%s, uncle %d in block %d", tc.network, tc.uncle, tc.nephew)
		wantWei(t, what, miner, tc.miner)
		wantWei(t, what+", the including block", r.Block(tc.nephew, 2), tc.includer)
	}
	for _, distance := range []uint64{0, 8, 1 << 63} {
		if wei, err := rewardsOf(t, UnlockerConfig{Network: "classic"}).Uncle(1000-distance, 1000); err == nil {
			t.Errorf("an uncle at distance %d is worth %s Wei", distance, wei)
		}
	}
}

func TestAKnownChainDecidesTheNetwork(t *testing.T) {
	for chainID, own := range map[uint64]string{1: "ethereum", 61: "classic", 63: "mordor"} {
		for _, network := range []string{"ethereum", "classic", "mordor"} {
			r := rewardsOf(t, UnlockerConfig{Network: network})
			if err := r.CheckChain(chainID); (err == nil) != (own == network) {
				t.Errorf("chain %d, network %s: %v", chainID, network, err)
			}
			// A chain of one's own, whose blocks may bring less.
			if err := r.CheckChain(1337); err == nil || !strings.Contains(err.Error(), "private") {
				t.Errorf("a private chain, network %s: %v", network, err)
			}
			r = rewardsOf(t, UnlockerConfig{Network: network, ECIP1017FBlock: height(5_000_000), ConstantinopleFBlock: height(7_280_000)})
			if err := r.CheckChain(1337); err != nil {
				t.Errorf("a private chain whose schedule is written, network %s: %v", network, err)
			}
		}
	}
	if err := rewardsOf(t, UnlockerConfig{Network: "private"}).CheckChain(1337); err != nil {
		t.Errorf("network private on a private chain: %v", err)
	}
	for _, cfg := range []UnlockerConfig{{}, {Network: "moon"}, {Network: "classic", ECIP1017EraRounds: height(0)}} {
		if _, err := NewRewards(cfg); err == nil {
			t.Errorf("network %q is taken", cfg.Network)
		}
	}
}

func TestFeesAreWhatTheMinerGets(t *testing.T) {
	hashes := []common.Hash{{1}, {2}}
	b := rpc.Block{Hash: common.Hash{9}, TxHashes: hashes,
		Transactions: []rpc.Transaction{{Hash: hashes[0], GasPrice: big.NewInt(50)}, {Hash: hashes[1], GasPrice: big.NewInt(70)}}}
	receipts := []*rpc.Receipt{{TxHash: hashes[0], BlockHash: b.Hash, GasUsed: 21_000, EffectiveGasPrice: big.NewInt(40)},
		{TxHash: hashes[1], BlockHash: b.Hash, GasUsed: 10}} // an older node does not say
	fees, err := blockFees(b, receipts)
	if err != nil {
		t.Fatal(err)
	}
	wantWei(t, "without a base fee", fees, "840700")
	b.BaseFee = big.NewInt(30)
	if fees, err = blockFees(b, receipts); err != nil {
		t.Fatal(err)
	}
	wantWei(t, "with one", fees, "210400")
	b.BaseFee = big.NewInt(41)
	if _, err := blockFees(b, receipts); !errors.Is(err, rpc.ErrUnknown) {
		t.Errorf("a price below the base fee: %v", err)
	}
	b.BaseFee = nil
	for name, r := range map[string]*rpc.Receipt{"missing": nil, "of another block": {TxHash: hashes[1], BlockHash: common.Hash{8}, EffectiveGasPrice: big.NewInt(1)},
		"of another transaction": {TxHash: hashes[0], BlockHash: b.Hash, EffectiveGasPrice: big.NewInt(1)}} {
		if _, err := blockFees(b, []*rpc.Receipt{receipts[0], r}); !errors.Is(err, rpc.ErrUnknown) {
			t.Errorf("a receipt is %s: %v", name, err)
		}
	}
}

func TestDivide(t *testing.T) {
	const one, two, mixed = "0x000000000000000000000000000000000000000a", "0x000000000000000000000000000000000000000b", "0x000000000000000000000000000000000000000A"
	for _, tc := range []struct {
		name     string
		wei      int64
		fee      util.Percent
		feeLogin string
		shares   map[string]int64
		credits  map[string]util.Shannon
		fees     util.Shannon
		dust     string
	}{
		{"two equal miners of three Shannon get one each", 3e9, 0, "", map[string]int64{one: 1, two: 1}, map[string]util.Shannon{one: 1, two: 1}, 0, "1000000000"},
		{"the fee comes first", 1000e9, util.OnePercent, two, map[string]int64{one: 7}, map[string]util.Shannon{one: 990, two: 10}, 10, "0"},
		{"it is rounded down", 199e9, util.OnePercent, two, map[string]int64{one: 7}, map[string]util.Shannon{one: 198, two: 1}, 1, "0"},
		{"nobody's fee is recorded", 1000e9, util.OnePercent, "", map[string]int64{one: 7}, map[string]util.Shannon{one: 990}, 10, "0"},
		{"who mines gets the fee on top", 1000e9, util.OnePercent, two, map[string]int64{one: 9, two: 1}, map[string]util.Shannon{one: 891, two: 109}, 10, "0"},
		{"as the round writes the login", 1000e9, util.OnePercent, one, map[string]int64{mixed: 1}, map[string]util.Shannon{mixed: 1000}, 10, "0"},
		{"and else in lower case", 1000e9, util.OnePercent, mixed, map[string]int64{two: 1}, map[string]util.Shannon{two: 990, one: 10}, 10, "0"},
		{"parts of a Shannon are dust", 1000e9 + 5, 0, "", map[string]int64{one: 1}, map[string]util.Shannon{one: 1000}, 0, "5"},
		{"a part of nothing is no credit", 10e9, 0, "", map[string]int64{one: 1, two: 1e9}, map[string]util.Shannon{two: 9}, 0, "1000000000"},
		{"a round without shares is dust", 10e9, util.OnePercent, two, nil, map[string]util.Shannon{}, 0, "10000000000"},
		{"shares of nought as well", 10e9, util.OnePercent, two, map[string]int64{one: 0}, map[string]util.Shannon{}, 0, "10000000000"},
		{"all is the pool's", 10e9, 100 * util.OnePercent, "", map[string]int64{one: 1}, map[string]util.Shannon{}, 10, "0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := divide(big.NewInt(tc.wei), new(big.Int), tc.fee, tc.feeLogin, tc.shares)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.credits, s.Credits); diff != "" || s.Fee != tc.fees || s.DustWei.String() != tc.dust {
				t.Errorf("fee %d, dust %s, want %d, %s; credits %s", s.Fee, s.DustWei, tc.fees, tc.dust, diff)
			}
		})
	}
	for name, shares := range map[string]map[string]int64{"negative shares": {one: -1, two: 5}} {
		if _, err := divide(big.NewInt(1), new(big.Int), 0, "", shares); err == nil {
			t.Errorf("%s are divided", name)
		}
	}
	for _, wei := range [][2]int64{{-1, 0}, {1, -1}, {1, 2}} {
		if _, err := divide(big.NewInt(wei[0]), big.NewInt(wei[1]), 0, "", map[string]int64{one: 1}); err == nil {
			t.Errorf("%d Wei are divided, of which %d are kept", wei[0], wei[1])
		}
	}
	if _, err := divide(new(big.Int).Exp(big.NewInt(10), big.NewInt(40), nil), new(big.Int), 0, "", map[string]int64{one: 1}); !errors.Is(err, util.ErrAmount) {
		t.Errorf("more than the books can hold: %v", err)
	}
}

// TestDivideGivesEverythingOnce: credited + fee + dust = reward, nothing is
// negative, the dust is what rounding leaves, nobody gets more than the exact part
// or a Shannon less, and the order of the miners does not matter.
func TestDivideGivesEverythingOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		wei := new(big.Int).SetBytes(rapid.SliceOfN(rapid.Byte(), 0, 10).Draw(t, "reward")) // to 1.2 million coins
		kept := new(big.Int).Rsh(wei, rapid.UintRange(0, 90).Draw(t, "kept"))
		fee := util.Percent(rapid.Int64Range(0, int64(100*util.OnePercent)).Draw(t, "fee"))
		parts := rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(0, 10), rapid.Int64Min(0)), 0, 40).Draw(t, "shares")
		shares := map[string]int64{}
		total := new(big.Int)
		for i, n := range parts {
			shares[login(i)] = n
			total.Add(total, big.NewInt(n))
		}
		feeLogin := rapid.SampledFrom([]string{"", login(0), login(1000)}).Draw(t, "fee login")
		s, err := divide(wei, kept, fee, feeLogin, shares)
		if err != nil {
			t.Fatal(err)
		}
		sum := new(big.Int).Set(s.DustWei)
		for who, amount := range s.Credits {
			if amount <= 0 {
				t.Fatalf("%s gets %d", who, amount)
			}
			sum.Add(sum, amount.Wei())
		}
		if s.FeeLogin == "" {
			sum.Add(sum, s.Fee.Wei())
		}
		if sum.Cmp(wei) != 0 {
			t.Fatalf("%s Wei are divided into %s", wei, sum)
		}
		if total.Sign() > 0 && s.DustWei.Cmp(util.Shannon(len(shares)+2).Wei()) >= 0 || s.DustWei.Sign() < 0 || s.Fee < 0 {
			t.Fatalf("dust %s Wei, fee %d", s.DustWei, s.Fee)
		}
		rest := new(big.Int).Sub(wei, s.Fee.Wei())
		for who, n := range shares {
			got := s.Credits[who]
			if who == s.FeeLogin {
				got -= s.Fee
			}
			exact := new(big.Int).Mul(rest, big.NewInt(n))
			if have := new(big.Int).Mul(got.Wei(), total); total.Sign() > 0 && (have.Cmp(exact) > 0 || have.Add(have, new(big.Int).Mul(util.Shannon(1).Wei(), total)).Cmp(exact) <= 0) {
				t.Fatalf("%s gets %d for %d of %s shares", who, got, n, total)
			}
		}
		again, err := divide(wei, kept, fee, feeLogin, maps.Clone(shares))
		if err != nil || again.String() != s.String() || !maps.Equal(again.Credits, s.Credits) {
			t.Fatalf("divided again it is %s, not %s: %v", again, s, err)
		}
	})
}
