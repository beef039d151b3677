// Package sim runs the payouts engine's own code in a world made of one seed: a
// ledger, a chain with its nodes, a signer, journals, clocks and people, all in
// memory, one step at a time. The same seed makes the same run, to the last
// step, so that whatever it finds can be looked at again.
//
// The map:
//
//   - books.go     what Redis holds, and the unlocker's and operators' hands on it
//   - verbs.go     the money verbs, with the semantics of storage/lua; verbs_hand.go
//     those of people and of what others made; money.go moves between fields
//   - ledger.go    the reads
//   - audit.go     the equations of storage/audit.go
//   - chain.go     the blockchain: an adversary chooses what is mined, and what is undone
//   - node.go      what a node shows of it, and what it does with a transaction
//   - journal.go   journals on hosts, and what a crash leaves of them
//   - process.go   one payouts process: a coroutine that stops at every port call
//   - ports.go     what stands between it and the world: faults, kills, lost replies
//   - world.go     the seed's choices: which dangers there are, and what happens next
//   - operator.go  the people: they answer halts, edit rows, spend nonces
//   - check.go     what must hold after every block, and at rest
//   - mutations.go deliberate mistakes, each of which must be caught
//   - run.go       one seed, and many
//
// What is not simulated: bytes that are malformed (storage's own tests do that),
// and a host that loses its journal, or two that each have their own, while
// Redis goes back in time as well: the design promises nothing then. No reorg
// reaches payouts.voidDepth, on which crediting back rests.
//
// Nothing in production imports this package.
package sim
