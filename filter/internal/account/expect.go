package account

import (
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/estimate"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// Accountant is what one configuration needs to account for requests, in one worker.
type Accountant struct {
	learned *estimate.Learned
	start   estimate.Start
	hash    func([]byte) uint64
	scratch []byte
}

// New makes an accountant. learned is the worker's own, and outlives configurations; hash is keyed, since clients choose names.
func New(learned *estimate.Learned, start estimate.Start, hash func([]byte) uint64) *Accountant {
	return &Accountant{learned: learned, start: start, hash: hash}
}

// Estimate is what a request is expected to use, in tokens.
type Estimate struct {
	Prompt, Output int64
	OutputMost     int64 // what the output has to be reckoned to be where all of a bucket is reserved; below Output: as that
	OutputBound    int64 // the request's own bound; 0: none
	OutputFloor    int64 // what it asks for at least
}

// Expect says what a request is expected to use, by what is known of it now; nothing, if it has no dialect.
func (a *Accountant) Expect(x *Exchange, now clock.Moment) Estimate {
	if x.Dialect == nil {
		return Estimate{}
	}
	id := a.learner(x)
	bound, floor := x.Asked.OutputBound, x.Asked.OutputFloor
	if x.Asked.OutputLoose { // it says what is wanted, not what is the most
		bound, floor = 0, max(floor, bound)
	}
	expected := Estimate{
		Prompt: a.learned.Prompt(now, id.model, id.subject, usage.TextBytes(x.Dialect, x.Asked, x.bytes()), a.start) +
			usage.TokensBesideText(x.Asked),
		OutputBound: bound, OutputFloor: floor,
	}
	if x.Dialect.Outputs {
		length := a.learned.Output(now, id.model, id.subject, bound, a.start)
		expected.Output, expected.OutputMost = max(length.Likely, x.Asked.OutputFloor), max(length.Most, x.Asked.OutputFloor)
	}
	return expected
}

// Decided notes that the request is decided by what is known of it now: what its answer teaches holds for the next one of which as much is
// known.
func (a *Accountant) Decided(x *Exchange) {
	if x.Dialect != nil {
		x.decided = a.learner(x)
	}
}

// learner gives the hashes by which is learned of a request.
func (a *Accountant) learner(x *Exchange) learner {
	if !x.known {
		b := append(append(a.scratch[:0], "model\x00"...), x.Model...)
		x.learner.model = a.hash(b)
		for _, part := range x.who {
			b = append(append(b, 0), part...)
		}
		x.learner.subject = a.hash(b)
		a.scratch, x.known = b, true
	}
	return x.learner
}

// learn takes what a report teaches. A request that was decided at its headers teaches what to expect there, where the model is unknown, too.
func (a *Accountant) learn(x *Exchange, now clock.Moment, r *usage.Response, complete bool) {
	id := a.learner(x)
	a.learnFor(x, now, id, r, complete)
	if x.decided != id && x.decided != (learner{}) {
		a.learnFor(x, now, x.decided, r, complete)
	}
}

func (a *Accountant) learnFor(x *Exchange, now clock.Moment, id learner, r *usage.Response, complete bool) {
	if x.Asked.Teaches() {
		a.learned.LearnPrompt(now, id.model, id.subject, x.Asked.Prompt.Text, r.Tokens.Prompt)
	}
	if complete && x.Dialect.Outputs {
		a.learned.LearnOutput(now, id.model, id.subject, r.Tokens.Completion)
		if x.Stream && r.Tokens.Reasoning <= 0 { // reasoning may have passed unseen
			a.learned.LearnText(now, id.model, id.subject, r.Text, r.Tokens.Completion)
		}
	}
}
