package chain

import (
	"testing"
	"time"
)

// newTestMiner is the miner of a node that nobody can reach.
func newTestMiner(t *testing.T, cfg Config) *miner {
	t.Helper()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	stack, err := n.stack(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stack.Close(); err != nil {
			t.Error(err)
		}
	})
	backend, err := n.backend(stack)
	if err != nil {
		t.Fatal(err)
	}
	if err := stack.Start(); err != nil {
		t.Fatal(err)
	}
	if err := backend.StartMining(0); err != nil {
		t.Fatal(err)
	}
	return newMiner(backend, cfg)
}

func TestMempoolHasSeenTheBlockWhenMineReturns(t *testing.T) {
	m := newTestMiner(t, DefaultConfig())
	for range 50 {
		if _, err := m.mine(t.Context(), 1, m.fill); err != nil {
			t.Fatal(err)
		}
		if head := m.chain.CurrentBlock(); !m.pool.at(head.Root()) {
			t.Fatalf("the mempool has not seen block %d", head.NumberU64())
		}
	}
}

// Blocks after a long pause are easier, so that one more of them may weigh
// less than those they are to replace.
func TestReorgWinsThoughTheDifficultyFell(t *testing.T) {
	cfg := DefaultConfig()
	cfg.Difficulty = 4096
	m := newTestMiner(t, cfg)
	now := time.Now()
	m.now = func() time.Time { return now }
	head, err := m.mine(t.Context(), 200, empty)
	if err != nil {
		t.Fatal(err)
	}
	old := m.chain.CurrentBlock()
	now = now.Add(time.Hour)
	got, err := m.reorg(t.Context(), 60, false)
	if err != nil {
		t.Fatal(err)
	}
	if got <= head+1 || m.chain.CurrentBlock().NumberU64() != got || m.chain.GetCanonicalHash(head) == old.Hash() {
		t.Errorf("head went from %d to %d, and the chain's is %d", head, got, m.chain.CurrentBlock().NumberU64())
	}
}
