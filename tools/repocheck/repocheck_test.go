package main

import (
	"slices"
	"strings"
	"testing"
)

func TestCheckFile(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, file, source string
		want               []string // a part of each finding
	}{
		{"clean core", "filter/internal/bucket/bucket.go", "package bucket\nimport \"time\"\nvar d time.Duration", nil},
		{"the clock", "config/a.go", "package config\nimport \"time\"\nvar t = time.Now()", []string{"config/a.go:3: uses time.Now"}},
		{"the clock by another name", "config/a.go", "package config\nimport clock \"time\"\nvar t = clock.Since", []string{"time.Since"}},
		{"the clock in the binding", "filter/plugin/a.go", "package plugin\nimport \"time\"\nvar t = time.Now()", nil},
		{"the clock in a test", "config/a_test.go", "package config\nimport \"time\"\nvar t = time.Now()", nil},
		{"a goroutine", "filter/plugin/a.go", "package plugin\nfunc f() { go f() }", []string{"goroutine"}},
		{"a goroutine outside the filter", "gpuexporter/a.go", "package main\nfunc f() { go f() }", nil},
		{"os", "config/a.go", "package config\nimport \"os\"\nvar t = os.Args", []string{`imports "os"`}},
		{"os in a program of the core", "config/schema/main.go", "package main\nimport \"os\"\nvar t = os.Args", nil},
		{"the host in the core", "filter/internal/a/a.go", "package a\nimport _ \"" + host + "\"", []string{"calls to the host"}},
		{"the host elsewhere", "gpuexporter/a.go", "package main\nimport _ \"" + host + "\"", []string{"calls to the host"}},
		{"the host in the binding", "filter/plugin/a.go", "package plugin\nimport _ \"" + host + "\"", nil},
		{"too long", "e2e/a.go", "package e2e\n" + strings.Repeat("\n", maxLines), []string{"501 lines"}},
		{"just fits", "e2e/a.go", "package e2e\n" + strings.Repeat("\n", maxLines-1), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := checkFile(test.file, []byte(test.source))
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(test.want) {
				t.Fatalf("found %q, want %d findings", got, len(test.want))
			}
			for i, part := range test.want {
				if !strings.Contains(got[i], part) {
					t.Errorf("found %q, want it to say %q", got[i], part)
				}
			}
		})
	}
}

// module is a Wasm module that exports functions of these names, behind an unrelated section.
func module(names ...string) []byte {
	section := []byte{byte(len(names))}
	for _, name := range names {
		section = append(append(section, byte(len(name))), name...)
		section = append(section, 0, 1) // a function, index 1
	}
	text := append([]byte("\x00asm\x01\x00\x00\x00"), 1, 2, 0xff, 0xff)
	return append(append(text, exportSection, byte(len(section))), section...)
}

func TestCheckWasm(t *testing.T) {
	t.Parallel()
	good := []string{"_initialize", "proxy_abi_version_0_2_0", "proxy_on_memory_allocate"}
	for _, test := range []struct {
		name    string
		exports []string
		limit   int
		want    []string
	}{
		{"good", good, 1000, nil},
		{"too large", good, 10, []string{"more than 10"}},
		{"malloc", append(slices.Clone(good), "malloc"), 1000, []string{"exports malloc"}},
		{"no ABI", good[:1], 1000, []string{"proxy_abi_version_0_2_0", "proxy_on_memory_allocate"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			got, err := checkWasm("f.wasm", module(test.exports...), test.limit)
			if err != nil {
				t.Fatal(err)
			}
			if len(got) != len(test.want) {
				t.Fatalf("found %q, want %d findings", got, len(test.want))
			}
			for i, part := range test.want {
				if !strings.Contains(got[i], part) {
					t.Errorf("found %q, want it to say %q", got[i], part)
				}
			}
		})
	}
}

func TestCheckWasmRefusesWhatIsNotWhole(t *testing.T) {
	t.Parallel()
	whole := module("_initialize", "malloc")
	for length := range whole {
		if names, err := exportNames(whole[:length]); err == nil && len(names) == 2 {
			t.Errorf("the first %d of %d bytes were taken for the whole module", length, len(whole))
		}
	}
}
