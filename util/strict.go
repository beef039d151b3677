package util

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/tailscale/hujson"
)

// maxSource bounds a configuration file, in bytes. The parser recurses, so text
// without bound could exhaust the stack.
const maxSource = 256 << 10

// Ignored is the type of a key that is accepted, with any value, and has no
// effect. The struct tag `ignored:"…"` says why and what to use instead; it
// becomes a warning where the key is written.
type Ignored struct{}

// Source is a decoded configuration text: where its keys stand, and what is to
// be told about them.
type Source struct {
	Warnings []string // a line each, in the order in which they were noted

	file   string
	lines  map[string]int
	failed map[string]bool // keys that could not be read; "" is all of them
}

// Line is where the key is written, counted from one, and 0 where it is left out.
// Elements of a list are keys of their own, "upstream[0]".
func (s *Source) Line(key string) int { return s.lines[key] }

// Warn notes every error of err, which may be joined, as a warning.
func (s *Source) Warn(err error) {
	if located := s.Locate(err); located != nil {
		s.Warnings = append(s.Warnings, strings.Split(located.Error(), "\n")...)
	}
}

// unread says whether the key, or what it is a part of, could not be read.
func (s *Source) unread(key string) bool {
	for i, r := range key {
		if (r == '.' || r == '[') && s.failed[key[:i]] {
			return true
		}
	}
	return s.failed[key] || s.failed[""]
}

// Locate puts the file, and the line of its key where it is written, in front
// of every KeyError in err, which may be joined. It leaves out those of keys that
// could not be read: DecodeStrict told what is wrong with them.
func (s *Source) Locate(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var located []error
		for _, e := range joined.Unwrap() {
			located = append(located, s.Locate(e))
		}
		return errors.Join(located...)
	}
	var bad *KeyError
	if errors.As(err, &bad) && s.unread(bad.Key) {
		return nil
	}
	if errors.As(err, &bad) && s.Line(bad.Key) > 0 {
		return fmt.Errorf("%s:%d: %w", s.file, s.Line(bad.Key), err)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", s.file, err)
	}
	return nil
}

// DecodeStrict reads JSON with comments and trailing commas (JWCC) into the
// struct that into points to; what the text leaves out keeps its value, and a
// struct behind a pointer or in a list begins with its SetDefaults. Keys are
// the json tags, in their exact case. Integers must be written as integers; the
// tag option "string" accepts them in quotes as well. Unknown and repeated keys,
// values of another type and null are errors, all reported together, each line
// naming the file, the line, the key and what would be valid. The file is only a
// name for those; nothing is read. After an error into holds what could be read,
// which is good for one thing: to look for more errors that can be told at once.
func DecodeStrict(file string, data []byte, into any) (*Source, error) {
	d := decoder{src: &Source{file: file, lines: map[string]int{}, failed: map[string]bool{}}, root: reflect.TypeOf(into).Elem()}
	d.src.failed[""] = true // until the text turns out to be JSON
	if len(data) > maxSource {
		return d.src, fmt.Errorf("%s: %d bytes long, want at most %d", file, len(data), maxSource)
	}
	if !utf8.Valid(data) {
		return d.src, fmt.Errorf("%s: not UTF-8 text", file)
	}
	// Editors may leave a byte order mark; and the last line may be a comment
	// without an end of line, which the parser demands.
	data = slices.Concat(bytes.TrimPrefix(data, []byte("\ufeff")), []byte("\n"))
	for i, b := range data {
		if b == '\n' {
			d.newlines = append(d.newlines, i)
		}
	}
	tree, err := hujson.Parse(data)
	if err != nil {
		return d.src, d.syntaxError(data, err)
	}
	delete(d.src.failed, "")
	d.value("", tree, reflect.ValueOf(into).Elem(), false)
	return d.src, errors.Join(d.errs...)
}

// Keys lists the paths of all keys that DecodeStrict knows in v's type, in the
// order of its fields, sections before their members: "payouts",
// "payouts.enabled", …, "upstream[].url".
func Keys(v any) []string { return keysOf("", reflect.TypeOf(v)) }

func keysOf(prefix string, t reflect.Type) (keys []string) {
	switch t.Kind() {
	case reflect.Pointer:
		return keysOf(prefix, t.Elem())
	case reflect.Slice:
		return keysOf(prefix+"[]", t.Elem())
	case reflect.Struct:
		for i := range t.NumField() {
			if name, _ := keyName(t.Field(i)); name != "" {
				key := join(prefix, name)
				keys = append(append(keys, key), keysOf(key, t.Field(i).Type)...)
			}
		}
	}
	return keys
}

// decoder walks a syntax tree along a Go type.
type decoder struct {
	src      *Source
	root     reflect.Type
	newlines []int // offsets
	errs     []error
}

// line of the byte at an offset, counted from one.
func (d *decoder) line(offset int) int {
	i, _ := slices.BinarySearch(d.newlines, offset)
	return i + 1
}

func (d *decoder) fail(offset int, key, format string, args ...any) {
	at := fmt.Sprintf("%s:%d: ", d.src.file, d.line(offset))
	if key != "" {
		at += key + ": "
	}
	d.errs = append(d.errs, errors.New(at+hideKeys(fmt.Sprintf(format, args...))))
	d.src.failed[key] = true
}

// value decodes one value. Quoted says whether an integer may be in quotes.
func (d *decoder) value(key string, v hujson.Value, into reflect.Value, quoted bool) {
	if v.Value.Kind() == 'n' {
		d.fail(v.StartOffset, key, "is null; leave the key out for its default")
		return
	}
	if u, ok := into.Addr().Interface().(json.Unmarshaler); ok {
		plain := v.Clone()
		plain.Minimize() // takes the comments out, and the offsets
		if err := u.UnmarshalJSON(bytes.TrimSpace(plain.Pack())); err != nil {
			d.fail(v.StartOffset, key, "%v", err)
		}
		return
	}
	switch into.Kind() {
	case reflect.Pointer:
		into.Set(reflect.New(into.Type().Elem()))
		setDefaults(into.Elem())
		d.value(key, v, into.Elem(), quoted)
	case reflect.Struct:
		d.object(key, v, into)
	case reflect.Slice:
		d.list(key, v, into)
	case reflect.String:
		if lit, ok := v.Value.(hujson.Literal); ok && lit.Kind() == '"' {
			into.SetString(lit.String())
			return
		}
		d.fail(v.StartOffset, key, "want a string in double quotes, not %s", kind(v))
	case reflect.Bool:
		if lit, ok := v.Value.(hujson.Literal); ok && (lit.Kind() == 't' || lit.Kind() == 'f') {
			into.SetBool(lit.Bool())
			return
		}
		d.fail(v.StartOffset, key, "want true or false, not %s", kind(v))
	default:
		d.integer(key, v, into, quoted)
	}
}

func (d *decoder) object(key string, v hujson.Value, into reflect.Value) {
	obj, ok := v.Value.(*hujson.Object)
	if !ok {
		d.fail(v.StartOffset, key, "want an object { … }, not %s", kind(v))
		return
	}
	seen := map[string]int{}
	for _, m := range obj.Members {
		name, at := m.Name.Value.(hujson.Literal).String(), m.Name.StartOffset
		path := join(key, printable(name))
		if first, dup := seen[name]; dup {
			d.fail(at, path, "given twice, first on line %d", first)
			continue
		}
		seen[name] = d.line(at)
		field, ok := fieldByKey(into.Type(), name)
		if !ok {
			d.unknown(at, key, name, into.Type())
			continue
		}
		d.src.lines[path] = d.line(at)
		if field.Type == reflect.TypeFor[Ignored]() {
			d.src.Warnings = append(d.src.Warnings,
				fmt.Sprintf("%s:%d: %s has no effect: %s", d.src.file, d.line(at), path, field.Tag.Get("ignored")))
			continue
		}
		_, quoted := keyName(field)
		d.value(path, m.Value, into.FieldByIndex(field.Index), quoted)
	}
}

func (d *decoder) list(key string, v hujson.Value, into reflect.Value) {
	var elems []hujson.Value
	switch x := v.Value.(type) {
	case *hujson.Array:
		elems = x.Elements
	case hujson.Literal:
		if into.Type() == reflect.TypeFor[URLs]() && x.Kind() == '"' {
			elems = []hujson.Value{v}
		}
	}
	if elems == nil && v.Value.Kind() != '[' {
		d.fail(v.StartOffset, key, "want a list [ … ], not %s", kind(v))
		return
	}
	list := reflect.MakeSlice(into.Type(), len(elems), len(elems))
	for i, e := range elems {
		at := fmt.Sprintf("%s[%d]", key, i)
		d.src.lines[at] = d.line(e.StartOffset)
		setDefaults(list.Index(i))
		d.value(at, e, list.Index(i), false)
	}
	into.Set(list)
}

func (d *decoder) integer(key string, v hujson.Value, into reflect.Value, quoted bool) {
	lit, ok := v.Value.(hujson.Literal)
	text := string(lit)
	if ok && quoted && lit.Kind() == '"' {
		text = lit.String()
	} else if !ok || lit.Kind() != '0' {
		d.fail(v.StartOffset, key, "want a whole number, not %s", kind(v))
		return
	}
	if !allDigits(strings.TrimPrefix(text, "-")) {
		d.fail(v.StartOffset, key, "%q is not a whole number in plain digits", text)
		return
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		d.fail(v.StartOffset, key, "%s is too large; want at most %d", text, math.MaxInt64)
		return
	}
	switch {
	case into.CanUint() && n < 0:
		d.fail(v.StartOffset, key, "%s is below zero", text)
	case into.CanUint() && !into.OverflowUint(uint64(n)):
		into.SetUint(uint64(n))
	case into.CanInt() && !into.OverflowInt(n):
		into.SetInt(n)
	default:
		d.fail(v.StartOffset, key, "%s does not fit %s", text, into.Kind())
	}
}

// setDefaults asks a value that the text brings into being, behind a pointer or
// in a list, to begin with its defaults.
func setDefaults(v reflect.Value) {
	if s, ok := v.Addr().Interface().(interface{ SetDefaults() }); ok {
		s.SetDefaults()
	}
}

// unknown tells of a key that the section does not have, with the one that was
// probably meant, or else all that are known there. What is meant counts as not
// read, so that nobody is told in the same breath that it is missing.
func (d *decoder) unknown(at int, section, name string, t reflect.Type) {
	path := join(section, printable(name))
	if beside := nearest(name, t); beside != "" {
		d.fail(at, path, "unknown key, did you mean %q?", beside)
		d.src.failed[join(section, beside)] = true
		return
	}
	if elsewhere := d.elsewhere(name); elsewhere != "" {
		d.fail(at, path, "unknown key, did you mean %q?", elsewhere)
		d.src.failed[elsewhere] = true
		return
	}
	var known []string
	for i := range t.NumField() {
		if k, _ := keyName(t.Field(i)); k != "" {
			known = append(known, k)
		}
	}
	d.fail(at, path, "unknown key; known here: %s", strings.Join(known, ", "))
}

// nearest is the section's key that differs from the name in the fewest letters,
// or that begins with the name; empty when none is near.
func nearest(name string, t reflect.Type) string {
	name = strings.ToLower(name)
	best, near := "", max(2, len(name)/3)+1
	begins := ""
	for i := range t.NumField() {
		k, _ := keyName(t.Field(i))
		if k == "" {
			continue
		}
		if n := distance(name, strings.ToLower(k)); n < near {
			best, near = k, n
		}
		if begins == "" && len(name) >= 3 && strings.HasPrefix(strings.ToLower(k), name) {
			begins = k
		}
	}
	if best == "" {
		return begins
	}
	return best
}

// elsewhere is the path of the same key in another section, empty when there is
// none. A password is never sent to another section: it opens something else there.
func (d *decoder) elsewhere(name string) string {
	if strings.Contains(strings.ToLower(name), "password") {
		return ""
	}
	for _, path := range keysOf("", d.root) {
		if path[strings.LastIndexByte(path, '.')+1:] == name {
			return path
		}
	}
	return ""
}

// keyName is the key of a struct field, empty when it has none, and whether the
// tag lets an integer be in quotes.
func keyName(f reflect.StructField) (name string, quoted bool) {
	tag, ok := f.Tag.Lookup("json")
	if !ok || !f.IsExported() || tag == "-" {
		return "", false
	}
	name, options, _ := strings.Cut(tag, ",")
	return name, options == "string"
}

func fieldByKey(t reflect.Type, key string) (reflect.StructField, bool) {
	for i := range t.NumField() {
		if name, _ := keyName(t.Field(i)); name != "" && name == key {
			return t.Field(i), true
		}
	}
	return reflect.StructField{}, false
}

func join(prefix, name string) string {
	if prefix == "" {
		return name
	}
	return prefix + "." + name
}

// printable shows a key as it is, or quoted and cut short when it would spoil
// the line.
func printable(name string) string {
	if q := strconv.Quote(name); len(name) == 0 || len(name) > 60 || q != `"`+name+`"` {
		return fmt.Sprintf("%.60q", name)
	}
	return name
}

func kind(v hujson.Value) string { return kindOf([]byte{byte(v.Value.Kind())}) }

// kindOf names the type of a JSON value, for an error.
func kindOf(b []byte) string {
	if len(b) == 0 {
		return "nothing"
	}
	switch b[0] {
	case '"':
		return "a string"
	case '{':
		return "an object"
	case '[':
		return "a list"
	case 't', 'f':
		return "true or false"
	case 'n':
		return "null"
	}
	return "a number"
}

var parserError = regexp.MustCompile(`(?s)^hujson: line (\d+), column (\d+): (.*)$`)

// syntaxError words the parser's error in our form. A bad literal is not
// repeated: it may be a password with its quotes forgotten.
func (d *decoder) syntaxError(data []byte, err error) error {
	m := parserError.FindStringSubmatch(err.Error())
	if m == nil {
		return fmt.Errorf("%s: not JSON", d.src.file)
	}
	line, _ := strconv.Atoi(m[1])
	what := m[3]
	if strings.HasSuffix(what, "unexpected EOF") {
		return fmt.Errorf("%s:%d: not JSON: %s", d.src.file, len(d.newlines), d.cutOff(data))
	}
	if strings.HasPrefix(what, "invalid literal") {
		what = "neither a string in double quotes nor a number, true or false"
	}
	return fmt.Errorf("%s:%d: not JSON at column %s: %s", d.src.file, min(line, len(d.newlines)), m[2], what)
}

// token is a part of JWCC text that matters for what is open at its end: comments,
// strings and brackets. The groups are the ends of a comment and of a string, and
// empty where the text ends first.
var token = regexp.MustCompile(`(?s)//[^\n]*|/\*.*?(\*/|$)|"(?:\\.|[^"\\])*(\\?$|")|[\[\]{}]`)

// cutOff says in what a text ends that ends too soon.
func (d *decoder) cutOff(data []byte) string {
	type opening struct {
		what string
		at   int
	}
	var open []opening
	for _, m := range token.FindAllSubmatchIndex(data, -1) {
		comment, str := m[2:4], m[4:6]
		switch at := m[0]; {
		case data[at] == '{':
			open = append(open, opening{"an object", at})
		case data[at] == '[':
			open = append(open, opening{"a list", at})
		case data[at] == '}', data[at] == ']':
			open = open[:max(0, len(open)-1)]
		case comment[0] >= 0 && comment[1]-comment[0] < len("*/"):
			open = append(open, opening{"a comment", at})
		case str[0] >= 0 && !bytes.HasPrefix(data[str[0]:], []byte(`"`)):
			open = append(open, opening{"a string", at})
		}
	}
	if len(open) == 0 {
		return "nothing is written, want an object { … }"
	}
	last := open[len(open)-1]
	return fmt.Sprintf("the file ends inside %s that begins on line %d", last.what, d.line(last.at))
}

// distance is Levenshtein's: how many letters to put in, take out or change.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
