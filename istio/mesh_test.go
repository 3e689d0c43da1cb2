package istio

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/spillway-proxy/spillway/config"
)

// pluginConfig reads a WasmPlugin's configuration as the filter gets it, and with the filter's own code.
func pluginConfig(t *testing.T, plugin object) config.Config {
	t.Helper()
	text, err := json.Marshal(plugin.at("spec.pluginConfig"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v\n%s", plugin.text("metadata.namespace"), err, text)
	}
	return c
}

// only gives the one object of a kind, or nil.
func only(t *testing.T, objects []object, name string) object {
	t.Helper()
	found := kind(objects, name)
	if len(found) > 1 {
		t.Fatalf("%d objects %s, want one at most", len(found), name)
	}
	return append(found, nil)[0]
}

// inserted are the HTTP filters that an EnvoyFilter puts before the router, and where it does.
func inserted(filter object) (patches []object) {
	for _, p := range filter.list("spec.configPatches") {
		if p.text("applyTo") == "HTTP_FILTER" && p.text("patch.operation") == "INSERT_BEFORE" &&
			p.text("match.listener.filterChain.filter.subFilter.name") == "envoy.filters.http.router" {
			patches = append(patches, p)
		}
	}
	return patches
}

// What each overlay says: for whom, where, and whether what the filter is told of its surroundings is true.
func TestOverlays(t *testing.T) {
	for _, test := range []struct {
		name, namespace, context string
		hold                     config.Hold
	}{
		{"gateway", "istio-ingress", "GATEWAY", config.HoldBufferFilter},
		{"sidecar", "llm", "SIDECAR_INBOUND", config.HoldBufferFilter},
		{"waypoint", "llm", "", config.HoldNone}, // no EnvoyFilter reaches a waypoint
	} {
		t.Run(test.name, func(t *testing.T) {
			objects := render(t, filepath.Join("overlays", test.name))
			for _, o := range objects {
				if ns := o.text("metadata.namespace"); ns != test.namespace {
					t.Errorf("%s is in %s, want %s", o, ns, test.namespace)
				}
			}
			plugin, filter := only(t, objects, "WasmPlugin"), only(t, objects, "EnvoyFilter")
			c := pluginConfig(t, plugin)
			if c.RequestHold != test.hold {
				t.Errorf("requestHold is %v, want %v", c.RequestHold, test.hold)
			}
			if l := c.Limits; len(l) != 1 || l[0].Quantity != 300 || l[0].Window != time.Hour || l[0].Unit != config.CompletionTokens {
				t.Errorf("the limits are %+v, want 300 completion tokens an hour", l)
			}
			labels := plugin.labels("spec.selector.matchLabels")
			if (len(labels) > 0) == (plugin.at("spec.targetRefs") != nil) {
				t.Errorf("the plugin has both or none of selector and targetRefs, want one")
			}
			if filter == nil {
				if test.hold != config.HoldNone || len(c.Upstreams) > 0 {
					t.Errorf("without an EnvoyFilter nothing holds requests, and nothing ends those that wait in a VM that crashed")
				}
				return
			}
			if own := filter.labels("spec.workloadSelector.labels"); !maps.Equal(own, labels) {
				t.Errorf("the EnvoyFilter is for %v, the plugin for %v", own, labels)
			}
			checkFilter(t, filter, c, test.context)
		})
	}
}

// checkFilter expects the buffer filter, and a timeout that is longer than all waits, at the plugin's listener.
func checkFilter(t *testing.T, filter object, c config.Config, context string) {
	t.Helper()
	before := inserted(filter)
	if len(before) != 1 || before[0].text("patch.value.name") != "envoy.filters.http.buffer" {
		t.Fatalf("before the router are put %v, want the buffer filter", before)
	}
	var idle time.Duration
	for _, p := range filter.list("spec.configPatches") {
		if p.text("applyTo") != "CLUSTER" && p.text("match.context") != context {
			t.Errorf("a patch is for %s, want %s", p.text("match.context"), context)
		}
		if text := p.text("patch.value.typed_config.stream_idle_timeout"); text != "" {
			for key, want := range map[string]any{ // what the filter sees of a path is what the server will see
				"normalize_path": true, "merge_slashes": true, "path_with_escaped_slashes_action": "UNESCAPE_AND_FORWARD",
				"common_http_protocol_options.headers_with_underscores_action": "DROP_HEADER",
			} {
				if got := p.at("patch.value.typed_config." + key); got != want {
					t.Errorf("%s is %v, want %v", key, got, want)
				}
			}
			var err error
			if idle, err = time.ParseDuration(text); err != nil {
				t.Error(err)
			}
		}
	}
	most, _ := before[0].at("patch.value.typed_config.max_request_bytes").(float64)
	if int(most) <= c.Usage.MaxRequestBytes {
		t.Errorf("requests up to %v bytes pass, want more than the %d that are read", most, c.Usage.MaxRequestBytes)
	}
	for _, upstream := range c.Upstreams {
		for priority, wait := range upstream.Queue.MaxWait {
			if wait >= idle {
				t.Errorf("priority %v waits %s, and stream_idle_timeout ends that after %s", priority, wait, idle)
			}
		}
	}
}

// What docs/istio.md tells to type fits what is here.
func TestTheDocsCommandsFit(t *testing.T) {
	docs, err := os.ReadFile("../docs/istio.md")
	if err != nil {
		t.Fatal(err)
	}
	objects := render(t, "overlays/gateway")
	image, ok := strings.CutPrefix(only(t, objects, "WasmPlugin").text("spec.url"), "oci://")
	limits := "/spec/pluginConfig/limits/0/quantity"
	for _, want := range []string{
		`kubectl kustomize istio/overlays/gateway | sed "s|` + image + `|$IMAGE|"`,
		`"sidecar.istio.io/bootstrapOverride": "` + only(t, objects, "ConfigMap").text("metadata.name") + `"`,
		`patch wasmplugin ` + only(t, objects, "WasmPlugin").text("metadata.name") + " ", limits,
		only(t, objects, "WasmPlugin").text("spec.pluginConfig.pressureSource.cluster"),
	} {
		if !ok || !strings.Contains(string(docs), want) {
			t.Errorf("docs/istio.md doesn't have %q", want)
		}
	}
	if _, err := patched(map[string]any(only(t, objects, "WasmPlugin")), strings.Split(limits, "/")[1:], "replace", 400.0); err != nil {
		t.Errorf("what it patches: %v", err)
	}
}

// istioCluster finds the Service that a cluster's name of Istio's making is for.
func istioCluster(all []object, name string) bool {
	return slices.ContainsFunc(kind(all, "Service"), func(s object) bool {
		return slices.ContainsFunc(s.list("spec.ports"), func(port object) bool {
			return name == fmt.Sprintf("outbound|%v||%s.%s.svc.cluster.local",
				port.at("port"), s.text("metadata.name"), s.text("metadata.namespace"))
		})
	})
}

func TestClustersAreThere(t *testing.T) {
	services := append(render(t, "gpuexporter"), render(t, "ratelimit")...)
	gateway := pluginConfig(t, only(t, render(t, "overlays/gateway"), "WasmPlugin"))
	if cluster := gateway.PressureSource.Cluster; !istioCluster(services, cluster) {
		t.Errorf("the gateway asks %s, which is no Service of ../gpuexporter", cluster)
	}
	sidecar := render(t, "overlays/sidecar")
	cluster := pluginConfig(t, only(t, sidecar, "WasmPlugin")).PressureSource.Cluster
	if !slices.ContainsFunc(only(t, sidecar, "EnvoyFilter").list("spec.configPatches"), func(p object) bool {
		return p.text("applyTo") == "CLUSTER" && p.text("patch.value.name") == cluster &&
			p.text("patch.value.load_assignment.cluster_name") == cluster
	}) {
		t.Errorf("nobody adds the cluster %s, which the sidecar asks", cluster)
	}
	limit := inserted(only(t, render(t, "ratelimit"), "EnvoyFilter"))[0]
	cluster = limit.text("patch.value.typed_config.rate_limit_service.grpc_service.envoy_grpc.cluster_name")
	if !istioCluster(services, cluster) {
		t.Errorf("ratelimit is asked at %s, which is no Service", cluster)
	}
}

// The sidecar's overlay is for the server of gpuexporter/engine.yaml, with its port and its exporter.
func TestTheSidecarIsTheEngines(t *testing.T) {
	objects := render(t, "overlays/sidecar")
	plugin, filter := only(t, objects, "WasmPlugin"), only(t, objects, "EnvoyFilter")
	engine := kind(read(t, "gpuexporter/engine.yaml"), "Deployment")[0]
	if engine.text("metadata.namespace") != plugin.text("metadata.namespace") ||
		!covers(engine.labels(podLabels), plugin.labels("spec.selector.matchLabels")) {
		t.Errorf("the plugin doesn't select %s", engine)
	}
	port := containerPorts(engine)["api"]
	if plugin.at("spec.match.0.ports.0.number") != port || plugin.text("spec.match.0.mode") != "SERVER" {
		t.Errorf("the plugin is for %v, want what comes in at %v", plugin.at("spec.match"), port)
	}
	for _, p := range filter.list("spec.configPatches") {
		if p.text("applyTo") == "CLUSTER" {
			address := p.at("patch.value.load_assignment.endpoints.0.lb_endpoints.0.endpoint.address.socket_address.port_value")
			if address != containerPorts(engine)["pressure"] {
				t.Errorf("the exporter is asked at %v, and listens at %v", address, containerPorts(engine)["pressure"])
			}
		} else if p.at("match.listener.filterChain.destinationPort") != port {
			t.Errorf("a patch is for %v, want port %v", p.at("match.listener"), port)
		}
	}
}

// The rules that make labels of the filter's metrics are those of Envoy alone.
func TestStatsTagsAreThoseOfStandalone(t *testing.T) {
	for _, overlay := range []string{"gateway", "sidecar"} {
		var custom object
		text := only(t, render(t, filepath.Join("overlays", overlay)), "ConfigMap").labels("data")["custom_bootstrap.json"]
		if err := json.Unmarshal([]byte(text), &custom); err != nil {
			t.Fatal(err)
		}
		want := read(t, "../envoy/standalone.yaml")[0].at("stats_config.stats_tags")
		if got := custom.at("stats_config.stats_tags"); want == nil || !reflect.DeepEqual(got, want) {
			t.Errorf("%s: the rules are %v, want %v", overlay, got, want)
		}
		if len(custom) != 1 {
			t.Errorf("%s: the bootstrap gets %v, too", overlay, custom)
		}
	}
}

// In the mesh ratelimit is asked by the same rules, and has the same limits, as in front of Envoys alone.
func TestTheGlobalLimitIsTheFleets(t *testing.T) {
	objects := render(t, "ratelimit")
	filter := only(t, objects, "EnvoyFilter")
	limit := inserted(filter)[0]
	patches := filter.list("spec.configPatches")
	rules := patches[1].at("patch.value.typed_per_filter_config")
	fleet, err := os.ReadFile("../envoy/fleet.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var bootstrap any
	if err := yaml.Unmarshal(fleet, &bootstrap); err != nil {
		t.Fatal(err)
	}
	route := search(bootstrap, func(o object) bool { return o["typed_per_filter_config"] != nil })
	if want := route["typed_per_filter_config"]; want == nil || !reflect.DeepEqual(rules, want) {
		t.Errorf("the rules are\n%v\nwant those of the fleet\n%v", rules, want)
	}
	asked := search(bootstrap, func(o object) bool { return o.text("name") == "envoy.filters.http.ratelimit" })
	for _, key := range []string{"domain", "failure_mode_deny", "status_on_error", "timeout", "enable_x_ratelimit_headers"} {
		if got, want := limit.at("patch.value.typed_config."+key), asked.at("typed_config."+key); !reflect.DeepEqual(got, want) {
			t.Errorf("%s is %v, want %v as in the fleet", key, got, want)
		}
	}
	var limits, want object
	if err := yaml.UnmarshalStrict([]byte(only(t, objects, "ConfigMap").labels("data")["llm.yaml"]), &limits); err != nil {
		t.Fatal(err)
	}
	if want = read(t, "../envoy/ratelimit/config/llm.yaml")[0]; !reflect.DeepEqual(limits, want) {
		t.Errorf("the limits are %v, want %v", limits, want)
	}
	if limits.text("domain") != limit.text("patch.value.typed_config.domain") {
		t.Errorf("limits of %s are asked as %s", limits.text("domain"), limit.text("patch.value.typed_config.domain"))
	}
}

// search gives the first object, at a node or below, that is what is looked for.
func search(node any, is func(object) bool) object {
	switch n := node.(type) {
	case map[string]any:
		if is(n) {
			return n
		}
		for _, name := range slices.Sorted(maps.Keys(n)) {
			if found := search(n[name], is); found != nil {
				return found
			}
		}
	case []any:
		for _, child := range n {
			if found := search(child, is); found != nil {
				return found
			}
		}
	}
	return nil
}

// Ratelimit's filter is put behind the buffer filter, for the same gateways, who may reach it and the exporter.
func TestTheGatewaysOfAllPartsAreTheSame(t *testing.T) {
	gateway, limited := render(t, "overlays/gateway"), render(t, "ratelimit")
	hold, limit := only(t, gateway, "EnvoyFilter"), only(t, limited, "EnvoyFilter")
	first, _ := hold.at("spec.priority").(float64)
	second, _ := limit.at("spec.priority").(float64)
	if first <= 0 || second <= first {
		t.Errorf("priorities are %v and %v: want ratelimit's filter behind the buffer filter", first, second)
	}
	if ns := hold.text("metadata.namespace"); ns != limit.text("metadata.namespace") ||
		!maps.Equal(hold.labels("spec.workloadSelector.labels"), limit.labels("spec.workloadSelector.labels")) {
		t.Errorf("%s and %s are for other gateways", hold, limit)
	}
	for _, o := range append(kind(render(t, "gpuexporter"), "NetworkPolicy"), kind(limited, "NetworkPolicy")...) {
		name := o.text("metadata.name")
		if name != "ratelimit" && name != "gpuexporter-aggregator" {
			continue
		}
		from := o.list("spec.ingress.0.from")
		if len(from) == 0 || from[0].labels("namespaceSelector.matchLabels")["kubernetes.io/metadata.name"] != hold.text("metadata.namespace") {
			t.Errorf("%s lets %v in, want the gateways", o, from)
		}
	}
}

// Ratelimit and Redis are confined as the exporters are, and ratelimit reads the limits where they are mounted.
func TestRatelimitIsConfined(t *testing.T) {
	for _, w := range workloads(render(t, "ratelimit")) {
		for _, c := range w.list("spec.template.spec.containers") {
			checkConfined(t, w, c)
			env := map[string]string{}
			for _, e := range c.list("env") {
				env[e.text("name")] = e.text("value")
			}
			want := filepath.Join(env["RUNTIME_ROOT"], env["RUNTIME_SUBDIRECTORY"], "config")
			if mount := c.text("volumeMounts.0.mountPath"); strings.Contains(c.text("name"), "ratelimit") && mount != want {
				t.Errorf("limits are mounted at %q and read from %q", mount, want)
			}
		}
	}
}
