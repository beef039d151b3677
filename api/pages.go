package api

import (
	"fmt"
	"io/fs"
	"mime"
	"net/http"
	"net/url"
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

// pages serves files from memory. The pages read their place from what follows
// the #, so that any file server can serve them; who leaves it out, as in
// /account/0x…, is sent to it.
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
	h["Content-Security-Policy"], h["Referrer-Policy"], h["X-Content-Type-Options"] = pagesPolicy, noReferrer, notSniffed
	name := strings.TrimPrefix(path.Clean("/"+r.URL.Path), "/")
	if name == "" {
		name = indexPage
	}
	switch a := p[name]; {
	case a != nil:
		a.serve(w, r)
	case strings.Contains(name, "."):
		fail(w, http.StatusNotFound, "there is no %.100s", r.URL.Path)
	default:
		place := "/#/" + (&url.URL{Path: name}).EscapedPath()
		if r.URL.RawQuery != "" {
			place += "?" + r.URL.RawQuery
		}
		h.Set("Location", place)
		h["Cache-Control"] = noCache
		w.WriteHeader(http.StatusFound)
	}
}
