package wasmtest

import (
	"maps"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
	"github.com/spillway-proxy/spillway/internal/captures"
)

// What the host hands in is good until its callback ends. The trap build overwrites it then: whatever was kept of it without a copy shows in
// what the filter says of recorded exchanges, of which several are under way at once, and each is the only one that its user may send: names that
// were overwritten are all the same.
func TestNothingIsKeptOfWhatTheHostHandedIn(t *testing.T) {
	const configuration = `{"requestHold":"stopIteration","models":{"labels":["*"],"aliases":{"gpt-4o":"four"}},"priority":{"trust":[{}]},"limits":[
		{"name":"a","per":["user","model"],"unit":"requests","quantity":1,"window":"1h","match":{"headers":{"x-tier":"gold*"}}},
		{"name":"t","per":["user"],"unit":"totalTokens","quantity":1000000000,"window":"1h"},
		{"name":"b","per":["key"],"unit":"requests","quantity":1000000000,"window":"1h"},
		{"name":"c","per":["tenant","header:x-session"],"unit":"inflight","quantity":1}],
		"upstreams":[{"name":"u","concurrency":{"max":4},"queue":{"max":100},"breaker":{"mode":"enforce"},"latency":{"mode":"enforce"},"throttle":{"mode":"enforce"}}]}`
	loaded := captures.Load(t)
	replay := func(p *proxy) (said []map[string]string) {
		vm := p.worker(configuration)
		for at := 0; at < len(loaded); at += 6 {
			said = append(said, interleaved(vm, loaded[at:min(at+6, len(loaded))])...)
		}
		return said
	}
	seeded := stopIteration
	seeded.Seed = 1 // else whose memories of a model share a place, and so who forgets, is chance
	kept := replay(newProxy(t, seeded))
	overwritten := replay(newProxyOf(t, trapFilter, seeded))
	check(t, "exchanges", len(kept) == len(loaded) && len(kept) > 50, true)
	for i, c := range loaded {
		if !maps.Equal(kept[i], overwritten[i]) {
			t.Errorf("%s (%s): %v, and with its memory overwritten %v", c.ID, c.Path, kept[i], overwritten[i])
		}
	}
}

// interleaved leads exchanges through a worker side by side, and gives what the filter state has of each.
func interleaved(vm *wasmhost.VM, exchanges []*captures.Capture) (said []map[string]string) {
	streams := make([]*wasmhost.Stream, len(exchanges))
	each := func(do func(s *wasmhost.Stream, c *captures.Capture)) {
		for i, c := range exchanges {
			do(streams[i], c)
		}
	}
	for i, c := range exchanges {
		streams[i] = vm.NewStream()
		headers := [][2]string{{":method", c.Method}, {":path", c.Path}, {":authority", "llm"}, {"x-user-id", "user of " + c.ID},
			{"x-tenant-id", "tenant of " + c.ID}, {"x-tier", "gold of " + c.ID}, {"x-session", c.ID}, {"x-priority", "high"}}
		for name, value := range c.RequestHeaders {
			headers = append(headers, [2]string{name, value})
		}
		streams[i].RequestHeaders(headers, c.RequestBody == "")
	}
	each(func(s *wasmhost.Stream, c *captures.Capture) {
		s.RequestBody([]byte(c.RequestBody[:len(c.RequestBody)/2]), false)
	})
	each(func(s *wasmhost.Stream, c *captures.Capture) {
		s.RequestBody([]byte(c.RequestBody[len(c.RequestBody)/2:]), true)
	})
	for range exchanges { // as their turns come
		each(func(s *wasmhost.Stream, c *captures.Capture) { respond(s, c) })
	}
	for _, s := range streams {
		said = append(said, maps.Clone(s.FilterState))
	}
	return said
}

// respond gives the answer, in pieces, to an exchange that is upstream and has none.
func respond(s *wasmhost.Stream, c *captures.Capture) {
	if !s.UpstreamEnd || s.Finished {
		return
	}
	kind := c.ResponseHeaders["content-type"]
	s.ResponseHeaders([][2]string{{":status", "200"}, {"content-type", kind}}, false)
	for body := c.ResponseBody; body != ""; {
		n := min(len(body), 700)
		s.ResponseBody([]byte(body[:n]), n == len(body))
		body = body[n:]
	}
	s.Done()
}
