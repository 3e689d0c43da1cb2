package reply

import (
	"strconv"
)

// Pressure is the gate on full engines and GPUs, as it is named in answers, metrics and the decision record.
const Pressure = "pressure"

// Full is why a request was refused for pressure.
type Full struct {
	Upstream, Priority  string
	Reason              string  // a closed set: busy, ceiling, stale
	Measured, Threshold float64 // share of KV-cache blocks; below 0: not known
	Advice              int64   // nanoseconds until it is worth trying again
}

// Pressed writes the answer to it. Where only a lower priority is refused, there is capacity: the status is 429.
func Pressed(format Format, status int, f Full) *Reply {
	r := Refusal{Status: status, Reason: Pressure + "/" + f.Reason, Kind: "server_error", Code: "service_unavailable", Wait: f.Advice}
	of := "upstream " + f.Upstream
	switch f.Reason {
	case "ceiling":
		r.Status, r.Kind, r.Code = 429, "requests", "rate_limit_exceeded"
		r.Message = "Every instance of " + of + " is too busy for a request of priority " + f.Priority
	case "stale":
		r.Message = "It is not known how busy " + of + " is"
	default:
		r.Message = "Every instance of " + of + " is busy"
	}
	if f.Measured >= 0 {
		r.Message += ": KV-cache blocks in use " + percent(f.Measured) + ", threshold " + percent(f.Threshold)
	}
	r.Message += ". Please try again in " + Duration(f.Advice) + "."
	return New(format, r)
}

func percent(share float64) string { return strconv.FormatFloat(share*100, 'f', 0, 64) + " %" }
