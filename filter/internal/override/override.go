// Package override keeps what all workers of a namespace have overridden of their configuration: one record, which whoever changes it writes
// and everybody looks at four times a second.
//
// # States and owners
//
// The record belongs to nobody: a change reads it, makes another of it and swaps the two (package record). Each change has the next revision.
// A worker keeps the record that it looked at last, and is told when there is another one.
//
// # Bounds
//
// One key, of config.MostOverrides bytes and 32 at most; the names of tokens are cut to 8 bytes. A look is one read.
//
// # The worst moments
//
// Two change it at once: one of them reads again, and decides again on what the other has written. The record is damaged, or another version's: it
// counts as none, and the next change begins anew. The store fails: what is in force stays.
package override

import (
	"encoding/binary"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

const (
	layout   = 1
	headSize = 4 + 8 + 8 + whoSize
	whoSize  = 8
)

// Record is what is overridden. The zero value is nothing.
type Record struct {
	Revision uint64 // of changes, from 1 on; 0: there was none
	Wall     int64  // when it was changed, in nanoseconds since 1970
	Who      string // by whose token: the first 8 digits of its hash
	Text     []byte // a JSON object, as config.Patch gives it; empty: nothing is overridden
}

// Shared is the record as a worker sees it.
type Shared struct {
	store   record.Store
	key     string
	looked  bool
	version uint32 // in the store, of what was looked at last; record.Create: there was none
}

// New gives the record of a namespace.
func New(store record.Store, namespace string) Shared {
	return Shared{store: store, key: namespace + "/o1"}
}

// Look reads the record, and says whether it is another one than at the last look. The first look at none is no news.
func (s *Shared) Look() (r Record, news bool, err error) {
	value, version, found, err := s.store.Get(s.key)
	if err != nil {
		return r, false, err
	}
	if !found {
		version = record.Create
	}
	news = found && (!s.looked || version != s.version)
	s.looked, s.version = true, version
	if !news {
		return r, false, nil
	}
	return decode(value), true, nil
}

// Again has the next look be one at news, whatever it finds.
func (s *Shared) Again() { s.looked = false }

// Read reads the record.
func (s *Shared) Read() (Record, error) {
	value, _, _, err := s.store.Get(s.key)
	return decode(value), err
}

// Change changes the record. change gives the text that is to take the place of the record's, or an error, with which nothing is changed; it can be
// called several times.
func (s *Shared) Change(wall int64, who string, change func(before *Record) (text []byte, err error)) (before, after Record, err error) {
	u := record.Open(s.store, s.key)
	for u.Read() {
		before = decode(u.Value)
		text, err := change(&before)
		if err != nil {
			return before, before, err
		}
		after = Record{Revision: before.Revision + 1, Wall: wall, Who: who, Text: text}
		u.Write(after.append(nil))
	}
	return before, after, u.Err()
}

var order = binary.LittleEndian

func (r *Record) append(b []byte) []byte {
	b = order.AppendUint32(b, layout)
	b = order.AppendUint64(b, r.Revision)
	b = order.AppendUint64(b, uint64(r.Wall))
	var who [whoSize]byte
	copy(who[:], r.Who)
	b = append(b, who[:]...)
	return append(b, r.Text...)
}

// decode reads a record, into memory of its own.
func decode(b []byte) (r Record) {
	if len(b) < headSize || len(b) > headSize+config.MostOverrides || order.Uint32(b) != layout {
		return r
	}
	r.Revision, r.Wall = order.Uint64(b[4:]), int64(order.Uint64(b[12:]))
	who := b[20:headSize]
	for len(who) > 0 && who[len(who)-1] == 0 {
		who = who[:len(who)-1]
	}
	r.Who = string(who)
	if len(b) > headSize {
		r.Text = append([]byte(nil), b[headSize:]...)
	}
	return r
}
