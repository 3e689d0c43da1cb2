package source

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// source is one whose measurements do what a test says.
type stub func(ctx context.Context) (Sample, error)

func (s stub) Sample(ctx context.Context) (Sample, error) {
	return s(ctx)
}

var timing = Timing{Interval: time.Second, Deadline: 2 * time.Second}

// run starts a board with one source in a bubble whose time is the test's.
func run(t *testing.T, s stub, test func(b *Board, log *bytes.Buffer)) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ctx, cancel := context.WithCancel(t.Context())
		b := NewBoard(time.Now, slog.New(slog.NewTextHandler(&log, nil)))
		b.Add("one", NVML, s, timing)
		b.Start(ctx)
		synctest.Wait()
		test(b, &log)
		cancel()
		b.Wait()
	})
}

func TestMeasuresAtOnceAndThenAtEveryInterval(t *testing.T) {
	var times []time.Time
	run(t, func(context.Context) (Sample, error) {
		times = append(times, time.Now())
		time.Sleep(100 * time.Millisecond)
		return Sample{}, nil
	}, func(b *Board, _ *bytes.Buffer) {
		time.Sleep(3*time.Second + 500*time.Millisecond)
		synctest.Wait()
		if len(times) != 4 {
			t.Fatalf("%d measurements in 3 s", len(times))
		}
		for i := range times[1:] {
			if gap := times[i+1].Sub(times[i]); gap != time.Second {
				t.Errorf("%v between two measurements", gap)
			}
		}
		if s := b.States()[0]; s.Good != 4 || b.Generation() != 4 || s.Duration != 100*time.Millisecond || !s.Up() {
			t.Errorf("%+v, generation %d", s, b.Generation())
		}
	})
}

func TestAHungMeasurementLeavesTheLastSampleAndIsNotRepeated(t *testing.T) {
	var release chan struct{}
	var calls atomic.Int32
	run(t, func(context.Context) (Sample, error) {
		switch calls.Add(1) {
		case 1:
			release = make(chan struct{}) // here it belongs to the bubble
		case 2:
			<-release // like a driver: a context means nothing to it
		}
		return Sample{Targets: int(calls.Load())}, nil
	}, func(b *Board, log *bytes.Buffer) {
		time.Sleep(61 * time.Second)
		synctest.Wait()
		s := b.States()[0]
		if s.Up() || !s.Hung || s.Late != 1 || s.Sample == nil || s.Sample.Targets != 1 {
			t.Errorf("%+v", s)
		}
		if age := time.Since(s.SampledAt); age != 61*time.Second {
			t.Errorf("age %v, want 61s", age)
		}
		if n := calls.Load(); n != 2 {
			t.Errorf("%d calls while one hangs", n)
		}
		close(release)
		synctest.Wait()
		// The late sample counts, with the age it has: it was measured when the call began, 60 s ago.
		if s = b.States()[0]; !s.Up() || s.Good < 2 {
			t.Errorf("after it: %+v", s)
		}
		if got := strings.Count(log.String(), "source is down"); got != 1 {
			t.Errorf("said %d times that it is down:\n%s", got, log)
		}
	})
}

func TestErrorsKeepTheLastSample(t *testing.T) {
	var fail atomic.Bool
	run(t, func(context.Context) (Sample, error) {
		if fail.Load() {
			return Sample{Targets: 2}, errors.New("broken")
		}
		return Sample{Targets: 1}, nil
	}, func(b *Board, log *bytes.Buffer) {
		fail.Store(true)
		time.Sleep(10*time.Second + time.Millisecond)
		synctest.Wait()
		s := b.States()[0]
		if s.Up() || s.Err == nil || s.Failed != 10 || s.Sample.Targets != 1 || b.Generation() != 1 {
			t.Errorf("%+v, generation %d", s, b.Generation())
		}
		fail.Store(false)
		time.Sleep(time.Second)
		synctest.Wait()
		if !b.States()[0].Up() {
			t.Error("still down")
		}
		if lines := strings.Count(log.String(), "\n"); lines != 3 {
			t.Errorf("want three lines, up, down and up:\n%s", log)
		}
	})
}

func TestAPanicIsThatSourcesError(t *testing.T) {
	run(t, func(context.Context) (Sample, error) { panic("of a parser") }, func(b *Board, _ *bytes.Buffer) {
		if s := b.States()[0]; s.Err == nil || !strings.Contains(s.Err.Error(), "of a parser") {
			t.Errorf("%+v", s)
		}
	})
}

func TestASourceThatKeepsItsDeadlineFailsWithItsOwnError(t *testing.T) {
	run(t, func(ctx context.Context) (Sample, error) {
		<-ctx.Done()
		return Sample{}, errors.New("no answer from there")
	}, func(b *Board, _ *bytes.Buffer) {
		time.Sleep(2*time.Second + time.Millisecond)
		synctest.Wait()
		if s := b.States()[0]; s.Hung || s.Failed != 1 || s.Late != 0 || s.Err.Error() != "no answer from there" {
			t.Errorf("%+v", s)
		}
	})
}

func TestAHungSourceDoesntKeepTheOthersOrTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		ctx, cancel := context.WithCancel(t.Context())
		b := NewBoard(time.Now, slog.New(slog.DiscardHandler))
		b.Add("hung", NVML, stub(func(context.Context) (Sample, error) { <-release; return Sample{}, nil }), timing)
		b.Add("good", Engine, stub(func(context.Context) (Sample, error) { return Sample{}, nil }), timing)
		b.Start(ctx)
		time.Sleep(10*time.Second + time.Millisecond)
		if s := b.States(); s[1].Good != 11 || s[0].Good != 0 {
			t.Errorf("%+v %+v", s[0], s[1])
		}
		cancel()
		before := time.Now()
		b.Wait()
		if waited := time.Since(before); waited != 0 {
			t.Errorf("waited %v for the end", waited)
		}
		close(release)
	})
}
