package www

import (
	"io/fs"
	"regexp"
	"testing"
)

// TestPagesAskNobodyElse asserts what the Content-Security-Policy of the API
// would otherwise find out in the browser: the page loads only its own files,
// all of them embedded, and has no code or style of its own.
func TestPagesAskNobodyElse(t *testing.T) {
	files, ok := Files()
	if !ok {
		t.Log("built without the pages")
		return
	}
	html, err := fs.ReadFile(files, "index.html")
	if err != nil {
		t.Fatal(err)
	}
	loaded := regexp.MustCompile(`(?:src|href)="([^"]*)"`).FindAllSubmatch(html, -1)
	if len(loaded) < 4 {
		t.Errorf("index.html loads %d files, want a style, two scripts and an icon", len(loaded))
	}
	for _, m := range loaded {
		if _, err := fs.Stat(files, string(m[1])); err != nil {
			t.Errorf("index.html loads %s: %v", m[1], err)
		}
	}
	if regexp.MustCompile(`<style|style=|\son[a-z]+=|<script>`).Match(html) {
		t.Error("index.html has code or style inside it, which the policy forbids")
	}
}
