//go:build !linux

package ethash

func newItems(n uint64) []item { return make([]item, n) }
