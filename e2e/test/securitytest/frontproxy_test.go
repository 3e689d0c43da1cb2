package securitytest

import (
	"fmt"
	"net/http"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// A proxy in front that retries what fails doesn't retry what we refuse, whatever the gate and its status: one request of a client is one
// request here.
func TestAProxyInFrontDoesNotRetryRefusals(t *testing.T) {
	t.Parallel()
	server := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-User-Id") == "busy" {
			<-r.Context().Done()
			return
		}
		w.WriteHeader(http.StatusInternalServerError)
	})
	e := harness.Start(t, harness.Options{Upstream: server.URL})
	front := harness.Start(t, harness.Options{NoWasm: true, Upstream: e.URL})
	err := front.ReplaceListeners(func(listeners []map[string]any) {
		harness.Visit(listeners, func(object map[string]any) {
			if route, ok := object["route"].(map[string]any); ok {
				route["retry_policy"] = map[string]any{
					"retry_on":    "5xx,gateway-error,retriable-4xx,retriable-status-codes,connect-failure,reset",
					"num_retries": 3, "retriable_status_codes": []int{429, 503},
				}
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, gate := range []struct {
		name, config, reason string
		status               int
		before               func(t *testing.T)
	}{
		{"limits", `{"limits":[{"name":"r","unit":"requests","quantity":1,"window":"24h"}]}`, "limits/requests_exceeded", 429, func(t *testing.T) {
			post(t, e, chatPath, "ann", chatBody)
		}},
		{"limits with another status", `{"statusCode":{"limits":503},"limits":[{"name":"r","unit":"requests","quantity":1,"window":"24h"}]}`,
			"limits/requests_exceeded", 503, func(t *testing.T) { post(t, e, chatPath, "ann", chatBody) }},
		{"queue", `{"upstreams":[{"name":"full","concurrency":{"max":1},"queue":{"max":0}}]}`, "queue/shed", 429, occupy(e)},
		{"full queue", `{"statusCode":{"queueTimeout":503},"upstreams":[{"name":"late","concurrency":{"max":1},"queue":{"maxWait":{"normal":"10ms"}}}]}`,
			"queue/timeout", 503, occupy(e)},
		{"breaker", `{"upstreams":[{"name":"open","breaker":{"mode":"enforce","minRequests":1,"openFor":"1h"}}]}`, "breaker/open", 503, func(t *testing.T) {
			post(t, e, chatPath, "ann", chatBody)
		}},
	} {
		t.Run(gate.name, func(t *testing.T) {
			configure(t, e, harness.HoldStopIteration, gate.config)
			gate.before(t)
			refusals := func() int {
				return metric(e, "spillway_requests_total", "decision", "REJECTED") + metric(e, "spillway_requests_total", "decision", "OPEN")
			}
			before := refusals()
			status, header, body := post(t, front, chatPath, "ann", chatBody)
			if status != gate.status || header.Get("x-spillway-reason") != gate.reason {
				t.Fatalf("%d %v %s, want %d for %s", status, header, body, gate.status, gate.reason)
			}
			harness.Await(t, patience, "it is counted", func() bool { return refusals() > before })
			if n := refusals() - before; n != 1 {
				t.Errorf("one request of a client was refused %d times", n)
			}
		})
	}
}

// occupy takes the only slot until the test ends.
func occupy(e *harness.Envoy) func(t *testing.T) {
	return func(t *testing.T) {
		r := dial(t, e)
		r.head(chatPath, "busy", "Content-Length", fmt.Sprint(len(chatBody)))
		r.write(chatBody)
		harness.Await(t, patience, "the slot is taken", func() bool { return metric(e, "spillway_inflight") == 1 })
	}
}
