package payouts

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
)

// failing is a journal that fails when told to.
type failing struct {
	Journal
	appends int
	at      int // the append that fails, counted from 1; 0 for none
}

var errDiskFull = errors.New("no space left on device")

func (j *failing) Append(records ...Record) error {
	if j.appends++; j.appends == j.at {
		return errDiskFull
	}
	return j.Journal.Append(records...)
}

// witness asserts at every send that the journal has what is sent.
type witness struct {
	Chain
	t       testing.TB
	journal Journal
	sent    int
}

func (w *witness) SendRawTransactions(ctx context.Context, raws [][]byte) []error {
	known := map[string]bool{}
	if err := w.journal.Replay(func(r Record) error {
		switch {
		case r.Payment != nil:
			known[string(r.Payment.Last().Raw)] = true
		case r.Attempt != nil:
			known[string(r.Attempt.Attempt.Raw)] = true
		}
		return nil
	}); err != nil {
		w.t.Error(err)
	}
	for _, raw := range raws {
		w.sent++
		if !known[string(raw)] {
			w.t.Error("bytes were sent that the journal does not have")
		}
	}
	return w.Chain.SendRawTransactions(ctx, raws)
}

// watch makes every Payer to come send under witness.
func (p *pool) watch() *witness {
	w := &witness{t: p.t}
	inner := p.wrap
	p.wrap = func(parts Parts) Parts {
		if inner != nil {
			parts = inner(parts)
		}
		w.Chain, w.journal = parts.Chain, parts.Journal
		parts.Chain = w
		return parts
	}
	return w
}

func TestAPaymentIsJournalledBeforeItIsSentAlthoughTheJournalFailed(t *testing.T) {
	// 1 is the payments when they are opened, 2 a higher fee for the first.
	for at, name := range map[int]string{1: "when it was opened", 2: "when its fee was raised"} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			p.due()
			j := &failing{at: at}
			p.wrap = func(parts Parts) Parts {
				j.Journal = parts.Journal
				parts.Journal = j
				return parts
			}
			w := p.watch()
			blocks := 0
			p.clock.onSleep = func() {
				if blocks++; blocks < 12 {
					p.chain.MineEmpty(1)
					return
				}
				p.chain.Mine(1)
			}
			payer, stop := p.start()
			defer stop()
			_, err := payer.Session(context.Background())
			if at == 1 {
				wantHalt(t, err, HaltJournal)
				if w.sent > 0 {
					t.Fatalf("%d transactions were sent", w.sent)
				}
				// The same process goes on, as it does between sessions.
				_, err = payer.Session(context.Background())
			}
			if err != nil {
				t.Fatalf("session: %v\n%s", err, p.logs)
			}
			p.settleWith(payer)
			p.wantPaidOnce()
			if j.appends < at || w.sent == 0 {
				t.Errorf("%d appends, %d sent: the test tried nothing", j.appends, w.sent)
			}
		})
	}
}

var errDead = errors.New("the process died")

// deadly is a journal at which the process dies, before anything is written.
type deadly struct {
	Journal
	dies func()
}

func (j deadly) Append(records ...Record) error {
	if records[0].Header == nil {
		j.dies()
		return errDead
	}
	return j.Journal.Append(records...)
}

// dieAtJournal runs a session whose process dies between OPEN and the journal.
func (p *pool) dieAtJournal() {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	p.wrap = func(parts Parts) Parts { parts.Journal = deadly{parts.Journal, cancel}; return parts }
	payer, stop := p.start()
	_, _ = payer.Session(ctx)
	stop()
	p.wrap = nil
}

func TestAPaymentOpenedButNotJournalledIsJournalledBeforeItIsSent(t *testing.T) {
	p := newPool(t)
	p.due()
	p.dieAtJournal()
	if n := p.redis.Do(t, "ZCARD", "eth:payments:inflight"); n != int64(miners) {
		t.Fatalf("%v payments are in Redis, want %d", n, miners)
	}
	if len(p.journalled()) != 0 || len(p.chain.Broadcast()) != 0 {
		t.Fatal("the process did not die where it should")
	}
	w := p.watch()
	p.mustSession()
	p.settle()
	p.wantPaidOnce()
	if w.sent == 0 || len(p.journalled()) != miners {
		t.Errorf("%d sent, %d journalled, want %d each", w.sent, len(p.journalled()), miners)
	}
}

// journalled lists the payments in the journal, by id, with their attempts.
func (p *pool) journalled() map[string]int {
	p.t.Helper()
	j, err := OpenJournal(p.journal, Header{ChainID: p.chain.ChainID().Uint64(), Genesis: p.chain.Genesis(), Account: p.account})
	if err != nil {
		p.t.Fatal(err)
	}
	defer j.Close()
	known := map[string]int{}
	if err := j.Replay(func(r Record) error {
		if r.Payment != nil {
			known[r.Payment.ID]++
		}
		if r.Attempt != nil {
			known[r.Attempt.ID]++
		}
		return nil
	}); err != nil {
		p.t.Fatal(err)
	}
	return known
}

// begun binds the ledger to the chain, as a start with nobody due does, and is
// what Redis goes back to.
func (p *pool) begun() storagetest.Snapshot {
	p.t.Helper()
	payer, stop := p.start()
	defer stop()
	if err := p.advance(payer); err != nil {
		p.t.Fatal(err)
	}
	return p.redis.Snapshot()
}

// sessionUntil is a session whose process ends at a rest, when over says so.
func (p *pool) sessionUntil(over func() bool) {
	p.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	nap := p.clock.onSleep
	p.clock.onSleep = func() {
		if nap(); over() {
			cancel()
		}
	}
	defer func() { p.clock.onSleep = nap }()
	payer, stop := p.start()
	defer stop()
	if _, err := payer.Session(ctx); !errors.Is(err, context.Canceled) {
		p.t.Fatalf("session = %v, want it to be cut short\n%s", err, p.logs)
	}
}

var notEnough = rpctest.ErrorReply(-32000, "insufficient funds for gas * price + value")

func TestAPaymentThatRedisForgotIsNotMadeAgain(t *testing.T) {
	p := newPool(t)
	p.due()
	before := p.begun()
	p.mustSession()
	p.redis.Restore(before)
	if r := p.mustSession(); r.Due != 0 {
		t.Errorf("%d are due again", r.Due)
	}
	p.wantLog("reinstating a payment that redis forgot")
	p.settle()
	p.wantPaidOnce()
}

func TestAnUnreadableRecordIsSetAsideAndTheOthersArePaid(t *testing.T) {
	for _, harm := range [][]any{{"HSET", "tries", "x"}, {"HDEL", "tries"}, {"HDEL", "state"}, {"SET", "x"}} {
		p := newPool(t)
		p.credit(login(1), coin)
		p.mustSession()
		p.settle()
		key := p.db().Keys.Payment(p.at(0).ID)
		if harm[0] == "SET" {
			p.redis.Do(t, "DEL", key)
		}
		p.redis.Do(t, slices.Insert(slices.Clone(harm), 1, any(key))...)
		p.credit(login(1), coin)
		p.credit(login(2), coin)
		r, err := p.session()
		if err != nil {
			t.Errorf("%v: session = %v", harm, err)
		}
		p.wantLog("a record of the journal cannot be put back until its rows are mended")
		p.wantReceived(login(1), coin)
		p.wantReceived(login(2), coin)
		if len(r.Skipped) != 1 || r.Skipped[0].Login != login(1) || r.Skipped[0].Reason != ReasonBooks {
			t.Errorf("%v: skipped are %v, want the miner whose payment cannot be read", harm, r.Skipped)
		}
	}
}

func TestAPaymentThatRedisForgotAndNobodyGotIsSent(t *testing.T) {
	p := newPool(t)
	p.due()
	before := p.begun()
	p.node.Fail(sendRaw, 0, rpctest.Refuse)
	p.sessionUntil(func() bool { return true })
	p.node.Heal()
	if len(p.chain.Broadcast()) != 0 {
		t.Fatal("something was sent")
	}
	p.redis.Restore(before)
	p.mustSession()
	p.settle()
	p.wantPaidOnce()
}

func TestRedisGoesBackInTimeUnderARunningProcess(t *testing.T) {
	p := newPool(t)
	p.due()
	before := p.begun()
	payer, stop := p.start()
	defer stop()
	if _, err := payer.Session(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.redis.Restore(before)
	if r, err := payer.Session(context.Background()); err != nil || r.Due != 0 {
		t.Errorf("session = %+v, %v, want nobody due", r, err)
	}
	p.wantLog("redis went back in time")
	p.settleWith(payer)
	p.wantPaidOnce()
}

func TestARaisedFeeThatRedisForgotIsFoundWhenItIsMined(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.clock.onSleep = func() { p.chain.MineEmpty(1) }
	p.sessionUntil(func() bool { return len(p.chain.Broadcast()) == 1 })
	before := p.redis.Snapshot()
	payer, stop := p.start()
	for range p.cfg.BumpAfter {
		p.chain.MineEmpty(1)
		if err := p.advance(payer); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	p.redis.Restore(before)
	sent := p.chain.Broadcast()
	bump := sent[len(sent)-1]
	if bytes.Equal(bump, sent[0]) {
		t.Fatal("the fee was not raised")
	}
	if _, err := p.chain.Include(bump); err != nil {
		t.Fatal(err)
	}
	p.clock.onSleep = func() { p.chain.Mine(1) }
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), coin)
	p.wantBooks(login(1), 0, 0, coin)
	p.audit()
	want := fmt.Sprintf("%s:%d", crypto.Keccak256Hash(bump), coin)
	if rows := p.redis.Do(t, "ZRANGE", "eth:payments:"+login(1), 0, -1); fmt.Sprint(rows) != "["+want+"]" {
		t.Errorf("history %v, want %s, which was mined", rows, want)
	}
}

func TestAPaymentGivenUpStaysGivenUpWhenRedisForgetsIt(t *testing.T) {
	for _, tc := range []struct {
		name    string
		forgets string
	}{
		{"that it was given up", "the void"},
		{"that it ever was", "the payment"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPool(t)
			p.credit(login(1), coin)
			before := p.begun()
			p.node.Fail(sendRaw, 0, notEnough)
			_, err := p.session()
			wantHalt(t, err, HaltRefused)
			if tc.forgets == "the void" {
				before = p.redis.Snapshot()
			}
			p.resolve()
			p.wantBooks(login(1), coin, 0, 0)
			p.redis.Restore(before)
			p.node.Heal()

			// Somebody who is not due any more must not get the old bytes either.
			p.cfg.Threshold = 2 * coin
			p.mustSession()
			p.settle()
			p.wantReceived(login(1), 0)
			p.wantBooks(login(1), coin, 0, 0)

			p.cfg.Threshold = coin
			p.mustSession()
			p.settle()
			p.wantReceived(login(1), coin)
			p.wantBooks(login(1), 0, 0, coin)
			p.audit()
			if n := p.chain.Nonce(p.account); n != 1 {
				t.Errorf("%d nonces were used, want 1: a refused payment gives its own back", n)
			}
		})
	}
}

func TestAPaymentMadeByHandIsNeverSent(t *testing.T) {
	for _, forgets := range []bool{false, true} {
		t.Run(fmt.Sprintf("redis forgets it: %v", forgets), func(t *testing.T) {
			p := newPool(t)
			p.credit(login(1), coin)
			before := p.begun()
			p.node.Fail(sendRaw, 0, rpctest.Refuse)
			p.sessionUntil(func() bool { return true })
			p.node.Heal()
			open, _, err := p.db().Inflight(context.Background())
			if err != nil || len(open) != 1 || open[0].State != storage.Signed {
				t.Fatalf("in flight %v, %v; want one signed payment", open, err)
			}
			ours := open[0]

			// The operator pays from a wallet of his own and writes it down, long
			// before his transaction is mined.
			to, other := address(login(1)), keyOf(t, "the operator's own")
			p.chain.Fund(crypto.PubkeyToAddress(other.PublicKey), coinsToWei(2))
			his := signed(t, other, types.LatestSignerForChainID(p.chain.ChainID()),
				&types.LegacyTx{To: &to, Value: coin.Wei(), Gas: 21000, GasPrice: big.NewInt(1e9)})
			p.redis.CLI(t, fmt.Sprintf(`ZADD "eth:payments:all" %[1]d %[2]s:%[3]s:%[4]d
ZADD "eth:payments:%[3]s" %[1]d %[2]s:%[4]d
ZREM "eth:payments:pending" "%[3]s:%[4]d"
HINCRBY "eth:finances" pending -%[4]d
HINCRBY "eth:finances" paid %[4]d`, ours.Time, crypto.Keccak256Hash(his), login(1), coin))
			p.mustSession()
			p.wantLog("adopted a payment made by hand")

			if forgets {
				p.redis.Restore(before)
			}
			for range 2 * fullResend {
				p.mustSession()
				p.chain.Mine(1)
			}
			if _, err := p.chain.Include(his); err != nil {
				t.Fatal(err)
			}
			p.settle()
			p.wantReceived(login(1), coin)
			p.wantBooks(login(1), 0, 0, coin)
			if slices.ContainsFunc(p.chain.Broadcast(), func(raw []byte) bool { return bytes.Equal(raw, ours.Last().Raw) }) {
				t.Error("our own transaction was sent as well")
			}
			p.audit()
		})
	}
}

func TestARefusedPaymentIsLeftAloneWhilePayoutsAreHalted(t *testing.T) {
	p := newPool(t)
	p.cfg.AutoResolve = false
	p.credit(login(1), coin)
	p.node.Fail(sendRaw, 0, notEnough)
	payer, stop := p.start()
	_, err := payer.Session(context.Background())
	wantHalt(t, err, HaltRefused)
	p.node.Heal()
	// Long enough for its fee to be raised, were it out.
	for range 3 * p.cfg.BumpAfter {
		p.chain.Mine(1)
		if err := p.advance(payer); err != nil {
			t.Fatal(err)
		}
	}
	stop()
	if n := len(p.chain.Broadcast()); n != 0 {
		t.Errorf("%d transactions were sent", n)
	}
	p.wantBooks(login(1), 0, coin, 0)
	p.resolve()
	p.wantBooks(login(1), coin, 0, 0)
	p.audit()
}

// deadlyLedger is a ledger at which the process dies before it can write down
// that payouts are halted.
type deadlyLedger struct {
	Ledger
	dies func()
}

type deadlyLease struct {
	Lease
	dies func()
}

func (l deadlyLedger) Acquire(ctx context.Context, token, gone string, known uint64) (Lease, error) {
	lease, err := l.Ledger.Acquire(ctx, token, gone, known)
	return deadlyLease{lease, l.dies}, err
}

func (l deadlyLease) Note(ctx context.Context, fieldValues ...any) error {
	if fieldValues[0] == "halt" {
		l.dies()
		return errDead
	}
	return l.Lease.Note(ctx, fieldValues...)
}

func TestAProcessThatDiesBetweenARefusalAndItsHalt(t *testing.T) {
	for _, auto := range []bool{true, false} {
		t.Run(fmt.Sprintf("autoResolve %v", auto), func(t *testing.T) {
			p := newPool(t)
			p.cfg.AutoResolve = auto
			p.due()
			p.node.Fail(sendRaw, 1, notEnough)
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			p.wrap = func(parts Parts) Parts { parts.Ledger = deadlyLedger{parts.Ledger, cancel}; return parts }
			payer, stop := p.start()
			_, _ = payer.Session(ctx)
			stop()
			p.wrap = nil
			open, _, err := p.db().Inflight(context.Background())
			if err != nil || len(open) != miners || !open[0].AllRefused() || p.redis.Do(t, "HEXISTS", "eth:payments:meta", "halt") != int64(0) {
				t.Fatalf("in flight %v, %v: the process did not die where it should", open, err)
			}
			if !auto {
				for range 2 { // it stays halted until the operator decides
					_, err := p.session()
					wantHalt(t, err, HaltRefused)
				}
				p.resolve()
			}
			p.mustSession()
			p.settle()
			p.mustSession()
			p.settle()
			p.wantPaidOnce()
		})
	}
}

// A node that refuses bytes proves that it does not keep them, but not that
// nobody does: an earlier offer may have reached the network.
func TestARefusalAfterAnUncertainOfferProvesNothing(t *testing.T) {
	for name, first := range map[string]rpctest.Fault{
		"its reply was lost":     rpctest.LoseReply,
		"it never arrived":       rpctest.Refuse,
		"the pool was full":      rpctest.ErrorReply(-32000, "txpool is full"),
		"in words nobody knows":  rpctest.ErrorReply(-32000, "computer says no"),
		"with a used-up nonce":   rpctest.ErrorReply(-32000, "nonce too low"),
		"with another's price":   rpctest.ErrorReply(-32000, "replacement transaction underpriced"),
		"it was taken and known": rpctest.ErrorReply(-32000, "already known").Executed(),
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			p.cfg.BumpAfter = 0
			p.credit(login(1), coin)
			p.node.Fail(sendRaw, 1, first)
			naps := 0
			p.clock.onSleep = func() {
				switch naps++; {
				case naps == 1:
					p.chain.Forget()
					p.node.Fail(sendRaw, 0, notEnough)
					p.chain.MineEmpty(1)
				case naps < 2*fullResend:
					p.chain.MineEmpty(1)
				case naps == 2*fullResend && len(p.chain.Broadcast()) > 0:
					// Somebody had it all the time.
					if _, err := p.chain.Include(p.chain.Broadcast()[0]); err != nil {
						t.Error(err)
					}
				default:
					p.node.Heal()
					p.chain.Mine(1)
				}
			}
			r := p.mustSession()
			p.settle()
			p.wantReceived(login(1), coin)
			p.wantBooks(login(1), 0, 0, coin)
			p.audit()
			if r.Paid != 1 || naps <= 2*fullResend-1 {
				t.Errorf("result %+v after %d rests, want one paid after the refusals", r, naps)
			}
		})
	}
}
