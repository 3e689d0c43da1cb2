// Package roster is what the workers of a proxy tell of themselves once a second: that they live, and what they have counted. The admin surface sums
// it up, in whichever worker it is asked.
//
// # States and owners
//
// There is a record for each place, and a worker takes the first place that is free, or whose worker has been silent for Silent. It adds to the record
// what it has counted since it last did, so the sums are those of all workers there have ever been, and a worker that dies takes no more with it than
// one beat's worth. Nobody but its owner writes a record while its owner lives. Beside the counts it tells which overrides it goes by, and which
// configuration these are laid over.
//
// # Who is a worker
//
// A proxy may run the filter in more threads than those that serve: Envoy does in its main thread, which tells of itself as the others do, and never has a
// request. So of those that have had none, one isn't counted (Sum).
//
// # Bounds
//
// MostPlaces records of 45 bytes and 8 for each count; a worker for which there is no place isn't seen, and keeps what it has counted.
// A beat costs a read and a write; a sum reads the records that there are.
//
// # The worst moments
//
// The worker is silent and comes back: its place is another's by then, and it takes another one. The record is damaged, or another version's: it
// is begun anew, with its counts at zero. The store fails: what was counted is kept for the next beat.
package roster

import (
	"encoding/binary"
	"slices"
	"strconv"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

const (
	// MostPlaces is how many workers can be seen.
	MostPlaces = 256
	// Silent is how long a worker is taken for alive without a word from it.
	Silent = 5 * time.Second

	layout = 2
	head   = 4 + 8 + 8 + 8 + 8 + 8 + 1

	// what a worker is, in the record's last byte of its head
	served  = 1
	refused = 2
)

// Roster is one worker's view of the others. Its counts are the worker's since the last beat.
type Roster struct {
	Counts []int64
	Served bool // the worker has had a request

	Revision uint64 // of the overrides that it goes by
	Refused  bool   // it can't go by later ones
	Config   uint64 // a hash of what these are laid over

	store  record.Store
	prefix string
	id     uint64 // of this configuration in this worker
	worker uint64
	place  int // -1: none
	buffer []byte
}

// New gives the roster of a namespace. id tells this one from all others, of this process and of all it lives through; worker is that of all
// configurations in the same worker. counts is how many counts there are.
func New(store record.Store, namespace string, id, worker uint64, counts int) *Roster {
	return &Roster{Counts: make([]int64, counts), store: store, prefix: namespace + "/w2/", id: id, worker: worker, place: -1}
}

// entry is a record.
type entry struct {
	id, worker       uint64
	heard            clock.Moment
	revision, config uint64
	flags            byte
	counts           []byte // of 8 bytes each
}

func (r *Roster) decode(b []byte) (e entry, sound bool) {
	if len(b) != head+8*len(r.Counts) || order.Uint32(b) != layout {
		return e, false
	}
	return entry{order.Uint64(b[4:]), order.Uint64(b[12:]), clock.Moment(order.Uint64(b[20:])), order.Uint64(b[28:]), order.Uint64(b[36:]), b[head-1], b[head:]}, true
}

// alive says that the worker has been heard of lately. A clock that was set back kills nobody for long.
func (e *entry) alive(now clock.Moment) bool {
	age := now.Sub(e.heard)
	return age <= Silent && age >= -Silent
}

var order = binary.LittleEndian

func (r *Roster) key(place int) string { return r.prefix + strconv.Itoa(place) }

// Beat tells the others that the worker lives, and what it has counted since the last time.
func (r *Roster) Beat(now clock.Moment) error {
	if r.place >= 0 {
		done, err := r.write(now, r.place)
		if done || err != nil {
			return err
		}
		r.place = -1
	}
	for place := range MostPlaces {
		done, err := r.write(now, place)
		if err != nil {
			return err
		}
		if done {
			r.place = place
			return nil
		}
	}
	return nil
}

// Place is the worker's, by which its other records are told from those of others; none yet: -1.
func (r *Roster) Place() int { return r.place }

// Places is how many places have ever been taken.
func (r *Roster) Places() (n int, err error) {
	for n < MostPlaces {
		if _, _, found, err := r.store.Get(r.key(n)); err != nil || !found {
			return n, err
		}
		n++
	}
	return n, nil
}

// write writes the record of a place, if that is the worker's or can become it.
func (r *Roster) write(now clock.Moment, place int) (done bool, err error) {
	u := record.Open(r.store, r.key(place))
	for u.Read() {
		known, sound := r.decode(u.Value)
		if sound && known.id != r.id && known.alive(now) {
			return false, nil
		}
		b := order.AppendUint32(r.buffer[:0], layout)
		b = order.AppendUint64(b, r.id)
		b = order.AppendUint64(b, r.worker)
		b = order.AppendUint64(b, uint64(now))
		b = order.AppendUint64(b, r.Revision)
		b = order.AppendUint64(b, r.Config)
		b = append(b, r.flags())
		for i, n := range r.Counts {
			if sound {
				n += int64(order.Uint64(known.counts[8*i:]))
			}
			b = order.AppendUint64(b, uint64(n))
		}
		r.buffer = b
		if u.Write(b) {
			clear(r.Counts)
			return true, nil
		}
	}
	return false, u.Err()
}

func (r *Roster) flags() (flags byte) {
	if r.Served {
		flags |= served
	}
	if r.Refused {
		flags |= refused
	}
	return flags
}

// All is what the workers are together, of those that have been heard of lately.
type All struct {
	Workers        int
	Revisions      []Revision // of overrides that they go by, the latest first
	Configurations int        // different ones that they have
}

// Revision is one of the overrides that some workers go by.
type Revision struct {
	Revision uint64
	Workers  int
	Refused  int // of them can't go by a later one
}

// Sum adds up what all workers have counted, as far as they have told, into counts, and says who lives.
func (r *Roster) Sum(now clock.Moment, counts []int64) (all All, err error) {
	clear(counts)
	var living living
	for place := range MostPlaces {
		value, _, found, failed := r.store.Get(r.key(place))
		if failed != nil || !found {
			err = failed
			break
		}
		e, sound := r.decode(value)
		if !sound {
			continue
		}
		for i := range counts {
			counts[i] += int64(order.Uint64(e.counts[8*i:]))
		}
		if e.alive(now) {
			living.add(&e)
		}
	}
	return living.all(), err
}

// living are the workers that have been heard of lately.
type living struct {
	workers [MostPlaces]member
	n       int
	configs []uint64 // that they have
}

type member struct {
	id, revision uint64
	flags        byte
}

func (l *living) add(e *entry) {
	if !slices.Contains(l.configs, e.config) {
		l.configs = append(l.configs, e.config)
	}
	for i := range l.workers[:l.n] {
		if known := &l.workers[i]; known.id == e.worker { // by another configuration: it is as far as the one that is behind
			known.revision = min(known.revision, e.revision)
			known.flags |= e.flags
			return
		}
	}
	l.workers[l.n] = member{e.worker, e.revision, e.flags}
	l.n++
}

// all sums up those of them that serve.
func (l *living) all() (all All) {
	main := -1 // of those that have had no request, the one that is furthest isn't counted
	for i := range l.workers[:l.n] {
		if w := &l.workers[i]; w.flags&served == 0 && (main < 0 || w.revision > l.workers[main].revision) {
			main = i
		}
	}
	for i := range l.workers[:l.n] {
		if i != main {
			all.Workers++
			all.of(&l.workers[i])
		}
	}
	all.Configurations = len(l.configs)
	return all
}

// of counts a worker among those of its revision.
func (all *All) of(w *member) {
	at := 0
	for at < len(all.Revisions) && all.Revisions[at].Revision > w.revision {
		at++
	}
	if at == len(all.Revisions) || all.Revisions[at].Revision != w.revision {
		all.Revisions = append(all.Revisions, Revision{})
		copy(all.Revisions[at+1:], all.Revisions[at:])
		all.Revisions[at] = Revision{Revision: w.revision}
	}
	x := &all.Revisions[at]
	if x.Workers++; w.flags&refused != 0 {
		x.Refused++
	}
}
