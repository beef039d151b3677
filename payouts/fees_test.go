package payouts

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/state"
	"github.com/ethereum/go-ethereum/core/tracing"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/core/vm/runtime"
	"github.com/ethereum/go-ethereum/params"
	"pgregory.net/rapid"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// adviser is a node that is asked about prices, gas and code only.
type adviser struct {
	Chain
	gasPrice, tip *big.Int
	gas           uint64
	err           error
	call          func(data []byte) ([]byte, error)
}

func (a adviser) GasPrice(context.Context) (*big.Int, error)       { return a.gasPrice, a.err }
func (a adviser) MaxPriorityFee(context.Context) (*big.Int, error) { return a.tip, a.err }
func (a adviser) EstimateGas(context.Context, rpc.TxArgs) (uint64, error) {
	return a.gas, a.err
}

func (a adviser) CallContract(_ context.Context, args rpc.TxArgs, _ uint64) ([]byte, error) {
	if args.To != nil || args.Value != nil || args.Gas != 0 {
		return nil, fmt.Errorf("called %+v, want data alone", args)
	}
	return a.call(args.Data)
}

// feeTurn is a turn that can choose a price, on a chain with that base fee or
// without one.
func feeTurn(cfg Config, chain Chain, baseFee *big.Int) *turn {
	t := &turn{Payer: &Payer{cfg: cfg, chain: chain, account: common.HexToAddress(someAccount), log: slog.New(slog.NewTextHandler(io.Discard, nil))}}
	t.view.Head.BaseFee = baseFee
	return t
}

func gwei(n int64) *big.Int { return new(big.Int).Mul(big.NewInt(n), big.NewInt(1e9)) }

func (p price) String() string {
	return fmt.Sprintf("{gas price %v, cap %v, tip %v}", p.GasPrice, p.FeeCap, p.TipCap)
}

func TestPrice(t *testing.T) {
	node := adviser{gasPrice: gwei(20), tip: gwei(2)}
	dear := adviser{gasPrice: gwei(101), tip: gwei(101)}
	dead := adviser{err: errors.New("connection refused")}
	for _, tc := range []struct {
		name    string
		node    adviser
		baseFee *big.Int
		change  func(*Config)
		want    price
		err     string // "gas_too_high", or a part of another error
	}{
		{"without a base fee the node's price is offered", node, nil, func(c *Config) {}, price{GasPrice: gwei(20)}, ""},
		{"or the configured one", node, nil, func(c *Config) { c.AutoGas = false }, price{GasPrice: gwei(50)}, ""},
		{"nobody is asked about the configured one", dead, nil, func(c *Config) { c.AutoGas = false }, price{GasPrice: gwei(50)}, ""},
		{"a chain without base fee has no dynamic fees", node, nil, func(c *Config) { c.TxType = TxDynamic }, price{GasPrice: gwei(20)}, ""},
		{"with a base fee the cap is twice that and the tip", node, gwei(10), func(c *Config) {}, price{FeeCap: gwei(22), TipCap: gwei(2)}, ""},
		{"legacy on request", node, gwei(10), func(c *Config) { c.TxType = TxLegacy }, price{GasPrice: gwei(20)}, ""},
		{"the configured price is cap and tip", node, gwei(10), func(c *Config) { c.AutoGas = false }, price{FeeCap: gwei(50), TipCap: gwei(50)}, ""},
		{"legacy and configured", node, gwei(10), func(c *Config) { c.AutoGas, c.TxType = false, TxLegacy }, price{GasPrice: gwei(50)}, ""},
		{"the cap is at most the limit", node, gwei(90), func(c *Config) {}, price{FeeCap: gwei(100), TipCap: gwei(2)}, ""},
		{"and just enough at the limit", node, gwei(98), func(c *Config) {}, price{FeeCap: gwei(100), TipCap: gwei(2)}, ""},
		{"a base fee that leaves no room for the tip waits", node, gwei(99), func(c *Config) {}, price{}, HaltGasPrice},
		{"a price above the limit waits", dear, nil, func(c *Config) {}, price{}, HaltGasPrice},
		{"a price at the limit does not", adviser{gasPrice: gwei(100)}, nil, func(c *Config) {}, price{GasPrice: gwei(100)}, ""},
		{"a tip above the limit waits", dear, gwei(1), func(c *Config) {}, price{}, HaltGasPrice},
		{"no answer is no price", dead, nil, func(c *Config) {}, price{}, "ask the node for a gas price: connection refused"},
		{"nor a tip", dead, gwei(1), func(c *Config) {}, price{}, "ask the node for a priority fee: connection refused"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.MaxGasPrice = util.NewWei(100_000_000_000)
			tc.change(&cfg)
			got, err := feeTurn(cfg, tc.node, tc.baseFee).price(context.Background())
			switch {
			case tc.err == HaltGasPrice:
				wantHalt(t, err, HaltGasPrice)
			case tc.err != "":
				if err == nil || !strings.Contains(err.Error(), tc.err) || haltReason(err) == HaltGasPrice {
					t.Errorf("error %v, want %q", err, tc.err)
				}
			case err != nil:
				t.Error(err)
			case got.String() != tc.want.String():
				t.Errorf("price %s, want %s", got, tc.want)
			}
		})
	}
}

// drawnPrice draws the price of one attempt, of either type.
func drawnPrice(t *rapid.T, name string) price {
	wei := rapid.Int64Range(0, 1e12)
	if rapid.Bool().Draw(t, name+" is legacy") {
		return price{GasPrice: big.NewInt(wei.Draw(t, name+" gas price"))}
	}
	tip := wei.Draw(t, name+" tip")
	return price{TipCap: big.NewInt(tip), FeeCap: big.NewInt(tip + wei.Draw(t, name+" above tip"))}
}

// fields are cap and tip as a node compares them: a legacy transaction's price is
// both.
func (p price) fields() (feeCap, tip *big.Int) {
	if p.FeeCap != nil {
		return p.FeeCap, p.TipCap
	}
	return p.GasPrice, p.GasPrice
}

func TestAReplacementIsATenthAboveEveryAttempt(t *testing.T) {
	tenthAbove := func(now, was *big.Int) bool {
		return new(big.Int).Mul(now, big.NewInt(100)).Cmp(new(big.Int).Mul(was, big.NewInt(110))) >= 0 && now.Cmp(was) > 0
	}
	rapid.Check(t, func(t *rapid.T) {
		p := &storage.Payment{}
		var attempts []price
		for i := range rapid.IntRange(1, 4).Draw(t, "attempts") {
			a := drawnPrice(t, fmt.Sprint("attempt ", i))
			attempts = append(attempts, a)
			p.Attempts = append(p.Attempts, storage.Attempt{GasPrice: a.GasPrice, FeeCap: a.FeeCap, TipCap: a.TipCap})
		}
		advice := drawnPrice(t, "advice")
		got := advice.above(p)
		if (got.FeeCap == nil) != (advice.FeeCap == nil) || (got.FeeCap == nil) == (got.GasPrice == nil) {
			t.Fatalf("%s became %s", advice, got)
		}
		feeCap, tip := got.fields()
		if feeCap.Cmp(tip) < 0 {
			t.Fatalf("the tip of %s is above its cap", got)
		}
		if adviceCap, adviceTip := advice.fields(); feeCap.Cmp(adviceCap) < 0 || tip.Cmp(adviceTip) < 0 {
			t.Fatalf("%s is below what the node advises, %s", got, advice)
		}
		for _, a := range attempts {
			if oldCap, oldTip := a.fields(); !tenthAbove(feeCap, oldCap) || !tenthAbove(tip, oldTip) {
				t.Fatalf("%s is no tenth above %s", got, a)
			}
		}
	})
}

func TestRaisedAndAtLeast(t *testing.T) {
	for _, tc := range []struct{ wei, want int64 }{{0, 1}, {1, 2}, {7, 8}, {8, 10}, {10, 12}, {1e9, 1_125_000_001}} {
		if got := raised(big.NewInt(tc.wei)); got.Int64() != tc.want {
			t.Errorf("raised(%d) = %s, want %d", tc.wei, got, tc.want)
		}
	}
	if got := atLeast(nil, common.Big2); got.Cmp(common.Big2) != 0 {
		t.Errorf("atLeast(nothing, 2) = %s", got)
	}
	if got := atLeast(common.Big3, common.Big2); got.Cmp(common.Big3) != 0 {
		t.Errorf("atLeast(3, 2) = %s", got)
	}
}

func TestPayable(t *testing.T) {
	const amount = util.Shannon(1_000_000)
	legacy, dynamic := price{GasPrice: gwei(20)}, price{FeeCap: gwei(30), TipCap: gwei(2)}
	for _, tc := range []struct {
		name         string
		feeFromMiner bool
		gas          uint64
		price        price
		want         *big.Int
	}{
		{"the pool pays the fee", false, 21000, legacy, amount.Wei()},
		{"the miner pays it", true, 21000, legacy, gwei(1_000_000 - 20*21_000)},
		{"the highest it can be", true, 21000, dynamic, gwei(1_000_000 - 30*21_000)},
		{"nothing is left", true, 50_000, legacy, new(big.Int)},
		{"less than nothing is left", true, 50_001, legacy, gwei(-20)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.FeeFromMiner = tc.feeFromMiner
			if got := feeTurn(cfg, nil, nil).payable(amount, tc.gas, tc.price); got.Cmp(tc.want) != 0 {
				t.Errorf("payable = %s, want %s", got, tc.want)
			}
		})
	}
}

func TestGasFor(t *testing.T) {
	answer := func(code int, message string) error { return &rpc.Error{Code: code, Message: message} }
	for _, tc := range []struct {
		name   string
		node   adviser
		auto   bool
		gas    uint64
		reject string
		err    string
	}{
		{"a tenth more than the estimate", adviser{gas: 30_000}, true, 33_000, "", ""},
		{"up to the limit", adviser{gas: 99_000}, true, 100_000, "", ""},
		{"the limit itself", adviser{gas: 100_000}, true, 100_000, "", ""},
		{"one more is too much", adviser{gas: 100_001}, true, 0, "needs 100001 gas, the limit is 100000", ""},
		{"without autoGas it is the configured gas", adviser{gas: 30_000}, false, 40_000, "", ""},
		{"and that is the limit", adviser{gas: 40_001}, false, 0, "needs 40001 gas, the limit is 40000", ""},
		{"a contract that reverts", adviser{err: answer(3, "execution reverted")}, true, 0, "a payment to it fails: execution reverted", ""},
		{"our own lack of money is not his fault", adviser{err: answer(-32000, "insufficient funds for transfer")}, true, 100_000, "", ""},
		{"no answer says nothing of him", adviser{err: rpc.ErrUnknown}, true, 0, "", "estimate the gas of a payment to"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.AutoGas, cfg.Gas = tc.auto, 40_000
			gas, reject, err := feeTurn(cfg, tc.node, nil).gasFor(context.Background(), address(login(1)), coin.Wei())
			if gas != tc.gas || !strings.Contains(reject, tc.reject) || (reject == "") != (tc.reject == "") {
				t.Errorf("gas %d, reject %q, want %d, %q", gas, reject, tc.gas, tc.reject)
			}
			if (err == nil) != (tc.err == "") || err != nil && (!strings.Contains(err.Error(), tc.err) || !errors.Is(err, rpc.ErrUnknown)) {
				t.Errorf("error %v, want %q", err, tc.err)
			}
		})
	}
}

// ethereum runs data as a node runs an eth_call without a recipient, on a state
// where every third address has code, in the EVM of go-ethereum.
func ethereum(t *testing.T, chain *params.ChainConfig, accounts []common.Address) func([]byte) ([]byte, error) {
	db, err := state.New(types.EmptyRootHash, state.NewDatabaseForTesting())
	if err != nil {
		t.Fatal(err)
	}
	for i, a := range accounts {
		switch i % 3 {
		case 1:
			db.SetCode(a, []byte{0xfe}, tracing.CodeChangeUnspecified)
		case 2: // known, but without code
			db.SetNonce(a, 7, tracing.NonceChangeUnspecified)
		}
	}
	return func(data []byte) ([]byte, error) {
		// Nodes bound the gas of a call; 10 million is less than any of them gives.
		out, _, _, err := runtime.Create(data, &runtime.Config{ChainConfig: chain, State: db.Copy(), GasLimit: 10_000_000, Origin: common.HexToAddress("0x77")})
		return out, err
	}
}

func TestTheCodeProbeTellsContractsFromAccounts(t *testing.T) {
	if len(codeProbe) != codeProbeSize {
		t.Fatalf("the probe is %d bytes long, its addresses begin at %d", len(codeProbe), codeProbeSize)
	}
	zero := new(big.Int)
	for _, fork := range []struct {
		name  string
		chain *params.ChainConfig
	}{
		{"Homestead", &params.ChainConfig{ChainID: big.NewInt(61), HomesteadBlock: zero}},
		{"Byzantium", &params.ChainConfig{ChainID: big.NewInt(61), HomesteadBlock: zero, EIP150Block: zero, EIP155Block: zero, EIP158Block: zero, ByzantiumBlock: zero}},
		{"London", params.AllEthashProtocolChanges},
		{"the newest", params.MergedTestChainConfig},
	} {
		for _, n := range []int{0, 1, 2, 3, batchMost, 400} {
			t.Run(fmt.Sprintf("%d recipients, %s", n, fork.name), func(t *testing.T) {
				accounts, want := make([]common.Address, n), make([]bool, n)
				for i := range accounts {
					// Addresses full of bytes that are opcodes as well.
					accounts[i] = common.BytesToAddress([]byte(fmt.Sprintf("\xff\x5b\x00\x56%016d", i)))
					want[i] = i%3 == 1
				}
				p := &Payer{chain: adviser{call: ethereum(t, fork.chain, accounts)}}
				got, err := p.contracts(context.Background(), accounts, 1)
				if err != nil {
					t.Fatal(err)
				}
				if !slices.Equal(got, want) {
					t.Errorf("contracts = %v, want %v", got, want)
				}
			})
		}
	}
}

func TestAnAnswerOfTheWrongLengthSaysNothingAboutContracts(t *testing.T) {
	for _, out := range [][]byte{nil, {}, {0}, {0, 0, 0}} {
		p := &Payer{chain: adviser{call: func([]byte) ([]byte, error) { return out, nil }}}
		if _, err := p.contracts(context.Background(), make([]common.Address, 2), 1); !errors.Is(err, rpc.ErrUnknown) {
			t.Errorf("answer %x gives %v, want ErrUnknown", out, err)
		}
	}
}
