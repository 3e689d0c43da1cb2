package reply

import (
	"strconv"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// limited says that a limit has no room.
func limited(b []byte, v *gate.Verdict, a *About) []byte {
	switch {
	case v.Unchecked():
		return put(b, "Limit ", v.Limit.Name, " could not be checked in time.")
	case v.Reason == gate.Spent:
		b = strconv.AppendInt(put(b, "This session is over: the limit ", v.Limit.Name, " of "), v.Limit.Burst, 10)
		b = strconv.AppendInt(put(b, " ", v.Limit.Unit.Noun, " in all does not come back, used "), int64(v.Measured), 10)
		return put(strconv.AppendInt(put(b, ", requested "), v.Requested, 10), ". Trying again will not help.")
	case v.Wait == gate.Never:
		b = strconv.AppendInt(put(subject(put(b, "Request too large for "), v, a), ", requested "), v.Requested, 10)
		b = strconv.AppendInt(put(b, ". Ask for at most "), v.Limit.Burst, 10)
		return put(b, "; waiting will not help. (limit ", v.Limit.Name, ")")
	}
	b = subject(put(b, "Rate limit reached for "), v, a)
	if v.Limit.Window != 0 {
		b = put(b, ", used ")
	} else {
		b = put(b, ", now ")
	}
	b = put(strconv.AppendInt(b, int64(v.Measured), 10), ", requested ")
	return put(strconv.AppendInt(b, v.Requested, 10), ".")
}

// subject says for which model which limit holds.
func subject(b []byte, v *gate.Verdict, a *About) []byte {
	b = put(appendModel(b, a.Model), " on ", v.Limit.Unit.Noun)
	switch {
	case v.Limit.Calendar != "":
		b = put(b, " per ", string(v.Limit.Calendar))
	case v.Limit.Window != 0:
		b = appendWindow(put(b, " per "), v.Limit.Window)
	}
	return strconv.AppendInt(put(b, ": limit "), v.Limit.Burst, 10)
}

// AppendHeadroom appends the headers that tell what two limits have left, in a style; none of one that didn't apply, or has no window: they
// speak of what can be used in a time, and clients that pace themselves by them would take it for that. Their values are parts of text, to
// which they are appended.
func AppendHeadroom(headers [][2]string, text []byte, style config.RateLimitStyle, requests, tokens *gate.Headroom) ([][2]string, []byte) {
	if style != config.RateLimitsIETF {
		headers, text = appendOpenAI(headers, text, requests)
		headers, text = appendOpenAI(headers, text, tokens)
	}
	if style == config.RateLimitsIETF || style == config.RateLimitsBoth {
		headers, text = appendIETF(headers, text, requests, tokens)
	}
	return headers, text
}

// told says that clients are told of a limit.
func told(h *gate.Headroom) bool { return h.Limit != nil && h.Limit.Window != 0 }

// appendOpenAI appends a limit's x-ratelimit-*.
func appendOpenAI(headers [][2]string, text []byte, h *gate.Headroom) ([][2]string, []byte) {
	if !told(h) {
		return headers, text
	}
	names := &tokenHeaders
	if !h.Limit.Unit.Tokens() {
		names = &requestHeaders
	}
	from := len(text)
	text = strconv.AppendInt(text, h.Limit.Burst, 10)
	size := len(text)
	text = strconv.AppendInt(text, h.Remaining, 10)
	left := len(text)
	text = appendDuration(text, h.Reset)
	values := inplace.String(text)
	return append(headers, [2]string{names[0], values[from:size]}, [2]string{names[1], values[size:left]}, [2]string{names[2], values[left:]}), text
}

var (
	tokenHeaders   = [3]string{"x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"}
	requestHeaders = [3]string{"x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"}
)
