//go:build goexperiment.simd && amd64

package ethash

import "simd/archsimd"

// Keccak-512 of four items at once: word i of the four states is one vector.
// The names of the steps are those of FIPS 202, section 3.2.

// quad is one word of each of four states.
type quad = archsimd.Uint64x4

// states are four states of Keccak-f[1600] side by side.
type states [25][4]uint64

func (s *states) word(i int) quad { return archsimd.LoadUint64x4(&s[i]) }

// keccak512x4 replaces each item by its Keccak-512.
func keccak512x4(four *[4]item) {
	var s, t states
	s.absorb(four)
	for i := 0; i < len(roundConstants); i += 2 {
		s.round(&t, &roundConstants[i])
		t.round(&s, &roundConstants[i+1])
	}
	s.squeeze(four)
	clearUpper()
}

// absorb makes the states of the items, padded to one block of 72 bytes.
func (s *states) absorb(four *[4]item) {
	for half := range 2 {
		a, b, c, d := transpose(four[0].quad(half), four[1].quad(half), four[2].quad(half), four[3].quad(half))
		a.Store(&s[4*half])
		b.Store(&s[4*half+1])
		c.Store(&s[4*half+2])
		d.Store(&s[4*half+3])
	}
	for l := range s[8] {
		s[8][l] = 1 | 1<<63
	}
}

// squeeze writes the first 64 bytes of each state into its item.
func (s *states) squeeze(four *[4]item) {
	for half := range 2 {
		a, b, c, d := transpose(s.word(4*half), s.word(4*half+1), s.word(4*half+2), s.word(4*half+3))
		four[0].setQuad(half, a)
		four[1].setQuad(half, b)
		four[2].setQuad(half, c)
		four[3].setQuad(half, d)
	}
}

// quad is one half of the item.
func (it *item) quad(half int) quad {
	return archsimd.LoadUint32x8((*[words / 2]uint32)(it[half*words/2:])).AsUint64x4()
}

func (it *item) setQuad(half int, q quad) {
	q.AsUint32x8().Store((*[words / 2]uint32)(it[half*words/2:]))
}

// transpose turns rows into columns.
func transpose(a, b, c, d quad) (quad, quad, quad, quad) {
	ab, cd := a.InterleaveLoGrouped(b), c.InterleaveLoGrouped(d) // a0 b0 a2 b2, c0 d0 c2 d2
	AB, CD := a.InterleaveHiGrouped(b), c.InterleaveHiGrouped(d) // a1 b1 a3 b3, c1 d1 c3 d3
	return ab.Select128FromPair(0, 2, cd), AB.Select128FromPair(0, 2, CD), ab.Select128FromPair(1, 3, cd), AB.Select128FromPair(1, 3, CD)
}

// round does one round of the permutation from s to t.
func (s *states) round(t *states, constant *[4]uint64) {
	// θ
	a := s.word(0).Xor(s.word(5)).Xor(s.word(10)).Xor(s.word(15)).Xor(s.word(20))
	b := s.word(1).Xor(s.word(6)).Xor(s.word(11)).Xor(s.word(16)).Xor(s.word(21))
	c := s.word(2).Xor(s.word(7)).Xor(s.word(12)).Xor(s.word(17)).Xor(s.word(22))
	d := s.word(3).Xor(s.word(8)).Xor(s.word(13)).Xor(s.word(18)).Xor(s.word(23))
	e := s.word(4).Xor(s.word(9)).Xor(s.word(14)).Xor(s.word(19)).Xor(s.word(24))
	ea, ab, bc, cd, de := e.Xor(rotate(b, 1)), a.Xor(rotate(c, 1)), b.Xor(rotate(d, 1)), c.Xor(rotate(e, 1)), d.Xor(rotate(a, 1))

	// ρ and π: the five words that will be neighbours; then χ and, once, ι.
	a = s.word(0).Xor(ea)
	b = rotate(s.word(6).Xor(ab), 44)
	c = rotate(s.word(12).Xor(bc), 43)
	d = rotate(s.word(18).Xor(cd), 21)
	e = rotate(s.word(24).Xor(de), 14)
	t.row(0, a, b, c, d, e)
	t.word(0).Xor(archsimd.LoadUint64x4(constant)).Store(&t[0])

	a = rotate(s.word(3).Xor(cd), 28)
	b = rotate(s.word(9).Xor(de), 20)
	c = rotate(s.word(10).Xor(ea), 3)
	d = rotate(s.word(16).Xor(ab), 45)
	e = rotate(s.word(22).Xor(bc), 61)
	t.row(5, a, b, c, d, e)

	a = rotate(s.word(1).Xor(ab), 1)
	b = rotate(s.word(7).Xor(bc), 6)
	c = rotate(s.word(13).Xor(cd), 25)
	d = rotate(s.word(19).Xor(de), 8)
	e = rotate(s.word(20).Xor(ea), 18)
	t.row(10, a, b, c, d, e)

	a = rotate(s.word(4).Xor(de), 27)
	b = rotate(s.word(5).Xor(ea), 36)
	c = rotate(s.word(11).Xor(ab), 10)
	d = rotate(s.word(17).Xor(bc), 15)
	e = rotate(s.word(23).Xor(cd), 56)
	t.row(15, a, b, c, d, e)

	a = rotate(s.word(2).Xor(bc), 62)
	b = rotate(s.word(8).Xor(cd), 55)
	c = rotate(s.word(14).Xor(de), 39)
	d = rotate(s.word(15).Xor(ea), 41)
	e = rotate(s.word(21).Xor(ab), 2)
	t.row(20, a, b, c, d, e)
}

// row is χ of five neighbours, of which a becomes word i.
func (s *states) row(i int, a, b, c, d, e quad) {
	a.Xor(c.AndNot(b)).Store(&s[i])
	b.Xor(d.AndNot(c)).Store(&s[i+1])
	c.Xor(e.AndNot(d)).Store(&s[i+2])
	d.Xor(a.AndNot(e)).Store(&s[i+3])
	e.Xor(b.AndNot(a)).Store(&s[i+4])
}

// rotate turns each word to the left. The right shift takes its bits from a
// vector: by a constant Go 1.26 makes it with a floating-point register.
func rotate(x quad, bits uint64) quad {
	return x.ShiftAllLeft(bits).Or(x.ShiftRight(archsimd.LoadUint64x4(&rest[bits])))
}

// rest is 64 less the index, for each state.
var rest = func() (r [64][4]uint64) {
	for n := range r {
		for l := range r[n] {
			r[n][l] = uint64(64 - n)
		}
	}
	return r
}()

// roundConstants are those of ι, for each state.
var roundConstants = func() (r [24][4]uint64) {
	for i, c := range [len(r)]uint64{
		0x0000000000000001, 0x0000000000008082, 0x800000000000808a, 0x8000000080008000,
		0x000000000000808b, 0x0000000080000001, 0x8000000080008081, 0x8000000000008009,
		0x000000000000008a, 0x0000000000000088, 0x0000000080008009, 0x000000008000000a,
		0x000000008000808b, 0x800000000000008b, 0x8000000000008089, 0x8000000000008003,
		0x8000000000008002, 0x8000000000000080, 0x000000000000800a, 0x800000008000000a,
		0x8000000080008081, 0x8000000000008080, 0x0000000080000001, 0x8000000080008008,
	} {
		r[i] = [4]uint64{c, c, c, c}
	}
	return r
}()
