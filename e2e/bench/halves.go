package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// Half of a server's slots go, and come back, while twice of what all of them can do is asked: how soon as many are learned, and what clients see.
const (
	halvesSlots = 20
	halvesFirst = 200 * time.Millisecond // to the first of halvesTokens
	halvesToken = 80 * time.Millisecond  // to each other
	// halvesTokens of an answer, in the mean: from half of them to one and a half. So an answer takes about a second.
	halvesTokens = 10
	halvesRate   = 2 * halvesSlots // requests a second

	halvesPart   = 40 * time.Second // each of the three: with all slots, with half of them, with all
	halvesSettle = 20 * time.Second // of a part, after which the slots are to be right
	halvesBurst  = 10 * time.Second // in which a burst of failures would be seen, after half of the slots have gone
	halvesSample = 500 * time.Millisecond

	halvesWait = 1500 * time.Millisecond // the longest wait in the queue
	// halvesLate is how long an answer may take beyond that, and beyond what it takes of an idle server.
	halvesLate = 500 * time.Millisecond
	halvesGive = 15 * time.Second // how long a client waits for an answer
)

// halvesArm is one way to have slots.
type halvesArm struct {
	name, slots string
	stream      bool
}

func halvesArms() []halvesArm {
	return []halvesArm{
		{"20 by hand, streams", "20", true},
		{"`auto`, streams", `"auto"`, true},
		{"`auto`, whole answers", `"auto"`, false},
	}
}

func (a halvesArm) config() string {
	return fmt.Sprintf(`{"requestHold":"stopIteration","upstreams":[{"name":"halves","concurrency":{"max":%s},
		"queue":{"max":500,"maxWait":{"urgent":%[2]q,"high":%[2]q,"normal":%[2]q,"low":%[2]q}}}]}`, a.slots, halvesWait)
}

// halvesShot is one request.
type halvesShot struct {
	due    time.Duration
	status int // 0: it gave up, or was broken off
	late   bool
}

// halvesRun is what came of an arm: its requests, and how many slots there were.
type halvesRun struct {
	shots []halvesShot
	slots []halvesCount
}

type halvesCount struct {
	at    time.Duration
	slots int
}

func (b *bench) measureHalves(ctx context.Context) error {
	arms := halvesArms()
	b.say("half of the slots go, and come back: %v", 3*halvesPart)
	b.halved = make([]*halvesRun, len(arms))
	errs := make([]error, len(arms))
	var running sync.WaitGroup
	for i, arm := range arms {
		running.Go(func() { b.halved[i], errs[i] = b.halve(ctx, arm) })
	}
	running.Wait()
	return cmp.Or(errors.Join(errs...), ctx.Err())
}

func (b *bench) halve(ctx context.Context, arm halvesArm) (*halvesRun, error) {
	sim := llmsim.New(llmsim.Options{Slots: halvesSlots, NoHistory: true, TTFT: halvesFirst, ITL: halvesToken})
	defer func() { _ = sim.Close() }()
	address, err := sim.Start("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	e, err := b.startEnvoy(ctx, b.scenario("halves", address, arm.config()), manyWorkers, manyClients)
	if err != nil {
		return nil, err
	}
	defer e.stop()
	client := newScenarioClient(halvesGive)
	defer client.CloseIdleConnections()
	r := &halvesRun{}
	began := time.Now()
	var watching sync.WaitGroup
	watching.Go(func() { r.watch(ctx, e, began) })
	for _, change := range []struct {
		at    time.Duration
		slots int
	}{{halvesPart, halvesSlots / 2}, {2 * halvesPart, halvesSlots}} {
		timer := time.AfterFunc(change.at, func() { sim.SetSlots(change.slots) })
		defer timer.Stop()
	}
	r.ask(ctx, client, e.gateway, arm.stream, began)
	watching.Wait()
	return r, e.checkWorkers(ctx, manyWorkers)
}

// watch notes how many slots there are.
func (r *halvesRun) watch(ctx context.Context, e *envoy, began time.Time) {
	for at := halvesSample; at < 3*halvesPart && ctx.Err() == nil; at += halvesSample {
		pause(time.Until(began.Add(at)))
		if c, err := e.counters(ctx); err == nil {
			r.slots = append(r.slots, halvesCount{time.Since(began), int(c.sum("wasmcustom.spillway_slots"))})
		}
	}
}

// ask sends requests at random times, the same in each arm, and waits for all answers.
func (r *halvesRun) ask(ctx context.Context, client *http.Client, gateway string, stream bool, began time.Time) {
	random := rand.New(rand.NewPCG(23, 5))
	var shots []*halvesShot
	var running sync.WaitGroup
	for at := 0.0; ; {
		at += random.ExpFloat64() / halvesRate
		s, tokens := &halvesShot{due: time.Duration(at * float64(time.Second))}, halvesTokens/2+random.IntN(halvesTokens+1)
		if s.due >= 3*halvesPart || ctx.Err() != nil {
			break
		}
		shots = append(shots, s)
		i := len(shots)
		pause(time.Until(began.Add(s.due)))
		running.Go(func() { s.ask(ctx, client, gateway, stream, tokens, i) })
	}
	running.Wait()
	for _, s := range shots {
		r.shots = append(r.shots, *s)
	}
}

func (s *halvesShot) ask(ctx context.Context, client *http.Client, gateway string, stream bool, tokens, i int) {
	answer := shoot(ctx, client, gateway, "", stream, i, tokens)
	s.status, s.late = answer.status, answer.latency > halvesFirst+time.Duration(tokens-1)*halvesToken+halvesWait+halvesLate
}

// refused says that the filter has refused it; failed, that it was sent to the server and came to nothing, or came late.
func (s *halvesShot) refused() bool {
	return s.status == http.StatusTooManyRequests || s.status == http.StatusServiceUnavailable
}
func (s *halvesShot) failed() bool { return !s.refused() && (s.status != http.StatusOK || s.late) }

// near says that so many slots are right within a tenth, in whole slots.
func near(slots, right int) bool { return 10*max(slots-right, right-slots) <= max(right, 10) }

// rightAfter is how long after a time the slots were right, and stayed so for four samples; never says that they weren't.
func (r *halvesRun) rightAfter(from, to time.Duration, right int) string {
	in := 0
	for _, c := range r.slots {
		switch {
		case c.at < from || c.at >= to:
		case !near(c.slots, right):
			in = 0
		default:
			if in++; in == 4 {
				return fmt.Sprintf("%.1f", (c.at - from - 3*halvesSample).Seconds())
			}
		}
	}
	return "never"
}

// span is the least and the most slots in a time, and how much of it they were right.
func (r *halvesRun) span(from, to time.Duration, right int) string {
	var counts []int
	good := 0
	for _, c := range r.slots {
		if c.at >= from && c.at < to {
			counts = append(counts, c.slots)
			if near(c.slots, right) {
				good++
			}
		}
	}
	if len(counts) == 0 {
		return ""
	}
	return fmt.Sprintf("%d to %d (%.0f %%)", slices.Min(counts), slices.Max(counts), 100*part(good, len(counts)))
}

// failures are those of the requests that were sent to the server, in percent, that were due in a time or, with not, at another.
func (r *halvesRun) failures(from, to time.Duration, not bool) string {
	failed, sent := 0, 0
	for i := range r.shots {
		if s := &r.shots[i]; !s.refused() && s.due >= halvesSettle && (s.due >= from && s.due < to) != not {
			sent++
			if s.failed() {
				failed++
			}
		}
	}
	return fmt.Sprintf("%.1f", 100*part(failed, sent))
}

// answered is how many answers a second came in time, of requests due from some time on until another.
func (r *halvesRun) answered(from, to time.Duration) string {
	n := 0
	for i := range r.shots {
		if s := &r.shots[i]; s.due >= from && s.due < to && s.status == http.StatusOK && !s.late {
			n++
		}
	}
	return fmt.Sprintf("%.1f", float64(n)/(to-from).Seconds())
}

// halvesTable has all arms.
func (b *bench) halvesTable() string {
	const half, whole, end = halvesPart, 2 * halvesPart, 3 * halvesPart
	t := newTable("", "slots before that: least to most (right)", "right, s after half had gone", "20 s after that", "right, s after they had come back", "20 s after that",
		"answers a second in time: with all", "with half", "with all again", "failed of those sent, %: in the 10 s after half had gone", "else")
	for i, arm := range halvesArms() {
		r := b.halved[i]
		t.row(arm.name, r.span(halvesSettle, half, halvesSlots), r.rightAfter(half, whole, halvesSlots/2), r.span(half+halvesSettle, whole, halvesSlots/2),
			r.rightAfter(whole, end, halvesSlots), r.span(whole+halvesSettle, end, halvesSlots), r.answered(halvesSettle, half), r.answered(half+halvesSettle, whole),
			r.answered(whole+halvesSettle, end), r.failures(half, half+halvesBurst, false), r.failures(half, half+halvesBurst, true))
	}
	return t.String()
}
