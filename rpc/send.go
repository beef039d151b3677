package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
)

// SendRawTransaction offers a signed transaction to the current node, and to the next
// one as long as the outcome is unknown; the same bytes are the same transaction
// wherever they go.
//
// nil says that a node took it or had it already; that is no promise to keep it. A
// *Refusal says that the only node that was offered it refused; whether that proves
// anything, Definitive tells. Every other error is ErrUnknown or ErrWrongChain. A
// refusal speaks of the nodes of this call: an earlier offer whose outcome was unknown
// is for the caller to remember.
func (c *Client) SendRawTransaction(ctx context.Context, raw []byte) error {
	return c.offer(ctx, [][]byte{raw}, false)[0]
}

// SendRawTransactions offers many, in order, in messages of at most MaxBatch; each has
// its own error, as SendRawTransaction returns it.
func (c *Client) SendRawTransactions(ctx context.Context, raws [][]byte) []error {
	return c.offer(ctx, raws, true)
}

// offer goes from node to node with what is still unknown.
func (c *Client) offer(ctx context.Context, raws [][]byte, batch bool) []error {
	reasons := make([][]error, len(raws)) // why each is unknown so far
	offered := make([]bool, len(raws))    // to a node whose answer is unknown
	open := make([]int, len(raws))
	for i := range open {
		open[i] = i
	}
	for _, n := range c.order() {
		if len(open) == 0 {
			break
		}
		if err := c.admit(ctx, n); err != nil {
			for _, i := range open {
				reasons[i] = append(reasons[i], err)
			}
			continue
		}
		reqs := make([]*Request, len(open))
		for k, i := range open {
			reqs[k] = sendRaw(raws[i])
		}
		c.ask(ctx, n, reqs, batch)
		var unknown []int
		for k, i := range open {
			err := reqs[k].Err
			switch {
			case err == nil || isKnown(err):
				reasons[i] = nil
			case errors.Is(err, ErrUnknown):
				reasons[i] = append(reasons[i], err)
				offered[i] = true
				unknown = append(unknown, i)
			case offered[i]:
				// This node's refusal says nothing about the one that may have kept it.
				reasons[i] = append(reasons[i], n.unknown("eth_sendRawTransaction", errors.New(err.Error())))
			default:
				reasons[i] = []error{&Refusal{Kind: Classify(err), Err: err}}
			}
		}
		open = unknown
		if ctx.Err() != nil {
			break
		}
	}
	errs := make([]error, len(raws))
	for i := range raws {
		errs[i] = join(reasons[i])
	}
	return errs
}

// sendRaw is the request whose answer must be the transaction's own hash.
func sendRaw(raw []byte) *Request {
	want := crypto.Keccak256Hash(raw)
	return &Request{
		Method: "eth_sendRawTransaction",
		Params: []any{hexutil.Bytes(raw)},
		accept: func(result json.RawMessage) error {
			got, err := parseHash(result)
			if err == nil && got != want {
				err = fmt.Errorf("the node answered hash %s, want %s", got, want)
			}
			return err
		},
	}
}

// TxArgs is a transaction that is not signed, or a call.
type TxArgs struct {
	From     common.Address  // zero is left out, which only calls may do
	To       *common.Address // nil makes a contract, or runs Data
	Gas      uint64          // zero is left out, which only calls may do
	GasPrice *big.Int        // Wei per gas, of a legacy transaction
	FeeCap   *big.Int        // Wei per gas (EIP-1559), instead of GasPrice
	TipCap   *big.Int        // Wei per gas (EIP-1559), with FeeCap
	Value    *big.Int        // Wei
	Nonce    *uint64         // nil is left out, which only calls may do
	Data     []byte
	ChainID  *big.Int // for dynamic fees; a legacy transaction gets the node's own
}

// MarshalJSON writes the members that nodes of all kinds take; the type follows from
// the price.
func (a TxArgs) MarshalJSON() ([]byte, error) {
	w := struct {
		From     *common.Address `json:"from,omitempty"`
		To       *common.Address `json:"to,omitempty"`
		Gas      hexutil.Uint64  `json:"gas,omitempty"`
		GasPrice *hexutil.Big    `json:"gasPrice,omitempty"`
		FeeCap   *hexutil.Big    `json:"maxFeePerGas,omitempty"`
		TipCap   *hexutil.Big    `json:"maxPriorityFeePerGas,omitempty"`
		Value    *hexutil.Big    `json:"value,omitempty"`
		Nonce    *hexutil.Uint64 `json:"nonce,omitempty"`
		Data     hexutil.Bytes   `json:"data,omitempty"`
		ChainID  *hexutil.Big    `json:"chainId,omitempty"`
	}{
		To: a.To, Gas: hexutil.Uint64(a.Gas), GasPrice: (*hexutil.Big)(a.GasPrice),
		FeeCap: (*hexutil.Big)(a.FeeCap), TipCap: (*hexutil.Big)(a.TipCap),
		Value: (*hexutil.Big)(a.Value), Nonce: (*hexutil.Uint64)(a.Nonce), Data: a.Data,
	}
	if a.From != (common.Address{}) {
		w.From = &a.From
	}
	if a.FeeCap != nil {
		w.ChainID = (*hexutil.Big)(a.ChainID)
	}
	return json.Marshal(w)
}

// check makes sure that a node has nothing left to choose. A nonce of the node's
// choice could pay twice, and a price of its choice could pay anything.
func (a TxArgs) check() error {
	switch {
	case a.From == (common.Address{}):
		return errors.New("no sender")
	case a.Nonce == nil:
		return errors.New("no nonce")
	case a.Gas == 0:
		return errors.New("no gas")
	case a.Value == nil:
		return errors.New("no value")
	case (a.GasPrice == nil) == (a.FeeCap == nil):
		return errors.New("want either a gas price or a fee cap")
	case (a.FeeCap == nil) != (a.TipCap == nil):
		return errors.New("want a fee cap and a tip cap together")
	case a.FeeCap != nil && a.ChainID == nil:
		return errors.New("no chain id beside a fee cap")
	}
	return nil
}

// SignTransaction has the node sign with an account that is unlocked in it
// (eth_signTransaction) and returns the signed bytes. Nothing is sent. Every member of
// args but To and Data must be given. The caller checks what was signed.
func (c *Client) SignTransaction(ctx context.Context, args TxArgs) ([]byte, error) {
	if err := args.check(); err != nil {
		return nil, fmt.Errorf("sign transaction: %w", err)
	}
	return fetch(ctx, c, parseSigned, "eth_signTransaction", args)
}

// parseSigned reads the bytes: in an object with geth and OpenEthereum, bare with
// Web3Signer.
func parseSigned(raw json.RawMessage) ([]byte, error) {
	var w struct {
		Raw hexutil.Bytes `json:"raw"`
	}
	if json.Unmarshal(raw, &w) != nil {
		if err := json.Unmarshal(raw, &w.Raw); err != nil {
			return nil, errors.New("neither signed bytes nor an object with them")
		}
	}
	if len(w.Raw) == 0 {
		return nil, field("raw", errMissing)
	}
	return w.Raw, nil
}

// SendTransaction has the current node sign and send (eth_sendTransaction) and returns
// the hash. It is asked once. A verdict of the node is a *Refusal; after ErrUnknown the
// transaction may be anywhere, and its hash is found by sender and nonce. Every member
// of args but To and Data must be given.
func (c *Client) SendTransaction(ctx context.Context, args TxArgs) (common.Hash, error) {
	if err := args.check(); err != nil {
		return common.Hash{}, fmt.Errorf("send transaction: %w", err)
	}
	h, err := fetch(ctx, c, parseHash, "eth_sendTransaction", args)
	var verdict *Error
	if errors.As(err, &verdict) && !errors.Is(err, ErrUnknown) {
		return common.Hash{}, &Refusal{Kind: Classify(err), Err: err}
	}
	return h, err
}
