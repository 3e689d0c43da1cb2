// Package limit admits requests within the configured limits: all that apply to a request must have room, or none is
// charged.
//
// A limit has one bucket for each subject, the combination of values that its "per" names. At admission a request
// reserves in each what it is expected to use. A limit of requests counts it for good when it is sent: at admission, or, where it
// has to wait, by a lease until Send. A limit of requests under way has a place reserved for each until it ends, and nothing is ever used up.
// At the end Settle replaces the reservation by what was really used; Refund takes
// everything back of what was not sent. A request that runs, or waits, longer than a lease period renews its
// reservations (Renew); what a dead worker reserved is forgotten after at most two periods (see package bucket).
//
// # How far a burst can pass a limit
//
// A request that states its output bound reserves all of it with a strict limit: a limit of completion tokens never passes its
// burst then; where prompts count too, by what their estimates fell short. What states no bound, and all that a
// lenient limit admits, reserves an expectation, and can use more. So an expectation grows with the share of the burst
// that is reserved already, from Estimate.Output, the likely length, to Estimate.OutputMost: however short the answers were
// that taught it, the n-th request in flight reserves likely·(1+g)^n, with g = (most-likely)/burst, and all that are in flight at once
// are no more than
//
//	ln(most/likely) / ln(1 + (most-likely)/burst), rounded up (strict: rounded down, and 1 at least).
//
// Package estimate keeps most/likely at 128 or below, so that is no more than 4.9·burst/most + 4. A request with a bound
// reserves no more than that: for it, likely and most are the bound where that is less.
//
// # Windows
//
// Where the quantity comes back when a window begins (package calendar cuts time into them, package bucket says what a window is to a bucket), all
// workers know which window it is by the wall clock, each by itself, and a bucket that it is in the window it is in. What they tell a client to wait is until the
// window's end, as the wall clock stands.
//
// Ownership: a Charge belongs to its request, and is settled exactly once. The buckets belong to everyone: each change
// is a compare-and-swap of a page (package record), repeated when another worker was first. Limits whose buckets lie in different pages
// can't be charged in one step: if a later page turns out to have no room, the earlier ones are given back.
package limit

import (
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/calendar"
	"github.com/spillway-proxy/spillway/filter/internal/heavy"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
	"github.com/spillway-proxy/spillway/filter/internal/lease"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

// Request is what limits look at.
type Request struct {
	Caller      ident.Caller
	Operation   string
	Model       string // canonical; "" while unknown
	ModelKnown  bool   // Model is final: the body was read, or will not be
	ModelUnread bool   // it may be for any model, and is what Model "" stands for
	Tokens      bool   // the operation uses tokens: limits of requests alone apply otherwise
	NoOutput    bool   // the operation has no output at all, whatever the request says: its need of it is known to be 0
	Headers     *ident.Headers
	Waits       bool // it is not sent at once: requests are leased, until Send
	Again       bool // it waits for the fleet's service, and is asked for again
	Waited      bool // it has waited for the fleet's service as long as it may
	Estimate    Estimate
}

// Estimate is what a request is expected to use.
type Estimate struct {
	Prompt, Output int64 // tokens
	OutputMost     int64 // what the output has to be reckoned to be where all of a bucket is reserved; below Output: as that
	OutputBound    int64 // the request's own bound; 0: none
	OutputFloor    int64 // what it asks for at least
}

// Usage is what a request used, in tokens. Total is Prompt and Completion; the others are parts of these. None is below 0.
type Usage struct {
	Prompt, Completion, Total, Cached, Reasoning int64
	CacheWrite, Audio, AudioOutput               int64
	Spend                                        int64 // what it has cost, in billionths of a dollar, where there are limits of dollars (Spend)
}

// Set is the limits of one configuration.
type Set struct {
	limits []limit
	groups []string
	cost   []config.CostWeights
	prices prices
	table  *table.Table
	nobody string // what a part of a caller is that the request lacks
	caller []part // a caller's
	book   *heavy.Book

	granted map[uint64]*granted // subjects' own limits, by their buckets' ids; nil: there are none
	fleet   fleet

	// Memory of the call under way, which the next one uses again.
	candidates []candidate
	pages      []*table.Page
	hashes     []table.Hash
	hashed     []bool
	subject    []byte
	ids        []uint64 // of the buckets that a page is written for
	back       []Charge // which are taken back
	shown      []byte
	record     []byte
}

// limit is a config.Limit made ready.
type limit struct {
	config.Limit
	rate    bucket.Rate // as it is at a moment: at
	windows calendar.Windows
	terms   *lease.Terms // nil: it is not the fleet's
	group   int          // index of the limit's "per" in Set.groups
	per     []part
	salt    uint64
	headers []headerMatch
	known   *heavy.Subjects // nil: none yet
	told    uint32          // known.Changes, when it was told last
}

// size is the most that can be used at once, in millionths.
func (l *limit) size() int64 { return l.Burst * parts(l.Unit) }

// part is one entry of "per".
type part struct {
	kind   string
	name   string // as the configuration has it
	slot   ident.Slot
	secret bool // its values are never shown
	hashed bool // they are hashes (ident)
}

type headerMatch struct {
	slot ident.Slot
	glob string
}

// New makes the limits ready. The plugin's mode is a ceiling over each limit's. What their subjects do is noted in the book.
func New(c *config.Config, picker *ident.Picker, t *table.Table, book *heavy.Book) *Set {
	s := &Set{table: t, book: book, cost: c.Usage.Cost, prices: newPrices(c, t), nobody: ident.Nobody(&c.Identity)}
	s.limits = make([]limit, 0, len(c.Limits))
	for i := range c.Limits {
		if c.Limits[i].Mode.Under(c.Mode) != config.Off {
			s.limits = s.limits[:len(s.limits)+1]
			s.prepare(&s.limits[len(s.limits)-1], c, &c.Limits[i], picker)
		}
	}
	for _, per := range [...]string{config.PerTenant, config.PerUser, config.PerKey} {
		s.caller = append(s.caller, part{kind: per, name: per, secret: ident.Secret(&c.Identity, per)})
	}
	s.hashes, s.hashed = make([]table.Hash, len(s.groups)), make([]bool, len(s.groups))
	return s
}

// prepare makes a limit ready, in place: it is large.
func (s *Set) prepare(l *limit, c *config.Config, configured *config.Limit, picker *ident.Picker) {
	l.Limit = *configured
	l.Mode = configured.Mode.Under(c.Mode)
	l.rate.Burst, l.rate.Quantity = configured.Burst*parts(configured.Unit), configured.Quantity*parts(configured.Unit)
	l.rate.Grain, l.rate.Window, l.rate.Idle = grain(configured.Unit), configured.Window, configured.Idle
	if l.rate.Leased = configured.Scope == config.ScopeFleet; l.rate.Leased {
		l.rate.Burst = leaseBase
	}
	l.terms, l.group, l.salt = terms(&l.Limit), s.group(configured.Per), salt(s.table, &l.Limit)
	if l.windows = calendar.New(&l.Limit); l.windows.Any() {
		l.rate.Now = &bucket.Window{}
	}
	for _, per := range configured.Per {
		p := part{kind: per, name: per, secret: ident.Secret(&c.Identity, per), hashed: hashes(&c.Identity, per)}
		if name, isHeader := strings.CutPrefix(per, config.PerHeader); isHeader {
			p.kind, p.slot = config.PerHeader, picker.Want(name)
		}
		l.per = append(l.per, p)
	}
	for name, glob := range configured.Match.Headers {
		l.headers = append(l.headers, headerMatch{picker.Want(name), glob})
	}
}

// salt tells a limit's buckets from those of others. What is used of a proxy's own limit, and what is leased of the fleet's, have nothing in common, nor have
// leases of windows of different lengths, which are counted apart.
func salt(t *table.Table, l *config.Limit) uint64 {
	name := "limit\x00" + l.Name + "\x00" + l.Unit.Name
	if l.Scope == config.ScopeFleet {
		name += "\x00fleet\x00" + l.FleetUnit()
	}
	return uint64(t.Hash([]byte(name)))
}

// hashes says that a part of an identity is stored as a hash.
func hashes(c *config.Identity, per string) bool {
	switch per {
	case config.PerUser:
		return c.User.Hash
	case config.PerTenant:
		return c.Tenant.Hash
	case config.PerKey:
		return c.Key.Hash
	}
	return false
}

// group finds or adds a combination of "per": its limits share their subjects' hashes, and so their pages.
func (s *Set) group(per []string) int {
	name := strings.Join(per, "\x00")
	if i := slices.Index(s.groups, name); i >= 0 {
		return i
	}
	s.groups = append(s.groups, name)
	return len(s.groups) - 1
}

// Any says that there are limits at all.
func (s *Set) Any() bool { return len(s.limits) > 0 }

// Needs names the parts of an identity that some limit depends on.
func (s *Set) Needs() []string {
	var needs []string
	for i := range s.limits {
		needs = append(needs, s.limits[i].Per...)
		if len(s.limits[i].Match.Tenants) > 0 {
			needs = append(needs, config.PerTenant)
		}
		if len(s.limits[i].Match.Groups) > 0 {
			needs = append(needs, config.PerGroup)
		}
	}
	return needs
}

// Timing says when a request can be decided.
type Timing uint8

// The timings.
const (
	Never     Timing = iota // no limit can apply
	AtHeaders               // the headers tell all that there is to know
	Estimated               // the headers tell which limits apply and to whom, the body would tell how much is needed
	AtBody                  // which limits apply, or to whom, depends on the body
)

// Timing says when the request can be decided, seen from its headers.
func (s *Set) Timing(r *Request) Timing {
	timing := Never
	for i := range s.limits {
		l := &s.limits[i]
		if !l.matches(r) {
			continue
		}
		switch {
		case !l.Unit.Tokens() && (r.ModelKnown || !l.needsModel()):
			timing = max(timing, AtHeaders)
		case r.ModelKnown, !l.needsModel() && !s.needsPrice(l):
			timing = max(timing, Estimated)
		default:
			timing = AtBody
		}
	}
	return timing
}

// needsModel says that the limit can't be told without the model.
func (l *limit) needsModel() bool {
	for _, glob := range l.Match.Models {
		if glob != "*" {
			return true
		}
	}
	return slices.Contains(l.Per, config.PerModel)
}

// matches says whether the limit applies. While the model is unknown, a limit that depends on it may apply.
func (l *limit) matches(r *Request) bool {
	m := &l.Match
	if l.Unit.Tokens() && !r.Tokens {
		return false
	}
	if r.ModelKnown && !r.ModelUnread && !config.MatchModel(m.Models, r.Model) {
		return false
	}
	if len(m.Operations) > 0 && !slices.Contains(m.Operations, r.Operation) {
		return false
	}
	if len(m.Priorities) > 0 && !slices.Contains(m.Priorities, r.Caller.Priority) {
		return false
	}
	if !config.MatchAny(m.Tenants, r.Caller.Tenant) || !config.MatchAny(m.Groups, r.Caller.Group) {
		return false
	}
	for i := range l.headers {
		if !l.headers[i].matches(r.Headers) {
			return false
		}
	}
	return true
}

// matches says that one of the header's values does, or an element of one that is a list.
func (m *headerMatch) matches(h *ident.Headers) bool {
	values := h.Values(m.slot)
	for values.Next() {
		if config.MatchGlob(m.glob, values.Value) {
			return true
		}
	}
	return false
}

// hash gives the subject's hash, once a request and group.
func (s *Set) hash(l *limit, r *Request) table.Hash {
	if s.hashed[l.group] {
		return s.hashes[l.group]
	}
	b := append(s.subject[:0], s.groups[l.group]...)
	for i := range l.per {
		b = l.per[i].append(append(b, 0), r)
	}
	s.subject = b
	s.hashes[l.group], s.hashed[l.group] = s.table.Hash(b), true
	return s.hashes[l.group]
}

// append appends the part's value.
func (p *part) append(b []byte, r *Request) []byte {
	switch p.kind {
	case config.PerUser:
		return append(b, r.Caller.User...)
	case config.PerTenant:
		return append(b, r.Caller.Tenant...)
	case config.PerKey:
		return append(b, r.Caller.Key...)
	case config.PerGroup:
		return append(b, r.Caller.Group...)
	case config.PerModel:
		return appendLower(b, r.Model) // config.MatchModel says why
	case config.PerPriority:
		return append(b, r.Caller.Priority.String()...)
	default:
		return append(b, r.Headers.Get(p.slot)...)
	}
}

// appendLower appends a text in lower case.
func appendLower(b []byte, text string) []byte {
	before := len(b)
	for i := range len(text) {
		c := text[i]
		switch {
		case c >= utf8.RuneSelf:
			return append(b[:before], strings.ToLower(text)...)
		case 'A' <= c && c <= 'Z':
			c |= 0x20
		}
		b = append(b, c)
	}
	return b
}

// need is what a request reserves with a limit, in millionths. A strict limit reserves the most that the request says it
// may use. Where it doesn't say, and with a lenient one, it is what the request is expected to use, which grows with what the
// bucket has reserved already (see the package comment); and since that is a guess, it never needs more than the
// bucket holds: only what a request itself states can be too large for good.
func (s *Set) need(l *limit, r *Request, state *bucket.State) int64 {
	if !l.Unit.Tokens() {
		return bucket.Micro
	}
	e := &r.Estimate
	output, states := e.Output, int64(0)
	if l.Admission == config.Strict && e.OutputBound > 0 {
		output = e.OutputBound
		states = s.expected(l, r.Model, Usage{Completion: output, Total: output})
	} else if more := e.OutputMost - e.Output; more > 0 {
		output += int64(math.Ceil(float64(more) * state.ReservedShare(bucket.Rate{Burst: l.size(), Grain: l.rate.Grain})))
	}
	if l.Admission == config.Strict && e.OutputBound == 0 {
		states = s.expected(l, r.Model, Usage{Completion: e.OutputFloor, Total: e.OutputFloor})
	}
	need := s.expected(l, r.Model, Usage{Prompt: e.Prompt, Completion: output, Total: e.Prompt + output})
	return max(min(need, l.size()), states)
}

// free says that the request needs nothing of the limit's unit for certain, be it as long as it may: an estimate of 0 is none.
// What is used all the same is charged.
func (s *Set) free(l *limit, r *Request) bool {
	switch l.Unit.Counts {
	case config.CountsCompletion:
		return r.NoOutput
	case config.CountsCost:
		use := Usage{Prompt: 2, Cached: 1, Completion: 2, Reasoning: 1}
		if r.NoOutput {
			use.Completion, use.Reasoning = 0, 0
		}
		return s.weigh(r.Model, use) == 0 // of all models, where it is not known
	case config.CountsSpend:
		return s.prices.free(r.Model, r.NoOutput)
	default:
		return false
	}
}

// expected is what a use would cost a limit, in millionths.
func (s *Set) expected(l *limit, model string, u Usage) int64 {
	if l.Unit.Money() {
		u.Spend = s.prices.cost(model, u)
	}
	return s.amount(l, model, u)
}

// amount is what a use costs a limit, in millionths.
func (s *Set) amount(l *limit, model string, u Usage) int64 {
	switch l.Unit.Counts {
	case config.CountsRequests:
		return bucket.Micro
	case config.CountsPrompt:
		return micro(float64(u.Prompt))
	case config.CountsCompletion:
		return micro(float64(u.Completion))
	case config.CountsTotal:
		return micro(float64(u.Total))
	case config.CountsSpend:
		return u.Spend
	default:
		return micro(s.weigh(model, u))
	}
}

// weigh weighs the tokens of each kind; each token is counted once, at its own weight. A model that can't be told is as dear as
// the dearest.
func (s *Set) weigh(model string, u Usage) (price float64) {
	cached, reasoning := min(u.Cached, u.Prompt), min(u.Reasoning, u.Completion)
	for i := range s.cost {
		w := &s.cost[i]
		if model != "" && !config.MatchModel(w.Models, model) {
			continue
		}
		price = max(price, float64(u.Prompt-cached)*w.Prompt+float64(cached)*w.Cached+
			float64(u.Completion-reasoning)*w.Completion+float64(reasoning)*w.Reasoning)
		if model != "" {
			break
		}
	}
	return price
}

func micro(units float64) int64 {
	return int64(math.Round(min(max(units, 0)*bucket.Micro, float64(bucket.Most))))
}
