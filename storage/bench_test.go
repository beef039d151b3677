package storage

import (
	"fmt"
	"runtime"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
)

// largePool is a pool of many miners, each paid perMiner times, every tenth with
// enough on the balance to be due.
func largePool(b *testing.B, miners, perMiner int) *DB {
	b.Helper()
	srv := storagetest.Start(b)
	db, err := Open(ctx, Config{Endpoint: srv.Addr(), PoolSize: 4, Mode: ModeSingle}, "eth")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = db.Close() })
	const due, less, payment = 1_000_000_000, 10_000_000, 500_000_000
	balance := 0
	for from := 0; from < miners; from += 1000 {
		_, err := srv.Client().Pipelined(ctx, func(p redis.Pipeliner) error {
			for i := from; i < min(from+1000, miners); i++ {
				login, has := fmt.Sprintf("0x%040x", i), less+i
				if i%10 == 0 {
					has = due + i
				}
				balance += has
				p.HSet(ctx, db.Keys.Miner(login), "balance", has, "paid", perMiner*payment, "pending", 0, "immature", 0, "lastShare", 1462920526, "blocksFound", 0)
				for n := range perMiner {
					p.ZAdd(ctx, db.Keys.PaymentsAll(), redis.Z{Score: float64(1462920526 + i), Member: fmt.Sprintf("0x%064x:%s:%d", i*perMiner+n+1, login, payment)})
				}
			}
			return nil
		})
		if err != nil {
			b.Fatal(err)
		}
	}
	srv.Do(b, "HSET", db.Keys.Finances(), "balance", balance, "paid", miners*perMiner*payment, "pending", 0)
	return db
}

// measurePeak reports the most memory in use at any moment of what follows.
func measurePeak(b *testing.B) (stop func()) {
	var peak atomic.Uint64
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	before := m.HeapAlloc
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
		b.ReportMetric(float64(peak.Load()-min(before, peak.Load()))/1e6, "peak-MB")
	}
}

// bringAll writes down blocks that brought each miner all that he has, in ten parts.
func bringAll(b *testing.B, db *DB) {
	b.Helper()
	const blocks, parts = 1000, 10
	hash := func(n int) string { return fmt.Sprintf("0x%064x", n) }
	pipe := db.rdb.Pipeline()
	flush := func() {
		if _, err := pipe.Exec(ctx); err != nil {
			b.Fatal(err)
		}
	}
	for n := range blocks {
		pipe.ZAdd(ctx, db.Keys.Matured(), redis.Z{Score: float64(n), Member: fmt.Sprintf("0:0:0x%016x:%s:1:1:1:0", n, hash(n))})
	}
	pipe.HSet(ctx, db.Keys.Opening(), "*", "0:0:0:0")
	flush()
	bad, err := db.Balances(ctx, func(m Miner) {
		i, err := strconv.ParseInt(m.Login[2:], 16, 64)
		if err != nil {
			b.Fatal(err)
		}
		rest := int64(m.Balance + m.Paid)
		for part := range parts {
			amount := rest / int64(parts-part)
			rest -= amount
			n := (int(i) + part*blocks/parts) % blocks
			pipe.HSet(ctx, db.Keys.Credits(uint64(n), hash(n)), m.Login, amount)
		}
		if pipe.Len() >= 1000 {
			flush()
		}
	})
	if err != nil || len(bad) > 0 {
		b.Fatal(err, bad)
	}
	flush()
}

// BenchmarkAudit adds up 100,000 miners, 1,000,000 payments and 1,000,000 rewards.
func BenchmarkAudit(b *testing.B) {
	db := largePool(b, 100_000, 10)
	bringAll(b, db)
	defer measurePeak(b)()
	b.ReportAllocs()
	for b.Loop() {
		r, err := db.Audit(ctx)
		if err != nil || !r.Clean() || r.Miners != 100_000 || r.History != 1_000_000 {
			b.Fatalf("%d findings, first %+v, %v", len(r.Findings), r.Findings[:min(len(r.Findings), 3)], err)
		}
	}
}

// BenchmarkDue finds the 10,000 of 100,000 miners who are due.
func BenchmarkDue(b *testing.B) {
	db := largePool(b, 100_000, 0)
	defer measurePeak(b)()
	b.ReportAllocs()
	for b.Loop() {
		due, bad, err := db.Due(ctx, 500_000_000)
		if err != nil || len(bad) != 0 || len(due) != 10_000 {
			b.Fatalf("%d are due, %v, %v", len(due), bad, err)
		}
	}
}
