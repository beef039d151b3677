package api

import (
	"encoding/json"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"strings"
	"testing"
)

// described are the routes as openapi.json has them. The schemas are made of
// view.go and its comments.
var described = map[string]struct {
	summary string
	paged   bool
	kind    string // of the answer, unless JSON
	view    any
}{
	"/api/stats":                         {summary: "The pool at a glance: hashrate, network, round, payouts, charts, settings.", view: poolView{}},
	"/api/miners":                        {summary: "All miners with shares in the large window; with limit or offset a part of them, by hashrate; with find (at most 42 letters) those whose address contains it, and how many they are.", paged: true, view: minersView{}},
	"/api/blocks":                        {summary: "Candidates, immature and matured blocks, newest first; limit and offset are of the matured ones.", paged: true, view: blocksView{}},
	"/api/payments":                      {summary: "Payments with their status, newest first.", paged: true, view: paymentsView{}},
	"/api/finders":                       {summary: "Who found blocks, most blocks first.", view: findersView{}},
	"/api/accounts/{login}":              {summary: "One miner: money, workers, payments, rewards, and when and why he is paid or not.", view: accountView{}},
	"/api/accounts/{login}/charts":       {summary: "What a miner's workers did in the last 24 hours.", view: accountChartsView{}},
	"/api/accounts/{login}/payments":     {summary: "A miner's payments, newest first.", paged: true, view: accountPaymentsView{}},
	"/api/accounts/{login}/rewards":      {summary: "What the newest blocks brought a miner, newest first.", paged: true, view: accountRewardsView{}},
	"/api/accounts/{login}/payments.csv": {summary: "All of a miner's payments, oldest first: time, transaction, amount, amount_shannon, status, block, fee_wei.", kind: "text/csv"},
	"/api/accounts/{login}/rewards.csv":  {summary: "All of a miner's rewards, oldest first: time, height, hash, kind, amount, amount_shannon, state.", kind: "text/csv"},
	"/api/events":                        {summary: "Server-sent events: stats (as /api/stats, without poolCharts and settings) after every cycle, session (its payouts), block (a block) and payment (a payment) when there is a new one or its state changed, and with login also account (as /api/accounts/{login}) when it changed. Comments keep the connection alive.", kind: "text/event-stream"},
	"/api/openapi.json":                  {summary: "This description.", view: map[string]any{}},
}

type object = map[string]any

// openapi makes the description of the routes.
func openapi(t *testing.T, paths []string) object {
	t.Helper()
	docs := comments(t)
	schemas := object{}
	failed := object{"description": "What is wrong.", "content": object{"application/json": object{"schema": schemaOf(reflect.TypeFor[errorView](), docs, schemas)}}}
	all := object{}
	for _, path := range paths {
		d, ok := described[path]
		if !ok {
			t.Errorf("%s is not described", path)
			continue
		}
		params := []object{}
		if strings.Contains(path, "{login}") {
			params = append(params, object{"name": "login", "in": "path", "required": true, "description": "0x and 40 hex digits, in any letter case.",
				"schema": object{"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}})
		}
		if path == "/api/events" {
			params = append(params, object{"name": "login", "in": "query", "description": "Whose account to follow as well.", "schema": object{"type": "string", "pattern": "^0x[0-9a-fA-F]{40}$"}})
		}
		if d.paged {
			params = append(params,
				object{"name": "limit", "in": "query", "description": "How many at most; more than 1000 are 1000.", "schema": object{"type": "integer", "minimum": 1}},
				object{"name": "offset", "in": "query", "description": "How many to leave out first.", "schema": object{"type": "integer", "minimum": 0}})
		}
		if path == "/api/miners" {
			params = append(params, object{"name": "find", "in": "query", "description": "A part of the address, in any letter case.", "schema": object{"type": "string", "maxLength": findMost}})
		}
		content := object{d.kind: object{"schema": object{"type": "string"}}}
		if d.kind == "" {
			content = object{"application/json": object{"schema": schemaOf(reflect.TypeOf(d.view), docs, schemas)}}
		}
		answers := object{"200": object{"description": "The answer.", "content": content}, "503": failed}
		if len(params) > 0 {
			answers["400"] = failed
		}
		if strings.Contains(path, "{login}") {
			answers["404"] = failed
		}
		if d.kind == "" {
			answers["304"] = object{"description": "If-None-Match has the answer's ETag."}
		} else {
			answers["429"] = failed // an address takes so many at once
		}
		all[path] = object{"get": object{"summary": d.summary, "parameters": params, "responses": answers}}
	}
	return object{"openapi": "3.1.0",
		"info": object{"title": "open-ethereum-pool", "version": "1",
			"description": "Amounts are in Shannon (1e-9 coins) and times in unix seconds unless a field says otherwise. Numbers above 2^53 are possible where a difficulty is. Answers change once in a cycle, which is their max-age."},
		"paths": all, "components": object{"schemas": schemas}}
}

// comments reads what view.go says of types and fields: "type" and "type.field".
func comments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "view.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	docs := map[string]string{}
	oneLine := func(g *ast.CommentGroup) string { return strings.Join(strings.Fields(g.Text()), " ") }
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.TYPE {
			continue
		}
		spec, _ := gen.Specs[0].(*ast.TypeSpec)
		fields, ok := spec.Type.(*ast.StructType)
		if !ok {
			continue
		}
		docs[spec.Name.Name] = strings.TrimPrefix(strings.TrimPrefix(oneLine(gen.Doc), spec.Name.Name+" "), "is ")
		for _, f := range fields.Fields.List {
			for _, name := range f.Names {
				docs[spec.Name.Name+"."+name.Name] = strings.TrimSpace(oneLine(f.Doc) + " " + oneLine(f.Comment))
			}
		}
	}
	return docs
}

func schemaOf(t reflect.Type, docs map[string]string, schemas object) object {
	switch t.Kind() {
	case reflect.Pointer:
		return object{"anyOf": []object{schemaOf(t.Elem(), docs, schemas), {"type": "null"}}}
	case reflect.Slice:
		return object{"type": "array", "items": schemaOf(t.Elem(), docs, schemas)}
	case reflect.Map:
		if t.Elem().Kind() == reflect.Interface {
			return object{"type": "object"}
		}
		return object{"type": "object", "additionalProperties": schemaOf(t.Elem(), docs, schemas)}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.Struct:
		name := strings.TrimSuffix(strings.ToLower(t.Name()[:1])+t.Name()[1:], "View")
		if schemas[name] == nil {
			schemas[name] = object{} // it may be of itself
			fields, required := object{}, []string{}
			properties(t, docs, schemas, fields, &required)
			schemas[name] = object{"type": "object", "properties": fields, "required": required}
			if text := docs[t.Name()]; text != "" {
				schemas[name].(object)["description"] = text
			}
		}
		return object{"$ref": "#/components/schemas/" + name}
	}
	return object{"type": "integer"}
}

func properties(t reflect.Type, docs map[string]string, schemas, fields object, required *[]string) {
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Anonymous {
			properties(f.Type, docs, schemas, fields, required)
			continue
		}
		name, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		schema := schemaOf(f.Type, docs, schemas)
		if text := docs[t.Name()+"."+f.Name]; text != "" {
			schema["description"] = text
		}
		fields[name] = schema
		if options == "" {
			*required = append(*required, name)
		}
	}
}

func TestEveryRouteIsDescribed(t *testing.T) {
	p := newPool(t)
	var paths []string
	for _, r := range p.api.resources() {
		paths = append(paths, r.path)
	}
	if len(paths) != len(described) {
		t.Errorf("%d routes, %d are described", len(paths), len(described))
	}
	want, err := json.MarshalIndent(openapi(t, paths), "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("openapi.json", append(want, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got := p.get("/api/openapi.json").Body.String(); got != string(want)+"\n" {
		t.Error("openapi.json is not what view.go and the routes say; -update writes it anew")
	}
}
