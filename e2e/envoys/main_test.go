package main

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

func TestATableSaysYesWhereAllTestsOfAnAreaPassed(t *testing.T) {
	t.Parallel()
	events := `{"Action":"run","Package":"p","Test":"TestStatus"}
{"Action":"pass","Package":"p","Test":"TestStatus"}
{"Action":"output","Package":"p","Test":"TestTokens","Output":"because\n"}
{"Action":"fail","Package":"p","Test":"TestTokens"}
{"Action":"pass","Package":"q","Test":"TestQueue"}
{"Action":"output","Package":"q","Test":"TestQueue","Output":"all is well\n"}
{"Action":"fail","Package":"p"}
`
	var shown strings.Builder
	passed, err := results(strings.NewReader(events), &shown)
	if err != nil {
		t.Fatal(err)
	}
	if shown.String() != "because\n" {
		t.Errorf("it shows %q, want what the failed test said", shown.String())
	}
	if failed := missing(passed); slices.Contains(failed, "TestStatus") || !slices.Contains(failed, "TestTokens") {
		t.Errorf("to be tried once more: %v, want TestTokens and not TestStatus", failed)
	}
	text := table([]string{"1", "2"}, map[string]map[string]bool{"1": passed})
	for _, want := range []string{"| Envoy | 1 | 2 |\n|---|---|---|\n", "| queue, priorities, slots | yes | **no** |", "dashboard | **no** | **no** |"} {
		if !strings.Contains(text, want) {
			t.Errorf("the table lacks %q:\n%s", want, text)
		}
	}
	if _, err := results(strings.NewReader("no JSON"), &shown); err == nil {
		t.Error("what is no output of go test -json is taken")
	}
}

// Each test of the table is there, by that name, and the page's table is of the Makefile's versions and of these areas.
func TestTheTableIsOfTheseTestsAndVersions(t *testing.T) {
	t.Parallel()
	var sources strings.Builder
	for _, folder := range packages {
		files, err := filepath.Glob(filepath.Join("..", folder, "*_test.go"))
		if err != nil || len(files) == 0 {
			t.Fatalf("%s has no tests: %v", folder, err)
		}
		for _, file := range files {
			sources.WriteString(read(t, file))
		}
	}
	shown := read(t, harness.InRepository(t, page))
	for _, a := range areas {
		if !strings.Contains(shown, "\n| "+a.what+" |") {
			t.Errorf("%s lacks the row %q: run `make test-envoys`", page, a.what)
		}
		for _, test := range a.tests {
			if !strings.Contains(sources.String(), "\nfunc "+test+"(t *testing.T)") {
				t.Errorf("there is no test %s", test)
			}
		}
	}
	makefile := read(t, harness.InRepository(t, "Makefile"))
	match := regexp.MustCompile(`(?m)^ENVOYS := (.*)$`).FindStringSubmatch(makefile)
	if match == nil {
		t.Fatal("the Makefile has no ENVOYS")
	}
	current := regexp.MustCompile(`(?m)^ENVOY_VERSION := (.*)$`).FindStringSubmatch(makefile)[1]
	versions := strings.Fields(strings.Replace(match[1], "$(ENVOY_VERSION)", current, 1))
	if heading := "\n| Envoy | " + strings.Join(versions, " | ") + " |\n"; !strings.Contains(shown, heading) {
		t.Errorf("%s lacks the heading %q: run `make test-envoys`", page, heading)
	}
}

func TestTheTableIsPutIntoItsPlace(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "page.md")
	if err := os.WriteFile(file, []byte("a\n"+begin+"old\n"+end+"b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := write(file, "new\n"); err != nil {
		t.Fatal(err)
	}
	if got, want := read(t, file), "a\n"+begin+"new\n"+end+"b\n"; got != want {
		t.Errorf("the page is %q, want %q", got, want)
	}
	if err := write(os.DevNull, "new\n"); err == nil {
		t.Error("a page without a place is taken")
	}
}

func read(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
