package admit

import (
	"fmt"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// What the filter changes so that streams tell what they used: the request's body, its length and the coding it accepts;
// and the event that comes for it is taken out of the response.

const (
	streamBody = `{"model":"mock","stream":true}`
	askedBody  = `{"stream_options":{"include_usage":true},"model":"mock","stream":true}`
	aloneEvent = "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":9,\"completion_tokens\":40,\"total_tokens\":49}}\n\n"
)

func length(body string) [2]string { return [2]string{"content-length", fmt.Sprint(len(body))} }

// edited says what the step makes of the body.
func edited(step *Step, body string) string {
	if step.Edit.None() {
		return body
	}
	return string(step.Edit.Apply(nil, []byte(body)))
}

func TestAStreamIsMadeToReportItsUsage(t *testing.T) {
	for _, c := range []struct {
		hold, limits string
		atHeaders    EffectKind
		asked        string // header changes at the headers
		measure      bool
	}{
		{"stopIteration", "", Hold, "[]", true},
		{"stopIteration", seedLimits, Hold, "[]", true},
		{"bufferFilter", "", Continue, "[[content-length ]]", false},
		{"bufferFilter", seedLimits, Continue, "[[content-length ]]", false},
		{"none", "", Continue, "[[content-length ]]", false},
		{"none", seedLimits, Continue, "[[content-length ]]", false},
	} {
		t.Run(c.hold+" "+c.limits, func(t *testing.T) {
			configuration := `{"requestHold":"` + c.hold + `"`
			if c.limits != "" {
				configuration += "," + c.limits
			}
			h := newHost(t, configuration+"}", recordtest.NewMemory())
			x := h.start("alice", false, length(streamBody))
			expect(t, "at the headers", x.last.Action, c.atHeaders)
			expect(t, "header changes", fmt.Sprint(x.last.Asked), c.asked)
			expect(t, "in the body", x.body(streamBody[:9], false).Action, Hold)
			step := x.body(streamBody[9:], true)
			expect(t, "at the body's end", step.Action, Continue)
			expect(t, "body", edited(step, streamBody), askedBody)
			expect(t, "content-length is set", step.Measure, c.measure)

			step = x.status("200", "text/event-stream", false, [2]string{"content-length", "500"})
			expect(t, "content-length of the response", fmt.Sprint(header(step.Headers, "content-length")), "")
			expect(t, "is changed", len(step.Headers) > 0 && step.Headers[0][0] == "content-length", true)
			step = x.response(textEvent+aloneEvent, false)
			expect(t, "to the client", fmt.Sprintf("%v %s", step.Replace, step.Body), "true "+textEvent)
			step = x.response(doneEvent, true)
			expect(t, "the end is left alone", step.Replace, false)
			x.done()
			expect(t, "source", x.properties["gen_ai.usage.source"], "reported")
			expect(t, "completion", x.properties["gen_ai.completion.tokens"], "40")
			h.idle()
		})
	}
}

func TestWhatIsLeftAlone(t *testing.T) {
	gzip := [2]string{"accept-encoding", "gzip"}
	for _, c := range []struct {
		name, configuration, body string
		headers                   [][2]string
		asked                     string // header changes
	}{
		{"the client asked", `{}`, `{"stream":true,"stream_options":{"include_usage":true}}`, nil, "[]"},
		{"no stream", `{}`, chatBody, nil, "[]"},
		{"no JSON", `{}`, `{"stream":true`, nil, "[]"},
		{"switched off", `{"usage":{"ensureStreamUsage":false}}`, streamBody, [][2]string{gzip}, "[[accept-encoding identity]]"},
		{"the answer may be compressed", `{"usage":{"identityEncoding":false}}`, streamBody, [][2]string{gzip}, "[]"},
		{"all switched off", `{"mode":"off"}`, streamBody, [][2]string{gzip}, "[]"},
		{"a compressed body", `{}`, streamBody, [][2]string{{"content-encoding", "gzip"}}, "[]"},
		{"a body announced as too large", `{"usage":{"maxRequestBytes":20}}`, streamBody, [][2]string{length(streamBody)}, "[]"},
		{"a body that turns out too large", `{"usage":{"maxRequestBytes":20}}`, streamBody, nil, "[]"},
		{"a body with trailers", `{}`, "", nil, "[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := newHost(t, c.configuration, recordtest.NewMemory())
			x := h.start("alice", false, c.headers...)
			expect(t, "header changes", fmt.Sprint(x.last.Asked), c.asked)
			if c.body == "" {
				x.body(streamBody, false)
				x.RequestTrailers()
			} else {
				x.body(c.body, true)
			}
			expect(t, "action", x.last.Action, Continue)
			expect(t, "is edited", x.last.Edit.None(), true)
			expect(t, "content-length is set", x.last.Measure, false)
			x.status("200", "text/event-stream", false, [2]string{"content-length", "500"})
			expect(t, "headers of the response", len(x.last.Headers), 0)
			x.response(aloneEvent, true)
			expect(t, "the event stays", x.last.Replace, false)
			x.done()
			h.idle()
		})
	}
}

func TestTheUpstreamIsAskedForIdentity(t *testing.T) {
	h := newHost(t, `{}`, recordtest.NewMemory())
	for _, c := range []struct {
		name    string
		headers [][2]string
		want    string
	}{
		{"gzip", [][2]string{{"accept-encoding", "gzip, br"}}, "[[accept-encoding identity]]"},
		{"repeated", [][2]string{{"accept-encoding", "identity"}, {"accept-encoding", "br"}}, "[[accept-encoding ]]"},
		{"identity", [][2]string{{"accept-encoding", "identity"}}, "[]"},
		{"nothing", nil, "[]"},
	} {
		x := h.start("alice", false, c.headers...)
		expect(t, c.name, fmt.Sprint(x.last.Asked), c.want)
		x.done()
	}
	x := h.startWith([][2]string{{":method", "POST"}, {":path", "/v1/unknown"}, {"accept-encoding", "gzip"}}, false)
	expect(t, "a body that nobody reads", fmt.Sprint(x.last.Asked), "[]")
	x.done()
}

// A stream that isn't one after all, or can't be read, goes through as it is.
func TestOnlyAStreamOfEventsIsChanged(t *testing.T) {
	for name, headers := range map[string][2]string{
		"JSON":       {"content-type", "application/json"},
		"compressed": {"content-encoding", "gzip"},
	} {
		h := newHost(t, `{}`, recordtest.NewMemory())
		x := h.start("alice", false)
		x.body(streamBody, true)
		expect(t, name+": is asked", x.last.Edit.None(), false)
		kind := "text/event-stream"
		if headers[0] == "content-type" {
			kind = headers[1]
		}
		x.status("200", kind, false, headers, [2]string{"content-length", "500"})
		expect(t, name+": headers", len(x.last.Headers), 0)
		x.response(aloneEvent, true)
		expect(t, name+": is changed", x.last.Replace, false)
		x.done()
		h.idle()
	}
}

// The usage that was asked for is hidden, too, where the server calls its events something else.
func TestEventsOfAnotherNameAreChanged(t *testing.T) {
	for _, kind := range []string{"text/event-stream", "application/json", ""} {
		h := newHost(t, `{}`, recordtest.NewMemory())
		x := h.start("alice", false)
		x.body(streamBody, true)
		x.status("200", kind, false)
		x.response(textEvent+aloneEvent+doneEvent, false)
		expect(t, kind, string(x.last.Body), textEvent+doneEvent)
		x.response("", true)
		expect(t, kind+": tokens", x.properties["gen_ai.usage.source"], "reported")
		x.done()

		x = h.start("alice", false)
		x.body(streamBody, true)
		x.status("200", kind, false)
		x.response(used(26, 76), true)
		expect(t, kind+": a document is changed", x.last.Replace, false)
		x.done()
		h.idle()
	}
}

// A request that is let go without its body, because the host keeps it back, can't be changed any more.
func TestWhatWasLetGoIsNotChanged(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration"}`, recordtest.NewMemory())
	h.holdsBack = true
	x := h.start("alice", false, length(streamBody))
	expect(t, "at the headers", x.last.Action, Hold)
	h.now += clock.Moment(guardTime)
	if action, found := h.tick()[&x.Stream]; !found || action != Continue {
		t.Fatal("it was not let go")
	}
	x.body(streamBody, true)
	expect(t, "action", x.last.Action, Continue)
	expect(t, "is edited", x.last.Edit.None(), true)
	expect(t, "errors", h.counts["errors body_not_delivered"], 1)
	x.done()
	h.idle()
}

// A client that leaves while its body is kept has used nothing.
func TestLeavingWhileTheBodyIsKept(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration","limits":[{"name":"r","per":["user"],"unit":"requests","quantity":5,"window":"1h"}]}`, recordtest.NewMemory())
	x := h.start("alice", false)
	expect(t, "decided", x.Decided(), true)
	expect(t, "at the headers", x.last.Action, Hold)
	x.body(streamBody[:5], false)
	x.done()
	expect(t, "left of 5", h.balance("alice"), 5)
	h.idle()
}
