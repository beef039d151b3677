package api

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/gorilla/mux"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Parts is what the API works with.
type Parts struct {
	DB        *storage.DB
	Log       *slog.Logger
	Now       func() time.Time      // nil is the clock
	Settings  Settings              // of the pages
	Threshold util.Shannon          // until payouts say theirs
	Pages     fs.FS                 // with an index.html; nil where the binary was built without
	Metrics   prometheus.Registerer // nil for none
}

// API serves the pool's statistics and its pages.
type API struct {
	cfg   Config
	parts Parts
	db    *storage.DB
	log   *slog.Logger

	c       *collector
	snap    atomic.Pointer[snapshot]
	failing atomic.Pointer[error] // why the last cycle made no snapshot; nil when it did
	cache   *cache
	hub     *hub
	metrics *metrics
	age     []string // Cache-Control of statistics
	csv     chan struct{}
	tables  *turnstile
	streams *turnstile
	routes  *mux.Router
	pages   http.Handler
}

// New makes an API that serves nothing yet.
func New(cfg Config, parts Parts) (*API, error) {
	if parts.Now == nil {
		parts.Now = time.Now
	}
	c, err := newCollector(cfg, parts)
	if err != nil {
		return nil, err
	}
	a := &API{cfg: cfg, parts: parts, db: parts.DB, log: parts.Log, c: c, hub: newHub(), age: maxAge(c.age()), csv: make(chan struct{}, csvMost),
		tables: newTurnstile(csvMostFrom), streams: newTurnstile(listenersMostFrom)}
	a.cache = newCache(a.snap.Load)
	a.metrics = newMetrics(a, parts.Metrics)
	if a.pages, err = newPages(parts.Pages); err != nil {
		return nil, err
	}
	a.routes = a.router()
	return a, nil
}

// route is one resource.
type route struct {
	path  string
	serve func(w http.ResponseWriter, r *http.Request) (status int)
}

//go:embed openapi.json
var openAPI []byte

// accountPath is what all that is about one miner begins with.
const accountPath = "/api/accounts/"

// resources are all that is under /api.
func (a *API) resources() []route {
	spec := newAnswer(kindJSON, maxAge(300), openAPI)
	account := accountPath + "{login}"
	return []route{
		{account, a.onAccount(func(_ *http.Request, login string) (string, builder, error) {
			return "a" + login, a.accountOf(login), nil
		})},
		{"/api/stats", a.onSnapshot(func(s *snapshot) *answer { return s.stats })},
		{"/api/miners", a.miners},
		{"/api/blocks", a.blocks},
		{"/api/payments", a.payments},
		{"/api/finders", a.onSnapshot(func(s *snapshot) *answer { return s.finders })},
		{account + "/charts", a.onAccount(func(_ *http.Request, login string) (string, builder, error) {
			return "c" + login, func(ctx context.Context, s *snapshot) (*answer, error) { return a.accountCharts(ctx, s, login) }, nil
		})},
		{account + "/payments", a.onAccount(a.paged("p", a.cfg.Payments, a.accountPayments))},
		{account + "/rewards", a.onAccount(a.paged("r", a.cfg.Blocks, a.accountRewards))},
		{account + "/payments.csv", a.onCSV("payments", a.paymentsCSV)},
		{account + "/rewards.csv", a.onCSV("rewards", a.rewardsCSV)},
		{"/api/events", a.events},
		{"/api/openapi.json", spec.serve},
	}
}

func (a *API) router() *mux.Router {
	m := mux.NewRouter()
	for _, res := range a.resources() {
		count := a.metrics.route(res.path)
		m.MatcherFunc(at(res.path)).HandlerFunc(func(w http.ResponseWriter, r *http.Request) { count(res.serve(w, r)) })
	}
	m.NotFoundHandler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fail(w, http.StatusNotFound, "there is no %.100s; /api/openapi.json says what there is", r.URL.Path)
	})
	return m
}

// at tells whether a request is for a path, in which {login} stands for anything
// without a slash. What mux makes of such a path itself is a regular expression, which
// costs a tenth of an answer from memory.
func at(path string) mux.MatcherFunc {
	before, after, hasLogin := strings.Cut(path, "{login}")
	return func(r *http.Request, _ *mux.RouteMatch) bool {
		asked := r.URL.EscapedPath()
		if !hasLogin {
			return asked == path
		}
		rest, begins := strings.CutPrefix(asked, before)
		login, ends := strings.CutSuffix(rest, after)
		return begins && ends && login != "" && !strings.Contains(login, "/")
	}
}

// urlMost is the longest address that is looked at, in bytes.
const urlMost = 2048

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	isAPI := r.URL.Path == "/api" || strings.HasPrefix(r.URL.Path, "/api/")
	if isAPI {
		h["Access-Control-Allow-Origin"] = anyOrigin
		h["Access-Control-Expose-Headers"] = ageOfAnswer
	}
	switch {
	case len(r.RequestURI) > urlMost:
		fail(w, http.StatusRequestURITooLong, "the address has %d bytes, want at most %d", len(r.RequestURI), urlMost)
	case r.Method == http.MethodOptions:
		h.Set("Allow", allowed)
		h.Set("Access-Control-Allow-Methods", allowed)
		h.Set("Access-Control-Allow-Headers", "*")
		h.Set("Access-Control-Max-Age", "86400")
		w.WriteHeader(http.StatusNoContent)
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		h.Set("Allow", allowed)
		fail(w, http.StatusMethodNotAllowed, "the method is %.20q, want GET", r.Method)
	case isAPI:
		var match mux.RouteMatch
		a.routes.Match(r, &match)     // there is one always: the last is for what is not found
		match.Handler.ServeHTTP(w, r) // mux would copy the request twice, to tell the route and the login
	default:
		a.pages.ServeHTTP(w, r)
	}
}

const allowed = "GET, HEAD, OPTIONS"

// unready answers while there are no statistics.
func unready(w http.ResponseWriter) int {
	w.Header().Set("Retry-After", "5")
	return fail(w, http.StatusServiceUnavailable, "%v; try again in a moment", errNoSnapshot)
}

// onSnapshot serves what a cycle made.
func (a *API) onSnapshot(choose func(*snapshot) *answer) func(http.ResponseWriter, *http.Request) int {
	return func(w http.ResponseWriter, r *http.Request) int {
		s := a.snap.Load()
		if s == nil {
			return unready(w)
		}
		return choose(s).serve(w, r)
	}
}

// page is a part of a list.
type page struct{ offset, limit int64 }

// pageMost is the most that a page has.
const pageMost = 1000

// pageOf reads limit and offset; asked says whether there was any of them.
func pageOf(r *http.Request, usual int64) (p page, asked bool, err error) {
	p = page{limit: min(usual, pageMost)}
	if r.URL.RawQuery == "" {
		return p, false, nil
	}
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return p, false, errors.New("the query cannot be read")
	}
	for _, e := range []struct {
		name  string
		to    *int64
		least int64
	}{{"limit", &p.limit, 1}, {"offset", &p.offset, 0}} {
		if !q.Has(e.name) {
			continue
		}
		asked = true
		n, err := strconv.ParseInt(q.Get(e.name), 10, 64)
		if err != nil || n < e.least || n > 1<<40 {
			return p, true, fmt.Errorf("%s is %.30q, want a whole number from %d on", e.name, q.Get(e.name), e.least)
		}
		*e.to = n
	}
	p.limit = min(p.limit, pageMost)
	return p, asked, nil
}

func (p page) String() string {
	return strconv.FormatInt(p.offset, 10) + "+" + strconv.FormatInt(p.limit, 10)
}

// cut is the part of a list that is on the page, never nil.
func cut[T any](list []T, p page) []T {
	n := int64(len(list))
	from := min(p.offset, n)
	return orEmpty(list[from:min(n, from+p.limit)])
}

// pageUsual is how many miners a page has unless told otherwise.
const pageUsual = 100

func (a *API) miners(w http.ResponseWriter, r *http.Request) int {
	s := a.snap.Load()
	p, asked, err := pageOf(r, pageUsual)
	find := strings.ToLower(r.URL.Query().Get("find"))
	switch {
	case err != nil:
		return fail(w, http.StatusBadRequest, "%v", err)
	case len(find) > findMost:
		return fail(w, http.StatusBadRequest, "find has %d bytes, want at most %d: a part of an address", len(find), findMost)
	case s == nil:
		return unready(w)
	case !asked && find == "":
		return s.miners.serve(w, r)
	}
	return a.cached(w, r, "M"+p.String()+"?"+find, 1, func(_ context.Context, s *snapshot) (*answer, error) { return s.minersPage(p, find, a.age) })
}

// findMost is as long as an address.
const findMost = 42

// minersPage makes a page of /api/miners: of all, or of those whose login contains
// what is looked for.
func (s *snapshot) minersPage(p page, find string, age []string) (*answer, error) {
	list := s.list
	v := minersView{Now: s.pool.Now, Miners: map[string]minerView{}, Hashrate: s.pool.Hashrate, MinersTotal: len(s.list)}
	if find != "" {
		list = slices.DeleteFunc(slices.Clone(list), func(m listedMiner) bool { return !strings.Contains(strings.ToLower(m.Login), find) })
		v.Found = new(int)
		*v.Found = len(list)
	}
	v.List = cut(list, p)
	for _, m := range v.List {
		v.Miners[m.Login] = m.minerView
	}
	return encode(age, v)
}

func (a *API) blocks(w http.ResponseWriter, r *http.Request) int {
	s := a.snap.Load()
	p, asked, err := pageOf(r, a.cfg.Blocks)
	switch {
	case err != nil:
		return fail(w, http.StatusBadRequest, "%v", err)
	case s == nil:
		return unready(w)
	case !asked:
		return s.blocks.serve(w, r)
	}
	return a.cached(w, r, "B"+p.String(), 1, func(ctx context.Context, s *snapshot) (*answer, error) {
		v := s.blockLists
		if remembered := int64(len(v.Matured)); p.offset+p.limit <= remembered || remembered >= v.MaturedTotal || p.offset >= v.MaturedTotal {
			v.Matured = cut(v.Matured, p)
			return encode(a.age, v)
		}
		blocks, _, err := a.db.MaturedBlocks(ctx, p.offset, p.limit)
		if err != nil {
			return nil, err
		}
		v.Matured = make([]blockView, 0, len(blocks))
		for _, b := range blocks {
			v.Matured = append(v.Matured, foundView(b, stateMatured, s.head))
		}
		return encode(a.age, v)
	})
}

func (a *API) payments(w http.ResponseWriter, r *http.Request) int {
	s := a.snap.Load()
	p, asked, err := pageOf(r, a.cfg.Payments)
	switch {
	case err != nil:
		return fail(w, http.StatusBadRequest, "%v", err)
	case s == nil:
		return unready(w)
	case !asked:
		return s.payments.serve(w, r)
	}
	return a.cached(w, r, "P"+p.String(), 1, func(ctx context.Context, s *snapshot) (*answer, error) {
		v := paymentsView{PaymentsTotal: s.pool.PaymentsTotal, Payments: []paymentView{}, Pending: s.pending, Days: s.days}
		if remembered := int64(len(s.paid)); p.offset+p.limit <= remembered || remembered >= v.PaymentsTotal || p.offset >= v.PaymentsTotal {
			v.Payments = cut(s.paid, p)
			return encode(a.age, v)
		}
		rows, total, err := a.db.PaidPage(ctx, "", p.offset, p.limit)
		if err != nil {
			return nil, err
		}
		known, err := a.c.statuses(ctx, s.meta, rows)
		if err != nil {
			return nil, err
		}
		v.PaymentsTotal = total
		for _, row := range rows {
			v.Payments = append(v.Payments, paidView(row, known, s.head))
		}
		return encode(a.age, v)
	})
}

// cached serves an answer that is made on demand.
func (a *API) cached(w http.ResponseWriter, r *http.Request, key string, cycles uint64, build builder) int {
	answer, err := a.cache.get(r.Context(), key, cycles, build)
	if err != nil {
		return a.unmade(w, r, err)
	}
	return answer.serve(w, r)
}

// unmade answers where the cache has no answer, and says why.
func (a *API) unmade(w http.ResponseWriter, r *http.Request, err error) int {
	if errors.Is(err, errNoSnapshot) {
		return unready(w)
	}
	if r.Context().Err() == nil && a.failing.Load() == nil { // else it was said
		a.log.Warn("an answer could not be made", "path", r.URL.Path, "err", err)
	}
	return unreadable(w)
}

// unreadable answers while Redis does not.
func unreadable(w http.ResponseWriter) int {
	w.Header().Set("Retry-After", "5")
	return fail(w, http.StatusServiceUnavailable, "the books cannot be read right now; try again in a moment")
}

// loginOf reads the login of the path, in lower case.
func loginOf(r *http.Request) (string, error) {
	asked, _, _ := strings.Cut(strings.TrimPrefix(r.URL.EscapedPath(), accountPath), "/")
	login := strings.ToLower(asked)
	if !util.IsLogin(login) {
		return "", fmt.Errorf("%.60q is no login, want 0x and 40 hex digits", asked)
	}
	return login, nil
}

// builder makes an answer in a cycle.
type builder func(context.Context, *snapshot) (*answer, error)

// chooser says under which key an answer about a miner is kept, and how it is made.
type chooser func(r *http.Request, login string) (key string, build builder, err error)

// onAccount serves what is about one miner.
func (a *API) onAccount(choose chooser) func(http.ResponseWriter, *http.Request) int {
	return func(w http.ResponseWriter, r *http.Request) int {
		login, err := loginOf(r)
		if err != nil {
			return fail(w, http.StatusBadRequest, "%v", err)
		}
		key, build, err := choose(r, login)
		if err != nil {
			return fail(w, http.StatusBadRequest, "%v", err)
		}
		return a.cached(w, r, key, accountCycles, build)
	}
}

func (a *API) accountOf(login string) builder {
	return func(ctx context.Context, s *snapshot) (*answer, error) { return a.account(ctx, s, login) }
}

func (a *API) paged(prefix string, usual int64, make func(context.Context, *snapshot, string, page) (*answer, error)) chooser {
	return func(r *http.Request, login string) (string, builder, error) {
		p, _, err := pageOf(r, usual)
		return prefix + login + p.String(), func(ctx context.Context, s *snapshot) (*answer, error) { return make(ctx, s, login, p) }, err
	}
}

// Ready says why the statistics are not up to date, or nil.
func (a *API) Ready() error {
	if err := a.failing.Load(); err != nil {
		return *err
	}
	if a.snap.Load() == nil && !a.cfg.PurgeOnly {
		return errNoSnapshot
	}
	return nil
}

// Run serves until ctx ends.
func (a *API) Run(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.purge(ctx) })
	if a.cfg.PurgeOnly {
		a.log.Info("api: sweeps only, serves nothing", "interval", a.cfg.PurgeInterval)
		return g.Wait()
	}
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", a.cfg.Listen)
	if err != nil {
		err = fmt.Errorf("api.listen: %w", err)
		g.Go(func() error { return err })
		return errors.Join(g.Wait())
	}
	a.log.Info("api", "listen", l.Addr().String(), "pages", a.parts.Pages != nil)
	g.Go(func() error { return a.collect(ctx) })
	g.Go(func() error { return boundGarbage(ctx) })
	g.Go(func() error { return serveHTTP(ctx, l, a, a.hub.close) })
	err = g.Wait()
	a.cache.close()
	return err
}

// collect runs a cycle each interval.
func (a *API) collect(ctx context.Context) error {
	t := time.NewTicker(a.cfg.StatsCollectInterval.Std())
	defer t.Stop()
	a.learn(ctx)
	for {
		a.cycle(ctx)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-t.C:
		}
	}
}

// cycle makes a snapshot, serves it and tells who listens. When it fails the old
// one goes on, and the log says so once.
func (a *API) cycle(ctx context.Context) {
	began := time.Now()
	s, err := a.c.cycle(ctx)
	a.metrics.cycled(time.Since(began), err)
	if err != nil {
		if ctx.Err() != nil {
			return
		}
		if old := a.failing.Load(); old == nil {
			a.log.Error("the statistics are not up to date; showing the last ones", "err", err)
		}
		a.failing.Store(&err)
		return
	}
	if a.failing.Swap(nil) != nil {
		a.log.Info("the statistics are up to date again")
	}
	before := a.snap.Swap(s)
	a.hub.publish(changes(before, s))
	if err := a.c.addMinerPoints(ctx, s); err != nil && ctx.Err() == nil {
		a.log.Warn("miners' charts lack a point", "err", err)
	}
	if err := a.c.keepWorkerCharts(ctx, s.now); err != nil && ctx.Err() == nil {
		a.log.Warn("workers' charts lack a point", "err", err)
	}
}

// loginsEvery is how often it is looked for logins in unusual letter cases.
const loginsEvery = 10 * time.Minute

// purge sweeps old statistics, and looks for logins in unusual letter cases.
func (a *API) purge(ctx context.Context) error {
	sweep, look := time.NewTicker(a.cfg.PurgeInterval.Std()), time.NewTicker(loginsEvery)
	defer sweep.Stop()
	defer look.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-look.C:
			a.learn(ctx)
		case <-sweep.C:
			n, err := a.db.Sweep(ctx, a.parts.Now().Add(-a.cfg.HashrateLargeWindow.Std()))
			if err != nil && ctx.Err() == nil {
				a.log.Warn("old statistics were not swept", "err", err)
			} else if n > 0 {
				a.log.Debug("old statistics were swept", "rows", n)
			}
		}
	}
}

func (a *API) learn(ctx context.Context) {
	if a.cfg.PurgeOnly {
		return
	}
	logins, _, err := a.db.Logins(ctx)
	if err != nil {
		if ctx.Err() == nil {
			a.log.Warn("miners were not listed", "err", err)
		}
		return
	}
	a.c.odd.learn(logins)
}
