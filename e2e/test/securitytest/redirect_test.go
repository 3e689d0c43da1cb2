package securitytest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// A redirect that Envoy follows itself is one request: charged once, counted once, with one place at its upstream, at the priority that
// the client gave it.
func TestAnInternalRedirectIsOneRequest(t *testing.T) {
	t.Parallel()
	server := newUpstream(t, func(w http.ResponseWriter, r *http.Request) {
		if !strings.Contains(r.URL.RawQuery, "there") {
			w.Header().Set("Location", "http://"+r.Host+chatPath+"?there")
			w.WriteHeader(http.StatusTemporaryRedirect)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, answered)
	})
	e := harness.Start(t, harness.Options{Upstream: server.URL})
	err := e.ReplaceListeners(func(listeners []map[string]any) {
		harness.Visit(listeners, func(object map[string]any) {
			if route, ok := object["route"].(map[string]any); ok {
				route["internal_redirect_policy"] = map[string]any{
					"max_internal_redirects": 2, "redirect_response_codes": []int{307}, "allow_cross_scheme_redirect": true,
				}
			}
		})
	})
	if err != nil {
		t.Fatal(err)
	}
	const config = `{"limits":[{"name":"r","per":["user"],"unit":"requests","quantity":3,"window":"24h"},{"name":"f","per":["user"],"unit":"inflight","quantity":1},
		{"name":"t","per":["user"],"unit":"completionTokens","quantity":1000,"window":"24h"}],
		"upstreams":[{"name":"llm","concurrency":{"max":1},"budget":{"requests":1000,"window":"1h"}}]}`
	holds(t, e, config, func(t *testing.T, hold harness.Hold) {
		user := fmt.Sprint("ann", hold)
		counted := metric(e, "spillway_requests_total", "decision", "ALLOWED", "priority", "URGENT")
		for i := range 4 {
			want := http.StatusOK
			if i == 3 {
				want = http.StatusTooManyRequests
			}
			status, header, body := post(t, e, chatPath, user, chatBody, "X-Priority", "urgent")
			if status != want {
				t.Fatalf("request %d: %d, want %d: %v %s", i, status, want, header, body)
			}
		}
		if _, served := server.saw(user); served != 6 {
			t.Errorf("the server had %d requests, want each of 3 twice", served)
		}
		harness.Await(t, patience, "the requests are counted", func() bool {
			return metric(e, "spillway_requests_total", "decision", "ALLOWED", "priority", "URGENT") >= counted+3
		})
		if n := metric(e, "spillway_requests_total", "decision", "ALLOWED", "priority", "URGENT") - counted; n != 3 {
			t.Errorf("%d requests are counted, want 3", n)
		}
		if n := metric(e, "spillway_requests_total", "decision", "ALLOWED", "priority", "NORMAL"); n != 0 {
			t.Errorf("%d requests have lost their priority", n)
		}
		harness.Await(t, patience, "the slot is free", func() bool { return metric(e, "spillway_inflight") == 0 })
	})
}
