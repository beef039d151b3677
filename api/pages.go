package api

import (
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"path"
	"regexp"
	"strings"
)

// Headers of the pages: nothing from elsewhere, nothing inline.
var (
	pagesPolicy = []string{"default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"}
	noReferrer  = []string{"no-referrer"}
	noCache     = []string{"no-cache"}
	immutable   = []string{"public, max-age=31536000, immutable"}
)

// hashed is the name of a file that never changes: NAME-HASH.EXTENSION, as
// bundlers write them.
var hashed = regexp.MustCompile(`[-.][0-9A-Za-z_]{8,}\.[a-z0-9]+$`)

// pages serves files from memory. A path without a dot is one of the pages' own
// and shows index.html.
type pages map[string]*answer

const indexPage = "index.html"

func newPages(files fs.FS) (http.Handler, error) {
	if files == nil {
		const text = "This binary was built without the pages. The API is at /api/stats, its description at /api/openapi.json.\n"
		return pages{indexPage: newAnswer([]string{"text/plain; charset=utf-8"}, noCache, []byte(text))}, nil
	}
	p := pages{}
	err := fs.WalkDir(files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		body, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		kind := mime.TypeByExtension(path.Ext(name))
		if kind == "" {
			kind = http.DetectContentType(body)
		}
		cache := noCache
		if hashed.MatchString(name) {
			cache = immutable
		}
		p[name] = newAnswer([]string{kind}, cache, body)
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("read the pages: %w", err)
	}
	if p[indexPage] == nil {
		return nil, fmt.Errorf("read the pages: there is no %s", indexPage)
	}
	return p, nil
}

func (p pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h["Content-Security-Policy"], h["Referrer-Policy"] = pagesPolicy, noReferrer
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	a := p[name]
	if a == nil && !strings.Contains(name, ".") {
		a = p[indexPage]
	}
	if a == nil {
		fail(w, http.StatusNotFound, "there is no %.100s", r.URL.Path)
		return
	}
	a.serve(w, r)
}
