// Package ethash verifies proofs of work of Ethash and of Etchash, its variant
// on Ethereum Classic (ECIP-1099), in plain Go.
//
// A light verification reads 32,768 lines of 64 bytes at random out of a cache
// of tens of megabytes: it costs memory latency more than arithmetic. So up to
// [Batch] shares are hashed in lock step, and their cache misses overlap; eight
// shares take little longer than one. A share joins the others at any of its 64
// steps, so that it never waits for those that came before it to end.
//
//   - epoch.go     which blocks share a cache, and how large it is
//   - cache.go     the cache of one epoch
//   - hash.go      the hash of some shares; [Quick], which costs nothing and proves nothing
//   - avx2.go      its inner loop in vectors, and four Keccaks at once (keccak4.go),
//     where Go is built with GOEXPERIMENT=simd; avx2_none.go elsewhere
//   - verifier.go  [Verifier]: one worker a processor, caches built ahead of need
//   - thread_linux.go  how a worker leaves the processor to those in a hurry
//
// Nothing here knows targets: a caller hashes once and compares with the
// share's target and the block's.
//
// The algorithm is that of "Ethash", revision 23 (ethereum.org), and of ECIP-1099.
package ethash
