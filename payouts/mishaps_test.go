package payouts

import (
	"context"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

func (p *pool) open1() *storage.Payment {
	p.t.Helper()
	open, _, err := p.db().Inflight(context.Background())
	if err != nil || len(open) != 1 {
		p.t.Fatalf("open are %v, %v", open, err)
	}
	return open[0]
}

// TestAStrangerThatPaidTheMinerAnotherAmountIsOwed: a sent payment is lost; the operator repeats it by hand with the amount of
// the books (feeFromMiner), the node gives it the payment's nonce.
func TestAStrangerThatPaidTheMinerAnotherAmountIsOwed(t *testing.T) {
	p := newPool(t)
	p.cfg.FeeFromMiner = true
	p.credit(login(1), coin)
	n := 0
	p.clock.onSleep = func() {
		if n++; n == 1 {
			p.chain.Forget()
			p.include(0, address(login(1)), coin)
			return
		}
		p.chain.Mine(1)
	}
	_, err := p.session()
	if err != nil {
		wantHalt(t, err, HaltUnaccounted)
	}
	p.settleUnaccounted(record)
	p.settle()
	p.settleUnaccounted(record)
	p.settle()
	p.wantReceived(login(1), coin)
	p.audit()
}

// TestResolveAfterARestoreKnowsOurPayments: RESOLVE_PAYOUT=1 right after a restore to before the ledger began.
func TestResolveAfterARestoreKnowsOurPayments(t *testing.T) {
	p := newPool(t)
	p.chain.Mine(5)
	p.oldRow(login(1))
	before := p.redis.Snapshot()
	p.chain.Mine(30)
	p.resolve() // credited back
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), coin)
	p.wantBooks(login(1), 0, 0, coin)
	p.redis.Restore(before)
	p.resolve()
	_, err := p.session()
	t.Log(err)
	p.settle()
	p.wantBooks(login(1), 0, 0, coin)
	p.audit()
}

// TestARowPutBackAfterThePaymentIsFinalMovesNothing: the operator types the command of the "held" line after the payment became final.
func TestARowPutBackAfterThePaymentIsFinalMovesNothing(t *testing.T) {
	p := newPool(t)
	p.stuck()
	o := p.open1()
	p.redis.CLI(t, fmt.Sprintf(`ZREM "eth:payments:pending" "%s:%d"`, login(1), coin))
	if _, err := p.chain.Include(o.Last().Raw); err != nil { // the bytes were out after all
		t.Fatal(err)
	}
	p.mustSession()
	p.wantLog("payment held until you decide")
	p.settle()
	p.wantReceived(login(1), coin)
	p.wantBooks(login(1), 0, 0, coin)
	// what the log line says
	p.redis.CLI(t, fmt.Sprintf(`ZADD "eth:payments:pending" %d %s:%d`, o.Time, login(1), coin))
	_, err := p.session()
	t.Log(err)
	if err != nil {
		p.resolve() // what the halt says
		p.mustSession()
		p.settle()
	}
	p.wantReceived(login(1), coin)
	p.wantBooks(login(1), 0, 0, coin)
}

// TestWhatWasCreditedBackByHandIsNotCreditedAgain: the operator credits a refused payment back by hand; the "held" line then
// knows only two ways on, and the second credits it back again.
func TestWhatWasCreditedBackByHandIsNotCreditedAgain(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.node.Fail(sendRaw, 1, notEnough)
	_, err := p.session()
	wantHalt(t, err, HaltRefused)
	o := p.open1()
	p.redis.CLI(t, fmt.Sprintf(`ZREM "eth:payments:pending" "%[1]s:%[2]d"
HINCRBY "eth:miners:%[1]s" balance %[2]d
HINCRBY "eth:miners:%[1]s" pending -%[2]d
HINCRBY "eth:finances" balance %[2]d
HINCRBY "eth:finances" pending -%[2]d
DEL "eth:payments:lock"`, login(1), coin))
	p.mustSession()
	p.wantLog("payment held until you decide")
	p.redis.CLI(t, fmt.Sprintf(`ZADD "eth:payments:pending" %d %s:%d`, o.Time, login(1), coin))
	for range 20 {
		p.chain.Mine(1)
		if _, err := p.session(); err != nil {
			t.Log(err)
		}
	}
	p.wantReceived(login(1), coin)
}

// TestAVerbAboutAPaymentsOwnNonceStopsNobody: a lost payment is repeated by hand with its own nonce, and then recorded
// (or ignored) by the verb while payouts are down.
func TestAVerbAboutAPaymentsOwnNonceStopsNobody(t *testing.T) {
	for name, verb := range map[string]func(*Payer, common.Hash) error{"record": record, "ignore": ignore} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			p.credit(login(1), coin)
			var hash common.Hash
			p.clock.onSleep = func() {
				p.chain.Forget()
				var err error
				if hash, err = p.chain.Include(p.transfer(0, address(login(1)), coin.Wei(), big.NewInt(7e9))); err != nil {
					t.Error(err)
				}
			}
			p.sessionUntil(func() bool { return true })
			p.clock.onSleep = func() { p.chain.Mine(1) }
			payer, stop := p.start()
			err := verb(payer, hash)
			stop()
			t.Log("verb:", err)
			p.credit(login(2), coin)
			payer, stop = p.start()
			defer stop()
			payer.GiveUpAfter(5 * time.Minute)
			if _, err := payer.Session(context.Background()); err != nil {
				t.Errorf("session: %v", err)
			}
			p.wantReceived(login(2), coin)
			if name == "record" {
				p.wantReceived(login(1), coin)
			}
			p.audit()
		})
	}
}

// TestNoFillerReplacesTheOperatorsTransaction: the manual's procedure, typed while the operator's transaction still waits
// in the node's pool. The node gave it the stuck payment's nonce.
func TestNoFillerReplacesTheOperatorsTransaction(t *testing.T) {
	p := newPool(t)
	p.stuck()
	o := p.open1()
	raw := p.transfer(0, address(login(1)), coin.Wei(), new(big.Int).Add(o.Last().GasPrice, common.Big1))
	p.sendByHand(raw)
	p.writeDown(o.Time, crypto.Keccak256Hash(raw).Hex(), login(1))
	p.mustSession()
	p.wantLog("adopted a payment made by hand")
	for range 20 {
		p.chain.Mine(1)
		p.mustSession()
	}
	p.wantReceived(login(1), coin)
}

// TestForgetLooksWhomTheNoncePaid: the operator sped his transaction up (eth.resend), so that the row has the
// hash of the one that was replaced; then he types what the log says: forget.
func TestForgetLooksWhomTheNoncePaid(t *testing.T) {
	p := newPool(t)
	p.stuck()
	o := p.open1()
	raw := p.transfer(0, address(login(1)), coin.Wei(), new(big.Int).Add(o.Last().GasPrice, common.Big1))
	p.sendByHand(raw)
	p.writeDown(o.Time, crypto.Keccak256Hash(raw).Hex(), login(1))
	p.mustSession() // adopts it
	p.sendByHand(p.transfer(0, address(login(1)), coin.Wei(), big.NewInt(7e9)))
	for range 30 {
		p.chain.Mine(1)
		p.mustSession()
	}
	p.wantLog("forget " + o.ID)
	payer, stop := p.start()
	err := payer.Forget(context.Background(), o.ID)
	stop()
	t.Log("forget:", err)
	p.settleUnaccounted(record)
	for range 20 {
		p.chain.Mine(1)
	}
	p.wantReceived(login(1), coin)
}

// TestWhatWasForgottenAndMinedCanBeRecorded: a forgotten transaction is mined after all; the halt names record.
func TestWhatWasForgottenAndMinedCanBeRecorded(t *testing.T) {
	p := newPool(t)
	p.stuck()
	o := p.open1()
	raw := p.transfer(1, address(login(1)), coin.Wei(), big.NewInt(1e9))
	p.writeDown(o.Time, crypto.Keccak256Hash(raw).Hex(), login(1))
	for range 30 {
		p.chain.Mine(1)
		p.mustSession()
	}
	payer, stop := p.start()
	err := payer.Forget(context.Background(), o.ID)
	stop()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.chain.Include(raw); err != nil {
		t.Fatal(err)
	}
	_, err = p.session()
	wantHalt(t, err, HaltUnaccounted)
	p.settleUnaccounted(record)
	p.wantReceived(login(1), coin)
	p.audit()
}

// TestAnotherWalletsNonceIsNotOurs: the operator pays from his own wallet, whose nonce happens to be the payment's.
func TestAnotherWalletsNonceIsNotOurs(t *testing.T) {
	p := newPool(t)
	p.stuck()
	o := p.open1()
	to, other := address(login(1)), keyOf(t, "the operator's own")
	p.chain.Fund(crypto.PubkeyToAddress(other.PublicKey), coinsToWei(2))
	his := signed(t, other, types.LatestSignerForChainID(p.chain.ChainID()),
		&types.LegacyTx{To: &to, Value: coin.Wei(), Gas: 21000, GasPrice: big.NewInt(1e9)})
	if _, err := p.chain.Include(his); err != nil {
		t.Fatal(err)
	}
	p.writeDown(o.Time, crypto.Keccak256Hash(his).Hex(), login(1))
	p.credit(login(3), coin)
	p.include(0, address(login(3)), coin) // a payout by hand from the pool's account
	_, err := p.session()
	if haltReason(err) != HaltUnaccounted {
		t.Errorf("session: %v, want %s", err, HaltUnaccounted)
	} else {
		p.settleUnaccounted(record)
	}
	for range 20 {
		p.chain.Mine(1)
	}
	p.wantReceived(login(3), coin)
}

// TestWhatIsRecordedIsDeep: a recorded payment is reorganised away.
func TestWhatIsRecordedIsDeep(t *testing.T) {
	p := newPool(t)
	p.chain.Mine(10)
	p.mustSession()
	p.credit(login(2), coin)
	p.include(0, address(login(2)), coin)
	_, err := p.session()
	wantHalt(t, err, HaltUnaccounted)
	p.settleUnaccounted(record)
	p.wantBooks(login(2), 0, 0, coin)
	p.chain.Reorg(3, false)
	p.chain.Forget()
	for range 60 {
		p.chain.Mine(1)
		_, err := p.session()
		if err != nil {
			t.Log(err)
		}
	}
	p.wantReceived(login(2), coin)
}

// TestAnAccountMayComeBack: payouts.address goes to another account and comes back.
func TestAnAccountMayComeBack(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	p.chain.Mine(10)
	keyA, accA, jA := p.key, p.account, p.journal
	keyB := keyOf(t, "second account")
	p.key, p.account, p.journal = keyB, crypto.PubkeyToAddress(keyB.PublicKey), jA+".b"
	p.cfg.Address = p.account.Hex()
	p.chain.Fund(p.account, coinsToWei(100))
	p.node.Unlock(keyB)
	p.credit(login(2), coin)
	p.mustSession()
	p.settle()
	p.wantReceived(login(2), coin)
	p.chain.Mine(10)
	p.key, p.account, p.journal = keyA, accA, jA
	p.cfg.Address = p.account.Hex()
	p.credit(login(3), coin)
	r, err := p.session()
	t.Logf("%+v %v", r, err)
	p.settle()
	p.wantReceived(login(3), coin)
	p.audit()
}

// TestAPaymentByHandThatIsMinedAfterAllIsTold: final by its own transaction; the one made by hand is mined later.
func TestAPaymentByHandThatIsMinedAfterAllIsTold(t *testing.T) {
	p := newPool(t)
	p.stuck()
	o := p.open1()
	raw := p.transfer(1, address(login(1)), coin.Wei(), big.NewInt(1e9))
	p.writeDown(o.Time, crypto.Keccak256Hash(raw).Hex(), login(1))
	if _, err := p.chain.Include(o.Last().Raw); err != nil {
		t.Fatal(err)
	}
	p.mustSession()
	p.settle()
	p.wantBooks(login(1), 0, 0, coin)
	hash, err := p.chain.Include(raw)
	if err != nil {
		t.Fatal(err)
	}
	p.credit(login(1), coin)
	_, err = p.session()
	if haltReason(err) != HaltUnaccounted {
		t.Errorf("session: %v, want %s", err, HaltUnaccounted)
	}
	payer, stop := p.start()
	err = record(payer, hash)
	stop()
	t.Log("record:", err)
	for range 10 {
		p.chain.Mine(1)
	}
	p.wantReceived(login(1), 2*coin)
}

// TestForgetBelievesNoNodeThatIsCutOff: forget asks a node that is syncing and behind.
func TestForgetBelievesNoNodeThatIsCutOff(t *testing.T) {
	p := newPool(t)
	p.stuck()
	o := p.open1()
	raw := p.transfer(1, address(login(1)), coin.Wei(), big.NewInt(1e9))
	p.writeDown(o.Time, crypto.Keccak256Hash(raw).Hex(), login(1))
	for range 30 {
		p.chain.Mine(1)
		p.mustSession()
	}
	if _, err := p.chain.Include(raw); err != nil {
		t.Fatal(err)
	}
	p.node.Lag(1)
	p.node.SetSyncing(true)
	p.node.SetPeers(0)
	payer, stop := p.start()
	err := payer.Forget(context.Background(), o.ID)
	stop()
	if err == nil {
		t.Error("forget believed a node that is syncing, has no peers and is behind")
	}
	p.wantBooks(login(1), 0, 0, coin)
}

// TestAnOrderThatRedisForgotIsGivenAgain: redis goes back under an idle process, and somebody speaks before it looks.
func TestAnOrderThatRedisForgotIsGivenAgain(t *testing.T) {
	p := newPool(t)
	payer, stop := p.start()
	defer stop()
	if _, err := payer.Session(context.Background()); err != nil {
		t.Fatal(err)
	}
	before := p.redis.Snapshot()
	p.say(storage.Act{Verb: storage.ActHold, Login: login(1), Reason: "stolen address"})
	if err := p.advance(payer); err != nil {
		t.Fatal(err)
	}
	p.redis.Restore(before)
	p.say(storage.Act{Verb: storage.ActHold, Login: login(2), Reason: "another"})
	p.credit(login(1), coin)
	_, err := payer.Session(context.Background())
	t.Log(err)
	p.settleWith(payer)
	p.wantLog("forgotten")
	p.wantReceived(login(1), 0)
}

// TestAHeldPaymentIsNotPaid: the pending row is removed while a session runs: a held payment is no paid one.
func TestAHeldPaymentIsNotPaid(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.node.Fail(sendRaw, 0, rpctest.Refuse)
	n := 0
	p.clock.onSleep = func() {
		if n++; n == 1 {
			p.redis.CLI(t, fmt.Sprintf(`ZREM "eth:payments:pending" "%s:%d"`, login(1), coin))
		}
	}
	r, err := p.session()
	t.Logf("%+v %v", r, err)
	p.wantReceived(login(1), 0)
	if r.Paid != 0 || len(r.Skipped) == 0 {
		t.Errorf("paid %d, skipped %v; want 0 and miner 1 as held", r.Paid, r.Skipped)
	}
}

// TestDeletingTheLockUnlocks: autoResolve false, and the whole manual procedure, with DEL lock at its end.
func TestDeletingTheLockUnlocks(t *testing.T) {
	p := newPool(t)
	p.cfg.AutoResolve = false
	p.credit(login(1), coin)
	p.node.Fail(sendRaw, 1, notEnough)
	_, err := p.session()
	wantHalt(t, err, HaltRefused)
	o := p.open1()
	hash := p.include(0, address(login(1)), coin)
	p.writeDown(o.Time, hash.Hex(), login(1))
	p.redis.CLI(t, `DEL "eth:payments:lock"`)
	p.credit(login(2), coin)
	if _, err := p.session(); err != nil {
		t.Errorf("session after the manual's procedure: %v", err)
	}
	p.wantReceived(login(2), coin)
}

// TestABadHoldHoldsOneMiner: one hold that does not parse.
func TestABadHoldHoldsOneMiner(t *testing.T) {
	p := newPool(t)
	p.mustSession()
	p.redis.Do(t, "HSET", "eth:payments:holds", login(1), "1")
	p.credit(login(1), coin)
	p.credit(login(2), coin)
	payer, stop := p.start()
	defer stop()
	payer.GiveUpAfter(time.Minute)
	if _, err := payer.Session(context.Background()); err != nil {
		t.Error(err)
	}
	p.wantReceived(login(2), coin)
}

// TestAnOldRowTakesNoOtherSpellingsTransaction: a miner has two rows; the transaction that paid the one is not the other's.
func TestAnOldRowTakesNoOtherSpellingsTransaction(t *testing.T) {
	p := newPool(t)
	p.chain.Mine(5)
	mixed := "0x34AE12692BD4567A27e3E86411b58Ea6954BA773"
	lower := strings.ToLower(mixed)
	p.oldRow(lower)
	hash := p.include(0, address(mixed), coin)
	p.redis.CLI(t, fmt.Sprintf(`ZADD "eth:payments:all" 1700000000 %[1]s:%[2]s:%[3]d
ZADD "eth:payments:%[2]s" 1700000000 %[1]s:%[3]d
HINCRBY "eth:miners:%[2]s" paid %[3]d
HINCRBY "eth:finances" paid %[3]d`, hash, mixed, coin))
	p.chain.Mine(30)
	p.resolve()
	p.wantBooks(lower, coin, 0, 0)
}

// TestAPaymentByHandComesBackWithTheJournal: redis forgets a payment by hand and the credit as well; the pool looks
// before the unlocker credits again.
func TestAPaymentByHandComesBackWithTheJournal(t *testing.T) {
	p := newPool(t)
	p.redis.Do(t, "HSET", "eth:miners:"+login(2), "lastShare", 1)
	p.mustSession()
	before := p.redis.Snapshot()
	p.credit(login(2), coin)
	hash, l := p.include(0, address(login(2)), coin), login(2)
	p.redis.CLI(t, fmt.Sprintf(`ZADD "eth:payments:all" 1700000000 %[1]s:%[2]s:%[3]d
ZADD "eth:payments:%[2]s" 1700000000 %[1]s:%[3]d
HINCRBY "eth:miners:%[2]s" balance -%[3]d
HINCRBY "eth:miners:%[2]s" paid %[3]d
HINCRBY "eth:finances" balance -%[3]d
HINCRBY "eth:finances" paid %[3]d`, hash, l, coin))
	p.mustSession()
	p.redis.Restore(before)
	_, err := p.session()
	t.Log(err)
	p.credit(login(2), coin) // the unlocker credits what the snapshot lost
	p.settleUnaccounted(record)
	p.wantReceived(login(2), coin)
}

// TestAnUnreadableRecordStopsOneMiner: an unreadable record which the journal knows to be given up.
func TestAnUnreadableRecordStopsOneMiner(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.node.Fail(sendRaw, 1, notEnough)
	_, err := p.session()
	wantHalt(t, err, HaltRefused)
	o := p.open1()
	p.redis.Do(t, "HSET", "eth:miners:"+login(1), "balance", "0.5") // the credit is refused
	p.mustSession()
	p.redis.Do(t, "HSET", "eth:payments:p:"+o.ID, "gas", "x")
	p.credit(login(2), coin)
	payer, stop := p.start()
	defer stop()
	payer.GiveUpAfter(time.Minute)
	if _, err := payer.Session(context.Background()); err != nil {
		t.Error(err)
	}
	p.wantReceived(login(2), coin)
}

// failLedger fails one read after a payment was adopted.
type failLedger struct {
	Ledger
	arm *bool
}

func (l failLedger) Acquire(ctx context.Context, token, gone string, known uint64) (Lease, error) {
	lease, err := l.Ledger.Acquire(ctx, token, gone, known)
	return failLease{lease, l.arm}, err
}

func (l failLedger) Meta(ctx context.Context) (storage.Meta, error) {
	if *l.arm {
		*l.arm = false
		return storage.Meta{}, errCut
	}
	return l.Ledger.Meta(ctx)
}

type failLease struct {
	Lease
	arm *bool
}

func (l failLease) Adopt(ctx context.Context, p *storage.Payment, now int64, held util.Shannon, why string) error {
	err := l.Lease.Adopt(ctx, p, now, held, why)
	*l.arm = true
	return err
}

// TestAFailedReadHidesNoStray: what a process remembers of a payment outlives its adoption when one read fails.
func TestAFailedReadHidesNoStray(t *testing.T) {
	for _, fails := range []bool{false, true} {
		t.Run(fmt.Sprint("a read fails: ", fails), func(t *testing.T) {
			p := newPool(t)
			arm := false
			if fails {
				p.wrap = func(parts Parts) Parts { parts.Ledger = failLedger{parts.Ledger, &arm}; return parts }
			}
			p.credit(login(1), coin)
			p.node.Fail(sendRaw, 0, rpctest.Refuse)
			payer, stop := p.start()
			defer stop()
			ctx, cancel := context.WithCancel(context.Background())
			p.clock.onSleep = cancel
			_, _ = payer.Session(ctx)
			p.clock.onSleep = func() { p.chain.Mine(1) }
			if err := p.advance(payer); err != nil {
				t.Fatal(err)
			}
			o := p.open1()
			p.credit(login(3), coin)
			p.include(0, address(login(3)), coin) // forgotten to be written down
			h := p.include(1, address(login(1)), coin)
			p.chain.Mine(5)
			p.writeDown(o.Time, h.Hex(), login(1))
			t.Log(p.advance(payer)) // adopts
			p.node.Heal()
			_, err := payer.Session(context.Background())
			wantHalt(t, err, HaltUnaccounted)
			p.wantReceived(login(3), coin)
		})
	}
}

// TestABookedOldRowPaysNothingElse: a row of an older pool is booked in the second in which its miner is paid.
func TestABookedOldRowPaysNothingElse(t *testing.T) {
	p := newPool(t)
	p.oldRow(login(1))
	p.include(0, address(login(1)), coin)
	p.chain.Mine(30)
	p.stuck()
	p.wantBooks(login(1), 0, coin, coin)
	p.redis.CLI(t, fmt.Sprintf(`ZREM "eth:payments:pending" "%s:%d"`, login(1), coin))
	p.mustSession()
	p.wantLog("payment held until you decide")
	p.wantBooks(login(1), 0, coin, coin)
}
