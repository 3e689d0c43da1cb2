package admit

import (
	"strconv"

	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
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
			e.observeAll(s, now)
		}
		s.outputs, s.last = r.Outputs, now
		s.pace.output(now, r.Outputs)
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

// soFar is how many tokens of a stream have passed. A server that reports as it goes is believed, within what is plausible;
// else the text is counted (passed).
func (e *Engine) soFar(s *Stream, r usage.Response) int64 {
	said := r.Tokens.Completion // Absent is below all
	if said != usage.Absent {
		said = min(said, s.plausible().Completion)
	}
	if said != usage.Absent && !s.dialect.Cumulative {
		return said
	}
	return max(e.passed(s, r), said)
}

// passed counts what has passed of a stream, by what the model's earlier responses took for as much text. Before the first of
// these its pieces count, of a token each, or of a token for eight bytes where that is more; where a dialect puts several into
// a piece, the rule of thumb is four bytes a token. Events whose output, if any, is of an unknown form count as a piece each, or
// by their size up to what is expected of the model.
func (e *Engine) passed(s *Stream, r usage.Response) int64 {
	tokens := max(r.Outputs, r.Text/8)
	if !s.dialect.TokenPerPiece {
		tokens = max(r.Outputs, (r.Text+3)/4)
	}
	if learned, known := e.learned.Text(s.at, e.hash(s)[0], e.hash(s)[1], r.Text); known && r.Text > 0 {
		tokens = learned
	}
	if r.Unknown == 0 {
		return tokens
	}
	most := max(r.Unknown, e.estimate(s).Output)
	return max(tokens, min(r.Unknown+r.UnknownText/4, most))
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
	if r.Failure != 0 && r.Outputs == 0 && r.Unknown == 0 && (s.stream || !r.Reported) && s.status < 400 {
		s.status = r.Failure
		return limit.Usage{}, counted
	}
	if r.Absurd && !r.Reported {
		e.implausible(s)
	}
	if r.Reported {
		return e.reported(s, r, complete && r.Failure == 0 && (r.Final || !s.stream || !s.dialect.Cumulative))
	}
	if s.status >= 400 {
		return limit.Usage{}, counted // an error produced nothing
	}
	unread := s.readable && s.response.Unread()
	if unread && complete {
		s.step.count(metric.Errors("response_unread"), 1)
	}
	return e.guessed(s, r, complete, unread)
}

// guessed is what a request used whose answer doesn't say: what passed of a stream, or else what was expected.
func (e *Engine) guessed(s *Stream, r usage.Response, complete, unread bool) (limit.Usage, string) {
	e.estimate(s) // all of the request's body has passed by now
	u := limit.Usage{Prompt: s.estimate.Prompt, Completion: s.estimate.Output}
	source := estimated
	switch {
	case s.readable && s.stream && (r.Outputs > 0 || !complete && !unread) || !s.responding() && s.asked.Stream:
		u.Completion, source = e.soFar(s, r), counted
	case s.readable && s.stream && r.Unknown > 0: // all of it is unknown: rather too much than too little
		u.Completion = max(u.Completion, e.soFar(s, r))
	}
	u.Total = u.Prompt + u.Completion
	return u, source
}

// reported is what a report says, completed where it lacks some counts, and cut to what is plausible. Of a stream that did not
// come to its end, what passed counts, and nothing is learned of how long outputs are.
func (e *Engine) reported(s *Stream, r usage.Response, complete bool) (limit.Usage, string) {
	source := reported
	t := r.Tokens
	switch { // the prompt
	case t.Prompt != usage.Absent:
	case t.Total == usage.Absent:
		t.Prompt = e.estimate(s).Prompt
	case t.Completion != usage.Absent:
		t.Prompt = max(t.Total-t.Completion, 0)
	case s.stream && r.Outputs > 0: // the output is what is known best
		t.Prompt = t.Total - min(e.passed(s, r), t.Total)
	default:
		t.Prompt = min(e.estimate(s).Prompt, t.Total)
	}
	switch { // the completion
	case s.stream && !complete && s.dialect.Cumulative:
		t.Completion, source = e.soFar(s, r), counted
	case t.Completion != usage.Absent:
	case t.Total != usage.Absent:
		t.Completion = max(t.Total-t.Prompt, 0)
	case s.stream:
		t.Completion = e.soFar(s, r)
	default:
		t.Completion = e.estimate(s).Output
	}
	if cut(&t, s.plausible()) || r.Absurd {
		e.implausible(s)
	} else {
		e.learn(s, r, complete)
	}
	return limit.Usage{
		Prompt: t.Prompt, Completion: t.Completion, Total: t.Prompt + t.Completion,
		Cached: max(t.Cached, 0), Reasoning: max(t.Reasoning, 0), CacheWrite: max(t.CacheWrite, 0), Audio: max(t.Audio, 0),
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
	if s.asked.Teaches() {
		e.learned.LearnPrompt(s.at, hashes[0], hashes[1], s.asked.Prompt.Text, r.Tokens.Prompt)
	}
	if complete && s.dialect.Outputs {
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
		{"gen_ai.usage.cache_write.tokens", "", u.CacheWrite, false},
		{"gen_ai.usage.audio.tokens", "", u.Audio, false},
	} {
		if c.always || c.tokens > 0 {
			s.step.set(c.property, strconv.FormatInt(c.tokens, 10))
		}
		if c.kind != "" {
			s.step.count(metric.Tokens(c.kind, source, model), c.tokens)
		}
	}
	s.step.set("gen_ai.usage.source", source)
}
