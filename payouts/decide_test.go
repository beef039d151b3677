package payouts

import (
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"pgregory.net/rapid"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

func TestDecide(t *testing.T) {
	const block = 100
	d := depths{Confirmations: 12, Void: 50}
	var (
		paid     = &mined{Block: block, Success: true}
		failed   = &mined{Block: block}
		other    = &stranger{Block: block}
		tx       = &common.Hash{1}
		offered  = []storage.Attempt{{}}
		refused  = []storage.Attempt{{Refused: "insufficient funds"}}
		half     = []storage.Attempt{{Refused: "fee cap exceeded"}, {}}
		bothNo   = []storage.Attempt{{Refused: "fee cap exceeded"}, {Refused: "fee cap exceeded"}}
		byHand   = []storage.Attempt{{}, {ByHand: true}}
		noByHand = []storage.Attempt{{Refused: "fee cap exceeded"}, {Refused: "x", ByHand: true}}
	)
	const signed, sent, held = storage.Signed, storage.Sent, storage.Held
	const toMiner, filler = storage.ToMiner, storage.Filler
	for _, tc := range []struct {
		name     string
		kind     storage.Kind
		state    storage.State
		attempts []storage.Attempt
		facts    facts
		want     step
	}{
		// What the chain has not seen.
		{"a signed payment is sent", toMiner, signed, offered, facts{Pending: true, Head: block}, send},
		{"a sent payment is sent again until it is mined", toMiner, sent, offered, facts{Head: block}, send},
		{"so is a filler", filler, signed, offered, facts{Head: block}, send},
		{"so is a filler that a node took", filler, sent, offered, facts{Head: block}, send},
		{"a payment refused everywhere is given up", toMiner, signed, refused, facts{Pending: true, Head: block}, voidRefused},
		{"with all its attempts", toMiner, signed, bothNo, facts{Pending: true, Head: block}, voidRefused},
		{"one attempt that may be out keeps it", toMiner, signed, half, facts{Pending: true, Head: block}, send},
		{"a nonce that is used proves nothing yet", toMiner, sent, offered, facts{Consumed: true, Head: block}, wait},
		{"not even of a refused payment", toMiner, signed, refused, facts{Pending: true, Consumed: true, Head: block}, wait},
		{"nor is anything sent at a used nonce", toMiner, signed, offered, facts{Pending: true, Consumed: true, Head: block}, wait},
		{"what the operator sent by hand is not ours to send", toMiner, sent, byHand, facts{Head: block}, wait},
		{"nor to give up", toMiner, signed, noByHand, facts{Pending: true, Head: block}, wait},

		// Ours was mined and paid.
		{"in a block, it is booked as sent", toMiner, signed, offered, facts{Pending: true, Consumed: true, Mined: paid, Head: block}, bookSent},
		{"one block short of final, likewise", toMiner, signed, offered, facts{Pending: true, Consumed: true, Mined: paid, Head: block + 10}, bookSent},
		{"booked already, it waits", toMiner, sent, offered, facts{Consumed: true, Mined: paid, Head: block + 10}, wait},
		{"deep enough, it is final", toMiner, sent, offered, facts{Consumed: true, Mined: paid, Head: block + 11}, bookFinal},
		{"final although nobody booked it as sent", toMiner, signed, offered, facts{Pending: true, Consumed: true, Mined: paid, Head: block + 11}, bookFinal},
		{"final although it was held", toMiner, held, offered, facts{Consumed: true, Mined: paid, Head: block + 11}, bookFinal},
		{"a held one waits until then", toMiner, held, offered, facts{Consumed: true, Mined: paid, Head: block + 10}, wait},
		{"a filler is final as well", filler, sent, offered, facts{Consumed: true, Mined: paid, Head: block + 11}, bookFinal},
		{"a filler is booked as well", filler, signed, offered, facts{Consumed: true, Mined: paid, Head: block}, bookSent},
		{"a refusal does not matter once it paid", toMiner, signed, refused, facts{Pending: true, Consumed: true, Mined: paid, Head: block + 11}, bookFinal},
		{"a hand-made transaction is final as well", toMiner, sent, byHand, facts{Consumed: true, Mined: paid, Head: block + 11}, bookFinal},
		{"the head of a node that is behind proves nothing", toMiner, sent, offered, facts{Consumed: true, Mined: paid, Head: 3}, wait},

		// Ours was mined and failed.
		{"a failure is not acted on while a reorg could undo it", toMiner, sent, offered, facts{Consumed: true, Mined: failed, Head: block + 48}, wait},
		{"a deep failure is given up", toMiner, sent, offered, facts{Consumed: true, Mined: failed, Head: block + 49}, voidFailed},
		{"whether it was booked or not", toMiner, signed, offered, facts{Pending: true, Consumed: true, Mined: failed, Head: block + 49}, voidFailed},
		{"but not while it is held", toMiner, held, offered, facts{Consumed: true, Mined: failed, Head: block + 49}, wait},
		{"a failure is not final, however deep", toMiner, sent, offered, facts{Consumed: true, Mined: failed, Head: block + 12}, wait},

		// Somebody else's transaction used the nonce.
		{"a foreign transaction is not acted on while a reorg could undo it", toMiner, sent, offered, facts{Consumed: true, Stranger: other, Head: block + 48}, wait},
		{"a deep one gives the payment up", toMiner, sent, offered, facts{Consumed: true, Stranger: other, Head: block + 49}, voidForeign},
		{"whether it was booked or not", toMiner, signed, offered, facts{Pending: true, Consumed: true, Stranger: other, Head: block + 49}, voidForeign},
		{"and of a filler", filler, sent, offered, facts{Consumed: true, Stranger: other, Head: block + 49}, voidForeign},
		{"but not while it is held", toMiner, held, offered, facts{Consumed: true, Stranger: other, Head: block + 49}, wait},
		{"a refused payment waits for it too", toMiner, signed, refused, facts{Pending: true, Consumed: true, Stranger: other, Head: block + 48}, wait},

		// The operator's hand.
		{"a pending row that is gone, and a payment written down: adopted", toMiner, signed, offered, facts{ByHand: tx, Head: block}, adopt},
		{"even if it was refused", toMiner, signed, refused, facts{ByHand: tx, Head: block}, adopt},
		{"even if it was held", toMiner, held, offered, facts{ByHand: tx, Head: block}, adopt},
		{"a pending row that is gone, and nothing written down: held", toMiner, signed, offered, facts{Head: block}, hold},
		{"even if it was refused: nobody knows what was meant", toMiner, signed, refused, facts{Head: block}, hold},
		{"held even if ours is in a block", toMiner, signed, offered, facts{Consumed: true, Mined: paid, Head: block}, hold},
		{"a held payment is not sent", toMiner, held, offered, facts{Head: block}, wait},
		{"nor given up", toMiner, held, refused, facts{Head: block}, wait},
		{"until its row is put back", toMiner, held, offered, facts{Pending: true, Head: block}, unhold},
		{"a sent payment has no row to miss", toMiner, sent, offered, facts{ByHand: tx, Head: block}, send},
		{"a filler never has one", filler, signed, offered, facts{ByHand: tx, Head: block}, send},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := &storage.Payment{Kind: tc.kind, State: tc.state, Attempts: tc.attempts}
			if got := decide(p, tc.facts, d); got != tc.want {
				t.Errorf("decide = %s, want %s", got, tc.want)
			}
		})
	}
}

func TestDeepCountsTheBlockItself(t *testing.T) {
	for _, tc := range []struct {
		name               string
		block, depth, head uint64
		want               bool
	}{
		{"the head has one block on it", 100, 1, 100, true},
		{"one block short", 100, 12, 110, false},
		{"just deep enough", 100, 12, 111, true},
		{"a head below the block", 100, 1, 99, false},
		{"the genesis", 0, 1, 0, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := deep(tc.block, tc.depth, tc.head); got != tc.want {
				t.Errorf("deep(%d, %d, %d) = %v, want %v", tc.block, tc.depth, tc.head, got, tc.want)
			}
		})
	}
}

// TestDecideNeverDoesWhatCouldCostMoney draws situations, possible or not, and
// states what decide must never answer, without saying what it should.
func TestDecideNeverDoesWhatCouldCostMoney(t *testing.T) {
	for range 40 { // the hundred draws of one check are few for so many facts
		rapid.Check(t, decideSafely)
	}
}

func decideSafely(t *rapid.T) {
	d := depths{Confirmations: rapid.Uint64Range(1, 20).Draw(t, "confirmations")}
	d.Void = d.Confirmations + rapid.Uint64Range(0, 20).Draw(t, "void depth beyond")
	p := &storage.Payment{
		Kind:  rapid.SampledFrom([]storage.Kind{storage.ToMiner, storage.Filler}).Draw(t, "kind"),
		State: rapid.SampledFrom([]storage.State{storage.Signed, storage.Sent, storage.Held}).Draw(t, "state"),
		Attempts: rapid.SliceOfN(rapid.Custom(func(t *rapid.T) storage.Attempt {
			return storage.Attempt{Refused: rapid.SampledFrom([]string{"", "refused"}).Draw(t, "refused"), ByHand: rapid.Bool().Draw(t, "by hand")}
		}), 1, 3).Draw(t, "attempts"),
	}
	block := rapid.Uint64Range(0, 40)
	f := facts{Consumed: rapid.Bool().Draw(t, "consumed"), Pending: rapid.Bool().Draw(t, "pending"), Head: block.Draw(t, "head")}
	if rapid.Bool().Draw(t, "is mined") {
		f.Mined = &mined{Block: block.Draw(t, "mined in"), Success: rapid.Bool().Draw(t, "success")}
	}
	if rapid.Bool().Draw(t, "has a stranger") {
		f.Stranger = &stranger{Block: block.Draw(t, "stranger in")}
	}
	if rapid.Bool().Draw(t, "is written down") {
		f.ByHand = &common.Hash{1}
	}

	got := decide(p, f, d)
	never := func(when bool, why string, steps ...step) {
		for _, s := range steps {
			if when && got == s {
				t.Fatalf("%s, %s", s, why)
			}
		}
	}
	voids := []step{voidRefused, voidFailed, voidForeign}
	blocksOn := func(b uint64) uint64 { // counted, not calculated as decide does
		n := uint64(0)
		for ; b <= f.Head; b++ {
			n++
		}
		return n
	}

	never(!p.AllRefused(), "although an attempt may be out", voidRefused)
	never(p.State != storage.Signed, "although a node has taken it", voidRefused)
	never(f.Consumed, "although the nonce is used", voidRefused)
	never(f.Mined == nil || f.Mined.Success, "although ours did not fail", voidFailed)
	never(f.Mined != nil && blocksOn(f.Mined.Block) < d.Void, "although the failure is not deep", voidFailed)
	never(f.Stranger == nil, "although nobody else used the nonce", voidForeign)
	never(f.Stranger != nil && blocksOn(f.Stranger.Block) < d.Void, "although the foreign transaction is not deep", voidForeign)
	never(f.Mined != nil, "although ours is in a block", voidForeign, voidRefused)
	never(f.Mined != nil && f.Mined.Success, "although the miner was paid", voids...)
	never(p.State == storage.Held, "although a human must decide", append(voids, send, bookSent)...)
	never(p.Last().ByHand, "although the operator sent it by hand", send, voidRefused)

	never(f.Consumed || f.Mined != nil || f.Stranger != nil, "although the nonce is used", send)
	never(p.AllRefused() && p.State == storage.Signed, "although it is to be given up", send)
	never(p.Kind == storage.ToMiner && p.State == storage.Signed && !f.Pending, "although its pending row is gone",
		append(voids, send, bookSent, bookFinal, unhold)...)

	never(f.Mined == nil || !f.Mined.Success, "although nothing of ours paid", bookSent, bookFinal)
	never(f.Mined != nil && blocksOn(f.Mined.Block) < d.Confirmations, "although a reorg could undo it", bookFinal)
	never(p.State == storage.Sent, "although it is booked", bookSent, adopt, hold, unhold)
	never(p.Kind == storage.Filler, "although nobody is paid", adopt, hold, unhold)
	never(f.Pending, "although its row is there", adopt, hold)
	never(f.ByHand == nil, "although nothing is written down", adopt)
	never(f.ByHand != nil, "although a payment is written down", hold)
}
