package limit

import (
	"testing"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/heavy"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
	"github.com/spillway-proxy/spillway/filter/internal/record"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
	"github.com/spillway-proxy/spillway/filter/internal/table"
)

const (
	second      = 1_000_000_000 // of moments and durations alike
	leasePeriod = 10 * second
	start       = clock.Moment(1000 * second) // the monotonic clock when a test begins
)

var random = []byte("0123456789abcdef")

// world is one worker's limits, and what they are kept in.
type world struct {
	*Set
	store  *recordtest.Memory
	picker *ident.Picker
}

// fataler is what tests, fuzz targets and property tests have in common.
type fataler interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
}

// worker gives the limits of a configuration over a store.
func worker(t fataler, configuration string, store record.Store) (*Set, *ident.Picker) {
	t.Helper()
	cfg, err := config.Parse([]byte(configuration))
	if err != nil {
		t.Fatal(err)
	}
	buckets, err := table.New(store, cfg.Namespace, leasePeriod, random)
	if err != nil {
		t.Fatal(err)
	}
	picker := &ident.Picker{}
	return New(&cfg, picker, buckets, &heavy.Book{}), picker
}

// newWorld gives the limits, an array in JSON, over a store of their own.
func newWorld(t fataler, limits string) *world {
	t.Helper()
	w := &world{store: recordtest.NewMemory()}
	w.Set, w.picker = worker(t, `{"limits":`+limits+`}`, w.store)
	return w
}

// again is another worker over the same store.
func (w *world) again(t fataler, limits string) *world {
	t.Helper()
	other := &world{store: w.store}
	other.Set, other.picker = worker(t, `{"limits":`+limits+`}`, w.store)
	return other
}

// request is a chat request of a user that is expected to use 10 and 20 tokens.
func request(user string) *Request {
	return &Request{
		Caller:    ident.Caller{User: user, Tenant: "tenant", Key: "key", Priority: config.Normal},
		Operation: "chat", Model: "m", ModelKnown: true, Tokens: true, Headers: &ident.Headers{},
		Estimate: Estimate{Prompt: 10, Output: 20},
	}
}

// with changes a request.
func with(r *Request, change func(*Request)) *Request {
	change(r)
	return r
}

// admit admits a request that must pass.
func (w *world) admit(t fataler, now clock.Moment, r *Request) []Charge {
	t.Helper()
	v := w.Admit(now, r, nil)
	if v.Outcome.Refuses() || v.Err != nil {
		t.Fatalf("not admitted: %+v, %v", v.Verdict, v.Err)
	}
	return v.Charges
}

// settle settles a request that used so many prompt and completion tokens.
func (w *world) settle(t fataler, now clock.Moment, charges []Charge, prompt, completion int64) {
	t.Helper()
	o := w.Settle(now, charges, "m", Usage{Prompt: prompt, Completion: completion, Total: prompt + completion}, 200)
	if o != (Outcome{}) {
		t.Fatalf("settled with %+v", o)
	}
}

// state is a request's bucket in the limit of that index, as it is at the time.
func (s *Set) state(t fataler, now clock.Moment, index int, r *Request) bucket.State {
	t.Helper()
	clear(s.hashed)
	l := &s.limits[index]
	c := Charge{limit: l, subject: s.hash(l, r)}
	page, err := s.table.Load(c.subject, now)
	if err != nil {
		t.Fatal(err)
	}
	defer s.table.Release(page)
	state := page.Get(c.id())
	state.Leak(now, s.rate(now, l))
	state.By = 0
	return state
}

// balance is what is left of it, in whole units, rounded down.
func (s *Set) balance(t fataler, now clock.Moment, index int, r *Request) int64 {
	t.Helper()
	state := s.state(t, now, index, r)
	left := state.Balance(s.limits[index].rate)
	if left < 0 {
		return -((-left-1)/bucket.Micro + 1)
	}
	return left / bucket.Micro
}

func expect[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}
