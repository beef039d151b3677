package proxy

import (
	"strings"
	"testing"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

func TestConfigValidate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string // part of the error; empty for none
	}{
		{"the defaults are valid", func(c *Config) {}, ""},
		{"a disabled section is not looked at", func(c *Config) { *c = Config{} }, ""},
		{"an address has a port", func(c *Config) { c.Listen = "8888" }, `proxy.listen is "8888", want HOST:PORT`},
		{"headers have room", func(c *Config) { c.LimitHeadersSize = 0 }, "proxy.limitHeadersSize is 0, want at least 1 byte"},
		{"bodies have room", func(c *Config) { c.LimitBodySize = 0 }, "proxy.limitBodySize is 0"},
		{"a trusted hop is a network", func(c *Config) { c.TrustedProxies = []string{"::1/128", "10.0.0.1"} }, `proxy.trustedProxies[1] is "10.0.0.1", want a network such as "10.0.0.0/8"`},
		{"nobody need be trusted", func(c *Config) { c.TrustedProxies = nil }, ""},
		{"a share has a difficulty", func(c *Config) { c.Difficulty = 0 }, "proxy.difficulty is 0, want at least 1"},
		{"failures are counted from one", func(c *Config) { c.MaxFails = 0 }, "proxy.maxFails is 0"},
		{"stratum listens", func(c *Config) { c.Stratum.Enabled, c.Stratum.Listen = true, "" }, "proxy.stratum.listen is not set"},
		{"stratum takes connections", func(c *Config) { c.Stratum.Enabled, c.Stratum.MaxConn = true, 0 }, "proxy.stratum.maxConn is 0"},
		{"TLS takes a certificate", func(c *Config) { c.Stratum.Enabled, c.Stratum.TLS = true, true }, "proxy.stratum.certFile is not set"},
		{"TLS takes a key", func(c *Config) { c.Stratum.Enabled, c.Stratum.TLS, c.Stratum.CertFile = true, true, "c" }, "proxy.stratum.keyFile is not set"},
		{"stratum that is off may hold placeholders", func(c *Config) { c.Stratum.TLS, c.Stratum.Listen = true, "?" }, ""},
		{"somebody carries out bans", func(c *Config) { c.Policy.Workers = 0 }, "proxy.policy.workers is 0"},
		{"a ban ends", func(c *Config) { c.Policy.Banning.Enabled, c.Policy.Banning.Timeout = true, 0 }, "proxy.policy.banning.timeout is 0, want at least 1 second"},
		{"not everybody is banned", func(c *Config) { c.Policy.Banning.Enabled, c.Policy.Banning.InvalidPercent = true, 0 }, "proxy.policy.banning.invalidPercent is 0"},
		{"shares are looked at", func(c *Config) { c.Policy.Banning.Enabled, c.Policy.Banning.CheckThreshold = true, 0 }, "proxy.policy.banning.checkThreshold is 0"},
		{"requests are looked at", func(c *Config) { c.Policy.Banning.Enabled, c.Policy.Banning.MalformedLimit = true, 0 }, "proxy.policy.banning.malformedLimit is 0"},
		{"an IP may connect", func(c *Config) { c.Policy.Limits.Enabled, c.Policy.Limits.Limit = true, 0 }, "proxy.policy.limits.limit is 0"},
		{"a share never costs connections", func(c *Config) { c.Policy.Limits.Enabled, c.Policy.Limits.LimitJump = true, -1 }, "proxy.policy.limits.limitJump is -1"},
		{"a written varDiff is on and valid", func(c *Config) { c.VarDiff = varDiff(func(v *VarDiffConfig) {}) }, ""},
		{"the least difficulty is one", func(c *Config) { c.VarDiff = varDiff(func(v *VarDiffConfig) { v.MinDiff = 0 }) }, "proxy.varDiff.minDiff is 0"},
		{"the most is not below the least", func(c *Config) { c.VarDiff = varDiff(func(v *VarDiffConfig) { v.MaxDiff = 1 }) }, "proxy.varDiff.maxDiff is 1"},
		{"shares take time", func(c *Config) { c.VarDiff = varDiff(func(v *VarDiffConfig) { v.TargetTime = 0 }) }, "proxy.varDiff.targetTime is 0"},
		{"varDiff can move", func(c *Config) { c.VarDiff = varDiff(func(v *VarDiffConfig) { v.MaxJump = 0 }) }, "proxy.varDiff.maxJump is 0"},
		{"varDiff may be off", func(c *Config) { c.VarDiff = &VarDiffConfig{} }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := DefaultConfig()
			c.Enabled = true
			tc.change(&c)
			wantError(t, c.Validate(), tc.want)
		})
	}
}

func varDiff(change func(*VarDiffConfig)) *VarDiffConfig {
	v := new(VarDiffConfig)
	v.SetDefaults()
	change(v)
	return v
}

func TestValidateUpstreams(t *testing.T) {
	main := Upstream{Name: "main", URL: "http://127.0.0.1:8545", Timeout: util.Duration(1)}
	for _, tc := range []struct {
		name string
		list []Upstream
		want string
	}{
		{"one node is enough", []Upstream{main}, ""},
		{"none is not", nil, "upstream is empty"},
		{"a node has a name", []Upstream{{URL: main.URL}}, "upstream[0].name is not set"},
		{"a name is used once", []Upstream{main, main}, `upstream[1].name is "main", want another`},
		{"a node has a URL, whose password stays hidden", []Upstream{main, {Name: "b", URL: "ftp://u:pw@h"}}, `upstream[1].url is "…@h", neither http nor https`},
	} {
		t.Run(tc.name, func(t *testing.T) { wantError(t, ValidateUpstreams(tc.list), tc.want) })
	}
}

func wantError(t *testing.T, err error, part string) {
	t.Helper()
	if (err == nil) != (part == "") || (err != nil && !strings.Contains(err.Error(), part)) {
		t.Errorf("error is %v, want %q", err, part)
	}
}
