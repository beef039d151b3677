package chain

import (
	"context"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"
)

// serve runs a node until the test ends.
func serve(t *testing.T, cfg Config) *rpc.Client {
	t.Helper()
	n, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan Ready, 1), make(chan error, 1)
	go func() { ended <- n.Run(ctx, func(r Ready) { started <- r }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run ended with %v", err)
		}
	})
	select {
	case r := <-started:
		client, err := rpc.Dial(r.HTTP)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return client
	case err := <-ended:
		ended <- err
		t.Fatalf("Run ended with %v", err)
		return nil
	}
}

// outsider is a miner that works through eth_getWork with its own solver.
type outsider struct {
	t    *testing.T
	node *rpc.Client
	pow  *pow
}

type task struct {
	header, seed, target common.Hash
	block                uint64
}

// work waits for work on a block.
func (o outsider) work(block uint64) task {
	o.t.Helper()
	for {
		var w [4]string
		if err := o.node.Call(&w, "eth_getWork"); err == nil && w[3] == hexutil.EncodeUint64(block) {
			return task{common.HexToHash(w[0]), common.HexToHash(w[1]), common.HexToHash(w[2]), block}
		}
		time.Sleep(5 * time.Millisecond) // geth prepares work in the background
	}
}

func (o outsider) solve(w task) (types.BlockNonce, common.Hash) {
	o.t.Helper()
	difficulty := targetOf(w.target.Big()) // the division is its own inverse, but for a remainder
	nonce, mix, err := o.pow.search(o.t.Context(), w.block, w.header, difficulty.Add(difficulty, common.Big1))
	if err != nil {
		o.t.Fatal(err)
	}
	return types.EncodeNonce(nonce), mix
}

func (o outsider) submit(nonce types.BlockNonce, header, mix common.Hash) (ok bool) {
	o.t.Helper()
	if err := o.node.Call(&ok, "eth_submitWork", nonce, header, mix); err != nil {
		o.t.Fatal(err)
	}
	return ok
}

func (o outsider) uncles(block uint64) (count hexutil.Uint64) {
	o.t.Helper()
	if err := o.node.Call(&count, "eth_getUncleCountByBlockNumber", hexutil.Uint64(block)); err != nil {
		o.t.Fatal(err)
	}
	return count
}

func TestOutsidersMineThroughGetWork(t *testing.T) {
	for _, tc := range []struct {
		name       string
		real       bool
		difficulty uint64
	}{
		{"with the sizes of test mode", false, 500},
		{"with Ethash's real sizes", true, 20},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := DefaultConfig()
			cfg.RealPow, cfg.Difficulty = tc.real, tc.difficulty
			node := serve(t, cfg)
			o := outsider{t, node, newPow(!tc.real)}

			w := o.work(1)
			nonce, mix := o.solve(w)
			if o.submit(nonce, w.header, common.Hash{1}) {
				t.Error("a wrong mix was accepted")
			}
			if o.submit(nonce, common.Hash{1}, mix) {
				t.Error("work that nobody gave was accepted")
			}
			if !o.submit(nonce, w.header, mix) {
				t.Fatal("a solution was refused")
			}
			// A second solution of the same work is a sibling, then an uncle.
			second := nonce
			for second == nonce {
				second, mix = o.solve(w)
			}
			if !o.submit(second, w.header, mix) {
				t.Error("a second solution was refused")
			}

			// Geth's worker takes the sibling in as soon as it has heard of it.
			head := uint64(1)
			for head < 7 && o.uncles(head) == 0 {
				head++
				w = o.work(head)
				nonce, mix = o.solve(w)
				if !o.submit(nonce, w.header, mix) {
					t.Fatalf("a solution on block %d was refused", head-1)
				}
				o.work(head + 1)
			}
			if o.uncles(head) != 1 {
				t.Errorf("up to block %d the sibling is no uncle", head)
			}
			// Our own blocks build on theirs, sealed and verified the same way.
			want := head + 2
			if err := node.Call(&head, "devnet_mine", 2); err != nil || head != want {
				t.Errorf("head is %d, %v, want %d", head, err, want)
			}
		})
	}
}

func TestForgottenTransactionsLeaveTheWorkToo(t *testing.T) {
	cfg := DefaultConfig()
	node := serve(t, cfg)
	call := func(result any, method string, params ...any) {
		t.Helper()
		if err := node.Call(result, method, params...); err != nil {
			t.Fatalf("%s: %v", method, err)
		}
	}
	// The worker prepares its block in the background; a test that waits in
	// vain here ends with the time limit of the whole run.
	pendingHas := func(n hexutil.Uint64) {
		for have := ^n; have != n; time.Sleep(5 * time.Millisecond) {
			call(&have, "eth_getBlockTransactionCountByNumber", "pending")
		}
	}
	call(nil, "devnet_mine", 1) // earns the account its coins
	call(nil, "eth_sendTransaction", map[string]any{"from": cfg.Account(), "to": cfg.Account(), "gas": "0x5208"})
	pendingHas(1)
	call(nil, "devnet_forget")
	pendingHas(0)
}
