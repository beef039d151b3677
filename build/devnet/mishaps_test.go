package main

import (
	"bytes"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/params"
	"github.com/open-ethereum-pool/open-ethereum-pool/build/devnet/chain"
)

// What a network does to a pool that behaves: the tests of this file ask for
// one accident each and see that it happened, entirely.

func TestForgetEmptiesTheMempoolAndTakesTheSameBytesAgain(t *testing.T) {
	n := rich(t)
	var hashes []common.Hash
	var raws []hexutil.Bytes
	for _, nonce := range []uint64{0, 1, 2, 7} { // the last waits behind a gap
		tx, raw := n.pay(nonce, params.TxGas, payee)
		hashes, raws = append(hashes, tx), append(raws, raw)
	}
	var forgotten int
	if n.call(&forgotten, "devnet_forget"); forgotten != 4 {
		t.Errorf("forgot %d of 4", forgotten)
	}
	for _, tx := range hashes {
		if n.knows(tx) {
			t.Errorf("%s is not forgotten", tx)
		}
	}
	if got := n.nonce(payer, "pending"); got != 0 {
		t.Errorf("pending nonce is %d", got)
	}
	if n.mine(1); len(n.block(1).Transactions) != 0 {
		t.Error("a forgotten transaction was mined")
	}
	for _, raw := range raws {
		n.call(nil, "eth_sendRawTransaction", raw)
	}
	n.mine(1)
	if got := len(n.block(2).Transactions); got != 3 {
		t.Errorf("after sending again, %d transactions were mined, want 3", got)
	}
}

func TestReorg(t *testing.T) {
	for _, tc := range []struct {
		name  string
		depth int // blocks, each with one transaction
		args  []string
		keep  bool
	}{
		{"kept transactions return to the mempool", 3, nil, true},
		{"dropped transactions are gone", 3, nil, false},
		{"kept ones return however deep", 70, nil, true},
		{"dropped ones are gone however deep", 70, nil, false},
		{"a difficulty that moves changes nothing", 3, []string{"--difficulty", "20000"}, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			n := rich(t, tc.args...)
			n.mine(2)
			var txs []common.Hash
			var old []block
			for i := range tc.depth {
				tx, _ := n.pay(uint64(i), params.TxGas, payee)
				txs = append(txs, tx)
				old = append(old, n.block(int(n.mine(1))))
			}
			var head int
			n.call(&head, "devnet_reorg", tc.depth, tc.keep)
			if head != 2+tc.depth+1 {
				t.Errorf("head is %d, want %d", head, 2+tc.depth+1)
			}
			for _, was := range old {
				is := n.block(int(was.Number))
				if is.Hash == was.Hash || len(is.Transactions) != 0 {
					t.Errorf("block %d is %s with %d transactions, was %s", is.Number, is.Hash, len(is.Transactions), was.Hash)
				}
			}
			for _, tx := range txs {
				if n.receipt(tx) != nil {
					t.Errorf("%s still has a receipt", tx)
				}
				if n.knows(tx) != tc.keep {
					t.Errorf("node knows %s: %t", tx, !tc.keep)
				}
			}
			n.mine(1)
			want := 0
			if tc.keep {
				want = tc.depth
			}
			if got := len(n.block(head + 1).Transactions); got != want {
				t.Errorf("%d transactions were mined again, want %d", got, want)
			}
		})
	}
	t.Run("no more blocks than there are", func(t *testing.T) {
		n := startChain(t)
		n.mine(2)
		n.refuses("want 1 to 2", "devnet_reorg", 3, true)
		n.refuses("want 1 to 2", "devnet_reorg", 0, true)
	})
}

func TestContractsTreatTransfersAsTheirKindSays(t *testing.T) {
	n := rich(t)
	for nonce, tc := range []struct {
		kind   string
		gas    uint64
		status hexutil.Uint64
	}{
		{"reject", 50_000, 0},
		{"accept", params.TxGas, 1},
		{"burn", params.TxGas, 0},
		{"burn", 100_000, 1},
	} {
		var at common.Address
		n.call(&at, "devnet_deploy", tc.kind)
		tx, _ := n.pay(uint64(nonce), tc.gas, at)
		n.mine(1)
		if r := n.receipt(tx); r == nil || r.Status != tc.status {
			t.Errorf("%s with %d gas: receipt %+v, want status %d", tc.kind, tc.gas, r, tc.status)
		}
	}
	n.refuses("want one of accept, burn, reject", "devnet_deploy", "eat")
	if got := n.nonce(account, "latest"); got != 0 {
		t.Errorf("deploying used %d nonces of the pool's account", got)
	}
}

func TestIncludeMinesWhatTheMempoolNeverSaw(t *testing.T) {
	n := rich(t)
	tx, raw := n.sign(payerKey, 0, params.TxGas, payee)
	n.call(nil, "devnet_include", raw)
	if n.knows(tx) {
		t.Error("the mempool knows it")
	}
	rival, _ := n.pay(0, 30_000, payee) // same nonce, in the mempool
	n.call(nil, "devnet_mineEmpty", 1)
	n.mine(1)
	if r := n.receipt(tx); r == nil || r.BlockNumber != 2 {
		t.Errorf("receipt is %+v", r)
	}
	if n.receipt(rival) != nil || n.knows(rival) {
		t.Error("the rival from the mempool was mined or kept")
	}

	_, late := n.sign(payerKey, 5, params.TxGas, payee)
	n.call(nil, "devnet_include", late)
	n.refuses("nonce too high", "devnet_mine", 1)
	if head := n.mine(1); head != 3 {
		t.Errorf("head is %d after the one that did not fit was dropped", head)
	}
	n.refuses("decode", "devnet_include", "0x1234")
}

func TestPretencesReplaceTheTruthUntilTakenBack(t *testing.T) {
	n := startChain(t)
	var peers hexutil.Uint64
	for _, tc := range []struct {
		say  any
		want hexutil.Uint64
	}{{3, 3}, {0, 0}, {nil, 0}} {
		n.call(nil, "devnet_setPeers", tc.say)
		if n.call(&peers, "net_peerCount"); peers != tc.want {
			t.Errorf("told %v, net_peerCount is %d", tc.say, peers)
		}
	}
	n.mine(4)
	for _, tc := range []struct {
		say  any
		want string
	}{
		{true, `{"startingBlock":"0x0","currentBlock":"0x4","highestBlock":"0x68"}`}, {false, "false"}, {nil, "false"},
	} {
		n.call(nil, "devnet_setSyncing", tc.say)
		var got rawJSON
		if n.call(&got, "eth_syncing"); string(got) != tc.want {
			t.Errorf("told %v, eth_syncing is %s", tc.say, got)
		}
	}
}

type rawJSON []byte

func (r *rawJSON) UnmarshalJSON(b []byte) error {
	*r = bytes.Clone(b)
	return nil
}

func TestMempoolLimitsHoldForThisNodesClientsWhenAsked(t *testing.T) {
	n := rich(t, "--no-locals", "--account-queue", "2", "--price-limit", "3000000000")
	_, raw := n.sign(payerKey, 0, params.TxGas, payee) // pays 2 GWei
	n.refuses("transaction underpriced", "eth_sendRawTransaction", raw)
	n = rich(t, "--no-locals", "--account-queue", "2")
	for nonce := uint64(1); nonce <= 4; nonce++ {
		_, raw := n.sign(payerKey, nonce, params.TxGas, payee)
		_ = n.try(nil, "eth_sendRawTransaction", raw) // the last may be refused or dropped later
	}
	var status struct{ Queued hexutil.Uint64 }
	if n.call(&status, "txpool_status"); status.Queued != 2 {
		t.Errorf("%d transactions wait behind the gap, want 2", status.Queued)
	}
}

func TestFeeCapIsTheGivenOne(t *testing.T) {
	n := rich(t, "--rpc-txfeecap", "0.00001")
	_, raw := n.sign(payerKey, 0, params.TxGas, payee)
	n.refuses("exceeds the configured cap", "eth_sendRawTransaction", raw)
}

func TestLockedAccountSignsOnlyWhenUnlocked(t *testing.T) {
	n := rich(t, "--locked")
	n.refuses("authentication needed: password or unlock", "eth_sendTransaction", transfer(0))
	n.refuses("authentication needed: password or unlock", "eth_signTransaction", transfer(0))
	n.call(nil, "personal_unlockAccount", account, chain.Passphrase)
	n.call(nil, "eth_sendTransaction", transfer(0))
	n.call(nil, "personal_lockAccount", account)
	n.refuses("authentication needed: password or unlock", "eth_sendTransaction", transfer(1))
}
