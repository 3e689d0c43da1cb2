package health

import (
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

const (
	second      = 1_000_000_000 // of moments and durations alike
	millisecond = second / 1000
	noon        = clock.Moment(12 * 3600 * second)
)

// upstream has all gates, with the default configuration.
func upstream() *config.Upstream {
	return &config.Upstream{
		Breaker: config.Breaker{
			Mode: config.Enforce, ErrorRate: 0.5, Window: 30 * time.Second, MinRequests: 20, OpenFor: time.Minute, Probes: 1,
		},
		Latency: config.Latency{
			Mode: config.Enforce, TTFT: time.Second, ITL: 100 * time.Millisecond, TimeConstant: 30 * time.Second, Per: "model", WarnAt: 0.9, Predict: true,
		},
		Throttle: config.Throttle{
			Mode: config.Enforce, GPUMemory: 0.75,
			QPS: config.ThrottleQPS{Window: 5 * time.Minute, Sigmas: 2, Factor: 1.5},
			P99: config.ThrottleP99{Factor: 1.8, Max: 8 * time.Second, Periods: 3, Period: 10 * time.Second},
		},
	}
}

// counting is a store that allocates nothing, and counts what is asked of it.
type counting struct {
	values     map[string]*[]byte
	versions   map[string]uint32
	gets, puts int
	fail       error
	conflict   func() // called before each write
}

func newStore() *counting {
	return &counting{values: map[string]*[]byte{}, versions: map[string]uint32{}}
}

func (s *counting) Get(key string) ([]byte, uint32, bool, error) {
	s.gets++
	if s.fail != nil {
		return nil, 0, false, s.fail
	}
	value, found := s.values[key]
	if !found {
		return nil, 0, false, nil
	}
	return *value, s.versions[key], true, nil
}

func (s *counting) Put(key string, value []byte, version uint32) (bool, error) {
	s.puts++
	if s.fail != nil {
		return false, s.fail
	}
	if s.conflict != nil {
		conflict := s.conflict
		s.conflict = nil
		conflict()
		s.conflict = conflict
	}
	if _, found := s.values[key]; !found {
		s.values[key] = new([]byte)
	} else if s.versions[key] != version {
		return false, nil
	}
	*s.values[key] = append((*s.values[key])[:0], value...)
	s.versions[key]++
	return true, nil
}

// counted resets the counters.
func (s *counting) counted() (gets, puts int) {
	gets, puts = s.gets, s.puts
	s.gets, s.puts = 0, 0
	return gets, puts
}

// workers are gates of one upstream in several workers.
func workers(u *config.Upstream, store record.Store, n int) []*Gates {
	gates := make([]*Gates, n)
	for i := range gates {
		gates[i] = New(NewSettings(u, config.Enforce), store, "x/a1/up", uint64(i+1))
	}
	return gates
}

// only leaves one gate on.
func only(which string) *config.Upstream {
	u := upstream()
	for name, mode := range map[string]*config.Mode{gate.Breaker: &u.Breaker.Mode, gate.Latency: &u.Latency.Mode, gate.Throttle: &u.Throttle.Mode} {
		if name != which {
			*mode = config.Off
		}
	}
	return u
}

func chat(model string) *Request { return &Request{Model: model, Priority: config.Normal} }

// judge asks all gates, as the caller does: the first that refuses ends it.
func judge(t *testing.T, g *Gates, now clock.Moment, r *Request) (refusal gate.Verdict) {
	t.Helper()
	for _, ask := range []func(clock.Moment, *Request) gate.Verdict{g.Breaker, g.Latency, g.Throttle} {
		v := ask(now, r)
		if v.Err != nil {
			t.Fatal(v.Err)
		}
		if v.Outcome.Refuses() {
			if err := g.Cancel(now, r); err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	return gate.Verdict{}
}

// serve leads a request through all gates to its end, and says what refused it.
func serve(t *testing.T, g *Gates, now clock.Moment, r *Request, o Outcome) gate.Verdict {
	t.Helper()
	if v := judge(t, g, now, r); v.Outcome.Refuses() {
		return v
	}
	if err := g.Finish(now+clock.Moment(o.Duration), r, o); err != nil {
		t.Fatal(err)
	}
	return gate.Verdict{}
}

func fails(t *testing.T, g *Gates, now clock.Moment, model string, n int) {
	t.Helper()
	for range n {
		serve(t, g, now, chat(model), Outcome{Result: Failed})
	}
}

// ending is how a request ends, and, if that isn't 0, when its first token came, of which the gates are told first.
type ending struct {
	Outcome
	ttft time.Duration
}

func (e *ending) finish(g *Gates, now clock.Moment, r *Request) error {
	if e.ttft != 0 {
		if err := g.Observe(now, r, latency.Sample{TTFT: e.ttft}); err != nil {
			return err
		}
	}
	return g.Finish(now, r, e.Outcome)
}

var quick = Outcome{Result: Succeeded, Stream: true, Duration: second / 2, ITL: 10 * millisecond}

func look(t *testing.T, g *Gates, now clock.Moment) map[string]Model {
	t.Helper()
	s, err := g.Snapshot(now)
	if err != nil {
		t.Fatal(err)
	}
	models := map[string]Model{}
	for _, m := range s.Models {
		models[m.Name] = m
	}
	return models
}

func observe(t *testing.T, g *Gates, now clock.Moment, model string, s latency.Sample) {
	t.Helper()
	if err := g.Observe(now, chat(model), s); err != nil {
		t.Fatal(err)
	}
}
