package proxy

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// program writes an executable file.
func program(t *testing.T, path, script string) {
	t.Helper()
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+script), 0o700); err != nil {
		t.Fatal(err)
	}
}

// firewalled is a policy that carries out bans until the test ends.
func firewalled(t *testing.T, banning BanningConfig, limit time.Duration) (*policy, *logBuffer) {
	t.Helper()
	cfg, logs := DefaultConfig().Policy, &logBuffer{}
	banning.Enabled, banning.Timeout = true, 60
	cfg.Banning = banning
	p := newPolicy(cfg, nil, slog.New(slog.NewTextHandler(logs, nil)))
	p.limit = limit
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); p.carryOut(ctx) }()
	t.Cleanup(func() { cancel(); <-ended })
	return p, logs
}

// said waits for the log, or a file, to have so many lines with the text.
func said(read func() string, text string, times int) string {
	for strings.Count(read(), text) < times {
		time.Sleep(time.Millisecond)
	}
	return read()
}

// The command that is run has an address in it that is one, and nothing else that
// a miner has chosen.
func TestTheFirewallIsToldOfBans(t *testing.T) {
	for _, tc := range []struct {
		name    string
		banning BanningConfig
		want    string
	}{
		{"ipset", BanningConfig{IPSet: "black"}, "sudo -n ipset add black %s timeout 60 -exist"},
		{"a command of the operator's", BanningConfig{IPSet: "black", Fail2banCommand: " fail2ban-client set pool  banip "}, "fail2ban-client set pool banip %s"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, name := range []string{"sudo", "fail2ban-client"} {
				program(t, filepath.Join(dir, name), `echo "${0##*/} $*" >> "`+dir+`/told"`)
			}
			t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
			p, logs := firewalled(t, tc.banning, time.Hour)
			ips := []string{"10.1.2.3", "2001:db8::1"}
			for _, ip := range []string{ips[0], "-exist", "10.0.0.1 ; reboot", "$(reboot)", "/run/socket", "", ips[1]} {
				p.mu.Lock()
				p.ban(ip, p.of(ip), "of a test")
				p.mu.Unlock()
			}
			told := said(func() string { b, _ := os.ReadFile(dir + "/told"); return string(b) }, "\n", 2)
			if want := fmt.Sprintf(tc.want+"\n"+tc.want+"\n", ips[0], ips[1]); told != want {
				t.Errorf("told\n%swant\n%s", told, want)
			}
			if got := logs.String(); strings.Contains(got, "level=ERROR") {
				t.Errorf("it is said:\n%s", got)
			}
		})
	}
	if got := (BanningConfig{Fail2banCommand: "  "}).command("10.1.2.3"); got != nil {
		t.Errorf("without ipset and fail2ban %q is run", got)
	}
}

// A command that hangs, with children that hold its output, keeps neither the next
// ban waiting nor the pool from ending, and is told to the operator.
func TestAFirewallThatDoesNotAnswer(t *testing.T) {
	dir := t.TempDir()
	program(t, dir+"/child", "sleep 1000")
	program(t, dir+"/hang", "echo here is $$\n"+dir+"/child &\nsleep 1000")
	p, logs := firewalled(t, BanningConfig{Fail2banCommand: dir + "/hang"}, 50*time.Millisecond)
	text := ""
	for n := 1; !strings.Contains(text, "here is "); n++ { // it has to get so far
		p.limit *= 2
		p.bans <- "10.0.0.1"
		p.bans <- "10.0.0.2"
		text = said(logs.String, "the firewall does not know of a ban", 2*n)
	}
	if !strings.Contains(text, "ip=10.0.0.1") || !strings.Contains(text, "ip=10.0.0.2") {
		t.Errorf("it is said:\n%s", text)
	}
	for running(t, dir) {
		time.Sleep(time.Millisecond)
	}
	p.limit = time.Hour
	p.bans <- "10.0.0.3" // which hangs when the test ends
	for !running(t, dir) {
		time.Sleep(time.Millisecond)
	}
}

// running says whether a program in that folder is.
func running(t *testing.T, dir string) bool {
	t.Helper()
	all, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	return slices.ContainsFunc(all, func(file string) bool {
		line, _ := os.ReadFile(file) // it may have ended
		return strings.Contains(string(line), dir+"/")
	})
}

// One that is not there is told as well.
func TestAFirewallThatIsMissing(t *testing.T) {
	p, logs := firewalled(t, BanningConfig{Fail2banCommand: t.TempDir() + "/none"}, time.Hour)
	p.bans <- "10.0.0.1"
	if text := said(logs.String, "the firewall does not know of a ban", 1); !strings.Contains(text, "no such file") {
		t.Errorf("it is said:\n%s", text)
	}
}
