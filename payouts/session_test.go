package payouts

import (
	"testing"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

const coin util.Shannon = util.ShannonPerCoin

func TestSessionPaysEverybodyWhoIsDue(t *testing.T) {
	p := newPool(t)
	p.credit(login(1), coin/2)   // exactly at the threshold
	p.credit(login(2), coin/2-1) // one Shannon below
	for i := 3; i < 200; i++ {
		p.credit(login(i), coin+util.Shannon(i))
	}
	r := p.mustSession()
	if r.Due != 198 || r.Paid != 198 || r.InFlight != 0 {
		t.Errorf("result %+v, want 198 due and paid", r)
	}
	p.settle()
	p.wantReceived(login(1), coin/2)
	p.wantReceived(login(2), 0)
	p.wantBooks(login(1), 0, 0, coin/2)
	p.wantBooks(login(2), coin/2-1, 0, 0)
	for i := 3; i < 200; i++ {
		p.wantReceived(login(i), coin+util.Shannon(i))
	}
	p.audit()
	if r := p.mustSession(); r.Due != 0 {
		t.Errorf("a second session finds %d due, want none", r.Due)
	}
}
