package proxy

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// certificate is the pair of files that a TLS port shows miners. They are read again
// when they changed: certificates are renewed every few weeks, and a restart costs
// every miner his connection.
type certificate struct {
	cert, key string // paths
	log       *slog.Logger

	mu   sync.Mutex // of all below
	pair *tls.Certificate
	of   [2]time.Time // when the files that were read last were written
	said string       // why they cannot be read, told once
}

func loadCertificate(cert, key string, log *slog.Logger) (*certificate, error) {
	c := &certificate{cert: cert, key: key, log: log}
	return c, c.load()
}

// load reads the files unless they are those that were read last.
func (c *certificate) load() error {
	var of [2]time.Time
	for i, path := range []string{c.cert, c.key} {
		info, err := os.Stat(path)
		if err != nil {
			return &util.KeyError{Key: "proxy.stratum." + [2]string{"certFile", "keyFile"}[i], Problem: "cannot be read: " + err.Error()}
		}
		of[i] = info.ModTime()
	}
	if of == c.of {
		return nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		return &util.KeyError{Key: "proxy.stratum.certFile", Problem: "does not serve: " + err.Error()}
	}
	c.pair, c.of = &pair, of
	return nil
}

// get is the certificate for a handshake. While the files cannot be read, or one of
// them is new and the other is not yet, it is the last one that could.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.pair
	switch err := c.load(); {
	case err == nil && c.pair != before:
		c.log.Info("miners are shown a new certificate", "until", c.pair.Leaf.NotAfter)
		c.said = ""
	case err != nil && err.Error() != c.said:
		c.log.Warn("a new certificate is not taken, miners are shown the last one", "err", err, "until", before.Leaf.NotAfter)
		c.said = err.Error()
	}
	return c.pair, nil
}
