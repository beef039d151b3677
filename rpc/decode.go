package rpc

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"slices"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/go-json-experiment/json/jsontext"
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
	list []member
	err  error // the first member of wrong shape
}

type member struct {
	name  string
	value json.RawMessage
}

// object opens a JSON object; null is ErrNotFound and anything else is a wrong shape.
func object(raw json.RawMessage) (*members, error) {
	m := &members{}
	return m, m.open(raw)
}

// open is object, in the place of the one before.
func (m *members) open(raw json.RawMessage) error {
	m.list, m.err = m.list[:0], nil
	if isNull(raw) {
		return ErrNotFound
	}
	if len(raw) == 0 || raw[0] != '{' {
		return errors.New("no object")
	}
	return split(raw, '{', func(name string, value json.RawMessage) {
		m.list = append(m.list, member{name, value})
	})
}

// find returns a member, nil where it is missing; the last one counts.
func (m *members) find(name string) json.RawMessage {
	for _, member := range slices.Backward(m.list) {
		if member.name == name {
			return member.value
		}
	}
	return nil
}

// elements opens a JSON array.
func elements(raw json.RawMessage) ([]json.RawMessage, error) {
	if len(raw) == 0 || raw[0] != '[' {
		return nil, errors.New("no array")
	}
	list := []json.RawMessage{}
	if err := split(raw, '[', func(_ string, value json.RawMessage) { list = append(list, value) }); err != nil {
		return nil, err
	}
	return list, nil
}

// split hands out the members of a JSON object, or the elements of an array without
// names. What they are made of is not looked at further than that it is JSON: a block is
// a megabyte, of which few members are asked for.
func split(raw json.RawMessage, kind jsontext.Kind, each func(name string, value json.RawMessage)) error {
	d := jsontext.NewDecoder(bytes.NewBuffer(raw), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, err := d.ReadToken(); err != nil {
		return err
	}
	for {
		var name string
		if next := d.PeekKind(); next == '}' || next == ']' {
			_, _ = d.ReadToken() // which it is
			if _, err := d.ReadToken(); !errors.Is(err, io.EOF) {
				return cmp.Or(err, errors.New("something follows it"))
			}
			return nil
		}
		if kind == '{' {
			token, err := d.ReadToken()
			if err != nil {
				return err
			}
			name = token.String()
		}
		value, err := d.ReadValue()
		if err != nil {
			return err
		}
		end := d.InputOffset() // of what raw keeps; value is the decoder's
		each(name, raw[end-int64(len(value)):end])
	}
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
	raw := m.find(name)
	if raw == nil || isNull(raw) {
		return nil
	}
	v := new(T)
	var err error
	if own, ok := any(v).(json.Unmarshaler); ok {
		err = own.UnmarshalJSON(raw)
	} else {
		err = json.Unmarshal(raw, v)
	}
	if err != nil {
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

// array reads a member that has to be an array.
func (m *members) array(name string) []json.RawMessage {
	raw := m.find(name)
	if raw == nil || isNull(raw) {
		m.fail(name, errMissing)
		return nil
	}
	list, err := elements(raw)
	if err != nil {
		m.fail(name, err)
	}
	return list
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
