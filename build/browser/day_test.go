package browser

import (
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// TestFirstDay opens every page of a pool at which nothing has happened yet.
func TestFirstDay(t *testing.T) {
	redis, err := start(exec.Command(demo.devnet, "redis"), syscall.SIGKILL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(redis.kill)
	address := regexp.MustCompile(`127\.0\.0\.1:\d+`)
	if err := wait("an empty Redis", redis, func() bool { return address.MatchString(redis.out.String()) }); err != nil {
		t.Fatal(err)
	}
	pool := demo.api(t, address.FindString(redis.out.String()))
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
