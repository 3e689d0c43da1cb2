// Package grant keeps what operators have granted single subjects of limits, for a time: more of what the limit gives, or another quantity. All of them
// are one record that the workers share, which each of them looks at four times a second, so that a request costs nothing for it.
//
// # States and owners
//
// A grant begins with the change that adds it, in the place of an earlier one of the same subject and limit, and ends at its moment, by the workers'
// clock. The worker that takes it out then forgives what was used by it. The record belongs to nobody; a change reads it and swaps it.
//
// # Bounds
//
// Most grants at one time, of 36 bytes each; the next one is refused. A look is one read.
//
// # The worst moments
//
// Two change it at once: one reads again. The worker dies that has taken a grant out: what was used by it is debt, and flows in again with time. The record is damaged, or another version's: it counts as empty, and is begun anew by the next change. The
// proxy is restarted: its clock begins anew, and so do balances; the grants are gone with them.
package grant

import (
	"encoding/binary"
	"errors"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record"
)

// Most is how many there can be at one time.
const Most = 256

// ErrFull says that there are so many already.
var ErrFull = errors.New("there are 256 grants already; wait for some to end")

// Kind says what is granted.
type Kind uint8

// The kinds.
const (
	More     Kind = iota // Amount beside what the limit gives, once
	Quantity             // Amount in the place of its quantity
)

// Grant is what one subject of one limit is granted.
type Grant struct {
	Limit   uint64 // what identifies the limit: limit.Set.Subject says
	Subject uint64
	Kind    Kind
	Amount  int64 // units of the limit
	Until   clock.Moment
}

// In is whether a grant is in force.
func (g *Grant) In(now clock.Moment) bool { return now < g.Until }

// same says that both are of one subject and limit.
func (g *Grant) same(other *Grant) bool { return g.Limit == other.Limit && g.Subject == other.Subject }

// Shared is the record as a worker sees it.
type Shared struct {
	store   record.Store
	key     string
	looked  bool
	version uint32
}

// New gives the record of a namespace.
func New(store record.Store, namespace string) Shared {
	return Shared{store: store, key: namespace + "/g1"}
}

// Look gives the grants if they are others than at the last look.
func (s *Shared) Look() (all []Grant, news bool, err error) {
	value, version, found, err := s.store.Get(s.key)
	if err != nil || !found || s.looked && version == s.version {
		return nil, false, err
	}
	s.looked, s.version = true, version
	return decode(value), true, nil
}

// Give adds a grant, in the place of one that its subject has.
func (s *Shared) Give(g Grant) error {
	u := record.Open(s.store, s.key)
	for u.Read() {
		var kept []Grant
		for _, other := range decode(u.Value) {
			if !other.same(&g) {
				kept = append(kept, other)
			}
		}
		if len(kept) >= Most {
			return ErrFull
		}
		u.Write(encode(append(kept, g)))
	}
	return u.Err()
}

// End takes out what has ended, and gives it to one worker only.
func (s *Shared) End(now clock.Moment) (ended []Grant, err error) {
	u := record.Open(s.store, s.key)
	for u.Read() {
		var kept []Grant
		ended = nil
		for _, g := range decode(u.Value) {
			if g.In(now) {
				kept = append(kept, g)
			} else {
				ended = append(ended, g)
			}
		}
		if ended == nil {
			return nil, nil
		}
		if !u.Write(encode(kept)) {
			ended = nil
		}
	}
	return ended, u.Err()
}

const (
	layout   = 1
	headSize = 4
	size     = 8 + 8 + 4 + 8 + 8
)

var order = binary.LittleEndian

func encode(all []Grant) []byte {
	b := order.AppendUint32(make([]byte, 0, headSize+len(all)*size), layout)
	for i := range all {
		g := &all[i]
		b = order.AppendUint64(b, g.Limit)
		b = order.AppendUint64(b, g.Subject)
		b = order.AppendUint32(b, uint32(g.Kind))
		b = order.AppendUint64(b, uint64(g.Amount))
		b = order.AppendUint64(b, uint64(g.Until))
	}
	return b
}

func decode(b []byte) (all []Grant) {
	if len(b) < headSize || order.Uint32(b) != layout || (len(b)-headSize)%size != 0 || len(b) > headSize+Most*size {
		return nil
	}
	for b = b[headSize:]; len(b) > 0; b = b[size:] {
		g := Grant{Limit: order.Uint64(b), Subject: order.Uint64(b[8:]), Kind: Kind(order.Uint32(b[16:])), Amount: int64(order.Uint64(b[20:])), Until: clock.Moment(order.Uint64(b[28:]))}
		if g.Kind <= Quantity && g.Amount > 0 {
			all = append(all, g)
		}
	}
	return all
}
