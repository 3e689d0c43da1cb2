package admit

import (
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// What nobody knows how to read passes, is charged an estimate, or is refused, as the configuration says.
func TestWhatIsNotKnownIsGovernedAsConfigured(t *testing.T) {
	const tokens = `"limits":[{"name":"t","match":{"models":["dear"]},"unit":"totalTokens","quantity":300,"window":"1h"}]`
	const none = `"limits":[{"name":"r","unit":"requests","quantity":100,"window":"1h"}]`
	ask := func(method, path string, more ...string) (all [][2]string) {
		all = [][2]string{{":method", method}, {":path", path}, {"x-user-id", "ada"}}
		for i := 0; i < len(more); i += 2 {
			all = append(all, [2]string{more[i], more[i+1]})
		}
		return all
	}
	post := ask("POST", "/generate")
	for _, test := range []struct {
		name, configuration string
		headers             [][2]string
		body                string // "": none
		want                string // what the third is refused for; "": it passes
	}{
		{"pass", tokens, post, "{}", ""},
		{"estimate", `"unknown":"estimate",` + tokens, post, "{}", "limits/tokens_exceeded"},
		{"estimate, not JSON", `"unknown":"estimate",` + tokens, post, "abc", "limits/tokens_exceeded"},
		{"estimate, by GET with a body", `"unknown":"estimate",` + tokens, ask("GET", "/generate"), "{}", "limits/tokens_exceeded"},
		{"estimate, nothing is read", `"unknown":"estimate","usage":{"maxRequestBytes":0},` + tokens, post, "{}", "limits/tokens_exceeded"},
		{"estimate, where models have to be told", `"unknown":"estimate","models":{"unread":"reject"},` + tokens, post, "{}", "model/unknown"},
		{"reject", `"unknown":"reject",` + tokens, post, "{}", "operation/unknown"},
		{"reject, below the models", `"unknown":"reject",` + tokens, ask("POST", "/v1beta/models/g:predict"), "{}", "operation/unknown"},
		{"reject, told to pass", `"unknown":"reject","operations":[{"path":"/generate","dialect":"other"}],` + tokens, post, "{}", ""},
		{"reject, another path that ends like it", `"unknown":"reject","operations":[{"path":"/free","dialect":"other"}],` + tokens, ask("POST", "/generate%3F/free"), "{}", "operation/unknown"},
		{"reject, known", `"unknown":"reject",` + tokens, ask("POST", "/v1/chat/completions"), `{"model":"x"}`, ""},
		{"reject, without limits of tokens", `"unknown":"reject",` + none, post, "{}", ""},
		{"reject, without a body", `"unknown":"reject",` + tokens, ask("GET", "/v1/models"), "", ""},
		{"reject, a POST without a body", `"unknown":"reject",` + tokens, post, "", ""},
		{"reject, a preflight", `"unknown":"reject",` + tokens, ask("OPTIONS", "/generate", "origin", "a", "access-control-request-method", "POST"), "", ""},
		{"reject, a websocket", `"unknown":"reject",` + tokens, ask("GET", "/v1/realtime", "upgrade", "websocket", "connection", "Upgrade"), "{}", ""},
		{"reject, in shadow mode", `"mode":"shadow","unknown":"reject",` + tokens, post, "{}", ""},
		{"reject, off", `"mode":"off","unknown":"reject",` + tokens, post, "{}", ""},
	} {
		for _, hold := range []string{"stopIteration", "bufferFilter", "none"} {
			t.Run(test.name+" "+hold, func(t *testing.T) {
				h := newHost(t, `{"requestHold":"`+hold+`",`+test.configuration+`}`, recordtest.NewMemory())
				for n := range 3 {
					x := h.startWith(test.headers, test.body == "")
					if test.body != "" && x.last.Action != Answer {
						x.body(test.body, true)
					}
					if n == 2 {
						expect(t, "refused for", refusedFor(x), test.want)
						if test.name == "reject, in shadow mode" {
							expect(t, "decision", x.properties["spillway.decision"]+" "+x.properties["spillway.reason"], "SHADOW unknown")
						}
					}
					if x.last.Action != Answer {
						x.answer(`{"text":"whatever"}`)
					}
					x.done()
				}
				if test.name == "pass" {
					expect(t, "counted", h.counts["uncharged unknown_path"], 3)
				}
				h.idle()
			})
		}
	}
}
