package estimate

import (
	"math"
	"testing"
)

func TestTextIsKnownAfterOneResponse(t *testing.T) {
	l := new(Learned)
	if got, known := l.Text(now, 1, 2, 400); known || got != 0 {
		t.Errorf("at the start: %d, %v", got, known)
	}
	l.LearnText(now, 1, 2, 400, 100)
	for _, test := range []struct {
		name           string
		model, subject uint64
		bytes, tokens  int64
		known          bool
	}{
		{"as much again", 1, 2, 400, 100, true},
		{"rounded down", 1, 2, 5, 1, true},
		{"rounded up", 1, 2, 6, 2, true},
		{"nothing", 1, 2, 0, 0, true},
		{"less than nothing", 1, 2, -5, 0, true},
		{"more than can be counted", 1, 2, math.MaxInt64, most, true},
		{"another subject", 1, 3, 400, 0, false},
	} {
		if got, known := l.Text(now, test.model, test.subject, test.bytes); got != test.tokens || known != test.known {
			t.Errorf("%s: %d, %v, want %d, %v", test.name, got, known, test.tokens, test.known)
		}
	}
}

func TestTextLevelsRiseFasterThanTheyFall(t *testing.T) {
	l := new(Learned)
	for _, test := range []struct{ tokens, want int64 }{{100, 100}, {200, 150}, {50, 140}} {
		l.LearnText(now, 1, 2, 1000, test.tokens)
		if got, _ := l.Text(now, 1, 2, 1000); got != test.want {
			t.Errorf("after %d: %d, want %d", test.tokens, got, test.want)
		}
	}
}

func TestTextLearnsNothingFromNothing(t *testing.T) {
	l := new(Learned)
	for _, sample := range [][2]int64{{0, 5}, {5, 0}, {-1, 5}, {5, -1}, {0, 0}} {
		l.LearnText(now, 1, 2, sample[0], sample[1])
		if _, known := l.Text(now, 1, 2, 1); known {
			t.Errorf("learned from %v", sample)
		}
	}
}

func TestTextIsLearnedApartFromTheRest(t *testing.T) {
	l := new(Learned)
	l.LearnPrompt(now, 1, 2, 10, 1000)
	l.LearnOutput(now, 1, 2, 1000)
	if _, known := l.Text(now, 1, 2, 10); known {
		t.Error("the text was learned from the prompt or the output's length")
	}
	l.LearnText(now, 3, 4, 10, 10)
	if p, o := l.Prompt(now, 3, 4, 1000, start), l.likely(3, 4); p != 250 || o != 256 {
		t.Errorf("the text taught the prompt (%d) or the output (%d)", p, o)
	}
}

// No tokenizer makes more tokens than bytes, whatever a report says.
func TestTextHasATokenAByteAtMost(t *testing.T) {
	l := new(Learned)
	l.LearnText(now, 1, 2, 1, math.MaxInt64)
	if got, known := l.Text(now, 1, 2, 500); got != 500 || !known {
		t.Errorf("got %d, %v", got, known)
	}
}
