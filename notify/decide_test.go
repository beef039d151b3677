package notify

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// story is what happens to the pool, and what a hook hears of it.
type story struct {
	t *testing.T
	policy
	news storage.News
	told storage.Notices
	now  int64
}

func newStory(t *testing.T) *story {
	s := &story{t: t, now: 1000, policy: policy{who: who{"main", "etc", "ETC"}, kinds: allKinds, walletLow: 1000}}
	s.news.Meta.Wallet = -1
	s.hears()
	return s
}

// hears wants these ids, in this order, and nothing after them.
func (s *story) hears(want ...string) []*Event {
	s.t.Helper()
	s.now++
	var got []string
	var events []*Event
	for range 2 * blocksMost {
		next := s.decide(s.news, s.told, s.now)
		s.told = next.after
		if next.event == nil {
			break
		}
		if got, events = append(got, next.event.ID), append(events, next.event); !strings.HasPrefix(next.event.Text, "main (ETC): ") {
			s.t.Errorf("text %q, want it to begin with whose news it is", next.event.Text)
		}
	}
	if !slices.Equal(got, want) {
		s.t.Fatalf("heard %q, want %q", got, want)
	}
	return events
}

// says wants one event with this text.
func (s *story) says(id, text string) {
	s.t.Helper()
	if e := s.hears(id)[0]; e.Text != "main (ETC): "+text {
		s.t.Errorf("text %q, want %q", e.Text, text)
	}
}

func TestASessionIsToldWhenItIsOver(t *testing.T) {
	s := newStory(t)
	s.news.Meta.Session = storage.Session{Started: 5}
	s.hears()
	s.news.Meta.Session = storage.Session{Started: 5, Ended: 65, Due: 3, Paid: 2, Amount: 1_500_000_000, Result: resultDone}
	s.news.Skipped = 1
	s.says("session-5-65", "payout session done: paid 2 of 3 miners, 1.5 ETC, in 1m0s. 1 miner was due and could not be paid; the verb plan names them.")
	s.hears()
	fresh := &story{t: t, now: 2000, policy: s.policy, news: s.news}
	fresh.news.Meta.Wallet = -1
	fresh.hears() // a hook that is new begins with the present
}

func TestAHaltIsToldOnceAndSoIsItsEnd(t *testing.T) {
	s := newStory(t)
	s.news.Meta.Session = storage.Session{Started: 5, Ended: 6, Result: "node_syncing"}
	if text := s.hears("halt-node_syncing-1002", "session-5-6")[0].Text; text != "main (ETC): payouts are halted, node_syncing: the node is still syncing; the next session tries again." {
		t.Errorf("text %q", text)
	}
	s.news.Meta.Session = storage.Session{Started: 7}
	s.hears() // while one runs nobody knows
	s.news.Meta.Session = storage.Session{Started: 7, Ended: 8, Result: "wallet_low"}
	s.hears("halt-wallet_low-1004", "session-7-8")
	s.news.Meta.Halt, s.news.Meta.HaltID = "the node refused", "3-a"
	s.hears("halt-refused-1005")
	s.news.Meta.HaltID = "4-b"
	s.hears("halt-refused-1006") // another payment is another halt
	s.news.Meta.Halt, s.news.Meta.HaltID = "", ""
	s.news.Meta.Session = storage.Session{Started: 9, Ended: 10, Result: resultDone}
	s.hears("halt-refused-1006-over", "session-9-10")
	s.news.Meta.Paused = "moving\nhouse"
	s.says("halt-payouts_paused-1008", "payouts are halted, payouts_paused: moving house.")
	s.news.Meta.Paused = ""
	s.hears("halt-payouts_paused-1008-over")
}

func TestALowWalletIsToldOnce(t *testing.T) {
	s := newStory(t)
	s.news.Meta.Wallet = 1000
	s.hears()
	s.news.Meta.Wallet, s.news.Totals.Balance, s.news.Totals.Pending = 999, 4_000_000_000, 1_000_000_000
	s.says("wallet-low-1003", "the wallet is low: 0.000000999 ETC are there, less than walletLow of 0.000001 ETC; 5 ETC are owed to miners.")
	for _, wallet := range []int{1001, 999, 1099} {
		s.news.Meta.Wallet = util.Shannon(wallet)
		s.hears()
	}
	s.news.Meta.Wallet = 1100
	s.hears("wallet-low-1003-over")
	s.walletLow = 0
	s.news.Meta.Wallet = 0
	s.hears()
}

func TestTheAuditIsToldWhenItChanges(t *testing.T) {
	s := newStory(t)
	s.news.Meta.AuditTime = 86400
	s.hears()
	s.news.Meta.AuditFindings = 2
	s.says("audit-2-1003", "the audit of 1970-01-02 00:00 UTC has 2 findings; the verb audit names the rows.")
	s.hears()
	s.news.Meta.AuditFindings = 0
	s.says("audit-2-1003-over", "the books add up again, says the audit of 1970-01-02 00:00 UTC.")
}

// found puts blocks into the news, newest first, as they are read.
func (s *story) found(times ...int64) {
	for _, at := range times {
		s.news.Blocks = slices.Insert(s.news.Blocks, 0, storage.Find{Mark: storage.Mark{Time: at, Nonce: "0xa"}, Height: uint64(at), Difficulty: 2_500_000_000, Shares: 1_000_000_000})
	}
	s.news.Blocks = s.news.Blocks[:min(len(s.news.Blocks), storage.NewsBlocks)]
}

func TestEveryBlockIsToldOnce(t *testing.T) {
	s := newStory(t)
	s.found(10)
	s.says("block-10-0xa", "block 10 found with 40% of the expected work, at a network difficulty of 2.5 G.")
	s.news.Blocks[0].Height = 9 // the chain has it elsewhere
	s.hears()
	s.found(11, 12)
	s.hears("block-11-0xa", "block-12-0xa")
	s.news.Blocks = s.news.Blocks[1:] // an orphan is gone
	s.hears()
	for at := range int64(30) {
		s.found(20 + at)
	}
	var want []string
	for at := range blocksMost {
		want = append(want, fmt.Sprintf("block-%d-0xa", 30+at))
	}
	events := s.hears(want...)
	if b := events[0].Block; b.Skipped != 10 || !strings.Contains(events[0].Text, "; 10 blocks before it are not told one by one.") {
		t.Errorf("%+v %q, want 10 that are passed over", b, events[0].Text)
	}
	// One that is found at a time already told of is news as well.
	s.news.Blocks = slices.Insert(s.news.Blocks, 0, storage.Find{Mark: storage.Mark{Time: 12, Nonce: "0xb"}})
	s.hears("block-12-0xb")

	fresh := &story{t: t, now: 2000, policy: s.policy, news: s.news}
	fresh.hears() // a hook that is new is told of no old block
	for at := range int64(3 * storage.NewsBlocks) {
		fresh.found(1000 + at)
		fresh.hears(fmt.Sprintf("block-%d-0xa", 1000+at))
	}
	if n := len(fresh.told.Blocks.Told); n != storage.NewsBlocks {
		t.Errorf("%d blocks are remembered, want %d", n, storage.NewsBlocks)
	}
}

func TestAHookHearsWhatItWants(t *testing.T) {
	s := newStory(t)
	s.kinds = []string{kindBlock}
	s.hears()
	s.news.Meta.Halt, s.news.Meta.AuditFindings, s.news.Meta.AuditTime = "x", 1, 1
	s.news.Meta.Wallet = 0
	s.news.Meta.Session = storage.Session{Started: 1, Ended: 2}
	s.found(5)
	s.hears("block-5-0xa")
	s.kinds = allKinds // what stands it is told when it wants to know, what is past not
	s.news.Meta.Halt = ""
	s.hears("wallet-low-1004", "audit-1-1004")
}
