package storage

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Server is how Redis is set up and how it is doing, as far as money depends on
// it (https://redis.io/docs/latest/operate/oss_and_stack/management/persistence/).
// Of a cluster it is one node.
type Server struct {
	Version string
	Role    string    // master or slave
	Time    time.Time // by its own clock

	AppendOnly bool   // every write goes to a file
	Fsync      string // appendfsync: always, everysec or no; empty when CONFIG is not allowed
	Snapshots  string // save: seconds and changes, in pairs; empty for none
	ConfigOK   bool   // CONFIG GET is allowed, so that the two above are known

	LastSave    time.Time // of the newest snapshot
	SaveOK      bool      // the last snapshot succeeded
	WriteOK     bool      // the last write to the append-only file did
	UsedMemory  int64     // bytes
	MaxMemory   int64     // bytes, 0 for no limit
	Eviction    string    // maxmemory_policy
	Replicas    int       // connected
	LinkDown    bool      // of a replica: it does not see its master
	ReplicaLag  int64     // of a replica: seconds since its master was heard
	Persistence string    // where the files are, when CONFIG is allowed
}

// Server asks Redis about itself.
func (db *DB) Server(ctx context.Context) (Server, error) {
	text, err := db.rdb.Info(ctx).Result()
	if err != nil {
		return Server{}, fmt.Errorf("ask redis about itself: %w", err)
	}
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	number := func(name string) int64 {
		n, _ := strconv.ParseInt(info[name], 10, 64) // 0 where a version does not say
		return n
	}
	s := Server{
		Version: info["redis_version"], Role: info["role"],
		AppendOnly: info["aof_enabled"] == "1", SaveOK: info["rdb_last_bgsave_status"] != "err", WriteOK: info["aof_last_write_status"] != "err",
		LastSave: time.Unix(number("rdb_last_save_time"), 0), UsedMemory: number("used_memory"), MaxMemory: number("maxmemory"), Eviction: info["maxmemory_policy"],
		Replicas: int(number("connected_slaves")), LinkDown: info["master_link_status"] == "down", ReplicaLag: number("master_last_io_seconds_ago"),
	}
	if s.Time, err = db.rdb.Time(ctx).Result(); err != nil {
		return Server{}, fmt.Errorf("ask redis for its clock: %w", err)
	}
	config := map[string]string{}
	s.ConfigOK = true
	for _, name := range []string{"appendfsync", "save", "dir"} {
		m, err := db.rdb.ConfigGet(ctx, name).Result()
		if err != nil { // providers forbid it
			s.ConfigOK = false
			break
		}
		config[name] = m[name]
	}
	s.Fsync, s.Snapshots, s.Persistence = config["appendfsync"], config["save"], config["dir"]
	return s, nil
}
