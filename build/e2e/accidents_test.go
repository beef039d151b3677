package e2e

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/google/uuid"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/storage/storagetest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// group is a few miners of one world who are due, and what they must have in
// the end.
type group struct {
	*world
	due map[string]util.Shannon
}

func newGroup(t *testing.T, redis *storagetest.Server, c *chain) *group {
	g := &group{world: newWorld(t, redis, c), due: map[string]util.Shannon{}}
	g.more()
	return g
}

// more credits three new miners.
func (g *group) more() {
	g.t.Helper()
	for _, a := range []util.Shannon{coin, coin / 2, 3*coin + 1} {
		g.due[g.miner(a)] = a
	}
}

func (g *group) allPaid() bool {
	for login, a := range g.due {
		if !g.paid(login, a) {
			return false
		}
	}
	return g.settled()
}

// paysOnce runs the daemon until everybody is paid for good, and counts.
func (g *group) paysOnce() {
	g.t.Helper()
	p := g.pool()
	g.until("everybody is paid", p, g.allPaid)
	p.terminate(g.t)
	g.count()
}

func (g *group) count() {
	g.t.Helper()
	received := g.chain.received()
	for login, a := range g.due {
		g.wantReceived(received, login, a)
	}
	g.audit()
}

func TestRedisRestartedWithItsAppendOnlyFile(t *testing.T) {
	g := newGroup(t, storagetest.Start(t, storagetest.AOF(storagetest.Always)), startChain(t))
	g.chain.mine(3)
	p := g.pool()
	g.until("payments are sent", p, func() bool { return g.redis.Do(t, "ZCARD", "eth:payments:all") == int64(3) })
	g.redis.Kill()
	g.chain.mine(1) // they are mined meanwhile
	time.Sleep(200 * time.Millisecond)
	g.redis.Restart()
	g.chain.call(nil, "devnet_setInterval", 150)
	g.until("everybody is paid", p, g.allPaid)
	p.terminate(t)
	g.count()
}

func TestRedisRestoredFromAnOlderSnapshotPaysNobodyAgain(t *testing.T) {
	g := newGroup(t, storagetest.Start(t), startChain(t, "--block-interval", "150ms"))
	before := g.redis.Snapshot()
	g.paysOnce()
	g.redis.Restore(before)
	g.paysOnce()
	g.more()
	g.paysOnce()
}

func TestANodeThatLosesItsMempoolAndItsBlocks(t *testing.T) {
	g := newGroup(t, storagetest.Start(t), startChain(t))
	c := g.chain
	c.mine(3)
	p := g.pool()
	g.until("payments are sent", p, func() bool { return g.redis.Do(t, "ZCARD", "eth:payments:all") == int64(3) })
	c.call(nil, "devnet_forget")
	c.call(nil, "devnet_mineEmpty", 1)
	g.until("the bytes are in the pool again", p, func() bool {
		var n hexutil.Uint64
		c.call(&n, "eth_getTransactionCount", c.Account, "pending")
		return n == 3
	})
	c.mine(1)
	c.call(nil, "devnet_reorg", 1, false) // shallower than finality, transactions forgotten
	c.call(nil, "devnet_setInterval", 150)
	g.until("everybody is paid", p, g.allPaid)
	c.call(nil, "devnet_setInterval", 0)
	c.call(nil, "devnet_reorg", 8, false) // deeper than finality
	c.call(nil, "devnet_setInterval", 150)
	g.until("everything is open again", p, func() bool { return !g.settled() })
	g.until("and final again", p, g.allPaid)
	p.terminate(t)
	g.count()
}

func TestRecipientsThatAreContracts(t *testing.T) {
	c := startChain(t, "--block-interval", "150ms")
	w := newWorld(t, storagetest.Start(t), c)
	addresses := map[string]string{}
	for _, kind := range []string{"reject", "accept", "burn"} {
		var a common.Address
		c.call(&a, "devnet_deploy", kind)
		addresses[kind] = strings.ToLower(a.Hex())
		w.credit(addresses[kind], coin)
	}
	plain := w.miner(coin)
	status, out := w.run("run")
	if status != 4 || !strings.Contains(out, "not paid: "+addresses["reject"]+" recipient_rejects") {
		t.Errorf("status %d, want 4 with the contract that rejects named:\n%s", status, out)
	}
	p := w.pool()
	w.until("the others are final", p, w.settled)
	p.terminate(t)
	received := c.received()
	w.wantReceived(received, plain, coin)
	w.wantReceived(received, addresses["accept"], coin)
	w.wantReceived(received, addresses["burn"], coin)
	w.wantReceived(received, addresses["reject"], 0)
	w.audit()
}

func TestSigners(t *testing.T) {
	for _, london := range []bool{false, true} {
		t.Run(fmt.Sprintf("london %v", london), func(t *testing.T) {
			args := []string{"--block-interval", "150ms", "--locked"}
			if london {
				args = append(args, "--london")
			}
			t.Run("keystore", func(t *testing.T) {
				g := newGroup(t, storagetest.Start(t), startChain(t, args...))
				g.payouts["signer"] = keystoreSigner(t, g.dir, g.chain.Account)
				g.paysOnce()
			})
			t.Run("external, as Clef answers", func(t *testing.T) {
				g := newGroup(t, storagetest.Start(t), startChain(t, args...))
				g.payouts["signer"] = map[string]any{"type": "external", "url": externalSigner(t, g.chain.ChainID, "account_signTransaction"), "method": "account_signTransaction"}
				g.paysOnce()
			})
			t.Run("external, as Web3Signer answers", func(t *testing.T) {
				g := newGroup(t, storagetest.Start(t), startChain(t, args...))
				g.payouts["signer"] = map[string]any{"type": "external", "url": externalSigner(t, g.chain.ChainID, "eth_signTransaction"), "method": "eth_signTransaction"}
				g.paysOnce()
			})
			t.Run("node", func(t *testing.T) {
				g := newGroup(t, storagetest.Start(t), startChain(t, append(args[:2:2], args[3:]...)...))
				g.paysOnce()
			})
			t.Run("node without eth_signTransaction", func(t *testing.T) {
				g := newGroup(t, storagetest.Start(t), startChain(t, append(args[:2:2], args[3:]...)...))
				node := fault.HTTP(t, g.chain.URL)
				node.Every(func(m fault.Message) fault.Action {
					if strings.Contains(m.Name, "eth_signTransaction") {
						return fault.ReplyError(-32601, "the method eth_signTransaction does not exist/is not available")
					}
					return fault.Pass
				})
				g.nodeURL = node.URL()
				g.paysOnce()
			})
		})
	}
}

func keystoreSigner(t testing.TB, dir string, account common.Address) map[string]any {
	t.Helper()
	password := make([]byte, 8)
	_, _ = rand.Read(password)
	text := fmt.Sprintf("%x", password)
	encrypted, err := keystore.EncryptKey(&keystore.Key{Id: uuid.New(), Address: account, PrivateKey: poolKey}, text, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	key, secret := filepath.Join(dir, "key.json"), filepath.Join(dir, "password")
	for path, data := range map[string][]byte{key: encrypted, secret: []byte(text + "\n")} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return map[string]any{"type": "keystore", "keystore": key, "passwordFile": secret}
}

// externalSigner is a signer of its own over JSON-RPC, in the two shapes that
// are in use.
func externalSigner(t *testing.T, chainID uint64, method string) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var req struct {
			ID     json.RawMessage
			Method string
			Params []struct {
				To                                                  common.Address
				Gas, Nonce                                          hexutil.Uint64
				Value, GasPrice, MaxFeePerGas, MaxPriorityFeePerGas *hexutil.Big
			}
		}
		if err := json.NewDecoder(r.Body).Decode(&req); err != nil || req.Method != method || len(req.Params) != 1 {
			t.Errorf("the signer was asked %q: %v", req.Method, err)
			return
		}
		a := req.Params[0]
		var data types.TxData = &types.LegacyTx{Nonce: uint64(a.Nonce), To: &a.To, Value: a.Value.ToInt(), Gas: uint64(a.Gas), GasPrice: a.GasPrice.ToInt()}
		if a.MaxFeePerGas != nil {
			data = &types.DynamicFeeTx{Nonce: uint64(a.Nonce), To: &a.To, Value: a.Value.ToInt(), Gas: uint64(a.Gas),
				GasFeeCap: a.MaxFeePerGas.ToInt(), GasTipCap: a.MaxPriorityFeePerGas.ToInt()}
		}
		tx, err := types.SignNewTx(poolKey, types.LatestSignerForChainID(new(big.Int).SetUint64(chainID)), data)
		if err != nil {
			t.Error(err)
			return
		}
		raw, _ := tx.MarshalBinary()
		var result any = hexutil.Bytes(raw)
		if method == "account_signTransaction" {
			result = map[string]any{"raw": hexutil.Bytes(raw), "tx": map[string]any{}}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"jsonrpc": "2.0", "id": req.ID, "result": result})
	}))
	t.Cleanup(s.Close)
	return s.URL
}

func TestASecondProcessSaysWhoIsThere(t *testing.T) {
	g := newGroup(t, storagetest.Start(t), startChain(t, "--block-interval", "150ms"))
	p := g.pool()
	g.until("payments are under way", p, func() bool { return g.redis.Do(t, "EXISTS", "eth:payments:lock") == int64(1) })
	status, out := g.run("run")
	if status != 1 || !strings.Contains(out, "in use by another payouts process") {
		t.Errorf("a second process: status %d\n%s", status, out)
	}
	g.mustRun("plan")
	g.mustRun("status")
	g.until("everybody is paid", p, g.allPaid)
	p.terminate(t)
	g.count()
}

// interrupted is the exit status of a process that a signal ended before it was done.
const interrupted = 5

func TestSIGTERMAtAnyMomentEndsTheProcess(t *testing.T) {
	c := startChain(t, "--block-interval", "150ms")
	g := newGroup(t, storagetest.Start(t), c)
	for i := range 25 {
		g.more()
		p := g.pool()
		time.Sleep(time.Duration(i*13) * time.Millisecond)
		switch status := p.terminate(t); status { // early on nobody listens to the signal, which ends it
		case 0, interrupted, -1:
		default:
			t.Errorf("SIGTERM after %d ms: status %d\n%s", i*13, status, p.out)
		}
	}
	// With a node that does not answer and a Redis that hangs.
	node := fault.HTTP(t, c.URL)
	node.Every(func(fault.Message) fault.Action { return fault.Hang(nil) })
	redis := fault.Redis(t, g.redis.Addr())
	nodeURL, redisAddr := g.nodeURL, g.redisAddr
	for _, side := range []string{"node", "redis"} {
		if g.nodeURL, g.redisAddr = nodeURL, redisAddr; side == "node" {
			g.nodeURL = node.URL()
		} else {
			g.redisAddr = redis.Addr()
			redis.Every(func(m fault.Message) fault.Action {
				if strings.HasPrefix(m.Name, "EVAL") {
					return fault.Hang(nil)
				}
				return fault.Pass
			})
		}
		p := g.pool()
		time.Sleep(500 * time.Millisecond)
		if status := p.terminate(t); status != 0 && (status != interrupted || !strings.Contains(p.out.String(), "not ended in time")) {
			t.Errorf("SIGTERM while the %s hangs: status %d\n%s", side, status, p.out)
		}
	}
	g.nodeURL, g.redisAddr = nodeURL, redisAddr
	g.paysOnce()
}

func TestBadConfigurationsNameFileLineAndKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "payouts.json")
	for text, want := range map[string]string{
		"{\n  \"coin\": \"eth\",\n  \"payouts\": {\n    \"enabled\": true,\n    \"thresold\": 1\n  }\n}": path + ":5: payouts.thresold: unknown key, did you mean \"threshold\"?",
		"{\n  \"coin\": \"eth\",\n  \"payouts\": {\"interval\": \"12 parsecs\"}\n}":                      path + ":3: payouts.interval: \"12 parsecs\" is not a duration",
		"{\n  \"coin\": \"eth\"": path + ":2",
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		p := start(t, command(path, "check"))
		if status := p.wait(t); status != 2 || !strings.Contains(p.out.String(), want) {
			t.Errorf("check: status %d, want 2 with %q:\n%s", status, want, p.out)
		}
	}
	for _, shipped := range []string{"../../config.example.json", "../../payouts.json"} {
		p := start(t, command(shipped, "check"))
		if status := p.wait(t); status != 0 {
			t.Errorf("check %s: status %d\n%s", shipped, status, p.out)
		}
	}
}
