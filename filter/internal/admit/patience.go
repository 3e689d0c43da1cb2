package admit

import (
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
)

// A request may say that it doesn't want to wait for its turn at its upstream, or for how long: a client that has somewhere else to go would
// rather know at once. It can only make its own wait shorter, so anybody may say so. Of several words the shortest counts. What can't be
// read is refused: a promise to be back in time isn't kept by guessing.
const (
	queueHeader   = "x-spillway-queue"    // no | yes
	maxWaitHeader = "x-spillway-max-wait" // such as 500ms or 2s, or a number of milliseconds; 0 is not to wait at all
)

// unwilling is the patience of a request that isn't to wait.
const unwilling = time.Duration(-1)

// wantPatience has these headers looked at.
func (e *Engine) wantPatience() {
	e.slots.queue, e.slots.maxWait = e.picker.Want(queueHeader), e.picker.Want(maxWaitHeader)
}

// readPatience reads how long a request is willing to wait. It says false if that can't be read.
func (e *Engine) readPatience(s *Stream) bool {
	return s.wordsOf(e.slots.queue, parseQueue) && s.wordsOf(e.slots.maxWait, parseMaxWait)
}

// wordsOf takes each word of a header into account, of which parse says how long the request is willing to wait; 0: as long as it may.
func (s *Stream) wordsOf(slot ident.Slot, parse func(string) (time.Duration, bool)) bool {
	if !s.headers.Has(slot) {
		return true
	}
	values := s.headers.Values(slot)
	for values.Next() {
		if strings.IndexByte(values.Value, ',') >= 0 { // its elements come next
			continue
		}
		word := strings.Trim(values.Value, " \t")
		if word == "" {
			continue
		}
		d, sound := parse(word)
		if !sound {
			return false
		}
		if s.patience == 0 || d != 0 && d < s.patience {
			s.patience = d
		}
	}
	return true
}

func parseQueue(word string) (time.Duration, bool) {
	if strings.EqualFold(word, "no") {
		return unwilling, true
	}
	return 0, strings.EqualFold(word, "yes")
}

// units are those of a wait. (What reads durations in the library has them in a map, whose look-ups allocate in TinyGo's build.)
var units = [...]struct {
	name string
	is   time.Duration
}{{"ms", time.Millisecond}, {"s", time.Second}, {"m", time.Minute}, {"h", time.Hour}, {"", time.Millisecond}}

// parseMaxWait reads a time: a whole number, with a unit or of milliseconds. What is longer than any queue lets wait is as good as that.
func parseMaxWait(word string) (time.Duration, bool) {
	const longest = time.Hour
	for _, unit := range units {
		number, is := strings.CutSuffix(word, unit.name)
		if !is {
			continue
		}
		n, err := strconv.ParseInt(number, 10, 64)
		switch {
		case err != nil || n < 0:
			return 0, false
		case n == 0:
			return unwilling, true
		}
		return time.Duration(min(n, int64(longest/unit.is))) * unit.is, true
	}
	return 0, false
}

// refusePatience answers a request whose patience can't be read; in shadow mode that is only recorded.
func (e *Engine) refusePatience(s *Stream, now clock.Moment) bool {
	v := unfit(gate.Request, gate.Patience, "How long the request may wait can't be read. Send "+queueHeader+": no, or "+
		maxWaitHeader+" with a whole number of milliseconds or with a unit, such as 500 or 2s.")
	if e.cfg.Mode == config.Shadow {
		s.patience = 0
		if s.wouldRefuse.Outcome == gate.Allowed {
			s.wouldRefuse = gate.Because(gate.Shadowed, gate.Request, gate.Patience)
		}
		return false
	}
	e.refuse(s, now, &v)
	return true
}

// hidePatience takes these headers out.
func (e *Engine) hidePatience(s *Stream) {
	if s.headers.Has(e.slots.queue) {
		e.out.setRequestHeader(s, queueHeader, "")
	}
	if s.headers.Has(e.slots.maxWait) {
		e.out.setRequestHeader(s, maxWaitHeader, "")
	}
}
