package predict

import (
	"bytes"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const noon = clock.Moment(12 * time.Hour)

// taught is what n times have taught, a tenth of a second apart, of a server that takes 50 ms, 1 ms for each token, and 20 ms for each request in
// flight; and when that was.
func taught(n int) (s State, now clock.Moment) {
	r := rand.New(rand.NewPCG(1, 2))
	now = noon
	for range n {
		load := Load{Prompt: int64(r.IntN(1000)), Ahead: int64(r.IntN(500)), InFlight: 1 + r.IntN(20)}
		s.Learn(now, load, takes(load)+time.Duration(r.IntN(10))*time.Millisecond)
		now = now.Add(100 * time.Millisecond)
	}
	return s, now
}

func takes(l Load) time.Duration {
	return 50*time.Millisecond + time.Duration(l.Prompt+l.Ahead)*time.Millisecond + time.Duration(l.InFlight)*20*time.Millisecond
}

func TestWhatATimeDependsOnIsLearned(t *testing.T) {
	s, now := taught(300)
	for _, load := range []Load{{InFlight: 1}, {Prompt: 1000, InFlight: 1}, {InFlight: 20}, {Prompt: 300, Ahead: 200, InFlight: 10}, {Prompt: 5000, InFlight: 40}} {
		x, known := s.Expect(now, load)
		if want := takes(load); !known || math.Abs(float64(x.Time-want)) > 0.1*float64(want)+float64(50*time.Millisecond) {
			t.Errorf("%+v: expected %v ± %v, %v; it takes %v", load, x.Time, x.Error, known, want)
		}
	}
	if x, _ := s.Expect(now, Load{Prompt: 500, InFlight: 10}); x.Error > 100*time.Millisecond || x.Most() != x.Time+2*x.Error {
		t.Errorf("%+v", x)
	}
}

// A server that reads several prompts at once isn't slower for a short one that comes behind long ones, though these take long themselves.
func TestWhatIsAheadNeedNotKeepOthersWaiting(t *testing.T) {
	var s State
	r := rand.New(rand.NewPCG(3, 4))
	now := noon
	takes := func(l Load) time.Duration {
		return 50*time.Millisecond + time.Duration(l.Prompt)*time.Millisecond/10 + time.Duration(r.IntN(40))*time.Millisecond
	}
	for range 200 {
		load := Load{Prompt: 10, InFlight: 1 + r.IntN(4)}
		if r.IntN(8) == 0 {
			load.Prompt = 10_000
		}
		if r.IntN(3) == 0 {
			load.Ahead = 10_000
		}
		s.Learn(now, load, takes(load))
		now = now.Add(100 * time.Millisecond)
	}
	short, _ := s.Expect(now, Load{Prompt: 10, Ahead: 20_000, InFlight: 3})
	long, _ := s.Expect(now, Load{Prompt: 10_000, InFlight: 2})
	if short.Time > 120*time.Millisecond || long.Time < 800*time.Millisecond {
		t.Errorf("a short one behind long ones %+v, a long one %+v", short, long)
	}
	// It is known how long it takes to be read: the margin is for what isn't.
	if margin := long.Most() - long.Time; margin > 60*time.Millisecond || long.Prompt < 700*time.Millisecond {
		t.Errorf("%+v, at most %v", long, long.Most())
	}
}

// Times that nothing tells have a great error. It is no reason to take all of them for late.
func TestWhoKnowsLittleFearsLittle(t *testing.T) {
	var s State
	r := rand.New(rand.NewPCG(7, 7))
	now := noon
	for range 300 {
		now = now.Add(100 * time.Millisecond)
		s.Learn(now, Load{Prompt: 10, InFlight: 1 + r.IntN(3)}, time.Duration(r.ExpFloat64()*float64(100*time.Millisecond)))
	}
	x, known := s.Expect(now, Load{Prompt: 10, InFlight: 2})
	if !known || 2*x.Error < x.Time/2 || x.Most() != x.Time+x.Time/3 {
		t.Errorf("%+v, at most %v", x, x.Most())
	}
}

func TestTooLittleIsNoGroundForAGuess(t *testing.T) {
	s, now := taught(Enough - 1)
	if x, known := s.Expect(now, Load{Prompt: 100, InFlight: 2}); known {
		t.Errorf("%+v", x)
	}
	s, now = taught(Enough)
	if _, known := s.Expect(now, Load{Prompt: 100, InFlight: 2}); !known {
		t.Error("nothing is known")
	}
}

// Of one kind of requests alone there is nothing to be told by but the time itself.
func TestWithoutDifferencesItIsTheAverage(t *testing.T) {
	var s State
	for i := range 50 {
		s.Learn(noon.Add(time.Duration(i)*time.Second), Load{Prompt: 100, InFlight: 3}, 200*time.Millisecond)
	}
	for _, load := range []Load{{Prompt: 100, InFlight: 3}, {Prompt: 200, InFlight: 3}, {Prompt: 100, InFlight: 9}} {
		if x, _ := s.Expect(noon.Add(49*time.Second), load); x.Time != 200*time.Millisecond || x.Error != 0 {
			t.Errorf("%+v: %+v", load, x)
		}
	}
}

// Longer prompts that come sooner, from a cache of prefixes perhaps, aren't told by their length.
func TestSlopesAreNeverBelowZero(t *testing.T) {
	var s State
	r := rand.New(rand.NewPCG(1, 2))
	for i := range 300 {
		load := Load{Prompt: int64(r.IntN(1000)), InFlight: 1 + r.IntN(20)}
		s.Learn(noon.Add(time.Duration(i)*time.Second), load, time.Second-time.Duration(load.Prompt)*time.Millisecond/2+time.Duration(load.InFlight)*10*time.Millisecond)
	}
	perToken, perFlight := s.slopes[prompt], s.slopes[flying]
	if perToken != 0 || perFlight < 0.007 || perFlight > 0.013 {
		t.Errorf("%v s a token, %v s a request in flight", perToken, perFlight)
	}
}

func TestWhatIsNotMetAnyMoreFades(t *testing.T) {
	s, now := taught(300)
	before, _ := s.Expect(now, Load{Prompt: 500, InFlight: 10})
	for _, load := range []Load{{Prompt: 500, InFlight: 10}, {Prompt: 1_000_000, InFlight: 1}, {InFlight: 5000}} {
		after, known := s.Expect(now.Add(10*Recent), load)
		if !known || after.Most() > 100*time.Millisecond {
			t.Errorf("%+v: %+v", load, after)
		}
	}
	back, _ := s.Expect(now.Add(-time.Hour), Load{Prompt: 500, InFlight: 10})
	if math.Abs(float64(back.Time-before.Time)) > 0.1*float64(before.Time) {
		t.Errorf("%+v, with the clock an hour back %+v", before, back)
	}
}

// A client that leaves at once tells nothing; one that left later than it should have had a token does.
func TestAClientThatLeavesTellsOnlyWhatIsLongerThanExpected(t *testing.T) {
	s, now := taught(300)
	load := Load{Prompt: 500, InFlight: 10}
	was := s
	if s.AtLeast(now, load, 10*time.Millisecond); s != was {
		t.Error("a client that left soon has taught something")
	}
	if s.AtLeast(now, load, 10*time.Second); s == was {
		t.Error("a client that left late has taught nothing")
	}
	if s = (State{}); true {
		s.AtLeast(now, load, time.Second)
	}
	if s != (State{}) {
		t.Error("a client that left was the first to teach")
	}
}

// One time alone moves what is expected of all by little, however long it is.
func TestOneFreakTimeMovesLittle(t *testing.T) {
	s, now := taught(300)
	load := Load{Prompt: 500, InFlight: 10}
	before, _ := s.Expect(now, load)
	s.Learn(now, load, 100*time.Hour)
	after, _ := s.Expect(now, load)
	if after.Most() > before.Most()+before.Most()/4 {
		t.Errorf("%+v became %+v", before, after)
	}
}

func TestASlowerServerIsNoticedWithinSeconds(t *testing.T) {
	s, now := taught(300)
	load := Load{Prompt: 500, InFlight: 10}
	for range 60 {
		now = now.Add(100 * time.Millisecond)
		s.Learn(now, load, 3*takes(load))
	}
	if x, _ := s.Expect(now, load); x.Time < 5*takes(load)/2 || x.Time > 7*takes(load)/2 {
		t.Errorf("after six seconds %v of %v", x.Time, 3*takes(load))
	}
}

// Whatever is learned, in whatever order of times, leads to times that are times, and to a record that is read as it was written.
func TestNothingCanHarm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s State
		load := func() Load {
			return Load{Prompt: rapid.Int64().Draw(t, "prompt"), Ahead: rapid.Int64().Draw(t, "ahead"), InFlight: rapid.Int().Draw(t, "in flight")}
		}
		for range rapid.IntRange(0, 40).Draw(t, "times") {
			now, took := clock.Moment(rapid.Int64().Draw(t, "now")), time.Duration(rapid.Int64().Draw(t, "took"))
			if rapid.Bool().Draw(t, "left") {
				s.AtLeast(now, load(), took)
			} else {
				s.Learn(now, load(), took)
			}
			x, _ := s.Expect(clock.Moment(rapid.Int64().Draw(t, "then")), load())
			if x.Time < 0 || x.Time > Longest || x.Error < 0 || x.Error > Longest {
				t.Fatalf("%+v of %+v", x, s)
			}
			var read State
			if !read.Decode(s.Append(nil)) || read != s {
				t.Fatalf("%+v was read as %+v", s, read)
			}
		}
	})
}

func TestGarbageIsNoState(t *testing.T) {
	good, _ := taught(20)
	whole := good.Append(nil)
	if len(whole) != Size {
		t.Fatalf("%d bytes", len(whole))
	}
	for name, record := range map[string][]byte{
		"short": whole[:Size-1], "long": append(bytes.Clone(whole), 0), "empty": nil, "a NaN": bytes.Repeat([]byte{0xff}, Size),
	} {
		if s := good; s.Decode(record) || s != (State{}) {
			t.Errorf("%s: read as %+v", name, s)
		}
	}
}

func FuzzDecode(f *testing.F) {
	good, now := taught(20)
	f.Add(good.Append(nil), int64(now), int64(500))
	f.Fuzz(func(t *testing.T, record []byte, now, prompt int64) {
		var s State
		if !s.Decode(record) {
			return
		}
		if !bytes.Equal(s.Append(nil), record) {
			t.Fatal("another record is written than was read")
		}
		s.Learn(clock.Moment(now), Load{Prompt: prompt, InFlight: 3}, time.Second)
		x, _ := s.Expect(clock.Moment(now), Load{Prompt: prompt, InFlight: 4})
		if x.Time < 0 || x.Time > Longest || x.Error < 0 {
			t.Fatalf("%+v of %+v", x, s)
		}
		if again := s; !again.Decode(s.Append(nil)) {
			t.Fatalf("%+v can't be read again", s)
		}
	})
}

func TestNothingIsAllocated(t *testing.T) {
	s, now := taught(20)
	buffer := make([]byte, 0, Size)
	if n := testing.AllocsPerRun(100, func() {
		s.Learn(now, Load{Prompt: 100, InFlight: 3}, time.Second)
		s.Expect(now, Load{Prompt: 100, InFlight: 3})
		buffer = s.Append(buffer[:0])
		s.Decode(buffer)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
