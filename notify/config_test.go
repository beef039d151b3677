package notify

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

func someConfig() Config {
	c := DefaultConfig()
	c.Enabled = true
	c.Hooks = []HookConfig{
		{Name: "ops", Type: TypeTelegram, Chat: "@pool", Token: "7:secret"},
		{Name: "chat", Type: TypeDiscord, URL: "https://discord.test/api/webhooks/1/secret", Events: []string{kindBlock}},
		{Name: "robot", Type: TypeJSON, URL: "http://robot.test/pool", Token: "secret"},
	}
	return c
}

func TestConfigValidate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string // part of the error; empty for none
	}{
		{"three kinds of hooks", func(c *Config) {}, ""},
		{"a disabled section is not looked at", func(c *Config) { *c = Config{Hooks: make([]HookConfig, 1)} }, ""},
		{"somebody is told", func(c *Config) { c.Hooks = nil }, "notify.hooks is empty"},
		{"Redis is not asked all the time", func(c *Config) { c.Interval = util.Duration(time.Millisecond) }, "notify.interval is 1ms, want 1s to 1h"},
		{"a message has its time", func(c *Config) { c.Timeout = util.Duration(time.Hour) }, "notify.timeout is 1h0m0s, want 1s to 1m"},
		{"low is not below nought", func(c *Config) { c.WalletLow = -1 }, "notify.walletLow is -1"},
		{"a name is part of a key", func(c *Config) { c.Hooks[0].Name = "a:b" }, `notify.hooks[0].name is "a:b"`},
		{"and its own", func(c *Config) { c.Hooks[1].Name = "ops" }, `notify.hooks[1].name is "ops", as that of another hook`},
		{"of a known type", func(c *Config) { c.Hooks[0].Type = "mail" }, `notify.hooks[0].type is "mail"`},
		{"with known events", func(c *Config) { c.Hooks[1].Events[0] = "blocks" }, `notify.hooks[1].events[0] is "blocks"`},
		{"and some", func(c *Config) { c.Hooks[1].Events = []string{} }, "notify.hooks[1].events is empty"},
		{"telegram has a chat", func(c *Config) { c.Hooks[0].Chat = "" }, "notify.hooks[0].chat is empty"},
		{"and a bot", func(c *Config) { c.Hooks[0].Token = "" }, "notify.hooks[0].tokenFile is not set"},
		{"whose token is one word", func(c *Config) { c.Hooks[0].Token = "7:se cret" }, "notify.hooks[0].token has spaces"},
		{"in one place", func(c *Config) { c.Hooks[0].TokenFile = "t" }, "notify.hooks[0].tokenFile is set as token is"},
		{"discord's is in its URL", func(c *Config) { c.Hooks[1].Token = "t" }, "notify.hooks[1].token or tokenFile is set, want neither"},
		{"which is encrypted", func(c *Config) { c.Hooks[1].URL = "http://discord.test/secret" }, "notify.hooks[1].url is not encrypted, want https"},
		{"and there", func(c *Config) { c.Hooks[2].URL = "" }, "notify.hooks[2].url is empty"},
		{"without a password", func(c *Config) { c.Hooks[2].URL = "https://me:secret@robot.test" }, "notify.hooks[2].url holds a user name"},
		{"a chat is telegram's", func(c *Config) { c.Hooks[2].Chat = "x" }, `notify.hooks[2].chat is set, want it of type "telegram" only`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := someConfig()
			tc.change(&c)
			err := c.Validate()
			switch {
			case tc.want == "" && err != nil, tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)):
				t.Errorf("error %v, want %q", err, tc.want)
			case err != nil && strings.Contains(err.Error(), "secret"):
				t.Errorf("a secret is in %v", err)
			}
		})
	}
}

func TestATokenIsReadFromItsFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "token")
	for text, want := range map[string]string{"7:secret\n": "7:secret", "": "!", "two secrets": "!", strings.Repeat("x", tokenMost+1) + " ": strings.Repeat("x", tokenMost)} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		c := Config{Hooks: []HookConfig{{TokenFile: "token"}}}
		c.Complete(dir)
		token, err := c.Hooks[0].token()
		if (err != nil) != (want == "!") || err == nil && token != want || err != nil && strings.Contains(err.Error(), "secrets") {
			t.Errorf("%q: token %q, error %v", text, token, err)
		}
	}
	c := someConfig()
	c.Hooks[0].Token, c.Hooks[0].TokenFile = "", filepath.Join(dir, "none")
	if _, err := New(c, Parts{Log: slog.New(slog.DiscardHandler)}); err == nil || !strings.Contains(err.Error(), `notify.hooks[0].tokenFile is "`+c.Hooks[0].TokenFile+`": no such file`) {
		t.Errorf("error %v, want the file named", err)
	}
}
