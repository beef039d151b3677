package payouts

import (
	"context"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// meanwhile is a chain to which something happens before one of its answers.
type meanwhile struct {
	Chain
	block, pool func() // before a block is read, and before the node's pool is
}

func (c *meanwhile) BlockWithTransactions(ctx context.Context, n uint64) (rpc.Block, error) {
	if c.block != nil {
		c.block()
		c.block = nil
	}
	return c.Chain.BlockWithTransactions(ctx, n)
}

func TestAReorgWhileOldRowsAreSearchedCreditsNothingBack(t *testing.T) {
	p := newPool(t)
	p.chain.Mine(5)
	p.oldRow(login(1))
	raw := p.transfer(0, address(login(1)), coin.Wei(), big.NewInt(1e9))
	if _, err := p.chain.Include(raw); err != nil {
		t.Fatal(err)
	}
	p.wrap = func(parts Parts) Parts {
		parts.Chain = &meanwhile{Chain: parts.Chain, block: func() { p.chain.Reorg(1, true) }}
		return parts
	}
	payer, stop := p.start()
	if err := payer.Resolve(context.Background()); !errors.Is(err, rpc.ErrUnknown) {
		t.Errorf("resolve: %v, want that the chain changed", err)
	}
	stop()
	p.wrap = nil
	p.wantBooks(login(1), 0, coin, 0)
	p.chain.Mine(1) // the transaction comes back
	p.chain.Mine(20)
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), coin)
}

// A payment is opened by one process and sent by another. Later the first one's node
// has lost it, and refuses it: that proves nothing.
func TestARefusalProvesNothingOnceTheLockWasFree(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.cfg.BumpAfter = 0
	other := p.journal + ".other"
	var cut bool
	p.wrap = func(parts Parts) Parts {
		parts.Ledger = cutVerify{parts.Ledger, &cut}
		return parts
	}
	a, stopA := p.start()
	defer stopA()
	cut = true
	// A opens and journals; its verify meets a Redis that does not answer.
	err := a.hold(context.Background(), func(tn *turn) error {
		s := &session{started: p.clock.Now().Unix(), opened: map[string]*storage.Payment{}, logins: map[string]bool{}}
		a.window = a.cfg.Window
		return tn.work(context.Background(), s)
	})
	if err == nil {
		t.Fatal("the payment was verified")
	}
	cut = false
	jA := p.journal
	p.journal, p.wrap = other, nil
	b, stopB := p.start()
	if err := p.advance(b); err != nil { // B sends it
		t.Fatal(err)
	}
	stopB()
	p.journal = jA
	out := p.chain.Broadcast()
	p.chain.Forget()
	for range 12 {
		p.chain.MineEmpty(1)
	}
	p.node.Fail(sendRaw, 1, notEnough)
	for range 2 {
		if err := p.advance(a); err != nil {
			t.Error(err)
		}
	}
	p.credit(login(2), coin-1)
	mine := p.clock.onSleep
	p.clock.onSleep = func() { // the first bytes are mined after all
		if out != nil {
			if _, err := p.chain.Include(out[0]); err != nil {
				t.Error(err)
			}
			out = nil
		}
		mine()
	}
	for range 2 {
		if _, err := a.Session(context.Background()); err != nil {
			t.Error(err)
		}
		p.settleWith(a)
	}
	p.wantReceived(login(1), coin)
}

type cutVerify struct {
	Ledger
	cut *bool
}

func (l cutVerify) Acquire(ctx context.Context, token, gone string, known uint64) (Lease, error) {
	lease, err := l.Ledger.Acquire(ctx, token, gone, known)
	return cutVerifyLease{lease, l.cut}, err
}

type cutVerifyLease struct {
	Lease
	cut *bool
}

func (l cutVerifyLease) Verify(ctx context.Context, ps ...*storage.Payment) error {
	if *l.cut && len(ps) > 0 {
		return errors.New("connection cut")
	}
	return l.Lease.Verify(ctx, ps...)
}

// Redis comes back as it was before payouts.address was changed.
func TestAnOldAccountsPaymentsAreNotForgottenByANewOne(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.credit(login(9), coin)
	p.redis.Do(t, "HSET", "eth:miners:"+login(1), "balance", 0)
	p.redis.Do(t, "HINCRBY", "eth:finances", "balance", -int64(coin))
	p.mustSession() // the ledger begins, login 9 is paid
	p.settle()
	p.redis.Do(t, "HSET", "eth:miners:"+login(1), "balance", int64(coin))
	p.redis.Do(t, "HINCRBY", "eth:finances", "balance", int64(coin))
	snapshot := p.redis.Snapshot()
	p.mustSession() // login 1 is paid by account A
	p.settle()
	p.wantReceived(login(1), coin)
	p.chain.Mine(10)
	keyB := keyOf(t, "second account")
	p.key, p.account, p.journal = keyB, crypto.PubkeyToAddress(keyB.PublicKey), p.journal+".b"
	p.cfg.Address = p.account.Hex()
	p.chain.Fund(p.account, coinsToWei(100))
	p.node.Unlock(keyB)
	p.credit(login(2), coin)
	p.mustSession()
	p.settle()
	p.redis.Restore(snapshot)
	if _, err := p.session(); !haltedFor(err, HaltChain) {
		t.Errorf("session after the restore: %v, want it halted: %s", err, HaltChain)
	}
	p.settle()
	p.wantReceived(login(2), coin)
	p.wantReceived(login(1), coin)
}

// Pools with keepNwFees may have sent less than the row's amount.
func TestAnOldRowOfWhichTheMinerPaidTheFeeIsBooked(t *testing.T) {
	p := newPool(t)
	p.cfg.KeepNwFees, p.cfg.FeeFromMiner = true, true
	p.oldRow(login(1))
	fee := big.NewInt(21000 * 20_000_000_000)
	raw := p.transfer(0, address(login(1)), new(big.Int).Sub(coin.Wei(), fee), big.NewInt(20e9))
	if _, err := p.chain.Include(raw); err != nil {
		t.Fatal(err)
	}
	p.chain.Mine(30)
	p.mustSession()
	p.settle()
	p.wantBooks(login(1), 0, 0, coin)
	if got := p.chain.Received(address(login(1))); got.Cmp(coin.Wei()) >= 0 {
		t.Errorf("received %s Wei of %s, want it once, less the fee", got, coin.Wei())
	}
}

func TestAnOldRowIsNotCreditedBackWhileItsMinerGotSomethingElse(t *testing.T) {
	p := newPool(t)
	p.oldRow(login(1))
	raw := p.transfer(0, address(login(1)), new(big.Int).Sub(coin.Wei(), big.NewInt(12345)), big.NewInt(20e9))
	if _, err := p.chain.Include(raw); err != nil {
		t.Fatal(err)
	}
	p.chain.Mine(30)
	p.resolve()
	p.wantBooks(login(1), 0, coin, 0)
	if _, err := p.session(); !haltedFor(err, HaltOldRows) || !strings.Contains(err.Error(), "0.999999999 to him") {
		t.Errorf("session: %v, want it halted for what he got", err)
	}
}

func (c *meanwhile) PoolHas(ctx context.Context, a common.Address) (bool, []common.Hash, error) {
	if c.pool != nil {
		c.pool()
		c.pool = nil
	}
	return c.Chain.PoolHas(ctx, a)
}

func TestAnOldTransactionThatIsMinedMeanwhileIsSeen(t *testing.T) {
	p := newPool(t)
	p.chain.Mine(5)
	p.oldRow(login(1))
	p.sendByHand(p.transfer(0, address(login(1)), coin.Wei(), big.NewInt(1e9))) // waits in the node's pool
	p.wrap = func(parts Parts) Parts {
		parts.Chain = &meanwhile{Chain: parts.Chain, pool: func() { p.chain.Mine(1) }}
		return parts
	}
	p.resolve()
	p.wrap = nil
	p.wantBooks(login(1), 0, coin, 0) // in a block, and not deep yet
	p.chain.Mine(20)
	p.mustSession()
	p.wantBooks(login(1), 0, 0, coin)
	p.settle()
	p.wantReceived(login(1), coin)
}

// A snapshot restored without a journal, and a miner who was credited after it.
func TestAMinerWhomTheBooksForgotIsNotPaidAgain(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	snapshot := p.redis.Snapshot()
	p.credit(login(4), coin)
	p.mustSession()
	p.settle()
	p.wantReceived(login(4), coin)
	p.redis.Restore(snapshot)
	p.journal += ".moved"
	p.mustSession()
	p.credit(login(4), coin) // the unlocker credits what the snapshot lost
	_, err := p.session()
	if !haltedFor(err, HaltUnaccounted) {
		t.Errorf("session after the credit: %v, want it halted: %s", err, HaltUnaccounted)
	}
	p.settle()
	p.wantReceived(login(4), coin)
	payer, stop := p.start()
	defer stop()
	if err := payer.RecordByHand(context.Background(), p.chain.TransfersFrom(p.account)[1].Hash); err != nil {
		t.Error(err)
	}
	p.wantBooks(login(4), 0, 0, coin)
	if _, err := payer.Session(context.Background()); err != nil {
		t.Errorf("session after it was recorded: %v", err)
	}
}

// What is no payout stops nobody once that was said.
func TestAStrayThatIsNoPayoutIsSaidOnce(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	hash := p.include(1, address(login(4)), coin) // to somebody who does not mine yet
	p.chain.Mine(20)
	p.mustSession()
	p.credit(login(4), coin)
	p.wantHalted(HaltUnaccounted)
	payer, stop := p.start()
	if pl, err := payer.Plan(context.Background()); err != nil || !haltedFor(pl.Stopped, HaltUnaccounted) {
		t.Errorf("the plan is stopped by %v, %v, want %s", pl.Stopped, err, HaltUnaccounted)
	}
	if err := payer.Ignore(context.Background(), hash); err != nil {
		t.Error(err)
	}
	stop()
	p.mustSession()
	p.settle()
	p.wantReceived(login(4), coin+coin)
	p.wantBooks(login(4), 0, 0, coin)
}

// The older pool's clock was two hours ahead.
func TestAnOldPoolsClockMayBeAhead(t *testing.T) {
	p := newPool(t)
	p.chain.Mine(5)
	p.oldRow(login(1))
	p.redis.Do(t, "ZADD", "eth:payments:pending", 1_800_000_000+6*13+7200, login(1)+":1000000000")
	p.include(0, address(login(1)), coin)
	p.chain.Mine(800) // nearly three hours later
	p.resolve()
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), coin)
}

// Two processes with a journal each, both kept; then a snapshot is restored.
func TestASecondJournalsPaymentsAreNotMadeAgain(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	a, stopA := p.start() // stays
	defer stopA()
	if _, err := a.Session(context.Background()); err != nil {
		t.Fatal(err)
	}
	p.settleWith(a)
	snapshot := p.redis.Snapshot()
	jA := p.journal
	p.journal += ".other"
	p.credit(login(4), coin)
	p.mustSession() // by mistake, while A sleeps between two sessions
	p.settle()
	p.wantReceived(login(4), coin)
	p.journal = jA
	if err := p.advance(a); err != nil {
		t.Error(err)
	}
	p.redis.Restore(snapshot)
	if _, err := a.Session(context.Background()); err != nil {
		t.Errorf("session after the restore: %v", err)
	}
	p.credit(login(4), coin) // the unlocker credits what the snapshot lost
	if _, err := a.Session(context.Background()); !haltedFor(err, HaltUnaccounted) {
		t.Errorf("session after the credit: %v, want it halted: %s", err, HaltUnaccounted)
	}
	p.settleWith(a)
	p.wantReceived(login(4), coin)
}

func haltedFor(err error, reason string) bool {
	var h *Halt
	return errors.As(err, &h) && h.Reason == reason
}

// wantHalted holds a session, which has to end with this halt.
func (p *pool) wantHalted(reason string) {
	p.t.Helper()
	if _, err := p.session(); !haltedFor(err, reason) {
		p.t.Errorf("session: %v, want it halted: %s", err, reason)
	}
}

// A stray may be of an account that paid before this one, and the node may have lost it.
func TestAStrayOfAnOldAccountIsSaidAsWell(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	hash := p.include(1, address(login(4)), coin)
	p.chain.Mine(20)
	p.mustSession()
	key := keyOf(t, "second account")
	p.key, p.account, p.journal = key, crypto.PubkeyToAddress(key.PublicKey), p.journal+".b"
	p.cfg.Address = p.account.Hex()
	p.chain.Fund(p.account, coinsToWei(100))
	p.chain.Mine(20)
	p.node.Unlock(key)
	p.credit(login(4), coin)
	p.wantHalted(HaltUnaccounted)
	payer, stop := p.start()
	if err := payer.Ignore(context.Background(), hash); err != nil {
		t.Error(err)
	}
	stop()
	p.mustSession()
	p.settle()
	p.wantReceived(login(4), coin+coin)
}

// A transaction that took a payment's nonce is a stray as any other.
func TestAStrayThatTookAPaymentsNonceIsRemembered(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	raw := p.transfer(1, address(login(4)), coin.Wei(), big.NewInt(20e9)) // which Redis and journal forgot
	p.credit(login(2), coin+coin)
	mine := p.clock.onSleep
	p.clock.onSleep = func() {
		if raw != nil {
			if _, err := p.chain.Include(raw); err != nil {
				t.Error(err)
			}
			raw = nil
		}
		mine()
	}
	if _, err := p.session(); err != nil {
		t.Error(err)
	}
	p.settle()
	p.chain.Mine(10)
	p.settle()
	p.mustSession()
	p.settle()
	p.wantReceived(login(2), coin+coin)
	p.credit(login(4), coin) // the unlocker credits what was forgotten
	p.wantHalted(HaltUnaccounted)
	p.settle()
	p.wantReceived(login(4), coin)
}

// forgetful is a node without an index of old transactions.
type forgetful struct{ Chain }

func (forgetful) TransactionByHash(context.Context, common.Hash) (rpc.Transaction, error) {
	return rpc.Transaction{}, rpc.ErrNotFound
}

func TestAStrayThatTheNodeDoesNotShowIsNotGone(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	hash := p.include(1, address(login(4)), coin)
	p.chain.Mine(20)
	p.mustSession()
	p.credit(login(4), coin)
	p.wrap = func(parts Parts) Parts {
		parts.Chain = forgetful{parts.Chain}
		return parts
	}
	p.wantHalted(HaltUnaccounted)
	p.settle()
	p.wantReceived(login(4), coin)
	payer, stop := p.start()
	if err := payer.Ignore(context.Background(), hash); err != nil {
		t.Error(err)
	}
	stop()
	p.mustSession()
	p.settle()
	p.wantReceived(login(4), coin+coin)
}
