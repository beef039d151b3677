package main

import (
	"context"
	"errors"

	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// audit holds Redis, the journal and the chain against each other, now.
func audit(ctx context.Context, a *app) error {
	db, err := a.openRedis(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	auditor, closeNode, err := a.openAuditor(db)
	if err != nil {
		return err
	}
	defer closeNode()
	defer a.busy.begin("Redis or the node")()
	report, err := auditor.Audit(ctx, a.full)
	if err != nil {
		return err
	}
	if a.json {
		if err := a.print(auditOf(report)); err != nil {
			return err
		}
	} else {
		report.Print(a.out)
	}
	switch {
	case !report.Clean():
		return errors.New("the books do not add up")
	case len(report.Missed) > 0:
		return errPartly
	}
	return nil
}

// runAudit audits on schedule.
func (a *app) runAudit(ctx context.Context, db *storage.DB) error {
	auditor, closeNode, err := a.openAuditor(db)
	if err != nil {
		return err
	}
	defer closeNode()
	defer a.busy.begin("audit (Redis or the node)")()
	return auditor.Run(ctx)
}

// openAuditor gives the auditor a node of its own, which it pins to the ledger's chain.
func (a *app) openAuditor(db *storage.DB) (auditor *payouts.Auditor, closeNode func(), err error) {
	var node *rpc.Client
	closeNode = func() {}
	if a.cfg.Payouts.Enabled {
		if node, err = a.openNode(); err != nil {
			return nil, nil, err
		}
		closeNode = node.Close
	}
	auditor, err = payouts.NewAuditor(a.cfg.Payouts, db, node, a.log)
	return auditor, closeNode, err
}
