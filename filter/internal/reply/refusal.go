package reply

import (
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
	r.message = again(message(r.message[:0], v, a), v)
	f := refusal{Status: status, Reason: inplace.String(r.text), Message: inplace.String(r.message), Wait: v.Wait}
	if f.Kind, f.Code = "invalid_request_error", code; code == "" {
		if f.Kind, f.Code = kind(v, status); v.Reason == gate.FleetOver && strings.Contains(a.Fleet.Name, "tokens") {
			f.Kind = "tokens"
		}
	}
	r.write(a.Format, &f)
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
		return busy(b, v, a)
	case gate.Limits:
		return limited(b, v, a)
	case gate.Queue:
		return queued(b, v, a)
	default:
		return unhealthy(b, v, a)
	}
}

// kind gives OpenAI's type and code of a refusal that is not the request's own fault.
func kind(v *gate.Verdict, status int) (kind, code string) {
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
	b = put(appendDuration(put(b, " Please try again in "), v.Wait), ".")
	if v.Limit != nil && !v.Unchecked() {
		b = put(b, " (limit ", v.Limit.Name, ")")
	}
	return b
}
