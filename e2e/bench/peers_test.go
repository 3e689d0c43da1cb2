package main

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

func TestPeersAreComparedWithTheFirstInTheSameRound(t *testing.T) {
	t.Parallel()
	floor, other := &peer{label: "floor"}, &peer{label: "other"}
	b := &bench{peers: []*peer{floor, other}, rate: 50}
	b.peerUnary, b.peerStream = peerWorkloads()
	result := func(unary, stream []float64, latencies ...time.Duration) *peerResult {
		return &peerResult{
			ready: []float64{3, 1, 2}, effort: []float64{0.5, 0.25, 0.75}, rest: []float64{30e6, 10e6, 20e6}, loaded: 25e6,
			cpu:  map[string][]float64{b.peerUnary.name: unary, b.peerStream.name: stream},
			same: latencies, own: latencies[:1], ownRate: 200,
		}
	}
	b.peerResults = map[*peer]*peerResult{
		floor: result([]float64{100, 200, 300}, []float64{10, 10, 10}, time.Millisecond),
		other: result([]float64{200, 600, 300}, []float64{50, 40, 60}, 3*time.Millisecond, 1*time.Millisecond, 2*time.Millisecond),
	}
	for table, want := range map[string]string{
		b.peerCPUTable():     "| other | 300 | **2.00** | 1.00 to 3.00 | 50 | **5.00** | 4.00 to 6.00 |",
		b.peerLatencyTable(): "| other | 2.00 | 3.00 | 200 | 3.00 | 3.00 |",
		b.peerMemoryTable():  "| other | 2.00 | 0.50 | 20 | 25 |",
	} {
		if !strings.Contains(table, want) {
			t.Errorf("no %s in\n%s", want, table)
		}
	}
}

func TestAnAnswerInOtherWordsIsReadToItsEnd(t *testing.T) {
	t.Parallel()
	unary, stream := peerWorkloads()
	for _, test := range []struct {
		name, text string
		load       workload
		ok         bool
	}{
		{"document", `{"usage":{"completion_tokens":76,"prompt_tokens":180}}`, unary, true},
		{"with a space", `{"usage":{"completion_tokens": 76}}`, unary, true},
		{"other tokens", `{"usage":{"completion_tokens":760}}`, unary, false},
		{"no usage", `{"choices":[]}`, unary, false},
		{"stream", "data: {\"usage\":{\"completion_tokens\":48}}\n\ndata: [DONE]\n\n", stream, true},
		{"stream without its end", "data: {\"usage\":{\"completion_tokens\":48}}\n\n", stream, false},
	} {
		if err := test.load.read(strings.NewReader(test.text)); (err == nil) != test.ok {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}

func TestOutputTokensOfTheProcessorAreAddedUp(t *testing.T) {
	t.Parallel()
	got, err := outputTokens(`# TYPE gen_ai_client_token_usage_token histogram
gen_ai_client_token_usage_token_bucket{gen_ai_token_type="output",le="1"} 5
gen_ai_client_token_usage_token_sum{gen_ai_request_model="a",gen_ai_token_type="output"} 152
gen_ai_client_token_usage_token_sum{gen_ai_request_model="b",gen_ai_token_type="output"} 1.5e+03
gen_ai_client_token_usage_token_sum{gen_ai_request_model="a",gen_ai_token_type="input"} 360
`)
	if err != nil || got != 1652 {
		t.Errorf("%d, %v", got, err)
	}
}

func TestLoadAverageIsOfAQuarterOfAnHour(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"0.50 1.25 2.75 3/345 6789": "2.75", unknown: unknown} {
		if got := loadAverage(text); got != want {
			t.Errorf("of %q: %s", text, got)
		}
	}
}

func TestAPeerThatCountsTooFewTokensIsNoticed(t *testing.T) {
	t.Parallel()
	unary, _ := peerWorkloads()
	answered := 0
	g := &gateway{peer: &peer{name: "fake", counted: func(context.Context, *gateway) (int, error) { return answered, nil }}}
	for step, ok := range map[int]bool{2 * unary.tokens: true, unary.tokens: false} {
		err := g.burden(t.Context(), unary, 2, func() error { answered += step; return nil })
		if (err == nil) != ok {
			t.Errorf("%d tokens of two answers: %v", step, err)
		}
	}
}

func TestTheProcessorIsCalledForRequestAndBackend(t *testing.T) {
	t.Parallel()
	root, err := envoyproc.Root()
	if err != nil {
		t.Fatal(err)
	}
	config, err := envoyproc.Load(filepath.Join(root, envoyproc.StandaloneYAML))
	if err != nil {
		t.Fatal(err)
	}
	config.RemoveListener(envoyproc.Surface)
	callProcessor(config, "/a.sock")
	text, err := config.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Count(string(text), "ext_proc.v3.ExternalProcessor"); got != 2 || strings.Contains(string(text), "wasm.v3.Wasm") {
		t.Errorf("%d calls in %s", got, text)
	}
}

func TestASectionIsKeptUnlessThereIsNone(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "report.md")
	const none, full = peersBegin + "\n" + peersEnd + "\n", peersBegin + "\nold\n" + peersEnd + "\n"
	if got, err := keptSection(file, peersBegin, peersEnd); err != nil || got != none {
		t.Errorf("without a report: %q, %v", got, err)
	}
	for text, want := range map[string]string{"a\n" + full + "b\n": full, "a\nb\n": none} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, err := keptSection(file, peersBegin, peersEnd); err != nil || got != want {
			t.Errorf("of %q was kept %q, %v", text, got, err)
		}
	}
}
