package api

import (
	"fmt"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// Miners as they are stored: in lower case by the existing pools, with a
// checksum by the manual, in any case by whoever typed it.
const (
	alice = "0xaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa0001"
	bob   = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed"
	carol = "0xcCcccccccccccccccccccccccccccccccccc0003"
	dave  = "0xdddddddddddddddddddddddddddddddddddd0004"
	eve   = "0xeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee0005"
)

var account = common.HexToAddress("0x1000000000000000000000000000000000000001")

// block is found by the pool so many seconds ago. It has two miners and the pool's fee.
func (p *pool) block(height, uncle uint64, age int64, shares int64, mature bool) {
	p.t.Helper()
	k, now := p.db.Keys, p.now.Unix()
	c := storage.Candidate{Height: height, Nonce: fmt.Sprintf("0x%016x", height), HeaderHash: hash(int(height)), MixHash: hash(2), Time: now - age, Difficulty: 1_000_000, Shares: shares}
	p.do("ZADD", k.Candidates(), c.Height, c.Row())
	p.do("HSET", k.Round(c.Height, c.Nonce), alice, shares*3/4, bob, shares/4)
	b := c.Block()
	b.Orphan, b.UncleHeight, b.Hash, b.RewardWei = false, uncle, hash(int(height)), util.Shannon(400_000_001).Wei()
	s := storage.Split{RewardWei: b.RewardWei, Credits: map[string]util.Shannon{alice: 297_000_000, bob: 99_000_000}, Miners: 396_000_000, Fee: 4_000_000, DustWei: util.Shannon(1).Wei()}
	p.ok(p.db.Immature(ctx, c, b, s))
	if mature {
		p.ok(p.db.Mature(ctx, b, now-age+3600))
	}
}

// world is a pool that has everything: books of the existing pools, a ledger with
// payments in every state, blocks of every kind. The time is 1,700,000,000.
func world(p *pool) {
	p.t.Helper()
	k, now := p.db.Keys, p.now.Unix()

	p.ok(p.db.ReportNode(ctx, storage.NodeState{Name: "eu:1", Height: 20_000, Difficulty: 1_300_000, LastBeat: now - 2}),
		p.db.ReportNode(ctx, storage.NodeState{Name: "us", Height: 19_999, Difficulty: 1_290_000, LastBeat: now - 3}))

	// Blocks.
	p.block(15_000, 0, 90_000, 500_000, true)
	p.block(15_100, 15_099, 80_000, 1_500_000, true)
	p.block(19_950, 0, 700, 900_000, false)
	lost := storage.Candidate{Height: 15_200, Nonce: "0x00000000000000ff", HeaderHash: hash(1), MixHash: hash(2), Time: now - 70_000, Difficulty: 1_000_000, Shares: 2_000_000}
	p.do("ZADD", k.Candidates(), lost.Height, lost.Row())
	p.ok(p.db.Immature(ctx, lost, lost.Block(), storage.Split{}), p.db.Orphan(ctx, lost.Block()))
	p.do("DEL", k.RoundCurrent(), k.Stats())

	// Shares: of our proxies by the minute, of an old one one by one.
	share := 0
	shares := func(login, worker string, difficulty, age int64) {
		share++
		_, err := p.db.Count(ctx, storage.Batch{Proxy: "eu:1", Number: uint64(share), Time: time.Unix(now-age, 0), Oldest: 1, Keep: 3 * time.Hour,
			Shares: []storage.Share{{Login: login, Worker: worker, Difficulty: difficulty, Height: 20_000, Nonce: fmt.Sprintf("0x%016x", share), Header: hash(1), Mix: hash(2)}}})
		p.ok(err)
	}
	shares(alice, "<script>alert(1)</script>", 3_600_000, 20)
	shares(alice, "<script>alert(1)</script>", 3_600_000, 1200)
	shares(alice, "old-rig", 7_200_000, 7200)
	shares(bob, "0", 1_800_000, 65)
	for age := int64(30); age < 1500; age += 30 {
		p.do("ZADD", k.Hashrate(), now-age, fmt.Sprintf("100000:%s:rig:%d", carol, (now-age)*1000))
	}
	p.do("HSET", k.Miner(carol), "lastShare", now-30)
	_, err := p.db.Found(ctx, storage.FoundBlock{Share: storage.Share{Login: bob, Worker: "0", Difficulty: 1000, Height: 20_001, Nonce: "0x00000000000000aa",
		Header: hash(5), Mix: hash(6)}, Time: now - 10, Difficulty: 1_300_000})
	p.ok(err)
	shares(alice, "<script>alert(1)</script>", 650_000, 5)

	// Payments of an existing pool, long ago.
	for i, login := range []string{alice, bob, alice} {
		at, amount := now-int64(40-15*i)*daySeconds, 700_000_000+i
		p.do("ZADD", k.PaymentsAll(), at, fmt.Sprintf("%s:%s:%d", hash(0xa0+i), login, amount))
		p.do("ZADD", k.Payments(login), at, fmt.Sprintf("%s:%d", hash(0xa0+i), amount))
		p.do("HINCRBY", k.Miner(login), "paid", amount)
		p.do("HINCRBY", k.Finances(), "paid", amount)
	}

	// A ledger with a payment in every state.
	p.book(carol, 600_000_000)
	p.book(dave, 800_000_000)
	p.book(eve, 900_000_000)
	p.book(bob, 1_000_000_000)
	l, err := p.db.Acquire(ctx, "payouts token", "", 0)
	p.ok(err, l.Init(ctx, 61, common.HexToHash("0xd4e5"), account, 7, 7, now-1000))
	pay := func(nonce uint64, login string, amount util.Shannon, age int64) *storage.Payment {
		return &storage.Payment{ID: fmt.Sprintf("%d-id", nonce), Kind: storage.ToMiner, Login: login, Amount: amount, Time: now - age, State: storage.Signed,
			Account: account, Nonce: nonce, To: common.HexToAddress(login), Value: amount.Wei(), Gas: 21000,
			Attempts: []storage.Attempt{{Hash: common.HexToHash(hash(0xb0 + int(nonce))), Raw: []byte{1}, GasPrice: big.NewInt(1_000_000_000), AtBlock: 100}}}
	}
	final, sent, signed, held := pay(7, bob, 600_000_000, 900), pay(8, carol, 600_000_000, 300), pay(9, dave, 500_000_000, 60), pay(10, eve, 900_000_000, 50)
	p.ok(l.Open(ctx, "", final, sent, signed, held)...)
	final.Hash, sent.Hash = final.Attempts[0].Hash, sent.Attempts[0].Hash
	p.ok(l.Sent(ctx, now-890, final)...)
	p.ok(l.Sent(ctx, now-290, sent)...)
	final.Block, final.BlockHash, final.FeeWei = 19_800, common.HexToHash(hash(3)), big.NewInt(21_000_000_000_000)
	p.ok(l.Final(ctx, now-100, 0, final)...)
	p.do("ZREM", k.PaymentsPending(), held.PendingRow())
	p.ok(l.Hold(ctx, held, "its pending row was removed by hand"))
	p.ok(l.Reject(ctx, bob, "the contract reverts"),
		l.Note(ctx, "heartbeat", now-5, "nextSession", now+3600, "threshold", 500_000_000, "wallet", 5_000_000_000, "confirmations", 120,
			"auditTime", now-7200, "auditFindings", 0, "auditLooked", "redis journal chain", "sessionStarted", now-100, "sessionDue", 4, "sessionPaid", 1, "sessionAmount", 600_000_000, "sessionEnded", "", "sessionResult", ""))

	for i := range int64(3) {
		at := now - 600*(3-i)
		p.do("ZADD", k.ChartPool(), at, fmt.Sprintf("%d:%d:%d", at, 1000+i, 2+i))
		p.do("ZADD", k.ChartDifficulty(), at+1, fmt.Sprintf("%d:%d", at+1, 1_000_000+i))
		p.do("ZADD", k.ChartMiner(alice), at, fmt.Sprintf("%d:%d", at, 500+i))
	}
}

func hash(n int) string { return fmt.Sprintf("0x%064x", n) }
