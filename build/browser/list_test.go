package browser

import (
	"fmt"
	"strconv"
	"strings"
	"testing"
	"time"

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

const payee = "0x00000000000000000000000000000000000c0de1"

const explorer = "https://explorer.example.org/block/{}"

// history fills a Redis with what a pool has behind it: a block, an uncle that
// another block includes, an orphan, new blocks, a miner, and payments.
func history(t *testing.T, redis string) (uncle string, txs []string) {
	t.Helper()
	now := time.Now().Unix()
	hash := func(n int) string { return fmt.Sprintf("0x%064x", n) }
	uncle = hash(201)
	block := func(height, uncleHeight, orphan int, hash, reward string) {
		row := fmt.Sprintf("%d:%d:0x%016x:%s:%d:1000:900:%s", uncleHeight, orphan, height, hash, now-9000+int64(height), reward)
		redisDo(t, redis, "ZADD", "demo:blocks:matured", strconv.Itoa(height), row)
	}
	block(202, 201, 0, uncle, "1750000000000000000")
	block(203, 0, 0, hash(203), "2000000000000000001")
	block(204, 0, 1, "0x0", "0")
	for height := 301; height <= 312; height++ {
		redisDo(t, redis, "ZADD", "demo:blocks:candidates", strconv.Itoa(height), fmt.Sprintf("0x%016x:%s:%s:%d:1000:900", height, hash(height), hash(height), now))
	}
	for i := range 31 {
		tx := hash(1000 + i)
		txs = append(txs, tx)
		redisDo(t, redis, "ZADD", "demo:payments:all", strconv.FormatInt(now-3000+int64(i), 10), fmt.Sprintf("%s:%s:1000000%03d", tx, payee, i))
	}
	redisDo(t, redis, "HSET", "demo:miners:"+payee, "lastShare", strconv.FormatInt(now, 10))
	redisDo(t, redis, "HINCRBY", "demo:work:"+strconv.FormatInt(now/60, 10), payee+":rig", "21")
	return uncle, txs
}

// rowsOf are the rows of the table with a caption.
func rowsOf(caption string) string {
	return `[...([...document.querySelectorAll('table')].find((t) => t.caption.textContent === '` + caption + `')?.tBodies[0].rows ?? [])]`
}

// TestUncleLinksToItself looks at blocks of which only one is at the height that
// the chain has it at.
func TestUncleLinksToItself(t *testing.T) {
	redis := demo.emptyRedis(t)
	uncle, _ := history(t, redis)
	pool := demo.apiWith(t, redis, map[string]any{"explorerBlock": explorer})
	tab := chrome.open(t, pool.url, look{"light", phone})
	tab.visit("#/blocks")
	tab.until("there are three blocks", rowsOf("Matured")+`.length === 3`)
	links := eval[[]string](tab, rowsOf("Matured")+`.map((r) => r.cells[0].querySelector('div').innerText.replace(/\s+/g, ' ') + ' → ' + [...r.cells[0].querySelectorAll('a')].map((a) => a.getAttribute('href')).join(' '))`)
	at := strings.TrimSuffix(explorer, "{}")
	for i, want := range []string{"204 → ", "203 → " + at + "203", "201 uncle, in block 202 → " + at + uncle + " " + at + "202"} {
		if links[i] != want {
			t.Errorf("block %d is shown as %q, want %q", i, links[i], want)
		}
	}
	if n := eval[int](tab, rowsOf("New")+`.length`); n != 10 {
		t.Errorf("%d new blocks are shown at first, want 10 of 12", n)
	}
	eval[bool](tab, `([...document.querySelectorAll('button')].find((b) => b.innerText === 'Show all 12').click(), true)`)
	tab.until("all are shown", rowsOf("New")+`.length === 12`)
	tab.looksRight("blocks")
	tab.shoot("uncle")
}

// TestListEndsWhereItEnds opens pages that lists do not have.
func TestListEndsWhereItEnds(t *testing.T) {
	redis := demo.emptyRedis(t)
	history(t, redis)
	tab := chrome.open(t, demo.api(t, redis).url, look{"dark", phone})
	for _, list := range []string{"blocks", "payments", "miners"} {
		tab.visit("#/" + list + "?page=999")
		tab.until(list+" have no such page", `document.querySelector('main').innerText.includes('The list has no page 999')`)
		if eval[bool](tab, `/has not paid anybody|No block has matured|Nobody is mining/.test(document.querySelector('main').innerText)`) {
			t.Errorf("%s: an empty page is taken for an empty list", list)
		}
		tab.looksRight(list + " beyond the end")
		eval[bool](tab, `(document.querySelector('.empty a').click(), true)`)
		tab.until("the last page of "+list, `document.querySelectorAll('main tbody tr').length > 0 && !location.hash.includes('999')`)
	}
}

// TestPartOfAnAddressIsFound searches among so many miners that what is found has
// pages, too.
func TestPartOfAnAddressIsFound(t *testing.T) {
	redis := demo.emptyRedis(t)
	now := time.Now().Unix() // of all: who worked in another minute is sorted elsewhere
	for i := range 130 {
		middle := "0000000000"
		if i%2 == 0 {
			middle = "00c0ffee00"
		}
		login := fmt.Sprintf("0x%015d%s%015d", i, middle, i)
		redisDo(t, redis, "HSET", "demo:miners:"+login, "lastShare", strconv.FormatInt(now, 10))
		redisDo(t, redis, "HINCRBY", "demo:work:"+strconv.FormatInt(now/60, 10), login+":rig", strconv.Itoa(100_000-100*i))
	}
	tab := chrome.open(t, demo.api(t, redis).url, look{"dark", phone})
	tab.visit("#/miners")
	tab.until("all are listed", rowsOf("Miners")+`.length === 50 && document.querySelector('.pager').innerText.includes('1–50 of 130')`)
	tab.do(chromedp.SendKeys(chromedp.CSS(`input[type=search]`), "C0FFEE"))
	const logins = `.map((r) => r.querySelector('.hex').title.toLowerCase())`
	tab.until("half of them are found, whatever the letters", `document.querySelector('.search .note')?.innerText === '65 miners found' && `+rowsOf("Miners")+`.length === 50`)
	first := eval[[]string](tab, rowsOf("Miners")+logins)
	eval[bool](tab, `(document.querySelector('.pager a[rel=next]').click(), true)`)
	tab.until("the rest is on the second page", rowsOf("Miners")+`.length === 15 && document.querySelector('.pager').innerText.includes('51–65 of 65')`)
	tab.looksRight("search")
	tab.shoot("search")
	for n, login := range append(first, eval[[]string](tab, rowsOf("Miners")+logins)...) { // the fastest first
		if want := fmt.Sprintf("0x%015d00c0ffee00%015d", 2*n, 2*n); login != want {
			t.Errorf("%d is %s, want %s", n, login, want)
		}
	}
	asked := eval[[]string](tab, `performance.getEntriesByType('resource').map((r) => new URL(r.name)).filter((u) => u.pathname === '/api/miners').map((u) => u.search)`)
	for _, query := range asked {
		if !strings.Contains(query, "limit=50") {
			t.Errorf("more than a page was asked for: /api/miners%s", query)
		}
	}
	if last := asked[len(asked)-1]; !strings.Contains(last, "find=c0ffee") {
		t.Errorf("/api/miners%s was asked for last, want a search by the API", last)
	}
	login := fmt.Sprintf("0x%015d00c0ffee00%015d", 64, 64)
	eval[bool](tab, `(document.querySelector('input[type=search]').select(), true)`)
	tab.do(chromedp.KeyEvent(login))
	tab.until("he alone is found", `document.querySelector('.search .note')?.innerText === '1 miner found' && `+rowsOf("Miners")+`.length === 1`)
	tab.do(chromedp.KeyEvent(kb.Enter))
	tab.until("a whole address leads to its account", `document.querySelector('.who .whole')?.innerText.toLowerCase() === '`+login+`'`)
}

// TestFeeIsShownToWhoPaysIt looks at payments of two pools, as their ledgers have them: of
// one that takes the network's fee off the payment, and of one that pays it.
func TestFeeIsShownToWhoPaysIt(t *testing.T) {
	const shown, told = "Network fee 0.0000315 DEMO", "taken off the payment"
	for _, tc := range []struct {
		name, fromMiner string // as payouts write it
		answer          string // on the help page
	}{
		{"the miner", "1", "You: it is taken off"},
		{"the pool", "", "The pool. You receive exactly"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			redis := demo.emptyRedis(t)
			_, txs := history(t, redis)
			now := strconv.FormatInt(time.Now().Unix(), 10)
			redisDo(t, redis, "HSET", "demo:payments:meta", "step", "1", "heartbeat", now, "confirmations", "12", "feeFromMiner", tc.fromMiner)
			for i, tx := range txs[:3] {
				id := fmt.Sprintf("%d-id", i)
				redisDo(t, redis, "ZADD", "demo:payments:"+payee, now, fmt.Sprintf("%s:1000000%03d", tx, i))
				redisDo(t, redis, "HSET", "demo:payments:hashes", tx, id)
				redisDo(t, redis, "HSET", "demo:payments:p:"+id, "state", []string{"final", "sent", "sent"}[i],
					"block", []string{"190", "210", "201"}[i], "fee", []string{"31500000000000", "", ""}[i])
			}
			redisDo(t, redis, "HSET", "demo:nodes", "node:name", "node", "node:height", "212", "node:difficulty", "1000", "node:lastBeat", now)
			tab := chrome.open(t, demo.api(t, redis).url, look{"light", phone})
			tab.visit("#/account/" + payee)
			tab.until("all payments are listed", rowsOf("Payments")+`.length === 3`)
			row := func(tx string) string {
				return rowsOf("Payments") + `.find((r) => r.cells[3].querySelector('.hex').title === '` + tx + `')`
			}
			text := eval[string](tab, row(txs[0])+`.innerText`)
			if tc.fromMiner != "" != strings.Contains(text, shown+", "+told) {
				t.Errorf("the payment's row says %q", text)
			}
			if title := eval[string](tab, row(txs[0])+`.querySelector('.status [title]').title`); !strings.HasPrefix(title, shown) || tc.fromMiner != "" != strings.Contains(title, told) {
				t.Errorf("its status has the title %q", title)
			}
			if text := eval[string](tab, row(txs[1])+`.innerText`); strings.Contains(text, "fee") || !strings.Contains(text, "Confirming, 3 of 12") {
				t.Errorf("a payment that is in a block, but not final, says %q", text)
			}
			if text := eval[string](tab, row(txs[2])+`.innerText`); !strings.Contains(text, "Confirmed, soon final") {
				t.Errorf("a payment that is deep enough says %q", text)
			}
			tab.looksRight("fee")
			tab.shoot("fee")
			tab.visit("#/help")
			tab.until("the help page says who pays the fee", `document.querySelector('main').innerText.includes('`+tc.answer+`')`)
		})
	}
}

// TestPagingKeepsTheFocus goes to the last page by keyboard.
func TestPagingKeepsTheFocus(t *testing.T) {
	redis := demo.emptyRedis(t)
	_, txs := history(t, redis)
	tab := chrome.open(t, demo.api(t, redis).url, look{"light", desktop})
	tab.visit("#/payments")
	tab.until("there is a next page", `document.querySelector('.pager a[rel=next]')`)
	eval[bool](tab, `(document.querySelector('.pager a[rel=next]').focus(), true)`)
	tab.do(chromedp.KeyEvent(kb.Enter))
	tab.until("the focus is on what the pager says", `document.activeElement.innerText === '31–31 of 31'`)
	tab.until("the page has one row", rowsOf("Sent")+`.length === 1`)
	if n := eval[int](tab, `performance.getEntriesByType('resource').filter((r) => r.name.endsWith('/api/payments')).length`); n > 0 {
		t.Errorf("the payments were asked for twice")
	}

	// There is no explorer, so the whole hash and the exact time are here.
	for _, tc := range []struct{ cell, name, full string }{
		{"4", "the hash", txs[0]},
		{"0", "the time", `UTC`},
	} {
		eval[bool](tab, rowsOf("Sent")+`[0].cells[`+tc.cell+`].querySelector('button').focus() ?? true`)
		tab.do(chromedp.KeyEvent(kb.Enter))
		tab.until(tc.name+" is shown in full", rowsOf("Sent")+`[0].cells[`+tc.cell+`].innerText.includes('`+tc.full+`')`)
	}
	tab.until("the hash can be copied", rowsOf("Sent")+`[0].cells[4].innerText.includes('Copy')`)
	tab.looksRight("exact values")
	tab.shoot("exact")

	// What was opened, and the focus, stay with their row when another one comes.
	tab.visit("#/payments")
	tab.until("the first page is there", rowsOf("Sent")+`.length === 30`)
	eval[bool](tab, `((b) => (b.focus(), b.click(), window.opened = b, true))(`+rowsOf("Sent")+`[0].cells[0].querySelector('button'))`)
	redisDo(t, redis, "ZADD", "demo:payments:all", strconv.FormatInt(time.Now().Unix(), 10), fmt.Sprintf("0x%064x:%s:1000000031", 1031, payee))
	tab.until("the payment is the second now", rowsOf("Sent")+`[1].contains(window.opened)`)
	tab.until("it is still open and has the focus", `document.activeElement === window.opened && window.opened.innerText.includes('UTC')`)
}

// TestAccentIsSeen configures yellow.
func TestAccentIsSeen(t *testing.T) {
	pool := demo.apiWith(t, demo.emptyRedis(t), map[string]any{"accent": "#ffee00"})
	const line = `getComputedStyle(document.querySelector('.top nav a[aria-current]')).borderBottomColor`
	for _, tc := range []struct{ theme, want string }{{"dark", "rgb(255, 238, 0)"}, {"light", "rgb(143, 133, 0)"}} {
		tab := chrome.open(t, pool.url, look{tc.theme, desktop})
		tab.visit("#/")
		tab.until("the menu's line of the "+tc.theme+" theme is "+tc.want, line+` === '`+tc.want+`'`)
	}
}
