// Package config is the plugin's configuration: its fields, their defaults, and the strict parser that turns the JSON
// Envoy hands over into a complete, valid Config.
//
// It is pure: bytes in, a Config or every error at once out. A field is described once, in fields.go or
// fields_upstream.go: its name, type, default, range and meaning; the parser, the defaults, the validation and the JSON
// Schema all come from that one description. An empty configuration is valid. A Config that Parse returned needs no
// further checks by its readers. Overrides change it while it runs (override.go), and are read by the same fields; so is what is shown of it
// (show.go).
package config

import (
	"slices"
	"time"

	"github.com/spillway-proxy/spillway/config/filterstate"
)

// Config is the whole configuration, complete: defaults are filled in.
type Config struct {
	Namespace        string
	Mode             Mode
	RequestHold      Hold
	StatusCode       StatusCode
	Retry            Retry
	ErrorFormat      ErrorFormat
	Publish          filterstate.Set // the values of the filter state that are set
	RateLimitHeaders RateLimitHeaders
	RateLimitStyle   RateLimitStyle
	Operations       []Operation
	Unknown          Unknown
	Models           Models
	Identity         Identity
	Priority         PriorityRules
	Usage            Usage
	Prices           []Price
	Unpriced         Unpriced
	Limits           []Limit
	Fleet            Fleet
	Upstreams        []Upstream
	PressureSource   PressureSource
	Admin            Admin
}

// StatusCode is the HTTP status of each gate's refusal.
type StatusCode struct {
	Limits, Latency, Throttle, QueueTimeout, QueueFull, Breaker, Pressure int
}

// Retry is what refusals say about trying again.
type Retry struct {
	Longest time.Duration // of the waits that a client is to sit out by itself
}

// Operation maps a path suffix to a dialect, ahead of the built-in list.
type Operation struct {
	Path    string
	Dialect string // one of Dialects
}

// Unknown says what becomes of a request with a body whose path has no dialect, neither a built-in one nor one of Operations.
type Unknown string

// The ways.
const (
	UnknownPass     Unknown = "pass"     // it costs no tokens
	UnknownEstimate Unknown = "estimate" // it costs the estimate, of a model that can't be told
	UnknownReject   Unknown = "reject"   // it is refused where an enforced limit counts tokens, status 400
)

// Models names the models.
type Models struct {
	Aliases map[string]string // a model's prefix before "/" (or its whole name) → the canonical one
	Labels  []string          // globs of models that get a metric label of their own; the rest is "other"
	Unread  string            // UnreadMatch, UnreadReject, or the model that a request is taken for whose own can't be told
}

// Source is where one part of a caller's identity is read from.
type Source struct {
	Place
	Sources []Place // looked at before Place
	Hash    bool    // never show or store the value itself
}

// Place is where an identity can be found: the first that is there counts, in this order.
type Place struct {
	Headers  []string // lower case
	Property []string // the path of one of Envoy's attributes; none: it isn't looked for there
	Query    []string // parameters of the path's query
	Cookie   []string // names of cookies
}

// Places are those where the identity is looked for, in turn.
func (s *Source) Places() []Place { return append(s.Sources[:len(s.Sources):len(s.Sources)], s.Place) }

// Identity says who is asking.
type Identity struct {
	User, Tenant, Key Source
	Groups            []Group
	Missing           string // the subject of a request without one, or MissingReject
	Probes            Probes
}

// Group is some who share a limit that is PerGroup. Nobody is in two.
type Group struct {
	Name  string
	Keys  []string // the SHA-256 of each key, in lower-case hexadecimal digits, after TokenHash
	Users []string // as they are read, before they are hashed
}

// PriorityRules says who may go first.
type PriorityRules struct {
	Header  string // lower case; "" ignores the client
	Default Priority
	Forward bool      // the header reaches the upstream, of those who may set it
	Trust   []Callers // who may set the header; nil: everybody
	Rules   []PriorityRule

	Objectives      map[string]string // names that ObjectiveHeader may have, and the priorities' names; empty: it isn't read
	ObjectiveHeader string            // lower case
}

// Callers are some of those who ask; an empty list matches everyone.
type Callers struct {
	Tenants, Users, Keys []string // globs
}

// Match says whether a caller is one of them.
func (c *Callers) Match(tenant, user, key string) bool {
	return MatchAny(c.Tenants, tenant) && MatchAny(c.Users, user) && MatchAny(c.Keys, key)
}

// PriorityRule raises or caps the priority of the callers it matches. Exactly one of Set and Max is given.
type PriorityRule struct {
	Callers
	Set, Max *Priority
}

// Usage says how tokens are read and estimated.
type Usage struct {
	EnsureStreamUsage   bool
	IdentityEncoding    bool    // the upstream is asked not to compress what is to be read
	MaxRequestBytes     int     // a larger request body is not read
	PromptTokensPerByte float64 // where learning starts
	OutputTokens        int     // where learning starts, for a request without an output bound
	Cost                []CostWeights
}

// CostWeights prices one token of each kind for the unit Cost; the first entry whose model glob matches counts.
type CostWeights struct {
	Models                                []string
	Prompt, Cached, Completion, Reasoning float64
}

// Match selects requests; an empty list or map matches all.
type Match struct {
	Models     []string // globs, on canonical names
	Operations []string // operation names, as in the filter state gen_ai.operation.name
	Priorities []Priority
	Tenants    []string          // globs
	Groups     []string          // globs
	Headers    map[string]string // lower-case name → glob of the value; all must match
}

// Limit is one quota.
type Limit struct {
	Name      string
	Per       []string // PerUser and so on, or PerHeader and a name; empty: one bucket for all
	Match     Match
	Unit      *Unit
	Quantity  int64         // units per Window, of money billionths of a dollar; at least 1
	Window    time.Duration // 0 where the unit is of what is under way; of a calendar's months 30 days
	Calendar  Calendar      // "": Window is as it was given
	Zone      time.Duration // that the calendar's time is ahead of UTC
	Refill    Refill        // "" where there is no window
	Lifetime  bool          // nothing comes back: no Window
	Idle      time.Duration // after which a lifetime's subject is forgotten that is left alone; 0 without Lifetime
	Burst     int64         // the bucket's size in units; Quantity by default
	Admission Admission
	Mode      Mode
	Scope     Scope
	Refund    []Statuses // of answers that cost nothing in this limit
	Nearly    Nearly

	timezone string
}

// Nearly says what becomes of requests while little of a limit is left; the zero value is nothing.
type Nearly struct {
	At             float64           // share of Burst that is used or reserved, the request's own included; 0: it is not looked at
	RequestHeader  map[string]string // set on the request, so that its route is chosen by them; lower-case names
	ResponseHeader bool              // the client is told
}

// Upstream is what is protected, chosen by model: the first match counts.
type Upstream struct {
	Name        string
	Models      []string
	Budget      Budget
	Concurrency Concurrency
	Queue       Queue
	Retreat     Retreat
	Latency     Latency
	Throttle    Throttle
	Breaker     Breaker
	Pressure    Pressure

	EnsureStreamUsage *bool // nil: as Usage says
}

// Budget is what the upstream allows us per Window; 0 is no limit, Burst 0 one window's worth.
type Budget struct {
	Requests, Tokens int64
	Window           time.Duration
	Burst            int64
	Weights          []Weight // of Requests
}

// Concurrency bounds the requests in flight to the upstream; 0 is no limit.
type Concurrency struct {
	Max                          int // or autoSlots
	Min, Limit                   int // of what autoSlots learns
	ReservedUrgent, ReservedHigh int
	Weights                      []Weight
}

// autoSlots is the Concurrency.Max that is learned.
const autoSlots = -1

// Auto says that the number of slots is learned.
func (c *Concurrency) Auto() bool { return c.Max == autoSlots }

// Queue is where requests wait for budget or a slot.
type Queue struct {
	Max      int
	MaxBytes int64
	WhenFull WhenFull
	MaxWait  map[Priority]time.Duration // all four priorities are present
	Fairness Fairness
	Deadline Deadline
	Revoke   bool // low streams are ended for urgent requests
}

// Retreat lowers Budget while the upstream answers 429.
type Retreat struct {
	Mode                    Mode
	Window                  time.Duration
	Threshold, Factor       float64
	MinRequests, MinSamples int
	Every                   time.Duration
	RecoverWindow           time.Duration
	RecoverThreshold        float64
	RecoverStep             int
}

// Latency is the TTFT and ITL gate.
type Latency struct {
	Mode         Mode
	TTFT, ITL    time.Duration
	TimeConstant time.Duration
	Per          LatencyScope
	WarnAt       float64
	Predict      bool // requests are refused by what is expected of each

	TTFTHeader, ITLHeader string // request headers with the request's own bounds, in milliseconds; "": none
}

// Throttle is the adaptive throttle.
type Throttle struct {
	Mode      Mode
	QPS       ThrottleQPS
	P99       ThrottleP99
	GPUMemory float64
	Fusion    bool
}

// ThrottleQPS is the arrival rate's share of Throttle.
type ThrottleQPS struct {
	Window         time.Duration
	Sigmas, Factor float64
}

// ThrottleP99 is the tail latency's share of Throttle.
type ThrottleP99 struct {
	Factor  float64
	Max     time.Duration
	Periods int
	Period  time.Duration
}

// Breaker is the circuit breaker.
type Breaker struct {
	Mode        Mode
	ErrorRate   float64
	SlowCall    time.Duration // 0: slow calls don't count
	Window      time.Duration
	MinRequests int
	OpenFor     time.Duration
	Probes      int
	Fallback    Fallback
}

// Fallback is what an open breaker answers; the zero value is none. Either Status or RouteHeader is set.
type Fallback struct {
	operations  []string // operation names that it is for; empty: all
	Status      int
	Body        string
	Headers     map[string]string
	RouteHeader map[string]string
}

// For says that the fallback is for an operation.
func (f *Fallback) For(operation string) bool {
	return len(f.operations) == 0 || slices.Contains(f.operations, operation)
}

// Pressure is the gate on how full GPUs and engines are.
type Pressure struct {
	Mode                Mode
	ActiveDecodeBlocks  float64
	ActivePrefillTokens int64
	GPUMemory           float64
	Ceilings            map[Priority]float64 // all four priorities are present
	OnStale             OnStale
}

// PressureSource is where pressure is fetched from.
type PressureSource struct {
	Cluster, Authority, Path      string
	Interval, Timeout, StaleAfter time.Duration
}

// Admin is the status and dashboard surface; Path "" is off.
type Admin struct {
	Path   string   // it and all paths below it are the surface's
	Tokens []string // the SHA-256 of each token that is good, in lower-case hexadecimal digits, after TokenHash
	Read   AdminRead
}

// TokenHash is what the hash of a token begins with.
const TokenHash = "sha256:"

// AdminRead says who may read there.
type AdminRead string

// The ways.
const (
	ReadOpen  AdminRead = "open"  // everybody
	ReadToken AdminRead = "token" // who has a token
)
