package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// inRoot gives a path of the repository.
func inRoot(t *testing.T, path string) string {
	t.Helper()
	root, err := envoyproc.Root()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, path)
}

func TestTheConfigurationIsValidInAllModes(t *testing.T) {
	t.Parallel()
	o := options{config: inRoot(t, filepath.Join(folder, "on.yaml")), auto: inRoot(t, filepath.Join(folder, "auto.yaml"))}
	for _, test := range []struct {
		mode, filter, pressure string
		learns                 bool
	}{{"off", "off", "enforce", false}, {"enforce", "enforce", "enforce", false}, {learned, "enforce", "shadow", true}} {
		text, err := o.pluginConfig(test.mode)
		if err != nil {
			t.Fatal(err)
		}
		c, err := config.Parse([]byte(text))
		if err != nil {
			t.Fatalf("mode %s: %v", test.mode, err)
		}
		u := c.Upstreams[0]
		if string(c.Mode) != test.filter || string(u.Pressure.Mode) != test.pressure || u.Concurrency.Auto() != test.learns || !test.learns && u.Concurrency.Max > slots {
			t.Errorf("mode %s: it is %v, with pressure %v and %d slots; want %+v, and at most vLLM's %d", test.mode, c.Mode, u.Pressure.Mode, u.Concurrency.Max, test, slots)
		}
	}
}

// The document shows the configuration of the run, but for what every configuration for envoy/standalone.yaml has.
func TestTheDocumentHasTheConfiguration(t *testing.T) {
	t.Parallel()
	doc, err := os.ReadFile(inRoot(t, docFile))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "\n## A real vLLM in overload\n")
	_, block, _ := strings.Cut(section, "```yaml\n")
	block, _, _ = strings.Cut(block, "```")
	shipped, err := os.ReadFile(inRoot(t, filepath.Join(folder, "on.yaml")))
	if err != nil {
		t.Fatal(err)
	}
	var shown, used map[string]any
	if err := errors.Join(yaml.Unmarshal([]byte(block), &shown), yaml.Unmarshal(shipped, &used)); err != nil {
		t.Fatal(err)
	}
	delete(used, "requestHold")
	if len(shown) == 0 || !reflect.DeepEqual(shown, used) {
		t.Errorf("%s has %v, and %s/on.yaml %v", docFile, shown, folder, used)
	}
}

func TestParseMetrics(t *testing.T) {
	t.Parallel()
	const text = `# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{engine="0",model_name="tiny"} 7.0
vllm:num_requests_waiting{engine="0",model_name="tiny"} 3.0
vllm:num_requests_waiting_by_reason{engine="0",model_name="tiny",reason="capacity"} 9.0
vllm:kv_cache_usage_perc{engine="0",model_name="tiny"} 0.625
vllm:num_preemptions_total{engine="0",model_name="tiny"} 12.0
vllm:num_preemptions_created{engine="0",model_name="tiny"} 1.795333834e+09
vllm:generation_tokens_total{engine="0",model_name="tiny"} 4989.0
`
	got, err := parseMetrics(strings.NewReader(text))
	if want := (sample{KV: 0.625, Running: 7, Waiting: 3, Preemptions: 12, Generated: 4989}); err != nil || got != want {
		t.Errorf("%+v, %v; want %+v", got, err, want)
	}
}

// report is one of guidellm with a request, to be completed.
const report = `{"benchmarks":[{"start_time":100,"end_time":160,"requests":{
	"successful":[{"info":{"error":null,"timings":{"request_start":101,"first_token_iteration":101.5,"request_end":104,"resolve_end":104.1}},"output_metrics":{"text_tokens":96}}],
	"errored":[{"info":{"error":"ERROR","timings":{"request_start":102,"first_token_iteration":null,"request_end":null,"resolve_end":102.25}},"output_metrics":{"text_tokens":null}}],
	"incomplete":[
		{"info":{"error":"Request was cancelled","timings":{"request_start":150,"first_token_iteration":null,"request_end":null,"resolve_end":160}},"output_metrics":{"text_tokens":0}},
		{"info":{"error":"Request was cancelled","timings":{"request_start":null}},"output_metrics":{}}]}}]}`

func TestParseReport(t *testing.T) {
	t.Parallel()
	requests, from, to, err := parseReport([]byte(strings.Replace(report, "ERROR", "Client error '429 Too Many Requests'", 1)), "low")
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]request{}
	for _, r := range requests {
		got[r.Outcome] = r
	}
	want := map[string]request{
		answered:   {Priority: "low", Began: 101, Ended: 104, TTFT: 0.5, Tokens: 96, Outcome: answered},
		refused:    {Priority: "low", Began: 102, Ended: 102.25, TTFT: 0.25, Outcome: refused},
		unfinished: {Priority: "low", Began: 150, Ended: 160, TTFT: 10, Outcome: unfinished},
	}
	if from != 100 || to != 160 || len(requests) != len(want) || !reflect.DeepEqual(got, want) {
		t.Errorf("from %v to %v: %+v, want %+v", from, to, requests, want)
	}
	// What is neither an answer nor a refusal makes the run worthless.
	if _, _, _, err := parseReport([]byte(report), "low"); err == nil || !strings.Contains(err.Error(), "ERROR") {
		t.Errorf("another failure gives the error %v", err)
	}
}

func TestReadRefusals(t *testing.T) {
	t.Parallel()
	const log = `[2026-01-01 00:00:01.000][1][warning] of Envoy itself
{"time":"1970-01-01T00:01:40.500Z","decision":"REJECTED","gate":"pressure","reason":"ceiling","priority":"LOW"}
{"time":"1970-01-01T00:01:41.000Z","decision":"REJECTED","gate":"pressure","reason":"ceiling","priority":"LOW"}
{"time":"1970-01-01T00:01:41.000Z","decision":"QUEUED","gate":"queue","priority":"LOW"}
{"time":"1970-01-01T00:03:00.000Z","decision":"REJECTED","gate":"queue","reason":"timeout","priority":"LOW"}
`
	got, err := readRefusals(strings.NewReader(log), 100, 160)
	if want := map[string]map[string]int{"low": {"pressure/ceiling": 2}}; err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
}

// example is a run of 10 seconds.
func example(mode string) trial {
	return trial{
		Mode: mode, From: 100, To: 110,
		Requests: []request{
			{Priority: "low", Began: 100, TTFT: 1, Ended: 103, Tokens: 101, Outcome: answered},
			{Priority: "low", Began: 101, TTFT: 2.5, Ended: 105, Tokens: 50, Outcome: answered}, // its first token was late
			{Priority: "low", Began: 102, TTFT: 0.5, Ended: 113, Tokens: 50, Outcome: answered}, // it stood still
			{Priority: "low", Began: 103, TTFT: 9, Ended: 112, Outcome: unfinished},
			{Priority: "low", Began: 104, TTFT: 0.01, Ended: 104.01, Outcome: refused}, // has no first token
			{Priority: "urgent", Began: 105, TTFT: 0.25, Ended: 107, Tokens: 20, Outcome: answered},
		},
		Samples: []sample{{At: 100, KV: 0.5, Preemptions: 3, Generated: 1000}, {At: 110, KV: 1, Waiting: 6, Preemptions: 8, Generated: 3000}},
	}
}

func TestMeasures(t *testing.T) {
	t.Parallel()
	run := example("off")
	for _, test := range []struct {
		name      string
		got, want float64
	}{
		{"p50", run.ttft("low", 0.5), 2.5},
		{"p95", run.ttft("low", 0.95), 9},
		{"p50 of nobody", run.ttft("normal", 0.5), -1},
		{"in time", run.share("low", request.inTime), 20},
		{"goodput", run.goodput(""), 12.1},
		{"generated", run.generated(), 200},
		{"preemptions", run.preemptions(), 5},
		{"time above 0.95", run.above(0.95), 50},
	} {
		if math.Abs(test.got-test.want) > 1e-9 {
			t.Errorf("%s is %v, want %v", test.name, test.got, test.want)
		}
	}
}

func TestTheReportIsInsertedBetweenItsMarks(t *testing.T) {
	t.Parallel()
	second := example("enforce")
	second.Samples[1].Preemptions = 3
	third := example(learned)
	third.Samples[0].Slots, third.Samples[1].Slots = 8, 5
	text := table([]trial{example("off"), second, example("off"), example("enforce"), third})
	for _, want := range []string{
		"| | filter off | filter on | slots learned |\n|---|---:|---:|---:|\n",
		"| preemptions a minute | **30.0** | **15.0** (0.0 to 30.0) | **30.0** |", // the median of two is between them
		"| p95, s: NORMAL |  |  |  |",
		"| refused, %: LOW | **20** | **20** | **20** |",
		"| slots, mean |  | **0.0** | **6.5** |",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	doc, err := insert([]byte("a\n"+begin+"old\n"+end+"b\n"), text)
	if want := "a\n" + begin + text + end + "b\n"; err != nil || string(doc) != want {
		t.Errorf("%q, %v", doc, err)
	}
	if _, err := insert([]byte("no marks"), text); err == nil {
		t.Error("a document without marks was taken")
	}
	if text := table([]trial{example("off"), second}); !strings.HasPrefix(text, "| | filter off | filter on |\n|---|---:|---:|\n") {
		t.Errorf("without learned slots the table begins with %.60q", text)
	}
	if svg := draw([]trial{example("off"), second, third}); strings.Count(svg, "<polyline") != 14+8 || strings.Count(svg, "dasharray") != 3 || !strings.Contains(svg, "slots learned") {
		t.Errorf("with learned slots the plot has %d lines, want 22, of which 3 are dashed", strings.Count(svg, "<polyline"))
	}
	if svg := draw([]trial{example("off"), second}); strings.Count(svg, "<polyline") != 14 || strings.Count(svg, "dasharray") != 2 {
		t.Errorf("the plot has %d lines, want 14, of which 2 are dashed", strings.Count(svg, "<polyline"))
	}
}

// The relay passes each event on as it comes, and all that comes later to the other server, once it has turned.
func TestTheRelayTurns(t *testing.T) {
	t.Parallel()
	serve := func(name string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.WriteString(w, name+r.URL.Path)
			_ = http.NewResponseController(w).Flush()
			if name == "first" {
				<-r.Context().Done() // its end is awaited by nobody
			}
		}))
		t.Cleanup(s.CloseClientConnections)
		return s.URL
	}
	first, second := serve("first"), serve("second")
	r, err := startRelay(first)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	get := func(want string) {
		t.Helper()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+"/path", nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = response.Body.Close() }()
		got := make([]byte, len(want))
		if _, err := io.ReadFull(response.Body, got); err != nil || string(got) != want {
			t.Errorf("%q, %v; want %q", got, err, want)
		}
	}
	get("first/path")
	r.turn(second, 0)
	for r.changed.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	get("second/path")
}

func TestSlotsBeforeAndAfterAChange(t *testing.T) {
	t.Parallel()
	run := trial{From: 100, To: 160}
	for at, slots := range map[float64]float64{101: 8, 120: 6, 129: 6, 131: 5, 155: 3, 158: 4} {
		run.Samples = append(run.Samples, sample{At: at, Slots: slots})
	}
	if got := run.slots(); got != "3 to 8" {
		t.Error(got)
	}
	run.Changed = 130
	if got := run.slots(); got != "6 to 8 before the change, 3 to 4 from 20s after it on" {
		t.Error(got)
	}
}

// What is kept of a run is all that the report needs.
func TestARunSurvivesItsFile(t *testing.T) {
	t.Parallel()
	before := example("off")
	text, err := json.Marshal(before)
	if err != nil {
		t.Fatal(err)
	}
	var after trial
	if err := json.Unmarshal(text, &after); err != nil || !reflect.DeepEqual(before, after) {
		t.Errorf("%+v, %v; want %+v", after, err, before)
	}
}
