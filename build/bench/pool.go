package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// patience is how long anything may take before the run is given up.
const patience = 30 * time.Second

// world is a pool with what it needs.
type world struct {
	node *node
	pool process
	addr string // for miners

	redis process
	at    string // of Redis
	dir   string
}

// process is a program that was started here.
type process struct{ *exec.Cmd }

func (p process) end() {
	if p.Cmd != nil && p.Process != nil {
		_ = p.Process.Kill()
		_ = p.Wait()
	}
}

// newWorld starts a Redis that is empty.
func newWorld(ctx context.Context) (w *world, err error) {
	w = &world{}
	if w.dir, err = os.MkdirTemp("", "pool-bench-"); err == nil {
		err = w.startRedis(ctx)
	}
	if err != nil {
		w.close()
	}
	return w, err
}

// open starts a pool on an empty Redis, with these variables in its environment,
// and returns when miners may connect.
func open(ctx context.Context, binary string, environment ...string) (w *world, err error) {
	if w, err = newWorld(ctx); err != nil {
		return w, err
	}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.node, err = newNode(); err != nil {
		return w, err
	}
	return w, w.startProxy(ctx, binary, environment)
}

func (w *world) close() {
	w.pool.end()
	w.redis.end()
	if w.node != nil {
		w.node.close()
	}
	_ = os.RemoveAll(w.dir)
}

// startRedis keeps its books as docs/ tells operators to: appended to a file,
// synced every second.
func (w *world) startRedis(ctx context.Context) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	w.at = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(w.at)
	w.redis = process{exec.CommandContext(ctx, "redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", w.dir, "--save", "", "--appendonly", "yes")}
	if err := w.redis.Start(); err != nil {
		return err
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", w.at)
		if err == nil {
			conn.Close()
			return nil
		}
		if time.Since(began) > patience {
			return fmt.Errorf("redis-server: %w", err)
		}
	}
}

// startProxy starts a pool for miners.
func (w *world) startProxy(ctx context.Context, binary string, environment []string) error {
	subscribed, hashes := false, false
	return w.startPool(ctx, binary, map[string]any{
		"network": "ethereum",
		"proxy": map[string]any{
			"enabled": true, "listen": "127.0.0.1:0", "difficulty": 1,
			"stratum": map[string]any{"enabled": true, "listen": "127.0.0.1:0", "maxConn": 2 * idle},
		},
		"upstream": []any{map[string]any{"name": "bench", "url": "http://" + w.node.addr(), "ws": "ws://" + w.node.addr()}},
	}, environment, func(message, listen string) (ready bool) {
		switch message {
		case "miners may connect":
			w.addr = listen
		case "node tells of new blocks":
			subscribed = true
		case "verification cache is ready": // it is no part of what a connection holds
			hashes = true
		}
		return subscribed && hashes && w.addr != ""
	})
}

// startPool starts a pool with a configuration and returns when it is ready, by
// what its log says and where it listens.
func (w *world) startPool(ctx context.Context, binary string, config map[string]any, environment []string, ready func(message, listen string) bool) error {
	config["coin"], config["redis"], config["log"] = coin, map[string]any{"endpoint": w.at}, map[string]any{"format": "json"}
	text, err := json.Marshal(config)
	if err != nil {
		return err
	}
	path := filepath.Join(w.dir, "config.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	w.pool = process{exec.CommandContext(ctx, binary, path)}
	w.pool.Env = append(os.Environ(), environment...)
	log, err := w.pool.StderrPipe()
	if err != nil {
		return err
	}
	if err := w.pool.Start(); err != nil {
		return err
	}
	lines := bufio.NewScanner(log)
	for up := false; !up; {
		if !lines.Scan() {
			return fmt.Errorf("%s ended before it was ready", binary)
		}
		var line struct{ Level, Msg, Listen, Err string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("%s said %s", binary, lines.Text())
		}
		if line.Level == "ERROR" {
			return fmt.Errorf("%s: %s %s", binary, line.Msg, line.Err)
		}
		up = ready(line.Msg, line.Listen)
	}
	go func() {
		for lines.Scan() { // else its log would fill the pipe
		}
	}()
	return nil
}

// cpu is the processor time of the process so far, from Linux's clock of it:
// /proc counts in ticks of 10 ms.
func (p process) cpu() time.Duration {
	var t unix.Timespec
	if unix.ClockGettime(int32(^p.Process.Pid<<3|2), &t) != nil { // see clock_getcpuclockid(3)
		return 0
	}
	return time.Duration(t.Nano())
}

// resident is the memory of the process, peak the most that it ever was, in bytes.
func (p process) resident() int64 { return p.status("VmRSS:") }
func (p process) peak() int64     { return p.status("VmHWM:") }

func (p process) status(what string) int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	_, rest, _ := strings.Cut(string(text), what)
	var kib int64
	_, _ = fmt.Sscan(rest, &kib)
	return kib << 10
}

// room says what is missing for so many connections, here and in the pool, which
// inherits the limit.
func room(connections uint64) error {
	var r syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &r); err != nil {
		return err
	}
	if want := connections + 200; r.Max < want {
		return fmt.Errorf("not measured: %d files may be open, %d are needed (ulimit -n %d)", r.Max, want, want)
	}
	return nil
}
