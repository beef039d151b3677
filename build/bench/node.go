package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// node gives work as a node does, and never gets a block: that would take 2^60
// hashes. It tells of new blocks by websocket.
type node struct {
	listener net.Listener
	server   http.Server

	mu     sync.Mutex // guards all below
	height uint64
	told   map[chan struct{}]bool // wakes who subscribed
}

func newNode() (*node, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	n := &node{listener: l, height: 1, told: map[chan struct{}]bool{}}
	n.server.Handler = n
	go func() { _ = n.server.Serve(l) }() // until close
	return n, nil
}

func (n *node) addr() string { return n.listener.Addr().String() }

func (n *node) close() { n.server.Close() }

// advance lets the node have work on top of a new block and says since when.
func (n *node) advance() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.height++
	at := time.Now()
	for wake := range n.told {
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	return at
}

func (n *node) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "" {
		n.subscribe(w, r)
		return
	}
	var q struct {
		ID     json.RawMessage `json:"id"`
		Method string          `json:"method"`
	}
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	n.mu.Lock()
	height := n.height
	n.mu.Unlock()
	result := "null"
	switch q.Method {
	case "eth_getWork":
		result = fmt.Sprintf(`["0x%064x","0x%064x","0x%064x","0x%x"]`, height, 0, 1, height)
	case "eth_getBlockByNumber":
		result = fmt.Sprintf(`{"number":"0x%x","difficulty":"0x1000000000000000"}`, height)
	case "eth_syncing", "eth_submitWork":
		result = "false"
	}
	w.Header().Set("Content-Type", "application/json")
	fmt.Fprintf(w, `{"jsonrpc":"2.0","id":%s,"result":%s}`, q.ID, result)
}

// subscribe serves one websocket: whatever is asked is a subscription to new
// blocks.
func (n *node) subscribe(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = conn.CloseNow() }()
	ctx := context.Background()
	if _, _, err := conn.Read(ctx); err != nil {
		return
	}
	ctx = conn.CloseRead(ctx)
	wake := make(chan struct{}, 1)
	n.mu.Lock()
	n.told[wake] = true
	n.mu.Unlock()
	message := `{"jsonrpc":"2.0","id":1,"result":"0x1"}`
	for conn.Write(ctx, websocket.MessageText, []byte(message)) == nil {
		message = `{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"0x1","result":{}}}`
		select {
		case <-ctx.Done():
			return
		case <-wake:
		}
	}
}
