package reply

import (
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// appendAnthropic appends a limit's anthropic-ratelimit-* (https://docs.anthropic.com/en/api/rate-limits#response-headers): the limit, what is
// left, and when it is full again, as a time of RFC 3339, rounded up to a second.
func appendAnthropic(headers [][2]string, text []byte, second int64, h *gate.Headroom) ([][2]string, []byte) {
	if !told(h) {
		return headers, text
	}
	from := len(text)
	text = strconv.AppendInt(text, h.Limit.Burst, 10)
	size := len(text)
	text = strconv.AppendInt(text, h.Remaining, 10)
	left := len(text)
	text = append(clock.AppendDateTime(text, second+ceil(h.Reset, time.Second)), 'Z')
	values := inplace.String(text)
	names := anthropicNames(h.Limit.Unit)
	return append(headers, [2]string{names[0], values[from:size]}, [2]string{names[1], values[size:left]}, [2]string{names[2], values[left:]}), text
}

// anthropicNames are those of a unit. What counts input or output alone has its own, and all else that isn't requests is "tokens".
func anthropicNames(unit *config.Unit) *[3]string {
	switch unit.Counts {
	case config.CountsRequests:
		return &anthropicRequests
	case config.CountsPrompt:
		return &anthropicInput
	case config.CountsCompletion:
		return &anthropicOutput
	default:
		return &anthropicTokens
	}
}

var (
	anthropicRequests = [3]string{"anthropic-ratelimit-requests-limit", "anthropic-ratelimit-requests-remaining", "anthropic-ratelimit-requests-reset"}
	anthropicTokens   = [3]string{"anthropic-ratelimit-tokens-limit", "anthropic-ratelimit-tokens-remaining", "anthropic-ratelimit-tokens-reset"}
	anthropicInput    = [3]string{"anthropic-ratelimit-input-tokens-limit", "anthropic-ratelimit-input-tokens-remaining", "anthropic-ratelimit-input-tokens-reset"}
	anthropicOutput   = [3]string{"anthropic-ratelimit-output-tokens-limit", "anthropic-ratelimit-output-tokens-remaining", "anthropic-ratelimit-output-tokens-reset"}
)
