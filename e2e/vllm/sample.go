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
	Slots       float64 `json:"slots"`       // what the filter has for it; 0: it has no say
}

// watch samples vLLM, and the filter's slots, until ctx ends.
func watch(ctx context.Context, server, admin string) (samples []sample) {
	client := &http.Client{Timeout: 5 * time.Second}
	ticker := time.NewTicker(sampleInterval)
	defer ticker.Stop()
	for {
		if s, err := take(ctx, client, server, admin); err == nil {
			samples = append(samples, s)
		}
		select {
		case <-ctx.Done():
			return samples
		case <-ticker.C:
		}
	}
}

func take(ctx context.Context, client *http.Client, server, admin string) (s sample, err error) {
	if err = read(ctx, client, server+"/metrics", func(r io.Reader) error {
		s, err = parseMetrics(r)
		return err
	}); err != nil {
		return s, err
	}
	err = read(ctx, client, admin+"/stats/prometheus?filter=spillway_slots", func(r io.Reader) error {
		all, err := promtext.Parse(r)
		s.Slots = all.Of("spillway_slots").Sum()
		return err
	})
	s.At = seconds(time.Now())
	return s, err
}

func read(ctx context.Context, client *http.Client, url string, body func(io.Reader) error) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	return body(response.Body)
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
