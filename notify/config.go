package notify

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// How a hook is spoken to (type).
const (
	TypeJSON     = "json"     // the event itself, for programs
	TypeTelegram = "telegram" // its text, as a bot
	TypeDiscord  = "discord"  // its text, by a webhook
)

// Config is the section "notify" of the configuration.
type Config struct {
	Enabled   bool          `json:"enabled"`
	Interval  util.Duration `json:"interval"`  // between looks at Redis
	WalletLow util.Shannon  `json:"walletLow"` // below which the wallet is low; 0 is never
	Timeout   util.Duration `json:"timeout"`   // of one message
	Hooks     []HookConfig  `json:"hooks"`
}

// HookConfig is one who is told.
type HookConfig struct {
	Name      string   `json:"name"` // in logs, and of the key in Redis
	Type      string   `json:"type"` // json, telegram or discord
	URL       string   `json:"url"`  // never printed; left out for telegram
	Chat      string   `json:"chat"` // telegram: the chat's id, or @CHANNEL
	TokenFile string   `json:"tokenFile"`
	Token     string   `json:"token"`  // telegram: the bot's; json: sent as "Authorization: Bearer"; never printed
	Events    []string `json:"events"` // left out, all
}

// DefaultConfig holds the value of every key that is left out.
func DefaultConfig() Config {
	return Config{Interval: util.Duration(5 * time.Second), Timeout: util.Duration(10 * time.Second)}
}

// Complete takes relative paths to be beside the configuration file, whose
// directory is given.
func (c *Config) Complete(dir string) {
	for i := range c.Hooks {
		if path := &c.Hooks[i].TokenFile; *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
}

// hookName is also part of a key in Redis.
var hookName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,32}$`)

// Validate reports every wrong value as a util.KeyError. A section that is not
// enabled is not looked at.
func (c Config) Validate() error {
	if !c.Enabled {
		return nil
	}
	var f util.Faults
	f.Unless(c.Interval.Std() >= time.Second && c.Interval.Std() <= time.Hour, "notify.interval", "is %s, want 1s to 1h", c.Interval)
	f.Unless(c.Timeout.Std() >= time.Second && c.Timeout.Std() <= time.Minute, "notify.timeout", "is %s, want 1s to 1m", c.Timeout)
	f.Unless(c.WalletLow >= 0 && c.WalletLow <= util.MaxShannon, "notify.walletLow", "is %d, want 0 (never) to %d Shannon", c.WalletLow, util.MaxShannon)
	f.Unless(len(c.Hooks) > 0, "notify.hooks", "is empty, want at least one hook to tell")
	names := map[string]bool{}
	for i, h := range c.Hooks {
		key := hookKey(i)
		h.check(&f, key)
		f.Unless(!names[h.Name], key+".name", "is %q, as that of another hook; want a name of its own", h.Name)
		names[h.Name] = true
	}
	return f.Err()
}

func hookKey(i int) string { return fmt.Sprintf("notify.hooks[%d]", i) }

func (h HookConfig) check(f *util.Faults, key string) {
	f.Unless(hookName.MatchString(h.Name), key+".name", `is %q, want 1 to 32 letters, digits, - or _, such as "ops"`, h.Name)
	for i, e := range h.Events {
		f.Unless(slices.Contains(allKinds, e), fmt.Sprintf("%s.events[%d]", key, i), "is %q, want one of %q", e, allKinds)
	}
	f.Unless(h.Events == nil || len(h.Events) > 0, key+".events", "is empty, want one of %q, or leave the key out for all", allKinds)
	types := []string{TypeJSON, TypeTelegram, TypeDiscord}
	f.Unless(slices.Contains(types, h.Type), key+".type", "is %q, want one of %q", h.Type, types)
	if h.URL != "" || h.Type != TypeTelegram {
		f.Check(key+".url", checkURL(h.URL, h.Type))
	}
	f.Unless(h.Token == "" || h.TokenFile == "", key+".tokenFile", "is set as token is, want one of the two")
	f.Unless(h.Token == "" || validToken(h.Token), key+".token", "has spaces or control characters, want the token alone")
	switch h.Type {
	case TypeTelegram:
		f.Unless(h.Chat != "", key+".chat", `is empty, want the chat's id such as "-1001234567890", or "@CHANNEL"`)
		f.Unless(h.Token != "" || h.TokenFile != "", key+".tokenFile", "is not set, want a file that holds the bot's token")
	case TypeDiscord:
		f.Unless(h.Token == "" && h.TokenFile == "", key+".token", "or tokenFile is set, want neither: the token of a discord webhook is in its url")
	}
	f.Unless(h.Chat == "" || h.Type == TypeTelegram, key+".chat", "is set, want it of type %q only", TypeTelegram)
}

// checkURL wants a secret that is in the URL or beside it to travel encrypted.
func checkURL(raw, kind string) error {
	if err := util.CheckURL(raw); err != nil {
		return err
	}
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		return errors.New("is not a URL")
	case u.User != nil:
		return errors.New("holds a user name, want it without; what is not to be seen belongs into tokenFile")
	case u.Scheme != "https" && kind != TypeJSON && !loopback(u.Hostname()):
		return errors.New("is not encrypted, want https")
	}
	return nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

func validToken(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r <= ' ' || r > '~' })
}

// tokenMost is how many bytes of a token's file are read.
const tokenMost = 4096

// token is the hook's secret, "" when it has none.
func (h HookConfig) token() (string, error) {
	if h.TokenFile == "" {
		return h.Token, nil
	}
	var text []byte
	f, err := os.Open(h.TokenFile)
	if err == nil {
		defer f.Close()
		text, err = io.ReadAll(io.LimitReader(f, tokenMost))
	}
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err // without the path, which the sentence names
	}
	if err != nil {
		return "", fmt.Errorf("is %q: %w", h.TokenFile, err)
	}
	token := strings.TrimSpace(string(text))
	if !validToken(token) {
		return "", fmt.Errorf("is %q, which holds no token, or spaces in it", h.TokenFile)
	}
	return token, nil
}
