//go:build !linux

package ethash

func unhurried() {}
