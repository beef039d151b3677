package proxy

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Config is the section "proxy" of the configuration: what miners connect to.
type Config struct {
	Enabled              bool          `json:"enabled"`
	Listen               string        `json:"listen"`               // HOST:PORT of getwork over HTTP
	LimitHeadersSize     int           `json:"limitHeadersSize"`     // bytes
	LimitBodySize        int64         `json:"limitBodySize"`        // bytes
	BehindReverseProxy   bool          `json:"behindReverseProxy"`   // take a miner's IP from X-Forwarded-For
	TrustedProxies       []string      `json:"trustedProxies"`       // CIDRs of who may tell a miner's IP: in X-Forwarded-For, or by the PROXY protocol
	BlockRefreshInterval util.Duration `json:"blockRefreshInterval"` // between looks for new work
	StateUpdateInterval  util.Duration `json:"stateUpdateInterval"`  // between reports of the node's state to Redis
	Difficulty           int64         `json:"difficulty"`           // of a share, in hashes
	HashrateExpiration   util.Duration `json:"hashrateExpiration"`   // of a miner's samples in Redis
	HealthCheck          bool          `json:"healthCheck"`          // no work for miners while Redis fails
	MaxFails             int64         `json:"maxFails"`             // failures until that

	// Candidates is a file that every found block is written to before anything
	// else, and stays in for some hours. Relative to the configuration file.
	Candidates string `json:"candidates"`

	Stratum StratumConfig  `json:"stratum"`
	Policy  PolicyConfig   `json:"policy"`
	VarDiff *VarDiffConfig `json:"varDiff"` // nil: every share has the one Difficulty

	StratumNiceHash util.Ignored `json:"stratum_nice_hash" ignored:"proxy.stratum speaks EthereumStratum/1.0.0 on its own port"`
	StratumHostname util.Ignored `json:"stratumHostname" ignored:"the pages show the name they are opened under"`
	Debug           util.Ignored `json:"debug" ignored:"use log.level \"debug\""`
}

// StratumConfig is the section "proxy.stratum": lines of JSON over TCP.
type StratumConfig struct {
	Enabled  bool          `json:"enabled"`
	Listen   string        `json:"listen"`   // HOST:PORT
	Timeout  util.Duration `json:"timeout"`  // without a line from the miner, and without new work for him
	MaxConn  int           `json:"maxConn"`  // connections at once, those of getwork over HTTP included
	TLS      bool          `json:"tls"`      // with the two files below, PEM
	CertFile string        `json:"certFile"` // relative to the working directory, as in open-etc-pool-friends; renewed ones are taken without a restart
	KeyFile  string        `json:"keyFile"`

	// ProxyProtocol says that a load balancer in front of all ports tells the
	// miners' addresses (PROXY protocol, versions 1 and 2). Connections without, or
	// from others than proxy.trustedProxies, are refused.
	ProxyProtocol bool         `json:"proxyProtocol"`
	Ports         []PortConfig `json:"ports"` // beside the first
}

// PortConfig is one more port for miners, an element of "proxy.stratum.ports".
type PortConfig struct {
	Listen     string         `json:"listen"`     // HOST:PORT
	TLS        bool           `json:"tls"`        // with the certificate of proxy.stratum
	Difficulty int64          `json:"difficulty"` // of a share, in hashes; 0 is proxy.difficulty
	VarDiff    *VarDiffConfig `json:"varDiff"`    // nil: every share has the one Difficulty
}

// VarDiffConfig is the section "proxy.varDiff": the share difficulty follows the
// miner's speed. Writing the section turns it on.
type VarDiffConfig struct {
	Enabled         bool         `json:"enabled"`
	MinDiff         int64        `json:"minDiff"`
	MaxDiff         int64        `json:"maxDiff"`
	TargetTime      int64        `json:"targetTime"`      // seconds between two shares
	VariancePercent util.Percent `json:"variancePercent"` // of TargetTime, without a change
	MaxJump         util.Percent `json:"maxJump"`         // of the difficulty, in one change
}

// SetDefaults fills in what a written section leaves out.
func (c *VarDiffConfig) SetDefaults() {
	*c = VarDiffConfig{
		Enabled: true, MinDiff: 1_000_000_000, MaxDiff: 100_000_000_000, TargetTime: 15,
		VariancePercent: 30 * util.OnePercent, MaxJump: 50 * util.OnePercent,
	}
}

// PolicyConfig is the section "proxy.policy": who may mine, and how badly.
type PolicyConfig struct {
	Workers         int           `json:"workers"`         // goroutines that ban
	ResetInterval   util.Duration `json:"resetInterval"`   // until an IP's record is forgotten
	RefreshInterval util.Duration `json:"refreshInterval"` // between reads of blacklist and whitelist
	BlacklistFile   string        `json:"blacklist_file"`  // more logins and IPs, a JSON list; empty for none
	Banning         BanningConfig `json:"banning"`
	Limits          LimitsConfig  `json:"limits"`
}

// BanningConfig is the section "proxy.policy.banning".
type BanningConfig struct {
	Enabled         bool         `json:"enabled"`
	IPSet           string       `json:"ipset"`           // name of the set; empty bans inside the pool only
	Timeout         int64        `json:"timeout"`         // of a ban, seconds
	InvalidPercent  util.Percent `json:"invalidPercent"`  // of a miner's shares, from which he is banned
	CheckThreshold  int32        `json:"checkThreshold"`  // shares between two looks at that
	MalformedLimit  int32        `json:"malformedLimit"`  // requests that are no requests, until a ban
	Fail2banCommand string       `json:"fail2banCommand"` // run instead of ipset, with the IP as its last word; empty for none
}

// LimitsConfig is the section "proxy.policy.limits": connections of one IP.
type LimitsConfig struct {
	Enabled   bool          `json:"enabled"`
	Limit     int32         `json:"limit"`     // connections to begin with
	Grace     util.Duration `json:"grace"`     // after the start, without limits
	LimitJump int32         `json:"limitJump"` // connections more for every valid share
}

// Upstream is one element of the list "upstream": a node that gives work, the
// first in good health preferred.
type Upstream struct {
	Name    string        `json:"name"`
	URL     string        `json:"url"`
	WS      string        `json:"ws"` // websocket, to be told of new blocks at once; empty only polls
	Timeout util.Duration `json:"timeout"`
}

// SetDefaults fills in what an element leaves out.
func (u *Upstream) SetDefaults() { u.Timeout = util.Duration(10 * time.Second) }

// DefaultConfig holds the value of every key that is left out.
func DefaultConfig() Config {
	return Config{
		Listen:               "0.0.0.0:8888",
		LimitHeadersSize:     1024,
		LimitBodySize:        256,
		TrustedProxies:       []string{"127.0.0.0/8", "::1/128", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7"}, // loopback, private
		BlockRefreshInterval: util.Duration(120 * time.Millisecond),
		StateUpdateInterval:  util.Duration(3 * time.Second),
		Difficulty:           2_000_000_000,
		HashrateExpiration:   util.Duration(3 * time.Hour),
		HealthCheck:          true,
		MaxFails:             100,
		Candidates:           "proxy.candidates",
		Stratum: StratumConfig{
			Listen:  "0.0.0.0:8008",
			Timeout: util.Duration(2 * time.Minute),
			MaxConn: 8192,
		},
		Policy: PolicyConfig{
			Workers:         8,
			ResetInterval:   util.Duration(time.Hour),
			RefreshInterval: util.Duration(time.Minute),
			Banning: BanningConfig{
				IPSet: "blacklist", Timeout: 1800, InvalidPercent: 30 * util.OnePercent,
				CheckThreshold: 30, MalformedLimit: 5,
			},
			Limits: LimitsConfig{Limit: 30, Grace: util.Duration(5 * time.Minute), LimitJump: 10},
		},
	}
}

// Validate reports every wrong value as a util.KeyError. What is not enabled may
// hold placeholders and is not looked at.
func (c Config) Validate() error {
	if !c.Enabled {
		return nil
	}
	var f util.Faults
	f.Check("proxy.listen", util.CheckHostPort(c.Listen))
	f.Unless(c.LimitHeadersSize >= 1, "proxy.limitHeadersSize", "is %d, want at least 1 byte", c.LimitHeadersSize)
	f.Unless(c.LimitBodySize >= 1, "proxy.limitBodySize", "is %d, want at least 1 byte", c.LimitBodySize)
	for i, hops := range c.TrustedProxies {
		_, err := netip.ParsePrefix(hops)
		f.Unless(err == nil, fmt.Sprintf("proxy.trustedProxies[%d]", i), `is %q, want a network such as "10.0.0.0/8"`, hops)
	}
	f.Unless(c.Difficulty >= 1, "proxy.difficulty", "is %d, want at least 1", c.Difficulty)
	f.Unless(c.MaxFails >= 1, "proxy.maxFails", "is %d, want at least 1", c.MaxFails)
	c.Stratum.check(&f)
	c.Policy.check(&f)
	f.Unless(c.Candidates != "", "proxy.candidates", `is empty, want a file such as "proxy.candidates"`)
	c.VarDiff.check(&f, "proxy.varDiff")
	return f.Err()
}

// Complete takes a relative path to be beside the configuration file, whose
// directory is given.
func (c *Config) Complete(dir string) {
	if c.Candidates != "" && !filepath.IsAbs(c.Candidates) {
		c.Candidates = filepath.Join(dir, c.Candidates)
	}
}

func (v *VarDiffConfig) check(f *util.Faults, key string) {
	if v == nil || !v.Enabled {
		return
	}
	f.Unless(v.MinDiff >= 1, key+".minDiff", "is %d, want at least 1", v.MinDiff)
	f.Unless(v.MaxDiff >= v.MinDiff, key+".maxDiff", "is %d, want at least %s.minDiff, %d", v.MaxDiff, key, v.MinDiff)
	f.Unless(v.TargetTime >= 1, key+".targetTime", "is %d, want at least 1 second", v.TargetTime)
	f.Unless(v.MaxJump > 0, key+".maxJump", "is 0, want more than 0 percent")
}

func (c StratumConfig) check(f *util.Faults) {
	f.Unless(c.MaxConn >= 1, "proxy.stratum.maxConn", "is %d, want at least 1", c.MaxConn)
	if !c.Enabled {
		return
	}
	f.Check("proxy.stratum.listen", util.CheckHostPort(c.Listen))
	security := c.TLS
	for i, p := range c.Ports {
		at := fmt.Sprintf("proxy.stratum.ports[%d]", i)
		f.Check(at+".listen", util.CheckHostPort(p.Listen))
		f.Unless(p.Difficulty >= 0, at+".difficulty", "is %d, want at least 1, or 0 for proxy.difficulty", p.Difficulty)
		p.VarDiff.check(f, at+".varDiff")
		security = security || p.TLS
	}
	if security {
		f.Unless(c.CertFile != "", "proxy.stratum.certFile", "is not set, want a PEM file for proxy.stratum.tls")
		f.Unless(c.KeyFile != "", "proxy.stratum.keyFile", "is not set, want a PEM file for proxy.stratum.tls")
	}
}

func (c PolicyConfig) check(f *util.Faults) {
	f.Unless(c.Workers >= 1, "proxy.policy.workers", "is %d, want at least 1", c.Workers)
	if b := c.Banning; b.Enabled {
		f.Unless(b.Timeout >= 1, "proxy.policy.banning.timeout", "is %d, want at least 1 second", b.Timeout)
		f.Unless(b.InvalidPercent > 0, "proxy.policy.banning.invalidPercent", "is 0, want more, or every miner is banned")
		f.Unless(b.CheckThreshold >= 1, "proxy.policy.banning.checkThreshold", "is %d, want at least 1", b.CheckThreshold)
		f.Unless(b.MalformedLimit >= 1, "proxy.policy.banning.malformedLimit", "is %d, want at least 1", b.MalformedLimit)
	}
	if l := c.Limits; l.Enabled {
		f.Unless(l.Limit >= 1, "proxy.policy.limits.limit", "is %d, want at least 1", l.Limit)
		f.Unless(l.LimitJump >= 0, "proxy.policy.limits.limitJump", "is %d, want 0 or more", l.LimitJump)
	}
}

// ValidateUpstreams reports every wrong value of the list "upstream".
func ValidateUpstreams(list []Upstream) error {
	var f util.Faults
	f.Unless(len(list) > 0, "upstream", "is empty, want at least one node that gives work")
	names := map[string]bool{}
	for i, u := range list {
		at := fmt.Sprintf("upstream[%d]", i)
		f.Unless(u.Name != "", at+".name", "is not set, want a name for logs and pages")
		f.Unless(!names[u.Name], at+".name", "is %q, want another name than the others have", u.Name)
		names[u.Name] = true
		f.Check(at+".url", util.CheckURL(u.URL))
		if u.WS != "" {
			scheme, rest, _ := strings.Cut(u.WS, "://")
			f.Unless((scheme == "ws" || scheme == "wss") && rest != "", at+".ws", "is no websocket of a node, want ws://HOST:PORT or wss://HOST")
		}
	}
	return f.Err()
}
