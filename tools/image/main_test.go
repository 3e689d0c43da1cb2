package main

import (
	"archive/tar"
	"bytes"
	"context"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"
)

// module is enough of a Wasm module to be packed.
func module(content string) []byte { return append([]byte("\x00asm\x01\x00\x00\x00"), content...) }

func write(t *testing.T, path string, content []byte) string {
	t.Helper()
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// do runs a command, and gives what it printed.
func do(t *testing.T, args ...string) (string, error) {
	t.Helper()
	var stdout bytes.Buffer
	err := run(t.Context(), args, &stdout, io.Discard)
	return stdout.String(), err
}

func mustDo(t *testing.T, args ...string) string {
	t.Helper()
	stdout, err := do(t, args...)
	if err != nil {
		t.Fatalf("%q: %v", args, err)
	}
	return stdout
}

// pull fetches as Istio's agent does: the manifest, and from its last layer the file plugin.wasm.
func pull(t *testing.T, reference string) (v1.Image, []byte) {
	t.Helper()
	ref, err := name.ParseReference(reference, name.Insecure)
	if err != nil {
		t.Fatal(err)
	}
	image, err := remote.Image(ref, remote.WithContext(t.Context()))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	if manifest.MediaType != types.OCIManifestSchema1 || manifest.Config.MediaType != types.OCIConfigJSON {
		t.Errorf("the manifest is %s of %s", manifest.MediaType, manifest.Config.MediaType)
	}
	layers, err := image.Layers()
	if err != nil || len(layers) != 1 {
		t.Fatalf("%d layers, %v; want one", len(layers), err)
	}
	if mediaType, err := layers[0].MediaType(); err != nil || mediaType != types.OCILayer {
		t.Errorf("the layer is %s, %v", mediaType, err)
	}
	content, err := layers[0].Uncompressed()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = content.Close() }()
	files := tar.NewReader(content)
	header, err := files.Next()
	if err != nil || header.Name != pluginFile {
		t.Fatalf("the layer begins with %v, %v", header, err)
	}
	plugin, err := io.ReadAll(files)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := files.Next(); err != io.EOF {
		t.Errorf("something follows %s: %v", pluginFile, err)
	}
	return image, plugin
}

func TestBuildPushPull(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New())
	defer server.Close()
	repository := strings.TrimPrefix(server.URL, "http://") + "/spillway/filter"
	folder := t.TempDir()
	wasm, layout := write(t, filepath.Join(folder, "a.wasm"), module("one")), filepath.Join(folder, "image")
	built := mustDo(t, "build", "--wasm", wasm, "--version", "v1.2.3+b", "--revision", "abc", "--output", layout)
	pushed := mustDo(t, "push", "--layout", layout, "--insecure", repository)

	image, plugin := pull(t, repository+":v1.2.3_b")
	if !bytes.Equal(plugin, module("one")) {
		t.Errorf("the module that came back is %q", plugin)
	}
	digest, err := image.Digest()
	if err != nil {
		t.Fatal(err)
	}
	if want := "pushed " + repository + ":v1.2.3_b@" + digest.String() + "\n"; pushed != want {
		t.Errorf("push printed %q, want %q", pushed, want)
	}
	if !strings.Contains(built, "v1.2.3+b") || !strings.Contains(built, digest.String()) {
		t.Errorf("build printed %q, want the version and %s", built, digest)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	for label, want := range map[string]string{
		"version": "v1.2.3+b", "revision": "abc", "source": "https://github.com/spillway-proxy/spillway",
	} {
		label = "org.opencontainers.image." + label
		if config.Config.Labels[label] != want || manifest.Annotations[label] != want {
			t.Errorf("%s is %q as a label and %q as an annotation, want %q",
				label, config.Config.Labels[label], manifest.Annotations[label], want)
		}
	}
}

func TestLatestMovesOnlyWhenAsked(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New())
	defer server.Close()
	repository := strings.TrimPrefix(server.URL, "http://") + "/spillway"
	for _, version := range []struct{ name, flag string }{{"v1", "--latest"}, {"v2", "--no-such"}, {"v3", ""}} {
		folder := t.TempDir()
		layout := filepath.Join(folder, "image")
		wasm := write(t, filepath.Join(folder, "a.wasm"), module(version.name))
		mustDo(t, "build", "--wasm", wasm, "--version", version.name, "--output", layout)
		args := []string{"push", "--layout", layout, "--insecure", repository}
		if version.flag != "" {
			args = append(args, version.flag)
		}
		if _, err := do(t, args...); (err != nil) != (version.flag == "--no-such") {
			t.Errorf("%q: %v", args, err)
		}
	}
	if _, plugin := pull(t, repository+":latest"); !bytes.Equal(plugin, module("v1")) {
		t.Errorf("latest is %q, want v1", plugin)
	}
	if _, plugin := pull(t, repository+":v3"); !bytes.Equal(plugin, module("v3")) {
		t.Errorf("v3 is %q", plugin)
	}
}

func TestTheSameModuleMakesTheSameImage(t *testing.T) {
	t.Parallel()
	build := func(content, version string) (printed string, archive []byte) {
		folder := t.TempDir()
		wasm := write(t, filepath.Join(folder, "a.wasm"), module(content))
		file, layout := filepath.Join(folder, "image.tar"), filepath.Join(folder, "image")
		for range 2 { // the second one replaces the first
			printed = mustDo(t, "build", "--wasm", wasm, "--version", version, "--output", layout, "--archive", file)
		}
		archive, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(printed, layout, ""), archive
	}
	printed, archive := build("one", "v1")
	if again, file := build("one", "v1"); again != printed || !bytes.Equal(file, archive) {
		t.Errorf("built twice: %q and %q, archives the same: %t", printed, again, bytes.Equal(file, archive))
	}
	for _, other := range [][2]string{{"two", "v1"}, {"one", "v2"}} {
		if _, file := build(other[0], other[1]); bytes.Equal(file, archive) {
			t.Errorf("%q makes the same archive", other)
		}
	}
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	wasm := write(t, filepath.Join(folder, "a.wasm"), module(""))
	component := write(t, filepath.Join(folder, "c.wasm"), []byte("\x00asm\x0d\x00\x01\x00"))
	text := write(t, filepath.Join(folder, "a.txt"), []byte("no module"))
	layout := filepath.Join(folder, "image")
	mustDo(t, "build", "--wasm", wasm, "--version", "v1", "--output", layout)
	for _, test := range []struct {
		name string
		args []string
		want string
	}{
		{"no module", []string{"build", "--wasm", text, "--version", "v1", "--output", layout}, "no Wasm module"},
		{"a component", []string{"build", "--wasm", component, "--version", "v1", "--output", layout}, "version 1"},
		{"a folder of somebody else's", []string{"build", "--wasm", wasm, "--version", "v1", "--output", folder}, "no layout"},
		{"no layout", []string{"push", "--layout", folder, "127.0.0.1:1/a"}, "no layout"},
		{"a tag", []string{"push", "--layout", layout, "127.0.0.1:1/filter:v1"}, "no tag"},
		{"no host", []string{"push", "--layout", layout, "spillway"}, "host"},
		{"nobody there", []string{"push", "--layout", layout, "--insecure", "127.0.0.1:1/filter"}, "pushing to 127.0.0.1:1/filter"},
		{"a list of no program", []string{"sbom", "--version", "v1", "--output", filepath.Join(folder, "s"), text}, "a.txt"},
		{"a list of a module not by Go", []string{"sbom", "--version", "v1", "--output", filepath.Join(folder, "s"), wasm}, "built by Go"},
	} {
		if _, err := do(t, test.args...); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want an error with %q", test.name, err, test.want)
		}
	}
	if content, err := os.ReadFile(text); err != nil || string(content) != "no module" {
		t.Errorf("a file was lost: %q, %v", content, err)
	}
}

// Serve says where the image is once it can be fetched, and ends when it is told to.
func TestServe(t *testing.T) {
	t.Parallel()
	wasm := write(t, filepath.Join(t.TempDir(), "a.wasm"), module("served"))
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	lines, printed := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		err := run(ctx, []string{"serve", "--wasm", wasm, "--tag", "t1"}, printed, io.Discard)
		ended <- err
		printed.CloseWithError(io.EOF)
	}()
	line := make([]byte, 200)
	n, err := lines.Read(line)
	if err != nil {
		t.Fatal(err, <-ended)
	}
	reference, found := strings.CutPrefix(strings.TrimSpace(string(line[:n])), "serving ")
	if !found || !strings.Contains(reference, "/spillway/filter:t1@sha256:") {
		t.Fatalf("it printed %q", line[:n])
	}
	if _, plugin := pull(t, reference); !bytes.Equal(plugin, module("served")) {
		t.Errorf("the module that came back is %q", plugin)
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("it ended with %v", err)
	}
}
