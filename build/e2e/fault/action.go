package fault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
)

// Action is what happens to one message. The zero value passes it on.
type Action struct {
	kind    kind
	after   bool            // it is delivered first, whatever its sender sees
	do      func()          // called at the message, see Do
	release <-chan struct{} // hang
	answer  func(Message) answer
	http    bool // the answer means nothing to a Redis client
}

type kind int

const (
	pass kind = iota
	cut
	hang
	reply
)

// delivers says whether the message reaches the target.
func (a Action) delivers() bool { return a.after || a.kind == pass || a.kind == hang }

// begin and end call what is to happen at the message, each in its cases.
func (a Action) begin() {
	if a.do != nil && a.kind != cut {
		a.do()
	}
}

func (a Action) end() {
	if a.do != nil && a.kind == cut {
		a.do()
	}
}

// answer is made up by the test. Redis clients see its body alone.
type answer struct {
	status      int
	contentType string
	body        []byte
}

var (
	// Pass hands the message on, and its answer back.
	Pass = Action{}
	// Drop closes the connection; the message is not delivered.
	Drop = Action{kind: cut}
	// LoseReply delivers the message and closes the connection in place of
	// the answer.
	LoseReply = Drop.AfterEffect()
	// NullReply is the JSON-RPC result null: the node knows of no such thing.
	NullReply = ReplyJSON(nil)
	// ZeroHash is a JSON-RPC result that looks like a transaction hash and is none.
	ZeroHash = ReplyJSON("0x" + strings.Repeat("0", 64))
	// HTML500 is a gateway that has lost its node: status 500 and a page for people.
	HTML500 = Action{kind: reply, http: true, answer: func(Message) answer {
		return answer{http.StatusInternalServerError, "text/html", []byte("<html><body><h1>500 Internal Server Error</h1></body></html>\n")}
	}}
)

// AfterEffect is the same action once the message was delivered and its true
// answer thrown away: the sender sees HTML500, say, for what took effect. With
// [Hang], the true answer comes late.
func (a Action) AfterEffect() Action {
	a.after = true
	return a
}

// Do is the same action with something that happens at the message: before it is
// handed on or held back or answered, or, when its connection is cut, just before
// the cut, which after the effect is after the effect. The message waits for it.
func (a Action) Do(do func()) Action {
	a.do = do
	return a
}

// Reply answers without delivery: to a Redis client the bytes as they are, to
// an HTTP client as the body of a response with status 200.
func Reply(body []byte) Action {
	body = slices.Clone(body)
	return Action{kind: reply, answer: func(Message) answer {
		return answer{http.StatusOK, "application/json", body}
	}}
}

// ReplyJSON answers a JSON-RPC request, or each request of a batch, with the
// result. It panics if the result has no JSON form.
func ReplyJSON(result any) Action {
	b, err := json.Marshal(result)
	if err != nil {
		panic(fmt.Sprintf("fault.ReplyJSON: %v", err))
	}
	return replyRPC("result", b)
}

// ReplyError answers a JSON-RPC request, or each request of a batch, with an
// error object: ReplyError(-32000, "nonce too low").
func ReplyError(code int, message string) Action {
	b, err := json.Marshal(struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{code, message})
	if err != nil {
		panic(fmt.Sprintf("fault.ReplyError: %v", err))
	}
	return replyRPC("error", b)
}

func replyRPC(member string, value json.RawMessage) Action {
	return Action{kind: reply, http: true, answer: func(m Message) answer {
		calls, batch := parseRPC(m.Body)
		if len(calls) == 0 {
			calls = []call{{}}
		}
		var b bytes.Buffer
		for i, c := range calls {
			if i > 0 {
				b.WriteByte(',')
			}
			id := c.ID
			if id == nil {
				id = json.RawMessage("null")
			}
			fmt.Fprintf(&b, `{"jsonrpc":"2.0","id":%s,%q:%s}`, id, member, value)
		}
		if batch {
			return answer{http.StatusOK, "application/json", fmt.Appendf(nil, "[%s]", b.Bytes())}
		}
		return answer{http.StatusOK, "application/json", b.Bytes()}
	}}
}

// Hang leaves the sender without an answer until release is closed, and
// passes the message on then. With nil that is never. The wait ends, and the
// message with it, when its sender breaks the connection off.
func Hang(release <-chan struct{}) Action { return Action{kind: hang, release: release} }
