package price

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
)

// table is a table of prices, as a configuration has them.
func table(t interface{ Fatal(...any) }, prices string) *Table {
	c, err := config.Parse([]byte(`{"prices": [` + prices + `]}`))
	if err != nil {
		t.Fatal(err)
	}
	return New(c.Prices)
}

// Each token is charged once, at the price of the most special part that it is of.
func TestEachTokenIsChargedOnce(t *testing.T) {
	all := `{"prompt": 1, "cached": 0.1, "cacheWrite": 1.25, "audioPrompt": 40, "completion": 4, "reasoning": 5, "audioCompletion": 80, "request": 0.01}`
	for name, test := range map[string]struct {
		prices string
		use    Use
		want   int64
	}{
		"nothing":                       {all, Use{}, 10_000_000},
		"prompt and completion":         {`{"prompt": 1, "completion": 4}`, Use{Prompt: 1000, Completion: 10}, 1_040_000},
		"parts":                         {all, Use{Prompt: 100, Cached: 10, CacheWrite: 20, AudioPrompt: 30, Completion: 50, Reasoning: 5, AudioCompletion: 15}, 10_000_000 + 40*1000 + 10*100 + 20*1250 + 30*40000 + 30*4000 + 5*5000 + 15*80000},
		"parts without prices":          {`{"prompt": 1, "completion": 4}`, Use{Prompt: 100, Cached: 10, CacheWrite: 20, AudioPrompt: 30, Completion: 50, Reasoning: 5, AudioCompletion: 15}, 100*1000 + 50*4000},
		"a part is free":                {`{"prompt": 1, "cached": 0}`, Use{Prompt: 100, Cached: 90, Completion: 7}, 10 * 1000},
		"more parts than there is":      {all, Use{Prompt: 100, Cached: 90, CacheWrite: 90, AudioPrompt: 90, Completion: 10, Reasoning: 90, AudioCompletion: 4}, 10_000_000 + 90*100 + 10*1250 + 4*80000 + 6*5000},
		"a fraction of a billionth":     {`{"prompt": 0.0004}`, Use{Prompt: 1}, 0},
		"half a billionth":              {`{"prompt": 0.0005}`, Use{Prompt: 1}, 1},
		"rounded once, at the end":      {`{"prompt": 0.0004, "completion": 0.0004}`, Use{Prompt: 1, Completion: 1}, 1},
		"the largest there is":          {`{"prompt": 1000000, "completion": 1000000, "request": 1000000}`, Use{Prompt: 1e15, Completion: 1e15}, Most},
		"what isn't there":              {`{"prompt": 1}`, Use{Prompt: -1, Cached: -1}, 0},
		"up to the bound":               {`{"prompt": 1, "completion": 4, "above": {"promptTokens": 100, "prompt": 2, "completion": 8}}`, Use{Prompt: 100, Completion: 1}, 104_000},
		"above it all is dearer":        {`{"prompt": 1, "completion": 4, "above": {"promptTokens": 100, "prompt": 2, "completion": 8}}`, Use{Prompt: 101, Completion: 1}, 210_000},
		"a part above":                  {`{"prompt": 1, "cached": 0.5, "above": {"promptTokens": 100, "prompt": 2, "cached": 1}}`, Use{Prompt: 101, Cached: 1}, 201_000},
		"a part that above lacks":       {`{"prompt": 1, "cached": 0.5, "above": {"promptTokens": 100, "prompt": 2}}`, Use{Prompt: 101, Cached: 1}, 202_000},
		"a part of what stays as it is": {`{"prompt": 1, "cached": 0.5, "completion": 4, "reasoning": 5, "above": {"promptTokens": 100, "completion": 8}}`, Use{Prompt: 101, Cached: 1, Completion: 2, Reasoning: 1}, 100_000 + 500 + 16_000},
		"above, the price of a request": {`{"prompt": 1, "request": 0.5, "above": {"promptTokens": 100, "prompt": 2}}`, Use{Prompt: 101}, 500_202_000},
	} {
		if got := table(t, test.prices).Of("m").Cost(&test.use); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
}

func TestTheFirstEntryThatMatchesCounts(t *testing.T) {
	prices := table(t, `{"models": ["gpt-4o-mini*", "x"], "prompt": 1}, {"models": ["gpt-4o*"], "prompt": 2}, {"models": ["*"], "prompt": 3}, {"models": ["late"], "prompt": 4}`)
	for model, want := range map[string]int64{"gpt-4o-mini": 1, "GPT-4O-mini-2024": 1, "x": 1, "gpt-4o": 2, "claude": 3, "late": 3, "": 3} {
		if got := prices.Of(model).Cost(&Use{Prompt: 1000}); got != want*1_000_000 {
			t.Errorf("%s: %d", model, got)
		}
	}
	for model, want := range map[string]int64{"gpt-4o-mini": 1, "gpt-4o-2024-08-06": 2, "claude": 0, "late": 4} {
		if got := prices.Named(model).Cost(&Use{Prompt: 1000}); got != want*1_000_000 {
			t.Errorf("%s is named: %d", model, got)
		}
	}
	if got := prices.Dearest(&Use{Prompt: 1000}); got != 4_000_000 {
		t.Errorf("the dearest: %d", got)
	}
	if prices.Same() || table(t, ``).Same() || !table(t, `{"prompt": 1}`).Same() {
		t.Error("which prices are the same for all models?")
	}
	if got := table(t, `{"models": ["a"], "prompt": 1}`).Of("b"); got != nil || got.Cost(&Use{Prompt: 1}) != 0 || !got.Free(false) {
		t.Errorf("without a price: %v", got)
	}
}

// What says that it is free never costs anything, and what says that it isn't does.
func TestWhatIsFree(t *testing.T) {
	for prices, want := range map[string][2]bool{ // with output, without
		`{"prompt": 0}`: {true, true}, `{"completion": 1}`: {false, true}, `{"prompt": 0, "cached": 1}`: {false, false}, `{"request": 0.1}`: {false, false},
		`{"prompt": 0, "above": {"promptTokens": 9, "completion": 1}}`: {false, true}, `{"prompt": 1, "above": {"promptTokens": 9, "prompt": 0}}`: {false, false},
	} {
		x := table(t, prices)
		if got := [2]bool{x.Of("m").Free(false), x.Of("m").Free(true)}; got != want || got != [2]bool{x.Free(false), x.Free(true)} {
			t.Errorf("%s: %v", prices, got)
		}
	}
}

// draw draws prices and a use; exact is what that costs, in billionths.
func draw(t *rapid.T) (m *Model, u Use, exact *big.Rat) {
	nano := rapid.OneOf(rapid.Int64Range(0, 100), rapid.Int64Range(0, 100*config.Dollar), rapid.Int64Range(0, 1_000_000*config.Dollar))
	rates := func(name string) config.Rates {
		r := config.Rates{}
		for _, to := range []*int64{&r.Prompt, &r.Cached, &r.CacheWrite, &r.AudioPrompt, &r.Completion, &r.Reasoning, &r.AudioCompletion} {
			*to = nano.Draw(t, name)
		}
		return r
	}
	p := config.Price{Models: []string{"*"}, Rates: rates("rate"), Request: nano.Draw(t, "request")}
	if rapid.Bool().Draw(t, "tiers") {
		p.Above = &config.Above{PromptTokens: rapid.Int64Range(1, 2000).Draw(t, "above"), Rates: rates("high")}
	}
	count := rapid.OneOf(rapid.Int64Range(0, 3), rapid.Int64Range(0, 1000), rapid.Int64Range(0, 10_000_000))
	parts := [7]int64{}
	for i := range parts {
		parts[i] = count.Draw(t, "tokens")
	}
	u = Use{Prompt: parts[0] + parts[1] + parts[2] + parts[3], Cached: parts[1], CacheWrite: parts[2], AudioPrompt: parts[3],
		Completion: parts[4] + parts[5] + parts[6], Reasoning: parts[5], AudioCompletion: parts[6]}
	r := p.Rates
	if p.Above != nil && u.Prompt > p.Above.PromptTokens {
		r = p.Above.Rates
	}
	exact = new(big.Rat).SetInt64(p.Request)
	for i, rate := range []int64{r.Prompt, r.Cached, r.CacheWrite, r.AudioPrompt, r.Completion, r.Reasoning, r.AudioCompletion} {
		one := new(big.Rat).SetFrac(big.NewInt(rate), big.NewInt(million))
		exact.Add(exact, one.Mul(one, new(big.Rat).SetInt64(parts[i])))
	}
	return New([]config.Price{p}).Of("m"), u, exact
}

// The sum of many requests is the exact sum, each rounded once: the nearest billionth, a half up.
func TestCostsAreExact(t *testing.T) {
	half := big.NewRat(1, 2)
	rapid.Check(t, func(t *rapid.T) {
		sum, exact := new(big.Int), new(big.Int)
		for range rapid.IntRange(1, 20).Draw(t, "requests") {
			m, u, cost := draw(t)
			cost.Add(cost, half)
			rounded := new(big.Int).Div(cost.Num(), cost.Denom())
			if most := big.NewInt(Most); rounded.Cmp(most) > 0 {
				rounded = most
			}
			sum.Add(sum, big.NewInt(m.Cost(&u)))
			exact.Add(exact, rounded)
		}
		if sum.Cmp(exact) != 0 {
			t.Fatalf("%d, exactly %d", sum, exact)
		}
	})
}

func TestAPriceAllocatesNothing(t *testing.T) {
	x := table(t, `{"models": ["gpt-*"], "prompt": 1}, {"models": ["*"], "prompt": 3, "above": {"promptTokens": 9, "prompt": 4}}`)
	u := Use{Prompt: 10, Completion: 5}
	if n := testing.AllocsPerRun(100, func() { x.Of("claude").Cost(&u); x.Named("claude"); x.Dearest(&u) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAmongManyNames(b *testing.B) {
	var prices []config.Price
	for range 300 {
		prices = append(prices, config.Price{Models: []string{"gpt-4.1-nano-2025-04-14"}})
	}
	x := New(prices)
	for b.Loop() {
		x.Of("gpt-4o-mini-2024-07-18")
	}
}
