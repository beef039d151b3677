package storage

import (
	"errors"
	"fmt"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"pgregory.net/rapid"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// modelBooks mirror what the books should say, in plain arithmetic.
type modelBooks struct {
	*books
	rows     map[string]*[3]util.Shannon // balance, pending, paid by login
	payments []*modelPayment
	old      []PendingRow
	next     uint64
	dead     map[uint64]string
	serial   int
	recorded []*Payment // made by hand
}

// modelPayment is one payment as it should stand.
type modelPayment struct {
	*Payment
	row bool // its pending row is there
}

const (
	balance = iota
	pending
	paid
)

func (m *modelBooks) move(login string, amount util.Shannon, from, to int) {
	m.rows[login][from] -= amount
	m.rows[login][to] += amount
}

// busy says whether the miner has a payment that is not sent, or an old row.
func (m *modelBooks) busy(login string) bool {
	for _, p := range m.payments {
		if p.Login == login && (p.State == Signed || p.State == Held) {
			return true
		}
	}
	for _, r := range m.old {
		if r.Login == login {
			return true
		}
	}
	return false
}

func (m *modelBooks) heldAmount() (sum util.Shannon) {
	for _, p := range m.payments {
		if p.State == Held {
			sum += p.Amount
		}
	}
	return sum
}

// newHash is a transaction that never was before.
func (m *modelBooks) newHash() common.Hash {
	m.serial++
	return common.HexToHash(fmt.Sprintf("0x%x", 0xfeed0000+m.serial))
}

func (m *modelBooks) login(t *rapid.T) string {
	return rapid.SampledFrom([]string{alice, bob, carol}).Draw(t, "login")
}

// any is one of the payments, or nil when there is none yet. An action that finds
// nothing it could do does nothing; another one is drawn after it.
func (m *modelBooks) any(t *rapid.T) *modelPayment {
	if len(m.payments) == 0 {
		return nil
	}
	return rapid.SampledFrom(m.payments).Draw(t, "payment")
}

// expect compares a verb's verdict with the model's and is true when the verb
// was to do something. It repeats what succeeded.
func expect(t *rapid.T, want error, do func() error) bool {
	err := do()
	if !errors.Is(err, want) || (want == nil) != (err == nil) {
		t.Fatalf("error is %v, want %v", err, want)
	}
	if want == nil {
		if err := do(); err != nil {
			t.Fatalf("repeated: %v", err)
		}
	}
	return want == nil
}

func (m *modelBooks) draft(t *rapid.T) *modelPayment {
	m.serial++
	amount := util.Shannon(rapid.IntRange(1, 400).Draw(t, "amount"))
	p := pay(m.next, m.login(t), amount, signedAs(m.newHash()))
	p.ID = fmt.Sprintf("%d-%d", m.next, m.serial)
	return &modelPayment{Payment: p, row: true}
}

func (m *modelBooks) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"credit": func(t *rapid.T) {
			login, amount := m.login(t), util.Shannon(rapid.IntRange(1, 500).Draw(t, "amount"))
			m.credit(login, amount)
			m.rows[login][balance] += amount
		},
		"open": func(t *rapid.T) {
			p := m.draft(t)
			for _, q := range m.payments {
				if q.Login == p.Login && q.State == Held || q.Login == p.Login && q.State == Signed && !q.row {
					return // payouts does not open a second one
				}
			}
			var want error
			if m.busy(p.Login) || p.Amount > m.rows[p.Login][balance] {
				want = ErrConflict
			}
			if expect(t, want, func() error { return one(m.lease.Open(ctx, "", p.Payment)) }) {
				m.move(p.Login, p.Amount, balance, pending)
				m.payments = append(m.payments, p)
				m.next++
			}
		},
		"reinstate": func(t *rapid.T) {
			p := m.draft(t)
			if p.Amount > m.rows[p.Login][balance] {
				return // the audit calls a negative balance wrong
			}
			expect(t, nil, func() error { return one(m.lease.Reinstate(ctx, p.Payment)) })
			m.move(p.Login, p.Amount, balance, paid)
			p.State, p.Hash, p.row = Sent, p.Last().Hash, false
			m.payments = append(m.payments, p)
			m.next++
		},
		"attempt": func(t *rapid.T) {
			p := m.any(t)
			if p == nil {
				return
			}
			if p.State != Signed && p.State != Sent {
				return // not open
			}
			before := len(p.Attempts)
			p.Attempts = append(p.Attempts, Attempt{Hash: m.newHash(), AtBlock: 200})
			expect(t, nil, func() error { return m.lease.Attempts(ctx, p.Payment, before) })
		},
		"sent": func(t *rapid.T) {
			p := m.any(t)
			if p == nil {
				return
			}
			var want error
			switch {
			case p.State == Signed && !p.row:
				want = ErrByHand
			case p.State == Signed, (p.State == Sent || p.State == Final) && p.Hash == p.Last().Hash:
			default:
				want = ErrConflict
			}
			newest := *p.Payment
			newest.Hash = p.Last().Hash
			if expect(t, want, func() error { return one(m.lease.Sent(ctx, later, &newest)) }) && p.State == Signed {
				m.move(p.Login, p.Amount, pending, paid)
				p.State, p.Hash, p.row = Sent, p.Last().Hash, false
			}
		},
		"final": func(t *rapid.T) {
			p := m.any(t)
			if p == nil {
				return
			}
			was := p.Hash
			winner := rapid.SampledFrom(p.Attempts).Draw(t, "winner").Hash
			q := *p.Payment
			mined(winner)(&q)
			var want error
			switch {
			case p.State == Void, p.State == Final && winner != was, p.State == Held && p.row:
				want = ErrConflict
			case p.State == Signed && !p.row:
				want = ErrByHand
			}
			if !expect(t, want, func() error { return one(m.lease.Final(ctx, later, m.heldAmount(), &q)) }) {
				return
			}
			if p.State == Signed || p.State == Held {
				m.move(p.Login, p.Amount, pending, paid)
			}
			p.State, p.Hash, p.row = Final, winner, false
		},
		"unfinal": func(t *rapid.T) {
			p := m.any(t)
			if p == nil {
				return
			}
			var want error
			if p.State != Final && p.State != Sent {
				want = ErrConflict
			}
			if expect(t, want, func() error { return m.lease.Unfinal(ctx, p.Payment, "a reorg") }) {
				p.State = Sent
			}
		},
		"void": func(t *rapid.T) {
			p := m.any(t)
			if p == nil {
				return
			}
			fate := rapid.SampledFrom([]NonceFate{NonceFree, NonceOwn, NonceForeign(m.newHash())}).Draw(t, "fate")
			var want error
			switch {
			case p.State == Final, p.State == Held:
				want = ErrConflict
			case p.State == Signed && !p.row:
				want = ErrByHand
			}
			if !expect(t, want, func() error { return m.lease.Void(ctx, p.Payment, fate, "why", "") }) || p.State == Void {
				return
			}
			m.move(p.Login, p.Amount, map[State]int{Signed: pending, Sent: paid}[p.State], balance)
			p.State, p.row = Void, false
			switch {
			case fate == NonceFree && p.Nonce == m.next-1:
				m.next--
			case fate == NonceFree:
				m.dead[p.Nonce] = "dead:" + p.ID
			}
		},
		"fill a dead nonce": func(t *rapid.T) {
			for nonce, bound := range m.dead {
				f := fill(nonce, signedAs(m.newHash()))
				f.ID = fmt.Sprintf("%d-fill-%d", nonce, m.serial)
				expect(t, nil, func() error { return one(m.lease.Open(ctx, bound, f)) })
				expect(t, nil, func() error { return one(m.lease.Sent(ctx, later, f)) })
			}
			clear(m.dead)
		},
		"remove the pending row by hand": func(t *rapid.T) {
			if p := m.any(t); p != nil && p.State == Signed && p.row {
				m.removeRow(p.Payment)
				p.row = false
			}
		},
		"put the pending row back by hand": func(t *rapid.T) {
			if p := m.any(t); p != nil && (p.State == Signed || p.State == Held) && !p.row {
				m.putRow(p.Login, p.Amount)
				p.row = true
			}
		},
		"hold": func(t *rapid.T) {
			p := m.any(t)
			if p == nil {
				return
			}
			var want error
			if p.State != Held && (p.State != Signed || p.row) {
				want = ErrConflict
			}
			if expect(t, want, func() error { return m.lease.Hold(ctx, p.Payment, "gone") }) {
				p.State = Held
			}
		},
		"unhold": func(t *rapid.T) {
			p := m.any(t)
			if p == nil {
				return
			}
			var want error
			if p.State != Signed && (p.State != Held || !p.row) {
				want = ErrConflict
			}
			if expect(t, want, func() error { return m.lease.Unhold(ctx, p.Payment) }) {
				p.State = Signed
			}
		},
		"pay by hand and write it down": func(t *rapid.T) {
			p := m.any(t)
			if p == nil {
				return
			}
			if p.State != Held && p.State != Signed || p.row && p.State == Held {
				return // not open
			}
			if p.row {
				m.removeRow(p.Payment)
			}
			q := *p.Payment
			q.Hash = m.newHash()
			q.Attempts = append(q.Attempts, Attempt{Hash: q.Hash, ByHand: true})
			if rapid.Bool().Draw(t, "stored") {
				m.storeByHand(q.Hash, &q)
			}
			// Held payments of others would make the totals ambiguous.
			if m.heldAmount() == 0 && rapid.Bool().Draw(t, "stats") {
				m.updateStats(q.Amount)
			}
			// What was removed and is not held yet stays pending in the totals as well.
			rest := m.heldAmount()
			for _, o := range m.payments {
				if o != p && o.State == Signed && !o.row {
					rest += o.Amount
				}
			}
			expect(t, nil, func() error { return m.lease.Adopt(ctx, &q, later, rest, "by hand") })
			m.move(p.Login, p.Amount, pending, paid)
			q.State = Sent
			p.Payment, p.row = &q, false
		},
		"foreign": func(t *rapid.T) {
			tx := m.newHash()
			expect(t, nil, func() error { return m.lease.Foreign(ctx, account, m.next, tx, "", nil) })
			m.next++
		},
		"record": func(t *rapid.T) {
			p := m.draft(t)
			if p.Amount > m.rows[p.Login][balance] {
				return // the audit calls a negative balance wrong
			}
			expect(t, nil, func() error { return m.lease.Record(ctx, p.Login, p.Amount, p.Last().Hash, later) })
			m.move(p.Login, p.Amount, balance, paid)
			m.recorded = append(m.recorded, p.Payment)
		},
		"record again": func(t *rapid.T) {
			if len(m.recorded) == 0 {
				return // nothing recorded yet
			}
			p := rapid.SampledFrom(m.recorded).Draw(t, "recorded")
			expect(t, nil, func() error { return m.lease.Record(ctx, p.Login, p.Amount, p.Last().Hash, later+1) })
		},
		"an older pool debits": func(t *rapid.T) {
			login, amount := m.login(t), util.Shannon(rapid.IntRange(1, 400).Draw(t, "amount"))
			if m.busy(login) || amount > m.rows[login][balance] {
				return // an older pool does not
			}
			m.oldDebit(login, amount)
			m.move(login, amount, balance, pending)
			m.old = append(m.old, PendingRow{Login: login, Amount: amount, Time: opened})
		},
		"settle an old row": func(t *rapid.T) {
			if len(m.old) == 0 {
				return // no old row
			}
			r := m.old[0]
			m.old = m.old[1:]
			if rapid.Bool().Draw(t, "paid") {
				tx := m.newHash()
				expect(t, nil, func() error { return m.lease.PaidOld(ctx, r, tx, later) })
				m.move(r.Login, r.Amount, pending, paid)
				return
			}
			expect(t, nil, func() error { return m.lease.CreditBackOld(ctx, r) })
			m.move(r.Login, r.Amount, pending, balance)
		},
		"bury": func(t *rapid.T) {
			p := m.any(t)
			if p == nil {
				return
			}
			var want error
			if p.State != Final {
				want = ErrConflict
			}
			expect(t, want, func() error { return m.lease.Bury(ctx, p.Payment) })
		},
		"": m.check,
	}
}

// check runs after every action: the rows say what the model says, every
// payment is in its state, and the audit finds nothing.
func (m *modelBooks) check(t *rapid.T) {
	total := Miner{}
	for login, want := range m.rows {
		got, err := m.db.Miner(ctx, login)
		if errors.Is(err, ErrNotFound) {
			err = nil
		}
		if err != nil || got.Balance != want[balance] || got.Pending != want[pending] || got.Paid != want[paid] {
			t.Fatalf("%s has balance %s, pending %s, paid %s, %v; want %v", login, got.Balance, got.Pending, got.Paid, err, *want)
		}
		total.Balance, total.Pending, total.Paid = total.Balance+got.Balance, total.Pending+got.Pending, total.Paid+got.Paid
	}
	if f, err := m.db.Finances(ctx); f != total || err != nil {
		t.Fatalf("the totals are %v, %v; want %v", f, err, total)
	}
	unheld := false
	for _, p := range m.payments {
		got, err := m.db.Payments(ctx, p.ID)
		if err != nil || got[0].State != p.State || len(got[0].Attempts) != len(p.Attempts) {
			t.Fatalf("payment %s is %v, %v; want %s", p.ID, got, err, p.State)
		}
		unheld = unheld || p.State == Signed && !p.row
	}
	if meta, err := m.db.Meta(ctx); err != nil || meta.NextNonce != m.next {
		t.Fatalf("the next nonce is %d, %v; want %d", meta.NextNonce, err, m.next)
	}
	if unheld {
		return // the audit says so until it is held
	}
	r, err := m.db.Audit(ctx)
	if err != nil || !r.Clean() {
		t.Fatalf("audit: %v, %v", r.Findings, err)
	}
}

func TestBooksAddUpAfterAnythingThatMayHappen(t *testing.T) {
	b := newBooks(t)
	rapid.Check(t, func(t *rapid.T) {
		b.begin()
		m := &modelBooks{books: b, next: first, dead: map[uint64]string{},
			rows: map[string]*[3]util.Shannon{alice: {1000}, bob: {500}, carol: {}}}
		t.Repeat(m.actions())
	})
}
