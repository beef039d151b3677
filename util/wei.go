package util

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
)

// Wei is an amount in Wei, zero or more and below 2^256, as a configuration
// writes it: decimal digits, quoted or not. It is never changed once made, so
// copies may share it. The zero value is nought.
type Wei struct{ n *big.Int }

// ErrWei reports text or a number that is no amount in Wei.
var ErrWei = errors.New(`want a whole number of Wei in decimal digits, such as "50000000000"`)

// NewWei returns an amount that fits an int64, for constants; a negative one is
// taken as nought.
func NewWei(n int64) Wei {
	if n <= 0 {
		return Wei{}
	}
	return Wei{big.NewInt(n)}
}

// ParseWei reads decimal digits. Anything else gives ErrWei.
func ParseWei(s string) (Wei, error) {
	if !allDigits(s) {
		return Wei{}, fmt.Errorf("%q: %w", s, ErrWei)
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok || n.BitLen() > 256 {
		return Wei{}, fmt.Errorf("%q is beyond 2^256: %w", s, ErrWei)
	}
	if n.Sign() == 0 {
		return Wei{}, nil
	}
	return Wei{n}, nil
}

// Big returns a copy of the amount that the caller may change.
func (w Wei) Big() *big.Int {
	if w.n == nil {
		return new(big.Int)
	}
	return new(big.Int).Set(w.n)
}

// Cmp is -1, 0 or 1 as w is less than, equal to or more than v.
func (w Wei) Cmp(v Wei) int { return w.Big().Cmp(v.Big()) }

// Equal says whether both are the same amount.
func (w Wei) Equal(v Wei) bool { return w.Cmp(v) == 0 }

// IsZero says whether the amount is nought.
func (w Wei) IsZero() bool { return w.n == nil || w.n.Sign() == 0 }

// String is the plain decimal number.
func (w Wei) String() string { return w.Big().String() }

// MarshalJSON writes a quoted decimal number, which no reader can round.
func (w Wei) MarshalJSON() ([]byte, error) { return json.Marshal(w.String()) }

// UnmarshalJSON reads a decimal number, quoted or not.
func (w *Wei) UnmarshalJSON(b []byte) error {
	text := string(b)
	switch kind := kindOf(b); kind {
	case "a number":
	case "a string":
		if err := json.Unmarshal(b, &text); err != nil {
			return fmt.Errorf("not a JSON string: %w", ErrWei)
		}
	default:
		return fmt.Errorf("%w, not %s", ErrWei, kind)
	}
	v, err := ParseWei(text)
	if err != nil {
		return err
	}
	*w = v
	return nil
}

func allDigits(s string) bool {
	for _, r := range s {
		if r < '0' || r > '9' {
			return false
		}
	}
	return s != ""
}
