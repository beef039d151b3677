package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"

	"github.com/alicebob/miniredis/v2"
)

// redisReady is the ready line of the verb "redis".
type redisReady struct {
	Redis string `json:"redis"` // host:port
}

// runRedis is the verb "redis".
func runRedis(ctx context.Context, args []string, ready func(any)) error {
	f := flag.NewFlagSet("redis", flag.ContinueOnError)
	listen := f.String("listen", "127.0.0.1:0", "serve on `host:port`; port 0 picks a free one")
	if err := parse(f, args); errors.Is(err, flag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	db := miniredis.NewMiniRedis()
	if err := db.StartAddr(*listen); err != nil {
		return fmt.Errorf("serve Redis on %s: %w", *listen, err)
	}
	defer db.Close()
	fmt.Fprintln(os.Stderr, "devnet: this is not Redis. It keeps everything in memory and forgets it all when it stops; "+
		"a pool that owes anybody anything needs the real redis-server.")
	ready(redisReady{db.Addr()})
	<-ctx.Done()
	return nil
}
