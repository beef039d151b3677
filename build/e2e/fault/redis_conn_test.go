package fault

import (
	"bufio"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"go.uber.org/goleak"
)

func TestHangHoldsOneConnectionOnly(t *testing.T) {
	srv := storagetest.Start(t)
	for _, tc := range []struct {
		name   string
		action func(<-chan struct{}) Action
		during any // n while it hangs
	}{
		{"before delivery", Hang, nil},
		{"after effect", func(c <-chan struct{}) Action { return Hang(c).AfterEffect() }, "1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv.Do(t, "DEL", "n")
			p := Redis(t, srv.Addr())
			release := make(chan struct{})
			p.Every(func(m Message) Action {
				if m.Name == "INCR n" {
					return tc.action(release)
				}
				return Pass
			})
			stuck, free := dial(t, p), dial(t, p)
			stuck.send("INCR n", "ECHO behind")
			eventually(t, "the command arrives", func() bool { return p.Count() == 1 })
			if tc.during != nil {
				eventually(t, "the command takes effect", func() bool { return srv.Do(t, "GET", "n") == tc.during })
			}
			free.send("GET n")
			if got, want := free.recv(), map[any]string{nil: "$-1\r\n", "1": "$1\r\n1\r\n"}[tc.during]; got != want {
				t.Errorf("the other connection saw %q, want %q", got, want)
			}
			close(release)
			if got := stuck.recv() + stuck.recv(); got != ":1\r\n$6\r\nbehind\r\n" {
				t.Errorf("released, the client saw %q", got)
			}
		})
	}
}

func TestHangEndsWithTheClientOrTheProxy(t *testing.T) {
	srv := storagetest.Start(t)
	for _, tc := range []struct {
		name   string
		behind int // commands in waiting
		end    func(*wire, *Proxy)
	}{
		{"the client leaves", 1, func(w *wire, _ *Proxy) { _ = w.Close() }},
		{"the proxy closes", 1, func(_ *wire, p *Proxy) { p.Close() }},
		{"the proxy closes, and more is waiting than it reads ahead", 2 * ahead, func(_ *wire, p *Proxy) { p.Close() }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := Redis(t, srv.Addr())
			p.Every(func(Message) Action { return Hang(nil) })
			w := dial(t, p)
			w.send(append([]string{"SET k v"}, slices.Repeat([]string{"SET l w"}, tc.behind)...)...)
			eventually(t, "the command hangs", func() bool {
				return running(holding) && running(fullUp) == (tc.behind > ahead)
			})
			tc.end(w, p)
			eventually(t, "its connections end", func() bool {
				return strings.Count(srv.Do(t, "CLIENT", "LIST").(string), "\n") == 1
			})
			if got := srv.Do(t, "EXISTS", "k", "l"); got != int64(0) {
				t.Errorf("%v of two keys were set, want none", got)
			}
		})
	}
}

// A dead client's commands that were on their way are executed, as without a proxy.
func TestCommandsOfADeadClientAreDelivered(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	release := make(chan struct{})
	p.Every(func(m Message) Action {
		if m.N == 1 {
			<-release // not how to hang, but it holds the connection and not the message
		}
		return Pass
	})
	w := dial(t, p)
	w.send(slices.Repeat([]string{"INCR n"}, 100)...)
	_ = w.Close()
	close(release)
	eventually(t, "all are delivered", func() bool { return srv.Do(t, "GET", "n") == "100" })
}

func TestBlockingCommandOfADeadClientIsForgotten(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	blocked := func() bool { return strings.Contains(srv.Do(t, "INFO", "clients").(string), "blocked_clients:1\r\n") }
	w := dial(t, p)
	w.send("BLPOP q 0")
	eventually(t, "the command blocks", blocked)
	_ = w.Close()
	eventually(t, "it is forgotten", func() bool { return !blocked() })
	srv.Do(t, "RPUSH", "q", "x")
	if got := srv.Do(t, "LLEN", "q"); got != int64(1) {
		t.Errorf("LLEN q = %v, want 1: a dead client took it", got)
	}
}

func TestBlockingCommandBlocksNobodyElse(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	w, other := dial(t, p), dial(t, p)
	w.send("BLPOP q 0")
	eventually(t, "the command arrives", func() bool { return p.Count() == 1 })
	other.send("RPUSH q x")
	if got := other.recv(); got != ":1\r\n" {
		t.Errorf("the other connection saw %q", got)
	}
	if got := w.recv(); got != "*2\r\n$1\r\nq\r\n$1\r\nx\r\n" {
		t.Errorf("the blocking connection saw %q", got)
	}
}

func TestBigAndBinaryValuesPassUnchanged(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	for _, protocol := range []int{2, 3} {
		c, ctx := client(t, p, protocol), t.Context()
		big := make([]byte, 32<<20)
		_, _ = rand.Read(big) // never fails
		for _, v := range []string{"", "\r\n", "$-1\r\n*2\r\n\x00\xff", string(big)} {
			if err := c.Set(ctx, "k", v, 0).Err(); err != nil {
				t.Fatal(err)
			}
			if got, err := c.Get(ctx, "k").Result(); err != nil || got != v {
				t.Errorf("RESP%d: %d bytes came back as %d, %v", protocol, len(v), len(got), err)
			}
			if got := srv.Do(t, "GET", "k"); got != v {
				t.Errorf("RESP%d: %d bytes arrived otherwise", protocol, len(v))
			}
		}
	}
}

func TestSubscriptionsAndNestedReplies(t *testing.T) {
	srv := storagetest.Start(t)
	for _, protocol := range []int{2, 3} {
		t.Run(fmt.Sprintf("RESP%d", protocol), func(t *testing.T) {
			p := Redis(t, srv.Addr())
			c := client(t, p, protocol)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			sub := c.Subscribe(ctx, "a", "b")
			defer sub.Close()
			for range 2 {
				if _, err := sub.Receive(ctx); err != nil {
					t.Fatal(err)
				}
			}
			for _, channel := range []string{"a", "b"} {
				if err := c.Publish(ctx, channel, "hello").Err(); err != nil {
					t.Fatal(err)
				}
				if m, err := sub.ReceiveMessage(ctx); err != nil || m.Channel != channel || m.Payload != "hello" {
					t.Errorf("message %v, %v", m, err)
				}
			}
			if _, err := c.Command(ctx).Result(); err != nil {
				t.Errorf("COMMAND, the most nested reply there is: %v", err)
			}
		})
	}
}

// Client-side caching has the server speak unasked between a command and its reply.
func TestPushesPassBetweenReplies(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	w := dial(t, p)
	w.send("HELLO 3", "CLIENT TRACKING on", "GET k")
	w.recv()
	w.recv()
	w.recv()
	w.send("SET k 1", "PING")
	got := []string{w.recv(), w.recv(), w.recv()}
	slices.Sort(got)
	if want := []string{"+OK\r\n", "+PONG\r\n", ">2\r\n$10\r\ninvalidate\r\n*1\r\n$1\r\nk\r\n"}; !slices.Equal(got, want) {
		t.Errorf("the client saw %q, want %q", got, want)
	}
}

// What the server says unasked is not the reply that a fault waits for.
func TestPushIsNotTakenForTheReply(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	w := dial(t, p)
	w.send("HELLO 3", "CLIENT TRACKING on", "GET k")
	for range 3 {
		w.recv()
	}
	var left any
	fired := p.At(4, AfterEffect, func() { left = srv.Do(t, "LLEN", "q") })
	w.send("BLPOP q 0")
	eventually(t, "the command blocks", func() bool {
		return strings.Contains(srv.Do(t, "INFO", "clients").(string), "blocked_clients:1\r\n")
	})
	srv.Do(t, "SET", "k", 1)
	if got := w.recv(); !strings.HasPrefix(got, ">") {
		t.Errorf("the client saw %q, want a push", got)
	}
	srv.Do(t, "RPUSH", "q", "x")
	await(t, "the fault", fired)
	if left != int64(0) {
		t.Errorf("%v elements were left when the fault was called, want 0", left)
	}
}

func TestSubscribedConnectionGoesOnServing(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	w := dial(t, p)
	w.send("HELLO 3", "SUBSCRIBE a b", "PING")
	w.recv()
	got := w.recv() + w.recv() + w.recv()
	if want := ">3\r\n$9\r\nsubscribe\r\n$1\r\na\r\n:1\r\n>3\r\n$9\r\nsubscribe\r\n$1\r\nb\r\n:2\r\n+PONG\r\n"; got != want {
		t.Errorf("the client saw %q, want %q", got, want)
	}
}

func TestServerThatDiesAndComesBack(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	idle := dial(t, p)
	idle.send("PING")
	idle.recv()
	srv.Kill()
	if got := idle.rest(); got != nil {
		t.Errorf("an idle connection saw %q, want its end", got)
	}
	if got := dial(t, p).rest(); got != nil {
		t.Errorf("a new connection saw %q, want its end", got)
	}
	srv.Restart()
	w := dial(t, p)
	w.send("PING")
	if got := w.recv(); got != "+PONG\r\n" {
		t.Errorf("the server is back, and the client saw %q", got)
	}
	fired := p.At(p.Count()+1, AfterEffect, srv.Kill)
	w.send("PING")
	if got := w.rest(); got != nil {
		t.Errorf("the client saw %q, want its end", got)
	}
	await(t, "the fault", fired)
	if srv.Pid() != 0 {
		t.Error("the fault did not kill the server")
	}
}

func TestFaultIsCalledWhenTheServerBreaksOff(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var server sync.WaitGroup
	defer server.Wait()
	defer l.Close()
	server.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = readCommand(bufio.NewReader(c))
			_, _ = io.WriteString(c, "$100\r\nhalf of")
			_ = c.Close()
		}
	})
	p := Redis(t, l.Addr().String())
	w := dial(t, p)
	w.send("GET k")
	if got := w.rest(); got != nil {
		t.Errorf("the client was given half a reply as %q", got)
	}
	fired := p.At(2, AfterEffect, nil)
	w = dial(t, p)
	w.send("GET k")
	if got := w.rest(); got != nil {
		t.Errorf("the client saw %q", got)
	}
	await(t, "the fault", fired)
}

func TestGarbageEndsItsConnectionOnly(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	for _, garbage := range []string{"*x\r\n", "*1\r\n:1\r\n", "*1\r\n$-5\r\n", "*1\r\n$9999999999\r\n", "*2\r\n$3\r\nGET\r\n"} {
		w := dial(t, p)
		if _, err := io.WriteString(w, garbage); err != nil {
			t.Fatal(err)
		}
		_ = w.Conn.(*net.TCPConn).CloseWrite()
		if got := w.rest(); got != nil {
			t.Errorf("%q was answered %q", garbage, got)
		}
	}
	w := dial(t, p)
	if _, err := io.WriteString(w, "\r\n*0\r\nPING\r\n"); err != nil { // as typed into telnet
		t.Fatal(err)
	}
	if got := w.recv(); got != "+PONG\r\n" {
		t.Errorf("the client saw %q", got)
	}
	if got := p.Messages(); !slices.Equal(got, []string{"PING"}) {
		t.Errorf("Messages = %q", got)
	}
}

// Many clients, cut at random: the server holds exactly what the hook let through.
func TestManyConnectionsEachEffectOnce(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	var through int // the hook is called for one message at a time
	p.Every(func(m Message) Action {
		if m.Name != "INCR n" {
			return Pass
		}
		switch m.N % 7 {
		case 0:
			return Drop
		case 3:
			through++
			return LoseReply
		default:
			through++
			return Pass
		}
	})
	var acknowledged, failed atomic.Int64
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			c := client(t, p, 3)
			for range 100 {
				if err := c.Incr(t.Context(), "n").Err(); err != nil {
					failed.Add(1)
				} else {
					acknowledged.Add(1)
				}
			}
		})
	}
	wg.Wait()
	p.Close()
	if got := srv.Do(t, "GET", "n"); got != fmt.Sprint(through) {
		t.Errorf("n = %v, want %d", got, through)
	}
	if acknowledged.Load() == 0 || failed.Load() == 0 || acknowledged.Load()+failed.Load() != 800 {
		t.Errorf("%d acknowledged and %d failed of 800", acknowledged.Load(), failed.Load())
	}
}

func TestCloseLeavesNothingBehind(t *testing.T) {
	srv := storagetest.Start(t)
	ignore := goleak.IgnoreCurrent()
	p := Redis(t, srv.Addr())
	p.Every(func(m Message) Action {
		if m.Name == "GET hang" {
			return Hang(nil)
		}
		return Pass
	})
	for _, c := range []string{"", "PING", "GET hang", "BLPOP q 0", "SUBSCRIBE a"} {
		w := dial(t, p)
		if c != "" {
			w.send(c)
		}
	}
	eventually(t, "all commands arrive", func() bool { return p.Count() == 4 })
	p.Close()
	p.Close() // again is no error
	if err := goleak.Find(ignore); err != nil {
		t.Error(err)
	}
	if c, err := net.Dial("tcp", p.Addr()); err == nil {
		t.Error("the proxy still accepts")
		_ = c.Close()
	}
}

func TestJSONRPCAnswerToARedisClientFailsTheTest(t *testing.T) {
	srv := storagetest.Start(t)
	rec := &recorder{TB: t}
	p := Redis(rec, srv.Addr())
	p.Every(func(Message) Action { return ZeroHash })
	w := dial(t, p)
	w.send("PING")
	if got := w.rest(); got != nil {
		t.Errorf("the client saw %q", got)
	}
	p.Close()
	if len(rec.said) != 1 || !strings.Contains(rec.said[0], "message 1, PING") {
		t.Errorf("the test failed with %q", rec.said)
	}
}

func TestErrClosedIsWhatAClientSees(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	p.Every(func(m Message) Action {
		if m.Name == "INCR n" {
			return Drop
		}
		return Pass
	})
	err := client(t, p, 3).Incr(t.Context(), "n").Err()
	if !errors.Is(err, io.EOF) && (err == nil || !strings.Contains(err.Error(), "connection reset")) {
		t.Errorf("Incr = %v, want a broken connection", err)
	}
}
