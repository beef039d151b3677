package rpc

import (
	"bytes"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
)

var (
	key, _  = crypto.HexToECDSA(strings.Repeat("01", 32))
	account = crypto.PubkeyToAddress(key.PublicKey)
	miner   = common.HexToAddress("0xaa")
	ether   = big.NewInt(1e18)
)

// complete is a transaction with everything given.
func complete() TxArgs {
	nonce := uint64(0)
	return TxArgs{From: account, To: &miner, Gas: 21_000, GasPrice: big.NewInt(1e9), Value: big.NewInt(7), Nonce: &nonce}
}

// signed is complete, signed, at a nonce.
func signed(t *testing.T, nonce uint64) []byte {
	t.Helper()
	tx := types.MustSignNewTx(key, types.LatestSignerForChainID(big.NewInt(61)), &types.LegacyTx{
		Nonce: nonce, GasPrice: big.NewInt(1e9), Gas: 21_000, To: &miner, Value: big.NewInt(7)})
	raw, err := tx.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestSendTellsProofFromDoubt: what the nodes of one call say together.
func TestSendTellsProofFromDoubt(t *testing.T) {
	refusal := func(message string) rpctest.Fault { return rpctest.ErrorReply(-32000, message) }
	none := rpctest.Fault{}
	for _, tc := range []struct {
		name   string
		a, b   rpctest.Fault
		want   string // taken, refused, unknown
		inPool int
		second bool // node b was asked
	}{
		{"the first node takes it", none, none, "taken", 1, false},
		{"the first has it already", refusal("already known"), none, "taken", 0, false},
		{"the first refuses for good", refusal("insufficient funds for gas * price + value"), none, "refused", 0, false},
		{"the first refuses without proof", refusal("nonce too low"), none, "unknown", 0, false},
		{"the first says something new", refusal("blue moon"), none, "unknown", 0, false},
		{"the first cannot be reached, the second takes it", rpctest.Refuse, none, "taken", 1, true},
		{"the first loses the reply, the second has it by gossip", rpctest.LoseReply, none, "taken", 1, true},
		{"the first answers null, the second takes it", rpctest.Null, none, "taken", 1, true},
		{"the first answers a zero hash, the second has it", rpctest.ZeroHash, none, "taken", 1, true},
		{"the first loses the reply, the second refuses for good", rpctest.LoseReply, refusal("insufficient funds"), "unknown", 1, true},
		{"both lose the reply", rpctest.LoseReply, rpctest.LoseReply, "unknown", 1, true},
		{"the first is on HTML, the second refuses", rpctest.HTML500, refusal("exceeds block gas limit"), "unknown", 0, true},
	} {
		for _, batch := range []bool{false, true} {
			t.Run(tc.name, func(t *testing.T) {
				chain := rpctest.NewChain(rpctest.Options{})
				chain.Fund(account, ether)
				a, b := chain.Node(t), chain.Node(t)
				if tc.a != none {
					a.Fail("eth_sendRawTransaction", 1, tc.a)
				}
				if tc.b != none {
					b.Fail("eth_sendRawTransaction", 1, tc.b)
				}
				c := client(t, a.URL, b.URL)
				var err error
				if batch {
					err = c.SendRawTransactions(background, [][]byte{signed(t, 0)})[0]
				} else {
					err = c.SendRawTransaction(background, signed(t, 0))
				}
				var r *Refusal
				got := "unknown"
				switch {
				case err == nil:
					got = "taken"
				case errors.As(err, &r) && r.Definitive() && !errors.Is(err, ErrUnknown):
					got = "refused"
				case !errors.Is(err, ErrUnknown):
					got = "neither"
				}
				if got != tc.want {
					t.Errorf("%s, want %s: %v", got, tc.want, err)
				}
				if len(chain.Pool()) != tc.inPool {
					t.Errorf("%d in the pool, want %d", len(chain.Pool()), tc.inPool)
				}
				if (b.Calls("") > 0) != tc.second {
					t.Errorf("%d calls of the second node", b.Calls(""))
				}
			})
		}
	}
}

func TestSendOfTheWrongHashIsUnknown(t *testing.T) {
	s := serve(t, always(`"result":"0x`+strings.Repeat("12", 32)+`"`))
	if err := client(t, s.url).SendRawTransaction(background, signed(t, 0)); !errors.Is(err, ErrUnknown) {
		t.Errorf("another hash: %v", err)
	}
}

func TestManyAreSentInOrderAndEachHasItsOwnError(t *testing.T) {
	chain := rpctest.NewChain(rpctest.Options{})
	chain.Fund(account, ether)
	n := chain.Node(t)
	n.Fail("eth_sendRawTransaction", 150, rpctest.ErrorReply(-32000, "txpool is full"))
	raws := make([][]byte, 250)
	for i := range raws {
		raws[i] = signed(t, uint64(i))
	}
	errs := client(t, n.URL).SendRawTransactions(background, raws)
	for i, err := range errs {
		var r *Refusal
		if i == 149 {
			if !errors.As(err, &r) || r.Kind != PoolFull {
				t.Errorf("transaction 149: %v", err)
			}
		} else if i < 149 && err != nil {
			t.Errorf("transaction %d: %v", i, err)
		}
	}
	chain.Mine(1)
	if got := chain.Nonce(account); got != 149 {
		t.Errorf("%d mined, want those before the gap", got)
	}
}

func TestArgumentsLeaveTheNodeNoChoice(t *testing.T) {
	for _, tc := range []struct {
		name  string
		spoil func(*TxArgs)
		want  string
	}{
		{"no sender", func(a *TxArgs) { a.From = common.Address{} }, "no sender"},
		{"no nonce", func(a *TxArgs) { a.Nonce = nil }, "no nonce"},
		{"no gas", func(a *TxArgs) { a.Gas = 0 }, "no gas"},
		{"no value", func(a *TxArgs) { a.Value = nil }, "no value"},
		{"no price", func(a *TxArgs) { a.GasPrice = nil }, "price or a fee cap"},
		{"two prices", func(a *TxArgs) { a.FeeCap, a.TipCap = a.GasPrice, a.GasPrice }, "price or a fee cap"},
		{"a cap without a tip", func(a *TxArgs) { a.GasPrice, a.FeeCap = nil, a.GasPrice }, "together"},
		{"a cap without a chain", func(a *TxArgs) { a.FeeCap, a.TipCap, a.GasPrice = a.GasPrice, a.GasPrice, nil }, "chain id"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := client(t, dead)
			args := complete()
			tc.spoil(&args)
			if _, err := c.SignTransaction(background, args); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("sign: %v", err)
			}
			if _, err := c.SendTransaction(background, args); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("send: %v", err)
			}
			if c.Calls() != 0 {
				t.Error("the node was asked")
			}
		})
	}
}

func TestNodeSignsWhatWeSign(t *testing.T) {
	chain := rpctest.NewChain(rpctest.Options{BaseFee: true})
	chain.Fund(account, ether)
	n := chain.Node(t)
	c := client(t, n.URL)
	if _, err := c.SignTransaction(background, complete()); Classify(err) != AccountUnknown {
		t.Errorf("unknown account: %v", err)
	}
	n.Unlock(key)
	raw, err := c.SignTransaction(background, complete())
	if err != nil || !bytes.Equal(raw, signed(t, 0)) {
		t.Errorf("SignTransaction = %x, %v", raw, err)
	}
	dynamic := complete()
	nonce := uint64(1)
	dynamic.GasPrice, dynamic.FeeCap, dynamic.TipCap, dynamic.ChainID, dynamic.Nonce = nil, big.NewInt(2e9), big.NewInt(1), big.NewInt(61), &nonce
	raw, err = c.SignTransaction(background, dynamic)
	tx := new(types.Transaction)
	if err != nil || tx.UnmarshalBinary(raw) != nil || tx.Type() != types.DynamicFeeTxType || tx.GasTipCap().Int64() != 1 {
		t.Errorf("dynamic fee: %+v, %v", tx, err)
	}
	hash, err := c.SendTransaction(background, complete())
	if err != nil || hash != crypto.Keccak256Hash(signed(t, 0)) {
		t.Errorf("SendTransaction = %s, %v", hash, err)
	}
	n.Lock(account)
	var r *Refusal
	if _, err := c.SendTransaction(background, complete()); !errors.As(err, &r) || r.Kind != AccountLocked || !r.Definitive() {
		t.Errorf("locked account: %v", err)
	}
	n.Unlock(key)
	n.Fail("eth_sendTransaction", 1, rpctest.ZeroHash)
	if _, err := c.SendTransaction(background, dynamic); !errors.Is(err, ErrUnknown) {
		t.Errorf("zero hash: %v", err)
	}
	s := serve(t, always(`"result":"0x0102"`))
	if raw, err := client(t, s.url).SignTransaction(background, complete()); err != nil || !bytes.Equal(raw, []byte{1, 2}) {
		t.Errorf("bare bytes: %x, %v", raw, err)
	}
}

func TestTxArgsJSON(t *testing.T) {
	dynamic := complete()
	dynamic.FeeCap, dynamic.TipCap, dynamic.GasPrice, dynamic.ChainID = big.NewInt(2), big.NewInt(1), nil, big.NewInt(61)
	legacy := complete()
	legacy.ChainID = big.NewInt(61)
	for _, tc := range []struct {
		name string
		args TxArgs
		want string
	}{
		{"legacy has no chain id", legacy, `{"from":"0x1a642f0e3c3af545e7acbd38b07251b3990914f1","to":"0x00000000000000000000000000000000000000aa","gas":"0x5208","gasPrice":"0x3b9aca00","value":"0x7","nonce":"0x0"}`},
		{"dynamic has one", dynamic, `{"from":"0x1a642f0e3c3af545e7acbd38b07251b3990914f1","to":"0x00000000000000000000000000000000000000aa","gas":"0x5208","maxFeePerGas":"0x2","maxPriorityFeePerGas":"0x1","value":"0x7","nonce":"0x0","chainId":"0x3d"}`},
		{"a call may be code only", TxArgs{Data: []byte{0xfe}}, `{"data":"0xfe"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got, err := json.Marshal(tc.args)
			if err != nil || string(got) != tc.want {
				t.Errorf("%s, %v\nwant %s", got, err, tc.want)
			}
		})
	}
}
