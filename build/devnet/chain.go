package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/big"
	"os"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/log"
	"github.com/ethereum/go-ethereum/params"
	"github.com/open-ethereum-pool/open-ethereum-pool/build/devnet/chain"
)

// runChain is the verb "chain".
func runChain(ctx context.Context, args []string, ready func(any)) error {
	cfg, verbosity, err := chainFlags(args)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	log.Root().SetHandler(log.LvlFilterHandler(log.Lvl(verbosity), log.StreamHandler(os.Stderr, log.LogfmtFormat())))
	node, err := chain.New(cfg)
	if err != nil {
		return fmt.Errorf("chain: %w", err)
	}
	return node.Run(ctx, func(r chain.Ready) { ready(r) })
}

// chainFlags is the command line of the verb "chain" as a configuration, and
// how much geth logs.
func chainFlags(args []string) (chain.Config, int, error) {
	cfg := chain.DefaultConfig()
	cfg.Fund = make(map[common.Address]*big.Int)
	f := flag.NewFlagSet("chain", flag.ContinueOnError)

	f.StringVar(&cfg.HTTP, "http", cfg.HTTP, "serve JSON-RPC on `host:port`; port 0 picks a free one")
	f.StringVar(&cfg.WS, "ws", cfg.WS, "serve websockets on `host:port`; without it on the port of -http")
	f.StringVar(&cfg.DataDir, "datadir", cfg.DataDir, "keep the blocks in this `folder`; without it in memory until the end")
	f.Uint64Var(&cfg.ChainID, "chain-id", cfg.ChainID, "chain `id` of transactions (EIP-155) and network id of peers")
	f.StringVar(&cfg.GenesisSeed, "genesis-seed", cfg.GenesisSeed, "`text` of up to 32 bytes in the genesis block, to tell chains of one id apart")
	f.Uint64Var(&cfg.Difficulty, "difficulty", cfg.Difficulty, "lowest difficulty in `hashes` per block; below 2048 it stays constant")
	f.Uint64Var(&cfg.GasLimit, "gas-limit", cfg.GasLimit, "`gas` of every block")
	f.Func("pow", "Ethash's sizes, a `mode`: test (32 KiB, found in milliseconds; the default) or real (1 GiB, computed as needed; about a second)",
		func(mode string) error {
			cfg.RealPow = mode == "real"
			if mode != "real" && mode != "test" {
				return errors.New("want test or real")
			}
			return nil
		})
	f.DurationVar(&cfg.BlockInterval, "block-interval", cfg.BlockInterval, "seal a block every `duration` such as 2s; 0: only on demand")
	f.BoolVar(&cfg.London, "london", cfg.London, "base fee and dynamic-fee transactions (EIP-1559)")
	f.Func("fund", "`ADDRESS=COINS` in the genesis block; may be given often", func(s string) error {
		to, wei, err := funding(s)
		if err == nil {
			cfg.Fund[to] = wei
		}
		return err
	})
	f.Func("key", "`hexadecimal` private key of the pool's account, a throw-away (default one that everybody knows)", func(s string) error {
		key, err := crypto.HexToECDSA(strings.TrimPrefix(s, "0x"))
		if err != nil {
			return errors.New("want 64 hexadecimal digits of a private key") // the flag's value is printed already
		}
		cfg.Key = key
		return nil
	})
	f.BoolVar(&cfg.Locked, "locked", cfg.Locked, fmt.Sprintf("leave that account locked; its passphrase is %q", chain.Passphrase))
	f.Func("coinbase", "`address` that earns the blocks (default the pool's account)", func(s string) error {
		to, err := address(s)
		cfg.Coinbase = to
		return err
	})
	f.IntVar(&cfg.PeerPort, "peer-port", cfg.PeerPort, "listen for peers on this `port` of 127.0.0.1; 0 picks a free one, -1 listens on none")
	f.Func("connect", "stay connected to the peer at this `enode`; may be given often", func(s string) error {
		cfg.Connect = append(cfg.Connect, s)
		return nil
	})
	f.Uint64Var(&cfg.AccountSlots, "account-slots", cfg.AccountSlots, "executable `transactions` an account is sure of in a full mempool")
	f.Uint64Var(&cfg.AccountQueue, "account-queue", cfg.AccountQueue, "`transactions` behind a nonce gap an account may have")
	f.Uint64Var(&cfg.GlobalSlots, "global-slots", cfg.GlobalSlots, "executable `transactions` of all accounts in the mempool")
	f.Uint64Var(&cfg.GlobalQueue, "global-queue", cfg.GlobalQueue, "`transactions` behind nonce gaps of all accounts")
	f.BoolVar(&cfg.NoLocals, "no-locals", cfg.NoLocals, "apply those limits, and -price-limit, to transactions sent to this node too")
	f.Uint64Var(&cfg.PriceLimitWei, "price-limit", cfg.PriceLimitWei, "lowest gas price in `Wei` taken from strangers and mined")
	f.Float64Var(&cfg.TxFeeCap, "rpc-txfeecap", cfg.TxFeeCap, "highest fee in `coins` of a transaction sent to this node; 0: any")
	verbosity := f.Int("verbosity", int(log.LvlError), "`level` of the log on standard error: 0 silent, 1 error, 2 warn, 3 info, 4 debug, 5 trace")

	err := parse(f, args)
	return cfg, *verbosity, err
}

// funding reads ADDRESS=COINS; the coins may have 18 decimals.
func funding(s string) (common.Address, *big.Int, error) {
	who, amount, _ := strings.Cut(s, "=")
	to, err := address(who)
	if err != nil {
		return to, nil, err
	}
	wei, ok := new(big.Rat).SetString(amount)
	if ok {
		wei.Mul(wei, new(big.Rat).SetInt64(params.Ether))
	}
	if !ok || !wei.IsInt() || wei.Sign() < 0 || wei.Num().BitLen() > 128 {
		return to, nil, fmt.Errorf("amount is %q, want coins such as 12.5", amount)
	}
	return to, wei.Num(), nil
}

func address(s string) (common.Address, error) {
	if !common.IsHexAddress(s) {
		return common.Address{}, fmt.Errorf("address is %q, want 0x and 40 hexadecimal digits", s)
	}
	return common.HexToAddress(s), nil
}
