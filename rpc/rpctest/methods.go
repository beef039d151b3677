package rpctest

import (
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
)

// call is one call being executed: the node's settings and view, taken at its start.
// Chain.mu is held, except in eth_call's handler.
type call struct {
	*Chain
	params []json.RawMessage
	view   []*block // canonical blocks the node sees

	kept     uint64
	peers    uint64
	syncing  bool
	accounts []common.Address
	keys     map[common.Address]*ecdsa.PrivateKey
}

// methods are those the node knows.
var methods = map[string]func(*call) (any, error){
	"web3_clientVersion":                func(*call) (any, error) { return "rpctest", nil },
	"eth_chainId":                       func(c *call) (any, error) { return (*hexutil.Big)(c.chainID), nil },
	"net_version":                       func(c *call) (any, error) { return c.chainID.String(), nil },
	"net_peerCount":                     func(c *call) (any, error) { return hexutil.Uint64(c.peers), nil },
	"eth_syncing":                       (*call).sync,
	"eth_accounts":                      func(c *call) (any, error) { return append([]common.Address{}, c.accounts...), nil },
	"eth_blockNumber":                   func(c *call) (any, error) { return hexutil.Uint64(c.top().number()), nil },
	"eth_gasPrice":                      func(c *call) (any, error) { return (*hexutil.Big)(c.gasPrice), nil },
	"eth_maxPriorityFeePerGas":          func(c *call) (any, error) { return (*hexutil.Big)(c.pool.minTip), nil },
	"eth_getBlockByNumber":              (*call).blockByNumber,
	"eth_getBlockByHash":                (*call).blockByHash,
	"eth_getUncleByBlockNumberAndIndex": (*call).uncle,
	"eth_getTransactionByHash":          (*call).transactionByHash,
	"eth_getTransactionReceipt":         (*call).receipt,
	"eth_getBlockReceipts":              (*call).blockReceipts,
	"eth_getTransactionCount":           (*call).transactionCount,
	"eth_getBalance":                    (*call).balanceOf,
	"eth_getCode":                       (*call).codeOf,
	"txpool_content":                    (*call).poolContent,
	"txpool_contentFrom":                (*call).poolContentFrom,
	"eth_sendRawTransaction":            (*call).sendRaw,
	"eth_signTransaction":               (*call).sign,
	"eth_sendTransaction":               (*call).send,
	"eth_estimateGas":                   (*call).estimateGas,
	"eth_call":                          (*call).ethCall,
}

// codedError is an error with a JSON-RPC code other than -32000.
type codedError struct {
	code    int
	message string
}

func (e codedError) Error() string { return e.message }

// execute runs one method.
func (n *Node) execute(method string, params []json.RawMessage) (any, *rpcError) {
	n.mu.Lock()
	c := &call{
		Chain: n.chain, params: params, kept: n.kept, peers: n.peers, syncing: n.syncing,
		accounts: slices.Clone(n.accounts), keys: maps.Clone(n.keys),
	}
	lag, disabled := n.lag, n.disabled[method]
	n.mu.Unlock()
	f, known := methods[method]
	if !known || disabled {
		return nil, &rpcError{-32601, "the method " + method + " does not exist/is not available"}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view = c.canonical[:len(c.canonical)-int(min(lag, uint64(len(c.canonical)-1)))]
	result, err := f(c)
	var coded codedError
	switch {
	case errors.As(err, &coded):
		return nil, &rpcError{coded.code, coded.message}
	case err != nil:
		return nil, &rpcError{-32000, err.Error()}
	case result == nil:
		return null, nil
	}
	return result, nil
}

func (c *call) top() *block { return c.view[len(c.view)-1] }

// param decodes parameter i.
func (c *call) param(i int, into any) error {
	if i >= len(c.params) {
		return codedError{-32602, fmt.Sprintf("missing value for required argument %d", i)}
	}
	if err := json.Unmarshal(c.params[i], into); err != nil {
		return codedError{-32602, fmt.Sprintf("invalid argument %d: %v", i, err)}
	}
	return nil
}

// blockParam decodes a block number or tag; nil is a block that the node has not.
func (c *call) blockParam(i int) (b *block, tag string, err error) {
	if err := c.param(i, &tag); err != nil {
		return nil, "", err
	}
	switch tag {
	case "latest", "pending":
		return c.top(), tag, nil
	case "earliest":
		return c.view[0], tag, nil
	}
	number, err := hexutil.DecodeUint64(tag)
	if err != nil {
		return nil, "", codedError{-32602, fmt.Sprintf("invalid argument %d: %v", i, err)}
	}
	if number >= uint64(len(c.view)) {
		return nil, tag, nil
	}
	return c.view[number], tag, nil
}

// stateParam is blockParam where a block that the node has not is an error.
func (c *call) stateParam(i int) (*block, string, error) {
	b, tag, err := c.blockParam(i)
	if err == nil && b == nil {
		err = errors.New("header not found")
	}
	if err == nil && c.kept > 0 && b.number()+c.kept <= c.top().number() {
		err = fmt.Errorf("missing trie node %x (path )", b.header.Root)
	}
	return b, tag, err
}

// sees reports whether the node's view has got to the block.
func (c *call) sees(b *block) bool { return b.number() < uint64(len(c.view)) }

func (c *call) sync() (any, error) {
	if !c.syncing {
		return false, nil
	}
	return map[string]any{
		"startingBlock": hexutil.Uint64(0),
		"currentBlock":  hexutil.Uint64(c.top().number()),
		"highestBlock":  hexutil.Uint64(c.top().number() + 1000),
	}, nil
}

func (c *call) blockByNumber() (any, error) {
	b, tag, err := c.blockParam(0)
	if err != nil || b == nil {
		return nil, err
	}
	var full bool
	if err := c.param(1, &full); err != nil {
		return nil, err
	}
	if tag == "pending" {
		return c.encodePending(b), nil
	}
	return c.encodeBlock(b, full), nil
}

func (c *call) blockByHash() (any, error) {
	var hash common.Hash
	var full bool
	if err := errors.Join(c.param(0, &hash), c.param(1, &full)); err != nil {
		return nil, err
	}
	b := c.byHash[hash]
	if b == nil || !c.sees(b) {
		return nil, nil
	}
	return c.encodeBlock(b, full), nil
}

func (c *call) uncle() (any, error) {
	b, _, err := c.blockParam(0)
	if err != nil || b == nil {
		return nil, err
	}
	var i hexutil.Uint64
	if err := c.param(1, &i); err != nil {
		return nil, err
	}
	if uint64(i) >= uint64(len(b.uncles)) {
		return nil, nil
	}
	return encodeHeader(b.uncles[i], b.uncles[i].Hash()), nil
}

func (c *call) transactionByHash() (any, error) {
	var hash common.Hash
	if err := c.param(0, &hash); err != nil {
		return nil, err
	}
	if at, ok := c.mined[hash]; ok && c.sees(at.block) {
		return c.encodeMined(at), nil
	}
	for _, e := range c.pool.arrived() {
		if e.tx.Hash() == hash {
			return c.encodeTransaction(e.tx, e.from), nil
		}
	}
	return nil, nil
}

func (c *call) receipt() (any, error) {
	var hash common.Hash
	if err := c.param(0, &hash); err != nil {
		return nil, err
	}
	at, ok := c.mined[hash]
	if !ok || !c.sees(at.block) {
		return nil, nil
	}
	return encodeReceipt(at), nil
}

func (c *call) blockReceipts() (any, error) {
	b, _, err := c.blockParam(0)
	if err != nil || b == nil {
		return nil, err
	}
	receipts := make([]any, len(b.txs))
	for i := range b.txs {
		receipts[i] = encodeReceipt(place{b, i})
	}
	return receipts, nil
}

func (c *call) transactionCount() (any, error) {
	var account common.Address
	b, tag, err := c.stateParam(1)
	if err := errors.Join(c.param(0, &account), err); err != nil {
		return nil, err
	}
	next := b.state.nonces[account]
	if tag == "pending" {
		pending, _ := c.pool.split(account, next)
		next += uint64(len(pending))
	}
	return hexutil.Uint64(next), nil
}

func (c *call) balanceOf() (any, error) {
	var account common.Address
	b, _, err := c.stateParam(1)
	if err := errors.Join(c.param(0, &account), err); err != nil {
		return nil, err
	}
	return (*hexutil.Big)(b.state.balance(account)), nil
}

func (c *call) codeOf() (any, error) {
	var account common.Address
	if err := c.param(0, &account); err != nil {
		return nil, err
	}
	return hexutil.Bytes{0xfe}[:min(1, int(c.code[account]))], nil
}

func (c *call) poolContent() (any, error) {
	pending, queued := make(map[string]any), make(map[string]any)
	for account := range c.pool.entries {
		p, q := c.poolOf(account)
		if len(p) > 0 {
			pending[account.Hex()] = p
		}
		if len(q) > 0 {
			queued[account.Hex()] = q
		}
	}
	return map[string]any{"pending": pending, "queued": queued}, nil
}

func (c *call) poolContentFrom() (any, error) {
	var account common.Address
	if err := c.param(0, &account); err != nil {
		return nil, err
	}
	p, q := c.poolOf(account)
	return map[string]any{"pending": p, "queued": q}, nil
}

func (c *call) poolOf(account common.Address) (pending, queued map[string]any) {
	write := func(entries []entry) map[string]any {
		out := make(map[string]any)
		for _, e := range entries {
			out[fmt.Sprint(e.tx.Nonce())] = c.encodeTransaction(e.tx, e.from)
		}
		return out
	}
	p, q := c.pool.split(account, c.top().state.nonces[account])
	return write(p), write(q)
}

func (c *call) sendRaw() (any, error) {
	var raw hexutil.Bytes
	if err := c.param(0, &raw); err != nil {
		return nil, err
	}
	tx := new(types.Transaction)
	if err := tx.UnmarshalBinary(raw); err != nil {
		return nil, err
	}
	if err := c.accept(tx, c.top()); err != nil {
		return nil, err
	}
	return tx.Hash(), nil
}

// args is an unsigned transaction or a call.
type args struct {
	From     common.Address  `json:"from"`
	To       *common.Address `json:"to"`
	Gas      *hexutil.Uint64 `json:"gas"`
	GasPrice *hexutil.Big    `json:"gasPrice"`
	FeeCap   *hexutil.Big    `json:"maxFeePerGas"`
	TipCap   *hexutil.Big    `json:"maxPriorityFeePerGas"`
	Value    *hexutil.Big    `json:"value"`
	Nonce    *hexutil.Uint64 `json:"nonce"`
	Data     hexutil.Bytes   `json:"data"`
	Input    hexutil.Bytes   `json:"input"`
	ChainID  *hexutil.Big    `json:"chainId"`
}

func (a args) data() []byte {
	if len(a.Input) > 0 {
		return a.Input
	}
	return a.Data
}

func (a args) value() *big.Int {
	if a.Value == nil {
		return new(big.Int)
	}
	return a.Value.ToInt()
}

// signed returns the transaction of the arguments, signed by the node's account. What
// is left out is chosen when complete is set, and otherwise an error, as in geth.
func (c *call) signed(complete bool) (*types.Transaction, error) {
	var a args
	if err := c.param(0, &a); err != nil {
		return nil, err
	}
	key, known := c.keys[a.From]
	switch {
	case !known:
		return nil, errors.New("unknown account")
	case !complete && a.Gas == nil:
		return nil, errors.New("gas not specified")
	case !complete && a.GasPrice == nil && a.FeeCap == nil:
		return nil, errors.New("missing gasPrice or maxFeePerGas/maxPriorityFeePerGas")
	case !complete && a.Nonce == nil:
		return nil, errors.New("nonce not specified")
	case a.ChainID != nil && a.ChainID.ToInt().Cmp(c.chainID) != 0:
		return nil, fmt.Errorf("chainId does not match node's (have=%d, want=%d)", a.ChainID.ToInt(), c.chainID)
	case key == nil:
		return nil, errors.New("authentication needed: password or unlock")
	}
	gas, nonce, price := uint64(90_000), c.top().state.nonces[a.From], c.gasPrice
	if a.Gas != nil {
		gas = uint64(*a.Gas)
	}
	if a.Nonce != nil {
		nonce = uint64(*a.Nonce)
	} else {
		pending, _ := c.pool.split(a.From, nonce)
		nonce += uint64(len(pending))
	}
	if a.GasPrice != nil {
		price = a.GasPrice.ToInt()
	}
	if a.FeeCap == nil {
		return types.SignNewTx(key, c.signer, &types.LegacyTx{Nonce: nonce, GasPrice: price, Gas: gas, To: a.To, Value: a.value(), Data: a.data()})
	}
	tip := a.FeeCap.ToInt()
	if a.TipCap != nil {
		tip = a.TipCap.ToInt()
	}
	return types.SignNewTx(key, c.signer, &types.DynamicFeeTx{
		ChainID: c.chainID, Nonce: nonce, GasFeeCap: a.FeeCap.ToInt(), GasTipCap: tip, Gas: gas, To: a.To, Value: a.value(), Data: a.data(),
	})
}

func (c *call) sign() (any, error) {
	tx, err := c.signed(false)
	if err != nil {
		return nil, err
	}
	raw, err := tx.MarshalBinary()
	if err != nil {
		return nil, err
	}
	return map[string]any{"raw": hexutil.Bytes(raw), "tx": tx}, nil
}

func (c *call) send() (any, error) {
	tx, err := c.signed(true)
	if err != nil {
		return nil, err
	}
	if err := c.accept(tx, c.top()); err != nil {
		return nil, err
	}
	return tx.Hash(), nil
}

func (c *call) estimateGas() (any, error) {
	var a args
	if err := c.param(0, &a); err != nil {
		return nil, err
	}
	if c.top().state.balance(a.From).Cmp(a.value()) < 0 {
		return nil, errors.New("insufficient funds for transfer")
	}
	used, status := c.run(a.To, c.gasLimit, bareGas(a.To, a.data()))
	switch {
	case status != types.ReceiptStatusSuccessful:
		return nil, codedError{3, "execution reverted"}
	case a.Gas != nil && uint64(*a.Gas) < used:
		return nil, fmt.Errorf("gas required exceeds allowance (%d)", uint64(*a.Gas))
	}
	return hexutil.Uint64(used), nil
}

// ethCall runs nothing but HandleCall's function, which may use the chain.
func (c *call) ethCall() (any, error) {
	var a args
	_, _, err := c.stateParam(1)
	if err := errors.Join(c.param(0, &a), err); err != nil {
		return nil, err
	}
	if a.To != nil {
		if c.code[*a.To] == Reject {
			return nil, codedError{3, "execution reverted"}
		}
		return hexutil.Bytes{}, nil
	}
	handler := c.call
	if handler == nil {
		return hexutil.Bytes{}, nil
	}
	c.mu.Unlock()
	defer c.mu.Lock()
	out, err := handler(a.data())
	return hexutil.Bytes(out), err
}
