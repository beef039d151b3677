package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"testing"
)

// greetings bring a connection to where shares are taken, in each dialect. Their
// ids are numbers from 1 on.
var greetings = [][]string{
	{},
	{`{"id":1,"worker":"rig","method":"eth_submitLogin","params":["` + alice + `"]}`},
	{`{"id":1,"method":"mining.subscribe","params":["m","EthereumStratum/1.0.0"]}`, `{"id":2,"method":"mining.authorize","params":["` + alice + `.rig","x"]}`},
	{`{"id":1,"method":"mining.hello","params":{"proto":"EthereumStratum/2.0.0"}}`, `{"id":2,"method":"mining.subscribe"}`, `{"id":3,"method":"mining.authorize","params":["` + alice + `.rig","x"]}`},
}

var fuzzLines = []string{
	`{"id":1,"method":"mining.hello","params":{"proto":"EthereumStratum/2.0.0"}}`,
	`{"id":1,"method":"mining.subscribe","params":["m","EthereumStratum/1.0.0"]}`,
	`{"id":2,"method":"mining.authorize","params":["` + alice + `.rig","x"]}`,
	`{"id":3,"method":"mining.submit","params":["` + alice + `.rig","1","001122334455"]}`,
	`{"id":3,"method":"mining.submit","params":["1","001122334455","w-0"]}`,
	`{"id":"x","worker":"rig","method":"eth_submitLogin","params":["` + alice + `"]}`,
	`{"id":5,"method":"eth_submitWork","params":["0x0011223344556677","0x` + strings.Repeat("0", 64) + `","0x` + strings.Repeat("1", 64) + `"]}`,
	`{"id":6,"method":"eth_getWork","params":null}`, `{"id":[7,{"a":1}],"method":"mining.noop"}`, `{"method":"mining.bye"}`,
	`{"id":8,"method":"eth_submitHashrate"}`, `{"id":9,"method":"mining.extranonce.subscribe"}`, `{"id":10,"method":"mining.hashrate"}`, `{"id":11,"method":"x"}`,
	`{"id":12,"result":null}`, `{"id":13,"method":"","error":{}}`,
	`[]`, `null`, `{"id":{},"method":7}`, "\x16\x03\x01", "\r\n\n", strings.Repeat("x", lineMost), `{"id":1}{"id":2}`,
}

// fuzzed is a pool that bans nobody.
func fuzzed(f *testing.F) *pool {
	p := newPool(f, 1)
	p.cfg.Policy.Banning.Enabled = false
	return p.start()
}

// FuzzLines sends lines over a connection in each dialect. Whatever they are, each
// has one answer, under its id, until one comes that ends the connection; and the
// connection leaves nothing behind.
func FuzzLines(f *testing.F) {
	for dialect := range greetings {
		for i, line := range fuzzLines {
			f.Add(uint8(dialect), line+"\n"+fuzzLines[(i+1)%len(fuzzLines)])
		}
	}
	p := fuzzed(f)
	f.Fuzz(func(t *testing.T, dialect uint8, text string) {
		sent := strings.Join(append(slices.Clone(greetings[int(dialect)%len(greetings)]), text), "\n") + "\n"
		conn, err := net.Dial("tcp", p.Addrs()[1].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		wrote := make(chan struct{})
		go func() {
			defer close(wrote)
			_, _ = io.WriteString(conn, sent) // the pool may hang up
			_ = conn.(*net.TCPConn).CloseWrite()
		}()
		got := answers(t, conn)
		<-wrote
		for line := range bytes.SplitSeq([]byte(sent), []byte("\n")) {
			long := len(line) >= lineMost
			if line = bytes.TrimSpace(line); !long && (len(line) == 0 || !isRequest(line) && isAnswer(line)) {
				continue
			}
			if len(got) == 0 {
				if !long && !bytes.HasPrefix(line, []byte("\x16\x03")) && methodOf(line) != "mining.bye" {
					t.Errorf("%q has no answer", line)
				}
				break
			}
			if long {
				t.Errorf("a line of %d bytes is answered", len(line))
			}
			if want := idIn(line); !reflect.DeepEqual(got[0], want) {
				t.Errorf("%q is answered under the id %v, want %v", line, got[0], want)
			}
			got = got[1:]
		}
		if len(got) > 0 {
			t.Errorf("answers to nothing: %v", got)
		}
		p.until("the connection left nothing behind", func() bool { return p.openConnections() == 0 && len(p.sessions.list()) == 0 })
	})
}

// answers are the ids of what the pool answers until it hangs up.
func answers(t *testing.T, conn net.Conn) (ids []any) {
	in := bufio.NewScanner(conn)
	for in.Scan() {
		var line map[string]any
		if err := json.Unmarshal(in.Bytes(), &line); err != nil {
			t.Errorf("the pool says %q: %v", in.Text(), err)
		}
		if _, news := line["method"]; !news {
			ids = append(ids, line["id"])
		}
	}
	return ids
}

// idIn is the id of a request, nil when there is none.
func idIn(line []byte) (id any) {
	var req request
	if json.Unmarshal(line, &req) == nil && req.Method != "" && len(req.ID) > 0 {
		_ = json.Unmarshal(req.ID, &id) // it is part of what was understood
	}
	return id
}

func isRequest(line []byte) bool {
	var req request
	return json.Unmarshal(line, &req) == nil && req.Method != ""
}

func methodOf(line []byte) string {
	var req request
	_ = json.Unmarshal(line, &req) // then there is none
	return req.Method
}

// FuzzGetwork sends requests over HTTP: the answer is JSON under the request's id,
// or a status that says what is wrong.
func FuzzGetwork(f *testing.F) {
	for _, line := range fuzzLines {
		f.Add("POST", alice+"/rig", line)
	}
	f.Add("GET", alice, "")
	f.Add("POST", "../%2e/"+alice+"//", "{}")
	p := fuzzed(f)
	handler := p.getworkServer().Handler
	f.Fuzz(func(t *testing.T, method, path, body string) {
		r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(body))
		r.Method, r.URL = method, &url.URL{Path: "/" + path}
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, r)
		if w.Code != http.StatusOK {
			if w.Code < 300 || w.Code >= 500 {
				t.Errorf("%s %q %q: status %d", method, path, body, w.Code)
			}
			return
		}
		var reply map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &reply); err != nil || !reflect.DeepEqual(reply["id"], idIn([]byte(body))) {
			t.Errorf("%s %q %q is answered %s: %v", method, path, body, w.Body, err)
		}
		p.policy.mu.Lock()
		defer p.policy.mu.Unlock()
		for ip, r := range p.policy.records {
			if r.connections != 0 {
				t.Errorf("%s is left with %d connections", ip, r.connections)
			}
		}
	})
}
