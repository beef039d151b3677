package browser

import (
	"strings"
	"testing"
)

// TestFirstDay opens every page of a pool at which nothing has happened yet.
func TestFirstDay(t *testing.T) {
	pool := demo.api(t, demo.emptyRedis(t))
	for _, l := range []look{{"light", desktop}, {"dark", phone}} {
		t.Run(l.String(), func(t *testing.T) {
			tab := chrome.open(t, pool.url, l)
			// The API says 404 of an account that it does not know, and browsers
			// write that into their console.
			tab.excuse(func(fault string) bool {
				return strings.Contains(fault, "404") && strings.Contains(fault, "/api/accounts/"+strings.ToLower(visitor))
			})
			for _, p := range allPages {
				tab.visit(p.hash)
				tab.shoot("empty-" + p.name)
				tab.looksRight("empty " + p.name)
			}
			tab.visit("#/account/" + visitor)
			tab.until("the page says that nobody knows the account", `document.querySelector('main').innerText.includes('does not know this address yet')`)
		})
	}
}
