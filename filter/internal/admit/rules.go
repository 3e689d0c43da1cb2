package admit

import (
	"slices"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/account"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/estimate"
	"github.com/spillway-proxy/spillway/filter/internal/health"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
	"github.com/spillway-proxy/spillway/filter/internal/limit"
	"github.com/spillway-proxy/spillway/filter/internal/pressure"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// What a configuration says is made ready once, as rules, and never changed. Change makes others from another configuration while requests
// are under way: those that come from then on are led by them. A stream stays with the rules that it began with, which may name other
// headers, prices or statuses; what it stands at, or holds, is not the rules' but the engine's, and has the latest settings: the upstreams'
// gates with what waits in them (site), and the limits' buckets. So nothing is lost or counted twice by a change, whoever ends when.

// mostRules bounds the rules of earlier configurations that streams still are led by. They take some 20 KB each.
const mostRules = 100

// rules is what one configuration says.
type rules struct {
	streams    int // that are led by it
	cfg        *config.Config
	operations *usage.Operations
	upstreams  []*upstream
	anyGate    bool              // it matters which one a request is for: one of them has a gate
	needsWhole bool              // requests are decided when all of them has come, not before (gatekeeper)
	monitor    *pressure.Monitor // nil: pressure is not asked for
	hints      hints
	picker     ident.Picker
	identity   *ident.Identity
	limits     *limit.Set
	gates      []gatekeeper // in the order in which a request comes to them
	atDecision int          // how many of these are asked when it is decided; the others are when it is complete
	accountant *account.Accountant
	slots      slots

	routeHeaders []routeHeader // of the limits' nearly
	methods      methodSlots
	admins       surfaceSlots
	aliases      []alias
	standIn      string // what a request whose model can't be told is taken for; "": it may be for any model
	asksSome     bool   // some streams are made to report their usage
}

// site is what an upstream holds in this worker, whatever the rules are.
type site struct {
	name      string
	queue     *dispatch.Gate // nil: no rules have wanted one yet
	health    *health.Gates  // the same
	base      int64          // requests of its budget in a minute; 0: none
	shut      bool           // an operator drains it: nothing new is let through to it
	slotFreed bool           // a slot has become free: somebody may wait for it
}

// site gives the site of an upstream, by its name.
func (e *Engine) site(name string) *site {
	for _, known := range e.sites {
		if known.name == name {
			return known
		}
	}
	e.sites = append(e.sites, &site{name: name})
	return e.sites[len(e.sites)-1]
}

// use has what follows be done by rules, and gives those by which it was done before.
func (e *Engine) use(r *rules) (before *rules) {
	before = e.rules
	e.rules, e.out.published = r, r.cfg.Publish
	return before
}

// letGo ends what a stream has of its rules: nothing more is to be done for it.
func (e *Engine) letGo(s *Stream) {
	if s.rules != nil {
		s.rules.streams--
		s.rules = nil
	}
}

// Crowded says that streams are still led by the rules of so many earlier configurations that no other one is to come.
func (e *Engine) Crowded() bool {
	e.past = slices.DeleteFunc(e.past, func(r *rules) bool { return r.streams == 0 })
	return len(e.past) >= mostRules
}

// Change has the requests that come from here on led by another configuration. Its namespace is that of the one before, and the names of
// its upstreams are.
func (e *Engine) Change(cfg *config.Config) {
	e.past = append(e.past, e.latest)
	e.makeRules(cfg)
	if s := e.current; s != nil { // its event goes on as it began
		e.use(s.rules)
	}
	for s, next := e.reserving.first, (*Stream)(nil); s != nil; s = next {
		next = e.reserving.after(s)
		e.latest.limits.Adopt(s.charges)
	}
}

// makeRules makes a configuration's rules, which are the latest then.
func (e *Engine) makeRules(cfg *config.Config) {
	e.use(&rules{cfg: cfg, operations: usage.NewOperations(cfg.Operations), asksSome: asksSome(cfg), aliases: aliases(cfg)})
	if unread := cfg.Models.Unread; unread != config.UnreadMatch && unread != config.UnreadReject {
		e.standIn = unread
	}
	e.labels = newLabels(cfg, &e.labels)
	p := &e.picker
	e.limits = limit.New(cfg, p, e.table, &e.worker.heavy)
	e.limits.Allow(e.grants.known)
	hash := func(b []byte) uint64 { return uint64(e.table.Hash(b)) }
	identityHash := hash
	if cfg.Fleets() {
		e.limits.LeaseFrom(e.leasing.client, &e.cfg.Fleet, e.host.Wall)
		identityHash = limit.FleetHash
	}
	e.identity = ident.New(cfg, p, e.host, identityHash, e.limits.Needs())
	e.accountant = account.New(&e.worker.learned, estimate.Start{PromptTokensPerByte: cfg.Usage.PromptTokensPerByte, OutputTokens: int64(cfg.Usage.OutputTokens)}, hash)
	e.slots = slots{
		method: p.Want(":method"), path: p.Want(":path"), length: p.Want("content-length"),
		expect: p.Want("expect"), encoding: p.Want("content-encoding"), accept: p.Want("accept-encoding"), status: p.Want(":status"), contentType: p.Want("content-type"),
		retryAfter: p.Want("retry-after"), limit: p.Want("x-ratelimit-limit"), limitRemaining: p.Want("x-ratelimit-remaining"), limitReset: p.Want("x-ratelimit-reset"), shouldRetry: p.Want("x-should-retry"),
	}
	none := p.Want("") // no header has this name
	e.slots.queue, e.slots.maxWait, e.slots.objective = none, none, none
	if len(cfg.Priority.Objectives) > 0 {
		e.slots.objective = p.Want(cfg.Priority.ObjectiveHeader)
	}
	e.methods = newMethodSlots(p)
	if cfg.Admin.Path != "" {
		e.admins = newSurfaceSlots(p)
	}
	if cfg.Priority.Header != "" {
		e.slots.priority = p.Want(cfg.Priority.Header)
	}
	e.routeHeaders = listRouteHeaders(cfg.Limits, p)
	e.newUpstreams()
	e.listGates()
	e.latest = e.rules
}
