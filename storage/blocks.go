package storage

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// The life of a found block in the books: a candidate, which a proxy wrote;
// immature, when the chain has it and miners see what it is going to bring; and
// matured, when they have it, or it is an orphan. The unlocker alone calls the
// verbs here: Immature, Relocate, Mature and Orphan. A block may have thousands of
// miners, so each verb is a plan, written down first, then scripts of at most
// creditChunk miners, then one that moves the row and strikes the plan. All may be
// repeated from the start after an error; an open plan tells the next pass what
// to finish, or to undo before anything else is done with the block.

// blockScript returns the source of a verb about a found block.
func blockScript(name string) string {
	src := "-- " + name + "\n"
	for _, file := range []string{"immature_prelude", name} {
		b, err := luaFiles.ReadFile("lua/" + file + ".lua")
		if err != nil {
			panic(err) // the file is part of the binary
		}
		src += string(b)
	}
	return src
}

var (
	beginScript                                           = blockScript("immature_begin")
	immatureCreditScript, immatureRowScript               = blockScript("immature_credit"), blockScript("immature_row")
	matureCreditScript, matureRowScript                   = blockScript("mature_credit"), blockScript("mature_row")
	orphanUndoScript, orphanSharesScript, orphanRowScript = blockScript("orphan_undo"), blockScript("orphan_shares"), blockScript("orphan_row")
)

const (
	creditChunk = 100 // miners in one script: two or three milliseconds
	scanChunk   = 500 // fields of a hash in one reading
)

// noHash is how a row writes that the chain does not have the block.
const noHash = "0x0"

// What may have been begun with a block, see [Block.Begun]. Plans of credits begin
// with planCredit and go on with HEIGHT:HASH:DIGEST.
const (
	BegunMature = "mature"
	BegunOrphan = "orphan"
	planCredit  = "credit:"
	planLost    = "lost" // the chain has no such block so far: nothing to credit
)

// Candidate is a row of the candidates: a block that a miner found and a node took.
type Candidate struct {
	Height     uint64 // that was worked on; the block may be at another
	Nonce      string // 0x and 16 hex digits, as stored
	HeaderHash string // 0x and 64 hex digits, as stored
	MixHash    string // likewise
	Time       int64  // unix seconds
	Difficulty int64  // of the network
	Shares     int64  // sum of the share difficulties of the round

	stored string // the row as it was read
}

// Row is the member as Redis keeps it.
func (c Candidate) Row() string {
	return fmt.Sprintf("%s:%s:%s:%d:%d:%d", c.Nonce, c.HeaderHash, c.MixHash, c.Time, c.Difficulty, c.Shares)
}

func (c Candidate) row() string {
	if c.stored != "" {
		return c.stored
	}
	return c.Row()
}

func (c Candidate) id() string { return strconv.FormatUint(c.Height, 10) + ":" + c.Nonce }

// Block is the candidate as a row of the immature ones, of which the chain knows
// nothing.
func (c Candidate) Block() Block {
	return Block{Height: c.Height, Orphan: true, Nonce: c.Nonce, Hash: noHash, Time: c.Time,
		Difficulty: c.Difficulty, Shares: c.Shares, RewardWei: new(big.Int)}
}

// Block is a row of the immature or the matured blocks.
type Block struct {
	Height      uint64 // of the block, or of the one that includes the uncle
	UncleHeight uint64 // of the uncle; 0 for a block
	Orphan      bool
	Nonce       string // 0x and 16 hex digits, as stored
	Hash        string // 0x and 64 hex digits, as stored; 0x0 where the chain has none
	Time        int64  // unix seconds, when it was found
	Difficulty  int64  // of the network
	Shares      int64  // sum of the share difficulties of the round
	RewardWei   *big.Int

	// Begun is the verb that was begun with an immature block and has not ended:
	// BegunMature or BegunOrphan, which must be finished whatever the chain says
	// now; the plan of credits that are half made; or "".
	Begun string

	stored string // the row as it was read
}

// Row is the member as Redis keeps it.
func (b Block) Row() string {
	orphan := 0
	if b.Orphan {
		orphan = 1
	}
	return fmt.Sprintf("%d:%d:%s:%s:%d:%d:%d:%s", b.UncleHeight, orphan, b.Nonce, b.Hash, b.Time, b.Difficulty, b.Shares, b.RewardWei)
}

func (b Block) row() string {
	if b.stored != "" {
		return b.stored
	}
	return b.Row()
}

func (b Block) id() string { return strconv.FormatUint(b.Height, 10) + ":" + b.Nonce }

// split is the field of the block's split.
func (b Block) split() string { return strconv.FormatUint(b.Height, 10) + ":" + b.Hash }

// lost is the block as a row that brought nothing.
func (b Block) lost() Block {
	return Block{Height: b.Height, Orphan: true, Nonce: b.Nonce, Hash: noHash, Time: b.Time,
		Difficulty: b.Difficulty, Shares: b.Shares, RewardWei: new(big.Int)}
}

// Split is how a block's reward is divided: the miners' parts, the fee and the
// dust are the reward, to the last Wei.
type Split struct {
	RewardWei *big.Int
	Credits   map[string]util.Shannon // by login as stored; the fee is in it if FeeLogin is not empty
	Miners    util.Shannon            // for shares
	Fee       util.Shannon            // the pool's
	FeeLogin  string                  // who is credited with the fee; empty when nobody is
	DustWei   *big.Int                // what no division in Shannon can give; it stays in the pool's wallet
}

// String is the split as Redis keeps it: REWARD:MINERS:FEE:DUST:LOGINS:FEELOGIN,
// the first and the fourth in Wei.
func (s Split) String() string {
	return fmt.Sprintf("%s:%d:%d:%s:%d:%s", s.RewardWei, s.Miners, s.Fee, s.DustWei, len(s.Credits), s.FeeLogin)
}

// parseSplit reads what String wrote; Credits are elsewhere.
func parseSplit(text string) (s Split, logins int64, ok bool) {
	f := strings.Split(text, ":")
	if len(f) != 6 || !weiText.MatchString(f[0]) || !weiText.MatchString(f[3]) {
		return Split{}, 0, false
	}
	n, ok := counts([]string{f[1], f[2], f[4]})
	if !ok {
		return Split{}, 0, false
	}
	s = Split{Miners: util.Shannon(n[0]), Fee: util.Shannon(n[1]), FeeLogin: f[5], RewardWei: new(big.Int), DustWei: new(big.Int)}
	s.RewardWei.SetString(f[0], 10)
	s.DustWei.SetString(f[3], 10)
	return s, n[2], true
}

// Terms are what the unlocker credits by, for those who show it.
type Terms struct {
	Fee                  util.Percent
	Depth, ImmatureDepth uint64 // blocks
}

// SetTerms writes them down.
func (db *DB) SetTerms(ctx context.Context, t Terms) error {
	key := db.Keys.Terms()
	if err := db.rdb.HSet(ctx, key, "fee", int64(t.Fee), "depth", t.Depth, "immatureDepth", t.ImmatureDepth).Err(); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}

func parseTerms(m map[string]string) (t Terms, ok bool) {
	n, ok := counts([]string{m["fee"], m["depth"], m["immatureDepth"]})
	if !ok {
		return Terms{}, false
	}
	return Terms{Fee: util.Percent(n[0]), Depth: uint64(n[1]), ImmatureDepth: uint64(n[2])}, true
}

// Splits reads how the rewards of blocks were divided, without their credits: nil
// where nothing was written down, as of older pools.
func (db *DB) Splits(ctx context.Context, blocks []Block) ([]*Split, error) {
	out := make([]*Split, len(blocks))
	if len(blocks) == 0 {
		return out, nil
	}
	key, fields := db.Keys.Splits(), make([]string, len(blocks))
	for i, b := range blocks {
		fields[i] = b.split()
	}
	texts, err := db.rdb.HMGet(ctx, key, fields...).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	for i, v := range texts {
		text, written := v.(string)
		if !written {
			continue
		}
		s, _, ok := parseSplit(text)
		if !ok {
			return nil, fmt.Errorf("%w: %s field %s = %q", ErrMalformed, key, fields[i], text)
		}
		out[i] = &s
	}
	return out, nil
}

// ErrSplit reports a split that does not add up. Nothing was credited.
var ErrSplit = errors.New("the split does not add up")

func (s Split) check() error {
	if s.RewardWei == nil || s.DustWei == nil || s.RewardWei.Sign() < 0 || s.DustWei.Sign() < 0 || s.Fee < 0 {
		return fmt.Errorf("%w: something is missing or negative", ErrSplit)
	}
	if !s.whole() {
		return fmt.Errorf("%w: %d + %d Shannon and %s Wei are not %s Wei", ErrSplit, s.Miners, s.Fee, s.DustWei, s.RewardWei)
	}
	want := s.credited()
	var sum util.Shannon
	for login, amount := range s.Credits {
		if !util.IsLogin(login) || amount <= 0 || amount > util.MaxShannon-sum {
			return fmt.Errorf("%w: %s gets %d Shannon", ErrSplit, login, amount)
		}
		sum += amount
	}
	if sum != want {
		return fmt.Errorf("%w: credits of %d Shannon, want %d", ErrSplit, sum, want)
	}
	return nil
}

// whole says whether the parts are the reward.
func (s Split) whole() bool {
	return new(big.Int).Add((s.Miners+s.Fee).Wei(), s.DustWei).Cmp(s.RewardWei) == 0
}

// credited is the sum of Credits.
func (s Split) credited() util.Shannon {
	if s.FeeLogin != "" {
		return s.Miners + s.Fee
	}
	return s.Miners
}

// plan names the credits that the split gives for the block: the same plan is the
// same credits.
func (s Split) plan(b Block) string {
	h := sha256.New()
	fmt.Fprintln(h, b.Row(), s)
	for _, login := range slices.Sorted(maps.Keys(s.Credits)) {
		fmt.Fprintln(h, login, s.Credits[login])
	}
	return planCredit + b.split() + ":" + hex.EncodeToString(h.Sum(nil)[:8])
}

// Candidates reads the candidates up to a height, oldest first. Rows that do not
// parse come back as errors beside the rest.
func (db *DB) Candidates(ctx context.Context, maxHeight uint64) ([]Candidate, []error, error) {
	return rows(ctx, db, db.Keys.Candidates(), maxHeight, "NONCE:HEADERHASH:MIX:TIME:DIFFICULTY:ROUNDSHARES", parseCandidate)
}

// ImmatureBlocks reads the immature blocks up to a height, oldest first, with what
// was begun with them. Rows that do not parse come back as errors beside the rest.
func (db *DB) ImmatureBlocks(ctx context.Context, maxHeight uint64) ([]Block, []error, error) {
	blocks, bad, err := rows(ctx, db, db.Keys.Immature(), maxHeight, "UNCLEHEIGHT:ORPHAN:NONCE:HASH:TIME:DIFFICULTY:ROUNDSHARES:REWARD", parseBlock)
	if err != nil {
		return nil, nil, err
	}
	plans, err := db.rdb.HGetAll(ctx, db.Keys.Plans()).Result()
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", db.Keys.Plans(), err)
	}
	for i := range blocks {
		blocks[i].Begun = plans[blocks[i].id()]
	}
	return blocks, bad, nil
}

// rows reads a zset of blocks by height.
func rows[T any](ctx context.Context, db *DB, key string, maxHeight uint64, want string, parse func(height uint64, row string) (T, bool)) ([]T, []error, error) {
	zs, err := db.rdb.ZRangeByScoreWithScores(ctx, key, &redis.ZRangeBy{Min: "-inf", Max: strconv.FormatUint(maxHeight, 10)}).Result()
	if err != nil {
		return nil, nil, fmt.Errorf("read %s: %w", key, err)
	}
	var good []T
	var bad []error
	for _, z := range zs {
		row, _ := z.Member.(string)
		height := uint64(max(z.Score, 0))
		v, ok := parse(height, row)
		if !ok || float64(height) != z.Score {
			bad = append(bad, fmt.Errorf("%w: %s row %q at height %v: want %s", ErrMalformed, key, row, z.Score, want))
			continue
		}
		good = append(good, v)
	}
	return good, bad, nil
}

var (
	nonceText = regexp.MustCompile(`^0x[0-9a-fA-F]{16}$`)
	hashText  = regexp.MustCompile(`^0x[0-9a-fA-F]{64}$`)
	weiText   = regexp.MustCompile(`^[0-9]{1,78}$`)
)

func parseCandidate(height uint64, row string) (Candidate, bool) {
	f := strings.Split(row, ":")
	if len(f) != 6 || !nonceText.MatchString(f[0]) || !hashText.MatchString(f[1]) || !hashText.MatchString(f[2]) {
		return Candidate{}, false
	}
	n, ok := counts(f[3:])
	if !ok {
		return Candidate{}, false
	}
	return Candidate{Height: height, Nonce: f[0], HeaderHash: f[1], MixHash: f[2], Time: n[0], Difficulty: n[1], Shares: n[2], stored: row}, true
}

func parseBlock(height uint64, row string) (Block, bool) {
	f := strings.Split(row, ":")
	if len(f) != 8 || f[1] != "0" && f[1] != "1" || !nonceText.MatchString(f[2]) ||
		f[3] != noHash && !hashText.MatchString(f[3]) || !weiText.MatchString(f[7]) {
		return Block{}, false
	}
	n, ok := counts([]string{f[0], f[4], f[5], f[6]})
	reward, isNumber := new(big.Int).SetString(f[7], 10)
	if !ok || !isNumber {
		return Block{}, false
	}
	return Block{Height: height, UncleHeight: uint64(n[0]), Orphan: f[1] == "1", Nonce: f[2], Hash: f[3],
		Time: n[1], Difficulty: n[2], Shares: n[3], RewardWei: reward, stored: row}, true
}

// counts reads numbers from 0 on.
func counts(texts []string) ([]int64, bool) {
	out := make([]int64, len(texts))
	for i, t := range texts {
		n, err := strconv.ParseInt(t, 10, 64)
		if err != nil || n < 0 {
			return nil, false
		}
		out[i] = n
	}
	return out, true
}

// RoundShares reads the frozen round of a block: login as stored → sum of share
// difficulties. It is empty when there is none. nonce is as in the block's row.
func (db *DB) RoundShares(ctx context.Context, height uint64, nonce string) (map[string]int64, error) {
	key := db.Keys.Round(height, nonce)
	fields, err := db.fields(ctx, key)
	if err != nil {
		return nil, err
	}
	shares := make(map[string]int64, len(fields))
	for login, text := range fields {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil || n < 0 || !util.IsLogin(login) {
			return nil, fmt.Errorf("%w: %s field %q = %q: want LOGIN → shares", ErrMalformed, key, login, text)
		}
		shares[login] = n
	}
	return shares, nil
}

// fields reads a large hash that nobody changes, without blocking Redis.
func (db *DB) fields(ctx context.Context, key string) (map[string]string, error) {
	fields := map[string]string{}
	err := db.eachField(ctx, key, func(field, value string) { fields[field] = value })
	return fields, err
}

// eachField calls each with every field of a hash, in no order, and reads some at a
// time. A field of one that changes meanwhile may come twice in a large hash.
func (db *DB) eachField(ctx context.Context, key string, each func(field, value string)) error {
	for cursor := uint64(0); ; {
		page, next, err := db.rdb.HScan(ctx, key, cursor, "", scanChunk).Result()
		if err != nil {
			return fmt.Errorf("read %s: %w", key, err)
		}
		for i := 0; i+1 < len(page); i += 2 {
			each(page[i], page[i+1])
		}
		if cursor = next; cursor == 0 {
			return nil
		}
	}
}

// Immature credits a candidate's miners and makes it an immature block. A
// candidate that the chain does not have is b = c.Block(), with the zero Split: it
// gets a row and credits nobody.
func (db *DB) Immature(ctx context.Context, c Candidate, b Block, s Split) error {
	return db.credit(ctx, "credit candidate "+c.id(), move{from: db.Keys.Candidates(), row: c.row(), id: c.id(), height: c.Height}, b, s)
}

// Relocate undoes the credits of an immature block that is not where it was, and
// credits it anew as b.
func (db *DB) Relocate(ctx context.Context, old, b Block, s Split) error {
	return db.credit(ctx, "relocate block "+old.id(), move{from: db.Keys.Immature(), row: old.row(), id: old.id(), height: old.Height, old: &old}, b, s)
}

// move is a row on its way.
type move struct {
	what       string
	from, to   string // zsets
	row, moved string // the row as it is and as it will be
	id         string // of the block: the field of its plan
	plan       string
	height     uint64 // in the name of the round
	old        *Block // whose credits are to be undone, or nil

	// Where credits are made: the fields of the splits to be and to be void, and
	// the keys of the block's credits, when it has them and before.
	split, void          string
	splits, made, making string
}

// credit is the common part of Immature and Relocate.
func (db *DB) credit(ctx context.Context, what string, m move, b Block, s Split) error {
	k := db.Keys
	m.what, m.to, m.moved, m.plan = what, k.Immature(), b.Row(), planLost
	m.splits, m.made, m.making = k.Splits(), k.Credits(b.Height, b.Hash), k.CreditsImmature(b.Height, b.Hash)
	text := ""
	if b.Hash != noHash {
		if err := s.check(); err != nil {
			return fmt.Errorf("%s: %w", what, err)
		}
		m.plan, m.split, text = s.plan(b), b.split(), s.String()
	} else if len(s.Credits) > 0 || !b.Orphan || b.Height != m.height {
		return fmt.Errorf("%s: %w: credits without a block", what, ErrSplit)
	}
	if m.old != nil {
		m.void = m.old.split()
	}
	done, err := db.begin(ctx, m)
	if err != nil || done {
		return err
	}
	if m.old != nil {
		if err := db.undo(ctx, m, m.plan, k.CreditsImmature(m.old.Height, m.old.Hash)); err != nil {
			return err
		}
	}
	for logins := range slices.Chunk(slices.Sorted(maps.Keys(s.Credits)), creditChunk) {
		keys, args := []string{k.Plans(), m.making, k.Finances()}, []any{m.id, m.plan}
		for _, login := range logins {
			keys, args = append(keys, k.Miner(login)), append(args, login, s.Credits[login].String())
		}
		if _, _, err := db.verb(ctx, what, immatureCreditScript, keys, args...); err != nil {
			return err
		}
	}
	_, _, err = db.verb(ctx, what, immatureRowScript,
		[]string{m.from, m.to, k.Plans(), k.Splits(), k.Round(m.height, b.Nonce), k.Round(b.Height, b.Nonce), m.making},
		m.row, m.moved, m.id, m.plan, b.Height, len(s.Credits), m.split, text, m.void)
	return err
}

// Mature turns the immature credits of a block into balances. Once it was begun
// it must be finished, for some of the money may have been paid out already. now
// is in unix seconds.
func (db *DB) Mature(ctx context.Context, b Block, now int64) error {
	k := db.Keys
	if b.Orphan || b.Hash == noHash {
		return fmt.Errorf("mature block %s: %w: the chain does not have it", b.id(), ErrConflict)
	}
	reward, _, err := util.ShannonFromWei(b.RewardWei)
	if err != nil {
		return fmt.Errorf("mature block %s: %w", b.id(), err)
	}
	m := move{what: "mature block " + b.id(), from: k.Immature(), to: k.Matured(), row: b.row(), moved: b.row(), id: b.id(), plan: BegunMature}
	done, err := db.begin(ctx, m)
	if err != nil || done {
		return err
	}
	immature, credits := k.CreditsImmature(b.Height, b.Hash), k.Credits(b.Height, b.Hash)
	if err := db.eachLogin(ctx, m, immature, []string{k.Plans(), immature, credits, k.Finances()}, matureCreditScript, m.plan); err != nil {
		return err
	}
	_, _, err = db.verb(ctx, m.what, matureRowScript,
		[]string{m.from, m.to, k.Plans(), immature, credits, k.CreditsAll(), k.Finances(), k.Round(b.Height, b.Nonce), k.Splits()},
		m.row, m.moved, m.id, m.plan, b.Height, b.Hash, fmt.Sprintf("%s:%d:%s", b.Hash, now, b.RewardWei), reward.String(), b.split())
	return err
}

// Orphan undoes an immature block's credits and gives the round's shares to the
// current round, so that nobody's work is lost. Once it was begun it must be
// finished.
func (db *DB) Orphan(ctx context.Context, b Block) error {
	k := db.Keys
	m := move{what: "orphan block " + b.id(), from: k.Immature(), to: k.Matured(), row: b.row(), moved: b.lost().Row(), id: b.id(), plan: BegunOrphan}
	done, err := db.begin(ctx, m)
	if err != nil || done {
		return err
	}
	immature, round := k.CreditsImmature(b.Height, b.Hash), k.Round(b.Height, b.Nonce)
	if err := db.undo(ctx, m, m.plan, immature); err != nil {
		return err
	}
	fields, err := db.fields(ctx, round)
	if err != nil {
		return fmt.Errorf("%s: %w", m.what, err)
	}
	for logins := range slices.Chunk(slices.Sorted(maps.Keys(fields)), creditChunk) {
		args := []any{m.id, m.plan}
		for _, login := range logins {
			args = append(args, login)
		}
		if _, _, err := db.verb(ctx, m.what, orphanSharesScript, []string{k.Plans(), round, k.RoundCurrent(), k.Stats()}, args...); err != nil {
			return err
		}
	}
	_, _, err = db.verb(ctx, m.what, orphanRowScript, []string{m.from, m.to, k.Plans(), k.Splits(), immature, round},
		m.row, m.moved, m.id, m.plan, b.Height, b.split())
	return err
}

// begin writes the plan down. Half made credits of another plan are undone first.
// done says that the row has moved already.
func (db *DB) begin(ctx context.Context, m move) (done bool, err error) {
	plans := db.Keys.Plans()
	was, credits := "", plans
	for {
		keys := []string{m.from, m.to, plans, credits}
		if m.split != "" {
			keys = append(keys, m.splits, m.made, m.making)
		}
		code, open, err := db.verb(ctx, m.what, beginScript, keys, m.row, m.moved, m.id, m.plan, was, m.split, m.void)
		if err != nil || code != "OTHER" {
			return code == "ALREADY", err
		}
		place, _, _ := cutLast(strings.TrimPrefix(open, planCredit))
		height, hash, ok := strings.Cut(place, ":")
		n, bad := strconv.ParseUint(height, 10, 64)
		switch {
		case open == planLost:
			was = open
		case !strings.HasPrefix(open, planCredit) || !ok || bad != nil || m.plan == BegunMature || open == was:
			return false, fmt.Errorf("%s: %w: %s field %s = %q is to be finished first", m.what, ErrConflict, plans, m.id, open)
		default:
			was, credits = open, db.Keys.CreditsImmature(n, hash)
			if err := db.undo(ctx, m, open, credits); err != nil {
				return false, err
			}
		}
	}
}

// cutLast cuts at the last colon.
func cutLast(s string) (before, after string, found bool) {
	i := strings.LastIndex(s, ":")
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+1:], true
}

// undo takes immature credits back. plan is the one that is open.
func (db *DB) undo(ctx context.Context, m move, plan, credits string) error {
	return db.eachLogin(ctx, m, credits, []string{db.Keys.Plans(), credits, db.Keys.Finances()}, orphanUndoScript, plan)
}

// eachLogin runs a script for all logins that a hash of credits has, some at a time.
func (db *DB) eachLogin(ctx context.Context, m move, credits string, fixed []string, script, plan string) error {
	fields, err := db.fields(ctx, credits)
	if err != nil {
		return fmt.Errorf("%s: %w", m.what, err)
	}
	for logins := range slices.Chunk(slices.Sorted(maps.Keys(fields)), creditChunk) {
		keys, args := slices.Clone(fixed), []any{m.id, plan}
		for _, login := range logins {
			keys, args = append(keys, db.Keys.Miner(login)), append(args, login)
		}
		if _, _, err := db.verb(ctx, m.what, script, keys, args...); err != nil {
			return err
		}
	}
	return nil
}

// verb runs one script and reads { code, detail }.
func (db *DB) verb(ctx context.Context, what, script string, keys []string, args ...any) (code, detail string, err error) {
	reply, err := db.rdb.Eval(ctx, script, keys, args...).StringSlice()
	if err != nil {
		return "", "", fmt.Errorf("%s: %w", what, err)
	}
	if len(reply) != 2 {
		return "", "", fmt.Errorf("%s: %w: reply %q", what, ErrMalformed, reply)
	}
	switch code, detail = reply[0], reply[1]; code {
	case "OK", "ALREADY", "OTHER":
		return code, detail, nil
	case "CONFLICT":
		return code, "", fmt.Errorf("%s: %w: %s", what, ErrConflict, detail)
	default:
		return "", "", fmt.Errorf("%s: %w: reply %q", what, ErrMalformed, code)
	}
}
