package proxy

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// selfSigned writes a throw-away certificate of this host.
func selfSigned(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "EC PRIVATE KEY", Bytes: secret}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

func TestARenewedCertificateIsShownWithoutARestart(t *testing.T) {
	p := newPool(t, 1)
	certFile, keyFile := selfSigned(t)
	p.cfg.Stratum.TLS, p.cfg.Stratum.CertFile, p.cfg.Stratum.KeyFile = true, certFile, keyFile
	p.start()
	shown := func() string {
		t.Helper()
		conn, err := tls.Dial("tcp", p.Addrs()[1].String(), &tls.Config{InsecureSkipVerify: true})
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		return string(conn.ConnectionState().PeerCertificates[0].Raw)
	}
	old := shown()

	// The files are replaced one after the other, and miners connect in between.
	newCert, newKey := selfSigned(t)
	later := time.Now().Add(time.Minute) // file systems have coarse clocks
	for _, file := range []string{newCert, newKey} {
		if err := os.Chtimes(file, later, later); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Rename(newCert, certFile); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if shown() != old {
			t.Error("a certificate is shown whose key is not there yet")
		}
	}
	if n := strings.Count(p.logs.String(), "a new certificate is not taken"); n != 1 {
		t.Errorf("it is said %d times that the certificate is not taken", n)
	}
	if err := os.Rename(newKey, keyFile); err != nil {
		t.Fatal(err)
	}
	if shown() == old {
		t.Error("the new certificate is not shown")
	}
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	if shown() == old {
		t.Error("the old certificate is shown again")
	}
	if strings.Contains(p.logs.String(), "PRIVATE KEY") {
		t.Error("the key is logged")
	}
}
