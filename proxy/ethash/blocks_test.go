//go:build !race

// One goroutine's arithmetic, which the race detector makes a hundred times
// slower and has nothing to say about. make test runs it in any case.

package ethash

import (
	"context"
	"testing"
)

// Real blocks verify in batches of every size, beside work that is not theirs.
func TestRealBlocksAtEveryBatchSize(t *testing.T) {
	for _, v := range vectors(t) {
		t.Run(v.name, func(t *testing.T) {
			t.Parallel()
			c, err := newCache(context.Background(), v.rules.Epoch(v.height))
			if err != nil {
				t.Fatal(err)
			}
			h := newHasher()
			for size := 1; size <= Batch; size++ {
				work, digests := make([]Work, size), make([]Digest, size)
				at := size - 1 // FuzzHash tries every other place
				for i := range work {
					work[i] = Work{v.work.Header, v.work.Nonce + uint64(i-at)}
				}
				h.hash(c, work, digests, 9*size%accesses)
				v.check(t, digests[at])
				for i, d := range digests {
					if i != at && (d.Mix == v.mix || d.Final == digests[at].Final) {
						t.Errorf("batch of %d: share %d has the digest of share %d", size, i, at)
					}
				}
			}
			var d [1]Digest
			h.hash(c, []Work{v.work}, d[:], 0)
			if Quick(v.work, v.mix) != d[0].Final {
				t.Error("the quick check gives another final hash")
			}
		})
	}
}
