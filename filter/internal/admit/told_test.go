package admit

import (
	"maps"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// What operators are told of an upstream, and of whom a limit has refused.

func TestABudgetTellsWhatItHasLeftUntilItIsFull(t *testing.T) {
	h := timed(t, "stopIteration", `"budget":{"requests":60,"tokens":6000,"window":"1m"},"retreat":{"mode":"off"}`)
	told := func() [2]int64 {
		h.tick()
		return [2]int64{h.gauges["spillway_budget_available up requests"], h.gauges["spillway_budget_available up tokens"]}
	}
	expect(t, "of a full one", told(), [2]int64{60, 6000})
	for range 10 {
		h.ask("ann").answer(used(40, 60))
	}
	h.now += second
	expect(t, "after ten requests of 100 tokens, and a second", told(), [2]int64{51, 5100})
	h.now += 60 * second
	expect(t, "a minute later", told(), [2]int64{60, 6000})
	h = timed(t, "stopIteration", `"concurrency":{"max":1}`)
	h.ask("ann")
	h.tick()
	if _, is := h.gauges["spillway_budget_available up requests"]; is {
		t.Error("an upstream without a budget tells of one")
	}
}

func TestErrorsOfUpstreamsAreCountedByStatus(t *testing.T) {
	for _, test := range []struct {
		end  func(x *exchange)
		want string
	}{
		{func(x *exchange) { x.status("503", "text/plain", true) }, "up 503"},
		{func(x *exchange) { x.status("429", "text/plain", true) }, "up 429"},
		{func(x *exchange) { x.status("418", "text/plain", true) }, "up 4xx"},
		{func(x *exchange) { x.status("599", "text/plain", true) }, "up 5xx"},
		{func(x *exchange) { x.status("9999", "text/plain", true) }, "up 5xx"},
		{func(x *exchange) { x.host.comes(origin.Unreachable); x.status("503", "text/plain", true) }, "up 503"},
		{func(x *exchange) { x.host.comes(origin.TimedOut); x.status("504", "text/plain", true) }, "up 504"},
		{func(x *exchange) {
			x.status("200", "text/event-stream", false)
			x.response(`data: {"error":{"message":"overloaded","code":503}}`+"\n\n", true)
		}, "up 503"},
		{func(x *exchange) { x.host.comes(origin.Elsewhere); x.status("429", "text/plain", true) }, ""},
		{func(x *exchange) { x.answer(used(1, 2)) }, ""},
		{func(x *exchange) { x.status("304", "text/plain", true) }, ""},
		{func(*exchange) {}, ""}, // the client has left
	} {
		h := timed(t, "stopIteration", `"concurrency":{"max":9}`)
		x := h.ask("ann")
		test.end(x)
		x.done()
		x.done()
		got := ""
		for name, n := range h.counts {
			if label, is := strings.CutPrefix(name, "spillway_upstream_errors_total "); is && n == 1 {
				got += label
			}
		}
		expect(t, "counted", got, test.want)
	}
	h := newSeed(t, "stopIteration")
	h.ask("ann").status("500", "text/plain", true)
	expect(t, "without an upstream", h.counts["spillway_upstream_errors_total none 500"], 1)
}

// Each transition is counted once, by the worker that has brought it about.
func TestTransitionsOfBreakersAreCounted(t *testing.T) {
	store := recordtest.NewMemory()
	const configuration = `{"requestHold":"stopIteration","upstreams":[{"name":"up",` + fastBreaker + `}]}`
	h, other := newHost(t, configuration, store), newHost(t, configuration, store)
	transitions := func() string {
		counts := map[string]int64{}
		for _, worker := range []*host{h, other} {
			worker.now = h.now
			worker.tick()
			for name, n := range worker.counts {
				if label, is := strings.CutPrefix(name, "spillway_breaker_transitions_total up "); is {
					counts[label] += n
				}
			}
		}
		var b strings.Builder
		for _, from := range []string{"CLOSED", "OPEN", "HALF_OPEN"} {
			for _, to := range []string{"CLOSED", "OPEN", "HALF_OPEN"} {
				b.WriteString(strings.Repeat(from+">"+to+" ", int(counts[from+" "+to])))
			}
		}
		return strings.TrimSpace(b.String())
	}
	fail := func(worker *host, users ...string) {
		for _, user := range users {
			x := worker.ask(user)
			x.status("503", "text/plain", true)
			x.done()
		}
	}
	fail(h, "a", "b")
	fail(other, "c", "d")
	expect(t, "when it has opened", transitions(), "CLOSED>OPEN")
	h.now += 3600 * second
	other.now = h.now
	fail(other, "e")
	expect(t, "when the probe has failed", transitions(), "CLOSED>OPEN OPEN>HALF_OPEN HALF_OPEN>OPEN")
	h.now += 3600 * second
	x := h.ask("f")
	x.answer(used(1, 2))
	x.done()
	expect(t, "when one has succeeded", transitions(), "CLOSED>OPEN OPEN>HALF_OPEN OPEN>HALF_OPEN HALF_OPEN>CLOSED HALF_OPEN>OPEN")
}

// The access log says whom a limit has refused, of keys a hash. Of what passes it says nothing, which would cost each request a call of the host's.
func TestWhoWasRefusedIsPublished(t *testing.T) {
	of := func(per string) string {
		return `{"requestHold":"stopIteration","limits":[{"name":"u","per":[` + per + `],"unit":"requests","quantity":1,"window":"1h"}]}`
	}
	for configuration, want := range map[string]string{
		of(`"user"`): "user=ann", of(`"tenant","user"`): "tenant=acme user=ann", of(``): "everybody", of(`"key"`): "key=h:",
		strings.Replace(of(`"user"`), `"unit"`, `"mode":"shadow","unit"`, 1):                "user=ann",
		`{"publish":"minimal",` + of(`"user"`)[1:]:                                          "",
		`{"publish":"tokens",` + of(`"user"`)[1:]:                                           "",
		`{"identity":{"missing":"reject","tenant":{"headers":["x"]}},` + of(`"tenant"`)[1:]: "", // refused for want of one
	} {
		h := newHost(t, configuration, recordtest.NewMemory())
		var properties map[string]string
		for range 2 {
			if properties["spillway.subject"] != "" {
				t.Errorf("%s: of one that passes %v is published", configuration, properties)
			}
			x := h.start("ann", false, [2]string{"x-tenant-id", "acme"}, [2]string{"authorization", "Bearer sk-secret"})
			if x.last.Action != Answer {
				x.body(chatBody, true)
			}
			properties = maps.Clone(x.properties)
		}
		got := properties["spillway.subject"]
		if strings.HasSuffix(want, ":") && len(got) == len(want)+8 {
			got = got[:len(want)]
		}
		expect(t, configuration, got, want)
	}
}
