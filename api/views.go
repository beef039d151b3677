package api

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Here rows of the books become what routes show. Everything is pure.

// Where a block stands, and what it is.
const (
	stateCandidate = "candidate"
	stateImmature  = "immature"
	stateMatured   = "matured"

	kindCandidate = "candidate"
	kindBlock     = "block"
	kindUncle     = "uncle"
	kindOrphan    = "orphan"
)

// ratio is a over b; 0 where there is no b.
func ratio(a, b int64) float64 {
	if b <= 0 {
		return 0
	}
	return float64(a) / float64(b)
}

// confirmations is how many blocks there are from the one at a height to the
// head, both included.
func confirmations(height, head uint64) uint64 {
	if height == 0 || head < height {
		return 0
	}
	return head - height + 1
}

func candidateView(c storage.Candidate) blockView {
	return blockView{Height: c.Height, Timestamp: c.Time, Difficulty: c.Difficulty, Shares: c.Shares,
		Kind: kindCandidate, State: stateCandidate, Luck: ratio(c.Shares, c.Difficulty)}
}

func foundView(b storage.Block, state string, head uint64) blockView {
	v := blockView{Height: b.Height, Timestamp: b.Time, Difficulty: b.Difficulty, Shares: b.Shares, Uncle: b.UncleHeight > 0,
		UncleHeight: b.UncleHeight, Orphan: b.Orphan, Hash: b.Hash, Reward: b.RewardWei.String(),
		Kind: kindOf(b), State: state, Luck: ratio(b.Shares, b.Difficulty)}
	if !b.Orphan {
		v.Confirmations = confirmations(b.Height, head)
	}
	return v
}

func kindOf(b storage.Block) string {
	switch {
	case b.Orphan:
		return kindOrphan
	case b.UncleHeight > 0:
		return kindUncle
	}
	return kindBlock
}

// luckOf is over the newest blocks, immature ones before matured ones, by the
// number of blocks there are of each window. Windows larger than the first that
// is not full say nothing more.
func luckOf(windows []int, immature, matured []storage.Block) map[string]luckView {
	out := map[string]luckView{}
	var sum, uncles, orphans float64
	n := 0
	all := slices.Concat(immature, matured)
	for _, window := range slices.Sorted(slices.Values(windows)) {
		for n < min(window, len(all)) {
			b := all[n]
			sum += ratio(b.Shares, b.Difficulty)
			if b.UncleHeight > 0 {
				uncles++
			}
			if b.Orphan {
				orphans++
			}
			n++
		}
		if n > 0 {
			out[strconv.Itoa(n)] = luckView{Luck: sum / float64(n), UncleRate: uncles / float64(n), OrphanRate: orphans / float64(n)}
		}
		if n < window {
			break
		}
	}
	return out
}

// Where a payment stands.
const (
	paymentPending    = "pending"
	paymentSent       = "sent"
	paymentConfirming = "confirming"
	paymentFinal      = "final"
	paymentHeld       = "held"
	paymentFailed     = "failed"
)

// paidView is a row of a history with what the ledger knows of it. What it does
// not know is of an older pool, long ago.
func paidView(row storage.PaidRow, known map[string]storage.PaymentStatus, head uint64) paymentView {
	v := paymentView{Timestamp: row.Time, Tx: row.Tx, Address: row.Login, Amount: row.Amount, Status: paymentFinal}
	s, ok := known[row.Tx]
	if !ok {
		return v
	}
	v.Block, v.FeeWei, v.Why, v.Confirmations = s.Block, s.FeeWei, s.Why, confirmations(s.Block, head)
	switch s.State {
	case storage.Signed:
		v.Status = paymentPending
	case storage.Held:
		v.Status = paymentHeld
	case storage.Void:
		v.Status = paymentFailed
	case storage.Sent:
		if v.Status = paymentSent; s.Block > 0 {
			v.Status = paymentConfirming
		}
	}
	return v
}

func pendingView(row storage.PendingRow, login string) paymentView {
	return paymentView{Timestamp: row.Time, Address: login, Amount: row.Amount, Status: paymentPending}
}

func txsOf(rows []storage.PaidRow) []string {
	txs := make([]string, len(rows))
	for i, r := range rows {
		txs[i] = r.Tx
	}
	return txs
}

const daySeconds = 24 * 60 * 60

// dayName is a day's date; the day is unix seconds / 86400.
func dayName(day int64) string { return time.Unix(day*daySeconds, 0).UTC().Format(time.DateOnly) }

// earnings adds rewards up by the day their block was found. Days go on without a
// gap from today back to the first reward, at most so many; one that began
// before complete may lack some, and is left out.
func earnings(list []rewardView, now, complete int64, most int) []dayView {
	today := now / daySeconds
	days := map[int64]dayView{}
	oldest := today + 1
	for _, r := range list {
		day := r.Timestamp / daySeconds
		if day > today-int64(most) && day*daySeconds >= complete {
			d := days[day]
			d.Amount, d.Payments = d.Amount+r.Amount, d.Payments+1
			days[day] = d
			oldest = min(oldest, day)
		}
	}
	out := []dayView{}
	for day := today; day >= oldest; day-- {
		d := days[day]
		d.Day = dayName(day)
		out = append(out, d)
	}
	return out
}

// thresholdAt is when a balance reaches the threshold if rewards went on as in
// the last week; 0 when it has, or nothing was earned. Time in unix seconds.
func thresholdAt(balance, threshold util.Shannon, list []rewardView, now int64) int64 {
	const most, least = 7 * daySeconds, 3600
	var sum util.Shannon
	began := now
	for _, r := range list {
		if r.Timestamp > now-most {
			sum += r.Amount
			began = min(began, r.Timestamp)
		}
	}
	if threshold <= 0 || balance >= threshold || sum <= 0 {
		return 0
	}
	span := max(now-began, least)
	wait := float64(threshold-balance) / float64(sum) * float64(span)
	const century = 100 * 365 * daySeconds
	if wait > century {
		return 0
	}
	return now + int64(wait) + 1
}

// owed is what decides when a miner is paid.
type owed struct {
	balance, pending util.Shannon // of the miner's row
	threshold        util.Shannon
	rows             int    // pending rows of the miner
	rejects          string // why the recipient does not accept payments
	hold             *storage.Act
	skipped          storage.Skip
	meta             storage.Meta
	payouts          payoutsView
}

// holdOf is the hold that an operator put on a login, nil for none.
func holdOf(holds map[string]storage.Act, login string) *storage.Act {
	if act, ok := holds[login]; ok {
		return &act
	}
	return nil
}

// Words of payouts; the two packages do not know each other.
const (
	reasonBelow   = "below_threshold"
	reasonNext    = "next_session"
	reasonFlight  = "in_flight"
	reasonRejects = "recipient_rejects"
	reasonHeld    = "held"
	reasonPaused  = "payouts_paused"
	reasonRefused = "refused"
	reasonLocked  = "locked"
	reasonUnknown = "unknown"
	sessionDone   = "done"
)

// whyUnpaid says why a miner is not paid right now, first what is about him.
func whyUnpaid(o owed) (reason, why string) {
	switch {
	case o.rows > 0:
		return reasonFlight, ""
	case o.pending > 0:
		return reasonHeld, "a payment is looked at by the operator"
	case o.hold != nil:
		return reasonHeld, o.hold.Reason
	case o.rejects != "":
		return reasonRejects, o.rejects
	case o.balance < o.threshold || o.balance <= 0:
		return reasonBelow, ""
	case o.meta.Paused != "":
		return reasonPaused, o.meta.Paused
	case o.meta.Halt != "":
		return reasonRefused, "payouts wait until a refused payment is settled"
	case o.payouts.Reason == reasonLocked:
		return reasonLocked, ""
	case o.payouts.State == payoutsUnknown:
		return reasonUnknown, ""
	case o.skipped.Reason != "":
		return o.skipped.Reason, o.skipped.Why
	case halted(o.meta.Session):
		return o.meta.Session.Result, ""
	}
	return reasonNext, ""
}

// halted says whether a session ended before everybody was paid.
func halted(s storage.Session) bool {
	return s.Ended > 0 && s.Result != "" && s.Result != sessionDone
}

// How payouts are doing.
const (
	payoutsIdle    = "idle"
	payoutsRunning = "running"
	payoutsHalted  = "halted"
	payoutsUnknown = "unknown"
)

// unknownAmount stands for what nobody says, or cannot be read.
const unknownAmount = -1

// silence is how long a running session may say nothing, in seconds.
const silence = 10 * 60

func payoutsOf(m storage.Meta, o storage.Overview, threshold util.Shannon, now int64) payoutsView {
	s := m.Session
	v := payoutsView{State: payoutsIdle, NextSession: m.NextSession, Threshold: threshold, Wallet: m.Wallet, Liabilities: o.Finances.Balance + o.Finances.Pending + m.Outgoing,
		Session: sessionView{Started: s.Started, Ended: s.Ended, Due: s.Due, Paid: s.Paid, Amount: s.Amount}}
	if o.FinancesErr != nil {
		v.Liabilities = unknownAmount
	}
	running := s.Started > 0 && s.Ended == 0
	switch {
	case m.Paused != "":
		v.State, v.Reason = payoutsHalted, reasonPaused
	case m.Halt != "":
		v.State, v.Reason = payoutsHalted, reasonRefused
	case o.Lock != "" && !strings.HasPrefix(o.Lock, storage.LockPrefix):
		// An older pool's payouts, or a person: they say nothing else.
		v.State, v.Reason, v.NextSession, v.Wallet = payoutsHalted, reasonLocked, 0, unknownAmount
	case m.Heartbeat == 0 || running && m.Heartbeat < now-silence || !running && m.NextSession < now-silence && m.Heartbeat < now-silence:
		v.State, v.Reason, v.NextSession, v.Wallet = payoutsUnknown, "", 0, unknownAmount
	case running:
		v.State = payoutsRunning
		v.Session.InFlight = int(min(o.Inflight, int64(max(0, s.Due-s.Paid))))
	case halted(s):
		v.Reason = s.Result
	}
	if m.AuditTime > 0 {
		v.Audit = &auditView{Time: m.AuditTime, Clean: m.AuditFindings == 0, Findings: m.AuditFindings,
			Journal: lookedAt(m, storage.LookedJournal), Chain: lookedAt(m, storage.LookedChain)}
	}
	return v
}

// lookedAt says whether the last audit looked at a part of the books.
func lookedAt(m storage.Meta, part string) bool {
	return slices.Contains(strings.Fields(m.AuditLooked), part)
}

// network computes the network's hashrate from the mean time between blocks.
func network(nodes []storage.NodeText) (v networkView) {
	for _, n := range nodes {
		height, err := strconv.ParseUint(n.Height, 10, 64)
		if err == nil && height >= v.Height {
			v.Height = height
			v.Difficulty, _ = strconv.ParseInt(n.Difficulty, 10, 64)
		}
	}
	return v
}

// tick is the chain's height at a moment.
type tick struct {
	height uint64
	time   int64 // unix seconds
}

// Mean times between blocks: usual is what to think without any knowledge.
const (
	usualBlockTime = 13.0 // seconds
	ticksLeast     = 20   // blocks until observation is better than our own blocks
)

// blockTime is the mean time between the network's blocks, in seconds: of what
// was seen, else of our own blocks, which know their height and time.
func blockTime(seen []tick, blocks []storage.Block) float64 {
	if n := len(seen); n > 1 {
		if first, last := seen[0], seen[n-1]; last.height >= first.height+ticksLeast && last.time > first.time {
			return float64(last.time-first.time) / float64(last.height-first.height)
		}
	}
	if len(blocks) > 1 {
		byHeight := func(a, b storage.Block) int { return cmp.Compare(a.Height, b.Height) }
		first, last := slices.MinFunc(blocks, byHeight), slices.MaxFunc(blocks, byHeight)
		if last.Height >= first.Height+ticksLeast && last.Time > first.Time {
			return float64(last.Time-first.Time) / float64(last.Height-first.Height)
		}
	}
	return usualBlockTime
}

// poolPoints joins the pool's chart with the newest difficulty that was known at
// each of its points.
func poolPoints(pool, difficulty []storage.ChartPoint) []poolPoint {
	out := make([]poolPoint, 0, len(pool))
	at := 0
	for _, p := range pool {
		for at+1 < len(difficulty) && difficulty[at+1].Time <= p.Time {
			at++
		}
		v := poolPoint{X: p.Time, Hashrate: p.Values[0], MinersOnline: p.Values[1]}
		if at < len(difficulty) && difficulty[at].Time <= p.Time {
			v.Difficulty = difficulty[at].Values[0]
		}
		out = append(out, v)
	}
	return out
}

// appendMiners writes /api/miners without paging, which has no bound: a
// megabyte for ten thousand miners. Logins are hex and need no escape.
func appendMiners(b []byte, now int64, hashrate int64, list []listedMiner) []byte {
	b = append(b, `{"now":`...)
	b = strconv.AppendInt(b, now, 10)
	b = append(b, `,"miners":{`...)
	for i, m := range list {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(append(b, '"'), m.Login...), `":{"lastBeat":`...)
		b = strconv.AppendInt(b, m.LastBeat, 10)
		b = append(b, `,"hr":`...)
		b = strconv.AppendInt(b, m.HR, 10)
		b = append(b, `,"offline":`...)
		b = append(strconv.AppendBool(b, m.Offline), '}')
	}
	b = append(b, `},"hashrate":`...)
	b = strconv.AppendInt(b, hashrate, 10)
	b = append(b, `,"minersTotal":`...)
	return append(strconv.AppendInt(b, int64(len(list)), 10), '}')
}
