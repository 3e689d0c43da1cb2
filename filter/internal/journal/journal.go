// Package journal keeps what was refused last, and what would have been in shadow mode: whose request it was, what it was for, who decided, and why.
//
// A Ring belongs to one worker and has its Last entries, the oldest of which makes room for the next one. It has no pointers, takes 40 KiB and never
// more, and to add to it allocates nothing: texts are copied into the entry's place, made one line and cut (package oneline). Once a second it is told
// in a record of MostRecord bytes at most (package told), of which Merge makes one list of all workers', in the order of time.
//
// The worst moments: a client that is refused a hundred times a second pushes all others out: the list says what was last, and who is refused most
// is package heavy's to say. A worker dies: what it told last stays. A record is damaged: it counts as none.
package journal

import (
	"encoding/binary"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/oneline"
	"github.com/spillway-proxy/spillway/filter/internal/told"
)

// Last is how many entries a worker keeps.
const Last = 100

// Entry is one decision. Its texts have mostText bytes at most: longer ones are cut.
type Entry struct {
	At       clock.Moment
	Wait     time.Duration // until it is worth trying again; 0: not said; gate.Never
	Outcome  gate.Outcome
	Priority config.Priority

	Gate, Reason    string
	Limit, Subject  string // the limit that decided, if one did, and whom it charges; else who asks
	Model, Upstream string // "": not known, or none
}

const (
	layout    = 'j'
	texts     = 6
	mostText  = 64
	entrySize = 8 + 8 + 1 + 1 + texts*(1+mostText)
	// MostRecord is how many bytes a record has at most.
	MostRecord = told.HeaderSize + 1 + Last*entrySize
)

// texts are those of an entry, in their order.
func (e *Entry) texts() [texts]*string {
	return [...]*string{&e.Gate, &e.Reason, &e.Limit, &e.Subject, &e.Model, &e.Upstream}
}

// Ring has the last entries of a worker. The zero value is empty.
type Ring struct {
	Changes uint32 // how often an entry was added; it wraps

	slots [Last]slot
	n     int // so many are there
	next  int // where the next one goes
}

// slot is an entry's place.
type slot struct {
	at       clock.Moment
	wait     time.Duration
	outcome  gate.Outcome
	priority config.Priority
	ends     [texts]uint16 // of the texts
	text     [texts * mostText]byte
}

// Add adds an entry, of which it keeps a copy.
func (r *Ring) Add(e *Entry) {
	s := &r.slots[r.next]
	r.Changes++
	r.next = (r.next + 1) % Last
	r.n = min(r.n+1, Last)
	s.at, s.wait, s.outcome, s.priority = e.At, e.Wait, e.Outcome, e.Priority
	text := s.text[:0]
	for i, t := range e.texts() {
		text = oneline.Append(text, *t, mostText)
		s.ends[i] = uint16(len(text))
	}
}

// AppendRecord appends what a worker tells.
func (r *Ring) AppendRecord(b []byte, worker uint64, now clock.Moment) []byte {
	header := told.Header{Layout: layout, Worker: worker, At: now}
	b = append(header.Append(b), uint8(r.n))
	for i := range r.n {
		s := &r.slots[(r.next-r.n+i+Last)%Last]
		for _, n := range [...]uint64{uint64(s.at), uint64(s.wait)} {
			b = binary.LittleEndian.AppendUint64(b, n)
		}
		b = append(b, uint8(s.outcome), uint8(s.priority))
		from := uint16(0)
		for _, end := range s.ends {
			b = told.AppendText(b, s.text[from:end])
			from = end
		}
	}
	return b
}

// Merge gives the last entries that the workers' records tell of, the latest first.
func Merge(records [][]byte, last int) []Entry {
	parts := told.Latest(records, layout, 0)
	lists := make([][]Entry, 0, len(parts))
	all := 0
	for i := range parts {
		if list, whole := decode(&parts[i].Reader); whole {
			lists = append(lists, list)
			all += len(list)
		}
	}
	merged := make([]Entry, 0, min(all, last))
	for len(merged) < cap(merged) {
		latest := -1 // of the lists, the one whose last entry is the latest of all
		for i, list := range lists {
			if len(list) > 0 && (latest < 0 || list[len(list)-1].At > lists[latest][len(lists[latest])-1].At) {
				latest = i
			}
		}
		list := lists[latest]
		merged, lists[latest] = append(merged, list[len(list)-1]), list[:len(list)-1]
	}
	return merged
}

// decode reads what follows the header, the earliest entry first. It says false of a record that is damaged.
func decode(r *told.Reader) (list []Entry, whole bool) {
	n := int(r.Byte())
	r.Sound = r.Sound && n <= Last
	for i := 0; i < n && r.Sound; i++ {
		e := Entry{At: clock.Moment(r.Uint64()), Wait: time.Duration(r.Uint64()), Outcome: gate.Outcome(r.Byte()), Priority: config.Priority(r.Byte())}
		for _, text := range e.texts() {
			*text = r.Text(mostText)
		}
		r.Sound = r.Sound && e.Outcome <= gate.Faulted && e.Priority <= config.Urgent && e.Wait >= 0
		list = append(list, e)
	}
	return list, r.Whole()
}
