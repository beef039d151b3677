// Package figure is what the sweeps of build/e2e came to, as they write it down and
// as build/prove reads it: a file with a line of JSON for each.
package figure

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
)

// Sweep is one thing that went wrong at one message after the other of one side.
type Sweep struct {
	Test      string `json:"test"`      // its full name
	Component string `json:"component"` // of the pool
	Side      string `json:"side"`      // whose conversation with it was at fault
	Fault     string `json:"fault"`
	Phase     string `json:"phase"` // before delivery or after effect; empty where that is one

	Points  int            `json:"points"` // lives in which it went wrong
	Double  int            `json:"double"` // miners with more than they were owed
	Lost    int            `json:"lost"`   // miners with less, though nothing was left to do
	Person  map[string]int `json:"person"` // points at which a person was needed, by the reason
	Wrong   []string       `json:"wrong"`  // everything that should not be, with the command that shows it again
	Seconds float64        `json:"seconds"`
}

// Append writes one sweep to the file.
func Append(path string, s Sweep) error {
	line, err := json.Marshal(s)
	if err != nil {
		return fmt.Errorf("encode the figures of %s: %w", s.Test, err)
	}
	file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(append(line, '\n')) // at once, so that lines do not mix
	if closed := file.Close(); err == nil {
		err = closed
	}
	return err
}

// Read returns the sweeps of a file, in their order.
func Read(r io.Reader) (all []Sweep, err error) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var s Sweep
		if err := json.Unmarshal(lines.Bytes(), &s); err != nil {
			return nil, fmt.Errorf("figures, line %d: %w", len(all)+1, err)
		}
		all = append(all, s)
	}
	return all, lines.Err()
}
