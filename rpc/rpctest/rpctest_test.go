package rpctest

import (
	"crypto/ecdsa"
	"encoding/json"
	"io"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

var (
	ether = big.NewInt(1e18)
	miner = common.HexToAddress("0x00000000000000000000000000000000000000aa")
)

func newKey(t *testing.T, seed byte) (*ecdsa.PrivateKey, common.Address) {
	t.Helper()
	key, err := crypto.ToECDSA(append(make([]byte, 31), seed))
	if err != nil {
		t.Fatal(err)
	}
	return key, crypto.PubkeyToAddress(key.PublicKey)
}

// pay signs a transfer of wei with the given price in gwei.
func pay(t *testing.T, key *ecdsa.PrivateKey, nonce uint64, to common.Address, wei, priceGwei int64) *types.Transaction {
	t.Helper()
	tx, err := types.SignNewTx(key, types.LatestSignerForChainID(big.NewInt(61)), &types.LegacyTx{
		Nonce: nonce, GasPrice: big.NewInt(priceGwei * gwei), Gas: 21_000, To: &to, Value: big.NewInt(wei),
	})
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func encode(t *testing.T, tx *types.Transaction) hexutil.Bytes {
	t.Helper()
	raw, err := tx.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// ask makes one call and returns the result and the error's message.
func ask(t *testing.T, n *Node, method string, params ...any) (json.RawMessage, string) {
	t.Helper()
	if params == nil {
		params = []any{}
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.Post(n.URL, "application/json", strings.NewReader(string(body)))
	if err != nil {
		return nil, "connection: " + err.Error()
	}
	defer func() { _ = res.Body.Close() }() // it was read: nothing to lose
	reply, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	var a struct {
		Result json.RawMessage
		Error  *rpcError
	}
	if err := json.Unmarshal(reply, &a); err != nil {
		return nil, "not JSON: " + string(reply)
	}
	if a.Error != nil {
		return nil, a.Error.Message
	}
	return a.Result, ""
}

func mustSend(t *testing.T, n *Node, tx *types.Transaction) {
	t.Helper()
	if _, message := ask(t, n, "eth_sendRawTransaction", encode(t, tx)); message != "" {
		t.Fatalf("eth_sendRawTransaction with nonce %d: %s", tx.Nonce(), message)
	}
}

func TestMempoolRefusesInGethsWords(t *testing.T) {
	key, account := newKey(t, 1)
	poor, _ := newKey(t, 2)
	foreign, err := types.SignNewTx(key, types.LatestSignerForChainID(big.NewInt(1)), &types.LegacyTx{
		Nonce: 1, GasPrice: big.NewInt(gwei), Gas: 21_000, To: &miner, Value: common.Big1})
	if err != nil {
		t.Fatal(err)
	}
	signed := func(tx types.TxData) *types.Transaction {
		return types.MustSignNewTx(key, types.LatestSignerForChainID(big.NewInt(61)), tx)
	}
	for _, tc := range []struct {
		name string
		tx   *types.Transaction
		want string
	}{
		{"a mined nonce", pay(t, key, 0, miner, 2, 1), "nonce too low"},
		{"the same transaction again", pay(t, key, 1, miner, 1, 10), "already known"},
		{"another one that pays 9 % more", pay(t, key, 1, miner, 2, 10), "replacement transaction underpriced"},
		{"another one that pays 10 % more", pay(t, key, 1, miner, 2, 11), ""},
		{"an account without coins", pay(t, poor, 0, miner, 1, 1), "insufficient funds"},
		{"a nonce behind a gap", pay(t, key, 5, miner, 1, 1), ""},
		{"another chain's signature", foreign, "invalid chain id"},
		{"too little gas", signed(&types.LegacyTx{Nonce: 2, GasPrice: big.NewInt(gwei), Gas: 20_999, To: &miner}), "intrinsic gas too low"},
		{"more gas than a block", signed(&types.LegacyTx{Nonce: 2, GasPrice: big.NewInt(gwei), Gas: 8_000_001, To: &miner}), "exceeds block gas limit"},
		{"a fee above one ether", signed(&types.LegacyTx{Nonce: 2, GasPrice: big.NewInt(1e15), Gas: 21_000, To: &miner}), "exceeds the configured cap"},
		{"no price", signed(&types.LegacyTx{Nonce: 2, GasPrice: new(big.Int), Gas: 21_000, To: &miner}), "transaction underpriced"},
		{"a dynamic fee before EIP-1559", signed(&types.DynamicFeeTx{ChainID: big.NewInt(61), Nonce: 2, GasFeeCap: big.NewInt(gwei), GasTipCap: big.NewInt(gwei), Gas: 21_000, To: &miner}), "transaction type not supported"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := NewChain(Options{})
			n := c.Node(t)
			c.Fund(account, new(big.Int).Mul(ether, big.NewInt(100)))
			mustSend(t, n, pay(t, key, 0, miner, 1, 1))
			c.Mine(1)
			mustSend(t, n, pay(t, key, 1, miner, 1, 10))
			_, got := ask(t, n, "eth_sendRawTransaction", encode(t, tc.tx))
			if (tc.want == "") != (got == "") || !strings.Contains(got, tc.want) {
				t.Errorf("node says %q, want %q", got, tc.want)
			}
		})
	}
}

func TestGapIsQueuedCappedAndFilled(t *testing.T) {
	c := NewChain(Options{})
	n := c.Node(t)
	key, account := newKey(t, 1)
	c.Fund(account, ether)
	for nonce := uint64(1); nonce <= 70; nonce++ {
		mustSend(t, n, pay(t, key, nonce, miner, 1, 1))
	}
	if got := len(c.Pool()); got != accountQueue {
		t.Errorf("%d transactions behind the gap, want %d", got, accountQueue)
	}
	c.Mine(1)
	if got := c.Received(miner); got.Sign() != 0 {
		t.Errorf("mined %d over a gap", got)
	}
	mustSend(t, n, pay(t, key, 0, miner, 1, 1))
	c.Mine(1)
	if got := c.Received(miner); got.Int64() != 65 {
		t.Errorf("received %d after the gap closed, want 65", got)
	}
}

func TestBlockGasLimitBoundsABlock(t *testing.T) {
	c := NewChain(Options{GasLimit: 50_000})
	n := c.Node(t)
	key, account := newKey(t, 1)
	c.Fund(account, ether)
	for nonce := range uint64(5) {
		mustSend(t, n, pay(t, key, nonce, miner, 1, 1))
	}
	for _, want := range []int64{2, 4, 5} {
		c.Mine(1)
		if got := c.Received(miner).Int64(); got != want {
			t.Errorf("received %d, want %d", got, want)
		}
	}
}

func TestReorgTakesTransactionsBack(t *testing.T) {
	for _, tc := range []struct {
		name string
		keep bool
		want int64 // received after one more block
	}{
		{"kept transactions are mined again", true, 1},
		{"forgotten ones are not", false, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := NewChain(Options{})
			n := c.Node(t)
			key, account := newKey(t, 1)
			c.Fund(account, ether)
			tx := pay(t, key, 0, miner, 1, 1)
			mustSend(t, n, tx)
			c.Mine(1)
			before, _ := ask(t, n, "eth_getBlockByNumber", "0x1", false)
			c.Reorg(1, tc.keep)
			after, _ := ask(t, n, "eth_getBlockByNumber", "0x1", false)
			if string(before) == string(after) {
				t.Error("block 1 is the same after the reorganisation")
			}
			if c.Height() != 2 || c.Nonce(account) != 0 || c.Received(miner).Sign() != 0 {
				t.Errorf("height %d, nonce %d, received %d; want 2, 0, 0", c.Height(), c.Nonce(account), c.Received(miner))
			}
			if got, _ := ask(t, n, "eth_getTransactionReceipt", tx.Hash()); string(got) != "null" {
				t.Errorf("receipt %s of a block that is gone", got)
			}
			c.Mine(1)
			if got := c.Received(miner).Int64(); got != tc.want {
				t.Errorf("received %d, want %d", got, tc.want)
			}
			if !tc.keep {
				if _, err := c.Include(encode(t, tx)); err != nil {
					t.Error(err)
				}
			}
			if _, err := c.Include(encode(t, tx)); err == nil {
				t.Error("included one nonce twice")
			}
			if got := c.TransfersFrom(account); len(got) != 1 || got[0].Hash != tx.Hash() || !got[0].Success {
				t.Errorf("transfers %+v, want the one", got)
			}
		})
	}
}

func TestContractsAcceptOrRevert(t *testing.T) {
	accept, reject := common.HexToAddress("0xacce"), common.HexToAddress("0x4e1e")
	c := NewChain(Options{BaseFee: true})
	n := c.Node(t)
	key, account := newKey(t, 1)
	c.Fund(account, ether)
	c.SetCode(accept, Accept)
	c.SetCode(reject, Reject)
	c.SetCoinbase(miner)
	for nonce, to := range []common.Address{accept, reject} {
		mustSend(t, n, pay(t, key, uint64(nonce), to, 7, 2))
	}
	c.Mine(1)
	for i, tr := range c.TransfersFrom(account) {
		if tr.Success {
			t.Errorf("transfer %d to a contract with 21000 gas succeeded", i)
		}
	}
	if c.Received(accept).Sign() != 0 || c.Balance(reject).Sign() != 0 {
		t.Error("coins of a failed transfer arrived")
	}
	if got, want := c.Balance(account), new(big.Int).Sub(ether, big.NewInt(2*21_000*2*gwei)); got.Cmp(want) != 0 {
		t.Errorf("sender has %d, want %d: a failed transfer costs its gas", got, want)
	}
	if got, want := c.Balance(miner), big.NewInt(2*21_000*gwei); got.Cmp(want) != 0 {
		t.Errorf("miner has %d, want %d: the base fee is not the miner's", got, want)
	}
	call := func(to common.Address) map[string]any {
		return map[string]any{"from": account, "to": to, "value": "0x7"}
	}
	if got, message := ask(t, n, "eth_estimateGas", call(accept)); string(got) != `"0x7530"` {
		t.Errorf("estimate for a contract that accepts: %s %s", got, message)
	}
	if _, message := ask(t, n, "eth_estimateGas", call(reject)); message != "execution reverted" {
		t.Errorf("estimate for a contract that reverts: %q", message)
	}
	c.HandleCall(c.CodeSizes(2))
	data := append(hexutil.Bytes{0xaa, 0xbb}, slices.Concat(accept.Bytes(), miner.Bytes(), reject.Bytes())...)
	if got, message := ask(t, n, "eth_call", map[string]any{"data": data}, "latest"); string(got) != `"0x010001"` {
		t.Errorf("code sizes: %s %s, want 0x010001", got, message)
	}
}

func TestFaultsExecuteOrNot(t *testing.T) {
	for _, tc := range []struct {
		name   string
		fault  Fault
		inPool int
		answer string // result or part of the message
	}{
		{"a lost reply is executed", LoseReply, 1, "connection"},
		{"a refused connection is not", Refuse, 0, "connection"},
		{"a page of HTML is not", HTML500, 0, "not JSON"},
		{"a page of HTML may be", HTML500.Executed(), 1, "not JSON"},
		{"null is not", Null, 0, "null"},
		{"a zero hash is", ZeroHash, 1, "0x00000000"},
		{"an error is not", ErrorReply(-32005, "slow down"), 0, "slow down"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := NewChain(Options{})
			n := c.Node(t)
			key, account := newKey(t, 1)
			c.Fund(account, ether)
			n.Fail("eth_sendRawTransaction", 2, tc.fault)
			mustSend(t, n, pay(t, key, 0, miner, 1, 1))
			c.Mine(1)
			result, message := ask(t, n, "eth_sendRawTransaction", encode(t, pay(t, key, 1, miner, 1, 1)))
			if !strings.Contains(string(result)+message, tc.answer) {
				t.Errorf("answer %s %s, want %s", result, message, tc.answer)
			}
			if got := len(c.Pool()); got != tc.inPool {
				t.Errorf("%d in the mempool, want %d", got, tc.inPool)
			}
			mustSend(t, n, pay(t, key, 2, miner, 1, 1)) // the fault is over
			if got := n.Calls("eth_sendRawTransaction"); got != 3 {
				t.Errorf("%d calls, want 3", got)
			}
		})
	}
}

func TestNodeSettings(t *testing.T) {
	c := NewChain(Options{})
	n, late := c.Node(t), c.Node(t)
	key, account := newKey(t, 1)
	c.Fund(account, ether)
	c.MineEmpty(3)
	mined := pay(t, key, 0, miner, 1, 1)
	mustSend(t, n, mined)
	c.Mine(1)
	c.MineEmpty(1)
	late.Lag(2)
	late.SetPeers(0)
	late.SetSyncing(true)
	late.DisableMethod("txpool_contentFrom")
	var heard []string
	late.OnCall(func(method string) { heard = append(heard, method) })
	args := map[string]any{"from": account, "to": miner, "gas": "0x5208", "gasPrice": "0x3b9aca00", "value": "0x1", "nonce": "0x1"}
	for _, tc := range []struct {
		name, method string
		params       []any
		want         string
	}{
		{"a lagging node has an older head", "eth_blockNumber", nil, `"0x3"`},
		{"and not the later blocks", "eth_getBlockByNumber", []any{"0x4", false}, `null`},
		{"nor their state", "eth_getBalance", []any{account, "0x4"}, "header not found"},
		{"nor their receipts", "eth_getTransactionReceipt", []any{mined.Hash()}, `null`},
		{"nor their transactions", "eth_getTransactionByHash", []any{mined.Hash()}, `null`},
		{"it has no peers", "net_peerCount", nil, `"0x0"`},
		{"it does not know a disabled method", "txpool_contentFrom", []any{account}, "does not exist"},
		{"it does not know the account", "eth_signTransaction", []any{args}, "unknown account"},
		{"a missing argument is no panic", "eth_getBalance", nil, "missing value"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			result, message := ask(t, late, tc.method, tc.params...)
			if got := string(result) + message; !strings.Contains(got, tc.want) || tc.want == "null" && got != "null" {
				t.Errorf("%s: %s, want %s", tc.method, got, tc.want)
			}
		})
	}
	if len(heard) != 9 || heard[0] != "eth_blockNumber" {
		t.Errorf("hook heard %v", heard)
	}
	n.Unlock(key)
	if got, message := ask(t, n, "eth_sendTransaction", args); message != "" {
		t.Errorf("eth_sendTransaction: %s %s", got, message)
	}
	if want := pay(t, key, 1, miner, 1, 1).Hash(); len(c.Pool()) != 1 || c.Pool()[0] != want {
		t.Errorf("pool %v, want %s: the node must sign as we do", c.Pool(), want)
	}
	n.Lock(account)
	if _, message := ask(t, n, "eth_signTransaction", args); !strings.Contains(message, "authentication needed") {
		t.Errorf("locked account: %q", message)
	}
	c.Forget()
	if len(c.Pool()) != 0 || len(c.Broadcast()) != 2 {
		t.Error("forgetting must empty the mempool and nothing else")
	}
}

func TestSameCallsGiveTheSameChain(t *testing.T) {
	build := func(seed uint64) string {
		c := NewChain(Options{GenesisSeed: seed})
		n := c.Node(t)
		for seed := byte(1); seed <= 5; seed++ {
			key, account := newKey(t, seed)
			c.Fund(account, ether)
			mustSend(t, n, pay(t, key, 0, miner, 1, 1))
		}
		c.Mine(1)
		c.MineUncle()
		c.Reorg(1, true)
		c.Mine(2)
		head, _ := ask(t, n, "eth_getBlockByNumber", "latest", true)
		return string(head)
	}
	once, again, other := build(1), build(1), build(2)
	if once != again {
		t.Error("two chains made alike differ")
	}
	if once == other {
		t.Error("two chains of different genesis are alike")
	}
}

func TestUncleIsIncludedOnce(t *testing.T) {
	c := NewChain(Options{})
	n := c.Node(t)
	c.MineEmpty(1)
	c.SetCoinbase(miner)
	hash := c.MineUncle()
	c.MineEmpty(2)
	got, _ := ask(t, n, "eth_getUncleByBlockNumberAndIndex", "0x2", "0x0")
	var u struct {
		Hash, Miner string
	}
	if err := json.Unmarshal(got, &u); err != nil || u.Hash != hash.Hex() || common.HexToAddress(u.Miner) != miner {
		t.Errorf("uncle %s, want hash %s of miner %s", got, hash, miner)
	}
	if got, _ := ask(t, n, "eth_getUncleByBlockNumberAndIndex", "0x3", "0x0"); string(got) != "null" {
		t.Errorf("block 3 has the uncle again: %s", got)
	}
}
