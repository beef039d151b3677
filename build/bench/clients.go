package main

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// clients are browsers and phones: keep-alive connections, each of which asks
// again as soon as it has its answer. One thread serves all of them, and looks
// no closer at answers than it must to find their end: it takes its processor
// time from the pool's.
type clients struct {
	poll  int
	conns map[int32]*client
	room  []byte // where answers are read to
}

type client struct {
	fd      int
	asked   time.Time
	head    []byte // what came of the answer's head
	left    int    // bytes of the body to come, -1 for one in chunks
	reading bool   // the head is in
	tail    []byte // the end of what came of a body in chunks
}

// answers are what came in a storm.
type answers struct {
	took   []float64 // milliseconds
	span   time.Duration
	bytes  int
	failed int // with another status than 200
}

func (a answers) rate() float64 { return float64(len(a.took)) / a.span.Seconds() }

// request is a GET of who takes compressed answers, as all browsers do.
func request(path string) []byte {
	return []byte("GET " + path + " HTTP/1.1\r\nHost: pool\r\nAccept-Encoding: gzip, deflate, br\r\n\r\n")
}

func dial(addr string, n int) (cs *clients, err error) {
	cs = &clients{conns: map[int32]*client{}, room: make([]byte, 1<<20)}
	defer func() {
		if err != nil {
			cs.close()
		}
	}()
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return cs, err
	}
	if cs.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return cs, err
	}
	for range n {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return cs, err
		}
		cs.conns[int32(fd)] = &client{fd: fd}
		if err := unix.Connect(fd, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}); err != nil {
			return cs, err
		}
		if err := unix.SetNonblock(fd, true); err != nil {
			return cs, err
		}
		if err := unix.EpollCtl(cs.poll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: int32(fd)}); err != nil {
			return cs, err
		}
	}
	return cs, nil
}

func (cs *clients) close() {
	for _, c := range cs.conns {
		_ = unix.Close(c.fd)
	}
	_ = unix.Close(cs.poll)
}

// storm lets all ask for what next says, for so long; the last answers are waited
// for.
func (cs *clients) storm(d time.Duration, next func() []byte) (all answers, err error) {
	began := time.Now()
	asking := 0
	for _, c := range cs.conns {
		if err := c.ask(next()); err != nil {
			return all, err
		}
		asking++
	}
	events := make([]unix.EpollEvent, len(cs.conns))
	for asking > 0 {
		n, err := unix.EpollWait(cs.poll, events, int(patience.Milliseconds()))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil || n == 0 {
			return all, fmt.Errorf("%d clients have no answer: %w", asking, err)
		}
		for _, e := range events[:n] {
			c := cs.conns[e.Fd]
			done, err := c.read(cs.room, &all)
			if err != nil {
				return all, err
			}
			if !done {
				continue
			}
			now := time.Now()
			all.took = append(all.took, milliseconds(now.Sub(c.asked)))
			if now.Sub(began) >= d {
				asking--
			} else if err := c.ask(next()); err != nil {
				return all, err
			}
		}
	}
	all.span = time.Since(began)
	return all, nil
}

func (c *client) ask(request []byte) error {
	c.asked, c.head, c.reading, c.tail = time.Now(), c.head[:0], false, c.tail[:0]
	_, err := unix.Write(c.fd, request)
	return err
}

var (
	headEnd      = []byte("\r\n\r\n")
	chunksEnd    = []byte("\r\n0\r\n\r\n")
	lengthHeader = []byte("\r\nContent-Length: ")
	okay         = []byte("HTTP/1.1 200 ")
)

// headMost is more than any head has, in bytes.
const headMost = 4096

// read takes what is there; done says whether it was the end of the answer.
func (c *client) read(room []byte, all *answers) (done bool, err error) {
	n, err := unix.Read(c.fd, room)
	if errors.Is(err, unix.EAGAIN) || errors.Is(err, unix.EINTR) {
		return false, nil
	}
	if err != nil || n == 0 {
		return false, fmt.Errorf("the pool hung up: %w", err)
	}
	all.bytes += n
	got := room[:n]
	if !c.reading {
		before := len(c.head)
		c.head = append(c.head, got[:min(n, headMost)]...)
		end := bytes.Index(c.head, headEnd)
		if end < 0 {
			return false, nil
		}
		if !bytes.HasPrefix(c.head, okay) {
			all.failed++
		}
		c.reading, c.left = true, -1
		if at := bytes.Index(c.head[:end], lengthHeader); at >= 0 {
			digits, _, _ := bytes.Cut(c.head[at+len(lengthHeader):], []byte("\r"))
			if c.left, err = strconv.Atoi(string(digits)); err != nil {
				return false, err
			}
		}
		got = got[end+len(headEnd)-before:]
	}
	if c.left >= 0 {
		c.left -= len(got)
		return c.left == 0, nil
	}
	c.tail = append(c.tail, got[max(0, len(got)-len(chunksEnd)):]...)
	c.tail = c.tail[max(0, len(c.tail)-len(chunksEnd)):]
	return bytes.Equal(c.tail, chunksEnd), nil
}

// check asks once, and looks closely: it must be a whole JSON answer, compressed.
func check(addr, path string) error {
	w, err := fetch("http://"+addr+path, "gzip")
	if err != nil {
		return err
	}
	defer w.Body.Close()
	body := io.Reader(w.Body)
	if w.Header.Get("Content-Encoding") == "gzip" {
		if body, err = gzip.NewReader(body); err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
	}
	text, err := io.ReadAll(body)
	if err != nil || w.StatusCode != 200 || len(text) == 0 {
		return fmt.Errorf("%s: status %d, %d bytes: %w", path, w.StatusCode, len(text), err)
	}
	if w.Header.Get("Content-Type") == "application/json; charset=utf-8" && !json.Valid(text) {
		return fmt.Errorf("%s is answered %.200q", path, text)
	}
	return nil
}
