// Command bench prints one table: what the pool costs its operator, beside the
// aim and what the existing pools cost on the machine of docs/performance.md. It
// is a module of its own, so that their code does not weigh on the pool's.
//
//	main.go    the table, row by row
//	verify.go  our verifier and go-etchash, in turn
//	pool.go    the real pool and a real redis-server, in processes of their own
//	node.go    a node that gives work, here
//	rigs.go    miners that send shares, here
//	herd.go    miners that listen, here
//	api.go     the rows of the API
//	books.go   the books of a large pool
//	clients.go browsers and phones, here
//
// Everything is on one machine and goes over the loopback device: nodes, miners
// and Redis take their processor time from the pool's.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"runtime"
	"slices"
	"strings"
	"time"
)

const (
	busy      = 50     // connections that send shares
	idle      = 10_000 // connections that do not
	jobs      = 20     // new jobs to all of them
	quickJobs = 100    // new jobs to the busy ones
	rounds    = 5      // of everything that is noisy; the median counts
	steady    = 200    // shares a second while the latency is measured
)

// verbose asks for details.
var verbose = new(bool)

func main() {
	pool := flag.String("pool", "../bin/open-ethereum-pool", "the pool's `binary`")
	only := flag.String("only", "", "print the `rows` that begin with this")
	flag.BoolVar(verbose, "v", false, "print what the rows of the API are made of, to standard error")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	t := &table{only: *only}
	if err := fill(ctx, t, *pool); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

// fill measures, and prints each row as soon as it is known.
func fill(ctx context.Context, t *table, binary string) error {
	fmt.Printf("%d processors, %s, %s\n\n", runtime.NumCPU(), runtime.Version(), time.Now().Format("January 2006"))
	t.head()
	for _, epoch := range []uint64{0, 390} {
		row := fmt.Sprintf("CPU of a verified share, epoch %d", epoch)
		if !t.wants(row) {
			continue
		}
		ours, theirs, err := verification(ctx, epoch)
		if err != nil {
			return err
		}
		t.row(row, "µs", fmt.Sprintf("%.0f", ours), fmt.Sprintf("≤ %.0f", theirs/5), fmt.Sprintf("2 × %.0f", theirs))
	}
	for _, part := range []struct {
		rows    []string
		measure func(context.Context, *table, string, []string) error
	}{
		{[]string{"valid shares a second, 50 connections", "CPU of the pool a valid share"}, throughput},
		{[]string{"latency at 200 shares a second, p99", "latency at 200 shares a second, p50"}, latency},
		{[]string{"new work at the node → miner, p50"}, work},
		{[]string{"memory of an idle connection, after GC"}, memory},
		{[]string{"new job to 10,000 miners, first to last", "CPU of the pool a new job to 10,000"}, broadcast},
		{apiRows, serving},
	} {
		if !slices.ContainsFunc(part.rows, t.wants) {
			continue
		}
		if err := part.measure(ctx, t, binary, part.rows); err != nil {
			return fmt.Errorf("%s: %w", part.rows[0], err)
		}
	}
	return nil
}

// throughput is how fast shares are verified and counted when there are always
// some waiting.
func throughput(ctx context.Context, t *table, binary string, rows []string) error {
	w, err := open(ctx, binary)
	if err != nil {
		return err
	}
	defer w.close()
	rigs, err := connect(w.addr, busy)
	if err != nil {
		return err
	}
	defer rigs.close()
	var rate, cost []float64
	for round := range rounds + 1 {
		before, began := w.pool.cpu(), time.Now()
		n, err := rigs.race(4 * time.Second)
		if err != nil {
			return err
		}
		if round > 0 { // the first one warms up
			rate = append(rate, float64(n)/time.Since(began).Seconds())
			cost = append(cost, (w.pool.cpu()-before).Seconds()/float64(n)*1e6)
		}
	}
	t.row(rows[0], "1/s", fmt.Sprintf("%.0f", median(rate)), "≥ 2,500", "673–808")
	t.row(rows[1], "µs", fmt.Sprintf("%.0f", median(cost)), "", "2,050–2,900")
	return nil
}

// latency is the time from a share's sending to its answer when the pool has
// time to spare.
func latency(ctx context.Context, t *table, binary string, rows []string) error {
	w, err := open(ctx, binary)
	if err != nil {
		return err
	}
	defer w.close()
	rigs, err := connect(w.addr, busy)
	if err != nil {
		return err
	}
	defer rigs.close()
	var p50, p99 []float64
	for range rounds {
		took, err := rigs.stroll(1000, steady)
		if err != nil {
			return err
		}
		p50, p99 = append(p50, quantile(took, 0.50)), append(p99, quantile(took, 0.99))
	}
	t.row(rows[0], "ms", fmt.Sprintf("%.1f", median(p99)), "< 10", "")
	t.row(rows[1], "ms", fmt.Sprintf("%.1f", median(p50)), "", "")
	return nil
}

// work is the time from the node's having new work to the miners' having it.
func work(ctx context.Context, t *table, binary string, rows []string) error {
	w, err := open(ctx, binary)
	if err != nil {
		return err
	}
	defer w.close()
	h, err := gather(w.addr, busy)
	if err != nil {
		return err
	}
	defer h.close()
	var took []float64
	for range quickJobs {
		time.Sleep(53 * time.Millisecond) // the pool looks by itself as well, at other times
		given := w.node.advance()
		at, err := h.hear(patience)
		if err != nil {
			return err
		}
		for _, a := range at {
			took = append(took, milliseconds(a.Sub(given)))
		}
	}
	t.row(rows[0], "ms", fmt.Sprintf("%.1f", median(took)), "< 10", "115")
	return nil
}

// memory is what an idle connection holds, all of the process included. The
// garbage collector runs all the time meanwhile: how much garbage it lets stand
// otherwise is not up to the connections.
func memory(ctx context.Context, t *table, binary string, rows []string) error {
	if err := room(idle); err != nil {
		t.row(rows[0], "", err.Error(), "", "")
		return nil
	}
	w, err := open(ctx, binary, "GOGC=1")
	if err != nil {
		return err
	}
	defer w.close()
	before := w.pool.resident()
	h, err := gather(w.addr, idle)
	if err != nil {
		return err
	}
	defer h.close()
	t.row(rows[0], "KiB", fmt.Sprintf("%.1f", float64(w.pool.resident()-before)/idle/1024), "≤ 6", "8.7")
	return nil
}

// broadcast is how long it takes until everybody has a new job, once the first
// has.
func broadcast(ctx context.Context, t *table, binary string, rows []string) error {
	if err := room(idle); err != nil {
		t.row(rows[0], "", err.Error(), "", "")
		return nil
	}
	w, err := open(ctx, binary)
	if err != nil {
		return err
	}
	defer w.close()
	h, err := gather(w.addr, idle)
	if err != nil {
		return err
	}
	defer h.close()
	var spans, cost []float64
	for range jobs {
		time.Sleep(200 * time.Millisecond)
		before := w.pool.cpu()
		w.node.advance()
		at, err := h.hear(patience)
		if err != nil {
			return err
		}
		spans = append(spans, milliseconds(slices.MaxFunc(at, time.Time.Compare).Sub(slices.MinFunc(at, time.Time.Compare))))
		cost = append(cost, milliseconds(w.pool.cpu()-before))
	}
	t.row(rows[0], "ms", fmt.Sprintf("%.0f", median(spans)), "< 50", "114")
	t.row(rows[1], "ms", fmt.Sprintf("%.1f", median(cost)), "", "108–111")
	return nil
}

// table is printed in Markdown, aligned for a terminal.
type table struct{ only string }

func (t *table) wants(row string) bool { return strings.HasPrefix(row, t.only) }

func (t *table) head() {
	t.line("", "unit", "this pool", "aim", "existing pools")
	fmt.Printf("|%s|-----|-----------|-----------|----------------|\n", strings.Repeat("-", 44))
}

func (t *table) row(what, unit, ours, aim, theirs string) {
	if t.wants(what) {
		t.line(what, unit, ours, aim, theirs)
	}
}

func (t *table) line(what, unit, ours, aim, theirs string) {
	fmt.Printf("| %-42s | %-3s | %9s | %9s | %14s |\n", what, unit, ours, aim, theirs)
}

func milliseconds(d time.Duration) float64 { return d.Seconds() * 1e3 }

func median(list []float64) float64 { return quantile(list, 0.5) }

// quantile sorts the list.
func quantile(list []float64, q float64) float64 {
	slices.Sort(list)
	return list[int(q*float64(len(list)-1))]
}
