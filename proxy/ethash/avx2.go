//go:build goexperiment.simd && amd64

package ethash

import "simd/archsimd"

// What AVX2 does faster, in Go's own vectors. Between a use of them and the next
// clearUpper nothing should touch a floating-point register, not even by copying
// an array: mixed with AVX such instructions are slow.

// avx2 is whether this processor can run what is in this file and keccak4.go.
var avx2 = archsimd.X86.AVX2()

func clearUpper() { archsimd.ClearAVXUpperBits() }

// primes is fnvPrime for each word of half an item.
var primes = [words / 2]uint32{fnvPrime, fnvPrime, fnvPrime, fnvPrime, fnvPrime, fnvPrime, fnvPrime, fnvPrime}

// halves are the two vectors that an item is.
func (it *item) halves() (a, b *[words / 2]uint32) {
	return (*[words / 2]uint32)(it[:words/2]), (*[words / 2]uint32)(it[words/2:])
}

// fnvAVX2 mixes other into it.
func (it *item) fnvAVX2(other *item) {
	prime := archsimd.LoadUint32x8(&primes)
	a, b := it.halves()
	c, d := other.halves()
	archsimd.LoadUint32x8(a).Mul(prime).Xor(archsimd.LoadUint32x8(c)).Store(a)
	archsimd.LoadUint32x8(b).Mul(prime).Xor(archsimd.LoadUint32x8(d)).Store(b)
}
