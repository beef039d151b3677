package sim

import (
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// money is one row of the books: a miner's, or the totals.
type money struct{ balance, pending, paid util.Shannon }

// books are what Redis holds. Records in them are replaced, never changed in
// place, so that a copy is cheap.
type books struct {
	lock     string
	meta     map[string]string
	payments map[string]*storage.Payment
	nonces   map[common.Address]map[uint64]string
	hashes   map[common.Hash]string
	strays   map[common.Hash]common.Address
	inflight map[string]uint64 // id → nonce
	finals   map[string]uint64 // id → block
	miners   map[string]money
	finances money
	pending  map[string]int64            // LOGIN:AMOUNT → unix seconds
	all      map[string]int64            // HASH:LOGIN:AMOUNT → unix seconds
	own      map[string]map[string]int64 // login → HASH:AMOUNT → unix seconds
	rejects  map[string]string
	skipped  map[string]string
	opening  map[string]string
	oldTx    map[string]string // LOGIN:AMOUNT → the hash that open-etc-pool wrote

	// credits are the unlocker's own rows: which rewards have been credited. They
	// go back in time with the rest.
	credits map[int]bool
	brought map[string]util.Shannon // what they sum up to, by login
	// counter is for the mistake of numbering the owners of the lock.
	counter int
}

func newBooks() *books {
	return &books{
		meta: map[string]string{}, payments: map[string]*storage.Payment{}, nonces: map[common.Address]map[uint64]string{},
		hashes: map[common.Hash]string{}, strays: map[common.Hash]common.Address{}, inflight: map[string]uint64{}, finals: map[string]uint64{}, miners: map[string]money{},
		pending: map[string]int64{}, all: map[string]int64{}, own: map[string]map[string]int64{}, rejects: map[string]string{},
		skipped: map[string]string{}, opening: map[string]string{}, oldTx: map[string]string{}, credits: map[int]bool{},
		brought: map[string]util.Shannon{},
	}
}

// oneBlock is a matured block that brings everybody everything.
const (
	oneBlockHash = "0x0000000000000000000000000000000000000000000000000000000000000001"
	oneBlock     = "0:0:0x0000000000000001:" + oneBlockHash + ":1:1:1:0"
)

// clone is a snapshot of the books.
func (b *books) clone() *books {
	c := *b
	c.meta, c.payments, c.hashes = maps.Clone(b.meta), maps.Clone(b.payments), maps.Clone(b.hashes)
	c.inflight, c.finals, c.miners = maps.Clone(b.inflight), maps.Clone(b.finals), maps.Clone(b.miners)
	c.pending, c.all, c.rejects = maps.Clone(b.pending), maps.Clone(b.all), maps.Clone(b.rejects)
	c.skipped, c.opening, c.oldTx, c.credits = maps.Clone(b.skipped), maps.Clone(b.opening), maps.Clone(b.oldTx), maps.Clone(b.credits)
	c.brought, c.strays = maps.Clone(b.brought), maps.Clone(b.strays)
	c.nonces = make(map[common.Address]map[uint64]string, len(b.nonces))
	for a, m := range b.nonces {
		c.nonces[a] = maps.Clone(m)
	}
	c.own = make(map[string]map[string]int64, len(b.own))
	for login, m := range b.own {
		c.own[login] = maps.Clone(m)
	}
	return &c
}

func (b *books) step() uint64 { return b.number("step") }

func (b *books) number(field string) uint64 {
	n, _ := strconv.ParseUint(b.meta[field], 10, 64) // absent is 0
	return n
}

// suspect writes down to whom a transaction that is nobody's moved something; nil says
// that it is no payout.
func (b *books) suspect(tx common.Hash, to *common.Address) {
	if to == nil {
		delete(b.strays, tx)
	} else {
		b.strays[tx] = *to
	}
}

func (b *books) suspected(tx common.Hash, to *common.Address) bool {
	has, is := b.strays[tx]
	return is == (to != nil) && (to == nil || has == *to)
}

// bind writes down what a nonce is bound to.
func (b *books) bind(account common.Address, nonce uint64, to string) {
	m := b.nonces[account]
	if m == nil {
		m = map[uint64]string{}
		b.nonces[account] = m
	}
	m[nonce] = to
}

// addHistory writes a payment into both histories; drop takes it out.
func (b *books) addHistory(tx, login string, amount util.Shannon, at int64) {
	b.all[tx+":"+login+":"+amount.String()] = at
	if b.own[login] == nil {
		b.own[login] = map[string]int64{}
	}
	b.own[login][tx+":"+amount.String()] = at
}

func (b *books) dropHistory(tx, login string, amount util.Shannon) {
	delete(b.all, tx+":"+login+":"+amount.String())
	delete(b.own[login], tx+":"+amount.String())
}

// credit is what the unlocker does with a matured reward, once.
func (b *books) credit(n int, login string, amount util.Shannon) {
	if b.credits[n] {
		return
	}
	b.credits[n] = true
	b.brought[login] += amount
	m := b.miners[login]
	m.balance += amount
	b.miners[login] = m
	b.finances.balance += amount
}

// dump writes the books as Redis would show them: key → field, or member → value.
// Empty words are left out, because Redis keeps some of them and some not.
func (b *books) dump(k storage.Keys) map[string]map[string]string {
	out := map[string]map[string]string{}
	put := func(key, field, value string) {
		if value == "" {
			return
		}
		if out[key] == nil {
			out[key] = map[string]string{}
		}
		out[key][field] = value
	}
	words := func(key string, m map[string]string) {
		for f, v := range m {
			put(key, f, v)
		}
	}
	scores := func(key string, m map[string]int64) {
		for f, v := range m {
			put(key, f, strconv.FormatInt(v, 10))
		}
	}
	put(k.PaymentsLock(), "", b.lock)
	words(k.Meta(), b.meta)
	words(k.Rejects(), b.rejects)
	words(k.Skipped(), b.skipped)
	words(k.Opening(), b.opening)
	for login, amount := range b.brought {
		put(k.Matured(), oneBlock, "1")
		put(k.Credits(1, oneBlockHash), login, amount.String())
	}
	words(k.PendingHashes(), b.oldTx)
	scores(k.PaymentsPending(), b.pending)
	scores(k.PaymentsAll(), b.all)
	for login, m := range b.own {
		scores(k.Payments(login), m)
	}
	for account, m := range b.nonces {
		for n, v := range m {
			put(k.Nonces(account), strconv.FormatUint(n, 10), v)
		}
	}
	for h, to := range b.strays {
		put(k.Strays(), h.Hex(), to.Hex())
	}
	for h, id := range b.hashes {
		put(k.Hashes(), h.Hex(), id)
	}
	for id, n := range b.inflight {
		put(k.Inflight(), id, strconv.FormatUint(n, 10))
	}
	for id, n := range b.finals {
		put(k.Finals(), id, strconv.FormatUint(n, 10))
	}
	row := func(key string, m money) {
		for f, v := range map[string]util.Shannon{"balance": m.balance, "pending": m.pending, "paid": m.paid} {
			if v != 0 {
				put(key, f, v.String())
			}
		}
	}
	for login, m := range b.miners {
		row(k.Miner(login), m)
	}
	row(k.Finances(), b.finances)
	for id, p := range b.payments {
		key := k.Payment(id)
		attempts, _ := json.Marshal(p.Attempts) // as it was written
		for f, v := range map[string]string{
			"state": string(p.State), "kind": string(p.Kind), "login": p.Login, "amount": p.Amount.String(),
			"time": strconv.FormatInt(p.Time, 10), "account": p.Account.Hex(), "nonce": strconv.FormatUint(p.Nonce, 10),
			"to": p.To.Hex(), "value": p.Value.String(), "gas": strconv.FormatUint(p.Gas, 10), "replaces": p.Replaces,
			"tries": strconv.Itoa(len(p.Attempts)), "attempts": string(attempts), "hash": hexOrEmpty(p.Hash), "why": p.Why,
			"blockHash": hexOrEmpty(p.BlockHash),
		} {
			put(key, f, v)
		}
		if p.FeeWei != nil {
			put(key, "fee", p.FeeWei.String())
		}
		if p.Block != 0 {
			put(key, "block", strconv.FormatUint(p.Block, 10))
		}
	}
	return out
}

func hexOrEmpty(h common.Hash) string {
	if h == (common.Hash{}) {
		return ""
	}
	return h.Hex()
}

// sumPending adds up the pending rows.
func (b *books) sumPending() (sum util.Shannon) {
	for row := range b.pending {
		_, amount, _ := strings.Cut(row, ":")
		n, _ := util.ParseShannon(amount) // every row in here is ours
		sum += n
	}
	return sum
}

// openIDs lists what is in flight, by nonce.
func (b *books) openIDs() []string {
	return slices.SortedFunc(maps.Keys(b.inflight), func(x, y string) int {
		if b.inflight[x] != b.inflight[y] {
			return int(int64(b.inflight[x]) - int64(b.inflight[y]))
		}
		return strings.Compare(x, y)
	})
}
