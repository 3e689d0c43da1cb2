package health

import (
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/breaker"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
	"github.com/spillway-proxy/spillway/filter/internal/predict"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/sliding"
	"github.com/spillway-proxy/spillway/filter/internal/throttle"
)

const (
	// mergeEvery is how often, at most, a worker merges what it has counted for the throttle.
	mergeEvery = time.Second / 4
	// leastWait is the shortest advice.
	leastWait = time.Second
)

// mostKeys is how many keys of the store an upstream uses, at most: names, places, all, throttle.
const mostKeys = keys + 2

// Gates are the breaker, the latency gate and the throttle of one upstream in one worker.
type Gates struct {
	settings Settings
	store    record.Store
	id       uint64

	keys                  [keys]string
	namesKey, throttleKey string

	configured map[uint64]struct{} // models, by hash
	names      names               // as last read
	namesAt    clock.Moment
	namesRead  bool

	flying  int          // requests of this worker that were sent, and have not ended
	reading int64        // tokens of the prompts of these, as far as they have no first token yet
	tried   clock.Moment // when a request passed that what is expected was against

	opened  opened        // the record that was opened last
	unknown breaker.State // what is asked in place of one

	probes  [keys]uint16 // in flight, by place
	probing int
	renewed clock.Moment

	throttle throttle.State // as last merged
	delta    throttle.Delta
	thinner  throttle.Thinner
	pace     throttle.Pace
	merged   clock.Moment
	merges   bool // it was merged at least once

	damaged int
	turned  [phases * phases]int // transitions of breakers that this worker has brought about, by from and to
	spread  sliding.Spread       // of the latency gate's advice: else all that it refused would come back at once
	buffer  []byte
	text    []byte
}

// New gives the gates of the upstream whose records have the key, nil if none is on. id tells the worker from all others, of
// this process and of all that it lives through.
func New(settings Settings, store record.Store, key string, id uint64) *Gates {
	if !settings.Any() {
		return nil
	}
	g := &Gates{store: store, id: id, namesKey: key + "/names", throttleKey: key + "/throttle"}
	for i := range places {
		g.keys[i] = key + "/" + strconv.Itoa(i)
	}
	g.keys[all] = key + "/all"
	g.Change(settings)
	return g
}

// Change has the gates go on by other settings. What was learned stays, and so do the requests that are tracked.
func (g *Gates) Change(settings Settings) {
	g.settings, g.configured = settings, map[uint64]struct{}{}
	for _, model := range settings.Models {
		g.configured[hashOf(model)] = struct{}{}
	}
}

// Request is one that asks to pass. The caller fills in what is exported, before the first call, and keeps it until the
// request's end; the next request needs a new one.
type Request struct {
	Model     string
	Priority  config.Priority
	Subject   uint64        // who asks, as a keyed hash
	TTFT, ITL time.Duration // the bounds that it asks for itself; 0: none
	Memory    float64       // share of GPU memory in use, as the caller knows it; 0 or less: not known
	Prompt    int64         // tokens, as far as they are known

	hash   uint64
	at     place // where its breaker is
	pass   breaker.Pass
	judged bool         // the breaker was asked
	met    predict.Load // what it met when it was sent; nothing in flight: it was not

	timed      bool          // the throttle knows how long it took
	unanswered bool          // it was sent, and has no first token yet
	foreseen   bool          // a time to its first token was expected:
	most       time.Duration // what is likely at most
	nearness   float64       // of that to its bound: above 1 it comes too late
}

// Result is how a request ended.
type Result = breaker.Result

// The results.
const (
	Neither   = breaker.Neither   // the client left, or made a mistake (4xx): it says nothing about the upstream
	Succeeded = breaker.Succeeded // the whole answer came
	Failed    = breaker.Failed    // the upstream failed: 5xx, an error inside a stream, not to be reached
)

// Outcome is what became of a request that was sent. A time of 0 is not measured.
type Outcome struct {
	Result   Result
	Stream   bool          // it came in pieces
	Duration time.Duration // from being sent to the last byte
	ITL      time.Duration // of a stream; its TTFT Observe was told
	Left     time.Duration // for which a client had waited for the first token of a stream when it left
}

// Damaged is how often a damaged record was read since it was last asked. Such a record is begun anew by the next write.
func (g *Gates) Damaged() (n int) {
	if g != nil {
		n, g.damaged = g.damaged, 0
	}
	return n
}

// phases is how many phases a breaker has.
const phases = 3

// Transitions calls f for the transitions of breakers that this worker has brought about since it was last asked, by from and to.
func (g *Gates) Transitions(f func(from, to breaker.Phase, n int)) {
	if g == nil {
		return
	}
	for i, n := range g.turned {
		if n > 0 {
			f(breaker.Phase(i/phases), breaker.Phase(i%phases), n)
			g.turned[i] = 0
		}
	}
}

// Breaker asks the breaker of the request's model. A request that passes has to end with Finish or Cancel: it may be a probe. One
// that is a probe already stays so when it asks again.
func (g *Gates) Breaker(now clock.Moment, r *Request) gate.Verdict {
	if g == nil || g.settings.Breaker == nil {
		return gate.Verdict{}
	}
	if r.judged && r.pass.Probe {
		return gate.Verdict{}
	}
	r.identify()
	at, err := g.locate(now, r.hash, unasked)
	r.at, r.judged = at, err == nil
	g.unknown = breaker.State{}
	if r.pass, _, _ = g.unknown.Admit(now, g.settings.Breaker, g.id, r.Subject); err != nil || at == nowhere {
		return gate.Verdict{Err: err}
	}
	o := g.open(now, at, r, unasked)
	for g.read(o) {
		pass, b, changed := o.breaker.Admit(now, g.settings.Breaker, g.id, r.Subject)
		if changed && !g.save(o) {
			continue
		}
		r.at, r.pass = o.at, pass
		if pass.Probe {
			g.probes[r.at]++
			g.probing++
		}
		v := g.broken(&b, o.breaker.Last())
		if b.Refused {
			v.Err = g.touch(now, r.at, r.hash)
		}
		return v
	}
	r.at, r.judged = o.at, o.err == nil
	var v gate.Verdict
	if o.update.Err() == record.ErrContended { // it may be one probe too many
		v = g.broken(&breaker.Verdict{Refused: true, Phase: breaker.HalfOpen}, breaker.Trigger{})
	}
	v.Err = o.err
	return v
}

// Latency asks the latency gate: of the request's model, or of all.
func (g *Gates) Latency(now clock.Moment, r *Request) gate.Verdict {
	if g == nil || g.settings.Latency == nil {
		return gate.Verdict{}
	}
	r.identify()
	at, err := g.timed(now, r, unasked)
	if err != nil || at == nowhere {
		return gate.Verdict{Err: err}
	}
	o := g.open(now, at, r, unasked)
	if !g.read(o) {
		return gate.Verdict{Err: o.err}
	}
	c, state := g.settings.Latency, &o.latency
	if !state.Concerns(r.Subject) {
		return gate.Verdict{}
	}
	reading := state.ForAll(now, c)
	if reading.Over {
		return g.slow(&reading, false)
	}
	expected, known := state.Expect(now, c, g.meets(r))
	ttft := r.TTFT
	if known {
		ttft = 0
	}
	if own := state.Misses(now, c, ttft, r.ITL); own.Over {
		return g.slow(&own, true)
	}
	bound, wanted := r.bound(c)
	r.foreseen, r.most, r.nearness = known, expected.Most(), float64(expected.Most())/float64(bound)
	if r.nearness > 1 && !g.tries(now) {
		return g.late(&expected, bound, wanted)
	}
	reading.Warn = reading.Warn || r.nearness >= c.WarnAt
	return g.slow(&reading, false)
}

// Throttle asks the throttle, and counts the request for it.
func (g *Gates) Throttle(now clock.Moment, r *Request) gate.Verdict {
	if g == nil || g.settings.Throttle == nil {
		return gate.Verdict{}
	}
	g.delta.Requests++
	if r.Priority < config.High {
		g.delta.Of[r.Priority]++
	}
	if r.Memory > 0 {
		g.delta.Memory = r.Memory
	}
	var err error
	if g.due(now) {
		err = g.merge(now)
	}
	reading := g.throttle.Read(now)
	risk := g.risk(now, r)
	if g.settings.Throttle.Full(r.Memory) {
		risk = 1
	}
	shed, wait := reading.Shed(r.Priority, risk, &g.thinner)
	if !shed {
		return gate.Verdict{Err: err}
	}
	v := g.shed(&reading, wait)
	v.Err = err
	return v
}

// Uncount takes back that Throttle has counted a request: a limit of its caller's has refused it, so it is no load.
func (g *Gates) Uncount() {
	if g != nil && g.settings.Throttle != nil {
		g.delta.Requests--
	}
}

// Cancel ends a request that was not sent after all. It gives its probe back.
func (g *Gates) Cancel(now clock.Moment, r *Request) error {
	if g == nil {
		return nil
	}
	g.landed(r)
	if !r.judged {
		return nil
	}
	return g.conclude(now, r, &Outcome{}, latency.Sample{})
}

// Observe takes times of a request that is still running, such as that of the first token.
func (g *Gates) Observe(now clock.Moment, r *Request, s latency.Sample) error {
	if g == nil || s == (latency.Sample{}) {
		return nil
	}
	if s.TTFT > 0 {
		g.answered(r)
	}
	if !s.Left {
		g.took(now, r, s.TTFT)
	}
	if g.settings.Latency == nil {
		return nil
	}
	r.identify()
	rank := g.rank(r.hash, proven)
	at, err := g.timed(now, r, rank)
	if err != nil {
		return err
	}
	s.Subject, s.Load = r.Subject, r.met
	o := g.open(now, at, r, rank)
	for g.read(o) {
		o.latency.Record(now, g.settings.Latency, s)
		g.save(o)
	}
	return o.err
}

// Finish takes the end of a request that was sent, once.
func (g *Gates) Finish(now clock.Moment, r *Request, o Outcome) error {
	if g == nil {
		return nil
	}
	r.identify()
	defer g.landed(r)
	var sample latency.Sample
	whole := o.Result == Succeeded
	if g.settings.Latency != nil {
		switch {
		case o.Left > 0:
			sample = latency.Sample{TTFT: o.Left, Left: true}
		case whole && !o.Stream:
			sample = latency.Sample{Unary: o.Duration}
		default:
			sample = latency.Sample{ITL: o.ITL}
		}
	}
	if whole {
		g.took(now, r, o.Duration)
	}
	if g.settings.Global && sample != (latency.Sample{}) {
		if err := g.Observe(now, r, sample); err != nil {
			_ = g.conclude(now, r, &o, latency.Sample{})
			return err
		}
		sample = latency.Sample{}
	}
	return g.conclude(now, r, &o, sample)
}

// took tells the throttle how long a request took to be answered, once: of a stream its first token tells, long before it ends. 0 is not measured.
func (g *Gates) took(now clock.Moment, r *Request, duration time.Duration) {
	if g.settings.Throttle == nil || r.timed || duration <= 0 {
		return
	}
	r.timed = true
	g.delta.Answer(now, g.settings.Throttle, &g.throttle, r.Subject, duration)
	g.pace.Add(now, g.settings.Throttle, duration)
}

// conclude records a request's end in its model's record.
func (g *Gates) conclude(now clock.Moment, r *Request, o *Outcome, sample latency.Sample) error {
	judged, probe := r.judged, r.judged && r.pass.Probe
	r.judged = false
	if probe {
		g.probes[r.at]--
		g.probing--
	}
	counts := judged && (probe || o.Result != Neither)
	if !counts && sample == (latency.Sample{}) {
		return nil
	}
	sample.Subject, sample.Load = r.Subject, r.met
	rank := g.rank(r.hash, o.tells())
	at, err := r.at, error(nil)
	if !probe { // that of a probe is known, and must not be made anew
		at, err = g.locate(now, r.hash, rank)
	}
	if err != nil || at == nowhere {
		return err
	}
	known := g.open(now, at, r, rank)
	for g.read(known) && g.take(now, known, r, o, counts, sample) {
		g.save(known)
	}
	if known.err != nil {
		return known.err
	}
	return g.touch(now, known.at, r.hash)
}

// tells is how sure an outcome makes it that there is such a model.
func (o *Outcome) tells() rank {
	if o.Result == Succeeded {
		return proven
	}
	return unproven
}

// take takes a request's end into its model's record, and says whether that changes it. counts says that it is the breaker's as well.
func (g *Gates) take(now clock.Moment, known *opened, r *Request, o *Outcome, counts bool, sample latency.Sample) (changed bool) {
	if sample.TTFT != 0 || sample.ITL != 0 || sample.Unary != 0 {
		known.latency.Record(now, g.settings.Latency, sample)
		changed = true
	}
	// A model that has another record by now has another breaker.
	if counts && g.settings.Breaker != nil && (r.at == nowhere || r.at == known.at) {
		changed = known.breaker.Finish(now, g.settings.Breaker, g.id, r.pass, o.Result, o.Duration) || changed
	}
	return changed
}

// timed gives the place of the latency that counts for a request.
func (g *Gates) timed(now clock.Moment, r *Request, rank rank) (place, error) {
	if g.settings.Global {
		return all, nil
	}
	return g.locate(now, r.hash, rank)
}

// identify takes the hash of the model, once.
func (r *Request) identify() {
	if r.hash == 0 {
		r.hash = hashOf(r.Model)
	}
}
