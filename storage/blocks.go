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
