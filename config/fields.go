package config

import "time"

// Every key of the configuration is described here and in fields_upstream.go, and nowhere else. The order is that of
// the documentation.

var modes = []Mode{Enforce, Shadow, Off}

// The ends of ranges that several fields share.
const (
	maxUnits   = 1_000_000_000_000 // of tokens, requests or cost: the arithmetic on micro-units still fits 64 bits
	maxCount   = 1_000_000         // of requests, samples and the like
	longest    = 366 * 24 * time.Hour
	day        = 24 * time.Hour
	gibibyte   = 1 << 30
	maxWeight  = 1_000_000
	maxOutput  = 1_000_000_000
	minFailure = 400
	maxFailure = 599
)

var (
	share      = interval{min: 0, max: 1}
	someShare  = interval{min: 0, max: 1, openMin: true}
	properPart = interval{min: 0, max: 1, openMin: true, openMax: true}
	multiple   = interval{min: 1, max: 100}
)

// known is why no override changes a name.
const known = "is what its state and metrics are known by; want it changed in the file"

const modeDoc = "What a verdict does: enforce acts on it, shadow only records it, off reaches none. "

func (c *Config) fields() []field {
	return []field{
		fixed(str("namespace", &c.Namespace, "default", names,
			"Prefix of all shared-data keys: plugins with the same namespace share their state."),
			"is where all state is, this override's too; want it changed in the file"),
		enum("mode", &c.Mode, Enforce, modes, modeDoc+"It is a ceiling over each gate's and limit's own mode."),
		fixed(enum("requestHold", &c.RequestHold, HoldNone, []Hold{HoldStopIteration, HoldBufferFilter, HoldNone},
			"How request headers are held until admission. stopIteration: Envoy's Wasm configuration has "+
				"allow_on_headers_stop_iteration: true. bufferFilter: Envoy's buffer filter follows this filter (websockets hang behind it, unless their route turns it off). none: neither, "+
				"so decide at the headers what headers allow and the rest at the body."),
			"says how the proxy is configured, which no override changes; want it changed in the file"),
		object("statusCode", &c.StatusCode, "HTTP status of each gate's refusal."),
		object("retry", &c.Retry, "What refusals say about trying again."),
		enum("errorFormat", &c.ErrorFormat, ErrorsOfDialect, []ErrorFormat{ErrorsOfDialect, ErrorsOfDynamo},
			"Format of error bodies: that of the request's dialect, or Dynamo's {message, type, code}."),
		{name: "publish", value: published{&c.Publish}, doc: docOf("Which values of the filter state are set, for the access log and other filters: all; tokens, the counts " +
			"of tokens and the models; minimal, the count of completion tokens and what was decided; or a list of values. Each that is set costs a call to Envoy.")},
		enum("rateLimitHeaders", &c.RateLimitHeaders, RateLimitsAll, []RateLimitHeaders{RateLimitsAll, RateLimitsRefusals, RateLimitsOff},
			"Which answers carry headers that tell what limits have left: all, refusals (retry-after is on every refusal in any case), or none (off)."),
		enum("rateLimitStyle", &c.RateLimitStyle, RateLimitsOpenAI, []RateLimitStyle{RateLimitsOpenAI, RateLimitsIETF, RateLimitsBoth, RateLimitsDialect},
			"Which headers these are: x-ratelimit-*, which OpenAI's clients know (openai); RateLimit and RateLimit-Policy of "+
				"draft-ietf-httpapi-ratelimit-headers-10 (ietf); both of these; or those of the API that is asked: "+
				"anthropic-ratelimit-* of Anthropic's, x-ratelimit-* of all others (dialect)."),
		objects("operations", &c.Operations, "path", func(o Operation) string { return o.Path },
			"Path suffixes and their dialects, ahead of the built-in list; the first match counts."),
		enum("unknown", &c.Unknown, UnknownPass, []Unknown{UnknownPass, UnknownEstimate, UnknownReject},
			"A request with a body whose path has no dialect here: pass lets it go to the server without counting its tokens; estimate holds it to "+
				"limits and upstreams as one whose model can't be told, for its bytes and the output that is expected; reject refuses it (status 400) "+
				"where an enforced limit counts tokens. A path that operations gives the dialect other passes all the same."),
		object("models", &c.Models, "How models are named."),
		object("identity", &c.Identity, "Who is asking: where user, tenant and API key are read from."),
		object("priority", &c.Priority, "Who may go first."),
		object("usage", &c.Usage, "How tokens are read, estimated and priced."),
		objects("prices", &c.Prices, "", nil, "What models cost, for limits of dollars (unit: usd); the first entry that matches the model counts. docs/limits.md says what is charged."),
		enum("unpriced", &c.Unpriced, UnpricedPass, []Unpriced{UnpricedPass, UnpricedReject},
			"A request for a model without a price, where a limit counts dollars: pass lets it go without charging it; reject refuses it (status 400). A model that can't "+
				"be told has no price: where it passes, it is charged as the dearest until its answer names it."),
		kept(objects("limits", &c.Limits, "name", func(l Limit) string { return l.Name },
			"What a caller may use. A request must pass all limits that match it. Empty: nothing is limited.")),
		object("fleet", &c.Fleet, "The service that counts for limits whose scope is fleet: envoyproxy/ratelimit, asked by its HTTP API."),
		kept(objects("upstreams", &c.Upstreams, "name", func(u Upstream) string { return u.Name },
			"What is protected, chosen by model; the first match counts. Without a match a request passes ungoverned.")),
		object("pressureSource", &c.PressureSource, "Where the pressure gates' measurements are fetched from."),
		fixed(object("admin", &c.Admin, "Status and dashboard. A listener whose plugin has only this and mode off is an admin listener."),
			"says who may send overrides; want it changed in the file"),
	}
}

func (r *Retry) fields() []field {
	return []field{
		duration("longest", &r.Longest, time.Minute, time.Second, longest,
			"A refusal that says a longer wait carries x-should-retry: false beside its retry-after, since OpenAI's and Anthropic's clients "+
				"would else sleep for as long."),
	}
}

func (s *StatusCode) fields() []field {
	status := func(name string, to *int, standard int, when string) field {
		return integer(name, to, standard, minFailure, maxFailure, "Status "+when+".")
	}
	return []field{
		status("limits", &s.Limits, 429, "when a limit refuses"),
		status("latency", &s.Latency, 429, "when the latency gate refuses"),
		status("throttle", &s.Throttle, 429, "when the throttle refuses"),
		status("queueTimeout", &s.QueueTimeout, 429, "when a request has waited its longest in the queue"),
		status("queueFull", &s.QueueFull, 503, "when the queue is full"),
		status("breaker", &s.Breaker, 503, "when the circuit breaker is open"),
		status("pressure", &s.Pressure, 503, "when every instance is busy"),
	}
}

func (o *Operation) fields() []field {
	return []field{
		required(str("path", &o.Path, "", paths, "Path suffix; query strings don't count.")),
		required(str("dialect", &o.Dialect, "", word(Dialects...), "API dialect of requests with this path.")),
	}
}

func (m *Models) fields() []field {
	return []field{
		strMap("aliases", &m.Aliases, someText, someText,
			"Other names of models: a model's prefix before \"/\", or its whole name, and what to take it for."),
		strs("labels", &m.Labels, nil, globs,
			"Globs of the models that get a metric label of their own; all the rest share the label \"other\"."),
		str("unread", &m.Unread, UnreadMatch, someText,
			"A request whose model can't be told for sure: match holds it to every limit of certain models, and to the first "+
				"upstream that it could be meant for; reject refuses it (status 400); else the name of the model to take it for."),
	}
}

func (p *PriorityRules) fields() []field {
	return []field{
		str("header", &p.Header, "x-priority", maybeHeaderNames,
			"Header with the priority that the client asks for; \"\" ignores the client."),
		priority("default", &p.Default, Normal, "Priority of a request that asks for none or an unknown one."),
		strMap("objectives", &p.Objectives, someText, priorityNames, "Names of the Gateway API Inference Extension's InferenceObjectives, and the priorities that they stand for here. "+
			"A request that says both an objective and a priority has the lower one. Empty: objectives aren't read."),
		str("objectiveHeader", &p.ObjectiveHeader, "x-gateway-inference-objective", headerNames,
			"Header with the objective's name (llm-d from 0.8 on: x-llm-d-inference-objective). It reaches the upstream, unless its sender isn't trusted."),
		boolean("forward", &p.Forward, false, "Let the header reach the upstream, of those who may set it."),
		maybeObjects("trust", &p.Trust, "Who may set the headers at all; of the others they are ignored. Left out: everybody, so that every "+
			"client can be urgent, which is said once in the log. An empty list: nobody."),
		objects("rules", &p.Rules, "", nil, "Priorities by caller; the first match counts."),
	}
}

// fields is the entry of a list that names callers.
func (c *Callers) fields() []field {
	return []field{
		object("match", part{
			strs("tenants", &c.Tenants, nil, globs, "Globs of tenants; empty matches all."),
			strs("users", &c.Users, nil, globs, "Globs of users; empty matches all."),
			strs("keys", &c.Keys, nil, globs, "Globs of API keys as clients send them, without \"Bearer \": a prefix such as sk-batch-* is enough. Empty matches all."),
		}, "Whom the entry is for. All of the given lists must match; none given is everyone."),
	}
}

func (p *PriorityRule) fields() []field {
	return append(p.Callers.fields(),
		maybePriority("set", &p.Set, "Their priority, whatever the client asks for. Give either set or max."),
		maybePriority("max", &p.Max, "The highest priority that they can ask for. Give either set or max."))
}

func (u *Usage) fields() []field {
	return []field{
		boolean("ensureStreamUsage", &u.EnsureStreamUsage, true,
			"Make streaming OpenAI requests report usage; the extra event is taken out before the client sees it."),
		boolean("identityEncoding", &u.IdentityEncoding, true,
			"Ask the upstream for uncompressed answers where they are read. Compressed ones are charged by estimate."),
		integer("maxRequestBytes", &u.MaxRequestBytes, 1<<20, 0, gibibyte,
			"Largest request body that is read before it is decided, in bytes. Larger ones are decided by what was found till there."),
		float("promptTokensPerByte", &u.PromptTokensPerByte, 0.25, interval{min: 0, max: 10, openMin: true},
			"Prompt tokens per byte, where learning starts."),
		integer("outputTokens", &u.OutputTokens, 256, 1, maxOutput,
			"Output tokens of a request without a bound of its own, where learning starts."),
		objects("cost", &u.Cost, "", nil,
			"Weights for the unit cost; the first entry that matches the model counts. A model that none matches has the "+
				"default weights."),
	}
}

func (w *CostWeights) fields() []field {
	weight := func(name string, to *float64, standard float64, what string) field {
		return float(name, to, standard, interval{min: 0, max: maxWeight}, "Weight of one "+what+".")
	}
	return []field{
		someStrs("models", &w.Models, []string{"*"}, globs, "Globs of the models that the entry is for."),
		weight("prompt", &w.Prompt, 1, "prompt token that was not cached"),
		weight("cached", &w.Cached, 0.1, "cached prompt token"),
		weight("completion", &w.Completion, 4, "completion token that is not reasoning"),
		weight("reasoning", &w.Reasoning, 4, "reasoning token"),
	}
}

func (m *Match) fields() []field {
	return []field{
		strs("models", &m.Models, nil, globs, "Globs of canonical model names, in any case; empty matches all."),
		stringSet("operations", &m.Operations, word(operationNames...), "Operations; empty matches all."),
		prioritySet("priorities", &m.Priorities, "Priorities, in any case; empty matches all."),
		strs("tenants", &m.Tenants, nil, globs, "Globs of tenants; empty matches all."),
		strs("groups", &m.Groups, nil, globs, "Globs of the names of identity.groups; empty matches all."),
		strMap("headers", &m.Headers, headerNames, anyText, "Headers and globs of their values; all must match. An absent header matches no glob, not even *; of a repeated one, or a list, "+
			"one value that matches is enough."),
	}
}

func (l *Limit) fields() []field {
	windowless, lifetime := withoutWindow(), []string{truth}
	return []field{
		fixed(required(str("name", &l.Name, "", names, "The limit's name in answers, logs and metrics; unique.")), known),
		stringSet("per", &l.Per, perParts,
			"What has a quota of its own: user, tenant, key, group (of identity.groups), model, priority or header:<name>, or a combination of them. "+
				"Empty: all requests share one."),
		object("match", &l.Match, "The requests that the limit is for; all of the given fields must match."),
		required(unit("unit", &l.Unit)),
		required(amountOf("quantity", &l.Quantity, &l.Unit, "Units per window; of inflight, at once; of usd dollars, such as 0.25.")),
		unless("lifetime", lifetime, unless("unit", windowless, required(l.window("window",
			"Time in which the quantity flows in evenly, a duration from 1s to 8784h, or comes back at once (refill). hour, day, week and month are the calendar's, "+
				"in the timezone; a week begins on Monday. Not with inflight or lifetime.")),
			"what is under way is counted at each moment, not over a time; leave window out, or choose another unit"),
			"nothing of a lifetime comes back; leave window out, or lifetime"),
		unless("lifetime", lifetime, unless("unit", windowless, derived(amountOf("burst", &l.Burst, &l.Unit,
			"Most units that can be used at once. Default: quantity. Not with inflight or lifetime.")),
			"quantity is all that can be under way at once; leave burst out"),
			"all of a lifetime's quantity can be used at once; leave burst out"),
		unless("lifetime", lifetime, unless("unit", windowless, derived(enum("refill", &l.Refill, "", []Refill{RefillContinuous, RefillWindow},
			"How the quantity comes back. continuous: evenly, so that a full bucket and what flows in are nearly twice the quantity in one window. window: "+
				"all of it when a window begins, which is the calendar's, or a duration's whole multiple since 1970 (UTC). Default: continuous, and window "+
				"with hour, day, week and month. Not with inflight or lifetime, nor with scope: fleet.")),
			"a place is free when its request has ended; leave refill out"),
			"nothing of a lifetime comes back; leave refill out"),
		unless("lifetime", lifetime, unless("unit", windowless, str("timezone", &l.timezone, "", zones,
			"How far the calendar's time is ahead of UTC, such as +08:00, always: there is no daylight saving time. \"\" is UTC. Only with hour, day, week and month."),
			"what is under way has no window; leave timezone out"),
			"a lifetime has no window; leave timezone out"),
		unless("unit", windowless, enum("admission", &l.Admission, Lenient, []Admission{Lenient, Strict},
			"lenient passes a request while any balance is left, so that it may go into debt by its own cost; strict passes it "+
				"only if all of its estimate fits. Not with inflight."),
			"each request under way is one, so there is nothing to estimate; leave admission out"),
		unless("unit", windowless, boolean("lifetime", &l.Lifetime, false, "The quantity is for a subject's lifetime, such as a session's, and never comes back. Not with inflight or window."),
			"a place is free when its request has ended; leave lifetime out"),
		unless("unit", windowless, derived(duration("idle", &l.Idle, 0, time.Minute, longest,
			"With lifetime: a subject that has used nothing for so long is forgotten, and begins anew if it comes again. Default: 24h.")),
			"a place is free when its request has ended; leave idle out"),
		enum("mode", &l.Mode, Enforce, modes, modeDoc),
		fixed(str("scope", &l.Scope, ScopeProxy, word(ScopeProxy, ScopeFleet),
			"Who shares the quantity: the workers of this proxy, or all proxies of a fleet, which lease parts of it from the service that fleet names. A limit of the "+
				"fleet comes back when a window of the service's begins (1m, 1h, 24h or 720h, in UTC)."),
			"says where it is counted; want it changed in the file"),
		unless("unit", windowless, statuses("refund", &l.Refund,
			"Statuses of the upstream's answers that cost nothing in this limit, such as [5xx, 429]. Default: none; a request that "+
				"went to the upstream counts as one whatever came of it, and tokens count where there are any. Not with inflight."),
			"a request's place is free when it has ended, whatever came of it; leave refund out"),
		object("nearly", &l.Nearly, "Before the wall: what becomes of requests that pass while little of the limit is left. docs/limits.md has an example."),
	}
}

func (n *Nearly) fields() []field {
	return []field{
		derived(float("at", &n.At, 0, someShare, "Share of burst that is used or reserved, what the request itself reserves included, from which it holds.")),
		strMap("requestHeader", &n.RequestHeader, headerNames, someValue,
			"Headers set on the request, by which its route is chosen again, so that Envoy's routes can send it to a cheaper model. Of what clients send under these "+
				"names nothing reaches the upstream, or a route. Not in shadow mode. It takes requestHold stopIteration where the request is decided by its body: headers that have gone on can't be changed."),
		boolean("responseHeader", &n.ResponseHeader, false, "The answer carries x-spillway-nearly with the limit's name."),
	}
}

func (p *PressureSource) fields() []field {
	return []field{
		str("cluster", &p.Cluster, "gpuexporter", someText, "Envoy cluster of the exporter."),
		str("authority", &p.Authority, "gpuexporter", someText, "Host header of the request to it."),
		str("path", &p.Path, "/v1/pressure", paths, "Path of the request to it."),
		duration("interval", &p.Interval, 2*time.Second, 100*time.Millisecond, time.Hour, "Time between two fetches."),
		duration("timeout", &p.Timeout, time.Second, 10*time.Millisecond, time.Hour,
			"Longest time for one fetch; at most interval."),
		duration("staleAfter", &p.StaleAfter, 10*time.Second, 100*time.Millisecond, day,
			"Age at which a measurement is not believed any more; above interval."),
	}
}

func (a *Admin) fields() []field {
	return []field{
		str("path", &a.Path, "", adminPaths, "Path of status and dashboard, such as /spillway; all below it is theirs. \"\" is off."),
		secret(stringSet("tokens", &a.Tokens, tokenHashes, "Of each token with which things can be changed its SHA-256: sha256: and 64 hexadecimal "+
			"digits. Several are good at once, so that one can take another's place. Empty: nothing can be changed.")),
		enum("read", &a.Read, ReadOpen, []AdminRead{ReadOpen, ReadToken}, "Who may read: everybody who comes there, or who has a token."),
	}
}
