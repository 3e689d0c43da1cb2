package limittest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// Limits and all that they go by are changed while four workers run: what is changed is in force in each of them, and balances are kept, or it is
// refused, with its path and the reason.

const (
	operator = "authorization: Bearer operator"
	surface  = `"admin":{"path":"/spillway","tokens":["sha256:06e55b633481f7bb072957eabcf110c972e86691c3cfedabe088024bffe42f23"]},"upstreams":[{"name":"llm","concurrency":{"max":1000}}],`
	// common is what the changes are made to, beside the limits: an answer of 8 tokens costs 0.0008 dollars.
	common = surface + `"requestHold":"stopIteration","priority":{"trust":[{}]},"identity":{"groups":{"platform":{"users":["ann"]}}},
		"prices":[{"models":["large"],"prompt":0,"completion":100}],`
)

// change is one, to a limit of its own, which is for requests that name it.
type change struct {
	name  string // the limit's
	limit string // what it is
	asks  int    // requests of ann's before
	patch string // with %s for the limit's name
	after func(*testing.T, *changed)
}

// changed is the gateway when a change is in force.
type changed struct {
	*gateway
	limit string
}

func (g *changed) chat(t *testing.T, user string, headers ...string) answer {
	t.Helper()
	return g.gateway.chat(t, user, append(headers, "x-case: "+g.limit)...)
}

// requests is a limit of three requests for each user.
const requests = `"per":["user"],"unit":"requests","quantity":3,`

var changes = []change{
	{"groups", `"per":["group"],"unit":"requests","quantity":3,"window":"day"`, 2,
		`{"identity":{"groups":{"platform":{"users":["ann","bob"]}}}}`, func(t *testing.T, g *changed) {
			g.balance(t, "platform", 2, 1)
			want(t, "bob's", g.chat(t, "bob").status, 200)
			g.refused(t, "group=platform", "bob")
			g.refused(t, "group=platform", "ann")
		}},
	{"window", requests + `"window":"day"`, 2, `{"limits":{"%s":{"window":"month"}}}`, func(t *testing.T, g *changed) {
		g.balance(t, "ann", 2, 1)
		now := time.Now().UTC()
		g.ends(t, time.Date(now.Year(), now.Month()+1, 1, 0, 0, 0, 0, time.UTC))
		g.lastOne(t)
	}},
	{"timezone", requests + `"window":"month"`, 2, `{"limits":{"%s":{"timezone":"-05:00"}}}`, func(t *testing.T, g *changed) {
		g.balance(t, "ann", 2, 1)
		now := time.Now().UTC().Add(-5 * time.Hour)
		g.ends(t, time.Date(now.Year(), now.Month()+1, 1, 5, 0, 0, 0, time.UTC))
		g.lastOne(t)
	}},
	{"refill", requests + `"window":"24h"`, 2, `{"limits":{"%s":{"refill":"window"}}}`, func(t *testing.T, g *changed) {
		g.balance(t, "ann", 2, 1)
		g.ends(t, time.Now().UTC().Truncate(24*time.Hour).Add(24*time.Hour))
		g.lastOne(t)
	}},
	{"refill-back", requests + `"window":"24h","refill":"window"`, 2, `{"limits":{"%s":{"refill":"continuous"}}}`, func(t *testing.T, g *changed) {
		g.balance(t, "ann", 2, 1)
		g.lastOne(t)
	}},
	{"lifetime", requests + `"lifetime":true`, 3, `{"limits":{"%s":{"lifetime":false,"window":"24h"}}}`, func(t *testing.T, g *changed) {
		if a := g.refused(t, "user=ann", "ann"); a.header.Get("x-spillway-reason") != "limits/requests_exceeded" || a.header.Get("retry-after") == "" {
			t.Errorf("%v", a.header)
		}
	}},
	{"idle", requests + `"lifetime":true`, 3, `{"limits":{"%s":{"idle":"1h","quantity":4}}}`, func(t *testing.T, g *changed) {
		g.balance(t, "ann", 3, 1)
		g.lastOne(t)
		g.shows(t, `"lifetime":true,"idle":"1h"`)
	}},
	{"price", `"per":["user"],"unit":"usd","quantity":0.01,"window":"month"`, 2,
		`{"prices":[{"models":["large"],"prompt":0,"completion":1000}]}`, func(t *testing.T, g *changed) {
			g.balance(t, "ann", 0.0016, 0.0084) // what was used before was paid by the prices of then
			want(t, "one more", g.chat(t, "ann").status, 200)
			g.balance(t, "ann", 0.0096, 0.0004)
			want(t, "with something left", g.chat(t, "ann").status, 200)
			g.refused(t, "user=ann", "ann")
		}},
	{"dollars", `"per":["user"],"unit":"usd","quantity":0.002,"window":"month"`, 2,
		`{"limits":{"%s":{"window":"720h","quantity":0.0016}}}`, func(t *testing.T, g *changed) { g.refused(t, "user=ann", "ann") }},
	{"unpriced", `"per":["user"],"unit":"usd","quantity":1,"window":"day"`, 2,
		`{"unpriced":"reject","prices":[{"models":["other"],"prompt":1}]}`, func(t *testing.T, g *changed) {
			g.everywhere(t, "ann", func(a answer) string { return a.header.Get("x-spillway-reason") }, "limits/unpriced")
		}},
	{"nearly", requests + `"window":"day"`, 1, `{"limits":{"%s":{"quantity":1000,"nearly":{"at":0.001,"requestHeader":{"x-budget":"low"},"responseHeader":true}}}}`,
		func(t *testing.T, g *changed) {
			g.everywhere(t, "ann", answer.way, "cheaper [low] "+g.limit)
		}},
	{"rateLimitStyle", requests + `"window":"day"`, 3, `{"rateLimitStyle":"ietf"}`, func(t *testing.T, g *changed) {
		g.everywhere(t, "ann", func(a answer) string {
			return a.header.Get("ratelimit-policy") + a.header.Get("x-ratelimit-limit-requests")
		}, `"`+g.limit+`";q=3;w=86400`)
	}},
	{"mode", requests + `"window":"day"`, 3, `{"limits":{"%s":{"mode":"shadow"}}}`, func(t *testing.T, g *changed) {
		g.everywhere(t, "ann", func(a answer) string { return fmt.Sprint(a.status) }, "200")
		g.AccessLog(g.sent)[g.sent-1].Want(t, map[string]string{"decision": "SHADOW", "reason": "requests_exceeded", "limit": g.limit})
	}},
	{"places", requests + `"window":"day"`, 2, `{"identity":{"user":{"headers":[],"cookie":["who"]}}}`, func(t *testing.T, g *changed) {
		want(t, "ann's, by her cookie", g.chat(t, "nobody", "cookie: who=ann").status, 200) // she is who she was
		for range everyWorker {
			want(t, "ann's", g.chat(t, "nobody", "cookie: who=ann").status, 429)
		}
		g.balance(t, "ann", 3, 0)
	}},
	{"objectives", `"per":["priority"],"unit":"requests","quantity":1000,"window":"day"`, 1,
		`{"priority":{"objectives":{"batch":"low"}}}`, func(t *testing.T, g *changed) {
			for range everyWorker {
				g.chat(t, "ann", "x-gateway-inference-objective: batch")
			}
			g.balance(t, "low", everyWorker, 1000-everyWorker)
		}},
}

// everyWorker is how many requests, each on a connection of its own, come to every worker all but certainly.
const everyWorker = 20

func TestChangesWhileItRuns(t *testing.T) {
	t.Parallel()
	harness.AwaitDay(t) // no window ends meanwhile
	const workers = 4
	g := start(t, harness.Options{Concurrency: workers})
	var limits []string
	for _, c := range changes {
		limits = append(limits, fmt.Sprintf(`{"name":%q,"match":{"headers":{"x-case":%[1]q}},%s}`, c.name, c.limit))
	}
	if err := g.Reconfigure(`{` + common + `"limits":[` + strings.Join(limits, ",") + `]}`); err != nil {
		t.Fatal(err)
	}
	for _, c := range changes {
		t.Run(c.name, func(t *testing.T) {
			g := &changed{g, c.name}
			for range c.asks {
				want(t, "before", g.chat(t, "ann").status, 200)
			}
			g.override(t, http.MethodPatch, strings.ReplaceAll(c.patch, "%s", c.name), workers)
			c.after(t, g)
			g.override(t, http.MethodDelete, "", workers)
		})
	}
	t.Run("refused", func(t *testing.T) { changesRefused(t, g) })
}

// override changes what is overridden, and waits until all workers go by it.
func (g *gateway) override(t *testing.T, method, body string, workers int) {
	t.Helper()
	began := time.Now()
	a := g.send(t, method, g.URL+"/spillway/overrides", body, operator)
	if a.status != 200 {
		t.Fatalf("%s %s: %d %s", method, body, a.status, a.body)
	}
	var told struct{ Revision int }
	if err := json.Unmarshal([]byte(a.body), &told); err != nil {
		t.Fatal(err)
	}
	all := fmt.Sprintf(`"workers":[{"revision":%d,"workers":%d}]`, told.Revision, workers)
	harness.Await(t, harness.Patience, "all workers go by "+method+" "+body, func() bool { return strings.Contains(g.get(t, "config?overrides"), all) })
	t.Logf("known of all workers after %v", time.Since(began))
}

// get is what the admin surface says.
func (g *gateway) get(t *testing.T, path string) string {
	t.Helper()
	a := g.send(t, http.MethodGet, g.URL+"/spillway/"+path, "")
	if a.status != 200 {
		t.Errorf("%s: %d %s", path, a.status, a.body)
	}
	return a.body
}

// balance wants somebody to have used so much of a limit, and so much left.
func (g *changed) balance(t *testing.T, subject string, used, left float64) {
	t.Helper()
	var is struct{ Used, Reserved, Remaining float64 }
	harness.Await(t, harness.Patience, "nothing is reserved", func() bool {
		return json.Unmarshal([]byte(g.get(t, "limits/"+g.limit+"?subject="+subject)), &is) == nil && is.Reserved == 0
	})
	if is.Used != used || is.Remaining != left {
		t.Errorf("%s: used %v, left %v, want %v and %v", subject, is.Used, is.Remaining, used, left)
	}
}

// ends wants ann's window to end at a time.
func (g *changed) ends(t *testing.T, when time.Time) {
	t.Helper()
	var is struct{ WindowEnds time.Time }
	if err := json.Unmarshal([]byte(g.get(t, "limits/"+g.limit+"?subject=ann")), &is); err != nil {
		t.Fatal(err)
	}
	if is.WindowEnds.Sub(when).Abs() > time.Second {
		t.Errorf("the window ends at %v, want %v", is.WindowEnds, when)
	}
}

// refused wants somebody to be refused by every worker, for a limit's subject.
func (g *changed) refused(t *testing.T, subject, user string) (last answer) {
	t.Helper()
	for range everyWorker {
		if last = g.chat(t, user); last.status != 429 {
			t.Fatalf("%s: %d %s", user, last.status, last.body)
		}
	}
	g.AccessLog(g.sent)[g.sent-1].Want(t, map[string]string{"decision": "REJECTED", "limit": g.limit, "subject": subject})
	return last
}

// lastOne wants ann to have one request left.
func (g *changed) lastOne(t *testing.T) {
	t.Helper()
	want(t, "the last one", g.chat(t, "ann").status, 200)
	g.refused(t, "user=ann", "ann")
}

// everywhere wants the same of every worker's answers to somebody.
func (g *changed) everywhere(t *testing.T, user string, of func(answer) string, wanted string) {
	t.Helper()
	for range everyWorker {
		a := g.chat(t, user)
		want(t, "an answer", of(a), wanted)
	}
}

// shows wants the configuration in force to have a text.
func (g *changed) shows(t *testing.T, text string) {
	t.Helper()
	if config := g.get(t, "config"); !strings.Contains(config, text) {
		t.Errorf("%s isn't in %s", text, config)
	}
}

// changesRefused wants what makes no sense, or can't be done while it runs, to be refused with its path and the reason, and to change nothing.
func changesRefused(t *testing.T, g *gateway) {
	if err := g.Reconfigure(`{` + surface + `"identity":{"groups":{"a":{"users":["ann"]},"b":{"users":["bob"]}}},"prices":[{"models":["large"],"prompt":1}],"limits":[
		{"name":"month","per":["group"],"unit":"usd","quantity":1,"window":"month"},{"name":"flow","per":["user"],"unit":"requests","quantity":9,"window":"1h"},
		{"name":"run","per":["header:x-session-id"],"unit":"requests","quantity":9,"lifetime":true},{"name":"atonce","unit":"inflight","quantity":9}]}`); err != nil {
		t.Fatal(err)
	}
	before := g.get(t, "config")
	for patch, want := range map[string][2]string{
		`{"identity":{"groups":{"a":{"users":["ann","bob"]}}}}`:                       {"identity.groups.b.users[0]", "is in the group"},
		`{"identity":{"groups":{"a":{"keys":["secret"]}}}}`:                           {"identity.groups.a.keys[0]", "want"},
		`{"identity":{"groups":[]}}`:                                                  {"identity.groups", "want an object"},
		`{"identity":{"user":{"property":["request"]}}}`:                              {"identity.user.property", "holds many attributes"},
		`{"identity":{"user":{"property":["jwt","sub"]}}}`:                            {"identity.user.property[0]", "no attribute of Envoy's"},
		`{"limits":{"flow":{"window":"fortnight"}}}`:                                  {"limits[1].window", "want hour, day, week or month"},
		`{"limits":{"flow":{"timezone":"+08:00"}}}`:                                   {"limits[1].timezone", "a duration has no time zone"},
		`{"limits":{"month":{"timezone":"Europe/Berlin"}}}`:                           {"limits[0].timezone", "want"},
		`{"limits":{"month":{"refill":"continuous"}}}`:                                {"limits[0].refill", "the calendar's windows begin and end"},
		`{"limits":{"atonce":{"window":"1h"}}}`:                                       {"limits[3].window", "counted at each moment"},
		`{"limits":{"run":{"window":"1h"}}}`:                                          {"limits[2].window", "nothing of a lifetime comes back"},
		`{"limits":{"flow":{"idle":"1h"}}}`:                                           {"limits[1].idle", "lifetime"},
		`{"limits":{"flow":{"scope":"fleet"}}}`:                                       {"limits.flow.scope", "can't be changed while it runs"},
		`{"limits":{"flow":{"name":"other"}}}`:                                        {"limits.flow.name", "can't be changed while it runs"},
		`{"limits":{"flow":{"nearly":{"responseHeader":true}}}}`:                      {"limits[1].nearly.at", "missing"},
		`{"limits":{"flow":{"nearly":{"at":1.5}}}}`:                                   {"limits[1].nearly.at", "want"},
		`{"limits":{"flow":{"nearly":{"at":0.5,"requestHeader":{"x-user-id":"x"}}}}}`: {"limits[1].nearly.requestHeader.x-user-id", "is read by identity.user"},
		`{"limits":{"month":{"quantity":0.0000000001}}}`:                              {"limits[0].quantity", "finer than a billionth"},
		`{"prices":[{"models":["large"],"prompt":-1}]}`:                               {"prices[0].prompt", "want dollars"},
		`{"prices":[{"models":["large"],"prompt":1000000001}]}`:                       {"prices[0].prompt", "want dollars"},
		`{"prices":[]}`:                                                   {"limits[0].unit", "no model has a price"},
		`{"unpriced":"guess"}`:                                            {"unpriced", "want pass or reject"},
		`{"rateLimitStyle":"github"}`:                                     {"rateLimitStyle", "want"},
		`{"priority":{"objectives":{"batch":"lowest"}}}`:                  {"priority.objectives.batch", "want"},
		`{"upstreams":{"llm":{"queue":{"fairness":"luck"}}}}`:             {"upstreams[0].queue.fairness", "want"},
		`{"upstreams":{"llm":{"queue":{"maxBytes":-1}}}}`:                 {"upstreams[0].queue.maxBytes", "want"},
		`{"upstreams":{"llm":{"concurrency":{"weights":[{"units":0}]}}}}`: {"upstreams[0].concurrency.weights[0].units", "want"},
	} {
		a := g.send(t, http.MethodPatch, g.URL+"/spillway/overrides", patch, operator)
		var told struct {
			Errors []struct{ Path, Message string }
		}
		if err := json.Unmarshal([]byte(a.body), &told); err != nil || a.status != 422 || len(told.Errors) != 1 ||
			told.Errors[0].Path != want[0] || !strings.Contains(told.Errors[0].Message, want[1]) {
			t.Errorf("%s: %d %s, want %s", patch, a.status, a.body, want)
		}
	}
	if after := g.get(t, "config"); after != before {
		t.Errorf("the configuration is now %s", after)
	}
}
