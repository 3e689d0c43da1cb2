//go:build mesh

package istiotest

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/test/mesh/cluster"
)

// server is the Service by which Istio knows the server's port.
const server = `
apiVersion: v1
kind: Service
metadata: {name: vllm, namespace: llm}
spec:
  selector: {app: vllm}
  ports: [{name: http, port: 8000}]
`

// A sidecar's traffic comes by redirection of packets, which isn't here. What Envoy makes of the overlay can be seen all the
// same.
func TestSidecar(t *testing.T) {
	deployOverlay(t, "sidecar", serverNamespace, nil)
	if err := kube.Apply(server); err != nil {
		t.Fatal(err)
	}
	p := startProxy(t, servers, "vllm-0", "10.20.0.14")
	harness.Await(t, 2*patience, "the filter is configured", func() bool { return strings.Contains(p.log(), "spillway: ") })
	startSidecarsExporter(t, p.Pod)
	harness.Await(t, patience, "the filter hears of the pressure from the exporter in its pod", func() bool {
		return p.stat(t, "spillway_pressure;kind=active_decode_blocks") == 500
	})
	var ports []int
	for _, chain := range p.inbound(t) {
		filter := slices.IndexFunc(chain.filters, func(name string) bool { return strings.Contains(name, "spillway") })
		buffer := slices.Index(chain.filters, "envoy.filters.http.buffer")
		held := filter >= 0 && filter < buffer && chain.idle == "90s"
		left := filter < 0 && buffer < 0 && chain.idle != "90s"
		if chain.port == 8000 && !held || chain.port != 8000 && !left {
			t.Errorf("the chain of port %d has the filters %q and an idle timeout of %q", chain.port, chain.filters, chain.idle)
		}
		ports = append(ports, chain.port)
	}
	if !slices.Contains(ports, 8000) || !slices.Contains(ports, 0) {
		t.Errorf("there are chains of the ports %v, want one of 8000 and one of all others", ports)
	}
}

// startSidecarsExporter runs an exporter where only the pod itself can ask it.
func startSidecarsExporter(t *testing.T, pod *cluster.Pod) {
	t.Helper()
	profile := filepath.Join(t.TempDir(), "profile.yaml")
	const half = "instances: [{name: a, activeDecodeBlocks: 0.5, activePrefillTokens: 0}]"
	if err := os.WriteFile(profile, []byte(half), 0o600); err != nil {
		t.Fatal(err)
	}
	exporter, err := pod.Run("exporter", exec.Command(bin.exporter, "--listen=127.0.0.1:9401", "--node=test", "--nvml=off",
		"--simulate="+profile))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { exporter.Stop(5 * time.Second) })
}

// chain is what Envoy does with the HTTP requests to a port of the pod; 0 is all others.
type chain struct {
	port    int
	filters []string
	idle    string
}

// inbound are the chains of HTTP of the listener to which a pod's incoming packets are redirected.
func (p *proxy) inbound(t *testing.T) (chains []chain) {
	t.Helper()
	var dump struct {
		Configs []struct {
			Active struct {
				Listener struct {
					Name   string
					Chains []struct {
						Match struct {
							Port int `json:"destination_port"`
						} `json:"filter_chain_match"`
						Filters []struct {
							Config struct {
								Filters []struct{ Name string } `json:"http_filters"`
								Idle    string                  `json:"stream_idle_timeout"`
							} `json:"typed_config"`
						}
					} `json:"filter_chains"`
				}
			} `json:"active_state"`
		}
	}
	if err := json.Unmarshal([]byte(p.ask("/config_dump?resource=dynamic_listeners")), &dump); err != nil {
		t.Fatal(err)
	}
	for _, config := range dump.Configs {
		if config.Active.Listener.Name != "virtualInbound" {
			continue
		}
		for _, c := range config.Active.Listener.Chains {
			for _, f := range c.Filters {
				one := chain{port: c.Match.Port, idle: f.Config.Idle}
				for _, filter := range f.Config.Filters {
					one.filters = append(one.filters, filter.Name)
				}
				if len(one.filters) > 0 {
					chains = append(chains, one)
				}
			}
		}
	}
	return chains
}
