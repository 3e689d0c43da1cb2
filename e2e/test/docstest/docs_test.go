// Package docstest runs the commands of README.md, CONTRIBUTING.md and docs/, but for those that a comment before them gives to another test,
// or to hands: <!-- tested by TestX -->, <!-- by hand: why -->.
package docstest

import (
	"context"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
	"github.com/spillway-proxy/spillway/e2e/support/llmsim"
	"github.com/spillway-proxy/spillway/internal/docpages"
)

const token = "the operators' token"

// configuration is what make run has.
const configuration = `{"requestHold": "stopIteration", "upstreams": [{"name": "llm", "pressure": {"mode": "shadow"}}],
	"limits": [{"name": "user-completion-tokens", "per": ["user"], "unit": "completionTokens", "quantity": 300, "window": "1h"}]}`

func TestCommandsOfThePages(t *testing.T) {
	t.Parallel()
	root := harness.InRepository(t, ".")
	pages, err := docpages.Read(root + "/") // through the link, so that go test notices when a page changes
	if err != nil {
		t.Fatal(err)
	}
	ran := 0
	for _, p := range pages {
		if folder := filepath.Dir(p.File); p.File != "README.md" && p.File != "CONTRIBUTING.md" && folder != "docs" {
			continue
		}
		if !slices.ContainsFunc(p.Blocks, func(b docpages.Block) bool { return b.By == "" }) {
			continue
		}
		ran++
		t.Run(p.File, func(t *testing.T) {
			t.Parallel()
			runPage(t, root, p)
		})
	}
	if ran < 2 {
		t.Errorf("%d pages with commands were found, want README.md and CONTRIBUTING.md at least", ran)
	}
}

// runPage runs a page's commands in their order, against an Envoy of its own.
func runPage(t *testing.T, root string, p docpages.Page) {
	var e *harness.Envoy
	for _, b := range p.Blocks {
		if b.By != "" {
			continue
		}
		for _, c := range b.Commands() {
			if e == nil && strings.Contains(c.Text, "127.0.0.1:") {
				e = start(t)
			}
			output := run(t, root, e, c.Text)
			for _, line := range c.Output {
				if line != "" && line != "..." && !strings.Contains(loose(output), loose(line)) {
					t.Errorf("%s:%d: %s\nprints\n%s\nand lacks the line\n%s", p.File, c.Line, c.Text, output, line)
				}
			}
		}
	}
}

// start starts what make run does.
func start(t *testing.T) *harness.Envoy {
	_, address := harness.Simulate(t, "127.0.0.1", llmsim.Options{})
	surface := fmt.Sprintf(`{"mode": "off", "admin": {"path": "/spillway", "tokens": ["sha256:%x"]}}`, sha256.Sum256([]byte(token)))
	return harness.Start(t, harness.Options{Config: configuration, Surface: surface, Upstream: address, Concurrency: 2})
}

// run runs a command where its reader would, with the ports of make run made this Envoy's.
func run(t *testing.T, root string, e *harness.Envoy, command string) string {
	t.Helper()
	if e != nil {
		host := func(url string) string { return strings.TrimPrefix(url, "http://") }
		command = strings.NewReplacer("127.0.0.1:10000", host(e.URL), "127.0.0.1:10001", host(e.Surface), "127.0.0.1:9901", host(e.AdminURL)).Replace(command)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute) // some compile
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", command)
	shell.Dir = root
	shell.Env = append(os.Environ(), "TOKEN="+token, "LC_ALL=C")
	output, err := shell.CombinedOutput()
	if err != nil || strings.Contains(string(output), `"errors":[`) {
		t.Errorf("%s\nends with %v, and prints\n%s", command, err, output)
	}
	return string(output)
}

// times are what differs from one time to the next.
var times = regexp.MustCompile(`(retry-after(?:-ms)?: |again in )[0-9hms.]+`)

func loose(text string) string { return times.ReplaceAllString(text, "${1}some time") }
