package admit

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"

	"github.com/spillway-proxy/spillway/filter/internal/admit/testdata/promptsize"
)

// The example of docs/adding-a-gate.md, as the page has it, but for what a real gate has in other packages: elsewhere says what stands for
// these here.
var elsewhere = strings.NewReplacer("config.PromptSize", "PromptSize", "gate.PromptSize, gate.TooLong", "Name, TooLong",
	"gate.PromptSize", "promptsize.Name", "u.promptSize", "promptSizes[u]")

var promptSizes = map[*upstream]*promptsize.Gate{} // a field of upstreamGates

func (e *Engine) askPromptSize(s *Stream, now clock.Moment, v *gate.Verdict) {
	if u := s.upstream; u != nil && promptSizes[u] != nil {
		*v = promptSizes[u].Judge(e.accountant.Expect(&s.exchange, now).Prompt, s.caller.Priority)
	}
}

func (e *Engine) listPromptSize(sizes bool) {
	if sizes {
		e.gates = append(e.gates, gatekeeper{name: promptsize.Name, ask: (*Engine).askPromptSize, whole: true})
	}
}

// What the page says that a gate has for nothing: its refusal ends the request at all gates, and stands in the record and in the metrics;
// in shadow mode it stands there, too, and the request passes.
func TestTheExampleOfANewGate(t *testing.T) {
	long := `{"model":"m","messages":[{"role":"user","content":"` + strings.Repeat("word ", 1000) + `"}]}`
	for _, mode := range []config.Mode{config.Enforce, config.Shadow} {
		h := newHost(t, `{"requestHold":"stopIteration",`+seedLimits+`,"upstreams":[{"name":"up","pressure":{"mode":"shadow"}}]}`, recordtest.NewMemory())
		c := promptsize.PromptSize{Mode: mode, Tokens: 100, Priorities: []config.Priority{config.Low}}
		promptSizes[h.upstreams[0]] = promptsize.New(&c, h.cfg.Mode)
		h.listPromptSize(true) // behind the limits, so that there is something to give back
		h.atDecision, h.needsWhole = len(h.Engine.gates), true
		say := func(priority, body string) *exchange {
			x := h.start("eve", false, [2]string{"x-priority", priority})
			x.body(body, true)
			return x
		}
		for _, x := range []*exchange{say("low", chatBody), say("normal", long)} {
			expect(t, "one that may go", x.decision.Outcome, gate.Allowed)
			x.answer(used(1, 1))
		}
		x := say("low", long)
		expect(t, "its gate", x.properties["spillway.gate"]+"/"+x.properties["spillway.reason"], "promptsize/prompt_too_long")
		expect(t, "its threshold", x.properties["spillway.threshold"], "100")
		expect(t, "counted as refused", h.counts["requests REJECTED promptsize LOW other"] == 1, mode == config.Enforce)
		expect(t, "counted in shadow mode", h.counts["requests SHADOW promptsize LOW other"] == 1, mode == config.Shadow)
		if expect(t, "refused", x.Refused(), mode == config.Enforce); x.Refused() {
			expect(t, "the limit's balance", h.balance("eve"), 298)
			expect(t, "the reason", header(x.last.Reply.Headers, "x-spillway-reason"), "promptsize/prompt_too_long")
		}
	}
}

// The page's code is what is tried above, and the files, functions and tests that it names exist.
func TestThePageOnNewGatesIsTrue(t *testing.T) {
	const root = "../../../"
	page := read(t, root+"docs/adding-a-gate.md")
	sources := map[string]string{}
	for _, folder := range []string{"filter", "config"} {
		err := filepath.WalkDir(root+folder, func(name string, _ fs.DirEntry, err error) error {
			if strings.HasSuffix(name, ".go") {
				sources[name] = read(t, name)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	tried := plain(sources[root+"filter/internal/admit/testdata/promptsize/promptsize.go"]) + plain(read(t, "newgate_test.go"))
	blocks := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(page, -1)
	for _, block := range blocks {
		if !strings.Contains(tried, plain(elsewhere.Replace(block[1]))) {
			t.Errorf("this is not what is tried:\n%s", block[1])
		}
	}
	named := regexp.MustCompile("`([^`\n]+)`").FindAllStringSubmatch(regexp.MustCompile("(?s)```.*?```").ReplaceAllString(page, ""), -1)
	if len(blocks) < 3 || len(named) < 20 {
		t.Fatalf("%d blocks and %d names", len(blocks), len(named))
	}
	for _, name := range named {
		if !exists(root, name[1], sources) {
			t.Errorf("there is no %s", name[1])
		}
	}
}

// exists says that there is the file, function or test of a name; of others that there is no telling.
func exists(root, name string, sources map[string]string) bool {
	function, is := strings.CutSuffix(name, "()")
	switch {
	case strings.Contains(name, "promptsize"):
		return true
	case is || regexp.MustCompile(`^Test\w+$`).MatchString(name):
		declared := regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + function + `\(`)
		for _, source := range sources {
			if declared.MatchString(source) {
				return true
			}
		}
		return false
	case strings.Contains(name, "/") && !strings.ContainsAny(name, " *"):
		_, err := os.Stat(filepath.Join(root, name))
		return err == nil
	}
	return true
}

// plain is code without its white space at the ends of lines.
func plain(code string) string {
	lines := strings.Split(code, "\n")
	for i := range lines {
		lines[i] = strings.TrimSpace(lines[i])
	}
	return strings.Trim(strings.Join(slices.DeleteFunc(lines, func(line string) bool { return line == "" }), "\n"), "\n")
}

func read(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
