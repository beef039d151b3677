// Package www holds the pages that the API serves to browsers. Their sources are
// in src/; "make www" bundles them into dist/, which is embedded here. The
// package knows nothing of HTTP.
//
//   - src/texts.ts    every word, to translate
//   - src/api.ts      the one place that talks to the pool, and what it does when
//     the pool does not answer
//   - src/format.ts   amounts, times and units; money never passes through a float
//   - src/pages/      one file for each page, of what is in src/parts/
//   - dev/server.mjs  made-up data to look at the pages with
//
// Any other web server may serve the pages, under any path: "www/build.sh URL"
// builds them for an API at that URL. The pages must never
// load anything from elsewhere, and never put data into the page as HTML.
package www

import (
	"embed"
	"io/fs"
)

//go:embed all:dist
var dist embed.FS

// Files returns the pages, index.html at the top, and whether there are any: a
// binary that was built without Node has none.
//
// Every name but index.html and favicon.svg contains a hash of what is in the
// file, so that browsers may keep those forever.
func Files() (fs.FS, bool) {
	files, err := fs.Sub(dist, "dist")
	if err != nil {
		return nil, false // never: dist is what is embedded
	}
	_, err = fs.Stat(files, "index.html")
	return files, err == nil
}
