package metric

import (
	"strconv"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// The constructors take the labels in the table's order.

// Requests counts requests. The gate is "none" where none decided, the limit "" where no limit did.
func Requests(decision gate.Outcome, gate string, priority config.Priority, model, limit string) Counter {
	return Counter{Series{requests, [mostLabels]string{decision.String(), gate, priority.String(), model, limit}}}
}

// Tokens counts what was used.
func Tokens(tokenType, source, model string) Counter {
	return Counter{Series{tokens, [mostLabels]string{tokenType, source, model}}}
}

// Uncharged counts requests that passed without being charged.
func Uncharged(reason string) Counter { return Counter{Series{uncharged, [mostLabels]string{reason}}} }

// Evictions counts balances that were given up.
func Evictions(reason string) Counter { return Counter{Series{evictions, [mostLabels]string{reason}}} }

// Errors counts what went wrong.
func Errors(reason string) Counter { return Counter{Series{errors, [mostLabels]string{reason}}} }

// ConfigErrors counts configurations that were refused.
func ConfigErrors(reason string) Counter {
	return Counter{Series{configErrors, [mostLabels]string{reason}}}
}

// Warnings counts requests that passed near a gate's threshold.
func Warnings(gate, upstream string) Counter {
	return Counter{Series{warnings, [mostLabels]string{gate, upstream}}}
}

// Passthrough counts requests that passed a queue.
func Passthrough(upstream, reason string) Counter {
	return Counter{Series{passthrough, [mostLabels]string{upstream, reason}}}
}

// UpstreamErrors counts requests that were answered with an error. The upstream is "none" where none is configured.
func UpstreamErrors(upstream, status string) Counter {
	return Counter{Series{upstreamErrors, [mostLabels]string{upstream, status}}}
}

// BreakerTransitions counts the transitions of breakers.
func BreakerTransitions(upstream, from, to string) Counter {
	return Counter{Series{breakerTransitions, [mostLabels]string{upstream, from, to}}}
}

// Revoked counts streams that were ended for urgent requests.
func Revoked(upstream, status string) Counter {
	return Counter{Series{revoked, [mostLabels]string{upstream, status}}}
}

// QueueDepth is how many requests wait.
func QueueDepth(upstream string, priority config.Priority) Gauge {
	return Gauge{Series{queueDepth, [mostLabels]string{upstream, priority.String()}}}
}

// QueueBytes is how many bytes are kept back of the requests that wait.
func QueueBytes(upstream string) Gauge {
	return Gauge{Series{queueBytes, [mostLabels]string{upstream}}}
}

// InFlight is how many requests the upstream has.
func InFlight(upstream string) Gauge { return Gauge{Series{inFlight, [mostLabels]string{upstream}}} }

// Slots is how many requests the upstream can have.
func Slots(upstream string) Gauge { return Gauge{Series{slots, [mostLabels]string{upstream}}} }

// RetreatState is 0 normal, 1 retreating, 2 recovering.
func RetreatState(upstream string) Gauge {
	return Gauge{Series{retreatState, [mostLabels]string{upstream}}}
}

// RetreatAlarm is 1 while the upstream's budget is at its floor, else 0.
func RetreatAlarm(upstream string) Gauge {
	return Gauge{Series{retreatAlarm, [mostLabels]string{upstream}}}
}

// EffectiveRPM is the upstream's budget, in requests a minute.
func EffectiveRPM(upstream string) Gauge {
	return Gauge{Series{effectiveRPM, [mostLabels]string{upstream}}}
}

// BudgetAvailable is what an upstream's budget has left; kind is "requests" or "tokens".
func BudgetAvailable(upstream, kind string) Gauge {
	return Gauge{Series{budgetAvailable, [mostLabels]string{upstream, kind}}}
}

// Upstream429Ratio is the share of 429 in the upstream's answers, in thousandths.
func Upstream429Ratio(upstream string) Gauge {
	return Gauge{Series{upstream429Ratio, [mostLabels]string{upstream}}}
}

// Pressure is what the servers tell, shares in thousandths; 0 also where none tells it any more.
func Pressure(kind string) Gauge { return Gauge{Series{pressure, [mostLabels]string{kind}}} }

// PressureInstances is how many servers tell of that kind of pressure.
func PressureInstances(kind string) Gauge {
	return Gauge{Series{pressureInstances, [mostLabels]string{kind}}}
}

// PressureAge is the time since the last fetch that succeeded, in milliseconds.
func PressureAge() Gauge { return Gauge{Series{id: pressureAge}} }

// BreakerState is 0 closed, 1 half open, 2 open.
func BreakerState(upstream, model string) Gauge {
	return Gauge{Series{breakerState, [mostLabels]string{upstream, model}}}
}

// GateState is 0 passing, 1 warning, 2 refusing.
func GateState(gate, upstream, model string) Gauge {
	return Gauge{Series{gateState, [mostLabels]string{gate, upstream, model}}}
}

// LatencyAverage is in milliseconds; kind is "ttft" or "itl".
func LatencyAverage(kind, upstream, model string) Gauge {
	return Gauge{Series{latencyAverage, [mostLabels]string{kind, upstream, model}}}
}

// ThrottleSeverity is the share of all requests that is refused, of LOW first, in thousandths.
func ThrottleSeverity(upstream string) Gauge {
	return Gauge{Series{throttleSeverity, [mostLabels]string{upstream}}}
}

// QueueWait takes how long a request has waited, in milliseconds.
func QueueWait(priority config.Priority) Histogram {
	return Histogram{Series{queueWait, [mostLabels]string{priority.String()}}}
}

// TTFT takes the time to the first token, in milliseconds; of what does not stream, to the whole answer.
func TTFT(streaming bool, priority config.Priority) Histogram {
	return Histogram{Series{ttft, [mostLabels]string{strconv.FormatBool(streaming), priority.String()}}}
}

// ITL takes the average time between a stream's tokens, in milliseconds.
func ITL(streaming bool, priority config.Priority) Histogram {
	return Histogram{Series{itl, [mostLabels]string{strconv.FormatBool(streaming), priority.String()}}}
}

// FleetLeases counts leases of the fleet's limits that were asked for; status is one of lease.ResultNames.
func FleetLeases(status string) Counter {
	return Counter{Series{fleetLeases, [mostLabels]string{status}}}
}

// Spend counts what was charged to limits of dollars, in billionths of one.
func Spend(limit, model string) Counter {
	return Counter{Series{spend, [mostLabels]string{limit, model}}}
}

// Unpriced counts requests whose model has no price.
func Unpriced(model string) Counter { return Counter{Series{unpriced, [mostLabels]string{model}}} }

// What became of requests that Nearly counts.
const (
	NearlyRouted = "routed"
	NearlyLate   = "late"
	NearlyNoted  = "noted"
	NearlyShadow = "shadow"
)

// Nearly counts requests that passed while little was left of a limit.
func Nearly(limit, status string) Counter {
	return Counter{Series{nearly, [mostLabels]string{limit, status}}}
}

// FleetDown is 1 while the fleet's service doesn't answer.
func FleetDown() Gauge { return Gauge{Series{id: fleetDown}} }
