package gate

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/config"
)

// The names of outcomes are an interface: the filter state and the metrics have them.
func TestOutcomesHaveTheirNames(t *testing.T) {
	for outcome, want := range map[Outcome]string{
		Allowed: "ALLOWED", Queued: "QUEUED", Shadowed: "SHADOW", Rejected: "REJECTED", Open: "OPEN", HalfOpen: "HALF_OPEN",
		FellBack: "FALLBACK", Cancelled: "CANCELLED", Faulted: "FAULT",
	} {
		if got := outcome.String(); got != want {
			t.Errorf("%d is %s, want %s", outcome, got, want)
		}
		if refuses := want == "REJECTED" || want == "OPEN" || want == "HALF_OPEN"; outcome.Refuses() != refuses {
			t.Errorf("%s refuses: %v", want, outcome.Refuses())
		}
	}
}

func TestTextsLiveInTheVerdict(t *testing.T) {
	var text Text
	for _, want := range []string{"", "qps_56_over_30", strings.Repeat("x", 47)} {
		if text.Set([]byte(want)); text.String() != want || string(text.Append([]byte("x"))) != "x"+want {
			t.Errorf("%q, want %q", text.String(), want)
		}
	}
	if text.Set([]byte(strings.Repeat("x", 300))); len(text.String()) != 47 {
		t.Errorf("%q is not cut", text.String())
	}
	b := []byte("qps_56_over_30")
	if n := testing.AllocsPerRun(100, func() { text.Set(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestWhatALimitHasLeft(t *testing.T) {
	limit := &config.Limit{Burst: 300}
	for _, test := range []struct {
		limit    *config.Limit
		measured float64
		want     int64
	}{{nil, 5, 0}, {limit, Absent, 0}, {limit, 12, 288}, {limit, 304, 0}} {
		v := Verdict{Limit: test.limit, Measured: test.measured, Reset: 7}
		if h := v.Left(); h.Limit != test.limit || h.Remaining != test.want || h.Reset != 7 {
			t.Errorf("%+v: %+v", test, h)
		}
	}
}
