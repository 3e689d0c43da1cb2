package securitytest

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// A bound that only lenient servers understand is a bound: what it allows is more than a strict limit has.
func TestAStrictLimitSeesBoundsInEverySpelling(t *testing.T) {
	server := &worker{}
	g := start(t, harness.Options{Concurrency: 2}, server)
	for _, hold := range []harness.Hold{harness.HoldStopIteration, harness.HoldBufferFilter} {
		configure(t, g.Envoy, hold, `{"limits":[
			{"name":"c`+string(hold)+`","per":["user"],"unit":"completionTokens","quantity":1000,"window":"8760h","admission":"strict"}]}`)
		for i, test := range []struct{ path, body string }{
			{chatPath, `{"model":"m","max_tokens":"5000"}`},
			{chatPath, `{"model":"m","max_tokens":5e3}`},
			{chatPath, `{"model":"m","max_tokens":5000.0}`},
			{chatPath, `{"model":"m","max_tokens":Infinity}`},
			{chatPath, `{"model":"m","MAX_TOKENS":5000}`},
			{chatPath, `{"model":"m","max_tokens":5,"max_completion_tokens":"5000"}`},
			{chatPath, `{"model":"m","max_tokens":5000,"max_tokens":5}`},
			{chatPath, `{"model":"m","max_tokens":500,"n":"3"}`},
			{chatPath, `{"model":"m","max_tokens":500,"n":1e1}`},
			{chatPath, `{"model":"m","min_tokens":"5000"}`},
			{"/v1/completions", `{"model":"m","max_tokens":500,"best_of":3,"prompt":"a"}`},
			{"/v1/completions", `{"model":"m","max_tokens":500,"prompt":["a","b","c"]}`},
			{"/v1/messages", `{"model":"m","max_tokens":"5000"}`},
			{"/v1/messages", `{"model":"m","max_tokens":5,"thinking":{"budget_tokens":5000}}`},
			{"/v1/responses", `{"model":"m","max_output_tokens":"5000"}`},
			{"/v1beta/models/m:generateContent", `{"generationConfig":{"max_output_tokens":"5000"}}`},
			{"/v1beta/models/m:generateContent", `{"generationConfig":{"maxOutputTokens":500,"candidateCount":"3"}}`},
		} {
			got := g.send(t, "POST", test.path, test.body, fmt.Sprintf("x-user-id: u%d", i))
			if got.status != 429 || got.reason() != "limits/request_too_large" || got.headers.Get("x-should-retry") != "false" {
				t.Errorf("%s %s, %s: %d %s %s", test.path, test.body, hold, got.status, got.reason(), got.body)
			}
		}
		if got := g.send(t, "POST", chatPath, `{"model":"m","max_tokens":"500"}`, "x-user-id: u"); got.status != 200 {
			t.Errorf("what fits, %s: %d %s", hold, got.status, got.body)
		}
	}
	if n := server.complete.Load(); n != 2 {
		t.Errorf("%d requests reached the server", n)
	}
}

// A small bound that the server doesn't heed is no way to have many long answers at once.
func TestABoundThatTheServerIgnoresAdmitsNoCrowd(t *testing.T) {
	server := &worker{takes: time.Second}
	g := start(t, harness.Options{Concurrency: 2}, server)
	g.configure(t, `{"limits":[
		{"name":"c","per":["user"],"unit":"completionTokens","quantity":1000,"window":"8760h","admission":"strict"}]}`)
	for i, body := range []string{
		`{"model":"m","MAX_TOKENS":1}`, `{"model":"m","max_tokens":1,"max_tokens":null}`, `{"model":"m","n_predict":1}`, `{"model":"m","max_tokens":"1"}`,
		`{"model":"m","max_tokens":1,"image":"` + strings.Repeat("A", 1100<<10) + `","max_tokens":100000}`,
	} {
		server.most.Store(0)
		var wait sync.WaitGroup
		for range 12 {
			wait.Go(func() { g.send(t, "POST", chatPath, body, fmt.Sprintf("x-user-id: u%d", i)) })
		}
		wait.Wait()
		if n := server.most.Load(); n > 2 { // one that comes when others have ended is another matter
			t.Errorf("%.60s: %d answers at once", body, n)
		}
	}
}
