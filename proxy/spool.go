package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// spoolKeep is how long a block stays in the file after Redis had it. A Redis that
// fails over, or loses its last second, forgets it again; somebody has mended that
// by then.
const spoolKeep = 6 * time.Hour

// spool is a file of the blocks that were found lately, one a line. A block is in
// it before it leaves the process.
type spool struct {
	mu     sync.Mutex // guards all below, and the file
	file   *os.File
	blocks map[string]*spooled
}

// spooled is a block in the file.
type spooled struct {
	storage.FoundBlock
	done time.Time // when Redis had it; zero: it has not
}

// spoolLine is one line: a block, or the name of one that is in Redis.
type spoolLine struct {
	Found *storage.FoundBlock `json:"found,omitempty"`
	Done  string              `json:"done,omitempty"`
}

func spoolName(b storage.FoundBlock) string { return fmt.Sprintf("%d:%s", b.Height, b.Nonce) }

// openSpool opens the file, or begins it, and locks out a second proxy.
func openSpool(path string, log *slog.Logger) (*spool, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return nil, fmt.Errorf("proxy.candidates: %w", err)
	}
	s := &spool{file: file, blocks: map[string]*spooled{}}
	if err := unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		file.Close()
		return nil, fmt.Errorf("proxy.candidates: %s is in use by another proxy; give each its own: %w", path, err)
	}
	if err := s.read(path, log); err != nil {
		file.Close()
		return nil, err
	}
	return s, nil
}

// read collects the blocks. A line that a crash or a full disk has torn is told to
// the operator, for it may be a block, and keeps nobody from mining: the file keeps
// it until all blocks in it are old.
func (s *spool) read(path string, log *slog.Logger) error {
	data, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("proxy.candidates: %w", err)
	}
	var damaged []byte
	n, first := 0, 0
	for text := range bytes.Lines(data) {
		n++
		if text = bytes.TrimSpace(text); len(text) == 0 {
			continue
		}
		var l spoolLine
		if json.Unmarshal(text, &l) != nil {
			if damaged = append(append(damaged, text...), '\n'); first == 0 {
				first = n
			}
			continue
		}
		if l.Found != nil {
			s.blocks[spoolName(*l.Found)] = &spooled{FoundBlock: *l.Found}
		}
		if b := s.blocks[l.Done]; b != nil {
			b.done = time.Now() // or earlier
		}
	}
	if first > 0 {
		aside := path + ".damaged"
		if err := appendFile(aside, damaged); err != nil {
			return fmt.Errorf("proxy.candidates: set damaged lines aside: %w", err)
		}
		log.Error("the file of found blocks has damaged lines; each may be a block that is not in redis: look at them", "file", path, "line", first, "copy", aside)
	}
	return s.restart()
}

func appendFile(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// restart empties the file once there is no block in it.
func (s *spool) restart() error {
	if len(s.blocks) > 0 {
		return nil
	}
	if err := s.file.Truncate(0); err != nil {
		return fmt.Errorf("empty the file of found blocks: %w", err)
	}
	return nil
}

// left are the blocks that are not in Redis, as far as this file knows; kept are
// the others, which Redis may have forgotten since.
func (s *spool) left() []storage.FoundBlock { return s.list(false) }
func (s *spool) kept() []storage.FoundBlock { return s.list(true) }

func (s *spool) list(done bool) (blocks []storage.FoundBlock) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, b := range s.blocks {
		if done == !b.done.IsZero() {
			blocks = append(blocks, b.FoundBlock)
		}
	}
	return blocks
}

// add returns when the block is on disk.
func (s *spool) add(b storage.FoundBlock) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocks[spoolName(b)] = &spooled{FoundBlock: b}
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
	known := s.blocks[spoolName(b)]
	if known == nil || !known.done.IsZero() {
		return nil
	}
	known.done = time.Now()
	return s.write(spoolLine{Done: spoolName(b)})
}

// forget leaves out the blocks that were done before then.
func (s *spool) forget(then time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := len(s.blocks)
	for name, b := range s.blocks {
		if !b.done.IsZero() && b.done.Before(then) {
			delete(s.blocks, name)
		}
	}
	if len(s.blocks) == before {
		return nil
	}
	return s.restart()
}

// write begins a line of its own, whatever became of the one before.
func (s *spool) write(l spoolLine) error {
	line, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode a found block: %w", err)
	}
	if _, err := s.file.Write(append(append([]byte{'\n'}, line...), '\n')); err != nil {
		return fmt.Errorf("write the file of found blocks: %w", err)
	}
	return nil
}

func (s *spool) close() error { return s.file.Close() }
