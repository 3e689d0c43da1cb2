// Package runbooktest runs the commands of docs/runbook.md against a real Envoy to which all happens that it is about, and on its admin surface.
package runbooktest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

const (
	patience = harness.Patience
	token    = "the operators' token"
)

// surface is the configuration of the admin surface's listener.
func surface() string {
	return fmt.Sprintf(`{"mode": "off", "admin": {"path": "/spillway", "tokens": ["sha256:%x"]}}`, sha256.Sum256([]byte(token)))
}

// A limit that ann uses up, one in shadow mode that acme would, one slot that others wait for, a budget that a provider's 429 lower, and a
// pressure gate whose exporter isn't there. Nothing of it recovers by itself while a busy machine works on the page.
const configuration = `{"requestHold": "stopIteration", "models": {"labels": ["llama-3"]},
	"limits": [
		{"name": "user-requests", "per": ["user"], "unit": "requests", "quantity": 30, "window": "720h", "match": {"headers": {"x-limited": "yes"}}},
		{"name": "tenant-requests", "per": ["tenant"], "unit": "requests", "quantity": 1, "window": "720h", "mode": "shadow", "match": {"tenants": ["acme"]}}],
	"upstreams": [{"name": "llm", "budget": {"requests": 6000}, "concurrency": {"max": 1}, "queue": {"maxWait": {"normal": "1h"}}, "latency": {"mode": "shadow", "ttft": "10ms"}, "breaker": {"mode": "shadow"},
		"retreat": {"minSamples": 5, "every": "1s", "window": "1h", "recoverWindow": "1h"}, "pressure": {"mode": "shadow"}}],
	"pressureSource": {"interval": "200ms", "timeout": "100ms"}}`

// found is what the commands of each section have to find, in their order: all of the lines, in any order.
var found = map[string][][]string{
	"Users get 429": {
		{`5 "gate":"limits","reason":"requests_exceeded","subject":"user=ann","limit":"user-requests"`},
		{`spillway_requests_total{.*decision="REJECTED".*limit="user-requests".*} 5`},
		{`5 "limit":"user-requests" "reason":"requests_exceeded" "subject":"user=ann"`},
		{`20 "upstream":"127.*"`},
		{`{"limit":"user-requests","subject":"ann","quantity":30,"burst":30,"used":\d+,"reserved":0,"remaining":\d,"resetsInSeconds":\d+.*,"granted":null}`},
		{`{"limit":"user-requests","subject":"ann",.*"used":0,"reserved":0,"remaining":30,.*`},
		{`{"limit":"user-requests","subject":"ann",.*"granted":{.*100.*}}`},
		{`\d\d+`},
	},
	"Latency is up": {
		{`"name":"llm","drained":false`, `"queue":{"value":0,"threshold":\d+,"state":"EMPTY",.*"recoversInSeconds":0,.*`,
			`"latency":{"value":\d.*,"threshold":10,"state":"[A-Z]+".*`, `"breaker":{.*"state":"CLOSED","lastTrigger":null,"recoversInSeconds":0.*`,
			`"retreat":{.*"state":"(RETREAT|RECOVER.*)","lastTrigger":{"time":".*","reason":"429"},"recoversInSeconds":\d+.*`},
		{`priority="NORMAL" \d+.*`},
		{`spillway_budget_available{.*kind="requests".*} \d+`, `spillway_inflight{upstream="llm"} 0`, `spillway_queue_depth{priority="LOW",upstream="llm"} 0`},
		{`{"revision":.*"concurrency":{"max":2}.*`},
		{`{"revision":.*"overrides":{},"differences":\[\]}`},
		{`spillway_breaker_state{.*upstream="llm".*} \d`, `spillway_latency_average_milliseconds{.*kind="ttft".*} \d+`, `spillway_gate_state{.*gate="latency".*} \d`},
		{`\d+ ms, \d+ of them in the queue: llama-3`},
		{`{"upstream":"llm","state":{"before":"open","after":"drained"}}`},
		{`{"upstream":"llm","state":{"before":"drained","after":"open"}}`},
		{`{"upstream":"llm",.*"before":.*"after":.*`},
	},
	"One tenant eats all": {
		{`"subject":"tenant=acme","used":\d+,`, `"refused":\d+`},
		{`5 "subject":"user=ann"`},
		{`{"limit":"tenant-requests","subject":"acme","quantity":1,.*"granted":{.*}}`},
		{`spillway_requests_total{.*decision="SHADOW".*limit="tenant-requests".*} 2`},
	},
	"The upstream says 429": {
		{`spillway_upstream_errors_total{.*status="429".*} 20`, `spillway_retreat_state{upstream="llm"} [12]`, `spillway_effective_rpm{upstream="llm"} \d+`},
		{`{"upstream":"llm","budgetThousandths":{"before":"\d{1,3}","after":"1000"}}`},
		{`20 "request_model":"llama-3"`},
	},
	"Pressure is stale": {
		{`"pressure":{"ageSeconds":null,"instances":0,"servers":\[\]`},
		{`spillway_errors_total{reason="pressure_fetch"} \d+`},
		{`gpuexporter::.*::cx_connect_fail::[1-9]\d*`},
		{`{"revision":.*"onStale":"full".*`},
		{`{"revision":.*"overrides":{},"differences":\[\]}`},
	},
	"The filter itself": {
		{`{"status":"not ready",.*"workers":2,"reasons":\[{.*"upstream":"llm","reason":"budget",.*}\]}`},
		{`{"revision":.*`},
		{`envoy_wasm_spillway_vm_reload_success{.*} 0`},
	},
}

func TestTheRunbooksCommandsFindWhatTheyAreFor(t *testing.T) {
	t.Parallel()
	_, address := harness.Simulate(t, "127.0.0.1", llmsim.Options{Models: []string{"llama-3"}})
	e := proxy(t, address)
	list := commands(t)
	t.Run("looks", func(t *testing.T) {
		for _, c := range list {
			if !c.changes() {
				t.Run(c.name, func(t *testing.T) {
					t.Parallel()
					c.finds(t, e)
				})
			}
		}
	})
	for _, c := range list { // the page's order: some take back what others have done
		if c.changes() {
			t.Run(c.name, func(t *testing.T) { c.finds(t, e) })
		}
	}
}

// proxy is an Envoy to which all of it has happened, and whose lists have it. They have what comes while somebody wants to know, and for ten seconds after
// that: on a machine that is busier than that all begins anew.
func proxy(t *testing.T, upstream string) *harness.Envoy {
	t.Helper()
	for began := time.Now(); ; {
		e := harness.Start(t, harness.Options{Config: configuration, Surface: surface(), Upstream: upstream, Concurrency: 2})
		stop := harness.KeepAsking(func() { look(t, e, "/status") })
		happen(t, e)
		listed := harness.Comes(time.Minute, func() bool {
			return strings.Count(look(t, e, "/decisions?last=100"), `"limit":"user-requests"`) == 5 && strings.Contains(look(t, e, "/subjects?limit=user-requests"), `"refused":5`)
		})
		stop()
		if listed {
			return e
		}
		if time.Since(began) > patience {
			t.Fatalf("the lists lack what has happened: %s", look(t, e, "/decisions?last=100"))
		}
		e.Stop()
	}
}

// look is what the surface says.
func look(t *testing.T, e *harness.Envoy, path string) string {
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, e.Surface+"/spillway"+path, nil)
	if err != nil {
		t.Error(err)
		return ""
	}
	request.Header.Set("authorization", "Bearer "+token)
	response, err := e.Client.Do(request)
	if err != nil {
		t.Error(err)
		return ""
	}
	defer func() { _ = response.Body.Close() }()
	text, _ := io.ReadAll(response.Body)
	return string(text)
}

// command is one of the runbook's, with the lines that it has to print.
type command struct {
	name, text string
	want       []string
}

// changes says that it changes something, so that others may find something else.
func (c *command) changes() bool { return strings.Contains(c.text, "$TOKEN") }

// finds runs it until it prints what it should: Envoy publishes, and workers report, once in a while.
func (c *command) finds(t *testing.T, e *harness.Envoy) {
	got := ""
	defer func() {
		if t.Failed() {
			t.Logf("%s\nprints\n%s\nwant lines as %q", c.text, got, c.want)
		}
	}()
	harness.Await(t, patience, "the command finds it", func() bool {
		got = run(t, e, c.text)
		return !slices.ContainsFunc(c.want, func(line string) bool { return !pattern(line).MatchString(got) })
	})
}

// pattern is the expression for a line that is wanted: braces are text, but for those of a repetition.
func pattern(line string) *regexp.Regexp {
	return regexp.MustCompile(`(?m)^ *` + regexp.MustCompile(`\{([^\d])`).ReplaceAllString(line, `\{$1`) + `$`)
}

// happen brings all of it about.
func happen(t *testing.T, e *harness.Envoy) {
	for range 35 {
		ask(t, e, "x-user-id", "ann", "x-limited", "yes")
	}
	for range 3 {
		ask(t, e, "x-user-id", "bob", "x-tenant-id", "acme")
	}
	for i := range 20 { // of one user alone it isn't believed
		ask(t, e, "x-user-id", fmt.Sprint("user-", i), "x-sim-status", "429", "x-sim-retry-after", "0")
	}
	var all sync.WaitGroup
	for range 4 { // three of them wait
		all.Go(func() { ask(t, e, "x-user-id", "dora", "x-sim-ttft", "200ms") })
	}
	all.Wait()
}

func ask(t *testing.T, e *harness.Envoy, headers ...string) {
	body := strings.NewReader(`{"model": "llama-3", "max_tokens": 5, "messages": [{"role": "user", "content": "hi"}]}`)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, e.URL+"/v1/chat/completions", body)
	if err != nil {
		t.Error(err)
		return
	}
	request.Header.Set("content-type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := e.Client.Do(request)
	if err != nil {
		t.Error(err)
		return
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
}

// commands are the runbook's, in its order.
func commands(t *testing.T) (list []command) {
	t.Helper()
	text, err := os.ReadFile(harness.InRepository(t, "docs/runbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	section, counts := "", map[string]int{}
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if heading, is := strings.CutPrefix(line, "## "); is {
			section = heading
		}
		if text, is := strings.CutPrefix(line, "$ "); is {
			n := counts[section]
			counts[section]++
			if n < len(found[section]) {
				list = append(list, command{fmt.Sprint(section, ", ", n+1), text, found[section][n]})
			}
		}
	}
	for section, want := range found {
		if counts[section] != len(want) {
			t.Errorf("%s: %d commands, and it is known of %d what they are to find", section, counts[section], len(want))
		}
		delete(counts, section)
	}
	for section, n := range counts {
		t.Errorf("%s: %d commands, and it isn't known what they are to find", section, n)
	}
	return list
}

func run(t *testing.T, e *harness.Envoy, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", command)
	shell.Env = append(os.Environ(), "ENVOY="+strings.TrimPrefix(e.AdminURL, "http://"), "LOG="+e.AccessLogFile(), "LC_ALL=C",
		"ADMIN="+e.Surface+"/spillway", "TOKEN="+token)
	output, err := shell.CombinedOutput()
	if err != nil && len(output) > 0 { // grep fails where it finds nothing yet
		t.Logf("%s: %v: %s", command, err, output)
	}
	return string(output)
}
