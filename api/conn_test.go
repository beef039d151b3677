package api

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

// listening serves until the test ends.
func listening(t *testing.T, h http.HandlerFunc) (addr string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- serveHTTP(running, l, h, func() {}) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return l.Addr().String()
}

func TestAnswersOfEveryLengthArriveWhole(t *testing.T) {
	lengths := []int{0, 1, 511, 512, 2047, 2048, 2049, 8191, 8192, 8193, 300_000}
	for n := 3600; n < 4200; n++ { // with its head, one of these fills what net/http writes at once
		lengths = append(lengths, n)
	}
	addr := listening(t, func(w http.ResponseWriter, r *http.Request) {
		var n int
		_, _ = fmt.Sscanf(r.URL.Path, "/%d", &n)
		newAnswer(kindJSON, noStore, bytes.Repeat([]byte("x"), n)).serve(w, r)
	})
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	answers := bufio.NewReader(c)
	for _, n := range lengths {
		for _, method := range []string{"GET", "HEAD"} {
			r, err := http.NewRequest(method, fmt.Sprintf("http://pool/%d", n), nil)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.Write(c); err != nil {
				t.Fatal(err)
			}
			w, err := http.ReadResponse(answers, r)
			if err != nil {
				t.Fatalf("%s of %d bytes: %v", method, n, err)
			}
			body, err := io.ReadAll(w.Body)
			w.Body.Close()
			if want := strings.Repeat("x", n); err != nil || w.ContentLength != int64(n) || method == "GET" && string(body) != want || method == "HEAD" && len(body) > 0 {
				t.Fatalf("%s of %d bytes: %d came, %v", method, n, len(body), err)
			}
		}
	}
}

func TestAnAnswerIsOneWrite(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	accepted, err := door{l}.Accept()
	if err != nil {
		t.Fatal(err)
	}
	c := accepted.(*conn)
	head, body := "HTTP/1.1 200 OK\r\n\r\n", strings.Repeat("x", 5000)
	all := head + body
	c.body = len(body)
	for i, part := range []string{all[:4096], all[4096:]} {
		if n, err := io.WriteString(c, part); err != nil || n != len(part) {
			t.Fatal(n, err)
		}
		if held := c.held != nil; held != (i == 0) {
			t.Errorf("after part %d: held back is %t", i, held)
		}
	}
	// What nobody said the length of is not held back, nor is what is whole.
	for _, body := range []int{0, 4096 - len(head)} {
		c.body = body
		if _, err := io.WriteString(c, all[:4096]); err != nil || c.held != nil {
			t.Errorf("a body of %d bytes: held back is %t, %v", body, c.held != nil, err)
		}
	}
	c.Close()
	got, err := io.ReadAll(client)
	if want := all + all[:4096] + all[:4096]; err != nil || string(got) != want {
		t.Errorf("%d bytes came, %v; want %d", len(got), err, len(want))
	}
	client.Close()
}

func TestALongAnswerIsTheSameForAllWhoReadItAtOnce(t *testing.T) {
	random := make([]byte, 6<<20) // more than a socket takes; its hexadecimal form is compressed by half
	_, _ = rand.NewChaCha8([32]byte{}).Read(random)
	body := hex.AppendEncode(nil, random)
	a := newAnswer(kindJSON, noStore, body)
	if (a.file != nil) != (runtime.GOOS == "linux") {
		t.Errorf("in a file: %t", a.file != nil)
	}
	addr := listening(t, func(w http.ResponseWriter, r *http.Request) { a.serve(w, r) })
	ask := func(t *testing.T, c net.Conn, answers *bufio.Reader, encoding string) *http.Response {
		r, err := http.NewRequest(http.MethodGet, "http://pool/", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Accept-Encoding", encoding)
		if err := r.Write(c); err != nil {
			t.Fatal(err)
		}
		w, err := http.ReadResponse(answers, r)
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for reader := range 4 {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			c, err := net.Dial("tcp", addr)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			if reader%2 == 0 { // its kernel takes little at once
				if err := c.(*net.TCPConn).SetReadBuffer(128 << 10); err != nil {
					t.Fatal(err)
				}
			}
			answers := bufio.NewReader(c)
			for i := range 3 {
				encoding := []string{"gzip", "identity"}[i%2]
				w := ask(t, c, answers, encoding)
				if reader == 3 && i == 2 {
					return // hangs up in the middle
				}
				var plain io.Reader = w.Body
				if encoding == "gzip" {
					if plain, err = gzip.NewReader(w.Body); err != nil {
						t.Fatal(err)
					}
				}
				got, err := io.ReadAll(plain)
				if _, rest := io.Copy(io.Discard, w.Body); err != nil || rest != nil || !bytes.Equal(got, body) {
					t.Fatalf("answer %d, %s: %d bytes came, %v", i, encoding, len(got), err)
				}
				w.Body.Close()
			}
		})
	}
}
