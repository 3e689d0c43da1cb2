package gate

// The reasons, a closed set for each gate. The others of a request's identity and model are of the packages that read these (ident, usage),
// and a limit that has no room has its unit's (config.Unit).
const (
	Missing = "missing" // identity: nothing says whose it is

	UnknownPath = "unknown" // operation: nothing says how requests of this path are read

	Expectation = "expectation_failed" // request: nobody will tell its client to go on
	Patience    = "unreadable_wait"    // request: how long it is willing to wait can't be read

	BreakerOpen = "open"              // breaker
	Probing     = "half_open_probing" // breaker: others are trying it

	Busy    = "busy"    // pressure: every instance is
	Ceiling = "ceiling" // pressure: for the request's priority, every instance is
	Stale   = "stale"   // pressure: nothing recent is known, and that counts as busy

	TTFT    = "ttft"     // latency
	ITL     = "itl"      // latency
	SLOTTFT = "slo_ttft" // latency: above what the request itself asks for
	SLOITL  = "slo_itl"  // latency

	QPS       = "qps"        // throttle
	P99       = "p99"        // throttle
	GPUMemory = "gpu_memory" // throttle
	Fused     = "fused"      // throttle: of the signals together

	TooLarge    = "request_too_large" // limits: waiting won't help; queue: it can't wait
	Spent       = "lifetime_spent"    // limits: nothing of it comes back
	Leasing     = "leasing"           // limits: it waits for a part of the fleet's limit
	FleetOver   = "fleet_exceeded"    // limits: Envoy's ratelimit filter refuses it, by a limit over all proxies
	FleetDown   = "fleet_unavailable" // limits: the fleet's service doesn't answer, and nothing is left that was leased
	NearlySpent = "nearly_spent"      // limits: it passes, and little is left
	Unpriced    = "unpriced"          // limits: what it costs isn't known
	Contended   = "contended"         // limits: the bucket could not be changed for the crowd of workers

	Full       = "full"       // queue: there is no room
	Timeout    = "timeout"    // queue: it has waited as long as its priority may
	Late       = "late"       // queue: it can't have its turn in time
	FullBytes  = "full_bytes" // queue: what waits has too many bytes for a body as large as this one to wait, too
	NoWait     = "no_wait"    // queue: it asks not to wait, and would have to
	MaxWait    = "max_wait"   // queue: it has waited as long as it asks to
	Dropped    = "dropped"    // queue: it made room for a higher priority, or for a subject with fewer waiting
	Shed       = "shed"       // queue: nothing can wait here, and its priority's share is used up
	PassedFull = "queue_full" // queue: it waits, or has waited, past the full queue
	Bypassed   = "bypassed"   // queue: it started in spite of all, because the queue is full
	WouldWait  = "would_wait" // queue, shadow mode
	Revoked    = "revoked"    // queue: it was under way, and ended for an urgent request
	Drained    = "drained"    // queue: an operator lets nothing new through to the upstream
)
