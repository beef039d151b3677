// Package memsizeui stands in for the memory profiler of the same name that
// geth 1.10 links. The original reaches into the runtime with go:linkname,
// which Go 1.23 and later refuse to link; the devnet never serves its page.
package memsizeui

import "net/http"

// Handler answers every page of the profiler with "not found".
type Handler struct{}

// Add would name a value to be measured; nothing is.
func (*Handler) Add(string, any) {}

// ServeHTTP implements http.Handler.
func (*Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) { http.NotFound(w, r) }
