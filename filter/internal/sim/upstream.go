package sim

import (
	"math"
	"slices"

	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// upstream is what the upstream knows.
type upstream struct {
	count int     // in flight, of workers that live
	used  float64 // of its own budget
	at    int64
}

// started sends a request to the upstream.
func (w *World) started(r *request, v gate.Verdict) {
	u := &w.served
	u.count++
	w.MostInFlight = max(w.MostInFlight, u.count)
	w.Started++
	if v.Reason != "" || v.Err != nil {
		w.Ungoverned++
	}
	if !w.closing {
		p := r.ticket.Priority
		w.Waits[p] = append(w.Waits[p], w.now-r.came)
	}
	if allowed := w.Upstream.Allowed; allowed != nil {
		u.used = max(u.used-float64(w.now-u.at)/float64(second)*allowed(w.now-start), 0)
		u.at = w.now
		r.over = u.used+1 > max(w.Upstream.Burst, 1)
		if !r.over {
			u.used++
		}
	}
	if w.OnStart != nil {
		w.OnStart(w.now-start, r.over)
	}
	if w.onWait != nil {
		w.onWait(r, w.now-r.came)
	}
}

func (w *World) serviceTime(r *request) int64 {
	switch {
	case r.over:
		return 50 * millisecond
	case w.Upstream.Uneven:
		return w.exponential(w.Upstream.Service)
	}
	return w.Upstream.Service
}

func (w *World) answer(r *request) dispatch.Answer {
	a := dispatch.Answer{Used: r.used, Judged: true, Requests: -1, Tokens: -1}
	if r.over {
		r.used, a.Used, a.Limited = 0, 0, true
		if w.Upstream.Says != nil {
			w.Upstream.Says(&a)
		}
	}
	return a
}

// Report is what happened.
type Report struct {
	Wrong  []string // what was not as promised
	Events int
	Writes int

	Arrived, Elsewhere, Started, Ungoverned, Finished, Rejected, Left, Lost int
	Crashes, Stalls, Conflicts, StoreErrors                                 int

	Refused      map[string]int // by reason
	RefusedOf    [dispatch.Priorities]int
	Waits        [dispatch.Priorities][]int64 // of requests that started
	TokensServed []int64                      // by source
	SlotTime     int64                        // in which slots were used while requests came
	MostInFlight int
	MostWaiting  int
	LongestOver  int64   // by which a request waited longer than its longest wait, its worker being alive
	MostAhead    float64 // of a subject before another one that waits too, in requests

	OnStart func(at int64, limited bool) // is told of each start
}

// Goodput is the share of the slots' time that was used.
func (w *World) Goodput() float64 {
	return float64(w.SlotTime) / float64(int64(w.Settings.Slots)*w.Length)
}

// Quantile gives a quantile; 0 of nothing.
func Quantile(values []int64, q float64) int64 {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	return sorted[min(int(q*float64(len(sorted))), len(sorted)-1)]
}

// Jain is Jain's index of fairness: 1 where all have the same, 1/n where one has all.
func Jain(values []int64) float64 {
	var sum, squares float64
	for _, v := range values {
		sum += float64(v)
		squares += float64(v) * float64(v)
	}
	if squares == 0 {
		return math.NaN()
	}
	return sum * sum / (float64(len(values)) * squares)
}
