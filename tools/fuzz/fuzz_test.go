package main

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, folder, file, text string) {
	t.Helper()
	if err := os.MkdirAll(folder, 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, file), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFindsTheTargetsOfAllPackages(t *testing.T) {
	root := t.TempDir()
	write(t, filepath.Join(root, "b"), "b_test.go", "package b\n\nfunc FuzzY(f *testing.F) {}\n\nfunc FuzzX(f *testing.F) {}\n\nfunc TestZ(t *testing.T) {}\n")
	write(t, filepath.Join(root, "a"), "a_test.go", "package a\n\n// func FuzzNot is none.\nfunc FuzzA(f *testing.F) {}\n")
	write(t, filepath.Join(root, "a"), "a.go", "package a\n\nfunc FuzzNeither(f *testing.F) {}\n")
	for only, want := range map[string][]string{"": {"FuzzA", "FuzzX", "FuzzY"}, "b Fuzz": {"FuzzX", "FuzzY"}, "X$": {"FuzzX"}, "none": nil} {
		targets, err := find(only, []string{root})
		var names []string
		for _, found := range targets {
			names = append(names, found.name)
		}
		if err != nil || !slices.Equal(names, want) {
			t.Errorf("-only %q: %v, %v; want %v", only, names, err, want)
		}
	}
	if _, err := find("(", []string{root}); err == nil {
		t.Error("( is taken")
	}
}

func TestSaysHowFarItCameAndHowToFailAgain(t *testing.T) {
	failed := []byte("fuzz: elapsed: 3s, execs: 12 (4/sec), new interesting: 1 (total: 3)\nfuzz: elapsed: 1m6s, execs: 345 (7/sec), new interesting: 2 (total: 4)\n" +
		"    Failing input written to testdata/fuzz/FuzzX/0a1b\n")
	if got, want := progress(failed), "345 executions in 1m6s, 2 inputs that reach something new (4 in all)"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if got := progress([]byte("it does not compile")); got != "it did not begin" {
		t.Error(got)
	}
	x := target{"filter/x", "FuzzX"}
	if got := again(x, failed); !strings.Contains(got, "go -C filter/x test -run '^FuzzX$/^0a1b$' .") || !strings.Contains(got, "filter/x/testdata/fuzz/FuzzX/0a1b") {
		t.Error(got)
	}
	if got := again(x, nil); !strings.Contains(got, "go -C filter/x test -run '^FuzzX$' .") {
		t.Error(got)
	}
}

// It goes through all targets; the first that fails is the last, and is told of.
func TestStopsAtTheFirstFailure(t *testing.T) {
	root := t.TempDir()
	write(t, root, "go.mod", "module x\n\ngo 1.26\n")
	for name, body := range map[string]string{"a": "", "b": `if len(b) > 3 { t.Fatal("a fault") }`, "c": ""} {
		write(t, filepath.Join(root, name), "x_test.go", "package x\n\nimport \"testing\"\n\nfunc FuzzX(f *testing.F) {\n"+
			"\tf.Add([]byte(\"seed\"))\n\tf.Fuzz(func(t *testing.T, b []byte) { "+body+" })\n}\n")
	}
	targets, err := find("", []string{root})
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		targets []target
		want    bool
	}{{targets[:1], true}, {targets, false}} {
		var said strings.Builder
		r := &runner{out: &said, time: 100 * time.Millisecond, cpus: 1}
		if got := r.all(t.Context(), test.targets, 1); got != test.want {
			t.Errorf("%v: %v", test.targets, said.String())
		}
		if text := said.String(); !strings.Contains(text, filepath.Join(root, "a")+" FuzzX: ") || strings.Contains(text, "a fault") == test.want ||
			strings.Contains(text, filepath.Join(root, "c")) {
			t.Errorf("it says:\n%s", text)
		}
	}
}
