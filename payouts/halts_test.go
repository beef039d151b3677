package payouts

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

// TestEveryHaltIsExplained: in its page, to hooks, and to miners.
func TestEveryHaltIsExplained(t *testing.T) {
	code := fileText(t, "turn.go")
	reasons := regexp.MustCompile(`(?m)^\tHalt\w+ += "(\w+)"`).FindAllStringSubmatch(code, -1)
	if len(reasons) < 14 {
		t.Fatalf("only %d reasons are in turn.go", len(reasons))
	}
	pages, hooks, miners := fileText(t, "../docs/halts.md"), fileText(t, "../notify/event.go"), fileText(t, "../www/src/texts.ts")
	for _, m := range reasons {
		reason := m[1]
		_, page, found := strings.Cut(pages, "\n## `"+reason+"`\n")
		page, _, _ = strings.Cut(page, "\n## ")
		if !found || !strings.Contains(page, "**What happened.**") || !strings.Contains(page, "**What the pool did.**") || !strings.Contains(page, "**What to type.**") {
			t.Errorf("docs/halts.md has no page for %s that says what happened, what the pool did and what to type", reason)
		}
		if !strings.Contains(hooks, `"`+reason+`"`) {
			t.Errorf("notify/event.go has no words for %s", reason)
		}
		if !strings.Contains(miners, "\n    "+reason+": ") {
			t.Errorf("www/src/texts.ts has no words for %s", reason)
		}
	}
}

func fileText(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
