package wasmtest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/spillway-proxy/spillway/e2e/support/wasmhost"
)

// Windows of the calendar, where the clocks are the test's: the ends of months and leap days while requests run, and clocks that are set by hours.

// windowOf is a configuration with a limit of three requests for each user in a window.
func windowOf(window string) string {
	return strings.Replace(limitOf("requests", 3), `"window":"1h"`, window, 1)
}

// office is a process with workers, as many as there are requests in a window.
type office struct {
	*proxy
	vms []*wasmhost.VM
}

func newOffice(t *testing.T, at time.Time, config string) *office {
	t.Helper()
	host := stopIteration
	host.Start = at
	o := &office{proxy: newProxy(t, host)}
	for range 3 {
		o.vms = append(o.vms, o.worker(config))
	}
	return o
}

// pass has time pass, and every worker look at the clock.
func (o *office) pass(d time.Duration) {
	o.Advance(d)
	for _, vm := range o.vms {
		vm.Tick()
	}
}

// asks has each worker asked by a user, and gives what came of it.
func (o *office) asks(user string) (streams []*wasmhost.Stream) {
	for _, vm := range o.vms {
		streams = append(streams, request{user: user}.ask(vm))
	}
	return streams
}

func TestTheEndOfAWindowWhileRequestsRun(t *testing.T) {
	for name, test := range map[string]struct{ window, end, next string }{
		"a month":                     {`"window":"month"`, "2026-12-01T00:00:00Z", "2027-01-01T00:00:00Z"},
		"a year":                      {`"window":"month"`, "2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"},
		"the day before a leap day":   {`"window":"day"`, "2028-02-29T00:00:00Z", "2028-03-01T00:00:00Z"},
		"a leap day":                  {`"window":"day"`, "2028-03-01T00:00:00Z", "2028-03-02T00:00:00Z"},
		"a leap year's February":      {`"window":"month"`, "2028-03-01T00:00:00Z", "2028-04-01T00:00:00Z"},
		"another year's February":     {`"window":"month"`, "2027-03-01T00:00:00Z", "2027-04-01T00:00:00Z"},
		"a century's, without a leap": {`"window":"month"`, "2100-03-01T00:00:00Z", "2100-04-01T00:00:00Z"},
		"a month, far east":           {`"window":"month","timezone":"+14:00"`, "2026-11-30T10:00:00Z", "2026-12-31T10:00:00Z"},
		"a month, in a quarter":       {`"window":"month","timezone":"+05:45"`, "2028-02-29T18:15:00Z", "2028-03-31T18:15:00Z"},
		"a day, far west":             {`"window":"day","timezone":"-09:30"`, "2028-02-29T09:30:00Z", "2028-03-01T09:30:00Z"},
		"a day that others shorten":   {`"window":"day","timezone":"-05:00"`, "2026-03-08T05:00:00Z", "2026-03-09T05:00:00Z"},
		"a week":                      {`"window":"week"`, "2026-11-30T00:00:00Z", "2026-12-07T00:00:00Z"},
		"a week over a year's end":    {`"window":"week","timezone":"+08:00"`, "2027-01-03T16:00:00Z", "2027-01-10T16:00:00Z"},
		"an hour":                     {`"window":"hour"`, "2026-06-30T23:00:00Z", "2026-07-01T00:00:00Z"},
		"90 seconds":                  {`"window":"90s","refill":"window"`, "2026-11-28T13:30:00Z", "2026-11-28T13:31:30Z"},
	} {
		t.Run(name, func(t *testing.T) {
			end, next := instant(t, test.end), instant(t, test.next)
			o := newOffice(t, end.Add(-30*time.Second), windowOf(test.window))
			running := request{user: "eve"}.send(o.vms[0])
			statuses(t, o.asks("ann"), "200", "200", "200")
			refused := o.asks("ann")
			statuses(t, refused, "429", "429", "429")
			check(t, "how long to wait", header(refused[1].ClientHeaders, "retry-after"), "30")
			o.pass(29 * time.Second)
			statuses(t, o.asks("ann"), "429", "429", "429")
			o.pass(time.Second)
			answer(running, completion(76)) // of a request that was sent, and so was charged, before
			statuses(t, append(o.asks("ann"), o.asks("eve")...), "200", "200", "200", "200", "200", "200")
			refused = append(o.asks("ann"), o.asks("eve")...)
			statuses(t, refused, "429", "429", "429", "429", "429", "429")
			check(t, "how long to wait then", header(refused[0].ClientHeaders, "retry-after"), fmt.Sprint(int(next.Sub(end).Seconds())))
			o.pass(next.Sub(end) - time.Second)
			statuses(t, o.asks("ann"), "429", "429", "429")
			o.pass(time.Second)
			statuses(t, o.asks("ann"), "200", "200", "200")
		})
	}
}

func instant(t *testing.T, text string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// A clock is set by hours while requests run, and the workers come to know it one after the other: each time that it comes into a later window that gives its
// quantity, once; set back it gives none.
func TestAClockThatIsSetByHours(t *testing.T) {
	for seed := range uint64(12) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			w := [...]struct {
				window       string
				length, zone time.Duration
			}{{`"window":"hour"`, time.Hour, 0}, {`"window":"90s","refill":"window"`, 90 * time.Second, 0}, {`"window":"day","timezone":"-09:30"`, 24 * time.Hour, -9*time.Hour - 30*time.Minute}}[seed%3]
			d := &disorder{Rand: rand.New(rand.NewPCG(seed, 1)), office: newOffice(t, instant(t, "2028-02-29T12:30:00Z"), windowOf(w.window)), length: w.length, zone: w.zone}
			for range 20 {
				d.round()
			}
			if d.passed < 3 || d.passed > 3*d.begun {
				t.Errorf("%d have passed, want no more than 3 in each of %d windows", d.passed, d.begun)
			}
		})
	}
}

// disorder is an office whose clock is set again and again.
type disorder struct {
	*rand.Rand
	*office
	length, zone  time.Duration // of windows
	latest        int64         // window of the clock
	begun, passed int           // windows and requests
}

// round is some seconds, of which all workers know in the end.
func (d *disorder) round() {
	if d.ask(); d.IntN(2) == 0 {
		d.SetWall(d.Now().Add(time.Duration(d.IntN(13)-6) * time.Hour))
	}
	for range 4 {
		d.Advance(time.Second)
		for _, i := range d.Perm(len(d.vms)) {
			d.vms[i].Tick()
			d.ask()
		}
	}
	if d.IntN(4) == 0 { // everybody has gone home
		d.pass(time.Duration(d.IntN(40)) * time.Second)
	}
}

func (d *disorder) ask() {
	window := d.Now().Add(d.zone).Unix() / int64(d.length/time.Second)
	if window > d.latest {
		d.begun++
	}
	d.latest = window
	for range 6 {
		if (request{user: "ann"}).ask(d.vms[d.IntN(len(d.vms))]).ClientStatus == "200" {
			d.passed++
		}
	}
}
