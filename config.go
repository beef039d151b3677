package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/api"
	"github.com/open-ethereum-pool/open-ethereum-pool/notify"
	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/proxy"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Networks whose rules the pool knows (network).
const (
	networkEthereum = "ethereum" // Ethash; 5, 3, 2 coins a block
	networkClassic  = "classic"  // Etchash (ECIP-1099), eras (ECIP-1017)
	networkMordor   = "mordor"   // Classic's test network
	networkPrivate  = "private"  // Ethash; 2 coins a block, unless the unlocker's keys say otherwise
)

// Config is the whole configuration. Which sections are enabled says what the
// process does; a section that is left out does nothing.
type Config struct {
	Threads int    `json:"threads"` // GOMAXPROCS; 0 is one per core
	Coin    string `json:"coin"`    // prefix of every key in Redis
	Name    string `json:"name"`    // of this instance, in Redis and on pages
	Network string `json:"network"` // ethereum, classic, mordor or private; empty goes by the coin

	Proxy                 proxy.Config           `json:"proxy"`
	API                   api.Config             `json:"api"`
	UpstreamCheckInterval util.Duration          `json:"upstreamCheckInterval"` // between looks at the nodes' health
	Upstream              []proxy.Upstream       `json:"upstream"`
	Redis                 storage.Config         `json:"redis"`
	Unlocker              payouts.UnlockerConfig `json:"unlocker"`
	Payouts               payouts.Config         `json:"payouts"`
	Notify                notify.Config          `json:"notify"`
	Metrics               MetricsConfig          `json:"metrics"`
	Log                   LogConfig              `json:"log"`

	// Keys of older pools.

	CoinSolo        util.Ignored `json:"coin-solo" ignored:"every block is shared among its round's miners"`
	PPLNS           util.Ignored `json:"pplns" ignored:"every block is shared among its round's miners by their shares in it, not by the last N shares"`
	CoinName        util.Ignored `json:"coin-name" ignored:"use network"`
	Algo            util.Ignored `json:"algo" ignored:"network says whether shares are Ethash or Etchash"`
	Exchange        util.Ignored `json:"exchange" ignored:"no prices are fetched"`
	NewrelicEnabled util.Ignored `json:"newrelicEnabled" ignored:"retired, use metrics.enabled"`
	NewrelicName    util.Ignored `json:"newrelicName" ignored:"retired, use metrics.enabled"`
	NewrelicKey     util.Ignored `json:"newrelicKey" ignored:"retired, use metrics.enabled"`
	NewrelicVerbose util.Ignored `json:"newrelicVerbose" ignored:"retired, use metrics.enabled"`
}

// MetricsConfig is the section "metrics": numbers for Prometheus.
type MetricsConfig struct {
	Enabled bool   `json:"enabled"`
	Listen  string `json:"listen"` // HOST:PORT; not for the public
}

// LogConfig is the section "log".
type LogConfig struct {
	Format string `json:"format"` // text for people, json for programs
	Level  string `json:"level"`  // debug, info, warn or error
}

// defaultConfig holds the value of every key that is left out. There is none for
// coin: a wrong prefix would show empty books.
func defaultConfig() Config {
	return Config{
		Name:                  "main",
		Proxy:                 proxy.DefaultConfig(),
		API:                   api.DefaultConfig(),
		UpstreamCheckInterval: util.Duration(5 * time.Second),
		Redis:                 storage.DefaultConfig(),
		Unlocker:              payouts.DefaultUnlockerConfig(),
		Payouts:               payouts.DefaultConfig(),
		Notify:                notify.DefaultConfig(),
		Metrics:               MetricsConfig{Listen: "127.0.0.1:8081"},
		Log:                   LogConfig{Format: "text", Level: "info"},
	}
}

// LoadConfig reads and checks a configuration file. Every error is a line that
// names the file, the line and the key, and what would be valid; all are
// reported together. The source knows where each key stands, and the warnings
// for the operator to read at every start.
func LoadConfig(path string) (Config, *util.Source, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return Config{}, nil, fmt.Errorf("read the configuration: %w", err)
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return Config{}, nil, fmt.Errorf("find the directory of %s: %w", path, err)
	}
	cfg := defaultConfig()
	src, err := util.DecodeStrict(path, data, &cfg)
	cfg.complete(dir)
	if err := errors.Join(err, src.Locate(cfg.Validate())); err != nil {
		return Config{}, src, err
	}
	src.Warn(cfg.doubts(src))
	return cfg, src, nil
}

// complete settles what one key says for others. The directory is the
// configuration file's.
func (c *Config) complete(dir string) {
	switch {
	case c.Network != "":
	case c.Unlocker.Network != "":
		c.Network = c.Unlocker.Network
	case strings.Trim(c.Coin, "{}") == "etc":
		c.Network = networkClassic
	default:
		c.Network = networkEthereum
	}
	if c.Unlocker.Network == "" {
		c.Unlocker.Network = c.Network
	}
	c.Redis.Complete()
	c.Payouts.Complete(dir)
	c.Proxy.Complete(dir)
	c.Notify.Complete(dir)
}

var validCoin = regexp.MustCompile(`^[a-zA-Z0-9_{}-]+$`)

// hashTag is the part of a key that alone decides its slot in a cluster, so that
// one script may touch all keys of a coin.
var hashTag = regexp.MustCompile(`^[^{}]*\{[^{}]+\}[^{}]*$`)

// Validate reports every wrong value: first what concerns all, then section by
// section, in the order in which a reader of the example finds them.
func (c Config) Validate() error {
	var f util.Faults
	f.Unless(c.Threads >= 0, "threads", "is %d, want 0 (one per core) or more", c.Threads)
	f.Unless(validCoin.MatchString(c.Coin), "coin", `is %q, want the prefix of the keys in Redis, such as "eth"`, c.Coin)
	f.Unless(c.Name != "", "name", `is empty, want a name for this instance, such as "main"`)
	networks := []string{networkEthereum, networkClassic, networkMordor, networkPrivate}
	f.Unless(slices.Contains(networks, c.Network), "network", "is %q, want one of %q", c.Network, networks)
	f.Unless(c.Unlocker.Network == c.Network, "unlocker.network", "is %q, want the same as network, %q", c.Unlocker.Network, c.Network)
	if c.Metrics.Enabled {
		f.Check("metrics.listen", util.CheckHostPort(c.Metrics.Listen))
	}
	formats, levels := []string{"text", "json"}, []string{"debug", "info", "warn", "error"}
	f.Unless(slices.Contains(formats, c.Log.Format), "log.format", "is %q, want one of %q", c.Log.Format, formats)
	f.Unless(slices.Contains(levels, c.Log.Level), "log.level", "is %q, want one of %q", c.Log.Level, levels)
	if c.Redis.Mode == storage.ModeCluster {
		f.Unless(hashTag.MatchString(c.Coin), "coin", `is %q, want a hash tag such as "{eth}" because redis.mode is %q`, c.Coin, c.Redis.Mode)
	}

	errs := []error{f.Err(), c.Proxy.Validate(), c.API.Validate()}
	if c.Proxy.Enabled {
		errs = append(errs, proxy.ValidateUpstreams(c.Upstream))
	}
	return errors.Join(append(errs, c.Redis.Validate(), c.Unlocker.Validate(), c.Payouts.Validate(), c.Notify.Validate())...)
}

// doubts reports what is valid and probably not meant.
func (c Config) doubts(src *util.Source) error {
	var f util.Faults
	f.Unless(c.Proxy.Enabled || c.API.Enabled || c.Unlocker.Enabled || c.Payouts.Enabled || c.Notify.Enabled, "payouts.enabled",
		"is false, as proxy.enabled, api.enabled and unlocker.enabled are: nothing is enabled")
	f.Unless(!c.Payouts.Enabled || !c.Proxy.Enabled && !c.API.Enabled, "payouts.enabled",
		"is true beside proxy or api: run payouts in a process of its own")
	if p := c.Payouts; p.Enabled {
		f.Unless(p.TimeZone == "" || p.Schedule != "", "payouts.timeZone", "has no effect without payouts.schedule")
		f.Unless(src.Line("payouts.interval") == 0 || p.Schedule == "", "payouts.interval", "has no effect: payouts.schedule says when")
		f.Unless(src.Line("payouts.maxGas") == 0 || p.AutoGas, "payouts.maxGas", "has no effect: payouts.autoGas is false, and payouts.gas is the limit")
	}
	return errors.Join(f.Err(), c.Redis.Unused())
}

// settings are what the pages need to know.
func (c Config) settings() api.Settings {
	p := c.API.Pages
	s := api.Settings{Name: c.Name, Coin: strings.Trim(c.Coin, "{}"), Symbol: p.Symbol, Network: c.Network,
		Fee: float64(c.Unlocker.PoolFee) / float64(util.OnePercent), Depth: c.Unlocker.Depth, ImmatureDepth: c.Unlocker.ImmatureDepth,
		Confirmations: c.Payouts.Confirmations, FeeFromMiner: c.Payouts.FeeFromMiner, Ports: p.Ports, ExplorerTx: p.ExplorerTx, ExplorerAddress: p.ExplorerAddress,
		ExplorerBlock: p.ExplorerBlock, Accent: p.Accent, Contact: p.Contact, Version: version()}
	if s.Symbol == "" {
		s.Symbol = strings.ToUpper(s.Coin)
	}
	if s.Ports == nil {
		s.Ports = c.ports()
	}
	return s
}

// ports are those of the proxy in this file, under the name that the page is
// opened under.
func (c Config) ports() []api.Port {
	ports := []api.Port{}
	add := func(listen string, tls bool, difficulty int64, v *proxy.VarDiffConfig) {
		_, text, err := net.SplitHostPort(listen)
		port, bad := strconv.Atoi(text)
		if err == nil && bad == nil && port > 0 {
			ports = append(ports, api.Port{Port: port, TLS: tls, Difficulty: difficulty, VarDiff: v != nil && v.Enabled})
		}
	}
	if s := c.Proxy.Stratum; s.Enabled {
		add(s.Listen, s.TLS, c.Proxy.Difficulty, c.Proxy.VarDiff)
		for _, p := range s.Ports {
			add(p.Listen, p.TLS, cmp.Or(p.Difficulty, c.Proxy.Difficulty), p.VarDiff)
		}
	}
	return ports
}

// version is that of the module, as far as the build knows it.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	return info.Main.Version
}

// checkFiles reports the files of enabled sections that are not there.
func (c Config) checkFiles() error {
	var f util.Faults
	if p := c.Payouts; p.Enabled {
		if p.Signer.Type == payouts.SignerKeystore {
			f.Check("payouts.signer.keystore", isFile(p.Signer.Keystore))
			f.Check("payouts.signer.passwordFile", isFile(p.Signer.PasswordFile))
		}
		f.Check("payouts.journal", canHold(p.Journal))
	}
	if s := c.Proxy.Stratum; c.Proxy.Enabled && s.Enabled && s.TLS {
		f.Check("proxy.stratum.certFile", isFile(s.CertFile))
		f.Check("proxy.stratum.keyFile", isFile(s.KeyFile))
	}
	for i, h := range c.Notify.Hooks {
		if c.Notify.Enabled && h.TokenFile != "" {
			f.Check(fmt.Sprintf("notify.hooks[%d].tokenFile", i), isFile(h.TokenFile))
		}
	}
	return f.Err()
}

func isFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("is %q: %w", path, bare(err))
	}
	if info.IsDir() {
		return fmt.Errorf("is %q, a directory, want a file", path)
	}
	return nil
}

// canHold says whether a file may be at the path, or be made there.
func canHold(path string) error {
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return fmt.Errorf("is %q, a directory, want a file", path)
	}
	if dir := filepath.Dir(path); errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(dir); err != nil {
			return fmt.Errorf("is %q, whose directory %s cannot be used: %w", path, dir, bare(err))
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("is %q: %w", path, bare(err))
	}
	return nil
}

// bare takes the path, which the sentence names already, out of an error.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}
