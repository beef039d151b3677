package api

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// compatible are the fields of the existing pools with their JSON types, as their
// pages and phone apps rely on them: n number, s string, b boolean, [] list, {}
// object whose keys are data.
const compatible = `
stats nodes[].name:s nodes[].height:s nodes[].difficulty:s nodes[].lastBeat:s now:n stats.lastBlockFound:n stats.roundShares:n hashrate:n
stats minersTotal:n maturedTotal:n immatureTotal:n candidatesTotal:n poolCharts[].x:n poolCharts[].hashrate:n poolCharts[].minersOnline:n
miners now:n miners{}.lastBeat:n miners{}.hr:n miners{}.offline:b hashrate:n minersTotal:n
blocks maturedTotal:n immatureTotal:n candidatesTotal:n luck.3.luck:? luck{}.luck:n luck{}.uncleRate:n luck{}.orphanRate:n
blocks matured[].height:n matured[].timestamp:n matured[].difficulty:n matured[].shares:n matured[].uncle:b matured[].uncleHeight:n matured[].orphan:b matured[].hash:s matured[].reward:s
blocks immature[].height:n immature[].hash:s immature[].reward:s candidates[].height:n candidates[].timestamp:n candidates[].difficulty:n candidates[].shares:n candidates[].uncle:b candidates[].orphan:b
payments payments[].timestamp:n payments[].tx:s payments[].address:s payments[].amount:n paymentsTotal:n
finders now:n finders[].address:s finders[].blocks:n
account-alice stats.balance:n stats.pending:n stats.paid:n stats.immature:n stats.lastShare:n stats.blocksFound:n
account-alice payments[].timestamp:n payments[].tx:s payments[].amount:n paymentsTotal:n roundShares:n workersTotal:n workersOnline:n workersOffline:n
account-alice workers{}.lastBeat:n workers{}.hr:n workers{}.offline:b workers{}.hr2:n hashrate:n currentHashrate:n pageSize:n charts[].x:n charts[].hashrate:n`

func TestClientsOfTheExistingPoolsFindTheirFields(t *testing.T) {
	p := newPool(t)
	world(p)
	p.cycle()
	for line := range strings.SplitSeq(strings.TrimSpace(compatible), "\n") {
		words := strings.Fields(line)
		for _, r := range routesShown {
			if r.name != words[0] {
				continue
			}
			var body any
			p.ok(json.Unmarshal(p.get(r.path).Body.Bytes(), &body))
			for _, word := range words[1:] {
				path, kind, _ := strings.Cut(word, ":")
				if got := kindAt(body, path); got != kind && kind != "?" {
					t.Errorf("%s: %s is %q, want %q", r.path, path, got, kind)
				}
			}
		}
	}
}

// kindAt is the JSON type at a path.
func kindAt(v any, path string) string {
	if path == "" {
		switch v.(type) {
		case float64:
			return "n"
		case string:
			return "s"
		case bool:
			return "b"
		}
		return fmt.Sprintf("%T", v)
	}
	name, rest, _ := strings.Cut(path, ".")
	plain := strings.TrimRight(name, "[]{}")
	m, ok := v.(map[string]any)
	if !ok {
		return "no object at " + path
	}
	next := m[plain]
	switch {
	case strings.HasSuffix(name, "[]"):
		list, ok := next.([]any)
		if !ok || len(list) == 0 {
			return "no list at " + path
		}
		next = list[0]
	case strings.HasSuffix(name, "{}"):
		all, _ := next.(map[string]any)
		next = nil
		for _, one := range all {
			next = one
		}
	}
	return kindAt(next, rest)
}

func TestBadInputIsAJSONErrorAtOnce(t *testing.T) {
	p := newPool(t)
	world(p)
	p.cycle()
	for _, tc := range []struct {
		name, method, path string
		status             int
		want               string
	}{
		{"an unknown route", "GET", "/api/nothing", 404, "there is no /api/nothing"},
		{"the API itself", "GET", "/api", 404, "there is no /api"},
		{"a slash too much", "GET", "/api/stats/", 404, "there is no"},
		{"a slash too much in between", "GET", "/api//stats", 404, "there is no"},
		{"a path with dots", "GET", "/api/../api/stats", 404, "there is no"},
		{"a login with a nought byte", "GET", "/api/accounts/0x%00", 400, "is no login"},
		{"a login that has no end", "GET", "/api/accounts/0x" + strings.Repeat("0", 1000), 400, "is no login"},
		{"a malformed login", "GET", "/api/accounts/0x12", 400, `"0x12" is no login`},
		{"a login without 0x", "GET", "/api/accounts/" + alice[2:], 400, "is no login"},
		{"a login with a script", "GET", "/api/accounts/%3Cscript%3E", 400, "is no login"},
		{"a path in a login", "GET", "/api/accounts/..%2f..%2fetc", 400, "is no login"},
		{"an unknown login", "GET", "/api/accounts/0x0000000000000000000000000000000000000000", 404, "no miner 0x0000"},
		{"payments of an unknown login", "GET", "/api/accounts/0x0000000000000000000000000000000000000000/payments", 404, "no such miner"},
		{"a table of an unknown login", "GET", "/api/accounts/0x0000000000000000000000000000000000000000/rewards.csv", 404, "no such miner"},
		{"a table of a malformed login", "GET", "/api/accounts/0x/payments.csv", 400, "is no login"},
		{"a limit that is none", "GET", "/api/miners?limit=ten", 400, `limit is "ten", want a whole number from 1 on`},
		{"a limit of nothing", "GET", "/api/payments?limit=0", 400, `limit is "0"`},
		{"a negative offset", "GET", "/api/blocks?offset=-1", 400, `offset is "-1", want a whole number from 0 on`},
		{"an offset beyond all numbers", "GET", "/api/blocks?offset=99999999999999999999", 400, "offset is"},
		{"an empty limit", "GET", "/api/accounts/" + alice + "/payments?limit=", 400, `limit is ""`},
		{"a query that cannot be read", "GET", "/api/miners?limit=%zz", 400, "the query cannot be read"},
		{"a page of an unknown login", "GET", "/api/accounts/0x0000000000000000000000000000000000000000/rewards?limit=5&offset=9", 404, "no such miner"},
		{"a page that is none of a login", "GET", "/api/accounts/" + alice + "/rewards?offset=1.5", 400, `offset is "1.5"`},
		{"a giant query", "GET", "/api/miners?limit=" + strings.Repeat("1", 3000), 414, "the address has 3"},
		{"somebody else's events", "GET", "/api/events?login=me", 400, `login is "me"`},
		{"another method", "POST", "/api/stats", 405, `the method is "POST", want GET`},
		{"another method where there is nothing", "PUT", "/api/nothing", 405, `the method is "PUT"`},
		{"another method of a page", "POST", "/", 405, `the method is "POST"`},
		{"another method of a login", "DELETE", "/api/accounts/" + alice, 405, "the method is"},
		{"a method nobody knows", "BREW", "/", 405, "the method is"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := p.ask(tc.method, tc.path)
			var e errorView
			if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || w.Code != tc.status || !strings.Contains(e.Error, tc.want) {
				t.Errorf("%d %s, want %d %s", w.Code, w.Body, tc.status, tc.want)
			}
			if h := w.Header(); h.Get("Content-Type") != "application/json; charset=utf-8" || h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Cache-Control") != "no-store" && tc.status != 405 ||
				strings.HasPrefix(tc.path, "/api") && h.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("headers %v", h)
			}
			if tc.status == 405 && w.Header().Get("Allow") != "GET, HEAD, OPTIONS" {
				t.Errorf("Allow is %q", w.Header().Get("Allow"))
			}
		})
	}
}

// TestWhatTheServerRefusesByItselfIsAJSONErrorToo: requests of which no handler
// hears.
func TestWhatTheServerRefusesByItselfIsAJSONErrorToo(t *testing.T) {
	p := newPool(t)
	p.cycle()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	p.ok(err)
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- serveHTTP(running, l, p.api, func() {}) }()
	defer func() {
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	for _, tc := range []struct {
		name, request string
		status        int
		want          string
	}{
		{"what is answered by us", "GET /api/stats HTTP/1.1\r\nHost: pool\r\nConnection: close\r\n\r\n", 200, `"hashrate":0`},
		{"a long query", "GET /api/miners?limit=" + strings.Repeat("1", 10_000) + " HTTP/1.1\r\nHost: pool\r\nConnection: close\r\n\r\n", 414, `{"error":"the address has 100`},
		{"a query without end", "GET /api/miners?limit=" + strings.Repeat("1", 1_000_000) + " HTTP/1.1\r\nHost: pool\r\n\r\n", 431, `{"error":"431 Request Header Fields Too Large"}`},
		{"headers without end", "GET /api/stats HTTP/1.1\r\nHost: pool\r\nX: " + strings.Repeat("x", 1_000_000) + "\r\n\r\n", 431, `{"error":"431 Request Header Fields Too Large"}`},
		{"no host", "GET /api/stats HTTP/1.1\r\n\r\n", 400, `{"error":"400 Bad Request: missing required Host header"}`},
		{"what is no request", "eth_getWork\r\n\r\n", 400, `{"error":"400 Bad Request"}`},
		{"what nobody can expect", "GET /api/stats HTTP/1.1\r\nHost: pool\r\nExpect: pigeon\r\n\r\n", 417, `{"error":"417 Expectation Failed"}`},
		{"an unknown protocol", "GET /api/stats HTTP/3.0\r\nHost: pool\r\n\r\n", 505, `{"error":"505 HTTP Version Not Supported: unsupported protocol version"}`},
		{"an unknown transfer", "GET /api/stats HTTP/1.1\r\nHost: pool\r\nTransfer-Encoding: pigeon\r\n\r\n", 501, `{"error":"Unsupported transfer encoding"}`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := net.Dial("tcp", l.Addr().String())
			p.ok(err)
			defer conn.Close()
			go func() { _, _ = io.WriteString(conn, tc.request) }() // the server may hang up in the middle
			r, err := http.ReadResponse(bufio.NewReader(conn), nil)
			p.ok(err)
			defer r.Body.Close()
			body, err := io.ReadAll(r.Body)
			if h := r.Header; err != nil || r.StatusCode != tc.status || !strings.Contains(string(body), tc.want) || !json.Valid(body) ||
				h.Get("Content-Type") != "application/json; charset=utf-8" || h.Get("Access-Control-Allow-Origin") != "*" {
				t.Errorf("%d %v %s, %v; want %d %s", r.StatusCode, h, body, err, tc.status, tc.want)
			}
		})
	}
}

func TestPagesOfListsAreBounded(t *testing.T) {
	p := newPool(t)
	world(p)
	p.cycle()
	for _, tc := range []struct {
		path, list string
		want       int
	}{
		{"/api/miners?limit=2", "list", 2},
		{"/api/miners?offset=2", "list", 1},
		{"/api/miners?limit=2&offset=2&unknown=1", "list", 1},
		{"/api/miners?limit=99999999", "list", 3},
		{"/api/miners?offset=3", "list", 0},
		{"/api/blocks?limit=1&offset=2", "matured", 1},
		{"/api/blocks?limit=1&offset=3", "matured", 0},
		{"/api/payments?limit=2&offset=1", "payments", 2},
		{"/api/payments?limit=2&offset=1", "pending", 1},
		{"/api/payments?limit=3&offset=4", "payments", 1},
		{"/api/payments?limit=3&offset=1000", "payments", 0},
		{"/api/accounts/" + alice + "/payments?offset=5", "payments", 0},
		{"/api/accounts/" + alice + "/rewards?offset=2", "rewards", 1},
		{"/api/accounts/" + alice + "/rewards?offset=3", "rewards", 0},
	} {
		var body map[string]any
		w := p.get(tc.path)
		p.ok(json.Unmarshal(w.Body.Bytes(), &body))
		if list, ok := body[tc.list].([]any); !ok || len(list) != tc.want {
			t.Errorf("%s: %s, want %d", tc.path, w.Body, tc.want)
		}
	}
	var miners minersView
	p.ok(json.Unmarshal(p.get("/api/miners?limit=2").Body.Bytes(), &miners))
	if miners.List[0].HR < miners.List[1].HR || len(miners.Miners) != 2 || miners.MinersTotal != 3 {
		t.Errorf("not by hashrate: %+v", miners)
	}
	if page, _, err := pageOf(httpRequest("/?limit=5000"), 10); err != nil || page.limit != pageMost {
		t.Errorf("a page has %d, %v", page.limit, err)
	}
}

func TestPagesBeyondMemoryComeFromTheBooks(t *testing.T) {
	p := newPool(t, func(c *Config, _ *Parts) { c.Payments = 2 })
	world(p)
	p.cycle()
	var all, page paymentsView
	p.ok(json.Unmarshal(p.get("/api/payments?limit=100").Body.Bytes(), &all), json.Unmarshal(p.get("/api/payments?limit=2&offset=1").Body.Bytes(), &page))
	if len(all.Payments) != 5 || len(page.Payments) != 2 || page.Payments[1] != all.Payments[2] || all.Payments[1].Status != paymentFinal || all.Payments[1].Block != 19_800 {
		t.Errorf("all %+v\npage %+v", all.Payments, page.Payments)
	}
}

func TestALoginIsFoundInAnyLetterCase(t *testing.T) {
	p := newPool(t)
	world(p)
	const frank = "0xFfffffffffffffffffffffffffffffffffff0006" // does not mine
	p.do("HSET", p.db.Keys.Miner(frank), "lastShare", 1)
	p.cycle()
	p.api.learn(ctx)
	for _, login := range []string{alice, bob, carol, frank} {
		for _, asked := range []string{login, strings.ToLower(login), "0x" + strings.ToUpper(login[2:]), strings.ToUpper(login), checksummed(login)} {
			var v accountView
			w := p.get("/api/accounts/" + asked)
			p.ok(json.Unmarshal(w.Body.Bytes(), &v))
			if v.Login != login || v.Stats["lastShare"] == 0 {
				t.Errorf("%s: %d %.200s", asked, w.Code, w.Body)
			}
		}
	}
}

func TestAnswersAreCompressedTaggedAndForEverybody(t *testing.T) {
	p := newPool(t)
	world(p)
	p.cycle()
	for _, path := range []string{"/api/stats", "/api/miners", "/api/blocks", "/api/payments", "/api/finders", "/api/accounts/" + alice, "/api/miners?limit=2", "/api/openapi.json"} {
		plain := p.get(path)
		h := plain.Header()
		tag := h.Get("ETag")
		if tag == "" || !strings.HasPrefix(h.Get("Cache-Control"), "public, max-age=") || h.Get("Vary") != "Accept-Encoding" || h.Get("Access-Control-Allow-Origin") != "*" ||
			h.Get("Content-Length") != fmt.Sprint(plain.Body.Len()) {
			t.Errorf("%s: headers %v", path, h)
		}
		if w := p.ask("GET", path, "If-None-Match", `"x", `+tag); w.Code != http.StatusNotModified || w.Body.Len() != 0 || w.Header().Get("ETag") != tag {
			t.Errorf("%s: known to the client, yet %d with %d bytes", path, w.Code, w.Body.Len())
		}
		if w := p.ask("GET", path, "If-None-Match", `"other"`); w.Code != http.StatusOK {
			t.Errorf("%s: unknown to the client, yet %d", path, w.Code)
		}
		if w := p.ask("HEAD", path); w.Code != http.StatusOK || w.Body.Len() != 0 || w.Header().Get("Content-Length") != h.Get("Content-Length") {
			t.Errorf("%s: HEAD %d with %d bytes", path, w.Code, w.Body.Len())
		}
		zipped := p.ask("GET", path, "Accept-Encoding", "br, gzip;q=0.8")
		if plain.Body.Len() < gzipLeast {
			continue
		}
		if n := len(zipped.Header()); n > 8 {
			t.Errorf("%s: %d headers, more than a small map holds: %v", path, n, zipped.Header())
		}
		if zipped.Header().Get("Content-Encoding") != "gzip" || zipped.Header().Get("Content-Length") != fmt.Sprint(zipped.Body.Len()) {
			t.Errorf("%s: not compressed: %v", path, zipped.Header())
			continue
		}
		r, err := gzip.NewReader(zipped.Body)
		p.ok(err)
		if body, err := io.ReadAll(r); err != nil || !bytes.Equal(body, plain.Body.Bytes()) {
			t.Errorf("%s: other bytes when compressed, %v", path, err)
		}
		for _, refusal := range []string{"gzip;q=0", "gzip; q=0.0", "identity"} {
			if w := p.ask("GET", path, "Accept-Encoding", refusal); w.Header().Get("Content-Encoding") != "" {
				t.Errorf("%s: compressed for %q", path, refusal)
			}
		}
	}
	if w := p.ask("OPTIONS", "/api/stats"); w.Code != http.StatusNoContent || w.Header().Get("Access-Control-Allow-Methods") != "GET, HEAD, OPTIONS" {
		t.Errorf("OPTIONS: %d %v", w.Code, w.Header())
	}
}

// TestMoneyIsShownAtOnceAndTheRestSoon: answers about a miner may be some cycles
// old, but not about money.
func TestMoneyIsShownAtOnceAndTheRestSoon(t *testing.T) {
	p := newPool(t)
	world(p)
	p.cycle()
	account := func(login string) (v accountView) {
		t.Helper()
		p.ok(json.Unmarshal(p.get("/api/accounts/"+login).Body.Bytes(), &v))
		return v
	}
	for _, login := range []string{alice, bob, carol, dave, eve} {
		account(login)
	}
	l, err := p.db.Acquire(ctx, "payouts token", "payouts token", 0)
	p.ok(err)
	for _, tc := range []struct {
		name, login string
		change      func()
		seen        func(accountView) bool
	}{
		{"a reward", bob, func() { p.book(bob, 7) }, func(v accountView) bool { return v.Stats["balance"]%10 == 7 }},
		{"a recipient that rejects", carol, func() { p.ok(l.Reject(ctx, carol, "no")) }, func(v accountView) bool { return v.Payout.Reason == reasonRejects }},
		{"a pause", alice, func() { p.ok(l.Note(ctx, "paused", "moving")) }, func(v accountView) bool { return v.Payout.Reason == reasonPaused }},
		{"the next session", alice, func() { p.ok(l.Note(ctx, "nextSession", 1_800_000_000)) }, func(v accountView) bool { return v.Payout.NextSession == 1_800_000_000 }},
		{"a block", alice, func() {
			_, err := p.db.Found(ctx, storage.FoundBlock{Share: storage.Share{Login: bob, Height: 20_003, Nonce: "0x00000000000000cc", Header: hash(5), Mix: hash(6)}, Time: p.now.Unix() + 1, Difficulty: 1})
			p.ok(err)
		}, func(v accountView) bool { return v.RoundShares == 0 }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.change()
			p.after(5 * time.Second)
			if v := account(tc.login); !tc.seen(v) {
				t.Errorf("not seen: %+v", v)
			}
		})
	}
	p.do("HSET", p.db.Keys.RoundCurrent(), alice, 12345)
	for cycles := 1; account(alice).RoundShares != 12345; cycles++ {
		if cycles > 2*accountCycles {
			t.Fatal("never shown")
		}
		p.after(5 * time.Second)
	}
}

func TestAReplicaThatTakesNoChartsIsReadAllTheSame(t *testing.T) {
	var log bytes.Buffer
	p := newPool(t)
	p.log = &log
	p.restart()
	world(p)
	p.cycle()
	p.do("CONFIG", "SET", "min-replicas-to-write", "1") // no write is taken
	p.after(10 * time.Minute)
	if !strings.Contains(log.String(), "chart lacks a point") {
		t.Errorf("the log is silent: %s", log.String())
	}
}

func TestNamesOfRigsAreDataAndNothingElse(t *testing.T) {
	p := newPool(t)
	world(p)
	p.cycle()
	w := p.get("/api/accounts/" + alice)
	if body := w.Body.String(); strings.ContainsAny(body, "<>") || !strings.Contains(body, `\u003cscript\u003e`) {
		t.Errorf("a name is markup in %s", body)
	}
	var v accountView
	p.ok(json.Unmarshal(w.Body.Bytes(), &v))
	if _, ok := v.Workers["<script>alert(1)</script>"]; !ok {
		t.Errorf("the name is lost: %v", v.Workers)
	}
}

func TestARedisThatGoesAwayAndComesBack(t *testing.T) {
	var log bytes.Buffer
	p := newPool(t, func(_ *Config, parts *Parts) {})
	p.log = &log
	p.restart()
	world(p)
	snap := p.srv.Snapshot()
	p.cycle()
	before, account := p.get("/api/stats").Body.String(), p.get("/api/accounts/"+alice).Body.String()

	p.srv.Kill()
	for range 3 {
		p.now = p.now.Add(5 * time.Second)
		p.api.cycle(ctx)
	}
	if p.api.Ready() == nil {
		t.Error("ready without Redis")
	}
	if got := p.get("/api/stats").Body.String(); got != before {
		t.Errorf("other statistics while Redis is away: %s", got)
	}
	if got := p.get("/api/accounts/" + alice).Body.String(); got != account {
		t.Errorf("another account while Redis is away: %s", got)
	}
	if w := p.get("/api/accounts/" + bob); w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "error") {
		t.Errorf("an account that cannot be read: %d %s", w.Code, w.Body)
	}
	for range csvMost { // it is answered without a turn
		p.api.csv <- struct{}{}
	}
	if w := p.get("/api/accounts/" + bob + "/payments.csv"); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "the books cannot be read") {
		t.Errorf("a table that cannot be read: %d %s", w.Code, w.Body)
	}
	p.srv.Restore(snap)
	p.after(5 * time.Second)
	var v poolView
	p.ok(json.Unmarshal(p.get("/api/stats").Body.Bytes(), &v))
	if v.Now != p.now.UnixMilli() || v.PaymentsTotal != 5 {
		t.Errorf("after Redis is back: %+v", v)
	}
	if w := p.get("/api/accounts/" + bob); w.Code != http.StatusOK {
		t.Errorf("after Redis is back: %d %s", w.Code, w.Body)
	}
	for _, line := range []string{"the statistics are not up to date", "the statistics are up to date again"} {
		if n := strings.Count(log.String(), line); n != 1 {
			t.Errorf("%q was logged %d times, want once:\n%s", line, n, log.String())
		}
	}
}

func TestBeforeTheFirstCycleThereIsNothingToShow(t *testing.T) {
	p := newPool(t)
	for _, path := range []string{"/api/stats", "/api/miners", "/api/blocks?limit=1", "/api/payments", "/api/finders", "/api/events", "/api/accounts/" + alice, "/api/accounts/" + alice + "/payments.csv"} {
		if w := p.get(path); w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), `{"error":"`) {
			t.Errorf("%s: %d %s", path, w.Code, w.Body)
		}
	}
	if p.api.Ready() == nil {
		t.Error("ready without a cycle")
	}
}

func TestARowThatCannotBeReadIsLeftOutAndTold(t *testing.T) {
	var log bytes.Buffer
	p := newPool(t)
	p.log = &log
	p.restart()
	world(p)
	k := p.db.Keys
	p.do("ZADD", k.Matured(), 1, "nonsense")
	p.do("ZADD", k.PaymentsAll(), p.now.Unix(), "0x12:"+alice)
	p.do("ZADD", k.Hashrate(), p.now.Unix()-60, "nonsense")
	p.do("HSET", k.Work(p.now.Unix()/60), "nonsense", "x")
	p.do("HSET", k.Credits(15000, hash(15000)), bob, "much")
	p.do("HSET", k.Skipped(), bob, "nonsense")
	p.do("HSET", k.Holds(), bob, "nonsense", carol, `{"user":"root","reason":"stolen address"}`)
	p.do("HSET", k.Finances(), "balance", "much")
	p.do("HSET", k.Meta(), "sessionDue", "many")
	p.cycle()
	var pool poolView
	if p.ok(json.Unmarshal(p.get("/api/stats").Body.Bytes(), &pool)); pool.Payouts.Liabilities != -1 {
		t.Errorf("finances that cannot be read make liabilities %d, want -1", pool.Payouts.Liabilities)
	}
	if rewards, _ := p.api.c.rewards.of(alice); len(rewards) != 3 {
		t.Errorf("another's credit that cannot be read leaves alice %d rewards, want 3", len(rewards))
	}
	var account accountView
	if p.ok(json.Unmarshal(p.get("/api/accounts/"+carol).Body.Bytes(), &account)); account.Payout.Reason != reasonHeld || account.Payout.Why != "stolen address" {
		t.Errorf("who is held is told %+v", account.Payout)
	}
	p.cycle()
	for _, what := range []string{k.Matured(), k.PaymentsAll(), k.Hashrate(), k.Work(p.now.Unix() / 60), k.Credits(15000, hash(15000)), k.Skipped(), k.Holds(), k.Finances(), k.Meta()} {
		if n := strings.Count(log.String(), what+" "); n != 1 {
			t.Errorf("%s was told %d times, want once:\n%s", what, n, log.String())
		}
	}
	// A type that is wrong is no empty list.
	p.do("DEL", k.Matured())
	p.do("SET", k.Matured(), "x")
	p.api.cycle(ctx)
	if err := p.api.Ready(); err == nil || !strings.Contains(err.Error(), "WRONGTYPE") {
		t.Errorf("a cycle over a key of the wrong type: %v", err)
	}
}

func TestTablesHaveEveryRow(t *testing.T) {
	p := newPool(t)
	world(p)
	for i := range 2500 {
		p.do("ZADD", p.db.Keys.Payments(alice), 1_690_000_000+i, fmt.Sprintf("%s:%d", hash(1000+i), 1_500_000_000+i))
	}
	for i := range storage.StatsChunk { // which cannot be read, and end nothing
		p.do("ZADD", p.db.Keys.Payments(alice), 1_680_000_000+i, fmt.Sprintf("row %d", i))
	}
	p.cycle()
	w := p.get("/api/accounts/" + checksummed(alice) + "/payments.csv")
	rows, err := csv.NewReader(w.Body).ReadAll()
	p.ok(err)
	if h := w.Header(); len(rows) != 2503 || h.Get("Content-Disposition") != `attachment; filename="payments-`+alice+`.csv"` || h.Get("Content-Type") != "text/csv; charset=utf-8" {
		t.Fatalf("%d rows, headers %v", len(rows), h)
	}
	if got := strings.Join(rows[1], ","); got != "2023-07-22T04:26:40Z,"+hash(1000)+",1.5,1500000000,final,," {
		t.Errorf("the first row is %s", got)
	}
	rows, err = csv.NewReader(p.get("/api/accounts/" + alice + "/rewards.csv").Body).ReadAll()
	p.ok(err)
	if len(rows) != 4 || strings.Join(rows[1][1:], ",") != "15000,"+hash(15000)+",block,0.297,297000000,matured" || rows[2][3] != kindUncle || rows[3][6] != stateImmature {
		t.Errorf("rewards are %v", rows)
	}
	rows, err = csv.NewReader(p.get("/api/accounts/" + bob + "/payments.csv").Body).ReadAll()
	p.ok(err)
	if got := strings.Join(rows[2], ","); len(rows) != 3 || got != "2023-11-14T21:58:30Z,"+hash(0xb7)+",0.6,600000000,final,19800,21000000000000" {
		t.Errorf("payments are %v", rows)
	}
	if w := p.ask("HEAD", "/api/accounts/"+bob+"/payments.csv"); w.Code != http.StatusOK || w.Body.Len() != 0 {
		t.Errorf("HEAD: %d %s", w.Code, w.Body)
	}
}

// TestABlockThatMaturesIsInTheTableOnce: the table is read in pieces, and the rest
// is of the last cycle.
func TestABlockThatMaturesIsInTheTableOnce(t *testing.T) {
	p := newPool(t)
	world(p)
	p.cycle()
	blocks, _, err := p.db.ImmatureBlocks(ctx, 1<<40)
	p.ok(err, p.db.Mature(ctx, blocks[0], p.now.Unix()))
	rows, err := csv.NewReader(p.get("/api/accounts/" + alice + "/rewards.csv").Body).ReadAll()
	p.ok(err)
	if len(rows) != 4 || rows[3][6] != stateMatured {
		t.Errorf("rewards are %v", rows)
	}
}

func TestTablesWaitForTheirTurn(t *testing.T) {
	p := newPool(t)
	world(p)
	for i := range storage.StatsChunk { // a small one does not wait
		p.do("ZADD", p.db.Keys.Payments(alice), 1_690_000_000+i, fmt.Sprintf("%s:%d", hash(1000+i), 1_500_000_000+i))
	}
	p.cycle()
	p.get("/api/accounts/" + alice + "/payments.csv") // it is known to be large from now on
	for range csvMost {
		p.api.csv <- struct{}{}
	}
	gone, leave := context.WithCancel(ctx)
	leave()
	w := httptest.NewRecorder()
	p.api.ServeHTTP(w, httpRequest("/api/accounts/"+alice+"/payments.csv").WithContext(gone))
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), `{"error":"too many tables`) {
		t.Errorf("who goes away while waiting is answered %d %s", w.Code, w.Body)
	}
	answered := make(chan int)
	go func() { answered <- p.get("/api/accounts/" + alice + "/payments.csv").Code }()
	<-p.api.csv // one has ended
	if code := <-answered; code != http.StatusOK {
		t.Errorf("the next one is answered %d", code)
	}
}

func TestPagesAreServedWithAStrictPolicy(t *testing.T) {
	files := fstest.MapFS{
		"index.html":               {Data: []byte("<!doctype html>" + strings.Repeat("pool ", 200))},
		"favicon.svg":              {Data: []byte("<svg/>")},
		"assets/main-7F3KX2QA.js":  {Data: []byte("let a")},
		"assets/main-7F3KX2QA.css": {Data: []byte("a{}")},
	}
	p := newPool(t, func(_ *Config, parts *Parts) { parts.Pages = files })
	for _, tc := range []struct{ path, kind, cache, part string }{
		{"/", "text/html", "no-cache", "doctype"},
		{"/index.html", "text/html", "no-cache", "doctype"},
		{"//index.html", "text/html", "no-cache", "doctype"},
		{"/favicon.svg", "image/svg+xml", "no-cache", "svg"},
		{"/assets/main-7F3KX2QA.js", "text/javascript", "public, max-age=31536000, immutable", "let a"},
		{"/assets/main-7F3KX2QA.css", "text/css", "public, max-age=31536000, immutable", "a{}"},
	} {
		w := p.get(tc.path)
		h := w.Header()
		if w.Code != 200 || !strings.HasPrefix(h.Get("Content-Type"), tc.kind) || h.Get("Cache-Control") != tc.cache || !strings.Contains(w.Body.String(), tc.part) {
			t.Errorf("%s: %d %v %s", tc.path, w.Code, h, w.Body)
		}
		if !strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'self';") || strings.Contains(h.Get("Content-Security-Policy"), "unsafe") ||
			h.Get("X-Content-Type-Options") != "nosniff" || h.Get("Referrer-Policy") != "no-referrer" || h.Get("Access-Control-Allow-Origin") != "" {
			t.Errorf("%s: headers %v", tc.path, h)
		}
	}
	for _, tc := range []struct{ asked, place string }{
		{"/account/" + alice, "/#/account/" + alice},
		{"/account/" + alice + "?page=2", "/#/account/" + alice + "?page=2"},
		{"/blocks/", "/#/blocks"},
		{"//example/x", "/#/example/x"},
		{"/%0d%0aSet-Cookie:%20a", "/#/%0D%0ASet-Cookie:%20a"},
		{"/%3Cscript%3E", "/#/%3Cscript%3E"},
	} {
		w := p.get(tc.asked)
		if w.Code != http.StatusFound || w.Header().Get("Location") != tc.place || w.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("%s: %d to %q, want %q", tc.asked, w.Code, w.Header().Get("Location"), tc.place)
		}
	}
	if w := p.get("/assets/other.js"); w.Code != http.StatusNotFound {
		t.Errorf("a file that is not there: %d", w.Code)
	}
	if w := p.ask("GET", "/", "Accept-Encoding", "gzip"); w.Header().Get("Content-Encoding") != "gzip" {
		t.Errorf("not compressed: %v", w.Header())
	}
	p.restart()
	if w := p.get("/"); w.Code != 200 || !strings.Contains(w.Body.String(), "built without the pages") {
		t.Errorf("without pages: %d %s", w.Code, w.Body)
	}
	if _, err := New(testConfig(), Parts{DB: p.db, Pages: fstest.MapFS{}}); err == nil {
		t.Error("pages without an index are taken")
	}
}

// TestAPaymentIsAlwaysInOnePlace runs cycles while payments go through all their
// states: each is pending or in the history, whenever one looks.
func TestAPaymentIsAlwaysInOnePlace(t *testing.T) {
	p := newPool(t)
	world(p)
	l, err := p.db.Acquire(ctx, "payouts token", "payouts token", 0)
	p.ok(err)
	const many = 60
	p.book(carol, many*1000)
	done := make(chan error, 1)
	go func() {
		for i := range many {
			pay := &storage.Payment{ID: fmt.Sprintf("%d-x", 11+i), Kind: storage.ToMiner, Login: carol, Amount: 1000, Time: p.now.Unix() - 1, State: storage.Signed,
				Account: account, Nonce: uint64(11 + i), Value: util.Shannon(1000).Wei(), Gas: 21000, Attempts: []storage.Attempt{{Raw: []byte{1}}}}
			pay.Attempts[0].Hash[31], pay.Attempts[0].Hash[0] = byte(i), 9
			pay.Hash = pay.Attempts[0].Hash
			if err := l.Open(ctx, "", pay)[0]; err != nil {
				done <- err
				return
			}
			if err := l.Sent(ctx, p.now.Unix()-1, pay)[0]; err != nil {
				done <- err
				return
			}
		}
		done <- nil
	}()
	seen := int64(0)
	for ended := false; !ended; {
		select {
		case err := <-done:
			p.ok(err)
			ended = true
		default:
		}
		p.cycle()
		var v paymentsView
		p.ok(json.Unmarshal(p.get("/api/payments").Body.Bytes(), &v))
		sum := v.PaymentsTotal
		for _, row := range v.Pending {
			if row.Amount == 1000 {
				sum++
			}
		}
		if sum < seen {
			t.Fatalf("%d payments after %d", sum, seen)
		}
		seen = sum
	}
	if seen != 5+many {
		t.Errorf("%d payments at the end, want %d", seen, 5+many)
	}
}

// TestAMinerIsReadAtOneMoment: what the last cycle saw is not mixed with what is
// there now.
func TestAMinerIsReadAtOneMoment(t *testing.T) {
	p := newPool(t)
	world(p)
	frank := "0x" + strings.Repeat("f", 40)
	p.book(frank, 1_000_000_000)
	p.cycle()
	l, err := p.db.Acquire(ctx, "payouts token", "payouts token", 0)
	p.ok(err)
	pay := &storage.Payment{ID: "11-x", Kind: storage.ToMiner, Login: frank, Amount: 1_000_000_000, Time: p.now.Unix(), State: storage.Signed,
		Account: account, Nonce: 11, Value: util.Shannon(1_000_000_000).Wei(), Gas: 21000, Attempts: []storage.Attempt{{Raw: []byte{1}}}}
	pay.Attempts[0].Hash[0] = 9
	pay.Hash = pay.Attempts[0].Hash
	for _, step := range []struct {
		name          string
		do            func() error
		pending, paid int
		reason        string
	}{
		{"it is signed", func() error { return l.Open(ctx, "", pay)[0] }, 1, 0, reasonFlight},
		{"it is sent", func() error { return l.Sent(ctx, p.now.Unix(), pay)[0] }, 0, 1, reasonBelow},
	} {
		p.ok(step.do())
		answer, err := p.api.account(ctx, p.api.snap.Load(), frank) // which knows nothing of it
		p.ok(err)
		body, err := answer.body()
		p.ok(err)
		var v accountView
		p.ok(json.Unmarshal(body, &v))
		if len(v.Pending) != step.pending || len(v.Payments) != step.paid || v.Payout.Reason != step.reason {
			t.Errorf("%s: pending %v, payments %v, %+v", step.name, v.Pending, v.Payments, v.Payout)
		}
	}
}

// TestMinersAreFoundByAPartOfTheirAddress: in any letter case, page by page.
func TestMinersAreFoundByAPartOfTheirAddress(t *testing.T) {
	p := newPool(t)
	world(p)
	p.cycle()
	read := func(path string, v any) { p.ok(json.Unmarshal(p.get(path).Body.Bytes(), v)) }
	type answer struct {
		Found *int
		List  []struct{ Login string }
	}
	var all answer
	read("/api/miners?limit=1000", &all)
	if len(all.List) < 2 || all.Found != nil {
		t.Fatalf("the books have %d miners, and found is %v", len(all.List), all.Found)
	}
	for _, m := range all.List {
		var one answer
		if read("/api/miners?find="+strings.ToUpper(m.Login[2:]), &one); one.Found == nil || *one.Found != 1 || len(one.List) != 1 || one.List[0].Login != m.Login {
			t.Errorf("looking for %s finds %+v", m.Login, one)
		}
	}
	var page answer
	if read("/api/miners?find=0x&limit=1&offset=1", &page); page.Found == nil || *page.Found != len(all.List) || len(page.List) != 1 || page.List[0].Login != all.List[1].Login {
		t.Errorf("the second of all is %+v", page)
	}
	var none answer
	if read("/api/miners?find=zz", &none); none.Found == nil || *none.Found != 0 || len(none.List) != 0 {
		t.Errorf("nobody is %+v", none)
	}
	if w := p.ask("GET", "/api/miners?find="+strings.Repeat("a", 43)); w.Code != http.StatusBadRequest {
		t.Errorf("a search longer than an address: %d", w.Code)
	}
}

// TestWhoIsPaidInTheSessionThatRuns credits a block while one runs: it pays who was due
// before, and not who is due by the block.
func TestWhoIsPaidInTheSessionThatRuns(t *testing.T) {
	p := newPool(t)
	k, began := p.db.Keys, p.now.Unix()
	due := func(login string) any {
		t.Helper()
		var v struct {
			Payout map[string]any `json:"payout"`
		}
		p.ok(json.Unmarshal(p.get("/api/accounts/"+login).Body.Bytes(), &v))
		return v.Payout["due"]
	}
	credit := func(height int, at int64, credits map[string]int) {
		p.do("ZADD", k.CreditsAll(), height, fmt.Sprintf("%s:%d:1", hash(height), at))
		for login, amount := range credits {
			p.do("HSET", k.Credits(uint64(height), hash(height)), login, amount)
			p.book(login, util.Shannon(amount))
		}
	}
	expect := func(what string, ofAlice, ofBob, ofDave any) {
		t.Helper()
		p.cycle()
		for login, want := range map[string]any{alice: ofAlice, bob: ofBob, dave: ofDave} {
			if got := due(login); got != want {
				t.Errorf("%s: %s is due: %v, want %v", what, login, got, want)
			}
		}
	}
	credit(100, began-10, map[string]int{alice: 500_000_000, bob: 499_999_999, dave: 1})
	l, err := p.db.Acquire(ctx, "payouts token", "", 0)
	p.ok(err, l.Init(ctx, 61, common.HexToHash("0xd4e5"), account, 0, 0, began-20))
	session := func(started int64, ended any) {
		p.ok(l.Note(ctx, "heartbeat", began, "nextSession", began+3600, "threshold", 500_000_000, "sessionStarted", started, "sessionDue", 1, "sessionEnded", ended))
	}
	session(began-30, began-20)
	expect("no session runs", nil, nil, nil)
	session(began, "")
	expect("it has begun", true, false, false)
	credit(101, began, map[string]int{alice: 1_000_000, bob: 1, dave: 1})
	p.do("HINCRBY", k.Finances(), "immature", 1) // some money has moved
	expect("a block was credited", true, false, false)
	p.do("HINCRBY", k.Miner(alice), "balance", -500_000_000)
	credit(102, began+1, map[string]int{alice: 500_000_000})
	expect("she was paid, and is due again", false, false, false)
	session(began+2, "")
	expect("the next one", true, true, false)
	p.ok(l.Reject(ctx, alice, "reverts"))
	expect("her contract does not take it", false, true, false)
	session(began+2, began+3)
	expect("it has ended", nil, nil, nil)
}
