package admit

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const (
	// both is a limit of requests and one of tokens.
	both = `"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":9,"window":"8760h"},
		{"name":"u","per":["user"],"unit":"totalTokens","quantity":10000,"window":"8760h"}]`
	// few is a limit of requests alone.
	few = `"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":2,"window":"8760h"}]`
)

// A body that tells nothing is passed on, and the estimates stand for it.
func TestABodyThatCanNotBeReadIsEstimated(t *testing.T) {
	tests := []struct {
		name    string
		headers [][2]string
		pieces  []string
		decided int // the piece at which it is decided
		prompt  int64
		output  int64 // what was found of its bound is used
	}{
		{"not JSON", nil, []string{"model=mock&", "max_tokens=9"}, 0, 6, 256},
		{"cut off", nil, []string{chatBody[:34]}, 0, 9, 256},
		{"too large", nil, []string{strings.Repeat(" ", 60), strings.Repeat(" ", 60), "{}"}, 1, 31, 256},
		{"too large, as its length says", [][2]string{{"content-length", "101"}}, []string{chatBody, strings.Repeat(" ", 24)}, 0, 26, 256},
		{"compressed", [][2]string{{"content-encoding", "gzip"}}, []string{chatBody}, 0, 20, 100},
		{"compressed, and it is", [][2]string{{"content-encoding", "br"}}, []string{"\x8b\x02\x80whatever"}, 0, 3, 256},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, `{"requestHold":"stopIteration","usage":{"maxRequestBytes":100},`+both+`}`, recordtest.NewMemory())
			x := h.start("alice", false, test.headers...)
			expect(t, "decided at the headers", x.last.Action == Continue, false)
			for i, piece := range test.pieces {
				step := x.body(piece, i == len(test.pieces)-1)
				expect(t, "decided by now", step.Action == Continue, i >= test.decided)
			}
			x.status("200", "application/json", false)
			x.response(`{}`, true)
			x.done()
			expect(t, "balance", h.balance("alice"), 10000-test.prompt-test.output)
			expect(t, "gen_ai.prompt.tokens", x.properties["gen_ai.prompt.tokens"] != "", true)
			expect(t, "gen_ai.usage.source", x.properties["gen_ai.usage.source"], "estimated")
			expect(t, "counted", h.counts["requests ALLOWED none NORMAL other"], 1)
			h.idle()
		})
	}
}

// What is read of a compressed or unknown body changes nothing about the limits of requests.
func TestRequestsAreLimitedWhateverTheyAre(t *testing.T) {
	for _, test := range []struct {
		name      string
		headers   [][2]string
		end       bool
		uncharged int64
	}{
		{"an unknown path", [][2]string{{":method", "POST"}, {":path", "/v1/unknown"}}, false, 2},
		{"an unknown path without a body", [][2]string{{":method", "POST"}, {":path", "/v1/unknown"}}, true, 2},
		{"a GET", [][2]string{{":method", "GET"}, {":path", "/v1/models"}}, true, 0},
		{"a GET of a known path", [][2]string{{":method", "GET"}, {":path", "/v1/chat/completions"}}, true, 0},
		{"a compressed body", [][2]string{{":method", "POST"}, {":path", "/v1/chat/completions"}, {"content-encoding", "br"}}, false, 0},
		{"no body", [][2]string{{":method", "POST"}, {":path", "/v1/chat/completions"}}, true, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, `{"requestHold":"stopIteration",`+few+`}`, recordtest.NewMemory())
			for i := range 3 {
				x := h.startWith(append([][2]string{{"x-user-id", "alice"}}, test.headers...), test.end)
				if i == 2 {
					expect(t, "the third", x.last.Action, Answer)
					expect(t, "its reason", header(x.last.Reply.Headers, "x-spillway-reason"), "limits/requests_exceeded")
					x.done()
					break
				}
				expect(t, "at the headers", x.last.Action, Continue)
				if !test.end {
					x.body("whatever", true)
				}
				step := x.status("200", "text/plain", false)
				expect(t, "x-ratelimit-remaining-requests", header(step.Headers, "x-ratelimit-remaining-requests"), string(rune('1'-i)))
				x.response("whatever", true)
				x.done()
			}
			expect(t, "unknown paths", h.counts["uncharged unknown_path"], test.uncharged+test.uncharged/2)
			expect(t, "counted", h.requests(), 3)
			h.idle()
		})
	}
}

// A request that is decided at its headers is still read: its model and bound are wanted.
func TestARequestDecidedAtItsHeadersIsReadOn(t *testing.T) {
	h := newHost(t, `{"requestHold":"none","models":{"labels":["*"]},`+both+`}`, recordtest.NewMemory())
	x := h.start("alice", false)
	expect(t, "reserved", h.balance("alice"), 10000-256)
	expect(t, "reading", x.wants(), true)
	x.body(chatBody[:9], false)
	expect(t, "counted before its model is known", h.requests(), 0)
	x.body(chatBody[9:], true)
	expect(t, "gen_ai.request.model", x.properties["gen_ai.request.model"], "mock")
	x.answer(used(26, 76))
	expect(t, "counted with its model", h.counts["requests ALLOWED none NORMAL mock"], 1)
	expect(t, "balance", h.balance("alice"), 10000-102)
	again := h.start("alice", false)
	expect(t, "reserved, the model unknown", h.balance("alice"), 10000-102-256)
	again.done()
	for _, user := range []string{"bob", "carol", "dave", "erin"} {
		x := h.start(user, false)
		x.body(chatBody, true)
		x.answer(used(26, 76))
	}
	h.start("alice", false)
	expect(t, "what several taught is reserved, the model unknown", h.balance("alice"), 10000-102-76)
}

func TestTrailersEndARequest(t *testing.T) {
	for _, hold := range []string{"stopIteration", "bufferFilter", "none"} {
		h := newSeed(t, hold)
		x := h.start("alice", false)
		x.body(chatBody, false)
		x.RequestTrailers()
		expect(t, hold+": action", x.last.Action, Continue)
		x.status("200", "text/event-stream", false)
		x.response("data: "+used(1, 7)+"\n\n", false)
		x.ResponseTrailers()
		expect(t, hold+": balance", h.balance("alice"), 293)
		x.done()
		expect(t, hold+": counted", h.requests(), 1)
		h.idle()
	}
}

// A limit that depends on the model can't be decided at the headers, however requests are held.
func TestLimitsOfModelsAreDecidedAtTheBody(t *testing.T) {
	const limits = `"limits":[{"name":"big","per":["model"],"match":{"models":["big-*"]},"unit":"requests","quantity":1,"window":"1h"}]`
	for hold, atHeaders := range map[string]EffectKind{"stopIteration": Hold, "bufferFilter": Continue, "none": Continue} {
		t.Run(hold, func(t *testing.T) {
			h := newHost(t, `{"requestHold":"`+hold+`",`+limits+`}`, recordtest.NewMemory())
			for i, test := range []struct {
				model string
				want  EffectKind
			}{{"small", Continue}, {"big-1", Continue}, {"big-2", Continue}, {"big-1", Answer}, {"small", Continue}} {
				x := h.start("alice", false)
				expect(t, "at the headers", x.last.Action, atHeaders)
				expect(t, "in the body", x.body(`{"model":"`, false).Action, Hold)
				if got := x.body(test.model+`"}`, true).Action; got != test.want {
					t.Errorf("request %d: action %d, want %d", i, got, test.want)
				}
				x.done()
			}
			expect(t, "counted", h.requests(), 5)
			h.idle()
		})
	}
}

func TestARequestThatCanNeverFit(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration","errorFormat":"dynamo","statusCode":{"limits":529},
		"limits":[{"name":"u","per":["user"],"unit":"completionTokens","quantity":99,"window":"1h","admission":"strict"}]}`, recordtest.NewMemory())
	x := h.ask("alice")
	if x.last.Action != Answer {
		t.Fatalf("action %d", x.last.Action)
	}
	r := x.last.Reply
	expect(t, "status", r.Status, 529)
	expect(t, "x-should-retry", header(r.Headers, "x-should-retry"), "false")
	expect(t, "retry-after", header(r.Headers, "retry-after"), "")
	expect(t, "spillway.reason", x.properties["spillway.reason"], "request_too_large")
	var body struct{ Code int }
	if err := json.Unmarshal(r.Body, &body); err != nil || body.Code != 529 {
		t.Errorf("%s: %v", r.Body, err)
	}
}

func TestIdentityRefusals(t *testing.T) {
	const reject = `"identity":{"missing":"reject"},`
	missing := [][2]string{{":method", "POST"}, {":path", "/v1/chat/completions"}}
	repeated := append([][2]string{{"x-user-id", "a"}, {"x-user-id", "b"}}, missing...)
	for _, test := range []struct {
		name, configuration string
		headers             [][2]string
		status              int // 0: passes
		reason, code        string
	}{
		{"missing", `{` + reject + seedLimits + `}`, missing, 401, "identity/missing", "missing_identity"},
		{"missing, and nobody asks", `{"identity":{"missing":"reject"}}`, missing, 0, "", ""},
		{"missing, and anonymous", `{` + seedLimits + `}`, missing, 0, "", ""},
		{"repeated", `{` + seedLimits + `}`, repeated, 400, "identity/repeated_header", "repeated_header"},
		{"repeated, in shadow mode", `{"mode":"shadow",` + seedLimits + `}`, repeated, 0, "", ""},
		{"missing, in shadow mode", `{"mode":"shadow",` + reject + seedLimits + `}`, missing, 0, "", ""},
		{"repeated, switched off", `{"mode":"off",` + seedLimits + `}`, repeated, 0, "", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			h := newHost(t, test.configuration, recordtest.NewMemory())
			x := h.startWith(test.headers, false)
			if test.status == 0 {
				expect(t, "action", x.last.Action, Continue)
				x.body(chatBody, true)
				x.done()
				expect(t, "counted", h.requests(), 1)
				var shadowed int64
				if strings.Contains(test.name, "shadow") {
					shadowed = 1
				}
				expect(t, "recorded in shadow mode", h.counts["requests SHADOW identity NORMAL other"], shadowed)
				return
			}
			if x.last.Action != Answer {
				t.Fatalf("action %d", x.last.Action)
			}
			r := x.last.Reply
			expect(t, "status", r.Status, test.status)
			expect(t, "x-spillway-reason", header(r.Headers, "x-spillway-reason"), test.reason)
			var body struct {
				Error struct{ Message, Type, Code string }
			}
			if err := json.Unmarshal(r.Body, &body); err != nil || body.Error.Code != test.code || !strings.Contains(body.Error.Message, "x-user-id") {
				t.Errorf("%s: %v", r.Body, err)
			}
			x.done()
			expect(t, "counted", h.counts["requests REJECTED identity LOW other"]+h.counts["requests REJECTED identity NORMAL other"], 1)
			expect(t, "counted in all", h.requests(), 1)
			h.idle()
		})
	}
}

func TestShadowModeLetsAllPass(t *testing.T) {
	h := newHost(t, `{"mode":"shadow","requestHold":"stopIteration",`+seedLimits+`}`, recordtest.NewMemory())
	for i := range 6 {
		x := h.ask("alice")
		want := "ALLOWED"
		if i >= 4 {
			want = "SHADOW"
			expect(t, "spillway.gate", x.properties["spillway.gate"], "limits")
			expect(t, "spillway.limit", x.properties["spillway.limit"], "u")
		}
		expect(t, "action", x.last.Action, Continue)
		expect(t, "spillway.decision", x.properties["spillway.decision"], want)
		x.answer(used(26, 76))
	}
	expect(t, "allowed", h.counts["requests ALLOWED none NORMAL other"], 4)
	expect(t, "shadowed", h.counts["requests SHADOW limits NORMAL other u"], 2)
	expect(t, "output tokens", h.counts["tokens output reported other"], 6*76)
	h.idle()
}

func TestModeOffOnlyReads(t *testing.T) {
	store := recordtest.NewMemory()
	h := newHost(t, `{"mode":"off","requestHold":"stopIteration",`+seedLimits+`}`, store)
	for range 6 {
		x := h.ask("alice")
		expect(t, "action", x.last.Action, Continue)
		x.answer(used(26, 76))
		expect(t, "gen_ai.completion.tokens", x.properties["gen_ai.completion.tokens"], "76")
	}
	expect(t, "counted", h.counts["requests ALLOWED none NORMAL other"], 6)
	if keys, _ := store.Size(); keys != 1 {
		t.Errorf("%d keys: nothing but the hash key is stored", keys)
	}
}
