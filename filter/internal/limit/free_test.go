package limit

import (
	"fmt"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// What needs nothing of a limit's unit passes, however little is left. An estimate of nothing is no such case.
func TestWhatNeedsNothingOfAUnitPasses(t *testing.T) {
	const usedUp = 1000
	embedding := func(r *Request) { r.Operation, r.NoOutput, r.Estimate = "embeddings", true, Estimate{Prompt: 10} }
	bounded := func(r *Request) { embedding(r); r.Estimate.OutputBound = 50 }
	estimated := func(r *Request) { r.Estimate = Estimate{} }
	unread := func(r *Request) { estimated(r); r.Model = "" }
	unknown := func(r *Request) { embedding(r); r.Model = "" }
	const free, input, output = `{"models":["m"],"prompt":0,"cached":0,"completion":0,"reasoning":0}`,
		`{"models":["m"],"prompt":1,"cached":1,"completion":0,"reasoning":0}`, `{"models":["m"],"prompt":0,"cached":0,"completion":4,"reasoning":4}`
	for _, test := range []struct {
		name, unit, cost string
		change           func(*Request)
		passes           bool
	}{
		{"an embedding and its completion", "completionTokens", "", embedding, true},
		{"an embedding that bounds its output", "completionTokens", "", bounded, true},
		{"an embedding and its prompt", "promptTokens", "", embedding, false},
		{"an embedding and its total", "totalTokens", "", embedding, false},
		{"an embedding and its cost", "cost", "", embedding, false},
		{"an embedding counts as a request", "requests", "", embedding, false},
		{"an embedding whose prompt costs nothing", "cost", output, embedding, true},
		{"a chat whose prompt costs nothing", "cost", output, estimated, false},
		{"a chat whose output costs nothing", "cost", input, estimated, false},
		{"a chat that costs nothing", "cost", free, estimated, true},
		{"a chat of a model that is not known", "cost", free, unread, false},
		{"a chat of a model that is not known, where some have a price", "cost", `{"models":["m"],"prompt":1},{"models":["*"],"prompt":0,"cached":0,"completion":0,"reasoning":0}`, unread, false},
		{"an embedding of a model that is not known", "cost", output, unknown, false},
		{"a chat that is expected to say nothing", "completionTokens", "", estimated, false},
		{"a prompt that could not be measured", "promptTokens", "", estimated, false},
	} {
		for _, admission := range []string{"lenient", "strict"} {
			for _, mode := range []string{"enforce", "shadow"} {
				t.Run(fmt.Sprint(test.name, " ", admission, " ", mode), func(t *testing.T) {
					w := newWorld(t, fmt.Sprintf(`[{"name":"u","per":["user"],"unit":"%s","quantity":100,"window":"1h","admission":"%s","mode":"%s"}],
						"usage":{"cost":[%s]}`, test.unit, admission, mode, test.cost))
					use(t, w, test.unit, usedUp)
					v := w.Admit(start, with(request("alice"), test.change), nil)
					if passes := !v.Outcome.Refuses() && v.Outcome != gate.Shadowed; passes != test.passes {
						t.Errorf("passes: %v; %+v", passes, v.Verdict)
					}
					if v.Outcome.Refuses() || !test.passes {
						return
					}
					if (v.Tokens.Limit != nil) != (mode == "enforce") {
						t.Errorf("what is left of it is not told: %+v", v.Tokens)
					}
					w.Settle(start, v.Charges, "m", Usage{Prompt: 7, Completion: 7, Total: 14}, 200) // it was charged: a report may say otherwise
				})
			}
		}
	}
}

// use brings a limit into debt.
func use(t *testing.T, w *world, unit string, amount int64) {
	t.Helper()
	chat := request("alice")
	if unit == "requests" {
		for range 100 {
			w.Admit(start, chat, nil)
		}
		return
	}
	var all []Admission
	for _, model := range []string{"m", "other"} { // one of them may cost nothing
		v := w.Admit(start, with(chat, func(r *Request) { r.Model = model; r.Estimate = Estimate{Prompt: 1, Output: 1} }), nil)
		if v.Outcome.Refuses() {
			t.Fatalf("%+v", v.Verdict)
		}
		all = append(all, v)
	}
	for i, model := range []string{"m", "other"} {
		w.Settle(start, all[i].Charges, model, Usage{Prompt: amount, Completion: amount, Total: 2 * amount}, 200)
	}
}

// An operation that says it has no output, and reports some, is charged for it.
func TestOutputWhereThereIsNoneIsCharged(t *testing.T) {
	w := newWorld(t, `[{"name":"u","per":["user"],"unit":"completionTokens","quantity":100,"window":"1h"}]`)
	r := with(request("alice"), func(r *Request) { r.Operation, r.NoOutput = "embeddings", true })
	w.Settle(start, w.Admit(start, r, nil).Charges, "m", Usage{Prompt: 10, Completion: 150, Total: 160}, 200)
	if v := w.Admit(start, request("alice"), nil); !v.Outcome.Refuses() || v.Measured != 150 {
		t.Errorf("a chat passes: %+v", v.Verdict)
	}
}
