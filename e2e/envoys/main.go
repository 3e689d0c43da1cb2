// Command envoys runs those tests that matter most to who runs another Envoy than this repository's, on each of the Envoys that its arguments are
// the versions of, and writes docs/install.md's table of what works where. `make test-envoys` fetches them, builds the filter, and runs it.
package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
	"github.com/spillway-proxy/spillway/internal/docpages"
)

// area is what an operator asks for, and the tests that show it.
type area struct {
	what  string
	tests []string
}

var areas = []area{
	{"limits of JSON answers and of streams; requests held by `stopIteration`, `bufferFilter` and not at all", []string{"TestAQuotaOf300TokensHoldsFourAnswersOf76"}},
	{"the shipped files as they are, the filter's configuration in Envoy's own YAML", []string{"TestTheBootstrapRunsAsItIs", "TestEveryExampleRunsInEnvoysYAML", "TestNumbersInYAML", "TestTheFleetsBootstrapRunsAsItIs"}},
	{"usage, identity, access log; a new configuration while it runs", []string{"TestOneEnvoyUnderManyConfigurations"}},
	{"queue, priorities, slots", []string{"TestQueue"}},
	{"refusals, and Envoy's own errors, in each dialect", []string{"TestARefusalSpeaksTheDialectOfItsRequest", "TestEnvoysOwnErrorsSpeakTheDialect"}},
	{"websockets", []string{"TestWebsockets", "TestWebsocketsThatAreNotAllowed"}},
	{"admin surface, overrides, dashboard", []string{"TestStatus", "TestTokens", "TestOverrides", "TestThePageThroughEnvoy"}},
	{"a new VM after a crash (`FAIL_RELOAD`)", []string{"TestADeadVMGivesBackWhatItNeverSent"}},
}

// packages are where the tests are.
var packages = []string{"./test/envoytest", "./test/queuetest", "./test/dialecttest", "./test/admintest", "./test/pagetest", "./test/securitytest", "./test/fleettest"}

// The table lies between these, in this page.
const (
	page  = "docs/install.md"
	begin = "<!-- envoys:begin -->\n"
	end   = "<!-- envoys:end -->\n"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "envoys:", err)
		os.Exit(1)
	}
}

// run tries the versions, one after another. An error says what failed; the table is written nevertheless.
func run(versions []string) error {
	root, err := envoyproc.Root()
	if err != nil {
		return err
	}
	if len(versions) == 0 {
		return errors.New("want versions of Envoy as arguments, such as 1.40.0")
	}
	passed := map[string]map[string]bool{}
	var failures []error
	for _, version := range versions {
		fmt.Println("Envoy", version)
		tests, err := try(version)
		if err != nil {
			return err
		}
		passed[version] = tests
		for _, a := range areas {
			fmt.Printf("  %-5s %s\n", word(a, tests), a.what)
			if word(a, tests) != "yes" {
				failures = append(failures, fmt.Errorf("on Envoy %s: %s", version, a.what))
			}
		}
	}
	return errors.Join(append(failures, write(filepath.Join(root, page), table(versions, passed)))...)
}

// try runs the tests on one Envoy, and says of each whether it passed. What failed beside all others is tried once more, with what else failed alone: a machine that has
// too much to do is no fault of an Envoy's.
func try(version string) (passed map[string]bool, err error) {
	binary := filepath.Join(envoyproc.Cached("envoy-"+version), "envoy", "_bin", "envoy")
	if _, err := os.Stat(binary); err != nil {
		return nil, fmt.Errorf("no Envoy %s: run `make envoy ENVOY_VERSION=%s`: %w", version, version, err)
	}
	if passed, err = runTests(binary, missing(nil)); err != nil {
		return nil, err
	}
	failed := missing(passed)
	if len(failed) == 0 {
		return passed, nil
	}
	fmt.Println("  once more:", strings.Join(failed, " "))
	again, err := runTests(binary, failed, "-p=1")
	maps.Copy(passed, again)
	return passed, err
}

// missing are the tests that haven't passed.
func missing(passed map[string]bool) (tests []string) {
	for _, a := range areas {
		for _, test := range a.tests {
			if !passed[test] {
				tests = append(tests, test)
			}
		}
	}
	return tests
}

// runTests runs tests on an Envoy, and says which passed.
func runTests(binary string, tests []string, flags ...string) (passed map[string]bool, err error) {
	arguments := slices.Concat([]string{"test", "-json", "-count=1", "-timeout=60m", "-run", "^(" + strings.Join(tests, "|") + ")$"}, flags, packages)
	command := exec.Command("go", arguments...)
	command.Env = append(os.Environ(), "ENVOY="+binary)
	var output bytes.Buffer
	command.Stdout, command.Stderr = &output, os.Stderr
	var exit *exec.ExitError
	if err := command.Run(); err != nil && !errors.As(err, &exit) {
		return nil, fmt.Errorf("run the tests: %w", err)
	}
	return results(&output, os.Stdout)
}

// results reads what go test -json writes, and shows what tests that failed have said.
func results(output io.Reader, show io.Writer) (passed map[string]bool, err error) {
	passed = map[string]bool{}
	said := map[string][]string{}
	for decoder := json.NewDecoder(output); ; {
		var event struct{ Action, Package, Test, Output string }
		switch err := decoder.Decode(&event); {
		case errors.Is(err, io.EOF):
			return passed, nil
		case err != nil:
			return nil, fmt.Errorf("read what go test writes: %w", err)
		}
		test := event.Package + " " + event.Test
		switch event.Action {
		case "output":
			said[test] = append(said[test], event.Output)
		case "pass":
			passed[event.Test] = true
		case "fail":
			for _, line := range said[test] {
				_, _ = io.WriteString(show, line)
			}
		}
	}
}

// word is yes where all tests of an area have passed.
func word(a area, passed map[string]bool) string {
	if slices.ContainsFunc(a.tests, func(test string) bool { return !passed[test] }) {
		return "**no**"
	}
	return "yes"
}

func table(versions []string, passed map[string]map[string]bool) string {
	var b strings.Builder
	fmt.Fprintf(&b, "| Envoy | %s |\n|---|%s\n", strings.Join(versions, " | "), strings.Repeat("---|", len(versions)))
	for _, a := range areas {
		fmt.Fprintf(&b, "| %s |", a.what)
		for _, version := range versions {
			fmt.Fprintf(&b, " %s |", word(a, passed[version]))
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// write puts the table into the page.
func write(file, table string) error {
	text, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	replaced, ok := docpages.Replace(string(text), begin, end, table)
	if !ok {
		return fmt.Errorf("%s: want the lines %q and %q, between which the table belongs", file, begin, end)
	}
	return os.WriteFile(file, []byte(replaced), 0o600)
}
