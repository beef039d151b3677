package storage

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Here is what the API reads. Nothing here changes money. Everything large is
// read in pieces, none of which keeps Redis for more than about a millisecond. Rows that cannot
// be read come back as errors beside the rest; what Redis did not answer is an
// error, never an empty list.

// statsChunk is how many fields or members one command of the statistics reads;
// workChunk of those that are read in every cycle, which take a microsecond for two.
const (
	statsChunk = 1000
	workChunk  = 2500
)

// Overview is the pool at one moment, without its miners' hashrates.
type Overview struct {
	Nodes []NodeText       // by name
	Stats map[string]int64 // roundShares, lastBlockFound

	Candidates      []Candidate // newest first, as all blocks
	Immature        []Block
	CandidatesTotal int64
	ImmatureTotal   int64
	MaturedTotal    int64
	NewestMatured   string // its row; with MaturedTotal it tells whether there are new ones

	Payments      []PaidRow // newest first
	PaymentsTotal int64
	Pending       []PendingRow // newest first
	Finders       []Finder     // most blocks first
	Inflight      int64        // payments that are not final
	Finances      Miner
	FinancesErr   error  // why they cannot be read; nil when they were
	Lock          string // the value of the payments lock, empty while nobody holds it
	Terms         Terms  // what the unlocker credits by
	HasTerms      bool   // it has said so

	Bad []error // rows that cannot be read
}

// NodeText is what one proxy reports of its node, as the existing pools show it.
type NodeText struct{ Name, Height, Difficulty, LastBeat string }

// PaidRow is one row of a history.
type PaidRow struct {
	Tx     string // as stored
	Login  string // empty in a miner's own history
	Amount util.Shannon
	Time   int64 // unix seconds
}

// Finder is who found blocks.
type Finder struct {
	Login  string
	Blocks int64
}

// findersMost bounds the list of finders.
const findersMost = 1000

// Overview reads the pool with so many of its newest payments, at one moment: a
// payment is either pending or in the history.
func (db *DB) Overview(ctx context.Context, payments int64) (Overview, error) {
	k := db.Keys
	var o Overview
	var nodes, stats *redis.MapStringStringCmd
	var candidates, immature, newest, paid, pending, finders *redis.ZSliceCmd
	var nCandidates, nImmature, nMatured, nPaid, inflight *redis.IntCmd
	var finances *redis.SliceCmd
	var lock *redis.StringCmd
	var terms *redis.MapStringStringCmd
	_, err := db.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		nodes, stats = p.HGetAll(ctx, k.Nodes()), p.HGetAll(ctx, k.Stats())
		candidates = p.ZRevRangeWithScores(ctx, k.Candidates(), 0, statsChunk-1)
		immature = p.ZRevRangeWithScores(ctx, k.Immature(), 0, statsChunk-1)
		newest = p.ZRevRangeWithScores(ctx, k.Matured(), 0, 0)
		nCandidates, nImmature, nMatured = p.ZCard(ctx, k.Candidates()), p.ZCard(ctx, k.Immature()), p.ZCard(ctx, k.Matured())
		paid, nPaid = p.ZRevRangeWithScores(ctx, k.PaymentsAll(), 0, payments-1), p.ZCard(ctx, k.PaymentsAll())
		pending = p.ZRevRangeWithScores(ctx, k.PaymentsPending(), 0, statsChunk-1)
		finders = p.ZRevRangeWithScores(ctx, k.Finders(), 0, findersMost-1)
		inflight = p.ZCard(ctx, k.Inflight())
		finances = p.HMGet(ctx, k.Finances(), "balance", "pending", "paid", "immature")
		lock, terms = p.Get(ctx, k.PaymentsLock()), p.HGetAll(ctx, k.Terms())
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return Overview{}, fmt.Errorf("read the pool's statistics: %w", err)
	}
	o.Nodes = nodeTexts(nodes.Val())
	o.Stats = numbers(stats.Val())
	o.Candidates = parseRows(&o.Bad, k.Candidates(), candidates.Val(), parseCandidate)
	o.Immature = parseRows(&o.Bad, k.Immature(), immature.Val(), parseBlock)
	if rows := newest.Val(); len(rows) > 0 {
		o.NewestMatured = member(rows[0])
	}
	o.CandidatesTotal, o.ImmatureTotal, o.MaturedTotal = nCandidates.Val(), nImmature.Val(), nMatured.Val()
	o.Payments, o.PaymentsTotal = paidRows(&o.Bad, k.PaymentsAll(), paid.Val()), nPaid.Val()
	var bad []error
	o.Pending, bad = pendingRows(k.PaymentsPending(), pending.Val())
	o.Bad = append(o.Bad, bad...)
	for _, z := range finders.Val() {
		o.Finders = append(o.Finders, Finder{Login: member(z), Blocks: int64(z.Score)})
	}
	o.Inflight, o.Lock = inflight.Val(), lock.Val()
	o.Terms, o.HasTerms = parseTerms(terms.Val())
	o.Finances, o.FinancesErr = parseMiner(k.Finances(), "", finances)
	return o, nil
}

func member(z redis.Z) string {
	s, _ := z.Member.(string)
	return s
}

// nodeTexts takes NAME:FIELD apart; a name may have colons.
func nodeTexts(fields map[string]string) []NodeText {
	names := map[string]bool{}
	for field := range fields {
		if name, _, ok := cutLast(field); ok {
			names[name] = true
		}
	}
	out := make([]NodeText, 0, len(names))
	for name := range names {
		out = append(out, NodeText{Name: name, Height: fields[name+":height"], Difficulty: fields[name+":difficulty"], LastBeat: fields[name+":lastBeat"]})
	}
	slices.SortFunc(out, func(a, b NodeText) int { return strings.Compare(a.Name, b.Name) })
	return out
}

// numbers keeps the fields that are whole numbers, as the existing pools do.
func numbers(fields map[string]string) map[string]int64 {
	out := make(map[string]int64, len(fields))
	for field, text := range fields {
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			out[field] = n
		}
	}
	return out
}

func parseRows[T any](bad *[]error, key string, zs []redis.Z, parse func(height uint64, row string) (T, bool)) []T {
	out := make([]T, 0, len(zs))
	for _, z := range zs {
		v, ok := parse(uint64(max(z.Score, 0)), member(z))
		if !ok {
			*bad = append(*bad, fmt.Errorf("%w: %s row %q", ErrMalformed, key, member(z)))
			continue
		}
		out = append(out, v)
	}
	return out
}

// paidRows reads TXHASH:LOGIN:AMOUNT or, of a miner's own, TXHASH:AMOUNT.
func paidRows(bad *[]error, key string, zs []redis.Z) []PaidRow {
	out := make([]PaidRow, 0, len(zs))
	for _, z := range zs {
		row, ok := parsePaid(member(z), int64(z.Score))
		if !ok {
			*bad = append(*bad, fmt.Errorf("%w: %s row %q", ErrMalformed, key, member(z)))
			continue
		}
		out = append(out, row)
	}
	return out
}

func parsePaid(text string, at int64) (PaidRow, bool) {
	tx, rest, ok := strings.Cut(text, ":")
	login, amount, both := strings.Cut(rest, ":")
	if !both {
		login, amount = "", rest
	}
	a, err := util.ParseShannon(amount)
	return PaidRow{Tx: tx, Login: login, Amount: a, Time: at}, ok && err == nil
}

// MaturedBlocks reads matured blocks, the newest first, from the one with the
// given number (0 is the newest) on.
func (db *DB) MaturedBlocks(ctx context.Context, from, count int64) ([]Block, []error, error) {
	key := db.Keys.Matured()
	var out []Block
	var bad []error
	for at := from; at < from+count; at += statsChunk {
		zs, err := db.rdb.ZRevRangeWithScores(ctx, key, at, min(at+statsChunk, from+count)-1).Result()
		if err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", key, err)
		}
		out = append(out, parseRows(&bad, key, zs, parseBlock)...)
		if len(zs) < statsChunk {
			break
		}
	}
	return out, bad, nil
}

// PaidPage reads payments, the newest first, from the one with the given number
// on: a miner's, or all with the login "".
func (db *DB) PaidPage(ctx context.Context, login string, from, count int64) (rows []PaidRow, total int64, err error) {
	key := db.Keys.PaymentsAll()
	if login != "" {
		key = db.Keys.Payments(login)
	}
	var zs *redis.ZSliceCmd
	var n *redis.IntCmd
	if _, err := db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		zs, n = p.ZRevRangeWithScores(ctx, key, from, from+count-1), p.ZCard(ctx, key)
		return nil
	}); err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", key, err)
	}
	var bad []error // of the existing pools; the overview tells of them
	return paidRows(&bad, key, zs.Val()), n.Val(), nil
}

// PaidChunk reads a miner's payments, the oldest first, from the one with the
// given number on; more says whether there may be further ones. New ones do not
// change the numbers.
func (db *DB) PaidChunk(ctx context.Context, login string, from int64) (rows []PaidRow, more bool, err error) {
	key := db.Keys.Payments(login)
	zs, err := db.rdb.ZRangeWithScores(ctx, key, from, from+statsChunk-1).Result()
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", key, err)
	}
	var bad []error
	return paidRows(&bad, key, zs), len(zs) == statsChunk, nil
}

// MaturedChunk reads matured blocks, the lowest first, from the one with the
// given number on; more says whether there may be further ones.
func (db *DB) MaturedChunk(ctx context.Context, from int64) (blocks []Block, more bool, err error) {
	key := db.Keys.Matured()
	zs, err := db.rdb.ZRangeWithScores(ctx, key, from, from+statsChunk-1).Result()
	if err != nil {
		return nil, false, fmt.Errorf("read %s: %w", key, err)
	}
	var bad []error
	return parseRows(&bad, key, zs, parseBlock), len(zs) == statsChunk, nil
}

// StatsChunk is how many rows the chunks above have at most.
const StatsChunk = statsChunk

// PaidDay is what was paid between two moments.
type PaidDay struct {
	Count  int64
	Amount util.Shannon
}

// PaidCounts says how many payments were made in each of the spans, each from
// its first to its second second, both included.
func (db *DB) PaidCounts(ctx context.Context, spans [][2]int64) ([]int64, error) {
	key := db.Keys.PaymentsAll()
	cmds := make([]*redis.IntCmd, len(spans))
	if _, err := db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, s := range spans {
			cmds[i] = p.ZCount(ctx, key, strconv.FormatInt(s[0], 10), strconv.FormatInt(s[1], 10))
		}
		return nil
	}); err != nil {
		return nil, fmt.Errorf("count %s: %w", key, err)
	}
	out := make([]int64, len(spans))
	for i, c := range cmds {
		out[i] = c.Val()
	}
	return out, nil
}

// PaidBetween calls each with every payment between two moments, both
// included, oldest first.
func (db *DB) PaidBetween(ctx context.Context, from, to int64, each func(PaidRow)) error {
	return db.byScore(ctx, db.Keys.PaymentsAll(), from, to, func(text string, at int64) {
		if row, ok := parsePaid(text, at); ok {
			each(row)
		}
	})
}

// byScore calls each with all members of a zset between two scores, both
// included, lowest first, in chunks.
func (db *DB) byScore(ctx context.Context, key string, from, to int64, each func(member string, score int64)) error {
	for count := int64(statsChunk); from <= to; {
		zs, err := db.rdb.ZRangeByScoreWithScores(ctx, key, &redis.ZRangeBy{
			Min: strconv.FormatInt(from, 10), Max: strconv.FormatInt(to, 10), Count: count}).Result()
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		full := int64(len(zs)) == count
		// Of the last second there may be more: it is read with the next chunk.
		next, end := from, len(zs)
		if full {
			next = int64(zs[end-1].Score)
			for end > 0 && int64(zs[end-1].Score) == next {
				end--
			}
			if end == 0 { // all of one second
				count *= 2
				continue
			}
		}
		for _, z := range zs[:end] {
			each(member(z), int64(z.Score))
		}
		if !full {
			return nil
		}
		from, count = next, statsChunk
	}
	return nil
}

// Work calls each with the sum of difficulties of every worker that had shares
// in the minute (unix seconds / 60). name is LOGIN:WORKER.
func (db *DB) Work(ctx context.Context, minute int64, each func(name string, sum int64)) ([]error, error) {
	key := db.Keys.Work(minute)
	var bad []error
	for cursor := uint64(0); ; {
		page, next, err := db.rdb.HScan(ctx, key, cursor, "", workChunk).Result()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
		for i := 0; i+1 < len(page); i += 2 {
			n, err := strconv.ParseInt(page[i+1], 10, 64)
			if err != nil || n < 0 {
				bad = append(bad, fmt.Errorf("%w: %s field %q = %q", ErrMalformed, key, page[i], page[i+1]))
				continue
			}
			each(page[i], n)
		}
		if cursor = next; cursor == 0 {
			return bad, nil
		}
	}
}

// OldShares calls each with every share between two moments, both included, that
// proxies of the existing pools wrote. name is LOGIN:WORKER.
func (db *DB) OldShares(ctx context.Context, from, to int64, each func(name string, difficulty, at int64)) ([]error, error) {
	key := db.Keys.Hashrate()
	var bad []error
	err := db.byScore(ctx, key, from, to, func(text string, at int64) {
		difficulty, rest, _ := strings.Cut(text, ":")
		name, _, ok := cutLast(rest)
		n, err := strconv.ParseInt(difficulty, 10, 64)
		if err != nil || n < 0 || !ok {
			bad = append(bad, fmt.Errorf("%w: %s row %q: want DIFFICULTY:LOGIN:WORKER:MS", ErrMalformed, key, text))
			return
		}
		each(name, n, at)
	})
	return bad, err
}

// PaymentStatus is what the ledger knows of a transaction in the history.
type PaymentStatus struct {
	State  State
	Block  uint64 // 0 while it is in none, or not known
	FeeWei string // empty while not known
	Why    string
}

// PaymentStatuses reads what the ledger knows of transactions. Those that it
// does not know, as of the existing pools, are absent.
func (db *DB) PaymentStatuses(ctx context.Context, txs []string) (map[string]PaymentStatus, error) {
	out := make(map[string]PaymentStatus, len(txs))
	if len(txs) == 0 {
		return out, nil
	}
	ids, err := db.rdb.HMGet(ctx, db.Keys.Hashes(), txs...).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", db.Keys.Hashes(), err)
	}
	cmds := make([]*redis.SliceCmd, len(ids))
	_, err = db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, id := range ids {
			if id, ok := id.(string); ok {
				cmds[i] = p.HMGet(ctx, db.Keys.Payment(id), "state", "block", "fee", "why")
			}
		}
		return nil
	})
	if err != nil && !isWrongType(err) {
		return nil, fmt.Errorf("read payments: %w", err)
	}
	for i, cmd := range cmds {
		if cmd == nil {
			continue
		}
		v, err := cmd.Result()
		if err != nil && !isWrongType(err) {
			return nil, fmt.Errorf("read the payment of %s: %w", txs[i], err)
		}
		if len(v) != 4 || v[0] == nil {
			continue
		}
		s := PaymentStatus{State: State(text(v[0])), FeeWei: text(v[2]), Why: text(v[3])}
		s.Block, _ = strconv.ParseUint(text(v[1]), 10, 64)
		out[txs[i]] = s
	}
	return out, nil
}

func text(v any) string {
	s, _ := v.(string)
	return s
}

// Stored returns the first of several ways to write a login under which there is
// a miner; ErrNotFound when there is none.
func (db *DB) Stored(ctx context.Context, logins ...string) (string, error) {
	cmds := make([]*redis.IntCmd, len(logins))
	if _, err := db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, login := range logins {
			cmds[i] = p.Exists(ctx, db.Keys.Miner(login))
		}
		return nil
	}); err != nil {
		return "", fmt.Errorf("look for a miner: %w", err)
	}
	for i, cmd := range cmds {
		if cmd.Val() > 0 {
			return logins[i], nil
		}
	}
	return "", fmt.Errorf("miner %s: %w", logins[0], ErrNotFound)
}

// MinerBook is all that Redis keeps about one miner for the API.
type MinerBook struct {
	Stats         map[string]int64 // balance, pending, paid, immature, lastShare, blocksFound, ...
	Payments      []PaidRow        // newest first
	PaymentsTotal int64
	Pending       []PendingRow // likewise
	RoundShares   int64
	RoundTotal    int64            // of all miners
	Workers       map[string]int64 // by name: unix seconds of the last share
	Chart         []ChartPoint     // oldest first
}

// MinerBook reads one miner at one moment; ErrNotFound when there is none.
func (db *DB) MinerBook(ctx context.Context, login string, payments, points int64) (MinerBook, error) {
	b, err := db.minerBook(ctx, login, payments, points, false)
	if err == nil && b.Stats["pending"] != 0 {
		// Pending rows are everybody's, and few miners have one.
		b, err = db.minerBook(ctx, login, payments, points, true)
	}
	return b, err
}

func (db *DB) minerBook(ctx context.Context, login string, payments, points int64, withPending bool) (MinerBook, error) {
	k := db.Keys
	var row, workers *redis.MapStringStringCmd
	var paid, pending *redis.ZSliceCmd
	var n *redis.IntCmd
	var round, total *redis.StringCmd
	var chart *redis.StringSliceCmd
	_, err := db.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		row = p.HGetAll(ctx, k.Miner(login))
		if withPending {
			pending = p.ZRevRangeWithScores(ctx, k.PaymentsPending(), 0, -1)
		}
		paid, n = p.ZRevRangeWithScores(ctx, k.Payments(login), 0, payments-1), p.ZCard(ctx, k.Payments(login))
		round, total = p.HGet(ctx, k.RoundCurrent(), login), p.HGet(ctx, k.Stats(), "roundShares")
		workers = p.HGetAll(ctx, k.Workers(login))
		chart = p.ZRange(ctx, k.ChartMiner(login), -points, -1)
		return nil
	})
	if err != nil && !errors.Is(err, redis.Nil) {
		return MinerBook{}, fmt.Errorf("read miner %s: %w", login, err)
	}
	if len(row.Val()) == 0 {
		return MinerBook{}, fmt.Errorf("miner %s: %w", login, ErrNotFound)
	}
	var bad []error
	b := MinerBook{Stats: numbers(row.Val()), Payments: paidRows(&bad, "", paid.Val()), PaymentsTotal: n.Val(), Workers: numbers(workers.Val())}
	if withPending {
		rows, _ := pendingRows(k.PaymentsPending(), pending.Val()) // the overview tells of others
		b.Pending = slices.DeleteFunc(rows, func(r PendingRow) bool { return r.Login != login })
	}
	b.RoundShares, _ = strconv.ParseInt(round.Val(), 10, 64)
	b.RoundTotal, _ = strconv.ParseInt(total.Val(), 10, 64)
	b.Chart = chartPoints(chart.Val())
	return b, nil
}

// BlockCredits reads what a block brought its miners, or is going to: login →
// Shannon. What cannot be read is an ErrMalformed beside the rest.
func (db *DB) BlockCredits(ctx context.Context, b Block, immature bool) (map[string]util.Shannon, error) {
	key := db.Keys.Credits(b.Height, b.Hash)
	if immature {
		key = db.Keys.CreditsImmature(b.Height, b.Hash)
	}
	fields, err := db.fields(ctx, key)
	if err != nil {
		return nil, err
	}
	out := make(map[string]util.Shannon, len(fields))
	var bad []error
	for _, login := range slices.Sorted(maps.Keys(fields)) {
		amount, err := util.ParseShannon(fields[login])
		if err != nil {
			bad = append(bad, fmt.Errorf("%w: %s field %s: %w", ErrMalformed, key, login, err))
			continue
		}
		out[login] = amount
	}
	return out, errors.Join(bad...)
}

// CreditedSince lists which of the newest thousand matured blocks were credited to
// balances at a time (unix seconds) or later: their heights and hashes.
func (db *DB) CreditedSince(ctx context.Context, at int64) ([]Block, error) {
	key := db.Keys.CreditsAll()
	zs, err := db.rdb.ZRevRangeWithScores(ctx, key, 0, statsChunk-1).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	var out []Block
	for _, z := range zs {
		hash, rest, _ := strings.Cut(member(z), ":")
		moment, _, _ := strings.Cut(rest, ":")
		if credited, err := strconv.ParseInt(moment, 10, 64); err == nil && credited >= at {
			out = append(out, Block{Height: uint64(max(z.Score, 0)), Hash: hash})
		}
	}
	return out, nil
}

// CreditsOf reads what each of some matured blocks brought one miner; 0 for
// nothing.
func (db *DB) CreditsOf(ctx context.Context, login string, blocks []Block) ([]util.Shannon, error) {
	out := make([]util.Shannon, len(blocks))
	cmds := make([]*redis.StringCmd, len(blocks))
	// The pipeline's own error is the first of its commands' errors.
	_, _ = db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, b := range blocks {
			cmds[i] = p.HGet(ctx, db.Keys.Credits(b.Height, b.Hash), login)
		}
		return nil
	})
	for i, cmd := range cmds {
		amount, err := cmd.Result()
		if errors.Is(err, redis.Nil) {
			continue
		}
		if err == nil {
			out[i], err = util.ParseShannon(amount)
		}
		if err != nil {
			return nil, fmt.Errorf("read the credits of block %d: %w", blocks[i].Height, err)
		}
	}
	return out, nil
}

// chartLife is how long a miner's chart outlives its last point.
const chartLife = 48 * time.Hour

// ChartPoint is one point: a time and one or two numbers.
type ChartPoint struct {
	Time   int64 // unix seconds
	Values [2]int64
}

// chartPoints reads TIME:NUMBER or TIME:NUMBER:NUMBER and leaves out what it
// cannot read: friends write more into some of them.
func chartPoints(rows []string) []ChartPoint {
	out := make([]ChartPoint, 0, len(rows))
	for _, row := range rows {
		moment, rest, _ := strings.Cut(row, ":")
		one, rest, more := strings.Cut(rest, ":")
		at, err1 := strconv.ParseInt(moment, 10, 64)
		first, err2 := strconv.ParseInt(one, 10, 64)
		if err1 != nil || err2 != nil {
			continue
		}
		p := ChartPoint{Time: at, Values: [2]int64{first}}
		if more {
			two, _, _ := strings.Cut(rest, ":")
			p.Values[1], _ = strconv.ParseInt(two, 10, 64)
		}
		out = append(out, p)
	}
	return out
}

// Charts reads the newest points of the pool's hashrate with its miners, and of
// the network's difficulty, oldest first.
func (db *DB) Charts(ctx context.Context, pool, difficulty int64) (p, d []ChartPoint, err error) {
	var pools, difficulties *redis.StringSliceCmd
	if _, err := db.rdb.Pipelined(ctx, func(pipe redis.Pipeliner) error {
		pools = pipe.ZRange(ctx, db.Keys.ChartPool(), -pool, -1)
		difficulties = pipe.ZRange(ctx, db.Keys.ChartDifficulty(), -difficulty, -1)
		return nil
	}); err != nil {
		return nil, nil, fmt.Errorf("read charts: %w", err)
	}
	return chartPoints(pools.Val()), chartPoints(difficulties.Val()), nil
}

// pointLua adds a point unless there is one at the time already, which another
// API server wrote.
// KEYS[1] chart   ARGV[1] unix time   ARGV[2] member   ARGV[3] points to keep
// Result: 1 when it was added
var pointLua = redis.NewScript(`
if redis.call('ZCOUNT', KEYS[1], ARGV[1], ARGV[1]) > 0 then return 0 end
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
redis.call('ZREMRANGEBYRANK', KEYS[1], 0, -1 - tonumber(ARGV[3]))
return 1`)

// AddPoolPoint adds a point to the pool's chart, of which so many are kept. added
// is false when another API server has done it.
func (db *DB) AddPoolPoint(ctx context.Context, at, hashrate, miners, keep int64) (added bool, err error) {
	return db.addPoint(ctx, db.Keys.ChartPool(), at, keep, fmt.Sprintf("%d:%d:%d", at, hashrate, miners))
}

// AddDifficultyPoint does the same for the network's difficulty.
func (db *DB) AddDifficultyPoint(ctx context.Context, at, difficulty, keep int64) (added bool, err error) {
	return db.addPoint(ctx, db.Keys.ChartDifficulty(), at, keep, fmt.Sprintf("%d:%d", at, difficulty))
}

func (db *DB) addPoint(ctx context.Context, key string, at, keep int64, row string) (bool, error) {
	n, err := pointLua.Run(ctx, db.rdb, []string{key}, at, row, keep).Int()
	if err != nil {
		return false, fmt.Errorf("add a point to %s: %w", key, err)
	}
	return n == 1, nil
}

// MinerHashrate is one point of one miner's chart.
type MinerHashrate struct {
	Login    string
	Hashrate int64
}

// AddMinerPoints adds a point to each miner's chart. What is there for the time
// already is replaced: two servers make one point.
func (db *DB) AddMinerPoints(ctx context.Context, at, keep int64, points []MinerHashrate) error {
	score := strconv.FormatInt(at, 10)
	for part := range slices.Chunk(points, statsChunk/8) {
		if _, err := db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, m := range part {
				key := db.Keys.ChartMiner(m.Login)
				p.ZRemRangeByScore(ctx, key, score, score)
				p.ZAdd(ctx, key, redis.Z{Score: float64(at), Member: fmt.Sprintf("%d:%d", at, m.Hashrate)})
				p.ZRemRangeByRank(ctx, key, 0, -1-keep)
				p.Expire(ctx, key, chartLife)
			}
			return nil
		}); err != nil {
			return fmt.Errorf("add points to miners' charts: %w", err)
		}
	}
	return nil
}

// A worker's chart has a point for each ten minutes of a day.
const (
	WorkerSpan   = 600 // seconds
	workerPoints = 24 * 60 * 60 / WorkerSpan
)

// WorkerChart is what one worker did, oldest first. Redis has it as a string of
// slots, one for each span of a day, which takes a tenth of what a zset does: eight
// bytes, of the minute in which the span ended and its hashrate as a float32. The slot of
// a span is its number since 1970 modulo theirs; what is a day old is written over.
type WorkerChart struct {
	Login, Worker string
	Points        []ChartPoint // without a gap, at most a day; each at the end of a span
}

// KeepWorkerCharts writes points into workers' charts. What is there for the time
// already is replaced.
func (db *DB) KeepWorkerCharts(ctx context.Context, charts []WorkerChart) error {
	for part := range slices.Chunk(charts, statsChunk/8) {
		if _, err := db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for _, c := range part {
				key := db.Keys.ChartWorker(c.Login, c.Worker)
				for points := c.Points; len(points) > 0; {
					slot := points[0].Time / WorkerSpan % workerPoints
					run := min(int64(len(points)), workerPoints-slot) // up to the end of the string
					p.SetRange(ctx, key, 8*slot, string(slots(points[:run])))
					points = points[run:]
				}
				p.Expire(ctx, key, workerPoints*WorkerSpan*time.Second)
			}
			return nil
		}); err != nil {
			return fmt.Errorf("write workers' charts: %w", err)
		}
	}
	return nil
}

func slots(points []ChartPoint) []byte {
	out := make([]byte, 0, 8*len(points))
	for _, p := range points {
		out = binary.BigEndian.AppendUint32(out, uint32(p.Time/60))
		out = binary.BigEndian.AppendUint32(out, math.Float32bits(float32(p.Values[0])))
	}
	return out
}

// WorkerCharts reads the charts of a miner's workers, each from one time to another
// (unix seconds), both included.
func (db *DB) WorkerCharts(ctx context.Context, login string, workers []string, from, to int64) ([][]ChartPoint, error) {
	cmds := make([]*redis.StringCmd, len(workers))
	// The pipeline's own error is the first of its commands' errors.
	_, _ = db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, worker := range workers {
			cmds[i] = p.Get(ctx, db.Keys.ChartWorker(login, worker))
		}
		return nil
	})
	out := make([][]ChartPoint, len(workers))
	for i, cmd := range cmds {
		text, err := cmd.Bytes()
		if err != nil && !errors.Is(err, redis.Nil) {
			return nil, fmt.Errorf("read the charts of %s's workers: %w", login, err)
		}
		for ; len(text) >= 8; text = text[8:] {
			at := 60 * int64(binary.BigEndian.Uint32(text))
			if at >= from && at <= to {
				hashrate := math.Float32frombits(binary.BigEndian.Uint32(text[4:]))
				out[i] = append(out[i], ChartPoint{Time: at, Values: [2]int64{int64(hashrate)}})
			}
		}
		slices.SortFunc(out[i], func(a, b ChartPoint) int { return cmp.Compare(a.Time, b.Time) })
	}
	return out, nil
}

// Sweep removes statistics that nobody needs any more, written before the time:
// the shares of the existing pools' proxies, the charts of miners who are gone,
// workers who are gone. It returns how many rows went.
func (db *DB) Sweep(ctx context.Context, before time.Time) (int64, error) {
	removed, err := db.sweepShares(ctx, db.Keys.Hashrate(), before.Unix())
	if err != nil {
		return removed, err
	}
	for _, s := range []struct {
		prefix string
		sweep  func(context.Context, []string) (int64, error)
	}{
		{db.Keys.HashrateOf(""), func(ctx context.Context, keys []string) (int64, error) {
			return db.sweepEach(ctx, keys, before.Unix())
		}},
		{db.Keys.ChartMiner(""), db.sweepCharts},
		{db.Keys.Workers(""), func(ctx context.Context, keys []string) (int64, error) {
			return db.sweepWorkers(ctx, keys, before.Unix())
		}},
	} {
		keys, err := db.keysOfLogins(ctx, s.prefix)
		if err != nil {
			return removed, err
		}
		for part := range slices.Chunk(keys, statsChunk/8) {
			n, err := s.sweep(ctx, part)
			removed += n
			if err != nil {
				return removed, err
			}
		}
	}
	return removed, nil
}

// keysOfLogins lists the keys of the prefix that go on with a login.
func (db *DB) keysOfLogins(ctx context.Context, prefix string) ([]string, error) {
	var mu sync.Mutex // of the list: a cluster is scanned shard by shard, at once
	var list []string
	err := db.eachNode(ctx, func(ctx context.Context, c redis.Cmdable) error {
		it := c.Scan(ctx, 0, globEscape(prefix)+"*", scanCount).Iterator()
		for it.Next(ctx) {
			if util.IsLogin(strings.TrimPrefix(it.Val(), prefix)) {
				mu.Lock()
				list = append(list, it.Val())
				mu.Unlock()
			}
		}
		return it.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("list %s*: %w", prefix, err)
	}
	slices.Sort(list)
	return slices.Compact(list), nil
}

// sweepShares removes a zset's members older than the time, some at a time.
func (db *DB) sweepShares(ctx context.Context, key string, before int64) (removed int64, err error) {
	for {
		zs, err := db.rdb.ZRangeWithScores(ctx, key, statsChunk-1, statsChunk-1).Result()
		if err != nil {
			return removed, fmt.Errorf("sweep %s: %w", key, err)
		}
		end, last := before-1, true
		if len(zs) == 1 && int64(zs[0].Score) < end {
			end, last = int64(zs[0].Score), false
		}
		n, err := db.rdb.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatInt(end, 10)).Result()
		if err != nil {
			return removed, fmt.Errorf("sweep %s: %w", key, err)
		}
		if removed += n; last {
			return removed, nil
		}
	}
}

// sweepEach does so for many small zsets.
func (db *DB) sweepEach(ctx context.Context, keys []string, before int64) (removed int64, err error) {
	cmds := make([]*redis.IntCmd, len(keys))
	// The pipeline's own error is the first of its commands' errors, and a key of
	// the wrong type fails alone.
	_, err = db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			cmds[i] = p.ZRemRangeByScore(ctx, key, "-inf", strconv.FormatInt(before-1, 10))
		}
		return nil
	})
	for _, cmd := range cmds {
		removed += cmd.Val()
	}
	if err != nil && !isWrongType(err) {
		return removed, fmt.Errorf("sweep hashrates: %w", err)
	}
	return removed, nil
}

// sweepCharts makes charts that do not expire do so, such as those that friends
// wrote; the next point makes them last again.
func (db *DB) sweepCharts(ctx context.Context, keys []string) (int64, error) {
	cmds := make([]*redis.DurationCmd, len(keys))
	if _, err := db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			cmds[i] = p.TTL(ctx, key)
		}
		return nil
	}); err != nil {
		return 0, fmt.Errorf("sweep charts: %w", err)
	}
	if _, err := db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			if cmds[i].Val() < 0 {
				p.Expire(ctx, key, chartLife)
			}
		}
		return nil
	}); err != nil {
		return 0, fmt.Errorf("sweep charts: %w", err)
	}
	return 0, nil
}

// sweepWorkers forgets workers without a share since the time.
func (db *DB) sweepWorkers(ctx context.Context, keys []string, before int64) (removed int64, err error) {
	cmds := make([]*redis.MapStringStringCmd, len(keys))
	if _, err := db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			cmds[i] = p.HGetAll(ctx, key)
		}
		return nil
	}); err != nil && !isWrongType(err) {
		return 0, fmt.Errorf("sweep workers: %w", err)
	}
	if _, err := db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			var gone []string
			for worker, text := range cmds[i].Val() {
				if at, err := strconv.ParseInt(text, 10, 64); err != nil || at < before {
					gone = append(gone, worker)
				}
			}
			if len(gone) > 0 {
				removed += int64(len(gone))
				p.HDel(ctx, key, gone...)
			}
		}
		return nil
	}); err != nil {
		return 0, fmt.Errorf("sweep workers: %w", err)
	}
	return removed, nil
}
