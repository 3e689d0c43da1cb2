package estimate

import (
	"math"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/spillway-proxy/spillway/filter/internal/clock"
)

const now = 1000 * clock.Moment(time.Second)

var start = Start{PromptTokensPerByte: 0.25, OutputTokens: 256}

// subjectOf is the hash of one of a model's subjects.
func subjectOf(model uint64, n int) uint64 { return model ^ uint64(n+1)*0x9e3779b97f4a7c15 }

// teach lets a model's subjects, from one to another, give answers.
func (l *Learned) teach(model uint64, from, to int, tokens int64) {
	for n := from; n < to; n++ {
		l.LearnOutput(now, model, subjectOf(model, n), tokens)
	}
}

func (l *Learned) likely(model, subject uint64) int64 {
	return l.Output(now, model, subject, 0, start).Likely
}

func expect[T comparable](t *testing.T, what string, got, want T) {
	t.Helper()
	if got != want {
		t.Errorf("%s: got %v, want %v", what, got, want)
	}
}

func TestWhereLearningStarts(t *testing.T) {
	l := new(Learned)
	expect(t, "prompt", l.Prompt(now, 1, 2, 1000, start), 250)
	expect(t, "output", l.Output(now, 1, 2, 0, start), Length{256, 4096})
	expect(t, "output with a bound", l.Output(now, 1, 2, 100, start), Length{100, 100})
	expect(t, "output with a large bound", l.Output(now, 1, 2, 1000, start), Length{256, 1000})
	expect(t, "nothing to start with", l.Output(now, 1, 2, 0, Start{}), Length{1, 4})
	expect(t, "the largest start", l.Output(now, 1, 2, 0, Start{OutputTokens: 1e9}), Length{1e9, 16e9})
}

// Short answers lower what is expected only where several subjects gave them, and never below an eighth of the start.
func TestShortAnswersTeachOnlyTogether(t *testing.T) {
	l := new(Learned)
	for range 100 {
		l.LearnOutput(now, 1, subjectOf(1, 0), 7)
	}
	expect(t, "the teacher", l.likely(1, subjectOf(1, 0)), 256)
	expect(t, "a stranger", l.likely(1, 99), 256)
	l.teach(1, 1, Voices-1, 7)
	expect(t, "a stranger, one voice short", l.likely(1, 99), 256)
	l.teach(1, Voices-1, Voices, 7)
	expect(t, "a stranger, when enough were heard", l.likely(1, 99), 32)
	expect(t, "another model", l.likely(2, 99), 256)
	for range 30 {
		l.teach(1, 0, Voices, 100)
	}
	expect(t, "they get longer", l.likely(1, 99), 100)
}

// One subject's long answers count for itself, and for nobody else.
func TestOneSubjectsLongAnswersDoNotCountForStrangers(t *testing.T) {
	l := new(Learned)
	loud := subjectOf(1, 0)
	for range 50 {
		l.LearnOutput(now, 1, loud, 100_000)
	}
	expect(t, "itself", l.likely(1, loud), 100_000)
	expect(t, "a stranger", l.likely(1, 99), 256)
	l.teach(1, 1, 20, 300)
	expect(t, "a stranger, when others were heard", l.likely(1, 99), 300)
	for range 50 {
		l.LearnOutput(now, 1, loud, 100_000)
	}
	expect(t, "a stranger, after more of it", l.likely(1, 99), 300)
}

// One answer, however long it is said to be, moves a level by half at most.
func TestALevelDoublesAtMost(t *testing.T) {
	l := new(Learned)
	l.LearnOutput(now, 1, 2, 1000)
	l.LearnOutput(now, 1, 2, math.MaxInt64)
	expect(t, "after a lie", l.likely(1, 2), 1500)
	l.LearnOutput(now, 1, 2, 0)
	expect(t, "it falls slowly", l.likely(1, 2), 1351)
}

// A crowd of made-up subjects can say what it likes: a stranger is expected to take four times the start at most, and one that has
// answers of its own no more than these, or the start.
func TestACrowdTeachesWithinBounds(t *testing.T) {
	l := new(Learned)
	l.LearnOutput(now, 1, 2, 100)
	for range 20 {
		l.teach(1, 0, 100, 1e9)
	}
	expect(t, "a stranger", l.likely(1, 99), 1024)
	expect(t, "one that is known", l.likely(1, 2), 256)
	l.LearnOutput(now, 1, 3, 5000)
	expect(t, "one that is known for more", l.likely(1, 3), 5000)
}

func TestWhatIsOldIsForgotten(t *testing.T) {
	const later = now + clock.Moment(memory+time.Second)
	l := new(Learned)
	l.teach(1, 0, Voices, 1000)
	l.LearnPrompt(now, 1, 2, 100, 50)
	l.LearnText(now, 1, 2, 100, 50)
	expect(t, "a stranger", l.Output(now, 1, 99, 0, start).Likely, 1000)
	expect(t, "a stranger, later", l.Output(later, 1, 99, 0, start).Likely, 256)
	expect(t, "the subject, later", l.Output(later, 1, subjectOf(1, 0), 0, start).Likely, 256)
	expect(t, "prompt", l.Prompt(now, 1, 2, 100, start), 50)
	expect(t, "prompt, later", l.Prompt(later, 1, 2, 100, start), 25)
	if _, known := l.Text(later, 1, 2, 100); known {
		t.Error("the text is remembered")
	}
	l.LearnOutput(later, 1, subjectOf(1, 0), 300)
	expect(t, "the subject learns anew", l.Output(later, 1, subjectOf(1, 0), 0, start).Likely, 300)
}

// A prompt can't be taught to cost next to nothing, nor more than its bytes.
func TestAPromptsRatioHasBounds(t *testing.T) {
	l := new(Learned)
	for _, test := range []struct {
		name          string
		bytes, tokens int64
		want          int64
	}{
		{"as it is", 1000, 300, 300},
		{"spaces", 1_000_000, 10, 125},
		{"a conversation that is stored elsewhere", 100, 60_000, 1000},
	} {
		id := subjectOf(1, int(test.bytes))
		for range 100 {
			l.LearnPrompt(now, 1, id, test.bytes, test.tokens)
		}
		expect(t, test.name, l.Prompt(now, 1, id, 1000, start), test.want)
	}
	expect(t, "a stranger, of three", l.Prompt(now, 1, 99, 1000, start), 250)
	for n := range Voices {
		l.LearnPrompt(now, 1, subjectOf(1, n), 1000, 200)
	}
	expect(t, "a stranger, of many", l.Prompt(now, 1, 99, 1000, start), 200)
	expect(t, "a start above a token a byte", l.Prompt(now, 2, 3, 1000, Start{PromptTokensPerByte: 2}), 2000)
}

// Whatever a subject teaches, strangers are told the same before and after.
func TestNothingThatOneSubjectTeachesReachesStrangers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := new(Learned)
		honest := rapid.IntRange(0, 12).Draw(t, "others")
		for n := 1; n <= honest; n++ {
			l.LearnOutput(now, 1, subjectOf(1, n), 300)
			l.LearnPrompt(now, 1, subjectOf(1, n), 1000, 200)
			l.LearnText(now, 1, subjectOf(1, n), 1000, 240)
		}
		for range rapid.IntRange(1, 50).Draw(t, "lessons") {
			tokens := rapid.Int64Range(0, 1e15).Draw(t, "tokens")
			bytes := rapid.Int64Range(0, 1e9).Draw(t, "bytes")
			l.LearnOutput(now, 1, subjectOf(1, 0), tokens)
			l.LearnPrompt(now, 1, subjectOf(1, 0), bytes, tokens)
			l.LearnText(now, 1, subjectOf(1, 0), bytes, tokens)
		}
		output, prompt := l.Output(now, 1, 99, 0, start), l.Prompt(now, 1, 99, 1000, start)
		text, known := l.Text(now, 1, 99, 1000)
		switch {
		case honest >= Voices && (output.Likely != 300 || prompt != 200 || !known || text != 240):
			t.Fatalf("strangers are told %v, %d, %d", output, prompt, text)
		case honest < Voices-1 && (output.Likely != 256 || prompt != 250 || known):
			t.Fatalf("%d voices tell strangers %v, %d, %d", honest+1, output, prompt, text)
		case output.Likely < 32 || output.Likely > 300:
			t.Fatalf("strangers are told %v", output)
		}
	})
}

func TestTheLeastRecentlyLearnedEntryGoes(t *testing.T) {
	l := new(Learned)
	for i := range uint64(ways + 1) {
		l.LearnOutput(now, 1, 1+i*subjectSets, 1000+int64(i))
		l.LearnOutput(now, 1, 1+subjectSets, 1001) // kept fresh
	}
	expect(t, "the oldest", l.likely(2, 1), 256)
	for i := uint64(1); i <= ways; i++ {
		expect(t, "a later one", l.likely(2, 1+i*subjectSets), 1000+int64(i))
	}
}

func TestAClockThatStepsBackForgetsNothing(t *testing.T) {
	l := new(Learned)
	l.LearnOutput(now, 1, 2, 1000)
	expect(t, "before", l.Output(now-now/2, 1, 2, 0, start).Likely, 1000)
}

func TestEstimatesAllocateNothing(t *testing.T) {
	var l Learned
	now, subject := clock.Moment(1e12), uint64(0)
	expect := func() {
		now, subject = now+1e6, subject+1<<40
		l.LearnPrompt(now, 1, subject, 100, 25)
		l.LearnOutput(now, 1, subject, 200)
		l.LearnText(now, 1, subject, 1000, 200)
		l.Prompt(now, 1, 7, 100, Start{PromptTokensPerByte: 0.25})
		l.Output(now, 1, 7, 100, Start{OutputTokens: 256})
		l.Text(now, 1, 7, 100)
	}
	for range 10 {
		expect()
	}
	if n := testing.AllocsPerRun(100, expect); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
