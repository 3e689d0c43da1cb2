package admit

import (
	"cmp"

	"github.com/spillway-proxy/spillway/config/filterstate"
	"github.com/spillway-proxy/spillway/filter/internal/account"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/metric"
)

// What a request has used, and what that teaches, is package account's; here is done what it says.

// foreign says that the response is not the upstream's, nor the proxy's for want of one: it says nothing of the upstream.
func (s *Stream) foreign() bool {
	return s.exchange.Origin.Foreign()
}

// finish settles an admitted request, once. complete says that the whole response has passed.
func (e *Engine) finish(s *Stream, now clock.Moment, complete bool) {
	switch s.phase {
	case stQueued: // the upstream never had it
		e.abandon(s, now, gate.Cancelled)
		return
	case stSent:
	default:
		return
	}
	s.phase = stDone
	e.leaving.remove(s)
	e.untold.remove(s)
	e.learnLabel(s, now)
	e.count(s)
	s.settlement = e.accountant.Settle(&s.exchange, now, complete)
	e.publish(s, &s.settlement)
	e.countError(s, &s.settlement)
	e.finishAll(s, now)
}

// countError counts an answer that is an error, also inside of a stream. Another filter's is none of the upstream's.
func (e *Engine) countError(s *Stream, end *account.Settlement) {
	status := cmp.Or(end.Failure, end.Status)
	if status < 400 || s.foreign() {
		return
	}
	upstream := "none"
	if s.upstream != nil {
		upstream = s.upstream.name
	}
	e.out.count(metric.UpstreamErrors(upstream, statusLabel(status)), 1)
}

// statusLabel is what a metric calls a status of an error: no upstream can make up labels.
func statusLabel(status int) string {
	for i := range knownStatuses {
		if knownStatuses[i].status == status {
			return knownStatuses[i].label
		}
	}
	if status < 500 {
		return "4xx"
	}
	return "5xx"
}

// knownStatuses are those that clients, or operators, know how to take.
var knownStatuses = [...]struct {
	status int
	label  string
}{
	{400, "400"}, {401, "401"}, {403, "403"}, {404, "404"}, {408, "408"}, {413, "413"}, {422, "422"}, {429, "429"},
	{500, "500"}, {502, "502"}, {503, "503"}, {504, "504"}, {529, "529"},
}

// progress takes note of what a piece of the response's body has brought.
func (e *Engine) progress(s *Stream, now clock.Moment, end bool) {
	output, first := s.exchange.Progress(now)
	if first {
		e.observeAll(s, now)
	}
	if output {
		s.pace.output(now, s.exchange.Outputs)
	}
	if s.exchange.Stream && !end {
		e.tellOutput(s, now)
	}
}

// publish puts what a request comes to into the filter state and the metrics.
func (e *Engine) publish(s *Stream, end *account.Settlement) {
	e.out.set(s, filterstate.ResponseModel, end.Model)
	if end.Implausible {
		e.implausible(s)
	}
	if end.Unread {
		e.out.count(metric.Errors("response_unread"), 1)
	}
	if end.Source != account.None {
		e.publishUsage(s, end)
		e.publishTimes(s, end)
	}
}

// implausible counts a report that can't be true. The log has it once: who sends one sends many.
func (e *Engine) implausible(s *Stream) {
	e.out.count(metric.Errors("usage_implausible"), 1)
	if !e.foundImplausible {
		e.foundImplausible = true
		e.out.warn("an upstream reports more tokens than can be, or a number that is none: such figures are cut, and counted in" +
			" spillway_errors_total{reason=\"usage_implausible\"}")
	}
}

// publishUsage publishes the final counts: those of which there always are some, and others if there are any.
func (e *Engine) publishUsage(s *Stream, end *account.Settlement) {
	used, model, source := &end.Used, e.label(s.exchange.Model), end.Source.String()
	e.beat.tokens(used)
	for _, c := range [...]struct {
		value  filterstate.Value
		kind   string
		tokens int64
		always bool
	}{
		{filterstate.PromptTokens, "input", used.Prompt, true},
		{filterstate.CompletionTokens, "output", used.Completion, true},
		{filterstate.TotalTokens, "", used.Total, true},
		{filterstate.CachedTokens, "cached", used.Cached, false},
		{filterstate.ReasoningTokens, "reasoning", used.Reasoning, false},
		{filterstate.CacheWriteTokens, "", used.CacheWrite, false},
		{filterstate.AudioTokens, "", used.Audio, false},
	} {
		if c.always || c.tokens > 0 {
			e.out.setNumber(s, c.value, c.tokens)
		}
		if c.kind != "" {
			e.out.count(metric.Tokens(c.kind, source, model), c.tokens)
		}
	}
	e.out.set(s, filterstate.UsageSource, source)
}

// publishTimes publishes how fast the answer came, as the client saw it. Of what doesn't stream the filter state has no times.
func (e *Engine) publishTimes(s *Stream, end *account.Settlement) {
	stream, priority := s.exchange.Stream, s.caller.Priority
	if end.TTFT >= 0 {
		ttft := end.TTFT.Milliseconds()
		if stream {
			e.out.setNumber(s, filterstate.TTFTMillis, ttft)
		}
		e.out.sample(metric.TTFT(stream, priority), ttft)
	}
	if end.ITL >= 0 {
		itl := end.ITL.Milliseconds()
		e.out.setNumber(s, filterstate.ITLMillis, itl)
		e.out.sample(metric.ITL(stream, priority), itl)
	}
}
