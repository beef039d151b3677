package storage

import (
	"fmt"
	"runtime"
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
				p.HSet(ctx, db.Keys.Miner(login), "balance", has, "paid", perMiner*payment, "pending", 0, "immature", 1, "lastShare", 1462920526, "blocksFound", 0)
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

// BenchmarkAudit adds up 100,000 miners and 200,000 payments.
func BenchmarkAudit(b *testing.B) {
	db := largePool(b, 100_000, 2)
	defer measurePeak(b)()
	b.ReportAllocs()
	for b.Loop() {
		r, err := db.Audit(ctx)
		if err != nil || !r.Clean() || r.Miners != 100_000 || r.History != 200_000 {
			b.Fatalf("%+v, %v", r, err)
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
