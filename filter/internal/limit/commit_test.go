package limit

import (
	"errors"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

// apart is three limits of one request in at least two pages.
const apart = `[
	{"name":"a","per":["user"],"unit":"requests","quantity":2,"window":"1h"},
	{"name":"b","per":["tenant"],"unit":"completionTokens","quantity":40,"window":"1h","admission":"strict"},
	{"name":"c","per":["user"],"unit":"totalTokens","quantity":1000,"window":"1h"}]`

// checkApart makes sure that a request's limits live in more than one page.
func (w *world) checkApart(t *testing.T, r *Request) {
	t.Helper()
	clear(w.hashed)
	pages := map[uint32]bool{}
	for i := range w.limits {
		pages[w.hash(&w.limits[i], r).Page()] = true
	}
	if len(pages) < 2 {
		t.Fatal("the limits share one page: choose other names")
	}
}

func TestALimitThatRefusesLeavesTheOthersUncharged(t *testing.T) {
	w := newWorld(t, apart)
	r := with(request("alice"), func(r *Request) { r.Estimate.OutputBound = 41 })
	v := w.Admit(start, r, nil)
	if !v.Outcome.Refuses() || v.Limit.Name != "b" || !(v.Wait == gate.Never) || len(v.Charges) != 0 {
		t.Fatalf("%+v", v)
	}
	for i, want := range []int64{2, 40, 1000} {
		expect(t, "balance", w.balance(t, start, i, r), want)
	}
	if keys, _ := w.store.Size(); keys != 1 {
		t.Errorf("%d keys: a refused request writes nothing", keys)
	}
}

// Another worker takes what is left of the second page's bucket after the first page was written.
func TestALostRaceRollsBackWhatWasCharged(t *testing.T) {
	w := newWorld(t, apart)
	other := w.again(t, apart)
	r := request("alice")
	w.checkApart(t, r)
	writes := 0
	w.store.Conflict = func(string) {
		if writes++; writes == 2 {
			bob := with(request("bob"), func(r *Request) { r.Estimate.Output = 30 })
			other.admit(t, start, bob)
		}
	}
	v := w.Admit(start, r, nil)
	w.store.Conflict = nil
	if !v.Outcome.Refuses() || v.Limit.Name != "b" || v.Measured != 30 || len(v.Charges) != 0 || v.Err != nil {
		t.Fatalf("%+v", v)
	}
	for i, want := range []bucket.State{{}, {At: start, Reserved: [2]uint32{30, 0}}, {}} {
		expect(t, "bucket", w.state(t, start, i, r), withTime(want, start))
	}
}

// withTime is a bucket as it is once it was looked at.
func withTime(state bucket.State, now clock.Moment) bucket.State {
	state.At = now
	return state
}

func TestALostRaceIsRunAgain(t *testing.T) {
	w := newWorld(t, apart)
	other := w.again(t, apart)
	r := request("alice")
	lost := 0
	w.store.Conflict = func(string) {
		if lost++; lost <= 3 {
			if o := other.Refund(start, other.admit(t, start, with(request("alice"), func(r *Request) { r.Estimate = Estimate{Prompt: 1} }))); o != (Outcome{}) {
				t.Errorf("%+v", o)
			}
		}
	}
	w.admit(t, start, r)
	w.store.Conflict = nil
	for i, want := range []int64{1, 20, 970} {
		expect(t, "balance", w.balance(t, start, i, r), want)
	}
}

// A page that somebody else changes each time: the request is refused rather than passed uncounted.
func TestACrowdedPageIsGivenUp(t *testing.T) {
	w := newWorld(t, apart)
	r := request("alice")
	contested := w.contest(t, r)
	v := w.Admit(start, r, nil)
	if !v.Outcome.Refuses() || v.Reason != gate.Contended || v.Limit == nil || len(v.Charges) != 0 {
		t.Fatalf("%+v", v)
	}
	*contested = false
	for i, want := range []int64{2, 40, 1000} {
		expect(t, "balance", w.balance(t, start, i, r), want)
	}
	charges := w.admit(t, start, r)
	*contested = true
	if o := w.Settle(start, charges, "m", Usage{}, 200); !o.Contended {
		t.Errorf("settled: %+v", o)
	}
}

// contest makes the writes of the page of limit "b" fail while the flag it returns is set.
func (w *world) contest(t *testing.T, r *Request) *bool {
	t.Helper()
	clear(w.hashed)
	subject := w.hash(&w.limits[1], r)
	buckets, err := table.New(w.store, "default", leasePeriod, random)
	if err != nil {
		t.Fatal(err)
	}
	on := true
	w.store.Conflict = func(string) {
		if !on {
			return
		}
		page, err := buckets.Load(subject, start)
		if err != nil {
			t.Error(err)
		}
		if _, _, err := buckets.Save(page, start); err != nil {
			t.Error(err)
		}
		buckets.Release(page)
	}
	return &on
}

// failing is a store that fails from its n-th operation on.
type failing struct {
	record.Store
	left int
}

var errFailure = errors.New("failure")

func (f *failing) next() error {
	if f.left--; f.left < 0 {
		return errFailure
	}
	return nil
}

func (f *failing) Get(key string) ([]byte, uint32, bool, error) {
	if err := f.next(); err != nil {
		return nil, 0, false, err
	}
	return f.Store.Get(key)
}

func (f *failing) Put(key string, value []byte, version uint32) (bool, error) {
	if err := f.next(); err != nil {
		return false, err
	}
	return f.Store.Put(key, value, version)
}

// Whichever operation fails: the request is not denied, the error is told, and nothing counts as charged.
func TestAFailingStoreLetsRequestsPassUncharged(t *testing.T) {
	store := &failing{Store: recordtest.NewMemory(), left: 1 << 30}
	set, _ := worker(t, `{"limits":`+apart+`}`, store)
	const operations = 4 // two pages are read and written
	for n := range operations {
		store.left = n
		v := set.Admit(start, request("alice"), nil)
		if v.Outcome.Refuses() || !errors.Is(v.Err, errFailure) || len(v.Charges) != 0 {
			t.Errorf("after %d operations: %+v", n, v)
		}
	}
	store.left = operations
	v := set.Admit(start, request("zoe"), nil)
	if v.Err != nil || len(v.Charges) != 3 {
		t.Fatalf("%+v", v)
	}
	if o := set.Renew(start, v.Charges); !errors.Is(o.Err, errFailure) {
		t.Errorf("renewed: %+v", o)
	}
	if o := set.Settle(start, v.Charges, "m", Usage{}, 200); !errors.Is(o.Err, errFailure) {
		t.Errorf("settled: %+v", o)
	}
}

// A renewal that failed has renewed nothing: the reservation is where it was, and is taken back there, and not from what
// others have reserved since.
func TestAFailedRenewalTakesNothingFromOthers(t *testing.T) {
	memory := recordtest.NewMemory()
	store := &failing{Store: memory, left: 1 << 30}
	const limits = `{"limits":[{"name":"l","unit":"completionTokens","quantity":1000,"window":"1h"}]}`
	set, _ := worker(t, limits, store)
	mine := set.Admit(start, request("alice"), nil).Charges
	later := start + leasePeriod
	others := set.Admit(later, request("bob"), nil).Charges
	store.left = 1 // the page is read, and can't be written
	if o := set.Renew(later, mine); !errors.Is(o.Err, errFailure) {
		t.Fatalf("%+v", o)
	}
	store.left = 1 << 30
	if !set.Stale(later, mine) {
		t.Error("the reservation counts as renewed")
	}
	set.Refund(later, mine)
	if got := set.state(t, later, 0, request("bob")).Reserved; got != [2]uint32{20, 0} {
		t.Errorf("reserved: %v, want bob's 20", got)
	}
	set.Refund(later, others)
}

func TestReservationsThatAreNotRenewedAreForgotten(t *testing.T) {
	w := newWorld(t, `[{"name":"l","unit":"completionTokens","quantity":1000,"window":"1h"}]`)
	r := request("alice")
	charges := w.admit(t, start, r)
	for _, test := range []struct {
		now  clock.Moment
		want int64
	}{{start + leasePeriod, 980}, {start + 2*leasePeriod - 1, 980}, {start + 2*leasePeriod, 1000}} {
		expect(t, "balance", w.balance(t, test.now, 0, r), test.want)
	}
	// The request lives after all: it is charged what it used, and takes no reservation of others back.
	w.admit(t, start+2*leasePeriod, r)
	w.settle(t, start+2*leasePeriod, charges, 0, 7)
	expect(t, "balance after it was settled", w.balance(t, start+2*leasePeriod, 0, r), 1000-20-7)
}

func TestARenewedReservationStays(t *testing.T) {
	w := newWorld(t, apart)
	r := request("alice")
	charges := w.admit(t, start, r)
	if w.Stale(start, charges) {
		t.Error("stale at once")
	}
	now := start
	for range 10 {
		now += leasePeriod
		if !w.Stale(now, charges) {
			t.Fatal("not stale in the next period")
		}
		if o := w.Renew(now, charges); o != (Outcome{}) {
			t.Fatalf("%+v", o)
		}
		if w.Stale(now, charges) {
			t.Fatal("stale after it was renewed")
		}
		for i, want := range []uint32{0, 20, 30} {
			expect(t, "reserved", w.state(t, now, i, r).Reserved, [2]uint32{want, 0})
		}
	}
	w.settle(t, now, charges, 10, 5)
	for i := range 3 {
		expect(t, "reserved at the end", w.state(t, now, i, r).Reserved, [2]uint32{})
	}
}

func TestRequestsAloneAreNeverStale(t *testing.T) {
	w := newWorld(t, `[{"name":"r","unit":"requests","quantity":9,"window":"1h"}]`)
	charges := w.admit(t, start, request("alice"))
	expect(t, "stale", w.Stale(start+100*leasePeriod, charges), false)
}

func TestEvictionsAreTold(t *testing.T) {
	w := newWorld(t, `[{"name":"l","per":["user"],"unit":"completionTokens","quantity":1000,"window":"1h"}]`)
	r := request("alice")
	clear(w.hashed)
	subject := w.hash(&w.limits[0], r)
	page, err := w.table.Load(subject, start)
	if err != nil {
		t.Fatal(err)
	}
	for id := range uint64(table.Ways) {
		page.Set(id, bucket.State{Used: 900 * bucket.Micro, At: start}, w.limits[0].rate)
	}
	if written, _, err := w.table.Save(page, start); !written || err != nil {
		t.Fatal(written, err)
	}
	v := w.Admit(start, r, nil)
	expect(t, "evicted", v.Evicted, 1)
	expect(t, "evicted at the end", w.Settle(start, v.Charges, "m", Usage{Completion: 3}, 200).Evicted, 0)
	expect(t, "balance", w.balance(t, start, 0, r), 997)
}

func TestManyLimitsInOnePage(t *testing.T) {
	limits := `[`
	for i := range 12 {
		if i > 0 {
			limits += `,`
		}
		limits += `{"name":"l` + string(rune('a'+i)) + `","per":["user"],"unit":"completionTokens","quantity":1000,"window":"1h"}`
	}
	w := newWorld(t, limits+`]`)
	r := request("alice")
	charges := w.admit(t, start, r)
	expect(t, "charges", len(charges), 12)
	w.settle(t, start, charges, 0, 100)
	for i := range 12 {
		expect(t, "balance", w.balance(t, start, i, r), 900)
	}
}

func TestWhenARequestCanBeDecided(t *testing.T) {
	const (
		requests = `{"name":"r","per":["user"],"unit":"requests","quantity":1,"window":"1h"}`
		tokens   = `{"name":"t","per":["user"],"unit":"completionTokens","quantity":1,"window":"1h"}`
		anyModel = `{"name":"any","match":{"models":["*"]},"unit":"requests","quantity":1,"window":"1h"}`
		byModel  = `{"name":"by","match":{"models":["a-*"]},"unit":"requests","quantity":1,"window":"1h"}`
		perModel = `{"name":"per","per":["model"],"unit":"completionTokens","quantity":1,"window":"1h"}`
		cost     = `{"name":"c","unit":"cost","quantity":1,"window":"1h"}`
		others   = `{"name":"o","match":{"tenants":["other"]},"per":["model"],"unit":"requests","quantity":1,"window":"1h"}`
	)
	priced := `{"usage":{"cost":[{"models":["a"],"prompt":2},{"models":["*"]}]},"limits":[`
	for _, test := range []struct {
		name, configuration string
		tokens              bool
		want                Timing
	}{
		{"no limits", `{"limits":[`, true, Never},
		{"requests", `{"limits":[` + requests, true, AtHeaders},
		{"of any model", `{"limits":[` + anyModel, true, AtHeaders},
		{"tokens", `{"limits":[` + tokens, true, Estimated},
		{"tokens, where there are none", `{"limits":[` + tokens, false, Never},
		{"some models", `{"limits":[` + byModel, true, AtBody},
		{"each model", `{"limits":[` + perModel, true, AtBody},
		{"one price", `{"limits":[` + cost, true, Estimated},
		{"a price for each model", priced + cost, true, AtBody},
		{"the latest counts", `{"limits":[` + byModel + `,` + tokens + `,` + requests, true, AtBody},
		{"the latest counts, in any order", `{"limits":[` + requests + `,` + tokens, true, Estimated},
		{"limits of others don't count", `{"limits":[` + others + `,` + requests, true, AtHeaders},
	} {
		t.Run(test.name, func(t *testing.T) {
			set, _ := worker(t, test.configuration+`]}`, recordtest.NewMemory())
			r := with(request("alice"), func(r *Request) { r.Model, r.ModelKnown, r.Tokens = "", false, test.tokens })
			expect(t, "timing", set.Timing(r), test.want)
		})
	}
}

func TestNeedsAreWhatLimitsDependOn(t *testing.T) {
	set, _ := worker(t, `{"limits":[
		{"name":"a","per":["user","model"],"unit":"requests","quantity":1,"window":"1h"},
		{"name":"b","match":{"tenants":["x"]},"unit":"requests","quantity":1,"window":"1h"},
		{"name":"c","per":["key"],"unit":"requests","quantity":1,"window":"1h","mode":"off"}]}`, recordtest.NewMemory())
	needs := map[string]bool{}
	for _, need := range set.Needs() {
		needs[need] = true
	}
	for part, want := range map[string]bool{"user": true, "tenant": true, "key": false} {
		expect(t, part, needs[part], want)
	}
}
