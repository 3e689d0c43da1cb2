package heavy

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

// worker is one worker's subjects, and the truth about them.
type worker struct {
	Subjects
	used, refused exact
}

func (w *worker) does(now clock.Moment, d *drawn, refused bool) {
	if !refused {
		if c, fresh := w.Use(now, d.id, int64(d.weight)); fresh {
			c.Name(fmt.Append(nil, d.id))
		}
		w.used.add(now, d.id, d.weight)
		return
	}
	if c, fresh := w.Refuse(now, d.id, "tokens_exceeded"); fresh {
		c.Name(fmt.Append(nil, d.id))
	}
	w.refused.add(now, d.id, 1)
}

// What workers tell, merged in any order, is within the bounds of the package comment, for every subject that there is.
func TestWorkersMerged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		workers := make([]worker, rapid.IntRange(1, 4).Draw(t, "workers"))
		for i := range workers {
			workers[i].used.counts, workers[i].refused.counts = map[uint64]float64{}, map[uint64]float64{}
		}
		var now clock.Moment
		all := map[uint64]bool{}
		for i, d := range draw(t) {
			now += d.after
			all[d.id] = true
			workers[(uint64(i)*7+d.id%3)%uint64(len(workers))].does(now, &d, i%3 == 0)
		}
		var records [][]byte
		said := now // some tell before the last period has begun
		for i := range workers {
			w := &workers[i]
			records = append(records, w.AppendRecord(nil, uint64(i), 5, said))
			if len(records[i]) > MostRecord {
				t.Fatalf("%d bytes", len(records[i]))
			}
		}
		now += clock.Moment(rapid.Int64Range(0, 2*int64(HalfLife)).Draw(t, "later"))
		m := Merge(now, 5, records)
		if m.Workers != len(workers) {
			t.Fatalf("%d of %d workers", m.Workers, len(workers))
		}
		truths := [2]map[uint64]float64{{}, {}}
		for i := range workers {
			for which, x := range [2]*exact{&workers[i].used, &workers[i].refused} {
				x.age(now)
				for id, f := range x.counts {
					truths[which][id] += f
				}
			}
		}
		compare(t, &m, all, truths)
		slices.Reverse(records)
		other := Merge(now, 5, records)
		if a, b := m.TopByUse(1000), other.TopByUse(1000); !alike(a, b) {
			t.Fatalf("in the other order:\n%+v\n%+v", a, b)
		}
		if a, b := m.TopByRefusals(1000), other.TopByRefusals(1000); !alike(a, b) {
			t.Fatalf("in the other order:\n%+v\n%+v", a, b)
		}
	})
}

// alike says that two lists tell the same of the same subjects, but for what is rounded: sums depend on their order. So does the order of
// subjects that have the same.
func alike(a, b []Subject) bool {
	near := func(x, y Count) bool {
		const most = 1e-9
		return math.Abs(x.Low-y.Low) <= most*x.High && math.Abs(x.High-y.High) <= most*x.High
	}
	for i := range a {
		j := slices.IndexFunc(b, func(s Subject) bool { return s.ID == a[i].ID })
		if j < 0 || !near(a[i].Used, b[j].Used) || !near(a[i].Refused, b[j].Refused) || a[i].Name != b[j].Name || a[i].Last != b[j].Last || a[i].Reason != b[j].Reason {
			return false
		}
	}
	return len(a) == len(b)
}

// compare holds what was merged against what is true of all subjects.
func compare(t *rapid.T, m *Merged, all map[uint64]bool, truths [2]map[uint64]float64) {
	for which, top := range [2]func(int) []Subject{m.TopByUse, m.TopByRefusals} {
		most, truth := [2]float64{m.UsedError, m.RefusedError}[which], truths[which]
		least := [2]float64{leastUsed, leastRefused}[which]
		listed, behind := maps.Clone(all), 0.0 // who is not listed; the most that anybody before may have fallen short
		subjects := top(1000)
		for i := len(subjects) - 1; i >= 0; i-- {
			s := subjects[i]
			c, f := [2]Count{s.Used, s.Refused}[which], truth[s.ID]
			if c.Low > f || f > c.High || c.High > c.Low+most || s.Name != fmt.Sprint(s.ID) {
				t.Fatalf("%s: %+v (error %v), true is %v", s.Name, c, most, f)
			}
			if f < behind-most {
				t.Fatalf("%s has %v, and stands before one who has %v (error %v)", s.Name, f, behind, most)
			}
			behind = max(behind, f)
			delete(listed, s.ID)
		}
		for id := range listed {
			if truth[id] > most+least {
				t.Fatalf("%d has %v (error %v), and is not listed", id, truth[id], most)
			}
		}
	}
}

func TestTheLastRefusalAndItsReasonAreTold(t *testing.T) {
	var one, two Subjects
	for _, r := range []struct {
		s      *Subjects
		at     clock.Moment
		reason string
	}{{&one, 5, "tokens_exceeded"}, {&two, 9, "request_too_large"}, {&one, 7, "contended"}, {&two, 8, strings.Repeat("x", 300)}, {&two, 9, "request_too_large"}} {
		c, _ := r.s.Refuse(r.at, 1, r.reason)
		c.Name([]byte(`user="><script>` + strings.Repeat("é", 40)))
	}
	c, _ := one.Use(9, 1, 3_000_000)
	c.Name([]byte(`user="><script>` + strings.Repeat("é", 40)))
	records := [][]byte{one.AppendRecord(nil, 1, 5, 9), two.AppendRecord(nil, 2, 5, 9)}
	for range 2 {
		m := Merge(9, 5, records)
		s := m.TopByRefusals(5)[0]
		if s.Last != 9 || s.Reason != "request_too_large" || s.Refused != (Count{5, 5}) || s.Used != (Count{3_000_000, 3_000_000}) ||
			!strings.HasPrefix(s.Name, `user="><script>éé`) || !strings.HasSuffix(s.Name, "…") || len(s.Name) > mostName {
			t.Errorf("%+v", s)
		}
		slices.Reverse(records)
	}
}

func TestARecordIsWrittenWithoutAnAllocation(t *testing.T) {
	var s Subjects
	for i := range uint64(1000) {
		for _, add := range []func() (*Counter, bool){
			func() (*Counter, bool) { return s.Use(0, i<<24, 1) },
			func() (*Counter, bool) { return s.Refuse(0, i<<24, strings.Repeat("x", 40)) },
		} {
			if c, fresh := add(); fresh {
				c.Name([]byte(strings.Repeat("x", 80)))
			}
		}
	}
	b := make([]byte, 0, MostRecord)
	if n := testing.AllocsPerRun(10, func() { b = s.AppendRecord(b[:0], 1, 5, 0) }); n != 0 || len(b) != MostRecord {
		t.Errorf("%v allocations, %d bytes of %d", n, len(b), MostRecord)
	}
}

// A limit that is changed keeps what is known of it, and a book has no more pages for all the limits that there ever were.
func TestABookKeepsWhatWasAskedForLast(t *testing.T) {
	var b Book
	one, two := b.Of(1), b.Of(2)
	for n := range uint64(1000) {
		b.Of(10 + n)
		if b.Of(1) != one {
			t.Fatal("a limit that stays begins anew")
		}
	}
	if b.Of(2) == two || len(b.pages) != mostPages {
		t.Errorf("%d pages", len(b.pages))
	}
}

// Whatever the shared data holds: it is told or not, and what is told has the bounds that it should.
func FuzzRecord(f *testing.F) {
	var s Subjects
	for i := range uint64(3) {
		c, _ := s.Use(0, i, 5)
		c.Name([]byte("user=ann"))
		c, _ = s.Refuse(0, i, "tokens_exceeded")
		c.Name([]byte("user=ann\n"))
	}
	whole := s.AppendRecord(nil, 1, 5, 0)
	f.Add(whole, int64(0))
	f.Add(whole[:len(whole)-1], int64(0))
	f.Add(append(slices.Clone(whole), 0), int64(1)<<60)
	f.Add([]byte{}, int64(-1))
	f.Fuzz(func(t *testing.T, b []byte, now int64) {
		m := Merge(clock.Moment(now), 5, [][]byte{whole, b, b})
		if m.Workers > 2 || len(m.Subjects) > 3+2*Published {
			t.Fatalf("%d workers, %d subjects", m.Workers, len(m.Subjects))
		}
		for _, s := range append(slices.Clone(m.TopByUse(1000)), m.TopByRefusals(1000)...) {
			if !(0 <= s.Used.Low && s.Used.Low <= s.Used.High && 0 <= s.Refused.Low && s.Refused.Low <= s.Refused.High) ||
				len(s.Name) > mostName || len(s.Reason) > mostReason || strings.ContainsAny(s.Name, "\n\x00") {
				t.Fatalf("%+v", s)
			}
		}
	})
}
