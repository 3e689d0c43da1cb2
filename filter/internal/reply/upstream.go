package reply

import (
	"math"
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
)

// unhealthy says that an upstream's breaker, latency gate or throttle refuses.
func unhealthy(v *gate.Verdict) string {
	switch v.Reason {
	case gate.BreakerOpen:
		return "Upstream $upstream$ fails too often for $model$$percent$ and is left alone for a while."
	case gate.Probing:
		return "Upstream $upstream$ has failed for $model$ and is being tried again by another request."
	case gate.TTFT, gate.SLOTTFT:
		return "Upstream $upstream$ is too slow: time to first token of $model$$milliseconds$."
	case gate.ITL, gate.SLOITL:
		return "Upstream $upstream$ is too slow: time between tokens of $model$$milliseconds$."
	case gate.P99:
		return "Upstream $upstream$ is too slow for a request of priority $priority$: the slowest hundredth of the answers$milliseconds$."
	case gate.GPUMemory:
		return "Upstream $upstream$ is short of GPU memory for a request of priority $priority$$percent$."
	case gate.QPS:
		return "Upstream $upstream$ has too many requests for one of priority $priority$$rate$."
	default:
		return "Upstream $upstream$ is too busy for a request of priority $priority$."
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
func busy(v *gate.Verdict) string {
	switch v.Reason {
	case gate.Ceiling:
		return "Every instance of upstream $upstream$ is too busy for a request of priority $priority$$blocks$."
	case gate.Stale:
		return "It is not known how busy upstream $upstream$ is$blocks$."
	default:
		return "Every instance of upstream $upstream$ is busy$blocks$."
	}
}

// blocks writes how full they are, if that was measured.
func blocks(b []byte, v *gate.Verdict) []byte {
	if v.Measured < 0 {
		return b
	}
	return appendPercent(put(appendPercent(put(b, ": KV-cache blocks in use "), v.Measured), ", threshold "), v.Threshold)
}

// queued says that a request did not get its turn at its upstream.
func queued(v *gate.Verdict) string {
	switch v.Reason {
	case gate.Timeout:
		return "Waited $waited$ for upstream $upstream$, as long as a request of priority $priority$ may."
	case gate.TooLarge:
		return "The body is too large to wait for upstream $upstream$: $measured$ bytes, where bodies of up to $threshold$ can. Send less."
	case gate.FullBytes:
		return "The queue for upstream $upstream$ is full: too many bytes wait there for a body of this size."
	case gate.MaxWait:
		return "Waited $waited$ for upstream $upstream$, as long as the request asks to."
	case gate.NoWait:
		return "There is no room at upstream $upstream$ now, and the request asks not to wait."
	case gate.Late:
		if v.Waited > 0 {
			return "Waited $waited$ for upstream $upstream$, and could not be answered any more within the time that it asks for."
		}
		return "Too many wait for upstream $upstream$: a request of priority $priority$ could not have its turn in time."
	case gate.Dropped:
		return "Made room for a request that goes before it, after waiting $waited$ for upstream $upstream$."
	case gate.Drained:
		return "Upstream $upstream$ is being drained."
	case gate.Shed:
		return "There is no room at upstream $upstream$ for a request of priority $priority$."
	default:
		return "The queue for upstream $upstream$ is full."
	}
}
