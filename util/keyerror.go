package util

import (
	"errors"
	"fmt"
	"regexp"
	"unicode/utf8"
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
		f.errs = append(f.errs, &KeyError{Key: key, Problem: hideKeys(fmt.Sprintf(format, args...))})
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

// keyLength is that of a private key in hex. Text of that length in a place where
// it is wrong may be one that was put into the wrong line.
const keyLength = 64

var keyLike = regexp.MustCompile(fmt.Sprintf(`\w{%d,}`, keyLength))

// hideKeys cuts everything that may be a private key out of an error.
func hideKeys(text string) string { return keyLike.ReplaceAllStringFunc(text, brief) }

// brief shows text that may be a private key by its beginning and its length.
func brief(text string) string {
	if n := utf8.RuneCountInString(text); n >= keyLength {
		return fmt.Sprintf("%.6s… (%d characters)", text, n)
	}
	return text
}
