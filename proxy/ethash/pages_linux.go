package ethash

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is what one entry of the processor's page tables spans at best.
const hugePage = 2 << 20

// newItems makes n lines. It asks Linux for huge pages, because what hashing
// waits for, apart from memory, is the page tables: a fifth of the time where
// the cache is large. Linux need not heed it.
func newItems(n uint64) []item {
	items := make([]item, n)
	memory := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(items))), n*itemBytes)
	begin := -uintptr(unsafe.Pointer(unsafe.SliceData(items))) % hugePage
	if whole := uintptr(len(memory)) / hugePage * hugePage; whole > begin {
		_ = unix.Madvise(memory[begin:whole], unix.MADV_HUGEPAGE)
	}
	return items
}
