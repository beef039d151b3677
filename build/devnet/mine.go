package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/devnet/miner"
)

// runMine is the verb "mine": one rig of the small CPU miner.
func runMine(ctx context.Context, args []string, _ func(any)) error {
	f := flag.NewFlagSet("mine", flag.ContinueOnError)
	cfg := miner.Config{Answered: func(err error) {
		if err != nil {
			fmt.Println("share refused:", err)
			return
		}
		fmt.Println("share accepted")
	}}
	f.StringVar(&cfg.Pool, "pool", "127.0.0.1:8008", "the pool's `host:port`")
	f.StringVar(&cfg.Login, "login", "", "the `address` to be paid")
	f.StringVar(&cfg.Rig, "rig", "devnet", "the rig's `name`")
	f.StringVar(&cfg.Dialect, "dialect", miner.EthProxy, fmt.Sprintf("one of %v", miner.Dialects))
	f.DurationVar(&cfg.Rest, "rest", time.Millisecond, "pause after every few nonces")
	if err := parse(f, args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	if cfg.Login == "" {
		fmt.Fprintln(os.Stderr, "mine: --login is missing: whom should the pool pay?")
		return errUsage
	}
	if err := miner.Run(ctx, cfg); ctx.Err() == nil {
		return err
	}
	return nil
}
