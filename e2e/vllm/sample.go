package main

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/spillway-proxy/spillway/internal/promtext"
)

const sampleInterval = 500 * time.Millisecond

// sample is what vLLM says of itself.
type sample struct {
	At          float64 `json:"at"`
	KV          float64 `json:"kv"` // the share of the KV cache that is in use
	Running     float64 `json:"running"`
	Waiting     float64 `json:"waiting"`
	Preemptions float64 `json:"preemptions"` // since its start
	Generated   float64 `json:"generated"`   // tokens, since its start
}

// watch samples vLLM until ctx ends.
func watch(ctx context.Context, server string) (samples []sample) {
	client := &http.Client{Timeout: 5 * time.Second}
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	for {
		if s, err := take(ctx, client, server); err == nil {
			samples = append(samples, s)
		}
		select {
		case <-ctx.Done():
			return samples
		case <-ticker.C:
		}
	}
}

func take(ctx context.Context, client *http.Client, server string) (sample, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, server+"/metrics", nil)
	if err != nil {
		return sample{}, err
	}
	response, err := client.Do(request)
	if err != nil {
		return sample{}, err
	}
	defer func() { _ = response.Body.Close() }()
	s, err := parseMetrics(response.Body)
	s.At = seconds(time.Now())
	return s, err
}

// parseMetrics reads vLLM's metrics: one server and one model, so the labels don't matter.
func parseMetrics(r io.Reader) (sample, error) {
	all, err := promtext.Parse(r)
	if err != nil {
		return sample{}, err
	}
	return sample{
		KV: all.Of("vllm:kv_cache_usage_perc").Sum(), Running: all.Of("vllm:num_requests_running").Sum(),
		Waiting: all.Of("vllm:num_requests_waiting").Sum(), Preemptions: all.Of("vllm:num_preemptions_total").Sum(),
		Generated: all.Of("vllm:generation_tokens_total").Sum(),
	}, nil
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
