package admit

import (
	"strconv"
	"strings"

	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/reply"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// Where token counts come from.
const (
	reported  = "reported"
	counted   = "counted"
	estimated = "estimated"
)

// ResponseHeaders takes a response's headers; end says that no body follows.
func (e *Engine) ResponseHeaders(s *Stream, now int64, headers [][2]string, end bool) *Step {
	s.step.reset()
	if s.phase == stFinished {
		return &s.step
	}
	if s.phase != stAdmitted || !s.recorded {
		e.undecided(s, now)
	}
	e.picker.Pick(headers, &s.headers)
	s.responding = true
	s.status, _ = strconv.Atoi(s.headers.Get(e.slots.status))
	events := strings.HasPrefix(strings.ToLower(s.headers.Get(e.slots.contentType)), "text/event-stream")
	s.stream = events || s.asked.Stream // Gemini's can be one growing document
	s.readable = s.dialect != nil && !end && identityCoding(s.headers.Get(e.slots.encoding))
	if s.readable {
		s.response.Reset(s.dialect, events)
	}
	if s.hiding = s.hiding && s.readable && events; s.hiding && s.headers.Get(e.slots.length) != "" {
		s.step.Headers = append(s.step.Headers, [2]string{"content-length", ""})
	}
	if s.ticket.InFlight() && !s.local {
		s.answer = e.hints.read(&s.headers, s.status)
	}
	if !s.failed() {
		s.step.Headers = reply.AppendHeadroom(s.step.Headers, s.requests)
		s.step.Headers = reply.AppendHeadroom(s.step.Headers, s.tokens)
	}
	if end {
		e.finish(s, now, true)
	}
	return &s.step
}

// ResponseBody takes the next piece of a response's body.
func (e *Engine) ResponseBody(s *Stream, now int64, piece []byte, end bool) *Step {
	s.step.reset()
	if s.ReadingResponse() {
		if s.hiding {
			s.step.Body, s.step.Replace = s.response.Hide(piece, end)
		} else {
			s.response.Write(piece)
		}
		if s.stream {
			e.progress(s, now, end)
		}
	}
	if end {
		e.finish(s, now, true)
	}
	return &s.step
}

// ReadingResponse says whether the response's body is of interest.
func (s *Stream) ReadingResponse() bool {
	return s.readable && s.phase == stAdmitted && s.response.Wanting()
}

// ResponseTrailers takes the end of a response whose body is followed by trailers.
func (e *Engine) ResponseTrailers(s *Stream, now int64) *Step {
	s.step.reset()
	e.finish(s, now, true)
	return &s.step
}

// Done takes the end of the stream, however it came.
func (e *Engine) Done(s *Stream, now int64) *Step {
	s.step.reset()
	delete(e.holding, s)
	if s.phase == stNew || s.phase == stHolding {
		s.phase, s.decision = stFinished, because(cancelled, "", "")
		if s.fault {
			s.decision.Outcome = faulted
		}
	}
	e.finish(s, now, false)
	e.count(s)
	return &s.step
}

// undecided takes note of a response to a request that was not let go yet: the upstream, or the proxy itself, answered
// before the body was complete.
func (e *Engine) undecided(s *Stream, now int64) {
	delete(e.holding, s)
	s.step.count(Uncharged, 1, "answered_early")
	e.forsake(s, now, allowed)
}

// progress times the output of a stream, and keeps the filter state up to date while it runs, so that what reads it when
// a client has left finds what had passed.
func (e *Engine) progress(s *Stream, now int64, end bool) {
	r := s.response.Response()
	if r.Outputs > s.outputs {
		if s.outputs == 0 {
			s.first = now
			e.observe(s, now)
		}
		s.outputs, s.last = r.Outputs, now
	}
	tokens := e.soFar(s, r)
	if tokens == s.published {
		return
	}
	s.published = tokens
	if !end {
		s.step.set("gen_ai.completion.tokens", strconv.FormatInt(tokens, 10))
	}
}

// soFar is how many tokens of a stream have passed. A server that reports as it goes is believed; else the text is counted
// by what the model's earlier responses took for as much, and before the first of these by its pieces, of a token each, or
// by the rule of thumb of four bytes a token where a dialect puts several into a piece.
func (e *Engine) soFar(s *Stream, r usage.Response) int64 {
	said := r.Tokens.Completion // Absent is below all
	if said != usage.Absent && !s.dialect.Cumulative() {
		return said
	}
	tokens := r.Outputs
	if !s.dialect.TokenPerPiece() {
		tokens = (r.Text + 3) / 4
	}
	if learned, known := e.learned.Text(e.hash(s)[0], r.Text); known {
		tokens = learned
	}
	return max(tokens, said)
}

// used says what the request used, and how that is known.
func (e *Engine) used(s *Stream, complete bool) (limit.Usage, string) {
	var r usage.Response
	if s.readable {
		s.response.Close()
		r = s.response.Response()
		s.failure = r.Failure
	}
	if r.Model != "" {
		s.step.set("gen_ai.response.model", r.Model)
	}
	if r.Failure != 0 && r.Outputs == 0 && (s.stream || !r.Reported) && s.status < 400 {
		s.status = r.Failure
		return limit.Usage{}, counted
	}
	if r.Reported {
		return e.reported(s, r, complete && r.Failure == 0 && (r.Final || !s.stream || !s.dialect.Cumulative()))
	}
	if s.status >= 400 {
		return limit.Usage{}, counted // an error produced nothing
	}
	e.estimate(s) // all of the request's body has passed by now
	u := limit.Usage{Prompt: s.estimate.Prompt, Completion: s.estimate.Output}
	source := estimated
	if s.readable && s.stream && (r.Outputs > 0 || !complete) || !s.responding && s.asked.Stream {
		u.Completion, source = e.soFar(s, r), counted
	}
	u.Total = u.Prompt + u.Completion
	return u, source
}

// reported is what a report says, completed where it lacks some counts. Of a stream that did not come to its end, what
// passed counts, and nothing is learned of how long outputs are.
func (e *Engine) reported(s *Stream, r usage.Response, complete bool) (limit.Usage, string) {
	source := reported
	t := r.Tokens
	if t.Prompt == usage.Absent {
		t.Prompt = e.estimate(s).Prompt
		if t.Total != usage.Absent && t.Completion != usage.Absent {
			t.Prompt = max(t.Total-t.Completion, 0)
		}
	}
	switch {
	case s.stream && !complete && s.dialect.Cumulative():
		t.Completion, t.Total, source = e.soFar(s, r), usage.Absent, counted
	case t.Completion != usage.Absent:
	case t.Total != usage.Absent:
		t.Completion = max(t.Total-t.Prompt, 0)
	case s.stream:
		t.Completion = e.soFar(s, r)
	default:
		t.Completion = e.estimate(s).Output
	}
	if t.Total == usage.Absent {
		t.Total = t.Prompt + t.Completion
	}
	e.learn(s, r, complete)
	return limit.Usage{
		Prompt: t.Prompt, Completion: t.Completion, Total: t.Total,
		Cached: max(t.Cached, 0), Reasoning: max(t.Reasoning, 0),
	}, source
}

// learn takes what a report teaches about estimates. A request that was decided at its headers teaches what to expect
// there, where the model is unknown, too.
func (e *Engine) learn(s *Stream, r usage.Response, complete bool) {
	e.learnFor(s, e.hash(s), r, complete)
	if s.guessed != s.hashes && s.guessed != ([2]uint64{}) {
		e.learnFor(s, s.guessed, r, complete)
	}
}

func (e *Engine) learnFor(s *Stream, hashes [2]uint64, r usage.Response, complete bool) {
	if s.asked.Read {
		e.learned.LearnPrompt(hashes[0], s.asked.Bytes, r.Tokens.Prompt)
	}
	if complete && s.dialect.Outputs() {
		e.learned.LearnOutput(hashes[0], hashes[1], r.Tokens.Completion)
		if s.stream && r.Tokens.Reasoning <= 0 { // reasoning may have passed unseen
			e.learned.LearnText(hashes[0], r.Text, r.Tokens.Completion)
		}
	}
}

// publishUsage puts the final counts into the filter state and the metrics.
func (e *Engine) publishUsage(s *Stream, u limit.Usage, source string) {
	model := e.label(s.model)
	for _, c := range []struct {
		property, kind string
		tokens         int64
		always         bool
	}{
		{"gen_ai.prompt.tokens", "input", u.Prompt, true},
		{"gen_ai.completion.tokens", "output", u.Completion, true},
		{"gen_ai.total.tokens", "", u.Total, true},
		{"gen_ai.cached.tokens", "cached", u.Cached, false},
		{"gen_ai.reasoning.tokens", "reasoning", u.Reasoning, false},
	} {
		if c.always || c.tokens > 0 {
			s.step.set(c.property, strconv.FormatInt(c.tokens, 10))
		}
		if c.kind != "" {
			s.step.count(Tokens, c.tokens, c.kind, source, model)
		}
	}
	s.step.set("gen_ai.usage.source", source)
}

// publishTimes tells how fast the answer came, as the client sees it: waiting for a turn is part of it. What does not stream
// comes as a whole, and has no inter-token latency.
func (e *Engine) publishTimes(s *Stream, now int64) {
	priority := s.caller.Priority.String()
	if !s.stream {
		if s.status < 400 && s.responding {
			s.step.sample(TTFT, (now-s.since)/millisecond, "false", priority)
		}
		return
	}
	if s.first == 0 {
		return
	}
	ttft := (s.first - s.since) / millisecond
	s.step.set("gen_ai.ttft.ms", strconv.FormatInt(ttft, 10))
	s.step.sample(TTFT, ttft, "true", priority)
	if n := s.outputs; n > 1 {
		itl := (s.last - s.first) / (n - 1) / millisecond
		s.step.set("gen_ai.itl.ms", strconv.FormatInt(itl, 10))
		s.step.sample(ITL, itl, "true", priority)
	}
}
