package sim

import (
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// World is everything around the payouts processes of one seed.
type World struct {
	rng      *rand.Rand
	d        dangers
	cfg      payouts.Config
	mutation *Mutation
	trace    io.Writer

	now     time.Duration // since the chain's genesis
	steps   int
	chain   *chain
	nodes   []*node
	answers int // which node answers
	ledger  *ledger
	saved   []snapshot // what may be restored, oldest first
	saves   int
	files   []*journalFile // the journals in use
	disks   []*journalFile // and all that ever were
	procs   []*process
	running *process
	pids    int
	serial  int
	named   map[string]bool

	logins   []string
	earned   map[string]util.Shannon
	rewards  []reward
	orphaned map[common.Hash]*orphan

	operator
	violations []string
	promises   []string // what was broken without harm
}

// reward is what a matured block brought a miner.
type reward struct {
	login  string
	amount util.Shannon
}

// orphan is where a transaction was before a reorg.
type orphan struct {
	block *block
	outcome
}

// snapshot is the books at a time.
type snapshot struct {
	*books
	n int // counts them
}

// dangers say what may go wrong in this world, per mille of the occasions: of
// port calls, or of steps. Not every world has them all: what one hides another
// shows.
type dangers struct {
	redis, nodes, disk  int // calls that fail, or whose reply is lost
	lostReply, forgets  int // of sends: at one node; it takes and keeps nothing
	refusals            int // of sends, for reasons of the node's own
	failover, nonsense  int // another node answers; it has no receipt, or an old one
	unfit               int // syncing, or without peers
	kills, stalls       int
	restores            int
	reorgs, deep        int
	restarts, stuck     int // of nodes
	hands, rows         int // an operator sends from the account; edits pending rows
	contracts, market   int
	interrupts, zombies int
	skew                int
	rival               bool // a second process on another host, with a journal of its own
	nodeSigns           bool // the signer can only sign and send
}

// drawDangers chooses for each danger whether there is any of it.
func drawDangers(r *rand.Rand) dangers {
	some := func(rates ...int) int {
		if r.IntN(2) == 0 {
			return 0
		}
		return rates[r.IntN(len(rates))]
	}
	d := dangers{
		redis: some(5, 20, 60), nodes: some(5, 20, 60), disk: some(10, 50), lostReply: some(50, 200), forgets: some(50, 300), refusals: some(30, 150),
		failover: some(5, 50), nonsense: some(20, 200), unfit: some(20), kills: some(2, 8, 20), stalls: some(2, 8),
		restores: some(1, 3), reorgs: some(2, 5), deep: some(1, 4), restarts: some(2, 5), stuck: some(2),
		hands: some(1, 2), rows: some(5, 20), contracts: some(2), market: some(2), interrupts: some(2),
		zombies: some(1, 3), skew: some(300),
	}
	d.rival = r.IntN(8) == 0
	if d.zombies > 0 && d.restores == 0 && r.IntN(2) == 0 {
		d.restores = 2
	}
	if d.rival { // without each other's journals neither can put back what Redis forgets
		d.restores, d.zombies = 0, 0
	}
	return d
}

const (
	threshold  = 1_000_000 // Shannon
	blockTime  = 13 * time.Second
	stormSteps = 1200
	calmSteps  = 12_000
	historyLen = 30 // blocks before the ledger begins

	// What the account earns with a block, in Wei: less, or more, than miners do.
	poor = 250_000 * gwei
	rich = 3_000_000 * gwei
)

// calmDown ends all dangers: nodes agree, recipients accept, nobody dies.
func (w *World) calmDown() {
	w.say("calm")
	w.calm = true
	w.d = dangers{nodeSigns: w.d.nodeSigns}
	for _, p := range slices.Clone(w.procs) {
		if p.stalled || p.zombie || p.file != w.files[0] {
			p.kill()
		}
	}
	w.files = w.files[:1]
	for _, n := range w.nodes {
		n.stuck, n.lag = false, 0
	}
	w.follow()
	w.chain.market, w.chain.reward = gwei, rich
	for _, login := range w.logins {
		delete(w.chain.code, common.HexToAddress(login))
	}
	w.unlock()
}

func newWorld(o Options) *World {
	r := rand.New(rand.NewPCG(o.Seed, 0x9e3779b97f4a7c15))
	w := &World{rng: r, mutation: o.Mutation, trace: o.Trace, d: drawDangers(r), ledger: &ledger{books: newBooks(), fenceless: o.Mutation != nil && o.Mutation.fenceless}, named: map[string]bool{},
		earned: map[string]util.Shannon{}, orphaned: map[common.Hash]*orphan{},
		operator: operator{needed: map[string]int{}, tries: map[command]int{}, unowed: map[common.Hash]bool{}, removed: map[string]bool{}, instead: map[string]*tx{}}}
	w.cfg = payouts.DefaultConfig()
	w.cfg.Enabled, w.cfg.Address, w.cfg.Threshold = true, poolAccount.Hex(), threshold
	w.cfg.Interval, w.cfg.PollInterval = util.Duration(20*blockTime), util.Duration(blockTime)
	w.cfg.Confirmations = 3 + uint64(r.IntN(3))
	w.cfg.VoidDepth = w.cfg.Confirmations + 3 + uint64(r.IntN(6))
	w.cfg.BumpAfter = []uint64{0, 3, 5}[r.IntN(3)]
	w.cfg.Window = []int{1, 3, 64}[r.IntN(3)]
	w.cfg.AutoResolve = r.IntN(4) > 0
	w.cfg.BgSave = r.IntN(2) == 0
	w.cfg.FeeFromMiner = r.IntN(5) == 0
	w.d.nodeSigns = r.IntN(10) == 0

	w.chain = newChain(poolAccount, o.Seed)
	w.chain.dynamic = !w.d.nodeSigns && r.IntN(3) == 0
	w.chain.reward = poor
	if r.IntN(3) > 0 {
		w.chain.reward = rich
	}
	for range historyLen {
		w.tick(blockTime)
	}
	for i := range 2 {
		w.nodes = append(w.nodes, &node{name: string(rune('A' + i)), chain: w.chain, pool: map[uint64]*tx{},
			showsPool: r.IntN(3) > 0, pruned: r.IntN(4) == 0})
	}
	for i := range 2 + r.IntN(4) {
		w.logins = append(w.logins, fmt.Sprintf("0x%040x", 0xabc001+i))
	}
	for _, login := range w.logins {
		w.earn(login)
	}
	w.files = []*journalFile{w.newJournal("alpha")}
	if w.d.rival {
		w.files = append(w.files, w.newJournal("beta"))
	}
	w.follow()
	w.save()
	return w
}

func (w *World) newJournal(host string) *journalFile {
	return w.disk(host, payouts.Header{ID: fmt.Sprintf("%016x", w.rng.Uint64()), ChainID: chainID, Genesis: w.chain.genesis, Account: poolAccount}, nil)
}

func (w *World) disk(host string, h payouts.Header, records []payouts.Record) *journalFile {
	f := &journalFile{host: host, header: h, records: records}
	w.disks = append(w.disks, f)
	return f
}

// chance is true in so many of a thousand cases.
func (w *World) chance(perMille int) bool { return perMille > 0 && w.rng.IntN(1000) < perMille }

func (w *World) say(format string, args ...any) {
	if w.trace != nil {
		fmt.Fprintf(w.trace, "%6d block %d  %s\n", w.steps, w.chain.head().number, fmt.Sprintf(format, args...))
	}
}

// nameNew gives payments names that the seed determines, in place of random ones.
func (w *World) nameNew(ps []*storage.Payment) {
	for _, p := range ps {
		if !w.named[p.ID] {
			w.serial++
			p.ID = fmt.Sprintf("%d-%04x", p.Nonce, w.serial)
			w.named[p.ID] = true
		}
	}
}

// storm is the time in which everything may go wrong.
func (w *World) storm() {
	for w.steps < stormSteps && len(w.violations) == 0 {
		w.happen()
		w.supervise()
		w.step()
	}
}

// step lets one process go on to its next call, or lets time pass when all sleep.
func (w *World) step() {
	var ready []*process
	for _, p := range w.procs {
		if p.runnable() {
			ready = append(ready, p)
		}
	}
	if len(ready) > 0 {
		w.steps++
		ready[w.rng.IntN(len(ready))].run()
		return
	}
	w.steps++
	w.pass(blockTime)
}

// pass lets time go by until somebody wakes, at most for a block.
func (w *World) pass(most time.Duration) {
	until := w.now + most
	for _, p := range w.procs {
		if !p.stalled {
			until = min(until, max(w.now, p.wake))
		}
	}
	for w.nextBlock() <= until {
		w.now = w.nextBlock()
		w.mine()
	}
	w.now = until
}

func (w *World) nextBlock() time.Duration {
	return time.Duration(w.chain.head().time-genesisTime)*time.Second + blockTime
}

// tick adds an empty block to the chain.
func (w *World) tick(d time.Duration) {
	w.now += d
	w.chain.mine(uint64(d/time.Second), nil...)
}

// mine adds a block: what miners would choose, or what harms most.
func (w *World) mine() {
	w.seal()
	w.follow()
	w.check()
	if !w.calm && w.chance(300) {
		w.earn(w.logins[w.rng.IntN(len(w.logins))])
	}
}

// seal makes a block of transactions that a node has, or of any that was ever
// let loose.
func (w *World) seal() {
	var txs []*tx
	if !w.chance(150) {
		honest := w.calm || w.chance(600)
		nonce := w.chain.head().nonce
		for range 1 + w.rng.IntN(8) {
			t := w.choose(nonce, honest)
			if t == nil {
				break
			}
			txs, nonce = append(txs, t), nonce+1
		}
	}
	b := w.chain.mine(uint64(blockTime/time.Second), txs...)
	for _, o := range b.txs {
		w.say("mined in block %d: nonce %d, %s, %d Shannon to %s, %v %s", b.number, o.nonce, short(o.hash), o.value/gwei, o.to.Hex()[38:], o.okay, o.why)
	}
}

// choose picks a transaction with the nonce.
func (w *World) choose(nonce uint64, honest bool) *tx {
	var can []*tx
	if honest {
		for _, n := range w.nodes {
			if t := n.pool[nonce]; t != nil && t.price >= w.chain.market {
				can = append(can, t)
			}
		}
	} else {
		for _, t := range w.chain.loose {
			if t.nonce == nonce {
				can = append(can, t)
			}
		}
	}
	if len(can) == 0 {
		return nil
	}
	return can[w.rng.IntN(len(can))]
}

// follow lets every node look at the chain.
func (w *World) follow() {
	for _, n := range w.nodes {
		n.follow()
	}
}

// reorg replaces the last blocks by one more than they were.
func (w *World) reorg(depth int) {
	depth = min(depth, len(w.chain.canonical)-historyLen)
	if depth <= 0 {
		return
	}
	before := slices.Clone(w.chain.canonical)
	gone := w.chain.undo(depth)
	w.say("the last %d blocks are replaced", depth)
	back, lost := w.chance(600), w.chance(400)
	for _, b := range gone {
		for _, o := range b.txs {
			w.orphaned[o.hash] = &orphan{b, o}
			if lost && !back { // and nobody has kept it
				w.chain.loose = slices.DeleteFunc(w.chain.loose, func(t *tx) bool { return t == o.tx && t.why == "" })
			}
		}
	}
	for _, n := range w.nodes {
		for _, b := range gone {
			for _, o := range b.txs {
				if back && !n.stuck && n.pool[o.nonce] == nil {
					n.pool[o.nonce] = o.tx
				}
			}
		}
	}
	empty := w.chance(500)
	for range depth + 1 {
		if empty {
			w.chain.mine(uint64(blockTime / time.Second))
		} else {
			w.seal()
		}
	}
	w.now = max(w.now, w.nextBlock()-blockTime)
	w.follow()
	w.checkFinals(before, depth)
	w.check()
}

// save takes a snapshot of the books, as Redis does by itself.
func (w *World) save() {
	w.saves++
	w.saved = append(w.saved, snapshot{w.ledger.books.clone(), w.saves})
	if len(w.saved) > 12 {
		w.saved = slices.Delete(w.saved, 1, 2)
	}
}

// restore puts the books back in time.
func (w *World) restore() {
	i := w.rng.IntN(len(w.saved))
	b := w.saved[i]
	if w.heldByZombie(b.lock) {
		return // he would be the rightful holder once more, with a journal that nobody has
	}
	if w.typedSince(b.n) || b.meta["chainId"] == "" && w.spent {
		return // what a person did would be lost, and nobody could know
	}
	w.say("redis goes back from step %d to %d", w.ledger.books.step(), b.step())
	w.ledger.books = b.clone()
	w.saved = w.saved[:i+1]
}

// earn gives a miner a reward, and the unlocker credits it.
func (w *World) earn(login string) {
	r := reward{login, util.Shannon(200_000 + w.rng.IntN(5)*400_000)}
	w.rewards = append(w.rewards, r)
	w.earned[login] += r.amount
	w.unlock()
}

// unlock is the unlocker's pass: it credits what the books do not have, also
// what they forgot.
func (w *World) unlock() {
	for i, r := range w.rewards {
		w.ledger.books.credit(i, r.login, r.amount)
	}
}

// happen lets at most a few things happen between two steps.
func (w *World) happen() {
	d, r := &w.d, w.rng
	if w.chance(15) {
		w.mine()
	}
	if w.chance(30) {
		w.save()
	}
	if w.chance(20) {
		w.unlock()
	}
	hot := w.hot()
	if w.chance(d.kills*hot) && len(w.procs) > 0 {
		w.procs[r.IntN(len(w.procs))].kill()
	}
	if w.chance(d.stalls*hot) && len(w.procs) > 0 {
		if p := w.procs[r.IntN(len(w.procs))]; !p.zombie || w.tookOver {
			p.stalled = !p.stalled
			w.say("%s before %s: stalled %v", p.name, p.at, p.stalled)
		}
	}
	for _, p := range w.procs {
		if p.zombie && p.stalled && w.tookOver && w.chance(20) {
			p.stalled = false
			w.say("%s wakes up before %s", p.name, p.at)
		}
	}
	if w.chance(d.interrupts) && len(w.procs) > 0 {
		w.procs[r.IntN(len(w.procs))].cancel()
	}
	if w.chance(d.restores * hot) {
		w.restore()
	}
	if w.chance(d.reorgs) {
		w.reorg(1 + r.IntN(int(w.cfg.Confirmations)-1))
	}
	if w.chance(d.deep) {
		w.reorg(1 + r.IntN(int(w.cfg.VoidDepth)-1))
	}
	if w.chance(d.zombies * hot) {
		w.move()
	}
	w.trouble()
	w.work()
}

// hot is how much likelier things are to go wrong now: more where a process
// stands in the middle of a payment.
func (w *World) hot() int {
	most := 1
	for _, p := range w.procs {
		switch p.at {
		case "fsync", "Verify":
			most = 12
		case "Open", "Send", "Sent", "Attempts", "Void", "Adopt", "Reinstate":
			most = max(most, 5)
		}
	}
	return most
}

// trouble is what befalls nodes and prices.
func (w *World) trouble() {
	d, r := &w.d, w.rng
	n := w.nodes[r.IntN(len(w.nodes))]
	if w.chance(d.restarts) {
		w.say("node %s restarts without its pool", n.name)
		n.pool, n.stuck, n.lag = map[uint64]*tx{}, false, 0
		n.follow()
	}
	if w.chance(d.stuck) {
		n.stuck, n.lag = w.chance(500) && n == w.nodes[1], r.IntN(3)
		w.say("node %s: lag %d, stuck %v", n.name, n.lag, n.stuck)
	}
	if w.chance(d.contracts) {
		who := common.HexToAddress(w.logins[0])
		w.chain.code[who] = recipient(r.IntN(3))
		w.say("%s is now %d", w.logins[0][38:], w.chain.code[who])
	}
	if w.chance(d.market) {
		w.chain.market = []int64{gwei, 3 * gwei, 20 * gwei, 300 * gwei}[r.IntN(4)]
		w.say("gas costs %d gwei", w.chain.market/gwei)
	}
}

// twice does something whose reply is lost, and moves its money once more.
func (w *World) twice(f func() []error) []error {
	b := w.ledger.books
	miners, totals := maps.Clone(b.miners), b.finances
	errs := f()
	again := func(was, is money) money {
		return money{2*is.balance - was.balance, 2*is.pending - was.pending, 2*is.paid - was.paid}
	}
	for _, login := range slices.Sorted(maps.Keys(b.miners)) {
		b.miners[login] = again(miners[login], b.miners[login])
	}
	b.finances = again(totals, b.finances)
	return errs
}
