// Package miner is a small CPU miner that speaks stratum, in each of the dialects
// that pools know. It exists so that a pool can be tried with nothing installed;
// it finds a few hundred hashes a second.
package miner

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"math/rand/v2"
	"net"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/devnet/chain"
)

// The dialects, by the names that users type.
const (
	EthProxy = "eth-proxy"
	NiceHash = "nicehash" // EthereumStratum/1.0.0
	Stratum2 = "stratum2" // EthereumStratum/2.0.0
)

// Dialects lists them.
var Dialects = []string{EthProxy, NiceHash, Stratum2}

// Config says who mines where.
type Config struct {
	Pool    string // HOST:PORT
	Login   string // 0x and 40 hex digits
	Rig     string
	Dialect string
	// Rest is slept after every try of some nonces, so that a machine is not
	// kept busy for nothing.
	Rest time.Duration
	// Answered is called with the pool's answer to every share, nil for success.
	Answered func(error)
}

// tries is how many nonces are tried between two looks at the news.
const tries = 16

// Run mines until ctx ends or the connection does, which is an error.
func Run(ctx context.Context, cfg Config) error {
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", cfg.Pool)
	if err != nil {
		return fmt.Errorf("connect to the pool: %w", err)
	}
	defer conn.Close()
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	defer stop()
	m := &miner{cfg: cfg, out: conn, waiting: map[int]func(message) error{}}
	var lost error
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		lost = m.read(bufio.NewReader(conn))
	}()
	defer func() {
		conn.Close()
		<-ended
	}()
	if err := m.greet(); err != nil {
		return cmp.Or(ctx.Err(), err)
	}
	prover := chain.NewProver()
	for {
		select {
		case <-ended:
			return cmp.Or(ctx.Err(), fmt.Errorf("mine at %s: %w", cfg.Pool, lost))
		case <-time.After(cfg.Rest):
		}
		j := m.present()
		if j.target == nil {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		begin := rand.Uint64()
		if j.bits > 0 {
			begin = j.prefix<<(64-j.bits) | begin>>j.bits
		}
		if nonce, mix, ok := prover.Search(j.height, j.header, j.target, begin, tries); ok {
			if err := m.submit(j, nonce, mix); err != nil {
				return cmp.Or(ctx.Err(), err)
			}
		}
	}
}

// job is what is mined now.
type job struct {
	id     string
	height uint64
	header common.Hash
	target *big.Int // nil while it is not known
	prefix uint64   // the pool's part of the nonce
	bits   uint     // how many bits that is
}

// miner is one connection.
type miner struct {
	cfg Config
	out io.Writer

	mu      sync.Mutex // guards all below, and the writing
	job     job
	id      int
	waiting map[int]func(message) error // by id, what to do with the answer
	worker  string                      // its token, in stratum2
}

// message is any line from the pool.
type message struct {
	ID     *int            `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

func (m *miner) present() job {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.job
}

// ask sends a request; then is called with the answer.
func (m *miner) ask(method string, params any, then func(message) error) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.id++
	m.waiting[m.id] = then
	req := map[string]any{"id": m.id, "jsonrpc": "2.0", "method": method}
	if params != nil {
		req["params"] = params
	}
	if m.cfg.Dialect == EthProxy {
		req["worker"] = m.cfg.Rig
	}
	line, err := json.Marshal(req)
	if err != nil {
		return err
	}
	_, err = m.out.Write(append(line, '\n'))
	return err
}

// must is an answer that has to be a success.
func must(then func(message) error) func(message) error {
	return func(a message) error {
		if err := refusal(a); err != nil {
			return fmt.Errorf("the pool refuses: %w", err)
		}
		return then(a)
	}
}

// refusal is the pool's word against a request, or nil. A success may come
// without a result in EthereumStratum/2.0.0.
func refusal(a message) error {
	switch {
	case len(a.Error) > 0 && string(a.Error) != "null":
		return errors.New(string(a.Error))
	case string(a.Result) == "false":
		return errors.New("no reason given")
	}
	return nil
}

func ignore(message) error { return nil }

// greet begins the conversation in the dialect.
func (m *miner) greet() error {
	name := m.cfg.Login + "." + m.cfg.Rig
	switch m.cfg.Dialect {
	case EthProxy:
		return m.ask("eth_submitLogin", []string{m.cfg.Login, "x"}, must(func(message) error {
			return m.ask("eth_getWork", nil, must(func(a message) error { return m.takeWork(a.Result) }))
		}))
	case NiceHash:
		return m.ask("mining.subscribe", []string{"devnet", "EthereumStratum/1.0.0"}, must(func(a message) error {
			var reply []json.RawMessage
			var extranonce string
			if json.Unmarshal(a.Result, &reply) != nil || len(reply) < 2 || json.Unmarshal(reply[1], &extranonce) != nil {
				return errors.New("the pool's subscription has no extranonce")
			}
			if err := m.takeExtranonce(extranonce); err != nil {
				return err
			}
			return m.ask("mining.authorize", []string{name, "x"}, must(ignore))
		}))
	case Stratum2:
		hello := map[string]string{"agent": "devnet", "host": "localhost", "port": "0", "proto": "EthereumStratum/2.0.0"}
		return m.ask("mining.hello", hello, must(func(message) error {
			return m.ask("mining.subscribe", nil, must(func(message) error {
				return m.ask("mining.authorize", []string{name, "x"}, must(func(a message) error {
					m.mu.Lock()
					defer m.mu.Unlock()
					return json.Unmarshal(a.Result, &m.worker)
				}))
			}))
		}))
	}
	return fmt.Errorf("dialect %q is none of %v", m.cfg.Dialect, Dialects)
}

// read handles everything that the pool says.
func (m *miner) read(in *bufio.Reader) error {
	for {
		line, err := in.ReadBytes('\n')
		if err != nil {
			return err
		}
		var a message
		if err := json.Unmarshal(line, &a); err != nil {
			return fmt.Errorf("the pool says %q: %w", line, err)
		}
		if err := m.handle(a); err != nil {
			return err
		}
	}
}

func (m *miner) handle(a message) error {
	switch a.Method {
	case "mining.set_difficulty":
		var d []float64
		if json.Unmarshal(a.Params, &d) != nil || len(d) != 1 || d[0] <= 0 {
			return fmt.Errorf("difficulty %s", a.Params)
		}
		// 0xffff × 2^208 over the difficulty.
		one := new(big.Float).SetInt(new(big.Int).Lsh(big.NewInt(0xffff), 208))
		target, _ := one.Quo(one, big.NewFloat(d[0])).Int(nil)
		m.change(func(j *job) { j.target = target })
		return nil
	case "mining.set":
		var s struct{ Epoch, Target, Extranonce string }
		if err := json.Unmarshal(a.Params, &s); err != nil {
			return err
		}
		if s.Extranonce != "" {
			if err := m.takeExtranonce(s.Extranonce); err != nil {
				return err
			}
		}
		if s.Target != "" {
			target, err := hash(s.Target)
			if err != nil {
				return err
			}
			m.change(func(j *job) { j.target = target.Big() })
		}
		return nil
	case "mining.notify":
		var p []any
		if json.Unmarshal(a.Params, &p) != nil || len(p) < 4 {
			return fmt.Errorf("job %s", a.Params)
		}
		header, err := hash(fmt.Sprint(p[2]))
		if err != nil {
			return err
		}
		m.change(func(j *job) { j.id, j.header = fmt.Sprint(p[0]), header })
		return nil
	}
	if a.ID == nil {
		return nil
	}
	m.mu.Lock()
	then := m.waiting[*a.ID]
	delete(m.waiting, *a.ID)
	m.mu.Unlock()
	if then != nil {
		return then(a)
	}
	if *a.ID == 0 {
		return m.takeWork(a.Result)
	}
	return nil
}

func (m *miner) change(f func(*job)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f(&m.job)
}

// takeWork reads [header, seed, target].
func (m *miner) takeWork(raw json.RawMessage) error {
	var w []string
	if json.Unmarshal(raw, &w) != nil || len(w) < 3 {
		return fmt.Errorf("work %s", raw)
	}
	header, err := hash(w[0])
	if err != nil {
		return err
	}
	target, err := hash(w[2])
	if err != nil {
		return err
	}
	m.change(func(j *job) { j.header, j.target = header, target.Big() })
	return nil
}

// hash reads 64 hex digits, with or without 0x.
func hash(s string) (h common.Hash, err error) {
	if err := h.UnmarshalText([]byte("0x" + strings.TrimPrefix(s, "0x"))); err != nil {
		return h, fmt.Errorf("hash %q: %w", s, err)
	}
	return h, nil
}

func (m *miner) takeExtranonce(s string) error {
	n, err := strconv.ParseUint(s, 16, 64)
	if err != nil || len(s) > 12 {
		return fmt.Errorf("extranonce %q", s)
	}
	m.change(func(j *job) { j.prefix, j.bits = n, uint(4*len(s)) })
	return nil
}

// submit hands in a share; the answer is told when it comes.
func (m *miner) submit(j job, nonce uint64, mix common.Hash) error {
	full := fmt.Sprintf("%016x", nonce)
	part := full[j.bits/4:]
	told := func(a message) error {
		if m.cfg.Answered != nil {
			m.cfg.Answered(refusal(a))
		}
		return nil
	}
	switch m.cfg.Dialect {
	case EthProxy:
		return m.ask("eth_submitWork", []string{"0x" + full, j.header.Hex(), mix.Hex()}, told)
	case NiceHash:
		return m.ask("mining.submit", []string{m.cfg.Login + "." + m.cfg.Rig, j.id, part}, told)
	}
	m.mu.Lock()
	worker := m.worker
	m.mu.Unlock()
	return m.ask("mining.submit", []string{strings.TrimSpace(j.id), part, worker}, told)
}
