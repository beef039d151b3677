// Package chain runs an Ethereum-style proof-of-work node inside the process:
// geth 1.10.26, the last line that mines and keeps unlocked accounts, with its
// own mempool, virtual machine, keystore, peers and JSON-RPC server. Around it
// is what a pool's tests and a first try need: cheap blocks on demand, and the
// accidents of a real network on demand as well.
//
//   - config.go: Config, which says what chain it is and what the node is like.
//   - node.go: Node, from a Config to a served chain and back.
//   - miner.go: blocks by our own hand; every one sealed and then verified by
//     geth's engine like a stranger's.
//   - pow.go: Ethash, to seal and to check submitted work.
//   - mempool.go: what geth keeps private and a mishap has to touch.
//   - api.go: the devnet namespace of the JSON-RPC server, and the few standard
//     methods it answers in geth's place.
//   - contracts.go: recipients that make a plain transfer fail, pass or starve.
//
// It must never guard anything of value: its keys are derived from phrases in
// this source, and whoever reaches the port may do everything.
package chain
