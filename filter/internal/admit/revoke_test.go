package admit

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const revoking = `{"requestHold":"stopIteration","priority":{"trust":[{}]},"upstreams":[{"name":"x","concurrency":{"max":2},"queue":{"revoke":true,"maxWait":{"low":"60s"}}}]}`

// prioritized sends a request for a stream.
func (h *host) prioritized(priority, path string, more ...[2]string) *exchange {
	x := h.startWith(append([][2]string{{":method", "POST"}, {":path", path}, {"content-type", "application/json"}, {"x-priority", priority}}, more...), false)
	x.body(`{"model":"m","max_tokens":100,"stream":true,"messages":[{"role":"user","content":"hi"}]}`, true)
	return x
}

// later lets ten milliseconds pass.
func (h *host) later() map[*Stream]EffectKind {
	h.now += 10 * millisecond
	return h.tick()
}

const (
	chat, messages = "/v1/chat/completions", "/v1/messages"
	token          = `data: {"choices":[{"delta":{"content":"word"}}]}` + "\n\n"
	opened         = `data: {"choices":[{"delta":{"content":"wo`
	ended          = `data: {"error":{"message":"This stream was ended to make room for an urgent request. Please try again later.","type":"server_error","param":null,"code":"service_unavailable"}}` + "\n\n"
)

// revocation is two low streams that have begun, and an urgent request that waits.
func revocation(t *testing.T, path string) (h *host, first, low, urgent *exchange) {
	t.Helper()
	h = newHost(t, revoking, recordtest.NewMemory())
	for _, x := range []**exchange{&first, &low} {
		*x = h.prioritized("low", path)
		(*x).status("200", "text/event-stream", false)
		(*x).response(token, false)
		h.now += millisecond
	}
	urgent = h.prioritized("urgent", path)
	expect(t, "the urgent one waits", urgent.Waiting(), true)
	return h, first, low, urgent
}

// endBoth wants two requests to be in flight, ends them, and wants none to be.
func (h *host) endBoth(t *testing.T, one, other *exchange) {
	t.Helper()
	h.now += second
	h.tick()
	expect(t, "in flight", h.gauges["inflight x"], 2)
	one.done()
	other.done()
	h.now += second
	h.tick()
	expect(t, "in flight in the end", h.gauges["inflight x"], 0)
}

func TestALowStreamIsEndedForAnUrgentRequest(t *testing.T) {
	h, first, low, urgent := revocation(t, chat)
	h.later()
	expect(t, "the other one's piece is its own", first.response(token, false).Replace, false)
	expect(t, "its client is told", string(low.response(token, false).Body), ended)
	expect(t, "gate", low.properties["spillway.gate"], "queue")
	expect(t, "reason", low.properties["spillway.reason"], "revoked")
	meet(low.properties["spillway.gate"] + "/" + low.properties["spillway.reason"])
	expect(t, "decision", low.properties["spillway.decision"], "ALLOWED")
	step := low.response(token, false)
	expect(t, "what comes after it is kept back", step.Replace && len(step.Body) == 0, true)
	expect(t, "it is broken off", h.later()[&low.Stream], BreakOff)
	expect(t, "once", len(h.later()), 0)
	expect(t, "its slot is its own until then", urgent.Waiting(), true)
	low.done()
	expect(t, "the urgent one goes", h.others[&urgent.Stream] == "" && !urgent.Waiting(), true)
	expect(t, "counted", h.counts["spillway_revoked_total x told"], 1)
	expect(t, "charged what has passed", low.properties["gen_ai.completion.tokens"], "1")
	expect(t, "source", low.properties["gen_ai.usage.source"], "counted")
	h.endBoth(t, first, urgent)
	expect(t, "requests", h.requests(), 3)
}

// The event under way is brought to its end, however it is cut; what is not seen of one is left out.
func TestTheErrorIsAnEventOfItsOwn(t *testing.T) {
	for _, c := range []struct {
		name   string
		before []string
		after  []string // pieces, the last of which has the error
		want   string   // of that, before the error
	}{
		{"between events", nil, []string{token}, ""},
		{"inside one", []string{opened}, []string{`rd"}}]}` + "\n\n" + token}, `rd"}}]}` + "\n\n"},
		{"its end comes late", []string{opened}, []string{`rd`, `"}}]}`, "\n", "\n" + token}, "\n"},
		{"carriage returns", []string{strings.ReplaceAll(token, "\n", "\r\n")[:len(token)+1]}, []string{"\n" + token}, ""}, // a CR alone ends a line, too
	} {
		t.Run(c.name, func(t *testing.T) {
			h, _, low, _ := revocation(t, chat)
			for _, piece := range c.before {
				expect(t, "before", low.response(piece, false).Replace, false)
			}
			h.later()
			last := len(c.after) - 1
			for _, piece := range c.after[:last] {
				expect(t, "until its end", low.response(piece, false).Replace, false)
			}
			expect(t, "the piece", string(low.response(c.after[last], false).Body), c.want+ended)
		})
	}
	t.Run("Anthropic", func(t *testing.T) {
		h, _, low, _ := revocation(t, messages)
		low.response("event: content_block_delta\n"+`data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"word"}}`+"\n\n", false)
		expect(t, "a comment", low.response(": wait", false).Replace, false)
		h.later()
		body, _ := strings.CutPrefix(string(low.response("ing\n\n"+token, false).Body), "ing\n")
		expect(t, body, strings.HasPrefix(body, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"This stream was ended"), true)
	})
}

// Its usage is asked for in its client's place: what of an event is held back was never seen.
func TestAnEventThatIsHeldBackIsLeftOut(t *testing.T) {
	h, _, low, _ := revocation(t, chat)
	expect(t, "it asks", low.question.hides, true)
	step := low.response(`data: {"usage":{"prompt_tokens":3,`, false)
	expect(t, "it is held back", step.Replace && len(step.Body) == 0, true)
	h.later()
	expect(t, "the piece", string(low.response(`"completion_tokens":5},"choices":[]}`+"\n\n", false).Body), ended)
}

// No piece comes: its server is silent, or its client doesn't read.
func TestASilentStreamIsCut(t *testing.T) {
	h, _, low, urgent := revocation(t, chat)
	h.later()
	for range 9 {
		expect(t, "not yet", len(h.later()), 0)
	}
	expect(t, "it is broken off", h.later()[&low.Stream], BreakOff)
	low.done()
	expect(t, "the urgent one goes", urgent.Waiting(), false)
	expect(t, "counted", h.counts["spillway_revoked_total x cut"], 1)
	expect(t, "not as told", h.counts["spillway_revoked_total x told"], 0)
}

// What ends by itself meanwhile ends as ever, and frees its slot once.
func TestAStreamThatEndsMeanwhileIsNotRevoked(t *testing.T) {
	for name, ends := range map[string]func(*exchange){
		"its client hangs up": func(x *exchange) {},
		"it is complete":      func(x *exchange) { x.response(token+"data: [DONE]\n\n", true) },
		"trailers":            func(x *exchange) { x.ResponseTrailers() },
	} {
		t.Run(name, func(t *testing.T) {
			h, first, low, urgent := revocation(t, chat)
			h.later()
			ends(low)
			expect(t, "its last piece is its own", low.last.Replace, false)
			low.done()
			expect(t, "the urgent one goes", urgent.Waiting(), false)
			for range 20 {
				expect(t, "nobody is broken off", len(h.later()), 0)
			}
			expect(t, "counted", h.counts["spillway_revoked_total x told"]+h.counts["spillway_revoked_total x cut"], 0)
			h.endBoth(t, first, urgent)
		})
	}
	t.Run("it was told before", func(t *testing.T) {
		h, _, low, urgent := revocation(t, chat)
		h.later()
		low.response(token, false)
		step := low.response("data: [DONE]\n\n", true)
		expect(t, "the end is kept back", step.Replace && len(step.Body) == 0, true)
		expect(t, "the urgent one goes", urgent.Waiting(), false)
		expect(t, "nobody is broken off", len(h.later()), 0)
		low.done()
		expect(t, "charged what has passed", low.properties["gen_ai.completion.tokens"], "1")
	})
}

// What can't be ended so that its client knows why stays: what is no stream, has a length, or has had no output; and what isn't low.
func TestWhatIsNotEnded(t *testing.T) {
	for name, begin := range map[string]func(*host) *exchange{
		"normal": func(h *host) *exchange {
			x := h.prioritized("normal", chat)
			x.status("200", "text/event-stream", false)
			x.response(token, false)
			return x
		},
		"no output": func(h *host) *exchange {
			x := h.prioritized("low", chat)
			x.status("200", "text/event-stream", false)
			return x
		},
		"JSON": func(h *host) *exchange {
			x := h.prioritized("low", chat)
			x.status("200", "application/json", false)
			x.response(used(1, 1)[:40], false)
			return x
		},
		"a length": func(h *host) *exchange {
			x := h.prioritized("low", messages)
			x.status("200", "text/event-stream", false, [2]string{"content-length", "1000"})
			x.response("event: content_block_delta\n"+`data: {"type":"content_block_delta","delta":{"type":"text_delta","text":"word"}}`+"\n\n", false)
			return x
		},
		"an encoding": func(h *host) *exchange {
			x := h.prioritized("low", chat)
			x.status("200", "text/event-stream", false, [2]string{"content-encoding", "br"})
			x.response("xxxx", false)
			return x
		},
	} {
		h := newHost(t, revoking, recordtest.NewMemory())
		begin(h)
		begin(h)
		expect(t, name, h.prioritized("urgent", chat).Waiting(), true)
		for range 30 {
			expect(t, name, len(h.later()), 0)
		}
	}
}

// An urgent request in one worker ends a stream in another one, which knows of it within a tick.
func TestAStreamOfAnotherWorkerIsEnded(t *testing.T) {
	store := recordtest.NewMemory()
	a, b := newHost(t, revoking, store), newWorker(t, revoking, store, []byte("abcdefghijklmnop"))
	var low [2]*exchange
	for i := range low {
		low[i] = a.prioritized("low", chat)
		low[i].status("200", "text/event-stream", false)
		low[i].response(token, false)
	}
	a.later()
	b.now = a.now
	urgent := b.prioritized("urgent", chat)
	expect(t, "it waits", urgent.Waiting(), true)
	b.later()
	a.later()
	told := 0
	for _, x := range low {
		if step := x.response(token, false); step.Replace {
			told++
			a.later()
			x.done()
		}
	}
	expect(t, "streams that were told", told, 1)
	b.later()
	expect(t, "it goes", urgent.Waiting(), false)

}
