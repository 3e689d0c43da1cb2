package reply

import (
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// mostSF is the largest integer of a structured field (RFC 9651, section 3.3.1).
const mostSF = 999_999_999_999_999

// appendIETF appends RateLimit and RateLimit-Policy (draft-ietf-httpapi-ratelimit-headers-10), each a list with an entry for each of the
// limits: "name";r=224;t=912 and "name";q=300;w=3600. Names need no escape in them: the configuration takes letters, digits, "_", "." and
// "-" alone. Times are rounded up to seconds, so that nobody comes back too early.
func appendIETF(headers [][2]string, text []byte, requests, tokens *gate.Headroom) ([][2]string, []byte) {
	from := len(text)
	text = appendLeft(text, from, requests)
	text = appendLeft(text, from, tokens)
	policy := len(text)
	if policy == from {
		return headers, text
	}
	text = appendPolicy(text, policy, requests)
	text = appendPolicy(text, policy, tokens)
	values := inplace.String(text)
	return append(headers, [2]string{"ratelimit", values[from:policy]}, [2]string{"ratelimit-policy", values[policy:]}), text
}

// appendLeft appends what is left of a limit to a list that begins at from: r units, and t seconds until it is full.
func appendLeft(b []byte, from int, h *gate.Headroom) []byte {
	if !told(h) {
		return b
	}
	b = appendInteger(put(appendName(b, from, h), ";r="), h.Remaining)
	return appendInteger(put(b, ";t="), ceil(h.Reset, time.Second))
}

// appendPolicy appends what a limit gives to a list that begins at from: q units in w seconds, which are requests unless qu names others.
func appendPolicy(b []byte, from int, h *gate.Headroom) []byte {
	if !told(h) {
		return b
	}
	b = appendInteger(put(appendName(b, from, h), ";q="), h.Limit.Quantity)
	b = appendInteger(put(b, ";w="), ceil(h.Limit.Window, time.Second))
	if !h.Limit.Unit.Tokens() {
		return b
	}
	return put(b, `;qu="`, h.Limit.Unit.Noun, `"`)
}

func appendName(b []byte, from int, h *gate.Headroom) []byte {
	if len(b) > from {
		b = put(b, ", ")
	}
	return put(b, `"`, h.Limit.Name, `"`)
}

func appendInteger(b []byte, n int64) []byte { return strconv.AppendInt(b, min(max(n, 0), mostSF), 10) }
