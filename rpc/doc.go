// Package rpc is the pool's client of an Ethereum node: JSON-RPC 2.0 over HTTP
// to one node or to several nodes of the same chain.
//
// The map:
//
//   - client.go     Client, Call and Batch: one question, many questions
//   - nodes.go      which node is asked, in what order, and whether it is on our chain
//   - wire.go       one HTTP message to one node, and what counts as an answer
//   - errors.go     the outcomes: *Error, ErrUnknown, ErrNotFound, ErrNotYet, ErrWrongChain
//   - send.go       signing and sending transactions
//   - refusal.go    why a node refused a transaction, and whether that is proof
//   - blocks.go, transactions.go, accounts.go, mining.go   the typed questions
//   - decode.go     the shapes of the answers, checked field by field
//
// Every call ends in exactly one of three ways: with a result whose shape was
// checked; with the node's own verdict (*Error, ErrNotFound); or with ErrUnknown,
// which says that the call may or may not have had an effect. The package must
// never turn the third into one of the others, never repeat to a second node a
// call that acts (unless it is a signed transaction, which is the same wherever it
// goes), and never let a parameter, a password or the path of a URL into an error.
package rpc
