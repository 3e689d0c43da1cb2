package autosize

import (
	"container/heap"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// The lab is a server, a front queue before it and clients, in virtual time. All is pure and comes from a seed.

const noon = clock.Moment(12 * time.Hour)

// sizer is what says how many slots there are.
type sizer interface {
	slots() int
	record(x *Sample, whole time.Duration)
}

// job is one request.
type job struct {
	due            time.Duration
	prompt, output int
	subject        uint64
	foreign        bool // it comes to the server past us
	looks          int  // how long its prompt looks, if that is not as long as it is
	front          *front
	hold           time.Duration // for which its client keeps the slot beyond the answer

	sent, first    time.Duration
	ended          time.Duration
	inFlight, room int
	left, prefill  int // tokens
	gone, refused  bool
}

type event struct {
	at    time.Duration
	order int
	do    func()
}
type events []event

func (h events) Len() int { return len(h) }
func (h events) Less(i, j int) bool {
	return h[i].at < h[j].at || h[i].at == h[j].at && h[i].order < h[j].order
}
func (h events) Swap(i, j int) { h[i], h[j] = h[j], h[i] }
func (h *events) Push(x any)   { *h = append(*h, x.(event)) }
func (h *events) Pop() any {
	last := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return last
}

// server takes jobs; it calls first and then end of the world.
type server interface {
	take(w *lab, j *job)
	drop(j *job) // its client has left
	load() Load
}

type lab struct {
	now    time.Duration
	agenda events
	order  int
	server server
	ends   func(j *job)
	firsts func(j *job)
}

func (w *lab) at(when time.Duration, do func()) {
	w.order++
	heap.Push(&w.agenda, event{max(when, w.now), w.order, do})
}

func (w *lab) run(until time.Duration) {
	for len(w.agenda) > 0 && w.agenda[0].at <= until {
		e := heap.Pop(&w.agenda).(event)
		w.now = e.at
		e.do()
	}
}

// slotted is a server as the benchmarks' simulator: slots, a queue, and tokens that take longer the more there is in the slots.
type slotted struct {
	slots    func(now time.Duration) int
	prefill  time.Duration
	perToken time.Duration // of the prompt
	token    time.Duration
	slowdown float64

	running int
	queue   []*job
}

func (s *slotted) take(w *lab, j *job) {
	s.queue = append(s.queue, j)
	s.fill(w)
}

func (s *slotted) drop(j *job) { j.gone = true }

func (s *slotted) load() Load {
	var waiting int64
	for _, j := range s.queue {
		if !j.gone {
			waiting++
		}
	}
	return Load{Running: int64(s.running), Waiting: waiting}
}

func (s *slotted) fill(w *lab) {
	for len(s.queue) > 0 && s.running < s.slots(w.now) {
		j := s.queue[0]
		s.queue = s.queue[1:]
		if j.gone {
			continue
		}
		s.running++
		j.left = j.output
		w.at(w.now+s.prefill+time.Duration(j.prompt)*s.perToken, func() {
			if !j.gone {
				w.firsts(j)
			}
			s.next(w, j)
		})
	}
}

func (s *slotted) next(w *lab, j *job) {
	j.left--
	if j.left <= 0 || j.gone {
		s.running--
		if !j.gone {
			w.ends(j)
		}
		s.fill(w)
		return
	}
	w.at(w.now+time.Duration(float64(s.token)*(1+s.slowdown*float64(s.running-1))), func() { s.next(w, j) })
}

// batched is a server as vLLM: iterations over a batch, prompts in pieces among the tokens, and a KV cache that is full at some time.
type batched struct {
	base, seq, tok time.Duration // an iteration, of each sequence in it, of each prompt token in it
	budget         int           // tokens of an iteration
	most           int           // sequences
	cache          int           // tokens
	speed          func(now time.Duration) float64

	queue, running []*job
	used           int
	busy           bool
	preempted      *int
}

func (b *batched) take(w *lab, j *job) {
	j.prefill, j.left = j.prompt, j.output
	b.queue = append(b.queue, j)
	if !b.busy {
		b.busy = true
		w.at(w.now, func() { b.iterate(w) })
	}
}

func (b *batched) drop(j *job) { j.gone = true }

func (b *batched) load() Load {
	x := Load{Running: int64(len(b.running)), KV: min(float64(b.used)/float64(b.cache), 1)}
	for _, j := range b.queue {
		if !j.gone {
			x.Waiting++
		}
	}
	return x
}

func (b *batched) iterate(w *lab) {
	b.running = slices.DeleteFunc(b.running, func(j *job) bool {
		if j.gone {
			b.used -= j.prompt + j.output - j.left
		}
		return j.gone
	})
	b.queue = slices.DeleteFunc(b.queue, func(j *job) bool { return j.gone })
	for len(b.queue) > 0 && len(b.running) < b.most && (b.used+b.queue[0].prompt <= b.cache*9/10 || len(b.running) == 0) {
		b.used += b.queue[0].prompt
		b.running, b.queue = append(b.running, b.queue[0]), b.queue[1:]
	}
	if len(b.running) == 0 {
		b.busy = false
		return
	}
	left, decodes, prefills := b.budget, 0, 0
	var firsts, outs []*job
	for _, j := range b.running {
		if j.prefill == 0 {
			decodes++
			left--
			outs = append(outs, j)
		}
	}
	for _, j := range b.running {
		if j.prefill > 0 && left > 0 {
			n := min(left, j.prefill)
			j.prefill -= n
			left -= n
			prefills += n
			if j.prefill == 0 {
				firsts = append(firsts, j)
			}
		}
	}
	took := b.base + time.Duration(decodes)*b.seq + time.Duration(prefills)*b.tok
	if b.speed != nil {
		took = time.Duration(float64(took) / b.speed(w.now))
	}
	w.at(w.now+took, func() {
		for _, j := range firsts {
			if !j.gone {
				w.firsts(j)
			}
			j.left--
			b.used++
		}
		for _, j := range outs {
			j.left--
			b.used++
		}
		b.running = slices.DeleteFunc(b.running, func(j *job) bool {
			if j.left <= 0 && j.prefill == 0 {
				b.used -= j.prompt + j.output - j.left
				if !j.gone {
					w.ends(j)
				}
				return true
			}
			return false
		})
		for b.used > b.cache && len(b.running) > 1 { // the newest is preempted, and begins again
			j := b.running[len(b.running)-1]
			b.used -= j.prompt + j.output - j.left
			j.prefill = j.prompt + j.output - j.left
			j.prompt = j.prefill
			j.output = j.left
			b.running = b.running[:len(b.running)-1]
			b.queue = append([]*job{j}, b.queue...)
			if b.preempted != nil {
				*b.preempted++
			}
		}
		b.iterate(w)
	})
}

// scene is one run.
type scene struct {
	name     string
	hand     int // slots that are best, found by trying: 2, 3, 4, 5, 6, 8, 9, 10, 11, 12, 14, 16 and so on to 192
	server   func() server
	jobs     func() []*job
	length   time.Duration
	target   time.Duration // the objective: time to the first token
	patience time.Duration // after which a client leaves
	maxWait  time.Duration // in the front queue
	jitter   time.Duration // in the mean, by which a first token is seen later than the server had it: a busy machine between
}

type point struct {
	at      time.Duration
	learned int // without probes
}

type outcome struct {
	arrived, inTime, refused, left, served int
	ttfts                                  []time.Duration
	course                                 []point
	tokens                                 int
}

func (o *outcome) share() float64 { return float64(o.inTime) / float64(max(o.arrived, 1)) }

// front is a proxy before the server, with its queue; a nil sizer is no slots at all.
type front struct {
	*outcome
	scene   *scene
	lab     *lab
	sizer   sizer
	waiting []*job
	flying  int
}

// play runs a scene with one front.
func play(sc *scene, z sizer) *outcome { return playAll(sc, z)[0] }

// playAll runs a scene with several, before one server, among which the requests go in turn.
func playAll(sc *scene, sizers ...sizer) (outcomes []*outcome) {
	w := &lab{server: sc.server()}
	var fronts []*front
	for _, z := range sizers {
		f := &front{outcome: &outcome{}, scene: sc, lab: w, sizer: z}
		fronts, outcomes = append(fronts, f), append(outcomes, f.outcome)
	}
	w.firsts = func(j *job) {
		if j.first == 0 && !j.foreign {
			j.first = w.now
			j.front.answers(j)
		}
	}
	w.ends = func(j *job) {
		if !j.foreign {
			w.at(w.now+j.hold, func() { j.front.ends(j) })
		}
	}
	for _, f := range fronts {
		if h, ok := f.sizer.(interface{ hear(Load) }); ok {
			w.scrape(h.hear)
		}
	}
	for _, f := range fronts {
		if h, ok := f.sizer.(interface{ begin(*lab) }); ok {
			h.begin(w)
		}
	}
	for i, j := range sc.jobs() {
		j.front = fronts[i%len(fronts)]
		w.at(j.due, func() {
			if j.foreign {
				w.server.take(w, j)
				return
			}
			j.front.arrives(j)
		})
	}
	w.run(sc.length)
	return outcomes
}

// An exporter asks the engine once in a while, and what it says is known somewhat later.
const (
	scrapeEvery = second
	scrapeTakes = second
)

// scrape has somebody told of the engine's numbers.
func (w *lab) scrape(hear func(Load)) {
	x := w.server.load()
	x.At = noon.Add(w.now)
	w.at(w.now+scrapeTakes, func() { hear(x) })
	w.at(w.now+scrapeEvery, func() { w.scrape(hear) })
}

func (f *front) arrives(j *job) {
	f.arrived++
	if f.scene.patience > 0 {
		f.lab.at(j.due+f.scene.patience, func() { f.losesPatience(j) })
	}
	if f.sizer != nil && f.scene.maxWait > 0 {
		f.lab.at(j.due+f.scene.maxWait, func() {
			if j.inFlight == 0 && !j.gone {
				j.refused = true
				f.refused++
			}
		})
	}
	f.waiting = append(f.waiting, j)
	f.pump()
}

func (f *front) losesPatience(j *job) {
	if j.first > 0 || j.refused {
		return
	}
	f.left++
	j.gone = true
	if j.inFlight > 0 {
		f.lab.server.drop(j)
		f.flying--
		f.report(j, Sample{TTFT: f.lab.now - j.sent, Left: true}, 0)
		f.pump()
	}
}

// pump sends what there are slots for.
func (f *front) pump() {
	for len(f.waiting) > 0 && (f.sizer == nil || f.flying < f.sizer.slots()) {
		j := f.waiting[0]
		f.waiting = f.waiting[1:]
		if j.gone || j.refused {
			continue
		}
		f.flying++
		j.sent, j.inFlight = f.lab.now, f.flying
		if f.sizer != nil {
			j.room = f.sizer.slots()
		}
		f.lab.server.take(f.lab, j)
	}
}

func (f *front) answers(j *job) {
	f.served++
	f.ttfts = append(f.ttfts, f.lab.now-j.due)
	if f.lab.now-j.due <= f.scene.target {
		f.inTime++
	}
	f.report(j, Sample{TTFT: f.lab.now - j.sent}, 0)
}

func (f *front) ends(j *job) {
	f.flying--
	f.tokens += j.output
	j.ended = f.lab.now
	f.report(j, Sample{}, f.lab.now-j.sent)
	f.pump()
}

func (f *front) report(j *job, x Sample, whole time.Duration) {
	if f.sizer == nil {
		return
	}
	x.At, x.Subject, x.InFlight, x.Room, x.Prompt, x.Output = noon.Add(f.lab.now), j.subject, j.inFlight, j.room, int64(j.says()), int64(j.output)
	f.sizer.record(&x, whole)
	if l, ok := f.sizer.(interface{ learned() int }); ok {
		f.course = append(f.course, point{f.lab.now, l.learned()})
	}
}

// says is how long the prompt looks.
func (j *job) says() int {
	if j.looks > 0 {
		return j.looks
	}
	return j.prompt
}

// poisson makes arrivals of a rate.
func poisson(seed uint64, length time.Duration, rate func(at time.Duration) float64, most float64, make func(r *rand.Rand) (prompt, output int)) []*job {
	r := rand.New(rand.NewPCG(seed, 3))
	var jobs []*job
	for at := 0.0; ; {
		at += r.ExpFloat64() / most
		due := time.Duration(at * float64(time.Second))
		if due >= length {
			return jobs
		}
		if r.Float64()*most < rate(due) {
			p, o := make(r)
			jobs = append(jobs, &job{due: due, prompt: p, output: o, subject: uint64(r.IntN(10)) + 1})
		}
	}
}
