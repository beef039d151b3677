package storage

import (
	"strconv"

	"github.com/ethereum/go-ethereum/common"
)

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

// LockPrefix is what the payments lock of our own payouts begins with; the rest says
// which process it is.
const LockPrefix = "payouts "

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

// RoundCurrent is the hash LOGIN → sum of share difficulties since the last
// block. Written by proxies.
func (k Keys) RoundCurrent() string { return k.coin + ":shares:roundCurrent" }

// Round is the same of a block that was found, frozen. nonce is as in the
// block's row. It goes when the block is matured.
func (k Keys) Round(height uint64, nonce string) string {
	return k.coin + ":shares:round" + strconv.FormatUint(height, 10) + ":" + nonce
}

// Pow is the zset NONCE:HEADERHASH:MIX by height, of the shares of the last few
// heights: what is in it already is a duplicate. Written by proxies.
func (k Keys) Pow() string { return k.coin + ":pow" }

// Stats is the hash roundShares (sum of difficulties in the current round) and
// lastBlockFound (unix s). Written by proxies.
func (k Keys) Stats() string { return k.coin + ":stats" }

// Finders is the zset LOGIN by the number of blocks found. Written by proxies.
func (k Keys) Finders() string { return k.coin + ":finders" }

// Nodes is the hash NAME:name, NAME:height, NAME:difficulty, NAME:lastBeat
// (unix s) of each proxy. Written by proxies.
func (k Keys) Nodes() string { return k.coin + ":nodes" }

// Blacklist is the set of logins, Whitelist the set of IPs, that the operator
// keeps.
func (k Keys) Blacklist() string { return k.coin + ":blacklist" }
func (k Keys) Whitelist() string { return k.coin + ":whitelist" }

// Candidates is the zset NONCE:HEADERHASH:MIX:TIME:DIFFICULTY:ROUNDSHARES by the
// height that was worked on, of blocks that were found. Written by proxies,
// emptied by the unlocker.
func (k Keys) Candidates() string { return k.coin + ":blocks:candidates" }

// Immature and Matured are zsets by height, of blocks that the unlocker has
// looked for: UNCLEHEIGHT:ORPHAN:NONCE:HASH:TIME:DIFFICULTY:ROUNDSHARES:REWARD.
// UNCLEHEIGHT is 0 for a block, ORPHAN 0 or 1, HASH 0x0 for an orphan, REWARD in
// Wei.
func (k Keys) Immature() string { return k.coin + ":blocks:immature" }
func (k Keys) Matured() string  { return k.coin + ":blocks:matured" }

// CreditsImmature is the hash LOGIN → Shannon that a block is going to bring,
// Credits what it brought. Written by the unlocker; a field is there if and only
// if the miner's row has the amount.
func (k Keys) CreditsImmature(height uint64, hash string) string {
	return k.coin + ":credits:immature:" + strconv.FormatUint(height, 10) + ":" + hash
}
func (k Keys) Credits(height uint64, hash string) string {
	return k.coin + ":credits:" + strconv.FormatUint(height, 10) + ":" + hash
}

// CreditsAll is the zset HASH:TIME:REWARD (Wei) by height, of all matured blocks.
func (k Keys) CreditsAll() string { return k.coin + ":credits:all" }

// The keys below are new. Proxies write these.

// Work is the hash LOGIN:WORKER → sum of share difficulties in one minute, whose
// number is unix seconds / 60. It takes the place of the existing pools'
// hashrate zsets, which hold every single share. It expires.
func (k Keys) Work(minute int64) string {
	return k.coin + ":work:" + strconv.FormatInt(minute, 10)
}

// Workers is the hash WORKER → unix s of the worker's last share. It expires.
func (k Keys) Workers(login string) string { return k.coin + ":workers:" + login }

// Batch is the string NUMBER:VERDICTS of a proxy's last batch of shares, so that
// one whose reply was lost can be sent again. It expires.
func (k Keys) Batch(proxy string) string { return k.coin + ":shares:batch:" + proxy }

// Found is the hash HEIGHT:NONCE → unix s of every candidate ever written down,
// so that none is written twice.
func (k Keys) Found() string { return k.coin + ":blocks:found" }

// Extranonces is the hash PREFIX (0 to 255) → PROXY:EXPIRY (unix s), which
// proxy hands out the extranonces that begin with the byte.
func (k Keys) Extranonces() string { return k.coin + ":extranonces" }

// Hashrate is the zset DIFFICULTY:LOGIN:WORKER:MS by unix s of the existing
// pools, one member a share. It is read, never written.
func (k Keys) Hashrate() string { return k.coin + ":hashrate" }

// HashrateOf is the zset DIFFICULTY:WORKER:MS by unix s of one miner of the
// existing pools. It is only swept.
func (k Keys) HashrateOf(login string) string { return k.coin + ":hashrate:" + login }

// The API writes the charts, under the keys of open-etc-pool and
// open-etc-pool-friends.

// ChartPool is the zset TIME:HASHRATE:MINERS by unix s, hashes per second.
func (k Keys) ChartPool() string { return k.coin + ":charts:pool" }

// ChartDifficulty is the zset TIME:DIFFICULTY by unix s, of the network.
func (k Keys) ChartDifficulty() string { return k.coin + ":charts:difficulty" }

// ChartMiner is the zset TIME:HASHRATE by unix s, of one miner. It expires.
func (k Keys) ChartMiner(login string) string { return k.coin + ":charts:miner:" + login }

// ChartWorker is the string of slots of one worker, see [WorkerChart]. It expires.
func (k Keys) ChartWorker(login, worker string) string {
	return k.coin + ":charts:worker:" + login + ":" + worker
}

// The unlocker writes the next three, payouts those after them.

// Terms is the hash of what the unlocker credits by: fee (ten-thousandths of a
// percent), depth and immatureDepth (blocks).
func (k Keys) Terms() string { return k.coin + ":credits:terms" }

// Splits is the hash HEIGHT:HASH → how a block's reward was divided, to the last
// Wei.
func (k Keys) Splits() string { return k.coin + ":credits:splits" }

// Plans is the hash HEIGHT:NONCE (as in the round's key) → what was begun with a
// block and is not finished.
func (k Keys) Plans() string { return k.coin + ":credits:plans" }

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

// Strays is the hash TRANSACTION → ADDRESS of transfers of the account that nobody has
// said to be payouts, or to be none.
func (k Keys) Strays() string { return k.coin + ":payments:strays" }

// Hashes is the hash of every attempt's transaction hash → payment id, for ever.
func (k Keys) Hashes() string { return k.coin + ":payments:hashes" }

// Inflight is the zset of payments that are not final, id by nonce.
func (k Keys) Inflight() string { return k.coin + ":payments:inflight" }

// Finals is the zset of final payments that a very deep reorg could still
// undo, id by block number. They leave it when buried.
func (k Keys) Finals() string { return k.coin + ":payments:finals" }

// Rejects is the hash LOGIN → why the recipient did not accept a payment.
func (k Keys) Rejects() string { return k.coin + ":payments:rejects" }

// Skipped is the hash LOGIN → JSON of why the last session did not pay a miner
// who was due, see [Skip].
func (k Keys) Skipped() string { return k.coin + ":payments:skipped" }

// Acts is the list of what operators said, JSON of [Act], oldest first; Holds the
// hash LOGIN → the act that holds it.
func (k Keys) Acts() string  { return k.coin + ":payments:acts" }
func (k Keys) Holds() string { return k.coin + ":payments:holds" }

// Opening is the hash of differences found in the books when this ledger was
// first used: LOGIN → "BALANCE:PENDING:PAID:IMMATURE" in Shannon, "*" for the totals.
func (k Keys) Opening() string { return k.coin + ":payments:opening" }

// Notify is the hash of what one hook of the section notify was told, see
// [Notices]. Written by the notify module.
func (k Keys) Notify(hook string) string { return k.coin + ":notify:" + hook }
