package sim

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// operator is the people around the pool. They read what the log says is an
// error, type what it asks for, and work by hand as the manual says.
type operator struct {
	calm     bool
	spent    bool      // they used the account
	tookOver bool      // after a move, the new process had its turn
	mail     []string  // what they have not read
	todo     []command // what waits for payouts to be stopped
	typed    []typedRow
	lost     []string       // payments that payouts say may never be mined
	needed   map[string]int // how often a person was needed, by what for
	tries    map[command]int
	removed  map[string]bool // payments whose pending row they removed, and nothing else
	instead  map[string]*tx  // what they sent for a held payment, which is not adopted yet
	// unowed are payments by hand of which payouts did not ask, because nobody
	// owed the miner anything any more: the operator was too late.
	unowed map[common.Hash]bool
}

// command is a run of the binary with a verb.
type command struct {
	verb    string
	tx      common.Hash
	payment string
}

// typedRow is a payment made by hand as the manual says, in place of a pending
// row.
type typedRow struct {
	id    string
	saves int // snapshots older than it do not have it
	tx    *tx
}

// Why an operator uses the account.
const (
	coldWallet = "to the cold wallet"
	gift       = "no payout"
	payout     = "a payout by hand"
	inPlace    = "in place of a pending row"
)

// typedSince says whether a snapshot would forget what a person typed, before
// payouts have taken it up.
func (w *World) typedSince(n int) bool {
	return slices.ContainsFunc(w.typed, func(t typedRow) bool {
		p := w.ledger.books.payments[t.id]
		return n <= t.saves && (p == nil || p.State == storage.Signed || p.State == storage.Held)
	})
}

// work is what people do unasked.
func (w *World) work() {
	if w.chance(w.d.hands) {
		w.spend()
	}
	if w.chance(w.d.rows) && w.still() && w.current() {
		w.editRow()
	}
	if w.chance(30) {
		w.read()
	}
}

// still says that no payouts process can be about to send: all are stopped, or
// stand still before they look at the books again.
func (w *World) still() bool {
	return !slices.ContainsFunc(w.procs, func(p *process) bool {
		return !p.stalled || p.at != "fsync" && p.at != "Verify" && p.at != "Acquire"
	})
}

// current says that the books are not behind the journal: people who work on
// books that went back in time, before payouts have put them right, work on rows
// that are not true any more.
func (w *World) current() bool {
	for _, f := range w.disks {
		for _, r := range f.records {
			p := w.ledger.books.payments[recordID(r)]
			if r.Header == nil && r.ByHand == nil && (p == nil || r.Void != nil && p.State != storage.Void || r.Attempt != nil && len(p.Attempts) < r.Attempt.Count) {
				return false
			}
		}
	}
	return true
}

func recordID(r payouts.Record) string {
	switch {
	case r.Payment != nil:
		return r.Payment.ID
	case r.Attempt != nil:
		return r.Attempt.ID
	case r.Void != nil:
		return r.Void.ID
	}
	return ""
}

// send is an operator's eth.sendTransaction: the node chooses the nonce.
func (w *World) send(to common.Address, amount util.Shannon, why string) *tx {
	n := w.nodes[w.rng.IntN(len(w.nodes))]
	t := w.chain.byHand(n.next(), to, int64(amount)*gwei, w.chain.market*5/4, why)
	err, _ := n.offer(t, true)
	w.say("an operator sends %d Shannon to %s, %s: nonce %d, %s, %v", amount, to.Hex()[38:], why, t.nonce, short(t.hash), err)
	if err != nil {
		return nil
	}
	w.chain.release(t)
	return t
}

// spend uses the account for something that payouts do not know.
func (w *World) spend() {
	if w.ledger.books.meta["chainId"] == "" {
		return // what was before this ledger is nobody's business
	}
	w.spent = true
	login := w.logins[w.rng.IntN(len(w.logins))]
	switch owed := w.ledger.books.miners[login].balance; {
	case w.chance(500):
		w.send(common.HexToAddress("0xc01d"), 5, coldWallet)
	case w.chance(500):
		w.send(common.HexToAddress(login), 7, gift)
	case owed > 0:
		w.send(common.HexToAddress(login), owed, payout)
	}
}

// editRow works on a pending row while payouts are stopped. No transaction of it
// was ever sent.
func (w *World) editRow() {
	b := w.ledger.books
	var can []*storage.Payment
	for _, id := range b.openIDs() {
		p := b.payments[id]
		_, pending := b.pending[p.PendingRow()]
		if p.State == storage.Signed && pending && w.unsent(p) {
			can = append(can, p)
		}
	}
	if len(can) == 0 {
		return
	}
	p := can[w.rng.IntN(len(can))]
	if w.chance(300) {
		w.say("an operator removes the pending row of %s", p.ID)
		w.removed[p.ID] = true
		delete(b.pending, p.PendingRow())
		b.lock = ""
		return
	}
	t := w.send(p.To, p.Amount, inPlace)
	if t == nil {
		return
	}
	w.say("an operator writes %s down for payment %s", short(t.hash), p.ID)
	b.addHistory(t.hash.Hex(), p.Login, p.Amount, p.Time)
	delete(b.pending, p.PendingRow())
	if w.chance(700) {
		b.finances.pending -= p.Amount
		b.finances.paid += p.Amount
	}
	b.lock = ""
	w.typed = append(w.typed, typedRow{p.ID, w.saves, t})
}

// move takes a host that stands still for dead: its journal is copied, and
// payouts start on another one. The old process may wake up once more.
func (w *World) move() {
	f := w.files[0]
	if f.holder == nil || f.holder.command {
		return
	}
	w.say("host %s stands still while %s is before %s; payouts move", f.host, f.holder.name, f.holder.at)
	f.holder.stalled, f.holder.zombie = true, true
	w.files[0] = w.disk(fmt.Sprint("host", w.pids), f.header, slices.Clone(f.records))
	w.tookOver = false
}

func (w *World) heldByZombie(lock string) bool {
	return slices.ContainsFunc(w.procs, func(p *process) bool { return p.zombie && p.owner == lock })
}

var (
	verbInMessage    = regexp.MustCompile(` record (0x[0-9a-f]{64})`)
	lostInMessage    = regexp.MustCompile(` forget (\S+)`)
	refusedInMessage = regexp.MustCompile(`payment (\S+) (?:of \S+ )?to \S+ was refused`)
)

// read goes through the mail and does what it asks for.
func (w *World) read() {
	for _, m := range w.mail {
		w.answer(m)
	}
	w.mail = nil
	w.forget()
	if w.calm {
		w.decideHeld() // they look at the status as well
	}
}

func (w *World) answer(m string) {
	if lost := lostInMessage.FindStringSubmatch(m); lost != nil {
		w.lost = append(w.lost, lost[1])
	}
	switch asked := verbInMessage.FindStringSubmatch(m); {
	case asked != nil:
		hash := common.HexToHash(asked[1])
		if id := w.madeBy(hash); id != "" && w.adoptable(id) {
			w.order(command{verb: "adopt", payment: id, tx: hash})
			return
		}
		switch t := w.chain.known[hash]; t.why {
		case gift, coldWallet:
			w.enqueue("ignore", hash)
		case "":
			w.violate("payouts ask a person about their own transaction %s", short(hash))
		default:
			w.enqueue("record", hash)
		}
	case strings.Contains(m, "payouts are locked by"):
		lock := w.ledger.books.lock
		if lock != "" && !slices.ContainsFunc(w.procs, func(p *process) bool { return p.owner == lock && !p.zombie }) {
			w.enqueue("resolve", common.Hash{})
		}
	case refusedInMessage.MatchString(m) && w.chance(300):
		w.order(command{verb: "retry", payment: refusedInMessage.FindStringSubmatch(m)[1]})
	case strings.Contains(m, "payouts halted") && strings.Contains(m, "run once with RESOLVE_PAYOUT=1") && !strings.Contains(m, "autoResolve false: run"),
		strings.Contains(m, "RESOLVE_PAYOUT=1") && !w.cfg.AutoResolve:
		w.enqueue("resolve", common.Hash{})
	case strings.Contains(m, "payment held until you decide"):
		w.decideHeld()
	}
}

// madeBy is the held payment in whose place they sent a transaction, or "".
func (w *World) madeBy(hash common.Hash) string {
	for id, t := range w.instead {
		if t.hash == hash {
			return id
		}
	}
	return ""
}

func (w *World) adoptable(id string) bool {
	p := w.ledger.books.payments[id]
	return p != nil && p.State == storage.Held
}

func (w *World) enqueue(verb string, tx common.Hash) { w.order(command{verb: verb, tx: tx}) }

func (w *World) order(c command) {
	if !slices.Contains(w.todo, c) {
		w.todo = append(w.todo, c)
		w.need(c.verb)
	}
}

// forget gives up what they made by hand and can never be mined any more, as a
// block explorer shows.
func (w *World) forget() {
	deep := w.deep()
	for _, id := range w.lost {
		p := w.ledger.books.payments[id]
		if p == nil || p.State != storage.Sent && p.State != storage.Signed || !p.Last().ByHand {
			continue
		}
		t := w.chain.known[p.Last().Hash]
		if !w.isMined(t) && max(t.nonce, p.Nonce) < deep.nonce {
			w.order(command{verb: "forget", payment: id})
		}
	}
}

func (w *World) need(what string) { w.needed[what]++ }

// late marks what was paid by hand when payouts looked and owed the miner nothing:
// nobody asks about it.
func (w *World) late(login string) {
	if m := w.ledger.books.miners[login]; m.balance+m.pending > 0 {
		return
	}
	for _, t := range w.chain.loose {
		if _, mined := w.chain.where[t.hash]; mined && t.why == payout && loginOf(t.to) == login {
			w.unowed[t.hash] = true
		}
	}
}

func loginOf(a common.Address) string { return strings.ToLower(a.Hex()) }

// decideHeld settles payments whose pending row was removed: they are put back, by
// hand or by a verb, or made by hand and adopted.
func (w *World) decideHeld() {
	b := w.ledger.books
	for _, id := range b.openIDs() {
		p := b.payments[id]
		_, there := b.pending[p.PendingRow()]
		if p.State != storage.Held || there || slices.ContainsFunc(w.todo, func(c command) bool { return c.payment == id }) {
			continue
		}
		if !w.removed[id] {
			w.violate("payouts ask a person about payment %s, whose row nobody touched", id)
		}
		switch t := w.instead[id]; {
		case t == nil && w.chance(300) && w.still() && w.current() && w.unsent(p):
			if t := w.send(p.To, p.Amount, inPlace); t != nil {
				w.instead[id] = t
				w.typed = append(w.typed, typedRow{id, w.saves, t})
			}
		case t == nil && w.chance(500):
			w.order(command{verb: "retry", payment: id})
		case t == nil:
			w.say("an operator puts back the pending row of %s", id)
			b.pending[p.PendingRow()] = p.Time
			w.need("held")
		case w.isMined(t):
			made, block, _ := w.chain.outcomeOf(t.hash)
			deep := uint64(len(w.chain.canonical)) >= block+w.cfg.Confirmations // else they are told to wait
			if deep && !made.okay {
				delete(w.instead, id) // the recipient rejected it
			} else if deep {
				w.order(command{verb: "adopt", payment: id, tx: t.hash})
			}
		case w.deep().nonce > t.nonce:
			delete(w.instead, id) // another one has its nonce
		}
	}
}

func (w *World) isMined(t *tx) bool {
	_, mined := w.chain.where[t.hash]
	return mined
}

// deep is a block that no reorg takes away.
func (w *World) deep() *block {
	return w.chain.canonical[max(0, len(w.chain.canonical)-int(w.cfg.VoidDepth)-1)]
}

// unsent says that no transaction of a payment was ever sent, as a look at a block
// explorer shows, nor another one that could be it.
func (w *World) unsent(p *storage.Payment) bool {
	return !w.d.nodeSigns && // else nobody knows what the node made of it
		!slices.ContainsFunc(w.chain.loose, func(t *tx) bool {
			return slices.ContainsFunc(p.Attempts, func(a storage.Attempt) bool { return a.Hash == t.hash }) ||
				t.to == p.To && t.value == int64(p.Amount)*gwei && !w.booked(t)
		})
}

// supervise starts what should run: the verb that was asked for, or the daemon.
func (w *World) supervise() {
	for i, f := range w.files {
		p := f.holder
		switch {
		case p != nil && i == 0 && len(w.todo) > 0 && !p.stalled && !p.command:
			if p.cancel(); w.chance(20) {
				p.kill()
			}
		case p != nil && w.chance(1):
			w.start("second", f, daemon) // by mistake, on the same host
		case p != nil || !w.calm && !w.chance(100):
		case i == 0 && len(w.todo) > 0:
			c := w.todo[0]
			w.todo = w.todo[1:]
			if w.tries[c]++; w.tries[c]%8 != 0 { // else perhaps another time
				w.todo = append(w.todo, c)
			}
			q := w.start(c.verb, f, func(ctx context.Context, p *payouts.Payer) error {
				err := c.run(ctx, p)
				if err != nil {
					w.mail = append(w.mail, err.Error())
				} else {
					w.todo = slices.DeleteFunc(w.todo, func(o command) bool { return o == c })
				}
				return err
			})
			q.command = true
		case w.chance(800):
			w.start("daemon", f, daemon)
		default:
			w.start("run", f, func(ctx context.Context, p *payouts.Payer) error {
				_, err := p.Session(ctx)
				if err != nil {
					w.mail = append(w.mail, "payouts halted: "+err.Error())
				}
				return err
			})
		}
	}
}

func daemon(ctx context.Context, p *payouts.Payer) error { return p.Run(ctx) }

// run is the command as the binary does it.
func (c command) run(ctx context.Context, p *payouts.Payer) error {
	switch c.verb {
	case "record":
		return p.RecordByHand(ctx, c.tx)
	case "ignore":
		return p.Ignore(ctx, c.tx)
	case "forget":
		return p.Forget(ctx, c.payment)
	case "adopt":
		return p.Adopt(ctx, c.payment, c.tx)
	case "retry":
		return p.Retry(ctx, c.payment)
	}
	return p.Resolve(ctx)
}

// repeat sends again what a person sent and the nodes have lost: "if you are
// sure, just repeat it manually".
func (w *World) repeat() {
	for _, t := range w.chain.loose {
		if _, mined := w.chain.where[t.hash]; t.why == inPlace && !mined {
			for _, n := range w.nodes {
				_, _ = n.offer(t, true) // its nonce may be used by now
			}
		}
	}
}
