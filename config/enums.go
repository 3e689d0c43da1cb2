package config

import "time"

// Mode says what a gate or a limit does with its verdict.
type Mode string

// The modes. The plugin's own mode is a ceiling over each gate's: enforce > shadow > off.
const (
	Enforce Mode = "enforce" // decides and acts
	Shadow  Mode = "shadow"  // decides and records, lets everything pass
	Off     Mode = "off"     // does not decide
)

// Under is the mode that a gate's own comes to below the plugin's.
func (m Mode) Under(plugin Mode) Mode {
	switch {
	case plugin == Off || m == Off:
		return Off
	case plugin == Shadow:
		return Shadow
	default:
		return m
	}
}

// Hold says how request headers are kept from the upstream until a request is admitted.
type Hold string

// The ways of holding; which one works is a property of the host's configuration (docs/design.md).
const (
	HoldStopIteration Hold = "stopIteration" // the Wasm config has allow_on_headers_stop_iteration: true
	HoldBufferFilter  Hold = "bufferFilter"  // Envoy's buffer filter follows this filter
	HoldNone          Hold = "none"          // neither: decide at the headers what the headers allow
)

// Priority is a request's rank: a greater value goes first.
type Priority uint8

// The priorities, lowest first.
const (
	Low Priority = iota
	Normal
	High
	Urgent
)

// Admission says how much of a reservation must fit for a request to pass.
type Admission string

// The kinds of admission.
const (
	Lenient Admission = "lenient" // passes while the balance is above zero, and may go into debt by its own cost
	Strict  Admission = "strict"  // passes only if the whole reservation fits
)

// Refill says how a limit's quantity comes back.
type Refill string

// The ways.
const (
	RefillContinuous Refill = "continuous" // evenly: a bucket that flows in
	RefillWindow     Refill = "window"     // all of it when a window begins
)

// Calendar names windows of the calendar.
type Calendar string

// The windows.
const (
	CalendarHour  Calendar = "hour"
	CalendarDay   Calendar = "day"
	CalendarWeek  Calendar = "week" // from Monday on
	CalendarMonth Calendar = "month"
)

// calendars are all of them, with how long one lasts, a month about.
var calendars = [...]struct {
	name   Calendar
	length time.Duration
}{{CalendarHour, time.Hour}, {CalendarDay, day}, {CalendarWeek, 7 * day}, {CalendarMonth, 30 * day}}

// Probes says what becomes of a GET or HEAD of the models or of a server's health that lacks an identity, where Missing is "reject".
type Probes string

// The ways.
const (
	ProbesPass   Probes = "pass"
	ProbesReject Probes = "reject"
)

// What becomes of a request whose model can't be told.
const (
	UnreadMatch  = "match"  // it matches every limit and upstream that is for certain models
	UnreadReject = "reject" // it is refused, status 400
)

// MissingReject is the value of Identity.Missing with which a request without an identity is refused, status 401.
const MissingReject = "reject"

// What a limit has a bucket for, each of it.
const (
	PerUser     = "user"
	PerTenant   = "tenant"
	PerKey      = "key"
	PerGroup    = "group" // of Identity.Groups
	PerModel    = "model"
	PerPriority = "priority"
	PerHeader   = "header:" // followed by its name
)

// ErrorFormat is the shape of error bodies.
type ErrorFormat string

// The shapes.
const (
	ErrorsOfDialect ErrorFormat = "dialect" // of the API that the request speaks
	ErrorsOfDynamo  ErrorFormat = "dynamo"  // NVIDIA Dynamo's
)

// RateLimitHeaders says which answers tell of limits, in the headers of RateLimitStyle.
type RateLimitHeaders string

// Which answers.
const (
	RateLimitsAll      RateLimitHeaders = "all"      // the server's and the filter's own
	RateLimitsRefusals RateLimitHeaders = "refusals" // the filter's own
	RateLimitsOff      RateLimitHeaders = "off"      // none
)

// RateLimitStyle says in which headers answers tell of limits.
type RateLimitStyle string

// Which headers.
const (
	RateLimitsOpenAI RateLimitStyle = "openai" // x-ratelimit-*, as OpenAI's API has them
	RateLimitsIETF   RateLimitStyle = "ietf"   // RateLimit and RateLimit-Policy, as the IETF's draft has them
	RateLimitsBoth   RateLimitStyle = "both"
	// RateLimitsDialect is as the API that was asked has them: Anthropic's own, and OpenAI's for all others.
	RateLimitsDialect RateLimitStyle = "dialect"
)

// WhenFull is what happens to a request that finds the queue full.
type WhenFull string

// What happens then.
const (
	QueueReject      WhenFull = "reject"      // it is refused
	QueueDropLowest  WhenFull = "dropLowest"  // the newest of the lowest priority below its own is refused in its place
	QueuePassthrough WhenFull = "passthrough" // it waits all the same, past the queue, as if that had no end
	QueueBypass      WhenFull = "bypass"      // it starts at once: neither budget nor slots hold for it
)

// Fairness says who takes turns in a queue; or PerHeader and a header's name.
type Fairness string

// Who takes turns.
const (
	FairToUsers   Fairness = "user"
	FairToTenants Fairness = "tenant"
	FairToKeys    Fairness = "key"
	FairToNone    Fairness = "none" // first come, first served
)

// Deadline says until when a request can wait.
type Deadline string

// The deadlines.
const (
	DeadlineNone    Deadline = "none"    // it waits until the longest wait of its priority is over, however sure that is
	DeadlineMaxWait Deadline = "maxWait" // the longest wait of its priority
	DeadlineSLO     Deadline = "slo"     // what it asks for itself, too: less would be in vain
)

// LatencyScope says of what latency is measured.
type LatencyScope string

// The scopes.
const (
	LatencyPerModel LatencyScope = "model"  // of each model by itself
	LatencyGlobal   LatencyScope = "global" // of all together
)

// OnStale says what counts where nothing recent is known of pressure.
type OnStale string

// What counts then.
const (
	StaleIgnore OnStale = "ignore" // there is no pressure
	StaleHold   OnStale = "hold"   // what was last known
	StaleFull   OnStale = "full"   // all is busy
)
