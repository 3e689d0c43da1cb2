package roster

import (
	"slices"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const start = clock.Moment(1000 * time.Second)

func beat(t *testing.T, r *Roster, now clock.Moment, n int64) {
	t.Helper()
	r.Counts[0] += n
	r.Served = true
	if err := r.Beat(now); err != nil {
		t.Fatal(err)
	}
}

func sum(t *testing.T, r *Roster, now clock.Moment, wantWorkers int, want int64) {
	t.Helper()
	var counts [2]int64
	all, err := r.Sum(now, counts[:])
	if err != nil || all.Workers != wantWorkers || counts[0] != want {
		t.Errorf("at %v: %d workers have counted %d (%v), want %d and %d", now.Sub(start), all.Workers, counts[0], err, wantWorkers, want)
	}
}

// What a worker has counted stays when it is gone, and its place becomes another's.
func TestWorkersComeAndGo(t *testing.T) {
	store := recordtest.NewMemory()
	reader := New(store, "n", 99, 99, 2)
	sum(t, reader, start, 0, 0)
	a, b := New(store, "n", 1, 1, 2), New(store, "n", 2, 2, 2)
	beat(t, a, start, 3)
	beat(t, b, start, 4)
	sum(t, reader, start, 2, 7)
	beat(t, a, start.Add(4*time.Second), 1)
	sum(t, reader, start.Add(6*time.Second), 1, 8)
	c := New(store, "n", 3, 3, 2) // it takes b's place
	beat(t, c, start.Add(6*time.Second), 5)
	sum(t, reader, start.Add(6*time.Second), 2, 13)
	beat(t, b, start.Add(7*time.Second), 1) // it was not dead: there is another place
	sum(t, reader, start.Add(7*time.Second), 3, 14)
	if c.place != 1 || b.place != 2 {
		t.Errorf("places %d and %d, want 1 and 2", c.place, b.place)
	}
}

// Two configurations of one worker are one worker.
func TestOneWorker(t *testing.T) {
	store := recordtest.NewMemory()
	a, b := New(store, "n", 1, 7, 2), New(store, "n", 2, 7, 2)
	beat(t, a, start, 1)
	beat(t, b, start, 1)
	sum(t, a, start, 1, 2)
}

// There are no more records than places, and who has none keeps what it has counted.
func TestPlacesEnd(t *testing.T) {
	store := recordtest.NewMemory()
	for i := range MostPlaces {
		beat(t, New(store, "n", uint64(i+1), uint64(i+1), 2), start, 1)
	}
	late := New(store, "n", 1000, 1000, 2)
	beat(t, late, start, 5)
	sum(t, late, start, MostPlaces, MostPlaces)
	beat(t, late, start.Add(Silent+time.Second), 0)
	sum(t, late, start.Add(Silent+time.Second), 1, MostPlaces+5)
}

// A record that is garbage, or another version's, is begun anew, and hides no other.
func TestDamaged(t *testing.T) {
	store := recordtest.NewMemory()
	a, b := New(store, "n", 1, 1, 2), New(store, "n", 2, 2, 2)
	beat(t, a, start, 1)
	beat(t, b, start, 1)
	for u := record.Open(store, "n/w2/0"); u.Read(); {
		u.Write([]byte("garbage"))
	}
	sum(t, a, start, 1, 1)
	beat(t, a, start, 2)
	sum(t, a, start, 2, 3)
}

// A clock that was set back, or leaps, makes nobody dead for good.
func TestClockLeaps(t *testing.T) {
	store := recordtest.NewMemory()
	a := New(store, "n", 1, 1, 2)
	beat(t, a, start, 1)
	back := start.Add(-time.Hour)
	sum(t, a, back, 0, 1)
	beat(t, a, back, 1)
	sum(t, a, back, 1, 2)
}

// Of those that have had no request, one is the proxy's main thread.
func TestTheMainThreadIsNoWorker(t *testing.T) {
	store := recordtest.NewMemory()
	var all []*Roster
	for i := range 4 {
		all = append(all, New(store, "n", uint64(i+1), uint64(i+1), 2))
	}
	for used := range 4 {
		for i, r := range all {
			if r.Served = i < used; r.Beat(start) != nil {
				t.Fatal("the store fails")
			}
		}
		sum(t, all[0], start, 3, 0)
	}
}

// How far the workers are is told by revision, the latest first; one that has two configurations is as far as the one that is behind.
func TestHowFarTheyAre(t *testing.T) {
	store := recordtest.NewMemory()
	for i, r := range []Roster{{Revision: 7, worker: 1}, {Revision: 5, Refused: true, worker: 2}, {Revision: 7, worker: 3}, {Revision: 6, worker: 4}, {Revision: 7, worker: 4, Config: 1}} {
		n := New(store, "n", uint64(i+1), r.worker, 2)
		n.Revision, n.Refused, n.Config, n.Served = r.Revision, r.Refused, r.Config, true
		if err := n.Beat(start); err != nil {
			t.Fatal(err)
		}
	}
	main := New(store, "n", 9, 9, 2)
	if err := main.Beat(start); err != nil {
		t.Fatal(err)
	}
	var counts [2]int64
	all, err := main.Sum(start, counts[:])
	if want := []Revision{{7, 2, 0}, {6, 1, 0}, {5, 1, 1}}; err != nil || all.Workers != 4 || all.Configurations != 2 || !slices.Equal(all.Revisions, want) {
		t.Errorf("%+v (%v), want %+v", all, err, want)
	}
}
