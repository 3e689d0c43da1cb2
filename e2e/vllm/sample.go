package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"
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
func parseMetrics(r io.Reader) (s sample, err error) {
	fields := map[string]*float64{
		"vllm:kv_cache_usage_perc": &s.KV, "vllm:num_requests_running": &s.Running, "vllm:num_requests_waiting": &s.Waiting,
		"vllm:num_preemptions_total": &s.Preemptions, "vllm:generation_tokens_total": &s.Generated,
	}
	scanner := bufio.NewScanner(r)
	for scanner.Scan() {
		name, rest, _ := strings.Cut(scanner.Text(), "{")
		field := fields[name]
		if field == nil {
			continue
		}
		if *field, err = strconv.ParseFloat(rest[strings.LastIndex(rest, " ")+1:], 64); err != nil {
			return s, err
		}
	}
	return s, scanner.Err()
}

func seconds(t time.Time) float64 { return float64(t.UnixNano()) / 1e9 }
