package lease

import (
	"errors"
	"math"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// Whether the service has lost counts is to be seen at once, by whoever asks it for whatever, and by who asks it for nothing. So each proxy counts its calls, in a key of its
// own that each call adds to: what the service tells of that is more than it told before, or it has lost something.

const (
	// beatEvery is how long a proxy lets pass without a call, at least; it is looked at every second.
	beatEvery = 1400 * time.Millisecond
	// settling is how long nobody leases after a loss: by then all proxies have noticed it, and added what they have taken again.
	settling = 8 * time.Second
	// opening is added by the first call, so that the few calls which come after a loss and of which no answer is heard don't make up for the ones before.
	opening = 1 << 20
)

// beating are the terms of that key. A month of the service's ends when all its other windows do.
var beating = Terms{Unit: "MONTH", Period: 30 * 24 * time.Hour}

// pulse is the record of it, which the workers share.
type pulse struct {
	id    uint64       // of this proxy, random
	told  int64        // what the service has told of the key; 0: nothing yet
	end   clock.Moment // of the window that it was told of
	asked clock.Moment // the last call
	era   uint64       // how often counts were lost; at most 1<<32 - 1
	all   uint64       // the era that began when all of them were lost last
	lost  clock.Moment // when that was noticed last; 0: never
	page  int64        // of the book, which is the next to be added again; pages: none is
}

const pulseWords = 7

func (p *pulse) decode(value []byte) {
	*p = pulse{page: pages}
	if len(value) != pulseWords*8 {
		return
	}
	word := func(i int) int64 { return max(int64(order.Uint64(value[8*i:])), 0) }
	*p = pulse{id: order.Uint64(value), told: word(1), end: clock.Moment(word(2)), asked: clock.Moment(word(3)), era: order.Uint64(value[32:]) & math.MaxUint32, all: order.Uint64(value[32:]) >> 32, lost: clock.Moment(word(5)),
		page: min(word(6), pages)}
}

func (p *pulse) encode(b []byte) []byte {
	for _, word := range [pulseWords]uint64{p.id, uint64(p.told), uint64(p.end), uint64(p.asked), p.era | p.all<<32, uint64(p.lost), uint64(p.page)} {
		b = order.AppendUint64(b, word)
	}
	return b
}

// settles says that it isn't long ago that counts were lost.
func (p *pulse) settles(now clock.Moment) bool { return p.lost != 0 && now.Sub(p.lost) < settling }

// hits is what a call adds.
func (p *pulse) hits() int64 {
	if p.told == 0 {
		return opening
	}
	return 1
}

// changePulse changes the record, unless that has nothing to change, and takes over what it says then.
func (c *Client) changePulse(how func(*pulse) bool) error {
	u := record.Open(c.book.store, c.pulseAt)
	for u.Read() {
		c.pulse.decode(u.Value)
		if !how(&c.pulse) {
			break
		}
		c.book.buffer = c.pulse.encode(c.book.buffer[:0])
		u.Write(c.book.buffer)
	}
	return u.Err()
}

// beginCall notes that a call is made. It says false if it was to be made for its own sake, and another worker has made one.
func (c *Client) beginCall(now clock.Moment) (begun bool, err error) {
	err = c.changePulse(func(p *pulse) bool {
		if begun = len(c.asks) > 0 || now.Sub(p.asked) >= beatEvery; !begun {
			return false
		}
		if p.id == 0 {
			p.id = c.id
		}
		p.asked = now
		return true
	})
	c.was = c.pulse
	return begun && err == nil, err
}

// due says that a call is to be made though nothing is wanted.
func (c *Client) due(now clock.Moment) bool {
	if now.Sub(c.looked) < beatEvery/2 {
		return false
	}
	c.looked = now
	err := c.changePulse(func(*pulse) bool { return false })
	return err == nil && now.Sub(c.pulse.asked) >= beatEvery
}

// errLost says that the service has lost counts.
var errLost = errors.New("has lost what it had counted, which its proxies add again")

// endCall takes what the service tells of this proxy's calls with an answer to one. What else that says counts for nothing where counts were lost, or where another worker has
// noticed that since the call was made: it was added to a count that is gone, or to one that lacks much.
func (c *Client) endCall(now clock.Moment, s *status) (counts bool, err error) {
	told, end, half := MostQuantity-s.remaining, now.Add(s.reset), beating.Period/2
	err = c.changePulse(func(p *pulse) bool {
		counts = p.era == c.was.era
		switch sameAs := end.Sub(c.was.end); {
		case !counts, s.reset == beating.Period: // a month has just begun: what is counted may still be of the one before (ask.early)
			return false
		case end.Sub(p.end) > half: // another month
			p.end, p.told = end, told
		case end.Sub(p.end) < -half: // that before, of a service whose clock is behind
		case c.was.told > 0 && sameAs > -half && sameAs < half && told <= c.was.told && !s.over:
			counts = false
			if p.era++; told < opening { // the first call, before which nothing was leased, isn't counted any more
				p.all = p.era
			}
			p.lost, p.page, p.told = now, 0, 0
			return true
		default:
			p.told = max(p.told, told)
		}
		return true
	})
	if err == nil && (!counts || c.pulse.settles(now)) {
		err = errLost
	}
	return counts, err
}

// How much of the book is gone through at a time for what has to be added again.
const (
	pagesAtOnce = 16
	claims      = 16
)

// Recount has what this proxy has taken looked at again after a loss, in all that is counted. The workers share that. terms gives those of a limit; nil: there is none.
func (c *Client) Recount(now clock.Moment, terms func(limit uint64) *Terms) error {
	for range claims {
		if c.pulse.page >= pages || len(c.wants) > mostWants/2 {
			return nil
		}
		from := int64(pages)
		if err := c.changePulse(func(p *pulse) bool {
			if from = p.page; from < pages {
				p.page = min(from+pagesAtOnce, pages)
			}
			return from < pages
		}); err != nil {
			return err
		}
		for page := from; page < min(from+pagesAtOnce, pages); page++ {
			if err := c.recountPage(now, uint64(page), terms); err != nil {
				return err
			}
		}
	}
	return nil
}

func (c *Client) recountPage(now clock.Moment, page uint64, terms func(limit uint64) *Terms) error {
	value, _, found, err := c.book.store.Get(c.book.keyOf(page))
	if err != nil || !found {
		return err
	}
	c.book.decode(value)
	for i := range c.book.entries {
		e := &c.book.entries[i]
		if e.End <= now || !e.behind(byte(c.pulse.era)) {
			continue
		}
		if t := terms(e.limit); t != nil {
			c.look(&Want{ID: e.ID, Limit: e.limit, Subject: e.ID ^ e.limit, Name: e.name, Terms: t})
		}
	}
	return nil
}

// look has it looked at whether a count is still there, and what is owed to it. Who is asked for already is looked at by that (Entry.begin), or after it (take, dropAll).
func (c *Client) look(w *Want) {
	f := c.front(w.ID)
	if f.wanted || len(c.wants) >= mostWants {
		return
	}
	f.wanted = true
	c.wants = append(c.wants, *w)
	last := &c.wants[len(c.wants)-1]
	last.Need, last.GivesBack = 0, false
}
