module github.com/open-ethereum-pool/open-ethereum-pool/build/bench

go 1.26.0

require (
	github.com/coder/websocket v1.8.15
	github.com/etclabscore/go-etchash v0.0.0-20210517131846-9a3cc202249e
	github.com/ethereum/go-ethereum v1.17.10
	github.com/open-ethereum-pool/open-ethereum-pool v0.0.0
	github.com/redis/go-redis/v9 v9.23.0
	golang.org/x/sys v0.49.0
)

require (
	github.com/btcsuite/btcd/btcec/v2 v2.2.0 // indirect
	github.com/cespare/xxhash/v2 v2.3.0 // indirect
	github.com/decred/dcrd/dcrec/secp256k1/v4 v4.0.1 // indirect
	github.com/edsrzf/mmap-go v1.0.0 // indirect
	github.com/hashicorp/golang-lru v0.5.4 // indirect
	github.com/holiman/uint256 v1.3.2 // indirect
	github.com/tailscale/hujson v0.0.0-20260727124030-b80ff77dac4f // indirect
	go.uber.org/atomic v1.12.0 // indirect
	golang.org/x/crypto v0.55.0 // indirect
	golang.org/x/exp v0.0.0-20231110203233-9a3e6036ecaa // indirect
	golang.org/x/sync v0.24.0 // indirect
)

replace github.com/open-ethereum-pool/open-ethereum-pool => ../..

// go-etchash needs crypto.Keccak512, which newer versions do not have.
replace github.com/ethereum/go-ethereum => github.com/ethereum/go-ethereum v1.13.15
