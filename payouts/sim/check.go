package sim

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

func (w *World) violate(format string, args ...any) {
	v := fmt.Sprintf(format, args...)
	w.say("VIOLATION: %s", v)
	w.violations = append(w.violations, fmt.Sprintf("step %d, block %d: %s", w.steps, w.chain.head().number, v))
}

// check is what holds after every block: nobody received more than was credited
// to him, but for what people sent him past the books.
func (w *World) check() {
	for _, login := range w.logins {
		to := common.HexToAddress(login)
		if got, may := w.chain.received[to], int64(w.earned[login])*gwei+w.byOperators(to); got > may {
			w.violate("%s received %d Shannon, %d were credited", login, got/gwei, may/gwei)
		}
	}
}

// byOperators is what people sent to an address past the books, in Wei.
func (w *World) byOperators(to common.Address) (sum int64) {
	for _, t := range w.chain.loose {
		if _, mined := w.chain.where[t.hash]; mined && t.to == to && (t.why == gift || t.why == payout) && !w.ours(t) {
			if o, _, _ := w.chain.outcomeOf(t.hash); o.okay {
				sum += t.value
			}
		}
	}
	return sum
}

// booked says that a person's transaction is in the history.
func (w *World) booked(t *tx) bool {
	_, is := w.ledger.books.all[fmt.Sprintf("%s:%s:%d", t.hash.Hex(), loginOf(t.to), t.value/gwei)]
	return is
}

// ours says that a payment has taken a person's transaction for its own.
func (w *World) ours(t *tx) bool {
	p := w.ledger.books.payments[w.ledger.books.hashes[t.hash]]
	return p != nil && p.State != storage.Void
}

// checkFinals is what a reorg shallower than payouts.confirmations must leave:
// every payment that was shown as final.
func (w *World) checkFinals(before []*block, depth int) {
	if depth >= realConfirmations(w) {
		return
	}
	b := w.ledger.books
	for _, id := range slices.Sorted(maps.Keys(b.finals)) {
		p := b.payments[id]
		if p.Block < uint64(len(before)) && before[p.Block].hash == p.BlockHash && w.chain.canonical[p.Block].hash != p.BlockHash {
			w.violate("payment %s was final, and a reorg of %d blocks took it away", id, depth)
		}
	}
}

// realConfirmations is what the configuration says, whatever the mistake.
func realConfirmations(w *World) int { return int(w.cfg.Confirmations) }

// quiet says that there is nothing left to do.
func (w *World) quiet() bool {
	b := w.ledger.books
	if len(b.inflight) > 0 || len(b.pending) > 0 || len(w.todo) > 0 || len(w.mail) > 0 || b.meta["halt"] != "" {
		return false
	}
	for _, m := range b.miners {
		if m.balance >= threshold {
			return false
		}
	}
	return true
}

// checkRest is what holds when nothing has gone wrong for long.
func (w *World) checkRest() {
	b := w.ledger.books
	if !w.quiet() {
		w.violate("no rest: %s", w.unrest())
		return
	}
	overpaid := map[string]bool{}
	for _, t := range w.chain.loose {
		if t.why == payout && w.booked(t) {
			overpaid[loginOf(t.to)] = true
		}
	}
	for _, finding := range audit(b, overpaid) {
		if strings.HasPrefix(finding, "the totals") && len(w.typed)+len(w.removed) > 1 {
			// Of two rows that people work on at the same time nobody can tell for
			// which they changed the totals; the audit shows it, and they see to it.
			w.need("totals")
			continue
		}
		w.violate("audit: %s", finding)
	}
	paid := map[string]util.Shannon{}
	for _, id := range slices.Sorted(maps.Keys(b.payments)) {
		p := b.payments[id]
		if p.Kind != storage.ToMiner || p.State == storage.Void {
			continue
		}
		paid[p.Login] += p.Amount
		if o, _, there := w.chain.outcomeOf(p.Hash); !there || !o.okay || o.to != p.To {
			w.violate("payment %s is %s by %s, which paid nobody", id, p.State, short(p.Hash))
		}
	}
	for _, bl := range w.chain.canonical {
		for _, o := range bl.txs {
			id := b.hashes[o.hash]
			if o.okay && o.why == "" && o.value > 0 && (id == "" || b.payments[id] == nil || b.payments[id].Hash != o.hash || b.payments[id].State != storage.Final) {
				w.violate("transaction %s in block %d is no payment of the books", short(o.hash), bl.number)
			}
		}
	}
	for _, login := range w.logins {
		w.checkMiner(login, paid[login])
	}
}

// checkMiner: everything that was credited is on the balance or was paid, by a
// payment or by an operator's transaction that was recorded.
func (w *World) checkMiner(login string, payments util.Shannon) {
	b, recorded := w.ledger.books, util.Shannon(0)
	for _, t := range w.chain.loose {
		if t.why != payout && t.why != inPlace || t.to != common.HexToAddress(login) {
			continue
		}
		o, _, mined := w.chain.outcomeOf(t.hash)
		switch {
		case w.ours(t):
		case w.booked(t):
			recorded += util.Shannon(t.value / gwei)
		case mined && o.okay && !w.unowed[t.hash]:
			w.violate("%s was paid %d Shannon by hand by %s, and the books do not know it: its nonce %d is bound to %q", login, t.value/gwei, short(t.hash), t.nonce, b.nonces[poolAccount][t.nonce])
		}
	}
	m := b.miners[login]
	if m.paid != payments+recorded {
		w.violate("%s has %d paid, the payments are %d and %d were recorded", login, m.paid, payments, recorded)
	}
	if m.balance+m.paid != w.earned[login] {
		w.violate("%s has %d on the balance and %d paid, %d were credited", login, m.balance, m.paid, w.earned[login])
	}
}

// unrest says in words what keeps the world from rest.
func (w *World) unrest() string {
	b, text := w.ledger.books, ""
	for _, id := range b.openIDs() {
		p := b.payments[id]
		text += fmt.Sprintf("payment %s is %s; ", id, p.State)
	}
	for _, login := range slices.Sorted(maps.Keys(b.miners)) {
		if m := b.miners[login]; m.balance >= threshold {
			text += fmt.Sprintf("%s is owed %d; ", login, m.balance)
		}
	}
	if h := b.meta["halt"]; h != "" {
		text += "halted: " + h + "; "
	}
	if s := b.meta["sessionResult"]; s != "" {
		text += "last session: " + s + "; "
	}
	if len(w.mail) > 0 {
		text += "last error: " + w.mail[len(w.mail)-1]
	}
	return text
}
