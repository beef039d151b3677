package payouts

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/sync/errgroup"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// sight is a transaction of the account on the chain.
type sight struct {
	rpc.Transaction
	block   rpc.Block
	receipt *rpc.Receipt // nil when the node has lost it
}

func (s *sight) worked() bool { return s.receipt == nil || s.receipt.Status == 1 }

// blocksOf are the blocks that the ledger, or the node's index, says hold the
// transactions.
func (c *chainAudit) blocksOf(ctx context.Context, bound map[uint64]string, payments map[uint64]*storage.Payment) ([]uint64, error) {
	blocks := map[uint64]bool{}
	var hashes []common.Hash
	for _, n := range slices.Sorted(maps.Keys(bound)) {
		p := payments[n]
		if p == nil {
			if hash, ok := strings.CutPrefix(bound[n], "foreign:"); ok {
				hashes = append(hashes, common.HexToHash(hash))
			}
			continue
		}
		elsewhere := slices.ContainsFunc(p.Attempts, storage.Attempt.Elsewhere)
		if elsewhere {
			c.twice = append(c.twice, p)
			if p.State == storage.Sent || p.State == storage.Final {
				c.rows = append(c.rows, storage.Paid{Hash: p.Hash, Login: p.Login, Amount: p.Amount, Time: p.Time})
			}
		}
		if p.State == storage.Final && p.Block > 0 && !elsewhere {
			blocks[p.Block] = true
			continue
		}
		for _, a := range p.Attempts {
			if a.Hash != (common.Hash{}) && !a.Elsewhere() {
				hashes = append(hashes, a.Hash)
			}
		}
	}
	receipts, errs := c.node.Receipts(ctx, hashes)
	for i, err := range errs {
		switch {
		case err == nil:
			blocks[receipts[i].BlockNumber] = true
		case !errors.Is(err, rpc.ErrNotFound):
			return nil, blind{err}
		}
	}
	return slices.Sorted(maps.Keys(blocks)), nil
}

// read reads blocks and returns the account's transactions in them that are wanted, by
// nonce.
func (c *chainAudit) read(ctx context.Context, numbers []uint64, wanted func(rpc.Transaction) bool) (map[uint64]*sight, error) {
	var mu sync.Mutex // guards found
	found := map[uint64]*sight{}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(atOnce)
	for part := range slices.Chunk(numbers, blockChunk) {
		g.Go(func() error {
			blocks, err := c.node.BlocksWithTransactions(ctx, part)
			if err != nil {
				return blind{err}
			}
			for _, b := range blocks {
				var own []*sight
				for _, tx := range b.Transactions {
					if tx.From == c.meta.Account && wanted(tx) {
						s := &sight{Transaction: tx, block: b}
						s.block.Transactions, s.block.TxHashes = nil, nil
						own = append(own, s)
					}
				}
				if err := c.receipts(ctx, b, own); err != nil {
					return err
				}
				mu.Lock()
				for _, s := range own {
					found[s.Nonce] = s
				}
				mu.Unlock()
			}
			return nil
		})
	}
	return found, g.Wait()
}

// receipts finds out what became of transactions of one block: all at once where they
// are more than a few.
func (c *chainAudit) receipts(ctx context.Context, b rpc.Block, own []*sight) error {
	if len(own) > fewReceipts && !c.oneByOne.Load() {
		all, err := c.node.BlockReceipts(ctx, b.Number)
		switch {
		case err == nil:
			byHash := make(map[common.Hash]*rpc.Receipt, len(all))
			for i := range all {
				byHash[all[i].TxHash] = &all[i]
			}
			for _, s := range own {
				s.receipt = byHash[s.Hash]
			}
			return nil
		case !rpc.IsMethodNotFound(err):
			return blind{err}
		}
		c.oneByOne.Store(true)
	}
	hashes := make([]common.Hash, len(own))
	for i, s := range own {
		hashes[i] = s.Hash
	}
	receipts, errs := c.node.Receipts(ctx, hashes)
	for i, err := range errs {
		if err != nil && !errors.Is(err, rpc.ErrNotFound) {
			return blind{err}
		}
		own[i].receipt = receipts[i]
	}
	return nil
}

// search finds the transaction that used a nonce, which nobody knows, between those of
// the nonces around it. It returns nil when that would take too long.
func (c *chainAudit) search(ctx context.Context, nonce uint64, found map[uint64]*sight) (*sight, error) {
	if c.searches++; c.searches > searchMost {
		return nil, nil
	}
	low, high := c.block, c.deep.Number
	if c.since != nil && nonce >= c.since.Nonce {
		low = max(low, c.since.Block+1)
	}
	for n, s := range found {
		if n > nonce {
			high = min(high, s.block.Number)
		}
	}
	low, high, err := bracket(ctx, c.node, c.meta.Account, nonce, min(low, high), high)
	if err != nil {
		return nil, blind{err}
	}
	var numbers []uint64
	for n := high; n+searchBlocks > high && n >= low && n <= high; n-- { // 0 is followed by the highest
		numbers = append(numbers, n)
	}
	for part := range slices.Chunk(numbers, blockChunk) {
		seen, err := c.read(ctx, part, func(tx rpc.Transaction) bool { return tx.Nonce == nonce })
		if err != nil {
			return nil, err
		}
		if s := seen[nonce]; s != nil {
			return s, nil
		}
	}
	return nil, nil
}

// weiOf is what a transaction moved, in coins.
func weiOf(s *sight) string {
	if !s.worked() {
		return "0 (it failed)"
	}
	return coins(s.Value)
}
