package storage

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"
)

func TestConfigValidate(t *testing.T) {
	two := []string{"10.0.0.1:26379", "10.0.0.2:26379"}
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string // part of the error; empty for none
	}{
		{"the defaults are valid", func(c *Config) {}, ""},
		{"a unix socket is an endpoint", func(c *Config) { c.Endpoint = "/run/redis.sock" }, ""},
		{"an endpoint has a port", func(c *Config) { c.Endpoint = "redis" }, `redis.endpoint is "redis", want HOST:PORT`},
		{"a server has no port 0", func(c *Config) { c.Endpoint = "redis:0" }, `redis.endpoint is "redis:0", want a port from 1 to 65535`},
		{"a Sentinel neither", func(c *Config) { c.Mode, c.MasterName, c.SentinelAddrs = ModeSentinel, "m", []string{"h:0"} }, `redis.sentinelAddrs[0] is "h:0", want a port`},
		{"an endpoint is set", func(c *Config) { c.Endpoint = "" }, "redis.endpoint is not set"},
		{"an endpoint is no URL, and its password stays hidden", func(c *Config) { c.Endpoint = "redis://:pw@h" }, `redis.endpoint is "…@h"`},
		{"there are connections", func(c *Config) { c.PoolSize = 0 }, "redis.poolSize is 0, want 1 to 10000"},
		{"databases count from 0", func(c *Config) { c.Database = -1 }, "redis.database is -1"},
		{"the mode is one of three", func(c *Config) { c.Mode = "" }, `redis.mode is "", want "single", "sentinel" or "cluster"`},
		{"Sentinels and a master", func(c *Config) { c.Mode, c.MasterName, c.SentinelAddrs = ModeSentinel, "m", two }, ""},
		{"friends' switch means Sentinel", func(c *Config) { c.SentinelEnabled = true }, "redis.masterName is not set"},
		{"Sentinels are listed", func(c *Config) { c.Mode, c.MasterName = ModeSentinel, "m" }, "redis.sentinelAddrs is empty"},
		{"each Sentinel has a port", func(c *Config) { c.Mode, c.MasterName, c.SentinelAddrs = ModeSentinel, "m", []string{"h:1", "h"} }, `redis.sentinelAddrs[1] is "h"`},
		{"Sentinels are not used unless the mode says so", func(c *Config) { c.SentinelAddrs = []string{"placeholder"} }, ""},
		{"a cluster has addresses", func(c *Config) { c.Mode = ModeCluster }, "redis.addrs is empty"},
		{"a cluster has one database", func(c *Config) { c.Mode, c.Addrs, c.Database = ModeCluster, two, 1 }, "redis.database is 1, want 0"},
		{"a cluster is not asked through Sentinels", func(c *Config) { c.Mode, c.Addrs, c.SentinelEnabled = ModeCluster, two, true }, "redis.sentinelEnabled is true"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := DefaultConfig()
			c.Password = "hunter2"
			tc.change(&c)
			c.Complete()
			err := c.Validate()
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error is %v, want %q", err, tc.want)
			}
			if err != nil && (strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), "pw")) {
				t.Errorf("a password is shown: %v", err)
			}
		})
	}
}

func TestKeysThatTheModeDoesNotReadAreNamed(t *testing.T) {
	full := Config{MasterName: "m", SentinelAddrs: []string{"h:1"}, SentinelPassword: "hunter2", Addrs: []string{"h:1"}}
	for _, tc := range []struct {
		name, mode string
		want       []string
	}{
		{"one server reads none of them", ModeSingle, []string{"redis.masterName", "redis.sentinelAddrs", "redis.sentinelPassword", "redis.addrs"}},
		{"Sentinels have no cluster", ModeSentinel, []string{"redis.addrs"}},
		{"a cluster has no Sentinels", ModeCluster, []string{"redis.masterName", "redis.sentinelAddrs", "redis.sentinelPassword"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := full
			c.Mode = tc.mode
			lines := strings.Split(fmt.Sprint(c.Unused()), "\n")
			if len(lines) != len(tc.want) {
				t.Fatalf("got %q, want %q", lines, tc.want)
			}
			for i, key := range tc.want {
				if !strings.HasPrefix(lines[i], key+" has no effect: redis.mode is ") || strings.Contains(lines[i], "hunter2") {
					t.Errorf("%q, want %s first and no password", lines[i], key)
				}
			}
		})
	}
	if err := DefaultConfig().Unused(); err != nil {
		t.Errorf("the defaults have no effect: %v", err)
	}
}

func TestTheRedisClientSpeaksThroughTheLog(t *testing.T) {
	var out bytes.Buffer
	LogTo(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	defer LogTo(slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	cfg := DefaultConfig()
	cfg.Endpoint = "127.0.0.1:1"
	if _, err := Open(ctx, cfg, "eth"); err == nil {
		t.Fatal("connected to nobody")
	}
	clientLog{slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))}.Printf(ctx, "attempt %d", 3)
	if text := out.String(); !strings.Contains(text, "level=DEBUG") || !strings.Contains(text, `says="attempt 3"`) {
		t.Errorf("the log is %q", text)
	}
}
