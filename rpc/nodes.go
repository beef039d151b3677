package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// rest is how long a node that failed is asked only after the others.
const rest = 30 * time.Second

// node is one upstream. Its address never changes; its state is guarded by
// Client.mu.
type node struct {
	url            string // without credentials
	name           string // scheme and host: what errors and logs may show
	auth           bool
	user, password string

	failedAt time.Time // zero while it answers
	verified bool      // it showed the pinned identity and has not failed since
}

// identity is what tells one chain from another. The chain id alone does not:
// every copy of a test chain has the same.
type identity struct {
	chainID uint64
	genesis common.Hash
}

// newNode checks a URL. No error quotes it, because a mistyped URL may show its
// password in any part.
func newNode(raw string) (*node, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("not a URL, want http://host:port")
	}
	if u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("the scheme is neither http nor https")
	}
	if u.Hostname() == "" {
		return nil, errors.New("the host is missing")
	}
	n := &node{name: u.Scheme + "://" + u.Host}
	if u.User != nil {
		n.auth, n.user = true, u.User.Username()
		n.password, _ = u.User.Password()
		u.User = nil
	}
	n.url = u.String()
	return n, nil
}

// acts reports whether a method may change something, so that a second node must
// not be asked when the first may have done it.
func acts(method string) bool {
	for _, prefix := range []string{"eth_send", "eth_submit", "personal_", "miner_", "admin_", "debug_", "parity_set", "evm_"} {
		if strings.HasPrefix(method, prefix) {
			return true
		}
	}
	return false
}

// shortcut reports whether a method only asks together for what can be asked one by
// one. That it hangs, is too long or has something odd says nothing of its node.
func shortcut(method string) bool { return method == "eth_getBlockReceipts" }

// order returns the nodes in the order to ask them: by preference, those that
// failed within the last rest behind the others. The first is the current node; it
// stays so until it fails or a preferred one has rested.
func (c *Client) order() []*node {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	nodes := slices.Clone(c.nodes)
	slices.SortStableFunc(nodes, func(a, b *node) int {
		return resting(a, now) - resting(b, now)
	})
	return nodes
}

func resting(n *node, now time.Time) int {
	if !n.failedAt.IsZero() && now.Sub(n.failedAt) < rest {
		return 1
	}
	return 0
}

// failed puts a node to rest, unless it was the caller who gave up.
func (c *Client) failed(ctx context.Context, n *node, err error) {
	if ctx.Err() != nil {
		return
	}
	c.mu.Lock()
	healthy := n.failedAt.IsZero()
	n.failedAt, n.verified = c.now(), false
	c.mu.Unlock()
	if healthy {
		c.log.Warn("node does not answer", "node", n.name, "error", err)
	}
}

// doubted has a node show its chain again, without a rest.
func (c *Client) doubted(n *node) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n.verified = false
}

// answered ends a node's rest.
func (c *Client) answered(n *node) {
	c.mu.Lock()
	healthy := n.failedAt.IsZero()
	n.failedAt = time.Time{}
	c.mu.Unlock()
	if !healthy {
		c.log.Info("node answers again", "node", n.name)
	}
}

// Pin says which chain the client is for. From then on each node must show it, once
// and again after every failure, before it is asked anything else; one of another
// chain is not asked, and ErrWrongChain says so when no other node answers.
func (c *Client) Pin(chainID uint64, genesis common.Hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pinned = &identity{chainID, genesis}
	for _, n := range c.nodes {
		n.verified = false
	}
}

// admit makes sure that a node is on the pinned chain.
func (c *Client) admit(ctx context.Context, n *node) error {
	c.mu.Lock()
	want, verified := c.pinned, n.verified
	c.mu.Unlock()
	if want == nil || verified {
		return nil
	}
	has, err := c.identify(ctx, n)
	if err != nil && !errors.Is(err, ErrUnknown) {
		// The node's verdict is about the check, not about the question behind it.
		return n.unknown("check of the chain", errors.New(err.Error()))
	}
	if err != nil {
		return err
	}
	if has != *want {
		err := fmt.Errorf("node %s is on chain %d with genesis %s, want chain %d with genesis %s: %w",
			n.name, has.chainID, has.genesis, want.chainID, want.genesis, ErrWrongChain)
		c.failed(ctx, n, err)
		return err
	}
	c.mu.Lock()
	n.verified = c.pinned == want
	c.mu.Unlock()
	return nil
}

// Identity returns the chain id (EIP-155, by eth_chainId of EIP-695) and the
// genesis hash of the first node that answers. net_version stands in for the chain
// id only where the node does not know eth_chainId; on Ethereum Classic it differs.
func (c *Client) Identity(ctx context.Context) (chainID uint64, genesis common.Hash, err error) {
	var errs []error
	for _, n := range c.order() {
		if err := c.admit(ctx, n); err != nil {
			errs = append(errs, err)
			continue
		}
		has, err := c.identify(ctx, n)
		if err == nil {
			return has.chainID, has.genesis, nil
		}
		errs = append(errs, err)
		if !errors.Is(err, ErrUnknown) || ctx.Err() != nil {
			break
		}
	}
	return 0, common.Hash{}, join(errs)
}

// identify asks a node for its chain id and its genesis.
func (c *Client) identify(ctx context.Context, n *node) (has identity, err error) {
	chain := typed(&has.chainID, parseUint64, "eth_chainId")
	c.ask(ctx, n, []*Request{chain}, false)
	if IsMethodNotFound(chain.Err) {
		chain = typed(&has.chainID, parseNetVersion, "net_version")
		c.ask(ctx, n, []*Request{chain}, false)
	}
	if chain.Err != nil {
		return identity{}, chain.Err
	}
	genesis := typed(&has.genesis, parseGenesis, "eth_getBlockByNumber", hexutil.Uint64(0), false)
	c.ask(ctx, n, []*Request{genesis}, false)
	return has, genesis.Err
}

// parseGenesis takes only the hash of a block: the other members of a genesis block
// follow no rule.
func parseGenesis(raw json.RawMessage) (common.Hash, error) {
	m, err := object(raw)
	if err != nil {
		return common.Hash{}, notNull(err)
	}
	return m.hash("hash"), m.err
}
