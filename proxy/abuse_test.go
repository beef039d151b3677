package proxy

import (
	"context"
	"io"
	"net"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// dialFrom connects to the proxy from another address of this machine.
func (p *pool) dialFrom(ip string) (*client, error) {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}}
	conn, err := d.DialContext(context.Background(), "tcp4", p.Addrs()[1].String())
	if err != nil {
		return nil, err
	}
	p.t.Cleanup(func() { conn.Close() })
	return &client{t: p.t, conn: conn}, nil
}

// quiet waits until as many goroutines run as before, and those hands that idle.
func (p *pool) quiet(before int) {
	p.t.Helper()
	p.until("the goroutines ended", func() bool { return runtime.NumGoroutine() <= before+handsIdle })
}

// TestAFloodFromOneAddress: it keeps nobody else out, and leaves nothing behind.
func TestAFloodFromOneAddress(t *testing.T) {
	p := newPool(t, 1)
	const limit = 30
	floods := 10_000
	if testing.Short() {
		floods = 1_000
	}
	p.cfg.Policy.Limits.Enabled, p.cfg.Policy.Limits.Limit, p.cfg.Policy.Limits.Grace = true, limit, 0
	p.start()
	p.dial().ask(`{"id":1,"method":"eth_getWork"}`)
	before := runtime.NumGoroutine()

	var wg sync.WaitGroup
	most := make(chan struct{}, 100)
	for range floods {
		most <- struct{}{}
		wg.Go(func() {
			defer func() { <-most }()
			c, err := p.dialFrom("127.0.0.2")
			if err != nil {
				t.Error(err)
				return
			}
			defer c.conn.Close()
			// Turned away at once, or let in and silent.
			_ = c.conn.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
			_, _ = c.conn.Read(make([]byte, 1))
		})
		if n := len(p.sessions.list()); n > limit+1 {
			t.Fatalf("%d sessions, the limit for one address is %d", n, limit)
		}
	}
	c := p.dial()
	c.want(`{"id":1,"method":"eth_submitLogin","params":["`+alice+`"]}`, `{"id":1,"jsonrpc":"2.0","result":true}`)
	wg.Wait()
	p.until("the flood is over", func() bool { return len(p.sessions.list()) == 2 })
	c.conn.Close()
	p.quiet(before)
}

// TestAHandshakeThatNeverEnds holds no place for ever, and nobody up.
func TestAHandshakeThatNeverEnds(t *testing.T) {
	p := newPool(t, 1)
	p.cfg.Stratum.TLS = true
	p.cfg.Stratum.CertFile, p.cfg.Stratum.KeyFile = selfSigned(t)
	p.cfg.Stratum.Timeout = util.Duration(100 * time.Millisecond)
	p.start()
	before := runtime.NumGoroutine()
	var silent []*client
	for range 3 * handsIdle { // more than may idle: one that is left of each would show
		c := p.dial()
		if _, err := io.WriteString(c.conn, "\x16\x03\x01"); err != nil { // a record begins
			t.Fatal(err)
		}
		silent = append(silent, c)
	}
	for _, c := range silent {
		if _, err := io.Copy(io.Discard, c.conn); err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("the connection ended with %v", err)
		}
	}
	p.quiet(before)
}
