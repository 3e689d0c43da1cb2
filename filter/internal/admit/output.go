package admit

import (
	"time"

	"github.com/spillway-proxy/spillway/config/filterstate"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// tellPeriod is how often the filter state is told of a stream's output. To tell of each piece would cost more than to read it: of models
// that are fast, or of ten thousand streams at a time, nobody could read it as often.
const tellPeriod = 100 * time.Millisecond

// mayFlow says of a piece of a response's body that it may be nothing but more output of a stream, as nearly all pieces are: nothing else
// is to be done with such a one.
func (s *Stream) mayFlow(size int) bool {
	return s.exchange.Outputs > 0 && s.phase == stSent && s.exchange.Readable && s.farewell == stays && s.restated == asItIs && !s.question.onTrial && 0 < size && size <= readAtOnce
}

// flows takes such a piece if it is that.
func (s *Stream) flows(now clock.Moment, piece []byte) bool {
	if !s.exchange.Reader.Skip(piece) {
		return false
	}
	s.pace.received(now, len(piece))
	s.exchange.Progress(now)
	s.pace.output(now, s.exchange.Outputs)
	return true
}

// flowed tells of such a piece, if it is time to, and says whether it has.
func (e *Engine) flowed(s *Stream, now clock.Moment) bool {
	if !s.isToTell(now) {
		e.untold.add(s)
		return false
	}
	e.begin(s)
	e.tellOutput(s, now)
	e.end(s, now)
	return true
}

// isToTell says that it is time to tell the filter state of a stream's output.
func (s *Stream) isToTell(now clock.Moment) bool {
	since := now.Sub(s.told)
	return s.told == 0 || since < 0 || since >= tellPeriod
}

// tellOutput has the filter state say how many completion tokens of a stream have passed: what reads it meanwhile, or when the client has
// left, finds that. It is told at once of the first output, and then once in tellPeriod. What came since it was told last is told with the
// next piece that comes when that time is over, or at the next beat: so it is never more than tellPeriod and a beat behind.
func (e *Engine) tellOutput(s *Stream, now clock.Moment) {
	if !s.isToTell(now) {
		e.untold.add(s)
		return
	}
	e.untold.remove(s)
	if !e.out.published.Has(filterstate.CompletionTokens) {
		s.told = now
		return
	}
	tokens, news := e.accountant.Passed(&s.exchange, now)
	if news {
		e.out.setNumber(s, filterstate.CompletionTokens, tokens)
	}
	if news || s.told != 0 { // it waits for the first output
		s.told = now
	}
}

// tellUntold has the filter state of those streams say what has passed of which no piece came since that would have told.
func (e *Engine) tellUntold(now clock.Moment) {
	for s, next := e.untold.first, (*Stream)(nil); s != nil; s = next {
		next = e.untold.after(s)
		before := e.use(s.rules)
		e.tellOutput(s, now)
		e.use(before)
	}
}
