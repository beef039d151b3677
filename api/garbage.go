package api

import (
	"context"
	"os"
	"runtime/debug"
	rt "runtime/metrics"
	"time"
)

// Most of an API's memory are answers that stay. So little garbage stands beside
// them as the collector can do with, in bytes; how much that is of what lives, in
// percent, has two bounds.
const (
	garbageMost     = 6 << 20
	garbageLeastPct = 8
	garbageMostPct  = 50
	garbageLook     = 250 * time.Millisecond
)

// boundGarbage tells Go's collector how much may stand, by what lives, until ctx
// ends. A GOGC in the environment knows better.
func boundGarbage(ctx context.Context) error {
	if os.Getenv("GOGC") != "" {
		return nil
	}
	live := []rt.Sample{{Name: "/gc/heap/live:bytes"}}
	t := time.NewTicker(garbageLook)
	defer t.Stop()
	for now := 0; ; {
		rt.Read(live)
		if pct := garbagePct(live[0].Value.Uint64()); pct != now {
			debug.SetGCPercent(pct)
			now = pct
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

func garbagePct(live uint64) int {
	return int(min(garbageMostPct, max(garbageLeastPct, 100*garbageMost/max(live, 1))))
}
