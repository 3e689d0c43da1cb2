// Package roster is what the workers of a proxy tell of themselves once a second: that they live, and what they have counted. The admin surface sums
// it up, in whichever worker it is asked.
//
// # States and owners
//
// There is a record for each place, and a worker takes the first place that is free, or whose worker has been silent for Silent. It adds to the record
// what it has counted since it last did, so the sums are those of all workers there have ever been, and a worker that dies takes no more with it than
// one beat's worth. Nobody but its owner writes a record while its owner lives.
//
// # Who is a worker
//
// A proxy may run the filter in more threads than those that serve: Envoy does in its main thread, which tells of itself as the others do, and never has a
// request. So of those that have had none, one isn't counted (Sum).
//
// # Bounds
//
// MostPlaces records of 29 bytes and 8 for each count; a worker for which there is no place isn't seen, and keeps what it has counted.
// A beat costs a read and a write; a sum reads the records that there are.
//
// # The worst moments
//
// The worker is silent and comes back: its place is another's by then, and it takes another one. The record is damaged, or another version's: it
// is begun anew, with its counts at zero. The store fails: what was counted is kept for the next beat.
package roster

import (
	"encoding/binary"
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

	layout = 1
	head   = 4 + 8 + 8 + 8 + 1
)

// Roster is one worker's view of the others. Its counts are the worker's since the last beat.
type Roster struct {
	Counts []int64
	Served bool // the worker has had a request

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
	return &Roster{Counts: make([]int64, counts), store: store, prefix: namespace + "/w1/", id: id, worker: worker, place: -1}
}

// entry is a record.
type entry struct {
	id, worker uint64
	heard      clock.Moment
	served     bool
	counts     []byte // of 8 bytes each
}

func (r *Roster) decode(b []byte) (e entry, sound bool) {
	if len(b) != head+8*len(r.Counts) || order.Uint32(b) != layout {
		return e, false
	}
	return entry{order.Uint64(b[4:]), order.Uint64(b[12:]), clock.Moment(order.Uint64(b[20:])), b[head-1] != 0, b[head:]}, true
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
		served := byte(0)
		if r.Served {
			served = 1
		}
		b = append(b, served)
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

// Sum adds up what all workers have counted, as far as they have told, into counts, and says how many of them live.
func (r *Roster) Sum(now clock.Moment, counts []int64) (workers int, err error) {
	clear(counts)
	var living living
	for place := range MostPlaces {
		value, _, found, err := r.store.Get(r.key(place))
		if err != nil || !found {
			return living.workers(), err
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
	return living.workers(), nil
}

// living are the workers that have been heard of lately.
type living struct {
	ids    [MostPlaces]uint64
	n      int
	unused int // of them that have had no request
}

func (l *living) add(e *entry) {
	for _, known := range l.ids[:l.n] {
		if known == e.worker {
			return
		}
	}
	l.ids[l.n] = e.worker
	if l.n++; !e.served {
		l.unused++
	}
}

// workers is how many of them serve.
func (l *living) workers() int { return l.n - min(l.unused, 1) }
