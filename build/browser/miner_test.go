package browser

import (
	"context"
	"encoding/csv"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	cdpbrowser "github.com/chromedp/cdproto/browser"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// account is what the API says of a miner.
type account struct {
	Stats struct {
		Balance int64 `json:"balance"`
	} `json:"stats"`
	Payout struct {
		Threshold   int64  `json:"threshold"`
		Reason      string `json:"reason"`
		ThresholdAt int64  `json:"thresholdAt"`
	} `json:"payout"`
	Payments []payment `json:"payments"`
}

// TestMinerSeesHisMoney is what a miner does: he looks himself up, sees how far his
// balance is from the threshold and why he is not paid yet, sees the payment come,
// and takes the table of his payments with him.
func TestMinerSeesHisMoney(t *testing.T) {
	demo.settled(t)
	tab := chrome.open(t, demo.pages, look{"light", desktop})
	for _, letters := range []string{visitor, strings.ToLower(visitor), "0x" + strings.ToUpper(visitor[2:]), strings.ToUpper(visitor), " " + visitor[2:] + " "} {
		tab.visit("#/")
		tab.do(chromedp.SendKeys(chromedp.CSS("form.search input"), letters+kb.Enter))
		tab.until("the account of "+letters, `location.hash === '#/account/`+visitor+`' && document.querySelector('.who .whole')?.innerText === '`+visitor+`'`)
	}
	tab.there()
	eval[bool](tab, `window.sameDocument = true`)

	tab.untilGo("balance, bar and reason are what the API says", func() bool {
		var a account
		if err := demo.get("/api/accounts/"+visitor, &a); err != nil {
			t.Fatal(err)
		}
		shown := eval[struct {
			Balance, Bar, Note, Reason string
			Expected                   bool
		}](tab, `(() => {
			const text = (s) => document.querySelector(s)?.innerText ?? ''
			return { Balance: document.querySelector('.balance .big .amount').title, Bar: document.querySelector('.balance .bar').ariaValueNow,
				Note: text('.balance > .note'), Reason: text('.balance > .reason'), Expected: text('.balance .facts').includes('Threshold expected') }
		})()`)
		permille := min(1000, a.Stats.Balance*1000/a.Payout.Threshold)
		reached := a.Stats.Balance >= a.Payout.Threshold
		return trimmed(a.Stats.Balance)+" DEMO" == shown.Balance &&
			strconv.FormatInt((permille+5)/10, 10) == shown.Bar &&
			strings.Contains(shown.Note, trimmed(a.Payout.Threshold)+" DEMO") &&
			(reached || strings.Contains(shown.Note, fmt.Sprintf("%d.%d %%", permille/10, permille%10)) || permille == 0) &&
			(shown.Reason == reasons[a.Payout.Reason] || a.Payout.Reason == "next_session" && strings.Contains(shown.Reason, "the session that is running now")) && shown.Reason != "" &&
			shown.Expected == (!reached && a.Payout.ThresholdAt > 0)
	})

	tab.until("each rig has a line, named by the time that it spans", `document.querySelectorAll('.sparkle .spark path').length >= 2 &&
		/^Hashrate, last \d+ (min|h)/.test(document.querySelector('td:has(.sparkle)').dataset.label)`)
	tab.until("a rig's line ends with what it does now", `(([floor, end]) => end < floor)(document.querySelector('.sparkle[aria-label$=": attic"] path').getAttribute('d').match(/ [\d.]+(?=L|$)/g).map(Number).filter((_, i, all) => i === 0 || i === all.length - 1))`)
	tab.do(chromedp.Click(chromedp.CSS(`.sparkle[aria-label$=": attic"]`)))
	tab.until("the line opens as a chart", `document.querySelector('tr.extra .chart canvas') && document.querySelector('tr.extra figcaption').innerText.includes('attic')`)

	// A payment that nobody knew of when the page was opened.
	const rows = `[...[...document.querySelectorAll('table')].find((t) => t.caption.textContent === 'Payments')?.tBodies[0].rows ?? []]`
	before := eval[[]string](tab, rows+`.map((r) => r.cells[3].querySelector('.hex')?.title ?? '')`)
	var news string
	tab.untilGo("a payment appears", func() bool {
		for _, tx := range eval[[]string](tab, rows+`.map((r) => r.cells[3].querySelector('.hex')?.title ?? '')`) {
			if tx != "" && !slices.Contains(before, tx) {
				news = tx
			}
		}
		return news != ""
	})
	tab.until("it becomes final", rows+`.find((r) => r.cells[3].querySelector('.hex')?.title === '`+news+`')?.innerText.includes('Final')`)
	if !eval[bool](tab, `window.sameDocument === true`) {
		t.Error("the page was loaded again on the way")
	}

	const rewards = `[...document.querySelectorAll('section')].find((s) => s.querySelector('caption')?.textContent === 'Rewards')`
	tab.until("there are more rewards than a page has", rewards+`.querySelector('.pager a[rel=next][href]')`)
	eval[bool](tab, `(`+rewards+`.querySelector('.pager a[rel=next]').click(), true)`)
	tab.untilGo("the older ones are on the second page", func() bool {
		var page struct {
			Rewards []struct {
				Hash string `json:"hash"`
			} `json:"rewards"`
		}
		if err := demo.get("/api/accounts/"+visitor+"/rewards?limit=15&offset=15", &page); err != nil {
			t.Fatal(err)
		}
		var older []string
		for _, r := range page.Rewards {
			older = append(older, r.Hash)
		}
		return len(older) > 0 && slices.Equal(older, eval[[]string](tab, rowsOf("Rewards")+`.map((r) => r.cells[0].querySelector('.hex').title)`))
	})
	if !eval[bool](tab, `location.hash.endsWith('?rewards=2') && `+rewards+`.querySelector('.pager').innerText.includes('16–')`) {
		t.Error("the second page does not say which one it is")
	}

	for _, table := range []string{"payments", "rewards"} {
		tab.untilGo("the CSV of "+table+" has the rows of the API", func() bool {
			return slices.Equal(tab.download(table), demo.table(t, table))
		})
	}
}

// reasons are the sentences for what can be said of a healthy account.
var reasons = map[string]string{
	"below_threshold": "The balance has not reached the payout threshold yet.",
	"next_session":    "Will be paid in the next payout session.",
	"in_flight":       "A payment is on its way. The next one follows when it is final.\na payment is on its way",
}

// trimmed writes Shannon without zeros at the end.
func trimmed(shannon int64) string {
	return strings.TrimSuffix(strings.TrimRight(coins(shannon), "0"), ".")
}

// download clicks on the link to a table and returns what is in the file: of each
// row the columns that the API has, too.
func (tab *tab) download(table string) (rows []string) {
	tab.t.Helper()
	dir := tab.t.TempDir()
	tab.do(chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
		_, err := chromedp.CallBrowser(ctx, cdpbrowser.SetDownloadBehavior, cdpbrowser.SetDownloadBehaviorParams{
			Behavior: cdpbrowser.SetDownloadBehaviorBehaviorAllow, DownloadPath: dir, BrowserContextID: chromedp.FromContext(ctx).BrowserContextID,
		})
		return err
	}), chromedp.Click(chromedp.CSS(`a[download][href$="/`+table+`.csv"]`)))
	file := filepath.Join(dir, table+"-"+strings.ToLower(visitor)+".csv")
	tab.untilGo("the browser has "+filepath.Base(file), func() bool {
		_, err := os.Stat(file)
		return err == nil
	})
	f, err := os.Open(file)
	if err != nil {
		tab.t.Fatal(err)
	}
	defer f.Close()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		tab.t.Fatal(err)
	}
	head := all[0]
	for _, fields := range all[1:] {
		row := map[string]string{}
		for i, name := range head {
			row[name] = fields[i]
		}
		shannon, err := strconv.ParseInt(row["amount_shannon"], 10, 64)
		if err != nil {
			tab.t.Fatal(err)
		}
		if amount := row["amount"]; trimmed(shannon) != trimZeros(amount) {
			tab.t.Errorf("%s: the amount is %s, want %s", filepath.Base(file), amount, trimmed(shannon))
		}
		if table == "payments" {
			rows = append(rows, strings.Join([]string{row["time"], row["transaction"], row["amount_shannon"], row["status"], row["block"], row["fee_wei"]}, " "))
		} else {
			rows = append(rows, strings.Join([]string{row["time"], row["height"], row["hash"], row["kind"], row["amount_shannon"], row["state"]}, " "))
		}
	}
	slices.Sort(rows)
	return rows
}

func trimZeros(amount string) string {
	if strings.Contains(amount, ".") {
		amount = strings.TrimSuffix(strings.TrimRight(amount, "0"), ".")
	}
	return amount
}

// table is what the API says, row by row, as download returns it.
func (w *world) table(t *testing.T, name string) (rows []string) {
	t.Helper()
	stamp := func(unix int64) string { return time.Unix(unix, 0).UTC().Format(time.RFC3339) }
	if name == "payments" {
		for _, p := range w.paid() {
			block := ""
			if p.Block > 0 {
				block = strconv.FormatInt(p.Block, 10)
			}
			rows = append(rows, fmt.Sprintf("%s %s %d %s %s %s", stamp(p.Timestamp), p.Tx, p.Amount, p.Status, block, p.FeeWei))
		}
	} else {
		var a struct {
			Rewards []struct {
				Height    int64  `json:"height"`
				Timestamp int64  `json:"timestamp"`
				Hash      string `json:"hash"`
				Amount    int64  `json:"amount"`
				Kind      string `json:"kind"`
				Immature  bool   `json:"immature"`
			} `json:"rewards"`
		}
		if err := w.get("/api/accounts/"+visitor+"/rewards?limit=1000", &a); err != nil {
			t.Fatal(err)
		}
		for _, r := range a.Rewards {
			state := "matured"
			if r.Immature {
				state = "immature"
			}
			rows = append(rows, fmt.Sprintf("%s %d %s %s %d %s", stamp(r.Timestamp), r.Height, r.Hash, r.Kind, r.Amount, state))
		}
	}
	slices.Sort(rows)
	return rows
}

// TestAddressWithoutHashIsFound opens what people write and link to: the path of an
// account as it would be without a #.
func TestAddressWithoutHashIsFound(t *testing.T) {
	tab := chrome.open(t, demo.pages, look{"dark", phone})
	for _, path := range []string{"account/" + visitor, "account/" + strings.ToLower(visitor)} {
		tab.visit(path)
		tab.until("the account of "+path, `location.pathname === '/' && document.querySelector('.who .whole')?.innerText === '`+visitor+`' && document.querySelector('.balance')`)
	}
	tab.visit("payments")
	tab.until("the payments are open", `location.hash === '#/payments' && document.title.startsWith('Payments')`)
}
