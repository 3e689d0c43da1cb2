package autosize

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Half of a server goes, and comes back, while twice of what all of it can do is asked: `build/bench -slots=halves`, without Envoy.

const (
	halvesPart = 40 * second
	halvesWait = 1500 * time.Millisecond
	halvesLate = 500 * time.Millisecond
)

func halfGone(now time.Duration) bool { return now >= halvesPart && now < 2*halvesPart }

// halving is a server of twenty requests, and what is asked of it.
type halving struct {
	name    string
	server  func() server
	token   time.Duration // beside others
	lengths func(r *rand.Rand) (prompt, output int)
	whole   func(*Sample) bool
	failed  float64 // percent, at most, in the ten seconds after half has gone
	steady  float64 // percent of the time, at least
}

func halvings() []halving {
	even := func(r *rand.Rand) (int, int) { return 10, 5 + r.IntN(11) }
	skewed := func(r *rand.Rand) (int, int) { return 10, min(1+int(9*r.ExpFloat64()), 60) }
	prompts := func(r *rand.Rand) (int, int) {
		if r.IntN(5) == 0 {
			return 4000, 5 + r.IntN(11)
		}
		return 100, 5 + r.IntN(11)
	}
	serve := func(perToken, token time.Duration, slowdown float64) func() server {
		return func() server {
			return &slotted{slots: func(now time.Duration) int {
				if halfGone(now) {
					return 10
				}
				return 20
			}, prefill: 200 * time.Millisecond, perToken: perToken, token: token, slowdown: slowdown}
		}
	}
	const token = 80 * time.Millisecond
	plain := serve(0, token, 0)
	return []halving{
		{"streams", plain, token, even, streams, 20, 95},
		{"whole", plain, token, even, all, 25, 95},
		{"whole, lengths that differ much", plain, token, skewed, all, 20, 95},
		{"whole, long prompts among short", serve(100*time.Microsecond, token, 0), token, prompts, all, 30, 50},
		{"whole, slower beside others", serve(0, 50*time.Millisecond, 0.03), token, even, all, 20, 95},
		{"whole, four replicas", func() server { return newReplicas() }, token, even, all, 40, 60},
		{"half of each", plain, token, even, half, 20, 75},
	}
}

// replicas are four servers of five slots, of which that gets a request that has the fewest. Two of them get none while half has gone.
type replicas struct{ all []*slotted }

func newReplicas() *replicas {
	r := &replicas{}
	for range 4 {
		r.all = append(r.all, &slotted{slots: func(time.Duration) int { return 5 }, prefill: 200 * time.Millisecond, token: 80 * time.Millisecond})
	}
	return r
}

func (r *replicas) take(w *lab, j *job) {
	there := r.all
	if halfGone(w.now) {
		there = there[:2]
	}
	slices.MinFunc(there, func(a, b *slotted) int { return a.running + len(a.queue) - b.running - len(b.queue) }).take(w, j)
}

func (r *replicas) drop(j *job) { j.gone = true }

func (r *replicas) load() (sum Load) {
	for _, s := range r.all {
		l := s.load()
		sum.Running, sum.Waiting = sum.Running+l.Running, sum.Waiting+l.Waiting
	}
	return sum
}

// oracle knows how many slots there are, so long after they changed.
type oracle struct {
	lab   *lab
	after time.Duration
}

func (o *oracle) begin(w *lab) { o.lab = w }
func (o *oracle) slots() int {
	if halfGone(o.lab.now - o.after) {
		return 10
	}
	return 20
}
func (o *oracle) record(*Sample, time.Duration) {}

// halved is what came of one run.
type halved struct {
	right  [2]time.Duration // until the slots were right within a tenth, after half had gone and after it had come back
	failed float64          // percent of those sent in the ten seconds after half had gone that came to nothing, or late
	steady float64          // the least percentage of a part, beginning when half of it is over, in which the slots were right within a fifth
}

func (h *halving) play(z sizer, seed uint64) (r halved) {
	jobs := poisson(seed, 3*halvesPart, func(time.Duration) float64 { return 40 }, 40, h.lengths)
	sc := &scene{length: 3*halvesPart + 10*second, target: second, maxWait: halvesWait, server: h.server, jobs: func() []*job { return jobs }}
	o := play(sc, z)
	sent, failed := 0.0, 0.0
	for _, j := range jobs {
		if j.inFlight == 0 || j.due < halvesPart || j.due >= halvesPart+10*second {
			continue
		}
		sent++
		idle := 200*time.Millisecond + time.Duration(j.prompt)*100*time.Microsecond + time.Duration(j.output-1)*h.token
		if j.ended == 0 || j.ended-j.due > idle+halvesWait+halvesLate {
			failed++
		}
	}
	r.failed, r.steady = 100*failed/sent, 100
	if len(o.course) == 0 {
		return r
	}
	r.right = [2]time.Duration{rightAfter(o.course, halvesPart, 10), rightAfter(o.course, 2*halvesPart, 20)}
	for i, right := range []int{20, 10, 20} {
		from := time.Duration(i) * halvesPart
		r.steady = min(r.steady, steadiness(o.course, from+halvesPart/2, from+halvesPart, float64(right)))
	}
	return r
}

// learnedAt is how many slots there were at a time.
func learnedAt(course []point, at time.Duration) int {
	i, _ := slices.BinarySearchFunc(course, at, func(p point, at time.Duration) int { return int(p.at - at) })
	return course[max(i-1, 0)].learned
}

// rightAfter is how long after a time the slots were right within a tenth, and stayed so for two seconds.
func rightAfter(course []point, from time.Duration, right int) time.Duration {
	in := 0
	for at := from + second/2; at < from+halvesPart; at += second / 2 {
		if slots := learnedAt(course, at); 10*max(slots-right, right-slots) > max(right, 10) {
			in = 0
		} else if in++; in == 4 {
			return at - from - 3*second/2
		}
	}
	return halvesPart
}

// steadiness is in how much of a time, in percent, there were as many slots within a fifth.
func steadiness(course []point, from, to time.Duration, middle float64) float64 {
	good, n := 0.0, 0.0
	for at := from; at < to; at += second / 10 {
		n++
		if math.Abs(float64(learnedAt(course, at))-middle) <= 0.2*middle {
			good++
		}
	}
	return 100 * good / n
}

// After half of a server has gone, and come back, the slots are right within 20 s, and few of those who were sent there until then fail: hardly more than if
// somebody who knows it had told two seconds later. `go test -v -run TestHalves` prints the table of docs/design.md.
func TestHalves(t *testing.T) {
	const seeds = 4
	list := halvings()
	if list[1].play(&oracle{}, 23).failed > 1 {
		t.Error("some fail of those who are sent to the server by somebody who knows it")
	}
	for _, after := range []time.Duration{0, 2 * second, 4 * second, time.Hour} {
		t.Logf("told after %v: %.0f %% failed", after, list[1].play(&oracle{after: after}, 23).failed)
	}
	for _, h := range list {
		var down, up, longest time.Duration
		failed, steady := 0.0, 0.0
		for n := range uint64(seeds) {
			r := h.play(&answering{sizer: newLittle(), whole: h.whole}, 23+n)
			down, up, longest = down+r.right[0]/seeds, up+r.right[1]/seeds, max(longest, r.right[0])
			failed, steady = failed+r.failed/seeds, steady+r.steady/seeds
		}
		t.Logf("| %s | %.1f (%.1f) | %.1f | %.0f | %.0f |", h.name, down.Seconds(), longest.Seconds(), up.Seconds(), failed, steady)
		if longest > 20*second || up > 25*second || failed > h.failed || steady < h.steady {
			t.Errorf("%s: right after %v at most, and %v in the mean; %.0f %% failed; for %.0f %% of the time within a fifth", h.name, longest, up, failed, steady)
		}
	}
}
