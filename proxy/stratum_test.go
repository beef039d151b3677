package proxy

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/proxy/ethash"
)

func submitWork(id int, nonce uint64, w *work, d ethash.Digest) string {
	return fmt.Sprintf(`{"id":%d,"method":"eth_submitWork","params":["0x%016x","%s","%s"]}`, id, nonce, w.Header.Hex(), d.Mix.Hex())
}

func TestEthProxy(t *testing.T) {
	p := newPool(t, 1).start()
	w := p.job(100)
	c := p.dial()
	present := fmt.Sprintf(`["%s","%s","%s"]`, w.Header, w.Seed, targetOf(2))

	c.want(`{"id":1,"method":"eth_getWork"}`, `{"id":1,"jsonrpc":"2.0","result":`+present+`}`)
	c.want(submitWork(2, 1, w, ethash.Digest{}), `{"id":2,"jsonrpc":"2.0","result":null,"error":{"code":25,"message":"Not subscribed"}}`)
	c.want(`{"id":3,"method":"eth_submitLogin","params":["0xnobody"]}`, `{"id":3,"jsonrpc":"2.0","result":null,"error":{"code":-1,"message":"Invalid login"}}`)
	c.want(`{"id":4,"worker":"rig","method":"eth_submitLogin","params":["`+bob+`","x"]}`, `{"id":4,"jsonrpc":"2.0","result":true}`)
	c.want(`{"id":5,"method":"eth_submitHashrate","params":["0x1","0x2"]}`, `{"id":5,"jsonrpc":"2.0","result":true}`)
	c.want(`{"id":6,"method":"eth_coinbase"}`, `{"id":6,"jsonrpc":"2.0","result":null,"error":{"code":-3,"message":"Method not found"}}`)

	nonce, d := p.share(w, 2, 0, 0)
	c.want(submitWork(7, nonce, w, d), `{"id":7,"jsonrpc":"2.0","result":true}`)
	c.want(submitWork(8, nonce, w, d), `{"id":8,"jsonrpc":"2.0","result":false,"error":{"code":22,"message":"Duplicate share"}}`)
	low, e := p.bad(w, 2, 1000)
	c.want(submitWork(9, low, w, e), `{"id":9,"jsonrpc":"2.0","result":false,"error":{"code":23,"message":"Low difficulty share"}}`)
	other, _ := p.share(w, 2, 0, 2000)
	c.want(submitWork(10, other, w, d), `{"id":10,"jsonrpc":"2.0","result":false,"error":{"code":23,"message":"Low difficulty share"}}`)
	c.want(submitWork(11, nonce, &work{Header: common.Hash{9}}, d), `{"id":11,"jsonrpc":"2.0","result":false,"error":{"code":21,"message":"Stale share"}}`)
	c.want(`{"id":12,"method":"eth_submitWork","params":["0x1","0x2","0x3"]}`, `{"id":12,"jsonrpc":"2.0","result":false,"error":{"code":20,"message":"Malformed share"}}`)
	c.send(`this is no JSON`)
	if got := c.read(); !strings.Contains(got, "Malformed request") {
		t.Errorf("rubbish is answered %s", got)
	}

	if got := p.round(strings.ToLower(bob)); got != "2" {
		t.Errorf("bob's round is %q, want 2", got)
	}
	if got := p.redis.Do(t, "HGET", "eth:workers:"+strings.ToLower(bob), "rig"); got == nil {
		t.Error("bob's rig is not known")
	}
	// New work comes unasked.
	p.nodes[0].give(101, impossible)
	next := p.job(101)
	if got, want := c.read(), fmt.Sprintf(`{"id":0,"jsonrpc":"2.0","result":["%s","%s","%s"]}`, next.Header, next.Seed, targetOf(2)); got != want {
		t.Errorf("pushed %s\nwant   %s", got, want)
	}
	// A share of the work before may still come.
	nonce, d = p.share(w, 2, 0, 3000)
	c.want(submitWork(13, nonce, w, d), `{"id":13,"jsonrpc":"2.0","result":true}`)
	// A name that cannot be one does not take the place of the rig's.
	nonce, d = p.share(w, 2, 0, 4000)
	c.want(strings.Replace(submitWork(14, nonce, w, d), `"method"`, `"worker":"eth1.0","method"`, 1), `{"id":14,"jsonrpc":"2.0","result":true}`)
	if got := p.redis.Do(t, "HKEYS", "eth:workers:"+strings.ToLower(bob)); fmt.Sprint(got) != "[rig]" {
		t.Errorf("bob's rigs are %v", got)
	}
}

func TestNiceHash(t *testing.T) {
	p := newPool(t, 1).start()
	w := p.job(100)
	c := p.dial()
	c.want(`{"id":1,"method":"mining.authorize","params":["`+alice+`.rig","x"]}`, `{"id":1,"result":false,"error":[25,"Not subscribed",null]}`)
	c.want(`{"id":2,"method":"mining.subscribe","params":["miner/1","EthereumStratum/3.0.0"]}`, `{"id":2,"result":false,"error":[20,"Unknown protocol version",null]}`)
	var sub struct{ Result []any }
	if err := json.Unmarshal([]byte(c.ask(`{"id":3,"method":"mining.subscribe","params":["miner/1","EthereumStratum/1.0.0"]}`)), &sub); err != nil || len(sub.Result) != 2 {
		t.Fatalf("subscribed to %+v, %v", sub, err)
	}
	extranonce := sub.Result[1].(string)
	if len(extranonce) != 4 {
		t.Fatalf("extranonce is %q", extranonce)
	}
	c.want(`{"id":4,"method":"mining.extranonce.subscribe","params":[]}`, `{"id":4,"result":true,"error":null}`)
	c.want(`{"id":5,"method":"mining.authorize","params":["`+alice+`.rig","x"]}`, `{"id":5,"result":true,"error":null}`)
	var difficulty struct{ Params []float64 }
	if err := json.Unmarshal([]byte(c.read()), &difficulty); err != nil || len(difficulty.Params) != 1 {
		t.Fatalf("difficulty is %+v, %v", difficulty, err)
	}
	if got, want := c.read(), fmt.Sprintf(`{"id":null,"method":"mining.notify","params":["%s","%s","%s",true]}`, w.ID, bare(w.Seed), bare(w.Header)); got != want {
		t.Errorf("notified %s\nwant     %s", got, want)
	}
	prefix, err := strconv.ParseUint(extranonce, 16, 16)
	if err != nil {
		t.Fatal(err)
	}
	nonce, _ := p.share(w, 2, 0, prefix<<48)
	submit := fmt.Sprintf(`"method":"mining.submit","params":["%s.other","%s","%012x"]}`, alice, w.ID, nonce&(1<<48-1))
	c.want(`{"id":6,`+submit, `{"id":6,"result":true,"error":null}`)
	c.want(`{"id":7,`+submit, `{"id":7,"result":false,"error":[22,"Duplicate share",null]}`)
	c.want(`{"id":8,"method":"mining.submit","params":["x","ffff","000000000000"]}`, `{"id":8,"result":false,"error":[21,"Stale share",null]}`)
	c.want(`{"id":9,"method":"mining.submit","params":["x","`+w.ID+`","00"]}`, `{"id":9,"result":false,"error":[20,"Malformed share",null]}`)
	if got := p.redis.Do(t, "HGET", "eth:workers:"+alice, "other"); got == nil || p.round(alice) != "2" {
		t.Errorf("round %s, rig %v", p.round(alice), got)
	}
}

// Several workers of several logins may mine on one connection; a share names its own.
func TestNiceHashWorkers(t *testing.T) {
	p := newPool(t, 1).start()
	w := p.job(100)
	c := p.dial()
	var sub struct{ Result []any }
	if err := json.Unmarshal([]byte(c.ask(`{"id":1,"method":"mining.subscribe","params":["miner/1","EthereumStratum/1.0.0"]}`)), &sub); err != nil {
		t.Fatal(err)
	}
	prefix, err := strconv.ParseUint(sub.Result[1].(string), 16, 16)
	if err != nil {
		t.Fatal(err)
	}
	c.ask(`{"id":2,"method":"mining.authorize","params":["` + alice + `.rig","x"]}`)
	c.ask(`{"id":3,"method":"mining.authorize","params":["` + bob + `.rig2","x"]}`)
	nonce, _ := p.share(w, 2, 0, prefix<<48)
	submit := func(name string) string {
		return fmt.Sprintf(`{"id":4,"method":"mining.submit","params":["%s","%s","%012x"]}`, name, w.ID, nonce&(1<<48-1))
	}
	c.want(submit("0xcccccccccccccccccccccccccccccccccccccc03.rig"), `{"id":4,"result":false,"error":[24,"Unauthorized worker",null]}`)
	c.want(submit(bob+".no name"), `{"id":4,"result":true,"error":null}`)
	if got := p.redis.Do(t, "HKEYS", "eth:workers:"+strings.ToLower(bob)); fmt.Sprint(got) != "[rig2]" {
		t.Errorf("bob's rigs are %v", got)
	}
	if a, b := p.round(alice), p.round(strings.ToLower(bob)); a != "" || b != "2" {
		t.Errorf("counted %q for the one and %q for the other", a, b)
	}
}

func TestStratum2(t *testing.T) {
	p := newPool(t, 1).start()
	w := p.job(100)
	c := p.dial()
	c.want(`{"id":0,"method":"mining.hello","params":{"agent":"m","host":"h","port":"1f90","proto":"EthereumStratum/2.0.0"}}`,
		`{"id":0,"result":{"encoding":"plain","maxerrors":"ffff","node":"open-ethereum-pool","proto":"EthereumStratum/2.0.0","resume":"0","timeout":"78"}}`)
	var sub struct{ Result string }
	if err := json.Unmarshal([]byte(c.ask(`{"id":1,"method":"mining.subscribe"}`)), &sub); err != nil || len(sub.Result) != 6 {
		t.Fatalf("subscribed to %+v, %v", sub, err)
	}
	extranonce := sub.Result[2:]
	c.want(`{"id":1,"method":"mining.subscribe","params":"s-0"}`, `{"id":1,"result":"s-`+extranonce+`"}`)
	c.want(`{"id":1,"method":"mining.subscribe","params":"s-`+extranonce+`"}`, `{"id":1,"result":"s-`+extranonce+`-2"}`) // nothing is resumed
	c.want(`{"id":2,"method":"mining.authorize","params":["`+alice+`","rig7"]}`, `{"id":2,"result":"w-0"}`)
	if got, want := c.read(), fmt.Sprintf(`{"method":"mining.set","params":{"epoch":"0","target":"%s","algo":"ethash","extranonce":"%s"}}`, bare(targetOf(2)), extranonce); got != want {
		t.Errorf("set to %s\nwant   %s", got, want)
	}
	if got, want := c.read(), fmt.Sprintf(`{"method":"mining.notify","params":["%s","64","%s","1"]}`, w.ID, bare(w.Header)); got != want {
		t.Errorf("notified %s\nwant     %s", got, want)
	}
	prefix, err := strconv.ParseUint(extranonce, 16, 16)
	if err != nil {
		t.Fatal(err)
	}
	nonce, _ := p.share(w, 2, 0, prefix<<48+1) // not 0, which is no digit without its zeros
	part := fmt.Sprintf("%012x", nonce&(1<<48-1))
	c.want(`{"id":3,"method":"mining.submit","params":["`+w.ID+`","`+part+`","w-0"]}`, `{"id":3}`)
	c.want(`{"id":3,"method":"mining.submit","params":["`+w.ID+`","`+strings.TrimLeft(part, "0")+`","w-0"]}`, `{"id":3,"error":{"code":409,"message":"Duplicate share"}}`)
	c.want(`{"id":3,"method":"mining.submit","params":["`+w.ID+`","0`+part+`","w-0"]}`, `{"id":3,"error":{"code":400,"message":"Malformed share"}}`)
	c.want(`{"id":3,"method":"mining.submit","params":["`+w.ID+`","","w-0"]}`, `{"id":3,"error":{"code":400,"message":"Malformed share"}}`)
	c.want(`{"id":3,"method":"mining.submit","params":["`+w.ID+`","-`+part[1:]+`","w-0"]}`, `{"id":3,"error":{"code":400,"message":"Malformed share"}}`)
	c.want(`{"id":4,"method":"mining.submit","params":["`+w.ID+`","`+part+`","w-0"]}`, `{"id":4,"error":{"code":409,"message":"Duplicate share"}}`)
	c.want(`{"id":5,"method":"mining.submit","params":["`+w.ID+`","`+part+`","w-1"]}`, `{"id":5,"error":{"code":301,"message":"Unauthorized worker"}}`)
	c.want(`{"id":6,"method":"mining.submit","params":["dead","`+part+`","w-0"]}`, `{"id":6,"error":{"code":404,"message":"Stale share"}}`)
	c.want(`{"id":7,"method":"mining.noop"}`, `{"id":7}`)
	c.want(`{"id":8,"method":"mining.hashrate","params":["500000","w-0"]}`, `{"id":8}`)
	p.nodes[0].give(101, impossible)
	next := p.job(101)
	if got, want := c.read(), fmt.Sprintf(`{"method":"mining.notify","params":["%s","65","%s","1"]}`, next.ID, bare(next.Header)); got != want {
		t.Errorf("notified %s\nwant     %s", got, want)
	}
	if got := p.redis.Do(t, "HGET", "eth:workers:"+alice, "rig7"); got == nil {
		t.Error("the password is not taken for the rig's name")
	}
	c.send(`{"method":"mining.bye"}`)
	c.closed()
}

// A second login on an eth-proxy connection takes the place of the first: its
// shares do not say whose they are.
func TestEthProxyLogsInAgain(t *testing.T) {
	p := newPool(t, 1).start()
	c := p.login()
	c.ask(`{"id":1,"method":"eth_submitLogin","params":["` + bob + `"]}`)
	w := p.job(100)
	nonce, d := p.share(w, 2, 0, 0)
	c.want(submitWork(2, nonce, w, d), `{"id":2,"jsonrpc":"2.0","result":true}`)
	if a, b := p.round(alice), p.round(strings.ToLower(bob)); a != "" || b != "2" {
		t.Errorf("counted %q for the first and %q for the second", a, b)
	}
}

// A dialect is chosen by what succeeds, or by name.
func TestARefusedHelloChoosesNoDialect(t *testing.T) {
	p := newPool(t, 1).start()
	for _, proto := range []string{"EthereumStratum/9.0.0", stratum2Protocol} {
		c := p.dial()
		c.ask(`{"id":1,"method":"mining.hello","params":{"proto":"` + proto + `"}}`)
		if x := c.subscribe(); len(x) != 4 {
			t.Errorf("after a hello for %s: extranonce %s", proto, x)
		}
		c.want(`{"id":2,"method":"mining.authorize","params":["`+alice+`.rig","x"]}`, `{"id":2,"result":true,"error":null}`)
	}
	c := p.dial()
	c.want(`{"id":1,"method":"mining.hello","params":{"proto":"EthereumStratum/9.0.0"}}`, `{"id":1,"error":{"code":400,"message":"Unknown protocol version"}}`)
	c.want(`{"id":2,"method":"mining.subscribe","params":[]}`, c.ask(`{"id":2,"method":"mining.subscribe"}`))
	c.want(`{"id":3,"method":"mining.extranonce.subscribe"}`, `{"id":3,"result":true,"error":null}`)
}

// A worker's name that is a number is one.
func TestAWorkerThatIsNoText(t *testing.T) {
	p := newPool(t, 1).start()
	w, c := p.job(100), p.dial()
	c.want(`{"id":1,"worker":7,"method":"eth_submitLogin","params":["`+alice+`"]}`, `{"id":1,"jsonrpc":"2.0","result":true}`)
	nonce, d := p.share(w, 2, 0, 0)
	c.want(`{"id":5,"worker":null,"method":"eth_submitHashrate"}`, `{"id":5,"jsonrpc":"2.0","result":true}`)
	c.want(strings.Replace(submitWork(2, nonce, w, d), `"method"`, `"worker":{"a":1},"method"`, 1), `{"id":2,"jsonrpc":"2.0","result":true}`)
	if got := p.redis.Do(t, "HKEYS", "eth:workers:"+alice); fmt.Sprint(got) != "[7]" {
		t.Errorf("alice's rigs are %v", got)
	}
}

// A miner that tries the dialects in turn on one connection ends with one that
// works.
func TestProbingIsNoMisbehaviour(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.Policy.Banning.Enabled, p.cfg.Policy.Banning.MalformedLimit = true, 1
	p.cfg.Policy.Banning.IPSet = ""
	p.start()
	c := p.dial()
	c.ask(`{"id":1,"method":"mining.hello","params":{"proto":"EthereumStratum/2.5.0"}}`)
	c.ask(`{"id":2,"method":"mining.subscribe","params":["m","EthereumStratum/9.0.0"]}`)
	c.ask(`{"id":3,"method":"mining.configure"}`)
	c.want(`{"id":4,"method":"eth_submitLogin","params":["`+alice+`"]}`, `{"id":4,"jsonrpc":"2.0","result":true}`)
	p.dial().ask(`{"id":1,"method":"eth_getWork"}`)
}

// A miner that acknowledges what it is told is neither answered nor banned.
func TestAnswersAreNoRequests(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.Policy.Banning.Enabled, p.cfg.Policy.Banning.MalformedLimit = true, 1
	p.cfg.Policy.Banning.IPSet = ""
	p.start()
	c := p.login()
	for _, answer := range []string{`{"id":0,"jsonrpc":"2.0","result":true}`, `{"id":null,"result":null,"error":[1,"no",null]}`, `{"error":{"code":405}}`} {
		c.send(answer)
	}
	c.send(`{"id":2,"method":"eth_submitHashrate"}`)
	if got, want := c.read(), `{"id":2,"jsonrpc":"2.0","result":true}`; got != want {
		t.Errorf("answered %s, want %s", got, want)
	}
}

// The rig's name is the first that can be one: in the login, beside it, or the
// password.
func TestRigNames(t *testing.T) {
	for _, tc := range []struct{ user, worker, password, want string }{
		{alice, "", "", "0"},
		{alice, "", "x", "0"},
		{alice + ".rig", "beside", "password", "rig"},
		{alice, "beside", "password", "beside"},
		{alice, "", "password", "password"},
		{alice, "eth1.0", "password", "password"}, // Claymore and lolMiner write that beside
		{alice + ".my rig", "beside", "", "beside"},
		{alice + ".0", "beside", "password", "0"},
		{alice + "." + strings.Repeat("x", workerMost+1), "", "x", "0"},
		{alice + ".rig/me@example.com", "", "x", "rig"}, // ethminer's URL from another pool
		{alice + "/me@example.com", "beside", "x", "beside"},
		{" " + alice + ". ", "", "", "0"},
	} {
		s := &session{proxy: &Proxy{policy: newPolicy(PolicyConfig{}, nil, discard)}}
		n, f := s.authorize([]string{tc.user, tc.password}, label(tc.worker))
		if f != failNone || s.miners[n] != (miner{alice, tc.want}) {
			t.Errorf("%+v: %+v, %+v", tc, f, s.miners)
		}
	}
}
