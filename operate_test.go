package main

import (
	"encoding/json"
	"fmt"
	"math/big"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
)

// desk is an operator's: a Redis with one miner, a node, and a configuration.
type desk struct {
	t     *testing.T
	redis *storagetest.Server
	chain *rpctest.Chain
	path  string
}

const somebody = "0x00000000000000000000000000000000000abc01"

func newDesk(t *testing.T) *desk {
	t.Setenv("RESOLVE_PAYOUT", "")
	d := &desk{t: t, redis: storagetest.Start(t), chain: rpctest.NewChain(rpctest.Options{ChainID: 61})}
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	account := crypto.PubkeyToAddress(key.PublicKey)
	d.chain.Fund(account, new(big.Int).Mul(big.NewInt(5), big.NewInt(1e18)))
	d.chain.HandleCall(func([]byte) ([]byte, error) { return []byte{0}, nil }) // nobody is a contract
	node := d.chain.Node(t)
	node.Unlock(key)
	d.redis.Do(t, "HSET", "etc:miners:"+somebody, "balance", 2_000_000_000, "lastShare", 1_700_000_000)
	d.redis.Do(t, "HSET", "etc:finances", "balance", 2_000_000_000)
	d.path = write(t, fmt.Sprintf(`{"coin": "etc", "redis": {"endpoint": %q}, "payouts": {"enabled": true, "address": %q, "daemon": %q, "requirePeers": 0, "journal": %q}}`,
		d.redis.Addr(), account, node.URL, filepath.Join(t.TempDir(), "journal")))
	return d
}

// says runs a verb and wants its exit status and some words of what it says.
func (d *desk) says(status int, want string, args ...string) string {
	d.t.Helper()
	got, text := say(d.t, append([]string{d.path}, args...)...)
	if got != status || !strings.Contains(text, want) {
		d.t.Errorf("%v: status %d, want %d with %q:\n%s", args, got, status, want, text)
	}
	return text
}

// decodes reads what a verb prints for programs; the log may follow.
func (d *desk) decodes(v any, args ...string) {
	d.t.Helper()
	if err := json.NewDecoder(strings.NewReader(d.says(exitOK, "", args...))).Decode(v); err != nil {
		d.t.Error(err)
	}
}

func TestOperatorsSteerPayouts(t *testing.T) {
	d := newDesk(t)
	d.says(exitOK, "the next session pays 2 coins", "explain", somebody)
	d.says(exitError, "there is no miner 0x2222222222222222222222222222222222222222", "hold", "0x2222222222222222222222222222222222222222")
	d.says(exitOK, "hold "+somebody+" is written down", "hold", "0x"+strings.ToUpper(somebody[2:]), "--reason", "stolen address")
	d.says(exitOK, "stolen address", "explain", somebody)
	var plan planView
	if d.decodes(&plan, "plan", "--json"); len(plan.Pay) != 0 || len(plan.Blocked) != 1 || plan.Blocked[0].Reason != "held" {
		t.Errorf("plan %+v", plan)
	}
	var status statusView
	if d.decodes(&status, "status", "--json"); len(status.Holds) != 1 || status.Holds[0].Reason != "stolen address" {
		t.Errorf("status %+v", status)
	}
	d.says(exitOK, "is written down", "release", somebody)
	d.says(exitOK, "pause is written down", "pause", "--reason=moving house")
	d.says(exitOK, "payouts are paused: moving house", "explain", somebody)
	d.says(exitOK, "moving house", "status")
	d.says(exitOK, "resume is written down", "resume")
	d.says(exitOK, "the next session pays 2 coins", "explain", somebody)
}

func TestWhatCannotBeUndoneAsksFirst(t *testing.T) {
	d := newDesk(t)
	d.says(exitError, "will be credited back and paid anew", "forget", "7-x")
	d.says(exitError, "nothing was done", "ignore", hash)
	d.says(exitOK, "No pending payments to resolve", "resolve", "--yes")
	if acts := d.redis.Do(t, "LRANGE", "etc:payments:acts", 0, -1); !strings.Contains(fmt.Sprint(acts), `"what":"resolve"`) {
		t.Errorf("acts %v, want the resolve with who did it", acts)
	}
}

func TestPaymentsAreExported(t *testing.T) {
	d := newDesk(t)
	tx := "0x" + strings.Repeat("8", 64)
	for day, at := range []int64{1767225599, 1767225600, 1769903999, 1769904000} { // around January 2026
		d.redis.Do(t, "ZADD", "etc:payments:all", at, fmt.Sprintf("%s%d:%s:%d", tx[:65], day, somebody, 1_500_000_000+day))
	}
	got := d.says(exitOK, "", "export", "2026-01-01", "2026-02-01")
	want := fmt.Sprintf(`time,miner,amount,amountShannon,transaction,state,block,feeWei
2026-01-01T00:00:00Z,%[1]s,1.500000001,1500000001,%[2]s1,,,
2026-01-31T23:59:59Z,%[1]s,1.500000002,1500000002,%[2]s2,,,
`, somebody, tx[:65])
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	d.says(exitError, `yesterday\" is no day`, "export", "yesterday", "2026-02-01")
}

func TestTheDoctorNamesWhatIsWrongAndTheFix(t *testing.T) {
	d := newDesk(t)
	text := d.says(exitError, "", "doctor")
	for _, want := range []string{"Redis keeps nothing", "fix: CONFIG SET appendonly yes", "the clocks of Redis and of this machine agree", "a session would pay 2 coins, payments: 1", "the journal's disk has room"} {
		if !strings.Contains(text, want) {
			t.Errorf("it does not say %q:\n%s", want, text)
		}
	}
	if first, _, _ := strings.Cut(text, "\n"); !strings.Contains(first, "Redis") {
		t.Errorf("its first line is %q, want the manual's first sentence", first)
	}
	d.redis.Do(t, "CONFIG", "SET", "appendonly", "yes")
	d.says(exitOK, "Redis keeps every write in its append-only file", "doctor")
	var findings struct{ Findings []finding }
	if d.decodes(&findings, "doctor", "--json"); len(findings.Findings) < 5 {
		t.Errorf("%v", findings)
	}
	d.redis.Do(t, "CONFIG", "SET", "appendonly", "no")
}
