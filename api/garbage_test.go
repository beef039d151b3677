package api

import (
	"context"
	"runtime/debug"
	rt "runtime/metrics"
	"testing"
)

func TestLittleGarbageStandsUnlessToldOtherwise(t *testing.T) {
	const before = 77
	defer debug.SetGCPercent(debug.SetGCPercent(before))
	percent := func() int {
		now := []rt.Sample{{Name: "/gc/gogc:percent"}}
		rt.Read(now)
		return int(now[0].Value.Uint64())
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	t.Setenv("GOGC", "77")
	if _ = boundGarbage(ended); percent() != before {
		t.Errorf("GOGC is 77, but %d %% may stand", percent())
	}
	t.Setenv("GOGC", "")
	if _ = boundGarbage(ended); percent() == before || percent() < garbageLeastPct || percent() > garbageMostPct {
		t.Errorf("%d %% may stand", percent())
	}
	for live, want := range map[uint64]int{0: 50, 1 << 20: 50, 12 << 20: 50, 24 << 20: 25, 48 << 20: 12, 1 << 30: 8} {
		if got := garbagePct(live); got != want {
			t.Errorf("%d MiB live: %d %%, want %d", live>>20, got, want)
		}
	}
}
