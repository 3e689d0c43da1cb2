package dispatch

import (
	"bytes"
	"math"
	"reflect"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/retreat"
)

var (
	int64s  = rapid.Int64()
	uint64s = rapid.Uint64()
	amounts = rapid.Int64Range(0, bucket.Most)
)

func records(t *rapid.T) shared {
	s := shared{
		requests: bucket.State{Used: amounts.Draw(t, "requests"), At: clock.Moment(int64s.Draw(t, "at"))},
		tokens:   bucket.State{Used: amounts.Draw(t, "tokens"), At: clock.Moment(int64s.Draw(t, "at"))},
		lender:   rapid.Uint64().Draw(t, "lender"),
		pace:     rapid.Float64Range(0, 1e8).Draw(t, "pace"), paced: clock.Moment(int64s.Draw(t, "paced")),
	}
	for p := range s.virtual {
		s.virtual[p] = uint64s.Draw(t, "virtual")
	}
	for range rapid.IntRange(0, 40).Draw(t, "answers") {
		s.retreat.Record(noon, &retreat.Settings{Window: time.Duration(second)}, uint64s.Draw(t, "caller"), rapid.Bool().Draw(t, "limited"))
	}
	s.lent = [2]int64{amounts.Draw(t, "lent"), amounts.Draw(t, "lent tokens")}
	for i := range s.aside {
		s.aside[i] = aside{bucket.State{Used: amounts.Draw(t, "aside"), At: clock.Moment(int64s.Draw(t, "at"))}, amounts.Draw(t, "burst")}
	}
	s.callers = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) caller {
		return caller{
			id: max(uint64s.Draw(t, "id"), 1), keyed: rapid.Bool().Draw(t, "keyed"), heard: clock.Moment(int64s.Draw(t, "heard")), backoff: clock.Moment(int64s.Draw(t, "shut")),
			requests: int64s.Draw(t, "requests"), tokens: int64s.Draw(t, "tokens"),
		}
	}), 0, mostCallers).Draw(t, "callers")
	s.turns = rapid.SliceOfN(rapid.Custom(func(t *rapid.T) turn {
		return turn{uint64s.Draw(t, "who"), uint64s.Draw(t, "served")}
	}), 0, mostTurns).Draw(t, "turns")
	s.workers = rapid.SliceOfN(rapid.Custom(workers), 0, mostWorkers).Draw(t, "workers")
	return s
}

func workers(t *rapid.T) worker {
	w := worker{id: uint64s.Draw(t, "id"), heard: clock.Moment(int64s.Draw(t, "heard"))}
	for _, counts := range []*[Priorities]uint32{&w.inFlight, &w.waiting, &w.drop, &w.longest} {
		for p := range counts {
			counts[p] = rapid.Uint32().Draw(t, "count")
		}
	}
	w.claims, w.revocable, w.ending = rapid.Uint32().Draw(t, "claims"), rapid.Uint32().Draw(t, "revocable"), rapid.Uint32().Draw(t, "ending")
	w.parked = rapid.Uint32().Draw(t, "idle")
	w.bytes = rapid.Int64Range(0, mostBytes).Draw(t, "bytes")
	w.reserved = rapid.Int64Range(0, bucket.Most/bucket.Micro).Draw(t, "reserved")
	w.tag, w.since = uint64s.Draw(t, "tag"), clock.Moment(int64s.Draw(t, "since"))
	if w.waits = rapid.Bool().Draw(t, "waits"); w.waits {
		w.head = config.Priority(rapid.IntRange(0, Priorities-1).Draw(t, "head"))
	}
	return w
}

func TestARecordIsReadAsItWasWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		want := records(t)
		b := want.encode(nil)
		got := shared{turns: make([]turn, 3), workers: make([]worker, 3), lender: 7}
		if !got.decode(b) {
			t.Fatal("a sound record is refused")
		}
		if again := got.encode(nil); !bytes.Equal(again, b) {
			t.Fatalf("%+v\nbecame %+v", want, got)
		}
		if len(want.workers) > 0 && !reflect.DeepEqual(got.workers, want.workers) {
			t.Fatalf("%+v\nbecame %+v", want.workers, got.workers)
		}
		cut := rapid.IntRange(0, len(b)-1).Draw(t, "cut")
		if got.decode(b[:cut]) || !reflect.DeepEqual(got.encode(nil), (&shared{}).encode(nil)) {
			t.Fatalf("%d bytes of %d are read: %+v", cut, len(b), got)
		}
	})
}

// recent says that a worker has been heard of about now.
func recent(s *shared, now clock.Moment) bool {
	return slices.ContainsFunc(s.workers, func(w worker) bool { return w.id == 1 || now.Sub(w.heard).Abs() <= alive })
}

// The slots of what was heard in a time to come aren't taken for ever: it is garbage, or the clock was set back.
func TestSlotsHeardOfInTheFutureComeBack(t *testing.T) {
	a, b, _ := pair(Settings{Slots: 1, QueueMax: 5})
	a.Arrive(noon+60*minute, request(config.Normal, 1, 1))
	if v := b.Arrive(noon, request(config.Normal, 2, 1)); v.Outcome != gate.Allowed {
		t.Errorf("got %+v", v.Verdict)
	}
}

// Whatever lies in the store: it is refused, or works.
func FuzzDecode(f *testing.F) {
	whole := shared{turns: make([]turn, 2), workers: make([]worker, 2), pace: 1}
	f.Add(whole.encode(nil))
	f.Add((&shared{pace: math.Inf(1)}).encode(nil))
	f.Add((&shared{pace: math.NaN()}).encode(nil))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		var s shared
		if s.decode(b) {
			var again shared
			if !again.decode(s.encode(nil)) {
				t.Fatal("what was read can't be written")
			}
		}
		store := recordtest.NewMemory()
		if _, err := store.Put("x", b, record.Create); err != nil {
			t.Fatal(err)
		}
		if n := New(Settings{Slots: 2}, store, "x", 1).Snapshot(noon + minute).InFlight; n > 0 && !recent(&s, noon+minute) {
			t.Fatalf("%d are in flight of which nobody has said so lately", n)
		}
		g := New(Settings{Slots: 2, Requests: perMinute(5), Tokens: perMinute(100), QueueMax: 3, MaxWait: longWaits}, store, "x", 1)
		x := request(config.Normal, 1, 10)
		if v := g.Arrive(noon, x); v.Err != nil {
			t.Fatal(v.Err)
		}
		if err := g.dequeue(noon+minute, func(*Ticket, gate.Verdict) {}); err != nil {
			t.Fatal(err)
		}
		if err := g.Finish(noon+minute, x, quiet); err != nil {
			t.Fatal(err)
		}
	})
}

func TestADamagedRecordIsBegunAnew(t *testing.T) {
	a, b, store := pair(Settings{Slots: 1, QueueMax: 5})
	first, waits := request(config.Normal, 1, 1000), request(config.Normal, 1, 1000)
	arrive(t, a, noon, first, gate.Allowed, "")
	for range 3 {
		arrive(t, a, noon, request(config.Normal, 1, 1000), gate.Queued, "")
	}
	arrive(t, a, noon, waits, gate.Queued, "")
	_, version, _, _ := store.Get("x")
	if _, err := store.Put("x", []byte("damaged"), version); err != nil {
		t.Fatal(err)
	}
	serve(t, a, noon+100*millisecond)
	if v := a.Snapshot(noon); v.InFlight != 1 || v.Waiting[config.Normal] != 4 {
		t.Errorf("the worker did not put its entry back: %+v", v)
	}
	arrive(t, b, noon+100*millisecond, request(config.Normal, 2, 1), gate.Queued, "")
}

// A lost race is played again on what the other worker wrote.
func TestLostRaces(t *testing.T) {
	a, b, store := pair(Settings{Slots: 1, QueueMax: 5})
	theirs, mine := request(config.Normal, 1, 1), request(config.Normal, 2, 1)
	between(store, func() {
		arrive(t, b, noon, theirs, gate.Allowed, "")
	})
	arrive(t, a, noon, mine, gate.Queued, "")

	between(store, func() {
		arrive(t, a, noon, request(config.High, 3, 1), gate.Queued, "") // between the read and the write of b's end
	})
	finish(t, b, noon, theirs, quiet)
	if v := b.Snapshot(noon); v.InFlight != 0 || v.Waiting != [Priorities]int{config.Normal: 1, config.High: 1} {
		t.Errorf("%+v", v)
	}
	between(store, func() {
		arrive(t, b, noon, request(config.Urgent, 4, 1), gate.Allowed, "") // takes the slot that a is about to take
	})
	if passed, _ := serve(t, a, noon); len(passed) > 0 {
		t.Errorf("%d pass beyond the slots", len(passed))
	}
}

// between lets something happen between the next read and its write.
func between(store *recordtest.Memory, something func()) {
	store.Conflict = func(string) {
		if something != nil {
			happens := something
			something = nil
			happens()
		}
	}
}

func TestMoreWorkersThanFit(t *testing.T) {
	a, _, store := pair(Settings{Slots: 1000, QueueMax: 5})
	for id := range uint64(mostWorkers) {
		g := New(a.settings, store, "x", 100+id)
		arrive(t, g, noon, request(config.Normal, 1, 1), gate.Allowed, "")
	}
	arrive(t, a, noon, request(config.Normal, 1, 1), gate.Rejected, gate.Full)
	arrive(t, a, noon+clock.Moment(alive)+1, request(config.Normal, 1, 1), gate.Allowed, "")
}

// A worker lets another one's best waiting request go first by priority, then by turn, then by how long it has waited.
func TestWhoGoesFirstOfTwoWorkers(t *testing.T) {
	const self, other = 1, 2
	now := noon
	mine := func(change func(*Ticket)) *Ticket {
		t := &Ticket{Priority: config.Normal, Tokens: 10, tag: 100, since: now - second}
		change(t)
		return t
	}
	theirs := worker{id: other, heard: now, waits: true, head: config.Normal, tag: 100, since: now - second}
	for _, test := range []struct {
		name   string
		change func(t *Ticket, w *worker)
		yields bool
	}{
		{"the same turn", func(*Ticket, *worker) {}, false},
		{"a higher priority, though its turn is later", func(_ *Ticket, w *worker) { w.head, w.tag = config.High, 1000 }, true},
		{"a lower priority, though its turn is earlier, and it waits long", func(_ *Ticket, w *worker) { w.head, w.tag, w.since = config.Low, 0, now-60*second }, false},
		{"an earlier turn, by no more than mine costs", func(_ *Ticket, w *worker) { w.tag = 90 }, false},
		{"an earlier turn, by more", func(_ *Ticket, w *worker) { w.tag = 89 }, true},
		{"a later turn", func(_ *Ticket, w *worker) { w.tag = 1000 }, false},
		{"a later turn, though it waits long", func(_ *Ticket, w *worker) { w.tag, w.since = 101, now-60*second }, false},
		{"the same turn, and it has waited for longer by patience", func(_ *Ticket, w *worker) { w.since = now - second - clock.Moment(patience) }, false},
		{"by more than patience", func(_ *Ticket, w *worker) { w.since = now - second - clock.Moment(patience) - 1 }, true},
		{"it is not heard of any more", func(_ *Ticket, w *worker) { w.head, w.heard = config.High, now-clock.Moment(fresh)-1 }, false},
		{"it was heard of just in time", func(_ *Ticket, w *worker) { w.head, w.heard = config.High, now-clock.Moment(fresh) }, true},
		{"nothing of its waits", func(_ *Ticket, w *worker) { w.head, w.waits = config.High, false }, false},
		{"it is myself", func(_ *Ticket, w *worker) { w.head, w.id = config.High, self }, false},
	} {
		w := theirs
		ticket := mine(func(t *Ticket) { test.change(t, &w) })
		s := shared{workers: []worker{w}}
		if got := s.yields(now, self, ticket); got != test.yields {
			t.Errorf("%s: yields is %v", test.name, got)
		}
	}
}

// What was taken on one caller's word comes back first, and no more of it than comes back.
func TestWhatWasLentComesBackFirst(t *testing.T) {
	rate := bucket.Rate{Quantity: 100 * bucket.Micro, Window: 10 * second, Burst: 100 * bucket.Micro}
	meter, lent := bucket.State{Used: 80 * bucket.Micro, At: noon}, int64(50*bucket.Micro)
	for i, want := range []int64{50, 40, 30, 20, 10, 0, 0} {
		leak(&meter, noon+clock.Moment(int64(i)*second), rate, &lent)
		if lent != want*bucket.Micro {
			t.Errorf("after %d s %d are lent, want %d", i, lent/bucket.Micro, want)
		}
	}
}
