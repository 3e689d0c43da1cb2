package metric

import "slices"

// Row is what the table has of a metric. Its name begins with spillway_, a counter's ends in _total.
type Row struct {
	Name   string
	Kind   Kind
	Unit   string
	Labels []string
	Help   string // a sentence or two, in Markdown
}

// The metrics. A new one is a line here, a row of the table and a constructor, and is set somewhere.
const (
	requests ID = iota
	tokens
	uncharged
	evictions
	errors
	configErrors
	warnings
	passthrough
	upstreamErrors
	breakerTransitions
	fleetLeases
	spend
	unpriced
	nearly
	revoked

	queueDepth
	queueBytes
	inFlight
	slots
	retreatState
	retreatAlarm
	effectiveRPM
	budgetAvailable
	upstream429Ratio
	pressure
	pressureInstances
	pressureAge
	breakerState
	gateState
	latencyAverage
	throttleSeverity
	fleetDown

	queueWait
	ttft
	itl

	Count // how many there are
)

// The host takes whole numbers only, hence the thousandths. Prometheus adds _bucket, _sum and _count to a histogram's name.
var table = [Count]Row{
	requests: {"spillway_requests_total", KindCounter, "requests", []string{"decision", "gate", "priority", "model", "limit"},
		"Every request, once, by what became of it and the gate that decided; `none`: no gate did. `limit` is the limit's name, where one decided."},
	tokens: {"spillway_tokens_total", KindCounter, "tokens", []string{"type", "source", "model"},
		"What was used. `type` is `input`, `output`, `cached` (a part of input) or `reasoning` (of output); `source` is how it is known:" +
			" `reported`, `counted` or `estimated`."},
	uncharged: {"spillway_uncharged_total", KindCounter, "requests", []string{"reason"},
		"Requests that passed without being charged. `unknown_path`: nothing says how it is read. `model_unread`: its model can't be told." +
			" `answered_early`: its answer came before it was complete. `store`: shared data failed. `contended`: a charge could not be written for the crowd of workers."},
	evictions: {"spillway_evictions_total", KindCounter, "balances", []string{"reason"},
		"Balances that were given up. `page_full`: for those of others."},
	errors: {"spillway_errors_total", KindCounter, "errors", []string{"reason"},
		"What went wrong; the log tells more. `panic`: a fault of the filter, contained. `host_…`: Envoy refused that call. `stream_gone`: a request ended" +
			" unnoticed. `store`: shared data failed. `record_damaged`: a record in it was begun anew. `body_not_delivered`: Envoy keeps bodies back." +
			" `response_unread`: an answer was not what its path lets expect. `usage_implausible`: it reported more tokens than can be." +
			" `stream_options_refused`: an upstream won't report the usage of streams. `pressure_fetch`, `pressure_value`, `pressure_instances`:" +
			" a fetch of pressure failed, had values that can't be, had more servers than are read."},
	configErrors: {"spillway_config_errors_total", KindCounter, "configurations", []string{"reason"},
		"Configurations that were refused (`invalid`), and overrides that don't fit the configuration (`overrides`), once for each worker; the log has every error."},
	warnings: {"spillway_warnings_total", KindCounter, "requests", []string{"gate", "upstream"},
		"Requests that passed near a gate's threshold."},
	passthrough: {"spillway_passthrough_total", KindCounter, "requests", []string{"upstream", "reason"},
		"Requests that passed though the queue was full: they waited beyond it (`queue_full`), or did not wait (`bypassed`)."},
	upstreamErrors: {"spillway_upstream_errors_total", KindCounter, "requests", []string{"upstream", "status"},
		"Requests that were answered with an error, by the upstream or by Envoy for want of one, also inside of a stream that began well. `status` is" +
			" one of those that clients know how to take, or `4xx` or `5xx`; `upstream` is `none` where none is configured."},
	breakerTransitions: {"spillway_breaker_transitions_total", KindCounter, "transitions", []string{"upstream", "from", "to"},
		"Transitions of breakers, of all models; `from` and `to` are `CLOSED`, `OPEN` or `HALF_OPEN`."},

	fleetLeases: {"spillway_fleet_leases_total", KindCounter, "leases", []string{"status"},
		"What its service was asked about limits of the fleet: `leased`; `over_limit`, less was left than was asked for; `given_back`; `looked`, only what is counted; `failed`, no " +
			"answer that can be used."},

	spend: {"spillway_spend_nanodollars_total", KindCounter, "billionths of a dollar", []string{"limit", "model"},
		"What was charged to each limit of dollars, by `prices`. A request that several limits are charged for counts in each. Of `model` the request's counts."},
	unpriced: {"spillway_unpriced_total", KindCounter, "requests", []string{"model"},
		"Requests whose model has no price, where a limit counts dollars: refused, or passed without a charge, as `unpriced` says. Those whose model can't be told are among them."},
	nearly: {"spillway_nearly_total", KindCounter, "requests", []string{"limit", "status"},
		"Requests that passed while little was left of a limit, as its `nearly` says. `status` `routed`: its headers were set, and the route was chosen again. `late`: they could not be, since the" +
			" request's had gone on. `noted`: it has none to set. `shadow`: the limit is in shadow mode."},
	revoked: {"spillway_revoked_total", KindCounter, "requests", []string{"upstream", "status"},
		"Low streams that were ended for urgent requests (`queue.revoke`). `status` `told`: the client has an error in the stream; `cut`: no piece of the stream came in time to tell it."},

	queueDepth: {"spillway_queue_depth", KindGauge, "requests", []string{"upstream", "priority"},
		"Requests that wait for their turn, of all workers."},
	queueBytes: {"spillway_queue_bytes", KindGauge, "bytes", []string{"upstream"},
		"Bytes of bodies that are kept back while their requests wait, of all workers (`queue.maxBytes`)."},
	inFlight: {"spillway_inflight", KindGauge, "requests", []string{"upstream"},
		"Requests that the upstream has, of all workers; where concurrency.weights are set, each by its weight."},
	slots: {"spillway_slots", KindGauge, "requests", []string{"upstream"},
		"How many requests it can have (`concurrency.max`); where that is `auto`, what is learned."},
	retreatState: {"spillway_retreat_state", KindGauge, "state", []string{"upstream"},
		"0 normal, 1 retreating, 2 recovering."},
	retreatAlarm: {"spillway_retreat_alarm", KindGauge, "state", []string{"upstream"},
		"1 while the upstream's budget is at its floor because it answers so many requests with 429, else 0."},
	effectiveRPM: {"spillway_effective_rpm", KindGauge, "requests/minute", []string{"upstream"},
		"The upstream's budget, as the retreat leaves it."},
	budgetAvailable: {"spillway_budget_available", KindGauge, "by kind", []string{"upstream", "kind"},
		"What the upstream's budget has left now: `requests`, or `tokens`."},
	upstream429Ratio: {"spillway_upstream_429_ratio", KindGauge, "thousandths", []string{"upstream"},
		"The share of 429 in the upstream's answers."},
	pressure: {"spillway_pressure", KindGauge, "by kind", []string{"kind"},
		"`active_decode_blocks` and `gpu_memory` in thousandths, `active_prefill_tokens` in tokens: of all servers the smallest." +
			" `instances`: how many servers there are."},
	pressureInstances: {"spillway_pressure_instances", KindGauge, "servers", []string{"kind"},
		"How many servers tell of that kind. 0: nobody does, and the 0 of `spillway_pressure` is no measurement."},
	pressureAge: {"spillway_pressure_age_milliseconds", KindGauge, "milliseconds", nil,
		"Time since the last fetch of pressure that succeeded."},
	breakerState: {"spillway_breaker_state", KindGauge, "state", []string{"upstream", "model"},
		"0 closed, 1 half open, 2 open."},
	gateState: {"spillway_gate_state", KindGauge, "state", []string{"gate", "upstream", "model"},
		"Of the gates `latency` and `throttle`: 0 passing, 1 warning, 2 refusing."},
	latencyAverage: {"spillway_latency_average_milliseconds", KindGauge, "milliseconds", []string{"kind", "upstream", "model"},
		"The average that is held against the threshold; `kind` is `ttft` or `itl`."},
	throttleSeverity: {"spillway_throttle_severity", KindGauge, "thousandths", []string{"upstream"},
		"The share of all requests that the throttle would refuse, of LOW first, then of NORMAL, of which at most all are."},
	fleetDown: {"spillway_fleet_down", KindGauge, "state", nil,
		"1 while the fleet's service doesn't answer, else 0."},

	queueWait: {"spillway_queue_wait_milliseconds", KindHistogram, "milliseconds", []string{"priority"},
		"How long requests waited for their turn, of those that waited."},
	ttft: {"spillway_ttft_milliseconds", KindHistogram, "milliseconds", []string{"streaming", "priority"},
		"Time to the first token as the client sees it, its wait for a turn included; of what does not stream, to the whole answer."},
	itl: {"spillway_itl_milliseconds", KindHistogram, "milliseconds", []string{"streaming", "priority"},
		"Average time between the tokens of a stream."},
}

// Table is the table, in its order.
func Table() []Row { return table[:] }

// Labels are the labels of all metrics, each once.
func Labels() (labels []string) {
	for _, row := range table {
		for _, label := range row.Labels {
			if !slices.Contains(labels, label) {
				labels = append(labels, label)
			}
		}
	}
	return labels
}
