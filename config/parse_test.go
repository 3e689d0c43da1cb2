package config

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config/filterstate"
)

// defaults is what docs and schema promise for {}, written out a second time on purpose.
func defaults() Config {
	return Config{
		Namespace:   "default",
		Mode:        Enforce,
		RequestHold: HoldNone,
		StatusCode: StatusCode{
			Limits: 429, Latency: 429, Throttle: 429, QueueTimeout: 429, QueueFull: 503, Breaker: 503, Pressure: 503,
		},
		Retry:       Retry{Longest: time.Minute},
		ErrorFormat: "dialect",
		Publish:     filterstate.All, RateLimitHeaders: "all", RateLimitStyle: "openai",
		Unknown: UnknownPass, Unpriced: UnpricedPass,
		Identity: Identity{
			User:    Source{Place: Place{Headers: []string{"x-user-id"}}},
			Tenant:  Source{Place: Place{Headers: []string{"x-tenant-id"}}},
			Key:     Source{Place: Place{Headers: []string{"authorization", "x-api-key", "api-key", "x-goog-api-key", "x-litellm-api-key", "ocp-apim-subscription-key"}, Query: []string{"key"}}, Hash: true},
			Missing: "anonymous",
			Probes:  ProbesPass,
		},
		Priority: PriorityRules{Header: "x-priority", Default: Normal, ObjectiveHeader: "x-gateway-inference-objective"},
		Models:   Models{Unread: UnreadMatch},
		Usage: Usage{
			EnsureStreamUsage: true, IdentityEncoding: true, MaxRequestBytes: 1048576, PromptTokensPerByte: 0.25, OutputTokens: 256,
			Cost: []CostWeights{{Models: []string{"*"}, Prompt: 1, Cached: 0.1, Completion: 4, Reasoning: 4}},
		},
		Fleet: Fleet{Cluster: "ratelimit", Authority: "ratelimit", Domain: "llm", Timeout: 100 * time.Millisecond, OnDown: DownLocal},
		PressureSource: PressureSource{
			Cluster: "gpuexporter", Authority: "gpuexporter", Path: "/v1/pressure",
			Interval: 2 * time.Second, Timeout: time.Second, StaleAfter: 10 * time.Second,
		},
		Admin: Admin{Read: ReadOpen},
	}
}

func defaultUpstream(name string) Upstream {
	return Upstream{
		Name:   name,
		Models: []string{"*"},
		Budget: Budget{Window: time.Minute}, Concurrency: Concurrency{Min: 1, Limit: 256},
		Queue: Queue{
			Max: 500, MaxBytes: 256 << 20, WhenFull: "reject", Fairness: "user", Deadline: "none",
			MaxWait: map[Priority]time.Duration{
				Urgent: time.Minute, High: time.Minute, Normal: time.Minute, Low: 2 * time.Second,
			},
		},
		Retreat: Retreat{
			Mode: Enforce, Window: time.Minute, Threshold: 0.05, Factor: 0.75, MinRequests: 5, MinSamples: 10,
			Every: 5 * time.Second, RecoverWindow: 2 * time.Minute, RecoverThreshold: 0.02, RecoverStep: 2,
		},
		Latency: Latency{
			Mode: Off, TTFT: time.Second, ITL: 100 * time.Millisecond, TimeConstant: 30 * time.Second, Per: "model", WarnAt: 0.9, Predict: true,
			TTFTHeader: "x-slo-ttft-ms", ITLHeader: "x-slo-tpot-ms",
		},
		Throttle: Throttle{
			Mode: Off, GPUMemory: 0.75,
			QPS: ThrottleQPS{Window: 5 * time.Minute, Sigmas: 2, Factor: 1.5},
			P99: ThrottleP99{Factor: 1.8, Max: 8 * time.Second, Periods: 3, Period: 10 * time.Second},
		},
		Breaker: Breaker{
			Mode: Off, ErrorRate: 0.5, Window: 30 * time.Second, MinRequests: 20, OpenFor: time.Minute, Probes: 1,
		},
		Pressure: Pressure{
			Mode: Off, ActiveDecodeBlocks: 0.85, ActivePrefillTokens: 10000, GPUMemory: 0.95, OnStale: "ignore",
			Ceilings: map[Priority]float64{Urgent: 1, High: 0.95, Normal: 0.9, Low: 0.8},
		},
	}
}

func mustParse(t *testing.T, text string) Config {
	t.Helper()
	c, err := Parse([]byte(text))
	if err != nil {
		t.Fatalf("Parse(%s): %v", text, err)
	}
	return c
}

func wantEqual(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestParseDefaults(t *testing.T) {
	for _, text := range []string{"", " \t\r\n", "{}", "null", ` { "limits" : [ ] , "upstreams": [], "identity": {"user": {}}}`} {
		wantEqual(t, mustParse(t, text), defaults())
	}
}

func TestParseUpstream(t *testing.T) {
	c := mustParse(t, `{"upstreams": [{"name": "vllm", "models": ["*"], "concurrency": {"max": 32}}]}`)
	want := defaults()
	u := defaultUpstream("vllm")
	u.Concurrency.Max = 32
	want.Upstreams = []Upstream{u}
	wantEqual(t, c, want)
}

func TestParseLimit(t *testing.T) {
	c := mustParse(t, `{"limits": [{"name": "u", "per": ["user"], "unit": "completionTokens", "quantity": 300, "window": "1h"}]}`)
	want := defaults()
	want.Limits = []Limit{{
		Name: "u", Per: []string{"user"}, Unit: CompletionTokens, Quantity: 300, Window: time.Hour, Refill: RefillContinuous, Burst: 300,
		Admission: Lenient, Mode: Enforce, Scope: ScopeProxy,
	}}
	wantEqual(t, c, want)
}

func TestParseWholeNumbersAsDoubles(t *testing.T) {
	for _, number := range []string{"300", "300.0", "3e2", "3.0E+2", "30000e-2"} {
		c := mustParse(t, `{"limits": [{"name": "u", "unit": "requests", "quantity": `+number+`, "window": "1h"}]}`)
		if c.Limits[0].Quantity != 300 {
			t.Errorf("%s: got %d, want 300", number, c.Limits[0].Quantity)
		}
	}
}

// YAML 1.1 reads an unquoted off as false.
func TestParseFalseIsOff(t *testing.T) {
	c := mustParse(t, `{"mode": false, "upstreams": [{"name": "u", "retreat": {"mode": false}}]}`)
	if c.Mode != Off || c.Upstreams[0].Retreat.Mode != Off {
		t.Errorf("got modes %q and %q, want off", c.Mode, c.Upstreams[0].Retreat.Mode)
	}
}

func TestParseCanonicalForms(t *testing.T) {
	c := mustParse(t, `{
		"identity": {"user": {"headers": ["X-User"]}, "key": {"headers": [], "query": []}},
		"priority": {"header": "X-Prio", "default": " Medium ", "objectiveHeader": "X-Aim", "objectives": {"Chat": " HIGH", "batch": "low", "rest": "Medium"}, "rules": [{"set": "URGENT"}, {"match": {"keys": ["k*"]}, "max": "High"}]},
		"limits": [{"name": "a", "per": ["header:X-Team", "user"], "unit": "cost", "quantity": 1, "window": "1s",
			"match": {"headers": {"X-Tier": "gold*"}, "priorities": ["LOW", "medium"]}}],
		"upstreams": [{"name": "u", "queue": {"fairness": "header:X-Flow"}, "breaker": {"fallback": {"routeHeader": {"X-Fallback": "1"}}}}]}`)
	high, urgent := High, Urgent
	wantEqual(t, c.Identity.User.Headers, []string{"x-user"})
	wantEqual(t, c.Identity.Key, Source{Hash: true})
	wantEqual(t, c.Upstreams[0].Queue.Fairness, Fairness("header:x-flow"))
	wantEqual(t, c.Priority, PriorityRules{Header: "x-prio", Default: Normal, ObjectiveHeader: "x-aim",
		Objectives: map[string]string{"Chat": "high", "batch": "low", "rest": "normal"}, Rules: []PriorityRule{
			{Set: &urgent}, {Callers: Callers{Keys: []string{"k*"}}, Max: &high},
		}})
	wantEqual(t, c.Limits[0].Per, []string{"header:x-team", "user"})
	wantEqual(t, c.Limits[0].Match, Match{Headers: map[string]string{"x-tier": "gold*"}, Priorities: []Priority{Low, Normal}})
	wantEqual(t, c.Upstreams[0].Breaker.Fallback, Fallback{RouteHeader: map[string]string{"x-fallback": "1"}})
}

func TestParseEveryModelHasAPrice(t *testing.T) {
	c := mustParse(t, `{"usage": {"cost": [{"models": ["gpt-*"], "prompt": 10}]}}`)
	wantEqual(t, c.Usage.Cost, []CostWeights{
		{Models: []string{"gpt-*"}, Prompt: 10, Cached: 0.1, Completion: 4, Reasoning: 4},
		{Models: []string{"*"}, Prompt: 1, Cached: 0.1, Completion: 4, Reasoning: 4},
	})
}

func TestParseMinRequestsFollowsASmallBudget(t *testing.T) {
	c := mustParse(t, `{"upstreams": [{"name": "u", "budget": {"requests": 3}}]}`)
	if got := c.Upstreams[0].Retreat.MinRequests; got != 3 {
		t.Errorf("got minRequests %d, want 3", got)
	}
}

func TestParsePriority(t *testing.T) {
	for text, want := range map[string]Priority{
		"low": Low, "NORMAL": Normal, "medium": Normal, "MEDIUM": Normal, " High\t": High, "uRgEnT": Urgent,
	} {
		if got, ok := ParsePriority(text); !ok || got != want {
			t.Errorf("ParsePriority(%q) = %v, %v; want %v", text, got, ok, want)
		}
		if again, ok := ParsePriority(want.String()); !ok || again != want {
			t.Errorf("ParsePriority(%q) = %v, %v; want %v", want.String(), again, ok, want)
		}
	}
	for _, text := range []string{"", "lowest", "1", "ur gent"} {
		if got, ok := ParsePriority(text); ok || got != Normal {
			t.Errorf("ParsePriority(%q) = %v, %v; want NORMAL, false", text, got, ok)
		}
	}
	if got := strings.Join([]string{Low.String(), Normal.String(), High.String(), Urgent.String(), Priority(9).String()}, " "); got !=
		"LOW NORMAL HIGH URGENT UNKNOWN" {
		t.Errorf("got %s", got)
	}
}

// Trust that is left out is everybody's, an empty list is nobody's.
func TestParseTrust(t *testing.T) {
	for text, want := range map[string][]Callers{
		`{}`:                             nil,
		`{"priority":{"default":"low"}}`: nil,
		`{"priority":{"trust":[]}}`:      {},
		`{"priority":{"trust":[{}]}}`:    {{}},
		`{"priority":{"trust":[{"match":{"tenants":["a*"],"users":["b"]}},{"match":{"keys":["sk-*"]}}]}}`: {
			{Tenants: []string{"a*"}, Users: []string{"b"}}, {Keys: []string{"sk-*"}},
		},
	} {
		got := mustParse(t, text).Priority.Trust
		wantEqual(t, got, want)
		if (got == nil) != (want == nil) {
			t.Errorf("%s: %v", text, got)
		}
	}
}
