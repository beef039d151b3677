package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	browsers   = 32              // connections that ask
	interval   = 5 * time.Second // between statistics, as they are by default
	quick      = time.Second     // between statistics while these are measured
	cycles     = 15              // that are measured
	gale       = 3 * time.Second // of each storm of one route
	accountRun = 4 * interval    // an answer about a miner is made anew within it
	pages      = 10              // of lists that are looked at
	some       = 1000            // miners that are looked at
)

// Rows of the API.
var apiRows = []string{
	"API: a cycle of statistics",
	"API: CPU of the pool a cycle",
	"API: Redis blocked by one command a cycle",
	"API: /api/miners a second",
	"API: CPU of the pool an /api/miners",
	"API: p99 of the slowest route",
	"API: a table of 5,000 blocks' rewards",
	"API: 10,000 accounts in turn, a second",
	"API: CPU of the pool an account",
	"API: memory of the pool meanwhile, at most",
}

// serving measures what browsers and phones cost, over the books of a large pool.
func serving(ctx context.Context, t *table, binary string, rows []string) error {
	w, err := newWorld(ctx)
	if err != nil {
		return err
	}
	defer w.close()
	b, err := openBooks(ctx, w.at)
	if err != nil {
		return err
	}
	defer b.close()
	if err := b.fill(ctx, time.Now()); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	mined := make(chan error, 1)
	go func() { mined <- b.mine(ctx) }()
	for _, part := range []struct {
		rows    []string
		measure func(context.Context, *table, *world, *books, string, []string) error
	}{
		{rows[0:3], statistics},
		{rows[3:5], allMiners},
		{rows[5:7], everyRoute},
		{rows[7:10], accounts},
	} {
		if err == nil && slices.ContainsFunc(part.rows, t.wants) {
			err = part.measure(ctx, t, w, b, binary, part.rows)
			w.pool.end()
		}
	}
	cancel()
	return errors.Join(err, <-mined)
}

// startAPI starts a pool for browsers, and returns when it has statistics.
func (w *world) startAPI(ctx context.Context, binary string, interval time.Duration) (metrics string, err error) {
	w.addr = ""
	err = w.startPool(ctx, binary, map[string]any{
		"api":     map[string]any{"enabled": true, "listen": "127.0.0.1:0", "statsCollectInterval": interval.String()},
		"metrics": map[string]any{"enabled": true, "listen": "127.0.0.1:0"},
	}, nil, func(message, listen string) bool {
		switch message {
		case "api":
			w.addr = listen
		case "metrics":
			metrics = listen
		}
		return w.addr != "" && metrics != ""
	})
	for began := time.Now(); err == nil; time.Sleep(10 * time.Millisecond) {
		var r *http.Response
		if r, err = fetch("http://"+metrics+"/readyz", ""); err != nil {
			break
		}
		r.Body.Close()
		if r.StatusCode == http.StatusOK {
			return metrics, nil
		}
		if time.Since(began) > patience {
			err = errors.New("the pool has no statistics")
		}
	}
	return metrics, err
}

func fetch(url, encoding string) (*http.Response, error) {
	r, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	if encoding != "" {
		r.Header.Set("Accept-Encoding", encoding)
	}
	return http.DefaultClient.Do(r)
}

// cycled says how many cycles there were, and how long they took together.
func cycled(metrics string) (n int, took time.Duration, err error) {
	r, err := fetch("http://"+metrics+"/metrics", "")
	if err != nil {
		return 0, 0, err
	}
	defer r.Body.Close()
	found := 0
	for lines := bufio.NewScanner(r.Body); lines.Scan(); {
		name, text, _ := strings.Cut(lines.Text(), " ")
		value, _ := strconv.ParseFloat(text, 64)
		switch name {
		case "pool_api_cycle_seconds_count":
			n, found = int(value), found+1
		case "pool_api_cycle_seconds_sum":
			took, found = time.Duration(value*float64(time.Second)), found+1
		}
	}
	if found != 2 {
		return 0, 0, errors.New("the metrics lack pool_api_cycle_seconds")
	}
	return n, took, nil
}

// statistics are collected while everybody mines; Redis says how long the longest
// of its commands took in each cycle, those that count shares included.
func statistics(ctx context.Context, t *table, w *world, b *books, binary string, rows []string) error {
	metrics, err := w.startAPI(ctx, binary, quick)
	if err != nil {
		return err
	}
	n, sum, err := cycled(metrics) // the first one reads everything
	before := w.pool.cpu()
	var took, blocked []float64
	for began := n; err == nil && n < began+cycles; {
		if err = b.watch(ctx); err != nil {
			break
		}
		var m int
		var s time.Duration
		for m = n; m == n && err == nil; m, s, err = cycled(metrics) {
			time.Sleep(quick / 4)
		}
		var worst time.Duration
		if worst, err = b.watched(ctx); err == nil {
			took, blocked = append(took, milliseconds(s-sum)/float64(m-n)), append(blocked, milliseconds(worst))
		}
		n, sum = m, s
	}
	if err != nil {
		return err
	}
	t.row(rows[0], "ms", fmt.Sprintf("%.0f", median(took)), "< 30", "234–394")
	t.row(rows[1], "ms", fmt.Sprintf("%.0f", milliseconds(w.pool.cpu()-before)/float64(cycles)), "", "")
	t.row(rows[2], "ms", fmt.Sprintf("%.1f", median(blocked)), "< 5", "155")
	return nil
}

// storms asks by so many connections for each of the list in turn.
func storms(w *world, connections int, d time.Duration, paths []string) (answers, error) {
	cs, err := dial(w.addr, connections)
	if err != nil {
		return answers{}, err
	}
	defer cs.close()
	requests := make([][]byte, len(paths))
	for i, path := range paths {
		requests[i] = request(path)
	}
	next := 0
	a, err := cs.storm(d, func() []byte {
		next++
		return requests[next%len(requests)]
	})
	if err == nil && a.failed > 0 {
		err = fmt.Errorf("%d of %d answers to %s are no success", a.failed, len(a.took), paths[0])
	}
	return a, err
}

// allMiners asks for the largest answer.
func allMiners(ctx context.Context, t *table, w *world, _ *books, binary string, rows []string) error {
	if _, err := w.startAPI(ctx, binary, interval); err != nil {
		return err
	}
	if err := check(w.addr, "/api/miners"); err != nil {
		return err
	}
	var rate, cost []float64
	for range rounds {
		before := w.pool.cpu()
		a, err := storms(w, browsers, gale, []string{"/api/miners"})
		if err != nil {
			return err
		}
		rate = append(rate, a.rate())
		cost = append(cost, (w.pool.cpu()-before).Seconds()*1e6/float64(len(a.took)))
		if *verbose {
			fmt.Fprintf(os.Stderr, "/api/miners: %.0f/s, %d bytes each, p99 %.1f ms, CPU %.0f µs\n", a.rate(), a.bytes/len(a.took), quantile(a.took, 0.99), cost[len(cost)-1])
		}
	}
	t.row(rows[0], "1/s", fmt.Sprintf("%.0f", median(rate)), "≥ 10,000", "411–430")
	t.row(rows[1], "µs", fmt.Sprintf("%.0f", median(cost)), "", "")
	return nil
}

// everyRoute asks each route by all connections at a time, but for tables of
// rewards, which one client reads: they are long, few are written at once, and
// whoever asks has time.
func everyRoute(ctx context.Context, t *table, w *world, b *books, binary string, rows []string) error {
	if _, err := w.startAPI(ctx, binary, interval); err != nil {
		return err
	}
	var worst float64
	var slowest string
	for _, paths := range b.routes() {
		if err := check(w.addr, paths[0]); err != nil {
			return err
		}
		var p99 []float64
		for range rounds {
			a, err := storms(w, browsers, gale/rounds, paths)
			if err != nil {
				return err
			}
			p99 = append(p99, quantile(a.took, 0.99))
			if *verbose {
				fmt.Fprintf(os.Stderr, "%s: %.0f/s, %d bytes each, p99 %.1f ms, worst %.1f ms\n", paths[0], a.rate(), a.bytes/len(a.took), quantile(a.took, 0.99), slices.Max(a.took))
			}
		}
		if p := median(p99); p > worst {
			worst, slowest = p, paths[0]
		}
	}
	t.row(rows[0], "ms", fmt.Sprintf("%.1f", worst), "< 10", "271")
	table, err := storms(w, 1, gale, b.about("/rewards.csv"))
	if err != nil {
		return err
	}
	t.row(rows[1], "ms", fmt.Sprintf("%.0f", median(table.took)), "", "")
	if *verbose {
		fmt.Fprintln(os.Stderr, "the slowest is", slowest)
	}
	return nil
}

// routes are all that there are, but for events, which do not end. Each is asked
// for its first pages, or about some miners.
func (b *books) routes() (all [][]string) {
	for _, path := range []string{"/", "/api/openapi.json", "/api/stats", "/api/miners", "/api/blocks", "/api/payments", "/api/finders"} {
		all = append(all, []string{path})
	}
	for _, path := range []string{"/api/miners", "/api/blocks", "/api/payments"} {
		var list []string
		for n := range pages {
			list = append(list, fmt.Sprintf("%s?limit=50&offset=%d", path, 50*n))
		}
		all = append(all, list)
	}
	for _, what := range []string{"", "/charts", "/payments", "/rewards", "/payments.csv"} {
		all = append(all, b.about(what))
	}
	return all
}

// about are a route's addresses of some miners.
func (b *books) about(what string) (list []string) {
	for _, login := range b.logins[:some] {
		list = append(list, "/api/accounts/"+login+what)
	}
	return list
}

// accounts asks about everybody, one after the other.
func accounts(ctx context.Context, t *table, w *world, b *books, binary string, rows []string) error {
	if _, err := w.startAPI(ctx, binary, interval); err != nil {
		return err
	}
	paths := make([]string, len(b.logins))
	for i, login := range b.logins {
		paths[i] = "/api/accounts/" + login
	}
	if err := check(w.addr, paths[0]); err != nil {
		return err
	}
	before := w.pool.cpu()
	a, err := storms(w, browsers, accountRun, paths)
	if err != nil {
		return err
	}
	cost := (w.pool.cpu() - before).Seconds() * 1e6 / float64(len(a.took))
	if *verbose {
		fmt.Fprintf(os.Stderr, "accounts: %d bytes each, p99 %.1f ms, resident %d MiB at the end\n", a.bytes/len(a.took), quantile(a.took, 0.99), w.pool.resident()>>20)
	}
	t.row(rows[0], "1/s", fmt.Sprintf("%.0f", a.rate()), "≥ 30,000", "6,224–19,310")
	t.row(rows[1], "µs", fmt.Sprintf("%.0f", cost), "", "")
	t.row(rows[2], "MiB", fmt.Sprintf("%.0f", float64(w.pool.peak())/(1<<20)), "< 100", "320")
	return nil
}

// watch lets Redis write down from now on how long every command takes.
func (b *books) watch(ctx context.Context) error {
	for _, command := range [][]any{{"CONFIG", "SET", "latency-tracking-info-percentiles", "100"}, {"CONFIG", "RESETSTAT"}} {
		if err := b.rdb.Do(ctx, command...).Err(); err != nil {
			return err
		}
	}
	return nil
}

// watched is how long the longest took since then.
func (b *books) watched(ctx context.Context) (worst time.Duration, err error) {
	text, err := b.rdb.Info(ctx, "latencystats").Result()
	if err != nil {
		return 0, err
	}
	var which string
	for line := range strings.Lines(text) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), ":p100=")
		if !ok {
			continue
		}
		us, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return 0, fmt.Errorf("redis says %q: %w", line, err)
		}
		if took := time.Duration(us * float64(time.Microsecond)); took > worst {
			worst, which = took, name
		}
	}
	if which == "" {
		return 0, errors.New("redis says nothing of how long commands took")
	}
	if *verbose {
		fmt.Fprintf(os.Stderr, "redis: %s took %s\n", strings.TrimPrefix(which, "latency_percentiles_usec_"), worst)
	}
	return worst, nil
}
