package config

import (
	"math/big"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

const aPrice = `"prices": [{"models": ["m*"], "prompt": 2.5, "cached": 1.25e0, "completion": 10, "above": {"promptTokens": 200000, "prompt": 5}}]`

// money is a limit of dollars.
func money(members string) string {
	return `{"limits": [{"name": "a", "unit": "usd"` + members + `}], ` + aPrice + `}`
}

func TestLimitsOfDollars(t *testing.T) {
	c := mustParse(t, money(`, "quantity": 0.25, "window": "month"`))
	wantEqual(t, c.Prices, []Price{{
		Models: []string{"m*"}, Rates: Rates{2_500_000_000, 1_250_000_000, NoPrice, NoPrice, 10_000_000_000, NoPrice, NoPrice}, Request: NoPrice,
		Above: &Above{200000, Rates{5_000_000_000, NoPrice, NoPrice, NoPrice, NoPrice, NoPrice, NoPrice}},
	}})
	if l := c.Limits[0]; l.Unit != USD || l.Quantity != 250_000_000 || l.Burst != 250_000_000 {
		t.Errorf("%+v", l)
	}
	for quantity, want := range map[string]int64{
		"1e9": 1e18, "1000000000.000000000": 1e18, "0.000000001": 1, "1e-9": 1, "5E+2": 500e9, "0.1": 100_000_000, "500": 500e9, "10000000": 1e16, "0.01": 10_000_000,
		"12.3456789": 12_345_678_900, "100000000000e-3": 1e17,
	} {
		if c, err := Parse([]byte(money(`, "window": "1h", "quantity": ` + quantity))); err != nil || c.Limits[0].Quantity != want {
			t.Errorf("%s: %v", quantity, err)
		}
	}
	const want = "want dollars above 0 and to 1000000000, with at most 9 digits behind the point"
	for quantity, shown := range map[string]string{
		"0": "0: " + want, "-1": "-1: " + want, "1e10": "1e10: " + want, "1000000000.000000001": "1000000000.000000001: " + want, `"5"`: `"5": ` + want, "true": "true: " + want,
		"1e-10": "1e-10: finer than a billionth; " + want, "0.30000000000000004": "0.30000000000000004: finer than a billionth; " + want, "-0": "-0: " + want,
		"1e99999999999999999999": "1e99999999999999999999: " + want, "1e-999": "1e-999: finer than a billionth; " + want, "99999999999999999999": "99999999999999999999: " + want,
	} {
		checkErrors(t, []errorCase{{money(`, "window": "1h", "quantity": ` + quantity), []string{"limits[0].quantity: " + shown}}})
	}
}

func TestWhatIsWrongWithPrices(t *testing.T) {
	prices := func(text string) string { return `{"prices": [` + text + `]}` }
	checkErrors(t, []errorCase{
		{`{"limits": [{"name": "a", "unit": "usd", "quantity": 1, "window": "1h"}]}`, []string{"limits[0].unit: usd: no model has a price; want prices, too"}},
		{prices(`{"models": ["m"]}`), []string{"prices[0]: gives no price; want prompt, completion or request, be it 0"}},
		{prices(`{"prompt": -1}`), []string{"prices[0].prompt: -1: want dollars from 0 to 1000000, with at most 9 digits behind the point"}},
		{prices(`{"prompt": 0.00000000012}`), []string{"prices[0].prompt: 0.00000000012: finer than a billionth; want dollars from 0 to 1000000, with at most 9 digits behind the point"}},
		{prices(`{"prompt": 1, "above": {"prompt": 2}}`), []string{"prices[0].above.promptTokens: missing; want a whole number from 1 to 1000000000"}},
		{prices(`{"prompt": 1, "above": {"promptTokens": 2}}`), []string{"prices[0].above: gives no price; want one"}},
		{prices(`{"prompt": 1, "above": []}`), []string{"prices[0].above: a list: want an object"}},
		{prices(`{"prompt": 1, "input": 2}`), []string{`prices[0].input: unknown key; want models, prompt, cached, cacheWrite, completion, reasoning, audioPrompt, audioCompletion, request or above`}},
		{`{"unpriced": "free"}`, []string{`unpriced: "free": want pass or reject`}},
	})
	for _, fine := range []string{`{"request": 0}`, `{"completion": 0.5}`, `{"prompt": 0.000000001, "audioPrompt": 1000000}`} {
		mustParse(t, prices(fine))
	}
}

// The service of a fleet counts thousandths of a dollar.
func TestDollarsOfAFleet(t *testing.T) {
	const fleet = `, "scope": "fleet", "window": "720h", "quantity": `
	for quantity, want := range map[string]int64{"0.001": 1, "500": 500_000, "4294967": 4_294_967_000} {
		if c := mustParse(t, money(fleet+quantity)); c.Limits[0].FleetQuantity() != want {
			t.Errorf("%s: %d", quantity, c.Limits[0].FleetQuantity())
		}
	}
	for _, quantity := range []string{"0.0005", "4294968"} {
		checkErrors(t, []errorCase{{money(fleet + quantity),
			[]string{"limits[0].quantity: " + quantity + ": the fleet's service counts thousandths of a dollar; want whole ones, and at most 4294967 dollars"}}})
	}
}

// While it runs, quantity, burst and prices may be changed; what is refused is said as of a file.
func TestDollarsAreOverridden(t *testing.T) {
	file := []byte(money(`, "quantity": 0.25, "window": "1h"`))
	c, laid, err := Patch(file, nil, []byte(`{"limits":{"a":{"quantity":0.75,"burst":1.5}},"prices":[{"prompt":3}],"unpriced":"reject"}`))
	if err != nil || c.Limits[0].Quantity != 750_000_000 || c.Limits[0].Burst != 1_500_000_000 || c.Prices[0].Prompt != 3*Dollar || c.Unpriced != UnpricedReject {
		t.Errorf("%v: %+v", err, c.Limits)
	}
	if got := string(Differences(mustParsed(t, file), &c)); !strings.Contains(got, `{"path":"/limits/0/quantity","file":0.25,"value":0.75}`) {
		t.Error(got)
	}
	for patch, want := range map[string]string{
		`{"prices":[]}`:                        "limits[0].unit: usd: no model has a price; want prices, too",
		`{"limits":{"a":{"quantity":1e-10}}}`:  "limits[0].quantity: 1e-10: finer than a billionth",
		`{"limits":{"a":{"unit":"requests"}}}`: "limits[0].quantity: 0.75: want a whole number",
	} {
		if _, _, err := Patch(file, laid, []byte(patch)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", patch, err)
		}
	}
	action, err := ParseAction([]byte(`{"grant":0.05,"for":"1h"}`), USD)
	if err != nil || action.Grant != 50_000_000 {
		t.Errorf("%v: %+v", err, action)
	}
	if _, err := ParseAction([]byte(`{"grant":0.05,"for":"1h"}`), Requests); err == nil {
		t.Error("a part of a request is granted")
	}
}

func mustParsed(t *testing.T, file []byte) *Config {
	c := mustParse(t, string(file))
	return &c
}

// Whatever decimal number it is, however written: it is read as exactly as a rational number is, and what is written of it is read again.
func TestDollarsAreExact(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`(0|[1-9][0-9]{0,9})(\.[0-9]{1,11})?([eE][+-]?[0-9]{1,2})?`).Draw(t, "number")
		exact, ok := new(big.Rat).SetString(text)
		if !ok {
			t.Fatal(text)
		}
		exact.Mul(exact, big.NewRat(Dollar, 1))
		n, problem := dollarsKind{0, mostDollars}.parse(&jsonValue{kind: isNumber, text: text})
		fits := exact.IsInt() && exact.Cmp(big.NewRat(mostDollars, 1)) <= 0
		if fits != (problem == "") || fits && exact.Cmp(big.NewRat(n, 1)) != 0 {
			t.Fatalf("%s is %d: %s", text, n, problem)
		}
		if !fits {
			return
		}
		again, problem := dollarsKind{0, mostDollars}.parse(&jsonValue{kind: isNumber, text: string(AppendDollars(nil, n))})
		if problem != "" || again != n {
			t.Fatalf("%d is written as %s", n, AppendDollars(nil, n))
		}
	})
	for n, want := range map[int64]string{0: "0", -1: "-0.000000001", 1_500_000_000: "1.5", -9223372036854775808: "-9223372036.854775808", 10_000_000: "0.01"} {
		if got := string(AppendDollars(nil, n)); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
