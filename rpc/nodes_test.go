package rpc

import (
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/open-ethereum-pool/open-ethereum-pool/rpc/rpctest"
)

func TestReadsMoveToTheNextNodeAndReturn(t *testing.T) {
	chain := rpctest.NewChain(rpctest.Options{})
	a, b := chain.Node(t), chain.Node(t)
	at := &clock{time.Unix(1000, 0)}
	c, err := New([]string{a.URL, b.URL}, patient, WithClock(at.now))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	read := func(wantA, wantB int) {
		t.Helper()
		if _, err := c.PeerCount(background); err != nil {
			t.Fatal(err)
		}
		if a.Calls("") != wantA || b.Calls("") != wantB {
			t.Errorf("calls %d and %d, want %d and %d", a.Calls(""), b.Calls(""), wantA, wantB)
		}
	}
	read(1, 0) // the preferred one is asked
	a.Fail("", 1, rpctest.HTML500)
	read(2, 1) // it fails, the other answers
	read(2, 2) // and stays
	at.at = at.at.Add(rest - time.Second)
	read(2, 3)
	at.at = at.at.Add(time.Second)
	a.Fail("", 1, rpctest.HTML500)
	read(3, 4) // tried again after its rest, and still failing
	read(3, 5)
	at.at = at.at.Add(rest)
	read(4, 5) // back to the preferred one
	read(5, 5)

	a.Fail("", 2, rpctest.Refuse)
	a.Fail("", 1, rpctest.Refuse)
	b.Fail("", 1, rpctest.Refuse)
	if _, err := c.PeerCount(background); err == nil {
		t.Error("no error though both nodes refuse")
	}
	read(7, 7) // both rest; the one that answers first becomes the current one
	read(7, 8)

	a.Fail("", 0, rpctest.Refuse)
	b.Fail("", 0, rpctest.LoseReply)
	_, err = c.PeerCount(background)
	if !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), a.URL) || !strings.Contains(err.Error(), b.URL) {
		t.Errorf("all nodes fail: %v", err)
	}
}

func TestBatchMovesOnlyWhatIsUnknown(t *testing.T) {
	chain := rpctest.NewChain(rpctest.Options{})
	a, b := chain.Node(t), chain.Node(t)
	chain.MineEmpty(3)
	a.Fail("eth_getBlockByNumber", 2, rpctest.ZeroHash)
	blocks, err := client(t, a.URL, b.URL).Blocks(background, 1, 3)
	if err != nil || len(blocks) != 3 || blocks[2].Number != 3 {
		t.Fatalf("Blocks = %v, %v", blocks, err)
	}
	if a.Calls("") != 3 || b.Calls("") != 1 {
		t.Errorf("calls %d and %d, want 3 and 1", a.Calls(""), b.Calls(""))
	}
}

func TestVerdictsAndActsStayAtOneNode(t *testing.T) {
	chain := rpctest.NewChain(rpctest.Options{})
	for _, tc := range []struct {
		name  string
		fault rpctest.Fault
		call  func(*Client) error
	}{
		{"a verdict is not asked for twice", rpctest.ErrorReply(-32000, "no"), func(c *Client) error { _, err := c.PeerCount(background); return err }},
		{"a submitted solution", rpctest.LoseReply, func(c *Client) error { _, err := c.SubmitWork(background, "0x0", "0x0", "0x0"); return err }},
		{"a transaction the node is to sign", rpctest.LoseReply, func(c *Client) error { _, err := c.SendTransaction(background, complete()); return err }},
		{"an acting method by name", rpctest.LoseReply, func(c *Client) error { return c.Call(background, nil, "personal_sendTransaction") }},
	} {
		t.Run(tc.name, func(t *testing.T) {
			a, b := chain.Node(t), chain.Node(t)
			a.Fail("", 0, tc.fault)
			if err := tc.call(client(t, a.URL, b.URL)); err == nil {
				t.Error("no error")
			}
			if a.Calls("") != 1 || b.Calls("") != 0 {
				t.Errorf("calls %d and %d, want 1 and 0", a.Calls(""), b.Calls(""))
			}
		})
	}
}

func TestPinnedClientAsksOnlyItsChain(t *testing.T) {
	ours := rpctest.NewChain(rpctest.Options{ChainID: 61, GenesisSeed: 1})
	for _, tc := range []struct {
		name  string
		other rpctest.Options
	}{
		{"another chain id", rpctest.Options{ChainID: 63, GenesisSeed: 1}},
		{"the same chain id over another genesis", rpctest.Options{ChainID: 61, GenesisSeed: 2}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			wrong, right := rpctest.NewChain(tc.other).Node(t), ours.Node(t)
			c := client(t, wrong.URL, right.URL)
			c.Pin(61, ours.Genesis())
			for range 3 {
				head, err := c.Head(background)
				if err != nil || head.Hash != ours.Genesis() {
					t.Fatalf("Head = %v, %v", head.Hash, err)
				}
			}
			if got := wrong.Calls("") - wrong.Calls("eth_chainId") - wrong.Calls("eth_getBlockByNumber"); got != 0 || wrong.Calls("") != 2 {
				t.Errorf("%d calls to the wrong node, want its identity only", wrong.Calls(""))
			}
			if right.Calls("eth_chainId") != 1 {
				t.Errorf("%d checks of the right node, want 1", right.Calls("eth_chainId"))
			}
			right.Fail("net_peerCount", 1, rpctest.Refuse)
			if _, err := c.PeerCount(background); err == nil {
				t.Error("no error from a node that refuses")
			}
			if _, err := c.PeerCount(background); err != nil {
				t.Error(err)
			}
			if right.Calls("eth_chainId") != 2 {
				t.Errorf("%d checks after a failure, want 2", right.Calls("eth_chainId"))
			}

			lonely := client(t, wrong.URL)
			lonely.Pin(61, ours.Genesis())
			_, err := lonely.Head(background)
			if !errors.Is(err, ErrWrongChain) || errors.Is(err, ErrUnknown) {
				t.Errorf("Head = %v", err)
			}
			for _, part := range []string{wrong.URL, "want chain 61", ours.Genesis().Hex()} {
				if !strings.Contains(err.Error(), part) {
					t.Errorf("error lacks %q: %v", part, err)
				}
			}
			if err := lonely.SendRawTransaction(background, []byte{1}); !errors.Is(err, ErrWrongChain) {
				t.Errorf("send: %v", err)
			}
			if wrong.Calls("eth_sendRawTransaction") != 0 {
				t.Error("a transaction went to the wrong chain")
			}
		})
	}
}

func TestIdentity(t *testing.T) {
	chain := rpctest.NewChain(rpctest.Options{ChainID: 63})
	n := chain.Node(t)
	c := client(t, dead, n.URL)
	check := func() {
		t.Helper()
		id, genesis, err := c.Identity(background)
		if err != nil || id != 63 || genesis != chain.Genesis() {
			t.Errorf("Identity = %d, %s, %v", id, genesis, err)
		}
	}
	check()
	if n.Calls("net_version") != 0 {
		t.Error("asked net_version of a node that knows eth_chainId")
	}
	n.DisableMethod("eth_chainId")
	check()
	n.Fail("eth_getBlockByNumber", 1, rpctest.Null)
	if _, _, err := c.Identity(background); err == nil {
		t.Error("a node without a genesis has an identity")
	}
	s := serve(t, always(`"error":{"code":-32000,"message":"not yet replay-protected"}`))
	if _, _, err := client(t, s.url).Identity(background); err == nil || s.messages.Load() != 1 {
		t.Errorf("fell back to net_version on another error: %v", err)
	}
}

func TestRefusedIdentityCheckIsNoVerdict(t *testing.T) {
	s := serve(t, func(reqs []asked) (int, string) {
		return http.StatusForbidden, `{"jsonrpc":"2.0","id":` + string(reqs[0].ID) + `,"error":{"code":1,"message":"insufficient funds"}}`
	})
	c := client(t, s.url)
	c.Pin(61, common.Hash{1})
	err := c.SendRawTransaction(background, []byte{1})
	var r *Refusal
	if !errors.Is(err, ErrUnknown) || errors.As(err, &r) {
		t.Errorf("send: %v", err)
	}
}

func TestANodeThatFailsAShortcutShowsItsChainAgain(t *testing.T) {
	n := rpctest.NewChain(rpctest.Options{}).Node(t)
	c := client(t, n.URL)
	id, genesis, err := c.Identity(background)
	if err != nil {
		t.Fatal(err)
	}
	c.Pin(id, genesis)
	n.Fail("eth_getBlockReceipts", 1, rpctest.Refuse)
	if _, err := c.BlockReceipts(background, 0); !errors.Is(err, ErrUnknown) {
		t.Fatalf("BlockReceipts = %v, want an unknown outcome", err)
	}
	before := n.Calls("eth_chainId")
	for range 2 {
		if _, err := c.PeerCount(background); err != nil {
			t.Fatal(err)
		}
	}
	if checks := n.Calls("eth_chainId") - before; checks != 1 {
		t.Errorf("the chain was looked at %d times, want once", checks)
	}
}
