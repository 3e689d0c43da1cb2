package wasmtest

import (
	"encoding/json"
	"strconv"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

func TestAUserOf300TokensAnHourGetsFourAnswersOf76(t *testing.T) {
	for _, h := range holds {
		t.Run(h.name, func(t *testing.T) {
			p, vm := start(t, h.host, held(h.name, limitOf("completionTokens", 300)))
			var streams []*wasmhost.Stream
			for range 5 {
				streams = append(streams, request{user: "ann"}.ask(vm))
			}
			streams = append(streams, request{user: "bob"}.ask(vm))
			statuses(t, streams, "200", "200", "200", "200", "429", "200")
			check(t, "the upstream saw an admitted request", streams[0].ForwardedHeaders, true)
			check(t, "the upstream got its body", string(streams[0].UpstreamBody), question)
			check(t, "the upstream saw the refused request", streams[4].ForwardedHeaders, false)
			checkRefusal(t, streams[4])

			wait, err := strconv.Atoi(header(streams[4].ClientHeaders, "retry-after-ms"))
			if err != nil {
				t.Fatal(err)
			}
			p.Advance(time.Duration(wait-1) * time.Millisecond)
			early := request{user: "ann"}.ask(vm)
			p.Advance(time.Millisecond)
			statuses(t, []*wasmhost.Stream{early, request{user: "ann"}.ask(vm)}, "429", "200")
		})
	}
}

// checkRefusal checks the answer to the fifth request: the bucket is 4 tokens in debt, and gets one every 12 s.
func checkRefusal(t *testing.T, s *wasmhost.Stream) {
	t.Helper()
	for name, want := range map[string]string{
		"content-type": "application/json", "x-spillway-reason": "limits/tokens_exceeded", "retry-after": "49",
		"retry-after-ms": "48001", "x-should-retry": "", "x-ratelimit-limit-tokens": "300",
		"x-ratelimit-remaining-tokens": "0", "x-ratelimit-limit-requests": "",
	} {
		check(t, name, header(s.ClientHeaders, name), want)
	}
	var body struct {
		Error struct{ Message, Type, Code string }
	}
	if err := json.Unmarshal(s.ClientBody, &body); err != nil {
		t.Errorf("the body isn't JSON: %v: %s", err, s.ClientBody)
	}
	check(t, "type", body.Error.Type, "tokens")
	check(t, "code", body.Error.Code, "rate_limit_exceeded")
	check(t, "has a message", body.Error.Message != "", true)
}

func TestARefusedRequestReachesTheUpstreamOnlyWhereNothingHoldsItAndTheBodyDecides(t *testing.T) {
	const byModel = `"match":{"models":["llama-*"]}`
	for _, h := range holds {
		for _, c := range []struct {
			name, unit, more string
			reaches          bool
		}{
			{"requests, told by headers", "requests", `"match":{}`, false},
			{"tokens, told by headers", "completionTokens", `"match":{}`, false},
			{"requests, told by the model", "requests", byModel, h.name == "none"},
			{"tokens, told by the model", "completionTokens", byModel, h.name == "none"},
		} {
			t.Run(h.name+", "+c.name, func(t *testing.T) {
				p, vm := start(t, h.host, held(h.name, limitOf(c.unit, 1, c.more)))
				first, second := request{user: "ann"}.ask(vm), request{user: "ann"}.ask(vm)
				statuses(t, []*wasmhost.Stream{first, second}, "200", "429")
				check(t, "the upstream saw the refused request", second.ForwardedHeaders, c.reaches)
				check(t, "and was cut off", second.UpstreamReset, c.reaches)
				check(t, "the upstream got its body", len(second.UpstreamBody), 0)
				check(t, "requests counted", p.requests(), 2)
			})
		}
	}
}

func TestOtherModelsPassALimitOfOneModel(t *testing.T) {
	_, vm := start(t, stopIteration, limitOf("requests", 1, `"match":{"models":["llama-*"]}`))
	other := request{user: "ann", body: `{"model":"gpt-4o"}`}
	statuses(t, []*wasmhost.Stream{
		request{user: "ann"}.ask(vm), other.ask(vm), request{user: "ann"}.ask(vm), other.ask(vm),
	}, "200", "200", "429", "200")
}

func TestAFailingUpstreamCostsARequestWhereItIsNotRefunded(t *testing.T) {
	for _, status := range []string{"429", "500", "503"} {
		for refund, want := range map[string][]string{"": {"200", "429", "429"}, `"refund":["5xx",429]`: {"200", "200", "429"}} {
			t.Run(status+", "+refund, func(t *testing.T) {
				more := []string{refund}
				if refund == "" {
					more = nil
				}
				_, vm := start(t, stopIteration, limitOf("requests", 2, more...))
				s := request{user: "ann"}.send(vm)
				s.ResponseHeaders([][2]string{{":status", status}}, true)
				check(t, "passed on", s.ClientStatus, status)
				check(t, "headers about our limit", header(s.ClientHeaders, "x-ratelimit-limit-requests"), "")
				statuses(t, []*wasmhost.Stream{request{user: "ann"}.ask(vm), request{user: "ann"}.ask(vm), request{user: "ann"}.ask(vm)}, want...)
			})
		}
	}
}

func TestAShadowLimitLetsPassAndSaysSo(t *testing.T) {
	p, vm := start(t, stopIteration, limitOf("requests", 1, `"mode":"shadow"`))
	request{user: "ann"}.ask(vm)
	s := request{user: "ann"}.ask(vm)
	check(t, "status", s.ClientStatus, "200")
	check(t, "decision", s.FilterState["wasm.spillway.decision"], "SHADOW")
	check(t, "limit", s.FilterState["wasm.spillway.limit"], "quota")
	check(t, "headers", header(s.ClientHeaders, "x-ratelimit-limit-requests"), "")
	check(t, "counted", p.Counter("spillway_requests_total;decision=SHADOW;gate=limits;priority=NORMAL;model=llama-3-8b;limit=quota"), 1)
}

func TestTheUpstreamsOwnLimitHeadersGiveWay(t *testing.T) {
	_, vm := start(t, stopIteration, limitOf("requests", 10))
	s := request{user: "ann"}.send(vm)
	s.ResponseHeaders([][2]string{{":status", "200"}, {"x-ratelimit-limit-requests", "5000"}, {"x-ratelimit-remaining-requests", "1"}}, true)
	for name, want := range map[string]string{
		"x-ratelimit-limit-requests": "10", "x-ratelimit-remaining-requests": "9", "x-ratelimit-reset-requests": "6m0s",
	} {
		check(t, name, header(s.ClientHeaders, name), want)
	}
}
