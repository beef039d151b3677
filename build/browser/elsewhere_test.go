package browser

import (
	"net/http"
	"net/http/httptest"
	"os/exec"
	"strings"
	"testing"
)

// TestPagesOnAnotherServer builds the pages for a web server of another origin than
// the API's, and opens them there.
func TestPagesOnAnotherServer(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("../../www/build.sh", demo.pages, dir).CombinedOutput(); err != nil {
		t.Fatalf("build.sh: %v\n%s", err, out)
	}
	server := httptest.NewServer(http.FileServer(http.Dir(dir)))
	t.Cleanup(server.Close)
	// By another name, so that it can be told which host is shown.
	tab := chrome.open(t, strings.Replace(server.URL, "127.0.0.1", "localhost", 1), look{"light", desktop})
	tab.also = demo.pages
	tab.visit("#/")
	const height = `Number(/height ([\d,]+)/.exec(document.querySelector('.tiles').innerText)[1].replaceAll(',', ''))`
	tab.until("the dashboard has numbers", height+` > 0`)
	eval[bool](tab, `(window.was = `+height+`, true)`)
	tab.until("they become newer", height+` > window.was`)
	tab.visit("#/help/" + visitor)
	tab.until("the port is where the API is", `document.querySelector('.command').innerText.includes('127.0.0.1:') && document.querySelector('.choice b').innerText.startsWith('127.0.0.1:')`)
}
