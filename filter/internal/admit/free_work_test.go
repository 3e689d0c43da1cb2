package admit

import (
	"fmt"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// threeRequests is a limit of three requests, and one of tokens beside it.
const threeRequests = `"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":3,"window":"1h"%s},
	{"name":"t","per":["user"],"unit":"totalTokens","quantity":100000,"window":"1h"%s}]`

// Whatever comes of the requests, no more of them reach the upstream than the limit says.
func TestWhatWentUpstreamCountsWhateverCameOfIt(t *testing.T) {
	for name, end := range map[string]func(*exchange){
		"429":     func(x *exchange) { x.status("429", "application/json", true) },
		"500":     func(x *exchange) { x.status("500", "application/json", true) },
		"529":     func(x *exchange) { x.status("529", "application/json", true) },
		"400":     func(x *exchange) { x.status("400", "application/json", true) },
		"timeout": func(x *exchange) { x.host.comes(origin.TimedOut); x.status("504", "text/plain", true) },
		"reset":   func(x *exchange) { x.host.comes(origin.Broken); x.status("503", "text/plain", true) },
		"an error in the stream": func(x *exchange) {
			x.status("200", "text/event-stream", false)
			x.response(`data: {"error":{"code":503}}`+"\n\n", true)
		},
		"left at once":                   func(*exchange) {},
		"left before the first event":    func(x *exchange) { x.status("200", "text/event-stream", false) },
		"left in the middle of a stream": func(x *exchange) { x.status("200", "text/event-stream", false); x.response(textEvent, false) },
	} {
		for _, mode := range []string{"enforce", "shadow"} {
			for _, body := range []string{chatBody, `{"model":"mock","stream":true}`} {
				h := newHost(t, `{"mode":"`+mode+`","requestHold":"stopIteration",`+fmt.Sprintf(threeRequests, "", "")+`}`, recordtest.NewMemory())
				reached := 0
				for range 40 {
					x := h.say("mallory", body)
					if x.Refused() || x.decision.Outcome == gate.Shadowed {
						x.done()
						continue
					}
					reached++
					end(x)
					x.done()
				}
				expect(t, name+", "+mode+": requests that reached the upstream", reached, 3)
				h.idle()
			}
		}
	}
}

// What never went upstream costs nothing, whatever the status says.
func TestWhatNeverWentUpstreamCostsNothing(t *testing.T) {
	for name, end := range map[string]func(*exchange){
		"unreachable": func(x *exchange) { x.host.comes(origin.Unreachable); x.status("503", "text/plain", true) },
		"a filter":    func(x *exchange) { x.host.comes(origin.Elsewhere); x.status("429", "text/plain", true) },
		"no filter's": func(x *exchange) { x.host.comes(origin.Elsewhere); x.status("500", "text/plain", true) },
		"no route":    func(x *exchange) { x.host.comes(origin.NoRoute); x.status("404", "", true) },
	} {
		h := newHost(t, `{"requestHold":"stopIteration",`+fmt.Sprintf(threeRequests, "", "")+`}`, recordtest.NewMemory())
		for range 10 {
			x := h.say("ann", chatBody)
			expect(t, name, x.last.Action, Continue)
			end(x)
			x.done()
		}
		expect(t, name+": balance", h.balance("ann"), 100000)
	}
}

// A limit gives back what its refund names, and only that limit.
func TestARefundIsOfOneLimit(t *testing.T) {
	for _, test := range []struct {
		refund, status   string
		requests, tokens int64
		origin           origin.Origin
	}{
		{`["5xx",429]`, "429", 0, 0, origin.Upstream},
		{`["5xx",429]`, "503", 0, 0, origin.Upstream},
		{`["5xx",429]`, "504", 0, 120, origin.TimedOut},
		{`["5xx",429]`, "400", 1, 0, origin.Upstream},
		{`["4xx"]`, "400", 0, 0, origin.Upstream},
		{`["4xx"]`, "500", 1, 0, origin.Upstream},
		{`["503"]`, "500", 1, 0, origin.Upstream},
		{`[503]`, "503", 0, 0, origin.Upstream},
	} {
		h := newHost(t, `{"requestHold":"stopIteration",`+fmt.Sprintf(threeRequests, `,"refund":`+test.refund, "")+`}`, recordtest.NewMemory())
		x := h.say("alice", chatBody)
		x.host.comes(test.origin)
		x.status(test.status, "application/json", true)
		x.done()
		got := h.say("alice", `{}`)
		got.host.comes(origin.Unreachable)
		got.status("503", "", true)
		got.done()
		name := test.refund + " of " + test.status
		expect(t, name+": requests", 3-got.requests.Remaining-1, test.requests)
		expect(t, name+": tokens", 100000-h.balance("alice"), test.tokens)
	}
	h := newHost(t, `{"requestHold":"stopIteration",`+fmt.Sprintf(threeRequests, "", `,"refund":[504]`)+`}`, recordtest.NewMemory())
	x := h.say("alice", chatBody)
	x.host.comes(origin.TimedOut)
	x.status("504", "text/plain", true)
	x.done()
	expect(t, "tokens of a timeout that are given back", 100000-h.balance("alice"), 0)
}

// What the upstream has said of a prompt counts for a stream that is left before its first output.
func TestAReportedPromptIsChargedWhereNothingElseCame(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration",`+fmt.Sprintf(threeRequests, "", "")+`}`, recordtest.NewMemory())
	x := h.request("/v1/messages", `{"model":"claude","max_tokens":100,"stream":true}`)
	x.status("200", "text/event-stream", false)
	x.response(`data: {"type":"message_start","message":{"model":"claude","usage":{"input_tokens":900,"output_tokens":0}}}`+"\n\n", false)
	h.now += second
	x.done()
	expect(t, "tokens", 100000-h.balance("alice"), 900+50)
}
