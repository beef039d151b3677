package rpctest

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// Node serves a Chain over HTTP on a port of its own, until the test ends.
type Node struct {
	URL string // http://127.0.0.1:port

	chain  *Chain
	closed chan struct{}

	mu       sync.Mutex // guards all below; never held together with Chain.mu
	lag      uint64
	kept     uint64
	peers    uint64
	syncing  bool
	accounts []common.Address // in the order of Unlock
	keys     map[common.Address]*ecdsa.PrivateKey
	disabled map[string]bool
	calls    map[string]int
	total    int
	faults   []*fault
	onCall   []func(method string)
}

// Node starts a node of the chain. It has 25 peers and no account.
func (c *Chain) Node(t testing.TB) *Node {
	t.Helper()
	n := &Node{
		chain: c, closed: make(chan struct{}), peers: 25,
		keys:     make(map[common.Address]*ecdsa.PrivateKey),
		disabled: make(map[string]bool),
		calls:    make(map[string]int),
	}
	server := httptest.NewServer(http.HandlerFunc(n.serve))
	n.URL = server.URL
	t.Cleanup(func() {
		close(n.closed)
		server.CloseClientConnections()
		server.Close()
	})
	return n
}

// Lag makes the node see the chain as it was so many blocks ago. The mempool stays
// the one of all.
func (n *Node) Lag(blocks int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.lag = uint64(max(0, blocks))
}

// KeepStates makes the node have the state of that many blocks only, as a pruned one
// does, or with 0 of all.
func (n *Node) KeepStates(blocks int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.kept = uint64(max(0, blocks))
}

// SetPeers sets what net_peerCount answers.
func (n *Node) SetPeers(count int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.peers = uint64(max(0, count))
}

// SetSyncing sets what eth_syncing answers.
func (n *Node) SetSyncing(syncing bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.syncing = syncing
}

// Unlock gives the node an account that it signs for.
func (n *Node) Unlock(key *ecdsa.PrivateKey) {
	n.mu.Lock()
	defer n.mu.Unlock()
	account := crypto.PubkeyToAddress(key.PublicKey)
	if _, known := n.keys[account]; !known {
		n.accounts = append(n.accounts, account)
	}
	n.keys[account] = key
}

// Lock makes the node ask for the password of an account that it keeps.
func (n *Node) Lock(account common.Address) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if _, known := n.keys[account]; known {
		n.keys[account] = nil
	}
}

// DisableMethod makes the node not know the method.
func (n *Node) DisableMethod(method string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.disabled[method] = true
}

// Calls returns how often the method was called, elements of batches and calls that
// went wrong included; with an empty method, how often any was.
func (n *Node) Calls(method string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if method == "" {
		return n.total
	}
	return n.calls[method]
}

// OnCall has f called at each call before it is executed. f may mine, reorganise and
// set faults of later calls.
func (n *Node) OnCall(f func(method string)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.onCall = append(n.onCall, f)
}

// request and response are those of JSON-RPC 2.0.
type request struct {
	ID     json.RawMessage   `json:"id"`
	Method string            `json:"method"`
	Params []json.RawMessage `json:"params"`
}

type response struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result,omitempty"`
	Error   *rpcError       `json:"error,omitempty"`
}

type rpcError struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

// null is a result that is there and says nothing; a nil one would be left out.
var null = json.RawMessage("null")

func (n *Node) serve(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the client is gone
	}
	batch := bytes.HasPrefix(bytes.TrimSpace(body), []byte("["))
	var reqs []request
	if batch {
		err = json.Unmarshal(body, &reqs)
	} else {
		reqs = make([]request, 1)
		err = json.Unmarshal(body, &reqs[0])
	}
	if err != nil {
		write(w, response{Version: "2.0", ID: null, Error: &rpcError{-32700, "parse error"}})
		return
	}
	faults := make([]Fault, len(reqs))
	var spoiled Fault
	for i, req := range reqs {
		faults[i] = n.arrive(req.Method)
		if faults[i].spoils() && spoiled.kind == noFault {
			spoiled = faults[i]
		}
	}
	if spoiled.kind != noFault && !spoiled.executed {
		n.spoil(w, r, spoiled)
		return
	}
	answers := make([]response, len(reqs))
	for i, req := range reqs {
		answers[i] = n.answer(req, faults[i])
	}
	switch {
	case spoiled.kind != noFault:
		n.spoil(w, r, spoiled)
	case batch:
		write(w, answers)
	default:
		write(w, answers[0])
	}
}

// arrive counts a call, tells the hooks, and returns the fault that is due.
func (n *Node) arrive(method string) Fault {
	n.mu.Lock()
	n.calls[method]++
	n.total++
	hooks := n.onCall
	f := n.strike(method)
	n.mu.Unlock()
	for _, hook := range hooks {
		hook(method)
	}
	return f
}

// answer executes one call, unless its fault says otherwise.
func (n *Node) answer(req request, f Fault) response {
	res := response{Version: "2.0", ID: req.ID}
	if f.kind == noFault || f.executed {
		res.Result, res.Error = n.execute(req.Method, req.Params)
	}
	switch f.kind {
	case answerNull:
		res.Result, res.Error = null, nil
	case answerZeroHash:
		res.Result, res.Error = common.Hash{}, nil
	case answerError:
		res.Result, res.Error = nil, &rpcError{f.code, f.message}
	}
	return res
}

func write(w http.ResponseWriter, answer any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(answer) // the client may be gone
}
