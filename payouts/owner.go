package payouts

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"os"
	"strings"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// Owner is who holds the payments lock. Its text is the lock's value: words for
// an operator who looks, and a random token that no roll-back can issue again.
type Owner struct {
	Host    string
	PID     string
	Journal string // the id of its journal
	Token   string // random
}

// NewOwner is this process with the given journal.
func NewOwner(journal string) Owner {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "unknown"
	}
	var token [8]byte
	_, _ = rand.Read(token[:]) // never fails, says crypto/rand
	return Owner{Host: strings.ReplaceAll(host, " ", "-"), PID: fmt.Sprint(os.Getpid()), Journal: journal, Token: hex.EncodeToString(token[:])}
}

// String is the value of the lock.
func (o Owner) String() string {
	return fmt.Sprintf(storage.LockPrefix+"host=%s pid=%s journal=%s token=%s", o.Host, o.PID, o.Journal, o.Token)
}

// parseOwner reads a lock's value; ok is false when an older pool, or a person,
// wrote it.
func parseOwner(value string) (o Owner, ok bool) {
	_, err := fmt.Sscanf(value, storage.LockPrefix+"host=%s pid=%s journal=%s token=%s", &o.Host, &o.PID, &o.Journal, &o.Token)
	return o, err == nil && o.String() == value
}

// gone says whether the other owner is provably dead: whoever holds the lock
// also holds its journal's file lock, on that host, and that is ours now.
func (o Owner) gone(other Owner) bool { return other.Host == o.Host && other.Journal == o.Journal }
