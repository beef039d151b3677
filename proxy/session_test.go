package proxy

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

func TestALineThatIsTooLongEndsTheConnection(t *testing.T) {
	p := newPool(t, 1).start()
	c := p.dial()
	c.ask(`{"id":1,"method":"eth_getWork"}`)
	c.send(strings.Repeat("x", 10*lineMost))
	c.closed()
	p.until("it is said", func() bool { return strings.Contains(p.logs.String(), errLongLine.Error()) })
}

func TestLinesArriveInPieces(t *testing.T) {
	p := newPool(t, 1).start()
	c := p.dial()
	two := `{"id":1,"method":"eth_getWork"}` + "\r\n\n" + `{"id":2,"method":"eth_submitHashrate"}` + "\n"
	for i := range two {
		if _, err := io.WriteString(c.conn, two[i:i+1]); err != nil {
			t.Fatal(err)
		}
	}
	if a, b := c.read(), c.read(); !strings.HasPrefix(a, `{"id":1,`) || b != `{"id":2,"jsonrpc":"2.0","result":true}` {
		t.Errorf("answered %s and %s", a, b)
	}
}

func TestTLSOnThePlainPortIsSaid(t *testing.T) {
	p := newPool(t, 1).start()
	conn, err := tls.Dial("tcp", p.Addrs()[1].String(), &tls.Config{InsecureSkipVerify: true})
	if err == nil {
		conn.Close()
		t.Fatal("TLS on the plain port")
	}
	p.until("the connection is over", func() bool { return p.openConnections() == 0 })
	logs := p.logs.String()
	if said := strings.Count(logs, "a miner speaks TLS on a port without TLS"); said != 1 || strings.Count(logs, "level=WARN") != 1 || strings.Contains(logs, "connection closed") {
		t.Errorf("it is said %d times:\n%s", said, logs)
	}
}

// One byte now and then is no sign of life.
func TestASlowLineTimesOut(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.Stratum.Timeout = util.Duration(50 * time.Millisecond)
	p.start()
	c := p.dial()
	for {
		if _, err := io.WriteString(c.conn, "x"); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
}

// silent is a connection that sends what it is told to; else its deadline passes.
type silent struct {
	net.Conn
	reads []func() string
	all   int
}

func (c *silent) SetReadDeadline(time.Time) error { return nil }

func (c *silent) Read(b []byte) (int, error) {
	text := c.reads[c.all]()
	if c.all++; text == "" {
		return 0, os.ErrDeadlineExceeded
	}
	return copy(b, text), nil
}

// A miner who has nothing to say is there as long as he takes new work.
func TestWhoTakesWorkStays(t *testing.T) {
	var s *session
	nothing := func() string { return "" }
	job := func() string { s.heard.Add(1); return "" }
	half := func() string { return "{" }
	for _, tc := range []struct {
		name  string
		reads []func() string
	}{
		{"without a job he goes", []func() string{nothing}},
		{"with each job he stays", []func() string{job, job, job, nothing}},
		{"half a line is no sign of life", []func() string{job, half, job}},
		{"nor are empty lines, for ever", []func() string{func() string { return "\n" }, nothing}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn := &silent{reads: tc.reads}
			s = &session{proxy: new(Proxy), conn: conn, buf: make([]byte, lineFirst)}
			if err := s.serve(t.Context()); !errors.Is(err, os.ErrDeadlineExceeded) || conn.all != len(tc.reads) {
				t.Errorf("ended with %v after %d reads, want %d", err, conn.all, len(tc.reads))
			}
		})
	}
}

// Whoever does not read is cut off; the others have their work meanwhile.
func TestAMinerWhoDoesNotReadIsCutOff(t *testing.T) {
	p := newPool(t, 1).start()
	slow, quick := p.login(), p.login()
	_ = slow.conn.(*net.TCPConn).SetReadBuffer(1024)
	for height := uint64(101); ; height++ {
		p.nodes[0].give(height, impossible)
		if got := quick.read(); !strings.Contains(got, p.job(height).Header.Hex()) {
			t.Fatalf("at height %d the quick one reads %s", height, got)
		}
		if len(p.sessions.list()) == 1 {
			return
		}
	}
}

// An answer that its miner does not take keeps new work from nobody, and from him
// only until he takes it.
func TestNobodyWaitsForAnAnswerToAnother(t *testing.T) {
	p := newPool(t, 1).start()
	slow := p.login()
	answered := p.sessions.list()[0]
	quick := p.login()
	answered.mu.Lock()
	for height := range uint64(5) {
		p.nodes[0].give(101+height, impossible)
		if got := quick.read(); !strings.Contains(got, p.job(101+height).Header.Hex()) {
			t.Fatalf("the other one reads %s", got)
		}
	}
	p.until("he was passed over", answered.missed.Load)
	answered.unlock()
	if got := slow.read(); !strings.Contains(got, p.job(105).Header.Hex()) {
		t.Errorf("then he reads %s", got)
	}
}

// A connection that is accepted while the pool stops does not keep it.
func TestAConnectionThatComesAtTheEnd(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.Stratum.ProxyProtocol = true
	p.cfg.Stratum.Timeout = util.Duration(time.Hour)
	p.start()
	conn, err := net.Dial("tcp", p.Addrs()[1].String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	p.until("it is accepted", func() bool { return p.openConnections() == 1 })
	go func() {
		p.until("the pool stops", p.stopping.Load)
		_, _ = io.WriteString(conn, "PROXY TCP4 1.2.3.4 127.0.0.1 5555 8008\r\n") // it may be closed
	}()
	p.stop()
}

func TestConnectionsAboveTheLimitAreRefused(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.Stratum.MaxConn = 2
	p.start()
	a, b := p.dial(), p.dial()
	a.ask(`{"id":1,"method":"eth_getWork"}`)
	b.ask(`{"id":1,"method":"eth_getWork"}`)
	p.dial().closed()
	a.conn.Close()
	p.until("there is room", func() bool { return len(p.sessions.list()) == 1 })
	p.until("another may come", func() bool {
		conn, err := net.Dial("tcp", p.Addrs()[1].String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintln(conn, `{"id":1,"method":"eth_getWork"}`)
		_, err = bufio.NewReader(conn).ReadString('\n')
		return err == nil
	})
}

// Whoever only connects to the port of getwork takes no more places than there are.
func TestGetworkConnectionsAboveTheLimitAreRefused(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.Stratum.MaxConn = 2
	p.start()
	port := p.Addrs()[0]
	a, b := dial(t, port), p.dial()
	p.until("both are there", func() bool { return p.openConnections() == 2 })
	dial(t, port).closed()
	p.dial().closed()
	b.conn.Close()
	p.until("there is room", func() bool { return p.openConnections() == 1 })
	c := dial(t, port)
	c.send("POST /" + alice + " HTTP/1.1\r\nHost: pool\r\nContent-Length: 31\r\n\r\n" + `{"id":1,"method":"eth_getWork"}`)
	if got := c.read(); got != "HTTP/1.1 200 OK\r" {
		t.Errorf("then %q", got)
	}
	a.conn.Close()
	c.conn.Close()
	p.until("all places are free", func() bool { return p.openConnections() == 0 })
}

// Ports differ in difficulty, and one of them speaks TLS.
func TestPorts(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.Stratum.CertFile, p.cfg.Stratum.KeyFile = selfSigned(t)
	p.cfg.Stratum.Ports = []PortConfig{{Listen: "127.0.0.1:0", TLS: true, Difficulty: 64}}
	p.start()
	conn, err := tls.Dial("tcp", p.Addrs()[2].String(), &tls.Config{InsecureSkipVerify: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	c := &client{t: t, conn: conn, in: bufio.NewReader(conn)}
	for port, c := range map[int64]*client{64: c, 2: p.dial()} {
		if got := c.ask(`{"id":1,"method":"eth_getWork"}`); !strings.Contains(got, targetOf(port).Hex()) {
			t.Errorf("difficulty %d: %s", port, got)
		}
	}
	c.ask(`{"id":2,"method":"eth_submitLogin","params":["` + alice + `"]}`)
	p.nodes[0].give(101, impossible)
	if got := c.read(); !strings.Contains(got, p.job(101).Header.Hex()) {
		t.Errorf("pushed %s", got)
	}
}

func TestTheLoadBalancerTellsTheAddress(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.Stratum.ProxyProtocol = true
	p.cfg.Policy.Limits.Enabled, p.cfg.Policy.Limits.Limit, p.cfg.Policy.Limits.Grace = true, 1, 0
	p.start()
	for _, ip := range []string{"10.1.2.3", "10.1.2.4"} {
		c := p.dial()
		c.send("PROXY TCP4 " + ip + " 127.0.0.1 4000 8008\r")
		c.ask(`{"id":1,"method":"eth_getWork"}`)
		p.policy.mu.Lock()
		if r := p.policy.records[ip]; r == nil || r.connections != 1 {
			t.Errorf("%s is not known: %+v", ip, r)
		}
		p.policy.mu.Unlock()
	}
}

// The binary form of the header, too, as haproxy's send-proxy-v2 writes it.
func TestTheLoadBalancerTellsTheAddressInBinary(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.Stratum.ProxyProtocol = true
	p.start()
	c := p.dial()
	c.send("\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x0c" + "\x05\x06\x07\x08\x7f\x00\x00\x01\x0f\xa0\x1f\x48" + `{"id":1,"method":"eth_getWork"}`)
	if got := c.read(); !strings.Contains(got, p.job(100).Header.Hex()) {
		t.Errorf("answered %s", got)
	}
	if list := p.sessions.list(); len(list) != 1 || list[0].ip != "5.6.7.8" {
		t.Errorf("sessions are %+v", list)
	}
}

// Whoever is no load balancer of ours cannot tell us any address.
func TestOnlyTrustedLoadBalancersAreBelieved(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.Stratum.ProxyProtocol, p.cfg.TrustedProxies = true, []string{"127.0.0.2/32"}
	p.start()
	const header = "PROXY TCP4 5.6.7.8 127.0.0.1 4000 8008\r\n"
	stranger := p.dial()
	_, _ = io.WriteString(stranger.conn, header) // it may be closed already
	stranger.closed()
	friend, err := p.dialFrom("127.0.0.2")
	if err != nil {
		t.Fatal(err)
	}
	friend.in = bufio.NewReader(friend.conn)
	friend.send(header + `{"id":1,"method":"eth_getWork"}`)
	if got := friend.read(); !strings.Contains(got, p.job(100).Header.Hex()) {
		t.Errorf("answered %s", got)
	}
	if list := p.sessions.list(); len(list) != 1 || list[0].ip != "5.6.7.8" {
		t.Errorf("sessions are %+v", list)
	}
}

func TestTheReverseProxyTellsTheAddress(t *testing.T) {
	trusted, err := parseHops([]string{"10.0.0.0/8", "fc00::/7"})
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{cfg: Config{BehindReverseProxy: true}, trusted: trusted}
	for _, tc := range []struct {
		peer  string
		lines []string
		want  string
	}{
		{"10.0.0.1", nil, "10.0.0.1"},
		{"10.0.0.1", []string{"rubbish"}, "10.0.0.1"},
		{"10.0.0.1", []string{"9.9.9.9, 5.5.5.5"}, "5.5.5.5"},
		{"10.0.0.1", []string{"9.9.9.9", "5.5.5.5"}, "5.5.5.5"}, // the first is the miner's own invention
		{"10.0.0.1", []string{"9.9.9.9, 5.5.5.5:1234"}, "5.5.5.5"},
		{"10.0.0.1", []string{"[2001:db8::1]:1234"}, "2001:db8::1"},
		{"10.0.0.1", []string{"2001:db8::1"}, "2001:db8::1"},
		{"10.0.0.1", []string{"9.9.9.9, 5.5.5.5, 10.0.0.2"}, "5.5.5.5"}, // two hops
		{"10.0.0.1", []string{"5.5.5.5, fd00::2, ::ffff:10.0.0.3"}, "5.5.5.5"},
		{"10.0.0.1", []string{"10.0.0.3, 10.0.0.2"}, "10.0.0.3"}, // a miner in our own network
		{"10.0.0.1", []string{"5.5.5.5, unknown, 10.0.0.2"}, "10.0.0.2"},
		{"192.0.2.1", []string{"5.5.5.5"}, "192.0.2.1"}, // no proxy of ours
	} {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.RemoteAddr = tc.peer + ":4000"
		r.Header["X-Forwarded-For"] = tc.lines
		if got := p.clientIP(r); got != tc.want {
			t.Errorf("%q is taken for %s, want %s", tc.lines, got, tc.want)
		}
	}
}

func TestGetworkOverHTTP(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.BehindReverseProxy = true
	p.start()
	w := p.job(100)
	ask := func(method, path, body string) (int, string) {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, "http://"+p.Addrs()[0].String()+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", "1.1.1.1, 5.9.8.7")
		res, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		return res.StatusCode, strings.TrimSpace(string(text))
	}
	t.Cleanup(http.DefaultTransport.(*http.Transport).CloseIdleConnections)
	nonce, d := p.share(w, 2, 0, 0)
	second, e := p.share(w, 2, 0, nonce+1)
	for _, tc := range []struct {
		name, method, path, body string
		status                   int
		answer                   string
	}{
		{"work", "POST", "/" + alice + "/rig", `{"id":1,"method":"eth_getWork"}`, 200, fmt.Sprintf(`{"id":1,"jsonrpc":"2.0","result":["%s","%s","%s"]}`, w.Header, w.Seed, targetOf(2))},
		{"the block", "POST", "/" + alice, `{"id":1,"method":"eth_getBlockByNumber","params":["pending",false]}`, 200, `{"id":1,"jsonrpc":"2.0","result":{"difficulty":"0x1000000000000000","number":"0x64"}}`},
		{"a share", "POST", "/" + alice + "/rig", submitWork(2, nonce, w, d), 200, `{"id":2,"jsonrpc":"2.0","result":true}`},
		{"the same again", "POST", "/" + alice + "/rig", submitWork(2, nonce, w, d), 200, `{"id":2,"jsonrpc":"2.0","result":false,"error":{"code":22,"message":"Duplicate share"}}`},
		{"a login with a rig", "POST", "/" + alice + ".rig2", submitWork(2, second, w, e), 200, `{"id":2,"jsonrpc":"2.0","result":true}`},
		{"a worker that is no text", "POST", "/" + alice, `{"id":3,"worker":7,"method":"eth_submitHashrate"}`, 200, `{"id":3,"jsonrpc":"2.0","result":true}`},
		{"a hashrate", "POST", "/" + alice, `{"id":3,"method":"eth_submitHashrate"}`, 200, `{"id":3,"jsonrpc":"2.0","result":true}`},
		{"another method", "POST", "/" + alice, `{"id":3,"method":"eth_coinbase"}`, 200, `{"id":3,"jsonrpc":"2.0","result":null,"error":{"code":-3,"message":"Method not found"}}`},
		{"no login", "POST", "/me", `{"id":3,"method":"eth_getWork"}`, 200, `{"id":3,"jsonrpc":"2.0","result":null,"error":{"code":-1,"message":"Invalid login"}}`},
		{"no request", "POST", "/" + alice, `x`, 200, `{"id":null,"jsonrpc":"2.0","result":null,"error":{"code":-1,"message":"Malformed request"}}`},
		{"GET", "GET", "/" + alice, ``, 405, "want POST with a JSON-RPC request"},
		{"a body that is too long", "POST", "/" + alice, strings.Repeat(" ", 300), 417, "the request is too long"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if status, answer := ask(tc.method, tc.path, tc.body); status != tc.status || answer != tc.answer {
				t.Errorf("%d %s\nwant %d %s", status, answer, tc.status, tc.answer)
			}
		})
	}
	if p.redis.Do(t, "HGET", "eth:workers:"+alice, "rig2") == nil {
		t.Error("the rig in the login is not known")
	}
	p.policy.mu.Lock()
	defer p.policy.mu.Unlock()
	if p.policy.records["5.9.8.7"] == nil || p.policy.records["1.1.1.1"] != nil {
		t.Error("the last hop is not taken for the miner's address")
	}
}

// Health checks and what is no header of a load balancer: the one is served as the
// balancer's own, the other hung up on, and nothing is left behind.
func TestHeadersOfLoadBalancers(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.Stratum.ProxyProtocol = true
	p.start()
	const sign, here = "\r\n\r\n\x00\r\nQUIT\n", "\x05\x06\x07\x08\x7f\x00\x00\x01\x0f\xa0\x1f\x48"
	for _, tc := range []struct{ name, header, ip string }{
		{"a local connection", sign + "\x20\x00\x00\x00", "127.0.0.1"},
		{"a local one with an address, which is to be ignored", sign + "\x20\x11\x00\x0c" + here, "127.0.0.1"},
		{"an unknown one", "PROXY UNKNOWN\r\n", "127.0.0.1"},
		{"more than an address", sign + "\x21\x11\x00\x13" + here + "\xe0\x00\x04more", "5.6.7.8"},
		{"no address", sign + "\x21\x00\x00\x00", ""},
		{"half a header", sign + "\x21\x11\x00\xff" + here, ""},
		{"half an address", sign + "\x21\x11\x00\x04\x05\x06\x07\x08", ""},
		{"another version", sign + "\x31\x11\x00\x0c" + here, ""},
		{"no header", "", ""},
		{"an address that is none", "PROXY TCP4 a.b.c.d 127.0.0.1 1 1\r\n", ""},
		{"a line without end", "PROXY " + strings.Repeat("x", 300), ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := p.dial()
			_, _ = io.WriteString(c.conn, tc.header+`{"id":1,"method":"eth_getWork"}`+"\n") // it may be closed already
			_ = c.conn.(*net.TCPConn).CloseWrite()
			answer, err := c.in.ReadString('\n')
			if (err == nil) != (tc.ip != "") || err == nil && !strings.Contains(answer, p.job(100).Header.Hex()) {
				t.Errorf("answered %q, %v", answer, err)
			}
			p.until("the connection is over", func() bool { return p.openConnections() == 0 })
			if ended := fmt.Sprintf("ip=%s why=EOF", tc.ip); tc.ip != "" && !strings.Contains(p.logs.String(), ended) {
				t.Errorf("nobody ended as %q", ended)
			}
		})
	}
}
