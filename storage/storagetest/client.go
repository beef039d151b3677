package storagetest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/redis/go-redis/v9"
)

// Client is a clean connection to the server, past any proxy and past the code
// under test. It never repeats a command, survives restarts and is closed when
// the test ends.
func (s *Server) Client() *redis.Client { return s.client }

// Do sends one command and returns its reply: a string, an int64, a []any of
// these, or nil for what is not there. An error fails the test.
func (s *Server) Do(t testing.TB, args ...any) any {
	t.Helper()
	ctx, cancel := patient()
	defer cancel()
	reply, err := s.client.Do(ctx, args...).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatalf("%v: %v", args[0], err)
	}
	return reply
}

// patient is a context for one command. It does not end with the test, whose
// own context is over before the cleanup in which books are audited.
func patient() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), patience)
}

// cliError is how redis-cli shows a refused command, also one inside of EXEC, a
// line it cannot read, and a server it cannot reach. It exits with 0 all the same.
var cliError = regexp.MustCompile(`(?m)^(\s*\d+\) )*\(error\) |^Invalid argument\(s\)$|^Could not connect |^Error: `)

// CLI types the line, or lines, into the real redis-cli and returns what it
// shows at a terminal, such as `(integer) 1`. The text goes to its standard
// input untouched, so that a line printed in a manual is tried as its reader
// would. A refused command fails the test.
func (s *Server) CLI(t testing.TB, lines string) string {
	t.Helper()
	if _, err := exec.LookPath("redis-cli"); err != nil {
		t.Fatal("redis-cli not found: apt-get install redis-tools (make test does it)")
	}
	ctx, cancel := patient()
	defer cancel()
	cmd := exec.CommandContext(ctx, "redis-cli", "--no-raw", "-h", "127.0.0.1", "-p", strconv.Itoa(s.port))
	if s.set.password != "" {
		cmd.Env = append(os.Environ(), "REDISCLI_AUTH="+s.set.password)
	}
	cmd.Stdin = strings.NewReader(strings.TrimRight(lines, "\n") + "\n")
	out, err := cmd.CombinedOutput()
	shown := strings.TrimRight(string(out), "\n")
	if err != nil {
		t.Fatalf("redis-cli %s: %s: %v", lines, shown, err)
	}
	if cliError.MatchString(shown) {
		t.Fatalf("redis-cli %s: %s", lines, shown)
	}
	return shown
}
