package estimate

import "testing"

var start = Start{PromptTokensPerByte: 0.25, OutputTokens: 256}

func TestEstimates(t *testing.T) {
	l := new(Learned)
	if got := l.Prompt(1, 1000, start); got != 250 {
		t.Errorf("prompt at the start: %d", got)
	}
	if got := l.Output(1, 2, 0, start); got != 256 {
		t.Errorf("output at the start: %d", got)
	}
	if got := l.Output(1, 2, 100, start); got != 100 {
		t.Errorf("output with a bound: %d", got)
	}
	l.LearnPrompt(1, 1000, 500)
	l.LearnOutput(1, 2, 76)
	if got := l.Prompt(1, 100, start); got != 50 {
		t.Errorf("prompt after one response: %d", got)
	}
	if got := l.Output(1, 2, 0, start); got != 76 {
		t.Errorf("output after one response: %d", got)
	}
	if got := l.Output(1, 3, 0, start); got != 76 {
		t.Errorf("another subject, same model: %d", got)
	}
	if got := l.Output(9, 3, 0, start); got != 256 {
		t.Errorf("another model: %d", got)
	}
}

func TestAveragesRiseFasterThanTheyFall(t *testing.T) {
	l := new(Learned)
	l.LearnOutput(1, 2, 100)
	l.LearnOutput(1, 2, 200)
	if got := l.Output(1, 2, 0, start); got != 150 {
		t.Errorf("after 100, 200: %d", got)
	}
	l.LearnOutput(1, 2, 50)
	if got := l.Output(1, 2, 0, start); got != 140 {
		t.Errorf("after 100, 200, 50: %d", got)
	}
}

func TestTheLeastRecentlyLearnedEntryGoes(t *testing.T) {
	l := new(Learned)
	for i := range uint64(ways + 1) {
		l.outputs.learn(1+i*sets, float64(10+i))
		l.outputs.learn(1+sets, 11) // kept fresh
	}
	if _, known := l.outputs.get(1); known {
		t.Error("the oldest entry is still there")
	}
	for i := uint64(1); i <= ways; i++ {
		if got, known := l.outputs.get(1 + i*sets); !known || got != float64(10+i) {
			t.Errorf("entry %d: %v, %v", i, got, known)
		}
	}
}
