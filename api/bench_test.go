package api

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// fill writes a large pool: miners, each with shares in every minute of the
// window and a history, blocks and payments.
func fill(b *testing.B, p *pool, miners, blocks, payments int) []string {
	b.Helper()
	rdb, ctx, now := p.srv.Client(), context.Background(), p.now.Unix()
	k := p.db.Keys
	logins := make([]string, miners)
	for i := range logins {
		logins[i] = fmt.Sprintf("0x%08x%032x", uint32(i)*2654435761, uint64(i)*0x9E3779B97F4A7C15)
	}
	pipe := rdb.Pipeline()
	flush := func(least int) {
		if pipe.Len() > least {
			if _, err := pipe.Exec(ctx); err != nil {
				b.Fatal(err)
			}
		}
	}
	for i, login := range logins {
		pipe.HSet(ctx, k.Miner(login), "lastShare", now, "balance", 1000*i, "paid", 5000, "blocksFound", 1)
		pipe.HSet(ctx, k.Workers(login), "rig", now)
		pipe.HSet(ctx, k.RoundCurrent(), login, 1_000_000)
		flush(5000)
	}
	for m := now/60 - 180; m <= now/60; m++ {
		for i, login := range logins {
			if (int64(i)+m)%3 != 0 || m > now/60-3 {
				pipe.HSet(ctx, k.Work(m), login+":rig", 6_000_000_000+i)
			}
			flush(5000)
		}
	}
	for i := range blocks {
		pipe.ZAdd(ctx, k.Matured(), redis.Z{Score: float64(1_000_000 + i), Member: fmt.Sprintf("0:0:0x%016x:0x%064x:%d:5000000000:%d:2000000000000000000", i, i, now-int64(blocks-i)*600, 4_000_000_000+i)})
		flush(5000)
	}
	for i := blocks - 40; i < blocks; i++ { // credits of the newest
		for _, login := range logins {
			pipe.HSet(ctx, k.Credits(uint64(1_000_000+i), fmt.Sprintf("0x%064x", i)), login, 200_000)
			flush(5000)
		}
	}
	for i := range payments {
		login, tx, at := logins[i%miners], fmt.Sprintf("0x%064x", uint64(i)*0x9E3779B97F4A7C15), float64(now-int64(payments-i)*10)
		pipe.ZAdd(ctx, k.PaymentsAll(), redis.Z{Score: at, Member: fmt.Sprintf("%s:%s:%d", tx, login, 500_000_000+i)})
		pipe.ZAdd(ctx, k.Payments(login), redis.Z{Score: at, Member: fmt.Sprintf("%s:%d", tx, 500_000_000+i)})
		flush(5000)
	}
	flush(0)
	return logins
}

func BenchmarkAPI(b *testing.B) {
	p := newPool(b)
	logins := fill(b, p, 10_000, 5000, 200_000)
	began := time.Now()
	p.cycle()
	b.Logf("first cycle %s", time.Since(began))
	for range 3 {
		p.cycle() // reads what is left of the credits
	}
	b.Run("cycle", func(b *testing.B) {
		for b.Loop() {
			b.StopTimer() // everybody has another share
			p.now = p.now.Add(5 * time.Second)
			pipe := p.srv.Client().Pipeline()
			for _, login := range logins {
				pipe.HIncrBy(ctx, p.db.Keys.Work(p.now.Unix()/60), login+":rig", 2_000_000_000)
			}
			if _, err := pipe.Exec(ctx); err != nil {
				b.Fatal(err)
			}
			b.StartTimer()
			p.cycle()
		}
	})
	get := func(b *testing.B, path string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, path, nil)
		r.Header.Set("Accept-Encoding", "gzip")
		w := httptest.NewRecorder()
		p.api.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			b.Fatal(path, w.Code, w.Body)
		}
		return w
	}
	for _, path := range []string{"/api/stats", "/api/miners", "/api/blocks", "/api/payments", "/api/miners?limit=100&offset=5000"} {
		b.Run(path, func(b *testing.B) {
			for b.Loop() {
				get(b, path)
			}
			b.ReportMetric(float64(get(b, path).Body.Len()), "bytes")
		})
	}
	b.Run("account, first time in a cycle", func(b *testing.B) {
		n := 0
		for b.Loop() {
			if n%len(logins) == 0 {
				b.StopTimer()
				p.cycle()
				b.StartTimer()
			}
			get(b, "/api/accounts/"+logins[n%len(logins)])
			n++
		}
		b.ReportMetric(float64(get(b, "/api/accounts/"+logins[0]).Body.Len()), "bytes")
	})
	b.Run("account, again", func(b *testing.B) {
		n := 0
		for b.Loop() {
			get(b, "/api/accounts/"+logins[n%len(logins)])
			n++
		}
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		entries, bytes := p.api.cache.stats()
		b.Logf("heap %d MB; cache: %d entries, %d MB", m.HeapAlloc>>20, entries, bytes>>20)
	})
}
