package limittest

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// Requests of which little is left of a limit go to the cheaper server, and their clients are told; no client goes there by itself.
func TestNearly(t *testing.T) {
	for _, workers := range []int{1, 4} {
		t.Run(strconv.Itoa(workers)+" workers", func(t *testing.T) {
			t.Parallel()
			g := start(t, harness.Options{Concurrency: workers})
			t.Run("requests", func(t *testing.T) { nearlyByRequests(t, g) })
			t.Run("forged", func(t *testing.T) { nearlyForged(t, g) })
			t.Run("shadow", func(t *testing.T) { nearlyInShadow(t, g) })
			t.Run("several", func(t *testing.T) { nearlySeveral(t, g) })
			t.Run("the example", func(t *testing.T) { nearlyByExample(t, g) })
		})
	}
}

// limitOf is a limit of requests of a user.
func limitOf(name, more string) string {
	return `{"name":"` + name + `","per":["user"],"unit":"requests","window":"24h",` + more + `}`
}

func (g *gateway) limit(t *testing.T, hold harness.Hold, more string, limits ...string) {
	t.Helper()
	text := `{` + more + `"limits":[`
	for i, l := range limits {
		if i > 0 {
			text += ","
		}
		text += l
	}
	if err := g.ReconfigureHold(hold, text+`]}`); err != nil {
		t.Fatal(err)
	}
}

const low = `"nearly":{"at":0.8,"requestHeader":{"x-budget":"low"},"responseHeader":true}`

func nearlyByRequests(t *testing.T, g *gateway) {
	for _, hold := range []harness.Hold{harness.HoldStopIteration, harness.HoldBufferFilter, harness.HoldNone} { // decided at the headers in each
		name := "r-" + string(hold)
		g.limit(t, hold, "", limitOf(name, `"quantity":5,`+low))
		for i, way := range []string{"large []", "large []", "large []", "cheaper [low] " + name, "cheaper [low] " + name} {
			want(t, fmt.Sprint(hold, " ", i), g.chat(t, "ann").way(), way)
		}
		want(t, "the sixth", g.chat(t, "ann").status, 429)
		g.nearly(t, name, "routed", 2)
		harness.Await(t, harness.Patience, "the access log has both that were routed", func() bool {
			n := 0
			for _, r := range g.AccessLog(g.sent) {
				if r.Text("decision") == "ALLOWED" && r.Text("gate") == "limits" && r.Text("reason") == "nearly_spent" && r.Text("limit") == name {
					n++
				}
			}
			return n == 2
		})
	}
	// A limit of tokens of one model is decided by the body, whose headers only stopIteration holds.
	tokens := func(name string) string {
		return `{"name":"` + name + `","per":["user"],"match":{"models":["large"]},"unit":"totalTokens","quantity":20,"window":"24h","admission":"lenient","nearly":{"at":0.5,"requestHeader":{"x-budget":"low"},"responseHeader":true}}`
	}
	for hold, way := range map[harness.Hold]string{harness.HoldStopIteration: "cheaper [low] ", harness.HoldBufferFilter: "large [] ", harness.HoldNone: "large [] "} {
		name := "t-" + string(hold)
		g.limit(t, hold, "", tokens(name))
		g.chat(t, "bob") // what it is expected to use is more than half, and so is what it uses
		want(t, name, g.chat(t, "bob").way(), way+name)
	}
	g.nearly(t, "t-none", "late", 2)
}

func nearlyForged(t *testing.T, g *gateway) {
	g.limit(t, harness.HoldStopIteration, "", limitOf("forged", `"quantity":1000,`+low))
	for _, headers := range [][]string{{"x-budget: low"}, {"X-BUDGET: low"}, {"x-budget: "}, {"x-budget: low", "x-budget: high"}, {"x-budget: high"}, {"x-budget: low, low"}} {
		want(t, fmt.Sprint(headers), g.chat(t, "carol", headers...).way(), "large []")
		want(t, fmt.Sprint("another path: ", headers), g.asks(t, "carol", "/anything", "x", headers...).way(), "large []")
	}
	g.limit(t, harness.HoldStopIteration, `"mode":"off",`, limitOf("forged", `"quantity":1000,`+low))
	want(t, "off", g.chat(t, "carol", "x-budget: low").way(), "large []")
}

func nearlyInShadow(t *testing.T, g *gateway) {
	g.limit(t, harness.HoldStopIteration, "", limitOf("trial", `"quantity":2,"mode":"shadow",`+low))
	for range 4 {
		want(t, "in shadow", g.chat(t, "dora").way(), "large []")
	}
	g.nearly(t, "trial", "shadow", 1)
}

func nearlySeveral(t *testing.T, g *gateway) {
	g.limit(t, harness.HoldStopIteration, "",
		limitOf("one", `"quantity":2,`+low), limitOf("two", `"quantity":2,"nearly":{"at":0.9,"requestHeader":{"x-budget":"high"},"responseHeader":true}`))
	want(t, "the first", g.chat(t, "eve").way(), "large []")
	want(t, "the second", g.chat(t, "eve", "x-fail: 1").way(), "cheaper [low] one, two")
}

// nearlyByExample drives config/examples/nearly-cheaper.yaml with its quantity made small.
func nearlyByExample(t *testing.T, g *gateway) {
	g.limit(t, harness.HoldStopIteration, "", limitOf("other", `"quantity":1000`)) // nothing of the tests before
	if err := g.Reconfigure(example(t, "nearly-cheaper", func(limit map[string]any) {
		limit["quantity"] = 100
		if limit["name"] == "team-tokens" {
			limit["quantity"] = 1000
		}
	})); err != nil {
		t.Fatal(err)
	}
	want(t, "nobody", g.send(t, "POST", g.URL+chatPath, chatBody).status, 401)
	var ways []string
	for g.chat(t, "fay", "x-tenant-id: a").status == 200 {
		if ways = append(ways, g.chat(t, "fay", "x-tenant-id: a").header.Get("x-served-by")); len(ways) > 20 {
			t.Fatal("it never ends")
		}
	}
	want(t, "the first and the last", ways[0]+" "+ways[len(ways)-2], "large cheaper")
}

// example is a file of config/examples, with its limits changed.
func example(t *testing.T, name string, change func(limit map[string]any)) string {
	t.Helper()
	text, err := os.ReadFile(harness.InRepository(t, "config/examples/"+name+".yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var root map[string]any
	if err := yaml.Unmarshal(text, &root); err != nil {
		t.Fatal(err)
	}
	for _, limit := range root["limits"].([]any) {
		change(limit.(map[string]any))
	}
	return encode(t, root)
}

func encode(t *testing.T, v any) string {
	t.Helper()
	text, err := yaml.Marshal(v)
	if err == nil {
		text, err = yaml.YAMLToJSON(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
