package payouts

import (
	"context"
	"errors"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// wound is what a knife does to the call it is set to.
type wound string

const (
	// killed: the process dies after a call that changed something. Nothing else
	// changes in between, so this is also death before whatever came next.
	killed wound = "killed"
	// halved: it dies when half of a call for several payments is done.
	halved wound = "killed halfway"
	// unheard: a call that changes something is done, but its reply is lost, and
	// the process goes on.
	unheard wound = "reply lost"
	// undone: a call fails without effect, and the process goes on.
	undone wound = "call lost"
)

// counts says whether a wound can be had at a call for n payments that reads or
// changes something.
func (w wound) counts(changes bool, n int) bool {
	return w == undone || changes && (w != halved || n > 1)
}

// A knife counts what a Payer asks of its parts and cuts it off at one call.
type knife struct {
	wound wound
	at    int    // the call that is cut, counted from 1; 0 for none
	then  func() // called at the cut

	calls int
	cut   string // what was cut; empty until then
	dead  bool
}

var errCut = errors.New("cut off")

// strike counts a call for n payments. It says what part of the call is to be
// done, and whether its reply arrives.
func (k *knife) strike(call string, changes bool, n int) (part int, heard bool) {
	if k.dead {
		return 0, false
	}
	if !k.wound.counts(changes, n) {
		return n, true
	}
	if k.calls++; k.calls != k.at {
		return n, true
	}
	k.cut = call
	return k.wound.part(n), false
}

// part is how much of a call for n payments is done.
func (w wound) part(n int) int {
	switch w {
	case halved:
		return n / 2
	case undone:
		return 0
	}
	return n
}

// bleed is the moment after a call.
func (k *knife) bleed(heard bool) {
	if !heard && !k.dead {
		k.dead = k.wound == killed || k.wound == halved
		k.then()
	}
}

// read passes a question on to the part.
func read[T any](k *knife, call string, f func() (T, error)) (T, error) {
	return pass(k, call, false, f)
}

// look passes on a question whose answer is only an error, or is kept by f.
func look(k *knife, call string, f func() error) error {
	_, err := pass(k, call, false, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

// write passes on a call that changes something.
func write(k *knife, call string, f func() error) error {
	_, err := pass(k, call, true, func() (struct{}, error) { return struct{}{}, f() })
	return err
}

func pass[T any](k *knife, call string, changes bool, f func() (T, error)) (v T, err error) {
	part, heard := k.strike(call, changes, 1)
	if part > 0 {
		v, err = f()
	}
	if k.bleed(heard); !heard {
		var zero T
		return zero, errCut
	}
	return v, err
}

// all passes on a call that changes something for each of many.
func all[T any](k *knife, call string, items []T, f func(...T) []error) []error {
	if len(items) == 0 {
		return nil
	}
	part, heard := k.strike(call, true, len(items))
	var errs []error
	if part > 0 {
		errs = f(items[:part]...)
	}
	if k.bleed(heard); heard {
		return errs
	}
	errs = make([]error, len(items))
	for i := range errs {
		errs[i] = errCut
	}
	return errs
}

// parts puts the knife between a Payer and everything it works with.
func (k *knife) parts(p Parts) Parts {
	p.Ledger, p.Chain = cutLedger{p.Ledger, k}, cutChain{p.Chain, k}
	p.Signer, p.Journal, p.Clock = cutSigner{p.Signer, k}, cutJournal{p.Journal, k}, cutClock{p.Clock, k}
	return p
}

type cutLedger struct {
	Ledger
	k *knife
}

func (l cutLedger) Acquire(ctx context.Context, token, gone string, known uint64) (Lease, error) {
	lease, err := pass(l.k, "Acquire", true, func() (Lease, error) { return l.Ledger.Acquire(ctx, token, gone, known) })
	return cutLease{lease, l.k}, err
}

func (l cutLedger) LockValue(ctx context.Context) (string, error) {
	return read(l.k, "LockValue", func() (string, error) { return l.Ledger.LockValue(ctx) })
}

func (l cutLedger) Meta(ctx context.Context) (storage.Meta, error) {
	return read(l.k, "Meta", func() (storage.Meta, error) { return l.Ledger.Meta(ctx) })
}

func (l cutLedger) Known(ctx context.Context, ids ...string) ([]storage.Known, error) {
	return read(l.k, "Known", func() ([]storage.Known, error) { return l.Ledger.Known(ctx, ids...) })
}

func (l cutLedger) Inflight(ctx context.Context) (ps []*storage.Payment, bad []storage.Unreadable, err error) {
	err = look(l.k, "Inflight", func() error { ps, bad, err = l.Ledger.Inflight(ctx); return err })
	return ps, bad, err
}

func (l cutLedger) Finals(ctx context.Context, fromBlock, toBlock uint64) ([]*storage.Payment, error) {
	return read(l.k, "Finals", func() ([]*storage.Payment, error) { return l.Ledger.Finals(ctx, fromBlock, toBlock) })
}

func (l cutLedger) Payments(ctx context.Context, ids ...string) ([]*storage.Payment, error) {
	return read(l.k, "Payments", func() ([]*storage.Payment, error) { return l.Ledger.Payments(ctx, ids...) })
}

func (l cutLedger) Pending(ctx context.Context) (rows []storage.PendingRow, bad []error, err error) {
	err = look(l.k, "Pending", func() (err error) { rows, bad, err = l.Ledger.Pending(ctx); return err })
	return rows, bad, err
}

func (l cutLedger) History(ctx context.Context, login string, since int64) ([]storage.Paid, error) {
	return read(l.k, "History", func() ([]storage.Paid, error) { return l.Ledger.History(ctx, login, since) })
}

func (l cutLedger) NoncesFrom(ctx context.Context, account common.Address, first, last uint64) (map[uint64]string, error) {
	return read(l.k, "NoncesFrom", func() (map[uint64]string, error) { return l.Ledger.NoncesFrom(ctx, account, first, last) })
}

func (l cutLedger) Strays(ctx context.Context) (map[common.Hash]common.Address, error) {
	return read(l.k, "Strays", func() (map[common.Hash]common.Address, error) { return l.Ledger.Strays(ctx) })
}

func (l cutLedger) PaymentByHash(ctx context.Context, tx common.Hash) (string, error) {
	return read(l.k, "PaymentByHash", func() (string, error) { return l.Ledger.PaymentByHash(ctx, tx) })
}

func (l cutLedger) Miner(ctx context.Context, login string) (storage.Miner, error) {
	return read(l.k, "Miner", func() (storage.Miner, error) { return l.Ledger.Miner(ctx, login) })
}

func (l cutLedger) Due(ctx context.Context, min util.Shannon) (due []storage.Account, bad []error, err error) {
	err = look(l.k, "Due", func() (err error) { due, bad, err = l.Ledger.Due(ctx, min); return err })
	return due, bad, err
}

func (l cutLedger) Rejects(ctx context.Context) (map[string]string, error) {
	return read(l.k, "Rejects", func() (map[string]string, error) { return l.Ledger.Rejects(ctx) })
}

func (l cutLedger) Logins(ctx context.Context) (logins []string, bad []error, err error) {
	err = look(l.k, "Logins", func() (err error) { logins, bad, err = l.Ledger.Logins(ctx); return err })
	return logins, bad, err
}

func (l cutLedger) BgSave(ctx context.Context) error {
	return write(l.k, "BgSave", func() error { return l.Ledger.BgSave(ctx) })
}

type cutLease struct {
	Lease
	k *knife
}

func (l cutLease) Resync(ctx context.Context) error {
	return look(l.k, "Resync", func() error { return l.Lease.Resync(ctx) })
}

func (l cutLease) Init(ctx context.Context, chainID uint64, genesis common.Hash, account common.Address, first, next uint64, now int64) error {
	return write(l.k, "Init", func() error { return l.Lease.Init(ctx, chainID, genesis, account, first, next, now) })
}

func (l cutLease) OpenBooks(ctx context.Context) error {
	return write(l.k, "OpenBooks", func() error { return l.Lease.OpenBooks(ctx) })
}

func (l cutLease) Open(ctx context.Context, bound string, ps ...*storage.Payment) []error {
	return all(l.k, "Open", ps, func(ps ...*storage.Payment) []error { return l.Lease.Open(ctx, bound, ps...) })
}

func (l cutLease) Verify(ctx context.Context, ps ...*storage.Payment) error {
	return look(l.k, "Verify", func() error { return l.Lease.Verify(ctx, ps...) })
}

func (l cutLease) Sent(ctx context.Context, now int64, ps ...*storage.Payment) []error {
	return all(l.k, "Sent", ps, func(ps ...*storage.Payment) []error { return l.Lease.Sent(ctx, now, ps...) })
}

func (l cutLease) Attempts(ctx context.Context, p *storage.Payment, before int) error {
	return write(l.k, "Attempts", func() error { return l.Lease.Attempts(ctx, p, before) })
}

func (l cutLease) Final(ctx context.Context, now int64, held util.Shannon, ps ...*storage.Payment) []error {
	return all(l.k, "Final", ps, func(ps ...*storage.Payment) []error { return l.Lease.Final(ctx, now, held, ps...) })
}

func (l cutLease) Mined(ctx context.Context, ps ...*storage.Payment) []error {
	return all(l.k, "Mined", ps, func(ps ...*storage.Payment) []error { return l.Lease.Mined(ctx, ps...) })
}

func (l cutLease) Unfinal(ctx context.Context, p *storage.Payment, why string) error {
	return write(l.k, "Unfinal", func() error { return l.Lease.Unfinal(ctx, p, why) })
}

func (l cutLease) Void(ctx context.Context, p *storage.Payment, fate storage.NonceFate, why, reject string) error {
	return write(l.k, "Void", func() error { return l.Lease.Void(ctx, p, fate, why, reject) })
}

func (l cutLease) Reinstate(ctx context.Context, ps ...*storage.Payment) []error {
	return all(l.k, "Reinstate", ps, func(ps ...*storage.Payment) []error { return l.Lease.Reinstate(ctx, ps...) })
}

func (l cutLease) Foreign(ctx context.Context, account common.Address, nonce uint64, tx common.Hash, was string, to *common.Address) error {
	return write(l.k, "Foreign", func() error { return l.Lease.Foreign(ctx, account, nonce, tx, was, to) })
}

func (l cutLease) Reject(ctx context.Context, login, why string) error {
	return write(l.k, "Reject", func() error { return l.Lease.Reject(ctx, login, why) })
}

func (l cutLease) Bury(ctx context.Context, ps ...*storage.Payment) error {
	return write(l.k, "Bury", func() error { return l.Lease.Bury(ctx, ps...) })
}

func (l cutLease) Note(ctx context.Context, fieldValues ...any) error {
	return write(l.k, "Note", func() error { return l.Lease.Note(ctx, fieldValues...) })
}

func (l cutLease) Release(ctx context.Context) error {
	return write(l.k, "Release", func() error { return l.Lease.Release(ctx) })
}

type cutChain struct {
	Chain
	k *knife
}

func (c cutChain) Syncing(ctx context.Context) (bool, error) {
	return read(c.k, "Syncing", func() (bool, error) { return c.Chain.Syncing(ctx) })
}

func (c cutChain) PeerCount(ctx context.Context) (uint64, error) {
	return read(c.k, "PeerCount", func() (uint64, error) { return c.Chain.PeerCount(ctx) })
}

func (c cutChain) Head(ctx context.Context) (rpc.Block, error) {
	return read(c.k, "Head", func() (rpc.Block, error) { return c.Chain.Head(ctx) })
}

func (c cutChain) BlockByNumber(ctx context.Context, n uint64) (rpc.Block, error) {
	return read(c.k, "BlockByNumber", func() (rpc.Block, error) { return c.Chain.BlockByNumber(ctx, n) })
}

func (c cutChain) BlockWithTransactions(ctx context.Context, n uint64) (rpc.Block, error) {
	return read(c.k, "BlockWithTransactions", func() (rpc.Block, error) { return c.Chain.BlockWithTransactions(ctx, n) })
}

func (c cutChain) AccountAt(ctx context.Context, account common.Address, block uint64) (nonce uint64, balanceWei *big.Int, err error) {
	err = look(c.k, "AccountAt", func() (err error) { nonce, balanceWei, err = c.Chain.AccountAt(ctx, account, block); return err })
	return nonce, balanceWei, err
}

func (c cutChain) NonceAt(ctx context.Context, account common.Address, block uint64) (uint64, error) {
	return read(c.k, "NonceAt", func() (uint64, error) { return c.Chain.NonceAt(ctx, account, block) })
}

func (c cutChain) PendingNonce(ctx context.Context, account common.Address) (uint64, error) {
	return read(c.k, "PendingNonce", func() (uint64, error) { return c.Chain.PendingNonce(ctx, account) })
}

func (c cutChain) PoolHas(ctx context.Context, account common.Address) (known bool, hashes []common.Hash, err error) {
	err = look(c.k, "PoolHas", func() (err error) { known, hashes, err = c.Chain.PoolHas(ctx, account); return err })
	return known, hashes, err
}

func (c cutChain) GasPrice(ctx context.Context) (*big.Int, error) {
	return read(c.k, "GasPrice", func() (*big.Int, error) { return c.Chain.GasPrice(ctx) })
}

func (c cutChain) CallContract(ctx context.Context, call rpc.TxArgs, block uint64) ([]byte, error) {
	return read(c.k, "CallContract", func() ([]byte, error) { return c.Chain.CallContract(ctx, call, block) })
}

func (c cutChain) EstimateGas(ctx context.Context, call rpc.TxArgs) (uint64, error) {
	return read(c.k, "EstimateGas", func() (uint64, error) { return c.Chain.EstimateGas(ctx, call) })
}

func (c cutChain) SendRawTransactions(ctx context.Context, raws [][]byte) []error {
	return all(c.k, "SendRawTransactions", raws, func(raws ...[]byte) []error { return c.Chain.SendRawTransactions(ctx, raws) })
}

func (c cutChain) SendTransaction(ctx context.Context, tx rpc.TxArgs) (common.Hash, error) {
	return pass(c.k, "SendTransaction", true, func() (common.Hash, error) { return c.Chain.SendTransaction(ctx, tx) })
}

func (c cutChain) TransactionByHash(ctx context.Context, tx common.Hash) (rpc.Transaction, error) {
	return read(c.k, "TransactionByHash", func() (rpc.Transaction, error) { return c.Chain.TransactionByHash(ctx, tx) })
}

func (c cutChain) Receipts(ctx context.Context, txs []common.Hash) (receipts []*rpc.Receipt, errs []error) {
	if len(txs) == 0 {
		return nil, nil
	}
	if look(c.k, "Receipts", func() error { receipts, errs = c.Chain.Receipts(ctx, txs); return nil }) != nil {
		receipts, errs = make([]*rpc.Receipt, len(txs)), make([]error, len(txs))
		for i := range errs {
			errs[i] = errCut
		}
	}
	return receipts, errs
}

type cutSigner struct {
	Signer
	k *knife
}

func (s cutSigner) Ready(ctx context.Context, account common.Address) error {
	return look(s.k, "Ready", func() error { return s.Signer.Ready(ctx, account) })
}

func (s cutSigner) Sign(ctx context.Context, tx Unsigned) ([]byte, error) {
	return read(s.k, "Sign", func() ([]byte, error) { return s.Signer.Sign(ctx, tx) })
}

type cutJournal struct {
	Journal
	k *knife
}

func (j cutJournal) Replay(each func(Record) error) error {
	return look(j.k, "Replay", func() error { return j.Journal.Replay(each) })
}

func (j cutJournal) Append(records ...Record) error {
	for _, err := range all(j.k, "Append", records, func(records ...Record) []error { return []error{j.Journal.Append(records...)} }) {
		if err != nil {
			return err
		}
	}
	return nil
}

type cutClock struct {
	Clock
	k *knife
}

func (c cutClock) Sleep(ctx context.Context, d time.Duration) error {
	return write(c.k, "Sleep", func() error { return c.Clock.Sleep(ctx, d) })
}

func (l cutLease) Adopt(ctx context.Context, p *storage.Payment, now int64, held util.Shannon, why string) error {
	return write(l.k, "Adopt", func() error { return l.Lease.Adopt(ctx, p, now, held, why) })
}

func (l cutLease) Hold(ctx context.Context, p *storage.Payment, why string) error {
	return write(l.k, "Hold", func() error { return l.Lease.Hold(ctx, p, why) })
}

func (l cutLease) Unhold(ctx context.Context, p *storage.Payment) error {
	return write(l.k, "Unhold", func() error { return l.Lease.Unhold(ctx, p) })
}

func (l cutLease) Ignore(ctx context.Context, tx common.Hash) error {
	return write(l.k, "Ignore", func() error { return l.Lease.Ignore(ctx, tx) })
}

func (l cutLease) CreditBackOld(ctx context.Context, r storage.PendingRow) error {
	return write(l.k, "CreditBackOld", func() error { return l.Lease.CreditBackOld(ctx, r) })
}

func (l cutLease) PaidOld(ctx context.Context, r storage.PendingRow, tx common.Hash, now int64) error {
	return write(l.k, "PaidOld", func() error { return l.Lease.PaidOld(ctx, r, tx, now) })
}

func (l cutLease) Record(ctx context.Context, login string, amount util.Shannon, tx common.Hash, now int64) error {
	return write(l.k, "Record", func() error { return l.Lease.Record(ctx, login, amount, tx, now) })
}
