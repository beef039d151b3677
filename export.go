package main

import (
	"cmp"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// The verb export writes some days for the accountant, as CSV or as JSON, a line a
// row. Days begin at midnight UTC.

// span is a stretch of days, from the first's beginning to before the second's.
type span struct{ from, to time.Time }

// has says whether a moment in unix seconds is in it.
func (s span) has(at int64) bool { return at >= s.from.Unix() && at < s.to.Unix() }

func parseDays(args []string) (span, error) {
	var days [2]time.Time
	for i := range days {
		day, err := time.Parse(time.DateOnly, args[i])
		if err != nil {
			return span{}, fmt.Errorf("%q is no day, want one like 2026-01-31", args[i])
		}
		days[i] = day
	}
	if !days[0].Before(days[1]) {
		return span{}, fmt.Errorf("%s is not before %s", args[0], args[1])
	}
	return span{days[0], days[1]}, nil
}

// What export writes: one row a payment, a matured block, or a day.
const (
	exportPayments = "payments"
	exportRewards  = "rewards"
	exportDays     = "days"
)

var tables = map[string]func(context.Context, *app, *storage.DB, span, *table) error{
	exportPayments: writePayments, exportRewards: writeRewards, exportDays: writeDays}

// parseExport reads FROM TO [WHAT].
func parseExport(args []string) (days span, what string, err error) {
	if days, err = parseDays(args); err != nil {
		return span{}, "", err
	}
	what = exportPayments
	if len(args) > 2 {
		what = args[2]
	}
	if tables[what] == nil {
		return span{}, "", fmt.Errorf("%q cannot be exported, want %s, %s or %s", what, exportPayments, exportRewards, exportDays)
	}
	return days, what, nil
}

func export(ctx context.Context, a *app) error {
	days, what, err := parseExport(a.args)
	if err != nil {
		return err
	}
	db, err := a.openRedis(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	out := &table{csv: csv.NewWriter(a.out), json: json.NewEncoder(a.out), asJSON: a.json}
	err = tables[what](ctx, a, db, days, out)
	out.csv.Flush()
	return cmp.Or(err, out.csv.Error())
}

// table writes rows under the names of its columns.
type table struct {
	csv     *csv.Writer
	json    *json.Encoder
	asJSON  bool
	columns []string
}

func (t *table) head(columns ...string) error {
	t.columns = columns
	if t.asJSON {
		return nil
	}
	return t.csv.Write(columns)
}

func (t *table) row(cells ...string) error {
	if !t.asJSON {
		return t.csv.Write(cells)
	}
	object := make(map[string]string, len(cells))
	for i, c := range cells {
		object[t.columns[i]] = c
	}
	return t.json.Encode(object)
}

// errUnread ends an export from which rows are missing.
func errUnread(n int64) error {
	return fmt.Errorf("%d rows cannot be read and are missing; the verb audit names them", n)
}

// paidRow is a payment with what the ledger knows of its transaction.
type paidRow struct {
	storage.PaidRow
	storage.PaymentStatus
}

// eachPaid calls each with every payment of some days, the oldest first.
func eachPaid(ctx context.Context, db *storage.DB, days span, each func(paidRow) error) error {
	const chunk = 500
	var rows []storage.PaidRow
	var failed error
	read := int64(0)
	flush := func() error {
		txs := make([]string, len(rows))
		for i, row := range rows {
			txs[i] = row.Tx
		}
		states, err := db.PaymentStatuses(ctx, txs)
		if err != nil {
			return err
		}
		for _, row := range rows {
			if err := each(paidRow{row, states[row.Tx]}); err != nil {
				return err
			}
		}
		read += int64(len(rows))
		rows = rows[:0]
		return nil
	}
	from, to := days.from.Unix(), days.to.Unix()-1
	if err := db.PaidBetween(ctx, from, to, func(row storage.PaidRow) {
		if rows = append(rows, row); len(rows) == chunk && failed == nil {
			failed = flush()
		}
	}); err != nil {
		return err
	}
	if failed == nil {
		failed = flush()
	}
	if failed != nil {
		return failed
	}
	counts, err := db.PaidCounts(ctx, [][2]int64{{from, to}})
	if err == nil && counts[0] > read {
		err = errUnread(counts[0] - read)
	}
	return err
}

func writePayments(ctx context.Context, _ *app, db *storage.DB, days span, out *table) error {
	if err := out.head("time", "miner", "amount", "amountShannon", "transaction", "state", "block", "feeWei"); err != nil {
		return err
	}
	return eachPaid(ctx, db, days, func(p paidRow) error {
		block := ""
		if p.Block > 0 {
			block = strconv.FormatUint(p.Block, 10)
		}
		return out.row(rfc3339(p.Time), p.Login, p.Amount.Coins(), strconv.FormatInt(int64(p.Amount), 10), p.Tx, string(p.State), block, p.FeeWei)
	})
}

func rfc3339(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }

// reward is a matured block with how its reward was divided, which is nil for those
// of an older pool.
type reward struct {
	storage.Block
	split *storage.Split
}

// rewardsOf reads the matured blocks that were found in some days, the lowest first.
func rewardsOf(ctx context.Context, db *storage.DB, days span) ([]reward, error) {
	var out []reward
	var unread int64
	for from := int64(0); ; from += storage.StatsChunk {
		blocks, bad, err := db.MaturedBlocks(ctx, from, storage.StatsChunk)
		if err != nil {
			return nil, err
		}
		unread += int64(len(bad))
		found := slices.DeleteFunc(slices.Clone(blocks), func(b storage.Block) bool { return b.Orphan || !days.has(b.Time) })
		splits, err := db.Splits(ctx, found)
		if err != nil {
			return nil, err
		}
		for i, b := range found {
			out = append(out, reward{b, splits[i]})
		}
		if len(blocks)+len(bad) < storage.StatsChunk {
			break
		}
	}
	slices.Reverse(out)
	if unread > 0 {
		return out, errUnread(unread)
	}
	return out, nil
}

func writeRewards(ctx context.Context, _ *app, db *storage.DB, days span, out *table) error {
	if err := out.head("found", "height", "kind", "hash", "reward", "rewardWei", "minersShannon", "poolFeeShannon", "dustWei"); err != nil {
		return err
	}
	rewards, unread := rewardsOf(ctx, db, days)
	for _, r := range rewards {
		kind := "block"
		if r.UncleHeight > 0 {
			kind = "uncle"
		}
		miners, fee, dust := "", "", ""
		if s := r.split; s != nil {
			miners, fee, dust = s.Miners.String(), s.Fee.String(), s.DustWei.String()
		}
		if err := out.row(rfc3339(r.Time), strconv.FormatUint(r.Height, 10), kind, r.Hash, weiCoins(r.RewardWei), r.RewardWei.String(), miners, fee, dust); err != nil {
			return err
		}
	}
	return unread
}

// day adds up what happened between two midnights.
type day struct {
	blocks, payments int
	rewardWei        *big.Int
	miners, fee      util.Shannon
	dustWei          *big.Int
	paid             util.Shannon
	feesWei          *big.Int // of the network, for payments
}

func writeDays(ctx context.Context, a *app, db *storage.DB, days span, out *table) error {
	if err := out.head("day", "blocks", "rewardWei", "minersShannon", "poolFeeShannon", "dustWei", "payments", "paidShannon", "networkFeesWei"); err != nil {
		return err
	}
	sums := map[string]*day{}
	of := func(unix int64) *day {
		key := time.Unix(unix, 0).UTC().Format(time.DateOnly)
		if sums[key] == nil {
			sums[key] = &day{rewardWei: new(big.Int), dustWei: new(big.Int), feesWei: new(big.Int)}
		}
		return sums[key]
	}
	rewards, unreadBlocks := rewardsOf(ctx, db, days)
	for _, r := range rewards {
		d := of(r.Time)
		d.blocks++
		d.rewardWei.Add(d.rewardWei, r.RewardWei)
		if s := r.split; s != nil {
			d.miners, d.fee = d.miners+s.Miners, d.fee+s.Fee
			d.dustWei.Add(d.dustWei, s.DustWei)
		}
	}
	unreadPayments := eachPaid(ctx, db, days, func(p paidRow) error {
		d := of(p.Time)
		d.payments++
		d.paid += p.Amount
		if fee, ok := new(big.Int).SetString(p.FeeWei, 10); ok { // known once it is final
			d.feesWei.Add(d.feesWei, fee)
		}
		return nil
	})
	for at := days.from; at.Before(days.to); at = at.AddDate(0, 0, 1) {
		d := of(at.Unix())
		if err := out.row(at.Format(time.DateOnly), strconv.Itoa(d.blocks), d.rewardWei.String(), d.miners.String(), d.fee.String(), d.dustWei.String(),
			strconv.Itoa(d.payments), d.paid.String(), d.feesWei.String()); err != nil {
			return err
		}
	}
	return errors.Join(unreadBlocks, unreadPayments)
}
