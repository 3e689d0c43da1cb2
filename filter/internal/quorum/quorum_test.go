package quorum

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const (
	second = 1_000_000_000 // of moments and durations alike
	minute = 60 * second
	noon   = clock.Moment(12 * 3600 * second)
)

// hashed gives the keyed hash of the n-th subject.
func hashed(n uint64) uint64 {
	n = (n + 1) * 0x9e3779b97f4a7c15
	n ^= n >> 29
	n *= 0xbf58476d1ce4e5b9
	return n ^ n>>32
}

// met is that a subject was answered so often, and so often badly.
type met struct {
	subject    uint64
	total, bad int
}

func (q *Quorum) feed(now clock.Moment, all ...met) {
	for _, m := range all {
		for i := range m.total {
			q.Record(now, minute, hashed(m.subject), i < m.bad)
		}
	}
}

func crowd(from, n uint64, total, bad int) (all []met) {
	for i := range n {
		all = append(all, met{from + i, total, bad})
	}
	return all
}

func TestWhatIsBelieved(t *testing.T) {
	for _, test := range []struct {
		name        string
		met         []met
		share       float64 // believed
		within      float64
		credible    bool // a further bad answer of subject 0
		unconfirmed bool // less answers count than came
	}{
		{"nothing", nil, 0, 0, true, false},
		{"one alone", []met{{0, 100, 30}}, 0.3, 0, true, false},
		{"one of two", []met{{0, 100, 100}, {1, 20, 0}}, 0, 0, false, true},
		{"one of many", append(crowd(1, 50, 3, 0), met{0, 500, 500}), 0, 0, false, true},
		{"one, and another by chance", []met{{0, 1000, 1000}, {1, 50, 1}}, 0, 0.45, false, true},
		{"both alike", []met{{0, 100, 30}, {1, 100, 30}}, 0.3, 0, true, false},
		{"both, one of whom has most of the load", []met{{0, 900, 90}, {1, 100, 10}}, 0.1, 0, true, false},
		{"both always, one of whom has most of the load", []met{{0, 900, 900}, {1, 100, 100}}, 1, 0, true, false},
		{"four alike", crowd(0, 4, 20, 2), 0.1, 0, true, false},
		{"many with an answer each, of which two were bad", append(crowd(0, 18, 1, 0), met{50, 1, 1}, met{51, 1, 1}), 0.1, 0, false, false},
		{"all of many", crowd(0, 100, 5, 5), 1, 0, true, false},
		{"a tenth of the answers of each of many", crowd(0, 100, 10, 1), 0.1, 0, true, false},
		{"three of a hundred always", append(crowd(0, 3, 50, 50), crowd(10, 97, 3, 0)...), 0.045, 0.011, false, false},
	} {
		var q Quorum
		q.feed(noon, test.met...)
		var total, bad uint64
		for _, m := range test.met {
			total, bad = total+uint64(m.total), bad+uint64(m.bad)
		}
		share, samples := q.Weigh(noon, minute).Share(bad, total)
		if math.Abs(share-test.share) > test.within {
			t.Errorf("%s: a share of %v is believed, want %v", test.name, share, test.share)
		}
		if less := samples < float64(total); less != test.unconfirmed {
			t.Errorf("%s: of %v answers %d count", test.name, samples, total)
		}
		q.Record(noon, minute, hashed(0), true)
		if got := q.Credible(noon, minute, hashed(0)); got != test.credible {
			t.Errorf("%s: one more is credible: %v", test.name, got)
		}
	}
}

// Whatever one subject does while others are answered well: nothing of it is believed.
func TestOneSubjectIsNeverBelievedAgainstOthers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q Quorum
		now := noon
		well := uint64(rapid.IntRange(1, 200).Draw(t, "others"))
		var bad, total uint64
		for range rapid.IntRange(1, 300).Draw(t, "answers") {
			now += clock.Moment(rapid.Int64Range(0, second/2).Draw(t, "pause"))
			if rapid.Bool().Draw(t, "the one") {
				q.Record(now, minute, hashed(1000), true)
				bad++
			}
			q.Record(now, minute, hashed(rapid.Uint64Range(0, well-1).Draw(t, "who")), false)
			total++
			if share, _ := q.Weigh(now, minute).Share(bad, total+bad); bad > 0 && share != 0 {
				t.Fatalf("%v is believed", share)
			}
			if bad > 0 && q.Credible(now, minute, hashed(1000)) {
				t.Fatal("it is credible")
			}
		}
	})
}

// If all meet the same, about as much is believed as there was, however the load is spread. 200 requests or more are of others than the one who has
// most of it: what these meet is off by four deviations where less than 8 % is believed.
func TestWhatAllMeetIsBelieved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q Quorum
		subjects := rapid.Uint64Range(2, 60).Draw(t, "subjects")
		heavy := rapid.IntRange(0, 80).Draw(t, "percent of the load that one subject has")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 1))
		var bad, total uint64
		for range 2000 {
			who := random.Uint64N(subjects)
			if random.IntN(100) < heavy {
				who = 0
			}
			isBad := random.IntN(5) == 0
			q.Record(noon, minute, hashed(who), isBad)
			if total++; isBad {
				bad++
			}
		}
		if share, _ := q.Weigh(noon, minute).Share(bad, total); share < 0.08 || share > float64(bad)/float64(total) {
			t.Fatalf("of 20 %% %v is believed", share)
		}
	})
}

func TestItForgets(t *testing.T) {
	var q Quorum
	q.feed(noon, met{0, 100, 100}, met{1, 5, 0})
	if w := q.Weigh(noon+44*second, minute); w.factor != 0 || w.Sole != 0 {
		t.Errorf("%+v", w)
	}
	if w := q.Weigh(noon+minute, minute); w != whole {
		t.Errorf("%+v", w)
	}
	q.feed(noon+minute, met{0, 1, 1})
	if w := q.Weigh(noon+minute, minute); w.Sole != hashed(0) || w.factor != 1 {
		t.Errorf("one that is alone by now: %+v", w)
	}
	q.feed(noon-3600*second, met{1, 1, 1}) // a clock that was set back is followed
	if w := q.Weigh(noon-3600*second, minute); w.factor == 0 {
		t.Errorf("%+v", w)
	}
}

func TestNothingCanHarm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var q Quorum
		for range rapid.IntRange(0, 60).Draw(t, "answers") {
			length := rapid.Int64().Draw(t, "length")
			subject := rapid.Uint64().Draw(t, "subject")
			q.Record(clock.Moment(rapid.Int64().Draw(t, "now")), time.Duration(length), subject, rapid.Bool().Draw(t, "bad"))
			w := q.Weigh(clock.Moment(rapid.Int64().Draw(t, "then")), time.Duration(length))
			total := rapid.Uint64Range(0, 1<<40).Draw(t, "total")
			share, samples := w.Share(rapid.Uint64Range(0, total).Draw(t, "bad"), total)
			if !(share >= 0 && share <= 1 && samples >= 0 && samples <= float64(total)) {
				t.Fatalf("%v of %v by %+v", share, samples, w)
			}
			_ = q.Credible(clock.Moment(rapid.Int64().Draw(t, "later")), time.Duration(length), subject)
			b := q.Append([]byte("x"))[1:]
			if got, sound := decoded(b); !sound || got != q || len(b) != Size {
				t.Fatalf("%+v became %+v", q, got)
			}
		}
	})
}

func FuzzDecode(f *testing.F) {
	var q Quorum
	f.Add(q.Append(nil), int64(noon))
	q.feed(noon, met{0, 3, 2}, met{1, 1, 0})
	f.Add(q.Append(nil), int64(noon+second))
	f.Fuzz(func(t *testing.T, b []byte, now int64) {
		if len(b) < Size {
			return
		}
		q, sound := decoded(b)
		if !sound {
			if q != (Quorum{}) {
				t.Fatalf("refused, but gave %+v", q)
			}
			return
		}
		if got := q.Append(nil); !bytes.Equal(got, b[:Size]) {
			t.Fatalf("%x became %x", b, got)
		}
		share, samples := q.Weigh(clock.Moment(now), minute).Share(5, 10)
		if !(share >= 0 && share <= 1 && samples >= 0 && samples <= 10) {
			t.Fatalf("%v of %v", share, samples)
		}
		q.Record(clock.Moment(now), minute, 7, true)
		_ = q.Credible(clock.Moment(now), minute, 7)
	})
}

// decoded is what can be read of a record, by who has read another one before.
func decoded(b []byte) (q Quorum, sound bool) {
	q = Quorum{opened: 1, subjects: [seats]uint64{1, 2}}
	sound = q.Decode(b)
	return q, sound
}

func TestCountingAllocatesNothing(t *testing.T) {
	var q, other Quorum
	var b []byte
	now := clock.Moment(noon)
	count := func() {
		now += second
		for subject := range uint64(6) {
			q.Record(now, minute, subject, subject%2 == 0)
			other.Record(now, minute, subject, false)
			q.Credible(now, minute, subject)
		}
		q.Merge(now, minute, &other)
		q.Weigh(now, minute)
		if b = q.Append(b[:0]); !q.Decode(b) {
			t.Fatal("what was written can't be read")
		}
	}
	count()
	if n := testing.AllocsPerRun(100, count); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
