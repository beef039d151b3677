//go:build !goexperiment.simd || !amd64

package ethash

// Without vectors, none of the functions below is called.
const avx2 = false

func clearUpper()              {}
func (it *item) fnvAVX2(*item) {}
func keccak512x4(*[4]item)     {}
