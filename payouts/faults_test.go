package payouts

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/google/uuid"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

const (
	sendRaw = "eth_sendRawTransaction"
	miners  = 3
)

// due credits a few miners a coin each.
func (p *pool) due() {
	for i := 1; i <= miners; i++ {
		p.credit(login(i), coin)
	}
}

// wantPaidOnce asserts that each of them received exactly his coin and that the
// books agree.
func (p *pool) wantPaidOnce() {
	p.t.Helper()
	for i := 1; i <= miners; i++ {
		p.wantReceived(login(i), coin)
		p.wantBooks(login(i), 0, 0, coin)
	}
	p.audit()
}

func TestAnUncertainSendPaysOnce(t *testing.T) {
	for name, fault := range map[string]rpctest.Fault{
		"the reply is lost":                      rpctest.LoseReply,
		"the connection is refused":              rpctest.Refuse,
		"the reply is null":                      rpctest.Null,
		"the reply is null, but it was done":     rpctest.Null.Executed(),
		"the reply is the zero hash":             rpctest.ZeroHash,
		"the node answers 500 with HTML":         rpctest.HTML500,
		"it answers 500, but it was done":        rpctest.HTML500.Executed(),
		"the node hangs":                         rpctest.Hang,
		"the node hangs, but it was done":        rpctest.Hang.Executed(),
		"the node says it has an internal fault": rpctest.ErrorReply(-32603, "internal error"),
	} {
		for _, mempool := range []string{"kept", "lost"} {
			t.Run(name+", mempool "+mempool, func(t *testing.T) {
				p := newPool(t)
				p.due()
				p.node.Fail(sendRaw, 1, fault)
				if mempool == "lost" {
					forgotten := false
					p.clock.onSleep = func() {
						if !forgotten {
							p.chain.Forget()
							forgotten = true
						}
						p.chain.Mine(1)
					}
				}
				if r := p.mustSession(); r.Paid != miners {
					t.Errorf("paid %d, want %d", r.Paid, miners)
				}
				p.settle()
				p.wantPaidOnce()
			})
		}
	}
}

func TestARefusedSendHaltsAndIsPaidAnewByTheNextSession(t *testing.T) {
	p := newPool(t)
	p.due()
	p.node.Fail(sendRaw, 0, rpctest.ErrorReply(-32000, "insufficient funds for gas * price + value"))
	_, err := p.session()
	wantHalt(t, err, HaltRefused)
	if p.redis.Do(t, "EXISTS", "eth:payments:lock") != int64(1) || p.redis.Do(t, "ZCARD", "eth:payments:pending") != int64(miners) {
		t.Error("the lock and the pending rows did not stay")
	}
	p.node.Heal()
	if r := p.mustSession(); r.Paid != miners {
		t.Errorf("paid %d, want %d", r.Paid, miners)
	}
	p.settle()
	p.wantPaidOnce()
	if n := p.chain.Nonce(p.account); n != miners {
		t.Errorf("used %d nonces, want %d: refused payments give theirs back", n, miners)
	}
}

func TestARefusedSendStaysHaltedUntilResolveWhenAutoResolveIsOff(t *testing.T) {
	p := newPool(t)
	p.cfg.AutoResolve = false
	p.credit(login(1), coin)
	p.node.Fail(sendRaw, 0, rpctest.ErrorReply(-32000, "insufficient funds for gas * price + value"))
	_, err := p.session()
	wantHalt(t, err, HaltRefused)
	p.node.Heal()
	_, err = p.session()
	wantHalt(t, err, HaltRefused)
	p.wantBooks(login(1), 0, coin, 0)

	p.resolve()
	p.wantLog("Will credit back following balances:")
	p.wantLog("Address: " + login(1) + ", Amount: 1000000000 Shannon, " + time.Unix(1_700_000_000, 0).Format("2006-01-02 15:04:05"))
	p.wantLog("Credited 1000000000 Shannon back to " + login(1))
	p.wantLog("Payouts unlocked")
	p.wantLog("Now you have to restart payouts module with RESOLVE_PAYOUT=0 for normal run")
	p.wantBooks(login(1), coin, 0, 0)
	if p.redis.Do(t, "EXISTS", "eth:payments:lock") != int64(0) {
		t.Error("the lock is still there")
	}
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), coin)
	p.audit()
}

// resolve is RESOLVE_PAYOUT=1 in a process of its own.
func (p *pool) resolve() {
	p.t.Helper()
	payer, stop := p.start()
	defer stop()
	if err := payer.Resolve(context.Background()); err != nil {
		p.t.Fatalf("resolve: %v\n%s", err, p.logs)
	}
}

func TestOneRefusedPaymentInTheMiddleDoesNotStopTheOthers(t *testing.T) {
	p := newPool(t)
	p.due()
	calls := 0
	p.node.OnCall(func(method string) {
		if method == sendRaw {
			calls++
			if calls == 1 {
				p.node.Fail(sendRaw, 1, rpctest.ErrorReply(-32000, "insufficient funds for gas * price + value"))
			}
		}
	})
	_, err := p.session()
	if err != nil {
		wantHalt(t, err, HaltRefused)
	}
	p.mustSession()
	p.settle()
	for i := 1; i <= miners; i++ {
		p.wantReceived(login(i), coin)
	}
	p.audit()
}

func TestAChecksThatFailStopsTheSessionWithNothingWritten(t *testing.T) {
	for _, tc := range []struct {
		name, reason string
		breaks, mend func(*pool)
	}{
		{"too few peers", HaltPeers, func(p *pool) { p.node.SetPeers(24) }, func(p *pool) { p.node.SetPeers(25) }},
		{"the node is syncing", HaltSyncing, func(p *pool) { p.node.SetSyncing(true) }, func(p *pool) { p.node.SetSyncing(false) }},
		{"the account is locked", HaltSigner, func(p *pool) { p.node.Lock(p.account) }, func(p *pool) { p.node.Unlock(p.key) }},
		{"not enough money, then topped up", HaltWallet, func(p *pool) { p.credit(login(1), 2000*coin) },
			func(p *pool) { p.chain.Fund(p.account, coinsToWei(2000)); p.chain.Mine(1) }},
		{"gas costs more than the limit", HaltGasPrice, func(p *pool) { p.chain.SetGasPrice(big.NewInt(1e12)) },
			func(p *pool) { p.chain.SetGasPrice(big.NewInt(1e9)) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPool(t)
			p.credit(login(1), coin)
			tc.breaks(p)
			balance := p.redis.Do(t, "HGET", "eth:miners:"+login(1), "balance")
			_, err := p.session()
			wantHalt(t, err, tc.reason)
			if p.redis.Do(t, "HGET", "eth:miners:"+login(1), "balance") != balance || p.redis.Do(t, "ZCARD", "eth:payments:pending") != int64(0) {
				t.Error("something was written")
			}
			if p.redis.Do(t, "EXISTS", "eth:payments:lock") != int64(0) {
				t.Error("payouts stay locked")
			}
			tc.mend(p)
			if r := p.mustSession(); r.Paid != 1 {
				t.Errorf("paid %d after it was mended, want 1", r.Paid)
			}
			p.settle()
			p.audit()
		})
	}
}

func TestANodeOnAnotherChainIsRefused(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	p.credit(login(1), coin)
	for name, o := range map[string]rpctest.Options{
		"another chain id":               {ChainID: 62},
		"another genesis, same chain id": {ChainID: 61, GenesisSeed: 7},
	} {
		t.Run(name, func(t *testing.T) {
			other := rpctest.NewChain(o)
			other.Fund(p.account, coinsToWei(1000))
			n := other.Node(t)
			n.Unlock(p.key)
			cfg := p.cfg
			defer func() { p.cfg = cfg }()
			p.cfg.Daemon = util.URLs{n.URL}
			if _, _, err := p.tryStart(); !errors.Is(err, ErrJournal) {
				t.Errorf("start = %v, want ErrJournal", err)
			}
		})
	}
}

func TestANodeThatIsBehindPaysNobody(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	p.credit(login(1), coin)
	p.node.Lag(5)
	_, err := p.session()
	wantHalt(t, err, HaltBehind)
	p.node.Lag(0)
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), 2*coin)
	p.audit()
}

func TestADroppedTransactionIsSentAgain(t *testing.T) {
	for _, without := range []string{"", "eth_signTransaction"} {
		t.Run("by a node without "+without, func(t *testing.T) {
			p := newPool(t)
			p.node.DisableMethod(without)
			p.due()
			n := 0
			p.clock.onSleep = func() {
				if n++; n < 4 {
					p.chain.Forget()
					p.chain.MineEmpty(1)
					return
				}
				p.chain.Mine(1)
			}
			p.mustSession()
			p.settle()
			p.wantPaidOnce()
		})
	}
}

// The account can pay the first fee, but none above it; the node's pool forgets
// the first attempt after it refused the second.
func TestWhenAHigherFeeIsRefusedTheOlderAttemptGoesOutAgain(t *testing.T) {
	for _, without := range []string{"", "eth_signTransaction"} {
		t.Run("by a node without "+without, func(t *testing.T) {
			p := newPool(t)
			p.node.DisableMethod(without)
			const all = 1000*coin - 21000 // at 1 gwei
			p.credit(login(1), all)
			n := 0
			p.clock.onSleep = func() {
				if n++; n < 12 {
					p.chain.MineEmpty(1)
					return
				}
				if n == 12 {
					p.chain.Forget()
				}
				p.chain.Mine(1)
			}
			p.mustSession()
			p.wantLog("offering a higher fee")
			p.settle()
			p.wantReceived(login(1), all)
			p.wantBooks(login(1), 0, 0, all)
			p.audit()
		})
	}
}

func TestAFeeThatMayNotRiseIsSaidOnce(t *testing.T) {
	p := newPool(t)
	p.cfg.MaxGasPrice = util.NewWei(1_000_000_000)
	p.credit(login(1), coin)
	n := 0
	p.clock.onSleep = func() {
		if n++; n < 20 {
			p.chain.MineEmpty(1)
			return
		}
		p.chain.Mine(1)
	}
	p.mustSession()
	if got := strings.Count(p.logs.String(), "its fee is at payouts.maxGasPrice"); got != 1 {
		t.Errorf("it was said %d times", got)
	}
	p.settle()
	p.wantReceived(login(1), coin)
}

func TestAContractThatRejectsIsNotPaidAndToldWhy(t *testing.T) {
	p := newPool(t)
	p.due()
	p.chain.SetCode(address(login(2)), rpctest.Reject)
	p.chain.SetCode(address(login(3)), rpctest.Accept)
	r := p.mustSession()
	if r.Paid != 2 || len(r.Skipped) != 1 || r.Skipped[0].Reason != ReasonRejects || r.Skipped[0].Login != login(2) {
		t.Errorf("result %+v, want miner 2 skipped", r)
	}
	p.settle()
	p.wantReceived(login(3), coin)
	p.wantBooks(login(2), coin, 0, 0)
	if p.redis.Do(t, "HGET", "eth:payments:rejects", login(2)) == nil {
		t.Error("the reason is not written down")
	}
	p.chain.SetCode(address(login(2)), rpctest.None)
	p.mustSession()
	p.settle()
	p.wantPaidOnce()
	if p.redis.Do(t, "HLEN", "eth:payments:rejects") != int64(0) {
		t.Error("the mark was not taken away")
	}
}

func TestAPaymentMinedWithStatus0IsCreditedBackWhenDeep(t *testing.T) {
	p := newPool(t)
	p.due()
	turned := false
	p.clock.onSleep = func() {
		if !turned { // the recipient changes his mind between estimate and block
			p.chain.SetCode(address(login(1)), rpctest.Reject)
			turned = true
		}
		p.chain.Mine(1)
	}
	r := p.mustSession()
	if r.Paid != miners-1 {
		t.Errorf("paid %d, want %d", r.Paid, miners-1)
	}
	p.wantBooks(login(1), 0, 0, coin) // booked as sent until it is deep
	p.settle()
	p.wantBooks(login(1), coin, 0, 0)
	p.wantReceived(login(1), 0)
	p.audit()
	if r := p.mustSession(); r.Due != 1 || r.Paid != 0 || r.Skipped[0].Reason != ReasonRejects {
		t.Errorf("result %+v, want miner 1 skipped", r)
	}
}

func TestReorgs(t *testing.T) {
	for _, keep := range []bool{true, false} {
		for _, tc := range []struct {
			name          string
			final, blocks int
		}{{"shallower than finality", 0, 2}, {"deeper than finality", 1, 6}} {
			t.Run(fmt.Sprintf("%s, transactions kept: %v", tc.name, keep), func(t *testing.T) {
				p := newPool(t)
				p.chain.Mine(10)
				p.due()
				p.mustSession()
				if tc.final == 1 {
					p.settle()
				}
				p.chain.Reorg(tc.blocks, keep)
				p.wantReceived(login(1), 0)
				p.settleAfterReorg()
				p.wantPaidOnce()
				if tc.final == 1 {
					p.wantLog("a reorg deeper than payouts.confirmations")
				}
				p.credit(login(1), coin)
				p.mustSession()
				p.settle()
				p.wantReceived(login(1), 2*coin)
			})
		}
	}
}

func (p *pool) settleAfterReorg() {
	p.t.Helper()
	payer, stop := p.start()
	defer stop()
	_ = p.advance(payer) // finds the reorg
	p.settleWith(payer)
}

// transfer signs a transaction of the pool's account by hand.
func (p *pool) transfer(nonce uint64, to common.Address, wei, gasPrice *big.Int) []byte {
	p.t.Helper()
	tx, err := types.SignTx(types.NewTx(&types.LegacyTx{Nonce: nonce, To: &to, Value: wei, Gas: 21000, GasPrice: gasPrice}),
		types.LatestSignerForChainID(p.chain.ChainID()), p.key)
	if err != nil {
		p.t.Fatal(err)
	}
	raw, err := tx.MarshalBinary()
	if err != nil {
		p.t.Fatal(err)
	}
	return raw
}

func TestANonceSpentByHandIsPaidAnewWhenDeep(t *testing.T) {
	p := newPool(t)
	p.due()
	somebody := common.HexToAddress("0x5000000000000000000000000000000000000005")
	spent := false
	p.clock.onSleep = func() {
		if !spent {
			spent = true
			p.chain.Forget()
			if _, err := p.chain.Include(p.transfer(0, somebody, big.NewInt(1), big.NewInt(1e9))); err != nil {
				t.Error(err)
			}
			return
		}
		p.chain.Mine(1)
	}
	p.mustSession()
	p.settle()
	p.mustSession()
	p.settle()
	p.wantPaidOnce()
}

func TestOurPaymentRepeatedByHandWithItsNonceIsOurs(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.clock.onSleep = func() {
		if p.chain.Nonce(p.account) == 0 {
			p.chain.Forget()
			if _, err := p.chain.Include(p.transfer(0, address(login(1)), coin.Wei(), big.NewInt(7e9))); err != nil {
				t.Error(err)
			}
			return
		}
		p.chain.Mine(1)
	}
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), coin)
	p.wantBooks(login(1), 0, 0, coin)
	p.audit()
}

func TestAnUnaccountedPaymentToAMinerWeOweStopsTheSession(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	p.credit(login(2), coin)
	hash, err := p.chain.Include(p.transfer(1, address(login(2)), coin.Wei(), big.NewInt(1e9)))
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.session()
	wantHalt(t, err, HaltUnaccounted)
	want := fmt.Sprintf("unaccounted transaction %s at nonce 1 sent 1 to miner %s", hash, login(2))
	if err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("halted by %v, want %q", err, want)
	}
	p.chain.Mine(3)
	payer, stop := p.start()
	if err := payer.RecordByHand(context.Background(), hash); err != nil {
		t.Fatal(err)
	}
	stop()
	if r := p.mustSession(); r.Due != 0 {
		t.Errorf("%d are due after it was recorded, want none", r.Due)
	}
	p.wantReceived(login(2), coin)
	p.wantBooks(login(2), 0, 0, coin)
	p.audit()
	p.credit(login(3), coin)
	p.mustSession()
	p.settle()
	p.wantReceived(login(3), coin)
	p.audit()
}

func TestATransferThatIsNoPayoutIsWrittenDownAndGoneOnFrom(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	if _, err := p.chain.Include(p.transfer(1, common.HexToAddress("0x99"), big.NewInt(5), big.NewInt(1e9))); err != nil {
		t.Fatal(err)
	}
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), 2*coin)
	p.audit()
	// A reorg takes it away and it never comes back: what is behind its nonce
	// must not be stuck.
	p.credit(login(1), coin)
	p.chain.Reorg(8, false)
	payer, stop := p.start()
	defer stop()
	_ = p.advance(payer)
	p.settleWith(payer)
	p.wantReceived(login(1), 2*coin)
	p.wantLog("using up a nonce with a transaction that moves nothing")
}

func TestASecondProcessOnTheSameMachineIsRefused(t *testing.T) {
	p := newPool(t)
	_, stop := p.start()
	defer stop()
	if _, _, err := p.tryStart(); !errors.Is(err, ErrJournalLocked) {
		t.Errorf("start = %v, want ErrJournalLocked", err)
	}
}

func TestALockLeftByAnOldPoolIsNotTakenWithoutTheOperator(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.redis.Do(t, "SET", "eth:payments:lock", login(9)+":25000000")
	_, err := p.session()
	wantHalt(t, err, HaltLocked)
	p.resolve()
	p.wantLog("No pending payments to resolve")
	p.wantLog("Payouts unlocked")
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), coin)
}

func TestALockOfAnotherHostIsNotTaken(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	other := Owner{Host: "elsewhere", PID: "7", Journal: "deadbeef", Token: "1"}
	p.redis.Do(t, "SET", "eth:payments:lock", other.String())
	_, err := p.session()
	wantHalt(t, err, HaltLocked)
	if got := p.redis.Do(t, "GET", "eth:payments:lock"); got != other.String() {
		t.Errorf("the lock is %v now", got)
	}
}

func TestPendingRowsOfAnOldPool(t *testing.T) {
	const amount = 25000000
	mixed := "0x34AE12692BD4567A27e3E86411b58Ea6954BA773"
	for _, l := range []string{mixed, "0x34ae12692bd4567a27e3e86411b58ea6954ba773"} {
		setUp := func(t *testing.T) *pool {
			p := newPool(t)
			p.redis.Do(t, "HSET", "eth:miners:"+l, "balance", 0, "pending", amount, "paid", 0)
			p.redis.Do(t, "HSET", "eth:finances", "balance", 0, "pending", amount, "paid", 0)
			p.redis.Do(t, "ZADD", "eth:payments:pending", int(p.chain.Height()), fmt.Sprintf("%s:%d", l, amount))
			p.redis.Do(t, "SET", "eth:payments:lock", fmt.Sprintf("%s:%d", l, amount))
			return p
		}
		t.Run("paid on the chain, "+l, func(t *testing.T) {
			p := setUp(t)
			if _, err := p.chain.Include(p.transfer(0, address(l), util.Shannon(amount).Wei(), big.NewInt(1e9))); err != nil {
				t.Fatal(err)
			}
			p.chain.Mine(int(p.cfg.Confirmations))
			_, err := p.session()
			wantHalt(t, err, HaltLocked)
			p.resolve()
			p.wantBooks(l, 0, 0, amount)
			p.mustSession()
			p.wantReceived(l, amount)
			p.audit()
		})
		t.Run("not paid, "+l, func(t *testing.T) {
			p := setUp(t)
			_, err := p.session()
			wantHalt(t, err, HaltLocked)
			p.resolve()
			p.wantLog(fmt.Sprintf("Credited %d Shannon back to %s", amount, l))
			p.wantBooks(l, amount, 0, 0)
			p.mustSession()
			p.audit()
		})
		t.Run("waiting in the node's pool, "+l, func(t *testing.T) {
			p := setUp(t)
			raw := p.transfer(0, address(l), util.Shannon(amount).Wei(), big.NewInt(1e9))
			p.sendByHand(raw)
			p.resolve()
			p.wantLog("Payment to " + l + " is already broadcast; completing it, not crediting back")
			p.wantBooks(l, 0, amount, 0)
			p.chain.Mine(int(p.cfg.Confirmations) + 1)
			p.mustSession()
			p.wantBooks(l, 0, 0, amount)
			p.audit()
		})
		t.Run("not paid, lock removed by hand, "+l, func(t *testing.T) {
			p := setUp(t)
			p.redis.Do(t, "DEL", "eth:payments:lock")
			_, err := p.session()
			wantHalt(t, err, HaltOldRows)
			p.wantLog("Previous payout failed, you have to resolve it")
			p.wantBooks(l, 0, amount, 0)
		})
	}
}

// A node that is cut off does not show what was paid.
func TestOldRowsAreNotSettledByANodeThatCannotKnow(t *testing.T) {
	for _, tc := range []struct {
		name   string
		node   func(*pool)
		reason string
	}{
		{"without peers", func(p *pool) { p.node.SetPeers(0) }, HaltPeers},
		{"that is syncing", func(p *pool) { p.node.SetSyncing(true) }, HaltSyncing},
		{"whose newest block is older than the row", func(p *pool) {
			p.redis.Do(t, "ZADD", "eth:payments:pending", 4_000_000_000, login(1)+":500000000")
		}, HaltBehind},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPool(t)
			p.redis.Do(t, "HSET", "eth:miners:"+login(1), "balance", 0, "pending", 500_000_000)
			p.redis.Do(t, "HSET", "eth:finances", "balance", 0, "pending", 500_000_000)
			p.redis.Do(t, "ZADD", "eth:payments:pending", 1_700_000_000, login(1)+":500000000")
			tc.node(p)
			payer, stop := p.start()
			defer stop()
			wantHalt(t, payer.Resolve(context.Background()), tc.reason)
			_, err := payer.Session(context.Background())
			wantHalt(t, err, tc.reason)
			p.wantBooks(login(1), 0, 500_000_000, 0)
		})
	}
}

// Coins sent there come back to nobody.
func TestNobodyIsPaidAtTheZeroAddressOrThePoolsOwn(t *testing.T) {
	p := newPool(t)
	zero := common.Address{}.Hex()
	p.credit(zero, coin)
	p.credit(strings.ToLower(p.account.Hex()), coin)
	r := p.mustSession()
	if len(r.Skipped) != 2 || r.Paid != 0 || p.chain.Nonce(p.account) != 0 {
		t.Errorf("session came to %+v, nonce %d", r, p.chain.Nonce(p.account))
	}
	p.wantBooks(zero, coin, 0, 0)
}

func TestANewJournalOfAUsedLedgerIsSaid(t *testing.T) {
	p := newPool(t)
	p.due()
	p.mustSession()
	p.settle()
	p.journal += ".new"
	p.mustSession()
	p.wantLog("the journal is new, but the ledger has made payments")
}

// sendByHand gives a transaction to the node, past the pool.
func (p *pool) sendByHand(raw []byte) {
	p.t.Helper()
	payer, stop := p.start()
	defer stop()
	if err := payer.chain.SendRawTransactions(context.Background(), [][]byte{raw})[0]; err != nil {
		p.t.Fatal(err)
	}
}

func TestRedisRestoredFromAnOlderSnapshotPaysNobodyAgain(t *testing.T) {
	p := newPool(t)
	p.due()
	before := p.redis.Snapshot()
	p.mustSession()
	p.settle()
	p.credit(login(4), coin)
	p.mustSession()
	p.settle()
	p.redis.Restore(before)
	p.credit(login(4), coin) // the unlocker credits what the snapshot lost
	r := p.mustSession()
	if r.Due != 0 {
		t.Errorf("%d are due after the restore, want none", r.Due)
	}
	p.settle()
	p.wantPaidOnce()
	p.wantReceived(login(4), coin)
	p.wantLog("reinstating a payment that redis forgot")
}

func TestRedisEmptiedPaysNobodyAgain(t *testing.T) {
	p := newPool(t)
	p.due()
	p.mustSession()
	p.settle()
	p.redis.Do(t, "FLUSHALL")
	p.due()
	p.credit(login(4), coin)
	r := p.mustSession()
	if r.Due != 1 || r.Paid != 1 {
		t.Errorf("result %+v, want only miner 4 paid", r)
	}
	p.settle()
	p.wantPaidOnce()
	p.wantReceived(login(4), coin)
}

func TestTheKeystoreSigner(t *testing.T) {
	p := newPool(t)
	dir := t.TempDir()
	encrypted, err := keystore.EncryptKey(&keystore.Key{Id: uuid.New(), Address: p.account, PrivateKey: p.key}, "correct horse", 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	key, good, bad := filepath.Join(dir, "key.json"), filepath.Join(dir, "password"), filepath.Join(dir, "wrong")
	for path, data := range map[string][]byte{key: encrypted, good: []byte("correct horse\n"), bad: []byte("battery staple\n")} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.node.Lock(p.account)
	p.due()
	p.cfg.Signer = SignerConfig{Type: "keystore", Keystore: key, PasswordFile: bad}
	var wrong *util.KeyError
	if _, _, err := p.tryStart(); !errors.As(err, &wrong) || strings.Contains(err.Error(), "battery") {
		t.Errorf("a wrong password gives %v, want a KeyError without the password", err)
	}
	p.cfg.Signer.PasswordFile = good
	p.mustSession()
	p.settle()
	p.wantPaidOnce()
}

func TestANodeThatSignsOnlyWhatItSends(t *testing.T) {
	for name, fault := range map[string]*rpctest.Fault{
		"all goes well": nil, "the reply is lost": &rpctest.LoseReply, "the connection is refused": &rpctest.Refuse, "the reply is null": &rpctest.Null} {
		t.Run(name, func(t *testing.T) {
			p := newPool(t)
			p.node.DisableMethod("eth_signTransaction")
			p.due()
			if fault != nil {
				p.node.Fail("eth_sendTransaction", 2, *fault)
			}
			p.mustSession()
			p.settle()
			p.wantPaidOnce()
		})
	}
}

func TestABumpPaysOnce(t *testing.T) {
	for _, mined := range []string{"the first attempt", "the bumped attempt"} {
		t.Run(mined+" is mined", func(t *testing.T) {
			p := newPool(t)
			p.credit(login(1), coin)
			n := 0
			p.clock.onSleep = func() {
				if n++; n < 12 {
					p.chain.MineEmpty(1)
					return
				}
				if n == 12 {
					out := p.chain.Broadcast()
					if len(out) < 2 {
						t.Fatalf("%d transactions were sent, want a bump", len(out))
					}
					raw := out[0]
					if mined == "the bumped attempt" {
						raw = out[len(out)-1]
					}
					if _, err := p.chain.Include(raw); err != nil {
						t.Error(err)
					}
					return
				}
				p.chain.Mine(1)
			}
			p.mustSession()
			p.settle()
			p.wantReceived(login(1), coin)
			p.wantBooks(login(1), 0, 0, coin)
			p.audit()
		})
	}
}

func TestDynamicFees(t *testing.T) {
	p := newPoolWith(t, rpctest.Options{ChainID: 61, BaseFee: true})
	p.due()
	p.mustSession()
	p.settle()
	p.wantPaidOnce()
	for _, raw := range p.chain.Broadcast() {
		if raw[0] != types.DynamicFeeTxType {
			t.Errorf("a transaction of type %d was sent, want dynamic fees", raw[0])
		}
	}
}

func TestTheFeeFromTheMiner(t *testing.T) {
	p := newPool(t)
	p.cfg.FeeFromMiner = true
	p.chain.SetGasPrice(big.NewInt(2e9))
	p.credit(login(1), coin)
	p.mustSession()
	p.settle()
	p.wantReceived(login(1), coin-2*21000)
	p.wantBooks(login(1), 0, 0, coin)
	p.audit()
}

func TestPlanWritesNothingAndSaysWhatBlocksWhom(t *testing.T) {
	p := newPool(t)
	p.due()
	p.chain.SetCode(address(login(2)), rpctest.Reject)
	payer, stop := p.start()
	defer stop()
	dump := p.redis.Do(t, "DBSIZE")
	pl, err := payer.Plan(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if len(pl.Pay) != 2 || len(pl.Blocked) != 1 || pl.Blocked[0].Reason != ReasonRejects || pl.Total != 2*coin {
		t.Errorf("plan %+v, want two paid and miner 2 blocked", pl)
	}
	if p.redis.Do(t, "DBSIZE") != dump {
		t.Error("the plan wrote something")
	}
	p.node.SetPeers(0)
	if pl, err = payer.Plan(context.Background()); err != nil {
		t.Fatal(err)
	}
	wantHalt(t, pl.Stopped, HaltPeers)
}

func TestMalformedRowsAreSetAside(t *testing.T) {
	p := newPool(t)
	p.due()
	p.redis.Do(t, "HSET", "eth:miners:"+login(7), "balance", "a lot")
	p.redis.Do(t, "SET", "eth:miners:"+login(8), "not a hash")
	p.redis.Do(t, "HSET", "eth:miners:nobody", "balance", 1e12)
	p.redis.Do(t, "ZADD", "eth:payments:pending", 1, "nonsense")
	if r := p.mustSession(); r.Paid != miners {
		t.Errorf("paid %d, want %d", r.Paid, miners)
	}
	for _, key := range []string{"eth:miners:" + login(7), "eth:miners:" + login(8), "eth:miners:nobody", "nonsense"} {
		p.wantLog(key)
	}
	if p.redis.Do(t, "HGET", "eth:miners:"+login(7), "balance") != "a lot" {
		t.Error("the malformed row was changed")
	}
}

func TestTheManualsRedisProcedureIsRespected(t *testing.T) {
	for _, l := range []string{"0x34AE12692BD4567A27e3E86411b58Ea6954BA773", "0x34ae12692bd4567a27e3e86411b58ea6954ba773"} {
		// stuck leaves a payment signed: the node was gone when it should be sent.
		stuck := func(t *testing.T) (*pool, *storage.Payment) {
			p := newPool(t)
			p.credit(l, 500_000_000)
			p.node.Fail(sendRaw, 0, rpctest.Refuse)
			payer, stop := p.start()
			ctx, cancel := context.WithCancel(context.Background())
			p.clock.onSleep = cancel
			_, _ = payer.Session(ctx)
			stop()
			p.clock.onSleep = func() { p.chain.Mine(1) }
			p.node.Heal()
			open, _, err := p.db().Inflight(context.Background())
			if err != nil || len(open) != 1 || open[0].State != storage.Signed {
				t.Fatalf("in flight %v, %v; want one signed payment", open, err)
			}
			return p, open[0]
		}
		t.Run("paid by hand and written down, "+l, func(t *testing.T) {
			p, open := stuck(t)
			hash, err := p.chain.Include(p.transfer(0, address(l), util.Shannon(500_000_000).Wei(), big.NewInt(1e9)))
			if err != nil {
				t.Fatal(err)
			}
			p.redis.CLI(t, fmt.Sprintf(`ZADD "eth:payments:all" %d %s:%s:500000000
ZADD "eth:payments:%s" %d %s:500000000
ZREM "eth:payments:pending" "%s:500000000"
HINCRBY "eth:finances" pending -500000000
HINCRBY "eth:finances" paid 500000000
DEL "eth:payments:lock"`, open.Time, hash, l, l, open.Time, hash, l))
			p.mustSession()
			p.settle()
			p.wantReceived(l, 500_000_000)
			p.wantBooks(l, 0, 0, 500_000_000)
			p.audit()
		})
		t.Run("paid by hand with a later nonce and written down, "+l, func(t *testing.T) {
			p, open := stuck(t)
			if _, err := p.chain.Include(p.transfer(0, common.HexToAddress("0x99"), big.NewInt(1), big.NewInt(1e9))); err != nil {
				t.Fatal(err)
			}
			hash, err := p.chain.Include(p.transfer(1, address(l), util.Shannon(500_000_000).Wei(), big.NewInt(1e9)))
			if err != nil {
				t.Fatal(err)
			}
			p.redis.CLI(t, fmt.Sprintf(`ZADD "eth:payments:all" %d %s:%s:500000000
ZADD "eth:payments:%s" %d %s:500000000
ZREM "eth:payments:pending" "%s:500000000"
HINCRBY "eth:finances" pending -500000000
HINCRBY "eth:finances" paid 500000000`, open.Time, hash, l, l, open.Time, hash, l))
			p.mustSession()
			p.settle()
			p.credit(l, 500_000_000)
			p.mustSession()
			p.settle()
			p.wantReceived(l, 1_000_000_000)
			p.audit()
		})
		t.Run("the row is removed and nothing written down, "+l, func(t *testing.T) {
			p, open := stuck(t)
			p.redis.CLI(t, fmt.Sprintf(`ZREM "eth:payments:pending" "%s:500000000"`, l))
			p.credit(login(2), coin)
			p.mustSession()
			p.wantLog("payment held until you decide")
			p.wantReceived(l, 0)
			p.wantReceived(login(2), coin)
			// Putting the row back lets it go on, unless its nonce is used up by now.
			p.redis.CLI(t, fmt.Sprintf(`ZADD "eth:payments:pending" %d "%s:500000000"`, open.Time, l))
			p.mustSession()
			p.settle()
			p.mustSession()
			p.settle()
			p.wantReceived(l, 500_000_000)
			p.audit()
		})
	}
}
