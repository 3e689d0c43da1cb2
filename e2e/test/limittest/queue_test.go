package limittest

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// What waits in a queue keeps its place when that is changed, which can't be made smaller than it.
func TestChangesOfAQueue(t *testing.T) {
	t.Parallel()
	const workers = 4
	door := make(chan struct{}, 2) // of a request each
	upstream := harness.Serve(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		<-door
		w.Header().Set("content-type", "application/json")
		_, _ = fmt.Fprint(w, `{"usage":{"prompt_tokens":2,"completion_tokens":8,"total_tokens":10}}`)
	}))
	g := &gateway{Envoy: harness.Start(t, harness.Options{Upstream: upstream, Concurrency: workers,
		Config: `{` + strings.Replace(surface, `{"max":1000}`, `{"max":1},"queue":{"maxWait":{"normal":"1h"}}`, 1) + `"requestHold":"stopIteration"}`})}
	large := strings.Replace(chatBody, "hello", strings.Repeat("hello ", 20_000), 1)
	answers := make(chan answer, 2)
	send := func(user, body string) { answers <- (&gateway{Envoy: g.Envoy}).asks(t, user, chatPath, body) }
	queue := func(text string) {
		t.Helper()
		harness.Await(t, harness.Patience, "the queue has "+text, func() bool { return strings.Contains(g.get(t, "status"), text) })
	}
	go send("ann", chatBody)
	queue(`"inFlight":1`)
	go send("bob", large)
	queue(`"normal":1`)
	for patch, path := range map[string]string{`{"maxBytes":1000}`: "upstreams[0].queue.maxBytes", `{"max":0}`: "upstreams[0].queue.max"} {
		a := g.send(t, http.MethodPatch, g.URL+"/spillway/overrides", `{"upstreams":{"llm":{"queue":`+patch+`}}}`, operator)
		if a.status != http.StatusConflict || !strings.Contains(a.body, `"path":"`+path+`"`) || !strings.Contains(a.body, " wait there; want at least as many") {
			t.Errorf("%s: %d %s", patch, a.status, a.body)
		}
	}
	g.override(t, http.MethodPatch, `{"upstreams":{"llm":{"queue":{"max":1,"maxBytes":10000000,"fairness":"none"}}}}`, workers)
	queue(`"normal":1`)
	for range 2 {
		door <- struct{}{}
	}
	for range 2 {
		want(t, "what waited", (<-answers).status, 200)
	}
	g.override(t, http.MethodPatch, `{"upstreams":{"llm":{"queue":{"maxBytes":1000}}}}`, workers)
	go send("ann", chatBody)
	queue(`"inFlight":1`)
	if a := g.asks(t, "bob", chatPath, large); a.status != http.StatusRequestEntityTooLarge || a.header.Get("x-spillway-reason") != "queue/request_too_large" {
		t.Errorf("what is larger than the queue: %d %v", a.status, a.header)
	}
	door <- struct{}{}
	want(t, "the other", (<-answers).status, 200)
}
