package lease

import (
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// Own gives a lease that nobody was asked for, since nobody answers; it is added to the count when somebody does. Capped, it is no more than the limit, with what
// the proxy has leased in this window. wall is the time of day in nanoseconds since 1970, which says when the window ends if the service never has.
func (c *Client) Own(now clock.Moment, wall int64, w *Want, capped bool) (Credit, error) {
	credit := Credit{ID: w.ID, Limit: w.Limit, Subject: w.Subject, Terms: w.Terms}
	guess := now.Add(w.Terms.Period - time.Duration(wall)%w.Terms.Period)
	for i := range c.windows {
		if known := &c.windows[i]; known.period == w.Terms.Period {
			guess = known.from
			if past := now.Sub(known.from); past >= 0 {
				guess = guess.Add((past/known.period + 1) * known.period)
			}
		}
	}
	var after Entry
	err := c.book.change(w.ID, now, func(e *Entry) {
		credit.Amount = e.own(now, guess, w.Need, w.Terms, capped, c.pulse.settles(now))
		credit.End = e.End
		after = *e
	})
	if err == nil {
		f := c.front(w.ID)
		f.know(&after, w.Terms)
		f.low = max(f.low, 1)
	}
	return credit, err
}

// Turned takes note of whether the service answers, and says whether the log doesn't know yet, of all workers.
func (c *Client) Turned(down bool) bool {
	want := byte('0')
	if down {
		want = '1'
	}
	u := record.Open(c.book.store, c.turnedAt)
	for u.Read() {
		if len(u.Value) == 0 && !down || len(u.Value) == 1 && u.Value[0] == want {
			return false
		}
		u.Write([]byte{want})
	}
	return u.Err() == nil
}

// Gone says that the service doesn't answer, as the log knows.
func (c *Client) Gone() bool {
	value, _, found, err := c.book.store.Get(c.turnedAt)
	return err == nil && found && len(value) == 1 && value[0] == '1'
}
