package api

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func TestAnswersOfEveryLengthArriveWhole(t *testing.T) {
	lengths := []int{0, 1, 511, 512, 2047, 2048, 2049, 8191, 8192, 8193, 300_000}
	for n := 3600; n < 4200; n++ { // with its head, one of these fills what net/http writes at once
		lengths = append(lengths, n)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	running, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- serveHTTP(running, l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			var n int
			_, _ = fmt.Sscanf(r.URL.Path, "/%d", &n)
			newAnswer(kindJSON, noStore, bytes.Repeat([]byte("x"), n)).serve(w, r)
		}), func() {})
	}()
	defer func() {
		stop()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	c, err := net.Dial("tcp", l.Addr().String())
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
