package storage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// share is a share of the worker for a difficulty of 10 at height 100.
func share(login, worker string, nonce int) Share {
	return Share{Login: login, Worker: worker, Difficulty: 10, Height: 100,
		Nonce: fmt.Sprintf("0x%016x", nonce), Header: "0xaa", Mix: "0xbb"}
}

func batch(proxy string, number uint64, shares ...Share) Batch {
	return Batch{Proxy: proxy, Number: number, Time: time.Unix(opened, 0), Oldest: 92, Keep: 3 * time.Hour, Shares: shares}
}

func (b *books) count(want []bool, in Batch) {
	b.t.Helper()
	got, err := b.db.Count(ctx, in)
	b.ok(err)
	if !slices.Equal(got, want) {
		b.t.Errorf("batch %d of %s counted %v, want %v", in.Number, in.Proxy, got, want)
	}
}

func (b *books) wantHash(key string, want map[string]string) {
	b.t.Helper()
	got, err := b.srv.Client().HGetAll(ctx, key).Result()
	b.ok(err)
	if diff := cmp.Diff(want, got); diff != "" {
		b.t.Errorf("%s (-want +got):\n%s", key, diff)
	}
}

func TestSharesCountOnceForEachOfTheirReaders(t *testing.T) {
	b := newBooks(t)
	b.count([]bool{true, true, true, false, true}, batch("one", 1, share(alice, "rig", 1), share(alice, "rig", 2), share(alice, "0", 3),
		share(alice, "0", 3), share(carol, "rig", 4)))
	b.count([]bool{false, true}, batch("two", 1, share(carol, "rig", 1), share(carol, "rig", 5)))

	b.wantHash("eth:shares:roundCurrent", map[string]string{alice: "30", carol: "20"})
	b.wantHash(b.db.Keys.Work(opened/60), map[string]string{alice + ":rig": "20", alice + ":0": "10", carol + ":rig": "20"})
	b.wantHash("eth:workers:"+alice, map[string]string{"rig": fmt.Sprint(opened), "0": fmt.Sprint(opened)})
	b.wantHash("eth:stats", map[string]string{"roundShares": "50"})
	if got := b.srv.Do(t, "HGET", "eth:miners:"+carol, "lastShare"); got != fmt.Sprint(opened) {
		t.Errorf("carol's last share was at %v", got)
	}
	if got := b.srv.Do(t, "ZSCORE", "eth:pow", "0x0000000000000001:0xaa:0xbb"); got != "100" {
		t.Errorf("the share's height is %v", got)
	}
	for _, key := range []string{b.db.Keys.Work(opened / 60), "eth:workers:" + alice} {
		b.wantExpiry(key, 3*3600)
	}
}

// wantExpiry wants the key to expire so many seconds after something that was done
// less than half an hour ago.
func (b *books) wantExpiry(key string, seconds int64) {
	b.t.Helper()
	if got, _ := b.do("TTL", key).(int64); got > seconds || got < seconds-1800 {
		b.t.Errorf("%s expires in %d s, want %d", key, got, seconds)
	}
}

func TestABatchWhoseReplyWasLostCountsOnce(t *testing.T) {
	b := newBooks(t)
	in := batch("one", 7, share(alice, "rig", 1), share(alice, "rig", 1), share(carol, "rig", 2))
	for range 3 {
		b.count([]bool{true, false, true}, in)
	}
	b.wantHash("eth:shares:roundCurrent", map[string]string{alice: "10", carol: "10"})
}

func TestOldSharesLeaveTheDuplicateCheck(t *testing.T) {
	b := newBooks(t)
	b.count([]bool{true}, batch("one", 1, share(alice, "rig", 1)))
	later := batch("one", 2, share(alice, "rig", 2))
	later.Oldest = 101
	b.count([]bool{true}, later)
	if got := b.srv.Do(t, "ZCARD", "eth:pow"); got != int64(1) {
		t.Errorf("%v shares are remembered, want 1", got)
	}
}

func TestARowOfTheWrongTypeIsNamedAndNothingIsCounted(t *testing.T) {
	for _, key := range []string{"eth:pow", "eth:shares:roundCurrent", "eth:stats"} {
		t.Run(key, func(t *testing.T) {
			b := newBooks(t)
			b.srv.Do(t, "SET", key, "x")
			if _, err := b.db.Count(ctx, batch("one", 1, share(alice, "rig", 1))); err == nil || !strings.Contains(err.Error(), key) {
				t.Errorf("error %v, want one that names %s", err, key)
			}
			b.srv.Do(t, "DEL", key)
			b.count([]bool{true}, batch("one", 1, share(alice, "rig", 1)))
		})
	}
	t.Run("a miner's row does not cost the others their shares", func(t *testing.T) {
		b := newBooks(t)
		b.srv.Do(t, "SET", "eth:miners:"+carol, "x")
		b.srv.Do(t, "SET", "eth:workers:"+carol, "x")
		b.count([]bool{true, true}, batch("one", 1, share(carol, "rig", 1), share(alice, "rig", 2)))
	})
}

func TestAFoundBlockClosesTheRoundOnce(t *testing.T) {
	b := newBooks(t)
	b.count([]bool{true, true}, batch("one", 1, share(alice, "rig", 1), share(carol, "rig", 2)))
	found := FoundBlock{Share: share(carol, "rig", 2), Time: opened, Difficulty: 5000}
	for i := range 3 {
		fresh, err := b.db.Found(ctx, found)
		b.ok(err)
		if fresh != (i == 0) {
			t.Errorf("time %d: fresh = %t", i, fresh)
		}
		b.count([]bool{true}, batch("one", uint64(i+2), share(alice, "rig", 10+i)))
	}
	const nonce = "0x0000000000000002"
	b.wantHash("eth:shares:round100:"+nonce, map[string]string{alice: "10", carol: "10"})
	b.wantHash("eth:shares:roundCurrent", map[string]string{alice: "30"})
	b.wantHash("eth:stats", map[string]string{"roundShares": "30", "lastBlockFound": fmt.Sprint(opened)})
	if got := b.srv.Do(t, "ZRANGEBYSCORE", "eth:blocks:candidates", 100, 100); fmt.Sprint(got) != fmt.Sprintf("[%s:0xaa:0xbb:%d:5000:20]", nonce, opened) {
		t.Errorf("candidates are %v", got)
	}
	if got := b.srv.Do(t, "ZSCORE", "eth:finders", carol); got != "1" {
		t.Errorf("carol found %v blocks", got)
	}
	if got := b.srv.Do(t, "HGET", "eth:miners:"+carol, "blocksFound"); got != "1" {
		t.Errorf("carol's row says %v", got)
	}
}

func TestTheRoundOfABlockWithoutAnyShareIsItsFinders(t *testing.T) {
	b := newBooks(t)
	fresh, err := b.db.Found(ctx, FoundBlock{Share: share(carol, "rig", 2), Time: opened, Difficulty: 5000})
	b.ok(err)
	if got := b.srv.Do(t, "ZCARD", "eth:blocks:candidates"); !fresh || got != int64(1) {
		t.Errorf("fresh = %t, %v candidates", fresh, got)
	}
	b.wantHash("eth:shares:round100:0x0000000000000002", map[string]string{carol: "10"})
}

func TestExtranoncesBelongToOneProxyAtATime(t *testing.T) {
	b := newBooks(t)
	const ttl = time.Minute
	owner := map[byte]string{}
	for i := range 256 {
		proxy := fmt.Sprint("proxy ", i%3)
		prefix, _, err := b.db.Extranonces(ctx, proxy, ttl, nil, true, 250)
		// Asked with an empty list it may be given one of its own again.
		if err == nil && owner[prefix] != "" && owner[prefix] != proxy {
			t.Fatalf("prefix %d belongs to %s and to %s", prefix, owner[prefix], proxy)
		}
		b.ok(err)
		owner[prefix] = proxy
	}
	var all []byte
	for range 256 - len(owner) {
		prefix, _, err := b.db.Extranonces(ctx, "greedy", ttl, all, true, 0)
		b.ok(err)
		if owner[prefix] != "" || slices.Contains(all, prefix) {
			t.Fatalf("prefix %d was given twice", prefix)
		}
		all = append(all, prefix)
	}
	if _, _, err := b.db.Extranonces(ctx, "greedy", ttl, all, true, 0); !errors.Is(err, ErrNoExtranonce) {
		t.Errorf("error %v, want ErrNoExtranonce", err)
	}
	// They are kept by the clock of Redis, which every proxy has in common.
	clock := func() int64 {
		now, err := b.db.rdb.Time(ctx).Result()
		b.ok(err)
		return now.Unix()
	}
	from := clock()
	_, _, err := b.db.Extranonces(ctx, "greedy", ttl, all, false, 0)
	b.ok(err)
	row, _ := b.do("HGET", b.db.Keys.Extranonces(), fmt.Sprint(all[0])).(string)
	var until int64
	if _, err := fmt.Sscanf(row, "greedy:%d", &until); err != nil || until < from+60 || until > clock()+60 {
		t.Errorf("the row is %q at %d, %v", row, from, err)
	}
	// Whoever does not come back in time has lost them.
	b.do("HSET", b.db.Keys.Extranonces(), fmt.Sprint(all[0]), fmt.Sprintf("greedy:%d", from-1))
	prefix, _, err := b.db.Extranonces(ctx, "late", ttl, nil, true, all[0])
	b.ok(err)
	_, lost, err := b.db.Extranonces(ctx, "greedy", ttl, all, false, 0)
	b.ok(err)
	if prefix != all[0] || !slices.Equal(lost, []byte{all[0]}) {
		t.Errorf("late got %d, greedy lost %v, want %d", prefix, lost, all[0])
	}
}

func TestWhatProxiesReportAndRead(t *testing.T) {
	b := newBooks(t)
	b.ok(b.db.ReportNode(ctx, NodeState{Name: "main", Height: 7, Difficulty: 9, LastBeat: opened}))
	b.wantHash("eth:nodes", map[string]string{"main:name": "main", "main:height": "7", "main:difficulty": "9", "main:lastBeat": fmt.Sprint(opened)})
	b.srv.Do(t, "SADD", "eth:blacklist", alice)
	b.srv.Do(t, "SADD", "eth:whitelist", "10.0.0.1")
	black, white, err := b.db.Lists(ctx)
	b.ok(err)
	if !slices.Equal(black, []string{alice}) || !slices.Equal(white, []string{"10.0.0.1"}) {
		t.Errorf("lists are %v, %v", black, white)
	}
}
