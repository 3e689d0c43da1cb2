package admit

import (
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
)

// What upstreams say of the limits that hold for us, by header: OpenAI's and Anthropic's
// (https://platform.openai.com/docs/guides/rate-limits, https://docs.anthropic.com/en/api/rate-limits). Anthropic's times of
// day are not read: there is no calendar here.

// hints are the slots of these headers.
type hints struct {
	retryAfter, retryAfterMs                     ident.Slot
	requests, tokens, resetRequests, resetTokens ident.Slot
	anthropicRequests, anthropicTokens           ident.Slot
}

func newHints(p *ident.Picker) hints {
	return hints{
		retryAfter: p.Want("retry-after"), retryAfterMs: p.Want("retry-after-ms"),
		requests: p.Want("x-ratelimit-remaining-requests"), tokens: p.Want("x-ratelimit-remaining-tokens"),
		resetRequests: p.Want("x-ratelimit-reset-requests"), resetTokens: p.Want("x-ratelimit-reset-tokens"),
		anthropicRequests: p.Want("anthropic-ratelimit-requests-remaining"), anthropicTokens: p.Want("anthropic-ratelimit-tokens-remaining"),
	}
}

// noAnswer is what is known of a request that nobody has answered: nothing, which is not the same as nothing being left.
var noAnswer = dispatch.Answer{Requests: -1, Tokens: -1}

// read takes what a response says.
func (x *hints) read(h *ident.Headers, status int) dispatch.Answer {
	a := dispatch.Answer{
		Requests: max(number(h.Get(x.requests)), number(h.Get(x.anthropicRequests))),
		Tokens:   max(number(h.Get(x.tokens)), number(h.Get(x.anthropicTokens))),
	}
	if status == 429 {
		a.Closed = max(time.Duration(number(h.Get(x.retryAfter)))*time.Second, time.Duration(number(h.Get(x.retryAfterMs)))*time.Millisecond, 0)
	}
	if a.Requests == 0 {
		a.Closed = max(a.Closed, duration(h.Get(x.resetRequests)))
	}
	if a.Tokens == 0 {
		a.Closed = max(a.Closed, duration(h.Get(x.resetTokens)))
	}
	return a
}

// number reads a count; -1 if there is none that could be meant.
func number(value string) int64 {
	const most = 1e9
	if value == "" {
		return -1
	}
	n, err := strconv.ParseInt(value, 10, 64)
	if err != nil || n < 0 || n > most {
		return -1
	}
	return n
}

// duration reads a time such as 6m0s, or a number of seconds; 0 if it is neither.
func duration(value string) time.Duration {
	if value == "" {
		return 0
	}
	if d, err := time.ParseDuration(value); err == nil {
		return max(d, 0)
	}
	return time.Duration(max(number(value), 0)) * time.Second
}
