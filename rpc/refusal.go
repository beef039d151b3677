package rpc

import (
	"errors"
	"fmt"
	"strings"
)

// RefusalKind is why a node would not take a transaction.
type RefusalKind int

// The kinds. A definitive one proves that the node did not keep the bytes; see
// Definitive.
const (
	Other                  RefusalKind = iota // words this package does not know
	NonceTooLow                               // the nonce is used: perhaps by this very transaction
	Underpriced                               // below the least price the node takes
	ReplacementUnderpriced                    // the pool holds another one with this nonce, and the price is not higher enough
	InsufficientFunds                         // the balance does not cover value and highest fee
	IntrinsicGas                              // the gas does not cover the bare transaction
	GasLimit                                  // the gas is more than a block's
	FeeCap                                    // the fee is more than the node's own limit
	AccountLocked                             // the node has the account's key, but locked
	AccountUnknown                            // the node does not have the account's key
	PoolFull                                  // the pool, or the account's share of it, is full
	WrongChainID                              // signed for another chain, or for any chain
)

var kindNames = [...]string{
	"other", "nonce too low", "underpriced", "replacement underpriced", "insufficient funds",
	"intrinsic gas too low", "block gas limit exceeded", "fee cap exceeded", "account locked",
	"account unknown", "pool full", "wrong chain id",
}

// String returns the kind in words.
func (k RefusalKind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return fmt.Sprintf("RefusalKind(%d)", int(k))
	}
	return kindNames[k]
}

// Definitive reports whether a node that refuses for this reason has certainly not
// kept the transaction. It says nothing of other nodes or of earlier offers.
func (k RefusalKind) Definitive() bool {
	switch k {
	case InsufficientFunds, IntrinsicGas, GasLimit, FeeCap, AccountLocked, AccountUnknown, Underpriced, WrongChainID:
		return true
	}
	return false
}

// Refusal is the verdict of the node, or of all the nodes, a transaction was
// offered to. A refusal that is not definitive is also ErrUnknown: the transaction
// may be in a pool or in a block in spite of it.
type Refusal struct {
	Kind RefusalKind
	Err  error // the node's answer, an *Error
}

// Error gives the kind and the node's own words.
func (r *Refusal) Error() string { return fmt.Sprintf("transaction refused, %s: %v", r.Kind, r.Err) }

// Unwrap returns the node's answer.
func (r *Refusal) Unwrap() error { return r.Err }

// Is makes a refusal that proves nothing ErrUnknown.
func (r *Refusal) Is(target error) bool { return target == ErrUnknown && !r.Definitive() }

// Definitive reports whether the refusal proves that the bytes were not kept by
// the nodes they were offered to in this call.
func (r *Refusal) Definitive() bool { return r.Kind.Definitive() }

// wordings maps what nodes say, in lower case, to what they mean. The first match
// counts, so the narrower phrase stands above the wider one.
var wordings = []struct {
	phrase string
	kind   RefusalKind
}{
	// geth and core-geth; Erigon, Besu and newer Nethermind share many of the phrases
	{"replacement transaction underpriced", ReplacementUnderpriced},
	{"future transaction tries to replace pending", ReplacementUnderpriced},
	{"underpriced", Underpriced},
	{"transaction gas price below minimum", Underpriced},
	{"nonce too low", NonceTooLow},
	{"insufficient funds", InsufficientFunds},
	{"intrinsic gas too low", IntrinsicGas},
	{"insufficient gas for floor data gas cost", IntrinsicGas}, // EIP-7623
	{"exceeds block gas limit", GasLimit},
	{"transaction gas limit too high", GasLimit}, // EIP-7825
	{"exceeds the configured cap", FeeCap},
	{"authentication needed", AccountLocked},
	{"account is locked", AccountLocked},
	{"no key for given address or file", AccountUnknown},
	{"unknown account", AccountUnknown},
	{"txpool is full", PoolFull},
	{"account limit exceeded", PoolFull},
	{"in-flight transaction limit", PoolFull},
	{"invalid chain id", WrongChainID},
	{"replay-protected", WrongChainID},
	{"invalid sender", WrongChainID}, // the only word geth up to 1.13 has for a signature of another chain

	// OpenEthereum
	{"another transaction with same nonce in the queue", ReplacementUnderpriced},
	{"transaction gas price is too low", Underpriced},
	{"transaction nonce is too low", NonceTooLow},
	{"transaction gas is too low", IntrinsicGas},
	{"exceeds current gas limit", GasLimit},
	{"supplied gas is beyond limit", GasLimit},
	{"too many transactions in the queue", PoolFull},

	// Nethermind, before it took over geth's phrases
	{"replacementnotallowed", ReplacementUnderpriced},
	{"feetoolowtocompete", PoolFull},
	{"feetoolow", Underpriced},
	{"oldnonce", NonceTooLow},
	{"insufficientfunds", InsufficientFunds},
	{"intrinsicgastoolow", IntrinsicGas},
	{"gaslimitexceeded", GasLimit},

	// Besu
	{"gas price below", Underpriced}, // ... configured minimum, ... current base fee
	{"upfront cost exceeds account balance", InsufficientFunds},
	{"intrinsic gas exceeds gas limit", IntrinsicGas},
	{"transaction fee cap exceeded", FeeCap},
	{"wrong chainid", WrongChainID},
	{"wrong chain id", WrongChainID},
	{"chainid not supported", WrongChainID},
	{"chainid is required", WrongChainID},

	// Erigon
	{"could not replace existing tx", ReplacementUnderpriced},
	{"fee too low", Underpriced},
	{"intrinsicgas", IntrinsicGas},
	{"sub-pool is full", PoolFull},
}

// Classify says why a node refused a transaction, from the error that SignTransaction,
// SendTransaction, SendRawTransaction or Call returned. An error that is no node's
// verdict, such as ErrUnknown, is Other.
func Classify(err error) RefusalKind {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Kind
	}
	var e *Error
	if !errors.As(err, &e) {
		return Other
	}
	message := strings.ToLower(e.Message)
	for _, w := range wordings {
		if strings.Contains(message, w.phrase) {
			return w.kind
		}
	}
	return Other
}

// isKnown reports whether err is a node's way of saying that it has this very
// transaction already, which is as good as taking it.
func isKnown(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	message := strings.ToLower(e.Message)
	for _, phrase := range []string{
		"already known",              // geth, core-geth, Erigon
		"known transaction",          // geth before 1.9.8, Besu
		"already imported",           // OpenEthereum
		"alreadyknown",               // Nethermind
		"existing tx with same hash", // Erigon
	} {
		if i := strings.Index(message, phrase); i >= 0 && !strings.HasSuffix(message[:i], "un") { // "unknown transaction type" is not known
			return true
		}
	}
	return false
}
