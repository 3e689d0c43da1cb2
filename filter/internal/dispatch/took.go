package dispatch

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/autosize"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// Took is what was measured of a request in flight: how long the upstream took. 0 is not measured.
type Took struct {
	TTFT   time.Duration // of a stream, or until its client left without a token
	Left   bool          // the client left without a token, or before its whole answer
	ITL    time.Duration // of a stream
	Whole  time.Duration // of an answer that came whole, or until its client left
	Output int64         // tokens of that
}

// mostSamples are kept until the next write; what comes beyond is left out.
const mostSamples = 32

// Learns says that the slots are learned, from what Observe and Finish are told.
func (g *Gate) Learns() bool { return g.settings.Learns() }

// Observe takes what was measured of a request in flight. The next write tells the other workers.
func (g *Gate) Observe(now clock.Moment, t *Ticket, took Took) {
	if !g.settings.Learns() || t.beside == 0 || took.TTFT <= 0 && took.ITL <= 0 && took.Whole <= 0 || len(g.samples) == mostSamples {
		return
	}
	if g.samples == nil {
		g.samples = make([]autosize.Sample, 0, mostSamples)
	}
	g.samples = append(g.samples, autosize.Sample{
		At: now, Subject: t.id(), Units: int(t.units), InFlight: t.beside, Room: t.room, Prompt: t.Prompt, TTFT: took.TTFT, Left: took.Left, ITL: took.ITL, Whole: took.Whole, Output: took.Output,
	})
}
