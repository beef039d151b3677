package payouts

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/ethereum/go-ethereum/common"
	"golang.org/x/sys/unix"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

var (
	// ErrJournalLocked reports that another process has the journal open.
	ErrJournalLocked = errors.New("the journal is in use by another payouts process")
	// ErrJournal reports a journal that cannot be trusted: of another chain or
	// account, or damaged before its last record.
	ErrJournal = errors.New("journal refused")
)

// Record is one line of the journal; one of its parts is set.
type Record struct {
	Header  *Header          `json:"header,omitempty"`
	Payment *storage.Payment `json:"payment,omitempty"` // opened, with its first attempt
	Attempt *AttemptRecord   `json:"attempt,omitempty"`
	Void    *VoidRecord      `json:"void,omitempty"`
	ByHand  *ByHandRecord    `json:"byHand,omitempty"`
	Act     *ActRecord       `json:"act,omitempty"`
}

// Header is the journal's first record: which chain and account it speaks of.
type Header struct {
	ID      string         `json:"id"` // random; names this journal in the payments lock
	ChainID uint64         `json:"chainId"`
	Genesis common.Hash    `json:"genesis"`
	Account common.Address `json:"account"`
	Time    int64          `json:"time"` // unix seconds
}

// AttemptRecord is one more attempt at a payment.
type AttemptRecord struct {
	ID      string          `json:"id"`
	Count   int             `json:"count"` // attempts with this one
	Attempt storage.Attempt `json:"attempt"`
}

// VoidRecord is a payment given up and credited back. It is written before the
// ledger, which proves it again after a crash in between.
type VoidRecord struct {
	ID     string            `json:"id"`
	Fate   storage.NonceFate `json:"fate"`
	Why    string            `json:"why"`
	Reject string            `json:"reject,omitempty"`
}

// ByHandRecord is a payment that the operator made, written down by the pool.
type ByHandRecord struct {
	Login  string       `json:"login"`
	Amount util.Shannon `json:"amount"`
	Hash   common.Hash  `json:"hash"`
	Time   int64        `json:"time"`
	// Typed says that it was found in the history as a person had typed it.
	Typed bool `json:"typed,omitempty"`
}

// ActRecord is what an operator said, and which of all acts it is, from 0.
type ActRecord struct {
	Number int         `json:"number"`
	Act    storage.Act `json:"act"`
}

// JournalFile is the journal on disk: one line for each Append, a JSON array of
// its records behind a checksum, synced before Append returns, locked against a
// second process. What a crash tears is so always the last line.
type JournalFile struct {
	path   string
	file   *os.File
	header Header
	end    int64 // of the last record that is known to be on disk
	torn   bool  // something that is not may stand behind it
}

// OpenJournal opens the journal of this chain and account, or begins it. A torn
// last line, the trace of a crash, is dropped; damage anywhere else is
// [ErrJournal], because it may hide a payment.
func OpenJournal(path string, want Header) (*JournalFile, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the journal: %w", err)
	}
	j := &JournalFile{path: path, file: file}
	if err := j.begin(want); err != nil {
		file.Close()
		return nil, err
	}
	return j, nil
}

func (j *JournalFile) begin(want Header) error {
	if err := unix.Flock(int(j.file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		if errors.Is(err, unix.EWOULDBLOCK) {
			return fmt.Errorf("%s: %w", j.path, ErrJournalLocked)
		}
		return fmt.Errorf("lock journal %s: %w", j.path, err)
	}
	end, err := scanJournal(j.file, j.path, func(r Record) error {
		if r.Header != nil && j.header.ID == "" {
			j.header = *r.Header
		}
		return nil
	})
	if err != nil {
		return err
	}
	j.end, j.torn = end, true
	if err := j.cut(); err != nil {
		return err
	}
	if end == 0 {
		return j.create(want)
	}
	h := j.header
	switch {
	case h.ID == "":
		return fmt.Errorf("%s: %w: its first record is not a header", j.path, ErrJournal)
	case h.ChainID != want.ChainID || h.Genesis != want.Genesis:
		return fmt.Errorf("%s: %w: it belongs to chain id %d with genesis %s, the node is on chain id %d with genesis %s",
			j.path, ErrJournal, h.ChainID, h.Genesis, want.ChainID, want.Genesis)
	case h.Account != want.Account:
		return fmt.Errorf("%s: %w: it belongs to account %s, payouts.address is %s; set payouts.journal to a new file for a new account",
			j.path, ErrJournal, h.Account, want.Account)
	}
	return nil
}

func (j *JournalFile) create(h Header) error {
	var id [8]byte
	_, _ = rand.Read(id[:]) // never fails, says crypto/rand
	h.ID = hex.EncodeToString(id[:])
	j.header = h
	if err := j.Append(Record{Header: &h}); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(j.path))
	if err != nil {
		return fmt.Errorf("sync the directory of journal %s: %w", j.path, err)
	}
	defer dir.Close()
	if err := dir.Sync(); err != nil {
		return fmt.Errorf("sync the directory of journal %s: %w", j.path, err)
	}
	return nil
}

// Header says whose journal this is.
func (j *JournalFile) Header() Header { return j.header }

// cut drops what stands behind the last record known to be on disk: half a
// record in front of the next one would be damage.
func (j *JournalFile) cut() error {
	if !j.torn {
		return nil
	}
	if err := j.file.Truncate(j.end); err != nil {
		return fmt.Errorf("drop the torn last record of journal %s: %w", j.path, err)
	}
	j.torn = false
	return nil
}

// Append writes records and returns when they are on disk. After an error none
// of them counts, and the next Append starts where this one did.
func (j *JournalFile) Append(records ...Record) error {
	if len(records) == 0 {
		return nil
	}
	body, err := json.Marshal(records)
	if err != nil {
		return fmt.Errorf("encode journal records: %w", err)
	}
	line := fmt.Appendf(nil, "%08x %s\n", crc32.ChecksumIEEE(body), body)
	if err := j.cut(); err != nil {
		return err
	}
	j.torn = true
	if _, err := j.file.WriteAt(line, j.end); err != nil {
		return fmt.Errorf("write journal %s: %w", j.path, err)
	}
	if err := j.file.Sync(); err != nil {
		return fmt.Errorf("sync journal %s: %w", j.path, err)
	}
	j.end, j.torn = j.end+int64(len(line)), false
	return nil
}

// Replay calls each with every record, oldest first.
func (j *JournalFile) Replay(each func(Record) error) error {
	end, err := scanJournal(io.NewSectionReader(j.file, 0, j.end), j.path, each)
	if err == nil && end != j.end {
		return fmt.Errorf("%s: %w: its last record is damaged", j.path, ErrJournal)
	}
	return err
}

// Close gives the file and its lock back. The lock is given back by name: a child
// that this process is just starting may hold the file for a moment longer.
func (j *JournalFile) Close() error {
	return errors.Join(unix.Flock(int(j.file.Fd()), unix.LOCK_UN), j.file.Close())
}

// scanJournal reads records and returns where the last whole line ends.
func scanJournal(r io.Reader, path string, each func(Record) error) (end int64, err error) {
	in := bufio.NewReaderSize(r, 1<<16)
	for n := 1; ; n++ {
		line, err := in.ReadBytes('\n')
		if err == io.EOF {
			return end, nil // a line without its end was never synced
		}
		if err != nil {
			return 0, fmt.Errorf("read journal %s: %w", path, err)
		}
		records, bad := parseRecords(line)
		if bad != nil {
			if _, err := in.Peek(1); err == io.EOF && !errors.Is(bad, errVersion) {
				return end, nil // half of it was on disk
			}
			return 0, fmt.Errorf("%s: %w: line %d is damaged: %w", path, ErrJournal, n, bad)
		}
		for _, r := range records {
			if err := each(r); err != nil {
				return 0, err
			}
		}
		end += int64(len(line))
	}
}

// errVersion is a line that is whole, and that was written by a newer version.
var errVersion = errors.New("it holds no records of this version")

func parseRecords(line []byte) ([]Record, error) {
	sum, body, ok := strings.Cut(strings.TrimSuffix(string(line), "\n"), " ")
	if !ok || sum != fmt.Sprintf("%08x", crc32.ChecksumIEEE([]byte(body))) {
		return nil, errors.New("its checksum does not match")
	}
	var records []Record
	dec := json.NewDecoder(strings.NewReader(body))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&records); err != nil {
		return nil, errVersion
	}
	return records, nil
}
