package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// rigs are miners that speak EthereumStratum/1.0.0, where a share does not carry
// its mix. With a difficulty of 1 any nonce is a valid share, so they need not
// hash; the pool does not know, and does.
type rigs []*rig

// rig is one connection.
type rig struct {
	conn   net.Conn
	in     *bufio.Scanner
	submit string // of a share, but for its number
	nonce  uint64
}

// window is how many shares a rig sends ahead of their answers.
const window = 4

func connect(addr string, n int) (rigs, error) {
	var rs rigs
	for i := range n {
		r, err := newRig(addr, i)
		if err != nil {
			rs.close()
			return nil, err
		}
		rs = append(rs, r)
	}
	return rs, nil
}

func newRig(addr string, i int) (*rig, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	r := &rig{conn: conn, in: bufio.NewScanner(conn)}
	login := fmt.Sprintf("0x%040x.rig", i+1)
	_, err = fmt.Fprintf(conn, `{"id":1,"method":"mining.subscribe","params":["bench/1","EthereumStratum/1.0.0"]}`+"\n"+
		`{"id":2,"method":"mining.authorize","params":["%s","x"]}`+"\n", login)
	for err == nil && r.submit == "" {
		var line struct {
			Method string
			Params []any
		}
		if !r.in.Scan() {
			return nil, errors.New("the pool hung up")
		}
		if err = json.Unmarshal(r.in.Bytes(), &line); err == nil && line.Method == "mining.notify" {
			r.submit = fmt.Sprintf(`{"id":%%d,"method":"mining.submit","params":["%s","%s","%%012x"]}`+"\n", login, line.Params[0])
		}
	}
	return r, err
}

func (rs rigs) close() {
	for _, r := range rs {
		r.conn.Close()
	}
}

func (r *rig) send() error {
	r.nonce++
	_, err := fmt.Fprintf(r.conn, r.submit, r.nonce, r.nonce)
	return err
}

// accepted waits for the answer to one share.
func (r *rig) accepted() error {
	if !r.in.Scan() {
		return errors.New("the pool hung up")
	}
	if line := r.in.Text(); !strings.Contains(line, `"result":true`) {
		return fmt.Errorf("the pool answered a valid share %s", line)
	}
	return nil
}

// each lets every rig do something at the same time.
func (rs rigs) each(do func(*rig) error) error {
	var wg sync.WaitGroup
	failed := make([]error, len(rs))
	for i, r := range rs {
		wg.Go(func() { failed[i] = do(r) })
	}
	wg.Wait()
	return errors.Join(failed...)
}

// race sends shares as fast as they are answered, and returns how many were.
func (rs rigs) race(d time.Duration) (n uint64, err error) {
	for _, r := range rs {
		n -= r.nonce
	}
	end := time.Now().Add(d)
	err = rs.each(func(r *rig) error {
		waiting := 0
		for {
			for waiting < window && time.Now().Before(end) {
				if err := r.send(); err != nil {
					return err
				}
				waiting++
			}
			if waiting == 0 {
				return nil
			}
			if err := r.accepted(); err != nil {
				return err
			}
			waiting--
		}
	})
	for _, r := range rs {
		n += r.nonce
	}
	return n, err
}

// stroll sends n shares at that rate from all rigs together, each at random
// moments, and returns how long each was on its way, in milliseconds.
func (rs rigs) stroll(n, rate int) ([]float64, error) {
	var mu sync.Mutex
	var took []float64 // guarded by mu
	every := float64(len(rs)) / float64(rate) * float64(time.Second)
	err := rs.each(func(r *rig) error {
		due := time.Now()
		for range n / len(rs) {
			due = due.Add(time.Duration(rand.ExpFloat64() * every))
			time.Sleep(time.Until(due))
			sent := time.Now()
			if err := r.send(); err != nil {
				return err
			}
			if err := r.accepted(); err != nil {
				return err
			}
			mu.Lock()
			took = append(took, milliseconds(time.Since(sent)))
			mu.Unlock()
		}
		return nil
	})
	return took, err
}
