package main

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spillway-proxy/spillway/config"
)

// converter turns a list into prices, and keeps what it leaves out.
type converter struct {
	options *options
	models  []model
	names   map[string]bool     // in lower case, that have a price
	left    map[string][]string // why something was left out → of which models
}

// model is one that has a price.
type model struct {
	name   string
	prices string // as they stand in the configuration, in JSON
}

// keys are those of a list that have a key of ours, in the order in which they are written.
var keys = []struct{ ours, theirs string }{
	{"prompt", "input_cost_per_token"},
	{"cached", "cache_read_input_token_cost"},
	{"cacheWrite", "cache_creation_input_token_cost"},
	{"audioPrompt", "input_cost_per_audio_token"},
	{"completion", "output_cost_per_token"},
	{"reasoning", "output_cost_per_reasoning_token"},
	{"audioCompletion", "output_cost_per_audio_token"},
	{"request", "input_cost_per_request"},
}

// why says what other prices of a list are for: the first that matches.
var why = []struct {
	key  *regexp.Regexp
	what string
}{
	{regexp.MustCompile(`_batches$`), "batches, which cost less"},
	{regexp.MustCompile(`_(priority|flex|ultrafast|balanced|decisions)$`), "service tiers (priority, flex and others), which cost more, or less"},
	{regexp.MustCompile(`above_1hr`), "a cache that lives for an hour, to write to which costs more"},
	{regexp.MustCompile(`search|maps_grounding`), "searches, which cost something each"},
	{regexp.MustCompile(`off_peak`), "times of day that cost less"},
	{regexp.MustCompile(`(image|video)_token`), "tokens of pictures and films, which cost something else than text's"},
	{regexp.MustCompile(`cache_.*audio|audio_token_above`), "audio that is cached, or in a long prompt"},
	{regexp.MustCompile(`per_(image|pixel)|_image`), "pictures, which are billed each"},
	{regexp.MustCompile(`per_second|per_video`), "time, which is billed by the second"},
	{regexp.MustCompile(`per_character`), "text that is billed by the character"},
	{regexp.MustCompile(`per_query|_page|_credit|_session|1k_calls|_gb_|guardrail|computer_use|text_message|citation`), "what is billed by the query, the page, the session or the like"},
	{regexp.MustCompile(`dbu`), "the provider's own unit"},
	{regexp.MustCompile(``), "prices that this program doesn't know"},
}

// cacheHit is another name of what is cached.
const cacheHit = "input_cost_per_token_cache_hit"

var (
	isPrice  = regexp.MustCompile(`cost|pricing`)
	aboveKey = regexp.MustCompile(`^(.*_(?:token|cost))_above_(\d+)k_tokens$`)
)

// convert takes a list.
func (c *converter) convert(list map[string]entry) {
	c.names, c.left = map[string]bool{}, map[string][]string{}
	for _, name := range slices.Sorted(maps.Keys(list)) {
		provider, _ := list[name]["litellm_provider"].(string)
		if name == "sample_spec" || !config.MatchModel(c.options.Models, name) || len(c.options.Provider) > 0 && !slices.Contains(c.options.Provider, provider) {
			continue
		}
		c.add(name, list[name])
	}
}

func (c *converter) leave(reason, name string) { c.left[reason] = append(c.left[reason], name) }

// add takes what a list says of a model.
func (c *converter) add(name string, e entry) {
	called := c.called(name)
	switch {
	case strings.ContainsAny(called, "*?"):
		c.leave("LEFT OUT: names with * or ?, which would be globs", name)
		return
	case c.names[strings.ToLower(called)]:
		c.leave("LEFT OUT: names that another entry has already", name)
		return
	}
	r := reading{converter: c, name: name, low: rates{}, high: rates{}}
	switch r.read(e); {
	case r.bound < 0:
		c.leave("LEFT OUT: more than one bound of prompts' length", name)
		return
	case r.free() && len(r.others) > 0:
		for _, what := range r.others {
			c.leave("LEFT OUT, billed by something else than tokens: "+what, name)
		}
		return
	case len(r.low) == 0:
		c.leave("LEFT OUT: the list has no price", name)
		return
	}
	for _, what := range r.others {
		c.leave("not in prices: "+what, name)
	}
	c.names[strings.ToLower(called)] = true
	c.models = append(c.models, model{called, r.prices()})
}

// called is what clients call a model.
func (c *converter) called(name string) string {
	for _, prefix := range c.options.Trim {
		if rest, is := strings.CutPrefix(name, prefix); is && rest != "" {
			return rest
		}
	}
	return name
}

// rates are prices by our keys, in dollars for a million tokens, or a request.
type rates map[string]*big.Rat

// appendTo appends the members of a JSON object.
func (r rates) appendTo(b []byte) []byte {
	separator := ""
	for _, k := range keys {
		if rate := r[k.ours]; rate != nil {
			n := new(big.Rat).Mul(rate, big.NewRat(config.Dollar, 1))
			b = fmt.Appendf(b, "%s%q: ", separator, k.ours)
			b = config.AppendDollars(b, n.Num().Int64())
			separator = ", "
		}
	}
	return b
}

// reading is what a list says of one model.
type reading struct {
	*converter
	name      string
	low, high rates    // high: of prompts above the bound
	bound     int64    // 0: there is none; below 0: there are several
	others    []string // what the list says that prices can't
}

// free says that no token costs anything, nor a request.
func (r *reading) free() bool {
	for _, of := range []rates{r.low, r.high} {
		for _, rate := range of {
			if rate.Sign() != 0 {
				return false
			}
		}
	}
	return true
}

// prices are the members of the model's entry.
func (r *reading) prices() string {
	text := r.low.appendTo(nil)
	if r.bound > 0 {
		for _, k := range keys { // what isn't said of long prompts is as of others, where that is said by itself
			if r.high[k.ours] == nil && r.low[k.ours] != nil {
				r.high[k.ours] = r.low[k.ours]
			}
		}
		delete(r.high, "request")
		text = append(r.high.appendTo(fmt.Appendf(text, `, "above": {"promptTokens": %d, `, r.bound)), '}')
	}
	return string(text)
}

func (r *reading) read(e entry) {
	if tiers, is := e["tiered_pricing"].([]any); is {
		r.readTiers(tiers)
	}
	for _, key := range slices.Sorted(maps.Keys(e)) {
		if isPrice.MatchString(key) && key != "tiered_pricing" && e[key] != nil && (key != cacheHit || e["cache_read_input_token_cost"] == nil) {
			r.take(key, e[key])
		}
	}
	slices.Sort(r.others)
	r.others = slices.Compact(r.others)
}

// take takes one price.
func (r *reading) take(key string, value any) {
	to, theirs := r.low, key
	if m := aboveKey.FindStringSubmatch(key); m != nil {
		thousands, _ := strconv.ParseInt(m[2], 10, 32)
		to, theirs = r.high, m[1]
		switch bound := thousands * 1000; {
		case ourKey(theirs) == "":
		case r.bound == 0:
			r.bound = bound
		case r.bound != bound:
			r.bound = -1
		}
	}
	switch ours := ourKey(theirs); {
	case ours != "":
		if rate := r.rate(r.name, ours, value); rate != nil {
			to[ours] = rate
		}
	case !isZero(value):
		r.others = append(r.others, because(key))
	}
}

// readTiers reads a list of prices by the length of prompts, of which two can be said.
func (r *reading) readTiers(tiers []any) {
	if len(tiers) > 2 {
		r.bound = -1
		return
	}
	for i, to := range []rates{r.low, r.high}[:len(tiers)] {
		tier, _ := tiers[i].(map[string]any)
		for key, value := range tier {
			if ours := ourKey(key); ours != "" {
				to[ours] = r.rate(r.name, ours, value)
			}
		}
		if ends, is := tier["range"].([]any); is && i == 0 && len(tiers) == 2 && len(ends) == 2 {
			if end, ok := new(big.Rat).SetString(fmt.Sprint(ends[1])); ok && end.IsInt() {
				r.bound = end.Num().Int64()
			}
		}
	}
}

func ourKey(theirs string) string {
	if theirs == cacheHit {
		return "cached"
	}
	for _, k := range keys {
		if k.theirs == theirs {
			return k.ours
		}
	}
	return ""
}

func because(key string) string {
	for _, w := range why {
		if w.key.MatchString(key) {
			return w.what
		}
	}
	return ""
}

func isZero(value any) bool {
	number, _ := value.(json.Number)
	rate, ok := new(big.Rat).SetString(number.String())
	return ok && rate.Sign() == 0
}

// rate is what a million tokens, or a request, costs, to the billionth of a dollar; nil: it can't be told.
func (c *converter) rate(name, ours string, value any) *big.Rat {
	number, _ := value.(json.Number)
	rate, ok := new(big.Rat).SetString(number.String())
	if !ok || rate.Sign() < 0 {
		c.leave("not in prices: a price that is no number, or below 0", name)
		return nil
	}
	if ours != "request" {
		rate.Mul(rate, big.NewRat(1_000_000, 1))
	}
	scaled := new(big.Rat).Mul(rate, big.NewRat(config.Dollar, 1))
	if scaled.IsInt() {
		return rate
	}
	c.leave("rounded to the billionth of a dollar for a million tokens", name)
	half := scaled.Add(scaled, big.NewRat(1, 2))
	whole := new(big.Int).Div(half.Num(), half.Denom())
	return new(big.Rat).SetFrac(whole, big.NewInt(config.Dollar))
}

// groups are the models by what they cost, in the order of the first of each.
func (c *converter) groups() (groups [][]model) {
	place := map[string]int{}
	for _, m := range c.models {
		i, known := place[m.prices]
		if !known {
			i = len(groups)
			place[m.prices] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], m)
	}
	return groups
}

// entries are the entries of prices, in JSON.
func (c *converter) entries() (entries []string) {
	for _, group := range c.groups() {
		names := make([]string, len(group))
		for i, m := range group {
			name, _ := json.Marshal(m.name)
			names[i] = string(name)
		}
		entries = append(entries, `{"models": [`+strings.Join(names, ", ")+`], `+group[0].prices+`}`)
	}
	return entries
}

func (c *converter) json() []byte {
	return []byte(`{"prices": [` + strings.Join(c.entries(), ",") + `]}`)
}

var jsonKey = regexp.MustCompile(`"([A-Za-z]+)": `)

func (c *converter) yaml() string {
	var b strings.Builder
	fmt.Fprintf(&b, "prices: # %d models, of LiteLLM's list of prices; dollars for a million tokens\n", len(c.models))
	for _, e := range c.entries() {
		fmt.Fprintf(&b, "  - %s\n", jsonKey.ReplaceAllString(e, "$1: "))
	}
	return b.String()
}

// tell says what was left out, and why.
func (c *converter) tell(w io.Writer) {
	fmt.Fprintf(w, "%d models have prices.\n", len(c.models))
	for _, reason := range slices.Sorted(maps.Keys(c.left)) {
		names := c.left[reason]
		slices.Sort(names)
		names = slices.Compact(names)
		const most = 8
		more := ""
		if len(names) > most {
			more = fmt.Sprintf(" and %d more", len(names)-most)
		}
		fmt.Fprintf(w, "%s: %s%s\n", reason, strings.Join(names[:min(len(names), most)], ", "), more)
	}
}
