package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
)

// TestTypedCallsAgreeWithTheChain walks through every question about one short chain.
func TestTypedCallsAgreeWithTheChain(t *testing.T) {
	chain := rpctest.NewChain(rpctest.Options{BaseFee: true})
	chain.Fund(account, ether)
	chain.SetCoinbase(miner)
	n := chain.Node(t)
	c := client(t, n.URL)
	chain.MineEmpty(1)
	uncle := chain.MineUncle()
	for nonce := range uint64(2) {
		if err := c.SendRawTransaction(background, signed(t, nonce)); err != nil {
			t.Fatal(err)
		}
	}
	for _, nonce := range []uint64{4, 2} {
		if err := c.SendRawTransaction(background, signed(t, nonce)); err != nil {
			t.Fatal(err)
		}
	}
	hash := func(nonce uint64) common.Hash { return crypto.Keccak256Hash(signed(t, nonce)) }

	pool := []common.Hash{hash(0), hash(1), hash(2), hash(4)}
	for _, hide := range []string{"", "txpool_contentFrom", "txpool_content"} {
		n.DisableMethod(hide)
		known, got, err := c.PoolHas(background, account)
		if want := hide != "txpool_content"; err != nil || known != want || want && !slices.Equal(got, pool) {
			t.Errorf("PoolHas without %q = %t, %v, %v", hide, known, got, err)
		}
	}
	if tx, err := c.TransactionByHash(background, hash(4)); err != nil || tx.BlockHash != nil || tx.BlockNumber != nil || tx.From != account || tx.Nonce != 4 {
		t.Errorf("pooled transaction %+v, %v", tx, err)
	}
	if next, err := c.PendingNonce(background, account); err != nil || next != 3 {
		t.Errorf("PendingNonce = %d, %v", next, err)
	}
	if number, difficulty, err := c.PendingBlock(background); err != nil || number != 2 || difficulty.Sign() <= 0 {
		t.Errorf("PendingBlock = %d, %d, %v", number, difficulty, err)
	}
	chain.Mine(1)

	head, err := c.Head(background)
	if err != nil || head.Number != 2 || head.Miner != miner || head.BaseFee == nil || head.GasUsed != 63_000 || head.Nonce.Uint64() == 0 ||
		!slices.Equal(head.Uncles, []common.Hash{uncle}) || !slices.Equal(head.TxHashes, pool[:3]) || head.Transactions != nil {
		t.Errorf("Head = %+v, %v", head, err)
	}
	byNumber, err := c.BlockByNumber(background, 2)
	if err != nil || !reflect.DeepEqual(byNumber, head) {
		t.Errorf("BlockByNumber = %+v, %v", byNumber, err)
	}
	byHash, err := c.BlockByHash(background, head.Hash)
	if err != nil || !reflect.DeepEqual(byHash, head) {
		t.Errorf("BlockByHash = %+v, %v", byHash, err)
	}
	full, err := c.BlockWithTransactions(background, 2)
	if err != nil || len(full.Transactions) != 3 || !slices.Equal(full.TxHashes, head.TxHashes) ||
		*full.Transactions[1].BlockHash != head.Hash || *full.Transactions[1].To != miner || full.Transactions[1].Value.Int64() != 7 {
		t.Errorf("BlockWithTransactions = %+v, %v", full, err)
	}
	u, err := c.UncleByIndex(background, 2, 0)
	if err != nil || u.Hash != uncle || u.Number != 1 {
		t.Errorf("UncleByIndex = %+v, %v", u, err)
	}
	txs, txErrs := c.Transactions(background, []common.Hash{hash(1), {1}})
	if txErrs[0] != nil || !reflect.DeepEqual(*txs[0], full.Transactions[1]) || !errors.Is(txErrs[1], ErrNotFound) {
		t.Errorf("Transactions = %v, %v", txs, txErrs)
	}
	receipt, err := c.Receipt(background, hash(0))
	if err != nil || receipt.Status != 1 || receipt.BlockHash != head.Hash || receipt.BlockNumber != 2 || receipt.GasUsed != 21_000 ||
		receipt.EffectiveGasPrice.Int64() != 1e9 || receipt.From != account || *receipt.To != miner {
		t.Errorf("Receipt = %+v, %v", receipt, err)
	}
	receipts, errs := c.Receipts(background, []common.Hash{hash(1), hash(4)})
	if errs[0] != nil || *receipts[0] == receipt || receipts[0].TxHash != hash(1) || receipts[1] != nil || !errors.Is(errs[1], ErrNotFound) {
		t.Errorf("Receipts = %v, %v", receipts, errs)
	}
	if all, err := c.BlockReceipts(background, 2); err != nil || len(all) != 3 || !reflect.DeepEqual(all[0], receipt) || all[1].TxHash != hash(1) {
		t.Errorf("BlockReceipts = %+v, %v", all, err)
	}
	if both, err := c.BlocksWithTransactions(background, []uint64{2, 1}); err != nil || len(both) != 2 || !reflect.DeepEqual(both[0], full) || both[1].Number != 1 {
		t.Errorf("BlocksWithTransactions = %+v, %v", both, err)
	}
	nonce, balance, err := c.AccountAt(background, account, 2)
	if err != nil || nonce != 3 || balance.Cmp(chain.Balance(account)) != 0 {
		t.Errorf("AccountAt(2) = %d, %d, %v", nonce, balance, err)
	}
	if nonce, err := c.NonceAt(background, account, 1); err != nil || nonce != 0 {
		t.Errorf("NonceAt(1) = %d, %v", nonce, err)
	}
	if balance, err := c.BalanceAt(background, account, 1); err != nil || balance.Cmp(ether) != 0 {
		t.Errorf("BalanceAt(1) = %d, %v", balance, err)
	}
	if gas, err := c.EstimateGas(background, TxArgs{From: account, To: &miner, Value: big.NewInt(1)}); err != nil || gas != 21_000 {
		t.Errorf("EstimateGas = %d, %v", gas, err)
	}
	chain.SetCode(miner, rpctest.Accept)
	chain.HandleCall(chain.CodeSizes(1))
	code := append([]byte{0xfe}, slices.Concat(miner.Bytes(), account.Bytes())...)
	if out, err := c.CallContract(background, TxArgs{Data: code}, 2); err != nil || !slices.Equal(out, []byte{1, 0}) {
		t.Errorf("CallContract = %x, %v", out, err)
	}
	if price, err := c.GasPrice(background); err != nil || price.Int64() != 2e9 {
		t.Errorf("GasPrice = %d, %v", price, err)
	}
	if tip, err := c.MaxPriorityFee(background); err != nil || tip.Int64() != 1 {
		t.Errorf("MaxPriorityFee = %d, %v", tip, err)
	}
	for _, want := range []bool{false, true} {
		n.SetSyncing(want)
		if got, err := c.Syncing(background); err != nil || got != want {
			t.Errorf("Syncing = %t, %v", got, err)
		}
	}
	_, errNumber := c.BlockByNumber(background, 3)
	_, errHash := c.BlockByHash(background, common.Hash{1})
	_, errFull := c.BlockWithTransactions(background, 3)
	_, errUncle := c.UncleByIndex(background, 2, 1)
	_, errTx := c.TransactionByHash(background, common.Hash{1})
	_, errReceipt := c.Receipt(background, common.Hash{1})
	_, errBlocks := c.Blocks(background, 1, 3)
	_, errReceipts := c.BlockReceipts(background, 3)
	_, errMany := c.BlocksWithTransactions(background, []uint64{1, 3})
	for i, err := range []error{errNumber, errHash, errFull, errUncle, errTx, errReceipt, errBlocks, errReceipts, errMany} {
		if !errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnknown) {
			t.Errorf("absent thing %d: %v", i, err)
		}
	}
	if _, err := c.Blocks(background, 3, 2); err == nil {
		t.Error("took a range that ends before it begins")
	}
	if _, err := c.UncleByIndex(background, 2, -1); err == nil {
		t.Error("took a negative index")
	}
}

func TestBlocksFollowEachOther(t *testing.T) {
	chain := rpctest.NewChain(rpctest.Options{})
	n := chain.Node(t)
	chain.MineEmpty(150)
	calls := 0
	n.OnCall(func(string) {
		if calls++; calls == MaxBatch+1 {
			chain.Reorg(100, false)
		}
	})
	c := client(t, n.URL)
	if _, err := c.Blocks(background, 1, 150); !errors.Is(err, ErrUnknown) {
		t.Errorf("blocks of two chains: %v", err)
	}
	blocks, err := c.Blocks(background, 1, 150)
	if err != nil || len(blocks) != 150 || blocks[149].Number != 150 {
		t.Errorf("Blocks = %d, %v", len(blocks), err)
	}
}

func TestIndexingIsNotYet(t *testing.T) {
	s := serve(t, always(`"error":{"code":-32000,"message":"transaction indexing is in progress"}`))
	_, err := client(t, s.url).Receipt(background, common.Hash{1})
	if !errors.Is(err, ErrNotYet) || !IsIndexing(err) || errors.Is(err, ErrNotFound) || errors.Is(err, ErrUnknown) {
		t.Errorf("Receipt: %v", err)
	}
	if IsIndexing(&Error{Message: "no"}) || IsIndexing(nil) {
		t.Error("another error is taken for indexing")
	}
}

const (
	hash1 = `"0x0100000000000000000000000000000000000000000000000000000000000000"`
	addr1 = `"0x00000000000000000000000000000000000000aa"`
)

var sampleBlock = `{"number":"0x1","hash":` + hash1 + `,"parentHash":` + hash1 + `,"timestamp":"0x2","difficulty":"0x3","miner":` + addr1 +
	`,"nonce":"0x0000000000000004","mixHash":` + hash1 + `,"gasLimit":"0x5","gasUsed":"0x6","extraData":"0x","uncles":[],"transactions":[]}`

var sampleReceipt = `{"transactionHash":` + hash1 + `,"blockHash":` + hash1 + `,"blockNumber":"0x1","status":"0x1","gasUsed":"0x5208","from":` + addr1 + `,"to":null}`

var sampleTransaction = `{"hash":` + hash1 + `,"from":` + addr1 + `,"to":null,"nonce":"0x1","value":"0x2","gas":"0x3","gasPrice":"0x4","input":"0x","blockHash":null,"blockNumber":null}`

// TestWrongShapeNamesTheField: whatever a node leaves out or makes of another type, the
// answer is unknown and the error says where.
func TestWrongShapeNamesTheField(t *testing.T) {
	h := common.HexToHash(strings.Trim(hash1, `"`))
	kinds := []struct {
		name     string
		sample   string
		optional []string
		ask      func(*Client) error
	}{
		{"block", sampleBlock, nil, func(c *Client) error { _, err := c.BlockByNumber(background, 1); return err }},
		{"receipt", sampleReceipt, []string{"to"}, func(c *Client) error { _, err := c.Receipt(background, h); return err }},
		{"transaction", sampleTransaction, []string{"to", "blockHash", "blockNumber"}, func(c *Client) error { _, err := c.TransactionByHash(background, h); return err }},
	}
	for _, kind := range kinds {
		var members map[string]json.RawMessage
		if err := json.Unmarshal([]byte(kind.sample), &members); err != nil {
			t.Fatal(err)
		}
		answer := func(t *testing.T, change map[string]string) error {
			m := map[string]json.RawMessage{}
			for k, v := range members {
				m[k] = v
			}
			for k, v := range change {
				if v == "" {
					delete(m, k)
				} else {
					m[k] = json.RawMessage(v)
				}
			}
			body, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			return kind.ask(client(t, serve(t, always(`"result":`+string(body))).url))
		}
		if err := answer(t, nil); err != nil {
			t.Errorf("%s as it should be: %v", kind.name, err)
		}
		for name := range members {
			for _, bad := range []string{"", "null", "true", `"0xzz"`, `"-0x1"`, "{}"} {
				if (bad == "" || bad == "null") && slices.Contains(kind.optional, name) {
					continue
				}
				t.Run(fmt.Sprintf("%s with %s %q", kind.name, name, bad), func(t *testing.T) {
					err := answer(t, map[string]string{name: bad})
					if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "eth_get") {
						t.Errorf("error %v, want unknown with the field's and the method's name", err)
					}
				})
			}
		}
	}
	zero := `"0x` + strings.Repeat("0", 64) + `"`
	for _, tc := range []struct {
		name   string
		result string
		ask    func(*Client) error
	}{
		{"a block of another height", strings.Replace(sampleBlock, `"0x1"`, `"0x2"`, 1), kinds[0].ask},
		{"a block of zero hash", strings.Replace(sampleBlock, hash1, zero, 1), kinds[0].ask},
		{"a block of another hash", sampleBlock, func(c *Client) error { _, err := c.BlockByHash(background, common.Hash{9}); return err }},
		{"transactions where hashes are due", strings.Replace(sampleBlock, `"transactions":[]`, `"transactions":[`+sampleTransaction+`]`, 1), kinds[0].ask},
		{"hashes where transactions are due", strings.Replace(sampleBlock, `"transactions":[]`, `"transactions":[`+hash1+`]`, 1), func(c *Client) error { _, err := c.BlockWithTransactions(background, 1); return err }},
		{"null where a transaction is due", strings.Replace(sampleBlock, `"transactions":[]`, `"transactions":[null]`, 1), func(c *Client) error { _, err := c.BlockWithTransactions(background, 1); return err }},
		{"another transaction", sampleTransaction, func(c *Client) error { _, err := c.TransactionByHash(background, common.Hash{9}); return err }},
		{"a receipt of status 2", strings.Replace(sampleReceipt, `"status":"0x1"`, `"status":"0x2"`, 1), kinds[1].ask},
		{"a receipt from before Byzantium", strings.Replace(sampleReceipt, `"status":"0x1"`, `"root":`+hash1, 1), kinds[1].ask},
		{"a receipt of another transaction", strings.Replace(sampleReceipt, hash1, strings.Replace(hash1, "1", "2", 1), 1), kinds[1].ask},
		{"work of two elements", `["0x","0x"]`, func(c *Client) error { _, err := c.GetWork(background); return err }},
		{"work of short hashes", `["0x01","0x01","0x01"]`, func(c *Client) error { _, err := c.GetWork(background); return err }},
		{"a verdict that is no boolean", `null`, func(c *Client) error { _, err := c.SubmitWork(background, "0x", "0x", "0x"); return err }},
		{"syncing that is null", `null`, func(c *Client) error { _, err := c.Syncing(background); return err }},
		{"a pool without its parts", `{}`, func(c *Client) error { _, _, err := c.PoolHas(background, account); return err }},
		{"a pool of strange nonces", `{"pending":{"x":{"hash":` + hash1 + `}},"queued":{}}`, func(c *Client) error { _, _, err := c.PoolHas(background, account); return err }},
		{"signed bytes that are none", `{"raw":"0x"}`, func(c *Client) error { _, err := c.SignTransaction(background, complete()); return err }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := tc.ask(client(t, serve(t, always(`"result":`+tc.result)).url))
			if !errors.Is(err, ErrUnknown) || errors.Is(err, ErrNotFound) {
				t.Errorf("error %v, want unknown", err)
			}
		})
	}
}

func TestWork(t *testing.T) {
	for _, work := range []string{
		"[" + hash1 + "," + hash1 + "," + hash1 + "]",
		"[" + hash1 + "," + hash1 + "," + hash1 + `,"0x10"]`,
	} {
		var want []string
		if err := json.Unmarshal([]byte(work), &want); err != nil {
			t.Fatal(err)
		}
		if got, err := client(t, serve(t, always(`"result":`+work)).url).GetWork(background); err != nil || !slices.Equal(got, want) {
			t.Errorf("GetWork = %v, %v", got, err)
		}
	}
	var params []json.RawMessage
	s := serve(t, func(reqs []asked) (int, string) {
		params = reqs[0].Params
		return always(`"result":true`)(reqs)
	})
	if ok, err := client(t, s.url).SubmitWork(background, "0xn", "0xh", "0xm"); err != nil || !ok || fmt.Sprintf("%s", params) != `["0xn" "0xh" "0xm"]` {
		t.Errorf("SubmitWork = %t, %v with %s", ok, err, params)
	}
}

// FuzzDecode: no body of an answer makes the client panic, and a result it takes obeys
// what the types promise.
func FuzzDecode(f *testing.F) {
	for _, result := range []string{
		sampleBlock, sampleReceipt, sampleTransaction, "null", "true", `"0x1"`, `"61"`, `{"raw":"0x01"}`,
		"[" + hash1 + "," + hash1 + "," + hash1 + "]", `{"pending":{"1":{"hash":` + hash1 + `}},"queued":{}}`,
	} {
		f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":` + result + `}`))
	}
	f.Add([]byte(`{"id":null,"error":{"code":-32000,"message":"no"}}`))
	h := common.HexToHash(strings.Trim(hash1, `"`))
	n := &node{name: "http://node", password: "secret"}
	f.Fuzz(func(t *testing.T, body []byte) {
		var (
			number  uint64
			big     *big.Int
			bytes   []byte
			yes     bool
			hash    common.Hash
			hashes  []common.Hash
			work    []string
			block   Block
			tx      Transaction
			receipt Receipt
		)
		for _, r := range []*Request{
			typed(&number, parseUint64, "m"), typed(&number, parseNetVersion, "m"), typed(&big, parseBig, "m"),
			typed(&bytes, parseBytes, "m"), typed(&bytes, parseSigned, "m"), typed(&yes, parseBool, "m"),
			typed(&yes, parseSyncing, "m"), typed(&hash, parseHash, "m"), typed(&hash, parseGenesis, "m"),
			typed(&hashes, parsePoolOf, "m"), typed(&hashes, parsePool(account), "m"), typed(&work, parseWork, "m"),
			typed(&block, parseBlock(whole), "m"), typed(&block, parseBlock(full), "m"), typed(&block, parseBlock(uncle), "m"),
			typed(&tx, transactionOf(h), "m"), typed(&receipt, receiptOf(h), "m"), {Method: "m", Result: new(map[string]any)},
		} {
			var raw json.RawMessage
			err := json.Unmarshal(body, &raw)
			var a answer
			if err == nil {
				a, err = parseAnswer(raw)
			}
			if err != nil {
				_ = n.notJSON(200, body).Error()
				return
			}
			if err := n.judge(r, 1, a, 200); err != nil {
				_ = err.Error()
				_ = Classify(err)
			}
		}
		if block.Difficulty != nil && (block.Hash == common.Hash{} || block.Difficulty.Sign() < 0) ||
			tx.Value != nil && (tx.Value.Sign() < 0 || tx.GasPrice == nil) || receipt.Status > 1 ||
			receipt.TxHash != (common.Hash{}) && receipt.TxHash != h {
			t.Errorf("took %s", body)
		}
	})
}

// TestReceiptsOfOneBlockAreAskedForTogether holds them against those that are asked for
// one by one, with nodes that know only that.
func TestReceiptsOfOneBlockAreAskedForTogether(t *testing.T) {
	chain := rpctest.NewChain(rpctest.Options{})
	chain.Fund(account, ether)
	n := chain.Node(t)
	c := client(t, n.URL)
	hashes := []common.Hash{{1}} // nobody knows it
	for nonce := range uint64(25) {
		raw := signed(t, nonce)
		if err := c.SendRawTransaction(background, raw); err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, crypto.Keccak256Hash(raw))
		if nonce%10 == 9 {
			chain.Mine(1)
			hashes = append(hashes, common.Hash{2, byte(nonce)})
		}
	}
	chain.Mine(1)
	hashes = append(hashes, hashes[3]) // asked for twice
	want, missing := make([]*Receipt, len(hashes)), 0
	for i, hash := range hashes {
		r, err := c.Receipt(background, hash)
		switch {
		case err == nil:
			want[i] = &r
		case errors.Is(err, ErrNotFound):
			missing++
		default:
			t.Fatal(err)
		}
	}
	if missing != 3 {
		t.Fatalf("%d hashes have no receipt", missing)
	}
	for _, hide := range []string{"", "eth_getBlockReceipts"} {
		n.DisableMethod(hide)
		before := c.Calls()
		got, errs := c.Receipts(background, hashes)
		for i := range hashes {
			if !reflect.DeepEqual(got[i], want[i]) || (errs[i] == nil) != (want[i] != nil) || errs[i] != nil && !errors.Is(errs[i], ErrNotFound) {
				t.Errorf("without %q receipt %d is %+v, %v, want %+v", hide, i, got[i], errs[i], want[i])
			}
		}
		asked := c.Calls() - before
		if most := uint64(12); hide == "" && asked > most {
			t.Errorf("%d questions for %d receipts of 3 blocks, want at most %d", asked, len(hashes), most)
		}
		t.Logf("without %q: %d questions for %d receipts", hide, asked, len(hashes))
	}
}

// TestReceiptsDoWithoutBlocksThatAreNotAnswered: what a node does wrong with
// eth_getBlockReceipts costs one question of it in a while, and not its place.
func TestReceiptsDoWithoutBlocksThatAreNotAnswered(t *testing.T) {
	const method = "eth_getBlockReceipts"
	for name, fault := range map[string]rpctest.Fault{
		"cuts the connection": rpctest.Refuse, "answers a page": rpctest.HTML500, "answers null": rpctest.Null,
		"answers something else": rpctest.ZeroHash, "refuses": rpctest.ErrorReply(-32000, "too many receipts"), "does not know it": rpctest.ErrorReply(-32601, "unknown"),
	} {
		t.Run(name, func(t *testing.T) {
			chain := rpctest.NewChain(rpctest.Options{})
			chain.Fund(account, ether)
			a, b := chain.Node(t), chain.Node(t)
			var logs strings.Builder
			at := &clock{time.Unix(1000, 0)}
			c, err := New([]string{a.URL, b.URL}, patient, WithClock(at.now), WithLogger(slog.New(slog.NewTextHandler(&logs, nil))))
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			var hashes []common.Hash
			for nonce := range uint64(8) {
				raw := signed(t, nonce)
				if err := c.SendRawTransaction(background, raw); err != nil {
					t.Fatal(err)
				}
				hashes = append(hashes, crypto.Keccak256Hash(raw))
			}
			chain.Mine(1)
			a.Fail(method, 0, fault)
			b.Fail(method, 0, fault)
			poll := func() {
				t.Helper()
				receipts, errs := c.Receipts(background, hashes)
				for i, err := range errs {
					if err != nil || receipts[i].TxHash != hashes[i] {
						t.Errorf("receipt %d is %+v, %v", i, receipts[i], err)
					}
				}
			}
			poll()
			byB := b.Calls(method)
			if n := a.Calls(method); n != 1 || byB > 1 {
				t.Errorf("the method was tried %d and %d times", n, byB)
			}
			at.at = at.at.Add(detour - time.Second)
			poll()
			if n := a.Calls(method) + b.Calls(method); n != 1+byB {
				t.Errorf("it is tried again within %s: %d times", detour, n)
			}
			if b.Calls("") != byB || logs.Len() > 0 {
				t.Errorf("the node lost its place: the other was asked %d questions\n%s", b.Calls(""), logs.String())
			}
			a.Heal()
			at.at = at.at.Add(time.Second)
			before := c.Calls()
			poll()
			if n := c.Calls() - before; n != 2 {
				t.Errorf("%d questions after %s, want 2", n, detour)
			}
		})
	}
}
