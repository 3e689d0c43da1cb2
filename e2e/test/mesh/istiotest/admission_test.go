//go:build mesh

package istiotest

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/test/mesh/cluster"
)

// priorities lets a request with low priority and then an urgent one wait for the only place.
func priorities(t *testing.T, b *bed) {
	b.deploy(t, func(config object) {
		set(t, config, "upstreams.0.concurrency", map[string]any{"max": 1})
		set(t, config, "upstreams.0.queue.maxWait.low", "60s")
	})
	b.sim.Reset()
	ctx, leave := context.WithCancel(t.Context())
	defer leave()
	go func() { _, _ = b.tryUntil(ctx, "busy", "x-sim-hang", "forever") }()
	harness.Await(t, patience, "the server is busy", func() bool { return b.sim.Stats().Received == 1 })

	answers := make(chan answer, 2)
	for i, priority := range []string{"low", "urgent"} {
		go func() {
			a, _ := b.try(priority, "x-priority", priority) // an error is no status 200
			answers <- a
		}()
		harness.Await(t, patience, fmt.Sprintf("%d requests wait", i+1), func() bool { return b.stat(t, "spillway_queue_depth") == i+1 })
	}
	leave()
	for range cap(answers) {
		if a := <-answers; a.status != http.StatusOK {
			t.Errorf("got %d %s, want 200", a.status, a.body)
		}
	}
	var order []string
	for _, r := range b.sim.Requests() {
		order = append(order, r.Headers["x-user-id"])
	}
	if got := fmt.Sprint(order); got != "[busy urgent low]" {
		t.Errorf("the server saw %s, want [busy urgent low]", got)
	}
	b.records(t, "urgent", 1)[0].Want(t, map[string]string{"status": "200", "decision": "QUEUED", "priority": "URGENT"})
}

// pressure asks the real exporter, behind the Service of istio/gpuexporter.
func pressure(t *testing.T, b *bed) {
	deployExporter(t)
	b.deploy(t, func(config object) { set(t, config, "upstreams.0.pressure.mode", "enforce") })
	for _, stage := range []struct {
		share       float64
		low, urgent string // of requests with these priorities
	}{
		{0.5, "", ""},
		{0.75, "pressure/ceiling", ""},
		{0.95, "pressure/busy", "pressure/busy"},
		{0.5, "", ""},
	} {
		t.Run(fmt.Sprintf("%g of the KV cache", stage.share), func(t *testing.T) {
			runExporter(t, stage.share)
			for priority, reason := range map[string]string{"low": stage.low, "urgent": stage.urgent} {
				harness.Await(t, patience, fmt.Sprintf("%s requests are answered %q", priority, reason), func() bool {
					a, err := b.try(fmt.Sprint(priority, stage.share), "x-priority", priority, "x-sim-tokens", "1")
					return err == nil && a.header.Get("x-spillway-reason") == reason && (a.status == http.StatusOK) == (reason == "")
				})
			}
		})
	}
}

// deployExporter applies istio/gpuexporter; where its Service leads to, the test runs the exporter.
func deployExporter(t *testing.T) {
	t.Helper()
	kubectl(t, "apply", "--server-side", "--force-conflicts", "-k", manifests("gpuexporter"))
	if err := kube.SetEndpoints("spillway-system", "gpuexporter", map[string]int{"http": 9401}, cluster.NodeIP); err != nil {
		t.Fatal(err)
	}
}

// runExporter runs the exporter until the test ends, with one simulated server whose KV cache is as full as share says.
func runExporter(t *testing.T, share float64) {
	t.Helper()
	profile := filepath.Join(t.TempDir(), "profile.yaml")
	text := fmt.Sprintf("instances: [{name: a, activeDecodeBlocks: %g, activePrefillTokens: 0}]", share)
	if err := os.WriteFile(profile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	exporter, err := kube.Run("exporter", exec.Command(bin.exporter, "--listen="+cluster.NodeIP+":9401", "--node=test", "--nvml=off",
		"--interval=100ms", "--simulate="+profile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { exporter.Stop(5 * time.Second) })
	if err := kube.AwaitOK(exporter, "the exporter is ready", "http://"+cluster.NodeIP+":9401/readyz"); err != nil {
		t.Fatal(err)
	}
}
