package autosize

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/predict"
)

// The scenes, without slots, tell what package predict is worth: of each request it is known when it comes whether its first token is expected in time.

// foreseer says how long a request will take to its first token, at most; 0 is not known.
type foreseer interface {
	most(now time.Duration, load predict.Load) time.Duration
	learn(now time.Duration, load predict.Load, ttft time.Duration, left bool)
}

// predicted is package predict.
type predicted struct{ predict.State }

func (p *predicted) most(now time.Duration, load predict.Load) time.Duration {
	x, known := p.Expect(noon.Add(now), load)
	if !known {
		return 0
	}
	return x.Most()
}

func (p *predicted) learn(now time.Duration, load predict.Load, ttft time.Duration, left bool) {
	if left {
		p.AtLeast(noon.Add(now), load, ttft)
	} else {
		p.Learn(noon.Add(now), load, ttft)
	}
}

// averaged is the latency gate's moving average, with a time constant, times a factor.
type averaged struct {
	constant, factor float64
	value            float64
	at               time.Duration
}

func (a *averaged) weight(now time.Duration) float64 {
	return -math.Expm1(-(now - a.at).Seconds() / a.constant)
}

func (a *averaged) most(now time.Duration, _ predict.Load) time.Duration {
	return time.Duration(a.factor * a.value * (1 - a.weight(now)) * float64(time.Second))
}

func (a *averaged) learn(now time.Duration, _ predict.Load, ttft time.Duration, _ bool) {
	if a.value == 0 {
		a.value, a.at = ttft.Seconds(), now
	}
	a.value += a.weight(now) * (ttft.Seconds() - a.value)
	a.at = now
}

// blind knows nothing.
type blind struct{}

func (blind) most(time.Duration, predict.Load) time.Duration         { return 0 }
func (blind) learn(time.Duration, predict.Load, time.Duration, bool) {}

// foreseen is how a scene went: shares of all that arrived.
type foreseen struct{ inTime, refused float64 }

func (f foreseen) String() string { return fmt.Sprintf("%.1f (%.1f)", 100*f.inTime, 100*f.refused) }

// foresee plays a scene by four workers, each of which knows only of its own what is in flight.
func foresee(sc *scene, f foreseer) foreseen {
	const workers = 4
	w := &lab{server: sc.server()}
	r := rand.New(rand.NewPCG(5, 5))
	var flying, reading [workers]int
	workerOf, loads := map[*job]int{}, map[*job]predict.Load{}
	arrived, inTime, refused := 0, 0, 0
	w.firsts = func(j *job) {
		if j.first != 0 || j.foreign {
			return
		}
		if j.first = w.now; w.now-j.due <= sc.target {
			inTime++
		}
		reading[workerOf[j]] -= int(loads[j].Prompt)
		f.learn(w.now, loads[j], w.now-j.due, false)
	}
	w.ends = func(j *job) {
		if !j.foreign {
			flying[workerOf[j]]--
		}
	}
	arrive := func(j *job, k int) {
		arrived++
		load := predict.Load{Prompt: int64(j.prompt), Ahead: int64(reading[k]), InFlight: flying[k] + 1}
		if f.most(w.now, load) > sc.target {
			refused++
			return
		}
		flying[k]++
		reading[k] += j.prompt
		workerOf[j], loads[j] = k, load
		w.server.take(w, j)
		w.at(j.due+sc.patience, func() {
			if j.first == 0 {
				j.gone = true
				w.server.drop(j)
				flying[k]--
				reading[k] -= int(load.Prompt)
				f.learn(w.now, load, w.now-j.due, true)
			}
		})
	}
	for _, j := range sc.jobs() {
		k := r.IntN(workers)
		w.at(j.due, func() {
			if j.foreign {
				w.server.take(w, j)
			} else {
				arrive(j, k)
			}
		})
	}
	w.run(sc.length)
	return foreseen{float64(inTime) / float64(arrived), float64(refused) / float64(arrived)}
}

// equally is the best that an average comes to, with whatever factor, without refusing more.
func equally(sc *scene, constant float64, as foreseen) (best foreseen) {
	best = foresee(sc, blind{})
	for factor := 0.25; factor < 5; factor *= 1.25 {
		if got := foresee(sc, &averaged{constant: constant, factor: factor}); got.refused <= as.refused+0.005 && got.inTime > best.inTime {
			best = got
		}
	}
	return best
}

// On arrivals that no constant was chosen by: `go test -v -run TestForesight` prints the table of docs/design.md.
func TestForesight(t *testing.T) {
	t.Log("| trace | all let pass | the average over 5 s, refusing no more | over 30 s | **predicted** |")
	gained, scenes := 0.0, 0
	for _, sc := range series(1) {
		off, own := foresee(sc, blind{}), foresee(sc, &predicted{})
		short, long := equally(sc, 5, own), equally(sc, 30, own)
		t.Logf("| %s | %.1f | %v | %v | **%v** |", sc.name, 100*off.inTime, short, long, own)
		if own.inTime < off.inTime-0.005 {
			t.Errorf("%s: %v, and %v where all pass", sc.name, own, off)
		}
		if best := max(short.inTime, long.inTime); best < 0.9 { // else there is nothing to gain
			gained += own.inTime - best
			scenes++
			if own.inTime < best+0.03 {
				t.Errorf("%s: %v, and by an average %v or %v", sc.name, own, short, long)
			}
		}
	}
	if gained < 0.15*float64(scenes) {
		t.Errorf("%.1f points on average above the averages", 100*gained/float64(scenes))
	}
}
