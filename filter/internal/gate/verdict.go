// Package gate is the language of what may stand in a request's way: the gates' names, and what one of them says of a request.
//
// A gate is what decides about requests: those of an upstream (packages health, pressure, dispatch), the limits (package limit),
// and what the engine itself asks of a request. All say it by a Verdict; package admit does what it says, once for all gates;
// package reply makes an answer of it, and knows no gate's package. Verdicts are plain values, without a word of whose request it is: they are
// copied into memory that is used again.
package gate

import (
	"math"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/inplace"
)

// The gates, as answers, metrics and decisions name them. First those that ask whether a request can be taken at all.
const (
	Identity = "identity" // it says whose it is
	Request  = "request"  // it asks for nothing that can't be had
	Model    = "model"    // it says which model it is for

	Operation = "operation" // it is known what it asks for

	Breaker  = "breaker"
	Pressure = "pressure"
	Latency  = "latency"
	Throttle = "throttle"
	Limits   = "limits"
	Queue    = "queue"
)

// Outcome is what becomes of a request.
type Outcome uint8

// The outcomes.
const (
	Allowed   Outcome = iota
	Queued            // it waits; as what became of it in the end: it waited, and passed
	Shadowed          // it passes, and would not if the gate were not in shadow mode
	Rejected          // it is refused
	Open              // it is refused, by an open breaker
	HalfOpen          // it is refused, by a breaker that is trying others
	FellBack          // the breaker is open, and it was sent elsewhere
	Cancelled         // the client left before it was decided
	Faulted           // it passed undecided, for a fault of ours
)

// String gives its name, as it stands in the filter state and in metrics.
func (o Outcome) String() string { return outcomes[o] }

var outcomes = [...]string{"ALLOWED", "QUEUED", "SHADOW", "REJECTED", "OPEN", "HALF_OPEN", "FALLBACK", "CANCELLED", "FAULT"}

// Refuses says that the request goes no further.
func (o Outcome) Refuses() bool { return o == Rejected || o == Open || o == HalfOpen }

// Absent is a number that a verdict does not have.
const Absent = -1

// Never is the wait after which nothing is different.
const Never = time.Duration(math.MaxInt64)

// Verdict is what a gate says of a request, and what became of the request by that. The zero value is that of a gate that has nothing
// to say.
type Verdict struct {
	Outcome   Outcome
	Gate      string        // "": none had anything to say
	Reason    string        // of a closed set for each gate; "": there is nothing against it
	Text      Text          // the reason with its numbers, as an operator reads it, where a gate has that: ttft_1240ms_over_1000ms
	Message   string        // to the client, of a gate that judges the request itself: what is wrong with it, and what would be right
	Measured  float64       // with a reason: units of the limit (dollars), shares, milliseconds, requests a second; Absent: there is no such number
	Threshold float64       // the same
	Wait      time.Duration // until it is worth trying again; 0: not said; Never
	Waited    time.Duration // that it has waited already

	// Of a limit.
	Limit     *config.Limit // the one that refuses; nil: it is another gate's
	Requested int64         // units asked for; of money billionths of a dollar
	Reset     time.Duration // until it is full

	Warning bool  // it passes, but what is measured is near the threshold
	Err     error // a record could not be used
}

// Text is a short text that lives in the value itself, so that to refuse costs no memory. What doesn't fit is cut.
type Text struct {
	length uint8
	bytes  [47]byte
}

// Set takes a text over.
func (t *Text) Set(text []byte) { t.length = uint8(copy(t.bytes[:], text)) }

// String is the text in place: good for as long as the value stays as it is.
func (t *Text) String() string { return inplace.String(t.bytes[:t.length]) }

// Append appends it.
func (t *Text) Append(b []byte) []byte { return append(b, t.bytes[:t.length]...) }

// Because makes a verdict that has no numbers.
func Because(outcome Outcome, gate, reason string) Verdict {
	return Verdict{Outcome: outcome, Gate: gate, Reason: reason, Measured: Absent, Threshold: Absent}
}

// Unchecked says that a limit refuses because nobody knows what it has left.
func (v *Verdict) Unchecked() bool { return v.Reason == Contended || v.Reason == FleetDown }

// Headroom is how much of a limit is left.
type Headroom struct {
	Limit     *config.Limit // nil: no limit of the kind applies
	Remaining int64         // units
	Reset     time.Duration // until the bucket is full
}

// Used is what a limit that refuses has used, in units; of money billionths of a dollar.
func (v *Verdict) Used() int64 {
	if v.Limit.Unit.Money() {
		return int64(math.Round(v.Measured * config.Dollar))
	}
	return int64(v.Measured)
}

// Left is what a limit that refuses has left.
func (v *Verdict) Left() Headroom {
	h := Headroom{Limit: v.Limit, Reset: v.Reset}
	if v.Limit != nil && v.Measured != Absent {
		h.Remaining = max(v.Limit.Burst-v.Used(), 0)
	}
	return h
}
