package payouts

import (
	"math/big"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// step is what to do next with one open payment.
type step string

const (
	wait        step = "wait"         // nothing to do until the chain moves
	send        step = "send"         // offer the newest attempt's bytes to the node
	bookSent    step = "book sent"    // it is in a block: pending becomes paid
	bookFinal   step = "book final"   // it is in a block, deep enough
	voidFailed  step = "void failed"  // ours was mined and failed, deep enough
	voidForeign step = "void foreign" // a transaction not ours used the nonce, deep enough
	voidRefused step = "void refused" // refused by every node it was ever offered to
	adopt       step = "adopt"        // the operator paid by hand and wrote it down
	hold        step = "hold"         // the operator removed the pending row and wrote nothing down
	unhold      step = "unhold"       // the operator put the pending row back
)

// mined is where a transaction of ours is on the canonical chain.
type mined struct {
	Hash      common.Hash
	Block     uint64
	BlockHash common.Hash
	Success   bool
	FeeWei    *big.Int
}

// stranger is a transaction of our account that is not ours.
type stranger struct {
	rpc.Transaction
	Block     uint64
	BlockHash common.Hash
}

// facts is all that is known about one open payment when its next step is
// chosen.
type facts struct {
	Consumed bool         // the chain's next nonce is above the payment's
	Mined    *mined       // one of its attempts is in a block
	Stranger *stranger    // another transaction took its nonce
	Pending  bool         // its pending row is there
	ByHand   *common.Hash // the operator wrote down a transaction for it
	Head     uint64
}

// block is the one that holds the payment now, or 0.
func (f facts) block() uint64 {
	if f.Mined == nil {
		return 0
	}
	return f.Mined.Block
}

// depths say how deep in the chain a fact must be to be acted on.
type depths struct{ Confirmations, Void uint64 }

// deep says whether the block has that many blocks on it, itself included.
func deep(block, depth, head uint64) bool { return head+1 >= block+depth }

// decide is the policy for an open payment.
func decide(p *storage.Payment, f facts, d depths) step {
	if p.Kind == storage.ToMiner && (p.State == storage.Signed || p.State == storage.Held) {
		switch {
		case !f.Pending && f.ByHand != nil:
			return adopt
		case !f.Pending && p.State == storage.Signed:
			return hold
		case f.Pending && p.State == storage.Held:
			return unhold
		}
	}
	switch m := f.Mined; {
	case m != nil && m.Success && deep(m.Block, d.Confirmations, f.Head):
		return bookFinal
	case m != nil && m.Success && p.State == storage.Signed:
		return bookSent
	case m != nil && m.Success, p.State == storage.Held:
		return wait
	case m != nil && deep(m.Block, d.Void, f.Head):
		return voidFailed
	case m != nil:
		return wait
	}
	switch {
	case f.Stranger != nil && deep(f.Stranger.Block, d.Void, f.Head):
		return voidForeign
	case f.Stranger != nil, f.Consumed, p.Last().ByHand:
		return wait
	case p.AllRefused() && p.State == storage.Signed:
		return voidRefused
	}
	return send
}
