package wasmtest

import (
	"fmt"
	"maps"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

func TestMetricsHaveTheirNamesAndEachRequestIsCountedOnce(t *testing.T) {
	p := newProxy(t, stopIteration)
	vm := p.worker(limitOf("requests", 4))
	other := p.worker(limitOf("requests", 4))

	request{user: "ann"}.ask(vm)                                                  // 1
	request{user: "ann", body: `{"model":"gpt-4o"}`}.ask(other)                   // 2
	request{user: "ann", headers: [][2]string{{"x-priority", "high"}}}.ask(other) // 3
	streamed := request{user: "ann", body: `{"model":"llama-3-8b","stream":true}`}.send(vm)
	streamed.ResponseHeaders(okEvents, false)
	for _, event := range events(3, 0) {
		streamed.ResponseBody([]byte(event), false)
	}
	streamed.Done()                 // 4, and its prompt is an estimate
	request{user: "ann"}.ask(vm)    // one too many
	request{user: "ann"}.ask(other) // and another

	unread := request{path: "/upload", user: "bob"}.ask(vm)
	check(t, "status of an unknown path", unread.ClientStatus, "200")
	twice := request{user: "bob", headers: [][2]string{{"x-user-id", "bob"}}}.send(vm)
	check(t, "status of a repeated header", twice.ClientStatus, "400")
	failing := request{user: "bob"}.send(vm)
	failing.ResponseHeaders([][2]string{{":status", "503"}}, true)

	counters := p.counters("")
	maps.DeleteFunc(counters, func(name string, _ uint64) bool { return strings.Contains(name, "_milliseconds;") }) // histograms
	checkMap(t, "counters", counters, map[string]uint64{
		"spillway_requests_total;decision=ALLOWED;gate=none;priority=NORMAL;model=llama-3-8b":           3,
		"spillway_requests_total;decision=ALLOWED;gate=none;priority=HIGH;model=llama-3-8b":             1,
		"spillway_requests_total;decision=ALLOWED;gate=none;priority=NORMAL;model=other":                2,
		"spillway_requests_total;decision=REJECTED;gate=limits;priority=NORMAL;model=other;limit=quota": 2,
		"spillway_upstream_errors_total;upstream=none;status=503":                                       1,
		"spillway_requests_total;decision=REJECTED;gate=identity;priority=NORMAL;model=other":           1,
		"spillway_tokens_total;type=input;source=reported;model=llama-3-8b":                             48,
		"spillway_tokens_total;type=output;source=reported;model=llama-3-8b":                            152,
		"spillway_tokens_total;type=cached;source=reported;model=llama-3-8b":                            16,
		"spillway_tokens_total;type=reasoning;source=reported;model=llama-3-8b":                         10,
		"spillway_tokens_total;type=input;source=reported;model=other":                                  24,
		"spillway_tokens_total;type=output;source=reported;model=other":                                 76,
		"spillway_tokens_total;type=cached;source=reported;model=other":                                 8,
		"spillway_tokens_total;type=reasoning;source=reported;model=other":                              5,
		"spillway_tokens_total;type=input;source=counted;model=llama-3-8b":                              11,
		"spillway_tokens_total;type=output;source=counted;model=llama-3-8b":                             3,
		"spillway_uncharged_total;reason=unknown_path":                                                  1,
	})
	check(t, "requests counted", p.requests(), 9)
	for name, want := range map[string]int{
		"spillway_ttft_milliseconds;streaming=false;priority=NORMAL": 2, // not those that failed, or were refused
		"spillway_ttft_milliseconds;streaming=false;priority=HIGH":   1,
		"spillway_ttft_milliseconds;streaming=true;priority=NORMAL":  1,
		"spillway_itl_milliseconds;streaming=true;priority=NORMAL":   1,
	} {
		check(t, name, len(p.Histogram(name)), want)
	}
}

func TestAClientThatLeavesIsCountedOnce(t *testing.T) {
	leave := func(s *wasmhost.Stream) *wasmhost.Stream { s.Done(); return s }
	cases := []struct {
		name, decision string
		run            func(vm *wasmhost.VM)
	}{
		{"while its headers are held", "CANCELLED", func(vm *wasmhost.VM) { leave(request{user: "ann"}.open(vm)) }},
		{"in the middle of its body", "CANCELLED", func(vm *wasmhost.VM) {
			s := request{user: "ann"}.open(vm)
			s.RequestBody([]byte(question[:9]), false)
			leave(s)
		}},
		{"while the upstream works", "ALLOWED", func(vm *wasmhost.VM) { leave(request{user: "ann"}.send(vm)) }},
		{"in the middle of the response", "ALLOWED", func(vm *wasmhost.VM) {
			s := request{user: "ann"}.send(vm)
			s.ResponseHeaders(okJSON, false)
			leave(s)
		}},
		{"after the response", "ALLOWED", func(vm *wasmhost.VM) { leave(request{user: "ann"}.ask(vm)) }},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			p, vm := start(t, stopIteration, limitOf("completionTokens", 300))
			c.run(vm)
			check(t, "requests counted", p.requests(), 1)
			check(t, c.decision, sum(p.counters("spillway_requests_total;decision="+c.decision+";")), 1)
		})
	}
}

func TestAStreamThatNeverBeganIsNotCounted(t *testing.T) {
	p, vm := start(t, stopIteration, limitOf("requests", 4))
	vm.NewStream().Done()
	check(t, "metrics", len(p.MetricNames()), 0)
	check(t, "stream contexts", vm.Contexts(), 0)
}

func TestClientsCannotMakeUpMetricsWithoutEnd(t *testing.T) {
	p, vm := start(t, stopIteration, `{"models":{"labels":["llama-*"]}}`)
	for i := range 1500 {
		request{body: fmt.Sprintf(`{"model":"llama-%d;x=y\n\u00e9"}`, i)}.ask(vm)
		request{body: fmt.Sprintf(`{"model":"made-up-%d"}`, i)}.ask(vm)
	}
	requests := p.counters("spillway_requests_total;")
	check(t, "some labels, not all", len(requests) > 50 && len(requests) <= 101, true)
	check(t, "requests counted", p.requests(), 3000)
	check(t, "a label is one word", p.Counter("spillway_requests_total;decision=ALLOWED;gate=none;priority=NORMAL;model=llama-0_x_y___"), 1)
}
