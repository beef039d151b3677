package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// The manual's own miner, as it is printed there and in lower case.
const manualLogin = "0x34AE12692BD4567A27e3E86411b58Ea6954BA773"

// TestTheManual walks the operator's manual from its first section to its last,
// on the real binary, in both letter cases of a login.
func TestTheManual(t *testing.T) {
	for _, login := range []string{manualLogin, strings.ToLower(manualLogin)} {
		t.Run(login, func(t *testing.T) {
			for _, section := range []struct {
				name string
				walk func(*manual)
			}{
				{"Processing Payouts: every account who reached the threshold is paid", (*manual).processing},
				{"Processing Payouts: a check that fails stops the module", (*manual).checks},
				{"Processing Payouts: another lock halts payouts", (*manual).locked},
				{"Processing Payouts: BGSAVE after the session", (*manual).bgsave},
				{"Resolving Failed Payments (automatic), RESOLVE_PAYOUT=1", func(m *manual) { m.automatic("1") }},
				{"Resolving Failed Payments (automatic), RESOLVE_PAYOUT=True", func(m *manual) { m.automatic("True") }},
				{"Resolving Failed Payments (automatic): no pending payments", (*manual).nothingToResolve},
				{"Resolving Failed Payment (manual)", (*manual).byHand},
				{"Resolving Missing Payment Entries", (*manual).missingEntries},
				{"Transaction Didn't Confirm: the pool repeats it", (*manual).didNotConfirm},
				{"Transaction Didn't Confirm: just repeat it manually", (*manual).repeatedByHand},
			} {
				t.Run(section.name, func(t *testing.T) {
					c := startChain(t)
					c.mine(1)
					m := &manual{world: newWorld(t, storagetest.Start(t), c), login: login}
					m.node = fault.HTTP(t, c.URL)
					m.nodeURL = m.node.URL()
					section.walk(m)
				})
			}
		})
	}
}

type manual struct {
	*world
	login string
	node  *fault.Proxy
}

const amount util.Shannon = 500_000_000 // the manual's threshold

// session runs one session while somebody mines, and returns its output.
func (m *manual) session(want int) string {
	m.t.Helper()
	m.chain.call(nil, "devnet_setInterval", 100)
	defer m.chain.call(nil, "devnet_setInterval", 0)
	status, out := m.run("run")
	if status != want {
		m.t.Fatalf("run: status %d, want %d\n%s", status, want, out)
	}
	return out
}

// settle runs the module until everything is final, as an operator who watches.
func (m *manual) settle() {
	m.t.Helper()
	m.chain.call(nil, "devnet_setInterval", 100)
	defer m.chain.call(nil, "devnet_setInterval", 0)
	p := m.pool()
	m.until("payments become final", p, m.settled)
	p.terminate(m.t)
}

func (m *manual) wantPaidOnce(total util.Shannon) {
	m.t.Helper()
	m.wantReceived(m.chain.received(), m.login, total)
	if got := m.redis.Do(m.t, "HMGET", "eth:miners:"+m.login, "balance", "paid"); fmt.Sprint(got) != fmt.Sprintf("[0 %d]", int64(total)) {
		m.t.Errorf("balance and paid are %v, want 0 and %d", got, int64(total))
	}
	m.audit()
}

func (m *manual) wantIn(out string, lines ...string) {
	m.t.Helper()
	for _, line := range lines {
		if !strings.Contains(out, line) {
			m.t.Errorf("the output does not say %q:\n%s", line, out)
		}
	}
}

func (m *manual) processing() {
	m.credit(m.login, amount)
	below := m.miner(amount - 1)
	m.session(0)
	if m.redis.Do(m.t, "EXISTS", "eth:payments:lock") != int64(0) {
		m.t.Error("payouts were not unlocked")
	}
	history := m.redis.CLI(m.t, fmt.Sprintf(`ZREVRANGE "eth:payments:%s" 0 -1`, m.login))
	if !regexp.MustCompile(`^1\) "0x[0-9a-f]{64}:500000000"\s*$`).MatchString(history) {
		m.t.Errorf("the miner's history is %q", history)
	}
	if all := m.redis.CLI(m.t, `ZREVRANGE "eth:payments:all" 0 -1`); !strings.Contains(all, ":"+m.login+":500000000") {
		m.t.Errorf("the pool's history is %q", all)
	}
	m.settle()
	m.wantPaidOnce(amount)
	m.wantReceived(m.chain.received(), below, 0)
}

func (m *manual) checks() {
	m.credit(m.login, amount)
	m.payouts["requirePeers"] = 25
	m.chain.call(nil, "devnet_setPeers", 24)
	m.wantIn(m.session(3), "too_few_peers", "the node has 24 peers, payouts.requirePeers is 25")
	m.chain.call(nil, "devnet_setPeers", 25)
	m.chain.call(nil, "personal_lockAccount", m.chain.Account)
	m.wantIn(m.session(3), "signer", "the account is locked")
	m.chain.call(nil, "personal_unlockAccount", m.chain.Account, "devnet", 0)
	poor := m.miner(2_000_000 * coin)
	m.wantIn(m.session(3), "wallet_low", "not enough money")
	m.wantReceived(m.chain.received(), poor, 0)
	m.credit(poor, -2_000_000*coin)
	m.session(0)
	m.settle()
	m.wantPaidOnce(amount)
}

func (m *manual) locked() {
	m.credit(m.login, amount)
	m.redis.CLI(m.t, fmt.Sprintf(`SET "eth:payments:lock" "%s:500000000"`, m.login))
	m.wantIn(m.session(3), "payouts are locked by")
	m.wantReceived(m.chain.received(), m.login, 0)
	m.redis.CLI(m.t, `DEL "eth:payments:lock"`)
	m.session(0)
	m.settle()
	m.wantPaidOnce(amount)
}

func (m *manual) bgsave() {
	m.payouts["bgsave"] = true
	m.session(0)
	saves := func() bool {
		return strings.Contains(fmt.Sprint(m.redis.Do(m.t, "INFO", "commandstats")), "cmdstat_bgsave:")
	}
	if saves() {
		m.t.Error("redis was asked to save though nobody was paid")
	}
	m.credit(m.login, amount)
	m.session(0)
	if !saves() {
		m.t.Error("redis was not asked to save")
	}
}

// fail makes eth_sendRawTransaction be refused, as a node without the money
// would, and runs a session: payouts end locked and halted in erroneous state.
func (m *manual) fail() {
	m.t.Helper()
	m.credit(m.login, amount)
	m.payouts["autoResolve"] = false
	m.node.Every(func(msg fault.Message) fault.Action {
		if strings.Contains(msg.Name, "eth_sendRawTransaction") {
			return fault.ReplyError(-32000, "insufficient funds for gas * price + value")
		}
		return fault.Pass
	})
	m.session(3)
	m.node.Every(nil)
	m.wantIn(m.session(3), "RESOLVE_PAYOUT=1")
	if m.redis.Do(m.t, "EXISTS", "eth:payments:lock") != int64(1) {
		m.t.Error("payouts did not remain locked")
	}
}

func (m *manual) resolve(value string) string {
	m.t.Helper()
	p := m.poolEnv([]string{"RESOLVE_PAYOUT=" + value, "TZ=UTC"})
	if status := p.wait(m.t); status != 0 {
		m.t.Fatalf("RESOLVE_PAYOUT=%s: status %d\n%s", value, status, p.out)
	}
	return p.out.String()
}

func (m *manual) automatic(value string) {
	m.fail()
	out := m.resolve(value)
	m.wantIn(out, "Will credit back following balances:", "Credited 500000000 Shannon back to "+m.login,
		"Payouts unlocked", "Now you have to restart payouts module with RESOLVE_PAYOUT=0 for normal run")
	if !regexp.MustCompile(`Address: ` + m.login + `, Amount: 500000000 Shannon, \d{4}-\d\d-\d\d \d\d:\d\d:\d\d`).MatchString(out) {
		m.t.Errorf("the row is not printed as in the manual:\n%s", out)
	}
	if got := m.redis.Do(m.t, "HGET", "eth:miners:"+m.login, "balance"); got != "500000000" {
		m.t.Errorf("balance is %v after the credit back", got)
	}
	m.audit()
	p := m.poolEnv([]string{"RESOLVE_PAYOUT=0"}, "run")
	m.chain.call(nil, "devnet_setInterval", 100)
	if status := p.wait(m.t); status != 0 {
		m.t.Fatalf("normal run: status %d\n%s", status, p.out)
	}
	m.settle()
	m.wantPaidOnce(amount)
}

func (m *manual) nothingToResolve() {
	m.wantIn(m.resolve("1"), "No pending payments to resolve", "Payouts unlocked")
	m.session(0)
	m.wantIn(m.resolve("True"), "No pending payments to resolve", "Payouts unlocked")
}

// sendByHand is the manual's eth.sendTransaction in a console.
func (m *manual) sendByHand(nonce *uint64, gasPrice string) common.Hash {
	m.t.Helper()
	args := map[string]any{"from": m.chain.Account, "to": m.login, "value": hexutil.EncodeBig(amount.Wei()), "gas": "0x5208"}
	if nonce != nil {
		args["nonce"], args["gasPrice"] = hexutil.EncodeUint64(*nonce), gasPrice
	}
	var hash common.Hash
	m.chain.call(&hash, "eth_sendTransaction", args)
	return hash
}

// store types the manual's redis-cli lines, as printed there.
func (m *manual) store(hash common.Hash) {
	m.t.Helper()
	shown := m.redis.CLI(m.t, `ZREVRANGE "eth:payments:pending" 0 -1 WITHSCORES`)
	row := regexp.MustCompile(`1\) "(0x[0-9a-fA-F]{40}):(\d+)"\n2\) "(\d+)"`).FindStringSubmatch(shown)
	if row == nil {
		m.t.Fatalf("the pending rows are shown as %q", shown)
	}
	login, amount, unixtime := row[1], row[2], row[3]
	m.redis.CLI(m.t, fmt.Sprintf(`ZADD "eth:payments:all" %s %s:%s:%s`, unixtime, hash.Hex(), login, amount))
	m.redis.CLI(m.t, fmt.Sprintf(`ZADD "eth:payments:%s" %s %s:%s`, login, unixtime, hash.Hex(), amount))
	m.redis.CLI(m.t, fmt.Sprintf(`ZREM "eth:payments:pending" "%s:%s"`, login, amount))
	m.redis.CLI(m.t, fmt.Sprintf(`HINCRBY "eth:finances" pending -%s`, amount))
	m.redis.CLI(m.t, fmt.Sprintf(`HINCRBY "eth:finances" paid %s`, amount))
	m.redis.CLI(m.t, `DEL "eth:payments:lock"`)
}

func (m *manual) byHand() {
	m.fail()
	hash := m.sendByHand(nil, "")
	m.chain.mine(1)
	m.store(hash)
	m.payouts["autoResolve"] = true
	m.session(0)
	m.settle()
	m.wantPaidOnce(amount)
	m.credit(m.login, amount)
	m.session(0)
	m.settle()
	m.wantPaidOnce(2 * amount)
}

// missingEntries: the pool paid and died before it could write the hash down.
func (m *manual) missingEntries() {
	m.credit(m.login, amount)
	proxy := fault.Redis(m.t, m.redis.Addr())
	m.redisAddr = proxy.Addr()
	var p *process
	started := make(chan struct{})
	proxy.Every(func(msg fault.Message) fault.Action {
		if msg.Name == "EVAL sent" {
			<-started
			p.kill()
			return fault.Drop
		}
		return fault.Pass
	})
	p = m.pool("run")
	close(started)
	p.wait(m.t)
	proxy.Every(nil)
	m.chain.mine(1)
	var mined []transfer
	m.chain.call(&mined, "devnet_transfers", m.chain.Account)
	if len(mined) != 1 {
		m.t.Fatalf("%d transactions are on the chain, want the payment", len(mined))
	}
	m.store(mined[0].Hash)
	m.session(0)
	m.settle()
	m.wantPaidOnce(amount)
}

func (m *manual) didNotConfirm() {
	m.credit(m.login, amount)
	p := m.pool()
	m.until("the payment is sent", p, func() bool { return m.redis.Do(m.t, "ZCARD", "eth:payments:all") == int64(1) })
	m.chain.call(nil, "devnet_forget")
	m.chain.call(nil, "devnet_mineEmpty", 1)
	m.chain.call(nil, "devnet_setInterval", 100)
	m.until("the payment is final", p, m.settled)
	p.terminate(m.t)
	m.wantPaidOnce(amount)
}

func (m *manual) repeatedByHand() {
	m.credit(m.login, amount)
	p := m.pool()
	m.until("the payment is sent", p, func() bool { return m.redis.Do(m.t, "ZCARD", "eth:payments:all") == int64(1) })
	p.kill()
	m.chain.call(nil, "devnet_forget")
	nonce := uint64(0)
	m.sendByHand(&nonce, "0x2540be400")
	m.chain.mine(1)
	m.session(0)
	m.settle()
	m.wantPaidOnce(amount)
}
