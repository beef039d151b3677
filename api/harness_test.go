package api

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pool is an API over a Redis of its own, whose cycles the test runs and whose
// clock it moves.
type pool struct {
	t   testing.TB
	srv *storagetest.Server
	db  *storage.DB
	api *API
	now time.Time
	log io.Writer
}

var ctx = context.Background()

func testConfig() Config {
	cfg := DefaultConfig()
	cfg.Enabled, cfg.Listen = true, "127.0.0.1:0"
	return cfg
}

func newPool(t testing.TB, changes ...func(*Config, *Parts)) *pool {
	t.Helper()
	p := &pool{t: t, srv: storagetest.Start(t), now: time.Unix(1_700_000_000, 0), log: io.Discard}
	db, err := storage.Open(ctx, storage.Config{Endpoint: p.srv.Addr(), PoolSize: 10, Mode: storage.ModeSingle}, "etc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	p.db = db
	p.restart(changes...)
	return p
}

// restart makes a new API on the same books.
func (p *pool) restart(changes ...func(*Config, *Parts)) {
	p.t.Helper()
	cfg := testConfig()
	parts := Parts{DB: p.db, Log: slog.New(slog.NewTextHandler(p.log, nil)), Now: func() time.Time { return p.now }, Threshold: 500_000_000,
		Settings: Settings{Name: "main", Coin: "etc", Symbol: "ETC", Network: "classic", Fee: 1, Depth: 120, ImmatureDepth: 20, Confirmations: 120,
			Ports: []Port{{Port: 8008, Difficulty: 2_000_000_000}}}}
	for _, change := range changes {
		change(&cfg, &parts)
	}
	var err error
	if p.api, err = New(cfg, parts); err != nil {
		p.t.Fatal(err)
	}
	p.api.cache.wait = time.Hour // no machine is that slow
	p.t.Cleanup(p.api.cache.close)
}

// cycle runs one and fails the test when it does.
func (p *pool) cycle() {
	p.t.Helper()
	p.api.cycle(ctx)
	if err := p.api.Ready(); err != nil {
		p.t.Fatal(err)
	}
}

// after lets time go by, then runs a cycle.
func (p *pool) after(d time.Duration) {
	p.t.Helper()
	p.now = p.now.Add(d)
	p.cycle()
}

// ask sends one request; headers come in pairs.
func (p *pool) ask(method, path string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, nil)
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	p.api.ServeHTTP(w, r)
	return w
}

func (p *pool) get(path string) *httptest.ResponseRecorder { return p.ask(http.MethodGet, path) }

func (p *pool) do(args ...any) any { p.t.Helper(); return p.srv.Do(p.t, args...) }

func (p *pool) ok(errs ...error) {
	p.t.Helper()
	for _, err := range errs {
		if err != nil {
			p.t.Fatal(err)
		}
	}
}

// book gives a miner a balance, as the unlocker does.
func (p *pool) book(login string, balance util.Shannon) {
	p.t.Helper()
	p.do("HINCRBY", p.db.Keys.Miner(login), "balance", int64(balance))
	p.do("HINCRBY", p.db.Keys.Finances(), "balance", int64(balance))
}

func httpRequest(path string) *http.Request { return httptest.NewRequest(http.MethodGet, path, nil) }
