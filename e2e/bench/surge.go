package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// The surge: a server whose answers take longer the more it has to do, with bursts of more than it can do.
const (
	surgeSlots    = 10
	surgePrompt   = 20 * time.Millisecond // to the first token, once there is a slot
	surgeToken    = 25 * time.Millisecond // to the next one, of a request that is alone
	surgeSlowdown = 0.06                  // what each other request adds to that, of it
	surgeTokens   = 10                    // of an answer, in the mean; the lengths are from half of it to one and a half

	surgeTarget   = 200 * time.Millisecond // the objective: time to the first token
	surgePatience = 300 * time.Millisecond // after which a client gives up, and asks once more
	surgeCalm     = 11                     // requests a second between the bursts
	// surgeLost is the share of the requests that may be given up before Envoy has them. With more a round is repeated.
	surgeLost = 0.01
	// surgeUnit is the length of the trace in its parts: bursts are placed by it.
	surgeUnit = 10
)

var errBusy = errors.New("the machine is too slow, or too busy, for clients that wait as briefly")

// bursts are when more is asked, in parts of surgeUnit of the trace, for how long, and how many requests a second come then.
var bursts = []struct {
	at     float64
	length time.Duration
	rate   float64
}{{4, 3 * time.Second, 50}, {6, 4 * time.Second, 37}, {8.5, 2 * time.Second, 75}}

// The gates as an operator would set them for that objective. What the defaults measure in minutes is a fifth here, as the
// objective of 200 ms is a fifth of the default threshold of a second.
const (
	surgeLatency  = `"latency":{"mode":"enforce","ttft":"200ms","itl":"100ms","timeConstant":"1s"}`
	surgeThrottle = `"throttle":{"mode":"enforce","qps":{"window":"60s"},"p99":{"max":"1600ms","period":"2s"}}`
	surgeBreaker  = `"breaker":{"mode":"enforce","window":"6s","openFor":"12s"}`
	surgeWaits    = `"queue":{"whenFull":"dropLowest","maxWait":{"urgent":"150ms","high":"150ms","normal":"150ms","low":"100ms"}}`
	surgeQueue    = `"concurrency":{"max":10,"reserved":{"urgent":1,"high":2}},` + surgeWaits
	surgeAuto     = `"concurrency":{"max":"auto","reserved":{"urgent":1,"high":2}},` + surgeWaits // the same, but that nobody says how many slots
	surgeAlone    = `"concurrency":{"max":"auto"}`
)

// surgeArm is one way to meet the surge.
type surgeArm struct{ name, config string }

func surgeArms() []surgeArm {
	with := func(parts string) string {
		return `{"requestHold":"stopIteration","upstreams":[{"name":"surge",` + parts + `}]}`
	}
	gates := surgeBreaker + "," + surgeLatency + "," + surgeThrottle
	return []surgeArm{
		{"off", ""},
		{"latency", with(surgeLatency)},
		{"throttle", with(surgeThrottle)},
		{"all three gates", with(gates)},
		{"slots and queue", with(surgeQueue)},
		{"auto and queue", with(surgeAuto)},
		{"auto alone", with(surgeAlone)},
		{"breaker, latency, slots and queue", with(surgeBreaker + "," + surgeLatency + "," + surgeQueue)},
	}
}

// chooseArms gives the arms of some names; of none all.
func chooseArms(names string) ([]surgeArm, error) {
	arms := surgeArms()
	if names == "" {
		return arms, nil
	}
	var chosen []surgeArm
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(arms, func(a surgeArm) bool { return a.name == strings.TrimSpace(name) })
		if i < 0 {
			return nil, fmt.Errorf("-surge: there is no %q", name)
		}
		chosen = append(chosen, arms[i])
	}
	return chosen, nil
}

// asked is one request of a trace.
type asked struct {
	due      time.Duration
	priority string
	tokens   int
	prompt   int           // tokens
	direct   bool          // it comes to the server past the filter, and isn't judged
	holds    time.Duration // it keeps a slot for so long
}

// surgeTrace is the same for each run of a length: the arrivals are those of a Poisson process whose rate the bursts change.
func surgeTrace(length time.Duration) (trace []asked) {
	random := rand.New(rand.NewPCG(6, 3))
	most := 0.0
	for _, b := range bursts {
		most = max(most, b.rate)
	}
	for at := 0.0; ; {
		at += random.ExpFloat64() / most
		due := time.Duration(at * float64(time.Second))
		if due >= length {
			return trace
		}
		if random.Float64()*most < surgeRate(due, length) {
			trace = append(trace, asked{due: due, priority: pick(random.IntN(100)), tokens: surgeTokens/2 + random.IntN(surgeTokens+1)})
		}
	}
}

// surgeRate is how many requests a second come at a time of the trace.
func surgeRate(at, length time.Duration) float64 {
	for _, b := range bursts {
		from := time.Duration(b.at / surgeUnit * float64(length))
		if at >= from && at < from+b.length {
			return b.rate
		}
	}
	return surgeCalm
}

// surgeCapacity is how many requests a second the server can finish.
func surgeCapacity() float64 {
	token := surgeToken.Seconds() * (1 + surgeSlowdown*(surgeSlots-1))
	return surgeSlots / (surgePrompt.Seconds() + surgeTokens*token)
}

// measureSurge runs all arms at the same time, each with an Envoy, a server and clients of its own, so that all have the same
// disturbances; and again in the next round.
func (b *bench) measureSurge(ctx context.Context) error {
	surge := trace{"surge", b.surgeTime, surgeTrace(b.surgeTime)}
	arms, err := chooseArms(b.surgeOnly)
	if err != nil {
		return err
	}
	b.surges, err = b.meet(ctx, arms, surge, b.surgeRounds, b.surgeRounds)
	return err
}

// meet has all arms meet a trace so many times, and gives what came of it, by arm and round. A round in which the machine was too busy is repeated, as often as may be.
func (b *bench) meet(ctx context.Context, arms []surgeArm, t trace, rounds, repeats int) ([][]*surged, error) {
	runs := make([][]*surged, len(arms))
	for round := 0; round < rounds; {
		met, err := b.surgeRound(ctx, arms, t)
		if errors.Is(err, errBusy) && repeats > 0 {
			b.say("%s, round %d, is repeated: %v", t.name, round+1, err)
			repeats--
			continue
		}
		if err != nil {
			return nil, err
		}
		round++
		line := ""
		for i, s := range met {
			runs[i] = append(runs[i], s)
			line += fmt.Sprintf("  %s: %.1f %% of sent, %.1f %% of all, p95 %.0f ms, %.1f %% refused, %.0f %% of these for nothing", arms[i].name,
				100*s.sentInTime, 100*s.allInTime, s.p95, s.refusedShare(), 100*s.needless)
			if b.surgeOnly != "" {
				line += s.lanes()
			}
			line += ";"
		}
		b.say("%s, round %d of %d:%s", t.name, round, rounds, line)
	}
	return runs, nil
}

// surgeRound has all arms meet a trace at the same time.
func (b *bench) surgeRound(ctx context.Context, arms []surgeArm, t trace) ([]*surged, error) {
	envoys, servers := make([]*envoy, len(arms)), make([]string, len(arms))
	for i, arm := range arms {
		sim := llmsim.New(llmsim.Options{
			Slots: surgeSlots, Slowdown: surgeSlowdown, TTFT: surgePrompt, ITL: surgeToken, Tokens: surgeTokens, NoHistory: true,
		})
		defer func() { _ = sim.Close() }()
		address, err := sim.Start("127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		if envoys[i], err = b.startEnvoy(ctx, b.scenario("surge", address, arm.config), manyWorkers, manyClients); err != nil {
			return nil, err
		}
		defer envoys[i].stop()
		servers[i] = "http://" + address
	}
	runs, stories := make([]*surged, len(arms)), make([][]told, len(arms))
	var all sync.WaitGroup
	for i, e := range envoys {
		all.Go(func() { stories[i] = replay(ctx, e.gateway, servers[i], t.asked) })
	}
	all.Wait()
	for i, e := range envoys {
		runs[i] = judgeSurge(stories[i], t)
		if err := e.checkSurge(ctx, arms[i], runs[i]); err != nil {
			return nil, err
		}
	}
	return runs, ctx.Err()
}

// checkSurge finds out whether several workers were asked (where few clients ask at a time there are few connections), nearly all that was sent came to
// Envoy before its client gave up, and the filter counted each of these, without an error.
func (e *envoy) checkSurge(ctx context.Context, arm surgeArm, s *surged) error {
	if err := e.checkWorkers(ctx, manyWorkers/2); err != nil {
		return err
	}
	for deadline := time.Now().Add(statsTimeout); ; {
		c, err := e.counters(ctx)
		if err != nil {
			return e.explain(err)
		}
		came := int(c["http.gateway.downstream_rq_total"])
		if lost := s.attempts - came; part(lost, s.attempts) > surgeLost {
			return fmt.Errorf("%d of %d requests did not come to Envoy: %w", lost, s.attempts, errBusy)
		} else if arm.config != "" {
			err = expectAll(c, map[string]int{"wasmcustom.spillway_requests_total": came, "wasmcustom.spillway_errors_total": 0})
		}
		if err == nil || time.Now().After(deadline) {
			return e.explain(err)
		}
		pause(envoyproc.PollInterval)
	}
}

// replay sends the trace, each request when it is due, however the ones before are answered. It tells of those that went by the gateway.
func replay(ctx context.Context, gateway, server string, trace []asked) []told {
	client := newScenarioClient(requestTimeout)
	defer client.CloseIdleConnections()
	stories := make([]told, len(trace))
	var running sync.WaitGroup
	began := time.Now()
	for i, a := range trace {
		pause(time.Until(began.Add(a.due)))
		running.Go(func() {
			if a.direct {
				_ = attend(ctx, client, server, a, i)
				return
			}
			stories[i] = insist(ctx, client, gateway, a, i, began)
		})
	}
	running.Wait()
	return slices.DeleteFunc(stories, func(t told) bool { return len(t.attempts) == 0 })
}

// told is what came of a request: of one attempt, or two.
type told struct {
	asked
	attempts []attempt
}

// insist asks, and once more if it was refused, when it was told to, or if it had to wait for too long.
func insist(ctx context.Context, client *http.Client, gateway string, a asked, i int, began time.Time) told {
	t := told{asked: a}
	for range 2 {
		at := time.Since(began)
		last := attend(ctx, client, gateway, a, i)
		last.at = at
		t.attempts = append(t.attempts, last)
		if last.status == http.StatusOK || ctx.Err() != nil {
			break
		}
		pause(last.retryAfter)
	}
	return t
}

// surged is one run of one arm. Shares are of one; what was "sent" are attempts that came to the server.
type surged struct {
	attempts, sent int
	sentInTime     float64 // of what was sent: the first token came in time
	sentAnswered   float64 // of what was sent: the client did not give up
	allInTime      float64 // of all requests: the first token came in time, at the first attempt
	allAnswered    float64 // of all requests: at the second attempt, too
	goodput        float64 // attempts in time, a second
	needless       float64 // of those refused at the first attempt: each would have been in time, had it alone been let pass
	p50, p95, p99  float64 // milliseconds to the first token, of what was answered
	priorities     map[string]*lane
	course         course
}

// lanes says what became of the priorities' requests.
func (s *surged) lanes() (text string) {
	for _, p := range priorities {
		l := s.priorities[p.name]
		text += fmt.Sprintf(", %s %.0f %% (refused %d of %d: %v)", p.name, 100*part(l.inTime, l.requests), l.refused, l.requests, l.reasons)
	}
	return text
}

// lane is what became of a priority's requests.
type lane struct {
	requests, inTime, refused int // refused: at the first attempt
	reasons                   map[string]int
}

// course is a run over time, by second of when a request was due.
type course struct {
	requests, inTime []float64
	ttft             [][]time.Duration // of first attempts; of a client that gave up, its patience
}

func judgeSurge(stories []told, met trace) *surged {
	s := &surged{priorities: map[string]*lane{}, needless: refusedForNothing(stories, met.asked)}
	seconds := int(math.Ceil(met.length.Seconds()))
	s.course = course{make([]float64, seconds), make([]float64, seconds), make([][]time.Duration, seconds)}
	for _, p := range priorities {
		s.priorities[p.name] = &lane{reasons: map[string]int{}}
	}
	var latencies []time.Duration
	sentInTime, answered, allInTime, allAnswered := 0, 0, 0, 0
	for _, t := range stories {
		for _, a := range t.attempts {
			s.attempts++
			if a.refused() {
				continue
			}
			s.sent++
			if a.status == http.StatusOK {
				answered++
				latencies = append(latencies, a.first)
			}
			if a.inTime() {
				sentInTime++
			}
		}
		first, last := t.attempts[0], t.attempts[len(t.attempts)-1]
		if first.inTime() {
			allInTime++
		}
		if last.status == http.StatusOK {
			allAnswered++
		}
		s.priorities[t.priority].add(first)
		s.course.add(int(t.due/time.Second), first)
	}
	s.sentInTime, s.sentAnswered = part(sentInTime, s.sent), part(answered, s.sent)
	s.allInTime, s.allAnswered = part(allInTime, len(stories)), part(allAnswered, len(stories))
	s.goodput = float64(sentInTime) / met.length.Seconds()
	if len(latencies) > 0 {
		at := func(q float64) float64 { return quantile(latencies, q).Seconds() * 1e3 }
		s.p50, s.p95, s.p99 = at(0.5), at(0.95), at(0.99)
	}
	return s
}

func part(n, of int) float64 { return float64(n) / float64(max(of, 1)) }

func (l *lane) add(a attempt) {
	l.requests++
	if a.inTime() {
		l.inTime++
	}
	if a.refused() {
		l.refused++
		l.reasons[a.reason]++
	}
}

func (c *course) add(second int, a attempt) {
	c.requests[second]++
	switch {
	case a.refused():
		return
	case a.inTime():
		c.inTime[second]++
	case a.status == 0:
		a.first = surgePatience
	}
	c.ttft[second] = append(c.ttft[second], a.first)
}
