package proxy

import (
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// vardiff moves a miner's share difficulty so that shares come about every
// target seconds. It belongs to one session.
type vardiff struct {
	cfg   *VarDiffConfig
	since time.Time // of the last look
	found int       // shares since
}

// retargetShares and retargetTime say when to look again: whichever comes first.
const (
	retargetShares = 8
	retargetTimes  = 6 // times the target time
)

// next returns the difficulty from now on, and whether it is another one. share
// says whether a share was found now.
func (v *vardiff) next(now time.Time, share bool, difficulty int64) (int64, bool) {
	if v.cfg == nil || !v.cfg.Enabled {
		return difficulty, false
	}
	if v.since.IsZero() {
		v.since = now
	}
	if share {
		v.found++
	}
	target := time.Duration(v.cfg.TargetTime) * time.Second
	passed := now.Sub(v.since)
	if v.found < retargetShares && passed < retargetTimes*target || passed <= 0 {
		return difficulty, false
	}
	// Half a share more is what is expected of a miner who found none yet.
	every := float64(passed) / (float64(v.found) + 0.5)
	v.since, v.found = now, 0
	if deviation := every/float64(target) - 1; -fraction(v.cfg.VariancePercent) <= deviation && deviation <= fraction(v.cfg.VariancePercent) {
		return difficulty, false
	}
	wanted := float64(difficulty) * float64(target) / every
	jump := fraction(v.cfg.MaxJump)
	wanted = min(max(wanted, float64(difficulty)/(1+jump)), float64(difficulty)*(1+jump))
	moved := min(max(int64(wanted), v.cfg.MinDiff), v.cfg.MaxDiff)
	moved = min(max(round(moved), v.cfg.MinDiff), v.cfg.MaxDiff)
	return moved, moved != difficulty
}

// round keeps three significant digits, so that miners of like speed share one
// difficulty, and one encoding of each job.
func round(d int64) int64 {
	unit := int64(1)
	for d/unit >= 1000 {
		unit *= 10
	}
	return d / unit * unit
}

func fraction(p util.Percent) float64 { return float64(p) / float64(100*util.OnePercent) }
