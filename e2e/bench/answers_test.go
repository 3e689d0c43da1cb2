package main

import (
	"encoding/json"
	"strings"
	"testing"
)

// The tables speak of these sizes and numbers.
func TestWorkloadsAreWhatTheTablesSay(t *testing.T) {
	t.Parallel()
	u := &upstream{answer: jsonAnswer(), events: streamAnswer()}
	unary, stream := u.workloads()
	for _, w := range []workload{unary, stream} {
		if !json.Valid(w.body) || len(w.body) != 1024 {
			t.Errorf("%s request: valid JSON is %v, %d bytes", w.name, json.Valid(w.body), len(w.body))
		}
	}
	if !json.Valid(u.answer) || len(u.answer) < 650 || len(u.answer) > 800 {
		t.Errorf("JSON answer: valid is %v, %d bytes", json.Valid(u.answer), len(u.answer))
	}
	if len(u.events) != streamEvents {
		t.Errorf("%d events, want %d", len(u.events), streamEvents)
	}
	for _, event := range u.events[:streamEvents-1] {
		if data := strings.TrimPrefix(string(event), "data: "); !json.Valid([]byte(data)) {
			t.Errorf("event %q is not JSON", data)
		}
	}
}

func TestChoose(t *testing.T) {
	t.Parallel()
	chosen, err := choose("spillway,lua")
	if err != nil || len(chosen) != 3 || chosen[0].name != bare {
		t.Errorf("chose %v, error %v, want these and the bare one", chosen, err)
	}
	if _, err := choose("nginx"); err == nil || !strings.Contains(err.Error(), "spillway-1") {
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
