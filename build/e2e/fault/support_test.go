package fault

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"regexp"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience turns a hang into a failure; nothing is measured by it.
const patience = time.Minute

func client(t *testing.T, p *Proxy, protocol int) *redis.Client {
	t.Helper()
	c := redis.NewClient(&redis.Options{
		Addr:                     p.Addr(),
		Protocol:                 protocol,
		DialTimeout:              patience,
		ReadTimeout:              patience,
		WriteTimeout:             patience,
		MaxRetries:               -1,
		DialerRetries:            1,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// wire is a connection without a client's own ideas.
type wire struct {
	t *testing.T
	net.Conn
	r *bufio.Reader
}

func dial(t *testing.T, p *Proxy) *wire {
	t.Helper()
	c, err := net.Dial("tcp", p.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return &wire{t, c, bufio.NewReader(c)}
}

// send writes the commands, given as words, in one piece.
func (w *wire) send(commands ...string) {
	w.t.Helper()
	var b strings.Builder
	for _, c := range commands {
		words := strings.Fields(c)
		fmt.Fprintf(&b, "*%d\r\n", len(words))
		for _, x := range words {
			fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(x), x)
		}
	}
	if _, err := io.WriteString(w, b.String()); err != nil {
		w.t.Fatal(err)
	}
}

// recv reads one reply; "" is the end of the connection.
func (w *wire) recv() string {
	b, err := readReply(w.r)
	if err != nil {
		return ""
	}
	return string(b)
}

// rest reads replies until the end of the connection.
func (w *wire) rest() []string {
	var all []string
	for s := w.recv(); s != ""; s = w.recv() {
		all = append(all, s)
	}
	return all
}

// eventually waits for what is bound to happen.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
	}
}

func await(t *testing.T, what string, c <-chan struct{}) {
	t.Helper()
	select {
	case <-c:
	case <-time.After(patience):
		t.Fatalf("never: %s", what)
	}
}

// Two states of a proxy that nobody can see from outside.
var (
	holding = regexp.MustCompile(`fault\.\(\*Proxy\)\.wait\(`)                             // a message is held back
	fullUp  = regexp.MustCompile(`\[select.*\]:\n\S*fault\.\(\*redisConn\)\.readClient\(`) // as much is read ahead as may be
)

func running(what *regexp.Regexp) bool {
	stacks := make([]byte, 1<<20)
	return what.Match(stacks[:runtime.Stack(stacks, true)])
}

func pending(c <-chan struct{}) bool {
	select {
	case <-c:
		return false
	default:
		return true
	}
}

// recorder is a test that may fail without failing the one that runs it.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Errorf(format string, args ...any) {
	r.said = append(r.said, fmt.Sprintf(format, args...))
}
