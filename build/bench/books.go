package main

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/redis/go-redis/v9"

	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// What is in the books of a large pool.
const (
	miners   = 10_000
	minutes  = 30 // with a share of everybody in each: 300,000 in the hashrate's window
	blocks   = 5_000
	immature = 20 // of them
	credited = 200
	payments = 200_000
	points   = 144 // of each chart

	chain = 61
	coin  = "eth"
)

// books are a pool's, and the proxy that goes on writing them.
type books struct {
	db     *storage.DB
	rdb    *redis.Client
	logins []string
}

func openBooks(ctx context.Context, redisAddr string) (*books, error) {
	db, err := storage.Open(ctx, storage.Config{Endpoint: redisAddr, PoolSize: 2, Mode: storage.ModeSingle}, coin)
	if err != nil {
		return nil, err
	}
	b := &books{db: db, rdb: redis.NewClient(&redis.Options{Addr: redisAddr, ReadTimeout: patience, MaxRetries: -1}), logins: make([]string, miners)}
	for i := range b.logins {
		b.logins[i] = fmt.Sprintf("0x%x", number("login", i)[:common.AddressLength])
	}
	return b, nil
}

func (b *books) close() {
	b.db.Close()
	b.rdb.Close()
}

// number is as good as random, and the same in every run.
func number(of string, i int) []byte {
	sum := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(of), uint64(i)))
	return sum[:]
}

func hash(of string, i int) string { return fmt.Sprintf("0x%x", number(of, i)) }

// spread is a number from 0 to n-1.
func spread(of string, i, n int) int {
	return int(binary.BigEndian.Uint32(number(of, i))) % n
}

// fill writes all that there is at the moment, and returns when Redis has it in
// its file.
func (b *books) fill(ctx context.Context, now time.Time) error {
	for _, write := range []func(context.Context, *pipe, int64){b.fillMiners, b.fillShares, b.fillBlocks, b.fillPayments} {
		p := &pipe{Pipeliner: b.rdb.Pipeline()}
		write(ctx, p, now.Unix())
		if p.flush(ctx, 0); p.err != nil {
			return fmt.Errorf("fill the books: %w", p.err)
		}
	}
	// A ledger of ours, which knows every payment.
	l, err := b.db.Acquire(ctx, "bench", "", 0)
	if err != nil {
		return err
	}
	if err := l.Init(ctx, chain, common.HexToHash("0xd4e5"), common.HexToAddress("0x1"), payments, payments, now.Unix()); err != nil {
		return err
	}
	return l.Note(ctx, "heartbeat", now.Unix(), "nextSession", now.Unix()+3600, "threshold", 500_000_000, "wallet", 5_000_000_000, "confirmations", 120)
}

// pipe sends commands a few thousand at a time, and keeps the first error.
type pipe struct {
	redis.Pipeliner
	err error
}

func (p *pipe) flush(ctx context.Context, least int) {
	if p.err == nil && p.Len() > least {
		_, p.err = p.Exec(ctx)
	}
}

const pipeLength = 2000

func (b *books) fillMiners(ctx context.Context, p *pipe, now int64) {
	k := b.db.Keys
	for i, login := range b.logins {
		p.HSet(ctx, k.Miner(login), "lastShare", now, "balance", spread("balance", i, 600_000_000), "paid", 40_000_000_000+i, "immature", 0, "pending", 0, "blocksFound", 1)
		p.HSet(ctx, k.Workers(login), "rig", now)
		p.HSet(ctx, k.RoundCurrent(), login, 1_000_000_000_000+i)
		p.ZAdd(ctx, k.Finders(), redis.Z{Score: float64(1 + spread("finder", i, 9)), Member: login})
		chart := make([]redis.Z, points)
		for j := range chart {
			at := now/600*600 - int64(600*(points-1-j))
			chart[j] = redis.Z{Score: float64(at), Member: fmt.Sprintf("%d:%d", at, 100_000_000+spread("chart", i*points+j, 10_000_000))}
		}
		p.ZAdd(ctx, k.ChartMiner(login), chart...)
		p.flush(ctx, pipeLength)
	}
	for j := range points {
		at := now/600*600 - int64(600*(points-1-j))
		p.ZAdd(ctx, k.ChartPool(), redis.Z{Score: float64(at), Member: fmt.Sprintf("%d:%d:%d", at, 1_000_000_000_000+j, miners)})
		p.ZAdd(ctx, k.ChartDifficulty(), redis.Z{Score: float64(at), Member: fmt.Sprintf("%d:%d", at, 30_000_000_000_000+j)})
	}
	p.HSet(ctx, k.Stats(), "roundShares", 10_000_000_000_000_000, "lastBlockFound", now-700)
	p.HSet(ctx, k.Nodes(), "eu:name", "eu", "eu:height", blocksFrom+blocks*blocksApart, "eu:difficulty", 30_000_000_000_000, "eu:lastBeat", now)
	p.HSet(ctx, k.Finances(), "balance", 1_000_000_000_000, "paid", 400_000_000_000_000)
}

// difficulty is of the share that the miner had in a minute; many differ a lot.
func difficulty(miner, minute int) int {
	return 2_000_000_000 + spread("share", minute*miners+miner, 4_000_000_000)
}

func (b *books) fillShares(ctx context.Context, p *pipe, now int64) {
	for m := range minutes {
		fields := make([]any, 0, 2*miners)
		for i, login := range b.logins {
			fields = append(fields, login+":rig", difficulty(i, m))
			if len(fields) == pipeLength {
				p.HSet(ctx, b.db.Keys.Work(now/60-int64(m)), fields...)
				fields = fields[:0]
			}
		}
		p.flush(ctx, 0)
	}
}

// Where the pool's blocks are on the chain.
const (
	blocksFrom  = 15_000_000
	blocksApart = 40
)

func (b *books) fillBlocks(ctx context.Context, p *pipe, now int64) {
	k := b.db.Keys
	for n := range blocks {
		block := storage.Block{
			Height: uint64(blocksFrom + n*blocksApart), Nonce: hash("nonce", n)[:18], Hash: hash("block", n), Time: now - int64(blocks-n)*520,
			Difficulty: 30_000_000_000_000, Shares: int64(spread("luck", n, 60_000)) * 1_000_000_000, RewardWei: big.NewInt(2_000_000_000_000_000_000),
		}
		rows, credits := k.Matured(), k.Credits(block.Height, block.Hash)
		if n >= blocks-immature {
			rows, credits = k.Immature(), k.CreditsImmature(block.Height, block.Hash)
		}
		p.ZAdd(ctx, rows, redis.Z{Score: float64(block.Height), Member: block.Row()})
		fields := make([]any, 0, 2*credited)
		for i := range credited {
			fields = append(fields, b.logins[(n*credited+i)%miners], 9_000_000+spread("credit", n*credited+i, 1_000_000))
		}
		p.HSet(ctx, credits, fields...)
		p.flush(ctx, 200)
	}
}

func (b *books) fillPayments(ctx context.Context, p *pipe, now int64) {
	k := b.db.Keys
	for i := range payments {
		login, tx, id := b.logins[i%miners], hash("payment", i), fmt.Sprintf("%d-bench", i)
		at, amount := float64(now-int64(payments-i)*13), util.Shannon(500_000_000+spread("amount", i, 100_000_000))
		p.ZAdd(ctx, k.PaymentsAll(), redis.Z{Score: at, Member: tx + ":" + login + ":" + amount.String()})
		p.ZAdd(ctx, k.Payments(login), redis.Z{Score: at, Member: tx + ":" + amount.String()})
		p.HSet(ctx, k.Hashes(), tx, id)
		p.HSet(ctx, k.Payment(id), "state", string(storage.Final), "block", blocksFrom+i, "fee", "21000000000000")
		p.flush(ctx, pipeLength)
	}
}

// mine lets everybody have a share a minute, as a proxy writes them, until ctx
// ends.
func (b *books) mine(ctx context.Context) error {
	const batches = 10 // a second
	const shares = miners / 60 / batches
	t := time.NewTicker(time.Second / batches)
	defer t.Stop()
	next, header, mix := 0, hash("header", 0), hash("mix", 0)
	for number := uint64(1); ; number++ {
		batch := storage.Batch{Proxy: "bench", Number: number, Time: time.Now(), Oldest: 1, Keep: 3 * time.Hour}
		for range shares {
			batch.Shares = append(batch.Shares, storage.Share{Login: b.logins[next%miners], Worker: "rig", Difficulty: int64(difficulty(next%miners, next/miners)), Height: 1,
				Nonce: fmt.Sprintf("0x%016x", next), Header: header, Mix: mix})
			next++
		}
		if _, err := b.db.Count(ctx, batch); err != nil && ctx.Err() == nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}
