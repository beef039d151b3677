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
	"strconv"
	"strings"
	"syscall"
	"time"
)

// patience is how long anything may take before the run is given up.
const patience = 30 * time.Second

// world is a pool with what it needs.
type world struct {
	node *node
	pool process
	addr string // for miners

	redis process
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

// open starts a pool on an empty Redis, with these variables in its environment,
// and returns when miners may connect.
func open(ctx context.Context, binary string, environment ...string) (w *world, err error) {
	w = &world{}
	defer func() {
		if err != nil {
			w.close()
		}
	}()
	if w.dir, err = os.MkdirTemp("", "pool-bench-"); err != nil {
		return w, err
	}
	if w.node, err = newNode(); err != nil {
		return w, err
	}
	redis, err := w.startRedis(ctx)
	if err != nil {
		return w, err
	}
	return w, w.startPool(ctx, binary, redis, environment)
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
func (w *world) startRedis(ctx context.Context) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	addr = l.Addr().String()
	l.Close()
	_, port, _ := net.SplitHostPort(addr)
	w.redis = process{exec.CommandContext(ctx, "redis-server", "--bind", "127.0.0.1", "--port", port, "--dir", w.dir, "--save", "", "--appendonly", "yes")}
	if err := w.redis.Start(); err != nil {
		return "", err
	}
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", addr)
		if err == nil {
			conn.Close()
			return addr, nil
		}
		if time.Since(began) > patience {
			return "", fmt.Errorf("redis-server: %w", err)
		}
	}
}

func (w *world) startPool(ctx context.Context, binary, redis string, environment []string) error {
	config, err := json.Marshal(map[string]any{
		"coin": "eth", "network": "ethereum",
		"proxy": map[string]any{
			"enabled": true, "listen": "127.0.0.1:0", "difficulty": 1,
			"stratum": map[string]any{"enabled": true, "listen": "127.0.0.1:0", "maxConn": 2 * idle},
		},
		"upstream": []any{map[string]any{"name": "bench", "url": "http://" + w.node.addr(), "ws": "ws://" + w.node.addr()}},
		"redis":    map[string]any{"endpoint": redis},
		"log":      map[string]any{"format": "json"},
	})
	if err != nil {
		return err
	}
	path := filepath.Join(w.dir, "config.json")
	if err := os.WriteFile(path, config, 0o600); err != nil {
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
	for subscribed := false; !subscribed || w.addr == ""; {
		if !lines.Scan() {
			return fmt.Errorf("%s ended before it was ready", binary)
		}
		var line struct{ Level, Msg, Listen, Err string }
		if err := json.Unmarshal(lines.Bytes(), &line); err != nil {
			return fmt.Errorf("%s said %s", binary, lines.Text())
		}
		switch {
		case line.Msg == "miners may connect":
			w.addr = line.Listen
		case line.Msg == "node tells of new blocks":
			subscribed = true
		case line.Level == "ERROR":
			return fmt.Errorf("%s: %s %s", binary, line.Msg, line.Err)
		}
	}
	go func() {
		for lines.Scan() { // else its log would fill the pipe
		}
	}()
	return nil
}

// tick is the unit of processor time in /proc, the same on every Linux.
const tick = 10 * time.Millisecond

// cpu is the processor time of the process so far.
func (p process) cpu() time.Duration {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.Process.Pid))
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	user, _ := strconv.Atoi(fields[11])
	system, _ := strconv.Atoi(fields[12])
	return time.Duration(user+system) * tick
}

// resident is the memory of the process, in bytes.
func (p process) resident() int64 {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.Process.Pid))
	_, rest, _ := strings.Cut(string(text), "VmRSS:")
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
