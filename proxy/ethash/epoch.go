package ethash

import (
	"math"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/crypto/sha3"
)

// Sizes in bytes and blocks (Ethash, "Definitions"; ECIP-1099).
const (
	epochBlocks   = 30_000
	etchashBlocks = 60_000
	cacheInit     = 1 << 24
	cacheGrowth   = 1 << 17
	datasetInit   = 1 << 30
	datasetGrowth = 1 << 23
	mixBytes      = 128
	itemBytes     = 64
)

// Rules say which blocks make an epoch.
type Rules struct {
	// Etchash is the first block with epochs of 60,000 blocks (ECIP-1099), or
	// [Never].
	Etchash uint64
}

// Never is a block that no chain reaches.
const Never = math.MaxUint64

// The rules of the networks that pools mine.
var (
	Ethereum = Rules{Etchash: Never}
	Classic  = Rules{Etchash: 11_700_000}
	Mordor   = Rules{Etchash: 2_520_000}
)

// Epoch is a run of blocks with one cache.
type Epoch struct {
	Number uint64 // by which cache and dataset grow
	Seeds  uint64 // how often the seed hash was hashed; twice Number with Etchash
}

// Epoch is the one that a block of this height belongs to.
func (r Rules) Epoch(height uint64) Epoch {
	if height >= r.Etchash {
		n := height / etchashBlocks
		return Epoch{Number: n, Seeds: 2 * n}
	}
	n := height / epochBlocks
	return Epoch{Number: n, Seeds: n}
}

// SeedHash is what nodes and miners call the epoch by: as many rounds of
// Keccak-256 over 32 zero bytes.
func (e Epoch) SeedHash() common.Hash {
	var seed common.Hash
	h := sha3.NewLegacyKeccak256()
	for range e.Seeds {
		h.Reset()
		h.Write(seed[:])
		h.Sum(seed[:0])
	}
	return seed
}

// CacheBytes is the size of the cache that verification needs.
func (e Epoch) CacheBytes() uint64 {
	return primeBelow((cacheInit+cacheGrowth*e.Number)/itemBytes) * itemBytes
}

// DatasetBytes is the size of the dataset (the DAG) that miners need.
func (e Epoch) DatasetBytes() uint64 {
	return primeBelow((datasetInit+datasetGrowth*e.Number)/mixBytes) * mixBytes
}

// primeBelow is the greatest prime below n.
func primeBelow(n uint64) uint64 {
	for n--; !isPrime(n); n-- {
	}
	return n
}

func isPrime(n uint64) bool {
	if n < 4 || n%2 == 0 {
		return n == 2 || n == 3
	}
	for d := uint64(3); d*d <= n; d += 2 {
		if n%d == 0 {
			return false
		}
	}
	return true
}

// SeedRounds is how often zeroes were hashed to get the seed hash, or false for
// a hash that no block in sight has.
func SeedRounds(seed common.Hash) (uint64, bool) {
	var h common.Hash
	k := sha3.NewLegacyKeccak256()
	for n := range uint64(maxSeeds) {
		if h == seed {
			return n, true
		}
		k.Reset()
		k.Write(h[:])
		k.Sum(h[:0])
	}
	return 0, false
}

// maxSeeds is where a search for a seed hash ends: block 600 million.
const maxSeeds = 20_000
