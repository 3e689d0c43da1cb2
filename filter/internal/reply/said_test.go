package reply

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// What was said lately is said again, letter for letter as it would be if it were made anew, whichever limits refuse whichever models in whichever API.
func TestWhatIsSaidAgainIsTheSame(t *testing.T) {
	day := time.Hour * 24
	limits := []*config.Limit{limitOf(config.Requests), limitOf(config.CompletionTokens), limitOf(config.USD), {Name: "a", Unit: config.Inflight, Quantity: 4, Burst: 4},
		{Name: "m", Unit: config.TotalTokens, Quantity: 7, Burst: 9, Window: 30 * day, Calendar: config.CalendarMonth}, {Name: "u", Unit: config.Requests, Quantity: 5, Burst: 5, Window: 7 * time.Second}}
	models := []string{"", "llama-3", `a "model" in \ quotes`, "größer\n", ", used 1, requested 1. Please try again in 1s.", strings.Repeat("m", maxShown), strings.Repeat("m", maxShown) + "n",
		strings.Repeat("m", maxShown) + "o", "\xff"}
	rapid.Check(t, func(t *rapid.T) {
		var known Said
		again := new(Reply)
		for range rapid.IntRange(1, 60).Draw(t, "refusals") {
			l := rapid.SampledFrom(limits).Draw(t, "limit")
			v := gate.Because(gate.Rejected, gate.Limits, rapid.SampledFrom([]string{l.Unit.Reason, l.Unit.Reason, gate.Contended, gate.Spent, gate.TooLarge, gate.FleetDown}).Draw(t, "reason"))
			v.Limit, v.Measured, v.Requested = l, float64(rapid.IntRange(0, 3).Draw(t, "used")), rapid.Int64Range(0, 3).Draw(t, "requested")
			v.Wait = rapid.SampledFrom([]time.Duration{0, 1, second, day, gate.Never}).Draw(t, "wait")
			about := About{Format: rapid.SampledFrom([]*Format{OpenAI, Anthropic, Gemini, &Dynamo}).Draw(t, "format"), Model: rapid.SampledFrom(models).Draw(t, "model"), Fleet: &FleetLimit{}}
			anew := new(Reply)
			anew.Refuse(&v, &about, &config.StatusCode{Limits: 429})
			about.Said = &known
			again.Refuse(&v, &about, &config.StatusCode{Limits: 429})
			if got, want := text(again), text(anew); got != want {
				t.Fatalf("got\n%s\nwant\n%s", got, want)
			}
		}
	})
}

// It is said again without being made anew, takes no memory, and what it takes is bounded.
func TestWhatWasSaidIsKept(t *testing.T) {
	var known Said
	r := new(Reply)
	v := denied(config.Requests, 300, 1, second, false)
	say := func(model string) bool {
		r.Refuse(&v, &About{Format: OpenAI, Model: model, Said: &known}, &config.StatusCode{Limits: 429})
		made := len(r.message) > 0
		r.message = r.message[:0]
		return !made
	}
	if say("m") || !say("m") || say("n") || !say("m") || !say("n") {
		t.Error("it isn't known what was said")
	}
	if n := testing.AllocsPerRun(100, func() { say("m"); say("n") }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for i := range 3 * len(known.kept) {
		say(fmt.Sprint("m", i))
	}
	if say("m") || !say(fmt.Sprint("m", 3*len(known.kept)-1)) {
		t.Error("it isn't the latest that are kept")
	}
}
