package e2e

import (
	"context"
	"crypto/ecdsa"
	"fmt"
	"maps"
	"math/big"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

const (
	lifeDifficulty = 32 // hashes a block: a tenth of a second
	lifeShare      = 8  // hashes a share: every fourth is a block
	lifeImmature   = 16 // blocks deep; both are the least that the pool allows
	lifeDepth      = 32
	lifeRest       = time.Second // of each miner after some nonces, so that blocks are apart
)

// life is a pool whose miners find real blocks.
type life struct {
	*world
	prover *prover
	proxy  *process // and the unlocker
	payer  *process
	fees   string // the login that is credited with the pool's fee

	mu     sync.Mutex
	rounds map[string]map[string]int64 // NONCE → LOGIN → shares, of every block; guarded by mu
}

// TestEveryRewardIsCreditedAndPaidToTheLastShannon is the whole life of rewards:
// miners of every dialect find blocks, one block becomes an uncle, one is lost in
// a reorganisation, everybody is paid. What blocks and uncles really brought and
// what miners really received is asked of the chain; how it was divided is
// computed here once more, from the shares.
func TestEveryRewardIsCreditedAndPaidToTheLastShannon(t *testing.T) {
	spender := minerKey(1000)
	c := startChain(t, "--pow", "real", "--difficulty", strconv.Itoa(lifeDifficulty),
		"--fund", crypto.PubkeyToAddress(spender.PublicKey).Hex()+"=1")
	l := &life{world: newWorld(t, storagetest.Start(t), c), prover: newProver(t), rounds: map[string]map[string]int64{}}
	l.start()
	miners := l.everybodyFindsABlock()

	// From here on blocks are found as the test wants it. None so far can become an
	// uncle any more.
	c.mine(8)
	rig, other := l.rig(miners[0]), l.rig(miners[1])
	fee := l.spend(spender) // which a block of the pool is going to earn
	l.uncle(rig)
	c.mine(lifeDepth)
	l.until("all blocks are matured", l.proxy, l.allMatured)
	orphan := l.orphan(rig, other)

	c.call(nil, "devnet_setInterval", 150)
	l.mustRun("audit") // beside the pool at work; the next one goes on from here
	l.until("everybody is paid", l.payer, l.allPaid)
	l.proxy.terminate(t)
	l.payer.terminate(t)
	l.reconcile(orphan, fee)
	l.mustRun("audit")
	l.audit()
}

// start runs the pool, and payouts in a process of their own.
func (l *life) start() {
	l.t.Helper()
	redis := fault.Redis(l.t, l.redis.Addr())
	redis.Every(func(m fault.Message) fault.Action {
		if strings.HasPrefix(m.Name, "EVAL immature_begin") {
			l.readRounds()
		}
		return fault.Pass
	})
	l.redisAddr = redis.Addr()
	l.fees = fmt.Sprintf("0x%040x", 0xfee)
	sections := l.proxySections("pool", lifeShare, 1)
	sections["unlocker"] = map[string]any{"enabled": true, "daemon": l.nodeURL, "interval": "200ms",
		"depth": lifeDepth, "immatureDepth": lifeImmature, "poolFeeAddress": l.fees}
	l.proxy = start(l.t, command(l.write("pool.json", sections)))
	maps.Copy(l.payouts, map[string]any{"interval": "1s", "threshold": 1})
	l.payer = l.pool()
}

// readRounds keeps the shares of every block that was found. It is called before
// the unlocker begins anything with a block, when its round is as the proxy left
// it.
func (l *life) readRounds() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, key := range l.keys("eth:shares:round*:0x*") {
		nonce := key[strings.LastIndex(key, ":")+1:]
		if l.rounds[nonce] == nil {
			l.rounds[nonce] = l.numbers(key)
		}
	}
}

// everybodyFindsABlock has a miner of each dialect, and one over HTTP, mine until
// each has found a block. It returns their logins.
func (l *life) everybodyFindsABlock() (logins []string) {
	l.t.Helper()
	addr := l.httpPort(l.proxy)
	for range 4 {
		l.next++
		logins = append(logins, strings.ToLower(crypto.PubkeyToAddress(minerKey(l.next).PublicKey).Hex()))
	}
	var work []string
	l.until("there is work", l.proxy, func() bool { return getwork(addr, logins[3], &work, "eth_getWork") == nil })

	var rigs []*process
	for i, dialect := range []string{"eth-proxy", "nicehash", "stratum2"} {
		rigs = append(rigs, start(l.t, exec.Command(devnetBinary, "mine", "--pool", l.stratum(l.proxy, lifeShare),
			"--login", logins[i], "--rig", dialect, "--dialect", dialect, "--rest", lifeRest.String())))
	}
	ctx, stop := context.WithCancel(context.Background())
	var http sync.WaitGroup
	http.Go(func() { l.mineOverHTTP(ctx, addr, logins[3]) })
	defer http.Wait()
	defer stop()
	for _, login := range logins {
		l.until("a block is found by "+login, l.proxy, func() bool { return l.redis.Do(l.t, "ZSCORE", "eth:finders", login) != nil })
	}
	for _, r := range rigs {
		r.terminate(l.t)
	}
	return logins
}

// mineOverHTTP mines as those do that know nothing but getwork.
func (l *life) mineOverHTTP(ctx context.Context, addr, login string) {
	for nonce := uint64(1); ; {
		select {
		case <-ctx.Done():
			return
		case <-time.After(lifeRest):
		}
		var work []string
		if err := getwork(addr, login, &work, "eth_getWork"); err != nil {
			l.t.Errorf("work over HTTP: %v", err)
			return
		}
		for range 16 {
			nonce++
			d := l.prover.hash(common.HexToHash(work[0]), nonce)
			if d.Final.Cmp(common.HexToHash(work[2])) > 0 {
				continue
			}
			var ok bool
			err := getwork(addr, login, &ok, "eth_submitWork", fmt.Sprintf("0x%016x", nonce), work[0], d.Mix.Hex())
			if stale := err != nil && strings.Contains(err.Error(), "Stale share"); !stale && (err != nil || !ok) {
				l.t.Errorf("a share over HTTP: %v, %v", ok, err)
			}
		}
	}
}

// rig connects one that submits what the test tells it to.
func (l *life) rig(login string) *lifeRig {
	l.t.Helper()
	r, err := dialRig(l.stratum(l.proxy, 1), login)
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { r.conn.Close() })
	return &lifeRig{rig: r, life: l}
}

type lifeRig struct {
	*rig
	life *life
	part uint64 // the last one submitted
}

// freshJob waits until the pool hands out what the node wants mined now.
func (r *lifeRig) freshJob() {
	r.life.t.Helper()
	r.life.until("the pool has the node's present work", r.life.proxy, func() bool {
		var work []string
		r.life.chain.call(&work, "eth_getWork")
		if _, err := r.ask("mining.extranonce.subscribe"); err != nil { // an answer comes after all news
			r.life.t.Fatal(err)
		}
		return r.job.header == common.HexToHash(work[0])
	})
}

// share submits one that is a block, or one that is not, and returns its nonce.
func (r *lifeRig) share(j job, block bool) string {
	l := r.life
	l.t.Helper()
	limit := common.BigToHash(new(big.Int).Div(new(big.Int).Lsh(common.Big1, 256), big.NewInt(lifeDifficulty)))
	for r.part++; (l.prover.hash(j.header, r.nonce(r.part)).Final.Cmp(limit) <= 0) != block; r.part++ {
	}
	if err := r.submit(j, r.part); err != nil {
		l.t.Fatalf("a share at the difficulty of 1: %v", err)
	}
	return fmt.Sprintf("0x%016x", r.nonce(r.part))
}

// block submits a share, then one that is a block, and waits until it is written
// down. It returns the block's nonce.
func (r *lifeRig) block(j job) string {
	l := r.life
	l.t.Helper()
	r.share(j, false)
	nonce := r.share(j, true)
	l.until("the block is written down", l.proxy, func() bool { return l.row("eth:blocks:candidates", nonce) != nil })
	return nonce
}

// row finds a block's row in one of the three lists, whatever its place in it.
func (w *world) row(key, nonce string) *row {
	w.t.Helper()
	for _, r := range w.rows(key) {
		if r.nonce == nonce {
			return &r
		}
	}
	return nil
}

// row is what the books say of a block: a candidate is NONCE:..., the others are
// UNCLEHEIGHT:ORPHAN:NONCE:HASH:TIME:DIFFICULTY:ROUNDSHARES:REWARD.
type row struct {
	height, uncleHeight uint64
	orphan              bool
	nonce, hash         string
	rewardWei           string // decimal
}

func (r row) reward(t testing.TB) *big.Int {
	t.Helper()
	wei, ok := new(big.Int).SetString(r.rewardWei, 10)
	if !ok {
		t.Fatalf("row %+v has no reward", r)
	}
	return wei
}

func (w *world) rows(key string) (rows []row) {
	w.t.Helper()
	members := w.redis.Do(w.t, "ZRANGE", key, 0, -1, "WITHSCORES").([]any)
	for i := 0; i < len(members); i += 2 {
		f := strings.Split(members[i].(string), ":")
		r := row{nonce: f[0]}
		var err error
		if r.height, err = strconv.ParseUint(members[i+1].(string), 10, 64); err != nil {
			w.t.Fatal(err)
		}
		if len(f) == 8 {
			r.orphan, r.nonce, r.hash = f[1] == "1", f[2], f[3]
			r.rewardWei = f[7]
			if r.uncleHeight, err = strconv.ParseUint(f[0], 10, 64); err != nil {
				w.t.Fatal(err)
			}
		}
		rows = append(rows, r)
	}
	return rows
}

// spend has a stranger pay a transaction fee of odd Wei.
func (w *world) spend(key *ecdsa.PrivateKey) common.Hash {
	w.t.Helper()
	to := common.HexToAddress("0xaa")
	tx, err := types.SignNewTx(key, types.LatestSignerForChainID(new(big.Int).SetUint64(w.chain.ChainID)),
		&types.LegacyTx{GasPrice: big.NewInt(2_000_000_007), Gas: 21_000, To: &to, Value: common.Big1})
	if err != nil {
		w.t.Fatal(err)
	}
	raw, err := tx.MarshalBinary()
	if err != nil {
		w.t.Fatal(err)
	}
	w.chain.call(nil, "eth_sendRawTransaction", hexutil.Bytes(raw))
	return tx.Hash()
}

// uncle has two blocks found for one height, and a third one that includes
// whichever of them the chain is not built on.
func (l *life) uncle(r *lifeRig) {
	l.t.Helper()
	r.freshJob()
	j := r.job
	ours := []string{r.block(j), r.block(j)}
	l.until("the node's next block has one as its uncle", l.chain.proc, func() bool {
		var pending struct{ Uncles []common.Hash }
		l.chain.call(&pending, "eth_getBlockByNumber", "pending", false)
		return len(pending.Uncles) == 1 && slices.Contains(ours, l.chain.uncle("pending", 0).Nonce)
	})
	r.freshJob()
	r.head(r.job)
}

// head has a block found that the chain goes on from, and returns its nonce.
func (r *lifeRig) head(j job) string {
	l := r.life
	l.t.Helper()
	nonce := r.block(j)
	l.until("it is the chain's head", l.chain.proc, func() bool {
		var head struct{ Nonce string }
		l.chain.call(&head, "eth_getBlockByNumber", "latest", false)
		return head.Nonce == nonce
	})
	return nonce
}

// orphan has a block found, credited while it is immature, and lost in a
// reorganisation. Then nobody is credited, and its shares are in the present
// round, beside those that are there by then. It returns the block's nonce.
func (l *life) orphan(r, other *lifeRig) string {
	l.t.Helper()
	r.freshJob()
	j := r.job
	other.share(j, false)
	nonce := r.head(j)
	other.share(j, false) // of the present round
	l.chain.mine(lifeImmature)
	l.until("the block is immature", l.proxy, func() bool { return l.row("eth:blocks:immature", nonce) != nil })
	b := l.row("eth:blocks:immature", nonce)
	credits := l.numbers(fmt.Sprintf("eth:credits:immature:%d:%s", b.height, b.hash))
	if b.orphan || credits[r.login] == 0 || credits[other.login] == 0 || credits[l.fees] == 0 {
		l.t.Fatalf("immature block %+v is credited %v, want two miners' parts and the fee", b, credits)
	}
	present := l.numbers("eth:shares:roundCurrent")

	var head hexutil.Uint64
	l.chain.call(&head, "eth_blockNumber")
	l.chain.call(nil, "devnet_reorg", uint64(head)-b.height+1, true)
	l.chain.mine(lifeDepth)
	l.until("all blocks are matured", l.proxy, l.allMatured)
	for login, n := range l.rounds[nonce] {
		present[login] += n
	}
	if got := l.numbers("eth:shares:roundCurrent"); present[other.login] < 2 || !maps.Equal(got, present) {
		l.t.Errorf("after a block was orphaned the present round is %v, want %v", got, present)
	}
	if keys := l.keys("eth:credits:immature:*"); l.owes("immature") || len(keys) > 0 {
		l.t.Errorf("after all blocks matured or were orphaned something is immature, in %v", keys)
	}
	return nonce
}

// allMatured says whether the unlocker is done with every block that was found.
func (l *life) allMatured() bool {
	return len(l.rows("eth:blocks:candidates"))+len(l.rows("eth:blocks:immature")) == 0 &&
		l.redis.Do(l.t, "HLEN", "eth:blocks:found") == int64(len(l.rows("eth:blocks:matured")))
}

// allPaid says whether nobody is owed anything.
func (l *life) allPaid() bool {
	return !l.owes("balance") && !l.owes("pending") && !l.owes("immature") && l.settled()
}

func (l *life) owes(total string) bool {
	l.t.Helper()
	sum := l.redis.Do(l.t, "HGET", "eth:finances", total)
	return sum != nil && sum != "0"
}

// header is the part of a block that identifies it.
type header struct {
	Number hexutil.Uint64
	Hash   common.Hash
	Nonce  string
	Mix    common.Hash `json:"mixHash"`
	Uncles []common.Hash
}

func (c *chain) header(number string) (h header) {
	c.t.Helper()
	c.call(&h, "eth_getBlockByNumber", number, false)
	return h
}

func (c *chain) uncle(number string, i int) (h header) {
	c.t.Helper()
	c.call(&h, "eth_getUncleByBlockNumberAndIndex", number, hexutil.Uint64(i))
	return h
}

// earned is what the coinbase got by a block: its reward, its fees, and its
// uncles' rewards.
func (c *chain) earned(number uint64) *big.Int {
	c.t.Helper()
	var before, after hexutil.Big
	c.call(&before, "eth_getBalance", c.Coinbase, hexutil.Uint64(number-1))
	c.call(&after, "eth_getBalance", c.Coinbase, hexutil.Uint64(number))
	return new(big.Int).Sub(after.ToInt(), before.ToInt())
}

// places says where on the chain every block and every uncle is.
func (c *chain) places() map[string]row {
	c.t.Helper()
	places := map[string]row{}
	head := uint64(c.header("latest").Number)
	for n := uint64(1); n <= head; n++ {
		number := hexutil.EncodeUint64(n)
		b := c.header(number)
		places[b.Nonce] = row{height: n, nonce: b.Nonce, hash: b.Hash.Hex()}
		for i := range b.Uncles {
			u := c.uncle(number, i)
			places[u.Nonce] = row{height: n, uncleHeight: uint64(u.Number), nonce: u.Nonce, hash: u.Hash.Hex()}
		}
	}
	return places
}

// reconcile compares the books with the chain, block by block and miner by miner.
func (l *life) reconcile(orphan string, fee common.Hash) {
	l.t.Helper()
	places := l.chain.places()
	var blocks, uncles, orphans int
	earned := map[uint64]*big.Int{}                // by block, all rewards in the books
	credited := map[string]util.Shannon{}          // by login, of all blocks
	shares := l.numbers("eth:shares:roundCurrent") // by login, of all rounds that count
	alone := map[string]int64{}                    // of rounds of one miner
	for _, r := range l.rows("eth:blocks:matured") {
		if r.nonce == orphan && !r.orphan {
			l.t.Errorf("block %+v was reorganised away, and is no orphan", r)
		}
		for login, n := range l.rounds[r.nonce] {
			if len(l.rounds[r.nonce]) == 1 {
				alone[login] += n
			}
		}
		at, found := places[r.nonce]
		if r.orphan {
			orphans++
			if found || r.hash != "0x0" || r.rewardWei != "0" || len(l.keys("eth:*:"+r.nonce)) > 0 {
				l.t.Errorf("orphan %+v: on the chain %v %+v, keys left %v", r, found, at, l.keys("eth:*:"+r.nonce))
			}
			continue
		}
		at.rewardWei = r.rewardWei
		if !found || at != r {
			l.t.Errorf("the books have %+v, the chain %+v", r, at)
		}
		if blocks++; r.uncleHeight > 0 {
			uncles++
		}
		if earned[r.height] == nil {
			earned[r.height] = new(big.Int)
		}
		earned[r.height].Add(earned[r.height], r.reward(l.t))
		for login, n := range l.rounds[r.nonce] {
			shares[login] += n
		}
		parts, err := l.split(r, l.rounds[r.nonce], l.fees)
		if err != nil {
			l.t.Error(err)
		}
		for login, amount := range parts {
			credited[login] += amount
		}
	}
	for height, sum := range earned {
		if got := l.chain.earned(height); got.Cmp(sum) != 0 {
			l.t.Errorf("block %d brought %d Wei, uncles and fees included, the books have %d", height, got, sum)
		}
	}
	if n := len(l.keys("eth:credits:*:0x*")); n != blocks {
		l.t.Errorf("%d blocks were credited, want %d", n, blocks)
	}
	if uncles == 0 {
		l.t.Error("no block became an uncle")
	}
	var receipt struct{ BlockNumber hexutil.Uint64 }
	if l.chain.call(&receipt, "eth_getTransactionReceipt", fee); earned[uint64(receipt.BlockNumber)] == nil {
		l.t.Errorf("the transaction fee went to block %d, which is not the pool's", receipt.BlockNumber)
	}

	// Every share counted in one round. A block right after another may find its
	// own share in the other's round: then its round is its finder's, once more.
	for login, counted := range l.worked() {
		if got := shares[login]; got < counted || got > counted+alone[login] {
			l.t.Errorf("%s has shares of %d in rounds, and %d were counted", login, got, counted)
		}
	}

	received := l.chain.received()
	var sum util.Shannon
	for login, amount := range credited {
		l.wantReceived(received, login, amount)
		sum += amount
	}
	if len(received) != len(credited) {
		l.t.Errorf("%d were paid, want %d", len(received), len(credited))
	}
	l.t.Logf("%d blocks, %d of them uncles; %d orphans; %s coins credited to %d logins and paid", blocks, uncles, orphans, sum.Coins(), len(credited))
}

// split divides the reward of a block by the shares of its round. It is an error if
// the books have credited anything else.
func (w *world) split(r row, round map[string]int64, fees string) (map[string]util.Shannon, error) {
	w.t.Helper()
	reward, shannon := r.reward(w.t), big.NewInt(1e9)
	whole := func(wei *big.Int) util.Shannon { return util.Shannon(new(big.Int).Div(wei, shannon).Int64()) }
	fee := whole(new(big.Int).Div(reward, big.NewInt(100)))
	rest := new(big.Int).Sub(reward, fee.Wei())
	total := new(big.Int)
	for _, n := range round {
		total.Add(total, big.NewInt(n))
	}
	want, miners := map[string]util.Shannon{fees: fee}, util.Shannon(0)
	for login, n := range round {
		part := new(big.Int).Mul(rest, big.NewInt(n))
		want[login] = whole(part.Div(part, total))
		miners += want[login]
	}
	dust := new(big.Int).Sub(rest, miners.Wei())

	got := map[string]util.Shannon{}
	for login, n := range w.numbers(fmt.Sprintf("eth:credits:%d:%s", r.height, r.hash)) {
		got[login] = util.Shannon(n)
	}
	if !maps.Equal(got, want) {
		return want, fmt.Errorf("block %+v with shares %v is credited %v, want %v", r, round, got, want)
	}
	text := fmt.Sprintf("%s:%d:%d:%d:%d:%s", r.rewardWei, miners, fee, dust, len(want), fees)
	if split := w.redis.Do(w.t, "HGET", "eth:credits:splits", fmt.Sprintf("%d:%s", r.height, r.hash)); split != text {
		return want, fmt.Errorf("block %+v is split %v, want %s", r, split, text)
	}
	return want, nil
}
