package rpc

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzSplit: JSON is taken apart as encoding/json does it.
func FuzzSplit(f *testing.F) {
	for _, text := range []string{
		sampleBlock, sampleReceipt, sampleTransaction, `{}`, `[]`, " [ ] ", `null`, `"{"`, `1`,
		`{"a":1,"b":"\"","c":"\\","d":"\\\"}","e":[1,{"f":"]"}],"a":-2.5e3,"":true}`,
		"\r\n{ \"a\" :\t{ \"b\" : [ ] } ,\n\"c\" : null\n}\n", `[1,"a,b",[2,[3]],{"a":[]},false]`, "[ 1 , 2 ]", `{"\u0061":1}`,
	} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var raw json.RawMessage
		if json.Unmarshal(text, &raw) != nil {
			raw = bytes.TrimSpace(text)
		}
		var fields map[string]json.RawMessage
		m, err := object(raw)
		if want := json.Unmarshal(raw, &fields) == nil && fields != nil; (err == nil) != want {
			t.Fatalf("%s is an object: %v, %v", raw, want, err)
		}
		for name, want := range fields {
			if got := m.find(name); !bytes.Equal(got, want) {
				t.Errorf("member %q of %s is %s, want %s", name, raw, got, want)
			}
		}
		var list []json.RawMessage
		got, err := elements(raw)
		if want := json.Unmarshal(raw, &list) == nil && list != nil; (err == nil) != want || len(got) != len(list) {
			t.Fatalf("%s is an array: %v, %d elements, %v", raw, want, len(got), err)
		}
		for i := range got {
			if !bytes.Equal(got[i], list[i]) {
				t.Errorf("element %d of %s is %s, want %s", i, raw, got[i], list[i])
			}
		}
	})
}
