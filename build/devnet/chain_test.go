package main

import (
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/params"
	"github.com/ethereum/go-ethereum/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/build/devnet/chain"
)

// payerKey owns coins on the chains of these tests and signs outside the node.
var (
	payerKey, _ = crypto.ToECDSA(crypto.Keccak256([]byte("payer of the devnet's tests")))
	payer       = crypto.PubkeyToAddress(payerKey.PublicKey)
	payee       = common.HexToAddress("0x00000000000000000000000000000000000000aa")
	account     = chain.DefaultConfig().Account()
)

// rich starts a chain on which the payer and the pool's account own coins.
func rich(t testing.TB, args ...string) *node {
	t.Helper()
	return startChain(t, append([]string{"--fund", payer.Hex() + "=1000", "--fund", account.Hex() + "=1000"}, args...)...)
}

type block struct {
	Hash          common.Hash    `json:"hash"`
	Number        hexutil.Uint64 `json:"number"`
	Difficulty    *hexutil.Big   `json:"difficulty"`
	GasLimit      hexutil.Uint64 `json:"gasLimit"`
	GasUsed       hexutil.Uint64 `json:"gasUsed"`
	BaseFee       *hexutil.Big   `json:"baseFeePerGas"`
	ExtraData     hexutil.Bytes  `json:"extraData"`
	Miner         common.Address `json:"miner"`
	Transactions  []common.Hash  `json:"transactions"`
	MixHash       common.Hash    `json:"mixHash"`
	UncleHashes   []common.Hash  `json:"uncles"`
	ReceivedNonce hexutil.Bytes  `json:"nonce"`
}

func (n *node) block(number any) (b block) {
	n.t.Helper()
	if i, ok := number.(int); ok {
		number = hexutil.Uint64(i)
	}
	n.call(&b, "eth_getBlockByNumber", number, false)
	return b
}

func (n *node) mine(blocks int) (head uint64) {
	n.t.Helper()
	n.call(&head, "devnet_mine", blocks)
	return head
}

// receipt is nil while the transaction is not on the chain.
func (n *node) receipt(tx common.Hash) (r *struct {
	Status      hexutil.Uint64 `json:"status"`
	BlockNumber hexutil.Uint64 `json:"blockNumber"`
	GasUsed     hexutil.Uint64 `json:"gasUsed"`
}) {
	n.t.Helper()
	n.call(&r, "eth_getTransactionReceipt", tx)
	return r
}

// knows reports whether the node has the transaction, mined or not.
func (n *node) knows(tx common.Hash) bool {
	n.t.Helper()
	var found *struct{}
	n.call(&found, "eth_getTransactionByHash", tx)
	return found != nil
}

func (n *node) balance(who common.Address) *big.Int {
	n.t.Helper()
	var wei hexutil.Big
	n.call(&wei, "eth_getBalance", who, "latest")
	return wei.ToInt()
}

func (n *node) nonce(who common.Address, at string) (nonce hexutil.Uint64) {
	n.t.Helper()
	n.call(&nonce, "eth_getTransactionCount", who, at)
	return nonce
}

// sign makes a transfer of 1 Wei.
func (n *node) sign(key *ecdsa.PrivateKey, nonce, gas uint64, to common.Address) (common.Hash, hexutil.Bytes) {
	n.t.Helper()
	tx, err := types.SignNewTx(key, types.LatestSignerForChainID(new(big.Int).SetUint64(n.ChainID)), &types.LegacyTx{
		Nonce: nonce, GasPrice: big.NewInt(2 * params.GWei), Gas: gas, To: &to, Value: common.Big1,
	})
	if err != nil {
		n.t.Fatal(err)
	}
	raw, err := tx.MarshalBinary()
	if err != nil {
		n.t.Fatal(err)
	}
	return tx.Hash(), raw
}

// pay has the mempool accept a transfer of 1 Wei from the payer.
func (n *node) pay(nonce, gas uint64, to common.Address) (common.Hash, hexutil.Bytes) {
	n.t.Helper()
	hash, raw := n.sign(payerKey, nonce, gas, to)
	n.call(nil, "eth_sendRawTransaction", raw)
	return hash, raw
}

func transfer(nonce int) map[string]any {
	return map[string]any{
		"from": account, "to": payee, "value": "0x1", "gas": "0x5208",
		"gasPrice": hexutil.Uint64(2 * params.GWei), "nonce": hexutil.Uint64(nonce),
	}
}

func TestReadyLineSaysHowToReachTheNode(t *testing.T) {
	coinbase := common.HexToAddress("0xcb")
	n := startChain(t, "--chain-id", "61", "--coinbase", coinbase.Hex(), "--peer-port", "0", "--ws", "127.0.0.1:0")
	var id hexutil.Uint64
	n.call(&id, "eth_chainId")
	if n.ChainID != 61 || id != 61 {
		t.Errorf("chain id is %d, ready line says %d", id, n.ChainID)
	}
	if n.mine(1); n.block(1).Miner != coinbase || n.Coinbase != coinbase {
		t.Errorf("block 1 went to %s, ready line says %s", n.block(1).Miner, n.Coinbase)
	}
	if got := n.block(0).Hash; got != n.Genesis {
		t.Errorf("genesis is %s, ready line says %s", got, n.Genesis)
	}
	var accounts []common.Address
	n.call(&accounts, "eth_accounts")
	if len(accounts) != 1 || accounts[0] != n.Account {
		t.Errorf("accounts are %v, ready line says %s", accounts, n.Account)
	}
	if !strings.HasPrefix(n.Enode, "enode://") {
		t.Errorf("enode is %q", n.Enode)
	}
	socket, err := rpc.Dial(n.WS)
	if err != nil {
		t.Fatal(err)
	}
	defer socket.Close()
	if err := socket.Call(&id, "eth_blockNumber"); err != nil || id != 1 {
		t.Errorf("over %s the head is %d, %v", n.WS, id, err)
	}
}

func TestMineIncludesWhatWasAcceptedBefore(t *testing.T) {
	n := rich(t)
	var hash common.Hash
	n.call(&hash, "eth_sendTransaction", transfer(0))

	var signed struct {
		Raw hexutil.Bytes `json:"raw"`
		Tx  struct {
			Hash common.Hash `json:"hash"`
		} `json:"tx"`
	}
	n.call(&signed, "eth_signTransaction", transfer(1))
	var again common.Hash
	n.call(&again, "eth_sendRawTransaction", signed.Raw)
	if again != signed.Tx.Hash {
		t.Errorf("signed as %s, sent as %s", signed.Tx.Hash, again)
	}
	foreign, _ := n.pay(0, params.TxGas, payee)

	if head := n.mine(1); head != 1 {
		t.Fatalf("head is %d", head)
	}
	for _, tx := range []common.Hash{hash, signed.Tx.Hash, foreign} {
		if r := n.receipt(tx); r == nil || r.Status != 1 || r.BlockNumber != 1 {
			t.Errorf("receipt of %s is %+v", tx, r)
		}
	}
	if got := n.balance(payee); got.Int64() != 3 {
		t.Errorf("payee has %d Wei", got)
	}
	var status struct{ Pending, Queued hexutil.Uint64 }
	if n.call(&status, "txpool_status"); status.Pending+status.Queued != 0 {
		t.Errorf("mempool still has %+v", status)
	}
}

func TestEveryRoundOfPaymentsIsMinedAtOnce(t *testing.T) {
	n := rich(t)
	for nonce := range uint64(100) {
		tx, _ := n.pay(nonce, params.TxGas, payee)
		if n.mine(1); n.receipt(tx) == nil {
			t.Fatalf("transaction %d is not in block %d", nonce, nonce+1)
		}
		if got := n.nonce(payer, "pending"); uint64(got) != nonce+1 {
			t.Fatalf("pending nonce is %d after %d payments", got, nonce+1)
		}
	}
}

func TestBlockHolds380TransfersAndLeavesTheRest(t *testing.T) {
	n := rich(t)
	for nonce := range uint64(400) {
		n.pay(nonce, params.TxGas, payee)
	}
	for _, left := range []hexutil.Uint64{20, 0} {
		n.mine(1)
		var status struct{ Pending hexutil.Uint64 }
		if n.call(&status, "txpool_status"); status.Pending != left {
			t.Errorf("after a block the mempool has %d transactions, want %d", status.Pending, left)
		}
	}
	for number, want := range map[int]int{1: 380, 2: 20} {
		b := n.block(number)
		if len(b.Transactions) != want || b.GasLimit != 8_000_000 || int(b.GasUsed) != want*int(params.TxGas) {
			t.Errorf("block %d has %d transactions, gas %d of %d", number, len(b.Transactions), b.GasUsed, b.GasLimit)
		}
	}
}

func TestReceiptsOfABlockAreThoseOfItsTransactions(t *testing.T) {
	n := rich(t)
	for nonce := range uint64(3) {
		n.pay(nonce, params.TxGas, payee)
	}
	n.mine(1)
	var receipts []json.RawMessage
	n.call(&receipts, "eth_getBlockReceipts", "0x1")
	if hashes := n.block(1).Transactions; len(hashes) != 3 || len(receipts) != 3 {
		t.Fatalf("%d receipts of %d transactions, want 3", len(receipts), len(hashes))
	}
	for i, hash := range n.block(1).Transactions {
		var want json.RawMessage
		if n.call(&want, "eth_getTransactionReceipt", hash); string(receipts[i]) != string(want) {
			t.Errorf("receipt %d is %s, want %s", i, receipts[i], want)
		}
	}
	var none []json.RawMessage
	if n.call(&none, "eth_getBlockReceipts", "0x2"); none != nil {
		t.Errorf("a block that is not there has %d receipts", len(none))
	}
}

func TestMineEmptyLeavesTheMempoolAlone(t *testing.T) {
	n := rich(t)
	tx, _ := n.pay(0, params.TxGas, payee)
	var head uint64
	if n.call(&head, "devnet_mineEmpty", 3); head != 3 {
		t.Errorf("head is %d", head)
	}
	if n.receipt(tx) != nil || !n.knows(tx) {
		t.Error("the transaction was mined or lost")
	}
	n.mine(1)
	if r := n.receipt(tx); r == nil || r.BlockNumber != 4 {
		t.Errorf("receipt is %+v", r)
	}
}

// Three hundred blocks in a row end five minutes ahead of the clock.
func TestManyBlocksAtOnceAreNotFromTheFuture(t *testing.T) {
	n := startChain(t)
	if head := n.mine(300); head != 300 {
		t.Errorf("head is %d", head)
	}
	var wei hexutil.Big
	n.call(&wei, "eth_getBalance", n.Coinbase, "0x3")
	if want := new(big.Int).Mul(big.NewInt(6), big.NewInt(params.Ether)); wei.ToInt().Cmp(want) != 0 {
		t.Errorf("after block 3 the coinbase had %d Wei, want %d", wei.ToInt(), want)
	}
	if got := n.block(300).Difficulty.ToInt().Int64(); got != 512 {
		t.Errorf("difficulty went from 512 to %d", got)
	}
}

func TestGivenKeyIsThePoolsAccount(t *testing.T) {
	n := startChain(t, "--key", hexutil.Encode(crypto.FromECDSA(payerKey)), "--fund", payer.Hex()+"=1.5")
	if n.Account != payer || n.Coinbase != payer {
		t.Errorf("account is %s, coinbase %s, want %s", n.Account, n.Coinbase, payer)
	}
	if got := n.balance(payer); got.String() != "1500000000000000000" {
		t.Errorf("funded with %d Wei", got)
	}
	tx := transfer(0)
	tx["from"] = payer
	n.call(nil, "eth_sendTransaction", tx)
}

func TestPeersFollowTheChain(t *testing.T) {
	a := rich(t, "--peer-port", "0")
	a.mine(3)
	b := rich(t, "--connect", a.Enode)
	await(func() bool {
		var peers hexutil.Uint64
		b.call(&peers, "net_peerCount")
		return peers == 1
	})
	same := func() bool { return a.block("latest").Hash == b.block("latest").Hash }
	a.mine(1)
	await(same)
	tx, _ := b.pay(0, params.TxGas, payee)
	await(func() bool { return a.knows(tx) })
	a.mine(1)
	await(same)
	if r := b.receipt(tx); r == nil || r.BlockNumber != 5 {
		t.Errorf("receipt at the peer is %+v", r)
	}
	a.call(nil, "devnet_reorg", 1, false)
	// Geth drops a block that arrives while its parent is still being imported,
	// and has no reason to ask for it before the next one is announced.
	for !same() {
		a.mine(1)
		for try := 0; try < 100 && !same(); try++ {
			time.Sleep(5 * time.Millisecond)
		}
	}
	if b.receipt(tx) != nil {
		t.Error("the peer did not follow the reorganisation")
	}
}

func TestLondon(t *testing.T) {
	dynamic := map[string]any{
		"from": account, "to": payee, "value": "0x1", "gas": "0x5208",
		"maxFeePerGas": "0x77359400", "maxPriorityFeePerGas": "0x3b9aca00",
	}
	t.Run("off, blocks have no base fee and dynamic fees are refused", func(t *testing.T) {
		n := rich(t)
		n.mine(1)
		if n.block(0).BaseFee != nil || n.block(1).BaseFee != nil {
			t.Error("a block has a base fee")
		}
		n.refuses("invalid sender", "eth_sendTransaction", dynamic) // geth's word for a type it does not know yet
	})
	t.Run("on, the base fee falls with empty blocks and dynamic fees are mined", func(t *testing.T) {
		n := rich(t, "--london")
		n.mine(1)
		zero, one := n.block(0).BaseFee, n.block(1).BaseFee
		if zero == nil || one == nil || one.ToInt().Cmp(zero.ToInt()) >= 0 {
			t.Fatalf("base fees are %v, %v", zero, one)
		}
		var tx common.Hash
		n.call(&tx, "eth_sendTransaction", dynamic)
		n.mine(1)
		if r := n.receipt(tx); r == nil || r.Status != 1 {
			t.Errorf("receipt is %+v", r)
		}
		n.call(nil, "devnet_fund", payee, "5")
	})
}

func TestGenesisSeedTellsChainsApart(t *testing.T) {
	a, b, c := startChain(t), startChain(t, "--genesis-seed", "another"), startChain(t)
	if a.Genesis == b.Genesis || a.ChainID != b.ChainID {
		t.Errorf("chains %d %s and %d %s", a.ChainID, a.Genesis, b.ChainID, b.Genesis)
	}
	if a.Genesis != c.Genesis {
		t.Errorf("one configuration made %s and %s", a.Genesis, c.Genesis)
	}
	if got := b.block(0).ExtraData; string(got) != "another" {
		t.Errorf("extra data is %q", got)
	}
}

func TestFundMinesOneTransferOfTheFaucet(t *testing.T) {
	n := rich(t)
	waiting, _ := n.pay(0, params.TxGas, payee)
	to := common.HexToAddress("0xbb")
	for i, wei := range []string{"123456789012345678901", "0x10"} {
		var tx common.Hash
		n.call(&tx, "devnet_fund", to, wei)
		if b := n.block("latest"); int(b.Number) != i+1 || len(b.Transactions) != 1 || b.Transactions[0] != tx {
			t.Errorf("funding made block %d with %v, want %s in block %d", b.Number, b.Transactions, tx, i+1)
		}
	}
	if got := n.balance(to); got.String() != "123456789012345678917" {
		t.Errorf("funded with %d Wei", got)
	}
	if n.receipt(waiting) != nil {
		t.Error("the mempool was mined along")
	}
	for _, wei := range []string{"", "-1", "1.5"} {
		n.refuses("want Wei", "devnet_fund", to, wei)
	}
}

func TestTransfersListsTheCanonicalChain(t *testing.T) {
	n := rich(t)
	var reject common.Address
	n.call(&reject, "devnet_deploy", "reject") // block 1
	good, _ := n.pay(0, params.TxGas, payee)
	n.mine(1)
	bad, _ := n.pay(1, 50_000, reject)
	n.mine(1)
	n.pay(2, params.TxGas, payee)
	n.mine(1)
	n.call(nil, "devnet_reorg", 1, false)

	want := []chain.Transfer{
		{Block: 2, Hash: good, Nonce: 0, To: &payee, ValueWei: "1", Status: 1},
		{Block: 3, Hash: bad, Nonce: 1, To: &reject, ValueWei: "1", Status: 0},
	}
	for _, tc := range []struct {
		name string
		span []any
		want []chain.Transfer
	}{
		{"all of it", nil, want},
		{"from a block on", []any{3}, want[1:]},
		{"both ends included", []any{2, 2}, want[:1]},
		{"an end beyond the head", []any{0, 1000}, want},
		{"nothing", []any{4, 5}, want[:0]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var got []chain.Transfer
			n.call(&got, "devnet_transfers", append([]any{payer}, tc.span...)...)
			if a, b := fmt.Sprintf("%s", show(got)), fmt.Sprintf("%s", show(tc.want)); a != b || got == nil {
				t.Errorf("got %s, want %s", a, b)
			}
		})
	}
}

func show(sent []chain.Transfer) (lines []string) {
	for _, s := range sent {
		lines = append(lines, fmt.Sprintf("%d %s %d %s %s %d", s.Block, s.Hash, s.Nonce, s.To, s.ValueWei, s.Status))
	}
	return lines
}

func TestIntervalSealsBlocksUnasked(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
	}{
		{"from the start", []string{"--block-interval", "20ms"}},
		{"when told to", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := startChain(t, tc.args...)
			socket, err := rpc.Dial(n.WS)
			if err != nil {
				t.Fatal(err)
			}
			defer socket.Close()
			heads := make(chan block)
			sub, err := socket.EthSubscribe(t.Context(), heads, "newHeads")
			if err != nil {
				t.Fatal(err)
			}
			defer sub.Unsubscribe()
			if tc.args == nil {
				n.call(nil, "devnet_setInterval", 20)
			}
			first := <-heads
			if second := <-heads; second.Number != first.Number+1 {
				t.Errorf("block %d followed %d", second.Number, first.Number)
			}
			n.call(nil, "devnet_setInterval", 0)
			// Whoever has the turn to seal has finished when a call comes back;
			// from then on nothing but calls moves the head.
			head := n.mine(1)
			if again := n.mine(1); again != head+1 {
				t.Errorf("head went from %d to %d by one block", head, again)
			}
		})
	}
}

func TestDataDirKeepsTheBlocks(t *testing.T) {
	dir := t.TempDir()
	n := rich(t, "--datadir", dir)
	tx, _ := n.pay(0, params.TxGas, payee)
	n.mine(5)
	waiting, _ := n.pay(1, params.TxGas, payee)
	n.stop()
	n = rich(t, "--datadir", dir)
	if r := n.receipt(tx); r == nil || r.BlockNumber != 1 {
		t.Errorf("receipt is %+v", r)
	}
	if n.knows(waiting) {
		t.Error("the mempool outlived the restart")
	}
	if head := n.mine(1); head != 6 {
		t.Errorf("head is %d", head)
	}
}

func TestNothingIsLeftBehind(t *testing.T) {
	tmp := t.TempDir()
	t.Setenv("TMPDIR", tmp)
	n := startChain(t)
	n.mine(1)
	n.stop()
	if left, err := filepath.Glob(filepath.Join(tmp, "*")); err != nil || len(left) > 0 {
		t.Errorf("left %v, %v", left, err)
	}
}

func TestEndsInTheMiddleOfWork(t *testing.T) {
	n := startChain(t, "--difficulty", "1000000000000000")
	ticks := func() (ticks int) {
		stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", n.cmd.Process.Pid))
		if err == nil {
			_, err = fmt.Sscan(strings.Fields(string(stat))[13], &ticks)
		}
		if err != nil {
			t.Fatal(err)
		}
		return ticks
	}
	started := ticks() // which may have taken the processor for long
	done := make(chan error)
	go func() { done <- n.try(nil, "devnet_mine", 1) }()
	await(func() bool { return ticks() > started+20 }) // the search has begun when the processor is busy
	n.stop()
	if err := <-done; err == nil || !strings.Contains(err.Error(), "the devnet ends") {
		t.Errorf("the call that mined ended with %v", err)
	}
}
