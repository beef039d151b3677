package browser

import (
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestScriptInARigsNameIsText puts rigs into Redis whose names are scripts. Our
// proxies take no such names, but those of the existing pools did.
func TestScriptInARigsNameIsText(t *testing.T) {
	const login = "0x00000000000000000000000000000000000badc0"
	names := []string{`<script>document.title='owned'</script>`, `<img src=x onerror="document.title='owned'">`, `"><b>rig`}
	at := time.Now().Unix()
	now, minute := strconv.FormatInt(at, 10), strconv.FormatInt(at/60, 10)
	redisDo(t, demo.redis, "HSET", "demo:miners:"+login, "lastShare", now)
	for _, name := range names {
		redisDo(t, demo.redis, "HSET", "demo:workers:"+login, name, now)
		redisDo(t, demo.redis, "HINCRBY", "demo:work:"+minute, login+":"+name, "21")
	}
	tab := chrome.open(t, demo.pages, look{"dark", phone})
	tab.visit("#/account/" + login)
	tab.untilGo("the names are shown as they are", func() bool {
		shown := eval[[]string](tab, `[...document.querySelectorAll('b.data')].map((b) => b.textContent)`)
		for _, name := range names {
			if !slices.Contains(shown, name) {
				return false
			}
		}
		return true
	})
	tab.shoot("scripts")
	tab.looksRight("scripts")
	if eval[bool](tab, `document.title === 'owned' || !!document.querySelector('main img, main script, td b b')`) {
		t.Error("a rig's name became a part of the page")
	}
}
