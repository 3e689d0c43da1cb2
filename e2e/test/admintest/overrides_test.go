package admintest

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

const (
	steeringToken = "of the operator's"
	chatBody      = `{"model":"mock","max_tokens":20,"messages":[{"role":"user","content":"hello"}]}`
	chatPath      = "/v1/chat/completions"
)

// steered is a gateway with an admin surface, and what may be overridden.
type steered struct {
	*harness.Envoy
	workers int
}

func steer(t *testing.T, workers int) *steered {
	t.Helper()
	sim := llmsim.New(llmsim.Options{})
	t.Cleanup(func() { _ = sim.Close() })
	return &steered{workers: workers, Envoy: harness.Start(t, harness.Options{Concurrency: workers, Upstream: harness.Serve(t, sim), Edit: readLate, Config: `{
		` + tokensOf(steeringToken) + `,
		"limits":[{"name":"few","per":["user"],"unit":"requests","quantity":2,"window":"24h"},{"name":"many","unit":"totalTokens","quantity":1000000000,"window":"1h"}],
		"upstreams":[{"name":"llm","concurrency":{"max":64},"queue":{"max":500}}]}`})}
}

// readLate has a client that is refused while it sends be told so, however late it reads on a busy machine.
func readLate(b *envoyproc.Bootstrap) { b.SetDelayedCloseTimeout(time.Minute) }

// admin sends an admin request with the token, on a connection of its own: to any worker.
func (g *steered) admin(t *testing.T, method, path, body string) (status int, answer string) {
	return g.send(t, method, "/spillway"+path, body, http.Header{"Authorization": {"Bearer " + steeringToken}, "Content-Type": {"application/json"}})
}

// chat sends a chat request of a user, on a connection of its own.
func (g *steered) chat(t *testing.T, user string) (status int) {
	status, _ = g.send(t, http.MethodPost, chatPath, chatBody, http.Header{"X-User-Id": {user}, "Content-Type": {"application/json"}})
	return status
}

func (g *steered) send(t *testing.T, method, path, body string, header http.Header) (status int, answer string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, g.URL+path, strings.NewReader(body))
	if err != nil {
		t.Error(err)
		return 0, ""
	}
	request.Header, request.Close = header, true
	response, err := g.Client.Do(request)
	if err != nil {
		if t.Context().Err() == nil {
			t.Errorf("%s %s: %v", method, path, err)
		}
		return 0, ""
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Errorf("%s %s: %v", method, path, err)
	}
	return response.StatusCode, string(text)
}

// everywhere waits until so many requests in a row, each on a connection of its own, are answered with a status, and says how long that took. What was changed
// before has to be in force within two seconds. A worker that doesn't get its turn on the machine comes to it later, but then at once: so of the requests that
// begin after that time, one after the other, each worker may answer two by what was before, and no more, however busy the machine is.
func (g *steered) everywhere(t *testing.T, user string, want int) time.Duration {
	t.Helper()
	const inARow = 60
	began, changed := time.Now(), time.Now()
	row, late := 0, 0
	harness.Await(t, harness.Patience, fmt.Sprint("every worker answers ", want), func() bool {
		for ; row < inARow; row++ {
			asked := time.Since(began)
			if g.chat(t, user) != want {
				if asked > inForce {
					late++
				}
				row, changed = 0, time.Now()
				return false
			}
		}
		return true
	})
	if late > 2*g.workers {
		t.Errorf("%d requests that began more than %v after a change were not answered by it", late, inForce)
	}
	return changed.Sub(began)
}

// load runs traffic that no limit refuses, until it is stopped, which tells how many requests were answered. Each must be, with 200.
func (g *steered) load(t *testing.T) (stop func() int64) {
	var answered atomic.Int64
	var all sync.WaitGroup
	end := make(chan struct{})
	for i := range 8 {
		all.Go(func() {
			for n := 0; ; n++ {
				select {
				case <-end:
					return
				default:
				}
				request, err := http.NewRequest(http.MethodPost, g.URL+chatPath, bytes.NewReader([]byte(chatBody)))
				if err != nil {
					t.Error(err)
					return
				}
				request.Header = http.Header{"X-User-Id": {fmt.Sprintf("load-%d-%d", i, n)}, "Content-Type": {"application/json"}}
				response, err := g.Client.Do(request)
				if err != nil {
					t.Error(err)
					return
				}
				text, err := io.ReadAll(response.Body)
				_ = response.Body.Close()
				if err != nil || response.StatusCode != http.StatusOK {
					t.Errorf("%v: %d %s", err, response.StatusCode, text)
					return
				}
				answered.Add(1)
			}
		})
	}
	return func() int64 {
		close(end)
		all.Wait()
		return answered.Load()
	}
}

func TestOverrides(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 4} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			t.Parallel()
			g := steer(t, workers)
			stop := g.load(t)
			for range 2 {
				if status := g.chat(t, "ann"); status != http.StatusOK {
					t.Errorf("status %d", status)
				}
			}
			t.Run("in force in every worker", g.inForce)
			t.Run("bad ones change nothing", g.bad)
			t.Run("a user that is reset passes", g.reset)
			t.Run("a thousand of four admins", g.thousand)
			t.Logf("%d requests were answered meanwhile", stop())
			t.Run("another file", g.anotherFile)
		})
	}
}

func (g *steered) inForce(t *testing.T) {
	g.everywhere(t, "ann", http.StatusTooManyRequests)
	status, answer := g.admin(t, http.MethodPatch, "/overrides", `{"statusCode":{"limits":430}}`)
	if status != http.StatusOK || !strings.Contains(answer, `"overrides":{"statusCode":{"limits":430}}`) {
		t.Fatalf("%d %s", status, answer)
	}
	t.Logf("in force after %v", g.everywhere(t, "ann", 430))
	if _, answer := g.admin(t, http.MethodGet, "/config", ""); !strings.Contains(answer, `"statusCode":{"limits":430`) || !strings.Contains(answer, `"tokens":["***"]`) {
		t.Error(answer)
	}
	status, answer = g.admin(t, http.MethodPatch, "/overrides", `{"limits":{"few":{"quantity":1000000}}}`)
	if status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	t.Logf("another quantity after %v", g.everywhere(t, "ann", http.StatusOK))
	if status, answer = g.admin(t, http.MethodDelete, "/overrides?path="+url.QueryEscape("/limits/0/quantity"), ""); status != http.StatusOK || strings.Contains(answer, "1000000") {
		t.Errorf("%d %s", status, answer)
	}
	g.everywhere(t, "ann", 430)
	if status, answer = g.admin(t, http.MethodDelete, "/overrides", ""); status != http.StatusOK || !strings.Contains(answer, `"overrides":{}`) {
		t.Errorf("%d %s", status, answer)
	}
	g.everywhere(t, "ann", http.StatusTooManyRequests)
}

// overridden is what is overridden, without how many workers have come to it, which changes by itself.
func (g *steered) overridden(t *testing.T) string {
	t.Helper()
	_, answer := g.admin(t, http.MethodGet, "/config?overrides", "")
	what, _, _ := strings.Cut(answer, `,"workers":`)
	return what
}

func (g *steered) bad(t *testing.T) {
	before := g.overridden(t)
	for body, want := range map[string]int{`{"statusCode":{"limits":431},"limits":{"none":{}}}`: 422, `{"statusCode":{"limits":4}}`: 422, `garbage`: 422, `[]`: 422,
		`{"x":"` + strings.Repeat("x", 1<<20) + `"}`: 413, `{"namespace":"y"}`: 422} {
		if status, answer := g.admin(t, http.MethodPatch, "/overrides", body); status != want {
			t.Errorf("%.50s: %d %s", body, status, answer)
		}
	}
	if after := g.overridden(t); after != before {
		t.Errorf("%s is now %s", before, after)
	}
	if status, _ := g.send(t, http.MethodPatch, "/spillway/overrides", `{}`, http.Header{"Content-Type": {"application/json"}}); status != http.StatusUnauthorized {
		t.Errorf("without a token: %d", status)
	}
	g.everywhere(t, "ann", http.StatusTooManyRequests)
}

func (g *steered) reset(t *testing.T) {
	if _, answer := g.admin(t, http.MethodGet, "/limits/few?subject=ann", ""); !strings.Contains(answer, `"remaining":0`) && !strings.Contains(answer, `"remaining":-`) {
		t.Error(answer)
	}
	status, answer := g.admin(t, http.MethodPost, "/limits/few/subjects/ann", `{"reset":true}`)
	if status != http.StatusOK || !strings.Contains(answer, `"remaining":2`) {
		t.Errorf("%d %s", status, answer)
	}
	for _, want := range []int{200, 200, 429} {
		if status := g.chat(t, "ann"); status != want {
			t.Errorf("status %d, want %d", status, want)
		}
	}
	for range 2 {
		g.chat(t, "team/bob")
	}
	if status, answer = g.admin(t, http.MethodPost, "/limits/few/subjects/team%2Fbob", `{"reset":true}`); status != http.StatusOK || g.chat(t, "team/bob") != http.StatusOK {
		t.Errorf("a name with a slash: %d %s", status, answer)
	}
	status, answer = g.admin(t, http.MethodPost, "/limits/few/subjects/ann", `{"quantity":1000000,"for":"1h"}`)
	if status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
	t.Logf("granted after %v", g.everywhere(t, "ann", http.StatusOK))
}

// thousand has four admins change a thousand things at once. None is lost.
func (g *steered) thousand(t *testing.T) {
	const each, keys = 250, 10
	var all sync.WaitGroup
	for admin := range 4 {
		all.Go(func() {
			for i := range each {
				if status, answer := g.admin(t, http.MethodPatch, "/overrides", fmt.Sprintf(`{"models":{"aliases":{"a%d-%d":"v%d"}}}`, admin, i%keys, i)); status != http.StatusOK {
					t.Errorf("%d %s", status, answer)
					return
				}
			}
		})
	}
	all.Wait()
	harness.Await(t, harness.Patience, "the worker that is asked has them all", func() bool {
		_, answer := g.admin(t, http.MethodGet, "/config?overrides", "")
		for admin := range 4 {
			for i := each - keys; i < each; i++ {
				if !strings.Contains(answer, fmt.Sprintf(`"a%d-%d":"v%d"`, admin, i%keys, i)) {
					return false
				}
			}
		}
		return true
	})
	if status, answer := g.admin(t, http.MethodDelete, "/overrides", ""); status != http.StatusOK {
		t.Errorf("%d %s", status, answer)
	}
}

// anotherFile replaces the configuration by one that overrides are laid over, and by one that they don't fit.
func (g *steered) anotherFile(t *testing.T) {
	if status, answer := g.admin(t, http.MethodPatch, "/overrides", `{"statusCode":{"limits":431},"limits":{"few":{"quantity":1}}}`); status != http.StatusOK {
		t.Fatalf("%d %s", status, answer)
	}
	file := `{` + tokensOf(steeringToken) + `,"limits":[{"name":"%s","per":["user"],"unit":"requests","quantity":3,"window":"24h"}]}`
	if err := g.Reconfigure(fmt.Sprintf(file, "few")); err != nil {
		t.Fatal(err)
	}
	if _, answer := g.admin(t, http.MethodGet, "/config", ""); !strings.Contains(answer, `"quantity":1,`) || !strings.Contains(answer, `"limits":431`) {
		t.Error(answer)
	}
	if err := g.Reconfigure(fmt.Sprintf(file, "other")); err != nil {
		t.Fatal(err)
	}
	if _, answer := g.admin(t, http.MethodGet, "/config", ""); !strings.Contains(answer, `"quantity":3,`) || !strings.Contains(answer, `"limits":429`) {
		t.Error(answer)
	}
	if _, answer := g.admin(t, http.MethodGet, "/status", ""); !strings.Contains(answer, "limits.few: no such name") {
		t.Error(answer)
	}
}
