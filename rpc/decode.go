package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// typed is a request whose result is checked by parse and kept in out.
func typed[T any](out *T, parse func(json.RawMessage) (T, error), method string, params ...any) *Request {
	return &Request{Method: method, Params: params, accept: func(raw json.RawMessage) error {
		value, err := parse(raw)
		if err == nil {
			*out = value
		}
		return err
	}}
}

// fetch asks one typed question.
func fetch[T any](ctx context.Context, c *Client, parse func(json.RawMessage) (T, error), method string, params ...any) (T, error) {
	var out T
	req := typed(&out, parse, method, params...)
	c.do(ctx, []*Request{req}, false)
	return out, req.Err
}

var errMissing = errors.New("missing")

// field says which member of an object has the wrong shape.
func field(name string, err error) error { return fmt.Errorf("field %s: %w", name, err) }

// members is a JSON object that is read member by member, so that the first wrong one
// can be named.
type members struct {
	raw map[string]json.RawMessage
	err error // the first member of wrong shape
}

// object opens a JSON object; null is ErrNotFound and anything else is a wrong shape.
func object(raw json.RawMessage) (*members, error) {
	if isNull(raw) {
		return nil, ErrNotFound
	}
	m := &members{}
	return m, json.Unmarshal(raw, &m.raw)
}

// notNull makes null a wrong shape, where an object has to be there.
func notNull(err error) error {
	if errors.Is(err, ErrNotFound) {
		return errors.New("null where an object is due")
	}
	return err
}

// maybe reads a member that may be missing or null, and is then nil.
func maybe[T any](m *members, name string) *T {
	raw, ok := m.raw[name]
	if !ok || isNull(raw) {
		return nil
	}
	v := new(T)
	if err := json.Unmarshal(raw, v); err != nil {
		m.fail(name, err)
	}
	return v
}

// must reads a member that has to be there.
func must[T any](m *members, name string) T {
	if v := maybe[T](m, name); v != nil {
		return *v
	}
	m.fail(name, errMissing)
	var none T
	return none
}

func (m *members) fail(name string, err error) {
	if m.err == nil {
		m.err = field(name, err)
	}
}

func (m *members) uint64(name string) uint64 { return uint64(must[hexutil.Uint64](m, name)) }

func (m *members) big(name string) *big.Int { v := must[hexutil.Big](m, name); return v.ToInt() }

func (m *members) maybeBig(name string) *big.Int { return maybe[hexutil.Big](m, name).ToInt() }

// hash reads a hash and refuses zero: no block and no transaction has that.
func (m *members) hash(name string) common.Hash {
	h := must[common.Hash](m, name)
	if h == (common.Hash{}) {
		m.fail(name, errors.New("zero hash"))
	}
	return h
}

// first returns the first error.
func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// The functions below read a result that is a single value; null is a wrong shape.

func parseUint64(raw json.RawMessage) (uint64, error) {
	var v hexutil.Uint64
	err := json.Unmarshal(raw, &v)
	return uint64(v), err
}

func parseBig(raw json.RawMessage) (*big.Int, error) {
	var v hexutil.Big
	if err := json.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	return v.ToInt(), nil
}

func parseBytes(raw json.RawMessage) ([]byte, error) {
	var v hexutil.Bytes
	err := json.Unmarshal(raw, &v)
	return v, err
}

func parseBool(raw json.RawMessage) (bool, error) {
	var v *bool
	if err := json.Unmarshal(raw, &v); err != nil {
		return false, err
	}
	if v == nil {
		return false, errors.New("null where true or false is due")
	}
	return *v, nil
}

func parseHash(raw json.RawMessage) (common.Hash, error) {
	var h common.Hash
	if err := json.Unmarshal(raw, &h); err != nil {
		return common.Hash{}, err
	}
	if h == (common.Hash{}) {
		return common.Hash{}, errors.New("zero hash")
	}
	return h, nil
}

// parseNetVersion reads the one number that nodes write in decimal.
func parseNetVersion(raw json.RawMessage) (uint64, error) {
	var v string
	if err := json.Unmarshal(raw, &v); err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(v, 10, 64)
	if err != nil {
		return 0, errors.New("not a decimal number")
	}
	return n, nil
}
