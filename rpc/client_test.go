package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

func TestNewRefusesBadURLsWithoutQuotingThem(t *testing.T) {
	for _, tc := range []struct {
		name string
		urls []string
		ok   bool
	}{
		{"a plain address", []string{"http://127.0.0.1:8545"}, true},
		{"TLS, credentials and a path", []string{"https://me:secret@node.example/v1/key"}, true},
		{"no address at all", nil, false},
		{"another scheme", []string{"ws://me:secret@127.0.0.1"}, false},
		{"no scheme", []string{"me:secret@127.0.0.1:8545"}, false},
		{"no host", []string{"http://me:secret@"}, false},
		{"a slash in the password", []string{"http://me:sec/secret@127.0.0.1"}, false},
		{"a bad second one", []string{"http://127.0.0.1", "http://me:secret%zz@h"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := New(tc.urls, patient)
			if (err == nil) != tc.ok {
				t.Fatalf("New: %v", err)
			}
			if err != nil && strings.Contains(err.Error(), "sec") {
				t.Errorf("error quotes the URL: %v", err)
			}
		})
	}
	if _, err := New([]string{"http://127.0.0.1"}, 0); err == nil {
		t.Error("took a timeout of zero")
	}
}

// TestEveryAnswerIsOneOfThree: a result, a verdict, or unknown with a reason.
func TestEveryAnswerIsOneOfThree(t *testing.T) {
	with := func(status int, body string) func([]asked) (int, string) {
		return func(reqs []asked) (int, string) {
			return status, strings.ReplaceAll(body, "ID", string(reqs[0].ID))
		}
	}
	for _, tc := range []struct {
		name   string
		reply  func([]asked) (int, string)
		is     error // nil: a verdict, unless want is empty as well
		reason string
	}{
		{"a quantity", with(200, `{"jsonrpc":"2.0","id":ID,"result":"0x10"}`), nil, ""},
		{"a node's error", with(200, `{"jsonrpc":"2.0","id":ID,"error":{"code":-32000,"message":"no"}}`), nil, "no (code -32000)"},
		{"an error beside a null result", with(200, `{"jsonrpc":"2.0","id":ID,"result":null,"error":{"code":1,"message":"no"}}`), nil, "no (code 1)"},
		{"a node's error with status 500", with(500, `{"jsonrpc":"2.0","id":ID,"error":{"code":-32000,"message":"no"}}`), nil, "no (code -32000)"},
		{"an error to an unreadable request", with(400, `{"jsonrpc":"2.0","id":null,"error":{"code":-32700,"message":"parse"}}`), nil, "parse (code -32700)"},
		{"a gateway's error", with(429, `{"error":{"code":429,"message":"slow down"}}`), ErrUnknown, "HTTP status 429: slow down"},
		{"a page of HTML", with(500, "<html>\n<body>Bad\x00 Gateway</body>"), ErrUnknown, `HTTP status 500 with 32 bytes that are no JSON-RPC answer: "<html> <body>Bad  Gateway</body>"`},
		{"HTML with status 200", with(200, "<html>"), ErrUnknown, "no JSON-RPC answer"},
		{"nothing", with(200, ""), ErrUnknown, "no JSON-RPC answer"},
		{"a redirect", with(307, ""), ErrUnknown, "HTTP status 307"},
		{"a result with status 500", with(500, `{"jsonrpc":"2.0","id":ID,"result":"0x10"}`), ErrUnknown, "HTTP status 500"},
		{"a truncated answer", with(200, `{"jsonrpc":"2.0","id":ID,"result":"0x1`), ErrUnknown, "no JSON-RPC answer"},
		{"more after the answer", with(200, `{"jsonrpc":"2.0","id":ID,"result":"0x10"}{}`), ErrUnknown, "no JSON-RPC answer"},
		{"another request's answer", with(200, `{"jsonrpc":"2.0","id":77,"result":"0x10"}`), ErrUnknown, "another request's id"},
		{"another request's error", with(200, `{"jsonrpc":"2.0","id":77,"error":{"code":1,"message":"no"}}`), ErrUnknown, "another request's id"},
		{"a result without an id", with(200, `{"jsonrpc":"2.0","result":"0x10"}`), ErrUnknown, "another request's id"},
		{"an array", with(200, `[{"jsonrpc":"2.0","id":ID,"result":"0x10"}]`), ErrUnknown, "no JSON-RPC answer"},
		{"neither result nor error", with(200, `{"jsonrpc":"2.0","id":ID}`), ErrUnknown, "neither result nor error"},
		{"both result and error", with(200, `{"jsonrpc":"2.0","id":ID,"result":"0x1","error":{"code":1,"message":"no"}}`), ErrUnknown, "both result and error"},
		{"an error that is a string", with(200, `{"jsonrpc":"2.0","id":ID,"error":"no"}`), ErrUnknown, "has not the form"},
		{"null for a quantity", with(200, `{"jsonrpc":"2.0","id":ID,"result":null}`), ErrUnknown, "wrong shape"},
		{"a number that is not hex", with(200, `{"jsonrpc":"2.0","id":ID,"result":16}`), ErrUnknown, "wrong shape"},
		{"a negative number", with(200, `{"jsonrpc":"2.0","id":ID,"result":"-0x1"}`), ErrUnknown, "wrong shape"},
		{"a number too large", with(200, `{"jsonrpc":"2.0","id":ID,"result":"0x10000000000000000"}`), ErrUnknown, "wrong shape"},
		{"a connection cut after the request", with(0, ""), ErrUnknown, "EOF"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := serve(t, tc.reply)
			n, err := client(t, s.url).PeerCount(background)
			var verdict *Error
			switch {
			case tc.reason == "":
				if err != nil || n != 16 {
					t.Errorf("PeerCount = %d, %v", n, err)
				}
				return
			case err == nil:
				t.Fatalf("PeerCount = %d, want an error", n)
			case tc.is == nil && (!errors.As(err, &verdict) || errors.Is(err, ErrUnknown)):
				t.Errorf("not a verdict: %v", err)
			case tc.is != nil && (!errors.Is(err, tc.is) || errors.As(err, &verdict)):
				t.Errorf("not %v: %v", tc.is, err)
			}
			for _, part := range []string{tc.reason, "net_peerCount", s.url} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error lacks %q: %v", part, err)
				}
			}
		})
	}
}

func TestHangEndsAtTheDeadline(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, func([]asked) (int, string) { <-release; return 0, "" })
	defer close(release)
	c, err := New([]string{s.url}, 20*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.PeerCount(background); !errors.Is(err, ErrUnknown) || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("own deadline: %v", err)
	}
	ctx, cancel := context.WithCancel(background)
	cancel()
	two := client(t, s.url, s.url)
	if _, err := two.PeerCount(ctx); !errors.Is(err, ErrUnknown) || !errors.Is(err, context.Canceled) {
		t.Errorf("the caller's end: %v", err)
	}
	if two.Calls() != 1 {
		t.Errorf("%d calls for a caller who is gone, want 1", two.Calls())
	}
}

func TestHugeAnswerIsRefused(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		spaces := []byte(strings.Repeat(" ", 1<<20))
		for range maxBody/len(spaces) + 2 {
			if _, err := w.Write(spaces); err != nil {
				return
			}
		}
	}))
	defer server.Close()
	_, err := client(t, server.URL).PeerCount(background)
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "longer than") {
		t.Errorf("huge answer: %v", err)
	}
}

func TestSecretsNeverReachAnError(t *testing.T) {
	raw := strings.Repeat("deadbeef", 30)
	var auth string
	echo := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, password, _ := r.BasicAuth()
		auth = user + ":" + password
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("denied " + password + " 0x" + raw))
	}))
	defer echo.Close()
	verdict := serve(t, always(`"error":{"code":-32000,"message":"cannot take 0x`+raw+` from hunter2"}`))
	for _, tc := range []struct{ name, url string }{
		{"a body that echoes them", echo.URL},
		{"a verdict that echoes them", verdict.url},
		{"a connection that fails", dead},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := client(t, withUser(tc.url, "me", "hunter2")+"/v3/apikey?token=apikey")
			err := c.SendRawTransaction(background, common.FromHex(raw))
			if err == nil {
				t.Fatal("no error")
			}
			for _, secret := range []string{"hunter2", "apikey", raw[:40]} {
				if strings.Contains(err.Error(), secret) {
					t.Errorf("error shows %s: %v", secret, err)
				}
			}
		})
	}
	if auth != "me:hunter2" {
		t.Errorf("server saw credentials %q, want me:hunter2", auth)
	}
}

func TestCallDecodesIntoAnything(t *testing.T) {
	s := serve(t, always(`"result":{"raw":"0x01"}`))
	c := client(t, s.url)
	var object struct{ Raw string }
	if err := c.Call(background, &object, "account_signTransaction", "x"); err != nil || object.Raw != "0x01" {
		t.Errorf("object: %+v, %v", object, err)
	}
	var verbatim json.RawMessage
	if err := c.Call(background, &verbatim, "m"); err != nil || string(verbatim) != `{"raw":"0x01"}` {
		t.Errorf("raw: %s, %v", verbatim, err)
	}
	if err := c.Call(background, nil, "m"); err != nil {
		t.Errorf("ignored: %v", err)
	}
	if err := c.Call(background, object, "m"); !errors.Is(err, ErrUnknown) {
		t.Errorf("no pointer: %v", err)
	}
	if err := client(t, serve(t, always(`"result":null`)).url).Call(background, &object, "m"); !errors.Is(err, ErrNotFound) {
		t.Errorf("null: %v, want not found", err)
	}
	if err := c.Call(background, nil, "m", make(chan int)); !errors.Is(err, ErrUnknown) {
		t.Errorf("a parameter that is no JSON: %v", err)
	}
}

func TestRedirectIsNotFollowed(t *testing.T) {
	elsewhere := serve(t, always(`"result":"0x10"`))
	server := httptest.NewServer(http.RedirectHandler(elsewhere.url, http.StatusTemporaryRedirect))
	defer server.Close()
	if _, err := client(t, server.URL).PeerCount(background); !errors.Is(err, ErrUnknown) {
		t.Errorf("redirected call: %v", err)
	}
	if elsewhere.messages.Load() != 0 {
		t.Error("the message went to a place nobody configured")
	}
}

func TestHalfDecodedAnswerLeavesNoTrace(t *testing.T) {
	first := serve(t, always(`"result":{"a":1,"b":"x"}`))
	second := serve(t, always(`"result":{"b":2}`))
	var out struct{ A, B int }
	if err := client(t, first.url, second.url).Call(background, &out, "m"); err != nil || out.A != 0 || out.B != 2 {
		t.Errorf("Call = %+v, %v, want what the second node said", out, err)
	}
}

func TestBatchMatchesByID(t *testing.T) {
	one := func(id json.RawMessage, n int) string {
		return fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":"0x%x"}`, id, n)
	}
	for _, tc := range []struct {
		name  string
		reply func(reqs []asked) (int, string)
		want  []string // result, or part of the error
	}{
		{"answers out of order", func(r []asked) (int, string) {
			return 200, "[" + one(r[2].ID, 3) + "," + one(r[0].ID, 1) + "," + one(r[1].ID, 2) + "]"
		}, []string{"0x1", "0x2", "0x3"}},
		{"a missing answer", func(r []asked) (int, string) {
			return 200, "[" + one(r[0].ID, 1) + "," + one(r[2].ID, 3) + "]"
		}, []string{"0x1", "no answer to it", "0x3"}},
		{"an answer given twice", func(r []asked) (int, string) {
			return 200, "[" + one(r[0].ID, 1) + "," + one(r[1].ID, 2) + "," + one(r[1].ID, 7) + "," + one(r[2].ID, 3) + "]"
		}, []string{"0x1", "2 answers to it", "0x3"}},
		{"an error among results", func(r []asked) (int, string) {
			return 200, "[" + one(r[0].ID, 1) + `,{"jsonrpc":"2.0","id":` + string(r[1].ID) + `,"error":{"code":5,"message":"no"}},` + one(r[2].ID, 3) + "]"
		}, []string{"0x1", "no (code 5)", "0x3"}},
		{"strange elements", func(r []asked) (int, string) {
			return 200, "[null,{}," + one(r[0].ID, 1) + `,{"id":null,"error":{"code":1,"message":"x"}},` + one(r[2].ID, 3) + "]"
		}, []string{"0x1", "no answer to it", "0x3"}},
		{"one error for all", func([]asked) (int, string) {
			return 200, `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"batch too large"}}`
		}, []string{"batch too large", "batch too large", "batch too large"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := client(t, serve(t, tc.reply).url)
			results := make([]string, 3)
			reqs := make([]*Request, 3)
			for i := range reqs {
				reqs[i] = &Request{Method: "m", Result: &results[i]}
			}
			err := c.Batch(background, reqs)
			failed := false
			for i, want := range tc.want {
				got := results[i]
				if reqs[i].Err != nil {
					got, failed = reqs[i].Err.Error(), true
				}
				if !strings.Contains(got, want) {
					t.Errorf("request %d: %s, want %s", i, got, want)
				}
				if strings.Contains(want, "answer") && !errors.Is(reqs[i].Err, ErrUnknown) {
					t.Errorf("request %d is not unknown: %v", i, reqs[i].Err)
				}
			}
			if (err != nil) != failed {
				t.Errorf("Batch = %v", err)
			}
			if c.Calls() != 3 {
				t.Errorf("Calls = %d, want 3", c.Calls())
			}
		})
	}
}

func TestBatchIsSplit(t *testing.T) {
	var sizes []int
	s := serve(t, func(reqs []asked) (int, string) {
		sizes = append(sizes, len(reqs))
		var answers []string
		for _, r := range reqs {
			answers = append(answers, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,"result":%s}`, r.ID, r.Params[0]))
		}
		return 200, "[" + strings.Join(answers, ",") + "]"
	})
	results := make([]int, 250)
	reqs := make([]*Request, len(results))
	for i := range reqs {
		reqs[i] = &Request{Method: "m", Params: []any{i}, Result: &results[i]}
	}
	if err := client(t, s.url).Batch(background, reqs); err != nil {
		t.Fatal(err)
	}
	for i, got := range results {
		if got != i {
			t.Fatalf("result %d is %d", i, got)
		}
	}
	if !slices.Equal(sizes, []int{100, 100, 50}) {
		t.Errorf("messages of %v", sizes)
	}
}
