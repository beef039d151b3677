package storage

import (
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Miners as they are stored: in any letter case.
const (
	alice = "0xAAAAaaaaAAAAaaaaAAAAaaaaAAAAaaaaAAAA0001"
	bob   = "0xbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb0002"
	carol = "0xcCcccccccccccccccccccccccccccccccccc0003"
)

const (
	token  = "payouts host=here pid=1 journal=one token=ours"
	opened = 1462920526 // unix seconds of every debit
	later  = opened + 60
	first  = 7 // the account's first nonce in the ledger
)

var (
	ctx     = context.Background()
	account = common.HexToAddress("0x1000000000000000000000000000000000000001")
	genesis = common.HexToHash("0xd4e56740f876aef8c010b86a40d5f56745a118d0906a34e69aec8c0db1cb8fa3")
	block   = common.HexToHash("0xb10c")
	byHand  = common.HexToHash("0x4a9d")
	old     = common.HexToHash("0x01d")
)

// books are a ledger in a Redis of its own.
type books struct {
	t     testing.TB
	srv   *storagetest.Server
	db    *DB
	lease *Lease
}

// newBooks starts Redis with an empty ledger in it; see begin.
func newBooks(t testing.TB) *books {
	t.Helper()
	b := &books{t: t, srv: storagetest.Start(t)}
	b.db = b.connect(b.srv.Addr(), "eth")
	b.begin()
	return b
}

func (b *books) connect(addr, coin string) *DB {
	b.t.Helper()
	db, err := Open(ctx, Config{Endpoint: addr, PoolSize: 4, Mode: ModeSingle}, coin)
	b.ok(err)
	b.t.Cleanup(func() { _ = db.Close() })
	return db
}

// begin empties Redis and opens a ledger in which alice and bob have a balance.
func (b *books) begin() {
	b.t.Helper()
	b.srv.Do(b.t, "FLUSHALL")
	b.credit(alice, 1000)
	b.credit(bob, 500)
	b.lease = b.acquire(0)
	b.ok(b.lease.Init(ctx, 61, genesis, account, first, first, opened))
}

func (b *books) acquire(known uint64) *Lease {
	b.t.Helper()
	l, err := b.db.Acquire(ctx, token, "", known)
	b.ok(err)
	return l
}

// credit is what the unlocker does.
func (b *books) credit(login string, amount util.Shannon) {
	b.t.Helper()
	b.do("HINCRBY", b.db.Keys.Miner(login), "balance", int64(amount))
	b.do("HINCRBY", b.db.Keys.Finances(), "balance", int64(amount))
}

func (b *books) do(args ...any) any { b.t.Helper(); return b.srv.Do(b.t, args...) }

// ok fails the test at the first error.
func (b *books) ok(errs ...error) {
	b.t.Helper()
	for _, err := range errs {
		if err != nil {
			b.t.Fatal(err)
		}
	}
}

// hash is the transaction of the n-th attempt at the payment with the nonce.
func hash(nonce uint64, n int) common.Hash {
	return common.HexToHash(fmt.Sprintf("0x%x", 0xabc00000+nonce*16+uint64(n)))
}

func attempt(nonce uint64, n int) Attempt {
	return Attempt{Hash: hash(nonce, n), Raw: []byte{0xf8, byte(nonce), byte(n)}, GasPrice: util.Shannon(n + 1).Wei(), AtBlock: 100}
}

// pay is a payment as it is opened, changed as told.
func pay(nonce uint64, login string, amount util.Shannon, changes ...func(*Payment)) *Payment {
	p := &Payment{ID: fmt.Sprintf("%d-id", nonce), Kind: ToMiner, Login: login, Amount: amount, Time: opened, State: Signed,
		Account: account, Nonce: nonce, To: common.HexToAddress(login), Value: amount.Wei(), Gas: 21000,
		Attempts: []Attempt{attempt(nonce, 1)}}
	for _, change := range changes {
		change(p)
	}
	return p
}

// fill is a filler as it is opened.
func fill(nonce uint64, changes ...func(*Payment)) *Payment {
	p := pay(nonce, "", 0, func(p *Payment) {
		p.ID, p.Kind, p.To = fmt.Sprintf("%d-fill", nonce), Filler, account
		p.Attempts[0].Hash = hash(nonce, 9)
	})
	for _, change := range changes {
		change(p)
	}
	return p
}

// Changes to a payment.
func is(s State) func(*Payment)             { return func(p *Payment) { p.State = s } }
func to(login string) func(*Payment)        { return func(p *Payment) { p.Login = login } }
func at(nonce uint64) func(*Payment)        { return func(p *Payment) { p.Nonce = nonce } }
func replaces(id string) func(*Payment)     { return func(p *Payment) { p.Replaces = id } }
func shows(h common.Hash) func(*Payment)    { return func(p *Payment) { p.Hash = h } }
func signedAs(h common.Hash) func(*Payment) { return func(p *Payment) { p.Attempts[0].Hash = h } }
func mined(h common.Hash) func(*Payment)    { return minedIn(h, 1000) }
func withAttempts(n int) func(*Payment) {
	return func(p *Payment) {
		for i := len(p.Attempts) + 1; i <= n; i++ {
			p.Attempts = append(p.Attempts, attempt(p.Nonce, i))
		}
	}
}
func minedIn(h common.Hash, number uint64) func(*Payment) {
	return func(p *Payment) {
		p.Hash, p.Block, p.BlockHash, p.FeeWei = h, number, block, util.Shannon(21000).Wei()
	}
}

// Short ways along the line; each must succeed.
func (b *books) open(ps ...*Payment) { b.t.Helper(); b.ok(b.lease.Open(ctx, "", ps...)...) }
func (b *books) sent(ps ...*Payment) { b.t.Helper(); b.ok(b.lease.Sent(ctx, later, ps...)...) }
func (b *books) openAndSend(ps ...*Payment) {
	b.t.Helper()
	b.open(ps...)
	b.sent(ps...)
}

// removeRow is the manual's "Delete Erroneous Payment Entry".
func (b *books) removeRow(p *Payment) {
	b.t.Helper()
	b.do("ZREM", b.db.Keys.PaymentsPending(), p.PendingRow())
}

func (b *books) putRow(login string, amount util.Shannon) {
	b.t.Helper()
	b.do("ZADD", b.db.Keys.PaymentsPending(), opened, pendingRow(login, amount))
}

// storeByHand is the manual's "Store Payment in Redis".
func (b *books) storeByHand(h common.Hash, p *Payment) {
	b.t.Helper()
	b.do("ZADD", b.db.Keys.PaymentsAll(), opened, h.Hex()+":"+p.PendingRow())
	b.do("ZADD", b.db.Keys.Payments(p.Login), opened, h.Hex()+":"+p.Amount.String())
}

// updateStats is the manual's "Update Internal Stats".
func (b *books) updateStats(amount util.Shannon) {
	b.t.Helper()
	b.do("HINCRBY", b.db.Keys.Finances(), "pending", -int64(amount))
	b.do("HINCRBY", b.db.Keys.Finances(), "paid", int64(amount))
}

// oldDebit is what an older pool does before it sends.
func (b *books) oldDebit(login string, amount util.Shannon) {
	b.t.Helper()
	for _, key := range []string{b.db.Keys.Miner(login), b.db.Keys.Finances()} {
		b.do("HINCRBY", key, "balance", -int64(amount))
		b.do("HINCRBY", key, "pending", int64(amount))
	}
	b.putRow(login, amount)
}

// clean fails the test unless the books add up.
func (b *books) clean() {
	b.t.Helper()
	r, err := b.db.Audit(ctx)
	b.ok(err)
	for _, f := range r.Findings {
		b.t.Errorf("audit: %s: %s, but %s", f.Key, f.Equation, f.Got)
	}
}

// owns fails the test unless the miner's row says so.
func (b *books) owns(login string, balance, pending, paid util.Shannon) {
	b.t.Helper()
	m, err := b.db.Miner(ctx, login)
	b.ok(err)
	if m.Balance != balance || m.Pending != pending || m.Paid != paid {
		b.t.Errorf("%s has balance %s, pending %s, paid %s; want %s, %s, %s", login, m.Balance, m.Pending, m.Paid, balance, pending, paid)
	}
}

// dump is everything that Redis holds: the key, its type and its time to live,
// and all that is in it.
type dump map[string]string

func (b *books) dump() dump {
	b.t.Helper()
	c := b.srv.Client()
	keys, err := c.Keys(ctx, "*").Result()
	b.ok(err)
	slices.Sort(keys)
	const content = `
		local t = redis.call('TYPE', KEYS[1]).ok
		local out = {t, tostring(redis.call('PTTL', KEYS[1]))}
		local read = {string = {'GET'}, hash = {'HGETALL'}, zset = {'ZRANGE', 0, -1, 'WITHSCORES'}, list = {'LRANGE', 0, -1}, set = {'SORT', 'ALPHA'}}
		local got = redis.call(read[t][1], KEYS[1], unpack(read[t], 2))
		if type(got) ~= 'table' then got = {got} end
		if t == 'hash' then
			local pairs = {}
			for i = 1, #got, 2 do pairs[#pairs + 1] = got[i] .. '=' .. got[i + 1] end
			table.sort(pairs)
			got = pairs
		end
		for _, v in ipairs(got) do out[#out + 1] = v end
		return out`
	cmds := make([]*redis.Cmd, len(keys))
	_, err = c.Pipelined(ctx, func(p redis.Pipeliner) error {
		for i, key := range keys {
			cmds[i] = p.Eval(ctx, content, []string{key})
		}
		return nil
	})
	b.ok(err)
	d := dump{}
	for i, key := range keys {
		v, err := cmds[i].StringSlice()
		b.ok(err)
		d[key] = strings.Join(v, "\n    ")
	}
	return d
}

// without is the dump but for some keys.
func (d dump) without(keys ...string) dump {
	d = maps.Clone(d)
	for _, key := range keys {
		delete(d, key)
	}
	return d
}

// same fails the test unless Redis holds just what it held.
func (b *books) same(what string, want dump) {
	b.t.Helper()
	if diff := want.diff(b.dump()); diff != "" {
		b.t.Errorf("%s:%s", what, diff)
	}
}

func (d dump) diff(got dump) string {
	keys := slices.Sorted(maps.Keys(d))
	for key := range got {
		if _, ok := d[key]; !ok {
			keys = append(keys, key)
		}
	}
	var out strings.Builder
	for _, key := range keys {
		if d[key] != got[key] {
			fmt.Fprintf(&out, "\n  %s\n   was %s\n   is  %s", key, d[key], got[key])
		}
	}
	return out.String()
}

// spy sees which keys the scripts name, and may do something after a round trip.
type spy struct {
	mu    sync.Mutex // guards what is below
	keys  map[string]bool
	after func()
}

// spy watches the books' own connection from now on.
func (b *books) spy() *spy {
	s := &spy{keys: map[string]bool{}}
	b.db.rdb.AddHook(s)
	return s
}

func (s *spy) see(cmds ...redis.Cmder) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, cmd := range cmds {
		args := cmd.Args()
		if n, ok := args[min(2, len(args)-1)].(int); ok && cmd.Name() == "eval" {
			for _, key := range args[3 : 3+n] {
				s.keys[key.(string)] = true
			}
		}
	}
}

func (s *spy) then() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.after != nil {
		s.after()
	}
}

// seen are the keys named since the last call.
func (s *spy) seen() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	keys := slices.Sorted(maps.Keys(s.keys))
	clear(s.keys)
	return keys
}

func (s *spy) DialHook(next redis.DialHook) redis.DialHook {
	return func(ctx context.Context, network, addr string) (net.Conn, error) { return next(ctx, network, addr) }
}

func (s *spy) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		s.see(cmd)
		defer s.then()
		return next(ctx, cmd)
	}
}

func (s *spy) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		s.see(cmds...)
		defer s.then()
		return next(ctx, cmds)
	}
}
