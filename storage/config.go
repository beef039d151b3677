package storage

import (
	"fmt"
	"strings"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// How the pool reaches Redis. It is said, never guessed from the number of
// addresses: two addresses alone would make a cluster client.
const (
	ModeSingle   = "single"   // one server, at Endpoint
	ModeSentinel = "sentinel" // the master that the Sentinels name
	ModeCluster  = "cluster"  // a Redis Cluster; the coin must carry a hash tag
)

// Config is the section "redis" of the configuration.
type Config struct {
	Endpoint string `json:"endpoint"` // HOST:PORT, or the path of a unix socket; mode single
	PoolSize int    `json:"poolSize"` // connections kept open
	Database int    `json:"database"` // 0 in a cluster
	Username string `json:"username"` // of an ACL; empty for the default user
	Password string `json:"password"` // never printed
	TLS      bool   `json:"tls"`
	Mode     string `json:"mode"` // single, sentinel or cluster

	MasterName       string   `json:"masterName"`       // mode sentinel
	SentinelAddrs    []string `json:"sentinelAddrs"`    // HOST:PORT of each Sentinel
	SentinelPassword string   `json:"sentinelPassword"` // of the Sentinels themselves; never printed
	// SentinelEnabled is how open-etc-pool-friends writes mode sentinel.
	SentinelEnabled bool `json:"sentinelEnabled"`

	Addrs []string `json:"addrs"` // HOST:PORT of some cluster nodes; mode cluster
}

// DefaultConfig is a Redis of its own on this machine.
func DefaultConfig() Config {
	return Config{Endpoint: "127.0.0.1:6379", PoolSize: 10, Mode: ModeSingle}
}

// Complete settles what the keys of older pools say in ours.
func (c *Config) Complete() {
	if c.SentinelEnabled && c.Mode == ModeSingle {
		c.Mode = ModeSentinel
	}
}

// Validate reports every wrong value as a util.KeyError.
func (c Config) Validate() error {
	var f util.Faults
	f.Unless(c.PoolSize >= 1 && c.PoolSize <= 10_000, "redis.poolSize", "is %d, want 1 to 10000", c.PoolSize)
	f.Unless(c.Database >= 0, "redis.database", "is %d, want 0 or more", c.Database)
	switch c.Mode {
	case ModeSingle:
		if !strings.HasPrefix(c.Endpoint, "/") {
			f.Check("redis.endpoint", util.CheckServer(c.Endpoint))
		}
	case ModeSentinel:
		f.Unless(c.MasterName != "", "redis.masterName", "is not set, want the master's name as the Sentinels know it")
		checkAddrs(&f, "redis.sentinelAddrs", c.SentinelAddrs)
	case ModeCluster:
		checkAddrs(&f, "redis.addrs", c.Addrs)
		f.Unless(c.Database == 0, "redis.database", "is %d, want 0: a cluster has no other", c.Database)
		f.Unless(!c.SentinelEnabled, "redis.sentinelEnabled", "is true, want false in mode cluster")
	default:
		f.Unless(false, "redis.mode", "is %q, want %q, %q or %q", c.Mode, ModeSingle, ModeSentinel, ModeCluster)
	}
	return f.Err()
}

// Unused reports every key that is set and that the mode does not read, as a
// util.KeyError.
func (c Config) Unused() error {
	var f util.Faults
	for _, k := range []struct {
		key, mode string
		set       bool
	}{
		{"redis.masterName", ModeSentinel, c.MasterName != ""},
		{"redis.sentinelAddrs", ModeSentinel, len(c.SentinelAddrs) > 0},
		{"redis.sentinelPassword", ModeSentinel, c.SentinelPassword != ""},
		{"redis.addrs", ModeCluster, len(c.Addrs) > 0},
	} {
		f.Unless(!k.set || c.Mode == k.mode, k.key, "has no effect: redis.mode is %q, and only %q reads it", c.Mode, k.mode)
	}
	return f.Err()
}

func checkAddrs(f *util.Faults, key string, addrs []string) {
	f.Unless(len(addrs) > 0, key, "is empty, want at least one HOST:PORT")
	for i, a := range addrs {
		f.Check(fmt.Sprintf("%s[%d]", key, i), util.CheckServer(a))
	}
}
