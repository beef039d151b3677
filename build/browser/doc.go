// Package browser tests the pages in a real browser: Debian's chromium, driven
// headless, against the real binary with real data. It is a module of its own,
// so that the driver does not weigh on the pool's.
//
//   - world_test.go starts the demo of build/devnet (a chain, rigs, the pool that
//     pays them) and two more rigs of a visitor; it ends everything, too
//   - tab_test.go is the browser, and what must not happen in it: errors, failed
//     requests, requests to anyone else
//   - pages_test.go opens every page in both themes and two widths, and writes
//     what it saw to build/out/screens/
//   - look.js is what is wrong with a page at first sight: text that is cut off,
//     hidden or hard to read
//   - list_test.go is about lists: pages, searching, exact values, whose fee it is
//   - miner_test.go is what a miner does there, keyboard_test.go how he gets along
//     without a mouse, away_test.go what he sees when the API is away, day_test.go a
//     pool's first day, script_test.go a rig that is named like a script
//
// Files whose tests need payments come last by name: the demo pays after a minute.
//
// It needs chromium and www/dist. What it tests is outside of this module, so that
// go's cache of results knows nothing of it: go test -count 1 ./...
package browser
