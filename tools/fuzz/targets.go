package main

import (
	"cmp"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// target is a fuzz target.
type target struct{ folder, name string }

var declaration = regexp.MustCompile(`(?m)^func (Fuzz\w*)\(\w+ \*testing\.F\)`)

// find gives the targets below some folders, sorted, whose "folder name" a regular expression matches.
func find(only string, folders []string) (targets []target, err error) {
	wanted, err := regexp.Compile(only)
	if err != nil {
		return nil, fmt.Errorf("-only: %w", err)
	}
	for _, folder := range folders {
		err = filepath.WalkDir(folder, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			code, err := os.ReadFile(path)
			for _, found := range declaration.FindAllSubmatch(code, -1) {
				t := target{filepath.Dir(path), string(found[1])}
				if wanted.MatchString(t.folder + " " + t.name) {
					targets = append(targets, t)
				}
			}
			return err
		})
		if err != nil {
			return nil, err
		}
	}
	slices.SortFunc(targets, func(a, b target) int { return cmp.Or(cmp.Compare(a.folder, b.folder), cmp.Compare(a.name, b.name)) })
	return targets, nil
}

var (
	progressLine = regexp.MustCompile(`fuzz: elapsed: (\w+), execs: (\d+) .*new interesting: (\d+) \(total: (\d+)\)`)
	written      = regexp.MustCompile(`Failing input written to (\S+)`)
)

// progress reads from what go test has printed how far the fuzzing came.
func progress(text []byte) string {
	all := progressLine.FindAllSubmatch(text, -1)
	if len(all) == 0 {
		return "it did not begin"
	}
	last := all[len(all)-1]
	return fmt.Sprintf("%s executions in %s, %s inputs that reach something new (%s in all)", last[2], last[1], last[3], last[4])
}

// again says how a failure is brought about again.
func again(t target, text []byte) string {
	found := written.FindSubmatch(text)
	if found == nil {
		return fmt.Sprintf("Again: go -C %s test -run '^%s$' .", t.folder, t.name)
	}
	input := filepath.Base(string(found[1]))
	return fmt.Sprintf("Again: go -C %s test -run '^%s$/^%s$' .\nIts input is %s: keep it there, and it is tried by every test run.",
		t.folder, t.name, input, filepath.Join(t.folder, string(found[1])))
}
