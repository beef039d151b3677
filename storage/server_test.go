package storage

import (
	"testing"
	"time"
)

func TestTheServerTellsHowItKeepsData(t *testing.T) {
	b := newBooks(t)
	b.do("CONFIG", "SET", "appendonly", "yes")
	b.do("CONFIG", "SET", "appendfsync", "always")
	b.do("CONFIG", "SET", "save", "60 1000")
	b.do("CONFIG", "SET", "maxmemory", "100mb")
	b.do("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
	s, err := b.db.Server(ctx)
	b.ok(err)
	if !s.AppendOnly || s.Fsync != "always" || s.Snapshots != "60 1000" || !s.ConfigOK || !s.SaveOK || !s.WriteOK {
		t.Errorf("persistence is %+v", s)
	}
	if s.Role != "master" || s.Version == "" || s.UsedMemory <= 0 || s.MaxMemory != 100<<20 || s.Eviction != "allkeys-lru" || s.Persistence == "" {
		t.Errorf("the server is %+v", s)
	}
	if off := time.Since(s.Time).Abs(); off > time.Hour {
		t.Errorf("its clock is %v off", off)
	}
	b.do("CONFIG", "SET", "appendonly", "no")
	b.do("CONFIG", "SET", "save", "")
	if s, err = b.db.Server(ctx); err != nil || s.AppendOnly || s.Snapshots != "" {
		t.Errorf("a server that keeps nothing: %+v, %v", s, err)
	}
	// Providers let nobody see the configuration.
	b.do("ACL", "SETUSER", "default", "-config")
	if s, err = b.db.Server(ctx); err != nil || s.ConfigOK || s.Fsync != "" || s.Role != "master" {
		t.Errorf("a server that hides its configuration: %+v, %v", s, err)
	}
}
