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

	entrySize = 16 * 8
	layout    = 4
)

// Entry is what a proxy knows of one subject's share of a fleet's limit, in units of that. What it says of counts is of the window that ends at End.
type Entry struct {
	ID    uint64
	End   clock.Moment // before which the window doesn't end; 0: nothing is known of one
	Taken int64        // this proxy's leases, those that it gave itself included
	Given int64        // of them, what it has given back, as far as the service has said that it counted that
	noted int64        // what the service had counted for this proxy when it was asked last: Taken, unless something was lost, is owed, or came of a call without an answer
	seen  int64        // what it had counted for the fleet then
	Back  int64        // of that, what the proxies have given back, as far as it was told
	open  int64        // what was asked for, and hasn't been heard of: so much at most can have been added without being Taken
	gone  int64        // what others had leased of a count that was lost: so much at least; at most MostQuantity
	Size  int64        // of the next lease, if nothing is against it; 0: there was none
	At    clock.Moment // the last lease
	Quiet clock.Moment // nobody asks before: somebody does, or nothing is left
	asked clock.Moment // when the ask began that is under way; 0: none is
	Limit int64        // what the limit was when nothing was left
	limit uint64       // the caller's
	name  [16]byte     // of the subject

	era   byte // of the counts: see pulse
	Known bool // seen and noted are
	Empty bool // nothing is left, until End or somebody gives back
}

// turn begins a new window if the entry's is over.
func (e *Entry) turn(now clock.Moment) {
	if e.End != 0 && now >= e.End {
		*e = Entry{ID: e.ID, Size: e.Size, At: e.At, Quiet: e.Quiet, asked: e.asked, open: e.open}
		if e.asked == 0 {
			e.Quiet, e.open = 0, 0
		}
	}
}

// rest is what the fleet has left beside the leases, as far as it is known; below 0: it has used more.
func (e *Entry) rest(t *Terms) int64 { return t.Quantity + e.Back - e.seen - e.owed() - e.missing() }

// owed is what this proxy has taken and the count lacks.
func (e *Entry) owed() int64 { return max(e.Taken-e.noted, 0) }

// behind says that what it knows of its count is of an era that is over, so that something may have to be added again.
func (e *Entry) behind(era byte) bool { return e.Taken > 0 && e.era != era }

// missing is what the others had leased of a count that was lost, and haven't added again.
func (e *Entry) missing() int64 { return max(e.gone-max(e.seen-e.noted, 0), 0) }

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
		if now >= e.Quiet {
			e.asked, e.Quiet = now, now.Add(patience)
		}
		return true
	}
	if e.Empty && a.Terms.Quantity > e.Limit { // it was raised since
		e.Empty, e.Quiet = false, 0
	}
	if a.settles && e.behind(a.era) { // nobody leases, but this is to be added again
		a.Need = 0
	}
	if e.quiet(now, a) {
		return false
	}
	e.limit, e.name = a.Limit, a.Name
	a.back, a.End, a.owed = e.Back, e.End, e.owed()
	if a.Need > 0 && !e.Empty { // what is empty is looked at whether the count is still there, and then at what was given back
		a.lease = e.part(now, a.Need, a.Terms)
		e.open = min(e.open+a.lease, MostQuantity)
	}
	e.asked, e.Quiet = now, now.Add(patience)
	return true
}

// early says that an answer tells of a window that has just begun, and more than this proxy has had counted in it: the service has counted in the window before, and looked at its clock again when that was over.
func (a *ask) early(all, own *status) bool {
	return all.reset == a.Terms.Period && own.told() > a.hits()
}

// quiet says that it isn't to be asked for now.
func (e *Entry) quiet(now clock.Moment, a *ask) bool {
	return a.Need > 0 && (a.settles || now < e.Quiet) || e.asked != 0 && now < e.Quiet
}

// answered takes an answer to the ask that began at a moment, for a window that ends at end: what the service has counted for the fleet, and for this proxy. It gives what is
// leased by it, and what was counted beyond the limit, which is to be given back.
func (e *Entry) answered(now, began, end clock.Moment, a *ask, all, own *status) (leased, beyond int64) {
	e.turn(now)
	half := a.Terms.Period / 2
	switch {
	case end <= now, e.End != 0 && end.Sub(e.End) < -half, (e.End == 0 || end.Sub(e.End) > half) && a.early(all, own): // of a window that is over
		e.failed(now, began)
		return 0, 0
	case e.End == 0 || end.Sub(e.End) > half: // a new one
		e.Taken, e.Given, e.noted, e.seen, e.Back, e.Known, e.Empty, e.gone = 0, 0, 0, 0, 0, false, false, 0
		e.End = end
	default:
		e.End = max(e.End, end)
	}
	current, later := e.asked == began, end.Sub(a.End) > half
	if current {
		e.asked, e.Quiet = 0, 0
	}
	told := all.told()
	switch {
	case a.GivesBack:
		e.returned(now, a, told, later)
		return 0, 0
	case !current: // somebody else has asked meanwhile: who asks next finds what was added
		return 0, 0
	}
	lost := e.tally(a, told, own.told())
	if lost || a.settles || all.over || own.over { // beyond what the service counts, whatever the limit is
		return 0, 0
	}
	return e.take(now, a)
}

// take takes what was added, and what the calls have added that nobody heard of. More than these can have added was taken by an entry that had to go, or is of counts that were lost and have come back.
func (e *Entry) take(now clock.Moment, a *ask) (leased, beyond int64) {
	e.open = max(e.open-a.lease, 0)
	more := max(e.noted-e.Taken-a.lease, 0)
	found := min(more, e.open)
	e.Taken, e.open = e.Taken+a.lease+more, e.open-found
	room := a.Terms.Quantity + min(a.back, e.Back) - e.missing() - e.owed() // Back is 0 where what was known of it is void
	leased = min(max(room-(e.seen-a.lease), 0), a.lease)
	if beyond = a.lease - leased; e.seen <= room {
		leased += found
	} else {
		beyond += found
	}
	if a.lease > 0 {
		e.Size, e.At = a.lease, now
		if beyond > 0 {
			e.Size = max(a.lease/2, 1)
		}
	}
	return leased, beyond
}

// returned takes how much all proxies have given back. If that was added in a later window than it was taken from it has to be taken from that, too.
func (e *Entry) returned(now clock.Moment, a *ask, told int64, later bool) {
	switch e.Back = told; {
	case later:
		e.Taken += a.Need
	case e.era == a.era: // else it will be added again, as taken
		e.Given = min(e.Given+a.Need, e.Taken)
	}
	was := e.Empty
	switch e.Empty = e.rest(a.Terms) <= 0; {
	case e.Empty:
		e.Quiet, e.Limit = now.Add(lookAgain), a.Terms.Quantity
	case was && e.asked == 0:
		e.Quiet = 0
	}
}

// all says that all that had been counted in an era was lost since, and not only the last of it: what was given back in it is counted no more.
func (a *ask) all(era byte) bool { return a.part < uint64(a.era-era) }

// tally takes the counts that the service tells, for the fleet and for this proxy. What of its own is lost is owed again. What others had taken isn't to be had either, as far as it
// is known and they haven't added it again.
func (e *Entry) tally(a *ask, told, own int64) (lost bool) {
	before := max(own-a.hits(), 0)
	lost = before < e.noted
	if e.Known && (lost || e.era != a.era) {
		e.gone = max(min(e.seen-e.Back, a.Terms.Quantity)-(e.Taken-e.Given), e.gone)
		if e.Back = 0; before == 0 || lost && a.all(e.era) && before <= max(e.open-a.lease, 0) { // what was given back is lost, too: what is there was added since
			e.Taken, e.Given = e.Taken-e.Given, 0
		}
	}
	e.noted, e.seen, e.Known, e.era = own, told, true, a.era
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

// own gives a lease that nobody was asked for, if that is capped at most as much as the whole limit, and after a loss no more than what the fleet had left, as far as that is known; it is owed.
func (e *Entry) own(now, end clock.Moment, need int64, t *Terms, capped, settles bool) int64 {
	e.turn(now)
	if e.End == 0 {
		e.End = end
	}
	most := int64(MostQuantity)
	if capped {
		most = max(t.Quantity-e.Taken+e.Given, 0)
		if settles && e.Known {
			most = min(most, max(e.rest(t), 0))
		}
	}
	known := e.Known
	e.Known = false // what the others have left makes no lease smaller now
	amount := min(e.part(now, need, t), most)
	if e.Known = known; amount > 0 {
		e.Taken, e.Size, e.At = e.Taken+amount, amount, now
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
			ID: order.Uint64(v), End: clock.Moment(word(1)), Taken: int64(flags >> 8 & mostUnits), seen: word(3) & MostQuantity, gone: word(3) >> 32, noted: word(4), Size: word(5), At: clock.Moment(word(6)),
			Quiet: clock.Moment(word(7)), asked: clock.Moment(word(8)), Limit: word(9), Given: word(10), Back: word(11), limit: order.Uint64(v[96:]), open: word(13), name: [16]byte(v[112:128]),
			Known: flags&1 != 0, Empty: flags&2 != 0, era: byte(flags >> 56),
		})
	}
}

// mostUnits bounds what is taken in a window, as it is stored.
const mostUnits = 1<<48 - 1

func (b *book) encode() {
	b.buffer = order.AppendUint64(b.buffer[:0], layout)
	for i := range b.entries {
		e := &b.entries[i]
		flags := uint64(min(e.Taken, mostUnits))<<8 | uint64(e.era)<<56
		for bit, set := range [...]bool{e.Known, e.Empty} {
			if set {
				flags |= 1 << bit
			}
		}
		for _, word := range [...]uint64{e.ID, uint64(e.End), flags, uint64(e.seen) | uint64(e.gone)<<32, uint64(e.noted), uint64(e.Size), uint64(e.At), uint64(e.Quiet), uint64(e.asked), uint64(e.Limit), uint64(e.Given), uint64(e.Back), e.limit, uint64(e.open)} {
			b.buffer = order.AppendUint64(b.buffer, word)
		}
		b.buffer = append(b.buffer, e.name[:]...)
	}
}
