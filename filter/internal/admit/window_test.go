package admit

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// A day's limit tells its client when the day ends, and an operator too; a step of the clock is in force a second later.
func TestADaysLimit(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration","admin":{"path":"/spillway"},"retry":{"longest":"1h"},
		"limits":[{"name":"d","per":["user"],"unit":"requests","quantity":2,"window":"day"}]}`, recordtest.NewMemory())
	h.set = -30 * 60 * second // half an hour before midnight
	x := h.ask("ann")
	step := x.status("200", "application/json", false)
	expect(t, "what is left", header(step.Headers, "x-ratelimit-remaining-requests")+" "+header(step.Headers, "x-ratelimit-reset-requests"), "1 30m0s")
	x.response(used(1, 1), true)
	x.done()
	h.ask("ann").answer(used(1, 1))
	refused := h.ask("ann").last.Reply
	expect(t, "retry-after", header(refused.Headers, "retry-after"), "1800")
	if !strings.Contains(string(refused.Body), "requests per day: limit 2") {
		t.Errorf("%s", refused.Body)
	}
	_, body := h.get(t, "/spillway/status")
	limit := body["limits"].([]any)[0].(map[string]any)
	expect(t, "the window", limit["window"], any("day"))
	expect(t, "its end", limit["windowEnds"], any("2020-01-04T00:00:00.000Z"))
	h.set-- // the wall clock isn't read at the same moment as the other one
	_, subject := h.get(t, "/spillway/limits/d?subject=ann")
	h.set++
	expect(t, "the subject's", subject["windowEnds"], any("2020-01-04T00:00:00.000Z"))
	h.now += 1799 * second
	h.tick()
	expect(t, "refused before midnight", h.ask("ann").Refused(), true)
	h.now += second
	h.tick()
	expect(t, "refused after it", h.ask("ann").Refused(), false)
	h.set = -60 * 60 * second // back into the day before
	h.now += second
	h.tick()
	h.ask("ann")
	expect(t, "the day has its quantity once", h.ask("ann").Refused(), true)
}
