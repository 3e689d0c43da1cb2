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
	f := refusal{Status: status(v, statuses), Reason: v.Gate + "/" + v.Reason, Message: message(v, a), Wait: v.Wait}
	f.Kind, f.Code = kind(v, f.Status)
	r.write(a.Format, &f)
	r.Headers = AppendHeadroom(r.Headers, v.Left())
}

func status(v *gate.Verdict, statuses *config.StatusCode) int {
	switch v.Gate {
	case gate.Identity:
		if v.Reason == gate.Missing {
			return 401
		}
		return 400
	case gate.Request:
		return 417
	case gate.Model, gate.Operation:
		return 400
	case gate.Breaker:
		return statuses.Breaker
	case gate.Latency:
		return statuses.Latency
	case gate.Throttle:
		return statuses.Throttle
	case gate.Limits:
		return statuses.Limits
	case gate.Pressure:
		if v.Reason == gate.Ceiling { // there is capacity, only not for a lower priority
			return 429
		}
		return statuses.Pressure
	default:
		if v.Reason == gate.Full || v.Reason == gate.Dropped {
			return statuses.QueueFull
		}
		return statuses.QueueTimeout
	}
}

// kind gives OpenAI's type and code of an error.
func kind(v *gate.Verdict, status int) (kind, code string) {
	switch {
	case v.Gate == gate.Identity && v.Reason == gate.Missing:
		return "invalid_request_error", "missing_identity"
	case v.Gate == gate.Model:
		return "invalid_request_error", "model_unread"
	case v.Gate == gate.Operation:
		return "invalid_request_error", "unknown_operation"
	case v.Gate == gate.Identity, v.Gate == gate.Request:
		return "invalid_request_error", v.Reason
	case v.Limit != nil && v.Limit.Unit.Tokens():
		return "tokens", "rate_limit_exceeded"
	case v.Limit != nil, status == 429 && v.Gate != gate.Pressure, v.Reason == gate.Ceiling:
		return "requests", "rate_limit_exceeded"
	default:
		return "server_error", "service_unavailable"
	}
}

// message says why, and when to come back.
func message(v *gate.Verdict, a *About) (text string) {
	switch v.Gate {
	case gate.Identity, gate.Request, gate.Model, gate.Operation:
		return v.Message
	case gate.Limits:
		text = limited(v, a)
	case gate.Pressure:
		text = pressed(v, a)
	case gate.Queue:
		text = turned(v, a)
	default:
		text = closed(v, a)
	}
	if v.Wait == gate.Never {
		return text
	}
	text += " Please try again in " + Duration(v.Wait) + "."
	if v.Gate == gate.Limits && v.Reason != gate.Contended {
		text += " (limit " + v.Limit.Name + ")"
	}
	return text
}
