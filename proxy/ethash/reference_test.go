package ethash

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/crypto/sha3"
)

// What follows is Ethash as its specification writes it, over slices of words,
// one share at a time. It exists to be compared with.

func refKeccak512(ws []uint32) []uint32 {
	h := sha3.NewLegacyKeccak512()
	h.Write(refBytes(ws))
	return refWords(h.Sum(nil))
}

func refBytes(ws []uint32) (b []byte) {
	for _, w := range ws {
		b = binary.LittleEndian.AppendUint32(b, w)
	}
	return b
}

func refWords(b []byte) (ws []uint32) {
	for ; len(b) > 0; b = b[4:] {
		ws = append(ws, binary.LittleEndian.Uint32(b))
	}
	return ws
}

func refFnv(a, b uint32) uint32 { return a*fnvPrime ^ b }

// refCache is mkcache of the specification.
func refCache(rows uint32, seed []byte) [][]uint32 {
	c := [][]uint32{refKeccak512(refWords(seed))}
	for i := uint32(1); i < rows; i++ {
		c = append(c, refKeccak512(c[i-1]))
	}
	for range cacheRounds {
		for i := range rows {
			v := c[i][0] % rows
			x := slices.Clone(c[(i+rows-1)%rows])
			for w := range x {
				x[w] ^= c[v][w]
			}
			c[i] = refKeccak512(x)
		}
	}
	return c
}

// refItem is calc_dataset_item.
func refItem(c [][]uint32, i uint32) []uint32 {
	rows := uint32(len(c))
	mix := slices.Clone(c[i%rows])
	mix[0] ^= i
	mix = refKeccak512(mix)
	for j := range uint32(parents) {
		parent := c[refFnv(i^j, mix[j%words])%rows]
		for w := range mix {
			mix[w] = refFnv(mix[w], parent[w])
		}
	}
	return refKeccak512(mix)
}

// refHash is hashimoto_light.
func refHash(c [][]uint32, pages uint32, w Work) Digest {
	seed := refWords(slices.Concat(w.Header[:], binary.LittleEndian.AppendUint64(nil, w.Nonce)))
	s := refKeccak512(seed)
	mix := slices.Concat(s, s)
	for i := range uint32(accesses) {
		p := refFnv(i^s[0], mix[i%uint32(len(mix))]) % pages
		page := slices.Concat(refItem(c, 2*p), refItem(c, 2*p+1))
		for k := range mix {
			mix[k] = refFnv(mix[k], page[k])
		}
	}
	var cmix []uint32
	for i := 0; i < len(mix); i += 4 {
		cmix = append(cmix, refFnv(refFnv(refFnv(mix[i], mix[i+1]), mix[i+2]), mix[i+3]))
	}
	h := sha3.NewLegacyKeccak256()
	h.Write(refBytes(s))
	h.Write(refBytes(cmix))
	return Digest{Mix: common.BytesToHash(refBytes(cmix)), Final: common.BytesToHash(h.Sum(nil))}
}

// FuzzHash compares any batch over any small cache, begun together or one after
// the other, with the reference.
func FuzzHash(f *testing.F) {
	f.Add(uint16(13), uint32(61), uint8(0), uint8(8), uint8(0), []byte("header"), uint64(7))
	f.Add(uint16(1), uint32(1), uint8(3), uint8(1), uint8(1), []byte{}, uint64(1<<63))
	f.Add(uint16(300), uint32(4_294_967_291), uint8(1), uint8(5), uint8(13), []byte("another"), ^uint64(0))
	f.Fuzz(func(t *testing.T, rows uint16, pages uint32, seeds, size, gap uint8, header []byte, nonce uint64) {
		rows, pages, size = max(1, rows%512), max(1, pages), max(1, size%(Batch+1))
		e := Epoch{Seeds: uint64(seeds % 4)}
		c, err := newCacheOf(context.Background(), uint64(rows), uint64(pages), e)
		if err != nil {
			t.Fatal(err)
		}
		seed := e.SeedHash()
		ref := refCache(uint32(rows), seed[:])
		for i := range ref {
			if !slices.Equal(ref[i], c.items[i][:]) {
				t.Fatalf("line %d of the cache is %x, want %x", i, c.items[i], ref[i])
			}
		}
		work, digests := make([]Work, size), make([]Digest, size)
		for i := range work {
			work[i] = Work{common.BytesToHash(header), nonce + uint64(i)*0x9e3779b97f4a7c15}
		}
		for _, vectors := range []bool{false, avx2} {
			h := newHasher()
			h.avx2 = vectors
			h.hash(c, work, digests, int(gap%accesses))
			for i, w := range work {
				want := refHash(ref, pages, w)
				if digests[i] != want {
					t.Fatalf("share %d of %d, AVX2 %t: %+v, want %+v", i, size, h.avx2, digests[i], want)
				}
				if got := Quick(w, want.Mix); got != want.Final {
					t.Fatalf("quick check of share %d: %s, want %s", i, got, want.Final)
				}
			}
		}
	})
}

func FuzzRemainder(f *testing.F) {
	f.Add(uint32(0), uint32(1))
	f.Add(^uint32(0), ^uint32(0))
	f.Add(^uint32(0), uint32(262139))
	f.Fuzz(func(t *testing.T, x, n uint32) {
		if n = max(1, n); divide(uint64(n)).mod(x) != x%n {
			t.Errorf("%d mod %d = %d, want %d", x, n, divide(uint64(n)).mod(x), x%n)
		}
	})
}
