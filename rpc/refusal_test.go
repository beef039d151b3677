package rpc

import (
	"errors"
	"fmt"
	"testing"
)

func TestClassifyKnowsTheNodesWords(t *testing.T) {
	for _, tc := range []struct {
		node, message string
		want          RefusalKind
	}{
		{"geth 1.10", "nonce too low", NonceTooLow},
		{"geth 1.13", "nonce too low: next nonce 5, tx nonce 4", NonceTooLow},
		{"geth 1.10", "transaction underpriced", Underpriced},
		{"geth 1.13", "transaction underpriced: tip needed 1000000000, tip permitted 1", Underpriced},
		{"geth 1.16", "transaction gas price below minimum: gas tip cap 0, minimum needed 1", Underpriced},
		{"geth", "replacement transaction underpriced", ReplacementUnderpriced},
		{"geth", "future transaction tries to replace pending", ReplacementUnderpriced},
		{"geth 1.10", "insufficient funds for gas * price + value", InsufficientFunds},
		{"geth 1.13", "insufficient funds for gas * price + value: balance 0, tx cost 21000, overshot 21000", InsufficientFunds},
		{"geth", "insufficient funds for transfer", InsufficientFunds},
		{"geth", "intrinsic gas too low", IntrinsicGas},
		{"geth 1.16", "insufficient gas for floor data gas cost: gas 21000, minimum needed 21010", IntrinsicGas},
		{"geth", "exceeds block gas limit", GasLimit},
		{"geth 1.16", "transaction gas limit too high (cap: 16777216, tx: 20000000)", GasLimit},
		{"geth", "tx fee (2.10 ether) exceeds the configured cap (1.00 ether)", FeeCap},
		{"geth", "authentication needed: password or unlock", AccountLocked},
		{"geth", "no key for given address or file", AccountUnknown},
		{"geth", "unknown account", AccountUnknown},
		{"geth", "txpool is full", PoolFull},
		{"geth 1.16", "account limit exceeded: pooled 16 txs", PoolFull},
		{"geth 1.16", "in-flight transaction limit reached for delegated accounts", PoolFull},
		{"geth 1.13", "invalid chain id for signer: have 1 want 61", WrongChainID},
		{"geth", "only replay-protected (EIP-155) transactions allowed over RPC", WrongChainID},
		{"core-geth", "invalid sender", WrongChainID},
		{"geth", "negative value", Other},
		{"geth", "nonce too high", Other},
		{"OpenEthereum", "Transaction nonce is too low. Try incrementing the nonce.", NonceTooLow},
		{"OpenEthereum", "Transaction gas price is too low. There is another transaction with same nonce in the queue. Try increasing the gas price or incrementing the nonce.", ReplacementUnderpriced},
		{"OpenEthereum", "Transaction gas price 100wei is too low. There is another transaction with same nonce in the queue with gas price 150wei. Try increasing the gas price or incrementing the nonce.", ReplacementUnderpriced},
		{"OpenEthereum", "Transaction gas price is too low. It does not satisfy your node's minimal gas price (minimal: 10, got: 1). Try increasing the gas price.", Underpriced},
		{"OpenEthereum", "Insufficient funds. The account you tried to send transaction from does not have enough funds. Required 10 and got: 1.", InsufficientFunds},
		{"OpenEthereum", "Transaction gas is too low. There is not enough gas to cover minimal cost of the transaction (minimal: 21000, got: 1). Try increasing supplied gas.", IntrinsicGas},
		{"OpenEthereum", "Transaction cost exceeds current gas limit. Limit: 1, got: 2. Try decreasing supplied gas.", GasLimit},
		{"OpenEthereum", "Supplied gas is beyond limit.", GasLimit},
		{"OpenEthereum", "There are too many transactions in the queue. Your transaction was dropped due to limit. Try increasing the fee.", PoolFull},
		{"OpenEthereum", "Invalid chain id.", WrongChainID},
		{"OpenEthereum", "Your account is locked. Unlock the account via CLI, personal_unlockAccount or use Trusted Signer.", AccountLocked},
		{"OpenEthereum", "Sender is banned in local queue.", Other},
		{"Nethermind", "OldNonce, Current nonce: 5, nonce of rejected tx: 4.", NonceTooLow},
		{"Nethermind", "FeeTooLow, EffectivePriorityFeePerGas too low 1 < 10, BaseFee: 0", Underpriced},
		{"Nethermind", "FeeTooLowToCompete", PoolFull},
		{"Nethermind", "InsufficientFunds, Account balance: 0, cumulative cost: 21000", InsufficientFunds},
		{"Nethermind", "GasLimitExceeded, Gas limit: 8000000, gas limit of rejected tx: 9000000", GasLimit},
		{"Nethermind", "ReplacementNotAllowed", ReplacementUnderpriced},
		{"Nethermind", "NonceGap, Future nonce. Expected nonce: 3", Other},
		{"Besu", "Nonce too low", NonceTooLow},
		{"Besu", "Intrinsic gas exceeds gas limit", IntrinsicGas},
		{"Besu", "Upfront cost exceeds account balance", InsufficientFunds},
		{"Besu", "Transaction gas limit exceeds block gas limit", GasLimit},
		{"Besu", "Gas price below configured minimum gas price", Underpriced},
		{"Besu", "Gas price below current base fee", Underpriced},
		{"Besu", "Wrong chainId", WrongChainID},
		{"Besu", "ChainId is required", WrongChainID},
		{"Besu", "Transaction fee cap exceeded", FeeCap},
		{"Besu", "Replacement transaction underpriced", ReplacementUnderpriced},
		{"Besu", "Initial sync is still in progress", Other},
		{"Erigon", "underpriced", Underpriced},
		{"Erigon", "INTERNAL_ERROR: fee too low", Underpriced},
		{"Erigon", "INTERNAL_ERROR: could not replace existing tx", ReplacementUnderpriced},
		{"Erigon", "INTERNAL_ERROR: insufficient funds", InsufficientFunds},
		{"Erigon", "INTERNAL_ERROR: IntrinsicGas", IntrinsicGas},
		{"Erigon", "pending sub-pool is full", PoolFull},
		{"a gateway", "limit exceeded", Other},
		{"a gateway", "internal error", Other},
	} {
		t.Run(tc.node+" "+tc.message, func(t *testing.T) {
			err := fmt.Errorf("pay: %w", &Error{Code: -32000, Message: tc.message})
			if got := Classify(err); got != tc.want {
				t.Errorf("Classify = %s, want %s", got, tc.want)
			}
			if isKnown(err) {
				t.Error("taken for already known")
			}
		})
	}
	if got := Classify(fmt.Errorf("pay: %w", ErrUnknown)); got != Other {
		t.Errorf("Classify(unknown) = %s", got)
	}
	if got := Classify(&Refusal{Kind: PoolFull, Err: &Error{Message: "nonce too low"}}); got != PoolFull {
		t.Errorf("Classify(refusal) = %s", got)
	}
}

func TestAlreadyKnownInEveryNodesWords(t *testing.T) {
	for _, message := range []string{
		"already known", "known transaction: 0x7f65", "Known transaction", "ALREADY_EXISTS: already known",
		"Transaction with the same hash was already imported.", "AlreadyKnown", "INTERNAL_ERROR: existing tx with same hash",
	} {
		if !isKnown(&Error{Message: message}) {
			t.Errorf("%q is not known", message)
		}
	}
	if isKnown(errors.New("already known")) {
		t.Error("took an error that no node gave for a verdict")
	}
}

func TestOnlyProofIsDefinitive(t *testing.T) {
	definitive := map[RefusalKind]bool{
		Underpriced: true, InsufficientFunds: true, IntrinsicGas: true, GasLimit: true,
		FeeCap: true, AccountLocked: true, AccountUnknown: true, WrongChainID: true,
	}
	for kind := Other; kind <= WrongChainID; kind++ {
		r := &Refusal{Kind: kind, Err: &Error{}}
		if r.Definitive() != definitive[kind] {
			t.Errorf("%s: Definitive = %t", kind, r.Definitive())
		}
		if errors.Is(r, ErrUnknown) == definitive[kind] {
			t.Errorf("%s: is unknown = %t", kind, errors.Is(r, ErrUnknown))
		}
	}
	if RefusalKind(99).Definitive() || RefusalKind(99).String() != "RefusalKind(99)" {
		t.Error("a kind that is none")
	}
}
