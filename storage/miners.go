package storage

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Account is a miner with money on the balance.
type Account struct {
	Login   string
	Balance util.Shannon
}

// Balances calls each with every miner that the books know, in no order. Rows
// that do not parse come back as errors beside the rest.
func (db *DB) Balances(ctx context.Context, each func(Miner)) ([]error, error) {
	logins, bad, err := db.Logins(ctx)
	if err != nil {
		return nil, err
	}
	for part := range slices.Chunk(logins, 1000) {
		cmds := make([]*redis.SliceCmd, len(part))
		// The pipeline's own error is the first of its commands' errors, and a
		// row of the wrong type fails alone.
		_, _ = db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
			for i, login := range part {
				cmds[i] = p.HMGet(ctx, db.Keys.Miner(login), "balance", "pending", "paid", "immature")
			}
			return nil
		})
		for i, login := range part {
			if err := cmds[i].Err(); err != nil && !isWrongType(err) {
				return nil, fmt.Errorf("read %s: %w", db.Keys.Miner(login), err)
			}
			m, err := parseMiner(db.Keys.Miner(login), login, cmds[i])
			if err != nil {
				bad = append(bad, err)
				continue
			}
			each(m)
		}
	}
	return bad, nil
}

// Miner is the money side of one miner's row.
type Miner struct {
	Login    string       `json:"login,omitempty"`
	Balance  util.Shannon `json:"balance"`
	Pending  util.Shannon `json:"pending"`
	Paid     util.Shannon `json:"paid"`
	Immature util.Shannon `json:"immature"`
}

func parseMiner(key, login string, cmd *redis.SliceCmd) (Miner, error) {
	vs, err := cmd.Result()
	if err != nil {
		return Miner{}, fmt.Errorf("%w: read %s: %w", ErrMalformed, key, err)
	}
	names := []string{"balance", "pending", "paid", "immature"}
	r := row{key: key, m: make(map[string]string, len(names))}
	for i, v := range vs {
		if s, ok := v.(string); ok {
			r.m[names[i]] = s
		}
	}
	m := Miner{Login: login, Balance: r.shannonOr0("balance"), Pending: r.shannonOr0("pending"),
		Paid: r.shannonOr0("paid"), Immature: r.shannonOr0("immature")}
	return m, r.err
}

// Miner reads one miner's row; ErrNotFound when there is none.
func (db *DB) Miner(ctx context.Context, login string) (Miner, error) {
	key := db.Keys.Miner(login)
	var exists *redis.IntCmd
	var cmd *redis.SliceCmd
	if _, err := db.rdb.Pipelined(ctx, func(p redis.Pipeliner) error {
		exists = p.Exists(ctx, key)
		cmd = p.HMGet(ctx, key, "balance", "pending", "paid", "immature")
		return nil
	}); err != nil && !isWrongType(err) {
		return Miner{}, fmt.Errorf("read %s: %w", key, err)
	}
	if exists.Val() == 0 {
		return Miner{}, fmt.Errorf("miner %s: %w", login, ErrNotFound)
	}
	return parseMiner(key, login, cmd)
}

// isWrongType says that the key is there and is something else than asked for.
// Every other error, such as a Redis that is still loading, means that nothing
// was read.
func isWrongType(err error) bool { return redis.HasErrorPrefix(err, "WRONGTYPE") }

// Due reads the miners whose balance is at least min, the smallest balance
// first. Rows that do not parse come back as errors beside the rest.
func (db *DB) Due(ctx context.Context, min util.Shannon) ([]Account, []error, error) {
	prefix := db.Keys.Miner("")
	var mu sync.Mutex // of the two below: a cluster is scanned shard by shard, at once
	var due []Account
	var bad []error
	err := db.eachNode(ctx, func(ctx context.Context, c redis.Cmdable) error {
		for cursor := "0"; ; {
			reply, err := c.Eval(ctx, dueScript, nil, cursor, globEscape(prefix)+"*", scanCount, int64(min)).Slice()
			if err != nil {
				return err
			}
			mu.Lock()
			cursor, err = parseDue(reply, prefix, &due, &bad)
			mu.Unlock()
			if err != nil || cursor == "0" {
				return err
			}
		}
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list who is due: %w", err)
	}
	// SCAN may show a key twice, before and after a credit: the later reading counts.
	slices.Reverse(due)
	slices.SortStableFunc(due, func(a, b Account) int { return strings.Compare(a.Login, b.Login) })
	due = slices.CompactFunc(due, func(a, b Account) bool { return a.Login == b.Login })
	slices.SortStableFunc(due, func(a, b Account) int { return cmp.Compare(a.Balance, b.Balance) })
	slices.SortFunc(bad, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return due, bad, nil
}

// parseDue reads one page of the script's answer.
func parseDue(reply []any, prefix string, due *[]Account, bad *[]error) (next string, err error) {
	malformed := fmt.Errorf("%w: list of who is due", ErrMalformed)
	if len(reply) != 3 {
		return "", malformed
	}
	next, ok1 := reply[0].(string)
	rows, ok2 := reply[1].([]any)
	unread, ok3 := reply[2].([]any)
	if !ok1 || !ok2 || !ok3 || len(rows)%2 != 0 {
		return "", malformed
	}
	for i := 0; i < len(rows); i += 2 {
		key, _ := rows[i].(string)
		text, _ := rows[i+1].(string)
		login := strings.TrimPrefix(key, prefix)
		balance, err := util.ParseShannon(text)
		if err == nil {
			_, err = util.ParseLogin(login)
		}
		if err != nil {
			*bad = append(*bad, fmt.Errorf("%w: %s: %w", ErrMalformed, key, err))
			continue
		}
		*due = append(*due, Account{Login: login, Balance: balance})
	}
	for _, key := range unread {
		*bad = append(*bad, fmt.Errorf("%w: %v: want amounts in Shannon", ErrMalformed, key))
	}
	return next, nil
}

// Logins lists every miner that has a row, once each, in order. Keys whose
// login is no address come back as errors beside the rest.
func (db *DB) Logins(ctx context.Context) ([]string, []error, error) {
	prefix := db.Keys.Miner("")
	var mu sync.Mutex // of the two below: a cluster is scanned shard by shard, at once
	var logins []string
	var bad []error
	err := db.eachNode(ctx, func(ctx context.Context, c redis.Cmdable) error {
		it := c.Scan(ctx, 0, globEscape(prefix)+"*", scanCount).Iterator()
		for it.Next(ctx) {
			login := strings.TrimPrefix(it.Val(), prefix)
			mu.Lock()
			if util.IsLogin(login) {
				logins = append(logins, login)
			} else {
				bad = append(bad, fmt.Errorf("%w: %s: %w", ErrMalformed, it.Val(), util.ErrLogin))
			}
			mu.Unlock()
		}
		return it.Err()
	})
	if err != nil {
		return nil, nil, fmt.Errorf("list miners: %w", err)
	}
	slices.Sort(logins)
	return slices.Compact(logins), bad, nil
}

func (db *DB) eachNode(ctx context.Context, do func(context.Context, redis.Cmdable) error) error {
	if c, ok := db.rdb.(*redis.ClusterClient); ok {
		return c.ForEachMaster(ctx, func(ctx context.Context, node *redis.Client) error { return do(ctx, node) })
	}
	return do(ctx, db.rdb)
}

// globEscape makes text match itself in a Redis pattern.
func globEscape(s string) string {
	return strings.NewReplacer(`\`, `\\`, `*`, `\*`, `?`, `\?`, `[`, `\[`, `]`, `\]`).Replace(s)
}

// Finances reads the pool's totals.
func (db *DB) Finances(ctx context.Context) (Miner, error) {
	cmd := db.rdb.HMGet(ctx, db.Keys.Finances(), "balance", "pending", "paid", "immature")
	if err := cmd.Err(); err != nil && !isWrongType(err) {
		return Miner{}, fmt.Errorf("read %s: %w", db.Keys.Finances(), err)
	}
	return parseMiner(db.Keys.Finances(), "", cmd)
}
