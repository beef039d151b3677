package util

import (
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// sample has a field of every kind that a configuration may use.
type sample struct {
	Name    string   `json:"name"`
	On      bool     `json:"on"`
	Count   int      `json:"count"`
	Small   int32    `json:"small"`
	Gas     uint64   `json:"gas,string"`
	Wait    Duration `json:"wait"`
	Price   Wei      `json:"price"`
	Fee     Percent  `json:"fee"`
	Nodes   URLs     `json:"nodes"`
	Numbers []int    `json:"numbers"`
	Old     Ignored  `json:"old" ignored:"use name"`
	Section section  `json:"section"`
	Maybe   *section `json:"maybe"`
	List    []item   `json:"list"`
	Hidden  string   `json:"-"`
}

type section struct {
	Threshold Shannon `json:"threshold,string"`
	Password  string  `json:"password"`
	Fork      *uint64 `json:"fork"`
}

func (s *section) SetDefaults() { s.Threshold = 7 }

type item struct {
	URL          string   `json:"url"`
	Wait         Duration `json:"wait"`
	PasswordFile string   `json:"passwordFile"`
}

func (i *item) SetDefaults() { i.Wait = 5 }

func TestDecodeStrictReadsEveryKind(t *testing.T) {
	const text = "\ufeff" + `{ // a comment
		"name": "m\u0061in", "on": true, "count": -3, "small": 4,
		"gas": "21000", /* quoted */ "wait": /* long */ "1m30s", "price": 50000000000, "fee": 1.50,
		"nodes": "http://a", "numbers": [1, /* two */ 2,],
		"section": {"threshold": "500000000", "fork": 0},
		"maybe": {"password": "p"},
		"list": [{"url": "http://x"}, {"url": "http://y", "wait": "2s"},],
	} // the end`
	got := sample{Name: "default", Section: section{Password: "kept"}}
	src, err := DecodeStrict("f", []byte(text), &got)
	if err != nil {
		t.Fatal(err)
	}
	fork := uint64(0)
	want := sample{
		Name: "main", On: true, Count: -3, Small: 4, Gas: 21000, Wait: 90e9, Price: NewWei(50e9), Fee: 15_000,
		Nodes: URLs{"http://a"}, Numbers: []int{1, 2},
		Section: section{Threshold: 500_000_000, Password: "kept", Fork: &fork},
		Maybe:   &section{Threshold: 7, Password: "p"},
		List:    []item{{URL: "http://x", Wait: 5}, {URL: "http://y", Wait: 2e9}},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	for key, line := range map[string]int{"gas": 3, "section.threshold": 5, "list[1]": 7, "list[1].url": 7, "nodes[0]": 4, "old": 0} {
		if src.Line(key) != line {
			t.Errorf("Line(%q) = %d, want %d", key, src.Line(key), line)
		}
	}
}

func TestDecodeStrictSaysWhatIsWrongAndWhere(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"a misspelt key names the nearest", "{\n\n\"section\": {\n\"thresold\": 1}}", `f:4: section.thresold: unknown key, did you mean "threshold"?`},
		{"a key in another case is unknown", `{"Name": "x"}`, `f:1: Name: unknown key, did you mean "name"?`},
		{"or in capitals", `{"COUNT": 1}`, `f:1: COUNT: unknown key, did you mean "count"?`},
		{"a key of another section is shown there", `{"threshold": 1}`, `f:1: threshold: unknown key, did you mean "section.threshold"?`},
		{"a key like none lists what is known", `{"section": {"zzzzzzzzz": 1}}`, `f:1: section.zzzzzzzzz: unknown key; known here: threshold, password, fork`},
		{"a field without a key cannot be set", `{"Hidden": "x", "-": 1}`, "f:1: Hidden: unknown key"},
		{"an unknown key in a list has an index", `{"list": [{}, {"ur": ""}]}`, `f:1: list[1].ur: unknown key, did you mean "url"?`},
		{"an odd key is quoted", `{"a\nb": 1}`, `f:1: "a\nb": unknown key`},
		{"a repeated key names the first", "{\"count\": 1,\n\"count\": 2}", "f:2: count: given twice, first on line 1"},
		{"a repeated section likewise", "{\"section\": {},\n\"section\": {}}", "f:2: section: given twice, first on line 1"},
		{"a duration in parsecs", `{"wait": "12 parsecs"}`, `f:1: wait: "12 parsecs" is not a duration; want e.g. "120m" or "2h"`},
		{"a duration of nothing", `{"wait": "0s"}`, `f:1: wait: "0s" is not a duration greater than zero`},
		{"a duration without a unit", `{"wait": 120}`, `f:1: wait: 120 has no unit; want text such as "120s" or "120m"`},
		{"a duration that is a list", `{"wait": ["1s"]}`, `f:1: wait: want a duration such as "120m" or "2h", not a list`},
		{"text for a switch", `{"on": "yes"}`, "f:1: on: want true or false, not a string"},
		{"a number for text", `{"name": 5}`, "f:1: name: want a string in double quotes, not a number"},
		{"text for a section", `{"section": "x"}`, "f:1: section: want an object { … }, not a string"},
		{"a section for a list", `{"list": {}}`, "f:1: list: want a list [ … ], not an object"},
		{"text for a list of numbers", `{"numbers": "1"}`, "f:1: numbers: want a list [ … ], not a string"},
		{"a bad element has an index", `{"numbers": [1, "2"]}`, "f:1: numbers[1]: want a whole number, not a string"},
		{"a bad URL element likewise", `{"nodes": ["http://a", 1]}`, "f:1: nodes[1]: want a string in double quotes, not a number"},
		{"quotes where the key has none", `{"count": "3"}`, "f:1: count: want a whole number, not a string"},
		{"a fraction", `{"count": 1.0}`, `f:1: count: "1.0" is not a whole number in plain digits`},
		{"an exponent", `{"count": 2e9}`, `f:1: count: "2e9" is not a whole number in plain digits`},
		{"a quoted word", `{"gas": "many"}`, `f:1: gas: "many" is not a whole number in plain digits`},
		{"a quoted nothing", `{"gas": ""}`, `f:1: gas: "" is not a whole number in plain digits`},
		{"beyond int64", `{"count": 9223372036854775808}`, "f:1: count: 9223372036854775808 is too large; want at most 9223372036854775807"},
		{"beyond int64 where uint64 would do", `{"gas": 9223372036854775808}`, "f:1: gas: 9223372036854775808 is too large"},
		{"beyond int32", `{"small": 2147483648}`, "f:1: small: 2147483648 does not fit int32"},
		{"below zero", `{"gas": -1}`, "f:1: gas: -1 is below zero"},
		{"Wei below zero", `{"price": -1}`, `f:1: price: "-1": want a whole number of Wei`},
		{"Wei with a fraction", `{"price": "1.5"}`, `f:1: price: "1.5": want a whole number of Wei`},
		{"Wei that is a switch", `{"price": true}`, `such as "50000000000", not true or false`},
		{"a percentage over 100", `{"fee": 100.0001}`, "f:1: fee: 100.0001 is more than 100 percent"},
		{"a percentage in quotes", `{"fee": "1"}`, "f:1: fee: want a number of percent such as 1.0, not a string"},
		{"null", `{"maybe": null}`, "f:1: maybe: is null; leave the key out for its default"},
		{"no object at all", `[]`, "f:1: want an object { … }, not a list"},
		{"nothing at all", ``, "f:1: not JSON: nothing is written, want an object { … }"},
		{"an object cut off", "{\"count\": 1,\n", "f:2: not JSON: the file ends inside an object that begins on line 1"},
		{"a section cut off", "{\"count\": 1, // {\n\"section\": {\n\"maybe\": {},\n", "f:4: not JSON: the file ends inside an object that begins on line 2"},
		{"a list cut off", "{\"numbers\":\n[1, /* ] */\n2", "f:3: not JSON: the file ends inside a list that begins on line 2"},
		{"a string cut off", "{\n\"name\": \"x\\\"\n}", "f:3: not JSON: the file ends inside a string that begins on line 2"},
		{"a string cut off after a backslash", "{\n\"name\": \"x\\", "f:2: not JSON: the file ends inside a string that begins on line 2"},
		{"a comment cut off", "{\n/* x\n", "f:3: not JSON: the file ends inside a comment that begins on line 2"},
		{"the beginning of a key finds it", `{"section": {"thres": 1}}`, `f:1: section.thres: unknown key, did you mean "threshold"?`},
		{"a password means the file beside it", `{"list": [{"password": "x"}]}`, `f:1: list[0].password: unknown key, did you mean "passwordFile"?`},
		{"a password is sent to no other section", `{"password": "x"}`, "f:1: password: unknown key; known here: name, on"},
		{"a comma forgotten", "{\"count\": 1\n\"on\": true}", `f:2: not JSON at column 1: invalid character '"' after object value`},
		{"text after the end", "{}\n{}", "f:2: not JSON at column 1: invalid character '{' after top-level value"},
		{"bytes that are no text", "{\"name\": \"\xff\"}", "f: not UTF-8 text"},
		{"a file without bound", strings.Repeat("[", maxSource+1), "f: 262145 bytes long, want at most 262144"},
		{"brackets as deep as the bound allows", strings.Repeat("[", maxSource), "f:1: not JSON"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			_, err := DecodeStrict("f", []byte(tc.text), new(sample))
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("error is  %v\nwant part %s", err, tc.want)
			}
		})
	}
}

func TestDecodeStrictReportsAllErrorsTogether(t *testing.T) {
	_, err := DecodeStrict("f", []byte("{\n\"on\": 1,\n\"nam\": 2,\n\"wait\": \"x\"\n}"), new(sample))
	lines := strings.Split(fmt.Sprint(err), "\n")
	if len(lines) != 3 {
		t.Fatalf("%d lines, want 3:\n%v", len(lines), err)
	}
	for i, l := range lines {
		if want := fmt.Sprintf("f:%d: ", i+2); !strings.HasPrefix(l, want) {
			t.Errorf("%q does not begin with %q", l, want)
		}
	}
}

func TestPasswordsAreInNoError(t *testing.T) {
	for _, text := range []string{
		`{"section": {"password": hunter2}}`,
		"{\"section\": {\"password\": \"hunter2\n\"}}",
		`{"section": {"password": ["hunter2"]}}`,
		`{"section": {"password": {"x": "hunter2"}}}`,
		`{"section": {"pasword": "hunter2"}}`,
		`{"section": {"password": "x", "password": "hunter2"}}`,
		`{"section": {"password": "hunter2"}, "old": "hunter2", "on": 1}`,
	} {
		src, err := DecodeStrict("f", []byte(text), new(sample))
		if err == nil {
			t.Errorf("%s: no error", text)
		}
		if all := fmt.Sprint(err, src.Warnings); strings.Contains(all, "hunter") {
			t.Errorf("%s: shown in %s", text, all)
		}
	}
	for _, s := range []string{"ftp://h/hunter2", "ftp://h?key=hunter2", "ftp://h#hunter2", "ftp://user:p/hunter2@h", "h/v3/hunter2", "http://h:0/hunter2", "http://h:0?hunter2",
		"ftp://user:hunter2@h/x", "ftp://h/@hunter2", "http:///hunter2", "ftp://user:hunter2@h", "http://user:hunter2@", "http://user:hunter2@h:port", "user:hunter2@h"} {
		for _, err := range []error{CheckURL(s), CheckHostPort(s)} {
			if err == nil || strings.Contains(err.Error(), "hunter") {
				t.Errorf("%s: error is %v", s, err)
			}
		}
	}
}

func TestWhatMayBeAPrivateKeyIsInNoError(t *testing.T) {
	key := "0x4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
	for _, secret := range []string{key, key[2:], strings.Replace(key, "8", "g", 1)} {
		_, login := ParseLogin(secret)
		var f Faults
		f.Unless(false, "payouts.address", "is %q, want 0x and 40 hex digits", secret)
		f.Check("listen", CheckHostPort(secret))
		_, decoded := DecodeStrict("f", []byte(`{"wait": "`+secret+`"}`), new(sample))
		for _, err := range []error{login, f.Err(), decoded} {
			if text := fmt.Sprint(err); strings.Contains(text, secret[8:20]) || !strings.Contains(text, fmt.Sprintf("%s… (%d characters)", secret[:6], len(secret))) {
				t.Errorf("error is %s", text)
			}
		}
	}
	if _, err := ParseLogin("0x12"); err == nil || !strings.Contains(err.Error(), `"0x12"`) {
		t.Errorf("a short one is not shown: %v", err)
	}
}

func TestLocateSaysNothingOfKeysThatWereNotRead(t *testing.T) {
	keys := []string{"count", "section.threshold", "list[0].url", "nodes", "gas", "maybe.password"}
	for _, tc := range []struct{ name, text, said string }{
		{"all was read", `{}`, "count section.threshold list[0].url nodes gas maybe.password"},
		{"a wrong type", `{"count": "x"}`, "section.threshold list[0].url nodes gas maybe.password"},
		{"a section of the wrong type", `{"section": 1}`, "count list[0].url nodes gas maybe.password"},
		{"a list of the wrong type", `{"list": 1}`, "count section.threshold nodes gas maybe.password"},
		{"a misspelt key", `{"cont": 1}`, "section.threshold list[0].url nodes gas maybe.password"},
		{"a misspelt section", `{"sektion": {}}`, "count list[0].url nodes gas maybe.password"},
		{"a key in the wrong place", `{"threshold": 1}`, "count list[0].url nodes gas maybe.password"},
		{"no JSON", `{`, ""},
		{"no object", `[]`, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			src, _ := DecodeStrict("f", []byte(tc.text), new(sample))
			var said []string
			for _, k := range keys {
				if src.Locate(&KeyError{Key: k, Problem: "is wrong"}) != nil {
					said = append(said, k)
				}
			}
			if got := strings.Join(said, " "); got != tc.said {
				t.Errorf("said %q, want %q", got, tc.said)
			}
		})
	}
}

func TestAnIgnoredKeyIsAWarningWhateverItsValue(t *testing.T) {
	for _, value := range []string{`1`, `"x"`, `{"a": [1, {}]}`, `true`} {
		src, err := DecodeStrict("f", []byte("{\n\"old\": "+value+"}"), new(sample))
		if err != nil {
			t.Errorf("%s: %v", value, err)
		}
		if len(src.Warnings) != 1 || src.Warnings[0] != "f:2: old has no effect: use name" {
			t.Errorf("%s: warnings are %q", value, src.Warnings)
		}
	}
}

func TestLocatePutsFileAndLineBeforeEveryKey(t *testing.T) {
	src, err := DecodeStrict("f", []byte("{\n\"count\": 3,\n\"nodes\": \"ftp://h\"}"), new(sample))
	if err != nil {
		t.Fatal(err)
	}
	var f Faults
	f.Unless(false, "count", "is %d, want at least %d", 3, 12)
	f.Unless(true, "on", "never")
	f.Check("nodes[0]", CheckURL("ftp://h"))
	f.Check("name", errors.New("is not set"))
	got := src.Locate(errors.Join(f.Err(), nil, errors.New("something else"))).Error()
	want := strings.Join([]string{
		`f:2: count is 3, want at least 12`,
		`f:3: nodes[0] is "ftp://h", neither http nor https; want a URL such as "http://127.0.0.1:8545"`,
		`f: name is not set`,
		`f: something else`,
	}, "\n")
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	if err := src.Locate(errors.Join()); err != nil {
		t.Errorf("nothing wrong gives %v", err)
	}
}

func TestKeysListsEveryPath(t *testing.T) {
	got := strings.Join(Keys(sample{}), " ")
	const want = "name on count small gas wait price fee nodes numbers old " +
		"section section.threshold section.password section.fork " +
		"maybe maybe.threshold maybe.password maybe.fork list list[].url list[].wait list[].passwordFile"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func FuzzDecodeStrict(f *testing.F) {
	f.Add(`{"gas": "1", "list": [{}], "nodes": ["x"], /**/ "old": {}, "section": {"threshold": 1e3}}`)
	f.Add(`{"wait": "1s", "wait": 1, "price": "", "fee": 1., "maybe": {}}//`)
	f.Add("{,}")
	f.Add(`[}`)
	f.Fuzz(func(t *testing.T, text string) {
		src, err := DecodeStrict("f", []byte(text), new(sample))
		if src == nil {
			t.Fatal("no source")
		}
		if err != nil && !strings.HasPrefix(err.Error(), "f:") {
			t.Errorf("error names no file: %v", err)
		}
	})
}
