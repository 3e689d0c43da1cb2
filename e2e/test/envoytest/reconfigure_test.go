package envoytest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

func changeConfig(t *testing.T, g *gateway) {
	reconfigure(t, g, seedQuota)
	t.Run("balances survive a quantity that is raised and lowered again", func(t *testing.T) {
		if got := statuses(5, func() answer { return g.chat(t, user("greta")) }); got != "200 200 200 200 429" {
			t.Fatalf("got %s, want 200 200 200 200 429", got)
		}
		reconfigure(t, g, strings.Replace(seedQuota, "300", "400", 1))
		a := g.chat(t, user("greta"))
		wantStatus(t, a, http.StatusOK)
		wantHeaders(t, a, map[string]string{"x-ratelimit-limit-tokens": "400"})
		reconfigure(t, g, seedQuota)
		a = g.chat(t, user("greta"))
		wantStatus(t, a, http.StatusTooManyRequests)
		if !strings.Contains(string(a.body), "limit 300, used 380") {
			t.Errorf("the refusal is %s, want it to say that 380 of 300 are used", a.body)
		}
	})
	t.Run("a stream that began under the old configuration is charged under it", func(t *testing.T) { replaceUnder(t, g) })
	t.Run("a bad configuration is refused with every error and the old one stays", func(t *testing.T) {
		reconfigure(t, g, seedQuota)
		refuseConfig(t, g)
	})
	t.Run("every example is accepted", func(t *testing.T) {
		files, err := filepath.Glob(harness.InRepository(t, "config/examples/*.yaml"))
		if err != nil || len(files) < 7 {
			t.Fatalf("found the examples %v, %v", files, err)
		}
		for _, file := range files {
			reconfigure(t, g, example(t, file))
			status := http.StatusOK
			if name := filepath.Base(file); name == "jwt-teams.yaml" || name == "team-dollars.yaml" { // they believe tokens alone, which nothing checks here
				status = http.StatusUnauthorized
			}
			wantStatus(t, g.chat(t, user("hanna", "x-tenant-id", "team", "x-session-id", "run-1")), status)
		}
	})
}

// replaceUnder puts 200 tokens in flight and changes the quantity. On a busy machine Envoy may cut the stream off, since
// it has a second to end: then what passed is charged.
func replaceUnder(t *testing.T, g *gateway) {
	before := g.sim.Stats()
	ended := make(chan error)
	go func() {
		h := user("ida", "x-sim-tokens", "200", "x-sim-itl", "3ms", "traceparent", "ida")
		_, err := g.try(newRequest(t, http.MethodPost, g.URL+chatPath, h, strings.NewReader(streamBody)))
		ended <- err
	}()
	g.awaitServer(t, "the stream runs", func(s llmsim.Stats) bool { return s.Tokens > before.Tokens })
	reconfigure(t, g, strings.Replace(seedQuota, "300", "500", 1))
	err := <-ended
	used := g.logged(t, "ida").Text("completion_tokens")
	if err == nil && used != "200" || used == "" || used == "0" {
		t.Errorf("the access log has %q completion tokens of a stream of 200 that ended with %v", used, err)
	}
	if left := g.remaining(t, "ida"); fmt.Sprint(500-left) != used {
		t.Errorf("%d of 500 tokens are left, want %s less", left, used)
	}
}

func refuseConfig(t *testing.T, g *gateway) {
	const rejected = "listener_manager.lds.update_rejected"
	before, errors := g.Stats(rejected)[rejected], g.counter(t, "spillway_config_errors_total", "reason", "invalid")
	err := g.Reconfigure(`{"colour": "red", "usage": {"maxRequestBytes": "many"}, "limits": [
		{"name": "a", "per": ["planet"], "unit": "bananas", "quantity": 0, "window": "1 hour"}]}`)
	if err == nil {
		t.Fatal("a configuration full of errors was taken")
	}
	for _, path := range []string{
		"colour:", "usage.maxRequestBytes:", "limits[0].per[0]:", "limits[0].unit:", "limits[0].quantity:", "limits[0].window:",
	} {
		if !strings.Contains(err.Error(), path) {
			t.Errorf("the log doesn't name %s", path)
		}
	}
	if t.Failed() {
		t.Log(err)
	}
	if got := g.Stats(rejected)[rejected]; got != before+1 {
		t.Errorf("%s is %d, want one more than %d", rejected, got, before)
	}
	if n := g.counter(t, "spillway_config_errors_total", "reason", "invalid") - errors; n != 1 {
		t.Errorf("spillway_config_errors_total grew by %v, want 1", n)
	}
	if got := statuses(5, func() answer { return g.chat(t, user("jana")) }); got != "200 200 200 200 429" {
		t.Errorf("under the old configuration: got %s, want 200 200 200 200 429", got)
	}
}

func reconfigure(t *testing.T, g *gateway, config string) {
	t.Helper()
	if err := g.Reconfigure(config); err != nil {
		t.Fatal(err)
	}
}

// example is a configuration file as the filter takes it. How requests are held is this Envoy's business.
func example(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	config, err := yaml.YAMLToJSONStrict(text)
	if err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return string(config)
}
