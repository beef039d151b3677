package main

import (
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/api"
	"github.com/open-ethereum-pool/open-ethereum-pool/proxy"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// compatibleKeys are all keys of open-ethereum-pool, open-etc-pool and
// open-etc-pool-friends.
const compatibleKeys = `
threads coin name network coin-solo pplns coin-name algo
proxy.{enabled,listen,limitHeadersSize,limitBodySize,behindReverseProxy,blockRefreshInterval,stateUpdateInterval}
proxy.{difficulty,hashrateExpiration,healthCheck,maxFails,stratum_nice_hash,stratumHostname,debug}
proxy.stratum.{enabled,listen,timeout,maxConn,tls,certFile,keyFile}
proxy.varDiff.{minDiff,maxDiff,targetTime,variancePercent,maxJump}
proxy.policy.{workers,resetInterval,refreshInterval,blacklist_file}
proxy.policy.banning.{enabled,ipset,timeout,invalidPercent,checkThreshold,malformedLimit,fail2banCommand}
proxy.policy.limits.{enabled,limit,grace,limitJump}
api.{enabled,listen,purgeOnly,purgeInterval,statsCollectInterval,hashrateWindow,hashrateLargeWindow,luckWindow,payments,blocks}
api.{poolCharts,poolChartsNum,minerCharts,minerChartsNum,netCharts,netChartsNum,shareCharts,shareChartsNum}
upstreamCheckInterval upstream[].{name,url,timeout}
redis.{endpoint,poolSize,database,password,sentinelEnabled,masterName,sentinelAddrs}
unlocker.{enabled,poolFee,poolFeeAddress,donate,depth,immatureDepth,keepTxFees,interval,daemon,timeout}
unlocker.{ecip1017FBlock,ecip1017EraRounds,byzantiumFBlock,constantinopleFBlock,network,isLondonHardForkEnabled}
payouts.{enabled,requirePeers,interval,daemon,timeout,address,gas,gasPrice,autoGas,threshold,bgsave}
payouts.{keepNwFees,nwTxGas,nwTxGasPrice}
exchange newrelicEnabled newrelicName newrelicKey newrelicVerbose
metrics.{enabled,listen}`

func TestEveryKeyOfTheOlderPoolsIsKnown(t *testing.T) {
	known := util.Keys(Config{})
	for _, word := range strings.Fields(compatibleKeys) {
		prefix, list, _ := strings.Cut(strings.TrimSuffix(word, "}"), "{")
		for name := range strings.SplitSeq(list, ",") {
			if !slices.Contains(known, prefix+name) {
				t.Errorf("%s is unknown", prefix+name)
			}
		}
	}
}

const example = "config.example.json"

func TestTheExampleShowsEveryKey(t *testing.T) {
	text, err := os.ReadFile(example)
	if err != nil {
		t.Fatal(err)
	}
	var cfg Config
	src, err := util.DecodeStrict(example, text, &cfg)
	if err != nil {
		t.Fatal(err)
	}
	comments := strings.Join(regexp.MustCompile(`(?m)(^|\s)//.*$`).FindAllString(string(text), -1), "\n")
	for _, key := range util.Keys(Config{}) {
		name := key[strings.LastIndexByte(key, '.')+1:]
		if src.Line(strings.ReplaceAll(key, "[]", "[0]")) == 0 && !strings.Contains(comments, `"`+name+`"`) {
			t.Errorf("%s is neither written nor in a comment", key)
		}
	}
}

func TestTheExampleHoldsTheDefaults(t *testing.T) {
	got, src, err := LoadConfig(example)
	if err != nil || len(src.Warnings) != 0 {
		t.Fatal(err, src.Warnings)
	}
	want := defaultConfig()
	// These differ, and the example's comments say so.
	want.Coin = "eth"
	want.Proxy.Enabled, want.Proxy.Stratum.Enabled, want.API.Enabled = true, true, true
	want.Upstream = []proxy.Upstream{
		{Name: "main", URL: "http://127.0.0.1:8545", Timeout: util.Duration(10 * time.Second)},
		{Name: "backup", URL: "http://127.0.0.2:8545", Timeout: util.Duration(10 * time.Second)},
	}
	want.Redis.SentinelAddrs, want.Redis.Addrs = []string{}, []string{}
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	want.complete(dir)
	for i := range reflect.TypeFor[Config]().NumField() {
		g, w := reflect.ValueOf(got).Field(i).Interface(), reflect.ValueOf(want).Field(i).Interface()
		if !reflect.DeepEqual(g, w) {
			t.Errorf("%s is\n%+v, want\n%+v", reflect.TypeFor[Config]().Field(i).Name, g, w)
		}
	}
}

func TestPayoutsFileIsShortAndPaysOnly(t *testing.T) {
	cfg, src, err := LoadConfig("payouts.json")
	if err != nil || len(src.Warnings) != 0 {
		t.Fatal(err, src.Warnings)
	}
	if !cfg.Payouts.Enabled || cfg.Proxy.Enabled || cfg.API.Enabled || cfg.Unlocker.Enabled {
		t.Error("something else than payouts is enabled")
	}
	text, err := os.ReadFile("payouts.json")
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(text), "\n"); n > 25 {
		t.Errorf("%d lines, want at most 25", n)
	}
}

// ethPool is a configuration as operators of open-ethereum-pool keep it.
const ethPool = `{
	"threads": 4, "coin": "eth", "name": "eu1",
	"proxy": {
		"enabled": true, "listen": "0.0.0.0:8546", "limitHeadersSize": 1024, "limitBodySize": 256,
		"behindReverseProxy": true, "blockRefreshInterval": "50ms", "stateUpdateInterval": "3s",
		"difficulty": 4000000000, "hashrateExpiration": "3h", "healthCheck": true, "maxFails": 100,
		"stratum": {"enabled": true, "listen": "0.0.0.0:4444", "timeout": "120s", "maxConn": 16384},
		"policy": {
			"workers": 8, "resetInterval": "60m", "refreshInterval": "1m",
			"banning": {"enabled": true, "ipset": "blacklist", "timeout": 1800, "invalidPercent": 30, "checkThreshold": 30, "malformedLimit": 5},
			"limits": {"enabled": true, "limit": 30, "grace": "5m", "limitJump": 10}
		}
	},
	"api": {
		"enabled": false, "purgeOnly": false, "purgeInterval": "10m", "listen": "127.0.0.1:8080",
		"statsCollectInterval": "5s", "hashrateWindow": "30m", "hashrateLargeWindow": "3h",
		"luckWindow": [64, 128, 256], "payments": 50, "blocks": 50
	},
	"upstreamCheckInterval": "5s",
	"upstream": [{"name": "main", "url": "http://10.0.0.5:8545", "timeout": "10s"}],
	"redis": {"endpoint": "10.0.0.4:6379", "poolSize": 10, "database": 0, "password": "hunter2"},
	"unlocker": {
		"enabled": false, "poolFee": 0.9, "poolFeeAddress": "", "donate": true, "depth": 120, "immatureDepth": 20,
		"keepTxFees": false, "interval": "10m", "daemon": "http://127.0.0.1:8545", "timeout": "10s"
	},
	"payouts": {
		"enabled": false, "requirePeers": 25, "interval": "120m", "daemon": "http://127.0.0.1:8545", "timeout": "10s",
		"address": "0x0", "gas": "21000", "gasPrice": "50000000000", "autoGas": true, "threshold": 500000000, "bgsave": false
	},
	"newrelicEnabled": false, "newrelicName": "MyPool", "newrelicKey": "SECRET_KEY", "newrelicVerbose": false
}`

// etcPool is one of open-etc-pool: the unlocker and payouts together.
const etcPool = `{
	"threads": 2, "coin": "etc", "name": "books", "network": "mordor",
	"proxy": {
		"enabled": false, "listen": "0.0.0.0:8888",
		"stratum_nice_hash": {"enabled": false, "listen": "0.0.0.0:8009", "timeout": "120s", "maxConn": 8192}
	},
	"metrics": {"enabled": true, "listen": "127.0.0.1:9100"},
	"redis": {"endpoint": "127.0.0.1:6379", "poolSize": 10, "database": 3, "password": ""},
	"unlocker": {
		"enabled": true, "poolFee": 1.0, "poolFeeAddress": "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed",
		"depth": 64, "immatureDepth": 16, "keepTxFees": true, "interval": "5m", "daemon": "http://127.0.0.1:8545", "timeout": "10s"
	},
	"payouts": {
		"enabled": true, "requirePeers": 5, "interval": "3h", "daemon": "http://127.0.0.1:8545", "timeout": "30s",
		"address": "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed", "gas": "21000", "gasPrice": "1000000000",
		"autoGas": false, "threshold": 100000000, "bgsave": true
	}
}`

// friendsPool is one of open-etc-pool-friends.
const friendsPool = `{
	"threads": 2, "coin": "etc", "coin-solo": "etc-solo", "coin-name": "etc", "name": "main", "pplns": 9000, "algo": "etchash",
	"proxy": {
		"enabled": true, "listen": "0.0.0.0:8882", "difficulty": 2000000000, "stratumHostname": "pool.example", "debug": true,
		"stratum": {"enabled": true, "listen": "0.0.0.0:8002", "timeout": "120s", "maxConn": 8192, "tls": false, "certFile": "/path/to/cert.pem", "keyFile": "/path/to/key.pem"},
		"varDiff": {"minDiff": 2000000000, "maxDiff": 8000000000, "targetTime": 10, "variancePercent": 30, "maxJump": 50},
		"policy": {"workers": 8, "blacklist_file": "/srv/pool/blacklist.json", "banning": {"enabled": true, "fail2banCommand": "fail2ban-client"}}
	},
	"api": {
		"enabled": true, "listen": "0.0.0.0:8080", "poolCharts": "0 */20 * * * *", "poolChartsNum": 74, "minerCharts": "0 */20 * * * *", "minerChartsNum": 74,
		"netCharts": "0 */20 * * * *", "netChartsNum": 74, "shareCharts": "0 */20 * * * *", "shareChartsNum": 74
	},
	"upstream": [{"name": "main", "url": "http://127.0.0.1:8545", "timeout": "10s"}, {"name": "backup", "url": "http://127.0.0.1:8501"}],
	"redis": {
		"endpoint": "127.0.0.1:6379", "sentinelEnabled": true, "masterName": "mymaster",
		"sentinelAddrs": ["127.0.0.1:26379", "127.0.0.1:26389"]
	},
	"exchange": {"enabled": true, "name": "etc", "url": "https://prices.example", "timeout": "50s", "refreshInterval": "900s"},
	"unlocker": {"enabled": false, "network": "classic", "ecip1017FBlock": 5000001, "ecip1017EraRounds": "5000000", "isLondonHardForkEnabled": false},
	"payouts": {"enabled": false, "address": "0x", "keepNwFees": true, "nwTxGas": "21000", "nwTxGasPrice": "20000000000", "concurrentTx": 5}
}`

func TestConfigurationsOfOlderPoolsStartAsTheyAre(t *testing.T) {
	t.Run("open-ethereum-pool", func(t *testing.T) {
		cfg, warnings := load(t, ethPool)
		wantKeys(t, warnings, "unlocker.donate", "newrelicEnabled", "newrelicName", "newrelicKey", "newrelicVerbose")
		if cfg.Network != networkEthereum || cfg.Unlocker.PoolFee != 9000 ||
			cfg.Proxy.Stratum.MaxConn != 16384 || cfg.Redis.Password != "hunter2" || cfg.Redis.Mode != storage.ModeSingle ||
			cfg.Payouts.GasPrice.String() != "50000000000" || cfg.Proxy.VarDiff != nil {
			t.Errorf("read as %+v", cfg)
		}
	})
	t.Run("open-etc-pool", func(t *testing.T) {
		cfg, warnings := load(t, etcPool)
		wantKeys(t, warnings, "proxy.stratum_nice_hash")
		if cfg.Network != networkMordor || cfg.Unlocker.Network != networkMordor || cfg.Unlocker.Depth != 64 ||
			cfg.Payouts.Interval.Std() != 3*time.Hour || cfg.Payouts.AutoGas || !cfg.Metrics.Enabled || cfg.API.Enabled {
			t.Errorf("read as %+v", cfg)
		}
	})
	t.Run("open-etc-pool-friends", func(t *testing.T) {
		cfg, warnings := load(t, friendsPool)
		wantKeys(t, warnings, "coin-solo", "coin-name", "pplns", "algo", "proxy.stratumHostname", "proxy.debug", "exchange",
			"unlocker.isLondonHardForkEnabled", "payouts.nwTxGas", "payouts.nwTxGasPrice", "payouts.concurrentTx")
		if cfg.Network != networkClassic || cfg.Redis.Mode != storage.ModeSentinel || !cfg.Payouts.FeeFromMiner ||
			*cfg.Unlocker.ECIP1017EraRounds != 5_000_000 || !cfg.Proxy.VarDiff.Enabled || cfg.Proxy.VarDiff.MaxDiff != 8_000_000_000 ||
			cfg.Upstream[1].Timeout.Std() != 10*time.Second || cfg.Proxy.Policy.Banning.Timeout != 1800 {
			t.Errorf("read as %+v", cfg)
		}
	})
}

func TestLoadConfigSaysWhatIsWrongAndWhere(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"a value names its line", "{\"coin\": \"eth\",\n\"unlocker\": {\"enabled\": true,\n\"depth\": 12}}", ":3: unlocker.depth is 12, want at least 32"},
		{"an element of a list names its line", "{\"coin\": \"eth\", \"proxy\": {\"enabled\": true}, \"upstream\": [\n{\"name\": \"a\", \"url\": \"http://h\"},\n{\"name\": \"b\",\n\"url\": \"h\"}]}", `:4: upstream[1].url is "h", neither http nor https`},
		{"one URL that is no list names its line", "{\"coin\": \"eth\", \"unlocker\": {\"enabled\": true,\n\"daemon\": \"h\"}}", `:2: unlocker.daemon[0] is "h"`},
		{"a key that is left out has none", `{}`, `pool.json: coin is "", want the prefix of the keys in Redis`},
		{"a coin spoils no key", `{"coin": "eth:x"}`, `:1: coin is "eth:x"`},
		{"a name is not empty", `{"coin": "eth", "name": ""}`, ":1: name is empty"},
		{"threads are not negative", `{"coin": "eth", "threads": -1}`, ":1: threads is -1"},
		{"a network is a known one", `{"coin": "eth", "network": "ropsten"}`, `:1: network is "ropsten", want one of ["ethereum" "classic" "mordor" "private"]`},
		{"there is one network", `{"coin": "eth", "network": "classic", "unlocker": {"network": "mordor"}}`, `:1: unlocker.network is "mordor", want the same as network, "classic"`},
		{"a proxy has a node", `{"coin": "eth", "proxy": {"enabled": true}}`, "pool.json: upstream is empty"},
		{"metrics are somewhere", `{"coin": "eth", "metrics": {"enabled": true, "listen": "x"}}`, `:1: metrics.listen is "x"`},
		{"logs have a format", `{"coin": "eth", "log": {"format": "xml"}}`, `:1: log.format is "xml", want one of ["text" "json"]`},
		{"logs have a level", `{"coin": "eth", "log": {"level": "loud"}}`, `:1: log.level is "loud"`},
		{"a cluster has a hash tag", `{"coin": "eth", "redis": {"mode": "cluster", "addrs": ["h:1"]}}`, `:1: coin is "eth", want a hash tag such as "{eth}"`},
		{"an empty tag is none", `{"coin": "{}eth", "redis": {"mode": "cluster", "addrs": ["h:1"]}}`, `:1: coin is "{}eth", want a hash tag`},
		{"payouts have an account", "{\"coin\": \"eth\", \"payouts\": {\n\"enabled\": true}}", `pool.json: payouts.address is "0x0": the pool's account is not set`},
		{"the api's numbers are checked", `{"coin": "eth", "api": {"enabled": true, "blocks": 0}}`, ":1: api.blocks is 0"},
		{"the proxy's numbers are checked", `{"coin": "eth", "proxy": {"enabled": true, "difficulty": 0}}`, ":1: proxy.difficulty is 0"},
		{"Redis is always checked", `{"coin": "eth", "redis": {"poolSize": 0}}`, ":1: redis.poolSize is 0"},
		{"a misspelt key names the nearest", "{\"coin\": \"eth\",\n\"payouts\": {\"thresold\": 1}}", `:2: payouts.thresold: unknown key, did you mean "threshold"?`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := LoadConfig(write(t, tc.text))
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), "pool.json:") {
				t.Errorf("error is  %v\nwant part %s", err, tc.want)
			}
		})
	}
	t.Run("a file that is not there is named", func(t *testing.T) {
		if _, _, err := LoadConfig("nowhere.json"); err == nil || !strings.Contains(err.Error(), "read the configuration: open nowhere.json") {
			t.Errorf("error is %v", err)
		}
	})
}

func TestLoadConfigReportsAllSectionsTogether(t *testing.T) {
	_, _, err := LoadConfig(write(t, `{"coin": "eth", "threads": -1, "unlocker": {"enabled": true, "depth": 1}, "payouts": {"enabled": true, "window": 0}}`))
	if err == nil {
		t.Fatal("no error")
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) != 5 {
		t.Errorf("%d lines, want threads, two of depth, address and window:\n%v", len(lines), err)
	}
}

func TestErrorsOfReadingAndOfValuesAreReportedTogether(t *testing.T) {
	for _, tc := range []struct {
		name, text string
		want       []string
	}{
		{"an unknown key hides no value", "{\"coin\": \"eth\", \"threads\": -1,\n\"payouts\": {\"enabled\": true, \"window\": 0, \"address\": 5,\n\"thresold\": 1}}",
			[]string{":2: payouts.address: want a string", ":3: payouts.thresold: unknown key", ":1: threads is -1", ":2: payouts.window is 0"}},
		{"a misspelt key is not missed as well", "{\"coin\": \"eth\", \"payouts\": {\"enabled\": true,\n\"addresss\": \"0x0\"}}",
			[]string{":2: payouts.addresss: unknown key, did you mean \"address\"?"}},
		{"text that is no JSON has one error", "{\"threads\": -1", []string{":1: not JSON"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, _, err := LoadConfig(write(t, tc.text))
			if err == nil {
				t.Fatal("no error")
			}
			lines := strings.Split(err.Error(), "\n")
			if len(lines) != len(tc.want) {
				t.Fatalf("%d lines, want %d:\n%v", len(lines), len(tc.want), err)
			}
			for i, want := range tc.want {
				if !strings.Contains(lines[i], want) {
					t.Errorf("line %d is %s\nwant part %s", i, lines[i], want)
				}
			}
		})
	}
}

func TestThePagesKnowThePorts(t *testing.T) {
	cfg, _ := load(t, `{"coin": "{etc}", "name": "eu", "proxy": {"difficulty": 5, "stratum": {"enabled": true, "listen": "0.0.0.0:8008",
		"ports": [{"listen": "0.0.0.0:9009", "tls": true, "varDiff": {}}, {"listen": ":8009", "difficulty": 7}]}}}`)
	got := cfg.settings()
	want := []api.Port{{Port: 8008, Difficulty: 5}, {Port: 9009, TLS: true, Difficulty: 5, VarDiff: true}, {Port: 8009, Difficulty: 7}}
	if !slices.Equal(got.Ports, want) || got.Coin != "etc" || got.Symbol != "ETC" || got.Fee != 1 || got.Depth != 120 || got.Confirmations != 120 {
		t.Errorf("settings are %+v", got)
	}
	cfg, _ = load(t, `{"coin": "etc", "api": {"pages": {"symbol": "mETC", "ports": [{"host": "eu.example", "port": 1}]}}, "proxy": {"stratum": {"enabled": true}}}`)
	if got := cfg.settings(); got.Symbol != "mETC" || !slices.Equal(got.Ports, []api.Port{{Host: "eu.example", Port: 1}}) {
		t.Errorf("settings are %+v", got)
	}
	if cfg, _ = load(t, `{"coin": "etc"}`); cfg.settings().Ports == nil {
		t.Error("no list of ports")
	}
}

func TestAClusterTakesAHashTaggedCoin(t *testing.T) {
	load(t, `{"coin": "{etc}", "redis": {"mode": "cluster", "addrs": ["h:1", "h:2"]}}`)
}

func TestOneNetworkForAllSections(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"written, it is that", `{"coin": "etc", "network": "mordor"}`, networkMordor},
		{"friends write it with the unlocker", `{"coin": "etc", "unlocker": {"network": "mordor"}}`, networkMordor},
		{"left out, it goes by the coin", `{"coin": "etc"}`, networkClassic},
		{"with a hash tag as well", `{"coin": "{etc}"}`, networkClassic},
		{"any other coin is Ethereum-like", `{"coin": "octa"}`, networkEthereum},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg, _ := load(t, tc.text)
			if cfg.Network != tc.want || cfg.Unlocker.Network != tc.want {
				t.Errorf("network is %q, the unlocker's %q; want %q", cfg.Network, cfg.Unlocker.Network, tc.want)
			}
		})
	}
}

func TestTheJournalIsBesideTheConfigurationFile(t *testing.T) {
	path := write(t, `{"coin": "eth"}`)
	t.Chdir(filepath.Dir(filepath.Dir(path)))
	cfg, _, err := LoadConfig(filepath.Join(filepath.Base(filepath.Dir(path)), filepath.Base(path)))
	if err != nil {
		t.Fatal(err)
	}
	want, err := filepath.EvalSymlinks(filepath.Dir(path))
	if err != nil {
		t.Fatal(err)
	}
	if got, err := filepath.EvalSymlinks(filepath.Dir(cfg.Payouts.Journal)); err != nil || got != want || !filepath.IsAbs(cfg.Payouts.Journal) {
		t.Errorf("journal is %s (%v), want it absolute, in %s", cfg.Payouts.Journal, err, want)
	}
}

func TestWhatIsProbablyNotMeantIsAWarning(t *testing.T) {

	for _, tc := range []struct{ name, text, want string }{
		{"nothing to do", `{"coin": "eth"}`, "nothing is enabled"},
		{"payouts beside the api", `{"coin": "eth", "api": {"enabled": true}, "payouts": {"enabled": true, ` + account + `}}`, "run payouts in a process of its own"},
		{"payouts beside the unlocker are fine", `{"coin": "eth", "unlocker": {"enabled": true}, "payouts": {"enabled": true, ` + account + `}}`, ""},
		{"a time zone without a schedule", "{\"coin\": \"eth\", \"payouts\": {\"enabled\": true,\n\"timeZone\": \"UTC\", " + account + "}}", ":2: payouts.timeZone has no effect without payouts.schedule"},
		{"a time zone with one is fine", `{"coin": "eth", "payouts": {"enabled": true, "timeZone": "UTC", "schedule": "0 6 * * *", ` + account + `}}`, ""},
		{"an interval beside a schedule", "{\"coin\": \"eth\", \"payouts\": {\"enabled\": true, \"schedule\": \"0 6 * * *\",\n\"interval\": \"2h\", " + account + "}}", ":2: payouts.interval has no effect: payouts.schedule"},
		{"an interval beside an empty schedule is fine", `{"coin": "eth", "payouts": {"enabled": true, "schedule": "", "interval": "2h", ` + account + `}}`, ""},
		{"a limit of gas that is not asked for", "{\"coin\": \"eth\", \"payouts\": {\"enabled\": true, \"autoGas\": false,\n\"maxGas\": 100000, " + account + "}}", ":2: payouts.maxGas has no effect"},
		{"a limit of gas that is", `{"coin": "eth", "payouts": {"enabled": true, "maxGas": 100000, ` + account + `}}`, ""},
		{"what payouts would not use does not matter while they are off", `{"coin": "eth", "unlocker": {"enabled": true}, "payouts": {"timeZone": "UTC"}}`, ""},
		{"Sentinels without their mode", "{\"coin\": \"eth\", \"unlocker\": {\"enabled\": true}, \"redis\": {\"sentinelEnabled\": false,\n\"sentinelAddrs\": [\"h:1\"]}}", ":2: redis.sentinelAddrs has no effect: redis.mode is \"single\""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, warnings := load(t, tc.text)
			if all := strings.Join(warnings, "\n"); !strings.Contains(all, tc.want) || (tc.want == "") != (all == "") {
				t.Errorf("warnings are %q, want %q", all, tc.want)
			}
		})
	}
}

func write(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "pool.json")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func load(t *testing.T, text string) (Config, []string) {
	t.Helper()
	cfg, src, err := LoadConfig(write(t, text))
	if err != nil {
		t.Fatal(err)
	}
	return cfg, src.Warnings
}

// wantKeys expects one warning for each key and no other.
func wantKeys(t *testing.T, warnings []string, keys ...string) {
	t.Helper()
	if len(warnings) != len(keys) {
		t.Errorf("%d warnings, want %d:\n%s", len(warnings), len(keys), strings.Join(warnings, "\n"))
	}
	for _, k := range keys {
		if !slices.ContainsFunc(warnings, func(w string) bool { return strings.Contains(w, ": "+k+" has no effect: ") }) {
			t.Errorf("no warning for %s", k)
		}
	}
}
