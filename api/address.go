package api

import (
	"net/http"
	"net/netip"
	"sync"
)

// turnstile bounds how many requests from one address are served at once, so that
// nobody takes all there is. Requests of this machine are not bounded: they are of a
// server in front, and of everybody.
type turnstile struct {
	most   int
	mu     sync.Mutex // of inside
	inside map[netip.Prefix]int
}

func newTurnstile(most int) *turnstile {
	return &turnstile{most: most, inside: map[netip.Prefix]int{}}
}

// enter lets a request in; ok is false when there are too many of its address. Who
// was let in leaves.
func (t *turnstile) enter(r *http.Request) (leave func(), ok bool) {
	from, bounded := addressOf(r)
	if !bounded {
		return func() {}, true
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.inside[from] >= t.most {
		return nil, false
	}
	t.inside[from]++
	return func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if t.inside[from]--; t.inside[from] == 0 {
			delete(t.inside, from)
		}
	}, true
}

// addressOf is where a request is from: of IPv6 the network of one customer
// (RFC 6177). bounded is false for this machine.
func addressOf(r *http.Request) (from netip.Prefix, bounded bool) {
	const customer = 64 // bits
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || at.Addr().Unmap().IsLoopback() {
		return netip.Prefix{}, false
	}
	addr := at.Addr().Unmap().WithZone("")
	bits := addr.BitLen()
	if addr.Is6() {
		bits = customer
	}
	from, err = addr.Prefix(bits)
	return from, err == nil
}
