package fault

import (
	"fmt"
	"testing"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
)

// What is to happen at a message happens before it is delivered, but where its
// connection is cut after its effect.
func TestDoHappensAtTheMessage(t *testing.T) {
	srv := storagetest.Start(t)
	n := startNode(t)
	released := make(chan struct{})
	close(released)
	for _, tc := range []struct {
		name   string
		action Action
		then   int64 // effects when it happens
		after  int64 // effects afterwards
	}{
		{"pass", Pass, 0, 1},
		{"hang", Hang(released), 0, 1},
		{"hang after effect", Hang(released).AfterEffect(), 0, 1},
		{"drop", Drop, 0, 0},
		{"lose the reply", LoseReply, 1, 1},
		{"answer", Reply([]byte("+OK\r\n")), 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv.Do(t, "SET", "n", 0)
			effects := func() any { return srv.Do(t, "GET", "n") }
			p := Redis(t, srv.Addr())
			var then any
			done := make(chan struct{})
			p.Every(func(Message) Action { return tc.action.Do(func() { then = effects(); close(done) }) })
			w := dial(t, p)
			w.send("INCR n")
			await(t, "what is to happen", done)
			if p.Close(); then != fmt.Sprint(tc.then) {
				t.Errorf("redis: %v effects when it happened, want %d", then, tc.then)
			}

			before := n.effects.Load()
			var seen int64
			h := HTTP(t, n.URL)
			h.Every(func(Message) Action { return tc.action.Do(func() { seen = n.effects.Load() - before }) })
			post(t, browser(t), h.URL(), rpc("eth_x"))
			h.Close()
			if got := n.effects.Load() - before; seen != tc.then || got != tc.after {
				t.Errorf("node: %d effects when it happened and %d afterwards, want %d and %d", seen, got, tc.then, tc.after)
			}
		})
	}
}
