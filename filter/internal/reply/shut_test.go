package reply

import (
	"strings"
	"testing"
)

func TestAnswersOfShutGates(t *testing.T) {
	for _, test := range []struct {
		name   string
		format Format
		status int
		closed Closed
		want   string
	}{
		{
			"an open breaker", OpenAI, 503, Closed{Gate: "breaker", Reason: "open", Upstream: "up", Model: "m", Measured: 0.85, Threshold: 0.5, Advice: 42 * second},
			`{"error":{"message":"Upstream up fails too often for m (85 %, threshold 50 %) and is left alone for a while. Please try again in 42s.","type":"server_error","param":null,"code":"service_unavailable"}}`,
		},
		{
			"one that is tried", Anthropic, 503, Closed{Gate: "breaker", Reason: "half_open_probing", Upstream: "up", Measured: -1, Threshold: -1, Advice: second},
			`{"type":"error","error":{"type":"overloaded_error","message":"Upstream up has failed for any model and is being tried again by another request. Please try again in 1s."}}`,
		},
		{
			"TTFT", OpenAI, 429, Closed{Gate: "latency", Reason: "ttft", Upstream: "up", Model: "m", Measured: 1240, Threshold: 1000, Advice: 6 * second},
			`{"error":{"message":"Upstream up is too slow: time to first token of m (1.24s, threshold 1s). Please try again in 6s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
		},
		{
			"ITL", Gemini, 429, Closed{Gate: "latency", Reason: "slo_itl", Upstream: "up", Model: "m", Measured: 120, Threshold: 50, Advice: second},
			`{"error":{"code":429,"message":"Upstream up is too slow: time between tokens of m (120ms, threshold 50ms). Please try again in 1s.","status":"RESOURCE_EXHAUSTED"}}`,
		},
		{
			"P99", OpenAI, 429, Closed{Gate: "throttle", Reason: "p99", Upstream: "up", Priority: "LOW", Measured: 9000, Threshold: 8000, Advice: second},
			`{"error":{"message":"Upstream up is too slow for a request of priority LOW: the slowest hundredth of the answers (9s, threshold 8s). Please try again in 1s.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`,
		},
		{
			"QPS", Dynamo, 429, Closed{Gate: "throttle", Reason: "qps", Upstream: "up", Priority: "LOW", Measured: 56, Threshold: 30.5, Advice: second},
			`{"message":"Upstream up has too many requests for one of priority LOW (56.0/s, threshold 30.5/s). Please try again in 1s.","type":"rate_limit_exceeded","code":429}`,
		},
		{
			"GPU memory", Dynamo, 429, Closed{Gate: "throttle", Reason: "gpu_memory", Upstream: "up", Priority: "NORMAL", Measured: 0.8, Threshold: 0.75, Advice: second},
			`{"message":"Upstream up is short of GPU memory for a request of priority NORMAL (80 %, threshold 75 %). Please try again in 1s.","type":"rate_limit_exceeded","code":429}`,
		},
		{
			"signals together", Dynamo, 429, Closed{Gate: "throttle", Reason: "fused", Upstream: "up", Priority: "LOW", Measured: 0.8, Threshold: 0.6, Advice: second},
			`{"message":"Upstream up is too busy for a request of priority LOW. Please try again in 1s.","type":"rate_limit_exceeded","code":429}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := Shut(test.format, test.status, test.closed)
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
	closed := Closed{Gate: "breaker", Reason: "open", Upstream: "up", Model: "m", Measured: 1, Threshold: 0.5, Advice: second}
	r := Shut(OpenAI, 503, closed)
	r.Replace(200, map[string]string{"content-type": "text/plain", "x-b": "2", "x-a": "1"}, "later")
	const want = "200\ncontent-type: text/plain\nx-spillway-reason: breaker/open\nretry-after: 1\nretry-after-ms: 1000\nx-a: 1\nx-b: 2\nlater"
	if got := text(r); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	r = Shut(Anthropic, 503, closed)
	if r.Replace(529, nil, ""); r.Status != 529 || !strings.HasPrefix(string(r.Body), `{"type":"error","error":{"type":"overloaded_error"`) {
		t.Errorf("without a body it is\n%s", text(r))
	}
}
