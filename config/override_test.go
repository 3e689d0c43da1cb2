package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"
)

const overridden = `{"limits":[{"name":"a","per":["user"],"unit":"requests","quantity":300,"window":"1h","burst":100},
	{"name":"b","unit":"totalTokens","quantity":7,"window":"1m","match":{"models":["x"]}}],
	"upstreams":[{"name":"u","concurrency":{"max":4},"queue":{"max":9}}],"operations":[{"path":"/a","dialect":"openai.chat"}],
	"models":{"aliases":{"x":"y"}}}`

// patched applies patches one after the other, and gives the overrides that are left, with what is wrong with the last one.
func patched(t *testing.T, patches ...string) (c Config, overrides string, problem string) {
	t.Helper()
	var laid []byte
	for i, patch := range patches {
		var err error
		var next []byte
		if c, next, err = Patch([]byte(overridden), laid, []byte(patch)); err != nil {
			if i < len(patches)-1 {
				t.Fatal(err)
			}
			return c, string(laid), err.Error()
		}
		laid = next
	}
	return c, string(laid), ""
}

func TestOverridesAreLaidOverTheFile(t *testing.T) {
	for _, c := range []struct {
		name    string
		patches []string
		want    string // overrides that are left
		shows   string // in the configuration
	}{
		{"by name", []string{`{"limits":{"a":{"quantity":500}}}`}, `{"limits":{"a":{"quantity":500}}}`, `{"name":"a","per":["user"],"match":{"models":[],"operations":[],"priorities":[],"tenants":[],"groups":[],"headers":{}},"unit":"requests","quantity":500,"window":"1h","burst":100`},
		{"what follows from others", []string{`{"limits":{"b":{"quantity":500}}}`}, `{"limits":{"b":{"quantity":500}}}`, `"quantity":500,"window":"1m","burst":500`},
		{"one after the other", []string{`{"limits":{"a":{"quantity":500}}}`, `{"limits":{"a":{"burst":600}},"mode":"shadow"}`},
			`{"limits":{"a":{"quantity":500,"burst":600}},"mode":"shadow"}`, `"quantity":500,"window":"1h","burst":600`},
		{"null takes one back", []string{`{"limits":{"a":{"quantity":500,"burst":600}}}`, `{"limits":{"a":{"quantity":null}}}`}, `{"limits":{"a":{"burst":600}}}`, `"quantity":300,"window":"1h","burst":600`},
		{"null takes all of a limit's back", []string{`{"mode":"shadow","limits":{"a":{"quantity":500,"burst":600}}}`, `{"limits":{"a":null}}`}, `{"mode":"shadow"}`, `"quantity":300,"window":"1h","burst":100`},
		{"null of what isn't overridden", []string{`{"limits":{"a":{"burst":null}},"mode":null}`}, ``, `"burst":100`},
		{"a list", []string{`{"limits":{"a":{"per":["tenant"]}}}`}, `{"limits":{"a":{"per":["tenant"]}}}`, `"per":["tenant"]`},
		{"a map", []string{`{"models":{"aliases":{"z":"y"}}}`}, `{"models":{"aliases":{"z":"y"}}}`, `"aliases":{"x":"y","z":"y"}`},
		{"a list of what has a name, as a whole", []string{`{"operations":[{"path":"/b","dialect":"ollama"}]}`, `{"operations":{"/b":{"dialect":"gemini"}}}`},
			`{"operations":[{"path":"/b","dialect":"gemini"}]}`, `"operations":[{"path":"/b","dialect":"gemini"}]`},
		{"all limits", []string{`{"limits":[{"name":"a","unit":"requests","quantity":1,"window":"1h"},{"name":"b","unit":"requests","quantity":2,"window":"1h"}]}`, `{"limits":{"b":{"quantity":3}}}`},
			`{"limits":[{"name":"a","unit":"requests","quantity":1,"window":"1h"},{"name":"b","unit":"requests","quantity":3,"window":"1h"}]}`, `"quantity":3,"window":"1h","burst":3`},
		{"a part of what stands deep", []string{`{"upstreams":{"u":{"queue":{"maxWait":{"low":"5s"}}}}}`}, `{"upstreams":{"u":{"queue":{"maxWait":{"low":"5s"}}}}}`, `"maxWait":{"urgent":"1m","high":"1m","normal":"1m","low":"5s"}`},
		{"an empty patch", []string{`{}`}, ``, `"mode":"enforce"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			cfg, overrides, problem := patched(t, c.patches...)
			if problem != "" || overrides != c.want {
				t.Errorf("%s\n got %s\nwant %s", problem, overrides, c.want)
			}
			if shown := string(cfg.JSON()); !strings.Contains(shown, c.shows) {
				t.Errorf("%s\nisn't in %s", c.shows, shown)
			}
			again, err := ParseWith([]byte(overridden), []byte(overrides))
			if err != nil || !reflect.DeepEqual(cfg, again) {
				t.Errorf("what is stored isn't what was accepted: %v", err)
			}
		})
	}
}

func TestWhatNoOverrideChangesIsRefused(t *testing.T) {
	for patch, want := range map[string]string{
		`{"namespace":"x","admin":{"path":"/x"},"requestHold":"none"}`: "namespace: can't be changed while it runs",
		`{"limits":{"typo":{"quantity":1}}}`:                           "limits.typo: no such name; want a or b",
		`{"limits":{"typo":null}}`:                                     "limits.typo: no such name; want a or b",
		`{"limits":{"a":{"name":"c"}}}`:                                "limits.a.name: can't be changed",
		`{"limits":{"a":7}}`:                                           "limits.a: a number: want an object",
		`{"limits":[]}`:                                                "limits: its entries can't be added, taken out or renamed while it runs; want a or b",
		`{"limits":[{"name":"a","unit":"requests","quantity":1,"window":"1h"}]}`: "limits: its entries",
		`{"upstreams":[{"name":"v"}]}`:                                           "upstreams: its entries",
		`{"limits":7}`:                                                           "limits: a number: want a list",
		`{"limits":{"a":{"quantity":-1}}}`:                                       "limits[0].quantity: -1: want a whole number",
		`{"limits":{"a":{"quantity":1,"quantity":2}}}`:                           "limits.a.quantity: duplicate key",
		`{"limits":{"a":{"quantty":1}}}`:                                         `limits[0].quantty: unknown key; did you mean "quantity"?`,
		`{"limits":{"a":{"quantty":null}}}`:                                      `limits.a.quantty: unknown key; did you mean "quantity"?`,
		`{"modes":null}`:                                                         `modes: unknown key; did you mean "mode"?`,
		`{"upstreams":{"u":{"concurrency":{"reserved":{"high":4}}}}}`:            "upstreams[0].concurrency.reserved: 4: leaves no slot",
		`[]`:       "a list: want an object",
		`"x"`:      "a string: want an object",
		`{"mode":`: "invalid JSON at line 1",
		`null`:     "want an object",
		" ":        "want an object",
		`{"mode":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + `}`:                   "nested deeper than 64 levels",
		`{"models":{"labels":["` + strings.Repeat("x", MostOverrides) + `"]}}`:                   "longer than 65536 bytes",
		`{"mode":"foo","statusCode":{"limits":999},"limits":{"a":{"unit":"x"},"c":{},"b":null}}`: "mode: \"foo\": want",
	} {
		_, overrides, problem := patched(t, `{"mode":"shadow"}`, patch)
		if !strings.Contains(problem, want) || overrides != `{"mode":"shadow"}` {
			t.Errorf("%.100s: %s", patch, problem)
		}
	}
	_, _, problem := patched(t, `{"mode":"foo","statusCode":{"limits":999},"limits":{"a":{"unit":"x"},"c":{}},"namespace":null}`)
	for _, want := range []string{"mode: ", "statusCode.limits: ", "limits[0].unit: ", "limits.c: no such name", "namespace: "} {
		if !strings.Contains(problem, want) {
			t.Errorf("%s isn't told: %s", want, problem)
		}
	}
}

func TestProblemsAreToldOneByOne(t *testing.T) {
	_, _, err := Patch([]byte(overridden), nil, []byte(`{"mode":"foo","limits":{"c":{}}}`))
	want := []Problem{{"limits.c", "no such name; want a or b"}, {"mode", `"foo": want enforce, shadow or off`}}
	if got := Problems(err); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := Problems(ErrNotOverridden); len(got) != 1 || got[0].Message == "" {
		t.Errorf("%q", got)
	}
}

func TestAllOverridesTogetherAreBounded(t *testing.T) {
	half := strings.Repeat("x", MostOverrides*2/3)
	_, _, problem := patched(t, `{"models":{"labels":["`+half+`"]}}`, `{"upstreams":{"u":{"models":["`+half+`"]}}}`)
	if !strings.Contains(problem, "all overrides together are longer") {
		t.Error(problem)
	}
}

func TestOneOverrideIsTakenBack(t *testing.T) {
	const overrides = `{"mode":"shadow","limits":{"a":{"quantity":500,"burst":5},"b":{"match":{"models":["z"]}}},"models":{"aliases":{"a/b":"c","~":"d"}},"operations":[{"path":"/b","dialect":"ollama"}]}`
	for pointer, want := range map[string]string{
		"/mode":                    strings.Replace(overrides, `"mode":"shadow",`, "", 1),
		"/limits/0/quantity":       strings.Replace(overrides, `"quantity":500,`, "", 1),
		"/limits/a/quantity":       strings.Replace(overrides, `"quantity":500,`, "", 1),
		"/limits/0":                strings.Replace(overrides, `"a":{"quantity":500,"burst":5},`, "", 1),
		"/limits/1/match/models":   strings.Replace(overrides, `,"b":{"match":{"models":["z"]}}`, "", 1),
		"/models/aliases/a~1b":     strings.Replace(overrides, `"a/b":"c",`, "", 1),
		"/models/aliases/~0":       strings.Replace(overrides, `,"~":"d"`, "", 1),
		"/operations":              strings.Replace(overrides, `,"operations":[{"path":"/b","dialect":"ollama"}]`, "", 1),
		"/operations/0":            "",
		"/operations/~1b/dialect":  "",
		"/limits/2/quantity":       "",
		"/limits/b/quantity":       "",
		"/limits/-1":               "",
		"/limits/99999999999999/x": "",
		"/limits/1/match/models/0": "",
		"/mode/x":                  "",
		"/":                        "",
		"":                         "",
		"mode":                     "",
		"//":                       "",
		"/limits/0/quantity/":      "",
		"/limits/0/match/models":   "",
		"/nothing/of/the/kind":     "",
	} {
		left, err := TakeBack([]byte(overridden), []byte(overrides), pointer)
		if string(left) != want || (want == "") != (err == ErrNotOverridden) {
			t.Errorf("%q: %v\n got %s\nwant %s", pointer, err, left, want)
		}
	}
	if left, err := TakeBack([]byte(overridden), []byte(`{"limits":{"a":{"quantity":500}}}`), "/limits/0/quantity"); left != nil || err != nil {
		t.Errorf("%s is left of nothing: %v", left, err)
	}
}

// mergePatch is RFC 7396's own description of it, section 2.
func mergePatch(target, patch any) any {
	changes, isObject := patch.(map[string]any)
	if !isObject {
		return patch
	}
	object, isObject := target.(map[string]any)
	if !isObject {
		object = map[string]any{}
	}
	for key, value := range changes {
		if value == nil {
			delete(object, key)
		} else {
			object[key] = mergePatch(object[key], value)
		}
	}
	return object
}

// someJSON draws a document.
func someJSON(depth int) *rapid.Generator[any] {
	return rapid.Custom(func(t *rapid.T) any {
		switch kind := rapid.IntRange(0, 6).Draw(t, "kind"); {
		case kind == 0:
			return nil
		case kind == 1:
			return rapid.SampledFrom([]any{true, false, 1.0, -2.5, "", "x", "\x01<\"\\\u2028é"}).Draw(t, "value")
		case kind == 2 && depth > 0:
			return rapid.SliceOfN(someJSON(depth-1), 0, 3).Draw(t, "list")
		case depth > 0:
			object := map[string]any{}
			for range rapid.IntRange(0, 4).Draw(t, "size") {
				object[rapid.SampledFrom([]string{"a", "b", "c", "", "ä\n"}).Draw(t, "key")] = someJSON(depth-1).Draw(t, "of")
			}
			return object
		}
		return "leaf"
	})
}

// pruned is a document without objects that are empty, and without nulls in objects.
func pruned(v any) any {
	object, isObject := v.(map[string]any)
	if !isObject {
		return v
	}
	kept := map[string]any{}
	for key, value := range object {
		if value = pruned(value); value != nil {
			kept[key] = value
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// TestMergingIsTheStandards: what becomes of overrides by patches is what RFC 7396 says, but for objects that are empty.
func TestMergingIsTheStandards(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var want any
		o := overlay{}
		var laid []byte
		for range rapid.IntRange(1, 4).Draw(t, "patches") {
			patch, isObject := someJSON(3).Draw(t, "patch").(map[string]any)
			if !isObject {
				continue
			}
			text, _ := json.Marshal(patch)
			var again any
			_ = json.Unmarshal(text, &again)
			want = mergePatch(want, again)
			laid = stored(o.merge("", nil, o.parse(laid), o.parse(text)))
		}
		var got any
		if len(laid) > 0 {
			if err := json.Unmarshal(laid, &got); err != nil {
				t.Fatalf("%v: %s", err, laid)
			}
		}
		if len(o.r.errs) > 0 || !reflect.DeepEqual(got, pruned(want)) {
			t.Fatalf("%v: got %v, want %v", o.r.errs, got, pruned(want))
		}
	})
}

// aPatch draws a patch, mostly a valid one.
func aPatch(t *rapid.T) string {
	var b strings.Builder
	b.WriteString("{")
	for i := range rapid.IntRange(0, 4).Draw(t, "keys") {
		if i > 0 {
			b.WriteString(",")
		}
		n := rapid.IntRange(-1, 9).Draw(t, "n")
		b.WriteString(rapid.SampledFrom([]string{
			fmt.Sprintf(`"limits":{"a":{"quantity":%d}}`, n), fmt.Sprintf(`"limits":{"b":{"burst":%d,"mode":"shadow"}}`, n),
			`"limits":{"a":{"quantity":null}}`, `"limits":null`, `"limits":{"a":null}`, fmt.Sprintf(`"upstreams":{"u":{"concurrency":{"max":%d}}}`, n),
			`"mode":"shadow"`, `"mode":null`, fmt.Sprintf(`"models":{"aliases":{"k%d":"v"}}`, n), `"operations":[{"path":"/b","dialect":"ollama"}]`, `"operations":{"/a":{"dialect":"gemini"}}`,
			`"retry":{"longest":"5s"}`, `"nonsense":1`,
		}).Draw(t, "part"))
	}
	b.WriteString("}")
	return b.String()
}

// overFile applies overrides to a file by the standard alone: what is by name is brought into the standard's form.
func overFile(file, overrides string) string {
	var base, over map[string]any
	_ = json.Unmarshal([]byte(file), &base)
	_ = json.Unmarshal([]byte(overrides), &over)
	for list, key := range map[string]string{"limits": "name", "upstreams": "name", "operations": "path"} {
		byName, is := over[list].(map[string]any)
		if !is {
			continue
		}
		entries := base[list].([]any)
		for i := range entries {
			if change, is := byName[entries[i].(map[string]any)[key].(string)]; is {
				entries[i] = mergePatch(entries[i], change)
			}
		}
		delete(over, list)
	}
	text, _ := json.Marshal(mergePatch(base, over))
	return string(text)
}

// TestPatchingThenParsingIsParsingThePatchedFile, and a patch that is refused leaves all as it was.
func TestPatchingThenParsingIsParsingThePatchedFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var laid []byte
		for range rapid.IntRange(1, 5).Draw(t, "patches") {
			c, next, err := Patch([]byte(overridden), laid, []byte(aPatch(t)))
			if err != nil {
				continue
			}
			laid = next
			text := overridden
			if laid != nil {
				text = overFile(overridden, string(laid))
			}
			want, err := Parse([]byte(text))
			if err != nil || !reflect.DeepEqual(c, want) {
				t.Fatalf("%v: %s over the file isn't %s", err, laid, text)
			}
		}
	})
}

func TestWhatIsShownIsTheConfiguration(t *testing.T) {
	files, err := filepath.Glob("examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no examples", err)
	}
	texts := []string{"", overridden, `{"publish":["gen_ai.prompt.tokens","spillway.decision"],"priority":{"trust":[]},"limits":[{"name":"i","unit":"inflight","quantity":3}]}`,
		`{"limits":[{"name":"r","unit":"requests","quantity":3,"window":"90s","refund":["5xx",429]}],"priority":{"rules":[{"match":{"users":["<script>\u0007"]},"set":"urgent"}]}}`}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		asJSON, err := yaml.YAMLToJSON(text)
		if err != nil {
			t.Fatal(err)
		}
		texts = append(texts, string(asJSON))
	}
	for _, text := range texts {
		c, err := Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		c.Admin = Admin{Read: ReadOpen} // which has what is masked
		shown := c.JSON()
		again, err := Parse(shown)
		if err != nil || !reflect.DeepEqual(normal(c), normal(again)) {
			t.Errorf("%v: %s\n isn't %s", err, shown, text)
		}
		if bytes.ContainsAny(shown, "<>\n") {
			t.Errorf("markup: %s", shown)
		}
	}
}

// normal makes lists that are empty nil: which of them a configuration has makes no difference, but that of who is trusted.
func normal(c Config) string {
	trust := c.Priority.Trust != nil
	var units []string
	for i := range c.Limits {
		units = append(units, c.Limits[i].Unit.Name)
	}
	text, _ := json.Marshal(c.JSON())
	return fmt.Sprint(trust, units, string(text))
}

func FuzzPatch(f *testing.F) {
	f.Add([]byte(`{"limits":{"a":{"quantity":500}}}`), []byte(`{"limits":{"a":null},"operations":{"/a":{"dialect":"x"}}}`), "/limits/0/quantity")
	f.Add([]byte(`{"limits":[{"name":"a"}]}`), []byte(`{"a\u0000":{"":null}}`), "/limits/~1/~0")
	f.Add([]byte(`{"limits":{"a":{"match":{"headers":{"x":"y"}}}}}`), []byte(`[[{}]]`), "")
	f.Fuzz(func(t *testing.T, overrides, patch []byte, pointer string) {
		for _, laid := range [][]byte{nil, overrides} {
			c, kept, err := Patch([]byte(overridden), laid, patch)
			if err != nil {
				if err.Error() == "" {
					t.Error("an error without words")
				}
				continue
			}
			if len(kept) > MostOverrides {
				t.Errorf("%d bytes", len(kept))
			}
			for _, broken := range brokenInvariants(c) {
				t.Error(broken)
			}
			again, err := ParseWith([]byte(overridden), kept)
			if err != nil || !bytes.Equal(again.JSON(), c.JSON()) {
				t.Errorf("%v: what is stored isn't what was accepted: %s", err, kept)
			}
			if left, err := TakeBack([]byte(overridden), kept, pointer); err == nil && len(left) >= len(kept) {
				t.Errorf("%q takes nothing back of %s: %s", pointer, kept, left)
			}
		}
	})
}

func TestDifferencesAreWhatIsOverridden(t *testing.T) {
	file, err := Parse([]byte(overridden))
	if err != nil {
		t.Fatal(err)
	}
	c, _, problem := patched(t, `{"limits":{"b":{"quantity":8}},"models":{"aliases":{"a/b":"c"},"labels":["z"]},"upstreams":{"u":{"ensureStreamUsage":false}},"usage":{"cost":[{"prompt":2}]}}`)
	const want = `[{"path":"/models/aliases/a~1b","file":null,"value":"c"},{"path":"/models/labels","file":[],"value":["z"]},` +
		`{"path":"/usage/cost/0/prompt","file":1,"value":2},{"path":"/limits/1/quantity","file":7,"value":8},{"path":"/limits/1/burst","file":7,"value":8},` +
		`{"path":"/upstreams/0/ensureStreamUsage","file":null,"value":false}]`
	if got := string(Differences(&file, &c)); problem != "" || got != want {
		t.Errorf("%s\n got %s\nwant %s", problem, got, want)
	}
	if got := string(Differences(&file, &file)); got != "[]" {
		t.Error(got)
	}
}
