package estimate

import (
	"math"
	"testing"
)

func TestTextIsKnownAfterOneResponse(t *testing.T) {
	l := new(Learned)
	if got, known := l.Text(1, 400); known || got != 0 {
		t.Errorf("at the start: %d, %v", got, known)
	}
	l.LearnText(1, 400, 100)
	for _, test := range []struct {
		name          string
		model         uint64
		bytes, tokens int64
		known         bool
	}{
		{"as much again", 1, 400, 100, true},
		{"rounded down", 1, 5, 1, true},
		{"rounded up", 1, 6, 2, true},
		{"nothing", 1, 0, 0, true},
		{"less than nothing", 1, -5, 0, true},
		{"more than can be counted", 1, math.MaxInt64, most, true},
		{"another model", 2, 400, 0, false},
	} {
		if got, known := l.Text(test.model, test.bytes); got != test.tokens || known != test.known {
			t.Errorf("%s: %d, %v, want %d, %v", test.name, got, known, test.tokens, test.known)
		}
	}
}

func TestTextAveragesRiseFasterThanTheyFall(t *testing.T) {
	l := new(Learned)
	for _, test := range []struct{ tokens, want int64 }{{100, 100}, {200, 150}, {50, 140}} {
		l.LearnText(1, 1000, test.tokens)
		if got, _ := l.Text(1, 1000); got != test.want {
			t.Errorf("after %d: %d, want %d", test.tokens, got, test.want)
		}
	}
}

func TestTextLearnsNothingFromNothing(t *testing.T) {
	l := new(Learned)
	for _, sample := range [][2]int64{{0, 5}, {5, 0}, {-1, 5}, {5, -1}, {0, 0}} {
		l.LearnText(1, sample[0], sample[1])
		if _, known := l.Text(1, 1); known {
			t.Errorf("learned from %v", sample)
		}
	}
}

func TestTextIsLearnedApartFromTheRest(t *testing.T) {
	l := new(Learned)
	l.LearnPrompt(1, 10, 1000)
	l.LearnOutput(1, 2, 1000)
	if _, known := l.Text(1, 10); known {
		t.Error("the text was learned from the prompt or the output's length")
	}
	l.LearnText(3, 10, 1000)
	if p, o := l.Prompt(3, 1000, start), l.Output(3, 3, 0, start); p != 250 || o != 256 {
		t.Errorf("the text taught the prompt (%d) or the output (%d)", p, o)
	}
}

func TestTextOfAnAbsurdReportStaysFinite(t *testing.T) {
	l := new(Learned)
	l.LearnText(1, 1, math.MaxInt64)
	if got, known := l.Text(1, math.MaxInt64); got != most || !known {
		t.Errorf("got %d, %v", got, known)
	}
	if got, _ := l.Text(1, 0); got != 0 {
		t.Errorf("of nothing: %d", got)
	}
}
