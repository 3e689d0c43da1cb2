// Package price says what a request costs, in billionths of a dollar.
//
// The arithmetic is exact: tokens times the price of a million, added up in 128 bits, with the price of a request, and rounded once, at the end, to
// the nearest billionth, a half up. So what many requests cost differs from what they cost exactly by no more than half a billionth each, and one that is known
// in whole billionths is charged those.
//
// Each token is charged once, as the most special part that it is of: cached, written to a cache, audio, reasoning, else as what it is a part
// of. Where a report's parts are more than the whole, those named first count.
//
// All of it is pure, and knows no tokens but those it is given. A Table belongs to one configuration, is never changed, and is searched from
// its beginning: 300 names take less than a microsecond, 300 globs some ten.
package price

import (
	"math/bits"
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/config"
)

// Most is the greatest cost, in billionths: 4e9 dollars. What is above is cut to it.
const Most = int64(4e18)

// million is how many tokens have a price.
const million = 1_000_000

// Use is what a request has used, in tokens; none of it is below 0.
type Use struct {
	Prompt, Cached, CacheWrite, AudioPrompt int64
	Completion, Reasoning, AudioCompletion  int64
}

// Table is the prices of one configuration.
type Table struct{ models []Model }

// Model is what the models of one entry cost.
type Model struct {
	names       []string // of models, of which each is compared to those of its length alone
	globs       []string
	every       bool // it is for all models, whatever they are
	request     int64
	rates, high config.Rates // high: of prompts above so many tokens
	above       int64        // 0: it makes no difference
}

// New makes the table of a configuration.
func New(prices []config.Price) *Table {
	t := &Table{}
	for i := range prices {
		p := &prices[i]
		m := Model{every: slices.Contains(p.Models, "*"), request: max(p.Request, 0), rates: p.Rates}
		if p.Above != nil {
			m.above, m.high = p.Above.PromptTokens, over(p.Above.Rates, p.Rates)
			complete(&m.high)
		}
		complete(&m.rates)
		for _, glob := range p.Models {
			if strings.ContainsAny(glob, "*?") {
				m.globs = append(m.globs, glob)
			} else {
				m.names = append(m.names, glob)
			}
		}
		t.models = append(t.models, m)
	}
	return t
}

// over lays the rates of long prompts over the others. A part that they lack has none if what it is a part of is given.
func over(high, low config.Rates) config.Rates {
	merged := high
	prompt, completion := high.Prompt == config.NoPrice, high.Completion == config.NoPrice
	for _, r := range [...]struct {
		to   *int64
		from int64
		same bool
	}{{&merged.Prompt, low.Prompt, prompt}, {&merged.Cached, low.Cached, prompt}, {&merged.CacheWrite, low.CacheWrite, prompt}, {&merged.AudioPrompt, low.AudioPrompt, prompt},
		{&merged.Completion, low.Completion, completion}, {&merged.Reasoning, low.Reasoning, completion}, {&merged.AudioCompletion, low.AudioCompletion, completion}} {
		if r.same && *r.to == config.NoPrice {
			*r.to = r.from
		}
	}
	return merged
}

// complete gives every part a price.
func complete(r *config.Rates) {
	r.Prompt, r.Completion = max(r.Prompt, 0), max(r.Completion, 0)
	for _, part := range [...]*int64{&r.Cached, &r.CacheWrite, &r.AudioPrompt} {
		if *part == config.NoPrice {
			*part = r.Prompt
		}
	}
	for _, part := range [...]*int64{&r.Reasoning, &r.AudioCompletion} {
		if *part == config.NoPrice {
			*part = r.Completion
		}
	}
}

// Of gives what a model costs; nil: it has no price.
func (t *Table) Of(model string) *Model {
	for i := range t.models {
		if t.models[i].matches(model) {
			return &t.models[i]
		}
	}
	return nil
}

// Named is Of by the entries that aren't for every model: nil, if none of them says anything of this one.
func (t *Table) Named(model string) *Model {
	for i := range t.models {
		if m := &t.models[i]; !m.every && m.matches(model) {
			return m
		}
	}
	return nil
}

func (m *Model) matches(model string) bool {
	for i, name := range m.names {
		if len(name) == len(model) && config.MatchModel(m.names[i:i+1], model) {
			return true
		}
	}
	return len(m.globs) > 0 && config.MatchModel(m.globs, model)
}

// Same says that all models cost the same.
func (t *Table) Same() bool { return len(t.models) > 0 && t.models[0].every }

// Dearest is what a use costs that may be of any of the models: as much as of the dearest.
func (t *Table) Dearest(u *Use) (most int64) {
	for i := range t.models {
		most = max(most, t.models[i].Cost(u))
	}
	return most
}

// Free says that no use of any model costs anything, be it of as many tokens as it may; with noOutput, none that has no output.
func (t *Table) Free(noOutput bool) bool {
	for i := range t.models {
		if !t.models[i].Free(noOutput) {
			return false
		}
	}
	return true
}

// Free says the same of one model; nil has no price, and is free.
func (m *Model) Free(noOutput bool) bool {
	return m == nil || m.request == 0 && free(&m.rates, noOutput) && (m.above == 0 || free(&m.high, noOutput))
}

func free(r *config.Rates, noOutput bool) bool {
	return r.Prompt|r.Cached|r.CacheWrite|r.AudioPrompt == 0 && (noOutput || r.Completion|r.Reasoning|r.AudioCompletion == 0)
}

// Cost is what a use costs; nil costs nothing.
func (m *Model) Cost(u *Use) int64 {
	if m == nil {
		return 0
	}
	r := &m.rates
	if m.above > 0 && u.Prompt > m.above {
		r = &m.high
	}
	prompt, completion := u.Prompt, u.Completion
	cached := min(u.Cached, prompt)
	prompt -= cached
	written := min(u.CacheWrite, prompt)
	prompt -= written
	heard := min(u.AudioPrompt, prompt)
	prompt -= heard
	spoken := min(u.AudioCompletion, completion)
	completion -= spoken
	thought := min(u.Reasoning, completion)
	completion -= thought
	high, low := add(0, 0, m.request, million)
	high, low = add(high, low, prompt, r.Prompt)
	high, low = add(high, low, cached, r.Cached)
	high, low = add(high, low, written, r.CacheWrite)
	high, low = add(high, low, heard, r.AudioPrompt)
	high, low = add(high, low, completion, r.Completion)
	high, low = add(high, low, thought, r.Reasoning)
	high, low = add(high, low, spoken, r.AudioCompletion)
	return rounded(high, low)
}

// add adds a product to a sum in 128 bits.
func add(high, low uint64, a, b int64) (sumHigh, sumLow uint64) {
	productHigh, productLow := bits.Mul64(uint64(max(a, 0)), uint64(b))
	low, carry := bits.Add64(low, productLow, 0)
	return high + productHigh + carry, low
}

// rounded is a sum by a million, a half up.
func rounded(high, low uint64) int64 {
	low, carry := bits.Add64(low, million/2, 0)
	if high += carry; high >= million {
		return Most
	}
	quotient, _ := bits.Div64(high, low, million)
	return int64(min(quotient, uint64(Most)))
}
