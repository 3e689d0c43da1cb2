package admit

import (
	"strconv"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// An objective reaches the inference gateway behind, unless it isn't believed here.
func TestWhoSeesAnObjective(t *testing.T) {
	const name = "x-gateway-inference-objective"
	for _, test := range []struct {
		configuration string
		out           bool
	}{
		{`{"priority":{"objectives":{"chat":"high"}}}`, false},
		{`{"priority":{"objectives":{"chat":"high"},"trust":[]}}`, true},
		{`{"priority":{"trust":[]}}`, false}, // it is nobody's business here
	} {
		h := newHost(t, test.configuration, recordtest.NewMemory())
		for _, value := range []string{"chat", "other", ""} {
			x := h.start("ann", true, [2]string{name, value})
			out := false
			for _, asked := range x.last.Asked {
				out = out || asked == [2]string{name, ""}
			}
			expect(t, test.configuration+": taken out", out, test.out)
		}
	}
	h := newHost(t, `{"priority":{"header":"","objectives":{"chat":"high"}},"upstreams":[{"name":"x"}]}`, recordtest.NewMemory())
	expect(t, "said that everybody is believed", len(h.advice), 1)
}

// Turns are shared between the values of a header, where its sender is believed; who sends none, or two, has turns of its own.
func TestTurnsByAHeader(t *testing.T) {
	const name = "x-gateway-inference-fairness-id"
	h := newHost(t, `{"requestHold":"stopIteration","priority":{"trust":[{"match":{"tenants":["web"]}}]},
		"upstreams":[{"name":"x","concurrency":{"max":1},"queue":{"fairness":"header:`+name+`"}}]}`, recordtest.NewMemory())
	h.ask("ann")
	ask := func(user, tenant string, flows ...string) uint64 {
		headers := [][2]string{{"x-tenant-id", tenant}}
		for _, flow := range flows {
			headers = append(headers, [2]string{name, flow})
		}
		x := h.start(user, false, headers...)
		x.body(chatBody, true)
		expect(t, user+" waits", x.Waiting(), true)
		return x.ticket.Subject
	}
	flow := ask("bob", "web", "a")
	expect(t, "whoever asks in a flow", ask("carol", "web", "a"), flow)
	expect(t, "another flow", ask("bob", "web", "b") != flow, true)
	bob := ask("bob", "web")
	expect(t, "no flow", bob != flow, true)
	expect(t, "an empty one", ask("bob", "web", ""), bob)
	expect(t, "two", ask("bob", "web", "a", "b"), bob)
	stranger := ask("eve", "other")
	for i := range 100 {
		expect(t, "of one who isn't believed", ask("eve", "other", strconv.Itoa(i)), stranger)
	}
}
