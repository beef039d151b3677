package storage

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/redis/go-redis/v9"
)

var (
	// ErrMalformed reports a value in Redis that cannot be what it should be.
	// Nothing was done with it.
	ErrMalformed = errors.New("malformed value in redis")
	// ErrNotFound reports that Redis holds no such thing.
	ErrNotFound = errors.New("not found in redis")
)

// DB is the pool's Redis. It is safe for concurrent use.
type DB struct {
	rdb  redis.UniversalClient
	Keys Keys
}

// Open connects and asks Redis for a sign of life. The client is chosen by
// configuration, never guessed from the number of addresses.
func Open(ctx context.Context, cfg Config, coin string) (*DB, error) {
	var security *tls.Config
	if cfg.TLS {
		security = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	o := redis.UniversalOptions{
		Addrs: []string{cfg.Endpoint}, DB: cfg.Database, Username: cfg.Username, Password: cfg.Password,
		SentinelPassword: cfg.SentinelPassword, PoolSize: cfg.PoolSize, TLSConfig: security, MaxRedirects: 3,
		// A repeated write is applied twice without an error, so every retry is
		// ours and goes through a script that may be repeated.
		MaxRetries: -1, Protocol: 2, DisableIdentity: true, ContextTimeoutEnabled: true,
		// Pipelines have no connections of their own, with a quarter megabyte each.
		PipelinePoolSize: -1,
		DialTimeout:      5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 10 * time.Second, PoolTimeout: 15 * time.Second,
	}
	db := &DB{Keys: NewKeys(coin)}
	switch cfg.Mode {
	case "sentinel":
		o.MasterName, o.Addrs = cfg.MasterName, cfg.SentinelAddrs
		db.rdb = redis.NewFailoverClient(o.Failover())
	case "cluster":
		o.Addrs = cfg.Addrs
		db.rdb = redis.NewClusterClient(o.Cluster())
	default:
		db.rdb = redis.NewClient(o.Simple())
	}
	if err := db.rdb.Ping(ctx).Err(); err != nil {
		_ = db.rdb.Close()
		return nil, fmt.Errorf("connect to redis at %v: %w", o.Addrs, err)
	}
	return db, nil
}

// MayCome says of an error of Open that Redis may answer later: it could not be
// reached, or has not loaded its data yet. It is no word of Redis' against us.
func MayCome(err error) bool {
	var reply redis.Error
	return redis.HasErrorPrefix(err, "LOADING") || !errors.As(err, &reply) && !errors.Is(err, context.Canceled)
}

// LogTo sends what the Redis client says by itself, such as each connection that
// it could not make, to the log at level debug: whoever asked gets an error anyway.
// It is one place for the whole process.
func LogTo(log *slog.Logger) { redis.SetLogger(clientLog{log}) }

type clientLog struct{ log *slog.Logger }

func (l clientLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, "redis client", "says", fmt.Sprintf(format, args...))
}

// Close ends all connections.
func (db *DB) Close() error { return db.rdb.Close() }

// BgSave asks Redis to write its snapshot in the background, as the manual
// does after a session. A save that runs already is as good.
func (db *DB) BgSave(ctx context.Context) error {
	err := db.rdb.BgSave(ctx).Err()
	if err != nil && redis.HasErrorPrefix(err, "Background save already in progress") { // it ignores "ERR "
		return nil
	}
	if err != nil {
		return fmt.Errorf("start a background save: %w", err)
	}
	return nil
}
