package limit

import (
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/grant"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

// What an operator looks at, and changes, of one subject of one limit. None of it is on a request's way, but for grants: a subject that has one has a
// limit of its own in the place of that which all others have (load).

// Subject is one subject of one limit of the set.
type Subject struct {
	limit *limit
	hash  table.Hash
}

// IDs are what identifies limit and subject in a grant.
func (s Subject) IDs() (limit, subject uint64) { return s.limit.salt, uint64(s.hash) }

// None says that there is no such limit.
func (s Subject) None() bool { return s.limit == nil }

// Unit is what the limit counts.
func (s Subject) Unit() *config.Unit { return s.limit.Unit }

// Secret says that something it is told by is never to be shown.
func (s Subject) Secret() bool {
	return s.limit != nil && slices.ContainsFunc(s.limit.per, func(p part) bool { return p.secret })
}

// Subject finds the subject that a text names, as AppendSubject shows it: "user=ann tenant=acme", what the limit's "per" names in that order; where it
// names one thing, that one's value will do, and where it names none, anything. What is stored as a hash is named by its value. wrong says what is
// wrong with it; "": nothing.
func (s *Set) Subject(name, text string) (found Subject, wrong string) {
	for i := range s.limits {
		if l := &s.limits[i]; l.Name == name {
			b, wrong := s.identify(l, text)
			return Subject{l, s.table.Hash(b)}, wrong
		}
	}
	return found, "there is no limit " + strconv.Quote(name) + " in force"
}

// identify gives what a subject's hash is made of, as hash does of a request's.
func (s *Set) identify(l *limit, text string) (b []byte, wrong string) {
	b = append(s.subject[:0], s.groups[l.group]...)
	rest := text
	for i := range l.per {
		p := &l.per[i]
		value := rest
		if after, is := strings.CutPrefix(rest, p.name+"="); is {
			value = after
		} else if len(l.per) > 1 {
			return nil, "want " + form(l)
		}
		if i+1 < len(l.per) {
			next := l.per[i+1].name + "="
			before, after, found := strings.Cut(value, " "+next)
			if !found {
				return nil, "want " + form(l)
			}
			value, rest = before, next+after
		}
		b = s.appendNamed(append(b, 0), p, value)
	}
	s.subject = b
	return b, ""
}

// form says how a limit's subjects are named.
func form(l *limit) string {
	names := make([]string, len(l.per))
	for i := range l.per {
		names[i] = l.per[i].name + "=..."
	}
	return strings.Join(names, " ")
}

// appendNamed appends a part's value as a request's would be.
func (s *Set) appendNamed(b []byte, p *part, value string) []byte {
	switch {
	case p.hashed && value != s.nobody:
		return strconv.AppendUint(append(b, '#'), s.hashPart(value), 36)
	case p.kind == config.PerModel:
		return appendLower(b, value)
	case p.kind == config.PerPriority:
		if priority, known := config.ParsePriority(value); known {
			value = priority.String()
		}
	}
	return append(b, value...)
}

// View is how a subject stands, in units of its limit.
type View struct {
	Quantity, Burst           int64
	Used, Reserved, Remaining int64         // Remaining below 0 is debt
	Full                      time.Duration // until all of it is there again, if nothing more is used
	Ends                      time.Duration // until its window ends, and all of it is there again in any case; 0: it has no window
	Grant                     *grant.Grant  // nil: none is in force
	Lease                     *Lease        // nil: the limit is the proxy's own
	Nearly                    bool          // so little is left that config.Nearly holds
}

// Look says how a subject stands.
func (s *Set) Look(now clock.Moment, of Subject) (v View, err error) {
	l := s.grantedTo(now, of.limit, of.hash)
	page, err := s.table.Load(of.hash, now)
	if err != nil {
		return v, err
	}
	state := page.Get(uint64(of.hash) ^ l.salt)
	s.table.Release(page)
	rate := s.rate(now, l)
	state.Leak(now, rate)
	v = View{Quantity: l.Quantity, Burst: l.Burst, Used: l.units(state.Used), Reserved: l.units(state.Held(rate))}
	v.Remaining = l.Burst - v.Used - v.Reserved
	if l.Window > 0 {
		v.Full = state.Wait(l.rate.Burst, rate)
		v.Ends = state.Ends(rate)
	}
	if l.terms != nil {
		err = s.lookFleet(now, l, uint64(of.hash)^l.salt, &state, &v)
	}
	if v.Nearly = isNearly(&l.Limit, (v.Burst-v.Remaining)*parts(l.Unit), l.size()); l.terms != nil {
		return v, err
	}
	if l != of.limit {
		v.Grant = &s.granted[uint64(of.hash)^l.salt].Grant
	}
	return v, nil
}

// Reset forgets what a subject has used. What it has reserved stays: those requests are under way.
func (s *Set) Reset(now clock.Moment, of Subject) error {
	return s.changeUsed(now, of, s.grantedTo(now, of.limit, of.hash), func(int64) int64 { return 0 })
}

// changeUsed changes what a subject has used.
func (s *Set) changeUsed(now clock.Moment, of Subject, l *limit, change func(used int64) int64) error {
	page, err := s.table.Load(of.hash, now)
	id := uint64(of.hash) ^ l.salt
	for written := false; err == nil && !written; {
		state := page.Get(id)
		rate := s.rate(now, l)
		state.Leak(now, rate)
		state.Used = change(state.Used)
		page.Set(id, state, rate)
		if written, _, err = s.table.Save(page, now, id); err == nil && !written {
			err = s.table.Reload(page, now)
		}
	}
	s.table.Release(page)
	return err
}

// Forgive ends what a grant has left, once it has ended: what was used by it is no debt.
func (s *Set) Forgive(now clock.Moment, g grant.Grant) error {
	for i := range s.limits {
		if l := &s.limits[i]; l.salt == g.Limit {
			most := l.with(&g).rate.Burst - l.rate.Burst
			return s.changeUsed(now, Subject{l, table.Hash(g.Subject)}, l, func(used int64) int64 {
				return used - max(min(used-l.rate.Burst, most), 0)
			})
		}
	}
	return nil
}

// granted is a subject's own limit while its grant is in force.
type granted struct {
	limit
	grant.Grant
}

// Allow has the grants in force, in the place of those that were.
func (s *Set) Allow(all []grant.Grant) {
	s.granted = nil
	for _, g := range all {
		for i := range s.limits {
			if l := &s.limits[i]; l.salt == g.Limit {
				if s.granted == nil {
					s.granted = map[uint64]*granted{}
				}
				s.granted[g.Subject^l.salt] = &granted{l.with(&g), g}
			}
		}
	}
}

// with is the limit with a grant.
func (l *limit) with(g *grant.Grant) limit {
	own := *l
	switch g.Kind {
	case grant.More:
		own.Burst = min(own.Burst+g.Amount, bucket.Most/parts(l.Unit))
	case grant.Quantity:
		own.Burst = max(min(scaled(own.Burst, g.Amount, own.Quantity), bucket.Most/parts(l.Unit)), 1)
		own.Quantity = g.Amount
	}
	own.rate.Burst, own.rate.Quantity = own.Burst*parts(l.Unit), own.Quantity*parts(l.Unit)
	return own
}

// scaled is n in the proportion of a to b, a half up. What is too large for 64 bits is the largest.
func scaled(n, a, b int64) int64 {
	high, low := bits.Mul64(uint64(n), uint64(a))
	low, carry := bits.Add64(low, uint64(b)/2, 0)
	if high += carry; high >= uint64(b) {
		return math.MaxInt64
	}
	quotient, _ := bits.Div64(high, low, uint64(b))
	return int64(min(quotient, math.MaxInt64))
}

// grantedTo is the limit as it is for a subject.
func (s *Set) grantedTo(now clock.Moment, l *limit, subject table.Hash) *limit {
	if len(s.granted) == 0 {
		return l
	}
	if own := s.granted[uint64(subject)^l.salt]; own != nil && own.In(now) {
		return &own.limit
	}
	return l
}
