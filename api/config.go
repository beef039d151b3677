package api

import (
	"fmt"
	"regexp"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Config is the section "api" of the configuration: what browsers and phones
// read.
type Config struct {
	Enabled              bool          `json:"enabled"`
	Listen               string        `json:"listen"`               // HOST:PORT
	PurgeOnly            bool          `json:"purgeOnly"`            // sweep old statistics, serve nothing
	PurgeInterval        util.Duration `json:"purgeInterval"`        // between sweeps
	StatsCollectInterval util.Duration `json:"statsCollectInterval"` // between statistics; also how old an account's may be
	HashrateWindow       util.Duration `json:"hashrateWindow"`       // of the current hashrate
	HashrateLargeWindow  util.Duration `json:"hashrateLargeWindow"`  // of the average one
	LuckWindow           []int         `json:"luckWindow"`           // numbers of blocks
	Payments             int64         `json:"payments"`             // length of the list, and of a page
	Blocks               int64         `json:"blocks"`               // length of each list

	// Charts: when a point is added (cron, five fields, or six with seconds
	// first) and how many points are kept. The keys are open-etc-pool-friends'.
	PoolCharts     string `json:"poolCharts"`
	PoolChartsNum  int64  `json:"poolChartsNum"`
	MinerCharts    string `json:"minerCharts"`
	MinerChartsNum int64  `json:"minerChartsNum"`
	NetCharts      string `json:"netCharts"`
	NetChartsNum   int64  `json:"netChartsNum"`
	ShareCharts    string `json:"shareCharts"`
	ShareChartsNum int64  `json:"shareChartsNum"` // read and checked; charts of shares are drawn by nobody

	Pages PagesConfig `json:"pages"`
}

// PagesConfig is the section "api.pages": what the pages show beside numbers.
type PagesConfig struct {
	Symbol string `json:"symbol"` // of amounts, such as ETC; empty is the coin in capitals
	// A page of a block explorer, with {} where the hash, the address or the
	// height goes; empty for none.
	ExplorerTx      string `json:"explorerTx"`
	ExplorerAddress string `json:"explorerAddress"`
	ExplorerBlock   string `json:"explorerBlock"`
	Accent          string `json:"accent"`  // a colour such as #3366cc; empty for the pages' own
	Contact         string `json:"contact"` // a URL or mail address; empty for none
	Ports           []Port `json:"ports"`   // as miners reach them; left out, those of proxy.stratum
}

// DefaultConfig holds the value of every key that is left out.
func DefaultConfig() Config {
	const everyTenMinutes, oneDay = "*/10 * * * *", 144
	return Config{
		Listen:               "0.0.0.0:8080",
		PurgeInterval:        util.Duration(10 * time.Minute),
		StatsCollectInterval: util.Duration(5 * time.Second),
		HashrateWindow:       util.Duration(30 * time.Minute),
		HashrateLargeWindow:  util.Duration(3 * time.Hour),
		LuckWindow:           []int{64, 128, 256},
		Payments:             30,
		Blocks:               50,
		PoolCharts:           everyTenMinutes,
		PoolChartsNum:        oneDay,
		MinerCharts:          everyTenMinutes,
		MinerChartsNum:       oneDay,
		NetCharts:            everyTenMinutes,
		NetChartsNum:         oneDay,
		ShareCharts:          everyTenMinutes,
		ShareChartsNum:       oneDay,
	}
}

// chartCron also reads the six fields, seconds first, of older cron libraries.
var chartCron = cron.NewParser(cron.SecondOptional | cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

// ParseChartSchedule reads when points are added to a chart. The error goes on
// after the name of a key: "is …, want …".
func ParseChartSchedule(spec string) (cron.Schedule, error) {
	// The parser panics on a time zone without fields; charts need none.
	if strings.Contains(spec, "TZ=") {
		return nil, fmt.Errorf("is %q, want cron fields without a time zone", spec)
	}
	s, err := chartCron.Parse(spec)
	if err != nil {
		return nil, fmt.Errorf(`is %q, want cron fields such as "*/10 * * * *"`, spec)
	}
	return s, nil
}

// Validate reports every wrong value as a util.KeyError. A section that is not
// enabled is not looked at.
func (c Config) Validate() error {
	if !c.Enabled {
		return nil
	}
	var f util.Faults
	if !c.PurgeOnly {
		f.Check("api.listen", util.CheckHostPort(c.Listen))
	}
	f.Unless(c.HashrateWindow.Std() >= time.Minute, "api.hashrateWindow", "is %s, want at least 1m", c.HashrateWindow)
	f.Unless(c.HashrateLargeWindow.Std() <= 48*time.Hour, "api.hashrateLargeWindow", "is %s, want at most 48h", c.HashrateLargeWindow)
	f.Unless(c.StatsCollectInterval.Std() >= 100*time.Millisecond, "api.statsCollectInterval", "is %s, want at least 100ms", c.StatsCollectInterval)
	f.Unless(c.HashrateLargeWindow >= c.HashrateWindow, "api.hashrateLargeWindow",
		"is %s, want at least api.hashrateWindow, %s", c.HashrateLargeWindow, c.HashrateWindow)
	for i, n := range c.LuckWindow {
		f.Unless(n >= 1, fmt.Sprintf("api.luckWindow[%d]", i), "is %d, want at least 1 block", n)
	}
	f.Unless(c.Payments >= 1, "api.payments", "is %d, want at least 1", c.Payments)
	f.Unless(c.Blocks >= 1, "api.blocks", "is %d, want at least 1", c.Blocks)
	for _, chart := range []struct {
		key, spec string
		points    int64
	}{
		{"api.poolCharts", c.PoolCharts, c.PoolChartsNum},
		{"api.minerCharts", c.MinerCharts, c.MinerChartsNum},
		{"api.netCharts", c.NetCharts, c.NetChartsNum},
		{"api.shareCharts", c.ShareCharts, c.ShareChartsNum},
	} {
		_, err := ParseChartSchedule(chart.spec)
		f.Check(chart.key, err)
		f.Unless(chart.points >= 1, chart.key+"Num", "is %d, want at least 1 point", chart.points)
	}
	c.Pages.check(&f)
	return f.Err()
}

var (
	colour  = regexp.MustCompile(`^#([0-9a-fA-F]{3}|[0-9a-fA-F]{6})$`)
	symbol  = regexp.MustCompile(`^[0-9A-Za-z]{0,12}$`)
	mail    = regexp.MustCompile(`^[^\s:/@]+@[^\s:/@]+$`)
	webPage = regexp.MustCompile(`^https?://[^\s"'<>]+$`)
)

func (c PagesConfig) check(f *util.Faults) {
	f.Unless(symbol.MatchString(c.Symbol), "api.pages.symbol", `is %q, want at most 12 letters and digits, such as "ETC"`, c.Symbol)
	for _, e := range []struct{ key, url string }{{"explorerTx", c.ExplorerTx}, {"explorerAddress", c.ExplorerAddress}, {"explorerBlock", c.ExplorerBlock}} {
		f.Unless(e.url == "" || webPage.MatchString(e.url) && strings.Contains(e.url, "{}"), "api.pages."+e.key,
			`is %q, want a URL with {} in it, such as "https://explorer.example/tx/{}"`, e.url)
	}
	f.Unless(c.Accent == "" || colour.MatchString(c.Accent), "api.pages.accent", `is %q, want a colour such as "#3366cc"`, c.Accent)
	f.Unless(c.Contact == "" || webPage.MatchString(c.Contact) || mail.MatchString(c.Contact), "api.pages.contact", `is %q, want a URL or a mail address`, c.Contact)
	for i, p := range c.Ports {
		f.Unless(p.Port >= 1 && p.Port <= 65535, fmt.Sprintf("api.pages.ports[%d].port", i), "is %d, want 1 to 65535", p.Port)
		f.Unless(p.Difficulty >= 0, fmt.Sprintf("api.pages.ports[%d].difficulty", i), "is %d, want 0 or more", p.Difficulty)
	}
}
