package admit

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const (
	unbounded = `{"model":"mock","messages":[{"role":"user","content":"hi"}]}`
	strictOf  = `"limits":[{"name":"u","per":[%s],"unit":%q,"quantity":%d,"window":"1h","admission":"strict"}]`
)

// say sends a whole request of a user's.
func (h *host) say(user, body string) *exchange {
	x := h.start(user, false)
	if !x.Refused() {
		x.body(body, true)
	}
	return x
}

// final says that a request was told never to come back.
func (x *exchange) final() bool {
	return x.Refused() && x.decision.Wait == math.MaxInt64
}

// One subject's long answers, or its prompts that take more tokens than they have bytes, refuse nobody else.
func TestWhatOneTeachesRefusesNoStranger(t *testing.T) {
	long := `{"model":"mock","messages":[{"role":"user","content":"` + strings.Repeat("word ", 1600) + `"}]}`
	for _, test := range []struct {
		name, limits       string
		body               string // the stranger's
		prompt, completion int    // of the teacher's answers
	}{
		{"a long answer", fmt.Sprintf(strictOf, `"user"`, "completionTokens", 1000), unbounded, 9, 3000},
		{"a long answer, of both", fmt.Sprintf(strictOf, `"user"`, "totalTokens", 1000), unbounded, 9, 3000},
		{"a long prompt that is stored elsewhere", fmt.Sprintf(strictOf, `"user"`, "totalTokens", 100_000), long, 60_000, 9},
		{"a long prompt that is stored elsewhere, of prompts", fmt.Sprintf(strictOf, `"user"`, "promptTokens", 100_000), long, 60_000, 9},
	} {
		for _, hold := range []string{"stopIteration", "bufferFilter", "none"} {
			h := newHostOf(t, hold, test.limits)
			h.say("mallory", unbounded).answer(used(test.prompt, test.completion))
			for i := range 3 {
				x := h.say(fmt.Sprint("stranger", i), test.body)
				expect(t, test.name+", "+hold+": a stranger", x.last.Action, Continue)
				x.answer(used(9, 50))
			}
		}
	}
}

// An answer that is longer than the whole limit makes its own subject wait until its debt is paid, and no longer.
func TestOnesOwnLongAnswerDoesNotRefuseForGood(t *testing.T) {
	h := newHostOf(t, "stopIteration", fmt.Sprintf(strictOf, `"user"`, "completionTokens", 1000))
	h.say("ann", unbounded).answer(used(9, 3000))
	x := h.say("ann", unbounded)
	expect(t, "at once", x.Refused(), true)
	expect(t, "for good", x.final(), false)
	h.now += 3 * 3600 * second
	expect(t, "when its debt is paid", h.say("ann", unbounded).last.Action, Continue)
}

// Where all share a bucket, answers longer than it can only be let through one by one; they still are.
func TestASharedBucketServesAllInTheEnd(t *testing.T) {
	h := newHostOf(t, "stopIteration", fmt.Sprintf(strictOf, ``, "completionTokens", 1000))
	for i := range 10 {
		x := h.say(fmt.Sprint("user", i), unbounded)
		if x.Refused() {
			t.Fatalf("user %d: %s", i, x.last.Reply.Body)
		}
		x.answer(used(9, 3000))
		if x := h.say("next", unbounded); !x.Refused() || x.final() {
			t.Fatalf("while there is debt: %+v", x.last)
		}
		h.now += 3 * 3600 * second
	}
}

// Only what a request states is too large for good.
func TestAStatedBoundAboveTheLimitIsRefusedForGood(t *testing.T) {
	h := newHostOf(t, "stopIteration", fmt.Sprintf(strictOf, `"user"`, "completionTokens", 1000))
	expect(t, "1001", h.say("ann", `{"model":"mock","max_tokens":1001}`).final(), true)
	expect(t, "1000", h.say("ann", `{"model":"mock","max_tokens":1000}`).last.Action, Continue)
}

// Whatever was learned, from whomever: no request is told never unless its own bound is above the limit.
func TestAGuessNeverMeansNever(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]string{"completionTokens", "totalTokens", "promptTokens", "cost"}).Draw(t, "unit")
		admission := rapid.SampledFrom([]string{"strict", "lenient"}).Draw(t, "admission")
		limits := strings.Replace(fmt.Sprintf(strictOf, `"user"`, unit, 1000), "strict", admission, 1)
		h := newHost(t, `{"requestHold":"stopIteration",`+limits+`}`, recordtest.NewMemory())
		for range rapid.IntRange(1, 30).Draw(t, "requests") {
			bound := rapid.SampledFrom([]int{0, 0, 1, 100, 1000, 1001, 4000}).Draw(t, "bound")
			padding := rapid.SampledFrom([]int{0, 100, 10_000, 100_000}).Draw(t, "padding")
			body := fmt.Sprintf(`{"model":"mock","max_tokens":%d,"x":"%s"}`, bound, strings.Repeat("a", padding))
			if bound == 0 {
				body = fmt.Sprintf(`{"model":"mock","x":"%s"}`, strings.Repeat("a", padding))
			}
			x := h.say(fmt.Sprint("user", rapid.IntRange(0, 8).Draw(t, "user")), body)
			tooLarge := admission == "strict" && bound > 1000 && unit != "promptTokens" || admission == "strict" && unit == "cost" && bound > 250
			if x.Refused() && x.final() && !tooLarge {
				t.Fatalf("refused for good: %s", x.last.Reply.Body)
			}
			if x.Refused() {
				h.now += min(clock.Moment(x.decision.Wait), math.MaxInt64/2-h.now)
				continue
			}
			x.answer(used(rapid.IntRange(0, 1_000_000).Draw(t, "prompt"), rapid.IntRange(0, 1_000_000).Draw(t, "completion")))
		}
	})
}

// A token budget of an upstream: one subject's long answers do not make strangers wait for as much room.
func TestWhatOneTeachesHoldsNoStrangerUp(t *testing.T) {
	h := newHost(t, `{"requestHold":"stopIteration","upstreams":[{"name":"u","budget":{"tokens":6000,"window":"1m"}}]}`, recordtest.NewMemory())
	h.say("mallory", unbounded).answer(used(9, 5500))
	mallory := h.say("mallory", unbounded) // is expected to use it all
	expect(t, "the teacher", mallory.Waiting(), true)
	mallory.done()
	x := h.say("stranger", unbounded)
	expect(t, "a stranger", x.Waiting(), false)
	x.answer(used(9, 50))
}
