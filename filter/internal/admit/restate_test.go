package admit

import (
	"strconv"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// Where the upstream can't answer, the client gets an error of its API with the reason, not the proxy's words.
func TestTheProxysErrorsSpeakTheDialect(t *testing.T) {
	const openAI = `{"error":{"message":"The model server can't be reached.","type":"server_error","param":null,"code":"service_unavailable"}}`
	for _, c := range []struct {
		name, path, status, reason, body string
		from                             origin.Origin
	}{
		{"unreachable", "/v1/chat/completions", "503", "upstream/unreachable", openAI, origin.Unreachable},
		{"too slow", "/v1/chat/completions", "504", "upstream/timeout",
			`{"error":{"message":"The model server took too long to answer.","type":"server_error","param":null,"code":"service_unavailable"}}`, origin.TimedOut},
		{"too slow, Anthropic", "/v1/messages", "504", "upstream/timeout",
			`{"type":"error","error":{"type":"timeout_error","message":"The model server took too long to answer."}}`, origin.TimedOut},
		{"too slow, Gemini", "/v1beta/models/m:generateContent", "504", "upstream/timeout",
			`{"error":{"code":504,"message":"The model server took too long to answer.","status":"DEADLINE_EXCEEDED"}}`, origin.TimedOut},
		{"broken off, Anthropic", "/v1/messages", "503", "upstream/broken",
			`{"type":"error","error":{"type":"overloaded_error","message":"The model server broke off before it answered."}}`, origin.Broken},
		{"another filter's", "/v1/chat/completions", "503", "", "", origin.Elsewhere},
		{"the upstream's own", "/v1/chat/completions", "503", "", "", origin.Upstream},
	} {
		h := newHost(t, `{"requestHold": "stopIteration"}`, recordtest.NewMemory())
		x := h.startWith([][2]string{{":path", c.path}, {":method", "POST"}, {"content-type", "application/json"}}, false)
		x.body(chatBody, true)
		h.comes(c.from)
		step := x.status(c.status, "text/plain", false)
		expect(t, c.name+": reason", header(step.Headers, "x-spillway-reason"), c.reason)
		if c.reason == "" {
			expect(t, c.name+": headers", len(step.Headers), 0)
			expect(t, c.name+": replaced", x.response("upstream connect error", true).Replace, false)
			continue
		}
		expect(t, c.name+": type", header(step.Headers, "content-type"), "application/json")
		expect(t, c.name+": length", header(step.Headers, "content-length"), strconv.Itoa(len(c.body)))
		expect(t, c.name+": replaced", x.response("upstream connect", false).Replace, true)
		expect(t, c.name+": body", string(x.Body()), c.body)
		expect(t, c.name+": the rest", x.response(" error", true).Replace && len(x.Body()) == 0, true)
		x.done()
	}
}

// An answer to HEAD has no body, and with mode off nothing is touched.
func TestWhatIsNotRestated(t *testing.T) {
	for mode, reason := range map[string]string{"enforce": "upstream/unreachable", "off": ""} {
		configuration := `{"mode": "` + mode + `", "upstreams": [{"name": "u", "breaker": {"mode": "enforce"}}]}`
		h := newHost(t, configuration, recordtest.NewMemory())
		x := h.startWith([][2]string{{":path", "/v1/chat/completions"}, {":method", "POST"}}, true)
		h.comes(origin.Unreachable)
		step := x.status("503", "text/plain", true)
		expect(t, configuration+": reason", header(step.Headers, "x-spillway-reason"), reason)
		expect(t, configuration+": type", header(step.Headers, "content-type"), "")
	}
}

// A request that the proxy has no route for is answered without a body, and one that is too large before it is decided.
func TestWhatTheProxyDoesNotTakeIsRestated(t *testing.T) {
	h := newHost(t, `{"requestHold": "stopIteration", `+seedLimits+`}`, recordtest.NewMemory())
	for _, c := range []struct {
		name   string
		origin origin.Origin
		status int
		reason string
		body   string
	}{
		{"no route", origin.NoRoute, 404, "proxy/no_route",
			`{"error":{"message":"The proxy has no route for this request.","type":"invalid_request_error","param":null,"code":"not_found"}}`},
		{"no fleet", origin.FleetDown, 503, "proxy/fleet_unavailable",
			`{"error":{"message":"The limit that is over all gateways can't be asked.","type":"server_error","param":null,"code":"service_unavailable"}}`},
	} {
		x := h.start("ann", false)
		x.body(chatBody, true)
		h.comes(c.origin)
		step := x.status(strconv.Itoa(c.status), "", true)
		expect(t, c.name+": what becomes of it", step.Action, Answer)
		expect(t, c.name+": status", step.Reply.Status, c.status)
		expect(t, c.name+": reason", header(step.Reply.Headers, "x-spillway-reason"), c.reason)
		expect(t, c.name+": body", string(step.Reply.Body), c.body)
		x.done()
		expect(t, c.name+": tokens that are left", h.balance("ann"), 300)
	}

	x := h.start("ann", false)
	x.body(chatBody, false)
	h.comes(origin.TooLarge)
	step := x.status("413", "text/plain", false)
	expect(t, "too large: reason", header(step.Headers, "x-spillway-reason"), "proxy/too_large")
	expect(t, "too large: replaced", x.response("Payload Too Large", true).Replace, true)
	expect(t, "too large: body", string(x.Body()),
		`{"error":{"message":"The request is larger than the proxy takes.","type":"invalid_request_error","param":null,"code":"request_too_large"}}`)
	x.done()
	expect(t, "too large: tokens that are left", h.balance("ann"), 300)
}

// A request that doesn't come to its end in time is answered before it is decided, and so is one that waits longer for its turn than the proxy lets it.
func TestWhatTakesTooLongInTheProxyIsRestated(t *testing.T) {
	h := newHost(t, `{"requestHold": "stopIteration", `+seedLimits+`, "upstreams": [{"name": "u", "concurrency": {"max": 1}}]}`, recordtest.NewMemory())
	for name, held := range map[string]bool{"held": true, "sent": false} {
		x := h.start("ann", false)
		if x.body(chatBody, false); !held {
			x.body("", true)
		}
		h.comes(origin.Unfinished)
		step := x.status("408", "text/plain", false)
		expect(t, name+": reason", header(step.Headers, "x-spillway-reason"), "proxy/request_timeout")
		expect(t, name+": replaced", x.response("stream timeout", true).Replace, true)
		expect(t, name+": body", string(x.Body()),
			`{"error":{"message":"The rest of the request didn't come in time.","type":"invalid_request_error","param":null,"code":"request_timeout"}}`)
		x.done()
		expect(t, name+": tokens that are left", h.balance("ann"), 300)
	}

	first := h.start("ann", false)
	first.body(chatBody, true)
	x := h.start("bert", false)
	x.body(chatBody, true)
	expect(t, "it waits", x.Waiting(), true)
	h.comes(origin.TimedOut)
	step := x.status("504", "text/plain", false)
	expect(t, "waiting: reason", header(step.Headers, "x-spillway-reason"), "proxy/timeout")
	expect(t, "waiting: replaced", x.response("stream timeout", true).Replace, true)
	expect(t, "waiting: body", string(x.Body()),
		`{"error":{"message":"The request waited longer than the proxy lets it.","type":"server_error","param":null,"code":"service_unavailable"}}`)
	x.done()
	expect(t, "waiting: tokens that are left", h.balance("bert"), 300)
}
