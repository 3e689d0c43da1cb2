package limit

import (
	"fmt"
	"math"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/estimate"
)

// The tests here are a burst's: an adversary teaches short answers first, then sends as many requests at once as pass, and each
// of them answers as long as it can.

var learning = estimate.Start{PromptTokensPerByte: 0.25, OutputTokens: 256}

const (
	theModel = 1
	longest  = 16 * 256 // what is reckoned with where no bound is stated
)

// taught is what a worker knows when so many made-up subjects have answered with so many tokens.
func taught(subjects int, tokens int64) *estimate.Learned {
	l := new(estimate.Learned)
	for n := range subjects {
		for range 3 {
			l.LearnOutput(start, theModel, 2+uint64(n)<<33, tokens)
		}
	}
	return l
}

// burst is how many requests of one user pass at once, of an expectation that was learned. bound is their own, 0 for none.
func burst(t fataler, l *estimate.Learned, admission string, quantity, bound int64) (passed int64) {
	t.Helper()
	const unitOf = `[{"name":"l","per":["user"],"unit":"completionTokens","quantity":%d,"window":"1h","admission":%q}]`
	w := newWorld(t, fmt.Sprintf(unitOf, quantity, admission))
	length := l.Output(start, theModel, 2, bound, learning)
	r := with(request("mallory"), func(r *Request) {
		r.Estimate = Estimate{Output: length.Likely, OutputMost: length.Most, OutputBound: bound}
	})
	for !w.Admit(start, r, nil).Outcome.Refuses() {
		passed++
	}
	return passed
}

// documented is the bound that the package comment states.
func documented(admission string, quantity int64, length estimate.Length) int64 {
	most, likely := float64(length.Most), float64(length.Likely)
	n := float64(quantity) / likely
	if most > likely {
		n = math.Log(most/likely) / math.Log(1+(most-likely)/float64(quantity))
	}
	if admission == "strict" {
		return max(int64(n), 1)
	}
	return int64(math.Ceil(n))
}

// A burst passes a limit by a stated multiple, whatever was learned before, and whoever taught it.
func TestABurstIsBoundedWhateverWasLearned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := taught(rapid.IntRange(0, 12).Draw(t, "teachers"), rapid.Int64Range(0, 20_000).Draw(t, "tokens"))
		admission := rapid.SampledFrom([]string{"lenient", "strict"}).Draw(t, "admission")
		quantity := rapid.Int64Range(1, 200_000).Draw(t, "quantity")
		length := l.Output(start, theModel, 2, 0, learning)
		if length.Likely < 32 || length.Most < longest || length.Most > 128*length.Likely {
			t.Fatalf("an expectation of %+v", length)
		}
		passed, most := burst(t, l, admission, quantity, 0), documented(admission, quantity, length)
		if passed > most {
			t.Fatalf("%d requests pass, %d may; %+v", passed, most, length)
		}
		if simple := 4.9*float64(quantity)/float64(length.Most) + 4; float64(passed) > simple {
			t.Fatalf("%d requests pass, which is more than %.1f; %+v", passed, simple, length)
		}
	})
}

// With a bound of its own, a strict limit is never passed, and a lenient one by less than one request.
func TestABurstOfStatedBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := taught(rapid.IntRange(0, 12).Draw(t, "teachers"), rapid.Int64Range(0, 20_000).Draw(t, "tokens"))
		quantity := rapid.Int64Range(1, 50_000).Draw(t, "quantity")
		bound := rapid.Int64Range(max(quantity/500, 1), max(quantity/500, 20_000)).Draw(t, "bound")
		if passed := burst(t, l, "strict", quantity, bound); passed*bound > quantity {
			t.Fatalf("strict: %d requests of %d pass %d", passed, bound, quantity)
		}
		length := l.Output(start, theModel, 2, bound, learning)
		passed := burst(t, l, "lenient", quantity, bound)
		if most := documented("lenient", quantity, length); passed > most {
			t.Fatalf("lenient: %d requests of %d pass %d, %d may; %+v", passed, bound, quantity, most, length)
		}
		if bound <= 32 && (passed-1)*bound >= quantity {
			t.Fatalf("lenient: %d requests of %d pass %d by more than one", passed, bound, quantity)
		}
	})
}

// The table of docs/security.md.
func TestHowManyAnswersABurstGets(t *testing.T) {
	for _, test := range []struct {
		quantity                     int64
		fresh, freshStrict           int64 // nothing was learned, or by too few
		taught, taughtStrict         int64 // several subjects taught answers of a token
		honest, bounded, bounded4096 int64 // 300 tokens were learned; strict with max_tokens 300; lenient with max_tokens 4096
	}{
		{300, 2, 1, 2, 1, 1, 1, 2},
		{1_000, 2, 1, 3, 2, 2, 3, 2},
		{10_000, 9, 8, 15, 14, 9, 33, 9},
		{100_000, 74, 73, 122, 121, 71, 333, 74},
		{1_000_000, 723, 722, 1193, 1192, 690, 3333, 723},
	} {
		short, usual := taught(8, 1), taught(8, 300)
		none := new(estimate.Learned)
		q := test.quantity
		name := fmt.Sprintf("%d: ", q)
		expect(t, name+"lenient", burst(t, none, "lenient", q, 0), test.fresh)
		expect(t, name+"strict", burst(t, none, "strict", q, 0), test.freshStrict)
		expect(t, name+"lenient, one teacher", burst(t, taught(1, 1), "lenient", q, 0), test.fresh)
		expect(t, name+"lenient, taught", burst(t, short, "lenient", q, 0), test.taught)
		expect(t, name+"strict, taught", burst(t, short, "strict", q, 0), test.taughtStrict)
		expect(t, name+"lenient, honest", burst(t, usual, "lenient", q, 0), test.honest)
		expect(t, name+"strict, bounded", burst(t, usual, "strict", q, 300), test.bounded)
		expect(t, name+"lenient, bounded", burst(t, none, "lenient", q, longest), test.bounded4096)
	}
}

// A million tokens a minute are not wasted by caution: answers of 1,000 tokens that take 15 s need 250 at once.
func TestHeavyUsersHaveRoom(t *testing.T) {
	for _, test := range []struct{ quantity, tokens, atOnce int64 }{
		{100_000, 300, 20}, {100_000, 300, 60}, {100_000, 1000, 30}, {1_000_000, 1000, 250}, {10_000_000, 300, 5000},
	} {
		for _, admission := range []string{"lenient", "strict"} {
			if passed := burst(t, taught(6, test.tokens), admission, test.quantity, 0); passed < test.atOnce {
				t.Errorf("%s, %d: %d answers of %d tokens pass at once, want %d", admission, test.quantity, passed, test.tokens, test.atOnce)
			}
		}
	}
}
