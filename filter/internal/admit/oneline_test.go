package admit

import (
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

func TestNoTextMakesALineOfItsOwn(t *testing.T) {
	for text, want := range map[string]string{
		"llama-3/8b:free": "llama-3/8b:free", "": "", "模型-é 😀": "模型-é 😀", "a\nb": "a_b", "a\r\n\tb": "a___b", "\x00\x1b[2J\x7f": "__[2J_",
		"a\u0085b\u2028c\u2029d": "a_b_c_d", "a\u202eb\u2066": "a_b_", "\xff\xfea\xe4\xb8": "__a__", "\ufffd": "\ufffd",
	} {
		if got := OneLine(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
	if n := testing.AllocsPerRun(10, func() { OneLine("meta-llama/Llama-3.1-8B-Instruct") }); n != 0 {
		t.Errorf("an ordinary name takes %v allocations", n)
	}
}

func FuzzOneLine(f *testing.F) {
	f.Add("a\nb\u2028")
	f.Add("\xc2\x85\xc2")
	f.Fuzz(func(t *testing.T, text string) {
		got := OneLine(text)
		if !utf8.ValidString(got) || strings.IndexFunc(got, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' }) >= 0 {
			t.Fatalf("%q", got)
		}
		if OneLine(got) != got {
			t.Fatal("not the same a second time")
		}
	})
}

// Whatever a client or an upstream sends, what goes into the filter state is one line.
func TestTheFilterStateHasNoControlCharacters(t *testing.T) {
	const evil = `a\nFORGED\u2028b\u0000\u0085\u001b`
	for name, test := range map[string]struct{ path, body, answer string }{
		"a chat's model":         {"/v1/chat/completions", `{"model":"` + evil + `"}`, `{"model":"` + evil + `","usage":{"prompt_tokens":1,"completion_tokens":2}}`},
		"bytes that are no text": {"/v1/chat/completions", "{\"model\":\"a\xff\xfe\x7fb\"}", "{\"model\":\"\xc2\x85\xff\",\"usage\":{\"prompt_tokens\":1}}"},
		"a model in the path":    {"/v1beta/models/a%0AFORGED%E2%80%A8%7F%C2%85%FF:generateContent", `{}`, `{"modelVersion":"` + evil + `"}`},
		"a deployment":           {"/openai/deployments/a%0Ab%E2%80%A9/chat%2Fcompletions", `{}`, `{}`},
		"an unknown path":        {"/v1/\n", `{}`, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, `{"requestHold":"stopIteration","limits":[{"name":"u","per":["user","tenant","model"],"unit":"requests","quantity":1,"window":"1h"}]}`, recordtest.NewMemory())
			for range 2 { // the second one is refused
				x := h.startWith([][2]string{
					{":method", "POST"}, {":path", test.path}, {"x-user-id", "ann\n\xff"}, {"x-tenant-id", "t\u2028"}, {"x-priority", "urgent\n\nFORGED"},
				}, false)
				x.body(test.body, true)
				if x.last.Action != Answer {
					x.status("200", "application/json", false)
					x.response(test.answer, true)
				}
				x.done()
				for property, value := range x.properties {
					if OneLine(value) != value {
						t.Errorf("%s is %q", property, value)
					}
				}
			}
			for _, note := range h.notes {
				if OneLine(note) != note {
					t.Errorf("the log has %q", note)
				}
			}
		})
	}
}
