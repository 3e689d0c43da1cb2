package reply

import (
	"math"
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// unhealthy says that an upstream's breaker, latency gate or throttle refuses.
func unhealthy(b []byte, v *gate.Verdict, a *About) []byte {
	b = put(b, "Upstream ", a.Upstream)
	switch v.Reason {
	case gate.BreakerOpen:
		b = appendModel(put(b, " fails too often for "), a.Model)
		return put(numbers(b, v, appendPercent), " and is left alone for a while.")
	case gate.Probing:
		return put(appendModel(put(b, " has failed for "), a.Model), " and is being tried again by another request.")
	case gate.TTFT, gate.SLOTTFT:
		b = appendModel(put(b, " is too slow: time to first token of "), a.Model)
		return put(numbers(b, v, appendMilliseconds), ".")
	case gate.ITL, gate.SLOITL:
		b = appendModel(put(b, " is too slow: time between tokens of "), a.Model)
		return put(numbers(b, v, appendMilliseconds), ".")
	case gate.P99:
		b = put(b, " is too slow for a request of priority ", a.Priority, ": the slowest hundredth of the answers")
		return put(numbers(b, v, appendMilliseconds), ".")
	case gate.GPUMemory:
		return put(numbers(put(b, " is short of GPU memory for a request of priority ", a.Priority), v, appendPercent), ".")
	case gate.QPS:
		return put(numbers(put(b, " has too many requests for one of priority ", a.Priority), v, appendPerSecond), ".")
	default:
		return put(b, " is too busy for a request of priority ", a.Priority, ".")
	}
}

// numbers writes what was measured, if anything was.
func numbers(b []byte, v *gate.Verdict, write func([]byte, float64) []byte) []byte {
	if v.Measured < 0 {
		return b
	}
	return put(write(put(write(put(b, " ("), v.Measured), ", threshold "), v.Threshold), ")")
}

func appendPercent(b []byte, share float64) []byte {
	return put(strconv.AppendInt(b, int64(math.RoundToEven(share*100)), 10), " %")
}

func appendPerSecond(b []byte, n float64) []byte {
	return put(strconv.AppendFloat(b, n, 'f', 1, 64), "/s")
}

func appendMilliseconds(b []byte, n float64) []byte {
	return appendDuration(b, time.Duration(n*float64(time.Millisecond)))
}

// busy says that an upstream's engines and GPUs are full.
func busy(b []byte, v *gate.Verdict, a *About) []byte {
	switch v.Reason {
	case gate.Ceiling:
		b = put(b, "Every instance of upstream ", a.Upstream, " is too busy for a request of priority ", a.Priority)
	case gate.Stale:
		b = put(b, "It is not known how busy upstream ", a.Upstream, " is")
	default:
		b = put(b, "Every instance of upstream ", a.Upstream, " is busy")
	}
	if v.Measured >= 0 {
		b = appendPercent(put(b, ": KV-cache blocks in use "), v.Measured)
		b = appendPercent(put(b, ", threshold "), v.Threshold)
	}
	return put(b, ".")
}

// queued says that a request did not get its turn at its upstream.
func queued(b []byte, v *gate.Verdict, a *About) []byte {
	switch v.Reason {
	case gate.Timeout:
		return put(appendDuration(put(b, "Waited "), v.Waited), " for upstream ", a.Upstream, ", as long as a request of priority ", a.Priority, " may.")
	case gate.TooLarge:
		b = strconv.AppendInt(put(b, "The body is too large to wait for upstream ", a.Upstream, ": "), int64(v.Measured), 10)
		return put(strconv.AppendInt(put(b, " bytes, where bodies of up to "), int64(v.Threshold), 10), " can. Send less.")
	case gate.FullBytes:
		return put(b, "The queue for upstream ", a.Upstream, " is full: too many bytes wait there for a body of this size.")
	case gate.MaxWait:
		return put(appendDuration(put(b, "Waited "), v.Waited), " for upstream ", a.Upstream, ", as long as the request asks to.")
	case gate.NoWait:
		return put(b, "There is no room at upstream ", a.Upstream, " now, and the request asks not to wait.")
	case gate.Late:
		if v.Waited > 0 {
			b = put(appendDuration(put(b, "Waited "), v.Waited), " for upstream ", a.Upstream)
			return put(b, ", and could not be answered any more within the time that it asks for.")
		}
		b = put(b, "Too many wait for upstream ", a.Upstream, ": a request of priority ", a.Priority)
		return put(b, " could not have its turn in time.")
	case gate.Dropped:
		b = appendDuration(put(b, "Made room for a request that goes before it, after waiting "), v.Waited)
		return put(b, " for upstream ", a.Upstream, ".")
	case gate.Drained:
		return put(b, "Upstream ", a.Upstream, " is being drained.")
	case gate.Shed:
		return put(b, "There is no room at upstream ", a.Upstream, " for a request of priority ", a.Priority, ".")
	default:
		return put(b, "The queue for upstream ", a.Upstream, " is full.")
	}
}
