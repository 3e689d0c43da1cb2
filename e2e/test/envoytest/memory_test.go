package envoytest

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// This bounds what Envoy grows by. The state of 20,000 users is 0.7 MB of records and as much of keys and headers;
// measured are 4 to 5.5 MiB, with the VMs' heaps and Envoy's own pools. The bound has a margin of two.
func TestTwentyThousandUsersTakeLittleMemory(t *testing.T) {
	t.Parallel()
	const users, warmUp, bound = 20_000, 1_000, 12 * megabyte
	g := start(t, harness.Options{Config: seedQuota, Concurrency: 2}, llmsim.Options{NoHistory: true})

	g.visit(t, "warm", warmUp)
	before := g.MemoryRSS()
	g.visit(t, "user", users)
	grown := int64(g.MemoryRSS()) - int64(before)
	t.Logf("Envoy's memory was %d MiB and grew by %.1f MiB", before/megabyte, float64(grown)/megabyte)
	if grown > bound {
		t.Errorf("Envoy grew by %d bytes, want at most %d", grown, bound)
	}
	if n := g.counter(t, "spillway_evictions_total", "reason", "page_full"); n != 0 {
		t.Errorf("%v buckets were evicted, want none", n)
	}
}

// visit sends one request for each of n users, over 16 connections.
func (g *gateway) visit(t *testing.T, prefix string, n int) {
	t.Helper()
	var next, failed atomic.Int64
	var done sync.WaitGroup
	for range 16 {
		done.Go(func() {
			for {
				i := next.Add(1)
				if i > int64(n) {
					return
				}
				h := user(fmt.Sprint(prefix, i))
				if a, err := g.try(newRequest(t, http.MethodPost, g.URL+chatPath, h, strings.NewReader(chatBody))); err != nil || a.status != 200 {
					failed.Add(1)
				}
			}
		})
	}
	done.Wait()
	if failed.Load() > 0 {
		t.Fatalf("%d of %d requests failed", failed.Load(), n)
	}
}
