package admit

import (
	"time"

	"github.com/spillway-proxy/spillway/config/filterstate"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// tellPeriod is how often the filter state is told of a stream's output. To tell of each piece would cost more than to read it: of models
// that are fast, or of ten thousand streams at a time, nobody could read it as often.
const tellPeriod = 100 * time.Millisecond

// tellOutput has the filter state say how many completion tokens of a stream have passed: what reads it meanwhile, or when the client has
// left, finds that. It is told at once of the first output, and then once in tellPeriod. What came since it was told last is told with the
// next piece that comes when that time is over, or at the next beat: so it is never more than tellPeriod and a beat behind.
func (e *Engine) tellOutput(s *Stream, now clock.Moment) {
	if !e.out.published.Has(filterstate.CompletionTokens) {
		return
	}
	if since := now.Sub(s.told); s.told != 0 && since >= 0 && since < tellPeriod {
		e.untold.add(s)
		return
	}
	e.untold.remove(s)
	if tokens, news := e.accountant.Passed(&s.exchange, now); news {
		s.told = now
		e.out.setNumber(s, filterstate.CompletionTokens, tokens)
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
