package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// Transaction is a transaction as a node tells it, mined or not.
type Transaction struct {
	Hash     common.Hash
	From     common.Address
	To       *common.Address // nil makes a contract
	Nonce    uint64
	Value    *big.Int // Wei
	Gas      uint64   // the most it may use
	GasPrice *big.Int // Wei per gas; of a mined dynamic-fee transaction what it paid
	FeeCap   *big.Int // Wei per gas (EIP-1559); nil for a legacy transaction
	TipCap   *big.Int // Wei per gas (EIP-1559); nil for a legacy transaction
	Input    []byte
	Type     uint64 // EIP-2718; 0 is a legacy transaction

	BlockHash   *common.Hash // nil while it is not mined
	BlockNumber *uint64      // nil while it is not mined
}

// TransactionByHash returns the transaction from the chain or from the node's pool,
// or ErrNotFound.
func (c *Client) TransactionByHash(ctx context.Context, hash common.Hash) (Transaction, error) {
	return fetch(ctx, c, transactionOf(hash), "eth_getTransactionByHash", hash)
}

// Transactions asks for many at once. Each hash has either a transaction or an error,
// at its own index.
func (c *Client) Transactions(ctx context.Context, hashes []common.Hash) ([]*Transaction, []error) {
	return each(ctx, c, hashes, transactionOf, "eth_getTransactionByHash")
}

// each asks one question about many hashes.
func each[T any](ctx context.Context, c *Client, hashes []common.Hash, parse func(common.Hash) func(json.RawMessage) (T, error), method string) ([]*T, []error) {
	found := make([]T, len(hashes))
	reqs := make([]*Request, len(hashes))
	for i, h := range hashes {
		reqs[i] = typed(&found[i], parse(h), method, h)
	}
	c.do(ctx, reqs, true)
	out, errs := make([]*T, len(hashes)), make([]error, len(hashes))
	for i, r := range reqs {
		if errs[i] = r.Err; r.Err == nil {
			out[i] = &found[i]
		}
	}
	return out, errs
}

// transactionOf reads the transaction with the hash.
func transactionOf(hash common.Hash) func(json.RawMessage) (Transaction, error) {
	return func(raw json.RawMessage) (Transaction, error) {
		tx, err := parseTransaction(&members{}, raw)
		if err == nil && tx.Hash != hash {
			err = field("hash", errors.New("another transaction's"))
		}
		return tx, err
	}
}

func parseTransaction(m *members, raw json.RawMessage) (Transaction, error) {
	if err := m.open(raw); err != nil {
		return Transaction{}, err
	}
	tx := Transaction{
		Hash:      m.hash("hash"),
		From:      must[common.Address](m, "from"),
		To:        maybe[common.Address](m, "to"),
		Nonce:     m.uint64("nonce"),
		Value:     m.big("value"),
		Gas:       m.uint64("gas"),
		GasPrice:  m.maybeBig("gasPrice"),
		FeeCap:    m.maybeBig("maxFeePerGas"),
		TipCap:    m.maybeBig("maxPriorityFeePerGas"),
		Input:     must[hexutil.Bytes](m, "input"),
		BlockHash: maybe[common.Hash](m, "blockHash"),
	}
	if kind := maybe[hexutil.Uint64](m, "type"); kind != nil { // older nodes know only one
		tx.Type = uint64(*kind)
	}
	if tx.GasPrice == nil {
		tx.GasPrice = tx.FeeCap
	}
	if tx.GasPrice == nil {
		m.fail("gasPrice", errMissing)
	}
	// Some nodes write a zero hash, and some a height, for what is not mined yet.
	number := maybe[hexutil.Uint64](m, "blockNumber")
	switch {
	case tx.BlockHash == nil || *tx.BlockHash == (common.Hash{}):
		tx.BlockHash = nil
	case number == nil:
		m.fail("blockNumber", errMissing)
	default:
		tx.BlockNumber = (*uint64)(number)
	}
	return tx, m.err
}

// Receipt is what became of a mined transaction.
type Receipt struct {
	TxHash            common.Hash
	BlockHash         common.Hash
	BlockNumber       uint64
	Status            uint64 // 1 done, 0 reverted (EIP-658)
	GasUsed           uint64
	EffectiveGasPrice *big.Int // Wei per gas paid; nil when the node does not say
	From              common.Address
	To                *common.Address // nil when it made a contract
}

// Receipt returns the receipt of a mined transaction. ErrNotFound says that the node
// knows of none, ErrNotYet that it is still indexing; neither proves anything. Whether
// the receipt's block is canonical is for the caller to check. Receipts without a
// status, which blocks before Byzantium have, are an error.
func (c *Client) Receipt(ctx context.Context, txHash common.Hash) (Receipt, error) {
	return fetch(ctx, c, receiptOf(txHash), "eth_getTransactionReceipt", txHash)
}

// fewReceipts is up to how many receipts are asked for one by one: a block's take two
// questions.
const fewReceipts = 3

// detour is how long receipts are asked for one by one after eth_getBlockReceipts failed:
// what a poll would lose each time to a method that hangs, it loses once.
const detour = 10 * time.Minute

// byBlock reports whether receipts may be asked for by block.
func (c *Client) byBlock() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.now().Before(c.oneByOne)
}

// avoidBlocks begins a detour, unless it was the caller who gave up.
func (c *Client) avoidBlocks(ctx context.Context) {
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.oneByOne = c.now().Add(detour)
}

// Receipts asks for many receipts at once. Each hash has either a receipt or an
// error, at its own index. Transactions of one block, which payments of a session
// mostly are, cost no more than two questions together where the node knows
// eth_getBlockReceipts and answers it.
func (c *Client) Receipts(ctx context.Context, txHashes []common.Hash) ([]*Receipt, []error) {
	receipts, errs := make([]*Receipt, len(txHashes)), make([]error, len(txHashes))
	open := make([]int, len(txHashes)) // indexes
	for i := range open {
		open[i] = i
	}
	for missing := 0; len(open) > fewReceipts && missing < fewReceipts && c.byBlock(); {
		i := open[0]
		r, err := c.Receipt(ctx, txHashes[i])
		if errors.Is(err, ErrNotFound) {
			missing++
			errs[i], open = err, open[1:]
			continue
		}
		if err != nil {
			break
		}
		receipts[i], open = &r, open[1:]
		block, err := c.BlockReceipts(ctx, r.BlockNumber)
		if err != nil {
			c.avoidBlocks(ctx)
			break
		}
		byHash := make(map[common.Hash]*Receipt, len(block))
		for i := range block {
			byHash[block[i].TxHash] = &block[i]
		}
		before := len(open)
		open = slices.DeleteFunc(open, func(i int) bool {
			receipts[i] = byHash[txHashes[i]]
			return receipts[i] != nil
		})
		if before-len(open) < fewReceipts {
			break
		}
	}
	hashes := make([]common.Hash, len(open))
	for at, i := range open {
		hashes[at] = txHashes[i]
	}
	rest, failed := each(ctx, c, hashes, receiptOf, "eth_getTransactionReceipt")
	for at, i := range open {
		receipts[i], errs[i] = rest[at], failed[at]
	}
	return receipts, errs
}

// receiptOf reads the receipt of one transaction.
func receiptOf(txHash common.Hash) func(json.RawMessage) (Receipt, error) {
	return func(raw json.RawMessage) (Receipt, error) {
		m, err := object(raw)
		if err != nil {
			return Receipt{}, err
		}
		r := parseReceipt(m)
		if r.TxHash != txHash {
			m.fail("transactionHash", errors.New("another transaction's"))
		}
		return r, m.err
	}
}

func parseReceipt(m *members) Receipt {
	r := Receipt{
		TxHash:            m.hash("transactionHash"),
		BlockHash:         m.hash("blockHash"),
		BlockNumber:       m.uint64("blockNumber"),
		Status:            m.uint64("status"),
		GasUsed:           m.uint64("gasUsed"),
		EffectiveGasPrice: m.maybeBig("effectiveGasPrice"),
		From:              must[common.Address](m, "from"),
		To:                maybe[common.Address](m, "to"),
	}
	if r.Status > 1 {
		m.fail("status", fmt.Errorf("%d, want 0 or 1", r.Status))
	}
	return r
}

// BlockReceipts returns the receipts of all transactions of the canonical block at
// height n, in its order; ErrNotFound when there is no such block. Not every node
// knows the method, see [IsMethodNotFound].
func (c *Client) BlockReceipts(ctx context.Context, n uint64) ([]Receipt, error) {
	parse := func(raw json.RawMessage) ([]Receipt, error) {
		if isNull(raw) {
			return nil, ErrNotFound
		}
		list, err := elements(raw)
		if err != nil {
			return nil, err
		}
		receipts := make([]Receipt, len(list))
		var m members
		for i, raw := range list {
			if err := m.open(raw); err != nil {
				return nil, notNull(err)
			}
			receipts[i] = parseReceipt(&m)
			if receipts[i].BlockNumber != n {
				m.fail("blockNumber", errors.New("another block's"))
			}
			if m.err != nil {
				return nil, fmt.Errorf("receipt %d: %w", i, m.err)
			}
		}
		return receipts, nil
	}
	return fetch(ctx, c, parse, "eth_getBlockReceipts", hexutil.Uint64(n))
}
