package ident

import (
	"slices"
	"strconv"
	"strings"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// Caller is who asks. A part that the request lacks is what the configuration puts in its place.
type Caller struct {
	User, Tenant, Key string // Key is shortened to a hash where the configuration says so
	Group             string // "" where no limit depends on it
	Priority          config.Priority
	Untrusted         bool // the priority header was not believed
}

// Refusal says why a request's identity isn't accepted.
type Refusal struct {
	Reason  string // missing, repeated_header (or it holds several values) or conflicting_keys
	Header  string // the header to blame, or the two; what is none is such as "?key", "cookie sid", "attribute sub"
	Missing bool
}

// Identity reads callers.
type Identity struct {
	user, tenant, key source
	missing           string
	reject            bool
	groups            groups
	grouped           bool    // a limit depends on a group
	required          [4]bool // parts that some limit or rule depends on: user, tenant, key, group
	once              []once  // headers that a limit is per
	priority          config.PriorityRules
	prioritySlot      Slot
	objectiveSlot     Slot
	objectives        []objective // none: they aren't read
	hash              func([]byte) uint64
	attributes        Attributes
}

// New builds the reader. attributes are those of the request that is being read; hash is a keyed hash; needs names the parts ("user", "tenant", "key", "group") without which a request
// is refused if the configuration says so.
func New(c *config.Config, p *Picker, attributes Attributes, hash func([]byte) uint64, needs []string) *Identity {
	i := &Identity{
		user:       newSource(p, &c.Identity.User),
		tenant:     newSource(p, &c.Identity.Tenant),
		key:        newSource(p, &c.Identity.Key),
		reject:     c.Identity.Missing == config.MissingReject,
		priority:   c.Priority,
		hash:       hash,
		attributes: attributes,
	}
	for n, s := range []*source{&i.user, &i.tenant, &i.key} {
		s.decides = decides(c, parts[n], config.Enforce)
		s.asks = c.Mode != config.Off && (s.decides || decides(c, parts[n], config.Shadow))
	}
	i.key.all = i.key.decides
	if i.grouped = decides(c, config.PerGroup, config.Enforce) || decides(c, config.PerGroup, config.Shadow); i.grouped {
		i.groups = newGroups(c.Identity.Groups)
	}
	i.once = onceEach(c, p)
	i.missing = Nobody(&c.Identity)
	if c.Priority.Header != "" {
		i.prioritySlot = p.Want(c.Priority.Header)
	}
	for name, word := range c.Priority.Objectives {
		priority, _ := config.ParsePriority(word)
		i.objectives = append(i.objectives, objective{name, priority})
		i.objectiveSlot = p.Want(c.Priority.ObjectiveHeader)
	}
	for _, need := range needs {
		for n, part := range parts {
			i.required[n] = i.required[n] || need == part
		}
	}
	return i
}

// once is a header that must have one value.
type once struct {
	slot Slot
	name string
}

// onceEach gives the headers that an enforced limit is per.
func onceEach(c *config.Config, p *Picker) (all []once) {
	for l := range c.Limits {
		for _, per := range c.Limits[l].Per {
			if name, header := strings.CutPrefix(per, config.PerHeader); header && c.Limits[l].Mode == config.Enforce {
				all = append(all, once{p.Want(name), name})
			}
		}
	}
	return all
}

// parts are those of an identity, as the configuration names them.
var parts = [4]string{"user", "tenant", "key", "group"}

// decides says that it matters which user, tenant, key or group a request has: a limit of a mode, a rule of the priorities or turns in a queue
// depend on it.
func decides(c *config.Config, part string, mode config.Mode) bool {
	for i := range c.Limits {
		l := &c.Limits[i]
		if l.Mode == mode && limitDepends(c, l, part) {
			return true
		}
	}
	looks := func(m *config.Callers) bool {
		return len(map[string][]string{"user": m.Users, "tenant": m.Tenants, "key": m.Keys}[part]) > 0
	}
	for i := range c.Priority.Rules {
		if looks(&c.Priority.Rules[i].Callers) {
			return true
		}
	}
	for i := range c.Priority.Trust {
		if looks(&c.Priority.Trust[i]) {
			return true
		}
	}
	for i := range c.Upstreams {
		if string(c.Upstreams[i].Queue.Fairness) == part {
			return true
		}
	}
	return false
}

// limitDepends says that it matters to a limit which user, tenant, key or group a request has.
func limitDepends(c *config.Config, l *config.Limit, part string) bool {
	if slices.Contains(l.Per, part) || part == "tenant" && len(l.Match.Tenants) > 0 {
		return true
	}
	if !slices.Contains(l.Per, config.PerGroup) && len(l.Match.Groups) == 0 {
		return false
	}
	return part == config.PerGroup || slices.ContainsFunc(c.Identity.Groups, func(g config.Group) bool {
		return part == "user" && len(g.Users) > 0 || part == "key" && len(g.Keys) > 0
	})
}

// Nobody is what stands for a part that a request lacks.
func (i *Identity) Nobody() string { return i.missing }

// Nobody is what stands for a part that a request lacks, where requests are identified so.
func Nobody(c *config.Identity) string {
	if c.Missing == config.MissingReject {
		return "anonymous" // the subject of those whom nothing needs to tell apart
	}
	return c.Missing
}

// Read gives the caller, and why it is refused, if it is. What is wrong with a refused one counts as missing: whoever
// lets it pass all the same, as shadow mode does, has a whole caller to go on with.
// It lives in h's memory.
func (i *Identity) Read(h *Headers) (c Caller, refusal *Refusal) {
	var key string
	c.User, refusal = i.part(h, 0, &i.user, nil)
	c.Tenant, refusal = i.part(h, 1, &i.tenant, refusal)
	key, refusal = i.part(h, 2, &i.key, refusal)
	for _, header := range i.once {
		if refusal == nil && (h.Repeated(header.slot) || list(h.Get(header.slot))) {
			refusal = &Refusal{Reason: "repeated_header", Header: header.name}
		}
	}
	if i.grouped {
		c.Group, refusal = i.group(&c, key, refusal)
	}
	c.Untrusted = !i.trusts(c.Tenant, c.User, key)
	c.Priority = i.rank(h, &c, key)
	c.User, c.Tenant = i.show(h, &i.user, c.User), i.show(h, &i.tenant, c.Tenant)
	c.Key = i.show(h, &i.key, key)
	return c, refusal
}

// part reads the n-th part, and says why the caller is refused: for the first fault, which was found in an earlier one, or for its own.
func (i *Identity) part(h *Headers, n int, s *source, earlier *Refusal) (string, *Refusal) {
	value, fault := s.read(h, i.attributes)
	switch {
	case earlier != nil:
		return value, earlier
	case fault == nil && value == "" && i.reject && i.required[n]:
		fault = &Refusal{Reason: "missing", Header: s.title(), Missing: true}
	}
	return value, fault
}

// group finds the group, and says why the caller is refused, as part does.
func (i *Identity) group(c *Caller, key string, earlier *Refusal) (string, *Refusal) {
	group := i.groups.of(c.User, key)
	switch {
	case group != "":
		return group, earlier
	case earlier == nil && i.reject && i.required[3]:
		earlier = &Refusal{Reason: "missing", Header: config.PerGroup, Missing: true}
	}
	return i.missing, earlier
}

// show gives what may be stored and shown of a part.
func (i *Identity) show(h *Headers, s *source, value string) string {
	if value == "" {
		return i.missing
	}
	if s.hash {
		from := len(h.text)
		h.text = strconv.AppendUint(append(h.text, '#'), i.hash(inplace.Bytes(value)), 36)
		return inplace.String(h.text[from:])
	}
	return value
}

// rank gives the priority: what the client claims, within what the first matching rule allows.
func (i *Identity) rank(h *Headers, c *Caller, key string) config.Priority {
	priority := i.priority.Default
	if !c.Untrusted {
		priority = i.claimed(h, priority)
	}
	for _, rule := range i.priority.Rules {
		if !rule.Match(c.Tenant, c.User, key) {
			continue
		}
		if rule.Set != nil {
			return *rule.Set
		}
		return min(priority, *rule.Max)
	}
	return priority
}

// trusts says whether a caller may set his priority.
func (i *Identity) trusts(tenant, user, key string) bool {
	if i.priority.Trust == nil {
		return true
	}
	for n := range i.priority.Trust {
		if i.priority.Trust[n].Match(tenant, user, key) {
			return true
		}
	}
	return false
}

// claimed is what the headers say: of several values the lowest, whoever sent or added which.
func (i *Identity) claimed(h *Headers, otherwise config.Priority) config.Priority {
	c := claims{lowest: otherwise}
	if i.priority.Header != "" && h.Has(i.prioritySlot) {
		values := h.Values(i.prioritySlot) // not in the loop's head: TinyGo would allocate it for each turn
		for values.Next() {
			c.add(config.ParsePriority(values.Value))
		}
	}
	if len(i.objectives) > 0 {
		values := h.Values(i.objectiveSlot)
		for values.Next() {
			c.add(i.objective(values.Value))
		}
	}
	return c.lowest
}

// claims is the lowest of the priorities that a request asks for.
type claims struct {
	lowest config.Priority
	some   bool
}

func (c *claims) add(p config.Priority, known bool) {
	if known && (!c.some || p < c.lowest) {
		c.lowest, c.some = p, true
	}
}

// objective is a name of the Gateway API Inference Extension's for what a request is for, and its priority here. What that calls them is a resource of its
// own, with a number; which of our four that is, the configuration says.
type objective struct {
	name     string
	priority config.Priority
}

func (i *Identity) objective(name string) (config.Priority, bool) {
	name = strings.Trim(name, " \t")
	for n := range i.objectives {
		if i.objectives[n].name == name {
			return i.objectives[n].priority, true
		}
	}
	return 0, false
}
