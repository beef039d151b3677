package api

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// meter is a hashrate with windows of ten minutes and an hour.
func meter(now int64) *hashrates {
	h := newHashrates(600, 3600)
	h.advance(now)
	return h
}

func TestHashrates(t *testing.T) {
	const now = 1_700_000_040 // a whole minute
	at := func(age, sum int64) reading {
		return reading{name: alice + ":rig", minute: (now - age) / 60, sum: sum, at: now - age}
	}
	for _, tc := range []struct {
		name         string
		readings     []reading
		small, large int64
		offline      bool
	}{
		{"nothing", nil, 0, 0, false},
		{"all through the small window", []reading{at(0, 60_000), at(300, 60_000), at(600, 60_000)}, 300, 300, false},
		{"one share a moment ago is no high hashrate", []reading{at(0, 6000)}, 10, 10, false},
		{"who began in the middle of the large window is not halved", []reading{at(0, 60_000), at(1200, 60_000)}, 100, 100, false},
		{"who paused is measured over what came after", []reading{at(30, 6000), at(3600, 36_000)}, 10, 11, false},
		{"who left is offline", []reading{at(1200, 60_000)}, 0, 50, true},
		{"what is before the large window does not count", []reading{at(3700, 60_000)}, 0, 0, false},
		{"what is from a clock ahead counts", []reading{at(-30, 6000)}, 10, 10, false},
		{"no login", []reading{{name: "nobody:rig", minute: now / 60, sum: 1}}, 0, 0, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := meter(now)
			h.take(now, tc.readings)
			small, large, _ := h.tally(now)
			if small != tc.small || large != tc.large {
				t.Errorf("%d and %d, want %d and %d", small, large, tc.small, tc.large)
			}
			if m := h.miners[alice]; m != nil && m.offline != tc.offline {
				t.Errorf("offline = %t", m.offline)
			}
		})
	}
}

// TestHashratesGoOnAsIfReadAnew lets hours go by in steps of all lengths: what
// was taken in bit by bit is what a new process reads at once.
func TestHashratesGoOnAsIfReadAnew(t *testing.T) {
	for seed := range uint64(40) { // sums of more than 24 bits are rounded, alike
		rng := rand.New(rand.NewPCG(seed, 1))
		now := int64(1_700_000_000)
		h := meter(now)
		work := map[string]map[int64]int64{}
		old := []reading{}
		for range 200 {
			now += []int64{1, 5, 30, 60, 61, 600, 3000, 4000, 90_000}[rng.IntN(9)]
			h.advance(now)
			var read []reading
			for range rng.IntN(4) {
				name := alice + ":" + strconv.Itoa(rng.IntN(3))
				if rng.IntN(4) == 0 {
					name = bob + ":rig"
				}
				minute := now/60 - int64(rng.IntN(3))
				if rng.IntN(3) == 0 {
					r := reading{name: name, minute: minute, sum: 1 + rng.Int64N(1e9), at: now, add: true}
					read, old = append(read, r), append(old, r)
					continue
				}
				if work[name] == nil {
					work[name] = map[int64]int64{}
				}
				work[name][minute] += 1 + rng.Int64N(1e9)
				read = append(read, reading{name: name, minute: minute, sum: work[name][minute], at: now})
			}
			h.take(now, read)
			small, large, workers := h.tally(now)

			anew := meter(now)
			for name, minutes := range work {
				for minute, sum := range minutes {
					anew.take(now, []reading{{name: name, minute: minute, sum: sum, at: now}})
				}
			}
			anew.take(now, old)
			small2, large2, workers2 := anew.tally(now)
			if small != small2 || large != large2 || workers != workers2 {
				t.Fatalf("seed %d: %d %d %d, anew %d %d %d", seed, small, large, workers, small2, large2, workers2)
			}
			order := h.sorted()
			if len(order) != len(h.miners) {
				t.Fatalf("seed %d: %d in order, %d miners", seed, len(order), len(h.miners))
			}
			for i := 1; i < len(order); i++ {
				if order[i-1].hr < order[i].hr {
					t.Fatalf("seed %d: not in order", seed)
				}
			}
		}
	}
}

func TestASwitchLosesNoHashrate(t *testing.T) {
	p := newPool(t)
	k := p.db.Keys
	old := func(age int64) {
		at := p.now.Unix() - age
		p.do("ZADD", k.Hashrate(), at, fmt.Sprintf("6000000:%s:rig:%d", alice, at*1000))
	}
	for age := int64(10); age < 1790; age++ {
		old(age)
	}
	p.cycle()
	hr := func() int64 { return p.api.snap.Load().pool.Hashrate }
	if got := hr(); got < 5_800_000 || got > 6_200_000 {
		t.Errorf("hashrate %d, want 6,000,000", got)
	}
	// The old proxy goes on beside, and one of ours takes over another half.
	number := uint64(0)
	for range 60 {
		p.now = p.now.Add(30 * time.Second)
		for age := int64(10); age < 40; age++ {
			old(age)
		}
		number++
		_, err := p.db.Count(ctx, storage.Batch{Proxy: "new", Number: number, Time: p.now.Add(-time.Second), Keep: 3 * time.Hour, Shares: []storage.Share{
			{Login: alice, Worker: "rig", Difficulty: 90_000_000, Height: 1, Nonce: fmt.Sprintf("0x%016x", number), Header: hash(1), Mix: hash(2)}}})
		p.ok(err)
		p.cycle()
	}
	got := hr()
	if got < 8_700_000 || got > 9_300_000 {
		t.Errorf("hashrate %d, want 9,000,000", got)
	}
	p.restart()
	p.cycle()
	if again := hr(); again != got {
		t.Errorf("hashrate %d after a restart, before %d", again, got)
	}
	if n := p.api.snap.Load().pool.WorkersTotal; n != 1 {
		t.Errorf("%d workers", n)
	}
}

func TestLateSharesOfTheLastMinutesCount(t *testing.T) {
	p := newPool(t)
	minute := p.now.Unix() / 60
	p.cycle()
	p.now = time.Unix(minute*60+61, 0)
	p.cycle()
	p.do("HSET", p.db.Keys.Work(minute), alice+":rig", 600_000) // sent again: its reply was lost
	p.after(20 * time.Second)
	if got := p.api.snap.Load().pool.Hashrate; got != 1000 {
		t.Errorf("hashrate %d, want 1000", got)
	}
	p.do("HSET", p.db.Keys.Work(minute), alice+":rig", 1_200_000)
	p.after(90 * time.Second)
	if got := p.api.snap.Load().pool.Hashrate; got != 2000 {
		t.Errorf("hashrate %d, want 2000", got)
	}
}

// chartsOf are a miner's workers' charts as the route has them.
func (p *pool) chartsOf(login string) map[string][]minerPoint {
	p.t.Helper()
	var v accountChartsView
	w := p.get("/api/accounts/" + login + "/charts")
	if w.Code != http.StatusOK {
		p.t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	p.ok(json.Unmarshal(w.Body.Bytes(), &v))
	return v.Charts
}

// TestAWorkersChartIsOfADay lets a rig work for longer than that, and asks in between,
// and of a new process.
func TestAWorkersChartIsOfADay(t *testing.T) {
	p := newPool(t)
	p.now = time.Unix(1_700_000_400, 0) // a span begins
	began := p.now.Unix()
	rate := func(end int64) int64 { return 1000 + (end-began)/600 }
	expect := func(what string, from int64) {
		t.Helper()
		got := p.chartsOf(alice)["rig"]
		at := p.now.Unix() / 600 * 600
		for i := len(got) - 1; i >= 0; i, at = i-1, at-600 {
			want := minerPoint{X: at, Hashrate: 0}
			if at > began {
				want.Hashrate = rate(at)
			}
			if got[i] != want {
				t.Fatalf("%s: point %d of %d is %+v, want %+v", what, i, len(got), got[i], want)
			}
		}
		if at != from-600 {
			t.Errorf("%s: %d points from %d on, want them from %d on", what, len(got), at+600, from)
		}
	}
	const spans = 200
	for span := range int64(spans) {
		end := began + 600*(span+1)
		for m := end/60 - 10; m < end/60; m++ {
			p.do("HSET", p.db.Keys.Work(m), alice+":rig", 60*rate(end))
		}
		p.now = time.Unix(end+25, 0)
		p.cycle()
		if span == 5 {
			expect("after an hour", began+600-3*3600+600) // all of the first large window
		}
		if p.now.Unix()%86_400 > 43_200 && p.now.Unix()%86_400 < 43_900 {
			p.restart()
			p.cycle()
		}
	}
	to := began + 600*spans
	expect("after a day and more", to-23*3600-50*60)
	p.restart()
	p.cycle()
	expect("of a new process", to-23*3600-50*60)

	// A pause of an hour loses nothing, for the minutes are read again.
	for m := to / 60; m < to/60+60; m++ {
		p.do("HSET", p.db.Keys.Work(m), alice+":rig", 60*rate((m/10+1)*600))
	}
	p.now = p.now.Add(time.Hour)
	for range 2 * accountCycles { // until nobody gets the old answer
		p.cycle()
	}
	expect("after a pause", to-22*3600-50*60)
	if ttl := p.do("TTL", p.db.Keys.ChartWorker(alice, "rig")); ttl.(int64) <= 0 || ttl.(int64) > daySeconds {
		t.Errorf("the chart expires in %v s", ttl)
	}
}

func TestChartsOfWorkersAreBounded(t *testing.T) {
	p := newPool(t)
	for i := range chartsMost + 5 {
		p.do("HSET", p.db.Keys.Work(p.now.Unix()/60), fmt.Sprintf("%s:rig %03d", alice, i), 60_000)
	}
	p.after(20 * time.Minute)
	charts := p.chartsOf(alice)
	keys := p.do("KEYS", p.db.Keys.ChartWorker(alice, "*")).([]any)
	if len(charts) != chartsMost || len(keys) != chartsMost || charts["rig 000"] == nil || charts[fmt.Sprintf("rig %03d", chartsMost)] != nil {
		t.Errorf("%d charts and %d keys, want the first %d of each", len(charts), len(keys), chartsMost)
	}
	p.do("HSET", p.db.Keys.Miner(bob), "balance", 1)
	if got := p.chartsOf(bob); len(got) != 0 {
		t.Errorf("bob, who does not mine, has %v", got)
	}
}
