package chain

import (
	"context"
	"errors"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

// The vector of the Ethash specification: block 22 of a chain long gone.
func TestHashimotoOfTheSpecification(t *testing.T) {
	header := common.HexToHash("0x372eca2454ead349c3df0ab5d00b0b706b23e49d469387db91811cee0358fc6d")
	mix := common.HexToHash("0x2f74cdeb198af0b9abe65d22d372e22fb2d474371774a9583c1cc427a07939f5")
	result := common.HexToHash("0x00000b184f1fdd88bfd94c86c39e65db0c36144d5e43f745f722196e730cb614")

	p := newPow(false)
	gotMix, gotResult := p.epoch(22).hashimoto(newHasher(), header, 0x495732e0ed7a801c)
	if gotMix != mix || gotResult != result {
		t.Errorf("mix %s, result %s, want %s, %s", gotMix, gotResult, mix, result)
	}
	target := result.Big()
	below := new(big.Int).Sub(target, common.Big1)
	for _, tc := range []struct {
		name   string
		nonce  uint64
		mix    common.Hash
		target *big.Int
		want   bool
	}{
		{"the very target is enough", 0x495732e0ed7a801c, mix, target, true},
		{"one below is not", 0x495732e0ed7a801c, mix, below, false},
		{"another mix is not", 0x495732e0ed7a801c, result, target, false},
		{"another nonce is not", 0x495732e0ed7a801d, mix, target, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := p.verify(22, header, tc.nonce, tc.mix, tc.target); got != tc.want {
				t.Errorf("verify = %t", got)
			}
		})
	}
}

func TestSizesAreThoseOfTheSpecification(t *testing.T) {
	for _, tc := range []struct{ epoch, cache, dataset uint64 }{
		{0, 16776896, 1073739904},
		{1, 16907456, 1082130304},
		{2047, 285081536, 18245220736},
	} {
		if got := primeSize(cacheInit+cacheGrowth*tc.epoch-rowBytes, rowBytes); got != tc.cache {
			t.Errorf("cache of epoch %d has %d bytes, want %d", tc.epoch, got, tc.cache)
		}
		if got := primeSize(datasetInit+datasetGrowth*tc.epoch-mixBytes, mixBytes); got != tc.dataset {
			t.Errorf("dataset of epoch %d has %d bytes, want %d", tc.epoch, got, tc.dataset)
		}
	}
}

func TestSearchFindsWhatVerifyAccepts(t *testing.T) {
	p := newPow(true)
	difficulty := big.NewInt(1000)
	for _, block := range []uint64{1, epochBlocks - 1, epochBlocks, 5 * epochBlocks} {
		header := common.BigToHash(new(big.Int).SetUint64(block))
		nonce, mix, err := p.search(t.Context(), block, header, difficulty)
		if err != nil || !p.verify(block, header, nonce, mix, targetOf(difficulty)) {
			t.Errorf("block %d: nonce %x, mix %s, %v", block, nonce, mix, err)
		}
	}
}

func TestSearchEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("enough")
	cancel(why)
	if _, _, err := newPow(true).search(ctx, 1, common.Hash{}, new(big.Int).Lsh(common.Big1, 255)); !errors.Is(err, why) {
		t.Errorf("search ended with %v", err)
	}
}

func BenchmarkHashimoto(b *testing.B) {
	for name, test := range map[string]bool{"test": true, "real": false} {
		b.Run(name, func(b *testing.B) {
			e, h := newPow(test).epoch(0), newHasher()
			b.ReportAllocs()
			for nonce := uint64(0); b.Loop(); nonce++ {
				e.hashimoto(h, common.Hash{}, nonce)
			}
		})
	}
}
