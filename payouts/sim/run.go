package sim

import (
	"io"
	"slices"
)

// Options say what to run.
type Options struct {
	Seed     uint64
	Mutation *Mutation // a deliberate mistake, or nil
	Trace    io.Writer // is told everything that happens, when not nil
}

// Result is what one seed came to.
type Result struct {
	Seed       uint64
	Steps      int // calls of ports
	Blocks     int
	Payments   int // in the books
	Violations []string
	Needed     map[string]int // cases that needed a person, by what for
}

// Run makes the world of a seed, lets it storm, calms it, and says what was
// wrong.
func (o Options) Run() Result {
	w := newWorld(o)
	defer w.end()
	w.storm()
	if len(w.violations) == 0 {
		w.rest()
	}
	if len(w.violations) == 0 {
		w.violations = w.promises
	}
	return Result{Seed: o.Seed, Steps: w.steps, Blocks: len(w.chain.canonical), Payments: len(w.ledger.books.payments),
		Violations: w.violations, Needed: w.needed}
}

// rest is the time after the storm, until everybody is paid.
func (w *World) rest() {
	w.calmDown()
	since := w.chain.head().number
	for end := w.steps + calmSteps; w.steps < end && len(w.violations) == 0; {
		if w.steps%20 == 0 {
			w.read()
			w.repeat()
		}
		w.supervise()
		w.step()
		if !w.quiet() {
			since = w.chain.head().number
		} else if w.chain.head().number > since+30 {
			break
		}
	}
	if len(w.violations) == 0 {
		w.checkRest()
	}
}

// end ends what still runs.
func (w *World) end() {
	for _, p := range slices.Clone(w.procs) {
		p.kill()
	}
}
