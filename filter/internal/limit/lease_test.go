package limit

import (
	"errors"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// Each way of a request that waits, on limits in different pages: how many requests count afterwards, and after a death.
func TestRequestsThatWaitAreLeased(t *testing.T) {
	const limits = `[{"name":"r","per":["user"],"unit":"requests","quantity":9,"window":"1h"},
		{"name":"all","unit":"requests","quantity":90,"window":"1h"},
		{"name":"t","unit":"completionTokens","quantity":1000,"window":"1h"}]`
	waits := with(request("alice"), func(r *Request) { r.Waits = true })
	for _, test := range []struct {
		name           string
		first          *Request
		then           func(w *world, c []Charge)
		used, reserved int64
	}{
		{"sent at once", request("alice"), func(*world, []Charge) {}, 1, 0},
		{"waiting", waits, func(*world, []Charge) {}, 0, 1},
		{"sent, and made to wait", request("alice"), func(w *world, c []Charge) { w.Lease(start, c) }, 0, 1},
		{"made to wait twice", waits, func(w *world, c []Charge) { w.Lease(start, c) }, 0, 1},
		{"waiting, renewed", waits, func(w *world, c []Charge) { w.Renew(start+leasePeriod, c) }, 0, 1},
		{"waiting, then sent", waits, func(w *world, c []Charge) { w.Send(start, c) }, 1, 0},
		{"sent twice", waits, func(w *world, c []Charge) { w.Send(start, c); w.Send(start, c) }, 1, 0},
		{"waiting, and given back", waits, func(w *world, c []Charge) { w.Refund(start, c) }, 0, 0},
		{"waiting, sent, and given back", waits, func(w *world, c []Charge) { w.Send(start, c); w.Refund(start, c) }, 0, 0},
		{"waiting, sent and settled", waits, func(w *world, c []Charge) { w.Send(start, c); w.Settle(start, c, "m", Usage{}, 200) }, 1, 0},
		{"settled without being sent", waits, func(w *world, c []Charge) { w.Settle(start, c, "m", Usage{}, 200) }, 1, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, limits)
			test.then(w, w.admit(t, start, test.first))
			for i := range 2 {
				state := w.state(t, start, i, test.first)
				expect(t, "used", state.Used/bucket.Micro, test.used)
				expect(t, "reserved", int64(state.Reserved[0]+state.Reserved[1]), test.reserved)
			}
		})
	}
}

// A store that fails leaves a lease what it is: it is sent again, or counted in the end.
func TestALeaseSurvivesAStoreThatFails(t *testing.T) {
	const limits = `[{"name":"r","per":["user"],"unit":"requests","quantity":9,"window":"1h"}]`
	store := &failing{Store: recordtest.NewMemory(), left: 1 << 30}
	set, _ := worker(t, `{"limits":`+limits+`}`, store)
	r := with(request("alice"), func(r *Request) { r.Waits = true })
	charges := set.Admit(start, r, nil).Charges
	store.left = 0
	if o := set.Send(start, charges); !errors.Is(o.Err, errFailure) {
		t.Fatalf("%+v", o)
	}
	if o := set.Lease(start, charges); o != (Outcome{}) {
		t.Fatalf("%+v", o)
	}
	store.left = 1 << 30
	expect(t, "balance", set.balance(t, start, 0, r), 8)
	set.Settle(start, charges, "m", Usage{}, 200)
	expect(t, "balance of what was never sent", set.balance(t, start, 0, r), 8)
	expect(t, "used", set.state(t, start, 0, r).Used, bucket.Micro)
}
