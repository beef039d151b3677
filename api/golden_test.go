package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write testdata and openapi.json anew")

func golden(t *testing.T, name string, body []byte) {
	t.Helper()
	var shown bytes.Buffer
	if err := json.Indent(&shown, body, "", "\t"); err != nil {
		t.Fatalf("%s is no JSON: %v\n%s", name, err, body)
	}
	shown.WriteByte('\n')
	path := filepath.Join("testdata", name+".golden.json")
	if *update {
		if err := os.WriteFile(path, shown.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), shown.String()); diff != "" {
		t.Errorf("%s differs (-want +got); -update writes it anew:\n%s", path, diff)
	}
}

// routesShown are all routes of JSON, and the files that hold what they answer.
var routesShown = []struct{ name, path string }{
	{"stats", "/api/stats"},
	{"miners", "/api/miners"},
	{"miners-page", "/api/miners?limit=1&offset=1"},
	{"blocks", "/api/blocks"},
	{"payments", "/api/payments"},
	{"finders", "/api/finders"},
	{"account-alice", "/api/accounts/" + alice},
	{"account-bob", "/api/accounts/" + bob},
	{"account-carol", "/api/accounts/" + carol},
	{"account-dave", "/api/accounts/" + dave},
	{"account-eve", "/api/accounts/" + eve},
	{"account-charts", "/api/accounts/" + alice + "/charts"},
	{"account-payments", "/api/accounts/" + alice + "/payments?limit=1&offset=1"},
	{"account-rewards", "/api/accounts/" + alice + "/rewards"},
}

func TestEveryRouteAnswersAsItDid(t *testing.T) {
	p := newPool(t)
	world(p)
	p.cycle()
	p.api.learn(ctx)
	for _, r := range routesShown {
		w := p.get(r.path)
		if w.Code != http.StatusOK {
			t.Errorf("%s: status %d: %s", r.path, w.Code, w.Body)
			continue
		}
		golden(t, r.name, w.Body.Bytes())
	}
}

func TestEmptyBooksHaveEmptyLists(t *testing.T) {
	p := newPool(t)
	p.cycle()
	for _, r := range routesShown[:6] {
		body := p.get(r.path).Body.String()
		golden(t, r.name+"-empty", []byte(body))
		if strings.Contains(strings.ReplaceAll(body, `"audit":null`, ""), "null") {
			t.Errorf("%s has null in %s", r.path, body)
		}
	}
}
