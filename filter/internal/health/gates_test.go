package health

import (
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/breaker"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

func TestNewSettings(t *testing.T) {
	u := upstream()
	s := NewSettings(u, config.Enforce)
	if s.Breaker == nil || s.Latency == nil || s.Throttle == nil || !s.enforceBreaker || !s.enforceLatency || !s.enforceThrottle || s.Global {
		t.Errorf("%+v", s)
	}
	if s := NewSettings(u, config.Shadow); !s.Any() || s.enforceBreaker || s.enforceLatency || s.enforceThrottle {
		t.Errorf("the plugin's mode is the ceiling: %+v", s)
	}
	u.Breaker.Mode, u.Latency.Mode, u.Latency.Per, u.Throttle.Mode = config.Shadow, config.Enforce, "global", config.Off
	if s := NewSettings(u, config.Enforce); s.Breaker == nil || s.enforceBreaker || !s.enforceLatency || !s.Global || s.Throttle != nil {
		t.Errorf("%+v", s)
	}
	for _, s := range []Settings{NewSettings(u, config.Off), NewSettings(&config.Upstream{
		Breaker: config.Breaker{Mode: config.Off}, Latency: config.Latency{Mode: config.Off}, Throttle: config.Throttle{Mode: config.Off},
	}, config.Enforce)} {
		if s.Any() || New(s, newStore(), "x", 1) != nil {
			t.Errorf("%+v", s)
		}
	}
}

// A gate that is off costs nothing, and says nothing.
func TestNothingIsOn(t *testing.T) {
	var g *Gates
	r := chat("m")
	if v := judge(t, g, noon, r); v.Outcome.Refuses() {
		t.Errorf("%+v", v)
	}
	if g.Observe(noon, r, latency.Sample{TTFT: second}) != nil || g.Finish(noon, r, quick) != nil || g.Tick(noon) != nil ||
		g.Cancel(noon, r) != nil || g.Period() != 0 || g.Damaged() != 0 {
		t.Error("no gates do something")
	}
	if s, err := g.Snapshot(noon); err != nil || len(s.Models)+len(s.Throttle) != 0 {
		t.Errorf("%+v, %v", s, err)
	}
	for _, which := range []string{gate.Breaker, gate.Latency, gate.Throttle} {
		store := newStore()
		g := New(NewSettings(only(which), config.Enforce), store, "x", 1)
		for name, ask := range map[string]func(clock.Moment, *Request) gate.Verdict{gate.Breaker: g.Breaker, gate.Latency: g.Latency, gate.Throttle: g.Throttle} {
			store.counted()
			if ask(noon, r); name != which && store.gets+store.puts != 0 {
				t.Errorf("%s, which is off, asks the store", name)
			}
		}
	}
}

func TestBreakerOfOneModel(t *testing.T) {
	gates := workers(upstream(), newStore(), 2)
	now := noon
	fails(t, gates[0], now, "a", 10)
	fails(t, gates[1], now, "a", 9)
	serve(t, gates[0], now, chat("b"), quick)
	if v := gates[1].Breaker(now, chat("a")); v.Reason != "" {
		t.Errorf("too few: %+v", v)
	}
	for range 3 {
		serve(t, gates[0], now, chat("a"), Outcome{Result: Succeeded})
	}
	fails(t, gates[0], now, "a", 1)
	for _, g := range gates {
		v := g.Breaker(now+second, chat("a"))
		if !v.Outcome.Refuses() || v.Gate != gate.Breaker || v.Reason != gate.BreakerOpen || v.Text.String() != "5xx_rate_95%_in_30s" || v.Outcome != gate.Open {
			t.Errorf("%+v, %s", v, v.Text.String())
		}
		if math.Abs(v.Measured-0.95) > 1e-9 || v.Threshold != 0.5 || v.Wait < 55*second || v.Wait > 60*second {
			t.Errorf("%+v", v)
		}
		if v := g.Breaker(now+second, chat("b")); v.Outcome.Refuses() {
			t.Errorf("another model: %+v", v)
		}
	}
	m := look(t, gates[1], now+second)
	if v := m["a"].Breaker; v.State != "OPEN" || v.LastReason != "5xx_rate_95%_in_30s" || v.LastAt != now || v.RecoversIn != 59*second {
		t.Errorf("%+v", v)
	}
	if v := m["b"].Breaker; v.State != "CLOSED" || v.LastReason != "" || v.RecoversIn != 0 {
		t.Errorf("%+v", v)
	}
	now += 60 * second
	probe, second := chat("a"), chat("a")
	if v := gates[1].Breaker(now, probe); v.Outcome.Refuses() || !probe.pass.Probe {
		t.Errorf("the probe: %+v", v)
	}
	if v := gates[0].Breaker(now, second); !v.Outcome.Refuses() || v.Reason != gate.Probing || v.Text.String() != "" || v.Measured != gate.Absent {
		t.Errorf("a second one: %+v", v)
	}
	if err := gates[1].Finish(now, probe, Outcome{Result: Succeeded}); err != nil {
		t.Fatal(err)
	}
	if v := gates[0].Breaker(now, chat("a")); v.Reason != "" || look(t, gates[0], now)["a"].Breaker.State != "CLOSED" {
		t.Errorf("%+v", v)
	}
}

// An upstream that can't be reached fails, however long that took: it is no time of the upstream's.
func TestFailuresHaveNoDuration(t *testing.T) {
	g := workers(upstream(), newStore(), 1)[0]
	for range 30 {
		serve(t, g, noon, chat("a"), Outcome{Result: Failed, Duration: 20 * second})
	}
	m := look(t, g, noon)["a"]
	if m.TTFT.Value != 0 || m.ITL.Value != 0 || m.Unary != 0 || m.Breaker.State != "OPEN" {
		t.Errorf("%+v", m)
	}
	g = workers(upstream(), newStore(), 1)[0]
	for range 30 {
		serve(t, g, noon, chat("a"), Outcome{Result: Neither, Duration: 20 * second})
	}
	if m := look(t, g, noon); len(m) != 0 {
		t.Errorf("an answer that says nothing has made a record: %+v", m)
	}
}

// A probe that isn't sent, because a later gate refuses, or whose client leaves, is there for the next request.
func TestProbesAreGivenBack(t *testing.T) {
	gates := workers(upstream(), newStore(), 2)
	fails(t, gates[0], noon, "a", 20)
	now := noon + 60*second
	observe(t, gates[0], now, "a", latency.Sample{TTFT: 2 * second})
	if v := judge(t, gates[0], now, chat("a")); v.Gate != gate.Latency || v.Reason != gate.TTFT {
		t.Errorf("%+v", v)
	}
	left := chat("a")
	if v := gates[1].Breaker(now, left); v.Outcome.Refuses() {
		t.Fatalf("%+v", v)
	}
	if v := gates[1].Breaker(now, left); v.Outcome.Refuses() || gates[1].probing != 1 {
		t.Fatalf("asked again: %+v, %d probes", v, gates[1].probing)
	}
	if v := gates[0].Breaker(now, chat("a")); !v.Outcome.Refuses() {
		t.Fatalf("%+v", v)
	}
	for range 2 { // a second end changes nothing
		if err := gates[1].Finish(now, left, Outcome{Result: Neither}); err != nil {
			t.Fatal(err)
		}
	}
	if v := gates[0].Breaker(now, chat("a")); v.Outcome.Refuses() || gates[0].probing != 1 || gates[1].probing != 0 {
		t.Errorf("%+v, %d and %d probes", v, gates[0].probing, gates[1].probing)
	}
}

// A probe lasts as long as it lasts, while its worker is alive.
func TestProbesAreRenewed(t *testing.T) {
	gates := workers(only(gate.Breaker), newStore(), 2)
	fails(t, gates[0], noon, "a", 20)
	now := noon + 60*second
	probe := chat("a")
	gates[0].Breaker(now, probe)
	for range 100 {
		if gates[0].Period() != breaker.Lease/8 || gates[1].Period() != 0 {
			t.Fatalf("periods %d and %d", gates[0].Period(), gates[1].Period())
		}
		now += clock.Moment(gates[0].Period())
		for _, g := range gates {
			if err := g.Tick(now); err != nil {
				t.Fatal(err)
			}
		}
		if v := gates[1].Breaker(now, chat("a")); !v.Outcome.Refuses() {
			t.Fatal("a second probe")
		}
	}
	now += clock.Moment(breaker.Lease) // now it is dead
	if v := gates[1].Breaker(now, chat("a")); v.Outcome.Refuses() {
		t.Errorf("%+v", v)
	}
}

func TestLatencyGate(t *testing.T) {
	gates := workers(upstream(), newStore(), 2)
	serve(t, gates[0], noon, chat("a"), quick)
	observe(t, gates[0], noon+second, "b", latency.Sample{TTFT: 2 * second})
	v := gates[1].Latency(noon+second, chat("b"))
	if !v.Outcome.Refuses() || v.Gate != gate.Latency || v.Reason != gate.TTFT || v.Measured != 2000 || v.Threshold != 1000 || v.Text.String() != "ttft_2000ms_over_1000ms" {
		t.Errorf("%+v, %s", v, v.Text.String())
	}
	const constant = 30 * second
	opens := time.Duration(math.Ceil(float64(constant) * math.Ln2))
	first, last := time.Duration(math.MaxInt64), time.Duration(0)
	for range 100 { // they are told to come back over the whole of a time constant
		wait := gates[1].Latency(noon+second, chat("b")).Wait
		first, last = min(first, wait), max(last, wait)
	}
	if first < opens || first > opens+constant/20 || last < opens+constant*19/20 || last > opens+constant {
		t.Errorf("waits from %v to %v, want from %v on", first, last, opens)
	}
	if v := gates[1].Latency(noon+second, chat("a")); v.Reason != "" || v.Warning {
		t.Errorf("another model: %+v", v)
	}
	if v := gates[1].Latency(noon+second+clock.Moment(opens)+1000, chat("b")); v.Outcome.Refuses() || !v.Warning {
		t.Errorf("by decay alone: %+v", v)
	}
	m := look(t, gates[1], noon+second)["b"]
	if m.TTFT.State != Refusing || m.TTFT.Value != 2000 || m.TTFT.LastReason != "ttft_2000ms_over_1000ms" || m.TTFT.RecoversIn > opens || m.TTFT.RecoversIn < opens-1000 {
		t.Errorf("%+v", m.TTFT)
	}
	if m.ITL.State != Passing || m.ITL.LastReason != "" {
		t.Errorf("%+v", m.ITL)
	}
	observe(t, gates[0], noon, "c", latency.Sample{ITL: 95 * millisecond})
	if v := gates[1].Latency(noon, chat("c")); v.Outcome.Refuses() || !v.Warning || look(t, gates[1], noon)["c"].ITL.State != Warning {
		t.Errorf("%+v", v)
	}
	observe(t, gates[0], noon+second, "d", latency.Sample{ITL: 150 * millisecond})
	if v := gates[1].Latency(noon+second, chat("d")); v.Reason != gate.ITL || v.Text.String() != "itl_150ms_over_100ms" {
		t.Errorf("%+v", v)
	}
}

func TestLatencyOfAllModels(t *testing.T) {
	u := upstream()
	u.Latency.Per = config.LatencyGlobal
	gates := workers(u, newStore(), 2)
	serve(t, gates[1], noon, chat("a"), Outcome{Result: Succeeded, Stream: true, Duration: second})
	observe(t, gates[0], noon+second, "a", latency.Sample{TTFT: 5 * second})
	if v := gates[1].Latency(noon+second, chat("b")); !v.Outcome.Refuses() || v.Reason != gate.TTFT {
		t.Errorf("%+v", v)
	}
	if m := look(t, gates[1], noon+second); m["all"].TTFT.State != Refusing || m["all"].Breaker.State != "" || m["a"].TTFT.State != "" ||
		m["a"].Breaker.State != "CLOSED" {
		t.Errorf("%+v", m)
	}
}

func TestUnaryAnswersCloseNothing(t *testing.T) {
	g := workers(upstream(), newStore(), 1)[0]
	serve(t, g, noon, chat("a"), Outcome{Result: Succeeded, Duration: 50 * second})
	if v := g.Latency(noon+50*second, chat("a")); v.Outcome.Refuses() || look(t, g, noon+50*second)["a"].Unary != 50_000 {
		t.Errorf("%+v", v)
	}
}

func TestRequestsOwnBounds(t *testing.T) {
	g := workers(upstream(), newStore(), 1)[0]
	observe(t, g, noon, "a", latency.Sample{TTFT: 600 * millisecond, ITL: 40 * millisecond})
	for _, test := range []struct {
		ttft, itl time.Duration
		reason    string
		text      string
	}{
		{0, 0, "", ""},
		{700 * millisecond, 50 * millisecond, "", ""},
		{500 * millisecond, 0, gate.SLOTTFT, "slo_ttft_600ms_over_500ms"},
		{0, 20 * millisecond, gate.SLOITL, "slo_itl_40ms_over_20ms"},
	} {
		r := chat("a")
		r.TTFT, r.ITL = test.ttft, test.itl
		if v := g.Latency(noon, r); v.Reason != test.reason || v.Text.String() != test.text || v.Outcome.Refuses() != (test.reason != "") {
			t.Errorf("%+v: %+v, %s", test, v, v.Text.String())
		}
	}
}

func TestThrottleGate(t *testing.T) {
	gates := workers(upstream(), newStore(), 2)
	ask := func(g *Gates, now clock.Moment, p config.Priority) gate.Verdict {
		return g.Throttle(now, &Request{Model: "a", Priority: p, Memory: 0.80})
	}
	ask(gates[0], noon, config.Normal)
	refused := map[config.Priority]int{}
	for i := range int64(1000) {
		for p := config.Low; p <= config.Urgent; p++ {
			v := ask(gates[i%2], noon+clock.Moment(i*millisecond), p)
			if v.Err != nil {
				t.Fatal(v.Err)
			}
			if v.Outcome.Refuses() {
				refused[p]++
				if v.Gate != gate.Throttle || v.Reason != gate.GPUMemory || v.Text.String() != "gpu_memory_80%_over_75%" || v.Wait < second || v.Wait > 60*second {
					t.Fatalf("%+v", v)
				}
			}
		}
	}
	// Severity is (0.80 - 0.75) / (1 - 0.75), a fifth of all, and so nearly all of LOW, which is a quarter, once that is known.
	if n := refused[config.Low]; n < 600 || n > 800 || refused[config.Normal] != 0 || refused[config.High]+refused[config.Urgent] != 0 {
		t.Errorf("%v", refused)
	}
	s, err := gates[0].Snapshot(noon + second)
	if err != nil || len(s.Throttle) != 4 || s.Throttle[0].State != Refusing || math.Abs(s.Severity-0.2) > 1e-9 || s.Throttle[3].Value != 0.8 {
		t.Errorf("%+v, %v", s, err)
	}
	// By the time nobody has asked for long it is not known any more, and the first request finds it cleared.
	if v := gates[1].Throttle(noon+60*second, chat("a")); v.Outcome.Refuses() {
		t.Errorf("%+v", v)
	}
}

// The upstream's requests are counted together, in all workers; none is counted twice or lost.
func TestWorkersCountTogether(t *testing.T) {
	u := only(gate.Throttle)
	gates := workers(u, newStore(), 3)
	now := noon
	for range 100 {
		for i := range 30 {
			r := chat("a")
			if v := gates[i%3].Throttle(now, r); v.Reason != "" || v.Err != nil {
				t.Fatalf("%+v", v)
			}
			if err := gates[i%3].Finish(now, r, quick); err != nil {
				t.Fatal(err)
			}
			now += second / 30
		}
		for _, g := range gates {
			if g.Period() != mergeEvery {
				t.Fatalf("period %d", g.Period())
			}
		}
	}
	now += clock.Moment(mergeEvery)
	for _, g := range gates {
		if err := g.Tick(now); err != nil || g.Period() != 0 {
			t.Fatal(err)
		}
	}
	s, err := gates[0].Snapshot(now)
	if err != nil {
		t.Fatal(err)
	}
	if qps, p99 := s.Throttle[1], s.Throttle[2]; math.Abs(qps.Value-30) > 3 || qps.Threshold < 45 || math.Abs(p99.Value/500-1) > 1.0/32 {
		t.Errorf("%+v %+v", qps, p99)
	}
}

func TestShadowLetsPass(t *testing.T) {
	u := upstream()
	u.Breaker.Mode, u.Latency.Mode, u.Throttle.Mode = config.Shadow, config.Shadow, config.Shadow
	g := workers(u, newStore(), 1)[0]
	for range 40 { // the ones after the twentieth would have been refused
		r := chat("a")
		r.Memory = 0.9
		if v := judge(t, g, noon, r); v.Outcome.Refuses() {
			t.Fatalf("%+v", v)
		}
		bad := ending{Outcome{Result: Failed, Stream: true}, 5 * second}
		if err := bad.finish(g, noon, r); err != nil {
			t.Fatal(err)
		}
	}
	r := &Request{Model: "a", Priority: config.Low}
	b, l, th := g.Breaker(noon, r), g.Latency(noon, r), g.Throttle(noon+second, r)
	if b.Reason != gate.BreakerOpen || l.Reason != gate.TTFT || th.Reason != gate.GPUMemory || b.Outcome.Refuses() || l.Outcome.Refuses() || th.Outcome.Refuses() {
		t.Errorf("%+v\n%+v\n%+v", b, l, th)
	}
	now := noon + 60*second // a probe is taken all the same, and closes it
	probe, beside := chat("a"), chat("a")
	if v := g.Breaker(now, probe); v.Reason != "" {
		t.Errorf("%+v", v)
	}
	if v := g.Breaker(now, beside); v.Reason != gate.Probing || v.Outcome.Refuses() {
		t.Errorf("%+v", v)
	}
	_ = g.Finish(now, beside, Outcome{Result: Failed})
	_ = g.Finish(now, probe, Outcome{Result: Succeeded})
	if v := g.Breaker(now, chat("a")); v.Reason != "" {
		t.Errorf("%+v", v)
	}
}

func TestReload(t *testing.T) {
	store := newStore()
	fails(t, workers(upstream(), store, 1)[0], noon, "a", 20)
	g := New(NewSettings(upstream(), config.Enforce), store, "x/a1/up", 99)
	if v := g.Breaker(noon+second, chat("a")); !v.Outcome.Refuses() {
		t.Errorf("the state did not survive: %+v", v)
	}
}

func TestStoreFails(t *testing.T) {
	store := newStore()
	g := workers(upstream(), store, 1)[0]
	fails(t, g, noon, "a", 20)
	broken := errors.New("broken")
	store.fail = broken
	r := chat("a")
	for _, v := range []gate.Verdict{g.Breaker(noon+second, r), g.Latency(noon+second, r), g.Throttle(noon+second, r)} {
		if v.Outcome.Refuses() || !errors.Is(v.Err, broken) {
			t.Errorf("%+v", v)
		}
	}
	if err := g.Finish(noon+second, r, quick); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := g.Snapshot(noon + second); !errors.Is(err, broken) {
		t.Error(err)
	}
	store.fail = nil
	if v := g.Breaker(noon+2*second, chat("a")); !v.Outcome.Refuses() {
		t.Errorf("%+v", v)
	}
}

// A record that is never written for the crowd: a closed breaker needs no write; one that may be probed refuses.
func TestContention(t *testing.T) {
	store := newStore()
	gates := workers(only(gate.Breaker), store, 2)
	fails(t, gates[0], noon, "a", 20)
	crowd := func() { // another worker is always first
		for key := range store.versions {
			store.versions[key]++
		}
	}
	store.conflict = crowd
	now := noon + 60*second
	r := chat("a")
	if v := gates[1].Breaker(now, r); !v.Outcome.Refuses() || v.Reason != gate.Probing || !errors.Is(v.Err, record.ErrContended) {
		t.Errorf("%+v", v)
	}
	if err := gates[1].Cancel(now, r); err != nil || gates[1].probing != 0 {
		t.Errorf("%v, %d probes", err, gates[1].probing)
	}
	if err := gates[1].Finish(now, chat("b"), Outcome{Result: Succeeded}); err != nil {
		t.Errorf("nothing to write: %v", err)
	}
	x := chat("b")
	gates[1].Breaker(now, x)
	if err := gates[1].Finish(now, x, Outcome{Result: Succeeded}); !errors.Is(err, record.ErrContended) {
		t.Error(err)
	}
	store.conflict = nil
	if v := gates[1].Breaker(now+1, chat("a")); v.Outcome.Refuses() {
		t.Errorf("%+v", v)
	}
}

// What a lost race has decided is decided again on what the other worker wrote.
func TestLostRace(t *testing.T) {
	store := newStore()
	gates := workers(only(gate.Breaker), store, 2)
	fails(t, gates[0], noon, "a", 20)
	now := noon + 60*second
	mine, theirs := chat("a"), chat("a")
	once := false
	store.conflict = func() {
		if !once {
			once = true
			if v := gates[1].Breaker(now, theirs); v.Outcome.Refuses() {
				t.Errorf("%+v", v)
			}
		}
	}
	if v := gates[0].Breaker(now, mine); !v.Outcome.Refuses() || v.Reason != gate.Probing || v.Err != nil {
		t.Errorf("two workers have the same probe: %+v", v)
	}
}

func TestDamagedRecords(t *testing.T) {
	store := newStore()
	g := workers(upstream(), store, 1)[0]
	fails(t, g, noon, "a", 20)
	for key, value := range store.values {
		*value = []byte("damaged " + key)
		store.versions[key]++
	}
	g = workers(upstream(), store, 1)[0]
	if v := serve(t, g, noon+second, chat("a"), quick); v.Outcome.Refuses() {
		t.Errorf("%+v", v)
	}
	if n := g.Damaged(); n < 3 || g.Damaged() != 0 { // names, the model's place, throttle
		t.Errorf("%d damaged", n)
	}
	if m := look(t, g, noon+second); !strings.HasPrefix(m["a"].Name, "a") || m["a"].Breaker.State != "CLOSED" {
		t.Errorf("%+v", m)
	}
}
