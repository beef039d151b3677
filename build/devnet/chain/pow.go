package chain

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"fmt"
	"hash"
	"math/big"
	"math/rand/v2"
	"runtime"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/crypto/sha3"
)

// Sizes of Ethash (the Ethash specification, revision 23), in bytes unless
// they say otherwise. The test sizes are those of geth's ethash.ModeTest.
const (
	epochBlocks    = 30000
	rowBytes       = 64
	rowWords       = rowBytes / 4
	mixBytes       = 128
	mixWords       = mixBytes / 4
	cacheInit      = 1 << 24
	cacheGrowth    = 1 << 17
	cacheRounds    = 3
	datasetInit    = 1 << 30
	datasetGrowth  = 1 << 23
	datasetParents = 256
	accesses       = 64
	testCache      = 1 << 10
	testDataset    = 1 << 15
)

// pow searches and checks Ethash nonces. It exists beside geth's engine because
// that one searches only with the whole dataset, which at real sizes is 1 GiB
// and minutes of work. Here a real dataset is computed row by row from its
// cache, a thousand times slower and ready at once; difficulties of a devnet
// allow for that. Every block found is verified again by geth's own engine.
type pow struct {
	test bool // the tiny sizes of geth's test mode

	mu     sync.Mutex
	epochs map[uint64]*epoch // by number; guarded by mu
}

func newPow(test bool) *pow {
	return &pow{test: test, epochs: make(map[uint64]*epoch)}
}

// epoch returns the tables for a block, and computes them on the first use: a
// third of a second at real sizes, nothing in test mode.
func (p *pow) epoch(block uint64) *epoch {
	n := block / epochBlocks
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.epochs[n]
	if e == nil {
		e = newEpoch(n, p.test)
		p.epochs[n] = e
	}
	return e
}

// verify reports whether nonce and mix seal the header hash at or below target.
func (p *pow) verify(block uint64, header common.Hash, nonce uint64, mix common.Hash, target *big.Int) bool {
	got, result := p.epoch(block).hashimoto(newHasher(), header, nonce)
	return got == mix && result.Big().Cmp(target) <= 0
}

// search finds a nonce that seals the header hash at the difficulty, with all
// processors, or returns why ctx ended first.
func (p *pow) search(ctx context.Context, block uint64, header common.Hash, difficulty *big.Int) (uint64, common.Hash, error) {
	type found struct {
		nonce uint64
		mix   common.Hash
	}
	target := targetOf(difficulty)
	e := p.epoch(block)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()

	workers := runtime.GOMAXPROCS(0)
	results := make(chan found, workers)
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			h := newHasher()
			for nonce := rand.Uint64(); ctx.Err() == nil; nonce++ {
				mix, result := e.hashimoto(h, header, nonce)
				if result.Big().Cmp(target) <= 0 {
					results <- found{nonce, mix}
					cancel()
					return
				}
			}
		})
	}
	wg.Wait()
	select {
	case f := <-results:
		return f.nonce, f.mix, nil
	default:
		return 0, common.Hash{}, fmt.Errorf("seal block %d: %w", block, context.Cause(ctx))
	}
}

// targetOf is the highest result a seal of the difficulty may have.
func targetOf(difficulty *big.Int) *big.Int {
	limit := new(big.Int).Lsh(common.Big1, 256)
	return limit.Div(limit, difficulty)
}

// row is the unit of the cache and of the dataset.
type row [rowWords]uint32

// epoch holds what Ethash needs to know for 30,000 blocks in a row. It never
// changes once built.
type epoch struct {
	cache []row
	full  []row  // the whole dataset; only in test mode, where it is 32 KiB
	pages uint32 // pairs of rows in the dataset
}

func newEpoch(n uint64, test bool) *epoch {
	h := newHasher()
	seed := make([]byte, 32)
	for range n {
		h.keccak256(seed, seed)
	}
	if !test {
		size := primeSize(datasetInit+datasetGrowth*n-mixBytes, mixBytes)
		return &epoch{
			cache: newCache(h, primeSize(cacheInit+cacheGrowth*n-rowBytes, rowBytes), seed),
			pages: uint32(size / mixBytes),
		}
	}
	e := &epoch{cache: newCache(h, testCache, seed), pages: testDataset / mixBytes}
	full := make([]row, testDataset/rowBytes)
	for i := range full {
		e.row(h, &full[i], uint32(i))
	}
	e.full = full
	return e
}

// primeSize is the largest size not above limit that is a prime number of units.
func primeSize(limit, unit uint64) uint64 {
	for !new(big.Int).SetUint64(limit / unit).ProbablyPrime(1) { // exact below 2^64
		limit -= 2 * unit
	}
	return limit
}

// newCache fills size bytes from the seed: first a chain of hashes, then rounds
// of RandMemoHash over it.
func newCache(h *hasher, size uint64, seed []byte) []row {
	rows := int(size / rowBytes)
	raw := make([]byte, size)
	at := func(i int) []byte { return raw[i*rowBytes:][:rowBytes] }

	h.keccak512(at(0), seed)
	for i := 1; i < rows; i++ {
		h.keccak512(at(i), at(i-1))
	}
	var mixed [rowBytes]byte
	for range cacheRounds {
		for i := range rows {
			a := at((i + rows - 1) % rows)
			b := at(int(binary.LittleEndian.Uint32(at(i)) % uint32(rows)))
			subtle.XORBytes(mixed[:], a, b)
			h.keccak512(at(i), mixed[:])
		}
	}
	cache := make([]row, rows)
	for i := range cache {
		toWords(cache[i][:], at(i))
	}
	return cache
}

// row writes one row of the dataset.
func (e *epoch) row(h *hasher, out *row, index uint32) {
	if e.full != nil {
		*out = e.full[index]
		return
	}
	rows := uint32(len(e.cache))
	*out = e.cache[index%rows]
	out[0] ^= index
	h.keccak512Words(out)
	for i := range uint32(datasetParents) {
		parent := &e.cache[fnv(index^i, out[i%rowWords])%rows]
		for k := range out {
			out[k] = fnv(out[k], parent[k])
		}
	}
	h.keccak512Words(out)
}

// hashimoto is Ethash itself: 64 dependent reads of the dataset, folded into
// the mix digest, and the result that is compared with a target.
func (e *epoch) hashimoto(h *hasher, header common.Hash, nonce uint64) (mix, result common.Hash) {
	var seed [rowBytes + len(mix)]byte // the seed, later followed by the mix
	copy(seed[:], header[:])
	binary.LittleEndian.PutUint64(seed[len(header):], nonce)
	h.keccak512(seed[:rowBytes], seed[:len(header)+8])

	var words [mixWords]uint32
	var page [2]row
	toWords(words[:rowWords], seed[:])
	copy(words[rowWords:], words[:rowWords])
	first := words[0]
	for i := range uint32(accesses) {
		n := fnv(i^first, words[i%mixWords]) % e.pages
		for half := range page {
			e.row(h, &page[half], 2*n+uint32(half))
			for k, w := range page[half] {
				words[half*rowWords+k] = fnv(words[half*rowWords+k], w)
			}
		}
	}
	for i := range len(mix) / 4 {
		w := words[4*i:][:4]
		binary.LittleEndian.PutUint32(mix[4*i:], fnv(fnv(fnv(w[0], w[1]), w[2]), w[3]))
	}
	copy(seed[rowBytes:], mix[:])
	h.keccak256(result[:], seed[:])
	return mix, result
}

func fnv(a, b uint32) uint32 { return a*0x01000193 ^ b }

// toWords decodes little-endian words until dst is full.
func toWords(dst []uint32, src []byte) {
	for i := range dst {
		dst[i] = binary.LittleEndian.Uint32(src[4*i:])
	}
}

// hasher is the two hashes of Ethash with their state kept between calls, so
// that a search does not allocate. It belongs to one goroutine.
type hasher struct {
	k256, k512 keccak
	buf        [rowBytes]byte
}

// keccak is what sha3's legacy hashes implement; Read spares the copy of the
// state that Sum makes.
type keccak interface {
	hash.Hash
	Read([]byte) (int, error)
}

func newHasher() *hasher {
	return &hasher{k256: sha3.NewLegacyKeccak256().(keccak), k512: sha3.NewLegacyKeccak512().(keccak)}
}

// keccak256 writes the hash of src to the first 32 bytes of dst; they may overlap.
func (h *hasher) keccak256(dst, src []byte) { sum(h.k256, dst[:32], src) }

// keccak512 writes the hash of src to the first 64 bytes of dst; they may overlap.
func (h *hasher) keccak512(dst, src []byte) { sum(h.k512, dst[:64], src) }

// keccak512Words replaces one row by its hash.
func (h *hasher) keccak512Words(r *row) {
	for i, w := range r {
		binary.LittleEndian.PutUint32(h.buf[4*i:], w)
	}
	h.keccak512(h.buf[:], h.buf[:])
	toWords(r[:], h.buf[:])
}

// sum discards the results of Write and Read: neither can fail on a hash.
func sum(k keccak, dst, src []byte) {
	k.Reset()
	_, _ = k.Write(src)
	_, _ = k.Read(dst)
}
