package storagetest

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
)

// Ports are taken from below every system's range for outgoing connections
// (Linux starts at 32768, IANA at 49152). Inside that range a client that
// dials a stopped server could be given the server's own port, and the server
// could not come back.
const firstPort, lastPort = 16384, 32767

// patience bounds the wait for a server that neither answers nor exits. It
// turns a hang into a failure and is never part of a measurement.
const patience = time.Minute

// Server is one redis-server process, its port and its directory. The process
// may come and go; port, directory and settings stay for the whole test.
type Server struct {
	t      testing.TB
	dir    string
	port   int
	set    settings
	client *redis.Client

	mu   sync.Mutex
	proc *process // nil while stopped
}

type settings struct {
	port      int    // 0: any free one
	password  string // empty: none asked
	fsync     string // "everysec" or "always"; empty: no append-only file
	snapshots bool
}

// Option changes how [Start] runs the server.
type Option func(*settings)

// Fsync is Redis' appendfsync: how often the append-only file is forced to disk.
type Fsync string

// The two settings in use where Redis holds money.
const (
	// EverySec is Redis' default. A machine that loses power loses up to a
	// second. A killed process may lose writes as well, although clients were
	// told of them: those that came while the last second was being forced to
	// disk are held back. A test that needs to know uses Always, and
	// TruncateAOF for what is to be lost.
	EverySec Fsync = "everysec"
	// Always forces every write to disk before the client is told: a kill
	// loses nothing.
	Always Fsync = "always"
)

// AOF keeps the data in an append-only file, as production should. The file is
// never rewritten in the background, so that its tail is what came last.
func AOF(f Fsync) Option { return func(s *settings) { s.fsync = string(f) } }

// Snapshots keeps the data as a stock redis.conf does: [Server.Stop] saves
// them, [Server.Kill] loses what came after the last SAVE. No save is started
// by a timer within the first hour.
func Snapshots() Option { return func(s *settings) { s.snapshots = true } }

// Password makes the server demand it. The server's own Client, Do and CLI know it.
func Password(pw string) Option { return func(s *settings) { s.password = pw } }

// Port asks for a fixed loopback port in place of any free one.
func Port(p int) Option { return func(s *settings) { s.port = p } }

// Start runs a redis-server until the test ends and returns when it answers.
// Without options it keeps nothing on disk. It fails the test if the server
// cannot be run.
func Start(t testing.TB, opts ...Option) *Server {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Fatal("redis-server not found: apt-get install redis-server (make test does it)")
	}
	s := &Server{t: t, dir: t.TempDir()}
	for _, opt := range opts {
		opt(&s.set)
	}
	// A port found free may be taken by another test before the server has
	// it. Only a fixed port is worth an error then.
	for attempt := 1; ; attempt++ {
		if s.port = s.set.port; s.port == 0 {
			s.port = freePort(t)
		}
		err := s.start()
		if err == nil {
			break
		}
		if s.set.port != 0 || attempt == 10 || !errors.Is(err, syscall.EADDRINUSE) {
			t.Fatal(err)
		}
	}
	s.client = s.newClient()
	t.Cleanup(s.cleanup)
	return s
}

// Addr is the server's host:port, also while it is stopped.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

// Pid is the running process, 0 while stopped.
func (s *Server) Pid() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return 0
	}
	return s.proc.cmd.Process.Pid
}

// Kill ends the process with SIGKILL and returns when it is gone. Nothing
// happens if it is stopped already. Kill, Stop and Restart may be called from
// any goroutine, such as one that injects faults.
func (s *Server) Kill() { s.end(syscall.SIGKILL) }

// Stop ends the process as a system shutdown does, saving what its options
// keep, and returns when it is gone. Nothing happens if it is stopped already.
func (s *Server) Stop() { s.end(syscall.SIGTERM) }

// Restart starts a stopped server, or stops and starts a running one, on the
// same port, directory and settings. It returns when the server answers.
func (s *Server) Restart() {
	s.t.Helper()
	s.Stop()
	if err := s.start(); err != nil {
		s.t.Fatal(err)
	}
}

func (s *Server) end(sig syscall.Signal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.proc == nil {
		return
	}
	if err := s.proc.end(sig); err != nil {
		s.t.Errorf("stop redis-server on %s: %v\n%s", s.Addr(), err, s.log())
	}
	s.proc = nil
}

func (s *Server) cleanup() {
	s.Stop() // which ends a background save as well; a killed one would go on writing
	if err := s.client.Close(); err != nil {
		s.t.Errorf("close client of redis-server on %s: %v", s.Addr(), err)
	}
}

// start runs the process and waits for its answer. An error that is
// syscall.EADDRINUSE says that somebody else has the port.
func (s *Server) start() error {
	if err := s.configure(); err != nil {
		return fmt.Errorf("configure redis-server: %w", err)
	}
	p, err := startProcess(s.dir)
	if err != nil {
		return fmt.Errorf("start redis-server: %w", err)
	}
	if err := s.await(p); err != nil {
		_ = p.end(syscall.SIGKILL) // the first error is the one to tell
		if strings.Contains(s.log(), "Address already in use") {
			err = syscall.EADDRINUSE
		}
		return fmt.Errorf("start redis-server on %s: %s: %w", s.Addr(), s.log(), err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.proc = p
	return nil
}

// await returns when the process answers PING with its data loaded.
func (s *Server) await(p *process) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		err := s.answers(ctx, p.cmd.Process.Pid)
		if err == nil {
			return nil
		}
		select {
		case <-p.gone:
			return errors.New("it exited")
		case <-ctx.Done():
			return fmt.Errorf("no answer: %w", err)
		case <-time.After(2 * time.Millisecond):
		}
	}
}

// answers says whether the process pid is the one that serves our port: a
// server of another test that won the port must not be taken for ours.
func (s *Server) answers(ctx context.Context, pid int) error {
	// The Redis client would log every refused connection.
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", s.Addr())
	if err != nil {
		return err
	}
	if err := conn.Close(); err != nil {
		return err
	}
	c := s.newClient()
	defer c.Close()
	if err := c.Ping(ctx).Err(); err != nil {
		return err
	}
	info, err := c.Info(ctx, "server").Result()
	if err != nil {
		return err
	}
	if !strings.Contains(info, fmt.Sprintf("process_id:%d\r\n", pid)) {
		return errors.New("another server has the port")
	}
	return nil
}

// newClient never repeats a command: a repeated one may have taken effect. It gives
// a server that is busy, or waits for its disk, all the time that there is.
// It speaks RESP2, whose replies are the strings that Redis holds; RESP3 would
// turn scores into floats.
func (s *Server) newClient() *redis.Client {
	return redis.NewClient(&redis.Options{
		Addr:                     s.Addr(),
		Password:                 s.set.password,
		Protocol:                 2,
		DialTimeout:              patience,
		ReadTimeout:              patience,
		WriteTimeout:             patience,
		MaxRetries:               -1,
		DialerRetries:            1,
		DisableIdentity:          true,
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	})
}

// configure writes redis.conf. A file, because a password given as an argument
// could be read from the list of processes.
func (s *Server) configure() error {
	lines := []string{
		"bind 127.0.0.1",
		"port " + strconv.Itoa(s.port),
		"dir " + strconv.Quote(s.dir),
		"loglevel warning",
		"auto-aof-rewrite-percentage 0",
	}
	if s.set.password != "" {
		lines = append(lines, "requirepass "+strconv.Quote(s.set.password))
	}
	if s.set.snapshots {
		lines = append(lines, "save 3600 1")
	} else {
		lines = append(lines, `save ""`)
	}
	if s.set.fsync != "" {
		lines = append(lines, "appendonly yes", "appendfsync "+s.set.fsync)
	}
	return os.WriteFile(filepath.Join(s.dir, "redis.conf"), []byte(strings.Join(lines, "\n")+"\n"), 0o600)
}

func (s *Server) log() string {
	b, err := os.ReadFile(filepath.Join(s.dir, logFile))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}

func freePort(t testing.TB) int {
	t.Helper()
	for range 1000 {
		port := firstPort + rand.IntN(lastPort-firstPort+1)
		l, err := net.Listen("tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			continue
		}
		return port
	}
	t.Fatalf("no free loopback port between %d and %d", firstPort, lastPort)
	return 0
}
