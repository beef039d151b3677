package rpc

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"slices"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// NonceAt returns how many transactions of the account are mined up to and in the
// block, which is the next nonce there.
func (c *Client) NonceAt(ctx context.Context, account common.Address, block uint64) (uint64, error) {
	return fetch(ctx, c, parseUint64, "eth_getTransactionCount", account, hexutil.Uint64(block))
}

// BalanceAt returns the account's balance in Wei after the block.
func (c *Client) BalanceAt(ctx context.Context, account common.Address, block uint64) (*big.Int, error) {
	return fetch(ctx, c, parseBig, "eth_getBalance", account, hexutil.Uint64(block))
}

// AccountAt returns NonceAt and BalanceAt, asked in one message.
func (c *Client) AccountAt(ctx context.Context, account common.Address, block uint64) (nonce uint64, balanceWei *big.Int, err error) {
	reqs := []*Request{
		typed(&nonce, parseUint64, "eth_getTransactionCount", account, hexutil.Uint64(block)),
		typed(&balanceWei, parseBig, "eth_getBalance", account, hexutil.Uint64(block)),
	}
	c.do(ctx, reqs, true)
	if err := first(reqs[0].Err, reqs[1].Err); err != nil {
		return 0, nil, err
	}
	return nonce, balanceWei, nil
}

// PendingNonce returns the account's next nonce with the node's pool counted in.
// Some nodes stop at a gap and some do not: nothing may be decided on it.
func (c *Client) PendingNonce(ctx context.Context, account common.Address) (uint64, error) {
	return fetch(ctx, c, parseUint64, "eth_getTransactionCount", account, "pending")
}

// PoolHas returns the account's transactions in the node's pool, executable and
// queued, in nonce order. known is false when the node offers neither
// txpool_contentFrom nor txpool_content, and then nothing is known of its pool.
func (c *Client) PoolHas(ctx context.Context, account common.Address) (known bool, hashes []common.Hash, err error) {
	hashes, err = fetch(ctx, c, parsePoolOf, "txpool_contentFrom", account)
	if IsMethodNotFound(err) {
		hashes, err = fetch(ctx, c, parsePool(account), "txpool_content")
	}
	if IsMethodNotFound(err) {
		return false, nil, nil
	}
	return err == nil, hashes, err
}

// pooled is the nonce, in decimal, and the transaction of each entry.
type pooled map[string]json.RawMessage

// parsePoolOf reads the answer of txpool_contentFrom. The third part is Erigon's, for
// what waits for a lower base fee.
func parsePoolOf(raw json.RawMessage) ([]common.Hash, error) {
	m, err := object(raw)
	if err != nil {
		return nil, notNull(err)
	}
	parts := []pooled{must[pooled](m, "pending"), must[pooled](m, "queued")}
	if waiting := maybe[pooled](m, "baseFee"); waiting != nil {
		parts = append(parts, *waiting)
	}
	if m.err != nil {
		return nil, m.err
	}
	return inNonceOrder(parts)
}

// parsePool reads one account out of the answer of txpool_content.
func parsePool(account common.Address) func(json.RawMessage) ([]common.Hash, error) {
	return func(raw json.RawMessage) ([]common.Hash, error) {
		m, err := object(raw)
		if err != nil {
			return nil, notNull(err)
		}
		type byAccount map[common.Address]pooled
		parts := []pooled{must[byAccount](m, "pending")[account], must[byAccount](m, "queued")[account]}
		if waiting := maybe[byAccount](m, "baseFee"); waiting != nil {
			parts = append(parts, (*waiting)[account])
		}
		if m.err != nil {
			return nil, m.err
		}
		return inNonceOrder(parts)
	}
}

func inNonceOrder(parts []pooled) ([]common.Hash, error) {
	type entry struct {
		nonce uint64
		hash  common.Hash
	}
	var entries []entry
	for _, p := range parts {
		for key, raw := range p {
			nonce, err := strconv.ParseUint(key, 10, 64)
			if err != nil {
				return nil, fmt.Errorf("nonce %q is not a decimal number", printable(key, 30))
			}
			tx, err := object(raw)
			if err != nil {
				return nil, notNull(err)
			}
			entries = append(entries, entry{nonce, tx.hash("hash")})
			if tx.err != nil {
				return nil, tx.err
			}
		}
	}
	slices.SortFunc(entries, func(a, b entry) int {
		return cmp.Or(cmp.Compare(a.nonce, b.nonce), a.hash.Cmp(b.hash))
	})
	hashes := make([]common.Hash, len(entries))
	for i, e := range entries {
		hashes[i] = e.hash
	}
	return hashes, nil
}

// GasPrice returns the price, in Wei per gas, the node suggests for a legacy
// transaction.
func (c *Client) GasPrice(ctx context.Context) (*big.Int, error) {
	return fetch(ctx, c, parseBig, "eth_gasPrice")
}

// MaxPriorityFee returns the tip, in Wei per gas, the node suggests for a
// dynamic-fee transaction (EIP-1559).
func (c *Client) MaxPriorityFee(ctx context.Context) (*big.Int, error) {
	return fetch(ctx, c, parseBig, "eth_maxPriorityFeePerGas")
}

// EstimateGas returns the gas that args would use now. A recipient that reverts is
// an *Error.
func (c *Client) EstimateGas(ctx context.Context, args TxArgs) (uint64, error) {
	return fetch(ctx, c, parseUint64, "eth_estimateGas", args)
}

// CallContract runs args on the state after the block, changes nothing, and returns
// the output. Without To, Data is code that runs and returns.
func (c *Client) CallContract(ctx context.Context, args TxArgs, block uint64) ([]byte, error) {
	return fetch(ctx, c, parseBytes, "eth_call", args, hexutil.Uint64(block))
}
