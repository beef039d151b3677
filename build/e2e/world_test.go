package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/big"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// The binaries under test, built once.
var poolBinary, devnetBinary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "pool-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	poolBinary, devnetBinary = filepath.Join(dir, "open-ethereum-pool"), filepath.Join(dir, "devnet")
	code := 1
	if err := build(); err != nil {
		fmt.Fprintln(os.Stderr, err)
	} else {
		code = m.Run()
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func build() error {
	for _, b := range []struct{ dir, out string }{{"../..", poolBinary}, {"../devnet", devnetBinary}} {
		cmd := exec.Command("go", "build", "-o", b.out, ".")
		cmd.Dir, cmd.Env = b.dir, append(os.Environ(), "CGO_ENABLED=0", "GOEXPERIMENT=simd", "GOFLAGS=-trimpath")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build in %s: %w\n%s", b.dir, err, out)
		}
	}
	return nil
}

// sources looks at what the binaries are made of: go takes a test's result from its
// cache while nothing changed that the test looked at.
var sources = sync.OnceValue(func() error {
	return filepath.WalkDir("../..", func(path string, _ fs.DirEntry, err error) error {
		if err == nil && slices.Contains([]string{".go", ".lua", ".mod"}, filepath.Ext(path)) {
			_, err = os.Stat(path)
		}
		return err
	})
})

// patience is how long anything may take before a test gives up on it. No test
// passes or fails by being faster than that.
const patience = 60 * time.Second

// process is a program that a test started.
type process struct {
	cmd  *exec.Cmd
	out  *safeBuffer // standard output and error together
	done chan struct{}
	err  error
}

type safeBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (b *safeBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.Write(p)
}

func (b *safeBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String()
}

func start(t testing.TB, cmd *exec.Cmd) *process { t.Helper(); return startWith(t, cmd, nil) }

// startWith is start for a process in which something is changed before its first
// instruction.
func startWith(t testing.TB, cmd *exec.Cmd, change func(pid int) error) *process {
	t.Helper()
	if err := sources(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd, out: &safeBuffer{}, done: make(chan struct{})}
	if cmd.Stdout == nil {
		cmd.Stdout = p.out
	}
	cmd.Stderr = p.out
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = new(syscall.SysProcAttr)
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	cmd.SysProcAttr.Ptrace = change != nil
	runtime.LockOSThread() // which is the one that traces it
	defer runtime.UnlockOSThread()
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var unchanged error
	if change != nil {
		unchanged = changed(cmd.Process.Pid, change)
	}
	go func() { p.err = cmd.Wait(); close(p.done) }()
	if unchanged != nil {
		p.kill()
		t.Fatal(unchanged)
	}
	t.Cleanup(p.kill)
	return p
}

// changed lets a process that waits to be traced be changed, and go on untraced.
func changed(pid int, change func(pid int) error) error {
	var status syscall.WaitStatus
	if _, err := syscall.Wait4(pid, &status, 0, nil); err != nil {
		return fmt.Errorf("wait for process %d to be traced: %w", pid, err)
	}
	if err := change(pid); err != nil {
		return err
	}
	if err := syscall.PtraceDetach(pid); err != nil {
		return fmt.Errorf("let process %d go: %w", pid, err)
	}
	return nil
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// wait returns the exit status.
func (p *process) wait(t testing.TB) int {
	t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		t.Fatalf("still running after %s:\n%s", patience, p.out)
	}
	return p.cmd.ProcessState.ExitCode()
}

// terminate sends SIGTERM and returns the exit status.
func (p *process) terminate(t testing.TB) int {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		t.Fatal(err)
	}
	return p.wait(t)
}

// chain is a real proof-of-work node in a process of its own.
type chain struct {
	t        testing.TB
	home     testing.TB // at whose end the node ends
	proc     *process
	rpc      *rpc.Client
	args     []string
	URL      string         `json:"http"`
	WS       string         `json:"ws"`
	ChainID  uint64         `json:"chainId"`
	Genesis  common.Hash    `json:"genesis"`
	Account  common.Address `json:"account"`
	Coinbase common.Address `json:"coinbase"`
	Enode    string         `json:"enode"`
}

// poolKey is the throw-away key of the pool's account on every test chain.
var poolKey, _ = crypto.ToECDSA(crypto.Keccak256([]byte("open-ethereum-pool e2e")))

func startChain(t testing.TB, args ...string) *chain {
	t.Helper()
	account := crypto.PubkeyToAddress(poolKey.PublicKey)
	args = append([]string{"chain", "--key", fmt.Sprintf("%x", crypto.FromECDSA(poolKey)), "--fund", account.Hex() + "=100000",
		"--coinbase", "0x00000000000000000000000000000000000c01b5"}, args...)
	c := &chain{t: t, home: t, args: args}
	c.start()
	var err error
	if c.rpc, err = rpc.New([]string{c.URL}, patience); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.rpc.Close)
	return c
}

// start runs the node and returns when it answers.
func (c *chain) start() {
	c.t.Helper()
	cmd := exec.Command(devnetBinary, c.args...)
	r, w, err := os.Pipe()
	if err != nil {
		c.t.Fatal(err)
	}
	defer r.Close() // it says no more than this
	cmd.Stdout = w
	c.proc = start(c.home, cmd)
	w.Close()
	line, err := bufio.NewReader(r).ReadBytes('\n')
	if err == nil {
		err = json.Unmarshal(line, c)
	}
	if err != nil {
		c.t.Fatalf("devnet chain: %v\n%s", err, c.proc.out)
	}
}

// startKeptChain is a node that keeps its blocks over a restart, and nothing else.
func startKeptChain(t testing.TB, args ...string) *chain {
	t.Helper()
	return startChain(t, append(args, "--datadir", t.TempDir(), "--http", fmt.Sprintf("127.0.0.1:%d", freePort(t)))...)
}

// restart kills the node and starts it again: its blocks are there, its mempool is
// empty.
func (c *chain) restart() {
	c.t.Helper()
	c.proc.kill()
	c.start()
}

// freePort is one that no outgoing connection is given, so that it is still free
// when a server comes back to it.
func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := 10_000 + rand.IntN(6_000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err == nil {
			l.Close()
			return port
		}
	}
	t.Fatal("no free loopback port from 10000 to 16000")
	return 0
}

// call asks the node, past every proxy.
func (c *chain) call(result any, method string, params ...any) {
	c.t.Helper()
	if err := c.tryCall(result, method, params...); err != nil {
		c.t.Fatalf("%s: %v", method, err)
	}
}

// tryCall is call for what the node may refuse.
func (c *chain) tryCall(result any, method string, params ...any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	return c.rpc.Call(ctx, result, method, params...)
}

func (c *chain) mine(n int) { c.t.Helper(); c.call(nil, "devnet_mine", n) }

// transfer is one transaction of the account on the canonical chain.
type transfer struct {
	Block, Nonce, Status uint64
	Hash                 common.Hash
	To                   *common.Address
	ValueWei             string
}

// received adds up, per recipient, what the pool's account really moved.
func (c *chain) received() map[common.Address]*big.Int { c.t.Helper(); return c.receivedSince(0) }

// receivedSince is the same of a block and all after it.
func (c *chain) receivedSince(block uint64) map[common.Address]*big.Int {
	c.t.Helper()
	var ts []transfer
	c.call(&ts, "devnet_transfers", c.Account, block)
	sum := map[common.Address]*big.Int{}
	for _, tr := range ts {
		v, ok := new(big.Int).SetString(tr.ValueWei, 10)
		if !ok {
			c.t.Fatalf("devnet_transfers: value %q", tr.ValueWei)
		}
		if tr.Status != 1 || tr.To == nil {
			continue
		}
		if sum[*tr.To] == nil {
			sum[*tr.To] = new(big.Int)
		}
		sum[*tr.To].Add(sum[*tr.To], v)
	}
	return sum
}

// world is a Redis, a chain, and the pool's configuration between them.
type world struct {
	t     testing.TB
	redis *storagetest.Server
	chain *chain
	dir   string
	next  int // the next unused miner

	redisAddr, nodeURL string         // where the pool connects: the proxies, when there are some
	redisSection       map[string]any // where that is not one address
	payouts            map[string]any
}

// under lets a test of its own go on with the world.
func (w *world) under(t testing.TB) { w.t, w.chain.t = t, t }

func newWorld(t testing.TB, redis *storagetest.Server, c *chain) *world {
	return &world{t: t, redis: redis, chain: c, dir: t.TempDir(), redisAddr: redis.Addr(), nodeURL: c.URL,
		payouts: map[string]any{"enabled": true, "address": c.Account.Hex(), "requirePeers": 0, "interval": "1h",
			"pollInterval": "50ms", "timeout": "2s", "threshold": 500000000, "confirmations": 2, "voidDepth": 5, "bumpAfter": 0}}
}

// config writes the configuration and returns its path.
func (w *world) config() string {
	w.t.Helper()
	w.payouts["daemon"] = w.nodeURL
	return w.write("payouts.json", map[string]any{"payouts": w.payouts})
}

// write writes a configuration of these sections and returns its path.
func (w *world) write(name string, sections map[string]any) string {
	w.t.Helper()
	all := map[string]any{"coin": "eth", "redis": map[string]any{"endpoint": w.redisAddr}}
	if w.redisSection != nil {
		all["redis"] = w.redisSection
	}
	maps.Copy(all, sections)
	text, err := json.Marshal(all)
	if err != nil {
		w.t.Fatal(err)
	}
	path := filepath.Join(w.dir, name)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// pool starts the real binary: ./open-ethereum-pool payouts.json ARGS.
func (w *world) pool(args ...string) *process { return w.poolEnv(nil, args...) }

func (w *world) poolEnv(env []string, args ...string) *process {
	w.t.Helper()
	cmd := command(append([]string{w.config()}, args...)...)
	cmd.Env = append(os.Environ(), env...)
	return start(w.t, cmd)
}

// command is the real binary's command line.
func command(args ...string) *exec.Cmd { return exec.Command(poolBinary, args...) }

// run starts it and waits for the end.
func (w *world) run(args ...string) (status int, out string) {
	w.t.Helper()
	p := w.pool(args...)
	return p.wait(w.t), p.out.String()
}

func (w *world) mustRun(args ...string) string {
	w.t.Helper()
	status, out := w.run(args...)
	if status != 0 {
		w.t.Fatalf("open-ethereum-pool payouts.json %s: status %d\n%s", strings.Join(args, " "), status, out)
	}
	return out
}

// miner makes a login that nobody used yet, with a balance.
func (w *world) miner(balance util.Shannon) string {
	w.t.Helper()
	w.next++
	login := strings.ToLower(crypto.PubkeyToAddress(minerKey(w.next).PublicKey).Hex())
	w.credit(login, balance)
	return login
}

// credit gives a miner a balance, as the unlocker does with a block that brings
// everybody everything.
func (w *world) credit(login string, amount util.Shannon) {
	w.t.Helper()
	block := fmt.Sprintf("0x%064x", 1)
	w.redis.Do(w.t, "ZADD", "eth:blocks:matured", 1, "0:0:0x0000000000000001:"+block+":1:1:1:0")
	w.redis.Do(w.t, "HINCRBY", "eth:credits:1:"+block, login, int64(amount))
	w.redis.Do(w.t, "HINCRBY", "eth:miners:"+login, "balance", int64(amount))
	w.redis.Do(w.t, "HINCRBY", "eth:finances", "balance", int64(amount))
}

// until polls, without a part in what passes, for something to become true.
func (w *world) until(what string, p *process, ok func() bool) {
	w.t.Helper()
	for deadline := time.Now().Add(patience); !ok(); time.Sleep(20 * time.Millisecond) {
		if (p.ended() && !ok()) || time.Now().After(deadline) {
			w.t.Fatalf("%s: not within %s (process ended: %v)\n%s", what, patience, p.ended(), p.out)
		}
	}
}

// settled says whether every payment is final and nothing is pending.
func (w *world) settled() bool {
	return w.redis.Do(w.t, "ZCARD", "eth:payments:inflight") == int64(0) && w.redis.Do(w.t, "ZCARD", "eth:payments:pending") == int64(0)
}

// paid says whether the books show a miner as paid so much in all.
func (w *world) paid(login string, amount util.Shannon) bool {
	return w.redis.Do(w.t, "HGET", "eth:miners:"+login, "paid") == amount.String()
}

// wantReceived asserts what the chain, and nobody else, says a miner got.
func (w *world) wantReceived(received map[common.Address]*big.Int, login string, want util.Shannon) {
	w.t.Helper()
	got := received[common.HexToAddress(login)]
	if got == nil {
		got = new(big.Int)
	}
	if got.Cmp(want.Wei()) != 0 {
		w.t.Errorf("miner %s received %s Wei on the chain, want %s", login, got, want.Wei())
	}
}

// audit holds Redis, the journal and the chain against each other from the first
// payment on, through clean connections.
func (w *world) audit() {
	w.t.Helper()
	redis, node := w.redisAddr, w.nodeURL
	w.redisAddr, w.nodeURL = w.redis.Addr(), w.chain.URL
	w.mustRun("audit", "--full")
	w.redisAddr, w.nodeURL = redis, node
}

// audited is what is wrong with the books in Redis alone.
func (w *world) audited() string {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	cfg := storage.DefaultConfig()
	cfg.Endpoint = w.redis.Addr()
	db, err := storage.Open(ctx, cfg, "eth")
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	r, err := db.Audit(ctx)
	if err != nil {
		w.t.Fatal(err)
	}
	if r.Clean() {
		return ""
	}
	var b strings.Builder
	r.Print(&b)
	return b.String()
}
