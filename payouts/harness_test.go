package payouts

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"fmt"
	"log/slog"
	"math/big"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// pool is everything around a Payer: a real Redis, a scripted chain with one
// node, a journal, and a clock that mines a block whenever somebody sleeps.
type pool struct {
	t       testing.TB
	redis   *storagetest.Server
	chain   *rpctest.Chain
	node    *rpctest.Node
	key     *ecdsa.PrivateKey
	account common.Address
	cfg     Config
	journal string
	clock   *miningClock
	logs    *logBuffer

	// wrap lets a test stand between the Payer and its parts.
	wrap func(Parts) Parts
}

// miningClock is a clock that stands still but for sleepers, and on which each
// sleep is worth a block.
type miningClock struct {
	mu      sync.Mutex
	now     time.Time
	onSleep func()
}

func (c *miningClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// jump sets the clock forward; the chain stays where it is.
func (c *miningClock) jump(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func (c *miningClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.now = c.now.Add(d)
	f := c.onSleep
	c.mu.Unlock()
	if f != nil {
		f()
	}
	return ctx.Err()
}

// logBuffer keeps the log for a test that asks what was said.
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

func newPool(t testing.TB) *pool {
	t.Helper()
	return newPoolWith(t, rpctest.Options{ChainID: 61})
}

func newPoolWith(t testing.TB, o rpctest.Options) *pool {
	t.Helper()
	return newPoolOn(t, storagetest.Start(t), o)
}

func newPoolOn(t testing.TB, redis *storagetest.Server, o rpctest.Options) *pool {
	t.Helper()
	key, err := crypto.ToECDSA(crypto.Keccak256([]byte("the pool's account")))
	if err != nil {
		t.Fatal(err)
	}
	chain := rpctest.NewChain(o)
	p := &pool{t: t, redis: redis, chain: chain, node: chain.Node(t), key: key,
		account: crypto.PubkeyToAddress(key.PublicKey), journal: filepath.Join(t.TempDir(), "payouts.journal"),
		clock: &miningClock{now: time.Unix(1_700_000_000, 0)}, logs: &logBuffer{}}
	p.node.Unlock(key)
	chain.HandleCall(chain.CodeSizes(codeProbeSize))
	chain.Fund(p.account, coinsToWei(1000))
	chain.Mine(1)
	p.clock.onSleep = func() { chain.Mine(1) }

	p.cfg = DefaultConfig()
	p.cfg.Enabled = true
	p.cfg.Address = p.account.Hex()
	p.cfg.Daemon = util.URLs{p.node.URL}
	p.cfg.Confirmations, p.cfg.VoidDepth, p.cfg.BumpAfter = 3, 6, 8
	return p
}

func coinsToWei(n int64) *big.Int { return new(big.Int).Mul(big.NewInt(n), big.NewInt(1e18)) }

// login is the n-th miner's, in lower case.
func login(n int) string { return fmt.Sprintf("0x%040x", 0xabc000+n) }

func address(login string) common.Address { return common.HexToAddress(login) }

// oneBlock is the hash of a block that brings everybody everything.
const oneBlock = "0x0000000000000000000000000000000000000000000000000000000000000001"

// credit gives a miner a balance, as the unlocker does.
func (p *pool) credit(login string, amount util.Shannon) {
	p.t.Helper()
	p.redis.Do(p.t, "ZADD", "eth:blocks:matured", 1, "0:0:0x0000000000000001:"+oneBlock+":1:1:1:0")
	p.redis.Do(p.t, "HINCRBY", "eth:credits:1:"+oneBlock, login, int64(amount))
	p.redis.Do(p.t, "HINCRBY", "eth:miners:"+login, "balance", int64(amount))
	p.redis.Do(p.t, "HINCRBY", "eth:finances", "balance", int64(amount))
}

func (p *pool) db() *storage.DB {
	p.t.Helper()
	cfg := storage.DefaultConfig()
	cfg.Endpoint = p.redis.Addr()
	db, err := storage.Open(context.Background(), cfg, "eth")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { db.Close() })
	return db
}

// start makes a Payer as a new process would. stop ends it as a clean exit or a
// kill would: both give the journal's lock back.
func (p *pool) start() (payer *Payer, stop func()) {
	p.t.Helper()
	payer, stop, err := p.tryStart()
	if err != nil {
		p.t.Fatal(err)
	}
	return payer, stop
}

func (p *pool) tryStart() (*Payer, func(), error) {
	p.t.Helper()
	log := slog.New(slog.NewTextHandler(p.logs, nil))
	db := p.db()
	node, err := rpc.New(p.cfg.Daemon, 5*time.Second)
	if err != nil {
		return nil, nil, err
	}
	chainID, genesis, err := node.Identity(context.Background())
	if err != nil {
		return nil, nil, err
	}
	journal, err := OpenJournal(p.journal, Header{ChainID: chainID, Genesis: genesis, Account: p.account})
	if err != nil {
		return nil, nil, err
	}
	signer, err := NewSigner(p.cfg.Signer, node, p.account)
	if err != nil {
		journal.Close()
		return nil, nil, err
	}
	parts := Parts{Ledger: Redis(db), Orders: db, Chain: node, Signer: signer, Journal: journal, Clock: p.clock, Log: log,
		Owner: NewOwner(journal.Header().ID), Coin: "eth"}
	if p.wrap != nil {
		parts = p.wrap(parts)
	}
	payer, err := New(p.cfg, parts)
	if err != nil {
		return nil, nil, err
	}
	return payer, func() { journal.Close(); node.Close(); db.Close() }, nil
}

// session runs one session in a process of its own.
func (p *pool) session() (Result, error) {
	p.t.Helper()
	payer, stop := p.start()
	defer stop()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	return payer.Session(ctx)
}

func (p *pool) mustSession() Result {
	p.t.Helper()
	r, err := p.session()
	if err != nil {
		p.t.Fatalf("session: %v\n%s", err, p.logs)
	}
	return r
}

// settle mines until everything in flight is final, advancing as it goes.
func (p *pool) settle() {
	p.t.Helper()
	payer, stop := p.start()
	defer stop()
	p.settleWith(payer)
}

func (p *pool) settleWith(payer *Payer) {
	p.t.Helper()
	for range 60 {
		if err := p.advance(payer); err != nil {
			p.t.Logf("advance: %v", err)
		}
		if p.redis.Do(p.t, "ZCARD", "eth:payments:inflight") == int64(0) {
			return
		}
		p.chain.Mine(1)
	}
	p.t.Fatalf("payments are still open after 60 blocks\n%s", p.logs)
}

func (p *pool) advance(payer *Payer) error {
	return payer.hold(context.Background(), func(t *turn) error { return t.advance(context.Background()) })
}

// wantReceived asserts what the chain shows a miner got, in Shannon.
func (p *pool) wantReceived(login string, want util.Shannon) {
	p.t.Helper()
	if got := p.chain.Received(address(login)); got.Cmp(want.Wei()) != 0 {
		p.t.Errorf("%s received %s Wei, want %s\n%s", login, got, want.Wei(), p.logs)
	}
}

// wantBooks asserts a miner's row.
func (p *pool) wantBooks(login string, balance, pending, paid util.Shannon) {
	p.t.Helper()
	m, err := p.db().Miner(context.Background(), login)
	if err != nil {
		p.t.Fatal(err)
	}
	if m.Balance != balance || m.Pending != pending || m.Paid != paid {
		p.t.Errorf("%s has balance %d, pending %d, paid %d; want %d, %d, %d", login, m.Balance, m.Pending, m.Paid, balance, pending, paid)
	}
}

// auditor holds everything against each other, with a node client of its own.
func (p *pool) auditor() *Auditor {
	p.t.Helper()
	node, err := rpc.New(p.cfg.Daemon, 5*time.Second)
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(node.Close)
	cfg := p.cfg
	cfg.Journal = p.journal
	a, err := NewAuditor(cfg, p.db(), node, slog.New(slog.NewTextHandler(p.logs, nil)))
	if err != nil {
		p.t.Fatal(err)
	}
	a.clock = p.clock
	return a
}

// audit asserts that Redis, journal and chain agree, from the first payment on.
func (p *pool) audit() {
	p.t.Helper()
	p.audited(true)
}

func (p *pool) audited(full bool) storage.Report {
	p.t.Helper()
	r, err := p.auditor().Audit(context.Background(), full)
	if err != nil {
		p.t.Fatal(err)
	}
	if !r.Clean() {
		var b strings.Builder
		r.Print(&b)
		p.t.Errorf("audit:\n%s\n%s", &b, p.logs)
	}
	return r
}

func (p *pool) wantLog(text string) {
	p.t.Helper()
	if !strings.Contains(p.logs.String(), text) {
		p.t.Errorf("the log does not say %q:\n%s", text, p.logs)
	}
}

// wantHalt asserts that err is a halt for that reason.
func wantHalt(t testing.TB, err error, reason string) {
	t.Helper()
	if haltReason(err) != reason {
		t.Fatalf("halted by %v (%s), want %s", err, haltReason(err), reason)
	}
}
