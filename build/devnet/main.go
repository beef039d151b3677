// Devnet is what the pool needs around it to be tried or tested with nothing
// installed: a real proof-of-work chain and a server that speaks Redis.
//
// Every verb serves on loopback until it is told to end. The servers print one
// line of JSON on standard output when they can be used, and whatever else they
// have to say on standard error; the demo speaks to people. Nothing here is for
// money: see package chain.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// verb runs until ctx ends. Flags are parsed from args; ready takes what the
// first line on standard output is made of.
type verb func(ctx context.Context, args []string, ready func(any)) error

var verbs = map[string]verb{
	"chain": runChain,
	"demo":  runDemo,
	"mine":  runMine,
	"redis": runRedis,
}

const usage = `devnet: a chain and a database to try the pool with, and nothing to trust.

  devnet chain [flags]   a proof-of-work chain in one process
  devnet redis [flags]   a server that speaks Redis and keeps nothing
  devnet mine [flags]    one rig of a small CPU miner, at any pool
  devnet demo [flags]    both, rigs that mine, and the pool that pays them

The first two print one line of JSON when they are ready; all end on SIGTERM or Ctrl-C.
The flags of a verb: devnet VERB --help
`

// errUsage ends the process with status 2; what is wrong has been printed.
var errUsage = errors.New("wrong usage")

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	switch err := run(ctx, os.Args[1:]); {
	case errors.Is(err, errUsage):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, "devnet:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return errUsage
	}
	if args[0] == "help" || args[0] == "-h" || args[0] == "--help" {
		fmt.Print(usage)
		return nil
	}
	do, ok := verbs[args[0]]
	if !ok {
		fmt.Fprintf(os.Stderr, "devnet: no verb %q\n\n%s", args[0], usage)
		return errUsage
	}
	var unwritten error
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := do(ctx, args[1:], func(v any) {
		if unwritten = json.NewEncoder(os.Stdout).Encode(v); unwritten != nil {
			cancel() // nobody will learn where to connect
		}
	})
	if unwritten != nil {
		unwritten = fmt.Errorf("print the ready line: %w", unwritten)
	}
	return errors.Join(err, unwritten)
}

// parse reads the flags of a verb. It returns flag.ErrHelp when help was asked
// for and printed, which is no failure.
func parse(flags *flag.FlagSet, args []string) error {
	flags.SetOutput(io.Discard) // the flag package would print errors itself, and help to standard error
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		fmt.Printf("devnet %s [flags]\n", flags.Name())
		flags.SetOutput(os.Stdout)
		flags.PrintDefaults()
		return err
	case err != nil:
		return fmt.Errorf("%s: %w", flags.Name(), err)
	case flags.NArg() > 0:
		return fmt.Errorf("%s: unexpected argument %q", flags.Name(), flags.Arg(0))
	}
	return nil
}
