package ethash

import "testing"

func TestEpochOf(t *testing.T) {
	for _, tc := range []struct {
		name   string
		rules  Rules
		height uint64
		want   Epoch
	}{
		{"the first block", Ethereum, 0, Epoch{0, 0}},
		{"the last of an epoch", Ethereum, 29_999, Epoch{0, 0}},
		{"the first of the next", Ethereum, 30_000, Epoch{1, 1}},
		{"Ethereum never changes", Ethereum, 15_537_393, Epoch{517, 517}},
		{"Classic before ECIP-1099", Classic, 11_699_999, Epoch{389, 389}},
		{"from the fork on sizes go back and the seed goes on", Classic, 11_700_000, Epoch{195, 390}},
		{"an epoch lasts twice as long", Classic, 11_759_999, Epoch{195, 390}},
		{"and its seed is two rounds on", Classic, 11_760_000, Epoch{196, 392}},
		{"Mordor before", Mordor, 2_519_999, Epoch{83, 83}},
		{"Mordor after", Mordor, 2_520_000, Epoch{42, 84}},
		{"a chain with it from the start", Rules{Etchash: 0}, 60_000, Epoch{1, 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := tc.rules.Epoch(tc.height); got != tc.want {
				t.Errorf("epoch %+v, want %+v", got, tc.want)
			}
		})
	}
}

// The sizes are those of the specification's table.
func TestSizes(t *testing.T) {
	for _, tc := range []struct{ epoch, cache, dataset uint64 }{
		{0, 16776896, 1073739904},
		{1, 16907456, 1082130304},
		{2047, 285081536, 18245220736},
	} {
		e := Epoch{Number: tc.epoch}
		if got := e.CacheBytes(); got != tc.cache {
			t.Errorf("epoch %d: cache of %d bytes, want %d", tc.epoch, got, tc.cache)
		}
		if got := e.DatasetBytes(); got != tc.dataset {
			t.Errorf("epoch %d: dataset of %d bytes, want %d", tc.epoch, got, tc.dataset)
		}
	}
}

func TestSeedHash(t *testing.T) {
	for seeds, want := range map[uint64]string{
		0: "0x0000000000000000000000000000000000000000000000000000000000000000",
		1: "0x290decd9548b62a8d60345a988386fc84ba6bc95484008f6362f93160ef3e563",
		2: "0x510e4e770828ddbf7f7b00ab00a9f6adaf81c0dc9cc85f1f8249c256942d61d9",
	} {
		if got := (Epoch{Seeds: seeds}).SeedHash().Hex(); got != want {
			t.Errorf("%d rounds: %s, want %s", seeds, got, want)
		}
	}
}
