package admit

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// post asks for a change.
func (h *host) post(path string) (status int, body string) {
	x := h.admin("POST", path, true, withToken...)
	defer x.done()
	return x.last.Reply.Status, string(x.last.Reply.Body)
}

// An upstream that is drained takes nothing new, in any worker; what runs, and what waits, goes on. It makes no difference what gates it has.
func TestDrain(t *testing.T) {
	for name, gates := range map[string]string{"no gates": ``, "a queue": `,"concurrency":{"max":1}`, "by model": `,"models":["mock"],"breaker":{"mode":"enforce"}`} {
		store := recordtest.NewMemory()
		text := `{"requestHold":"stopIteration","upstreams":[{"name":"x"` + gates + `}]}`
		one, two := newHost(t, text, store), newHost(t, text, store)
		one.Announce([]byte(text))
		listener := newHost(t, `{"mode":"off",`+adminConfig("open")+`}`, store)
		pass := func() {
			for _, h := range []*host{listener, one, two} {
				h.now += second
				h.tick()
			}
		}
		pass()
		runs := one.ask("a")
		var waits *exchange
		if strings.Contains(gates, "concurrency") {
			waits = one.ask("b")
			expect(t, name+": it waits", waits.Waiting(), true)
		}
		status, body := listener.post("/spillway/upstreams/x/drain")
		expect(t, name+": drain", status, 200)
		expect(t, name+": drain", body, `{"upstream":"x","state":{"before":"open","after":"drained"}}`)
		expect(t, name+": logged", len(listener.infos), 1)
		pass()
		for _, h := range []*host{one, two} {
			refused := h.ask("c")
			expect(t, name+": a new one", refused.reply.Status, 503)
			expect(t, name+": why", header(refused.reply.Headers, "x-spillway-reason"), "queue/drained")
			expect(t, name+": when", header(refused.reply.Headers, "retry-after"), "10")
			refused.done()
		}
		_, known := listener.get(t, "/spillway/status")
		expect(t, name+": status", known["upstreams"].([]any)[0].(map[string]any)["drained"].(bool), true)
		runs.answer(used(1, 1))
		if waits != nil {
			expect(t, name+": it has its turn", waits.ticket.InFlight(), true)
			waits.answer(used(1, 1))
		}
		again := newHost(t, text, store) // a new worker, or another configuration
		expect(t, name+": with a new configuration", again.ask("d").reply.Status, 503)
		status, _ = listener.post("/spillway/upstreams/x/resume")
		expect(t, name+": resume", status, 200)
		pass()
		for _, h := range []*host{one, two} {
			h.ask("c").answer(used(1, 1))
		}
		expect(t, name+": sent", one.counts["requests ALLOWED none NORMAL other"]+one.counts["requests QUEUED queue NORMAL other"] >= 2, true)
		status, _ = listener.post("/spillway/upstreams/y/drain")
		expect(t, name+": another upstream", status, 404)
	}
}

func TestDrainInShadowModeIsOnlyNoted(t *testing.T) {
	store := recordtest.NewMemory()
	h := newHost(t, `{"mode":"shadow","requestHold":"stopIteration",`+adminConfig("open")+`,"upstreams":[{"name":"x"}]}`, store)
	status, _ := h.post("/spillway/upstreams/x/drain")
	expect(t, "drain", status, 200)
	x := h.ask("a")
	expect(t, "it goes", x.Refused(), false)
	expect(t, "as what", x.properties["spillway.reason"], "drained")
}

// A reset budget is whole at once, in all workers.
func TestResetRetreat(t *testing.T) {
	store := recordtest.NewMemory()
	h := newHost(t, `{"requestHold":"stopIteration",`+adminConfig("open")+`,"upstreams":[{"name":"x","models":["mock"],"budget":{"requests":100000,"window":"1m"}},{"name":"plain","models":["p"]}]}`,
		store)
	for i := range 40 {
		x := h.ask(string(rune('a' + i%10)))
		x.status("429", "application/json", true)
		x.done()
		h.now += second / 2
	}
	h.tick()
	lowered := h.sites[0].queue.Snapshot(h.now).Scale
	expect(t, "it is lowered", lowered < dispatch.Whole, true)
	status, body := h.post("/spillway/upstreams/x/retreat/reset")
	expect(t, "reset", status, 200)
	expect(t, "reset", strings.HasSuffix(body, `"after":"1000"}}`), true)
	expect(t, "it is whole", h.sites[0].queue.Snapshot(h.now).Scale, dispatch.Whole)
	status, _ = h.post("/spillway/upstreams/plain/retreat/reset")
	expect(t, "of one that has none", status, 409)
}

// A breaker that is reset lets pass at once, and what was admitted before doesn't count for it.
func TestResetBreaker(t *testing.T) {
	store := recordtest.NewMemory()
	h := newHost(t, `{"requestHold":"stopIteration",`+adminConfig("open")+`,"upstreams":[{"name":"x","models":["mock"],"breaker":{"mode":"enforce"}},{"name":"plain","models":["p"]}]}`, store)
	fail := func() {
		for i := range 40 {
			x := h.ask(string(rune('a' + i%10)))
			if x.Refused() {
				x.done()
				continue
			}
			x.status("500", "application/json", true)
			x.done()
			h.now += second / 10
		}
	}
	fail()
	expect(t, "it is open", h.ask("a").reply.Status, 503)
	status, _ := h.post("/spillway/upstreams/x/breaker/reset?model=other")
	expect(t, "another model's", status, 404)
	expect(t, "it is open still", h.ask("a").reply.Status, 503)
	status, body := h.post("/spillway/upstreams/x/breaker/reset?model=mock")
	expect(t, "reset", status, 200)
	expect(t, "reset", body, `{"upstream":"x","breaker":{"before":"of 1 models","after":"CLOSED"}}`)
	passes := h.ask("a")
	expect(t, "it passes", passes.Refused(), false)
	passes.answer(used(1, 1))
	fail()
	expect(t, "it opens again", h.ask("a").reply.Status, 503)
	status, _ = h.post("/spillway/upstreams/x/breaker/reset")
	expect(t, "all models'", status, 200)
	passes = h.ask("b")
	expect(t, "it passes", passes.Refused(), false)
	passes.done()
	status, _ = h.post("/spillway/upstreams/plain/breaker/reset")
	expect(t, "of one that has none", status, 409)
}
