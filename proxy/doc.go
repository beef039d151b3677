// Package proxy takes miners' work: it hands out what the nodes want mined,
// verifies the shares that come back, counts them, and brings blocks to the
// nodes.
//
// The way of a share, and where each step lives:
//
//   - listener.go  who connects: ports, TLS, PROXY protocol, limits
//   - session.go   one miner's connection: lines in, lines out
//   - hands.go     who does the work of all connections, so that idle ones are small
//   - dialect.go   what a line means, in each of the dialects that miners speak:
//     ethproxy.go, nicehash.go (EthereumStratum/1.0.0), stratum2.go (EIP-1571)
//   - getwork.go   the same over HTTP
//   - share.go     the verdict on a share
//   - counter.go   shares into Redis, a few milliseconds' worth at once
//   - spool.go     a block that was found: on disk first, then everywhere
//
// The way of work, in the other direction:
//
//   - upstream.go  the nodes: which one is asked, and what is new
//   - work.go      jobs, encoded once for all miners
//   - vardiff.go   how difficult a share is for whom
//
// Beside the way: policy.go (who is kept out), extranonce.go (which nonces are
// whose).
//
// The package must never answer a share with success before it is counted, never
// send a block to a node before it is written down, and never take a miner's
// mistake for malice: an error is an answer, not the end of the connection.
package proxy
