package rpc

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

var (
	// ErrNotFound says that the node answered null where an object was asked for:
	// it has no such block, transaction or receipt. Another node, or the same one
	// later, may have it.
	ErrNotFound = errors.New("not found")

	// ErrUnknown says that there is no usable answer: the connection failed, the
	// deadline passed, or what came back was not the answer to the question. The
	// request may or may not have been executed.
	ErrUnknown = errors.New("outcome unknown")

	// ErrNotYet says that the node cannot answer before its transaction index is
	// built. It proves neither that the transaction exists nor that it does not.
	ErrNotYet = errors.New("not yet indexed")

	// ErrWrongChain says that a node is on another chain than the pinned one and
	// was not asked.
	ErrWrongChain = errors.New("wrong chain")
)

// Codes of JSON-RPC 2.0 section 5.1, and the one that Besu answers for a method of
// an API that is not enabled.
const (
	codeMethodNotFound   = -32601
	codeMethodNotEnabled = -32604
)

// shownMessage is how many characters of a node's message an error shows.
const shownMessage = 300

// Error is the node's own answer that a call failed: its verdict is known.
type Error struct {
	Code    int             // JSON-RPC 2.0 section 5.1, or the node's own
	Message string          // the node's words, untouched
	Data    json.RawMessage // what the node added, such as revert data; may be empty
	Method  string          // what was asked
	Node    string          // who answered, without credentials

	shown string // Message as it may be printed; empty where nobody redacted it
}

// Error names the method, the node and the verdict. Data is left out, and so is
// anything in the message that is long enough to be a transaction.
func (e *Error) Error() string {
	shown := e.shown
	if shown == "" {
		shown = printable(e.Message, shownMessage)
	}
	return fmt.Sprintf("%s at %s: %s (code %d)", e.Method, e.Node, shown, e.Code)
}

// Is makes errors.Is(err, ErrNotYet) true for geth's answer while it indexes.
func (e *Error) Is(target error) bool {
	return target == ErrNotYet && strings.Contains(strings.ToLower(e.Message), "indexing is in progress")
}

// IsIndexing reports whether err is a node's answer that its transaction index is
// still being built. It is the same as errors.Is(err, ErrNotYet).
func IsIndexing(err error) bool { return errors.Is(err, ErrNotYet) }

// IsMethodNotFound reports whether err is a node's answer that it does not offer
// the method at all, so that another method may be asked instead.
func IsMethodNotFound(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	if e.Code == codeMethodNotFound || e.Code == codeMethodNotEnabled {
		return true
	}
	message := strings.ToLower(e.Message)
	return strings.Contains(message, "does not exist/is not available") || strings.Contains(message, "method not found")
}

// several is what is left when every node was tried: all reasons, in order.
type several []error

func (s several) Error() string {
	parts := make([]string, len(s))
	for i, err := range s {
		parts[i] = err.Error()
	}
	return strings.Join(parts, "; ")
}

func (s several) Unwrap() []error { return s }

// join returns nil, the only error, or all of them.
func join(errs []error) error {
	switch len(errs) {
	case 0:
		return nil
	case 1:
		return errs[0]
	}
	return several(errs)
}

// longHex is a run of hex digits longer than a hash: it may be a signed transaction.
var longHex = regexp.MustCompile(`[0-9a-fA-F]{65,}`)

// printable makes foreign text fit for a log line: one line of plain characters, at
// most limit of them, without anything that may be a transaction.
func printable(s string, limit int) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return ' '
		}
		return r
	}, longHex.ReplaceAllString(s, "(hex)"))
	if len(s) > limit {
		s = s[:limit] + "…"
	}
	return strings.TrimSpace(s)
}
