package explain

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/check/find"
)

var update = flag.Bool("update", false, "write testdata anew")

// What is said of the examples is what lies in testdata: go test ./filter/check/explain -update writes it.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../../config/examples/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no examples (%v)", err)
	}
	for _, file := range files {
		all, err := find.File(file)
		if err != nil {
			t.Fatal(err)
		}
		cfg, problems := all[0].Check()
		if problems != nil {
			t.Fatal(problems)
		}
		got := Text(&cfg)
		golden := filepath.Join("testdata", strings.TrimSuffix(filepath.Base(file), ".yaml")+".txt")
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil || got != string(want) {
			t.Errorf("%s isn't what is said now (%v): `go test ./filter/check/explain -update` writes it anew", golden, err)
		}
	}
}

// What the examples have not.
func TestSentences(t *testing.T) {
	for _, c := range []struct{ config, want string }{
		{`{}`, "Limits: none. Nobody is held to a quantity.\n"},
		{`{"mode": "off"}`, "Mode off: nothing is limited, queued or refused"},
		{`{"mode": "shadow", "limits": [{"name": "a", "unit": "requests", "quantity": 1, "window": "1m"}]}`, "Mode shadow: nothing is refused."},
		{`{"mode": "shadow", "limits": [{"name": "a", "unit": "requests", "quantity": 1, "window": "1m"}]}`, "a: all requests together may send 1 request a minute."},
		{`{"mode": "shadow", "limits": [{"name": "a", "unit": "requests", "quantity": 1, "window": "1m"}]}`, "Beyond that a request is recorded (decision SHADOW), and let pass"},
		{`{"limits": [{"name": "a", "unit": "requests", "quantity": 2, "window": "1m", "mode": "off"}]}`, "Mode off: it does nothing."},
		{`{"limits": [{"name": "a", "per": ["user", "model"], "unit": "totalTokens", "quantity": 9, "window": "90s", "burst": 3, "admission": "strict"}]}`,
			"a: each combination of user and model may use 9 total tokens in 90 seconds. It flows back evenly; at most 3 at once.\n" +
				"    A request passes only if all that it is expected to use is left"},
		{`{"limits": [{"name": "a", "unit": "requests", "quantity": 2, "window": "week", "timezone": "-03:30"}]}`, "may send 2 requests each week. All of it comes back when the next week begins, at UTC-03:30."},
		{`{"statusCode": {"limits": 503}, "limits": [{"name": "a", "unit": "inflight", "quantity": 1}]}`, "may have 1 request under way at once.\n"},
		{`{"statusCode": {"limits": 503}, "limits": [{"name": "a", "unit": "inflight", "quantity": 1}]}`, "refused: status 503, x-spillway-reason limits/inflight_exceeded"},
		{`{"fleet": {"onDown": "pass"}, "limits": [{"name": "a", "unit": "requests", "quantity": 2, "window": "1h", "scope": "fleet"}]}`, "by the service ratelimit; while that doesn't answer, what isn't leased passes."},
		{`{"upstreams": [{"name": "u", "models": ["a*", "b"]}]}`, "u serves models a* or b, and takes whatever comes.\n"},
		{`{"upstreams": [{"name": "u", "models": ["a*", "b"]}]}`, "Requests of other models pass at once, ungoverned."},
		{`{"upstreams": [{"name": "u", "concurrency": {"max": "auto"}, "queue": {"whenFull": "bypass"}}]}`, "One that finds the queue full goes to the upstream at once, whatever that can take.\n"},
		{`{"identity": {"user": {"property": ["source", "address"]}, "missing": "reject"}}`, "user: Envoy's attribute source.address, which no client can set.\n"},
		{`{"identity": {"missing": "reject"}}`, "Who lacks what a limit depends on is refused: status 401; a look at"},
		{`{"priority": {"header": ""}}`, "Priority: normal; clients can't ask for one."},
		{`{"priority": {"trust": []}}`, "Priority: normal; nobody is believed who asks for another."},
		{`{"models": {"unread": "small"}}`, "taken for one of small."},
		{`{"usage": {"outputTokens": 7}, "namespace": "mine"}`, "Also set:\n  namespace: \"mine\"\n  usage.outputTokens: 7\n"},
		{`{"upstreams": [{"name": "u", "models": ["a"]}, {"name": "v", "ensureStreamUsage": false}]}`, "Also set:\n  upstreams[1].ensureStreamUsage: false\n"},
		{`{"admin": {"path": "/s", "read": "token", "tokens": ["sha256:2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"]}}`, "Status and dashboard are at /s: who has a token may read, and who has one of the 1 tokens may change things."},
	} {
		cfg, err := config.Parse([]byte(c.config))
		if err != nil {
			t.Fatal(err)
		}
		if got := Text(&cfg); !strings.Contains(got, c.want) {
			t.Errorf("%s: no %q in\n%s", c.config, c.want, got)
		}
	}
}
