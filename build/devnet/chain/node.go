package chain

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"os"
	"time"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/consensus/beacon"
	"github.com/ethereum/go-ethereum/consensus/ethash"
	"github.com/ethereum/go-ethereum/eth"
	"github.com/ethereum/go-ethereum/eth/downloader"
	"github.com/ethereum/go-ethereum/eth/ethconfig"
	"github.com/ethereum/go-ethereum/eth/filters"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/node"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/p2p/enode"
	"github.com/ethereum/go-ethereum/params"
	"github.com/ethereum/go-ethereum/rpc"
)

const (
	callTimeout  = time.Hour               // of one HTTP request: mining many blocks of real size takes long
	closeTimeout = 1500 * time.Millisecond // at the end; connections still open must not delay it
	maxPeers     = 25
)

// Node is a chain to be served.
type Node struct {
	cfg Config
}

// New returns a node for a valid configuration. It starts nothing.
func New(cfg Config) (*Node, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	return &Node{cfg: cfg}, nil
}

// Ready says how to reach a running node.
type Ready struct {
	HTTP     string         `json:"http"` // URL of JSON-RPC
	WS       string         `json:"ws"`   // URL of websockets
	ChainID  uint64         `json:"chainId"`
	Genesis  common.Hash    `json:"genesis"`
	Account  common.Address `json:"account"`  // the pool's
	Coinbase common.Address `json:"coinbase"` // earns the blocks
	Faucet   common.Address `json:"faucet"`   // pays for devnet_fund and devnet_deploy
	Enode    string         `json:"enode"`    // for a peer's Connect; empty without a peer port
}

// Run serves the chain until ctx ends. It calls ready once, when every method
// can be called.
func (n *Node) Run(ctx context.Context, ready func(Ready)) (err error) {
	keys, err := os.MkdirTemp("", "devnet-keys-")
	if err != nil {
		return fmt.Errorf("make a folder for the keys: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(keys)) }()

	stack, err := n.stack(keys)
	if err != nil {
		return fmt.Errorf("make the node: %w", err)
	}
	defer func() { err = errors.Join(err, closeNode(stack)) }()
	if err := n.importKey(stack, keys); err != nil {
		return err
	}
	backend, err := n.backend(stack)
	if err != nil {
		return fmt.Errorf("make the chain: %w", err)
	}

	ctx, cancel := context.WithCancel(ctx)
	m := newMiner(backend, n.cfg)
	idle := make(chan struct{})
	stack.RegisterAPIs(apis(ctx, m, stack, workOf(backend)))
	if err := stack.Start(); err != nil {
		cancel()
		return fmt.Errorf("start the node: %w", err)
	}
	go func() {
		defer close(idle)
		m.run(ctx, n.cfg.BlockInterval)
	}()
	defer func() { <-idle }()
	defer cancel()

	// No thread of geth's own searches; it prepares work for eth_getWork.
	if err := backend.StartMining(0); err != nil {
		return fmt.Errorf("prepare work: %w", err)
	}
	ready(n.ready(stack, backend))
	<-ctx.Done()
	return nil
}

// stack is the node around the chain: servers, accounts, peers.
func (n *Node) stack(keys string) (*node.Node, error) {
	host, port, err := splitHostPort(n.cfg.HTTP)
	if err != nil {
		return nil, err
	}
	wsHost, wsPort := host, port
	if n.cfg.WS != "" {
		if wsHost, wsPort, err = splitHostPort(n.cfg.WS); err != nil {
			return nil, err
		}
	}
	modules := []string{"eth", "net", "web3", "txpool", "debug", "personal", "miner", "admin", "devnet"}
	timeouts := rpc.DefaultHTTPTimeouts
	timeouts.WriteTimeout = callTimeout
	cfg := &node.Config{
		Name:                  "devnet",
		DataDir:               n.cfg.DataDir,
		KeyStoreDir:           keys,
		InsecureUnlockAllowed: true,
		HTTPHost:              host,
		HTTPPort:              port,
		HTTPModules:           modules,
		HTTPTimeouts:          timeouts,
		HTTPVirtualHosts:      []string{"*"},
		WSHost:                wsHost,
		WSPort:                wsPort,
		WSModules:             modules,
		WSOrigins:             []string{"*"},
		P2P:                   p2p.Config{NoDiscovery: true, NoDial: len(n.cfg.Connect) == 0},
	}
	if n.cfg.PeerPort != NoPeers {
		cfg.P2P.ListenAddr = fmt.Sprintf("127.0.0.1:%d", n.cfg.PeerPort)
		cfg.P2P.MaxPeers = maxPeers
	}
	for _, url := range n.cfg.Connect {
		peer, err := enode.ParseV4(url)
		if err != nil {
			return nil, err
		}
		cfg.P2P.StaticNodes = append(cfg.P2P.StaticNodes, peer)
		cfg.P2P.MaxPeers = maxPeers
	}
	return node.New(cfg)
}

// importKey puts the pool's account into the node, with the weakest
// encryption: the key is no secret, and the start is quick.
func (n *Node) importKey(stack *node.Node, dir string) error {
	store := keystore.NewKeyStore(dir, 2, 1)
	stack.AccountManager().AddBackend(store)
	account, err := store.ImportECDSA(n.cfg.Key, Passphrase)
	if err != nil {
		return fmt.Errorf("import the key of %s: %w", n.cfg.Account(), err)
	}
	if n.cfg.Locked {
		return nil
	}
	if err := store.Unlock(account, Passphrase); err != nil {
		return fmt.Errorf("unlock %s: %w", account.Address, err)
	}
	return nil
}

// backend is the chain with its mempool, and geth's services for both.
func (n *Node) backend(stack *node.Node) (*eth.Ethereum, error) {
	// Geth keeps the difficulty's floor in a global of the process. Nodes side
	// by side in one process must agree on it.
	if floor := new(big.Int).SetUint64(n.cfg.Difficulty); params.MinimumDifficulty.Cmp(floor) != 0 {
		params.MinimumDifficulty = floor
	}
	cfg := ethconfig.Defaults
	cfg.Genesis = n.cfg.genesis()
	cfg.NetworkId = n.cfg.ChainID
	cfg.SyncMode = downloader.FullSync
	cfg.EthDiscoveryURLs, cfg.SnapDiscoveryURLs = nil, nil

	cfg.Ethash = ethash.Config{PowMode: ethash.ModeTest, CachesInMem: 2}
	if n.cfg.RealPow {
		cfg.Ethash.PowMode = ethash.ModeNormal
	}
	cfg.Miner.Etherbase = n.cfg.coinbase()
	cfg.Miner.GasFloor, cfg.Miner.GasCeil = n.cfg.GasLimit, n.cfg.GasLimit
	cfg.Miner.GasPrice = new(big.Int).SetUint64(n.cfg.PriceLimitWei)
	cfg.Miner.Recommit = time.Second // the shortest geth allows
	cfg.Miner.Noverify = true        // ethAPI.SubmitWork has; geth would build the whole dataset for it

	// Every state is kept: a reorganisation may go back as far as it likes.
	// The caches are for chains that do not fit into memory.
	cfg.NoPruning, cfg.TxLookupLimit = true, 0
	cfg.TrieCleanCache, cfg.TrieDirtyCache, cfg.SnapshotCache = 0, 0, 0
	cfg.TrieCleanCacheJournal = ""
	cfg.DatabaseCache = 16

	cfg.TxPool.Journal = "" // a restart forgets
	cfg.TxPool.NoLocals = n.cfg.NoLocals
	cfg.TxPool.PriceLimit = n.cfg.PriceLimitWei
	cfg.TxPool.AccountSlots, cfg.TxPool.AccountQueue = n.cfg.AccountSlots, n.cfg.AccountQueue
	cfg.TxPool.GlobalSlots, cfg.TxPool.GlobalQueue = n.cfg.GlobalSlots, n.cfg.GlobalQueue
	cfg.RPCTxFeeCap = n.cfg.TxFeeCap

	backend, err := eth.New(stack, &cfg)
	if err != nil {
		return nil, err
	}
	logs := filters.NewFilterSystem(backend.APIBackend, filters.Config{LogCacheSize: cfg.FilterLogCacheSize})
	stack.RegisterAPIs([]rpc.API{{Namespace: "eth", Service: filters.NewFilterAPI(logs, false)}})
	return backend, nil
}

// workOf is the service of geth's remote sealer.
func workOf(backend *eth.Ethereum) *ethash.API {
	engine := backend.Engine().(*beacon.Beacon).InnerEngine().(*ethash.Ethash)
	return engine.APIs(nil)[0].Service.(*ethash.API)
}

func (n *Node) ready(stack *node.Node, backend *eth.Ethereum) Ready {
	r := Ready{
		HTTP:     stack.HTTPEndpoint(),
		WS:       stack.WSEndpoint(),
		ChainID:  n.cfg.ChainID,
		Genesis:  backend.BlockChain().Genesis().Hash(),
		Account:  n.cfg.Account(),
		Coinbase: n.cfg.coinbase(),
		Faucet:   faucetAddress,
	}
	if n.cfg.PeerPort != NoPeers {
		r.Enode = stack.Server().Self().URLv4()
	}
	return r
}

// closeNode ends the node's goroutines, but waits only so long for clients
// that keep a connection busy.
func closeNode(stack *node.Node) error {
	closed := make(chan error, 1)
	go func() { closed <- stack.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(closeTimeout):
		log.Warn("Connections still open at the end")
		return nil
	}
}
