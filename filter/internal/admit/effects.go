package admit

import (
	"github.com/spillway-proxy/spillway/filter/internal/reply"
	"github.com/spillway-proxy/spillway/filter/internal/usage"
)

// Action is what the host must do with the part of the message that it showed.
type Action uint8

// The actions.
const (
	Continue Action = iota
	Hold            // keep it back
	Answer          // send Step.Reply instead
)

// Step is what is to be done after an event. It belongs to the stream and is overwritten by the stream's next event.
type Step struct {
	Action     Action
	Resume     bool         // with Continue: the stream was held by an earlier step, let it go on
	Reply      *reply.Reply // with Answer
	Asked      [][2]string  // request headers to set; an empty value takes one out
	Edit       usage.Edit   // to the request's body, which is complete
	Reroute    bool         // the route is to be chosen again, by the headers in Asked
	Measure    bool         // with Edit: content-length becomes that of the changed body
	Headers    [][2]string  // response headers to set; an empty value takes one out
	Body       []byte       // with Replace: what goes on instead of the piece of the response's body
	Replace    bool
	Properties []Property
	Counts     []Count
	Gauges     []Count // N is the value
	Samples    []Count // N is the value
	Notes      []Note
	Fetch      *Fetch // of a step without a stream
}

// Property is a value for the host's filter state.
type Property struct{ Name, Value string }

// Counter names a metric; the binding maps it to the host's.
type Counter uint8

// The metrics, with the labels of each in order. First the counters.
const (
	Requests    Counter = iota // decision, gate, priority, model
	Tokens                     // type, source, model
	Uncharged                  // reason
	Evictions                  // reason
	Errors                     // reason
	Warnings                   // gate, upstream
	Passthrough                // upstream, reason

	// The gauges.
	QueueDepth        // upstream, priority
	InFlight          // upstream
	RetreatState      // upstream; 0 normal, 1 retreating, 2 recovering
	RetreatAlarm      // upstream; 1 while its budget is at the floor because it answers so much with 429, else 0
	EffectiveRPM      // upstream; requests a minute of its budget, as the retreat leaves it
	LimitedShare      // upstream; of 429 in its answers, in thousandths
	Pressure          // kind; shares in thousandths; 0 also where nobody tells it any more
	PressureInstances // kind; how many instances tell it
	PressureAge       // no label; milliseconds since the last fetch that succeeded
	BreakerState      // upstream, model; 0 closed, 1 half open, 2 open
	GateState         // gate, upstream, model; 0 passing, 1 warning, 2 refusing
	LatencyAverage    // kind, upstream, model; milliseconds
	ThrottleSeverity  // upstream; in thousandths

	// The histograms.
	QueueWait // priority
	TTFT      // streaming, priority; of what does not stream, the time to the whole answer
	ITL       // streaming, priority
)

// Gauge says that the metric is one.
func (c Counter) Gauge() bool { return c >= QueueDepth && c < QueueWait }

// Count adds to a counter, or is the value of a gauge or of one sample of a histogram.
type Count struct {
	Counter Counter
	Labels  [4]string
	N       int64
}

// Note is a line for the host's log.
type Note struct {
	Warning bool
	Text    string
}

func (s *Step) reset() {
	*s = Step{Asked: s.Asked[:0], Headers: s.Headers[:0], Properties: s.Properties[:0], Counts: s.Counts[:0],
		Gauges: s.Gauges[:0], Samples: s.Samples[:0], Notes: s.Notes[:0]}
}

// ask sets a header of the request; an empty value takes it out.
func (s *Step) ask(name, value string) { s.Asked = append(s.Asked, [2]string{name, value}) }

// set leaves out an empty value, which the host can't take. All that goes into the filter state goes through here.
func (s *Step) set(name, value string) {
	if value == "" {
		return
	}
	s.Properties = append(s.Properties, Property{name, OneLine(value)})
}

func (s *Step) count(c Counter, n int64, labels ...string) {
	if n > 0 {
		s.Counts = append(s.Counts, newCount(c, n, labels))
	}
}

func (s *Step) gauge(c Counter, n int64, labels ...string) {
	s.Gauges = append(s.Gauges, newCount(c, max(n, 0), labels))
}

func (s *Step) sample(c Counter, n int64, labels ...string) {
	s.Samples = append(s.Samples, newCount(c, max(n, 0), labels))
}

func newCount(c Counter, n int64, labels []string) Count {
	count := Count{Counter: c, N: n}
	copy(count.Labels[:], labels)
	return count
}

func (s *Step) warn(text string) { s.Notes = append(s.Notes, Note{Warning: true, Text: OneLine(text)}) }
