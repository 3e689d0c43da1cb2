package main

import (
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
)

// tooLarge are packages that would cost the compiled filter hundreds of kilobytes, and so start-up time, or that can't
// work in it.
var tooLarge = []string{"encoding/json", "net", "net/http", "regexp", "testing", "text/template"}

// forTests are packages of the core that tests alone are linked with.
var forTests = []string{"filter/internal/sim", "filter/internal/record/recordtest"}

func isForTests(name string) bool {
	return slices.ContainsFunc(forTests, func(test string) bool { return strings.HasSuffix(name, "/"+test) })
}

// checkDeps looks at the packages that the filter and its core are linked from, the indirect ones included.
func checkDeps() (findings []string, err error) {
	filter, err := deps([]string{"GOOS=wasip1", "GOARCH=wasm"}, "./filter")
	if err != nil {
		return nil, err
	}
	for _, name := range tooLarge {
		if importers, ok := filter[name]; ok {
			findings = append(findings, fmt.Sprintf("the filter is linked with %q (imported by %s), which makes it slow to start: "+
				"do without", name, strings.Join(importers, ", ")))
		}
	}
	for name, importers := range filter {
		if isForTests(name) {
			findings = append(findings, fmt.Sprintf("the filter is linked with %q (imported by %s), which is for tests", name, strings.Join(importers, ", ")))
		}
	}
	core, err := deps(nil, "./config", "./filter/internal/...")
	if err != nil {
		return nil, err
	}
	for name, importers := range core {
		if name == host {
			findings = append(findings, fmt.Sprintf("the core is linked with %q (imported by %s): only filter/plugin may be", name, strings.Join(importers, ", ")))
		}
	}
	slices.Sort(findings)
	return findings, nil
}

// deps lists the packages that others are linked from, each with those that import it directly.
func deps(env []string, packages ...string) (map[string][]string, error) {
	args := append([]string{"list", "-deps", "-f", `{{.ImportPath}} {{join .Imports " "}}`}, packages...)
	command := exec.Command("go", args...)
	command.Env = append(os.Environ(), env...)
	command.Stderr = os.Stderr
	output, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("go %s: %w", strings.Join(args, " "), err)
	}
	importers := make(map[string][]string)
	for line := range strings.Lines(string(output)) {
		fields := strings.Fields(line)
		if _, ok := importers[fields[0]]; !ok {
			importers[fields[0]] = nil
		}
		for _, imported := range fields[1:] {
			importers[imported] = append(importers[imported], fields[0])
		}
	}
	return importers, nil
}
