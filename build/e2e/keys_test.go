package e2e

import (
	"crypto/ecdsa"
	"fmt"

	"github.com/ethereum/go-ethereum/crypto"
)

// minerKey is the throw-away key of the n-th miner.
func minerKey(n int) *ecdsa.PrivateKey {
	key, err := crypto.ToECDSA(crypto.Keccak256(fmt.Appendf(nil, "e2e miner %d", n)))
	if err != nil {
		panic(err) // one hash in 2^128 is no key
	}
	return key
}
