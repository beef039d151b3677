package payouts

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/google/uuid"

	"github.com/open-ethereum-pool/open-ethereum-pool/rpc"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

func keyOf(t testing.TB, words string) *ecdsa.PrivateKey {
	t.Helper()
	key, err := crypto.ToECDSA(crypto.Keccak256([]byte(words)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// signed is a transaction as a signer returns it.
func signed(t testing.TB, key *ecdsa.PrivateKey, signer types.Signer, tx types.TxData) []byte {
	t.Helper()
	raw, err := types.MustSignNewTx(key, signer, tx).MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// unsignedBy are a legacy and a dynamic-fee transaction of the key's account.
func unsignedBy(key *ecdsa.PrivateKey) (legacy, dynamic Unsigned) {
	legacy = Unsigned{ChainID: 61, From: crypto.PubkeyToAddress(key.PublicKey), To: address(login(1)), Nonce: 7, Value: coin.Wei(), Gas: 21000, GasPrice: gwei(20)}
	dynamic = legacy
	dynamic.GasPrice, dynamic.FeeCap, dynamic.TipCap = nil, gwei(30), gwei(2)
	return legacy, dynamic
}

func TestCheckSignedTakesWhatWasAskedFor(t *testing.T) {
	key := keyOf(t, "the pool's account")
	legacy, dynamic := unsignedBy(key)
	for name, u := range map[string]Unsigned{"legacy": legacy, "dynamic fees": dynamic} {
		raw, err := (&keystoreSigner{key: key}).Sign(context.Background(), u)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		tx, err := checkSigned(u, raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if tx.Hash() != crypto.Keccak256Hash(raw) {
			t.Errorf("%s: the hash is not that of the bytes", name)
		}
	}
}

func TestCheckSignedRefusesEveryChange(t *testing.T) {
	key, thief := keyOf(t, "the pool's account"), keyOf(t, "somebody else's")
	london := types.LatestSignerForChainID(big.NewInt(61))
	wantLegacy, wantDynamic := unsignedBy(key)
	legacy := func(change func(*types.LegacyTx)) []byte {
		tx := &types.LegacyTx{Nonce: 7, To: &wantLegacy.To, Value: coin.Wei(), Gas: 21000, GasPrice: gwei(20)}
		change(tx)
		return signed(t, key, london, tx)
	}
	dynamic := func(change func(*types.DynamicFeeTx)) []byte {
		tx := &types.DynamicFeeTx{ChainID: big.NewInt(61), Nonce: 7, To: &wantLegacy.To, Value: coin.Wei(), Gas: 21000, GasFeeCap: gwei(30), GasTipCap: gwei(2)}
		change(tx)
		return signed(t, key, london, tx)
	}
	plain := types.LegacyTx{Nonce: 7, To: &wantLegacy.To, Value: coin.Wei(), Gas: 21000, GasPrice: gwei(20)}
	good := legacy(func(*types.LegacyTx) {})
	list := types.AccessList{{Address: common.HexToAddress("0x1")}}
	elsewhere := common.HexToAddress("0x2")

	for _, tc := range []struct {
		name string
		want Unsigned
		raw  []byte
		says string
	}{
		{"another account signed", wantLegacy, signed(t, thief, london, &plain), "changed the sender"},
		{"another nonce", wantLegacy, legacy(func(tx *types.LegacyTx) { tx.Nonce++ }), "changed the nonce to 8, want 7"},
		{"another recipient", wantLegacy, legacy(func(tx *types.LegacyTx) { tx.To = &elsewhere }), "changed the recipient"},
		{"no recipient", wantLegacy, legacy(func(tx *types.LegacyTx) { tx.To = nil }), "changed the recipient"},
		{"one Wei more", wantLegacy, legacy(func(tx *types.LegacyTx) { tx.Value = new(big.Int).Add(tx.Value, common.Big1) }), "changed the value"},
		{"more gas", wantLegacy, legacy(func(tx *types.LegacyTx) { tx.Gas++ }), "changed the gas to 21001, want 21000"},
		{"data", wantLegacy, legacy(func(tx *types.LegacyTx) { tx.Data = []byte{0} }), "changed the data"},
		{"another gas price", wantLegacy, legacy(func(tx *types.LegacyTx) { tx.GasPrice = gwei(21) }), "changed the fee"},
		{"dynamic fees of the same price", wantLegacy, dynamic(func(tx *types.DynamicFeeTx) { tx.GasFeeCap, tx.GasTipCap = gwei(20), gwei(20) }), "changed the type to 2, want 0"},
		{"an access list's type", wantLegacy, signed(t, key, london, &types.AccessListTx{ChainID: big.NewInt(61), Nonce: 7, To: &wantLegacy.To, Value: coin.Wei(), Gas: 21000, GasPrice: gwei(20)}), "changed the type to 1, want 0"},
		{"no replay protection", wantLegacy, signed(t, key, types.HomesteadSigner{}, &plain), "changed the replay protection"},
		{"another chain", wantLegacy, signed(t, key, types.LatestSignerForChainID(big.NewInt(1)), &plain), "not valid on chain id 61"},
		{"another fee cap", wantDynamic, dynamic(func(tx *types.DynamicFeeTx) { tx.GasFeeCap = gwei(31) }), "changed the fee"},
		{"another tip", wantDynamic, dynamic(func(tx *types.DynamicFeeTx) { tx.GasTipCap = gwei(3) }), "changed the tip"},
		{"an access list", wantDynamic, dynamic(func(tx *types.DynamicFeeTx) { tx.AccessList = list }), "changed the access list"},
		{"a legacy transaction of the same price", func() Unsigned { u := wantDynamic; u.TipCap = u.FeeCap; return u }(), legacy(func(tx *types.LegacyTx) { tx.GasPrice = gwei(30) }), "changed the type to 0, want 2"},
		{"dynamic fees on another chain", wantDynamic, signed(t, key, types.LatestSignerForChainID(big.NewInt(1)), &types.DynamicFeeTx{Nonce: 7, To: &wantLegacy.To, Value: coin.Wei(), Gas: 21000, GasFeeCap: gwei(30), GasTipCap: gwei(2)}), "not valid on chain id 61"},
		{"nothing", wantLegacy, nil, "returned no transaction"},
		{"one byte too few", wantLegacy, good[:len(good)-1], "returned no transaction"},
		{"one byte too many", wantLegacy, append(append([]byte{}, good...), 0), "returned no transaction"},
		{"no signature", wantLegacy, func() []byte { raw, _ := types.NewTx(&plain).MarshalBinary(); return raw }(), "not valid on chain id 61"},
		{"text", wantLegacy, []byte("signed, sealed, delivered"), "returned no transaction"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := checkSigned(tc.want, tc.raw)
			if !errors.Is(err, ErrSigner) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want ErrSigner and %q", err, tc.says)
			}
			wantNoSecret(t, err, tc.raw)
		})
	}
}

// wantNoSecret asserts that an error shows neither words nor bytes that must not
// be in a log.
func wantNoSecret(t testing.TB, err error, raw []byte, words ...string) {
	t.Helper()
	if err == nil {
		return
	}
	if len(raw) > 40 {
		words = append(words, fmt.Sprintf("%x", raw[:40]), fmt.Sprintf("%x", raw[len(raw)-40:]))
	}
	for _, w := range words {
		if strings.Contains(strings.ToLower(err.Error()), strings.ToLower(w)) {
			t.Errorf("the error shows %s: %v", w, err)
		}
	}
}

// externalSignerServer is a signer of its own. It answers each request by what
// reply returns: a result, or an error. It hangs when it gets nil, nil.
func externalSignerServer(t testing.TB, method string, reply func(raw []byte) (any, error)) *httptest.Server {
	key := keyOf(t, "the pool's account")
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var q struct {
			ID     json.RawMessage
			Method string
			Params []struct {
				From, To                                            common.Address
				Gas, Nonce                                          hexutil.Uint64
				Value, GasPrice, MaxFeePerGas, MaxPriorityFeePerGas *hexutil.Big
				ChainID                                             *hexutil.Big
			}
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &q)
		}
		if err != nil || q.Method != method || len(q.Params) != 1 {
			t.Errorf("the signer was asked %s (%v), want %s with a transaction", body, err, method)
			return
		}
		a := q.Params[0]
		u := Unsigned{ChainID: 61, From: a.From, To: a.To, Nonce: uint64(a.Nonce), Value: a.Value.ToInt(), Gas: uint64(a.Gas)}
		if a.MaxFeePerGas != nil {
			u.FeeCap, u.TipCap = a.MaxFeePerGas.ToInt(), a.MaxPriorityFeePerGas.ToInt()
			if a.ChainID == nil || a.ChainID.ToInt().Int64() != 61 {
				t.Errorf("the signer was asked for chain id %v, want 61", a.ChainID)
			}
		} else {
			u.GasPrice = a.GasPrice.ToInt()
		}
		raw, err := (&keystoreSigner{key: key}).Sign(r.Context(), u)
		if err != nil {
			t.Error(err)
		}
		result, err := reply(raw)
		answer := map[string]any{"jsonrpc": "2.0", "id": q.ID, "result": result}
		switch {
		case err != nil:
			delete(answer, "result")
			answer["error"] = map[string]any{"code": -32000, "message": err.Error()}
		case result == nil:
			<-r.Context().Done() // a prompt that nobody answers
			return
		}
		if err := json.NewEncoder(w).Encode(answer); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(s.Close)
	return s
}

// clef answers with the bytes and the transaction, as geth does too.
func clef(raw []byte) (any, error) {
	return map[string]any{"raw": hexutil.Bytes(raw), "tx": map[string]any{"nonce": "0x7"}}, nil
}

// web3signer answers with the bytes alone.
func web3signer(raw []byte) (any, error) { return hexutil.Bytes(raw), nil }

func TestTheExternalSigner(t *testing.T) {
	const clefMethod, web3Method = "account_signTransaction", "eth_signTransaction"
	legacy, dynamic := unsignedBy(keyOf(t, "the pool's account"))
	refuse := func(text string) func([]byte) (any, error) {
		return func([]byte) (any, error) { return nil, errors.New(text) }
	}
	answer := func(result any) func([]byte) (any, error) {
		return func([]byte) (any, error) { return result, nil }
	}
	quoting := func(raw []byte) (any, error) { return nil, fmt.Errorf("will not sign %x", raw) }
	for _, tc := range []struct {
		name, method string
		reply        func([]byte) (any, error)
		wants        Unsigned
		fails        error
		says         string
	}{
		{"Clef, legacy", clefMethod, clef, legacy, nil, ""},
		{"Clef, dynamic fees", clefMethod, clef, dynamic, nil, ""},
		{"Web3Signer, legacy", web3Method, web3signer, legacy, nil, ""},
		{"Web3Signer, dynamic fees", web3Method, web3signer, dynamic, nil, ""},
		{"a person says no", clefMethod, refuse("request denied"), legacy, ErrSigner, "request denied"},
		{"the account is locked", clefMethod, refuse("authentication needed: password or unlock"), legacy, ErrSigner, "the account is locked"},
		{"it does not have the key", web3Method, refuse("no key for given address or file"), legacy, ErrSigner, "no key"},
		{"it quotes what it will not sign", clefMethod, quoting, legacy, ErrSigner, "will not sign"},
		{"an object without bytes", clefMethod, answer(map[string]any{"tx": 1}), legacy, ErrSigner, "reply is empty"},
		{"bytes that are no hex", clefMethod, answer(map[string]any{"raw": "0xzz"}), legacy, ErrSigner, "has no raw transaction"},
		{"no bytes", web3Method, answer("0x"), legacy, ErrSigner, "reply is empty"},
		{"a word", web3Method, answer("yes"), legacy, ErrSigner, "reply is no transaction"},
		{"a number", web3Method, answer(1), legacy, ErrSigner, "reply is no transaction"},
		{"nobody answers the prompt", clefMethod, answer(nil), legacy, rpc.ErrUnknown, "sign a transaction"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			made := make(chan []byte, 1)
			server := externalSignerServer(t, tc.method, func(raw []byte) (any, error) { made <- raw; return tc.reply(raw) })
			patience := 10 * time.Second
			if errors.Is(tc.fails, rpc.ErrUnknown) {
				patience = 50 * time.Millisecond
			}
			url := strings.Replace(server.URL, "http://", "http://pool:open%20sesame@", 1)
			s, err := NewSigner(SignerConfig{Type: SignerExternal, URL: url, Method: tc.method, Timeout: util.Duration(patience)}, nil, tc.wants.From)
			if err != nil {
				t.Fatal(err)
			}
			if err := s.Ready(context.Background(), tc.wants.From); err != nil {
				t.Errorf("it is not ready: %v", err)
			}
			raw, err := s.Sign(context.Background(), tc.wants)
			wantNoSecret(t, err, <-made, "sesame")
			if tc.fails != nil {
				if !errors.Is(err, tc.fails) || !strings.Contains(err.Error(), tc.says) {
					t.Errorf("error %v, want %v and %q", err, tc.fails, tc.says)
				}
				if errors.Is(err, ErrSigner) != errors.Is(tc.fails, ErrSigner) {
					t.Errorf("error %v takes no answer for a refusal", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if _, err := checkSigned(tc.wants, raw); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestASignerThatIsGoneIsNotARefusal(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	legacy, _ := unsignedBy(keyOf(t, "the pool's account"))
	s, err := NewSigner(SignerConfig{Type: SignerExternal, URL: server.URL, Method: "account_signTransaction", Timeout: util.Duration(time.Second)}, nil, legacy.From)
	if err != nil {
		t.Fatal(err)
	}
	for _, state := range []string{"answers 404", "is gone"} {
		if _, err := s.Sign(context.Background(), legacy); !errors.Is(err, rpc.ErrUnknown) || errors.Is(err, ErrSigner) {
			t.Errorf("it %s: %v, want ErrUnknown", state, err)
		}
		server.Close()
	}
}

// TestASessionWithAnExternalSigner pays with one, or stops with nothing written.
func TestASessionWithAnExternalSigner(t *testing.T) {
	const method = "account_signTransaction"
	thief := keyOf(t, "somebody else's")
	for _, tc := range []struct {
		name  string
		reply func(n int, raw []byte) (any, error) // n counts the requests
		paid  bool
	}{
		{"that signs", func(_ int, raw []byte) (any, error) { return clef(raw) }, true},
		{"that hangs once", func(n int, raw []byte) (any, error) {
			if n == 1 {
				return nil, nil
			}
			return clef(raw)
		}, true},
		{"that hangs in the middle of a batch", func(n int, raw []byte) (any, error) {
			if n == 2 {
				return nil, nil
			}
			return clef(raw)
		}, true},
		{"that says no", func(int, []byte) (any, error) { return nil, errors.New("request denied") }, false},
		{"that signs something else", func(int, []byte) (any, error) {
			to := crypto.PubkeyToAddress(thief.PublicKey)
			return clef(signed(t, keyOf(t, "the pool's account"), types.LatestSignerForChainID(big.NewInt(61)),
				&types.LegacyTx{To: &to, Value: coin.Wei(), Gas: 21000, GasPrice: big.NewInt(1e9)}))
		}, false},
		{"that signs for somebody else", func(_ int, raw []byte) (any, error) {
			tx := new(types.Transaction)
			if err := tx.UnmarshalBinary(raw); err != nil {
				return nil, err
			}
			return clef(signed(t, thief, types.LatestSignerForChainID(big.NewInt(61)),
				&types.LegacyTx{Nonce: tx.Nonce(), To: tx.To(), Value: tx.Value(), Gas: tx.Gas(), GasPrice: tx.GasPrice()}))
		}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPool(t)
			var n atomic.Int64
			server := externalSignerServer(t, method, func(raw []byte) (any, error) { return tc.reply(int(n.Add(1)), raw) })
			p.cfg.Signer = SignerConfig{Type: SignerExternal, URL: server.URL, Method: method, Timeout: util.Duration(500 * time.Millisecond)}
			p.node.Lock(p.account)
			p.due()
			_, err := p.session()
			if tc.paid {
				if err != nil {
					t.Fatalf("session: %v\n%s", err, p.logs)
				}
				p.settle()
				p.wantPaidOnce()
				return
			}
			wantHalt(t, err, HaltSigner)
			for i := 1; i <= miners; i++ {
				p.wantBooks(login(i), coin, 0, 0)
			}
			if len(p.chain.Broadcast()) != 0 || p.redis.Do(t, "EXISTS", "eth:payments:lock") != int64(0) {
				t.Error("something was sent, or payouts stay locked")
			}
		})
	}
}

func TestTheNodeAsSigner(t *testing.T) {
	chain := rpctest.NewChain(rpctest.Options{ChainID: 61})
	key := keyOf(t, "the pool's account")
	legacy, _ := unsignedBy(key)
	ctx := context.Background()
	node := chain.Node(t)
	client, err := rpc.New([]string{node.URL}, time.Second)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSigner(SignerConfig{Type: SignerNode}, client, legacy.From)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Ready(ctx, legacy.From); !errors.Is(err, ErrSigner) || !strings.Contains(err.Error(), legacy.From.Hex()) {
		t.Errorf("without the account it is ready with %v, want ErrSigner naming the account", err)
	}
	node.Unlock(key)
	if err := s.Ready(ctx, legacy.From); err != nil {
		t.Errorf("with the account it is not ready: %v", err)
	}
	raw, err := s.Sign(ctx, legacy)
	if err == nil {
		_, err = checkSigned(legacy, raw)
	}
	if err != nil {
		t.Error(err)
	}
	node.Lock(legacy.From)
	if _, err := s.Sign(ctx, legacy); !errors.Is(err, ErrSigner) || !strings.Contains(err.Error(), "the account is locked") {
		t.Errorf("with the account locked it signs with %v, want ErrSigner", err)
	}
	node.Fail("", 0, rpctest.Refuse)
	if err := s.Ready(ctx, legacy.From); err == nil || errors.Is(err, ErrSigner) {
		t.Errorf("a node that is gone is ready with %v, want an error that is no refusal", err)
	}
	if _, err := s.Sign(ctx, legacy); !errors.Is(err, rpc.ErrUnknown) || errors.Is(err, ErrSigner) {
		t.Errorf("a node that is gone signs with %v, want ErrUnknown", err)
	}
	node.Heal()
	node.DisableMethod("eth_signTransaction")
	if _, err := s.Sign(ctx, legacy); !errors.Is(err, ErrCannotSign) {
		t.Errorf("a node that cannot sign signs with %v, want ErrCannotSign", err)
	}
}

func TestTheKeystoreIsOpenedOrSaysWhyNot(t *testing.T) {
	const password = "correct horse"
	dir := t.TempDir()
	key := keyOf(t, "the pool's account")
	account := crypto.PubkeyToAddress(key.PublicKey)
	encrypted, err := keystore.EncryptKey(&keystore.Key{Id: uuid.New(), Address: account, PrivateKey: key}, password, 2, 1)
	if err != nil {
		t.Fatal(err)
	}
	file := func(name, data string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(data), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good, pw := file("key", string(encrypted)), file("password", password)
	const id = `"version":3,"id":"3198bc9c-6672-5ab3-d995-4942343ae5b6"`
	for _, tc := range []struct {
		name          string
		key, password string
		account       common.Address
		says          string
	}{
		{"all is right", good, pw, account, ""},
		{"a line end behind the password", good, file("pw-unix", password+"\n"), account, ""},
		{"another system's line end", good, file("pw-dos", password+"\r\n"), account, ""},
		{"a space belongs to the password", good, file("pw-space", password+" "), account, "does not open"},
		{"a wrong password", good, file("pw-wrong", "battery staple"), account, "does not open"},
		{"another account's key", good, pw, common.HexToAddress("0x1"), "holds account " + account.Hex() + "; payouts.address is"},
		{"no key file", filepath.Join(dir, "absent"), pw, account, "payouts.signer.keystore cannot be read: open"},
		{"no password file", good, filepath.Join(dir, "absent"), account, "payouts.signer.passwordFile cannot be read: open"},
		{"an empty key file", file("empty", ""), pw, account, "which is no keystore file"},
		{"a bare key", file("bare", common.Bytes2Hex(crypto.FromECDSA(key))), pw, account, "which is no keystore file"},
		{"a key file of the future", file("future", strings.Replace(string(encrypted), `"version":3`, `"version":4`, 1)), pw, account, "which is no keystore file"},
		{"a cut off key file", file("cut", string(encrypted[:len(encrypted)/2])), pw, account, "which is no keystore file"},
		{"a key file without its parameters", file("bald", "{"+id+`,"crypto":{"cipher":"aes-128-ctr","kdf":"scrypt"}}`), pw, account, "which is no keystore file"},
		{"a key file with half of them", file("half", "{"+id+`,"crypto":{"cipher":"aes-128-ctr","kdf":"scrypt","kdfparams":{"salt":"00"}}}`), pw, account, "which is no keystore file"},
		{"the password file in its place", pw, pw, account, "which is no keystore file"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, err := NewSigner(SignerConfig{Type: SignerKeystore, Keystore: tc.key, PasswordFile: tc.password}, nil, tc.account)
			wantNoSecret(t, err, crypto.FromECDSA(key), password, "horse", "battery", common.Bytes2Hex(crypto.FromECDSA(key))[:16])
			if tc.says == "" {
				if err != nil {
					t.Fatal(err)
				}
				legacy, _ := unsignedBy(key)
				raw, err := s.Sign(context.Background(), legacy)
				if err == nil {
					_, err = checkSigned(legacy, raw)
				}
				if err != nil {
					t.Error(err)
				}
				return
			}
			var wrong *util.KeyError
			if !errors.As(err, &wrong) || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("error %v, want a KeyError and %q", err, tc.says)
			}
		})
	}
}
