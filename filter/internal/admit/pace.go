package admit

import (
	"cmp"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/account"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/dispatch"
	"github.com/spillway-proxy/spillway/filter/internal/origin"
)

// How long an answer took is the upstream's doing only in part. Until the request is complete the upstream waits for the client; and when the
// client doesn't read, the proxy stops reading from the upstream once its buffers are full. So the gates' times begin when
// the upstream had all of the request, and end when it had answered: with its first token, if it streams, else with the end of
// what the proxy takes in whether the client reads or not. What clients see is measured apart, as they see it (publishTimes).

// unhindered is how many bytes of an answer the proxy takes in whatever the client does: the smallest buffer that Envoy's guides
// recommend for a connection.
const unhindered = 32 << 10

// pace is what is known of how fast the upstream answers.
type pace struct {
	uploaded clock.Moment // when all of the request had come; 0: it has not
	bytes    int64        // of the response's body, so far
	begun    clock.Moment // when its first piece came; 0: none did
	piece    clock.Moment // when its last piece came that the client could not delay
	last     clock.Moment // when the last output event among these came
	outputs  int64        // how many of these there were
}

// uploaded says that the last of the request has come.
func (s *Stream) uploaded(now clock.Moment) {
	if s.pace.uploaded == 0 {
		s.pace.uploaded = now
	}
}

// took is how long the upstream had had all of the request at a time; 0: it had not.
func (s *Stream) took(at clock.Moment) time.Duration {
	if s.pace.uploaded == 0 {
		return 0
	}
	return max(at.Sub(max(s.exchange.Sent, s.pace.uploaded)), 0)
}

// uploads says that a time-out may be the client's doing: the request isn't complete, or it took longer to come than the upstream had for it.
func (s *Stream) uploads(now clock.Moment) bool {
	return s.pace.uploaded == 0 || s.pace.uploaded.Sub(s.exchange.Since) > s.took(now)
}

// between is the mean time between the tokens of a stream; 0: it had no two.
func (s *Stream) between() time.Duration {
	if n := s.pace.outputs; n > 1 {
		return s.pace.last.Sub(s.exchange.First) / time.Duration(n-1)
	}
	return 0
}

// tookAtEnd is what the end of a request tells of how long the upstream takes: nothing, if it failed, or the client's mistake was answered.
func (s *Stream) tookAtEnd(now clock.Moment, end *account.Settlement) (t dispatch.Took) {
	x := &s.exchange
	switch {
	case s.foreign() || s.torn || x.Origin != origin.Upstream || cmp.Or(end.Failure, end.Status) >= 400:
	case x.First != 0 && x.Stream:
		t.ITL = s.between()
	case end.Complete && !x.Stream:
		t.Whole, t.Output = s.took(s.pace.answered(s, now)), end.Used.Completion
	case !end.Complete && !x.Asked.Stream:
		t.Whole, t.Left = s.took(now), true
	case !end.Complete && x.First == 0:
		t.TTFT, t.Left = s.took(now), true
	}
	return t
}

func (p *pace) received(now clock.Moment, size int) {
	if size <= 0 {
		return
	}
	if p.begun == 0 {
		p.begun = now
	}
	if p.bytes < unhindered {
		p.piece = now
	}
	p.bytes += int64(size)
}

// output takes note of the output events so far, of which one has just come.
func (p *pace) output(now clock.Moment, outputs int64) {
	if p.bytes < unhindered || p.outputs == 0 {
		p.last, p.outputs = now, outputs
	}
}

// answered is when the upstream had answered, for a response that ends now.
func (p *pace) answered(s *Stream, now clock.Moment) clock.Moment {
	switch {
	case s.exchange.Stream && s.exchange.First != 0:
		return s.exchange.First
	case s.exchange.Stream && p.begun != 0: // its events aren't understood
		return p.begun
	case p.bytes >= unhindered:
		return p.piece
	}
	return now
}
