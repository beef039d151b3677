// Package rpctest is a blockchain for tests: in memory, without proof of work, made
// of real signed transactions, and served over HTTP JSON-RPC by any number of nodes
// that can be told to fail.
//
// The map:
//
//   - chain.go    Chain: mine, reorganise, forget; what a test may ask it afterwards
//   - state.go    balances, nonces, contracts; what executing a transaction does
//   - pool.go     the mempool, by geth's rules
//   - node.go     Node: the HTTP server
//   - fault.go    Fault: what a node does wrong, and when
//   - methods.go  the JSON-RPC methods
//   - encode.go   how blocks, transactions and receipts are written
//
// The same calls give the same chain: there is no wall clock, no randomness and no
// order of a map in anything it shows. Blocks are valid in every way that a client of
// a node can see, except for their seal and state root.
package rpctest
