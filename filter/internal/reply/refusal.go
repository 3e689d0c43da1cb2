package reply

import (
	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// About is what an answer says of the request that was refused.
type About struct {
	Format                    *Format // of the body
	Upstream, Model, Priority string
}

// Refuse makes the answer that a verdict asks for. statuses are the configured ones.
func (r *Reply) Refuse(v *gate.Verdict, a *About, statuses *config.StatusCode) {
	status, code, message := answer(v, a, statuses)
	f := refusal{Status: status, Reason: v.Gate + "/" + v.Reason, Message: again(v, message), Wait: v.Wait}
	if f.Kind, f.Code = "invalid_request_error", code; code == "" {
		f.Kind, f.Code = kind(v, status)
	}
	r.write(a.Format, &f)
	r.Headers = AppendHeadroom(r.Headers, v.Left())
}

// answer says what each gate's refusals have of their own: a status, a message, and, where the fault is the request's own, OpenAI's code
// for it. The last one is for a gate that is missing here, a mistake that a test finds (package admit, TestEveryGateHasItsAnswer).
func answer(v *gate.Verdict, a *About, c *config.StatusCode) (status int, code, message string) {
	switch v.Gate {
	case gate.Identity:
		if v.Reason == gate.Missing {
			return 401, "missing_identity", v.Message
		}
		return 400, v.Reason, v.Message
	case gate.Request:
		return 417, v.Reason, v.Message
	case gate.Model:
		return 400, "model_unread", v.Message
	case gate.Operation:
		return 400, "unknown_operation", v.Message
	case gate.Breaker:
		return c.Breaker, "", closed(v, a)
	case gate.Pressure:
		if v.Reason == gate.Ceiling { // there is capacity, only not for a lower priority
			return 429, "", pressed(v, a)
		}
		return c.Pressure, "", pressed(v, a)
	case gate.Latency:
		return c.Latency, "", closed(v, a)
	case gate.Throttle:
		return c.Throttle, "", closed(v, a)
	case gate.Limits:
		return c.Limits, "", limited(v, a)
	case gate.Queue:
		if v.Reason == gate.Full || v.Reason == gate.Dropped {
			return c.QueueFull, "", turned(v, a)
		}
		return c.QueueTimeout, "", turned(v, a)
	default:
		return 500, "", closed(v, a)
	}
}

// kind gives OpenAI's type and code of a refusal that is not the request's own fault.
func kind(v *gate.Verdict, status int) (kind, code string) {
	switch {
	case v.Limit != nil && v.Limit.Unit.Tokens():
		return "tokens", "rate_limit_exceeded"
	case v.Limit != nil, status == 429 && v.Gate != gate.Pressure, v.Reason == gate.Ceiling:
		return "requests", "rate_limit_exceeded"
	default:
		return "server_error", "service_unavailable"
	}
}

// again adds to a message when to come back.
func again(v *gate.Verdict, text string) string {
	if v.Wait == gate.Never {
		return text
	}
	text += " Please try again in " + Duration(v.Wait) + "."
	if v.Limit != nil && v.Reason != gate.Contended {
		text += " (limit " + v.Limit.Name + ")"
	}
	return text
}
