package sim

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// auditor adds the books up by the equations of storage.DB.Audit.
type auditor struct {
	books    *books
	miners   map[string]*sums
	overpaid map[string]bool // a person recorded more for him than he was owed
	findings []string
}

// sums are one miner's money by what the rows say.
type sums struct{ rows, history, held util.Shannon }

// audit lists what is wrong with the books, in a few words each.
func audit(b *books, overpaid map[string]bool) []string {
	a := auditor{books: b, miners: map[string]*sums{}, overpaid: overpaid}
	a.rows()
	a.nonces()
	a.totals()
	return a.findings
}

func (a *auditor) wrong(format string, args ...any) {
	a.findings = append(a.findings, fmt.Sprintf(format, args...))
}

func (a *auditor) of(login string) *sums {
	s := a.miners[login]
	if s == nil {
		s = new(sums)
		a.miners[login] = s
	}
	return s
}

// rows adds up pending rows, history and held payments, and looks for each
// payment's own row.
func (a *auditor) rows() {
	b := a.books
	for row := range b.pending {
		login, amount, _ := strings.Cut(row, ":")
		n, _ := util.ParseShannon(amount) // every row in here is ours
		a.of(login).rows += n
	}
	seen := map[common.Hash]bool{}
	for _, row := range slices.Sorted(maps.Keys(b.all)) {
		parts := strings.Split(row, ":")
		hash, good := typedHash(parts[0])
		if len(parts) != 3 || !good {
			a.wrong("the history has a row %q", row)
			continue
		}
		if seen[hash] {
			a.wrong("transaction %s is in the history twice", hash)
		}
		seen[hash] = true
		n, _ := util.ParseShannon(parts[2]) // every row in here is ours
		a.of(parts[1]).history += n
	}
	for _, id := range slices.Concat(b.openIDs(), slices.Sorted(maps.Keys(b.finals))) {
		p := b.payments[id]
		if p.Kind != storage.ToMiner {
			continue
		}
		_, isPending := b.pending[p.PendingRow()]
		_, isPaid := b.all[p.Hash.Hex()+":"+p.PendingRow()]
		switch {
		case p.State == storage.Held && !isPending:
			a.of(p.Login).held += p.Amount
		case p.State == storage.Held:
		case p.State == storage.Signed && !isPending:
			a.wrong("signed payment %s has no pending row", id)
		case p.State != storage.Signed && !isPaid:
			a.wrong("payment %s, which was sent, is not in the history", id)
		}
	}
}

func (a *auditor) nonces() {
	b := a.books
	if b.meta["chainId"] == "" {
		return
	}
	bound := b.nonces[common.HexToAddress(b.meta["account"])]
	next := b.number("nextNonce")
	for n := b.number("firstNonce"); n < next; n++ {
		if bound[n] == "" {
			a.wrong("nonce %d is bound to nothing", n)
		}
	}
	for _, n := range slices.Sorted(maps.Keys(bound)) {
		if n >= next {
			a.wrong("nonce %s is bound, the next is %d", strconv.FormatUint(n, 10), next)
		}
	}
}

func (a *auditor) totals() {
	b := a.books
	total := money{}
	logins := maps.Clone(a.miners)
	for login := range b.miners {
		logins[login] = a.of(login)
	}
	for _, login := range slices.Sorted(maps.Keys(logins)) {
		m, s, o := b.miners[login], logins[login], b.openingOf(login)
		total.balance, total.pending, total.paid = total.balance+m.balance, total.pending+m.pending, total.paid+m.paid
		if m.balance < 0 && !a.overpaid[login] || m.pending < 0 || m.paid < 0 {
			a.wrong("miner %s has something negative: %v", login, m)
		}
		if got, want := m.balance+m.pending+m.paid, b.brought[login]+o.balance; b.opening["*"] != "" && got != want {
			a.wrong("miner %s has %d in all, his blocks brought %d", login, got, want)
		}
		if m.pending != s.rows+s.held+o.pending {
			a.wrong("miner %s has %d pending, his rows and held payments %d", login, m.pending, s.rows+s.held+o.pending)
		}
		if m.paid != s.history+o.paid {
			a.wrong("miner %s has %d paid, his history %d", login, m.paid, s.history+o.paid)
		}
	}
	f, o := b.finances, b.openingOf("*")
	if want := (money{total.balance + o.balance, total.pending + o.pending, total.paid + o.paid}); f != want {
		a.wrong("the totals are %v, the sums %v", f, want)
	}
}
