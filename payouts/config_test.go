package payouts

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // zones for machines that have none

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

const someAccount = "0x1111111111111111111111111111111111111111"

func TestConfigValidate(t *testing.T) {
	for _, tc := range []struct {
		name   string
		change func(*Config)
		want   string // part of the error; empty for none
	}{
		{"the defaults with an account are valid", func(c *Config) {}, ""},
		{"a disabled section is not looked at", func(c *Config) { *c = Config{} }, ""},
		{"the example's placeholder is no account", func(c *Config) { c.Address = "0x0" }, `payouts.address is "0x0": the pool's account is not set`},
		{"nor is nothing", func(c *Config) { c.Address = "" }, "the pool's account is not set"},
		{"nor the zero address", func(c *Config) { c.Address = "0x" + strings.Repeat("0", 40) }, "the pool's account is not set"},
		{"nor is half an account", func(c *Config) { c.Address = "0x1234" }, `payouts.address is "0x1234", want 0x and 40 hex digits`},
		// The first example of EIP-55.
		{"a checksummed account is", func(c *Config) { c.Address = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed" }, ""},
		{"so it is in lower case", func(c *Config) { c.Address = "0x5aaeb6053f3e94c9b9a09f33669435e7ef1beaed" }, ""},
		{"a wrong checksum is a typing error", func(c *Config) { c.Address = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAeD" }, "whose checksum is wrong"},
		{"there is a node", func(c *Config) { c.Daemon = nil }, "payouts.daemon is empty"},
		{"a node is an http URL, its password hidden", func(c *Config) { c.Daemon = util.URLs{"http://h", "ipc://u:pw@h"} }, `payouts.daemon[1] is "…@h", neither http nor https`},
		{"a transfer takes 21000 gas", func(c *Config) { c.Gas = 20_999 }, "payouts.gas is 20999, want at least 21000"},
		{"the cap on gas is not below it", func(c *Config) { c.MaxGas = 20_999 }, "payouts.maxGas is 20999, want at least payouts.gas, 21000"},
		{"the cap on the price is not nought", func(c *Config) { c.MaxGasPrice = util.NewWei(0) }, "payouts.maxGasPrice is 0"},
		{"a fixed price is not nought", func(c *Config) { c.AutoGas, c.GasPrice = false, util.NewWei(0) }, "payouts.gasPrice is 0"},
		{"a fixed price is within the cap", func(c *Config) { c.AutoGas, c.MaxGasPrice = false, util.NewWei(1) }, "payouts.maxGasPrice is 1, want at least payouts.gasPrice, 50000000000"},
		{"with autoGas the fixed price does not matter", func(c *Config) { c.MaxGasPrice = util.NewWei(1) }, ""},
		{"everybody may be paid", func(c *Config) { c.Threshold = 0 }, ""},
		{"nobody is paid below nought", func(c *Config) { c.Threshold = -1 }, "payouts.threshold is -1"},
		{"a threshold can be counted", func(c *Config) { c.Threshold = util.MaxShannon + 1 }, "payouts.threshold is 9007199254740992"},
		{"cron has five fields", func(c *Config) { c.Schedule = "0 6,14,22 * * *" }, ""},
		{"or is a descriptor", func(c *Config) { c.Schedule = "@every 2h" }, ""},
		{"and nothing else", func(c *Config) { c.Schedule = "hourly" }, `payouts.schedule is "hourly", want five cron fields`},
		{"a schedule comes round", func(c *Config) { c.Schedule = "0 0 31 2 *" }, `payouts.schedule is "0 0 31 2 *", want five cron fields such as "0 */2 * * *" or "@every 2h": no day is like that`},
		{"a schedule has a zone", func(c *Config) { c.Schedule, c.TimeZone = "@daily", "Europe/Berlin" }, ""},
		{"that exists", func(c *Config) { c.TimeZone = "Europe/Atlantis" }, `payouts.timeZone is "Europe/Atlantis"`},
		{"and is written in its own key", func(c *Config) { c.Schedule = "TZ=0" }, "the time zone belongs into payouts.timeZone"},
		{"the books need not be audited by themselves", func(c *Config) { c.AuditSchedule = "" }, ""},
		{"when they are is cron as well", func(c *Config) { c.AuditSchedule = "nightly" }, `payouts.auditSchedule is "nightly", want five cron fields`},
		{"one payment at a time", func(c *Config) { c.Window = 1 }, ""},
		{"not none", func(c *Config) { c.Window = 0 }, "payouts.window is 0, want 1 to 4096"},
		{"nor too many", func(c *Config) { c.Window = 4097 }, "payouts.window is 4097"},
		{"final is at least a block deep", func(c *Config) { c.Confirmations = 0 }, "payouts.confirmations is 0"},
		{"nothing is credited back before it would be final", func(c *Config) { c.VoidDepth = 119 }, "payouts.voidDepth is 119, want at least payouts.confirmations, 120"},
		{"there is a journal", func(c *Config) { c.Journal = "" }, "payouts.journal is empty"},
		{"transactions are of a known type", func(c *Config) { c.TxType = "eip1559" }, `payouts.txType is "eip1559", want "auto", "legacy" or "dynamic"`},
		{"a known signer signs", func(c *Config) { c.Signer.Type = "" }, `payouts.signer.type is "", want "node", "keystore" or "external"`},
		{"a keystore is a file", func(c *Config) { c.Signer.Type = SignerKeystore }, "payouts.signer.keystore is not set"},
		{"and has a password", func(c *Config) { c.Signer.Type, c.Signer.Keystore = SignerKeystore, "k" }, "payouts.signer.passwordFile is not set"},
		{"an external signer is somewhere", func(c *Config) { c.Signer.Type = SignerExternal }, "payouts.signer.url is empty"},
		{"and is asked in its way", func(c *Config) { c.Signer = SignerConfig{Type: SignerExternal, URL: "http://h", Method: "sign"} }, `payouts.signer.method is "sign"`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := DefaultConfig()
			c.Enabled, c.Address = true, someAccount
			tc.change(&c)
			wantConfigError(t, c.Validate(), tc.want)
		})
	}
}

func TestUnlockerConfigValidate(t *testing.T) {
	zero := uint64(0)
	for _, tc := range []struct {
		name   string
		change func(*UnlockerConfig)
		want   string
	}{
		{"the defaults are valid", func(c *UnlockerConfig) {}, ""},
		{"a disabled section is not looked at", func(c *UnlockerConfig) { *c = UnlockerConfig{} }, ""},
		{"the least depths", func(c *UnlockerConfig) { c.Depth, c.ImmatureDepth = 32, 16 }, ""},
		{"one less is too little", func(c *UnlockerConfig) { c.Depth, c.ImmatureDepth = 31, 16 }, "unlocker.depth is 31, want at least 32"},
		{"immature likewise", func(c *UnlockerConfig) { c.ImmatureDepth = 15 }, "unlocker.immatureDepth is 15, want at least 16"},
		{"a block is immature first", func(c *UnlockerConfig) { c.ImmatureDepth = 121 }, "unlocker.depth is 120, want at least unlocker.immatureDepth, 121"},
		{"the fee goes to an account", func(c *UnlockerConfig) { c.PoolFeeAddress = "me" }, `unlocker.poolFeeAddress is "me"`},
		{"there is a node", func(c *UnlockerConfig) { c.Daemon = util.URLs{""} }, "unlocker.daemon[0] is empty"},
		{"an era has blocks", func(c *UnlockerConfig) { c.ECIP1017EraRounds = &zero }, "unlocker.ecip1017EraRounds is 0"},
		{"a fork may be there from the start", func(c *UnlockerConfig) { c.ConstantinopleFBlock = &zero }, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := DefaultUnlockerConfig()
			c.Enabled = true
			tc.change(&c)
			wantConfigError(t, c.Validate(), tc.want)
		})
	}
}

func TestSessionsStartByScheduleOrInterval(t *testing.T) {
	start := time.Date(2026, 11, 22, 3, 0, 0, 0, time.UTC)
	for _, tc := range []struct {
		name, schedule, zone string
		want                 time.Time
	}{
		{"an interval counts from now", "", "", start.Add(2 * time.Hour)},
		{"a schedule is in its zone", "0 6 * * *", "Asia/Tokyo", time.Date(2026, 11, 22, 21, 0, 0, 0, time.UTC)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := DefaultConfig()
			c.Schedule, c.TimeZone = tc.schedule, tc.zone
			s, err := c.Sessions()
			if err != nil {
				t.Fatal(err)
			}
			if got := s.Next(start); !got.Equal(tc.want) {
				t.Errorf("next is %s, want %s", got, tc.want)
			}
		})
	}
}

func TestPathsAreBesideTheConfigurationFile(t *testing.T) {
	c := DefaultConfig()
	c.Signer.Keystore, c.Signer.PasswordFile = "key.json", "/etc/pool/password"
	c.Complete("/srv/pool")
	for _, p := range []struct{ got, want string }{
		{c.Journal, filepath.Join("/srv/pool", "payouts.journal")},
		{c.Signer.Keystore, filepath.Join("/srv/pool", "key.json")},
		{c.Signer.PasswordFile, "/etc/pool/password"},
	} {
		if p.got != p.want {
			t.Errorf("path is %s, want %s", p.got, p.want)
		}
	}
	c = DefaultConfig()
	c.Complete("/srv/pool")
	if c.Signer.Keystore != "" {
		t.Errorf("a key file that is left out becomes %s", c.Signer.Keystore)
	}
	if c.Complete("/elsewhere"); c.Journal != filepath.Join("/srv/pool", "payouts.journal") {
		t.Errorf("a second time moves the journal to %s", c.Journal)
	}
}

func TestFriendsKeepNwFeesMeansFeeFromMiner(t *testing.T) {
	c := DefaultConfig()
	if c.Complete("."); c.FeeFromMiner {
		t.Error("the pool does not pay the fee by default")
	}
	c.KeepNwFees = true
	if c.Complete("."); !c.FeeFromMiner {
		t.Error("keepNwFees has no effect")
	}
}

func wantConfigError(t *testing.T, err error, part string) {
	t.Helper()
	if (err == nil) != (part == "") || (err != nil && !strings.Contains(err.Error(), part)) {
		t.Errorf("error is %v, want %q", err, part)
	}
}
