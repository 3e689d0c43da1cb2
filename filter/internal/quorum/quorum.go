// Package quorum says how far what some callers met with an upstream holds for all of them.
//
// An upstream answers a caller badly (429, 5xx, slowly) for the upstream's reasons or for the caller's own: its key has used up its
// quota, its requests make the server fail, its prompts are huge. The answer alone doesn't tell. What tells is whether others
// meet the same. So whoever judges an upstream by its answers counts them here by subject, and asks how much of the bad ones to
// believe:
//
//   - While one subject alone is answered, it speaks for itself: all counts. So nothing changes for a service that has one.
//   - Bad answers of one subject alone, while others are answered well, count for nothing.
//   - Of the subject with the most bad answers there count no more than all others have together, or than their share of bad ones
//     lets expect of as many answers, and two standard deviations.
//   - The share that is believed is at most one and a half times the share of subjects that were answered badly, so that a few of many
//     don't speak for all. (The half is slack: subjects beyond the first few are estimated.)
//
// Several subjects that act together can still do what one can't. How hard it is to be several is up to whoever makes the
// subjects: see docs/security.md.
//
// # Bounds
//
// A Quorum is a value of Size bytes, whatever is counted: it has seats for four subjects, those with bad answers first, and knows
// of the others how many there are about, by linear counting in 64 bits (Whang, Vander-Zanden, Taylor: A Linear-Time Probabilistic
// Counting Algorithm for Database Applications, 1990): up to four exactly, some 100 to within a fifth, and no more than
// 266. Subjects are keyed hashes, so nobody chooses the bit that he sets. It looks back between three quarters of its length and all of it. It
// belongs to its caller, who shares it between workers; time comes in as an argument.
package quorum

import (
	"encoding/binary"
	"math"
	"math/bits"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/sliding"
)

const (
	seats = 4
	parts = 4 // of the time that it looks back

	partSize = 4 + 4 + 8 + 8 + seats*8

	// Size is the length of what Append adds, in bytes.
	Size = 8 + seats*8 + parts*partSize
)

// Quorum counts answers by subject. The zero value has counted none.
type Quorum struct {
	opened   clock.Moment  // when the newest part begins
	subjects [seats]uint64 // 0: the seat is free
	parts    [parts]part   // the newest first
}

// part is what was counted in a part of the time.
type part struct {
	all          tally
	crowd, badly uint64 // a bit for each subject that was answered, and answered badly
	seated       [seats]tally
}

type tally struct{ total, bad uint32 }

func (t *tally) add(bad bool) {
	t.total++
	if bad {
		t.bad++
	}
}

// Record counts an answer to a subject. length is how far back it looks.
func (q *Quorum) Record(now clock.Moment, length time.Duration, subject uint64, bad bool) {
	q.advance(now, length)
	subject = max(subject, 1)
	p := &q.parts[0]
	if p.all.total == math.MaxUint32 {
		return
	}
	p.all.add(bad)
	bit := uint64(1) << (subject % 64)
	p.crowd |= bit
	if bad {
		p.badly |= bit
	}
	if i := q.seat(subject, bad); i >= 0 {
		p.seated[i].add(bad)
	}
}

// Merge takes in what another one has counted since a moment ago.
func (q *Quorum) Merge(now clock.Moment, length time.Duration, other *Quorum) {
	q.advance(now, length)
	p := &q.parts[0]
	for i := range other.parts {
		o := &other.parts[i]
		p.all.total, p.all.bad = add(p.all.total, o.all.total), add(p.all.bad, o.all.bad)
		p.crowd, p.badly = p.crowd|o.crowd, p.badly|o.badly
	}
	for i, subject := range &other.subjects {
		had := sum(other.parts[:], i)
		if had.total == 0 {
			continue
		}
		if seat := q.seat(subject, had.bad > 0); seat >= 0 {
			t := &p.seated[seat]
			t.total, t.bad = add(t.total, had.total), add(t.bad, had.bad)
		}
	}
}

func (q *Quorum) advance(now clock.Moment, length time.Duration) {
	switch passed := sliding.Passed(&q.opened, now, length, parts); {
	case passed >= parts:
		*q = Quorum{opened: q.opened}
	case passed > 0:
		copy(q.parts[passed:], q.parts[:])
		clear(q.parts[:passed])
	}
}

// seat finds a subject's seat, or gives it one: a free one, that of a subject which has not been answered lately, or, to one that is
// answered badly, that of the subject with the fewest bad answers. -1: there is none for it.
func (q *Quorum) seat(subject uint64, bad bool) int {
	least, fewest := -1, tally{math.MaxUint32, math.MaxUint32}
	for i, known := range &q.subjects {
		if known == subject {
			return i
		}
		if had := sum(q.parts[:], i); had.bad < fewest.bad || had.bad == fewest.bad && had.total < fewest.total {
			least, fewest = i, had
		}
	}
	if !bad && fewest.total > 0 {
		return -1
	}
	q.subjects[least] = subject
	for i := range q.parts {
		q.parts[i].seated[least] = tally{}
	}
	return least
}

// sum is what was counted of the subject in a seat, in some parts.
func sum(of []part, seat int) (sum tally) {
	for i := range of {
		t := &of[i].seated[seat]
		sum.total, sum.bad = add(sum.total, t.total), add(sum.bad, t.bad)
	}
	return sum
}

// recent is what advance leaves, without letting go of the rest.
func (q *Quorum) recent(now clock.Moment, length time.Duration) []part {
	opened := q.opened
	return q.parts[:parts-min(sliding.Passed(&opened, now, length, parts), parts)]
}

func add(a, b uint32) uint32 { return uint32(min(uint64(a)+uint64(b), math.MaxUint32)) }

// Weight is how far the bad answers of late are to be believed.
type Weight struct {
	Sole   uint64  // the one subject that was answered; 0: there were several, or none
	factor float64 // of the bad answers so much counts, from 0 to 1
	most   float64 // of all answers no larger share is bad
}

// whole believes everything.
var whole = Weight{factor: 1, most: 1}

// Weigh looks at the answers of late.
func (q *Quorum) Weigh(now clock.Moment, length time.Duration) Weight {
	c := q.count(q.recent(now, length))
	switch {
	case c.all.total == 0:
		return whole
	case c.subjects == 1:
		w := whole
		w.Sole = c.only
		return w
	case c.all.bad == 0:
		return whole
	}
	w := Weight{factor: 1, most: min(slack*c.bad/c.subjects, 1)}
	if most := c.others(c.worst); float64(c.worst.bad) > most {
		w.factor = min((float64(c.all.bad-min(c.worst.bad, c.all.bad))+most)/float64(c.all.bad), 1)
	}
	return w
}

// slack is how much larger the share of bad answers may be than that of the subjects which met them.
const slack = 1.5

// Share is the share of bad answers that is to be believed, of so many, and of how many answers it is one: what isn't believed is left
// out.
func (w Weight) Share(bad, total uint64) (share, samples float64) {
	believed := float64(bad) * w.factor
	samples = float64(total) - (float64(bad) - believed)
	if samples <= 0 {
		return 0, 0
	}
	return min(believed/samples, w.most), samples
}

// Credible says of a subject that was just answered badly whether that tells anything about the upstream: it is the only one there
// is, or at least every fourth subject meets the same and it has not had more than its part. It is for those who can't leave out later
// what they have taken in.
func (q *Quorum) Credible(now clock.Moment, length time.Duration, subject uint64) bool {
	recent := q.recent(now, length)
	c := q.count(recent)
	if c.subjects <= 1 {
		return true
	}
	mine := tally{bad: 1}
	for i, known := range &q.subjects {
		if known == max(subject, 1) {
			mine = sum(recent, i)
		}
	}
	return 4*c.bad >= c.subjects && float64(mine.bad) <= c.others(mine)
}

// census is what was counted in all of the time.
type census struct {
	all, worst    tally   // worst: of the subject with the most bad answers
	subjects, bad float64 // how many subjects were answered, and answered badly
	only          uint64  // one of them
}

// count counts what there is in some parts.
func (q *Quorum) count(of []part) (c census) {
	var crowd, badly uint64
	for i := range of {
		p := &of[i]
		c.all.total, c.all.bad = add(c.all.total, p.all.total), add(c.all.bad, p.all.bad)
		crowd, badly = crowd|p.crowd, badly|p.badly
	}
	var seated tally
	for i, subject := range &q.subjects {
		had := sum(of, i)
		seated.total, seated.bad = add(seated.total, had.total), add(seated.bad, had.bad)
		if had.total > 0 {
			c.subjects++
			c.only = subject
		}
		if had.bad > 0 {
			c.bad++
		}
		if had.bad > c.worst.bad {
			c.worst = had
		}
	}
	if seated.total < c.all.total {
		c.subjects = max(c.subjects+1, estimate(crowd))
	}
	if seated.bad < c.all.bad {
		c.bad = min(max(c.bad+1, estimate(badly)), c.subjects)
	}
	return c
}

// estimate is how many subjects have set the bits.
func estimate(set uint64) float64 {
	const all = 64
	return -all * math.Log(max(float64(all-bits.OnesCount64(set)), 1)/all)
}

// others is how many bad answers the others than a subject vouch for: as many as they have had, or as many as their share lets expect of
// its answers.
func (c *census) others(mine tally) float64 {
	bad, total := float64(c.all.bad-min(mine.bad, c.all.bad)), float64(c.all.total-min(mine.total, c.all.total))
	if bad == 0 || total == 0 {
		return 0
	}
	expected := float64(mine.total) * bad / total
	return max(bad, expected+2*math.Sqrt(expected))
}

var order = binary.LittleEndian

// Append adds the quorum to b, little endian.
func (q *Quorum) Append(b []byte) []byte {
	b = order.AppendUint64(b, uint64(q.opened))
	for _, subject := range &q.subjects {
		b = order.AppendUint64(b, subject)
	}
	for i := range q.parts {
		p := &q.parts[i]
		b = order.AppendUint64(order.AppendUint64(p.all.append(b), p.crowd), p.badly)
		for s := range p.seated {
			b = p.seated[s].append(b)
		}
	}
	return b
}

func (t *tally) append(b []byte) []byte {
	return order.AppendUint32(order.AppendUint32(b, t.total), t.bad)
}

// Decode reads what Append wrote, from the beginning of b, which has Size bytes at least. It says false if that isn't what it was given:
// then q is the zero value.
func (q *Quorum) Decode(b []byte) (sound bool) {
	q.opened = clock.Moment(order.Uint64(b))
	b = b[8:]
	for i := range &q.subjects {
		q.subjects[i] = order.Uint64(b)
		b = b[8:]
	}
	for i := range q.parts {
		q.parts[i].decode(b[i*partSize:])
		if !q.parts[i].possible(&q.subjects) {
			*q = Quorum{}
			return false
		}
	}
	return true
}

func (p *part) decode(b []byte) {
	p.all = decodeTally(b)
	p.crowd, p.badly = order.Uint64(b[8:]), order.Uint64(b[16:])
	for s := range p.seated {
		p.seated[s] = decodeTally(b[24+8*s:])
	}
}

func decodeTally(b []byte) tally { return tally{order.Uint32(b), order.Uint32(b[4:])} }

// possible says whether any sequence of calls can lead to such a part, with the seats given so.
func (p *part) possible(subjects *[seats]uint64) bool {
	var total, bad uint64
	for s := range p.seated {
		t := &p.seated[s]
		if t.bad > t.total || subjects[s] == 0 && *t != (tally{}) {
			return false
		}
		total, bad = total+uint64(t.total), bad+uint64(t.bad)
	}
	full := p.all.total == math.MaxUint32 || p.all.bad == math.MaxUint32
	return p.all.bad <= p.all.total && (full || total <= uint64(p.all.total) && bad <= uint64(p.all.bad))
}
