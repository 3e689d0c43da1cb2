package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// A simulated engine: it serves a batch in iterations, as vLLM does, and tells of itself by vLLM's metrics. An iteration has a token of each
// request in the batch, and pieces of the prompts of the new ones; each takes its share of the time. What all of them have generated, and their
// prompts, fill the KV cache: when it is full, the newest is preempted and begins again. Which request is how long, its headers say.
const (
	engineIteration = 8 * time.Millisecond   // an iteration, whatever is in it
	engineSequence  = 150 * time.Microsecond // more for each request
	enginePrompt    = 40 * time.Microsecond  // more for each token of a prompt
	engineBudget    = 2048                   // tokens of an iteration
	engineBatch     = 256                    // requests
	engineCache     = 60_000                 // tokens

	promptHeader = "x-engine-prompt"
	outputHeader = "x-engine-output"
)

// engineJob is a request in the engine.
type engineJob struct {
	prompt, output int // tokens
	prefill, left  int // of them still to come
	gone           context.Context
	done           chan struct{}
}

// used is how many tokens it has in the cache, or will have when its prompt has been read.
func (j *engineJob) used() int { return j.prompt + j.output - j.left }

// engine is the server. What changes is guarded by mu.
type engine struct {
	http *http.Server
	stop context.CancelFunc
	wake chan struct{}

	mu             sync.Mutex
	queue, running []*engineJob
	used           int // tokens of the cache
	preempted      int
	waited         time.Duration // that requests have waited for the batch, all together
	answered       int
}

func startEngine() (*engine, string, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
	}
	ctx, cancel := context.WithCancel(context.Background())
	e := &engine{stop: cancel, wake: make(chan struct{}, 1)}
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", e.metrics)
	mux.HandleFunc("/", e.serve)
	e.http = &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	go func() { _ = e.http.Serve(listener) }()
	go e.run(ctx)
	return e, listener.Addr().String(), nil
}

func (e *engine) close() {
	_ = e.http.Close()
	e.stop()
}

func (e *engine) serve(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	prompt, _ := strconv.Atoi(r.Header.Get(promptHeader))
	output, _ := strconv.Atoi(r.Header.Get(outputHeader))
	j := &engineJob{prompt: max(prompt, 1), output: max(output, 1), gone: r.Context(), done: make(chan struct{})}
	j.prefill, j.left = j.prompt, j.output
	e.mu.Lock()
	e.queue = append(e.queue, j)
	e.mu.Unlock()
	select {
	case e.wake <- struct{}{}:
	default:
	}
	select {
	case <-j.done:
	case <-j.gone.Done():
		return
	}
	w.Header().Set("content-type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]any{
		"id": "chatcmpl-1", "object": "chat.completion", "model": "engine",
		"choices": []any{map[string]any{"index": 0, "finish_reason": "stop", "message": map[string]any{"role": "assistant", "content": "done"}}},
		"usage":   map[string]int{"prompt_tokens": j.prompt, "completion_tokens": j.output, "total_tokens": j.prompt + j.output},
	})
}

func (e *engine) metrics(w http.ResponseWriter, _ *http.Request) {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, _ = fmt.Fprintf(w, "vllm:kv_cache_usage_perc{engine=\"0\"} %g\nvllm:num_requests_running{engine=\"0\"} %d\n"+
		"vllm:num_requests_waiting{engine=\"0\"} %d\nvllm:num_preemptions_total{engine=\"0\"} %d\n",
		min(float64(e.used)/engineCache, 1), len(e.running), len(e.queue), e.preempted)
}

// run serves batch after batch.
func (e *engine) run(ctx context.Context) {
	for next := time.Now(); ; {
		e.mu.Lock()
		took := e.admit()
		e.waited += took * time.Duration(len(e.queue))
		e.mu.Unlock()
		if took == 0 {
			select {
			case <-ctx.Done():
				return
			case <-e.wake:
				next = time.Now()
			}
			continue
		}
		next = next.Add(took)
		pause(time.Until(next))
		e.mu.Lock()
		e.finish()
		e.mu.Unlock()
		if ctx.Err() != nil {
			return
		}
	}
}

// admit takes from the queue what there is room for, and says how long the iteration takes; 0: there is nothing to do.
func (e *engine) admit() time.Duration {
	left := func(j *engineJob) bool { return j.gone.Err() != nil }
	for _, j := range e.running {
		if left(j) {
			e.used -= j.used()
		}
	}
	e.running, e.queue = slices.DeleteFunc(e.running, left), slices.DeleteFunc(e.queue, left)
	for len(e.queue) > 0 && len(e.running) < engineBatch && (e.used+e.queue[0].used() <= engineCache*9/10 || len(e.running) == 0) {
		e.used += e.queue[0].used()
		e.running, e.queue = append(e.running, e.queue[0]), e.queue[1:]
	}
	if len(e.running) == 0 {
		return 0
	}
	budget, prompts := engineBudget, 0
	for _, j := range e.running {
		n := min(j.prefill, max(budget, 0))
		budget, prompts = budget-max(n, 1), prompts+n
		if j.prefill -= n; n > 0 && j.prefill == 0 {
			j.prefill = -1 // its first token comes with this iteration
		}
	}
	return engineIteration + time.Duration(len(e.running))*engineSequence + time.Duration(prompts)*enginePrompt
}

// finish gives each request whose prompt has been read its token, ends those that have all, and preempts what no longer fits.
func (e *engine) finish() {
	e.running = slices.DeleteFunc(e.running, func(j *engineJob) bool {
		if j.prefill > 0 {
			return false
		}
		j.prefill = 0
		j.left--
		e.used++
		if j.left > 0 {
			return false
		}
		e.used -= j.used()
		e.answered++
		close(j.done)
		return true
	})
	for e.used > engineCache && len(e.running) > 1 {
		last := len(e.running) - 1
		j := e.running[last]
		e.used -= j.used()
		j.prefill = j.used()
		e.running, e.queue = e.running[:last], append([]*engineJob{j}, e.queue...)
		e.preempted++
	}
}
