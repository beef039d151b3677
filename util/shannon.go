package util

import (
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"strings"
)

// Shannon is an amount of the chain's coin in units of 10^9 Wei (one Gwei). All
// balances of the pool are kept in it.
type Shannon int64

const (
	// MaxShannon is the largest amount the pool handles. Redis' Lua computes in
	// doubles, which are exact only below 2^53; nine million coins are enough.
	MaxShannon Shannon = 1<<53 - 1

	// ShannonPerCoin is the number of Shannon in one coin (10^18 Wei).
	ShannonPerCoin = 1_000_000_000
)

var weiPerShannon = big.NewInt(1_000_000_000)

// ErrAmount reports text or a number that is no amount the pool can hold.
var ErrAmount = errors.New("not an amount in Shannon")

// ParseShannon reads a decimal integer as Redis keeps it. Negative amounts are
// accepted, because a balance may be negative after Redis lost a credit.
func ParseShannon(s string) (Shannon, error) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q: %w", s, ErrAmount)
	}
	if a := Shannon(n); a > MaxShannon || a < -MaxShannon {
		return 0, fmt.Errorf("%q: beyond 2^53-1: %w", s, ErrAmount)
	}
	return Shannon(n), nil
}

// Wei returns the amount in Wei, exactly.
func (s Shannon) Wei() *big.Int {
	return new(big.Int).Mul(big.NewInt(int64(s)), weiPerShannon)
}

// ShannonFromWei divides by 10^9, rounding toward zero, and returns the
// remainder in Wei, so that the caller says where the dust goes.
func ShannonFromWei(wei *big.Int) (Shannon, *big.Int, error) {
	q, r := new(big.Int).QuoRem(wei, weiPerShannon, new(big.Int))
	if !q.IsInt64() || Shannon(q.Int64()) > MaxShannon || Shannon(q.Int64()) < -MaxShannon {
		return 0, nil, fmt.Errorf("%s Wei: beyond 2^53-1 Shannon: %w", wei, ErrAmount)
	}
	return Shannon(q.Int64()), r, nil
}

// String is the plain decimal number, as Redis keeps it.
func (s Shannon) String() string { return strconv.FormatInt(int64(s), 10) }

// Coins prints the amount in coins, exactly, without trailing zeros: "0.5",
// "3.4", "12".
func (s Shannon) Coins() string {
	sign, n := "", uint64(s)
	if s < 0 {
		sign, n = "-", uint64(-s)
	}
	whole, frac := n/ShannonPerCoin, n%ShannonPerCoin
	if frac == 0 {
		return fmt.Sprintf("%s%d", sign, whole)
	}
	return fmt.Sprintf("%s%d.%s", sign, whole, strings.TrimRight(fmt.Sprintf("%09d", frac), "0"))
}
