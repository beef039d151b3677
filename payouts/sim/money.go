package sim

import (
	"fmt"
	"strings"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// The fields of a row that money moves between.
func balance(m *money) *util.Shannon { return &m.balance }

func pending(m *money) *util.Shannon { return &m.pending }

func paid(m *money) *util.Shannon { return &m.paid }

type field func(*money) *util.Shannon

// movable refuses amounts that a script refuses.
func (b *books) movable(login string, amount util.Shannon, from, to field) error {
	miner, totals := b.miners[login], b.finances
	for _, m := range []*money{&miner, &totals} {
		if amount <= 0 || amount > util.MaxShannon || *from(m)-amount < -util.MaxShannon || *to(m)+amount > util.MaxShannon {
			return fmt.Errorf("%w: %d Shannon cannot move", storage.ErrConflict, amount)
		}
	}
	return nil
}

// backed says whether a miner has the amount pending.
func (b *books) backed(login string, amount util.Shannon) bool {
	return b.miners[login].pending >= amount
}

func (b *books) move(login string, amount util.Shannon, from, to field) {
	m := b.miners[login]
	for _, row := range []*money{&m, &b.finances} {
		*from(row) -= amount
		*to(row) += amount
	}
	b.miners[login] = m
}

// settleByHand moves pending to paid wherever the operator has not done so.
func (b *books) settleByHand(login string, amount, rest util.Shannon) {
	left := b.sumPending() + rest
	if parts := strings.Split(b.opening["*"], ":"); len(parts) == 4 {
		before, _ := util.ParseShannon(parts[1]) // written by OpenBooks
		left += before
	}
	m := b.miners[login]
	for row, does := range map[*money]bool{&m: m.pending >= amount, &b.finances: b.finances.pending-left >= amount} {
		if does {
			row.pending -= amount
			row.paid += amount
		}
	}
	b.miners[login] = m
}
