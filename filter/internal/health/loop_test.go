package health

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
)

// The closed loop: gates in front of an LLM server whose latency grows with its load. It has slots for a batch; what finds none
// waits, first come first served, and gives up after patience. A token takes longer the more requests are in the batch.
const (
	slots     = 32
	patience  = 10 * second
	tokenTime = 10 * millisecond // of a request that is alone; twice that with half of the slots in use
	tick      = 10 * millisecond
	target    = second // the objective: time to first token
)

// client is a request on its way.
type client struct {
	r      *Request
	worker int
	came   clock.Moment
	tokens float64      // still to come
	first  clock.Moment // when the first one came
}

// loop is one run.
type loop struct {
	upstream *config.Upstream
	length   time.Duration
	seed     uint64

	gates        []*Gates
	waiting, run []*client
	result       score
}

// score is what came of it.
type score struct {
	arrived, refused, failed, served, good [config.Urgent + 1]int
	ttft                                   []int64 // of those that were served
	reasons                                map[string]int
}

func sum(counts [config.Urgent + 1]int) (n int) {
	for _, c := range counts {
		n += c
	}
	return n
}

// attainment is the share of the requests that were sent whose first token came in time.
func (s *score) attainment() float64 {
	return float64(sum(s.good)) / float64(max(sum(s.served)+sum(s.failed), 1))
}

// success is the share of those sent that were served at all.
func (s *score) success() float64 {
	return float64(sum(s.served)) / float64(max(sum(s.served)+sum(s.failed), 1))
}

func (s *score) p95() time.Duration {
	slices.Sort(s.ttft)
	return time.Duration(s.ttft[len(s.ttft)*95/100]).Round(time.Millisecond)
}

// kept is the share of a priority's arrivals that were served in time.
func (s *score) kept(p config.Priority) float64 {
	return float64(s.good[p]) / float64(max(s.arrived[p], 1))
}

// someone is a client's priority.
func someone(random *rand.Rand) config.Priority {
	switch n := random.IntN(100); {
	case n < 5:
		return config.Urgent
	case n < 20:
		return config.High
	case n < 70:
		return config.Normal
	default:
		return config.Low
	}
}

// rate is the arrivals a second: calm, with a burst of 30 seconds every 400 after the first five minutes.
func rate(since clock.Moment) float64 {
	if at := since % (400 * second); since > 300*second && at < 30*second {
		return 20
	}
	return 5
}

func (l *loop) play(t *testing.T) *score {
	random := rand.New(rand.NewPCG(l.seed, 7))
	if l.upstream != nil {
		l.gates = workers(l.upstream, newStore(), 2)
	} else {
		l.gates = make([]*Gates, 2)
	}
	l.result.reasons = map[string]int{}
	for now := noon; now < noon+clock.Moment(l.length); now += tick {
		since := now - noon
		for random.Float64() < rate(since)*float64(tick)/float64(second) {
			c := &client{worker: random.IntN(2), came: now, tokens: 20 + 80*random.ExpFloat64()}
			c.r = &Request{Model: "m", Priority: someone(random)}
			l.arrive(t, now, c)
		}
		l.serve(t, now)
		for _, g := range l.gates {
			if err := g.Tick(now); err != nil {
				t.Fatal(err)
			}
		}
	}
	return &l.result
}

func (l *loop) arrive(t *testing.T, now clock.Moment, c *client) {
	l.result.arrived[c.r.Priority]++
	if v := judge(t, l.gates[c.worker], now, c.r); v.Outcome.Refuses() {
		l.result.refused[c.r.Priority]++
		l.result.reasons[v.Gate+"/"+v.Reason]++
		return
	}
	l.gates[c.worker].Sent(c.r)
	l.waiting = append(l.waiting, c)
}

// serve lets a tick pass in the server.
func (l *loop) serve(t *testing.T, now clock.Moment) {
	for len(l.waiting) > 0 && (now-l.waiting[0].came > patience || len(l.run) < slots) {
		c := l.waiting[0]
		l.waiting = l.waiting[1:]
		if now-c.came > patience {
			l.result.failed[c.r.Priority]++
			l.finish(t, now, c, Outcome{Result: Failed, Stream: true})
			continue
		}
		l.run = append(l.run, c)
	}
	each := float64(tokenTime) * (1 + float64(len(l.run))/(slots/2))
	running := l.run[:0]
	for _, c := range l.run {
		if c.first == 0 { // its prompt is read in this tick
			c.first = now + clock.Moment(each)
			if err := l.gates[c.worker].Observe(now, c.r, latency.Sample{TTFT: time.Duration(c.first - c.came)}); err != nil {
				t.Fatal(err)
			}
		}
		c.tokens -= float64(tick) / each
		if c.tokens > 0 {
			running = append(running, c)
			continue
		}
		l.result.served[c.r.Priority]++
		l.result.ttft = append(l.result.ttft, int64(c.first-c.came))
		if c.first-c.came <= target {
			l.result.good[c.r.Priority]++
		}
		l.finish(t, now, c, Outcome{Result: Succeeded, Stream: true, Duration: now.Sub(c.came), ITL: time.Duration(each)})
	}
	l.run = running
}

func (l *loop) finish(t *testing.T, now clock.Moment, c *client, o Outcome) {
	if err := l.gates[c.worker].Finish(now, c.r, o); err != nil {
		t.Fatal(err)
	}
}

// With the gates, what is sent is answered in time; and more is answered in time than without. The figures are of an hour with
// nine bursts of four times the usual load, twice what the server can do.
func TestGatesKeepTheObjective(t *testing.T) {
	prompt := only(gate.Latency) // a threshold of half of the objective, and a short memory
	prompt.Latency.TTFT, prompt.Latency.TimeConstant = time.Second/2, 5*time.Second
	both := upstream()
	both.Latency = prompt.Latency
	fusing := only(gate.Throttle)
	fusing.Throttle.Fusion = true
	for _, seed := range []uint64{1, 2} {
		scores := map[string]*score{}
		for _, run := range []struct {
			name     string
			upstream *config.Upstream
		}{
			{"off", nil}, {"latency", only(gate.Latency)}, {"throttle", only(gate.Throttle)}, {"throttle, fused", fusing}, {"all", upstream()},
			{"latency, prompt", prompt}, {"all, prompt", both},
		} {
			l := loop{upstream: run.upstream, length: time.Hour, seed: seed}
			s := l.play(t)
			scores[run.name] = s
			s.log(t, run.name, l.length)
		}
		off := scores["off"]
		for name, test := range map[string]struct{ points, success, inTime float64 }{
			"latency": {0.20, 0.999, 1.05}, "throttle": {0.064, 0.98, 0.95}, "throttle, fused": {0.064, 0.98, 0.95}, "all": {0.15, 0.995, 0.98},
			"latency, prompt": {0.20, 0.999, 1.04}, "all, prompt": {0.20, 0.999, 1.02},
		} {
			s := scores[name]
			if s.attainment() < off.attainment()+test.points || s.success() < test.success ||
				float64(sum(s.good)) < test.inTime*float64(sum(off.good)) {
				t.Errorf("seed %d, %s: attainment %.3f, success %.3f, %d in time of %d without", seed, name, s.attainment(), s.success(),
					sum(s.good), sum(off.good))
			}
		}
		if p95 := scores["latency, prompt"].p95(); p95 > time.Duration(target) || off.p95() < 5*time.Second {
			t.Errorf("seed %d: P95 %v, and %v without", seed, p95, off.p95())
		}
		if s := scores["throttle"]; s.refused[config.Urgent]+s.refused[config.High] > 0 || s.kept(config.Low) >= s.kept(config.Normal) ||
			s.kept(config.Normal) >= s.kept(config.High)+0.01 { // NORMAL meets bursts as often as HIGH does, but for chance
			t.Errorf("seed %d: the throttle does not shed by priority: %+v", seed, s)
		}
	}
}

func (s *score) log(t *testing.T, name string, length time.Duration) {
	a := s.arrived
	t.Logf("%-15s in time %5.1f %% of what was sent, served %5.1f %%, P95 of TTFT %6v; in time %.2f/s of %.2f/s (urgent %.0f %%, high %.0f %%, "+
		"normal %.0f %%, low %.0f %%); refused %v", name, 100*s.attainment(), 100*s.success(), s.p95(),
		float64(sum(s.good))/length.Seconds(), float64(sum(a))/length.Seconds(), 100*s.kept(config.Urgent), 100*s.kept(config.High),
		100*s.kept(config.Normal), 100*s.kept(config.Low), s.reasons)
}
