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

	entrySize = 12 * 8
	layout    = 3
)

// Entry is what a proxy knows of one subject's share of a fleet's limit, in units of that. What it says of counts is of the window that ends at End.
type Entry struct {
	ID    uint64
	End   clock.Moment // before which the window doesn't end; 0: nothing is known of one
	Taken int64        // this proxy's leases, those that it gave itself included
	Given int64        // of them, what it has given back since it was told the count
	seen  int64        // what the service had counted for the fleet when it was asked last
	Back  int64        // of that, what the proxies have given back, as far as it was told
	owed  int64        // what was leased already, and has to be added to the count
	gone  int64        // what others had leased of a count that was lost, as far as nobody has added anything since; at most MostQuantity
	Size  int64        // of the next lease, if nothing is against it; 0: there was none
	At    clock.Moment // the last lease
	Quiet clock.Moment // nobody asks before: somebody does, or nothing is left
	asked clock.Moment // when the ask began that is under way; 0: none is
	Limit int64        // what the limit was when nothing was left

	Known bool // seen is
	Empty bool // nothing is left, until End or somebody gives back
}

// turn begins a new window if the entry's is over.
func (e *Entry) turn(now clock.Moment) {
	if e.End != 0 && now >= e.End {
		*e = Entry{ID: e.ID, Size: e.Size, At: e.At, Quiet: e.Quiet, asked: e.asked}
		if e.asked == 0 {
			e.Quiet = 0
		}
	}
}

// rest is what the fleet has left beside the leases, as far as it is known; below 0: it has used more.
func (e *Entry) rest(t *Terms) int64 { return t.Quantity + e.Back - e.seen - e.owed - e.gone }

// Counted is what the fleet had leased when the service was asked last.
func (e *Entry) Counted() int64 { return max(e.seen-e.Back, 0) }

// How long a lease is to last, at least and at most.
const (
	short = 2 * time.Second
	long  = 8 * time.Second
)

// lookAgain is how long nobody asks for a limit that is used up: somebody may have given back.
const lookAgain = 5 * time.Second

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
		most = e.rest(t) / 4
	}
	if e.Size != 0 && e.End > now {
		most = min(most, int64(float64(e.Size)*float64(e.End.Sub(now))/float64(took)))
	}
	size = max(min(size, most), need)
	if e.Known {
		size = min(size, max(e.rest(t), 1))
	}
	return size
}

// begin has an ask begin, and says how much is to be added to which count. It says false if nobody is to ask now, or for nothing.
func (e *Entry) begin(now clock.Moment, a *ask, patience time.Duration) bool {
	e.turn(now)
	if a.GivesBack {
		// Not near the window's end: what comes too late would be given to the next one, which it was not taken from.
		if a.Need > 0 && (e.End.Sub(now) <= patience || e.End.Sub(a.End) > a.Terms.Period/2) {
			return false
		}
		e.Given = min(e.Given+a.Need, e.Taken)
	} else {
		if e.Empty && a.Terms.Quantity > e.Limit { // it was raised since
			e.Empty, e.Quiet = false, 0
		}
		if now < e.Quiet {
			return false
		}
		a.room, a.End, a.owed = a.Terms.Quantity+e.Back-e.gone, e.End, e.owed
		switch {
		case e.Empty: // it is looked at whether the count is still there, and then at what was given back
			a.Need = 0
		case a.Need > 0:
			a.lease = e.part(now, a.Need, a.Terms)
		}
	}
	if now >= e.Quiet {
		e.asked, e.Quiet = now, now.Add(patience)
	}
	return true
}

// answered takes an answer to the ask that began at a moment, for a window that ends at end. It gives what is leased by it, and what was counted beyond the
// limit, which is to be given back.
func (e *Entry) answered(now, began, end clock.Moment, a *ask, s *status) (leased, beyond int64) {
	e.turn(now)
	half := a.Terms.Period / 2
	switch {
	case end <= now, e.End != 0 && end.Sub(e.End) < -half: // of a window that is over
		e.failed(now, began)
		return 0, 0
	case e.End == 0 || end.Sub(e.End) > half: // a new one
		e.Taken, e.Given, e.seen, e.Back, e.Known, e.Empty, e.owed, e.gone = 0, 0, 0, 0, false, false, 0, 0
		e.End = end
	default:
		e.End = max(e.End, end)
	}
	current, later := e.asked == began, end.Sub(a.End) > half
	if current {
		e.asked, e.Quiet = 0, 0
	}
	told := MostQuantity - s.remaining
	if a.GivesBack {
		e.returned(now, a, told, later)
		return 0, 0
	}
	if s.over { // beyond what the service counts, whatever the limit is
		e.owed -= min(a.owed, e.owed)
		e.seen, e.Known = max(e.seen, told), true
		return 0, 0
	}
	if later { // than what was known of what the others have given back
		a.room = a.Terms.Quantity
	}
	lost := e.tally(a, told, current)
	if a.lease == 0 {
		return 0, 0
	}
	e.Taken, e.Size, e.At = e.Taken+a.lease, a.lease, now
	if leased = min(max(a.room-(told-a.lease), 0), a.lease); leased < a.lease {
		e.Size = max(a.lease/2, 1)
	}
	if lost { // the others have yet to say what they have taken
		e.Size = 1
	}
	return leased, a.lease - leased
}

// returned takes how much all proxies have given back. If that was added in a later window than it was taken from it has to be taken from that, too.
func (e *Entry) returned(now clock.Moment, a *ask, told int64, later bool) {
	if e.Back = told; later {
		e.owed += a.Need
	}
	was := e.Empty
	switch e.Empty = e.rest(a.Terms) <= 0; {
	case e.Empty:
		e.Quiet, e.Limit = now.Add(lookAgain), a.Terms.Quantity
	case was && e.asked == 0:
		e.Quiet = 0
	}
}

// tally takes the count that the service tells. What it has lost is owed again, as far as this proxy has taken it. What others have taken isn't to be had either: they may
// not have asked yet, or not see the loss when they do. Whatever they add is taken for that.
func (e *Entry) tally(a *ask, told int64, current bool) (lost bool) {
	e.owed -= min(a.owed, e.owed)
	before := told - a.lease - a.owed
	if lost = current && e.Known && before < e.seen; lost {
		own := min(e.Taken, e.seen-before)
		e.gone = max(min(e.seen+e.gone-e.Back, a.Terms.Quantity)-before-own, 0)
		e.owed += own
		e.seen, e.Back = told, 0
		a.room = a.Terms.Quantity - e.owed - e.gone
	} else if e.gone -= min(e.gone, max(before-e.seen, 0)); current {
		e.Taken, e.Given = max(e.Taken-e.Given, 0), 0
	}
	e.seen, e.Known = max(e.seen, told), true
	return lost
}

// failed ends an ask that came to nothing.
func (e *Entry) failed(now, began clock.Moment) {
	e.turn(now)
	if e.asked != began {
		return
	}
	e.asked, e.Quiet = 0, 0
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
		e.Taken, e.owed, e.Size, e.At = e.Taken+amount, e.owed+amount, amount, now
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
	return max(e.At, e.asked)
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
			ID: order.Uint64(v), End: clock.Moment(word(1)), Taken: int64(flags >> 8 & mostUnits), seen: word(3) & MostQuantity, gone: word(3) >> 32, owed: word(4), Size: word(5), At: clock.Moment(word(6)),
			Quiet: clock.Moment(word(7)), asked: clock.Moment(word(8)), Limit: word(9), Given: word(10), Back: word(11), Known: flags&1 != 0, Empty: flags&2 != 0,
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
		for bit, set := range [...]bool{e.Known, e.Empty} {
			if set {
				flags |= 1 << bit
			}
		}
		for _, word := range [...]uint64{e.ID, uint64(e.End), flags, uint64(e.seen) | uint64(e.gone)<<32, uint64(e.owed), uint64(e.Size), uint64(e.At), uint64(e.Quiet), uint64(e.asked), uint64(e.Limit), uint64(e.Given), uint64(e.Back)} {
			b.buffer = order.AppendUint64(b.buffer, word)
		}
	}
}
