package securitytest

import (
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// asAsked answers as its client wants: with the status in x-make, and with the headers in x-tell, name=value, separated by blanks.
func asAsked() http.Handler {
	well := completes(5)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, told := range strings.Fields(r.Header.Get("x-tell")) {
			name, value, _ := strings.Cut(told, "=")
			w.Header().Set(name, value)
		}
		if r.Header.Get("x-make") == "hang" {
			_, _ = io.Copy(io.Discard, r.Body)
			<-r.Context().Done()
			return
		}
		status, _ := strconv.Atoi(r.Header.Get("x-make"))
		if status < 300 {
			well.ServeHTTP(w, r)
			return
		}
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("content-type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, `{"error":{"message":"as you asked","type":"server_error","code":null}}`)
	})
}

func (g *gateway) chat(t *testing.T, headers ...string) answer {
	t.Helper()
	return g.send(t, "POST", chatPath, hello, headers...)
}

// What an upstream tells one caller of its limits holds for that caller, not for the others.
func TestOneCallersLimitsStopNobodyElse(t *testing.T) {
	t.Parallel()
	for _, workers := range []int{1, 2} {
		t.Run(fmt.Sprint(workers, " workers"), func(t *testing.T) {
			t.Parallel()
			g := start(t, harness.Options{Concurrency: workers}, asAsked())
			t.Run("hints", func(t *testing.T) { tellOne(t, g) })
			t.Run("retreat", func(t *testing.T) { limitOne(t, g) })
			t.Run("breaker", func(t *testing.T) { failOne(t, g) })
			t.Run("time-outs", func(t *testing.T) { timeOut(t, g) })
		})
	}
}

// fresh is a configuration whose upstream nobody knows yet.
func fresh(name, gates string) string {
	return fmt.Sprintf(`{"upstreams":[{"name":"%s-%d",%s}]}`, name, time.Now().UnixNano(), gates)
}

// tellOne lets the upstream tell one caller of a limit. Each case has a model of its own, and each model an upstream.
func tellOne(t *testing.T, g *gateway) {
	cases, upstreams := 0, []string{}
	for i := range 40 {
		upstreams = append(upstreams, fmt.Sprintf(`{"name":"told-%d-%d","models":["told-%d"],"budget":{"requests":6000,"window":"60s"},"retreat":{"mode":"off"},
			"queue":{"max":10,"maxWait":{"urgent":"200ms","high":"200ms","normal":"200ms","low":"200ms"}}}`, i, time.Now().UnixNano(), i))
	}
	g.configure(t, `{"upstreams":[`+strings.Join(upstreams, ",")+`]}`)
	next := func() func(*testing.T, ...string) answer {
		body := strings.Replace(hello, "llama", fmt.Sprint("told-", cases), 1)
		cases++
		return func(t *testing.T, headers ...string) answer {
			t.Helper()
			return g.send(t, "POST", chatPath, body, headers...)
		}
	}
	for name, hint := range map[string][]string{
		"429 with retry-after":      {"x-make: 429", "x-tell: retry-after=60"},
		"429 with retry-after-ms":   {"x-make: 429", "x-tell: retry-after-ms=60000"},
		"429 with a long one":       {"x-make: 429", "x-tell: retry-after=3600 x-ratelimit-remaining-requests=0"},
		"200 with nothing left":     {"x-tell: x-ratelimit-remaining-requests=0 x-ratelimit-reset-requests=60s"},
		"200 with no tokens left":   {"x-tell: x-ratelimit-remaining-tokens=0 x-ratelimit-reset-tokens=1m0s"},
		"Anthropic's, nothing left": {"x-tell: anthropic-ratelimit-requests-remaining=0"},
	} {
		for _, by := range []string{"authorization: Bearer ", "x-api-key: ", "x-user-id: "} {
			t.Run(name+" by "+by, func(t *testing.T) {
				ask := next()
				one := append([]string{by + "one"}, hint...)
				ask(t, one...)
				ask(t, one...)
				for i := range 8 { // over all workers
					if a := ask(t, fmt.Sprint(by, "other", i)); a.status != 200 {
						t.Fatalf("another one got %d %q", a.status, a.reason())
					}
				}
				if strings.HasPrefix(name, "429") {
					if a := ask(t, by+"one"); a.reason() != "queue/timeout" {
						t.Errorf("the one that was told not to come back got %d %q", a.status, a.reason())
					}
				}
			})
		}
	}
	t.Run("alone it is told for all its requests", func(t *testing.T) {
		ask := next()
		ask(t, "x-make: 429", "x-tell: retry-after=60")
		for range 4 {
			if a := ask(t); a.reason() != "queue/timeout" {
				t.Errorf("got %d %q", a.status, a.reason())
			}
		}
	})
	t.Run("two without keys are believed, two keys are not", func(t *testing.T) {
		for by, want := range map[string]string{"x-user-id: ": "queue/timeout", "x-api-key: ": ""} {
			ask := next()
			for _, who := range []string{"a", "b"} {
				ask(t, by+who, "x-make: 429", "x-tell: retry-after=60")
			}
			if a := ask(t, by+"c"); a.reason() != want {
				t.Errorf("by %s: got %d %q, want %q", by, a.status, a.reason(), want)
			}
		}
	})
	t.Run("retry-after is heeded at 429 alone", func(t *testing.T) {
		for _, status := range []string{"200", "400", "503", "529"} {
			ask := next()
			ask(t, "x-make: "+status, "x-tell: retry-after=60")
			if a := ask(t); a.status != 200 {
				t.Errorf("after a %s: got %d %q", status, a.status, a.reason())
			}
		}
	})
}

// limitOne has one user over its own limit all the time: the rate of all the others stays what it is.
func limitOne(t *testing.T, g *gateway) {
	config := fresh("limited", `"budget":{"requests":600,"window":"1s"},
		"retreat":{"window":"4s","every":"100ms","minSamples":5,"minRequests":20,"recoverWindow":"60s","recoverStep":5}`)
	g.configure(t, config)
	upstream := strings.Split(config, `"`)[5]
	rpm := func() float64 { return g.Sum("spillway_effective_rpm", "upstream", upstream) }
	state := func() float64 { return g.Sum("spillway_retreat_state", "upstream", upstream) }
	until := func(what string, step func(), done func() bool) {
		t.Helper()
		harness.Await(t, patience, what, func() bool { step(); return done() })
	}
	bad := func() { g.chat(t, "x-user-id: bad", "x-make: 429") }
	good := func() {
		for i := range 4 {
			if a := g.chat(t, fmt.Sprint("x-user-id: good", i)); a.status != 200 {
				t.Fatalf("got %d %q", a.status, a.reason())
			}
		}
	}
	good()
	until("the base is known", good, func() bool { return rpm() == 36000 })
	mixed := func() { bad(); bad(); good() }
	for range 30 {
		mixed()
	}
	until("the share of 429 is published", mixed, func() bool { return g.Sum("spillway_upstream_429_ratio", "upstream", upstream) > 200 })
	if state() != 0 || rpm() != 36000 {
		t.Errorf("one caller's 429 led to the state %v and a rate of %v", state(), rpm())
	}
	// Alone it is believed, with an alarm; the others undo that at once.
	until("the alarm begins", bad, func() bool { return g.Sum("spillway_retreat_alarm", "upstream", upstream) == 1 })
	begins := func() int { return strings.Count(g.Logs(), upstream+" answers so many requests with 429") }
	ends := func() int { return strings.Count(g.Logs(), upstream+" takes requests again") }
	if began, ended := begins(), ends(); began-ended != 1 { // on a busy machine it may be over before it is looked at, and begin again
		t.Errorf("the log has %d lines of the alarm's begin and %d of its end, want one more", began, ended)
	}
	until("it is over", good, func() bool { return state() == 0 && rpm() == 36000 })
	until("so is the alarm", func() {}, func() bool { return g.Sum("spillway_retreat_alarm", "upstream", upstream) == 0 })
	if began, ended := begins(), ends(); began != ended || ended == 0 {
		t.Errorf("the log has %d lines of the alarm's begin and %d of its end, want as many", began, ended)
	}
	// If several meet it the rate falls.
	all := func() {
		for i := range 4 {
			g.chat(t, fmt.Sprint("x-user-id: good", i), "x-make: 429")
		}
	}
	until("it retreats from what all meet", all, func() bool { return state() == 1 && rpm() < 36000 })
}

// failOne has a client whose requests make the upstream fail: it opens the breaker for itself at most.
func failOne(t *testing.T, g *gateway) {
	const breaker = `"breaker":{"mode":"enforce","minRequests":5,"window":"60s","openFor":"60s"}`
	g.configure(t, fresh("failing", breaker))
	for i := range 20 {
		g.chat(t, "authorization: Bearer bad", "x-user-id: made-up-"+strconv.Itoa(i), "x-make: 500")
		if i%4 == 0 {
			if a := g.chat(t, "authorization: Bearer good"+strconv.Itoa(i)); a.status != 200 {
				t.Fatalf("after %d failures of one another one got %d %q", i, a.status, a.reason())
			}
		}
	}
	g.configure(t, fresh("alone", breaker))
	harness.Await(t, patience, "it is open for the only one there is", func() bool {
		return g.chat(t, "x-user-id: bad", "x-make: 500").reason() == "breaker/open"
	})
	if a := g.chat(t, "x-user-id: stranger"); a.status != 200 {
		t.Errorf("a stranger got %d %q", a.status, a.reason())
	}
	if a := g.chat(t, "x-user-id: bad"); a.status != 200 {
		t.Errorf("after the stranger's success the first one got %d %q", a.status, a.reason())
	}
	g.configure(t, fresh("down", breaker))
	harness.Await(t, patience, "it is open for all when it fails for several", func() bool {
		for i := range 4 {
			g.chat(t, fmt.Sprint("x-user-id: ", i), "x-make: 500")
		}
		return g.chat(t, "x-user-id: stranger").reason() == "breaker/open"
	})
}

// timeOut lets Envoy's route give up on the upstream: that is the upstream's failure, as a 5xx of its own would be.
func timeOut(t *testing.T, g *gateway) {
	g.configure(t, fresh("hanging", `"breaker":{"mode":"enforce","minRequests":3,"window":"60s","openFor":"60s"}`))
	limited := func(timeout string) {
		err := g.ReplaceListeners(func(listeners []map[string]any) {
			harness.Visit(listeners, func(object map[string]any) {
				if route, is := object["route"].(map[string]any); is {
					route["timeout"] = timeout
				}
			})
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	limited("0.3s")
	defer limited("0s")
	for i := range 4 {
		a := g.chat(t, fmt.Sprint("x-user-id: ", i), "x-make: hang")
		if a.status != 504 && a.reason() != "breaker/open" {
			t.Fatalf("got %d %q", a.status, a.reason())
		}
	}
	if a := g.chat(t, "x-user-id: stranger"); a.reason() != "breaker/open" {
		t.Errorf("after requests that timed out a stranger got %d %q", a.status, a.reason())
	}
}
