package reply

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

const second = time.Second

// limitOf is a limit of 300 an hour, named u.
func limitOf(unit *config.Unit) *config.Limit {
	return &config.Limit{Name: "u", Unit: unit, Quantity: 300, Burst: 300, Window: time.Hour}
}

// denied is what a limit says that refuses.
func denied(unit *config.Unit, used, requested int64, wait time.Duration, contended bool) gate.Verdict {
	v := gate.Because(gate.Rejected, gate.Limits, unit.Reason)
	v.Limit, v.Requested, v.Wait, v.Reset = limitOf(unit), requested, wait, wait
	switch {
	case contended:
		v.Reason = gate.Contended
		return v
	case wait == gate.Never:
		v.Reason = gate.TooLarge
	}
	v.Measured, v.Threshold, v.Reset = float64(used), float64(v.Limit.Burst), time.Duration(used*int64(v.Limit.Window)/v.Limit.Quantity)
	return v
}

// underWay is what a limit of requests under way says that refuses.
func underWay(now, most int64) gate.Verdict {
	v := gate.Because(gate.Rejected, gate.Limits, config.Inflight.Reason)
	v.Limit = &config.Limit{Name: "a", Unit: config.Inflight, Quantity: most, Burst: most}
	v.Measured, v.Threshold, v.Requested, v.Wait = float64(now), float64(most), 1, second
	return v
}

// refuse gives the answer to a verdict, where its status is configured so.
func refuse(format *Format, status int, a About, v gate.Verdict) *Reply {
	r := new(Reply)
	a.Format = format
	r.Refuse(&v, &a, &config.StatusCode{Limits: status, Latency: status, Throttle: status, QueueTimeout: status, QueueFull: status, Breaker: status, Pressure: status})
	return r
}

// refusal is what an answer says.
type refusal struct {
	Status          int
	Reason, Message string
	Wait            time.Duration
}

// New gives the answer to a refusal.
func New(format *Format, f refusal) *Reply {
	r := new(Reply)
	r.head(f.Status, f.Reason, f.Wait)
	r.Body = format.Append(nil, f.Status, f.Message, "", "")
	return r
}

// text writes an answer down, for comparison.
func text(r *Reply) string {
	lines := []string{fmt.Sprint(r.Status)}
	for _, header := range r.Headers {
		lines = append(lines, header[0]+": "+header[1])
	}
	return strings.Join(append(lines, string(r.Body)), "\n")
}

func TestDenials(t *testing.T) {
	tests := []struct {
		name   string
		format *Format
		status int
		model  string
		denial gate.Verdict
		want   []string
	}{
		{"of tokens", OpenAI, 429, "llama-3", denied(config.CompletionTokens, 304, 100, 48*second, false), []string{
			"429", "content-type: application/json", "x-spillway-reason: limits/tokens_exceeded", "retry-after: 48", "retry-after-ms: 48000",
			"x-ratelimit-limit-tokens: 300", "x-ratelimit-remaining-tokens: 0", "x-ratelimit-reset-tokens: 1h0m48s",
			`{"error":{"message":"Rate limit reached for llama-3 on tokens per hour: limit 300, used 304, requested 100. Please try again in 48s. (limit u)","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`,
		}},
		{"of requests, the model unknown", OpenAI, 529, "", denied(config.Requests, 300, 1, 11_999_000_001, false), []string{
			"529", "content-type: application/json", "x-spillway-reason: limits/requests_exceeded", "retry-after: 12", "retry-after-ms: 12000",
			"x-ratelimit-limit-requests: 300", "x-ratelimit-remaining-requests: 0", "x-ratelimit-reset-requests: 1h0m0s",
			`{"error":{"message":"Rate limit reached for any model on requests per hour: limit 300, used 300, requested 1. Please try again in 12s. (limit u)","type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
		}},
		{"of costs", OpenAI, 429, "m", denied(config.Cost, 300, 7, 20_000_000, false), []string{
			"429", "content-type: application/json", "x-spillway-reason: limits/cost_exceeded", "retry-after: 1", "retry-after-ms: 20",
			"x-ratelimit-limit-tokens: 300", "x-ratelimit-remaining-tokens: 0", "x-ratelimit-reset-tokens: 1h0m0s",
			`{"error":{"message":"Rate limit reached for m on cost units per hour: limit 300, used 300, requested 7. Please try again in 20ms. (limit u)","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`,
		}},
		{"of what can never fit", OpenAI, 429, "m", denied(config.TotalTokens, 12, 500, math.MaxInt64, false), []string{
			"429", "content-type: application/json", "x-spillway-reason: limits/request_too_large", "x-should-retry: false",
			"x-ratelimit-limit-tokens: 300", "x-ratelimit-remaining-tokens: 288", "x-ratelimit-reset-tokens: 2m24s",
			`{"error":{"message":"Request too large for m on total tokens per hour: limit 300, requested 500. Ask for at most 300; waiting will not help. (limit u)","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`,
		}},
		{"of what could not be checked", OpenAI, 429, "m", denied(config.PromptTokens, 0, 0, second, true), []string{
			"429", "content-type: application/json", "x-spillway-reason: limits/contended", "retry-after: 1", "retry-after-ms: 1000",
			"x-ratelimit-limit-tokens: 300", "x-ratelimit-remaining-tokens: 0", "x-ratelimit-reset-tokens: 1s",
			`{"error":{"message":"Limit u could not be checked in time. Please try again in 1s.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`,
		}},
		{"of requests under way", OpenAI, 429, "m", underWay(6, 4), []string{
			"429", "content-type: application/json", "x-spillway-reason: limits/inflight_exceeded", "retry-after: 1", "retry-after-ms: 1000",
			`{"error":{"message":"Rate limit reached for m on requests under way at once: limit 4, now 6, requested 1. Please try again in 1s. (limit a)","type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
		}},
		{"as Dynamo writes them", &Dynamo, 429, "llama-3", denied(config.CompletionTokens, 304, 100, 48*second, false), []string{
			"429", "content-type: application/json", "x-spillway-reason: limits/tokens_exceeded", "retry-after: 48", "retry-after-ms: 48000",
			"x-ratelimit-limit-tokens: 300", "x-ratelimit-remaining-tokens: 0", "x-ratelimit-reset-tokens: 1h0m48s",
			`{"message":"Rate limit reached for llama-3 on tokens per hour: limit 300, used 304, requested 100. Please try again in 48s. (limit u)","type":"rate_limit_exceeded","code":429}`,
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, want := text(refuse(test.format, test.status, About{Model: test.model}, test.denial)), strings.Join(test.want, "\n")
			if got != want {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
		})
	}
}

func TestDynamoCallsAnOverloadUnavailable(t *testing.T) {
	got := New(&Dynamo, refusal{Status: 503, Reason: "pressure/busy", Message: "All are busy.", Wait: 1})
	want := "503\ncontent-type: application/json\nx-spillway-reason: pressure/busy\nretry-after: 1\nretry-after-ms: 1\n" +
		`{"message":"All are busy.","type":"service_unavailable","code":503}`
	if text(got) != want {
		t.Errorf("got\n%s\nwant\n%s", text(got), want)
	}
}

func TestAWaitIsRoundedUp(t *testing.T) {
	tests := []struct {
		wait                  time.Duration
		seconds, milliseconds string // "": no header
	}{
		{0, "", ""}, {1, "1", "1"}, {1_000_000, "1", "1"}, {1_000_001, "1", "2"}, {second - 1, "1", "1000"}, {second, "1", "1000"},
		{second + 1, "2", "1001"}, {48 * second, "48", "48000"}, {math.MaxInt64 - 1, "9223372037", "9223372036855"}, {math.MaxInt64, "", ""},
	}
	for _, test := range tests {
		found := map[string]string{}
		for _, header := range New(OpenAI, refusal{Status: 429, Wait: test.wait}).Headers {
			found[header[0]] = header[1]
		}
		if found["retry-after"] != test.seconds || found["retry-after-ms"] != test.milliseconds {
			t.Errorf("%d: %q s, %q ms", test.wait, found["retry-after"], found["retry-after-ms"])
		}
		if never := found["x-should-retry"] == "false"; never != (test.wait == math.MaxInt64) {
			t.Errorf("%d: x-should-retry is %q", test.wait, found["x-should-retry"])
		}
	}
}

func TestDurations(t *testing.T) {
	for _, test := range []struct {
		time time.Duration
		want string
	}{
		{-5, "0s"}, {0, "0s"}, {1, "1ms"}, {20_000_000, "20ms"}, {19_000_001, "20ms"}, {second, "1s"}, {second + 500_000_000, "1.5s"},
		{10*second - 1, "10s"}, {10 * second, "10s"}, {10*second + 1, "11s"}, {59*second + 1, "1m0s"}, {6 * 60 * second, "6m0s"},
		{3600 * second, "1h0m0s"}, {math.MaxInt64, "2562047h47m16.854775807s"},
	} {
		if got := string(appendDuration(nil, test.time)); got != test.want {
			t.Errorf("%d: %s, want %s", test.time, got, test.want)
		}
	}
}

func TestWindows(t *testing.T) {
	for window, want := range map[time.Duration]string{
		time.Second: "second", time.Minute: "minute", time.Hour: "hour", 24 * time.Hour: "day", 90 * time.Second: "1m30s",
	} {
		if got := string(appendWindow(nil, window)); got != want {
			t.Errorf("%d: %s, want %s", window, got, want)
		}
	}
}

func TestHeadroom(t *testing.T) {
	const ours = "[x-ratelimit-limit-tokens 300] [x-ratelimit-remaining-tokens 224] [x-ratelimit-reset-tokens 15m12s]"
	const standard = `[ratelimit "u";r=224;t=912] [ratelimit-policy "u";q=300;w=3600;qu="prompt tokens"]`
	none, tokens := new(gate.Headroom), &gate.Headroom{Limit: limitOf(config.PromptTokens), Remaining: 224, Reset: 912 * second}
	for style, want := range map[config.RateLimitStyle]string{
		config.RateLimitsOpenAI: ours, config.RateLimitsIETF: standard, config.RateLimitsBoth: ours + " " + standard,
	} {
		if got, _ := AppendHeadroom(nil, nil, &Told{Style: style}, none, none); got != nil {
			t.Errorf("%s, without a limit: %v", style, got)
		}
		got, _ := AppendHeadroom([][2]string{{"a", "b"}}, []byte("text"), &Told{Style: style}, none, tokens)
		if want = "[[a b] " + want + "]"; fmt.Sprint(got) != want {
			t.Errorf("%s: got %v, want %s", style, got, want)
		}
	}
}

// FuzzBody: whatever a client calls its model, the answer is JSON, and as long as it should be.
func FuzzBody(f *testing.F) {
	f.Add("llama-3", uint8(0), int64(48e9), false)
	f.Add("\"}\\\x00\x7f\u2028\xff\xed\xa0\x80", uint8(1), int64(math.MaxInt64), true)
	f.Add(strings.Repeat("é", 100), uint8(4), int64(1), true)
	f.Add("</script><!--", uint8(2), int64(0), false)
	f.Fuzz(func(t *testing.T, model string, unit uint8, wait int64, contended bool) {
		denial := denied(config.Units[int(unit)%len(config.Units)], 5, 9, time.Duration(wait), contended)
		for _, format := range []*Format{OpenAI, Anthropic, Gemini, &Dynamo} {
			r := refuse(format, 429, About{Model: model}, denial)
			if !json.Valid(r.Body) {
				t.Fatalf("not JSON: %q", r.Body)
			}
			if len(r.Body) > 400+6*maxShown {
				t.Fatalf("%d bytes: %q", len(r.Body), r.Body)
			}
			for _, header := range r.Headers {
				if strings.ContainsFunc(header[0]+header[1], func(c rune) bool { return c < ' ' || c > '~' }) {
					t.Fatalf("header %q", header)
				}
			}
		}
	})
}

// Each answer is as good as the first, and takes no memory once some like it were given.
func TestAnswersAllocateNothing(t *testing.T) {
	busy := gate.Verdict{Outcome: gate.Rejected, Gate: gate.Pressure, Reason: gate.Busy, Measured: 0.9, Threshold: 0.85, Wait: second}
	open := gate.Verdict{Outcome: gate.Open, Gate: gate.Breaker, Reason: gate.BreakerOpen, Measured: 0.9, Threshold: 0.5, Wait: 42 * second}
	slow := gate.Verdict{Outcome: gate.Rejected, Gate: gate.Latency, Reason: gate.TTFT, Measured: 1240, Threshold: 1000, Wait: second}
	many := gate.Verdict{Outcome: gate.Rejected, Gate: gate.Throttle, Reason: gate.QPS, Measured: 56, Threshold: 30.5, Wait: second}
	late := gate.Verdict{Outcome: gate.Rejected, Gate: gate.Queue, Reason: gate.Timeout, Waited: 1500 * time.Millisecond, Wait: second}
	odd := gate.Verdict{Outcome: gate.Rejected, Gate: gate.Request, Reason: gate.Expectation, Message: "\x01 \u2028 Don't.", Wait: gate.Never}
	verdicts := []gate.Verdict{
		denied(config.CompletionTokens, 304, 100, 48*second, false), denied(config.Cost, 12, 500, math.MaxInt64, false),
		denied(config.PromptTokens, 0, 0, second, true), underWay(6, 4), busy, open, slow, many, late, odd,
	}
	about := About{Format: OpenAI, Upstream: "up", Model: strings.Repeat("é", 100), Priority: "LOW"}
	statuses := config.StatusCode{Limits: 429, Latency: 429, Throttle: 429, QueueTimeout: 429, QueueFull: 429, Breaker: 429, Pressure: 429}
	r := new(Reply)
	var first [10]string
	for i := range verdicts {
		first[i] = text(refuse(OpenAI, 429, about, verdicts[i]))
	}
	for i := range verdicts {
		if r.Refuse(&verdicts[i], &about, &statuses); text(r) != first[i] {
			t.Errorf("got\n%s\nwant\n%s", text(r), first[i])
		}
		if n := testing.AllocsPerRun(10, func() {
			r.Refuse(&verdicts[i], &about, &statuses)
			r.Finish(second)
		}); n != 0 {
			t.Errorf("%s/%s: %v allocations", verdicts[i].Gate, verdicts[i].Reason, n)
		}
	}
	var headers [][2]string
	var memory []byte
	if n := testing.AllocsPerRun(10, func() {
		requests, tokens := verdicts[0].Left(), verdicts[1].Left()
		headers, memory = AppendHeadroom(headers[:0], memory[:0], &Told{Style: config.RateLimitsOpenAI}, &requests, &tokens)
	}); n != 0 || len(headers) != 6 || headers[0][1] != "300" || headers[5][1] != "2m24s" {
		t.Errorf("%v allocations for %v", n, headers)
	}
}
