package rpc

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// MaxBatch is the most requests that go into one HTTP message. geth and Nethermind
// take 1000, Besu 1024; a hundred blocks stay far below their limits on bytes.
const MaxBatch = 100

// idleTime is how long a connection is kept for the next call: less than the 75 to
// 120 seconds after which servers close theirs, so that a call is not written to a
// connection that is being closed.
const idleTime = 30 * time.Second

// Client asks one or several nodes of one chain. It is safe for concurrent use.
type Client struct {
	nodes   []*node // in the operator's order of preference
	http    *http.Client
	timeout time.Duration // of each HTTP message
	log     *slog.Logger
	now     func() time.Time

	ids   atomic.Uint64
	calls atomic.Uint64

	mu       sync.Mutex // guards what follows and the state of every node
	pinned   *identity
	oneByOne time.Time // until when receipts are not asked for by block
}

// Option changes a Client while it is made.
type Option func(*Client)

// WithLogger makes the client report nodes that fail, return, or are on another
// chain. The default is silence.
func WithLogger(log *slog.Logger) Option { return func(c *Client) { c.log = log } }

// WithClock replaces time.Now, which decides when a node that failed is tried
// first again.
func WithClock(now func() time.Time) Option { return func(c *Client) { c.now = now } }

// New returns a client of the nodes at urls, the preferred one first. Each URL is
// http or https with a host; a user and password in it become basic
// authentication. timeout is the deadline of each HTTP message. Nothing is started
// and nobody is asked.
func New(urls []string, timeout time.Duration, opts ...Option) (*Client, error) {
	if len(urls) == 0 {
		return nil, errors.New("make node client: no node URL, want at least one")
	}
	if timeout <= 0 {
		return nil, fmt.Errorf("make node client: timeout is %s, want more than 0", timeout)
	}
	c := &Client{
		http: &http.Client{
			Transport: &http.Transport{MaxIdleConnsPerHost: 16, IdleConnTimeout: idleTime},
			// A redirected POST would carry a transaction to a place nobody configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		timeout: timeout,
		log:     slog.New(slog.DiscardHandler),
		now:     time.Now,
	}
	for i, raw := range urls {
		n, err := newNode(raw)
		if err != nil {
			return nil, fmt.Errorf("make node client: URL %d of %d: %w", i+1, len(urls), err)
		}
		c.nodes = append(c.nodes, n)
	}
	for _, opt := range opts {
		opt(c)
	}
	return c, nil
}

// Request is one question of a batch.
type Request struct {
	Method string
	Params []any
	Result any   // pointer that the result is decoded into; nil to ignore it
	Err    error // set by Batch: nil, *Error, ErrNotFound or ErrUnknown

	// accept, where set, replaces Result: it checks and keeps the result of a typed
	// question. An error that is not ErrNotFound says the shape is wrong.
	accept func(json.RawMessage) error
}

// Call asks one question and decodes the answer into result, a pointer, or nil to
// ignore it. The error is nil, an *Error, ErrNotFound (the answer was null), or
// ErrUnknown. A question that only reads is asked of the next node when a node's
// answer is unknown; one that acts (eth_send…, eth_submit…, personal_… and so on)
// is asked once.
func (c *Client) Call(ctx context.Context, result any, method string, params ...any) error {
	req := &Request{Method: method, Params: params, Result: result}
	c.do(ctx, []*Request{req}, false)
	return req.Err
}

// Batch asks many questions in as few HTTP messages as MaxBatch allows, and sets
// each request's Err as Call would return it. An answer that is missing, or given
// twice, leaves its request unknown and the others untouched. The returned error
// joins the requests' errors, except for ErrNotFound, and is nil when there are none.
func (c *Client) Batch(ctx context.Context, reqs []*Request) error {
	c.do(ctx, reqs, true)
	var errs []error
	for _, r := range reqs {
		if r.Err != nil && !errors.Is(r.Err, ErrNotFound) {
			errs = append(errs, r.Err)
		}
	}
	return join(errs)
}

// Calls returns how many requests were sent so far; each element of a batch, each
// further try and each check of a node's identity counts as one.
func (c *Client) Calls() uint64 { return c.calls.Load() }

// Close closes idle connections. The client stays usable.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// do asks the questions of one node after the other until each is answered, and
// sets each request's Err.
func (c *Client) do(ctx context.Context, reqs []*Request, batch bool) {
	reasons := make(map[*Request][]error)
	open := reqs
	for _, n := range c.order() {
		if err := c.admit(ctx, n); err != nil {
			for _, r := range open {
				reasons[r] = append(reasons[r], fmt.Errorf("%s: %w", r.Method, err))
			}
		} else {
			c.ask(ctx, n, open, batch)
			var unknown []*Request
			for _, r := range open {
				if !errors.Is(r.Err, ErrUnknown) {
					delete(reasons, r)
					continue
				}
				reasons[r] = append(reasons[r], r.Err)
				if !acts(r.Method) {
					unknown = append(unknown, r)
				}
			}
			open = unknown
		}
		if len(open) == 0 || ctx.Err() != nil {
			break
		}
	}
	for r, errs := range reasons {
		r.Err = join(errs)
	}
}

// ask sends the requests to one node, MaxBatch to a message. Once a message went
// wrong as a whole the rest is not sent to this node.
func (c *Client) ask(ctx context.Context, n *node, reqs []*Request, batch bool) {
	for start := 0; start < len(reqs); start += MaxBatch {
		part := reqs[start:min(start+MaxBatch, len(reqs))]
		err := c.send(ctx, n, part, batch)
		if err != nil {
			for _, r := range reqs[start:] {
				r.Err = fmt.Errorf("%s at %s: %w: %w", r.Method, n.name, ErrUnknown, err)
			}
		}
		var broken *Request
		for _, r := range part {
			if errors.Is(r.Err, ErrUnknown) {
				broken = r
			}
		}
		switch {
		case broken == nil:
			c.answered(n)
		case shortcut(broken.Method):
			c.doubted(n)
		default:
			c.failed(ctx, n, broken.Err)
		}
		if err != nil {
			return
		}
	}
}

// take checks one result against its request.
func (r *Request) take(raw json.RawMessage) error {
	if r.accept != nil {
		return r.accept(raw)
	}
	if r.Result == nil {
		return nil
	}
	if verbatim, ok := r.Result.(*json.RawMessage); ok {
		*verbatim = bytes.Clone(raw)
		return nil
	}
	if isNull(raw) {
		return ErrNotFound
	}
	target := reflect.ValueOf(r.Result)
	if target.Kind() != reflect.Pointer || target.IsNil() {
		return fmt.Errorf("decode into %T: want a pointer", r.Result)
	}
	// A fresh value, so that a half-decoded answer of one node leaves no trace in
	// that of the next.
	fresh := reflect.New(target.Type().Elem())
	if err := json.Unmarshal(raw, fresh.Interface()); err != nil {
		return err
	}
	target.Elem().Set(fresh.Elem())
	return nil
}
