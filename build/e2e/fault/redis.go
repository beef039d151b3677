package fault

import (
	"bufio"
	"context"
	"net"
	"strings"
	"sync"
	"testing"
)

// ahead is how many commands are read before the one at work is done. Reading
// on is how the end of a connection is noticed behind a hanging command.
const ahead = 1024

// Redis starts a proxy before the Redis server at target (host:port), which
// may come and go. It ends with the test.
//
// Commands that a client sent before it died reach the server all the same,
// as they would from the buffers of the network, unless a fault cut their
// connection. CLIENT REPLY OFF is not understood.
func Redis(t testing.TB, target string) *Proxy {
	t.Helper()
	p, l := newProxy(t, "redis")
	r := &redisProxy{Proxy: p, target: target, namer: namer{scripts: make(map[string]string)}}
	r.running.Go(func() { r.accept(l) })
	p.shut = func() {
		_ = l.Close() // there is nothing to be done about it
		r.running.Wait()
	}
	return p
}

type redisProxy struct {
	*Proxy
	target  string
	namer   namer
	running sync.WaitGroup
}

func (r *redisProxy) accept(l net.Listener) {
	for n := 1; ; n++ {
		client, err := l.Accept()
		if err != nil {
			return
		}
		r.running.Go(func() { r.serve(client, n) })
	}
}

// redisConn is one client's connection, served by one goroutine with a reader
// on either side.
type redisConn struct {
	*redisProxy
	n        int
	client   net.Conn
	server   net.Conn
	commands chan command  // closed at the client's end
	gone     chan struct{} // closed then, too: seen past commands in waiting
	replies  chan []byte   // closed at the server's end
	done     chan struct{} // closed when this end is through with both
}

func (r *redisProxy) serve(client net.Conn, n int) {
	defer client.Close()
	server, err := new(net.Dialer).DialContext(r.ctx, "tcp", r.target)
	if err != nil {
		return // to the client the server is down, as it is
	}
	defer server.Close()
	c := &redisConn{
		redisProxy: r,
		n:          n,
		client:     client,
		server:     server,
		commands:   make(chan command, ahead),
		gone:       make(chan struct{}),
		replies:    make(chan []byte),
		done:       make(chan struct{}),
	}
	var readers sync.WaitGroup
	defer readers.Wait()
	unplug := func() { _, _ = client.Close(), server.Close() }
	defer unplug()
	defer context.AfterFunc(r.ctx, unplug)()
	defer close(c.done)
	readers.Go(c.readClient)
	readers.Go(c.readServer)
	c.run()
}

func (c *redisConn) readClient() {
	defer close(c.gone)
	defer close(c.commands)
	r := bufio.NewReader(c.client)
	for {
		cmd, err := readCommand(r)
		if err != nil {
			return
		}
		if len(cmd.args) == 0 {
			continue
		}
		select {
		case c.commands <- cmd:
		case <-c.done:
			return
		}
	}
}

func (c *redisConn) readServer() {
	defer close(c.replies)
	r := bufio.NewReader(c.server)
	for {
		reply, err := readReply(r)
		if err != nil {
			return
		}
		select {
		case c.replies <- reply:
		case <-c.done:
			return
		}
	}
}

// run serves one command after the other until either side ends.
func (c *redisConn) run() {
	for {
		select {
		case cmd, open := <-c.commands:
			if !open || !c.handle(cmd) {
				return
			}
		case message, open := <-c.replies:
			if !open {
				return
			}
			c.give(message)
		}
	}
}

// handle is one message from its arrival to its answer. It is false if the
// connection is to end.
func (c *redisConn) handle(cmd command) bool {
	m := Message{Conn: c.n, Name: c.namer.name(cmd.args), Args: cmd.args}
	a := c.next(&m)
	if a.http {
		c.t.Errorf("fault: message %d, %s, was to be answered in JSON-RPC, and comes from a Redis client", m.N, m.Name)
		return false
	}
	a.begin()
	if a.kind == hang && !a.after && !c.wait(a.release, c.gone) {
		return false
	}
	var answer []byte
	answered := true
	if a.delivers() {
		answer, answered = c.ask(cmd)
	}
	switch {
	case a.kind == cut:
		a.end()
		return false
	case !answered:
		return false
	case a.kind == hang && a.after:
		if !c.wait(a.release, c.gone) {
			return false
		}
	case a.kind == reply:
		answer = a.answer(m).body
	}
	c.give(answer)
	return true
}

// ask delivers the command and reads its whole reply.
func (c *redisConn) ask(cmd command) ([]byte, bool) {
	if _, err := c.server.Write(cmd.raw); err != nil {
		return nil, false
	}
	stream := streams[strings.ToUpper(cmd.args[0])]
	gone := c.gone
	for {
		select {
		case reply, open := <-c.replies:
			if !open {
				return nil, false
			}
			if reply[0] != '>' || stream {
				return reply, true
			}
			c.give(reply)
		case <-gone:
			// The server has to notice as well: the command may be one that
			// blocks, and must not take later what nobody waits for.
			if gone = nil; len(c.commands) == 0 {
				_ = c.server.(*net.TCPConn).CloseWrite() // the reply or its absence tells
			}
		}
	}
}

// give hands bytes to the client. Whether it is there to take them does not
// matter: what it sent before it left is still to be delivered.
func (c *redisConn) give(b []byte) { _, _ = c.client.Write(b) }
