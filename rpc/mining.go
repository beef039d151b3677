package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common/hexutil"
)

// GetWork returns the node's work: header hash without nonce, seed hash and
// boundary, each 0x-prefixed and 32 bytes long, and from some nodes the block number
// in hex (the four are eth_getWork's own order).
func (c *Client) GetWork(ctx context.Context) ([]string, error) {
	return fetch(ctx, c, parseWork, "eth_getWork")
}

func parseWork(raw json.RawMessage) ([]string, error) {
	var work []string
	if err := json.Unmarshal(raw, &work); err != nil {
		return nil, err
	}
	if len(work) < 3 || len(work) > 4 {
		return nil, fmt.Errorf("work of %d elements, want 3 or 4", len(work))
	}
	for i, w := range work[:3] {
		b, err := hexutil.Decode(w)
		if err != nil {
			return nil, fmt.Errorf("work element %d: %w", i, err)
		}
		if len(b) != 32 {
			return nil, fmt.Errorf("work element %d has %d bytes, want 32", i, len(b))
		}
	}
	if len(work) == 4 {
		if _, err := hexutil.DecodeUint64(work[3]); err != nil {
			return nil, fmt.Errorf("work element 3: %w", err)
		}
	}
	return work, nil
}

// SubmitWork offers a solution to the current node and reports whether it took it.
// nonce, header and mix are 0x-prefixed hex. It is offered once: after ErrUnknown the
// block may exist.
func (c *Client) SubmitWork(ctx context.Context, nonce, header, mix string) (bool, error) {
	return fetch(ctx, c, parseBool, "eth_submitWork", nonce, header, mix)
}

// PendingBlock returns height and difficulty of the block the node builds.
func (c *Client) PendingBlock(ctx context.Context) (number uint64, difficulty *big.Int, err error) {
	type pending struct {
		number     uint64
		difficulty *big.Int
	}
	p, err := fetch(ctx, c, func(raw json.RawMessage) (pending, error) {
		m, err := object(raw)
		if err != nil {
			return pending{}, notNull(err)
		}
		return pending{m.uint64("number"), m.big("difficulty")}, m.err
	}, "eth_getBlockByNumber", "pending", false)
	return p.number, p.difficulty, err
}

// PeerCount returns how many peers the node is connected to.
func (c *Client) PeerCount(ctx context.Context) (uint64, error) {
	return fetch(ctx, c, parseUint64, "net_peerCount")
}

// Syncing reports whether the node is still catching up with the chain.
func (c *Client) Syncing(ctx context.Context) (bool, error) {
	return fetch(ctx, c, parseSyncing, "eth_syncing")
}

// parseSyncing reads false, or an object with the progress.
func parseSyncing(raw json.RawMessage) (bool, error) {
	var progress map[string]json.RawMessage
	if isNull(raw) {
		return false, errors.New("null where false or an object is due")
	}
	if json.Unmarshal(raw, &progress) == nil {
		return true, nil
	}
	return parseBool(raw)
}
