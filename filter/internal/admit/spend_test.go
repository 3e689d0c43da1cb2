package admit

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// inDollars is a configuration with a limit of dollars. A token of mock costs a thousandth of a cent.
func inDollars(more string) string {
	return `{"requestHold":"stopIteration",` + adminConfig("open") + `,` + more + `"limits":[{"name":"u","per":["user"],"unit":"usd","quantity":0.01,"window":"1h","burst":0.01}],
		"prices":[{"models":["mock"],"prompt":10,"completion":10},{"models":["other"],"prompt":30,"completion":30},{"models":["free"],"prompt":0}]}`
}

// asksFor sends a chat request of ann's for a model.
func (h *host) asksFor(model string) *exchange {
	x := h.start("ann", false)
	x.body(`{"model":"`+model+`","max_tokens":100}`, true)
	return x
}

// A user's dollars through his eyes, and an operator's.
func TestABudgetOfDollars(t *testing.T) {
	h := newHost(t, inDollars(""), recordtest.NewMemory())
	h.asksFor("mock").answer(used(300, 701)) // mock-1 answers, which has no price
	x := h.asksFor("mock")
	reply := x.last.Reply
	if reply == nil || reply.Status != 429 || refusedFor(x) != "limits/spend_exceeded" {
		t.Fatalf("%+v", x.last)
	}
	const want = "Rate limit reached for mock on spend per hour: limit $0.01, used $0.01001, requested $0.00"
	if body := string(reply.Body); !strings.Contains(body, want) || !strings.Contains(body, `"code":"insufficient_quota"`) {
		t.Errorf("%s", body)
	}
	for _, header := range reply.Headers {
		if strings.Contains(header[0], "ratelimit-") {
			t.Errorf("%v", header)
		}
	}
	if x.properties["spillway.measured"] != "0.01" || x.properties["spillway.threshold"] != "0.01" {
		t.Errorf("%v", x.properties)
	}
	x.done()
	if x := h.asksFor("free"); x.Refused() {
		t.Error("a model that is free is refused")
	} else {
		x.answer(used(10, 10))
	}
	expect(t, "counted", h.counts["spillway_spend_nanodollars_total u other"], 10_010_000)
	_, answer := h.send("GET", "/limits/u?subject=ann", "")
	if !strings.Contains(answer, `"quantity":0.01,"burst":0.01,"used":0.01001,"reserved":0,"remaining":-0.00001,`) {
		t.Error(answer)
	}
	status, answer := h.send("POST", "/limits/u/subjects/ann", `{"grant":0.05,"for":"1h"}`)
	if status != 200 || !strings.Contains(answer, `"burst":0.06,"used":0.01001,"reserved":0,"remaining":0.04999,`) || !strings.Contains(answer, `{"grant":0.05,`) {
		t.Error(status, answer)
	}
	if x := h.asksFor("mock"); x.Refused() {
		t.Error("what was granted can't be used")
	} else {
		x.answer(strings.Replace(used(100, 0), "mock-1", "other", 1)) // a fallback, which costs three times as much
	}
	expect(t, "counted with the fallback", h.counts["spillway_spend_nanodollars_total u other"], 10_010_000+3_000_000)
	status, answer = h.send("GET", "/status", "")
	if status != 200 || !strings.Contains(answer, `"unit":"usd","quantity":0.01,`) || !strings.Contains(answer, `"burst":0.01,`) {
		t.Error(status, answer)
	}
	h.asksFor("mock").answer(used(0, 1)) // what is less than a hundredth of a cent is told, too
	h.now += 2 * second
	h.tick()
	if _, answer := h.send("GET", "/subjects?limit=u", ""); !strings.Contains(answer, `{"subject":"user=ann","used":0.01302,"usedAtMost":0.01302,"refused":1,`) {
		t.Error(answer)
	}
}

// Whatever hides a model, it isn't a way around the budget, nor past unpriced: reject; and is counted, and listed.
func TestAModelThatCanNotBeToldHasNoPrice(t *testing.T) {
	for i, test := range hidden {
		h := newHost(t, inDollars(unreadUsage), recordtest.NewMemory())
		passed := 0
		for range 20 {
			x := h.hide(i)
			if refusedFor(x) == "" {
				passed++
				x.answer(strings.Replace(used(100, 100), "mock-1", "", 1))
			}
		}
		most := 2 // at 30 dollars a million 200 tokens are 0.006
		if test.why == "too_large" {
			most = 5 // its end tells the model
		}
		if passed == 0 || passed > most {
			t.Errorf("%s: %d pass", test.name, passed)
		}
		expect(t, test.name+", counted", h.counts["spillway_unpriced_total other"], 20)
		h = newHost(t, inDollars(unreadUsage+`"unpriced":"reject",`), recordtest.NewMemory())
		x := h.hide(i)
		if refusedFor(x) != "limits/unpriced" || x.last.Reply.Status != 400 || !strings.Contains(string(x.last.Reply.Body), `"code":"model_unpriced"`) {
			t.Errorf("%s: %+v", test.name, x.last)
		}
	}
}

// Which models lack a price is in status: the most frequent, of all workers, whatever they are called.
func TestModelsWithoutAPriceAreListed(t *testing.T) {
	g := newGateways(t, inDollars(""))
	for i := range 200 {
		g.one.asksFor(fmt.Sprintf("made-up-%d", i)).answer(used(1, 1))
	}
	for range 30 {
		for _, h := range [...]*host{g.one, g.two} {
			h.asksFor("<b>gpt-9").answer(used(1, 1))
		}
	}
	g.one.asksFor("mock").answer(used(1, 1))
	g.pass()
	g.pass()
	for _, h := range [...]*host{g.listener, g.two} {
		_, answer := h.send("GET", "/status", "")
		var status struct {
			Unpriced []struct {
				Model    string
				Requests int
			}
		}
		if err := json.Unmarshal([]byte(answer), &status); err != nil {
			t.Fatal(err)
		}
		if len(status.Unpriced) != mostUnpriced || status.Unpriced[0].Model != "<b>gpt-9" || status.Unpriced[0].Requests < 58 || strings.Contains(answer, "<b>") {
			t.Errorf("%+v", status.Unpriced)
		}
	}
}

// Prices and quantity are changed while requests run: what runs is charged by the prices that it began with.
func TestPricesAreOverridden(t *testing.T) {
	h := workerOf(t, inDollars(""), recordtest.NewMemory(), 1)
	x := h.asksFor("mock")
	status, answer := h.send("PATCH", "/overrides", `{"prices":[{"models":["mock"],"prompt":20,"completion":20}],"limits":{"u":{"quantity":0.5,"burst":0.5}}}`)
	if status != 200 {
		t.Fatal(status, answer)
	}
	h.now += 2 * second
	h.tick()
	x.answer(used(100, 0))
	expect(t, "by the prices of before", h.counts["spillway_spend_nanodollars_total u other"], 1_000_000)
	h.asksFor("mock").answer(used(100, 0))
	expect(t, "by those of now", h.counts["spillway_spend_nanodollars_total u other"], 3_000_000)
	if status, answer := h.send("PATCH", "/overrides", `{"prices":[{"models":["mock"],"prompt":0.00000000001}]}`); status != 422 || !strings.Contains(answer, `"path":"prices[0].prompt"`) {
		t.Error(status, answer)
	}
	if status, answer := h.send("POST", "/limits/u/subjects/ann", `{"grant":-1,"for":"1h"}`); status != 422 || !strings.Contains(answer, "want dollars above 0") {
		t.Error(status, answer)
	}
	_, answer = h.send("GET", "/config", "")
	if !strings.Contains(answer, `"quantity":0.5,`) || !strings.Contains(answer, `{"models":["mock"],"prompt":20,"completion":20}`) {
		t.Error(answer)
	}
}

// The path's model counts where a path names one, by whatever spelling; a body that names a cheaper one is no way around, nor is a name in other letters.
func TestAModelInThePathIsTheOneThatIsBilled(t *testing.T) {
	const prices = `"prices":[{"models":["dear"],"prompt":20,"completion":20},{"models":["free"],"prompt":0}]}`
	const silent = `{"choices":[{"message":{"content":"hello"}}],"usage":{"prompt_tokens":100,"completion_tokens":100,"total_tokens":200}}`
	for path, answer := range map[string]string{
		"/openai/deployments/dear/chat/completions?api-version=1":                silent,
		"/openai/deployments/DEAR/chat/completions":                              silent,
		"/openai/deployments/d%65ar/chat/completions":                            silent,
		"/v1beta/models/dear:generateContent":                                    `{"usageMetadata":{"promptTokenCount":100,"candidatesTokenCount":100,"totalTokenCount":200}}`,
		"/v1/projects/p/locations/l/publishers/anthropic/models/dear:rawPredict": `{"type":"message","usage":{"input_tokens":100,"output_tokens":100}}`,
	} {
		h := newHost(t, `{"requestHold":"stopIteration","limits":[{"name":"u","unit":"usd","quantity":1,"window":"1h"}],`+prices, recordtest.NewMemory())
		x := h.startWith([][2]string{{":method", "POST"}, {":path", path}, {"content-type", "application/json"}}, false)
		x.body(`{"model":"free","anthropic_version":"vertex-2023-10-16","contents":[{"parts":[{"text":"hi"}]}],"messages":[{"role":"user","content":"hi"}]}`, true)
		if x.Refused() {
			t.Errorf("%s: refused for %s", path, refusedFor(x))
			continue
		}
		x.answer(answer)
		if got := h.counts["spillway_spend_nanodollars_total u other"]; got != 4_000_000 {
			t.Errorf("%s: %d", path, got)
		}
	}
	for _, name := range []string{"DEAR", "Dear", " dear", "dear "} {
		h := newHost(t, `{"requestHold":"stopIteration","limits":[{"name":"u","per":["user"],"unit":"usd","quantity":1,"window":"1h"}],`+prices, recordtest.NewMemory())
		h.asksFor(name).answer(silent)
		if got := h.counts["spillway_spend_nanodollars_total u other"]; got != 4_000_000 {
			t.Errorf("%q: %d", name, got)
		}
	}
}
