package e2e

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
)

// BenchmarkPayouts pays 1,000 due miners on the real chain with blocks of
// 8,000,000 gas (380 plain transfers), and reports payees per block, node calls
// per payee (every element of a batch is a call) and the pool's peak memory.
// The existing pools pay 1.00 payee a block with 6.4 to 7.4 calls.
func BenchmarkPayouts(b *testing.B) {
	for _, bm := range []struct {
		signer string
		window int
	}{{"keystore", 64}, {"keystore", 400}, {"node", 64}, {"node", 400}} {
		b.Run(fmt.Sprintf("signer=%s/window=%d", bm.signer, bm.window), func(b *testing.B) {
			for range b.N {
				benchPayouts(b, bm.signer, bm.window)
			}
		})
	}
}

func benchPayouts(b *testing.B, signer string, window int) {
	const due = 1000
	c := startChain(b, "--gas-limit", "8000000")
	node := fault.HTTP(b, c.URL)
	w := newWorld(b, storagetest.Start(b), c)
	w.nodeURL = node.URL()
	w.payouts["window"], w.payouts["pollInterval"], w.payouts["confirmations"] = window, "250ms", 12
	w.payouts["timeout"], w.payouts["voidDepth"] = "30s", 100
	if signer == "keystore" {
		w.payouts["signer"] = keystoreSigner(b, w.dir, c.Account)
	}
	for range due {
		w.miner(coin)
	}
	interval := 4000 // ms; long enough to fill the window again
	if window < 380 {
		interval = 2000
	}
	c.call(nil, "devnet_setInterval", interval)
	began := time.Now()
	p := w.pool()
	w.until("everybody has a payment", p, func() bool { return w.redis.Do(b, "ZCARD", "eth:payments:all") == int64(due) })
	w.until("everything is mined", p, func() bool { return strings.Contains(p.out.String(), "session ends") })
	paying := time.Since(began)
	c.call(nil, "devnet_setInterval", 500)
	w.until("everything is final", p, w.settled)
	memory := peakMemory(b, p.cmd.Process.Pid)
	p.terminate(b)

	var ts []transfer
	c.call(&ts, "devnet_transfers", c.Account)
	if len(ts) != due {
		b.Fatalf("%d transactions are on the chain, want %d", len(ts), due)
	}
	blocks := ts[len(ts)-1].Block - ts[0].Block + 1
	full, inFull := uint64(0), 0
	for block := ts[0].Block; block < ts[len(ts)-1].Block; block++ { // the last one holds the rest
		full++
		for _, tr := range ts {
			if tr.Block == block {
				inFull++
			}
		}
	}
	calls := 0
	for _, m := range node.Messages() {
		calls += strings.Count(m, ",") + 1
	}
	b.ReportMetric(float64(inFull)/float64(max(full, 1)), "payees/block")
	b.ReportMetric(float64(blocks), "blocks")
	b.ReportMetric(float64(calls)/due, "calls/payee")
	b.ReportMetric(float64(len(node.Messages()))/due, "messages/payee")
	b.ReportMetric(float64(memory)/(1<<20), "MiB-peak")
	b.ReportMetric(paying.Seconds(), "s-paying")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkPlan plans a session with 10,000 due of 100,000 known miners.
func BenchmarkPlan(b *testing.B) {
	c := startChain(b)
	c.mine(1)
	w := newWorld(b, storagetest.Start(b), c)
	fill(b, w.redis.Client(), 100_000, 10_000)
	w.payouts["threshold"] = int64(coin)
	b.ResetTimer()
	for range b.N {
		began := time.Now()
		p := w.pool("plan")
		if status := p.wait(b); status != 0 {
			b.Fatalf("plan: status %d\n%s", status, p.out)
		}
		b.ReportMetric(time.Since(began).Seconds(), "s/plan")
		b.ReportMetric(float64(p.cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024, "MiB-peak")
		if !strings.Contains(p.out.String(), "10000 miners") {
			b.Fatalf("the plan does not pay 10000 miners:\n%.2000s", p.out)
		}
	}
}

// fill writes miners into Redis, the first of them due with a coin each.
func fill(b *testing.B, rdb *redis.Client, miners, due int) {
	ctx := context.Background()
	for from := 0; from < miners; from += 1000 {
		if _, err := rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for n := from; n < from+1000; n++ {
				balance := int64(coin) / 2
				if n < due {
					balance = int64(coin)
				}
				p.HSet(ctx, fmt.Sprintf("eth:miners:0x%040x", n+0x10000), "balance", balance, "paid", 0, "lastShare", 1700000000)
			}
			return nil
		}); err != nil {
			b.Fatal(err)
		}
	}
}

// peakMemory is the most a running process ever held, in bytes.
func peakMemory(b *testing.B, pid int) int64 {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if kib, ok := strings.CutPrefix(s.Text(), "VmHWM:"); ok {
			n, err := strconv.ParseInt(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(kib), "kB")), 10, 64)
			if err != nil {
				b.Fatal(err)
			}
			return n << 10
		}
	}
	b.Fatal("the kernel does not say how much memory the process held")
	return 0
}
