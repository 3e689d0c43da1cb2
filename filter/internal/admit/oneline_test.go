package admit

import (
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/oneline"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

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
					if oneline.Of(value) != value {
						t.Errorf("%s is %q", property, value)
					}
				}
			}
			for _, note := range h.notes {
				if oneline.Of(note) != note {
					t.Errorf("the log has %q", note)
				}
			}
		})
	}
}
