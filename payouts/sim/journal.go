package sim

import (
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/payouts"
)

// journalFile is a journal on a host's disk.
type journalFile struct {
	host    string
	header  payouts.Header
	records []payouts.Record // synced
	torn    []payouts.Record // the last line, written and not known to be synced
	holder  *process         // who has it open, alone
}

// open takes the file's lock, and reads a torn last line if it happens to be
// whole.
func (f *journalFile) open(p *process) error {
	if f.holder != nil {
		return payouts.ErrJournalLocked
	}
	if p.w.chance(500) {
		f.records = append(f.records, f.torn...)
	}
	f.torn, f.holder = nil, p
	return nil
}

// knows says that a transaction's bytes are on the disk.
func (f *journalFile) knows(hash common.Hash) bool {
	return slices.ContainsFunc(f.records, func(r payouts.Record) bool {
		return r.Payment != nil && r.Payment.Last().Hash == hash || r.Attempt != nil && r.Attempt.Attempt.Hash == hash
	})
}

// journalled says that a transaction is in a journal.
func (w *World) journalled(t *tx) bool {
	return slices.ContainsFunc(w.disks, func(f *journalFile) bool { return f.knows(t.hash) })
}

// journal is a file as its holder uses it.
type journal struct {
	*journalFile
	p *process
}

func (j journal) Header() payouts.Header { return j.header }

func (j journal) Replay(each func(payouts.Record) error) error {
	for _, r := range j.records {
		if err := each(copyRecord(r)); err != nil {
			return err
		}
	}
	return nil
}

// Append can be cut off between writing and syncing. What an append that failed
// has left is dropped by the next one.
func (j journal) Append(records ...payouts.Record) error {
	var line []payouts.Record
	for _, r := range records {
		line = append(line, copyRecord(r))
	}
	j.torn = line
	j.p.pause("fsync")
	if j.p.w.chance(j.p.w.d.disk) {
		return fmt.Errorf("sync journal: no space left on device")
	}
	j.torn = nil
	j.records = append(j.records, line...)
	return nil
}

// copyRecord is what writing to a file and reading it back gives.
func copyRecord(r payouts.Record) payouts.Record {
	if r.Payment != nil {
		p := *r.Payment
		p.Attempts = slices.Clone(p.Attempts)
		r.Payment = &p
	}
	return r
}
