//go:build mesh

package istiotest

import (
	"errors"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
)

// bed is a gateway with the filter, and the server behind it.
type bed struct {
	*gateway
	sim    *llmsim.Server
	limits int // how many there were
}

// The parts share a gateway, and each says which configuration it begins with.
func TestGateway(t *testing.T) {
	b := &bed{sim: startServer(t)}
	image, err := serveImage()
	if err := errors.Join(err, kube.CreateNamespace(gatewayNamespace)); err != nil {
		t.Fatal(err)
	}
	documented(t, "kubectl kustomize istio/overlays/gateway", "IMAGE="+image) // before the gateway starts, for its bootstrap
	removeAtEnd(t, gatewayNamespace)
	b.gateway = startGateway(t, "ingress-0", "10.20.0.10")
	b.awaitRoute(t)
	for _, part := range []struct {
		name string
		run  func(t *testing.T, b *bed)
	}{
		{"a limit holds, and the access log has the tokens", limit},
		{"urgent requests go first", priorities},
		{"full servers are spared", pressure},
		{"a changed configuration is in force, and balances stay", change},
		{"a bad configuration changes nothing, and is told of", badConfig},
		{"a bad configuration that is deleted and applied anew needs one more change", badDeleted},
		{"a refused request is invisible to the server", hidden},
		{"without the EnvoyFilter the server sees its headers", visible},
		{"with a wrong sha256 nothing passes, and with the right one the filter is back", wrongDigest},
		{"a selector of others leaves the gateway alone", wrongSelector},
	} {
		t.Run(part.name, func(t *testing.T) { part.run(t, b) })
	}
}

// deploy is deploy with a limit that no part had before. It returns when that is in force: then nothing is left of what the
// parts before have deployed.
func (b *bed) deploy(t *testing.T, change func(config object)) {
	t.Helper()
	tokens := b.nextLimit()
	deploy(t, func(config object) {
		set(t, config, "limits.0.quantity", tokens)
		if change != nil {
			change(config)
		}
	})
	b.awaitLimit(t, tokens)
}

// nextLimit is a little less than the 300 of the manifests: four answers of 76 tokens use it up, too.
func (b *bed) nextLimit() int {
	b.limits++
	return 300 - b.limits
}

func limit(t *testing.T, b *bed) {
	b.awaitLimit(t, 300)
	if got := b.statuses(t, "anna", 5); got != "200 200 200 200 429" {
		t.Errorf("got %s, want 200 200 200 200 429", got)
	}
	records := b.records(t, "anna", 5)
	for _, r := range records[:4] {
		r.Want(t, map[string]string{
			"status": "200", "decision": "ALLOWED", "priority": "NORMAL",
			"request_model": "mock", "completion_tokens": "76", "usage_source": "reported",
		})
	}
	records[4].Want(t, map[string]string{"status": "429", "decision": "REJECTED", "gate": "limits", "reason": "tokens_exceeded"})
	stats, err := b.Output(exec.Command(filepath.Join(bin.istio, "pilot-agent"), "request", "GET", "stats?filter=spillway"))
	if err != nil || !strings.Contains(stats, "spillway_tokens_total") {
		t.Errorf("the agent is asked for the filter's counters, and says %q, %v", stats, err)
	}
	// By labels, which the bootstrap makes of the metrics' names.
	const metrics = "http://10.20.0.10:15090/stats/prometheus"
	harness.Await(t, patience, "Prometheus gets the tokens", func() bool {
		return scrape(t, metrics).Of("spillway_tokens_total", "type", "output", "source", "reported").Sum() >= 4*76
	})
}

func change(t *testing.T, b *bed) {
	b.deploy(t, nil)
	if got := b.statuses(t, "berta", 5); got != "200 200 200 200 429" {
		t.Fatalf("got %s, want 200 200 200 200 429", got)
	}
	documented(t, "kubectl -n istio-ingress patch wasmplugin spillway")
	b.awaitLimit(t, 400)
	// 304 of 400 are used: 380 after the next, 456 after the one that follows.
	if got := b.statuses(t, "berta", 3); got != "200 200 429" {
		t.Errorf("with 304 of 400 used: got %s, want 200 200 429", got)
	}
	less := b.nextLimit()
	patchPlugin(t, object{"pluginConfig": object{"limits": []object{quota(less)}}})
	b.awaitLimit(t, less)
	if a := b.chat(t, "berta"); !strings.Contains(a.body, fmt.Sprintf("limit %d, used 456", less)) {
		t.Errorf("the refusal is %d %s, want it to say that 456 of %d are used", a.status, a.body, less)
	}
}

func badConfig(t *testing.T, b *bed) {
	b.deploy(t, nil)
	logged := len(b.log())
	patchPlugin(t, object{"pluginConfig": object{"colour": "red", "limits": []object{quota(-1)}}})
	for _, path := range []string{"colour:", "limits[0].quantity:"} {
		harness.Await(t, patience, "the proxy's log names "+path, func() bool {
			return strings.Contains(b.log()[logged:], path)
		})
	}
	harness.Await(t, patience, "istiod counts the refusal", func() bool { return rejected(t, "ecds") > 0 })
	if got := b.statuses(t, "clara", 5); got != "200 200 200 200 429" {
		t.Errorf("under the old configuration: got %s, want 200 200 200 200 429", got)
	}
	// As long as it stands, Envoy refuses other changes of the listener, too.
	before := rejected(t, "lds")
	kubectl(t, "patch", "envoyfilter", "spillway", "-n", gatewayNamespace, "--type=json", "-p",
		`[{"op": "replace", "path": "/spec/configPatches/1/patch/value/typed_config/stream_idle_timeout", "value": "91s"}]`)
	harness.Await(t, patience, "the listener's change is refused", func() bool { return rejected(t, "lds") > before })
	// A gateway that starts now has no old one: it serves nobody, rather than without limits.
	late := startGateway(t, "ingress-4", "10.20.0.15")
	harness.Await(t, patience, "a gateway that starts under it refuses all", func() bool {
		a, err := late.try("clara")
		return err == nil && a.status == http.StatusInternalServerError
	})
	corrected := b.nextLimit()
	patchPlugin(t, object{"pluginConfig": object{"colour": nil, "limits": []object{quota(corrected)}}})
	b.awaitLimit(t, corrected)
	late.awaitLimit(t, corrected)
}

// badDeleted is why a bad configuration is best corrected in place. Envoy keeps it while the old listener drains, and because
// of it refuses the new listener, whose filter would be right again; Istio doesn't send that a second time.
func badDeleted(t *testing.T, b *bed) {
	b.deploy(t, nil)
	before := rejected(t, "ecds")
	patchPlugin(t, object{"pluginConfig": object{"colour": "red"}})
	harness.Await(t, patience, "istiod counts the refusal", func() bool { return rejected(t, "ecds") > before })
	kubectl(t, "delete", "wasmplugin", "--all", "-n", gatewayNamespace)
	b.awaitNoFilter(t)
	before = rejected(t, "lds")
	deploy(t, nil)
	harness.Await(t, patience, "the new listener is refused", func() bool { return rejected(t, "lds") > before })
	b.awaitNoFilter(t)
	once := b.nextLimit()
	patchPlugin(t, object{"pluginConfig": object{"limits": []object{quota(once)}}})
	b.awaitLimit(t, once)
}

// rejected is how often proxies have refused what istiod sent them, by the kind of it.
func rejected(t *testing.T, kind string) float64 {
	t.Helper()
	return scrape(t, "http://127.0.0.1:15014/metrics").Of("pilot_total_xds_rejects", "type", kind).Sum()
}

// Limits for each model need the body. What the headers tell is refused before anything is sent on.
func perModel(t *testing.T, config object) { set(t, config, "limits.0.per", []any{"user", "model"}) }

func hidden(t *testing.T, b *bed) {
	b.deploy(t, func(config object) { perModel(t, config) })
	b.statuses(t, "dora", 4)
	before := b.sim.Stats()
	if a := b.chat(t, "dora"); a.status != http.StatusTooManyRequests {
		t.Fatalf("got %d %s, want 429", a.status, a.body)
	}
	b.chat(t, "emma") // comes after, so the one before would be here
	if after := b.sim.Stats(); after.Received != before.Received+1 || after.BodyAborted != before.BodyAborted {
		t.Errorf("the server saw %+v, then %+v; want only the request that was not refused", before, after)
	}
}

func visible(t *testing.T, b *bed) {
	b.deploy(t, func(config object) {
		perModel(t, config)
		config["requestHold"] = "none"
	})
	kubectl(t, "delete", "envoyfilter", "--all", "-n", gatewayNamespace)
	harness.Await(t, patience, "the buffer filter is gone", func() bool {
		return !strings.Contains(b.ask("/config_dump?resource=dynamic_listeners"), "envoy.filters.http.buffer")
	})
	b.statuses(t, "frida", 4)
	before := b.sim.Stats()
	harness.Await(t, patience, "the server sees a refused request's headers, and then a reset", func() bool {
		if a := b.chat(t, "frida"); a.status != http.StatusTooManyRequests {
			t.Fatalf("got %d %s, want 429", a.status, a.body)
		}
		return b.sim.Stats().BodyAborted > before.BodyAborted
	})
}

func wrongDigest(t *testing.T, b *bed) {
	b.deploy(t, nil)
	image, err := serveImage()
	if err != nil {
		t.Fatal(err)
	}
	name, digest, _ := strings.Cut(image, "@sha256:")
	patchPlugin(t, object{"url": "oci://" + name, "sha256": strings.Repeat("0", 64)})
	harness.Await(t, patience, "all requests are refused", func() bool {
		a, err := b.try("gina")
		return err == nil && a.status == http.StatusForbidden
	})
	harness.Await(t, patience, "the agent's log says why", func() bool {
		return strings.Contains(b.log(), "error in converting the wasm config to local")
	})
	again := b.nextLimit()
	patchPlugin(t, object{"sha256": digest, "pluginConfig": object{"limits": []object{quota(again)}}})
	b.awaitLimit(t, again)
}

func wrongSelector(t *testing.T, b *bed) {
	b.deploy(t, nil)
	patchPlugin(t, object{"selector": object{"matchLabels": object{"istio": "others"}}})
	b.awaitNoFilter(t)
	if got := b.statuses(t, "ida", 6); got != "200 200 200 200 200 200" {
		t.Errorf("without the filter: got %s, want 200 six times", got)
	}
}

// awaitNoFilter waits until requests pass, and nobody counts them.
func (b *bed) awaitNoFilter(t *testing.T) {
	t.Helper()
	harness.Await(t, patience, "the filter is gone", func() bool {
		a, err := b.try("hanna")
		return err == nil && a.status == http.StatusOK && a.header.Get("x-ratelimit-limit-tokens") == ""
	})
}
