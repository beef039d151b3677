package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// patient is a deadline that no test reaches.
const patient = time.Hour

// asked is a request as a server sees it.
type asked struct {
	ID     json.RawMessage   `json:"id"`
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
}

// script is a server whose answers a test writes by hand.
type script struct {
	url      string
	messages atomic.Int64
}

// serve starts a server that answers each message with reply, which gets the requests
// in it and returns status and body. Status 0 cuts the connection.
func serve(t *testing.T, reply func(reqs []asked) (int, string)) *script {
	t.Helper()
	s := &script{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.messages.Add(1)
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		var reqs []asked
		if json.Unmarshal(body, &reqs) != nil {
			reqs = make([]asked, 1)
			if err := json.Unmarshal(body, &reqs[0]); err != nil {
				t.Errorf("the client sent %q: %v", body, err)
			}
		}
		status, answer := reply(reqs)
		if status == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

// always answers each request of a message with the same members.
func always(members string) func([]asked) (int, string) {
	return func(reqs []asked) (int, string) {
		return http.StatusOK, fmt.Sprintf(`{"jsonrpc":"2.0","id":%s,%s}`, reqs[0].ID, members)
	}
}

// dead is a URL where no server is, nor one of another test will be.
const dead = "http://127.0.0.1:1"

func client(t *testing.T, urls ...string) *Client {
	t.Helper()
	c, err := New(urls, patient)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// withUser puts credentials into a URL.
func withUser(url, user, password string) string {
	return strings.Replace(url, "http://", "http://"+user+":"+password+"@", 1)
}

// clock is a time that stands still until it is moved.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

var background = context.Background()
