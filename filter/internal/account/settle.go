package account

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// Source is how it is known what a request has used.
type Source uint8

// The sources.
const (
	None      Source = iota // nothing was used that is to be told
	Reported                // the answer says it
	Counted                 // what passed of a stream was counted, or nothing was generated
	Estimated               // it is what is expected of such a request
)

func (s Source) String() string { return sources[s] }

var sources = [...]string{"", "reported", "counted", "estimated"}

// Settlement is how an exchange ended, and what it comes to.
type Settlement struct {
	Complete bool         // all of the answer has passed
	Spared   bool         // the upstream never had the request: it costs nothing, not even a request
	Used     usage.Tokens // what is charged: none of it is absent, and the total is the sum of prompt and completion
	Source   Source       // None: there is nothing to publish

	Status  int           // HTTP; of an error in place of a stream's output it is the error's; 0: there was no answer
	Failure int           // the HTTP status that an error inside the answer stands for; 0: there was none
	Model   string        // as the answer names it; "": it doesn't
	TTFT    time.Duration // how long the client waited for the first output, or for all of what doesn't stream; absent: it can't be told
	ITL     time.Duration // how long it waited for each of the others, on average; absent: there was no second one

	Implausible bool // a figure can't be true
	Unread      bool // the answer was none of those that the dialect has
}

// Settle says what an exchange comes to that ends now, and learns from it. complete says that all of the answer has passed.
func (a *Accountant) Settle(x *Exchange, now clock.Moment, complete bool) Settlement {
	s := Settlement{Complete: complete, Spared: x.Origin.Spares(), Status: x.Status, TTFT: usage.Absent, ITL: usage.Absent}
	if s.Spared || x.Dialect == nil {
		return s
	}
	switch {
	case x.Origin == origin.TimedOut:
		expected := a.Expect(x, now)
		s.Used = usage.Tokens{Prompt: expected.Prompt, Completion: x.wasted(now, &expected)}
		s.Source = Estimated
	case x.Failed():
		return s
	default:
		a.use(x, now, &s)
	}
	s.Used.Total = s.Used.Prompt + s.Used.Completion
	if s.Source != None {
		s.TTFT, s.ITL = x.times(now, s.Status)
	}
	return s
}

// use says what a request has used whose upstream did not fail, or not at once.
func (a *Accountant) use(x *Exchange, now clock.Moment, s *Settlement) {
	var r usage.Response
	if x.Readable {
		x.Reader.Close()
		r = x.Reader.Response()
		s.Failure, s.Model = r.Failure, r.Model
	}
	if r.Failure != 0 && r.Outputs == 0 && r.Unknown == 0 && (x.Stream || !r.Reported) && x.Status < 400 { // in place of all output
		if s.Status = r.Failure; !failure(s.Status) {
			s.Source = Counted
		}
		return
	}
	s.Implausible = r.Absurd
	switch {
	case r.Reported:
		a.reported(x, now, &r, s)
	case x.Status >= 400: // an error produced nothing
		s.Source = Counted
	default:
		unread := x.Readable && x.Reader.Unread()
		s.Unread = unread && s.Complete
		a.guessed(x, now, &r, unread, s)
	}
	if !s.Complete && s.Source == Counted && s.Used.Completion == 0 && x.Status < 400 {
		expected := a.Expect(x, now)
		if s.Used.Completion = x.wasted(now, &expected); s.Used.Completion > 0 {
			s.Source = Estimated
		}
	}
}

// wasted is the output of a request of which none came back: its client left before a stream's first output, or the proxy's
// patience ended. Of what doesn't stream it is what was expected. Of a stream it is known that none came in the time that it had, and it is
// what may have been worked on in that time.
func (x *Exchange) wasted(now clock.Moment, expected *Estimate) int64 {
	const perSecond = 50 // tokens, of a server that is not slow
	if x.Stream || x.Asked.Stream {
		return min(expected.Output, int64(max(now.Sub(x.Sent), 0)/(time.Second/perSecond)))
	}
	return expected.Output
}

// guessed is what a request used whose answer doesn't say: what passed of a stream, or else what was expected.
func (a *Accountant) guessed(x *Exchange, now clock.Moment, r *usage.Response, unread bool, s *Settlement) {
	expected := a.Expect(x, now) // all of the request's body has passed by now
	s.Used.Prompt, s.Used.Completion, s.Source = expected.Prompt, expected.Output, Estimated
	switch {
	case x.Readable && x.Stream && (r.Outputs > 0 || !s.Complete && !unread) || !x.Answered() && x.Asked.Stream:
		s.Used.Completion, s.Source = a.soFar(x, now, r), Counted
	case x.Readable && x.Stream && r.Unknown > 0: // all of it is unknown: rather too much than too little
		s.Used.Completion = max(s.Used.Completion, a.soFar(x, now, r))
	}
}

// reported is what a report says, completed where it lacks some counts, and cut to what is plausible. Of a stream that did not
// come to its end, what passed counts, and nothing is learned of how long outputs are.
func (a *Accountant) reported(x *Exchange, now clock.Moment, r *usage.Response, s *Settlement) {
	ended := s.Complete && r.Failure == 0 && (r.Final || !x.Stream || !x.Dialect.Cumulative)
	t := r.Tokens
	t.Prompt = a.prompt(x, now, r)
	switch s.Source = Reported; {
	case x.Stream && !ended && x.Dialect.Cumulative:
		t.Completion, s.Source = a.soFar(x, now, r), Counted
	case t.Completion != usage.Absent:
	case t.Total != usage.Absent:
		t.Completion = max(t.Total-t.Prompt, 0)
	case x.Stream:
		t.Completion = a.soFar(x, now, r)
	default:
		t.Completion = a.Expect(x, now).Output
	}
	if s.Implausible = cut(&t, x.plausible(now)) || r.Absurd; !s.Implausible {
		a.learn(x, now, r, ended)
	}
	s.Used = usage.Tokens{
		Prompt: t.Prompt, Completion: t.Completion,
		Cached: max(t.Cached, 0), Reasoning: max(t.Reasoning, 0), CacheWrite: max(t.CacheWrite, 0), Audio: max(t.Audio, 0), AudioOutput: t.AudioOutput,
	}
}

// prompt is what a report says of the prompt, or what follows from the rest of it.
func (a *Accountant) prompt(x *Exchange, now clock.Moment, r *usage.Response) int64 {
	t := &r.Tokens
	switch {
	case t.Prompt != usage.Absent:
		return t.Prompt
	case t.Total == usage.Absent:
		return a.Expect(x, now).Prompt
	case t.Completion != usage.Absent:
		return max(t.Total-t.Completion, 0)
	case x.Stream && r.Outputs > 0: // the output is what is known best
		return t.Total - min(a.passed(x, now, r), t.Total)
	default:
		return min(a.Expect(x, now).Prompt, t.Total)
	}
}
