package browser

import (
	_ "embed"
	"fmt"
	"slices"
	"testing"
)

//go:embed look.js
var lookScript string

// looksRight asserts that nothing is wrong with the page at first sight.
func (tab *tab) looksRight(name string) {
	tab.t.Helper()
	for _, wrong := range eval[[]string](tab, fmt.Sprintf("(%s)(%d)", lookScript, tab.look.width)) {
		tab.t.Errorf("%s, %s: %s", name, tab.look, wrong)
	}
}

var looks = []look{{"light", desktop}, {"dark", desktop}, {"light", phone}, {"dark", phone}}

// onePage is a page, and when it shows all that it has.
type onePage struct{ name, hash, full string }

var allPages = []onePage{
	{"dashboard", "#/", `document.querySelectorAll('.tile').length >= 6 && document.querySelectorAll('.plot canvas').length >= 2`},
	{"blocks", "#/blocks", `document.querySelectorAll('.tiles.luck .tile').length > 0 && document.querySelectorAll('tbody tr').length > 3`},
	{"payments", "#/payments", `document.querySelectorAll('tbody tr').length > 3`},
	{"miners", "#/miners", `document.querySelectorAll('tbody tr').length > 3`},
	{"account", "#/account/" + visitor, `document.querySelector('.balance .big') && document.querySelector('.plot canvas') && document.querySelector('.sparkle .spark path') && document.querySelectorAll('tbody tr').length > 5`},
	{"help", "#/help/" + visitor, `document.querySelector('.command').innerText.includes('` + visitor + `')`},
}

// TestEveryPageLooksRight opens every page in both themes, on a desktop and on a
// phone.
func TestEveryPageLooksRight(t *testing.T) {
	demo.settled(t)
	for _, l := range looks {
		t.Run(l.String(), func(t *testing.T) {
			tab := chrome.open(t, demo.pages, l)
			for _, p := range allPages {
				tab.visit(p.hash)
				tab.until(p.name+" is full", p.full)
				tab.shoot(p.name)
				tab.looksRight(p.name)
				if banner := eval[string](tab, `document.querySelector('.banner')?.innerText ?? ''`); banner != "" {
					t.Errorf("%s says %q", p.name, banner)
				}
			}
		})
	}
}

// TestAmountsAreExact compares what is shown with what the API says, digit by
// digit.
func TestAmountsAreExact(t *testing.T) {
	demo.settled(t)
	tab := chrome.open(t, demo.pages, look{"light", desktop})
	tab.visit("#/payments")
	tab.untilGo("the page shows the API's payments", func() bool {
		var list struct {
			Payments []payment `json:"payments"`
		}
		if err := demo.get("/api/payments?limit=30", &list); err != nil {
			t.Fatal(err)
		}
		var want []string
		for _, p := range list.Payments {
			want = append(want, p.Tx+" "+coins(p.Amount))
		}
		// Two of a table's rows may have been made a moment apart; the whole
		// history never is.
		shown := eval[[]string](tab, `[...document.querySelectorAll('table')].find((t) => t.caption.textContent === 'Sent')
			? [...[...document.querySelectorAll('table')].find((t) => t.caption.textContent === 'Sent').tBodies[0].rows].map((r) => r.cells[4].querySelector('.hex').title + ' ' + r.cells[2].querySelector('.amount').textContent) : []`)
		return len(want) > 0 && slices.Equal(shown, want)
	})
}
