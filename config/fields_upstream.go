package config

import "time"

func (u *Upstream) fields() []field {
	return []field{
		fixed(required(str("name", &u.Name, "", names, "The upstream's name in status, logs and metrics; unique.")), known),
		someStrs("models", &u.Models, []string{"*"}, globs, "Globs of the canonical names of the models that it serves, in any case."),
		object("budget", &u.Budget, "What the upstream allows in a window. Requests beyond it wait in the queue."),
		object("concurrency", &u.Concurrency, "Requests in flight to the upstream. Requests beyond it wait in the queue."),
		object("queue", &u.Queue, "Where requests wait for budget or a slot, by priority."),
		object("retreat", &u.Retreat,
			"Lowers the budget while the upstream answers 429 and raises it again. Without a budget it has nothing to do."),
		object("latency", &u.Latency, "Refuses while time to first token (TTFT) or inter-token latency (ITL) is too high."),
		object("throttle", &u.Throttle, "Sheds by priority when arrival rate, tail latency or GPU memory leave their normal range."),
		object("breaker", &u.Breaker, "Stops sending to an upstream that fails, then tries it again."),
		object("pressure", &u.Pressure, "Refuses while every instance is busy, low priorities first."),
		maybe("ensureStreamUsage", &u.EnsureStreamUsage,
			"Make streams of this upstream report usage; false is for one that refuses stream_options. Default: usage.ensureStreamUsage."),
	}
}

func (b *Budget) fields() []field {
	return []field{
		integer("requests", &b.Requests, 0, 0, maxUnits, "Requests per window; 0 is no limit."),
		integer("tokens", &b.Tokens, 0, 0, maxUnits, "Tokens per window; 0 is no limit."),
		duration("window", &b.Window, time.Minute, time.Second, longest, "Time in which the budget flows in, evenly."),
		integer("burst", &b.Burst, 0, 0, maxUnits, "Most that can be used at once; 0 is one window's worth."),
		objects("weights", &b.Weights, "", nil, "For how many requests one counts in requests; the first entry that matches counts, and one that none matches is one."),
	}
}

func (c *Concurrency) fields() []field {
	return []field{
		single[int]("max", &c.Max, 0, slotsKind{}, "Requests in flight at most; 0 is no limit; auto learns it from the times to the first token."),
		integer("min", &c.Min, 1, 1, maxCount, "With max auto, never fewer."),
		integer("limit", &c.Limit, 256, 1, maxCount, "With max auto, never more."),
		object("reserved", part{
			integer("urgent", &c.ReservedUrgent, 0, 0, maxCount, "Slots that only urgent requests take."),
			integer("high", &c.ReservedHigh, 0, 0, maxCount, "Slots that only high and urgent requests take."),
		}, "Slots kept free for high priorities; together below max, or, with auto, below limit: where fewer are learned, one is left to the others."),
		objects("weights", &c.Weights, "", nil, "For how many requests one counts while it is in flight: max, min, limit and reserved are numbers of such units. The "+
			"first entry that matches counts, and a request that none matches is one."),
	}
}

func (q *Queue) fields() []field {
	return []field{
		integer("max", &q.Max, 500, 0, maxCount, "Requests that can wait; 0 lets none wait."),
		integer("maxBytes", &q.MaxBytes, 256<<20, 0, 1024*gibibyte, "Bytes of bodies that are kept back while their requests wait; 0 is no limit. One half is shared "+
			"out evenly over the queue's places, so that large bodies can't shut out small ones; what is larger than such a share waits only while "+
			"no more than the other half waits with it."),
		enum("whenFull", &q.WhenFull, QueueReject, []WhenFull{QueuePassthrough, QueueReject, QueueDropLowest, QueueBypass},
			"What happens to a request that finds the queue full: reject refuses it; dropLowest refuses the newest request of the lowest "+
				"priority below its own instead, or else it; passthrough lets it wait for budget and slots all the same, as long as its "+
				"priority may, and as many more as the queue holds (at least 100); bypass sends it to the upstream at once, whatever that "+
				"can take: budget and slots don't hold then."),
		object("maxWait", &waits{to: &q.MaxWait}, "Longest wait, by priority."),
		enum("deadline", &q.Deadline, DeadlineNone, []Deadline{DeadlineNone, DeadlineMaxWait, DeadlineSLO},
			"What a request that can't have its turn in time, at twice the pace of late, is refused for at once, in place of waiting in vain: maxWait is the "+
				"longest wait of its priority; slo is also the time to first token that it asks for itself (latency.ttftHeader), less what is expected of it "+
				"(latency.predict), or is usual where slots are learned, and it waits no longer than that; none lets it wait."),
		boolean("revoke", &q.Revoke, false, "Where an urgent request would wait for a slot, end a low stream that has begun: the youngest of a worker, one for each slot that is missing. "+
			"Its client gets an error in the stream, and is charged what has passed. Needs slots, a queue, and priority.trust, since who is urgent ends others' work."),
		text("fairness", &q.Fairness, FairToUsers, fairnesses,
			"Between whom turns are shared within a priority; none is first come, first served. header:<name> is who has the same value in a header, of those whom "+
				"priority.trust believes; such as header:x-gateway-inference-fairness-id."),
	}
}

// waits is Queue.MaxWait while it is read.
type waits struct {
	to *map[Priority]time.Duration
	at [Urgent + 1]time.Duration
}

func (w *waits) fields() []field {
	for p, wait := range *w.to {
		w.at[p] = wait
	}
	wait := func(p Priority, standard time.Duration) field {
		return duration(p.key(), &w.at[p], standard, time.Millisecond, time.Hour, "Longest wait of priority "+p.key()+".")
	}
	return []field{wait(Urgent, time.Minute), wait(High, time.Minute), wait(Normal, time.Minute), wait(Low, 2*time.Second)}
}

func (t *Retreat) fields() []field {
	return []field{
		enum("mode", &t.Mode, Enforce, modes, modeDoc),
		duration("window", &t.Window, time.Minute, time.Second, time.Hour, "Time over which the share of 429 is measured."),
		float("threshold", &t.Threshold, 0.05, someShare, "Share of 429 at which the budget is lowered."),
		float("factor", &t.Factor, 0.75, properPart, "What the budget is multiplied by when it is lowered."),
		derived(integer("minRequests", &t.MinRequests, 0, 1, maxCount,
			"Requests per budget window that it is never lowered below; at most budget.requests. "+
				"Default: 5, or budget.requests if that is less.")),
		integer("minSamples", &t.MinSamples, 10, 1, maxCount, "Answers in the window below which the share isn't judged."),
		duration("every", &t.Every, 5*time.Second, 100*time.Millisecond, time.Hour,
			"Time between two evaluations, with one step each at most; at most window."),
		duration("recoverWindow", &t.RecoverWindow, 2*time.Minute, time.Second, day,
			"Time below recoverThreshold after which the budget is raised again."),
		float("recoverThreshold", &t.RecoverThreshold, 0.02, share, "Share of 429 that counts as recovered; below threshold."),
		integer("recoverStep", &t.RecoverStep, 2, 1, maxCount, "Requests per budget window by which it is raised each step."),
	}
}

func (l *Latency) fields() []field {
	return []field{
		enum("mode", &l.Mode, Off, modes, modeDoc),
		duration("ttft", &l.TTFT, time.Second, time.Millisecond, time.Hour, "Highest time to first token, from the end of the request."),
		duration("itl", &l.ITL, 100*time.Millisecond, time.Millisecond, time.Hour, "Highest inter-token latency."),
		duration("timeConstant", &l.TimeConstant, 30*time.Second, time.Second, time.Hour,
			"Time constant of the moving averages: an older sample weighs e times less. They decay while idle, too."),
		enum("per", &l.Per, LatencyPerModel, []LatencyScope{LatencyPerModel, LatencyGlobal}, "Measure each model by itself, or all together."),
		float("warnAt", &l.WarnAt, 0.9, someShare, "Share of a threshold at which a warning is given."),
		boolean("predict", &l.Predict, true,
			"Refuse a request that would come too late by what is expected of it: from its prompt, those before it, what is in flight, and the latest times to the "+
				"first token. Without, by the average of these for all alike."),
		str("ttftHeader", &l.TTFTHeader, "x-slo-ttft-ms", maybeHeaderNames,
			"Request header with the highest TTFT that the request itself can bear, in milliseconds; \"\" is none."),
		str("itlHeader", &l.ITLHeader, "x-slo-tpot-ms", maybeHeaderNames,
			"Request header with the highest ITL that the request itself can bear, in milliseconds; \"\" is none."),
	}
}

func (t *Throttle) fields() []field {
	return []field{
		enum("mode", &t.Mode, Off, modes, modeDoc),
		object("qps", &t.QPS, "Arrival rate: trips above factor times the baseline, mean and sigmas standard deviations."),
		object("p99", &t.P99, "Tail of the times to the first token of streams, and to the end of other answers: trips above factor times its mean, or above max for some periods."),
		float("gpuMemory", &t.GPUMemory, 0.75, someShare, "Share of GPU memory in use above which it trips."),
		boolean("fusion", &t.Fusion, false, "Weigh the signals by their recent contribution, in place of any one tripping."),
	}
}

func (q *ThrottleQPS) fields() []field {
	return []field{
		duration("window", &q.Window, 5*time.Minute, time.Second, day, "Time of the moving average."),
		float("sigmas", &q.Sigmas, 2, interval{min: 0, max: 10}, "Standard deviations above the mean that belong to the baseline."),
		float("factor", &q.Factor, 1.5, multiple, "Multiple of the baseline that trips."),
	}
}

func (p *ThrottleP99) fields() []field {
	return []field{
		float("factor", &p.Factor, 1.8, multiple, "Multiple of the mean P99 that trips."),
		duration("max", &p.Max, 8*time.Second, time.Millisecond, time.Hour, "P99 that trips if it lasts."),
		integer("periods", &p.Periods, 3, 1, 1000, "Periods in a row that it must last."),
		duration("period", &p.Period, 10*time.Second, time.Second, time.Hour, "Length of a period."),
	}
}

func (b *Breaker) fields() []field {
	slowCall := durationKind{min: time.Millisecond, max: time.Hour, zero: true}
	return []field{
		enum("mode", &b.Mode, Off, modes, modeDoc),
		float("errorRate", &b.ErrorRate, 0.5, someShare, "Share of failed requests at which it opens."),
		single[time.Duration]("slowCall", &b.SlowCall, 0, slowCall,
			"Time to the first token of a stream, or to the end of another answer, from which a request counts as failed; 0s counts none."),
		duration("window", &b.Window, 30*time.Second, time.Second, time.Hour, "Time over which the share is measured."),
		integer("minRequests", &b.MinRequests, 20, 1, maxCount, "Requests in the window below which the share isn't judged."),
		duration("openFor", &b.OpenFor, time.Minute, 100*time.Millisecond, day, "Time from opening to the first probe."),
		integer("probes", &b.Probes, 1, 1, 1000, "Requests let through to try the upstream; all must succeed to close it."),
		object("fallback", &b.Fallback,
			"What an open breaker does instead of refusing: an answer (status, body, headers) or a route (routeHeader)."),
	}
}

func (f *Fallback) fields() []field {
	return []field{
		stringSet("operations", &f.operations, word(operationNames...), "Operations that have the fallback; empty is all. Others are refused."),
		derived(integer("status", &f.Status, 0, 200, maxFailure, "Status of the answer.")),
		str("body", &f.Body, "", anyText, "Body of the answer; without one it is an error in the request's dialect."),
		strMap("headers", &f.Headers, headerNames, headerValues, "Headers of the answer."),
		strMap("routeHeader", &f.RouteHeader, headerNames, headerValues,
			"Headers set on the request, so that Envoy's routes send it to a fallback cluster. A request that has them when it "+
				"comes is refused instead: it has been there. It takes requestHold stopIteration, unless the path names the model: "+
				"headers that have gone on can't be changed."),
	}
}

func (p *Pressure) fields() []field {
	return []field{
		enum("mode", &p.Mode, Off, modes, modeDoc),
		float("activeDecodeBlocks", &p.ActiveDecodeBlocks, 0.85, share,
			"Share of KV-cache blocks in use by decoding above which an instance is busy."),
		integer("activePrefillTokens", &p.ActivePrefillTokens, 10_000, 0, maxUnits,
			"Tokens being prefilled above which an instance is busy."),
		float("gpuMemory", &p.GPUMemory, 0.95, share, "Share of GPU memory in use above which an instance is busy."),
		object("ceilings", &ceilings{to: &p.Ceilings},
			"Share of the thresholds from which each priority is refused; a higher priority's is at least that of a lower one."),
		enum("onStale", &p.OnStale, StaleIgnore, []OnStale{StaleIgnore, StaleHold, StaleFull},
			"With measurements older than pressureSource.staleAfter: ignore passes all, hold keeps the last ones, full takes every "+
				"instance for busy."),
	}
}

// ceilings is Pressure.Ceilings while it is read.
type ceilings struct {
	to *map[Priority]float64
	at [Urgent + 1]float64
}

func (c *ceilings) fields() []field {
	for p, ceiling := range *c.to {
		c.at[p] = ceiling
	}
	ceiling := func(p Priority, standard float64) field {
		return float(p.key(), &c.at[p], standard, share, "Share of the thresholds from which priority "+p.key()+" is refused.")
	}
	return []field{ceiling(Urgent, 1), ceiling(High, 0.95), ceiling(Normal, 0.9), ceiling(Low, 0.8)}
}
