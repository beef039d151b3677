package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/pires/go-proxyproto"
)

// port is one address that miners connect to.
type port struct {
	PortConfig
	tls *tls.Config
}

// ports are the configured ones: the first, and those beside it.
func (c StratumConfig) ports(cfg *Config) []PortConfig {
	if !c.Enabled {
		return nil
	}
	list := []PortConfig{{Listen: c.Listen, TLS: c.TLS, Difficulty: cfg.Difficulty, VarDiff: cfg.VarDiff}}
	for _, p := range c.Ports {
		if p.Difficulty == 0 {
			p.Difficulty = cfg.Difficulty
		}
		list = append(list, p)
	}
	return list
}

// listen opens all ports, so that a wrong one shows before anything starts.
func (p *Proxy) listen() error {
	var security *tls.Config
	for _, cfg := range p.cfg.Stratum.ports(&p.cfg) {
		if cfg.TLS && security == nil {
			c, err := loadCertificate(p.cfg.Stratum.CertFile, p.cfg.Stratum.KeyFile, p.log)
			if err != nil {
				return err
			}
			security = &tls.Config{GetCertificate: c.get, MinVersion: tls.VersionTLS12}
		}
		l, err := net.Listen("tcp", cfg.Listen)
		if err != nil {
			return fmt.Errorf("listen for miners: %w", err)
		}
		if p.cfg.Stratum.ProxyProtocol {
			l = &proxyproto.Listener{Listener: l, ReadHeaderTimeout: 5 * time.Second,
				ConnPolicy: func(c proxyproto.ConnPolicyOptions) (proxyproto.Policy, error) {
					if !p.trusted.has(hostOf(c.Upstream)) {
						p.log.Debug("connection refused", "ip", hostOf(c.Upstream), "err", proxyproto.ErrInvalidUpstream)
						return proxyproto.REJECT, proxyproto.ErrInvalidUpstream // which closes it
					}
					return proxyproto.REQUIRE, nil
				}}
		}
		at := &port{PortConfig: cfg}
		if cfg.TLS {
			at.tls = security
		}
		p.listeners = append(p.listeners, listening{l, at})
	}
	return nil
}

type listening struct {
	net.Listener
	port *port
}

// accept lets miners in until the listener is closed.
func (p *Proxy) accept(ctx context.Context, l listening) {
	p.log.Info("miners may connect", "listen", l.Addr().String(), "tls", l.port.TLS, "difficulty", l.port.Difficulty)
	for {
		conn, err := l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			p.log.Warn("a connection was not accepted", "err", err)
			select {
			case <-ctx.Done():
				return
			case <-time.After(100 * time.Millisecond): // out of file descriptors, most likely
			}
			continue
		}
		if !p.sessions.reserve(p.cfg.Stratum.MaxConn) {
			p.refused.Add(1)
			conn.Close()
			continue
		}
		p.miners.Go(func() {
			defer p.sessions.release()
			p.welcome(ctx, conn, l.port)
		})
	}
}

// welcome serves one connection from its beginning to its end.
func (p *Proxy) welcome(ctx context.Context, conn net.Conn, at *port) {
	var s *session
	p.hands.do(func() { s = p.greet(conn, at) })
	if s == nil {
		conn.Close()
		return
	}
	err := s.serve(ctx)
	p.hands.do(func() { p.part(ctx, s, err) })
	conn.Close()
}

// greet makes a session of a connection, or returns nil when it is not wanted or
// closed already.
func (p *Proxy) greet(conn net.Conn, at *port) *session {
	ip := hostOf(conn.RemoteAddr())
	if err := p.policy.admit(ip); err != nil {
		p.log.Debug("connection refused", "ip", ip, "err", err)
		return nil
	}
	s := &session{proxy: p, port: at, conn: conn, ip: ip, difficulty: at.Difficulty,
		vardiff: vardiff{cfg: at.VarDiff}, buf: make([]byte, lineFirst)}
	tcp, ok := conn.(*net.TCPConn)
	if behind, is := conn.(*proxyproto.Conn); is {
		tcp, ok = behind.TCPConn()
	}
	var err error
	if ok {
		if s.raw, err = tcp.SyscallConn(); err == nil {
			err = tcp.SetWriteBuffer(sendBuffer)
		}
	}
	if !ok || err != nil {
		p.policy.leave(ip)
		return nil
	}
	if at.tls != nil {
		s.conn, s.raw, s.out = tls.Server(conn, at.tls), nil, make(chan []byte, sendQueue)
		s.ends.Go(s.writes)
	}
	p.sessions.add(s)
	if p.stopping.Load() { // after all others were closed
		s.conn.Close()
	}
	return s
}

// part gives back what a session had, and says why it ended.
func (p *Proxy) part(ctx context.Context, s *session, err error) {
	if s.extranonce != nil {
		p.extranonces.put(*s.extranonce, s)
	}
	switch {
	case ctx.Err() != nil:
	case errors.Is(err, errTLS):
		p.log.Warn("a miner speaks TLS on a port without TLS; he needs another port, or another URL", "ip", s.ip, "listen", s.port.Listen)
	case errors.Is(err, io.EOF), errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, net.ErrClosed), errors.Is(err, syscall.ECONNRESET), errors.Is(err, errBye):
		p.log.Debug("connection ended", "ip", s.ip, "why", err)
	default:
		p.log.Info("connection closed", "ip", s.ip, "why", err)
	}
	p.sessions.remove(s)
	if s.out != nil {
		s.quiet()
		s.ends.Wait()
	}
	p.policy.leave(s.ip)
}

func hostOf(a net.Addr) string {
	if t, ok := a.(*net.TCPAddr); ok {
		return t.IP.String()
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

// sessions are the connections that are open.
type sessions struct {
	mu sync.Mutex // guards all below
	// all are about in the order in which they came, and so they lie in memory, the
	// kernel's too: to go through them in any other order takes a broadcast longer.
	all  []*session
	open int // with those that are not in all yet
}

func (ss *sessions) reserve(most int) bool {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.open >= most {
		return false
	}
	ss.open++
	return true
}

func (ss *sessions) release() {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	ss.open--
}

func (ss *sessions) add(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	s.place = len(ss.all)
	ss.all = append(ss.all, s)
}

// remove lets the last one take the place of s.
func (ss *sessions) remove(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	end := len(ss.all) - 1
	last := ss.all[end]
	ss.all[s.place], last.place = last, s.place
	ss.all[end] = nil
	ss.all = ss.all[:end]
}

func (ss *sessions) list() []*session {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	return slices.Clone(ss.all)
}

// broadcast tells everybody of new work, with all processors at once.
func (p *Proxy) broadcast(w *work) {
	list := p.sessions.list()
	began := time.Now()
	var next atomic.Int64
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for i := next.Add(1); i <= int64(len(list)); i = next.Add(1) {
				list[i-1].tell(w)
			}
		})
	}
	wg.Wait()
	p.log.Debug("new work", "height", w.Height, "job", w.ID, "node", w.Node, "difficulty", w.Difficulty, "miners", len(list), "took", time.Since(began))
}
