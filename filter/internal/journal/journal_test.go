package journal

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/told"
)

func entry(n int) Entry {
	return Entry{At: clock.Moment(n), Wait: time.Duration(n), Outcome: gate.Rejected, Priority: config.High, Gate: gate.Limits, Reason: "tokens_exceeded",
		Limit: fmt.Sprint("limit-", n), Subject: "user=ann", Model: "m", Upstream: "vllm"}
}

// Whichever worker refused it, and in whichever order they are asked: what is told is what was last, the latest first.
func TestTheLastOfAllWorkers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rings := make([]Ring, rapid.IntRange(1, 5).Draw(t, "workers"))
		last := rapid.IntRange(0, Last).Draw(t, "last")
		random := rand.New(rand.NewPCG(rapid.Uint64().Draw(t, "seed"), 0))
		var want []Entry
		for n := range rapid.IntRange(0, 400).Draw(t, "entries") {
			e := entry(n)
			rings[random.IntN(len(rings))].Add(&e)
			want = append(want, e)
		}
		slices.Reverse(want)
		want = want[:min(len(want), last)]
		var records [][]byte
		for i := range rings {
			records = append(records, rings[i].AppendRecord(nil, uint64(i), 1000))
		}
		random.Shuffle(len(records), func(i, j int) { records[i], records[j] = records[j], records[i] })
		if got := Merge(records, last); !slices.Equal(got, want) {
			t.Fatalf("%d entries, want %d:\n%+v\n%+v", len(got), len(want), got, want)
		}
	})
}

func TestTextsAreCutAndAreOneLine(t *testing.T) {
	long := strings.Repeat("x\n", 100)
	e := Entry{Gate: long, Reason: `"><script>`, Limit: long, Subject: "user=é\x00\xff", Model: long, Upstream: long, Wait: gate.Never, Outcome: gate.Faulted}
	var r Ring
	r.Add(&e)
	cut := strings.Repeat("x_", 30) + "x…"
	want := Entry{Gate: cut, Reason: `"><script>`, Limit: cut, Subject: "user=é__", Model: cut, Upstream: cut, Wait: gate.Never, Outcome: gate.Faulted}
	if got := Merge([][]byte{r.AppendRecord(nil, 1, 0)}, 5); !reflect.DeepEqual(got, []Entry{want}) {
		t.Errorf("%+v", got)
	}
}

func TestToAddAndToTellAllocatesNothing(t *testing.T) {
	var r Ring
	long := strings.Repeat("é\n", 300)
	e := Entry{Gate: long, Reason: long, Limit: long, Subject: long, Model: long, Upstream: long}
	full := strings.Repeat("x", mostText)
	f := Entry{Gate: full, Reason: full, Limit: full, Subject: full, Model: full, Upstream: full}
	b := make([]byte, 0, MostRecord)
	if n := testing.AllocsPerRun(3*Last, func() { r.Add(&e); r.Add(&f); b = r.AppendRecord(b[:0], 1, 0) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	for range Last {
		r.Add(&f)
	}
	if b = r.AppendRecord(b[:0], 1, 0); len(b) != MostRecord {
		t.Errorf("%d bytes, want %d", len(b), MostRecord)
	}
}

// Whatever the shared data holds: what is told has its bounds.
func FuzzRecord(f *testing.F) {
	var r Ring
	for n := range 3 {
		e := entry(n)
		r.Add(&e)
	}
	whole := r.AppendRecord(nil, 1, 5)
	f.Add(whole, 2)
	f.Add(whole[:len(whole)-1], 100)
	f.Add(append(slices.Clone(whole), 0), 100)
	f.Add([]byte{}, -1)
	first := told.HeaderSize + 1
	for _, at := range []int{first - 1, first + 8 + 7, first + 16, first + 17, first + 18} { // how many; wait, outcome, priority, a text's length
		b := slices.Clone(whole)
		b[1]++ // another worker's
		b[at] = 200
		f.Add(b, 100)
	}
	f.Fuzz(func(t *testing.T, b []byte, last int) {
		last = min(max(last, 0), 1000)
		got := Merge([][]byte{whole, b}, last)
		if len(got) > min(last, 2*Last) {
			t.Fatalf("%d entries", len(got))
		}
		for _, e := range got {
			if _, _ = e.Outcome.String(), e.Priority.String(); e.Wait < 0 {
				t.Fatalf("%+v", e)
			}
			for _, text := range e.texts() {
				if len(*text) > mostText || strings.ContainsAny(*text, "\n\x00") {
					t.Fatalf("%+v", e)
				}
			}
		}
	})
}

func BenchmarkAdd(b *testing.B) {
	var r Ring
	e := entry(1)
	for range b.N {
		r.Add(&e)
	}
}
