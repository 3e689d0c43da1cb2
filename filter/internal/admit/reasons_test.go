package admit

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// refused are those that tests of this package have met, by their reasons.
var refused struct {
	sync.Mutex
	met map[string]bool
}

// TestMain finds, after all tests, the refusals of the operators' table (gate.Table) that none of them has met: they may not exist, or not
// as the table says.
func TestMain(m *testing.M) {
	status := m.Run()
	only := false
	for _, name := range []string{"test.run", "test.skip", "test.fuzz", "test.bench", "test.list"} {
		only = only || flag.Lookup(name).Value.String() != ""
	}
	if status == 0 && !only {
		for _, row := range gate.Table() {
			if name := row.Gate + "/" + row.Reason; !refused.met[name] {
				fmt.Fprintf(os.Stderr, "no test of this package is refused for %s\n", name)
				status = 1
			}
		}
	}
	os.Exit(status)
}

// isInTheTable holds a refusal against the operators' table.
func (h *host) isInTheTable(s *Stream) {
	r := s.Reply()
	h.Helper()
	name := header(r.Headers, "x-spillway-reason")
	// It is the admin surface's, the proxy's own, or the example's of docs/adding-a-gate.md.
	if name == "" || strings.HasPrefix(name, "proxy/") || strings.HasPrefix(name, "promptsize/") {
		return
	}
	meet(name)
	rows := gate.Table()
	at := slices.IndexFunc(rows, func(row gate.Row) bool { return row.Gate+"/"+row.Reason == name })
	if at < 0 {
		h.Errorf("%s is not in gate.Table", name)
		return
	}
	row := &rows[at]
	if text := s.decision.Text.String(); text != "" && !slices.ContainsFunc(row.Forms, func(known string) bool { return form(known) == form(text) }) {
		h.Errorf("%s is told as %s, and gate.Table has the forms %q", name, text, row.Forms)
	}
	if row.Gate == gate.Breaker && slices.ContainsFunc(h.cfg.Upstreams, func(u config.Upstream) bool { return u.Breaker.Fallback.Status != 0 }) {
		return // the answer is the configured one
	}
	never := header(r.Headers, "x-should-retry") == "false" && header(r.Headers, "retry-after") == ""
	if never != row.Never || header(r.Headers, "x-envoy-ratelimited") != "true" || r.Status != statusOf(row.Status, &h.cfg.StatusCode) {
		h.Errorf("%s has status %d and the headers %q, and in gate.Table status %s and that waiting helps: %v", name, r.Status, r.Headers, row.Status, !row.Never)
	}
}

// meet notes that a reason was met.
func meet(name string) {
	refused.Lock()
	defer refused.Unlock()
	if refused.met == nil {
		refused.met = map[string]bool{}
	}
	refused.met[name] = true
}

// form is a reason without its numbers, which differ from one time to the next.
func form(text string) string {
	parts := strings.Split(text, "_")
	for i, part := range parts {
		if part[0] >= '0' && part[0] <= '9' && part != "5xx" {
			parts[i] = "#"
		}
	}
	return strings.Join(parts, "_")
}

// statusOf is the status of a row.
func statusOf(key string, c *config.StatusCode) int {
	configured, is := map[string]int{"limits": c.Limits, "latency": c.Latency, "throttle": c.Throttle, "queueTimeout": c.QueueTimeout, "queueFull": c.QueueFull,
		"breaker": c.Breaker, "pressure": c.Pressure}[key]
	if is {
		return configured
	}
	status, _ := strconv.Atoi(key)
	return status
}

// What is said of a server that doesn't answer is no refusal, and stands on the operators' page as well.
func TestReasonsOfServersAreOnThePage(t *testing.T) {
	page := read(t, "../../../docs/reasons.md")
	reasons := regexp.MustCompile(`"upstream/[a-z_]+"`).FindAllString(read(t, "restate.go"), -1)
	if len(reasons) < 3 {
		t.Fatalf("found %q", reasons)
	}
	for _, reason := range reasons {
		if !strings.Contains(page, "`"+strings.Trim(reason, `"`)+"`") {
			t.Errorf("docs/reasons.md lacks %s", reason)
		}
	}
}
