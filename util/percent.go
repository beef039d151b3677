package util

import (
	"fmt"
	"math/big"
	"strings"
)

// Percent is a share of a whole, 0 to 100 %, in units of 1/10,000 of a percent:
// 1 % is 10,000. It is an exact number, since shares of money are taken with it.
type Percent int64

const (
	// OnePercent is 1 %.
	OnePercent Percent = 10_000

	percentDigits = 4 // after the point
)

// ParsePercent reads a decimal number such as "1", "1.0" or "0.75" with at most
// four digits after the point.
func ParsePercent(s string) (Percent, error) {
	whole, frac, pointed := strings.Cut(s, ".")
	if !allDigits(whole) || len(whole) > 3 || (pointed && !allDigits(frac)) {
		return 0, fmt.Errorf("%s is no percentage; want 0 to 100, such as 1.0", s)
	}
	frac = strings.TrimRight(frac, "0")
	if len(frac) > percentDigits {
		return 0, fmt.Errorf("%s has more than %d digits after the point", s, percentDigits)
	}
	var p Percent
	for _, r := range whole + frac + strings.Repeat("0", percentDigits-len(frac)) {
		p = p*10 + Percent(r-'0')
	}
	if p > 100*OnePercent {
		return 0, fmt.Errorf("%s is more than 100 percent", s)
	}
	return p, nil
}

// Rat returns the share as a fraction of one, exactly: 1 % is 1/100.
func (p Percent) Rat() *big.Rat { return big.NewRat(int64(p), int64(100*OnePercent)) }

// String is the shortest decimal number: "1", "0.75".
func (p Percent) String() string {
	s := fmt.Sprintf("%d.%04d", p/OnePercent, p%OnePercent)
	return strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
}

// MarshalJSON writes a JSON number.
func (p Percent) MarshalJSON() ([]byte, error) { return []byte(p.String()), nil }

// UnmarshalJSON reads a JSON number.
func (p *Percent) UnmarshalJSON(b []byte) error {
	if kind := kindOf(b); kind != "a number" {
		return fmt.Errorf("want a number of percent such as 1.0, not %s", kind)
	}
	v, err := ParsePercent(string(b))
	if err != nil {
		return err
	}
	*p = v
	return nil
}
