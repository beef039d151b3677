// Package payouts turns balances into transactions, exactly once each.
//
// A payment is bound in the ledger, before anything is sent, to one nonce of
// the pool's account, for ever. Every attempt at it uses that nonce and is
// recorded, signed, before it leaves. The chain consumes a nonce once, so at
// most one attempt can ever pay; and the bytes are sent again until one did.
// A lost reply, a missing receipt, absence from a node's pool prove nothing.
//
// The line a payment walks, and where each step lives:
//
//   - engine.go  Payer: the schedule, one session after another, never two at once
//   - turn.go    one hold of the payments lock: who may work, and the journal first
//   - session.go pay whoever is due, a window of them at a time
//   - batch.go   check → sign → OPEN → journal → VERIFY → send → SENT
//   - advance.go look at the chain and move every open payment one step on;
//     recovery after a crash is the same step
//   - decide.go  which step that is: a pure function of the facts
//   - facts.go   the facts: what the chain did with our nonces
//   - foreign.go transactions of the account that are not ours, and fillers
//   - strays.go  nonces that the chain has consumed and the ledger cannot explain
//   - hand.go    what an operator decides about one payment: adopt, retry
//   - forget.go  payments made by hand that can never be mined
//   - journal.go the append-only file that survives a Redis that forgets
//   - replay.go  putting back what Redis forgot
//   - signers.go who signs: the node, a keystore file, an external signer
//   - fees.go    prices, gas, and which recipients are contracts
//   - resolve.go RESOLVE_PAYOUT=1, payments made by hand
//   - oldrows.go pending rows of older pools
//   - plan.go    what a session would pay, and what blocks whom
//   - audit.go   Auditor: Redis, journal (audit_journal.go) and chain (audit_chain.go,
//     with what it reads there in audit_sight.go, and the account's balance in
//     audit_balance.go) held against each other, beside whoever pays
//
// Beside the payer stands its sibling, the unlocker, which fills the balances:
// unlocker.go finds our blocks and credits them, reward.go says what they earned
// and for whom.
//
// The package must never send what is not recorded and journalled, never let
// the node choose a nonce, never credit back without proof, and never take
// "could not read" for "is not there".
package payouts
