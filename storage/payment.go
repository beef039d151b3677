package storage

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// State is where a payment stands on its line.
type State string

const (
	// Signed: debited, recorded and bound to a nonce. Its bytes may be on the
	// network; no node is known to have taken them. It has a pending row.
	Signed State = "signed"
	// Sent: a node took it (or a block holds it). It is in the miner's history.
	Sent State = "sent"
	// Final: in a block, confirmations deep.
	Final State = "final"
	// Void: proved that it can never pay; credited back.
	Void State = "void"
	// Held: its pending row was removed by hand without saying what became of
	// it. Never sent again, never credited back until a human decides.
	Held State = "held"
)

// Kind tells a payment to a miner from a transaction that only uses up a nonce.
type Kind string

const (
	// ToMiner pays a miner.
	ToMiner Kind = "payment"
	// Filler moves nothing from the pool's account to itself, so that
	// transactions behind a dead nonce are not stuck.
	Filler Kind = "filler"
)

// Payment is one transaction of the pool's account, bound to one nonce for
// ever. It is recorded, signed, before anything leaves the process.
type Payment struct {
	ID      string         `json:"id"`
	Kind    Kind           `json:"kind"`
	Login   string         `json:"login,omitempty"`  // as the miner is stored; empty for a filler
	Amount  util.Shannon   `json:"amount,omitempty"` // what leaves the miner's balance
	Time    int64          `json:"time"`             // unix seconds of the debit; the pending row's score
	State   State          `json:"state,omitempty"`
	Account common.Address `json:"account"`
	Nonce   uint64         `json:"nonce"`
	To      common.Address `json:"to"`
	Value   *big.Int       `json:"value"` // Wei moved on the chain
	Gas     uint64         `json:"gas"`

	// Replaces is the payment whose nonce a filler uses up, if there was one.
	Replaces string `json:"replaces,omitempty"`

	// Attempts are all transactions ever made for this payment, oldest first.
	// At most one can be mined, because they share the nonce.
	Attempts []Attempt `json:"attempts"`

	// Hash is the attempt shown in the history: the one a node took, then the
	// one that was mined.
	Hash common.Hash `json:"hash,omitempty"`

	// Block, BlockHash and FeeWei are set once final.
	Block     uint64      `json:"block,omitempty"`
	BlockHash common.Hash `json:"blockHash,omitempty"`
	FeeWei    *big.Int    `json:"feeWei,omitempty"`

	// Why says in words what a person should know about the state.
	Why string `json:"why,omitempty"`
}

// Attempt is one signed transaction of a payment.
type Attempt struct {
	Hash common.Hash `json:"hash"` // zero while a node that signs and sends in one call has not told it
	// Raw are the signed bytes; empty when only the node has them, or when the
	// payment was made by hand. Never log them.
	Raw      hexutil.Bytes `json:"raw,omitempty"`
	GasPrice *big.Int      `json:"gasPrice,omitempty"` // Wei per gas of a legacy transaction
	FeeCap   *big.Int      `json:"feeCap,omitempty"`   // Wei per gas, EIP-1559
	TipCap   *big.Int      `json:"tipCap,omitempty"`   // Wei per gas, EIP-1559
	AtBlock  uint64        `json:"atBlock"`            // the head when it was made
	// Refused is the node's definitive refusal, when every offer of these bytes
	// was answered so. Empty means: they may be out.
	Refused string `json:"refused,omitempty"`
	// ByHand marks a transaction that the operator sent and wrote down.
	ByHand bool `json:"byHand,omitempty"`
	// OwnNonce says of one made by hand that it has the payment's nonce: either it
	// or another attempt can be mined.
	OwnNonce bool `json:"ownNonce,omitempty"`
}

// Elsewhere says that the attempt was made by hand with a nonce that nobody knows
// or that is not the payment's.
func (a Attempt) Elsewhere() bool { return a.ByHand && !a.OwnNonce }

// PriceWei is the most the attempt pays per gas.
func (a Attempt) PriceWei() *big.Int {
	if a.FeeCap != nil {
		return a.FeeCap
	}
	if a.GasPrice != nil {
		return a.GasPrice
	}
	return new(big.Int)
}

// Last is the newest attempt, the one to send.
func (p *Payment) Last() *Attempt { return &p.Attempts[len(p.Attempts)-1] }

// CostWei is the most the payment can take from the pool's account.
func (p *Payment) CostWei() *big.Int {
	fee := new(big.Int)
	for _, a := range p.Attempts {
		if f := new(big.Int).Mul(a.PriceWei(), new(big.Int).SetUint64(p.Gas)); f.Cmp(fee) > 0 {
			fee = f
		}
	}
	return fee.Add(fee, p.Value)
}

// NotBy says of a transaction that is one of the attempts whether the payment is
// provably not made by it: it was given up, or is final by another one.
func (p *Payment) NotBy(tx common.Hash) bool {
	return p.State == Void || p.State == Final && p.Hash != tx
}

// AllRefused says that every attempt was definitively refused by every node it
// was ever offered to, so that nothing of this payment is out.
func (p *Payment) AllRefused() bool {
	for _, a := range p.Attempts {
		if a.Refused == "" {
			return false
		}
	}
	return len(p.Attempts) > 0
}

// PendingRow is the member of the pending zset, as in the manual.
func (p *Payment) PendingRow() string { return pendingRow(p.Login, p.Amount) }

func pendingRow(login string, amount util.Shannon) string { return login + ":" + amount.String() }

// valid says whether the payment can be written down and read back.
func (p *Payment) valid() error {
	switch {
	case len(p.Attempts) == 0:
		return fmt.Errorf("payment %s has no attempt", p.ID)
	case p.Value == nil || p.Value.Sign() < 0:
		return fmt.Errorf("payment %s moves %v Wei, want 0 or more", p.ID, p.Value)
	}
	return nil
}

// fields is the record as Redis keeps it. What changes later comes last.
func (p *Payment) fields() ([]any, error) {
	attempts, err := json.Marshal(p.Attempts)
	if err != nil {
		return nil, fmt.Errorf("encode attempts of payment %s: %w", p.ID, err)
	}
	return []any{
		"kind", string(p.Kind), "login", p.Login, "amount", p.Amount.String(), "time", p.Time,
		"account", p.Account.Hex(), "nonce", p.Nonce, "to", p.To.Hex(), "value", p.Value.String(), "gas", p.Gas,
		"replaces", p.Replaces, "tries", len(p.Attempts), "attempts", string(attempts),
	}, nil
}

// parsePayment reads a record back; every field that does not parse is an error
// that names the key.
func parsePayment(key, id string, m map[string]string) (Payment, error) {
	r := row{key: key, m: m}
	p := Payment{
		ID: id, Kind: Kind(m["kind"]), Login: m["login"], Amount: r.shannon("amount"), Time: r.int("time"),
		State: State(m["state"]), Account: r.address("account"), Nonce: r.uint("nonce"), To: r.address("to"),
		Value: r.wei("value"), Gas: r.uint("gas"), Replaces: m["replaces"], Hash: r.hash("hash"),
		Block: r.uintOr0("block"), BlockHash: r.hash("blockHash"), Why: m["why"],
	}
	if _, ok := m["fee"]; ok {
		p.FeeWei = r.wei("fee")
	}
	switch p.State {
	case Signed, Sent, Final, Void, Held:
	default:
		r.fail("state", m["state"], "want signed, sent, final, void or held")
	}
	if p.Kind != ToMiner && p.Kind != Filler {
		r.fail("kind", m["kind"], "want payment or filler")
	}
	if err := json.Unmarshal([]byte(m["attempts"]), &p.Attempts); err != nil {
		r.fail("attempts", "", err.Error())
	} else if len(p.Attempts) == 0 {
		r.fail("attempts", "[]", "want at least one")
	}
	return p, r.err
}

// row decodes the fields of one hash and keeps the first error.
type row struct {
	key string
	m   map[string]string
	err error
}

func (r *row) fail(field, value, why string) {
	if r.err == nil {
		r.err = fmt.Errorf("%w: %s field %s = %q: %s", ErrMalformed, r.key, field, value, why)
	}
}

func (r *row) uint(f string) uint64 {
	n, err := strconv.ParseUint(r.m[f], 10, 64)
	if err != nil {
		r.fail(f, r.m[f], "want a whole number")
	}
	return n
}

func (r *row) uintOr0(f string) uint64 {
	if r.m[f] == "" {
		return 0
	}
	return r.uint(f)
}

func (r *row) int(f string) int64 {
	n, err := strconv.ParseInt(r.m[f], 10, 64)
	if err != nil {
		r.fail(f, r.m[f], "want a whole number")
	}
	return n
}

func (r *row) shannon(f string) util.Shannon {
	s, err := util.ParseShannon(r.m[f])
	if err != nil {
		r.fail(f, r.m[f], err.Error())
	}
	return s
}

func (r *row) shannonOr0(f string) util.Shannon {
	if r.m[f] == "" {
		return 0
	}
	return r.shannon(f)
}

func (r *row) wei(f string) *big.Int {
	n, ok := new(big.Int).SetString(r.m[f], 10)
	if !ok || n.Sign() < 0 {
		r.fail(f, r.m[f], "want an amount in Wei")
		return new(big.Int)
	}
	return n
}

func (r *row) address(f string) common.Address {
	a, err := util.ParseLogin(r.m[f])
	if err != nil {
		r.fail(f, r.m[f], "want an address")
	}
	return a
}

func (r *row) hash(f string) common.Hash {
	v := r.m[f]
	if v == "" {
		return common.Hash{}
	}
	b, err := hexutil.Decode(v)
	if err != nil || len(b) != common.HashLength {
		r.fail(f, v, "want a 32-byte hash")
	}
	return common.BytesToHash(b)
}
