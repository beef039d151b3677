package e2e

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
)

// rivals is paying by several processes, started at one moment and started again
// whenever they end. What goes wrong goes wrong with the first of them.
type rivals struct {
	*paying
	others []*rival
	header []byte // a journal with nothing in it, of which there are copies

	stalled bool // the first process is stopped in the middle of a message
	since   time.Time
	seen    int // messages of the first process when it went on; 0: it has not
}

// rival is another process.
type rival struct {
	dir    string // of its configuration
	name   string // of that
	host   string // that it believes to be on; empty: this one
	copies bool   // its journal began as a copy of the first one's
	config string
	proc   *process
}

func newRivals(t *testing.T, others ...*rival) *rivals {
	r := &rivals{paying: newPaying(t, storagetest.Start(t), startChain(t)), others: others}
	r.payouts["signer"] = keystoreSigner(t, r.dir, r.chain.Account)
	r.payouts["interval"] = "1s" // who was locked out comes back
	r.crowd, r.rivaled = true, true
	// The others have the same Redis and the same node, and a way of their own to them.
	node := fault.HTTP(t, r.chain.URL)
	node.Every(r.look)
	there := *r.world
	there.redisAddr, there.nodeURL = r.redis.Addr(), node.URL()
	for _, o := range others {
		if o.dir == "" {
			o.dir = r.dir
		}
		there.dir = o.dir
		if err := os.Rename(there.config(), filepath.Join(o.dir, o.name)); err != nil {
			t.Fatal(err)
		}
		o.config = filepath.Join(o.dir, o.name)
	}
	r.mustRun("run")
	journal, err := os.ReadFile(filepath.Join(r.dir, "payouts.journal"))
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := bytes.Cut(journal, []byte("\n"))
	r.header = append(line, '\n')
	return r
}

func (r *rivals) begin() {
	r.t.Helper()
	r.paying.begin()
	r.stalled, r.seen = false, 0
	dirs := map[string]bool{}
	for _, o := range r.others {
		switch path := filepath.Join(o.dir, "payouts.journal"); {
		case o.copies:
			dirs[r.dir], dirs[o.dir] = true, true
		case o.dir != r.dir:
			if err := os.RemoveAll(path); err != nil {
				r.t.Fatal(err)
			}
		}
	}
	for dir := range dirs {
		if err := os.WriteFile(filepath.Join(dir, "payouts.journal"), r.header, 0o600); err != nil {
			r.t.Fatal(err)
		}
	}
}

// startRival runs one of the others, with more in its environment.
func (r *rivals) startRival(o *rival, env ...string) *process {
	r.t.Helper()
	cmd := command(o.config)
	if o.host != "" {
		cmd = onHost(o.host, cmd)
	}
	cmd.Env = append(os.Environ(), env...)
	return start(r.t, cmd)
}

// onHost is a command with a hostname of its own.
func onHost(host string, cmd *exec.Cmd) *exec.Cmd {
	there := exec.Command("sh", append([]string{"-c", `hostname "$0" && exec "$@"`, host, cmd.Path}, cmd.Args[1:]...)...)
	there.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWUTS}
	if os.Getuid() != 0 {
		there.SysProcAttr.Cloneflags |= syscall.CLONE_NEWUSER
		there.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}}
		there.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return there
}

// start lets now the first process have a start, now the others. How many messages
// there are is counted without them.
func (r *rivals) start() {
	begins := len(r.lives) == 0
	if first := r.point%2 == 0; first || !begins {
		r.paying.start()
	}
	if begins && r.point > 0 {
		for _, o := range r.others {
			o.proc = r.startRival(o)
		}
	}
	if begins && r.point%2 == 1 {
		r.paying.start()
	}
}

// tend starts the others again, and lets a process that was stopped go on when the
// others have done what they can.
func (r *rivals) tend() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, o := range r.others {
		if o.proc != nil && o.proc.ended() {
			o.proc = r.startRival(o)
		}
	}
	if r.stalled && r.seen == 0 && (r.paying.rest() || time.Since(r.since) > stall) {
		r.goOn()
	}
}

// stall is how long a process is stopped at most. Nothing passes or fails by it.
const stall = 700 * time.Millisecond

func (r *rivals) goOn() {
	r.seen = r.messages()
	close(r.release) // its message arrives now, if it was not delivered
	_ = r.pool.cmd.Process.Signal(syscall.SIGCONT)
}

func (r *rivals) messages() (n int) {
	for _, p := range r.sides {
		n += p.Count()
	}
	return n
}

// rest is not before a process that was stopped has looked about.
func (r *rivals) rest() bool {
	if r.stalled && !r.pool.ended() && (r.seen == 0 || r.messages() < r.seen+20) {
		return false
	}
	return r.paying.rest()
}

func (r *rivals) verdict() verdict {
	for _, o := range r.others {
		if o.proc != nil {
			o.proc.terminate(r.t)
		}
	}
	return r.paying.verdict()
}

func (r *rivals) said() string {
	var b strings.Builder
	for i, o := range r.others {
		if o.proc != nil {
			fmt.Fprintf(&b, "other %d:\n%s\n", i+1, o.proc.out)
		}
	}
	return r.paying.said() + b.String()
}

// stalls is a process that is stopped while a message of its is on the way, which
// arrives when the others are done: it was thought to be dead, and is not.
func (r *rivals) stalls() mishap {
	return mishap{name: "stalled, and its message arrives late",
		action: func(s *stage, do func()) fault.Action { return fault.Hang(s.release).Do(do) },
		does: func(s *stage, _ int) {
			_ = s.pool.cmd.Process.Signal(syscall.SIGSTOP)
			r.stalled, r.since = true, time.Now()
		}}
}

// successor is paying by a pool that moves to another host when its own is lost, or
// seems to be, and with a new journal or the one that it had. Where the lost one
// held the payments lock a person says that it is gone, as the design wants it.
type successor struct {
	*rivals
	moved bool
}

func (s *successor) begin() {
	s.rivals.begin()
	s.moved = false
}

func (s *successor) start() {
	if len(s.lives) == 0 {
		s.paying.start()
	} else {
		s.move()
	}
}

// move starts the pool on the other host.
func (s *successor) move() {
	o := s.others[0]
	if !s.moved {
		s.moved = true
		if o.copies {
			if err := exec.Command("cp", filepath.Join(s.dir, "payouts.journal"), o.dir).Run(); err != nil {
				s.t.Fatal(err)
			}
		}
		if lock := s.redis.Do(s.t, "GET", "eth:payments:lock"); lock != nil {
			s.person = "the host that held the payments lock was gone: RESOLVE_PAYOUT=1 on the other one"
			p := s.startRival(o, "RESOLVE_PAYOUT=1")
			if status := p.wait(s.t); status != 0 {
				s.t.Errorf("RESOLVE_PAYOUT=1: status %d\n%s", status, p.out)
			}
			s.lives = append(s.lives, p)
		}
	}
	o.proc = s.startRival(o)
	s.lives = append(s.lives, o.proc)
	if !s.stalled {
		s.pool = o.proc
	}
}

// tend moves the pool when the first host seems to be lost, and lets that go on when
// everything is done.
func (s *successor) tend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case !s.stalled || s.seen > 0:
	case !s.moved:
		s.move()
	case s.paying.rest():
		s.goOn()
	}
}

// TestSweepOfLostHosts has the pool's host be lost at each message, or seem to be.
func TestSweepOfLostHosts(t *testing.T) {
	for _, tc := range []struct {
		name    string
		journal bool
	}{
		{"to another host with a new journal", false},
		{"to another host with its journal", true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRivals(t, &rival{name: "second.json", dir: t.TempDir(), host: "elsewhere", copies: tc.journal})
			r.crowd = false
			stalls := r.stalls()
			stalls.name = "seems lost, and its message arrives late"
			lost := []mishap{{name: "host lost", does: killed.does}, stalls}
			sweep(t, "payouts, moved "+tc.name, &successor{rivals: r}, trouble{"redis", lost}, trouble{"node", lost})
		})
	}
}

// TestSweepOfRivals has several processes of the real binary pay the same miners.
func TestSweepOfRivals(t *testing.T) {
	const elsewhere = "elsewhere"
	for _, tc := range []struct {
		name   string
		others func() []*rival
	}{
		{"two processes, one journal", func() []*rival { return []*rival{{name: "second.json"}} }},
		{"two processes, a journal each", func() []*rival { return []*rival{{name: "second.json", dir: t.TempDir()}} }},
		{"two processes, one a copy of the other", func() []*rival { return []*rival{{name: "second.json", dir: t.TempDir(), copies: true}} }},
		{"two hosts, a journal each", func() []*rival { return []*rival{{name: "second.json", dir: t.TempDir(), host: elsewhere}} }},
		{"two hosts, one a copy of the other", func() []*rival {
			return []*rival{{name: "second.json", dir: t.TempDir(), host: elsewhere, copies: true}}
		}},
		{"three processes, one with the same journal and one with a copy", func() []*rival {
			return []*rival{{name: "second.json"}, {name: "third.json", dir: t.TempDir(), copies: true}}
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			r := newRivals(t, tc.others()...)
			rough := []mishap{killed, r.stalls()}
			sweep(t, "payouts, "+tc.name, r, trouble{"redis", rough}, trouble{"node", rough})
		})
	}
}
