package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/figure"
)

// sides are those whose conversations with the pool are swept, in the order of the
// table.
var sides = []string{"redis", "node", "signer"}

// abreast is how many sweeps go on at once: a life waits more than it works.
const abreast = 6

// sweeps has build/e2e try every point, and returns what that came to. What is
// printed meanwhile goes to out.
func sweeps(ctx context.Context, out io.Writer, pattern string) (all []figure.Sweep, passed bool, err error) {
	dir, err := os.MkdirTemp("", "prove-")
	if err != nil {
		return nil, false, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // of no use to anybody
	path := filepath.Join(dir, "figures")
	cmd := exec.CommandContext(ctx, "go", "test", "./build/e2e", "-count", "1", "-timeout", "4h", "-parallel", fmt.Sprint(abreast),
		"-run", pattern, "-every", "-figures", path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // so that the tests are interrupted, too
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGINT) }
	cmd.WaitDelay = time.Minute
	cmd.Stdout, cmd.Stderr = out, out
	done, told := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(told)
		tell(out, path, done)
	}()
	ran := cmd.Run()
	close(done)
	<-told
	all, err = read(path)
	if err != nil {
		err = cmp.Or(ran, err)
	}
	return all, ran == nil, err
}

func read(path string) ([]figure.Sweep, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	return figure.Read(file)
}

// tell says from time to time how far the sweeps are.
func tell(out io.Writer, path string, done <-chan struct{}) {
	begun := time.Now()
	for {
		select {
		case <-done:
			return
		case <-time.After(30 * time.Second):
		}
		if all, err := read(path); err == nil {
			t := tabulate(all)
			fmt.Fprintf(out, "%d sweeps, %d points, %d paid twice, %d not paid, %s\n", t.tests, t.points, t.double, t.lost, time.Since(begun).Round(time.Second))
			for _, what := range t.wrong {
				fmt.Fprintf(out, "WRONG %s\n", what)
			}
		}
	}
}

// swept is one row of the table: a fault of one component, on all sides and in both
// phases.
type swept struct {
	component, fault, again string
	points                  map[string]int // by side
	double, lost, person    int
}

// table is what all sweeps came to.
type table struct {
	rows                         []*swept
	points, double, lost, person int
	reasons                      map[string]int // why a person was needed
	wrong                        []string
	tests                        int
}

func tabulate(all []figure.Sweep) table {
	t := table{reasons: map[string]int{}, tests: len(all)}
	for _, s := range all {
		i := slices.IndexFunc(t.rows, func(r *swept) bool { return r.component == s.Component && r.fault == s.Fault && r.again == again(s) })
		if i < 0 {
			i = len(t.rows)
			t.rows = append(t.rows, &swept{component: s.Component, fault: s.Fault, again: again(s), points: map[string]int{}})
		}
		r := t.rows[i]
		r.points[s.Side] += s.Points
		r.double += s.Double
		r.lost += s.Lost
		t.points += s.Points
		t.double += s.Double
		t.lost += s.Lost
		for why, n := range s.Person {
			r.person += n
			t.person += n
			t.reasons[why] += n
		}
		t.wrong = append(t.wrong, s.Wrong...)
	}
	slices.SortStableFunc(t.rows, func(a, b *swept) int { return cmp.Compare(a.component, b.component) })
	return t
}

// again is the test that tries one point of the sweep, without side and phase.
func again(s figure.Sweep) string {
	parts := strings.Split(s.Test, "/")
	return strings.Join(parts[:max(1, len(parts)-2)], "/")
}

// print writes the table as Markdown, which is for people as well.
func (t table) print(out io.Writer) {
	lines := [][]string{append(append([]string{"component", "fault"}, sides...), "paid twice", "not paid", "person", "test")}
	for _, r := range t.rows {
		line := []string{r.component, r.fault}
		for _, side := range sides {
			line = append(line, fmt.Sprint(r.points[side]))
		}
		lines = append(lines, append(line, fmt.Sprint(r.double), fmt.Sprint(r.lost), fmt.Sprint(r.person), r.again))
	}
	width := make([]int, len(lines[0]))
	number := func(column int) bool { return column > 1 && column < len(width)-1 }
	for _, line := range lines {
		for i, cell := range line {
			width[i] = max(width[i], len(cell))
		}
	}
	rule := make([]string, len(width))
	for i, n := range width {
		if rule[i] = strings.Repeat("-", n); number(i) {
			rule[i] = strings.Repeat("-", n-1) + ":"
		}
	}
	for _, line := range slices.Insert(lines, 1, rule) {
		for i, cell := range line {
			if number(i) {
				fmt.Fprintf(out, "| %*s ", width[i], cell)
			} else {
				fmt.Fprintf(out, "| %-*s ", width[i], cell)
			}
		}
		fmt.Fprintln(out, "|")
	}
}

// sum writes what the table adds up to.
func (t table) sum(out io.Writer) {
	fmt.Fprintf(out, "sweep points tried: %d, in %d sweeps\ndouble payments: %d\nlost payments: %d\ncases that needed a person: %d\n",
		t.points, t.tests, t.double, t.lost, t.person)
	list(out, t.reasons)
	for _, what := range t.wrong {
		fmt.Fprintf(out, "WRONG %s\n", what)
	}
	fmt.Fprintln(out, "one point again, by its number and its test in the table:")
	fmt.Fprintln(out, "    go test ./build/e2e -v -run 'SweepOfPayouts/keystore/node/kill_after_effect' -point 17")
}
