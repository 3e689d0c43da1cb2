package explain

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/config"
)

// callers says who is believed, and what becomes of requests that can't be told.
func (t *text) callers(c *config.Config) {
	t.head("Who is asking:")
	for _, part := range []struct {
		name   string
		source *config.Source
	}{{"user", &c.Identity.User}, {"tenant", &c.Identity.Tenant}, {"API key", &c.Identity.Key}} {
		t.entry("%s: %s%s.", part.name, from(part.source), hashed(part.source))
	}
	if c.Identity.Missing == config.MissingReject {
		probes := "; a look at the models or at a server's health passes"
		if c.Identity.Probes == config.ProbesReject {
			probes = ""
		}
		t.entry("Who lacks what a limit depends on is refused: status 401%s.", probes)
	} else {
		t.entry("All who lack it are one: %s.", c.Identity.Missing)
	}
	t.priority(&c.Priority)
	if c.Models.Unread == config.UnreadMatch {
		t.entry("A request whose model can't be told is held to the limits of every model.")
	} else if c.Models.Unread == config.UnreadReject {
		t.entry("A request whose model can't be told is refused: status 400.")
	} else {
		t.entry("A request whose model can't be told is taken for one of %s.", c.Models.Unread)
	}
	t.entry("%s", unknown[c.Unknown])
	t.entry("%s", holds[c.RequestHold])
	t.costs(c)
	t.surface(&c.Admin)
}

// costs says what tokens cost, where a limit counts that.
func (t *text) costs(c *config.Config) {
	if slices.ContainsFunc(c.Limits, func(l config.Limit) bool { return l.Unit.Counts == config.CountsCost }) {
		t.entry("What a token costs:")
		for _, w := range c.Usage.Cost {
			models := anyOf(w.Models)
			if models == "" {
				models = "any other model"
			}
			t.more("of %s: prompt %g, cached %g, completion %g, reasoning %g", models, w.Prompt, w.Cached, w.Completion, w.Reasoning)
		}
	}
	if slices.ContainsFunc(c.Limits, func(l config.Limit) bool { return l.Unit.Money() }) {
		t.prices(c)
	}
}

// prices says what models cost in dollars.
func (t *text) prices(c *config.Config) {
	t.entry("What a million tokens cost in dollars; the first entry that matches a model counts:")
	for i := range c.Prices {
		p := &c.Prices[i]
		models := anyOf(p.Models)
		if models == "" {
			models = "any other model"
		}
		t.more("of %s: %s", models, rates(&p.Rates))
		if p.Request > 0 {
			t.more("  and $%s for each request", config.AppendDollars(nil, p.Request))
		}
		if p.Above != nil {
			t.more("  of a prompt of more than %d tokens: %s", p.Above.PromptTokens, rates(&p.Above.Rates))
		}
	}
	if c.Unpriced == config.UnpricedReject {
		t.entry("A request for a model without a price is refused where a limit counts dollars: status 400.")
	} else {
		t.entry("A request for a model without a price costs nothing; one whose model can't be told costs as much as the dearest.")
	}
}

// rates are those that are given.
func rates(r *config.Rates) string {
	var parts []string
	for _, rate := range []struct {
		name string
		n    int64
	}{{"prompt", r.Prompt}, {"cached", r.Cached}, {"cache write", r.CacheWrite}, {"audio prompt", r.AudioPrompt}, {"completion", r.Completion}, {"reasoning", r.Reasoning},
		{"audio completion", r.AudioCompletion}} {
		if rate.n != config.NoPrice {
			parts = append(parts, rate.name+" "+string(config.AppendDollars(nil, rate.n)))
		}
	}
	return strings.Join(parts, ", ")
}

func (t *text) surface(a *config.Admin) {
	if a.Path != "" {
		read, change := "everybody who gets there may read", "nobody may change anything"
		if a.Read == config.ReadToken {
			read = "who has a token may read"
		}
		if n := len(a.Tokens); n > 0 {
			change = fmt.Sprintf("who has one of the %d tokens may change things", n)
		}
		t.entry("Status and dashboard are at %s: %s, and %s.", a.Path, read, change)
	}
}

var unknown = map[config.Unknown]string{
	config.UnknownPass:     "A request of an unknown API passes limits of tokens without counting.",
	config.UnknownEstimate: "A request of an unknown API is charged by estimate.",
	config.UnknownReject:   "A request of an unknown API is refused where a limit counts tokens: status 400.",
}

var holds = map[config.Hold]string{
	config.HoldStopIteration: "A refused request never reaches the server (requestHold stopIteration: Envoy has allow_on_headers_stop_iteration).",
	config.HoldBufferFilter:  "A refused request never reaches the server (requestHold bufferFilter: Envoy's buffer filter follows).",
	config.HoldNone:          "Headers go on before the body is read (requestHold none): the server may see the beginning of a request that is refused for what is in its body.",
}

// from says where something is read, and whether clients can set it.
func from(s *config.Source) string {
	var places []string
	believed := false
	for _, p := range s.Places() {
		if len(p.Headers) > 0 {
			places, believed = append(places, "the header "+list(p.Headers, "or")), true
		}
		if len(p.Property) > 0 {
			places = append(places, "Envoy's attribute "+strings.Join(p.Property, "."))
		}
		for _, parameter := range p.Query {
			places, believed = append(places, "the parameter "+parameter), true
		}
		for _, cookie := range p.Cookie {
			places, believed = append(places, "the cookie "+cookie), true
		}
	}
	switch {
	case len(places) == 0:
		return "from nowhere"
	case believed:
		return list(places, "or") + ", as the client sends it"
	}
	return list(places, "or") + ", which no client can set"
}

func hashed(s *config.Source) string {
	if s.Hash {
		return "; only a hash is kept"
	}
	return ""
}

// priority says who goes first.
func (t *text) priority(p *config.PriorityRules) {
	header := p.Header
	if len(p.Objectives) > 0 {
		header = strings.TrimPrefix(header+" or "+p.ObjectiveHeader, " or ")
	}
	switch {
	case header == "":
		t.entry("Priority: %s; clients can't ask for one.", name(p.Default))
	case p.Trust == nil:
		t.entry("Priority: what the header %s asks for, of everybody, so that any client can be urgent (priority.trust says who may); else %s.", header, name(p.Default))
	case len(p.Trust) == 0:
		t.entry("Priority: %s; nobody is believed who asks for another.", name(p.Default))
	default:
		who := make([]string, len(p.Trust))
		for i := range p.Trust {
			who[i] = caller(&p.Trust[i])
		}
		t.entry("Priority: what the header %s asks for, of %s; else %s.", header, list(who, "or"), name(p.Default))
	}
	for _, objective := range slices.Sorted(maps.Keys(p.Objectives)) {
		t.more("Objective %s: %s.", objective, p.Objectives[objective])
	}
	for i := range p.Rules {
		r := &p.Rules[i]
		if r.Set != nil {
			t.more("%s: always %s.", caller(&r.Callers), name(*r.Set))
		} else {
			t.more("%s: at most %s.", caller(&r.Callers), name(*r.Max))
		}
	}
}

func caller(c *config.Callers) string {
	var parts []string
	for _, of := range []struct {
		name  string
		globs []string
	}{{"tenants", c.Tenants}, {"users", c.Users}, {"API keys", c.Keys}} {
		if who := anyOf(of.globs); who != "" {
			parts = append(parts, of.name+" "+who)
		}
	}
	if len(parts) == 0 {
		return "everybody"
	}
	return list(parts, "with")
}
