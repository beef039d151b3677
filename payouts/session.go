package payouts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Result is what a session came to.
type Result struct {
	Due      int          // miners at or above the threshold
	Paid     int          // payments in a block
	InFlight int          // payments sent and not in a block
	Amount   util.Shannon // in a block
	Skipped  []Skip       // due, but not paid, and why
	SetAside []error      // rows that cannot be read, of miners who may be due
}

// Skip is a miner who was due and could not be paid.
type Skip struct {
	Login  string
	Reason string // one of the Reason words
	Why    string
	// Ordered says that an operator wants it so.
	Ordered bool
}

// Partly says that somebody who was due was not paid, though no operator wanted it so.
func (r Result) Partly() bool {
	return r.Paid < r.Due || len(r.SetAside) > 0 || slices.ContainsFunc(r.Skipped, func(s Skip) bool { return !s.Ordered })
}

// Why a miner is not paid; plan, status and the API use the same words.
const (
	ReasonBelow   = "below_threshold"
	ReasonNext    = "next_session"
	ReasonFlight  = "in_flight"
	ReasonRejects = "recipient_rejects"
	ReasonHeld    = "held"
	ReasonFee     = "fee_above_amount"
	ReasonBooks   = "books_disagree"
)

// session is one run over all miners who are due. It outlives a turn: when
// something fails, the next turn goes on with it.
type session struct {
	Result
	started int64
	queue   []storage.Account
	counted bool
	opened  map[string]*storage.Payment // by id
	logins  map[string]bool             // opened in this session
	spent   util.Shannon                // opened in this session
	today   util.Shannon                // opened or paid in the last 24 hours, this session included
	stop    error                       // why no more is opened
	shown   string                      // the last progress line
}

// Session pays everybody who is due, and returns when their payments are in
// blocks, or with a [Halt] when nobody more can be paid. Failures of Redis or
// the node are tried again until ctx ends, or until nothing has moved for the
// time given to [Payer.GiveUpAfter].
func (p *Payer) Session(ctx context.Context) (Result, error) {
	s := &session{started: p.clock.Now().Unix(), opened: map[string]*storage.Payment{}, logins: map[string]bool{}}
	p.window = p.cfg.Window
	nap := retryFirst
	moved, at := s.moved(), p.clock.Now()
	for {
		err := p.hold(ctx, func(t *turn) error { return t.work(ctx, s) })
		var h *Halt
		if err == nil || errors.As(err, &h) || ctx.Err() != nil {
			p.finishSession(ctx, s, err)
			return s.Result, err
		}
		p.complain(ctx, err)
		if now := s.moved(); now != moved {
			moved, at = now, p.clock.Now()
		}
		if p.patience > 0 && p.clock.Now().Sub(at) > p.patience {
			return s.Result, fmt.Errorf("given up after %s without progress: %w", p.patience, err)
		}
		if err := p.clock.Sleep(ctx, nap); err != nil {
			return s.Result, err
		}
		nap = min(2*nap, retryMost)
	}
}

// rowRemoved is what a miner is told of a held payment; the log and plan have the
// commands.
const rowRemoved = "the pending row of his payment was removed by hand"

// moved tells one state of a session from another.
func (r Result) moved() [3]int { return [3]int{r.Due, r.Paid, r.InFlight} }

// GiveUpAfter ends a session in which nothing but failures happened for so long.
// What is in flight goes on at the next start.
func (p *Payer) GiveUpAfter(d time.Duration) { p.patience = d }

// work is the session under one hold of the lock.
func (t *turn) work(ctx context.Context, s *session) error {
	if t.meta.Halt != "" {
		if !t.cfg.AutoResolve {
			return halt(HaltRefused, "payouts are halted: %s; run once with RESOLVE_PAYOUT=1", t.meta.Halt)
		}
		t.mayResolve = true
	}
	if err := t.advance(ctx); err != nil {
		return err
	}
	if err := t.settleOldRows(ctx); err != nil {
		return err
	}
	if t.meta.Halt != "" {
		if err := t.lease.Note(ctx, "halt", ""); err != nil {
			return err
		}
		t.halted, t.mayResolve, t.meta.Halt = false, false, ""
	}
	if err := t.paused(); err != nil {
		return err
	}
	if err := t.signer.Ready(ctx, t.account); err != nil {
		if errors.Is(err, ErrSigner) {
			return &Halt{Reason: HaltSigner, Err: err}
		}
		return err
	}
	if err := t.list(ctx, s); err != nil {
		return err
	}
	for {
		if err := t.payMore(ctx, s); err != nil {
			return err
		}
		t.progress(ctx, s)
		if s.InFlight == 0 && (len(s.queue) == 0 || s.stop != nil) {
			return s.stop
		}
		if err := t.clock.Sleep(ctx, t.cfg.PollInterval.Std()); err != nil {
			return err
		}
		if err := t.advance(ctx); err != nil {
			return err
		}
		t.complain(ctx, nil)
	}
}

// list makes the session's queue of who is due, without those who have a
// payment open or were paid in this session already.
func (t *turn) list(ctx context.Context, s *session) error {
	due, bad, err := t.ledger.Due(ctx, t.cfg.Threshold)
	if err != nil {
		return err
	}
	if err := t.mindStrays(ctx, due); err != nil {
		return err
	}
	s.SetAside = append(bad, t.bad...)
	for _, err := range s.SetAside {
		t.log.Error("a row is set aside", "err", err)
	}
	open := map[string]*storage.Payment{}
	for _, p := range t.open {
		if p.Kind != storage.ToMiner {
			continue
		}
		open[p.Login] = p
		if p.Time >= s.started {
			s.opened[p.ID], s.logins[p.Login] = p, true
		}
	}
	if err := t.countSpent(ctx, s); err != nil {
		return err
	}
	s.queue, s.stop = s.queue[:0], nil
	for _, a := range due {
		switch p := open[a.Login]; {
		case s.logins[a.Login]:
		case t.blocked[a.Login] != "":
			s.skip(a.Login, ReasonBooks, t.blocked[a.Login])
		case p == nil:
			s.queue = append(s.queue, a)
		case p.State == storage.Held:
			s.skip(a.Login, ReasonHeld, rowRemoved)
		case p.State == storage.Signed:
			s.skip(a.Login, ReasonFlight, "payment "+p.ID+" is not settled yet")
		default: // sent: it has left the balance, the rest may be paid
			s.queue = append(s.queue, a)
		}
	}
	if !s.counted {
		s.counted = true
		s.queue = t.unheld(s, s.queue)
		s.Due = len(s.queue)
		t.log.Log(ctx, levelOf(s.Due+len(t.open)), "session begins", "due", s.Due, "thresholdShannon", int64(t.cfg.Threshold), "account", t.account.Hex(),
			"balance", coins(t.view.BalanceWei), "inFlight", len(t.open))
		return t.lease.Note(ctx, "sessionStarted", s.started, "sessionDue", s.Due, "sessionPaid", 0, "sessionAmount", 0, "sessionEnded", "", "sessionResult", "")
	}
	return nil
}

func (s *session) skip(login, reason, why string) {
	s.leaveOut(Skip{Login: login, Reason: reason, Why: why})
}

func (s *session) leaveOut(skip Skip) {
	if !slices.ContainsFunc(s.Skipped, func(k Skip) bool { return k.Login == skip.Login && k.Reason == skip.Reason }) {
		s.Skipped = append(s.Skipped, skip)
	}
}

// requeue puts miners back whose payment was not opened.
func (s *session) requeue(ps []*storage.Payment) {
	for _, p := range ps {
		s.queue = append(s.queue, storage.Account{Login: p.Login, Balance: p.Amount})
	}
}

// batchMost bounds how many payments are opened, journalled and sent at once.
const batchMost = 100

// payMore opens and sends payments until the window is full.
func (t *turn) payMore(ctx context.Context, s *session) error {
	s.queue = t.unheld(s, s.queue)
	for len(s.queue) > 0 && s.stop == nil {
		if t.meta.Paused != "" {
			s.stop = t.paused()
			return nil
		}
		room := t.window - t.unmined()
		if room <= 0 {
			return nil
		}
		if err := t.checkNode(ctx); err != nil {
			return err
		}
		n := min(room, batchMost, len(s.queue))
		batch := s.queue[:n]
		s.queue = s.queue[n:]
		if err := t.payBatch(ctx, s, batch); err != nil {
			return err
		}
	}
	return nil
}

// unmined is how many transactions wait to be mined.
func (t *turn) unmined() int {
	n := 0
	for _, p := range t.open {
		if p.Nonce >= t.view.Nonce {
			n++
		}
	}
	return n
}

// checkNode is the manual's first two checks: a node that is cut off or still
// catching up must not be trusted with payments.
func (t *turn) checkNode(ctx context.Context) error {
	syncing, err := t.chain.Syncing(ctx)
	if err != nil {
		return fmt.Errorf("ask the node whether it is syncing: %w", err)
	}
	if syncing {
		return halt(HaltSyncing, "the node is still syncing")
	}
	peers, err := t.chain.PeerCount(ctx)
	if err != nil {
		return fmt.Errorf("ask the node for its peers: %w", err)
	}
	if peers < t.cfg.RequirePeers {
		return halt(HaltPeers, "the node has %d peers, payouts.requirePeers is %d", peers, t.cfg.RequirePeers)
	}
	return nil
}

// payBatch takes accounts over the line: check, sign, open, journal, verify,
// send, book.
func (t *turn) payBatch(ctx context.Context, s *session, batch []storage.Account) error {
	at, err := t.price(ctx)
	if err != nil {
		return err
	}
	ps, err := t.draft(ctx, s, batch, at)
	if err != nil {
		return err
	}
	ps, low := t.affordable(ps, at)
	ps, over := t.within(s, ps)
	if s.stop = over; over == nil {
		s.stop = low
	}
	for i, p := range ps {
		if err := t.sign(ctx, p, at); err != nil {
			if i == 0 {
				return err
			}
			// What is signed already goes out first; the next round meets the
			// error again, if it lasts.
			s.requeue(ps[i:])
			ps = ps[:i]
			break
		}
	}
	opened, err := t.openBatch(ctx, s, ps)
	if err != nil {
		return err
	}
	for _, p := range opened {
		s.opened[p.ID], s.logins[p.Login] = p, true
		s.spent, s.today = s.spent+p.Amount, s.today+p.Amount
		t.open = append(t.open, p)
		t.log.Debug("opened", "payment", p.ID, "login", p.Login, "amountShannon", int64(p.Amount), "nonce", p.Nonce, "tx", p.Last().Hash)
	}
	if len(opened) == 0 {
		return nil
	}
	return t.commit(ctx, opened...)
}

// draft turns accounts into payments at the next nonces, without those whose
// recipient cannot be paid.
func (t *turn) draft(ctx context.Context, s *session, batch []storage.Account, at price) ([]*storage.Payment, error) {
	recipients := make([]common.Address, len(batch))
	for i, a := range batch {
		to, err := util.ParseLogin(a.Login)
		if err != nil {
			return nil, err
		}
		recipients[i] = to
	}
	code, err := t.contracts(ctx, recipients, t.view.Head.Number)
	if err != nil {
		return nil, err
	}
	rejects, err := t.ledger.Rejects(ctx)
	if err != nil {
		return nil, err
	}
	plain := uint64(gasTransfer)
	if !t.cfg.AutoGas {
		plain = t.cfg.Gas
	}
	var ps []*storage.Payment
	nonce := t.meta.NextNonce
	for i, a := range batch {
		if recipients[i] == (common.Address{}) || recipients[i] == t.account {
			s.skip(a.Login, ReasonRejects, "it is the zero address or the pool's own account, not a miner")
			continue
		}
		gas := plain
		if _, marked := rejects[a.Login]; code[i] || marked {
			g, why, err := t.gasFor(ctx, recipients[i], a.Balance.Wei())
			if err != nil {
				return nil, err
			}
			if err := t.mark(ctx, a.Login, rejects[a.Login], why); err != nil {
				return nil, err
			}
			if why != "" {
				s.skip(a.Login, ReasonRejects, why)
				continue
			}
			gas = max(g, plain)
		}
		value := t.payable(a.Balance, gas, at)
		if value.Sign() <= 0 {
			s.skip(a.Login, ReasonFee, "the transaction's fee is above the amount")
			continue
		}
		ps = append(ps, &storage.Payment{ID: newID(nonce), Kind: storage.ToMiner, Login: a.Login, Amount: a.Balance,
			Time: t.clock.Now().Unix(), State: storage.Signed, Account: t.account, Nonce: nonce, To: recipients[i], Value: value, Gas: gas})
		nonce++
	}
	return ps, nil
}

// mark keeps the list of recipients that reject payments true.
func (t *turn) mark(ctx context.Context, login, was, now string) error {
	if was == now {
		return nil
	}
	if now != "" {
		t.log.Warn("recipient cannot be paid", "login", login, "why", now)
	}
	return t.lease.Reject(ctx, login, now)
}

// affordable keeps those payments that the account can pay with everything in
// flight and the highest fees, and says what stopped it.
func (t *turn) affordable(ps []*storage.Payment, at price) ([]*storage.Payment, error) {
	left := new(big.Int).Set(t.view.BalanceWei)
	for _, p := range t.open {
		if p.Nonce >= t.view.Nonce {
			left.Sub(left, p.CostWei())
		}
	}
	for i, p := range ps {
		cost := new(big.Int).Mul(at.max(), new(big.Int).SetUint64(p.Gas))
		cost.Add(cost, p.Value)
		if left.Cmp(cost) < 0 {
			return ps[:i], halt(HaltWallet, "not enough money: account %s has %s, of which %s are free; the payment to %s needs %s with its fee; top it up",
				t.account, coins(t.view.BalanceWei), coins(left), p.Login, coins(cost))
		}
		left.Sub(left, cost)
	}
	return ps, nil
}

// countSpent adds up what counts for the limits.
func (t *turn) countSpent(ctx context.Context, s *session) error {
	s.spent, s.today = 0, 0
	for _, p := range s.opened {
		s.spent += p.Amount
	}
	if t.cfg.MaxPerDay == 0 {
		return nil
	}
	for _, r := range t.rows {
		s.today += r.Amount
	}
	for _, p := range t.open {
		if _, row := t.rows[p.PendingRow()]; !row && p.Kind == storage.ToMiner && (p.State == storage.Signed || p.State == storage.Held) {
			s.today += p.Amount
		}
	}
	// By the clock or the chain, whichever is behind: a clock that jumps ahead lifts
	// no limit.
	now := min(t.clock.Now().Unix(), int64(t.view.Head.Time))
	paid, err := t.ledger.PaidSince(ctx, now-24*3600)
	s.today += paid
	return err
}

// within keeps those payments that the limits leave room for, and says what
// stopped it.
func (t *turn) within(s *session, ps []*storage.Payment) ([]*storage.Payment, error) {
	spent, today := s.spent, s.today
	for i, p := range ps {
		spent, today = spent+p.Amount, today+p.Amount
		switch {
		case t.cfg.MaxPerSession > 0 && spent > t.cfg.MaxPerSession:
			return ps[:i], halt(HaltSession, "the payment of %s to %s would bring this session to %s, above payouts.maxPerSession = %s; who is left waits for the next session%s",
				p.Amount.Coins(), p.Login, spent.Coins(), t.cfg.MaxPerSession.Coins(), never(p.Amount, t.cfg.MaxPerSession))
		case t.cfg.MaxPerDay > 0 && today > t.cfg.MaxPerDay:
			return ps[:i], halt(HaltDay, "the payment of %s to %s would bring the last 24 hours to %s, above payouts.maxPerDay = %s; who is left waits%s",
				p.Amount.Coins(), p.Login, today.Coins(), t.cfg.MaxPerDay.Coins(), never(p.Amount, t.cfg.MaxPerDay))
		}
	}
	return ps, nil
}

// never says of a payment above a limit that waiting does not help.
func never(amount, limit util.Shannon) string {
	if amount <= limit {
		return ""
	}
	return "; this payment alone is above it, so that it and all larger ones wait until it is raised"
}

// openBatch debits the miners. One whose books disagree is set aside; whoever
// came after him in the batch goes back into the queue, for his nonce is not the
// next one now. Each answer counts for itself: what is open is returned, whatever
// became of the others.
func (t *turn) openBatch(ctx context.Context, s *session, ps []*storage.Payment) ([]*storage.Payment, error) {
	if len(ps) == 0 {
		return nil, nil
	}
	var opened []*storage.Payment
	refused := false
	for i, err := range t.lease.Open(ctx, "", ps...) {
		switch {
		case err == nil:
			opened = append(opened, ps[i])
			t.meta.NextNonce = ps[i].Nonce + 1
		case !errors.Is(err, storage.ErrConflict):
			return nil, err // the next turn writes into the journal what is open
		case refused:
			s.requeue(ps[i : i+1])
		default:
			refused = true
			t.log.Error("a miner is set aside", "login", ps[i].Login, "err", err)
			s.skip(ps[i].Login, ReasonBooks, err.Error())
		}
	}
	return opened, nil
}

// progress counts what is in blocks and shows it when it changed.
func (t *turn) progress(ctx context.Context, s *session) {
	s.Paid, s.InFlight, s.Amount = 0, 0, 0
	open := map[string]*storage.Payment{}
	for _, p := range t.open {
		open[p.ID] = p
	}
	for id, p := range s.opened {
		o, m := open[id], t.seen[id]
		switch {
		case t.asideSaid[id] != "":
		case o != nil && o.Nonce >= t.view.Nonce && o.State != storage.Held:
			s.InFlight++
		case t.wasVoided(id), t.strangers[id] != nil, m != nil && !m.Success:
		case o != nil && o.State == storage.Held && m == nil:
			s.skip(p.Login, ReasonHeld, rowRemoved)
		default:
			s.Paid++
			s.Amount += p.Amount
		}
	}
	line := fmt.Sprintf("paid %d of %d, %d in flight, %s coins", s.Paid, s.Due, s.InFlight, s.Amount.Coins())
	if line == s.shown {
		return
	}
	s.shown = line
	t.log.Log(ctx, levelOf(s.Due+s.InFlight), line)
	if err := t.lease.Note(ctx, "sessionPaid", s.Paid, "sessionAmount", int64(s.Amount)); err != nil {
		t.log.Warn("the session's progress was not written down", "err", err)
	}
}

// levelOf keeps sessions in which nothing happens out of the log, but for their end.
func levelOf(happens int) slog.Level {
	if happens == 0 {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func (t *turn) wasVoided(id string) bool {
	return slices.ContainsFunc(t.voided, func(p *storage.Payment) bool { return p.ID == id })
}

// finishSession says what the session came to and saves Redis if it should.
func (p *Payer) finishSession(ctx context.Context, s *session, err error) {
	if ctx.Err() != nil {
		return
	}
	result := "done"
	if err != nil {
		result = haltReason(err)
	}
	for _, skip := range s.Skipped {
		p.log.Warn("not paid", "login", skip.Login, "reason", skip.Reason, "why", skip.Why)
	}
	p.log.Info("session ends", "result", result, "paid", s.Paid, "due", s.Due, "inFlight", s.InFlight, "coins", s.Amount.Coins(), "notPaid", len(s.Skipped))
	skipped := map[string]storage.Skip{}
	for _, skip := range s.Skipped {
		skipped[skip.Login] = storage.Skip{Reason: skip.Reason, Why: skip.Why}
	}
	noted := p.hold(ctx, func(t *turn) error {
		if err := t.lease.Skipped(ctx, skipped); err != nil {
			return err
		}
		notes := []any{"sessionEnded", p.clock.Now().Unix(), "sessionResult", result}
		if !s.counted { // it ended before anybody was looked at
			notes = append(notes, "sessionStarted", s.started, "sessionDue", 0, "sessionPaid", 0, "sessionAmount", 0)
		}
		return t.lease.Note(ctx, notes...)
	})
	if noted != nil {
		p.complain(ctx, noted)
	}
	if p.cfg.BgSave && s.Paid+s.InFlight > 0 {
		if err := p.ledger.BgSave(ctx); err != nil {
			p.log.Error("redis could not save in the background", "err", err)
			return
		}
		p.log.Info("redis saves in the background")
	}
}

// coins prints Wei in coins, rounded down to the Shannon.
func coins(wei *big.Int) string {
	s, _, err := util.ShannonFromWei(wei)
	if err != nil {
		return wei.String() + " Wei"
	}
	return s.Coins()
}
