package util

import (
	"errors"
	"fmt"
)

// KeyError is a wrong value of a configuration key: a sentence that begins with
// the key's path, "unlocker.depth is 3, want at least 32". Source.Locate puts
// the file and the line in front.
type KeyError struct {
	Key     string // from the top: "payouts.signer.type", "upstream[1].url"
	Problem string // what it is and what would be valid; never a password
}

func (e *KeyError) Error() string { return e.Key + " " + e.Problem }

// Faults collects what is wrong with a section, so that an operator sees all of
// it at once. The zero value is ready.
type Faults struct{ errs []error }

// Unless notes a KeyError for the key when ok is false.
func (f *Faults) Unless(ok bool, key, format string, args ...any) {
	if !ok {
		f.errs = append(f.errs, &KeyError{Key: key, Problem: fmt.Sprintf(format, args...)})
	}
}

// Check notes the error of a check as the key's problem, unless it is nil.
func (f *Faults) Check(key string, err error) {
	if err != nil {
		f.Unless(false, key, "%v", err)
	}
}

// Err is nil when nothing was noted, else all of it joined, a line each.
func (f *Faults) Err() error { return errors.Join(f.errs...) }
