package main

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
)

func TestTheEnginesConfigurationsAreValid(t *testing.T) {
	t.Parallel()
	for _, arm := range engineArms()[1:] {
		if _, err := config.Parse([]byte(arm.config)); err != nil {
			t.Errorf("%s: %v", arm.name, err)
		}
	}
}

// Whatever comes, and whoever leaves or is preempted, ends, and its place in the cache is free again.
func TestTheEngineServesInBatches(t *testing.T) {
	t.Parallel()
	e := &engine{}
	var jobs []*engineJob
	for i := range 300 {
		j := &engineJob{prompt: 150, output: 100, prefill: 150, left: 100, gone: t.Context(), done: make(chan struct{})}
		if i%10 == 0 {
			j.output, j.left = 900, 900
		}
		jobs = append(jobs, j)
	}
	e.queue = append(e.queue, jobs...)
	most, told := time.Duration(0), ""
	for e.admit() > 0 {
		most = max(most, e.admit())
		if e.used > engineCache/2 && told == "" {
			w := httptest.NewRecorder()
			e.metrics(w, nil)
			told = w.Body.String()
		}
		e.finish()
	}
	if e.answered != len(jobs) || e.used != 0 || len(e.running)+len(e.queue) > 0 {
		t.Errorf("%d answered of %d, %d tokens in the cache", e.answered, len(jobs), e.used)
	}
	if e.preempted == 0 || most < engineIteration+engineBatch*engineSequence {
		t.Errorf("%d preempted, an iteration took %v at most: want a batch that is full, and a cache that is", e.preempted, most)
	}
	if !strings.Contains(told, `vllm:kv_cache_usage_perc{engine="0"} 0.`) || !strings.Contains(told, "vllm:num_requests_waiting") {
		t.Errorf("it tells %q", told)
	}
}

func TestAnEngineIsJudged(t *testing.T) {
	t.Parallel()
	later := engineLearning + time.Second
	r := judgeEngine([]engineShot{
		{due: time.Second, status: 200, took: time.Second}, {due: later, output: 7, status: 200, took: 2 * time.Second}, {due: later, status: 200, took: engineTarget + 1},
		{due: later, status: 429}, {due: later},
	})
	if r.asked != 4 || r.inTime != 1 || r.late != 1 || r.refused != 1 || r.lost != 1 || r.tokens != 7 || r.p95 < 8 {
		t.Errorf("%+v", r)
	}
}
