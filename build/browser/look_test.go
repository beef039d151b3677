package browser

import (
	"fmt"
	"strings"
	"testing"
)

// TestWhatIsWrongIsSeen spoils a page in every way that the other tests look for.
func TestWhatIsWrongIsSeen(t *testing.T) {
	tab := chrome.open(t, demo.pages, look{"light", phone})
	for _, tc := range []struct{ name, spoil, found string }{
		{"a page wider than the window", `main.append(Object.assign(made, { textContent: 'wide' })), made.style.width = '600px'`, "scrolls sideways"},
		{"text that is cut off", `main.append(Object.assign(made, { textContent: 'a long line of text' })), made.style.cssText = 'width:40px;overflow:hidden;white-space:nowrap'`, "is cut off"},
		{"text over text", `main.append(Object.assign(made, { textContent: 'over' })), made.style.cssText = 'position:absolute;left:20px;top:' + (main.querySelector('h1').getBoundingClientRect().top + scrollY) + 'px'`, "overlap"},
		{"text that is hard to read", `main.append(Object.assign(made, { textContent: 'pale' })), made.style.color = '#bbb'`, "has a contrast of"},
		{"a button without a name", `main.append(document.createElement('button'))`, "has no name"},
		{"a value that is none", `main.append(Object.assign(made, { textContent: 'NaN coins' }))`, "says NaN"},
	} {
		tab.visit("#/help")
		script := fmt.Sprintf("(%s)(%d)", lookScript, phone)
		if wrong := eval[[]string](tab, script); len(wrong) > 0 {
			t.Errorf("before %s: %q", tc.name, wrong)
		}
		eval[bool](tab, `(() => { const main = document.querySelector('main'), made = document.createElement('p'); `+tc.spoil+`; return true })()`)
		if wrong := strings.Join(eval[[]string](tab, script), "\n"); !strings.Contains(wrong, tc.found) {
			t.Errorf("%s is found as %q, want %q", tc.name, wrong, tc.found)
		}
	}
	for _, tc := range []struct{ name, spoil, heard string }{
		{"an error of the page", `console.error('spoilt')`, "console.error: \"spoilt\""},
		{"an exception", `setTimeout(() => { throw new Error('thrown') })`, "exception: "},
		{"a request that fails", `fetch('/api/nothing')`, "answer 404: "},
		{"a request to somebody else", `fetch('http://localhost:9/').catch(() => 0)`, "console.error: \"policy: connect-src"},
		{"a script inside the page", `document.body.append(Object.assign(document.createElement('script'), { textContent: '1' }))`, "console.error: \"policy: script-src"},
	} {
		heard := make(chan string, 100)
		tab.excuse(func(fault string) bool {
			select {
			case heard <- fault:
			default:
			}
			return true
		})
		eval[bool](tab, `(`+tc.spoil+`, true)`)
		tab.untilGo(tc.name+" is heard", func() bool {
			for {
				select {
				case fault := <-heard:
					if strings.Contains(fault, tc.heard) {
						return true
					}
				default:
					return false
				}
			}
		})
	}
}
