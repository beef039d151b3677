package payouts

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"log/slog"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sys/unix"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// oldPool is the ledger, the journal and the chain of a pool that has paid for years:
// each of its payments is final and buried.
type oldPool struct {
	miners, payments int
	account          common.Address
}

const (
	benchAmount = 500_000_000 // Shannon of each payment
	benchBlock  = 64          // payments in a block, which is a window
	benchFirst  = 1000        // the first block that holds one
	benchPrice  = 1_000_000_000
	benchGas    = 21_000
	benchConf   = 120
)

func (o oldPool) login(n int) string {
	return hexutil.Encode(binary.BigEndian.AppendUint64(make([]byte, 12), uint64(0xabc000+n%o.miners)))
}

func benchHash(kind, n int) string {
	return hexutil.Encode(binary.BigEndian.AppendUint64(append([]byte{byte(kind)}, make([]byte, 23)...), uint64(n+1)))
}

func (o oldPool) id(n int) string { return fmt.Sprintf("%d-%08x", n, n*2654435761) }

func (o oldPool) payment(n int) *storage.Payment {
	return &storage.Payment{ID: o.id(n), Kind: storage.ToMiner, Login: o.login(n), Amount: benchAmount, Time: int64(1_700_000_000 + n), State: storage.Signed,
		Account: o.account, Nonce: uint64(n), To: common.HexToAddress(o.login(n)), Value: util.Shannon(benchAmount).Wei(), Gas: benchGas,
		Attempts: []storage.Attempt{{Hash: common.HexToHash(benchHash(1, n)), Raw: make([]byte, 110), GasPrice: big.NewInt(benchPrice), AtBlock: uint64(benchFirst + n/benchBlock)}}}
}

func (o oldPool) height() int { return benchFirst + o.payments/benchBlock + benchConf }

// fill writes the ledger.
func (o oldPool) fill(b *testing.B, srv *storagetest.Server) {
	b.Helper()
	ctx := context.Background()
	k := storage.NewKeys("eth")
	pipe := srv.Client().Pipeline()
	flush := func(least int) {
		if pipe.Len() < least {
			return
		}
		if _, err := pipe.Exec(ctx); err != nil {
			b.Fatal(err)
		}
	}
	pipe.HSet(ctx, k.Meta(), "chainId", 61, "genesis", benchHash(2, 0), "account", o.account.Hex(), "firstNonce", 0, "nextNonce", o.payments, "since", 1_700_000_000,
		"step", 1, "settledNonce", o.payments)
	pipe.HSet(ctx, k.Opening(), "*", "0:0:0:0")
	pipe.HSet(ctx, k.Finances(), "balance", 0, "paid", o.payments*benchAmount, "pending", 0)
	const blocks = 1000
	for n := range blocks {
		pipe.ZAdd(ctx, k.Matured(), redis.Z{Score: float64(n), Member: fmt.Sprintf("0:0:0x%016x:%s:1:1:1:0", n, benchHash(3, n))})
	}
	for m := range o.miners {
		pipe.HSet(ctx, k.Miner(o.login(m)), "balance", 0, "paid", o.payments/o.miners*benchAmount, "pending", 0)
		for part := range o.payments / o.miners {
			block := (m + part*blocks/10) % blocks
			pipe.HSet(ctx, k.Credits(uint64(block), benchHash(3, block)), o.login(m), benchAmount)
		}
		flush(5000)
	}
	for n := range o.payments {
		p := o.payment(n)
		block := benchFirst + n/benchBlock
		attempts := fmt.Sprintf(`[{"hash":"%s","gasPrice":%d,"atBlock":%d}]`, benchHash(1, n), benchPrice, block)
		pipe.HSet(ctx, k.Payment(p.ID), "kind", "payment", "login", p.Login, "amount", benchAmount, "time", p.Time, "account", o.account.Hex(), "nonce", n, "to", p.To.Hex(),
			"value", p.Value.String(), "gas", benchGas, "replaces", "", "tries", 1, "attempts", attempts, "state", "final", "hash", benchHash(1, n),
			"block", block, "blockHash", benchHash(2, block), "fee", benchGas*benchPrice)
		pipe.HSet(ctx, k.Nonces(o.account), n, p.ID)
		pipe.ZAdd(ctx, k.PaymentsAll(), redis.Z{Score: float64(p.Time), Member: benchHash(1, n) + ":" + p.PendingRow()})
		flush(5000)
	}
	flush(1)
}

// write writes the journal, a batch to a line.
func (o oldPool) write(b *testing.B, path string) {
	b.Helper()
	file, err := os.Create(path)
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	w := bufio.NewWriter(file)
	line := func(records ...Record) {
		body, err := json.Marshal(records)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := fmt.Fprintf(w, "%08x %s\n", crc32.ChecksumIEEE(body), body); err != nil {
			b.Fatal(err)
		}
	}
	line(Record{Header: &Header{ID: "bench", ChainID: 61, Genesis: common.HexToHash(benchHash(2, 0)), Account: o.account}})
	for from := 0; from < o.payments; from += benchBlock {
		var records []Record
		for n := from; n < min(from+benchBlock, o.payments); n++ {
			records = append(records, Record{Payment: o.payment(n)})
		}
		line(records...)
	}
	if err := w.Flush(); err != nil {
		b.Fatal(err)
	}
}

// ServeHTTP is a node of the chain, which keeps the state of its last blocks.
func (o oldPool) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	type question struct {
		ID     json.RawMessage   `json:"id"`
		Method string            `json:"method"`
		Params []json.RawMessage `json:"params"`
	}
	body, _ := io.ReadAll(r.Body)
	var questions []question
	batch := strings.HasPrefix(string(body), "[")
	if !batch {
		body = append(append([]byte("["), body...), ']')
	}
	if err := json.Unmarshal(body, &questions); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	out := new(bytes.Buffer) // in one piece: what is measured is the audit
	defer func() { _, _ = w.Write(out.Bytes()) }()
	if batch {
		fmt.Fprint(out, `[`)
	}
	for i, q := range questions {
		if i > 0 {
			fmt.Fprint(out, `,`)
		}
		fmt.Fprintf(out, `{"jsonrpc":"2.0","id":%s,"result":`, q.ID)
		o.answer(out, q.Method, q.Params)
		fmt.Fprint(out, `}`)
	}
	if batch {
		fmt.Fprint(out, `]`)
	}
}

func (o oldPool) answer(out io.Writer, method string, params []json.RawMessage) {
	number := func(raw json.RawMessage) int {
		text := strings.Trim(string(raw), `"`)
		if text == "latest" {
			return o.height()
		}
		n, _ := strconv.ParseInt(text, 0, 64)
		return int(n)
	}
	used := func(block int) int { return max(0, min(o.payments, (block-benchFirst+1)*benchBlock)) }
	switch method {
	case "eth_chainId":
		fmt.Fprint(out, `"0x3d"`)
	case "eth_syncing":
		fmt.Fprint(out, `false`)
	case "eth_getTransactionCount":
		fmt.Fprintf(out, `"0x%x"`, used(number(params[1])))
	case "eth_getBalance":
		spent := new(big.Int).SetInt64(int64(used(number(params[1]))))
		spent.Mul(spent, new(big.Int).Add(util.Shannon(benchAmount).Wei(), big.NewInt(benchGas*benchPrice)))
		fmt.Fprintf(out, `"0x%x"`, new(big.Int).Sub(coinsToWei(1_000_000_000), spent))
	case "eth_getBlockByNumber":
		o.block(out, number(params[0]), string(params[1]) == "true")
	case "eth_getBlockReceipts":
		block := number(params[0])
		hash, account := benchHash(2, block), o.account.Hex()
		fmt.Fprint(out, `[`)
		for n := used(block - 1); n < used(block); n++ {
			if n > used(block-1) {
				fmt.Fprint(out, `,`)
			}
			fmt.Fprintf(out, `{"transactionHash":"%s","transactionIndex":"0x1","blockHash":"%s","blockNumber":"0x%x","from":"%s","to":"%s","status":"0x1","gasUsed":"0x5208","cumulativeGasUsed":"0x5208","effectiveGasPrice":"0x%x","contractAddress":null,"logs":[],"logsBloom":"0x%s","type":"0x0"}`,
				benchHash(1, n), hash, block, account, o.login(n), benchPrice, noLogs)
		}
		fmt.Fprint(out, `]`)
	default:
		fmt.Fprint(out, `null`)
	}
}

// noLogs is the bloom of none.
var noLogs = strings.Repeat("0", 512)

func (o oldPool) block(out io.Writer, block int, full bool) {
	used := func(block int) int { return max(0, min(o.payments, (block-benchFirst+1)*benchBlock)) }
	fmt.Fprintf(out, `{"number":"0x%x","hash":"%s","parentHash":"%s","timestamp":"0x%x","difficulty":"0x1","miner":"0x0000000000000000000000000000000000000001","nonce":"0x0000000000000001","mixHash":"%s","gasLimit":"0x7a1200","gasUsed":"0x0","extraData":"0x","uncles":[],"transactions":[`,
		block, benchHash(2, block), benchHash(2, block-1), 1_700_000_000+13*block, benchHash(2, block))
	hash, account, value := benchHash(2, block), o.account.Hex(), util.Shannon(benchAmount).Wei()
	for n := used(block - 1); full && n < used(block); n++ {
		if n > used(block-1) {
			fmt.Fprint(out, `,`)
		}
		fmt.Fprintf(out, `{"hash":"%s","from":"%s","to":"%s","nonce":"0x%x","value":"0x%x","gas":"0x5208","gasPrice":"0x%x","input":"0x","type":"0x0","v":"0x9d","r":"%s","s":"%s","blockHash":"%s","blockNumber":"0x%x","transactionIndex":"0x1"}`,
			benchHash(1, n), account, o.login(n), n, value, benchPrice, benchHash(4, n), benchHash(5, n), hash, block)
	}
	fmt.Fprint(out, `]}`)
}

// BenchmarkAudit holds 1,000,000 payments to 100,000 miners in Redis against the journal
// and the chain: what a day has added, and all from the first payment on.
func BenchmarkAudit(b *testing.B) {
	o := oldPool{miners: 100_000, payments: 1_000_000, account: common.HexToAddress("0x1000000000000000000000000000000000000001")}
	srv := storagetest.Start(b)
	o.fill(b, srv)
	cfg := DefaultConfig()
	cfg.Enabled, cfg.Confirmations = true, benchConf
	cfg.Journal = filepath.Join(b.TempDir(), "payouts.journal")
	o.write(b, cfg.Journal)
	server := httptest.NewServer(o)
	b.Cleanup(server.Close)
	node, err := rpc.New([]string{server.URL}, time.Minute)
	if err != nil {
		b.Fatal(err)
	}
	redisCfg := storage.DefaultConfig()
	redisCfg.Endpoint = srv.Addr()
	db, err := storage.Open(context.Background(), redisCfg, "eth")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	a, err := NewAuditor(cfg, db, node, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	for _, tc := range []struct {
		name string
		full bool
	}{{"a day", false}, {"everything", true}} {
		b.Run(tc.name, func(b *testing.B) {
			defer measurePeak(b)()
			b.ReportAllocs()
			calls, before := node.Calls(), cpu(b)
			for b.Loop() {
				const seen = 990_016 // a multiple of what a block holds
				block := benchFirst + seen/benchBlock - 1
				spent := new(big.Int).Mul(big.NewInt(seen), new(big.Int).Add(util.Shannon(benchAmount).Wei(), big.NewInt(benchGas*benchPrice)))
				since := storage.Audited{Account: o.account, Block: uint64(block), Hash: common.HexToHash(benchHash(2, block)), Nonce: seen, Settled: seen,
					BalanceWei: spent.Sub(coinsToWei(1_000_000_000), spent)}
				if err := db.SaveAudit(context.Background(), 1, storage.Report{}, &since); err != nil {
					b.Fatal(err)
				}
				r, err := a.Audit(context.Background(), tc.full)
				if err != nil || !r.Clean() || len(r.Looked) != 3 || r.Payments != o.payments || r.Miners != o.miners {
					b.Fatalf("%d findings, first %+v, notes %q, %v", len(r.Findings), r.Findings[:min(len(r.Findings), 3)], r.Notes, err)
				}
			}
			b.ReportMetric(float64(node.Calls()-calls)/float64(b.N), "node-calls/op")
			b.ReportMetric((cpu(b)-before).Seconds()/float64(b.N), "cpu-s/op")
		})
	}
}

// cpu is what this process has used of processors: the auditor and the node, not Redis.
func cpu(b *testing.B) time.Duration {
	var used unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &used); err != nil {
		b.Fatal(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// measurePeak reports the most memory in use at any moment of what follows.
func measurePeak(b *testing.B) (stop func()) {
	var peak atomic.Uint64
	runtime.GC()
	done, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		for {
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			peak.Store(max(peak.Load(), m.HeapAlloc))
			select {
			case <-done:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	return func() {
		close(done)
		<-ended
		b.ReportMetric(float64(peak.Load())/1e6, "peak-MB")
	}
}
