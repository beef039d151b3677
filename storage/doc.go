// Package storage keeps the pool's books in Redis.
//
//   - keys.go spells every key once, with its unit and who writes it
//   - storage.go opens the database: single, Sentinel or cluster
//   - payment.go is the record of one payment and its attempts
//   - lease.go is the right to change payments: every money verb is a method of
//     a [Lease], one atomic Lua script each (lua/), and may be repeated after an
//     error without moving money twice
//   - shares.go counts shares and writes down found blocks, for proxies
//   - blocks.go are candidates and blocks as rows, and how a reward was divided;
//     credit.go moves them on and credits their miners, for the unlocker
//   - read.go are typed reads that need no lease, miners.go those of miners' rows
//   - audit.go adds everything up and says which row breaks which equation,
//     audit_rewards.go what blocks brought; opening.go is what did not add up when
//     the ledger began; report.go is what an audit finds, and where the last one ended
//
// A value that does not parse is an error naming the key, never a zero. The
// client never retries by itself: a repeated HINCRBY counts twice.
package storage
