package identitytest

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// The examples of limits, each driven as its users would: what is allowed, what is refused and why, what the status shows of it; and in shadow mode, in
// which nobody is refused. Their quantities are made small, so that an answer of ten tokens matters.

// example is one.
type example struct {
	file   string
	sizes  map[string]float64 // quantities by the limits' names; others stay as they are
	drive  func(*testing.T, *gateway)
	shadow []string // headers of a request that is refused in the end
	shows  []string // in the status
}

var examples = []example{
	{"team-dollars", map[string]float64{"team-month": 0.0008, "member-day": 0.0004}, teamDollars, nil,
		[]string{`"name":"team-month","per":["group"],"unit":"usd","quantity":0.0008,`, `"window":"month","windowEnds":"`, `"window":"day","windowEnds":"`, `"unpriced":[{"model":"gpt-9"`}},
	{"jwt-teams", map[string]float64{"team-tokens": 35, "member-tokens": 15}, jwtTeams, nil, []string{`"unit":"totalTokens","quantity":35`}},
	{"free-by-address", map[string]float64{"free-requests": 3, "free-tokens": 1000, "paid-tokens": 15}, freeByAddress, nil, []string{`"name":"free-at-once"`}},
	{"agent-sessions", map[string]float64{"session-steps": 3, "session-tokens": 1000, "user-tokens": 45}, agentSessions, []string{"x-user-id: shadow", "x-session-id: s"},
		[]string{`"name":"session-steps"`}},
}

func TestExamples(t *testing.T) {
	for name, workers := range map[string]int{"one worker": 1, "four workers": 4} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, workers)
			for _, x := range examples {
				t.Run(x.file, func(t *testing.T) {
					g.use(t, &x, "enforce")
					x.drive(t, g)
					for _, text := range x.shows {
						harness.Await(t, harness.Patience, "the status has "+text, func() bool { return strings.Contains(g.get(t, "status"), text) })
					}
					g.use(t, &x, "shadow")
					headers := x.shadow
					if headers == nil {
						headers = []string{g.bearer(t, "ann")}
					}
					for range 12 {
						g.wants(t, 1, "", headers...)
					}
					g.last(t).Want(t, map[string]string{"decision": "SHADOW", "gate": "limits"})
				})
			}
		})
	}
}

// use has an example in force, with its admin surface.
func (g *gateway) use(t *testing.T, x *example, mode string) {
	t.Helper()
	text, err := os.ReadFile(harness.InRepository(t, "config/examples/"+x.file+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := yaml.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	root["admin"], root["mode"] = map[string]any{"path": "/spillway"}, mode
	seen := 0
	for _, entry := range root["limits"].([]any) {
		limit := entry.(map[string]any)
		if size, is := x.sizes[limit["name"].(string)]; is {
			seen++
			limit["quantity"] = size
			if _, has := limit["burst"]; has {
				limit["burst"] = size
			}
		}
	}
	if seen != len(x.sizes) {
		t.Errorf("%s has %d of the limits %v", x.file, seen, x.sizes)
	}
	if err := g.Reconfigure(string(encodeJSON(t, root))); err != nil {
		t.Fatal(err)
	}
}

func (g *gateway) bearer(t *testing.T, sub string) string {
	return "authorization: Bearer " + g.keys.token(t, "RS256", sub)
}

// get is what the admin surface says.
func (g *gateway) get(t *testing.T, path string) string {
	t.Helper()
	a := g.sends(t, from("127.0.0.1"), http.MethodGet, g.URL+"/spillway/"+path, "")
	if a.status != http.StatusOK {
		t.Errorf("%s: %d %s", path, a.status, a.body)
	}
	return a.body
}

// used wants somebody to have used so much of a limit.
func (g *gateway) used(t *testing.T, limit, subject string, want float64) {
	t.Helper()
	var is struct{ Used float64 }
	harness.Await(t, harness.Patience, fmt.Sprint(subject, " has used ", want, " of ", limit), func() bool {
		return json.Unmarshal([]byte(g.get(t, "limits/"+limit+"?subject="+subject)), &is) == nil && is.Used == want
	})
}

// of sends a chat for a model, and wants it to pass, or to be refused for a reason.
func (g *gateway) of(t *testing.T, model, reason string, headers ...string) answer {
	t.Helper()
	body := `{"model":"` + model + `","max_tokens":8,"messages":[{"role":"user","content":"hello"}]}`
	a := g.sends(t, from("127.0.0.1"), http.MethodPost, g.URL+chat, body, headers...)
	if a.reason() != reason || (a.status == http.StatusOK) != (reason == "") {
		t.Errorf("%s: %d %s %.300s, want %q", model, a.status, a.reason(), a.body, reason)
	}
	return a
}

// teamDollars: two members of a team, a model that is free, and one that has no price.
func teamDollars(t *testing.T, g *gateway) {
	const over = "limits/spend_exceeded"
	ann, bob, carol := g.bearer(t, "ann"), g.bearer(t, "bob"), g.bearer(t, "carol")
	for range 5 { // of gpt-4o an answer of 2 and 8 tokens costs 85 millionths of a dollar
		g.of(t, "gpt-4o-2024-08-06", "", ann)
	}
	g.used(t, "member-day", "ann", 0.000425)
	a := g.of(t, "gpt-4o", over, ann)
	seconds, err := strconv.Atoi(a.header.Get("retry-after"))
	if err != nil || seconds < 1 || seconds > 24*3600 || !strings.Contains(a.body, "on spend per day: limit $0.0004, used $0.000425") || a.header.Get("x-should-retry") != "false" {
		t.Errorf("%v %s", a.header, a.body)
	}
	for range 5 {
		g.of(t, "gpt-4o", "", bob)
	}
	g.used(t, "team-month", "platform", 0.00085)
	g.of(t, "gpt-4o", over, bob)
	g.of(t, "gpt-4o-mini", "", carol) // another team's
	g.used(t, "team-month", "research", 0.0000051)
	g.of(t, "llama-3", "", ann) // our own server's, whatever is left
	g.of(t, "gpt-9", "limits/unpriced", carol)
	g.of(t, "gpt-4o", "identity/missing")
	g.of(t, "gpt-4o", "identity/missing", g.bearer(t, "mallory"))
	if a := g.sends(t, from("127.0.0.1"), http.MethodPost, g.URL+"/v1/batches", `{"input_file_id":"f","endpoint":"/v1/chat/completions"}`, ann); a.reason() != "operation/unknown" {
		t.Errorf("a batch, which is billed elsewhere: %d %v", a.status, a.header)
	}
	if spent := g.Sum("spillway_spend_nanodollars_total", "limit", "team-month"); spent != 855_100 {
		t.Errorf("%v billionths of a dollar were spent of the teams' budgets", spent)
	}
	body := strings.Replace(hello, `"llama",`, `"gpt-4o","max_tokens":1000000,`, 1)
	if a := g.sends(t, from("127.0.0.1"), http.MethodPost, g.URL+chat, body, carol); a.reason() != "limits/request_too_large" || !strings.Contains(a.body, "Ask for at most $2.00") {
		t.Errorf("a request of ten dollars: %d %v %s", a.status, a.header, a.body)
	}
}

// jwtTeams: who forges a token is nobody, and a team shares what its members have less of each.
func jwtTeams(t *testing.T, g *gateway) {
	const over = "limits/tokens_exceeded"
	ann := g.bearer(t, "ann")
	g.wants(t, 2, "", ann)
	g.wants(t, 1, over, ann)
	g.charged(t, "user=ann")
	g.used(t, "team-tokens", "platform", 20)
	g.wants(t, 2, "", g.bearer(t, "bob"))
	g.wants(t, 1, over, g.bearer(t, "bob"))
	g.wants(t, 1, "", g.bearer(t, "eve"))
	g.wants(t, 1, "identity/missing", "authorization: Bearer "+newKeys(t).token(t, "RS256", "eve"))
	g.wants(t, 1, "identity/missing", "x-user-id: eve")
	g.wants(t, 1, "identity/missing", g.bearer(t, "nobody-of-a-team"))
}

// freeByAddress: two addresses without a key, and one with one.
func freeByAddress(t *testing.T, g *gateway) {
	g.wants(t, 3, "")
	if a := g.wants(t, 1, "limits/requests_exceeded"); a.header.Get("retry-after") == "" || a.header.Get("x-ratelimit-remaining-requests") != "0" {
		t.Errorf("%v", a.header)
	}
	g.charged(t, "user=127.0.0.1")
	g.wants(t, 1, "limits/requests_exceeded", "x-forwarded-for: 192.0.2.7", "x-user-id: eve")
	g.wantsFrom(t, from("127.0.0.2"), g.URL+chat, 1, "")
	paid := "authorization: Bearer foo" // whose hash is the example's
	g.wants(t, 2, "", paid)
	g.wants(t, 1, "limits/tokens_exceeded", paid)
}

// agentSessions: a run that goes round in circles ends for good, and who makes up new ones has one budget for all.
func agentSessions(t *testing.T, g *gateway) {
	const over = "limits/lifetime_spent"
	ann := "x-user-id: ann"
	g.wants(t, 3, "", ann, "x-session-id: one")
	if a := g.wants(t, 1, over, ann, "x-session-id: one"); a.header.Get("x-should-retry") != "false" || !strings.Contains(a.body, "This session is over: the limit session-steps of 3 requests") {
		t.Errorf("%v %s", a.header, a.body)
	}
	g.wants(t, 2, "", ann, "x-session-id: two")
	g.wants(t, 1, "limits/tokens_exceeded", ann, "x-session-id: three") // her five answers of ten
	g.wants(t, 1, "", "x-user-id: bob", "x-session-id: one")
	g.wants(t, 1, "identity/missing", "x-session-id: one")
}
