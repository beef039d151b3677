// Package e2e tests the pool's real binary against a real redis-server and a
// real proof-of-work chain.
//
//   - world_test.go starts them, and reads afterwards what the chain and the
//     books say
//   - life_test.go is the whole life of rewards, from miners' shares to payments
//   - load_test.go reconciles shares acknowledged with shares counted
//   - rig_test.go are the miners of both
//   - manual_test.go is the operator's manual, section by section
//   - sweep_test.go lets a life of the binary go wrong at each of its messages, and
//     asks the chain and the books afterwards; sweep_*_test.go are those lives and
//     what goes wrong, figure/ is what is written down of it, see docs/proof.md
//   - clock_test.go puts the clock of one process forward and back
//   - accidents_test.go are the things that happen to an operator
//   - bench_test.go are the figures of docs/performance.md
//   - fault/ stands between the binary and what it talks to
package e2e
