package proxy

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/proxy/ethash"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// login is a connection of alice's, ready to submit.
func (p *pool) login() *client {
	p.t.Helper()
	c := p.dial()
	c.want(`{"id":1,"method":"eth_submitLogin","params":["`+alice+`"]}`, `{"id":1,"jsonrpc":"2.0","result":true}`)
	return c
}

func (p *pool) candidates() []any {
	list, _ := p.redis.Do(p.t, "ZRANGE", "eth:blocks:candidates", 0, -1).([]any)
	return list
}

// A block goes to every node and to the ledger, whatever the nodes say.
func TestABlockIsNeverLost(t *testing.T) {
	for _, tc := range []struct {
		name  string
		nodes func(a, b *node)
		tries int // offers to the first node
	}{
		{"both nodes take it", func(a, b *node) {}, 1},
		{"the reply is lost", func(a, b *node) { a.lose = 1 }, 2},
		{"the node never answers", func(a, b *node) { a.lose = 1000 }, submitTries},
		{"the node refuses it", func(a, b *node) { a.refuses = true }, 1},
		{"the node dies at that moment", func(a, b *node) { a.fails = errors.New("dead") }, submitTries},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPool(t, 2)
			for _, n := range p.nodes {
				n.give(100, 8)
				n.file = p.cfg.Candidates
			}
			p.start()
			w, c := p.job(100), p.login()
			ordinary, d := p.share(w, 2, 8, 0)
			c.want(submitWork(2, ordinary, w, d), `{"id":2,"jsonrpc":"2.0","result":true}`)
			nonce, d := p.share(w, 8, 0, 1000)
			p.nodes[0].change(func() { tc.nodes(p.nodes[0], p.nodes[1]) })
			c.want(submitWork(3, nonce, w, d), `{"id":3,"jsonrpc":"2.0","result":true}`)
			p.until("it is written down", func() bool { return len(p.candidates()) == 1 })
			want := fmt.Sprintf("0x%016x:%s:%s:", nonce, w.Header, d.Mix)
			if got := p.candidates()[0].(string); !strings.HasPrefix(got, want) || !strings.HasSuffix(got, ":8:4") {
				t.Errorf("candidate %s, want %s…:8:4", got, want)
			}
			for _, n := range p.nodes {
				p.until("it has the block", func() bool { return len(n.got()) > 0 })
				n.change(func() {
					if !strings.Contains(n.filed, fmt.Sprintf("0x%016x", nonce)) {
						t.Errorf("a node was offered the block when the file held %q", n.filed)
					}
				})
			}
			p.until("everybody has it", func() bool { return len(p.nodes[0].got()) == tc.tries && len(p.nodes[1].got()) == 1 })
			if got := p.redis.Do(t, "HGET", fmt.Sprintf("eth:shares:round100:0x%016x", nonce), alice); got != "4" {
				t.Errorf("alice has %v in the block's round, want 4", got)
			}
			p.stop()
			if data, err := os.ReadFile(p.cfg.Candidates); err != nil || !strings.Contains(string(data), fmt.Sprintf(`{"done":"100:0x%016x","at":`, nonce)) {
				t.Errorf("the file holds %q, %v", data, err)
			}
		})
	}
}

// Redis hangs when the block is found: the nodes have it all the same, and the
// ledger gets it when Redis is back, even in another process.
func TestABlockWaitsForNobody(t *testing.T) {
	p := newPool(t, 1)
	p.nodes[0].give(100, 8)
	p.start()
	w, c := p.job(100), p.login()
	nonce, d := p.share(w, 8, 0, 0)
	pid := p.redis.Pid()
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	c.send(submitWork(2, nonce, w, d))
	p.until("the node has it", func() bool { return len(p.nodes[0].got()) == 1 })
	if data, err := os.ReadFile(p.cfg.Candidates); err != nil || !strings.Contains(string(data), fmt.Sprintf("0x%016x", nonce)) {
		t.Errorf("the file holds %q, %v", data, err)
	}
	p.stop()
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	p.start()
	p.until("it is written down", func() bool { return len(p.candidates()) == 1 })
	p.until("the node is asked once more", func() bool { return len(p.nodes[0].got()) == 2 })
}

// Nor for its file, when the disk is full: it is said, and everybody else has it.
func TestABlockOnAFullDisk(t *testing.T) {
	p := newPool(t, 1)
	p.nodes[0].give(100, 8)
	full, err := os.OpenFile("/dev/full", os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	p.before = func() {
		if err := p.spool.close(); err != nil {
			t.Error(err)
		}
		p.spool.file = full
	}
	p.start()
	w, c := p.job(100), p.login()
	nonce, d := p.share(w, 8, 0, 0)
	c.want(submitWork(2, nonce, w, d), `{"id":2,"jsonrpc":"2.0","result":true}`)
	p.until("the node and redis have it", func() bool { return len(p.nodes[0].got()) == 1 && len(p.candidates()) == 1 })
	p.until("it is not left", func() bool { return len(p.spool.left()) == 0 })
	if got := p.logs.String(); strings.Count(got, "its file cannot be written") != 1 {
		t.Errorf("it is said:\n%s", got)
	}
}

// A file that cannot be written shows at the start, with the key that names it.
func TestNoFileForBlocks(t *testing.T) {
	p := newPool(t, 0)
	for _, path := range []string{t.TempDir(), t.TempDir() + "/none/candidates", "/proc/version"} {
		p.cfg.Candidates = path
		if _, err := New(p.cfg, nil, time.Second, Parts{Log: discard}); err == nil || !strings.HasPrefix(err.Error(), "proxy.candidates: ") || !strings.Contains(err.Error(), path) {
			t.Errorf("with %s: %v", path, err)
		}
	}
}

// A Redis that forgets what it had written down hears of it again, at the latest
// when the proxy starts.
func TestABlockThatRedisForgetsIsWrittenDownAgain(t *testing.T) {
	p := newPool(t, 1)
	p.nodes[0].give(100, 8)
	p.start()
	w, c := p.job(100), p.login()
	nonce, d := p.share(w, 8, 0, 0)
	c.want(submitWork(2, nonce, w, d), `{"id":2,"jsonrpc":"2.0","result":true}`)
	p.until("it is written down", func() bool { return len(p.spool.kept()) == 1 })
	p.redis.Do(t, "FLUSHALL")
	p.remindOnce(t.Context())
	if got := p.candidates(); len(got) != 1 {
		t.Errorf("candidates are %v", got)
	}
	p.stop()
	p.redis.Do(t, "FLUSHALL")
	p.start()
	p.until("it is written down again", func() bool { return len(p.candidates()) == 1 })
	p.remindOnce(t.Context())
	if got := p.candidates(); len(got) != 1 || len(p.nodes[0].got()) != 1 {
		t.Errorf("candidates are %v, the node got %v", got, p.nodes[0].got())
	}
}

func TestSharesWaitForRedisAndCountOnce(t *testing.T) {
	p := newPool(t, 1).start()
	w, c := p.job(100), p.login()
	nonce, d := p.share(w, 2, 0, 0)
	p.redis.Kill()
	c.send(submitWork(2, nonce, w, d))
	p.until("the counter has noticed", func() bool { return strings.Contains(p.logs.String(), "shares wait for redis") })
	p.redis.Restart()
	if got := c.read(); got != `{"id":2,"jsonrpc":"2.0","result":true}` {
		t.Errorf("answered %s", got)
	}
	if got := p.round(alice); got != "2" {
		t.Errorf("round is %s, want 2", got)
	}
}

// A miner is not kept waiting for ever, and his connection serves him meanwhile. A
// share whose fate he does not know counts at most once.
func TestAShareThatRedisDoesNotAnswerFor(t *testing.T) {
	p := newPool(t, 1)
	p.before = func() { p.countTime = time.Millisecond }
	p.start()
	w, c := p.job(100), p.login()
	nonce, d := p.share(w, 2, 0, 0)
	p.redis.Kill()
	const again = `,"jsonrpc":"2.0","result":false,"error":{"code":20,"message":"The pool could not check this share, please send it again"}}`
	for id := range 3 { // he does
		c.want(submitWork(id, nonce, w, d), fmt.Sprintf(`{"id":%d%s`, id, again))
	}
	c.want(`{"id":5,"method":"eth_submitHashrate"}`, `{"id":5,"jsonrpc":"2.0","result":true}`)
	p.redis.Restart()
	p.until("it is counted", func() bool { return p.round(alice) == "2" })
	p.countTime = time.Hour
	c.want(submitWork(6, nonce, w, d), `{"id":6,"jsonrpc":"2.0","result":false,"error":{"code":22,"message":"Duplicate share"}}`)
	if got := p.round(alice); got != "2" {
		t.Errorf("the round is %s, want 2", got)
	}
}

// While Redis is away for long, nobody is given work that might not count.
func TestNoWorkWhileRedisIsAway(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.MaxFails = 3
	p.start()
	p.job(100)
	p.redis.Kill()
	c := p.dial()
	const sick = `{"id":1,"jsonrpc":"2.0","result":null,"error":{"code":0,"message":"Work not ready"}}`
	p.until("the proxy is sick", func() bool { return c.ask(`{"id":1,"method":"eth_getWork"}`) == sick })
	p.redis.Restart()
	p.until("the proxy is well", func() bool { return c.ask(`{"id":1,"method":"eth_getWork"}`) != sick })
}

// Nor is anybody told of new work meanwhile. When Redis is back everybody is told
// of the present one.
func TestNoWorkIsToldWhileRedisIsAway(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.MaxFails = 3
	p.start()
	p.job(100)
	c := p.login()
	p.redis.Kill()
	p.until("the proxy is sick", p.health.sick)
	p.nodes[0].give(101, impossible)
	p.job(101)
	p.nodes[0].give(102, impossible)
	p.job(102)
	p.redis.Restart()
	if got := c.read(); !strings.Contains(got, p.job(102).Header.Hex()) {
		t.Errorf("told %s, want %s", got, p.job(102).Header)
	}
	// Who had the present work before hears of it again: he may have come meanwhile.
	p.redis.Kill()
	p.until("the proxy is sick", p.health.sick)
	p.polled()
	late := p.login()
	p.redis.Restart()
	if got := late.read(); !strings.Contains(got, p.job(102).Header.Hex()) {
		t.Errorf("the late one is told %s", got)
	}
}

func TestTwoProxiesCatchEachOthersDuplicatesAndShareNoExtranonce(t *testing.T) {
	a := newPool(t, 1).start()
	b := &pool{t: t, redis: a.redis, db: a.db, nodes: a.nodes, cfg: a.cfg, logs: a.logs}
	b.cfg.Candidates += ".b"
	b.start()
	w := a.job(100)
	b.job(100)
	nonce, d := a.share(w, 2, 0, 0)
	a.login().want(submitWork(2, nonce, w, d), `{"id":2,"jsonrpc":"2.0","result":true}`)
	b.login().want(submitWork(2, nonce, w, d), `{"id":2,"jsonrpc":"2.0","result":false,"error":{"code":22,"message":"Duplicate share"}}`)
	var all [][extranonceBytes]byte
	for range 300 {
		for _, p := range []*pool{a, b} {
			x, err := p.extranonces.take(t.Context(), new(session))
			if err != nil {
				t.Fatal(err)
			}
			if slices.Contains(all, x) {
				t.Fatalf("extranonce %x was given twice", x)
			}
			all = append(all, x)
		}
	}
}

// When no node has given work for long, shares of the last one are worth nothing,
// and nobody is asked for them. A block among them goes to the nodes all the same.
func TestNoWorkWhileAllNodesAreAway(t *testing.T) {
	p := newPool(t, 2)
	for _, n := range p.nodes {
		n.give(100, 64)
	}
	p.start()
	w, c := p.job(100), p.login()
	fail := func(err error) {
		for _, n := range p.nodes {
			n.change(func() { n.fails = err })
		}
	}
	const none = `"error":{"code":0,"message":"Work not ready"}}`
	nonce, d := p.share(w, 2, 64, 0)
	fail(errors.New("dead"))
	p.until("both nodes are known to be dead", func() bool { return strings.Count(p.logs.String(), "does not give work") >= 2 })
	c.want(submitWork(2, nonce, w, d), `{"id":2,"jsonrpc":"2.0","result":true}`) // for a while it counts
	p.upstreams.worked.Store(time.Now().Add(-patience - time.Second).UnixNano())
	p.until("it has been too long", func() bool { return p.present() == nil })
	c.want(`{"id":3,"method":"eth_getWork"}`, `{"id":3,"jsonrpc":"2.0","result":null,`+none)
	nonce, d = p.share(w, 2, 64, nonce+1)
	c.want(submitWork(4, nonce, w, d), `{"id":4,"jsonrpc":"2.0","result":null,`+none)
	if got := p.round(alice); got != "2" {
		t.Errorf("alice's round is %s, want 2", got)
	}
	block, e := p.share(w, 64, 0, 0)
	c.want(submitWork(5, block, w, e), `{"id":5,"jsonrpc":"2.0","result":true}`)
	p.until("the nodes have the block", func() bool { return len(p.nodes[0].got()) > 0 && len(p.nodes[1].got()) > 0 })
	// Nor do the pages show nodes that are well.
	beat := fmt.Sprint(time.Unix(0, p.upstreams.worked.Load()).Unix())
	p.redis.Do(t, "HSET", "eth:nodes", "main:lastBeat", 0)
	p.until("the beat is reported", func() bool { return fmt.Sprint(p.redis.Do(t, "HGET", "eth:nodes", "main:lastBeat")) != "0" })
	if got := fmt.Sprint(p.redis.Do(t, "HGET", "eth:nodes", "main:lastBeat")); got != beat {
		t.Errorf("the nodes' last beat is %s, want %s, when they gave work", got, beat)
	}
	fail(nil)
	if got := c.read(); !strings.Contains(got, w.Header.Hex()) { // the same work, told again
		t.Errorf("told %s", got)
	}
	nonce, d = p.share(w, 2, 64, nonce+1)
	c.want(submitWork(6, nonce, w, d), `{"id":6,"jsonrpc":"2.0","result":true}`)
	if logs := p.logs.String(); strings.Count(logs, "no node gives work") != 1 || strings.Count(logs, "a node gives work again") != 1 {
		t.Errorf("it is said:\n%s", logs)
	}
}

func TestTheNextNodeGivesWorkUntilTheFirstIsBack(t *testing.T) {
	p := newPool(t, 2).start()
	c := p.login()
	p.nodes[0].change(func() { p.nodes[0].fails = errors.New("dead") })
	p.nodes[1].give(101, impossible)
	if p.job(101).Node != "node 1" {
		t.Error("the work of height 101 is not the second node's")
	}
	c.read()
	p.nodes[0].change(func() { p.nodes[0].fails = nil })
	p.nodes[0].give(102, impossible)
	p.until("the first is back", func() bool { return p.board.now.Load().Node == "node 0" })
	// A node that lags far behind the other is as good as dead.
	p.nodes[1].give(110, impossible)
	p.until("the second gives work again", func() bool { return p.board.now.Load().Height == 110 })
}

// A node that goes back to an earlier block template has that one mined, and no
// share of it counts twice.
func TestANodeGoesBackToEarlierWork(t *testing.T) {
	p := newPool(t, 1).start()
	w, c := p.job(100), p.login()
	nonce, d := p.share(w, 2, 0, 0)
	c.want(submitWork(2, nonce, w, d), `{"id":2,"jsonrpc":"2.0","result":true}`)
	p.nodes[0].give(101, impossible)
	c.read()
	p.nodes[0].give(100, impossible)
	if got := c.read(); !strings.Contains(got, w.Header.Hex()) {
		t.Errorf("told %s, want %s", got, w.Header)
	}
	again := p.job(100)
	c.want(submitWork(3, nonce, w, d), `{"id":3,"jsonrpc":"2.0","result":false,"error":{"code":22,"message":"Duplicate share"}}`)
	if !again.Clean || again.ID == w.ID || p.board.id(w.ID) != w || p.board.id(again.ID) != again {
		t.Errorf("job %+v, want another than %s", again, w.ID)
	}
	// What is too old is of no use to anybody.
	p.nodes[0].give(200, impossible)
	if p.job(200); len(p.board.byID) != 1 || len(p.board.byHeader) != 1 {
		t.Errorf("%d jobs and %d headers stay", len(p.board.byID), len(p.board.byHeader))
	}
}

// A chain that stands still does not fill the memory with work.
func TestTheBacklogIsBounded(t *testing.T) {
	b := newBoard()
	job := func(n int64) *work {
		w := &work{Header: common.BigToHash(big.NewInt(n)), Height: 100, seen: new(nonces)}
		b.post(w)
		return w
	}
	first := job(1)
	again := first.again()
	b.post(again)
	for n := range int64(jobsMost - 1) {
		job(2 + n)
	}
	if len(b.byID) != jobsMost || b.id(first.ID) != nil || b.header(first.Header) != again || b.id(again.ID) != again {
		t.Errorf("%d jobs, the one that was posted again is %v", len(b.byID), b.header(first.Header))
	}
	last := job(5000)
	if len(b.byID) != jobsMost || len(b.byHeader) != jobsMost || b.header(first.Header) != nil || b.header(last.Header) != last {
		t.Errorf("%d jobs, %d headers", len(b.byID), len(b.byHeader))
	}
	if got := b.oldest.Load(); got != last.Number-jobsMost+1 {
		t.Errorf("the oldest is %d, of %d", got, last.Number)
	}
}

// Nonces that were wrong are not remembered, and who sends them again and again is
// wrong again and again.
func TestAWrongShareIsNoDuplicate(t *testing.T) {
	p := newPool(t, 1).start()
	w, c := p.job(100), p.dial()
	var prefix uint64
	if _, err := fmt.Sscanf(c.subscribe(), "%x", &prefix); err != nil {
		t.Fatal(err)
	}
	c.ask(`{"id":2,"method":"mining.authorize","params":["` + alice + `.rig","x"]}`)
	nonce, _ := p.bad(w, 2, prefix<<48)
	for range 3 {
		c.want(fmt.Sprintf(`{"id":3,"method":"mining.submit","params":["x","%s","%012x"]}`, w.ID, nonce&(1<<48-1)), `{"id":3,"result":false,"error":[23,"Low difficulty share",null]}`)
	}
	if len(w.seen.seen) != 0 {
		t.Errorf("remembers %v", w.seen.seen)
	}
}

// Only what is wrong counts against a miner, not what comes late or twice.
func TestLateSharesBanNobody(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.Policy.Banning.Enabled, p.cfg.Policy.Banning.IPSet, p.cfg.Policy.Banning.CheckThreshold = true, "", 4
	p.start()
	w, c := p.job(100), p.login()
	nonce, d := p.share(w, 2, 0, 0)
	c.want(submitWork(2, nonce, w, d), `{"id":2,"jsonrpc":"2.0","result":true}`)
	for range 10 {
		c.want(submitWork(3, nonce, w, d), `{"id":3,"jsonrpc":"2.0","result":false,"error":{"code":22,"message":"Duplicate share"}}`)
		c.want(submitWork(4, nonce, &work{Header: common.Hash{9}}, d), `{"id":4,"jsonrpc":"2.0","result":false,"error":{"code":21,"message":"Stale share"}}`)
	}
	// Nor for it: three wrong ones more are three quarters of all.
	for i := range 3 {
		low, e := p.bad(w, 2, uint64(1000*(i+1)))
		c.send(submitWork(5, low, w, e))
		c.read()
	}
	c.closed()
}

// A node that tells of a new block is asked for work on top of it at once.
func TestANodeTellsOfNewBlocks(t *testing.T) {
	heads := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.CloseNow() }()
		if _, _, err := conn.Read(r.Context()); err != nil {
			t.Error(err)
		}
		ctx := conn.CloseRead(r.Context())
		_ = conn.Write(ctx, websocket.MessageText, []byte(`{"jsonrpc":"2.0","id":1,"result":"0x1"}`))
		for {
			select {
			case <-ctx.Done():
				return
			case <-heads:
				_ = conn.Write(ctx, websocket.MessageText, []byte(`{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"0x1","result":{"number":"0x65"}}}`))
			}
		}
	}))
	defer server.Close()
	p := newPool(t, 1)
	p.ws = "ws" + strings.TrimPrefix(server.URL, "http")
	p.cfg.BlockRefreshInterval = util.Duration(time.Hour)
	p.start()
	p.nodes[0].give(101, impossible)
	heads <- struct{}{}
	p.job(101)
	p.stop()
}

func TestParseWork(t *testing.T) {
	h := common.Hash{1}.Hex()
	for _, tc := range []struct {
		name   string
		parts  []string
		height uint64
		told   bool
		bad    bool
	}{
		{"with a height", []string{h, h, h, "0x64"}, 100, true, false},
		{"without", []string{h, h, h}, 0, false, false},
		{"too short", []string{h, h}, 0, false, true},
		{"a height that is no number", []string{h, h, h, "x"}, 0, false, true},
		{"hashes that are none", []string{"0x", h, h, "0x64"}, 0, false, true},
		{"hashes that are too long", []string{h, h + "00", h, "0x64"}, 0, false, true},
		{"a target without its zeros", []string{h, h, "0xffff", "0x64"}, 100, true, false},
		{"a target of 0, which nothing meets", []string{h, h, common.Hash{}.Hex(), "0x64"}, 0, false, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w, told, err := parseWork(tc.parts)
			if (err != nil) != tc.bad || err == nil && (w.Height != tc.height || told != tc.told) {
				t.Errorf("%+v, %t, %v", w, told, err)
			}
		})
	}
}

func TestSpool(t *testing.T) {
	path := t.TempDir() + "/candidates"
	block := func(n int) storage.FoundBlock {
		return storage.FoundBlock{Share: storage.Share{Login: alice, Height: 100, Nonce: fmt.Sprint(n)}, Time: 5, Difficulty: 6}
	}
	logs := &logBuffer{}
	open := func() *spool {
		s, err := openSpool(path, slog.New(slog.NewTextHandler(logs, nil)))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.close() })
		return s
	}
	want := func(what string, got []storage.FoundBlock, want ...storage.FoundBlock) {
		t.Helper()
		slices.SortFunc(got, func(a, b storage.FoundBlock) int { return strings.Compare(a.Nonce, b.Nonce) })
		if !slices.Equal(got, want) {
			t.Errorf("%s are %+v\nwant %+v", what, got, want)
		}
	}
	do := func(errs ...error) {
		t.Helper()
		if err := errors.Join(errs...); err != nil {
			t.Fatal(err)
		}
	}
	s := open()
	do(s.add(block(0)), s.add(block(1)))
	if _, err := openSpool(path, discard); err == nil {
		t.Error("two proxies have the file open")
	}
	// The disk is full in the middle of a line; there is room again for the next.
	fmt.Fprint(s.file, `{"found":{"Login":`)
	do(s.add(block(2)), s.done(block(1)), s.close())
	s = open()
	want("left", s.left(), block(0), block(2))
	want("kept", s.kept(), block(1))
	if got := logs.String(); strings.Count(got, "level=ERROR") != 1 || !strings.Contains(got, "line=5") {
		t.Errorf("it is said:\n%s", got)
	}
	if data, err := os.ReadFile(path + ".damaged"); err != nil || string(data) != "{\"found\":{\"Login\":\n" {
		t.Errorf("set aside is %q, %v", data, err)
	}
	old, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	do(s.done(block(0)), s.forget(time.Now().Add(time.Hour)))
	want("left", s.left(), block(2))
	// What is forgotten is in the file no more, though it is never without a block.
	if data, _ := os.ReadFile(path); strings.Count(string(data), "found") != 1 || !strings.Contains(string(data), `"Nonce":"2"`) {
		t.Errorf("the file holds %q", data)
	}
	// Nobody else takes it for his, nor the one that it took the place of.
	if _, err := openSpool(path, discard); err == nil || isAt(old, path) || !isAt(s.file, path) {
		t.Errorf("%v, or the lock is another file's", err)
	}
	do(s.close())
	if s = open(); strings.Count(logs.String(), "level=ERROR") != 1 {
		t.Errorf("it is said again:\n%s", logs)
	}
	want("left", s.left(), block(2))
	do(s.done(block(2)), s.forget(time.Now().Add(-time.Hour)))
	want("kept", s.kept(), block(2))
	// A new start does not begin the hours again.
	s.blocks[spoolName(block(2))].done = time.Now().Add(-2 * time.Hour)
	do(s.add(block(3)), s.done(block(3)), s.renew(), s.close())
	s = open()
	want("kept", s.kept(), block(2), block(3))
	do(s.forget(time.Now().Add(-time.Hour)))
	want("kept", s.kept(), block(3))
	do(s.forget(time.Now().Add(time.Hour)))
	if data, _ := os.ReadFile(path); len(data) != 0 {
		t.Errorf("the file holds %q", data)
	}
}

// Where the file cannot be renewed it goes on as it is, and loses nothing.
func TestASpoolThatCannotBeRenewed(t *testing.T) {
	path := t.TempDir() + "/candidates"
	s, err := openSpool(path, discard)
	if err != nil {
		t.Fatal(err)
	}
	one, two := storage.FoundBlock{Share: storage.Share{Nonce: "1"}}, storage.FoundBlock{Share: storage.Share{Nonce: "2"}}
	if err := errors.Join(os.Mkdir(path+".new", 0o700), s.add(one), s.add(two), s.done(one)); err != nil {
		t.Fatal(err)
	}
	if err := s.forget(time.Now().Add(time.Hour)); err == nil {
		t.Error("it is renewed where there is no room for it")
	}
	if err := errors.Join(s.add(two), s.close()); err != nil {
		t.Fatal(err)
	}
	if s, err = openSpool(path, discard); err != nil {
		t.Fatal(err)
	}
	if left := s.left(); len(left) != 1 || left[0] != two {
		t.Errorf("left are %+v", left)
	}
	if err := s.close(); err != nil {
		t.Fatal(err)
	}
}

func TestVardiff(t *testing.T) {
	now := time.Unix(1000, 0)
	cfg := &VarDiffConfig{}
	cfg.SetDefaults()
	cfg.MinDiff, cfg.MaxDiff = 100, 100_000
	for _, tc := range []struct {
		name    string
		shares  int
		seconds int
		from    int64
		want    int64
	}{
		{"on target nothing moves", 8, 120, 1000, 1000},
		{"within the variance neither", 8, 100, 1000, 1000},
		{"too few to tell", 3, 10, 1000, 1000},
		{"twice as fast", 8, 64, 1000, 1500},
		{"far too fast moves by one jump", 8, 2, 1000, 1500},
		{"slow goes down", 0, 90, 1500, 1000},
		{"never below the least", 0, 90, 120, 100},
		{"never above the most", 8, 2, 90_000, 100_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			v := vardiff{cfg: cfg, since: now}
			d := tc.from
			for i := range max(1, tc.shares) {
				at := now.Add(time.Duration(tc.seconds) * time.Second * time.Duration(i+1) / time.Duration(max(1, tc.shares)))
				d, _ = v.next(at, tc.shares > 0, d)
			}
			if d != tc.want {
				t.Errorf("difficulty %d, want %d", d, tc.want)
			}
		})
	}
	off := vardiff{}
	if d, moved := off.next(now, true, 7); d != 7 || moved {
		t.Errorf("without a section the difficulty moved to %d", d)
	}
}

// Whatever meets the difficulty that a miner was told is counted, however often
// his own moves before he hears of it.
func TestVardiffMovesOnceForAJob(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.VarDiff = &VarDiffConfig{}
	p.cfg.VarDiff.SetDefaults()
	p.cfg.VarDiff.MinDiff, p.cfg.VarDiff.MaxDiff, p.cfg.VarDiff.TargetTime = 1, 1000, 1000
	p.cfg.Difficulty = 4
	p.start()
	c, w, nonce := p.login(), p.job(100), uint64(0)
	for i := range 3 * retargetShares {
		n, d := p.share(w, 4, 0, nonce)
		nonce = n + 1
		c.want(submitWork(i, n, w, d), fmt.Sprintf(`{"id":%d,"jsonrpc":"2.0","result":true}`, i))
	}
	p.nodes[0].give(101, impossible)
	w = p.job(101)
	if got := c.read(); !strings.Contains(got, targetOf(6).Hex()) {
		t.Errorf("told %s, want the difficulty 6", got)
	}
	n, d := p.bad(w, 6, 0)
	c.want(submitWork(99, n, w, d), `{"id":99,"jsonrpc":"2.0","result":false,"error":{"code":23,"message":"Low difficulty share"}}`)
}

// Each job of the backlog keeps the difficulty that it was told with.
func TestVardiffRemembersTheBacklog(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.VarDiff = &VarDiffConfig{}
	p.cfg.VarDiff.SetDefaults()
	p.cfg.VarDiff.MinDiff, p.cfg.VarDiff.MaxDiff, p.cfg.VarDiff.TargetTime = 1, 1000, 1000
	p.cfg.Difficulty = 4
	p.start()
	c, first := p.login(), p.job(100)
	nonce, id := uint64(0), 1
	share := func(w *work, difficulty, tooGood int64, answer string) {
		t.Helper()
		id++
		n, d := p.share(w, difficulty, tooGood, nonce)
		nonce = n + 1
		c.want(submitWork(id, n, w, d), fmt.Sprintf(`{"id":%d,"jsonrpc":"2.0","result":%s}`, id, answer))
	}
	const low = `false,"error":{"code":23,"message":"Low difficulty share"}`
	w := first
	for i, difficulty := range []int64{4, 6, 9} {
		for range retargetShares {
			share(w, difficulty, 0, "true")
		}
		p.nodes[0].give(101+uint64(i), impossible)
		w = p.job(101 + uint64(i))
		c.read()
	}
	share(first, 4, 6, "true")
	share(p.board.id("2"), 6, 9, "true")
	share(p.board.id("2"), 4, 6, low)
	share(p.board.id("3"), 6, 9, low)
	share(w, 9, 13, low)
	// What is too old is forgotten.
	p.nodes[0].give(103+backlog, impossible)
	w = p.job(103 + backlog)
	c.read()
	s := p.sessions.list()[0]
	for range retargetShares {
		share(w, 13, 0, "true")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.earlier) != 1 {
		t.Errorf("remembers %v", s.earlier)
	}
}

// Who finds nothing is asked for less, with the next job.
func TestVardiffOfWhoFindsNothing(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.VarDiff = &VarDiffConfig{}
	p.cfg.VarDiff.SetDefaults()
	p.cfg.VarDiff.MinDiff, p.cfg.VarDiff.MaxDiff = 1, 1<<60
	p.cfg.Difficulty = 1 << 50
	p.start()
	c := p.login()
	s := p.sessions.list()[0]
	s.mu.Lock()
	s.vardiff.since = time.Now().Add(-time.Hour)
	s.unlock()
	p.nodes[0].give(101, impossible)
	if got := c.read(); strings.Contains(got, targetOf(1<<50).Hex()) || s.asked(p.job(101)) >= 1<<50 {
		t.Errorf("an hour without a share, and he is told %s", got)
	}
}

// A block is a share, whatever the port asks.
func TestNoShareIsHarderThanABlock(t *testing.T) {
	p := newPool(t, 1)
	p.nodes[0].give(100, 4)
	p.cfg.Difficulty = impossible
	p.start()
	w, c := p.job(100), p.dial()
	if got := c.ask(`{"id":1,"method":"eth_getWork"}`); !strings.Contains(got, targetOf(4).Hex()) {
		t.Errorf("told %s", got)
	}
	c.ask(`{"id":2,"method":"eth_submitLogin","params":["` + alice + `"]}`)
	nonce, d := p.share(w, 4, 8, 0)
	c.want(submitWork(3, nonce, w, d), `{"id":3,"jsonrpc":"2.0","result":true}`)
	p.until("the block is written down", func() bool { return fmt.Sprint(p.redis.Do(t, "ZCARD", "eth:blocks:candidates")) == "1" })
}

// held hashes when it is let.
type held struct {
	Verifier
	asked, let chan struct{}
}

func (h held) Hash(ctx context.Context, height uint64, w ethash.Work) (ethash.Digest, error) {
	close(h.asked)
	<-h.let
	return h.Verifier.Hash(ctx, height, w)
}

// A block that still waits to be hashed when its finder hangs up, or when the pool
// stops, goes to the node all the same.
func TestABlockOutlivesItsFindersConnection(t *testing.T) {
	for _, over := range []string{"HTTP", "stratum"} {
		for _, ends := range []string{"the finder hangs up", "the pool stops"} {
			t.Run(over+", "+ends, func(t *testing.T) {
				p := newPool(t, 1)
				p.nodes[0].give(100, 4)
				p.start()
				w := p.job(100)
				nonce, d := p.share(w, 4, 0, 0)
				h := held{shared.Verifier, make(chan struct{}), make(chan struct{})}
				p.verifier = h
				var conn net.Conn
				if body := submitWork(1, nonce, w, d); over == "HTTP" {
					conn = dial(t, p.Addrs()[0]).conn
					fmt.Fprintf(conn, "POST /%s HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", alice, len(body), body)
				} else {
					c := p.login()
					conn = c.conn
					c.send(body)
				}
				<-h.asked
				if ends == "the pool stops" {
					go func() {
						p.until("the pool stops", p.stopping.Load)
						close(h.let)
					}()
				} else {
					conn.Close()
					close(h.let)
					p.until("the node has it", func() bool { return len(p.nodes[0].got()) == 1 })
				}
				p.stop()
				if got := len(p.nodes[0].got()); got != 1 {
					t.Errorf("the node got %d blocks", got)
				}
			})
		}
	}
}

// Work of a chain with other epochs than network's is not given to anybody: all
// shares would be judged wrong.
func TestWorkOfAnotherNetwork(t *testing.T) {
	p := newPool(t, 2)
	p.nodes[0].change(func() { p.nodes[0].work[1] = ethash.Epoch{Seeds: 390}.SeedHash().Hex() })
	p.start()
	if w := p.job(100); w.Node != "node 1" {
		t.Errorf("work is %s's", w.Node)
	}
	p.until("it is said", func() bool { return strings.Contains(p.logs.String(), "does network fit the node") })
}

func TestPolicy(t *testing.T) {
	now := time.Unix(1000, 0)
	fresh := func() *policy {
		cfg := DefaultConfig().Policy
		cfg.Banning.Enabled, cfg.Banning.IPSet, cfg.Limits.Enabled, cfg.Limits.Limit = true, "", true, 2
		p := newPolicy(cfg, nil, discard)
		p.now, p.started = func() time.Time { return now }, now.Add(-time.Hour)
		return p
	}
	const ip = "10.0.0.1"
	t.Run("a ratio of invalid shares bans, for a while", func(t *testing.T) {
		p := fresh()
		for i := range p.cfg.Banning.CheckThreshold {
			if stays := p.share(ip, i%2 == 0); stays != (i+1 < p.cfg.Banning.CheckThreshold) {
				t.Fatalf("after share %d stays = %t", i+1, stays)
			}
		}
		if !errors.Is(p.admit(ip), errBanned) {
			t.Error("he is not banned")
		}
		p.now = func() time.Time { return now.Add(time.Hour) }
		if err := p.admit(ip); err != nil {
			t.Errorf("an hour later: %v", err)
		}
	})
	t.Run("a few invalid ones do not", func(t *testing.T) {
		p := fresh()
		for i := range 1000 {
			if !p.share(ip, i%10 != 0) {
				t.Fatal("banned")
			}
		}
	})
	t.Run("a flood of rubbish does", func(t *testing.T) {
		p := fresh()
		for i := range p.cfg.Banning.MalformedLimit {
			if stays := p.malformed(ip); stays != (i+1 < p.cfg.Banning.MalformedLimit) {
				t.Fatalf("after line %d stays = %t", i+1, stays)
			}
		}
	})
	t.Run("rubbish now and then does not, in whatever time", func(t *testing.T) {
		p, now := fresh(), now
		p.now = func() time.Time { return now }
		for range 3 * p.cfg.Banning.MalformedLimit {
			if !p.malformed(ip) {
				t.Fatal("banned")
			}
			now = now.Add(floodTime)
		}
	})
	t.Run("no number of shares shuts the door", func(t *testing.T) {
		p := fresh()
		p.of(ip).limit = math.MaxInt32
		if p.share(ip, true); p.admit(ip) != nil {
			t.Error("kept out")
		}
	})
	t.Run("whom the operator trusts is never banned", func(t *testing.T) {
		p := fresh()
		p.whitelist[ip] = true
		for range 100 {
			if !p.malformed(ip) || !p.share(ip, false) || p.admit(ip) != nil {
				t.Fatal("kept out")
			}
		}
	})
	t.Run("connections are limited, and shares buy more", func(t *testing.T) {
		p := fresh()
		for i, want := range []error{nil, nil, errTooMany} {
			if err := p.admit(ip); !errors.Is(err, want) {
				t.Errorf("connection %d: %v, want %v", i+1, err, want)
			}
		}
		p.share(ip, true)
		if err := p.admit(ip); err != nil {
			t.Error(err)
		}
		p.leave(ip)
	})
	t.Run("one customer's IPv6 addresses are one", func(t *testing.T) {
		p := fresh()
		for i, ip := range []string{"2001:db8::1", "2001:db8::ffff:1:2:3", "2001:db8::2"} {
			if err := p.admit(ip); (err != nil) != (i == 2) {
				t.Errorf("connection %d: %v", i+1, err)
			}
		}
		for range p.cfg.Banning.MalformedLimit {
			p.malformed("2001:db8::3")
		}
		if p.leave("2001:db8::4"); !errors.Is(p.admit("2001:db8::5"), errBanned) || p.admit("2001:db8:0:1::1") != nil {
			t.Error("another one is banned")
		}
	})
	t.Run("a login on the blacklist, in any letter case", func(t *testing.T) {
		p := fresh()
		p.blacklist = setOf([]string{strings.ToUpper(bob)})
		if p.welcome(bob) || !p.welcome(alice) {
			t.Error("the wrong one is welcome")
		}
	})
	t.Run("who did nothing is not remembered", func(t *testing.T) {
		p := fresh()
		if err := p.admit(ip); err != nil {
			t.Fatal(err)
		}
		if p.leave(ip); len(p.records) != 0 {
			t.Errorf("%d records stay", len(p.records))
		}
		p.malformed(ip)
		if p.leave(ip); len(p.records) != 1 {
			t.Error("who did something is forgotten")
		}
	})
	t.Run("old records go", func(t *testing.T) {
		p := fresh()
		p.malformed(ip)
		p.now = func() time.Time { return now.Add(2 * time.Hour) }
		if p.forget(); len(p.records) != 0 {
			t.Errorf("%d records stay", len(p.records))
		}
	})
}

func TestAShareThatWaitsAtTheEndIsNotCalledCounted(t *testing.T) {
	// It is unknown whether it counts, whoever ends first: its miner or the proxy.
	p := newPool(t, 1).start()
	p.redis.Kill()
	ctx, cancel := context.WithCancel(t.Context())
	left, ended := make(chan error), make(chan error)
	count := func(ctx context.Context, verdict chan<- error) {
		_, err := p.counter.count(ctx, storage.Share{})
		verdict <- err
	}
	go count(context.WithoutCancel(ctx), ended)
	p.until("a share waits for redis", func() bool { return strings.Contains(p.logs.String(), "shares wait for redis") })
	go count(ctx, left)
	cancel()
	if err := <-left; !errors.Is(err, errNotCounted) {
		t.Errorf("a miner who left: error %v", err)
	}
	p.stop()
	if err := <-ended; !errors.Is(err, errNotCounted) {
		t.Errorf("the proxy ended: error %v", err)
	}
}
