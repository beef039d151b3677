package ethash

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash"
	"math/bits"

	"golang.org/x/crypto/sha3"
)

const (
	words       = itemBytes / 4
	cacheRounds = 3
	fnvPrime    = 0x01000193
)

// item is one line of the cache or of the dataset: 64 bytes, little-endian.
type item [words]uint32

// cache is all that verification needs to know of an epoch. It never changes
// once it is made.
type cache struct {
	items []item
	rows  divisor // len(items)
	pages divisor // of the dataset, 128 bytes each
}

// newCache computes the cache, one line after the other, in a second or two. It
// returns early, with the context's error, when ctx ends.
func newCache(ctx context.Context, e Epoch) (*cache, error) {
	return newCacheOf(ctx, e.CacheBytes()/itemBytes, e.DatasetBytes()/mixBytes, e)
}

func newCacheOf(ctx context.Context, rows, pages uint64, e Epoch) (*cache, error) {
	c := &cache{items: newItems(rows), rows: divide(rows), pages: divide(pages)}
	k := newKeccak512()
	seed := e.SeedHash()
	k.sum(&c.items[0], seed[:])
	for i := 1; i < len(c.items); i++ {
		k.item(&c.items[i], &c.items[i-1])
	}
	var t item
	for range cacheRounds {
		prev := &c.items[rows-1]
		for i := range c.items {
			if i%(1<<14) == 0 && ctx.Err() != nil {
				return nil, fmt.Errorf("build the cache of epoch %d: %w", e.Number, context.Cause(ctx))
			}
			it := &c.items[i]
			other := &c.items[c.rows.mod(it[0])]
			for w := range t {
				t[w] = prev[w] ^ other[w]
			}
			k.item(it, &t)
			prev = it
		}
	}
	return c, nil
}

// divisor takes remainders by two multiplications instead of a division
// (Lemire, Kaser, Kurz: "Faster remainder by direct computation", 2019).
type divisor struct {
	n     uint32
	magic uint64
}

func divide(n uint64) divisor { return divisor{n: uint32(n), magic: ^uint64(0)/n + 1} }

// mod is x modulo n, exactly, for every 32-bit x.
func (d divisor) mod(x uint32) uint32 {
	hi, _ := bits.Mul64(d.magic*uint64(x), uint64(d.n))
	return uint32(hi)
}

// keccak512 hashes without allocation. It belongs to one goroutine.
type keccak512 struct {
	state keccak
	buf   [itemBytes]byte
}

// keccak is what x/crypto's legacy Keccak offers beside hash.Hash: reading the
// sum out of the state without copying that.
type keccak interface {
	hash.Hash
	Read([]byte) (int, error)
}

func newKeccak512() *keccak512 {
	return &keccak512{state: sha3.NewLegacyKeccak512().(keccak)}
}

// sum writes the hash of data into it.
func (k *keccak512) sum(it *item, data []byte) {
	k.state.Reset()
	k.state.Write(data)
	_, _ = k.state.Read(k.buf[:]) // a hash never fails
	for w := range it {
		it[w] = binary.LittleEndian.Uint32(k.buf[4*w:])
	}
}

// item writes the hash of from into it; the two may be the same.
func (k *keccak512) item(it, from *item) {
	for w, v := range from {
		binary.LittleEndian.PutUint32(k.buf[4*w:], v)
	}
	k.sum(it, k.buf[:])
}
