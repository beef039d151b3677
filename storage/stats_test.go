package storage

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

func TestReadingByScoreHasEveryMemberOnce(t *testing.T) {
	for _, perSecond := range []int{1, 7, statsChunk - 1, statsChunk, 2*statsChunk + 1} {
		t.Run(fmt.Sprint(perSecond), func(t *testing.T) {
			b := newBooks(t)
			pipe := b.srv.Client().Pipeline()
			total := 3*statsChunk + 5
			for i := range total {
				pipe.Do(ctx, "ZADD", b.db.Keys.Hashrate(), 100+i/perSecond, fmt.Sprintf("%d:%s:rig:1", i, alice))
			}
			_, err := pipe.Exec(ctx)
			b.ok(err)
			seen := map[int64]bool{}
			last := int64(0)
			bad, err := b.db.OldShares(ctx, 100, 1<<40, func(name string, difficulty, at int64) {
				if seen[difficulty] || at < last || name != alice+":rig" || at != 100+difficulty/int64(perSecond) {
					t.Fatalf("%s %d at %d", name, difficulty, at)
				}
				seen[difficulty], last = true, at
			})
			b.ok(append(bad, err)...)
			if len(seen) != total {
				t.Errorf("%d of %d", len(seen), total)
			}
			n := 0
			_, err = b.db.OldShares(ctx, 101, 101, func(string, int64, int64) { n++ })
			b.ok(err)
			if n != min(perSecond, total-perSecond) && perSecond < total {
				t.Errorf("%d in one second, want %d", n, perSecond)
			}
		})
	}
}

func TestOldSharesOfAnyWorkerName(t *testing.T) {
	b := newBooks(t)
	b.do("ZADD", b.db.Keys.Hashrate(), 5, "10:"+alice+":a:b:1000", 6, "x:"+alice+":rig:1", 7, "10")
	var names []string
	bad, err := b.db.OldShares(ctx, 0, 10, func(name string, _, _ int64) { names = append(names, name) })
	b.ok(err)
	if len(bad) != 2 || !errors.Is(bad[0], ErrMalformed) || !slices.Equal(names, []string{alice + ":a:b"}) {
		t.Errorf("names %q, bad %v", names, bad)
	}
}

func TestTheOverviewOfEmptyBooks(t *testing.T) {
	b := newBooks(t)
	b.do("FLUSHALL")
	o, err := b.db.Overview(ctx, 30)
	b.ok(err)
	if len(o.Bad)+len(o.Nodes)+len(o.Stats)+len(o.Payments)+len(o.Immature) != 0 || o.MaturedTotal != 0 {
		t.Errorf("%+v", o)
	}
}

func TestTheOverviewIsAnErrorWhereSomethingCannotBeRead(t *testing.T) {
	for _, key := range []string{"eth:nodes", "eth:stats", "eth:blocks:matured", "eth:payments:all", "eth:payments:pending", "eth:finances", "eth:finders"} {
		t.Run(key, func(t *testing.T) {
			b := newBooks(t)
			b.do("SET", key, "x")
			if _, err := b.db.Overview(ctx, 30); err == nil {
				t.Error("no error")
			}
		})
	}
}

func TestNodesWithColonsInTheirNames(t *testing.T) {
	b := newBooks(t)
	b.ok(b.db.ReportNode(ctx, NodeState{Name: "eu:1", Height: 5, Difficulty: 6, LastBeat: 7}))
	o, err := b.db.Overview(ctx, 1)
	b.ok(err)
	if diff := cmp.Diff([]NodeText{{"eu:1", "5", "6", "7"}}, o.Nodes); diff != "" {
		t.Error(diff)
	}
}

func TestMaturedBlocksInPages(t *testing.T) {
	b := newBooks(t)
	pipe := b.srv.Client().Pipeline()
	total := 2*statsChunk + 3
	for i := range total {
		pipe.Do(ctx, "ZADD", b.db.Keys.Matured(), i, fmt.Sprintf("0:0:0x%016x:%s:1:2:3:4", i, hex64(i)))
	}
	_, err := pipe.Exec(ctx)
	b.ok(err)
	for _, tc := range []struct{ from, count, first, n int64 }{
		{0, 10, int64(total) - 1, 10}, {5, statsChunk, int64(total) - 6, statsChunk}, {0, 5000, int64(total) - 1, int64(total)}, {int64(total) - 1, 10, 0, 1}, {int64(total), 10, 0, 0},
	} {
		blocks, bad, err := b.db.MaturedBlocks(ctx, tc.from, tc.count)
		b.ok(append(bad, err)...)
		if int64(len(blocks)) != tc.n || tc.n > 0 && int64(blocks[0].Height) != tc.first {
			t.Errorf("from %d: %d blocks", tc.from, len(blocks))
		}
	}
}

func TestWhatTheLedgerKnowsOfTransactions(t *testing.T) {
	b := newBooks(t)
	p, q := pay(first, alice, 600), pay(first+1, bob, 300)
	b.openAndSend(p, q)
	m := pay(first, alice, 600, minedIn(hash(first, 1), 1000))
	b.ok(b.lease.Final(ctx, later, 0, m)...)
	got, err := b.db.PaymentStatuses(ctx, []string{hash(first, 1).Hex(), hash(first+1, 1).Hex(), old.Hex()})
	b.ok(err)
	want := map[string]PaymentStatus{
		hash(first, 1).Hex():   {State: Final, Block: 1000, FeeWei: m.FeeWei.String()},
		hash(first+1, 1).Hex(): {State: Sent},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if got, err := b.db.PaymentStatuses(ctx, nil); err != nil || len(got) != 0 {
		t.Errorf("of nothing: %v, %v", got, err)
	}
}

func TestSweepTakesTheOldAndNothingElse(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	before := time.Unix(10_000, 0)
	pipe := b.srv.Client().Pipeline()
	for i := range 2*statsChunk + 7 {
		pipe.Do(ctx, "ZADD", k.Hashrate(), i%5000, fmt.Sprintf("1:%s:rig:%d", alice, i))
	}
	_, err := pipe.Exec(ctx)
	b.ok(err)
	b.do("ZADD", k.Hashrate(), 10_000, "1:"+alice+":rig:new", 9_999, "1:"+alice+":rig:last")
	b.do("ZADD", k.HashrateOf(alice), 9_999, "1:rig:1", 10_000, "1:rig:2")
	b.do("HSET", k.Workers(alice), "gone", 9_999, "here", 10_000)
	b.do("ZADD", k.ChartMiner(alice), 1, "1:1")
	b.do("ZADD", k.ChartMiner(bob), 1, "1:1")
	b.do("EXPIRE", k.ChartMiner(bob), 3600)
	b.do("SET", "eth:hashrate:export", "the operator's own")
	same := b.dump().without(k.Hashrate(), k.HashrateOf(alice), k.Workers(alice), k.ChartMiner(alice), k.ChartMiner(bob))

	n, err := b.db.Sweep(ctx, before)
	b.ok(err)
	if n != 2*statsChunk+7+1+1+1 {
		t.Errorf("%d rows went", n)
	}
	for _, want := range []struct {
		cmd  []any
		want any
	}{
		{[]any{"ZCARD", k.Hashrate()}, int64(1)},
		{[]any{"ZCARD", k.HashrateOf(alice)}, int64(1)},
		{[]any{"HKEYS", k.Workers(alice)}, []any{"here"}},
	} {
		if got := b.do(want.cmd...); fmt.Sprint(got) != fmt.Sprint(want.want) {
			t.Errorf("%v is %v, want %v", want.cmd, got, want.want)
		}
	}
	b.wantExpiry(k.ChartMiner(alice), 48*3600)
	b.wantExpiry(k.ChartMiner(bob), 3600)
	if diff := same.diff(b.dump().without(k.Hashrate(), k.HashrateOf(alice), k.Workers(alice), k.ChartMiner(alice), k.ChartMiner(bob))); diff != "" {
		t.Errorf("something else changed: %s", diff)
	}
}

func TestAMinersBook(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	b.do("HSET", k.Miner(alice), "lastShare", 77, "note", "text")
	b.do("HSET", k.RoundCurrent(), alice, 55)
	b.do("HSET", k.Workers(alice), "rig", 76)
	b.do("ZADD", k.ChartMiner(alice), 1, "1:10", 2, "2:20", 3, "nonsense", 4, "4:40")
	for i := range 3 {
		b.do("ZADD", k.Payments(alice), 10+i, fmt.Sprintf("%s:%d", hex64(i), 100+i))
	}
	got, err := b.db.MinerBook(ctx, alice, 2, 3)
	b.ok(err)
	want := MinerBook{Stats: map[string]int64{"balance": 1000, "lastShare": 77}, PaymentsTotal: 3, RoundShares: 55, Workers: map[string]int64{"rig": 76},
		Payments: []PaidRow{{Tx: hex64(2), Amount: 102, Time: 12}, {Tx: hex64(1), Amount: 101, Time: 11}},
		Chart:    []ChartPoint{{Time: 2, Values: [2]int64{20}}, {Time: 4, Values: [2]int64{40}}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if _, err := b.db.MinerBook(ctx, carol, 2, 3); !errors.Is(err, ErrNotFound) {
		t.Errorf("nobody: %v", err)
	}
	if login, err := b.db.Stored(ctx, carol, bob, alice); err != nil || login != bob {
		t.Errorf("stored as %s, %v", login, err)
	}
	b.do("DEL", k.Payments(alice))
	b.do("SET", k.Payments(alice), "x")
	if _, err := b.db.MinerBook(ctx, alice, 2, 3); err == nil || errors.Is(err, ErrNotFound) {
		t.Errorf("a key of the wrong type: %v", err)
	}
}

func TestCreditsOfOneMiner(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	b.do("HSET", k.Credits(5, hex64(1)), alice, 7, bob, 8)
	b.do("HSET", k.CreditsImmature(6, hex64(2)), alice, 9)
	blocks := []Block{{Height: 5, Hash: hex64(1)}, {Height: 6, Hash: hex64(2)}}
	got, err := b.db.CreditsOf(ctx, alice, blocks)
	b.ok(err)
	if !slices.Equal(got, []util.Shannon{7, 0}) {
		t.Errorf("credits %v", got)
	}
	all, err := b.db.BlockCredits(ctx, blocks[1], true)
	b.ok(err)
	if diff := cmp.Diff(map[string]util.Shannon{alice: 9}, all); diff != "" {
		t.Error(diff)
	}
	b.do("HSET", k.Credits(5, hex64(1)), alice, "x")
	if _, err := b.db.CreditsOf(ctx, alice, blocks); err == nil {
		t.Error("an amount that is none is taken")
	}
}
