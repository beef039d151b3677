package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"
)

// Limits of every connection.
const (
	headerWait = 10 * time.Second
	writeWait  = 30 * time.Second
	idleWait   = 2 * time.Minute
	headerMost = 16 << 10 // bytes
)

// serveHTTP serves until ctx ends, then lets requests end for a moment. closing
// is called first.
func serveHTTP(ctx context.Context, l net.Listener, h http.Handler, closing func()) error {
	srv := &http.Server{Handler: h, ReadHeaderTimeout: headerWait, ReadTimeout: headerWait, WriteTimeout: writeWait, IdleTimeout: idleWait,
		MaxHeaderBytes: headerMost, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context { return context.WithValue(ctx, connKey{}, c) }}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(door{l}) }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	closing()
	over, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := srv.Shutdown(over); err != nil {
		_ = srv.Close() // whoever is left has had a second
	}
	if err := <-done; !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return ctx.Err()
}

type door struct{ net.Listener }

func (d door) Accept() (net.Conn, error) {
	c, err := d.Listener.Accept()
	if tcp, ok := c.(*net.TCPConn); ok {
		return &conn{TCPConn: tcp}, err
	}
	return c, err
}

// conn sees what net/http writes, for three reasons.
//
// What net/http refuses by itself, before anybody of ours sees it, is to be an
// error in JSON like all others: a request that is none, or whose headers have no
// end.
//
// And net/http writes through a few kilobytes of memory, so that most answers
// would be two packets, for two system calls, which wake their reader twice. The
// first one waits for the other here.
//
// And what is long, and goes out often, is in a file, from which the kernel sends it.
type conn struct {
	*net.TCPConn
	body int      // bytes of the body that is about to be written, see expect
	file *os.File // with that body, nil for none
	held *packet  // the first part of an answer, nil for none
}

type connKey struct{}

// expect says that so many bytes of a body are written next, which are in a file as
// well, or not (nil). The goroutine that serves the request is the only one that
// writes.
func expect(r *http.Request, body int, file *os.File) {
	if c, ok := r.Context().Value(connKey{}).(*conn); ok {
		c.body, c.file = body, file
	}
}

// packet is as much as net/http writes at once, of what is longer.
type packet struct {
	bytes [4096]byte
	n     int
}

var packets = sync.Pool{New: func() any { return new(packet) }}

var headEnd = []byte("\r\n\r\n")

func (c *conn) Write(b []byte) (int, error) {
	body, file, held := c.body, c.file, c.held
	c.body, c.file, c.held = 0, nil, nil
	switch {
	case held != nil && file != nil: // b is the rest of the body
		defer packets.Put(held)
		if _, err := c.TCPConn.Write(held.bytes[:held.n]); err != nil {
			return 0, err
		}
		return sendFile(c.TCPConn, file, int64(body-len(b)), len(b))
	case held != nil:
		defer packets.Put(held)
		both := net.Buffers{held.bytes[:held.n], b}
		n, err := both.WriteTo(c.TCPConn)
		return max(0, int(n)-held.n), err
	case body > 0:
		// It is held back only if there is more for sure.
		if head := bytes.Index(b, headEnd); head >= 0 && len(b) <= len(held.bytes) && head+len(headEnd)+body > len(b) {
			c.held, _ = packets.Get().(*packet)
			c.held.n = copy(c.held.bytes[:], b)
			c.body, c.file = body, file
			return len(b), nil
		}
		return c.TCPConn.Write(b)
	}
	return c.refuse(b)
}

// What net/http writes then: a line with the status, and in one piece with it a
// head and why; or no why, where the client expects what there is not.
var (
	refusal     = []byte("Content-Type: text/plain; charset=utf-8\r\nConnection: close\r\n\r\n")
	unexpecting = []byte("HTTP/1.1 417 Expectation Failed")
)

func (c *conn) refuse(b []byte) (int, error) {
	const most = 512
	if len(b) > most || !bytes.HasPrefix(b, []byte("HTTP/1.1 ")) {
		return c.TCPConn.Write(b)
	}
	status, rest, _ := bytes.Cut(b, []byte("\r\n"))
	why, ok := bytes.CutPrefix(rest, refusal)
	if bytes.Equal(status, unexpecting) {
		why, ok = bytes.TrimPrefix(status, []byte("HTTP/1.1 ")), true
	}
	if !ok {
		return c.TCPConn.Write(b)
	}
	body, _ := json.Marshal(errorView{Error: string(why)}) // a string is always encoded
	out := fmt.Appendf(nil, "%s\r\nContent-Type: %s\r\nCache-Control: no-store\r\nAccess-Control-Allow-Origin: *\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s",
		status, kindJSON[0], len(body), body)
	if _, err := c.TCPConn.Write(out); err != nil {
		return 0, err
	}
	return len(b), nil
}
