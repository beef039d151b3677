package browser

import (
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// TestKeyboardIsEnough goes from the start to an account, and on, without a mouse.
func TestKeyboardIsEnough(t *testing.T) {
	tab := chrome.open(t, demo.pages, look{"dark", desktop})
	tab.visit("#/")
	tab.do(chromedp.KeyEvent(kb.Tab))
	tab.until("the first stop leads past the menu, and is seen", `document.activeElement.className === 'skip' && document.activeElement.getBoundingClientRect().top >= 0`)
	tab.do(chromedp.KeyEvent(kb.Enter))
	tab.until("the content has the focus", `document.activeElement.tagName === 'MAIN'`)
	tab.do(chromedp.KeyEvent(kb.Tab))
	tab.until("the next stop is the search", `document.activeElement.matches('form.search input')`)
	tab.until("the focus is seen", `getComputedStyle(document.activeElement).outlineStyle !== 'none'`)
	tab.do(chromedp.KeyEvent(visitor), chromedp.KeyEvent(kb.Enter))
	tab.until("the account is open and its title has the focus", `location.hash === '#/account/`+visitor+`' && document.activeElement.id === 'title'`)
	tab.there()

	// Back at the top of the document the menu comes in order, and Enter opens a page.
	tab.visit("#/")
	for _, want := range []string{"Skip to the content", "demo pool", "Dashboard", "Blocks"} {
		tab.do(chromedp.KeyEvent(kb.Tab))
		tab.until("the focus is on "+want, `document.activeElement.textContent.trim() === '`+want+`'`)
	}
	tab.do(chromedp.KeyEvent(kb.Enter))
	tab.until("the blocks are open", `location.hash === '#/blocks' && document.activeElement.id === 'title' && document.title.startsWith('Blocks')`)
}

// TestMistypedAddressIsSaid shows that a typing error leads to a word about it, not
// to an empty page.
func TestMistypedAddressIsSaid(t *testing.T) {
	tab := chrome.open(t, demo.pages, look{"light", phone})
	tab.visit("#/")
	tab.do(chromedp.Focus(chromedp.CSS("form.search input")))
	for _, tc := range []struct{ typed, said string }{
		{"0x1234", "40 digits"},
		{"nobody", "40 digits"},
		{strings.Replace(visitor, "fB69", "FB69", 1), "capital letters"},
	} {
		eval[string](tab, `(document.querySelector('form.search input').select(), '')`)
		tab.do(chromedp.KeyEvent(tc.typed + kb.Enter))
		tab.until(tc.said+" of "+tc.typed, `document.querySelector('.search .bad')?.innerText.includes('`+tc.said+`')`)
	}
	tab.looksRight("mistyped")
	tab.visit("#/no/such/page")
	tab.until("there is no such page", `document.querySelector('main').innerText.includes('There is no such page')`)
}

// TestThemeIsRemembered lets the visitor choose against the system.
func TestThemeIsRemembered(t *testing.T) {
	tab := chrome.open(t, demo.pages, look{"dark", desktop})
	tab.visit("#/")
	ground := `getComputedStyle(document.body).backgroundColor`
	dark := eval[string](tab, ground)
	tab.do(chromedp.Click(chromedp.CSS("button.theme")))
	tab.until("the page is light", `document.documentElement.dataset.theme === 'light' && `+ground+` !== '`+dark+`'`)
	light := eval[string](tab, ground)
	tab.do(chromedp.Reload())
	tab.there()
	if got := eval[string](tab, ground); got != light {
		t.Errorf("after a reload the ground is %s, want %s", got, light)
	}
	tab.do(chromedp.Click(chromedp.CSS("button.theme")))
	tab.do(chromedp.Click(chromedp.CSS("button.theme")))
	tab.until("the page is as the system again", `!document.documentElement.dataset.theme && `+ground+` === '`+dark+`'`)
}
