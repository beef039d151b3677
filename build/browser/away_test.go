package browser

import (
	"strconv"
	"testing"
)

// TestPagesSurviveTheAPI takes the API away while somebody looks at the pages, and
// brings it back.
func TestPagesSurviveTheAPI(t *testing.T) {
	pool := demo.api(t, demo.redis)
	tab := chrome.open(t, pool.url, look{"light", phone})
	tab.visit("#/")
	const height = `Number(/height ([\d,]+)/.exec(document.querySelector('.tiles').innerText)[1].replaceAll(',', ''))`
	tab.until("the dashboard has numbers", height+` > 0`)
	eval[bool](tab, `(window.said = [], new MutationObserver(() => said.push(document.querySelector('.banner')?.innerText ?? '')).observe(document.body, { childList: true, subtree: true, characterData: true }), true)`)

	tab.fine()
	tab.excuse(func(string) bool { return true })
	pool.stop()
	tab.until("the page says that the API is away, and how old the numbers are", `/does not answer\. What you see is .+ old/.test(document.querySelector('.banner.down')?.innerText ?? '')`)
	old := eval[int64](tab, height)
	if old == 0 || eval[int](tab, `document.querySelectorAll('.tile').length`) < 6 {
		t.Error("the old numbers are gone")
	}
	tab.shoot("outage-dashboard")
	tab.looksRight("the dashboard without an API")

	// A page that was never open has nothing to show, and says so.
	eval[string](tab, `location.hash = '#/blocks'`)
	tab.until("the page says that it could not be loaded", `document.querySelector('main .failed')?.innerText.includes('could not be loaded')`)
	tab.until("it still says that the API is away", `document.querySelector('.banner.down')`)
	tab.shoot("outage-blocks")
	tab.looksRight("blocks without an API")

	pool.start()
	tab.until("blocks come by themselves", `!document.querySelector('main .failed') && document.querySelectorAll('tbody tr').length > 0`)
	tab.until("the warning is gone", `!document.querySelector('.banner.down')`)
	tab.until("the page has said that the API is back", `said.some((s) => s.includes('answers again'))`)
	eval[string](tab, `location.hash = '#/'`)
	tab.until("the numbers are new", `document.querySelector('.tiles .tile') && `+height+` > `+strconv.FormatInt(old, 10))

	tab.excuse(nil)
	tab.visit("#/payments")
	tab.until("all is well", `!document.querySelector('.banner')`)
}
