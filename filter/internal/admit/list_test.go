package admit

import (
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
)

// everyGate is a configuration in which every gate is on.
const everyGate = `{"requestHold":"stopIteration","pressureSource":{"cluster":"gpu"},"limits":[{"name":"u","per":["user"],"unit":"requests","quantity":1,"window":"1h"}],
	"upstreams":[{"name":"up","concurrency":{"max":1},"breaker":{"mode":"enforce"},"latency":{"mode":"enforce","ttft":"1s"},"throttle":{"mode":"enforce"},"pressure":{"mode":"enforce"}}]}`

// The order in which gates are asked is documented: docs/gates.md, docs/design.md.
func TestGatesStandInTheirOrder(t *testing.T) {
	h := newHost(t, everyGate, recordtest.NewMemory())
	names := func(gates []gatekeeper) (names []string) {
		for _, g := range gates {
			names = append(names, g.name)
		}
		return names
	}
	expect(t, "in order", fmt.Sprint(names(h.Engine.gates)), "[breaker pressure latency throttle limits queue]")
	expect(t, "when complete", fmt.Sprint(names(h.Engine.gates[h.Engine.atDecision:])), "[queue]")
	if none := newHost(t, `{}`, recordtest.NewMemory()); len(none.Engine.gates) != 0 {
		t.Errorf("gates that are off are asked: %v", names(none.Engine.gates))
	}
}

// A gate that the configuration can turn on is on in everyGate, so that the tests here see it. (The retreat has a mode, and refuses nobody.)
func TestEveryGateIsOn(t *testing.T) {
	for _, key := range properties(t, config.Describe().Properties, "upstreams").Items.Properties {
		for _, own := range key.Schema.Properties {
			if own.Name == "mode" && key.Name != "retreat" && !strings.Contains(everyGate, `"`+key.Name+`":{"mode":"enforce"`) {
				t.Errorf("everyGate lacks %s", key.Name)
			}
		}
	}
}

func properties(t *testing.T, all []config.Property, name string) *config.Schema {
	t.Helper()
	for i := range all {
		if all[i].Name == name {
			return &all[i].Schema
		}
	}
	t.Fatalf("no key %s", name)
	return nil
}

// Every gate has its case in package reply (answer, in refusal.go).
func TestEveryGateHasItsAnswer(t *testing.T) {
	h := newHost(t, everyGate, recordtest.NewMemory())
	for _, g := range h.Engine.gates {
		v := gate.Because(gate.Rejected, g.name, "for a test")
		v.Limit = &h.cfg.Limits[0]
		var r reply.Reply
		if r.Refuse(&v, &reply.About{Format: &reply.Dynamo}, &h.cfg.StatusCode); r.Status == 500 {
			t.Errorf("%s is answered with status %d", g.name, r.Status)
		}
	}
}

// Every gate has its row in the operator's table.
func TestEveryGateIsInTheManual(t *testing.T) {
	page := read(t, "../../../docs/gates.md")
	for _, g := range newHost(t, everyGate, recordtest.NewMemory()).Engine.gates {
		if !strings.Contains(page, "**"+g.name+"**") {
			t.Errorf("docs/gates.md lacks %s", g.name)
		}
	}
}

// However a request ends that was not sent, no gate keeps anything of it: the next one finds all gates as they were.
func TestWhoGoesNoFurtherLeavesAllGates(t *testing.T) {
	for name, end := range map[string]func(h *host, x *exchange){
		"its client leaves while it waits":  func(_ *host, x *exchange) { x.done() },
		"it has waited for too long":        func(h *host, _ *exchange) { h.now += 3600 * second; h.tick() },
		"the proxy answers in its own name": func(_ *host, x *exchange) { x.status("503", "text/plain", true); x.done() },
	} {
		t.Run(name, func(t *testing.T) {
			h := newHost(t, everyGate, recordtest.NewMemory())
			first := h.start("eve", false)
			first.body(`{"model":"m","max_tokens":50}`, true)
			x := h.try("m")
			if !x.Waiting() {
				t.Fatalf("it doesn't wait: %v", x.decided())
			}
			if end(h, x); x.tracked || x.Waiting() || x.ticket.InFlight() || len(x.charges) != 0 || x.phase != stDone {
				t.Errorf("it has left something behind: measured %v, waiting %v, in flight %v, %d charges, phase %d", x.tracked, x.Waiting(), x.ticket.InFlight(), len(x.charges), x.phase)
			}
			first.serve(second, "200")
			y := h.try("m")
			if y.decision.Outcome != gate.Allowed || y.phase != stSent {
				t.Errorf("the next one is %v", y.decided())
			}
		})
	}
}
