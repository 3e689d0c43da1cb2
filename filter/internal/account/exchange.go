package account

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// Exchange is one request and its answer: all that matters for what it costs.
type Exchange struct {
	Reader usage.ResponseReader // reads the answer's body; its memory is used again
	Facts
}

// Facts is what is known so far.
type Facts struct {
	// Of the request.
	Dialect *usage.Dialect // nil: bodies are not read
	Asked   usage.Request  // what its body has said
	Length  int64          // bytes of its body, as announced; -1: not announced
	Model   string         // the model whose limits apply, by Identify; "": it can't be told, or not yet
	Since   clock.Moment   // when its headers came
	Sent    clock.Moment   // when it was let go to the upstream

	// Of the answer.
	Origin   origin.Origin
	Status   int          // HTTP; 0: it has not begun
	Stream   bool         // it comes in events, or document by document
	Readable bool         // its body is read
	First    clock.Moment // when the first output came; 0: none has
	Last     clock.Moment // when the last output came
	Outputs  int64        // events with output so far

	told    int64     // completion tokens of a stream so far, as Passed last said
	who     [3]string // who asks: tenant, user, key
	known   bool      // learner is that of the model and of who asks
	learner learner
	decided learner // by which it was decided
}

// learner is by which hashes is learned: of the model, and of the model and who asks.
type learner struct{ model, subject uint64 }

// Reset makes an exchange ready for the next request.
func (x *Exchange) Reset() { x.Facts = Facts{} }

// Identify says which model's limits apply, and who asks: tenant, user and key.
func (x *Exchange) Identify(model string, who [3]string) { x.Model, x.who, x.known = model, who, false }

// Begin says how the answer comes: whether its body can be read, and whether its content type is that of server-sent events.
func (x *Exchange) Begin(readable, events bool) {
	x.Stream = events || x.Asked.Stream // Gemini's can be one growing document
	if x.Readable = readable && x.Dialect != nil; x.Readable {
		x.Reader.Reset(x.Dialect, events)
	}
}

// Answered says that an answer has begun, the proxy's own included.
func (x *Exchange) Answered() bool { return x.Status != 0 }

// Failed says that the upstream did not serve the request through a fault or shortage of its own.
func (x *Exchange) Failed() bool { return failure(x.Status) }

func failure(status int) bool { return status >= 500 || status == 429 }

// bytes is the size of the request's body, as far as it is known.
func (x *Exchange) bytes() int64 { return max(x.Asked.Bytes, x.Length, 0) }

// times is how fast the answer came, as its client saw it: waiting for a turn is part of it. What doesn't stream comes as a whole, and has no
// inter-token latency.
func (x *Exchange) times(now clock.Moment, status int) (ttft, itl time.Duration) {
	ttft, itl = usage.Absent, usage.Absent
	switch {
	case !x.Stream:
		if x.Answered() && status < 400 {
			ttft = max(now.Sub(x.Since), 0)
		}
	case x.First != 0:
		if ttft = max(x.First.Sub(x.Since), 0); x.Outputs > 1 {
			itl = max(x.Last.Sub(x.First), 0) / time.Duration(x.Outputs-1)
		}
	}
	return ttft, itl
}
