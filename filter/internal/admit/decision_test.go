package admit

import (
	"maps"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// decided is the part of the filter state that tells of the decision.
func (x *exchange) decided() map[string]string {
	record := map[string]string{}
	for name, value := range x.properties {
		if name, is := strings.CutPrefix(name, "spillway."); is && name != "priority" {
			record[name] = value
		}
	}
	return record
}

// Whatever decides, the record says what, why, by which numbers, and whether to try again.
func TestTheRecordOfADecision(t *testing.T) {
	t.Parallel()
	ask := func(h *host) *exchange {
		x := h.start("ada", false)
		x.body(`{"model":"m","max_tokens":400}`, true)
		return x
	}
	for _, test := range []struct {
		name, configuration string
		before              int // requests that are served first
		want                map[string]string
	}{
		{"nothing to say", `{}`, 0, map[string]string{"decision": "ALLOWED"}},
		{
			"a limit", `{"requestHold":"stopIteration",` + seedLimits + `}`, 4,
			map[string]string{
				"decision": "REJECTED", "gate": "limits", "reason": "tokens_exceeded", "limit": "u", "subject": "user=ada",
				"measured": "304", "threshold": "300", "retryable": "true", "retry.ms": "48001",
			},
		},
		{
			"a limit in shadow", `{"requestHold":"stopIteration","mode":"shadow",` + seedLimits + `}`, 4,
			map[string]string{
				"decision": "SHADOW", "gate": "limits", "reason": "tokens_exceeded", "limit": "u", "subject": "user=ada",
				"measured": "304", "threshold": "300", "retryable": "true", "retry.ms": "48001",
			},
		},
		{
			"more than there ever is", `{"requestHold":"stopIteration",` + strings.Replace(seedLimits, `}]`, `,"admission":"strict"}]`, 1) + `}`, 0,
			map[string]string{
				"decision": "REJECTED", "gate": "limits", "reason": "request_too_large", "limit": "u", "subject": "user=ada",
				"measured": "0", "threshold": "300", "retryable": "false",
			},
		},
		{
			"the caller", `{"identity":{"missing":"reject","tenant":{"headers":["x-tenant-id"]}},"limits":[{"name":"t","per":["tenant"],"unit":"requests","quantity":1,"window":"1h"}]}`, 0,
			map[string]string{"decision": "REJECTED", "gate": "identity", "reason": "missing", "retryable": "false"},
		},
		{
			"the first gate's shadow",
			`{"mode":"shadow","identity":{"missing":"reject","tenant":{"headers":["x-tenant-id"]}},"limits":[{"name":"t","per":["tenant"],"unit":"requests","quantity":1,"window":"1h"}]}`, 1,
			map[string]string{"decision": "SHADOW", "gate": "identity", "reason": "missing"},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			h := newHost(t, test.configuration, recordtest.NewMemory())
			for range test.before {
				ask(h).answer(used(5, 76))
			}
			if got := ask(h).decided(); !maps.Equal(got, test.want) {
				t.Errorf("got  %v\nwant %v", got, test.want)
			}
		})
	}
}

// A number that is none, or none that text can hold, is left out.
func TestNumbersOfADecision(t *testing.T) {
	t.Parallel()
	for number, want := range map[float64]string{0: "0", 304: "304", 0.91234567: "0.9123", gate.Absent: "", 1e15: "1000000000000000",
		0.05: "0.05", 1250.5: "1250.5", 7.0001: "7.0001", 7.00001: "7", 0.99999: "1", 1e9: "1000000000", -2.5: "-2.5"} {
		if got := string(appendDecimal(nil, number)); got != want {
			t.Errorf("%v is written %q, want %q", number, got, want)
		}
	}
}
