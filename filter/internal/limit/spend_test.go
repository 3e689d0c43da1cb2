package limit

import (
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/grant"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const (
	// spendPrices has a cheap model, a dear one, a free one, and more in an answer of a dated name.
	spendPrices = `"prices":[{"models":["cheap"],"prompt":1,"completion":2},{"models":["dear*"],"prompt":100,"completion":200,"request":0.01},{"models":["free"],"prompt":0}]`
	monthly     = `[{"name":"b","per":["user"],"unit":"usd","quantity":0.01,"window":"month"}]`
)

// newSpender gives limits of dollars. more may hold other members of the configuration.
func newSpender(t fataler, limits, more string) *world {
	t.Helper()
	w := &world{store: recordtest.NewMemory()}
	w.Set, w.picker = worker(t, `{"limits":`+limits+`,`+spendPrices+more+`}`, w.store)
	return w
}

// dollars is a request for a model that is expected to use 100 and 200 tokens.
func dollars(model string) *Request {
	return with(request("ann"), func(r *Request) { r.Model, r.Estimate = model, Estimate{Prompt: 100, Output: 200} })
}

// spends settles a request that used so many tokens, which a model has answered, and gives what it has cost.
func (w *world) spends(t fataler, v Admission, model, answer string, prompt, completion int64, status int) int64 {
	t.Helper()
	u := Usage{Prompt: prompt, Completion: completion, Total: prompt + completion}
	u.Spend = w.Spend(model, answer, u, status)
	if o := w.Settle(start, v.Charges, model, u, status); o != (Outcome{}) {
		t.Fatalf("%+v", o)
	}
	return u.Spend
}

// left is what ann has left of the first limit, in billionths of a dollar.
func (w *world) left(t fataler) int64 {
	t.Helper()
	state := w.state(t, start, 0, request("ann"))
	return state.Balance(w.limits[0].rate)
}

func TestDollarsAreReservedInGrainsAndChargedExactly(t *testing.T) {
	w := newSpender(t, monthly, "")
	w.clockAt(t, start, "2024-02-10T00:00:00Z")
	v := w.Admit(start, dollars("cheap"), nil) // 100·1 + 200·2 = 500 millionths of a dollar
	expect(t, "left while it runs", w.left(t), 10_000_000-500_000)
	expect(t, "has cost", w.spends(t, v, "cheap", "", 33, 7, 200), 47_000)
	expect(t, "left", w.left(t), 10_000_000-47_000)
	tiny := w.Admit(start, with(dollars("cheap"), func(r *Request) { r.Estimate = Estimate{Prompt: 1} }), nil)
	expect(t, "a millionth is rounded up to a hundred-thousandth", w.left(t), 10_000_000-47_000-10_000)
	expect(t, "has cost", w.spends(t, tiny, "cheap", "", 1, 0, 200), 1000)
	expect(t, "left", w.left(t), 10_000_000-48_000)
	if v.Tokens.Limit != nil || v.Requests.Limit != nil {
		t.Errorf("clients are told of dollars in headers for tokens: %+v", v)
	}
}

// A budget of a cent holds, and so does one of ten million dollars, to the billionth.
func TestBudgetsOfAnySize(t *testing.T) {
	for quantity, requests := range map[string]int{"0.01": 20, "0.000001": 1, "10000000": 1000} {
		w := newSpender(t, strings.Replace(monthly, "0.01", quantity, 1), "")
		passed := 0
		for range requests + 5 {
			v := w.Admit(start, dollars("cheap"), nil)
			if v.Outcome.Refuses() {
				if want := w.limits[0].Unit.Reason; v.Reason != want || v.Wait <= 0 || v.Threshold != w.limits[0].shown(w.limits[0].Burst) {
					t.Errorf("%s: %+v", quantity, v.Verdict)
				}
				continue
			}
			passed++
			w.spends(t, v, "cheap", "", 100, 200, 200)
		}
		if quantity == "10000000" {
			expect(t, "left of ten million", w.left(t), 1e16-int64(requests+5)*500_000)
		} else {
			expect(t, "passed of "+quantity, passed, requests)
		}
	}
	w := newSpender(t, strings.Replace(monthly, "0.01", "10000000", 1), "")
	for range 12 { // more than four thousand dollars each, all at once: all that 32 bits hold is held
		w.Admit(start, with(dollars("dear"), func(r *Request) { r.Estimate = Estimate{Prompt: 41_000_000} }), nil)
	}
	expect(t, "left", w.left(t), 1e16-math.MaxUint32*moneyGrain)
}

// What a provider bills is what has served: a router's choice, a fallback, a dated name; unless only an entry for every model says anything of it.
func TestTheModelThatServedIsBilled(t *testing.T) {
	const each = 100*1000 + 200*2000 // cheap
	const dear = 100*each + 10_000_000
	for name, test := range map[string]struct {
		model, answer string
		status        int
		want          int64
	}{
		"as asked for":                    {"cheap", "cheap", 200, each},
		"the answer doesn't say":          {"cheap", "", 200, each},
		"a fallback":                      {"cheap", "dear-2024", 200, dear},
		"a dated name":                    {"dear", "dear-2024", 200, dear},
		"a cheaper one":                   {"dear", "CHEAP", 200, each},
		"one without a price":             {"cheap", "/models/some.gguf", 200, each},
		"asked for without a price":       {"other", "cheap", 200, each},
		"neither has a price":             {"other", "another", 200, 0},
		"it can't be told, and is named":  {"", "cheap", 200, each},
		"it can't be told, and isn't":     {"", "", 200, dear},
		"it can't be told, and is priced": {"", "free", 200, 0},
		"it can't be told, and has none":  {"", "another", 200, 0},
	} {
		w := newSpender(t, strings.Replace(monthly, "0.01", "100", 1), "")
		v := w.Admit(start, dollars(test.model), nil)
		if got := w.spends(t, v, test.model, test.answer, 100, 200, test.status); got != test.want {
			t.Errorf("%s: %d, want %d", name, got, test.want)
		}
	}
	w, _ := worker(t, `{"limits":`+monthly+`,"prices":[{"models":["m"],"prompt":1},{"prompt":50}]}`, recordtest.NewMemory())
	u := Usage{Prompt: 1000, Total: 1000}
	expect(t, "a dated name that only the entry for every model matches", w.Spend("m", "m-2024", u, 200), 1_000_000)
	expect(t, "a model that can't be told, by that entry", w.Spend("", "m-2024", u, 200), 50_000_000)
}

// What costs no tokens for an error costs nothing for the request; what was left does.
func TestWhatARequestItselfCosts(t *testing.T) {
	w := newSpender(t, monthly, "")
	none, some := Usage{}, Usage{Prompt: 1, Total: 1}
	for status, want := range map[int]int64{200: 10_000_000, 400: 0, 429: 0, 503: 0, 0: 0} {
		if got := w.Spend("dear", "", none, status); got != want {
			t.Errorf("%d: %d", status, got)
		}
		if got := w.Spend("dear", "", some, status); got != 10_100_000 {
			t.Errorf("%d, with tokens: %d", status, got)
		}
	}
}

func TestModelsWithoutAPrice(t *testing.T) {
	w := newSpender(t, monthly, "")
	used := w.Admit(start, dollars("cheap"), nil)
	w.spends(t, used, "cheap", "", 5000, 5000, 200)
	for model, want := range map[string]struct {
		outcome  gate.Outcome
		unpriced bool
	}{
		"cheap": {gate.Rejected, false}, "": {gate.Rejected, true}, // it may be the dearest
		"other": {gate.Allowed, true}, "free": {gate.Allowed, false}, // however little is left
	} {
		if v := w.Admit(start, dollars(model), nil); v.Outcome != want.outcome || v.Unpriced != want.unpriced {
			t.Errorf("%q: %+v", model, v)
		}
	}
	for _, test := range []struct {
		mode    string
		outcome gate.Outcome
	}{{"enforce", gate.Rejected}, {"shadow", gate.Shadowed}} {
		w := newSpender(t, strings.Replace(monthly, `"unit"`, `"mode":"`+test.mode+`","unit"`, 1), `,"unpriced":"reject"`)
		for _, model := range []string{"other", ""} {
			v := w.Admit(start, dollars(model), nil)
			if v.Outcome != test.outcome || v.Reason != gate.Unpriced || v.Wait != gate.Never || !v.Unpriced || len(v.Charges) != 0 {
				t.Errorf("%s, %q: %+v", test.mode, model, v)
			}
		}
		if v := w.Admit(start, dollars("cheap"), nil); v.Outcome != gate.Allowed || v.Unpriced {
			t.Errorf("%s: %+v", test.mode, v)
		}
		if v := w.Admit(start, with(dollars("other"), func(r *Request) { r.Tokens = false }), nil); v.Outcome != gate.Allowed || v.Unpriced {
			t.Errorf("%s: a request that uses no tokens: %+v", test.mode, v)
		}
	}
}

// A month ends while requests run: each is charged to the month in which it ends, and what is reserved holds until then.
func TestAMonthEndsWhileRequestsRun(t *testing.T) {
	w := newSpender(t, monthly, "")
	w.clockAt(t, start, "2024-02-29T23:59:59Z")
	v, across := w.Admit(start, dollars("cheap"), nil), w.Admit(start, dollars("cheap"), nil)
	w.settleAt(t, 0, v, 2000, 4000) // ten thousandths of a dollar: all of it
	refused := w.Admit(start, dollars("cheap"), nil)
	if !refused.Outcome.Refuses() || refused.Wait != time.Second {
		t.Errorf("%+v", refused.Verdict)
	}
	const march = start + 1*second
	if v := w.Admit(march, dollars("cheap"), nil); v.Outcome.Refuses() {
		t.Errorf("%+v", v.Verdict)
	} else {
		w.Refund(march, v.Charges)
	}
	state := w.state(t, march, 0, request("ann"))
	expect(t, "left in March, while it runs", state.Balance(w.limits[0].rate), 10_000_000-500_000)
	w.settleAt(t, 1*second, across, 100, 100)
	state = w.state(t, march, 0, request("ann"))
	expect(t, "left in March", state.Balance(w.limits[0].rate), 10_000_000-300_000)
	look, err := w.Look(march, w.named(t, "b", "ann"))
	if err != nil || look.Used != 300_000 || look.Quantity != 10_000_000 || look.Remaining != 9_700_000 || look.Ends != 31*24*time.Hour {
		t.Errorf("%+v, %v", look, err)
	}
}

func (w *world) settleAt(t fataler, after int64, v Admission, prompt, completion int64) {
	t.Helper()
	u := Usage{Prompt: prompt, Completion: completion, Total: prompt + completion}
	u.Spend = w.Spend("cheap", "", u, 200)
	if o := w.Settle(start+clock.Moment(after), v.Charges, "cheap", u, 200); o != (Outcome{}) {
		t.Fatalf("%+v", o)
	}
}

// Dollars are granted, and so is another quantity; and what flows in is exact.
func TestDollarsAreGranted(t *testing.T) {
	w := newSpender(t, `[{"name":"b","per":["user"],"unit":"usd","quantity":0.01,"window":"10s"}]`, "")
	of := w.named(t, "b", "ann")
	limit, subject := of.IDs()
	w.Allow([]grant.Grant{{Limit: limit, Subject: subject, Kind: grant.More, Amount: 5_000_000, Until: start + 100*second}})
	if look, err := w.Look(start, of); err != nil || look.Burst != 15_000_000 || look.Remaining != 15_000_000 {
		t.Errorf("%+v, %v", look, err)
	}
	w.Allow([]grant.Grant{{Limit: limit, Subject: subject, Kind: grant.Quantity, Amount: 1e16, Until: start + 100*second}})
	if look, err := w.Look(start, of); err != nil || look.Burst != 1e16 || look.Quantity != 1e16 {
		t.Errorf("%+v, %v", look, err)
	}
	w.Allow(nil)
	v := w.Admit(start, dollars("cheap"), nil)
	w.spends(t, v, "cheap", "", 10_000, 0, 200)
	state := w.state(t, start+second/2+1, 0, request("ann"))
	expect(t, "flowed in after half a second and a bit", state.Balance(w.limits[0].rate), 500_000)
}

// However many requests of whatever use: what is left is the quantity less the exact sum of what each costs, rounded once.
func TestSettlementsAreTheExactSum(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := &world{store: recordtest.NewMemory()}
		w.Set, w.picker = worker(t, `{"limits":[{"name":"b","unit":"usd","quantity":1000000000,"window":"month"}],
			"prices":[{"prompt":0.0375,"cached":0.00375,"completion":0.150000001,"request":0.000000003}]}`, w.store)
		exact := new(big.Int)
		for range rapid.IntRange(1, 30).Draw(t, "requests") {
			u := Usage{Prompt: rapid.Int64Range(0, 3_000_000).Draw(t, "prompt"), Completion: rapid.Int64Range(0, 200_000).Draw(t, "completion")}
			u.Cached, u.Total = rapid.Int64Range(0, u.Prompt).Draw(t, "cached"), u.Prompt+u.Completion
			v := w.Admit(start, request("ann"), nil)
			u.Spend = w.Spend("m", "", u, 200)
			w.Settle(start, v.Charges, "m", u, 200)
			millionths := (u.Prompt-u.Cached)*37_500_000 + u.Cached*3_750_000 + u.Completion*150_000_001 + 3*1_000_000
			exact.Add(exact, big.NewInt((millionths+500_000)/1_000_000))
		}
		if left := w.left(t); exact.Cmp(big.NewInt(1e18-left)) != 0 {
			t.Fatalf("%d is used, exactly %d", int64(1e18)-left, exact)
		}
	})
}

func TestDollarsAllocateNothing(t *testing.T) {
	w := newSpender(t, `[{"name":"b","per":["user"],"unit":"usd","quantity":1000000,"window":"month"}]`, "")
	w.store.InPlace = true
	r, other := dollars("cheap"), dollars("other")
	var charges []Charge
	served := func() {
		for _, r := range [...]*Request{r, other} {
			v := w.Admit(start, r, charges[:0])
			charges = v.Charges
			u := Usage{Prompt: 10, Completion: 5, Total: 15}
			u.Spend = w.Spend(r.Model, "dear-2024", u, 200)
			w.Settle(start, charges, r.Model, u, 200)
			w.Used(start, charges, r, r.Model, u, 200)
			if v.Unpriced {
				w.NoteUnpriced(start, r.Model)
			}
		}
	}
	served()
	if n := testing.AllocsPerRun(100, served); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A reservation is rounded up: no request holds less than it may cost.
func TestReservationsAreRoundedUp(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		amount := rapid.Int64Range(0, 1<<40).Draw(t, "amount")
		units := ceil(amount, moneyGrain)
		if held := units * moneyGrain; held < amount || held-amount >= moneyGrain {
			t.Fatalf("%d is held as %d", amount, held)
		}
		state := bucket.State{Reserved: [2]uint32{uint32(units), 0}}
		if got := state.Balance(bucket.Rate{Burst: 1 << 50, Grain: moneyGrain}); got != 1<<50-units*moneyGrain {
			t.Fatal(got)
		}
	})
}
