package lease

import (
	"strconv"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/record/recordtest"
)

const (
	second = clock.Moment(time.Second)
	start  = 1000 * second
)

var hourly = &Terms{Name: "l", Quantity: 1000, Unit: "HOUR", Period: time.Hour}

func want(id uint64) *Want {
	return &Want{ID: id, Limit: 7, Subject: id, Terms: hourly, Need: 10}
}

// asks has a client want something, and gives its call.
func asks(t *testing.T, c *Client, now clock.Moment, id uint64) string {
	t.Helper()
	if _, err := c.Front(now, id, hourly); err != nil {
		t.Fatal(err)
	}
	c.Want(now, want(id))
	body, err := c.Call(now, "llm", time.Second)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

const (
	status10 = `{"code":"OK","currentLimit":{"requestsPerUnit":4294967295,"unit":"HOUR"},"limitRemaining":4294967195,"durationUntilReset":"60s"}`
	beaten   = `{"code":"OK","currentLimit":{"requestsPerUnit":4294967295,"unit":"MONTH"},"limitRemaining":4200000000,"durationUntilReset":"86400s"}`
	later    = `{"statuses":[` + status10 + `,` + own10 + `,` + `{"code":"OK","currentLimit":{"requestsPerUnit":4294967295,"unit":"MONTH"},"limitRemaining":4199999999,"durationUntilReset":"86400s"}]}`
	own10    = `{"code":"OK","currentLimit":{"requestsPerUnit":4294967295,"unit":"HOUR"},"limitRemaining":4294967285,"durationUntilReset":"60s"}`
	granted  = `{"statuses":[` + status10 + `,` + own10 + `,` + beaten + `]}`
)

func TestWhatIsAsked(t *testing.T) {
	c := New(recordtest.NewMemory(), "n", 6)
	want := `{"domain":"llm","descriptors":[{"entries":[{"key":"limit","value":"l"},{"key":"subject","value":"{00000000000000000000000000000000}"}],` +
		`"hitsAddend":"10","limit":{"requestsPerUnit":4294967295,"unit":"HOUR"}},` +
		`{"entries":[{"key":"limit","value":"l"},{"key":"subject","value":"{00000000000000000000000000000000}"},{"key":"proxy","value":"7"}],` +
		`"hitsAddend":"10","limit":{"requestsPerUnit":4294967295,"unit":"HOUR"}},` +
		`{"entries":[{"key":"proxy","value":"7"}],"hitsAddend":"1048576","limit":{"requestsPerUnit":4294967295,"unit":"MONTH"}}]}`
	if got := asks(t, c, start, 1); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if body, _ := c.Call(start, "llm", time.Second); body != nil {
		t.Error("a second call while one is under way")
	}
	if err := c.Answered(start+second/100, 200, []byte(granted)); err != nil || len(c.Credits) != 1 || c.Credits[0].Amount != 10 {
		t.Fatal(err, c.Credits)
	}
	if end := c.Credits[0].End; end != start+59*second {
		t.Errorf("it is void after %v", time.Duration(end-start))
	}
	if err := c.Answered(start+second/100, 200, []byte(granted)); err != ErrStray || len(c.Credits) != 0 {
		t.Error("an answer that comes twice counts twice", err, c.Credits)
	}
}

// One worker asks at a time, for one subject; when it dies, another one does.
func TestOneWorkerAsksAtATime(t *testing.T) {
	store := recordtest.NewMemory()
	a, b := New(store, "n", 6), New(store, "n", 6)
	if asks(t, a, start, 1) == "" {
		t.Fatal("it doesn't ask")
	}
	if asks(t, b, start+second, 1) != "" {
		t.Error("two ask at once")
	}
	if asks(t, b, start+second, 2) == "" {
		t.Error("nobody asks for another subject")
	}
	_ = b.Answered(start+second, 200, []byte(granted))
	if asks(t, b, start+4*second, 1) == "" {
		t.Error("nobody asks after the one who did is dead")
	}
	_ = a.Answered(start+4*second, 200, []byte(later)) // it was not dead, but late: who asks next finds what it has added
	if len(a.Credits) != 1 || a.Credits[0].Amount != 0 {
		t.Error(a.Credits)
	}
	if asks(t, a, start+4*second, 1) != "" {
		t.Error("a late answer ends the ask of another")
	}
}

// Gateways of one namespace that ask different services, or one for different domains, take each other's counts for no loss; nor does a gateway that is configured anew.
func TestServicesHavePulsesOfTheirOwn(t *testing.T) {
	store := recordtest.NewMemory()
	a, b := New(store, "n", 6), New(store, "n", 6)
	a.Ask("ratelimit/llm")
	b.Ask("ratelimit/other")
	for i, now := range []clock.Moment{start, start + 2*second, start + 4*second} {
		for service, c := range []*Client{a, b} {
			if asks(t, c, now, uint64(10*i+service)) == "" {
				t.Fatal("it doesn't ask")
			}
			told := strings.Replace(granted, "4200000000", strconv.Itoa(4200000000-1000*service-i), 1)
			if err := c.Answered(now, 200, []byte(told)); err != nil {
				t.Errorf("%d of service %d: %v", i, service, err)
			}
		}
	}
	asks(t, a, start+6*second, 99)
	a.Ask("ratelimit/other")
	if err := a.Answered(start+6*second, 200, []byte(strings.Replace(granted, "4200000000", "4199999900", 1))); err != nil {
		t.Error("to a call of before", err)
	}
	asks(t, a, start+8*second, 98)
	if err := a.Answered(start+8*second, 200, []byte(strings.Replace(granted, "4200000000", "4199998900", 1))); err != nil {
		t.Error("to the next one", err)
	}
	asks(t, b, start+10*second, 97)
	if err := b.Answered(start+10*second, 200, []byte(strings.Replace(granted, "4200000000", "4199998950", 1))); err == nil {
		t.Error("a loss isn't noticed")
	}
}

// What can't be the service's answer to what was asked grants nothing.
func TestAnswersThatAreNone(t *testing.T) {
	for _, body := range []string{
		"", "{", "null", "[]", `{"statuses":[]}`, `{"statuses":{}}`, `{"statuses":[1]}`, `{"statuses":[{}]}`,
		strings.Replace(granted, `"currentLimit":{"requestsPerUnit":4294967295,"unit":"HOUR"},`, "", 1),
		strings.Replace(granted, "4294967295", "1000", 1), strings.Replace(granted, "60s", "3601s", 1), strings.Replace(granted, "60s", "-60s", 1),
		strings.Replace(granted, "60s", "0s", 1), strings.Replace(granted, "60s", "60", 1), strings.Replace(granted, "4294967195", "4294967286", 1), strings.Replace(granted, "4294967285", "4294967286", 1),
		strings.Replace(granted, "4294967195", "-1", 1), strings.Replace(granted, "4294967195", "1e2", 1), strings.Replace(granted, "OK", "MAYBE", 1),
		strings.Replace(granted, `[{`, `[{"code":"OK"},{`, 1), strings.Replace(granted, `"statuses"`, `"statuses":[],"statuses"`, 1)[:40],
		granted + granted, strings.Repeat(" ", MostBytes) + granted, strings.Replace(granted, `4294967195`, `[900]`, 1),
		`{"statuses":[` + strings.Repeat(`{"code":"OK"},`, 3000) + `{}]}`,
	} {
		c := New(recordtest.NewMemory(), "n", 6)
		asks(t, c, start, 1)
		if err := c.Answered(start, 200, []byte(body)); err == nil || len(c.Credits) > 0 || !c.Down(start, time.Second) {
			t.Errorf("%.80s: %v, %v", body, err, c.Credits)
		}
		if asks(t, c, start+second, 1) == "" {
			t.Errorf("%.80s: nobody asks again", body)
		}
	}
}

// An answer of a window that is over, or whose window ends before it comes, grants nothing.
func TestAnswersOfAnotherTime(t *testing.T) {
	c := New(recordtest.NewMemory(), "n", 6)
	asks(t, c, start, 1)
	_ = c.Answered(start+second, 200, []byte(strings.ReplaceAll(granted, "60s", "1s")))
	if c.Credits[0].Amount != 0 {
		t.Error("of a window that is over", c.Credits)
	}
	asks(t, c, start+2*second, 1)
	_ = c.Answered(start+3*second, 200, []byte(strings.ReplaceAll(later, "60s", "3600s")))
	if c.Credits[0].Amount != 10 || c.Credits[0].End != start+3601*second {
		t.Error("of the next one", c.Credits)
	}
}

// The end of a window is known the better the more answers there are, and never too late.
func TestTheEndOfAWindow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := New(recordtest.NewMemory(), "n", 6)
		offset := clock.Moment(rapid.Int64Range(0, int64(10*time.Hour)).Draw(t, "the service's clock"))
		now, hour := start, clock.Moment(time.Hour)
		for range rapid.IntRange(1, 40).Draw(t, "answers") {
			now += clock.Moment(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "pause"))
			asked := now
			now += clock.Moment(rapid.Int64Range(0, int64(time.Second)).Draw(t, "there"))
			reset := 3600 - int64((now+offset)/second)%3600
			end := now + hour - (now+offset)%hour
			now += clock.Moment(rapid.Int64Range(0, int64(time.Second)).Draw(t, "back"))
			if got := c.ends(time.Hour, asked, now, time.Duration(reset)*time.Second); got > end || got < end-3*second {
				t.Fatalf("%v before the end", time.Duration(end-got))
			}
		}
	})
}

// The book keeps the entries that were asked for last, and reads whatever there is.
func TestTheBook(t *testing.T) {
	store := recordtest.NewMemory()
	c := New(store, "n", 6)
	for i := range uint64(3 * mostEntries) {
		_ = c.book.change(i*pages, start+clock.Moment(i), func(e *Entry) { e.Taken, e.At, e.Empty, e.Known = int64(i)+1, start+clock.Moment(i), true, true })
	}
	for i := range uint64(3 * mostEntries) {
		e, err := c.Look(start, i*pages)
		if kept := i >= 2*mostEntries; err != nil || kept != (e.Taken == int64(i)+1) || kept != e.Empty || kept != e.Known {
			t.Errorf("%d: %+v, %v", i, e, err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		c.book.decode(rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(t, "a record"))
	})
	if keys, bytes := store.Size(); keys != 1 || bytes > 2100 {
		t.Error(keys, bytes)
	}
}

// Whether all was lost or only the last shows in what the service tells of the proxy's calls.
func TestAPulseTellsALossOfAllFromOneOfTheLast(t *testing.T) {
	c := New(recordtest.NewMemory(), "n", 6)
	c.Ask("s")
	now := start
	call := func(told int64) {
		now += 4 * second
		if begun, err := c.beginCall(now); !begun || err != nil {
			t.Fatal(begun, err)
		}
		_, _ = c.endCall(now, &status{remaining: MostQuantity - told, limit: MostQuantity, reset: 24 * time.Hour})
	}
	c.pulseAt = c.nextAt
	for i, test := range []struct {
		told     int64
		era, all uint64
	}{{opening, 0, 0}, {opening + 1, 0, 0}, {opening + 1, 1, 0}, {2*opening + 1, 1, 0}, {3, 2, 2}, {opening + 3, 2, 2}, {opening + 1, 3, 2}} {
		if call(test.told); c.pulse.era != test.era || c.pulse.all != test.all {
			t.Errorf("call %d: %+v", i, c.pulse)
		}
	}
}

// Whatever comes, and whoever wants: nothing is kept without bound.
func TestManySubjects(t *testing.T) {
	c := New(recordtest.NewMemory(), "n", 6)
	for i := range uint64(3 * mostFronts) {
		if _, err := c.Front(start, i, hourly); err != nil {
			t.Fatal(err)
		}
		w := want(i)
		c.Want(start, w)
	}
	if len(c.watch) > mostWatched {
		t.Errorf("%d are watched", len(c.watch))
	}
	if len(c.fronts) > mostFronts || len(c.wants) != mostWants {
		t.Errorf("%d known, %d wanted", len(c.fronts), len(c.wants))
	}
	body, _ := c.Call(start, "llm", time.Second)
	if n := strings.Count(string(body), `"}],"hitsAddend"`); n != 2*mostAsks+1 {
		t.Error(strconv.Itoa(n) + " in a call")
	}
}
