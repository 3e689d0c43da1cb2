package limit

import (
	"fmt"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/grant"
)

// near says of each of so many requests in a row whether little was left of the limit, its own need included.
func (w *world) near(t *testing.T, n int, r *Request) (all string) {
	t.Helper()
	for range n {
		v := w.Admit(start, r, nil)
		switch {
		case v.Outcome.Refuses():
			all += "x"
		case v.Nearly:
			all += "n"
		default:
			all += "."
		}
	}
	return all
}

func TestNearlyOfEveryUnit(t *testing.T) {
	for limit, want := range map[string]string{
		`"unit":"requests","quantity":10,"window":"1h","nearly":{"at":0.8}`:                                   ".......nnnx",
		`"unit":"requests","quantity":10,"window":"1h","nearly":{"at":1}`:                                     ".........nx",
		`"unit":"requests","quantity":1,"window":"1h","nearly":{"at":0.8}`:                                    "nx",
		`"unit":"requests","quantity":100,"window":"1h","burst":10,"nearly":{"at":0.07}`:                      "nnnnnnnnnnx",
		`"unit":"requests","quantity":10,"window":"day","nearly":{"at":0.5}`:                                  "....nnnnnnx",
		`"unit":"requests","quantity":4,"lifetime":true,"nearly":{"at":0.75}`:                                 "..nnx",
		`"unit":"inflight","quantity":4,"nearly":{"at":0.75}`:                                                 "..nnx",
		`"unit":"totalTokens","quantity":150,"window":"1h","admission":"strict","nearly":{"at":0.6}`:          "..nnnx", // 30 tokens each
		`"unit":"promptTokens","quantity":40,"window":"1h","nearly":{"at":0.75}`:                              "..nnx",
		`"unit":"requests","quantity":3,"window":"1h","mode":"shadow","nearly":{"at":0.6}`:                    ".nn.", // the fourth would be refused
		`"unit":"requests","quantity":10,"window":"1h"`:                                                       "..........x",
		`"unit":"completionTokens","quantity":10,"window":"1h","match":{"models":["m"]},"nearly":{"at":0.01}`: "nx",
	} {
		w := newWorld(t, `[{"name":"l","per":["user"],`+limit+`}]`)
		expect(t, limit, w.near(t, len(want), request("ann")), want)
	}
}

// A share that is no sum of powers of two is met exactly.
func TestNearlyIsExact(t *testing.T) {
	for hundredths := 1; hundredths <= 100; hundredths++ {
		w := newWorld(t, fmt.Sprintf(`[{"name":"l","unit":"requests","quantity":100,"window":"1h","nearly":{"at":%g}}]`, float64(hundredths)/100))
		first := 0
		for i := 1; i <= 100 && first == 0; i++ {
			if w.Admit(start, request("ann"), nil).Nearly {
				first = i
			}
		}
		expect(t, fmt.Sprint("the first of ", hundredths, " hundredths"), first, hundredths)
	}
}

// Which limits are near is known of each charge; what comes back, by time, settlement or a grant, counts.
func TestWhatIsNearly(t *testing.T) {
	w := newWorld(t, `[{"name":"a","per":["user"],"unit":"requests","quantity":2,"window":"1h","nearly":{"at":0.9}},{"name":"b","unit":"requests","quantity":4,"window":"1h","nearly":{"at":0.5}},
		{"name":"c","unit":"requests","quantity":4,"window":"1h"}]`)
	names := func(now clock.Moment, user string) (all string) {
		for _, c := range w.Admit(now, request(user), nil).Charges {
			if l := c.Nearly(); l != nil {
				all += l.Name
			}
		}
		return all
	}
	expect(t, "one", names(start, "ann"), "")
	expect(t, "two", names(start, "ann"), "ab")
	expect(t, "another's", names(start, "bob"), "b")
	view, err := w.Look(start, w.named(t, "a", "ann"))
	expect(t, "a subject's view", fmt.Sprint(view.Nearly, err), "true <nil>")
	view, _ = w.Look(start, w.named(t, "a", "bob"))
	expect(t, "another's view", view.Nearly, false)
	expect(t, "when it is full again", names(start+clock.Moment(time.Hour), "ann"), "")
	granted := newWorld(t, `[{"name":"a","per":["user"],"unit":"requests","quantity":2,"window":"1h","nearly":{"at":0.9}}]`)
	of := granted.named(t, "a", "ann")
	granted.Allow([]grant.Grant{{Limit: of.limit.salt, Subject: uint64(of.hash), Kind: grant.Quantity, Amount: 10, Until: start + clock.Moment(time.Hour)}})
	expect(t, "of a grant", granted.near(t, 10, request("ann")), "........nn")
}

// A settlement that gives back makes the next one pass as usual, and one that takes more than was reserved is seen by the next one.
func TestNearlyAfterSettlements(t *testing.T) {
	w := newWorld(t, `[{"name":"l","per":["user"],"unit":"totalTokens","quantity":100,"window":"24h","nearly":{"at":0.5}}]`)
	first := w.Admit(start, request("ann"), nil) // 30
	expect(t, "the first", first.Nearly, false)
	expect(t, "beside the first", w.Admit(start, request("ann"), nil).Nearly, true)
	w = newWorld(t, `[{"name":"l","per":["user"],"unit":"totalTokens","quantity":100,"window":"24h","nearly":{"at":0.5}}]`)
	first = w.Admit(start, request("ann"), nil)
	w.Settle(start, first.Charges, "m", Usage{Prompt: 5, Completion: 5, Total: 10}, 200)
	expect(t, "after one that used little", w.Admit(start, request("ann"), nil).Nearly, false)
}

// What flows back between two requests, less than a unit, leaves the eighth of ten the eighth.
func TestNearlyWhileTimePasses(t *testing.T) {
	w := newWorld(t, `[{"name":"l","per":["user"],"unit":"requests","quantity":10,"window":"24h","nearly":{"at":0.8}}]`)
	var all string
	for i := range 10 {
		all += map[bool]string{true: "n", false: "."}[w.Admit(start+clock.Moment(i)*second, request("ann"), nil).Nearly]
	}
	expect(t, "one a second", all, ".......nnn")
}
