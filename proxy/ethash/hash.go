package ethash

import (
	"encoding/binary"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/crypto/sha3"
)

const (
	accesses = 64  // pages of the dataset that a hash visits
	parents  = 256 // lines of the cache that make a line of the dataset

	// Batch is how many shares a worker hashes in lock step.
	Batch = 8
	lanes = 2 * Batch // each page is two lines
)

// Work is what a miner claims to have worked on.
type Work struct {
	Header common.Hash // of the block without its seal
	Nonce  uint64
}

// Digest is what the work comes to.
type Digest struct {
	Mix   common.Hash // the block's mix digest
	Final common.Hash // as a number, to be compared with a target
}

// Quick is the final hash if the mix were right, for the price of two Keccaks.
// Above the target it refutes a share; below it proves nothing.
func Quick(w Work, mix common.Hash) common.Hash {
	q := quicks.Get().(*quick)
	defer quicks.Put(q)
	q.k512.seed(&q.seed, w)
	return q.k256.final(&q.seed, mix)
}

// quick is the room for one quick check.
type quick struct {
	k512 *keccak512
	k256 *keccak256
	seed item
}

var quicks = sync.Pool{New: func() any { return &quick{k512: newKeccak512(), k256: newKeccak256()} }}

// seed is the hash of the header and the nonce, from which all else follows.
func (k *keccak512) seed(it *item, w Work) {
	copy(k.buf[:], w.Header[:])
	binary.LittleEndian.PutUint64(k.buf[common.HashLength:], w.Nonce)
	k.sum(it, k.buf[:common.HashLength+8])
}

// keccak256 makes the final hash without allocation. It belongs to one goroutine.
type keccak256 struct {
	state keccak
	buf   [itemBytes + common.HashLength]byte
}

func newKeccak256() *keccak256 {
	return &keccak256{state: sha3.NewLegacyKeccak256().(keccak)}
}

func (k *keccak256) final(seed *item, mix common.Hash) (h common.Hash) {
	for w, v := range seed {
		binary.LittleEndian.PutUint32(k.buf[4*w:], v)
	}
	copy(k.buf[itemBytes:], mix[:])
	k.state.Reset()
	k.state.Write(k.buf[:])
	_, _ = k.state.Read(k.buf[:len(h)])
	copy(h[:], k.buf[:])
	return h
}

// hasher is the room of one worker. A share may come whenever there is room, and
// leaves when it is done: those under way need not have begun together.
type hasher struct {
	k512 *keccak512
	k256 *keccak256

	n        int // shares under way, all on one cache
	requests [Batch]*request
	done     [Batch]uint32 // accesses, of each
	seeds    [Batch]item
	mixes    [lanes]item // two lines a share
	lines    [lanes]item // of the dataset, being made
	index    [lanes]uint32

	avx2    bool   // whether to use it; the tests do without, too
	touched uint32 // keeps the compiler from leaving out a read
}

func newHasher() *hasher { return &hasher{k512: newKeccak512(), k256: newKeccak256(), avx2: avx2} }

// add begins a share, for which there must be room.
func (h *hasher) add(r *request) {
	i := h.n
	h.n++
	h.k512.seed(&h.seeds[i], r.work)
	h.mixes[2*i], h.mixes[2*i+1] = h.seeds[i], h.seeds[i]
	h.requests[i], h.done[i] = r, 0
}

// step takes every share that is under way one access further, without allocation,
// and answers those that this was the last one of.
func (h *hasher) step() {
	n, c := h.n, h.requests[0].cache
	for i := range n {
		access := h.done[i]
		word := h.mixes[2*i+int(access/words%2)][access%words]
		page := c.pages.mod((access^h.seeds[i][0])*fnvPrime ^ word)
		h.index[2*i], h.index[2*i+1] = 2*page, 2*page+1
		h.done[i]++
	}
	h.dataset(c, 2*n)
	for l := range 2 * n {
		mix, line := &h.mixes[l&(lanes-1)], &h.lines[l&(lanes-1)]
		for w := range mix {
			mix[w] = mix[w]*fnvPrime ^ line[w]
		}
	}
	for i := n - 1; i >= 0; i-- {
		if h.done[i] == accesses {
			h.finish(i)
		}
	}
}

// finish answers a share, and lets the last one take its place.
func (h *hasher) finish(i int) {
	r := h.requests[i]
	compress(&r.digest.Mix, &h.mixes[2*i], &h.mixes[2*i+1])
	r.digest.Final = h.k256.final(&h.seeds[i], r.digest.Mix)
	h.n--
	last := h.n
	h.requests[i], h.done[i], h.seeds[i] = h.requests[last], h.done[last], h.seeds[last]
	h.mixes[2*i], h.mixes[2*i+1] = h.mixes[2*last], h.mixes[2*last+1]
	h.requests[last] = nil
	r.done <- struct{}{}
}

// compress folds the mix of 128 bytes into its digest of 32.
func compress(digest *common.Hash, a, b *item) {
	for half, it := range [2]*item{a, b} {
		for w := 0; w < words; w += 4 {
			v := ((it[w]*fnvPrime^it[w+1])*fnvPrime^it[w+2])*fnvPrime ^ it[w+3]
			binary.LittleEndian.PutUint32(digest[16*half+w:], v)
		}
	}
}

// dataset computes the first n lines of h.index into h.lines. Before a round it
// touches all the cache lines that this needs, with nothing in between, so that
// the processor fetches them at the same time.
func (h *hasher) dataset(c *cache, n int) {
	items, rows := c.items, c.rows
	lines, index := &h.lines, &h.index
	for l := range n {
		lines[l] = items[rows.mod(index[l])]
	}
	for l := range n {
		lines[l][0] ^= index[l]
	}
	h.keccak(n)
	var from [lanes]*item // the cache line that each waits for; not in h, where the garbage collector would watch the writing
	for l := range n {
		from[l] = &items[rows.mod(index[l]*fnvPrime^lines[l][0])]
	}
	vectors, touched := avx2 && h.avx2, h.touched
	for round := range uint32(parents) {
		for _, it := range from[:n] {
			touched ^= it[0]
		}
		next := (round + 1) % words
		for l := range n {
			line, it := &lines[l&(lanes-1)], from[l&(lanes-1)]
			if vectors {
				line.fnvAVX2(it)
			} else {
				line[0] = line[0]*fnvPrime ^ it[0]
				line[1] = line[1]*fnvPrime ^ it[1]
				line[2] = line[2]*fnvPrime ^ it[2]
				line[3] = line[3]*fnvPrime ^ it[3]
				line[4] = line[4]*fnvPrime ^ it[4]
				line[5] = line[5]*fnvPrime ^ it[5]
				line[6] = line[6]*fnvPrime ^ it[6]
				line[7] = line[7]*fnvPrime ^ it[7]
				line[8] = line[8]*fnvPrime ^ it[8]
				line[9] = line[9]*fnvPrime ^ it[9]
				line[10] = line[10]*fnvPrime ^ it[10]
				line[11] = line[11]*fnvPrime ^ it[11]
				line[12] = line[12]*fnvPrime ^ it[12]
				line[13] = line[13]*fnvPrime ^ it[13]
				line[14] = line[14]*fnvPrime ^ it[14]
				line[15] = line[15]*fnvPrime ^ it[15]
			}
			from[l&(lanes-1)] = &items[rows.mod((index[l&(lanes-1)]^(round+1))*fnvPrime^line[next])]
		}
	}
	h.touched = touched
	if vectors {
		clearUpper()
	}
	h.keccak(n)
}

// keccak hashes each of the first n lines.
func (h *hasher) keccak(n int) {
	if !avx2 || !h.avx2 {
		for l := range n {
			h.k512.item(&h.lines[l], &h.lines[l])
		}
		return
	}
	for l := 0; l < n; l += 4 { // beyond n there is room, and nothing of worth
		keccak512x4((*[4]item)(h.lines[l : l+4]))
	}
}
