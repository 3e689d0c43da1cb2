package account

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
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
func (x *Exchange) plausible(now clock.Moment) usage.Tokens {
	seconds := int64(max(now.Sub(x.Since), 0)/time.Second) + 1
	return usage.Tokens{
		Prompt:     x.bytes() + hiddenPrompt + promptRate*seconds,
		Completion: x.Reader.Bytes() + x.Asked.OutputBound + hiddenOutput + outputRate*seconds,
	}
}

// cut takes off what is beyond the plausible, and says whether there was anything.
func cut(t *usage.Tokens, most usage.Tokens) (changed bool) {
	said := *t
	t.Prompt, t.Cached, t.CacheWrite = min(t.Prompt, most.Prompt), min(t.Cached, most.Prompt), min(t.CacheWrite, most.Prompt)
	t.Completion, t.Reasoning = min(t.Completion, most.Completion), min(t.Reasoning, most.Completion)
	t.Audio, t.AudioOutput = min(t.Audio, most.Prompt+most.Completion), min(t.AudioOutput, most.Completion)
	return *t != said
}
