// Package util holds the pool's plain values: amounts with their unit, miners'
// addresses, durations, strict decoding of configuration text. Nothing here
// reads or writes anything outside the process.
package util
