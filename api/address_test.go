package api

import (
	"net/http"
	"testing"
)

func TestNobodyTakesEveryPlace(t *testing.T) {
	gate := newTurnstile(2)
	from := func(addr string) *http.Request { return &http.Request{RemoteAddr: addr} }
	for _, e := range []struct {
		addr string
		ok   bool
	}{
		{"192.0.2.1:1", true}, {"192.0.2.1:2", true}, {"192.0.2.1:3", false}, {"192.0.2.2:3", true},
		{"[::ffff:192.0.2.1]:4", false},
		{"[2001:db8::1]:1", true}, {"[2001:db8::2]:1", true}, {"[2001:db8::ffff:3]:1", false}, {"[2001:db8:0:1::1]:1", true},
		{"127.0.0.1:1", true}, {"127.0.0.1:1", true}, {"127.0.0.1:1", true}, {"[::1]:1", true}, {"[::1]:1", true}, {"[::1]:1", true},
	} {
		if _, ok := gate.enter(from(e.addr)); ok != e.ok {
			t.Errorf("%s: let in: %t, want %t", e.addr, ok, e.ok)
		}
	}
	gate = newTurnstile(1)
	leave, _ := gate.enter(from("192.0.2.1:1"))
	leave()
	if _, ok := gate.enter(from("192.0.2.1:2")); !ok {
		t.Error("whoever left is still inside")
	}
	if len(gate.inside) != 1 {
		t.Errorf("%d addresses are remembered, want 1", len(gate.inside))
	}
}
