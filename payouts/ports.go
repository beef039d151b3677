package payouts

import (
	"context"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Ledger is the books as payouts reads them. It is Redis in production.
type Ledger interface {
	Acquire(ctx context.Context, token, gone string, known uint64) (Lease, error)
	LockValue(ctx context.Context) (string, error)
	Meta(ctx context.Context) (storage.Meta, error)
	Known(ctx context.Context, ids ...string) ([]storage.Known, error)
	Inflight(ctx context.Context) ([]*storage.Payment, []storage.Unreadable, error)
	Finals(ctx context.Context, fromBlock, toBlock uint64) ([]*storage.Payment, error)
	Payments(ctx context.Context, ids ...string) ([]*storage.Payment, error)
	Pending(ctx context.Context) ([]storage.PendingRow, []error, error)
	History(ctx context.Context, login string, since int64) ([]storage.Paid, error)
	PaidSince(ctx context.Context, since int64) (util.Shannon, error)
	NoncesFrom(ctx context.Context, account common.Address, first, last uint64) (map[uint64]string, error)
	PaymentByHash(ctx context.Context, tx common.Hash) (string, error)
	Strays(ctx context.Context) (map[common.Hash]common.Address, error)
	Miner(ctx context.Context, login string) (storage.Miner, error)
	Due(ctx context.Context, min util.Shannon) ([]storage.Account, []error, error)
	Rejects(ctx context.Context) (map[string]string, error)
	Logins(ctx context.Context) ([]string, []error, error)
	OldNonce(ctx context.Context, r storage.PendingRow) (uint64, bool, error)
	OldHash(ctx context.Context, r storage.PendingRow) (common.Hash, bool, error)
	BgSave(ctx context.Context) error
}

// Lease is the right to change the books, in the order a payment uses it.
// Every method may be repeated after an error without moving money twice.
type Lease interface {
	Step() uint64
	Resync(ctx context.Context) error
	Init(ctx context.Context, chainID uint64, genesis common.Hash, account common.Address, first, next uint64, now int64) error
	OpenBooks(ctx context.Context) error
	Open(ctx context.Context, bound string, ps ...*storage.Payment) []error
	Verify(ctx context.Context, ps ...*storage.Payment) error
	Sent(ctx context.Context, now int64, ps ...*storage.Payment) []error
	Attempts(ctx context.Context, p *storage.Payment, before int) error
	Final(ctx context.Context, now int64, held util.Shannon, ps ...*storage.Payment) []error
	Mined(ctx context.Context, ps ...*storage.Payment) []error
	Unfinal(ctx context.Context, p *storage.Payment, why string) error
	Void(ctx context.Context, p *storage.Payment, fate storage.NonceFate, why, reject string) error
	Adopt(ctx context.Context, p *storage.Payment, now int64, held util.Shannon, why string) error
	AdoptWithRow(ctx context.Context, p *storage.Payment, now int64, held util.Shannon, why string) error
	Hold(ctx context.Context, p *storage.Payment, why string) error
	Unhold(ctx context.Context, p *storage.Payment) error
	PutBack(ctx context.Context, p *storage.Payment) error
	Reinstate(ctx context.Context, ps ...*storage.Payment) []error
	Ignore(ctx context.Context, tx common.Hash) error
	Foreign(ctx context.Context, account common.Address, nonce uint64, tx common.Hash, was string, to *common.Address) error
	Reject(ctx context.Context, login, why string) error
	Bury(ctx context.Context, ps ...*storage.Payment) error
	CreditBackOld(ctx context.Context, r storage.PendingRow) error
	PaidOld(ctx context.Context, r storage.PendingRow, tx common.Hash, now int64) error
	Record(ctx context.Context, login string, amount util.Shannon, tx common.Hash, now int64) error
	Recordable(ctx context.Context, login string, amount util.Shannon, tx common.Hash, now int64) error
	Note(ctx context.Context, fieldValues ...any) error
	Skipped(ctx context.Context, skipped map[string]storage.Skip) error
	Release(ctx context.Context) error
}

// Chain is what payouts asks a node.
type Chain interface {
	Identity(ctx context.Context) (chainID uint64, genesis common.Hash, err error)
	Pin(chainID uint64, genesis common.Hash)
	Syncing(ctx context.Context) (bool, error)
	PeerCount(ctx context.Context) (uint64, error)
	Head(ctx context.Context) (rpc.Block, error)
	BlockByNumber(ctx context.Context, n uint64) (rpc.Block, error)
	BlockWithTransactions(ctx context.Context, n uint64) (rpc.Block, error)
	AccountAt(ctx context.Context, account common.Address, block uint64) (nonce uint64, balanceWei *big.Int, err error)
	NonceAt(ctx context.Context, account common.Address, block uint64) (uint64, error)
	PendingNonce(ctx context.Context, account common.Address) (uint64, error)
	PoolHas(ctx context.Context, account common.Address) (known bool, hashes []common.Hash, err error)
	GasPrice(ctx context.Context) (*big.Int, error)
	MaxPriorityFee(ctx context.Context) (*big.Int, error)
	CallContract(ctx context.Context, call rpc.TxArgs, block uint64) ([]byte, error)
	EstimateGas(ctx context.Context, call rpc.TxArgs) (uint64, error)
	SendRawTransactions(ctx context.Context, raws [][]byte) []error
	SendTransaction(ctx context.Context, tx rpc.TxArgs) (common.Hash, error)
	TransactionByHash(ctx context.Context, tx common.Hash) (rpc.Transaction, error)
	Receipts(ctx context.Context, txs []common.Hash) ([]*rpc.Receipt, []error)
}

// Signer makes bytes of a transaction; it never sends them.
type Signer interface {
	// Ready says whether the signer can sign for the account, without signing.
	Ready(ctx context.Context, account common.Address) error
	// Sign returns the signed bytes. [ErrCannotSign] means that it can only sign
	// and send in one call.
	Sign(ctx context.Context, tx Unsigned) ([]byte, error)
}

// Journal is the memory that survives a Redis that forgets.
type Journal interface {
	Header() Header
	Replay(each func(Record) error) error
	Append(records ...Record) error
}

// Clock is the time as people see it; no decision about money uses it.
type Clock interface {
	Now() time.Time
	// Sleep returns early, with the context's error, when the context ends.
	Sleep(ctx context.Context, d time.Duration) error
}

// redisLedger makes storage.DB a Ledger.
type redisLedger struct{ *storage.DB }

// Redis is the ledger in Redis.
func Redis(db *storage.DB) Ledger { return redisLedger{db} }

func (l redisLedger) Acquire(ctx context.Context, token, gone string, known uint64) (Lease, error) {
	lease, err := l.DB.Acquire(ctx, token, gone, known)
	if err != nil {
		return nil, err
	}
	return lease, nil
}

// wallClock is the clock on the wall.
type wallClock struct{}

func (wallClock) Now() time.Time { return time.Now() }

func (wallClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
