package browser

import (
	"fmt"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestSearchDoesNotReadAllMinersEachCycle leaves a search open while statistics are
// made anew many times.
func TestSearchDoesNotReadAllMinersEachCycle(t *testing.T) {
	tab := chrome.open(t, demo.pages, look{"light", desktop})
	tab.visit("#/miners")
	tab.do(chromedp.SendKeys(chromedp.CSS(`input[type=search]`), strings.ToLower(visitor[2:12])))
	tab.until("the visitor alone is found", `document.querySelector('.search .note')?.innerText === '1 miner found' && document.querySelectorAll('tbody tr').length === 1`)
	const asked = `performance.getEntriesByType('resource').filter((r) => { const u = new URL(r.name); return u.pathname === '%s' && %s }).length`
	before := eval[int](tab, fmt.Sprintf(asked, "/api/stats", "true"))
	tab.until("the pool's numbers were made anew five times", fmt.Sprintf(asked, "/api/stats", "true")+fmt.Sprintf(" >= %d", before+5))
	if n := eval[int](tab, fmt.Sprintf(asked, "/api/miners", "!u.search")); n > 1 {
		t.Errorf("all miners were asked for %d times", n)
	}
	eval[bool](tab, `(document.querySelector('input[type=search]').select(), true)`)
	tab.do(chromedp.KeyEvent("zz" + kb.Enter))
	tab.until("nobody is found", `document.querySelector('main').innerText.includes('No miner’s address contains this.')`)
}
