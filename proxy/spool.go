package proxy

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// spool is a file of the blocks that were found and are not in Redis yet, one a
// line. A block is in it before it leaves the process.
type spool struct {
	mu      sync.Mutex // guards all below, and the file
	file    *os.File
	waiting map[string]storage.FoundBlock
}

// spoolLine is one line: a block, or the name of one that is in Redis.
type spoolLine struct {
	Found *storage.FoundBlock `json:"found,omitempty"`
	Done  string              `json:"done,omitempty"`
}

func spoolName(b storage.FoundBlock) string { return fmt.Sprintf("%d:%s", b.Height, b.Nonce) }

// openSpool opens the file, or begins it, and locks out a second proxy.
func openSpool(path string) (*spool, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("proxy.candidates: %w", err)
	}
	s := &spool{file: file, waiting: map[string]storage.FoundBlock{}}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("proxy.candidates: %s is in use by another proxy; give each its own: %w", path, err)
	}
	if err := s.read(path); err != nil {
		file.Close()
		return nil, err
	}
	return s, nil
}

// read collects what is not done. The last line may be torn by a crash; a line
// before it that cannot be read might be a block, so that it is an error.
func (s *spool) read(path string) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("proxy.candidates: %w", err)
	}
	whole := data[:bytes.LastIndexByte(data, '\n')+1]
	in := bufio.NewScanner(bytes.NewReader(whole))
	for n := 1; in.Scan(); n++ {
		var l spoolLine
		if err := json.Unmarshal(in.Bytes(), &l); err != nil {
			return fmt.Errorf("proxy.candidates: %s line %d cannot be read; it may be a block: look at it, and move the file away", path, n)
		}
		if l.Found != nil {
			s.waiting[spoolName(*l.Found)] = *l.Found
		}
		delete(s.waiting, l.Done)
	}
	if err := s.file.Truncate(int64(len(whole))); err != nil {
		return fmt.Errorf("proxy.candidates: %w", err)
	}
	return s.restart()
}

// restart empties the file once nothing waits in it.
func (s *spool) restart() error {
	if len(s.waiting) > 0 {
		return nil
	}
	if err := s.file.Truncate(0); err != nil {
		return fmt.Errorf("empty the file of found blocks: %w", err)
	}
	return nil
}

// left are the blocks of an earlier process that are not in Redis.
func (s *spool) left() (blocks []storage.FoundBlock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.waiting {
		blocks = append(blocks, b)
	}
	return blocks
}

// add returns when the block is on disk.
func (s *spool) add(b storage.FoundBlock) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting[spoolName(b)] = b
	if err := s.write(spoolLine{Found: &b}); err != nil {
		return err
	}
	if err := s.file.Sync(); err != nil {
		return fmt.Errorf("sync the file of found blocks: %w", err)
	}
	return nil
}

// done notes that the block is in Redis. Losing the note is harmless.
func (s *spool) done(b storage.FoundBlock) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.waiting, spoolName(b))
	if len(s.waiting) == 0 {
		return s.restart()
	}
	return s.write(spoolLine{Done: spoolName(b)})
}

func (s *spool) write(l spoolLine) error {
	line, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode a found block: %w", err)
	}
	if _, err := s.file.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("write the file of found blocks: %w", err)
	}
	return nil
}

func (s *spool) close() error { return s.file.Close() }
