package browser

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience is how long anything may take before a test gives up on it. No test
// passes or fails by being faster than that.
const patience = 100 * time.Second

// visitor is the miner whose account the tests look at, as EIP-55 writes him. His
// two rigs are slow, so that his balance is below the threshold most of the time.
const visitor = "0xfB6916095ca1df60bB79Ce92cE3Ea74c37c5d359"

// guest mines much in the beginning, so that blocks come fast and the demo soon has
// something to show.
const guest = "0xD1220A0cf47c7B9Be7A2E6BA89F429762e7b9aDb"

// The world that all tests share.
var (
	demo   *world
	chrome *browser
)

func TestMain(m *testing.M) {
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (code int, err error) {
	dir, err := os.MkdirTemp("", "pool-browser-")
	if err != nil {
		return 1, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	demo = &world{dir: dir, pool: filepath.Join(dir, "open-ethereum-pool"), devnet: filepath.Join(dir, "devnet")}
	if err := demo.build(); err != nil {
		return 1, err
	}
	if chrome, err = openBrowser(filepath.Join(dir, "profile")); err != nil {
		return 1, err
	}
	defer chrome.close()
	defer demo.end()
	if err := demo.start(); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// world is the demo, and the programs that were started beside it.
type world struct {
	dir, pool, devnet string
	demo              *process
	rigs              []*process // of the visitor
	guests            []*process

	pages   string // http://HOST:PORT
	stratum string // HOST:PORT
	redis   string // HOST:PORT
}

func (w *world) build() error {
	if _, err := os.Stat("../../www/dist/index.html"); err != nil {
		return errors.New("www/dist/index.html is missing: make www builds the pages, then run this again")
	}
	for _, b := range []struct{ dir, out string }{{"../..", w.pool}, {"../devnet", w.devnet}} {
		cmd := exec.Command("go", "build", "-trimpath", "-o", b.out, ".")
		cmd.Dir, cmd.Env = b.dir, append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build in %s: %w\n%s", b.dir, err, out)
		}
	}
	return nil
}

// start starts the demo and the visitor's rigs.
func (w *world) start() (err error) {
	cmd := exec.Command(w.devnet, "demo", "--pool", w.pool)
	cmd.Env = append(os.Environ(), "TMPDIR="+w.dir)
	// On SIGTERM the demo ends the pool that it started.
	if w.demo, err = start(cmd, syscall.SIGTERM); err != nil {
		return err
	}
	for _, find := range []struct {
		pattern string
		to      *string
	}{
		{`THE PAGES: (http://[^/\s]+)`, &w.pages},
		{`through the pool's port, (\S+),`, &w.stratum},
		{`Redis is empty, at (\S+);`, &w.redis},
	} {
		pattern := regexp.MustCompile(find.pattern)
		if err := wait("the demo says "+find.pattern, w.demo, func() bool {
			m := pattern.FindStringSubmatch(w.demo.out.String())
			if m != nil {
				*find.to = m[1]
			}
			return m != nil
		}); err != nil {
			return err
		}
	}
	if err := wait("the pages are served", w.demo, func() bool { return w.get("/api/stats", nil) == nil }); err != nil {
		return err
	}
	for range 2 {
		if err := w.mine(&w.guests, guest, "fast", "100ms"); err != nil {
			return err
		}
	}
	for _, rig := range []string{"attic", "garage"} {
		if err := w.mine(&w.rigs, visitor, rig, "3s"); err != nil {
			return err
		}
	}
	return nil
}

// mine starts a rig. It ends when the pool does not listen yet, and is started
// again then.
func (w *world) mine(to *[]*process, login, rig, rest string) error {
	var p *process
	err := wait("a share of "+rig+" is accepted", w.demo, func() bool {
		if p == nil || p.ended() {
			var err error
			if p, err = start(exec.Command(w.devnet, "mine", "--pool", w.stratum, "--login", login, "--rig", rig, "--rest", rest), syscall.SIGKILL); err != nil {
				return false
			}
		}
		return strings.Contains(p.out.String(), "share accepted")
	})
	if p != nil {
		*to = append(*to, p)
	}
	return err
}

func (w *world) end() {
	for _, p := range slices.Concat(w.rigs, w.guests) {
		p.kill()
	}
	if w.demo != nil {
		w.demo.terminate()
	}
}

// get reads a route of the API.
func (w *world) get(route string, into any) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, w.pages+route, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("GET %s: %s: %s", route, res.Status, body)
	}
	if into == nil {
		return nil
	}
	return json.Unmarshal(body, into)
}

// payment is a row of the API.
type payment struct {
	Tx        string `json:"tx"`
	Timestamp int64  `json:"timestamp"`
	Address   string `json:"address"`
	Amount    int64  `json:"amount"` // Shannon
	Status    string `json:"status"`
	Block     int64  `json:"block"`
	FeeWei    string `json:"feeWei"`
}

// paid are the newest payments to the visitor; of an account that the pool does
// not know yet there are none.
func (w *world) paid() []payment {
	var a struct {
		Payments []payment `json:"payments"`
	}
	if w.get("/api/accounts/"+visitor+"/payments?limit=1000", &a) != nil {
		return nil
	}
	return a.Payments
}

// settled waits until the demo has something to show: the visitor was paid for
// good.
func (w *world) settled(t *testing.T) {
	t.Helper()
	final := func() bool {
		return slices.ContainsFunc(w.paid(), func(p payment) bool { return p.Status == "final" })
	}
	if err := waitFor(2*patience, "a payment to the visitor is final", w.demo, final); err != nil { // some fifty blocks
		t.Fatal(err)
	}
	for _, p := range w.guests {
		p.kill()
	}
}

// wait polls for something to become true while a process runs.
func wait(what string, p *process, ok func() bool) error { return waitFor(patience, what, p, ok) }

func waitFor(long time.Duration, what string, p *process, ok func() bool) error {
	for deadline := time.Now().Add(long); !ok(); time.Sleep(50 * time.Millisecond) {
		if p.ended() || time.Now().After(deadline) {
			return fmt.Errorf("%s: not within %s (process ended: %v); the end of what it said:\n%s", what, long, p.ended(), tail(p.out.String()))
		}
	}
	return nil
}

// tail is the end of a log.
func tail(s string) string {
	const most = 4000
	return s[max(0, len(s)-most):]
}

// freePort is an address that nobody listens on, and whose port no outgoing connection
// is given, so that it is still free when a server comes back to it.
func freePort(t *testing.T) string {
	t.Helper()
	for range 1000 {
		addr := fmt.Sprintf("127.0.0.1:%d", 10_000+rand.IntN(6_000))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no free loopback port from 10000 to 16000")
	return ""
}

// emptyRedis is the address of one that only this test uses.
func (w *world) emptyRedis(t *testing.T) string {
	t.Helper()
	redis, err := start(exec.Command(w.devnet, "redis"), syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.kill)
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`)
	if err := wait("an empty Redis", redis, func() bool { return address.MatchString(redis.out.String()) }); err != nil {
		t.Fatal(err)
	}
	return address.FindString(redis.out.String())
}

// api is a pool that serves the API and the pages, and nothing else, from a Redis.
type api struct {
	t      *testing.T
	w      *world
	proc   *process
	config string
	url    string
}

func (w *world) api(t *testing.T, redis string) *api {
	t.Helper()
	return w.apiWith(t, redis, map[string]any{})
}

// apiWith is api with settings of the pages.
func (w *world) apiWith(t *testing.T, redis string, pages map[string]any) *api {
	t.Helper()
	listen := freePort(t)
	a := &api{t: t, w: w, url: "http://" + listen, config: filepath.Join(t.TempDir(), "api.json")}
	text, err := json.Marshal(map[string]any{
		"coin": "demo", "name": "second", "network": "private",
		"redis": map[string]any{"endpoint": redis},
		"api":   map[string]any{"enabled": true, "listen": listen, "statsCollectInterval": "1s", "hashrateWindow": "1m", "hashrateLargeWindow": "10m", "pages": pages},
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(a.config, text, 0o600); err != nil {
		t.Fatal(err)
	}
	a.start()
	t.Cleanup(func() { a.proc.kill() })
	return a
}

// start starts it, on the same port each time, and waits until it answers.
func (a *api) start() {
	a.t.Helper()
	var err error
	if a.proc, err = start(exec.Command(a.w.pool, a.config), syscall.SIGKILL); err != nil {
		a.t.Fatal(err)
	}
	if err := wait("the second API answers", a.proc, func() bool {
		res, err := http.Get(a.url + "/api/stats")
		if err != nil {
			return false
		}
		res.Body.Close()
		return res.StatusCode == http.StatusOK
	}); err != nil {
		a.t.Fatal(err)
	}
}

func (a *api) stop() { a.proc.terminate() }

// redisDo sends one command, as a proxy of the existing pools would.
func redisDo(t *testing.T, addr string, args ...string) {
	t.Helper()
	conn, err := net.DialTimeout("tcp", addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if _, err := io.WriteString(conn, b.String()); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil || strings.HasPrefix(line, "-") {
		t.Fatalf("redis %s: %q, %v", args[0], line, err)
	}
}

// process is a program that was started here.
type process struct {
	cmd  *exec.Cmd
	out  *safeBuffer // standard output and error together
	done chan struct{}
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

// start starts a program that gets a signal when this process dies.
func start(cmd *exec.Cmd, orphaned syscall.Signal) (*process, error) {
	p := &process{cmd: cmd, out: &safeBuffer{}, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = p.out, p.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: orphaned}
	started := make(chan error)
	go func() {
		defer close(p.done)
		runtime.LockOSThread() // the signal comes when the thread ends
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait() // killed, as a rule
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return p, nil
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// terminate asks it to end, and kills it when it does not.
func (p *process) terminate() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(patience / 4):
		p.kill()
	}
}

// coins writes Shannon as the pages do in a column: all nine decimals.
func coins(shannon int64) string {
	whole, out := strconv.FormatInt(shannon/1e9, 10), ""
	for len(whole) > 3 {
		whole, out = whole[:len(whole)-3], ","+whole[len(whole)-3:]+out
	}
	return fmt.Sprintf("%s%s.%09d", whole, out, shannon%1e9)
}
