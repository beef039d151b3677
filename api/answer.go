package api

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// answer is a body as it goes out, encoded once and served many times.
type answer struct {
	status int
	kind   []string  // Content-Type
	cache  []string  // Cache-Control
	plain  []byte    // nil where only gz is kept
	gz     [2][]byte // in two pieces, see pieces; nil where it saves nothing
	file   *os.File  // with gz, where that is long and goes out often; else nil

	tagged   bool // has an ETag
	sum      [8]byte
	plainLen int // bytes
}

var (
	kindJSON  = []string{"application/json; charset=utf-8"}
	noStore   = []string{"no-store"}
	anyOrigin = []string{"*"}
	// ageOfAnswer lets pages of another origin see how old an answer is, by the
	// server's clock.
	ageOfAnswer = []string{"Date, Age"}
	encodings   = []string{"Accept-Encoding"}
	encodedGz   = []string{"gzip"}
	notSniffed  = []string{"nosniff"}
)

// gzipLeast is the size from which compression is worth it.
const gzipLeast = 512

// fileLeast is the size from which a file is worth it.
const fileLeast = 64 << 10

// maxAge is the Cache-Control of what is good for so many seconds.
func maxAge(seconds int) []string { return []string{"public, max-age=" + strconv.Itoa(seconds)} }

func newAnswer(kind, cache []string, body []byte) *answer {
	c := takeCompressor()
	defer c.leave()
	a, gz := c.answer(kind, cache, body)
	a.plain, a.gz[0] = body, bytes.Clone(gz)
	if len(gz) >= fileLeast {
		a.file = inFile(gz)
	}
	return a
}

// encode makes an answer of a view. The plain form is given up where there is a
// compressed one: such answers are many, and almost everybody takes gzip.
func encode(cache []string, view any) (*answer, error) {
	c := takeCompressor()
	defer c.leave()
	c.in.Reset()
	if err := c.json.Encode(view); err != nil {
		return nil, fmt.Errorf("encode an answer: %w", err)
	}
	body := c.in.Bytes()[:c.in.Len()-1] // without the newline
	a, gz := c.answer(kindJSON, cache, body)
	if gz == nil {
		a.plain = bytes.Clone(body)
	} else {
		a.gz = pieces(gz)
	}
	return a, nil
}

// pieces copies what is kept for long. Memory is given out in sizes that are up to
// a fifth more than was asked for; the multiples of two kilobytes are among them.
func pieces(b []byte) [2][]byte {
	n := len(b) &^ 2047
	return [2][]byte{bytes.Clone(b[:n]), bytes.Clone(b[n:])}
}

// answerSize is what an answer takes in memory beside its bodies, and its place in
// the cache.
const answerSize = 350

// size is roughly what the answer takes in memory, in bytes.
func (a *answer) size() int { return len(a.plain) + len(a.gz[0]) + len(a.gz[1]) + answerSize }

// etag is weak: the compressed form has the same.
func (a *answer) etag() string {
	tag := append(make([]byte, 0, 2*len(a.sum)+len(`W/""`)), `W/"`...)
	return string(append(hex.AppendEncode(tag, a.sum[:]), '"'))
}

// body is the plain form.
func (a *answer) body() ([]byte, error) {
	if a.plain != nil {
		return a.plain, nil
	}
	return inflate(bytes.Join(a.gz[:], nil), a.plainLen)
}

// serve writes the answer, or that the client has it already.
func (a *answer) serve(w http.ResponseWriter, r *http.Request) int {
	h := w.Header()
	// With those of the API there are eight headers, as many as a small map holds; one
	// more costs a tenth of what an answer from memory does. So JSON, which no browser
	// sniffs, has no X-Content-Type-Options; errors, which repeat what was asked, and
	// pages have it.
	h["Content-Type"], h["Cache-Control"], h["Vary"] = a.kind, a.cache, encodings
	if a.tagged {
		tag := a.etag()
		h["Etag"] = []string{tag}
		if known := r.Header["If-None-Match"]; known != nil && matches(known[0], tag) {
			delete(h, "Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return http.StatusNotModified
		}
	} else {
		h["X-Content-Type-Options"] = notSniffed
	}
	body, file := a.gz, a.file
	if len(body[0])+len(body[1]) > 0 && takesGzip(r) {
		h["Content-Encoding"] = encodedGz
	} else {
		plain, err := a.body()
		if err != nil {
			return fail(w, http.StatusInternalServerError, "an answer was lost")
		}
		body, file = [2][]byte{plain}, nil
	}
	length := len(body[0]) + len(body[1])
	h["Content-Length"] = []string{strconv.Itoa(length)}
	w.WriteHeader(a.status)
	if r.Method != http.MethodHead {
		expect(r, length, file)
		for _, piece := range body {
			if len(piece) > 0 {
				_, _ = w.Write(piece) // the client has gone
			}
		}
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
			if q == "" {
				return true
			}
			weight, err := strconv.ParseFloat(strings.TrimPrefix(strings.TrimSpace(q), "q="), 64)
			return err != nil || weight > 0
		}
	}
	return false
}

// compressors are as many as have work at once: each has a megabyte, and a
// sync.Pool keeps twice as many. nil stands for one that nobody needed yet.
var compressors = func() chan *compressor {
	list := make(chan *compressor, min(runtime.GOMAXPROCS(0), cacheMaking))
	for range cap(list) {
		list <- nil
	}
	return list
}()

func takeCompressor() *compressor {
	if c := <-compressors; c != nil {
		return c
	}
	return newCompressor()
}

var inflaters = sync.Pool{New: func() any { return new(gzip.Reader) }}

// bufferMost is how much memory for bodies a compressor keeps, in bytes; the
// largest answers are few.
const bufferMost = 128 << 10

func (c *compressor) leave() {
	if c.in.Cap()+c.out.Cap() > bufferMost {
		c.in, c.out = bytes.Buffer{}, bytes.Buffer{}
	}
	compressors <- c
}

// compressor makes answers in memory of its own.
type compressor struct {
	in   bytes.Buffer
	json *json.Encoder // writes to in
	out  bytes.Buffer
	gzip *gzip.Writer // writes to out
}

func newCompressor() *compressor {
	c := new(compressor)
	c.json = json.NewEncoder(&c.in)
	c.gzip, _ = gzip.NewWriterLevel(&c.out, gzip.BestSpeed) // a valid level
	return c
}

// answer makes one without its body, which it compresses: gz is nil where that
// saves nothing, and good until the compressor is used again.
func (c *compressor) answer(kind, cache []string, body []byte) (_ *answer, gz []byte) {
	if len(body) >= gzipLeast {
		gz = c.compress(body)
	}
	sum := sha256.Sum256(body) // processors have it built in
	return &answer{status: http.StatusOK, kind: kind, cache: cache, tagged: true, sum: [8]byte(sum[:8]), plainLen: len(body)}, gz
}

func (c *compressor) compress(body []byte) []byte {
	c.out.Reset()
	c.gzip.Reset(&c.out)
	_, err := c.gzip.Write(body)
	if err == nil {
		err = c.gzip.Close()
	}
	if err != nil || c.out.Len() >= len(body) { // a Buffer takes everything
		return nil
	}
	return c.out.Bytes()
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
