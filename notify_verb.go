package main

import (
	"context"
	"errors"
	"fmt"
	"text/tabwriter"

	"github.com/open-ethereum-pool/open-ethereum-pool/notify"
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
	if a.json {
		return a.printHooks(n.Test(ctx))
	}
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
		return errHook
	}
	return nil
}

var errHook = errors.New("a hook did not take the test message")

func (a *app) printHooks(tests []notify.Tried) error {
	var failed error
	list := make([]hookView, 0, len(tests))
	for _, t := range tests {
		v := hookView{Hook: t.Hook, Taken: t.Err == nil}
		if t.Err != nil {
			v.Error, failed = t.Err.Error(), errHook
		}
		list = append(list, v)
	}
	return errors.Join(a.print(list), failed)
}
