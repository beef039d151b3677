package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

// What the notify module reads to find out what is new, and the small hash per hook
// in which it remembers what the hook was told. Nothing here touches the payments
// lock or any other key.

// NewsBlocks is how many of the newest blocks are read.
const NewsBlocks = 200

// News is what there is to tell about the pool.
type News struct {
	Meta    Meta
	Totals  Miner // of all miners
	Skipped int64 // miners who were due and whom the last session did not pay
	Blocks  []Find
}

// Find is a block that was found, wherever its row is now.
type Find struct {
	Mark       Mark
	Height     uint64 // that was worked on, or where the chain has the block
	Difficulty int64  // of the network
	Shares     int64  // sum of the share difficulties of the round
}

// Mark names a found block, the same in every row it ever has.
type Mark struct {
	Time  int64  // unix seconds, when it was found
	Nonce string // 0x and 16 hex digits
}

// Compare orders blocks by the time they were found.
func (m Mark) Compare(o Mark) int {
	return cmp.Or(cmp.Compare(m.Time, o.Time), strings.Compare(m.Nonce, o.Nonce))
}

// MarshalText writes TIME:NONCE.
func (m Mark) MarshalText() ([]byte, error) { return fmt.Appendf(nil, "%d:%s", m.Time, m.Nonce), nil }

// UnmarshalText reads what MarshalText wrote.
func (m *Mark) UnmarshalText(text []byte) error {
	at, nonce, ok := strings.Cut(string(text), ":")
	n, err := strconv.ParseInt(at, 10, 64)
	if !ok || err != nil {
		return fmt.Errorf("%q: want TIME:NONCE", text)
	}
	*m = Mark{Time: n, Nonce: nonce}
	return nil
}

// News reads what there is to tell: of the blocks the newest [NewsBlocks], newest
// first. Rows that cannot be read are left out; the API tells of them.
func (db *DB) News(ctx context.Context) (News, error) {
	meta, err := db.Meta(ctx)
	if err != nil {
		return News{}, err
	}
	k := db.Keys
	var finances *redis.SliceCmd
	var skipped *redis.IntCmd
	var candidates, immature, matured *redis.ZSliceCmd
	// At one moment, for a block moves from one list to the next.
	if _, err := db.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		finances, skipped = p.HMGet(ctx, k.Finances(), "balance", "pending", "paid", "immature"), p.HLen(ctx, k.Skipped())
		candidates = p.ZRevRangeWithScores(ctx, k.Candidates(), 0, NewsBlocks-1)
		immature = p.ZRevRangeWithScores(ctx, k.Immature(), 0, NewsBlocks-1)
		matured = p.ZRevRangeWithScores(ctx, k.Matured(), 0, NewsBlocks-1)
		return nil
	}); err != nil {
		return News{}, fmt.Errorf("read what is new: %w", err)
	}
	n := News{Meta: meta, Skipped: skipped.Val()}
	if n.Totals, err = parseMiner(k.Finances(), "", finances); err != nil {
		return News{}, err
	}
	var bad []error
	for _, c := range parseRows(&bad, k.Candidates(), candidates.Val(), parseCandidate) {
		n.Blocks = append(n.Blocks, Find{Mark: Mark{c.Time, c.Nonce}, Height: c.Height, Difficulty: c.Difficulty, Shares: c.Shares})
	}
	for _, b := range append(parseRows(&bad, k.Immature(), immature.Val(), parseBlock), parseRows(&bad, k.Matured(), matured.Val(), parseBlock)...) {
		n.Blocks = append(n.Blocks, Find{Mark: Mark{b.Time, b.Nonce}, Height: b.Height, Difficulty: b.Difficulty, Shares: b.Shares})
	}
	slices.SortFunc(n.Blocks, func(a, b Find) int { return b.Mark.Compare(a.Mark) })
	n.Blocks = slices.CompactFunc(n.Blocks, func(a, b Find) bool { return a.Mark == b.Mark })
	n.Blocks = n.Blocks[:min(len(n.Blocks), NewsBlocks)]
	return n, nil
}

// Notices is what one hook was told. The zero value is a hook that is new.
type Notices struct {
	Session             string      // the id of the last session told; empty while none was looked at
	Halt, Wallet, Audit Standing    // what lasts
	Blocks              *BlocksTold // nil while none was looked at
}

// Equal says whether both are the same.
func (n Notices) Equal(o Notices) bool { return reflect.DeepEqual(n, o) }

// How far the news of something that lasts has come, see [Standing].
const (
	StandingNone   = ""       // it is not, or its end was told
	StandingBegun  = "begun"  // its beginning may have been told
	StandingTold   = "told"   // its beginning was told
	StandingEnding = "ending" // its end may have been told
)

// Standing is something that lasts, as a halt, in the view of one hook.
type Standing struct {
	State string `json:"state"`
	Key   string `json:"key"`   // what it is; another key is another news
	ID    string `json:"id"`    // of the news of its beginning
	Since int64  `json:"since"` // unix seconds, when it was first seen
}

// BlocksTold are the blocks that a hook was told of, newest first. Those up to
// After are not told any more.
type BlocksTold struct {
	After Mark   `json:"after"`
	Told  []Mark `json:"told"`
}

// The fields of a hook's hash.
const (
	noticeSession = "session"
	noticeHalt    = "halt"
	noticeWallet  = "wallet"
	noticeAudit   = "audit"
	noticeBlocks  = "blocks"
)

// Notices reads what the hook was told.
func (db *DB) Notices(ctx context.Context, hook string) (Notices, error) {
	key := db.Keys.Notify(hook)
	m, err := db.rdb.HGetAll(ctx, key).Result()
	if err != nil {
		return Notices{}, fmt.Errorf("read %s: %w", key, err)
	}
	n := Notices{Session: m[noticeSession]}
	var errs []error
	for field, into := range map[string]any{noticeHalt: &n.Halt, noticeWallet: &n.Wallet, noticeAudit: &n.Audit, noticeBlocks: &n.Blocks} {
		if text := m[field]; text != "" {
			if err := json.Unmarshal([]byte(text), into); err != nil {
				errs = append(errs, fmt.Errorf("%w: %s field %s = %q: %w", ErrMalformed, key, field, text, err))
			}
		}
	}
	return n, errors.Join(errs...)
}

// SetNotices writes down what the hook was told, in place of what was there.
func (db *DB) SetNotices(ctx context.Context, hook string, n Notices) error {
	key := db.Keys.Notify(hook)
	fields := []any{}
	if n.Session != "" {
		fields = append(fields, noticeSession, n.Session)
	}
	add := func(field string, there bool, v any) error {
		if !there {
			return nil
		}
		text, err := json.Marshal(v)
		fields = append(fields, field, text)
		return err
	}
	if err := errors.Join(add(noticeHalt, n.Halt != Standing{}, n.Halt), add(noticeWallet, n.Wallet != Standing{}, n.Wallet),
		add(noticeAudit, n.Audit != Standing{}, n.Audit), add(noticeBlocks, n.Blocks != nil, n.Blocks)); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	if _, err := db.rdb.TxPipelined(ctx, func(p redis.Pipeliner) error {
		p.Del(ctx, key)
		if len(fields) > 0 {
			p.HSet(ctx, key, fields...)
		}
		return nil
	}); err != nil {
		return fmt.Errorf("write %s: %w", key, err)
	}
	return nil
}
