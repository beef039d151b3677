package notify

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shelf is the books of a test, which may refuse to be written.
type shelf struct {
	news   storage.News
	told   storage.Notices
	refuse error
	write  func() // called before anything is written, unless nil
}

func (s *shelf) News(context.Context) (storage.News, error)               { return s.news, nil }
func (s *shelf) Notices(context.Context, string) (storage.Notices, error) { return s.told, nil }
func (s *shelf) SetNotices(ctx context.Context, _ string, n storage.Notices) error {
	if s.write != nil {
		s.write()
	}
	if err := errors.Join(s.refuse, ctx.Err()); err != nil {
		return err
	}
	s.told = n
	return nil
}

// listener is somebody's server, who answers as he likes.
type listener struct {
	*httptest.Server
	mu     sync.Mutex
	answer func(w http.ResponseWriter) // nil: takes everything
	paths  []string
	auth   string
	bodies []map[string]any
}

func listen(t *testing.T) *listener {
	l := &listener{}
	l.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		l.mu.Lock()
		defer l.mu.Unlock()
		var body map[string]any
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			t.Error(err)
		}
		l.paths, l.bodies, l.auth = append(l.paths, r.URL.Path), append(l.bodies, body), r.Header.Get("Authorization")
		if l.answer != nil {
			l.answer(w)
		}
	}))
	t.Cleanup(l.Close)
	return l
}

func (l *listener) set(answer func(w http.ResponseWriter)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answer = answer
}

// ids are those of the events that arrived.
func (l *listener) ids() (ids []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, b := range l.bodies {
		ids = append(ids, b["id"].(string))
	}
	return ids
}

// oneHook is the loop of one hook of type json, by hand.
func oneHook(t *testing.T, books *shelf, url string, log io.Writer) *hook {
	c := DefaultConfig()
	c.Enabled, c.Hooks = true, []HookConfig{{Name: "robot", Type: TypeJSON, URL: url, Token: "verysecret"}}
	n, err := New(c, Parts{Books: books, Log: slog.New(slog.NewTextHandler(log, nil)), Pool: "main", Coin: "etc", Symbol: "ETC",
		Now: func() time.Time { return time.Unix(1000, 0) }})
	if err != nil {
		t.Fatal(err)
	}
	return n.hooks[0]
}

func block(at int64) storage.Find {
	return storage.Find{Mark: storage.Mark{Time: at, Nonce: "0xa"}, Height: uint64(at)}
}

func TestNewsIsToldAtLeastOnceAndWrittenDown(t *testing.T) {
	l, books, log := listen(t), &shelf{}, &strings.Builder{}
	books.news.Meta.Wallet = -1
	h := oneHook(t, books, l.URL+"/verysecret", log)
	turn := func(want time.Duration) {
		t.Helper()
		if got := h.turn(t.Context()); got != want {
			t.Errorf("waits %s, want %s", got, want)
		}
	}
	turn(h.interval)
	books.news.Blocks = []storage.Find{block(2), block(1)}
	l.set(func(w http.ResponseWriter) { w.WriteHeader(http.StatusBadGateway) })
	turn(retryFirst)
	turn(2 * retryFirst)
	l.set(func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "77")
		w.WriteHeader(http.StatusTooManyRequests)
	})
	turn(77 * time.Second)
	l.set(func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusTooManyRequests)
		io.WriteString(w, `{"parameters": {"retry_after": 1e300}}`) //nolint:errcheck // the test sees what arrives
	})
	turn(longest)
	l.set(func(w http.ResponseWriter) {
		w.WriteHeader(http.StatusForbidden)
		io.WriteString(w, `{"message": "no\n/verysecret here"}`) //nolint:errcheck // likewise
	})
	turn(refusedWait)
	l.set(nil)
	books.refuse = errors.New("READONLY")
	turn(retryFirst) // the first is told; while that cannot be written down, nothing more
	turn(2 * retryFirst)
	books.refuse = nil
	turn(h.interval)
	turn(h.interval)
	want := []string{"block-1-0xa", "block-1-0xa", "block-1-0xa", "block-1-0xa", "block-1-0xa", "block-1-0xa", "block-2-0xa"}
	if got := l.ids(); !slices.Equal(got, want) {
		t.Errorf("told %q, want %q", got, want)
	}
	if l.auth != "Bearer verysecret" {
		t.Errorf("authorization %q", l.auth)
	}
	if s := log.String(); strings.Contains(s, "verysecret") || !strings.Contains(s, "status 403 Forbidden: no /… here") {
		t.Errorf("the log is\n%s", s)
	}
}

func TestWhatWasDeliveredIsWrittenDownAlsoAtTheEnd(t *testing.T) {
	l, books := listen(t), &shelf{}
	books.news.Meta.Wallet = -1
	h := oneHook(t, books, l.URL, io.Discard)
	h.turn(t.Context())
	books.news.Blocks = []storage.Find{block(1)}
	ctx, cancel := context.WithCancel(t.Context())
	books.write = cancel
	h.turn(ctx)
	books.write = nil
	again := oneHook(t, books, l.URL, io.Discard)
	again.turn(t.Context())
	if ids := l.ids(); len(ids) != 1 {
		t.Errorf("told %q, want it once", ids)
	}
}

func TestEveryServiceGetsWhatItUnderstands(t *testing.T) {
	l := listen(t)
	c := DefaultConfig()
	c.Hooks = []HookConfig{
		{Name: "a", Type: TypeTelegram, URL: l.URL, Token: "7:x/y", Chat: "@pool"},
		{Name: "b", Type: TypeDiscord, URL: l.URL + "/hook"},
		{Name: "c", Type: TypeJSON, URL: l.URL + "/json"},
	}
	for i, want := range []struct {
		path string
		body func(map[string]any) bool
	}{
		{"/bot7:x/y/sendMessage", func(b map[string]any) bool {
			return b["chat_id"] == "@pool" && strings.Contains(b["text"].(string), "test")
		}},
		{"/hook", func(b map[string]any) bool {
			m, ok := b["allowed_mentions"].(map[string]any)
			return ok && len(m["parse"].([]any)) == 0 && strings.Contains(b["content"].(string), "test")
		}},
		{"/json", func(b map[string]any) bool {
			return b["event"] == "test" && b["pool"] == "main" && b["coin"] == "etc" && b["time"].(float64) > 0
		}},
	} {
		one := c
		one.Hooks = c.Hooks[i : i+1]
		n, err := New(one, Parts{Log: slog.New(slog.DiscardHandler), Pool: "main", Coin: "etc", Symbol: "ETC"})
		if err != nil {
			t.Fatal(err)
		}
		for _, tried := range n.Test(t.Context()) {
			if tried.Err != nil {
				t.Errorf("%s: %v", tried.Hook, tried.Err)
			}
		}
		if b := l.bodies[i]; l.paths[i] != want.path || !want.body(b) {
			t.Errorf("%s got %v", l.paths[i], b)
		}
	}
}

func TestNoRedirectIsFollowed(t *testing.T) {
	l := listen(t)
	away := listen(t)
	l.set(func(w http.ResponseWriter) {
		w.Header().Set("Location", away.URL)
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	h := oneHook(t, &shelf{}, l.URL, io.Discard)
	var e *postError
	if err := h.poster.post(t.Context(), h.test(1)); !errors.As(err, &e) || e.status != http.StatusTemporaryRedirect || !e.refused() {
		t.Errorf("error %v", err)
	}
	if len(away.ids()) != 0 {
		t.Error("the secret went elsewhere")
	}
}

func TestAHookThatHangsDelaysNobodyElse(t *testing.T) {
	slow, quick := listen(t), listen(t)
	release := make(chan struct{})
	slow.set(func(http.ResponseWriter) { <-release })
	defer close(release)
	c := DefaultConfig()
	c.Hooks = []HookConfig{{Name: "slow", Type: TypeJSON, URL: slow.URL}, {Name: "quick", Type: TypeJSON, URL: quick.URL}}
	n, err := New(c, Parts{Books: &told{}, Log: slog.New(slog.DiscardHandler), Pool: "main", Coin: "etc", Symbol: "ETC"})
	if err != nil {
		t.Fatal(err)
	}
	arrived := make(chan struct{})
	quick.set(func(http.ResponseWriter) { close(arrived) })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error)
	go func() { done <- n.Run(ctx) }()
	<-arrived
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// told is the books of hooks that were told of nothing, one halt ago.
type told struct{}

func (*told) News(context.Context) (storage.News, error) {
	n := storage.News{}
	n.Meta.Wallet, n.Meta.Paused = -1, "moving"
	return n, nil
}
func (*told) Notices(context.Context, string) (storage.Notices, error) { return storage.Notices{}, nil }
func (*told) SetNotices(_ context.Context, _ string, n storage.Notices) error {
	if n.Halt.State == storage.StandingTold {
		return errors.New("once is enough")
	}
	return nil
}
