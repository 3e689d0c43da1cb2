package reply

import (
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// About is what an answer says of the request that was refused.
type About struct {
	Format                    *Format // of the body
	Upstream, Model, Priority string
	NoHeadroom                bool // it doesn't tell what a limit has left
	Told                      Told
	Fleet                     *FleetLimit // with the reason FleetOver
	Said                      *Said       // what answers have said lately; nil: it isn't known
}

// FleetLimit is what Envoy's ratelimit filter tells of its limit; "" and 0: it doesn't.
type FleetLimit struct {
	Name, Quantity string
	Window         time.Duration
}

// Refuse makes the answer that a verdict asks for. statuses are the configured ones.
func (r *Reply) Refuse(v *gate.Verdict, a *About, statuses *config.StatusCode) {
	status, code := answer(v, statuses)
	r.text = put(r.text[:0], v.Gate, "/", v.Reason)
	r.head(status, inplace.String(r.text), v.Wait)
	if !r.sayAgain(v, a) {
		r.message = again(message(r.message[:0], v, a), v)
		kind, code := errorOf(v, a, status, code)
		r.Body = a.Format.Append(r.Body[:0], status, inplace.String(r.message), kind, code)
		r.keep(v, a)
	}
	if !a.NoHeadroom {
		left := v.Left()
		r.Headers, r.text = AppendHeadroom(r.Headers, r.text, &a.Told, &left, &gate.Headroom{})
	}
}

// answer says what each gate's refusals have of their own: a status and, where the fault is the request's own, OpenAI's code for it. The
// last one is for a gate that is missing here and in message, a mistake that a test finds (package admit, TestEveryGateHasItsAnswer).
func answer(v *gate.Verdict, c *config.StatusCode) (status int, code string) {
	switch v.Gate {
	case gate.Identity:
		if v.Reason == gate.Missing {
			return 401, "missing_identity"
		}
		return 400, v.Reason
	case gate.Request:
		if v.Reason == gate.Patience {
			return 400, v.Reason
		}
		return 417, v.Reason
	case gate.Model:
		return 400, "model_unread"
	case gate.Operation:
		return 400, "unknown_operation"
	case gate.Breaker:
		return c.Breaker, ""
	case gate.Pressure:
		if v.Reason == gate.Ceiling { // there is capacity, only not for a lower priority
			return 429, ""
		}
		return c.Pressure, ""
	case gate.Latency:
		return c.Latency, ""
	case gate.Throttle:
		return c.Throttle, ""
	case gate.Limits:
		if v.Reason == gate.Unpriced {
			return 400, "model_unpriced"
		}
		return c.Limits, ""
	case gate.Queue:
		switch v.Reason {
		case gate.TooLarge:
			return 413, v.Reason
		case gate.Full, gate.FullBytes, gate.Dropped, gate.Drained:
			return c.QueueFull, ""
		}
		return c.QueueTimeout, ""
	default:
		return 500, ""
	}
}

// message says why.
func message(b []byte, v *gate.Verdict, a *About) []byte {
	switch v.Gate {
	case gate.Identity, gate.Request, gate.Model, gate.Operation:
		return put(b, v.Message)
	case gate.Pressure:
		return fill(b, busy(v), v, a)
	case gate.Limits:
		return fill(b, limited(v), v, a)
	case gate.Queue:
		return fill(b, queued(v), v, a)
	default:
		return fill(b, unhealthy(v), v, a)
	}
}

// fill appends a text in which $name$ stands for what it is about. As code of their own these words took 2 KB more of the module.
func fill(b []byte, text string, v *gate.Verdict, a *About) []byte {
	text, rest, more := strings.Cut(text, "$")
	for b = append(b, text...); more; b = append(b, text...) {
		var name string
		name, rest, _ = strings.Cut(rest, "$")
		b = value(b, name, v, a)
		text, rest, more = strings.Cut(rest, "$")
	}
	return b
}

// value appends what a name stands for.
func value(b []byte, name string, v *gate.Verdict, a *About) []byte {
	switch name {
	case "upstream":
		return append(b, a.Upstream...)
	case "priority":
		return append(b, a.Priority...)
	case "model":
		return appendModel(b, a.Model)
	case "waited":
		return appendDuration(b, v.Waited)
	case "percent":
		return numbers(b, v, appendPercent)
	case "milliseconds":
		return numbers(b, v, appendMilliseconds)
	case "rate":
		return numbers(b, v, appendPerSecond)
	case "blocks":
		return blocks(b, v)
	case "measured":
		return strconv.AppendInt(b, int64(v.Measured), 10)
	case "threshold":
		return strconv.AppendInt(b, int64(v.Threshold), 10)
	case "fleet":
		return fleet(b, a.Fleet)
	default:
		return ofLimit(b, name, v)
	}
}

// errorOf gives OpenAI's type and code of a refusal. code is that of one that is the request's own fault.
func errorOf(v *gate.Verdict, a *About, status int, code string) (kind, _ string) {
	if code != "" {
		return "invalid_request_error", code
	}
	if kind, code = kindOf(v, status); v.Reason == gate.FleetOver && strings.Contains(a.Fleet.Name, "tokens") {
		kind = "tokens"
	}
	return kind, code
}

// kindOf gives them of one that is not.
func kindOf(v *gate.Verdict, status int) (kind, code string) {
	switch {
	case v.Reason == gate.Spent, v.Limit != nil && v.Limit.Unit.Money():
		return "insufficient_quota", "insufficient_quota"
	case v.Limit != nil && v.Limit.Unit.Tokens():
		return "tokens", "rate_limit_exceeded"
	case v.Limit != nil, status == 429 && v.Gate != gate.Pressure, v.Reason == gate.Ceiling:
		return "requests", "rate_limit_exceeded"
	default:
		return "server_error", "service_unavailable"
	}
}

// again adds to a message when to come back.
func again(b []byte, v *gate.Verdict) []byte {
	if v.Wait == gate.Never || v.Wait == 0 {
		return b
	}
	b = soon(b, v)
	if v.Limit != nil && !v.Unchecked() {
		b = put(b, " (limit ", v.Limit.Name, ")")
	}
	return b
}

// soon says when to come back.
func soon(b []byte, v *gate.Verdict) []byte {
	return put(appendDuration(put(b, " Please try again in "), v.Wait), ".")
}
