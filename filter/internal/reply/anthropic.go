package reply

import (
	"strconv"
	"time"

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
	names := h.Limit.Unit.Headers
	return append(headers, [2]string{names[0], values[from:size]}, [2]string{names[1], values[size:left]}, [2]string{names[2], values[left:]}), text
}
