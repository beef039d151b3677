// Command prove lets the payouts simulation run over many seeds, and the real binary
// live through everything that can go wrong at every message, and prints what it
// came to: seeds and steps, violations, how many seeds each deliberate mistake takes
// until it is caught, the points that were swept, who was paid twice or not at all,
// and cases that needed a person.
//
//	go run ./build/prove -seeds 10000
//	go run ./build/prove -from 1234 -seeds 1 -v                          one seed, with its trace
//	go run ./build/prove -mutation "no journal" -from 0 -seeds 1 -v      a mistake in it
//	go run ./build/prove -seeds 0 -sweep SweepOfUnlocker                 some of the sweeps alone
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/payouts/sim"
)

func main() {
	var o options
	flag.Uint64Var(&o.seeds, "seeds", 5000, "how many seeds to run, and at most for each mistake")
	flag.Uint64Var(&o.from, "from", 0, "the first seed")
	flag.StringVar(&o.mutation, "mutation", "", `a deliberate mistake to make, "list" names them, "none" makes none; empty makes none first, then each`)
	flag.BoolVar(&o.verbose, "v", false, "trace every seed")
	flag.StringVar(&o.pattern, "sweep", "^TestSweep", "the `tests` of build/e2e that sweep, after the seeds; empty for none")
	flag.StringVar(&o.doc, "doc", "", "write the figures into this `file` when all was run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	good, problem := o.run(ctx, os.Stdout)
	stop()
	if problem != nil {
		fmt.Fprintln(os.Stderr, problem)
		os.Exit(2)
	}
	if !good {
		os.Exit(1)
	}
}

type options struct {
	seeds, from  uint64
	mutation     string
	verbose      bool
	pattern, doc string
}

// run says whether everything is as it should be: no violation without a mistake,
// and one with each; and nothing wrong in any sweep.
func (o options) run(ctx context.Context, out io.Writer) (good bool, err error) {
	if o.mutation == "list" {
		for _, m := range sim.Mutations {
			fmt.Fprintln(out, m.Name)
		}
		return true, nil
	}
	if o.mutation != "" && o.mutation != "none" {
		m := sim.Find(o.mutation)
		if m == nil {
			return false, fmt.Errorf("there is no mistake %q; -mutation list names them", o.mutation)
		}
		s := o.sweep(ctx, out, m, o.verbose)
		s.print(out, o)
		return s.violated > 0, nil
	}
	if o.mutation == "none" || o.verbose || o.seeds == 1 {
		s := o.sweep(ctx, out, nil, o.verbose)
		s.print(out, o)
		return s.violated == 0, nil
	}
	return o.all(ctx, out)
}

// all is everything, one after the other.
func (o options) all(ctx context.Context, out io.Writer) (good bool, err error) {
	var simulated, swept, summed bytes.Buffer // for the document
	good = true
	begun := time.Now()
	if o.seeds > 0 {
		both := io.MultiWriter(out, &simulated)
		s := o.sweep(ctx, out, nil, false)
		s.print(both, o)
		good = s.violated == 0
		good = o.mistakes(ctx, both) && good
	}
	simulating := time.Since(begun)
	if o.pattern == "" || ctx.Err() != nil {
		return good && ctx.Err() == nil, nil
	}
	fmt.Fprintf(out, "\nthe sweeps, %d at a time\n", abreast)
	figures, passed, err := sweeps(ctx, out, o.pattern)
	if err != nil {
		return false, err
	}
	t := tabulate(figures)
	fmt.Fprintln(out)
	t.print(io.MultiWriter(out, &swept))
	both := io.MultiWriter(out, &summed)
	fmt.Fprintln(out)
	t.sum(both)
	fmt.Fprintf(both, "took %s for seeds and mistakes, %s for sweeps, on %d processors\n",
		simulating.Round(time.Second), (time.Since(begun) - simulating).Round(time.Second), runtime.GOMAXPROCS(0))
	if o.doc != "" && o.seeds > 0 && ctx.Err() == nil {
		err = write(o.doc, simulated.String(), swept.String(), summed.String())
	}
	return good && passed && ctx.Err() == nil, err
}

// mistakes prints how many seeds each takes until it is caught.
func (o options) mistakes(ctx context.Context, out io.Writer) bool {
	caught := true
	fmt.Fprintf(out, "\n%-46s %6s  %s\n", "mistake", "seeds", "how it shows")
	for _, m := range sim.Mutations {
		one := o
		one.seeds = max(o.seeds, sim.Enough)
		s := one.sweep(ctx, io.Discard, m, false)
		switch {
		case s.violated > 0:
			fmt.Fprintf(out, "%-46s %6d  %s\n", m.Name, s.first.Seed-o.from+1, s.first.Violations[0])
		case ctx.Err() != nil:
			fmt.Fprintf(out, "%-46s interrupted after %d seeds\n", m.Name, s.seeds)
			return false
		default:
			fmt.Fprintf(out, "%-46s NOT CAUGHT in %d\n", m.Name, s.seeds)
			caught = false
		}
	}
	return caught
}

// sum is what many seeds came to.
type sum struct {
	mutation                                 *sim.Mutation
	seeds, steps, blocks, payments, violated uint64
	first                                    *sim.Result // the lowest seed with a violation
	bad                                      []sim.Result
	needed                                   map[string]int
	took                                     time.Duration
}

// sweep runs seeds on every processor, in order; with a mistake until it is
// caught.
func (o options) sweep(ctx context.Context, out io.Writer, m *sim.Mutation, verbose bool) sum {
	s := sum{mutation: m, needed: map[string]int{}}
	workers := runtime.GOMAXPROCS(0)
	if verbose {
		workers = 1
	}
	begun := time.Now()
	said := begun
	next := o.from
	var mu sync.Mutex // guards next, said and s
	take := func() (uint64, bool) {
		mu.Lock()
		defer mu.Unlock()
		if next == o.from+o.seeds || ctx.Err() != nil || m != nil && s.violated > 0 {
			return 0, false
		}
		next++
		return next - 1, true
	}
	add := func(r sim.Result) {
		mu.Lock()
		defer mu.Unlock()
		s.add(r)
		if time.Since(said) > 10*time.Second {
			said = time.Now()
			fmt.Fprintf(out, "%d of %d seeds, %d steps, %d violations, %s\n", s.seeds, o.seeds, s.steps, s.violated, time.Since(begun).Round(time.Second))
		}
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() {
			for seed, more := take(); more; seed, more = take() {
				var trace io.Writer
				if verbose {
					fmt.Fprintf(out, "seed %d\n", seed)
					trace = out
				}
				add(sim.Options{Seed: seed, Mutation: m, Trace: trace}.Run())
			}
		})
	}
	wg.Wait()
	s.took = time.Since(begun)
	return s
}

func (s *sum) add(r sim.Result) {
	s.seeds++
	s.steps += uint64(r.Steps)
	s.blocks += uint64(r.Blocks)
	s.payments += uint64(r.Payments)
	for what, n := range r.Needed {
		s.needed[what] += n
	}
	if len(r.Violations) == 0 {
		return
	}
	s.violated++
	s.bad = append(s.bad, r)
	if s.first == nil || r.Seed < s.first.Seed {
		s.first = &r
	}
}

func (s *sum) print(out io.Writer, o options) {
	fmt.Fprintf(out, "simulation: %d seeds, %d steps, %d blocks, %d payments in %s (%.0f seeds a minute)\n",
		s.seeds, s.steps, s.blocks, s.payments, s.took.Round(time.Millisecond), float64(s.seeds)/s.took.Minutes())
	fmt.Fprintf(out, "violations: %d\n", s.violated)
	slices.SortFunc(s.bad, func(a, b sim.Result) int { return int(int64(a.Seed) - int64(b.Seed)) })
	for _, r := range s.bad {
		fmt.Fprintf(out, "  seed %d: %s\n    go run ./build/prove -from %d -seeds 1 -v%s\n", r.Seed, r.Violations[0], r.Seed, o.flags())
	}
	fmt.Fprintf(out, "cases that needed a person: %d\n", total(s.needed))
	list(out, s.needed)
}

// flags are those that make the same run once more.
func (o options) flags() (text string) {
	if o.mutation != "" {
		text = fmt.Sprintf(" -mutation %q", o.mutation)
	}
	return text
}

func list(out io.Writer, counts map[string]int) {
	for _, what := range slices.Sorted(maps.Keys(counts)) {
		fmt.Fprintf(out, "  %6d  %s\n", counts[what], what)
	}
}

func total(counts map[string]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}
