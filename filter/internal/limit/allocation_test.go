package limit

import (
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// ofEverything has limits of every unit, by every part of an identity, in pages of their own, of which the last one is used up at some time.
const ofEverything = `[
	{"name":"t","per":["user"],"unit":"completionTokens","quantity":1000000000,"window":"1h","admission":"strict"},
	{"name":"c","per":["tenant","header:x-team"],"match":{"headers":{"x-team":"re*"}},"unit":"cost","quantity":1000000000,"window":"1h"},
	{"name":"m","per":["model"],"match":{"models":["llama-*"]},"unit":"totalTokens","quantity":1000000000,"window":"1h","refund":["5xx"]},
	{"name":"i","per":["key"],"unit":"inflight","quantity":1000000},
	{"name":"s","per":["priority"],"unit":"promptTokens","quantity":1,"window":"1h","mode":"shadow"},
	{"name":"r","per":["user","key"],"unit":"requests","quantity":2000,"window":"1h"}]`

// What limits do for a request allocates nothing, once they have done it.
func TestNothingIsAllocated(t *testing.T) {
	w := newWorld(t, ofEverything)
	w.store.InPlace = true
	r := request("alice")
	r.Model = "Llama-3"
	w.picker.Pick([][2]string{{"x-team", "green, red"}}, r.Headers)
	var charges []Charge
	admit := func() (v Admission) {
		if w.Timing(r) != Estimated {
			t.Fatal("it can be told without the body")
		}
		v = w.Admit(start, r, charges[:0])
		charges = v.Charges
		return v
	}
	served := func() {
		if v := admit(); v.Outcome.Refuses() || len(v.Charges) < 5 || v.Err != nil {
			t.Fatalf("%+v", v)
		}
		w.Lease(start, charges)
		w.Renew(start, charges)
		w.Send(start, charges)
		w.Settle(start, charges, r.Model, Usage{Prompt: 9, Completion: 9, Total: 18}, 200)
	}
	givenBack := func() { admit(); w.Refund(start, charges) }
	refused := func() {
		if v := admit(); v.Limit == nil || v.Limit.Name != "r" || len(v.Charges) != 0 {
			t.Fatalf("%+v", v)
		}
	}
	contested := func() { // the second page can't be written, and the first is given back
		if v := admit(); v.Reason != gate.Contended {
			t.Fatalf("%+v", v)
		}
	}
	check := func(what string, runs int, do func()) {
		do()
		if n := testing.AllocsPerRun(runs, do); n != 0 {
			t.Errorf("%s: %v allocations", what, n)
		}
	}
	check("served", 100, served)
	check("given back", 100, givenBack)
	contest := w.contest(t, r)
	check("contested", 3, contested)
	*contest = false
	for range 2000 {
		admit()
	}
	check("refused", 100, refused)
}
