package admit

import (
	"github.com/spillway-proxy/spillway/filter/internal/metric"
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
	Metrics    []metric.Update
	Notes      []Note
	Fetch      *Fetch // of a step without a stream
}

// Property is a value for the host's filter state.
type Property struct{ Name, Value string }

// Note is a line for the host's log.
type Note struct {
	Warning bool
	Text    string
}

func (s *Step) reset() {
	*s = Step{Asked: s.Asked[:0], Headers: s.Headers[:0], Properties: s.Properties[:0], Metrics: s.Metrics[:0],
		Notes: s.Notes[:0]}
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

// count adds to a counter. The host refuses to add nothing, so it isn't asked to.
func (s *Step) count(counter metric.Counter, n int64) {
	if n > 0 {
		s.Metrics = append(s.Metrics, counter.Add(n))
	}
}

func (s *Step) gauge(gauge metric.Gauge, n int64) { s.Metrics = append(s.Metrics, gauge.Set(n)) }

func (s *Step) sample(histogram metric.Histogram, n int64) {
	s.Metrics = append(s.Metrics, histogram.Record(n))
}

func (s *Step) warn(text string) { s.Notes = append(s.Notes, Note{Warning: true, Text: OneLine(text)}) }
