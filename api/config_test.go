package api

import (
	"strings"
	"testing"
	"time"

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
		{"an address has a port", func(c *Config) { c.Listen = "localhost" }, `api.listen is "localhost", want HOST:PORT`},
		{"who only purges does not listen", func(c *Config) { c.PurgeOnly, c.Listen = true, "" }, ""},
		{"the large window is the larger", func(c *Config) { c.HashrateLargeWindow = util.Duration(time.Minute) }, "api.hashrateLargeWindow is 1m0s, want at least api.hashrateWindow, 30m0s"},
		{"luck takes blocks", func(c *Config) { c.LuckWindow = []int{64, 0} }, "api.luckWindow[1] is 0"},
		{"lists have room for payments", func(c *Config) { c.Payments = 0 }, "api.payments is 0"},
		{"lists have room for blocks", func(c *Config) { c.Blocks = -1 }, "api.blocks is -1"},
		{"a chart's schedule may begin with seconds", func(c *Config) { c.PoolCharts = "0 */20 * * * *" }, ""},
		{"a chart's schedule is cron", func(c *Config) { c.NetCharts = "hourly" }, `api.netCharts is "hourly", want cron fields`},
		{"a chart's schedule has no zone", func(c *Config) { c.ShareCharts = "TZ=UTC" }, `api.shareCharts is "TZ=UTC", want cron fields without a time zone`},
		{"a window is a minute or more", func(c *Config) { c.HashrateWindow = util.Duration(time.Second) }, "api.hashrateWindow is 1s, want at least 1m"},
		{"a window is two days or less", func(c *Config) { c.HashrateLargeWindow = util.Duration(49 * time.Hour) }, "api.hashrateLargeWindow is 49h0m0s, want at most 48h"},
		{"a cycle takes its time", func(c *Config) { c.StatsCollectInterval = util.Duration(time.Millisecond) }, "api.statsCollectInterval is 1ms, want at least 100ms"},
		{"pages of an explorer", func(c *Config) { c.Pages.ExplorerTx = "https://explorer.example/tx/{}" }, ""},
		{"an explorer without a place for the hash", func(c *Config) { c.Pages.ExplorerTx = "https://explorer.example/tx/" }, "api.pages.explorerTx is"},
		{"an explorer that is a script", func(c *Config) { c.Pages.ExplorerAddress = "javascript:alert({})" }, "api.pages.explorerAddress is"},
		{"an explorer that breaks out", func(c *Config) { c.Pages.ExplorerBlock = `https://x/{}"onclick=` }, "api.pages.explorerBlock is"},
		{"a colour", func(c *Config) { c.Pages.Accent = "#a0C" }, ""},
		{"a colour that is style", func(c *Config) { c.Pages.Accent = "red;background:url(//x)" }, "api.pages.accent is"},
		{"a mail address", func(c *Config) { c.Pages.Contact = "pool@example.org" }, ""},
		{"a contact that is a script", func(c *Config) { c.Pages.Contact = "javascript:x@y" }, "api.pages.contact is"},
		{"a symbol", func(c *Config) { c.Pages.Symbol = "mETC" }, ""},
		{"a symbol that is markup", func(c *Config) { c.Pages.Symbol = "<b>" }, "api.pages.symbol is"},
		{"a port", func(c *Config) { c.Pages.Ports = []Port{{Port: 8008}, {Port: 70_000}} }, "api.pages.ports[1].port is 70000"},
		{"a chart has points", func(c *Config) { c.MinerChartsNum = 0 }, "api.minerChartsNum is 0"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := DefaultConfig()
			c.Enabled = true
			tc.change(&c)
			err := c.Validate()
			if (err == nil) != (tc.want == "") || (err != nil && !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("error is %v, want %q", err, tc.want)
			}
		})
	}
}
