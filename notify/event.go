package notify

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// The kinds of events (events).
const (
	kindSession = "session" // a payout session is over
	kindHalt    = "halt"    // nobody is paid, and when that is over
	kindWallet  = "wallet"  // the wallet is below walletLow, and when it is not any more
	kindBlock   = "block"   // a block was found
	kindAudit   = "audit"   // the audit found something, and when it does not any more
	kindTest    = "test"    // the verb notify
)

var allKinds = []string{kindSession, kindHalt, kindWallet, kindBlock, kindAudit}

// Event is one piece of news, as a hook of type json gets it. Amounts are Shannon,
// times unix seconds. Of the last five fields there is the one that is named as
// the event.
type Event struct {
	ID    string `json:"id"`    // the same whenever the same news is told again
	Event string `json:"event"` // session, halt, wallet, block, audit or test
	Over  bool   `json:"over"`  // halt, wallet, audit: it is over
	Pool  string `json:"pool"`  // the instance's name
	Coin  string `json:"coin"`
	Time  int64  `json:"time"` // when it happened, or was first seen
	Text  string `json:"text"` // all of it in words

	Session *SessionNews `json:"session,omitempty"`
	Halt    *HaltNews    `json:"halt,omitempty"`
	Wallet  *WalletNews  `json:"wallet,omitempty"`
	Block   *BlockNews   `json:"block,omitempty"`
	Audit   *AuditNews   `json:"audit,omitempty"`
}

// SessionNews is what a payout session came to.
type SessionNews struct {
	Started int64        `json:"started"`
	Ended   int64        `json:"ended"`
	Due     int          `json:"due"`     // miners at or above the threshold
	Paid    int          `json:"paid"`    // of them
	Skipped int64        `json:"skipped"` // due, and set aside for a reason
	Amount  util.Shannon `json:"amount"`  // paid
	Result  string       `json:"result"`  // "done", or the reason of a halt
}

// HaltNews is why nobody is paid.
type HaltNews struct {
	Reason string `json:"reason"` // a word of docs/payouts.md
	Why    string `json:"why"`    // a sentence; empty when it is over
	Since  int64  `json:"since"`
}

// WalletNews is how much there is, and how much is owed.
type WalletNews struct {
	Wallet      util.Shannon `json:"wallet"`      // on the pool's account
	Liabilities util.Shannon `json:"liabilities"` // balances and pending payments of all miners
	WalletLow   util.Shannon `json:"walletLow"`   // of the configuration
}

// BlockNews is a block that was found.
type BlockNews struct {
	Height     uint64  `json:"height"`
	Nonce      string  `json:"nonce"`
	Difficulty int64   `json:"difficulty"` // of the network
	Shares     int64   `json:"shares"`     // sum of the share difficulties of the round
	Luck       float64 `json:"luck"`       // shares / difficulty: 1 is as expected, less is lucky
	Skipped    int     `json:"skipped"`    // blocks found before it that are not told one by one
}

// AuditNews is what the last audit found.
type AuditNews struct {
	Time     int64 `json:"time"`
	Findings int   `json:"findings"`
}

// sentence is how a text begins: whose news it is.
func (w who) sentence(format string, args ...any) string {
	return clean(w.Pool+" ("+w.Symbol+"): "+fmt.Sprintf(format, args...), textMost)
}

// textMost is how many characters a text has at most: less than Discord's 2000.
const textMost = 1200

// clean makes text one line without control characters, at most so long.
func clean(s string, most int) string {
	s = strings.Join(strings.FieldsFunc(strings.ToValidUTF8(s, "�"), func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }), " ")
	if utf8.RuneCountInString(s) <= most {
		return s
	}
	return string([]rune(s)[:most-1]) + "…"
}

func (w who) coins(s util.Shannon) string { return s.Coins() + " " + w.Symbol }

func (w who) sessionText(s SessionNews) string {
	var b strings.Builder
	if s.Result == resultDone {
		fmt.Fprintf(&b, "payout session done: ")
	} else {
		fmt.Fprintf(&b, "payout session ended early, %s: ", reasonText(s.Result))
	}
	fmt.Fprintf(&b, "paid %d of %d miners, %s, in %s.", s.Paid, s.Due, w.coins(s.Amount), time.Duration(max(0, s.Ended-s.Started))*time.Second)
	if s.Skipped > 0 {
		fmt.Fprintf(&b, " %s due and could not be paid; the verb plan names them.", count(int(s.Skipped), "miner was", "miners were"))
	}
	return w.sentence("%s", b.String())
}

func (w who) haltText(h HaltNews) string {
	if h.Why == "" {
		return w.sentence("payouts are not halted any more (%s, since %s).", h.Reason, clock(h.Since))
	}
	return w.sentence("payouts are halted, %s: %s.", h.Reason, strings.TrimSuffix(clean(h.Why, textMost/2), "."))
}

func (w who) walletText(n WalletNews, over bool) string {
	if over {
		return w.sentence("the wallet is topped up: %s are there, %s are owed to miners.", w.coins(n.Wallet), w.coins(n.Liabilities))
	}
	return w.sentence("the wallet is low: %s are there, less than walletLow of %s; %s are owed to miners.", w.coins(n.Wallet), w.coins(n.WalletLow), w.coins(n.Liabilities))
}

func (w who) blockText(b BlockNews) string {
	text := fmt.Sprintf("block %d found", b.Height)
	if b.Difficulty > 0 {
		text += fmt.Sprintf(" with %.0f%% of the expected work, at a network difficulty of %s", 100*b.Luck, short(b.Difficulty))
	}
	if b.Skipped > 0 {
		text += "; " + count(b.Skipped, "block before it is", "blocks before it are") + " not told one by one"
	}
	return w.sentence("%s.", text)
}

func (w who) auditText(a AuditNews, over bool) string {
	if over {
		return w.sentence("the books add up again, says the audit of %s.", clock(a.Time))
	}
	return w.sentence("the audit of %s has %s; the verb audit names the rows.", clock(a.Time), count(a.Findings, "finding", "findings"))
}

// test is a message that says so.
func (w who) test(now int64) *Event {
	return &Event{ID: fmt.Sprintf("test-%d", now), Event: kindTest, Pool: w.Pool, Coin: w.Coin, Time: now,
		Text: w.sentence("this is a test of the hook; it works.")}
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return strconv.Itoa(n) + " " + many
}

func clock(unix int64) string { return time.Unix(unix, 0).UTC().Format("2006-01-02 15:04 UTC") }

// short prints a difficulty with three digits: "3.21 T".
func short(n int64) string {
	v, unit := float64(n), 0
	for units := len(prefixes) - 1; v >= 1000 && unit < units; unit++ {
		v /= 1000
	}
	return strings.TrimRight(strconv.FormatFloat(v, 'g', 3, 64)+" "+prefixes[unit], " ")
}

var prefixes = []string{"", "k", "M", "G", "T", "P", "E"}

// Words of payouts; the two packages do not know each other.
const (
	resultDone    = "done"
	reasonPaused  = "payouts_paused"
	reasonRefused = "refused"
)

// reasons are what docs/halts.md says about a session that paid nobody more.
var reasons = map[string]string{
	"too_few_peers":    "the node has too few peers; the next session tries again",
	"node_syncing":     "the node is still syncing; the next session tries again",
	"node_behind":      "the node is behind; the next session tries again",
	"wallet_low":       "the account cannot cover the next payment and its fee; top it up",
	"session_limit":    "payouts.maxPerSession is reached; who is left waits for the next session",
	"day_limit":        "payouts.maxPerDay is reached; who is left waits",
	"gas_too_high":     "gas costs more than payouts.maxGasPrice",
	"signer":           "the signer does not sign; the log of payouts says why",
	"locked":           "another process holds the payments lock, or an older pool left it",
	"old_pending_rows": "an older pool left debits whose payment is not on the chain; run once with RESOLVE_PAYOUT=1",
	"unaccounted":      "a payment was made by hand that the books do not know; the log of payouts names it",
	"wrong_chain":      "node, journal and ledger do not belong together",
	"reorg":            "the chain was reorganised deeper than payouts.confirmations",
	"journal":          "the journal cannot be written",
	reasonPaused:       "an operator paused payouts",
	reasonRefused:      "the node refused a payment",
}

func reasonText(reason string) string {
	if text, ok := reasons[reason]; ok {
		return reason + " (" + text + ")"
	}
	return reason
}

// luck is a round's shares over the difficulty; 0 where it is not known.
func luck(f storage.Find) float64 {
	if f.Difficulty <= 0 {
		return 0
	}
	return float64(f.Shares) / float64(f.Difficulty)
}
