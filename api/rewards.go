package api

import (
	"context"
	"errors"
	"math"
	"slices"
	"strconv"
	"sync"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// How much of what blocks brought is remembered: a million entries take 20 MB.
const (
	rewardBlocks  = 1000
	rewardEntries = 1_000_000
	// rewardBudget is how many entries one cycle may read, apart from the first.
	rewardBudget      = 20_000
	rewardBudgetFirst = 200_000
	// rewardsShown are in an account's answer: as many as its page shows at first.
	rewardsShown = 15
)

// rewards remembers what the newest blocks brought to whom. The cycle writes,
// accounts read.
type rewards struct {
	mu       sync.RWMutex // of all below
	numbers  map[string]uint32
	blocks   []*blockCredits // newest first, immature ones before
	complete int64           // unix seconds from which on no block is missing

	// The blocks that the miner with a number is in: places[starts[n]:starts[n+1]],
	// newest first. He is in few of them.
	starts []uint32
	places []uint16 // of blocks; there are at most rewardBlocks
}

// blockCredits is one block, and who gets what of it, by miners' numbers, lowest
// first.
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
// than those given. An ErrMalformed says what was left out.
func (r *rewards) sync(ctx context.Context, db *storage.DB, immature, matured []storage.Block, more bool, budget int) error {
	var bad []error
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
		if len(list) >= rewardBlocks || entries >= rewardEntries || c == nil && budget <= 0 {
			complete = b.Time + 1
			break
		}
		if c == nil {
			read, err := db.BlockCredits(ctx, b, pending)
			if err != nil && !errors.Is(err, storage.ErrMalformed) {
				return err
			}
			bad = append(bad, err)
			c = r.number(key, b, pending, read)
			budget -= len(read) + 1
		}
		entries += len(c.who)
		list = append(list, c)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.complete = complete
	if !slices.Equal(list, r.blocks) {
		r.blocks = list
		r.index()
	}
	return errors.Join(bad...)
}

// index finds everybody's places.
func (r *rewards) index() {
	starts := make([]uint32, len(r.numbers)+1)
	for _, c := range r.blocks {
		for _, n := range c.who {
			starts[n+1]++
		}
	}
	for n := 1; n < len(starts); n++ {
		starts[n] += starts[n-1]
	}
	places, next := make([]uint16, starts[len(starts)-1]), slices.Clone(starts)
	for i, c := range r.blocks {
		for _, n := range c.who {
			places[next[n]] = uint16(i)
			next[n]++
		}
	}
	r.starts, r.places = starts, places
}

func (r *rewards) number(key string, b storage.Block, pending bool, read map[string]util.Shannon) *blockCredits {
	r.mu.Lock()
	defer r.mu.Unlock()
	c := &blockCredits{key: key, block: b, pending: pending, who: make([]uint32, 0, len(read)), amounts: make([]util.Shannon, 0, len(read))}
	amounts := make(map[uint32]util.Shannon, len(read))
	for login, amount := range read {
		n, ok := r.numbers[login]
		if !ok {
			n = uint32(len(r.numbers))
			r.numbers[login] = n
		}
		c.who = append(c.who, n)
		c.total += amount
		amounts[n] = amount
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
	if !ok || int(n)+1 >= len(r.starts) { // met by a cycle that goes on, or failed
		return list, r.complete
	}
	places := r.places[r.starts[n]:r.starts[n+1]]
	list = slices.Grow(list, len(places))
	for _, at := range places {
		c := r.blocks[at]
		entry, _ := slices.BinarySearch(c.who, n) // he is in it
		amount := c.amounts[entry]
		if amount == 0 {
			continue
		}
		list = append(list, rewardView{Height: c.block.Height, Timestamp: c.block.Time, Hash: c.block.Hash, Amount: amount,
			Share: sixDigits(ratio(int64(amount), int64(c.total))), Luck: sixDigits(ratio(c.block.Shares, c.block.Difficulty)), Kind: kindOf(c.block), Immature: c.pending, UncleHeight: c.block.UncleHeight})
	}
	return list, r.complete
}

// fourDigits rounds a hashrate of a chart to what its shares can tell, and more than a
// chart can show. In an account's answer the points are a third of what is kept.
func fourDigits(n int64) int64 {
	unit := int64(1)
	for n/unit >= 10_000 {
		unit *= 10
	}
	return (n + unit/2) / unit * unit
}

// sixDigits rounds what is shown in percent. More digits are noise, which no
// compression makes smaller.
func sixDigits(f float64) float64 { return math.Round(f*1e6) / 1e6 }
