package e2e

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/proxy/ethash"
)

// proxySections are a pool's configuration with everything that miners need.
// ports are the share difficulties of its stratum ports.
func (w *world) proxySections(name string, ports ...int64) map[string]any {
	beside := []any{}
	for _, difficulty := range ports[1:] {
		beside = append(beside, map[string]any{"listen": "127.0.0.1:0", "difficulty": difficulty})
	}
	return map[string]any{
		"name": name, "network": "private",
		"upstream": []any{map[string]any{"name": "devnet", "url": w.nodeURL, "ws": w.chain.WS}},
		"proxy": map[string]any{
			"enabled": true, "listen": "127.0.0.1:0", "difficulty": ports[0], "candidates": name + ".candidates",
			"stratum": map[string]any{"enabled": true, "listen": "127.0.0.1:0", "ports": beside},
		},
	}
}

// stratum is where a running pool takes shares of a difficulty, httpPort where
// it takes them over HTTP. Both are its own choice, and it says so.
func (w *world) stratum(p *process, difficulty int64) string {
	w.t.Helper()
	return w.said(p, fmt.Sprintf(`miners may connect listen=(\S+) tls=false difficulty=%d\n`, difficulty))
}

func (w *world) httpPort(p *process) string {
	w.t.Helper()
	return w.said(p, `miners may ask for work over HTTP listen=(\S+)\n`)
}

// said waits for a line of the log and returns what it says.
func (w *world) said(p *process, pattern string) string {
	w.t.Helper()
	line := regexp.MustCompile(pattern)
	var found []string
	w.until("the pool says "+pattern, p, func() bool {
		found = line.FindStringSubmatch(p.out.String())
		return found != nil
	})
	return found[1]
}

// rig is a miner over EthereumStratum/1.0.0, one request at a time, that submits
// whatever a test wants.
type rig struct {
	conn       net.Conn
	in         *bufio.Reader
	login      string
	id         int
	extranonce string // hex
	job        job    // the present one
}

// job is what to mine.
type job struct {
	id     string
	header common.Hash
}

// dialRig connects and waits for the first job.
func dialRig(addr, login string) (*rig, error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return nil, err
	}
	r := &rig{conn: conn, in: bufio.NewReader(conn), login: login}
	if err := r.greet(); err != nil {
		conn.Close()
		return nil, err
	}
	return r, nil
}

func (r *rig) greet() error {
	reply, err := r.ask("mining.subscribe", "e2e", "EthereumStratum/1.0.0")
	if err != nil {
		return err
	}
	var session []json.RawMessage
	if json.Unmarshal(reply.Result, &session) != nil || len(session) != 2 || json.Unmarshal(session[1], &r.extranonce) != nil {
		return fmt.Errorf("subscription %s has no extranonce", reply.Result)
	}
	if _, err = r.ask("mining.authorize", r.login+".rig", "x"); err != nil {
		return err
	}
	for r.job.id == "" {
		if _, err := r.read(); err != nil {
			return err
		}
	}
	return nil
}

// reply is a line from the pool.
type reply struct {
	ID     *int            `json:"id"`
	Method string          `json:"method"`
	Params []any           `json:"params"`
	Result json.RawMessage `json:"result"`
	Error  json.RawMessage `json:"error"`
}

// refusal is the pool's word against a request.
type refusal string

func (r refusal) Error() string { return string(r) }

// ask returns the reply to a request, or a refusal; other errors end the
// connection.
func (r *rig) ask(method string, params ...any) (reply, error) {
	r.id++
	line, err := json.Marshal(map[string]any{"id": r.id, "method": method, "params": params})
	if err != nil {
		return reply{}, err
	}
	if _, err := r.conn.Write(append(line, '\n')); err != nil {
		return reply{}, err
	}
	for {
		a, err := r.read()
		switch {
		case err != nil:
			return a, err
		case a.ID == nil || *a.ID != r.id:
		case string(a.Error) != "null":
			return a, refusal(a.Error)
		default:
			return a, nil
		}
	}
}

// read takes in one line.
func (r *rig) read() (a reply, err error) {
	if err := r.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return a, err
	}
	line, err := r.in.ReadBytes('\n')
	if err != nil {
		return a, err
	}
	if err := json.Unmarshal(line, &a); err != nil {
		return a, fmt.Errorf("the pool says %q: %w", line, err)
	}
	if a.Method == "mining.notify" {
		r.job = job{fmt.Sprint(a.Params[0]), common.HexToHash(fmt.Sprint(a.Params[2]))}
	}
	return a, nil
}

// submit hands in a share; part is the miner's six bytes of the nonce.
func (r *rig) submit(j job, part uint64) error {
	_, err := r.ask("mining.submit", r.login+".rig", j.id, fmt.Sprintf("%012x", part))
	return err
}

// nonce is all eight bytes.
func (r *rig) nonce(part uint64) uint64 {
	return new(big.Int).SetBytes(common.FromHex(r.extranonce)).Uint64()<<48 | part
}

// prover computes Ethash, with the pool's own code: whether that is right, the
// chain says, which is geth's.
type prover struct {
	t        testing.TB
	verifier *ethash.Verifier
}

// newProver is one for blocks of the first epoch.
func newProver(t testing.TB) *prover {
	t.Helper()
	v := ethash.New(ethash.Ethereum, slog.New(slog.DiscardHandler))
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() { _ = v.Run(ctx) }) // ends with ctx
	t.Cleanup(func() { cancel(); running.Wait() })
	if err := v.Prepare(ctx, 1); err != nil {
		t.Fatal(err)
	}
	return &prover{t, v}
}

func (p *prover) hash(header common.Hash, nonce uint64) ethash.Digest {
	p.t.Helper()
	d, err := p.verifier.Hash(context.Background(), 1, ethash.Work{Header: header, Nonce: nonce})
	if err != nil {
		p.t.Fatal(err)
	}
	return d
}

// getwork asks as a miner over HTTP does.
func getwork(addr, login string, result any, method string, params ...any) error {
	body, err := json.Marshal(map[string]any{"id": 1, "jsonrpc": "2.0", "method": method, "params": params})
	if err != nil {
		return err
	}
	client := http.Client{Timeout: patience}
	r, err := client.Post("http://"+addr+"/"+login+"/http", "application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer r.Body.Close()
	var a reply
	if err := json.NewDecoder(r.Body).Decode(&a); err != nil {
		return err
	}
	if a.Error != nil {
		return refusal(a.Error)
	}
	return json.Unmarshal(a.Result, result)
}

// numbers reads a hash of whole numbers.
func (w *world) numbers(key string) map[string]int64 {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	fields, err := w.redis.Client().HGetAll(ctx, key).Result()
	if err != nil {
		w.t.Fatal(err)
	}
	out := map[string]int64{}
	for field, text := range fields {
		if out[field], err = strconv.ParseInt(text, 10, 64); err != nil {
			w.t.Fatalf("%s: %v", key, err)
		}
	}
	return out
}

// keys lists the keys of a pattern.
func (w *world) keys(pattern string) (keys []string) {
	w.t.Helper()
	for _, key := range w.redis.Do(w.t, "KEYS", pattern).([]any) {
		keys = append(keys, key.(string))
	}
	return keys
}

// worked adds up, per login, the difficulties of all shares that were ever
// counted: work:MINUTE is LOGIN:WORKER → sum.
func (w *world) worked() map[string]int64 {
	w.t.Helper()
	sum := map[string]int64{}
	for _, key := range w.keys("eth:work:*") {
		for who, n := range w.numbers(key) {
			login, _, _ := strings.Cut(who, ":")
			sum[login] += n
		}
	}
	return sum
}
