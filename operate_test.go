package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/open-ethereum-pool/open-ethereum-pool/notify"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
)

// desk is an operator's: a Redis with one miner, a node, and a configuration.
type desk struct {
	t       *testing.T
	redis   *storagetest.Server
	chain   *rpctest.Chain
	node    *rpctest.Node
	path    string
	journal string
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
	d.node = d.chain.Node(t)
	d.node.Unlock(key)
	d.redis.Do(t, "HSET", "etc:miners:"+somebody, "balance", 2_000_000_000, "lastShare", 1_700_000_000)
	d.redis.Do(t, "HSET", "etc:finances", "balance", 2_000_000_000)
	d.journal = filepath.Join(t.TempDir(), "journal")
	d.path = write(t, fmt.Sprintf(`{"coin": "etc", "redis": {"endpoint": %q}, "payouts": {"enabled": true, "address": %q, "daemon": %q, "requirePeers": 0, "journal": %q}}`,
		d.redis.Addr(), account, d.node.URL, d.journal))
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

func TestExplainSaysWhatItKnowsWithoutANode(t *testing.T) {
	d := newDesk(t)
	d.pay()
	d.node.Fail("", 0, rpctest.Refuse)
	text := d.says(exitPartly, "paid           2 coins\n", "explain", somebody)
	if !strings.Contains(text, "then           below_threshold: 0.5 coins are missing") || !strings.Contains(text, "transaction 0x") || strings.Contains(text, "next session  ") {
		t.Error(text)
	}
	d.redis.Do(t, "HINCRBY", "etc:miners:"+somebody, "balance", 700_000_000)
	d.says(exitPartly, "then           no_node: the node did not answer", "explain", somebody)
	status, text := say(t, d.path, "explain", somebody, "--json")
	var all []explained
	_, answer, _ := strings.Cut(text, "\n") // behind the log
	if err := json.Unmarshal([]byte(answer), &all); err != nil || status != exitPartly || len(all) != 1 || all[0].Paid != 2_000_000_000 || all[0].Reason != reasonNode || all[0].Next != nil {
		t.Errorf("status %d, %v:\n%s", status, err, text)
	}
	d.node.Heal()
	d.says(exitOK, "next session  ", "explain", somebody)
}

func TestWhatCannotBeUndoneAsksFirst(t *testing.T) {
	d := newDesk(t)
	d.says(exitError, "will be credited back and paid anew", "forget", "7-x")
	d.says(exitError, "nothing was done", "ignore", hash)
	d.says(exitError, "its miner is paid twice", "retry", "7-x")
	d.says(exitError, "will count as made by transaction "+hash, "adopt", "7-x", hash)
	d.says(exitError, "say --yes, for a program is not asked", "adopt", "7-x", hash, "--json")
	d.says(exitError, "payment 7-x is not in flight", "retry", "7-x", "--yes")
	d.says(exitOK, "No pending payments to resolve", "resolve", "--yes")
	if acts := d.redis.Do(t, "LRANGE", "etc:payments:acts", 0, -1); !strings.Contains(fmt.Sprint(acts), `"what":"resolve"`) {
		t.Errorf("acts %v, want the resolve with who did it", acts)
	}
}

func TestProgramsReadWhatVerbsSay(t *testing.T) {
	d := newDesk(t)
	var said struct{ Verb, Login, Reason string }
	if d.decodes(&said, "hold", somebody, "--json", "--reason", "why"); said.Verb != "hold" || said.Login != somebody || said.Reason != "why" {
		t.Errorf("hold says %+v", said)
	}
	var valid struct{ Valid bool }
	if d.decodes(&valid, "check", "--json"); !valid.Valid {
		t.Errorf("check says %+v", valid)
	}
}

// TestAKeyFileThatDoesNotServeIsStatus2, as everything wrong with the configuration.
func TestAKeyFileThatDoesNotServeIsStatus2(t *testing.T) {
	d := newDesk(t)
	password := write(t, "secret")
	damaged := write(t, `{"crypto": {}}`)
	text, err := os.ReadFile(d.path)
	if err != nil {
		t.Fatal(err)
	}
	d.path = write(t, strings.Replace(string(text), `"requirePeers"`, fmt.Sprintf(`
		"signer": {"type": "keystore", "passwordFile": %q,
		"keystore": %q}, "requirePeers"`, password, damaged), 1))
	for _, problem := range []string{"is " + damaged + ", which is no keystore file", "cannot be read: open " + damaged} {
		for _, verb := range []string{"run", "plan", "explain " + somebody} {
			d.says(exitUsage, d.path+":3: payouts.signer.keystore "+problem, strings.Fields(verb)...)
		}
		_ = os.Remove(damaged) // the second time it is not there
	}
}

// The error of a verb that printed for programs began with the name of the configuration,
// whatever was wrong.
func TestErrorsForProgramsNameTheFileOnlyWhenItIsAtFault(t *testing.T) {
	d := newDesk(t)
	said := func(args ...string) string {
		t.Helper()
		var v errorView
		if _, text := say(t, append([]string{d.path, "--json"}, args...)...); json.NewDecoder(strings.NewReader(text)).Decode(&v) != nil {
			t.Errorf("%v says %q", args, text)
		}
		return v.Error
	}
	if got, want := said("hold", "0x2222222222222222222222222222222222222222"), "there is no miner 0x2222222222222222222222222222222222222222"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
	if got, want := said("notify"), d.path+": notify.enabled is false, want true"; got != want {
		t.Errorf("error %q, want %q", got, want)
	}
}

func TestTheVerbNotifyTriesEveryHook(t *testing.T) {
	d := newDesk(t)
	d.says(exitUsage, "notify.enabled is false, want true", "notify")
	takes := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer takes.Close()
	refuses := httptest.NewServer(http.NotFoundHandler())
	defer refuses.Close()
	config := `{"coin": "etc", "redis": {"endpoint": "127.0.0.1:1"}, "notify": {"enabled": true, "hooks": [
		{"name": "a", "type": "json", "url": %q}, {"name": "b", "type": "discord", "url": %q}]}}`
	d.path = write(t, fmt.Sprintf(config, takes.URL, refuses.URL+"/secret"))
	if text := d.says(exitError, "b  failed  status 404 Not Found", "notify"); !strings.Contains(text, "a  ok") || strings.Contains(text, "secret") {
		t.Error(text)
	}
	d.path = write(t, fmt.Sprintf(config, takes.URL, takes.URL))
	d.says(exitOK, "b  ok", "notify")
}

func TestAHookIsToldWhatPayoutsDo(t *testing.T) {
	d := newDesk(t)
	told := make(chan notify.Event, 100)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		var e notify.Event
		if err := json.NewDecoder(r.Body).Decode(&e); err != nil {
			t.Error(err)
		}
		told <- e
	}))
	defer hook.Close()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hears := func(id string) notify.Event {
		t.Helper()
		e := <-told
		if !strings.HasPrefix(e.ID, id) {
			t.Fatalf("told %+v, want %s…", e, id)
		}
		return e
	}
	d.says(exitOK, "is written down", "pause", "--reason=moving house")
	d.says(exitHalted, "moving house", "run")

	// Somewhere else.
	ears := write(t, fmt.Sprintf(`{"coin": "etc", "redis": {"endpoint": %q}, "notify": {"enabled": true, "interval": "1s", "hooks": [{"name": "ops", "type": "json", "url": %q}]}}`, d.redis.Addr(), hook.URL))
	ended := make(chan int)
	go func() { ended <- command(ctx, []string{ears}, strings.NewReader(""), io.Discard, io.Discard) }()
	if e := hears("halt-payouts_paused-"); !strings.Contains(e.Text, "payouts are halted, payouts_paused: moving house.") {
		t.Errorf("text %q", e.Text)
	}
	d.says(exitOK, "is written down", "resume")
	if e := hears("halt-payouts_paused-"); !e.Over {
		t.Errorf("told %+v, want it over", e)
	}
	d.pay()
	if e := hears("session-"); e.Session == nil || e.Session.Paid != 1 || e.Session.Amount != 2_000_000_000 {
		t.Errorf("told %+v", e)
	}
	cancel()
	if status := <-ended; status != exitOK {
		t.Errorf("it ended with %d", status)
	}
}

func TestABonusIsAccepted(t *testing.T) {
	d := newDesk(t)
	d.redis.Do(t, "HSET", "etc:payments:opening", "*", "0:0:0:0") // payouts have begun
	d.says(exitError, "accept LOGIN", "audit")
	d.says(exitError, "", "accept", somebody)
	d.says(exitOK, "2000000000 Shannon is written down", "accept", somebody, "--yes", "--reason=a prize")
	d.says(exitOK, "the books add up", "audit")
	d.says(exitError, "finds nothing wrong", "accept", somebody, "--yes")
}

// TestTheAuditTellsMonitoringWhatItSaw: by its exit status, and to status.
func TestTheAuditTellsMonitoringWhatItSaw(t *testing.T) {
	d := newDesk(t)
	d.says(exitOK, "payouts have not begun", "audit")
	if text := d.says(exitOK, `"totals":{"balance":2000000000,"pending":0,"paid":0,"immature":0},"findings":[],"notes":[`, "audit", "--json"); strings.Contains(text, "null") {
		t.Error(text)
	}
	d.chain.Mine(130) // the default of confirmations is 120
	d.pay()
	d.says(exitOK, "looked at: redis, journal, chain\nthe books add up\n", "audit", "--full")
	d.says(exitOK, "0 findings, looked at redis, journal, chain", "status")
	d.redis.Do(t, "HINCRBY", "etc:finances", "paid", 1)
	d.says(exitError, "WRONG etc:finances", "audit")
	var status statusView
	if d.decodes(&status, "status", "--json"); status.Findings != 1 || len(status.AuditLooked) != 3 {
		t.Errorf("status %+v", status)
	}
	d.redis.Do(t, "HINCRBY", "etc:finances", "paid", -1)
	if err := os.Rename(d.journal, d.journal+".away"); err != nil {
		t.Fatal(err)
	}
	d.says(exitPartly, "NOT looked at: journal\nthe books add up as far as was looked\n", "audit")
	var report storage.Report
	if _, text := say(t, d.path, "audit", "--json"); json.NewDecoder(strings.NewReader(text)).Decode(&report) != nil || len(report.Missed) != 1 || len(report.Findings) != 0 {
		t.Errorf("report %+v", report)
	}
	d.says(exitUsage, "plan takes no --full", "plan", "--full")
}

// pay holds a session, in which a block is mined whenever it waits.
func (d *desk) pay() {
	d.t.Helper()
	paid := make(chan struct{})
	go func() { // the session waits until its payment is in a block
		defer close(paid)
		d.says(exitOK, "", "run")
	}()
	for {
		select {
		case <-paid:
			return
		case <-time.After(10 * time.Millisecond):
			d.chain.Mine(1)
		}
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
