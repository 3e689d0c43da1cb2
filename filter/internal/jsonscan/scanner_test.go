package jsonscan

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// trace writes down every call, so that two readings can be compared.
type trace struct{ strings.Builder }

func (t *trace) Begin(id int, kind Kind) { fmt.Fprintf(t, "begin %d %d\n", id, kind) }
func (t *trace) Value(id int, kind Kind, text []byte, size int) {
	fmt.Fprintf(t, "value %d %d %q %d\n", id, kind, text, size)
}

var wanted = Compile(
	Path{ID: 1, Path: "model", Keep: 256},
	Path{ID: 2, Path: "usage"},
	Path{ID: 3, Path: "usage.prompt_tokens"},
	Path{ID: 4, Path: "choices"},
	Path{ID: 5, Path: "choices.*.delta.content"},
	Path{ID: 6, Path: "stream"},
)

func read(data []byte, cut func(i int) bool) (string, bool) {
	var s Scanner
	var t trace
	s.Reset(wanted, &t)
	start := 0
	for i := range data {
		if cut(i) {
			s.Write(data[start:i])
			start = i
		}
	}
	s.Write(data[start:])
	valid := s.Close()
	return t.String(), valid
}

func whole(int) bool    { return false }
func bytewise(int) bool { return true }

func TestScannerReportsWantedValues(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"scalars", `{"model":"gpt-4","stream":true}`, "value 1 4 \"gpt-4\" 5\nvalue 6 2 \"\" 0\n"},
		{"model last", `{"messages":[{"role":"user","content":"\"model\":\"no\""}],"model":"a"}`, "value 1 4 \"a\" 1\n"},
		{"nested", `{"usage":{"x":{"prompt_tokens":1},"prompt_tokens":12}}`, "begin 2 5\nvalue 3 3 \"12\" 0\n"},
		{"null object", `{"usage":null}`, "value 2 0 \"\" 0\n"},
		{"array elements", `{"choices":[{"delta":{"content":"hi"}},{"delta":{"content":""}}]}`,
			"begin 4 6\nvalue 5 4 \"\" 2\nvalue 5 4 \"\" 0\n"},
		{"repeated member", `{"model":"a","model":"b"}`, "value 1 4 \"a\" 1\nvalue 1 4 \"b\" 1\n"},
		{"escaped name", `{"mod\u0065l":"a"}`, "value 1 4 \"a\" 1\n"},
		{"escapes", `{"model":"\u00e9\ud83d\ude00\ud83dx\/\n"}`, "value 1 4 \"é😀\ufffdx/\\n\" 12\n"},
		{"byte order mark", "\ufeff{\"model\":\"a\"}", "value 1 4 \"a\" 1\n"},
		{"other types", `{"model":3,"stream":{"a":1},"choices":"x"}`, "value 1 3 \"3\" 0\nbegin 6 5\nvalue 4 4 \"\" 1\n"},
		{"deep path only at its level", `{"a":{"model":"no"}}`, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, valid := read([]byte(test.in), whole)
			if !valid || got != test.want {
				t.Errorf("got valid=%v\n%swant\n%s", valid, got, test.want)
			}
		})
	}
}

func TestScannerIsAsStrictAsEncodingJSON(t *testing.T) {
	deep := strings.Repeat("[", MaxDepth) + strings.Repeat("]", MaxDepth)
	for _, in := range []string{
		``, ` `, `{}`, `[]`, `{"a":1,}`, `[1,]`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":1}x`, `{"a":1} `, `nul`, `null`, `nulls`,
		`01`, `-`, `-0`, `1.`, `1.5`, `1e`, `1e+`, `1e+5`, `.5`, `+1`, `1 2`, `"a`, `"\x"`, `"\u12"`, `"\u12g4"`, "\"\x01\"", "\"\xff\"",
		`[1}`, `{"a":1]`, `]`, `tru`, `truE`, `[[[]]]`, `[,1]`, `{,}`, deep, "[" + deep + "]",
	} {
		if _, got := read([]byte(in), whole); got != json.Valid([]byte(in)) {
			t.Errorf("%.40q: valid = %v", in, got)
		}
	}
}

func TestInt(t *testing.T) {
	for in, want := range map[string]int64{"0": 0, "76": 76, "12.0": 12, "1e3": 1000, "999999999999999": 999999999999999} {
		if got, ok := Int([]byte(in)); !ok || got != want {
			t.Errorf("Int(%s) = %d, %v", in, got, ok)
		}
	}
	for _, in := range []string{"", "-1", "1.5", "1e400", "99999999999999999999", "1e16"} {
		if got, ok := Int([]byte(in)); ok {
			t.Errorf("Int(%s) = %d", in, got)
		}
	}
}

func FuzzScanner(f *testing.F) {
	f.Add([]byte(`{"model":"a","usage":{"prompt_tokens":12.5e3},"choices":[{"delta":{"content":"\ud83d\ude00"}}]}`), uint16(3))
	f.Add([]byte("\ufeff[1,-0.5,true,false,null,\"x\"]"), uint16(1))
	f.Add([]byte(`{"model":"\ud83d","model":"\udE00"}`), uint16(7))
	f.Fuzz(func(t *testing.T, data []byte, step uint16) {
		once, valid := read(data, whole)
		split, splitValid := read(data, func(i int) bool { return step == 0 || i%int(step) == 0 })
		bytes1, bytesValid := read(data, bytewise)
		if once != split || once != bytes1 || valid != splitValid || valid != bytesValid {
			t.Fatalf("the reading depends on the split:\n%s\n%s", once, split)
		}
		if plain := bytes.TrimPrefix(data, []byte(mark)); valid != json.Valid(plain) {
			t.Fatalf("valid = %v", valid)
		}
		if !valid {
			return
		}
		// The first "model" that gjson finds must be among what was reported. Keys with escapes it does not match.
		if model := gjson.GetBytes(data, "model"); model.Type == gjson.String && len(model.Str) <= 256 {
			if want := fmt.Sprintf("value 1 4 %q", model.Str); !strings.Contains(once, want) && !strings.Contains(model.Raw, `\u`) {
				t.Fatalf("%s is missing from\n%s", want, once)
			}
		}
	})
}

func BenchmarkScanner(b *testing.B) {
	body := []byte(`{"messages":[{"role":"user","content":"` + strings.Repeat("lorem ipsum dolor ", 200) + `"}],"model":"gpt-4","stream":true}`)
	var s Scanner
	var t trace
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		t.Reset()
		s.Reset(wanted, &t)
		s.Write(body)
		s.Close()
	}
}

// counting takes what there is, and keeps nothing.
type counting struct{ begun, values, bytes int }

func (c *counting) Begin(int, Kind) { c.begun++ }
func (c *counting) Value(_ int, _ Kind, text []byte, _ int) {
	c.values++
	c.bytes += len(text)
}

func TestScanningAllocatesNothing(t *testing.T) {
	document := []byte(`{"MODEL":"m\u00e9\ud83d\ude00\n\u005c","usage":{"prompt_tokens":-1.5e3},"x":[[{}],null],"choices":[{"delta":{"content":"hi"}}],"stream":true}`)
	var s Scanner
	var text Text
	var c counting
	scan := func() {
		c, text = counting{}, Text{}
		s.ResetLenient(wanted, &c)
		for i := range document[:60] {
			s.Write(document[i : i+1])
		}
		s.Write(text.Write(document[60:]))
		if !s.Close() || c.begun != 2 || c.values != 4 || c.bytes != 15 {
			t.Fatalf("%+v", c)
		}
	}
	scan()
	if n := testing.AllocsPerRun(100, scan); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
