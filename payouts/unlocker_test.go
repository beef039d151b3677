package payouts

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/google/go-cmp/cmp"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

const (
	immatureDepth = 16
	matureDepth   = 32
	feeLogin      = "0xfeeFEEfeefeefeefeefeefeefeefeefeefeefee1"
	mixedCase     = "0xAbCdEf0000000000000000000000000000000001" // as stored; no checksum
)

// quarry is everything around an Unlocker: a real Redis, behind something that can
// cut its messages, and a scripted chain with one node.
type quarry struct {
	t     testing.TB
	redis *storagetest.Server
	cut   *cutter
	chain *rpctest.Chain
	node  *rpctest.Node
	cfg   UnlockerConfig
	clock *miningClock
	logs  *logBuffer

	patience time.Duration // with the node

	// wrap lets a test stand between the Unlocker and the node.
	wrap func(Blocks) Blocks
}

func newQuarry(t testing.TB, o rpctest.Options) *quarry {
	t.Helper()
	redis := storagetest.Start(t)
	q := &quarry{t: t, redis: redis, cut: &cutter{Proxy: fault.Redis(t, redis.Addr())}, patience: 10 * time.Second}
	q.begin(o)
	return q
}

// begin empties Redis and starts another chain.
func (q *quarry) begin(o rpctest.Options) {
	q.t.Helper()
	q.redis.Do(q.t, "FLUSHALL")
	if o.ChainID == 0 {
		o.ChainID = 61
	}
	q.chain = rpctest.NewChain(o)
	q.node = q.chain.Node(q.t)
	q.clock, q.logs = &miningClock{now: time.Unix(1_700_000_000, 0)}, &logBuffer{}
	q.cfg = DefaultUnlockerConfig()
	q.cfg.Enabled, q.cfg.Network = true, NetworkClassic
	q.cfg.ImmatureDepth, q.cfg.Depth, q.cfg.PoolFeeAddress = immatureDepth, matureDepth, feeLogin
}

// unlocker makes an Unlocker as a new process would.
func (q *quarry) unlocker() (*Unlocker, func()) {
	q.t.Helper()
	u, stop, err := q.tryStart()
	if err != nil {
		q.t.Fatal(err)
	}
	return u, stop
}

func (q *quarry) tryStart() (*Unlocker, func(), error) {
	q.t.Helper()
	cfg := storage.DefaultConfig()
	cfg.Endpoint = q.cut.Addr()
	db, err := storage.Open(context.Background(), cfg, "eth")
	if err != nil {
		return nil, nil, err // the test's cutter may have struck
	}
	node, err := rpc.New([]string{q.node.URL}, q.patience)
	if err != nil {
		q.t.Fatal(err)
	}
	var blocks Blocks = node
	if q.wrap != nil {
		blocks = q.wrap(node)
	}
	u, err := NewUnlocker(q.cfg, UnlockerParts{Blocks: blocks, Credits: db, Clock: q.clock, Log: slog.New(slog.NewTextHandler(q.logs, nil))})
	if err != nil {
		q.t.Fatal(err)
	}
	return u, func() { node.Close(); db.Close() }, nil
}

// pass makes one pass in a process of its own.
func (q *quarry) pass() error {
	q.t.Helper()
	u, stop, err := q.tryStart()
	if err != nil {
		return err
	}
	defer stop()
	return u.Pass(context.Background())
}

func (q *quarry) mustPass() {
	q.t.Helper()
	if err := q.pass(); err != nil {
		q.t.Fatalf("pass: %v\n%s", err, q.logs)
	}
}

func (q *quarry) ask() *rpc.Client {
	q.t.Helper()
	c, err := rpc.New([]string{q.node.URL}, 5*time.Second)
	if err != nil {
		q.t.Fatal(err)
	}
	q.t.Cleanup(c.Close)
	return c
}

func nonceOf(b rpc.Block) string {
	text, _ := b.Nonce.MarshalText() // cannot fail
	return string(text)
}

// found writes down a candidate as a proxy does: b's seal, at the height that was
// worked on, and the round.
func (q *quarry) found(b rpc.Block, height uint64, shares map[string]int64) storage.Candidate {
	q.t.Helper()
	c := storage.Candidate{Height: height, Nonce: nonceOf(b), HeaderHash: crypto.Keccak256Hash(b.Hash[:]).Hex(), MixHash: b.MixHash.Hex(),
		Time: 1_700_000_000, Difficulty: 131_072, Shares: 1000}
	q.redis.Do(q.t, "ZADD", "eth:blocks:candidates", height, c.Row())
	for login, n := range shares {
		q.redis.Do(q.t, "HSET", fmt.Sprintf("eth:shares:round%d:%s", height, c.Nonce), login, n)
	}
	return c
}

// head reads the chain's newest block.
func (q *quarry) head() rpc.Block {
	q.t.Helper()
	b, err := q.ask().Head(context.Background())
	if err != nil {
		q.t.Fatal(err)
	}
	return b
}

// nobodys is a block that the chain does not have.
func nobodys(n uint64) rpc.Block {
	return rpc.Block{Nonce: types.EncodeNonce(0xdead000000000000 + n), MixHash: common.Hash{0xde, 0xad, byte(n)}}
}

func (q *quarry) hash(key string) map[string]string {
	q.t.Helper()
	m, err := q.redis.Client().HGetAll(context.Background(), key).Result()
	if err != nil {
		q.t.Fatal(err)
	}
	return m
}

func (q *quarry) rows(key string) []string {
	q.t.Helper()
	rows, err := q.redis.Client().ZRange(context.Background(), "eth:blocks:"+key, 0, -1).Result()
	if err != nil {
		q.t.Fatal(err)
	}
	return rows
}

func (q *quarry) wantRows(key string, n int) {
	q.t.Helper()
	if rows := q.rows(key); len(rows) != n {
		q.t.Errorf("%d %s rows, want %d: %q\n%s", len(rows), key, n, rows, q.logs)
	}
}

func (q *quarry) wantMiner(login, field string, want util.Shannon) {
	q.t.Helper()
	got := q.hash("eth:miners:" + login)[field]
	if got != want.String() && (got != "" || want != 0) {
		q.t.Errorf("%s has %s %q, want %d\n%s", login, field, got, want, q.logs)
	}
}

func (q *quarry) wantLog(text string) {
	q.t.Helper()
	if !strings.Contains(q.logs.String(), text) {
		q.t.Errorf("the log does not say %q:\n%s", text, q.logs)
	}
}

// audit asserts that the totals are the sums of the miners, that no plan is open,
// that every credit of a block is its split, and that the splits give the rewards.
func (q *quarry) audit() {
	q.t.Helper()
	var balance, immature, all int64
	for _, m := range q.books("eth:miners:*") {
		balance, immature = balance+number(q.t, m["balance"]), immature+number(q.t, m["immature"])
	}
	f := q.hash("eth:finances")
	if number(q.t, f["balance"]) != balance || number(q.t, f["immature"]) != immature {
		q.t.Errorf("finances have balance %s, immature %s; the miners %d, %d", f["balance"], f["immature"], balance, immature)
	}
	if plans := q.hash("eth:credits:plans"); len(plans) > 0 {
		q.t.Errorf("plans are open: %v", plans)
	}
	splits := q.hash("eth:credits:splits")
	for block, text := range splits {
		p := strings.Split(text, ":")
		reward, _ := new(big.Int).SetString(p[0], 10)
		sum, _ := new(big.Int).SetString(p[3], 10)
		mined, fee := number(q.t, p[1]), number(q.t, p[2])
		if sum.Add(sum, util.Shannon(mined+fee).Wei()); sum.Cmp(reward) != 0 {
			q.t.Errorf("split %s of %s is %s Wei", text, block, sum)
		}
		if p[5] == "" {
			fee = 0
		}
		var credited int64
		for _, key := range []string{"eth:credits:immature:" + block, "eth:credits:" + block} {
			for _, amount := range q.hash(key) {
				credited += number(q.t, amount)
			}
		}
		if credited != mined+fee {
			q.t.Errorf("%d Shannon are credited for %s, the split is %s", credited, block, text)
		}
		all += credited
	}
	if all != balance+immature {
		q.t.Errorf("the splits credit %d Shannon, the miners have %d", all, balance+immature)
	}
}

func (q *quarry) books(pattern string) map[string]map[string]string {
	q.t.Helper()
	keys, err := q.redis.Client().Keys(context.Background(), pattern).Result()
	if err != nil {
		q.t.Fatal(err)
	}
	out := map[string]map[string]string{}
	for _, key := range keys {
		out[key] = q.hash(key)
	}
	return out
}

func number(t testing.TB, text string) int64 {
	t.Helper()
	if text == "" {
		return 0
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		t.Error(err)
	}
	return n
}

// all is everything in Redis.
func (q *quarry) all() map[string]any {
	q.t.Helper()
	c, ctx := q.redis.Client(), context.Background()
	keys, err := c.Keys(ctx, "*").Result()
	if err != nil {
		q.t.Fatal(err)
	}
	out := map[string]any{}
	for _, key := range keys {
		if c.Type(ctx, key).Val() == "zset" {
			out[key] = c.ZRangeWithScores(ctx, key, 0, -1).Val()
		} else {
			out[key] = c.HGetAll(ctx, key).Val()
		}
	}
	return out
}

// cutter stands before Redis and breaks one connection: at the n-th message,
// before Redis sees it or after it was carried out.
type cutter struct {
	*fault.Proxy
	begun int // messages before those that count
}

// set cuts at a message, counted from 1, and forgets how many there were; 0 is never.
func (c *cutter) set(at int, after bool) {
	begun := c.Count()
	c.begun = begun
	c.Every(func(m fault.Message) fault.Action {
		switch {
		case m.N-begun != at:
			return fault.Pass
		case after:
			return fault.LoseReply
		}
		return fault.Drop
	})
}

func (c *cutter) count() int { return c.Count() - c.begun }

func TestABlockIsCreditedAndMatures(t *testing.T) {
	for _, tc := range []struct {
		name       string
		baseFee    bool
		keepTxFees bool
		reward     util.Shannon // a transfer at 3 Shannon per gas
	}{
		{"with what its transaction paid", false, false, 5_000_000_000 + 63_000},
		{"but for the base fee", true, false, 5_000_000_000 + 42_000},
		{"unless the pool keeps it", false, true, 5_000_000_000 + 63_000},
	} {
		t.Run(tc.name, func(t *testing.T) {
			q := newQuarry(t, rpctest.Options{BaseFee: tc.baseFee})
			q.cfg.KeepTxFees = tc.keepTxFees
			q.chain.Mine(40)
			q.transfer()
			b := q.head()
			// Two blocks below what the proxy thought; 1/3 and 2/3, in odd letters.
			c := q.found(b, b.Number+2, map[string]int64{mixedCase: 1000, login(1): 2000})

			q.chain.Mine(2 + immatureDepth - 1)
			q.mustPass()
			q.wantRows("candidates", 1) // not due
			q.chain.Mine(1)
			q.mustPass()
			var kept util.Shannon
			if tc.keepTxFees {
				kept = 63_000 // as the existing pools: it is credited with the fee
			}
			fee := (tc.reward-kept)/100 + kept
			part := (tc.reward - fee) / 3
			q.wantMiner(mixedCase, "immature", part)
			q.wantMiner(login(1), "immature", (tc.reward-fee)*2/3)
			q.wantMiner(strings.ToLower(feeLogin), "immature", fee)
			q.wantRows("candidates", 0)
			row := fmt.Sprintf("0:0:%s:%s:1700000000:131072:1000:%s", c.Nonce, b.Hash.Hex(), tc.reward.Wei())
			if diff := cmp.Diff([]string{row}, q.rows("immature")); diff != "" {
				t.Errorf("immature: %s", diff)
			}
			if got := q.hash(fmt.Sprintf("eth:shares:round%d:%s", b.Number, c.Nonce)); len(got) != 2 {
				t.Errorf("the round under the right height is %v", got)
			}
			q.wantLog(fmt.Sprintf(`msg="block immature" height=%d kind=block`, b.Number))
			q.wantLog("reward=" + tc.reward.Coins())
			q.audit()

			// Repeated, and by the same process as well.
			before := q.all()
			u, stop := q.unlocker()
			defer stop()
			for range 3 {
				if err := u.Pass(context.Background()); err != nil {
					t.Fatal(err)
				}
			}
			if diff := cmp.Diff(before, q.all()); diff != "" {
				t.Errorf("a repeated pass changes %s", diff)
			}

			q.chain.Mine(int(b.Number + matureDepth - q.chain.Height()))
			q.mustPass()
			q.wantMiner(mixedCase, "immature", 0)
			q.wantMiner(mixedCase, "balance", part)
			q.wantMiner(strings.ToLower(feeLogin), "balance", fee)
			q.wantRows("immature", 0)
			q.wantRows("matured", 1)
			q.wantLog(`msg="block matured"`)
			q.audit()
			before = q.all()
			q.chain.Mine(40)
			q.mustPass()
			if diff := cmp.Diff(before, q.all()); diff != "" {
				t.Errorf("a later pass changes %s", diff)
			}
		})
	}
}

// transfer mines a block with one transfer that pays 3 gwei per gas.
func (q *quarry) transfer() {
	q.t.Helper()
	key, err := crypto.ToECDSA(crypto.Keccak256([]byte("a customer of the chain")))
	if err != nil {
		q.t.Fatal(err)
	}
	q.chain.Fund(crypto.PubkeyToAddress(key.PublicKey), coinsToWei(1))
	tx := types.MustSignNewTx(key, types.LatestSignerForChainID(q.chain.ChainID()), &types.LegacyTx{
		To: &common.Address{1}, Value: big.NewInt(1), Gas: 21_000, GasPrice: big.NewInt(3_000_000_000)})
	raw, err := tx.MarshalBinary()
	if err != nil {
		q.t.Fatal(err)
	}
	if _, err := q.chain.Include(raw); err != nil {
		q.t.Fatal(err)
	}
}

// mineUncle returns an uncle and the block that includes it.
func (q *quarry) mineUncle() (uncle, nephew rpc.Block) {
	q.t.Helper()
	q.chain.MineUncle()
	q.chain.Mine(1)
	nephew = q.head()
	uncle, err := q.ask().UncleByIndex(context.Background(), nephew.Number, 0)
	if err != nil {
		q.t.Fatal(err)
	}
	return uncle, nephew
}

func TestAnUncleIsCreditedAndMatures(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	q.cfg.PoolFee = 0
	q.chain.Mine(30)
	uncle, nephew := q.mineUncle()
	c := q.found(uncle, uncle.Number, map[string]int64{login(1): 1})
	includer := q.found(nephew, nephew.Number, map[string]int64{login(2): 1})
	q.chain.Mine(immatureDepth)
	q.mustPass()
	q.wantMiner(login(1), "immature", 4_375_000_000)
	q.wantMiner(login(2), "immature", 5_156_250_000) // and 1/32 for the uncle
	rows := []string{
		fmt.Sprintf("%d:0:%s:%s:1700000000:131072:1000:4375000000000000000", uncle.Number, c.Nonce, uncle.Hash.Hex()),
		fmt.Sprintf("0:0:%s:%s:1700000000:131072:1000:5156250000000000000", includer.Nonce, nephew.Hash.Hex())}
	got := q.rows("immature")
	slices.Sort(got)
	slices.Sort(rows)
	if diff := cmp.Diff(rows, got); diff != "" {
		t.Errorf("immature: %s", diff)
	}
	if score := q.redis.Do(t, "ZSCORE", "eth:blocks:immature", rows[len(rows)-1]); score != fmt.Sprint(nephew.Number) {
		t.Errorf("the uncle is at height %v, want its nephew's, %d", score, nephew.Number)
	}
	q.wantLog("kind=uncle")
	q.chain.Mine(matureDepth)
	q.mustPass()
	q.wantMiner(login(1), "balance", 4_375_000_000)
	q.wantRows("matured", 2)
	if strings.Contains(q.logs.String(), "elsewhere") {
		t.Errorf("it has not moved, but:\n%s", q.logs)
	}
	q.audit()
}

func TestALostBlockIsAnOrphanAndItsSharesCount(t *testing.T) {
	for _, tc := range []struct {
		name  string
		early bool // gone before it was credited
	}{{"gone before it was credited", true}, {"gone after it was credited", false}} {
		t.Run(tc.name, func(t *testing.T) {
			q := newQuarry(t, rpctest.Options{})
			q.chain.Mine(30)
			b := q.head()
			c := q.found(b, b.Number, map[string]int64{mixedCase: 10, login(1): 20})
			q.redis.Do(t, "HSET", "eth:shares:roundCurrent", login(1), 5)
			if tc.early {
				q.chain.Reorg(1, false)
			}
			q.chain.Mine(immatureDepth)
			q.mustPass()
			if tc.early {
				q.wantMiner(login(1), "immature", 0)
				q.wantLog(`msg="block not found`)
				if diff := cmp.Diff([]string{"0:1:" + c.Nonce + ":0x0:1700000000:131072:1000:0"}, q.rows("immature")); diff != "" {
					t.Errorf("immature: %s", diff)
				}
			} else {
				q.wantMiner(login(1), "immature", 3_300_000_000)
				q.chain.Reorg(immatureDepth+1, false)
			}
			q.chain.Mine(matureDepth)
			q.mustPass()
			q.wantMiner(login(1), "immature", 0)
			q.wantMiner(login(1), "balance", 0)
			if diff := cmp.Diff([]string{"0:1:" + c.Nonce + ":0x0:1700000000:131072:1000:0"}, q.rows("matured")); diff != "" {
				t.Errorf("matured: %s", diff)
			}
			want := map[string]string{mixedCase: "10", login(1): "25"}
			if diff := cmp.Diff(want, q.hash("eth:shares:roundCurrent")); diff != "" {
				t.Errorf("current round: %s", diff)
			}
			q.wantRows("immature", 0)
			q.wantLog(`msg="block orphaned`)
			q.audit()
		})
	}
}

// TestABlockIsLookedForAgainBeforeItMatures: what was somewhere else, or nowhere,
// when it was credited.
func TestABlockIsLookedForAgainBeforeItMatures(t *testing.T) {
	for _, uncle := range []bool{false, true} {
		for _, lost := range []bool{false, true} {
			t.Run(fmt.Sprintf("uncle %t, lost %t", uncle, lost), func(t *testing.T) {
				q := newQuarry(t, rpctest.Options{})
				q.cfg.PoolFee = 0
				q.chain.Mine(30)
				b := q.head()
				want := util.Shannon(5_000_000_000)
				if uncle {
					b, _ = q.mineUncle()
					want = 4_375_000_000
				}
				c := q.found(b, b.Number, map[string]int64{login(1): 1, login(2): 0})
				before := c.Block()
				split := storage.Split{}
				if !lost {
					before.Height, before.Orphan, before.Hash, before.RewardWei = c.Height+1, false, common.Hash{7}.Hex(), coinsToWei(3)
					var err error
					if split, err = divide(before.RewardWei, new(big.Int), 0, "", map[string]int64{login(2): 1}); err != nil {
						t.Fatal(err)
					}
				}
				u, stop := q.unlocker()
				defer stop()
				if err := u.credits.Immature(context.Background(), c, before, split); err != nil {
					t.Fatal(err)
				}
				// At the height where it was it is deep enough, and where it is not yet.
				q.chain.Mine(int(before.Height + matureDepth - q.chain.Height()))
				q.mustPass()
				q.wantMiner(login(2), "immature", 0)
				q.wantMiner(login(2), "balance", 0)
				q.wantLog(`msg="block immature elsewhere"`)
				q.chain.Mine(2)
				q.mustPass()
				q.wantMiner(login(1), "balance", want)
				q.wantMiner(login(1), "immature", 0)
				q.wantRows("matured", 1)
				q.wantRows("immature", 0)
				q.audit()
			})
		}
	}
}

// strayed is a chain with a block that the books have a block higher or lower than
// it is, deep enough there.
func (q *quarry) strayed(by int) (b rpc.Block) {
	q.t.Helper()
	q.begin(rpctest.Options{})
	q.cfg.PoolFee = 0
	q.chain.Mine(30)
	b = q.head()
	c := q.found(b, b.Number, map[string]int64{login(1): 1, login(2): 0})
	before := c.Block()
	before.Height, before.Orphan, before.Hash, before.RewardWei = uint64(int(c.Height)+by), false, common.Hash{7}.Hex(), coinsToWei(3)
	split, err := divide(before.RewardWei, new(big.Int), 0, "", map[string]int64{login(2): 1})
	if err != nil {
		q.t.Fatal(err)
	}
	q.cut.set(0, false)
	u, stop := q.unlocker()
	defer stop()
	if err := u.credits.Immature(context.Background(), c, before, split); err != nil {
		q.t.Fatal(err)
	}
	q.chain.Mine(int(before.Height + matureDepth - q.chain.Height()))
	return b
}

// TestABlockThatMovedUpWaits until it is deep enough where it is.
func TestABlockThatMovedUpWaits(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	q.strayed(-1)
	q.mustPass()
	q.wantMiner(login(1), "immature", 5_000_000_000)
	q.wantRows("matured", 0)
	q.chain.Mine(1)
	q.mustPass()
	q.wantMiner(login(1), "balance", 5_000_000_000)
	q.audit()
}

// TestAMoveMayDieAnywhere: what is half moved is moved by the next pass.
func TestAMoveMayDieAnywhere(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	q.strayed(1)
	q.cut.set(0, false)
	q.mustPass()
	want, n := q.all(), q.cut.count()
	q.wantMiner(login(1), "balance", 5_000_000_000)
	q.audit()
	for at := 1; at <= n; at++ {
		for _, after := range []bool{false, true} {
			q.strayed(1)
			q.cut.set(at, after)
			if err := q.pass(); err != nil {
				q.mustPass()
			}
			if diff := cmp.Diff(want, q.all()); diff != "" {
				t.Errorf("cut at message %d of %d, after it was done %t: %s", at, n, after, diff)
			}
		}
	}
}

// without hides one block of the chain.
type without struct {
	anyBlocks
	hidden uint64
}

func (w without) Blocks(ctx context.Context, from, to uint64) ([]rpc.Block, error) {
	list, err := w.anyBlocks.Blocks(ctx, from, to)
	for i := range list {
		if list[i].Number == w.hidden {
			list[i].Hash[0]++
			list[i].Nonce[0]++
		}
	}
	return list, err
}

// gap is a node that has lost one block for good.
type gap struct {
	anyBlocks
	lost uint64
}

func (g gap) Blocks(ctx context.Context, from, to uint64) ([]rpc.Block, error) {
	if from <= g.lost && g.lost <= to {
		return nil, &rpc.Error{Code: -32000, Message: "missing trie node"}
	}
	return g.anyBlocks.Blocks(ctx, from, to)
}

// TestABlockThatTheNodeHasLostHoldsUpNoOther: it is asked for again with every pass.
func TestABlockThatTheNodeHasLostHoldsUpNoOther(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	q.chain.Mine(30)
	lost := q.head()
	q.found(lost, lost.Number, map[string]int64{login(1): 1})
	q.chain.Mine(3 * searchRange)
	b := q.head()
	q.found(b, b.Number, map[string]int64{login(2): 1})
	q.chain.Mine(matureDepth)
	q.wrap = func(blocks Blocks) Blocks { return gap{blocks, lost.Number} }
	for range 2 {
		if err := q.pass(); err == nil || !strings.Contains(err.Error(), "missing trie node") {
			t.Errorf("the pass says %v, want what the node has lost", err)
		}
	}
	q.wantMiner(login(2), "balance", 4_950_000_000)
	q.wrap = nil
	q.mustPass()
	q.wantMiner(login(1), "balance", 4_950_000_000)
	q.audit()
}

// TestAnOrphanThatCameBackStaysAnOrphan: some of its shares may have been used.
func TestAnOrphanThatCameBackStaysAnOrphan(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	orphaned := 0
	for at := 1; ; at++ {
		q.begin(rpctest.Options{})
		q.wrap = nil
		q.chain.Mine(30)
		b := q.head()
		q.found(b, b.Number, map[string]int64{login(1): 1, login(2): 2})
		q.chain.Mine(matureDepth)
		q.cut.set(0, false)
		early := q.cfg.Depth
		q.cfg.Depth = 1 << 40
		q.mustPass() // immature
		q.cfg.Depth = early
		q.wrap = func(blocks Blocks) Blocks { return without{blocks, b.Number} }
		q.cut.set(at, false)
		err := q.pass()
		q.cut.set(0, false)
		begun := len(q.hash("eth:credits:plans")) > 0
		q.wrap = nil
		q.mustPass()
		q.wantRows("immature", 0)
		q.wantRows("matured", 1)
		q.audit()
		if begun {
			orphaned++
			q.wantMiner(login(1), "balance", 0)
		}
		if err == nil {
			break
		}
	}
	if orphaned < 2 {
		t.Errorf("only %d passes died while they made an orphan", orphaned)
	}
}

// TestWhatIsInTheWayOfOneBlockIsNotInTheWayOfOthers: one is credited by an older
// pool already.
func TestWhatIsInTheWayOfOneBlockIsNotInTheWayOfOthers(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	q.chain.Mine(30)
	first := q.head()
	q.chain.Mine(1)
	second := q.head()
	for n, b := range []rpc.Block{first, second} {
		q.found(b, b.Number, map[string]int64{login(n + 1): 1})
	}
	q.redis.Do(t, "HSET", fmt.Sprintf("eth:credits:%d:%s", first.Number, first.Hash.Hex()), login(1), 1)
	q.chain.Mine(immatureDepth)
	if err := q.pass(); !errors.Is(err, storage.ErrConflict) {
		t.Errorf("error is %v, want ErrConflict", err)
	}
	q.wantMiner(login(1), "immature", 0)
	q.wantMiner(login(2), "immature", 4_950_000_000)
}

// pinned notes which chain the node is held to.
type pinned struct {
	anyBlocks
	to *[]uint64
}

func (p pinned) Pin(chainID uint64, genesis common.Hash) {
	*p.to = append(*p.to, chainID)
	p.anyBlocks.Pin(chainID, genesis)
}

// TestTheNodeIsHeldToTheChain, so that another of its URLs cannot lead elsewhere.
func TestTheNodeIsHeldToTheChain(t *testing.T) {
	for _, ledger := range []bool{false, true} {
		q := newQuarry(t, rpctest.Options{})
		q.chain.Mine(3)
		if ledger {
			_, genesis, err := q.ask().Identity(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			q.redis.Do(t, "HSET", "eth:payments:meta", "chainId", 61, "genesis", genesis.Hex(), "account", common.Address{1}.Hex(), "firstNonce", 0, "nextNonce", 0, "since", 1)
		}
		var to []uint64
		q.wrap = func(b Blocks) Blocks { return pinned{b, &to} }
		u, stop := q.unlocker()
		for range 3 {
			if err := u.Pass(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		stop()
		if len(to) != 1 {
			t.Errorf("with a ledger %t: held to %v, want one chain", ledger, to)
		}
	}
}

// scene is a chain with an uncle, a block at another height, and one that is gone
// before the second look; three rounds.
func (q *quarry) scene() {
	q.t.Helper()
	q.begin(rpctest.Options{})
	q.chain.Mine(30)
	uncle, _ := q.mineUncle()
	q.found(uncle, uncle.Number, map[string]int64{login(1): 3, mixedCase: 4})
	q.chain.Mine(1)
	q.transfer()
	b := q.head()
	q.found(b, b.Number-1, map[string]int64{login(1): 1, login(2): 1, login(3): 1})
	q.found(nobodys(1), b.Number, map[string]int64{login(4): 7, login(1): 1})
	q.chain.Mine(immatureDepth + 1)
}

// story makes both steps of the scene's blocks; each pass is repeated until it
// succeeds.
func (q *quarry) story(meanwhile func()) {
	q.t.Helper()
	for step := range 2 {
		for try := 0; ; try++ {
			err := q.pass()
			if err == nil {
				break
			}
			if try == 8 {
				q.t.Fatalf("pass: %v\n%s", err, q.logs)
			}
			meanwhile()
		}
		if step == 0 {
			q.chain.Mine(matureDepth)
		}
	}
}

// sometimes is a stride: 1, and under -short n.
func sometimes(n int) int {
	if testing.Short() {
		return n
	}
	return 1
}

// TestThePassMayDieAnywhere cuts every message to Redis, before or after it was
// carried out, and goes on in a new process.
func TestThePassMayDieAnywhere(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	q.scene()
	q.cut.set(0, false)
	q.story(func() {})
	want, n := q.all(), q.cut.count()
	q.wantRows("matured", 3)
	q.audit()
	if n < 30 {
		t.Fatalf("only %d messages", n)
	}
	for at := 1; at <= n; at += sometimes(5) {
		for _, after := range []bool{false, true} {
			q.scene()
			q.cut.set(at, after)
			q.story(func() {})
			if diff := cmp.Diff(want, q.all()); diff != "" {
				t.Errorf("cut at message %d of %d, after it was done %t: %s", at, n, after, diff)
			}
		}
	}
}

// TestTheChainMayChangeAfterTheCrash: the block of which credits are half made is
// gone when the next process looks.
func TestTheChainMayChangeAfterTheCrash(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	crashed := 0
	for at := 1; at <= 24; at += sometimes(3) {
		for _, after := range []bool{false, true} {
			q.scene()
			q.cut.set(at, after)
			gone := false
			q.story(func() {
				if !gone && len(q.rows("candidates")) > 0 {
					gone = true
					crashed++
					q.chain.Reorg(25, false)
				}
			})
			q.wantRows("matured", 3)
			q.wantRows("immature", 0)
			q.audit()
			for key, m := range q.books("eth:miners:*") {
				if number(t, m["immature"]) != 0 || gone && strings.HasSuffix(key, login(4)) && number(t, m["balance"]) != 0 {
					t.Errorf("cut at %d, after it was done %t: %s is %v", at, after, key, m)
				}
			}
		}
	}
	if crashed < 20/sometimes(3) {
		t.Errorf("only %d crashes", crashed)
	}
}

// TestANodeThatFailsMakesNoOrphan breaks every call to the node in every way.
func TestANodeThatFailsMakesNoOrphan(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	q.cut.set(0, false)
	q.scene()
	q.story(func() {})
	want := q.all()
	faults := map[string]rpctest.Fault{"loses the reply": rpctest.LoseReply, "answers null": rpctest.Null,
		"answers HTML": rpctest.HTML500, "says it has a fault": rpctest.ErrorReply(-32000, "header not found")}
	q.scene()
	q.mustPass()
	total := q.node.Calls("")
	for name, fault := range faults {
		// Enough of them to meet every kind of call, the last ones included.
		for nth := 1; nth <= total; nth += sometimes(2) + nth*sometimes(3)/12 {
			q.scene()
			q.node.Fail("", nth, fault)
			if err := q.pass(); err == nil {
				t.Errorf("call %d %s, and the pass succeeds", nth, name)
			}
			q.story(func() {})
			if diff := cmp.Diff(want, q.all()); diff != "" {
				t.Errorf("call %d %s: %s", nth, name, diff)
			}
		}
	}
}

// TestANodeThatIsAlwaysWrongDecidesNothing: whatever it leaves out.
func TestANodeThatIsAlwaysWrongDecidesNothing(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	q.patience = 300 * time.Millisecond // with the one that hangs
	for name, fault := range map[string]rpctest.Fault{"null": rpctest.Null, "refused": rpctest.Refuse, "lost": rpctest.LoseReply, "HTML": rpctest.HTML500,
		"hangs": rpctest.Hang, "an error": rpctest.ErrorReply(-32000, "missing trie node")} {
		for _, method := range []string{"eth_getBlockByNumber", "eth_getUncleByBlockNumberAndIndex", "eth_chainId", ""} {
			q.scene()
			before := q.all()
			q.node.Fail(method, 0, fault)
			if err := q.pass(); err == nil {
				t.Errorf("%s, %s: the pass succeeds", name, method)
			}
			if method != "eth_getUncleByBlockNumberAndIndex" {
				if diff := cmp.Diff(before, q.all()); diff != "" {
					t.Errorf("%s, %s: %s", name, method, diff)
				}
			}
			q.wantRows("matured", 0)
			q.node.Heal()
		}
	}
}

func TestANodeThatFallsBehindDecidesNothing(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	q.chain.Mine(30)
	u, stop := q.unlocker()
	defer stop()
	b := q.head()
	q.chain.Mine(immatureDepth)
	if err := u.Pass(context.Background()); err != nil {
		t.Fatal(err)
	}
	q.found(b, b.Number, map[string]int64{login(1): 1})
	q.found(nobodys(1), b.Number, map[string]int64{login(2): 1})
	before := q.all()
	q.chain.Mine(5)
	q.node.Lag(6)
	if err := u.Pass(context.Background()); err == nil || !strings.Contains(err.Error(), "was seen before") {
		t.Errorf("a node behind: %v", err)
	}
	if diff := cmp.Diff(before, q.all()); diff != "" {
		t.Errorf("a node behind: %s", diff)
	}
	// A height below the head that it does not have.
	q.node.Lag(0)
	q.node.OnCall(func(method string) { // between the head and the blocks
		if q.node.Calls("eth_getBlockByNumber") > 0 && method == "eth_getBlockByNumber" {
			q.node.Lag(int(q.chain.Height() - b.Number))
		}
	})
	if err := u.Pass(context.Background()); err == nil {
		t.Error("a node that loses blocks: the pass succeeds")
	}
	if diff := cmp.Diff(before, q.all()); diff != "" {
		t.Errorf("a node that loses blocks: %s", diff)
	}
}

// TestAReorgWhileItReadsDecidesNothing: the blocks, the uncles, the receipts of
// two chains are no evidence.
func TestAReorgWhileItReadsDecidesNothing(t *testing.T) {
	for _, method := range []string{"eth_getUncleByBlockNumberAndIndex", "eth_getTransactionReceipt"} {
		q := newQuarry(t, rpctest.Options{})
		q.scene()
		once := sync.Once{}
		q.node.OnCall(func(m string) {
			if m == method {
				once.Do(func() { q.chain.Reorg(25, false) })
			}
		})
		if err := q.pass(); err == nil {
			t.Errorf("%s: the pass succeeds", method)
		}
		q.wantRows("matured", 0)
		q.story(func() {})
		q.wantRows("matured", 3)
		q.audit()
	}
}

// otherBranch is a node that answers single questions from another branch.
type otherBranch struct {
	anyBlocks
	uncles, blocks bool
}

// anyBlocks has another name than the method Blocks, so that it can be embedded.
type anyBlocks interface{ Blocks }

func (o otherBranch) UncleByIndex(ctx context.Context, n uint64, i int) (rpc.Block, error) {
	b, err := o.anyBlocks.UncleByIndex(ctx, n, i)
	if o.uncles {
		b.Hash[0]++
	}
	return b, err
}

func (o otherBranch) BlockWithTransactions(ctx context.Context, n uint64) (rpc.Block, error) {
	b, err := o.anyBlocks.BlockWithTransactions(ctx, n)
	if o.blocks {
		b.Hash[0]++
	}
	return b, err
}

func TestAnswersOfAnotherBranchDecideNothing(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	for _, other := range []otherBranch{{uncles: true}, {blocks: true}} {
		q.scene()
		q.wrap = func(b Blocks) Blocks { other.anyBlocks = b; return other }
		if err := q.pass(); err == nil || !strings.Contains(err.Error(), rpc.ErrUnknown.Error()) {
			t.Errorf("other uncles %t, other blocks %t: %v", other.uncles, other.blocks, err)
		}
		credited := 0 // the uncle comes first
		if other.blocks {
			credited = 1
		}
		q.wantRows("immature", credited)
		q.wantRows("candidates", 3-credited)
	}
}

func TestTheChainMustBeTheRightOne(t *testing.T) {
	q := newQuarry(t, rpctest.Options{ChainID: 61})
	q.scene()
	before := q.all()
	q.cfg.Network = NetworkEthereum
	if err := q.pass(); err == nil || !strings.Contains(err.Error(), `"ethereum"`) || !strings.Contains(err.Error(), "classic") {
		t.Errorf("network ethereum on chain 61: %v", err)
	}
	q.cfg.Network = NetworkClassic
	for name, meta := range map[string][]any{
		"another chain":   {"chainId", 62, "genesis", q.chain.Genesis().Hex()},
		"another genesis": {"chainId", 61, "genesis", common.Hash{1}.Hex()},
	} {
		q.redis.Do(t, append([]any{"HSET", "eth:payments:meta", "account", common.Address{1}.Hex(), "firstNonce", 0, "nextNonce", 0, "since", 1, "step", 1}, meta...)...)
		if err := q.pass(); err == nil || !strings.Contains(err.Error(), "chain") {
			t.Errorf("%s: %v", name, err)
		}
		q.redis.Do(t, "DEL", "eth:payments:meta")
		if diff := cmp.Diff(before, q.all()); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	// Without a ledger the first chain counts.
	u, stop := q.unlocker()
	defer stop()
	if err := u.Pass(context.Background()); err != nil {
		t.Fatal(err)
	}
	u.genesis = common.Hash{1}
	if err := u.Pass(context.Background()); err == nil {
		t.Error("another chain than before: the pass succeeds")
	}
}

// TestTheUnlockerSaysWhatItCreditsBy: other processes show it, whose configuration may
// say something else.
func TestTheUnlockerSaysWhatItCreditsBy(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	q.cfg.PoolFee = util.OnePercent * 3 / 2
	q.mustPass()
	db, err := storage.Open(context.Background(), storage.Config{Endpoint: q.redis.Addr(), PoolSize: 1, Mode: storage.ModeSingle}, "eth")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	o, err := db.Overview(context.Background(), 1)
	if want := (storage.Terms{Fee: q.cfg.PoolFee, Depth: matureDepth, ImmatureDepth: immatureDepth}); err != nil || !o.HasTerms || o.Terms != want {
		t.Errorf("the terms are %+v (%v), want %+v", o.Terms, err, want)
	}
}

func TestABlockMustHaveOurSeal(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	q.chain.Mine(30)
	b := q.head()
	b.MixHash = common.Hash{1} // the nonce is ours, the work is not
	q.found(b, b.Number, map[string]int64{login(1): 1})
	q.chain.Mine(immatureDepth)
	q.mustPass()
	q.wantMiner(login(1), "immature", 0)
	q.wantLog("block not found")
}

func TestManyMinersShareABlock(t *testing.T) {
	const n = 1200
	q := newQuarry(t, rpctest.Options{})
	q.chain.Mine(30)
	b := q.head()
	shares := map[string]int64{}
	for i := range n {
		shares[login(i)] = int64(i*i + 1)
	}
	q.found(b, b.Number, shares)
	q.redis.Do(t, "CONFIG", "SET", "slowlog-log-slower-than", 1000)
	q.chain.Mine(immatureDepth)
	q.mustPass()
	if got := len(q.hash(fmt.Sprintf("eth:credits:immature:%d:%s", b.Number, b.Hash.Hex()))); got != n+1 {
		t.Errorf("%d are credited, want %d and the pool", got, n)
	}
	q.audit()
	q.chain.Mine(matureDepth)
	q.mustPass()
	q.audit()
	q.wantRows("matured", 1)
	for _, slow := range q.redis.Client().SlowLogGet(context.Background(), 100).Val() {
		if slow.Args[0] == "eval" || slow.Args[0] == "EVAL" {
			t.Logf("a script took %s", slow.Duration)
		}
	}
	// The same, as an orphan.
	gone := nobodys(3)
	q.found(gone, q.chain.Height(), shares)
	q.chain.Mine(matureDepth)
	q.mustPass()
	q.mustPass()
	if got := q.hash("eth:shares:roundCurrent"); len(got) != n || got[login(7)] != "50" {
		t.Errorf("%d have their shares back, want %d", len(got), n)
	}
	q.audit()
}

// TestWhatCannotBeReadIsSetAside: and holds up nothing else.
func TestWhatCannotBeReadIsSetAside(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	q.chain.Mine(30)
	b := q.head()
	q.chain.Mine(1)
	other := q.head()
	c := q.found(other, other.Number-2, map[string]int64{login(2): 1})
	q.redis.Do(t, "HSET", fmt.Sprintf("eth:shares:round%d:%s", other.Number-2, c.Nonce), "nobody", 1)
	q.found(b, b.Number, map[string]int64{login(1): 1})
	q.redis.Do(t, "ZADD", "eth:blocks:candidates", 5, "a:b:c")
	q.redis.Do(t, "ZADD", "eth:blocks:immature", 5, "x")
	q.chain.Mine(matureDepth)
	u, stop := q.unlocker()
	defer stop()
	for range 2 {
		err := u.Pass(context.Background())
		if err == nil || !strings.Contains(err.Error(), "nobody") || !strings.Contains(err.Error(), "eth:shares:round") {
			t.Errorf("a round that cannot be read: %v", err)
		}
	}
	q.wantMiner(login(1), "balance", 4_950_000_000)
	q.wantRows("candidates", 2)
	q.wantRows("immature", 1)
	if said := strings.Count(q.logs.String(), "row set aside"); said != 2 {
		t.Errorf("two rows are complained about %d times:\n%s", said, q.logs)
	}
	q.redis.Do(t, "HDEL", fmt.Sprintf("eth:shares:round%d:%s", other.Number-2, c.Nonce), "nobody")
	q.mustPass()
	q.wantMiner(login(2), "balance", 4_950_000_000)
	q.audit()
}

func TestABlockWithoutSharesCreditsNobody(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	q.chain.Mine(30)
	b := q.head()
	q.found(b, b.Number, nil)
	q.chain.Mine(matureDepth)
	q.mustPass()
	q.wantRows("matured", 1)
	q.wantLog("nobody is credited")
	want := "5000000000000000000:0:0:5000000000000000000:0:"
	if got := q.hash("eth:credits:splits")[fmt.Sprintf("%d:%s", b.Number, b.Hash.Hex())]; got != want {
		t.Errorf("split %s, want %s", got, want)
	}
	q.audit()
}

func TestTheUnlockerComplainsOnceAndGoesOn(t *testing.T) {
	q := newQuarry(t, rpctest.Options{})
	q.chain.Mine(30)
	b := q.head()
	q.found(b, b.Number, map[string]int64{login(1): 1})
	q.chain.Mine(matureDepth)
	u, stop := q.unlocker()
	defer stop()
	ctx, cancel := context.WithCancel(context.Background())
	sleeps := 0
	q.clock.onSleep = func() {
		switch sleeps++; sleeps {
		case 3:
			q.node.Heal()
		case 5:
			cancel()
		}
	}
	q.node.Fail("", 0, rpctest.ErrorReply(-32000, "out of order"))
	if err := u.Run(ctx); err != nil {
		t.Fatal(err)
	}
	q.wantMiner(login(1), "balance", 4_950_000_000)
	if said := strings.Count(q.logs.String(), "unlocker tries again"); said != 1 {
		t.Errorf("it complains %d times:\n%s", said, q.logs)
	}
	q.wantLog("unlocker is well again")
	if got := q.clock.Now().Sub(time.Unix(1_700_000_000, 0)); got != 5*q.cfg.Interval.Std() {
		t.Errorf("five passes took %s", got)
	}
}

func TestAnUnlockerIsMadeOfSoundParts(t *testing.T) {
	for name, change := range map[string]func(*UnlockerConfig){
		"an unknown network":         func(c *UnlockerConfig) { c.Network = "moon" },
		"a fee address that is none": func(c *UnlockerConfig) { c.PoolFeeAddress = "0x1" },
		"a range above the head":     func(c *UnlockerConfig) { c.ImmatureDepth = 15 },
		"mature before immature":     func(c *UnlockerConfig) { c.Depth = 19 },
	} {
		cfg := DefaultUnlockerConfig()
		cfg.Network = NetworkMordor
		change(&cfg)
		if _, err := NewUnlocker(cfg, UnlockerParts{}); err == nil {
			t.Errorf("%s is taken", name)
		}
	}
}
