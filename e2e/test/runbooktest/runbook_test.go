// Package runbooktest runs the commands of docs/runbook.md against a real Envoy to which all happens that it is about.
package runbooktest

import (
	"context"
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

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

const patience = harness.Patience

// A limit that ann uses up, one in shadow mode that acme would, one slot that others wait for, a budget that a provider's 429 lower, and a
// pressure gate whose exporter isn't there.
const configuration = `{"requestHold": "stopIteration", "models": {"labels": ["llama-3"]},
	"limits": [
		{"name": "user-requests", "per": ["user"], "unit": "requests", "quantity": 30, "window": "1h", "match": {"headers": {"x-limited": "yes"}}},
		{"name": "tenant-requests", "per": ["tenant"], "unit": "requests", "quantity": 1, "window": "1h", "mode": "shadow", "match": {"tenants": ["acme"]}}],
	"upstreams": [{"name": "llm", "budget": {"requests": 6000}, "concurrency": {"max": 1}, "latency": {"mode": "shadow", "ttft": "10ms"}, "breaker": {"mode": "shadow"},
		"retreat": {"minSamples": 5, "every": "1s"}, "pressure": {"mode": "shadow"}}],
	"pressureSource": {"interval": "200ms", "timeout": "100ms"}}`

// found is what the commands of each section have to find, in their order: all of the lines, in any order.
var found = map[string][][]string{
	"Users get 429": {
		{`spillway_requests_total{.*decision="REJECTED".*limit="user-requests".*} 5`},
		{`5 "limit":"user-requests" "reason":"requests_exceeded" "subject":"user=ann"`},
		{`20 "upstream":"127.*"`},
		{`\d\d+`},
	},
	"Latency is up": {
		{`priority="NORMAL" \d+.*`},
		{`spillway_budget_available{.*kind="requests".*} \d+`, `spillway_inflight{upstream="llm"} 0`, `spillway_queue_depth{priority="LOW",upstream="llm"} 0`},
		{`spillway_breaker_state{.*upstream="llm".*} \d`, `spillway_latency_average_milliseconds{.*kind="ttft".*} \d+`, `spillway_gate_state{.*gate="latency".*} \d`},
		{`\d+ ms, \d+ of them in the queue: llama-3`},
	},
	"One tenant eats all": {
		{`5 "subject":"user=ann"`},
		{`spillway_requests_total{.*decision="SHADOW".*limit="tenant-requests".*} 2`},
	},
	"The upstream says 429": {
		{`spillway_upstream_errors_total{.*status="429".*} 20`, `spillway_retreat_state{upstream="llm"} [12]`, `spillway_effective_rpm{upstream="llm"} \d+`},
		{`20 "request_model":"llama-3"`},
	},
	"Pressure is stale": {
		{`spillway_errors_total{reason="pressure_fetch"} \d+`},
		{`gpuexporter::.*::cx_connect_fail::[1-9]\d*`},
	},
	"The filter itself": {
		{`envoy_wasm_spillway_vm_reload_success{.*} 0`},
	},
}

func TestTheRunbooksCommandsFindWhatTheyAreFor(t *testing.T) {
	t.Parallel()
	_, address := harness.Simulate(t, "127.0.0.1", llmsim.Options{Models: []string{"llama-3"}})
	e := harness.Start(t, harness.Options{Config: configuration, Upstream: address, Concurrency: 2})
	happen(t, e)
	for section, commands := range sections(t) {
		want := found[section]
		if len(commands) != len(want) {
			t.Errorf("%s: %d commands, and it is known of %d what they are to find", section, len(commands), len(want))
			continue
		}
		for i, command := range commands {
			t.Run(fmt.Sprint(section, ", ", i+1), func(t *testing.T) {
				t.Parallel()
				got := ""
				defer func() {
					if t.Failed() {
						t.Logf("%s\nprints\n%s\nwant lines as %q", command, got, want[i])
					}
				}()
				harness.Await(t, patience, "the command finds it", func() bool { // Envoy publishes once in a while
					got = run(t, e, command)
					return !slices.ContainsFunc(want[i], func(line string) bool {
						return !regexp.MustCompile(`(?m)^ *` + strings.ReplaceAll(strings.ReplaceAll(line, "{", `\{`), "}", `\}`) + `$`).MatchString(got)
					})
				})
			})
		}
	}
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

// sections are the runbook's commands, by the headings that they stand below.
func sections(t *testing.T) map[string][]string {
	t.Helper()
	text, err := os.ReadFile(harness.InRepository(t, "docs/runbook.md"))
	if err != nil {
		t.Fatal(err)
	}
	commands := map[string][]string{}
	section := ""
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSuffix(line, "\n")
		if heading, is := strings.CutPrefix(line, "## "); is {
			section = heading
		}
		if command, is := strings.CutPrefix(line, "$ "); is {
			commands[section] = append(commands[section], command)
		}
	}
	for section := range found {
		if commands[section] == nil {
			t.Errorf("the runbook has no commands for %q", section)
		}
	}
	return commands
}

func run(t *testing.T, e *harness.Envoy, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", command)
	shell.Env = append(os.Environ(), "ENVOY="+strings.TrimPrefix(e.AdminURL, "http://"), "LOG="+e.AccessLogFile(), "LC_ALL=C")
	output, err := shell.CombinedOutput()
	if err != nil && len(output) > 0 { // grep fails where it finds nothing yet
		t.Logf("%s: %v: %s", command, err, output)
	}
	return string(output)
}
