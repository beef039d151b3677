package storage

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/open-ethereum-pool/open-ethereum-pool/build/e2e/fault"
	"github.com/open-ethereum-pool/open-ethereum-pool/util"
)

// putType makes the key something of the type, whatever it was.
func (b *books) putType(key, typ string) {
	b.t.Helper()
	b.do("DEL", key)
	switch typ {
	case "string":
		b.do("SET", key, "x")
	case "list":
		b.do("RPUSH", key, "x")
	case "set":
		b.do("SADD", key, "x")
	case "hash":
		b.do("HSET", key, "x", "1")
	case "zset":
		b.do("ZADD", key, 1, "x")
	}
}

// A verb either refuses, naming the row, and has written nothing, or did not
// need the row and has done all of its work.
func TestVerbsAreNeverHalfDoneWhenARowHasTheWrongType(t *testing.T) {
	b := newBooks(t)
	watch := b.spy()
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			b.t = t
			b.begin()
			v.given(b)
			watch.seen()
			b.ok(v.do(b, b.lease))
			keys, done := watch.seen(), b.dump()
			for _, key := range keys {
				for _, typ := range []string{"string", "list", "set", "hash", "zset"} {
					if typ == b.db.Keys.typeOf(key) {
						continue
					}
					b.begin()
					v.given(b)
					b.putType(key, typ)
					before := b.dump()
					err := v.do(b, b.lease)
					what := fmt.Sprintf("%s is a %s and the verb says %v", key, typ, err)
					switch {
					case err == nil:
						after := b.dump()
						if diff := done.without(key).diff(after.without(key)); diff != "" {
							t.Errorf("%s:%s", what, diff)
						}
					case key == b.db.Keys.PaymentsLock():
						b.same(what, before)
					default:
						b.same(what, before)
						if !strings.Contains(err.Error(), key) {
							t.Errorf("%s, without naming the key", what)
						}
					}
				}
			}
		})
	}
}

// typeOf is the type that a key of the ledger has by rights.
func (k Keys) typeOf(key string) string {
	switch key {
	case k.PaymentsLock():
		return "string"
	case k.PaymentsPending(), k.PaymentsAll(), k.Inflight(), k.Finals(), k.Payments(alice), k.Payments(bob), k.Payments(""):
		return "zset"
	}
	return "hash"
}

func TestVerbsAreNeverHalfDoneWhenAFieldIsNoAmount(t *testing.T) {
	b := newBooks(t)
	k := b.db.Keys
	values := []string{"a lot", "-0", "9007199254740992", "", "1.5", "1e3", "007", "+5", " 5", "0x10", "-9007199254740992", "9223372036854775807"}
	if testing.Short() {
		values = values[:3]
	}
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			b.t = t
			b.begin()
			v.given(b)
			b.ok(v.do(b, b.lease))
			done := b.dump()
			for _, key := range []string{k.Miner(alice), k.Finances()} {
				for _, field := range []string{"balance", "pending", "paid"} {
					for _, value := range values {
						b.begin()
						v.given(b)
						b.do("HSET", key, field, value)
						before := b.dump()
						err := v.do(b, b.lease)
						what := fmt.Sprintf("%s %s is %q and the verb says %v", key, field, value, err)
						switch {
						case err != nil:
							b.same(what, before)
							if !strings.Contains(err.Error(), key) {
								t.Errorf("%s, without naming the key", what)
							}
						case slices.Contains(v.moves[:], field):
							t.Errorf("%s", what)
						default:
							if diff := done.without(key, k.Opening()).diff(b.dump().without(key, k.Opening())); diff != "" {
								t.Errorf("%s:%s", what, diff)
							}
						}
					}
				}
			}
			if v.moves[0] == "" {
				return
			}
			for _, key := range []string{k.Miner(alice), k.Finances()} {
				for field, value := range map[string]int64{v.moves[0]: -int64(util.MaxShannon), v.moves[1]: int64(util.MaxShannon)} {
					b.begin()
					v.given(b)
					b.do("HSET", key, field, value)
					before := b.dump()
					if err := v.do(b, b.lease); !errors.Is(err, ErrConflict) {
						t.Errorf("%s %s is %d: error is %v, want ErrConflict: 2^53 would be passed", key, field, value, err)
					}
					b.same("beyond 2^53", before)
				}
			}
		})
	}
}

func TestVerbsAreNeverHalfDoneWhenTheLedgersOwnRowIsNoNumber(t *testing.T) {
	b := newBooks(t)
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			b.t = t
			b.begin()
			v.given(b)
			b.ok(v.do(b, b.lease))
			done := b.dump()
			for _, value := range []string{"many", "", "1.5", "1e3", "007", "-1", "9007199254740992", "9223372036854775807"} {
				b.begin()
				v.given(b)
				b.do("HSET", b.db.Keys.Meta(), "step", value)
				before := b.dump()
				if err := v.do(b, b.lease); !errors.Is(err, ErrConflict) || !strings.Contains(err.Error(), b.db.Keys.Meta()) {
					t.Errorf("step is %q: error is %v, want ErrConflict naming the key", value, err)
				}
				b.same("step is "+value, before)

				b.begin()
				v.given(b)
				b.do("HSET", b.db.Keys.Meta(), "nextNonce", value)
				before = b.dump()
				if err := v.do(b, b.lease); err != nil {
					b.same(fmt.Sprintf("nextNonce is %q and the verb says %v", value, err), before)
				} else if diff := done.without(b.db.Keys.Meta(), b.db.Keys.Nonces(account)).diff(b.dump().without(b.db.Keys.Meta(), b.db.Keys.Nonces(account))); diff != "" {
					t.Errorf("nextNonce is %q:%s", value, diff)
				}
			}
		})
	}
}

func TestVerbsSeeThatThePendingRowWasRemovedByHand(t *testing.T) {
	b := newBooks(t)
	p := func(changes ...func(*Payment)) *Payment { return pay(7, alice, 300, changes...) }
	row := PendingRow{Login: alice, Amount: 300, Time: opened}
	for _, tc := range []struct {
		name string
		do   func() error
	}{
		{"sent", func() error { return one(b.lease.Sent(ctx, later, p())) }},
		{"final", func() error { return one(b.lease.Final(ctx, later, 0, p(mined(hash(7, 1))))) }},
		{"void, refused", func() error { return b.lease.Void(ctx, p(), NonceFree, "refused", "") }},
		{"void, failed", func() error { return b.lease.Void(ctx, p(), NonceOwn, "failed", "rejects") }},
		{"an old row that was paid", func() error { return b.lease.PaidOld(ctx, row, old, later) }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b.t = t
			b.begin()
			b.open(p())
			b.removeRow(p())
			before := b.dump()
			if err := tc.do(); !errors.Is(err, ErrByHand) {
				t.Errorf("error is %v, want ErrByHand", err)
			}
			b.same("refused", before)
		})
	}
}

// A verb whose reply was lost, or that never arrived, is repeated as it is.
func TestVerbsMayBeRepeatedAfterALostReply(t *testing.T) {
	b := newBooks(t)
	proxy := fault.Redis(t, b.srv.Addr())
	through := b.connect(proxy.Addr(), "eth")
	for _, v := range verbs {
		t.Run(v.name, func(t *testing.T) {
			b.t = t
			b.begin()
			v.given(b)
			b.ok(v.do(b, b.lease))
			done := b.dump()
			for name, loss := range map[string]fault.Action{"the reply is lost": fault.LoseReply, "the verb is lost": fault.Drop} {
				b.begin()
				v.given(b)
				before := b.dump()
				lossy := &Lease{db: through, token: token, step: b.lease.Step()}
				lost := 0
				proxy.Every(func(m fault.Message) fault.Action {
					if strings.HasPrefix(m.Name, "EVAL") && lost == 0 {
						lost++
						return loss
					}
					return fault.Pass
				})
				err := v.do(b, lossy)
				if err == nil || errors.Is(err, ErrConflict) || errors.Is(err, ErrLost) {
					t.Errorf("%s: error is %v, want that of the connection", name, err)
				}
				want := map[string]dump{"the reply is lost": done, "the verb is lost": before}[name]
				b.same(name, want)
				b.ok(v.do(b, lossy))
				b.same(name+", and the verb repeated", done)
			}
		})
	}
}

func TestABatchMayBeRepeatedWhereverItsConnectionBroke(t *testing.T) {
	b := newBooks(t)
	proxy := fault.Redis(t, b.srv.Addr())
	through := b.connect(proxy.Addr(), "eth")
	batch := func() []*Payment {
		return []*Payment{pay(7, alice, 100), pay(8, bob, 50), pay(9, carol, 25)}
	}
	for _, verb := range []struct {
		name string
		do   func(l *Lease) []error
	}{
		{"open", func(l *Lease) []error { return l.Open(ctx, "", batch()...) }},
		{"sent", func(l *Lease) []error { return l.Sent(ctx, later, batch()...) }},
		{"reinstate", func(l *Lease) []error { return l.Reinstate(ctx, batch()...) }},
	} {
		given := func() {
			b.begin()
			b.credit(carol, 25)
			if verb.name == "sent" {
				b.open(batch()...)
			}
		}
		given()
		b.ok(verb.do(b.lease)...)
		done := b.dump()
		for n := range 3 {
			for name, loss := range map[string]fault.Action{"after its effect": fault.LoseReply, "before it": fault.Drop} {
				given()
				lossy := &Lease{db: through, token: token, step: b.lease.Step()}
				count := 0
				proxy.Every(func(m fault.Message) fault.Action {
					if strings.HasPrefix(m.Name, "EVAL") {
						if count++; count == n+1 {
							return loss
						}
					}
					return fault.Pass
				})
				for i, err := range verb.do(lossy) {
					if err == nil && i >= n {
						t.Errorf("%s, broken at %d %s: error %d is %v", verb.name, n, name, i, err)
					}
				}
				b.ok(verb.do(lossy)...)
				b.same(fmt.Sprintf("%s, broken at %d %s", verb.name, n, name), done)
				b.clean()
			}
		}
	}
}
