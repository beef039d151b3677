package storagetest

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// Names that Redis 7 gives its files unless told otherwise.
const (
	rdbFile = "dump.rdb"
	aofDir  = "appendonlydir"
	aofFile = "appendonly.aof" // the whole file before Redis 7
	aofList = aofDir + "/appendonly.aof.manifest"
)

// Snapshot is a copy of everything a server held at one moment. It may be
// restored any number of times, to any [Server] of the same Redis version.
type Snapshot struct{ rdb []byte }

// Snapshot copies the whole data set. What the server would load after a
// [Server.Kill] is the same as without the call.
func (s *Server) Snapshot() Snapshot {
	s.t.Helper()
	var snap Snapshot
	path := filepath.Join(s.dir, rdbFile)
	old, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		old = nil
	} else if err != nil {
		s.t.Fatalf("snapshot of redis-server on %s: %v", s.Addr(), err)
	}
	s.Do(s.t, "SAVE")
	if snap.rdb, err = os.ReadFile(path); err != nil {
		s.t.Fatalf("snapshot of redis-server on %s: %v", s.Addr(), err)
	}
	if err := s.putRDB(old); err != nil {
		s.t.Fatalf("snapshot of redis-server on %s: put the file before it back: %v", s.Addr(), err)
	}
	return snap
}

// Restore is an operator who puts an older snapshot back: the server is
// stopped, its files are replaced, and it is started on the same port.
// Everything written after the snapshot is forgotten.
func (s *Server) Restore(snap Snapshot) {
	s.t.Helper()
	s.Kill()
	if err := s.replaceData(snap); err != nil {
		s.t.Fatalf("restore redis-server on %s: %v", s.Addr(), err)
	}
	s.Restart()
	if !s.set.snapshots {
		// It is loaded now. A server without persistence starts empty next time.
		if err := s.putRDB(nil); err != nil {
			s.t.Fatalf("restore redis-server on %s: %v", s.Addr(), err)
		}
	}
}

func (s *Server) replaceData(snap Snapshot) error {
	if err := os.RemoveAll(filepath.Join(s.dir, aofDir)); err != nil {
		return err
	}
	if s.set.fsync != "" {
		// With appendonly on, Redis reads no dump.rdb, not even when there is
		// no append-only file. It does adopt a file of the older layout, and
		// that may begin with, or be, a snapshot.
		if err := os.WriteFile(filepath.Join(s.dir, aofFile), snap.rdb, 0o600); err != nil {
			return err
		}
	}
	return s.putRDB(snap.rdb)
}

// putRDB replaces dump.rdb, or removes it if rdb is nil.
func (s *Server) putRDB(rdb []byte) error {
	path := filepath.Join(s.dir, rdbFile)
	if rdb != nil {
		return os.WriteFile(path, rdb, 0o600)
	}
	if err := os.Remove(path); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// TruncateAOF is a machine that lost power: the server is gone, and the last n
// bytes of its append-only file were never written. Start it again with
// [Server.Restart]; it loads the commands that are left whole. It fails the
// test if less than n bytes were written since the server first started or was
// restored.
func (s *Server) TruncateAOF(n int64) {
	s.t.Helper()
	s.Stop() // and not Kill, which may itself lose what EverySec holds back
	path, err := s.aofTail()
	if err != nil {
		s.t.Fatalf("truncate the append-only file of redis-server on %s: %v", s.Addr(), err)
	}
	info, err := os.Stat(path)
	if err != nil {
		s.t.Fatalf("truncate the append-only file of redis-server on %s: %v", s.Addr(), err)
	}
	if n < 0 || n > info.Size() {
		s.t.Fatalf("truncate the append-only file of redis-server on %s: %d bytes to cut, it has %d", s.Addr(), n, info.Size())
	}
	if err := os.Truncate(path, info.Size()-n); err != nil {
		s.t.Fatalf("truncate the append-only file of redis-server on %s: %v", s.Addr(), err)
	}
}

// aofTail finds the file that Redis was appending to. Its manifest has a line
// "file NAME seq N type T" for each part, the incremental ones (type i) oldest first.
func (s *Server) aofTail() (string, error) {
	f, err := os.Open(filepath.Join(s.dir, aofList))
	if err != nil {
		return "", err
	}
	defer f.Close()
	tail := ""
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		w := strings.Fields(lines.Text())
		if len(w) == 6 && w[0] == "file" && w[5] == "i" {
			tail = filepath.Join(s.dir, aofDir, w[1])
		}
	}
	if err := lines.Err(); err != nil {
		return "", err
	}
	if tail == "" {
		return "", fmt.Errorf("%s names no incremental file", aofList)
	}
	return tail, nil
}
