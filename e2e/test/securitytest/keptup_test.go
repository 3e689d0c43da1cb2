package securitytest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// launch sends a request, and doesn't wait for its answer.
func (g *gateway) launch(t *testing.T, body string, headers ...string) *raw {
	t.Helper()
	r := dial(t, g.Envoy)
	r.write(fmt.Sprintf("POST %s HTTP/1.1\r\nhost: llm\r\n%s\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%s",
		chatPath, strings.Join(headers, "\r\n"), len(body), body))
	return r
}

// hang sends a request that its server keeps until the client leaves.
func (g *gateway) hang(t *testing.T, body string, headers ...string) *raw {
	t.Helper()
	return g.launch(t, body, append(headers, "x-make: hang")...)
}

// One caller, whatever it does while it is alone, keeps nobody up who comes then.
func TestWhoComesAfterwardsIsNotKeptUp(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			t.Parallel()
			g := start(t, harness.Options{Concurrency: workers}, asAsked())
			t.Run("breaker", func(t *testing.T) { passBesideProbes(t, g) })
			t.Run("retreat", func(t *testing.T) { passTheRetreatOfOne(t, g) })
			t.Run("budget of tokens", func(t *testing.T) { passWhatIsAskedFor(t, g) })
			t.Run("queue", func(t *testing.T) { findRoom(t, g) })
		})
	}
}

// passBesideProbes: while a stranger's request tries what one has broken alone, and takes long, other strangers pass.
func passBesideProbes(t *testing.T, g *gateway) {
	g.configure(t, fresh("probed", `"breaker":{"mode":"enforce","minRequests":5,"window":"60s","openFor":"60s"}`))
	bad := func() answer { return g.chat(t, "authorization: Bearer bad", "x-make: 500") }
	harness.Await(t, patience, "it is open for the only one there is", func() bool { return bad().reason() == "breaker/open" })
	probe := g.hang(t, hello, "authorization: Bearer slow")
	defer func() { _ = probe.Close() }()
	harness.Await(t, patience, "it is tried", func() bool { return strings.HasPrefix(bad().reason(), "breaker/half") })
	for i := range 8 {
		if a := g.chat(t, fmt.Sprint("authorization: Bearer other", i)); a.status != 200 {
			t.Fatalf("stranger %d got %d %q", i, a.status, a.reason())
		}
	}
}

// passTheRetreatOfOne: the rate is lowered for one alone, who has used more of the budget than is left of it.
func passTheRetreatOfOne(t *testing.T, g *gateway) {
	config := fresh("lowered", `"budget":{"requests":600,"window":"600s"},"queue":{"max":10,"maxWait":{"normal":"300ms"}},
		"retreat":{"window":"60s","every":"100ms","minSamples":40,"minRequests":1,"recoverWindow":"60s"}`)
	g.configure(t, config)
	upstream := strings.Split(config, `"`)[5]
	harness.Await(t, patience, "the alarm begins", func() bool {
		g.chat(t, "x-api-key: bad", "x-make: 429")
		return g.Sum("spillway_retreat_alarm", "upstream", upstream) == 1
	})
	if a := g.chat(t, "x-api-key: bad"); a.reason() != "queue/timeout" {
		t.Errorf("alone it got %d %q", a.status, a.reason())
	}
	for i := range 8 {
		if a := g.chat(t, fmt.Sprint("x-api-key: other", i)); a.status != 200 {
			t.Errorf("stranger %d got %d %q", i, a.status, a.reason())
		}
	}
}

// passWhatIsAskedFor: a request that asks for more than there is, and takes for ever, doesn't hold the budget of tokens.
func passWhatIsAskedFor(t *testing.T, g *gateway) {
	g.configure(t, fresh("asked", `"budget":{"tokens":60000,"window":"60s"}`))
	for i, asked := range []string{`"min_tokens":1000000000000`, `"min_tokens":60000,"max_tokens":60000`} {
		large := g.hang(t, strings.Replace(hello, `"model"`, asked+`,"model"`, 1), "x-api-key: large")
		harness.Await(t, patience, "it is at the server", func() bool { return g.Sum("spillway_inflight") >= 1 })
		if a := g.chat(t, fmt.Sprint("x-api-key: other", i)); a.status != 200 {
			t.Errorf("beside %s a stranger got %d %q", asked, a.status, a.reason())
		}
		_ = large.Close()
		harness.Await(t, patience, "it is gone", func() bool { return g.Sum("spillway_inflight") == 0 })
		g.configure(t, fresh("asked", `"budget":{"tokens":60000,"window":"60s"}`))
	}
}

// findRoom: one key's requests fill the queue, of one worker or of several; other keys' requests wait in it all the same.
func findRoom(t *testing.T, g *gateway) {
	g.configure(t, fresh("filled", `"concurrency":{"max":1},"queue":{"max":8}`))
	busy := g.hang(t, hello, "x-api-key: many")
	harness.Await(t, patience, "the slot is taken", func() bool { return g.Sum("spillway_inflight") == 1 })
	for range 12 {
		g.launch(t, hello, "x-api-key: many")
	}
	harness.Await(t, patience, "the queue is full", func() bool { return g.Sum("spillway_queue_depth") == 8 })
	done := make(chan answer)
	for i := range 3 {
		go func() { done <- g.chat(t, fmt.Sprint("x-api-key: other", i)) }()
	}
	harness.Await(t, patience, "they wait", func() bool { return g.Sum("spillway_queue_depth") >= 8 })
	time.AfterFunc(500*time.Millisecond, func() { _ = busy.Close() }) // what is refused is answered before
	for range 3 {
		if a := <-done; a.status != 200 {
			t.Errorf("a stranger got %d %q", a.status, a.reason())
		}
	}
}
