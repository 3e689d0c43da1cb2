package limit

import (
	"math"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/bucket"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/ident"
)

// The seed: 300 completion tokens an hour, answers of 76.
func TestTheFifthRequestOfTheSeedIsDenied(t *testing.T) {
	w := newWorld(t, `[{"name":"u","per":["user"],"unit":"completionTokens","quantity":300,"window":"1h"}]`)
	alice := with(request("alice"), func(r *Request) { r.Estimate = Estimate{Prompt: 26, Output: 100, OutputBound: 100} })
	for range 4 {
		w.settle(t, start, w.admit(t, start, alice), 26, 76)
	}
	v := w.Admit(start, alice, nil)
	if !v.Outcome.Refuses() {
		t.Fatal("the fifth passes")
	}
	want := gate.Verdict{Outcome: gate.Rejected, Gate: gate.Limits, Reason: config.CompletionTokens.Reason, Measured: 304, Threshold: 300, Requested: 100, Wait: 48*second + 1}
	if d := v.Verdict; d.Limit.Name != "u" || d.Measured != want.Measured || d.Requested != want.Requested || d.Wait < 48*second || d.Wait > 48*second+millionth {
		t.Errorf("got %+v, want %+v", d, want)
	}
	w.admit(t, start, request("bob"))
	if v := w.Admit(start+48*second, alice, nil); !v.Outcome.Refuses() {
		t.Error("passes with a balance of nothing")
	}
	w.admit(t, start+clock.Moment(v.Wait), alice)
}

// millionth is the time in which a millionth of a token flows into the seed's bucket.
const millionth = time.Hour / (300 * bucket.Micro) * 2

func TestEachSubjectHasABucketOfItsOwn(t *testing.T) {
	change := map[string]func(*Request){
		"user":     func(r *Request) { r.Caller.User = "another" },
		"tenant":   func(r *Request) { r.Caller.Tenant = "another" },
		"key":      func(r *Request) { r.Caller.Key = "another" },
		"model":    func(r *Request) { r.Model = "another" },
		"priority": func(r *Request) { r.Caller.Priority = config.Low },
		"header":   func(*Request) {},
	}
	for _, test := range []struct {
		name, per string
		own       []string // changes that lead to another bucket
	}{
		{"nobody in particular", `[]`, nil},
		{"the user", `["user"]`, []string{"user"}},
		{"the tenant", `["tenant"]`, []string{"tenant"}},
		{"the key", `["key"]`, []string{"key"}},
		{"the model", `["model"]`, []string{"model"}},
		{"the priority", `["priority"]`, []string{"priority"}},
		{"a header", `["header:X-Team"]`, []string{"header"}},
		{"user and model", `["user","model"]`, []string{"user", "model"}},
		{"tenant, header and user", `["tenant","header:x-team","user"]`, []string{"user", "tenant", "header"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, `[{"name":"l","per":`+test.per+`,"unit":"requests","quantity":1,"window":"1h"}]`)
			own := map[string]bool{}
			for _, name := range test.own {
				own[name] = true
			}
			w.admit(t, start, w.team(request("alice"), "a"))
			if !w.Admit(start, w.team(request("alice"), "a"), nil).Outcome.Refuses() {
				t.Fatal("the same subject passes twice")
			}
			for name, change := range change {
				r := w.team(request("alice"), "a")
				if name == "header" {
					w.team(r, "b")
				}
				passes := !w.Admit(start, with(r, change), nil).Outcome.Refuses()
				expect(t, "another "+name+" passes", passes, own[name])
			}
		})
	}
}

// team gives the request a header x-team.
func (w *world) team(r *Request, value string) *Request {
	r.Headers = &ident.Headers{}
	w.picker.Pick([][2]string{{"x-team", value}}, r.Headers)
	return r
}

// What two subjects are made of must not run together.
func TestSubjectsDoNotRunTogether(t *testing.T) {
	w := newWorld(t, `[{"name":"l","per":["user","tenant"],"unit":"requests","quantity":1,"window":"1h"}]`)
	pair := func(user, tenant string) *Request {
		return with(request(user), func(r *Request) { r.Caller.Tenant = tenant })
	}
	w.admit(t, start, pair("ab", "c"))
	w.admit(t, start, pair("a", "bc"))
	w.admit(t, start, pair("", "abc"))
}

func TestALimitAppliesToWhatItMatches(t *testing.T) {
	tests := []struct {
		name, match string
		change      func(*Request)
		want        bool
	}{
		{"everything", `{}`, func(*Request) {}, true},
		{"any model", `{"models":["*"]}`, func(*Request) {}, true},
		{"a model", `{"models":["x-*","llama-*"]}`, func(r *Request) { r.Model = "llama-3" }, true},
		{"another model", `{"models":["x-*","llama-*"]}`, func(r *Request) { r.Model = "gpt-4" }, false},
		{"an operation", `{"operations":["embeddings","chat"]}`, func(*Request) {}, true},
		{"another operation", `{"operations":["embeddings"]}`, func(*Request) {}, false},
		{"a priority", `{"priorities":["low","normal"]}`, func(*Request) {}, true},
		{"another priority", `{"priorities":["low"]}`, func(*Request) {}, false},
		{"a tenant", `{"tenants":["ten*"]}`, func(*Request) {}, true},
		{"another tenant", `{"tenants":["ten*"]}`, func(r *Request) { r.Caller.Tenant = "x" }, false},
		{"a header", `{"headers":{"X-Team":"a*"}}`, func(*Request) {}, true},
		{"another header", `{"headers":{"x-team":"b"}}`, func(*Request) {}, false},
		{"only some of what it wants", `{"tenants":["tenant"],"priorities":["high"]}`, func(*Request) {}, false},
		{"no header", `{"headers":{"x-other":"?*"}}`, func(*Request) {}, false},
		{"no header, and any value", `{"headers":{"x-other":"*"}}`, func(*Request) {}, false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, `[{"name":"l","match":`+test.match+`,"unit":"requests","quantity":1,"window":"1h"}]`)
			r := with(w.team(request("alice"), "a1"), test.change)
			expect(t, "charges", len(w.admit(t, start, r)) == 1, test.want)
			expect(t, "the second is denied", w.Admit(start, r, nil).Outcome.Refuses(), test.want)
		})
	}
}

// An operation without tokens, such as the list of models, is left alone by limits of tokens.
func TestLimitsOfTokensApplyToWhatHasTokens(t *testing.T) {
	w := newWorld(t, `[{"name":"r","unit":"requests","quantity":9,"window":"1h"},
		{"name":"p","unit":"promptTokens","quantity":9,"window":"1h"},{"name":"c","unit":"cost","quantity":9,"window":"1h"}]`)
	charges := w.admit(t, start, with(request("alice"), func(r *Request) { r.Tokens = false }))
	expect(t, "charges", len(charges), 1)
}

func TestUnitsAreReservedAndSettled(t *testing.T) {
	used := Usage{Prompt: 100, Cached: 40, Completion: 50, Reasoning: 30, Total: 150}
	for _, test := range []struct {
		unit              string
		reserved, settled int64
	}{
		{"requests", 1, 1},
		{"promptTokens", 10, 100},
		{"completionTokens", 20, 50},
		{"totalTokens", 30, 150},
		{"cost", 10*2 + 20*8, 60*2 + 40*1 + 20*8 + 30*4},
	} {
		t.Run(test.unit, func(t *testing.T) {
			w := &world{}
			w.Set, _ = worker(t, `{"usage":{"cost":[{"models":["other"],"prompt":1000},{"models":["*"],"prompt":2,"cached":1,"completion":8,"reasoning":4}]},
				"limits":[{"name":"l","unit":"`+test.unit+`","quantity":1000,"window":"1h"}]}`, newWorld(t, `[]`).store)
			r := request("alice")
			charges := w.admit(t, start, r)
			expect(t, "balance while it runs", w.balance(t, start, 0, r), 1000-test.reserved)
			if o := w.Settle(start, charges, "m", used, 200); o != (Outcome{}) {
				t.Errorf("%+v", o)
			}
			expect(t, "balance at the end", w.balance(t, start, 0, r), 1000-test.settled)
			if got := w.state(t, start, 0, r).Reserved; got != [2]uint32{} {
				t.Errorf("still reserved: %v", got)
			}
		})
	}
}

func TestACostMayBeAFraction(t *testing.T) {
	w := &world{}
	w.Set, _ = worker(t, `{"usage":{"cost":[{"prompt":0.0015,"completion":0.002}]},"limits":[{"name":"l","unit":"cost","quantity":10,"window":"1h"}]}`, newWorld(t, `[]`).store)
	r := request("alice")
	w.settle(t, start, w.admit(t, start, r), 1, 1)
	expect(t, "used", w.state(t, start, 0, r).Used, 3500)
}

func TestARefundTakesEverythingBack(t *testing.T) {
	w := newWorld(t, `[{"name":"r","unit":"requests","quantity":9,"window":"1h"},{"name":"c","per":["user"],"unit":"completionTokens","quantity":100,"window":"1h"}]`)
	r := request("alice")
	charges := w.admit(t, start, r)
	if o := w.Refund(start+second, charges); o != (Outcome{}) {
		t.Errorf("%+v", o)
	}
	for i, want := range []int64{9, 100} {
		expect(t, "balance", w.balance(t, start+second, i, r), want)
	}
}

func TestLenientAdmission(t *testing.T) {
	w := newWorld(t, `[{"name":"l","unit":"completionTokens","quantity":100,"window":"100s"}]`)
	r := with(request("alice"), func(r *Request) { r.Estimate.Output = 5000 })
	charges := w.admit(t, start, r)                    // larger than the bucket, but the balance is above zero
	expect(t, "balance", w.balance(t, start, 0, r), 0) // what is expected is a guess: it takes the bucket at most
	if d := w.Admit(start, r, nil); !d.Outcome.Refuses() || (d.Wait == gate.Never) || d.Measured != 100 {
		t.Errorf("beside what is reserved: %+v", d)
	}
	w.settle(t, start, charges, 0, 300)
	expect(t, "debt", w.balance(t, start, 0, r), -200)
	if d := w.Admit(start+199*second, r, nil); !d.Outcome.Refuses() || d.Wait < second || d.Wait > second+second/1000 {
		t.Errorf("in debt: %+v", d)
	}
	w.admit(t, start+200*second+1000, with(r, func(r *Request) { r.Estimate.Output = 1 }))
}

func TestStrictAdmission(t *testing.T) {
	const limits = `[{"name":"l","unit":"completionTokens","quantity":100,"window":"100s","admission":"strict"}]`
	of := func(estimate, bound int64) *Request {
		return with(request("alice"), func(r *Request) { r.Estimate = Estimate{Output: estimate, OutputBound: bound} })
	}
	tests := []struct {
		name            string
		estimate, bound int64
		wait            time.Duration // seconds; -1: passes; MaxInt64: never
		requested       int64
	}{
		{"what fits passes", 40, 0, -1, 0},
		{"what does not has to wait", 41, 0, 1, 41},
		{"a bound is reserved whole", 1, 41, 1, 41},
		{"the whole bucket fits when it is full", 100, 0, 60, 100},
		{"an expectation above it is a guess", 5000, 0, 60, 100},
		{"a bound above it never fits", 1, 101, math.MaxInt64, 101},
		{"nothing always fits", 0, 0, -1, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, limits)
			w.admit(t, start, of(60, 0))
			d := w.Admit(start, of(test.estimate, test.bound), nil)
			if test.wait < 0 {
				if d.Outcome.Refuses() {
					t.Errorf("denied: %+v", d)
				}
				return
			}
			if !d.Outcome.Refuses() {
				t.Fatal("passes")
			}
			wait := test.wait
			if wait != math.MaxInt64 {
				wait *= second
			}
			expect(t, "wait", d.Wait, wait)
			expect(t, "never", d.Wait == gate.Never, test.wait == math.MaxInt64)
			expect(t, "used", d.Measured, 60.0)
			expect(t, "requested", d.Requested, test.requested)
		})
	}
}

func TestABurstMayDifferFromTheQuantity(t *testing.T) {
	w := newWorld(t, `[{"name":"l","unit":"requests","quantity":60,"window":"1m","burst":2}]`)
	w.admit(t, start, request("alice"))
	w.admit(t, start, request("bob"))
	if d := w.Admit(start, request("alice"), nil); !d.Outcome.Refuses() || d.Wait != second {
		t.Errorf("the third: %+v", d)
	}
	w.admit(t, start+second, request("alice"))
}

func TestModes(t *testing.T) {
	limits := func(mode string) string {
		return `[{"name":"r","unit":"requests","quantity":1,"window":"1h","mode":"` + mode + `"}]`
	}
	for _, test := range []struct {
		plugin, own, want string
	}{
		{"enforce", "enforce", "enforce"}, {"enforce", "shadow", "shadow"}, {"enforce", "off", "off"},
		{"shadow", "enforce", "shadow"}, {"shadow", "shadow", "shadow"}, {"shadow", "off", "off"},
		{"off", "enforce", "off"}, {"off", "shadow", "off"}, {"off", "off", "off"},
	} {
		t.Run(test.plugin+" over "+test.own, func(t *testing.T) {
			w := &world{}
			w.Set, _ = worker(t, `{"mode":"`+test.plugin+`","limits":`+limits(test.own)+`}`, newWorld(t, `[]`).store)
			first := w.Admit(start, request("alice"), nil)
			second := w.Admit(start, request("alice"), nil)
			expect(t, "the first is charged", len(first.Charges) == 1, test.want != "off")
			expect(t, "the first says how much is left", first.Requests.Limit != nil, test.want == "enforce")
			expect(t, "the second is denied", second.Outcome.Refuses(), test.want == "enforce")
			expect(t, "the second would be denied", second.Outcome == gate.Shadowed, test.want == "shadow")
			expect(t, "the second is charged", len(second.Charges), 0)
		})
	}
}

// A shadow shows what enforcing would do: what it would refuse would use nothing.
func TestAShadowDoesNotChargeWhatItWouldRefuse(t *testing.T) {
	w := newWorld(t, `[{"name":"s","unit":"requests","quantity":1,"window":"1h","mode":"shadow"},{"name":"e","unit":"requests","quantity":3,"window":"1h"}]`)
	r := request("alice")
	for i := range 3 {
		v := w.Admit(start, r, nil)
		expect(t, "would be denied", v.Outcome == gate.Shadowed, i > 0)
		expect(t, "denied", v.Outcome.Refuses(), false)
	}
	expect(t, "the shadow's balance", w.balance(t, start, 0, r), 0)
	expect(t, "the enforced one's", w.balance(t, start, 1, r), 0)
	v := w.Admit(start, r, nil)
	if !v.Outcome.Refuses() || v.Limit.Name != "e" {
		t.Errorf("%+v", v.Verdict)
	}
}

func TestTheLongestWaitIsTold(t *testing.T) {
	const (
		minute = `{"name":"minute","unit":"requests","quantity":1,"window":"1m"}`
		hour   = `{"name":"hour","unit":"requests","quantity":1,"window":"1h"}`
		never  = `{"name":"never","unit":"completionTokens","quantity":1,"window":"1s","admission":"strict"}`
	)
	for name, test := range map[string]struct{ limits, want string }{
		"the longest last":  {minute + "," + hour, "hour"},
		"the longest first": {hour + "," + minute, "hour"},
		"never is longest":  {never + "," + hour, "never"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, `[`+test.limits+`]`)
			free := with(request("alice"), func(r *Request) { r.Estimate = Estimate{} })
			w.admit(t, start, free)
			stated := with(request("alice"), func(r *Request) { r.Estimate.OutputBound = 2 })
			if d := w.Admit(start, stated, nil); !d.Outcome.Refuses() || d.Limit.Name != test.want {
				t.Errorf("got %+v", d)
			}
		})
	}
}

func TestTheTightestLimitOfAKindIsTold(t *testing.T) {
	w := newWorld(t, `[
		{"name":"many-requests","unit":"requests","quantity":1000,"window":"1h"},
		{"name":"few-requests","unit":"requests","quantity":10,"window":"1m"},
		{"name":"few-tokens","unit":"completionTokens","quantity":100,"window":"100s"},
		{"name":"many-tokens","unit":"totalTokens","quantity":1000,"window":"1h"},
		{"name":"shadow","unit":"totalTokens","quantity":31,"window":"1h","mode":"shadow"}]`)
	v := w.Admit(start, request("alice"), nil)
	if v.Requests.Limit == nil || v.Tokens.Limit == nil {
		t.Fatalf("%+v", v)
	}
	expect(t, "of requests", v.Requests.Limit.Name, "few-requests")
	expect(t, "requests left", v.Requests.Remaining, 9)
	expect(t, "full again in", v.Requests.Reset, 6*second)
	expect(t, "of tokens", v.Tokens.Limit.Name, "few-tokens")
	expect(t, "tokens left", v.Tokens.Remaining, 80)
	expect(t, "full again in", v.Tokens.Reset, 20*second)
}

func TestNothingIsLeftOfADebt(t *testing.T) {
	w := newWorld(t, `[{"name":"l","unit":"completionTokens","quantity":10,"window":"1h"}]`)
	v := w.Admit(start, request("alice"), nil)
	expect(t, "tokens left", v.Tokens.Remaining, 0)
}

func TestAChangedLimitKeepsItsBalances(t *testing.T) {
	const limits = `[{"name":"l","per":["user"],"unit":"completionTokens","quantity":`
	w := newWorld(t, limits+`100,"window":"1h"}]`)
	r := request("alice")
	w.settle(t, start, w.admit(t, start, r), 0, 60)
	other := w.again(t, limits+`200,"window":"2h"}]`)
	expect(t, "balance", other.balance(t, start, 0, r), 140)
	renamed := w.again(t, `[{"name":"another","per":["user"],"unit":"completionTokens","quantity":100,"window":"1h"}]`)
	expect(t, "another limit's balance", renamed.balance(t, start, 0, r), 100)
}

// A header that is sent more than once, or as a list, matches by any of its values: another one must not hide the one that is
// looked for.
func TestNoValueOfAHeaderHidesAnother(t *testing.T) {
	for _, test := range []struct {
		glob   string
		values []string
		want   bool
	}{
		{"free", []string{"free"}, true}, {"free", []string{"junk", "free"}, true}, {"free", []string{"free", "junk"}, true},
		{"free", []string{"a", "b", "c", "free"}, true}, {"free", []string{"junk, free"}, true}, {"free", []string{"a", "junk,free,b"}, true},
		{"*, *", []string{"a, b"}, true}, {"*", []string{""}, true}, {"*", nil, false}, {"free", []string{"freedom", "x"}, false}, {"", []string{"a"}, false},
	} {
		w := newWorld(t, `[{"name":"l","match":{"headers":{"x-tier":"`+test.glob+`"}},"unit":"requests","quantity":1,"window":"1h"}]`)
		headers := [][2]string{{"x-other", "free"}}
		for _, value := range test.values {
			headers = append(headers, [2]string{"x-tier", value})
		}
		r := request("ann")
		w.picker.Pick(headers, r.Headers)
		expect(t, test.glob+" of "+strings.Join(test.values, "; "), len(w.admit(t, start, r)) == 1, test.want)
	}
}
