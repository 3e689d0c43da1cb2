package admit

import (
	"strconv"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// A request weighs what the first entry says that matches its model and its prompt; one whose model can't be told, what the heaviest would.
func TestWeightsByModelAndPrompt(t *testing.T) {
	const weighed = `{"requestHold":"stopIteration","upstreams":[{"name":"x","concurrency":{"max":40,"weights":[` +
		`{"models":["giant*"],"units":8},{"promptTokens":{"above":1000},"units":4}]}}]}`
	long := strings.Repeat("many words ", 2000)
	for _, c := range []struct {
		name, model, prompt string
		want                int64
	}{
		{"as any", `"model":"small"`, "hi", 1},
		{"by model", `"model":"giant-405b"`, "hi", 8},
		{"by prompt", `"model":"small"`, long, 4},
		{"the first entry", `"model":"giant-405b"`, long, 8},
		{"no telling", `"model":"small","model":"giant"`, "hi", 8},
	} {
		h := newHost(t, weighed, recordtest.NewMemory())
		x := h.start("ann", false)
		x.body(`{`+c.model+`,"messages":[{"role":"user","content":`+strconv.Quote(c.prompt)+`}]}`, true)
		h.now += second
		h.tick()
		expect(t, c.name, int64(h.gauges["inflight x"]), c.want)
		x.done()
		h.now += second
		h.tick()
		expect(t, c.name+", afterwards", int64(h.gauges["inflight x"]), 0)
	}
}
