package limit

import (
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

// A team shares a budget, and each of its members has a limit of his own inside it.
func TestAGroupSharesALimit(t *testing.T) {
	w, _ := worker(t, `{"identity":{"groups":{"red":{},"blue":{}}},"limits":[{"name":"team","per":["group"],"match":{"groups":["red","blue"]},"unit":"requests","quantity":3,"window":"1h"},
		{"name":"member","per":["group","user"],"unit":"requests","quantity":2,"window":"1h"}]}`, recordtest.NewMemory())
	of := func(user, group string) *Request {
		return with(request(user), func(r *Request) { r.Caller.Group = group })
	}
	for _, test := range []struct {
		user, group string
		refused     string // the limit that refuses; "": none
	}{
		{"ann", "red", ""}, {"ann", "red", ""}, {"ann", "red", "member"}, {"bob", "red", ""}, {"bob", "red", "team"},
		{"eve", "blue", ""}, {"nan", "anonymous", ""}, {"nan", "anonymous", ""}, {"nan", "anonymous", "member"},
	} {
		v := w.Admit(start, of(test.user, test.group), nil)
		got := ""
		if v.Outcome == gate.Rejected {
			got = v.Limit.Name
		}
		if v.Err != nil || got != test.refused {
			t.Errorf("%s of %s: refused by %q, want %q", test.user, test.group, got, test.refused)
		}
	}
	expect(t, "shown", string(w.AppendSubject(nil, &w.limits[0].Limit, of("ann", "red"))), "group=red")
	found, wrong := w.Subject("team", "group=red")
	view, err := w.Look(start, found)
	if wrong != "" || err != nil || view.Used != 3 {
		t.Errorf("as an operator sees it: %+v, %s, %v", view, wrong, err)
	}
}
