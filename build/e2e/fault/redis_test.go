package fault

import (
	"fmt"
	"runtime"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"github.com/redis/go-redis/v9"
)

func TestEachCommandIsOneMessage(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	c, ctx := client(t, p, 3), t.Context()
	pipe := c.Pipeline()
	for range 3 {
		pipe.Incr(ctx, "n")
	}
	if _, err := pipe.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	tx := c.TxPipeline()
	tx.HIncrBy(ctx, "h", "f", 1)
	tx.Get(ctx, "n")
	if _, err := tx.Exec(ctx); err != nil {
		t.Fatal(err)
	}
	open := redis.NewScript("-- open\nreturn redis.call('INCR', KEYS[1])")
	for range 2 {
		if err := open.Run(ctx, c, []string{"n"}).Err(); err != nil {
			t.Fatal(err)
		}
	}
	want := []string{"INCR n", "INCR n", "INCR n", "MULTI", "HINCRBY h", "GET n", "EXEC", "EVALSHA n", "EVAL open", "EVALSHA open"}
	all := p.Messages()
	if p.Count() != len(all) {
		t.Errorf("Count = %d of %d messages", p.Count(), len(all))
	}
	// go-redis dials a connection for pipelines and one for the rest.
	if got := slices.DeleteFunc(all, func(s string) bool { return s == "HELLO 3" }); !slices.Equal(got, want) {
		t.Errorf("Messages = %q\nwant       %q", got, want)
	}
	if got := srv.Do(t, "GET", "n"); got != "5" {
		t.Errorf("n = %v, want 5", got)
	}
}

// The one promise all others serve: wherever a pipeline is cut, exactly the
// messages before the cut took effect, and the one at the cut by its phase.
func TestAtCutsAPipelineAtEveryMessage(t *testing.T) {
	srv := storagetest.Start(t)
	const length = 5
	for n := 1; n <= length; n++ {
		for _, phase := range []Phase{BeforeDelivery, AfterEffect} {
			t.Run(fmt.Sprintf("%d %s", n, phase), func(t *testing.T) {
				srv.Do(t, "DEL", "n")
				p := Redis(t, srv.Addr())
				want := fmt.Sprint(n - 1)
				if phase == AfterEffect {
					want = fmt.Sprint(n)
				}
				var then any
				var fired <-chan struct{}
				fired = p.At(n, phase, func() {
					then = srv.Do(t, "GET", "n")
					if !pending(fired) {
						t.Error("the channel is closed before the fault is over")
					}
				})
				w := dial(t, p)
				w.send(slices.Repeat([]string{"INCR n"}, length)...)
				if got := len(w.rest()); got != n-1 {
					t.Errorf("the client saw %d replies, want %d", got, n-1)
				}
				await(t, "the fault", fired)
				if n == 1 && phase == BeforeDelivery {
					want = "<nil>"
				}
				if got := fmt.Sprint(then); got != want {
					t.Errorf("n = %v when the fault was called, want %s", got, want)
				}
				if got := fmt.Sprint(srv.Do(t, "GET", "n")); got != want {
					t.Errorf("n = %v afterwards, want %s", got, want)
				}
				if got := p.Count(); got != n {
					t.Errorf("Count = %d, want %d: what was behind the cut is no message", got, n)
				}
				again := dial(t, p)
				again.send("SET n 0", "INCR n")
				if got := again.recv() + again.recv(); got != "+OK\r\n:1\r\n" {
					t.Errorf("after the fault the proxy passes %q", got)
				}
			})
		}
	}
}

func TestAtCutsATransaction(t *testing.T) {
	srv := storagetest.Start(t)
	for _, tc := range []struct {
		name  string
		at    int
		phase Phase
		want  any
	}{
		{"a transaction whose EXEC is lost never was", 4, BeforeDelivery, []any{nil, nil}},
		{"a transaction cut in the middle never was", 2, AfterEffect, []any{nil, nil}},
		{"a transaction whose reply is lost was, whole", 4, AfterEffect, []any{"1", "2"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv.Do(t, "FLUSHALL")
			p := Redis(t, srv.Addr())
			fired := p.At(tc.at, tc.phase, nil)
			w := dial(t, p)
			w.send("MULTI", "SET a 1", "SET b 2", "EXEC")
			w.rest()
			await(t, "the fault", fired)
			if got := srv.Do(t, "MGET", "a", "b"); fmt.Sprint(got) != fmt.Sprint(tc.want) {
				t.Errorf("a, b = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestAtCountsOverAllConnectionsAndCutsOne(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	a, b := dial(t, p), dial(t, p)
	fired := p.At(3, AfterEffect, nil)
	for i, w := range []*wire{a, b} {
		w.send("INCR n")
		if got, want := w.recv(), fmt.Sprintf(":%d\r\n", i+1); got != want {
			t.Fatalf("reply %q, want %q", got, want)
		}
	}
	a.send("INCR n")
	if got := a.rest(); got != nil {
		t.Errorf("the cut connection saw %q", got)
	}
	await(t, "the fault", fired)
	b.send("INCR n")
	if got := b.recv(); got != ":4\r\n" {
		t.Errorf("the other connection saw %q, want :4", got)
	}
}

func TestAtPastTheEndStaysOpen(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	fired := p.At(2, BeforeDelivery, func() { t.Error("called") })
	w := dial(t, p)
	w.send("PING")
	w.recv()
	if !pending(fired) {
		t.Error("the channel is closed")
	}
}

func TestAtSurvivesAFaultThatEndsItsGoroutine(t *testing.T) {
	srv := storagetest.Start(t)
	p := Redis(t, srv.Addr())
	p.At(1, BeforeDelivery, runtime.Goexit) // as t.FailNow does
	w := dial(t, p)
	w.send("INCR n")
	if got := w.rest(); got != nil {
		t.Errorf("the client saw %q", got)
	}
	p.Close()
}

// A client that repeats on its own books twice: the reason for MaxRetries -1,
// and the proof that the proxy shows it.
func TestLostReplyShowsAClientThatRepeats(t *testing.T) {
	srv := storagetest.Start(t)
	for retries, want := range map[int]string{-1: "1", 3: "2"} {
		t.Run(fmt.Sprintf("MaxRetries %d", retries), func(t *testing.T) {
			srv.Do(t, "DEL", "n")
			p := Redis(t, srv.Addr())
			c := redis.NewClient(&redis.Options{Addr: p.Addr(), MaxRetries: retries, ReadTimeout: patience})
			defer c.Close()
			var once atomic.Bool
			p.Every(func(m Message) Action {
				if m.Name == "INCR n" && !once.Swap(true) {
					return LoseReply
				}
				return Pass
			})
			_ = c.Incr(t.Context(), "n").Err() // told or not, the books are what counts
			if got := srv.Do(t, "GET", "n"); got != want {
				t.Errorf("n = %v, want %s", got, want)
			}
		})
	}
}

func TestEveryChoosesByMessage(t *testing.T) {
	srv := storagetest.Start(t)
	for _, tc := range []struct {
		name   string
		action Action
		reply  string // "" is a closed connection
		n      any    // afterwards
	}{
		{"pass", Pass, ":1\r\n", "1"},
		{"drop", Drop, "", nil},
		{"lose the reply", LoseReply, "", "1"},
		{"refuse without delivery", Reply([]byte("-LOADING Redis is loading the dataset in memory\r\n")), "-LOADING Redis is loading the dataset in memory\r\n", nil},
		{"refuse what took effect", Reply([]byte("-ERR no\r\n")).AfterEffect(), "-ERR no\r\n", "1"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv.Do(t, "DEL", "n")
			p := Redis(t, srv.Addr())
			p.Every(func(m Message) Action {
				if m.Name == "INCR n" {
					if !slices.Equal(m.Args, []string{"INCR", "n"}) || m.N != 2 || m.Conn != 1 {
						t.Errorf("the hook got %+v", m)
					}
					return tc.action
				}
				return Pass
			})
			w := dial(t, p)
			w.send("PING", "INCR n")
			w.recv()
			if got := w.recv(); got != tc.reply {
				t.Errorf("the client saw %q, want %q", got, tc.reply)
			}
			if got := srv.Do(t, "GET", "n"); got != tc.n {
				t.Errorf("n = %v, want %v", got, tc.n)
			}
			p.Every(nil)
			if tc.reply == "" {
				w = dial(t, p)
			}
			w.send("SET n 7")
			if got := w.recv(); got != "+OK\r\n" {
				t.Errorf("without the hook the client sees %q", got)
			}
		})
	}
}
