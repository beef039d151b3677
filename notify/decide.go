package notify

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// who tells.
type who struct{ Pool, Coin, Symbol string }

// policy is what a hook wants to hear.
type policy struct {
	who
	kinds     []string
	walletLow util.Shannon
}

func (p policy) wants(kind string) bool {
	return slices.Contains(p.kinds, kind) && (kind != kindWallet || p.walletLow > 0)
}

// step is one message and what to remember around it.
type step struct {
	event  *Event          // nil: there is nothing to tell
	before storage.Notices // to be written down before it is posted
	after  storage.Notices // and when it was delivered
}

// decide says what a hook is told next, from what is and what it was told. now is
// in unix seconds.
func (p policy) decide(n storage.News, told storage.Notices, now int64) step {
	told = p.settle(n, told)
	for _, next := range []func(storage.News, storage.Notices, int64) (step, bool){p.halt, p.wallet, p.audit, p.session, p.block} {
		if s, ok := next(n, told, now); ok {
			s.event.Pool, s.event.Coin = p.Pool, p.Coin
			return s
		}
	}
	return step{before: told, after: told}
}

// settle forgets what the hook does not want to hear, and lets it begin with the
// present where it is new: what is past already it is not told.
func (p policy) settle(n storage.News, told storage.Notices) storage.Notices {
	for kind, standing := range map[string]*storage.Standing{kindHalt: &told.Halt, kindWallet: &told.Wallet, kindAudit: &told.Audit} {
		if !p.wants(kind) {
			*standing = storage.Standing{}
		}
	}
	switch {
	case !p.wants(kindSession):
		told.Session = ""
	case told.Session == "":
		told.Session = sessionID(n.Meta.Session)
	}
	switch {
	case !p.wants(kindBlock):
		told.Blocks = nil
	case told.Blocks == nil:
		told.Blocks = remember(&storage.BlocksTold{}, n.Blocks)
	}
	return told
}

// sessionID names a session that is over, and all that is before the first one.
func sessionID(s storage.Session) string {
	if s.Ended == 0 {
		return "session-none"
	}
	return fmt.Sprintf("session-%d-%d", s.Started, s.Ended)
}

func (p policy) session(n storage.News, told storage.Notices, _ int64) (step, bool) {
	s, id := n.Meta.Session, sessionID(n.Meta.Session)
	if !p.wants(kindSession) || s.Ended == 0 || told.Session == id {
		return step{}, false
	}
	news := SessionNews{Started: s.Started, Ended: s.Ended, Due: s.Due, Paid: s.Paid, Skipped: n.Skipped, Amount: s.Amount, Result: s.Result}
	after := told
	after.Session = id
	return step{before: told, after: after, event: &Event{ID: id, Event: kindSession, Time: s.Ended, Session: &news, Text: p.sessionText(news)}}, true
}

// state is how something that lasts is right now.
type state struct {
	known bool
	key   string // what it is, "" when it is not; up to the first space it is for the id
}

// turn says what is next to tell about something that lasts: its beginning, its end
// (over), or nothing.
func (s state) turn(kind string, told storage.Standing, now int64) (before, after storage.Standing, over, ok bool) {
	maybe := told.State == storage.StandingBegun || told.State == storage.StandingEnding
	switch {
	case !s.known:
		return told, told, false, false
	case s.key == "" && told.State == storage.StandingNone:
		return told, told, false, false
	case s.key == "":
		before = told
		before.State = storage.StandingEnding
		return before, storage.Standing{}, true, true
	case s.key == told.Key && !maybe:
		return told, told, false, false
	case s.key == told.Key && told.State == storage.StandingBegun:
		before = told
	default:
		word, _, _ := strings.Cut(s.key, " ")
		before = storage.Standing{State: storage.StandingBegun, Key: s.key, ID: fmt.Sprintf("%s-%s-%d", kind, word, now), Since: now}
	}
	after = before
	after.State = storage.StandingTold
	return before, after, false, true
}

// lasting makes the event of a beginning or an end.
func lasting(kind string, at storage.Standing, over bool, now int64) *Event {
	if over {
		return &Event{ID: at.ID + "-over", Event: kind, Over: true, Time: now}
	}
	return &Event{ID: at.ID, Event: kind, Time: at.Since}
}

// haltOf says whether anybody is paid. While a session runs it is not known whether
// what ended the last one is over.
func haltOf(m storage.Meta, told storage.Standing) (s state, why string) {
	was, _, _ := strings.Cut(told.Key, " ")
	result := m.Session.Result
	switch {
	case m.Paused != "":
		return state{true, reasonPaused + " " + m.Paused}, m.Paused
	case m.Halt != "":
		return state{true, reasonRefused + " " + m.HaltID}, m.Halt
	case was == reasonPaused || was == reasonRefused:
	case m.Session.Started > 0 && m.Session.Ended == 0:
		return state{}, ""
	}
	// These two are over when Meta says so, whatever the last session met.
	if m.Session.Ended == 0 || result == "" || result == resultDone || result == reasonPaused || result == reasonRefused {
		return state{known: true}, ""
	}
	if why = reasons[result]; why == "" {
		why = "the log of payouts says why"
	}
	return state{true, result}, why
}

func (p policy) halt(n storage.News, told storage.Notices, now int64) (step, bool) {
	if !p.wants(kindHalt) {
		return step{}, false
	}
	current, why := haltOf(n.Meta, told.Halt)
	before, after, over, ok := current.turn(kindHalt, told.Halt, now)
	if !ok {
		return step{}, false
	}
	e := lasting(kindHalt, before, over, now)
	reason, _, _ := strings.Cut(before.Key, " ")
	e.Halt = &HaltNews{Reason: reason, Why: clean(why, textMost/2), Since: before.Since}
	e.Text = p.haltText(*e.Halt)
	s := step{event: e, before: told, after: told}
	s.before.Halt, s.after.Halt = before, after
	return s, true
}

// toppedUp is how much more than walletLow ends a low wallet, in percent, so that
// one that hovers about the limit is not told of for ever.
const toppedUp = 10

func (p policy) wallet(n storage.News, told storage.Notices, now int64) (step, bool) {
	if !p.wants(kindWallet) {
		return step{}, false
	}
	limit := p.walletLow
	if told.Wallet.State == storage.StandingBegun || told.Wallet.State == storage.StandingTold {
		limit += p.walletLow / 100 * toppedUp
	}
	current := state{known: n.Meta.Wallet >= 0} // -1 while payouts never said
	if n.Meta.Wallet < limit {
		current.key = "low"
	}
	before, after, over, ok := current.turn(kindWallet, told.Wallet, now)
	if !ok {
		return step{}, false
	}
	e := lasting(kindWallet, before, over, now)
	e.Wallet = &WalletNews{Wallet: n.Meta.Wallet, Liabilities: n.Totals.Balance + n.Totals.Pending, WalletLow: p.walletLow}
	e.Text = p.walletText(*e.Wallet, over)
	s := step{event: e, before: told, after: told}
	s.before.Wallet, s.after.Wallet = before, after
	return s, true
}

func (p policy) audit(n storage.News, told storage.Notices, now int64) (step, bool) {
	if !p.wants(kindAudit) {
		return step{}, false
	}
	current := state{known: n.Meta.AuditTime > 0}
	if n.Meta.AuditFindings > 0 {
		current.key = strconv.Itoa(n.Meta.AuditFindings)
	}
	before, after, over, ok := current.turn(kindAudit, told.Audit, now)
	if !ok {
		return step{}, false
	}
	e := lasting(kindAudit, before, over, now)
	e.Audit = &AuditNews{Time: n.Meta.AuditTime, Findings: n.Meta.AuditFindings}
	e.Text = p.auditText(*e.Audit, over)
	s := step{event: e, before: told, after: told}
	s.before.Audit, s.after.Audit = before, after
	return s, true
}

// blocksMost is how many blocks are told one by one to a hook that missed more.
const blocksMost = 20

// block tells of the oldest block that is news.
func (p policy) block(n storage.News, told storage.Notices, _ int64) (step, bool) {
	if !p.wants(kindBlock) {
		return step{}, false
	}
	var news []storage.Find // newest first
	for _, b := range n.Blocks {
		if b.Mark.Compare(told.Blocks.After) > 0 && !slices.Contains(told.Blocks.Told, b.Mark) {
			news = append(news, b)
		}
	}
	if len(news) == 0 {
		return step{}, false
	}
	first := min(len(news), blocksMost) - 1
	b := news[first]
	v := BlockNews{Height: b.Height, Nonce: b.Mark.Nonce, Difficulty: b.Difficulty, Shares: b.Shares, Luck: luck(b), Skipped: len(news) - 1 - first}
	after := told
	after.Blocks = remember(told.Blocks, news[first:])
	return step{before: told, after: after, event: &Event{ID: fmt.Sprintf("block-%d-%s", b.Mark.Time, b.Mark.Nonce), Event: kindBlock,
		Time: b.Mark.Time, Block: &v, Text: p.blockText(v)}}, true
}

// remember adds blocks to those that were told. As many are kept as are read at
// once; those that are older than all of them are not told any more.
func remember(told *storage.BlocksTold, more []storage.Find) *storage.BlocksTold {
	out := &storage.BlocksTold{After: told.After, Told: slices.Clone(told.Told)}
	for _, b := range more {
		out.Told = append(out.Told, b.Mark)
	}
	slices.SortFunc(out.Told, func(a, b storage.Mark) int { return b.Compare(a) })
	if len(out.Told) > storage.NewsBlocks {
		out.Told = out.Told[:storage.NewsBlocks]
	}
	if len(out.Told) == storage.NewsBlocks {
		out.After = out.Told[len(out.Told)-1]
	}
	return out
}
