package admit

import (
	"github.com/spillway-proxy/spillway/filter/internal/metric"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// What an upstream may report at most. An upstream is believed about its own work, but not without bounds: a figure that is
// wrong by orders of magnitude would lock a caller out for years. The bounds are loose on purpose, since much of the work does not
// show: a prompt is also what a server has stored, searched or fetched, a completion is also reasoning, and both are sums
// where a server goes through several rounds by itself.
const (
	// hiddenPrompt is the largest context that is served to the public today, rounded up, for prompts that are not in the body.
	hiddenPrompt = 2 << 20
	// hiddenOutput is the longest output of today's models, reasoning included.
	hiddenOutput = 128 << 10

	promptRate = 100_000 // tokens a second that no server reads faster
	outputRate = 10_000  // tokens a second that no server writes faster
)

// plausible is the most that a report can say of the prompt, of which no token takes less than a byte of the body, and of the
// completion, for which the same holds, and which the request may have bounded. What else there may be takes time.
func (s *Stream) plausible() usage.Tokens {
	seconds := max(s.at-s.since, 0)/second + 1
	return usage.Tokens{
		Prompt:     s.bytes() + hiddenPrompt + promptRate*seconds,
		Completion: s.response.Bytes() + s.asked.OutputBound + hiddenOutput + outputRate*seconds,
	}
}

// cut takes off what is beyond the plausible, and says whether there was anything.
func cut(t *usage.Tokens, most usage.Tokens) (changed bool) {
	for _, c := range []struct {
		count *int64
		most  int64
	}{
		{&t.Prompt, most.Prompt}, {&t.Cached, most.Prompt}, {&t.CacheWrite, most.Prompt},
		{&t.Completion, most.Completion}, {&t.Reasoning, most.Completion}, {&t.Audio, most.Prompt + most.Completion},
	} {
		if *c.count > c.most {
			*c.count, changed = c.most, true
		}
	}
	return changed
}

// implausible counts a report that can't be true. The log has it once: who sends one sends many.
func (e *Engine) implausible(s *Stream) {
	s.step.count(metric.Errors("usage_implausible"), 1)
	if !e.doubted {
		e.doubted = true
		s.step.warn("an upstream reports more tokens than can be, or a number that is none: such figures are cut, and counted in" +
			" spillway_errors_total{reason=\"usage_implausible\"}")
	}
}
