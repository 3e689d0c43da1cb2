package main

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// make release-files gives the same files in the checkout and in a copy of it, in a folder of another name and depth, without git.
func TestReleaseIsTheSameElsewhere(t *testing.T) {
	t.Parallel()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	copied := filepath.Join(t.TempDir(), "some", "where", "else")
	if err := copyTree(root, copied); err != nil {
		t.Fatal(err)
	}
	here, there := release(t, root), release(t, copied)
	if here.sums != there.sums {
		t.Errorf("here:\n%s\nin a copy:\n%s", here.sums, there.sums)
	}
	for _, file := range []string{"spillway.wasm", "spillway-release.wasm", "spillway-image.tar", "spillway-manifests.tar.gz", "spillway.wasm.cdx.json", "spillway-release.wasm.cdx.json"} {
		if !strings.Contains(here.sums, "  "+file+"\n") {
			t.Errorf("no %s in\n%s", file, here.sums)
		}
	}
	if sums := strings.Count(here.sums, "\n"); sums != 12 {
		t.Errorf("%d files, want 12:\n%s", sums, here.sums)
	}
	checkModules(t, filepath.Join(here.folder, "spillway.wasm.cdx.json"), "filter", "github.com/dchest/siphash", "github.com/tinygo-org/tinygo")
	checkModules(t, filepath.Join(here.folder, "spillway-release.wasm.cdx.json"), "filter", "github.com/dchest/siphash", "github.com/NVIDIA/go-nvml")
	checkModules(t, native(t, here, "gpuexporter"), "gpuexporter", "github.com/prometheus/client_golang", "github.com/proxy-wasm/proxy-wasm-go-sdk")
	checkModules(t, native(t, here, "spillway-check"), "filter/check", "go.yaml.in/yaml/v3", "github.com/NVIDIA/go-nvml")
	checkModules(t, native(t, here, "spillway-prices"), "filter/prices", "github.com/alecthomas/kong", "github.com/NVIDIA/go-nvml")
}

// native is what says of which modules a native program was built. Its name has the platform's in it.
func native(t *testing.T, r released, program string) string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(r.folder, program+"-*.cdx.json"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	return files[0]
}

type released struct{ folder, sums string }

func release(t *testing.T, root string) released {
	t.Helper()
	folder := filepath.Join(t.TempDir(), "release")
	command := exec.CommandContext(t.Context(), "make", "-C", root, "release-files", "RELEASE="+folder, "VERSION=v1.2.3", "REVISION=abc")
	// What the make that runs this test was told is not for this one.
	command.Env = slices.DeleteFunc(os.Environ(), func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		return slices.Contains([]string{"MAKEFLAGS", "MFLAGS", "MAKEOVERRIDES", "MAKELEVEL"}, name)
	})
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("make release-files in %s: %v\n%s", root, err, output)
	}
	sums, err := os.ReadFile(filepath.Join(folder, "SHA256SUMS"))
	if err != nil {
		t.Fatal(err)
	}
	check := exec.CommandContext(t.Context(), "sha256sum", "--check", "--strict", "SHA256SUMS")
	check.Dir = folder
	if output, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
	return released{folder, string(sums)}
}

// copyTree leaves out git's files and what was built. A file that goes away meanwhile is none of the tree.
func copyTree(from, to string) error {
	return filepath.WalkDir(from, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if name == ".git" || name == "build" {
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		target := filepath.Join(to, name)
		if entry.IsDir() {
			return os.MkdirAll(target, 0o755)
		}
		if entry.Type()&fs.ModeSymlink != 0 {
			linked, err := os.Readlink(path)
			if err != nil {
				return err
			}
			return os.Symlink(linked, target)
		}
		content, err := os.ReadFile(path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		} else if err != nil {
			return err
		}
		return os.WriteFile(target, content, 0o755)
	})
}

// checkModules expects a list of what a program of this repository is linked from: with one module, and without another.
func checkModules(t *testing.T, file, program, with, without string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var bom cdx.BOM
	if err := cdx.NewBOMDecoder(bytes.NewReader(text), cdx.BOMFileFormatJSON).Decode(&bom); err != nil {
		t.Fatal(err)
	}
	if name := bom.Metadata.Component.Name; !strings.HasSuffix(name, "/"+program) || bom.Metadata.Component.Version != "v1.2.3" {
		t.Errorf("%s tells of %s %s", file, name, bom.Metadata.Component.Version)
	}
	if bom.SerialNumber != "" || bom.Metadata.Timestamp != "" {
		t.Errorf("%s has a serial number or a time, which differ each time", file)
	}
	modules := map[string]cdx.Component{}
	for _, component := range *bom.Components {
		modules[component.Name] = component
	}
	if !strings.HasPrefix(modules["std"].Version, "go1.") || modules[with].Version == "" || modules[with].Hashes == nil {
		t.Errorf("%s doesn't tell of Go's own library, or of %s: %v", file, with, modules)
	}
	if _, ok := modules[without]; ok {
		t.Errorf("%s tells of %s, which isn't linked", file, without)
	}
}
