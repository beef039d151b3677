package storage

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

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
