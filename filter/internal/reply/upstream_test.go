package reply

import (
	"strings"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

func TestAnswersOfShutGates(t *testing.T) {
	for _, test := range []struct {
		name   string
		format *Format
		status int
		about  About
		closed gate.Verdict
		want   string
	}{
		{
			"an open breaker", OpenAI, 503, About{Upstream: "up", Model: "m"}, gate.Verdict{Outcome: gate.Rejected, Gate: "breaker", Reason: "open", Measured: 0.85, Threshold: 0.5, Wait: 42 * second},
			`{"error":{"message":"Upstream up fails too often for m (85 %, threshold 50 %) and is left alone for a while. Please try again in 42s.","type":"server_error","param":null,"code":"service_unavailable"}}`,
		},
		{
			"one that is tried", Anthropic, 503, About{Upstream: "up"}, gate.Verdict{Outcome: gate.Rejected, Gate: "breaker", Reason: "half_open_probing", Measured: -1, Threshold: -1, Wait: second},
			`{"type":"error","error":{"type":"overloaded_error","message":"Upstream up has failed for any model and is being tried again by another request. Please try again in 1s."}}`,
		},
		{
			"TTFT", OpenAI, 429, About{Upstream: "up", Model: "m"}, gate.Verdict{Outcome: gate.Rejected, Gate: "latency", Reason: "ttft", Measured: 1240, Threshold: 1000, Wait: 6 * second},
			`{"error":{"message":"Upstream up is too slow: time to first token of m (1.24s, threshold 1s). Please try again in 6s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
		},
		{
			"ITL", Gemini, 429, About{Upstream: "up", Model: "m"}, gate.Verdict{Outcome: gate.Rejected, Gate: "latency", Reason: "slo_itl", Measured: 120, Threshold: 50, Wait: second},
			`{"error":{"code":429,"message":"Upstream up is too slow: time between tokens of m (120ms, threshold 50ms). Please try again in 1s.","status":"RESOURCE_EXHAUSTED"}}`,
		},
		{
			"P99", OpenAI, 429, About{Upstream: "up", Priority: "LOW"}, gate.Verdict{Outcome: gate.Rejected, Gate: "throttle", Reason: "p99", Measured: 9000, Threshold: 8000, Wait: second},
			`{"error":{"message":"Upstream up is too slow for a request of priority LOW: the slowest hundredth of the answers (9s, threshold 8s). Please try again in 1s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
		},
		{
			"QPS", &Dynamo, 429, About{Upstream: "up", Priority: "LOW"}, gate.Verdict{Outcome: gate.Rejected, Gate: "throttle", Reason: "qps", Measured: 56, Threshold: 30.5, Wait: second},
			`{"message":"Upstream up has too many requests for one of priority LOW (56.0/s, threshold 30.5/s). Please try again in 1s.","type":"rate_limit_exceeded","code":429}`,
		},
		{
			"GPU memory", &Dynamo, 429, About{Upstream: "up", Priority: "NORMAL"}, gate.Verdict{Outcome: gate.Rejected, Gate: "throttle", Reason: "gpu_memory", Measured: 0.8, Threshold: 0.75, Wait: second},
			`{"message":"Upstream up is short of GPU memory for a request of priority NORMAL (80 %, threshold 75 %). Please try again in 1s.","type":"rate_limit_exceeded","code":429}`,
		},
		{
			"signals together", &Dynamo, 429, About{Upstream: "up", Priority: "LOW"}, gate.Verdict{Outcome: gate.Rejected, Gate: "throttle", Reason: "fused", Measured: 0.8, Threshold: 0.6, Wait: second},
			`{"message":"Upstream up is too busy for a request of priority LOW. Please try again in 1s.","type":"rate_limit_exceeded","code":429}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := refuse(test.format, test.status, test.about, test.closed)
			if got := string(r.Body); got != test.want {
				t.Errorf("got\n%s\nwant\n%s", got, test.want)
			}
			if head := text(r); !strings.Contains(head, "\nx-spillway-reason: "+test.closed.Gate+"/"+test.closed.Reason+"\nretry-after: ") {
				t.Errorf("the headers are those of\n%s", head)
			}
		})
	}
}

// A configured answer keeps what says why it came and when to come back, unless its headers say otherwise.
func TestReplacedAnswers(t *testing.T) {
	about, closed := About{Upstream: "up", Model: "m"}, gate.Verdict{Outcome: gate.Rejected, Gate: "breaker", Reason: "open", Measured: 1, Threshold: 0.5, Wait: second}
	r := refuse(OpenAI, 503, about, closed)
	r.Replace(200, map[string]string{"content-type": "text/plain", "x-b": "2", "x-a": "1"}, "later")
	const want = "200\ncontent-type: text/plain\nx-spillway-reason: breaker/open\nretry-after: 1\nretry-after-ms: 1000\nx-a: 1\nx-b: 2\nlater"
	if got := text(r); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	r = refuse(OpenAI, 503, about, closed)
	r.Replace(503, map[string]string{"retry-after": "7200", "x-envoy-ratelimited": "false"}, "later")
	r.Finish(60 * second) // of two times clients would take the other, and sleep for this one
	if got, want := text(r), "503\ncontent-type: application/json\nx-spillway-reason: breaker/open\nretry-after: 7200\nx-envoy-ratelimited: false\nx-should-retry: false\nlater"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	r = refuse(Anthropic, 503, about, closed)
	if r.Replace(529, nil, ""); r.Status != 529 || !strings.HasPrefix(string(r.Body), `{"type":"error","error":{"type":"overloaded_error"`) {
		t.Errorf("without a body it is\n%s", text(r))
	}
}
