package payouts

import (
	"context"
	"testing"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// Miners see in which block their payment is before it is final.
func TestABlockIsShownBeforeItIsDeep(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin)
	p.mustSession()
	block := func() (storage.State, uint64) {
		t.Helper()
		payer, stop := p.start()
		defer stop()
		if err := p.advance(payer); err != nil {
			t.Fatal(err)
		}
		open, _, err := p.db().Inflight(context.Background())
		if err != nil || len(open) != 1 {
			t.Fatalf("%d payments in flight, error %v", len(open), err)
		}
		return open[0].State, open[0].Block
	}
	if state, at := block(); state != storage.Sent || at == 0 {
		t.Errorf("the payment is %s in block %d, want sent, in the one that holds it", state, at)
	}
	p.chain.Reorg(1, false)
	p.chain.MineEmpty(1)
	if state, at := block(); state != storage.Sent || at != 0 {
		t.Errorf("after a reorg the payment is %s in block %d, want in none", state, at)
	}
	p.settle()
	p.wantReceived(login(1), coin)
	p.audit()
}
