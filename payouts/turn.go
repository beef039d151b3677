package payouts

import (
	"context"
	"errors"
	"fmt"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// turn is one hold of the payments lock, and what is known while it lasts.
type turn struct {
	*Payer
	lease  Lease
	meta   storage.Meta
	open   []*storage.Payment            // everything not final, by nonce
	rows   map[string]storage.PendingRow // the pending rows, by member
	holds  map[string]storage.Act        // whom operators do not want paid
	bad    []error                       // rows that do not parse
	unread []storage.Unreadable          // open payments that do not

	halted     bool               // payouts stay locked when the turn ends
	mayResolve bool               // refused payments are given up now
	voided     []*storage.Payment // given up during this turn
	put        *putOff            // collects what would be given up, instead
}

// Halt is a reason to pay nobody for now, in a word that plan, status and the
// API share, and in a sentence with what to do. Nothing was written.
type Halt struct {
	Reason string
	Err    error
}

func (h *Halt) Error() string { return h.Err.Error() }
func (h *Halt) Unwrap() error { return h.Err }

func halt(reason, format string, args ...any) error {
	return &Halt{Reason: reason, Err: fmt.Errorf(format, args...)}
}

// The reasons a session pays nobody.
const (
	HaltLocked      = "locked"           // somebody else holds the payments lock
	HaltRefused     = "refused"          // a node refused a payment
	HaltOldRows     = "old_pending_rows" // rows of an older pool want RESOLVE_PAYOUT=1
	HaltUnaccounted = "unaccounted"      // a payment was made by hand that the books do not know
	HaltPeers       = "too_few_peers"
	HaltSyncing     = "node_syncing"
	HaltBehind      = "node_behind"
	HaltChain       = "wrong_chain"
	HaltSigner      = "signer"
	HaltWallet      = "wallet_low"
	HaltGasPrice    = "gas_too_high"
	HaltSession     = "session_limit"  // payouts.maxPerSession
	HaltDay         = "day_limit"      // payouts.maxPerDay
	HaltPaused      = "payouts_paused" // an operator said so
	HaltJournal     = "journal"
	HaltReorg       = "reorg"
)

// begin takes the lock and makes sure that the ledger knows everything the
// journal does, before any other step.
func (p *Payer) begin(ctx context.Context) (*turn, error) {
	lease, err := p.acquire(ctx)
	if err != nil {
		return nil, err
	}
	t := &turn{Payer: p, lease: lease}
	clear(p.fresh) // while the lock was free, another process may have offered them
	if err := t.prepare(ctx); err != nil {
		return nil, errors.Join(err, t.end(ctx))
	}
	return t, nil
}

func (p *Payer) acquire(ctx context.Context) (Lease, error) {
	token := p.owner.String()
	holder, err := p.ledger.LockValue(ctx)
	if err != nil {
		return nil, err
	}
	p.lockFree = holder == ""
	lease, err := p.ledger.Acquire(ctx, token, "", p.known)
	var held *storage.HeldError
	if !errors.As(err, &held) {
		return lease, err
	}
	other, ok := parseOwner(held.Value)
	switch {
	case !ok:
		return nil, halt(HaltLocked, "payouts are locked by %q, which an older pool or a person wrote; "+
			"make sure that no other payouts process runs, then run once with RESOLVE_PAYOUT=1", held.Value)
	case !p.owner.gone(other):
		return nil, halt(HaltLocked, "payouts are locked by another process: host %s, pid %s, journal %s; "+
			"if that host is gone for good, run once with RESOLVE_PAYOUT=1", other.Host, other.PID, other.Journal)
	}
	p.log.Info("taking over the payments lock of a process that died", "pid", other.PID)
	return p.ledger.Acquire(ctx, token, held.Value, p.known)
}

// end gives the lock back, unless payouts are halted by a refused payment: then
// they stay locked, as the manual says.
func (t *turn) end(ctx context.Context) error {
	t.known = max(t.known, t.lease.Step())
	if t.halted {
		return nil
	}
	// The lock is given back even when the process is asked to end.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), releaseTimeout)
	defer cancel()
	return t.lease.Release(ctx)
}

func (t *turn) prepare(ctx context.Context) error {
	meta, err := t.ledger.Meta(ctx)
	if err != nil {
		return err
	}
	h := t.journal.Header()
	if meta.ChainID != 0 && (meta.ChainID != h.ChainID || meta.Genesis != h.Genesis) {
		return halt(HaltChain, "the ledger belongs to chain id %d with genesis %s, the node is on chain id %d with genesis %s",
			meta.ChainID, meta.Genesis, h.ChainID, h.Genesis)
	}
	if meta.Step < t.known {
		t.log.Warn("redis went back in time; putting back from the journal what it forgot", "step", meta.Step, "known", t.known)
		t.replayed = false
		if err := t.lease.Resync(ctx); err != nil {
			return err
		}
		t.known = meta.Step
	}
	if meta.Step > t.known {
		t.replayed = false // another process was at work, with a journal of its own perhaps
	}
	if meta.ChainID == 0 && t.resolving {
		// The ledger begins with the next normal start, unless Redis has only
		// forgotten it.
		if _, journalled, err := t.journalledNonces(); err != nil || !journalled {
			return err
		}
	}
	if meta.ChainID == 0 || meta.Account != t.account {
		if err := t.firstUse(ctx, meta); err != nil {
			return err
		}
	}
	if !t.replayed {
		if err := t.replay(ctx, meta); err != nil {
			return err
		}
		t.replayed = true
	}
	t.meta, err = t.ledger.Meta(ctx)
	if err != nil {
		return err
	}
	t.halted = t.meta.Halt != ""
	if t.halted && t.lockFree {
		// Halted payouts keep the lock; only a person takes it away, as the last
		// step of the manual's procedure.
		t.log.Warn("the payments lock was deleted by hand; payouts go on", "halt", t.meta.Halt)
		t.halted, t.meta.Halt = false, ""
		return t.lease.Note(ctx, "halt", "")
	}
	return nil
}

// firstUse binds the ledger to the chain and the account. The first nonce is
// the journal's when Redis forgot it, else the chain's, provided that nothing
// of the account is on its way and no older pool left a debit unresolved.
func (t *turn) firstUse(ctx context.Context, meta storage.Meta) error {
	journalled, known, err := t.journalledNonces()
	if err != nil {
		return err
	}
	first := journalled.first
	if !known {
		if err := t.checkNode(ctx); err != nil {
			return err
		}
		if err := t.settleOldRows(ctx); err != nil {
			return err
		}
		if first, err = t.firstNonce(ctx); err != nil {
			return err
		}
	}
	if meta.ChainID != 0 && meta.Account != t.account {
		if err := t.leftBehind(ctx, meta); err != nil {
			return err
		}
	}
	if err := t.lease.OpenBooks(ctx); err != nil {
		return err
	}
	next, err := t.nextNonce(ctx, first, journalled.last)
	if err != nil {
		return err
	}
	h := t.journal.Header()
	if err := t.lease.Init(ctx, h.ChainID, h.Genesis, t.account, first, next, t.clock.Now().Unix()); err != nil {
		if errors.Is(err, storage.ErrConflict) && meta.ChainID != 0 {
			return halt(HaltChain, "payouts.address changed from %s to %s: %w; let the old account's payments become final first", meta.Account, t.account, err)
		}
		return err
	}
	t.log.Info("the ledger begins", "account", t.account.Hex(), "chainId", h.ChainID, "firstNonce", first)
	return nil
}

// leftBehind makes sure that the ledger knows all that the account before this one has
// made: a Redis that went back to before the change of accounts has forgotten payments
// which only the old account's journal knows.
func (t *turn) leftBehind(ctx context.Context, meta storage.Meta) error {
	used, err := t.chain.PendingNonce(ctx, meta.Account) // what waits in the node's pool counts
	if err != nil {
		return fmt.Errorf("read the pending nonce of account %s: %w", meta.Account, err)
	}
	if used > meta.NextNonce {
		return halt(HaltChain, "account %s, which paid before %s, has used %d nonces, and the ledger knows of %d: redis may have forgotten payments of it; "+
			"run once with RESOLVE_PAYOUT=1 and with payouts.address and payouts.journal as they were for that account, then change them again", meta.Account, t.account, used, meta.NextNonce)
	}
	return nil
}

// nextNonce is the one after all that Redis still has of the account, which may have
// been ours before, and the first one when it has none.
func (t *turn) nextNonce(ctx context.Context, first, last uint64) (uint64, error) {
	if last < first {
		return first, nil
	}
	bound, err := t.ledger.NoncesFrom(ctx, t.account, first, last+1)
	if err != nil {
		return 0, err
	}
	next := first
	for n := range bound {
		next = max(next, n+1)
	}
	return next, nil
}

func (t *turn) firstNonce(ctx context.Context) (uint64, error) {
	if err := t.look(ctx); err != nil {
		return 0, err
	}
	known, hashes, err := t.chain.PoolHas(ctx, t.account)
	if err != nil {
		return 0, fmt.Errorf("read the node's pool: %w", err)
	}
	if len(hashes) > 0 {
		return 0, halt(HaltUnaccounted, "the node's pool holds %d transactions of account %s, the first is %s; start again when they are mined",
			len(hashes), t.account, hashes[0])
	}
	if !known {
		pending, err := t.chain.PendingNonce(ctx, t.account)
		if err != nil {
			return 0, fmt.Errorf("read the pending nonce: %w", err)
		}
		if pending > t.view.Nonce {
			return 0, halt(HaltUnaccounted, "the node's pool holds %d transactions of account %s; start again when they are mined",
				pending-t.view.Nonce, t.account)
		}
	}
	return t.view.Nonce, t.settled(ctx)
}

// settled makes sure that no nonce before the ledger's first one can come back:
// the account has made no transaction in the last blocks.
func (t *turn) settled(ctx context.Context) error {
	head, depth := t.view.Head.Number, t.cfg.Confirmations
	if depth > head {
		return nil
	}
	before, err := t.chain.NonceAt(ctx, t.account, head-depth)
	var noState *rpc.Error
	switch {
	case errors.As(err, &noState):
		t.log.Warn("the node keeps no old state, so that it is not known whether the account's last transactions are deep enough", "blocks", depth)
		return nil
	case err != nil:
		return fmt.Errorf("read the account's nonce at block %d: %w", head-depth, err)
	case before < t.view.Nonce:
		return halt(HaltUnaccounted, "account %s made %d transactions in the last %d blocks, which a reorganisation could undo; the ledger begins when they are deeper",
			t.account.Hex(), t.view.Nonce-before, depth)
	}
	return nil
}

// read reads what is open. It is read anew for every step, because operators
// work on it by hand.
func (t *turn) read(ctx context.Context) error {
	var err error
	if t.meta, err = t.ledger.Meta(ctx); err != nil {
		return err
	}
	if t.open, t.unread, err = t.ledger.Inflight(ctx); err != nil {
		return err
	}
	return t.readRows(ctx)
}

func (t *turn) readRows(ctx context.Context) error {
	rows, bad, err := t.ledger.Pending(ctx)
	if err != nil {
		return err
	}
	for _, u := range t.unread {
		bad = append(bad, fmt.Errorf("open payment %s at nonce %d: %w", u.ID, u.Nonce, u.Err))
	}
	t.rows, t.bad = make(map[string]storage.PendingRow, len(rows)), bad
	for _, r := range rows {
		t.rows[r.Row()] = r
	}
	return nil
}

// oldRows are the pending rows that belong to no payment of ours. While a record
// cannot be read, nobody knows whether a row is its own.
func (t *turn) oldRows() []storage.PendingRow {
	if len(t.unread) > 0 {
		return nil
	}
	ours := map[string]bool{}
	for _, p := range t.open {
		if p.Kind == storage.ToMiner {
			ours[p.PendingRow()] = true
		}
	}
	return sortedRows(t.rows, func(r storage.PendingRow) bool { return !ours[r.Row()] })
}
