package admit

import (
	"strconv"

	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// Where token counts come from.
const (
	reported  = "reported"
	counted   = "counted"
	estimated = "estimated"
)

// progress times the output of a stream, and keeps the filter state up to date while it runs, so that what reads it when
// a client has left finds what had passed.
func (e *Engine) progress(s *Stream, now int64, end bool) {
	s.at = now
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
	if learned, known := e.learned.Text(s.at, e.hash(s)[0], e.hash(s)[1], r.Text); known {
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
		e.learned.LearnPrompt(s.at, hashes[0], hashes[1], s.asked.Bytes, r.Tokens.Prompt)
	}
	if complete && s.dialect.Outputs() {
		e.learned.LearnOutput(s.at, hashes[0], hashes[1], r.Tokens.Completion)
		if s.stream && r.Tokens.Reasoning <= 0 { // reasoning may have passed unseen
			e.learned.LearnText(s.at, hashes[0], hashes[1], r.Text, r.Tokens.Completion)
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
