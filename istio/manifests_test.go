// Package istio tests the manifests of this folder: that they are YAML without repeated keys, that what they say of each other
// is true, and that flags, metrics and thresholds are those of the programs.
package istio

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/internal/manifest"
)

// object is a manifest, or a part of one.
type object map[string]any

func (o object) at(path string) any { return manifest.At(o, path) }

func (o object) text(path string) string {
	text, _ := o.at(path).(string)
	return text
}

func (o object) list(path string) (list []object) {
	nodes, _ := o.at(path).([]any)
	for _, node := range nodes {
		if m, ok := node.(map[string]any); ok {
			list = append(list, m)
		}
	}
	return list
}

func (o object) labels(path string) map[string]string {
	labels := map[string]string{}
	nodes, _ := o.at(path).(map[string]any)
	for key, value := range nodes {
		labels[key] = fmt.Sprint(value)
	}
	return labels
}

func (o object) String() string { return o.text("kind") + " " + o.text("metadata.name") }

// read parses all documents of a file.
func read(t *testing.T, path string) (objects []object) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for document := range bytes.SplitSeq(text, []byte("\n---\n")) {
		var o object
		if err := yaml.UnmarshalStrict(document, &o); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		objects = append(objects, o)
	}
	return objects
}

// manifests are all but the kustomizations and the tests of alerts.
func manifests(t *testing.T) (all []object) {
	t.Helper()
	files, err := filepath.Glob("*/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal("no manifests", err)
	}
	for _, file := range files {
		objects := read(t, file)
		if base := filepath.Base(file); base == "kustomization.yaml" || base == "alerts_test.yaml" {
			continue
		}
		for _, o := range objects {
			if o.text("apiVersion") == "" || o.text("kind") == "" || o.text("metadata.name") == "" {
				t.Errorf("%s: something without apiVersion, kind or name", file)
			}
		}
		all = append(all, objects...)
	}
	return all
}

func kind(all []object, kinds ...string) (some []object) {
	for _, o := range all {
		if slices.Contains(kinds, o.text("kind")) {
			some = append(some, o)
		}
	}
	return some
}

// covers says that labels have all that a selector wants.
func covers(labels, selector map[string]string) bool {
	for key, value := range selector {
		if labels[key] != value {
			return false
		}
	}
	return len(selector) > 0
}

const podLabels = "spec.template.metadata.labels"

func workloads(all []object) []object { return kind(all, "Deployment", "DaemonSet") }

// selected are the workloads, or others, whose labels at a path a selector takes.
func selected(from []object, path string, selector map[string]string) (some []object) {
	for _, o := range from {
		if covers(o.labels(path), selector) {
			some = append(some, o)
		}
	}
	return some
}

func TestSelectorsFindWhatTheyAreFor(t *testing.T) {
	all := manifests(t)
	for _, w := range workloads(all) {
		if !covers(w.labels(podLabels), w.labels("spec.selector.matchLabels")) {
			t.Errorf("%s doesn't select its own pods", w)
		}
	}
	for _, s := range kind(all, "Service") {
		pods := selected(workloads(all), podLabels, s.labels("spec.selector"))
		if len(pods) != 1 {
			t.Errorf("%s selects %v, want one workload", s, pods)
			continue
		}
		for _, port := range s.list("spec.ports") {
			if n, ok := containerPorts(pods[0])[port.text("targetPort")]; !ok || n != port.at("port") {
				t.Errorf("%s: %s has no port %s of number %v", s, pods[0], port.text("targetPort"), port.at("port"))
			}
		}
	}
	for _, o := range kind(all, "NetworkPolicy", "PodDisruptionBudget") {
		selector := o.labels("spec.podSelector.matchLabels")
		if o.text("kind") == "PodDisruptionBudget" {
			selector = o.labels("spec.selector.matchLabels")
		}
		if pods := selected(workloads(all), podLabels, selector); len(pods) != 1 {
			t.Errorf("%s selects %v, want one workload", o, pods)
		}
	}
	for _, m := range kind(all, "ServiceMonitor") {
		services := selected(kind(all, "Service"), "metadata.labels", m.labels("spec.selector.matchLabels"))
		if len(services) != 1 || services[0].text("spec.ports.0.name") != m.text("spec.endpoints.0.port") {
			t.Errorf("%s selects %v, want one service with its port", m, services)
		}
	}
	for _, h := range kind(all, "HorizontalPodAutoscaler") {
		if !slices.ContainsFunc(workloads(all), func(w object) bool {
			return w.text("metadata.name") == h.text("spec.scaleTargetRef.name") && w.text("kind") == h.text("spec.scaleTargetRef.kind") &&
				w.text("metadata.namespace") == h.text("metadata.namespace")
		}) {
			t.Errorf("%s scales nothing", h)
		}
	}
}

func containerPorts(workload object) map[string]any {
	ports := map[string]any{}
	for _, c := range workload.list("spec.template.spec.containers") {
		for _, p := range c.list("ports") {
			ports[p.text("name")] = p.at("containerPort")
		}
	}
	return ports
}

// exporters are the containers that run the exporter, all of them confined.
func exporters(t *testing.T, all []object) (containers []object) {
	t.Helper()
	for _, w := range workloads(all) {
		for _, c := range w.list("spec.template.spec.containers") {
			if c.text("name") == "gpuexporter" {
				checkConfined(t, w, c)
				containers = append(containers, c)
			}
		}
	}
	if len(containers) != 3 {
		t.Fatalf("%d containers run the exporter, want 3", len(containers))
	}
	return containers
}

// By default it listens on the loopback, which in a pod nobody else reaches.
func TestExportersListenOnThePodsAddresses(t *testing.T) {
	for _, c := range exporters(t, manifests(t)) {
		args, _ := c.at("args").([]any)
		if want := fmt.Sprintf("--listen=0.0.0.0:%v", c.at("ports.0.containerPort")); !slices.Contains(args, any(want)) {
			t.Errorf("%v: want %s", args, want)
		}
	}
}

func TestExportersAreConfined(t *testing.T) { exporters(t, manifests(t)) }

// checkConfined expects what the Pod Security Standard "restricted" wants of a container, and more.
func checkConfined(t *testing.T, workload, container object) {
	t.Helper()
	pod, _ := workload.at("spec.template.spec.securityContext").(map[string]any)
	own, _ := container.at("securityContext").(map[string]any)
	context := object(maps.Clone(pod))
	if context == nil {
		context = object{}
	}
	maps.Copy(context, own)
	for path, want := range map[string]any{
		"runAsNonRoot": true, "readOnlyRootFilesystem": true, "allowPrivilegeEscalation": false,
		"capabilities.drop.0": "ALL", "seccompProfile.type": "RuntimeDefault",
	} {
		if got := context.at(path); got != want {
			t.Errorf("%s: %s: %s is %v, want %v", workload, container.text("name"), path, got, want)
		}
	}
	if container.at("resources.limits.memory") == nil {
		t.Errorf("%s: %s: no limit of memory", workload, container.text("name"))
	}
	if workload.at("spec.template.spec.automountServiceAccountToken") != false {
		t.Errorf("%s: has a token for the API server, which it doesn't need", workload)
	}
}

// Flags are those of the program, and peers are services that are here.
func TestArgumentsAreTheProgramsOwn(t *testing.T) {
	help, err := exec.Command("../build/gpuexporter", "--help").Output()
	if err != nil {
		t.Fatalf("ask the exporter for its flags: %v: run `make gpuexporter`", err)
	}
	all := manifests(t)
	for _, c := range exporters(t, all) {
		args, _ := c.at("args").([]any)
		for _, arg := range args {
			flag, value, _ := strings.Cut(fmt.Sprint(arg), "=")
			if !strings.Contains(string(help), " "+flag+"=") {
				t.Errorf("the exporter has no flag %s", flag)
			}
			if flag == "--peer" && !slices.ContainsFunc(kind(all, "Service"), func(s object) bool {
				ns := s.text("metadata.namespace")
				if ns == "" {
					ns = "spillway-system" // by the kustomization
				}
				return value == fmt.Sprintf("dns+http://%s.%s.svc:%v", s.text("metadata.name"), ns, s.at("spec.ports.0.port")) && s.text("spec.clusterIP") == "None"
			}) {
				t.Errorf("%s is no headless service that is here", value)
			}
		}
		for _, e := range c.list("env") {
			if name := e.text("name"); strings.HasPrefix(name, "GPUEXPORTER_") && !bytes.Contains(help, []byte("$"+name)) {
				t.Errorf("the exporter has no variable %s", name)
			}
		}
	}
}

// The autoscaler acts before anybody is refused: its target is below the lowest ceiling of the defaults and of all presets.
func TestTheAutoscalersTargetIsBelowAllCeilings(t *testing.T) {
	h := kind(manifests(t), "HorizontalPodAutoscaler")[0]
	text := h.text("spec.metrics.0.external.target.value")
	milli, err := strconv.Atoi(strings.TrimSuffix(text, "m"))
	if err != nil || !strings.HasSuffix(text, "m") {
		t.Fatalf("the target is %q, want thousandths", text)
	}
	presets, err := filepath.Glob("../config/examples/pressure-*.yaml")
	if err != nil || len(presets) != 2 {
		t.Fatal(presets, err)
	}
	configs := [][]byte{[]byte(`{"upstreams":[{"name":"a","pressure":{"mode":"enforce"}}]}`)}
	for _, preset := range presets {
		yamlText, err := os.ReadFile(preset)
		if err != nil {
			t.Fatal(err)
		}
		jsonText, err := yaml.YAMLToJSON(yamlText)
		if err != nil {
			t.Fatal(err)
		}
		configs = append(configs, jsonText)
	}
	for _, c := range configs {
		parsed, err := config.Parse(c)
		if err != nil {
			t.Fatal(err)
		}
		p := parsed.Upstreams[0].Pressure
		if lowest := p.ActiveDecodeBlocks * p.Ceilings[config.Low]; float64(milli)/1000 >= lowest {
			t.Errorf("the target, %s, is not below %g, from which LOW is refused: %s", text, lowest, c)
		}
	}
}

// What alerts and the autoscaler ask for is published under these names.
func TestMetricsExist(t *testing.T) {
	published := ""
	for _, file := range []string{"../gpuexporter/testdata/metrics.txt", "../docs/metrics.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		published += string(text)
	}
	all := manifests(t)
	h := kind(all, "HorizontalPodAutoscaler")[0]
	for name, value := range h.labels("spec.metrics.0.external.metric.selector.matchLabels") {
		if want := fmt.Sprintf("%s{%s=%q}", h.text("spec.metrics.0.external.metric.name"), name, value); !strings.Contains(published, want) {
			t.Errorf("nobody publishes %s", want)
		}
	}
	names := regexp.MustCompile(`\b(gpuexporter|spillway)_\w+`)
	for _, group := range kind(all, "PrometheusRule")[0].list("spec.groups") {
		for _, rule := range group.list("rules") {
			for _, name := range names.FindAllString(rule.text("expr"), -1) {
				name = strings.TrimSuffix(name, "_bucket") // a histogram's, which the page has by its own name
				if !regexp.MustCompile(`\b` + name + `\b`).MatchString(published) {
					t.Errorf("%s%s: nobody publishes %s", rule.text("alert"), rule.text("record"), name)
				}
			}
		}
	}
}

// Who asks how many were refused asks of all gates: a breaker's refusals have its state for a decision.
func TestRefusalsOfAllGatesAreCounted(t *testing.T) {
	matcher := regexp.MustCompile(`spillway_requests_total\{([^}]*decision[^}]*)\}`)
	other := regexp.MustCompile(`gate="(pressure|limits|queue|latency|throttle|identity)"`)
	found := 0
	for _, group := range kind(manifests(t), "PrometheusRule")[0].list("spec.groups") {
		for _, rule := range group.list("rules") {
			for _, m := range matcher.FindAllStringSubmatch(rule.text("expr"), -1) {
				found++
				if !other.MatchString(m[1]) && !strings.Contains(m[1], `decision=~"REJECTED|OPEN|HALF_OPEN"`) {
					t.Errorf("%s%s: %s leaves out what an open breaker refuses", rule.text("alert"), rule.text("record"), m[0])
				}
			}
		}
	}
	if found == 0 {
		t.Error("no rule asks for decisions")
	}
}
