package proxy

import (
	"encoding/hex"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// work is a block that a node wants mined. It never changes.
type work struct {
	Header, Seed common.Hash
	Target       common.Hash // that a block has to meet
	Difficulty   int64       // of a block
	Height       uint64
	Node         string // whose work it is

	// Number counts the jobs of this process; ID is how miners name this one.
	Number uint64
	First  uint64 // the number of the first job of the same work
	ID     string
	Epoch  uint64 // as EthereumStratum/2.0.0 counts: rounds of the seed hash
	Clean  bool   // earlier jobs of a lower height are no use any more
	Since  time.Time

	forms sync.Map // form → []byte, the encoded notification
	seen  *nonces
}

// again is the same work as a new job: shares that were found for it before stay
// duplicates.
func (w *work) again() *work {
	return &work{Header: w.Header, Seed: w.Seed, Target: w.Target, Difficulty: w.Difficulty, Height: w.Height, Node: w.Node,
		First: w.First, Epoch: w.Epoch, Since: time.Now(), seen: w.seen}
}

// form is one way to tell a job: a dialect's, at a difficulty.
type form struct {
	dialect    string
	difficulty int64
}

// encoded is the job's notification in one form, made once.
func (w *work) encoded(f form, encode func() []byte) []byte {
	if b, ok := w.forms.Load(f); ok {
		return b.([]byte)
	}
	b, _ := w.forms.LoadOrStore(f, encode())
	return b.([]byte)
}

// share is how difficult a share of this job is, where a miner is asked for
// difficulty: a block is always a share.
func (w *work) share(difficulty int64) int64 { return min(difficulty, w.Difficulty) }

// nonces are those that were submitted for a job.
type nonces struct {
	mu   sync.Mutex
	seen map[uint64]struct{} // guarded by mu
}

// add says whether the nonce is new.
func (n *nonces) add(nonce uint64) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, known := n.seen[nonce]; known {
		return false
	}
	if n.seen == nil {
		n.seen = make(map[uint64]struct{})
	}
	n.seen[nonce] = struct{}{}
	return true
}

// remove forgets a nonce that was not counted after all.
func (n *nonces) remove(nonce uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.seen, nonce)
}

// backlog is how many heights below the newest a share may still be of: it may
// make an uncle, and it was on its way when the newest came.
const backlog = 3

// jobsMost bounds the jobs that are remembered: a node makes new work of every
// transaction, and a chain may stand still for hours.
const jobsMost = 1024

// board shows the present work and remembers what shares may still come for.
type board struct {
	now    atomic.Pointer[work]
	oldest atomic.Uint64 // number of a job

	mu       sync.RWMutex
	byHeader map[common.Hash]*work // guarded by mu, like the next
	byID     map[string]*work
	number   uint64
}

func newBoard() *board {
	return &board{byHeader: map[common.Hash]*work{}, byID: map[string]*work{}}
}

// post makes w the present work, in place of any of the same header.
func (b *board) post(w *work) {
	b.mu.Lock()
	defer b.mu.Unlock()
	last := b.now.Load()
	b.number++
	if w.First == 0 {
		w.First = b.number
	}
	w.Number, w.ID = b.number, strconv.FormatUint(b.number, 16)
	w.Clean = last == nil || w.Height != last.Height
	b.byHeader[w.Header], b.byID[w.ID] = w, w
	oldest := w.First
	for id, old := range b.byID {
		if old.Height+backlog < w.Height || old.Height > w.Height+backlog || old.Number+jobsMost <= w.Number {
			if b.byHeader[old.Header] == old { // else it is a job again
				delete(b.byHeader, old.Header)
			}
			delete(b.byID, id)
			continue
		}
		oldest = min(oldest, old.First)
	}
	b.oldest.Store(oldest)
	b.now.Store(w)
}

// header finds the job with the header hash, or nil when it is too old or none.
func (b *board) header(h common.Hash) *work {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.byHeader[h]
}

// id finds the job that miners know by that name.
func (b *board) id(id string) *work {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.byID[id]
}

// limit is 2^256.
var limit = new(big.Int).Lsh(common.Big1, 256)

// targetOf is the highest hash that meets a difficulty (in hashes on average).
func targetOf(difficulty int64) common.Hash {
	if difficulty <= 1 {
		return common.MaxHash
	}
	return common.BigToHash(new(big.Int).Div(limit, big.NewInt(difficulty)))
}

// difficultyOf is what a target comes to, in hashes; more than an int64 holds is
// the most it holds.
func difficultyOf(target common.Hash) int64 {
	t := target.Big()
	if t.Sign() == 0 {
		return math.MaxInt64
	}
	d := new(big.Int).Div(limit, t)
	if !d.IsInt64() {
		return math.MaxInt64
	}
	return d.Int64()
}

// meets says whether a hash is at or below the target.
func meets(hash, target common.Hash) bool { return hash.Cmp(target) <= 0 }

// parseWork reads what eth_getWork returned. A node that does not say the height
// is asked for it by the caller.
func parseWork(parts []string) (w *work, height bool, err error) {
	if len(parts) < 3 {
		return nil, false, fmt.Errorf("work of %d parts, want 3 or 4", len(parts))
	}
	w = &work{seen: new(nonces), Target: common.HexToHash(parts[2])} // which some nodes write without its leading zeros
	var ok, ok1 bool
	w.Header, ok = parseHash(parts[0])
	w.Seed, ok1 = parseHash(parts[1])
	if !ok || !ok1 || w.Target == (common.Hash{}) {
		return nil, false, fmt.Errorf("work %.200q, want two hashes and a target", parts)
	}
	w.Difficulty = difficultyOf(w.Target)
	if len(parts) < 4 {
		return w, false, nil
	}
	if w.Height, err = strconv.ParseUint(trim0x(parts[3]), 16, 64); err != nil {
		return nil, false, fmt.Errorf("work of height %q, want a hex number", parts[3])
	}
	return w, true, nil
}

func trim0x(s string) string {
	if len(s) >= 2 && s[0] == '0' && (s[1] == 'x' || s[1] == 'X') {
		return s[2:]
	}
	return s
}

// bare is a hash as the mining.* dialects write it, without 0x.
func bare(h common.Hash) string { return hex.EncodeToString(h[:]) }
