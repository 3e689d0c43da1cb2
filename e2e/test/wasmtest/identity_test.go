package wasmtest

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

func TestARepeatedIdentityHeaderIsRefused(t *testing.T) {
	for name, values := range map[string][2]string{
		"x-user-id": {"ann", "bob"}, "x-tenant-id": {"red", "red"}, "authorization": {"Bearer a", "Bearer b"},
		"x-api-key": {"a", ""}, "api-key": {"a", "b"},
	} {
		for _, h := range holds {
			t.Run(name+", "+h.name, func(t *testing.T) {
				p, vm := start(t, h.host, held(h.name, strings.Replace(limitOf("requests", 1), `["user"]`, `["user","tenant","key"]`, 1)))
				s := request{headers: [][2]string{{name, values[0]}, {"x-other", "1"}, {name, values[1]}}}.send(vm)
				check(t, "status", s.ClientStatus, "400")
				check(t, "reason", header(s.ClientHeaders, "x-spillway-reason"), "identity/repeated_header")
				check(t, "names the header", strings.Contains(string(s.ClientBody), name), true)
				check(t, "shows its value", strings.Contains(string(s.ClientBody), "Bearer"), false)
				check(t, "the upstream saw it", s.ForwardedHeaders, false)
				check(t, "requests counted", p.requests(), 1)
				check(t, "charged", request{}.ask(vm).ClientStatus, "200")
			})
		}
	}
}

func TestARepeatedHeaderOfNoIdentityPasses(t *testing.T) {
	_, vm := start(t, stopIteration, limitOf("requests", 1))
	s := request{user: "ann", headers: [][2]string{{"x-other", "1"}, {"x-other", "2"}, {"cookie", "a"}, {"cookie", "b"}}}.ask(vm)
	check(t, "status", s.ClientStatus, "200")
	check(t, "headers", len(s.UpstreamHeaders), 9)
}

func TestShadowModeAndOffRefuseNobody(t *testing.T) {
	twice := request{user: "ann", headers: [][2]string{{"x-user-id", "bob"}}}
	for _, mode := range []string{"shadow", "off"} {
		t.Run(mode, func(t *testing.T) {
			p, vm := start(t, stopIteration, `{"mode":"`+mode+`",`+limitOf("requests", 1)[1:])
			statuses(t, []*wasmhost.Stream{twice.ask(vm), request{user: "ann"}.ask(vm), request{user: "ann"}.ask(vm)}, "200", "200", "200")
			check(t, "recorded", sum(p.counters("spillway_requests_total;decision=SHADOW;gate=identity")) == 1, mode == "shadow")
			check(t, "refused", sum(p.counters("spillway_requests_total;decision=REJECTED")), 0)
		})
	}
}

func TestAMissingIdentityIsRefusedWhereTheConfigurationSaysSo(t *testing.T) {
	p, vm := start(t, stopIteration, `{"identity":{"missing":"reject"},`+limitOf("requests", 1)[1:])
	s := request{}.send(vm)
	check(t, "status", s.ClientStatus, "401")
	check(t, "reason", header(s.ClientHeaders, "x-spillway-reason"), "identity/missing")
	check(t, "the upstream saw it", s.ForwardedHeaders, false)
	check(t, "with one", request{user: "ann"}.ask(vm).ClientStatus, "200")
	check(t, "requests counted", p.requests(), 2)
}

func TestThePriorityHeaderIsTakenOutUnlessItIsToBeForwarded(t *testing.T) {
	for _, c := range []struct {
		name, config, sent, forwarded, priority string
	}{
		{"by default", "", "high", "", "HIGH"},
		{"forwarded", `"priority":{"forward":true},`, "high", "high", "HIGH"},
		{"another header", `"priority":{"header":"x-rank"},`, "high", "high", "NORMAL"},
		{"no header", `"priority":{"header":""},`, "high", "high", "NORMAL"},
		{"garbage", "", "utmost", "", "NORMAL"},
		{"capped", `"priority":{"rules":[{"match":{"users":["ann"]},"max":"low"}]},`, "urgent", "", "LOW"},
	} {
		for _, h := range holds {
			t.Run(c.name+", "+h.name, func(t *testing.T) {
				config := held(h.name, limitOf("completionTokens", 300, `"match":{"models":["llama-*"]}`))
				_, vm := start(t, h.host, `{`+c.config+config[1:])
				s := request{user: "ann", headers: [][2]string{{"x-priority", c.sent}}}.ask(vm)
				check(t, "status", s.ClientStatus, "200")
				check(t, "forwarded", header(s.UpstreamHeaders, "x-priority"), c.forwarded)
				check(t, "priority", s.FilterState["wasm.spillway.priority"], c.priority)
				check(t, "the user's header", header(s.UpstreamHeaders, "x-user-id"), "ann")
			})
		}
	}
}

func TestAKeyIsNeverShownOrStored(t *testing.T) {
	const secret = "sk-proj-5up3rs3cr3t"
	p, vm := start(t, stopIteration, `{"limits":[{"name":"k","per":["key"],"unit":"requests","quantity":1,"window":"1h"}]}`)
	keyed := request{headers: [][2]string{{"authorization", "Bearer " + secret}}}
	streams := []*wasmhost.Stream{keyed.ask(vm), keyed.ask(vm), request{headers: [][2]string{{"authorization", "Bearer x"}}}.ask(vm)}
	statuses(t, streams, "200", "429", "200")
	check(t, "forwarded", header(streams[0].UpstreamHeaders, "authorization"), "Bearer "+secret)
	shown := strings.Join(p.MetricNames(), "\n")
	for _, key := range p.SharedDataKeys() {
		value, _, _ := p.SharedData(key)
		shown += key + string(value)
	}
	for _, line := range p.Logs() {
		shown += line.Message
	}
	for _, s := range streams {
		shown += string(s.ClientBody)
		for name, value := range s.FilterState {
			shown += name + value
		}
	}
	check(t, "shown", strings.Contains(shown, secret), false)
}
