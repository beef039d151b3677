package fault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"
)

// node is a JSON-RPC server whose every call has an effect: it counts.
type node struct {
	*httptest.Server
	effects   atomic.Int64
	abandoned atomic.Int64  // calls whose sender left before the answer
	hold      chan struct{} // the answer to "slow" waits until it is closed
}

func startNode(t *testing.T) *node {
	t.Helper()
	n := &node{hold: make(chan struct{})}
	n.Server = httptest.NewServer(n)
	t.Cleanup(n.Close)
	return n
}

func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	count := n.effects.Add(1)
	calls, batch := parseRPC(body)
	if len(calls) == 1 && calls[0].Method == "slow" {
		<-n.hold
		if r.Context().Err() != nil {
			n.abandoned.Add(1)
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Path", r.URL.String())
	w.Header().Set("X-Header", r.Header.Get("X-Header"))
	if batch {
		_, _ = fmt.Fprintf(w, `"a batch of %d"`, len(calls))
		return
	} else if len(calls) == 1 && calls[0].Method == "echo" {
		_, _ = w.Write(body)
		return
	}
	_, _ = fmt.Fprintf(w, `{"jsonrpc":"2.0","id":1,"result":%d}`, count)
}

// browser is a client that keeps its connections as the pool's does.
func browser(t *testing.T) *http.Client {
	t.Helper()
	tr := &http.Transport{}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, Timeout: patience}
}

// post returns status and body, or "" for a broken connection.
func post(t *testing.T, c *http.Client, url, body string) (int, string) {
	t.Helper()
	resp, err := c.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		return 0, ""
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Errorf("half an answer to %s: %q, %v", body, b, err)
	}
	return resp.StatusCode, string(b)
}

func rpc(method string) string {
	return fmt.Sprintf(`{"jsonrpc":"2.0","id":7,"method":%q,"params":[]}`, method)
}

func TestEachRequestIsOneMessage(t *testing.T) {
	n := startNode(t)
	p := HTTP(t, n.URL+"/base/")
	c := browser(t)
	post(t, c, p.URL(), rpc("eth_blockNumber"))
	if _, got := post(t, c, p.URL(), "["+rpc("eth_a")+","+rpc("eth_b")+"]"); got != `"a batch of 2"` {
		t.Errorf("the batch was answered %s", got)
	}
	post(t, c, p.URL()+"/x", "no JSON")
	post(t, c, p.URL(), "")
	want := []string{"eth_blockNumber", "eth_a,eth_b", "POST /x", "POST /"}
	if got := p.Messages(); !slices.Equal(got, want) {
		t.Errorf("Messages = %q, want %q", got, want)
	}
	if p.Count() != 4 || n.effects.Load() != 4 {
		t.Errorf("Count = %d and %d effects, want 4", p.Count(), n.effects.Load())
	}
}

func TestRequestAndAnswerPassUnchanged(t *testing.T) {
	n := startNode(t)
	p := HTTP(t, n.URL+"/base/")
	body := fmt.Sprintf(`{"id":1,"method":"echo","params":[%q]}`, strings.Repeat("x", 16<<20))
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, p.URL()+"/v1?key=a%20b", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("X-Header", "kept")
	resp, err := browser(t).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != body {
		t.Errorf("%d bytes came back as %d, %v", len(body), len(got), err)
	}
	for k, want := range map[string]string{"X-Path": "/base/v1?key=a%20b", "X-Header": "kept", "Content-Type": "application/json"} {
		if got := resp.Header.Get(k); got != want {
			t.Errorf("%s = %q, want %q", k, got, want)
		}
	}
}

func TestAtCutsAConversationAtEveryRequest(t *testing.T) {
	for at := 1; at <= 3; at++ {
		for _, phase := range []Phase{BeforeDelivery, AfterEffect} {
			t.Run(fmt.Sprintf("%d %s", at, phase), func(t *testing.T) {
				n := startNode(t)
				p := HTTP(t, n.URL)
				c := browser(t)
				var then int64
				fired := p.At(at, phase, func() { then = n.effects.Load() })
				for i := 1; i <= 3; i++ {
					status, body := post(t, c, p.URL(), rpc("eth_x"))
					if broken := body == ""; broken != (i == at) {
						t.Errorf("request %d was answered %d %q", i, status, body)
					}
				}
				await(t, "the fault", fired)
				want := int64(at - 1)
				if phase == AfterEffect {
					want = int64(at)
				}
				if then != want {
					t.Errorf("%d effects when the fault was called, want %d", then, want)
				}
				if want = 3; phase == BeforeDelivery {
					want = 2
				}
				if got := n.effects.Load(); got != want {
					t.Errorf("%d effects afterwards, want %d", got, want)
				}
			})
		}
	}
}

func TestAnswersOfABadNode(t *testing.T) {
	for _, tc := range []struct {
		name    string
		action  Action
		body    string
		status  int
		want    string
		effects int64
	}{
		{"pass", Pass, rpc("x"), 200, `{"jsonrpc":"2.0","id":1,"result":1}`, 1},
		{"drop", Drop, rpc("x"), 0, "", 0},
		{"lose the reply", LoseReply, rpc("x"), 0, "", 1},
		{"null", NullReply, rpc("x"), 200, `{"jsonrpc":"2.0","id":7,"result":null}`, 0},
		{"a hash of nothing", ZeroHash, rpc("x"), 200, `{"jsonrpc":"2.0","id":7,"result":"0x0000000000000000000000000000000000000000000000000000000000000000"}`, 0},
		{"a result", ReplyJSON(map[string]int{"a": 1}), rpc("x"), 200, `{"jsonrpc":"2.0","id":7,"result":{"a":1}}`, 0},
		{"an error", ReplyError(-32000, "nonce too low"), rpc("x"), 200, `{"jsonrpc":"2.0","id":7,"error":{"code":-32000,"message":"nonce too low"}}`, 0},
		{"an id that is a string", NullReply, `{"id":"a","method":"x"}`, 200, `{"jsonrpc":"2.0","id":"a","result":null}`, 0},
		{"no id", NullReply, `{"method":"x"}`, 200, `{"jsonrpc":"2.0","id":null,"result":null}`, 0},
		{"no request at all", NullReply, `garbage`, 200, `{"jsonrpc":"2.0","id":null,"result":null}`, 0},
		{"each of a batch", NullReply, `[{"id":1,"method":"a"},{"id":2,"method":"b"}]`, 200, `[{"jsonrpc":"2.0","id":1,"result":null},{"jsonrpc":"2.0","id":2,"result":null}]`, 0},
		{"bytes", Reply([]byte(`{"jsonrpc"`)), rpc("x"), 200, `{"jsonrpc"`, 0},
		{"a page for people", HTML500, rpc("x"), 500, "<html><body><h1>500 Internal Server Error</h1></body></html>\n", 0},
		{"a page for people after the effect", HTML500.AfterEffect(), rpc("x"), 500, "<html><body><h1>500 Internal Server Error</h1></body></html>\n", 1},
		{"a hash of nothing after the effect", ZeroHash.AfterEffect(), rpc("x"), 200, `{"jsonrpc":"2.0","id":7,"result":"0x0000000000000000000000000000000000000000000000000000000000000000"}`, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := startNode(t)
			p := HTTP(t, n.URL)
			c := browser(t)
			p.Every(func(m Message) Action {
				if string(m.Body) != tc.body {
					t.Errorf("the hook got %q, want %q", m.Body, tc.body)
				}
				return tc.action
			})
			status, got := post(t, c, p.URL(), tc.body)
			if status != tc.status || got != tc.want {
				t.Errorf("the client saw %d %s\nwant %d %s", status, got, tc.status, tc.want)
			}
			if n.effects.Load() != tc.effects {
				t.Errorf("%d effects, want %d", n.effects.Load(), tc.effects)
			}
			p.Every(nil)
			if status, _ := post(t, c, p.URL(), tc.body); status != 200 {
				t.Errorf("without the hook the client sees %d", status)
			}
		})
	}
}

func TestHTTPHang(t *testing.T) {
	for _, tc := range []struct {
		name    string
		action  func(<-chan struct{}) Action
		effects int64 // while it hangs
	}{
		{"before delivery", Hang, 0},
		{"after effect", func(c <-chan struct{}) Action { return Hang(c).AfterEffect() }, 1},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := startNode(t)
			p := HTTP(t, n.URL)
			c := browser(t)
			release := make(chan struct{})
			p.Every(func(m Message) Action {
				if m.Name == "stuck" {
					return tc.action(release)
				}
				return Pass
			})
			var answers sync.WaitGroup
			var status int
			answers.Go(func() { status, _ = post(t, c, p.URL(), rpc("stuck")) })
			eventually(t, "the request arrives", func() bool { return p.Count() == 1 && n.effects.Load() == tc.effects })
			if status, _ := post(t, c, p.URL(), rpc("free")); status != 200 {
				t.Errorf("another request was answered %d", status)
			}
			if got := n.effects.Load(); got != tc.effects+1 {
				t.Errorf("%d effects while one hangs, want %d", got, tc.effects+1)
			}
			close(release)
			answers.Wait()
			if status != 200 || n.effects.Load() != 2 {
				t.Errorf("released, it was answered %d and there are %d effects", status, n.effects.Load())
			}
		})
	}
}

func TestHTTPHangEndsWithTheClientOrTheProxy(t *testing.T) {
	for name, end := range map[string]func(net.Conn, *Proxy){
		"the client leaves": func(c net.Conn, _ *Proxy) { _ = c.Close() },
		"the proxy closes":  func(_ net.Conn, p *Proxy) { p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			n := startNode(t)
			ignore := goleak.IgnoreCurrent()
			p := HTTP(t, n.URL)
			p.Every(func(Message) Action { return Hang(nil) })
			conn, err := net.Dial("tcp", p.Addr())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			body := rpc("x")
			_, _ = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			eventually(t, "the request arrives", func() bool { return p.Count() == 1 })
			eventually(t, "it hangs", func() bool { return running(holding) })
			end(conn, p)
			eventually(t, "it hangs no more", func() bool { return !running(holding) })
			p.Close()
			if n.effects.Load() != 0 {
				t.Error("the request was delivered")
			}
			if err := goleak.Find(ignore); err != nil {
				t.Error(err)
			}
		})
	}
}

// A node that has begun to work does not stop because the pool was killed.
func TestDeliveredRequestOutlivesItsClient(t *testing.T) {
	n := startNode(t)
	p := HTTP(t, n.URL)
	conn, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	fired := p.At(1, AfterEffect, nil)
	body := rpc("slow")
	_, _ = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	eventually(t, "the request is delivered", func() bool { return n.effects.Load() == 1 })
	_ = conn.Close()
	for range 20 { // the proxy has other things to do, and time to notice
		post(t, browser(t), p.URL(), rpc("x"))
	}
	if !pending(fired) {
		t.Error("the fault came before the node's answer")
	}
	close(n.hold)
	await(t, "the fault", fired)
	if n.abandoned.Load() != 0 {
		t.Error("the request was taken back")
	}
}

func TestNodeThatIsDown(t *testing.T) {
	n := startNode(t)
	p := HTTP(t, n.URL)
	n.Close()
	if status, body := post(t, browser(t), p.URL(), rpc("x")); status != 0 {
		t.Errorf("the client saw %d %s, want a broken connection", status, body)
	}
	fired := p.At(2, AfterEffect, nil)
	post(t, browser(t), p.URL(), rpc("x"))
	await(t, "the fault", fired)
}

// Many clients, cut at random: the node did exactly what the hook let through.
func TestManyRequestsEachEffectOnce(t *testing.T) {
	n := startNode(t)
	p := HTTP(t, n.URL)
	var through int64 // the hook is called for one message at a time
	p.Every(func(m Message) Action {
		switch m.N % 7 {
		case 0:
			return Drop
		case 2:
			return HTML500
		case 3:
			through++
			return LoseReply
		default:
			through++
			return Pass
		}
	})
	c := browser(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				post(t, c, p.URL(), rpc("x"))
			}
		})
	}
	wg.Wait()
	p.Close()
	if n.effects.Load() != through {
		t.Errorf("%d effects, want %d", n.effects.Load(), through)
	}
	if p.Count() != 400 {
		t.Errorf("%d messages of 400 requests: somebody repeats", p.Count())
	}
}

func TestHTTPSurvivesAFaultThatEndsItsGoroutine(t *testing.T) {
	n := startNode(t)
	p := HTTP(t, n.URL)
	fired := p.At(1, BeforeDelivery, runtime.Goexit) // as t.FailNow does
	if status, body := post(t, browser(t), p.URL(), rpc("x")); status != 0 {
		t.Errorf("the client saw %d %s", status, body)
	}
	await(t, "the fault", fired)
	p.Close()
}

func TestCloseOfHTTPLeavesNothingBehind(t *testing.T) {
	n := startNode(t)
	ignore := goleak.IgnoreCurrent()
	p := HTTP(t, n.URL)
	conn, err := net.Dial("tcp", p.Addr()) // and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := browser(t)
	post(t, c, p.URL(), rpc("x"))
	p.Close()
	p.Close() // again is no error
	c.CloseIdleConnections()
	if err := goleak.Find(ignore); err != nil {
		t.Error(err)
	}
}

func TestReplyJSONIsWhatItIsGiven(t *testing.T) {
	a := ReplyJSON([]string{"a"})
	got := a.answer(Message{Body: []byte(rpc("x"))}).body
	if !json.Valid(got) || !bytes.Contains(got, []byte(`"result":["a"]`)) {
		t.Errorf("ReplyJSON answers %s", got)
	}
	b := []byte("+OK\r\n")
	r := Reply(b)
	b[1] = 'X'
	if got := r.answer(Message{}).body; string(got) != "+OK\r\n" {
		t.Errorf("Reply answers %q once its argument was changed", got)
	}
}
