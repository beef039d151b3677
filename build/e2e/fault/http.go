package fault

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
)

// HTTP starts a proxy before the JSON-RPC server at target, an http URL. It
// ends with the test.
//
// A request, once delivered, runs to its end in the target, also if its
// sender has left. Each goes by a connection of its own, because Go's client
// would send some of them twice when a kept connection breaks.
func HTTP(t testing.TB, target string) *Proxy {
	t.Helper()
	base, err := url.Parse(target)
	if err != nil {
		t.Fatalf("fault proxy before %q: %v", target, err)
	}
	p, l := newProxy(t, "http")
	h := &httpProxy{Proxy: p, base: base, out: &http.Transport{DisableKeepAlives: true, DisableCompression: true}}
	srv := &http.Server{
		Handler:   h,
		ErrorLog:  log.New(io.Discard, "", 0),
		ConnState: h.track,
	}
	h.running.Go(func() { _ = srv.Serve(l) }) // ends with Close, and says so
	p.shut = func() {
		_ = srv.Close() // there is nothing to be done about it
		h.running.Wait()
	}
	return p
}

type httpProxy struct {
	*Proxy
	base    *url.URL
	out     *http.Transport
	running sync.WaitGroup // Serve and the connections
}

func (h *httpProxy) track(_ net.Conn, s http.ConnState) {
	switch s {
	case http.StateNew:
		h.running.Add(1)
	case http.StateClosed:
		h.running.Done()
	}
}

// ServeHTTP is one message from its arrival to its answer.
func (h *httpProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		breakOff()
	}
	m := Message{Name: r.Method + " " + r.URL.Path, Body: body}
	calls, _ := parseRPC(body)
	for _, c := range calls {
		m.Args = append(m.Args, c.Method)
	}
	if len(m.Args) > 0 {
		m.Name = strings.Join(m.Args, ",")
	}
	a := h.next(&m)
	a.begin()
	gone := r.Context().Done()
	if a.kind == hang && !a.after && !h.wait(a.release, gone) {
		breakOff()
	}
	var header http.Header
	var ans answer
	if a.delivers() {
		header, ans, err = h.ask(r, body)
	}
	switch {
	case a.kind == cut:
		a.end()
		breakOff()
	case err != nil:
		breakOff() // to the client the node is down, as it is
	case a.kind == hang && a.after:
		if !h.wait(a.release, gone) {
			breakOff()
		}
	case a.kind == reply:
		ans = a.answer(m)
		header = http.Header{"Content-Type": {ans.contentType}}
	}
	for k, v := range header {
		w.Header()[k] = v
	}
	w.WriteHeader(ans.status)
	_, _ = w.Write(ans.body) // the client may have left
}

// breakOff closes the connection without a word to the client.
func breakOff() { panic(http.ErrAbortHandler) }

// ask delivers the request and reads its whole answer.
func (h *httpProxy) ask(r *http.Request, body []byte) (http.Header, answer, error) {
	to := *h.base
	to.Path = strings.TrimSuffix(to.Path, "/") + r.URL.Path
	to.RawQuery = r.URL.RawQuery
	req, err := http.NewRequestWithContext(h.ctx, r.Method, to.String(), bytes.NewReader(body))
	if err != nil {
		return nil, answer{}, err
	}
	req.Header = ownHeader(r.Header)
	resp, err := h.out.RoundTrip(req)
	if err != nil {
		return nil, answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, answer{}, err
	}
	return ownHeader(resp.Header), answer{status: resp.StatusCode, body: b}, nil
}

// ownHeader leaves out what concerns one connection and not the message (RFC
// 9110, section 7.6.1).
func ownHeader(h http.Header) http.Header {
	h = h.Clone()
	for _, k := range []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"} {
		h.Del(k)
	}
	return h
}

// call is what the proxy wants to know of a JSON-RPC 2.0 request.
type call struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
}

// parseRPC reads one request or a batch. What is neither has no calls.
func parseRPC(body []byte) (calls []call, batch bool) {
	if json.Unmarshal(body, &calls) == nil {
		return calls, true
	}
	var c call
	if json.Unmarshal(body, &c) != nil || c.Method == "" {
		return nil, false
	}
	return []call{c}, false
}
