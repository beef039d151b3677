package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// answer is a body as it goes out, encoded once and served many times.
type answer struct {
	status int
	kind   []string // Content-Type
	cache  []string // Cache-Control
	etag   []string
	plain  []byte // nil where only gz is kept
	gz     []byte // nil where it saves nothing
	length []string
	gzLen  []string

	plainLen int // bytes
}

var (
	kindJSON   = []string{"application/json; charset=utf-8"}
	noStore    = []string{"no-store"}
	anyOrigin  = []string{"*"}
	encodings  = []string{"Accept-Encoding"}
	encodedGz  = []string{"gzip"}
	notSniffed = []string{"nosniff"}
)

// gzipLeast is the size from which compression is worth it.
const gzipLeast = 512

// maxAge is the Cache-Control of what is good for so many seconds.
func maxAge(seconds int) []string { return []string{"public, max-age=" + strconv.Itoa(seconds)} }

func newAnswer(kind, cache []string, body []byte) *answer {
	sum := sha256.Sum256(body) // processors have it built in
	a := &answer{status: http.StatusOK, kind: kind, cache: cache, plain: body,
		// Weak: the compressed form has the same.
		etag: []string{fmt.Sprintf(`W/"%x"`, sum[:8])}, length: []string{strconv.Itoa(len(body))}, plainLen: len(body)}
	if len(body) >= gzipLeast {
		if gz := compress(body); len(gz) < len(body) {
			a.gz, a.gzLen = gz, []string{strconv.Itoa(len(gz))}
		}
	}
	return a
}

// encode makes an answer of a view.
func encode(cache []string, view any) (*answer, error) {
	body, err := json.Marshal(view)
	if err != nil {
		return nil, fmt.Errorf("encode an answer: %w", err)
	}
	return newAnswer(kindJSON, cache, body), nil
}

// compact gives up the plain form where there is a compressed one.
func (a *answer) compact() *answer {
	if a.gz != nil {
		a.plain = nil
	}
	return a
}

// size is roughly what the answer takes in memory, in bytes.
func (a *answer) size() int { return len(a.plain) + len(a.gz) + 300 }

// body is the plain form.
func (a *answer) body() ([]byte, error) {
	if a.plain != nil || a.gz == nil {
		return a.plain, nil
	}
	return inflate(a.gz, a.plainLen)
}

// serve writes the answer, or that the client has it already.
func (a *answer) serve(w http.ResponseWriter, r *http.Request) int {
	h := w.Header()
	h["Content-Type"], h["Cache-Control"], h["Vary"], h["X-Content-Type-Options"] = a.kind, a.cache, encodings, notSniffed
	if a.etag != nil {
		h["Etag"] = a.etag
		if known := r.Header["If-None-Match"]; known != nil && matches(known[0], a.etag[0]) {
			delete(h, "Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return http.StatusNotModified
		}
	}
	body := a.plain
	if a.gz != nil && takesGzip(r) {
		h["Content-Encoding"], h["Content-Length"] = encodedGz, a.gzLen
		body = a.gz
	} else {
		if body == nil && a.gz != nil {
			var err error
			if body, err = inflate(a.gz, a.plainLen); err != nil {
				return fail(w, http.StatusInternalServerError, "an answer was lost")
			}
		}
		h["Content-Length"] = a.length
	}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		expect(r, len(body))
		_, _ = w.Write(body) // the client has gone
	}
	return a.status
}

// fail writes an error as JSON.
func fail(w http.ResponseWriter, status int, format string, args ...any) int {
	body, _ := json.Marshal(errorView{Error: fmt.Sprintf(format, args...)}) // a string is always encoded
	h := w.Header()
	h["Content-Type"], h["Cache-Control"], h["X-Content-Type-Options"] = kindJSON, noStore, notSniffed
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client has gone
	return status
}

// matches says whether an If-None-Match has the tag, compared weakly.
func matches(header, tag string) bool {
	if header == tag {
		return true
	}
	for part := range strings.SplitSeq(header, ",") {
		part = strings.TrimSpace(part)
		if part == "*" || strings.TrimPrefix(part, "W/") == strings.TrimPrefix(tag, "W/") {
			return true
		}
	}
	return false
}

// takesGzip says whether the client asked for compressed answers.
func takesGzip(r *http.Request) bool {
	accepted := r.Header["Accept-Encoding"]
	if accepted == nil {
		return false
	}
	for part := range strings.SplitSeq(accepted[0], ",") {
		name, q, _ := strings.Cut(strings.TrimSpace(part), ";")
		if strings.TrimSpace(name) == "gzip" {
			weight, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(q), "q="), 64)
			return err != nil || weight > 0
		}
	}
	return false
}

var (
	deflaters = sync.Pool{New: func() any {
		d := new(deflater)
		d.w, _ = gzip.NewWriterLevel(&d.out, gzip.BestSpeed) // a valid level
		return d
	}}
	inflaters = sync.Pool{New: func() any { return new(gzip.Reader) }}
)

// deflater is a compressor with the memory that it writes to.
type deflater struct {
	w   *gzip.Writer
	out bytes.Buffer
}

func compress(body []byte) []byte {
	d, _ := deflaters.Get().(*deflater)
	defer deflaters.Put(d)
	d.out.Reset()
	d.w.Reset(&d.out)
	_, err := d.w.Write(body)
	if err == nil {
		err = d.w.Close()
	}
	if err != nil { // a Buffer takes everything
		return body
	}
	return bytes.Clone(d.out.Bytes())
}

// inflate unpacks so many bytes.
func inflate(gz []byte, size int) ([]byte, error) {
	r, _ := inflaters.Get().(*gzip.Reader)
	defer inflaters.Put(r)
	if err := r.Reset(bytes.NewReader(gz)); err != nil {
		return nil, err
	}
	body := make([]byte, size)
	_, err := io.ReadFull(r, body)
	return body, err
}
