package payouts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// The unlocker finds the pool's blocks on the chain and turns them into balances:
//
//	candidate → immature → matured, or an orphan
//
// What it decides, it decides on complete evidence: every block of the range
// where ours could be, each the parent of the next, from a node on our chain. A
// node that is lost, lags or leaves something out ends the pass, and the next one
// asks again; nothing of that makes an orphan.

// searchRange is how many blocks above and below the height that was worked on a
// block or the including block of an uncle can be.
const searchRange = 16

// Blocks is what the unlocker asks a node.
type Blocks interface {
	Pin(chainID uint64, genesis common.Hash)
	Identity(ctx context.Context) (chainID uint64, genesis common.Hash, err error)
	Head(ctx context.Context) (rpc.Block, error)
	Blocks(ctx context.Context, from, to uint64) ([]rpc.Block, error)
	UncleByIndex(ctx context.Context, n uint64, i int) (rpc.Block, error)
	BlockWithTransactions(ctx context.Context, n uint64) (rpc.Block, error)
	Receipts(ctx context.Context, txs []common.Hash) ([]*rpc.Receipt, []error)
}

// Credits is the part of the books that the unlocker writes. Every method may be
// repeated after an error without moving money twice.
type Credits interface {
	Meta(ctx context.Context) (storage.Meta, error)
	Candidates(ctx context.Context, maxHeight uint64) ([]storage.Candidate, []error, error)
	RoundShares(ctx context.Context, height uint64, nonce string) (map[string]int64, error)
	Immature(ctx context.Context, c storage.Candidate, b storage.Block, s storage.Split) error
	ImmatureBlocks(ctx context.Context, maxHeight uint64) ([]storage.Block, []error, error)
	Relocate(ctx context.Context, old, b storage.Block, s storage.Split) error
	Mature(ctx context.Context, b storage.Block, now int64) error
	Orphan(ctx context.Context, b storage.Block) error
	SetTerms(ctx context.Context, t storage.Terms) error
}

// UnlockerParts are what an Unlocker works with.
type UnlockerParts struct {
	Blocks  Blocks
	Credits Credits
	Clock   Clock // nil: the wall clock
	Log     *slog.Logger
}

// Unlocker credits blocks. It belongs to one goroutine.
type Unlocker struct {
	cfg     UnlockerConfig
	rewards Rewards
	blocks  Blocks
	credits Credits
	clock   Clock
	log     *slog.Logger

	chainID uint64 // of the chain the node is pinned to; 0 before the first pass
	genesis common.Hash
	highest uint64          // the highest head ever seen
	said    string          // the last complaint, so that it is made once
	badRows map[string]bool // rows that were complained about
}

// NewUnlocker makes an Unlocker. It starts nothing.
func NewUnlocker(cfg UnlockerConfig, parts UnlockerParts) (*Unlocker, error) {
	rewards, err := NewRewards(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.PoolFeeAddress != "" && !util.IsLogin(cfg.PoolFeeAddress) {
		return nil, fmt.Errorf("unlocker.poolFeeAddress: %w", util.ErrLogin)
	}
	if cfg.ImmatureDepth < searchRange || cfg.Depth < cfg.ImmatureDepth {
		return nil, fmt.Errorf("unlocker.immatureDepth is %d and unlocker.depth %d, want at least %d and no less", cfg.ImmatureDepth, cfg.Depth, searchRange)
	}
	u := &Unlocker{cfg: cfg, rewards: rewards, blocks: parts.Blocks, credits: parts.Credits, clock: parts.Clock, log: parts.Log, badRows: map[string]bool{}}
	if u.clock == nil {
		u.clock = wallClock{}
	}
	return u, nil
}

// Run makes a pass now and one every interval until ctx ends. What fails is tried
// again in the next pass.
func (u *Unlocker) Run(ctx context.Context) error {
	for ctx.Err() == nil {
		u.complain(ctx, u.Pass(ctx))
		if err := u.clock.Sleep(ctx, u.cfg.Interval.Std()); err != nil && ctx.Err() == nil {
			return err
		}
	}
	return nil
}

// complain logs what went wrong, once until it changes.
func (u *Unlocker) complain(ctx context.Context, err error) {
	switch {
	case err == nil:
		if u.said != "" {
			u.log.Info("unlocker is well again")
		}
		u.said = ""
	case ctx.Err() != nil:
	case err.Error() != u.said:
		u.said = err.Error()
		u.log.Warn("unlocker tries again", "err", err)
	}
}

// setAside logs rows that cannot be read, each once. They stay where they are.
func (u *Unlocker) setAside(bad []error) {
	for _, err := range bad {
		if !u.badRows[err.Error()] {
			u.badRows[err.Error()] = true
			u.log.Error("row set aside", "err", err)
		}
	}
}

// Pass looks for every block that is due and moves it one step on. An error is
// worth another pass; what was done before it stays.
func (u *Unlocker) Pass(ctx context.Context) error {
	if err := u.checkChain(ctx); err != nil {
		return err
	}
	head, err := u.head(ctx)
	if err != nil {
		return err
	}
	terms := storage.Terms{Fee: u.cfg.PoolFee, Depth: u.cfg.Depth, ImmatureDepth: u.cfg.ImmatureDepth}
	return errors.Join(u.unlock(ctx, head), u.mature(ctx, head), u.credits.SetTerms(ctx, terms))
}

// checkChain makes sure that the node is on the ledger's chain, or, while that has
// none, on the one that it showed first.
func (u *Unlocker) checkChain(ctx context.Context) error {
	m, err := u.credits.Meta(ctx)
	if err != nil {
		return err
	}
	if m.ChainID != 0 && (m.ChainID != u.chainID || m.Genesis != u.genesis) {
		u.chainID, u.genesis = m.ChainID, m.Genesis
		u.blocks.Pin(m.ChainID, m.Genesis)
	}
	chainID, genesis, err := u.blocks.Identity(ctx)
	if err != nil {
		return fmt.Errorf("ask the node which chain it is on: %w", err)
	}
	if err := u.rewards.CheckChain(chainID); err != nil {
		return err
	}
	if u.chainID == 0 {
		u.chainID, u.genesis = chainID, genesis
		u.blocks.Pin(chainID, genesis)
	}
	if chainID != u.chainID || genesis != u.genesis {
		return fmt.Errorf("the node is on chain %d with genesis %s, the ledger on chain %d with genesis %s: %w",
			chainID, genesis, u.chainID, u.genesis, rpc.ErrWrongChain)
	}
	return nil
}

func (u *Unlocker) head(ctx context.Context) (uint64, error) {
	b, err := u.blocks.Head(ctx)
	if err != nil {
		return 0, fmt.Errorf("ask the node for its head: %w", err)
	}
	if b.Number < u.highest {
		return 0, fmt.Errorf("the node is at height %d, and %d was seen before", b.Number, u.highest)
	}
	u.highest = b.Number
	return b.Number, nil
}

// unlock looks for candidates that are deep enough.
func (u *Unlocker) unlock(ctx context.Context, head uint64) error {
	if head < u.cfg.ImmatureDepth {
		return nil
	}
	candidates, bad, err := u.credits.Candidates(ctx, head-u.cfg.ImmatureDepth)
	if err != nil {
		return err
	}
	u.setAside(bad)
	return each(candidates, func(c storage.Candidate) error {
		at, err := u.find(ctx, c.Height, c.Nonce, c.MixHash)
		if err != nil {
			return fmt.Errorf("look for candidate %s of height %d: %w", c.Nonce, c.Height, err)
		}
		if at == nil {
			if err := u.credits.Immature(ctx, c, c.Block(), storage.Split{}); err != nil {
				return err
			}
			u.log.Warn("block not found, looking again when it would be mature", "height", c.Height, "nonce", c.Nonce, "kind", "orphan")
			return nil
		}
		b, s, err := u.price(ctx, c.Block(), c.Height, at)
		if err != nil {
			return fmt.Errorf("reward of candidate %s of height %d: %w", c.Nonce, c.Height, err)
		}
		if err := u.credits.Immature(ctx, c, b, s); err != nil {
			return err
		}
		u.logFound("block immature", b, s)
		return nil
	})
}

// mature looks again at immature blocks that are deep enough.
func (u *Unlocker) mature(ctx context.Context, head uint64) error {
	if head < u.cfg.Depth {
		return nil
	}
	blocks, bad, err := u.credits.ImmatureBlocks(ctx, head-u.cfg.Depth)
	if err != nil {
		return err
	}
	u.setAside(bad)
	return each(blocks, func(b storage.Block) error {
		what, err := u.fate(ctx, b)
		if err != nil {
			return fmt.Errorf("look for block %s of height %d: %w", b.Nonce, b.Height, err)
		}
		if what.orphan {
			if err := u.credits.Orphan(ctx, b); err != nil {
				return err
			}
			u.log.Warn("block orphaned, its shares count for the next one", "height", b.Height, "nonce", b.Nonce, "kind", "orphan")
			return nil
		}
		if what.moved != nil {
			now, s, err := u.price(ctx, b, b.Height, what.moved)
			if err != nil {
				return fmt.Errorf("reward of block %s of height %d: %w", b.Nonce, b.Height, err)
			}
			if err := u.credits.Relocate(ctx, b, now, s); err != nil {
				return err
			}
			u.logFound("block immature elsewhere", now, s)
			if b = now; b.Height+u.cfg.Depth > head {
				return nil
			}
		}
		if err := u.credits.Mature(ctx, b, u.clock.Now().Unix()); err != nil {
			return err
		}
		u.log.Info("block matured", "height", b.Height, "kind", kind(b), "hash", b.Hash, "reward", weiCoins(b.RewardWei))
		return nil
	})
}

// each does the work for one after the other. What is in the way of one, in the books
// or in what the node says of it, concerns no other; any other error ends it.
func each[T any](list []T, work func(T) error) error {
	var errs []error
	for _, v := range list {
		err := work(v)
		if err != nil {
			errs = append(errs, err)
		}
		if err != nil && !itsOwn(err) {
			break
		}
	}
	return errors.Join(errs...)
}

// itsOwn says of an error that it is about one block: the books or the node answered.
func itsOwn(err error) bool {
	var answer *rpc.Error
	return errors.Is(err, storage.ErrConflict) || errors.Is(err, storage.ErrMalformed) ||
		errors.Is(err, rpc.ErrNotFound) || errors.Is(err, rpc.ErrNotYet) || errors.As(err, &answer)
}

// fate is what is to be done with a block that is deep enough: credit it where it
// is, credit it where it has moved, or give it up.
type fate struct {
	moved  *place
	orphan bool
}

func (u *Unlocker) fate(ctx context.Context, b storage.Block) (fate, error) {
	switch b.Begun {
	case storage.BegunMature:
		return fate{}, nil
	case storage.BegunOrphan:
		return fate{orphan: true}, nil
	}
	// Where credits are half made they are made anew.
	if b.Begun == "" && !b.Orphan {
		canonical, err := u.canonical(ctx, b)
		if err != nil || canonical {
			return fate{}, err
		}
	}
	at, err := u.find(ctx, b.Height, b.Nonce, "")
	return fate{moved: at, orphan: at == nil}, err
}

// canonical says whether the block, or the uncle, is where it was.
func (u *Unlocker) canonical(ctx context.Context, b storage.Block) (bool, error) {
	blocks, err := u.blocks.Blocks(ctx, b.Height, b.Height)
	if err != nil {
		return false, err
	}
	if b.UncleHeight == 0 {
		return strings.EqualFold(blocks[0].Hash.Hex(), b.Hash), nil
	}
	for _, uncle := range blocks[0].Uncles {
		if strings.EqualFold(uncle.Hex(), b.Hash) {
			return true, nil
		}
	}
	return false, nil
}

// place is where a block of ours is.
type place struct {
	block rpc.Block  // on the chain
	uncle *rpc.Block // ours, if it is not the block itself
}

// find looks for a block of ours around a height, or returns nil if the chain
// has it neither as a block nor as an uncle. mix may be empty where the books no
// longer have it.
func (u *Unlocker) find(ctx context.Context, height uint64, nonce, mix string) (*place, error) {
	var want types.BlockNonce
	if err := want.UnmarshalText([]byte(nonce)); err != nil {
		return nil, err
	}
	ours := func(b rpc.Block) bool {
		return b.Nonce == want && (mix == "" || strings.EqualFold(b.MixHash.Hex(), mix))
	}
	from := uint64(1) // the genesis is nobody's
	if height > searchRange {
		from = height - searchRange
	}
	// The last one may be above the head, or be gone by now: then it is not
	// found, which is an error and no proof.
	blocks, err := u.blocks.Blocks(ctx, from, height+searchRange)
	if err != nil {
		return nil, err
	}
	for _, b := range blocks {
		if ours(b) {
			return &place{block: b}, nil
		}
	}
	for _, b := range blocks {
		for i, hash := range b.Uncles {
			uncle, err := u.blocks.UncleByIndex(ctx, b.Number, i)
			if err != nil {
				return nil, err
			}
			if uncle.Hash != hash {
				return nil, fmt.Errorf("uncle %d of block %d is %s, want %s: %w", i, b.Number, uncle.Hash, hash, rpc.ErrUnknown)
			}
			if ours(uncle) {
				return &place{block: b, uncle: &uncle}, nil
			}
		}
	}
	return nil, nil
}

// price says what a block of ours at a place is worth, as a row and as a split of
// the round that is named by a height.
func (u *Unlocker) price(ctx context.Context, b storage.Block, round uint64, at *place) (storage.Block, storage.Split, error) {
	b = storage.Block{Nonce: b.Nonce, Time: b.Time, Difficulty: b.Difficulty, Shares: b.Shares, Height: at.block.Number, Hash: at.block.Hash.Hex()}
	var err error
	kept := new(big.Int)
	if at.uncle != nil {
		b.UncleHeight, b.Hash = at.uncle.Number, at.uncle.Hash.Hex()
		b.RewardWei, err = u.rewards.Uncle(b.UncleHeight, b.Height)
	} else {
		var fees *big.Int
		if fees, err = u.fees(ctx, at.block); err == nil {
			b.RewardWei = u.rewards.Block(b.Height, len(at.block.Uncles))
			b.RewardWei.Add(b.RewardWei, fees)
		}
		if u.cfg.KeepTxFees {
			kept = fees
		}
	}
	if err != nil {
		return b, storage.Split{}, err
	}
	shares, err := u.credits.RoundShares(ctx, round, b.Nonce)
	if err != nil {
		return b, storage.Split{}, err
	}
	s, err := divide(b.RewardWei, kept, u.cfg.PoolFee, u.cfg.PoolFeeAddress, shares)
	if err == nil && len(s.Credits) == 0 {
		u.log.Error("no shares are left of the block's round, so nobody is credited", "height", b.Height, "nonce", b.Nonce, "reward", weiCoins(b.RewardWei))
	}
	return b, s, err
}

// fees are what the transactions of a block of ours brought, in Wei.
func (u *Unlocker) fees(ctx context.Context, b rpc.Block) (*big.Int, error) {
	if len(b.TxHashes) == 0 {
		return new(big.Int), nil
	}
	full, err := u.blocks.BlockWithTransactions(ctx, b.Number)
	if err != nil {
		return nil, err
	}
	if full.Hash != b.Hash {
		return nil, fmt.Errorf("block %d is %s, and was %s: %w", b.Number, full.Hash, b.Hash, rpc.ErrUnknown)
	}
	receipts, errs := u.blocks.Receipts(ctx, full.TxHashes)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return blockFees(full, receipts)
}

func (u *Unlocker) logFound(message string, b storage.Block, s storage.Split) {
	u.log.Info(message, "height", b.Height, "kind", kind(b), "hash", b.Hash, "reward", weiCoins(b.RewardWei),
		"miners", len(s.Credits), "creditedShannon", s.Miners, "feeShannon", s.Fee, "dustWei", s.DustWei)
}

func kind(b storage.Block) string {
	switch {
	case b.Orphan:
		return "orphan"
	case b.UncleHeight > 0:
		return "uncle"
	default:
		return "block"
	}
}

// weiCoins prints an amount in coins for the log, rounded down to a Shannon.
func weiCoins(wei *big.Int) string {
	amount, _, err := util.ShannonFromWei(wei)
	if err != nil {
		return wei.String() + " Wei"
	}
	return amount.Coins()
}
