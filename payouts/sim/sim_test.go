package sim

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
	"sync"
	"testing"
)

// seedsClean is how many seeds CI runs; build/prove runs more.
const seedsClean = 1000

// inParallel runs seeds on every processor until one of them is enough.
func inParallel(seeds uint64, run func(seed uint64) (enough bool)) {
	var mu sync.Mutex // guards next and done
	next, done := uint64(0), false
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if done || next == seeds {
			return 0, false
		}
		next++
		return next - 1, true
	}
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for seed, more := take(); more; seed, more = take() {
				if run(seed) {
					mu.Lock()
					done = true
					mu.Unlock()
				}
			}
		})
	}
	wg.Wait()
}

func TestNobodyIsPaidTwiceAndNothingIsLost(t *testing.T) {
	inParallel(seedsClean, func(seed uint64) bool {
		if r := (Options{Seed: seed}).Run(); len(r.Violations) > 0 {
			t.Errorf("seed %d: %v\ngo run ./build/prove -from %d -seeds 1 -v", seed, r.Violations, seed)
		}
		return false
	})
}

func TestEveryMistakeIsCaught(t *testing.T) {
	for _, m := range Mutations {
		t.Run(m.Name, func(t *testing.T) {
			caught := false
			var mu sync.Mutex // guards caught
			inParallel(Enough, func(seed uint64) bool {
				bad := len(Options{Seed: seed, Mutation: m}.Run().Violations) > 0
				mu.Lock()
				defer mu.Unlock()
				caught = caught || bad
				return bad
			})
			if !caught {
				t.Errorf("%d seeds ran clean in spite of it", Enough)
			}
		})
	}
}

func TestASeedReproducesItsRun(t *testing.T) {
	for seed := range uint64(20) {
		var first, again strings.Builder
		a, b := Options{Seed: seed, Trace: &first}.Run(), Options{Seed: seed, Trace: &again}.Run()
		c := Options{Seed: seed}.Run()
		if first.String() != again.String() || !reflect.DeepEqual(a, b) || !reflect.DeepEqual(a, c) {
			t.Errorf("seed %d: %v, then %v, and without a trace %v: %s", seed, a, b, c, differ(first.String(), again.String()))
		}
	}
}

// differ shows the first line in which two traces differ.
func differ(a, b string) string {
	x, y := strings.Split(a, "\n"), strings.Split(b, "\n")
	for i := range min(len(x), len(y)) {
		if x[i] != y[i] {
			return fmt.Sprintf("line %d: %s\nthen: %s", i+1, x[i], y[i])
		}
	}
	return ""
}
