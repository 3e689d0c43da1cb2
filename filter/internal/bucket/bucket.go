// Package bucket is the arithmetic of one token bucket with debt and reservations.
//
// A bucket holds what was used and has not leaked away yet (the token bucket seen from below: a leaky bucket as a meter,
// ITU-T I.371). Used falls by Quantity per Window, down to zero; the balance is Burst - Used - reserved, and may be
// below zero: debt, carried exactly.
//
// An admitted request reserves what it may use and is settled later: the reservation goes, the real use comes. A
// reservation belongs to the lease period it was made or renewed in, and counts during that period and the next one;
// after that it is forgotten. So what a dead worker had reserved comes back in at most two periods, without anybody
// knowing which worker it was.
//
// Of a lifetime (Rate.Idle) nothing comes back. Used stays as it is, and At is when it was last changed; after Idle without a change the bucket is
// forgotten. A clock that steps ahead by as much forgets it, too; one that steps back has it wait until it has caught up.
//
// # Another rate
//
// A configuration may change the rate while something is in use. What was used by another rate flows away by the faster of the two: by the rate as it is now,
// or evenly until State.By, when all of it would be gone by the rate at which it was last changed. So nobody waits longer for a lower quantity than
// he would have waited for all of the one before, whatever he has used of that; what stayed untouched until then counts as it would have
// before; and what is used from then on takes its time by the new rate, and moves By on by as much. While the rate stays the same, By changes nothing.
//
// # Windows
//
// The other way in which a quantity comes back is all at once, when a window begins (Rate.Now). Used is what was used in one window, then, and
// State.Window says in which. The number of a window is the second of the wall clock at which it begins, so that all workers know it alike
// without a word between them; what they must agree on, that a window's quantity is given once, the bucket itself says: its window only goes forward.
//
//   - A window that begins later than the bucket's begins with nothing used. Debt doesn't outlive its window: it was used before.
//   - A request is charged to the window in which it ends (or is sent, where that is what is counted), whenever it was admitted. Until then its
//     reservation counts, also beyond the boundary. So one window passes no more than the quantity, and by what the settlements of those in
//     flight are above their reservations. What is given back of an earlier window's use is credited to nobody.
//   - Of two workers at the boundary, the one whose clock is ahead begins the window; the other one charges to that window, too.
//   - The wall clock is set back into the window before: the bucket stays in the one that it has begun, until that is over. Nobody has its quantity twice.
//   - It is set ahead: the window of the new time begins. If it was a mistake, and the clock is set back by more than a window, the bucket goes back, with
//     what was used meanwhile: it has had one quantity for the mistake, and isn't locked out until a time that is years away.
//   - Both are known to one worker after the other. A bucket that was changed within Settling goes by no clock that is far from its window, be it behind
//     or ahead: else each request of a worker that knows would begin the window anew after each of one that doesn't.
//   - Another window, time zone or refill comes with a configuration: a window that begins later than the bucket's by half of its length or more is a new
//     one; else what was used stays used. So a month that is moved to another time zone gives nobody its quantity twice. Of one configuration no two
//     windows begin so close to each other.
//
// A bucket without a window or a lifetime has nothing that time would bring back: it holds reservations alone, and has room again when one of them is
// released or forgotten.
//
// A leased bucket (Rate.Leased) is part of a limit that many proxies share (package lease). At is when its window ends: until then what is used is
// what was not leased, and what was leased and used. After that, and at first, nothing is leased, so all of the burst is used.
//
// All of it is pure: time comes in as an argument. A clock that steps back leaks nothing until it has caught
// up; it never adds use.
package bucket

import (
	"cmp"
	"math"
	"math/bits"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// Micro is one unit of a limit: amounts are counted in millionths, so that weighted costs and slow leaks stay exact. To limits of dollars a millionth is
// a billionth of a dollar, so that a unit is a thousandth.
const Micro = 1_000_000

// Most is the greatest amount, in millionths: what is above is cut to it. It is 4e12 units, beyond any use.
const Most = int64(4e18)

// Rate is a limit's size and speed.
type Rate struct {
	Burst    int64         // size of the bucket in millionths
	Quantity int64         // leaks away per Window, in millionths; at least 1
	Window   time.Duration // 0: nothing is ever used, only reserved
	Grain    int64         // millionths that a reserved unit stands for; 0: Micro
	Leased   bool          // nothing flows in: see the package comment
	Idle     time.Duration // above 0: nothing flows in, until the bucket has been left alone for so long; Window is 0
	Now      *Window       // nil: Quantity flows in; else all of it comes back when a window begins
}

// Window is one of those in which a quantity can be used, by seconds of the wall clock since 1970.
type Window struct {
	Begin, End uint32       // its first second, from 1 on, and the first one after it
	After      uint32       // the end of the next one
	Ends       clock.Moment // when the wall clock comes to End, should it not be set
}

// State is one bucket. The zero value is a full one.
type State struct {
	Used     int64 // millionths in use at time At
	At       clock.Moment
	Window   uint32    // Begin of the window that Used is of; 0: it flows away
	By       uint32    // the second when nothing is left of what is used and reserved, by the rate at which that was last changed; 0: it isn't known
	Reserved [2]uint32 // units of the rate's grain reserved in the current lease period and the one before
}

// Leak brings the bucket to the time now.
func (s *State) Leak(now clock.Moment, rate Rate) {
	if rate.Now != nil {
		s.enter(now, rate.Now)
		return
	}
	if s.Window != 0 { // it was another configuration's
		s.Window, s.At = 0, now
	}
	if rate.Leased {
		if now >= s.At {
			s.Used = rate.Burst
		}
		return
	}
	elapsed, window := now.Sub(s.At), int64(rate.Window)
	if elapsed <= 0 {
		return
	}
	if rate.Idle > 0 {
		if elapsed >= rate.Idle {
			s.Used = 0
		}
		s.At = now
		return
	}
	if s.Used <= 0 || int64(elapsed) >= mulDivUp(s.Used, window, rate.Quantity) {
		s.Used, s.At = 0, now
		return
	}
	left := int64(math.MaxInt64) // by the rate before
	if span := s.span(&rate); span > 0 {
		left = max(mulDivUp(s.total(&rate), max(span-int64(elapsed), 0), span)-s.Held(rate), 0)
	}
	leaked := mulDiv(int64(elapsed), rate.Quantity, window)
	// Only the time that the leaked millionths took is spent: what is left of it goes on working, so that a bucket which
	// is looked at often leaks no slower than one which is not.
	s.Used -= leaked
	s.At = min(now, s.At.Add(time.Duration(mulDivUp(leaked, window, rate.Quantity))))
	if left < s.Used {
		s.Used, s.At = left, now
	}
}

// total is what is used and reserved, in millionths.
func (s *State) total(rate *Rate) int64 { return s.Used + min(s.Held(*rate), math.MaxInt64-s.Used) }

// span is the time from At to By, in nanoseconds, if the rate has changed since, so that it would take longer now; else 0.
func (s *State) span(rate *Rate) int64 {
	if s.By == 0 {
		return 0
	}
	span := int64(seconds(s.By).Sub(s.At))
	if mulDivUp(s.total(rate), int64(rate.Window), rate.Quantity) <= span {
		return 0
	}
	return max(span, 1)
}

func seconds(n uint32) clock.Moment { return clock.Moment(n) * clock.Moment(time.Second) }

// Settling is more than the time in which all workers have come to know that the wall clock was set: each reads it once a second, and believes the second
// reading.
const Settling = 4 * time.Second

// enter brings the bucket into the window that it is now. What was used before there were windows counts as used in it.
func (s *State) enter(now clock.Moment, w *Window) {
	since, length := now.Sub(s.At), uint64(w.End-w.Begin)
	s.At = now
	switch {
	case s.Window == 0:
		s.Window = w.Begin
	case since < Settling && (s.Window >= w.After || uint64(w.Begin) > uint64(s.Window)+length+length/2+uint64(Settling/time.Second)):
	case s.Window >= w.After:
		s.Window = w.Begin
	case s.Window < w.Begin:
		if w.Begin-s.Window >= (w.End-w.Begin)/2 {
			s.Used = 0
		}
		s.Window = w.Begin
	}
}

// ends is when the bucket's window ends: that of now, or the next one, if the clock was set back since it began.
func (s *State) ends(w *Window) clock.Moment {
	if s.Window >= w.End {
		return w.Ends.Add(time.Duration(w.After-w.End) * time.Second)
	}
	return w.Ends
}

// Ends is the time from the last change on until the bucket's window ends; 0: it has none.
func (s *State) Ends(rate Rate) time.Duration {
	if rate.Now == nil {
		return 0
	}
	return max(s.ends(rate.Now).Sub(s.At), 0)
}

// Rotate moves the reservations on by a number of lease periods.
func (s *State) Rotate(periods uint32) {
	switch {
	case periods == 0:
	case periods == 1:
		s.Reserved[1], s.Reserved[0] = s.Reserved[0], 0
	default:
		s.Reserved = [2]uint32{}
	}
}

// Balance is what is left, in millionths; below zero it is debt.
func (s *State) Balance(rate Rate) int64 {
	return rate.Burst - s.Used - s.Held(rate)
}

// Held is what is reserved, in millionths.
func (s *State) Held(rate Rate) int64 {
	return (int64(s.Reserved[0]) + int64(s.Reserved[1])) * cmp.Or(rate.Grain, Micro)
}

// ReservedShare is how much of the burst is reserved, from 0 to 1.
func (s *State) ReservedShare(rate Rate) float64 {
	return min(float64(s.Held(rate))/float64(max(rate.Burst, 1)), 1)
}

// Full says that the bucket is as good as new: forgetting it loses nothing.
func (s *State) Full() bool {
	return s.Used <= 0 && s.Reserved[0] == 0 && s.Reserved[1] == 0
}

// Grant adds a lease that is void at end. What is left of one whose window is over is void already; a lease of an earlier window than the bucket's comes
// too late.
func (s *State) Grant(now clock.Moment, amount int64, end clock.Moment, rate Rate) {
	s.Leak(now, rate)
	switch half := rate.Window / 2; {
	case end <= now:
		return
	case now >= s.At:
		s.At = end
	case end.Sub(s.At) > half:
		s.Used, s.At = rate.Burst, end
	case s.At.Sub(end) > half:
		return
	default:
		s.At = max(s.At, end)
	}
	s.Use(-amount)
}

// Use adds what was used; a negative amount gives back. What is given back beyond an empty meter has leaked away
// already, and is not credited twice.
func (s *State) Use(amount int64) {
	if amount > Most-s.Used {
		s.Used = Most
		return
	}
	s.Used = max(s.Used+amount, 0)
}

// Reserve adds whole units to the current lease period.
func (s *State) Reserve(units uint32) {
	s.Reserved[0] += min(units, math.MaxUint32-s.Reserved[0])
}

// Release takes back units that were reserved age lease periods ago. An age beyond one has been forgotten already.
func (s *State) Release(units uint32, age uint32) {
	if age < uint32(len(s.Reserved)) {
		s.Reserved[age] -= min(units, s.Reserved[age])
	}
}

// Wait is the time until the balance reaches amount (in millionths), rounded up to a nanosecond; 0 if it has, and MaxInt64 if time
// doesn't bring it: the bucket is smaller, or has no window. Reservations are taken to be used.
func (s *State) Wait(amount int64, rate Rate) time.Duration {
	if amount > rate.Burst {
		return math.MaxInt64
	}
	missing := amount - s.Balance(rate)
	switch {
	case missing <= 0:
		return 0
	case rate.Now != nil:
		return max(s.Ends(rate), 1)
	case rate.Window == 0 || rate.Leased:
		return math.MaxInt64
	}
	wait := mulDivUp(missing, int64(rate.Window), rate.Quantity)
	if span := s.span(&rate); span > 0 {
		wait = min(wait, mulDivUp(missing, span, s.total(&rate)))
	}
	return time.Duration(wait)
}

// Changed notes by which rate the bucket has been changed. before is how it stood before that, a full one if there was none; by is the rate of what was used or
// reserved, which may be an earlier one than the bucket's.
func (s *State) Changed(before *State, rate, by *Rate) {
	if rate.Now != nil || rate.Leased || rate.Window == 0 {
		s.By = 0
		return
	}
	at := s.At.Seconds() + 1
	end := at + rate.takes(s.total(rate))
	if was := *before; was.By > 0 {
		was.Leak(s.At, *rate)
		earlier := max(int64(was.By), at)
		if more := s.total(rate) - was.total(rate); more > 0 {
			earlier += by.takes(more)
		}
		end = min(end, earlier)
	}
	s.By = uint32(min(end, math.MaxInt32))
}

// takes is how long an amount takes to flow away, in seconds, rounded up.
func (r *Rate) takes(amount int64) int64 {
	return mulDivUp(amount, int64(r.Window), r.Quantity)/int64(time.Second) + 1
}

// mulDiv is a*b/c, rounded down, for a, b >= 0 and c > 0; MaxInt64 where that is too much.
func mulDiv(a, b, c int64) int64 {
	high, low := bits.Mul64(uint64(a), uint64(b))
	if high >= uint64(c) {
		return math.MaxInt64
	}
	quotient, _ := bits.Div64(high, low, uint64(c))
	return int64(min(quotient, math.MaxInt64))
}

// mulDivUp is mulDiv rounded up.
func mulDivUp(a, b, c int64) int64 {
	high, low := bits.Mul64(uint64(a), uint64(b))
	low, carry := bits.Add64(low, uint64(c)-1, 0)
	high += carry
	if high >= uint64(c) {
		return math.MaxInt64
	}
	quotient, _ := bits.Div64(high, low, uint64(c))
	return int64(min(quotient, math.MaxInt64))
}
