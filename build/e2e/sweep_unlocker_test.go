package e2e

import (
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strconv"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// unlocking is the life of a pool with found blocks to credit: two that are blocks
// of the chain, one of them with a transaction's fee; one that is an uncle, and the
// block that includes it; one that the chain never had; and one that was immature
// and credited when a reorganisation took it. The chain is the same in every life.
type unlocking struct {
	*stage
	keeps  *keeping
	fees   string // the login that is credited with the pool's fee
	found  []found
	lost   found             // the one that was immature
	was    map[string]string // what Redis held of that one, by key
	reward map[string]*big.Int
}

// found is a block of the pool.
type found struct {
	height uint64 // that was worked on
	header
	round map[string]int64 // LOGIN → shares
}

// row is the candidate as a proxy writes it.
func (f found) row() string {
	var sum int64
	for _, n := range f.round {
		sum += n
	}
	return fmt.Sprintf("%s:%s:%s:1700000000:%d:%d", f.Nonce, common.HexToHash("0xf0"), f.Mix, lifeDifficulty, sum)
}

func newUnlocking(t *testing.T) *unlocking {
	spender := minerKey(1000)
	k := newKeeping(t)
	c := startKeptChain(t, "--pow", "real", "--difficulty", strconv.Itoa(lifeDifficulty),
		"--fund", crypto.PubkeyToAddress(spender.PublicKey).Hex()+"=1")
	u := &unlocking{stage: newStage(newWorld(t, k.redis, c)), keeps: k, fees: fmt.Sprintf("0x%040x", 0xfee), reward: map[string]*big.Int{}}
	u.clocked = true

	c.mine(2)
	u.spend(spender)
	c.mine(1)
	u.add(c.header("latest"), 3, 0, 0)
	first, uncle, nephew := (&sealer{world: u.world, prover: newProver(t)}).family()
	u.add(first, 1, 1, 1)
	u.add(uncle, 5, 0, 2)
	u.add(nephew, 0, 7, 4)
	never := c.header("latest")
	never.Nonce = "0x00000000000000aa"
	u.add(never, 2, 2, 0)
	c.mine(1)
	u.add(c.header("latest"), 4, 1, 3)
	u.lost = u.found[len(u.found)-1]
	u.found = u.found[:len(u.found)-1]
	c.mine(lifeImmature)

	// The last one becomes immature, and then the chain goes on without it.
	u.book(u.lost)
	p := u.run(u.config())
	u.until("the block is immature", p, func() bool { return u.row("eth:blocks:immature", u.lost.Nonce) != nil })
	p.terminate(t)
	if b := u.row("eth:blocks:immature", u.lost.Nonce); b.orphan {
		t.Fatalf("block %+v is an orphan already", b)
	}
	u.was = map[string]string{}
	for _, key := range u.keys("*") {
		u.was[key] = u.redis.Do(t, "DUMP", key).(string)
	}
	c.call(nil, "devnet_reorg", lifeImmature+1, false)
	c.mine(lifeDepth - lifeImmature)
	u.price()
	return u
}

// add writes down a block of the pool and the shares of three miners.
func (u *unlocking) add(h header, shares ...int64) {
	f := found{height: uint64(h.Number), header: h, round: map[string]int64{}}
	for i, n := range shares {
		if n > 0 {
			f.round[fmt.Sprintf("0x%040x", 0xabc0+i)] = n
		}
	}
	u.found = append(u.found, f)
}

// price is what blocks and uncle brought by the chain's own account of it.
func (u *unlocking) price() {
	u.t.Helper()
	const fee, first, uncle, nephew = 0, 1, 2, 3
	for _, i := range []int{fee, first, nephew} {
		u.reward[u.found[i].Nonce] = u.chain.earned(u.found[i].height)
	}
	// An uncle that is included at once brings seven eighths of two coins. The
	// account that earns got both at once.
	sevenQuarters, _ := new(big.Int).SetString("1750000000000000000", 10)
	u.reward[u.found[uncle].Nonce] = sevenQuarters
	u.reward[u.found[nephew].Nonce].Sub(u.reward[u.found[nephew].Nonce], sevenQuarters)
}

func (u *unlocking) config() string {
	return u.write("pool.json", map[string]any{"network": "private", "unlocker": map[string]any{"enabled": true, "daemon": u.nodeURL,
		"interval": "20ms", "timeout": "2s", "depth": lifeDepth, "immatureDepth": lifeImmature, "poolFeeAddress": u.fees}})
}

// book writes a candidate and its round into Redis.
func (u *unlocking) book(f found) {
	u.t.Helper()
	u.redis.Do(u.t, "ZADD", "eth:blocks:candidates", f.height, f.row())
	u.redis.Do(u.t, "HSET", "eth:blocks:found", fmt.Sprintf("%d:%s", f.height, f.Nonce), 1700000000)
	for login, n := range f.round {
		u.redis.Do(u.t, "HSET", fmt.Sprintf("eth:shares:round%d:%s", f.height, f.Nonce), login, n)
	}
}

// present are the shares of the present round before a life.
var present = map[string]int64{fmt.Sprintf("0x%040x", 0xabc0): 9}

func (u *unlocking) begin() {
	u.t.Helper()
	u.redis.Do(u.t, "FLUSHALL")
	for key, value := range u.was {
		u.redis.Do(u.t, "RESTORE", key, 0, value)
	}
	for _, f := range u.found {
		u.book(f)
	}
	for login, n := range present {
		u.redis.Do(u.t, "HSET", "eth:shares:roundCurrent", login, n)
	}
	u.keeps.begin()
}

func (u *unlocking) start() { u.pool = u.run(u.config()) }

func (u *unlocking) rest() bool {
	for key, want := range map[string]int{"eth:blocks:candidates": 0, "eth:blocks:immature": 0, "eth:blocks:matured": len(u.found) + 1} {
		if u.redis.Do(u.t, "ZCARD", key) != int64(want) {
			return false
		}
	}
	return true
}

// verdict compares, to the last Shannon, what everybody was credited with what the
// blocks brought, and where the shares of the others went.
func (u *unlocking) verdict() (v verdict) {
	credited := map[string]util.Shannon{}
	shares := maps.Clone(present)
	for _, f := range append(slices.Clone(u.found), u.lost) {
		r := u.row("eth:blocks:matured", f.Nonce)
		if r == nil {
			v.add("block %s of height %d is not among the matured", f.Nonce, f.height)
			continue
		}
		reward := u.reward[f.Nonce]
		if r.orphan != (reward == nil) {
			v.add("block %+v: that it is an orphan is not what the chain says", *r)
			continue
		}
		if r.orphan {
			for login, n := range f.round {
				shares[login] += n
			}
			continue
		}
		if r.rewardWei != reward.String() || r.hash != f.Hash.Hex() {
			v.add("block %+v is %s and brought %d Wei", *r, f.Hash, reward)
		}
		r.rewardWei = reward.String()
		parts, err := u.split(*r, f.round, u.fees)
		if err != nil {
			v.add("%v", err)
		}
		for login, amount := range parts {
			credited[login] += amount
		}
	}
	logins := map[string]bool{}
	for login := range credited {
		logins["eth:miners:"+login] = true
	}
	for _, key := range u.keys("eth:miners:*") {
		logins[key] = true
	}
	for key := range logins {
		want, m := credited[key[len("eth:miners:"):]], u.numbers(key)
		switch got := util.Shannon(m["balance"] + m["immature"] + m["paid"] + m["pending"]); {
		case got > want:
			v.double++
			v.add("%s has %d Shannon, want %d", key, got, want)
		case got < want:
			v.lost++
			v.add("%s has %d Shannon, want %d", key, got, want)
		case util.Shannon(m["balance"]) != want:
			v.add("%s has a balance of %d Shannon, want %d", key, m["balance"], want)
		}
	}
	if got := u.numbers("eth:shares:roundCurrent"); !maps.Equal(got, shares) {
		v.add("the present round is %v, want %v", got, shares)
	}
	for _, left := range []string{"eth:credits:plans", "eth:credits:immature:*", "eth:shares:round*:*"} {
		if keys := u.keys(left); len(keys) > 0 {
			v.add("%v is left", keys)
		}
	}
	if wrong := u.audited(); wrong != "" {
		v.add("audit:\n%s", wrong)
	}
	return v
}

// TestSweepOfUnlocker has everything go wrong with the real binary that credits
// blocks, at each of its messages.
func TestSweepOfUnlocker(t *testing.T) {
	t.Parallel()
	u := newUnlocking(t)
	redis, node := fault.Redis(t, u.redis.Addr()), fault.HTTP(t, u.chain.URL)
	u.redisAddr, u.nodeURL = redis.Addr(), node.URL()
	u.side("redis", redis, nil)
	u.side("node", node, nil)
	sweep(t, "unlocker", u,
		trouble{"redis", slices.Concat([]mishap{killed, cut}, u.keeps.losses(), jumps)},
		trouble{"node", slices.Concat([]mishap{killed, cut, nodeRestarted}, jumps)})
	t.Run("failover", func(t *testing.T) {
		u.under(t)
		sweep(t, "unlocker", &unlockingPair{u, newPair(u.stage)}, trouble{"redis", []mishap{died}})
	})
}

// unlockingPair is unlocking with a pair.
type unlockingPair struct {
	*unlocking
	pair *pair
}

func (u *unlockingPair) begin() {
	u.pair.heal()
	u.unlocking.begin()
	u.pair.begin()
}

func (u *unlockingPair) rest() bool { return u.pair.here() && u.unlocking.rest() }

// sealer mines as programs outside the node do, block by block.
type sealer struct {
	*world
	prover *prover
	nonce  uint64
}

// work is what the node wants mined now.
func (s *sealer) work() common.Hash {
	s.t.Helper()
	var work [4]string
	s.chain.call(&work, "eth_getWork")
	return common.HexToHash(work[0])
}

// submit finds a nonce that seals the work, and returns it.
func (s *sealer) submit(work common.Hash) string {
	s.t.Helper()
	limit := common.BigToHash(new(big.Int).Div(new(big.Int).Lsh(common.Big1, 256), big.NewInt(lifeDifficulty)))
	for s.nonce++; ; s.nonce++ {
		d := s.prover.hash(work, s.nonce)
		if d.Final.Cmp(limit) > 0 {
			continue
		}
		var ok bool
		nonce := fmt.Sprintf("0x%016x", s.nonce)
		if s.chain.call(&ok, "eth_submitWork", nonce, work, d.Mix); !ok {
			s.t.Fatalf("the node does not take nonce %s for work %s", nonce, work)
		}
		return nonce
	}
}

// family mines two blocks of one height, one of which the block after them includes
// as its uncle.
func (s *sealer) family() (head, uncle, nephew header) {
	s.t.Helper()
	work := s.work()
	ours := []string{s.submit(work), s.submit(work)}
	s.until("the node's next block has one as its uncle", s.chain.proc, func() bool {
		var pending struct{ Uncles []common.Hash }
		if s.chain.call(&pending, "eth_getBlockByNumber", "pending", false); len(pending.Uncles) == 1 {
			uncle = s.chain.uncle("pending", 0)
		}
		return slices.Contains(ours, uncle.Nonce) && s.work() != work
	})
	head = s.chain.header("latest")
	last := s.submit(s.work())
	s.until("it is the chain's head", s.chain.proc, func() bool {
		nephew = s.chain.header("latest")
		return nephew.Nonce == last
	})
	if !slices.Contains(ours, head.Nonce) || len(nephew.Uncles) != 1 || nephew.Uncles[0] != uncle.Hash {
		s.t.Fatalf("block %+v has not %+v as its uncle, of which %+v is the sibling", nephew, uncle, head)
	}
	return head, uncle, nephew
}
