package rpctest

import (
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
)

// encodeHeader writes what a block and an uncle have in common.
func encodeHeader(h *types.Header, hash common.Hash) map[string]any {
	out := map[string]any{
		"number":           (*hexutil.Big)(h.Number),
		"hash":             hash,
		"parentHash":       h.ParentHash,
		"nonce":            h.Nonce,
		"mixHash":          h.MixDigest,
		"sha3Uncles":       h.UncleHash,
		"logsBloom":        h.Bloom,
		"stateRoot":        h.Root,
		"miner":            h.Coinbase,
		"difficulty":       (*hexutil.Big)(h.Difficulty),
		"totalDifficulty":  (*hexutil.Big)(new(big.Int).Mul(h.Difficulty, new(big.Int).Add(h.Number, common.Big1))),
		"extraData":        hexutil.Bytes(h.Extra),
		"gasLimit":         hexutil.Uint64(h.GasLimit),
		"gasUsed":          hexutil.Uint64(h.GasUsed),
		"timestamp":        hexutil.Uint64(h.Time),
		"transactionsRoot": h.TxHash,
		"receiptsRoot":     h.ReceiptHash,
		"size":             hexutil.Uint64(h.Size()),
		"uncles":           []common.Hash{},
	}
	if h.BaseFee != nil {
		out["baseFeePerGas"] = (*hexutil.Big)(h.BaseFee)
	}
	return out
}

func (c *Chain) encodeBlock(b *block, full bool) map[string]any {
	out := encodeHeader(b.header, b.hash)
	uncles, txs := []common.Hash{}, []any{}
	for _, u := range b.uncles {
		uncles = append(uncles, u.Hash())
	}
	for i, tx := range b.txs {
		if full {
			txs = append(txs, c.encodeMined(place{b, i}))
		} else {
			txs = append(txs, tx.Hash())
		}
	}
	out["uncles"], out["transactions"] = uncles, txs
	return out
}

// encodePending writes the block after parent, which has no hash, nonce and miner yet.
func (c *Chain) encodePending(parent *block) map[string]any {
	h := types.CopyHeader(parent.header)
	h.ParentHash, h.Number, h.Time = parent.hash, new(big.Int).Add(h.Number, common.Big1), h.Time+blockTime
	out := encodeHeader(h, common.Hash{})
	out["hash"], out["nonce"], out["miner"], out["transactions"] = nil, nil, nil, []any{}
	return out
}

// encodeTransaction writes a transaction that is not mined.
func (c *Chain) encodeTransaction(tx *types.Transaction, from common.Address) map[string]any {
	v, r, s := tx.RawSignatureValues()
	out := map[string]any{
		"hash":             tx.Hash(),
		"from":             from,
		"to":               tx.To(),
		"nonce":            hexutil.Uint64(tx.Nonce()),
		"value":            (*hexutil.Big)(tx.Value()),
		"gas":              hexutil.Uint64(tx.Gas()),
		"gasPrice":         (*hexutil.Big)(tx.GasPrice()),
		"input":            hexutil.Bytes(tx.Data()),
		"type":             hexutil.Uint64(tx.Type()),
		"v":                (*hexutil.Big)(v),
		"r":                (*hexutil.Big)(r),
		"s":                (*hexutil.Big)(s),
		"blockHash":        nil,
		"blockNumber":      nil,
		"transactionIndex": nil,
	}
	if tx.Type() == types.DynamicFeeTxType {
		out["maxFeePerGas"] = (*hexutil.Big)(tx.GasFeeCap())
		out["maxPriorityFeePerGas"] = (*hexutil.Big)(tx.GasTipCap())
		out["chainId"] = (*hexutil.Big)(tx.ChainId())
	}
	return out
}

func (c *Chain) encodeMined(at place) map[string]any {
	o := at.block.outcomes[at.index]
	out := c.encodeTransaction(at.block.txs[at.index], o.from)
	out["blockHash"], out["blockNumber"] = at.block.hash, hexutil.Uint64(at.block.number())
	out["transactionIndex"] = hexutil.Uint64(at.index)
	out["gasPrice"] = (*hexutil.Big)(o.price)
	return out
}

func encodeReceipt(at place) map[string]any {
	tx, o := at.block.txs[at.index], at.block.outcomes[at.index]
	var cumulative uint64
	for _, before := range at.block.outcomes[:at.index+1] {
		cumulative += before.gasUsed
	}
	return map[string]any{
		"transactionHash":   tx.Hash(),
		"transactionIndex":  hexutil.Uint64(at.index),
		"blockHash":         at.block.hash,
		"blockNumber":       hexutil.Uint64(at.block.number()),
		"from":              o.from,
		"to":                tx.To(),
		"status":            hexutil.Uint64(o.status),
		"gasUsed":           hexutil.Uint64(o.gasUsed),
		"cumulativeGasUsed": hexutil.Uint64(cumulative),
		"effectiveGasPrice": (*hexutil.Big)(o.price),
		"contractAddress":   nil,
		"logs":              []any{},
		"logsBloom":         types.Bloom{},
		"type":              hexutil.Uint64(tx.Type()),
	}
}
