package util

import (
	"encoding/json"
	"fmt"
	"time"
)

// Duration is a length of time as a configuration writes it: text that
// time.ParseDuration reads ("120m", "2h30m"), greater than zero. The zero value
// stands for a key that was left out.
type Duration time.Duration

// Std returns the duration in the standard library's type.
func (d Duration) Std() time.Duration { return time.Duration(d) }

// String prints the duration as time.Duration does: "2h0m0s".
func (d Duration) String() string { return time.Duration(d).String() }

// MarshalJSON writes the text that UnmarshalJSON reads.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(d.String()) }

// UnmarshalJSON reads the text form. A bare number is refused, since it would
// not say whether it counts seconds or minutes.
func (d *Duration) UnmarshalJSON(b []byte) error {
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		if kindOf(b) == "a number" {
			return fmt.Errorf(`%s has no unit; want text such as "%ss" or "%sm"`, b, b, b)
		}
		return fmt.Errorf(`want a duration such as "120m" or "2h", not %s`, kindOf(b))
	}
	v, err := time.ParseDuration(text)
	if err != nil {
		return fmt.Errorf(`%q is not a duration; want e.g. "120m" or "2h"`, text)
	}
	if v <= 0 {
		return fmt.Errorf(`%q is not a duration greater than zero; want e.g. "120m" or "2h"`, text)
	}
	*d = Duration(v)
	return nil
}
