package istio

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// render does what `kubectl kustomize` does with what these kustomizations use of it: resources, the namespace, JSON patches, and
// `$patch: delete`.
func render(t *testing.T, folder string) (objects []object) {
	t.Helper()
	k := read(t, filepath.Join(folder, "kustomization.yaml"))[0]
	for _, resource := range texts(k, "resources") {
		path := filepath.Join(folder, resource)
		if info, err := os.Stat(path); err == nil && info.IsDir() {
			objects = append(objects, render(t, path)...)
		} else {
			objects = append(objects, read(t, path)...)
		}
	}
	if ns := k.text("namespace"); ns != "" {
		for _, o := range objects {
			if own := o.text("metadata.namespace"); own != "" {
				t.Errorf("%s: %s has namespace %s, which the kustomization replaces", folder, o, own)
			}
			o["metadata"].(map[string]any)["namespace"] = ns
		}
	}
	for _, p := range k.list("patches") {
		target := p.text("target.kind")
		if n := len(kind(objects, target)); n != 1 {
			t.Fatalf("%s: the patch of %s has %d targets, want one", folder, target, n)
		}
		if strings.HasPrefix(p.text("patch"), "$patch: delete") {
			objects = slices.DeleteFunc(objects, func(o object) bool { return o.text("kind") == target })
			continue
		}
		var operations []object
		if err := yaml.UnmarshalStrict([]byte(p.text("patch")), &operations); err != nil {
			t.Fatalf("%s: the patch of %s: %v", folder, target, err)
		}
		for _, operation := range operations {
			steps := strings.Split(operation.text("path"), "/")[1:]
			if _, err := patched(map[string]any(kind(objects, target)[0]), steps, operation.text("op"), operation["value"]); err != nil {
				t.Errorf("%s: the patch of %s: %s %s: %v", folder, target, operation.text("op"), operation.text("path"), err)
			}
		}
	}
	return objects
}

func texts(o object, path string) (list []string) {
	nodes, _ := o.at(path).([]any)
	for _, node := range nodes {
		list = append(list, fmt.Sprint(node))
	}
	return list
}

// patched gives what a node has become. Only "add" may make something that isn't there.
func patched(node any, steps []string, op string, value any) (any, error) {
	if len(steps) == 0 {
		return value, nil
	}
	step, last := steps[0], len(steps) == 1
	switch n := node.(type) {
	case map[string]any:
		child, ok := n[step]
		if !ok && (!last || op != "add") {
			return nil, fmt.Errorf("there is no %s", step)
		}
		if last && op == "remove" {
			delete(n, step)
			return n, nil
		}
		child, err := patched(child, steps[1:], op, value)
		n[step] = child
		return n, err
	case []any:
		if last && op == "add" && step == "-" {
			return append(n, value), nil
		}
		i, err := strconv.Atoi(step)
		if err != nil || i >= len(n) || last {
			return nil, fmt.Errorf("there is no %s to change", step)
		}
		n[i], err = patched(n[i], steps[1:], op, value)
		return n, err
	default:
		return nil, fmt.Errorf("%s is in neither an object nor a list", step)
	}
}

// examples are files that no kustomization lists, because they are for the user to make something of.
var examples = []string{"gpuexporter/engine.yaml", "monitoring/hpa.yaml", "monitoring/alerts_test.yaml"}

// Every file is listed by the kustomization beside it, or an example, and every folder can be rendered.
func TestKustomizationsListAllFiles(t *testing.T) {
	folders, err := filepath.Glob("*/kustomization.yaml")
	if err != nil {
		t.Fatal(err)
	}
	overlays, err := filepath.Glob("overlays/*/kustomization.yaml")
	if err != nil || len(overlays) != 3 || len(folders) != 4 {
		t.Fatal(folders, overlays, err)
	}
	for _, k := range append(folders, overlays...) {
		folder := filepath.Dir(k)
		if objects := render(t, folder); len(objects) == 0 {
			t.Errorf("%s: nothing", folder)
		}
		listed := texts(read(t, k)[0], "resources")
		files, err := filepath.Glob(folder + "/*.yaml")
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if file != k && !slices.Contains(listed, filepath.Base(file)) && !slices.Contains(examples, file) {
				t.Errorf("%s is listed nowhere", file)
			}
		}
	}
	bases := map[string]bool{}
	for _, k := range overlays {
		for _, resource := range texts(read(t, k)[0], "resources") {
			bases[filepath.Join(filepath.Dir(k), resource)] = true
		}
	}
	if !bases["base"] {
		t.Errorf("no overlay is of base: %v", bases)
	}
}

// What is in testdata/broken is refused by a real API server in the tests of the mesh; here, that each says why.
func TestBrokenManifestsSayWhy(t *testing.T) {
	files, err := filepath.Glob("testdata/broken/*.yaml")
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	kinds := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		line, _, _ := strings.Cut(string(text), "\n")
		if why, ok := strings.CutPrefix(line, "# refused: "); !ok || why == "" {
			t.Errorf("%s begins with %q, want # refused: and a text of the refusal", file, line)
		}
		objects := read(t, file)
		if len(objects) != 1 || objects[0].text("metadata.name") != "broken" {
			t.Errorf("%s has %v, want one object called broken", file, objects)
		}
		kinds[objects[0].text("kind")] = true
	}
	if !kinds["WasmPlugin"] || !kinds["EnvoyFilter"] {
		t.Errorf("broken are %v only", kinds)
	}
}
