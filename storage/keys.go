package storage

import "github.com/ethereum/go-ethereum/common"

// Keys spells every Redis key of the pool. The prefix is the configured coin;
// with a cluster it carries a hash tag ("{eth}") so that all keys share a slot.
// Amounts are Shannon, times are unix seconds, unless said otherwise.
type Keys struct{ coin string }

// NewKeys returns the keys under the given prefix.
func NewKeys(coin string) Keys { return Keys{coin} }

// Coin is the prefix.
func (k Keys) Coin() string { return k.coin }

// The keys below are shared with the existing pools of this family.

// Miner is the hash of one miner: balance, pending, paid, immature (Shannon),
// lastShare (unix s), blocksFound. Written by shares, unlocker and payouts.
func (k Keys) Miner(login string) string { return k.coin + ":miners:" + login }

// Finances is the hash of the pool's totals: balance, pending, paid, immature,
// totalMined (Shannon), lastCreditHeight, lastCreditHash. Written by unlocker
// and payouts, in the same scripts as the miners' rows.
func (k Keys) Finances() string { return k.coin + ":finances" }

// PaymentsLock is the string that says who may change payments. Ours is a
// token (see [Owner]); the older pools write LOGIN:AMOUNT.
func (k Keys) PaymentsLock() string { return k.coin + ":payments:lock" }

// PaymentsPending is the zset LOGIN:AMOUNT by the time of the debit: money that
// has left a balance and of which no node is known to have taken the
// transaction. Written by payouts.
func (k Keys) PaymentsPending() string { return k.coin + ":payments:pending" }

// PaymentsAll is the zset TXHASH:LOGIN:AMOUNT by the time of payment, the
// pool's whole history. Written by payouts.
func (k Keys) PaymentsAll() string { return k.coin + ":payments:all" }

// Payments is the zset TXHASH:AMOUNT by the time of payment, one miner's
// history. Written by payouts.
func (k Keys) Payments(login string) string { return k.coin + ":payments:" + login }

// PendingNonces and PendingHashes are hashes of open-etc-pool only: the nonce
// and the transaction hash of a pending row, by LOGIN:AMOUNT.
func (k Keys) PendingNonces() string { return k.coin + ":payments:pendingnonce" }
func (k Keys) PendingHashes() string { return k.coin + ":payments:pendingtx" }

// The keys below are new. Only payouts writes them.

// Meta is the hash of what the ledger knows about itself, see [Meta].
func (k Keys) Meta() string { return k.coin + ":payments:meta" }

// Payment is the hash of one payment's record, see [Payment].
func (k Keys) Payment(id string) string { return k.coin + ":payments:p:" + id }

// Nonces is the hash nonce → what is bound to it: a payment's id, or
// "foreign:HASH" for a transaction that was not ours, or "dead:ID" for a nonce
// whose payment was given up and that nothing has consumed yet.
func (k Keys) Nonces(account common.Address) string {
	return k.coin + ":payments:nonces:" + account.Hex()
}

// Hashes is the hash of every attempt's transaction hash → payment id, for ever.
func (k Keys) Hashes() string { return k.coin + ":payments:hashes" }

// Inflight is the zset of payments that are not final, id by nonce.
func (k Keys) Inflight() string { return k.coin + ":payments:inflight" }

// Finals is the zset of final payments that a very deep reorg could still
// undo, id by block number. They leave it when buried.
func (k Keys) Finals() string { return k.coin + ":payments:finals" }

// Rejects is the hash LOGIN → why the recipient did not accept a payment.
func (k Keys) Rejects() string { return k.coin + ":payments:rejects" }

// Opening is the hash of differences found in the books when this ledger was
// first used: LOGIN → "BALANCE:PENDING:PAID" in Shannon, "*" for the totals.
func (k Keys) Opening() string { return k.coin + ":payments:opening" }
