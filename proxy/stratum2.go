package proxy

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// stratum2 is EthereumStratum/2.0.0 (EIP-1571): short messages, hex without 0x,
// what seldom changes told apart from the jobs.
type stratum2 struct{}

const stratum2Protocol = "EthereumStratum/2.0.0"

// reply2 leaves out what has nothing to say: {"id":1} is success.
type reply2 struct {
	ID     json.RawMessage `json:"id"`
	Result any             `json:"result,omitempty"`
	Error  *ethError       `json:"error,omitempty"`
}

type notice2 struct {
	Method string `json:"method"`
	Params any    `json:"params,omitempty"`
}

// settings2 are the parameters of mining.set.
type settings2 struct {
	Epoch      string `json:"epoch,omitempty"`
	Target     string `json:"target,omitempty"`
	Algo       string `json:"algo,omitempty"`
	Extranonce string `json:"extranonce,omitempty"`
}

func result2(id json.RawMessage, result any) []byte {
	return line(reply2{ID: idOf(id), Result: result})
}

func (stratum2) failure(id json.RawMessage, f failure) []byte {
	return line(reply2{ID: idOf(id), Error: &ethError{f.code2, f.message}})
}

func hexNumber(n uint64) string { return strconv.FormatUint(n, 16) }

func (stratum2) job(s *session, w *work) []byte {
	notify := w.encoded(form{dialect: "2"}, func() []byte {
		clean := "0"
		if w.Clean {
			clean = "1"
		}
		return line(notice2{"mining.notify", []string{w.ID, hexNumber(w.Height), bare(w.Header), clean}})
	})
	var set settings2
	if s.told.epoch != w.Epoch+1 {
		set.Epoch, set.Algo, set.Extranonce = hexNumber(w.Epoch), s.proxy.algo, hex.EncodeToString(s.extranonce[:])
	}
	difficulty := w.share(s.difficulty)
	if s.told.difficulty != difficulty {
		set.Target = bare(targetOf(difficulty))
	}
	s.told.epoch, s.told.difficulty = w.Epoch+1, difficulty
	if set == (settings2{}) {
		return notify
	}
	return append(line(notice2{"mining.set", set}), notify...)
}

func (d stratum2) handle(ctx context.Context, s *session, req *request) error {
	switch req.Method {
	case "mining.hello":
		if !req.hello() {
			return s.reply(d.failure(req.ID, failProtocol))
		}
		return s.reply(result2(req.ID, map[string]string{"proto": stratum2Protocol, "encoding": "plain", "resume": "0",
			"timeout": hexNumber(uint64(s.proxy.cfg.Stratum.Timeout.Std().Seconds())), "maxerrors": "ffff", "node": "open-ethereum-pool"}))
	case "mining.subscribe":
		if _, f := s.needExtranonce(ctx); f != failNone {
			return s.reply(d.failure(req.ID, f))
		}
		return s.reply(result2(req.ID, s.name(string(req.Params))))
	case "mining.authorize":
		if s.extranonce == nil {
			return s.reply(d.failure(req.ID, failSubscribe))
		}
		n, f := s.authorize(req.args(), req.Worker)
		if f != failNone {
			return s.reply(d.failure(req.ID, f))
		}
		return s.wake(result2(req.ID, "w-"+strconv.Itoa(n)))
	case "mining.submit":
		sub, f := d.share(s, req.args())
		if f != failNone {
			s.proxy.malformedShares.Add(1)
			return s.reply(d.failure(req.ID, f))
		}
		f, end := s.submit(ctx, sub)
		if f != failNone {
			return first(s.reply(d.failure(req.ID, f)), end)
		}
		return first(s.reply(result2(req.ID, nil)), end)
	case "mining.hashrate", "mining.noop":
		return s.reply(result2(req.ID, nil))
	case "mining.bye":
		return errBye
	default:
		return s.reply(d.failure(req.ID, failMethod))
	}
}

// name is the session's. It is never the one that the miner asks to go on with: he
// would take his workers for authorized.
func (s *session) name(asked string) string {
	name := fmt.Sprintf("s-%x", s.extranonce[:])
	if strings.Trim(asked, `"`) == name {
		name += "-2"
	}
	return name
}

// hello says whether the parameters of mining.hello ask for this protocol.
func (r *request) hello() bool {
	var hello struct {
		Proto string `json:"proto"`
	}
	return json.Unmarshal(r.Params, &hello) == nil && hello.Proto == stratum2Protocol
}

// share reads [job, the miner's part of the nonce, worker].
func (stratum2) share(s *session, args []string) (submission, failure) {
	if s.extranonce == nil {
		return submission{}, failSubscribe
	}
	if len(args) < 3 {
		return submission{}, failBadShare
	}
	number, ok := strings.CutPrefix(args[2], "w-")
	n, err := strconv.Atoi(number)
	if !ok || err != nil || n < 0 || n >= len(s.miners) {
		return submission{}, failUnknown
	}
	part := args[1]
	if short := 2*(8-extranonceBytes) - len(part); short > 0 && part != "" { // a number may come without its leading zeros
		part = strings.Repeat("0", short) + part
	}
	nonce, f := s.fullNonce(part)
	return submission{Login: s.miners[n].Login, Worker: s.miners[n].Worker, Work: s.proxy.board.id(args[0]), Nonce: nonce}, f
}
