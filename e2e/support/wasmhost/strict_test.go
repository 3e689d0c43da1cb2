package wasmhost_test

import (
	"errors"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

func millis(t time.Time) string { return strconv.FormatInt(t.UnixMilli(), 10) }

const (
	badArgument   = "error status returned by host: bad argument"
	notFound      = "error status returned by host: not found"
	casMismatch   = "error status returned by host: cas mismatch"
	unimplemented = "error status returned by host: unimplemented"
)

// TestAnswers runs the probe's commands, each of which asks the host a few
// things, and reads the answers in the log.
func TestAnswers(t *testing.T) {
	for do, lines := range map[string][]string{
		"shared": {
			"get absent: " + notFound, "create with cas 99: <nil>", "get v1 <nil>",
			"wrong cas: " + casMismatch, "right cas: <nil>", "old cas: " + casMismatch, "cas 0: <nil>",
		},
		"metrics": {
			"counter ids differ: true, value 5", "increment 0: increment 4 by 0: " + badArgument,
			"gauge -2", "histogram value: get metric of  6: " + badArgument,
			"unknown counter: increment 4000 by 1: " + notFound, "queue: " + unimplemented,
			"done now: ",
		},
		"properties": {
			"source 203.0.113.9:1 <nil>", "protocol HTTP/1.1 <nil>", "no such: " + notFound,
			"read back 1 <nil>", "plugin name spillway <nil>",
		},
		"headers": {"first  " + notFound, "absent: " + notFound, "response headers too early: " + badArgument},
	} {
		t.Run(do, func(t *testing.T) {
			h := newHost(t, wasmhost.Options{
				PluginName: "spillway", Properties: map[string]string{"source.address": "203.0.113.9:1"},
			})
			s, _ := begin(t, startVM(t, h, "plain"), do, true)
			for _, l := range lines {
				wantLog(t, h, l)
			}
			check(t, "passed", s.UpstreamEnd, true)
			noViolations(t, h)
		})
	}
}

func TestHeaderMaps(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	s := startVM(t, h, "plain").NewStream()
	s.RequestHeaders([][2]string{
		{"x-do", "headers"}, {"X-Twice", "a"}, {"x-twice", "b"}, {"x-secret", "s"},
	}, true)
	wantLog(t, h, "first a <nil>")
	wantLog(t, h, "all [[x-do headers] [x-twice a] [x-twice b] [x-secret s]] <nil>")
	want := [][2]string{{"x-do", "headers"}, {"x-twice", "once"}, {"x-new", "n"}}
	if len(s.UpstreamHeaders) != len(want) {
		t.Fatalf("upstream headers: %v", s.UpstreamHeaders)
	}
	for i, p := range want {
		check(t, "upstream header", s.UpstreamHeaders[i], p)
	}
	// The log, two values and one map; the rest are the command's own.
	check(t, "reads", s.Calls["proxy_get_header_map_pairs"], 1)
	if s.ProxyCalls() == 0 || s.ProxyCalls() > h.Calls()["proxy_log"]+20 {
		t.Errorf("%d proxy calls", s.ProxyCalls())
	}
}

func TestSharedStateOutlivesVMs(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	v := startVM(t, h, "plain")
	begin(t, v, "shared", true)
	begin(t, v, "metrics", true)
	begin(t, v, "properties", true)
	v.Kill()
	value, _, ok := h.SharedData("k")
	check(t, "shared data", string(value), "v5")
	check(t, "present", ok, true)
	check(t, "counter", h.Counter("c"), 5)
	check(t, "gauge", h.Gauge("g"), -2)
	check(t, "histogram", len(h.Histogram("h")), 2)
	begin(t, startVM(t, h, "plain"), "metrics", true)
	wantLog(t, h, "counter ids differ: true, value 10")
}

func TestTrapKillsTheVM(t *testing.T) {
	for _, do := range []string{"panic", "exit", "sleep"} {
		t.Run(do, func(t *testing.T) {
			h := newHost(t, wasmhost.Options{})
			v := startVM(t, h, "tick")
			paused, _ := begin(t, v, "pause", false)
			flowing, _ := begin(t, v, "", true)
			s, _ := begin(t, v, do, false)
			check(t, "dead", v.Dead(), true)
			check(t, "status", s.ClientStatus, "503")
			check(t, "paused stream hangs", paused.Hung, true)
			paused.RequestBody([]byte("x"), true)
			check(t, "and is never answered", paused.ClientStatus, "")
			check(t, "the other isn't hung", flowing.Hung, false)
			flowing.ResponseHeaders(okHeaders, true)
			check(t, "but its response is lost", flowing.ClientStatus, "503")
			late, _ := begin(t, v, "", true)
			check(t, "new stream", late.ClientStatus, "503")
			check(t, "memory", v.MemoryBytes(), 0)
		})
	}
}

func TestTrapAfterResponseHeaders(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	v := startVM(t, h, "plain")
	s, _ := begin(t, v, "", true)
	s.ResponseHeaders(okHeaders, false)
	v.Kill()
	s.ResponseBody([]byte("x"), true)
	check(t, "status", s.ClientStatus, "200")
	check(t, "reset", s.ClientReset, true)
	h2 := newHost(t, wasmhost.Options{})
	s, _ = begin(t, startVM(t, h2, "plain"), "panic-response", true)
	s.ResponseHeaders(okHeaders, false)
	check(t, "status", s.ClientStatus, "503")
}

func TestResumingWhatIsNotPaused(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	s, _ := begin(t, startVM(t, h, "plain"), "resume-running", true)
	check(t, "violations", len(h.Violations()), 1)
	check(t, "went on", s.ForwardedHeaders, true)
}

func TestConfiguration(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	if _, err := h.StartVM([]byte("vm"), []byte("refuse")); !errors.Is(err, wasmhost.ErrConfigRefused) {
		t.Errorf("plugin configuration: %v", err)
	}
	if _, err := h.StartVM([]byte("refuse"), nil); !errors.Is(err, wasmhost.ErrStartRefused) {
		t.Errorf("VM configuration: %v", err)
	}
	v := startVM(t, h, "linger")
	wantLog(t, h, "vm start: vm, plugin configuration: "+notFound)
	wantLog(t, h, "configure: linger <nil>")
	if err := v.Reconfigure([]byte("refuse")); !errors.Is(err, wasmhost.ErrConfigRefused) {
		t.Errorf("reconfigure: %v", err)
	}
	old, _ := begin(t, v, "", true)
	if err := v.Reconfigure([]byte("tick-new")); err != nil {
		t.Fatal(err)
	}
	check(t, "plugin contexts", v.PluginContexts(), 2)
	check(t, "tick period", v.TickPeriod(), 20*time.Millisecond)
	check(t, "not done yet", h.Logged(wasmhost.LevelInfo, "plugin linger done"), false)
	fresh, _ := begin(t, v, "pause", true)
	old.Done()
	wantLog(t, h, "plugin linger done")
	check(t, "deletion put off", v.PluginContexts(), 2)
	v.Tick()
	check(t, "plugin contexts", v.PluginContexts(), 1)
	check(t, "new stream served by the new one", fresh.ForwardedHeaders, true)
	noViolations(t, h)
}

func TestCanary(t *testing.T) {
	h := newHost(t, wasmhost.Options{Canary: true})
	startVM(t, h, "plain")
	startVM(t, h, "plain")
	check(t, "starts", h.Callbacks()["proxy_on_configure"], 3)
}

func TestCallout(t *testing.T) {
	h := newHost(t, wasmhost.Options{Clusters: []string{"metrics"}})
	v := startVM(t, h, "plain")
	s, _ := begin(t, v, "callout", true)
	wantLog(t, h, "incomplete callout refused: true")
	wantLog(t, h, "unknown cluster: "+badArgument)
	calls := v.Callouts()
	check(t, "callouts", len(calls), 1)
	check(t, "body", string(calls[0].Body), "q")
	if err := v.AnswerCallout(calls[0], okHeaders, []byte("42"), nil); err != nil {
		t.Fatal(err)
	}
	wantLog(t, h, "answer 2 2 0: [[:status 200] [content-type text/plain]] <nil> 42 <nil>")
	check(t, "resumed", s.ForwardedHeaders, true)
	if v.AnswerCallout(calls[0], nil, nil, nil) == nil {
		t.Error("a callout was answered twice")
	}
	s, _ = begin(t, v, "callout", true)
	if err := v.FailCallout(v.Callouts()[0]); err != nil {
		t.Fatal(err)
	}
	wantLog(t, h, "answer 0 0 0: [] "+notFound)
	check(t, "resumed", s.ForwardedHeaders, true)
	noViolations(t, h)
}

func TestCollectorRunsWithAFrozenClock(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	v := startVM(t, h, "plain")
	for range 3 {
		s, _ := begin(t, v, "garbage", true)
		check(t, "passed", s.UpstreamEnd, true)
		s.Done()
	}
	if m := v.MemoryBytes(); m == 0 || m > 64<<20 {
		t.Errorf("memory: %d bytes", m)
	}
}

func TestWorkersRunAtOnce(t *testing.T) {
	h := newHost(t, wasmhost.Options{})
	var wg sync.WaitGroup
	const workers, requests = 4, 25
	for range workers {
		v := startVM(t, h, "plain")
		wg.Go(func() {
			for range requests {
				s := v.NewStream()
				s.RequestHeaders([][2]string{{"x-do", "increment"}}, true)
				s.ResponseHeaders(okHeaders, true)
			}
		})
	}
	h.Advance(time.Millisecond)
	wg.Wait()
	// A first write may overwrite another worker's, since a cas of 0 always
	// writes; the count can miss those.
	n, _, _ := h.SharedData("n")
	if got := int(n[0]); got < workers*requests-workers || got > workers*requests {
		t.Errorf("shared count: %d", got)
	}
	check(t, "counter", h.Counter("hits"), workers*requests)
	noViolations(t, h)
}
