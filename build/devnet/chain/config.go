package chain

import (
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"
	"net"
	"strconv"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/params"
)

// Passphrase opens the pool's account in the node's keystore, for
// personal_unlockAccount.
const Passphrase = "devnet"

// NoPeers as a Config.PeerPort keeps the node from listening for peers.
const NoPeers = -1

// Config says what chain it is and what the node is like. Two nodes share a
// chain when ChainID, GenesisSeed, Difficulty, GasLimit, London, Fund and
// RealPow agree: all but the last enter the genesis block.
type Config struct {
	HTTP    string // host:port of JSON-RPC; port 0 picks a free one
	WS      string // host:port of websockets; empty: the port of HTTP
	DataDir string // of the blocks; empty: in memory, gone at the end

	ChainID       uint64        // EIP-155; also the network id of peers
	GenesisSeed   string        // at most 32 bytes, the genesis block's extraData
	Difficulty    uint64        // of the genesis block and at least of every other; constant below 2048
	GasLimit      uint64        // of every block
	RealPow       bool          // Ethash's real sizes, instead of those of geth's test mode
	BlockInterval time.Duration // between blocks sealed unasked; 0: none
	London        bool          // base fee (EIP-1559); without it blocks are like Ethereum Classic's

	Fund     map[common.Address]*big.Int // Wei, in the genesis block
	Key      *ecdsa.PrivateKey           // of the pool's account, imported into the node
	Locked   bool                        // leave that account locked
	Coinbase common.Address              // earns the blocks; zero: the pool's account

	PeerPort int      // on loopback; 0 picks a free one, NoPeers listens on none
	Connect  []string // enode URLs of peers to keep connected to

	AccountSlots  uint64  // executable transactions an account is sure of in a full mempool
	AccountQueue  uint64  // transactions behind a nonce gap that an account may have
	GlobalSlots   uint64  // executable transactions of all accounts
	GlobalQueue   uint64  // transactions behind gaps of all accounts
	NoLocals      bool    // hold transactions sent to this node to the limits and prices for strangers'
	PriceLimitWei uint64  // lowest gas price accepted from strangers
	TxFeeCap      float64 // highest fee of a transaction sent to this node, in coins; 0: any
}

// DefaultConfig is a chain in memory on a free port of loopback, quick to mine,
// with the mempool of a geth that mines.
func DefaultConfig() Config {
	pool := core.DefaultTxPoolConfig
	return Config{
		HTTP:          "127.0.0.1:0",
		ChainID:       61337,
		Difficulty:    512,
		GasLimit:      8_000_000,
		Key:           keyOf("open-ethereum-pool devnet: the pool's account"),
		PeerPort:      NoPeers,
		AccountSlots:  pool.AccountSlots,
		AccountQueue:  pool.AccountQueue,
		GlobalSlots:   pool.GlobalSlots,
		GlobalQueue:   pool.GlobalQueue,
		PriceLimitWei: params.GWei,
		TxFeeCap:      1,
	}
}

// Validate reports the first field that cannot be used, and what could.
func (c Config) Validate() error {
	for _, f := range []struct{ name, value string }{{"http", c.HTTP}, {"ws", c.WS}} {
		if f.name == "ws" && f.value == "" {
			continue
		}
		if _, _, err := splitHostPort(f.value); err != nil {
			return fmt.Errorf("%s is %q, want host:port: %w", f.name, f.value, err)
		}
	}
	for _, url := range c.Connect {
		if _, err := enode.ParseV4(url); err != nil {
			return fmt.Errorf("connect is %q, want enode://KEY@HOST:PORT: %w", url, err)
		}
	}
	switch {
	case c.ChainID == 0:
		return errors.New("chain-id is 0, want 1 or more")
	case len(c.GenesisSeed) > int(params.MaximumExtraDataSize):
		return fmt.Errorf("genesis-seed has %d bytes, want at most %d", len(c.GenesisSeed), params.MaximumExtraDataSize)
	case c.Difficulty == 0:
		return errors.New("difficulty is 0, want 1 or more")
	case c.GasLimit < params.MinGasLimit:
		return fmt.Errorf("gas-limit is %d, want %d or more", c.GasLimit, params.MinGasLimit)
	case c.BlockInterval < 0:
		return fmt.Errorf("block-interval is %v, want 0 or more", c.BlockInterval)
	case c.Key == nil:
		return errors.New("key is missing, want a private key")
	case c.PeerPort < NoPeers || c.PeerPort > 65535:
		return fmt.Errorf("peer-port is %d, want 0 to 65535, or %d for none", c.PeerPort, NoPeers)
	case c.PriceLimitWei == 0:
		return errors.New("price-limit is 0, want 1 Wei or more")
	case c.TxFeeCap < 0:
		return fmt.Errorf("rpc-txfeecap is %v, want 0 or more coins", c.TxFeeCap)
	case c.AccountSlots == 0 || c.AccountQueue == 0 || c.GlobalSlots == 0 || c.GlobalQueue == 0:
		return errors.New("a limit of the mempool is 0, want 1 or more")
	}
	return nil
}

// Account is the address of Key.
func (c Config) Account() common.Address { return crypto.PubkeyToAddress(c.Key.PublicKey) }

func (c Config) coinbase() common.Address {
	if c.Coinbase != (common.Address{}) {
		return c.Coinbase
	}
	return c.Account()
}

// genesis is block 0. The faucet owns a billion coins in it.
func (c Config) genesis() *core.Genesis {
	rules := *params.AllEthashProtocolChanges
	rules.ChainID = new(big.Int).SetUint64(c.ChainID)
	if !c.London {
		rules.LondonBlock, rules.ArrowGlacierBlock, rules.GrayGlacierBlock = nil, nil, nil
	}
	alloc := core.GenesisAlloc{faucetAddress: {Balance: coins(1_000_000_000)}}
	for to, wei := range c.Fund {
		alloc[to] = core.GenesisAccount{Balance: wei}
	}
	return &core.Genesis{
		Config:     &rules,
		ExtraData:  []byte(c.GenesisSeed),
		GasLimit:   c.GasLimit,
		Difficulty: new(big.Int).SetUint64(c.Difficulty),
		Alloc:      alloc,
	}
}

// coins in Wei.
func coins(n int64) *big.Int {
	return new(big.Int).Mul(big.NewInt(n), big.NewInt(params.Ether))
}

// The faucet pays for what tests need without touching the pool's account.
var (
	faucetKey     = keyOf("open-ethereum-pool devnet: the faucet")
	faucetAddress = crypto.PubkeyToAddress(faucetKey.PublicKey)
)

// keyOf derives a key that everybody may know.
func keyOf(phrase string) *ecdsa.PrivateKey {
	key, err := crypto.ToECDSA(crypto.Keccak256([]byte(phrase)))
	if err != nil {
		panic(err) // one hash in 2^128 is no key, and these phrases are constants
	}
	return key
}

// splitHostPort is net.SplitHostPort for numeric ports.
func splitHostPort(addr string) (string, int, error) {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return "", 0, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return host, int(n), err
}

// signer of transactions on this chain, whatever their type.
func (c Config) signer() types.Signer {
	return types.LatestSignerForChainID(new(big.Int).SetUint64(c.ChainID))
}
