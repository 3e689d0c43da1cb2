package lease

import (
	"encoding/binary"
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// The shape of the book.
const (
	pages       = 1 << 12
	mostEntries = 16

	entrySize = 10 * 8
	layout    = 1
)

// Entry is what a proxy knows of one subject's share of a fleet's limit, in units of that. What it says of counts is of the window that ends at End.
type Entry struct {
	ID    uint64
	End   clock.Moment // before which the window doesn't end; 0: nothing is known of one
	Taken int64        // this proxy's leases, those that it gave itself included
	Seen  int64        // what the service had counted for the fleet when it was asked last
	Owed  int64        // what was leased already, and has to be added to the count
	Size  int64        // of the next lease, if nothing is against it; 0: there was none
	At    clock.Moment // the last lease
	Quiet clock.Moment // nobody asks before: somebody does, or nothing is left
	Asked clock.Moment // when the ask began that is under way; 0: none is
	Limit int64        // what the limit was when nothing was left

	Known bool // Seen is
	Empty bool // nothing is left, until End
	Read  bool // the next ask adds nothing: an addition has gone over the limit
}

// turn begins a new window if the entry's is over.
func (e *Entry) turn(now clock.Moment) {
	if e.End != 0 && now >= e.End {
		*e = Entry{ID: e.ID, Size: e.Size, At: e.At, Quiet: e.Quiet, Asked: e.Asked}
		if e.Asked == 0 {
			e.Quiet = 0
		}
	}
}

// How long a lease is to last, at least and at most.
const (
	short = 2 * time.Second
	long  = 8 * time.Second
)

// part is how much is to be leased: more than it was, if that was used up soon, and less, if it was not.
func (e *Entry) part(now clock.Moment, need int64, t *Terms) int64 {
	need = min(max(need, 1), t.Quantity)
	took := max(now.Sub(e.At), time.Millisecond)
	size := max(e.Size, 1)
	switch {
	case e.Size == 0:
		size = max(t.Quantity/128, 1)
	case took < short:
		size = min(2*size, t.Quantity)
	default:
		for rest := took; rest >= long && size > 1; rest -= long {
			size /= 2
		}
	}
	most := t.Quantity / 32
	if e.Known {
		most = (t.Quantity - e.Seen) / 4
	}
	if e.Size != 0 && e.End > now {
		most = min(most, int64(float64(e.Size)*float64(e.End.Sub(now))/float64(took)))
	}
	size = max(min(size, most), need)
	if e.Known {
		size = min(size, max(t.Quantity-e.Seen, 1))
	}
	return size
}

// begin has an ask begin, and gives how much is to be added to the count for whom: a lease, and what is owed. It says false if nobody is to ask now.
func (e *Entry) begin(now clock.Moment, need int64, t *Terms, patience time.Duration) (lease, owed int64, begun bool) {
	e.turn(now)
	if e.Empty && t.Quantity > e.Limit { // it was raised since
		e.Empty, e.Read, e.Quiet = false, false, 0
	}
	if now < e.Quiet {
		return 0, 0, false
	}
	if owed = e.Owed; !e.Read {
		lease = e.part(now, need, t)
	}
	e.Asked, e.Quiet = now, now.Add(patience)
	return lease, owed, true
}

// answered takes an answer to the ask that began at a moment, for a window that ends at end, and gives what is leased by it.
func (e *Entry) answered(now, began, end clock.Moment, a *ask, s *status) (leased int64) {
	e.turn(now)
	period := a.Terms.Period
	switch {
	case end <= now, e.End != 0 && end.Sub(e.End) < -period/2: // of a window that is over
		e.failed(now, began)
		return 0
	case e.End == 0 || end.Sub(e.End) > period/2: // a new one
		e.Taken, e.Seen, e.Known, e.Empty, e.Read, e.Owed = 0, 0, false, false, false, 0
		e.End = end
	default:
		e.End = max(e.End, end)
	}
	current := e.Asked == began
	if current {
		e.Asked, e.Quiet = 0, 0
	}
	if s.over {
		e.over(now, a)
		return 0
	}
	e.tally(a, s, current)
	e.Owed -= min(a.owed, e.Owed)
	if e.Read = false; a.lease > 0 {
		e.Taken, e.Size, e.At = e.Taken+a.lease, a.lease, now
	}
	if s.remaining == 0 {
		e.close(a.Terms)
	}
	return a.lease
}

// over takes the answer that the limit is passed. What was to be added is counted all the same, unless the service is set up so that it isn't: then a
// reading tells what is left, and less is asked for.
func (e *Entry) over(now clock.Moment, a *ask) {
	e.Owed -= min(a.owed, e.Owed)
	e.Size = a.lease / 2
	if a.lease > 1 {
		e.Read, e.At = true, now
		return
	}
	e.close(a.Terms)
}

// close says that nothing is left until the window ends.
func (e *Entry) close(t *Terms) { e.Empty, e.Quiet, e.Limit = true, e.End, t.Quantity }

// tally takes the count that the service tells. What it has forgotten is owed again, as far as this proxy has taken it.
func (e *Entry) tally(a *ask, s *status, current bool) {
	count := a.Terms.Quantity - s.remaining
	if before := count - a.lease - a.owed; current && e.Known && before < e.Seen {
		e.Owed += min(e.Taken, e.Seen-before)
		e.Seen = count
	}
	e.Seen, e.Known = max(e.Seen, count), true
}

// failed ends an ask that came to nothing.
func (e *Entry) failed(now, began clock.Moment) {
	e.turn(now)
	if e.Asked != began {
		return
	}
	e.Asked, e.Quiet = 0, 0
	e.Size = max(e.Size/2, 1)
}

// own gives a lease that nobody was asked for, at most as much as the whole limit if that is capped; it is owed.
func (e *Entry) own(now, end clock.Moment, need int64, t *Terms, capped bool) int64 {
	e.turn(now)
	if e.End == 0 {
		e.End = end
	}
	known := e.Known
	e.Known = false // what the others have left counts for nothing now
	amount := e.part(now, need, t)
	if e.Known = known; capped {
		amount = min(amount, max(t.Quantity-e.Taken, 0))
	}
	if amount > 0 {
		e.Taken, e.Owed, e.Size, e.At = e.Taken+amount, e.Owed+amount, amount, now
	}
	return amount
}

// book is the entries of a namespace, and memory to change them in.
type book struct {
	store   record.Store
	prefix  string
	entries []Entry
	buffer  []byte
	key     []byte
}

func (b *book) keyOf(id uint64) string {
	b.key = strconv.AppendUint(append(b.key[:0], b.prefix...), id%pages, 36)
	return string(b.key)
}

// get gives the entry of an id as it stands.
func (b *book) get(id uint64, now clock.Moment) (e Entry, err error) {
	value, _, found, err := b.store.Get(b.keyOf(id))
	if err != nil || !found {
		return Entry{ID: id}, err
	}
	b.decode(value)
	for i := range b.entries {
		if b.entries[i].ID == id {
			e = b.entries[i]
		}
	}
	e.ID = id
	e.turn(now)
	return e, nil
}

// change changes the entry of an id. What does it can be called several times, until one of the results is written.
func (b *book) change(id uint64, now clock.Moment, how func(*Entry)) error {
	u := record.Open(b.store, b.keyOf(id))
	for u.Read() {
		b.decode(u.Value)
		how(b.find(id, now))
		b.encode()
		u.Write(b.buffer)
	}
	return u.Err()
}

// find gives the entry of an id in the page that was read, which may cost another one its place.
func (b *book) find(id uint64, now clock.Moment) *Entry {
	oldest := 0
	for i := range b.entries {
		e := &b.entries[i]
		if e.ID == id {
			return e
		}
		if b.entries[oldest].worth(now) > e.worth(now) {
			oldest = i
		}
	}
	if len(b.entries) < mostEntries {
		b.entries = append(b.entries, Entry{})
		oldest = len(b.entries) - 1
	}
	b.entries[oldest] = Entry{ID: id}
	return &b.entries[oldest]
}

// worth orders entries by what is lost with them.
func (e *Entry) worth(now clock.Moment) clock.Moment {
	if e.End != 0 && now >= e.End {
		return 0
	}
	return max(e.At, e.Asked)
}

var order = binary.LittleEndian

func (b *book) decode(value []byte) {
	b.entries = b.entries[:0]
	if len(value) < 8 || order.Uint64(value) != layout || (len(value)-8)%entrySize != 0 || len(value) > 8+mostEntries*entrySize {
		return // another version's, or damaged: it is begun anew
	}
	for v := value[8:]; len(v) > 0; v = v[entrySize:] {
		word := func(i int) int64 { return max(int64(order.Uint64(v[8*i:])), 0) }
		flags := order.Uint64(v[16:])
		b.entries = append(b.entries, Entry{
			ID: order.Uint64(v), End: clock.Moment(word(1)), Taken: int64(flags >> 8 & mostUnits), Seen: word(3), Owed: word(4), Size: word(5), At: clock.Moment(word(6)),
			Quiet: clock.Moment(word(7)), Asked: clock.Moment(word(8)), Limit: word(9), Known: flags&1 != 0, Empty: flags&2 != 0, Read: flags&4 != 0,
		})
	}
}

// mostUnits bounds what is taken in a window, as it is stored.
const mostUnits = 1<<48 - 1

func (b *book) encode() {
	b.buffer = order.AppendUint64(b.buffer[:0], layout)
	for i := range b.entries {
		e := &b.entries[i]
		flags := uint64(min(e.Taken, mostUnits)) << 8
		for bit, set := range [...]bool{e.Known, e.Empty, e.Read} {
			if set {
				flags |= 1 << bit
			}
		}
		for _, word := range [...]uint64{e.ID, uint64(e.End), flags, uint64(e.Seen), uint64(e.Owed), uint64(e.Size), uint64(e.At), uint64(e.Quiet), uint64(e.Asked), uint64(e.Limit)} {
			b.buffer = order.AppendUint64(b.buffer, word)
		}
	}
}
