package lease

import (
	"errors"
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// Bounds of a worker's client.
const (
	mostAsks   = 64   // subjects in one call
	mostWants  = 1024 // subjects that wait to be asked for
	mostFronts = 4096
)

// The pause after a call that failed, which doubles.
const (
	shortestPause = 250 * time.Millisecond
	longestPause  = 2 * time.Second
)

// poll is how soon a worker looks again at what another one has asked for.
const poll = 10 * time.Millisecond

// never is a balance below which every one is.
const never = int64(1) << 62

// Terms is a limit as the service is told of it.
type Terms struct {
	Name     string // in the configuration
	Quantity int64  // units in a window; at most MostQuantity
	Unit     string // the service's name of the window: MINUTE, HOUR, DAY, MONTH
	Period   time.Duration
}

// MostQuantity is the greatest limit that the service takes.
const MostQuantity = 1<<32 - 1

// longest is how long a window can be: a month of the calendar has 31 days at most.
func (t *Terms) longest() time.Duration {
	const day = 24 * time.Hour
	if t.Period == 30*day {
		return 31 * day
	}
	return t.Period
}

// Front is what a worker knows of an entry, without looking at it.
type Front struct {
	Left  int64        // what the fleet had left beside the leases, as far as it is known
	Empty clock.Moment // nothing is to be had until then

	told    clock.Moment // when the service told the count to this worker last
	watched bool         // it is looked at whether its lease lies idle
	low     int64        // below so many units in the bucket the next lease is asked for
	quiet   clock.Moment // nobody asks before
	wanted  bool         // it waits to be asked for, or is
}

// Want is what is wanted for whom.
type Want struct {
	ID, Limit, Subject uint64   // Limit and Subject are the caller's
	Name               [16]byte // of the subject, the same in all proxies
	Terms              *Terms
	Need               int64        // units, at least; 0: none, it is only to be told what is owed
	GivesBack          bool         // Need is given back instead
	End                clock.Moment // of the window that it was leased in
}

// Credit is what has been leased.
type Credit struct {
	ID, Limit, Subject uint64
	Amount             int64        // units; 0: nothing
	End                clock.Moment // when it is void
	Terms              *Terms
}

// ask is a want in a call.
type ask struct {
	Want
	lease, owed int64  // what is added to the count
	back        int64  // what the others had given back, as far as it was known
	era         byte   // of the counts: at first as it was known, then as the answer says
	part        uint64 // how often only the last of the counts was lost, since all of them were
	settles     bool   // nobody leases: counts were lost
}

// ErrStray says that an answer is one to no call: it was given up.
var ErrStray = errors.New("gave an answer that nobody waits for")

// Results is what became of asks since they were looked at last, each under its name.
type Results [5]int64

const (
	leased = iota
	overLimit
	failed
	givenBack
	looked
)

// ResultNames are the names of what can become of an ask.
var ResultNames = [len(Results{})]string{leased: "leased", overLimit: "over_limit", failed: "failed", givenBack: "given_back", looked: "looked"}

// Client asks for one worker.
type Client struct {
	Results Results
	Credits []Credit // of the answer that has come last, in memory that is used again

	id       uint64 // of this proxy, if no other worker has given it one
	book     book
	turnedAt string // the key of whether the service answers, as the log knows
	pulses   string // the prefix of the keys of pulses, of which each service has one
	nextAt   string // the key of that of the service that is asked from here on
	pulseAt  string // the key of the pulse
	pulse    pulse  // as it was read last
	was      pulse  // when the call under way was made
	looked   clock.Moment
	fronts   map[uint64]*Front
	wants    []Want
	watch    []idler
	asks     []ask // of the call under way
	body     []byte
	sent     clock.Moment // when that was made; 0: there is none
	patience time.Duration
	failing  int // calls in a row that failed
	pause    clock.Moment
	windows  []window
	reading  reading
}

// window is when the window under way of some length ends: in between.
type window struct {
	period   time.Duration
	from, to clock.Moment
}

// New gives a client of a namespace. random names the proxy to the service.
func New(store record.Store, namespace string, random uint64) *Client {
	return &Client{id: random | 1, pulses: namespace + "/l4-pulse/", pulse: pulse{page: pages}, book: book{store: store, prefix: namespace + "/l4/"}, turnedAt: namespace + "/l1-down", fronts: map[uint64]*Front{}}
}

// Front gives what is known of an entry, which is looked at if the worker doesn't know it yet.
func (c *Client) Front(now clock.Moment, id uint64, t *Terms) (*Front, error) {
	if f := c.fronts[id]; f != nil {
		return f, nil
	}
	e, err := c.book.get(id, now)
	if err != nil {
		return nil, err
	}
	if len(c.fronts) >= mostFronts {
		for other, f := range c.fronts {
			if !f.wanted {
				delete(c.fronts, other)
				break
			}
		}
	}
	f := &Front{}
	c.fronts[id] = f
	f.know(&e, t)
	return f, nil
}

// know takes over what an entry says.
func (f *Front) know(e *Entry, t *Terms) {
	if f.quiet, f.Empty = 0, 0; e.Empty && t.Quantity <= e.Limit {
		f.Empty, f.quiet = e.End, e.Quiet
	}
	if f.low = e.Size / 2; e.Taken != e.noted && e.asked == 0 { // something is owed, or to be found
		f.low = never
	}
	f.Left = min(max(e.rest(t), 0), t.Quantity)
}

// Ask has a service asked from the next call on. What isn't being asked for is forgotten: a limit may be another one from here on, too.
func (c *Client) Ask(service string) {
	c.nextAt = c.pulses + service
	for id, f := range c.fronts {
		if !f.wanted {
			delete(c.fronts, id)
		}
	}
}

// Wants says that the next lease is to be asked for, with so many units left.
func (f *Front) Wants(now clock.Moment, units int64) bool { return units < f.low && now >= f.quiet }

// Quiet says that nobody is to ask now.
func (f *Front) Quiet(now clock.Moment) bool { return now < f.quiet }

// Asked says that it waits to be asked for, or is.
func (f *Front) Asked() bool { return f.wanted }

// Want has something asked for with the next call. It says false if too much is already.
func (c *Client) Want(now clock.Moment, w *Want) bool {
	f := c.fronts[w.ID]
	if f == nil || f.wanted || len(c.wants) >= mostWants {
		return false
	}
	f.wanted = true
	c.wants = append(c.wants, *w)
	c.Watch(now, f, w)
	return true
}

// More adds to what is wanted for somebody, if it isn't asked for yet.
func (c *Client) More(id uint64, need int64) {
	for i := range c.wants {
		if w := &c.wants[i]; w.ID == id && !w.GivesBack {
			w.Need = min(w.Need+need, MostQuantity)
			return
		}
	}
}

// Down says that the service doesn't answer in time, or that counts were lost and nobody leases yet.
func (c *Client) Down(now clock.Moment, timeout time.Duration) bool {
	return c.sent != 0 && now.Sub(c.sent) > timeout || c.failing > 0 && now < c.pause || c.pulse.settles(now)
}

// Busy says that a call is under way, or that something is wanted.
func (c *Client) Busy() bool { return c.sent != 0 || len(c.wants) > 0 || c.pulse.page < pages }

// Call gives the body of the call that is to be made now; nil: none is. patience is how long an answer is waited for.
func (c *Client) Call(now clock.Moment, domain string, patience time.Duration) (body []byte, err error) {
	if c.sent != 0 && now.Sub(c.sent) > c.patience+time.Second {
		c.fail(now) // nobody will tell
	}
	if c.sent != 0 || now < c.pause {
		return nil, nil
	}
	if c.pulseAt != c.nextAt {
		c.pulseAt, c.pulse = c.nextAt, pulse{page: pages}
	}
	if len(c.wants) == 0 && !c.due(now) {
		return nil, nil
	}
	c.asks = c.asks[:0]
	n := 0
	for ; n < len(c.wants) && len(c.asks) < mostAsks; n++ {
		if e := c.begin(now, &c.wants[n], patience+2*time.Second); e != nil {
			err = e
		}
	}
	c.wants = c.wants[:copy(c.wants, c.wants[n:])]
	if n > 0 && len(c.asks) == 0 {
		return nil, err
	}
	begun, wrong := c.beginCall(now)
	if !begun {
		c.dropAll(now, now)
		return nil, wrong
	}
	c.sent, c.patience = now, patience
	c.body = appendCall(c.body[:0], domain, &c.pulse, c.asks)
	return c.body, err
}

// begin begins an ask, if no other worker has.
func (c *Client) begin(now clock.Moment, w *Want, patience time.Duration) error {
	var a ask
	var begun bool
	var after Entry
	err := c.book.change(w.ID, now, func(e *Entry) {
		a = ask{Want: *w, era: byte(c.pulse.era), settles: c.pulse.settles(now)}
		begun = e.begin(now, &a, patience)
		after = *e
	})
	f := c.front(w.ID)
	switch {
	case err != nil:
		f.wanted = false
		return err
	case begun:
		c.asks = append(c.asks, a)
	default:
		f.know(&after, w.Terms)
		f.wanted, f.quiet = false, max(f.quiet, now.Add(poll))
		f.low = max(f.low, 1)
	}
	return nil
}

// front gives what there is of a front, or one that nobody keeps.
func (c *Client) front(id uint64) *Front {
	if f := c.fronts[id]; f != nil {
		return f
	}
	return &Front{}
}

// Answered takes what came of the call: status 0 is no answer. What was leased stands in Credits; the error says why there is none.
func (c *Client) Answered(now clock.Moment, httpStatus int, body []byte) error {
	c.Credits = c.Credits[:0]
	if c.sent == 0 {
		return ErrStray
	}
	began := c.sent
	if httpStatus != 200 && httpStatus != 429 || !c.reading.read(body, descriptors(c.asks)) {
		c.fail(now)
		return errors.New("gave no answer that can be used (status " + strconv.Itoa(httpStatus) + "; 0: none at all)")
	}
	c.sent, c.failing, c.pause = 0, 0, 0
	if counts, wrong := c.heard(now); !counts {
		c.pause = now.Add(shortestPause) // where each answer shows a loss, calls don't follow one another at once
		c.dropAll(now, began)
		return wrong
	}
	var wrong error
	statuses := c.reading.statuses
	for i := range c.asks {
		a := &c.asks[i]
		if err := c.take(now, began, a, statuses); err != nil {
			wrong = err
		}
		statuses = statuses[a.descriptors():]
	}
	if wrong != nil && len(c.Credits) == 0 {
		c.failing = 1
		c.pause = now.Add(shortestPause)
	}
	if wrong == nil && c.pulse.settles(now) {
		wrong = errLost
	}
	return wrong
}

// heard takes what the answer says of this proxy's calls, and whether the rest of it counts.
func (c *Client) heard(now clock.Moment) (counts bool, err error) {
	last := &c.reading.statuses[len(c.reading.statuses)-1]
	if wrong := last.wrong(&beating, c.was.hits()); wrong != "" {
		c.failing = 1
		return false, errors.New("gave an answer that " + wrong)
	}
	return c.endCall(now, last)
}

// take takes what the answer says of one ask, whose statuses are the first ones.
func (c *Client) take(now, began clock.Moment, a *ask, statuses []status) error {
	all, own := &statuses[0], &statuses[a.descriptors()-1]
	wrong := all.wrong(a.Terms, a.hits())
	if wrong == "" {
		wrong = own.wrong(a.Terms, a.hits())
	}
	if wrong != "" {
		c.drop(now, began, a)
		return errors.New("gave an answer that " + wrong)
	}
	end := c.ends(a.Terms.Period, began, now, all.reset)
	credit := Credit{ID: a.ID, Limit: a.Limit, Subject: a.Subject, End: end, Terms: a.Terms}
	a.era, a.part, a.settles = byte(c.pulse.era), c.pulse.era-c.pulse.all, c.pulse.settles(now)
	var after Entry
	var beyond int64
	err := c.book.change(a.ID, now, func(e *Entry) {
		credit.Amount, beyond = e.answered(now, began, end, a, all, own)
		after = *e
	})
	f := c.front(a.ID)
	f.wanted = false
	if err != nil { // it is leased, and nobody knows: who asks next finds it
		return err
	}
	f.know(&after, a.Terms)
	switch {
	case a.GivesBack && a.Need > 0:
		c.Results[givenBack]++
	case a.lease == 0:
		c.Results[looked]++
	case credit.Amount < a.lease:
		c.Results[overLimit]++
	default:
		c.Results[leased]++
	}
	switch {
	case beyond > 0:
		c.giveBack(&a.Want, beyond, after.End)
	case after.asked == 0 && (after.owed() > 0 && after.Known || after.behind(a.era)):
		c.look(&a.Want)
	case after.Empty && a.lease == 0 && !a.GivesBack:
		c.giveBack(&a.Want, 0, after.End)
	}
	if !a.GivesBack {
		f.told = now
	}
	c.Credits = append(c.Credits, credit)
	return nil
}

// giveBack has units given back that were leased in a window which ends at end.
func (c *Client) giveBack(w *Want, units int64, end clock.Moment) {
	c.front(w.ID).wanted = true
	c.wants = append(c.wants, *w)
	back := &c.wants[len(c.wants)-1]
	back.GivesBack, back.Need, back.End = true, units, end
}

// fail ends the call that is under way without an answer.
func (c *Client) fail(now clock.Moment) {
	began := c.sent
	c.sent = 0
	c.pause = now.Add(min(shortestPause<<min(c.failing, 4), longestPause))
	c.failing++
	_ = c.changePulse(func(*pulse) bool { return false }) // another worker may have noticed a loss
	c.dropAll(now, began)
}

// dropAll ends the asks of a call without an answer. Who was only to be looked at is looked at again, and after a loss all are, since nobody else has done so meanwhile.
func (c *Client) dropAll(now, began clock.Moment) {
	for i := range c.asks {
		a := &c.asks[i]
		if c.drop(now, began, a); a.Need == 0 && !a.GivesBack || c.pulse.settles(now) {
			c.look(&a.Want)
		}
	}
}

// drop ends an ask without an answer. If that can't be noted, others ask when its time is over.
func (c *Client) drop(now, began clock.Moment, a *ask) {
	c.Results[failed]++
	f := c.front(a.ID)
	f.wanted = false
	if f.low = max(f.low, 1); a.lease > 0 { // it may have been counted
		f.low = never
	}
	_ = c.book.change(a.ID, now, func(e *Entry) { e.failed(now, began) })
}

// ends says when a window ends, at the earliest: what it has so long to go of, in seconds that were begun, was said at some moment between the two.
func (c *Client) ends(period time.Duration, asked, now clock.Moment, reset time.Duration) clock.Moment {
	from, to := asked.Add(reset-time.Second), now.Add(reset)
	for i := range c.windows {
		w := &c.windows[i]
		if w.period != period {
			continue
		}
		if from > w.to || to < w.from {
			w.from, w.to = from, to
		} else {
			w.from, w.to = max(from, w.from), min(to, w.to)
		}
		return w.from
	}
	c.windows = append(c.windows, window{period, from, to})
	return from
}

// Look gives what the book says of an entry.
func (c *Client) Look(now clock.Moment, id uint64) (Entry, error) { return c.book.get(id, now) }
