package chain

import (
	"math/big"

	"github.com/ethereum/go-ethereum/common"
)

// realPow is shared by all nodes and provers: its tables are large, and never
// change.
var realPow = newPow(false)

func powOf(cfg Config) *pow {
	if cfg.RealPow {
		return realPow
	}
	return newPow(true)
}

// Prover searches nonces of real size on one processor, outside of any node. It
// belongs to one goroutine.
type Prover struct{ hash *hasher }

// NewProver makes a Prover. The first search in an epoch takes a third of a
// second more.
func NewProver() *Prover { return &Prover{hash: newHasher()} }

// Search tries so many nonces from begin on, and returns the first whose result
// is at most the target. block is any of the same epoch.
func (p *Prover) Search(block uint64, header common.Hash, target *big.Int, begin uint64, tries int) (nonce uint64, mix common.Hash, found bool) {
	e := realPow.epoch(block)
	for n := range uint64(tries) {
		mix, result := e.hashimoto(p.hash, header, begin+n)
		if result.Big().Cmp(target) <= 0 {
			return begin + n, mix, true
		}
	}
	return 0, common.Hash{}, false
}
