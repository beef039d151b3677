package storage

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestWhatThereIsToTell(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	read := func() News {
		t.Helper()
		n, err := b.db.News(ctx)
		b.ok(err)
		return n
	}
	if n := read(); n.Meta.Wallet != -1 || n.Skipped != 0 || len(n.Blocks) != 0 {
		t.Errorf("of empty books there is %+v", n)
	}
	c := b.foundBlock(nil)
	b.do("ZADD", k.Candidates(), 99, "no block")
	b.do("HSET", k.Finances(), "balance", 7, "pending", 2)
	b.do("HSET", k.Skipped(), alice, `{"reason":"contract"}`)
	want := []Find{{Mark: Mark{foundAt, blockNonce}, Height: 100, Difficulty: 1000, Shares: 900}}
	n := read()
	if diff := cmp.Diff(want, n.Blocks); diff != "" || n.Skipped != 1 || n.Totals.Balance != 7 || n.Totals.Pending != 2 {
		t.Errorf("news %+v %s", n, diff)
	}
	// The same block in the next list, and the one after, is the same news.
	block := onChain(c, 102, hex64(7), 5)
	b.do("ZADD", k.Immature(), 102, block.Row())
	b.do("ZADD", k.Matured(), 102, block.Row())
	b.do("ZADD", k.Matured(), 90, "0:0:0x00000000000000bb:"+hex64(8)+":1600000000:5:4:0")
	want = []Find{want[0], {Mark: Mark{1_600_000_000, "0x00000000000000bb"}, Height: 90, Difficulty: 5, Shares: 4}}
	if diff := cmp.Diff(want, read().Blocks); diff != "" {
		t.Error(diff)
	}
}

func TestWhatAHookWasTold(t *testing.T) {
	b := newBooks(t)
	first := Mark{5, "0xa"}
	all := Notices{
		Session: "session-1-2", Halt: Standing{State: StandingTold, Key: "refused 3-a", ID: "halt-refused-9", Since: 9},
		Wallet: Standing{State: StandingEnding, Key: "low", ID: "wallet-low-8", Since: 8}, Audit: Standing{State: StandingBegun, Key: "2"},
		Blocks: &BlocksTold{After: first, Told: []Mark{{6, "0xb"}, first}},
	}
	for _, n := range []Notices{{}, all, {Session: "session-none", Blocks: &BlocksTold{}}, {}} {
		b.ok(b.db.SetNotices(ctx, "ops", n))
		got, err := b.db.Notices(ctx, "ops")
		if b.ok(err); !got.Equal(n) {
			t.Errorf("read %+v, want %+v", got, n)
		}
	}
	b.do("HSET", b.db.Keys.Notify("ops"), "blocks", "[", "halt", `{"state": 1}`)
	if _, err := b.db.Notices(ctx, "ops"); !errors.Is(err, ErrMalformed) {
		t.Errorf("error %v, want both fields named", err)
	}
	marks := []Mark{{2, "0xa"}, {1, "0xb"}, {1, "0xa"}}
	slices.SortFunc(marks, Mark.Compare)
	if want := []Mark{{1, "0xa"}, {1, "0xb"}, {2, "0xa"}}; !slices.Equal(marks, want) {
		t.Errorf("sorted %v", marks)
	}
}
