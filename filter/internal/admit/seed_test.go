package admit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// The seed: 300 tokens an hour, answers of 76. Four pass, the fifth does not, another user is not concerned.
func TestTheSeed(t *testing.T) {
	for _, test := range []struct {
		hold              string
		headers, body     EffectKind // what the host is told at the headers and at a first piece of the body
		refusedAtHeaders  bool
		requested, reason string
	}{
		// Held until the body says how much is asked for.
		{"stopIteration", Hold, Hold, false, "requested 100", "limits/tokens_exceeded"},
		{"bufferFilter", Continue, Hold, false, "requested 100", "limits/tokens_exceeded"},
		// Decided at the headers, where the request's own bound isn't known. The body is kept since it may be a stream's, to
		// be changed.
		{"none", Continue, Hold, true, "requested 256", "limits/tokens_exceeded"},
	} {
		t.Run(test.hold, func(t *testing.T) {
			h := newSeed(t, test.hold)
			for i := range 4 {
				x := h.start("alice", false)
				expect(t, "at the headers", x.last.Action, test.headers)
				expect(t, "at the body's first piece", x.body(chatBody[:10], false).Action, test.body)
				expect(t, "at its end", x.body(chatBody[10:], true).Action, Continue)
				step := x.status("200", "application/json", false)
				expect(t, "x-ratelimit-limit-tokens", header(step.Headers, "x-ratelimit-limit-tokens"), "300")
				expect(t, "while the response comes", x.response(used(26, 76), true).Action, Continue)
				x.done()
				expect(t, "balance", h.balance("alice"), int64(300-76*(i+1)))
			}
			h.now += millisecond // some time passes between requests
			x := h.start("alice", false)
			if !test.refusedAtHeaders {
				expect(t, "the fifth, at the headers", x.last.Action, test.headers)
				x.body(chatBody, true)
			}
			checkRefusal(t, x, test.requested, test.reason)
			x.done()
			expect(t, "the other user", h.ask("bob").last.Action, Continue)
			expect(t, "allowed", h.counts["requests ALLOWED none NORMAL other"], 5)
			expect(t, "rejected", h.counts["requests REJECTED limits NORMAL other u"], 1)
			expect(t, "counted", h.requests(), 6)
			expect(t, "output tokens", h.counts["tokens output reported other"], 304)
			expect(t, "input tokens", h.counts["tokens input reported other"], 4*26)
		})
	}
}

func checkRefusal(t *testing.T, x *exchange, requested, reason string) {
	t.Helper()
	if x.last.Action != Answer {
		t.Fatalf("the fifth: action %d", x.last.Action)
	}
	r := x.last.Reply
	expect(t, "status", r.Status, 429)
	expect(t, "retry-after", header(r.Headers, "retry-after"), "48")
	expect(t, "x-spillway-reason", header(r.Headers, "x-spillway-reason"), reason)
	if body := string(r.Body); !strings.Contains(body, "limit 300, used 304, "+requested) {
		t.Errorf("body %s", body)
	}
	expect(t, "refused", x.Refused(), true)
	for name, want := range map[string]string{
		"spillway.decision": "REJECTED", "spillway.gate": "limits", "spillway.reason": "tokens_exceeded", "spillway.limit": "u",
	} {
		expect(t, name, x.properties[name], want)
	}
}

func TestTheNextRequestPassesWhenTheWaitIsOver(t *testing.T) {
	h := newSeed(t, "stopIteration")
	for range 4 {
		h.ask("alice").answer(used(26, 76))
	}
	h.now += 48 * second
	expect(t, "after 48 seconds", h.ask("alice").last.Action, Answer)
	h.now += millisecond
	expect(t, "a moment later", h.ask("alice").last.Action, Continue)
}

func TestWhatIsPublished(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration","models":{"labels":["mock*"],"aliases":{"vendor":"mock"}},"priority":{"forward":false},`+seedLimits+`}`, recordtest.NewMemory())
	x := h.start("alice", false, [2]string{"x-priority", "high"})
	expect(t, "the header to remove", fmt.Sprint(x.last.Asked), "[[x-priority ]]")
	x.body(strings.Replace(chatBody, `"mock"`, `"vendor/7b"`, 1), true)
	x.status("200", "application/json", false)
	x.response(`{"model":"real","usage":{"prompt_tokens":26,"completion_tokens":76,"total_tokens":102,"prompt_tokens_details":{"cached_tokens":20},"completion_tokens_details":{"reasoning_tokens":70}}}`, true)
	for name, want := range map[string]string{
		"gen_ai.request.model": "vendor/7b", "gen_ai.response.model": "real", "gen_ai.operation.name": "chat", "gen_ai.provider.name": "openai",
		"gen_ai.prompt.tokens": "26", "gen_ai.completion.tokens": "76", "gen_ai.total.tokens": "102", "gen_ai.cached.tokens": "20",
		"gen_ai.reasoning.tokens": "70", "gen_ai.usage.source": "reported", "spillway.decision": "ALLOWED", "spillway.priority": "HIGH",
		"spillway.gate": "", "spillway.reason": "", "gen_ai.ttft.ms": "",
	} {
		expect(t, name, x.properties[name], want)
	}
	for name, want := range map[string]int64{
		"requests ALLOWED none HIGH mock/7b": 1, "tokens input reported mock/7b": 26, "tokens output reported mock/7b": 76,
		"tokens cached reported mock/7b": 20, "tokens reasoning reported mock/7b": 70,
	} {
		expect(t, name, h.counts[name], want)
	}
	x.done()
	h.idle()
}

func TestAChangedConfigurationKeepsTheBalances(t *testing.T) {
	h := newSeed(t, "stopIteration")
	running := h.ask("alice")
	h.ask("alice").answer(used(26, 76))
	changed := newHost(t, `{"requestHold":"none","limits":[{"name":"u","per":["user"],"unit":"completionTokens","quantity":200,"window":"1h"}]}`, h.Store)
	expect(t, "balance, with what the old one's request reserves", changed.balance("alice"), 200-76-100)
	running.answer(used(26, 50))
	expect(t, "balance, when it is settled", changed.balance("alice"), 200-76-50)
	elsewhere := newHost(t, `{"namespace":"elsewhere",`+seedLimits+`}`, h.Store)
	expect(t, "balance in another namespace", elsewhere.balance("alice"), 300)
}
