package payouts

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// How much of a node an audit takes at most.
const (
	atOnce       = 2    // questions, or batches: a node works while an answer is read
	chainChunk   = 2000 // nonces that are looked at together
	blockChunk   = 8    // blocks with their transactions in a batch
	searchBlocks = 2000 // that are read for a transaction nobody knows
	searchMost   = 20   // such transactions; the others are found by the next audit
	fewReceipts  = 3    // of one block, up to which they are asked for one by one
	mostByHand   = 1000 // rows of the history that people wrote, the newest
)

// oldIndex is after how many seconds a node may have forgotten where a transaction is:
// geth keeps its index for about a year.
const oldIndex = 300 * 24 * 3600

const (
	equationNonce = "every transaction of the account is a payment's, a filler, or one that is known"
	equationMade  = "a payment is on the chain as the ledger has it"
	equationOnce  = "a payment is made once"
	equationRow   = "what the history says was paid is on the chain"
	equationWei   = "the account's balance is explained by rewards, transfers and fees"
)

// vista is what an audit sees of the chain: both its readings see the same.
type vista struct {
	deep      rpc.Block // the newest block that is payouts.confirmations deep
	headTime  uint64
	headNonce uint64   // the account's next nonce at the head
	nonce     uint64   // and after deep
	balance   *big.Int // after deep, in Wei; nil when the node keeps no state of it
}

// chainAudit holds the ledger against the chain.
type chainAudit struct {
	storage.Report
	*Auditor
	vista
	meta  storage.Meta
	since *storage.Audited // where the last audit ended; nil to begin with the first payment
	rows  []storage.Paid   // of the history, which people wrote, and payments made by hand

	oneByOne  atomic.Bool // the node does not give all receipts of a block
	block     uint64      // of the last transaction seen: nonces are used in their order
	end       uint64      // the first nonce that is not deep
	settled   uint64      // the first nonce of which the ledger may still say something else
	searches  int
	blindFees int      // transactions whose fee the node does not tell
	tookWei   *big.Int // by transactions since the last audit
	twice     []*storage.Payment
}

// auditChain holds the ledger against the chain, and returns how far it saw it when
// nothing is wrong.
func (a *Auditor) auditChain(ctx context.Context, meta storage.Meta, full bool, made []storage.Paid) (storage.Report, *storage.Audited, error) {
	var seen *storage.Audited
	since, err := a.db.Audited(ctx)
	if err != nil && !errors.Is(err, storage.ErrMalformed) {
		return storage.Report{}, nil, err
	}
	if full || since != nil && since.Account != meta.Account {
		since = nil
	}
	v, anew, err := a.look(ctx, meta, since)
	if err != nil {
		var r storage.Report
		err = looked(ctx, &r, storage.LookedChain, err)
		return r, nil, err
	}
	if anew {
		since = nil
	}
	report, err := storage.Twice(ctx, func(ctx context.Context) (storage.Report, error) {
		c := &chainAudit{Auditor: a, vista: v, meta: meta, since: since, rows: slices.Clone(made), tookWei: new(big.Int)}
		if anew {
			c.Note("the chain was reorganised below the last audit; it was looked at from the first payment on")
		}
		err := c.audit(ctx)
		seen = c.next()
		return c.Report, looked(ctx, &c.Report, storage.LookedChain, err)
	})
	if err != nil || !report.Clean() || len(report.Looked) == 0 {
		seen = nil
	}
	return report, seen, err
}

// look chooses the block up to which the chain is looked at. anew says that the last
// audit looked at a chain that is gone.
func (a *Auditor) look(ctx context.Context, meta storage.Meta, since *storage.Audited) (v vista, anew bool, err error) {
	a.node.Pin(meta.ChainID, meta.Genesis)
	syncing, err := a.node.Syncing(ctx)
	if err != nil {
		return v, false, blind{err}
	}
	if syncing {
		return v, false, cannotLook("the node is still syncing")
	}
	head, err := a.node.Head(ctx)
	if err != nil {
		return v, false, blind{err}
	}
	v.headTime = head.Time
	if head.Number < meta.AnchorBlock || since != nil && head.Number < since.Block {
		return v, false, cannotLook("the node is at block %d, a payment is final in block %d", head.Number, max(meta.AnchorBlock, blockOf(since)))
	}
	if head.Number+1 < a.cfg.Confirmations {
		return v, false, cannotLook("the chain has no block that is %d blocks deep", a.cfg.Confirmations)
	}
	deep := max(head.Number+1-a.cfg.Confirmations, blockOf(since))
	if v.deep, err = a.node.BlockByNumber(ctx, deep); err != nil {
		return v, false, blind{err}
	}
	if since != nil {
		last := v.deep
		if since.Block != deep {
			if last, err = a.node.BlockByNumber(ctx, since.Block); err != nil {
				return v, false, blind{err}
			}
		}
		anew = last.Hash != since.Hash
	}
	if v.headNonce, err = a.node.NonceAt(ctx, meta.Account, head.Number); err != nil {
		return v, false, blind{err}
	}
	var noState *rpc.Error
	v.nonce, v.balance, err = a.node.AccountAt(ctx, meta.Account, deep)
	if err != nil && !errors.As(err, &noState) {
		return v, false, blind{err}
	}
	if err != nil {
		v.nonce, v.balance = v.headNonce, nil
	}
	return v, anew, nil
}

func blockOf(a *storage.Audited) uint64 {
	if a == nil {
		return 0
	}
	return a.Block
}

func (c *chainAudit) audit(ctx context.Context) error {
	if c.nonce < c.meta.FirstNonce && c.balance != nil {
		c.Wrong(c.db.Keys.Meta(), equationNonce, "send the transactions again that are gone, from that nonce on", "the account has used %d nonces, the ledger begins at %d", c.nonce, c.meta.FirstNonce)
		return nil
	}
	c.end = c.meta.FirstNonce
	if c.since != nil {
		c.end = max(c.end, c.since.Settled)
	}
	c.settled = c.nonce
	for c.end < c.nonce {
		last := min(c.end+chainChunk, c.nonce)
		if err := c.nonces(ctx, c.end, last); err != nil {
			return err
		}
		if c.end < last { // the rest is not deep
			break
		}
	}
	if c.end < c.nonce && c.balance != nil {
		return cannotLook("it changed meanwhile")
	}
	c.settled = min(c.settled, c.end)
	for _, part := range []func(context.Context) error{c.once, c.history, c.wei, c.ahead, c.same} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return nil
}

// same makes sure that all that was seen is of one chain.
func (c *chainAudit) same(ctx context.Context) error {
	now, err := c.node.BlockByNumber(ctx, c.deep.Number)
	if err != nil {
		return blind{err}
	}
	if now.Hash != c.deep.Hash {
		return cannotLook("it changed meanwhile, down to block %d", c.deep.Number)
	}
	return nil
}

// next is where the next audit goes on.
func (c *chainAudit) next() *storage.Audited {
	a := &storage.Audited{Account: c.meta.Account, Block: c.deep.Number, Hash: c.deep.Hash, Nonce: c.end, Settled: c.settled, BalanceWei: c.balance}
	if c.balance == nil && c.since != nil && c.since.BalanceWei != nil && c.blindFees == 0 {
		a.BalanceWei = new(big.Int).Sub(c.since.BalanceWei, c.tookWei) // at least
	}
	return a
}

// nonces looks at those from one to before another, all of which the chain has used,
// and moves end behind those that are deep.
func (c *chainAudit) nonces(ctx context.Context, from, to uint64) error {
	bound, err := c.db.NoncesFrom(ctx, c.meta.Account, from, to)
	if err != nil {
		return err
	}
	payments, err := c.payments(ctx, bound)
	if err != nil {
		return err
	}
	blocks, err := c.blocksOf(ctx, bound, payments)
	if err != nil {
		return err
	}
	found, err := c.read(ctx, blocks, func(tx rpc.Transaction) bool { return tx.Nonce >= from && tx.Nonce < to })
	if err != nil {
		return err
	}
	last := from // one behind the last that is known to be deep
	for n, s := range found {
		if s.block.Number <= c.deep.Number {
			last = max(last, n+1)
		}
	}
	for n := from; n < to; n++ {
		s := found[n]
		if s == nil && (n < last || c.balance != nil) {
			if s, err = c.search(ctx, n, found); err != nil {
				return err
			}
		}
		if s == nil && n >= last && c.balance == nil || s != nil && s.block.Number > c.deep.Number {
			return nil
		}
		if err := c.judge(ctx, n, bound[n], payments[n], s); err != nil {
			return err
		}
		c.end = n + 1
		if s != nil {
			c.block = s.block.Number
			c.spend(s)
		}
	}
	return nil
}

// payments reads the payments that nonces are bound to, by nonce. What cannot be read
// is left out: the audit of Redis names it.
func (c *chainAudit) payments(ctx context.Context, bound map[uint64]string) (map[uint64]*storage.Payment, error) {
	var ids []string
	var at []uint64
	for _, n := range slices.Sorted(maps.Keys(bound)) {
		if !strings.Contains(bound[n], ":") {
			ids, at = append(ids, bound[n]), append(at, n)
		}
	}
	records, errs := c.db.Records(ctx, ids)
	payments := make(map[uint64]*storage.Payment, len(ids))
	for i, err := range errs {
		switch {
		case err == nil:
			payments[at[i]] = records[i]
		case !errors.Is(err, storage.ErrNotFound) && !errors.Is(err, storage.ErrMalformed):
			return nil, err
		}
	}
	return payments, nil
}

// judge says what is wrong with a nonce that the chain has used.
func (c *chainAudit) judge(ctx context.Context, n uint64, bound string, p *storage.Payment, s *sight) error {
	if p != nil && s != nil && slices.ContainsFunc(p.Attempts, func(a storage.Attempt) bool { return a.Hash == s.Hash }) {
		c.payment(p, s)
		return nil
	}
	owner, err := c.ownerOf(ctx, n, p, s)
	if err != nil {
		return err
	}
	if s != nil && bound == "foreign:"+s.Hash.Hex() {
		return nil
	}
	if p == nil || p.State != storage.Void && p.State != storage.Final {
		c.settled = min(c.settled, n) // it may be explained yet
	}
	key, at := c.db.Keys.Nonces(c.meta.Account), bound
	switch {
	case p != nil:
		at = "payment " + p.ID
	case at == "":
		at = "nothing"
	}
	if s == nil {
		if strings.HasPrefix(bound, "foreign:") { // known, and the node does not know where it is
			c.Note("transaction %s at nonce %d was not found, and was not looked at", strings.TrimPrefix(bound, "foreign:"), n)
			return nil
		}
		c.Wrong(key, equationNonce, "look for it at a block explorer, by account and nonce; if it was a payout: "+program+"record HASH; if it was not: "+program+"ignore HASH",
			"nonce %d of account %s was used by a transaction that was not found, where the ledger has %s", n, c.meta.Account, at)
		return nil
	}
	if p != nil && p.State == storage.Final && !slices.ContainsFunc(p.Attempts, storage.Attempt.Elsewhere) {
		c.Wrong(c.db.Keys.Payment(p.ID), equationMade, doAgain, "it is final by transaction %s in block %d; its nonce %d was used by transaction %s in block %d", p.Hash, p.Block, n, s.Hash, s.block.Number)
	}
	if owner != "" { // what people said, or made by hand for a payment, is looked at in the history
		return nil
	}
	do := fmt.Sprintf("if it was a payout: %srecord %s; if it was not: %signore %s", program, s.Hash, program, s.Hash)
	if p != nil && p.Kind == storage.ToMiner && p.State != storage.Final && p.State != storage.Void && p.To == addressOf(s.To) && p.Value.Cmp(s.Value) == 0 {
		do = "start payouts, which take it for the payment's own"
	}
	c.Wrong(key, equationNonce, do, "transaction %s at nonce %d sent %s coins to %s in block %d, where the ledger has %s", s.Hash, n, weiOf(s), addressOf(s.To), s.block.Number, at)
	return nil
}

// ownerOf is whose transaction used a nonce, beside the payment that is bound to it,
// and looks at that payment: it may have been made by hand, or given up.
func (c *chainAudit) ownerOf(ctx context.Context, n uint64, p *storage.Payment, s *sight) (string, error) {
	if s == nil {
		return "", nil
	}
	owner, err := c.db.PaymentByHash(ctx, s.Hash)
	if err != nil || owner == "" || owner == storage.Recorded || owner == storage.Ignored || p != nil && owner == p.ID {
		return owner, err
	}
	ps, errs := c.db.Records(ctx, []string{owner})
	switch {
	case errors.Is(errs[0], storage.ErrNotFound), errors.Is(errs[0], storage.ErrMalformed):
		return owner, nil
	case errs[0] != nil:
		return "", errs[0]
	}
	if ps[0].Nonce == n {
		c.payment(ps[0], s)
	}
	if slices.ContainsFunc(ps[0].Attempts, storage.Attempt.Elsewhere) {
		c.twice = append(c.twice, ps[0])
	}
	return owner, nil
}

// payment holds a payment against its transaction on the chain.
func (c *chainAudit) payment(p *storage.Payment, s *sight) {
	key := c.db.Keys.Payment(p.ID)
	if p.State != storage.Final && p.State != storage.Void {
		c.settled = min(c.settled, p.Nonce)
	}
	if slices.ContainsFunc(p.Attempts, func(a storage.Attempt) bool { return a.Hash == p.Hash && a.Elsewhere() }) {
		return // it was made by hand: see once and history
	}
	if to := addressOf(s.To); to != p.To || s.Value.Cmp(p.Value) != 0 {
		c.Wrong(key, equationMade, doExplain, "transaction %s sent %s Wei to %s, the ledger says %s to %s", s.Hash, s.Value, to, p.Value, p.To)
	} else if p.Kind == storage.ToMiner && (!util.SameLogin(p.Login, hexutil.Encode(to[:])) || p.Value.Cmp(p.Amount.Wei()) > 0) {
		c.Wrong(key, equationMade, doExplain, "transaction %s sent %s Wei to %s, the ledger took %s Shannon from %s", s.Hash, s.Value, to, p.Amount, p.Login)
	}
	switch {
	case p.State == storage.Void && s.worked() && s.receipt != nil:
		c.Wrong(key, equationMade, fmt.Sprintf("the miner has it twice: %srecord %s", program, s.Hash), "it was credited back; its transaction %s worked in block %d", s.Hash, s.block.Number)
	case p.State != storage.Final:
	case !s.worked() && p.Kind == storage.ToMiner:
		c.Wrong(key, equationMade, "it was not paid: look at the transaction, and mend the record with payouts stopped", "it is final; its transaction %s failed in block %d", s.Hash, s.block.Number)
	case p.Hash != s.Hash:
		c.Wrong(key, equationMade, doAgain, "it is final by transaction %s in block %d; the chain has transaction %s in block %d", p.Hash, p.Block, s.Hash, s.block.Number)
	case p.Block != s.block.Number || p.BlockHash != s.block.Hash:
		c.Note("payment %s is final in block %d, %s; a deep reorganisation has moved it to block %d, %s", p.ID, p.Block, p.BlockHash, s.block.Number, s.block.Hash)
	}
}

// once looks at payments that somebody made by hand with another nonce: its own
// transaction must not have paid as well.
func (c *chainAudit) once(ctx context.Context) error {
	for _, r := range c.rows[:min(len(c.rows), mostByHand)] {
		owner, err := c.db.PaymentByHash(ctx, r.Hash)
		if err != nil {
			return err
		}
		if owner == "" || owner == storage.Recorded || owner == storage.Ignored || slices.ContainsFunc(c.twice, func(p *storage.Payment) bool { return p.ID == owner }) {
			continue
		}
		ps, errs := c.db.Records(ctx, []string{owner})
		if errs[0] == nil {
			c.twice = append(c.twice, ps[0])
		} else if !errors.Is(errs[0], storage.ErrNotFound) && !errors.Is(errs[0], storage.ErrMalformed) {
			return errs[0]
		}
	}
	looked := map[string]bool{}
	for _, p := range c.twice {
		if looked[p.ID] {
			continue
		}
		looked[p.ID] = true
		var hashes []common.Hash
		for _, a := range p.Attempts {
			if a.Hash != (common.Hash{}) {
				hashes = append(hashes, a.Hash)
			}
		}
		receipts, errs := c.node.Receipts(ctx, hashes)
		var worked []common.Hash
		for i, err := range errs {
			if err != nil && !errors.Is(err, rpc.ErrNotFound) {
				return blind{err}
			}
			if err == nil && receipts[i].Status == 1 && receipts[i].BlockNumber <= c.deep.Number {
				worked = append(worked, hashes[i])
			}
		}
		// One that was recorded since is a payment of its own.
		unbooked := slices.DeleteFunc(slices.Clone(worked), func(h common.Hash) bool {
			return h == p.Hash && p.State != storage.Void || slices.ContainsFunc(c.rows, func(r storage.Paid) bool { return r.Hash == h })
		})
		if (len(worked) > 1 || p.State == storage.Void) && len(unbooked) > 0 {
			c.Wrong(c.db.Keys.Payment(p.ID), equationOnce, fmt.Sprintf("take it from the miner's balance: %srecord %s", program, unbooked[0]), "transaction %s worked beside %s", unbooked[0], p.Hash)
		}
	}
	return nil
}

// history holds against the chain what people wrote into the history.
func (c *chainAudit) history(ctx context.Context) error {
	if len(c.rows) > mostByHand {
		c.Note("%d rows of the history were written by people; the newest %d were held against the chain", len(c.rows), mostByHand)
	}
	rows := c.rows[:min(len(c.rows), mostByHand)]
	hashes := make([]common.Hash, len(rows))
	for i, r := range rows {
		hashes[i] = r.Hash
	}
	txs, errs := c.node.Transactions(ctx, hashes)
	receipts, unmined := c.node.Receipts(ctx, hashes)
	for i, r := range rows {
		if err := errs[i]; err != nil && !errors.Is(err, rpc.ErrNotFound) {
			return blind{err}
		}
		if err := unmined[i]; err != nil && !errors.Is(err, rpc.ErrNotFound) {
			return blind{err}
		}
		if err := c.row(ctx, r, txs[i], receipts[i]); err != nil {
			return err
		}
	}
	return nil
}

func (c *chainAudit) row(ctx context.Context, r storage.Paid, tx *rpc.Transaction, receipt *rpc.Receipt) error {
	key, row := c.db.Keys.PaymentsAll(), fmt.Sprintf("%s:%s:%s", r.Hash, r.Login, r.Amount)
	const do = "explain its login; if he was not paid by it: ZREM the row, and HINCRBY his paid and the finances' down by the amount, with payouts stopped"
	switch {
	case tx == nil && uint64(max(0, r.Time))+oldIndex < c.headTime:
		c.Note("row %s is so old that the node may not know its transaction any more; it was not looked at", row)
	case tx == nil:
		c.Wrong(key, equationRow, do, "there is %s, and no such transaction", row)
	case receipt == nil || receipt.BlockNumber > c.deep.Number: // it may come, or go
	case receipt.Status != 1:
		c.Wrong(key, equationRow, do, "there is %s, and the transaction failed in block %d", row, receipt.BlockNumber)
	default:
		amount, dust, err := util.ShannonFromWei(tx.Value)
		if err == nil && dust.Sign() > 0 {
			amount++ // never book less than was paid
		}
		if util.SameLogin(r.Login, addressOf(tx.To).Hex()) && err == nil && amount == r.Amount {
			return nil
		}
		owner, err := c.db.PaymentByHash(ctx, r.Hash)
		if err != nil {
			return err
		}
		if owner != "" {
			// Of a payment that the miner pays the fee of, less was sent.
			if ps, errs := c.db.Records(ctx, []string{owner}); errs[0] == nil && ps[0].To == addressOf(tx.To) && ps[0].Value.Cmp(tx.Value) == 0 {
				return nil
			}
		}
		c.Wrong(key, equationRow, do, "there is %s, and the transaction sent %s Wei to %s", row, tx.Value, addressOf(tx.To))
	}
	return nil
}

// ahead notes nonces that the newest blocks have used and the ledger does not know:
// payouts look into them when they see them.
func (c *chainAudit) ahead(ctx context.Context) error {
	from := max(c.end, c.meta.FirstNonce)
	last := min(c.headNonce, from+chainChunk)
	bound, err := c.db.NoncesFrom(ctx, c.meta.Account, from, last)
	if err != nil {
		return err
	}
	for n := from; n < last; n++ {
		if bound[n] == "" {
			c.Note("nonce %d is used in the newest blocks by a transaction that the ledger does not know yet", n)
		}
	}
	return nil
}
