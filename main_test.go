package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
)

const (
	account = `"address": "0x1111111111111111111111111111111111111111"`
	hash    = "0x8888888888888888888888888888888888888888888888888888888888888888"
)

// say carries out a command line and returns its exit status and all it said.
func say(t *testing.T, args ...string) (status int, text string) {
	t.Helper()
	var out bytes.Buffer
	status = command(t.Context(), args, strings.NewReader(""), &out, &out)
	return status, out.String()
}

func TestAWrongCommandLineIsStatus2(t *testing.T) {
	t.Setenv("RESOLVE_PAYOUT", "")
	t.Chdir(t.TempDir())
	for _, tc := range []struct{ name, args, want string }{
		{"nothing and no configuration", "", "open config.json: no such file or directory"},
		{"a configuration that is not there", "nowhere.json status", "open nowhere.json: no such file"},
		{"an unknown verb", "pool.json pay", `unknown verb "pay", want one of check, doctor, run, plan`},
		{"an option", "--force", `unknown option "--force"`},
		{"an option of another verb", "pool.json hold 0x1 --yes", "hold takes no --yes"},
		{"JSON of a daemon", "pool.json --json", "the pool takes no --json"},
		{"a hash in the second place", "adopt 7-x 0x12", `adopt: "0x12" is no transaction hash`},
		{"a reason that is none", "hold 0x1 --reason", "--reason wants a text"},
		{"one argument of two", "export 2026-01-01", "export takes 3 arguments (FROM TO [WHAT]), got 1"},
		{"an argument too many", "plan now", "plan takes no argument, got 1"},
		{"an argument too few", "record", "record takes 1 argument (HASH), got 0"},
		{"a hash that is too short", "record 0x12", `record: "0x12" is no transaction hash, want 0x and 64 hex digits`},
		{"a login that is none", "hold 0xzz", `hold: login "0xzz": not 0x and 40 hex digits`},
		{"a word for a login", "explain me", `explain: login "me": not 0x and 40 hex digits`},
		{"a day that is none", "export yesterday 2026-01-01", `"yesterday" is no day, want one like 2026-01-31`},
		{"days the wrong way round", "export 2026-01-02 2026-01-01", "2026-01-02 is not before 2026-01-01"},
		{"what nobody exports", "export 2026-01-01 2026-01-02 shares", `"shares" cannot be exported, want payments, rewards or days`},
		{"a hash that is none", "ignore 0xZZ", `ignore: "0xZZ" is no transaction hash`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			status, text := say(t, strings.Fields(tc.args)...)
			if status != exitUsage || !strings.Contains(text, tc.want) || !strings.Contains(text, "try: open-ethereum-pool --help") {
				t.Errorf("status %d, want 2 with %q and a word on --help:\n%s", status, tc.want, text)
			}
		})
	}
}

// TestVerbsThatPayNeedTheSection also promises that nobody is asked first: there
// is no Redis at that address.
func TestVerbsThatPayNeedTheSection(t *testing.T) {
	t.Setenv("RESOLVE_PAYOUT", "")
	path := write(t, "{\"coin\": \"eth\", \"redis\": {\"endpoint\": \"127.0.0.1:1\"},\n\"payouts\": {\n\"enabled\": false}}")
	for _, verb := range []string{"", "run", "plan", "resolve", "record " + hash, "ignore " + hash} {
		status, text := say(t, append([]string{path}, strings.Fields(verb)...)...)
		if want := path + ":3: payouts.enabled is false, want true"; status != exitUsage || !strings.Contains(text, want) {
			t.Errorf("%q: status %d, want 2 with %q:\n%s", verb, status, want, text)
		}
	}
}

func TestServeWithNothingToRunSaysSo(t *testing.T) {
	t.Setenv("RESOLVE_PAYOUT", "")
	path := write(t, `{"coin": "eth", "redis": {"endpoint": "127.0.0.1:1"}, "metrics": {"enabled": true}}`)
	status, text := say(t, path)
	if status != exitUsage || !strings.Contains(text, "want true, or proxy.enabled, api.enabled or unlocker.enabled: there is nothing to run") || strings.Contains(text, "stopped cleanly") {
		t.Errorf("status %d, want 2 and why:\n%s", status, text)
	}
}

func TestTheAPIAndTheMetricsAreServed(t *testing.T) {
	redis := storagetest.Start(t)
	cfg, src := load(t, fmt.Sprintf(`{"coin": "etc", "redis": {"endpoint": %q}, "api": {"enabled": true, "listen": "127.0.0.1:0", "statsCollectInterval": "100ms"},
		"metrics": {"enabled": true, "listen": "127.0.0.1:0"}}`, redis.Addr()))
	if len(src) != 0 {
		t.Errorf("warnings %q", src)
	}
	var out shared
	a := &app{cfg: cfg, log: slog.New(slog.NewTextHandler(&out, nil))}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, a) }()
	client := &http.Client{}
	defer client.CloseIdleConnections()
	for _, tc := range []struct{ module, path, want string }{
		{"api", "/api/stats", `"symbol":"ETC"`},
		{"api", "/api/nothing", `{"error":"there is no /api/nothing`},
		{"metrics", "/readyz", "ok"},
		{"metrics", "/metrics", "pool_hashrate 0"},
	} {
		where := regexp.MustCompile(`msg=` + tc.module + ` listen=(\S+)`)
		text := ""
		for deadline := time.Now().Add(time.Minute); !strings.Contains(text, tc.want); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%s says %q, want %q:\n%s", tc.path, text, tc.want, out.String())
			}
			if m := where.FindStringSubmatch(out.String()); m != nil {
				res, err := client.Get("http://" + m[1] + tc.path)
				if err != nil {
					t.Fatal(err)
				}
				body, err := io.ReadAll(res.Body)
				res.Body.Close()
				if err != nil {
					t.Fatal(err)
				}
				text = string(body)
			}
		}
	}
	stop()
	if err := <-ended; err != nil || !strings.Contains(out.String(), "stopped cleanly") {
		t.Errorf("ended with %v:\n%s", err, out.String())
	}
}

func TestCheckLooksForTheFiles(t *testing.T) {
	t.Setenv("RESOLVE_PAYOUT", "")
	payouts := func(rest string) string {
		return "{\"coin\": \"eth\", \"payouts\": {\"enabled\": true, " + account + ",\n" + rest + "}}"
	}
	signer := func(key, password string) string {
		return payouts(fmt.Sprintf("\"signer\": {\"type\": \"keystore\",\n\"keystore\": %q,\n\"passwordFile\": %q}", key, password))
	}
	tls := func(cert string) string {
		return fmt.Sprintf("{\"coin\": \"eth\", \"upstream\": [{\"name\": \"a\", \"url\": \"http://h\"}], \"proxy\": {\"enabled\": true, \"stratum\": {\"enabled\": true, \"tls\": true,\n\"certFile\": %q,\n\"keyFile\": \"nokey.pem\"}}}", cert)
	}
	for _, tc := range []struct {
		name, text string
		want       []string // nothing when all is there
	}{
		{"all there", signer("there", "there"), nil},
		{"no key file and no password", signer("key", "pw"), []string{`:3: payouts.signer.keystore is "`, `:4: payouts.signer.passwordFile is "`, "no such file"}},
		{"a directory is no key file", signer("folder", "there"), []string{"payouts.signer.keystore is ", "a directory, want a file"}},
		{"another signer needs no key file", payouts(`"bgsave": true`), nil},
		{"a journal that is there", payouts(`"journal": "there"`), nil},
		{"a journal that is to be made", payouts(`"journal": "folder/new"`), nil},
		{"a journal in no directory", payouts(`"journal": "nowhere/x"`), []string{":2: payouts.journal is ", "whose directory", "no such file"}},
		{"a journal in a file", payouts(`"journal": "there/x"`), []string{":2: payouts.journal is ", "not a directory"}},
		{"a journal that is a directory", payouts(`"journal": "folder"`), []string{":2: payouts.journal is ", "a directory, want a file"}},
		{"certificates", tls("nocert.pem"), []string{`:2: proxy.stratum.certFile is "nocert.pem": no such file`, `:3: proxy.stratum.keyFile is "nokey.pem"`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			path := write(t, tc.text)
			dir := filepath.Dir(path)
			if err := errors.Join(os.WriteFile(filepath.Join(dir, "there"), nil, 0o600), os.Mkdir(filepath.Join(dir, "folder"), 0o700)); err != nil {
				t.Fatal(err)
			}
			status, text := say(t, path, "check")
			if (status == exitOK) != (tc.want == nil) || (status != exitOK && status != exitUsage) {
				t.Errorf("status %d:\n%s", status, text)
			}
			for _, want := range tc.want {
				if !strings.Contains(text, want) {
					t.Errorf("no %q in\n%s", want, text)
				}
			}
		})
	}
}

// shared is a log's text that several goroutines write and read.
type shared struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *shared) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *shared) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

func TestANodeThatDoesNotAnswerIsToldOnce(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var asked atomic.Int64
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked.Add(1) == 3 { // the end comes in the middle of an answer
			cancel()
		}
		w.WriteHeader(http.StatusBadGateway)
	}))
	defer node.Close()
	cfg, _ := load(t, `{"coin": "eth", "payouts": {"enabled": true, "daemon": "`+node.URL+`", `+account+`}}`)
	var out shared
	a := &app{cfg: cfg, log: slog.New(slog.NewTextHandler(&out, nil))}
	if err := a.runPayouts(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	for _, line := range []string{"the node does not answer; trying again", `msg="node does not answer"`} {
		if n := strings.Count(out.String(), line); n != 1 {
			t.Errorf("%q was logged %d times, want once:\n%s", line, n, out.String())
		}
	}
}

func TestAProcessThatDoesNotEndIsEndedAndSaysWhatItWaitsFor(t *testing.T) {
	var out shared
	synctest.Test(t, func(t *testing.T) {
		a := &app{log: slog.New(slog.NewTextHandler(&out, nil))}
		defer a.busy.begin("the journal")()
		a.busy.begin("Redis")()
		ctx, signal := context.WithCancel(t.Context())
		exited := make(chan int, 1)
		defer a.endInTime(ctx, shutdownTimeout, func(status int) { exited <- status })()
		signal()
		status := <-exited
		if text := out.String(); status != exitInterrupted || !strings.Contains(text, `noAnswerFrom="the journal"`) {
			t.Errorf("status %d, log %q", status, text)
		}
	})
}

func TestAProcessThatEndsInTimeIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := &app{log: slog.New(slog.DiscardHandler)}
		ctx, signal := context.WithCancel(t.Context())
		done := a.endInTime(ctx, shutdownTimeout, func(int) { t.Error("ended by force") })
		signal()
		time.Sleep(shutdownTimeout - 1)
		done()
		time.Sleep(shutdownTimeout)
	})
}

// stuck is a log that nobody reads.
type stuck chan struct{}

func (s stuck) Write([]byte) (int, error) { <-s; return 0, nil }

func TestALogThatNobodyReadsDoesNotKeepTheProcess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		unread := make(stuck)
		defer close(unread)
		a := &app{log: slog.New(slog.NewTextHandler(unread, nil))}
		ctx, signal := context.WithCancel(t.Context())
		exited := make(chan int, 1)
		defer a.endInTime(ctx, shutdownTimeout, func(status int) { exited <- status })()
		signal()
		<-exited
	})
}

// TestARedisThatIsStartingIsWaitedFor: and one that says no is not.
func TestARedisThatIsStartingIsWaitedFor(t *testing.T) {
	redis := storagetest.Start(t)
	redis.Stop()
	cfg, _ := load(t, fmt.Sprintf(`{"coin": "etc", "redis": {"endpoint": %q}, "payouts": {"enabled": true, "daemon": "http://127.0.0.1:1", %s}}`, redis.Addr(), account))
	var out shared
	a := &app{cfg: cfg, log: slog.New(slog.NewTextHandler(&out, nil))}
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- serve(ctx, a) }()
	said := func(want string) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); !strings.Contains(out.String(), want); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("it does not say %q:\n%s", want, out.String())
			}
		}
	}
	said("redis does not answer; trying again")
	redis.Restart()
	said("the node does not answer; trying again")
	stop()
	refused := regexp.MustCompile(`redis does not answer.*refused`) // while it starts it may have said something else
	if err := <-ended; err != nil || len(refused.FindAllString(out.String(), -1)) != 1 {
		t.Errorf("serve ended with %v after:\n%s", err, out.String())
	}
	locked := storagetest.Start(t, storagetest.Password("secret"))
	a.cfg.Redis.Endpoint = locked.Addr()
	if err := serve(t.Context(), a); err == nil || !strings.Contains(err.Error(), "NOAUTH") {
		t.Errorf("a Redis that wants a password: %v", err)
	}
}
