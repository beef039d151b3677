package main

import (
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// What the verbs print with --json. Amounts are in Shannon, and in Wei where the
// name says so; times are unix seconds.

// print writes a value for programs.
func (a *app) print(v any) error { return json.NewEncoder(a.out).Encode(v) }

// errorView is what went wrong.
type errorView struct {
	Error  string `json:"error"`
	Reason string `json:"reason,omitempty"` // why payouts are halted, in a word
}

func errorOf(err error) errorView {
	v := errorView{Error: err.Error()}
	var h *payouts.Halt
	if errors.As(err, &h) {
		v.Reason = h.Reason
	}
	return v
}

type hookView struct {
	Hook  string `json:"hook"`
	Taken bool   `json:"taken"`
	Error string `json:"error,omitempty"`
}

type runView struct {
	Due      int           `json:"due"`
	Paid     int           `json:"paid"`
	InFlight int           `json:"inFlight"`
	Amount   util.Shannon  `json:"amount"`
	NotPaid  []blockedView `json:"notPaid"`
	SetAside []string      `json:"setAside"`
}

func runOf(r payouts.Result) runView {
	v := runView{Due: r.Due, Paid: r.Paid, InFlight: r.InFlight, Amount: r.Amount, NotPaid: []blockedView{}, SetAside: texts(r.SetAside)}
	for _, s := range r.Skipped {
		v.NotPaid = append(v.NotPaid, blockedOf(s))
	}
	return v
}

type planView struct {
	Account     string        `json:"account"`
	BalanceWei  *big.Int      `json:"balanceWei"`
	Head        uint64        `json:"head"`
	NextNonce   uint64        `json:"nextNonce"`
	InFlight    int           `json:"inFlight"`
	Total       util.Shannon  `json:"total"`
	FeesWei     *big.Int      `json:"feesWei"` // at most
	NextSession int64         `json:"nextSession"`
	Reason      string        `json:"reason,omitempty"` // why a session would pay nobody
	Halted      string        `json:"halted,omitempty"`
	Pay         []plannedView `json:"pay"`
	Blocked     []blockedView `json:"blocked"`
	SetAside    []string      `json:"setAside"`
}

type plannedView struct {
	Login  string       `json:"login"`
	Amount util.Shannon `json:"amount"`
	Gas    uint64       `json:"gas"`
	FeeWei *big.Int     `json:"feeWei"` // at most
}

type blockedView struct {
	Login  string `json:"login"`
	Reason string `json:"reason"`
	Why    string `json:"why"`
}

func blockedOf(s payouts.Skip) blockedView { return blockedView{s.Login, s.Reason, s.Why} }

func planOf(pl payouts.Plan) planView {
	v := planView{Account: pl.Account.Hex(), BalanceWei: pl.Balance, Head: pl.Head, NextNonce: pl.Nonce, InFlight: pl.InFlight, Total: pl.Total,
		FeesWei: pl.FeesWei, NextSession: pl.Next.Unix(), Pay: []plannedView{}, Blocked: []blockedView{}, SetAside: texts(pl.Problems)}
	if pl.Stopped != nil {
		v.Halted = pl.Stopped.Error()
	}
	var h *payouts.Halt
	if errors.As(pl.Stopped, &h) {
		v.Reason = h.Reason
	}
	for _, p := range pl.Pay {
		v.Pay = append(v.Pay, plannedView(p))
	}
	for _, s := range pl.Blocked {
		v.Blocked = append(v.Blocked, blockedOf(s))
	}
	return v
}

// auditOf is the report with empty lists where there is nothing.
func auditOf(r storage.Report) storage.Report {
	r.Findings, r.Notes, r.Looked = append([]storage.Finding{}, r.Findings...), append([]string{}, r.Notes...), append([]string{}, r.Looked...)
	return r
}

type statusView struct {
	Lock        string            `json:"lock"` // empty when free
	Halt        string            `json:"halt,omitempty"`
	Paused      string            `json:"paused,omitempty"`
	Account     string            `json:"account,omitempty"`
	ChainID     uint64            `json:"chainId"` // 0 while the ledger was never used
	FirstNonce  uint64            `json:"firstNonce"`
	NextNonce   uint64            `json:"nextNonce"`
	Heartbeat   int64             `json:"heartbeat"`
	NextSession int64             `json:"nextSession"`
	Session     sessionView       `json:"session"`
	AuditTime   int64             `json:"auditTime"`
	Findings    int               `json:"auditFindings"`
	AuditLooked []string          `json:"auditLooked"` // redis, journal, chain
	Balance     util.Shannon      `json:"balance"`
	Pending     util.Shannon      `json:"pending"`
	Paid        util.Shannon      `json:"paid"`
	InFlight    []openPayment     `json:"inFlight"`
	PendingRows []string          `json:"pendingRows"`
	Holds       []storage.Act     `json:"holds"`
	Rejects     map[string]string `json:"rejects"` // why, by login
	SetAside    []string          `json:"setAside"`
}

type sessionView struct {
	Started int64        `json:"started"`
	Ended   int64        `json:"ended"`
	Due     int          `json:"due"`
	Paid    int          `json:"paid"`
	Amount  util.Shannon `json:"amount"`
	Result  string       `json:"result"`
}

func statusOf(s payouts.Status) statusView {
	m := s.Meta
	v := statusView{Lock: s.Lock, Halt: m.Halt, Paused: m.Paused, ChainID: m.ChainID, FirstNonce: m.FirstNonce, NextNonce: m.NextNonce,
		Heartbeat: m.Heartbeat, NextSession: m.NextSession, Session: sessionView(m.Session), AuditTime: m.AuditTime, Findings: m.AuditFindings, AuditLooked: strings.Fields(m.AuditLooked),
		Balance: s.Totals.Balance, Pending: s.Totals.Pending, Paid: s.Totals.Paid,
		InFlight: []openPayment{}, PendingRows: []string{}, Holds: sortedHolds(s.Holds), Rejects: s.Rejects, SetAside: texts(s.Bad)}
	if m.ChainID != 0 {
		v.Account = m.Account.Hex()
	}
	for _, p := range s.Open {
		v.InFlight = append(v.InFlight, openOf(p))
	}
	for _, r := range s.Pending {
		v.PendingRows = append(v.PendingRows, r.Row()+" since "+time.Unix(r.Time, 0).UTC().Format(time.RFC3339))
	}
	return v
}

func sortedHolds(holds map[string]storage.Act) []storage.Act {
	sorted := make([]storage.Act, 0, len(holds))
	for _, login := range slices.Sorted(maps.Keys(holds)) {
		sorted = append(sorted, holds[login])
	}
	return sorted
}

func texts(errs []error) []string {
	out := make([]string, 0, len(errs))
	for _, err := range errs {
		out = append(out, err.Error())
	}
	return out
}
