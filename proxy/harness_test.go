package proxy

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"go.uber.org/goleak"

	"github.com/open-ethereum-pool/open-ethereum-pool/proxy/ethash"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// shared is the production verifier with the cache of epoch 0, which takes a
// while to build.
var shared = struct {
	sync.Once
	*ethash.Verifier
}{}

func TestMain(m *testing.M) {
	ctx, cancel := context.WithCancel(context.Background())
	shared.Verifier = ethash.New(ethash.Ethereum, slog.New(slog.DiscardHandler))
	ended := make(chan error)
	go func() { ended <- shared.Run(ctx) }()
	code := m.Run()
	cancel()
	if err := <-ended; err != nil {
		panic(err)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// node is a node of the test's: what it is told to give, and what it was given.
type node struct {
	mu        sync.Mutex
	work      []string
	asked     int // times for work
	fails     error
	refuses   bool
	syncing   bool
	lose      int // replies to submitted blocks that get lost
	submitted []string
	file      string // read when the first block is submitted
	filed     string
}

func (n *node) Syncing(context.Context) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.syncing, n.fails
}

func (n *node) GetWork(context.Context) ([]string, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.asked++
	if n.fails != nil {
		return nil, n.fails
	}
	if n.work == nil {
		return nil, errors.New("no work yet")
	}
	return n.work, nil
}

func (n *node) PendingBlock(context.Context) (uint64, *big.Int, error) {
	return 0, nil, errors.New("the work says its height")
}

func (n *node) SubmitWork(_ context.Context, nonce, header, mix string) (bool, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.file != "" && len(n.submitted) == 0 {
		data, err := os.ReadFile(n.file)
		n.filed = fmt.Sprintf("%s%v", data, err)
	}
	n.submitted = append(n.submitted, strings.Join([]string{nonce, header, mix}, " "))
	if n.lose > 0 {
		n.lose--
		return false, errors.New("the reply is lost")
	}
	return !n.refuses, n.fails
}

func (n *node) got() []string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]string(nil), n.submitted...)
}

// change does something to the node.
func (n *node) change(f func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	f()
}

// give makes it have work of this height, whose blocks are of the difficulty.
func (n *node) give(height uint64, difficulty int64) common.Hash {
	header := common.BigToHash(new(big.Int).Add(new(big.Int).SetUint64(height), new(big.Int).Lsh(common.Big1, 200)))
	n.change(func() {
		n.work = []string{header.Hex(), common.Hash{}.Hex(), targetOf(difficulty).Hex(), fmt.Sprintf("0x%x", height)}
	})
	return header
}

const (
	alice      = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa01"
	bob        = "0xBBbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbB02"
	impossible = 1 << 60 // difficulty of a block that nobody finds
)

// pool is a running proxy and what is around it.
type pool struct {
	t     testing.TB
	redis *storagetest.Server
	db    *storage.DB
	nodes []*node
	cfg   Config
	logs  *logBuffer
	ws    string // of every node
	*Proxy
	before func() // the Proxy runs
	stop   func()
}

type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *logBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *logBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

// newPool makes everything but the proxy; shares have a difficulty of 2.
func newPool(t testing.TB, nodes int) *pool {
	t.Helper()
	p := &pool{t: t, redis: storagetest.Start(t), cfg: DefaultConfig(), logs: &logBuffer{}}
	p.cfg.Enabled, p.cfg.Listen, p.cfg.Difficulty = true, "127.0.0.1:0", 2
	p.cfg.Stratum.Enabled, p.cfg.Stratum.Listen = true, "127.0.0.1:0"
	p.cfg.BlockRefreshInterval, p.cfg.StateUpdateInterval = util.Duration(2*time.Millisecond), util.Duration(20*time.Millisecond)
	p.cfg.Candidates = filepath.Join(t.TempDir(), "candidates")
	for range nodes {
		n := new(node)
		n.give(100, impossible)
		p.nodes = append(p.nodes, n)
	}
	cfg := storage.DefaultConfig()
	cfg.Endpoint = p.redis.Addr()
	var err error
	if p.db, err = storage.Open(t.Context(), cfg, "eth"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.db.Close() })
	return p
}

// start runs the proxy until the test ends, or stop is called.
func (p *pool) start() *pool {
	p.t.Helper()
	parts := Parts{Ledger: p.db, Rules: ethash.Ethereum, Verifier: shared.Verifier, Name: "main", Log: slog.New(slog.NewTextHandler(p.logs, &slog.HandlerOptions{Level: slog.LevelDebug}))}
	var list []Upstream
	for i, n := range p.nodes {
		parts.Nodes = append(parts.Nodes, n)
		list = append(list, Upstream{Name: fmt.Sprint("node ", i), WS: p.ws})
	}
	var err error
	if p.Proxy, err = New(p.cfg, list, 20*time.Millisecond, parts); err != nil {
		p.t.Fatal(err)
	}
	p.countTime = time.Hour // no machine is that slow
	told := p.broadcasts()
	if p.before != nil {
		p.before()
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	var once sync.Once
	p.stop = func() {
		once.Do(func() {
			cancel()
			if err := <-ended; err != nil {
				p.t.Errorf("the proxy ended with %v", err)
			}
		})
	}
	p.t.Cleanup(p.stop)
	// Who connects before everybody was told is told as well.
	p.until("everybody was told of the work", func() bool { return p.broadcasts() > told })
	return p
}

// broadcasts are how often everybody was told of work.
func (p *pool) broadcasts() int { return strings.Count(p.logs.String(), `msg="new work"`) }

// polled waits until the first node, which gives the work, was asked for it, and
// what it gave was told.
func (p *pool) polled() {
	asked := func() (n int) {
		p.nodes[0].change(func() { n = p.nodes[0].asked })
		return n
	}
	before := asked()
	p.until("it is asked after the next time", func() bool { return asked() >= before+2 })
}

// openConnections are those that hold a place.
func (p *pool) openConnections() int {
	p.sessions.mu.Lock()
	defer p.sessions.mu.Unlock()
	return p.sessions.open
}

// until waits for something that has to come true; the limit of the test run is
// its only limit.
func (p *pool) until(_ string, ok func() bool) {
	for !ok() {
		time.Sleep(time.Millisecond)
	}
}

// job waits for work of the height.
func (p *pool) job(height uint64) *work {
	var w *work
	p.until("there is a job", func() bool { w = p.board.now.Load(); return w != nil && w.Height == height })
	return w
}

// share finds a nonce whose hash is at most the target of the difficulty, and
// above that of tooGood when this is not 0.
func (p *pool) share(w *work, difficulty, tooGood int64, begin uint64) (uint64, ethash.Digest) {
	p.t.Helper()
	for nonce := begin; ; nonce++ {
		d, err := shared.Hash(p.t.Context(), w.Height, ethash.Work{Header: w.Header, Nonce: nonce})
		if err != nil {
			p.t.Fatal(err)
		}
		if meets(d.Final, targetOf(difficulty)) && (tooGood == 0 || !meets(d.Final, targetOf(tooGood))) {
			return nonce, d
		}
	}
}

// bad finds a nonce that does not meet the difficulty.
func (p *pool) bad(w *work, difficulty int64, begin uint64) (uint64, ethash.Digest) {
	return p.share(w, 1, difficulty, begin)
}

// round is what a login's shares in the present round add up to.
func (p *pool) round(login string) string {
	v, _ := p.redis.Do(p.t, "HGET", "eth:shares:roundCurrent", login).(string)
	return v
}

// miner is a connection to the proxy.
type client struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
}

func (p *pool) dial() *client {
	p.t.Helper()
	return dial(p.t, p.Addrs()[1])
}

func dial(t testing.TB, a net.Addr) *client {
	t.Helper()
	conn, err := net.Dial("tcp", a.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &client{t: t, conn: conn, in: bufio.NewReader(conn)}
}

func (c *client) send(line string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, line+"\n"); err != nil {
		c.t.Fatal(err)
	}
}

// read is the next line.
func (c *client) read() string {
	c.t.Helper()
	line, err := c.in.ReadString('\n')
	if err != nil {
		c.t.Fatalf("read: %v", err)
	}
	return strings.TrimSuffix(line, "\n")
}

// ask sends a request and returns its answer, past the news in between.
func (c *client) ask(line string) string {
	c.t.Helper()
	var req struct{ ID int }
	if err := json.Unmarshal([]byte(line), &req); err != nil {
		c.t.Fatal(err)
	}
	c.send(line)
	for {
		answer := c.read()
		var reply struct {
			ID     *int
			Method string
		}
		if err := json.Unmarshal([]byte(answer), &reply); err != nil {
			c.t.Fatalf("answer %q: %v", answer, err)
		}
		if reply.Method == "" && reply.ID != nil && *reply.ID == req.ID {
			return answer
		}
	}
}

func (c *client) want(line, answer string) {
	c.t.Helper()
	if got := c.ask(line); got != answer {
		c.t.Errorf("%s\nis answered %s\nwant        %s", line, got, answer)
	}
}

// closed waits for the end of the connection.
func (c *client) closed() {
	c.t.Helper()
	if _, err := io.Copy(io.Discard, c.in); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) && !strings.Contains(err.Error(), "reset") {
		c.t.Errorf("the connection ended with %v", err)
	}
}

var discard = slog.New(slog.DiscardHandler)
