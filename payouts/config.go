package payouts

import (
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/robfig/cron/v3"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Who signs the pool's transactions (payouts.signer.type).
const (
	SignerNode     = "node"     // the node, in which the account is unlocked
	SignerKeystore = "keystore" // this process, with a go-ethereum key file
	SignerExternal = "external" // Clef or a Web3Signer
)

// What kind of transaction pays (payouts.txType).
const (
	TxAuto    = "auto"    // dynamic when the head block has a base fee, else legacy
	TxLegacy  = "legacy"  // one gas price
	TxDynamic = "dynamic" // EIP-1559
)

// noAddress is how the example configurations say that nothing is set yet.
const noAddress = "0x0"

// Config is the section "payouts" of the configuration.
type Config struct {
	Enabled      bool          `json:"enabled"`
	RequirePeers uint64        `json:"requirePeers"` // no session while the node has fewer peers
	Interval     util.Duration `json:"interval"`     // from one session to the next
	Daemon       util.URLs     `json:"daemon"`       // nodes, the first preferred
	Timeout      util.Duration `json:"timeout"`      // of one call to a node
	Address      string        `json:"address"`      // the pool's account, which pays
	Gas          uint64        `json:"gas,string"`   // gas limit of a transfer
	GasPrice     util.Wei      `json:"gasPrice"`     // per gas; used when AutoGas is false
	AutoGas      bool          `json:"autoGas"`      // ask the node for price and gas
	Threshold    util.Shannon  `json:"threshold,string"`
	BgSave       bool          `json:"bgsave"` // BGSAVE after a session that paid

	// The keys below are new and optional.

	Schedule      string        `json:"schedule"`      // cron, five fields or a descriptor; instead of Interval
	TimeZone      string        `json:"timeZone"`      // IANA name for Schedule; empty is local time
	Window        int           `json:"window"`        // open payments at once; 1 is the manual's strict sequence
	Confirmations uint64        `json:"confirmations"` // blocks until a payment is final
	VoidDepth     uint64        `json:"voidDepth"`     // blocks until a dead payment is credited back
	MaxGasPrice   util.Wei      `json:"maxGasPrice"`   // per gas; no attempt goes above
	MaxGas        uint64        `json:"maxGas,string"` // for recipients that need more than Gas
	BumpAfter     uint64        `json:"bumpAfter"`     // blocks unmined until the price is raised; 0 is never
	Journal       string        `json:"journal"`       // file; relative to the configuration file
	FeeFromMiner  bool          `json:"feeFromMiner"`  // the network's fee comes off the payment
	AutoResolve   bool          `json:"autoResolve"`   // credit back by itself what provably never left
	TxType        string        `json:"txType"`        // auto, legacy or dynamic
	PollInterval  util.Duration `json:"pollInterval"`  // between looks at the chain while payments are open
	AuditSchedule string        `json:"auditSchedule"` // when the books are audited, as Schedule; empty is never
	Signer        SignerConfig  `json:"signer"`

	// Limits against what nobody foresaw; 0 is none.
	MaxPerSession util.Shannon `json:"maxPerSession,string"`
	MaxPerDay     util.Shannon `json:"maxPerDay,string"` // in any 24 hours

	// KeepNwFees is how open-etc-pool-friends writes FeeFromMiner. It took a
	// flat fee; ours is the one the transaction is signed with.
	KeepNwFees   bool         `json:"keepNwFees"`
	NwTxGas      util.Ignored `json:"nwTxGas" ignored:"the fee that feeFromMiner takes is the transaction's own, see payouts.gas"`
	NwTxGasPrice util.Ignored `json:"nwTxGasPrice" ignored:"the fee that feeFromMiner takes is the transaction's own, see payouts.gasPrice"`
	ConcurrentTx util.Ignored `json:"concurrentTx" ignored:"use payouts.window"`
}

// SignerConfig says who signs the pool's transactions.
type SignerConfig struct {
	Type         string        `json:"type"`         // node, keystore or external
	Keystore     string        `json:"keystore"`     // key file; relative to the configuration file
	PasswordFile string        `json:"passwordFile"` // holds the key file's password; relative likewise
	URL          string        `json:"url"`          // of the external signer
	Method       string        `json:"method"`       // account_signTransaction (Clef) or eth_signTransaction (Web3Signer)
	Timeout      util.Duration `json:"timeout"`      // of one signature; a person may have to confirm it
}

// DefaultConfig holds the value of every key that is left out.
func DefaultConfig() Config {
	return Config{
		RequirePeers:  25,
		Interval:      util.Duration(2 * time.Hour),
		Daemon:        util.URLs{"http://127.0.0.1:8545"},
		Timeout:       util.Duration(10 * time.Second),
		Address:       noAddress,
		Gas:           21_000,
		GasPrice:      util.NewWei(50_000_000_000),
		AutoGas:       true,
		Threshold:     500_000_000,
		Window:        64,
		Confirmations: 120,
		VoidDepth:     10_000,
		MaxGasPrice:   util.NewWei(200_000_000_000),
		MaxGas:        100_000,
		BumpAfter:     40,
		Journal:       "payouts.journal",
		AutoResolve:   true,
		TxType:        TxAuto,
		PollInterval:  util.Duration(3 * time.Second),
		AuditSchedule: "@daily",
		Signer: SignerConfig{
			Type:    SignerNode,
			Method:  "account_signTransaction",
			Timeout: util.Duration(time.Minute),
		},
	}
}

// Complete settles what the keys of older pools say in ours, and takes relative
// paths to be beside the configuration file, whose directory is given: the
// journal must be found again from wherever the pool is started.
func (c *Config) Complete(dir string) {
	c.FeeFromMiner = c.FeeFromMiner || c.KeepNwFees
	for _, path := range []*string{&c.Journal, &c.Signer.Keystore, &c.Signer.PasswordFile} {
		if *path != "" && !filepath.IsAbs(*path) {
			*path = filepath.Join(dir, *path)
		}
	}
}

// Sessions tells when payout sessions start: by Schedule in TimeZone, or else
// every Interval, in whole seconds.
func (c Config) Sessions() (cron.Schedule, error) {
	if c.Schedule == "" {
		return cron.Every(c.Interval.Std()), nil
	}
	return c.times(c.Schedule)
}

// Audits tells when the books are audited; nil is never.
func (c Config) Audits() (cron.Schedule, error) {
	if c.AuditSchedule == "" {
		return nil, nil
	}
	return c.times(c.AuditSchedule)
}

func (c Config) times(spec string) (cron.Schedule, error) {
	if strings.Contains(spec, "TZ=") {
		return nil, errors.New("the time zone belongs into payouts.timeZone")
	}
	if c.TimeZone != "" {
		spec = "CRON_TZ=" + c.TimeZone + " " + spec
	}
	s, err := cron.ParseStandard(spec)
	if err != nil {
		return nil, err
	}
	if s.Next(time.Unix(0, 0)).IsZero() {
		return nil, errors.New("no day is like that")
	}
	return s, nil
}

// Validate reports every wrong value as a util.KeyError. A section that is not
// enabled may hold placeholders and is not looked at.
func (c Config) Validate() error {
	if !c.Enabled {
		return nil
	}
	var f util.Faults
	checkDaemon(&f, "payouts.daemon", c.Daemon)
	if zero := strings.Trim(c.Address, "0x") == ""; zero {
		f.Unless(false, "payouts.address", "is %q: the pool's account is not set, want 0x and 40 hex digits", c.Address)
	} else {
		checkAddress(&f, "payouts.address", c.Address)
	}

	f.Unless(c.Gas >= 21_000, "payouts.gas", "is %d, want at least 21000, what a plain transfer takes", c.Gas)
	f.Unless(c.MaxGas >= c.Gas, "payouts.maxGas", "is %d, want at least payouts.gas, %d", c.MaxGas, c.Gas)
	f.Unless(!c.MaxGasPrice.IsZero(), "payouts.maxGasPrice", "is 0, want the most Wei to pay per gas")
	if !c.AutoGas {
		f.Unless(!c.GasPrice.IsZero(), "payouts.gasPrice", "is 0, want Wei per gas, or autoGas")
		f.Unless(c.MaxGasPrice.Cmp(c.GasPrice) >= 0, "payouts.maxGasPrice", "is %s, want at least payouts.gasPrice, %s", c.MaxGasPrice, c.GasPrice)
	}
	f.Unless(c.Threshold >= 0 && c.Threshold <= util.MaxShannon, "payouts.threshold", "is %d, want 0 to %d Shannon", c.Threshold, util.MaxShannon)

	f.Unless(c.MaxPerSession >= 0 && c.MaxPerSession <= util.MaxShannon, "payouts.maxPerSession", "is %d, want 0 to %d Shannon, 0 for no limit", c.MaxPerSession, util.MaxShannon)
	f.Unless(c.MaxPerDay >= 0 && c.MaxPerDay <= util.MaxShannon, "payouts.maxPerDay", "is %d, want 0 to %d Shannon, 0 for no limit", c.MaxPerDay, util.MaxShannon)
	f.Unless(c.MaxPerSession == 0 || c.MaxPerSession >= c.Threshold, "payouts.maxPerSession", "is %d Shannon, want 0 or at least payouts.threshold, %d, else nobody is ever paid", c.MaxPerSession, c.Threshold)
	f.Unless(c.MaxPerDay == 0 || c.MaxPerDay >= c.Threshold, "payouts.maxPerDay", "is %d Shannon, want 0 or at least payouts.threshold, %d, else nobody is ever paid", c.MaxPerDay, c.Threshold)
	f.Unless(c.Interval.Std() >= time.Second, "payouts.interval", "is %s, want at least 1s", c.Interval)
	c.checkSchedule(&f)
	f.Unless(c.Window >= 1 && c.Window <= 4096, "payouts.window", "is %d, want 1 to 4096", c.Window)
	f.Unless(c.Confirmations >= 1, "payouts.confirmations", "is 0, want at least 1")
	f.Unless(c.VoidDepth >= c.Confirmations, "payouts.voidDepth", "is %d, want at least payouts.confirmations, %d", c.VoidDepth, c.Confirmations)
	f.Unless(c.Journal != "", "payouts.journal", `is empty, want a file such as "payouts.journal"`)
	f.Unless(slices.Contains([]string{TxAuto, TxLegacy, TxDynamic}, c.TxType), "payouts.txType", "is %q, want %q, %q or %q", c.TxType, TxAuto, TxLegacy, TxDynamic)
	c.Signer.check(&f)
	return f.Err()
}

func (c Config) checkSchedule(f *util.Faults) {
	if _, err := time.LoadLocation(c.TimeZone); err != nil {
		f.Unless(false, "payouts.timeZone", `is %q, want an IANA name such as "Europe/Berlin"`, c.TimeZone)
		return
	}
	_, err := c.Sessions()
	f.Unless(err == nil, "payouts.schedule", `is %q, want five cron fields such as "0 */2 * * *" or "@every 2h": %v`, c.Schedule, err)
	_, err = c.Audits()
	f.Unless(err == nil, "payouts.auditSchedule", `is %q, want five cron fields such as "30 4 * * *", "@daily", or nothing for never: %v`, c.AuditSchedule, err)
}

func (s SignerConfig) check(f *util.Faults) {
	const clef, web3signer = "account_signTransaction", "eth_signTransaction"
	switch s.Type {
	case SignerNode:
		f.Unless(s.Keystore == "" && s.PasswordFile == "", "payouts.signer.type", "is %q, want %q, for a key file is set", s.Type, SignerKeystore)
		f.Unless(s.URL == "", "payouts.signer.type", "is %q, want %q, for payouts.signer.url is set", s.Type, SignerExternal)
	case SignerKeystore:
		f.Unless(s.Keystore != "", "payouts.signer.keystore", "is not set, want the key file of payouts.address")
		f.Unless(s.PasswordFile != "", "payouts.signer.passwordFile", "is not set, want the file that holds the key's password")
	case SignerExternal:
		f.Check("payouts.signer.url", util.CheckURL(s.URL))
		f.Unless(s.Method == clef || s.Method == web3signer, "payouts.signer.method", "is %q, want %q (Clef) or %q (Web3Signer)", s.Method, clef, web3signer)
	default:
		f.Unless(false, "payouts.signer.type", "is %q, want %q, %q or %q", s.Type, SignerNode, SignerKeystore, SignerExternal)
	}
}

const (
	// A block that is credited too early is money paid for an orphan.
	minDepth         = 32 // blocks
	minImmatureDepth = 16
)

// UnlockerConfig is the section "unlocker" of the configuration.
type UnlockerConfig struct {
	Enabled        bool          `json:"enabled"`
	PoolFee        util.Percent  `json:"poolFee"`
	PoolFeeAddress string        `json:"poolFeeAddress"` // credited with the fee; empty leaves it uncredited
	Depth          uint64        `json:"depth"`          // blocks until a reward is paid out
	ImmatureDepth  uint64        `json:"immatureDepth"`  // blocks until a reward is shown
	KeepTxFees     bool          `json:"keepTxFees"`     // the pool keeps the fees of the block's transactions
	Interval       util.Duration `json:"interval"`
	Daemon         util.URLs     `json:"daemon"`
	Timeout        util.Duration `json:"timeout"`

	Donate util.Ignored `json:"donate" ignored:"retired, nobody takes a part of the pool's fee"`

	// Network chooses the reward schedule. It is the configuration's "network",
	// which open-etc-pool-friends writes here as well.
	Network string `json:"network"`

	// Where the schedule of a private chain differs from the network's. Nil is
	// the network's own. The keys are open-etc-pool-friends'.
	ECIP1017FBlock       *uint64      `json:"ecip1017FBlock,string"`       // first block of era 1 (ECIP-1017)
	ECIP1017EraRounds    *uint64      `json:"ecip1017EraRounds,string"`    // blocks in an era
	ByzantiumFBlock      *uint64      `json:"byzantiumFBlock,string"`      // first block worth 3 coins (EIP-649)
	ConstantinopleFBlock *uint64      `json:"constantinopleFBlock,string"` // first block worth 2 coins (EIP-1234)
	LondonEnabled        util.Ignored `json:"isLondonHardForkEnabled" ignored:"a block's header says whether it has a base fee"`
}

// DefaultUnlockerConfig holds the value of every key that is left out.
func DefaultUnlockerConfig() UnlockerConfig {
	return UnlockerConfig{
		PoolFee:       util.OnePercent,
		Depth:         120,
		ImmatureDepth: 20,
		Interval:      util.Duration(10 * time.Minute),
		Daemon:        util.URLs{"http://127.0.0.1:8545"},
		Timeout:       util.Duration(10 * time.Second),
	}
}

// Validate reports every wrong value as a util.KeyError. A section that is not
// enabled is not looked at.
func (c UnlockerConfig) Validate() error {
	if !c.Enabled {
		return nil
	}
	var f util.Faults
	checkDaemon(&f, "unlocker.daemon", c.Daemon)
	if c.PoolFeeAddress != "" {
		checkAddress(&f, "unlocker.poolFeeAddress", c.PoolFeeAddress)
	}
	f.Unless(c.Depth >= minDepth, "unlocker.depth", "is %d, want at least %d", c.Depth, minDepth)
	f.Unless(c.ImmatureDepth >= minImmatureDepth, "unlocker.immatureDepth", "is %d, want at least %d", c.ImmatureDepth, minImmatureDepth)
	f.Unless(c.Depth >= c.ImmatureDepth, "unlocker.depth", "is %d, want at least unlocker.immatureDepth, %d", c.Depth, c.ImmatureDepth)
	f.Unless(c.ECIP1017EraRounds == nil || *c.ECIP1017EraRounds > 0, "unlocker.ecip1017EraRounds", "is 0, want the blocks in an era")
	return f.Err()
}

func checkDaemon(f *util.Faults, key string, urls util.URLs) {
	f.Unless(len(urls) > 0, key, `is empty, want a node such as "http://127.0.0.1:8545"`)
	for i, u := range urls {
		f.Check(fmt.Sprintf("%s[%d]", key, i), util.CheckURL(u))
	}
}

// checkAddress also holds a mixed-case address against its checksum (EIP-55):
// money sent to a mistyped one is gone.
func checkAddress(f *util.Faults, key, address string) {
	a, err := util.ParseLogin(address)
	f.Unless(err == nil, key, "is %q, want 0x and 40 hex digits", address)
	digits := strings.TrimPrefix(address, "0x")
	mixed := digits != strings.ToLower(digits) && digits != strings.ToUpper(digits)
	f.Unless(err != nil || !mixed || address == a.Hex(), key,
		"is %q, whose checksum is wrong: want it as the wallet shows it, or in lower case", address)
}
