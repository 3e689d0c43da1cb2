package reply

import (
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// closed says that an upstream's breaker, latency gate or throttle refuses.
func closed(v *gate.Verdict, a *About) string {
	of := "Upstream " + a.Upstream
	switch v.Reason {
	case gate.BreakerOpen:
		return of + " fails too often for " + modelName(a.Model) + numbers(v, percent) + " and is left alone for a while."
	case gate.Probing:
		return of + " has failed for " + modelName(a.Model) + " and is being tried again by another request."
	case gate.TTFT, gate.SLOTTFT:
		return of + " is too slow: time to first token of " + modelName(a.Model) + numbers(v, milliseconds) + "."
	case gate.ITL, gate.SLOITL:
		return of + " is too slow: time between tokens of " + modelName(a.Model) + numbers(v, milliseconds) + "."
	case gate.P99:
		return of + " is too slow for a request of priority " + a.Priority + ": the slowest hundredth of the answers" + numbers(v, milliseconds) + "."
	case gate.GPUMemory:
		return of + " is short of GPU memory for a request of priority " + a.Priority + numbers(v, percent) + "."
	case gate.QPS:
		return of + " has too many requests for one of priority " + a.Priority + numbers(v, perSecond) + "."
	default:
		return of + " is too busy for a request of priority " + a.Priority + "."
	}
}

// numbers writes what was measured, if anything was.
func numbers(v *gate.Verdict, write func(float64) string) string {
	if v.Measured < 0 {
		return ""
	}
	return " (" + write(v.Measured) + ", threshold " + write(v.Threshold) + ")"
}

func percent(share float64) string  { return strconv.FormatFloat(share*100, 'f', 0, 64) + " %" }
func perSecond(n float64) string    { return strconv.FormatFloat(n, 'f', 1, 64) + "/s" }
func milliseconds(n float64) string { return Duration(time.Duration(n * float64(time.Millisecond))) }

// pressed says that an upstream's engines and GPUs are full.
func pressed(v *gate.Verdict, a *About) (message string) {
	of := "upstream " + a.Upstream
	switch v.Reason {
	case gate.Ceiling:
		message = "Every instance of " + of + " is too busy for a request of priority " + a.Priority
	case gate.Stale:
		message = "It is not known how busy " + of + " is"
	default:
		message = "Every instance of " + of + " is busy"
	}
	if v.Measured >= 0 {
		message += ": KV-cache blocks in use " + percent(v.Measured) + ", threshold " + percent(v.Threshold)
	}
	return message + "."
}

// turned says that a request did not get its turn at its upstream.
func turned(v *gate.Verdict, a *About) string {
	of := "upstream " + a.Upstream
	switch v.Reason {
	case gate.Timeout:
		return "Waited " + Duration(v.Waited) + " for " + of + ", as long as a request of priority " + a.Priority + " may."
	case gate.Dropped:
		return "Made room for a request that goes before it, after waiting " + Duration(v.Waited) + " for " + of + "."
	case gate.Shed:
		return "There is no room at " + of + " for a request of priority " + a.Priority + "."
	default:
		return "The queue for " + of + " is full."
	}
}
