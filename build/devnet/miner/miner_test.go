package miner

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/devnet/chain"
)

const (
	login  = "0x00000000000000000000000000000000000000aa"
	header = "1234567812345678123456781234567812345678123456781234567812345678"
	target = "1000000000000000000000000000000000000000000000000000000000000000" // 16 hashes
)

// pool is one that says what a test wants, to one miner.
type pool struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Scanner
}

// connect runs a miner at a pool. The channels tell how the miner ended, and what
// it was told about its shares.
func connect(ctx context.Context, t *testing.T, dialect string) (*pool, <-chan error, <-chan error) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	ended, answers := make(chan error, 1), make(chan error, 100)
	cfg := Config{Pool: l.Addr().String(), Login: login, Rig: "rig", Dialect: dialect, Answered: func(err error) { answers <- err }}
	go func() { ended <- Run(ctx, cfg) }()
	conn, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &pool{t, conn, bufio.NewScanner(conn)}, ended, answers
}

// hear returns the miner's next line.
func (p *pool) hear() string {
	p.t.Helper()
	if !p.in.Scan() {
		p.t.Fatalf("the miner is gone: %v", p.in.Err())
	}
	return p.in.Text()
}

func (p *pool) say(lines string) {
	p.t.Helper()
	if _, err := fmt.Fprintln(p.conn, lines); err != nil {
		p.t.Fatal(err)
	}
}

// A conversation is what the miner asks and what it is answered, in turns, until
// it has a job; share makes a whole nonce, and its mix if it is told, of what the
// miner submits.
var conversations = map[string]struct {
	turns  [][2]string
	method string
	share  func(params []string) (nonce, mix string)
}{
	EthProxy: {[][2]string{
		{`{"id":1,"jsonrpc":"2.0","method":"eth_submitLogin","params":["` + login + `","x"],"worker":"rig"}`, `{"id":1,"jsonrpc":"2.0","result":true}`},
		{`{"id":2,"jsonrpc":"2.0","method":"eth_getWork","worker":"rig"}`, `{"id":2,"result":["0x` + header + `","0x00","0x` + target + `"]}`},
	}, "eth_submitWork", func(params []string) (nonce, mix string) {
		if params[1] != "0x"+header || len(params[0]) != 18 {
			return "", ""
		}
		return params[0], params[2]
	}},
	NiceHash: {[][2]string{
		{`{"id":1,"jsonrpc":"2.0","method":"mining.subscribe","params":["devnet","EthereumStratum/1.0.0"]}`, `{"id":1,"result":[["mining.notify","x","EthereumStratum/1.0.0"],"abcd"],"error":null}`},
		{`{"id":2,"jsonrpc":"2.0","method":"mining.authorize","params":["` + login + `.rig","x"]}`, `{"id":2,"result":true,"error":null}
{"id":null,"method":"mining.set_difficulty","params":[` + strconv.FormatFloat(16*65535./(1<<48), 'g', -1, 64) + `]}
{"id":null,"method":"mining.notify","params":["j1","00","` + header + `",true]}`},
	}, "mining.submit", func(params []string) (nonce, mix string) {
		if params[0] != login+".rig" || params[1] != "j1" || len(params[2]) != 12 {
			return "", ""
		}
		return "0xabcd" + params[2], ""
	}},
	Stratum2: {[][2]string{
		{`{"id":1,"jsonrpc":"2.0","method":"mining.hello","params":{"agent":"devnet","host":"localhost","port":"0","proto":"EthereumStratum/2.0.0"}}`, `{"id":1,"result":{"proto":"EthereumStratum/2.0.0"}}`},
		{`{"id":2,"jsonrpc":"2.0","method":"mining.subscribe"}`, `{"id":2,"result":"s-1"}`},
		{`{"id":3,"jsonrpc":"2.0","method":"mining.authorize","params":["` + login + `.rig","x"]}`, `{"id":3,"result":"w-7"}
{"method":"mining.set","params":{"epoch":"0","target":"` + target + `","extranonce":"abc"}}
{"method":"mining.notify","params":["j1","64","` + header + `","1"]}`},
	}, "mining.submit", func(params []string) (nonce, mix string) {
		if params[0] != "j1" || params[2] != "w-7" || len(params[1]) != 13 {
			return "", ""
		}
		return "0xabc" + params[1], ""
	}},
}

func TestEveryDialectSubmitsSharesThatMeetTheTarget(t *testing.T) {
	for dialect, c := range conversations {
		t.Run(dialect, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			p, ended, answers := connect(ctx, t, dialect)
			for _, turn := range c.turns {
				if got := p.hear(); got != turn[0] {
					t.Fatalf("the miner says %s\nwant            %s", got, turn[0])
				}
				p.say(turn[1])
			}
			prover := chain.NewProver()
			for _, answer := range []struct {
				text string
				want error
			}{
				{`"result":true`, nil},
				{`"result":true,"error":null`, nil},
				{`"error":{"code":23,"message":"Low"}`, errors.New(`{"code":23,"message":"Low"}`)},
				{`"result":false`, errors.New("no reason given")},
			} {
				var m struct {
					ID     int
					Method string
					Params []string
				}
				line := p.hear()
				if err := json.Unmarshal([]byte(line), &m); err != nil || m.Method != c.method || len(m.Params) != 3 {
					t.Fatalf("the miner says %s, %v", line, err)
				}
				text, mix := c.share(m.Params)
				nonce, err := strconv.ParseUint(strings.TrimPrefix(text, "0x"), 16, 64)
				if err != nil {
					t.Fatalf("share %s: %v", line, err)
				}
				_, right, ok := prover.Search(1, common.HexToHash(header), common.HexToHash(target).Big(), nonce, 1)
				if !ok || mix != "" && mix != right.Hex() {
					t.Errorf("share %s does not meet the target, or has not the mix %s", line, right)
				}
				p.say(fmt.Sprintf(`{"id":%d,%s}`, m.ID, answer.text))
				if got := <-answers; fmt.Sprint(got) != fmt.Sprint(answer.want) {
					t.Errorf("answer %s is taken for %v, want %v", answer.text, got, answer.want)
				}
			}
			cancel()
			if err := <-ended; !errors.Is(err, context.Canceled) {
				t.Errorf("the miner ended with %v", err)
			}
		})
	}
}

func TestNewsReplaceTheJob(t *testing.T) {
	p, _, _ := connect(t.Context(), t, EthProxy)
	for _, turn := range conversations[EthProxy].turns {
		p.hear()
		p.say(turn[1])
	}
	next := strings.Repeat("9", 64)
	p.say(`{"id":0,"jsonrpc":"2.0","result":["0x` + next + `","0x00","0x` + target + `"]}`)
	for !strings.Contains(p.hear(), next) { // shares of the job before may come first
	}
}

// nonsense is what a pool says, a line or more to every request, until the miner
// must have given up.
var nonsense = []struct {
	name, dialect string
	says          []string
}{
	{"no JSON", EthProxy, []string{`hello`}},
	{"JSON that is no message", EthProxy, []string{`[1]`}},
	{"an id that is no number", EthProxy, []string{`{"id":"one"}`}},
	{"the login is refused", EthProxy, []string{`{"id":1,"error":{"code":-1,"message":"Invalid login"}}`}},
	{"the login is refused without a reason", EthProxy, []string{`{"id":1,"result":false}`}},
	{"no work", EthProxy, []string{`{"id":1,"result":true}`, `{"id":2,"result":null}`}},
	{"work of one part", EthProxy, []string{`{"id":1,"result":true}`, `{"id":2,"result":["0x` + header + `"]}`}},
	{"a header that is no hash", EthProxy, []string{`{"id":1,"result":true}`, `{"id":2,"result":["0x12","0x00","0x` + target + `"]}`}},
	{"a target that is no hash", EthProxy, []string{`{"id":1,"result":true}`, `{"id":2,"result":["0x` + header + `","0x00","easy"]}`}},
	{"a subscription without an extranonce", NiceHash, []string{`{"id":1,"result":[[]],"error":null}`}},
	{"a subscription that is a number", NiceHash, []string{`{"id":1,"result":5,"error":null}`}},
	{"an empty extranonce", NiceHash, []string{`{"id":1,"result":[[],""],"error":null}`}},
	{"an extranonce that is no number", NiceHash, []string{`{"id":1,"result":[[],"xy"],"error":null}`}},
	{"an extranonce of seven bytes", NiceHash, []string{`{"id":1,"result":[[],"00112233445566"],"error":null}`}},
	{"no difficulty", NiceHash, []string{`{"method":"mining.set_difficulty","params":[]}`}},
	{"a difficulty of zero", NiceHash, []string{`{"method":"mining.set_difficulty","params":[0]}`}},
	{"a negative difficulty", NiceHash, []string{`{"method":"mining.set_difficulty","params":[-1]}`}},
	{"a job of three parts", NiceHash, []string{`{"method":"mining.notify","params":["j1","00","` + header + `"]}`}},
	{"a job whose header is a number", NiceHash, []string{`{"method":"mining.notify","params":["j1","00",7,true]}`}},
	{"another protocol", Stratum2, []string{`{"id":1,"error":{"code":400,"message":"Unknown protocol version"}}`}},
	{"a worker that is a number", Stratum2, []string{`{"id":1}`, `{"id":2}`, `{"id":3,"result":7}`}},
	{"settings that are a list", Stratum2, []string{`{"method":"mining.set","params":["target"]}`}},
	{"settings with a bad target", Stratum2, []string{`{"method":"mining.set","params":{"target":"12"}}`}},
	{"settings with a bad extranonce", Stratum2, []string{`{"method":"mining.set","params":{"extranonce":"-1"}}`}},
}

func TestNonsenseEndsTheMinerWithAnError(t *testing.T) {
	for _, tc := range nonsense {
		t.Run(tc.name, func(t *testing.T) {
			p, ended, _ := connect(t.Context(), t, tc.dialect)
			for _, line := range tc.says {
				p.hear()
				p.say(line)
			}
			if err := <-ended; err == nil {
				t.Error("the miner ended without an error")
			}
		})
	}
	if !slices.Contains(Dialects, EthProxy) || len(Dialects) != len(conversations) {
		t.Errorf("dialects are %v, and not those of the tests", Dialects)
	}
	t.Run("a dialect that nobody speaks", func(t *testing.T) {
		_, ended, _ := connect(t.Context(), t, "smoke signals")
		if err := <-ended; err == nil || !strings.Contains(err.Error(), "is none of") {
			t.Errorf("the miner ended with %v", err)
		}
	})
	t.Run("a pool that hangs up", func(t *testing.T) {
		p, ended, _ := connect(t.Context(), t, EthProxy)
		p.conn.Close()
		if err := <-ended; err == nil {
			t.Error("the miner ended without an error")
		}
	})
}
