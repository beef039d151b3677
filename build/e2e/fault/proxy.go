package fault

import (
	"context"
	"net"
	"slices"
	"sync"
	"testing"
)

// Phase is the side of a message on which a fault happens.
type Phase int

const (
	// BeforeDelivery is when the message was read and is not handed on: it
	// never takes effect.
	BeforeDelivery Phase = iota
	// AfterEffect is when the answer was read and is not given back: the
	// message took effect, and its sender cannot know.
	AfterEffect
)

// String is the phase in the name of a test.
func (p Phase) String() string {
	if p == BeforeDelivery {
		return "before delivery"
	}
	return "after effect"
}

// Message is one thing a client asked for.
type Message struct {
	N    int      // its number, from 1, over all connections of the proxy
	Conn int      // the connection it came by, from 1; always 0 for HTTP
	Name string   // as in [Proxy.Messages]
	Args []string // Redis: the command and its arguments; HTTP: the JSON-RPC methods
	Body []byte   // HTTP: what was posted, not to be changed
}

// Proxy is a running proxy. Its methods may be called from any goroutine.
type Proxy struct {
	t      testing.TB
	addr   string
	scheme string

	ctx    context.Context // over once Close is called
	cancel context.CancelFunc
	shut   func() // closes the listener and the connections, and waits
	closed sync.Once

	asking sync.Mutex // held while a message gets its number and its action

	mu    sync.Mutex // guards what is below
	names []string
	once  map[int]Action // by message number
	every func(Message) Action
}

func newProxy(t testing.TB, scheme string) (*Proxy, net.Listener) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("listen for a fault proxy: %v", err)
	}
	p := &Proxy{
		t:      t,
		addr:   l.Addr().String(),
		scheme: scheme,
		once:   make(map[int]Action),
	}
	p.ctx, p.cancel = context.WithCancel(context.Background())
	t.Cleanup(p.Close)
	return p, l
}

// Addr is the host:port to connect to in place of the target's.
func (p *Proxy) Addr() string { return p.addr }

// URL is the address with its scheme, redis or http.
func (p *Proxy) URL() string { return p.scheme + "://" + p.addr }

// Close ends every connection and returns when no goroutine of the proxy is
// left. It is called when the test ends, and must not be called from within a
// fault.
func (p *Proxy) Close() {
	p.closed.Do(func() {
		p.cancel()
		p.shut()
	})
}

// Messages names every message so far, in the order of their numbers. A
// command has its name and its first key ("INCR eth:stats"), a script the
// comment that is its first line ("EVAL open"), a request its methods
// ("eth_getBlockByNumber", or "eth_a,eth_b" for a batch).
func (p *Proxy) Messages() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.names)
}

// Count is how many messages there were so far.
func (p *Proxy) Count() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.names)
}

// At arranges a fault for the n-th message, counted from 1 since the proxy
// started. There do is called (nil does nothing), then the message's
// connection is closed. Messages behind it on that connection are lost as
// well; other connections, and new ones, are served as ever. The channel is
// closed when do has returned: a test that sees it open at its end has gone
// past the last message.
//
// After the effect, do is called also if the target broke off its answer.
func (p *Proxy) At(n int, phase Phase, do func()) <-chan struct{} {
	fired := make(chan struct{})
	a := Drop
	if phase == AfterEffect {
		a = LoseReply
	}
	a = a.Do(func() {
		defer close(fired)
		if do != nil {
			do()
		}
	})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.once[n] = a
	return fired
}

// Every has hook choose what happens to each message from now on, except
// where [Proxy.At] has its say; nil passes all. The hook is called for one
// message at a time, in the order of their numbers, and must not wait: what
// takes time belongs into an [Action].
func (p *Proxy) Every(hook func(Message) Action) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.every = hook
}

// next numbers the message and says what is to happen to it.
func (p *Proxy) next(m *Message) Action {
	p.asking.Lock()
	defer p.asking.Unlock()

	p.mu.Lock()
	p.names = append(p.names, m.Name)
	m.N = len(p.names)
	a, found := p.once[m.N]
	hook := p.every
	p.mu.Unlock()

	if !found && hook != nil {
		return hook(*m)
	}
	return a
}

// wait holds a message back until its release. It is false if the sender or
// the proxy is gone before.
func (p *Proxy) wait(release, gone <-chan struct{}) bool {
	select {
	case <-release:
		return true
	case <-gone:
		return false
	case <-p.ctx.Done():
		return false
	}
}
