package storage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// What an audit can look at.
const (
	LookedRedis   = "redis"
	LookedJournal = "journal"
	LookedChain   = "chain"
)

// Report is what an audit found. The books add up when Findings is empty, as far as
// was Looked.
type Report struct {
	Miners   int       `json:"miners"`
	Payments int       `json:"payments"` // of this ledger
	Open     int       `json:"open"`
	History  int       `json:"history"` // rows
	Blocks   int       `json:"blocks"`  // whose reward was divided
	Totals   Miner     `json:"totals"`  // sums over the miners
	Findings []Finding `json:"findings"`
	// Notes are differences that were there before this ledger began, and why what is
	// Missed was not looked at; they are printed always and break nothing.
	Notes  []string `json:"notes"`
	Looked []string `json:"looked"`           // redis, journal, chain
	Missed []string `json:"missed,omitempty"` // what could not be looked at
	// ByHand are the rows of the history since this ledger began that no payment made:
	// people recorded or typed them. Only the chain knows whether they are true.
	ByHand []Paid `json:"-"`
}

// Finding is one row that breaks one equation.
type Finding struct {
	Key      string `json:"key"`      // the row
	Equation string `json:"equation"` // what should hold
	Got      string `json:"got"`      // what is there
	Do       string `json:"do"`       // what the operator does about it
	// Off is by how much a miner has more than blocks brought him; of other findings 0.
	Off util.Shannon `json:"off,omitempty"`
}

// Clean says whether everything adds up.
func (r Report) Clean() bool { return len(r.Findings) == 0 }

// Print writes the report for people.
func (r Report) Print(out io.Writer) {
	fmt.Fprintf(out, "audited %d miners, %d payments of this ledger (%d open), %d rows of history, %d rewards\n", r.Miners, r.Payments, r.Open, r.History, r.Blocks)
	fmt.Fprintf(out, "totals: immature %s, balance %s, pending %s, paid %s coins\n", r.Totals.Immature.Coins(), r.Totals.Balance.Coins(), r.Totals.Pending.Coins(), r.Totals.Paid.Coins())
	const most = 50
	for _, n := range r.Notes[:min(len(r.Notes), most)] {
		fmt.Fprintf(out, "note: %s\n", n)
	}
	if len(r.Notes) > most {
		fmt.Fprintf(out, "note: and %d more, which --json has\n", len(r.Notes)-most)
	}
	for _, f := range r.Findings[:min(len(r.Findings), most)] {
		fmt.Fprintf(out, "WRONG %s: %s, but %s\n      %s\n", f.Key, f.Equation, f.Got, f.Do)
	}
	if len(r.Looked) > 0 {
		fmt.Fprintf(out, "looked at: %s\n", strings.Join(r.Looked, ", "))
	}
	if len(r.Missed) > 0 {
		fmt.Fprintf(out, "NOT looked at: %s\n", strings.Join(r.Missed, ", "))
	}
	switch {
	case !r.Clean():
		fmt.Fprintf(out, "%d rows are wrong; --json has all of them\n", len(r.Findings))
	case len(r.Missed) > 0:
		fmt.Fprintln(out, "the books add up as far as was looked")
	default:
		fmt.Fprintln(out, "the books add up")
	}
}

// Note adds a note, once.
func (r *Report) Note(format string, args ...any) {
	if note := fmt.Sprintf(format, args...); !slices.Contains(r.Notes, note) {
		r.Notes = append(r.Notes, note)
	}
}

// Add is this report with what another part of the audit found.
func (r *Report) Add(part Report) {
	r.Findings = append(r.Findings, part.Findings...)
	r.Notes = append(r.Notes, part.Notes...)
	r.Looked = append(r.Looked, part.Looked...)
	r.Missed = append(r.Missed, part.Missed...)
}

// mostFindings bounds a report: of books that are all wrong one learns no more.
const mostFindings = 10_000

// Wrong adds a finding.
func (r *Report) Wrong(key, equation, do, format string, args ...any) {
	if len(r.Findings) == mostFindings {
		r.Note("there are more findings than %d; the others are left out", mostFindings)
	}
	if len(r.Findings) >= mostFindings {
		return
	}
	r.Findings = append(r.Findings, Finding{Key: key, Equation: equation, Got: fmt.Sprintf(format, args...), Do: do})
}

// Twice audits once more when there are findings: a pool at work may have moved
// money between two readings. What is really wrong is wrong twice, in the same words.
func Twice(ctx context.Context, audit func(context.Context) (Report, error)) (Report, error) {
	first, err := audit(ctx)
	if err != nil || first.Clean() {
		return first, err
	}
	again, err := audit(ctx)
	if err != nil {
		return again, err
	}
	again.Findings = slices.DeleteFunc(again.Findings, func(f Finding) bool { return !slices.Contains(first.Findings, f) })
	return again, nil
}

// Audited is how far audits have seen that the chain bears the ledger out, so that the
// next one need not begin with the first payment.
type Audited struct {
	Account common.Address `json:"account"`
	Block   uint64         `json:"block"` // up to and with this one
	Hash    common.Hash    `json:"hash"`
	Nonce   uint64         `json:"nonce"`   // the account's next one after the block
	Settled uint64         `json:"settled"` // the first one of which the ledger may still say something else
	// BalanceWei is the account's after the block, or what it must have at least; nil
	// while no node could say.
	BalanceWei *big.Int `json:"balanceWei"`
}

// Audited reads it; nil when there is none.
func (db *DB) Audited(ctx context.Context) (*Audited, error) {
	text, err := db.rdb.HGet(ctx, db.Keys.Meta(), "auditChain").Result()
	if errors.Is(err, redis.Nil) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", db.Keys.Meta(), err)
	}
	a := new(Audited)
	if err := json.Unmarshal([]byte(text), a); err != nil {
		return nil, fmt.Errorf("%w: %s field auditChain = %q: %w", ErrMalformed, db.Keys.Meta(), text, err)
	}
	return a, nil
}

// SaveAudit writes down what an audit came to and, unless nil, how far it saw the
// chain. now is in unix seconds. No money moves, so that it needs no lock.
func (db *DB) SaveAudit(ctx context.Context, now int64, r Report, seen *Audited) error {
	fields := []any{"auditTime", now, "auditFindings", len(r.Findings), "auditLooked", strings.Join(r.Looked, " ")}
	if seen != nil {
		text, err := json.Marshal(seen)
		if err != nil {
			return fmt.Errorf("write down the audit: %w", err)
		}
		fields = append(fields, "auditChain", text)
	}
	if err := db.rdb.HSet(ctx, db.Keys.Meta(), fields...).Err(); err != nil {
		return fmt.Errorf("write down the audit: %w", err)
	}
	return nil
}

// InHistory says whether the whole history has the row, as the pool writes it.
func (db *DB) InHistory(ctx context.Context, p Paid) (bool, error) {
	err := db.rdb.ZScore(ctx, db.Keys.PaymentsAll(), p.Hash.Hex()+":"+pendingRow(p.Login, p.Amount)).Err()
	if err != nil && !errors.Is(err, redis.Nil) {
		return false, fmt.Errorf("read %s: %w", db.Keys.PaymentsAll(), err)
	}
	return err == nil, nil
}

// rowOf finds a row of the whole history by its transaction, "" when there is none,
// and says how many rows there were to look at.
func (db *DB) rowOf(ctx context.Context, tx common.Hash) (row string, of int64, err error) {
	key := db.Keys.PaymentsAll()
	if of, err = db.rdb.ZCard(ctx, key).Result(); err != nil {
		return "", 0, fmt.Errorf("read %s: %w", key, err)
	}
	rows := db.rdb.ZScan(ctx, key, 0, tx.Hex()+":*", scanCount).Iterator()
	if rows.Next(ctx) {
		row = rows.Val()
	}
	if err := rows.Err(); err != nil {
		return "", 0, fmt.Errorf("read %s: %w", key, err)
	}
	return row, of, nil
}

// BlocksBetween reads the blocks whose reward was divided, immature and matured, from
// one height to another. Rows that do not parse are left out: the audit names them.
func (db *DB) BlocksBetween(ctx context.Context, from, to uint64) ([]Block, error) {
	var found []Block
	for _, key := range []string{db.Keys.Immature(), db.Keys.Matured()} {
		zs, err := db.rdb.ZRangeByScoreWithScores(ctx, key, &redis.ZRangeBy{Min: strconv.FormatUint(from, 10), Max: strconv.FormatUint(to, 10)}).Result()
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", key, err)
		}
		var bad []error
		found = append(found, parseRows(&bad, key, zs, parseBlock)...)
	}
	return found, nil
}
