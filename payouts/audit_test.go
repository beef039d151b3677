package payouts

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage"
)

// fullLife is a pool that has seen everything: nonces 0 to 2 are final payments, 3 is
// one that failed and was credited back, 4 one that was made by hand and recorded, 5 a
// transfer that was none, 6 a payment that is not final.
func fullLife(t *testing.T) *pool {
	p := newPool(t)
	p.due()
	p.mustSession()
	p.settle()
	p.credit(login(4), coin)
	p.clock.onSleep = func() {
		p.chain.SetCode(address(login(4)), rpctest.Reject)
		p.chain.Mine(1)
	}
	p.mustSession()
	p.settle()
	p.credit(login(5), coin)
	p.include(4, address(login(5)), coin)
	p.settleUnaccounted(record)
	p.include(5, common.HexToAddress("0x99"), coin)
	p.chain.Mine(int(p.cfg.Confirmations))
	p.credit(login(6), coin)
	p.mustSession()
	p.audit()
	return p
}

// at is the payment that is bound to a nonce.
func (p *pool) at(nonce uint64) *storage.Payment {
	p.t.Helper()
	id, err := p.db().Nonce(context.Background(), p.account, nonce)
	if err != nil {
		p.t.Fatal(err)
	}
	ps, err := p.db().Payments(context.Background(), id)
	if err != nil {
		p.t.Fatal(err)
	}
	return ps[0]
}

// record changes the record of the payment at a nonce.
func (p *pool) record(nonce uint64, fieldValues ...any) {
	p.t.Helper()
	p.redis.Do(p.t, append([]any{"HSET", "eth:payments:p:" + p.at(nonce).ID}, fieldValues...)...)
}

// rewrite writes the journal anew, without the records that keep does not want.
func (p *pool) rewrite(keep func(*Record) bool, more ...Record) {
	p.t.Helper()
	file, err := os.Open(p.journal)
	if err != nil {
		p.t.Fatal(err)
	}
	defer file.Close()
	var lines []byte
	write := func(r Record) {
		body, err := json.Marshal([]Record{r})
		if err != nil {
			p.t.Fatal(err)
		}
		lines = fmt.Appendf(lines, "%08x %s\n", crc32.ChecksumIEEE(body), body)
	}
	if _, err := scanJournal(file, p.journal, func(r Record) error {
		if keep(&r) {
			write(r)
		}
		return nil
	}); err != nil {
		p.t.Fatal(err)
	}
	for _, r := range more {
		write(r)
	}
	if err := os.WriteFile(p.journal, lines, 0o600); err != nil {
		p.t.Fatal(err)
	}
}

func everyRecord(*Record) bool { return true }

// opening changes the journal's record of the payment at a nonce.
func opening(nonce uint64, change func(*storage.Payment)) func(*Record) bool {
	return func(r *Record) bool {
		if r.Payment != nil && r.Payment.Nonce == nonce {
			change(r.Payment)
		}
		return true
	}
}

func TestTheAuditNamesWhatDoesNotAgree(t *testing.T) {
	const (
		unknownTx = "0x00000000000000000000000000000000000000000000000000000000000000ff"
		history   = "eth:payments:all"
	)
	nonces := func(p *pool) string { return "eth:payments:nonces:" + p.account.Hex() }
	payment := func(nonce uint64) func(*pool) string {
		return func(p *pool) string { return "eth:payments:p:" + p.at(nonce).ID }
	}
	key := func(text string) func(*pool) string { return func(*pool) string { return text } }
	row := func(p *pool, tx common.Hash, login string, amount int) {
		p.redis.Do(t, "ZADD", history, 1_800_000_000, fmt.Sprintf("%s:%s:%d", tx, login, amount))
		p.redis.Do(t, "HINCRBY", "eth:miners:"+login, "paid", amount)
		p.redis.Do(t, "HINCRBY", "eth:finances", "paid", amount)
	}
	const unbacked = "balance + pending + paid"
	for _, tc := range []struct {
		name          string
		harm          func(p *pool)
		key           func(p *pool) string
		equation, got string
		do            string // part of what to do
		also          string // equations that break as well, by their beginnings
	}{
		{"the journal has a payment that the ledger forgot",
			func(p *pool) {
				forgotten := *p.at(6)
				forgotten.ID, forgotten.Nonce = "7-forgotten", 7
				p.rewrite(everyRecord, Record{Payment: &forgotten})
			},
			key("eth:payments:p:7-forgotten"), equationJournalled, "1000000000 Shannon to " + login(6) + " at nonce 7 in transaction 0x", "start payouts", ""},
		{"of another amount", func(p *pool) { p.rewrite(opening(1, func(q *storage.Payment) { q.Amount-- })) },
			payment(1), equationJournalled, "the journal has a payment of 999999999 Shannon to " + login(2) + " at nonce 1, the ledger a payment of 1000000000", "explain", ""},
		{"of another login", func(p *pool) { p.rewrite(opening(1, func(q *storage.Payment) { q.Login = login(9) })) },
			payment(1), equationJournalled, login(9), "explain", ""},
		{"at another nonce", func(p *pool) { p.rewrite(opening(1, func(q *storage.Payment) { q.Nonce = 77 })) },
			payment(1), equationJournalled, "at nonce 77, the ledger", "explain", ""},
		{"of another transaction", func(p *pool) {
			p.rewrite(opening(1, func(q *storage.Payment) { q.Attempts[0].Hash = common.HexToHash(unknownTx) }))
		},
			payment(1), equationJournalled, "attempt 1 is transaction " + unknownTx + " in the journal", "explain", ""},
		{"another transaction of a later attempt", func(p *pool) {
			p.rewrite(everyRecord, Record{Attempt: &AttemptRecord{ID: p.at(2).ID, Count: 1, Attempt: storage.Attempt{Hash: common.HexToHash(unknownTx)}}})
		},
			payment(2), equationJournalled, "attempt 1 is transaction " + unknownTx, "explain", ""},
		{"an attempt that the ledger forgot", func(p *pool) {
			p.rewrite(everyRecord, Record{Attempt: &AttemptRecord{ID: p.at(2).ID, Count: 2, Attempt: storage.Attempt{Hash: common.HexToHash(unknownTx)}}})
		},
			payment(2), equationJournalled, "the journal has attempt 2, transaction " + unknownTx, "start payouts", ""},
		{"a credit back that the ledger forgot", func(p *pool) { p.rewrite(everyRecord, Record{Void: &VoidRecord{ID: p.at(1).ID}}) },
			payment(1), equationJournalled, "the journal gave it up; in the ledger it is final", "start payouts", ""},
		{"a credit back of a payment that the ledger forgot", func(p *pool) { p.rewrite(everyRecord, Record{Void: &VoidRecord{ID: "8-forgotten"}}) },
			key("eth:payments:p:8-forgotten"), equationJournalled, "the journal gave it up", "start payouts", ""},
		{"a payment by hand that the history forgot", func(p *pool) {
			p.rewrite(everyRecord, Record{ByHand: &ByHandRecord{Login: login(5), Amount: coin, Hash: common.HexToHash(unknownTx)}})
		},
			key(history), equationJournalled, unknownTx, "start payouts", ""},
		{"the ledger has a payment that the journal does not", func(p *pool) { p.rewrite(func(r *Record) bool { return r.Payment == nil || r.Payment.Nonce != 1 }) },
			payment(1), equationLedger, "1000000000 Shannon to " + login(2) + " at nonce 1", "Bring back the newest copy", ""},
		{"a credit back that the journal does not have", func(p *pool) { p.rewrite(func(r *Record) bool { return r.Void == nil }) },
			payment(3), equationLedger, "the ledger gave it up", "explain", ""},
		{"a line of the journal is damaged", func(p *pool) { damage(p) },
			func(p *pool) string { return p.journal }, "every line of the journal can be read", "line 2 is damaged", "bring back a good copy", ""},

		{"a transaction that nobody knows", func(p *pool) { p.include(7, common.HexToAddress("0x77"), coin) },
			nonces, equationNonce, "at nonce 7 sent 1 coins to 0x0000000000000000000000000000000000000077 in block", "open-ethereum-pool payouts.json ignore 0x", ""},
		{"one that failed", func(p *pool) {
			p.chain.SetCode(common.HexToAddress("0x77"), rpctest.Reject)
			p.include(7, common.HexToAddress("0x77"), coin)
		},
			nonces, equationNonce, "sent 0 (it failed) coins", "record 0x", ""},
		{"another transaction than the known one", func(p *pool) { p.redis.Do(t, "HSET", nonces(p), 5, "foreign:"+unknownTx) },
			nonces, equationNonce, "at nonce 5 sent 1 coins to 0x0000000000000000000000000000000000000099", "record 0x", ""},
		{"a transaction where the ledger has nothing alive", func(p *pool) { p.redis.Do(t, "HSET", nonces(p), 5, "dead:5-x") },
			nonces, equationNonce, "where the ledger has dead:5-x", "record 0x", ""},
		{"a final payment of another amount", func(p *pool) { p.record(1, "value", "999999999000000000") },
			payment(1), equationMade, "sent 1000000000000000000 Wei to", "explain", ""},
		{"a payment that sent more than was taken", func(p *pool) { p.record(1, "amount", int64(coin-1)) },
			payment(1), equationMade, "the ledger took 999999999 Shannon", "explain", "a payment that was sent is in the history|" + equationJournalled},
		{"a final payment to another", func(p *pool) { p.record(1, "to", address(login(3)).Hex()) },
			payment(1), equationMade, "to " + address(login(2)).Hex() + ", the ledger says", "explain", ""},
		{"a final payment to another login", func(p *pool) { p.record(1, "login", login(3)) },
			payment(1), equationMade, "the ledger took 1000000000 Shannon from " + login(3), "explain", "a payment that was sent is in the history|" + equationJournalled},
		{"a final payment whose transaction is another", func(p *pool) {
			attempts, _ := json.Marshal([]storage.Attempt{{Hash: common.HexToHash(unknownTx)}})
			p.record(1, "hash", unknownTx, "attempts", attempts)
		},
			payment(1), equationMade, "its nonce 1 was used by transaction", "start payouts", "a payment that was sent is in the history|" + equationJournalled},
		{"a final payment whose transaction failed", func(p *pool) {
			p.record(3, "state", "final", "block", p.chain.Height()-9)
			p.redis.Do(t, "HSET", "eth:payments:p:"+p.at(3).ID, "hash", p.at(3).Attempts[0].Hash.Hex())
			row(p, p.at(3).Hash, login(4), int(coin))
		},
			payment(3), equationMade, "it is final; its transaction", "it was not paid", unbacked + "|" + equationJournalled},
		{"a payment that was credited back though it worked", func(p *pool) { p.record(1, "state", "void") },
			payment(1), equationMade, "it was credited back; its transaction", "record 0x", equationLedger},
		{"a row of the history without a transaction", func(p *pool) { row(p, common.HexToHash(unknownTx), login(5), int(coin)) },
			key(history), equationRow, unknownTx + ":" + login(5) + ":1000000000, and no such transaction", "ZREM", unbacked},
		{"a row whose transaction failed", func(p *pool) { row(p, p.at(3).Attempts[0].Hash, login(4), int(coin)) },
			key(history), equationRow, "and the transaction failed in block", "ZREM", unbacked},
		{"a row whose transaction moved less", func(p *pool) { p.redis.Do(t, "ZREM", history, p.byHand()); row(p, p.txAt(4), login(5), int(coin)+1) },
			key(history), equationRow, ":1000000001, and the transaction sent 1000000000000000000 Wei", "ZREM", unbacked + "|paid = its history|" + equationJournalled},
		{"a row whose transaction paid another", func(p *pool) { row(p, p.txAt(5), login(5), int(coin)) },
			key(history), equationRow, "to 0x0000000000000000000000000000000000000099", "ZREM", unbacked},
		{"money that went out otherwise", func(p *pool) {
			p.chain.Fund(p.account, new(big.Int).Neg(coinsToWei(2)))
			p.chain.Mine(1)
		},
			func(p *pool) string { return "account " + p.account.Hex() }, equationWei, "2000000000000000000 Wei are missing", "audit --full", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := fullLife(t)
			tc.harm(p)
			want := tc.key(p) // before the chain moves on
			p.chain.Mine(int(p.cfg.Confirmations))
			if tc.equation != equationWei { // it may be of what was seen before
				p.redis.Do(t, "HDEL", "eth:payments:meta", "auditChain")
			}
			r, err := p.auditor().Audit(context.Background(), false)
			if err != nil {
				t.Fatal(err)
			}
			again, err := p.auditor().Audit(context.Background(), false)
			if err != nil || !slices.Equal(again.Findings, r.Findings) {
				t.Errorf("the next audit finds %+v, %v", again.Findings, err)
			}
			found := false
			for _, f := range r.Findings {
				switch {
				case f.Key == want && f.Equation == tc.equation && strings.Contains(f.Got, tc.got) && strings.Contains(f.Do, tc.do):
					found = true
				case tc.also == "" || !slices.ContainsFunc(strings.Split(tc.also, "|"), func(e string) bool { return strings.HasPrefix(f.Equation, e) }):
					t.Errorf("found as well: %+v", f)
				}
			}
			if !found {
				t.Errorf("found %+v, want %s: %s, but %s", r.Findings, want, tc.equation, tc.got)
			}
			if m, err := p.db().Meta(context.Background()); err != nil || m.AuditFindings != len(r.Findings) || m.AuditTime != p.clock.Now().Unix() {
				t.Errorf("it is written down as %d findings at %d, %v", m.AuditFindings, m.AuditTime, err)
			}
		})
	}
}

// damage spoils the second line of the journal.
func damage(p *pool) {
	p.t.Helper()
	text, err := os.ReadFile(p.journal)
	if err != nil {
		p.t.Fatal(err)
	}
	lines := strings.SplitAfter(string(text), "\n")
	lines[1] = strings.Replace(lines[1], "payment", "Payment", 1)
	if err := os.WriteFile(p.journal, []byte(strings.Join(lines, "")), 0o600); err != nil {
		p.t.Fatal(err)
	}
}

// txAt is the account's transaction with the nonce.
func (p *pool) txAt(nonce uint64) common.Hash {
	for _, tx := range p.chain.TransfersFrom(p.account) {
		if tx.Nonce == nonce {
			return tx.Hash
		}
	}
	p.t.Fatalf("there is no transaction with nonce %d", nonce)
	return common.Hash{}
}

// byHand is the row of the payment that was made by hand.
func (p *pool) byHand() string { return fmt.Sprintf("%s:%s:%d", p.txAt(4), login(5), coin) }

// TestAPaymentThatAReorgMovedIsNoFinding: it is made all the same.
func TestAPaymentThatAReorgMovedIsNoFinding(t *testing.T) {
	for _, moved := range [][]any{{"block", 9}, {"block", 3}, {"blockHash", "0x00000000000000000000000000000000000000000000000000000000000000ff"}} {
		p := fullLife(t)
		p.record(1, moved...)
		if r := p.audited(true); !slices.ContainsFunc(r.Notes, func(n string) bool {
			return strings.HasPrefix(n, "payment "+p.at(1).ID+" is final in block") && strings.Contains(n, "has moved it to block 2,")
		}) {
			t.Errorf("%v: notes are %q", moved, r.Notes)
		}
	}
}

// TestACreditBackThatWasTakenBackIsNoFinding: the pool died before the ledger knew of
// it, and then somebody paid by hand.
func TestACreditBackThatWasTakenBackIsNoFinding(t *testing.T) {
	p := fullLife(t)
	q := p.at(1)
	p.rewrite(everyRecord, Record{Void: &VoidRecord{ID: q.ID}}, Record{Attempt: &AttemptRecord{ID: q.ID, Count: 1, Attempt: q.Attempts[0]}})
	p.audited(true)
}

// TestWhatTheAuditSaysToTypeSettlesIt: both commands of a transaction that nobody knows.
func TestWhatTheAuditSaysToTypeSettlesIt(t *testing.T) {
	for verb, do := range map[string]func(*Payer, common.Hash) error{"record": record, "ignore": ignore} {
		t.Run(verb, func(t *testing.T) {
			p := fullLife(t)
			p.credit(login(7), coin)
			tx := p.include(7, address(login(7)), coin)
			p.chain.Mine(int(p.cfg.Confirmations))
			r, err := p.auditor().Audit(context.Background(), false)
			if err != nil || len(r.Findings) != 1 || !strings.Contains(r.Findings[0].Do, verb+" "+tx.Hex()) {
				t.Fatalf("found %+v, %v", r.Findings, err)
			}
			payer, stop := p.start()
			err = do(payer, tx)
			stop()
			if err != nil {
				t.Fatal(err)
			}
			p.audited(false)
		})
	}
}

// TestAPaymentThatWasMadeTwiceIsFound: a payment was made by hand, and then its own
// transaction was mined as well.
func TestAPaymentThatWasMadeTwiceIsFound(t *testing.T) {
	p := newPool(t)
	p.cfg.VoidDepth = 1000
	p.stuck()
	own := p.open1().Last()
	if _, err := p.chain.Include(own.Raw); err != nil {
		t.Fatal(err)
	}
	made := p.include(1, address(login(1)), coin)
	p.redis.CLI(t, fmt.Sprintf(`ZREM "eth:payments:pending" "%s:%d"`, login(1), coin))
	p.redis.CLI(t, fmt.Sprintf(`ZADD "eth:payments:all" %d %s:%s:%d`, p.clock.Now().Unix(), made, login(1), coin))
	p.redis.CLI(t, fmt.Sprintf(`ZADD "eth:payments:%s" %d %s:%d`, login(1), p.clock.Now().Unix(), made, coin))
	p.chain.Mine(int(p.cfg.Confirmations))
	_, err := p.session()
	p.settle()
	r, audit := p.auditor().Audit(context.Background(), false)
	if audit != nil || len(r.Findings) != 1 || r.Findings[0].Equation != equationOnce {
		t.Fatalf("found %+v, %v; the session says %v\n%s", r.Findings, audit, err, p.logs)
	}
	_, other, _ := strings.Cut(r.Findings[0].Do, "record ")
	if other != own.Hash.Hex() && other != made.Hex() {
		t.Fatalf("what to do is %q", r.Findings[0].Do)
	}
	p.credit(login(1), coin)
	payer, stop := p.start()
	err = payer.RecordByHand(context.Background(), common.HexToHash(other))
	stop()
	if err != nil {
		t.Fatal(err)
	}
	p.audit()
}

// TestWhatCannotBeLookedAtIsSaid: it is neither a finding nor passed over in silence,
// and the rest is looked at.
func TestWhatCannotBeLookedAtIsSaid(t *testing.T) {
	for _, tc := range []struct {
		name   string
		blind  func(p *pool)
		missed string
		note   string
	}{
		{"the node is away", func(p *pool) { p.node.Fail("", 0, rpctest.Refuse) }, "chain", "the chain was not looked at: eth_"},
		{"the node syncs", func(p *pool) { p.node.SetSyncing(true) }, "chain", "the node is still syncing"},
		{"the node is behind", func(p *pool) { p.node.Lag(int(p.chain.Height())) }, "chain", "the node is at block 0"},
		{"the node is of another chain", func(p *pool) {
			p.cfg.Daemon[0] = rpctest.NewChain(rpctest.Options{ChainID: 61, GenesisSeed: 7}).Node(t).URL
		}, "chain", "wrong chain"},
		{"the node indexes", func(p *pool) {
			p.node.Fail("eth_getTransactionReceipt", 0, rpctest.ErrorReply(-32000, "transaction indexing is in progress"))
		}, "chain", "indexing"},
		{"the node breaks off midway", func(p *pool) { p.node.Fail("eth_getBlockByNumber", 4, rpctest.Refuse) }, "chain", "the chain was not looked at"},
		{"the chain changes meanwhile", func(p *pool) {
			blocks := 0
			p.node.OnCall(func(method string) {
				if method == "eth_getBlockByNumber" {
					blocks++
				}
				if method == "eth_getTransactionReceipt" && blocks > 3 { // behind the genesis, the head, the deep one, and those of payments
					blocks = -1 << 30
					p.chain.Reorg(int(p.chain.Height()), false)
				}
			})
		}, "chain", "it changed meanwhile, down to block"},
		{"there is no journal", func(p *pool) { _ = os.Remove(p.journal) }, "journal", "run the audit where payouts run"},
		{"the journal is a directory", func(p *pool) { p.journal = t.TempDir() }, "journal", "is a directory"},
		{"the journal is empty", func(p *pool) { _ = os.WriteFile(p.journal, nil, 0o600) }, "journal", "is empty"},
		{"the journal is another account's", func(p *pool) {
			p.rewrite(func(r *Record) bool {
				if r.Header != nil {
					r.Header.Account = common.HexToAddress("0x9")
				}
				return true
			})
		}, "journal", "the ledger is of account"},
		{"the node keeps no state", func(p *pool) { p.node.KeepStates(1) }, "", "so that the account's balance was not looked at"},
		{"the journal is new", func(p *pool) {
			p.rewrite(func(r *Record) bool {
				if r.Header != nil {
					r.Header.Time = p.clock.Now().Unix() + 1
				}
				return r.Payment == nil && r.Void == nil && r.Attempt == nil
			})
		}, "", "5 payments are older than"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := fullLife(t)
			tc.blind(p)
			r := p.audited(true)
			if strings.Join(r.Missed, " ") != tc.missed || !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, tc.note) }) {
				t.Errorf("missed %q, notes %q", r.Missed, r.Notes)
			}
			if m, err := p.db().Meta(context.Background()); err != nil || m.AuditLooked != strings.Join(r.Looked, " ") || len(r.Looked)+len(r.Missed) != 3 {
				t.Errorf("looked %q, written down is %q, %v", r.Looked, m.AuditLooked, err)
			}
			// What is wrong elsewhere is found all the same.
			p.redis.Do(t, "HINCRBY", "eth:finances", "paid", 1)
			if r, err := p.auditor().Audit(context.Background(), true); err != nil || len(r.Findings) != 1 {
				t.Errorf("found %+v, %v", r.Findings, err)
			}
		})
	}
}

// TestAnAuditGoesOnWhereTheLastOneEnded: what was seen is not asked for again, until
// somebody wants it, or the chain is another.
func TestAnAuditGoesOnWhereTheLastOneEnded(t *testing.T) {
	p := fullLife(t)
	p.settle()
	p.chain.Mine(int(p.cfg.Confirmations))
	p.audited(false)
	blocks := func(full bool) int {
		before := p.node.Calls("eth_getBlockByNumber") + p.node.Calls("eth_getTransactionReceipt") + p.node.Calls("eth_getBlockReceipts")
		p.audited(full)
		return p.node.Calls("eth_getBlockByNumber") + p.node.Calls("eth_getTransactionReceipt") + p.node.Calls("eth_getBlockReceipts") - before
	}
	again, whole := blocks(false), blocks(true)
	if again > 5 || whole < 10 { // genesis, head, the deep block twice, the row that was recorded
		t.Errorf("%d questions when nothing is new, %d from the beginning", again, whole)
	}
	seen, err := p.db().Audited(context.Background())
	if err != nil || seen.Nonce != 7 || seen.Settled != 7 || seen.Block != p.chain.Height()+1-p.cfg.Confirmations {
		t.Errorf("seen %+v, %v", seen, err)
	}
	p.chain.Reorg(int(p.cfg.Confirmations)+1, true)
	p.chain.Mine(5)
	if r, err := p.auditor().Audit(context.Background(), false); err != nil || !slices.ContainsFunc(r.Notes, func(n string) bool { return strings.Contains(n, "reorganised below the last audit") }) {
		t.Errorf("notes %q, %v", r.Notes, err)
	}
	// What was sent, and not final yet, is looked at again.
	p.credit(login(8), coin)
	p.mustSession()
	p.chain.Mine(int(p.cfg.Confirmations))
	p.audited(false)
	p.record(7, "value", "7")
	if r, err := p.auditor().Audit(context.Background(), false); err != nil || len(r.Findings) != 1 || r.Findings[0].Equation != equationMade {
		t.Errorf("found %+v, %v", r.Findings, err)
	}
	p.record(7, "value", coin.Wei().String())
	// A finding is looked at until it is settled.
	p.include(8, common.HexToAddress("0x77"), coin)
	p.chain.Mine(int(p.cfg.Confirmations))
	for range 2 {
		if r, err := p.auditor().Audit(context.Background(), false); err != nil || len(r.Findings) != 1 {
			t.Errorf("found %+v, %v", r.Findings, err)
		}
	}
}

// TestTheBalanceIsExplained: rewards, top-ups, payments, fees and fillers are; whether
// the node gives receipts by the block, and whether it keeps old state.
func TestTheBalanceIsExplained(t *testing.T) {
	p := fullLife(t)
	p.chain.SetCoinbase(p.account)
	p.chain.Mine(1)
	p.chain.Fund(p.account, coinsToWei(2)) // the block's reward: the chain pays none by itself
	height := p.chain.Height()
	p.reward(height, "2000000000000000000")
	p.chain.SetCoinbase(common.HexToAddress("0x1"))
	for i := 1; i <= 10; i++ {
		p.credit(login(i+10), coin)
	}
	p.clock.onSleep = func() {
		p.chain.SetCode(address(login(20)), rpctest.Reject) // his payment fails
		p.chain.Mine(1)
	}
	p.mustSession()
	p.settle()
	p.chain.Fund(p.account, coinsToWei(7))
	p.chain.Mine(int(p.cfg.Confirmations))
	mark := p.redis.Do(t, "HGET", "eth:payments:meta", "auditChain")
	var notes []string
	for _, hide := range []string{"", "eth_getBlockReceipts"} {
		p.node.DisableMethod(hide)
		p.redis.Do(t, "HSET", "eth:payments:meta", "auditChain", mark)
		r := p.audited(false)
		notes = append(notes, strings.Join(r.Notes, "; "))
	}
	if notes[0] != notes[1] || !strings.HasPrefix(notes[0], "7 coins came to the account from elsewhere since block ") {
		t.Errorf("notes %q", notes)
	}
	if p.node.Calls("eth_getBlockReceipts") == 0 {
		t.Error("no receipts were asked for by the block")
	}
	// Of a reward that the chain did not pay, the balance knows.
	p.redis.Do(t, "HSET", "eth:payments:meta", "auditChain", mark)
	p.redis.Do(t, "ZREMRANGEBYSCORE", "eth:blocks:matured", height, height)
	p.reward(height, "30000000000000000000")
	if r, err := p.auditor().Audit(context.Background(), false); err != nil || len(r.Findings) != 1 || r.Findings[0].Equation != equationWei || !strings.Contains(r.Findings[0].Got, "1 blocks brought 30000000000000000000") {
		t.Errorf("found %+v, %v", r.Findings, err)
	}
	p.redis.Do(t, "ZREMRANGEBYSCORE", "eth:blocks:matured", height, height)
	// While the node keeps no state, what must be there at least is carried on.
	p.redis.Do(t, "HSET", "eth:payments:meta", "auditChain", mark)
	p.node.KeepStates(1)
	p.audited(false)
	p.node.KeepStates(0)
	p.chain.Mine(1)
	p.audited(false)
	p.node.KeepStates(1)
	p.chain.Mine(1)
	p.audited(false)
	p.node.KeepStates(0)
	p.chain.Fund(p.account, new(big.Int).Neg(coinsToWei(3)))
	p.chain.Mine(1)
	if r, err := p.auditor().Audit(context.Background(), false); err != nil || len(r.Findings) != 1 || r.Findings[0].Equation != equationWei {
		t.Errorf("found %+v, %v", r.Findings, err)
	}
}

// reward writes down a block of the pool's that the unlocker has divided, to nobody.
func (p *pool) reward(height uint64, wei string) {
	p.t.Helper()
	b := p.hashAt(height)
	p.redis.Do(p.t, "ZADD", "eth:blocks:matured", height, fmt.Sprintf("0:0:0x%016x:%s:1:1:1:%s", height, b, wei))
}

func (p *pool) hashAt(height uint64) common.Hash {
	p.t.Helper()
	b, err := p.auditor().node.BlockByNumber(context.Background(), height)
	if err != nil {
		p.t.Fatal(err)
	}
	return b.Hash
}

// TestEveryMomentOfASessionIsClean: wherever a pool that pays and raises fees stops, the
// audit finds nothing, for each of its steps leaves everything in order.
func TestEveryMomentOfASessionIsClean(t *testing.T) {
	for at, points := 1, 1; at <= points; at++ {
		p := newPool(t)
		p.cfg.Window, p.cfg.Confirmations, p.cfg.VoidDepth, p.cfg.BumpAfter = 2, 1, 2, 1
		p.due()
		naps := 0
		p.clock.onSleep = func() {
			if naps++; naps == 1 {
				p.chain.MineEmpty(1)
				return
			}
			p.chain.Mine(1)
		}
		k := &knife{wound: killed, at: at}
		if at == 1 {
			k.at = 0
		}
		l := life{p: p, k: k}
		k.then = func() {
			if k.dead {
				l.end()
			}
		}
		p.wrap = k.parts
		for range 4 {
			_, _ = l.process().Session(l.ctx)
			if k.dead || l.process().hold(l.ctx, func(t *turn) error { return t.advance(l.ctx) }) != nil {
				break
			}
			p.chain.Mine(1)
		}
		l.stop()
		if at == 1 {
			points = k.calls
			p.wantLog("offering a higher fee")
		}
		p.audited(false)
		p.audited(true)
		if t.Failed() {
			t.Fatalf("stopped at call %d of %d, %s", at, points, k.cut)
		}
	}
}

// TestAPoolAtWorkIsClean audits in a loop while payments are made, credited and final.
func TestAPoolAtWorkIsClean(t *testing.T) {
	p := newPool(t)
	p.cfg.Window = 8
	for i := range 60 {
		p.credit(login(i), coin)
	}
	var naps atomic.Int64
	p.clock.onSleep = func() {
		p.credit(login(100+int(naps.Add(1))), coin/2-1) // he is not due
		p.chain.Mine(1)
	}
	payer, stop := p.start()
	defer stop()
	p.mustWork(payer)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	done := make(chan error, 1)
	go func() {
		_, err := payer.Session(ctx)
		for range 10 {
			p.chain.Mine(1)
			if err == nil {
				err = payer.hold(ctx, func(t *turn) error { return t.advance(ctx) })
			}
		}
		done <- err
	}()
	auditor := p.auditor()
	for working := true; working; {
		select {
		case err := <-done:
			if err != nil {
				t.Error(err)
			}
			working = false
		default:
		}
		r, err := auditor.Audit(ctx, false)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range r.Findings {
			t.Errorf("found %+v", f)
		}
	}
	if seen, err := p.db().Audited(ctx); err != nil || seen.Nonce != 60 {
		t.Errorf("seen %+v, %v", seen, err)
	}
}

// mustWork begins the ledger.
func (p *pool) mustWork(payer *Payer) {
	p.t.Helper()
	if err := p.advance(payer); err != nil {
		p.t.Fatal(err)
	}
}

// TestTheAuditIsOnSchedule: by the clock, again soon after it failed, and never without
// a schedule.
func TestTheAuditIsOnSchedule(t *testing.T) {
	p := fullLife(t)
	p.cfg.AuditSchedule, p.cfg.TimeZone = "30 4 * * *", "UTC"
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	var at []string
	p.clock.onSleep = func() {
		at = append(at, p.clock.now.UTC().Format("02 15:04"))
		p.node.Heal()
		switch len(at) {
		case 2:
			p.redis.Do(t, "RENAME", "eth:payments:nonces:"+p.account.Hex(), "away")
			p.redis.Do(t, "SET", "eth:payments:nonces:"+p.account.Hex(), "x")
		case 3:
			p.redis.Do(t, "RENAME", "away", "eth:payments:nonces:"+p.account.Hex())
		case 4:
			cancel()
		}
	}
	if err := p.auditor().Run(ctx); err == nil {
		t.Error("it ended by itself")
	}
	if want := []string{"15 04:30", "16 04:30", "16 04:40", "17 04:30"}; !slices.Equal(at, want) {
		t.Errorf("audited at %q, want %q", at, want)
	}
	p.wantLog(`msg="the books were audited" findings=0 looked="[redis journal chain]"`)
	p.wantLog("the books were not audited")
	m, err := p.db().Meta(context.Background())
	if err != nil || m.AuditLooked != "redis journal chain" || time.Unix(m.AuditTime, 0).UTC().Format("02 15:04") != "16 04:40" {
		t.Errorf("written down: %d, %q, %v", m.AuditTime, m.AuditLooked, err)
	}

	p.cfg.AuditSchedule = ""
	ctx, cancel = context.WithCancel(context.Background())
	cancel()
	if err := p.auditor().Run(ctx); err == nil {
		t.Error("it ended by itself")
	}
}

// TestManyBlocksAreReadTwoBatchesAtATime: what is found does not depend on which batch is
// there first, and the node is not asked more at once.
func TestManyBlocksAreReadTwoBatchesAtATime(t *testing.T) {
	o := oldPool{miners: 100, payments: 80 * benchBlock, account: common.HexToAddress("0x01")}
	var asked, most atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for n, before := asked.Add(1), most.Load(); n > before && !most.CompareAndSwap(before, n); before = most.Load() {
		}
		time.Sleep(time.Millisecond) // so that others would come
		o.ServeHTTP(w, r)
		asked.Add(-1)
	}))
	t.Cleanup(server.Close)
	node, err := rpc.New([]string{server.URL}, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(node.Close)
	var numbers []uint64
	for n := range 80 {
		numbers = append(numbers, uint64(benchFirst+n))
	}
	c := &chainAudit{Auditor: &Auditor{node: node}, meta: storage.Meta{Account: o.account}}
	found, err := c.read(context.Background(), numbers, func(tx rpc.Transaction) bool { return tx.Nonce != 7 })
	if err != nil || len(found) != o.payments-1 || found[7] != nil {
		t.Fatalf("%d transactions, %v", len(found), err)
	}
	for nonce, s := range found {
		if s.Nonce != nonce || s.Hash != o.payment(int(nonce)).Attempts[0].Hash || s.block.Number != benchFirst+nonce/benchBlock || s.receipt == nil || s.receipt.TxHash != s.Hash {
			t.Fatalf("nonce %d is %+v", nonce, s)
		}
	}
	if most.Load() > atOnce {
		t.Errorf("the node was asked %d things at once, want at most %d", most.Load(), atOnce)
	}
}
