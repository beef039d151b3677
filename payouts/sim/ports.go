package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// parts are the world as one process sees it: every call stops the process
// first, and may fail, with or without effect.
func (p *process) parts() payouts.Parts {
	return payouts.Parts{Ledger: tiredLedger{p}, Chain: tiredChain{p, &client{p.w}}, Signer: tiredSigner{p}, Journal: journal{p.file, p}, Clock: p,
		Log: slog.New(p), Coin: "eth"}
}

var (
	errRedis = errors.New("redis: connection reset by peer")
	errNode  = fmt.Errorf("node: connection reset by peer: %w", rpc.ErrUnknown)
)

// place is where a call goes.
type place struct {
	err  error
	rate int // per mille of calls that go wrong
}

func (p *process) redis() place { return place{errRedis, p.w.d.redis} }
func (p *process) node() place  { return place{errNode, p.w.d.nodes} }

// ask passes on a question.
func ask[T any](p *process, to place, call string, f func() (T, error)) (T, error) {
	p.pause(call)
	if p.w.chance(to.rate) {
		p.w.say("%s: %s fails", p.name, call)
		var zero T
		return zero, to.err
	}
	return f()
}

// do passes on a call that changes something: it may fail without effect, or be
// done and its reply be lost.
func do(p *process, to place, call string, f func() error) error {
	return each1(p, to, call, 1, func(int) []error { return []error{f()} })[0]
}

// each1 passes on a call that changes n things, of which only the first ones may
// be done.
func each1(p *process, to place, call string, n int, f func(part int) []error) []error {
	if n == 0 {
		return f(0)
	}
	p.pause(call)
	if !p.w.chance(to.rate) {
		return f(n)
	}
	if m := p.w.mutation; m != nil && m.blind && errors.Is(to.err, errRedis) {
		return p.w.twice(func() []error { return f(n) })
	}
	part := p.w.rng.IntN(n + 1)
	p.w.say("%s: %s is done for %d of %d, and the reply is lost", p.name, call, part, n)
	f(part)
	errs := make([]error, n)
	for i := range errs {
		errs[i] = to.err
	}
	return errs
}

// all is each1 for items.
func all[T any](p *process, to place, call string, items []T, f func(...T) []error) []error {
	return each1(p, to, call, len(items), func(part int) []error { return f(items[:part]...) })
}

type tiredSigner struct{ p *process }

func (s tiredSigner) Ready(context.Context, common.Address) error {
	_, err := ask(s.p, s.p.node(), "Ready", func() (struct{}, error) { return struct{}{}, nil })
	return err
}

func (s tiredSigner) Sign(_ context.Context, u payouts.Unsigned) ([]byte, error) {
	return ask(s.p, s.p.node(), "Sign", func() ([]byte, error) {
		if s.p.w.d.nodeSigns {
			return nil, payouts.ErrCannotSign
		}
		var data types.TxData = &types.LegacyTx{Nonce: u.Nonce, GasPrice: u.GasPrice, Gas: u.Gas, To: &u.To, Value: u.Value}
		if u.FeeCap != nil {
			data = &types.DynamicFeeTx{ChainID: big.NewInt(chainID), Nonce: u.Nonce, GasFeeCap: u.FeeCap, GasTipCap: u.TipCap, Gas: u.Gas, To: &u.To, Value: u.Value}
		}
		t, err := s.p.w.chain.sign(data)
		if err != nil {
			return nil, err
		}
		return t.raw, nil
	})
}

type tiredLedger struct{ p *process }

func (l tiredLedger) Acquire(ctx context.Context, token, gone string, known uint64) (payouts.Lease, error) {
	var lease payouts.Lease
	err := do(l.p, l.p.redis(), "Acquire", func() (err error) { lease, err = l.p.w.ledger.Acquire(ctx, token, gone, known); return err })
	if err != nil {
		return nil, err
	}
	l.p.w.tookOver = l.p.w.tookOver || !l.p.zombie && l.p.file == l.p.w.files[0]
	return tiredLease{l.p, lease}, nil
}

func (l tiredLedger) LockValue(ctx context.Context) (string, error) {
	return ask(l.p, l.p.redis(), "LockValue", func() (string, error) { return l.p.w.ledger.LockValue(ctx) })
}

func (l tiredLedger) Meta(ctx context.Context) (storage.Meta, error) {
	return ask(l.p, l.p.redis(), "Meta", func() (storage.Meta, error) { return l.p.w.ledger.Meta(ctx) })
}

func (l tiredLedger) Known(ctx context.Context, ids ...string) ([]storage.Known, error) {
	return ask(l.p, l.p.redis(), "Known", func() ([]storage.Known, error) { return l.p.w.ledger.Known(ctx, ids...) })
}

func (l tiredLedger) Inflight(ctx context.Context) (a []*storage.Payment, b []storage.Unreadable, err error) {
	_, err = ask(l.p, l.p.redis(), "Inflight", func() (_ struct{}, err error) { a, b, err = l.p.w.ledger.Inflight(ctx); return })
	return a, b, err
}

func (l tiredLedger) Finals(ctx context.Context, from, to uint64) ([]*storage.Payment, error) {
	return ask(l.p, l.p.redis(), "Finals", func() ([]*storage.Payment, error) { return l.p.w.ledger.Finals(ctx, from, to) })
}

func (l tiredLedger) Payments(ctx context.Context, ids ...string) ([]*storage.Payment, error) {
	return ask(l.p, l.p.redis(), "Payments", func() ([]*storage.Payment, error) { return l.p.w.ledger.Payments(ctx, ids...) })
}

func (l tiredLedger) Pending(ctx context.Context) (a []storage.PendingRow, b []error, err error) {
	_, err = ask(l.p, l.p.redis(), "Pending", func() (_ struct{}, err error) { a, b, err = l.p.w.ledger.Pending(ctx); return })
	return a, b, err
}

func (l tiredLedger) History(ctx context.Context, login string, since int64) ([]storage.Paid, error) {
	return ask(l.p, l.p.redis(), "History", func() ([]storage.Paid, error) { return l.p.w.ledger.History(ctx, login, since) })
}

func (l tiredLedger) NoncesFrom(ctx context.Context, account common.Address, first, last uint64) (map[uint64]string, error) {
	return ask(l.p, l.p.redis(), "NoncesFrom", func() (map[uint64]string, error) { return l.p.w.ledger.NoncesFrom(ctx, account, first, last) })
}

func (l tiredLedger) Strays(ctx context.Context) (map[common.Hash]common.Address, error) {
	return ask(l.p, l.p.redis(), "Strays", func() (map[common.Hash]common.Address, error) { return l.p.w.ledger.Strays(ctx) })
}

func (l tiredLedger) PaymentByHash(ctx context.Context, tx common.Hash) (string, error) {
	return ask(l.p, l.p.redis(), "PaymentByHash", func() (string, error) { return l.p.w.ledger.PaymentByHash(ctx, tx) })
}

func (l tiredLedger) Miner(ctx context.Context, login string) (storage.Miner, error) {
	return ask(l.p, l.p.redis(), "Miner", func() (storage.Miner, error) { l.p.w.late(login); return l.p.w.ledger.Miner(ctx, login) })
}

func (l tiredLedger) Due(ctx context.Context, least util.Shannon) (a []storage.Account, b []error, err error) {
	_, err = ask(l.p, l.p.redis(), "Due", func() (_ struct{}, err error) { a, b, err = l.p.w.ledger.Due(ctx, least); return })
	return a, b, err
}

func (l tiredLedger) PaidSince(ctx context.Context, since int64) (util.Shannon, error) {
	return ask(l.p, l.p.redis(), "PaidSince", func() (util.Shannon, error) { return l.p.w.ledger.PaidSince(ctx, since) })
}

func (l tiredLedger) Rejects(ctx context.Context) (map[string]string, error) {
	return ask(l.p, l.p.redis(), "Rejects", func() (map[string]string, error) { return l.p.w.ledger.Rejects(ctx) })
}

func (l tiredLedger) Logins(ctx context.Context) (a []string, b []error, err error) {
	_, err = ask(l.p, l.p.redis(), "Logins", func() (_ struct{}, err error) { a, b, err = l.p.w.ledger.Logins(ctx); return })
	return a, b, err
}

func (l tiredLedger) OldNonce(ctx context.Context, r storage.PendingRow) (a uint64, b bool, err error) {
	_, err = ask(l.p, l.p.redis(), "OldNonce", func() (_ struct{}, err error) { a, b, err = l.p.w.ledger.OldNonce(ctx, r); return })
	return a, b, err
}

func (l tiredLedger) OldHash(ctx context.Context, r storage.PendingRow) (a common.Hash, b bool, err error) {
	_, err = ask(l.p, l.p.redis(), "OldHash", func() (_ struct{}, err error) { a, b, err = l.p.w.ledger.OldHash(ctx, r); return })
	return a, b, err
}

func (l tiredLedger) BgSave(context.Context) error {
	return do(l.p, l.p.redis(), "BgSave", func() error { l.p.w.save(); return nil })
}

type tiredLease struct {
	p *process
	l payouts.Lease
}

func (l tiredLease) Step() uint64 { return l.l.Step() }

func (l tiredLease) Open(ctx context.Context, bound string, ps ...*storage.Payment) []error {
	l.p.w.nameNew(ps)
	return all(l.p, l.p.redis(), "Open", ps, func(ps ...*storage.Payment) []error {
		return l.l.Open(ctx, bound, ps...)
	})
}

func (l tiredLease) Resync(ctx context.Context) error {
	return do(l.p, l.p.redis(), "Resync", func() error { return l.l.Resync(ctx) })
}

func (l tiredLease) OpenBooks(ctx context.Context) error {
	return do(l.p, l.p.redis(), "OpenBooks", func() error { return l.l.OpenBooks(ctx) })
}

func (l tiredLease) Verify(ctx context.Context, ps ...*storage.Payment) error {
	return do(l.p, l.p.redis(), "Verify", func() error { return l.l.Verify(ctx, ps...) })
}

func (l tiredLease) Init(ctx context.Context, chainID uint64, genesis common.Hash, account common.Address, first, next uint64, now int64) error {
	return do(l.p, l.p.redis(), "Init", func() error { return l.l.Init(ctx, chainID, genesis, account, first, next, now) })
}

func (l tiredLease) Attempts(ctx context.Context, p *storage.Payment, before int) error {
	return do(l.p, l.p.redis(), "Attempts", func() error { return l.l.Attempts(ctx, p, before) })
}

func (l tiredLease) Mined(ctx context.Context, ps ...*storage.Payment) []error {
	return all(l.p, l.p.redis(), "Mined", ps, func(ps ...*storage.Payment) []error { return l.l.Mined(ctx, ps...) })
}

func (l tiredLease) Unfinal(ctx context.Context, p *storage.Payment, why string) error {
	return do(l.p, l.p.redis(), "Unfinal", func() error { return l.l.Unfinal(ctx, p, why) })
}

func (l tiredLease) Void(ctx context.Context, p *storage.Payment, fate storage.NonceFate, why, reject string) error {
	return do(l.p, l.p.redis(), "Void", func() error {
		return l.l.Void(ctx, p, fate, why, reject)
	})
}

func (l tiredLease) Adopt(ctx context.Context, p *storage.Payment, now int64, held util.Shannon, why string) error {
	return do(l.p, l.p.redis(), "Adopt", func() error { return l.l.Adopt(ctx, p, now, held, why) })
}

func (l tiredLease) AdoptWithRow(ctx context.Context, p *storage.Payment, now int64, held util.Shannon, why string) error {
	return do(l.p, l.p.redis(), "Adopt", func() error { return l.l.AdoptWithRow(ctx, p, now, held, why) })
}

func (l tiredLease) Hold(ctx context.Context, p *storage.Payment, why string) error {
	return do(l.p, l.p.redis(), "Hold", func() error { return l.l.Hold(ctx, p, why) })
}

func (l tiredLease) Unhold(ctx context.Context, p *storage.Payment) error {
	return do(l.p, l.p.redis(), "Unhold", func() error { return l.l.Unhold(ctx, p) })
}

func (l tiredLease) PutBack(ctx context.Context, p *storage.Payment) error {
	return do(l.p, l.p.redis(), "PutBack", func() error { return l.l.PutBack(ctx, p) })
}

func (l tiredLease) Ignore(ctx context.Context, tx common.Hash) error {
	return do(l.p, l.p.redis(), "Ignore", func() error { return l.l.Ignore(ctx, tx) })
}

func (l tiredLease) Foreign(ctx context.Context, account common.Address, nonce uint64, tx common.Hash, was string, to *common.Address) error {
	return do(l.p, l.p.redis(), "Foreign", func() error { return l.l.Foreign(ctx, account, nonce, tx, was, to) })
}

func (l tiredLease) Reject(ctx context.Context, login, why string) error {
	return do(l.p, l.p.redis(), "Reject", func() error { return l.l.Reject(ctx, login, why) })
}

func (l tiredLease) Bury(ctx context.Context, ps ...*storage.Payment) error {
	return do(l.p, l.p.redis(), "Bury", func() error { return l.l.Bury(ctx, ps...) })
}

func (l tiredLease) CreditBackOld(ctx context.Context, r storage.PendingRow) error {
	return do(l.p, l.p.redis(), "CreditBackOld", func() error { return l.l.CreditBackOld(ctx, r) })
}

func (l tiredLease) PaidOld(ctx context.Context, r storage.PendingRow, tx common.Hash, now int64) error {
	return do(l.p, l.p.redis(), "PaidOld", func() error { return l.l.PaidOld(ctx, r, tx, now) })
}

func (l tiredLease) Record(ctx context.Context, login string, amount util.Shannon, tx common.Hash, now int64) error {
	return do(l.p, l.p.redis(), "Record", func() error { return l.l.Record(ctx, login, amount, tx, now) })
}

func (l tiredLease) Recordable(ctx context.Context, login string, amount util.Shannon, tx common.Hash, now int64) error {
	return do(l.p, l.p.redis(), "Recordable", func() error { return l.l.Recordable(ctx, login, amount, tx, now) })
}

func (l tiredLease) Note(ctx context.Context, fieldValues ...any) error {
	return do(l.p, l.p.redis(), "Note", func() error { return l.l.Note(ctx, fieldValues...) })
}

func (l tiredLease) Skipped(ctx context.Context, skipped map[string]storage.Skip) error {
	return do(l.p, l.p.redis(), "Skipped", func() error { return l.l.Skipped(ctx, skipped) })
}

func (l tiredLease) Release(ctx context.Context) error {
	return do(l.p, l.p.redis(), "Release", func() error { return l.l.Release(ctx) })
}

func (l tiredLease) Sent(ctx context.Context, now int64, ps ...*storage.Payment) []error {
	return all(l.p, l.p.redis(), "Sent", ps, func(ps ...*storage.Payment) []error { return l.l.Sent(ctx, now, ps...) })
}

func (l tiredLease) Final(ctx context.Context, now int64, held util.Shannon, ps ...*storage.Payment) []error {
	return all(l.p, l.p.redis(), "Final", ps, func(ps ...*storage.Payment) []error { return l.l.Final(ctx, now, held, ps...) })
}

func (l tiredLease) Reinstate(ctx context.Context, ps ...*storage.Payment) []error {
	return all(l.p, l.p.redis(), "Reinstate", ps, func(ps ...*storage.Payment) []error { return l.l.Reinstate(ctx, ps...) })
}

type tiredChain struct {
	p *process
	payouts.Chain
}

func (c tiredChain) Syncing(ctx context.Context) (bool, error) {
	return ask(c.p, c.p.node(), "Syncing", func() (bool, error) { return c.Chain.Syncing(ctx) })
}

func (c tiredChain) PeerCount(ctx context.Context) (uint64, error) {
	return ask(c.p, c.p.node(), "PeerCount", func() (uint64, error) { return c.Chain.PeerCount(ctx) })
}

func (c tiredChain) Head(ctx context.Context) (rpc.Block, error) {
	return ask(c.p, c.p.node(), "Head", func() (rpc.Block, error) { return c.Chain.Head(ctx) })
}

func (c tiredChain) BlockByNumber(ctx context.Context, n uint64) (rpc.Block, error) {
	return ask(c.p, c.p.node(), "BlockByNumber", func() (rpc.Block, error) { return c.Chain.BlockByNumber(ctx, n) })
}

func (c tiredChain) BlockWithTransactions(ctx context.Context, n uint64) (rpc.Block, error) {
	return ask(c.p, c.p.node(), "BlockWithTransactions", func() (rpc.Block, error) { return c.Chain.BlockWithTransactions(ctx, n) })
}

func (c tiredChain) NonceAt(ctx context.Context, a common.Address, n uint64) (uint64, error) {
	return ask(c.p, c.p.node(), "NonceAt", func() (uint64, error) { return c.Chain.NonceAt(ctx, a, n) })
}

func (c tiredChain) PendingNonce(ctx context.Context, a common.Address) (uint64, error) {
	return ask(c.p, c.p.node(), "PendingNonce", func() (uint64, error) { return c.Chain.PendingNonce(ctx, a) })
}

func (c tiredChain) GasPrice(ctx context.Context) (*big.Int, error) {
	return ask(c.p, c.p.node(), "GasPrice", func() (*big.Int, error) { return c.Chain.GasPrice(ctx) })
}

func (c tiredChain) MaxPriorityFee(ctx context.Context) (*big.Int, error) {
	return ask(c.p, c.p.node(), "MaxPriorityFee", func() (*big.Int, error) { return c.Chain.MaxPriorityFee(ctx) })
}

func (c tiredChain) CallContract(ctx context.Context, call rpc.TxArgs, n uint64) ([]byte, error) {
	return ask(c.p, c.p.node(), "CallContract", func() ([]byte, error) { return c.Chain.CallContract(ctx, call, n) })
}

func (c tiredChain) EstimateGas(ctx context.Context, call rpc.TxArgs) (uint64, error) {
	return ask(c.p, c.p.node(), "EstimateGas", func() (uint64, error) { return c.Chain.EstimateGas(ctx, call) })
}

func (c tiredChain) TransactionByHash(ctx context.Context, tx common.Hash) (rpc.Transaction, error) {
	return ask(c.p, c.p.node(), "TransactionByHash", func() (rpc.Transaction, error) { return c.Chain.TransactionByHash(ctx, tx) })
}

func (c tiredChain) AccountAt(ctx context.Context, account common.Address, n uint64) (a uint64, b *big.Int, err error) {
	_, err = ask(c.p, c.p.node(), "AccountAt", func() (_ struct{}, err error) { a, b, err = c.Chain.AccountAt(ctx, account, n); return })
	return a, b, err
}

func (c tiredChain) PoolHas(ctx context.Context, account common.Address) (a bool, b []common.Hash, err error) {
	_, err = ask(c.p, c.p.node(), "PoolHas", func() (_ struct{}, err error) { a, b, err = c.Chain.PoolHas(ctx, account); return })
	return a, b, err
}

func (c tiredChain) SendRawTransactions(ctx context.Context, raws [][]byte) []error {
	return all(c.p, c.p.node(), "Send", raws, func(raws ...[]byte) []error { return c.Chain.SendRawTransactions(ctx, raws) })
}

func (c tiredChain) SendTransaction(ctx context.Context, args rpc.TxArgs) (hash common.Hash, err error) {
	err = do(c.p, c.p.node(), "SendTransaction", func() error { hash, err = c.Chain.SendTransaction(ctx, args); return err })
	return hash, err
}

func (c tiredChain) Receipts(ctx context.Context, hashes []common.Hash) (receipts []*rpc.Receipt, errs []error) {
	if len(hashes) == 0 {
		return nil, nil
	}
	_, err := ask(c.p, c.p.node(), "Receipts", func() (_ struct{}, err error) { receipts, errs = c.Chain.Receipts(ctx, hashes); return })
	if err != nil {
		receipts, errs = make([]*rpc.Receipt, len(hashes)), make([]error, len(hashes))
		for i := range errs {
			errs[i] = err
		}
	}
	return receipts, errs
}
