package payouts

import (
	"os"
	"strings"
	"testing"
)

func TestAnOwnerIsReadBackFromTheLock(t *testing.T) {
	o := NewOwner("0123456789abcdef")
	if got, ok := parseOwner(o.String()); !ok || got != o {
		t.Errorf("%q reads %+v, %v, want %+v", o, got, ok, o)
	}
	host, err := os.Hostname()
	if err == nil && o.Host != strings.ReplaceAll(host, " ", "-") {
		t.Errorf("host %q, want %q", o.Host, host)
	}
	if o.PID == "" || o.Journal != "0123456789abcdef" || len(o.Token) != 16 {
		t.Errorf("owner %+v", o)
	}
	if other := NewOwner("0123456789abcdef"); other.Token == o.Token {
		t.Error("two owners have one token")
	}
}

func TestStrangeLocksAreNobodysOwner(t *testing.T) {
	for name, value := range map[string]string{
		"nothing":                "",
		"a word of a person":     "please wait",
		"an older pool's":        "0x34ae12692bd4567a27e3e86411b58ea6954ba773:25000000",
		"no token":               "payouts host=a pid=1 journal=2",
		"an empty token":         "payouts host=a pid=1 journal=2 token=",
		"an empty host":          "payouts host= pid=1 journal=2 token=3",
		"another order":          "payouts pid=1 host=a journal=2 token=3",
		"another program's":      "unlocker host=a pid=1 journal=2 token=3",
		"words in front":         "the payouts host=a pid=1 journal=2 token=3",
		"words behind":           "payouts host=a pid=1 journal=2 token=3 4",
		"a line end behind":      "payouts host=a pid=1 journal=2 token=3\n",
		"bytes that are no text": "\xff\x00payouts host=a",
	} {
		if o, ok := parseOwner(value); ok {
			t.Errorf("%s: %q reads %+v, want nobody", name, value, o)
		}
	}
}

func TestOnlyTheSameJournalOnTheSameHostProvesAnOwnerGone(t *testing.T) {
	us := Owner{Host: "a", PID: "1", Journal: "j", Token: "t"}
	for _, tc := range []struct {
		name  string
		other Owner
		want  bool
	}{
		{"a process before us", Owner{Host: "a", PID: "9", Journal: "j", Token: "u"}, true},
		{"another host", Owner{Host: "b", PID: "9", Journal: "j", Token: "u"}, false},
		{"another journal", Owner{Host: "a", PID: "9", Journal: "k", Token: "u"}, false},
		{"the same pid alone proves nothing", Owner{Host: "b", PID: "1", Journal: "k", Token: "u"}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := us.gone(tc.other); got != tc.want {
				t.Errorf("gone = %v, want %v", got, tc.want)
			}
		})
	}
}
