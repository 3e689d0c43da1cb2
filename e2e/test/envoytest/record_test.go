package envoytest

import (
	"fmt"
	"maps"
	"net/http"
	"strings"
	"testing"
)

const (
	recordConfig = `{
		"models": {"labels": ["llama-*"], "aliases": {"nvidia-gateway": "nvidia"}},
		"limits": [{"name": "watched", "per": ["user"], "unit": "completionTokens", "quantity": 60, "window": "720h"}]
	}`
	llamaBody = `{"model":"llama-3","messages":[{"role":"user","content":"hello"}]}`
	// A model of its own, so that nothing was learned of it: the estimate is a quarter of these 64 bytes, and 256.
	unlearnedBody = `{"model":"mystery","messages":[{"role":"user","content":"hi!"}]}`

	requestsTotal = "spillway_requests_total decision gate priority model limit"
	tokensTotal   = "spillway_tokens_total type source model"
)

// The simulator's answer to these is 10 prompt tokens, 4 of them cached, and 30 of output, 5 of them reasoning.
func scripted(name string, more ...string) headers {
	return append(user(name, "x-sim-prompt-tokens", "10", "x-sim-cached-tokens", "4", "x-sim-tokens", "30",
		"x-sim-reasoning-tokens", "5"), more...)
}

func record(t *testing.T, g *gateway) {
	reconfigure(t, g, recordConfig)
	before := [2]map[string]float64{g.totals(requestsTotal), g.totals(tokensTotal)}

	wantStatus(t, g.post(t, chatPath, llamaBody, scripted("eva", "x-priority", "high", "traceparent", "allowed")), http.StatusOK)
	wantStatus(t, g.post(t, chatPath, unlearnedBody, scripted("eva", "x-sim-usage", "never")), http.StatusOK)
	wantStatus(t, g.post(t, chatPath, llamaBody, scripted("eva", "x-priority", "low", "traceparent", "refused")), http.StatusTooManyRequests)
	wantStatus(t, g.chat(t, user("eva", "x-user-id", "eve", "traceparent", "unclear")), http.StatusBadRequest)
	stream := g.post(t, chatPath, streamBody, scripted("fritz", "x-sim-itl", "2ms", "x-sim-ttft", "5ms", "traceparent", "stream"))
	wantStatus(t, stream, http.StatusOK)

	t.Run("in the access log for an allowed request", func(t *testing.T) {
		g.logged(t, "allowed").Want(t, map[string]string{
			"status": "200", "decision": "ALLOWED", "gate": "", "reason": "", "limit": "", "priority": "HIGH", "operation": "chat",
			"request_model": "llama-3", "response_model": "llama-3", "prompt_tokens": "10", "completion_tokens": "30",
			"total_tokens": "40", "cached_tokens": "4", "reasoning_tokens": "5", "usage_source": "reported",
		})
	})
	t.Run("in the access log for a refused request", func(t *testing.T) {
		g.logged(t, "refused").Want(t, map[string]string{
			"status": "429", "decision": "REJECTED", "gate": "limits", "reason": "tokens_exceeded", "limit": "watched", "priority": "LOW",
			"operation": "chat", "request_model": "llama-3", "response_model": "", "completion_tokens": "", "usage_source": "",
		})
	})
	t.Run("in the access log for a request without a clear identity", func(t *testing.T) {
		g.logged(t, "unclear").Want(t, map[string]string{
			"status": "400", "decision": "REJECTED", "gate": "identity", "reason": "repeated_header", "limit": "",
		})
	})
	t.Run("in the access log for a stream with its times", func(t *testing.T) {
		r := g.logged(t, "stream")
		r.Want(t, map[string]string{"completion_tokens": "30", "usage_source": "reported"})
		if r.Text("ttft_ms") == "" || r.Text("itl_ms") == "" {
			t.Errorf("ttft_ms is %q and itl_ms %q, want both", r.Text("ttft_ms"), r.Text("itl_ms"))
		}
	})
	t.Run("in the metric of requests", func(t *testing.T) {
		wantTotals(t, before[0], g.totals(requestsTotal), map[string]float64{
			"ALLOWED none HIGH llama-3":           1,
			"ALLOWED none NORMAL other":           2,
			"REJECTED limits LOW llama-3 watched": 1,
			"REJECTED identity NORMAL other":      1,
		})
	})
	t.Run("in the metric of tokens", func(t *testing.T) {
		wantTotals(t, before[1], g.totals(tokensTotal), map[string]float64{
			"input reported llama-3": 10, "output reported llama-3": 30, "cached reported llama-3": 4, "reasoning reported llama-3": 5,
			"input reported other": 10, "output reported other": 30, "cached reported other": 4, "reasoning reported other": 5,
			"input estimated other": 16, "output estimated other": 256,
		})
	})
	t.Run("in shadow mode of what would have been refused", func(t *testing.T) {
		shadow := `{"mode": "shadow", ` + recordConfig[1:]
		reconfigure(t, g, shadow)
		wantStatus(t, g.post(t, chatPath, llamaBody, scripted("eva", "traceparent", "shadow")), http.StatusOK)
		g.logged(t, "shadow").Want(t, map[string]string{
			"status": "200", "decision": "SHADOW", "gate": "limits", "reason": "tokens_exceeded", "limit": "watched",
		})
	})
}

// totals are a metric's values by its labels' values. metric is its name and the labels that it may have, and no others.
func (g *gateway) totals(metric string) map[string]float64 {
	fields, totals := strings.Fields(metric), map[string]float64{}
	for _, sample := range g.Samples(fields[0]) {
		var values []string
		for _, label := range fields[1:] {
			if value, has := sample.Labels[label]; has {
				values = append(values, value)
			}
		}
		if len(sample.Labels) != len(values) {
			values = append(values, fmt.Sprint("and other labels: ", sample.Labels))
		}
		totals[strings.Join(values, " ")] = sample.Value
	}
	return totals
}

// wantTotals checks all that was counted between two looks at a metric.
func wantTotals(t *testing.T, before, after, want map[string]float64) {
	t.Helper()
	got := map[string]float64{}
	for labels, value := range after {
		if value != before[labels] {
			got[labels] = value - before[labels]
		}
	}
	if !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}
