package admit

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/internal/captures"
)

// listed are the prices that providers billed recorded exchanges by, of which the same model has others at others.
var listedPrices = map[string]string{
	"xai": `{"models":["grok-code-fast-1"],"prompt":0.2,"cached":0.02,"completion":1.5},{"models":["grok-4-fast*"],"prompt":0.2,"cached":0.05,"completion":0.5},
		{"models":["grok-3-mini*"],"prompt":0.3,"cached":0.075,"completion":0.5},{"models":["grok-4.3"],"prompt":1.25,"cached":0.2,"completion":2.5}`,
	"openrouter": `{"models":["anthropic/claude-haiku-4.5","anthropic/claude-4.5-haiku-*"],"prompt":1,"completion":5},
		{"models":["anthropic/claude-sonnet-4*","anthropic/claude-4.6-sonnet-*"],"prompt":3,"cached":0.3,"cacheWrite":3.75,"completion":15},
		{"models":["google/gemini-2.5-flash"],"prompt":0.3,"completion":2.5},{"models":["google/gemini-3.1-flash-lite-preview*"],"prompt":0.25,"completion":1.5},
		{"models":["x-ai/grok-4.1-fast"],"prompt":0.2,"cached":0.05,"completion":0.5},{"models":["x-ai/grok-4"],"prompt":3,"cached":0.75,"completion":15},
		{"models":["openai/gpt-4.1-mini"],"prompt":0.4,"completion":1.6},{"models":["openai/gpt-5.2"],"prompt":1.75,"completion":14},
		{"models":["openai/gpt-oss-120b"],"prompt":0.03,"completion":0.15},{"models":["openai/gpt-oss-20b"],"prompt":0.05,"completion":0.2},
		{"models":["openai/o3"],"prompt":2,"completion":8},{"models":["openai/gpt-4o-mini"],"prompt":0.15,"completion":0.6},
		{"models":["openai/gpt-5.6-sol"],"prompt":5,"cacheWrite":6.25,"completion":30},{"models":["deepseek/deepseek-chat"],"prompt":0.2574,"completion":1.0287},
		{"models":["moonshotai/kimi-k2.5*"],"prompt":0.44,"completion":2},{"models":["z-ai/glm-5-turbo*"],"prompt":1.2,"completion":4},
		{"models":["*text-embedding-3-small"],"prompt":0.02},{"models":["*:free"],"prompt":0}`,
	"vercel-gateway": `{"models":["anthropic/claude-sonnet-4"],"prompt":3,"completion":15},{"models":["google/gemini-3-pro-preview"],"prompt":2,"completion":12},
		{"models":["google/gemini-2.5-flash"],"prompt":0.3,"completion":2.5},{"models":["openai/gpt-5"],"prompt":1.25,"completion":10}`,
	"other:avian.io": `{"models":["moonshotai/kimi-k2.5"],"prompt":0.45,"cached":0.225,"completion":2.2}`,
	"perplexity": `{"models":["sonar"],"prompt":1,"completion":1,"request":0.005},{"models":["sonar-pro"],"prompt":3,"completion":15,"request":0.006},
		{"models":["sonar-reasoning-pro"],"prompt":2,"completion":8,"request":0.006},{"models":["pplx-embed-*"],"prompt":0.004}`,
}

// bill is what a report of usage says of dollars.
type bill struct {
	Usage struct {
		Cost    json.RawMessage
		Ticks   *int64 `json:"cost_in_usd_ticks"` // of xAI, ten to a billionth of a dollar
		Details struct {
			Prompt      json.Number `json:"upstream_inference_prompt_cost"`
			Completions json.Number `json:"upstream_inference_completions_cost"`
			Input       json.Number `json:"upstream_inference_input_cost"`
			Output      json.Number `json:"upstream_inference_output_cost"`
		} `json:"cost_details"`
	}
	Response *struct { // of a stream's event
		Usage json.RawMessage
	}
}

// billed gives what a provider says that an exchange has cost, in billionths of a dollar; nil: it doesn't. Where OpenRouter tells what tokens have cost
// it is that: the rest of its figure is searches, or nothing of it is on its own bill.
func billed(t *testing.T, c *captures.Capture) (cost *big.Rat) {
	texts := []string{c.ResponseBody}
	if c.Stream {
		texts = nil
		for line := range strings.Lines(c.ResponseBody) {
			if data, is := strings.CutPrefix(line, "data:"); is {
				texts = append(texts, data)
			}
		}
	}
	for _, text := range texts {
		var b bill
		if json.Unmarshal([]byte(text), &b) != nil {
			continue
		}
		if b.Response != nil && b.Response.Usage != nil {
			_ = json.Unmarshal(b.Response.Usage, &b.Usage)
		}
		tokens := new(big.Rat)
		for _, part := range []json.Number{b.Usage.Details.Prompt, b.Usage.Details.Completions, b.Usage.Details.Input, b.Usage.Details.Output} {
			if exact, ok := new(big.Rat).SetString(part.String()); ok {
				tokens.Add(tokens, exact)
			}
		}
		said := ""
		var object struct {
			Total json.Number `json:"total_cost"`
		}
		switch {
		case b.Usage.Ticks != nil:
			cost = big.NewRat(*b.Usage.Ticks, 10)
			continue
		case tokens.Sign() > 0:
			said = tokens.RatString()
		case len(b.Usage.Cost) > 0 && json.Unmarshal(b.Usage.Cost, &object) == nil && object.Total != "":
			said = object.Total.String()
		default:
			said = string(b.Usage.Cost)
		}
		if exact, ok := new(big.Rat).SetString(said); ok {
			cost = exact.Mul(exact, big.NewRat(1e9, 1))
		}
	}
	return cost
}

// What recorded exchanges have cost by what their providers say is what they are charged, to the billionth. Perplexity rounds its figures to a hundred-thousandth of a
// dollar, two of them in each.
func TestRecordedExchangesCostWhatTheirProvidersSay(t *testing.T) {
	const rounding = 10_000
	seen, all := map[string]int{}, 0
	for _, c := range captures.Load(t) {
		prices := listedPrices[c.Provider]
		if prices == "" || c.Status != 200 {
			continue
		}
		want := billed(t, c)
		h := newHost(t, `{"requestHold":"stopIteration","limits":[{"name":"u","unit":"usd","quantity":1000,"window":"month"}],"prices":[`+prices+`]}`, recordtest.NewMemory())
		x := h.startWith([][2]string{{":method", c.Method}, {":path", c.Path}, {"content-type", c.RequestHeaders["content-type"]}}, false)
		if want == nil || x.exchange.Dialect == nil {
			continue
		}
		x.body(c.RequestBody, true)
		x.status("200", c.ResponseHeaders["content-type"], false)
		x.response(c.ResponseBody, true)
		x.done()
		got := h.counts["spillway_spend_nanodollars_total u other"]
		seen[c.Provider]++
		all++
		difference := new(big.Rat).Sub(want, big.NewRat(got, 1))
		if difference.Abs(difference); difference.Sign() > 0 && (c.Provider != "perplexity" || difference.Cmp(big.NewRat(rounding, 1)) > 0) {
			t.Errorf("%s, %s: %s is charged %d, and said to have cost %s", c.Provider, c.ID, x.exchange.Model, got, want.FloatString(1))
		}
	}
	t.Log(seen)
	if all < 5 { // as many are in the sample that a checkout has by itself
		t.Errorf("only %d say what they have cost", all)
	}
}
