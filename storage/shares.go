package storage

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/redis/go-redis/v9"
)

// Share is a piece of work that was verified.
type Share struct {
	Login, Worker string
	Difficulty    int64  // hashes that it stands for
	Height        uint64 // that was worked on
	// Nonce, Header and Mix are 0x and lower-case hex; together they tell shares
	// apart.
	Nonce, Header, Mix string
}

// Batch is what a proxy counts at once.
type Batch struct {
	Proxy  string // one process's own name, never used by another
	Number uint64 // one more than that of the batch before
	Time   time.Time
	Oldest uint64        // height below which no share is accepted any more
	Keep   time.Duration // of statistics
	Shares []Share
}

// Count counts the batch and says of each share whether it does, or is a
// duplicate of one that was counted, here or by another proxy. After an error
// the batch may have been counted or not; the same batch is counted once however
// often it is repeated.
func (db *DB) Count(ctx context.Context, b Batch) ([]bool, error) {
	k := db.Keys
	now := b.Time.Unix()
	keys := []string{k.Pow(), k.RoundCurrent(), k.Stats(), k.Batch(b.Proxy), k.Work(now / 60)}
	args := append(make([]any, 0, 4+6*len(b.Shares)), b.Number, now, b.Oldest, int64(b.Keep/time.Second))
	numbers := map[string]int{}
	for _, s := range b.Shares {
		n, known := numbers[s.Login]
		if !known {
			n = len(numbers) + 1
			numbers[s.Login] = n
			keys = append(keys, k.Miner(s.Login), k.Workers(s.Login))
		}
		args = append(args, n, s.Login, s.Worker, s.Difficulty, s.Height, s.Nonce+":"+s.Header+":"+s.Mix)
	}
	verdicts, err := sharesLua.Run(ctx, db.rdb, keys, args...).Text()
	if err != nil {
		return nil, fmt.Errorf("count %d shares: %w", len(b.Shares), err)
	}
	if len(verdicts) != len(b.Shares) {
		return nil, fmt.Errorf("count %d shares: %w: %d verdicts", len(b.Shares), ErrMalformed, len(verdicts))
	}
	counted := make([]bool, len(verdicts))
	for i := range verdicts {
		counted[i] = verdicts[i] == '1'
	}
	return counted, nil
}

// Scripts that carry no money are run by their digest, which saves sending them.
var (
	sharesLua     = redis.NewScript(plainScript("shares"))
	foundLua      = redis.NewScript(plainScript("found"))
	extranonceLua = redis.NewScript(plainScript("extranonce"))
)

// plainScript is a script that does not take part in the payments lock.
func plainScript(name string) string {
	src, err := luaFiles.ReadFile("lua/" + name + ".lua")
	if err != nil {
		panic(err) // the file is part of the binary
	}
	return string(src)
}

// FoundBlock is a share that is a block as well.
type FoundBlock struct {
	Share
	Time       int64 // unix seconds
	Difficulty int64 // of the block
}

// Found writes the block down as a candidate for the unlocker and begins a new
// round. The round of a block without any share is its finder's. It may be repeated; fresh says whether it was the first time.
func (db *DB) Found(ctx context.Context, b FoundBlock) (fresh bool, err error) {
	k := db.Keys
	keys := []string{k.Found(), k.RoundCurrent(), k.Round(b.Height, b.Nonce), k.Candidates(), k.Stats(), k.Finders(), k.Miner(b.Login)}
	member := strings.Join([]string{b.Nonce, b.Header, b.Mix, strconv.FormatInt(b.Time, 10), strconv.FormatInt(b.Difficulty, 10)}, ":")
	n, err := foundLua.Run(ctx, db.rdb, keys, fmt.Sprintf("%d:%s", b.Height, b.Nonce), b.Time, b.Height, member, b.Login, b.Share.Difficulty).Int()
	if err != nil {
		return false, fmt.Errorf("write down the block found at height %d with nonce %s: %w", b.Height, b.Nonce, err)
	}
	return n == 1, nil
}

// ErrNoExtranonce reports that every extranonce belongs to a proxy at work.
var ErrNoExtranonce = errors.New("no extranonce is free")

// Extranonces keeps a proxy's prefixes for another ttl and returns those that
// were lost to another proxy because they had expired. With more it also takes
// one, looking from the byte begin on, or returns [ErrNoExtranonce]. The time is
// Redis'.
func (db *DB) Extranonces(ctx context.Context, proxy string, ttl time.Duration, have []byte, more bool, begin byte) (taken byte, lost []byte, err error) {
	args := []any{proxy, int64(ttl / time.Second), more, begin}
	for _, prefix := range have {
		args = append(args, prefix)
	}
	reply, err := extranonceLua.Run(ctx, db.rdb, []string{db.Keys.Extranonces()}, args...).Int64Slice()
	if err != nil {
		return 0, nil, fmt.Errorf("lease extranonces: %w", err)
	}
	for _, prefix := range reply[1:] {
		lost = append(lost, byte(prefix))
	}
	if more && reply[0] < 0 {
		return 0, lost, ErrNoExtranonce
	}
	return byte(max(0, reply[0])), lost, nil
}

// NodeState is what a proxy knows about the node it takes work from.
type NodeState struct {
	Name       string
	Height     uint64
	Difficulty int64
	LastBeat   int64 // unix seconds
}

// ReportNode shows a proxy's node to the statistics.
func (db *DB) ReportNode(ctx context.Context, s NodeState) error {
	err := db.rdb.HSet(ctx, db.Keys.Nodes(), s.Name+":name", s.Name, s.Name+":height", s.Height,
		s.Name+":difficulty", s.Difficulty, s.Name+":lastBeat", s.LastBeat).Err()
	if err != nil {
		return fmt.Errorf("report node %s: %w", s.Name, err)
	}
	return nil
}

// Lists are the logins that may not mine and the IPs that are never banned.
func (db *DB) Lists(ctx context.Context) (blacklist, whitelist []string, err error) {
	var black, white *redis.StringSliceCmd
	_, err = db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		black, white = p.SMembers(ctx, db.Keys.Blacklist()), p.SMembers(ctx, db.Keys.Whitelist())
		return nil
	})
	if err != nil {
		return nil, nil, fmt.Errorf("read black and white list: %w", err)
	}
	return black.Val(), white.Val(), nil
}

// Ping asks Redis for a sign of life.
func (db *DB) Ping(ctx context.Context) error { return db.rdb.Ping(ctx).Err() }
