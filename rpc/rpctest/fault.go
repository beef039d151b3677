package rpctest

import "net/http"

// Fault is something a node does wrong, once or always; see Node.Fail.
type Fault struct {
	kind     faultKind
	executed bool
	code     int
	message  string
}

type faultKind int

const (
	noFault faultKind = iota
	closeConnection
	answerNull
	answerZeroHash
	answerHTML
	hang
	answerError
)

// The faults there are. In a batch the ones that spoil the message spoil it whole:
// either none of it is executed or, where the fault executes, all of it.
var (
	LoseReply = Fault{kind: closeConnection, executed: true} // executed, then the connection is closed
	Refuse    = Fault{kind: closeConnection}                 // the connection is closed, nothing executed
	Null      = Fault{kind: answerNull}                      // not executed, answered with null
	ZeroHash  = Fault{kind: answerZeroHash, executed: true}  // executed, answered with the hash of 64 zeros
	HTML500   = Fault{kind: answerHTML}                      // not executed, status 500 with a page of HTML
	Hang      = Fault{kind: hang}                            // not executed, no answer before the client gives up
)

// ErrorReply is a call that is not executed and answered with a JSON-RPC error.
func ErrorReply(code int, message string) Fault {
	return Fault{kind: answerError, code: code, message: message}
}

// Executed is the same fault at a call that is executed first.
func (f Fault) Executed() Fault {
	f.executed = true
	return f
}

// spoils reports whether the fault is of the whole HTTP message.
func (f Fault) spoils() bool {
	return f.kind == closeConnection || f.kind == answerHTML || f.kind == hang
}

// fault is a Fault that waits for its call.
type fault struct {
	Fault
	method string // empty for any
	after  int    // calls until it happens; 0 for every call
}

// Fail makes the nth call of the method from now on go wrong, 1 being the next. With
// nth 0 every one goes wrong until Heal. An empty method stands for any.
func (n *Node) Fail(method string, nth int, f Fault) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = append(n.faults, &fault{f, method, nth})
}

// Heal takes back every Fail.
func (n *Node) Heal() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.faults = nil
}

// strike counts a call of the method and returns the fault that is due, if any.
func (n *Node) strike(method string) Fault {
	var due Fault
	keep := n.faults[:0]
	for _, f := range n.faults {
		if f.method != "" && f.method != method {
			keep = append(keep, f)
			continue
		}
		if f.after != 1 {
			keep = append(keep, f)
		}
		if f.after <= 1 && due.kind == noFault {
			due = f.Fault
		}
		if f.after > 1 {
			f.after--
		}
	}
	n.faults = keep
	return due
}

// spoil answers a whole message wrongly.
func (n *Node) spoil(w http.ResponseWriter, r *http.Request, f Fault) {
	switch f.kind {
	case answerHTML:
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusInternalServerError)
		_, _ = w.Write([]byte("<html><body><h1>500 Internal Server Error</h1></body></html>")) // the client may be gone
	case hang:
		select {
		case <-r.Context().Done():
		case <-n.closed:
		}
		panic(http.ErrAbortHandler)
	default:
		panic(http.ErrAbortHandler) // net/http's way to cut the connection
	}
}
