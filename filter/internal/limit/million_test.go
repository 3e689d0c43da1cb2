package limit

import (
	"strconv"
	"testing"

	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

// A million users in one limit, each with a debt of its own: all are remembered exactly, in a known amount of shared data.
func TestAMillionUsersFit(t *testing.T) {
	const (
		users    = 1_000_000
		mostData = 48 << 20
	)
	w := newWorld(t, `[{"name":"u","per":["user"],"unit":"completionTokens","quantity":300,"window":"1h"}]`)
	used := func(user int) int64 { return 301 + int64(user%1000) }
	r := request("")
	evicted := 0
	var charges []Charge
	for user := range users {
		r.Caller.User = "user-" + strconv.Itoa(user)
		v := w.Admit(start, r, charges[:0])
		if v.Outcome.Refuses() || v.Err != nil {
			t.Fatalf("%s: %+v, %v", r.Caller.User, v.Verdict, v.Err)
		}
		charges = v.Charges
		o := w.Settle(start, charges, "m", Usage{Completion: used(user)}, 200)
		if o.Contended || o.Err != nil {
			t.Fatalf("%s: %+v", r.Caller.User, o)
		}
		evicted += v.Evicted + o.Evicted
	}
	wrong := w.wrong(t, users, used)
	keys, bytes := w.store.Size()
	t.Logf("%d users: %d keys, %d bytes in keys and values (%.1f MiB), %d evicted, %d wrong", users, keys, bytes, float64(bytes)/(1<<20), evicted, wrong)
	if bytes >= mostData || evicted > 0 || wrong > 0 {
		t.Errorf("%d bytes, want less than %d; %d evicted, %d wrong, want none", bytes, mostData, evicted, wrong)
	}
}

// wrong counts the users whose bucket is not what it should be. Each page is read once.
func (w *world) wrong(t *testing.T, users int, used func(user int) int64) (wrong int) {
	t.Helper()
	l := &w.limits[0]
	type owner struct {
		user   int
		charge Charge
	}
	pages := make([][]owner, table.Pages)
	r := request("")
	for user := range users {
		r.Caller.User = "user-" + strconv.Itoa(user)
		clear(w.hashed)
		c := Charge{limit: l, subject: w.hash(l, r)}
		pages[c.subject.Page()] = append(pages[c.subject.Page()], owner{user, c})
	}
	for _, owners := range pages {
		if len(owners) == 0 {
			continue
		}
		page, err := w.table.Load(owners[0].charge.subject, start)
		if err != nil {
			t.Fatal(err)
		}
		for _, o := range owners {
			state := page.Get(o.charge.id())
			if state.By = 0; state != (bucket.State{Used: used(o.user) * bucket.Micro, At: start}) {
				wrong++
			}
		}
		w.table.Release(page)
	}
	return wrong
}
