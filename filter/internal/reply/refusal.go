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

// row is what the answers to one gate's refusals have of their own.
type row struct {
	gate    string
	status  func(v *gate.Verdict, c *config.StatusCode) int
	code    func(v *gate.Verdict) string // in OpenAI's words, where the fault is the request's own; nil: it is not
	message func(v *gate.Verdict, a *About) string
}

// rows are all gates. The last one is for a gate that has none, a mistake that a test finds (package admit, TestEveryGateHasItsAnswer).
var rows = [...]row{
	{gate.Identity, unidentified, identityCode, own},
	{gate.Request, always417, reason, own},
	{gate.Model, always400, func(*gate.Verdict) string { return "model_unread" }, own},
	{gate.Operation, always400, func(*gate.Verdict) string { return "unknown_operation" }, own},
	{gate.Breaker, func(_ *gate.Verdict, c *config.StatusCode) int { return c.Breaker }, nil, closed},
	{gate.Pressure, underPressure, nil, pressed},
	{gate.Latency, func(_ *gate.Verdict, c *config.StatusCode) int { return c.Latency }, nil, closed},
	{gate.Throttle, func(_ *gate.Verdict, c *config.StatusCode) int { return c.Throttle }, nil, closed},
	{gate.Limits, func(_ *gate.Verdict, c *config.StatusCode) int { return c.Limits }, nil, limited},
	{gate.Queue, unserved, nil, turned},
	{"", func(*gate.Verdict, *config.StatusCode) int { return 500 }, nil, closed},
}

func rowOf(name string) (r *row) {
	for i := range rows {
		if r = &rows[i]; r.gate == name {
			break
		}
	}
	return r
}

// Refuse makes the answer that a verdict asks for. statuses are the configured ones.
func (r *Reply) Refuse(v *gate.Verdict, a *About, statuses *config.StatusCode) {
	of := rowOf(v.Gate)
	f := refusal{Status: of.status(v, statuses), Reason: v.Gate + "/" + v.Reason, Message: again(v, of.message(v, a)), Wait: v.Wait}
	f.Kind, f.Code = of.kind(v, f.Status)
	r.write(a.Format, &f)
	r.Headers = AppendHeadroom(r.Headers, v.Left())
}

// kind gives OpenAI's type and code of an error.
func (r *row) kind(v *gate.Verdict, status int) (kind, code string) {
	switch {
	case r.code != nil:
		return "invalid_request_error", r.code(v)
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

func always400(*gate.Verdict, *config.StatusCode) int { return 400 }

func always417(*gate.Verdict, *config.StatusCode) int { return 417 }

func unidentified(v *gate.Verdict, _ *config.StatusCode) int {
	if v.Reason == gate.Missing {
		return 401
	}
	return 400
}

func underPressure(v *gate.Verdict, c *config.StatusCode) int {
	if v.Reason == gate.Ceiling { // there is capacity, only not for a lower priority
		return 429
	}
	return c.Pressure
}

func unserved(v *gate.Verdict, c *config.StatusCode) int {
	if v.Reason == gate.Full || v.Reason == gate.Dropped {
		return c.QueueFull
	}
	return c.QueueTimeout
}

func identityCode(v *gate.Verdict) string {
	if v.Reason == gate.Missing {
		return "missing_identity"
	}
	return v.Reason
}

func reason(v *gate.Verdict) string { return v.Reason }

// own is what the gate itself says, of a request that can't be taken as it is.
func own(v *gate.Verdict, _ *About) string { return v.Message }
