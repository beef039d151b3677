package api

import "github.com/open-ethereum-pool/open-ethereum-pool/util"

// What the routes answer. The fields of the existing pools keep their names and
// types; the others are new. Amounts are in Shannon (10⁻⁹ coins) and times in
// unix seconds unless a field says otherwise. Lists are never null.

// poolView is /api/stats.
type poolView struct {
	Now             int64            `json:"now"`   // milliseconds
	Nodes           []nodeView       `json:"nodes"` // one for each proxy
	Stats           map[string]int64 `json:"stats"` // lastBlockFound, roundShares
	Hashrate        int64            `json:"hashrate"`
	MinersTotal     int              `json:"minersTotal"`
	MaturedTotal    int64            `json:"maturedTotal"`
	ImmatureTotal   int64            `json:"immatureTotal"`
	CandidatesTotal int64            `json:"candidatesTotal"`
	PoolCharts      []poolPoint      `json:"poolCharts"`

	WorkersTotal    int         `json:"workersTotal"`
	HashrateAverage int64       `json:"hashrateAverage"` // over the large window
	PaymentsTotal   int64       `json:"paymentsTotal"`
	Network         networkView `json:"network"`
	Round           roundView   `json:"round"`
	Payouts         payoutsView `json:"payouts"`
	Settings        Settings    `json:"settings"`
}

// nodeView keeps the strings of the existing pools.
type nodeView struct {
	Name       string `json:"name"`
	Height     string `json:"height"`
	Difficulty string `json:"difficulty"`
	LastBeat   string `json:"lastBeat"`
}

type poolPoint struct {
	X            int64 `json:"x"`
	Hashrate     int64 `json:"hashrate"`
	MinersOnline int64 `json:"minersOnline"`
	Difficulty   int64 `json:"difficulty"` // of the network
}

type networkView struct {
	Height     uint64 `json:"height"`
	Difficulty int64  `json:"difficulty"`
	Hashrate   int64  `json:"hashrate"` // difficulty over the mean time between blocks
}

// roundView is what was mined since the last block.
type roundView struct {
	Shares   int64   `json:"shares"`
	Progress float64 `json:"progress"` // shares over the network's difficulty: 1 is an average round
}

// payoutsView is how payouts are doing.
type payoutsView struct {
	State       string       `json:"state"`       // idle, running, halted, or unknown while no process says anything
	Reason      string       `json:"reason"`      // why halted, or how the last session ended: a word of the plan
	NextSession int64        `json:"nextSession"` // 0 while unknown
	Threshold   util.Shannon `json:"threshold"`
	Session     sessionView  `json:"session"`     // the present one, or the last
	Wallet      util.Shannon `json:"wallet"`      // on the pool's account, -1 while unknown
	Liabilities util.Shannon `json:"liabilities"` // balances, and payments in no block yet; -1 while unknown
	Audit       *auditView   `json:"audit"`       // null while there was none
}

type sessionView struct {
	Started  int64        `json:"started"` // 0 when there was none
	Ended    int64        `json:"ended"`   // 0 while it runs
	Due      int          `json:"due"`     // miners
	Paid     int          `json:"paid"`
	InFlight int          `json:"inFlight"`
	Amount   util.Shannon `json:"amount"`
}

type auditView struct {
	Time     int64 `json:"time"`
	Clean    bool  `json:"clean"`
	Findings int   `json:"findings"`
	Journal  bool  `json:"journal"` // it looked at the journal
	Chain    bool  `json:"chain"`   // and at the chain
}

// Settings are what pages need to know and the configuration says.
type Settings struct {
	Name          string  `json:"name"`
	Coin          string  `json:"coin"`
	Symbol        string  `json:"symbol"` // of amounts, such as ETC
	Network       string  `json:"network"`
	Fee           float64 `json:"fee"`           // percent
	Depth         uint64  `json:"depth"`         // blocks until a reward is paid out
	ImmatureDepth uint64  `json:"immatureDepth"` // blocks until a reward is shown
	Confirmations uint64  `json:"confirmations"` // blocks until a payment is final
	FeeFromMiner  bool    `json:"feeFromMiner"`  // the network's fee comes off a payment
	Interval      int     `json:"interval"`      // seconds between statistics
	// HashrateWindow is over how many seconds the current hashrate is.
	HashrateWindow int    `json:"hashrateWindow"`
	Ports          []Port `json:"ports"`
	// Explorer's pages, with {} where the hash, the address or the height goes;
	// empty for none.
	ExplorerTx      string `json:"explorerTx"`
	ExplorerAddress string `json:"explorerAddress"`
	ExplorerBlock   string `json:"explorerBlock"`
	Accent          string `json:"accent"`  // a CSS colour, empty for the pages' own
	Contact         string `json:"contact"` // a URL or mail address, empty for none
	Version         string `json:"version"`
}

// Port is one of the proxy's for miners.
type Port struct {
	Host       string `json:"host"` // empty: the one that the page was opened under
	Port       int    `json:"port"`
	TLS        bool   `json:"tls"`
	Difficulty int64  `json:"difficulty"` // of a share, to begin with
	VarDiff    bool   `json:"varDiff"`
}

// minersView is /api/miners. With limit or offset it has only a part of the
// miners, by hashrate, and List keeps their order.
type minersView struct {
	Now         int64                `json:"now"` // milliseconds
	Miners      map[string]minerView `json:"miners"`
	Hashrate    int64                `json:"hashrate"`
	MinersTotal int                  `json:"minersTotal"`
	List        []listedMiner        `json:"list,omitzero"`
	Found       *int                 `json:"found,omitempty"` // how many logins contain what find asked for; list is a part of them
}

type minerView struct {
	LastBeat int64 `json:"lastBeat"`
	HR       int64 `json:"hr"`
	Offline  bool  `json:"offline"`
}

type listedMiner struct {
	Login string `json:"login"`
	minerView
	Workers int `json:"workers"`
}

// blocksView is /api/blocks; limit and offset are of the matured ones.
type blocksView struct {
	Matured         []blockView         `json:"matured"`
	MaturedTotal    int64               `json:"maturedTotal"`
	Immature        []blockView         `json:"immature"`
	ImmatureTotal   int64               `json:"immatureTotal"`
	Candidates      []blockView         `json:"candidates"`
	CandidatesTotal int64               `json:"candidatesTotal"`
	Luck            map[string]luckView `json:"luck"` // by the number of blocks
}

type luckView struct {
	Luck       float64 `json:"luck"` // shares over difficulty: below 1 is lucky
	UncleRate  float64 `json:"uncleRate"`
	OrphanRate float64 `json:"orphanRate"`
}

type blockView struct {
	Height      uint64 `json:"height"`
	Timestamp   int64  `json:"timestamp"`
	Difficulty  int64  `json:"difficulty"`
	Shares      int64  `json:"shares"`
	Uncle       bool   `json:"uncle"`
	UncleHeight uint64 `json:"uncleHeight"`
	Orphan      bool   `json:"orphan"`
	Hash        string `json:"hash"`
	Reward      string `json:"reward"` // Wei

	Kind          string  `json:"kind"`  // candidate, block, uncle or orphan
	State         string  `json:"state"` // candidate, immature or matured
	Luck          float64 `json:"luck"`  // shares over difficulty
	Confirmations uint64  `json:"confirmations"`
}

// paymentsView is /api/payments.
type paymentsView struct {
	Payments      []paymentView `json:"payments"`
	PaymentsTotal int64         `json:"paymentsTotal"`
	Pending       []paymentView `json:"pending"` // debited, not yet taken by a node
	Days          []dayView     `json:"days"`    // the last 30, newest first
}

// paymentView is one payment; Address is left out where it is the account's own.
type paymentView struct {
	Timestamp int64        `json:"timestamp"`
	Tx        string       `json:"tx"` // empty while there is none
	Address   string       `json:"address,omitempty"`
	Amount    util.Shannon `json:"amount"`

	Status        string `json:"status"`        // pending, sent, confirming, final, held; failed for the moment until it is out of the history
	Confirmations uint64 `json:"confirmations"` // 0 while it is in no block, or not known
	Block         uint64 `json:"block"`         // 0 while it is in none, or not known
	FeeWei        string `json:"feeWei"`        // of the network, empty while not known
	Why           string `json:"why,omitempty"`
}

type dayView struct {
	Day      string       `json:"day"` // 2006-01-02, UTC
	Amount   util.Shannon `json:"amount"`
	Payments int          `json:"payments"`
}

// accountView is /api/accounts/LOGIN.
type accountView struct {
	Stats           map[string]int64      `json:"stats"` // balance, pending, paid, immature, lastShare, blocksFound, …
	Payments        []paymentView         `json:"payments"`
	PaymentsTotal   int64                 `json:"paymentsTotal"`
	RoundShares     int64                 `json:"roundShares"`
	RoundShare      float64               `json:"roundShare"` // of the present round, 0 to 1
	Workers         map[string]workerView `json:"workers"`
	WorkersTotal    int                   `json:"workersTotal"`
	WorkersOnline   int                   `json:"workersOnline"`
	WorkersOffline  int                   `json:"workersOffline"`
	Hashrate        int64                 `json:"hashrate"`        // over the large window
	CurrentHashrate int64                 `json:"currentHashrate"` // over the small one
	PageSize        int64                 `json:"pageSize"`
	Charts          []minerPoint          `json:"charts"`

	Login   string        `json:"login"`   // as stored
	Now     int64         `json:"now"`     // milliseconds
	Pending []paymentView `json:"pending"` // debited, not yet taken by a node
	Payout  accountPayout `json:"payout"`
	Rewards []rewardView  `json:"rewards"` // the newest 15, immature ones first; /api/accounts/LOGIN/rewards has the others
	// RewardsTotal is how many there are of the blocks that the API remembers.
	RewardsTotal int       `json:"rewardsTotal"`
	Earnings     []dayView `json:"earnings"` // rewards per day, newest first; Payments counts blocks
}

type minerPoint struct {
	X        int64 `json:"x"`
	Hashrate int64 `json:"hashrate"` // of four digits
}

type workerView struct {
	minerView
	HR2 int64 `json:"hr2"` // over the large window
}

// accountPayout is when and why, or why not.
type accountPayout struct {
	Threshold   util.Shannon `json:"threshold"`
	Progress    float64      `json:"progress"` // balance over threshold, at most 1
	Reason      string       `json:"reason"`   // below_threshold, next_session, in_flight, recipient_rejects, held, payouts_paused, wallet_low, gas_too_high, …
	Why         string       `json:"why"`      // in a sentence, in English; empty where the reason says all
	NextSession int64        `json:"nextSession"`
	// ThresholdAt is when the balance would reach the threshold if the last days
	// went on, 0 when it has, or nothing was earned.
	ThresholdAt int64 `json:"thresholdAt"`
	// Due is there while a session runs: whether it is going to pay what is on the
	// balance, which had reached the threshold when it began. Who reached it later
	// is paid in the session after it.
	Due *bool `json:"due,omitempty"`
}

// accountPaymentsView is /api/accounts/LOGIN/payments.
type accountPaymentsView struct {
	Now           int64         `json:"now"` // milliseconds
	Payments      []paymentView `json:"payments"`
	PaymentsTotal int64         `json:"paymentsTotal"`
}

// accountRewardsView is /api/accounts/LOGIN/rewards: what the newest blocks
// brought, as many as the API remembers. All of them are in rewards.csv.
type accountRewardsView struct {
	Now          int64        `json:"now"` // milliseconds
	Rewards      []rewardView `json:"rewards"`
	RewardsTotal int          `json:"rewardsTotal"` // of those blocks
}

// accountChartsView is /api/accounts/LOGIN/charts: what his workers did in the last 24
// hours.
type accountChartsView struct {
	Now    int64                   `json:"now"`    // milliseconds
	Charts map[string][]minerPoint `json:"charts"` // by worker, of the first hundred by name: a point for each ten minutes, at their end
}

// findersView is /api/finders, most blocks first.
type findersView struct {
	Now     int64        `json:"now"` // milliseconds
	Finders []finderView `json:"finders"`
}

type finderView struct {
	Address string `json:"address"`
	Blocks  int64  `json:"blocks"`
}

// rewardView is an account's part of one block.
type rewardView struct {
	Height    uint64       `json:"height"`
	Timestamp int64        `json:"timestamp"`
	Hash      string       `json:"hash"`
	Amount    util.Shannon `json:"amount"`
	Share     float64      `json:"share"` // of all credits of the block, 0 to 1
	Luck      float64      `json:"luck"`
	Kind      string       `json:"kind"` // block or uncle
	Immature  bool         `json:"immature"`
	// UncleHeight is an uncle's own height, 0 of a block; Height is then the
	// including block's.
	UncleHeight uint64 `json:"uncleHeight"`
}

// errorView is every answer that is no success.
type errorView struct {
	Error string `json:"error"`
}
