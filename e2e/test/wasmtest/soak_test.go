package wasmtest

import (
	"fmt"
	"os"
	"strconv"
	"testing"
)

const (
	soakWarmUp   = 2_000
	soakRequests = 10_000 // SPILLWAY_SOAK is another number: `make soak` has a million
)

// Nothing that a request leaves stays: once a worker has warmed up, its memory is as large after any number of requests as before.
func TestASoakGrowsNothing(t *testing.T) {
	t.Parallel()
	requests := soakRequests
	if text := os.Getenv("SPILLWAY_SOAK"); text != "" {
		var err error
		if requests, err = strconv.Atoi(text); err != nil {
			t.Fatal("SPILLWAY_SOAK:", err)
		}
	}
	p, vm := start(t, stopIteration, `{"namespace":"soak","requestHold":"stopIteration","limits":[
		{"name":"requests","per":["user"],"unit":"requests","quantity":100,"window":"1m"},
		{"name":"tokens","per":["user"],"unit":"totalTokens","quantity":1000000000,"window":"1m"},
		{"name":"completions","per":["user","model"],"unit":"completionTokens","quantity":1000000000,"window":"1h"}],
		"upstreams":[{"name":"all","concurrency":{"max":8},"latency":{"mode":"enforce"},"breaker":{"mode":"enforce"},"throttle":{"mode":"shadow"}}]}`)
	stream := events(5, 5)
	serve := func(i int) {
		s := request{user: fmt.Sprint("user-", i%100)}.send(vm)
		switch {
		case i%10 == 0: // the client leaves
		case i%3 == 0:
			s.ResponseHeaders(okEvents, false)
			for _, event := range stream {
				s.ResponseBody([]byte(event), false)
			}
			s.ResponseBody(nil, true)
		default:
			answer(s, completion(i%500))
		}
		s.Done()
		if i%10_000 == 0 {
			p.Advance(10e9)
			vm.Tick()
		}
	}
	for i := range max(soakWarmUp, 2*requests) { // stock Go's heap has seen its worst moment after twice as many as are to come
		serve(i)
	}
	warm := checkMemory(t, "after the warm-up", vm, mostMemory)
	for i := range requests {
		serve(i)
	}
	check(t, "bytes after the soak", checkMemory(t, fmt.Sprint("after ", requests, " more"), vm, mostMemory), warm)
	check(t, "refused some", len(p.counters("spillway_requests_total;decision=REJECTED")) > 0, true)
	check(t, "stream contexts", vm.Contexts(), 0)
}
