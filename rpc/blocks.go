package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
)

// Block is a mined block, or an uncle, as a node tells it.
type Block struct {
	Number     uint64
	Hash       common.Hash
	ParentHash common.Hash
	Time       uint64   // seconds since 1970, the miner's clock
	Difficulty *big.Int // hashes, on average
	BaseFee    *big.Int // Wei per gas (EIP-1559); nil where the chain has none
	Miner      common.Address
	Nonce      types.BlockNonce
	MixHash    common.Hash
	GasLimit   uint64
	GasUsed    uint64
	ExtraData  []byte
	Uncles     []common.Hash
	TxHashes   []common.Hash // in the block's order; none for an uncle
	// Transactions is filled by BlockWithTransactions only.
	Transactions []Transaction
}

// Head returns the node's latest block.
func (c *Client) Head(ctx context.Context) (Block, error) {
	return fetch(ctx, c, parseBlock(whole), "eth_getBlockByNumber", "latest", false)
}

// BlockByNumber returns the canonical block at height n, or ErrNotFound.
func (c *Client) BlockByNumber(ctx context.Context, n uint64) (Block, error) {
	return fetch(ctx, c, blockAt(n, whole), "eth_getBlockByNumber", hexutil.Uint64(n), false)
}

// BlockByHash returns the block with the hash, which need not be canonical, or
// ErrNotFound.
func (c *Client) BlockByHash(ctx context.Context, hash common.Hash) (Block, error) {
	parse := func(raw json.RawMessage) (Block, error) {
		b, err := parseBlock(whole)(raw)
		if err == nil && b.Hash != hash {
			err = field("hash", errors.New("another block's"))
		}
		return b, err
	}
	return fetch(ctx, c, parse, "eth_getBlockByHash", hash, false)
}

// BlockWithTransactions is BlockByNumber with the transactions themselves.
func (c *Client) BlockWithTransactions(ctx context.Context, n uint64) (Block, error) {
	return fetch(ctx, c, blockAt(n, full), "eth_getBlockByNumber", hexutil.Uint64(n), true)
}

// fullBlocks is how many blocks with their transactions are asked for in one message:
// each may be a megabyte.
const fullBlocks = 8

// BlocksWithTransactions is BlockWithTransactions for many heights, a few to a
// message. Nothing is said of whether one follows another.
func (c *Client) BlocksWithTransactions(ctx context.Context, ns []uint64) ([]Block, error) {
	blocks := make([]Block, len(ns))
	reqs := make([]*Request, len(ns))
	for i, n := range ns {
		reqs[i] = typed(&blocks[i], blockAt(n, full), "eth_getBlockByNumber", hexutil.Uint64(n), true)
	}
	for part := range slices.Chunk(reqs, fullBlocks) {
		c.do(ctx, part, true)
		for _, r := range part {
			if r.Err != nil {
				return nil, fmt.Errorf("fetch blocks with their transactions: %w", r.Err)
			}
		}
	}
	return blocks, nil
}

// Blocks returns the canonical blocks from height from to height to, both included,
// without transactions. Each is the parent of the next; when the chain changed in
// between, the error is ErrUnknown, and when one is missing, ErrNotFound.
func (c *Client) Blocks(ctx context.Context, from, to uint64) ([]Block, error) {
	const most = 100_000 // a block takes about a kilobyte here
	if to < from || to-from >= most {
		return nil, fmt.Errorf("fetch blocks %d to %d: want 1 to %d blocks", from, to, most)
	}
	blocks := make([]Block, to-from+1)
	reqs := make([]*Request, len(blocks))
	for i := range blocks {
		n := from + uint64(i)
		reqs[i] = typed(&blocks[i], blockAt(n, whole), "eth_getBlockByNumber", hexutil.Uint64(n), false)
	}
	c.do(ctx, reqs, true)
	for i, r := range reqs {
		if r.Err != nil {
			return nil, fmt.Errorf("fetch block %d: %w", from+uint64(i), r.Err)
		}
		if i > 0 && blocks[i].ParentHash != blocks[i-1].Hash {
			return nil, fmt.Errorf("fetch blocks %d to %d: block %d does not follow block %d: %w",
				from, to, blocks[i].Number, blocks[i-1].Number, ErrUnknown)
		}
	}
	return blocks, nil
}

// UncleByIndex returns uncle i of the canonical block at height n, or ErrNotFound.
func (c *Client) UncleByIndex(ctx context.Context, n uint64, i int) (Block, error) {
	if i < 0 {
		return Block{}, fmt.Errorf("fetch uncle %d of block %d: negative index", i, n)
	}
	return fetch(ctx, c, parseBlock(uncle), "eth_getUncleByBlockNumberAndIndex", hexutil.Uint64(n), hexutil.Uint64(i))
}

// part says what of a block an answer must hold.
type part int

const (
	whole part = iota // header, uncles, hashes of transactions
	full              // transactions instead of their hashes
	uncle             // header only; nodes differ in what they add
)

// blockAt reads a block and insists on its height.
func blockAt(n uint64, p part) func(json.RawMessage) (Block, error) {
	return func(raw json.RawMessage) (Block, error) {
		b, err := parseBlock(p)(raw)
		if err == nil && b.Number != n {
			err = field("number", fmt.Errorf("%d, asked for %d", b.Number, n))
		}
		return b, err
	}
}

// parseBlock reads a block. A member that the pool's books hang on must be there: a
// block without a nonce, say, would make one of ours look like a stranger's.
func parseBlock(p part) func(json.RawMessage) (Block, error) {
	return func(raw json.RawMessage) (Block, error) {
		m, err := object(raw)
		if err != nil {
			return Block{}, err
		}
		b := Block{
			Number:     m.uint64("number"),
			Hash:       m.hash("hash"),
			ParentHash: must[common.Hash](m, "parentHash"), // zero at the genesis
			Time:       m.uint64("timestamp"),
			Difficulty: m.big("difficulty"),
			BaseFee:    m.maybeBig("baseFeePerGas"),
			Miner:      must[common.Address](m, "miner"),
			Nonce:      must[types.BlockNonce](m, "nonce"),
			MixHash:    must[common.Hash](m, "mixHash"),
			GasLimit:   m.uint64("gasLimit"),
			GasUsed:    m.uint64("gasUsed"),
			ExtraData:  must[hexutil.Bytes](m, "extraData"),
		}
		if p != uncle {
			b.Uncles = must[[]common.Hash](m, "uncles")
		}
		switch p {
		case whole:
			b.TxHashes = must[[]common.Hash](m, "transactions")
		case full:
			b.takeTransactions(m)
		}
		return b, m.err
	}
}

// takeTransactions reads the transactions themselves.
func (b *Block) takeTransactions(m *members) {
	list := m.array("transactions")
	b.TxHashes = make([]common.Hash, len(list))
	b.Transactions = make([]Transaction, len(list))
	var of members
	for i, raw := range list {
		tx, err := parseTransaction(&of, raw)
		if err == nil && (tx.BlockHash == nil || *tx.BlockHash != b.Hash || *tx.BlockNumber != b.Number) {
			err = field("blockHash", errors.New("another block's, or none"))
		}
		if err != nil {
			// Not wrapped: null in the list is a wrong shape, not an absence.
			m.fail("transactions", fmt.Errorf("transaction %d: %s", i, err.Error()))
			return
		}
		b.TxHashes[i], b.Transactions[i] = tx.Hash, tx
	}
}
