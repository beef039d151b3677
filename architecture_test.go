package main

import (
	"encoding/json"
	"os/exec"
	"strings"
	"testing"
)

// TestImportsPointDown asserts the rule of docs/architecture.md: main →
// {payouts, proxy, api, notify} → {storage, rpc} → util, and neighbours do not know each
// other.
func TestImportsPointDown(t *testing.T) {
	const module = "github.com/open-ethereum-pool/open-ethereum-pool"
	allowed := map[string][]string{
		"":        {"util", "storage", "rpc", "payouts", "proxy", "proxy/ethash", "api", "notify", "www"},
		"payouts": {"util", "storage", "rpc"},
		"proxy":   {"util", "storage", "rpc", "proxy/ethash"},
		"api":     {"util", "storage", "rpc", "www"},
		"notify":  {"util", "storage"},
		"storage": {"util"},
		"rpc":     {"util"},
		"util":    {},

		"proxy/ethash": {},
		"www":          {},
	}
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); dec.More(); {
		var p struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&p); err != nil {
			t.Fatal(err)
		}
		name := strings.TrimPrefix(strings.TrimPrefix(p.ImportPath, module), "/")
		may, ruled := allowed[name]
		if !ruled {
			continue // test support and build
		}
		seen++
		for _, imported := range p.Imports {
			ours, ok := strings.CutPrefix(imported, module+"/")
			if ok && !strings.Contains(" "+strings.Join(may, " ")+" ", " "+ours+" ") {
				t.Errorf("%s imports %s, which is not below it", p.ImportPath, ours)
			}
		}
	}
	if seen < 7 {
		t.Errorf("only %d packages were looked at", seen)
	}
}
