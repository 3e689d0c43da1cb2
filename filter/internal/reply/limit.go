package reply

import (
	"bytes"
	"strconv"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// limited says that a limit has no room.
func limited(b []byte, v *gate.Verdict, a *About) []byte {
	switch {
	case v.Reason == gate.FleetOver:
		return overFleet(b, a)
	case v.Unchecked():
		return put(b, "Limit ", v.Limit.Name, " could not be checked in time.")
	case v.Reason == gate.Spent:
		b = appendUnits(put(b, "This session is over: the limit ", v.Limit.Name, " of "), v.Limit, v.Limit.Burst)
		b = appendUnits(put(b, " ", v.Limit.Unit.Noun, " in all does not come back, used "), v.Limit, v.Used())
		return put(appendUnits(put(b, ", requested "), v.Limit, v.Requested), ". Trying again will not help.")
	case v.Reason == gate.Unpriced:
		return put(b, "What a request costs is not known, since its model has no price here, and the limit ", v.Limit.Name, " is one of dollars. ",
			"Whoever runs the gateway names the model under prices.")
	case v.Wait == gate.Never:
		b = appendUnits(put(subject(put(b, "Request too large for "), v, a), ", requested "), v.Limit, v.Requested)
		b = appendUnits(put(b, ". Ask for at most "), v.Limit, v.Limit.Burst)
		return put(b, "; waiting will not help. (limit ", v.Limit.Name, ")")
	}
	b = subject(put(b, "Rate limit reached for "), v, a)
	if v.Limit.Window != 0 {
		b = put(b, ", used ")
	} else {
		b = put(b, ", now ")
	}
	b = put(appendUnits(b, v.Limit, v.Used()), ", requested ")
	return put(appendUnits(b, v.Limit, v.Requested), ".")
}

// overFleet says that a limit is used up that only its own service knows well.
func overFleet(b []byte, a *About) []byte {
	b = appendModel(put(b, "Rate limit reached for "), a.Model)
	if a.Fleet.Name != "" {
		b = put(b, " on ", a.Fleet.Name)
	}
	if b = put(b, ", over all gateways"); a.Fleet.Quantity != "" {
		b = put(b, ": limit ", a.Fleet.Quantity)
	}
	if a.Fleet.Window != 0 {
		b = appendWindow(put(b, " per "), a.Fleet.Window)
	}
	return put(b, ".")
}

// appendUnits appends an amount of a limit, of dollars with their cents, and to the millionth, rounded up: $0.01, $500.00, $0.000251.
func appendUnits(b []byte, l *config.Limit, n int64) []byte {
	if !l.Unit.Money() {
		return strconv.AppendInt(b, n, 10)
	}
	const thousand = 1000
	start := len(b) + 1
	b = config.AppendDollars(append(b, '$'), (max(n, 0)+thousand-1)/thousand*thousand)
	point := bytes.IndexByte(b[start:], '.')
	if point < 0 {
		return put(b, ".00")
	}
	if len(b)-start-point == len(".0") {
		b = append(b, '0')
	}
	return b
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
	return appendUnits(put(b, ": limit "), v.Limit, v.Limit.Burst)
}

// Told is how answers tell of limits.
type Told struct {
	Style     config.RateLimitStyle
	Anthropic bool  // the API that was asked is Anthropic's
	Second    int64 // the time of day, since 1970
}

// AppendHeadroom appends the headers that tell what two limits have left; none of one that didn't apply, or has no window: they
// speak of what can be used in a time, and clients that pace themselves by them would take it for that. Their values are parts of text, to
// which they are appended.
func AppendHeadroom(headers [][2]string, text []byte, how *Told, requests, tokens *gate.Headroom) ([][2]string, []byte) {
	switch {
	case how.Style == config.RateLimitsIETF:
	case how.Style == config.RateLimitsDialect && how.Anthropic:
		headers, text = appendAnthropic(headers, text, how.Second, requests)
		headers, text = appendAnthropic(headers, text, how.Second, tokens)
	default:
		headers, text = appendOpenAI(headers, text, requests)
		headers, text = appendOpenAI(headers, text, tokens)
	}
	if how.Style == config.RateLimitsIETF || how.Style == config.RateLimitsBoth {
		headers, text = appendIETF(headers, text, requests, tokens)
	}
	return headers, text
}

// told says that clients are told of a limit.
func told(h *gate.Headroom) bool {
	return h.Limit != nil && h.Limit.Window != 0 && h.Limit.Unit.Headers != nil
}

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
