package proxy

import (
	"context"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"
)

// ethProxy is what eth-proxy spoke first, and PhoenixMiner, TT-Miner and
// ethminer's stratum1+tcp speak: the methods of getwork over a connection, with
// new work pushed.
type ethProxy struct{}

// ethReply is an answer as the existing pools write it. A share that does not
// count has result false as well as an error.
type ethReply struct {
	ID      json.RawMessage `json:"id"`
	Version string          `json:"jsonrpc"`
	Result  any             `json:"result"`
	Error   *ethError       `json:"error,omitempty"`
}

type ethError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func ethResult(id json.RawMessage, result any) []byte {
	return line(ethReply{ID: idOf(id), Version: "2.0", Result: result})
}

func (ethProxy) failure(id json.RawMessage, f failure) []byte {
	r := ethReply{ID: idOf(id), Version: "2.0", Error: &ethError{f.code, f.message}}
	if 20 <= f.code && f.code <= 23 {
		r.Result = false
	}
	return line(r)
}

// getWork is the work as the methods of getwork tell it.
func getWork(w *work, difficulty int64) []string {
	return []string{w.Header.Hex(), w.Seed.Hex(), targetOf(w.share(difficulty)).Hex()}
}

func (ethProxy) job(s *session, w *work) []byte {
	return w.encoded(form{"eth", s.difficulty}, func() []byte {
		return line(struct {
			ID      int      `json:"id"`
			Version string   `json:"jsonrpc"`
			Result  []string `json:"result"`
		}{0, "2.0", getWork(w, s.difficulty)})
	})
}

func (d ethProxy) handle(ctx context.Context, s *session, req *request) error {
	args := req.args()
	switch req.Method {
	case "eth_submitLogin", "eth_login":
		i, f := s.authorize(args, req.Worker)
		if f != failNone {
			return s.reply(d.failure(req.ID, f))
		}
		s.miners = s.miners[i : i+1] // a share does not say whose it is: the last login's
		s.mu.Lock()
		s.ready = true
		s.unlock()
		return s.reply(ethResult(req.ID, true))
	case "eth_getWork":
		w := s.proxy.present()
		if w == nil {
			return s.reply(d.failure(req.ID, failNoWork))
		}
		s.mu.Lock()
		difficulty := s.difficulty
		s.heard.Store(max(s.heard.Load(), w.Number))
		s.unlock()
		return s.reply(ethResult(req.ID, getWork(w, difficulty)))
	case "eth_submitWork":
		if len(s.miners) == 0 {
			return s.reply(d.failure(req.ID, failSubscribe))
		}
		sub, f := s.proxy.ethShare(args)
		if f != failNone {
			s.proxy.malformedShares.Add(1)
			return s.reply(d.failure(req.ID, f))
		}
		m := s.miners[0]
		// lolMiner writes "eth1.0" beside the rig's name in the login.
		sub.Login, sub.Worker = m.Login, workerName(string(req.Worker), m.Worker)
		f, end := s.submit(ctx, sub)
		if f != failNone {
			return first(s.reply(d.failure(req.ID, f)), end)
		}
		return first(s.reply(ethResult(req.ID, true)), end)
	case "eth_submitHashrate":
		return s.reply(ethResult(req.ID, true))
	default:
		return s.reply(d.failure(req.ID, failMethod))
	}
}

// ethShare reads nonce, header and mix of eth_submitWork.
func (p *Proxy) ethShare(args []string) (submission, failure) {
	if len(args) != 3 {
		return submission{}, failBadShare
	}
	nonce, ok := parseNonce(args[0], 16)
	header, ok1 := parseHash(args[1])
	mix, ok2 := parseHash(args[2])
	if !ok || !ok1 || !ok2 {
		return submission{}, failBadShare
	}
	return submission{Work: p.board.header(header), Nonce: nonce, Mix: &mix}, failNone
}

// parseNonce reads exactly so many hex digits, with or without 0x.
func parseNonce(s string, digits int) (uint64, bool) {
	s = trim0x(s)
	if len(s) != digits || strings.ContainsAny(s, "+-_") {
		return 0, false
	}
	n, err := strconv.ParseUint(s, 16, 64)
	return n, err == nil
}

func parseHash(s string) (h common.Hash, ok bool) {
	s = trim0x(s)
	if len(s) != 2*common.HashLength {
		return h, false
	}
	return h, h.UnmarshalText([]byte("0x"+s)) == nil
}

// first is the first error there is.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}
