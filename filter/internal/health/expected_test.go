package health

import (
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/config"
	"github.com/spillway-proxy/spillway/filter/internal/clock"
	"github.com/spillway-proxy/spillway/filter/internal/gate"
	"github.com/spillway-proxy/spillway/filter/internal/latency"
	"github.com/spillway-proxy/spillway/filter/internal/predict"
)

// prompted is a request with a prompt of so many tokens.
func prompted(tokens int64) *Request {
	r := chat("m")
	r.Prompt = tokens
	return r
}

// pass leads a request to its end, unless it is refused: its first token comes after ttft.
func pass(t *testing.T, g *Gates, now clock.Moment, r *Request, ttft time.Duration) gate.Verdict {
	t.Helper()
	if v := judge(t, g, now, r); v.Outcome.Refuses() {
		return v
	}
	g.Sent(r)
	end := ending{Outcome: Outcome{Result: Succeeded, Stream: true, Duration: ttft + time.Second, ITL: 10 * millisecond}, ttft: ttft}
	if err := end.finish(g, now+clock.Moment(ttft), r); err != nil {
		t.Fatal(err)
	}
	return gate.Verdict{}
}

// learned are gates that know a server which takes 50 ms, and 1 ms for each token of the prompt.
func learned(t *testing.T, u *config.Upstream) (g *Gates, now clock.Moment) {
	t.Helper()
	g, now = workers(u, newStore(), 1)[0], noon
	for i := range int64(100) {
		r := prompted(i * 37 % 400)
		r.Subject = uint64(i%5) + 1
		if v := pass(t, g, now, r, time.Duration(50+r.Prompt)*time.Millisecond); v.Outcome.Refuses() {
			t.Fatalf("%+v", v)
		}
		now += second / 10
	}
	return g, now
}

// While the average is well below the threshold one request that would be above it is refused, and no other.
func TestARequestThatWouldComeTooLateIsRefused(t *testing.T) {
	u := only(gate.Latency)
	g, now := learned(t, u)
	if v := judge(t, g, now, prompted(3000)); v.Outcome.Refuses() {
		t.Fatalf("the first, which is to tell whether that is still so, is refused: %s", v.Text.String())
	}
	v := judge(t, g, now, prompted(3000))
	if v.Outcome != gate.Rejected || v.Reason != gate.TTFT || !strings.HasPrefix(v.Text.String(), "expected_ttft_3") ||
		v.Measured < 2500 || v.Measured > 4000 || v.Threshold != 1000 || v.Wait < predict.Amends || v.Wait > predict.Amends+predict.Recent {
		t.Errorf("%+v, %q", v, v.Text.String())
	}
	if v := g.Latency(now, prompted(300)); v.Outcome.Refuses() || v.Warning {
		t.Errorf("a short one: %+v", v)
	}
	if v := g.Latency(now, prompted(900)); v.Outcome.Refuses() || !v.Warning {
		t.Errorf("one that is nearly too long: %+v", v)
	}
	if v := judge(t, g, now.Add(predict.Amends), prompted(3000)); v.Outcome.Refuses() {
		t.Errorf("five seconds later none is tried: %q", v.Text.String())
	}
}

// A prompt that is slow once and quick from then on, as one that a cache of prefixes has, is let pass again.
func TestAWrongGuessIsCorrected(t *testing.T) {
	g, now := learned(t, only(gate.Latency))
	passed := 0
	for range 600 {
		if v := pass(t, g, now, prompted(3000), 100*time.Millisecond); !v.Outcome.Refuses() {
			passed++
		}
		now += second / 10
	}
	if v := judge(t, g, now, prompted(3000)); v.Outcome.Refuses() || passed < 300 {
		t.Errorf("after a minute of quick answers %q; %d of 600 have passed", v.Text.String(), passed)
	}
}

// What the request itself asks for is held against what is expected of it, not against what others have met.
func TestARequestsOwnBoundIsForWhatIsExpectedOfIt(t *testing.T) {
	g, now := learned(t, only(gate.Latency))
	g.tried = now
	for _, test := range []struct {
		prompt  int64
		bound   time.Duration
		refused string
	}{
		{10, 100 * time.Millisecond, ""}, // the average is above that
		{300, 100 * time.Millisecond, "slo_ttft_3"},
		{300, 500 * time.Millisecond, ""},
		{3000, 10 * time.Second, "expected_ttft_3"}, // it can't loosen ours
	} {
		r := prompted(test.prompt)
		r.TTFT = test.bound
		v := judge(t, g, now, r)
		if v.Outcome.Refuses() != (test.refused != "") || !strings.HasPrefix(v.Text.String(), test.refused) {
			t.Errorf("%d tokens within %v: %v, %q", test.prompt, test.bound, v.Outcome, v.Text.String())
		}
	}
}

func TestWhereItIsOffNothingIsExpected(t *testing.T) {
	u := only(gate.Latency)
	u.Latency.Predict = false
	g, now := learned(t, u)
	for range 3 {
		if v := judge(t, g, now, prompted(100_000)); v.Outcome.Refuses() {
			t.Fatalf("%q", v.Text.String())
		}
	}
}

func TestInShadowALateRequestIsOnlyToldOf(t *testing.T) {
	u := only(gate.Latency)
	u.Latency.Mode = config.Shadow
	g, now := learned(t, u)
	g.tried = now
	if v := g.Latency(now, prompted(3000)); v.Outcome != gate.Shadowed || v.Reason != gate.TTFT {
		t.Errorf("%+v", v)
	}
}

// One client with slow requests doesn't have those of others refused.
func TestOneCallersSlownessIsNotExpectedOfOthers(t *testing.T) {
	g, now := learned(t, only(gate.Latency))
	for range 50 {
		r := prompted(10)
		r.Subject = 99
		pass(t, g, now, r, 30*time.Second)
		r = prompted(10)
		r.Subject = 98
		if v := pass(t, g, now, r, 60*time.Millisecond); v.Outcome.Refuses() {
			t.Fatalf("%q", v.Text.String())
		}
		now += second / 10
	}
}

// A client that left without a token tells how long it takes at least; one that leaves at once tells nothing.
func TestClientsThatLeaveTellOfAnOverload(t *testing.T) {
	leave := func(after time.Duration) gate.Verdict {
		g, now := learned(t, only(gate.Latency))
		g.tried = now + 100*second
		for i := range 60 {
			r := prompted(10)
			r.Subject = uint64(i%7) + 1
			if v := judge(t, g, now, r); !v.Outcome.Refuses() {
				g.Sent(r)
				if err := g.Finish(now, r, Outcome{Result: Neither, Stream: true, Left: after}); err != nil {
					t.Fatal(err)
				}
			}
			now += second / 10
		}
		g.tried = now
		return judge(t, g, now, prompted(10))
	}
	if v := leave(3 * time.Second); v.Reason != gate.TTFT {
		t.Errorf("after three seconds each: %+v", v)
	}
	if v := leave(10 * time.Millisecond); v.Outcome.Refuses() {
		t.Errorf("at once: %q", v.Text.String())
	}
}

// However requests end, none is in flight for ever.
func TestWhatHasEndedIsNotInFlight(t *testing.T) {
	g := workers(upstream(), newStore(), 1)[0]
	for i := range 10 {
		r := prompted(10)
		judge(t, g, noon, r)
		g.Sent(r)
		g.Sent(r)     // once is enough
		if i%3 == 1 { // its first token comes
			if err := g.Observe(noon, r, latency.Sample{TTFT: second / 10}); err != nil || g.reading != 0 {
				t.Fatalf("%d tokens are read, %v", g.reading, err)
			}
		}
		var err error
		if i%2 == 0 {
			err = g.Cancel(noon, r)
		} else {
			err = g.Finish(noon, r, quick)
		}
		if err != nil || g.flying != 0 || g.reading != 0 {
			t.Fatalf("%d in flight, %d tokens are read, %v", g.flying, g.reading, err)
		}
	}
	if _, known := (&latency.State{}).Expect(noon, g.settings.Latency, predict.Load{Prompt: 1, InFlight: 1}); known {
		t.Error("of nothing something is expected")
	}
}

// What waits before a request gets less by a second each second, and it is told to come back when that is little enough; what its own prompt takes
// doesn't get less, and then it is told when a wrong guess may have been corrected.
func TestItIsToldWhenItWouldBeInTime(t *testing.T) {
	g, now := learned(t, only(gate.Latency))
	g.tried = now
	for range 12 {
		g.Sent(prompted(400))
	}
	v := judge(t, g, now, prompted(10))
	if want := predict.Recent.Seconds() * math.Log(v.Measured/v.Threshold); !v.Outcome.Refuses() || v.Measured < 4000 || math.Abs((v.Wait-predict.Recent/2).Seconds()-want) > 1.01 {
		t.Errorf("with twelve prompts of 400 tokens before it, of which nothing will be known in %.1f s: %+v", want, v)
	}
	bound := prompted(10) // which is missed by less than fades soon
	bound.TTFT = time.Duration((v.Measured - 1) * 1e6)
	g.settings.Latency.TTFT = time.Hour
	v = judge(t, g, now, bound)
	if v.Reason != gate.SLOTTFT || v.Wait < leastWait || v.Wait > leastWait+predict.Recent {
		t.Errorf("one that is late by a millisecond: %+v", v)
	}
}

// The throttle refuses first who would hardly be in time, and nobody who is all but sure to be.
func TestTheThrottleRefusesFirstWhoWouldBeLate(t *testing.T) {
	u := upstream()
	u.Throttle.P99.Max, u.Throttle.P99.Periods, u.Throttle.P99.Period = 10*time.Millisecond, 1, time.Second
	g, now := learned(t, u)
	refused := map[int64]int{}
	for range 200 {
		for _, tokens := range []int64{10, 700} { // 60 ms and 750 ms of a second
			r := prompted(tokens)
			r.Priority = config.Low
			if v := judge(t, g, now, r); v.Outcome.Refuses() {
				if v.Gate != gate.Throttle {
					t.Fatalf("%+v", v)
				}
				refused[tokens]++
			}
		}
		now += second / 250
		pass(t, g, now, prompted(10), 60*time.Millisecond) // else what is expected fades
	}
	if refused[10] != 0 || refused[700] < 30 {
		t.Errorf("refused by tokens: %v", refused)
	}
}

// throttled has the throttle alone in its usual state: ten streams a second for so many seconds, of which one in ten takes 40 ms to its first token and the others 10.
func throttled(t *testing.T, u *config.Upstream, seconds int) (g *Gates, now clock.Moment) {
	g, now = workers(u, newStore(), 1)[0], noon
	for i := range 10 * seconds {
		pass(t, g, now, prompted(10), time.Duration(10+30*(i%10/9))*time.Millisecond)
		now += second / 10
	}
	return g, now
}

// refusedOf is how many of some LOW streams in a row are refused; those that pass have their first token after a time, and don't end.
func refusedOf(t *testing.T, g *Gates, now clock.Moment, n int, gap, ttft time.Duration) (refused int) {
	for i := range n {
		r := prompted(10)
		r.Priority, r.Subject = config.Low, uint64(i%5)+1
		if v := judge(t, g, now, r); v.Outcome.Refuses() {
			refused++
		} else if g.Sent(r); g.Observe(now.Add(ttft), r, latency.Sample{TTFT: ttft}) != nil {
			t.Fatal("a first token can't be observed")
		}
		now = now.Add(gap)
	}
	return refused
}

// A stream may go on for minutes: that it was slow its first token says, and that is counted once.
func TestAFirstTokenTellsTheThrottle(t *testing.T) {
	u := only(gate.Throttle)
	u.Throttle.P99.Period = time.Second
	g, now := throttled(t, u, 20)
	if n := refusedOf(t, g, now, 60, second/20, second); n < 10 {
		t.Errorf("%d of 60 refused, while none of those that take a second has ended", n)
	}
	g, now = throttled(t, u, 20)
	r := prompted(10)
	judge(t, g, now, r)
	g.Sent(r)
	r.Subject = 1
	pace := g.pace
	if err := g.Observe(now, r, latency.Sample{TTFT: second, Left: true}); err != nil || g.pace != pace {
		t.Errorf("a client that left counts as an answer, %v", err)
	}
	if err := g.Observe(now, r, latency.Sample{TTFT: second}); err != nil || g.pace == pace {
		t.Errorf("a first token doesn't count, %v", err)
	}
	pace = g.pace
	if err := g.Finish(now, r, Outcome{Result: Succeeded, Stream: true, Duration: second}); err != nil || g.pace != pace {
		t.Errorf("what has had its first token counts again when it ends, %v", err)
	}
}

// More may come than usual: as long as all are answered as fast as ever the server can do with them.
func TestQuickAnswersAreNoReasonToThrottle(t *testing.T) {
	u := only(gate.Throttle)
	u.Throttle.P99.Period, u.Throttle.QPS.Window = time.Second, 30*time.Second
	for _, c := range []struct {
		ttft        time.Duration
		least, most int
	}{{10 * time.Millisecond, 0, 0}, {60 * time.Millisecond, 50, 250}, {100 * time.Millisecond, 80, 300}} {
		g, now := throttled(t, u, 20)
		if n := refusedOf(t, g, now, 300, second/100, c.ttft); n < c.least || n > c.most {
			t.Errorf("%d of 300 refused that come ten times as fast as usual, and are answered in %v", n, c.ttft)
		}
	}
}

// Of what fills the GPUs' memory a time to the first token tells nothing: there all bear the same.
func TestFullMemoryThinsAllAlike(t *testing.T) {
	g, now := learned(t, upstream())
	refused := 0
	for range 200 {
		r := prompted(10)
		r.Priority, r.Memory = config.Low, 0.95
		if v := judge(t, g, now, r); v.Outcome.Refuses() {
			refused++
		}
		now += second / 100
	}
	if refused < 50 {
		t.Errorf("%d of 200 refused", refused)
	}
}

// Whatever was learned, by whomever: once nothing more is, all pass within half a minute; until then one in five seconds does, and who is refused is
// told a time within that.
func TestNobodyIsShutOutByWhatWasLearned(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := only(gate.Latency)
		u.Latency.TTFT = time.Duration(rapid.Int64Range(int64(10*millisecond), 10*second).Draw(t, "ttft"))
		g, now := workers(u, newStore(), 1)[0], noon
		draw := func() *Request {
			r := prompted(rapid.Int64Range(0, 1<<40).Draw(t, "prompt"))
			r.Subject = rapid.Uint64Range(1, 4).Draw(t, "subject")
			return r
		}
		var open []*Request
		for range rapid.IntRange(0, 60).Draw(t, "requests") {
			r := draw()
			if v := g.Latency(now, r); v.Err != nil {
				t.Fatal(v.Err)
			} else if strings.HasPrefix(v.Text.String(), "expected") && (v.Wait < leastWait || v.Wait > 30*time.Second) {
				t.Fatalf("%+v", v)
			}
			g.Sent(r)
			open = append(open, r)
			if err := g.Observe(now, r, latency.Sample{TTFT: time.Duration(rapid.Int64Range(0, 2*3600*second).Draw(t, "took"))}); err != nil {
				t.Fatal(err)
			}
			now += clock.Moment(rapid.Int64Range(0, 2*second).Draw(t, "pause"))
		}
		passed := false
		for range 6 { // a worker tries one in predict.Amends
			v := g.Latency(now, draw())
			passed = passed || !v.Outcome.Refuses() || !strings.HasPrefix(v.Text.String(), "expected")
			now += second
		}
		if !passed {
			t.Fatal("none was tried")
		}
		for _, r := range open {
			if err := g.Finish(now, r, Outcome{Result: Neither, Stream: true}); err != nil {
				t.Fatal(err)
			}
		}
		if g.flying != 0 || g.reading != 0 {
			t.Fatalf("%d in flight, %d tokens are read", g.flying, g.reading)
		}
		now += 30 * second
		if v := g.Latency(now, draw()); v.Outcome.Refuses() && strings.HasPrefix(v.Text.String(), "expected") {
			t.Fatalf("after half a minute: %q", v.Text.String())
		}
	})
}
