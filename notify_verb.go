package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// testHooks sends every hook a test message; Redis is not asked.
func testHooks(ctx context.Context, a *app) error {
	var f util.Faults
	f.Unless(a.cfg.Notify.Enabled, "notify.enabled", "is false, want true")
	if err := f.Err(); err != nil {
		return err
	}
	n, err := a.newNotifier(nil)
	if err != nil {
		return err
	}
	defer a.busy.begin("a hook")()
	w := tabwriter.NewWriter(a.out, 0, 8, 2, ' ', 0)
	failed := 0
	for _, t := range n.Test(ctx) {
		if t.Err != nil {
			failed++
			fmt.Fprintf(w, "%s\tfailed\t%v\n", t.Hook, t.Err)
			continue
		}
		fmt.Fprintf(w, "%s\tok\n", t.Hook)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	if failed > 0 {
		return errors.New("a hook did not take the test message")
	}
	return nil
}
