package api

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// Monitor serves /metrics, /healthz and /readyz on a listener of its own, which
// is not for the public.
type Monitor struct {
	Registry *prometheus.Registry
	listen   string
	log      *slog.Logger

	mu     sync.Mutex // of checks
	checks map[string]func(context.Context) error
}

// NewMonitor makes a monitor of this process; modules add what they know.
func NewMonitor(listen string, log *slog.Logger) *Monitor {
	m := &Monitor{Registry: prometheus.NewRegistry(), listen: listen, log: log, checks: map[string]func(context.Context) error{}}
	m.Registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Check adds a reason not to be ready: whenever the check returns an error.
func (m *Monitor) Check(name string, check func(context.Context) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.checks[name] = check
}

// checkWait is how long /readyz waits for an answer.
const checkWait = 2 * time.Second

// ready says what is not; empty when all is.
func (m *Monitor) ready(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(ctx, checkWait)
	defer cancel()
	m.mu.Lock()
	defer m.mu.Unlock()
	var bad []string
	for name, check := range m.checks {
		if err := check(ctx); err != nil {
			bad = append(bad, fmt.Sprintf("%s: %v", name, err))
		}
	}
	slices.Sort(bad)
	return bad
}

// ServeHTTP answers one request.
func (m *Monitor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text := func(status int, lines ...string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(status)
		fmt.Fprintln(w, strings.Join(lines, "\n"))
	}
	switch r.URL.Path {
	case "/healthz":
		text(http.StatusOK, "ok")
	case "/readyz":
		if bad := m.ready(r.Context()); len(bad) > 0 {
			text(http.StatusServiceUnavailable, bad...)
			return
		}
		text(http.StatusOK, "ok")
	case "/metrics":
		promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	default:
		text(http.StatusNotFound, "want /metrics, /healthz or /readyz")
	}
}

// Run serves until ctx ends.
func (m *Monitor) Run(ctx context.Context) error {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", m.listen)
	if err != nil {
		return fmt.Errorf("metrics.listen: %w", err)
	}
	m.log.Info("metrics", "listen", l.Addr().String())
	return serveHTTP(ctx, l, m, func() {})
}

// metrics are the API's numbers.
type metrics struct {
	cycles   prometheus.Histogram
	failures prometheus.Counter
	requests *prometheus.CounterVec
}

// newMetrics registers them, unless there is nowhere to.
func newMetrics(a *API, to prometheus.Registerer) *metrics {
	m := &metrics{
		cycles: prometheus.NewHistogram(prometheus.HistogramOpts{Name: "pool_api_cycle_seconds", Help: "How long statistics took to collect.",
			Buckets: []float64{.001, .0025, .005, .01, .02, .03, .05, .1, .25, .5, 1, 5}}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "pool_api_cycle_failures_total", Help: "Cycles that could not read the books."}),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{Name: "pool_api_requests_total", Help: "Requests by route and status."}, []string{"route", "status"}),
	}
	if to == nil {
		return m
	}
	to.MustRegister(m.cycles, m.failures, m.requests)
	gauge := func(name, help string, value func(*snapshot) float64) {
		to.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: name, Help: help}, func() float64 {
			if s := a.snap.Load(); s != nil {
				return value(s)
			}
			return 0
		}))
	}
	gauge("pool_hashrate", "Hashes per second over the small window.", func(s *snapshot) float64 { return float64(s.pool.Hashrate) })
	gauge("pool_miners", "Miners with shares in the large window.", func(s *snapshot) float64 { return float64(s.pool.MinersTotal) })
	gauge("pool_workers", "Workers with shares in the large window.", func(s *snapshot) float64 { return float64(s.pool.WorkersTotal) })
	gauge("pool_round_shares", "Difficulty of all shares since the last block.", func(s *snapshot) float64 { return float64(s.pool.Round.Shares) })
	gauge("pool_last_block_found_seconds", "Unix time of the last block.", func(s *snapshot) float64 { return float64(s.pool.Stats["lastBlockFound"]) })
	gauge("pool_blocks_candidates", "Blocks that the unlocker has not seen.", func(s *snapshot) float64 { return float64(s.pool.CandidatesTotal) })
	gauge("pool_blocks_immature", "Blocks that are not deep enough.", func(s *snapshot) float64 { return float64(s.pool.ImmatureTotal) })
	gauge("pool_blocks_matured", "Blocks that were credited, and orphans.", func(s *snapshot) float64 { return float64(s.pool.MaturedTotal) })
	gauge("pool_network_height", "Height of the chain.", func(s *snapshot) float64 { return float64(s.pool.Network.Height) })
	gauge("pool_network_difficulty", "Difficulty of the chain.", func(s *snapshot) float64 { return float64(s.pool.Network.Difficulty) })
	gauge("pool_payments", "Payments ever made.", func(s *snapshot) float64 { return float64(s.pool.PaymentsTotal) })
	gauge("pool_payments_pending", "Payments that no node has taken yet.", func(s *snapshot) float64 { return float64(len(s.pending)) })
	gauge("pool_wallet_shannon", "On the pool's account, -1 while not known.", func(s *snapshot) float64 { return float64(s.pool.Payouts.Wallet) })
	gauge("pool_liabilities_shannon", "Balances of all miners, and payments that are in no block yet.", func(s *snapshot) float64 { return float64(s.pool.Payouts.Liabilities) })
	gauge("pool_payouts_halted", "1 while payouts are halted.", func(s *snapshot) float64 {
		if s.pool.Payouts.State == payoutsHalted {
			return 1
		}
		return 0
	})
	gauge("pool_session_due", "Miners due in the present or last session.", func(s *snapshot) float64 { return float64(s.pool.Payouts.Session.Due) })
	gauge("pool_session_paid", "Miners paid in the present or last session.", func(s *snapshot) float64 { return float64(s.pool.Payouts.Session.Paid) })
	gauge("pool_audit_findings", "Rows that the last audit found wrong.", func(s *snapshot) float64 { return float64(s.meta.AuditFindings) })
	gauge("pool_audit_time_seconds", "Unix time of the last audit, 0 while there was none.", func(s *snapshot) float64 { return float64(s.meta.AuditTime) })
	for _, part := range []string{storage.LookedJournal, storage.LookedChain} {
		gauge("pool_audit_"+part, "1 when the last audit looked at the "+part+".", func(s *snapshot) float64 {
			if lookedAt(s.meta, part) {
				return 1
			}
			return 0
		})
	}
	gauge("pool_statistics_time_seconds", "Unix time of the statistics.", func(s *snapshot) float64 { return float64(s.now) })
	gauge("pool_api_listeners", "Clients of /api/events.", func(*snapshot) float64 { return float64(a.hub.size()) })
	gauge("pool_api_cache_bytes", "Memory of answers about accounts.", func(*snapshot) float64 { _, bytes := a.cache.stats(); return float64(bytes) })
	return m
}

// route counts the requests of one route by their status.
func (m *metrics) route(path string) func(status int) {
	ok := m.requests.WithLabelValues(path, "200")
	known := m.requests.WithLabelValues(path, "304")
	return func(status int) {
		switch status {
		case http.StatusOK:
			ok.Inc()
		case http.StatusNotModified:
			known.Inc()
		default:
			m.requests.WithLabelValues(path, strconv.Itoa(status)).Inc()
		}
	}
}

func (m *metrics) cycled(took time.Duration, err error) {
	m.cycles.Observe(took.Seconds())
	if err != nil {
		m.failures.Inc()
	}
}
