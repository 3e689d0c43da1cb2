package table

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const (
	second = 1_000_000_000 // of moments and durations alike
	lease  = 10 * second
	hour   = 3600 * second
	micros = bucket.Micro
)

var (
	rate   = bucket.Rate{Burst: 300 * micros, Quantity: 300 * micros, Window: hour}
	random = []byte("0123456789abcdef")
)

func newTable(t testing.TB, store record.Store) *Table {
	t.Helper()
	table, err := New(store, "test", lease, random)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func load(t testing.TB, table *Table, subject Hash, now int64) *Page {
	t.Helper()
	page, err := table.Load(subject, clock.Moment(now))
	if err != nil {
		t.Fatal(err)
	}
	return page
}

// save saves a page that nobody else changes, and says how many buckets were evicted.
func save(t testing.TB, table *Table, page *Page, now int64, changed ...uint64) int {
	t.Helper()
	written, evicted, err := table.Save(page, clock.Moment(now), changed...)
	if !written || err != nil {
		t.Fatalf("written %v, error %v", written, err)
	}
	return evicted
}

// live is a bucket that is far from full at the time.
func live(now int64) bucket.State { return bucket.State{Used: 100 * micros, At: clock.Moment(now)} }

func TestBucketsAreStoredAsTheyAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		store := recordtest.NewMemory()
		table, err := New(store, "test", lease, random)
		if err != nil {
			t.Fatal(err)
		}
		now := rapid.Int64Range(0, 1<<60).Draw(t, "now")
		page, _ := table.Load(7, clock.Moment(now))
		want := map[uint64]bucket.State{}
		for range rapid.IntRange(0, Ways).Draw(t, "records") {
			state := bucket.State{
				Used:     rapid.Int64Range(1, bucket.Most).Draw(t, "used"),
				At:       clock.Moment(now - rapid.Int64Range(0, now).Draw(t, "ago")%second),
				Reserved: [2]uint32{rapid.Uint32().Draw(t, "reserved"), rapid.Uint32().Draw(t, "reserved before")},
			}
			id := rapid.Uint64().Draw(t, "id")
			want[id] = state
			page.Set(id, state, rate)
		}
		if written, evicted, err := table.Save(page, clock.Moment(now)); !written || evicted != 0 || err != nil {
			t.Fatalf("written %v, evicted %d, error %v", written, evicted, err)
		}
		again, _ := table.Load(7+Pages, clock.Moment(now))
		if len(again.buckets) > len(want) {
			t.Fatalf("%d records of %d", len(again.buckets), len(want))
		}
		for id, state := range want {
			idle := state.Reserved == [2]uint32{}
			got := again.Get(id)
			if got.By = 0; got != state && (!idle || !got.Full()) {
				t.Fatalf("%d: %+v, want %+v", id, got, state)
			}
		}
		if _, size := store.Size(); len(want) > 0 && size > len("test/hash-key")+16+len("test/b1/7")+headerSize+len(want)*RecordSize {
			t.Fatalf("%d bytes for %d records", size, len(want))
		}
	})
}

func TestWorkersShareTheHashKey(t *testing.T) {
	store := recordtest.NewMemory()
	first := newTable(t, store)
	second, err := New(store, "test", lease, []byte("another's choice"))
	if err != nil {
		t.Fatal(err)
	}
	other, err := New(store, "elsewhere", lease, []byte("another's choice"))
	if err != nil {
		t.Fatal(err)
	}
	if first.Hash([]byte("a")) != second.Hash([]byte("a")) {
		t.Error("two workers of a namespace hash differently")
	}
	if first.Hash([]byte("a")) == other.Hash([]byte("a")) {
		t.Error("two namespaces have one key")
	}
}

func TestTheLoserOfARaceDoesNotWrite(t *testing.T) {
	store := recordtest.NewMemory()
	one, two := newTable(t, store), newTable(t, store)
	for _, name := range []string{"the page is new", "the page exists"} {
		t.Run(name, func(t *testing.T) {
			now := clock.Moment(second)
			mine := load(t, one, 5, int64(now))
			store.Conflict = func(string) {
				theirs := load(t, two, 5, int64(now))
				state := theirs.Get(1)
				state.Use(10 * micros)
				theirs.Set(1, state, rate)
				save(t, two, theirs, int64(now))
				store.Conflict = nil
			}
			mine.Set(2, live(int64(now)), rate)
			written, _, err := one.Save(mine, now)
			store.Conflict = nil
			if written || err != nil {
				t.Fatalf("written %v, error %v: the other's change is lost", written, err)
			}
			before := mine.Get(1).Used
			if err := one.Reload(mine, now); err != nil {
				t.Fatal(err)
			}
			if got := mine.Get(1).Used; got != before+10*micros || mine.Get(2).Used != 0 {
				t.Errorf("after reading again: %d and %d", got, mine.Get(2).Used)
			}
			save(t, one, mine, int64(now))
		})
	}
}

func TestAFullBucketIsForgotten(t *testing.T) {
	table := newTable(t, recordtest.NewMemory())
	now := clock.Moment(10000 * second)
	page := load(t, table, 5, int64(now))
	page.Set(1, live(int64(now)), rate)                                                 // full again after 20 minutes
	page.Set(2, bucket.State{At: now}, rate)                                            // full
	page.Set(3, bucket.State{Reserved: [2]uint32{0, 1}}, rate)                          // nothing used, but something reserved
	page.Set(4, bucket.State{Used: 300 * micros, At: now}, rate)                        // full again after an hour
	page.Set(5, bucket.State{Used: 1, At: now - hour, Reserved: [2]uint32{4, 0}}, rate) // leaked, but reserved
	save(t, table, page, int64(now), 2)
	check := func(now int64, want ...uint64) {
		t.Helper()
		page := load(t, table, 5, now)
		save(t, table, page, now)
		var got []uint64
		for _, r := range page.buckets {
			got = append(got, r.id)
		}
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("at %v: %v, want %v", time.Duration(now), got, want)
		}
	}
	check(int64(now), 1, 3, 4, 5)
	check(int64(now+lease), 1, 4, 5)
	check(int64(now+2*lease), 1, 4)
	check(int64(now+20*60*second-1), 1, 4)
	check(int64(now+20*60*second+3*second), 4)
	check(int64(now+hour-1), 4)
	check(int64(now + hour + 3*second))
}

func TestTheBucketNearestToFullIsEvicted(t *testing.T) {
	table := newTable(t, recordtest.NewMemory())
	now := clock.Moment(10000 * second)
	page := load(t, table, 5, int64(now))
	for id := range uint64(Ways) {
		page.Set(id, bucket.State{Used: int64(100+id) * micros, At: now}, rate)
	}
	if evicted := save(t, table, page, int64(now)); evicted != 0 {
		t.Fatalf("%d evicted from a page that just fits", evicted)
	}
	page = load(t, table, 5, int64(now))
	page.Set(1000, bucket.State{Used: micros, At: now}, rate) // nearer to full than all others
	page.Set(1001, bucket.State{Used: 2 * micros, At: now}, rate)
	page.Set(0, bucket.State{Used: 3 * micros, At: now}, rate)
	if evicted := save(t, table, page, int64(now), 1000, 1001, 0); evicted != 2 {
		t.Errorf("%d evicted, want 2", evicted)
	}
	page = load(t, table, 5, int64(now))
	for id := range uint64(Ways) {
		gone := id == 1 || id == 2
		if state := page.Get(id); state.Full() != gone {
			t.Errorf("bucket %d: %+v, want it gone: %v", id, state, gone)
		}
	}
	if page.Get(1000).Used != micros || page.Get(1001).Used != 2*micros || page.Get(0).Used != 3*micros {
		t.Error("what was just changed is gone")
	}
}

// crowd brings so many names to a page, one after the other; each comes so many times and has a debt of a million.
func crowd(t *testing.T, table *Table, now int64, names, times int) (evicted int) {
	for i := range uint64(names) {
		for range times {
			page := load(t, table, 5, now)
			page.Again(1000 + i)
			page.Set(1000+i, bucket.State{Used: int64(1e6) * micros, At: clock.Moment(now + int64(i))}, rate)
			evicted += save(t, table, page, now, 1000+i)
		}
	}
	return evicted
}

// left is how many of the ids from one to another are in the page.
func left(t *testing.T, table *Table, now int64, from, to uint64) (n int) {
	page := load(t, table, 5, now)
	for id := from; id < to; id++ {
		if state := page.Get(id); !state.Full() {
			n++
		}
	}
	return n
}

// Names that somebody makes up come once each. Whatever debts they have, they crowd out nobody who came again; and of those who
// came once, those first that were left alone longest.
func TestThoseWhoComeAgainStay(t *testing.T) {
	const now, honest, regular = 10000 * second, 50, 40
	for _, test := range []struct{ names, times, regulars, once int }{
		{14, 1, regular, honest - regular},
		{15, 1, regular, honest - regular - 1},
		{24, 1, regular, 0},
		{1000, 1, regular, 0},
		{24, 2, regular, 0},
		{30, 2, regular - 6, 0}, // who comes again can't be told from the others: those nearest to full go
	} {
		table := newTable(t, recordtest.NewMemory())
		page := load(t, table, 5, now)
		for id := range uint64(honest) {
			page.Again(id) // is not there yet
			page.Set(id, bucket.State{Used: int64(1+id) * micros, At: now - second}, rate)
		}
		save(t, table, page, now)
		page = load(t, table, 5, now)
		for id := range uint64(regular) {
			page.Again(id)
		}
		save(t, table, page, now)
		evicted := crowd(t, table, now, test.names, test.times)
		name := fmt.Sprintf("%d names, each %d times: ", test.names, test.times)
		if got := left(t, table, now, 0, regular); got != test.regulars {
			t.Errorf("%s%d of those who came again are left, want %d", name, got, test.regulars)
		}
		if got := left(t, table, now, regular, honest); got != test.once {
			t.Errorf("%s%d of those who came once are left, want %d", name, got, test.once)
		}
		if want := max(honest+test.names-Ways, 0); evicted != want {
			t.Errorf("%s%d evicted, want %d", name, evicted, want)
		}
		if got := left(t, table, now, uint64(1000+test.names-1), uint64(1000+test.names)); got != 1 {
			t.Errorf("%sthe last that came is gone", name)
		}
	}
}

func TestAPageHoldsNoMoreThanItsWays(t *testing.T) {
	store := recordtest.NewMemory()
	table := newTable(t, store)
	page := load(t, table, 5, second)
	var changed []uint64
	for id := range uint64(Ways + 3) {
		page.Set(id, live(second), rate)
		changed = append(changed, id)
	}
	if evicted := save(t, table, page, second, changed...); evicted != 3 {
		t.Errorf("%d evicted, want 3, though all were just changed", evicted)
	}
	value, _, _, _ := store.Get("test/b1/5")
	if len(value) != headerSize+Ways*RecordSize {
		t.Errorf("%d bytes", len(value))
	}
}

func TestADamagedPageCountsAsEmptyAndIsWrittenAnew(t *testing.T) {
	whole := func() []byte {
		store := recordtest.NewMemory()
		table := newTable(t, store)
		page := load(t, table, 5, second)
		page.Set(1, live(second), rate)
		save(t, table, page, second)
		value, _, _, _ := store.Get("test/b1/5")
		return value
	}()
	for name, value := range map[string][]byte{
		"empty":              {},
		"a part of a header": whole[:headerSize-1],
		"a part of a record": whole[:len(whole)-1],
		"more than records":  append(bytes.Clone(whole), 0),
		"another version's":  append([]byte{version + 1}, whole[1:]...),
	} {
		t.Run(name, func(t *testing.T) {
			store := recordtest.NewMemory()
			table := newTable(t, store)
			if written, _ := store.Put("test/b1/5", value, record.Create); !written {
				t.Fatal("not written")
			}
			page := load(t, table, 5, second)
			if len(page.buckets) != 0 {
				t.Fatalf("%d records", len(page.buckets))
			}
			page.Set(2, live(second), rate)
			save(t, table, page, second)
			if got := load(t, table, 5, second); got.Get(2).Used != live(second).Used {
				t.Errorf("got %+v", got.buckets)
			}
		})
	}
}

// Whatever a page holds, amounts stay within what the arithmetic takes.
func FuzzDamagedPage(f *testing.F) {
	f.Add(bytes.Repeat([]byte{version, 255}, (headerSize+RecordSize)/2), int64(1))
	f.Add(append([]byte{version, 0, 0, 0, 9, 0, 0, 0}, bytes.Repeat([]byte{255}, RecordSize)...), int64(hour))
	f.Fuzz(func(t *testing.T, value []byte, now int64) {
		now = max(now, 0)
		store := recordtest.NewMemory()
		table := newTable(t, store)
		if _, err := store.Put("test/b1/5", value, record.Create); err != nil {
			t.Fatal(err)
		}
		page := load(t, table, 5, now)
		for i := range page.buckets {
			state := page.buckets[i].state
			state.Leak(clock.Moment(now), rate)
			if state.Used < 0 || state.Used > bucket.Most || state.Balance(rate) > rate.Burst {
				t.Fatalf("%+v", state)
			}
		}
		save(t, table, page, now)
	})
}

func TestReservationsMoveOnWithTheLeasePeriods(t *testing.T) {
	table := newTable(t, recordtest.NewMemory())
	page := load(t, table, 5, 0)
	page.Set(1, bucket.State{Used: micros, Reserved: [2]uint32{100, 50}}, rate)
	save(t, table, page, 0)
	for _, test := range []struct {
		now  int64
		want [2]uint32
	}{
		{lease - 1, [2]uint32{100, 50}}, {lease, [2]uint32{0, 100}}, {2*lease - 1, [2]uint32{0, 100}}, {2 * lease, [2]uint32{}}, {1000 * lease, [2]uint32{}},
	} {
		page := load(t, table, 5, test.now)
		if got := page.Get(1).Reserved; got != test.want || page.Period() != table.Period(clock.Moment(test.now)) {
			t.Errorf("at %v: %v in period %d", time.Duration(test.now), got, page.Period())
		}
	}
}

// A worker whose clock is behind works in the period of the one that is ahead: it neither loses nor prolongs what that
// one has reserved.
func TestAPageOfAPeriodAheadKeepsItsPeriod(t *testing.T) {
	store := recordtest.NewMemory()
	ahead, behind := newTable(t, store), newTable(t, store)
	page := load(t, ahead, 5, lease)
	page.Set(1, bucket.State{Used: micros, At: lease, Reserved: [2]uint32{100, 50}}, rate)
	save(t, ahead, page, lease)

	page = load(t, behind, 5, lease-second)
	if got := page.Get(1).Reserved; got != [2]uint32{100, 50} || page.Period() != 1 {
		t.Errorf("read by the one behind: %v in period %d", got, page.Period())
	}
	save(t, behind, page, lease-second)
	if got := load(t, ahead, 5, lease).Get(1).Reserved; got != [2]uint32{100, 50} {
		t.Errorf("read by the one ahead: %v", got)
	}
	if got := load(t, ahead, 5, 2*lease).Get(1).Reserved; got != [2]uint32{0, 100} {
		t.Errorf("a period later: %v", got)
	}
}

// broken is a store that fails.
type broken struct {
	record.Store
	get, put error
}

func (b *broken) Get(key string) ([]byte, uint32, bool, error) {
	if b.get != nil {
		return nil, 0, false, b.get
	}
	return b.Store.Get(key)
}

func (b *broken) Put(key string, value []byte, version uint32) (bool, error) {
	if b.put != nil {
		return false, b.put
	}
	return b.Store.Put(key, value, version)
}

func TestAFailingStoreIsAnError(t *testing.T) {
	failure := errors.New("failure")
	for name, store := range map[string]*broken{"read": {get: failure}, "write": {put: failure}} {
		store.Store = recordtest.NewMemory()
		if _, err := New(store, "test", lease, random); !errors.Is(err, failure) {
			t.Errorf("%s: New gives %v", name, err)
		}
	}
	store := &broken{Store: recordtest.NewMemory()}
	table := newTable(t, store)
	page := load(t, table, 5, second)
	store.get, store.put = failure, failure
	if _, err := table.Load(5, second); !errors.Is(err, failure) {
		t.Errorf("Load gives %v", err)
	}
	if written, _, err := table.Save(page, second); written || !errors.Is(err, failure) {
		t.Errorf("Save gives %v, %v", written, err)
	}
}

func TestAPageThatWasGivenBackIsUsedAgainClean(t *testing.T) {
	table := newTable(t, recordtest.NewMemory())
	page := load(t, table, 5, second)
	page.Set(1, live(second), rate)
	table.Release(page)
	again := load(t, table, 6, second)
	if again != page {
		t.Error("another page")
	}
	if len(again.buckets) != 0 || again.Index() != 6 {
		t.Errorf("page %d with %d records", again.Index(), len(again.buckets))
	}
}

// Every byte of a subject counts, however long it is, and so does its length.
func TestTheWholeSubjectIsHashed(t *testing.T) {
	table, err := New(recordtest.NewMemory(), "test", second, make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	for _, length := range []int{1, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 200, 4096} {
		subject := []byte(strings.Repeat("k", length))
		seen := map[Hash]int{table.Hash(subject): -1, table.Hash(append(subject, 'k')): -2, table.Hash(subject[:length-1]): -3}
		if len(seen) != 3 {
			t.Errorf("%d bytes: one more or less makes no difference", length)
		}
		for i := range subject {
			subject[i] = 'x'
			hash := table.Hash(subject)
			if other, twice := seen[hash]; twice {
				t.Fatalf("%d bytes: a change at %d has the hash of one at %d", length, i, other)
			}
			seen[hash] = i
			subject[i] = 'k'
		}
	}
}

func TestAPageIsReadAndWrittenWithoutAnAllocation(t *testing.T) {
	store := recordtest.NewMemory()
	store.InPlace = true
	table := newTable(t, store)
	subject := []byte("alice")
	change := func() {
		page := load(t, table, table.Hash(subject), second)
		page.Set(1, live(second), rate)
		save(t, table, page, second, 1)
		table.Release(page)
	}
	change()
	if n := testing.AllocsPerRun(100, change); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
