package storage

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"github.com/redis/go-redis/v9"
)

// What an operator can say about payouts while they run, see [Act].
const (
	ActHold    = "hold"    // do not pay the login
	ActRelease = "release" // pay it again
	ActPause   = "pause"   // pay nobody; what is under way goes on
	ActResume  = "resume"  // go on
	ActNote    = "note"    // anything else that an operator did by a verb
)

// Act is one thing that an operator said, with who and why. Acts are kept in order
// for ever, in Redis and in the journal.
type Act struct {
	Verb   string `json:"verb"`
	Login  string `json:"login,omitempty"` // as stored
	What   string `json:"what,omitempty"`  // of a note
	User   string `json:"user"`            // of the operating system
	Reason string `json:"reason"`
	Time   int64  `json:"time"` // unix seconds
}

var controlLua = redis.NewScript(plainScript("control"))

// Control writes an act down and heeds it. It moves no money.
func (db *DB) Control(ctx context.Context, a Act) error {
	_, err := db.control(ctx, a, "")
	return err
}

// ControlAgain is Control for an act that Redis forgot: it does nothing when there
// are not exactly n acts before it.
func (db *DB) ControlAgain(ctx context.Context, n int64, a Act) error {
	_, err := db.control(ctx, a, strconv.FormatInt(n, 10))
	return err
}

func (db *DB) control(ctx context.Context, a Act, n string) (int64, error) {
	text, err := json.Marshal(a)
	if err != nil {
		return 0, fmt.Errorf("write down %s: %w", a.Verb, err)
	}
	why := a.Reason
	if why == "" {
		why = "paused by the operator"
	}
	k := db.Keys
	count, err := controlLua.Run(ctx, db.rdb, []string{k.Acts(), k.Holds(), k.Meta()}, text, a.Verb, a.Login, n, why).Int64()
	if err != nil {
		return 0, fmt.Errorf("write down %s: %w", a.Verb, err)
	}
	return count, nil
}

// Acts reads what operators said, from the n-th act on.
func (db *DB) Acts(ctx context.Context, n int64) ([]Act, error) {
	key := db.Keys.Acts()
	texts, err := db.rdb.LRange(ctx, key, n, -1).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	acts := make([]Act, len(texts))
	for i, text := range texts {
		if err := json.Unmarshal([]byte(text), &acts[i]); err != nil {
			return nil, fmt.Errorf("%w: %s entry %d = %q: %w", ErrMalformed, key, n+int64(i), text, err)
		}
	}
	return acts, nil
}

// ActCount is how many acts there are.
func (db *DB) ActCount(ctx context.Context) (int64, error) {
	n, err := db.rdb.LLen(ctx, db.Keys.Acts()).Result()
	if err != nil {
		return 0, fmt.Errorf("read %s: %w", db.Keys.Acts(), err)
	}
	return n, nil
}

// Holds reads who is not to be paid, and why, by login as stored. What cannot be
// read is an ErrMalformed beside the rest, and held as well.
func (db *DB) Holds(ctx context.Context) (map[string]Act, error) {
	key := db.Keys.Holds()
	m, err := db.rdb.HGetAll(ctx, key).Result()
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", key, err)
	}
	holds, err := jsonFields[Act](key, m)
	for login := range m {
		if _, ok := holds[login]; !ok {
			holds[login] = Act{Verb: ActHold, Login: login} // whatever it says, it says that
		}
	}
	return holds, err
}
