package main

import (
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spillway-proxy/spillway/e2e/support/harness/envoyproc"
)

// bare is the variant that the others are compared with; the others named here are compared with each other, too.
const (
	bare         = "bare"
	luaParse     = "lua"
	limitedOnce  = "spillway-1"
	limitedTimes = "spillway-3"
	refuseEarly  = "refuse-requests"
	refuseLate   = "refuse-tokens"
)

// variant is one thing that is measured: an Envoy with a filter, or without.
type variant struct {
	name  string
	label string // in the tables
	note  string // what exactly it is
	// config is the filter's own; only variants that are the filter of this repository have one.
	config string
	adapt  func(config *envoyproc.Bootstrap, b *bench)
	// refuses says that it refuses all, once its buckets are empty: after the first request of each user.
	refuses bool
	// check finds in what Envoy has counted during the load that the filter did its work; all has the totals.
	check func(counted, all counters, done work) error
}

// work is what a variant was given to do.
type work struct {
	requests int
	tokens   int // completion tokens of all answers together
}

func (w workload) times(requests int) work {
	return work{requests: requests, tokens: requests * w.tokens}
}

func variants() []*variant {
	return []*variant{
		{
			name: bare, label: "bare Envoy", note: "the router only",
			adapt: func(config *envoyproc.Bootstrap, _ *bench) { config.RemoveWasm() },
		},
		{
			name: "local-ratelimit", label: "`local_ratelimit`", note: "Envoy's own filter, one bucket of requests for all users",
			adapt: instead(localRateLimit), check: checkLocalRateLimit,
		},
		{
			name: "noop", label: "no-op Wasm", note: "a filter that does nothing, without an SDK, built by TinyGo as the release is",
			adapt: func(config *envoyproc.Bootstrap, b *bench) { config.SetWasm(b.noop.path); config.SetPluginConfig("") },
			check: checkWasm,
		},
		{
			name: luaParse, label: "Lua", note: "finds model, stream, max_tokens and the usage by `string.match`, and does nothing with them",
			adapt: instead(lua), check: checkLua,
		},
		spillway("spillway", "Spillway, no limit", "configuration `{}`", "{}"),
		limited(limitedOnce, "Spillway, 1 limit", plenty, "completionTokens/1h"),
		limited(limitedTimes, "Spillway, 3 limits", plenty, "requests/1m", "totalTokens/1m", "completionTokens/1h"),
		refusing(refuseEarly, "a limit of requests", "requests/24h"),
		refusing(refuseLate, "a limit of tokens", "completionTokens/24h"),
		refusing("refuse-3", "three limits", "requests/24h", "totalTokens/24h", "completionTokens/24h"),
	}
}

// choose returns the variants of a comma-separated list, and always the bare one, first; all, for none. Those that refuse are
// apart.
func choose(list, wasm string) (passing, refusers []*variant, err error) {
	all, err := chosen(list)
	if err == nil && wasm != "" {
		all, err = beside(all, wasm)
	}
	for _, v := range all {
		if v.refuses {
			refusers = append(refusers, v)
		} else {
			passing = append(passing, v)
		}
	}
	return passing, refusers, err
}

func chosen(list string) ([]*variant, error) {
	all := variants()
	if list == "" {
		return all, nil
	}
	wanted := append(strings.Split(list, ","), bare)
	for _, name := range wanted {
		if !slices.ContainsFunc(all, func(v *variant) bool { return v.name == name }) {
			var names []string
			for _, v := range all {
				names = append(names, v.name)
			}
			return nil, fmt.Errorf("%q is not a variant; there are %s", name, strings.Join(names, ", "))
		}
	}
	return slices.DeleteFunc(all, func(v *variant) bool { return !slices.Contains(wanted, v.name) }), nil
}

// What ends the names of variants that are measured with another build of the filter.
const (
	against = "-against"
	byStock = "-stock" // only the start: stock Go's build of the same commit
)

// beside adds, to each variant that is the filter, the same with another build of it.
func beside(list []*variant, wasm string) ([]*variant, error) {
	path, err := filepath.Abs(wasm)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return nil, fmt.Errorf("-against: %w", err)
	}
	var all []*variant
	for _, v := range list {
		if all = append(all, v); v.config != "" {
			all = append(all, v.with(path, against, ", the other build"))
		}
	}
	return all, nil
}

// with is the same variant with another build of the filter.
func (v *variant) with(wasm, name, label string) *variant {
	other := *v
	other.name, other.label = v.name+name, v.label+label
	other.adapt = func(config *envoyproc.Bootstrap, b *bench) {
		v.adapt(config, b)
		config.SetWasm(wasm)
	}
	return &other
}

// verify finds out whether the variant did what it was measured for.
func (v *variant) verify(counted, all counters, done work) error {
	passed, refused := done.requests, 0
	if v.refuses {
		passed, refused = 0, done.requests
	}
	if err := expectAll(counted, map[string]int{
		"http.gateway.downstream_rq_2xx": passed, "http.gateway.downstream_rq_4xx": refused,
	}); err != nil {
		return err
	}
	if v.check == nil {
		return nil
	}
	return v.check(counted, all, done)
}

// expect compares the sum of the counters with that prefix to what it must be.
func expect(c counters, prefix string, want int) error {
	if got := c.sum(prefix); got != uint64(want) {
		return fmt.Errorf("the load was %d, but Envoy counted %d in %s…: this variant was not measured as it should be",
			want, got, prefix)
	}
	return nil
}

// expectAll is expect for several.
func expectAll(c counters, wants map[string]int) error {
	for prefix, want := range wants {
		if err := expect(c, prefix, want); err != nil {
			return err
		}
	}
	return nil
}

// instead puts a filter in Spillway's place.
func instead(filter func() map[string]any) func(*envoyproc.Bootstrap, *bench) {
	return func(config *envoyproc.Bootstrap, _ *bench) {
		config.InsertAfterWasm(filter())
		config.RemoveWasm()
	}
}

// spillway is the filter of this repository with a configuration.
func spillway(name, label, note, config string) *variant {
	return &variant{
		name: name, label: label, note: note, config: config,
		adapt: func(b *envoyproc.Bootstrap, bench *bench) {
			b.SetWasm(bench.spillway.path)
			b.SetPluginConfig(config)
		},
		check: checkSpillway,
	}
}

// plenty is a quantity so large that nothing is refused.
const plenty = 1_000_000_000_000

// refusing is Spillway with limits of one per user, unit/window.
func refusing(name, label string, specs ...string) *variant {
	v := limited(name, label, 1, specs...)
	v.refuses = true
	return v
}

// limited is Spillway with limits per user, unit/window.
func limited(name, label string, quantity int, specs ...string) *variant {
	list := make([]string, len(specs))
	for i, spec := range specs {
		unit, window, _ := strings.Cut(spec, "/")
		list[i] = fmt.Sprintf(`{"name":"limit-%d","per":["user"],"unit":"%s","quantity":%d,"window":"%s"}`,
			i+1, unit, quantity, window)
	}
	return spillway(name, label, "per user: "+strings.Join(specs, ", "),
		`{"requestHold":"stopIteration","limits":[`+strings.Join(list, ",")+`]}`)
}

// checkSpillway: each request was counted, each answer's tokens were read and charged, and nothing went wrong on the way.
func checkSpillway(counted, all counters, done work) error {
	if err := checkWasm(counted, all, done); err != nil {
		return err
	}
	return expectAll(counted, map[string]int{
		"wasmcustom.spillway_requests_total":                           done.requests,
		"wasmcustom.spillway_tokens_total;type=output;source=reported": done.tokens,
		"wasmcustom.spillway_errors_total":                             0,
		"wasmcustom.spillway_uncharged_total":                          0,
	})
}

// checkWasm: the VM runs. Were it gone, Envoy would answer 503, so that the filter was called follows from the 200s.
func checkWasm(_, all counters, _ work) error {
	if all.sum("wasm.envoy.wasm.runtime.v8.active") == 0 {
		return fmt.Errorf("envoy has no active Wasm VM")
	}
	return nil
}

func localRateLimit() map[string]any {
	always := map[string]any{"default_value": map[string]any{"numerator": 100, "denominator": "HUNDRED"}}
	return map[string]any{
		"name": "envoy.filters.http.local_ratelimit",
		"typed_config": map[string]any{
			"@type":           "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
			"stat_prefix":     "bench",
			"token_bucket":    map[string]any{"max_tokens": 1_000_000_000, "tokens_per_fill": 1_000_000_000, "fill_interval": "60s"},
			"filter_enabled":  always,
			"filter_enforced": always,
		},
	}
}

func checkLocalRateLimit(counted, _ counters, done work) error {
	return expect(counted, "bench.http_local_rate_limit.ok", done.requests)
}

//go:embed testdata/parse.lua
var luaScript string

func lua() map[string]any {
	return map[string]any{
		"name": "envoy.filters.http.lua",
		"typed_config": map[string]any{
			"@type":               "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua",
			"default_source_code": map[string]any{"inline_string": luaScript},
		},
	}
}

// checkLua: the script ran for each request and each response, and found all it looked for.
func checkLua(counted, _ counters, done work) error {
	return expectAll(counted, map[string]int{
		"http.gateway.lua.executions": 2 * done.requests,
		"http.gateway.lua.errors":     0,
	})
}
