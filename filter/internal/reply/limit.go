package reply

import (
	"bytes"
	"strconv"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// limited says that a limit has no room.
func limited(v *gate.Verdict) string {
	switch {
	case v.Reason == gate.FleetOver:
		return "Rate limit reached for $model$$fleet$."
	case v.Unchecked():
		return "Limit $limit$ could not be checked in time."
	case v.Reason == gate.Spent:
		return "This session is over: the limit $limit$ of $burst$ $noun$ in all does not come back, used $used$, requested $requested$. Trying again will not help."
	case v.Reason == gate.Unpriced:
		return "What a request costs is not known, since its model has no price here, and the limit $limit$ is one of dollars. " +
			"Whoever runs the gateway names the model under prices."
	case v.Wait == gate.Never:
		return "Request too large for $model$ on $noun$$window$: limit $burst$, requested $requested$. Ask for at most $burst$; waiting will not help. (limit $limit$)"
	case v.Limit.Window != 0:
		return "Rate limit reached for $model$ on $noun$$window$: limit $burst$, used $figures$"
	default:
		return "Rate limit reached for $model$ on $noun$$window$: limit $burst$, now $figures$"
	}
}

// ofLimit appends what a name stands for that is a limit's.
func ofLimit(b []byte, name string, v *gate.Verdict) []byte {
	l := v.Limit
	switch name {
	case "limit":
		return append(b, l.Name...)
	case "noun":
		return append(b, l.Unit.Noun...)
	case "window":
		return window(b, l)
	case "burst":
		return appendUnits(b, l, l.Burst)
	case "used":
		return appendUnits(b, l, v.Used())
	case "requested":
		return appendUnits(b, l, v.Requested)
	default:
		return figures(b, v)
	}
}

// figures says what is used and what was asked for.
func figures(b []byte, v *gate.Verdict) []byte {
	b = put(appendUnits(b, v.Limit, v.Used()), ", requested ")
	return put(appendUnits(b, v.Limit, v.Requested), ".")
}

// fleet says of a limit that only its own service knows well what that tells of it.
func fleet(b []byte, l *FleetLimit) []byte {
	if l.Name != "" {
		b = put(b, " on ", l.Name)
	}
	if b = put(b, ", over all gateways"); l.Quantity != "" {
		b = put(b, ": limit ", l.Quantity)
	}
	if l.Window != 0 {
		b = appendWindow(put(b, " per "), l.Window)
	}
	return b
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

// window says in which time a limit holds, if in any.
func window(b []byte, l *config.Limit) []byte {
	switch {
	case l.Calendar != "":
		return put(b, " per ", string(l.Calendar))
	case l.Window != 0:
		return appendWindow(put(b, " per "), l.Window)
	}
	return b
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
	return with(with(with(headers, names[0], values[from:size]), names[1], values[size:left]), names[2], values[left:]), text
}

var (
	tokenHeaders   = [3]string{"x-ratelimit-limit-tokens", "x-ratelimit-remaining-tokens", "x-ratelimit-reset-tokens"}
	requestHeaders = [3]string{"x-ratelimit-limit-requests", "x-ratelimit-remaining-requests", "x-ratelimit-reset-requests"}
)
