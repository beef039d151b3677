package api

import (
	"context"
	"math"
	"slices"
	"strconv"
	"sync"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// How much of what blocks brought is remembered: a million entries take 12 MB.
const (
	rewardBlocks  = 1000
	rewardEntries = 1_000_000
	// rewardBudget is how many entries one cycle may read, apart from the first.
	rewardBudget      = 20_000
	rewardBudgetFirst = 200_000
)

// rewards remembers what the newest blocks brought to whom. The cycle writes,
// accounts read.
type rewards struct {
	mu       sync.RWMutex // of all below
	numbers  map[string]uint32
	blocks   []*blockCredits // newest first, immature ones before
	complete int64           // unix seconds from which on no block is missing
}

// blockCredits is one block, and by miners' numbers, in order, what they get.
type blockCredits struct {
	key     string
	block   storage.Block
	pending bool // immature
	total   util.Shannon
	who     []uint32
	amounts []util.Shannon
}

func newRewards() *rewards { return &rewards{numbers: map[string]uint32{}, complete: math.MaxInt64} }

// sync reads the credits of blocks that are new, newest first, until the budget
// is used up; the rest follows next time. more says that there are older blocks
// than those given.
func (r *rewards) sync(ctx context.Context, db *storage.DB, immature, matured []storage.Block, more bool, budget int) error {
	known := map[string]*blockCredits{}
	for _, c := range r.blocks { // only this goroutine writes
		known[c.key] = c
	}
	var list []*blockCredits
	entries, complete := 0, int64(0)
	if more && len(matured) > 0 {
		complete = matured[len(matured)-1].Time + 1
	}
	for i, b := range slices.Concat(immature, matured) {
		if b.Orphan {
			continue
		}
		pending := i < len(immature)
		key := strconv.FormatUint(b.Height, 10) + b.Hash + strconv.FormatBool(pending)
		c := known[key]
		if c == nil && budget > 0 {
			read, err := db.BlockCredits(ctx, b, pending)
			if err != nil {
				return err
			}
			c = r.number(key, b, pending, read)
			budget -= len(read) + 1
		}
		if c == nil || len(list) >= rewardBlocks || entries+len(c.who) > rewardEntries {
			complete = b.Time + 1
			break
		}
		entries += len(c.who)
		list = append(list, c)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.blocks, r.complete = list, complete
	return nil
}

func (r *rewards) number(key string, b storage.Block, pending bool, read map[string]util.Shannon) *blockCredits {
	r.mu.Lock()
	defer r.mu.Unlock()
	amounts := make(map[uint32]util.Shannon, len(read))
	c := &blockCredits{key: key, block: b, pending: pending, who: make([]uint32, 0, len(read)), amounts: make([]util.Shannon, 0, len(read))}
	for login, amount := range read {
		n, ok := r.numbers[login]
		if !ok {
			n = uint32(len(r.numbers))
			r.numbers[login] = n
		}
		amounts[n] = amount
		c.who = append(c.who, n)
		c.total += amount
	}
	slices.Sort(c.who)
	for _, n := range c.who {
		c.amounts = append(c.amounts, amounts[n])
	}
	return c
}

// of lists a miner's rewards, newest blocks first, and from when on none is
// missing (unix seconds).
func (r *rewards) of(login string) (list []rewardView, complete int64) {
	r.mu.RLock()
	defer r.mu.RUnlock()
	list = []rewardView{}
	n, ok := r.numbers[login]
	if !ok {
		return list, r.complete
	}
	for _, c := range r.blocks {
		i, ok := slices.BinarySearch(c.who, n)
		if !ok || c.amounts[i] == 0 {
			continue
		}
		list = append(list, rewardView{Height: c.block.Height, Timestamp: c.block.Time, Hash: c.block.Hash, Amount: c.amounts[i],
			Share: ratio(int64(c.amounts[i]), int64(c.total)), Luck: ratio(c.block.Shares, c.block.Difficulty), Kind: kindOf(c.block), Immature: c.pending})
	}
	return list, r.complete
}
