package admit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
)

// overLimit is the answer of Envoy's ratelimit filter.
var overLimit = [][2]string{{"x-envoy-ratelimited", "true"},
	{"x-ratelimit-limit", `300, 1000;w=86400, 300;w=3600;name="user-tokens"`}, {"x-ratelimit-remaining", "0"}, {"x-ratelimit-reset", "48"}}

// What the fleet refuses is told as if we had refused it: in the request's dialect, with the limit's name and its own time, and what was reserved for
// the request is free.
func TestTheFleetsRefusalIsInTheRequestsDialect(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/v1/chat/completions":             `{"error":{"message":"Rate limit reached for m on user-tokens, over all gateways: limit 300 per hour. Please try again in 48s.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`,
		"/v1/messages":                     `{"type":"error","error":{"type":"rate_limit_error","message":"Rate limit reached for m on user-tokens, over all gateways: limit 300 per hour. Please try again in 48s."}}`,
		"/v1beta/models/m:generateContent": `{"error":{"code":429,"message":"Rate limit reached for m on user-tokens, over all gateways: limit 300 per hour. Please try again in 48s.","status":"RESOURCE_EXHAUSTED"}}`,
		"/v1/unknown":                      "",
	} {
		h := newHost(t, `{"limits":[{"name":"own","per":["user"],"unit":"requests","quantity":1,"window":"1h"}]}`, recordtest.NewMemory())
		for range 3 { // none of them is charged: the first would have used up the limit
			x := h.request(path, `{"model":"m","max_tokens":10}`)
			h.proxy.details = "request_rate_limited"
			if x.status("429", "text/plain", true, overLimit...); x.last.Action != Answer {
				t.Fatalf("%s: %+v, want an answer of ours", path, x.last)
			}
			r := x.last.Reply
			if body := string(r.Body); want != "" && body != want {
				t.Errorf("%s: got  %s\nwant %s", path, body, want)
			}
			for name, value := range map[string]string{
				"x-spillway-reason": "limits/fleet_exceeded", "retry-after": "48", "retry-after-ms": "48000", "x-should-retry": "", "x-envoy-ratelimited": "true",
				"content-type": "application/json", "x-ratelimit-limit": overLimit[1][1], "x-ratelimit-remaining": "0", "x-ratelimit-reset": "48",
			} {
				expect(t, path+": "+name, header(r.Headers, name), value)
			}
			for name, value := range map[string]string{"decision": "REJECTED", "gate": "limits", "reason": "fleet_exceeded", "limit": "user-tokens", "threshold": "300", "retryable": "true", "retry.ms": "48000"} {
				expect(t, path+": "+name, x.properties["spillway."+name], value)
			}
			x.done()
		}
	}
}

// What the service doesn't tell is not made up; and in shadow mode its own answer stands.
func TestTheFleetsRefusalWithoutHeaders(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		settings, status, retryAfter, want string
		headers                            [][2]string
	}{
		{"", "429", "", "Rate limit reached for mock, over all gateways.", nil},
		{"", "503", "", "Rate limit reached for mock, over all gateways.", nil}, // rate_limited_status
		{"", "429", "7", "Rate limit reached for mock, over all gateways. Please try again in 7s.", [][2]string{{"retry-after", "7"}}},
		{"", "429", "1", "Rate limit reached for mock, over all gateways: limit 5. Please try again in 1s.", [][2]string{{"x-ratelimit-limit", "5"}, {"x-ratelimit-reset", "0"}}},
		{"", "429", "", "Rate limit reached for mock, over all gateways.", [][2]string{{"x-ratelimit-reset", "99999999999999999999"}}},
		{`"mode":"shadow",`, "429", "", "", overLimit},
	} {
		h := newHost(t, `{`+test.settings+seedLimits+`}`, recordtest.NewMemory())
		x := h.ask("ann")
		h.proxy.details = "request_rate_limited"
		x.status(test.status, "text/plain", true, test.headers...)
		if test.want == "" {
			expect(t, "in shadow mode", x.last.Action, Continue)
			continue
		}
		r := x.last.Reply
		expect(t, "status", r.Status, 429)
		expect(t, "retry-after", header(r.Headers, "retry-after"), test.retryAfter)
		if !strings.Contains(string(r.Body), `"`+test.want+`"`) {
			t.Errorf("got %s, want %q", r.Body, test.want)
		}
	}
}

func TestPolicies(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]reply.FleetLimit{
		"":                {},
		"300":             {Quantity: "300"},
		"300, 300;w=3600": {Quantity: "300", Window: time.Hour},
		`300, 10;w=1;name="x", 300;w=60;name="y"`: {Quantity: "300", Window: time.Minute, Name: "y"},
		`300,300;name="y";w=60`:                   {Quantity: "300", Window: time.Minute, Name: "y"},
		"300, ;;;=,,300;w=-1;name=":               {Quantity: "300"},
		"300, 300;w=99999999999999999999":         {Quantity: "300", Window: 4294967295 * time.Second},
		strings.Repeat(",", 1000):                 {},
		"300, 300 ;w=3600":                        {Quantity: "300"},
	} {
		expect(t, header, fmt.Sprint(parsePolicy(header)), fmt.Sprint(want))
	}
}
