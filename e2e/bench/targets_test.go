package main

import (
	"math"
	"testing"
)

func TestWhatAVariantAddsIsDividedByRound(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-variants=lua,spillway-1"})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{options: o, results: map[*variant]*result{}}
	for name, cpu := range map[string][]float64{bare: {100, 200, 100}, luaParse: {120, 240, 100}, limitedOnce: {150, 240, 110}} {
		b.results[b.find(name)] = &result{cpu: map[string][]float64{"JSON": cpu}}
	}
	got := b.addedRatio(b.find(limitedOnce), b.find(luaParse), "JSON")
	if len(got) != 3 || got[0] != 2.5 || got[1] != 1 || !math.IsInf(got[2], 1) {
		t.Errorf("got %v, want 2.5, 1, and no bound where Lua seems to add nothing", got)
	}
	if got := b.addedRatio(b.find(limitedTimes), b.find(luaParse), "JSON"); got != nil {
		t.Errorf("got %v of a variant that isn't measured", got)
	}
}

func TestAVerdictSaysWhetherItIsSure(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		middle, low, high float64
		want              string
	}{
		{0.8, 0.7, 0.9, "yes"}, {1.2, 1, 1.3, "no"}, {0.8, 0.7, 1, "yes, but the interval has both"}, {1, 0.8, 1.1, "no, but the interval has both"},
	} {
		if got := verdict(c.middle, c.low, c.high, 0.9); got != c.want {
			t.Errorf("%v (%v to %v): %q, want %q", c.middle, c.low, c.high, got, c.want)
		}
	}
}

func TestOnlyWhatIsAskedForIsMeasured(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-workloads=sse,refusal", "-variants=lua,refuse-tokens"})
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, v := range (&bench{options: o}).measured() {
		names = append(names, v.name)
	}
	if len(o.turns) != 2 || len(names) != 3 || o.out != partialFile {
		t.Errorf("%d workloads, of %v, to %s", len(o.turns), names, o.out)
	}
	for _, args := range []string{"-workloads=XML", "-workloads=refusal"} {
		if _, err := parse([]string{args, "-variants=lua"}); err == nil {
			t.Errorf("%s is no error", args)
		}
	}
}

func TestTheReportsTextsNameWhatThereIs(t *testing.T) {
	t.Parallel()
	if _, err := fill(reportText, page{}); err != nil {
		t.Error(err)
	}
	if _, err := fill(gatesText, gatesPage{}); err != nil {
		t.Error(err)
	}
}

func TestMemoryIsWhatIsAddedToBareEnvoy(t *testing.T) {
	t.Parallel()
	o, err := parse(nil)
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{options: o, results: map[*variant]*result{}}
	b.results[b.bare()] = &result{memory: []float64{60e6}, manyStart: []float64{61e6}}
	b.results[b.find(limitedOnce)] = &result{memory: []float64{100e6}, manyStart: []float64{104e6}}
	if first, further := b.addedMemory(b.find(limitedOnce)); first[0] != 40 || further[0] != 1 {
		t.Errorf("%v and %v MB, want 40 and 1", first, further)
	}
}
