package reply

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// Closed is why an upstream's breaker, latency gate or throttle refused a request.
type Closed struct {
	Gate, Reason              string // closed sets: those of package adaptive
	Upstream, Model, Priority string
	Measured, Threshold       float64 // in the gate's unit; below 0: there is no such number
	Advice                    int64   // nanoseconds until it is worth trying again
}

// Shut writes the answer to it.
func Shut(format Format, status int, c Closed) *Reply {
	r := Refusal{Status: status, Reason: c.Gate + "/" + c.Reason, Kind: "server_error", Code: "service_unavailable", Wait: c.Advice}
	if status == 429 {
		r.Kind, r.Code = "requests", "rate_limit_exceeded"
	}
	of := "Upstream " + c.Upstream
	milliseconds := func(n float64) string { return Duration(int64(n * float64(time.Millisecond))) }
	numbers := func(write func(float64) string) string {
		if c.Measured < 0 {
			return ""
		}
		return " (" + write(c.Measured) + ", threshold " + write(c.Threshold) + ")"
	}
	switch c.Reason {
	case "open":
		r.Message = of + " fails too often for " + modelName(c.Model) + numbers(percent) + " and is left alone for a while."
	case "half_open_probing":
		r.Message = of + " has failed for " + modelName(c.Model) + " and is being tried again by another request."
	case "ttft", "slo_ttft":
		r.Message = of + " is too slow: time to first token of " + modelName(c.Model) + numbers(milliseconds) + "."
	case "itl", "slo_itl":
		r.Message = of + " is too slow: time between tokens of " + modelName(c.Model) + numbers(milliseconds) + "."
	case "p99":
		r.Message = of + " is too slow for a request of priority " + c.Priority + ": the slowest hundredth of the answers" + numbers(milliseconds) + "."
	case "gpu_memory":
		r.Message = of + " is short of GPU memory for a request of priority " + c.Priority + numbers(percent) + "."
	case "qps":
		perSecond := func(n float64) string { return strconv.FormatFloat(n, 'f', 1, 64) + "/s" }
		r.Message = of + " has too many requests for one of priority " + c.Priority + numbers(perSecond) + "."
	default:
		r.Message = of + " is too busy for a request of priority " + c.Priority + "."
	}
	r.Message += " Please try again in " + Duration(c.Advice) + "."
	return New(format, r)
}

func modelName(model string) string {
	if model == "" {
		return "any model"
	}
	return cut(model)
}

// Replace makes an answer the configured one. Without a body it keeps its own, an error in the request's dialect; what it says
// of why it was given, and when to come back, stays.
func (r *Reply) Replace(status int, headers map[string]string, body string) {
	r.Status = status
	if body != "" {
		r.Body = []byte(body)
	}
	for _, name := range slices.Sorted(maps.Keys(headers)) {
		at := slices.IndexFunc(r.Headers, func(h [2]string) bool { return h[0] == name })
		if at < 0 {
			r.add(name, headers[name])
		} else {
			r.Headers[at][1] = headers[name]
		}
	}
}
