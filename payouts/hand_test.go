package payouts

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// What operators do with the pool's account by hand, and what is broken in Redis
// by hand, must never pay anybody twice, nor stop everybody else's pay.

// settleUnaccounted types the command that a halt names, until none does.
func (p *pool) settleUnaccounted(verb func(*Payer, common.Hash) error) {
	p.t.Helper()
	for range 5 {
		_, err := p.session()
		if haltReason(err) != HaltUnaccounted {
			if err != nil {
				p.t.Fatal(err)
			}
			return
		}
		_, rest, _ := strings.Cut(err.Error(), "unaccounted transaction ")
		hash, _, _ := strings.Cut(rest, " ")
		p.chain.Mine(int(p.cfg.Confirmations)) // the verbs want to be sure
		payer, stop := p.start()
		err = verb(payer, common.HexToHash(hash))
		stop()
		if err != nil {
			p.t.Fatal(err)
		}
	}
	p.t.Fatal("the halts do not end")
}

func record(p *Payer, tx common.Hash) error { return p.RecordByHand(context.Background(), tx) }
func ignore(p *Payer, tx common.Hash) error { return p.Ignore(context.Background(), tx) }

// include mines a transfer made by hand.
func (p *pool) include(nonce uint64, to common.Address, amount util.Shannon) common.Hash {
	p.t.Helper()
	hash, err := p.chain.Include(p.transfer(nonce, to, amount.Wei(), big.NewInt(1e9)))
	if err != nil {
		p.t.Fatal(err)
	}
	return hash
}

// The node lost its pool, the operator pays another miner, and the node gives him
// the nonce of a payment.
func TestAPaymentByHandThatTakesAPaymentsNonceIsAccountedFor(t *testing.T) {
	for name, verb := range map[string]func(*Payer, common.Hash) error{"record": record, "ignore": ignore} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			p.credit(login(1), coin)
			n := 0
			p.clock.onSleep = func() {
				if n++; n == 1 {
					p.chain.Forget()
					p.credit(login(3), coin)
					p.include(0, address(login(3)), coin)
					return
				}
				p.chain.Mine(1)
			}
			_, err := p.session()
			wantHalt(t, err, HaltUnaccounted)
			p.settleUnaccounted(verb)
			p.settle()
			p.mustSession()
			p.settle()
			p.wantReceived(login(1), coin)
			if name == "record" {
				p.wantReceived(login(3), coin)
			} else {
				p.wantReceived(login(3), 2*coin) // a present, says the operator
			}
			p.audit()
		})
	}
}

func TestAFailedTransferByHandMovedNothing(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	p.credit(login(2), coin)
	p.chain.SetCode(address(login(2)), rpctest.Reject)
	p.include(1, address(login(2)), coin)
	p.mustSession()
	p.wantBooks(login(2), coin, 0, 0)
	p.audit()
}

// Redis forgot two payments made by hand; each is settled by a process of its own.
func TestEveryGapThatARestoreLeavesIsLookedAt(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	p.credit(login(2), coin)
	p.credit(login(3), coin)
	before := p.redis.Snapshot()
	for n := 2; n <= 3; n++ {
		hash, l := p.include(uint64(n-1), address(login(n)), coin), login(n)
		p.redis.CLI(t, fmt.Sprintf(`ZADD "eth:payments:all" 1700000000 %s:%s:%d
ZADD "eth:payments:%s" 1700000000 %s:%d
HINCRBY "eth:miners:%s" balance -%d
HINCRBY "eth:miners:%s" paid %d
HINCRBY "eth:finances" balance -%d
HINCRBY "eth:finances" paid %d`, hash, l, coin, l, hash, coin, l, coin, l, coin, coin, coin))
	}
	p.credit(login(4), coin)
	p.mustSession()
	p.settle()
	p.redis.Restore(before)
	p.credit(login(4), coin)
	p.settleUnaccounted(record)
	p.settle()
	for n := 1; n <= 4; n++ {
		p.wantReceived(login(n), coin)
	}
	p.audit()
}

func TestAPaymentByHandIsFoundWhateverTheLettersCase(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	mixed := address(login(2)).Hex()
	p.redis.Do(t, "HSET", "eth:miners:"+login(2), "lastShare", 1) // he has two rows
	p.credit(mixed, coin)
	p.include(1, address(mixed), coin)
	_, err := p.session()
	wantHalt(t, err, HaltUnaccounted)
	p.settleUnaccounted(record)
	p.wantReceived(mixed, coin)
	p.wantBooks(mixed, 0, 0, coin)
	p.audit()
}

// oldRow writes what an older pool leaves behind when it dies after a send.
func (p *pool) oldRow(l string) {
	p.t.Helper()
	p.redis.Do(p.t, "HSET", "eth:miners:"+l, "balance", 0, "pending", int64(coin), "paid", 0)
	p.redis.Do(p.t, "HSET", "eth:finances", "balance", 0, "pending", int64(coin), "paid", 0)
	p.redis.Do(p.t, "ZADD", "eth:payments:pending", 1_700_000_000, fmt.Sprintf("%s:%d", l, coin))
}

func TestAnOldRowWhoseTransactionFailedIsNotPaid(t *testing.T) {
	p := newPool(t)
	p.oldRow(login(1))
	p.chain.SetCode(address(login(1)), rpctest.Reject)
	p.include(0, address(login(1)), coin)
	p.chain.Mine(2)
	_, err := p.session() // a reorg could still make it succeed
	wantHalt(t, err, HaltOldRows)
	p.wantBooks(login(1), 0, coin, 0)
	p.chain.Mine(int(p.cfg.VoidDepth))
	p.resolve()
	p.wantBooks(login(1), coin, 0, 0)
}

func TestAnOldPaymentIsBookedWhenItIsDeep(t *testing.T) {
	p := newPool(t)
	p.chain.Mine(5)
	p.oldRow(login(1))
	p.include(0, address(login(1)), coin)
	_, err := p.session()
	wantHalt(t, err, HaltOldRows)
	p.wantBooks(login(1), 0, coin, 0)
	p.chain.Reorg(3, false) // and it is gone
	p.chain.Mine(30)
	p.resolve()
	p.wantBooks(login(1), coin, 0, 0)
	p.mustSession()
	p.wantReceived(login(1), coin)
	p.audit()
}

func TestTheLedgerBeginsWhereNoReorgReaches(t *testing.T) {
	p := newPool(t)
	p.chain.Mine(5)
	p.include(0, common.HexToAddress("0x99"), 5)
	p.credit(login(1), coin)
	_, err := p.session()
	wantHalt(t, err, HaltUnaccounted)
	p.chain.Mine(int(p.cfg.Confirmations))
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), coin)
	// Deeper than anybody waits for, it is said, and nobody waits for ever.
	p.chain.Reorg(int(p.chain.Height())-3, false)
	p.chain.Mine(30)
	p.credit(login(2), coin)
	_, err = p.session()
	wantHalt(t, err, HaltReorg)
}

// A payment failed, was credited back, and a very deep reorg frees its nonce.
func TestTheNonceOfAFailedPaymentIsFilledWhenItIsFree(t *testing.T) {
	p := newPool(t)
	p.chain.Mine(10)
	p.credit(login(1), coin)
	n := 0
	p.clock.onSleep = func() {
		if n++; n == 1 {
			p.chain.SetCode(address(login(1)), rpctest.Reject)
		}
		p.chain.Mine(1)
	}
	p.mustSession()
	p.settle()
	p.wantBooks(login(1), coin, 0, 0)
	p.chain.Reorg(15, false)
	p.chain.Mine(10)
	p.credit(login(2), coin)
	p.mustSession()
	p.settle()
	p.wantReceived(login(2), coin)
	p.audit()
}

// stuck opens a payment of miner 1 that no node has taken.
func (p *pool) stuck() {
	p.t.Helper()
	p.credit(login(1), coin)
	p.node.Fail(sendRaw, 0, rpctest.Refuse)
	payer, stop := p.start()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	mine := p.clock.onSleep
	p.clock.onSleep = cancel
	_, _ = payer.Session(ctx)
	p.clock.onSleep = mine
	p.node.Heal()
}

func TestOneBrokenRowStopsNobodyElse(t *testing.T) {
	for _, tc := range []struct {
		name string
		harm func(p *pool, id string)
	}{
		{"the miner's row", func(p *pool, id string) { p.redis.Do(t, "HSET", "eth:miners:"+login(1), "paid", "1.5") }},
		{"the payment's record", func(p *pool, id string) { p.redis.Do(t, "HSET", "eth:payments:p:"+id, "gas", "x") }},
		{"an open payment without a record", func(p *pool, id string) { p.redis.Do(t, "ZADD", "eth:payments:inflight", 77, "77-abcd") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPool(t)
			p.stuck()
			open, _, err := p.db().Inflight(context.Background())
			if err != nil || len(open) != 1 {
				t.Fatalf("open are %v, %v", open, err)
			}
			if tc.name == "the payment's record" {
				// Nobody knows what it is, but its bytes are out.
				if _, err := p.chain.Include(open[0].Last().Raw); err != nil {
					t.Fatal(err)
				}
			}
			tc.harm(p, open[0].ID)
			p.credit(login(2), coin)
			p.mustSession()
			p.wantReceived(login(2), coin)
			p.wantReceived(login(1), coin)
		})
	}
}

// The payment is given up in the journal, but the miner's row cannot take it back.
func TestACreditThatItsRowRefusesWaitsForTheRow(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.node.Fail(sendRaw, 1, rpctest.ErrorReply(-32000, "exceeds block gas limit"))
	_, err := p.session()
	wantHalt(t, err, HaltRefused)
	p.redis.Do(t, "HSET", "eth:miners:"+login(1), "balance", "0.5")
	p.credit(login(2), coin)
	p.mustSession()
	p.wantReceived(login(2), coin)
	p.redis.Do(t, "HSET", "eth:miners:"+login(1), "balance", "0")
	p.mustSession()
	p.settle()
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), coin)
	p.audit()
}

// A person waits for the verb run; a daemon does not end.
func TestASessionThatMakesNoProgressGivesUp(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.node.Fail("eth_gasPrice", 0, rpctest.Null)
	payer, stop := p.start()
	defer stop()
	payer.GiveUpAfter(time.Minute)
	if _, err := payer.Session(context.Background()); err == nil || !strings.Contains(err.Error(), "given up after 1m0s without progress") {
		t.Errorf("the session ended with %v", err)
	}
}

// pruned is a node that keeps the state of 128 blocks.
type pruned struct {
	Chain
	chain *rpctest.Chain
}

func (c pruned) NonceAt(ctx context.Context, a common.Address, block uint64) (uint64, error) {
	if block+128 < c.chain.Height() {
		return 0, &rpc.Error{Code: -32000, Message: "missing trie node", Method: "eth_getTransactionCount"}
	}
	return c.Chain.NonceAt(ctx, a, block)
}

func TestAnOldTransferIsFoundWithoutOldState(t *testing.T) {
	p := newPool(t)
	p.wrap = func(parts Parts) Parts { parts.Chain = pruned{parts.Chain, p.chain}; return parts }
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	p.include(1, common.HexToAddress("0x99"), 5)
	p.chain.Mine(scanLimit + 200)
	p.credit(login(2), coin)
	payer, stop := p.start()
	defer stop()
	_, err := payer.Session(context.Background())
	wantHalt(t, err, HaltUnaccounted)
	if _, err := payer.Session(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.settleWith(payer)
	p.wantReceived(login(2), coin)
	p.audit()
}

// writeDown is the manual's procedure for a payment to miner 1 that was made by
// hand; the stats of the miner himself are left out.
func (p *pool) writeDown(at int64, hash, l string) {
	p.t.Helper()
	p.redis.CLI(p.t, fmt.Sprintf(`ZADD "eth:payments:all" %d %s:%s:%d
ZADD "eth:payments:%s" %d %s:%d
ZREM "eth:payments:pending" "%s:%d"
HINCRBY "eth:finances" pending -%d
HINCRBY "eth:finances" paid %d`, at, hash, l, coin, l, at, hash, coin, login(1), coin, coin, coin))
}

// The operator types the miner's address, or the hash, in other letters than the
// pool would.
func TestARowTypedInOtherLettersIsShownOnce(t *testing.T) {
	for name, typed := range map[string]func(hash, login string) (string, string){
		"the address": func(h, l string) (string, string) { return h, address(l).Hex() },
		"the hash":    func(h, l string) (string, string) { return "0x" + strings.ToUpper(h[2:]), l },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			p.stuck()
			open, _, err := p.db().Inflight(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			hash, l := typed(p.include(0, address(login(1)), coin).Hex(), login(1))
			p.writeDown(open[0].Time, hash, l)
			p.mustSession()
			p.settle()
			p.wantReceived(login(1), coin)
			p.wantBooks(login(1), 0, 0, coin)
			if got := p.redis.Do(t, "ZCARD", "eth:payments:all"); got != int64(1) {
				t.Errorf("the history has %v rows, want 1", got)
			}
			p.audit()
		})
	}
}

// An older pool left too much pending in the totals; a payment booked by hand must
// not be taken for that.
func TestWhatWasWrongBeforeStaysWhatItWas(t *testing.T) {
	p := newPool(t)
	p.redis.Do(t, "HINCRBY", "eth:finances", "pending", int64(coin))
	p.stuck()
	open, _, err := p.db().Inflight(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	hash, l := p.include(0, address(login(1)), coin).Hex(), login(1)
	p.writeDown(open[0].Time, hash, l)
	p.mustSession()
	p.settle()
	p.wantBooks(l, 0, 0, coin)
	p.audit()
}

// What the journal knows is put back after every restore, so it must not learn
// of what the ledger refused.
func TestARefusedRecordIsNotInTheJournal(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	p.credit(login(2), coin)
	hash := p.include(1, address(login(2)), coin)
	p.redis.CLI(t, fmt.Sprintf(`ZADD "eth:payments:all" 1700000000 %s:%s:%d`, hash, login(2), coin-1))
	p.chain.Mine(3)
	payer, stop := p.start()
	defer stop()
	if err := record(payer, hash); !errors.Is(err, storage.ErrConflict) {
		t.Fatalf("error is %v, want ErrConflict", err)
	}
	if err := payer.journal.Replay(func(r Record) error {
		if r.ByHand != nil {
			t.Errorf("the journal knows %+v", *r.ByHand)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// A reorg takes a foreign transaction away, and another one, a payout by hand,
// comes in its place.
func TestAForeignTransactionIsLookedForUntilNoReorgReachesIt(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	p.include(1, common.HexToAddress("0xc01d"), coin)
	p.mustSession() // it is written down
	p.chain.Reorg(1, false)
	p.chain.Forget()
	p.credit(login(2), coin)
	p.include(1, address(login(2)), coin)
	_, err := p.session()
	wantHalt(t, err, HaltUnaccounted)
	p.settleUnaccounted(record)
	p.settle()
	p.wantReceived(login(2), coin)
	p.audit()
}

// A transaction that was recorded as a payment of its own is not taken for the
// one whose row is missing.
func TestARecordedTransactionIsNoEvidenceForAnotherPayment(t *testing.T) {
	p := newPool(t)
	p.mustSession()
	p.credit(login(1), coin)
	p.include(0, address(login(1)), coin)
	p.settleUnaccounted(record)
	p.stuck()
	p.redis.CLI(t, fmt.Sprintf(`ZREM "eth:payments:pending" "%s:%d"`, login(1), coin))
	p.mustSession()
	p.wantLog("payment held until you decide")
	p.wantBooks(login(1), 0, coin, coin)
}

// The operator's transaction in place of a payment is lost.
func TestAPaymentByHandThatIsNeverMinedCanBeForgotten(t *testing.T) {
	p := newPool(t)
	p.stuck()
	open, _, err := p.db().Inflight(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	id := open[0].ID
	p.writeDown(open[0].Time, common.HexToHash("0xdead").Hex(), login(1))
	p.mustSession()
	p.wantBooks(login(1), 0, 0, coin)
	forget := func() error {
		payer, stop := p.start()
		defer stop()
		return payer.Forget(context.Background(), id)
	}
	if err := forget(); err == nil || !strings.Contains(err.Error(), "could be mined until another one has used that nonce") {
		t.Errorf("its own transaction could be mined: error is %v", err)
	}
	for range 60 {
		p.chain.Mine(1)
		p.mustSession()
	}
	p.wantLog("forget " + id)
	if err := forget(); err != nil {
		t.Fatal(err)
	}
	p.wantBooks(login(1), coin, 0, 0)
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), coin)
	p.audit()
}

// TestOnlyWhatMadeAPaymentIsAdopted: anything else is refused, with the reason, and
// nothing changes.
func TestOnlyWhatMadeAPaymentIsAdopted(t *testing.T) {
	p := newPool(t)
	p.cfg.VoidDepth = 1000
	p.stuck()
	id := p.open1().ID
	own := p.open1().Last().Hash
	away := p.include(0, common.HexToAddress("0x99"), coin)
	less := p.include(1, address(login(1)), coin-1)
	good := p.include(2, address(login(1)), coin)
	p.chain.Mine(int(p.cfg.Confirmations))
	young := p.include(3, address(login(1)), coin)
	for _, tc := range []struct {
		payment string
		tx      common.Hash
		want    string
	}{
		{"7-nobody", young, "is not in flight"},
		{id, own, "own"},
		{id, common.Hash{1}, "look up transaction"},
		{id, away, "pays 0x0000000000000000000000000000000000000099"},
		{id, less, "moves 0.999999999 coins, payment " + id + " is of 1"},
		{id, young, "blocks deep"},
	} {
		payer, stop := p.start()
		err := payer.Adopt(context.Background(), tc.payment, tc.tx)
		stop()
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("adopt %s %s: %v, want %q", tc.payment, tc.tx, err, tc.want)
		}
		p.wantBooks(login(1), 0, coin, 0)
	}
	payer, stop := p.start()
	defer stop()
	if err := payer.Adopt(context.Background(), id, good); err != nil {
		t.Fatal(err)
	}
	p.wantBooks(login(1), 0, 0, coin)
	if err := payer.Adopt(context.Background(), id, less); err == nil || !strings.Contains(err.Error(), "is not in flight") {
		t.Errorf("another one beside it, when it is final: %v", err)
	}
}

func TestRetryIsForWhatWaitsForAPerson(t *testing.T) {
	p := newPool(t)
	p.stuck()
	id := p.open1().ID
	retry := func() error {
		payer, stop := p.start()
		defer stop()
		return payer.Retry(context.Background(), id)
	}
	p.node.Fail(sendRaw, 0, rpctest.Refuse)
	if err := retry(); err == nil || !strings.Contains(err.Error(), "waits for nobody") {
		t.Errorf("a payment in flight: %v", err)
	}
	// Its row was removed, and its amount given back.
	p.redis.CLI(t, fmt.Sprintf(`ZREM "eth:payments:pending" "%s:%d"
HINCRBY "eth:miners:%s" pending -%d
HINCRBY "eth:miners:%s" balance %d`, login(1), coin, login(1), coin, login(1), coin))
	if err := retry(); !errors.Is(err, storage.ErrConflict) || !strings.Contains(err.Error(), "credited back by hand") {
		t.Errorf("a payment whose amount was given back: %v", err)
	}
	p.node.Heal()
	p.wantReceived(login(1), 0)
}

// TestARetriedPaymentThatIsRefusedAgainHaltsAgain: and may be credited back.
func TestARetriedPaymentThatIsRefusedAgainHaltsAgain(t *testing.T) {
	p := newPool(t)
	p.refusedOne()
	p.node.Fail(sendRaw, 0, notEnough)
	payer, stop := p.start()
	wantHalt(t, payer.Retry(context.Background(), p.firstOpen()), HaltRefused)
	stop()
	p.node.Heal()
	if r := p.mustSession(); r.Paid != 1 {
		t.Errorf("paid %d, want 1", r.Paid)
	}
	p.settle()
	p.wantReceived(login(1), coin)
	p.audit()
}

// TestARetriedPaymentIsOutEvenIfRedisForgetsIt: a snapshot from when it was refused
// says that nothing of it is out, and its bytes are in the node's pool.
func TestARetriedPaymentIsOutEvenIfRedisForgetsIt(t *testing.T) {
	p := newPool(t)
	p.refusedOne()
	refused := p.redis.Snapshot()
	p.node.Heal()
	mine := p.clock.onSleep
	p.clock.onSleep = func() {}
	payer, stop := p.start()
	if err := payer.Retry(context.Background(), p.firstOpen()); err != nil {
		t.Fatal(err)
	}
	stop()
	if len(p.chain.Pool()) != 1 {
		t.Fatalf("the node's pool holds %v, want the payment", p.chain.Pool())
	}
	p.redis.Restore(refused)
	p.clock.onSleep = mine
	p.credit(login(2), coin/2) // comes first, and would get the nonce
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), coin)
	p.wantReceived(login(2), coin/2)
	p.audit()
}

// TestARetryIsNewerThanAnEndThatTheBooksDidNotTake: the journal has the credit back,
// Redis has not, and a person removed the row.
func TestARetryIsNewerThanAnEndThatTheBooksDidNotTake(t *testing.T) {
	p := newPool(t)
	p.cfg.MaxGasPrice = p.cfg.GasPrice // no filler can take the nonce
	p.refusedOne()
	id := p.firstOpen()
	p.node.Heal()
	for at := 1; !strings.Contains(fileText(t, p.journal), `"void":{"id":"`+id); at++ {
		k := &knife{wound: killed, at: at}
		p.wrap = k.parts
		payer, stop := p.start()
		ctx, cancel := context.WithCancel(context.Background())
		k.then = cancel
		_ = payer.Resolve(ctx)
		cancel()
		stop()
		if !k.dead {
			t.Fatal("nobody is credited back")
		}
	}
	p.wrap = nil
	if state := p.redis.Do(t, "HGET", "eth:payments:p:"+id, "state"); state != "signed" {
		t.Fatalf("the payment is %v, want signed", state)
	}
	p.redis.CLI(t, fmt.Sprintf("ZREM \"eth:payments:pending\" \"%s:%d\"\nDEL \"eth:payments:lock\"", login(1), coin))
	_, _ = p.session()
	payer, stop := p.start()
	if err := payer.Retry(context.Background(), id); err != nil {
		t.Fatal(err)
	}
	stop()
	p.credit(login(2), coin/2)
	for range 3 {
		p.mustSession()
		p.settle()
	}
	p.wantReceived(login(1), coin)
	p.wantReceived(login(2), coin/2)
}

func TestVerbsBelieveNoNodeThatIsBehind(t *testing.T) {
	p := newPool(t)
	p.credit(login(2), coin)
	p.mustSession()
	p.settle() // final, so that it is known how far the chain is
	p.stuck()
	id := p.open1().ID
	p.node.Lag(int(p.cfg.Confirmations) + 20)
	for name, verb := range map[string]func(*Payer) error{
		"forget": func(p *Payer) error { return p.Forget(context.Background(), id) },
		"retry":  func(p *Payer) error { return p.Retry(context.Background(), id) },
		"adopt":  func(p *Payer) error { return p.Adopt(context.Background(), id, common.Hash{1}) },
	} {
		payer, stop := p.start()
		if err := verb(payer); haltReason(err) != HaltBehind {
			t.Errorf("%s: %v, want the node is behind", name, err)
		}
		stop()
	}
}

// TestWhatUsedTheNonceOfAnAdoptedPaymentIsWrittenDown: of two transfers made by hand
// one is adopted, and the other took the payment's nonce.
func TestWhatUsedTheNonceOfAnAdoptedPaymentIsWrittenDown(t *testing.T) {
	p := newPool(t)
	p.cfg.VoidDepth = 1000
	p.stuck()
	id := p.open1().ID
	other := p.include(0, common.HexToAddress("0x99"), coin)
	made := p.include(1, address(login(1)), coin)
	p.chain.Mine(int(p.cfg.Confirmations))
	payer, stop := p.start()
	defer stop()
	if err := payer.Adopt(context.Background(), id, made); err != nil {
		t.Fatal(err)
	}
	if got := p.redis.Do(t, "HGET", "eth:payments:nonces:"+p.account.Hex(), 0); got != "foreign:"+other.Hex() {
		t.Errorf("nonce 0 is bound to %v, want transaction %s", got, other)
	}
	p.audit()
}
