package gate

import (
	"slices"

	"github.com/spillway-proxy/spillway/config"
)

// Row is what an operator may want to know of one kind of refusal: docs/reasons.md is made of it. Tests hold each refusal that the
// engine makes against its row.
type Row struct {
	Gate, Reason string
	Status       string   // the key in statusCode, or the status itself
	Never        bool     // waiting doesn't help: x-should-retry: false, and no retry-after
	When         string   // it is refused
	Do           string   // to have fewer of them
	Forms        []string // of the filter state's spillway.reason, where that has numbers
}

// Table lists all refusals, in the order in which a request can meet them.
func Table() []Row {
	rows := slices.Concat(unfitRows, upstreamRows, limitRows)
	for _, unit := range config.Units {
		if !slices.ContainsFunc(rows, func(r Row) bool { return r.Gate == Limits && r.Reason == unit.Reason }) {
			rows = append(rows, Row{Gate: Limits, Reason: unit.Reason, Status: limitStatus,
				When: "A limit of `" + unit.Name + "` is used up.", Do: "Raise its `quantity`, or wait as `retry-after` says."})
		}
	}
	return append(rows, queueRows...)
}

const limitStatus = "limits"

// Requests that can't be taken as they are.
var unfitRows = []Row{
	{Identity, Missing, "401", true, "`identity.missing` is `reject`, and the request doesn't say who asks, though a limit depends on it.",
		"Have the client send what [`identity`](identity.md) reads, or name a stand-in in `identity.missing`.", nil},
	{Identity, "repeated_header", "400", true, "What says who asks came twice, or holds a list.", "Send it once. Look for a proxy that adds a second one.", nil},
	{Identity, "conflicting_keys", "400", true, "Two API keys differ, and it isn't known which one the server takes.",
		"Send one, or narrow `identity.key` to where keys really are.", nil},
	{Request, Expectation, "417", true, "The client waits for `100-continue`, in a way that Envoy doesn't answer.", "Send the request without `expect`; clients do so by themselves.", nil},
	{Request, Patience, "400", true, "`x-spillway-queue` or `x-spillway-max-wait` can't be read.", "Send `no`, and a duration such as `2s`: [priority](priority.md).", nil},
	{Operation, UnknownPath, "400", true, "`unknown` is `reject`, and the path has no [dialect](dialects.md).", "Give it one in `operations`, or `other` to let it pass.", nil},
	{Model, "no_body", "400", true, "`models.unread` is `reject`, and there is no body.", "Send the request as the API has it.", nil},
	{Model, "missing", "400", true, "`models.unread` is `reject`, and the body names no model.", "Send `model`.", nil},
	{Model, "malformed", "400", true, "The same; the body isn't what the API has.", "Send valid JSON, without comments.", nil},
	{Model, "too_large", "400", true, "The same; no model stands in the first `usage.maxRequestBytes`.", "Send `model` first, or raise `usage.maxRequestBytes`.", nil},
	{Model, "encoded", "400", true, "The same; the encoding or charset isn't read here.", "Send UTF-8, plain or compressed by gzip or deflate.", nil},
	{Model, "ambiguous", "400", true, "The same; the body names several models.", "Send one.", nil},
	{Model, "too_long", "400", true, "The same; the model's name is too long.", "Send a shorter one.", nil},
	{Model, "unknown", "400", true, "The same; the path has no [dialect](dialects.md), and `unknown` is `estimate`.", "Give the path a dialect in `operations`.", nil},
	{Model, "changed", "400", true, "A later part of the body names another model than the one by which the request was admitted.", "Send one `model`, first.", nil},
}

// Upstreams that had better not be asked.
var upstreamRows = []Row{
	{Breaker, BreakerOpen, "breaker", false, "The breaker is open: too many requests for this model have failed.",
		"Mend the server: the record says what failed. `POST …/breaker/reset` closes it at once. [Gates](gates.md#breaker).",
		[]string{"5xx_rate_85%_in_30s", "slow_rate_85%_in_30s", "5xx_and_slow_rate_85%_in_30s", "probe_failed", "probe_slow"}},
	{Breaker, Probing, "breaker", false, "The breaker is half open, and others are trying the server.", "Wait, or raise `breaker.probes`.", nil},
	{Pressure, Busy, "pressure", false, "Every instance is busy, by what the [exporter](pressure.md) measures.", "Add capacity, or raise the thresholds in `pressure`.", nil},
	{Pressure, Ceiling, "429", false, "Every instance is too busy for the request's priority; higher ones still pass.", "The same, or raise `pressure.ceilings`, or the priority.", nil},
	{Pressure, Stale, "pressure", false, "`pressure.onStale` is `full`, and there is no recent measurement.", "Mend the exporter: [pressure is stale](runbook.md#pressure-is-stale).", nil},
	{Latency, TTFT, "latency", false, "The gate is shut: the time to the first token is above `latency.ttft`.", "[Latency is up](runbook.md#latency-is-up). Slots (`concurrency`) act before it is.", []string{"ttft_1240ms_over_1000ms", "expected_ttft_1240ms_over_1000ms"}},
	{Latency, ITL, "latency", false, "The gate is shut: the time between tokens is above `latency.itl`.", "The same.", []string{"itl_120ms_over_100ms"}},
	{Latency, SLOTTFT, "latency", false, "The request asks for a shorter time to the first token (`x-slo-ttft-ms`) than there is.", "Ask for a longer one, or add capacity.", []string{"slo_ttft_620ms_over_500ms", "expected_ttft_620ms_over_500ms"}},
	{Latency, SLOITL, "latency", false, "The request asks for a shorter time between tokens (`x-slo-tpot-ms`) than there is.", "The same.", []string{"slo_itl_50ms_over_20ms"}},
	{Throttle, QPS, "throttle", false, "More requests arrive than normally; a part of LOW and NORMAL is refused.", "Nothing, if they can come later. [Gates](gates.md#throttle).", []string{"qps_34.2_over_24.5"}},
	{Throttle, P99, "throttle", false, "The slowest answers take longer than normally.", "[Latency is up](runbook.md#latency-is-up).", []string{"p99_9.1s_over_8s"}},
	{Throttle, GPUMemory, "throttle", false, "GPU memory is above `throttle.gpuMemory`.", "Raise it, if the server fills its memory on purpose, as vLLM does.", []string{"gpu_memory_82%_over_75%"}},
	{Throttle, Fused, "throttle", false, "`throttle.fusion`: all signals together are too high.", "As for the signal that is highest in `status`.", []string{"fused_qps_0.62_over_0.5", "fused_p99_0.62_over_0.5", "fused_gpu_memory_0.62_over_0.5"}},
}

// Callers that have used up what they may. Units without a row of their own get one in Table.
var limitRows = []Row{
	{Limits, "requests_exceeded", limitStatus, false, "A limit of `requests` is used up.", "[Users get 429](runbook.md#users-get-429): find who, then raise `quantity`, grant more, or leave it.", nil},
	{Limits, "tokens_exceeded", limitStatus, false, "A limit of tokens is used up.", "The same.", nil},
	{Limits, "cost_exceeded", limitStatus, false, "A limit of `cost` is used up.", "The same.", nil},
	{Limits, "spend_exceeded", limitStatus, false, "A limit of dollars (`usd`) is used up.", "The same. Models that are free, or have no price, still pass.", nil},
	{Limits, "inflight_exceeded", limitStatus, false, "As many requests are under way as the limit lets be.", "Send fewer at once, or raise `quantity`.", nil},
	{Limits, TooLarge, limitStatus, true, "The request alone is larger than the limit's `burst`.", "Ask for less output (`max_tokens`), or raise `burst`.", nil},
	{Limits, Spent, limitStatus, true, "A limit with `lifetime` is used up: the session is over.", "Begin another session.", nil},
	{Limits, Unpriced, "400", true, "`unpriced` is `reject`, a limit counts dollars, and the model has no price, or can't be told.",
		"Give it one in [`prices`](limits.md#money), or have the client name a model that has one.", nil},
	{Limits, FleetOver, limitStatus, false, "Envoy's ratelimit filter refuses it: a limit over all proxies is used up. The record's `limit` is the name that it has in the service's file.",
		"Raise it there, or wait as `retry-after` says: [fleet](fleet.md). A `scope: fleet` limit has its unit's reason instead.", nil},
	{Limits, FleetDown, limitStatus, false, "`fleet.onDown` is `refuse`, the fleet's service doesn't answer, and nothing that was leased is left.",
		"Mend ratelimit and Redis, or set `onDown` to `local` or `pass`: [fleet](fleet.md).", nil},
	{Limits, Contended, limitStatus, false, "Too many workers changed the same balance at once.", "Rare. If it lasts, spread the load over more subjects, or use fewer workers.", nil},
}

// Requests that got no turn at their upstream.
var queueRows = []Row{
	{Queue, Full, "queueFull", false, "`queue.max` requests wait already.", "Add capacity, raise `queue.max`, or its priority where `whenFull` is `dropLowest`.", nil},
	{Queue, FullBytes, "queueFull", false, "Too many bytes wait already for a body as large as this one to wait, too (`queue.maxBytes`).", "Add capacity, or raise `queue.maxBytes` if Envoy has the memory.", nil},
	{Queue, TooLarge, "413", true, "The body is larger than half of `queue.maxBytes`, and would have to wait.", "Send less, or raise `queue.maxBytes`.", nil},
	{Queue, Dropped, "queueFull", false, "The queue was full, and it made room: for a higher priority, or for a subject with fewer waiting.", "Retry; if it lasts, add capacity, raise `queue.max`, or its priority.", nil},
	{Queue, Drained, "queueFull", false, "An operator has [drained](admin.md#steer-an-upstream) the upstream.", "`POST …/resume`.", nil},
	{Queue, Timeout, "queueTimeout", false, "It has waited for its priority's `queue.maxWait`.", "Add capacity, raise `maxWait`, or the priority: [priority](priority.md).", nil},
	{Queue, MaxWait, "queueTimeout", false, "It has waited as long as it asks to (`x-spillway-max-wait`).", "Ask for a longer wait, or add capacity.", nil},
	{Queue, NoWait, "queueTimeout", false, "It asks not to wait (`x-spillway-queue: no`), and would have to.", "Let it wait, or send it elsewhere: that is what it asks for.", nil},
	{Queue, Late, "queueTimeout", false, "`queue.deadline`: it can't have its turn in time.", "Retry when told. Add capacity if it lasts.", nil},
	{Queue, Revoked, "200", false, "`queue.revoke`: it was LOW and under way as a stream, and was ended for an URGENT request. The error is an event in the stream; its decision stays what it was.",
		"Ask again later; if it happens often, add capacity, or ask for less at a time.", nil},
	{Queue, Shed, "queueTimeout", false, "Nothing can wait here (`queue.max: 0`, or the server asks for more than was admitted), and no slot is free.", "Let some wait: raise `queue.max`.", nil},
}
