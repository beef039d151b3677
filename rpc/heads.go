package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"time"

	"github.com/coder/websocket"
)

const (
	headsDial    = 10 * time.Second
	headsSilence = 5 * time.Minute // without a block: the connection is taken for dead
	headsMost    = 1 << 20         // bytes of one message
)

// Heads subscribes to the node's new blocks over its websocket and calls told at
// each, until ctx ends or the connection does. It always returns an error, in
// which the URL's user, password, path and query do not appear.
func Heads(ctx context.Context, rawURL string, told func()) error {
	err := heads(ctx, rawURL, told)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func heads(ctx context.Context, rawURL string, told func()) error {
	u, err := url.Parse(rawURL)
	if err != nil || u.Host == "" {
		return errors.New("subscribe to new blocks: the node's websocket URL cannot be read")
	}
	dialing, cancel := context.WithTimeout(ctx, headsDial)
	conn, reply, err := websocket.Dial(dialing, rawURL, nil)
	cancel()
	if reply != nil && reply.Body != nil {
		reply.Body.Close()
	}
	if err != nil {
		return fmt.Errorf("subscribe to new blocks at %s://%s: no websocket there", u.Scheme, u.Host)
	}
	defer func() { _ = conn.CloseNow() }()
	conn.SetReadLimit(headsMost)
	if err := conn.Write(ctx, websocket.MessageText, []byte(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`)); err != nil {
		return fmt.Errorf("subscribe to new blocks at %s: %w", u.Host, err)
	}
	for subscribed := false; ; {
		reading, cancel := context.WithTimeout(ctx, headsSilence)
		_, data, err := conn.Read(reading)
		cancel()
		if err != nil {
			return fmt.Errorf("wait for new blocks at %s: %w", u.Host, err)
		}
		var m struct {
			ID     *int   `json:"id"`
			Method string `json:"method"`
			Error  *struct {
				Message string `json:"message"`
			} `json:"error"`
		}
		if err := json.Unmarshal(data, &m); err != nil {
			return fmt.Errorf("wait for new blocks at %s: a message is no JSON-RPC", u.Host)
		}
		switch {
		case m.Error != nil:
			return fmt.Errorf("subscribe to new blocks at %s: %s", u.Host, m.Error.Message)
		case m.ID != nil && !subscribed:
			subscribed = true
		case m.Method == "eth_subscription":
		default:
			continue
		}
		told()
	}
}
