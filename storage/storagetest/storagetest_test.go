package storagetest

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestStartAnswersAndKnowsItself(t *testing.T) {
	s := Start(t)
	if got := s.Do(t, "PING"); got != "PONG" {
		t.Errorf("PING = %v", got)
	}
	info := s.Do(t, "INFO", "server").(string)
	for _, want := range []string{
		fmt.Sprintf("process_id:%d\r\n", s.Pid()),
		fmt.Sprintf("tcp_port:%s\r\n", strings.TrimPrefix(s.Addr(), "127.0.0.1:")),
	} {
		if !strings.Contains(info, want) {
			t.Errorf("INFO lacks %q", want)
		}
	}
}

func TestServersAreApart(t *testing.T) {
	a, b := Start(t), Start(t)
	a.Do(t, "SET", "k", "a")
	if got := b.Do(t, "GET", "k"); got != nil {
		t.Errorf("the other server has k = %v", got)
	}
}

func TestDoReturnsPlainReplies(t *testing.T) {
	s := Start(t)
	s.Do(t, "HSET", "h", "f", "v")
	s.Do(t, "ZADD", "z", "1462920526", "m")
	for _, tc := range []struct {
		name string
		args []any
		want any
	}{
		{"a string is a string", []any{"HGET", "h", "f"}, "v"},
		{"a number is an int64", []any{"HLEN", "h"}, int64(1)},
		{"what is not there is nil", []any{"HGET", "h", "none"}, nil},
		{"a score is the string Redis holds", []any{"ZRANGE", "z", 0, -1, "WITHSCORES"}, []any{"m", "1462920526"}},
		{"a hash is its fields and values in turn", []any{"HGETALL", "h"}, []any{"f", "v"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := s.Do(t, tc.args...); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%v = %#v, want %#v", tc.args, got, tc.want)
			}
		})
	}
}

// What is there after the server went and came back, by options and by how it went.
func TestWhatSurvives(t *testing.T) {
	for _, tc := range []struct {
		name     string
		opts     []Option
		leave    func(*Server)
		early    any // written before a SAVE or a Snapshot
		late     any // written after it
		snapshot bool
	}{
		{"nothing survives a stop by default", nil, (*Server).Stop, nil, nil, false},
		{"nothing survives a kill by default, not even after Snapshot", nil, (*Server).Kill, nil, nil, true},
		{"everything survives a stop with the append-only file", []Option{AOF(EverySec)}, (*Server).Stop, "1", "2", true},
		{"everything survives a kill with the file forced to disk", []Option{AOF(Always)}, (*Server).Kill, "1", "2", true},
		{"everything survives a kill with the file forced to disk and no snapshot", []Option{AOF(Always)}, (*Server).Kill, "1", "2", false},
		{"everything survives a stop with snapshots", []Option{Snapshots()}, (*Server).Stop, "1", "2", true},
		{"a kill with snapshots loses what came after SAVE", []Option{Snapshots()}, (*Server).Kill, "1", nil, false},
		{"a kill with snapshots is not helped by Snapshot", []Option{Snapshots()}, (*Server).Kill, nil, nil, true},
		{"a restart of a running server is a stop", []Option{Snapshots()}, func(*Server) {}, "1", "2", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := Start(t, tc.opts...)
			s.Do(t, "SET", "early", 1)
			if tc.snapshot {
				s.Snapshot()
			} else if s.set.snapshots {
				s.Do(t, "SAVE")
			}
			s.Do(t, "SET", "late", 2)
			addr, pid := s.Addr(), s.Pid()
			tc.leave(s)
			s.Restart()
			if s.Addr() != addr {
				t.Errorf("came back on %s, was on %s", s.Addr(), addr)
			}
			if s.Pid() == pid {
				t.Errorf("pid is still %d", pid)
			}
			if got := s.Do(t, "GET", "early"); got != tc.early {
				t.Errorf("early = %v, want %v", got, tc.early)
			}
			if got := s.Do(t, "GET", "late"); got != tc.late {
				t.Errorf("late = %v, want %v", got, tc.late)
			}
		})
	}
}

func TestKillAndStopReturnWhenTheProcessIsGone(t *testing.T) {
	for name, leave := range map[string]func(*Server){"kill": (*Server).Kill, "stop": (*Server).Stop} {
		t.Run(name, func(t *testing.T) {
			s := Start(t)
			pid := s.Pid()
			leave(s)
			if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
				t.Errorf("process %d after %s: %v, want none", pid, name, err)
			}
			if s.Pid() != 0 {
				t.Errorf("Pid = %d, want 0", s.Pid())
			}
			if c, err := net.Dial("tcp", s.Addr()); err == nil {
				t.Errorf("%s still accepts", s.Addr())
				_ = c.Close()
			}
			leave(s) // again is no error
			s.Restart()
			s.Do(t, "PING")
		})
	}
}

func TestKillFromManyGoroutines(t *testing.T) {
	s := Start(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(s.Kill)
	}
	wg.Wait()
}

func TestClientSurvivesRestarts(t *testing.T) {
	s := Start(t, AOF(Always))
	for i := int64(1); i <= 5; i++ {
		if got := s.Do(t, "INCR", "n"); got != i {
			t.Fatalf("INCR = %v, want %d", got, i)
		}
		s.Kill()
		s.Restart()
	}
}

func TestRestoreBringsBackTheWholeSnapshotAndNothingLater(t *testing.T) {
	for _, tc := range []struct {
		name      string
		opts      []Option
		afterKill any // n, once the restored server was killed as well
	}{
		{"without persistence", nil, nil},
		{"with snapshots", []Option{Snapshots()}, "1"},
		{"with the append-only file", []Option{AOF(Always)}, "3"},
		{"with both", []Option{AOF(Always), Snapshots()}, "3"},
		{"with a password", []Option{AOF(Always), Password(`a "b" \c`)}, "3"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := Start(t, tc.opts...)
			addr := s.Addr()
			s.Do(t, "SET", "n", 1)
			s.Do(t, "SELECT", 0)
			s.Do(t, "ZADD", "z", 1, "a")
			old := s.Snapshot()
			s.Do(t, "SET", "n", 2)
			s.Do(t, "SET", "later", 1)
			for range 2 { // as often as one likes
				s.Restore(old)
				if s.Addr() != addr {
					t.Errorf("came back on %s, was on %s", s.Addr(), addr)
				}
				if got := s.Do(t, "GET", "n"); got != "1" {
					t.Errorf("n = %v, want 1", got)
				}
				if got := s.Do(t, "ZCARD", "z"); got != int64(1) {
					t.Errorf("ZCARD z = %v, want 1", got)
				}
				if got := s.Do(t, "GET", "later"); got != nil {
					t.Errorf("later = %v, want nothing", got)
				}
				s.Do(t, "SET", "n", 3)
			}
			s.Kill()
			s.Restart()
			if got := s.Do(t, "GET", "n"); got != tc.afterKill {
				t.Errorf("after a kill n = %v, want %v", got, tc.afterKill)
			}
		})
	}
}

func TestRestoreToAStoppedServerAndToAnother(t *testing.T) {
	a, b := Start(t, AOF(EverySec)), Start(t)
	a.Do(t, "SET", "n", 1)
	snap := a.Snapshot()
	a.Stop()
	a.Restore(snap)
	b.Restore(snap)
	for _, s := range []*Server{a, b} {
		if got := s.Do(t, "GET", "n"); got != "1" {
			t.Errorf("n = %v, want 1", got)
		}
	}
}

func TestTruncateAOFLosesTheTailOnly(t *testing.T) {
	last := int64(len("*3\r\n$3\r\nSET\r\n$1\r\nc\r\n$1\r\n3\r\n"))
	for _, tc := range []struct {
		name string
		cut  int64
		want []any // of a, b, c
	}{
		{"no byte cut", 0, []any{"1", "2", "3"}},
		{"one byte of the last command", 1, []any{"1", "2", nil}},
		{"the last command", last, []any{"1", "2", nil}},
		{"and one byte more", last + 1, []any{"1", nil, nil}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := Start(t, AOF(EverySec))
			s.Do(t, "SET", "a", 1)
			s.Do(t, "SET", "b", 2)
			s.Do(t, "SET", "c", 3)
			s.TruncateAOF(tc.cut)
			if s.Pid() != 0 {
				t.Errorf("the server runs as %d, want it gone", s.Pid())
			}
			s.Restart()
			if got := s.Do(t, "MGET", "a", "b", "c"); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("a, b, c = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestTruncateAOFTakesATransactionWhole(t *testing.T) {
	s := Start(t, AOF(EverySec))
	s.Do(t, "EVAL", "redis.call('SET', 'a', 1) redis.call('SET', 'b', 2)", 0)
	s.TruncateAOF(1)
	s.Restart()
	if got := s.Do(t, "EXISTS", "a", "b"); got != int64(0) {
		t.Errorf("%v of the script's two keys are left, want none", got)
	}
}

func TestTruncateAOFFollowsARestore(t *testing.T) {
	s := Start(t, AOF(EverySec))
	s.Do(t, "SET", "a", 1)
	s.Restore(s.Snapshot())
	s.Do(t, "SET", "b", 2)
	s.TruncateAOF(1)
	s.Restart()
	if got := s.Do(t, "MGET", "a", "b"); !reflect.DeepEqual(got, []any{"1", nil}) {
		t.Errorf("a, b = %v, want [1 <nil>]", got)
	}
}

func TestPasswordIsAsked(t *testing.T) {
	const pw = `it's a "p\w" ü`
	s := Start(t, Password(pw))
	s.Do(t, "SET", "k", "v")
	stranger := redis.NewClient(&redis.Options{Addr: s.Addr(), MaxRetries: -1})
	defer stranger.Close()
	if err := stranger.Get(t.Context(), "k").Err(); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("without the password: %v, want NOAUTH", err)
	}
	friend := redis.NewClient(&redis.Options{Addr: s.Addr(), Password: pw, MaxRetries: -1})
	defer friend.Close()
	if got, err := friend.Get(t.Context(), "k").Result(); got != "v" || err != nil {
		t.Errorf("with the password: %q, %v", got, err)
	}
	if got := s.CLI(t, "GET k"); got != `"v"` {
		t.Errorf("redis-cli shows %s", got)
	}
}

func TestCLIActsAsTyped(t *testing.T) {
	s := Start(t)
	for _, tc := range []struct{ line, want string }{
		{`ZADD "eth:payments:all" 1462920526 0xe670ec64341771606e55d6b4ca35a1a6b75ee3d5145a99d05921026d1527331a:0xb85150eb365e7df0941f0cf08235f987ba91506a:25000000`, "(integer) 1"},
		{`ZADD "eth:payments:all" 1462920526 0xe670ec64341771606e55d6b4ca35a1a6b75ee3d5145a99d05921026d1527331a:0xb85150eb365e7df0941f0cf08235f987ba91506a:25000000` + "\n", "(integer) 0"},
		{"HINCRBY eth:finances balance -5\nHGET eth:finances balance", "(integer) -5\n\"-5\""},
		{`SET k "(error) as a value"`, "OK"},
		{"GET k", `"(error) as a value"`},
		{"GET none", "(nil)"},
	} {
		if got := s.CLI(t, tc.line); got != tc.want {
			t.Errorf("%s\nshows %s\nwant  %s", tc.line, got, tc.want)
		}
	}
	if got := s.Do(t, "ZSCORE", "eth:payments:all", "0xe670ec64341771606e55d6b4ca35a1a6b75ee3d5145a99d05921026d1527331a:0xb85150eb365e7df0941f0cf08235f987ba91506a:25000000"); got != "1462920526" {
		t.Errorf("score = %v", got)
	}
}

func TestDoWorksInCleanup(t *testing.T) {
	t.Run("a test with an audit", func(t *testing.T) {
		s := Start(t)
		t.Cleanup(func() {
			s.Do(t, "PING")
			s.CLI(t, "PING")
		})
	})
}

func TestCleanupEndsTheProcess(t *testing.T) {
	var pid int
	t.Run("a test", func(t *testing.T) { pid = Start(t).Pid() })
	if err := syscall.Kill(pid, 0); err != syscall.ESRCH {
		t.Errorf("process %d after its test: %v, want none", pid, err)
	}
}

func TestPortIsKept(t *testing.T) {
	port := freePort(t)
	s := Start(t, Port(port))
	if want := "127.0.0.1:" + strconv.Itoa(port); s.Addr() != want {
		t.Errorf("Addr = %s, want %s", s.Addr(), want)
	}
}

// Every failure names what is wrong and, where there is one, the remedy.
func TestFailures(t *testing.T) {
	other := Start(t)
	for _, tc := range []struct {
		name string
		path string // of executables; empty: the real one
		run  func(testing.TB)
		want string
	}{
		{"no redis-server", t.TempDir(), func(t testing.TB) { Start(t) },
			"redis-server not found: apt-get install redis-server (make test does it)"},
		{"a fixed port that is taken", "", func(t testing.TB) { Start(t, Port(other.port)) },
			"address already in use"},
		{"a command that is refused", "", func(t testing.TB) { Start(t).Do(t, "NOSUCH") },
			"NOSUCH: ERR unknown command"},
		{"a stopped server is asked", "", func(t testing.TB) { s := Start(t); s.Kill(); s.Do(t, "PING") },
			"connection refused"},
		{"redis-cli is refused", "", func(t testing.TB) { Start(t).CLI(t, "NOSUCH") },
			"redis-cli NOSUCH: (error) ERR unknown command"},
		{"redis-cli is refused within a transaction", "", func(t testing.TB) { Start(t).CLI(t, "SET k v\nMULTI\nINCR k\nEXEC") },
			"value is not an integer"},
		{"redis-cli gets an open quote", "", func(t testing.TB) { Start(t).CLI(t, `GET "k`) },
			"Invalid argument(s)"},
		{"redis-cli finds no server", "", func(t testing.TB) { s := Start(t); s.Kill(); s.CLI(t, "PING") },
			"Connection refused"},
		{"more is cut than the file has", "", func(t testing.TB) { Start(t, AOF(Always)).TruncateAOF(1 << 20) },
			"1048576 bytes to cut, it has 0"},
		{"there is no file to cut", "", func(t testing.TB) { Start(t).TruncateAOF(1) },
			"no such file or directory"},
		{"the server died by itself", "", func(t testing.TB) {
			s := Start(t)
			_ = s.Client().Shutdown(t.Context()).Err() // no reply comes from a server that is gone
			<-s.proc.gone
		}, "it had ended by itself"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.path != "" {
				t.Setenv("PATH", tc.path)
			}
			said := failure(t, tc.run)
			if len(said) != 1 || !strings.Contains(said[0], tc.want) {
				t.Errorf("the test failed with %q, want one with %q", said, tc.want)
			}
		})
	}
}

func TestNoRedisCLI(t *testing.T) {
	s := Start(t)
	t.Setenv("PATH", t.TempDir())
	said := failure(t, func(t testing.TB) { s.CLI(t, "PING") })
	if want := "redis-cli not found: apt-get install redis-tools (make test does it)"; len(said) != 1 || said[0] != want {
		t.Errorf("the test failed with %q, want %q", said, want)
	}
}

func TestAPortLostOnTheWayIsNotTakenForOurs(t *testing.T) {
	other := Start(t)
	s := &Server{t: t, dir: t.TempDir(), port: other.port}
	if err := s.start(); err == nil || !strings.Contains(err.Error(), "address already in use") {
		t.Errorf("start on the port of another server: %v, want address already in use", err)
	}
	if s.Pid() != 0 {
		t.Errorf("Pid = %d, want 0", s.Pid())
	}
	other.Do(t, "PING")
}

func TestServerDiesWithAKilledTestBinary(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Log("only Linux ends children with their parent")
		return
	}
	if dir := os.Getenv("STORAGETEST_CHILD"); dir != "" {
		s := Start(t)
		if err := os.WriteFile(filepath.Join(dir, "pid"), []byte(strconv.Itoa(s.Pid())), 0o600); err != nil {
			t.Fatal(err)
		}
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
	}
	dir := t.TempDir()
	runSelf(t, "STORAGETEST_CHILD="+dir)
	b, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(b))
	if err != nil {
		t.Fatal(err)
	}
	awaitDeath(t, pid)
}
