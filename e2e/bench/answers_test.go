package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
)

// The tables speak of these sizes and numbers.
func TestWorkloadsAreWhatTheTablesSay(t *testing.T) {
	t.Parallel()
	unary, stream := mainWorkloads()
	if size := unary.answerBytes(); size < 650 || size > 800 {
		t.Errorf("the JSON answer has %d bytes", size)
	}
	if len(unary.body) != 1024 || len(stream.body) != 1024 {
		t.Errorf("the requests have %d and %d bytes", len(unary.body), len(stream.body))
	}
	wantValid(t, unary)
	wantValid(t, stream)
}

func wantValid(t *testing.T, w workload) {
	t.Helper()
	if !json.Valid(w.body) {
		t.Errorf("%s: the request is not JSON", w.name)
	}
	documents := w.answer
	if w.stream {
		documents = documents[:len(documents)-1] // but for the end mark
	}
	for _, document := range documents {
		if data := strings.TrimPrefix(string(document), "data: "); !json.Valid([]byte(data)) {
			t.Errorf("%s: %.300q is not JSON", w.name, data)
		}
	}
}

func TestVolumesAreWhatTheTablesSay(t *testing.T) {
	t.Parallel()
	defaults, err := config.Parse([]byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	if most := defaults.Usage.MaxRequestBytes; longestBody > most {
		t.Errorf("a request of %d bytes is not read: %d is the most", longestBody, most)
	}
	base, _ := mainWorkloads()
	sizes := map[string][2]float64{}
	for _, v := range volumes() {
		wantValid(t, v.workload)
		size, pieces := v.beyond(base)
		sizes[v.name] = [2]float64{size, pieces}
		if v.stream && (len(v.answer) != manyEvents || len(v.answer[1]) != len(v.answer[manyEvents-4])) {
			t.Errorf("%s: %d events, of %d and %d bytes", v.name, len(v.answer), len(v.answer[1]), len(v.answer[manyEvents-4]))
		}
	}
	for name, want := range map[string][2]float64{
		"request of 64 KiB": {longBody - requestSize, 0},
		"request of 1 MiB":  {longestBody - requestSize, 0},
		"answer of 64 KiB":  {float64(longBody - base.answerBytes()), 0},
		"answer of 1 MiB":   {float64(longestBody - base.answerBytes()), 0},
	} {
		if sizes[name] != want {
			t.Errorf("%s has %v more bytes and pieces than its base, want %v", name, sizes[name], want)
		}
	}
	for name, each := range map[string]float64{"events of 250 B": smallEvent, "events of 4 KiB": largeEvent} {
		if got := sizes[name]; got[1] != manyEvents-1 || got[0] < 0.95*manyEvents*each || got[0] > manyEvents*each {
			t.Errorf("%s has %v more bytes and pieces than its base", name, got)
		}
	}
}

func TestWhatAVolumeCosts(t *testing.T) {
	t.Parallel()
	variants, _, err := choose("spillway", "")
	if err != nil {
		t.Fatal(err)
	}
	unary, stream := mainWorkloads()
	b := &bench{options: options{variants: variants}, unary: unary, results: map[*variant]*result{
		variants[0]: {cpu: map[string][]float64{unary.name: {100, 110}, stream.name: {500, 520}}},
		variants[1]: {cpu: map[string][]float64{unary.name: {300, 320}, stream.name: {1700, 1750}}},
	}}
	if got := b.beyondBase(variants[0], stream, 10); got[0] != 40 || got[1] != 41 {
		t.Errorf("bare: %v, want what it has above its base", got)
	}
	if got := b.beyondBase(variants[1], stream, 10); got[0] != 100 || got[1] != 102 {
		t.Errorf("Spillway: %v, want what of it is above the bare one", got)
	}
}

func TestParseBenchmarks(t *testing.T) {
	t.Parallel()
	const text = "goos: linux\npkg: example.com/core/reader\n" +
		"BenchmarkA/one_limit,_x-2 \t 10 \t 1500 ns/op\t 20.5 MB/s\n" +
		"BenchmarkA/one_limit,_x-2 \t 20 \t 2500 ns/op\t 30.5 MB/s\nPASS\n"
	got, err := parseBenchmarks(text)
	if err != nil || len(got) != 1 || got[0].name != "reader/A/one limit, x" ||
		got[0].median("ns/op") != 2000 || got[0].median("MB/s") != 25.5 {
		t.Errorf("parsed %+v, error %v", got, err)
	}
	if _, err := parseBenchmarks("PASS\n"); err == nil {
		t.Error("no benchmark is no error")
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	passing, refusers, err := choose("refuse-tokens,spillway,lua", "")
	if err != nil || len(passing) != 3 || passing[0].name != bare || len(refusers) != 1 {
		t.Errorf("chose %v, %v, error %v, want these and the bare one", passing, refusers, err)
	}
	if _, _, err := choose("nginx", ""); err == nil || !strings.Contains(err.Error(), "spillway-1") {
		t.Errorf("an unknown variant: error %v, want one that lists those there are", err)
	}
}

func TestALoadThatWasNotCountedIsAnError(t *testing.T) {
	t.Parallel()
	all := counters{"wasm.envoy.wasm.runtime.v8.active": 1}
	counted := counters{
		"http.gateway.downstream_rq_2xx":                                     10,
		"wasmcustom.spillway_requests_total;decision=allowed;model=other":    6,
		"wasmcustom.spillway_requests_total;decision=allowed;model=m":        4,
		"wasmcustom.spillway_tokens_total;type=output;source=reported;model": 760,
	}
	v := spillway("s", "", "", "{}")
	if err := v.verify(counted, all, work{requests: 10, tokens: 760}); err != nil {
		t.Errorf("all was counted: %v", err)
	}
	for _, done := range []work{{requests: 11, tokens: 760}, {requests: 10, tokens: 761}} {
		if v.verify(counted, all, done) == nil {
			t.Errorf("%+v was taken for what was counted", done)
		}
	}
	counted["wasmcustom.spillway_errors_total;reason=panic"] = 1
	if v.verify(counted, all, work{requests: 10, tokens: 760}) == nil {
		t.Error("an error of the filter went unnoticed")
	}
}
