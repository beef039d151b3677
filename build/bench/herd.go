package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// herd are miners that only listen for jobs, in the dialect of eth-proxy. One
// thread hears all of them, with as little work of its own as can be.
type herd struct {
	poll  int
	conns []int
}

// gather connects so many miners and returns when all are logged in.
func gather(addr string, n int) (h *herd, err error) {
	h = &herd{}
	defer func() {
		if err != nil {
			h.close()
		}
	}()
	at, err := netip.ParseAddrPort(addr)
	if err != nil {
		return h, err
	}
	if h.poll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return h, err
	}
	var buf [1024]byte
	for i := range n {
		conn, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return h, err
		}
		h.conns = append(h.conns, conn)
		if err := unix.Connect(conn, &unix.SockaddrInet4{Addr: at.Addr().As4(), Port: int(at.Port())}); err != nil {
			return h, err
		}
		login := fmt.Sprintf(`{"id":1,"method":"eth_submitLogin","params":["0x%040x","x"],"worker":"rig"}`+"\n", i+1)
		if _, err := unix.Write(conn, []byte(login)); err != nil {
			return h, err
		}
		got, err := unix.Read(conn, buf[:])
		if err != nil || !bytes.Contains(buf[:max(0, got)], []byte("true")) {
			return h, fmt.Errorf("miner %d is answered %q: %w", i, buf[:max(0, got)], err)
		}
		if err := unix.EpollCtl(h.poll, unix.EPOLL_CTL_ADD, conn, &unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLET, Fd: int32(conn)}); err != nil {
			return h, err
		}
	}
	return h, nil
}

func (h *herd) close() {
	for _, conn := range append(h.conns, h.poll) {
		_ = unix.Close(conn)
	}
}

// nap is how exactly the herd tells times. To wait for every line would take as
// much processor time as sending it, which miners elsewhere do not take.
const nap = 200 * time.Microsecond

// hear waits until every miner has a job, and returns when each had.
func (h *herd) hear(limit time.Duration) ([]time.Time, error) {
	at := make([]time.Time, 0, len(h.conns))
	events := make([]unix.EpollEvent, len(h.conns))
	for end := time.Now().Add(limit); len(at) < len(h.conns); time.Sleep(nap) {
		n, err := unix.EpollWait(h.poll, events, 0)
		if err != nil && err != unix.EINTR {
			return nil, err
		}
		now := time.Now()
		for range n {
			at = append(at, now)
		}
		if now.After(end) {
			return nil, fmt.Errorf("%d of %d miners heard of a job in %s", len(at), len(h.conns), limit)
		}
	}
	var line [1024]byte
	for _, conn := range h.conns {
		if got, err := unix.Read(conn, line[:]); err != nil || got == 0 {
			return nil, fmt.Errorf("the pool hung up: %w", err)
		}
	}
	return at, nil
}
