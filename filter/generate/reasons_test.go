package main

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

func TestEveryRefusalIsOnThePage(t *testing.T) {
	rows := gate.Table()
	got := reasonTables(rows)
	for _, want := range []string{"\n### breaker\n", "| `queue/full` | 503 (`statusCode.queueFull`) | `queue.max` requests wait already. |", "| `identity/missing` | 401, never retry | "} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "\n| `") - strings.Count(got, "\n| `x-spillway-reason`;"); n != len(rows) || strings.Contains(got, "| ?") {
		t.Errorf("%d rows of %d, or a status is unknown, in\n%s", n, len(rows), got)
	}
}
