package limit

import (
	"strconv"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/heavy"
)

// subjects gives what is known of a limit's subjects.
func (w *world) subjects(t *testing.T, name string) heavy.Merged {
	t.Helper()
	number, id, on := w.Number(name)
	if !on {
		t.Fatalf("no limit %s", name)
	}
	var records [][]byte
	_ = w.Tell(start, 1, func(n int, record []byte) error {
		if n == number {
			records = append(records, append([]byte(nil), record...))
		}
		return nil
	})
	return heavy.Merge(start, id, records)
}

func TestWhatCountsAsUsed(t *testing.T) {
	const limits = `[{"name":"off","unit":"requests","quantity":1,"window":"1h","mode":"off"},
		{"name":"t","per":["user"],"unit":"totalTokens","quantity":100,"window":"1h","refund":["5xx"]},
		{"name":"r","per":["user"],"unit":"requests","quantity":2,"window":"1h"},{"name":"i","per":["user"],"unit":"inflight","quantity":9}]`
	w := newWorld(t, limits)
	ask := func(user string, status int, sent bool) {
		r := request(user)
		v := w.Admit(start, r, nil)
		if v.Limit != nil {
			w.Refused(start, r, &v.Verdict)
		}
		if used := (Usage{Prompt: 10, Completion: 20, Total: 30}); sent {
			w.Settle(start, v.Charges, "m", used, status)
			w.Used(start, v.Charges, r, "m", used, status)
		} else {
			w.Refund(start, v.Charges)
		}
	}
	ask("ann", 200, true)
	ask("ann", 503, true)
	ask("bob", 0, true)
	ask("bob", 0, false)
	ask("bob", 200, true)
	ask("bob", 200, true) // refused by r
	if _, _, on := w.Number("off"); on {
		t.Error("a limit that is off has a number")
	}
	for limit, want := range map[string]map[string][2]float64{
		"t": {"user=ann": {30e6, 0}, "user=bob": {60e6, 0}},
		"r": {"user=ann": {2e6, 0}, "user=bob": {2e6, 1}},
		"i": {"user=ann": {2e6, 0}, "user=bob": {2e6, 0}},
	} {
		for i := range w.limits {
			w.limits[i].told = 0
		}
		got := w.subjects(t, limit)
		for _, s := range got.TopByUse(9) {
			if pair := [2]float64{s.Used.Low, s.Refused.Low}; pair != want[s.Name] {
				t.Errorf("%s: %s has %v, want %v", limit, s.Name, pair, want[s.Name])
			}
			delete(want, s.Name)
		}
		if len(want) > 0 {
			t.Errorf("%s: %v is missing", limit, want)
		}
	}
}

// A request that began by an earlier configuration is named by what that one reads, and counts for the limit as it is called.
func TestWhatAnEarlierConfigurationBeganIsNamedByThat(t *testing.T) {
	const limit = `{"name":"t","per":["header:x-team"],"unit":"totalTokens","quantity":100,"window":"1h"}`
	before := newWorld(t, `[`+limit+`]`)
	after := before.again(t, `[{"name":"n","per":["header:x-other"],"unit":"requests","quantity":9,"window":"1h"},`+limit+`]`)
	r := request("ann")
	before.picker.Pick([][2]string{{"x-team", "red"}, {"x-other", "wrong"}}, r.Headers)
	v := before.Admit(start, r, nil)
	after.Adopt(v.Charges)
	before.Used(start, v.Charges, r, "m", Usage{Total: 30}, 200)
	got := before.subjects(t, "t")
	if top := got.TopByUse(9); len(top) != 1 || top[0].Name != "header:x-team=red" || top[0].Used.Low != 30e6 {
		t.Errorf("%+v", top)
	}
}

// What is noted of strangers, who come by the million, allocates nothing.
func TestToNoteAStrangerAllocatesNothing(t *testing.T) {
	w := newWorld(t, `[{"name":"r","per":["user","key"],"unit":"requests","quantity":1,"window":"1h"}]`)
	w.store.InPlace = true
	r := request("")
	name, n := make([]byte, 0, 100), 0
	var charges []Charge
	stranger := func() {
		n++
		name = strconv.AppendInt(append(name[:0], "stranger-"...), int64(n), 10)
		r.Caller.User = string(name) // one allocation, which is ours
		for range 2 {
			v := w.Admit(start, r, charges[:0])
			if charges = v.Charges; v.Limit != nil {
				w.Refused(start, r, &v.Verdict)
			}
			w.Used(start, charges, r, "m", Usage{}, 200)
		}
	}
	page := func() float64 { // what the store allocates for new pages is not ours
		n = 0
		return testing.AllocsPerRun(1, func() {
			for n < 3000 {
				stranger()
			}
		})
	}
	page()
	if got := page(); got > 3000 {
		t.Errorf("%v allocations of 3000 strangers", got)
	}
	if got := w.subjects(t, "r"); len(got.TopByRefusals(100)) != heavy.Published {
		t.Errorf("%d are told", len(got.TopByRefusals(100)))
	}
}
