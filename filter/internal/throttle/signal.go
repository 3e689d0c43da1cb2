package throttle

import (
	"math"
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// amount is what a resource is counted in: requests, tokens, nanoseconds, bytes, shares.
type amount interface{ ~int64 | ~float64 }

// limiter watches one resource, whatever it is counted in, and reduces it to a Level, so that all resources are judged alike.
// Rate serves what arrives (requests, tokens), Tail what takes time, Memory what fills up (GPU bytes).
type limiter[T amount] interface {
	Observe(now clock.Moment, c *Settings, amount T) // takes note of an amount
	Level(now clock.Moment, c *Settings) Level       // judges it
}

var (
	_ limiter[int64]         = (*Rate)(nil)
	_ limiter[time.Duration] = (*Tail)(nil)
	_ limiter[float64]       = (*Memory)(nil)
)

// Level is how a resource stands. The zero value is one of which nothing is known.
type Level struct {
	Value, Threshold float64 // in the resource's unit
	Known            bool    // enough is known for it to count
	Over             bool    // it trips
	stirs            bool    // it is not calm: what is tripped stays so
	severity         float64 // how far it is above its threshold, from 0 to 1
}

// newLevel judges a value. severity is that above the threshold.
func newLevel(value, threshold, severity float64, known bool) Level {
	l := Level{Value: value, Threshold: threshold, Known: known && threshold > 0}
	l.Over, l.stirs = l.Known && value > threshold, l.Known && value > clearAt*threshold
	if l.Over {
		l.severity = min(max(severity, 0), 1)
	}
	return l
}

// excess is the share by which a value would have to fall to be at its threshold.
func excess(value, threshold float64) float64 { return 1 - threshold/value }

// score is where a value stands between nothing and twice its threshold, from 0 to 1: at its threshold it is a half.
func (l *Level) score() (score float64, known bool) {
	if !l.Known {
		return 0, false
	}
	return min(max(l.Value/l.Threshold/2, 0), 1), true
}

// Signal names a resource that is watched.
type Signal uint8

// The signals.
const (
	None Signal = iota
	Arrivals
	TailLatency
	GPUMemory

	signals
)

// String is the signal as it is named in reasons.
func (s Signal) String() string {
	switch s {
	case Arrivals:
		return "qps"
	case TailLatency:
		return "p99"
	case GPUMemory:
		return "gpu_memory"
	default:
		return "none"
	}
}

// Trigger is when and why it tripped. The zero value is never. What is measured is in requests a second, nanoseconds or a
// share; if Fused, it is the confidence in an overload, to which the signal contributed most.
type Trigger struct {
	At                  clock.Moment
	Signal              Signal
	Fused               bool
	Measured, Threshold float64
}

// String is the reason as an operator reads it, such as qps_34.2_over_24.5, p99_9.1s_over_8s, gpu_memory_82%_over_75% or
// fused_p99_0.62_over_0.5; "" if it never tripped.
func (t Trigger) String() string { return string(t.Append(make([]byte, 0, 48))) }

// Append appends that.
func (t Trigger) Append(b []byte) []byte {
	if t.Signal >= signals || t.Signal == None {
		return b
	}
	scale, unit := 1.0, ""
	switch {
	case t.Fused:
	case t.Signal == TailLatency:
		scale, unit = 1e-9, "s"
	case t.Signal == GPUMemory:
		scale, unit = 100, "%"
	}
	if t.Fused {
		b = append(b, "fused_"...)
	}
	b = append(append(b, t.Signal.String()...), '_')
	b = append(append(appendShort(b, t.Measured*scale), unit...), "_over_"...)
	return append(appendShort(b, t.Threshold*scale), unit...)
}

// appendShort writes a number with two decimals at most, as few as it takes.
func appendShort(b []byte, n float64) []byte {
	return strconv.AppendFloat(b, math.Round(n*100)/100, 'f', -1, 64)
}
