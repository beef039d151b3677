package storage

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

const (
	blockNonce = "0x00000000000000aa"
	foundAt    = 1_700_000_000 // unix seconds
	creditedAt = foundAt + 3600
)

var errInjected = errors.New("injected")

func hex64(n int) string { return fmt.Sprintf("0x%064x", n) }

// foundBlock is a candidate of height 100 as a proxy writes it, with a round.
func (b *books) foundBlock(shares map[string]int64) Candidate {
	b.t.Helper()
	c := Candidate{Height: 100, Nonce: blockNonce, HeaderHash: hex64(1), MixHash: hex64(2), Time: foundAt, Difficulty: 1000, Shares: 900}
	b.do("ZADD", b.db.Keys.Candidates(), c.Height, c.Row())
	for login, n := range shares {
		b.do("HSET", b.db.Keys.Round(c.Height, c.Nonce), login, n)
	}
	return c
}

// onChain is the candidate as a block at a height.
func onChain(c Candidate, height uint64, hash string, reward util.Shannon) Block {
	b := c.Block()
	b.Height, b.Hash, b.Orphan, b.RewardWei = height, hash, false, reward.Wei()
	return b
}

// splitOf divides a reward into credits, and all that is left is dust.
func splitOf(reward util.Shannon, credits map[string]util.Shannon) Split {
	s := Split{RewardWei: reward.Wei(), Credits: credits, DustWei: new(big.Int)}
	for _, amount := range credits {
		s.Miners += amount
	}
	s.DustWei.Sub(s.RewardWei, s.Miners.Wei())
	return s
}

// theBlock reads the only immature block.
func (b *books) theBlock() Block {
	b.t.Helper()
	blocks, bad, err := b.db.ImmatureBlocks(ctx, 1<<40)
	b.ok(append(bad, err)...)
	if len(blocks) != 1 {
		b.t.Fatalf("%d immature blocks, want 1", len(blocks))
	}
	return blocks[0]
}

// field reads a field of a hash, "" when it is not there.
func (b *books) field(key, field string) string {
	b.t.Helper()
	s, _ := b.do("HGET", key, field).(string)
	return s
}

func (b *books) wantField(key, field, want string) {
	b.t.Helper()
	if got := b.field(key, field); got != want {
		b.t.Errorf("%s field %s = %q, want %q", key, field, got, want)
	}
}

var twoMiners = map[string]int64{alice: 600, bob: 300}

func TestABlockGoesFromCandidateToMatured(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	c := b.foundBlock(twoMiners)
	found := onChain(c, 102, hex64(7), 91)
	split := splitOf(91, map[string]util.Shannon{alice: 60, bob: 30})

	b.ok(b.db.Immature(ctx, c, found, split))
	b.wantField(k.Miner(alice), "immature", "60")
	b.wantField(k.Finances(), "immature", "90")
	b.wantField(k.CreditsImmature(102, hex64(7)), bob, "30")
	b.wantField(k.Splits(), "102:"+hex64(7), "91000000000:90:0:1000000000:2:")
	if b.do("EXISTS", k.Candidates(), k.Plans(), k.Round(100, blockNonce)) != int64(0) {
		t.Error("the candidate, its plan or the round under its old name is left")
	}
	shares, err := b.db.RoundShares(ctx, 102, blockNonce)
	b.ok(err)
	if diff := cmp.Diff(twoMiners, shares); diff != "" {
		t.Errorf("shares of the round: %s", diff)
	}
	read := b.theBlock()
	want := fmt.Sprintf("0:0:%s:%s:%d:1000:900:91000000000", blockNonce, hex64(7), foundAt)
	if read.Row() != want || read.Height != 102 || b.do("ZSCORE", k.Immature(), want) != "102" {
		t.Errorf("immature row %s at %d, want %s at 102", read.Row(), read.Height, want)
	}

	b.ok(b.db.Mature(ctx, read, creditedAt))
	b.wantField(k.Miner(alice), "immature", "0")
	b.wantField(k.Miner(alice), "balance", "1060")
	b.wantField(k.Finances(), "immature", "0")
	b.wantField(k.Finances(), "balance", "1590")
	b.wantField(k.Finances(), "totalMined", "91")
	b.wantField(k.Finances(), "lastCreditHeight", "102")
	b.wantField(k.Finances(), "lastCreditHash", hex64(7))
	b.wantField(k.Credits(102, hex64(7)), alice, "60")
	if b.do("EXISTS", k.Immature(), k.Plans(), k.Round(102, blockNonce), k.CreditsImmature(102, hex64(7))) != int64(0) {
		t.Error("something immature is left")
	}
	if b.do("ZSCORE", k.Matured(), want) != "102" ||
		b.do("ZSCORE", k.CreditsAll(), fmt.Sprintf("%s:%d:91000000000", hex64(7), creditedAt)) != "102" {
		t.Error("the matured row or the row of all credits is missing")
	}
	b.clean()
}

func TestAnOrphanGivesCreditsAndSharesBack(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	c := b.foundBlock(map[string]int64{alice: 600, bob: 9_100_000_000_000_000_001}) // beyond 2^53
	b.do("HSET", k.RoundCurrent(), alice, 5)
	b.ok(b.db.Immature(ctx, c, onChain(c, 100, hex64(7), 90), splitOf(90, map[string]util.Shannon{alice: 60, bob: 30})))

	b.ok(b.db.Orphan(ctx, b.theBlock()))
	b.wantField(k.Miner(alice), "immature", "0")
	b.wantField(k.Miner(bob), "immature", "0")
	b.wantField(k.Finances(), "immature", "0")
	b.wantField(k.RoundCurrent(), alice, "605")
	b.wantField(k.RoundCurrent(), bob, "9100000000000000001")
	b.wantField(k.Stats(), "roundShares", "9100000000000000601")
	row := fmt.Sprintf("0:1:%s:0x0:%d:1000:900:0", blockNonce, foundAt)
	if b.do("ZSCORE", k.Matured(), row) != "100" {
		t.Errorf("matured rows are %v, want %s", b.do("ZRANGE", k.Matured(), 0, -1), row)
	}
	if b.do("EXISTS", k.Immature(), k.Plans(), k.Splits(), k.Round(100, blockNonce), k.CreditsImmature(100, hex64(7))) != int64(0) {
		t.Error("something of the orphan is left")
	}
	b.clean()
}

func TestALostCandidateCanComeBack(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	c := b.foundBlock(twoMiners)
	b.ok(b.db.Immature(ctx, c, c.Block(), Split{}))
	row := fmt.Sprintf("0:1:%s:0x0:%d:1000:900:0", blockNonce, foundAt)
	if got := b.theBlock(); got.Row() != row || !got.Orphan || b.do("EXISTS", k.Splits()) != int64(0) {
		t.Errorf("immature row %s, want %s and no split", got.Row(), row)
	}
	lost := b.theBlock()
	back := onChain(c, 103, hex64(9), 90)
	b.ok(b.db.Relocate(ctx, lost, back, splitOf(90, map[string]util.Shannon{alice: 60, bob: 30})))
	b.ok(b.db.Mature(ctx, b.theBlock(), creditedAt))
	b.wantField(k.Miner(bob), "balance", "530")
	b.clean()
}

// life is a sequence of verbs that ends in some books.
type life struct {
	name  string
	verbs func(b *books, c Candidate) []func() error
}

func lives() []life {
	one := map[string]util.Shannon{alice: 60, bob: 30}
	other := map[string]util.Shannon{alice: 20, bob: 10}
	return []life{
		{"credited and matured", func(b *books, c Candidate) []func() error {
			at := onChain(c, 102, hex64(7), 91)
			return []func() error{
				func() error { return b.db.Immature(ctx, c, at, splitOf(91, one)) },
				func() error { return b.db.Mature(ctx, at, creditedAt) },
			}
		}},
		{"credited and orphaned", func(b *books, c Candidate) []func() error {
			at := onChain(c, 102, hex64(7), 91)
			return []func() error{
				func() error { return b.db.Immature(ctx, c, at, splitOf(91, one)) },
				func() error { return b.db.Orphan(ctx, at) },
			}
		}},
		{"credited, moved and matured", func(b *books, c Candidate) []func() error {
			at, moved := onChain(c, 102, hex64(7), 91), onChain(c, 101, hex64(8), 31)
			return []func() error{
				func() error { return b.db.Immature(ctx, c, at, splitOf(91, one)) },
				func() error { return b.db.Relocate(ctx, at, moved, splitOf(31, other)) },
				func() error { return b.db.Mature(ctx, moved, creditedAt) },
			}
		}},
		{"lost, back and matured", func(b *books, c Candidate) []func() error {
			lost, at := c.Block(), onChain(c, 101, hex64(8), 31)
			return []func() error{
				func() error { return b.db.Immature(ctx, c, lost, Split{}) },
				func() error { return b.db.Relocate(ctx, lost, at, splitOf(31, other)) },
				func() error { return b.db.Mature(ctx, at, creditedAt) },
			}
		}},
	}
}

// TestAVerbOfABlockMayDieAnywhere breaks every single message to Redis, before and
// after it takes effect, and repeats the verb.
func TestAVerbOfABlockMayDieAnywhere(t *testing.T) {
	b := newBooks(t)
	k := &knife{}
	b.db.rdb.AddHook(k)
	for _, l := range lives() {
		t.Run(l.name, func(t *testing.T) {
			live := func(cut int, after bool) dump {
				b.t = t
				b.do("FLUSHALL")
				c := b.foundBlock(twoMiners)
				k.cut, k.after, k.count = cut, after, 0
				for _, verb := range l.verbs(b, c) {
					if err := verb(); err != nil {
						if !errors.Is(err, errInjected) {
							t.Fatalf("cut at %d: %v", cut, err)
						}
						b.ok(verb())
					}
					if err := verb(); err != nil && !errors.Is(err, errInjected) {
						t.Fatalf("cut at %d, again although it was done: %v", cut, err)
					}
				}
				return b.dump()
			}
			want := live(0, false)
			n := k.count
			b.wantField(b.db.Keys.Finances(), "immature", "0")
			if n < 8 {
				t.Fatalf("only %d messages", n)
			}
			for cut := 1; cut <= n; cut++ {
				for _, after := range []bool{false, true} {
					if diff := want.diff(live(cut, after)); diff != "" {
						t.Errorf("cut at message %d, after it was done %t:%s", cut, after, diff)
					}
				}
			}
			b.begin() // for the audit of the others
		})
	}
}

// knife makes one message to Redis fail, before or after it takes effect.
type knife struct {
	cut, count int
	after      bool
}

func (k *knife) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (k *knife) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		k.count++
		strike := k.count == k.cut
		if strike && !k.after {
			cmd.SetErr(errInjected)
			return errInjected
		}
		err := next(ctx, cmd)
		if strike {
			cmd.SetErr(errInjected)
			return errInjected
		}
		return err
	}
}

func (k *knife) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// TestACandidateWrittenTwiceIsCreditedOnce: whatever round a proxy gave the second
// row, and however far the first has come.
func TestACandidateWrittenTwiceIsCreditedOnce(t *testing.T) {
	b := newBooks(t)
	c := b.foundBlock(twoMiners)
	at := onChain(c, 102, hex64(7), 91)
	b.ok(b.db.Immature(ctx, c, at, splitOf(91, map[string]util.Shannon{alice: 60, bob: 30})))
	for _, matured := range []bool{false, true} {
		if matured {
			b.ok(b.db.Mature(ctx, b.theBlock(), creditedAt))
		}
		twin := b.foundBlock(map[string]int64{carol: 5})
		twin.Time++
		b.do("ZADD", b.db.Keys.Candidates(), twin.Height, twin.Row())
		for _, row := range []Candidate{c, twin} {
			again := at
			again.Time = row.Time
			before := b.dump()
			if err := b.db.Immature(ctx, row, again, splitOf(91, map[string]util.Shannon{carol: 90})); !errors.Is(err, ErrConflict) {
				t.Errorf("matured %t: a second row of the block is credited: %v", matured, err)
			}
			b.same("after a second row of the block", before)
		}
		b.do("DEL", b.db.Keys.Candidates(), b.db.Keys.Round(100, blockNonce))
	}
}

// TestAHalfMadePlanIsUndoneFirst: the chain says something else after the crash.
func TestAHalfMadePlanIsUndoneFirst(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	hook := &knife{}
	b.db.rdb.AddHook(hook)
	c := b.foundBlock(twoMiners)
	one, two := onChain(c, 102, hex64(7), 91), onChain(c, 101, hex64(8), 31)
	splitOne, splitTwo := splitOf(91, map[string]util.Shannon{alice: 60, bob: 30}), splitOf(31, map[string]util.Shannon{bob: 30})

	*hook = knife{cut: 3} // begin, credits, and not the row
	if err := b.db.Immature(ctx, c, one, splitOne); !errors.Is(err, errInjected) {
		t.Fatalf("want the injected error, got %v", err)
	}
	*hook = knife{}
	b.wantField(k.Miner(alice), "immature", "60")
	b.ok(b.db.Immature(ctx, c, two, splitTwo))
	b.wantField(k.Miner(alice), "immature", "0")
	b.wantField(k.Miner(bob), "immature", "30")
	b.wantField(k.Finances(), "immature", "30")

	// The same between immature and matured; and a block whose credits are half
	// made cannot mature.
	*hook = knife{cut: 4} // begin, look, undo
	if err := b.db.Relocate(ctx, b.theBlock(), one, splitOne); !errors.Is(err, errInjected) {
		t.Fatalf("want the injected error, got %v", err)
	}
	*hook = knife{}
	half := b.theBlock()
	if !strings.HasPrefix(half.Begun, planCredit) {
		t.Errorf("begun is %q, want a plan of credits", half.Begun)
	}
	if err := b.db.Mature(ctx, half, creditedAt); !errors.Is(err, ErrConflict) {
		t.Errorf("a block whose credits are half made matured: %v", err)
	}
	b.ok(b.db.Relocate(ctx, half, two, splitTwo))
	b.ok(b.db.Mature(ctx, b.theBlock(), creditedAt))
	b.wantField(k.Miner(alice), "balance", "1000")
	b.wantField(k.Miner(bob), "balance", "530")
	b.wantField(k.Finances(), "immature", "0")
	b.clean()
}

// TestWhatWasBegunIsFinished: money of a block that began to mature may have been
// paid out, shares of an orphan may have been used.
func TestWhatWasBegunIsFinished(t *testing.T) {
	b := newBooks(t)
	hook := &knife{}
	b.db.rdb.AddHook(hook)
	at := func(c Candidate) Block { return onChain(c, 102, hex64(7), 91) }
	half := func(verb func(Block) error) Block {
		b.begin()
		*hook = knife{}
		c := b.foundBlock(twoMiners)
		b.ok(b.db.Immature(ctx, c, at(c), splitOf(91, map[string]util.Shannon{alice: 60, bob: 30})))
		*hook = knife{cut: 2} // begun, and nothing else
		if err := verb(b.theBlockPast(hook)); !errors.Is(err, errInjected) {
			t.Fatalf("want the injected error, got %v", err)
		}
		*hook = knife{}
		return b.theBlock()
	}
	matures := half(func(block Block) error { return b.db.Mature(ctx, block, creditedAt) })
	if matures.Begun != BegunMature {
		t.Errorf("begun is %q, want %q", matures.Begun, BegunMature)
	}
	for what, err := range map[string]error{"orphaned": b.db.Orphan(ctx, matures), "relocated": b.db.Relocate(ctx, matures, matures, splitOf(91, nil))} {
		if !errors.Is(err, ErrConflict) {
			t.Errorf("a maturing block was %s: %v", what, err)
		}
	}
	b.ok(b.db.Mature(ctx, matures, creditedAt))
	goes := half(func(block Block) error { return b.db.Orphan(ctx, block) })
	if err := b.db.Mature(ctx, goes, creditedAt); goes.Begun != BegunOrphan || !errors.Is(err, ErrConflict) {
		t.Errorf("an orphan matured: begun %q, %v", goes.Begun, err)
	}
	b.ok(b.db.Orphan(ctx, goes))
}

// theBlockPast reads the only immature block without counting for the knife.
func (b *books) theBlockPast(k *knife) Block {
	b.t.Helper()
	saved := *k
	*k = knife{}
	block := b.theBlock()
	*k = saved
	return block
}

func TestABlockIsNotCreditedOverWhatIsThere(t *testing.T) {
	credits := map[string]util.Shannon{alice: 60, bob: 30}
	for _, tc := range []struct {
		name   string
		verb   string // the one that must be refused
		half   bool   // only the last script of the verb sees it
		before func(b *books)
	}{
		{"another amount is credited", "immature", false, func(b *books) { b.plan(); b.do("HSET", b.db.Keys.CreditsImmature(102, hex64(7)), bob, 29) }},
		{"a stranger is credited", "immature", true, func(b *books) { b.plan(); b.do("HSET", b.db.Keys.CreditsImmature(102, hex64(7)), carol, 1) }},
		{"a miner's row cannot be read", "immature", false, func(b *books) { b.do("HSET", b.db.Keys.Miner(bob), "immature", "many") }},
		{"a miner's row is no hash", "immature", false, func(b *books) { b.do("DEL", b.db.Keys.Miner(bob)); b.do("SET", b.db.Keys.Miner(bob), "1") }},
		{"the totals cannot be read", "immature", false, func(b *books) { b.do("HSET", b.db.Keys.Finances(), "immature", "1.5") }},
		{"an older pool credits it", "immature", false, func(b *books) { b.do("HSET", b.db.Keys.CreditsImmature(102, hex64(7)), alice, 60) }},
		{"an older pool credited it", "immature", false, func(b *books) { b.do("HSET", b.db.Keys.Credits(102, hex64(7)), carol, 60) }},
		{"it is credited for another row", "immature", false, func(b *books) { b.do("HSET", b.db.Keys.Splits(), "102:"+hex64(7), "x") }},
		{"the totals of what was mined cannot be read", "mature", true, func(b *books) { b.do("HSET", b.db.Keys.Finances(), "totalMined", "x") }},
		{"the candidate is gone", "immature", false, func(b *books) { b.do("DEL", b.db.Keys.Candidates()) }},
		{"the round's new name is taken", "immature", true, func(b *books) { b.do("HSET", b.db.Keys.Round(102, blockNonce), carol, 1) }},
		{"the miner has it already", "mature", false, func(b *books) { b.do("HSET", b.db.Keys.Credits(102, hex64(7)), alice, 60) }},
		{"the balance cannot be read", "mature", false, func(b *books) { b.do("HSET", b.db.Keys.Miner(bob), "balance", "x") }},
		{"a credit was lost", "mature", true, func(b *books) { b.do("HDEL", b.db.Keys.CreditsImmature(102, hex64(7)), alice) }},
		{"the credit is no amount", "mature", false, func(b *books) { b.do("HSET", b.db.Keys.CreditsImmature(102, hex64(7)), alice, "60.5") }},
		{"the block is gone", "mature", false, func(b *books) { b.do("DEL", b.db.Keys.Immature()) }},
		{"shares cannot be read", "orphan", true, func(b *books) { b.do("HSET", b.db.Keys.Round(102, blockNonce), alice, "x") }},
		{"the credit of the orphan is no amount", "orphan", false, func(b *books) { b.do("HSET", b.db.Keys.CreditsImmature(102, hex64(7)), alice, "x") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBooks(t)
			c := b.foundBlock(twoMiners)
			at := onChain(c, 102, hex64(7), 91)
			verbs := slices.Compact([]string{"immature", tc.verb})
			for i, verb := range verbs {
				last := i == len(verbs)-1
				if last {
					tc.before(b)
				}
				before := b.balances()
				var err error
				switch verb {
				case "immature":
					err = b.db.Immature(ctx, c, at, splitOf(91, credits))
				case "mature":
					err = b.db.Mature(ctx, at, creditedAt)
				case "orphan":
					err = b.db.Orphan(ctx, at)
				}
				if !last {
					b.ok(err)
					continue
				}
				if !errors.Is(err, ErrConflict) {
					t.Errorf("%s: %v, want a conflict", verb, err)
				}
				if b.do("EXISTS", b.db.Keys.Matured()) != int64(0) {
					t.Error("the block matured")
				}
				if after := b.balances(); !tc.half && !maps.Equal(before, after) {
					t.Errorf("money moved: %v, then %v", before, after)
				}
			}
		})
	}
}

// plan begins to credit the block of the test above.
func (b *books) plan() {
	c := Candidate{Height: 100, Nonce: blockNonce, Time: foundAt, Difficulty: 1000, Shares: 900}
	s := splitOf(91, map[string]util.Shannon{alice: 60, bob: 30})
	b.do("HSET", b.db.Keys.Plans(), c.id(), s.plan(onChain(c, 102, hex64(7), 91)))
}

// balances are the readable money fields of miners and totals.
func (b *books) balances() map[string]string {
	out := map[string]string{}
	for _, key := range []string{b.db.Keys.Miner(alice), b.db.Keys.Finances()} {
		for _, f := range []string{"balance", "immature"} {
			out[key+" "+f] = b.field(key, f)
		}
	}
	return out
}

func TestASplitThatDoesNotAddUpIsRefused(t *testing.T) {
	b := newBooks(t)
	c := b.foundBlock(twoMiners)
	at := onChain(c, 102, hex64(7), 91)
	before := b.dump()
	for name, change := range map[string]func(*Split){
		"more credits than shares bring": func(s *Split) { s.Credits[alice]++ },
		"a fee that nobody pays":         func(s *Split) { s.Fee++ },
		"dust that is not there":         func(s *Split) { s.DustWei.Add(s.DustWei, big.NewInt(1)) },
		"a negative part":                func(s *Split) { s.Credits[alice], s.Credits[bob] = 100, -10 },
		"no reward":                      func(s *Split) { s.RewardWei = nil },
		"a login that is none":           func(s *Split) { s.Credits["x"] = s.Credits[bob]; delete(s.Credits, bob) },
	} {
		s := splitOf(91, map[string]util.Shannon{alice: 60, bob: 30})
		change(&s)
		if err := b.db.Immature(ctx, c, at, s); !errors.Is(err, ErrSplit) {
			t.Errorf("%s: %v, want %v", name, err, ErrSplit)
		}
	}
	b.same("after splits that were refused", before)
}

// TestRowsOfOlderPools reads what they wrote, and writes it just so.
func TestRowsOfOlderPools(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	candidate := "0x1234567890abcdef:" + hex64(1) + ":" + hex64(2) + ":1462920526:12345678901234:98765432109876"
	immature := "0:0:0x1234567890abcdef:" + hex64(3) + ":1462920526:123:456:5031250000000000000"
	uncle := "95:0:0x1234567890abcdea:" + hex64(4) + ":1462920526:123:456:4375000000000000000"
	orphan := "0:1:0x1234567890abcdeb:0x0:1462920526:123:456:0"
	bad := map[string][]string{
		k.Candidates(): {"", "x", candidate + ":1", strings.Replace(candidate, "0x1234567890abcdef", "0x12", 1),
			strings.Replace(candidate, ":1462920526", ":-1", 1), strings.Replace(candidate, ":1462920526", ":1e9", 1)},
		k.Immature(): {"", immature + ":1", strings.Replace(immature, "0:0:", "0:2:", 1), strings.Replace(immature, "5031250000000000000", "5.03", 1),
			strings.Replace(immature, hex64(3), "0x3", 1), strings.Replace(immature, "5031250000000000000", "-1", 1)},
	}
	b.do("ZADD", k.Candidates(), 100, candidate)
	for i, row := range []string{uncle, immature, orphan} {
		b.do("ZADD", k.Immature(), 98+i, row)
	}
	for key, rows := range bad {
		for _, row := range rows {
			b.do("ZADD", key, 99, row)
		}
		b.do("ZADD", key, "99.5", map[string]string{k.Candidates(): "0xa" + candidate[3:], k.Immature(): "7" + immature[1:]}[key])
	}
	b.do("ZADD", k.Candidates(), 101, "0xff34567890abcdef"+candidate[18:])

	cs, wrong, err := b.db.Candidates(ctx, 100)
	b.ok(err)
	if len(cs) != 1 || cs[0].Row() != candidate || cs[0].Height != 100 || cs[0].Shares != 98765432109876 {
		t.Errorf("candidates %+v, want %s", cs, candidate)
	}
	wantSetAside(t, wrong, k.Candidates(), bad[k.Candidates()])
	blocks, wrong, err := b.db.ImmatureBlocks(ctx, 100)
	b.ok(err)
	var got []string
	for _, block := range blocks {
		got = append(got, block.Row())
	}
	if diff := cmp.Diff([]string{uncle, immature, orphan}, got); diff != "" {
		t.Errorf("immature blocks: %s", diff)
	}
	if blocks[0].UncleHeight != 95 || !blocks[2].Orphan || blocks[1].RewardWei.String() != "5031250000000000000" {
		t.Errorf("blocks are %+v", blocks)
	}
	wantSetAside(t, wrong, k.Immature(), bad[k.Immature()])
	if b.do("ZCARD", k.Candidates()) != int64(9) || b.do("ZCARD", k.Immature()) != int64(10) {
		t.Error("a row was dropped")
	}
}

func wantSetAside(t *testing.T, errs []error, key string, rows []string) {
	t.Helper()
	if len(errs) != len(rows)+1 {
		t.Errorf("%d rows of %s set aside, want %d: %v", len(errs), key, len(rows)+1, errs)
	}
	for _, row := range rows {
		if !slices.ContainsFunc(errs, func(err error) bool {
			return errors.Is(err, ErrMalformed) && strings.Contains(err.Error(), key) && strings.Contains(err.Error(), fmt.Sprintf("%q", row))
		}) {
			t.Errorf("no error names %s and %q", key, row)
		}
	}
}

// TestABlockOfAnOlderPoolMatures: with credits of zero, and no split.
func TestABlockOfAnOlderPoolMatures(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	at := Block{Height: 100, Nonce: blockNonce, Hash: hex64(7), Time: foundAt, Difficulty: 1, Shares: 2, RewardWei: util.Shannon(91).Wei()}
	b.do("ZADD", k.Immature(), 100, at.Row())
	b.do("HSET", k.CreditsImmature(100, hex64(7)), alice, 90, bob, 0)
	for _, key := range []string{k.Miner(alice), k.Finances()} {
		b.do("HINCRBY", key, "immature", 90)
	}
	b.ok(b.db.Mature(ctx, b.theBlock(), creditedAt))
	b.wantField(k.Miner(alice), "balance", "1090")
	b.wantField(k.Miner(bob), "balance", "500")
	b.wantField(k.Finances(), "immature", "0")
	b.clean()
}

// TestAnotherPlansScriptsAreRefused: two unlockers that see different chains must
// not mix their credits.
func TestAnotherPlansScriptsAreRefused(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	c := b.foundBlock(twoMiners)
	b.ok(b.db.Immature(ctx, c, onChain(c, 100, hex64(7), 90), splitOf(90, map[string]util.Shannon{alice: 60, bob: 30})))
	block := b.theBlock()
	b.do("HSET", k.Plans(), block.id(), "another")
	immature, round := k.CreditsImmature(100, hex64(7)), k.Round(100, blockNonce)
	before := b.dump()
	for _, s := range []struct {
		name, script string
		keys         []string
		args         []any
	}{
		{"immature_credit", immatureCreditScript, []string{k.Plans(), immature, k.Finances(), k.Miner(carol)}, []any{carol, 5}},
		{"immature_row", immatureRowScript, []string{k.Immature(), k.Immature(), k.Plans(), k.Splits(), round, round, immature}, nil},
		{"mature_credit", matureCreditScript, []string{k.Plans(), immature, k.Credits(100, hex64(7)), k.Finances(), k.Miner(alice)}, []any{alice}},
		{"mature_row", matureRowScript, []string{k.Immature(), k.Matured(), k.Plans(), "none", "none", k.CreditsAll(), k.Finances(), round, k.Splits()}, nil},
		{"orphan_undo", orphanUndoScript, []string{k.Plans(), immature, k.Finances(), k.Miner(alice)}, []any{alice}},
		{"orphan_shares", orphanSharesScript, []string{k.Plans(), round, k.RoundCurrent(), k.Stats()}, []any{alice}},
		{"orphan_row", orphanRowScript, []string{k.Immature(), k.Matured(), k.Plans(), k.Splits(), "none", "none"}, nil},
	} {
		args := append([]any{block.id(), "ours"}, s.args...)
		if s.args == nil { // the row first
			args = []any{block.row(), "the new row", block.id(), "ours", 100, 2, "", 90, "field"}
		}
		if _, _, err := b.db.verb(ctx, s.name, s.script, s.keys, args...); !errors.Is(err, ErrConflict) {
			t.Errorf("%s: %v, want a conflict", s.name, err)
		}
		b.same(s.name, before)
	}
	// And a row that somebody removed meanwhile stays removed.
	for _, s := range []struct {
		name, script string
		keys         []string
	}{
		{"immature_row", immatureRowScript, []string{k.Immature(), k.Immature(), k.Plans(), k.Splits(), round, round, immature}},
		{"mature_row", matureRowScript, []string{k.Immature(), k.Matured(), k.Plans(), "none", "none", k.CreditsAll(), k.Finances(), round, k.Splits()}},
		{"orphan_row", orphanRowScript, []string{k.Immature(), k.Matured(), k.Plans(), k.Splits(), "none", "none"}},
	} {
		if _, _, err := b.db.verb(ctx, s.name, s.script, s.keys, "gone", "the new row", block.id(), "another", 100, 2, "", 90, "field"); !errors.Is(err, ErrConflict) {
			t.Errorf("%s without a row: %v, want a conflict", s.name, err)
		}
		b.same(s.name+" without a row", before)
	}
	// Nor is anything over while credits or shares are left.
	for _, s := range []struct {
		name, script string
		keys         []string
	}{
		{"mature_row", matureRowScript, []string{k.Immature(), k.Matured(), k.Plans(), immature, "none", k.CreditsAll(), k.Finances(), round, k.Splits()}},
		{"orphan_row, credits", orphanRowScript, []string{k.Immature(), k.Matured(), k.Plans(), k.Splits(), immature, "none"}},
		{"orphan_row, shares", orphanRowScript, []string{k.Immature(), k.Matured(), k.Plans(), k.Splits(), "none", round}},
	} {
		if _, _, err := b.db.verb(ctx, s.name, s.script, s.keys, block.row(), "the new row", block.id(), "another", 100, 2, "", 90, "field"); !errors.Is(err, ErrConflict) {
			t.Errorf("%s left: %v, want a conflict", s.name, err)
		}
		b.same(s.name+" left", before)
	}
	if _, _, err := b.db.verb(ctx, "begin", beginScript, []string{k.Immature(), k.Matured(), k.Plans(), immature}, block.row(), "the new row", block.id(), "ours", "another", "", ""); !errors.Is(err, ErrConflict) {
		t.Errorf("a plan is replaced while it has credits: %v", err)
	}
	b.same("a plan that has credits", before)
}
