package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// getworkServer takes miners' work over HTTP: POST /LOGIN/WORKER or /LOGIN.WORKER,
// JSON-RPC.
func (p *Proxy) getworkServer() *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("/{login}", p.getwork)
	mux.HandleFunc("/{login}/{id}", p.getwork)
	return &http.Server{
		Addr: p.cfg.Listen, Handler: mux, MaxHeaderBytes: p.cfg.LimitHeadersSize,
		ReadHeaderTimeout: 10 * time.Second, ReadTimeout: 30 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: 2 * time.Minute,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelDebug),
	}
}

// getwork answers one request.
func (p *Proxy) getwork(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		http.Error(w, "want POST with a JSON-RPC request", http.StatusMethodNotAllowed)
		return
	}
	ip := p.clientIP(r)
	if err := p.policy.admit(ip); err != nil {
		http.Error(w, err.Error(), http.StatusForbidden)
		return
	}
	defer p.policy.leave(ip)
	body, err := io.ReadAll(io.LimitReader(r.Body, p.cfg.LimitBodySize+1))
	switch {
	case err != nil:
		return
	case int64(len(body)) > p.cfg.LimitBodySize:
		http.Error(w, "the request is too long", http.StatusExpectationFailed)
		return
	}
	var req request
	if json.Unmarshal(body, &req) != nil || req.Method == "" {
		p.policy.malformed(ip)
		write(w, ethProxy{}.failure(nil, failMalformed))
		return
	}
	login, rig, named := strings.Cut(r.PathValue("login"), ".")
	if id := r.PathValue("id"); id != "" || !named {
		rig = id
	}
	switch {
	case !util.IsLogin(login):
		write(w, ethProxy{}.failure(req.ID, failLogin))
	case !p.policy.welcome(login):
		write(w, ethProxy{}.failure(req.ID, failBlacklisted))
	default:
		p.miners.Add(1) // its share may be a block
		defer p.miners.Done()
		write(w, p.getworkReply(r.Context(), &req, miner{strings.ToLower(login), workerName(rig)}, ip))
	}
}

func (p *Proxy) getworkReply(ctx context.Context, req *request, m miner, ip string) []byte {
	var d ethProxy
	now := p.present()
	switch req.Method {
	case "eth_getWork":
		if now == nil {
			return d.failure(req.ID, failNoWork)
		}
		return ethResult(req.ID, getWork(now, p.cfg.Difficulty))
	case "eth_getBlockByNumber":
		if now == nil {
			return d.failure(req.ID, failNoWork)
		}
		return ethResult(req.ID, map[string]any{"number": hexutil.Uint64(now.Height), "difficulty": hexutil.Uint64(now.Difficulty)})
	case "eth_submitHashrate":
		return ethResult(req.ID, true)
	case "eth_submitWork":
		sub, f := p.ethShare(req.args())
		if f != failNone {
			p.malformedShares.Add(1)
			return d.failure(req.ID, f)
		}
		sub.Login, sub.Worker, sub.IP, sub.Difficulty = m.Login, m.Worker, ip, p.cfg.Difficulty
		v := p.judge(ctx, sub)
		if v == valid || v == lowDifficulty {
			p.policy.share(ip, v == valid)
		}
		if f := failOf[v]; f != failNone {
			return d.failure(req.ID, f)
		}
		return ethResult(req.ID, true)
	default:
		return d.failure(req.ID, failMethod)
	}
}

func write(w http.ResponseWriter, line []byte) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(line) // the miner is gone, then
}

// clientIP is the miner's address: the connection's, or what the reverse proxy in
// front of us added to X-Forwarded-For, on the right. Where that is one of ours,
// too, the miner is further left; what he invented himself is left of him.
func (p *Proxy) clientIP(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	if !p.cfg.BehindReverseProxy {
		return host
	}
	list := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, text := range slices.Backward(list) {
		before, ok := parseHop(text)
		if !ok || !p.trusted.has(host) {
			break
		}
		host = before.String()
	}
	return host
}

// hops are the networks of reverse proxies and load balancers that are believed.
type hops []netip.Prefix

func parseHops(list []string) (hops, error) {
	var h hops
	for _, text := range list {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, fmt.Errorf("proxy.trustedProxies: %w", err)
		}
		h = append(h, prefix)
	}
	return h, nil
}

func (h hops) has(host string) bool {
	ip, err := netip.ParseAddr(host)
	return err == nil && slices.ContainsFunc(h, func(p netip.Prefix) bool { return p.Contains(ip.Unmap().WithZone("")) })
}

// parseHop reads one address of X-Forwarded-For, with or without a port.
func parseHop(text string) (netip.Addr, bool) {
	text = strings.TrimSpace(text)
	if at, err := netip.ParseAddrPort(text); err == nil {
		return at.Addr().Unmap(), true
	}
	ip, err := netip.ParseAddr(strings.Trim(text, "[]"))
	return ip.Unmap(), err == nil
}

// serveGetwork serves until ctx ends.
func (p *Proxy) serveGetwork(ctx context.Context, l net.Listener) error {
	server := p.getworkServer()
	stop := context.AfterFunc(ctx, func() { server.Close() })
	defer stop()
	p.log.Info("miners may ask for work over HTTP", "listen", l.Addr().String())
	if err := server.Serve(limited{l, p}); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// limited turns connections away that are above proxy.stratum.maxConn, those to
// the ports of stratum included.
type limited struct {
	net.Listener
	proxy *Proxy
}

func (l limited) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.proxy.sessions.reserve(l.proxy.cfg.Stratum.MaxConn) {
			return placed{conn, sync.OnceFunc(l.proxy.sessions.release)}, nil
		}
		l.proxy.refused.Add(1)
		conn.Close()
	}
}

// placed is a connection that gives its place back when it is closed.
type placed struct {
	net.Conn
	release func()
}

func (c placed) Close() error {
	c.release()
	return c.Conn.Close()
}
