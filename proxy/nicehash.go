package proxy

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"math"
	"slices"
	"strings"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// niceHash is EthereumStratum/1.0.0 as NiceHash specified it and T-Rex' stratum2
// speaks it: jobs with names, an extranonce for each connection, difficulty
// apart from the jobs.
type niceHash struct{}

const niceHashProtocol = "EthereumStratum/1.0.0"

// niceReply always carries an error, null when there is none.
type niceReply struct {
	ID     json.RawMessage `json:"id"`
	Result any             `json:"result"`
	Error  any             `json:"error"`
}

type niceNotice struct {
	ID     any    `json:"id"`
	Method string `json:"method"`
	Params any    `json:"params"`
}

func niceResult(id json.RawMessage, result any) []byte {
	return line(niceReply{ID: idOf(id), Result: result})
}

func (niceHash) failure(id json.RawMessage, f failure) []byte {
	return line(niceReply{ID: idOf(id), Result: false, Error: []any{f.code, f.message, nil}})
}

func (niceHash) job(s *session, w *work) []byte {
	difficulty := w.share(s.difficulty)
	return w.encoded(form{"nicehash", difficulty}, func() []byte {
		return append(line(niceNotice{nil, "mining.set_difficulty", []float64{niceDifficulty(difficulty)}}),
			line(niceNotice{nil, "mining.notify", []any{w.ID, bare(w.Seed), bare(w.Header), w.Clean}})...)
	})
}

// niceDifficulty says a difficulty in hashes in the unit of Bitcoin's: 1 is the
// target 0xffff × 2^208. It is rounded up, so that whatever meets the miner's
// target meets ours.
func niceDifficulty(hashes int64) float64 {
	return math.Nextafter(float64(hashes)*65535/(1<<48), math.Inf(1))
}

func (d niceHash) handle(ctx context.Context, s *session, req *request) error {
	args := req.args()
	switch req.Method {
	case "mining.subscribe":
		if len(args) > 1 && args[1] != "" && !strings.HasPrefix(args[1], "EthereumStratum/1.") {
			return s.reply(d.failure(req.ID, failProtocol))
		}
		x, f := s.needExtranonce(ctx)
		if f != failNone {
			return s.reply(d.failure(req.ID, f))
		}
		return s.reply(niceResult(req.ID, []any{[]string{"mining.notify", x, niceHashProtocol}, x}))
	case "mining.extranonce.subscribe":
		return s.reply(niceResult(req.ID, true))
	case "mining.authorize":
		if s.extranonce == nil {
			return s.reply(d.failure(req.ID, failSubscribe))
		}
		if _, f := s.authorize(args, req.Worker); f != failNone {
			return s.reply(d.failure(req.ID, f))
		}
		return s.wake(niceResult(req.ID, true))
	case "mining.submit":
		sub, f := d.share(s, args)
		if f != failNone {
			s.proxy.malformedShares.Add(1)
			return s.reply(d.failure(req.ID, f))
		}
		f, end := s.submit(ctx, sub)
		if f != failNone {
			return first(s.reply(d.failure(req.ID, f)), end)
		}
		return first(s.reply(niceResult(req.ID, true)), end)
	case "eth_submitHashrate":
		return s.reply(niceResult(req.ID, true))
	default:
		return s.reply(d.failure(req.ID, failMethod))
	}
}

// share reads [worker, job, the miner's part of the nonce].
func (niceHash) share(s *session, args []string) (submission, failure) {
	if len(s.miners) == 0 || s.extranonce == nil {
		return submission{}, failSubscribe
	}
	if len(args) < 3 {
		return submission{}, failBadShare
	}
	m := s.miners[0]
	login, rig, _ := strings.Cut(args[0], ".")
	if util.IsLogin(login) { // some programs send the rig's name alone
		i := slices.IndexFunc(s.miners, func(m miner) bool { return strings.EqualFold(login, m.Login) })
		if i < 0 {
			return submission{}, failUnknown
		}
		m = s.miners[i]
		m.Worker = workerName(rig, m.Worker)
	}
	nonce, f := s.fullNonce(args[2])
	return submission{Login: m.Login, Worker: m.Worker, Work: s.proxy.board.id(args[1]), Nonce: nonce}, f
}

// needExtranonce gives the connection an extranonce, once, and returns it in hex.
func (s *session) needExtranonce(ctx context.Context) (string, failure) {
	if s.extranonce == nil {
		x, err := s.proxy.extranonces.take(ctx, s)
		if err != nil {
			s.proxy.log.Warn("a miner was turned away", "ip", s.ip, "err", err)
			return "", failExtranonce
		}
		s.extranonce = &x
	}
	return hex.EncodeToString(s.extranonce[:]), failNone
}

// fullNonce puts the connection's extranonce before the miner's part.
func (s *session) fullNonce(part string) (uint64, failure) {
	part = trim0x(part)
	nonce, ok := parseNonce(hex.EncodeToString(s.extranonce[:])+part, 16)
	if !ok {
		return 0, failBadShare
	}
	return nonce, failNone
}
