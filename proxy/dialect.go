package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
)

// dialect is a way to speak of work over one connection.
type dialect interface {
	// handle answers a request. An error ends the connection.
	handle(ctx context.Context, s *session, req *request) error
	// job is the notification of new work. s.mu is held.
	job(s *session, w *work) []byte
	// failure is the answer to a request that failed.
	failure(id json.RawMessage, f failure) []byte
}

// dialectOf tells which dialect a request is of, until a worker is authorized.
// Miners that do not know what a pool speaks try one dialect after the other.
func dialectOf(now dialect, req *request) dialect {
	_, second := now.(stratum2)
	switch method := req.Method; {
	case method == "mining.subscribe" && len(req.args()) > 1 && strings.HasPrefix(req.args()[1], "EthereumStratum/1."):
		return niceHash{}
	case method == "mining.hello":
		return stratum2{}
	case strings.HasPrefix(method, "mining.") && !second:
		return niceHash{}
	case strings.HasPrefix(method, "mining."):
		return now
	default:
		return ethProxy{}
	}
}

// failure is why a request failed, in the codes of Stratum and of the existing
// pools, and in those of EthereumStratum/2.0.0.
type failure struct {
	code, code2 int
	message     string
}

var (
	failNone        = failure{}
	failMalformed   = failure{-1, 400, "Malformed request"}
	failParams      = failure{-1, 400, "Invalid params"}
	failLogin       = failure{-1, 401, "Invalid login"}
	failBlacklisted = failure{-1, 403, "You are blacklisted"}
	failWorkers     = failure{-1, 403, "Too many workers on one connection"}
	failMethod      = failure{-3, 405, "Method not found"}
	failNoWork      = failure{0, 503, "Work not ready"}
	failOther       = failure{20, 500, "The pool could not check this share, please send it again"}
	failStale       = failure{21, 404, "Stale share"}
	failDuplicate   = failure{22, 409, "Duplicate share"}
	failLow         = failure{23, 406, "Low difficulty share"}
	failUnknown     = failure{24, 301, "Unauthorized worker"}
	failSubscribe   = failure{25, 302, "Not subscribed"}
	failBadShare    = failure{20, 400, "Malformed share"}
	failExtranonce  = failure{20, 503, "No extranonce is free, please try another server"}
	failProtocol    = failure{20, 400, "Unknown protocol version"}
)

// failOf is what a share is answered with.
var failOf = [verdicts]failure{valid: failNone, stale: failStale, duplicate: failDuplicate, lowDifficulty: failLow, unavailable: failOther, idle: failNoWork}

// line encodes a message. What the pool itself puts together always encodes.
func line(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("encode %T: %v", v, err))
	}
	return append(b, '\n')
}

// idOf is the request's id to answer under; null when there is none.
func idOf(id json.RawMessage) json.RawMessage {
	if len(id) == 0 {
		return json.RawMessage("null")
	}
	return id
}

// wake sends the present work, and from now on every new one.
func (s *session) wake(before ...[]byte) error {
	s.mu.Lock()
	defer s.unlock()
	s.ready = true
	out := []byte{}
	for _, b := range before {
		out = append(out, b...)
	}
	if w := s.proxy.present(); w != nil {
		out = append(out, s.dialect.job(s, w)...)
		s.heard.Store(max(s.heard.Load(), w.Number))
	}
	return s.write(out)
}
