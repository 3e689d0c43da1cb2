package securitytest

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/e2e/support/harness"
)

// Who may say that he is urgent is said once in the log where that is everybody; where it is configured, the others' word counts for
// nothing.
func TestWhoMaySetThePriority(t *testing.T) {
	t.Parallel()
	const notice = "the header x-priority is believed from everybody"
	g := start(t, harness.Options{Concurrency: 4, Config: `{}`}, completes(76))
	sent := 0
	priority := func(headers ...string) string {
		g.send(t, "POST", chatPath, hello, append(headers, "x-priority: URGENT")...)
		sent++
		return g.AccessLog(sent)[sent-1].Text("priority")
	}
	if got := priority(); got != "URGENT" {
		t.Errorf("by default: %s", got)
	}
	if n := strings.Count(g.Logs(), notice); n != 1 {
		t.Errorf("the log says it %d times, want once", n)
	}
	g.configure(t, `{"priority":{"trust":[{"match":{"tenants":["web"]}}]}}`)
	if got := priority("x-tenant-id: web"); got != "URGENT" {
		t.Errorf("of a trusted one: %s", got)
	}
	if got := priority("x-tenant-id: other"); got != "NORMAL" {
		t.Errorf("of a stranger: %s", got)
	}
	g.configure(t, `{"priority":{"trust":[],"default":"low"}}`)
	if got := priority("x-tenant-id: web"); got != "LOW" {
		t.Errorf("of one among nobody: %s", got)
	}
	if n := strings.Count(g.Logs(), notice); n != 1 {
		t.Errorf("the log says it %d times in the end, want once", n)
	}
}
