package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
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
	path string

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
	At    int64               `json:"at,omitempty"` // unix seconds of Done
}

func spoolName(b storage.FoundBlock) string { return fmt.Sprintf("%d:%s", b.Height, b.Nonce) }

// openSpool opens the file, or begins it, and locks out a second proxy.
func openSpool(path string, log *slog.Logger) (*spool, error) {
	file, err := lockFile(path, 0)
	if err != nil {
		return nil, fmt.Errorf("proxy.candidates: %w", err)
	}
	s := &spool{path: path, file: file, blocks: map[string]*spooled{}}
	if err := s.read(log); err != nil {
		_ = s.close()
		return nil, fmt.Errorf("proxy.candidates: %w", err)
	}
	return s, nil
}

// lockFile opens a file that lines are added to, for one process only.
func lockFile(path string, flag int) (*os.File, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_APPEND|flag, 0o600)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(file.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil && !isAt(file, path) {
		err = errors.New("it was renewed just now")
	}
	if err != nil {
		file.Close()
		return nil, fmt.Errorf("%s is in use by another proxy; give each its own: %w", path, err)
	}
	return file, nil
}

// isAt says whether the file is still the one of that name.
func isAt(file *os.File, path string) bool {
	ours, err := file.Stat()
	if err != nil {
		return false
	}
	there, err := os.Stat(path)
	return err == nil && os.SameFile(ours, there)
}

// read collects the blocks. A line that a crash or a full disk has torn is told to
// the operator, for it may be a block, and keeps nobody from mining.
func (s *spool) read(log *slog.Logger) error {
	data, err := os.ReadFile(s.path)
	if err != nil {
		return err
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
			b.done = time.Unix(l.At, 0)
		}
	}
	if first > 0 {
		aside := s.path + ".damaged"
		if err := appendFile(aside, damaged); err != nil {
			return fmt.Errorf("set damaged lines aside: %w", err)
		}
		log.Error("the file of found blocks has damaged lines; each may be a block that is not in redis: look at them", "file", s.path, "line", first, "copy", aside)
	}
	if first > 0 || len(s.blocks) == 0 {
		return s.renew()
	}
	return nil
}

func appendFile(path string, data []byte) error {
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return errors.Join(err, file.Close())
}

// renew leaves out of the file what is known no more. The new file takes the old
// one's place whole: whatever happens meanwhile, all blocks are in one of them.
func (s *spool) renew() error {
	if len(s.blocks) == 0 {
		if err := s.file.Truncate(0); err != nil {
			return fmt.Errorf("empty the file of found blocks: %w", err)
		}
		return nil
	}
	next, err := lockFile(s.path+".new", os.O_TRUNC)
	if err != nil {
		return fmt.Errorf("renew the file of found blocks: %w", err)
	}
	for name, b := range s.blocks {
		if err = first(err, writeLine(next, spoolLine{Found: &b.FoundBlock})); !b.done.IsZero() {
			err = first(err, writeLine(next, spoolLine{Done: name, At: b.done.Unix()}))
		}
	}
	if err = first(err, next.Sync()); err == nil {
		err = os.Rename(next.Name(), s.path)
	}
	if err != nil {
		return fmt.Errorf("renew the file of found blocks: %w", errors.Join(err, next.Close(), os.Remove(next.Name())))
	}
	err = s.file.Close()
	s.file = next
	return first(err, syncDir(filepath.Dir(s.path)))
}

// syncDir makes a new name last.
func syncDir(path string) error {
	dir, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(dir.Sync(), dir.Close())
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
	if err := writeLine(s.file, spoolLine{Found: &b}); err != nil {
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
	return writeLine(s.file, spoolLine{Done: spoolName(b), At: known.done.Unix()})
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
	return s.renew()
}

// writeLine begins a line of its own, whatever became of the one before.
func writeLine(file *os.File, l spoolLine) error {
	line, err := json.Marshal(l)
	if err != nil {
		return fmt.Errorf("encode a found block: %w", err)
	}
	if _, err := file.Write(append(append([]byte{'\n'}, line...), '\n')); err != nil {
		return fmt.Errorf("write the file of found blocks: %w", err)
	}
	return nil
}

func (s *spool) close() error { return s.file.Close() }
