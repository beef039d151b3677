package util

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"
)

func TestValuesSurviveTheWayThroughJSON(t *testing.T) {
	type values struct {
		D Duration
		W Wei
		P Percent
	}
	for _, v := range []values{
		{Duration(2 * time.Hour), NewWei(0), 0},
		{Duration(120 * time.Millisecond), NewWei(50_000_000_000), OnePercent},
		{1, Wei{new(big.Int).Lsh(big.NewInt(1), 255)}, 7500},
	} {
		b, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		var got values
		if err := json.Unmarshal(b, &got); err != nil {
			t.Fatalf("%s: %v", b, err)
		}
		if got.D != v.D || !got.W.Equal(v.W) || got.P != v.P {
			t.Errorf("%+v became %s became %+v", v, b, got)
		}
	}
}

func TestPercentIsExact(t *testing.T) {
	for _, tc := range []struct {
		text string
		want Percent
		show string
	}{
		{"0", 0, "0"},
		{"1", 10_000, "1"},
		{"1.0", 10_000, "1"},
		{"0.9", 9_000, "0.9"},
		{"0.75", 7_500, "0.75"},
		{"0.0001", 1, "0.0001"},
		{"1.50000000", 15_000, "1.5"},
		{"100", 1_000_000, "100"},
	} {
		got, err := ParsePercent(tc.text)
		if err != nil || got != tc.want || got.String() != tc.show {
			t.Errorf("ParsePercent(%q) = %d %q, %v; want %d %q", tc.text, got, got, err, tc.want, tc.show)
		}
	}
	for _, text := range []string{"", ".", "1.", ".5", "-1", "1e1", "0.00001", "100.1", "101", "1000", "1844674407370955.1616", "١"} {
		if got, err := ParsePercent(text); err == nil {
			t.Errorf("ParsePercent(%q) = %d, want an error", text, got)
		}
	}
	if r := (9 * OnePercent / 10).Rat(); r.Cmp(big.NewRat(9, 1000)) != 0 {
		t.Errorf("0.9 %% is %s of the whole, want 9/1000", r)
	}
}

func TestWeiIsNeverShared(t *testing.T) {
	w := NewWei(5)
	w.Big().SetInt64(9)
	if w.String() != "5" {
		t.Errorf("changed to %s through its copy", w)
	}
	if !NewWei(-1).IsZero() || !(Wei{}).Equal(NewWei(0)) {
		t.Error("nought has two forms")
	}
	for _, s := range []string{"", "-1", "+1", "0x10", "1_000", " 1", "1.0", strings.Repeat("9", 80)} {
		if w, err := ParseWei(s); err == nil {
			t.Errorf("ParseWei(%q) = %s, want an error", s, w)
		}
	}
}

func TestAddressesOfServers(t *testing.T) {
	for _, s := range []string{"http://127.0.0.1:8545", "https://user:pw@node.example/path", "http://[::1]:8545", "http://h:65535"} {
		if err := CheckURL(s); err != nil {
			t.Errorf("CheckURL(%q): %v", s, err)
		}
	}
	for _, s := range []string{"", "127.0.0.1:8545", "ws://h", "http://", "http://:8545", "http://h:x", "http://h:65536", "http://h:0", "http://h:99999999999999999999"} {
		if err := CheckURL(s); err == nil {
			t.Errorf("CheckURL(%q) finds nothing wrong", s)
		}
	}
	if err := CheckURL(""); !strings.HasPrefix(err.Error(), "is empty, want") {
		t.Errorf("CheckURL of nothing: %v", err)
	}
	for _, s := range []string{"127.0.0.1:8080", ":0", "[::1]:6379", "redis.example:6379"} {
		if err := CheckHostPort(s); err != nil {
			t.Errorf("CheckHostPort(%q): %v", s, err)
		}
	}
	for _, s := range []string{"", "8080", "127.0.0.1", "h:65536", "h:-1", "h:http"} {
		if err := CheckHostPort(s); err == nil {
			t.Errorf("CheckHostPort(%q) finds nothing wrong", s)
		}
	}
	for _, s := range []string{"redis:0", ":0", "redis", ""} {
		if err := CheckServer(s); err == nil {
			t.Errorf("CheckServer(%q) finds nothing wrong", s)
		}
	}
	if err := CheckServer("redis:6379"); err != nil {
		t.Errorf("CheckServer: %v", err)
	}
}
