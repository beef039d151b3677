package ethash

import (
	"time"

	"golang.org/x/sys/unix"
)

// slice is how long a hashing thread asks to run at a time: the longest that
// Linux grants.
const slice = 100 * time.Millisecond

// unhurried lets every thread that wakes run at once, before the calling one has
// used up its slice: Linux favours those that ask for shorter slices, as all do
// that ask for none. What wakes is a miner's line, or Redis's answer, and done
// in microseconds; to wait for a hash costs it milliseconds. Linux before 6.12
// need not heed it.
func unhurried() {
	if attr, err := unix.SchedGetAttr(0, 0); err == nil && attr.Policy == unix.SCHED_NORMAL {
		attr.Runtime = uint64(slice)
		_ = unix.SchedSetAttr(0, attr, 0)
	}
}
